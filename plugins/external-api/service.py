"""The API of somebody else as a service: one HTTP client, its deadline, its failures in words."""

import json
from typing import Any
from urllib.parse import quote

import httpx
import trio

from nexus_actors.services import Service

LARGEST = 4 * 1024**2
"""Bytes of a reply; more is not read: it is surely no user."""

HOW_TO_CONFIGURE = (
    "api_base_url is not set: write it under [plugins.external-api] in nexus.toml, "
    "or set NEXUS_PLUGINS_EXTERNAL_API_API_BASE_URL"
)


class APIError(Exception):
    """The API did not do what it was asked. The message is fit for clients: no key, no reply."""


class NoSuchUser(APIError):
    """The API knows no user of that id."""


class NotConfigured(APIError):
    """Nobody said where the API is; the message says what to set."""

    def __init__(self) -> None:
        super().__init__(HOW_TO_CONFIGURE)


class ExternalAPIService(Service):
    """Fetches and stores users. Started before the plugin, kept while the plugin restarts.

    Raises (from the constructor):
        ValueError: ``api_base_url`` is no address of HTTP.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.api_base_url = _checked(config.get("api_base_url"))
        self.timeout: float = config.get("timeout", 5.0)
        self._api_key: str | None = config.get("api_key")
        self._client: httpx.AsyncClient | None = None

    @property
    def is_configured(self) -> bool:
        """Whether somebody said where the API is."""
        return self.api_base_url is not None

    async def initialize(self) -> None:
        """Make the client; connections are opened when they are needed, and kept."""
        if self.api_base_url is None:
            self.logger.warning(f"{HOW_TO_CONFIGURE}; until then it answers 503")
            return
        # unpacked, a small reply could be of any size
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        # no timeout of httpx's own, which would count anew for each read: see _request
        self._client = httpx.AsyncClient(headers=headers, timeout=None)
        self.logger.info("ready", api=self.api_base_url, timeout=self.timeout)

    async def cleanup(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def fetch_user_data(self, user_id: str) -> Any:
        """The user as the API describes it.

        Raises:
            NoSuchUser, NotConfigured, APIError
        """
        if user_id in ("", ".", ".."):  # in an address they would lead elsewhere
            raise NoSuchUser(f"no user can have the id {user_id!r}")
        status, body = await self._request("GET", f"/users/{quote(user_id, safe='')}")
        if status == 404:
            raise NoSuchUser(f"the API knows no user {user_id!r}")
        if status != 200:
            raise APIError(f"the API answered {status}")
        try:
            return json.loads(body)
        except (ValueError, RecursionError):  # not UTF-8, not JSON, or nested beyond reason
            raise APIError("the API answered something that is not JSON") from None

    async def sync_user_data(self, user_data: dict[str, Any]) -> None:
        """Send a user to the API.

        Raises:
            NotConfigured, APIError
        """
        status, _ = await self._request("POST", "/users", json=user_data)
        if not 200 <= status < 300:
            raise APIError(f"the API answered {status}")

    async def _request(self, method: str, path: str, **options: Any) -> tuple[int, bytes]:
        """Status and body of the reply, all within ``timeout``."""
        if self._client is None:
            raise NotConfigured
        url = f"{self.api_base_url}{path}"
        status, body = 0, bytearray()
        try:
            with trio.move_on_after(self.timeout) as scope:
                async with self._client.stream(method, url, **options) as response:
                    async for chunk in response.aiter_raw():
                        body += chunk
                        if len(body) > LARGEST:
                            # not `break`: cancelled, httpx's generators end in good order
                            scope.cancel()
                    status = response.status_code
        except httpx.HTTPError as error:
            words = str(error) or type(error).__name__
            raise APIError(f"the API cannot be reached: {words}") from error
        if len(body) > LARGEST:
            raise APIError(f"the API answered more than {LARGEST} bytes")
        if scope.cancelled_caught:
            raise APIError(f"the API did not answer within {self.timeout:g} s")
        return status, bytes(body)


def _checked(base: str | None) -> str | None:
    """``base`` without a slash at its end; None where there is none."""
    if not base:
        return None
    try:
        url = httpx.URL(base)
        fits = url.scheme in ("http", "https") and bool(url.host)
        fits = fits and not (url.query or url.fragment or url.userinfo)
    except httpx.InvalidURL:
        fits = False
    if not fits:
        raise ValueError(
            f"api_base_url of external-api is not a plain address of HTTP: {base!r}; "
            "write for example https://api.example.com/v1"
        )
    return base.rstrip("/")
