"""The kit as a whole: what is in the shop window is on the page."""

from pathlib import Path

import pytest

import nexus_actors.testing as kit

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
RETURNED = {"Alone", "Faults", "Probe", "Switch"}
"""What one gets from the others, and never names."""


@pytest.mark.parametrize("name", sorted(set(kit.__all__) - RETURNED))
def test_every_name_is_on_the_page(name):
    assert f"`{name}" in PAGE


@pytest.mark.parametrize("kind", [kit.Faults, kit.Probe, kit.TestApplication])
def test_every_public_method_is_on_the_page(kind):
    methods = [
        name for name, value in vars(kind).items() if callable(value) or isinstance(value, property)
    ]
    missing = [name for name in methods if not name.startswith("_") and name not in PAGE]
    assert missing == []
