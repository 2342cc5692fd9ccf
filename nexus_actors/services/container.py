"""The container of one plugin: what :func:`.inject` finds while the plugin is being built.

Services are kept by class, one instance a plugin, in the order in which they were first named.
Other things (the database) are given to it ready-made.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, TypeVar, cast

from nexus_actors.errors import NotInNode
from nexus_actors.services.service import Service

__all__ = ["Container", "ServiceProxy"]

T = TypeVar("T")


class ServiceProxy:
    """Stands for the running instance of a service, from before it is started to its end."""

    __kind: type[Service]
    __instance: Service | None

    def __init__(self, kind: type[Service]) -> None:
        object.__setattr__(self, "_ServiceProxy__kind", kind)
        self._bind(None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__running(name), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__running(name), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__running(name), name)

    def __repr__(self) -> str:
        return f"<{self.__kind.__name__} {'running' if self.__instance else 'not running'}>"

    def __running(self, name: str) -> Service:
        instance = self.__instance
        if instance is None:
            raise NotInNode(
                f"{self.__kind.__name__}.{name}: the service is not running; services start after "
                "__init__ and before initialize"
            )
        return instance

    def _bind(self, instance: Service | None) -> None:
        object.__setattr__(self, "_ServiceProxy__instance", instance)


class Container:
    """What one plugin may inject: its services and ``provided`` things, by class."""

    def __init__(self, plugin: str, config: Any, provided: dict[type, Any] | None = None) -> None:
        self.plugin = plugin
        self._config = config
        self._provided = dict(provided or {})
        self._proxies: dict[type[Service], ServiceProxy] = {}
        self._making: type[Service] | None = None
        """The service whose ``__init__`` runs now."""

    def get(self, kind: type[T]) -> T:
        """The thing of class ``kind``: a service becomes one of the plugin's services by this.

        Raises:
            TypeError: ``kind`` is neither a service nor something the node gives; or it is asked
                for by a service's ``__init__`` that the plugin did not name after it.
        """
        if kind in self._provided:
            return cast(T, self._provided[kind])
        if not (isinstance(kind, type) and issubclass(kind, Service)):
            known = ", ".join(sorted(each.__name__ for each in self._provided)) or "nothing else"
            raise TypeError(
                f"inject({getattr(kind, '__name__', kind)!s}): neither a Service nor something the "
                f"node gives ({known}); derive it from nexus_actors.services.Service"
            )
        making = self._making
        if making is not None and kind not in self._named_before(making):
            raise TypeError(
                f"inject({kind.__name__}) in {making.__name__}.__init__: a service finds those "
                f"that the plugin named before it; write inject({kind.__name__}) before "
                f"inject({making.__name__}) in the plugin's __init__"
            )
        proxy = self._proxies.get(kind)
        if proxy is None:
            proxy = self._proxies[kind] = ServiceProxy(kind)
        return cast(T, proxy)

    def services(self) -> Iterator[type[Service]]:
        """The services named so far, in order."""
        return iter([*self._proxies])

    def build(self, kind: type[Service]) -> Service:
        """Make a new instance of ``kind``; its ``__init__`` gets the configuration if it can.

        :func:`.inject` there finds what the node gives, and the services named before ``kind``.
        """
        takes = [
            parameter
            for parameter in inspect.signature(kind).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        self._making = kind
        try:
            return kind(self._config) if takes else kind()
        finally:
            self._making = None

    def _named_before(self, kind: type[Service]) -> list[type[Service]]:
        named = [*self._proxies]
        return named[: named.index(kind)] if kind in named else named

    def bind(self, kind: type[Service], instance: Service | None) -> None:
        """Let the proxy of ``kind`` stand for ``instance``, or for nothing."""
        self._proxies[kind]._bind(instance)
