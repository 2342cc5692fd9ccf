"""Pauses: none at first, then growing, bounded, spread."""

import random

import pytest

from supervisors import Backoff, pause


class Fixed(random.Random):
    """Always the same end of the range."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def uniform(self, a: float, b: float) -> float:
        return {-1: a, 0: (a + b) / 2, 1: b}[self.side]


@pytest.mark.parametrize(
    ("tries", "expected"), [(0, 0), (1, 1), (2, 3), (3, 9), (4, 10), (5, 10), (10**6, 10)]
)
def test_a_pause_grows_with_the_tries_up_to_the_maximum(tries, expected):
    backoff = Backoff(first=1, factor=3, maximum=10, jitter=0)
    assert pause(backoff, tries, random.Random()) == expected


def test_without_a_backoff_there_is_no_pause():
    assert pause(None, 7, random.Random()) == 0


@pytest.mark.parametrize(("side", "expected"), [(-1, 0.75), (0, 1.0), (1, 1.25)])
def test_jitter_spreads_a_pause_to_both_sides(side, expected):
    assert pause(Backoff(first=1, jitter=0.25), 1, Fixed(side)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("first", 0),
        ("first", -1),
        ("factor", 0.5),
        ("maximum", 0),
        ("maximum", float("inf")),
        ("jitter", 1.5),
        ("jitter", -0.1),
        ("reset_after", -1),
        ("reset_after", "soon"),
        ("first", True),
        ("maximum", float("nan")),
        ("first", 10**400),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"Backoff: '{field}' must be .* not {value!r}"):
        Backoff(**{field: value})


def test_all_wrong_numbers_are_named_at_once():
    with pytest.raises(ValueError, match=r"'first'.*\n.*'jitter'"):
        Backoff(first=-1, jitter=2)
