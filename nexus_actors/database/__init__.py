"""PostgreSQL for plugins: the adapter, the errors an author catches, and what the node runs."""

from nexus_actors.database.adapter import DatabaseAdapter, Record
from nexus_actors.database.database import Database, DatabaseStatistics
from nexus_actors.database.embedded import (
    DataFolderInUse,
    EmbeddedFailed,
    EmbeddedServer,
    temporary_server,
)
from nexus_actors.database.errors import (
    CheckViolation,
    DatabaseError,
    DeadlockDetected,
    ForeignKeyViolation,
    IntegrityError,
    NotNullViolation,
    SerializationFailure,
    StatementError,
    StatementTimeout,
    TransactionAborted,
    TransactionConflict,
    UndefinedColumn,
    UndefinedTable,
    UniqueViolation,
    WrongParameter,
)
from nexus_actors.database.settings import Settings
from nexus_actors.database.transaction import Transaction, current_transaction
from nexus_actors.errors import DatabaseUnavailable

__all__ = [
    "CheckViolation",
    "DataFolderInUse",
    "Database",
    "DatabaseAdapter",
    "DatabaseError",
    "DatabaseStatistics",
    "DatabaseUnavailable",
    "DeadlockDetected",
    "EmbeddedFailed",
    "EmbeddedServer",
    "ForeignKeyViolation",
    "IntegrityError",
    "NotNullViolation",
    "Record",
    "SerializationFailure",
    "Settings",
    "StatementError",
    "StatementTimeout",
    "Transaction",
    "TransactionAborted",
    "TransactionConflict",
    "UndefinedColumn",
    "UndefinedTable",
    "UniqueViolation",
    "WrongParameter",
    "current_transaction",
    "temporary_server",
]
