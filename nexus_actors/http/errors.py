"""Refusals and faults as problem JSON (RFC 9457): what a client may know of them, and no more."""

from __future__ import annotations

import http
import logging
import math
from collections.abc import Iterable, Mapping

from nexus_actors.errors import Fault, HTTPError, Invalid, Unanswered
from nexus_actors.http.response import Response
from nexus_actors.words import counted

__all__ = [
    "PROBLEM_JSON",
    "HTTPError",
    "is_expected",
    "problem",
    "response_for_exception",
    "title_of",
]

PROBLEM_JSON = "application/problem+json"

_log = logging.getLogger("nexus.http")


def title_of(status: int) -> str:
    """The words of a status: 404 is ``Not Found``."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def problem(
    status: int,
    detail: str = "",
    *,
    title: str = "",
    request_id: str = "",
    errors: Iterable[Fault] = (),
    headers: Mapping[str, str] | None = None,
    instance: str = "",
    nearest: Iterable[str] = (),
) -> Response:
    """A refusal as ``application/problem+json``.

    ``detail`` is for the person who reads it; ``errors`` are the faults of the input, each with its
    path; ``nearest`` are the known addresses most like the one asked for; ``instance`` is the path
    of the request. Members without content are left out.
    """
    body: dict[str, object] = {
        "type": "about:blank",
        "title": title or title_of(status),
        "status": status,
    }
    if detail:
        body["detail"] = detail
    if instance:
        body["instance"] = instance
    faults = [
        {"path": fault.where, "message": fault.what} | ({"fix": fault.fix} if fault.fix else {})
        for fault in errors
    ]
    if faults:
        body["errors"] = faults
    near = list(nearest)
    if near:
        body["nearest"] = near
    if request_id:
        body["request_id"] = request_id
    return Response.json(body, status, headers, media_type=PROBLEM_JSON)


def is_expected(error: BaseException) -> bool:
    """Whether it is an answer rather than a fault: said on purpose, or another's failure."""
    return isinstance(error, (HTTPError, Unanswered, Invalid))


def response_for_exception(
    error: BaseException, request_id: str = "", *, instance: str = ""
) -> Response:
    """The answer to a request that ended by ``error``; never a traceback, nor a fault's own text.

    ========================= ======================================================
    error                     answer
    ========================= ======================================================
    ``HTTPError``             its status, detail and headers
    ``Unanswered`` and below  its status, its words for clients, ``Retry-After`` in seconds
    ``Invalid``               422 with all faults, each with its path
    anything else             500 that names the request id under which the log has it
    ========================= ======================================================
    """
    if isinstance(error, HTTPError):
        return problem(
            error.status,
            error.detail,
            headers=error.headers,
            request_id=request_id,
            instance=instance,
        )
    if isinstance(error, Unanswered):
        headers = {}
        if error.retry_after is not None and math.isfinite(error.retry_after):
            headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
        detail = error.for_clients
        if detail != str(error):  # the rest is where the request id leads
            detail += _in_log(request_id)
        return problem(
            error.status, detail, headers=headers, request_id=request_id, instance=instance
        )
    if isinstance(error, Invalid):
        return problem(
            422,
            f"{counted(len(error.faults), 'fault')} in the request",
            errors=error.faults,
            request_id=request_id,
            instance=instance,
        )
    return problem(
        500,
        f"the plugin failed while answering{_in_log(request_id)}",
        request_id=request_id,
        instance=instance,
    )


def _in_log(request_id: str) -> str:
    return f"; the log has it under request id {request_id}" if request_id else ""
