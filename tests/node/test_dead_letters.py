"""A node's dead letters: events nobody handled, sent again to the plugins they were for."""

import re
from pathlib import Path
from typing import Any

import pytest
from node_world import module_of, node_here, until, write_plugin

from nexus_actors.errors import NoSuchActor
from nexus_actors.events.event import make_event
from nexus_actors.node import Node
from nexus_actors.node.letters import Unclear, describe, discard, letters_of, retry

SHELF = """
seen = []
broken = [True]


class P(Plugin):
    @event_handler("book.added", timeout=7)
    async def on_book(self, event):
        seen.append((event.id, dict(event.data)))
        event.data["title"] = "changed"
        if broken[0]:
            raise ValueError("torn page")

    @event_handler("book.noted", on_error="reply")
    async def on_note(self, event):
        if broken[0]:
            raise ValueError("no pencil")
        seen.append(event.data)
"""


def write_shelf(folder: Path, **manifest: Any) -> None:
    write_plugin(folder, "shelf", SHELF, permissions=["events:subscribe"], **manifest)


async def crash(node: Node, times: int = 1) -> None:
    cell = node.registry.cell("shelf")
    before = cell.crashes
    node.emit(make_event("book.added", {"title": "Emma"}, source="shop"))
    await until(lambda: cell.crashes == before + times and cell.state != "restarting")


async def test_a_retried_event_comes_as_it_was_emitted(tmp_path: Path) -> None:
    write_shelf(tmp_path / "plugins")
    async with node_here(tmp_path / "plugins") as node:
        await crash(node)
        (line,) = letters_of(node)["letters"]
        assert (line["number"], line["plugin"], line["kind"]) == (1, "shelf", "event")
        assert (line["about"], line["sender"], line["handler"]) == ("book.added", "shop", "on_book")
        assert (line["reason"], line["failure"]) == ("crash", "ValueError: torn page")
        assert re.search(r"shelf/plugin\.py:\d+$", line["place"])
        assert "Emma" not in str(letters_of(node)), "the list tells no contents"
        told = describe(node, node.dead_letters.get(1))
        assert "'data': {'title': 'Emma'}" in told["content"], "as it was emitted"
        assert told["report"].splitlines()[0] == "ValueError: torn page"
        assert "trio" not in told["report"], "only the plugin's places"

        module_of("shelf").broken[0] = False
        assert retry(node, {"numbers": [1]}) == {"done": [1], "refused": [], "left": 0}
        seen = module_of("shelf").seen
        await until(lambda: len(seen) == 2)
        assert seen[0] == seen[1]
        mailbox = node.registry.cell("shelf").mailbox
        await until(lambda: mailbox.statistics().handled == 1)
        assert mailbox.statistics().accepted == 2


async def test_an_event_that_crashes_its_plugin_again_is_quarantined(tmp_path: Path) -> None:
    write_shelf(tmp_path / "plugins")
    async with node_here(tmp_path / "plugins") as node:
        cell = node.registry.cell("shelf")
        await crash(node)
        retry(node, {"all": True})
        await until(lambda: cell.crashes == 2 and cell.state == "running")
        (line,) = letters_of(node)["letters"]
        assert (line["reason"], line["retryable"], line["retry_of"]) == ("quarantined", False, 1)
        answer = retry(node, {"plugin": "shelf"})
        assert answer["done"] == []
        assert "is quarantined: it crashed shelf 2 times" in answer["refused"][0]["why"]
        (past,) = describe(node, node.dead_letters.get(2))["past"]
        assert (past["number"], past["reason"]) == (1, "crash")
        assert past["report"].startswith("ValueError: torn page")
        module_of("shelf").broken[0] = False
        assert retry(node, {"numbers": [2], "force": True})["done"] == [2]
        await until(lambda: cell.mailbox.statistics().handled == 1)


async def test_an_event_whose_fault_was_no_crash_may_be_retried_as_often_as_one_likes(
    tmp_path: Path,
) -> None:
    write_shelf(tmp_path / "plugins")
    async with node_here(tmp_path / "plugins") as node:
        node.emit(make_event("book.noted", "n", source="shop"))
        for number in (1, 2, 3):
            await until(lambda number=number: node.dead_letters.total == number)
            assert letters_of(node)["letters"][0]["reason"] == "ValueError: no pencil"
            assert retry(node, {"all": True})["done"] == [number]
        assert node.registry.cell("shelf").crashes == 0


async def test_a_retry_to_a_plugin_that_does_not_run_is_refused_with_its_state(
    tmp_path: Path,
) -> None:
    write_shelf(tmp_path / "plugins", supervision={"restart": "temporary"})
    async with node_here(tmp_path / "plugins") as node:
        await crash(node)
        await until(lambda: node.registry.cell("shelf").state == "stopped")
        node.emit(make_event("book.added", {}, source="shop"))
        assert [line["reason"] for line in letters_of(node)["letters"]] == ["crash", "stopped"]
        answer = retry(node, {"all": True})
        assert answer == {
            "done": [],
            "refused": [{"number": n, "why": "shelf is stopped"} for n in (1, 2)],
            "left": 2,
        }
        assert discard(node, {"numbers": [2, 9, 2]}) == {
            "done": [2],
            "refused": [{"number": 9, "why": "there is no dead letter 9: there never was one"}],
            "left": 1,
        }
        assert discard(node, {"plugin": "shelf"})["left"] == 0


async def test_a_wrong_name_is_told_the_nearest(tmp_path: Path) -> None:
    write_shelf(tmp_path / "plugins")
    async with node_here(tmp_path / "plugins") as node:
        for ask in (
            lambda: letters_of(node, "shelv"),
            lambda: retry(node, {"plugin": "shelv"}),
            lambda: discard(node, {"plugin": "shelv"}),
        ):
            with pytest.raises(NoSuchActor, match="did you mean 'shelf'"):
                ask()


@pytest.mark.parametrize(
    "asked",
    [None, [], {}, {"numbers": []}, {"numbers": ["1"]}, {"numbers": [True]}, {"all": False}, "all"],
    ids=repr,
)
async def test_unclear_requests_change_nothing(tmp_path: Path, asked: Any) -> None:
    write_shelf(tmp_path / "plugins")
    async with node_here(tmp_path / "plugins") as node:
        await crash(node)
        for act in (retry, discard):
            with pytest.raises(Unclear, match="say which letters"):
                act(node, asked)
        assert len(node.dead_letters) == 1
