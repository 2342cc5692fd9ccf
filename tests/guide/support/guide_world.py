"""The world around the guide's plugins: their folders, a node, and what they reach on the network.

The SMTP server and the HTTP API are real ones on loopback, each in a thread of its own, so that no
loop or nursery of the test is theirs.
"""

from __future__ import annotations

import asyncio
import email
import email.message
import email.policy
import http.server
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import trio
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from guide_blocks import Form, Guide

from nexus_actors.testing import TestApplication, TestClient

MANIFESTS: dict[str, dict[str, Any]] = {
    "data-processor": {
        "entry_point": "plugin:Shown",
        "permissions": [
            "database:write",
            "events:subscribe:data.raw.created",
            "events:emit:data.processed",
        ],
        "configuration": {"batch_size": {"type": "integer"}},
    },
    "external-api": {
        "entry_point": "plugin:ExternalAPIPlugin",
        "permissions": ["events:subscribe:user.updated"],
        "configuration": {"api_base_url": {"type": "string"}, "api_key": {"type": "string"}},
    },
    "notifications": {
        "entry_point": "plugin:NotificationPlugin",
        "permissions": ["events:subscribe:user.*"],
        "configuration": {
            "email": {
                "type": "object",
                "properties": {
                    "from_email": {"type": "string"},
                    "smtp_host": {"type": "string"},
                    "smtp_port": {"type": "integer"},
                    "use_tls": {"type": "boolean"},
                    "username": {"type": "string"},
                    "password": {"type": "string", "secret": True},
                },
            },
        },
    },
    "communication": {
        "entry_point": "plugin:Shown",
        "permissions": ["plugins:call", "events:emit:plugin.message.broadcast"],
    },
    "middleware": {"entry_point": "plugin:Shown"},
}
"""The smallest manifest for each block that the guide gives none."""

RECORDER = '''
"""Keeps every event and shows them: what the other plugins are seen by."""

from nexus_actors.events import event_handler
from nexus_actors.http import get
from nexus_actors.plugin import Plugin


class Recorder(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self.events = []

    @event_handler("#")
    async def on_any(self, event):
        self.events.append({"type": event.type, "source": event.source, "data": event.data})

    @get("/recorder/events")
    async def list_events(self):
        return {"events": self.events}
'''


def write_plugin(folder: Path, name: str, code: str, manifest: dict[str, Any] | str) -> Path:
    """A plugin's folder below ``folder``; a manifest given as text is written as it stands."""
    plugin = folder / name
    plugin.mkdir(parents=True)
    if not isinstance(manifest, str):
        manifest = json.dumps({"name": name, "version": "1.0.0"} | manifest)
    (plugin / "plugin.json").write_text(manifest)
    (plugin / "plugin.py").write_text(code)
    return plugin


def write_block(folder: Path, guide: Guide, name: str, form: Form, **manifest: Any) -> Path:
    """The plugin of one of the guide's blocks, with its manifest and ``manifest`` added to it."""
    if name == "my-first-plugin":
        return write_plugin(folder, name, guide.source(name, form), guide["manifest"].text)
    return write_plugin(folder, name, guide.source(name, form), MANIFESTS[name] | manifest)


def write_recorder(folder: Path) -> None:
    """The plugin ``recorder``, which gets all events."""
    write_plugin(
        folder,
        "recorder",
        RECORDER,
        {"entry_point": "plugin:Recorder", "permissions": ["events:subscribe"]},
    )


@asynccontextmanager
async def a_node(
    folder: Path, **configs: dict[str, Any]
) -> AsyncIterator[tuple[TestApplication, TestClient]]:
    """A node with these plugins of ``folder`` registered, in order: a name's hyphens are written
    as underscores here."""
    app = TestApplication(plugins=[folder])
    try:
        for name, config in configs.items():
            await app.register_plugin(name.replace("_", "-"), config)
        yield app, TestClient(app)
    finally:
        # a plugin that does not stop by itself is stopped after 5 s, so longer means that one hung
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5) as cleaning:
            await app.cleanup()
        assert not cleaning.cancelled_caught, "the node did not stop within 5 s"


async def eventually(look: Callable[[], Awaitable[Any]], until: Callable[[Any], bool]) -> Any:
    """What ``look`` gives once ``until`` is content with it; fails after 10 s, with the last."""
    seen: Any = None
    with trio.move_on_after(10):
        while True:
            seen = await look()
            if until(seen):
                return seen
            await trio.sleep(0.02)
    raise AssertionError(f"waited 10 s in vain; last seen: {seen!r}")


async def events_of(client: TestClient, type: str, number: int = 1) -> list[dict[str, Any]]:
    """The events of a type that the recorder has, once there are ``number``."""

    async def look() -> list[dict[str, Any]]:
        events = (await client.get("/recorder/events")).json()["events"]
        return [event for event in events if event["type"] == type]

    found: list[dict[str, Any]] = await eventually(look, lambda events: len(events) >= number)
    return found


class MailBox:
    """A real SMTP server's end: what it was sent, and who may log in."""

    username, password = "nexus", "correct horse"

    def __init__(self) -> None:
        self.port = 0
        self.mails: list[email.message.EmailMessage] = []

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that the guide's notifications plugin needs to send to it."""
        return {
            "from_email": "nexus@example.org",
            "smtp_host": "127.0.0.1",
            "smtp_port": self.port,
            "use_tls": False,
            "username": self.username,
            "password": self.password,
        }

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, email.message.EmailMessage)
        self.mails.append(mail)
        return "250 OK"

    def authenticate(
        self, server: Any, session: Any, envelope: Any, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        good = (data.login, data.password) == (self.username.encode(), self.password.encode())
        return AuthResult(success=good, handled=False)

    async def wait(self, number: int) -> list[email.message.EmailMessage]:
        """The mails, once there are ``number``."""

        async def look() -> list[email.message.EmailMessage]:
            return self.mails

        found: list[email.message.EmailMessage] = await eventually(
            look, lambda mails: len(mails) >= number
        )
        return found


@contextmanager
def smtp_server() -> Iterator[MailBox]:
    """aiosmtpd on a free port of loopback."""
    box = MailBox()
    ready = threading.Event()
    ends: list[Callable[[], object]] = []

    async def serve() -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        server = await loop.create_server(
            lambda: SMTP(
                box,
                hostname="mail.example.org",
                authenticator=box.authenticate,
                auth_require_tls=False,
                loop=loop,
            ),
            "127.0.0.1",
        )
        box.port = server.sockets[0].getsockname()[1]
        ends.append(lambda: loop.call_soon_threadsafe(end.set))
        ready.set()
        async with server:
            await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="smtp")
    thread.start()
    assert ready.wait(10)
    try:
        yield box
    finally:
        ends[0]()
        thread.join(10)


class Api:
    """A real HTTP API's end: the users it has, and what it was asked."""

    key = "key-1"

    def __init__(self) -> None:
        self.url = ""
        self.users: dict[str, dict[str, Any]] = {"42": {"id": "42", "name": "Ann"}}
        self.refuses_with = 0
        """A status with which every POST is refused; 0 for none."""

    async def wait_for_user(self, id: str) -> dict[str, Any]:
        """The user, once it was posted."""

        async def look() -> dict[str, Any] | None:
            return self.users.get(id)

        user: dict[str, Any] = await eventually(look, lambda user: user is not None)
        return user


@contextmanager
def api_server() -> Iterator[Api]:
    """An HTTP/1.1 API for users on a free port of loopback; wants `Authorization: Bearer key-1`."""
    api = Api()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            user = api.users.get(self.path.removeprefix("/users/"))
            self.answer(*((404, {"error": "no such user"}) if user is None else (200, user)))

        def do_POST(self) -> None:
            user = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if api.refuses_with:
                return self.answer(api.refuses_with, {"error": "refused"})
            known = user["id"] in api.users
            api.users[user["id"]] = user
            return self.answer(200 if known else 201, user)

        def answer(self, status: int, value: dict[str, Any]) -> None:
            if self.headers["Authorization"] != f"Bearer {api.key}":
                status, value = 401, {"error": "who are you?"}
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="api")
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
