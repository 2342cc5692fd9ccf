"""The statements of the database's question, and how many of each make a turn: the same for all."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import emit

__all__ = [
    "CREATE",
    "FILL",
    "INSERT",
    "ROWS",
    "ROW_BY_KEY",
    "STATEMENTS",
    "TASKS",
    "UPDATE",
    "plan",
]

TASKS = (1, 8)

CREATE = """
    DROP TABLE IF EXISTS things;
    CREATE TABLE things (id bigint PRIMARY KEY, name text NOT NULL, price numeric, at timestamptz);
    DROP TABLE IF EXISTS notes;
    CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, words text, about jsonb)
"""
FILL = "INSERT INTO things SELECT n, 'thing ' || n, n * 1.5, now() FROM generate_series(1, 1000) n"
ROW_BY_KEY = "SELECT id, name, price, at FROM things WHERE id = $1"
INSERT = "INSERT INTO notes (words, about) VALUES ($1, $2)"
ROWS = "SELECT id, name, price, at FROM things WHERE id BETWEEN $1 AND $1 + 99"
UPDATE = "UPDATE things SET price = price + 1 WHERE id = $1"

STATEMENTS = {"row by key": 2000, "insert": 1500, "100 rows": 600, "transaction of 3": 400}
"""How many of each, at scale 1. The transaction selects, inserts and updates a row of its task."""

WARM = 10
"""Of each before it counts, a task: connections are open and statements prepared by then."""


def plan(scale: float) -> Iterator[tuple[str, int, int]]:
    """What is done in one turn: statement, tasks, how often each task does it."""
    for statement, count in STATEMENTS.items():
        for tasks in TASKS:
            yield statement, tasks, max(1, int(count * scale) // tasks)


def tell(statement: str, tasks: int, count: int, seconds: float, processor: float) -> None:
    """Print how many a second that was, and what one cost this process (which others' load on the
    machine changes less)."""
    emit(f"{statement} x{tasks}", tasks * count / seconds)
    emit(f"{statement} x{tasks}, processor time", processor / (tasks * count) * 1e6)
