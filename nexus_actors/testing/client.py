"""TestClient: an HTTP client for a TestApplication, over a real connection."""

from __future__ import annotations

from typing import Any

import httpx

from nexus_actors.actors.bridge import bridged
from nexus_actors.testing.application import TestApplication
from nexus_actors.testing.clock import frozen_clock, within

__all__ = ["TestClient"]


class TestClient:
    """Sends requests to the node of ``app``; answers are ``httpx.Response`` objects.

    ::

        response = await client.post("/my-plugin/data", json={"name": "a"})
        assert response.status_code == 200
        assert response.json()["name"] == "a"

    Cookies are kept from one request to the next. ``timeout`` is in seconds; where the test's clock
    stands still (``mock_clock``) in seconds of real time.
    """

    __test__ = False

    def __init__(self, app: TestApplication, *, timeout: float = 30.0) -> None:
        self._app = app
        self._timeout = timeout
        self.cookies = httpx.Cookies()

    @bridged
    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send ``method path``; ``options`` are those of ``httpx.AsyncClient.request``.

        Raises:
            httpx.ReadTimeout: no answer came in time.
        """
        if frozen_clock() is None:
            return await self._request(method, path, self._timeout, options)
        with within(self._timeout):
            return await self._request(method, path, None, options)
        raise httpx.ReadTimeout(
            f"no answer within {self._timeout:g} s of real time, and the clock stands still: await "
            "app.advance(seconds) meanwhile, or ask within `async with app.autojump()`"
        )

    async def _request(
        self, method: str, path: str, timeout: float | None, options: dict[str, Any]
    ) -> httpx.Response:
        async with httpx.AsyncClient(
            base_url=self._app.base_url,
            timeout=timeout,
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
