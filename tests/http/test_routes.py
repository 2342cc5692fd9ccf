"""The decorators: what they mark, and what they refuse."""

import pytest

from nexus_actors.http import delete, get, patch, post, put, websocket
from nexus_actors.http.routes import MARK, RouteMark, marks_of, parse_path

DECORATORS = {"GET": get, "POST": post, "PUT": put, "PATCH": patch, "DELETE": delete}


@pytest.mark.parametrize("method", DECORATORS)
def test_a_decorator_marks_the_function_and_hands_it_back(method):
    async def handler():
        return 1

    decorated = DECORATORS[method]("/orders/{id}")(handler)

    assert decorated is handler
    assert marks_of(handler) == (RouteMark(method, "/orders/{id}"),)
    assert marks_of(handler)[0].parameters == ("id",)


def test_a_websocket_route_is_marked_so():
    @websocket("/feed", timeout=3)
    async def feed(ws):
        pass

    assert marks_of(feed) == (RouteMark("WEBSOCKET", "/feed", timeout=3),)


def test_a_function_may_have_several_routes_in_the_order_nearest_first():
    @get("/b")
    @get("/a")
    def handler():
        pass

    assert [mark.path for mark in marks_of(handler)] == ["/a", "/b"]


def test_options_are_kept_in_the_mark():
    @post(
        "/a",
        on_error="restart",
        alone=True,
        timeout=2.5,
        on_disconnect="cancel",
        stream=True,
        max_body=10,
        status=201,
        summary="Makes one",
    )
    def handler():
        pass

    assert marks_of(handler) == (
        RouteMark(
            "POST",
            "/a",
            on_error="restart",
            alone=True,
            timeout=2.5,
            on_disconnect="cancel",
            stream=True,
            max_body=10,
            status=201,
            summary="Makes one",
        ),
    )


def test_something_that_was_not_decorated_has_no_marks():
    assert marks_of(print) == ()
    assert marks_of(type("Odd", (), {MARK: "no tuple"})) == ()


@pytest.mark.parametrize(
    ("path", "why", "fix"),
    [
        ("orders", "begins with a slash", 'write "/orders"'),
        ("", "begins with a slash", 'write "/"'),
        ("/a//b", "two slashes", "take one out"),
        ("/a/{id", "do not pair up", "{name}"),
        ("/a/id}", "do not pair up", "{name}"),
        ("/a/{{id}", "do not pair up", "{name}"),
        ("/a/x{id}", "only a piece of the segment", "a whole one"),
        ("/a/{id}{other}", "only a piece of the segment", "a whole one"),
        ("/a/{}", "cannot be the name", "a Python name"),
        ("/a/{order-id}", "cannot be the name", "a Python name"),
        ("/a/{id}/b/{id}", "'id' comes twice", "a name of its own"),
        ("/a/{id:int}", "a converter that there is not", "`id: int`"),
        ("/a/{rest:path}/b", "takes all that follows", "put it last"),
        ("/a?b", "'?' does not belong", "without query"),
        ("/a b", "' ' does not belong", "decoded"),
        ("/a%20b", "'%' does not belong", "decoded"),
        ("/a\\b", "does not belong", "backslashes"),
        ("/a/../b", "'..' has no meaning", "where it leads"),
    ],
)
def test_a_path_that_cannot_be_is_refused_with_the_path_and_the_fix(path, why, fix):
    with pytest.raises(ValueError, match="route ") as caught:
        get(path)
    assert repr(path) in str(caught.value)
    assert why in str(caught.value)
    assert fix in str(caught.value)


def test_forgotten_parentheses_are_named():
    async def handler():
        pass

    with pytest.raises(ValueError, match=r'write @get\("/path"\)'):
        get(handler)


@pytest.mark.parametrize(
    "options",
    [
        {"on_error": "explode"},
        {"on_disconnect": "wait"},
        {"timeout": 0},
        {"timeout": -1},
        {"max_body": -1},
        {"status": 404},
        {"alone": True, "together": True},
    ],
)
def test_an_option_that_cannot_be_is_refused_with_the_path_and_the_option(options):
    with pytest.raises(ValueError, match="is not possible; ") as caught:
        get("/a", **options)
    assert "'/a'" in str(caught.value)
    assert list(options)[-1] in str(caught.value)


def test_a_path_is_parsed_into_its_segments():
    assert [(s.kind, s.text) for s in parse_path("/a/{b}/{c:path}")] == [
        ("literal", "a"),
        ("parameter", "b"),
        ("rest", "c"),
    ]
    assert parse_path("/") == ()
    assert [s.text for s in parse_path("/a/")] == ["a", ""]
