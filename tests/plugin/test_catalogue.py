"""What is read from a plugin's class when it is loaded, and what is refused there."""

from __future__ import annotations

import pytest

from nexus_actors.errors import Invalid
from nexus_actors.events import event_handler
from nexus_actors.plugin import Plugin
from nexus_actors.plugin.catalogue import catalogue_of


def handler_of(parameters: str) -> type[Plugin]:
    names: dict = {}
    source = f"async def on_paid({parameters}): pass"
    exec(source, names)
    return type("Shop", (Plugin,), {"on_paid": event_handler("order.paid")(names["on_paid"])})


@pytest.mark.parametrize("parameters", ["self", "self, event, more", "self, *, event", ""])
def test_an_event_handler_that_cannot_take_the_event_is_refused(parameters):
    with pytest.raises(Invalid) as caught:
        catalogue_of(handler_of(parameters))
    (fault,) = caught.value.faults
    assert fault.where.endswith(":1 on_paid")
    assert f"this one takes ({parameters})" in fault.what
    assert fault.fix == "write on_paid(self, event)"


@pytest.mark.parametrize(
    "parameters", ["self, event", "self, event, more=None", "self, *events", "self, e, **more"]
)
def test_an_event_handler_may_take_more_as_long_as_the_event_is_enough(parameters):
    assert [entry.handler for entry in catalogue_of(handler_of(parameters)).events] == ["on_paid"]
