"""The words of the command line, and its exit codes."""

import subprocess

import pytest
from nexus_command import NEXUS

from nexus_actors.cli import app as app_module
from nexus_actors.cli import main
from nexus_actors.errors import Fault, Invalid


def test_help_fits_a_screen_and_names_every_command(here):
    done = here.process("--help")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for command in ("run", "new", "check", "plugins"):
        assert f" {command} " in done.stdout


def test_without_a_command_the_help_is_shown(here):
    assert here.nexus().stdout == here.nexus("--help").stdout


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (Invalid([Fault("place", "is wrong", "mend it")]), 2, "place: is wrong (mend it)\n"),
        (KeyboardInterrupt(), 130, ""),
        (ZeroDivisionError("ours"), 70, "nexus: this is a fault of Nexus Actors itself"),
    ],
)
def test_the_exit_code_says_whose_fault_it_was(monkeypatch, capsys, raised, code, words):
    def command(*args, **kwargs):
        raise raised

    monkeypatch.setattr(app_module, "app", command)
    with pytest.raises(SystemExit) as ended:
        main(["run"])
    assert ended.value.code == code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("words", [("rnu",), ("run", "--bidn", "x"), ("new",)])
def test_a_wrong_word_is_a_usage_error(here, words):
    done = here.nexus(*words)
    assert done.returncode == 2
    assert not done.stdout
    assert "Error" in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(here):
    done = subprocess.run(
        f"'{NEXUS}' check | true; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        cwd=here.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() in ("0", "1")
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
