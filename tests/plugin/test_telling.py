"""What is told of a plugin's life: on which message it crashed, which rule acted, who saw what."""

import pytest
import trio

from nexus_actors.actors.history import Faulted, StartedLate
from nexus_actors.errors import ActorRestarted, ActorStopped
from nexus_actors.events import event_handler
from nexus_actors.http import get
from nexus_actors.plugin import Plugin
from nexus_actors.plugin.manifest import Supervision
from nexus_actors.plugin.reports import (
    Crashed,
    Down,
    Ended,
    NotStarted,
    NotStopped,
    Senders,
    Started,
)
from nexus_actors.services import Service, inject
from supervisors import Backoff

WRONG: list[bool] = []
"""Whether ``initialize`` raises, for one object after the other; False when it is empty."""


class Mailer(Service):
    async def lose(self):
        self.fail(OSError("no post today"))


class Shop(Plugin):
    says = {"concurrency": 10}

    def __init__(self, config):
        super().__init__(config)
        self.mailer = inject(Mailer)

    async def initialize(self):
        if WRONG and WRONG.pop(0):
            raise OSError("no luck")

    @event_handler("boom")
    async def on_boom(self, event):
        await trio.sleep(1)
        raise ValueError("boom")

    @event_handler("task")
    async def on_task(self, event):
        async def lost():
            raise KeyError("lost")

        self.nursery.start_soon(lost)

    @event_handler("note")
    async def on_note(self, event):
        pass

    @event_handler("mail")
    async def on_mail(self, event):
        await self.mailer.lose()

    @get("/slow")
    async def slow(self):
        await trio.sleep_forever()

    @get("/fault")
    async def fault(self):
        raise ValueError("not today")


class Single(Shop):
    says = {}


class Brief(Shop):
    says = {"supervision": Supervision(restart="temporary")}


class Cleanly(Plugin):
    says = {"supervision": Supervision(shutdown=2.0)}

    async def cleanup(self):
        raise RuntimeError("not clean")


@pytest.fixture(autouse=True)
def _well():
    WRONG.clear()


def told(cell, kind=None):
    return [str(each) for each in cell.history if kind is None or isinstance(each, kind)]


async def ask(nest, answers):
    try:
        await nest.request("GET", "/slow", deadline=600.0)
    except (ActorRestarted, ActorStopped) as error:
        answers.append(str(error))


async def test_a_crash_is_told_with_its_message_the_rule_and_what_its_senders_saw(
    run_plugins, autojump_clock, caplog
):
    answers = []
    async with run_plugins(Single) as nest, trio.open_nursery() as nursery:
        cell = nest.cell("single")
        nest.emit("boom")
        await nest.until(lambda: cell.in_hand)
        nest.emit("boom")
        nursery.start_soon(ask, nest, answers)
        await nest.until(lambda: cell.mailbox.waiting == 2)
        await nest.until_running("single", 2)
        nursery.cancel_scope.cancel()
    first = told(cell)[:3]
    assert first == [
        "started (incarnation 1)",
        "crashed on the event boom in on_boom() from test: ValueError: boom; it is permanent, so "
        "it is started again (rest_for_one; restart 1 of 5 in 30 s); 1 message went to dead "
        "letters, 2 messages wait for its return",
        "started again (incarnation 2)",
    ]
    assert first[1] in caplog.messages, "the log says the same"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ("boom", "crashed on the event boom in on_boom() from test: ValueError: boom; "),
        ("task", "crashed: KeyError: 'lost'; "),
        ("mail", "its service Mailer crashed: OSError: no post today; "),
    ],
)
async def test_callers_whose_message_was_in_hand_get_503_whatever_crashed(
    run_plugins, autojump_clock, event, words
):
    answers = []
    async with run_plugins(Shop) as nest, trio.open_nursery() as nursery:
        cell = nest.cell("shop")
        for _ in range(3):
            nursery.start_soon(ask, nest, answers)
        await nest.until(lambda: len(cell.in_hand) == 3)
        nest.emit(event)
        await nest.until(lambda: len(answers) == 3)
        await nest.until_running("shop", 2)
    (crash,) = told(cell, Crashed)
    assert crash.startswith(words)
    also = "started again with 'plugin' (" if event == "mail" else "started again ("
    assert also in crash
    # with a service that crashed, it is stopped after that was told
    again = told(cell, Started)[-1]
    assert "; 3 callers got 503" in (again if event == "mail" else crash)
    assert (again == "started again (incarnation 2)") == (event != "mail")


async def test_a_fault_in_answering_is_kept_with_its_request_and_is_no_crash(
    run_plugins, autojump_clock
):
    async with run_plugins(Shop) as nest:
        for number in range(50):
            with pytest.raises(Exception, match="failed while answering"):
                await nest.request("GET", "/fault", id=f"r{number}")
        lines = told(nest.cell("shop"))
    assert lines[0] == "started (incarnation 1)", "a flood of faults does not wash it away"
    assert lines[-1] == "failed on GET /fault in fault(): ValueError: not today (request r49)"
    assert len(lines) == 21


async def test_a_restart_that_fails_is_told_with_the_next_try(run_plugins, autojump_clock):
    WRONG.extend([False, True, True])
    async with run_plugins(Shop) as nest:
        nest.emit("boom")
        await nest.until_running("shop", 2)
        assert told(nest.cell("shop"), NotStarted) == [
            "did not start again: OSError: no luck; it is tried again at once (1 of 5 restarts in "
            "30 s are used)",
            "did not start again: OSError: no luck; it is tried again at once (2 of 5 restarts in "
            "30 s are used)",
        ]


async def test_one_that_never_came_up_is_told_once_a_try_and_its_places_are_logged(
    run_plugins, autojump_clock, caplog
):
    WRONG.extend([True, True])
    async with run_plugins(Shop) as nest:
        lines = told(nest.cell("shop"))
    assert [line.partition("; next try in ")[0] for line in lines] == [
        "failed: OSError: no luck",
        "failed: OSError: no luck",
        "started (incarnation 1)",
    ]
    logged = [message for message in caplog.messages if "no luck" in message]
    assert len(logged) == 2
    assert all("in Shop.initialize" in message for message in logged)


async def test_one_over_its_intensity_is_told_with_who_was_turned_away(run_plugins, autojump_clock):
    answers = []
    WRONG.extend([False, *[True] * 5])
    async with run_plugins(Single) as nest, trio.open_nursery() as nursery:
        cell = nest.cell("single")
        nest.emit("boom")
        await nest.until(lambda: cell.in_hand)
        nursery.start_soon(ask, nest, answers)
        nursery.start_soon(ask, nest, answers)
        await nest.until(lambda: cell.mailbox.waiting == 2)
        nest.emit("task")
        await nest.until(lambda: cell.state == "suspended")
        (down,) = [each for each in cell.history if isinstance(each, Down)]
        await nest.until_running("single", 2)
        nursery.cancel_scope.cancel()
    assert down.senders == Senders(turned_away=2, waiting=1)
    assert str(down).startswith("suspended: more than 5 restarts in 30 s; the last crash: OSError")
    assert str(down).endswith("; 2 callers got 503, 1 message waits for its return")
    assert answers[0].startswith("single is suspended; next try in ")


async def test_a_temporary_one_that_crashed_is_told_to_have_ended(run_plugins, autojump_clock):
    answers = []
    async with run_plugins(Brief) as nest, trio.open_nursery() as nursery:
        cell = nest.cell("brief")
        nest.emit("boom")
        await nest.until(lambda: cell.in_hand)
        nursery.start_soon(ask, nest, answers)
        await nest.until(lambda: cell.state == "stopped")
        assert told(cell, Ended) == ["ended: temporary: ValueError: boom; 1 caller got 503"]


async def test_a_clean_up_that_fails_at_the_stop_is_told(run_plugins, autojump_clock):
    async with run_plugins(Cleanly) as nest:
        cell = nest.cell("cleanly")
    assert told(cell, NotStopped) == [
        "it did not stop in good order within 2 s: RuntimeError: not clean"
    ]


async def test_callers_wait_with_a_plugin_that_waits_for_five_seconds_and_events_for_ever(
    run_plugins, autojump_clock
):
    there, answers = trio.Event(), []

    async def needs(waits):
        waits("the moon")
        await trio.sleep(4)
        waits("the sun")  # another reason does not make callers wait anew
        await there.wait()

    async with (
        run_plugins(Single, needs=needs, wait=False) as nest,
        trio.open_nursery() as nursery,
    ):
        cell = nest.cell("single")
        await nest.until(lambda: cell.state == "waiting")
        began = trio.current_time()
        nest.emit("note")
        nursery.start_soon(ask, nest, answers)
        await nest.until(lambda: answers)
        assert 4.9 <= trio.current_time() - began <= 5.1
        await ask(nest, answers)
        assert trio.current_time() - began <= 5.1, "the second one is told at once"
        assert answers == ["single is waiting for what it needs; ask again in 5 s"] * 2
        nest.emit("note")
        assert cell.mailbox.waiting == 2
        assert told(cell) == ["waits for the moon", "waits for the sun"]

        there.set()
        await nest.until_running("single")
        nursery.start_soon(ask, nest, answers)
        await nest.until(lambda: cell.in_hand)
        nursery.cancel_scope.cancel()
    account = cell.mailbox.statistics()
    assert (account.refused, account.faulted, account.handled) == (1, 1, 2)


class Slowly(Shop):
    """Restarted with pauses."""

    says = {"supervision": Supervision(backoff=Backoff(first=20, jitter=0))}


async def test_with_a_backoff_restarts_have_pauses_and_callers_are_told_when_to_ask_again(
    run_plugins, autojump_clock
):
    answers = []
    async with run_plugins(Slowly) as nest:
        cell = nest.cell("slowly")
        nest.emit("task")
        await nest.until_running("slowly", 2)  # the first one at once
        began = trio.current_time()
        nest.emit("task")
        await nest.until(lambda: cell.state == "suspended")
        await ask(nest, answers)
        await nest.until_running("slowly", 3)
        assert 19.9 <= trio.current_time() - began <= 20.1
    assert answers == ["slowly is suspended; next try in 20.0 s"]
    assert "so it is started again in 20 s (rest_for_one; " in told(cell, Crashed)[1]


class Flapping(Shop):
    """Up for a while, never for a minute."""

    says = {"supervision": Supervision(intensity=5, period=300.0)}

    async def initialize(self):
        async def fall():
            await trio.sleep(15)
            raise OSError("again")

        self.nursery.start_soon(fall)


async def test_one_that_flaps_gets_ever_longer_pauses_however_long_a_life_lasts(
    run_plugins, autojump_clock
):
    async with run_plugins(Flapping) as nest:
        cell = nest.cell("flapping")

        def pauses():
            return [each.pause for each in cell.history if isinstance(each, Down)]

        await nest.until(lambda: len(pauses()) == 4)
    assert pauses() == pytest.approx([1, 2, 4, 8], rel=0.11)


class Fleeting(Brief):
    """Temporary, with a service that crashes."""


async def test_a_temporary_one_whose_service_crashed_is_stopped_and_its_callers_are_told(
    run_plugins, autojump_clock
):
    answers = []
    async with run_plugins(Fleeting) as nest, trio.open_nursery() as nursery:
        cell = nest.cell("fleeting")
        nursery.start_soon(ask, nest, answers)
        await nest.until(lambda: cell.in_hand)
        nest.objects["fleeting"][0].mailer._fail(OSError("no post today"))
        await nest.until(lambda: cell.state == "stopped")
        await ask(nest, answers)
    assert [answer.partition(":")[0] for answer in answers] == [
        "fleeting is stopping",
        "fleeting is stopped",
    ]
    assert told(cell, Ended) == ["ended: temporary: its service Mailer crashed; 1 caller got 503"]


STOPPED: list[str] = []


class Tidy(Service):
    async def cleanup(self):
        await trio.sleep(1)
        STOPPED.append("tidy")


class Endless(Plugin):
    """Its initialize does not end while a service is up."""

    def __init__(self, config):
        super().__init__(config)
        self.tidy = inject(Tidy)

    async def initialize(self):
        await trio.sleep_forever()


async def test_a_stop_while_it_starts_leaves_services_their_time_to_clean_up(
    run_plugins, autojump_clock
):
    STOPPED.clear()
    async with run_plugins(Endless, wait=False) as nest:
        await nest.until(lambda: nest.objects["endless"])
        await trio.testing.wait_all_tasks_blocked()
    assert STOPPED == ["tidy"]


class Late(Service):
    async def initialize(self):
        with trio.CancelScope(shield=True):
            await trio.sleep(31)


class Patient(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self.late = inject(Late)

    async def initialize(self):
        with trio.CancelScope(shield=True):
            await trio.sleep(32)


async def test_starts_that_shield_themselves_past_their_deadline_are_told(
    run_plugins, autojump_clock, caplog
):
    async with run_plugins(Patient) as nest:
        why = "past its deadline of 30 s: it shields itself"
        assert f"Late: initialize took 31.0 s, {why}" in caplog.text
        (line,) = told(nest.cell("patient"), StartedLate)
        assert line.startswith(f"initialize took 32.0 s, {why}")
        assert line in caplog.text


class Hanging(Plugin):
    says = {"fault_limit": 1}

    @event_handler("hang", timeout=3)
    async def on_hang(self, event):
        await self.deeper()

    async def deeper(self):
        await trio.sleep_forever()

    @event_handler("two")
    async def on_two(self, event):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.fall, KeyError("one"))
            nursery.start_soon(self.fall, OSError("two"))

    async def fall(self, error):
        try:
            await trio.sleep(1)
        finally:
            raise error

    @get("/late", timeout=2)
    async def late(self):
        await self.deeper()

    @get("/fault")
    async def fault(self):
        raise ValueError("not today")

    async def cleanup(self):
        raise RuntimeError("not clean")


async def test_one_that_hung_is_told_with_the_place_where_it_did(run_plugins, autojump_clock):
    async with run_plugins(Hanging) as nest:
        cell = nest.cell("hanging")
        with pytest.raises(Exception, match="no reply within"):
            await nest.request("GET", "/late")
        nest.emit("hang")
        await nest.until_running("hanging", 2)
        late, crash = [each for each in cell.history if isinstance(each, Faulted | Crashed)]
    for report in (late, crash):
        assert "deeper" in report.failure.words()
    assert crash.why == "HandlerTimeout: on_hang did not end within 3 s"


async def test_a_group_is_told_by_its_members_and_a_bad_clean_up_is_told(
    run_plugins, autojump_clock
):
    async with run_plugins(Hanging) as nest:
        cell = nest.cell("hanging")
        nest.emit("two")
        await nest.until_running("hanging", 2)
        (crash,) = told(cell, Crashed)
    assert "KeyError: 'one'" in crash
    assert "OSError: two" in crash
    assert "cleanup failed: RuntimeError: not clean" in told(cell)


async def test_a_fault_that_was_one_too_many_is_told_as_that(run_plugins, autojump_clock):
    async with run_plugins(Hanging) as nest:
        cell = nest.cell("hanging")
        for _ in range(2):
            with pytest.raises(Exception, match="failed while answering"):
                await nest.request("GET", "/fault")
        await nest.until_running("hanging", 2)
        (crash,) = told(cell, Crashed)
    assert crash.startswith(
        "crashed on GET /fault in fault(), the fault that was one too many (fault_limit 1 in "
        "60 s): ValueError: not today"
    )


class Unready(Tidy):
    async def initialize(self):
        await trio.sleep_forever()


class Waiting(Plugin):
    """Its service's initialize does not end."""

    def __init__(self, config):
        super().__init__(config)
        self.unready = inject(Unready)


async def test_a_stop_while_a_service_starts_ends_that_start_at_once_and_lets_it_clean_up(
    run_plugins, autojump_clock
):
    STOPPED.clear()
    async with run_plugins(Waiting, wait=False) as nest:
        await nest.until(lambda: nest.objects["waiting"])
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
    assert STOPPED == ["tidy"]
    assert trio.current_time() - began < 3, "not only when the time for its start was up"
