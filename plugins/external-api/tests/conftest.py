"""The API that the plugin talks to: a real HTTP server on loopback, in a thread of its own."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

KEY = "s3cret"


class Api:
    """What the server knows and was sent; ``reply`` takes the place of its sense."""

    def __init__(self):
        self.users = {"42": {"id": "42", "name": "Ann"}, "a/b c": {"id": "a/b c"}}
        self.seen = []
        """(method, path, authorization) of each request, in order."""
        self.synced = []
        self.reply = None
        """(status, body) for every request, where it is set."""
        self.meeting = threading.Barrier(1)
        """Requests wait here for one another before they are answered."""

    def answer(self, method, path, body):
        if self.reply is not None:
            return self.reply
        if method == "POST" and path == "/v1/users":
            self.synced.append(json.loads(body))
            return 201, b"{}"
        known = {f"/v1/users/{name.replace('/', '%2F').replace(' ', '%20')}": user
                 for name, user in self.users.items()}  # fmt: skip
        if path in known:
            return 200, json.dumps(known[path]).encode()
        return 404, b'{"error": "unknown"}'


@pytest.fixture
def api():
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one write for a reply: two of them wait for each other on loopback

        def _do(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            api.seen.append((self.command, self.path, self.headers.get("Authorization")))
            api.meeting.wait(10)
            status, reply = api.answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        do_GET = do_POST = _do

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield api
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    """The machine's own proxy has no way to this loopback."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
