"""The reply slot: where the answer to one message is put, once, and its caller waits for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from nexus_actors.actors.message import Message

__all__ = ["ReplySlot"]


class ReplySlot:
    """Room for one answer. The first :meth:`set` or :meth:`fail` wins; later ones harm nobody."""

    __slots__ = ("_error", "_read", "_task", "_value", "filled")

    def __init__(self) -> None:
        self.filled = False
        self._read = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._task: trio.lowlevel.Task | None = None

    def set(self, value: Any) -> bool:
        """Answer with ``value``; False where the slot was filled before."""
        return self._fill(value, None)

    def fail(self, error: BaseException) -> bool:
        """Answer with ``error``, raised in the caller; False where it was filled before."""
        # frames would keep the objects of an ended incarnation alive
        return self._fill(None, error.with_traceback(None))

    def _fill(self, value: Any, error: BaseException | None) -> bool:
        if self.filled:
            return False
        self.filled = True
        self._value, self._error = value, error
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None
        return True

    async def wait(self, deadline: float = math.inf, message: Message | None = None) -> Any:
        """Return the answer or raise it. While it waits, its task says so: it sleeps for
        ``message``.

        Raises:
            TimeoutError: it was not there at ``deadline`` (Trio's clock).
        """
        if not self.filled:
            if deadline == math.inf:
                await self._park(message)
            else:
                with trio.CancelScope(deadline=deadline) as scope:
                    await self._park(message)
                if scope.cancelled_caught and not self.filled:
                    raise TimeoutError
        else:
            await trio.lowlevel.checkpoint()
        return self.take()

    def take(self) -> Any:
        """The answer, which is there: return it or raise it."""
        self._read = True
        if self._error is not None:
            raise self._error
        return self._value

    def take_unread(self) -> Any:
        """The answer, where it came and nobody took it; None otherwise. For whoever gives up."""
        if not self.filled or self._read:
            return None
        self._read = True
        return self._value

    async def _park(self, message: Message | None) -> None:
        self._task = task = trio.lowlevel.current_task()
        task.custom_sleep_data = message

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
