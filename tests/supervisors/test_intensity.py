"""The window of restarts: inclusive, told the time, never larger than needed."""

import pytest

from supervisors.intensity import RestartWindow


@pytest.mark.parametrize(
    ("intensity", "times", "allowed"),
    [
        (0, [0.0], [False]),
        (1, [0.0, 0.0], [True, False]),
        (1, [0.0, 5.0], [True, False]),  # exactly a period ago still counts
        (1, [0.0, 5.001], [True, True]),
        (3, [2.0, 3.0, 4.0, 4.5], [True, True, True, False]),
        (3, [-2.0, 3.0, 4.0, 4.5], [True, True, True, True]),
        (2, [0, 1, 2, 7.5, 8], [True, True, False, True, True]),
    ],
)
def test_a_restart_is_allowed_while_no_more_fall_into_the_window(intensity, times, allowed):
    window = RestartWindow(intensity, 5.0)
    assert [window.add(time) for time in times] == allowed


def test_no_more_times_are_kept_than_it_takes_to_decide():
    window = RestartWindow(3, 5.0)
    for step in range(100):
        window.add(step / 100)
    assert len(window) == 4


def test_what_no_longer_counts_is_forgotten_also_without_a_restart():
    window = RestartWindow(3, 5.0)
    for time in (0.0, 1.0, 3.0):
        window.add(time)
    window.prune(6.0)
    assert len(window) == 2


def test_an_intensity_may_be_any_whole_number():
    assert RestartWindow(10**30, 5.0).add(0.0)
