"""The chain of middlewares: order, short cuts, faults, headers, and what it refuses."""

import functools
import types
from unittest.mock import AsyncMock

import pytest

from nexus_actors.errors import HTTPError
from nexus_actors.http.response import Response
from nexus_actors.middleware import Middleware
from nexus_actors.middleware.base import check_middleware
from nexus_actors.middleware.chain import compose


def a_request():
    return types.SimpleNamespace(headers={}, log=[])


async def endpoint(request):
    request.log.append("endpoint")
    response = Response("inside")
    response.headers["X-Seen"] = ",".join(request.headers.values())
    return response


class Named(Middleware):
    def __init__(self, name):
        self.name = name

    async def __call__(self, request, call_next):
        request.log.append(f"{self.name} in")
        request.headers[f"X-{self.name}"] = self.name
        response = await call_next(request)
        response.headers[f"X-{self.name}"] = "out"
        request.log.append(f"{self.name} out")
        return response


class Unlocking(Middleware):
    """One that forgot everything but its base: super().__init__() is never called."""

    def __init__(self, plugin):
        self.plugin = plugin

    async def __call__(self, request, call_next):
        return await call_next(request)


async def by_function(request, call_next):
    request.log.append("function in")
    response = await call_next(request)
    request.log.append("function out")
    return response


class NotOfOurs:
    async def __call__(self, request, call_next):
        request.log.append("other in")
        return await call_next(request)


async def with_an_option(word, request, call_next):
    request.log.append(f"{word} in")
    return await call_next(request)


@pytest.mark.parametrize(
    ("middlewares", "log"),
    [
        ([], ["endpoint"]),
        ([Named("a")], ["a in", "endpoint", "a out"]),
        ([Named("a"), Named("b")], ["a in", "b in", "endpoint", "b out", "a out"]),
        ([by_function, Named("a")], ["function in", "a in", "endpoint", "a out", "function out"]),
        ([Unlocking(None)], ["endpoint"]),
        ([NotOfOurs()], ["other in", "endpoint"]),
        ([functools.partial(with_an_option, "partial")], ["partial in", "endpoint"]),
        ([NotOfOurs().__call__], ["other in", "endpoint"]),
    ],
)
async def test_the_first_added_is_the_outermost(middlewares, log):
    request = a_request()
    response = await compose(middlewares, endpoint)(request)
    assert isinstance(response, Response)
    assert request.log == log


def test_no_middleware_costs_nothing():
    assert compose([], endpoint) is endpoint


async def test_headers_of_request_and_response_may_be_changed():
    response = await compose([Named("a"), Named("b")], endpoint)(a_request())
    assert response.headers["X-Seen"] == "a,b"  # the endpoint saw what both had put in
    assert response.headers["X-a"] == response.headers["X-b"] == "out"


async def test_another_request_can_be_handed_on():
    other = a_request()

    async def swapping(request, call_next):
        return await call_next(other)

    request = a_request()
    await compose([swapping, by_function], endpoint)(request)
    assert request.log == []
    assert other.log == ["function in", "endpoint", "function out"]


async def test_not_going_on_answers_at_once():
    async def closed(request, call_next):
        return Response("closed", 503)

    request = a_request()
    response = await compose([by_function, closed, Named("never")], endpoint)(request)
    assert response.status == 503
    assert request.log == ["function in", "function out"]


@pytest.mark.parametrize("error", [ValueError("bad"), HTTPError(404, "no such order")])
async def test_an_exception_passes_outwards_as_it_is(error):
    async def failing(request):
        raise error

    request = a_request()
    with pytest.raises(type(error)) as caught:
        await compose([Named("a"), by_function], failing)(request)
    assert caught.value is error
    assert request.log == ["a in", "function in"]


async def test_a_middleware_may_answer_an_exception_from_inside():
    async def failing(request):
        raise ValueError("bad")

    async def catching(request, call_next):
        try:
            return await call_next(request)
        except ValueError as error:
            return Response(str(error), 400)

    response = await compose([by_function, catching, Named("a")], failing)(a_request())
    assert response.status == 400


async def test_an_exception_of_a_middleware_keeps_the_endpoint_from_running():
    async def refusing(request, call_next):
        raise HTTPError(401, "who are you?")

    request = a_request()
    with pytest.raises(HTTPError):
        await compose([refusing], endpoint)(request)
    assert request.log == []


async def test_going_on_twice_is_refused_naming_the_middleware():
    async def retrying(request, call_next):
        await call_next(request)
        return await call_next(request)

    request = a_request()
    with pytest.raises(RuntimeError, match=r"middleware .*retrying called call_next twice"):
        await compose([retrying], endpoint)(request)
    assert request.log == ["endpoint"]


async def test_one_chain_serves_many_requests():
    chained = compose([Named("a")], endpoint)
    for _ in range(2):
        request = a_request()
        await chained(request)
        assert request.log == ["a in", "endpoint", "a out"]


async def _returns_nothing(request, call_next):
    await call_next(request)


async def _forgets_to_await(request, call_next):
    return call_next(request)


async def _returns_a_dict(request, call_next):
    return {"status": "ok"}


async def _returns_a_pair(request, call_next):
    return {"error": "no"}, 400


@pytest.mark.parametrize(
    ("middleware", "words"),
    [
        (_returns_nothing, "_returns_nothing returned nothing: end it with `return response`"),
        (_forgets_to_await, "_forgets_to_await returned without awaiting: write `return await"),
        (_returns_a_dict, "_returns_a_dict returned dict, not a Response"),
        (_returns_a_pair, "_returns_a_pair returned tuple, not a Response"),
    ],
)
async def test_a_middleware_that_returns_no_response_is_named(middleware, words):
    with pytest.raises(TypeError) as caught:
        await compose([by_function, middleware], endpoint)(a_request())
    assert words in str(caught.value)


def test_a_middleware_class_without_its_call_cannot_be_made():
    class Empty(Middleware):
        pass

    with pytest.raises(TypeError, match="__call__"):
        Empty()


def _sync(request, call_next): ...


class _SyncObject:
    def __call__(self, request, call_next): ...


async def _too_few(request): ...


async def _too_many(request, call_next, extra): ...


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (Named, r"add_middleware takes an object: write Named\(\.\.\.\), not Named"),
        (7, "int object cannot be a middleware"),
        (None, "NoneType object cannot be a middleware"),
        (_sync, "the middleware _sync must be async"),
        (_SyncObject(), "the middleware _SyncObject must be async"),
        (_too_few, r"_too_few must take \(request, call_next\), and takes \(request\)"),
        (_too_many, r"_too_many must take \(request, call_next\), and takes \(request, call_n"),
    ],
)
def test_what_cannot_be_a_middleware_is_refused_when_it_is_added(candidate, words):
    with pytest.raises(TypeError, match=words):
        check_middleware(candidate)


@pytest.mark.parametrize("candidate", [Named("a"), by_function, NotOfOurs(), AsyncMock()])
def test_any_async_callable_of_two_parameters_can_be_one(candidate):
    assert check_middleware(candidate) is candidate
