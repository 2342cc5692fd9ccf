"""The supervisor as its owner writes it: children, flags, and the ways to run it."""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

import attrs
import trio

from .backoff import Backoff
from .child import Child
from .dynamic import PoolLoop
from .errors import InvalidSpec, SpecFault, StartFailed
from .exits import IGNORE, NORMAL, BadReturn, ExitReason, error, from_exception
from .loop import Loop
from .reports import Reporter, log_report
from .spec import ChildSpec, Flags, check_children, check_flags
from .static import StaticLoop
from .strategy import AutoShutdown, Strategy
from .tree import SupervisorRef

__all__ = ["Supervisor"]

_BAD_INIT = "init must return (flags, children) or IGNORE, not {!r}"

Init = Callable[[], object]
"""Gives ``(flags, children)`` or IGNORE, or an awaitable of that; called at each start."""


class Supervisor:
    """Starts children in order, watches them, restarts them by rule, stops them in reverse order.

    This is the description; it does nothing until it is run, and may be run many times. There are
    three ways::

        ref = await nursery.start(supervisor.run)      # as the root of a tree
        reason = await supervisor.run()                # the same, in this task
        Supervisor([..., supervisor.as_child("shop")]) # inside another supervisor

    Words, defaults and semantics are those of Erlang/OTP's ``supervisor``.

    Raises:
        InvalidSpec: a flag or a child spec is wrong; all faults are listed, in OTP's order.
    """

    def __init__(
        self,
        children: Iterable[ChildSpec | Mapping[str, Any]] = (),
        *,
        strategy: Strategy = "one_for_one",
        intensity: int = 1,
        period: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        name: str = "",
        on_report: Reporter | None = None,
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """
        Args:
            children: their specs, in start order; for simple_one_for_one the template alone.
            strategy: who is restarted when one must be: ``one_for_one``, ``one_for_all``,
                ``rest_for_one``, or ``simple_one_for_one`` for a pool.
            intensity: how many restarts are allowed within `period`; at one more it gives up.
            period: seconds.
            auto_shutdown: ``never``, ``any_significant`` or ``all_significant``.
            name: what it is called in reports and paths; a nested one is called by its id.
            on_report: takes every report, also those of supervisors below without their own.
            backoff: pauses between restarts. Beyond OTP; without it there are none.
            rng: where the jitter of `backoff` comes from.
        """
        flags = {
            "strategy": strategy,
            "intensity": intensity,
            "period": period,
            "auto_shutdown": auto_shutdown,
        }
        checked, specs, faults = _check(flags, children, name)
        faults += _check_options(name, on_report, backoff, rng)
        if faults:
            raise InvalidSpec(faults)
        self._init: Init = lambda: (checked, specs)
        self.name = name
        self._on_report = on_report
        self._backoff = backoff
        self._rng = rng or random.Random()

    @classmethod
    def from_init(
        cls,
        init: Init,
        *,
        name: str = "",
        on_report: Reporter | None = None,
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
    ) -> Supervisor:
        """A supervisor whose flags and children are made anew at each start, as OTP's ``init/1``.

        `init` gives ``(flags, children)``, where flags is a mapping of the constructor's arguments
        from `strategy` to `auto_shutdown` and children a list of specs or mappings; or IGNORE. It
        may be async. What is wrong with them is found at the start, and is the reason of its
        failure, as is what `init` raises.
        """
        if not callable(init):
            words = f"'init' must be a function that gives (flags, children), not {init!r}"
            raise InvalidSpec([SpecFault(_where(name), ("invalid_init", init), words)])
        supervisor = cls(name=name, on_report=on_report, backoff=backoff, rng=rng)
        supervisor._init = init
        return supervisor

    async def run(
        self, *, task_status: trio.TaskStatus[SupervisorRef | None] = trio.TASK_STATUS_IGNORED
    ) -> ExitReason:
        """Run it as the root of a tree, until it ends; give its exit reason.

        A supervisor that gives up is not an exception: it returns SHUTDOWN, and reports
        :class:`~supervisors.GaveUp`. With ``nursery.start`` you get a :class:`SupervisorRef` once
        all children have started (None if init said IGNORE), and ``ref.wait()`` gives the reason.

        Cancelling it cancels all its children, waits until they have ended, and passes on.

        Raises:
            StartFailed: init or a child failed to start; those started before were stopped.
        """
        loop = await self._prepare(self.name or "root", self._on_report or log_report)
        if loop is None:
            task_status.started(None)
            return NORMAL
        if isinstance(loop, ExitReason):
            raise StartFailed(self.name or "root", loop)
        reason = await loop.live(lambda: task_status.started(loop.ref))
        if not loop.has_started:
            raise StartFailed(self.name or "root", reason)
        return reason

    def as_child(self, id: Any, **fields: Any) -> ChildSpec:
        """A child spec that runs this supervisor inside another one.

        `fields` are those of :class:`ChildSpec`; ``shutdown`` is ``"infinity"`` unless given, so
        that the whole tree below has the time it needs.
        """
        return ChildSpec(id, self.run_under, type="supervisor", **fields)

    async def run_under(self, child: Child, extra: object = None) -> object:
        """Be that child of another supervisor: what :meth:`as_child` has for a start function.

        For start functions that have something to do before or after: they end with
        ``return await supervisor.run_under(child)``. `extra` is handed to ``child.started()``.
        """
        loop = await self._prepare(child.name, self._on_report or child.reporter)
        if loop is None:
            return IGNORE
        if isinstance(loop, ExitReason):
            return loop
        child.runs(loop.ref)
        child.on_stop(loop.request_stop)
        return await loop.live(lambda: child.started(extra))

    async def _prepare(self, name: str, reporter: Reporter) -> Loop | ExitReason | None:
        """Call init; give a loop ready to live, the reason of the failure, or None for IGNORE."""
        try:
            given = self._init()
            if inspect.isawaitable(given):
                given = await cast("Awaitable[object]", given)
        except Exception as exc:  # noqa: BLE001 - a boundary: it becomes the reason of the failed start
            return from_exception(exc)
        if given is IGNORE:
            return None
        if not (isinstance(given, tuple) and len(given) == 2):
            return error(BadReturn(("bad_return", repr(given)), _BAD_INIT.format(given)))
        flags, specs, faults = _check(*given, name)
        if faults:
            return error(_InvalidInit(tuple(faults)))
        kind = PoolLoop if flags.strategy == "simple_one_for_one" else StaticLoop
        return kind(specs, flags, name, reporter, self._backoff, self._rng)


@attrs.frozen
class _InvalidInit:
    """The info of a failed start: init gave flags or specs that are wrong."""

    faults: tuple[SpecFault, ...]

    @property
    def term(self) -> object:
        return self.faults[0].reason

    def __str__(self) -> str:
        return "; ".join(map(str, self.faults))


def _check(
    flags: object, children: object, name: str
) -> tuple[Flags, list[ChildSpec], list[SpecFault]]:
    where = _where(name)
    checked, faults = (flags, []) if isinstance(flags, Flags) else check_flags(flags, where)
    specs, wrong = check_children(children, checked, where)
    return checked, specs, faults + wrong


def _check_options(
    name: object, on_report: object, backoff: object, rng: object
) -> list[SpecFault]:
    """The faults of what OTP's supervisor does not have."""
    wanted = {
        "name": (name, isinstance(name, str), "text"),
        "on_report": (on_report, on_report is None or callable(on_report), "a function or None"),
        "backoff": (backoff, isinstance(backoff, Backoff | None), "a Backoff or None"),
        "rng": (rng, isinstance(rng, random.Random | None), "a random.Random or None"),
    }
    return [
        SpecFault(
            _where(name), (f"invalid_{field}", given), f"{field!r} must be {words}, not {given!r}"
        )
        for field, (given, good, words) in wanted.items()
        if not good
    ]


def _where(name: object) -> str:
    return f"supervisor {name!r}" if name else "supervisor"
