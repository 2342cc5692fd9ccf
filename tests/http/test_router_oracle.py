"""The router's tree against a plain search through all routes, on random routes and paths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nexus_actors.http.router import Match, MethodNotAllowed, NotFound, Route, Router
from nexus_actors.http.routes import RouteMark, parse_path

LITERALS = st.sampled_from(["a", "b", "c"])


@st.composite
def templates(draw):
    kinds = draw(st.lists(st.one_of(LITERALS, st.just("{}")), max_size=4))
    parts = [f"{{p{n}}}" if kind == "{}" else kind for n, kind in enumerate(kinds)]
    if draw(st.booleans()) and draw(st.booleans()):
        parts.append("{rest:path}")
    return "/" + "/".join(parts)


RANK = {"literal": 0, "parameter": 1, "rest": 2}


def fits(path: str, segments: list[str]) -> bool:
    template = parse_path(path)
    for index, part in enumerate(template):
        if part.kind == "rest":
            return len(segments) > index
        if index >= len(segments):
            return False
        if part.kind == "literal" and part.text != segments[index]:
            return False
    return len(template) == len(segments)


def best(routes, method, segments):
    """By the rule as the docs say it: the first segment that differs decides."""
    fitting = [r for r in routes if r.method == method and fits(r.path, segments)]
    return min(
        fitting, key=lambda r: [RANK[part.kind] for part in parse_path(r.path)], default=None
    )


@given(
    st.lists(st.tuples(st.sampled_from(["GET", "POST"]), templates()), max_size=12),
    st.lists(st.lists(LITERALS, max_size=5), max_size=8),
)
def test_the_tree_finds_what_a_search_finds(wanted, paths):
    router = Router(reserved=())
    for method, path in wanted:
        route = Route.from_mark(RouteMark(method, path), "shop", object())
        if not router.check([route]):
            router.add([route])
    routes = router.routes()
    for segments in paths:
        for method in ("GET", "POST"):
            found = router.match(method, "/" + "/".join(segments))
            expected = best(routes, method, segments)
            if expected is not None:
                assert isinstance(found, Match)
                assert found.route == expected
                assert list(found.params) == list(expected.options.parameters)
            elif any(fits(r.path, segments) for r in routes):
                assert isinstance(found, MethodNotAllowed)
            else:
                assert isinstance(found, NotFound)
    router.remove("shop")
    assert isinstance(router.match("GET", "/a"), NotFound)
    assert router.paths() == set()
