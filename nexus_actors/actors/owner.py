"""Whose code is running: what is asked when something holds the event loop.

Wherever the node lets a plugin's code run - its import, ``__init__``, handlers, services, node
middleware, background tasks - it says so in this context. Contexts are inherited by tasks and
callbacks, so the answer is right for whatever that code begins, under Trio and under asyncio.

The handlers of a plugin's child actors run by turns in tasks that they share, whose context is the
plugin's. Telling a context about each turn would cost every message; so there the tree of tasks is
asked, and only when somebody wants to know (:func:`owner_of_this`).
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from nexus_actors.actors.message import Hand, Message, current_message

__all__ = [
    "STUBBORN",
    "Owner",
    "StallInterrupt",
    "living_in_this_task",
    "owned_by",
    "owner_here",
    "owner_of_task",
    "owner_of_this",
]

STUBBORN = 3
"""Interrupts after which an incarnation that is still there is not merely restarted."""


class StallInterrupt(BaseException):
    """Raised by the node in code that has held the event loop for longer than ``stall_limit``.

    Not an ``Exception``, so that ``except Exception`` does not keep it. Let it pass: the plugin, or
    its child actor, is restarted.
    """


class Owner:
    """Whom a task belongs to: one incarnation of the plugin, of one of its services, or of one of
    its child actors.

    ``crash`` is called with the exception of a task that died unseen. ``above`` is whose child
    actor it is.
    """

    def __init__(
        self,
        name: str,
        crash: Callable[[BaseException], None],
        *,
        plugin: str = "",
        above: Owner | None = None,
    ) -> None:
        self.name = name
        self.crash = crash
        self.plugin: str = plugin or (name if above is None else above.plugin)
        """The plugin it is part of; the same where it is the plugin itself."""
        self.above = above
        self.ended = False
        """Set when its incarnation is over, clean-up apart: what dies now crashes nobody."""
        self.interrupts = 0
        """How often its code was interrupted because it held the loop; the first should do."""

    @property
    def is_stubborn(self) -> bool:
        """Whether it was interrupted so often that a restart would be no help."""
        return self.interrupts >= STUBBORN

    @property
    def words(self) -> str:
        """Its name for people: ``shop``, ``Rates of shop``, ``shop/counter``."""
        own = self.name == self.plugin or self.above is not None
        return self.name if own else f"{self.name} of {self.plugin}"

    def escalate(self) -> None:
        """It is stubborn, and ended: let whoever it is a child of end, and count as that too."""
        if self.above is not None and not self.above.ended:
            self.above.interrupts = max(self.above.interrupts, STUBBORN)
            self.above.crash(StallInterrupt(f"{self.name} held the loop, and swallowed interrupts"))


owner_here: contextvars.ContextVar[Owner | None] = contextvars.ContextVar(
    "nexus_owner", default=None
)
"""Whose code runs in this context; copied into every task and callback by whoever starts it."""


@contextmanager
def owned_by(owner: Owner) -> Iterator[None]:
    """While it is open, code in this context is ``owner``'s."""
    token = owner_here.set(owner)
    try:
        yield
    finally:
        owner_here.reset(token)


_lives: dict[trio.lowlevel.Task, Owner] = {}
"""The tasks that incarnations of child actors live in; below them is what those began."""


@contextmanager
def living_in_this_task(owner: Owner) -> Iterator[None]:
    """While it is open, this task and all below it are ``owner``'s, and so are the handlers that
    are run for the nurseries that it opens."""
    task = trio.lowlevel.current_task()
    with owned_by(owner):
        _lives[task] = owner
        try:
            yield
        finally:
            del _lives[task]


def owner_of_this() -> Owner | None:
    """Whose code runs; also where that is a child actor's handler. Only reads, so that it may be
    called in a signal handler."""
    try:
        task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
    except RuntimeError:  # Trio itself runs
        task = None
    return _owner_of(task, current_message.get(), owner_here.get())


def owner_of_task(task: trio.lowlevel.Task) -> Owner | None:
    """Whose code ``task`` runs; may be asked from another thread."""
    context = task.context
    return _owner_of(task, context.get(current_message), context.get(owner_here))


def _owner_of(
    task: trio.lowlevel.Task | None, holds: Message | Hand | None, inherited: Owner | None
) -> Owner | None:
    # what runs its handlers, and the nursery of the incarnation they are of
    runs: trio.lowlevel.Task | None = None
    nursery: trio.Nursery | None = None
    if isinstance(holds, Hand):
        taker = getattr(holds, "taker", None)  # a task that has just begun has none
        runs, nursery = holds.task, getattr(taker, "nursery", None)
    elif holds is not None and holds.fate is None:
        runs, nursery = holds.task, holds.background
    while task is not None:
        if task in _lives:
            return _lives[task]
        if task is runs and nursery is not None:
            return _lives.get(nursery.parent_task) or inherited
        above = task.parent_nursery
        task = None if above is None else above.parent_task
    return inherited
