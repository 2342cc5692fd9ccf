"""What PostgreSQL refused, as exceptions with words: the statement, the place in it, the fix.

Three kinds reach a caller:

========================  =======================================================================
:class:`DatabaseError`    the statement is wrong, or the data do not allow it. It is the caller's
                          fault, in the sense of the fault rule. Every one is also an instance of
                          asyncpg's class for its SQLSTATE, so ``except
                          asyncpg.UniqueViolationError`` catches :class:`UniqueViolation` too.
``DatabaseUnavailable``   PostgreSQL cannot be reached, or the connection was lost on the way. Not
                          the caller's fault; what was being written may or may not have happened.
``PermissionDenied``      a plugin with ``database:read`` alone tried to write.
========================  =======================================================================

Messages name the statement (shortened) and never hold the values of its parameters nor of rows:
messages end up in logs. PostgreSQL's own line with the row's values is in
:attr:`DatabaseError.detail`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import asyncpg

from nexus_actors.database.statements import shorten
from nexus_actors.errors import DatabaseUnavailable, NexusError

__all__ = [
    "CheckViolation",
    "DatabaseError",
    "DeadlockDetected",
    "ForeignKeyViolation",
    "IntegrityError",
    "NotNullViolation",
    "SerializationFailure",
    "StatementError",
    "StatementTimeout",
    "TransactionAborted",
    "TransactionConflict",
    "UndefinedColumn",
    "UndefinedTable",
    "UniqueViolation",
    "WrongParameter",
    "concerns_parameters",
    "is_connection_lost",
    "reason_of",
    "translate",
    "unavailable",
]


D = TypeVar("D", bound="DatabaseError")


class DatabaseError(NexusError):
    """PostgreSQL (or the client, before sending) refused a statement.

    Raised itself for what has no class of its own below; ``sqlstate`` tells then.
    """

    statement: str = ""
    """The statement, shortened to one line."""
    sqlstate: ClassVar[str] = ""
    """PostgreSQL's five-character code; empty where the client refused."""
    detail: str | None = None
    """PostgreSQL's DETAIL line. It may hold values of the row, so it is not part of ``str()``."""
    hint: str | None = None
    """PostgreSQL's HINT line."""
    constraint_name: str | None = None
    table_name: str | None = None
    column_name: str | None = None

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else type(self).__name__


class IntegrityError(DatabaseError):
    """The data do not allow it: one of the four violations below, or an exclusion constraint's."""


class UniqueViolation(IntegrityError, asyncpg.UniqueViolationError):
    """There is a row with that key already; ``constraint_name`` says which key."""


class ForeignKeyViolation(IntegrityError, asyncpg.ForeignKeyViolationError):
    """The row refers to one that is not there, or is referred to by one that is."""


class NotNullViolation(IntegrityError, asyncpg.NotNullViolationError):
    """A column that must have a value got none; ``column_name`` says which."""


class CheckViolation(IntegrityError, asyncpg.CheckViolationError):
    """A CHECK of the table refused the row; ``constraint_name`` says which."""


class StatementError(DatabaseError):
    """The statement itself is wrong: its syntax, or a name in it."""


class UndefinedTable(StatementError, asyncpg.UndefinedTableError):
    """No such table in the plugin's schema."""


class UndefinedColumn(StatementError, asyncpg.UndefinedColumnError):
    """No such column."""


class WrongParameter(DatabaseError, asyncpg.DataError):
    """A value for ``$1``, ``$2``... is of the wrong type, too large a number, or text that
    PostgreSQL does not take, or there are too many or too few of them.

    Nearly always found before anything is sent; an open transaction is not spoiled by it then.
    Only a null character in text is found by PostgreSQL itself.
    """


class TransactionConflict(DatabaseError):
    """Two transactions were in each other's way and this one gave in: run it again as a whole."""


class SerializationFailure(TransactionConflict, asyncpg.SerializationError):
    """See :class:`TransactionConflict`; at isolation ``repeatable_read`` and ``serializable``."""


class DeadlockDetected(TransactionConflict, asyncpg.DeadlockDetectedError):
    """See :class:`TransactionConflict`; each waited for a row the other had locked."""


class TransactionAborted(DatabaseError, asyncpg.InFailedSQLTransactionError):
    """An earlier statement of the transaction failed, so nothing of it can take effect."""


class StatementTimeout(DatabaseError, TimeoutError):
    """The ``timeout=`` of the call was over; the statement was cancelled in PostgreSQL as well."""


_NAMED: dict[type[Exception], type[DatabaseError]] = {
    asyncpg.UniqueViolationError: UniqueViolation,
    asyncpg.ForeignKeyViolationError: ForeignKeyViolation,
    asyncpg.NotNullViolationError: NotNullViolation,
    asyncpg.CheckViolationError: CheckViolation,
    asyncpg.UndefinedTableError: UndefinedTable,
    asyncpg.UndefinedColumnError: UndefinedColumn,
    asyncpg.SerializationError: SerializationFailure,
    asyncpg.DeadlockDetectedError: DeadlockDetected,
    asyncpg.InFailedSQLTransactionError: TransactionAborted,
}

_NO_TEXT = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)

_FAMILIES: tuple[tuple[type[Exception], type[DatabaseError]], ...] = (
    (asyncpg.IntegrityConstraintViolationError, IntegrityError),
    *((theirs, WrongParameter) for theirs in _NO_TEXT),
    (asyncpg.SyntaxOrAccessError, StatementError),
    (asyncpg.TransactionRollbackError, TransactionConflict),
)

# 57P0x: the server is stopping, crashed, or not up yet; 53300: no connection is free; 25P03/05: an
# idle session was ended by the server
_GONE = {"57P01", "57P02", "57P03", "57P05", "53300", "25P03", "25P05"}


@lru_cache(maxsize=256)
def _class_for(original: type[Exception]) -> type[DatabaseError]:
    """Our class for one of asyncpg's: a named one, or one made of its family's and asyncpg's."""
    if original in _NAMED:
        return _NAMED[original]
    family = next(
        (ours for theirs, ours in _FAMILIES if issubclass(original, theirs)), DatabaseError
    )
    return type(original.__name__, (family, original), {"__module__": __name__})


def is_connection_lost(error: BaseException) -> bool:
    """Whether the error says that PostgreSQL is away, not that it refused something."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state.startswith("08") or state in _GONE
    if isinstance(error, asyncpg.InterfaceError):
        return "connection is closed" in str(error) or "closed in the middle" in str(error)
    if isinstance(error, asyncpg.OutdatedSchemaCacheError):
        return False
    return isinstance(error, OSError | asyncpg.InternalClientError)


def reason_of(error: BaseException) -> str:
    """Why there is no connection, in one line."""
    if isinstance(error, TimeoutError) and not str(error):
        return "PostgreSQL did not answer in time"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def unavailable(error: BaseException, statement: str = "") -> DatabaseUnavailable:
    """DatabaseUnavailable for a lost or refused connection; ``statement`` was under way, if any."""
    why = reason_of(error)
    if statement:
        why += f"; it was lost during {shorten(statement)}, which may or may not have taken effect"
    return DatabaseUnavailable(why)


def translate(
    error: Exception,
    sql: str,
    *,
    wanted: Sequence[Any] = (),
    args: Sequence[Any] = (),
    many: bool = False,
) -> Exception:
    """The error a caller gets for ``error``; ``wanted`` are the types PostgreSQL has for ``$1``...,
    ``args`` the values, where ``many`` is true row by row.

    Pure. What is neither PostgreSQL's nor asyncpg's comes back as it is.
    """
    if is_connection_lost(error):
        return unavailable(error, sql)
    if concerns_parameters(error):
        return _wrong_parameter(error, sql, wanted, args)
    if isinstance(error, _NO_TEXT):
        return _refused(error, sql, _null_character(args, many))
    if isinstance(error, asyncpg.PostgresError):
        return _refused(error, sql)
    if isinstance(error, asyncpg.InterfaceError | asyncpg.OutdatedSchemaCacheError):
        return _made(DatabaseError, f"{error.args[0]}, in: {shorten(sql)}", sql)
    return error


def concerns_parameters(error: BaseException) -> bool:
    """Whether it is about the values for ``$1``..., and not about the statement."""
    if isinstance(error, asyncpg.UndefinedParameterError):
        return True
    text = str(error.args[0]) if error.args else ""
    return (
        isinstance(error, asyncpg.DataError | asyncpg.InterfaceError)
        and getattr(error, "severity", None) is None  # the server's own have one
        and (_ARGUMENT.search(text) is not None or _COUNT.search(text) is not None)
    )


def _null_character(args: Sequence[Any], many: bool) -> str:
    """Which parameter has a null character in it, in words; nothing where none has."""
    rows: Sequence[Sequence[Any]] = args if many else [args]
    for row, values in enumerate(rows):
        for number, value in enumerate(values, 1):
            if _has_null(value):
                of_row = f" of row {row}" if many else ""
                return (
                    f"parameter ${number}{of_row} is a Python {type(value).__name__} and has a "
                    r"null character (\0) in its text, which PostgreSQL does not take"
                )
    return ""


def _has_null(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_has_null(key) or _has_null(inner) for key, inner in value.items())
    return isinstance(value, list | tuple | set | frozenset) and any(map(_has_null, value))


def _refused(error: asyncpg.PostgresError, sql: str, why: str = "") -> DatabaseError:
    ours = _class_for(type(error))
    message = why or (str(error.args[0]) if error.args else type(error).__name__)
    words = f"{message}, in: {shorten(sql)}"
    position = _position(error, sql)
    if position:
        words += f" ({position})"
    if error.hint:
        words += f"; {error.hint}"
    advice = "refuse such text where it comes in" if why else _ADVICE.get(ours)
    if advice:
        words += f"; {advice}"
    translated = ours(words)
    translated.__dict__.update(error.__dict__)
    translated.statement = shorten(sql)
    return translated


_ADVICE: dict[type[DatabaseError], str] = {
    UndefinedTable: (
        "create it in initialize() with CREATE TABLE IF NOT EXISTS; tables of other plugins are "
        "not seen"
    ),
    TransactionAborted: (
        "an earlier statement of this transaction failed and its error did not leave the block: "
        "let it, or put that statement into a nested `async with db.transaction()`"
    ),
    SerializationFailure: "run the transaction again from its start",
    DeadlockDetected: "run the transaction again from its start",
}


def _position(error: asyncpg.PostgresError, sql: str) -> str:
    """``line 2, column 8`` of the statement, where PostgreSQL points into it."""
    try:
        offset = int(getattr(error, "position", None) or 0) - 1
    except ValueError:
        return ""
    if offset < 0:
        return ""
    before = sql[:offset]
    line = before.count("\n") + 1
    column = offset - (before.rfind("\n") + 1) + 1
    return f"line {line}, column {column}" if line > 1 else f"column {column}"


_ARGUMENT = re.compile(r"query argument \$(\d+)(?: in element #(\d+))?")
_REASON = re.compile(r"\((.*)\)$", re.DOTALL)
_COUNT = re.compile(r"expects (\d+) arguments? for this query, (\d+)")

_PASS: dict[str, str] = {
    "int2": "an int", "int4": "an int", "int8": "an int", "oid": "an int",
    "float4": "a float", "float8": "a float", "numeric": "a decimal.Decimal, an int or a float",
    "text": "a str", "varchar": "a str", "bpchar": "a str", "name": "a str",
    "bool": "True or False", "bytea": "bytes", "uuid": "a uuid.UUID or its text",
    "date": "a datetime.date", "time": "a datetime.time", "interval": "a datetime.timedelta",
    "timestamp": "a datetime.datetime without a time zone",
    "timestamptz": "a datetime.datetime with a time zone",
    "json": "what msgspec can write as JSON", "jsonb": "what msgspec can write as JSON",
    "inet": "an ipaddress address or its text",
}  # fmt: skip

_BITS = {"int2": 16, "int4": 32, "int8": 64}


def _wrong_parameter(
    error: Exception, sql: str, wanted: Sequence[Any], args: Sequence[Any]
) -> WrongParameter:
    """Words for what asyncpg refuses before sending: too many, too few, or of the wrong type."""
    text = str(error.args[0])
    if isinstance(error, asyncpg.UndefinedParameterError):
        words = (
            f"{text}, in: {shorten(sql)}; pass a value for each of $1, $2... after the statement"
        )
        return _made(WrongParameter, words, sql)
    if counted := _COUNT.search(text):
        want, got = int(counted[1]), int(counted[2])
        fix = (
            "pass one value for each of $1"
            + (f" to ${want}" if want > 1 else "")
            + " after the statement"
            if want
            else "it has no $1; only SELECT, INSERT, UPDATE, DELETE, MERGE and VALUES can have one"
        )
        return _made(
            WrongParameter, f"{_values(want)} wanted, {got} given, in: {shorten(sql)}; {fix}", sql
        )
    if named := _ARGUMENT.search(text):
        number = int(named[1])
        row = f" of row {named[2]}" if named[2] else ""
        kind = wanted[number - 1].name if number <= len(wanted) else ""
        values = args
        if named[2] and int(named[2]) < len(args):
            values = args[int(named[2])]
        got_type = type(values[number - 1]).__name__ if number <= len(values) else "value"
        reason = _REASON.search(text)
        words = f"parameter ${number}{row}"
        words += f" is a PostgreSQL {kind}" if kind else ""
        words += f" and got a Python {got_type}" if kind else f" got a Python {got_type}"
        if reason:
            words += f" ({reason[1]})"
        words += f", in: {shorten(sql)}"
        if kind.endswith("[]"):
            words += f"; pass a list, each item {_PASS.get(kind[:-2], kind[:-2])}"
        elif kind in _BITS and "out of" in text:
            bits = _BITS[kind] - 1
            words += (
                f"; pass one from -2**{bits} to 2**{bits} - 1, and refuse others where they come in"
            )
        elif kind in _PASS:
            words += f"; pass {_PASS[kind]}"
        return _made(WrongParameter, words, sql)
    return _made(WrongParameter, f"{text}, in: {shorten(sql)}", sql)


def _values(count: int) -> str:
    return "no values" if count == 0 else "1 value" if count == 1 else f"{count} values"


def _made(cls: type[D], words: str, sql: str) -> D:
    made = cls(words)
    made.statement = shorten(sql)
    return made
