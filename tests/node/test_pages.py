"""The node's own pages over HTTP: /livez, /readyz, and the addresses kept for later ones."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from node_world import client_of, node_here, until, write_plugin

from nexus_actors.node import Node

GATED = """
class P(Plugin):
    async def initialize(self):
        while not Path(self.config["gate"]).exists():
            await trio.sleep(0.01)

    @get("/gated")
    async def gated(self):
        return {"open": True}
"""
GATE = {"gate": {"type": "string", "required": True}}
HELLO = """
class P(Plugin):
    @get("/hello")
    async def hello(self):
        return {"hello": True}
"""
BROKEN = """
class P(Plugin):
    async def initialize(self):
        raise RuntimeError("no secrets for strangers")
"""


def gate_of(tmp_path: Path) -> dict[str, Any]:
    return {"gated": {"gate": str(tmp_path / "gate")}}


async def test_a_node_lives_at_once_and_is_ready_when_its_plugins_have_settled(
    tmp_path: Path,
) -> None:
    write_plugin(tmp_path / "plugins", "gated", GATED, configuration=GATE)
    write_plugin(tmp_path / "plugins", "hello", HELLO)
    async with (
        node_here(tmp_path / "plugins", settled=False, config=gate_of(tmp_path)) as node,
        client_of(node) as client,
    ):
        assert (await client.get("/livez")).status_code == 200
        await until(lambda: node.registry.cell("hello").state == "running")
        response = await client.get("/readyz")
        assert response.status_code == 503
        assert response.json()["why"] == "still starting: gated"
        assert (await client.get("/hello")).status_code == 200, "the others serve meanwhile"

        (tmp_path / "gate").touch()
        await node.wait_settled()
        response = await client.get("/readyz")
        assert response.status_code == 200
        assert response.json() == {
            "status": "ready",
            "plugins": [
                {"name": "gated", "state": "running"},
                {"name": "hello", "state": "running"},
            ],
        }


async def test_a_failed_plugin_is_named_and_makes_only_its_requirers_node_unready(
    tmp_path: Path,
) -> None:
    write_plugin(tmp_path / "plugins", "hello", HELLO)
    write_plugin(tmp_path / "plugins", "broken", BROKEN)
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        response = await client.get("/readyz")
        assert response.status_code == 200
        about = {each["name"]: each for each in response.json()["plugins"]}
        assert about["hello"]["state"] == "running"
        assert about["broken"]["state"] == "failed"
        assert "RuntimeError: no secrets for strangers" in about["broken"]["reason"]
        assert 0 < about["broken"]["next_try_in"] <= 1.2
    async with (
        node_here(tmp_path / "plugins", node={"required": ("broken",)}) as node,
        client_of(node) as client,
    ):
        response = await client.get("/readyz")
        assert response.status_code == 503
        assert response.json()["why"] == "required and not running: broken"


async def test_a_failed_plugin_that_is_tried_again_does_not_make_the_node_unready(
    tmp_path: Path,
) -> None:
    write_plugin(
        tmp_path / "plugins",
        "gated",
        GATED,
        configuration=GATE,
        deadlines={"initialize": 0.1},
        supervision={"backoff": {"first": 0.01}},
    )
    async with (
        node_here(tmp_path / "plugins", config=gate_of(tmp_path)) as node,
        client_of(node) as client,
    ):
        cell = node.registry.cell("gated")
        seen = set()
        for _ in range(6):  # three tries, each a change to and fro
            await cell.wait_changed()
            seen.add(cell.state)
            assert (await client.get("/readyz")).status_code == 200, cell.state
        assert seen == {"failed", "restarting"}
        (tmp_path / "gate").touch()
        await until(lambda: cell.state == "running")


async def test_a_stopping_node_is_not_ready(tmp_path: Path) -> None:
    write_plugin(
        tmp_path / "plugins",
        "slow",
        """
        class P(Plugin):
            @get("/slow")
            async def slow(self):
                await trio.sleep(0.3)
                return {}
        """,
    )
    async with node_here(tmp_path / "plugins") as node:
        node.phase = "stopping"  # over the wire nobody can ask any more: it takes no connections
        async with client_of(node) as client:
            response = await client.get("/readyz")
            assert response.status_code == 503
            assert response.json()["why"] == "the node is stopping"
            assert (await client.get("/livez")).status_code == 200


async def ask_as(node: Node, address: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """What ``/readyz`` says to a client at ``address``, at the level of ASGI."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/readyz",
        "raw_path": b"/readyz",
        "query_string": b"",
        "root_path": "",
        "headers": [*({b"host": b"localhost"} | dict(headers)).items()],
        "client": (address, 50_000),
        "server": ("0.0.0.0", 8000),
        "extensions": {},
    }
    asked = [{"type": "http.request", "body": b"", "more_body": False}]
    body = b""

    async def receive() -> Any:
        if asked:
            return asked.pop()
        await trio.sleep_forever()

    async def send(message: Any) -> None:
        nonlocal body
        await trio.lowlevel.checkpoint()
        body += message.get("body", b"")

    await node.frontend(scope, receive, send)
    return {each["name"]: each for each in json.loads(body)["plugins"]}


@pytest.mark.parametrize(
    ("address", "headers", "told"),
    [
        ("127.0.0.1", [], True),
        ("::1", [], True),
        ("192.0.2.7", [], False),
        ("192.0.2.7", [(b"x-forwarded-for", b"127.0.0.1")], False),
        ("127.0.0.1", [(b"x-forwarded-for", b"192.0.2.7")], False),
        ("127.0.0.1", [(b"forwarded", b"for=192.0.2.7")], False),
        ("127.0.0.1", [(b"x-real-ip", b"192.0.2.7")], False),
        ("127.0.0.1", [(b"host", b"localhost:8000")], True),
        ("::1", [(b"host", b"[::1]:8000")], True),
        ("127.0.0.1", [(b"host", b"127.0.0.1")], True),
        ("127.0.0.1", [(b"host", b"shop.example")], False),
        ("127.0.0.1", [(b"host", b"localhost.shop.example:80")], False),
    ],
)
async def test_reasons_are_for_those_on_this_machine(
    tmp_path: Path, address: str, headers: list[tuple[bytes, bytes]], told: bool
) -> None:
    write_plugin(tmp_path / "plugins", "broken", BROKEN)
    async with node_here(tmp_path / "plugins") as node:
        about = await ask_as(node, address, headers)
        assert about["broken"]["state"] == "failed"
        assert ("reason" in about["broken"]) is told
        assert ("no secrets" in json.dumps(about)) is told


async def test_each_request_is_logged_at_debug_level(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_plugin(tmp_path / "plugins", "hello", HELLO)
    caplog.set_level("DEBUG", "nexus.access")
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        await client.get("/hello?secret=1", headers={"X-Request-ID": "mine"})
        await client.get("/nowhere")
    said = [record.getMessage() for record in caplog.records if record.name == "nexus.access"]
    assert len(said) == 2
    assert said[0].startswith("GET /hello 200")
    assert "secret" not in said[0]
    assert said[1].startswith("GET /nowhere 404")


@pytest.mark.parametrize("path", ["/metrics", "/docs", "/openapi.json", "/admin", "/admin/x"])
async def test_a_page_not_yet_built_is_not_found(tmp_path: Path, path: str) -> None:
    write_plugin(tmp_path / "plugins", "hello", HELLO)
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        response = await client.get(path)
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == 404
