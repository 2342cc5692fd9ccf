"""When a node is ready: the whole table of what /readyz decides by."""

import pytest
import trio

from nexus_actors.actors import ActorCell, DeadLetters
from nexus_actors.node.health import describe_plugin, readiness

SETTLED = ("running", "waiting", "restarting", "suspended", "failed", "stopping", "stopped")


def cell_in(state: str, name: str = "shop", reason: str = "") -> ActorCell:
    cell = ActorCell(name, DeadLetters())
    cell.enter(state, reason)  # type: ignore[arg-type]
    return cell


async def test_a_plugin_that_is_starting_keeps_the_node_from_being_ready() -> None:
    found = readiness([cell_in("running", "a"), cell_in("starting", "b")], (), "running")
    assert not found.ready
    assert found.why == "still starting: b"


@pytest.mark.parametrize("state", SETTLED)
async def test_any_other_state_is_settled(state: str) -> None:
    assert readiness([cell_in(state)], (), "running").ready


@pytest.mark.parametrize("state", SETTLED)
async def test_a_required_plugin_must_run(state: str) -> None:
    found = readiness([cell_in(state), cell_in("running", "other")], ["shop"], "running")
    assert found.ready is (state == "running")
    if not found.ready:
        assert found.why == "required and not running: shop"


async def test_a_required_plugin_that_is_not_there_does_not_run() -> None:
    assert readiness([cell_in("running")], ["till"], "running").why.endswith(": till")


@pytest.mark.parametrize("phase", ["starting", "stopping"])
async def test_a_node_that_starts_or_stops_is_not_ready(phase: str) -> None:
    found = readiness([cell_in("running")], (), phase)  # type: ignore[arg-type]
    assert not found.ready
    assert found.why == f"the node is {phase}"


async def test_reasons_and_the_next_try_are_told_only_where_they_may_be(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cell = ActorCell("shop", DeadLetters())
    cell.enter("suspended", "/srv/shop.py broke", next_try=trio.current_time() + 4)
    await trio.sleep(1)
    assert describe_plugin(cell, reasons=False) == {"name": "shop", "state": "suspended"}
    assert describe_plugin(cell, reasons=True) == {
        "name": "shop",
        "state": "suspended",
        "reason": "/srv/shop.py broke",
        "next_try_in": 3.0,
    }
