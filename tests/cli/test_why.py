"""``nexus why``: a person asks why a plugin is as it is, and what happened to it."""

import json
import re

import httpx
from nexus_command import Here

SHAKY = """
    @post("/crash")
    async def crash(self):
        return {"mailboxes": await self.emit_event("boom", {})}

    @get("/fault")
    async def fault(self):
        raise ValueError("not today")

    @event_handler("boom")
    async def on_boom(self, event):
        await self.fall()

    async def fall(self):
        raise RuntimeError("fallen")
"""


def test_a_crash_a_fault_and_what_waits_for_what_are_told_of_the_running_node(here: Here) -> None:
    events = {"permissions": ["events:emit", "events:subscribe"]}
    here.plugin("shaky", SHAKY, **events)
    here.plugin("angry", "    async def initialize(self):\n        raise OSError('no luck')\n")
    here.plugin("needy", requires=["angry"])
    here.plugin("wrong", permissions=["no:such"])
    here.plugin("idle")
    (here.folder / "nexus.toml").write_text("[plugins.idle]\nenabled = false\n")
    node = here.run().wait_up()
    base = f"http://127.0.0.1:{node.port}"
    assert httpx.get(f"{base}/fault").status_code == 500
    assert httpx.post(f"{base}/crash").json() == {"mailboxes": 1}
    assert httpx.get(f"{base}/fault").status_code == 500

    told = here.nexus("why", "shaky")
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert re.fullmatch(r"shaky is running for \d+ s", lines[0])
    assert lines[1] == (
        "  came up 2 times, 1 crash, 2 faults in answering; 0 messages in hand, 0 waiting"
    )
    assert lines[2] == "  4 messages accepted: 1 handled, 2 faulted, 1 dead letter"
    seconds = r"[\d.]+ m?s"
    assert re.fullmatch(
        rf"  handlers took {seconds} on average, {seconds} at most \(in \w+\)", lines[3]
    )
    assert re.fullmatch(rf"  at most 1 of 1,000 waited at once, {seconds} at the longest", lines[4])
    assert lines[5] == "  1 dead letter (1): nexus dead-letters --plugin shaky"
    assert lines[6].startswith("  permanent: restarted however it ends, at most 5 restarts in 30 s")
    happened = [line for line in lines if re.match(r"  \d\d:\d\d:\d\d  ", line)]
    assert [line[12:].split(" ")[0] for line in happened] == [
        "started", "failed", "crashed", "started", "failed"
    ]  # fmt: skip
    assert (
        "crashed on the event boom in on_boom() from shaky: RuntimeError: fallen (" in told.stdout
    )
    assert "plugins/shaky/plugin.py:" in happened[2]
    assert "restart 1 of 5 in 30 s); 1 message went to dead letters" in happened[2]
    assert "failed on GET /fault in fault(): ValueError: not today (request " in happened[1]

    told = here.nexus("why", "angry").stdout
    assert re.match(r"angry is (failed|restarting) for \d+ s", told)
    assert "failed: OSError: no luck (plugins/angry/plugin.py:" in told
    assert "plugin.py:7 in " in told or "in Plugin.initialize" in told or ".initialize" in told
    assert "trio" not in told, "only the plugin's own places are of use to its author"

    told = here.nexus("why", "needy").stdout
    assert re.match(r"needy is waiting for \d+ s for plugin angry, which is failed", told)
    assert re.search(r"  it needs angry, which is (failed|restarting)", told)

    told = here.nexus("why", "wrong").stdout.splitlines()
    assert told[0] == "wrong is failed: it was refused when the node started"
    assert "no:such" in told[1]
    assert len(told) == 2

    assert here.nexus("why", "idle").stdout == (
        "idle is disabled: the settings say [plugins.idle] enabled = false\n"
    )
    about = json.loads(here.nexus("why", "shaky", "--json").stdout)
    assert about["state"] == "running"
    assert about["statistics"]["crashes"] == about["statistics"]["restarts"] == 1
    assert about["statistics"]["mailbox"]["faulted"] == 2
    assert [each["what"] for each in about["history"]].count("Crashed") == 1

    unknown = here.nexus("why", "shakey")
    assert unknown.returncode == 1
    assert unknown.stderr == "there is no plugin shakey; did you mean 'shaky'?\n"
    odd = here.nexus("why", "../x y")
    assert odd.returncode == 1
    assert odd.stderr.startswith("there is no plugin ../x y")


def test_without_a_node_it_says_how_to_start_one(here: Here) -> None:
    told = here.nexus("why", "shaky")
    assert told.returncode == 1
    assert told.stderr.startswith("no node runs in .nexus: start one with `nexus run`")
