"""Mail on its own: what a message may hold, and how it reaches a real server, or not."""

from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from notifications import mail as module
from notifications.mail import DeliveryFailed, MailSettings, address_fault, compose, send

LOGIN = {"username": "nexus", "password": "correct horse"}


def a_message(subject="Hi", body="text", to="ann@example.org"):
    return compose("nexus@example.org", to, subject, body)


@pytest.mark.parametrize(
    "address", ["ann@example.com", "a.b+c@localhost", "änn@exämple.org", "'o@x.org"]
)
def test_one_plain_address_is_an_address(address):
    assert address_fault(address) == ""


@pytest.mark.parametrize(
    "address",
    [
        "", "ann", "@example.com", "ann@", "a@b@c", "Ann <ann@example.com>", "a@b.c, d@e.f",
        "a@b.c;d@e.f", "ann@example.com\nBcc: eve@example.com", "ann@example.com\r\n", " a@b.c",
        '"a b"@c.d', "a@b.c\0", "x" * 251 + "@b.c", None, 7,
    ],
)  # fmt: skip
def test_what_could_be_more_than_one_address_or_header_is_none(address):
    assert "must be one mail address" in address_fault(address)
    with pytest.raises(ValueError, match="the recipient must be one mail address"):
        a_message(to=address)


@pytest.mark.parametrize("subject", ["a\nBcc: eve@example.com", "a\rb", "a\0b", "a\u2028b"])
def test_a_subject_cannot_become_a_header(subject):
    with pytest.raises(ValueError, match="the subject may hold neither line breaks"):
        a_message(subject=subject)


async def test_a_mail_arrives_as_it_was_meant(box):
    body = "Grüße\n.\nFrom here on\n.leading dot"
    await send(MailSettings(**box.email), a_message("Schöne Grüße", body))
    (mail,) = box.mails
    assert mail["From"] == "nexus@example.org"
    assert mail["To"] == "ann@example.org"
    assert mail["Subject"] == "Schöne Grüße"
    assert mail["Date"].datetime.tzinfo is not None
    assert mail["Message-ID"].endswith("@example.org>")
    assert mail.get_content().replace("\r\n", "\n") == body + "\n"
    assert box.sent_to == [["ann@example.org"]]
    assert box.logins == []


async def test_an_address_beyond_ascii_is_reached_where_the_server_can(box):
    await send(MailSettings(**box.email), a_message(to="änn@exämple.org"))
    assert box.sent_to == [["änn@exämple.org"]]
    box.knows_utf8 = False
    with pytest.raises(DeliveryFailed, match="it takes no addresses beyond ASCII"):
        await send(MailSettings(**box.email), a_message(to="änn@exämple.org"))


async def test_it_logs_in_where_there_is_a_username(box):
    await send(MailSettings(**box.email | LOGIN), a_message())
    assert box.logins == [(b"nexus", False)]
    with pytest.raises(DeliveryFailed) as caught:
        await send(MailSettings(**box.email | LOGIN | {"password": "wrong"}), a_message())
    assert str(caught.value).startswith(f"127.0.0.1:{box.port}: it answered 535 ")
    assert "wrong" not in str(caught.value)
    assert len(box.mails) == 1


async def test_with_use_tls_login_and_mail_go_encrypted(tls_box, trusted):
    await send(MailSettings(**tls_box.email | LOGIN | {"use_tls": True}), a_message())
    assert tls_box.logins == [(b"nexus", True)]
    assert tls_box.encrypted == [True]


async def test_at_the_port_for_it_tls_begins_with_the_connection(
    tls_only_box, trusted, monkeypatch
):
    settings = MailSettings(**tls_only_box.email | {"use_tls": True, "timeout": 0.5})
    with pytest.raises(DeliveryFailed):  # at any other port the server is waited for in the clear
        await send(settings, a_message())
    monkeypatch.setattr(module, "_IMPLICIT_TLS", tls_only_box.port)
    await send(attrs.evolve(settings, timeout=20), a_message())
    assert len(tls_only_box.mails) == 1


async def test_a_server_whose_certificate_nobody_trusts_gets_neither_login_nor_mail(tls_box):
    with pytest.raises(DeliveryFailed, match="certificate verify failed"):
        await send(MailSettings(**tls_box.email | LOGIN | {"use_tls": True}), a_message())
    assert (tls_box.logins, tls_box.mails) == ([], [])


async def test_a_server_without_tls_gets_neither_login_nor_mail(box):
    with pytest.raises(DeliveryFailed, match="STARTTLS extension not supported"):
        await send(MailSettings(**box.email | LOGIN | {"use_tls": True}), a_message())
    assert (box.logins, box.mails) == ([], [])


async def test_a_recipient_that_the_server_refuses_is_said_in_its_words(box):
    box.refuse_recipient = "550 no such mailbox"
    with pytest.raises(DeliveryFailed) as caught:
        await send(MailSettings(**box.email), a_message())
    assert str(caught.value) == (
        f"127.0.0.1:{box.port}: it refuses the recipient: 550 no such mailbox"
    )


async def test_a_server_that_nobody_runs_cannot_be_reached():
    async with a_server(lambda stream: stream.aclose()) as port:
        pass
    with pytest.raises(DeliveryFailed, match=rf"^127\.0\.0\.1:{port}: .*refused"):
        await send(MailSettings("127.0.0.1", port, from_email="a@b.c"), a_message())


@asynccontextmanager
async def a_server(converse):
    """A server whose every connection is handled by ``converse``; gives its port."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, converse, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


class Stubborn:
    """A server that takes a mail up to DATA; then it says something, but never enough."""

    def __init__(self):
        self.waits = trio.Event()
        self.left = trio.Event()

    async def converse(self, stream):
        await stream.send_all(b"220 hello\r\n")
        while await stream.receive_some() != b"data\r\n":
            await stream.send_all(b"250 OK\r\n")
        self.waits.set()
        try:
            while True:
                await stream.send_all(b"354-not yet\r\n")
                await trio.sleep(0.02)
        except trio.BrokenResourceError:
            self.left.set()


async def test_a_server_that_never_comes_to_the_point_is_left_when_the_time_is_up():
    server = Stubborn()
    with trio.fail_after(10):
        async with a_server(server.converse) as port:
            settings = MailSettings("127.0.0.1", port, False, from_email="a@b.c", timeout=0.5)
            with pytest.raises(DeliveryFailed, match=r"took more than 0\.5 s$"):
                await send(settings, a_message())
            await server.left.wait()


async def test_a_send_that_is_cancelled_is_left_at_once_and_its_connection_is_cut():
    server = Stubborn()
    with trio.fail_after(10):
        async with a_server(server.converse) as port, trio.open_nursery() as nursery:
            settings = MailSettings("127.0.0.1", port, False, from_email="a@b.c", timeout=50)
            nursery.start_soon(send, settings, a_message())
            await server.waits.wait()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await server.left.wait()  # long before the 50 s of the thread's own timeout


async def test_a_send_that_is_cancelled_before_the_server_greets_sends_nothing():
    connected, cancelled, heard = trio.Event(), trio.Event(), trio.Event()
    received = []

    async def greet_late(stream):
        connected.set()
        await cancelled.wait()
        await stream.send_all(b"220 hello\r\n")
        received.append(await stream.receive_some())
        heard.set()

    with trio.fail_after(10):
        async with a_server(greet_late) as port:
            async with trio.open_nursery() as nursery:
                settings = MailSettings("127.0.0.1", port, False, from_email="a@b.c")
                nursery.start_soon(send, settings, a_message())
                await connected.wait()
                nursery.cancel_scope.cancel()
            cancelled.set()  # the send has returned, its thread still waits for the greeting
            await heard.wait()
    assert received[0].lower() == b"quit\r\n"


def test_the_password_is_kept_out_of_the_repr():
    assert "secret" not in repr(MailSettings(password="secret"))
