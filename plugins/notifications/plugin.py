"""Notifications: mails to new users, to those who forgot their password, and on request."""

from collections.abc import Mapping
from typing import Any

import attrs

from nexus_actors.events import Event, event_handler
from nexus_actors.http import get, post
from nexus_actors.plugin import Plugin

from .mail import DeliveryFailed, MailSettings, address_fault, compose, send
from .templates import TEMPLATES, render


class NotConfigured(Exception):
    """Nobody said how to send mail; the message says what to set."""

    def __init__(self, missing: list[str]) -> None:
        variables = " and ".join(f"NEXUS_PLUGINS_NOTIFICATIONS_EMAIL_{n.upper()}" for n in missing)
        super().__init__(
            f"mail is not configured: write {' and '.join(missing)} under "
            f"[plugins.notifications.email] in nexus.toml, or set {variables}"
        )


def _is_address(_instance: object, field: "attrs.Attribute[Any]", text: str) -> None:
    if fault := address_fault(text):
        raise ValueError(f"'{field.name}' {fault}")


@attrs.frozen
class Notification:
    """The body of ``POST /notifications/send``."""

    # Optional here, so that the plugin answers in its own words where one of the two is missing
    type: str | None = None
    recipient: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(_is_address)
    )
    template: str = "generic"
    data: dict[str, str | int | float] = attrs.field(factory=dict)
    """What fills the gaps of the template."""


class NotificationPlugin(Plugin):
    """Fills templates and sends them by SMTP.

    It keeps nothing between awaits, so up to 8 mails are on their way beside each other
    (``concurrency`` in its manifest).
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.email = MailSettings.from_config(config)
        self.app_name: str = config.get("app_name", "Nexus Platform")

    async def initialize(self) -> None:
        """Say in the log whether mail can be sent.

        Raises:
            ValueError: ``from_email`` is no address.
        """
        if self.email.missing:
            self.logger.warning(f"{NotConfigured(self.email.missing)}; until then none is sent")
            return
        if fault := address_fault(self.email.from_email):
            raise ValueError(f"email.from_email {fault}, not {self.email.from_email!r}")
        self.logger.info("ready", smtp=f"{self.email.smtp_host}:{self.email.smtp_port}")

    @get("/notifications/status")
    async def get_status(self) -> dict[str, Any]:
        """Whether mail can be sent, and which templates there are. It does not ask the server."""
        return {
            "plugin": self.name,
            "version": self.version,
            "status": "not configured" if self.email.missing else "running",
            "templates": {name: template.gaps for name, template in TEMPLATES.items()},
        }

    @post("/notifications/send")
    async def send_custom_notification(self, notification: Notification) -> Any:
        """Send a notification."""
        if not notification.type or not notification.recipient:
            return {"error": "Type and recipient are required"}, 400
        if notification.type != "email":
            return {"error": "Unsupported notification type"}, 400
        try:
            await self.send_email_notification(
                notification.recipient, notification.template, notification.data
            )
        except NotConfigured as error:
            return {"error": str(error)}, 503
        except DeliveryFailed as error:
            self.logger.warning(f"not sent: {error}", template=notification.template)
            return {"error": str(error)}, 502
        except ValueError as error:  # the template and its data do not make a mail
            return {"error": str(error)}, 400
        return {"message": "Email notification sent"}

    # on_error="reply": an event that makes no mail, or one that the server did not take, goes to
    # dead letters with its report. It is no reason to start anew and cut off the mails beside it.
    @event_handler("user.created", on_error="reply")
    async def send_welcome_notification(self, event: Event) -> None:
        """Welcome a new user who has an address."""
        user = _user_of(event)
        if not user.get("email"):
            self.logger.info("no welcome: the user has no email", user_id=user.get("user_id"))
            return
        data = {"username": user.get("username"), "app_name": self.app_name}
        await self._notify(user["email"], "welcome_email", data)

    @event_handler("user.password_reset_requested", on_error="reply")
    async def send_password_reset(self, event: Event) -> None:
        """Send the link that resets a password."""
        user = _user_of(event)
        data = {"reset_link": user.get("reset_link")}
        await self._notify(user.get("email"), "password_reset", data)

    async def send_email_notification(
        self, to: str, template: str, data: Mapping[str, object]
    ) -> None:
        """Fill ``template`` with ``data`` and send it. Other plugins may call it.

        Raises:
            NotConfigured, DeliveryFailed
            ValueError: there is no such template, its data lack something, or it makes no mail.
        """
        if self.email.missing:
            raise NotConfigured(self.email.missing)
        subject, body = render(template, data)
        await send(self.email, compose(self.email.from_email, to, subject, body))
        self.logger.info("sent", template=template, to=to)

    async def _notify(self, to: Any, template: str, data: Mapping[str, object]) -> None:
        try:
            await self.send_email_notification(to, template, data)
        except NotConfigured as error:  # said once at the start; each event would be too often
            self.logger.debug(f"not sent: {error}", template=template)


def _user_of(event: Event) -> dict[str, Any]:
    if not isinstance(event.data, dict):
        raise ValueError(f"{event.type} of {event.source} is no object: {event.data!r}")
    return event.data
