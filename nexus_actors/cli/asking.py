"""Asking the node that runs on a data folder, over its control socket."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import httpx

from nexus_actors.config.places import control_path
from nexus_actors.errors import NexusError
from nexus_actors.words import shown_path

__all__ = ["NoNode", "NotThere", "ask_node", "tell_node"]


class NoNode(NexusError):
    """No node answers on the data folder; the message says what to do."""


class NotThere(NexusError):
    """The node knows nothing of that name; the message suggests the nearest."""


def ask_node(data: Path, path: str) -> Any:
    """What the node on the data folder ``data`` answers to ``GET path``.

    Raises:
        NoNode: there is none, it does not answer, or it is somebody else's.
        NotThere: it has nothing of that name.
    """
    return _request(data, "GET", path)


def tell_node(data: Path, path: str, body: Any) -> Any:
    """What the node answers to ``POST path`` with ``body`` as JSON; raises as :func:`ask_node`."""
    return _request(data, "POST", path, body)


def _request(data: Path, method: str, path: str, body: Any = None) -> Any:
    socket = control_path(data)
    folder = shown_path(data)
    start = "start one with `nexus run`, or name its data folder with --data"
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), timeout=10.0) as client:
            response = client.request(method, f"http://node{path}", json=body)
            answer = response.json()
            if response.status_code == 404:
                raise NotThere(answer["detail"])
            return response.raise_for_status() and answer
    except httpx.ConnectError as error:
        if _errno_of(error) == errno.EACCES:
            owner = _owner_of(socket)
            raise NoNode(f"the node in {folder} is {owner}: ask as {owner}") from None
        raise NoNode(f"no node runs in {folder}: {start}") from None
    except (httpx.HTTPError, ValueError) as error:
        raise NoNode(f"the node in {folder} did not answer {path}: {error}") from None


def _errno_of(error: BaseException) -> int | None:
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError):
            return found.errno
        found = found.__cause__ or found.__context__
    return None


def _owner_of(socket: Path) -> str:
    try:
        return socket.owner()
    except (OSError, KeyError):
        return "another user's"
