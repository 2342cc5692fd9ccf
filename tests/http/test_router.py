"""Finding the route of a path, and refusing those that cannot be added."""

import time

import pytest

from nexus_actors.errors import HTTPError, Invalid
from nexus_actors.http.router import (
    RESERVED,
    Match,
    MethodNotAllowed,
    NotFound,
    Route,
    Router,
    split_path,
)
from nexus_actors.http.routes import RouteMark

TARGET = object()


def route(text, owner="shop"):
    method, path = text.split(" ")
    return Route.from_mark(RouteMark(method, path), owner, TARGET)


def router(*routes, owner="shop"):
    made = Router()
    made.add([route(text, owner) for text in routes])
    return made


def found(made, text):
    method, path = text.split(" ")
    match = made.match(method, path)
    assert isinstance(match, Match), match
    return match.route.path, match.params


MANY = router(
    "GET /",
    "GET /a",
    "POST /a",
    "GET /a/",
    "GET /a/{x}",
    "GET /a/b",
    "POST /a/{x}/b",
    "GET /a/b/c",
    "GET /a/{x}/{y}",
    "GET /f/{owner}/{name:path}",
    "GET /f/{owner}/readme",
    "PUT /only/{x}",
    "GET /only/fixed",
    "DELETE /ümlaut/{x}",
    "WEBSOCKET /feed/{room}",
)


@pytest.mark.parametrize(
    ("asked", "path", "params"),
    [
        ("GET /", "/", {}),
        ("GET /a", "/a", {}),
        ("POST /a", "/a", {}),
        ("HEAD /a", "/a", {}),
        ("GET /a/", "/a/", {}),
        ("GET /a/b", "/a/b", {}),
        ("GET /a/c", "/a/{x}", {"x": "c"}),
        ("GET /a/b/c", "/a/b/c", {}),
        ("GET /a/b/d", "/a/{x}/{y}", {"x": "b", "y": "d"}),
        ("POST /a/b/b", "/a/{x}/b", {"x": "b"}),
        ("GET /a/%62", "/a/b", {}),
        ("GET /a/x%2Fy", "/a/{x}", {"x": "x/y"}),
        ("GET /a/x%20y+z", "/a/{x}", {"x": "x y+z"}),
        ("GET /a/%C3%A4", "/a/{x}", {"x": "ä"}),
        ("GET /f/me/readme", "/f/{owner}/readme", {"owner": "me"}),
        ("GET /f/me/one", "/f/{owner}/{name:path}", {"owner": "me", "name": "one"}),
        ("GET /f/me/one/two", "/f/{owner}/{name:path}", {"owner": "me", "name": "one/two"}),
        ("PUT /only/fixed", "/only/{x}", {"x": "fixed"}),
        ("DELETE /%C3%BCmlaut/1", "/ümlaut/{x}", {"x": "1"}),
        ("WEBSOCKET /feed/7", "/feed/{room}", {"room": "7"}),
        ("GET /a/...", "/a/{x}", {"x": "..."}),
    ],
)
def test_a_path_finds_its_route_literal_before_parameter_before_rest(asked, path, params):
    assert found(MANY, asked) == (path, params)


@pytest.mark.parametrize("asked", ["/b", "/a/b/c/d", "/A", "/f", "/f/me", "//a", "/a//"])
def test_a_path_without_route_is_not_found(asked):
    assert isinstance(MANY.match("GET", asked), NotFound)


@pytest.mark.parametrize(
    ("asked", "allow", "websocket"),
    [
        ("DELETE /a", ("GET", "HEAD", "POST", "OPTIONS"), False),
        ("OPTIONS /a", ("GET", "HEAD", "POST", "OPTIONS"), False),
        ("DELETE /only/fixed", ("GET", "HEAD", "PUT", "OPTIONS"), False),
        ("GET /feed/1", ("OPTIONS",), True),
        ("BREW /a/b", ("GET", "HEAD", "OPTIONS"), False),
    ],
)
def test_a_path_for_other_methods_tells_them_all(asked, allow, websocket):
    method, path = asked.split(" ")
    answer = MANY.match(method, path)
    assert isinstance(answer, MethodNotAllowed)
    assert set(answer.allow) == set(allow)
    assert answer.websocket is websocket


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("/orders/list", "/orders/lists"),
        ("/order/lists", "/orders/lists"),
        ("/orders", "/orders/lists"),
        ("/my-plugin/statu", "/my-plugin/status"),
    ],
)
def test_an_unknown_path_is_told_the_nearest(asked, nearest):
    made = router("GET /orders/lists", "GET /my-plugin/status", "GET /other")
    answer = made.match("GET", asked)
    assert isinstance(answer, NotFound)
    assert answer.nearest[0] == nearest


def test_an_unknown_path_unlike_any_has_no_nearest():
    answer = router("GET /orders").match("GET", "/zzzzzz")
    assert answer == NotFound("/zzzzzz", ())


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("GET /a/{x}", "GET /a/{y}"),
        ("GET /a", "GET /a"),
        ("POST /a/{x}/b", "POST /a/{other}/b"),
        ("GET /{x:path}", "GET /{y:path}"),
        ("WEBSOCKET /a", "WEBSOCKET /a"),
    ],
)
def test_a_path_claimed_twice_is_refused_naming_both(one, two):
    made = router(one, owner="shop")
    with pytest.raises(Invalid) as caught:
        made.add([route("GET /free", "billing"), route(two, "billing")])
    (fault,) = caught.value.faults
    assert fault.where == f"plugin billing: {two}"
    assert fault.what == f"the path is taken by plugin shop: {one}"
    assert made.routes("billing") == [], "all or nothing"


def test_a_path_claimed_twice_by_one_plugin_is_refused():
    with pytest.raises(Invalid, match=r"taken by itself: GET /a/\{x\}"):
        router("GET /a/{x}", "GET /a/{y}")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("GET /a", "POST /a"),
        ("GET /a", "WEBSOCKET /a"),
        ("GET /a/{x}", "GET /a/b"),
        ("GET /a/{x}", "GET /a/{x:path}"),
        ("GET /a", "GET /a/"),
    ],
)
def test_paths_that_only_look_alike_go_together(one, two):
    made = Router()
    made.add([route(one, "shop")])
    made.add([route(two, "billing")])
    assert len(made.routes()) == 2


@pytest.mark.parametrize("path", [*RESERVED, "/docs/x", "/admin/{x}", "/metrics/"])
def test_a_reserved_path_is_refused(path):
    with pytest.raises(Invalid, match="belongs to the node itself"):
        router(f"GET {path}")


@pytest.mark.parametrize("path", ["/adminx", "/documents", "/live", "/a/admin"])
def test_a_path_that_only_begins_like_a_reserved_one_is_free(path):
    assert found(router(f"GET {path}"), f"GET {path}") == (path, {})


def test_admin_is_granted_to_the_plugin_of_that_name():
    made = router("GET /admin/tree", owner="admin")
    assert found(made, "GET /admin/tree") == ("/admin/tree", {})
    assert not made.is_reserved("/admin/tree")
    made.remove("admin")
    assert made.is_reserved("/admin/tree")


def test_every_fault_is_told_at_once():
    made = router("GET /a")
    with pytest.raises(Invalid) as caught:
        made.add([route("GET /a", "x"), route("GET /docs", "x"), route("GET /ok", "x")])
    assert len(caught.value.faults) == 2


def test_removing_a_plugin_takes_its_routes_and_no_other():
    made = Router()
    made.add([route("GET /a/{x}", "one"), route("GET /a/b", "one"), route("GET /", "one")])
    made.add([route("POST /a/{y}", "two"), route("GET /a/b/c", "two")])

    made.remove("one")
    made.remove("nobody")

    assert isinstance(made.match("GET", "/a/b"), MethodNotAllowed)
    assert isinstance(made.match("GET", "/"), NotFound)
    assert found(made, "POST /a/7") == ("/a/{y}", {"y": "7"})
    assert found(made, "GET /a/b/c") == ("/a/b/c", {})
    made.add([route("GET /a/{z}", "three")])
    assert found(made, "GET /a/b") == ("/a/{z}", {"z": "b"})


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("a", "does not begin with a slash"),
        ("/a%", "two hexadecimal digits"),
        ("/a%zz", "two hexadecimal digits"),
        ("/a%2", "two hexadecimal digits"),
        ("/a%ff", "not UTF-8"),
        ("/a%C3", "not UTF-8"),
        ("/a%00b", "null byte"),
        ("/a%0Ab", "control character"),
        ("/a%5Cb", "backslash"),
        ("/a\\b", "backslash"),
        ("/../etc/passwd", r"\.\. segment"),
        ("/a/..", r"\.\. segment"),
        ("/a/%2e%2e/b", r"\.\. segment"),
        ("/a/%2E./b", r"\.\. segment"),
        ("/a/./b", r"\.\. segment"),
        ("/a/..%2f..%2fetc", r"\.\. segment"),
        ("/f/me/%2e%2e%2fx", r"\.\. segment"),
    ],
)
def test_a_path_that_nothing_can_have_is_refused(path, why):
    with pytest.raises(HTTPError, match=why) as caught:
        MANY.match("GET", path)
    assert caught.value.status == 400


def test_an_encoded_slash_stays_in_its_segment():
    assert split_path("/files/a%2Fb/c") == ["files", "a/b", "c"]


def test_ten_thousand_routes_cost_no_more_than_ten():
    """Matching walks segments, not routes: thousands of routes must not show in it."""
    few, many = Router(), Router()
    few.add([route(f"GET /p{n}/{{x}}/items/{{y}}") for n in range(10)])
    many.add([route(f"GET /p{n}/{{x}}/items/{{y}}") for n in range(10_000)])

    def cost(made):
        best = float("inf")
        for _ in range(5):
            begin = time.perf_counter()
            for _ in range(300):
                made.match("GET", "/p7/12/items/9")
            best = min(best, time.perf_counter() - begin)
        return best

    assert cost(many) < 5 * cost(few)


def test_a_flood_of_unknown_paths_stays_cheap_among_ten_thousand_routes():
    made = Router()
    made.add([route(f"GET /plugin-{n % 100}/thing-{n}/{{x}}") for n in range(10_000)])
    begin = time.perf_counter()
    for n in range(50):
        made.match("GET", f"/plugin-{n}/thong-{n}")
    assert time.perf_counter() - begin < 2.0, "comparing is bounded to a few candidates"
