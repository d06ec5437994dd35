"""Steps at their boundaries: what is waited for, until when, and what has to hold meanwhile."""

import pytest

from hil.run.outcome import StepOutcome
from hil.run.steps import Steps
from hil.scenario.words import Step

TICK_S = 0.1


def looked(true_s: list[tuple[float, float]], *steps: Step, length_s: float = 20.0) -> tuple[StepOutcome, ...]:
    """Return the outcomes where `it` is true from begin to end (not counted) of each pair, seen ten times a second.

    `other` is true at all other times.
    """
    under_way = Steps(steps)
    for tick in range(round(length_s / TICK_S) + 1):
        t_s = tick * TICK_S  # not rounded: sums of ticks fall short of their marks
        it = any(round(begin_s / TICK_S) <= tick < round(end_s / TICK_S) for begin_s, end_s in true_s)
        under_way.look(t_s, lambda text, it=it: it if text == "it" else not it)  # type: ignore[misc]
    return under_way.outcomes()


ALWAYS = [(0.0, 99.0)]
UNTIL = [  # true from to, within_s, maintain_s -> done at, "" or what is wrong
    ([(0.0, 99.0)], 5.0, 0.0, 0.0, ""),
    ([(5.0, 99.0)], 5.0, 0.0, 5.0, ""),
    ([(5.1, 99.0)], 5.0, 0.0, 5.1, "within 5 s"),
    ([(5.1, 99.0)], None, 0.0, 5.1, ""),
    ([(3.0, 3.1)], 5.0, 0.0, 3.0, ""),
    ([(3.0, 99.0)], 5.0, 2.0, 5.0, ""),
    ([(5.0, 99.0)], 5.0, 10.0, 15.0, ""),  # reached in time; kept beyond within_s
    ([(1.0, 2.0), (3.0, 99.0)], 5.0, 2.0, 5.0, ""),  # a break begins it anew
    ([(1.0, 4.0), (5.1, 99.0)], 5.0, 5.0, 5.1, "within 5 s"),  # too late for that
    ([(1.0, 6.0), (6.1, 99.0)], 5.0, 9.0, 6.0, "within 5 s"),
    ([(1.0, 3.0), (3.1, 99.0)], None, 2.0, 5.1, ""),  # 1.0 to 2.9 is not 2 s
    ([], 5.0, 0.0, 5.1, "within 5 s"),
]


@pytest.mark.parametrize(("true_s", "within_s", "maintain_s", "done_s", "wrong"), UNTIL)
def test_until(
    true_s: list[tuple[float, float]], within_s: float | None, maintain_s: float, done_s: float, wrong: str
) -> None:
    (one,) = looked(true_s, Step(until="it", within_s=within_s, maintain_s=maintain_s))
    assert one.began_s == 0.0
    assert one.done_s == pytest.approx(done_s)
    assert wrong in one.wrong and bool(wrong) == bool(one.wrong)


@pytest.mark.parametrize(("key", "it"), [("always", "it"), ("never", "other")])
@pytest.mark.parametrize(
    ("true_s", "done_s", "held"),
    [
        ([(0.0, 99.0)], 5.0, True),
        ([(0.0, 5.1)], 5.0, True),  # the last moment counts
        ([(0.0, 5.0)], 5.0, False),
        ([(0.1, 99.0)], 0.0, False),  # and the first
        ([(0.0, 2.0), (2.1, 99.0)], 2.0, False),
    ],
)
def test_always_and_never(key: str, it: str, true_s: list[tuple[float, float]], done_s: float, held: bool) -> None:
    (one,) = looked(true_s, Step(**{key: it}, for_s=5.0))  # type: ignore[arg-type]
    assert one.done_s == pytest.approx(done_s)
    assert (one.wrong == "") == held
    assert held or f"{it} {'was true' if key == 'never' else 'was not true'} after {done_s:.1f} s" in one.wrong


def test_a_step_begins_when_the_one_before_it_is_done() -> None:
    first, second, third = looked(
        [(2.0, 99.0)], Step(until="it"), Step(always="it", for_s=3.0), Step(at_s=9.0, until="it", within_s=1.0)
    )
    assert (first.began_s, second.began_s, third.began_s) == pytest.approx((0.0, 2.0, 9.0))
    assert (first.done_s, second.done_s, third.done_s) == pytest.approx((2.0, 5.0, 9.0))
    assert not first.wrong + second.wrong + third.wrong


def test_a_step_whose_time_has_passed_begins_when_it_can() -> None:
    _, late = looked([(6.0, 99.0)], Step(until="it"), Step(at_s=1.0, until="it", within_s=1.0))
    assert late.began_s == pytest.approx(6.0)
    assert late.wrong == ""


def test_a_step_that_fails_does_not_hold_up_the_next() -> None:
    failed, done = looked([], Step(until="it", within_s=2.0), Step(never="it", for_s=1.0))
    assert failed.wrong
    assert done.began_s == failed.done_s
    assert done.wrong == ""


def test_several_steps_are_done_in_one_moment() -> None:
    outcomes = looked(ALWAYS, Step(until="it"), Step(until="it"), Step(until="it"), length_s=0.0)
    assert [(one.began_s, one.done_s, one.wrong) for one in outcomes] == [(0.0, 0.0, "")] * 3


def test_what_is_not_done_at_the_end_is_wrong() -> None:
    begun, waiting, unbegun = looked(
        [(19.0, 99.0)],
        Step(until="it", maintain_s=5.0, says="comes back"),
        Step(until="it"),
        Step(at_s=19.0, never="it", for_s=0.5),
    )
    assert begun.says == "comes back"
    assert begun.began_s == 0.0
    assert waiting.began_s is None and unbegun.began_s is None
    assert unbegun.says == "never it"
    for one in (begun, waiting, unbegun):
        assert one.done_s is None
        assert "not done when the scenario ended" in one.wrong


def test_what_is_waited_for_is_told() -> None:
    steps = Steps((Step(at_s=1.0, until="it", says="comes back"),))
    steps.look(0.0, lambda text: True)
    assert steps.now == ""
    steps.look(1.0, lambda text: False)
    assert steps.now == "comes back"
    steps.look(1.1, lambda text: True)
    assert steps.now == ""
