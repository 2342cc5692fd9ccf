"""How the node's database is set up, and how its address is written where people read it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

from nexus_actors.database.errors import reason_of
from nexus_actors.errors import Fault, Invalid

__all__ = ["Settings", "no_connection", "shown"]


def _checked_dsn(settings: Settings, attribute: Any, dsn: str | None) -> None:
    """Refuse what cannot be a DSN, without repeating it: it may hold a password."""
    if dsn is None:
        return
    try:
        parts = urlsplit(dsn)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("postgresql", "postgres"):
        raise Invalid(
            [
                Fault(
                    "database url",
                    "it is not the address of a PostgreSQL server",
                    "write postgresql://user:password@host:5432/database",
                )
            ]
        )


@attrs.frozen
class Settings:
    """How the node's database is set up."""

    dsn: str | None = attrs.field(default=None, validator=_checked_dsn, repr=False)
    """``postgresql://...`` of a server; None for the embedded one."""
    data_dir: Path = Path(".nexus")
    """The node's data folder; the embedded server lives in ``postgres`` below it."""
    pool_max: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    """Connections a plugin may have at most."""
    pool_idle: float = 60.0
    """Seconds after which a connection nobody uses is closed."""
    grace: float = 1.0
    """Seconds a call waits for PostgreSQL to come back before it raises DatabaseUnavailable."""
    connect_timeout: float = 5.0
    """Seconds within which a connection must be made."""
    probe_every: float = 10.0
    """Seconds between two looks whether PostgreSQL still answers; a failing call looks at once."""
    first_pause: float = 0.1
    """Seconds before the first new try to start or reach PostgreSQL; doubled each time."""
    longest_pause: float = 10.0
    """Seconds between two tries at most."""
    silence: float = 30.0
    """Seconds without any answer after which the embedded server is killed and started again."""
    stop_timeout: float = 10.0
    """Seconds that the embedded server gets to stop."""
    durable: bool = True
    """False: the embedded server gives up safety against a crash of the machine; for tests."""
    statement_cache_size: int = 100
    """Prepared statements kept for each connection; 0 behind pgbouncer in transaction mode."""


def shown(dsn: str) -> str:
    """A DSN as it may be shown: user, place and database, without password and options."""
    parts = urlsplit(dsn)
    user = f"{parts.username}@" if parts.username else ""
    place = parts.hostname or parse_qs(parts.query).get("host", ["localhost"])[0]
    port = f":{parts.port}" if parts.port else ""
    return f"{user}{place}{port}{parts.path}"


def no_connection(error: BaseException, dsn: str) -> str:
    """Why there is no connection to the DSN's server, in words without its password."""
    if isinstance(error, OSError) and error.errno:
        words = os.strerror(error.errno)  # loops differ in what they say beside it
    else:
        words = reason_of(error)
    parts = urlsplit(dsn)
    for secret in (parts.password, *parse_qs(parts.query).get("password", [])):
        for form in {secret, unquote(secret or "")}:
            if form:
                words = words.replace(form, "***")
    return f"{words} ({shown(dsn)})"
