"""Plugins are found in folders and among installed packages, broken ones too, each name once."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import nexus_actors
from nexus_actors.config import NodeSettings, Settings
from nexus_actors.errors import Invalid
from nexus_actors.permissions import Permissions
from nexus_actors.plugin import discovery
from nexus_actors.plugin.discovery import Found, discover, plugin_dirs, shipped_dir
from nexus_actors.plugin.importing import forget_plugin

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a plugin folder below ``plugins``, or ``at`` another place."""

    def run(folder: str, at: str = "plugins", manifest: object = None, **fields: object) -> Path:
        home = tmp_path / at / folder
        home.mkdir(parents=True)
        (home / "plugin.py").write_text("class P: pass")
        document = {"name": folder, "version": "1", "entry_point": "plugin:P", **fields}
        text = manifest if isinstance(manifest, str) else json.dumps(document)
        (home / "plugin.json").write_text(text)
        return home

    return run


def found_in(*dirs: Path) -> list[Found]:
    return discover(dirs, entry_points=False)


def names(found: list[Found]) -> list[str]:
    return [plugin.name for plugin in found]


# Folders ------------------------------------------------------------------------------------------


def test_every_folder_with_a_manifest_is_a_plugin_in_the_order_of_names(
    make: Make, tmp_path: Path
) -> None:
    for name in ("shop", "billing", "my-first-plugin"):
        make(name)
    found = found_in(tmp_path / "plugins")
    assert names(found) == ["billing", "my-first-plugin", "shop"]
    plugin = found[1]
    assert plugin.manifest is not None
    assert plugin.faults == ()
    assert plugin.module == "nexus_plugins.my_first_plugin.plugin"
    assert plugin.folder == tmp_path / "plugins" / "my-first-plugin"
    assert plugin.where == str(tmp_path / "plugins/my-first-plugin/plugin.json")
    assert plugin.origin == "folder"


def test_the_place_is_written_as_seen_from_here(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("shop")
    monkeypatch.chdir(tmp_path)
    assert found_in(Path("plugins"))[0].where == "plugins/shop/plugin.json"
    assert found_in(tmp_path / "plugins")[0].where == "plugins/shop/plugin.json"


def test_several_folders_are_searched_and_one_given_twice_is_searched_once(
    make: Make, tmp_path: Path
) -> None:
    make("shop", "one")
    make("billing", "two")
    one, two = tmp_path / "one", tmp_path / "two"
    assert names(found_in(one, two, one, tmp_path / "two" / ".." / "one")) == ["billing", "shop"]


def test_a_folder_that_is_itself_a_plugin_is_one(make: Make) -> None:
    assert names(found_in(make("shop"))) == ["shop"]


@pytest.mark.parametrize("name", [".hidden", "_private", "__pycache__"])
def test_what_begins_with_a_dot_or_an_underscore_is_let_be(
    make: Make, tmp_path: Path, name: str
) -> None:
    make(name)
    assert found_in(tmp_path / "plugins") == []


def test_what_is_no_plugin_is_let_be(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").touch()
    (tmp_path / "plugin.py").touch()
    assert found_in(tmp_path) == []


def test_a_folder_that_looks_like_a_plugin_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "my_shop").mkdir()
    (tmp_path / "my_shop" / "plugin.py").touch()
    (plugin,) = found_in(tmp_path)
    assert plugin.name == "my-shop"
    assert plugin.manifest is None
    (fault,) = plugin.faults
    assert fault.what == "has a plugin.py and no plugin.json"
    assert '{"name": "my-shop", "version": "1.0.0", "entry_point": "plugin:<class>"}' in fault.fix


def test_a_broken_plugin_is_in_the_list_and_the_others_are_whole(
    make: Make, tmp_path: Path
) -> None:
    make("bad", manifest="{")
    make("good")
    make("wrong", permissions=["x"], concurrency=0)
    bad, good, wrong = found_in(tmp_path / "plugins")
    assert bad.manifest is None
    assert "not JSON" in bad.faults[0].what
    assert good.manifest is not None
    assert len(wrong.faults) == 2
    assert wrong.name == "wrong"


def test_a_plugin_with_another_name_than_its_folder_is_found_by_the_folder(make: Make) -> None:
    (plugin,) = found_in(make("store", name="shop"))
    assert plugin.name == "store"
    assert "is not the name of its folder" in plugin.faults[0].what


def test_two_plugins_of_one_name_are_one_fault_that_names_both(make: Make, tmp_path: Path) -> None:
    make("shop", "one")
    make("shop", "two")
    make("billing", "two")
    billing, shop = found_in(tmp_path / "one", tmp_path / "two")
    assert billing.manifest is not None
    assert shop.manifest is None
    (fault,) = shop.faults
    assert fault.what == (
        f'2 plugins are called "shop": {tmp_path}/one/shop/plugin.json and '
        f"{tmp_path}/two/shop/plugin.json"
    )


def test_a_name_with_hyphens_and_one_with_underscores_are_the_same(
    make: Make, tmp_path: Path
) -> None:
    make("my-shop", "one")
    make("my_shop", "two", name="my-shop")
    (shop,) = found_in(tmp_path / "one", tmp_path / "two")
    assert '2 plugins are called "my-shop"' in shop.faults[0].what


def test_folders_that_cannot_be_read_are_named_all_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Invalid) as caught:
        found_in(tmp_path / "gone", tmp_path / "file")
    assert [fault.what for fault in caught.value.faults] == [
        "cannot be read: No such file or directory",
        "cannot be read: Not a directory",
    ]


def test_a_link_to_a_folder_is_followed_and_seen_to_be_the_same(make: Make, tmp_path: Path) -> None:
    make("shop", "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "shop").symlink_to(tmp_path / "one" / "shop")
    assert found_in(tmp_path / "one", tmp_path / "two")[0].manifest is not None


def test_a_manifest_that_is_a_broken_link_is_a_fault(make: Make) -> None:
    home = make("shop")
    (home / "plugin.json").unlink()
    (home / "plugin.json").symlink_to(home / "gone.json")
    (plugin,) = found_in(home.parent)
    assert plugin.manifest is None


# Sources ------------------------------------------------------------------------------------------


def test_the_sources_of_a_plugin_are_its_modules_without_its_tests(make: Make) -> None:
    home = make("shop")
    for path in (
        "models.py",
        "deep/inner.py",
        "tests/test_plugin.py",
        "tests/helper.py",
        "test_here.py",
        "conftest.py",
        "setup.py",
        ".venv/lib/x.py",
        "venv/lib/x.py",
        "deep/__pycache__/x.py",
        "notes.txt",
    ):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).touch()
    (plugin,) = found_in(home)
    sources = [str(path.relative_to(home)) for path in plugin.sources()]
    assert sources == ["deep/inner.py", "models.py", "plugin.py"]


def test_a_plugin_below_a_folder_called_tests_still_has_sources(make: Make) -> None:
    (plugin,) = found_in(make("shop", at="tests/plugins"))
    assert [path.name for path in plugin.sources()] == ["plugin.py"]


# Where to look ------------------------------------------------------------------------------------


def test_the_folders_named_go_before_the_one_here_before_the_shipped(tmp_path: Path) -> None:
    named = Settings(node=NodeSettings(plugins=(tmp_path / "a",)))
    assert plugin_dirs(Settings(), tmp_path) == (shipped_dir(),)
    (tmp_path / "plugins").mkdir()
    assert plugin_dirs(Settings(), tmp_path) == (tmp_path / "plugins",)
    assert plugin_dirs(named, tmp_path) == (tmp_path / "a",)


def test_the_shipped_plugins_lie_in_the_package_or_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "nexus_actors"
    package.mkdir()
    monkeypatch.setattr(nexus_actors, "__file__", str(package / "__init__.py"))
    assert shipped_dir() == tmp_path / "plugins"
    (package / "shipped").mkdir()
    assert shipped_dir() == package / "shipped"


# Installed packages -------------------------------------------------------------------------------


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Install a package as pip does: files in a folder of sys.path, with metadata beside them."""
    site = tmp_path / "site"
    site.mkdir()
    forget_plugin("my-first-plugin")  # its name may stand for the shipped one, by the tests of that
    monkeypatch.syspath_prepend(str(site))

    def run(entry: str, files: dict[str, str], *metadata: str, project: str = "nexus-x") -> Path:
        for path, text in files.items():
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_text(text)
        info = site / f"{project.replace('-', '_')}-2.0.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {project}", "Version: 2.0", *metadata]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text(f"[nexus.plugins]\n{entry}\n")
        importlib.invalidate_caches()
        return site

    yield run
    for module in [*sys.modules]:
        if module.partition(".")[0] in ("my_first_plugin", "single"):
            del sys.modules[module]


ENTRY = "my-first-plugin = my_first_plugin.plugin:MyFirstPlugin"
MODULE = {
    "my_first_plugin/__init__.py": "raise RuntimeError('imported while looking')",
    "my_first_plugin/plugin.py": "class MyFirstPlugin: pass",
}
MANIFEST = {
    "name": "my-first-plugin",
    "version": "3.1",
    "entry_point": "plugin:MyFirstPlugin",
    "permissions": ["events:emit"],
}


def packaged(manifest: object) -> dict[str, str]:
    return MODULE | {"my_first_plugin/plugin.json": json.dumps(manifest)}


def test_an_installed_package_is_found_by_its_entry_point_and_not_imported(install: Make) -> None:
    site = install(ENTRY, packaged(MANIFEST))
    (plugin,) = discover([])
    assert plugin.name == "my-first-plugin"
    assert plugin.origin == "package"
    assert plugin.module == "my_first_plugin.plugin"
    assert plugin.folder == site / "my_first_plugin"
    assert plugin.manifest is not None
    assert str(plugin.manifest.entry_point) == "my_first_plugin.plugin:MyFirstPlugin"
    assert plugin.manifest.permissions == Permissions.of("events:emit")
    assert "my_first_plugin" not in sys.modules


def test_a_package_without_a_manifest_speaks_through_its_metadata_and_may_nothing(
    install: Make,
) -> None:
    install(ENTRY, MODULE, "Summary: My first", "Author: Ann", "License: MIT")
    (plugin,) = discover([])
    assert plugin.where == f"entry point {ENTRY} of nexus-x"
    manifest = plugin.manifest
    assert manifest is not None
    assert (manifest.version, manifest.description) == ("2.0", "My first")
    assert (manifest.author, manifest.license) == ("Ann", "MIT")
    assert manifest.permissions == Permissions()


def test_a_single_module_has_no_folder_to_search_for_sources(install: Make) -> None:
    site = install("single = single:Single", {"single.py": "import aiohttp", "plugin.json": "{"})
    (plugin,) = discover([])
    assert plugin.manifest is not None
    assert plugin.folder is None
    assert [*plugin.sources()] == [site / "single.py"]


def test_a_class_in_the_package_itself_has_the_package_for_its_folder(install: Make) -> None:
    files = {"single/__init__.py": "class Single: pass", "single/more.py": ""}
    site = install("single = single:Single", files)
    (plugin,) = discover([])
    assert plugin.folder == site / "single"
    assert [path.name for path in plugin.sources()] == ["__init__.py", "more.py"]


def test_installed_plugins_can_be_left_alone(install: Make) -> None:
    install(ENTRY, packaged(MANIFEST))
    assert discover([], entry_points=False) == []


@pytest.mark.parametrize(
    ("entry", "files", "words"),
    [
        ("my-first-plugin = my_first_plugin.plugin", MODULE, "is not module:Class"),
        ("my-first-plugin = my_first_plugin.plugin:A.b", MODULE, "is not module:Class"),
        ("My_First = my_first_plugin.plugin:P", MODULE, '"My_First" is not the name of a plugin'),
        (
            "my-first-plugin = my_first_plugin.gone:P",
            MODULE,
            "there is no module my_first_plugin.gone",
        ),
        ("my-first-plugin = gone.plugin:P", MODULE, "there is no module gone.plugin"),
        ("my-first-plugin = my_first_plugin.plugin.x:P", MODULE, "there is no module"),
        ("my-first-plugin = !:P", MODULE, "is not module:Class"),
        ("single = single.single:P", {"single.py": ""}, "there is no module single.single"),
        ("spaces = spaces:P", {"spaces/x.py": ""}, "there is no module spaces"),
        (ENTRY, packaged({**MANIFEST, "concurrency": 0}), "0 is out of range"),
        (ENTRY, packaged({**MANIFEST, "name": "other"}), "is not the name of its entry point"),
        (
            ENTRY,
            packaged({**MANIFEST, "entry_point": "plugin:Other"}),
            "Other is not the class of its entry point, MyFirstPlugin",
        ),
    ],
)
def test_a_broken_package_is_a_plugin_with_faults(
    install: Make, entry: str, files: dict[str, str], words: str
) -> None:
    install(entry, files)
    (plugin,) = discover([])
    assert plugin.manifest is None
    assert words in plugin.faults[0].what
    assert plugin.faults[0].fix


def test_a_folder_and_a_package_of_one_name_are_named_both(
    install: Make, make: Make, tmp_path: Path
) -> None:
    install(ENTRY, packaged(MANIFEST))
    make("my-first-plugin")
    (plugin,) = discover([tmp_path / "plugins"])
    assert plugin.manifest is None
    assert "plugins/my-first-plugin/plugin.json and " in plugin.faults[0].what
    assert "my_first_plugin/plugin.json" in plugin.faults[0].what


def test_a_folder_that_is_itself_installed_is_one_plugin(install: Make) -> None:
    """As by ``pip install -e`` of a plugin that lies in the folder of plugins."""
    site = install(ENTRY, packaged(MANIFEST))
    (plugin,) = discover([site / "my_first_plugin"])
    assert plugin.origin == "folder"
    assert plugin.manifest is not None


def test_two_packages_of_one_name_are_named_both(install: Make) -> None:
    install(ENTRY, packaged(MANIFEST))
    install("my-first-plugin = single:S", {"single.py": ""}, project="nexus-y")
    (plugin,) = discover([])
    assert plugin.manifest is None
    assert "of nexus-y" in plugin.faults[0].what


def test_the_group_is_the_guides() -> None:
    assert discovery.GROUP == "nexus.plugins"
