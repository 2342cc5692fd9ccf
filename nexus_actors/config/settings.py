"""The settings of a node: one class a section of ``nexus.toml``, each field with its range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from nexus_actors.config.rules import BadValue, Rule, convert, setting, split_bind
from nexus_actors.errors import Fault, Invalid
from nexus_actors.words import MASK

__all__ = [
    "SECTIONS",
    "DatabaseSettings",
    "HttpSettings",
    "NodeSettings",
    "PluginTable",
    "SettingRow",
    "Settings",
    "describe_settings",
    "each_setting",
    "variable_of",
]

_DAY = 86_400.0
_DATA = Path(".nexus")


@attrs.frozen
class NodeSettings:
    """``[node]``: where things lie, how long things may take, what is said about it.

    Raises:
        ValueError: from the constructor, for a value out of its range; the message names the field.
    """

    plugins: tuple[Path, ...] = setting(
        (),
        "Folders whose subfolders are plugins. Without any: `plugins` in the working folder where "
        "there is one, else the plugins that are shipped with Nexus Actors.",
        kind="paths",
        variable="NEXUS_PLUGINS",
        flag="--plugins",
    )
    installed_plugins: bool = setting(
        True,
        "Whether plugins installed as packages (entry points of the group `nexus.plugins`) are "
        "served too.",
        kind="boolean",
    )
    data: Path = setting(  # noqa: RUF009 - setting() makes an attrs field
        _DATA,
        "The node's own folder: the embedded PostgreSQL's data and the socket that commands use.",
        kind="path",
        variable="NEXUS_DATA",
        flag="--data",
    )
    required: tuple[str, ...] = setting(
        (),
        "Plugins without which `/readyz` answers 503.",
        kind="names",
    )
    stop_timeout: float = setting(
        25.0,
        "How long the whole stop may take; then what is left is killed and the exit code is 1.",
        kind="seconds",
        minimum=0.1,
        maximum=3600,
    )
    ask_timeout: float = setting(
        5.0,
        "How long an ask waits for its reply where the caller names no time.",
        kind="seconds",
        minimum=0.001,
        maximum=_DAY,
    )
    handler_timeout: float = setting(
        60.0,
        "How long the handler of an event, a tell or a timer may take; then it is cancelled, "
        "which is a crash.",
        kind="seconds",
        minimum=0.001,
        maximum=_DAY,
    )
    initialize_timeout: float = setting(
        30.0,
        "How long a plugin's `initialize` may take; then the start has failed.",
        kind="seconds",
        minimum=0.001,
        maximum=_DAY,
    )
    dead_letters: int = setting(
        1000,
        "How many messages that nobody handled are kept; then the oldest fall off.",
        kind="count",
        minimum=1,
        maximum=1_000_000,
    )
    dead_letters_size: int = setting(
        64 * 1024**2,
        "How many bytes of memory they may take together. What is over a quarter of it is not "
        "kept: of that the letter tells, and it cannot be retried.",
        kind="bytes",
        minimum=1024**2,
        maximum=1024**4,
    )
    watchdog: bool = setting(
        True,
        "Whether code that holds the event loop is noticed, named and interrupted.",
        kind="boolean",
    )
    stall_warn: float = setting(
        1.0,
        "How long code may hold the event loop before the log names it.",
        kind="seconds",
        minimum=0.05,
        maximum=3600,
    )
    stall_limit: float = setting(
        5.0,
        "How long a plugin may hold the event loop; then it is interrupted, and restarts.",
        kind="seconds",
        minimum=0.1,
        maximum=_DAY,
    )
    stall_signal: str = setting(
        "SIGUSR2",
        "The signal by which the watchdog looks into a blocked loop. Name another where a plugin "
        "needs this one.",
        kind="word",
        choices=("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF"),
    )
    log_level: str = setting(
        "info",
        "The least grave records that are written.",
        kind="word",
        choices=("debug", "info", "warning", "error", "critical"),
    )
    log_format: str = setting(
        "auto",
        "`console` is for people, `json` is one object a line; `auto` is `console` on a terminal, "
        "else `json`.",
        kind="word",
        choices=("auto", "console", "json"),
    )


@attrs.frozen
class HttpSettings:
    """``[http]``: the address, and what one client may take from the node.

    Raises:
        ValueError: from the constructor, for a value out of its range; the message names the field.
    """

    bind: str = setting(
        "127.0.0.1:8000",
        "Host and port to serve on; port 0 takes any free one.",
        kind="address",
        variable="NEXUS_BIND",
        flag="--bind",
    )
    path: str = setting(
        "shortcut",
        "The way of a request from the socket to the router: `shortcut` is our own, `stock` is "
        "Hypercorn's.",
        kind="word",
        choices=("shortcut", "stock"),
        flag="--http",
    )
    drain: float = setting(
        10.0,
        "How long requests in flight may go on once the node was told to stop.",
        kind="seconds",
        minimum=0,
        maximum=3600,
    )
    keep_alive: float = setting(
        15.0,
        "How long a connection may stay open without a request.",
        kind="seconds",
        minimum=0,
        maximum=_DAY,
    )
    head_timeout: float = setting(
        10.0,
        "How long a client may take to send the head of a request.",
        kind="seconds",
        minimum=0.01,
        maximum=3600,
    )
    reply_timeout: float = setting(
        30.0,
        "From the end of the request's head to the first byte of the reply; then 504.",
        kind="seconds",
        minimum=0.01,
        maximum=_DAY,
    )
    write_timeout: float = setting(
        10.0,
        "How long one write may wait for a client that does not read; then the connection is "
        "closed.",
        kind="seconds",
        minimum=0.01,
        maximum=3600,
    )
    max_connections: int = setting(
        1000,
        "Connections open at once; one more is answered 503 and closed.",
        kind="count",
        minimum=1,
        maximum=1_000_000,
    )
    max_body: int = setting(
        16 * 1024**2,
        "The longest body of a request; a longer one is answered 413.",
        kind="bytes",
        minimum=0,
        maximum=1024**4,
    )
    max_head: int = setting(
        64 * 1024,
        "The longest head of a request, all its headers together; a longer one is answered 431.",
        kind="bytes",
        minimum=1024,
        maximum=16 * 1024**2,
    )
    max_url: int = setting(
        8 * 1024,
        "The longest address of a request, path and query; a longer one is answered 414.",
        kind="bytes",
        minimum=64,
        maximum=1024**2,
    )

    @property
    def host(self) -> str:
        """The host of :attr:`bind`, without the brackets of an IPv6 address."""
        return split_bind(self.bind)[0]

    @property
    def port(self) -> int:
        """The port of :attr:`bind`; 0 asks for any free one."""
        return split_bind(self.bind)[1]


@attrs.frozen
class DatabaseSettings:
    """``[database]``: which PostgreSQL, and how much of it. The repr hides the password.

    Raises:
        ValueError: from the constructor, for a value out of its range; the message names the field.
    """

    url: str | None = setting(
        None,
        "The address of a PostgreSQL server. Without it the node runs its own, in its data folder.",
        kind="url",
        variable="NEXUS_DATABASE_URL",
        flag="--database-url",
        optional=True,
    )
    pool_size: int = setting(
        10,
        "Connections open at once.",
        kind="count",
        minimum=1,
        maximum=1000,
    )
    connect_timeout: float = setting(
        10.0,
        "How long one attempt to connect may take.",
        kind="seconds",
        minimum=0.1,
        maximum=600,
    )


@attrs.frozen
class PluginTable:
    """``[plugins.<name>]``: whether the plugin runs, and values for its configuration, unchecked.

    They are checked against the plugin's manifest by
    :func:`nexus_actors.plugin.options.plugin_config`.
    """

    options: Mapping[str, Any] = attrs.field(
        factory=dict, repr=lambda options: f"{sorted(options)}"
    )
    """The table without ``enabled``. Only the names are in the repr: a value may be a secret."""
    enabled: bool = True
    """False: the plugin is not started, and none may require it."""
    where: str = ""
    """The place in words, ``"nexus.toml: plugins.shop"``; empty for a table no file holds."""


def _names_only(environ: Mapping[str, str]) -> str:
    return f"{dict.fromkeys(sorted(environ), MASK)}"


@attrs.frozen
class Settings:
    """All that a node was told; ``Settings()`` is every default, :func:`load_settings` reads one.

    Raises:
        Invalid: from the constructor, where two settings contradict each other.
    """

    node: NodeSettings = attrs.field(factory=NodeSettings)
    http: HttpSettings = attrs.field(factory=HttpSettings)
    database: DatabaseSettings = attrs.field(factory=DatabaseSettings)
    plugins: Mapping[str, PluginTable] = attrs.field(factory=dict)
    """The tables ``[plugins.<name>]``, by the plugin's name."""
    config_file: Path | None = None
    """The ``nexus.toml`` that was read, if any."""
    environ: Mapping[str, str] = attrs.field(factory=dict, repr=_names_only)
    """The variables ``NEXUS_PLUGINS_*``: values for the configuration of plugins."""
    sources: Mapping[str, str] = attrs.field(factory=dict)
    """Who said it, for each setting that is not a default: ``{"http.bind": "--bind"}``."""
    warnings: tuple[Fault, ...] = ()
    """What was ignored and may have been meant."""

    def __attrs_post_init__(self) -> None:
        faults = []
        if self.http.drain > self.node.stop_timeout:
            faults.append(
                Fault(
                    f"{self.source_of('http.drain')}: http.drain",
                    f"{self.http.drain:g} s of drain do not fit into node.stop_timeout, "
                    f"{self.node.stop_timeout:g} s ({self.source_of('node.stop_timeout')})",
                    "make http.drain shorter or node.stop_timeout longer",
                )
            )
        if self.node.stall_warn > self.node.stall_limit:
            faults.append(
                Fault(
                    f"{self.source_of('node.stall_warn')}: node.stall_warn",
                    f"{self.node.stall_warn:g} s are more than node.stall_limit, "
                    f"{self.node.stall_limit:g} s ({self.source_of('node.stall_limit')})",
                    "make node.stall_warn shorter or node.stall_limit longer",
                )
            )
        if faults:
            raise Invalid(faults)

    @property
    def plugin_dirs(self) -> tuple[Path, ...]:
        """The folders named for plugins; without any see ``plugin.discovery.plugin_dirs``."""
        return self.node.plugins

    @property
    def bind(self) -> str:
        """Host and port of the front end."""
        return self.http.bind

    @property
    def database_url(self) -> str | None:
        """The address of PostgreSQL, or None for the embedded one."""
        return self.database.url

    @property
    def data_dir(self) -> Path:
        """The node's own folder."""
        return self.node.data

    def source_of(self, key: str) -> str:
        """Who said ``key`` (``"http.bind"``): a flag, a variable, a file, or ``"default"``."""
        return self.sources.get(key, "default")

    def table(self, name: str) -> PluginTable:
        """The table of the plugin ``name``; an empty one where ``nexus.toml`` has none."""
        return self.plugins.get(name, PluginTable())

    def is_enabled(self, name: str) -> bool:
        """Whether the plugin ``name`` is to run.

        ``NEXUS_PLUGINS_<NAME>_ENABLED`` decides, else its table in ``nexus.toml``, else yes.

        Raises:
            Invalid: the variable holds neither true nor false.
        """
        variable = f"NEXUS_PLUGINS_{name.upper().replace('-', '_')}_ENABLED"
        if variable not in self.environ:
            return self.table(name).enabled
        rule = Rule("boolean", "")
        try:
            return bool(convert(rule, self.environ[variable], base=Path(), text=True))
        except BadValue as bad:
            raise Invalid([Fault(variable, bad.what, bad.fix)]) from None


SECTIONS: Mapping[str, type] = {
    "node": NodeSettings,
    "http": HttpSettings,
    "database": DatabaseSettings,
}
"""The sections of ``nexus.toml`` besides ``[plugins.<name>]``."""


@attrs.frozen
class SettingRow:
    """One setting as the documentation shows it."""

    key: str
    """Section and key: ``http.bind``."""
    default: str
    """The default as one would write it in ``nexus.toml``; empty where there is none."""
    unit: str
    """``"seconds"``, ``"bytes"`` or nothing."""
    meaning: str
    expected: str
    """What it may hold, in words, with the range."""
    variable: str
    """Its environment variable."""
    flag: str
    """Its option of ``nexus run``, or nothing."""


def each_setting() -> Iterator[tuple[str, str, Any, Rule]]:
    """Section, key, default and rule of every setting, as declared."""
    for section, cls in SECTIONS.items():
        for field in attrs.fields(cls):
            yield section, field.name, field.default, field.metadata["rule"]


def variable_of(section: str, key: str, rule: Rule) -> str:
    """The environment variable of a setting."""
    return rule.variable or f"NEXUS_{section}_{key}".upper()


def describe_settings() -> tuple[SettingRow, ...]:
    """Every setting: default, unit, meaning, where it can be said. The documentation lists them."""
    return tuple(
        SettingRow(
            key=f"{section}.{key}",
            default=_written(default, rule),
            unit=rule.unit,
            meaning=rule.meaning,
            expected=rule.expected,
            variable=variable_of(section, key, rule),
            flag=rule.flag,
        )
        for section, key, default, rule in each_setting()
    )


def _written(value: object, rule: Rule) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int() if rule.kind == "bytes":
            return f'"{value // 1024**2} MiB"' if value % 1024**2 == 0 else f'"{value // 1024} KiB"'
        case int() | float():
            return f"{value:g}"
        case tuple():
            return "[]"
    return f'"{value}"'
