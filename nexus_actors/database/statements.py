"""What the text of a statement tells: its short form, traces it leaves, permissions it dodges.

The text is read only roughly (comments and quoted text set aside, then words are looked for). Where
it is in doubt it errs to the dear side: a connection too many is closed, never one too few.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["leaves_traces", "lifts_read_only", "schema_name", "shorten"]

_TRACES = re.compile(
    r"""
      (?:^|;)\s*(?:
          set\b(?!\s+(?:local|constraints|transaction)\b)
        | reset\b | listen\b | load\b | prepare\b(?!\s+transaction) | discard\b | do\b
      )
    | \btemp(?:orary)?\b | \bpg_temp | \bwith\s+hold\b
    | \bpg_(?:try_)?advisory_lock | \bset_config\b | \bsetseed\b
    """,
    re.VERBOSE | re.IGNORECASE,
)

_LIFTS_READ_ONLY = re.compile(
    r"""
      transaction_read_only | \bset_config\b | \breset\b | \bdiscard\b | \bsession_authorization\b
    | standard_conforming_strings           # it decides what is quoted text
    | \bu&"                                 # a name written in escapes can be any of these
    """,
    re.VERBOSE | re.IGNORECASE,
)

_LIFTS_BY_ITSELF = re.compile(
    r"\bread\s+write\b|(?:^|;)\s*(?:do|begin|start|commit|end|rollback|abort)\b", re.IGNORECASE
)

_PIECE = re.compile(
    r"""
      (?P<comment>--[^\n]*)
    | (?P<block>/\*)
    | \be'(?:[^'\\]|\\.|'')*'
    | '(?:[^']|'')*'
    | "(?:[^"]|"")*"
    | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$  # $ may also stand inside a name
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_BLOCK_END = re.compile(r"/\*|\*/")

_CACHED = 4096  # characters; longer statements are looked at anew each time rather than kept

_UNSAFE_SCHEMAS = {"public", "information_schema"}


def shorten(sql: str, length: int = 80) -> str:
    """The statement on one line, at most ``length`` characters: how a message names it."""
    line = " ".join(sql.split(maxsplit=length)[:length])
    return line if len(line) <= length else line[: length - 3].rstrip() + "..."


def leaves_traces(sql: str) -> bool:
    """Whether the session is changed by this statement, so that its connection is not reused.

    ``SET``, ``LISTEN``, temporary tables, session advisory locks and the like outlive the
    statement: the next user of a pooled connection would inherit them. ``SET LOCAL`` and
    ``pg_advisory_xact_lock`` end with their transaction and are fine.
    """
    return _traces(sql) if len(sql) <= _CACHED else _traces.__wrapped__(sql)


@lru_cache(maxsize=1024)
def _traces(sql: str) -> bool:
    return _TRACES.search(_bare(sql)) is not None


def lifts_read_only(sql: str) -> bool:
    """Whether the statement could switch a read-only session back to writing.

    Quoted text is looked through as well: ``set_config('transaction_read_only', ...)`` names it
    there. Transactions begun or ended by hand and ``DO`` blocks count: what follows them, or is in
    them, cannot be seen from here.
    """
    return (
        _LIFTS_READ_ONLY.search(sql) is not None or _LIFTS_BY_ITSELF.search(_bare(sql)) is not None
    )


def _bare(sql: str) -> str:
    """``sql`` with a blank for each comment, and ``""`` for each quoted text and name."""
    kept: list[str] = []
    at = 0
    while (piece := _PIECE.search(sql, at)) is not None:
        kept.append(sql[at : piece.start()])
        at = piece.end()
        if piece["block"]:
            at = _end_of_comment(sql, at)
        kept.append(" " if piece["block"] or piece["comment"] else ' "" ')
    kept.append(sql[at:])
    return "".join(kept)


def _end_of_comment(sql: str, at: int) -> int:
    """Where the block comment ends whose inside begins at ``at``; in PostgreSQL they nest."""
    depth = 1
    while depth and (mark := _BLOCK_END.search(sql, at)) is not None:
        depth += 1 if mark[0] == "/*" else -1
        at = mark.end()
    return len(sql) if depth else at


def schema_name(plugin: str) -> str:
    """The schema of a plugin: ``my-first-plugin`` has ``my_first_plugin``.

    PostgreSQL's own names are stepped aside from (``public`` becomes ``plugin_public``).

    Raises:
        ValueError: the name is empty, holds other characters than letters, digits, ``-`` and ``_``,
            or is longer than PostgreSQL's 63 bytes.
    """
    name = plugin.replace("-", "_").lower()
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        raise ValueError(f"{plugin!r} cannot name a schema: use letters, digits and '-'")
    if name in _UNSAFE_SCHEMAS or name.startswith("pg_"):
        name = f"plugin_{name}"
    if len(name) > 63:
        raise ValueError(f"{plugin!r} cannot name a schema: it is longer than 63 bytes")
    return name
