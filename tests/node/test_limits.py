"""The limit on open files is raised to what the settings need, and never lowered."""

from __future__ import annotations

import resource

import pytest

from nexus_actors.node.limits import SPARE, allow_open_files


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "expected"),
    [
        (1024, 4096, 1000, 1000 + SPARE),
        (1024, 1200, 1000, 1200),
        (1024, 4096, 100, 1024),
        (4096, 4096, 1000, 4096),
        (1024, resource.RLIM_INFINITY, 5000, 5000 + SPARE),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1000, resource.RLIM_INFINITY),
    ],
)
def test_open_files_are_allowed_as_far_as_the_hard_limit(
    monkeypatch, soft, hard, connections, expected
):
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, pair: limits.append(pair))
    assert allow_open_files(connections) == expected
    assert limits[-1] == (expected, hard)
