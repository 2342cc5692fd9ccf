"""Templates: the three there are, and what is said when one cannot be filled."""

import pytest
from notifications.templates import CannotRender, render


@pytest.mark.parametrize(
    ("template", "data", "mail"),
    [
        (
            "welcome_email",
            {"app_name": "Shop", "username": "Ann"},
            ("Welcome to Shop!", "Hello Ann, welcome to our platform!"),
        ),
        (
            "password_reset",
            {"reset_link": "https://a/b"},
            ("Password Reset Request", "Click here to reset your password: https://a/b"),
        ),
        ("generic", {"subject": "Hi", "message": "a\nb", "more": 1}, ("Hi", "a\nb")),
        ("generic", {"subject": 7, "message": 0}, ("7", "0")),
        ("generic", {"subject": "{message}", "message": "{subject}"}, ("{message}", "{subject}")),
    ],
)
def test_a_template_is_filled_with_its_data(template, data, mail):
    assert render(template, data) == mail


@pytest.mark.parametrize(
    ("template", "data", "words"),
    [
        ("nope", {}, "there is no template 'nope'; there are welcome_email, password_reset"),
        ("generic", {}, "the template 'generic' needs data for subject, message"),
        ("generic", {"subject": "a", "message": ""}, "'generic' needs data for message"),
        ("password_reset", {"reset_link": None}, "'password_reset' needs data for reset_link"),
    ],
)
def test_what_cannot_be_filled_is_refused_with_what_it_needs(template, data, words):
    with pytest.raises(CannotRender) as caught:
        render(template, data)
    assert words in str(caught.value)
