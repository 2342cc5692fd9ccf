"""Templates: what a notification says, and how its gaps are filled."""

from collections.abc import Mapping
from string import Formatter

import attrs

__all__ = ["TEMPLATES", "CannotRender", "Template", "render"]


class CannotRender(ValueError):
    """There is no such template, or its data lack something; the message says what there is."""


@attrs.frozen
class Template:
    """A subject and a body with gaps: ``{username}``."""

    subject: str
    body: str

    @property
    def gaps(self) -> list[str]:
        """The names that its data must hold, in the order of reading."""
        parsed = [*Formatter().parse(self.subject), *Formatter().parse(self.body)]
        return [*dict.fromkeys(name for _, name, _, _ in parsed if name)]


TEMPLATES: Mapping[str, Template] = {
    "welcome_email": Template(
        "Welcome to {app_name}!",
        "Hello {username}, welcome to our platform!",
    ),
    "password_reset": Template(
        "Password Reset Request",
        "Click here to reset your password: {reset_link}",
    ),
    "generic": Template("{subject}", "{message}"),
}


def render(name: str, data: Mapping[str, object]) -> tuple[str, str]:
    """Subject and body of the template ``name``; data that it has no gap for are left out.

    Raises:
        CannotRender: there is no such template, or ``data`` lack something that it names.
    """
    template = TEMPLATES.get(name)
    if template is None:
        raise CannotRender(f"there is no template {name!r}; there are {', '.join(TEMPLATES)}")
    missing = [gap for gap in template.gaps if data.get(gap) in (None, "")]
    if missing:
        raise CannotRender(f"the template {name!r} needs data for {', '.join(missing)}")
    return template.subject.format_map(data), template.body.format_map(data)
