"""Child specs and supervisor flags, and every check on them, in OTP's order.

The checks are plain functions that give back a list of faults: all of them, the one OTP would
answer with first.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, Literal, Never, cast

import attrs

from .errors import InvalidSpec, SpecFault, shown
from .strategy import AutoShutdown, Restart, Strategy

__all__ = ["ChildSpec", "Flags", "check_children", "check_childspec", "check_flags"]

Shutdown = float | Literal["infinity", "brutal_kill"]
ChildType = Literal["worker", "supervisor"]
Start = Callable[..., Awaitable[object]]
"""``async def start(child, *args)``; see :class:`ChildSpec`."""

DEFAULT_SHUTDOWN: Final = 5.0

_RESTARTS: Final = ("permanent", "transient", "temporary")
_TYPES: Final = ("worker", "supervisor")
_STRATEGIES: Final = ("one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one")
_AUTO_SHUTDOWNS: Final = ("never", "any_significant", "all_significant")


@attrs.frozen
class ChildSpec:
    """How to start, restart and stop one child. Words and defaults are OTP's.

    ``start`` is ``async def start(child, *args)``: it is the child's whole life. It sets up, calls
    ``child.started()`` when it is ready, works, watches for ``child.wait_stop()``, and returns.
    Before ``started()`` it may return :data:`~supervisors.IGNORE`, or raise: the start has failed.

    Raises:
        InvalidSpec: something is out of range; all faults are listed.
    """

    id: Hashable
    """What the supervisor knows it by; unique among its siblings."""
    start: Start
    """The child's life; see above."""
    restart: Restart = "permanent"
    """``permanent``: always started again. ``transient``: only after an abnormal end (killed or
    error). ``temporary``: never, and its spec goes with it."""
    shutdown: Shutdown | None = None
    """How long it may take to stop when asked: seconds, ``"infinity"``, or ``"brutal_kill"`` for
    no asking at all. None becomes 5.0 for a worker and ``"infinity"`` for a supervisor."""
    type: ChildType = "worker"
    """``worker`` or ``supervisor``."""
    significant: bool = False
    """Whether its ending can end its supervisor, by the supervisor's ``auto_shutdown``."""
    args: tuple[Any, ...] = ()
    """Further arguments of ``start``. A pool adds those of each ``start_child`` call."""

    def __init__(
        self,
        id: Hashable,
        start: Start,
        restart: Restart = "permanent",
        shutdown: Shutdown | None = None,
        type: ChildType = "worker",
        significant: bool = False,
        args: tuple[Any, ...] = (),
        **unknown: Never,
    ) -> None:
        given = (id, start, restart, shutdown, type, significant, args)
        if unknown:  # named with what was meant, and beside all else that is wrong
            named = dict(zip(attrs.fields_dict(ChildSpec), given, strict=True))
            raise InvalidSpec(check_childspec(named | unknown, None))
        self.__attrs_init__(*given)  # type: ignore[attr-defined]

    def __attrs_post_init__(self) -> None:
        faults = check_childspec(self, None)
        if faults:
            raise InvalidSpec(faults)
        if self.shutdown is None:
            default = DEFAULT_SHUTDOWN if self.type == "worker" else "infinity"
            object.__setattr__(self, "shutdown", default)

    @classmethod
    def from_mapping(cls, mapping: object) -> ChildSpec:
        """A spec from an unchecked mapping with the names of the fields as keys.

        Raises:
            InvalidSpec: with every fault of it, those of OTP first and in its order.
        """
        faults = check_childspec(mapping, None)
        if faults:
            raise InvalidSpec(faults)
        return cls(**cast("Mapping[str, Any]", mapping))


@attrs.frozen
class Flags:
    """A supervisor's flags, checked. Words and defaults are OTP's."""

    strategy: Strategy = "one_for_one"
    intensity: int = 1
    period: float = 5.0
    auto_shutdown: AutoShutdown = "never"


def check_childspec(
    spec: object, auto_shutdown: AutoShutdown | None, where: str = ""
) -> list[SpecFault]:
    """Every fault of one child spec (a :class:`ChildSpec` or a mapping), in OTP's order.

    `auto_shutdown` is that of the supervisor it is meant for, or None where that is not known.
    """
    if isinstance(spec, ChildSpec):
        spec = attrs.asdict(spec, recurse=False)
    if not isinstance(spec, Mapping):
        words = f"a child spec is a ChildSpec or a mapping, not {spec!r}"
        if hasattr(spec, "as_child"):
            words += "; a Supervisor's is supervisor.as_child(id)"
        return [SpecFault(where or "child spec", ("invalid_child_spec", spec), words)]
    found = _Faults(where or f"child {shown(spec.get('id', '?'))}")
    if "id" not in spec:
        found.add("missing_id", "'id' is missing")
    elif not _hashable(spec["id"]):
        found.add(
            ("invalid_id", spec["id"]),
            f"'id' must be hashable and have words, not {shown(spec['id'])}",
        )
    if "start" not in spec:
        found.add("missing_start", "'start' is missing")
    elif not callable(spec["start"]):
        words = f"'start' must be an async function that takes the child, not {spec['start']!r}"
        found.add(("invalid_mfa", spec["start"]), words)
    restart = spec.get("restart", "permanent")
    found.one_of("restart", "invalid_restart_type", restart, _RESTARTS)
    significant = spec.get("significant", False)
    if significant is True and auto_shutdown == "never":
        found.add(
            ("bad_combination", (("auto_shutdown", "never"), ("significant", True))),
            "'significant' needs a supervisor whose auto_shutdown is not 'never'",
        )
    if significant is True and restart == "permanent":
        found.add(
            ("bad_combination", (("restart", "permanent"), ("significant", True))),
            "a significant child must be transient or temporary: a permanent one never ends",
        )
    if not isinstance(significant, bool):
        words = f"'significant' must be True or False, not {significant!r}"
        found.add(("invalid_significant", significant), words)
    found.one_of("type", "invalid_child_type", spec.get("type", "worker"), _TYPES)
    shutdown = spec.get("shutdown")
    if not (shutdown is None or _is_shutdown(shutdown)):
        words = f"'shutdown' must be seconds, 'infinity' or 'brutal_kill', not {shutdown!r}"
        found.add(("invalid_shutdown", shutdown), words)
    if not isinstance(spec.get("args", ()), tuple):
        found.add(("invalid_args", spec["args"]), f"'args' must be a tuple, not {spec['args']!r}")
    found.unknown_keys(spec, attrs.fields_dict(ChildSpec))
    return found.faults


def check_children(
    specs: object, flags: Flags, where: str
) -> tuple[list[ChildSpec], list[SpecFault]]:
    """The specs a supervisor is given, and every fault of them."""
    if not isinstance(specs, Iterable) or isinstance(specs, str | bytes | Mapping):
        words = f"the children must be a list of child specs, not {specs!r}"
        return [], [SpecFault(where, ("bad_start_spec", specs), words)]
    given = list(specs)
    if flags.strategy == "simple_one_for_one" and len(given) != 1:
        words = f"a simple_one_for_one supervisor takes one spec, the template, not {len(given)}"
        return [], [SpecFault(where, ("bad_start_spec", tuple(given)), words)]
    faults: list[SpecFault] = []
    checked: list[ChildSpec] = []
    seen: set[Hashable] = set()
    for spec in given:
        found = check_childspec(spec, flags.auto_shutdown)
        if not found:
            one = spec if isinstance(spec, ChildSpec) else ChildSpec(**cast("dict[str, Any]", spec))
            checked.append(one)
        id = spec.id if isinstance(spec, ChildSpec) else _id_of(spec)
        if id in seen:
            words = "two children have this id"
            found.append(SpecFault(f"child {id!r}", ("duplicate_child_name", id), words))
        elif id is not _NO_ID:
            seen.add(id)
        faults += [attrs.evolve(fault, reason=("start_spec", fault.reason)) for fault in found]
    return checked, faults


def check_flags(flags: object, where: str) -> tuple[Flags, list[SpecFault]]:
    """A supervisor's flags from a mapping, and every fault of them, in OTP's order."""
    found = _Faults(where, wrap="supervisor_data")
    if not isinstance(flags, Mapping):
        found.add(("invalid_type", flags), f"the flags must be a mapping, not {flags!r}")
        return Flags(), found.faults
    strategy = flags.get("strategy", "one_for_one")
    found.one_of("strategy", "invalid_strategy", strategy, _STRATEGIES)
    intensity = flags.get("intensity", 1)
    if isinstance(intensity, bool) or not isinstance(intensity, int) or intensity < 0:
        words = f"'intensity' must be a whole number of restarts, 0 or more, not {intensity!r}"
        found.add(("invalid_intensity", intensity), words)
    period = flags.get("period", 5.0)
    if not _is_seconds(period) or period == 0:
        words = f"'period' must be seconds, more than 0, not {period!r}"
        found.add(("invalid_period", period), words)
    auto_shutdown = flags.get("auto_shutdown", "never")
    found.one_of("auto_shutdown", "invalid_auto_shutdown", auto_shutdown, _AUTO_SHUTDOWNS)
    found.unknown_keys(flags, attrs.fields_dict(Flags))
    if found.faults:
        # children are checked against the flags all the same, so that all faults come at once
        known = auto_shutdown if auto_shutdown in _AUTO_SHUTDOWNS else "any_significant"
        shape = strategy if strategy in _STRATEGIES else "one_for_one"
        return Flags(cast("Strategy", shape), 1, 5.0, cast("AutoShutdown", known)), found.faults
    return Flags(**flags), []


class _Faults:
    """Collects the faults of one thing."""

    def __init__(self, where: str, wrap: str = "") -> None:
        self.where = where
        self.wrap = wrap
        self.faults: list[SpecFault] = []

    def add(self, reason: object, words: str) -> None:
        reason = (self.wrap, reason) if self.wrap else reason
        self.faults.append(SpecFault(self.where, reason, words))

    def one_of(self, field: str, name: str, value: object, allowed: tuple[str, ...]) -> None:
        if value not in allowed:
            listed = ", ".join(map(repr, allowed))
            self.add((name, value), f"{field!r} must be one of {listed}, not {value!r}")

    def unknown_keys(self, given: Mapping[Any, Any], known: Mapping[str, Any]) -> None:
        for key in given:
            if key not in known:
                near = get_close_matches(str(key), known, n=1)
                meant = f"; did you mean {near[0]!r}?" if near else ""
                self.add(("unknown_key", key), f"{key!r} is not one of {', '.join(known)}{meant}")


_NO_ID: Final = object()


def _id_of(spec: object) -> Hashable:
    """The id in a mapping that may have other faults; _NO_ID if that is one of them."""
    id = spec.get("id", _NO_ID) if isinstance(spec, Mapping) else _NO_ID
    return id if _hashable(id) else _NO_ID


def _hashable(value: object) -> bool:
    try:
        hash(value)
        f"{value} {value!r}"
    except Exception:  # noqa: BLE001 - a boundary: an id is anybody's object, and may raise anything
        return False
    return True


def _is_seconds(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= sys.float_info.max  # so it is neither inf nor nan


def _is_shutdown(value: object) -> bool:
    return value in ("infinity", "brutal_kill") if isinstance(value, str) else _is_seconds(value)
