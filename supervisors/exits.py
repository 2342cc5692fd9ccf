"""How a child ends: exit reasons as plain values, and exceptions put down as words.

An :class:`ExitReason` is what a supervisor decides by. It is a frozen value: it can be compared,
kept and sent, and it never holds an exception, a traceback or a frame, because those would keep the
objects of a dead incarnation (and, after a reload, its old classes) alive.

The four kinds are Erlang/OTP's: ``normal``, ``shutdown`` (with or without info), ``killed``, and
anything else, which is an ``error``.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Iterator
from typing import Final, Literal, final

import attrs

__all__ = [
    "IGNORE",
    "KILLED",
    "NORMAL",
    "SHUTDOWN",
    "BadReturn",
    "Exit",
    "ExitReason",
    "FailedToStart",
    "Failure",
    "error",
    "from_exception",
    "shutdown_with",
]

Kind = Literal["normal", "shutdown", "killed", "error"]
Relation = Literal["", "cause", "context", "group", "member"]

MAX_TRIPLES: Final = 50
"""Most places kept of one traceback: a RecursionError has a thousand, the innermost ones tell."""
MAX_DEPTH: Final = 8
"""Most causes of causes kept."""
MAX_CAUSES: Final = 100
"""Most causes kept in all: groups of groups, each raised while handling others, have very many."""
MAX_GROUPS: Final = 50
"""Most groups of one kept among them, the outermost."""
MAX_MESSAGE: Final = 2000
"""Most characters kept of one message."""


@attrs.frozen
class Failure:
    """An exception in words: its type, message, places and causes; never the exception itself."""

    type: str
    """The name of the class, with its module unless that is ``builtins``."""
    message: str
    """``str()`` of the exception, at most 2000 characters."""
    triples: tuple[tuple[str, int, str], ...] = ()
    """(file, line, function), the innermost last, at most the 50 innermost."""
    causes: tuple[Failure, ...] = ()
    """What it was raised from, what it was raised while handling, and the members of its group.

    For a group with a single error this failure speaks of that error, and the group is here."""
    relation: Relation = ""
    """What it is to the failure that holds it among its ``causes``; empty at the top."""
    left_out: int = 0
    """How many more causes it has of its own that are not described: those behind 8 others, and
    those beyond 100 in all, the nearest ones first."""

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type

    def words(self) -> str:
        """The whole story over several lines, as a traceback tells it. Made when asked for."""
        return "\n".join(self._lines(""))

    def _lines(self, indent: str) -> Iterator[str]:
        yield f"{indent}{self}"
        for file, line, function in reversed(self.triples):
            yield f"{indent}  at {file}:{line} in {function}"
        for cause in self.causes:
            yield f"{indent}  {_RELATIONS[cause.relation]}:"
            yield from cause._lines(indent + "    ")
        if self.left_out:
            more = "1 more cause is" if self.left_out == 1 else f"{self.left_out} more causes are"
            yield f"{indent}  {more} left out"


_RELATIONS: Final[dict[str, str]] = {
    "": "with",
    "cause": "caused by",
    "context": "while handling",
    "group": "in the group",
    "member": "together with",
}


@attrs.frozen
class FailedToStart:
    """The info of a supervisor's exit when one of its first children did not start."""

    id: object
    reason: ExitReason

    @property
    def term(self) -> object:
        return ("failed_to_start_child", self.id, self.reason.term)

    def __str__(self) -> str:
        return f"failed to start child {self.id!r}: {self.reason}"


@attrs.frozen
class BadReturn:
    """The info of an error: a start function returned something that is no answer."""

    value: object
    """The value itself if it is plain (text, a number, None), else its ``repr``."""
    words: str

    @property
    def term(self) -> object:
        return self.value

    def __str__(self) -> str:
        return self.words


@final
@attrs.frozen
class ExitReason:
    """Why a child ended. Compare with :data:`NORMAL`, :data:`SHUTDOWN`, :data:`KILLED`, or read
    :attr:`kind`.

    A child ends with it by returning it, or by ``raise Exit(reason)`` from any depth.
    """

    kind: Kind
    """``normal``, ``shutdown``, ``killed`` or ``error``."""
    info: object = None
    """What :func:`shutdown_with` or :func:`error` was given."""
    failure: Failure | None = None
    """The exception that ended the child, in words; only for ``error``."""

    @property
    def abnormal(self) -> bool:
        """True for ``killed`` and ``error``: what a transient child is restarted after."""
        return self.kind in ("killed", "error")

    @property
    def term(self) -> object:
        """The reason as OTP writes it, atoms as text: ``"shutdown"``, ``("shutdown", info)``; a
        failure stands for itself."""
        if self.failure is not None:
            return self.failure
        info = getattr(self.info, "term", self.info)
        if self.kind == "error":
            return info
        return self.kind if self.info is None else (self.kind, info)

    def __str__(self) -> str:
        if self.failure is not None:
            return str(self.failure)
        if self.info is None:
            return self.kind
        return f"{self.kind}: {self.info}"


NORMAL: Final = ExitReason("normal")
"""It had done its work and returned."""
SHUTDOWN: Final = ExitReason("shutdown")
"""It was asked to stop and did; also what a supervisor ends with when it gives up."""
KILLED: Final = ExitReason("killed")
"""It was cancelled: at its stop deadline, by ``brutal_kill`` or by :func:`supervisors.kill`."""


def shutdown_with(info: object) -> ExitReason:
    """A shutdown that carries a word of explanation. It counts as a normal ending."""
    return ExitReason("shutdown", info)


def error(reason: object) -> ExitReason:
    """Any other ending. An exception is put down as a :class:`Failure`, never kept."""
    if isinstance(reason, BaseException):
        return from_exception(reason)
    if isinstance(reason, Failure):
        return ExitReason("error", None, reason)
    return ExitReason("error", reason)


class Exit(Exception):
    """Raised by a child to end with exactly this reason: ``raise Exit(shutdown_with("done"))``."""

    def __init__(self, reason: ExitReason) -> None:
        if not isinstance(reason, ExitReason):
            raise TypeError(
                f"Exit wants an ExitReason such as NORMAL or error('why'), not {reason!r}"
            )
        super().__init__(str(reason))
        self.reason = reason


class _Ignore:
    """Returned by a start function that has nothing to run, in place of ``child.started()``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "IGNORE"


IGNORE: Final = _Ignore()
"""Returned by a start or init function: there is nothing to run, and that is no fault."""


def from_exception(exc: BaseException) -> ExitReason:
    """The exit reason for an exception that left a child: that of an :class:`Exit`, else an error.

    A group of one is collapsed, however deep, also around an :class:`Exit`.
    """
    single = exc
    while isinstance(single, BaseExceptionGroup) and len(single.exceptions) == 1:
        single = single.exceptions[0]
    if isinstance(single, Exit):
        return single.reason
    return ExitReason("error", None, _describe_collapsed(exc))


def _describe_collapsed(exc: BaseException) -> Failure:
    """The failure for `exc`; the one for its only member, with the groups among its causes."""
    groups: list[BaseException] = []
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        groups.append(exc)
        exc = exc.exceptions[0]
    told = groups[:MAX_GROUPS]
    failure = _describe(exc, MAX_CAUSES - len(told))
    if not groups:
        return failure
    return attrs.evolve(
        failure,
        causes=failure.causes + tuple(_described(group, "group") for group in told),
        left_out=failure.left_out + len(groups) - len(told),
    )


@attrs.define(eq=False)
class _Told:
    """An exception that is described."""

    exc: BaseException
    relation: Relation
    path: tuple[BaseException, ...]
    """What it is a cause of, outermost first, and itself: exceptions can go in circles."""
    causes: list[_Told] = attrs.Factory(list)
    left_out: int = 0

    def failure(self) -> Failure:
        causes = tuple(one.failure() for one in self.causes)
        return _described(self.exc, self.relation, causes, self.left_out)


def _describe(exc: BaseException, room: int) -> Failure:
    """The failure for `exc` with at most `room` causes in all, the nearest ones first: a few
    exceptions that refer to each other make any number of ways to follow."""
    top = _Told(exc, "", (exc,))
    waiting = deque([top])
    while waiting:
        one = waiting.popleft()
        related = _related(one)
        taken = related[:room] if len(one.path) <= MAX_DEPTH else []
        one.causes = [_Told(each, how, (*one.path, each)) for each, how in taken]
        one.left_out = len(related) - len(taken)
        room -= len(taken)
        waiting += one.causes
    return top.failure()


def _related(one: _Told) -> list[tuple[BaseException, Relation]]:
    exc = one.exc
    related: list[tuple[BaseException, Relation]] = []
    if exc.__cause__ is not None:
        related.append((exc.__cause__, "cause"))
    elif exc.__context__ is not None and not exc.__suppress_context__:
        related.append((exc.__context__, "context"))
    if isinstance(exc, BaseExceptionGroup):
        related += [(member, "member") for member in exc.exceptions]
    return [each for each in related if not any(each[0] is above for above in one.path)]


def _described(
    exc: BaseException, relation: Relation, causes: tuple[Failure, ...] = (), left_out: int = 0
) -> Failure:
    return Failure(_type_name(exc), _message(exc), _triples(exc), causes, relation, left_out)


def _type_name(exc: BaseException) -> str:
    cls = type(exc)
    module = "" if cls.__module__ == "builtins" else f"{cls.__module__}."
    return module + cls.__qualname__


def _message(exc: BaseException) -> str:
    try:
        return str(exc)[:MAX_MESSAGE]
    except BaseException as fault:  # noqa: BLE001 - anybody's __str__ may raise anything, SystemExit too: said in its place
        return f"<its message could not be made: {type(fault).__name__}>"


def _triples(exc: BaseException) -> tuple[tuple[str, int, str], ...]:
    places = [
        (frame.f_code.co_filename, line, frame.f_code.co_qualname)
        for frame, line in traceback.walk_tb(exc.__traceback__)
    ]
    return tuple(places[-MAX_TRIPLES:])
