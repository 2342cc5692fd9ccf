"""External API: users of another HTTP API, read on request and kept up to date by events."""

from typing import Any

import attrs

from nexus_actors.events import Event, event_handler
from nexus_actors.http import get, post
from nexus_actors.plugin import Plugin
from nexus_actors.services import inject

from .service import APIError, ExternalAPIService, NoSuchUser, NotConfigured


@attrs.frozen
class User:
    """The body of ``POST /external-api/sync-user``. What is left out is not sent either."""

    id: int | str
    username: str | None = None
    name: str | None = None
    email: str | None = None
    attributes: dict[str, Any] = attrs.field(factory=dict)
    """Whatever else the API keeps of a user; sent beside the fields above."""

    def for_api(self) -> dict[str, Any]:
        """The user as the API gets it."""
        known = attrs.asdict(self, filter=lambda field, value: field.name != "attributes")
        given = {name: value for name, value in known.items() if value is not None}
        return {**self.attributes, **given}


class ExternalAPIPlugin(Plugin):
    """Asks the API by way of :class:`ExternalAPIService`, and says in clear words what went wrong.

    It keeps nothing between awaits, so its routes run beside each other. Only the updates that come
    as events go one after the other: two of one user must reach the API in their order.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.api = inject(ExternalAPIService)

    @get("/external-api/status")
    async def get_status(self) -> dict[str, Any]:
        """Whether the plugin knows where the API is. It does not ask the API."""
        return {
            "plugin": self.name,
            "version": self.version,
            "status": "running" if self.api.is_configured else "not configured",
        }

    @get("/external-api/users/{user_id}")
    async def get_external_user(self, user_id: str) -> Any:
        """Get user data from the API."""
        try:
            return {"user": await self.api.fetch_user_data(user_id)}
        except APIError as error:
            return self._refusal(error)

    @post("/external-api/sync-user", together=True)
    async def sync_user(self, user: User) -> Any:
        """Send a user to the API."""
        try:
            await self.api.sync_user_data(user.for_api())
        except APIError as error:
            return self._refusal(error)
        return {"message": "User synced successfully"}

    # on_error="reply": an update that the API did not take goes to dead letters with its report.
    @event_handler("user.updated", on_error="reply")
    async def on_user_updated(self, event: Event) -> None:
        """Send on what another plugin changed."""
        user = event.data
        if not isinstance(user, dict) or user.get("id") is None:
            raise ValueError(f"user.updated of {event.source} is no object with an id: {user!r}")
        try:
            await self.api.sync_user_data(user)
        except NotConfigured as error:  # said once at the start; each event would be too often
            self.logger.debug(f"not synced: {error}", user_id=user["id"])
            return
        self.logger.info("synced to the API", user_id=user["id"])

    def _refusal(self, error: APIError) -> tuple[dict[str, str], int]:
        match error:
            case NotConfigured():
                return {"error": str(error)}, 503
            case NoSuchUser():
                return {"error": str(error)}, 404
        self.logger.warning(str(error))
        return {"error": str(error)}, 502
