"""The examples of docs/http.md run, and its tables agree with the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import attrs
import pytest

from nexus_actors.http.binding import Binder
from nexus_actors.http.frontend import FrontEnd
from nexus_actors.http.router import RESERVED
from nexus_actors.http.routes import RouteMark, marks_of
from nexus_actors.node.pages import add_pages

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def handlers(block):
    namespace = {"__name__": "docs_example"}
    exec(compile(block, "docs/http.md", "exec", dont_inherit=True), namespace)
    classes = [
        value
        for value in namespace.values()
        if inspect.isclass(value) and value.__module__ == "docs_example"
    ]
    return [
        function
        for cls in classes
        for function in vars(cls).values()
        if callable(function) and marks_of(function)
    ]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_example_has_handlers_that_bind(block):
    found = handlers(block)
    assert found
    for function in found:
        for mark in marks_of(function):
            Binder(function, mark)


def test_every_option_of_a_route_is_in_the_table():
    table = PAGE.split("## Options of a route")[1].split("##")[0]
    options = {field.name for field in attrs.fields(RouteMark)} - {"method", "path"}
    assert {
        re.match(r"\| `(\w+)`", line)[1] for line in table.splitlines() if "| `" in line[:4]
    } == (options)


def test_every_reserved_path_is_named():
    for path in RESERVED:
        assert f"`{path}`" in PAGE


def test_reserved_paths_without_a_page_are_told_from_the_nodes_pages():
    frontend = FrontEnd()
    add_pages(frontend, None)
    pages = {rule.rule for rule in frontend.url_map.iter_rules()}
    there, _, reserved = re.search(r"the node's own pages are (.*?)( \|)", PAGE)[1].partition(
        "reserved"
    )
    assert set(re.findall(r"`(/[^`]*)`", there)) == pages
    assert set(re.findall(r"`(/[^`]*)`", reserved)) == set(RESERVED) - pages


async def test_the_examples_answer(serve_routes, route):
    by_path = {}
    for block in BLOCKS:
        for function in handlers(block):
            for mark in marks_of(function):
                by_path[f"{mark.method} {mark.path}"] = (function, mark)

    def endpoint(name):
        function, mark = by_path[name]
        binder = Binder(function, mark)

        async def call(request):
            return await function(None, **binder.bind(request))

        return route(
            name, call, **attrs.asdict(mark, filter=lambda f, _v: f.name not in {"method", "path"})
        )

    served = await serve_routes(
        *map(
            endpoint,
            [
                "GET /shop/orders/{id}",
                "POST /shop/customers/{customer}/orders",
                "POST /uploads/{name}",
                "POST /uploads/form",
                "GET /shop/items/{id}",
                "GET /clock",
                "GET /report.csv",
            ],
        )
    )
    async with served.client() as client:
        assert (await client.get("/shop/orders/7?verbose=true")).json() == {
            "id": 7,
            "verbose": True,
        }
        made = await client.post("/shop/customers/ann/orders", json={"item": "pen"})
        assert made.json()["item"] == "pen"
        bad = await client.post(
            "/shop/customers/ann/orders", json={"item": "a", "count": "7", "colour": 1}
        )
        assert [error["path"] for error in bad.json()["errors"]] == ["body.count", "body.colour"]
        assert (await client.post("/uploads/a", content=b"x" * 10)).json()["bytes"] == 10
        form = await client.post(
            "/uploads/form", data={"title": "t"}, files={"photo": ("a.png", b"12", "image/png")}
        )
        assert form.json() == {"title": "t", "bytes": 2, "type": "image/png"}
        assert (await client.get("/shop/items/101")).json()["detail"] == "there is no item 101"
        assert (await client.get("/report.csv")).text.startswith("id,name\n0,item 0\n")
    clock = await served.connect()
    await clock.get("/clock")
    assert (await clock.head()).headers["content-type"] == "text/event-stream"
    assert await clock.chunk() == b'event: tick\nid: 1\ndata: {"n":1}\n\n'
