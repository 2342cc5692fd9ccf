"""Which plugins a start still waits for."""

import pytest

from nexus_actors.cli.settled import on_the_way


@pytest.mark.parametrize(
    ("states", "requires", "database_ready", "expected"),
    [
        pytest.param({}, {}, True, "", id="no plugins"),
        pytest.param({"a": "running", "b": "failed"}, {}, False, "", id="all decided"),
        pytest.param({"a": "suspended", "b": "stopped"}, {}, True, "", id="given up for now"),
        pytest.param({"a": "starting", "b": "running"}, {}, True, "a", id="one starts"),
        pytest.param({"a": "restarting"}, {}, True, "a", id="one comes back"),
        pytest.param({"a": "waiting"}, {}, False, "a", id="for the database"),
        pytest.param(
            {"a": "starting", "b": "waiting"}, {"b": "a"}, True, "ab", id="for one that starts"
        ),
        pytest.param(
            {"a": "waiting", "b": "waiting"}, {"b": "a"}, False, "ab", id="for one that waits"
        ),
        pytest.param(
            {"a": "failed", "b": "waiting"}, {"b": "a"}, False, "", id="for one that failed"
        ),
        pytest.param(
            {"a": "failed", "b": "starting", "c": "waiting"},
            {"c": "ab"},
            True,
            "b",
            id="for one that starts and one that failed",
        ),
        pytest.param({"a": "waiting"}, {"a": "z"}, True, "", id="for one that is not there"),
        pytest.param(
            {"a": "running", "b": "waiting"},
            {"b": "a"},
            False,
            "b",
            id="for the database alone",
        ),
    ],
)
def test_a_start_waits_for_what_comes_up_by_itself(states, requires, database_ready, expected):
    assert on_the_way(states, requires, database_ready=database_ready) == set(expected)
