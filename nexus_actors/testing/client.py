"""TestClient: an HTTP client for a TestApplication, over a real connection."""

from __future__ import annotations

from typing import Any

import httpx

from nexus_actors.actors.bridge import bridged
from nexus_actors.testing.application import TestApplication

__all__ = ["TestClient"]


class TestClient:
    """Sends requests to the node of ``app``; answers are ``httpx.Response`` objects.

    ::

        response = await client.post("/my-plugin/data", json={"name": "a"})
        assert response.status_code == 200
        assert response.json()["name"] == "a"

    Cookies are kept from one request to the next. ``timeout`` is in seconds.
    """

    __test__ = False

    def __init__(self, app: TestApplication, *, timeout: float = 30.0) -> None:
        self._app = app
        self._timeout = timeout
        self.cookies = httpx.Cookies()

    @bridged
    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send ``method path``; ``options`` are those of ``httpx.AsyncClient.request``."""
        async with httpx.AsyncClient(
            base_url=self._app.base_url,
            timeout=self._timeout,
            cookies=self.cookies,
            trust_env=False,
            verify=False,  # it is plain HTTP, and reading the certificates takes 80 ms each time
        ) as client:
            response = await client.request(method, path, **options)
            self.cookies.update(client.cookies)
            return response

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """``GET path``."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> httpx.Response:
        """``POST path``; the body by ``json=``, ``content=``, ``data=`` or ``files=``."""
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Any) -> httpx.Response:
        """``PUT path``."""
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Any) -> httpx.Response:
        """``PATCH path``."""
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Any) -> httpx.Response:
        """``DELETE path``."""
        return await self.request("DELETE", path, **options)

    async def head(self, path: str, **options: Any) -> httpx.Response:
        """``HEAD path``."""
        return await self.request("HEAD", path, **options)

    async def options(self, path: str, **options: Any) -> httpx.Response:
        """``OPTIONS path``."""
        return await self.request("OPTIONS", path, **options)
