"""Logs: one form for what plugins, libraries and the node say, with its plugin and request.

Authors may use ``self.logger`` (``logger.info("took %s", x)`` or ``logger.info("took", order=7)``),
or the standard library's ``logging.getLogger(__name__)``: both go through :mod:`logging`, so its
levels, handlers and pytest's ``caplog`` work, and both come out of the one handler that
:func:`configure` installs. Without :func:`configure` (a unit test) nothing is installed anywhere.
"""

from __future__ import annotations

import json as jsonlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from typing import IO, Any, TextIO

import structlog

__all__ = [
    "bind",
    "bound",
    "configure",
    "context",
    "get_logger",
    "label",
    "plugin_logger",
    "speaker",
    "unbind",
    "unconfigure",
]

PLUGINS = "nexus_plugins"
"""The package that plugins are loaded into; its loggers are known by their names."""

_FIELDS = "nexus_fields"
"""The attribute of a LogRecord that holds the key-values of a structured call."""

_context: ContextVar[Mapping[str, Any]] = ContextVar("nexus_log_context", default={})  # noqa: B039 - only ever replaced
_labels: dict[str, str] = {}
_handler: logging.Handler | None = None


# Who is speaking, and about which request -----------------------------------------------------


def bind(**fields: Any) -> Token[Mapping[str, Any]]:
    """Add ``fields`` (``request_id=``, ``plugin=``, ...) to every record of this task from now on.

    Undo it by :func:`unbind`. A context does not cross a mailbox: whoever takes a message out of
    one binds what its envelope says.
    """
    return _context.set({**_context.get(), **fields})


def unbind(token: Token[Mapping[str, Any]]) -> None:
    """Take away what the :func:`bind` that returned ``token`` added."""
    _context.reset(token)


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Within the block, every record of this task carries ``fields``."""
    token = bind(**fields)
    try:
        yield
    finally:
        unbind(token)


def context() -> Mapping[str, Any]:
    """What is bound here."""
    return _context.get()


def label(module: str, plugin: str) -> None:
    """Say that loggers named ``module``, and those below, speak for ``plugin``.

    For plugins that are installed packages; those loaded from folders are known by their names.
    """
    _labels[module] = plugin


def speaker(logger: str) -> str | None:
    """The plugin whose logger (or module) this is; None for all others."""
    parts = logger.split(".")
    if parts[0] == PLUGINS and len(parts) > 1:
        return parts[1].replace("_", "-")
    if _labels:
        for length in range(len(parts), 0, -1):
            found = _labels.get(".".join(parts[:length]))
            if found is not None:
                return found
    return None


# Loggers --------------------------------------------------------------------------------------


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger that takes ``"%s"`` arguments, key-values or both, over the standard ``name``."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _to_stdlib],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


def plugin_logger(name: str) -> structlog.stdlib.BoundLogger:
    """What ``self.logger`` is in the plugin ``name``."""
    return get_logger(f"{PLUGINS}.{name.replace('-', '_')}")


_FRAMES_OF_STRUCTLOG = 3
_RECORD_WORDS = ("exc_info", "stack_info", "stacklevel")


def _to_stdlib(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The last processor: hand the call to :mod:`logging`, its key-values in one attribute.

    The arguments of ``"%s"`` are left to :mod:`logging`, where a format that does not fit them is
    reported on stderr; here it would be raised into the plugin.
    """
    message = event.pop("event", "")
    arguments = event.pop("positional_args", ())
    words = {word: event.pop(word) for word in _RECORD_WORDS if word in event}
    # structlog's own frames are skipped, so that a record names its author's file and line
    words["stacklevel"] = words.get("stacklevel", 1) + _FRAMES_OF_STRUCTLOG
    extra = event.pop("extra", None)
    fields = {**event, **(extra if isinstance(extra, Mapping) else {})}
    if fields and _handler is None:
        # Nobody else will show the fields, so a test that reads the messages sees them there.
        shown = " ".join(f"{key}={_repr(value)}" for key, value in fields.items())
        message = f"{message} {shown.replace('%', '%%') if arguments else shown}"
    return (message, *arguments), {**words, "extra": {_FIELDS: fields}}


# What is written ------------------------------------------------------------------------------


def configure(
    json: bool | None = None, level: int | str = logging.INFO, stream: IO[str] | None = None
) -> None:
    """Write every record of ``level`` and above to ``stream`` (stderr), once however often called.

    ``json=True`` is one object a line, ``False`` is for people; None is for people where the
    stream is a terminal. Replaces only the handler it installed itself; :func:`unconfigure`
    takes it away.

    Raises:
        ValueError: there is no such level.
    """
    global _handler
    number = _level(level)
    unconfigure()
    handler: logging.StreamHandler[Any] = (
        _StderrHandler() if stream is None else logging.StreamHandler(stream)
    )
    terminal = _is_terminal(handler.stream)
    plain = json if json is not None else not terminal
    colours = terminal and not os.environ.get("NO_COLOR")
    handler.setFormatter(JsonFormatter() if plain else ConsoleFormatter(colours=colours))
    handler.name = "nexus"
    root = logging.getLogger()
    _before["level"] = root.level
    root.addHandler(handler)
    root.setLevel(number)
    _handler = handler


_before: dict[str, int] = {}


def unconfigure() -> None:
    """Take away what :func:`configure` installed, and give the root logger its level back."""
    global _handler
    if _handler is None:
        return
    root = logging.getLogger()
    root.removeHandler(_handler)
    root.setLevel(_before.pop("level", logging.WARNING))
    _handler = None


def _level(level: int | str) -> int:
    if isinstance(level, int):
        return level
    known = logging.getLevelNamesMapping()
    if level.upper() not in known:
        raise ValueError(f"no log level {level!r}; use debug, info, warning, error or critical")
    return known[level.upper()]


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # not a file, or closed
        return False


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is at the time, as tests and redirections replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _value: TextIO) -> None:
        pass


class _Said:
    """A record taken apart: what both forms show."""

    def __init__(self, record: logging.LogRecord, formatter: logging.Formatter) -> None:
        fields = {**_context.get(), **getattr(record, _FIELDS, {})}
        if hasattr(record, "request_id"):  # by the `extra=` of the standard library
            fields["request_id"] = record.request_id
        self.plugin = speaker(record.name) or fields.pop("plugin", None)
        fields.pop("plugin", None)
        self.request_id = fields.pop("request_id", None)
        self.fields = fields
        self.level = record.levelname.lower()
        self.logger = record.name
        self.message = _message(record)
        self.time = datetime.fromtimestamp(record.created, UTC)
        told = fields.pop("traceback", "")
        """The places of something that was raised and is no longer there, in words."""
        self.traceback = _traceback(record, formatter) or str(told)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - "%s %s" and one argument, or an author's __str__ that raises
        try:
            return f"{record.msg} (its arguments do not fit: {record.args!r})"
        except Exception:  # noqa: BLE001 - and so may its __repr__
            return f"{record.msg} (its arguments cannot be shown)"


def _traceback(record: logging.LogRecord, formatter: logging.Formatter) -> str:
    text = formatter.formatException(record.exc_info) if record.exc_info else ""
    if record.stack_info:
        text = f"{text}\n{record.stack_info}".lstrip("\n")
    return text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, plugin, message, request_id, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for ``record``; a value that JSON cannot hold is shown by its repr."""
        said = _Said(record, self)
        line: dict[str, Any] = {
            "time": said.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": said.level,
            "logger": said.logger,
        }
        if said.plugin is not None:
            line["plugin"] = said.plugin
        line["message"] = said.message
        if said.request_id is not None:
            line["request_id"] = said.request_id
        for key, value in said.fields.items():
            # An author's own key never takes the place of one of ours.
            line[f"{key}_" if key in line or key == "exception" else key] = value
        if said.traceback:
            line["exception"] = said.traceback
        return _dump(line)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - an author's __repr__ may raise; the record must not be lost
        return f"<{type(value).__name__} that cannot be shown>"


def _dump(line: dict[str, Any]) -> str:
    try:
        return jsonlib.dumps(line, default=_repr, allow_nan=False)
    except (TypeError, ValueError, RecursionError):  # odd keys, NaN, a list that holds itself
        return jsonlib.dumps(
            {key: value if isinstance(value, str) else _repr(value) for key, value in line.items()}
        )


_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class ConsoleFormatter(logging.Formatter):
    """A line for people: local time, level, plugin, message, key-values; a traceback below it."""

    def __init__(self, *, colours: bool = False) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """The line for ``record``, and what belongs to it indented below."""
        said = _Said(record, self)
        time = said.time.astimezone().strftime("%H:%M:%S.%f")[:-3]
        head = f"{self._paint('2', time)} {self._level(said.level)} "
        head += self._paint("36", f"{_clean(str(said.plugin or said.logger)):<16}") + " "
        fields = dict(said.fields)
        if said.request_id is not None:
            fields["request_id"] = said.request_id
        words = "".join(
            f"  {self._paint('2', _clean(key) + '=')}{_brief(value)}"
            for key, value in fields.items()
        )
        line = head + _clean(said.message) + words
        if said.traceback:
            line += "\n  " + _clean(said.traceback)
        return line

    def _level(self, level: str) -> str:
        return self._paint(_COLOURS.get(level, "0"), f"{level:<8}")

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text


def _brief(value: object) -> str:
    text = _clean(str(value)) if isinstance(value, str) else _clean(_repr(value))
    return text if text and " " not in text else repr(text)


def _clean(text: str) -> str:
    """``text`` without what could pass for another line or steer a terminal: clients send such."""
    text = text.replace("\r\n", "\n").replace("\n", "\n  ")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
