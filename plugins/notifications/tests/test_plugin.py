"""The plugin in a node, with a real mail server beside it."""

import pytest
import trio

from nexus_actors.testing import PluginFailed, TestApplication, TestClient

GENERIC = {"type": "email", "recipient": "bob@example.org"}


@pytest.fixture
async def app(box):
    app = TestApplication()
    await app.register_plugin("notifications", {"email": box.email, "app_name": "Shop"})
    yield app
    await app.cleanup()


@pytest.fixture
async def client(app):
    return TestClient(app)


async def test_a_new_user_is_welcomed(app, box):
    await app.emit_event("user.created", {"email": "ann@example.org", "username": "Ann"})
    await app.settle()
    (mail,) = box.mails
    assert (mail["To"], mail["Subject"]) == ("ann@example.org", "Welcome to Shop!")
    assert mail.get_content().strip() == "Hello Ann, welcome to our platform!"


async def test_a_new_user_without_an_address_is_no_fault(app, box):
    await app.emit_event("user.created", {"username": "Ann"})
    await app.settle()
    assert box.mails == []
    assert len(app.node.dead_letters) == 0


async def test_a_forgotten_password_gets_its_link(app, box):
    link = "https://example.org/reset/1"
    await app.emit_event(
        "user.password_reset_requested", {"email": "ann@example.org", "reset_link": link}
    )
    await app.settle()
    (mail,) = box.mails
    assert mail["Subject"] == "Password Reset Request"
    assert mail.get_content().strip() == f"Click here to reset your password: {link}"


async def test_an_event_that_makes_no_mail_is_kept_as_a_dead_letter(app, box):
    cases = [
        ("user.created", ["ann@example.org"], "is no object"),
        ("user.created", {"email": "ann@example.org"}, "needs data for username"),
        ("user.created", {"email": "a@b.c\nBcc: d@e.f", "username": "A"}, "one mail address"),
        ("user.password_reset_requested", {"reset_link": "https://a"}, "one mail address"),
        ("user.password_reset_requested", {"email": "a@b.c"}, "needs data for reset_link"),
    ]
    for number, (type, data, words) in enumerate(cases, 1):
        await app.emit_event(type, data)
        await app.settle()
        letters = app.node.dead_letters.list()
        assert len(letters) == number
        assert words in str(letters[-1].report)
    assert app.node.registry.cell("notifications").crashes == 0
    assert box.mails == []


async def test_a_mail_that_the_server_refuses_is_kept_as_a_dead_letter(app, box):
    box.refuse_recipient = "550 no such mailbox"
    await app.emit_event("user.created", {"email": "ann@example.org", "username": "Ann"})
    await app.settle()
    (letter,) = app.node.dead_letters.list()
    assert "550 no such mailbox" in str(letter.report)
    assert app.node.registry.cell("notifications").crashes == 0


async def test_a_mail_is_sent_on_request_by_the_generic_template_or_another(client, box):
    for body in (
        GENERIC | {"data": {"subject": "Hi", "message": "How are you?"}},
        GENERIC | {"template": "welcome_email", "data": {"app_name": "X", "username": "Bob"}},
    ):
        response = await client.post("/notifications/send", json=body)
        assert response.status_code == 200
        assert response.json() == {"message": "Email notification sent"}
    assert [mail["Subject"] for mail in box.mails] == ["Hi", "Welcome to X!"]
    assert box.sent_to == [["bob@example.org"]] * 2


async def test_what_is_no_notification_is_refused_in_the_plugins_own_words(client, box):
    for body, error in [
        ({"type": "email"}, "Type and recipient are required"),
        ({"recipient": "ann@example.org"}, "Type and recipient are required"),
        (GENERIC | {"type": "pigeon"}, "Unsupported notification type"),
        (GENERIC, "the template 'generic' needs data for subject, message"),
        (
            GENERIC | {"template": "nope"},
            "there is no template 'nope'; there are welcome_email, password_reset, generic",
        ),
        (
            GENERIC | {"data": {"subject": "a\nBcc: d@e.f", "message": "x"}},
            "the subject may hold neither line breaks nor control characters",
        ),
    ]:
        response = await client.post("/notifications/send", json=body)
        assert (response.status_code, response.json()) == (400, {"error": error})
    assert box.mails == []


async def test_a_body_that_does_not_fit_is_refused_with_every_fault(client, box):
    for body, paths in [
        ({"type": 1, "template": None, "to": "x"}, ["template", "to", "type"]),
        (GENERIC | {"data": {"subject": ["a"], "message": True}}, ["data.message", "data.subject"]),
        (GENERIC | {"recipient": "a@b.c\nBcc: d@e.f"}, ["recipient"]),
    ]:
        response = await client.post("/notifications/send", json=body)
        assert response.status_code == 422
        assert sorted(error["path"] for error in response.json()["errors"]) == [
            f"body.{path}" for path in paths
        ]
    assert box.mails == []


async def test_a_server_that_refuses_a_mail_is_a_clear_answer(app, client, box):
    box.refuse_recipient = "550 no such mailbox"
    body = GENERIC | {"data": {"subject": "Hi", "message": "x"}}
    response = await client.post("/notifications/send", json=body)
    assert response.status_code == 502
    assert response.json()["error"].endswith("it refuses the recipient: 550 no such mailbox")
    assert app.node.registry.cell("notifications").faults == 0


async def test_mails_are_on_their_way_beside_each_other(app, client, box):
    """The server takes none before it has eight: one at a time, none would ever arrive."""
    box.gather = 8
    body = GENERIC | {"data": {"subject": "Hi", "message": "x"}}
    statuses = []

    async def post():
        statuses.append((await client.post("/notifications/send", json=body)).status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(post)
    assert statuses == [200] * 8


async def test_it_says_what_it_can_do(client):
    assert (await client.get("/notifications/status")).json() == {
        "plugin": "notifications",
        "version": "1.0.0",
        "status": "running",
        "templates": {
            "welcome_email": ["app_name", "username"],
            "password_reset": ["reset_link"],
            "generic": ["subject", "message"],
        },
    }


async def test_without_a_server_it_says_what_to_set_and_stays_up(caplog):
    async with TestApplication() as app:
        await app.register_plugin("notifications", {"email": {"from_email": "a@b.c"}})
        client = TestClient(app)
        assert "mail is not configured: write smtp_host under" in caplog.text
        body = GENERIC | {"data": {"subject": "Hi", "message": "x"}}
        response = await client.post("/notifications/send", json=body)
        assert response.status_code == 503
        assert response.json()["error"] == (
            "mail is not configured: write smtp_host under [plugins.notifications.email] in "
            "nexus.toml, or set NEXUS_PLUGINS_NOTIFICATIONS_EMAIL_SMTP_HOST"
        )
        status = (await client.get("/notifications/status")).json()
        assert status["status"] == "not configured"
        await app.emit_event("user.created", {"email": "ann@example.org", "username": "Ann"})
        await app.settle()
        assert len(app.node.dead_letters) == 0


async def test_a_sender_that_is_no_address_keeps_it_from_starting_and_is_named(box):
    async with TestApplication() as app:
        with pytest.raises(PluginFailed, match=r"email\.from_email must be one mail address"):
            await app.register_plugin(
                "notifications", {"email": box.email | {"from_email": "Nexus"}}
            )
