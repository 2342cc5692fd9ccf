"""What code waits for: read off the tasks themselves, as far as it can be known.

A Trio task that waits for an answer says so while it sleeps (``custom_sleep_data``, which Trio
clears when it wakes), and so does one that waits for a task of an asyncio loop. What is not known
is taken to go on by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs
import trio

from nexus_actors.actors.bridge import Outcall, outcall
from nexus_actors.actors.message import Message

if TYPE_CHECKING:
    from nexus_actors.actors.cell import ActorCell

__all__ = ["Awaited", "Code", "Need", "awaited", "held_up", "needing", "waits_for"]


@attrs.frozen
class Need:
    """That an actor comes up, or has room in its mailbox."""

    cell: ActorCell
    what: Literal["up", "room"]


Code: TypeAlias = "trio.lowlevel.Task | asyncio.Future[Any]"
"""A line of execution: a task of either library, or a future that is filled by some."""

Awaited: TypeAlias = "Message | Need | Code"
"""What a line of execution may wait for; a message: for its answer."""

_needs: dict[trio.lowlevel.Task, Need] = {}


@contextmanager
def needing(cell: ActorCell, what: Literal["up", "room"]) -> Iterator[None]:
    """While this task does nothing but wait until ``cell`` comes up, or has room."""
    task = trio.lowlevel.current_task()
    outer = _needs.get(task)
    _needs[task] = Need(cell, what)
    try:
        yield
    finally:
        if outer is None:
            del _needs[task]
        else:
            _needs[task] = outer


def awaited(code: Code) -> Collection[Awaited] | None:
    """What ``code`` waits for: any one of these, as it ends, may let it go on. None: it runs, or
    waits for something else, or cannot be seen through."""
    if isinstance(code, trio.lowlevel.Task):
        return _awaited_by_trio(code)
    return _awaited_by_asyncio(code) or None


def _awaited_by_trio(task: trio.lowlevel.Task) -> Collection[Awaited] | None:
    sleeps_for = task.custom_sleep_data
    if isinstance(sleeps_for, Message | asyncio.Task):
        return (sleeps_for,)
    need = _needs.get(task)
    if need is not None:
        return (need,)
    if task.child_nurseries:
        nursery = task.child_nurseries[-1]
        # Trio has no public word for this; where it is another one day, nothing is seen, no more
        at_its_end = getattr(nursery, "_parent_waiting_in_aexit", False)
        if at_its_end and not getattr(nursery, "_pending_starts", 1):
            return nursery.child_tasks or None
    return None


def _awaited_by_asyncio(future: asyncio.Future[Any]) -> Collection[Awaited]:
    if future.done():
        return ()
    if isinstance(future, asyncio.Task):
        sleeps_on = getattr(future, "_fut_waiter", None)
        if sleeps_on is None or sleeps_on.done():
            return ()
        return _awaited_by_helper(future) or (sleeps_on,)
    over: Outcall | None = getattr(future, "outcall", None)
    if over is not None:
        return () if over.trio_task is None else (over.trio_task,)
    children = getattr(future, "_children", None)  # of asyncio.gather
    if children is not None:
        return _undone(children)
    return _shielded(future)


def _awaited_by_helper(task: asyncio.Task[Any]) -> Collection[Awaited]:
    """What it waits for where it does so by a helper of asyncio that makes a future of its own."""
    coroutine: Any = task.get_coro()
    frame = None
    while coroutine is not None and getattr(coroutine, "cr_frame", None) is not None:
        frame = coroutine.cr_frame
        coroutine = coroutine.cr_await
    if frame is None:
        return ()
    module, name = frame.f_globals.get("__name__"), frame.f_code.co_name
    if module == "asyncio.tasks" and name == "wait_for":  # before Python 3.12
        return _undone([frame.f_locals.get("fut")])
    if module == "asyncio.tasks" and name == "_wait":
        return _undone(frame.f_locals.get("fs", ()))
    if module == "asyncio.taskgroups" and name in ("__aexit__", "_aexit"):
        return _undone(frame.f_locals["self"]._tasks)
    return ()


def _shielded(outer: asyncio.Future[Any]) -> Collection[Awaited]:
    for callback, _ in getattr(outer, "_callbacks", None) or ():
        if getattr(callback, "__qualname__", "") == "shield.<locals>._outer_done_callback":
            names = callback.__code__.co_freevars
            return _undone([callback.__closure__[names.index("inner")].cell_contents])
    return ()


def _undone(futures: Collection[Any]) -> Collection[Awaited]:
    return [each for each in futures if isinstance(each, asyncio.Future) and not each.done()]


def waits_for(root: trio.lowlevel.Task, background: trio.Nursery) -> bool:
    """Whether ``root`` waits for the code that calls this: now, or before it can end. It does not
    wait for tasks in the nursery ``background``, nor for asyncio tasks that nobody awaits."""
    task = trio.lowlevel.current_task()
    over = outcall.get()
    while task is not root:
        if over is not None and task is over.trio_task:
            handler = root.custom_sleep_data
            return isinstance(handler, asyncio.Task) and _leads_to(handler, over.asyncio_task)
        nursery = task.parent_nursery
        if nursery is None or nursery is background or nursery.parent_task is None:
            return False
        task = nursery.parent_task
    return True


def held_up(message: Message) -> bool:
    """Whether ``message``, which is in hand, cannot end before the code that calls this does."""
    if message.task is None or message.background is None:
        return True
    return waits_for(message.task, message.background)


def _leads_to(root: asyncio.Task[Any], task: asyncio.Task[Any] | None) -> bool:
    while task is not None and task is not root:
        parent = _parent_in_group(task)
        if parent is None:
            break
        task = parent
    if task is None or task is root:
        return task is root
    ways: list[Awaited] = [root]
    seen: set[Awaited] = {root}
    while ways:
        way = ways.pop()
        if way is task:
            return True
        if isinstance(way, asyncio.Future):
            new = [each for each in _awaited_by_asyncio(way) if each not in seen]
            seen.update(new)
            ways += new
    return False


def _parent_in_group(task: asyncio.Task[Any]) -> asyncio.Task[Any] | None:
    """The task whose TaskGroup it is in: that one waits for it before it leaves the block."""
    for callback, _ in getattr(task, "_callbacks", None) or ():
        group = getattr(callback, "__self__", None)
        if isinstance(group, asyncio.TaskGroup):
            parent: asyncio.Task[Any] | None = getattr(group, "_parent_task", None)
            return parent
    return None
