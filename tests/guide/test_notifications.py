"""The guide's notification plugin against a real SMTP server, under asyncio and under Trio."""

import pytest
from guide_blocks import FORMS
from guide_world import a_node, smtp_server, write_block

pytestmark = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def folder(guide, tmp_path, form):
    write_block(tmp_path, guide, "notifications", form)
    return tmp_path


@pytest.fixture
def box():
    with smtp_server() as box:
        yield box


def node(folder, box, **changed):
    return a_node(folder, notifications={"email": box.config | changed})


async def test_a_new_user_gets_a_mail(folder, box):
    async with node(folder, box) as (app, _):
        await app.emit_event(
            {"type": "user.created", "data": {"email": "ann@example.org", "username": "Ann"}}
        )
        (mail,) = await box.wait(1)
        assert mail["Subject"] == "Welcome to Nexus Platform!"
        assert mail["From"] == "nexus@example.org"
        assert mail["To"] == "ann@example.org"
        (text,) = mail.iter_parts()
        assert text.get_content().strip() == "Hello Ann, welcome to our platform!"


async def test_a_forgotten_password_gets_its_link(folder, box):
    link = "https://example.org/reset/1"
    async with node(folder, box) as (app, _):
        await app.emit_event(
            {
                "type": "user.password_reset_requested",
                "data": {"email": "ann@example.org", "reset_link": link},
            }
        )
        (mail,) = await box.wait(1)
        assert mail["Subject"] == "Password Reset Request"
        (text,) = mail.iter_parts()
        assert link in text.get_content()


async def test_a_mail_is_sent_over_http(folder, box):
    async with node(folder, box) as (_, client):
        response = await client.post(
            "/notifications/send",
            json={
                "type": "email",
                "recipient": "bob@example.org",
                "template": "welcome_email",
                "data": {"app_name": "Shop", "username": "Bob"},
            },
        )
        assert response.status_code == 200
        assert response.json() == {"message": "Email notification sent"}
        (mail,) = box.mails  # sent before the answer
        assert mail["Subject"] == "Welcome to Shop!"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"type": "email"}, "Type and recipient are required"),
        ({"recipient": "ann@example.org"}, "Type and recipient are required"),
        ({"type": "pigeon", "recipient": "ann"}, "Unsupported notification type"),
    ],
)
async def test_what_it_cannot_send_is_refused(folder, box, body, error):
    async with node(folder, box) as (_, client):
        response = await client.post("/notifications/send", json=body)
        assert response.status_code == 400
        assert response.json() == {"error": error}
        assert box.mails == []


async def test_a_login_that_fails_harms_neither_plugin_nor_the_next_mail(folder, box):
    """Line 558 swallows it: the reply says "sent" all the same, only the log knows better."""
    async with node(folder, box, password="wrong") as (app, client):
        await app.emit_event({"type": "user.created", "data": {"email": "ann@example.org"}})
        response = await client.post(
            "/notifications/send",
            json={"type": "email", "recipient": "a@b.c", "template": "password_reset"}
            | {"data": {"reset_link": "x"}},
        )
        assert response.json() == {"message": "Email notification sent"}
        assert box.mails == []


async def test_data_that_lacks_what_the_template_names_is_a_fault_of_that_request(folder, box):
    """Line 553 formats outside of its `try`: a KeyError, and a 500 for the caller."""
    async with node(folder, box) as (_, client):
        send = {"type": "email", "recipient": "a@b.c", "template": "password_reset"}
        response = await client.post("/notifications/send", json=send)
        assert response.status_code == 500
        assert "reset_link" not in response.text
        response = await client.post(
            "/notifications/send", json=send | {"data": {"reset_link": "https://example.org"}}
        )
        assert response.status_code == 200
        assert len(box.mails) == 1
