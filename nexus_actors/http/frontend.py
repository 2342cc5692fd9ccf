"""The front end: takes a request from the server, finds its route, has it answered, replies.

Requests to plugins go a thin path of our own: route, body, dispatch, reply. The node's own pages
are ordinary Quart routes of the same object. What neither has is answered with problem JSON.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import trio
from quart import request as quart_request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed
from werkzeug.exceptions import NotFound as WerkzeugNotFound
from werkzeug.routing import RequestRedirect

from nexus_actors.config.settings import HttpSettings
from nexus_actors.errors import HTTPError, did_you_mean
from nexus_actors.http.asgi import opening_of, raw_path_of, request_of
from nexus_actors.http.errors import is_expected, problem, response_for_exception
from nexus_actors.http.exchange import Exchange
from nexus_actors.http.incoming import INCOMING, ForeignIncoming, Incoming
from nexus_actors.http.quart_pages import NodePage, quart_refusal, to_quart
from nexus_actors.http.request import Request, RequestHead
from nexus_actors.http.response import Response, to_response
from nexus_actors.http.router import Match, MethodNotAllowed, NotFound, Router, allow_header
from nexus_actors.http.session import OnRequest, Session
from nexus_actors.http.upload import Upload

__all__ = ["CallNext", "FrontEnd", "NodeMiddleware", "OnRequest"]

AnyIncoming = Incoming | ForeignIncoming | Upload
CallNext = Callable[[Request], Awaitable[Response]]
NodeMiddleware = Callable[[Request, CallNext], Awaitable[Response]]
"""Wraps every request to a plugin, in the connection's own task: ``await call_next(request)``."""

CLIENT_GONE = 499
"""What :data:`OnRequest` gets as the status where the client went away before the reply."""
_log = logging.getLogger("nexus.http")


class Cancellable(Protocol):
    """A request in hand."""

    def cancel(self) -> None:
        """Do not wait for its answer any more."""
        ...


class FrontEnd(QuartTrio):
    """An ASGI app: plugins' routes by a :class:`Router`, the node's own pages as Quart routes.

    ``middleware`` wraps every request to a plugin, the first outermost. ``on_request`` is told of
    each one that is over. Serve it with :func:`nexus_actors.http.server.serve`.
    """

    asgi_http_class = NodePage

    def __init__(
        self,
        router: Router | None = None,
        settings: HttpSettings | None = None,
        *,
        middleware: Sequence[NodeMiddleware] = (),
        on_request: OnRequest | None = None,
    ) -> None:
        super().__init__("nexus_actors.http", static_folder=None, template_folder=None)
        self.router = Router() if router is None else router
        self.settings = HttpSettings() if settings is None else settings
        self.middleware = list(middleware)
        self.on_request = on_request
        self.stopping = trio.Event()
        """Set when the node stops: event streams end, websockets are closed with 1001."""
        self._cut = False
        self._in_hand: set[Cancellable] = set()
        self.config["MAX_CONTENT_LENGTH"] = self.settings.max_body
        self.register_error_handler(HTTPException, quart_refusal)
        self.register_error_handler(Exception, self._quart_fault)

    @property
    def in_hand(self) -> int:
        """How many requests are being answered just now, streams that have begun not counted."""
        return len(self._in_hand)

    def begin(self) -> None:
        """A server begins to serve it, perhaps once more after it had stopped."""
        self.stopping = trio.Event()
        self._cut = False

    def cut_off(self) -> None:
        """Answer everything still in hand with 503, at once: the drain is over."""
        self._cut = True
        for request in list(self._in_hand):
            request.cancel()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI 3."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    # -- requests --------------------------------------------------------------------------------

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        raw_path = raw_path_of(scope)
        incoming = scope.get("extensions", {}).get(INCOMING) or ForeignIncoming(receive)
        request = request_of(scope, raw_path, incoming, self.settings.max_body)
        await self.serve(request, raw_path, incoming, send, lambda: scope)

    async def serve(
        self,
        request: Request,
        raw_path: str,
        incoming: AnyIncoming,
        send: Callable[[Any], Awaitable[None]],
        scope: Callable[[], Any],
    ) -> None:
        """Answer one request to the end of its reply.

        ``send`` takes ASGI's messages; ``scope`` makes ASGI's scope, where Quart must answer.
        """
        started = trio.current_time()
        exchange = Exchange(request, incoming, send)
        deadline = started + self.settings.reply_timeout
        owner = ""
        try:
            found = self._find(request, raw_path)
        except HTTPError as error:
            found = response_for_exception(error, request.id, instance=request.path)
        if found is None:
            await self._node_page(scope(), incoming, send, exchange)
        else:
            if isinstance(found, Match):
                owner = found.route.owner
                options = found.route.options
                request.path_params = dict(found.params)
                if options.timeout is not None:
                    deadline = started + options.timeout
                if options.max_body is not None:
                    request.max_body = options.max_body
            response = await self._answer(exchange, found, deadline)
            if response is not None and not (response.stream is None and exchange.gone):
                await self.send(exchange, response, deadline)
        self.tell(request, exchange.status, started, owner)

    def tell(self, request: Request, status: int, started: float, owner: str) -> float:
        """Tell :attr:`on_request` of a request that is over, and return the time.

        ``status`` 0: its client went away.
        """
        now = trio.current_time()
        if self.on_request is not None:
            self.on_request(
                request.method,
                request.path,
                status or CLIENT_GONE,
                now - started,
                request.id,
                owner,
            )
        return now

    # -- requests, the short way: see nexus_actors.http.shortcut -----------------------------------

    def plain_route(self, method: str, raw_path: str) -> Match | None:
        """The plugin's route for a request that needs nothing special; None for all others."""
        return None if self._cut else self.router.match_plain(method, raw_path)

    async def reply_plain(self, found: Match, request: Request, deadline: float) -> Response:
        """The answer of a plugin's route. The body must have been read; who calls it keeps to the
        deadline, and counts the request among those :attr:`in_hand`. Raises what the route does."""
        if not self.middleware:
            response = await found.route.target.request(request, deadline)
        else:

            async def innermost(request: Request) -> Response:
                return await found.route.target.request(request, deadline)

            response = await self._wrapped(innermost)(request)
        return response if isinstance(response, Response) else to_response(response)

    @staticmethod
    def ends_with_client(method: str, found: Any) -> bool:
        """Whether the answering is cancelled when the client goes away."""
        wish = found.route.options.on_disconnect if isinstance(found, Match) else None
        if wish is None:
            return method in {"GET", "HEAD", "OPTIONS"}
        return bool(wish == "cancel")

    def hold(self, request: Cancellable) -> None:
        """A request is being answered: :meth:`cut_off` is to cancel it."""
        self._in_hand.add(request)

    def release(self, request: Cancellable) -> None:
        """It is no more."""
        self._in_hand.discard(request)

    def unanswered(self, request: Request, *, reading_body: bool = False) -> Response:
        """The answer to a request that was cancelled by its deadline, or by :meth:`cut_off`."""
        if self._cut:
            status, detail = 503, "the node is stopping and did not get to an answer"
        elif reading_body:
            status, detail = 408, "the body did not arrive in time"
        else:
            status, detail = 504, "there was no reply in time"
        return problem(
            status,
            detail,
            headers={"Retry-After": "1"} if status == 503 else {},
            request_id=request.id,
            instance=request.path,
        )

    def _find(
        self, request: Request, raw_path: str
    ) -> Match | NotFound | MethodNotAllowed | Response | None:
        """What answers: a route, a refusal, or None for a page of the node."""
        if "%00" in request.query_string:
            raise HTTPError(400, "the query has a null byte in it")
        if request.method == "OPTIONS" and raw_path == "*":
            return Response(b"", 204)
        found = self.router.match(request.method, raw_path)
        if isinstance(found, Match) and not self.router.is_reserved(request.path):
            return found
        page = self._page_methods(request)
        if page is None:
            return None
        if isinstance(found, MethodNotAllowed):
            return found
        if page:
            return MethodNotAllowed(request.path, allow_header(page))
        rules = [rule.rule for rule in self.url_map.iter_rules() if "<" not in rule.rule]
        return NotFound(request.path, self.router.nearest(request.path, rules))

    def _page_methods(self, request: Request) -> set[str] | None:
        """None where a page of the node answers the request; else the methods that its path has."""
        adapter = self.url_map.bind("")
        try:
            adapter.match(request.path, request.method)
        except RequestRedirect:
            return None
        except WerkzeugMethodNotAllowed as error:
            return set(error.valid_methods or ())
        except WerkzeugNotFound:
            return set()
        return None

    async def _answer(self, exchange: Exchange, found: Any, deadline: float) -> Response | None:
        """The answer, through the middleware; None where the client has gone and wants none."""
        request, incoming = exchange.request, exchange.incoming

        async def innermost(request: Request) -> Response:
            if isinstance(found, Response):
                return found
            if not isinstance(found, Match):
                return _refusal(found, request)
            if not found.route.options.stream:
                await exchange.read_body()
            return await found.route.target.request(request, deadline)

        call = self._wrapped(innermost)
        with trio.CancelScope(deadline=deadline) as scope:
            if self.ends_with_client(request.method, found):
                incoming.on_disconnect = scope.cancel
                if exchange.gone:
                    scope.cancel()
            self._in_hand.add(scope)
            try:
                if self._cut:
                    scope.cancel()
                response = await call(request)
                return response if isinstance(response, Response) else to_response(response)
            except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - becomes the reply
                return self.fault(error, request)
            finally:
                self._in_hand.discard(scope)
                incoming.on_disconnect = None
        if exchange.gone and not self._cut:
            return None
        return self.unanswered(request, reading_body=exchange.reading_body)

    def _wrapped(self, call: CallNext) -> CallNext:
        for middleware in reversed(self.middleware):
            call = _wrap(middleware, call)
        return call

    def fault(self, error: BaseException, request: RequestHead) -> Response:
        """The answer to an error; one that nobody meant is logged under the request's id."""
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, BaseExceptionGroup):
            _, other = error.split(trio.Cancelled)
            if other is None or not isinstance(other, Exception):
                raise error
        elif not isinstance(error, Exception):
            raise error
        if not is_expected(error):
            _log.error(
                "no answer to %s %s",
                request.method,
                request.path,
                exc_info=error,
                extra={"request_id": request.id},
            )
        return response_for_exception(error, request.id, instance=request.path)

    async def send(self, exchange: Exchange, response: Response, deadline: float) -> None:
        """Send a response, a stream to its end."""
        if response.stream is None:
            await exchange.send_response(response)
        else:
            await exchange.send_stream(
                response,
                deadline=deadline,
                stopping=self.stopping,
                refuse=lambda error: self.fault(error, exchange.request),
            )

    async def _node_page(self, scope: Any, incoming: Any, send: Any, exchange: Exchange) -> None:
        """Have Quart answer, and see to it that the reply carries the request's id."""

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = [*message.get("headers", ())]
                headers.append((b"x-request-id", exchange.request.id.encode()))
                if not await exchange.body_is_taken():
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            await send(message)

        scope.setdefault("state", {})["request_id"] = exchange.request.id
        await super().__call__(scope, incoming.receive, sending)

    async def _quart_fault(self, error: Exception) -> Any:
        request_id = quart_request.scope.get("state", {}).get("request_id", "")
        if not is_expected(error):
            _log.error(
                "no answer to %s",
                quart_request.path,
                exc_info=error,
                extra={"request_id": request_id},
            )
        return to_quart(response_for_exception(error, request_id, instance=quart_request.path))

    # -- websockets ------------------------------------------------------------------------------

    async def _websocket(self, scope: Any, receive: Any, send: Any) -> None:
        raw_path = raw_path_of(scope)
        ws = opening_of(scope, raw_path)
        session = Session(
            ws,
            scope.get("extensions", {}).get(INCOMING) or ForeignIncoming(receive),
            send,
            stopping=self.stopping,
            refuse=lambda error: self.fault(error, ws),
            on_request=self.on_request,
        )
        try:
            found = self.router.match("WEBSOCKET", raw_path)
            if isinstance(found, MethodNotAllowed):
                raise HTTPError(404, "no websocket is served there")
            if not isinstance(found, Match):
                await session.refuse(_refusal(found, ws))
                return
            if self.stopping.is_set():
                raise HTTPError(503, "the node is stopping")
        except HTTPError as error:
            await session.refuse(self.fault(error, ws))
            return
        await session.serve(found, self.settings.reply_timeout)


def _refusal(found: NotFound | MethodNotAllowed, request: RequestHead) -> Response:
    """The answer where no route answers."""
    if isinstance(found, NotFound):
        near = did_you_mean(found.nearest)
        return problem(
            404,
            f"nothing is served at {found.path}{near}",
            request_id=request.id,
            instance=request.path,
            nearest=found.nearest,
        )
    headers = {"Allow": ", ".join(found.allow)}
    if request.method == "OPTIONS":
        return Response(b"", 204, headers)
    if found.websocket and found.allow == ("OPTIONS",):
        return problem(
            426,
            f"{found.path} is a websocket",
            request_id=request.id,
            instance=request.path,
            headers={"Upgrade": "websocket", "Connection": "Upgrade"},
        )
    return problem(
        405,
        f"{found.path} does not answer {request.method}, but {headers['Allow']}",
        request_id=request.id,
        instance=request.path,
        headers=headers,
    )


def _wrap(middleware: NodeMiddleware, call_next: CallNext) -> CallNext:
    async def wrapped(request: Request) -> Response:
        return await middleware(request, call_next)

    return wrapped
