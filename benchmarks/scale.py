"""Whether it costs more the more there is: requests by plugins and routes, restarts by siblings.

``python -m benchmarks.scale``
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

import httpx

from benchmarks.contenders.node_of import node_of
from benchmarks.harness import Contender, Figures, Owed, Question, in_process, main, options

PLUGINS = (1, 10, 100, 1_000)
SIBLINGS = (1, 10, 100, 1_000)
ROUTES = 10
"""Of each plugin: ten thousand in all at the most."""
REQUESTS = 300
"""In a turn, one after the other on one connection."""

ROUTE = """
    @get("/{name}/route-{number}/{{key}}")
    async def route_{number}(self, key: str):
        return {{"key": key}}
"""


def source(name: str) -> str:
    """A plugin with ten routes."""
    head = "from nexus_actors.http import get\nfrom nexus_actors.plugin import Plugin\n\n\n"
    routes = [ROUTE.format(name=name, number=number) for number in range(ROUTES)]
    return f"{head}class Written(Plugin):{''.join(routes)}"


class Requests:
    """A node with so many plugins; a turn asks it a few hundred times."""

    def __init__(self, count: int, stack: ExitStack) -> None:
        self._count = count
        self._stack = stack
        self._client: httpx.Client | None = None

    def __call__(self, scale: float) -> Figures:
        """Ask all over the plugins, and take the middle of what that took."""
        if self._client is None:
            names = [f"plugin-{number}" for number in range(self._count)]
            url = self._stack.enter_context(node_of({name: source(name) for name in names}))
            self._client = self._stack.enter_context(
                httpx.Client(base_url=url, trust_env=False, timeout=30)
            )
        took = []
        for number in range(max(20, int(REQUESTS * scale))):
            path = f"/plugin-{number * 7 % self._count}/route-{number % ROUTES}/k{number}"
            began = time.perf_counter()
            self._client.get(path).raise_for_status()
            took.append(time.perf_counter() - began)
        return {"request": sorted(took)[len(took) // 2] * 1e6}


def questions(stack: ExitStack, most: int) -> list[Question]:
    """What is asked, of nodes of so many plugins at ``most``."""
    nodes = [
        Contender(f"{count:,} plugins", Requests(count, stack))
        for count in PLUGINS[::-1]
        if count <= most
    ]
    program = [sys.executable, "-m", "benchmarks.contenders.actors"]
    siblings = [
        Contender(f"{count:,} siblings", in_process([*program, f"restart-of-{count}"]))
        for count in SIBLINGS[::-1]
    ]
    return [
        Question(
            "requests",
            "one request with 1 to 1,000 plugins, ten routes each",
            nodes,
            [Owed("request", f"{PLUGINS[0]} plugins", 1.2, more_is_better=False)],
            {"request": "µs, the client's share included"},
        ),
        Question(
            "restarts",
            "a restart beside 1 to 1,000 siblings, one_for_one",
            siblings,
            [Owed("restart", f"{SIBLINGS[0]} siblings", 1.2, more_is_better=False)],
            {"restart": "µs, the median", "restart p99": "µs"},
        ),
    ]


if __name__ == "__main__":
    given = options("scale")
    with ExitStack() as nodes:
        sys.exit(max(main(each, given) for each in questions(nodes, 10 if given.smoke else 1_000)))
