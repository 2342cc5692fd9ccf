"""``nexus new``: what it makes runs, and whose name will not do is told which would."""

import subprocess
import sys

import pytest

from nexus_actors.cli.new import class_name, name_faults


def test_a_new_plugin_has_no_faults_and_its_tests_pass_also_beside_another(here):
    for name in ("corner-shop", "order-desk"):
        assert here.nexus("new", name).returncode == 0
    check = here.nexus("check")
    assert check.returncode == 0, check.stdout
    assert "corner-shop 0.1.0: good (2 routes, 1 event handler, trio)" in check.stdout
    tests = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            "plugins/corner-shop",
            "plugins/order-desk/tests/test_plugin.py::TestAlone",
        ],
        cwd=here.folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert tests.returncode == 0, tests.stdout + tests.stderr
    assert "10 passed" in tests.stdout


def test_nothing_of_the_template_is_left_in_it(here):
    here.nexus("new", "order-desk")
    folder = here.folder / "plugins" / "order-desk"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {"plugin.json", "plugin.py", "README.md", "tests/test_plugin.py"}
    for name in files:
        text = (folder / name).read_text()
        assert not [word for word in ("my-plugin", "my_plugin", "MyPlugin") if word in text], name


def test_its_class_says_how_many_messages_it_handles_at_a_time(here):
    here.nexus("new", "corner-shop")
    lines = (here.folder / "plugins/corner-shop/plugin.py").read_text().splitlines()
    where = lines.index("    concurrency = 1")
    assert lines[where - 1].startswith("    # ")


def test_it_says_what_to_do_next(here):
    said = here.nexus("new", "corner-shop").stdout
    for command in (
        "nexus run",
        "nexus check plugins/corner-shop",
        "python -m pytest plugins/corner-shop",
    ):
        assert command in said
    assert "--plugins" not in said


def test_in_a_folder_that_run_does_not_look_in_it_says_which_option_to_give(here):
    said = here.nexus("new", "corner-shop", "--dir", "my plugins").stdout
    assert "nexus run --plugins 'my plugins'" in said
    assert (here.folder / "my plugins" / "corner-shop" / "plugin.py").is_file()


def test_a_folder_that_is_there_is_left_as_it_is(here):
    folder = here.plugin("corner-shop")
    before = (folder / "plugin.py").read_text()
    refused = here.nexus("new", "corner-shop")
    assert refused.returncode == 2
    assert "plugins/corner-shop is there already (choose another name or folder)" in refused.stderr
    assert (folder / "plugin.py").read_text() == before


def test_a_file_in_place_of_the_folder_is_named(here):
    (here.folder / "plugins").write_text("")
    refused = here.nexus("new", "corner-shop")
    assert refused.returncode == 1
    assert "cannot make plugins/corner-shop: Not a directory" in refused.stderr


@pytest.mark.parametrize(
    ("name", "words", "instead"),
    [
        ("My_First Plugin", "is not the name of a plugin", "my-first-plugin"),
        ("Shop", "is not the name of a plugin", "shop"),
        ("2nd", "is not the name of a plugin", "plugin-2nd"),
        ("shop-", "is not the name of a plugin", "shop"),
        ("../shop", "is not the name of a plugin", "shop"),
        ("", "is not the name of a plugin", "plugin"),
        ("class", "is a word of Python", "class-plugin"),
        ("json", "there is a Python module json", "json-plugin"),
        ("nexus-actors", "there is a Python module nexus_actors", "nexus-actors-plugin"),
        ("docs", "/docs belongs to the node itself", "docs-plugin"),
        ("a" * 49, "is longer than 48 characters", "shorten it"),
    ],
)
def test_a_name_that_will_not_do_is_refused_with_one_that_would(name, words, instead):
    (fault,) = name_faults(name)
    assert words in fault.what
    assert instead in fault.fix


@pytest.mark.parametrize("name", ["corner-shop", "my-very-first-plugin", "a1-b2", "plugin"])
def test_other_names_will_do(name):
    assert not list(name_faults(name))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shop", "ShopPlugin"),
        ("my-first-plugin", "MyFirstPlugin"),
        ("order-desk-2", "OrderDesk2Plugin"),
        ("plugin", "PluginPlugin"),
    ],
)
def test_the_class_is_named_after_the_plugin(name, expected):
    assert class_name(name) == expected
