"""The node's dead letters for its owner: what ``nexus dead-letters`` is answered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from nexus_actors.actors.dead_letters import DeadLetter, NoSuchLetter, NotRetried, Past
from nexus_actors.actors.handling import NotHandled
from nexus_actors.errors import MessageTooLarge, NexusError, NoSuchActor, Unanswered
from nexus_actors.plugin.reports import place_in, trimmed

if TYPE_CHECKING:
    from nexus_actors.node.node import Node
    from supervisors import Failure

__all__ = ["Unclear", "describe", "discard", "letters_of", "retry"]


class Unclear(NexusError):
    """It is not said which letters are meant; the message says how to."""


def letters_of(node: Node, plugin: str | None = None) -> dict[str, Any]:
    """The list, oldest first, for JSON: without what the letters carry.

    Raises:
        NoSuchActor: there is no plugin of that name, and no letter for one.
    """
    if plugin is not None:
        _check_name(node, plugin)
    letters = node.dead_letters
    return {
        "letters": [_line(node, letter) for letter in letters.list(plugin)],
        "capacity": letters.capacity,
        "size": letters.size,
        "max_size": letters.max_size,
        "total": letters.total,
        "retried": letters.retried,
        "discarded": letters.discarded,
        "fell_off": letters.fell_off,
    }


def describe(node: Node, letter: DeadLetter) -> dict[str, Any]:
    """All that is known of one letter, what it carries among it: only for the node's owner."""
    return _line(node, letter) | {
        "request_id": letter.message.request_id,
        "content": letter.content(),
        "crashes": letter.crashes,
        "report": _report(_folder(node, letter.actor), letter.report),
        "past": [_past(node, letter.actor, past) for past in letter.past],
    }


def retry(node: Node, asked: Any) -> dict[str, Any]:
    """Send again those that are asked for: ``{"numbers": [3]}``, ``{"plugin": "shop"}`` or
    ``{"all": true}``, with ``"force": true`` also what is quarantined.

    Raises:
        Unclear, NoSuchActor.
    """
    force = isinstance(asked, dict) and asked.get("force") is True

    def send(number: int) -> None:
        node.dead_letters.retry(number, node.registry.cell, force=force)

    return _each(node, asked, send)


def discard(node: Node, asked: Any) -> dict[str, Any]:
    """Throw away those that are asked for; see :func:`retry`."""
    return _each(node, asked, node.dead_letters.discard)


def _each(node: Node, asked: Any, act: Callable[[int], None]) -> dict[str, Any]:
    done: list[int] = []
    refused: list[dict[str, Any]] = []
    for number in _numbers(node, asked):
        try:
            act(number)
        except (NoSuchLetter, NotRetried, NotHandled, MessageTooLarge, Unanswered) as error:
            refused.append({"number": number, "why": str(error)})
        else:
            done.append(number)
    return {"done": done, "refused": refused, "left": len(node.dead_letters)}


def _numbers(node: Node, asked: Any) -> list[int]:
    match asked:
        case {"numbers": [*numbers]} if numbers and all(type(each) is int for each in numbers):
            return [*dict.fromkeys(numbers)]
        case {"plugin": str(plugin)}:
            _check_name(node, plugin)
            return [letter.number for letter in node.dead_letters.list(plugin)]
        case {"all": True}:
            return [letter.number for letter in node.dead_letters.list()]
    raise Unclear('say which letters: {"numbers": [3]}, {"plugin": "shop"} or {"all": true}')


def _check_name(node: Node, plugin: str) -> None:
    # an actor that is gone may have left letters
    known = {*(cell.name for cell in node.cells())}
    known.update(letter.actor for letter in node.dead_letters.list())
    if plugin not in known:
        raise NoSuchActor(plugin, known)


def _line(node: Node, letter: DeadLetter) -> dict[str, Any]:
    report = letter.report
    return {
        "number": letter.number,
        "plugin": letter.actor,
        "kind": letter.kind,
        "about": letter.about or type(letter.payload).__name__,
        "handler": letter.handler,
        "sender": letter.sender,
        "reason": letter.reason,
        "failure": None if report is None else str(report),
        "place": "" if report is None else place_in(_folder(node, letter.actor), report),
        "age": _age(letter.at),
        "size": letter.size,
        "kept": letter.is_kept,
        "retryable": letter.retryable,
        "retry_of": letter.past[-1].number if letter.past else None,
    }


def _past(node: Node, actor: str, past: Past) -> dict[str, Any]:
    return {
        "number": past.number,
        "reason": past.reason,
        "age": _age(past.at),
        "report": _report(_folder(node, actor), past.report),
    }


def _report(folder: Path | None, report: Failure | None) -> str:
    return "" if report is None else trimmed(folder, report).words()


def _age(at: float) -> float:
    return round(trio.current_time() - at, 1)


def _folder(node: Node, plugin: str) -> Path | None:
    return next((each.found.folder for each in node.plan.plugins if each.name == plugin), None)
