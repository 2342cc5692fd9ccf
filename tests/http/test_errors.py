"""What a client learns of an error, and what is for the log alone."""

from __future__ import annotations

from nexus_actors.errors import DatabaseUnavailable
from nexus_actors.http.errors import response_for_exception


def test_why_the_database_is_away_is_not_for_clients():
    response = response_for_exception(DatabaseUnavailable("refused (nexus@/data/postgres)"), "r1")
    assert response.status == 503
    assert b"nexus@" not in response.body
    assert response.headers["Retry-After"] == "1"
