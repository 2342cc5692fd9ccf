"""``nexus dead-letters``: a person looks at what nobody handled, and sends it again or not."""

import json
import re

import httpx
from nexus_command import Here

SHAKY = """
    @post("/say/{what}")
    async def say(self, what: str):
        return {"mailboxes": await self.emit_event(what, {"card": "4711"})}

    @event_handler("boom")
    async def on_boom(self, event):
        raise RuntimeError("fallen")

    @event_handler("fizz", on_error="reply")
    async def on_fizz(self, event):
        raise ValueError("flat")
"""
EVENTS = {"permissions": ["events:emit", "events:subscribe"]}


def test_letters_are_listed_shown_retried_and_discarded(here: Here) -> None:
    here.plugin("shaky", SHAKY, **EVENTS)
    here.plugin("calm")
    node = here.run().wait_up()

    def say(what: str) -> None:
        before = total()
        assert httpx.post(f"http://127.0.0.1:{node.port}/say/{what}").json() == {"mailboxes": 1}
        node.wait_for(lambda: total() > before, "letter")

    def total() -> int:
        return int(json.loads(here.nexus("dead-letters", "--json").stdout)["total"])

    listed = here.nexus("dead-letters")
    assert (listed.returncode, listed.stdout) == (0, "no dead letters\n")

    say("boom")
    say("fizz")
    listed = here.nexus("dead-letters", "list")
    assert listed.returncode == 0, listed.stderr
    header, first, second = listed.stdout.splitlines()
    assert header.split() == ["number", "age", "plugin", "message", "from", "reason"]
    assert re.match(r" +1 +\d+ s  shaky   event boom  shaky  crash: RuntimeError: fallen", first)
    assert re.search(r"\(plugins/shaky/plugin\.py:\d+\)$", first)
    assert re.match(r" +2 +\d+ s  shaky   event fizz  shaky  ValueError: flat", second)
    assert "4711" not in listed.stdout + node.err
    assert here.nexus("dead-letters", "--plugin", "calm").stdout == "no dead letters for calm\n"
    assert len(json.loads(here.nexus("dead-letters", "--json").stdout)["letters"]) == 2

    shown = here.nexus("dead-letters", "show", "1")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("dead letter 1: event boom for shaky\n  since    ")
    assert "  handler  on_boom()\n" in shown.stdout
    assert "'data': {'card': '4711'}" in shown.stdout
    assert "    RuntimeError: fallen\n      at " in shown.stdout
    assert "--force" not in shown.stdout
    assert json.loads(here.nexus("dead-letters", "show", "1", "--json").stdout)["number"] == 1

    told = here.nexus("dead-letters", "retry", "1", "2")
    assert (told.returncode, told.stdout) == (0, "2 dead letters sent again; 0 left\n")
    node.wait_for(lambda: total() == 4, "letters from the retry")
    told = here.nexus("dead-letters", "retry", "--all")
    assert told.returncode == 1
    assert told.stdout == "1 dead letter sent again; 1 left\n"
    assert told.stderr == (
        "letter 3 is quarantined: it crashed shaky 2 times (use --force to send it all the same)\n"
    )
    shown = here.nexus("dead-letters", "show", "3").stdout
    assert "  reason   quarantined\n" in shown
    assert re.search(r"It was retried before:\n  letter 1, \d+ s ago: crash\n    Runtime", shown)
    assert "nexus dead-letters retry 3 --force" in shown

    told = here.nexus("dead-letters", "discard", "3", "77")
    assert told.returncode == 1
    assert told.stdout.startswith("1 dead letter discarded; ")
    assert told.stderr == "there is no dead letter 77: there never was one\n"
    told = here.nexus("dead-letters", "discard", "--plugin", "shaky")
    assert told.returncode == 0
    assert here.nexus("dead-letters").stdout == "no dead letters\n"

    for words in (["show", "3"], ["retry", "--plugin", "shakey"], ["--plugin", "shakey"]):
        told = here.nexus("dead-letters", *words)
        assert told.returncode == 1
        assert told.stdout == ""
        assert "shaky" in told.stderr or "retried, discarded" in told.stderr


def test_what_is_meant_must_be_said_in_one_way(here: Here) -> None:
    for words in ([], ["3", "--all"], ["--all", "--plugin", "x"], ["3", "--plugin", "x"]):
        for what in ("retry", "discard"):
            told = here.nexus("dead-letters", what, *words)
            assert told.returncode == 2
            assert told.stderr == (
                f"say which: nexus dead-letters {what} 3 7, or --plugin NAME, or --all\n"
            )
    assert here.nexus("dead-letters", "show", "x").returncode == 2


def test_without_a_node_it_says_how_to_start_one(here: Here) -> None:
    for words in ([], ["show", "1"], ["retry", "1"], ["discard", "--all"]):
        told = here.nexus("dead-letters", *words)
        assert told.returncode == 1
        assert told.stderr.startswith("no node runs in .nexus: start one with `nexus run`")
