"""What inject finds: services of the plugin, what the node gives, and stand-ins outside a node."""

from __future__ import annotations

import pytest

from nexus_actors.errors import NotInNode
from nexus_actors.services import Service, inject
from nexus_actors.services.container import Container
from nexus_actors.services.injecting import building


class Plain(Service):
    def __init__(self):
        self.made = True

    def double(self, n):
        return n * 2


class Configured(Service):
    pass


class Database:
    """Something a node gives ready-made."""


@pytest.fixture
def container():
    container = Container("shop", {"key": 1}, {Database: "the database"})
    token = building.set(container)
    yield container
    building.reset(token)


def test_a_provided_thing_is_given_as_it_is(container):
    assert inject(Database) == "the database"
    assert [*container.services()] == []


def test_a_service_is_named_once_and_kept_in_order(container):
    first, second = inject(Plain), inject(Configured)
    assert inject(Plain) is first
    assert [*container.services()] == [Plain, Configured]
    assert first is not second


def test_the_proxy_stands_for_the_running_instance_and_for_nothing_else(container):
    proxy = inject(Plain)
    with pytest.raises(NotInNode, match="Plain.double: the service is not running"):
        proxy.double(2)
    container.bind(Plain, container.build(Plain))
    assert proxy.double(2) == 4
    container.bind(Plain, None)
    with pytest.raises(NotInNode):
        proxy.double(2)


def test_what_is_set_on_the_proxy_is_set_on_the_instance(container):
    proxy = inject(Plain)
    with pytest.raises(NotInNode, match="Plain.made: the service is not running"):
        proxy.made = False
    plain = container.build(Plain)
    container.bind(Plain, plain)
    proxy.made = 7
    assert plain.made == 7
    del proxy.made
    assert not hasattr(plain, "made")


def test_a_service_gets_the_plugins_configuration_where_it_takes_one(container):
    assert container.build(Configured).config == {"key": 1}
    assert container.build(Plain).made


@pytest.mark.parametrize("wrong", [int, "text", None])
def test_what_is_neither_service_nor_given_is_refused_with_what_there_is(container, wrong):
    with pytest.raises(TypeError, match="neither a Service nor something the node gives"):
        inject(wrong) if wrong is not None else container.get(wrong)


def test_outside_a_node_inject_gives_a_stand_in_that_says_so_when_used():
    stand_in = inject(Database)
    with pytest.raises(NotInNode, match=r"plugin.db = AsyncMock\(\)"):
        stand_in.execute("SELECT 1")
    assert not hasattr(stand_in, "__iter__"), "it does not pretend to be anything"


@pytest.mark.parametrize("use", [lambda s: s.nursery, lambda s: s.fail(ValueError())])
def test_a_service_that_a_plugin_built_itself_has_no_node_to_turn_to(use):
    with pytest.raises(NotInNode):
        use(Configured({}))
