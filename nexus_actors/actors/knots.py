"""Knots across chains: asks that could never be answered, found when the last of them is made.

A knot is a set of messages none of which can end before another of them does. What each waits for
makes a graph: a message in hand for its handler's code, code for the answers it has asked for, a
message that waits for room in the hands of its actor, that for the messages which have it now. A
node *can go on* when any one, or each, of those that it waits for can; :class:`_Search` follows the
graph from the one that is asked, and ends as soon as it sees that the ask can be answered. What
cannot be seen through can go on.

Deadlines do not count: all that waits ends at one, and the refusal comes in its place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING

import attrs
import trio

from nexus_actors.actors.message import Message, Mode
from nexus_actors.actors.waiting import Awaited, Need, awaited
from nexus_actors.errors import AskCycle

if TYPE_CHECKING:
    from nexus_actors.actors.cell import ActorCell

__all__ = [
    "FIRST_LOOK",
    "LAST_LOOK",
    "refuse_to_close",
    "refuse_to_spawn",
    "refuse_to_wait_on",
    "steps_of_last_search",
]

BUDGET = 20_000
"""Nodes after which a search gives up, and the ask is made."""

FAR = 64
"""Messages ahead in a queue that a search looks at, not to take longer the longer that is."""

FIRST_LOOK = 0.25
LAST_LOOK = 1.0
"""Seconds; see :func:`refuse_to_wait_on`."""

_last_steps = 0


def steps_of_last_search() -> int:
    """How many nodes the last search looked at; for whoever wants to know what it costs."""
    return _last_steps


def refuse_to_close(asked: ActorCell, mode: Mode, name: str, doing: Message | None) -> None:
    """Raise where an ask of ``asked``, made and waited for by this very task, would close a knot.

    ``name`` is the actor that asks, ``doing`` the message that it handles; None: it starts. Nothing
    is looked for where ``asked`` is idle.

    Raises:
        AskCycle: with the path, and in words why each waits for the next.
    """
    if asked.state == "running":
        in_hand = asked.in_hand
        if not in_hand:
            return
        if len(in_hand) == 1:  # with that all that waits is taken, whatever its mode
            (message,) = in_hand.values()
            if _is_seen_to_go_on(message):
                return
    _refuse(_Last(asked, mode), asked, name, doing, "asks")


def refuse_to_wait_on(message: Message, name: str, doing: Message | None) -> None:
    """The same for a message that this very task waits for already, and now looks up.

    A knot may have been closed by something else than an ask: a task that ends, one that is awaited
    only now. So whoever waits looks again, after :data:`FIRST_LOOK` seconds and then less and less
    often, :data:`LAST_LOOK` seconds apart in the end.
    """
    cell = message.home
    if cell is not None:
        _refuse(message, cell, name, doing, "asks")


def refuse_to_spawn(child: ActorCell, name: str, doing: Message | None) -> None:
    """The same for code that would wait until ``child`` is up."""
    if child.awaits:
        _refuse(_Up(child), child, name, doing, "spawns")


def _refuse(root: Hashable, cell: ActorCell, name: str, doing: Message | None, verb: str) -> None:
    way = _Search(trio.lowlevel.current_task()).run(root)
    if way is not None:
        who = f"initialize of {name}" if doing is None else f"{name} (handling {_about(doing)})"
        path, how = _in_words(way, [name, cell.name], [f"{who} {verb} {cell.name}"])
        raise AskCycle(path, how)


@attrs.frozen
class _Last:
    """That the actor takes a message of this mode which is put behind all that wait for it now."""

    cell: ActorCell
    mode: Mode


@attrs.frozen
class _Turn:
    """That the actor takes one more message of this mode beside those that it has in hand."""

    cell: ActorCell
    mode: Mode


@attrs.frozen
class _Slot:
    """That one of the messages of this mode which the actor has in hand ends."""

    cell: ActorCell
    mode: Mode


@attrs.frozen
class _Up:
    """That the actor runs."""

    cell: ActorCell


@attrs.define(eq=False)
class _Node:
    what: Hashable
    needs: Iterator[Hashable]
    """What is left of what it waits for."""
    any: bool
    """Whether one of those is enough; else it waits for each."""
    seen: list[_Node] = attrs.field(factory=list)
    """Those of them that were looked at, and could not go on then."""
    waiting: list[_Node] = attrs.field(factory=list)
    """Whom to tell when it can go on."""
    can_go_on: bool = False


class _Search:
    """One look at the graph, as it would be if the task ``me`` waited for the root."""

    def __init__(self, me: trio.lowlevel.Task) -> None:
        self._me = me
        self._nodes: dict[Hashable, _Node] = {}
        self._to_do: list[_Node] = []

    def run(self, root: Hashable) -> list[Hashable] | None:
        """The way from ``root`` to ``me`` where neither can ever go on; else None."""
        global _last_steps
        first = self._node(root)
        while self._to_do and not first.can_go_on and len(self._nodes) <= BUDGET:
            self._look(self._to_do.pop())
        _last_steps = len(self._nodes)
        if first.can_go_on or self._to_do:
            return None
        return self._way(first)

    def _node(self, what: Hashable) -> _Node:
        node = self._nodes.get(what)
        if node is None:
            needs, any_ = ((), True) if what is self._me else _needs(what)
            node = self._nodes[what] = _Node(what, iter(needs), any_)
            self._to_do.append(node)
        return node

    def _look(self, node: _Node) -> None:
        """Look at the next of what ``node`` waits for, at once or after what that waits for."""
        if node.can_go_on:
            return
        what = next(node.needs, None)
        if what is None:
            if not node.any:
                self._goes_on(node)  # each of them could
            return
        if node.any:
            self._to_do.append(node)
        other = self._node(what)
        if not other.can_go_on:
            node.seen.append(other)
            other.waiting.append(node)
        elif node.any:
            self._goes_on(node)
        else:
            self._to_do.append(node)

    def _goes_on(self, node: _Node) -> None:
        ends = [node]
        while ends:
            one = ends.pop()
            if one.can_go_on:
                continue
            one.can_go_on = True
            for other in one.waiting:
                if other.any:
                    ends.append(other)
                else:
                    self._to_do.append(other)

    def _way(self, first: _Node) -> list[Hashable] | None:
        before: dict[_Node, _Node | None] = {first: None}
        line = deque([first])
        while line:
            node: _Node | None = line.popleft()
            assert node is not None
            if node.what is self._me:
                way: list[Hashable] = []
                while node is not None:
                    way.append(node.what)
                    node = before[node]
                return way[::-1]
            for other in node.seen:
                if not other.can_go_on and other not in before:
                    before[other] = node
                    line.append(other)
        return None  # it waits for others' knot, which this ask does not close


_GOES_ON: tuple[tuple[Hashable, ...], bool] = ((), False)


def _needs(what: Hashable) -> tuple[Iterable[Hashable], bool]:
    """What ``what`` waits for, and whether any one of it is enough."""
    match what:
        case Message():
            return _needs_of_message(what)
        case _Last(cell, mode):
            return _needs_of_waiting(cell, mode)
        case _Turn(cell, mode):
            return _needs_of_turn(cell, mode)
        case _Slot(cell, mode):
            return (each for each in [*cell.in_hand.values()] if each.mode == mode), True
        case _Up(cell):
            if cell.state == "running":
                return _GOES_ON
            if cell.start is not None:
                return (cell.start.task,), True
            return [_Up(each) for each in cell.awaits if each.state != "running"], False
        case trio.lowlevel.Task() | asyncio.Future():
            waits = awaited(what)
            return _GOES_ON if waits is None else (map(_plain, waits), True)
    raise TypeError(f"{what!r} is no part of the graph")


def _plain(what: Awaited) -> Hashable:
    if not isinstance(what, Need):
        return what
    oldest = what.cell.mailbox.oldest()
    return _Up(what.cell) if what.what == "up" or oldest is None else _Turn(what.cell, oldest.mode)


def _needs_of_message(message: Message) -> tuple[Iterable[Hashable], bool]:
    if message.fate is not None:
        return _GOES_ON  # its answer is on the way
    if message.taken:
        return _GOES_ON if _is_seen_to_go_on(message) else ((message.task,), True)
    cell = message.home
    if cell is None or cell.mailbox.put_aside:
        return _GOES_ON  # what is put aside may be taken out again by any code of the actor
    return _needs_of_waiting(cell, message.mode, message)


def _is_seen_to_go_on(message: Message) -> bool:
    """Whether the handler of ``message``, which is in hand, waits for no answer."""
    scope, task = message.scope, message.task
    if task is None or message.stashed or (scope is not None and scope.cancel_called):
        return True
    return task is not trio.lowlevel.current_task() and awaited(task) is None


def _needs_of_waiting(
    cell: ActorCell, mode: Mode, message: Message | None = None
) -> tuple[Iterable[Hashable], bool]:
    """What a message of ``mode`` waits for behind those before it; None: behind all that wait."""
    if cell.state != "running":
        return (_Up(cell),), True
    modes = {mode}
    for ahead in islice(cell.mailbox.in_turn(), FAR):
        if ahead is message:
            break
        modes.add(ahead.mode)
    return [_Turn(cell, each) for each in sorted(modes)], False


def _needs_of_turn(cell: ActorCell, mode: Mode) -> tuple[Iterable[Hashable], bool]:
    held_up = None if cell.mailbox.paused else cell.held_up(mode)
    if held_up is None:
        return _GOES_ON  # suspended by hand, or about to end
    each, one = held_up
    needs = [_Slot(cell, one)] if one is not None else []
    return chain(needs, (m for m in [*cell.in_hand.values()] if m.mode in each)), False


def _in_words(way: list[Hashable], names: list[str], words: list[str]) -> tuple[list[str], str]:
    """The path and the words for it, from what they begin with."""
    subject = ""
    for before, what in pairwise(way):
        from_code = isinstance(before, trio.lowlevel.Task | asyncio.Future)
        name = ""
        match what:
            case Message():
                if from_code and what.home is not None:
                    name = what.home.name
                    words.append(f"{subject} asks {name}")
                if what.taken:
                    subject = f"which handles {_about(what)} and"
            case _Up(cell) if from_code:
                name = cell.name
                words.append(f"{subject} spawns {name}")
            case _Up(cell) if isinstance(before, _Up):
                name = cell.name
                verb = "is started after" if cell.is_child else "requires"
                words.append(f"which {verb} {name}")
            case _Turn(cell, _) if from_code:
                name = cell.name
                words.append(f"{subject} waits for room in the mailbox of {name}")
            case trio.lowlevel.Task() if isinstance(before, _Up):
                subject = "whose initialize"
        if name:
            names.append(name)
    return names, ", ".join(words)


def _about(message: Message) -> str:
    """What it is about, in a word: the route of a request, else its handler or type."""
    if message.kind == "http" and message.about:
        return message.about
    return message.handler or type(message.payload).__name__
