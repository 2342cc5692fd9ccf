"""The rules of restarting, each over its whole table."""

import pytest

from supervisors import KILLED, NORMAL, SHUTDOWN, error, shutdown_with
from supervisors.strategy import affected, ends_supervisor, expected_ending, must_restart, vanishes

ENDINGS = {
    "normal": NORMAL,
    "shutdown": SHUTDOWN,
    "shutdown_info": shutdown_with("info"),
    "killed": KILLED,
    "error": error("crash"),
}
RESTARTED = {
    #             normal shutdown shutdown_info killed error
    "permanent": (True, True, True, True, True),
    "transient": (False, False, False, True, True),
    "temporary": (False, False, False, False, False),
}


@pytest.mark.parametrize(
    ("restart", "ending", "expected"),
    [
        (restart, ending, expected)
        for restart, row in RESTARTED.items()
        for ending, expected in zip(ENDINGS, row, strict=True)
    ],
)
def test_a_child_is_restarted_by_its_type_and_way_of_ending(restart, ending, expected):
    assert must_restart(restart, ENDINGS[ending]) is expected


def test_only_a_temporary_spec_goes_with_its_process():
    assert [vanishes(one) for one in RESTARTED] == [False, False, True]


@pytest.mark.parametrize(
    ("strategy", "failed", "expected"),
    [
        ("one_for_one", "a", "a"),
        ("one_for_one", "c", "c"),
        ("simple_one_for_one", "b", "b"),
        ("one_for_all", "a", "abcd"),
        ("one_for_all", "d", "abcd"),
        ("rest_for_one", "a", "abcd"),
        ("rest_for_one", "b", "bcd"),
        ("rest_for_one", "d", "d"),
    ],
)
def test_the_strategy_says_who_is_restarted_with_whom(strategy, failed, expected):
    assert affected(strategy, list("abcd"), failed) == list(expected)


def test_one_for_one_does_not_look_at_the_siblings():
    def never():
        raise AssertionError
        yield

    assert affected("one_for_one", never(), "a") == ["a"]


@pytest.mark.parametrize(
    ("auto_shutdown", "significant", "others_run", "expected"),
    [
        ("never", True, False, False),
        ("never", False, False, False),
        ("any_significant", True, True, True),
        ("any_significant", True, False, True),
        ("any_significant", False, False, False),
        ("all_significant", True, True, False),
        ("all_significant", True, False, True),
        ("all_significant", False, False, False),
    ],
)
def test_a_significant_ending_ends_the_supervisor_by_its_flag(
    auto_shutdown, significant, others_run, expected
):
    assert ends_supervisor(auto_shutdown, significant, lambda: others_run) is expected


@pytest.mark.parametrize("brutal", [False, True])
@pytest.mark.parametrize("restart", RESTARTED)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_stopped_child_ended_as_expected_if_it_obeyed(restart, brutal, ending):
    obeyed = ending == ("killed" if brutal else "shutdown")
    excused = restart != "permanent" and ending in ("normal", "shutdown", "shutdown_info")
    assert expected_ending(restart, brutal, ENDINGS[ending]) is (obeyed or excused)
