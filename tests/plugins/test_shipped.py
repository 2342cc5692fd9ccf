"""The plugins we ship, all together: what they may import, what their pages say, one node."""

import ast
import json
from pathlib import Path

import pytest

from nexus_actors.plugin.base import Plugin
from nexus_actors.plugin.catalogue import catalogue_of
from nexus_actors.plugin.discovery import discover, shipped_dir
from nexus_actors.plugin.importing import load_class
from nexus_actors.testing import TestApplication, TestClient

NAMES = ["data-processor", "external-api", "my-first-plugin", "notifications"]
PLUGINS = Path(__file__).resolve().parents[2] / "plugins"

PUBLIC = {
    "nexus_actors.database",
    "nexus_actors.events",
    "nexus_actors.http",
    "nexus_actors.middleware",
    "nexus_actors.plugin",
    "nexus_actors.services",
}
"""What a plugin may import of ours; its tests also ``nexus_actors.testing``."""


def test_they_are_found_without_a_fault():
    found = discover([shipped_dir()], entry_points=False)
    assert [(plugin.name, plugin.faults) for plugin in found] == [(name, ()) for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_they_use_the_public_interface_and_nothing_else_of_ours(name):
    for path in sorted((PLUGINS / name).rglob("*.py")):
        allowed = PUBLIC | ({"nexus_actors.testing"} if "tests" in path.parts else set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module or ""]
            for module in modules:
                if module.partition(".")[0] in ("nexus_actors", "supervisors"):
                    assert module in allowed, f"{path}:{node.lineno} imports {module}"


@pytest.mark.parametrize("name", NAMES)
def test_the_manifest_describes_every_option_and_names_every_package_that_is_imported(name):
    manifest = json.loads((PLUGINS / name / "plugin.json").read_text(encoding="utf-8"))
    assert not [path for path, option in options(manifest) if not option.get("description")]
    imported = set()
    for path in (PLUGINS / name).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.partition(".")[0])
    assert imported & {"aiohttp", "attrs", "httpx", "requests", "trio"} == set(
        manifest["dependencies"]["packages"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_page_names_every_route_event_and_option(name):
    page = (PLUGINS / name / "README.md").read_text(encoding="utf-8")
    (found,) = [plugin for plugin in discover([PLUGINS], entry_points=False) if plugin.name == name]
    catalogue = catalogue_of(load_class(found, Plugin))
    words = [f"{entry.mark.method} {entry.mark.path}" for entry in catalogue.routes]
    words += [entry.mark.pattern for entry in catalogue.events]
    manifest = json.loads((PLUGINS / name / "plugin.json").read_text(encoding="utf-8"))
    words += [f"`{path}`" for path, option in options(manifest) if option["type"] != "object"]
    assert [word for word in words if word not in page] == []


def options(manifest):
    """Path and definition of every option, those inside objects too."""

    def below(table, path):
        for key, option in table.items():
            yield ".".join((*path, key)), option
            yield from below(option.get("properties", {}), (*path, key))

    return list(below(manifest["configuration"], ()))


async def test_a_new_user_is_told_to_all_who_want_to_know_in_one_node():
    async with TestApplication(plugins=[PLUGINS]) as app:
        for name in NAMES:
            await app.register_plugin(name)
        client = TestClient(app)
        assert await app.emit_event("user.created", {"username": "ann"}) == 2
        await app.settle()
        (entry,) = (await client.get("/my-plugin/data")).json()["data"]
        assert entry["name"] == "welcome_ann"
        assert await app.emit_event("user.password_reset_requested", {}) == 1
        assert await app.emit_event("user.updated", {"id": 1}) == 1
        assert await app.emit_event("data.raw.created", {"id": 1, "value": "a"}) == 1
        await app.settle()
        assert {cell.name: cell.state for cell in app.node.cells()} == dict.fromkeys(
            NAMES, "running"
        )
        assert {cell.crashes for cell in app.node.cells()} == {0}
