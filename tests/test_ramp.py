"""How fast the target moves: four rates, the watt that is left over, the way through zero."""

import pytest

from controller.engine.kept import Kept
from controller.engine.ramp import ramped
from controller.model import Ramp

ONE = Ramp(rate_w_per_s=100)
FOUR = Ramp(
    rate_w_per_s=1, discharge_up_w_per_s=10, discharge_down_w_per_s=20, charge_up_w_per_s=30, charge_down_w_per_s=40
)


@pytest.mark.parametrize(
    ("ramp", "before_w", "target_w", "elapsed_ms", "expected"),
    [
        (Ramp(), -9000, 9000, 0, (9000, 0)),
        (ONE, 0, 1000, 1000, (100, 0)),
        (ONE, 0, 100, 1000, (100, 0)),
        (ONE, 0, 99, 1000, (99, 0)),
        (ONE, 0, 101, 1000, (100, 0)),
        (ONE, 0, -1000, 1000, (-100, 0)),
        (ONE, 500, 500, 1000, (500, 0)),
        (ONE, 500, -500, 1000, (400, 0)),
        (ONE, 50, -500, 1000, (-50, 0)),
        (ONE, -50, 500, 1000, (50, 0)),
        (ONE, 0, 1000, -5, (0, 0)),
        (ONE, 0, 1000, 15, (1, 500)),
        (ONE, 0, -1000, 15, (-1, 500)),
        (FOUR, 100, 1000, 1000, (110, 0)),
        (FOUR, 100, 0, 1000, (80, 0)),
        (FOUR, -100, -1000, 1000, (-130, 0)),
        (FOUR, -100, 0, 1000, (-60, 0)),
        (FOUR, 0, 1000, 1000, (10, 0)),
        (FOUR, 0, -1000, 1000, (-30, 0)),
        (FOUR, 10, -1000, 1000, (-15, 0)),
        (FOUR, -20, 1000, 1000, (5, 0)),
        (FOUR, 20, -1000, 1000, (0, 0)),
        (Ramp(charge_up_w_per_s=30), 5000, -1000, 1000, (-30, 0)),
        (Ramp(discharge_down_w_per_s=30), 50, -1000, 1000, (20, 0)),
        (Ramp(discharge_down_w_per_s=1000), 1000, -500, 1000, (-500, 0)),  # it arrives at 0 W, and the rest is free
        (Ramp(discharge_down_w_per_s=1000), 1000, -500, 999, (1, 0)),
        (Ramp(rate_w_per_s=1000), 1000, -1000, 1500, (-500, 0)),
        (Ramp(rate_w_per_s=1999), 0, 5000, 1000, (1999, 0)),
        (Ramp(rate_w_per_s=1999), 0, -5000, 1000, (-1999, 0)),
        (Ramp(discharge_down_w_per_s=1000, charge_up_w_per_s=1), 1, -1, 500, (0, 499)),
        (FOUR, 1, 0, 49, (1, 980)),
        (FOUR, 0, 1, 99, (0, 990)),
        (FOUR, -1, 0, 24, (-1, 960)),
        (FOUR, 0, -1, 33, (0, 990)),
    ],
)
def test_the_target_moves_no_faster_than_the_rate_of_its_direction(
    ramp: Ramp, before_w: int, target_w: int, elapsed_ms: int, expected: tuple[int, int]
) -> None:
    assert ramped(ramp, before_w, target_w, elapsed_ms, 0) == expected


def test_a_slow_ramp_does_not_stand_still_under_frequent_decisions() -> None:
    at_w, rest_mw = 0, 0
    for _ in range(2000):
        at_w, rest_mw = ramped(Ramp(rate_w_per_s=1), at_w, 1000, 5, rest_mw)
    assert (at_w, rest_mw) == (10, 0)


def test_what_is_left_over_is_not_carried_past_the_end_of_a_ramp() -> None:
    assert ramped(ONE, 99, 100, 10, 999) == (100, 0)
    assert ramped(ONE, 99, 101, 10, 999) == (100, 999)
    assert ramped(Ramp(rate_w_per_s=3), 1, -5, 1, 999) == (0, 0), "nor through zero"


def test_a_result_is_kept_for_what_it_was_made_of() -> None:
    kept: Kept[str] = Kept()
    one, same, other = ["a"], ["a"], ["b"]
    assert kept.get("key", one) is None
    assert kept.keep("made", "key", one) == "made"
    assert kept.get("key", one) == "made"
    assert kept.get("other", one) is None
    assert kept.get("key", same) == "made"
    assert kept.get("key", other) is None
    assert kept.get("key", one, one) is None


def test_what_is_kept_is_bounded() -> None:
    """A hundred units keep a few results each; of more than a thousand all are let go."""
    kept: Kept[int] = Kept()
    for n in range(1000):
        kept.keep(n, n)
    assert [kept.get(0), kept.get(999)] == [0, 999]
    kept.keep(1000, 1000)
    assert [kept.get(0), kept.get(999), kept.get(1000)] == [None, None, 1000]
