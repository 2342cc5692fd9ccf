"""A handler's signature, read once: what it takes from the path, the query, and the body."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from nexus_actors.errors import Fault, Invalid
from nexus_actors.http.decoding import decode_strictly, decodes_into
from nexus_actors.http.encoding import decode_json
from nexus_actors.http.request import Request, RequestHead
from nexus_actors.http.routes import RouteMark
from nexus_actors.http.scalars import Scalar, scalar_for, without_none
from nexus_actors.http.websockets import WebSocket
from nexus_actors.words import with_article

__all__ = ["Binder", "Parameter", "Unservable"]

_NO_DEFAULT = inspect.Parameter.empty


class Unservable(ValueError):
    """A signature that cannot work; ``why`` and ``fix`` are also apart, without the place."""

    def __init__(self, place: str, why: str, fix: str) -> None:
        super().__init__(f"{place}: {why}; {fix}")
        self.why = why
        self.fix = fix


@attrs.frozen
class Parameter:
    """One argument of a handler, and where it comes from."""

    name: str
    source: typing.Literal["request", "path", "query", "body"]
    annotation: Any
    """Its type as resolved, ``Any`` where there is none."""
    required: bool
    default: Any = None
    scalar: Scalar | None = None
    """How its text is read; None for the request and the body."""
    many: Callable[[list[Any]], Any] | None = None
    """For a query parameter that may come several times: makes the collection."""
    optional: bool = False
    """Whether its type admits None."""


class Binder:
    """Turns a request into the arguments of one handler.

    ======================================================= =======================================
    the handler's parameter                                 gets
    ======================================================= =======================================
    named in the path, ``/orders/{id}``                     that segment, as its annotation says
    ``request``, or annotated ``Request``                   the request
    ``ws`` or ``websocket``, or annotated ``WebSocket``     the websocket
    annotated with an attrs or data class, a ``TypedDict``,
    a msgspec struct, ``dict``, or a list of these          the body, decoded strictly
    annotated with a simple type, or a list of one          the query's field of that name
    not annotated, with a default                           the query's field of that name, as text
    ======================================================= =======================================

    Raises:
        Unservable: from the constructor, for a signature that cannot work: names the function, its
            file and line, and the fix.
    """

    def __init__(self, function: Callable[..., Any], mark: RouteMark) -> None:
        self._function = function
        self._mark = mark
        self.parameters: tuple[Parameter, ...] = tuple(self._read())
        self._check_path()
        self._bodies = [p for p in self.parameters if p.source == "body"]
        self._check_body()

    @property
    def body(self) -> Parameter | None:
        """The parameter that takes the body, decoded; None where there is none."""
        return self._bodies[0] if self._bodies else None

    @property
    def takes_request(self) -> bool:
        """Whether the handler wants the request itself (or the websocket)."""
        return any(p.source == "request" for p in self.parameters)

    def bind(self, request: RequestHead, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The arguments for ``request``; ``params`` takes the place of its ``path_params``.

        The body must have been read, which the front end does before it hands the request on.

        Raises:
            Invalid: with every fault, each at its path: ``path.id``, ``query.limit``,
                ``body.items[2].price``. It is answered 422.
            HTTPError: 400 for a body that is not JSON, or a query that cannot be read.
        """
        values = request.path_params if params is None else params
        arguments: dict[str, Any] = {}
        faults: list[Fault] = []
        for parameter in self.parameters:
            name = parameter.name
            try:
                if parameter.source == "request":
                    arguments[name] = request
                elif parameter.source == "path":
                    arguments[name] = _from_path(parameter, values)
                elif parameter.source == "query":
                    arguments[name] = _from_query(parameter, request)
                else:
                    arguments[name] = _from_body(parameter, request)
            except Invalid as error:
                faults.extend(error.faults)
            except _Bad as error:
                faults.append(Fault(f"{parameter.source}.{name}", str(error)))
        if faults:
            raise Invalid(faults)
        return arguments

    # -- reading the signature -------------------------------------------------------------------

    def _read(self) -> typing.Iterator[Parameter]:
        signature = inspect.signature(self._function)
        hints, unresolved = _hints(self._function)
        in_path = set(self._mark.parameters)
        self._extra_path = False
        for index, (name, parameter) in enumerate(signature.parameters.items()):
            if index == 0 and name in {"self", "cls"} and not inspect.ismethod(self._function):
                continue
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                continue
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                self._extra_path = True
                continue
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                raise self._refuse(f"{name!r} can only be given by position", "take out the /")
            annotation = hints.get(name, _NO_DEFAULT)
            yield self._one(name, parameter, annotation, name in in_path, unresolved.get(name))
        if self._extra_path:
            named = set(signature.parameters)
            for name in self._mark.parameters:
                if name not in named:
                    yield Parameter(name, "path", str, True, scalar=scalar_for(str))

    def _one(
        self,
        name: str,
        parameter: inspect.Parameter,
        annotation: Any,
        in_path: bool,
        unresolved: str | None,
    ) -> Parameter:
        has_default = parameter.default is not _NO_DEFAULT
        default = parameter.default if has_default else None
        known = annotation is not _NO_DEFAULT
        shown = annotation if known else Any
        if in_path:
            scalar = scalar_for(shown)
            if scalar is None:
                raise self._refuse(
                    f"{name!r} comes from the path and cannot be {with_article(_type_name(shown))}",
                    "annotate it with text, a number, a UUID, a date, an Enum or a Literal",
                )
            return Parameter(name, "path", shown, True, scalar=scalar)
        if self._is_request(name, annotation):
            return Parameter(name, "request", shown, True)
        if not known and not has_default:
            if unresolved is not None:
                raise self._refuse(
                    f"the annotation of {name!r} cannot be read: {unresolved}",
                    "import what it names at the top of the module",
                )
            raise self._refuse(
                f"{name!r} is neither in the path {self._mark.path!r} nor annotated",
                f"put {{{name}}} into the path, call it `request` if it is the request, or "
                "annotate it: a simple type for the query, an attrs or data class for the body",
            )
        members = without_none(shown)
        optional = type(None) in typing.get_args(shown)
        required = not has_default and not optional
        scalar = scalar_for(shown)
        if scalar is not None:
            return Parameter(name, "query", shown, required, default, scalar, None, optional)
        if len(members) == 1:
            scalar, make = _collection(members[0])
            if scalar is not None and make is not None:
                return Parameter(name, "query", shown, False, default, scalar, make, optional)
        if not decodes_into(shown):
            raise self._refuse(
                f"{name!r} is {with_article(_type_name(shown))}, "
                "which neither query nor body can give",
                "annotate it with a simple type, or with an attrs class or data class for the body",
            )
        return Parameter(name, "body", shown, required, default, None, None, optional)

    def _is_request(self, name: str, annotation: Any) -> bool:
        wanted: type = WebSocket if self._mark.method == "WEBSOCKET" else Request
        if isinstance(annotation, type) and issubclass(annotation, RequestHead):
            if not issubclass(wanted, annotation):
                raise self._refuse(
                    f"{name!r} is {with_article(annotation.__name__)}, but {self._mark.method} "
                    f"gives {with_article(wanted.__name__)}",
                    f"annotate it with {wanted.__name__}",
                )
            return True
        names = {"ws", "websocket"} if wanted is WebSocket else {"request"}
        return name in names

    def _check_path(self) -> None:
        taken = {p.name for p in self.parameters if p.source == "path"}
        missing = [name for name in self._mark.parameters if name not in taken]
        if missing and not self.takes_request:
            names = ", ".join(map(repr, missing))
            raise self._refuse(
                f"the path {self._mark.path!r} has {names}, which the function does not take",
                f"add {', '.join(missing)} to its parameters",
            )

    def _check_body(self) -> None:
        if not self._bodies:
            return
        names = ", ".join(repr(p.name) for p in self._bodies)
        if len(self._bodies) > 1:
            raise self._refuse(
                f"{names} would each be the whole body", "make one class that has both"
            )
        if self._mark.method in {"GET", "WEBSOCKET"}:
            raise self._refuse(
                f"{names} would be the body, which {self._mark.method} has not",
                "take simple types, which come from the query",
            )
        if self._mark.stream:
            raise self._refuse(
                f"{names} needs the whole body, which stream=True does not wait for",
                "take out one of the two",
            )

    def _refuse(self, why: str, fix: str) -> Unservable:
        function = inspect.unwrap(self._function)
        code = getattr(function, "__code__", None)
        where = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
        name = getattr(function, "__qualname__", repr(function))
        return Unservable(f"{name}{where}", why, fix)


class _Bad(ValueError):
    """One argument that cannot be had from the request."""


def _from_path(parameter: Parameter, values: Mapping[str, str]) -> Any:
    assert parameter.scalar is not None, "a path parameter is a simple type"
    try:
        return parameter.scalar.read(values[parameter.name])
    except ValueError as error:
        raise _Bad(str(error)) from None


def _from_query(parameter: Parameter, request: RequestHead) -> Any:
    assert parameter.scalar is not None, "a query parameter is a simple type"
    texts = request.query.getlist(parameter.name)
    try:
        if parameter.many is not None:
            if not texts and (parameter.default is not None or parameter.optional):
                return parameter.default
            return parameter.many([parameter.scalar.read(text) for text in texts])
        if texts:
            return parameter.scalar.read(texts[0])
    except ValueError as error:
        raise _Bad(str(error)) from None
    if parameter.required:
        raise _Bad(f"is missing: it must be {parameter.scalar.words}")
    return parameter.default


def _from_body(parameter: Parameter, request: RequestHead) -> Any:
    assert isinstance(request, Request), "websockets have no body parameter"
    data = request.loaded_body
    if data is None:
        raise RuntimeError(f"the body of {request!r} must be read before its arguments are bound")
    if not data and not parameter.required:
        return parameter.default
    return decode_strictly(decode_json(data), parameter.annotation)


def _collection(annotation: Any) -> tuple[Scalar | None, Callable[[list[Any]], Any] | None]:
    """For ``list[int]`` and the like: how one is read, and what makes the collection."""
    origin = typing.get_origin(annotation) or annotation
    args = typing.get_args(annotation)
    if origin is tuple and not (len(args) == 2 and args[1] is Ellipsis):
        return None, None
    make: Callable[[list[Any]], Any] | None = {
        list: list,
        set: set,
        frozenset: frozenset,
        tuple: tuple,
    }.get(origin)
    if make is None or not args:
        return None, None
    return scalar_for(args[0]), make


def _type_name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)


def _hints(function: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The annotations that can be resolved, and for the others why not.

    One that cannot, such as a name that nobody imported, must not spoil the rest.
    """
    function = inspect.unwrap(function)
    function = getattr(function, "__func__", function)
    try:
        return typing.get_type_hints(function, include_extras=True), {}
    except Exception:  # noqa: BLE001 - an annotation is the author's code, it may raise anything
        pass
    hints: dict[str, Any] = {}
    unresolved: dict[str, str] = {}
    names = getattr(function, "__globals__", {})
    for name, annotation in getattr(function, "__annotations__", {}).items():
        try:
            hints[name] = eval(annotation, names) if isinstance(annotation, str) else annotation
        except Exception as error:  # noqa: BLE001 - as above
            unresolved[name] = str(error)
    return hints, unresolved
