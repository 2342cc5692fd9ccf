"""HTTP for plugins: decorators that make methods routes, and what they take and return."""

from nexus_actors.errors import HTTPError
from nexus_actors.http.fields import Headers, MultiDict
from nexus_actors.http.forms import Form, UploadedFile
from nexus_actors.http.request import Request
from nexus_actors.http.response import Response, StreamingResponse, to_response
from nexus_actors.http.routes import RouteMark, delete, get, patch, post, put, websocket
from nexus_actors.http.streams import ServerSentEvent
from nexus_actors.http.websockets import WebSocket, WebSocketClosed

__all__ = [
    "Form",
    "HTTPError",
    "Headers",
    "MultiDict",
    "Request",
    "Response",
    "RouteMark",
    "ServerSentEvent",
    "StreamingResponse",
    "UploadedFile",
    "WebSocket",
    "WebSocketClosed",
    "delete",
    "get",
    "patch",
    "post",
    "put",
    "to_response",
    "websocket",
]
