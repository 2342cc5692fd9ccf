"""What a client learns of an error, and what is for the log alone."""

from __future__ import annotations

import json

from nexus_actors.errors import DatabaseUnavailable, RemoteError
from nexus_actors.http.errors import response_for_exception


def test_why_the_database_is_away_is_not_for_clients():
    response = response_for_exception(DatabaseUnavailable("refused (nexus@/data/postgres)"), "r1")
    assert response.status == 503
    assert b"nexus@" not in response.body
    assert response.headers["Retry-After"] == "1"


def test_what_another_actor_raised_is_not_for_clients():
    error = RemoteError("shop/till", "RuntimeError: key sk-123")
    response = response_for_exception(error, "r1")
    assert response.status == 502
    detail = json.loads(response.body)["detail"]
    assert detail == "shop failed while answering; the log has it under request id r1"
    assert "sk-123" in str(error)  # who asked learns it
