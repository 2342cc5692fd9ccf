"""Plugins that cannot run: the others serve, and each fault is named with its place and its fix."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from node_world import PATIENCE, client_of, node_here, node_process, until, write_plugin

from nexus_actors.config import NodeSettings, Settings
from nexus_actors.errors import Invalid
from nexus_actors.node import Node
from nexus_actors.plugin.loader import LoadedPlugin, load_plugins

GOOD = """
class P(Plugin):
    @get("/good")
    async def good(self):
        return {"good": True}
"""


def broken_manifest(folder: Path) -> None:
    home = write_plugin(folder, "bad", GOOD.replace("/good", "/bad"))
    (home / "plugin.json").write_text('{"name": "bad",\n "version": 7,\n "entrypoint": "x"}')


def no_json(folder: Path) -> None:
    home = write_plugin(folder, "bad", GOOD.replace("/good", "/bad"))
    (home / "plugin.json").write_text('{"name": "bad",\n "version" "1"}')


def import_error(folder: Path) -> None:
    write_plugin(folder, "bad", "import no_such_package_anywhere\n")


def no_permission(folder: Path) -> None:
    source = """
    class P(Plugin):
        @event_handler("order.*")
        async def on_order(self, event):
            pass
    """
    write_plugin(folder, "bad", source)


def same_path(folder: Path) -> None:
    write_plugin(folder, "zbad", GOOD)


def reserved_path(folder: Path) -> None:
    write_plugin(folder, "bad", GOOD.replace("/good", "/metrics"))


def missing_requirement(folder: Path) -> None:
    write_plugin(folder, "bad", GOOD.replace("/good", "/bad"), requires=["goood"])


def circle(folder: Path) -> None:
    write_plugin(folder, "bad", GOOD.replace("/good", "/bad"), requires=["worse"])
    write_plugin(folder, "worse", GOOD.replace("/good", "/worse"), requires=["bad"])


def wrapping(body: str, name: str = "bad") -> Callable[[Path], None]:
    source = f"""
    class P(Plugin):
        @classmethod
        def node_middleware(cls, plugin):
            {body}

        @get("/bad")
        async def bad(self):
            return {{}}
    """

    def write(folder: Path) -> None:
        write_plugin(folder, name, source, permissions=["http:middleware"])

    return write


def required_by_another(folder: Path) -> None:
    wrapping("raise RuntimeError('no wrapper today')", "abad")(folder)
    write_plugin(folder, "bad", GOOD.replace("/good", "/bad2"), requires=["abad"])


def same_schema(folder: Path) -> None:
    database = {"permissions": ["database:write"]}
    write_plugin(folder, "public", GOOD.replace("/good", "/public"), **database)
    write_plugin(folder, "plugin-public", GOOD.replace("/good", "/other"), **database)


REFUSED: dict[str, tuple[Callable[[Path], None], str, list[str]]] = {
    "a broken manifest": (
        broken_manifest,
        "bad",
        ["bad/plugin.json: version", "bad/plugin.json: entrypoint", "entry_point"],
    ),
    "no JSON": (no_json, "bad", ["bad/plugin.json", "line 2"]),
    "an import error": (
        import_error,
        "bad",
        ["bad/plugin.py:", "no_such_package_anywhere"],
    ),
    "a missing permission": (
        no_permission,
        "bad",
        ["bad/plugin.json: permissions", "on_order", 'add "events:subscribe'],
    ),
    "a path another plugin has": (same_path, "zbad", ["/good", "good"]),
    "a reserved path": (reserved_path, "bad", ["/metrics"]),
    "a requirement that is not there": (
        missing_requirement,
        "bad",
        ["bad/plugin.json: requires[0]", "goood", "good"],
    ),
    "node middleware that raises": (
        wrapping("raise RuntimeError('no wrapper today')"),
        "bad",
        ["bad/plugin.py:", "P.node_middleware", "RuntimeError: no wrapper today", "mend it"],
    ),
    "node middleware that is none": (
        wrapping("return 7"),
        "bad",
        ["bad/plugin.py:", "P.node_middleware", "int object cannot be a middleware"],
    ),
    "node middleware that another's plugin requires": (
        required_by_another,
        "bad",
        ["bad/plugin.json: requires[0]", "abad cannot start", "mend abad first"],
    ),
    "a circle": (circle, "bad", ["bad/plugin.json: requires[0]", "bad > worse > bad"]),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_a_plugin_that_is_refused_leaves_the_others_serving(
    tmp_path: Path, kind: str
) -> None:
    make, name, words = REFUSED[kind]
    write_plugin(tmp_path / "plugins", "good", GOOD)
    make(tmp_path / "plugins")
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        assert (await client.get("/good")).json() == {"good": True}
        said = [f"{fault.where}: {fault.what}" for fault in node.plan.faults()]
        fixes = [fault.fix or fault.what for fault in node.plan.faults()]
        assert said
        assert all(fixes)
        readyz = await client.get("/readyz")
        assert readyz.status_code == 200, "it has settled: it is known not to run"
        about = {each["name"]: each for each in readyz.json()["plugins"]}
        assert about["good"]["state"] == "running"
        assert about[name]["state"] == "failed"
        for word in words:
            assert word in "\n".join([*said, *fixes])
            assert word in about[name]["reason"]
        if name == "bad":
            response = await client.get("/bad")
            assert response.status_code == 404, "nothing of it is served"


def test_of_two_plugins_that_would_share_a_schema_one_is_refused_at_load(tmp_path: Path) -> None:
    same_schema(tmp_path)
    plan = load_plugins(Settings(node=NodeSettings(plugins=(tmp_path,), installed_plugins=False)))
    (refused,) = plan.refused
    (served,) = plan.plugins
    assert {refused.name, served.name} == {"public", "plugin-public"}
    (fault,) = refused.faults
    assert fault.where.endswith(f"{refused.name}/plugin.json: name")
    assert "'public'" in fault.what
    assert "schema plugin_public" in fault.what
    Node(Settings(), plan)  # and it can be put together


ASKER = """
class P(Plugin):
    @get("/ask")
    async def ask(self):
        bad = self.get_plugin("bad")
        try:
            return {"has": hasattr(bad, "total"), "total": await bad.total(1)}
        except Exception as error:
            return {"has": hasattr(bad, "total"), "error": type(error).__name__, "is": str(error)}

    @get("/private")
    async def private(self):
        return {"has": hasattr(self.get_plugin("bad"), "_total")}
"""


async def test_asking_a_refused_plugin_raises_what_asking_a_stopped_one_does(
    tmp_path: Path,
) -> None:
    broken_manifest(tmp_path / "plugins")
    write_plugin(tmp_path / "plugins", "asker", ASKER, permissions=["plugins:call"])
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        said = (await client.get("/ask")).json()
        assert said["has"] is True
        assert said["error"] == "ActorStopped"
        assert "bad" in said["is"]
        assert "failed" in said["is"]
        assert (await client.get("/private")).json() == {"has": False}


def plugin_in(folder: Path, name: str, source: str, **manifest: Any) -> LoadedPlugin:
    write_plugin(folder, name, source, **manifest)
    plan = load_plugins(Settings(node=NodeSettings(plugins=(folder,), installed_plugins=False)))
    (plugin,) = [each for each in plan.plugins if each.name == name]
    return plugin


async def test_a_plugin_that_cannot_be_added_leaves_nothing_behind(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plugins", "good", GOOD)
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        late = plugin_in(tmp_path / "late", "late", GOOD)
        with pytest.raises(Invalid, match="/good.*taken by plugin good"):
            await node.add_plugin(late)
        assert [cell.name for cell in node.cells()] == ["good"]
        store = plugin_in(
            tmp_path / "store",
            "store",
            GOOD.replace("/good", "/store"),
            permissions=["database:read"],
        )
        with pytest.raises(Invalid, match="needs the database, and this node was started without"):
            await node.add_plugin(store)
        assert (await client.get("/store")).status_code == 404
        again = plugin_in(tmp_path / "again", "late", GOOD.replace("/good", "/late"))
        await node.add_plugin(again)
        await node.wait_settled()
        assert (await client.get("/late")).json() == {"good": True}


RAISING = """
class P(Plugin):
    async def initialize(self):
        raise RuntimeError("the till is stuck")

    @get("/bad")
    async def bad(self):
        return {}
"""
ENDLESS = RAISING.replace('raise RuntimeError("the till is stuck")', "await trio.sleep_forever()")
IN_INIT = """
class P(Plugin):
    def __init__(self, config):
        super().__init__(config)
        raise RuntimeError("the till is stuck")

    @get("/bad")
    async def bad(self):
        return {}
"""


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (RAISING, ["RuntimeError: the till is stuck", "bad/plugin.py:"]),
        (ENDLESS, ["initialize of bad did not end within 0.2 s"]),
        (IN_INIT, ["RuntimeError: the till is stuck", "bad/plugin.py:"]),
    ],
    ids=["initialize raises", "initialize never ends", "__init__ raises"],
)
async def test_a_plugin_that_does_not_come_up_leaves_the_others_serving(
    tmp_path: Path, source: str, words: list[str]
) -> None:
    write_plugin(tmp_path / "plugins", "good", GOOD)
    write_plugin(
        tmp_path / "plugins",
        "bad",
        source,
        deadlines={"initialize": 0.2},
        supervision={"backoff": {"first": 30}},
    )
    write_plugin(
        tmp_path / "plugins", "follower", GOOD.replace("/good", "/follower"), requires=["bad"]
    )
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        assert (await client.get("/good")).json() == {"good": True}
        about = {each["name"]: each for each in (await client.get("/readyz")).json()["plugins"]}
        assert about["bad"]["state"] == "failed"
        for word in words:
            assert word in about["bad"]["reason"]
        assert about["bad"]["next_try_in"] > 10
        response = await client.get("/bad")
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 10
        assert about["follower"]["state"] == "waiting"
        assert "bad" in about["follower"]["reason"]


async def test_all_faults_of_a_start_are_named_on_stderr(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    write_plugin(plugins, "good", GOOD)
    home = write_plugin(plugins, "broken", GOOD)
    (home / "plugin.json").write_text(json.dumps({"name": "broken", "version": 7}))
    write_plugin(plugins, "importing", "import no_such_package_anywhere\n")
    write_plugin(plugins, "zgood", GOOD)
    write_plugin(plugins, "needing", GOOD.replace("/good", "/needing"), requires=["nothing"])
    write_plugin(plugins, "raising", RAISING.replace("/bad", "/raising"))
    async with node_process(tmp_path) as node, client_of(node) as client:
        assert (await client.get("/good")).json() == {"good": True}
        for words in (
            "broken/plugin.json: version",
            "no_such_package_anywhere",
            "/good",
            "needing/plugin.json: requires[0]",
            "RuntimeError: the till is stuck",
        ):
            await until(lambda words=words: words in node.stderr)  # type: ignore[misc]
        states: dict[str, Any] = {
            each["name"]: each["state"] for each in (await client.get("/readyz")).json()["plugins"]
        }
        assert states == {
            "good": "running",
            "broken": "failed",
            "importing": "failed",
            "zgood": "failed",
            "needing": "failed",
            "raising": "failed",
        }
        assert await node.terminate(PATIENCE) == 0
