"""Dead letters: bounded, each with its story, sent again or thrown away, and some never again."""

from __future__ import annotations

import attrs
import pytest
import trio

from nexus_actors.actors import ActorCell, DeadLetters, Message, open_system
from nexus_actors.actors.dead_letters import NoSuchLetter, NotRetried
from nexus_actors.actors.faults import failure_of
from nexus_actors.actors.reply import ReplySlot
from nexus_actors.errors import (
    ActorStopped,
    DatabaseUnavailable,
    MailboxFull,
    MessageTooLarge,
    NoSuchActor,
    RemoteError,
)


def letters_of(it, count=1):
    found = it.dead_letters.list()
    assert len(found) == count
    return found if count != 1 else found[0]


def raising(error):
    def handler():
        raise error

    return handler


async def tell_and_wait(it, payload, crashes):
    await it.address.tell(payload, sender="someone")
    await it.until(lambda: it.cell.crashes == crashes and it.cell.state == "running")


# -- what a letter tells ---------------------------------------------------------------------------


async def test_a_letter_tells_why_from_whom_since_when_and_how_it_failed(run_actor, autojump_clock):
    async with run_actor({"bad": raising(KeyError("title"))}) as it:
        began = trio.current_time()
        await tell_and_wait(it, "bad", 1)
        letter = letters_of(it)
        assert (letter.number, letter.actor, letter.kind) == (1, "it", "tell")
        assert (letter.reason, letter.sender, letter.crashes) == ("crash", "someone", 1)
        assert began <= letter.at <= trio.current_time()
        assert letter.content() == "'bad'"
        assert str(letter.report) == "KeyError: 'title'"
        file, _, function = letter.report.triples[-1]
        assert (file, function.rpartition(".")[2]) == (__file__, "handler")
        assert it.account().dead_lettered == 1


async def test_there_are_never_more_than_the_capacity_and_what_fell_off_is_counted(autojump_clock):
    letters = DeadLetters(capacity=3)
    for payload in range(10):
        letters.add("it", Message("tell", payload), "stopped")
    assert [letter.payload for letter in letters.list()] == [7, 8, 9]
    assert [letter.number for letter in letters.list()] == [8, 9, 10]
    assert (len(letters), letters.total, letters.fell_off) == (3, 10, 7)


async def test_numbers_are_never_given_twice(autojump_clock):
    letters = DeadLetters(capacity=3)
    for _ in range(2):
        letters.add("it", Message("tell", 1), "stopped")
        letters.discard(letters.total)
    assert letters.add("it", Message("tell", 1), "stopped").number == 3


@pytest.mark.parametrize(
    ("number", "words"),
    [(1, "it was retried, discarded, or fell off"), (9, "never was one"), (0, "never was one")],
)
async def test_a_number_that_is_not_there_is_told_why(autojump_clock, number, words):
    letters = DeadLetters()
    letters.add("it", Message("tell", 1), "stopped")
    letters.discard(1)
    for act in (letters.get, letters.discard, lambda n: letters.retry(n, {}.get)):
        with pytest.raises(NoSuchLetter, match=f"no dead letter {number}: .*{words}"):
            act(number)


async def test_the_list_is_of_one_actor_where_one_is_named(autojump_clock):
    letters = DeadLetters()
    for actor in ("a", "b", "a"):
        letters.add(actor, Message("tell", actor), "stopped")
    assert [letter.number for letter in letters.list("a")] == [1, 3]
    assert letters.list("c") == []


class Rude:
    def __repr__(self):
        raise RuntimeError("no words for me")


@attrs.frozen
class Telling:
    secret: str
    content: object


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        ({"a": [1]}, "{'a': [1]}"),
        ("x" * 100_000, None),
        (["y" * 1_000] * 100_000, None),
        (dict.fromkeys(range(1000), "z" * 100), None),
        (Rude(), None),
        (Telling("hidden", {"n": 1}), "{'n': 1}"),
    ],
    ids=["small", "long", "long in many", "many", "rude", "says what to show"],
)
async def test_what_it_carries_is_shown_short_whatever_it_is(autojump_clock, payload, shown):
    words = DeadLetters().add("it", Message("tell", payload), "stopped").content()
    assert len(words) <= 2000
    assert shown is None or words == shown


async def test_a_reason_that_quotes_a_long_error_stays_short(run_actor, autojump_clock):
    async with run_actor({"bad": raising(DatabaseUnavailable("x" * 10_000))}) as it:
        await it.address.tell("bad")
        await it.until(lambda: len(it.dead_letters))
        assert len(letters_of(it).reason) == 300


# -- retry -----------------------------------------------------------------------------------------


async def test_a_retry_is_a_new_accepted_message_and_the_letter_is_gone(run_actor, autojump_clock):
    broken = True
    seen = []

    def work(message):
        seen.append(message)
        if broken:
            raise ValueError("broken")

    async with run_actor({"work": work}) as it:
        await tell_and_wait(it, "work", 1)
        letter = letters_of(it)
        broken = False
        new = it.dead_letters.retry(letter.number, lambda name: it.cell)
        assert new.number != letter.message.number
        assert new.origin is letter
        assert len(it.dead_letters) == 0
        await it.until(lambda: it.account().handled == 1)
        assert [message.number for message in seen] == [letter.message.number, new.number]
        assert (it.account().accepted, it.account().dead_lettered) == (2, 1)
        assert (it.dead_letters.total, it.dead_letters.retried) == (1, 1)


async def test_a_retried_message_is_as_the_first_one_was(autojump_clock):
    letters, taken = DeadLetters(), []
    old = Message(
        "event",
        "words",
        handler="on_it",
        sender="shop",
        handle_timeout=7.0,
        mode="alone",
        on_error="reply",
        request_id="r1",
    )
    letters.add("it", old, "suspended")

    class Cell:
        overflow = "refuse"
        offer = staticmethod(taken.append)

    letters.retry(1, lambda name: Cell)
    (new,) = taken
    for field in (
        "kind", "payload", "handler", "sender", "handle_timeout", "mode", "on_error", "request_id"
    ):  # fmt: skip
        assert getattr(new, field) == getattr(old, field), field
    assert new.fate is None


async def test_a_payload_that_can_be_made_afresh_is_so(autojump_clock):
    class Used:
        def afresh(self):
            return "fresh"

    letters, taken = DeadLetters(), []

    class Cell:
        overflow = "refuse"
        offer = staticmethod(taken.append)

    letters.add("it", Message("event", Used()), "crash")
    letters.retry(1, lambda name: Cell)
    assert taken[0].payload == "fresh"


@pytest.mark.parametrize("state", ["suspended", "failed", "stopping", "stopped"])
async def test_a_letter_whose_retry_is_refused_stays(run_actor, autojump_clock, state):
    async with run_actor({"bad": raising(ValueError())}) as it:
        await tell_and_wait(it, "bad", 1)
        it.cell.state = state
        with pytest.raises(ActorStopped, match=f"it is {state}"):
            it.dead_letters.retry(1, lambda name: it.cell)
        it.cell.state = "running"
        assert letters_of(it).number == 1
        assert letters_of(it).past == ()
        assert it.account().accepted == 1


@pytest.mark.parametrize("overflow", ["refuse", "wait", "drop_newest"])
async def test_a_letter_for_a_full_mailbox_stays_and_no_second_one_is_made(
    run_actor, autojump_clock, overflow
):
    gate = trio.Event()
    async with run_actor({"bad": raising(ValueError()), "*": gate.wait}, capacity=2) as it:
        await tell_and_wait(it, "bad", 1)
        for payload in ("in hand", "waits", "waits"):
            await it.address.tell(payload)
            await it.until(lambda: it.account().in_hand)
        it.cell.overflow = overflow
        with pytest.raises(MailboxFull):
            it.dead_letters.retry(1, lambda name: it.cell)
        assert (letters_of(it).number, it.dead_letters.total) == (1, 1)
        gate.set()


async def test_a_retry_whose_letter_is_pushed_off_the_list_meanwhile_is_a_retry(autojump_clock):
    letters = DeadLetters(capacity=1)
    cell = ActorCell("it", letters, capacity=1, overflow="drop_oldest")
    cell.offer(Message("tell", "first"))
    letter = letters.add("it", Message("tell", "second"), "mailbox full")
    message = letters.retry(letter.number, lambda name: cell)
    assert [one.payload for one in cell.mailbox.waiting_messages()] == ["second"]
    assert message.fate is None
    assert [one.payload for one in letters.list()] == ["first"], "which made room for it"
    assert (letters.total, letters.retried, letters.fell_off) == (2, 1, 0)


async def test_a_letter_for_an_actor_that_is_gone_stays(autojump_clock):
    letters = DeadLetters()
    letters.add("it", Message("tell", 1), "stopped")

    def find(name):
        raise NoSuchActor(name)

    with pytest.raises(NoSuchActor):
        letters.retry(1, find)
    assert len(letters) == 1


@pytest.mark.parametrize("force", [False, True])
async def test_what_a_caller_waited_for_is_not_sent_again(autojump_clock, force):
    letters = DeadLetters()
    letters.add("it", Message("ask", 1, reply=ReplySlot()), "stopped")
    assert not letters.get(1).retryable
    with pytest.raises(NotRetried, match="nobody waits for its answer"):
        letters.retry(1, {}.get, force=force)
    assert len(letters) == 1


# -- quarantine ------------------------------------------------------------------------------------


async def test_what_kills_again_when_retried_is_quarantined_and_only_force_sends_it(
    run_actor, autojump_clock
):
    async with run_actor({"bad": raising(ValueError("poison"))}) as it:
        await tell_and_wait(it, "bad", 1)
        it.dead_letters.retry(1, lambda name: it.cell)
        await it.until(lambda: it.cell.crashes == 2 and it.cell.state == "running")
        letter = letters_of(it)
        assert (letter.number, letter.reason, letter.crashes) == (2, "quarantined", 2)
        assert [(past.number, past.reason) for past in letter.past] == [(1, "crash")]
        assert str(letter.past[0].report) == str(letter.report) == "ValueError: poison"
        with pytest.raises(NotRetried, match="quarantined: it crashed it 2 times .*--force"):
            it.dead_letters.retry(2, lambda name: it.cell)
        assert letters_of(it) is letter
        it.dead_letters.retry(2, lambda name: it.cell, force=True)
        await it.until(lambda: it.cell.crashes == 3)
        letter = letters_of(it)
        assert (letter.reason, letter.crashes) == ("quarantined", 3)
        assert [past.number for past in letter.past] == [1, 2]


@pytest.mark.parametrize(
    ("first", "second", "reason", "retryable"),
    [
        ("crash", "crash", "quarantined", False),
        ("mailbox full", "crash", "crash", True),
        ("in hand of a crash", "crash", "crash", True),
        ("crash", "mailbox full", "mailbox full", True),
        ("crash", "in hand of a crash", "in hand of a crash", True),
        ("suspended", "stopped", "stopped", True),
    ],
)
async def test_only_a_second_crash_is_quarantined(autojump_clock, first, second, reason, retryable):
    letters, taken = DeadLetters(), []

    class Cell:
        overflow = "refuse"
        offer = staticmethod(taken.append)

    letters.add("it", Message("tell", 1), first)
    letters.retry(1, lambda name: Cell)
    letter = letters.add("it", taken.pop(), second)
    assert (letter.reason, letter.retryable) == (reason, retryable)
    letters.retry(letter.number, lambda name: Cell, force=True)
    # what it did before is not forgotten for having been refused between
    assert letters.add("it", taken.pop(), "crash").reason == (
        "quarantined" if "crash" in (first, second) else "crash"
    )


async def test_the_past_of_a_letter_stays_short(autojump_clock):
    letters, taken = DeadLetters(), []

    class Cell:
        overflow = "refuse"
        offer = staticmethod(taken.append)

    message = Message("tell", 1)
    for number in range(1, 31):
        letters.add("it", message, "stopped")
        message = letters.retry(number, lambda name: Cell)
    letter = letters.add("it", message, "stopped")
    assert [past.number for past in letter.past] == [*range(21, 31)]


async def test_what_anothers_trouble_killed_may_be_retried_and_is_never_quarantined(
    run_actor, autojump_clock
):
    async with run_actor({"ask": raising(RemoteError("other", "KeyError"))}) as it:
        await it.address.tell("ask")
        for number in (1, 2, 3):
            await it.until(lambda: len(it.dead_letters))
            assert letters_of(it).retryable
            it.dead_letters.retry(number, lambda name: it.cell)
            await it.until(lambda: len(it.dead_letters))
        assert it.cell.crashes == 0
        assert it.account().accepted == 4


# -- discard ---------------------------------------------------------------------------------------


async def test_a_discarded_letter_is_gone_and_counted(autojump_clock):
    letters = DeadLetters()
    letters.add("it", Message("tell", 1), "stopped")
    letters.discard(1)
    assert (len(letters), letters.discarded, letters.total) == (0, 1, 1)


# -- bounded by bytes ------------------------------------------------------------------------------

MB = 1024**2


async def test_a_flood_of_large_letters_stays_within_its_bytes(autojump_clock):
    letters = DeadLetters(capacity=1000, max_size=64 * MB)
    for number in range(1000):
        letters.add("it", Message("tell", {"n": number, "data": bytes(10 * MB)}), "mailbox full")
        assert letters.size <= 64 * MB
        held = sum(len(one.payload["data"]) for one in letters.list())
        assert held <= letters.size
    assert [one.payload["n"] for one in letters.list()] == [*range(994, 1000)]
    assert (letters.total, letters.fell_off) == (1000, 994)


async def test_what_is_too_large_to_keep_leaves_a_letter_that_says_so(autojump_clock):
    letters = DeadLetters(max_size=4 * MB)
    letters.add("it", Message("tell", "small"), "stopped")
    message = Message("tell", {"data": bytes(2 * MB)}, sender="someone")
    letter = letters.add("it", message, "mailbox full")
    assert letters.list()[0].payload == "small", "a large one drives out none"
    assert (letter.about, letter.sender, letter.reason) == ("dict", "someone", "mailbox full")
    assert (letter.is_kept, letter.retryable) == (False, False)
    assert letter.content() == "<dict, not kept: it was over 1 MiB>"
    assert letters.size < 1000
    for force in (False, True):
        with pytest.raises(NotRetried, match="letter 2 carried was over 1 MiB, too large to be"):
            letters.retry(2, {}.get, force=force)
    letters.discard(2)
    assert [one.number for one in letters.list()] == [1]


async def test_a_crash_by_a_message_too_large_to_keep_is_told_like_any_other(
    run_actor, autojump_clock
):
    async with run_actor({"*": raising(ValueError("v"))}) as it:
        it.dead_letters.max_size = 4 * MB
        await tell_and_wait(it, bytes(2 * MB), 1)
        letter = letters_of(it)
        assert (letter.reason, letter.is_kept, letter.about) == ("crash", False, "bytes")
        assert str(letter.report) == "ValueError: v"


@pytest.mark.parametrize("end", ["discarded", "retried", "fell off"])
async def test_the_bytes_of_a_letter_that_left_are_free_again(run_actor, autojump_clock, end):
    async with run_actor({"*": lambda: None}) as it:
        letters = it.dead_letters
        letters.capacity = 1
        letters.add("it", Message("tell", bytes(MB)), "stopped")
        assert letters.size > MB
        if end == "discarded":
            letters.discard(1)
        elif end == "retried":
            letters.retry(1, lambda name: it.cell)
        else:
            letters.add("it", Message("tell", None), "stopped")
        assert letters.size == sum(one.size for one in letters.list()) < 1000


async def test_reports_count_too(autojump_clock):
    letters = DeadLetters(max_size=4 * MB)
    try:
        raise ValueError("x" * 100_000)
    except ValueError as error:
        report = failure_of(error)
    assert letters.add("it", Message("tell", 1), "crash", report=report).size > len(report.message)


async def test_a_retry_that_is_too_large_by_now_stays_a_letter(run_actor, autojump_clock):
    async with run_actor({"*": lambda: None}) as it:
        it.dead_letters.add("it", Message("tell", bytes(5000)), "stopped")
        it.cell.max_size = 1000
        with pytest.raises(MessageTooLarge):
            it.dead_letters.retry(1, lambda name: it.cell)
        assert len(it.dead_letters) == 1


async def test_a_system_may_say_how_many_it_keeps(autojump_clock):
    kept = DeadLetters(capacity=2, max_size=MB)
    async with open_system(dead_letters=kept) as system:
        assert system.dead_letters is kept
