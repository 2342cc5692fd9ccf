"""Exit reasons are values; exceptions become words and leave nothing of themselves behind."""

import gc
import weakref

import pytest

from supervisors import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Exit,
    ExitReason,
    error,
    from_exception,
    shutdown_with,
)


def caught(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as raised:  # noqa: BLE001 - to have a traceback on it
        return raised


@pytest.mark.parametrize(
    ("reason", "kind", "abnormal", "term", "words"),
    [
        (NORMAL, "normal", False, "normal", "normal"),
        (SHUTDOWN, "shutdown", False, "shutdown", "shutdown"),
        (shutdown_with("why"), "shutdown", False, ("shutdown", "why"), "shutdown: why"),
        (KILLED, "killed", True, "killed", "killed"),
        (error("crash"), "error", True, "crash", "error: crash"),
    ],
)
def test_a_reason_says_what_kind_it_is(reason, kind, abnormal, term, words):
    assert (reason.kind, reason.abnormal, reason.term, str(reason)) == (kind, abnormal, term, words)


def test_equal_reasons_are_equal_values():
    assert shutdown_with(3) == shutdown_with(3) != shutdown_with(4)
    assert {error("a"), error("a")} == {error("a")}


def test_exit_wants_an_exit_reason():
    with pytest.raises(TypeError, match=r"Exit wants an ExitReason.*'crash'"):
        Exit("crash")  # type: ignore[arg-type]


def test_an_exit_is_its_reason_however_deep_in_groups_of_one():
    exc = ExceptionGroup("outer", [ExceptionGroup("inner", [Exit(shutdown_with("done"))])])
    assert from_exception(exc) == shutdown_with("done")


def test_an_exit_beside_another_error_is_an_error():
    reason = from_exception(ExceptionGroup("both", [Exit(NORMAL), ValueError("boom")]))
    assert reason.kind == "error"


def test_a_failure_has_type_message_and_places():
    failure = error(caught(ValueError("boom"))).failure
    assert failure is not None
    assert str(failure) == "ValueError: boom"
    (file, line, function) = failure.triples[-1]
    assert file == __file__
    assert line == caught.__code__.co_firstlineno + 2
    assert function == "caught"


def test_a_type_from_a_module_is_named_with_it():
    class Odd(Exception):
        pass

    failure = error(Odd()).failure
    assert failure is not None
    assert failure.type == f"{__name__}.{Odd.__qualname__}"
    assert str(failure) == failure.type


def test_a_group_of_one_is_told_as_its_member_with_the_group_among_its_causes():
    failure = from_exception(caught(ExceptionGroup("nursery", [ValueError("boom")]))).failure
    assert failure is not None
    assert str(failure) == "ValueError: boom"
    assert [(cause.relation, cause.type) for cause in failure.causes] == [
        ("group", "ExceptionGroup")
    ]


def test_a_group_of_several_names_them_all():
    failure = from_exception(ExceptionGroup("two", [ValueError("a"), KeyError("b")])).failure
    assert failure is not None
    assert [(c.relation, str(c)) for c in failure.causes] == [
        ("member", "ValueError: a"),
        ("member", "KeyError: 'b'"),
    ]


def test_causes_and_contexts_are_told():
    def chain() -> None:
        try:
            try:
                raise KeyError("first")
            except KeyError as first:
                raise ValueError("second") from first
        except ValueError:
            raise TypeError("third")  # noqa: B904 - the context is what is tested

    with pytest.raises(TypeError) as info:
        chain()
    words = from_exception(info.value).failure.words()  # type: ignore[union-attr]
    for part in (
        "TypeError: third",
        "while handling:",
        "caused by:",
        "KeyError: 'first'",
        __file__,
    ):
        assert part in words


def count(failure) -> int:
    return sum(1 + count(cause) for cause in failure.causes)


def wide(breadth: int, depth: int) -> BaseException:
    """A group whose members were all raised while handling one like it, so that there are
    breadth ** depth ways to go."""
    if depth == 0:
        return ValueError("innermost")
    inner, members = wide(breadth, depth - 1), []
    for number in range(breadth):
        member = KeyError(number)
        member.__context__ = inner
        members.append(member)
    return ExceptionGroup("wide", members)


def test_no_more_than_a_hundred_causes_are_told_the_nearest_first():
    failure = from_exception(wide(30, 4)).failure
    assert failure is not None
    assert count(failure) == 100
    # 30 members, the groups that each of these was raised while handling, 40 of their members
    assert [len(cause.causes) for cause in failure.causes] == [1] * 30
    groups = [cause.causes[0] for cause in failure.causes]
    assert [(len(group.causes), group.left_out) for group in groups] == [
        (30, 0), (10, 20), *[(0, 30)] * 28
    ]  # fmt: skip
    words = failure.words()
    assert words.count("30 more causes are left out") == 28
    assert len(words) < 20_000


@pytest.mark.parametrize("links", [7, 8, 9, 20])
def test_a_long_chain_of_causes_is_told_eight_links_deep(links):
    exc = ValueError("innermost")
    for number in range(links):
        outer = ValueError(f"link {number}")
        outer.__cause__, exc = exc, outer
    failure = from_exception(exc).failure
    assert count(failure) == min(links, 8)
    assert ("1 more cause is left out" in failure.words()) is (links > 8)


def test_a_circle_of_exceptions_is_told_once_and_nothing_of_it_is_left_out():
    exc, other = ValueError("a"), KeyError("b")
    exc.__context__, other.__context__ = other, exc
    failure = from_exception(exc).failure
    assert count(failure) == 1
    assert "left out" not in failure.words()


def test_groups_of_one_are_told_up_to_fifty_of_them():
    exc: Exception = ValueError("boom")
    for _ in range(200):
        exc = ExceptionGroup("nursery", [exc])
    failure = from_exception(exc).failure
    assert str(failure) == "ValueError: boom"
    assert (count(failure), failure.left_out) == (50, 150)


def test_only_the_innermost_places_of_a_deep_traceback_are_kept():
    def sink(depth: int) -> None:
        if depth == 0:
            raise ValueError("deep")
        sink(depth - 1)

    with pytest.raises(ValueError, match="deep") as info:
        sink(200)
    failure = from_exception(info.value).failure
    assert failure is not None
    assert len(failure.triples) == 50
    assert failure.triples[-1][2].endswith("sink")


@pytest.mark.parametrize("fault", [RuntimeError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exception_that_cannot_say_its_message_is_still_told(fault):
    class Mute(Exception):
        def __str__(self) -> str:
            raise fault

    failure = from_exception(Mute()).failure
    assert failure is not None
    assert failure.message == f"<its message could not be made: {fault.__name__}>"


def test_a_very_long_message_is_cut():
    failure = from_exception(ValueError("x" * 10_000)).failure
    assert failure is not None
    assert len(failure.message) == 2000


def test_a_reason_keeps_neither_the_exception_nor_its_class_alive():
    def make() -> tuple[ExitReason, weakref.ref[type]]:
        local = type("Local", (Exception,), {})
        return from_exception(caught(local("x"))), weakref.ref(local)

    reason, cls = make()
    gc.collect()
    assert cls() is None
    assert str(reason.failure).endswith("Local: x")
