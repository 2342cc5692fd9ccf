"""The fault rule: what an exception that leaves a handler means, and for whom.

*A fault in answering goes to the caller; a fault in anything else goes to the supervisor.* The
kind of message decides, also when the caller has gone meanwhile. Pure functions over exceptions;
:mod:`.actor` acts on what they say.
"""

from __future__ import annotations

from typing import Literal

import attrs
import trio

from nexus_actors.errors import HTTPError, Unanswered
from supervisors import Failure
from supervisors import error as exit_error

__all__ = [
    "HandlerTimeout",
    "Verdict",
    "collapse",
    "failure_of",
    "first_of",
    "has_cancelled",
    "judge",
]


class HandlerTimeout(Exception):
    """A handler nobody waits for went past its deadline and was cancelled; this is its crash."""


@attrs.frozen
class Verdict:
    """What is to be done about an exception that left a handler."""

    crash: bool
    """The actor ends with it; its supervisor acts."""
    fault: bool
    """It counts as a fault of the actor."""
    expected: bool = False
    """A refusal said on purpose: the message counts as handled."""


def collapse(error: BaseException) -> BaseException:
    """The one exception in a group of one (of one, ...), the group its cause; else ``error``."""
    inner = error
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    if inner is not error and inner.__cause__ is None:
        inner.__cause__ = error
    return inner


def judge(
    error: BaseException, has_caller: bool, on_error: Literal["restart", "reply"] | None = None
) -> Verdict:
    """Decide about ``error``, which left the handler of a message that has a caller or has none.

    ``on_error`` is what the author said for this handler, None for the rule as it is.
    """
    if _all_are(error, HTTPError):
        return Verdict(crash=False, fault=False, expected=True)
    if _all_are(error, Unanswered):
        return Verdict(crash=False, fault=False)
    if not isinstance(error, Exception) or isinstance(error, MemoryError | RecursionError):
        return Verdict(crash=True, fault=True)
    if has_caller:
        return Verdict(crash=on_error == "restart", fault=True)
    return Verdict(crash=on_error != "reply", fault=True)


def has_cancelled(error: BaseException) -> bool:
    """Whether Trio's ``Cancelled`` is ``error`` or lies in it: then it must be let pass."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(has_cancelled, error.exceptions))
    return isinstance(error, trio.Cancelled)


def first_of(error: BaseException, kind: type[BaseException]) -> BaseException:
    """The first exception of ``kind`` in ``error``, or ``error`` itself."""
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            found = first_of(member, kind)
            if isinstance(found, kind):
                return found
    return error


def _all_are(error: BaseException, kind: type[BaseException]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_all_are(member, kind) for member in error.exceptions)
    return isinstance(error, kind)


def failure_of(error: BaseException) -> Failure:
    """``error`` in words and places: what reports and dead letters keep of it, never its frames."""
    failure = exit_error(error).failure
    assert failure is not None, "an exception always makes a failure"
    return failure
