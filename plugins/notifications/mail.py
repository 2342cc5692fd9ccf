"""Mail: a message that cannot carry more headers than it should, and its way to the SMTP server.

``smtplib`` blocks, so it runs in a thread. A send that is cancelled, or takes too long, is left at
once, and its connection is cut so that the thread does not go on with it. (While it still waits for
the server's greeting there is nothing to cut; that ends by ``timeout``, and nothing is sent.)
"""

import contextlib
import email.policy
import re
import smtplib
import socket
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import localtime, make_msgid
from typing import Any

import attrs
import trio

__all__ = ["DeliveryFailed", "MailSettings", "address_fault", "compose", "send"]

_IMPLICIT_TLS = 465
_LONGEST_ADDRESS = 254  # RFC 5321
_ADDRESS = re.compile(r"""[^\x00-\x20\x7f@<>()\[\]\\,;:"]+@[^\x00-\x20\x7f@<>()\[\]\\,;:"]+""")


class DeliveryFailed(Exception):
    """The mail was not sent; the message says why, without password or body."""


@attrs.frozen
class MailSettings:
    """The option ``email``."""

    smtp_host: str = ""
    smtp_port: int = 587
    use_tls: bool = True
    username: str = ""
    password: str = attrs.field(default="", repr=False)
    from_email: str = ""
    timeout: float = 20.0
    """Seconds for one mail."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "MailSettings":
        """From the plugin's configuration."""
        return cls(**(config.get("email") or {}))

    @property
    def missing(self) -> list[str]:
        """The names of what must be set before any mail can be sent."""
        return [name for name in ("smtp_host", "from_email") if not getattr(self, name)]


def address_fault(text: object) -> str:
    """What is wrong with ``text`` as one mail address; empty where nothing is.

    Stricter than the standards, which know quotes and comments: what could start a second address
    or a second header is no address here.
    """
    if isinstance(text, str) and len(text) <= _LONGEST_ADDRESS and _ADDRESS.fullmatch(text):
        return ""
    return "must be one mail address, such as ann@example.com"


def compose(sender: str, to: str, subject: str, body: str) -> EmailMessage:
    """The message.

    Raises:
        ValueError: an address is none, or the subject has a line break: that could become a header.
    """
    for name, address in (("sender", sender), ("recipient", to)):
        if fault := address_fault(address):
            raise ValueError(f"the {name} {fault}, not {address!r}")
    if not subject.isprintable():
        raise ValueError("the subject may hold neither line breaks nor control characters")
    message = EmailMessage()
    message["From"] = sender
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = localtime()
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    message.set_content(body)
    return message


async def send(settings: MailSettings, message: EmailMessage) -> None:
    """Send ``message`` and return once the server has taken it.

    Raises:
        DeliveryFailed: the server cannot be reached, refused it, or took more than ``timeout``.
    """
    delivery = _Delivery(settings, message)
    try:
        with trio.fail_after(settings.timeout):
            await delivery.run()
    except trio.TooSlowError:
        raise DeliveryFailed(f"{delivery.server} took more than {settings.timeout:g} s") from None
    except (OSError, smtplib.SMTPException, UnicodeError) as error:
        raise DeliveryFailed(f"{delivery.server}: {_words(error)}") from error


class _Delivery:
    """One mail on its way in a thread."""

    def __init__(self, settings: MailSettings, message: EmailMessage) -> None:
        self._settings = settings
        self._message = message
        # Both are used by two threads: ours writes _is_cut and then reads _smtp, the other writes
        # _smtp and then reads _is_cut. So one of them sees that it is to end.
        self._smtp: smtplib.SMTP | None = None
        self._is_cut = False
        self.server = f"{settings.smtp_host}:{settings.smtp_port}"

    async def run(self) -> None:
        """Send it. When cancelled, return at once and have the thread end without sending."""
        try:
            await trio.to_thread.run_sync(self._send, abandon_on_cancel=True)
        except trio.Cancelled:
            self._cut()
            raise

    def _cut(self) -> None:
        self._is_cut = True
        connection = self._smtp.sock if self._smtp is not None else None
        if connection is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                # socket's own shutdown: SSLSocket's would first go back to sending in the clear
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    # in the thread

    def _send(self) -> None:
        settings = self._settings
        self._smtp = self._connect()
        with self._smtp as smtp:
            if self._is_cut:
                return
            if settings.use_tls and not isinstance(smtp, smtplib.SMTP_SSL):
                # raises where the server has no STARTTLS: nothing was said until here
                smtp.starttls(context=ssl.create_default_context())
            if settings.username:
                smtp.login(settings.username, settings.password)
            self._hand_over(smtp)

    def _hand_over(self, smtp: smtplib.SMTP) -> None:
        # not smtp.send_message: it writes ">From" for a line that begins with "From"
        sender, to = self._settings.from_email, str(self._message["To"])
        policy, options = email.policy.SMTP, []
        if not (sender + to).isascii():
            smtp.ehlo_or_helo_if_needed()
            if not smtp.has_extn("smtputf8"):
                raise smtplib.SMTPNotSupportedError("it takes no addresses beyond ASCII (SMTPUTF8)")
            policy, options = email.policy.SMTPUTF8, ["SMTPUTF8", "BODY=8BITMIME"]
        smtp.sendmail(sender, [to], self._message.as_bytes(policy=policy), mail_options=options)

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        host, port = settings.smtp_host, settings.smtp_port
        # the timeout bounds each step here, and in send() all of them together
        if settings.use_tls and port == _IMPLICIT_TLS:
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(host, port, timeout=settings.timeout, context=context)
        return smtplib.SMTP(host, port, timeout=settings.timeout)


def _words(error: Exception) -> str:
    """One line of what smtplib says in tuples and bytes."""
    match error:
        case smtplib.SMTPRecipientsRefused():
            ((code, reply),) = error.recipients.values()
            return f"it refuses the recipient: {code} {_text(reply)}"
        case smtplib.SMTPResponseException():
            return f"it answered {error.smtp_code} {_text(error.smtp_error)}"
    return f"{error}" or type(error).__name__


def _text(reply: bytes | str) -> str:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return " ".join(text.split())
