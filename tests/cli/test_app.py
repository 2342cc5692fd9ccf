"""The words of the command line, and its exit codes."""

import os

import pytest

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


def test_a_reader_that_has_seen_enough_is_no_error(monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        monkeypatch.setattr(app_module, "app", lambda *_, **__: print("words"))
        with pytest.raises(SystemExit) as ended:
            main(["plugins", "--json"])
    assert ended.value.code == 0
    assert not capsys.readouterr().err
