"""Reading the stack of code that holds the event loop, and raising an interrupt in it safely.

An exception raised by a signal handler comes up between any two instructions. In a plugin's own
code that is an exception like others. In the midst of Trio, asyncio, logging or ourselves it would
leave a lock held or a queue half changed, and may end the run. So where such a frame is the
innermost, the plugin's frames are traced instead, and the exception is raised at the next line
that one of them comes to.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, Literal

import attrs

from nexus_actors import log
from nexus_actors.actors.owner import StallInterrupt
from nexus_actors.actors.stalls import place_of

__all__ = ["Interrupter", "Stack", "being_debugged", "read_stack"]

_OURS = frozenset({"nexus_actors", "supervisors"})
_NEVER_IN = _OURS | {
    # what keeps state that a sudden exception would leave torn
    "trio",
    "trio_asyncio",
    "asyncio",
    "contextlib",
    "threading",
    "logging",
    # what those, and we, stand on
    "outcome",
    "sniffio",
    "concurrent",
    "queue",
    "selectors",
    "weakref",
    "importlib",
    "_frozen_importlib",
    "_frozen_importlib_external",
    "structlog",
}
"""Packages in whose frames nothing is raised."""

_BOTTOMS = frozenset(
    {
        ("trio._core._run", "unrolled_run"),
        ("nexus_actors.plugin.importing", "load_module"),
        ("nexus_actors.plugin.outermost", "node_middleware_of"),
    }
)
"""What calls a plugin's code: below it lies the program that runs the node."""


@attrs.frozen
class Stack:
    """What runs, in the eyes of the watchdog."""

    plugin: str | None
    """The plugin whose module the innermost frame of a plugin is from."""
    frames: tuple[FrameType, ...]
    """The frames in which an interrupt may be raised, innermost first: the plugin's own; where
    there are none, those of libraries that it let the node run."""
    direct: bool
    """Whether it may be raised where the code is just now."""
    innermost: FrameType

    def place(self) -> str:
        """Function, file and line of the innermost frame that means something to the author."""
        frame = self.frames[0] if self.frames else self.innermost
        return place_of(frame)


def read_stack(innermost: FrameType) -> Stack:
    """Read the stack whose last frame is ``innermost``."""
    own: list[FrameType] = []
    libraries: list[FrameType] = []
    plugin: str | None = None
    direct = libraries_direct = True
    for frame in _down(innermost):
        module = _module(frame)
        speaker = log.speaker(module)
        if speaker is not None:
            plugin = plugin or speaker
            own.append(frame)
        elif module.partition(".")[0] in _NEVER_IN:
            direct = direct and bool(own)
            libraries_direct = libraries_direct and bool(libraries)
        else:
            libraries.append(frame)
    if own:
        return Stack(plugin, tuple(own), direct, innermost)
    return Stack(None, tuple(libraries), libraries_direct and bool(libraries), innermost)


def _down(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None and (_module(frame), frame.f_code.co_name) not in _BOTTOMS:
        yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


class Interrupter:
    """Raises interrupts in the main thread; its methods are called there, in a signal handler."""

    def __init__(self) -> None:
        self._armed: StallInterrupt | None = None
        self._frames: tuple[FrameType, ...] = ()

    @property
    def is_armed(self) -> bool:
        """Whether an interrupt waits for the next line of a plugin's frame."""
        return self._armed is not None

    def strike(self, stack: Stack, error: StallInterrupt, *, twice: bool) -> Literal["later", "no"]:
        """Raise ``error`` here, or see to it that it comes up at the next line of the plugin.

        ``twice`` is for code that keeps interrupts to itself: where it is raised at once, it is
        raised again at the next line, which is in the ``except`` that kept it.
        """
        self.disarm()
        if not stack.frames:
            return "no"
        if twice or not stack.direct:
            self._arm(stack.frames, error)
        if stack.direct:
            raise error
        return "later"

    def disarm(self) -> None:
        """Take back what has not come up."""
        if self._armed is None:
            return
        self._armed = None
        if sys.gettrace() == self._trace_new:
            sys.settrace(None)
        for frame in self._frames:
            if frame.f_trace == self._trace:
                frame.f_trace = None
        self._frames = ()

    def _arm(self, frames: tuple[FrameType, ...], error: StallInterrupt) -> None:
        self._armed, self._frames = error, frames
        for frame in frames:
            frame.f_trace = self._trace
        sys.settrace(self._trace_new)

    def _trace_new(self, frame: FrameType, event: str, argument: Any) -> None:
        """Called for frames that are new: those are not traced."""

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        error = self._armed
        if error is None:
            return None
        if event == "line" and not _leaves_with(frame.f_code, frame.f_lasti):
            # Python itself takes back the tracing when a trace function raises
            self._armed, self._frames = None, ()
            raise StallInterrupt(*error.args)  # the other one may have been raised already
        return self._trace


_BEFORE_EXIT = frozenset({"NOP", "SWAP", "COPY", "CACHE", "EXTENDED_ARG", "PUSH_EXC_INFO"})


def _leaves_with(code: CodeType, offset: int) -> bool:
    """Whether the instructions from ``offset`` call the ``__exit__`` of a ``with`` block.

    Such a line is outside of the block already: raised there, ``__exit__`` would never be called,
    and a cancel scope would stay open for ever.
    """
    nones = 0
    for each in dis.get_instructions(code):
        if each.offset < offset or each.opname in _BEFORE_EXIT:
            continue
        if each.opname == "WITH_EXCEPT_START":
            return True
        if each.opname == "LOAD_CONST" and each.argval is None:
            nones += 1
        else:
            return nones >= 3 and each.opname in ("PRECALL", "CALL")
    return False


def being_debugged() -> str:
    """By what this process is debugged or measured, in words; empty where it is not."""
    if sys.gettrace() is not None:
        return "a trace function is set (a debugger, or coverage)"
    for name in ("pydevd", "debugpy"):
        if name in sys.modules:
            return f"{name} is loaded"
    monitoring: Any = getattr(sys, "monitoring", None)
    if monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None:
        return f"{monitoring.get_tool(monitoring.DEBUGGER_ID)} debugs it"
    return ""
