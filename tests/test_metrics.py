"""Metrics against closed forms and hand arithmetic, bars, and the reference follower."""

import random
from collections.abc import Callable
from math import exp, inf, isnan, log10, nan, pi, sin, sqrt
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.model import Utility
from hil.judge import Truth
from hil.judge.bars import Text, check, measured, terms
from hil.judge.metrics import METRICS
from hil.judge.recording import Recorder, Recording
from hil.judge.reference import Ideal, Reference
from hil.judge.response import (
    Accuracy,
    Step,
    beyond_limit,
    beyond_response,
    curve_band,
    first_order,
    frequency_curve,
    open_loop_s,
    overshoot_pct,
    response_band,
    rise_s,
    settle_s,
)
from hil.judge.series import Series, raster_s
from tests.truths import a_truth
from tests.words import a_site

RATED_W = 10_000.0
Wave = Callable[[float], float]


def sampled(wave: Wave, end_s: float, every_s: float = 0.05) -> Series:
    times_s = [place * every_s for place in range(round(end_s / every_s) + 1)]
    return Series(times_s, [wave(t_s) for t_s in times_s])


def recorded(
    asked: Wave,
    delivered: Wave,
    end_s: float,
    healed_s: float | None = None,
    every_s: float = 0.05,
    **others: Wave,
) -> Recording:
    """Return a run of a site that may export 6 kW and import 12 kW; the reference gives all that is asked."""
    waves = {"poi": delivered, "command": asked, "stored": lambda _: 15_000.0, "ideal": asked, "late": asked}
    waves |= {"met": lambda t_s: float(not isnan(asked(t_s)))} | others
    return Recording(
        rated_w=RATED_W,
        export_max_w=6000,
        import_max_w=12_000,
        asked=sampled(asked, end_s, every_s),
        delivered=sampled(delivered, end_s, every_s),
        healed_s=healed_s,
        **{name: sampled(wave, end_s, every_s) for name, wave in waves.items()},
    )


def step_at(at_s: float, before: float, after: float) -> Wave:
    return lambda t_s: after if t_s >= at_s - 1e-9 else before


def answer(at_s: float, before: float, after: float, tr_s: float) -> Wave:
    """Return the exact first-order answer, by powers of ten: 90 % at tr_s."""
    return lambda t_s: before + (after - before) * (1 - 10 ** (-max(0.0, t_s - at_s) / tr_s))


def metric(name: str, run: Recording) -> float:
    value = METRICS[name].of(run)
    assert value is not None, f"{name} had nothing to measure"
    return value


# --- the answer to a step ---

STEP = Step(at_s=1.0, until_s=61.0, start=0.0, end=8000.0)


@pytest.mark.parametrize("tr_s", [0.4, 2.0, 10.0])
@pytest.mark.parametrize("dead_s", [0.0, 0.2])
@pytest.mark.parametrize(("start", "end"), [(0.0, 8000.0), (3000.0, -9000.0)])
def test_exact_first_order_answer_takes_its_response_time(tr_s: float, dead_s: float, start: float, end: float) -> None:
    step = Step(at_s=1.0, until_s=61.0, start=start, end=end)
    series = sampled(answer(1.0 + dead_s, start, end, tr_s), 61.0, every_s=0.01)
    assert open_loop_s(series, step) == pytest.approx(tr_s + dead_s, abs=0.001)
    assert rise_s(series, step) == pytest.approx(tr_s * (1 - log10(1 / 0.9)), abs=0.002)
    assert settle_s(series, step, abs(end - start) / 50) == pytest.approx(tr_s * log10(50) + dead_s, abs=0.005)
    assert overshoot_pct(series, step) == 0


@pytest.mark.parametrize("damping", [0.2, 0.5, 0.7])
def test_overshoot_of_a_second_order_answer_is_that_of_its_damping(damping: float) -> None:
    root = sqrt(1 - damping**2)

    def wave(t_s: float) -> float:
        t_s = max(0.0, t_s - 1.0)
        turn = pi / 2 if damping == 0 else 0.0
        phase = sin(root * 3 * t_s + turn + acos_of(damping))
        return 8000 * (1 - exp(-damping * 3 * t_s) / root * phase)

    expected_pct = 100 * exp(-pi * damping / root)
    assert overshoot_pct(sampled(wave, 61, 0.01), STEP) == pytest.approx(expected_pct, rel=0.001)


def acos_of(damping: float) -> float:
    """Return the angle whose cosine is damping, by bisection on the sine's square."""
    low, high = 0.0, pi / 2
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - sin(middle) ** 2 > damping**2 else (low, middle)
    return low


def test_time_is_read_on_the_line_between_two_samples() -> None:
    series = Series.of([(0.0, 0.0), (1.0, 0.0), (2.0, 8000.0), (61.0, 8000.0)])
    assert open_loop_s(series, STEP) == pytest.approx(0.9)
    assert rise_s(series, STEP) == pytest.approx(0.8)
    assert settle_s(series, STEP, 800) == pytest.approx(0.9)


def test_what_was_never_reached_has_no_time() -> None:
    series = sampled(answer(1.0, 0.0, 7000.0, 1.0), 61)
    assert open_loop_s(series, STEP) is None
    assert rise_s(series, STEP) is None
    assert settle_s(series, STEP, 500) is None


def test_what_is_there_from_the_start_settles_at_once() -> None:
    assert settle_s(Series.of([(0, 8000.0), (1, 7900.0), (2, 8100.0), (61, 8000.0)]), STEP, 200) == 0
    assert settle_s(Series.of([(0, 8000.0)]), STEP, 200) is None


def test_settling_counts_from_the_last_time_outside() -> None:
    series = Series.of([(1, 0.0), (2, 8000.0), (5, 8000.0), (6, 9000.0), (7, 8000.0), (61, 8000.0)])
    assert settle_s(series, STEP, 500) == pytest.approx(5.5)
    assert overshoot_pct(series, STEP) == pytest.approx(12.5)


@given(tr_s=st.floats(0.2, 10), slower=st.floats(1.05, 3))
def test_a_slower_answer_never_has_a_shorter_time(tr_s: float, slower: float) -> None:
    times_s = [open_loop_s(sampled(answer(1, 0, 8000, tr), 61), STEP) for tr in (tr_s, tr_s * slower)]
    assert times_s[0] is not None and times_s[1] is not None
    assert times_s[0] < times_s[1]


# --- bands of IEEE 1547.1 ---

P_MRA = Accuracy(value=0.05 * RATED_W)


def test_band_at_one_response_time_is_as_wide_as_value_and_time_are_accurate() -> None:
    # Tr 5 s: the time is accurate to 1 % of 5 s, so 4.925 s to 5.075 s; the value to 1.5 x 500 W.
    low, high = response_band(STEP, 5.0, P_MRA, 6.0)
    assert low == pytest.approx(8000 * (1 - 10 ** (-4.925 / 5)) - 750)
    assert high == pytest.approx(8000 * (1 - 10 ** (-5.075 / 5)) + 750)
    # 0.5 s after the step 1 % are less than two cycles of 60 Hz
    low, _ = response_band(STEP, 5.0, P_MRA, 1.5)
    assert low == pytest.approx(8000 * (1 - 10 ** (-(0.5 - 0.05) / 5)) - 750)
    assert response_band(STEP, 5.0, P_MRA, 0.0) == pytest.approx((-750, 750))


def test_exact_answer_is_in_the_middle_of_its_band_and_a_shifted_one_leaves_it() -> None:
    exact = sampled(answer(1.0, 0.0, 8000.0, 5.0), 61, 0.01)
    beyond = beyond_response(exact, STEP, 5.0, P_MRA)
    assert beyond is not None
    assert beyond == pytest.approx(-750, abs=1)  # long after the step only the value's accuracy is left
    for shift_w, inside in ((749.0, True), (751.0, False), (-749.0, True), (-751.0, False)):
        shifted = Series(exact.times_s, [value + shift_w for value in exact.values])
        beyond = beyond_response(shifted, STEP, 5.0, P_MRA, times_s=[61.0])
        assert beyond is not None
        assert (beyond <= 0) is inside


@pytest.mark.parametrize(("tr_s", "inside"), [(5.0, True), (5.6, True), (6.5, False), (4.6, True), (3.0, False)])
def test_slow_and_hasty_answers_leave_the_band(tr_s: float, inside: bool) -> None:
    narrow = Accuracy(value=0.02 * RATED_W)
    beyond = beyond_response(sampled(answer(1.0, 0.0, 8000.0, tr_s), 61, 0.01), STEP, 5.0, narrow)
    assert beyond is not None
    assert (beyond <= 0) is inside


def test_a_moment_that_was_not_sampled_is_not_judged() -> None:
    assert beyond_response(Series.of([(0, 0.0), (3, 5000.0)]), STEP, 5.0, P_MRA, times_s=[6.0]) is None
    assert beyond_response(Series([], []), STEP, 5.0, P_MRA) is None
    assert isnan(first_order(STEP, 5.0, nan))


VOLT_VAR = ((0.92, 0.44), (0.98, 0.0), (1.02, 0.0), (1.08, -0.44))  # IEEE 1547.1, curve 1 of category B (hil 4.1)


@pytest.mark.parametrize(
    ("v_pu", "low", "high"),
    [
        # slope 0.44 / 0.06 a pu; the voltage is accurate to 1 %: 1.5 % are 0.11 of Q; Q to 5 %: 0.075
        (1.05, -0.22 - 0.11 - 0.075, -0.22 + 0.11 + 0.075),
        (1.02, -0.11 - 0.075, 0.075),  # one side of the knee only
        (1.00, -0.075, 0.075),
        (1.20, -0.44 - 0.075, -0.44 + 0.075),
        (0.90, 0.44 - 0.075, 0.44 + 0.075),
    ],
)
def test_band_of_a_curve_is_widened_by_the_accuracy_of_what_is_measured(v_pu: float, low: float, high: float) -> None:
    assert curve_band(VOLT_VAR, v_pu, 0.01, 0.05) == (pytest.approx(low), pytest.approx(high))


def test_band_of_a_curve_sees_a_peak_between_its_ends() -> None:
    tent = ((0.0, 0.0), (1.0, 1.0), (2.0, 0.0))
    assert curve_band(tent, 1.0, 0.2, 0.0) == (pytest.approx(0.7), pytest.approx(1.0))


@pytest.mark.parametrize(
    ("hz", "power_w"),
    [
        # dead band 36 mHz, droop 5 % of 60 Hz = 3 Hz; 4 kW before, 10 kW available. 0.5 Hz past the band: a sixth.
        (60.536, 4000 - 4000 / 6),
        (59.464, 4000 + 10_000 / 6),
        (60.0, 4000),
        (60.036, 4000),
        (63.036, 0),
        (64.0, 0),
        (57.0, 10_000),
    ],
)
def test_frequency_droop_takes_the_share_once(hz: float, power_w: float) -> None:
    curve = frequency_curve(60.0, 0.036, 0.05, 4000.0, 10_000.0)
    assert curve_band(curve, hz, 0.0, 0.0) == (pytest.approx(power_w), pytest.approx(power_w))


@pytest.mark.parametrize(("power_w", "beyond_w"), [(7350.0, 0.0), (7360.0, 10.0), (6600.0, -750.0)])
def test_power_limit_is_widened_by_one_and_a_half_accuracies_and_no_more(power_w: float, beyond_w: float) -> None:
    assert beyond_limit(sampled(lambda _: power_w, 1), 6600, 500) == pytest.approx(beyond_w)
    assert beyond_limit(Series([], []), 6600, 500) is None


# --- metrics of a run ---


def test_worst_step_of_a_run_is_told() -> None:
    def asked(t_s: float) -> float:
        return 0.0 if t_s < 1 else 5000.0 if t_s < 31 else -5000.0

    def delivered(t_s: float) -> float:
        return answer(1, 0, 5000, 1.0)(t_s) if t_s < 31 else answer(31, 5000, -5000, 3.0)(t_s)

    run = recorded(asked, delivered, 61)
    assert metric("olrt_s", run) == pytest.approx(3.0, abs=0.01)
    assert metric("rise_s", run) == pytest.approx(3.0 * (1 - log10(1 / 0.9)), abs=0.01)
    assert metric("settle_s", run) == pytest.approx(3.0 * log10(50), abs=0.02)
    assert metric("overshoot_pct", run) == 0
    assert metric("travel_pu", run) == pytest.approx(1.5)
    assert metric("mileage_pu", run) == pytest.approx(1.5)


def test_step_that_is_never_answered_takes_for_ever_and_one_relieved_before_tells_nothing() -> None:
    late = recorded(step_at(1, 0.0, 5000.0), lambda _: 0.0, 40)
    assert METRICS["olrt_s"].of(late) == inf
    assert METRICS["settle_s"].of(late) == inf
    assert METRICS["award_s"].of(late) == inf
    short = recorded(step_at(1, 0.0, 5000.0), lambda _: 0.0, 20)
    assert METRICS["olrt_s"].of(short) is None
    assert METRICS["award_s"].of(short) is None


def test_step_that_no_controller_could_take_is_left_out() -> None:
    run = recorded(step_at(1, 0.0, 5000.0), lambda _: 0.0, 40, met=lambda t_s: float(t_s < 20))
    assert METRICS["olrt_s"].of(run) is None


def test_small_changes_neither_are_steps_nor_end_one() -> None:
    run = recorded(lambda t_s: 0.0 if t_s < 1 else 5000.0 + 60 * (t_s >= 2), answer(1, 0, 5000, 4.0), 61)
    assert metric("olrt_s", run) == pytest.approx(4.0, abs=0.01)
    small = recorded(step_at(1, 0.0, 499.0), lambda _: 0.0, 61)
    assert METRICS["olrt_s"].of(small) is None


def test_step_that_finds_the_power_on_its_way_elsewhere_tells_nothing() -> None:
    def asked(t_s: float) -> float:
        return 0.0 if t_s < 1 else 8000.0 if t_s < 1.5 else 4500.0 if t_s < 40 else 0.0

    def delivered(t_s: float) -> float:
        return answer(1, 0, 8000, 1.0)(min(t_s, 1.6)) if t_s < 40 else answer(40, 4500, 0, 2.0)(t_s)

    run = recorded(asked, delivered, 61)
    assert metric("overshoot_pct", run) == 0
    assert metric("olrt_s", run) == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("before", [nan, 0.0])
def test_award_is_answered_when_90_percent_of_it_are_there(before: float) -> None:
    run = recorded(step_at(5, before, -4000.0), answer(5.2, 1000.0, -4000.0, 2.0), 61)
    # 90 % of the award are -3600 W: 92 % of the way from 1000 W
    assert metric("award_s", run) == pytest.approx(0.2 + 2.0 * log10(1 / 0.08), abs=0.02)
    assert METRICS["award_s"].of(recorded(step_at(5, 2000.0, 4000.0), lambda _: 4000.0, 61)) is None


def test_recovery_is_back_at_the_reference_and_staying() -> None:
    def delivered(t_s: float) -> float:
        return 3000.0 if 25 < t_s < 26 or t_s > 29.42 else 0.0

    assert metric("recovery_s", recorded(lambda _: 3000.0, delivered, 60, healed_s=20)) == pytest.approx(9.45)
    never = recorded(lambda _: 3000.0, lambda _: 0.0, 60, healed_s=20)
    assert METRICS["recovery_s"].of(never) == inf
    assert METRICS["recovery_s"].of(recorded(lambda _: 3000.0, delivered, 60)) is None
    assert METRICS["recovery_s"].of(recorded(lambda _: nan, delivered, 60, healed_s=20)) is None


def test_recovery_lets_a_moving_reference_go_ahead_a_little() -> None:
    def asked(t_s: float) -> float:
        return 5000.0 if t_s % 8 < 4 else -5000.0

    behind = recorded(asked, lambda t_s: asked(t_s - 1.5), 60, healed_s=20)
    assert metric("recovery_s", behind) == 0
    assert METRICS["recovery_s"].of(recorded(asked, lambda t_s: asked(t_s - 3.5), 60, healed_s=20)) == inf


def test_energy_beyond_a_limit_is_the_area_above_it() -> None:
    triangle = Series.of([(0, 0.0), (10, 12_000.0), (20, 0.0), (30, -18_000.0), (40, 0.0)])
    run = msgspec.structs.replace(recorded(lambda _: 0.0, lambda _: 0.0, 1), poi=triangle)
    # above 6 kW: base 10 s, height 6 kW; below -12 kW: base 20 / 3 s, height 6 kW
    assert metric("poi_over_wh", run) == pytest.approx((10 * 6000 / 2 + 20 / 3 * 6000 / 2) / 3600)


def test_longest_time_beyond_a_limit() -> None:
    run = recorded(lambda _: 0.0, lambda t_s: 6001.0 if 2 <= t_s <= 5 or 9 <= t_s <= 10 else 6000.0, 20)
    assert metric("poi_over_s", run) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("out_w", "more_wh"),
    # 1000 Wh in at 90 % one way are 900 Wh stored; out comes what is taken at 90 %
    [(810.0, 0.0), (450.0, 400.0), (900.0, -100.0)],
)
def test_round_trip_is_81_percent_at_90_percent_one_way_whatever_is_left_stored(out_w: float, more_wh: float) -> None:
    run = recorded(lambda _: nan, lambda _: 0.0, 1)
    halves = Series.of([(0, -1000.0), (3600, -1000.0), (3600, out_w), (7200, out_w)])
    stored = Series.of([(0, 10_000.0), (7200, 10_000.0 + more_wh)])
    run = msgspec.structs.replace(run, delivered=halves, stored=stored)
    assert metric("rte_pct", run) == pytest.approx(81.0)


def test_round_trip_of_one_way_only_is_none() -> None:
    assert METRICS["rte_pct"].of(recorded(lambda _: nan, lambda _: 500.0, 10)) is None


def test_delivered_share_counts_no_more_than_was_asked_and_not_the_other_way() -> None:
    def delivered(t_s: float) -> float:
        return 6000.0 if t_s <= 20 else 2000.0 if t_s <= 40 else -3000.0

    run = recorded(step_at(0, 0, 4000.0), delivered, 80)
    # all of the first 20 s, half of the next 20 s, none of the last 40 s
    assert metric("delivered_pct", run) == pytest.approx(37.5, abs=0.1)
    assert METRICS["delivered_pct"].of(recorded(lambda _: 0.0, delivered, 80)) is None
    assert METRICS["delivered_pct"].of(recorded(lambda _: nan, delivered, 80)) is None


# --- following ---


def regulation(t_s: float) -> float:
    """Return a signal in steps of 4 s, as a battery's dispatch."""
    return 8000 * sin(0.31 * (t_s // 4) + sin(0.7 * (t_s // 4)))


def test_raster_keeps_off_the_edges_of_the_signal() -> None:
    edges_s = [4.0 * n for n in range(200)]
    assert raster_s(0, 60, 10, edges_s) == pytest.approx([1, 11, 21, 31, 41, 51])
    assert raster_s(100, 130, 10, []) == pytest.approx([100, 110, 120, 130])
    assert raster_s(0, 4, 1, edges_s) == pytest.approx([0.5, 1.5, 2.5, 3.5])
    assert raster_s(0, -1, 10, []) == []


@given(seed=st.integers(0, 1000), every_s=st.sampled_from((1.0, 10.0)))
def test_raster_never_comes_nearer_to_an_edge_than_another_offset_would(seed: int, every_s: float) -> None:
    rng = random.Random(seed)
    edges_s = [rng.uniform(0, 100) for _ in range(3)]

    def nearest_s(times_s: list[float]) -> float:
        return min(min((t - e) % every_s, (e - t) % every_s) for t in times_s for e in edges_s)

    ours_s = nearest_s(raster_s(0, 100, every_s, edges_s))
    assert ours_s >= max(nearest_s([every_s * step / 20]) for step in range(20)) - 1e-6


def test_exact_follower_scores_one_and_has_no_error() -> None:
    run = recorded(regulation, regulation, 1800)
    assert metric("pjm_score", run) == pytest.approx(1.0)
    assert metric("rms_error_pu", run) == metric("mean_error_pu", run) == metric("squared_error", run) == 0
    assert metric("within_2_pct", run) == 100
    assert metric("counted_pct", run) == 100


def test_a_second_late_is_no_error_at_all_to_a_raster_in_the_middle_of_a_step() -> None:
    run = recorded(regulation, lambda t_s: regulation(t_s - 0.95), 1800)
    assert metric("pjm_score", run) == pytest.approx(1.0)


def test_ten_seconds_late_lose_a_thirtieth_of_the_delay() -> None:
    run = recorded(regulation, lambda t_s: regulation(t_s - 10), 1800)
    assert metric("pjm_delay", run) == pytest.approx(1 - 10 / 300)
    assert metric("pjm_correlation", run) == pytest.approx(1.0)
    assert metric("pjm_score", run) == pytest.approx(
        (metric("pjm_delay", run) + metric("pjm_correlation", run) + metric("pjm_precision", run)) / 3
    )


def test_half_the_power_halves_the_precision() -> None:
    run = recorded(regulation, lambda t_s: regulation(t_s) / 2, 1800)
    assert metric("pjm_precision", run) == pytest.approx(0.5)


def test_errors_are_summed_once_a_second_in_per_unit() -> None:
    run = recorded(lambda _: 4000.0, lambda t_s: 3000.0 if t_s < 50.02 else 4150.0, 99.4)
    # 99 moments from 0.5 s on, half a second off the order's beginning: 50 with an error of 0.1, 49 of 0.015
    errors = [0.1] * 50 + [0.015] * 49
    assert metric("absolute_error", run) == pytest.approx(sum(errors))
    assert metric("squared_error", run) == pytest.approx(sum(e * e for e in errors))
    assert metric("mean_error_pu", run) == pytest.approx(sum(errors) / 99)
    assert metric("rms_error_pu", run) == pytest.approx(sqrt(sum(e * e for e in errors) / 99))
    assert metric("within_2_pct", run) == pytest.approx(4900 / 99)


def test_time_in_which_the_reference_could_not_follow_does_not_count() -> None:
    run = recorded(lambda _: 4000.0, step_at(50, 4000.0, 0.0), 100, met=step_at(50, 1.0, 0.0))
    assert metric("rms_error_pu", run) == 0
    assert metric("counted_pct", run) == pytest.approx(50)
    nothing = recorded(lambda _: nan, lambda _: 0.0, 1800)
    for name in ("pjm_score", "rms_error_pu", "counted_pct", "within_2_pct"):
        assert METRICS[name].of(nothing) is None


@settings(max_examples=20, deadline=None)
@given(gain=st.floats(0.1, 0.9), more=st.floats(0.01, 0.1))
def test_more_of_what_is_asked_never_lowers_precision_nor_the_delivered_share(gain: float, more: float) -> None:
    runs = [
        recorded(regulation, lambda t_s, part=part: part * regulation(t_s), 620, every_s=0.5)  # type: ignore[misc]
        for part in (gain, gain + more)
    ]
    for name in ("pjm_precision", "delivered_pct"):
        assert metric(name, runs[0]) < metric(name, runs[1])


# --- bars ---


@pytest.mark.parametrize(
    ("bar", "held", "margin"),
    [
        ("<= 0.4", True, 0.3),
        ("<= 0.05", False, -0.05),
        (">= 0.05 and <= 0.2", True, 0.05),
        (">=0.1", True, 0.0),
        ((0.02, 0.12), True, 0.02),
        ((0.2, 0.3), False, -0.1),
        (">= -1", True, 1.1),
        ("<= reference + 0.2", True, 0.1),
        ("<= reference", False, -0.1),
        ("<= late - 0.05", False, -0.05),
        ("<= 0.2 and <= late", True, 0.0),
    ],
)
def test_bar_is_held_with_a_margin(bar: Text, held: bool, margin: float) -> None:
    run = recorded(lambda _: 4000.0, lambda _: 3000.0, 100, ideal=lambda _: 4000.0, late=lambda _: 3000.0)
    (result,) = measured(run, {"mean_error_pu": bar})
    assert result.value == pytest.approx(0.1)
    assert result.margin_value == pytest.approx(margin, abs=1e-9)
    assert result.held is held or margin == 0


def test_score_is_measured_against_that_of_the_reference() -> None:
    late = recorded(regulation, lambda t_s: regulation(t_s - 60), 1800, late=lambda t_s: regulation(t_s - 60))
    first, second = measured(late, {"pjm_score": ">= reference - 0.02", "pjm_delay": ">= late - 0.02"})
    assert not first.held
    assert first.reference_value == pytest.approx(1.0)
    assert second.held
    assert second.late_value == second.value == pytest.approx(0.8)


def test_nothing_measured_holds_no_bar() -> None:
    run = recorded(lambda _: nan, lambda _: 0.0, 10)
    (result,) = measured(run, {"pjm_score": ">= 0"})
    assert (result.held, result.value, result.margin_value) == (False, None, None)


@pytest.mark.parametrize("bar", ["", "2", "< 2", "<= ", "<= two", ">= 1 and", "<= reference 0.2", (2.0, 1.0)])
def test_what_is_no_bar_is_told(bar: Text) -> None:
    with pytest.raises(ValueError, match=r"is no (bar|range); write"):
        terms(bar)
    assert check({"pjm_score": bar})


def test_unknown_metric_is_told() -> None:
    (wrong,) = check({"pjm_scores": ">= 1"})
    assert wrong.startswith("pjm_scores is no metric; there are olrt_s, ")
    with pytest.raises(ValueError, match="is no metric"):
        measured(recorded(lambda _: nan, lambda _: 0.0, 10), {"pjm_scores": ">= 1"})
    assert check({"pjm_score": ">= 0.95 and >= reference - 0.02", "olrt_s": (0.2, 2.0)}) == []


def test_every_metric_is_asked_for_in_these_tests() -> None:
    mine = Path(__file__).read_text("utf-8")
    assert [name for name in METRICS if f'"{name}"' not in mine] == []


# --- the reference follower ---


def ideal(truth: Truth, delay_s: float = 1.4, **site: object) -> Ideal:
    return Reference(a_site(len(truth.units), **site), delay_s).sample(truth)


@pytest.mark.parametrize(
    ("changes", "unit", "power_w", "bound"),
    [
        ({"order_w": 5000.0}, {}, 5000, ""),
        ({"order_w": 20_000.0, "load_w": 9000.0}, {}, 10_000, "units"),
        ({"order_w": 20_000.0, "load_w": 1000.0}, {}, 7000, "poi"),
        ({"order_w": -20_000.0, "load_w": 5000.0}, {}, -7000, "poi"),
        ({"order_w": 5000.0, "load_w": 17_000.0}, {}, 5000, ""),
        ({"order_w": 1000.0, "load_w": 17_000.0}, {}, 5000, "poi"),
        ({"order_w": 5000.0}, {"discharge_max_a": 50.0}, 50 * 50 * 0.9, "units"),
        ({"order_w": -5000.0}, {"charge_max_a": 50.0}, -2500, "units"),
        # 32.2 % stored, 2 % error and a hundredth, 30 % the customer's: 47.5 Wh left for 120 s at 90 %
        ({"order_w": 5000.0}, {"soc": 0.322}, 47.5 * 30 * 0.9, "reserve"),
        ({"order_w": 5000.0}, {"soc": 0.3}, 0, "reserve"),
        ({"order_w": 5000.0, "load_w": 14_000.0}, {"soc": 0.05}, 2000, "energy"),  # the import limit stands above
        ({"order_w": -5000.0}, {"soc": 0.929}, -22.5 * 30, "energy"),
        ({"order_w": 5000.0, "cut": frozenset(("battery1",))}, {}, 0, "units"),
        ({"order_w": 5000.0}, {"state": "fault"}, 0, "units"),
        ({"order_w": 5000.0}, {"closed": False}, 0, "units"),
    ],
)
def test_reference_gives_what_truth_and_site_allow(
    changes: dict[str, object], unit: dict[str, object], power_w: float, bound: str
) -> None:
    found = ideal(a_truth(0.0, (unit,), **changes))
    assert found.power_w == pytest.approx(power_w)
    assert found.bound == bound
    assert found.met is (bound == "")


def test_reference_of_an_order_at_the_poi_makes_up_for_the_load() -> None:
    truth = a_truth(order_w=-1000.0, load_w=5000.0, pv_w=500.0)
    assert ideal(truth, utility=Utility(domain="poi")).power_w == pytest.approx(3500)


def test_units_that_are_low_leave_the_others_to_give() -> None:
    found = ideal(a_truth(0.0, ({"soc": 0.2}, {"soc": 0.6}), order_w=15_000.0))
    assert (found.power_w, found.bound) == (10_000, "reserve")


def test_nothing_asked_is_nothing_to_follow() -> None:
    found = ideal(a_truth())
    assert isnan(found.asked_w)
    assert isnan(found.power_w)
    assert not found.met


def test_late_follower_answers_after_its_delay_within_the_limits_of_now() -> None:
    follower = Reference(a_site(), 1.0)
    late_w = [
        follower.sample(a_truth(place * 0.5, order_w=1000.0 * place, load_w=8000.0 if place < 6 else 0.0)).late_w
        for place in range(10)
    ]
    assert isnan(late_w[0])
    assert isnan(late_w[1])
    assert late_w[2:] == [0, 1000, 2000, 3000, 4000, 5000, 6000, 6000]


def test_recorder_thins_out_and_keeps_the_moment_of_each_order() -> None:
    recorder = Recorder(a_site(), delay_s=1.0, every_s=0.5)
    for place in range(101):
        order_w = None if place < 25 else 4000.0 if place < 43 else 20_000.0
        recorder.sample(a_truth(place * 0.05, ({"ac_w": 100.0 * place, "command_w": 50.0},), order_w=order_w))
    run = recorder.recording(healed_s=3.0)
    assert list(run.asked.times_s) == pytest.approx([0, 0.5, 1, 1.25, 1.75, 2.15, 2.65, 3.15, 3.65, 4.15, 4.65])
    assert [edge.at_s for edge in run.asked.edges()] == pytest.approx([1.25, 2.15])
    assert run.delivered.at(2.65) == pytest.approx(5300)
    assert run.poi.at(2.65) == pytest.approx(4300)
    assert run.stored.at(2.65) == 15_000
    assert run.command.at(2.65) == 50
    assert (run.begun_s, run.ended_s, run.healed_s) == (0.0, pytest.approx(4.65), 3.0)
    assert (run.rated_w, run.export_max_w, run.import_max_w) == (10_000, 6000, 12_000)
    assert run.met.held(2.0) == 1
    assert run.met.held(2.15) == 0
    assert run.refused == (("poi", pytest.approx(58 * 0.05)),)
    assert run.ideal.held(3.0) == 7000
    assert run.late.held(2.66) == 4000


def test_rated_power_of_a_recording_is_the_larger_of_both_ways() -> None:
    site = a_site()
    for charge_max_w, discharge_max_w in ((4000, 10_000), (10_000, 4000)):
        unit = msgspec.structs.replace(site.unit[0], charge_max_w=charge_max_w, discharge_max_w=discharge_max_w)
        recorder = Recorder(msgspec.structs.replace(site, unit=(unit,)))
        assert recorder.recording().rated_w == 10_000


# --- series ---


def test_series_is_held_or_on_a_line() -> None:
    series = Series.of([(1, 10.0), (2, None), (3, 30.0), (5, 50.0)])
    assert isnan(series.held(0.9))
    assert series.held(1.9) == 10
    assert isnan(series.held(2.5))
    assert series.at(4) == 40
    assert series.at(5) == 50
    assert isnan(series.at(0.5))
    assert isnan(series.at(5.1))
    assert isnan(series.at(1.5))
    assert len(series) == 4
    assert list(series.within(3, 5)) == [(3, 30), (5, 50)]
    assert [(edge.at_s, edge.end) for edge in series.edges() if edge.end == edge.end] == [(1, 10), (3, 30), (5, 50)]
    with pytest.raises(AssertionError, match="in order"):
        Series.of([(2, 0.0), (1, 0.0)])
    with pytest.raises(AssertionError, match="2 times for 1 values"):
        Series([1, 2], [1])
