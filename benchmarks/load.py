"""Load over HTTP: by wrk where it is, else by a small client of our own.

Both keep a number of connections open and send the next request on each when its answer is there.
Only loopback is ever asked.
"""

from __future__ import annotations

import re
import selectors
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

__all__ = ["CLIENT", "load", "post"]

WRK = shutil.which("wrk")
CLIENT = "wrk" if WRK else "a client in Python, for there is no wrk here (Debian's package is wrk)"

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def load(
    port: int, path: str, *, seconds: float, connections: int = 64, body: bytes = b""
) -> Mapping[str, float]:
    """Ask ``path`` for some seconds; a body makes it a POST of JSON.

    Returns requests a second (``req/s``) and the milliseconds in which 99 of 100 were answered
    (``p99``).

    Raises:
        RuntimeError: an answer was no 2xx, or a connection broke.
    """
    if WRK:
        return _wrk(port, path, seconds, connections, body)
    return _python(port, path, seconds, connections, body)


def post(port: int, path: str, body: bytes) -> None:
    """One POST of JSON.

    Raises:
        OSError: it was not answered, or not by 2xx.
    """
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10):
        pass


def _wrk(
    port: int, path: str, seconds: float, connections: int, body: bytes
) -> Mapping[str, float]:
    assert WRK is not None, "asked only where it is"
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "post.lua")
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = [==[{body.decode()}]==]\n'
            'wrk.headers["Content-Type"] = "application/json"\n'
        )
        done = subprocess.run(
            [
                *(
                    WRK,
                    "-t1",
                    f"-c{connections}",
                    f"-d{max(1, round(seconds))}s",
                    "--latency",
                    "--timeout=20s",
                ),
                *(("-s", str(script)) if body else ()),
                f"http://127.0.0.1:{port}{path}",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds + 60,
        )
    said = done.stdout
    for trouble in (r"Socket errors:.*", r"Non-2xx.*"):
        found = re.search(trouble, said)
        if found:
            raise RuntimeError(f"{path}: {found.group()}")
    rate = re.search(r"Requests/sec:\s*([\d.]+)", said)
    slow = re.search(r"99%\s+([\d.]+)(us|ms|s|m)\b", said)
    if rate is None or slow is None:
        raise RuntimeError(f"wrk said what is not understood: {said!r}")
    return {"req/s": float(rate[1]), "p99": float(slow[1]) * _UNITS[slow[2]]}


def _python(
    port: int, path: str, seconds: float, connections: int, body: bytes
) -> Mapping[str, float]:
    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    request = head.encode() + b"\r\n" + body
    took: list[float] = []
    selector = selectors.DefaultSelector()
    begun: dict[socket.socket, float] = {}
    held: dict[socket.socket, bytes] = {}
    ends = time.perf_counter() + seconds
    try:
        for _ in range(connections):
            client = socket.create_connection(("127.0.0.1", port))
            selector.register(client, selectors.EVENT_READ)
            begun[client], held[client] = time.perf_counter(), b""
            client.sendall(request)
        while (now := time.perf_counter()) < ends:
            for key, _ in selector.select(timeout=1):
                client = key.fileobj
                assert isinstance(client, socket.socket), "no other was registered"
                data = client.recv(2**16)
                if not data:
                    raise RuntimeError(f"{path}: a connection was closed")
                held[client] += data
                if _is_whole(held[client], path):
                    now = time.perf_counter()
                    took.append(now - begun[client])
                    begun[client], held[client] = now, b""
                    client.sendall(request)
    finally:
        for client in begun:
            client.close()
        selector.close()
    if len(took) < 2:
        raise RuntimeError(f"{path}: there were no answers")
    return {"req/s": len(took) / seconds, "p99": statistics.quantiles(took, n=100)[-1] * 1e3}


def _is_whole(data: bytes, path: str) -> bool:
    head, blank, rest = data.partition(b"\r\n\r\n")
    if not blank:
        return False
    if not head.startswith((b"HTTP/1.1 2",)):
        raise RuntimeError(f"{path}: {head[:40]!r}")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return length is not None and len(rest) >= int(length[1])
