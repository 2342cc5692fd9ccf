"""The mail server that the plugin sends to: aiosmtpd on loopback, in a thread of its own."""

import asyncio
import email
import email.policy
import ssl
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

CERTIFICATE = Path(__file__).with_name("loopback.pem")


class MailBox:
    """What the server was sent, and how it behaves."""

    def __init__(self):
        self.port = 0
        self.mails = []
        """Each as an EmailMessage."""
        self.sent_to = []
        """The recipients that the envelope named, a list for each mail."""
        self.encrypted = []
        """For each mail whether it came by TLS."""
        self.logins = []
        self.knows_utf8 = True
        """Whether the next connection offers SMTPUTF8."""
        self.refuse_recipient = ""
        """The server's refusal of every recipient, where it is set."""
        self.gather = 1
        """How many mails must be there before the server takes any of them."""
        self._gathered = asyncio.Event()

    @property
    def email(self):
        """The option ``email`` for sending to it, in the clear and without a login."""
        return {
            "smtp_host": "127.0.0.1",
            "smtp_port": self.port,
            "use_tls": False,
            "from_email": "nexus@example.org",
        }

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.refuse_recipient:
            return self.refuse_recipient
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.gather -= 1
        if self.gather <= 0:
            self._gathered.set()
        await asyncio.wait_for(self._gathered.wait(), 10)
        self.sent_to.append([*envelope.rcpt_tos])
        self.encrypted.append(session.ssl is not None)
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"

    def authenticate(self, server, session, envelope, mechanism, data):
        self.logins.append((data.login, session.ssl is not None))
        good = (data.login, data.password) == (b"nexus", b"correct horse")
        return AuthResult(success=good, handled=False)


@contextmanager
def serve(*, tls=False, tls_at_once=False):
    box = MailBox()
    ready = threading.Event()
    context = None
    if tls or tls_at_once:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE)
    loops = []

    async def main():
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        server = await loop.create_server(
            lambda: SMTP(
                box,
                hostname="mail.example.org",
                authenticator=box.authenticate,
                auth_require_tls=False,
                tls_context=context if tls else None,
                enable_SMTPUTF8=box.knows_utf8,
                loop=loop,
            ),
            "127.0.0.1",
            ssl=context if tls_at_once else None,
        )
        box.port = server.sockets[0].getsockname()[1]
        loops.append((loop, end))
        ready.set()
        async with server:
            await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert ready.wait(10)
    yield box
    loop, end = loops[0]
    loop.call_soon_threadsafe(end.set)
    thread.join(10)


@pytest.fixture
def box():
    with serve() as box:
        yield box


@pytest.fixture
def tls_box():
    """A server that offers STARTTLS, with a certificate that nobody trusts yet."""
    with serve(tls=True) as box:
        yield box


@pytest.fixture
def tls_only_box():
    """A server whose connections begin with TLS, as at port 465."""
    with serve(tls_at_once=True) as box:
        yield box


@pytest.fixture
def trusted(monkeypatch):
    """Has the plugin trust the certificate of the tests."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
