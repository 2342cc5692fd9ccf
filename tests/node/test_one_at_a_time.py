"""What runs beside what, seen through HTTP: readers side by side, a writer alone."""

from pathlib import Path

import trio
from node_world import client_of, module_of, node_here, until, write_plugin

MEETING = """
log = []
all_here = trio.Event()
released = trio.Event()
inside = 0


class P(Plugin):
    @get("/meet")
    async def meet(self):
        global inside
        inside += 1
        if inside == 64:
            all_here.set()
        await all_here.wait()
        return {}

    @get("/read/{number}")
    async def read(self, number: int):
        log.append(f"read {number} begins")
        await released.wait()
        await trio.sleep(0)
        log.append(f"read {number} ends")
        return {}

    @post("/write")
    async def write(self):
        log.append("write begins")
        for _ in range(10):
            await trio.sleep(0)
        log.append("write ends")
        return {}
"""


async def test_64_slow_gets_of_one_plugin_run_beside_each_other(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plugins", "meeting", MEETING)
    statuses = []
    async with (
        node_here(tmp_path / "plugins", http={"reply_timeout": 10.0}) as node,
        client_of(node) as client,
        trio.open_nursery() as nursery,
    ):

        async def meet() -> None:
            statuses.append((await client.get("/meet")).status_code)

        for _ in range(64):
            nursery.start_soon(meet)
    assert statuses == [200] * 64, "each waits for all the others to have begun"


async def test_a_post_among_gets_runs_alone_and_in_its_turn(tmp_path: Path) -> None:
    write_plugin(tmp_path / "plugins", "meeting", MEETING)
    statuses = []
    async with node_here(tmp_path / "plugins") as node, client_of(node) as client:
        mailbox = node.registry.cell("meeting").mailbox

        async def ask(method: str, path: str) -> None:
            statuses.append((await client.request(method, path)).status_code)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, "GET", f"/read/{number}")
            await until(lambda: mailbox.statistics().in_hand == 20)
            nursery.start_soon(ask, "POST", "/write")
            await until(lambda: mailbox.waiting == 1)
            for number in range(20, 40):
                nursery.start_soon(ask, "GET", f"/read/{number}")
            await until(lambda: mailbox.waiting == 21)
            assert mailbox.statistics().in_hand == 20, "readers behind a writer wait for it"
            module_of("meeting").released.set()
        log = module_of("meeting").log
    assert statuses == [200] * 41
    begins = log.index("write begins")
    assert log[begins + 1] == "write ends", "nothing ran beside it"
    assert begins == 40, "the 20 readers before it had begun and ended"
