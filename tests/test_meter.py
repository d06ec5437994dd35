"""The load and generation behind the meter, and what the meter makes of the mains."""

from math import exp, sqrt

import msgspec
import pytest

from hil.plant.local import Local, LocalSpec
from hil.plant.meter import Flow, Meter, MeterSpec

STEPS_S = [0.01, 0.05, 0.13, 1.0]
QUIET = LocalSpec(ripple_w=0.0)


def local_at(end_s: float, step_s: float, spec: LocalSpec = QUIET, seed: int = 1) -> Local:
    """Return a load that was at 4000 W until 1 s and goes to 300 W, generation from 0 to 1000 W, at end_s."""
    local = Local(spec, seed)
    local.set_load_w = 4000
    local.step(1.0, 1.0)
    local.set_load_w, local.set_pv_w = 300, 1000
    steps = round((end_s - 1.0) / step_s)
    for number in range(steps):
        local.step((end_s - 1.0) / steps, 1.0 + (end_s - 1.0) * (number + 1) / steps)
    return local


@pytest.mark.parametrize("step_s", [0.01, 0.05, 0.1])
def test_load_drops_as_steeply_as_a_contactor_makes_it_whatever_the_steps(step_s: float) -> None:
    local = local_at(1.1, step_s)
    assert local.load_w == pytest.approx(300 + 3700 * exp(-1))
    assert local.pv_w == pytest.approx(1000 * (1 - exp(-1)))
    assert local.busy


@pytest.mark.parametrize("step_s", STEPS_S)
def test_ripple_is_the_same_whatever_the_steps(step_s: float) -> None:
    local, fine = local_at(14.0, step_s, LocalSpec(), seed=5), local_at(14.0, 0.1, LocalSpec(), seed=5)
    assert local.load_w == pytest.approx(fine.load_w) != pytest.approx(300, abs=1e-6)
    assert local.pv_w - 1000 == pytest.approx(fine.pv_w - 1000) != pytest.approx(local.load_w - 300)
    assert local_at(14.0, 0.1, LocalSpec(), seed=6).load_w != pytest.approx(local.load_w)
    assert not local.busy


def test_ripple_stays_within_its_bounds_and_fades_with_the_power() -> None:
    local, seen_w = Local(seed=3), []
    local.set_load_w = 500
    for number in range(1, 2001):
        local.step(0.1, number * 0.1)
        seen_w.append(local.load_w)
    assert 480 <= min(seen_w) < 482 and 518 < max(seen_w) <= 520
    local.set_load_w = -100  # nonsense from a recording: a house cannot generate
    for number in range(2001, 2101):
        local.step(0.1, number * 0.1)
        assert local.load_w >= 0 and local.pv_w == 0
    assert local.load_w == pytest.approx(0, abs=0.01) and not local.busy
    local.set_load_w = local.set_pv_w = 6.0  # less than the ripple
    for number in range(2101, 2301):
        local.step(0.1, number * 0.1)
        assert 0 <= local.load_w < 12 and 0 <= local.pv_w < 12


@pytest.mark.parametrize(("load_w", "pv_w", "busy"), [(519, 119, False), (521, 100, True), (500, 79, True)])
def test_local_is_busy_while_further_off_than_its_ripple(load_w: float, pv_w: float, busy: bool) -> None:
    local = Local(QUIET)
    local.set_load_w, local.set_pv_w = 500, 100
    local.step(0.05, 0.05)
    local.set_load_w, local.set_pv_w = load_w, pv_w
    assert local.busy is busy


def test_each_phase_has_its_share_and_the_unbalance_adds_up_to_nothing() -> None:
    spec = LocalSpec(load_split=(0.7, 0.2, 0.1), pv_split=(0.0, 1.0, 0.0), ripple_w=0)
    local = Local(spec)
    local.set_load_w, local.set_pv_w = 6000, 3000
    local.step(0.05, 0.05)
    assert local.phase_load_w == pytest.approx((4200, 1200, 600))
    assert local.phase_pv_w == pytest.approx((0, 3000, 0))
    assert local.unbalance_w == pytest.approx((-3200, 2800, 400))  # around -1000 W a phase


def test_shares_that_do_not_add_up_are_refused_with_their_name() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"load_split: .* add up to 0\.9"):
        msgspec.convert({"load_split": [0.3, 0.3, 0.3]}, LocalSpec)


def test_what_hangs_on_a_dead_phase_takes_and_gives_nothing() -> None:
    local = Local(QUIET)
    local.set_load_w, local.set_pv_w = 3000, 600
    local.step(0.05, 0.05, (1.0, 0.0, 0.9))
    assert local.phase_load_w == pytest.approx((1000, 0, 1000))
    assert (local.load_w, local.pv_w) == pytest.approx((2000, 400))
    local.step(0.05, 0.1, (0.51, 0.49, 0.51))
    assert local.phase_pv_w == pytest.approx((200, 0, 200))
    local.step(0.05, 0.15, (0.49, 0.51, 0.49))
    assert local.phase_pv_w == pytest.approx((0, 200, 0))
    local.step(0.05, 0.2)
    assert (local.load_w, local.pv_w) == pytest.approx((3000, 600))


def flow(power_w: float, reactive_var: float = 0.0, v: float = 230.0, hz: float = 50.0) -> Flow:
    third_w, third_var = power_w / 3, reactive_var / 3
    return Flow((third_w,) * 3, (third_var,) * 3, (v, v, v), hz)


def fed(meter: Meter, mains: Flow, seconds: float = 1.0, begin_s: float = 0.0) -> Meter:
    for number in range(1, round(seconds / 0.05) + 1):
        meter.step(0.05, begin_s + number * 0.05, mains)
    return meter


@pytest.mark.parametrize("step_s", STEPS_S)
@pytest.mark.parametrize(("period_s", "latency_s"), [(0.2, 0.0), (0.2, 0.5), (1.0, 0.3), (5.0, 0.0), (0.1, 2.0)])
def test_samples_have_their_own_moments_whatever_the_steps(step_s: float, period_s: float, latency_s: float) -> None:
    """All rises steadily: what is shown tells when it was measured."""
    meter = Meter(MeterSpec(period_s=period_s, latency_s=latency_s))
    assert (meter.power_w, meter.hz, meter.sampled_s) == (0, 0, 0)
    for number in range(1, round(20 / step_s) + 1):
        now_s = number * step_s
        meter.step(step_s, now_s, flow(1000 * now_s, 90 * now_s, 200 + now_s, 50 + now_s / 100))
        if now_s > latency_s + period_s + 1.0:
            sampled_s = int((now_s - latency_s) / period_s + 1e-6) * period_s
            assert meter.sampled_s == pytest.approx(sampled_s)
            assert meter.power_w == pytest.approx(1000 * sampled_s, abs=1e-6)
            assert meter.phase_var == pytest.approx((30 * sampled_s,) * 3, abs=1e-6)
            assert meter.voltage_v == pytest.approx((200 + sampled_s,) * 3)
            assert meter.hz == pytest.approx(50 + sampled_s / 100)


def test_first_sample_is_shown_at_once() -> None:
    meter = Meter(MeterSpec(period_s=5.0, latency_s=5.0))
    meter.step(0.05, 100.05, flow(-900.0))
    assert (meter.power_w, meter.hz) == (pytest.approx(-900), 50)
    assert meter.voltage_v == (230, 230, 230)


@pytest.mark.parametrize("step_s", [0.01, 0.05, 0.5, 1.0])
@pytest.mark.parametrize(("period_s", "latency_s"), [(0.2, 0.0), (0.3, 0.0), (0.2, 1.1)])
def test_counters_hold_the_true_energy_whatever_the_steps_and_the_samples(
    step_s: float, period_s: float, latency_s: float
) -> None:
    """From -2750 W up to 6250 W at 1000 W a second, crossing 0 after 2.75 s: two triangles."""
    meter = Meter(MeterSpec(period_s=period_s, latency_s=latency_s))
    meter.step(1.0, 1.0, flow(-2750))
    for number in range(1, round(9 / step_s) + 1):
        meter.step(step_s, 1.0 + number * step_s, flow(-2750 + 1000 * number * step_s))
    for number in range(1, 4):
        meter.step(1.0, 10.0 + number, flow(6250))
    at_rest_s = meter.sampled_s - 10.0
    assert at_rest_s > 0
    assert meter.imported_wh == pytest.approx((2750 * 1.0 + 2750 * 2.75 / 2) / 3600)
    assert meter.exported_wh == pytest.approx((6250 * 6.25 / 2 + 6250 * at_rest_s) / 3600)


def test_counter_starts_again_from_nothing_where_its_bits_end() -> None:
    meter = Meter(MeterSpec(exported_wh=2**32 - 1.0, imported_wh=7.0))
    fed(meter, flow(7200.0), 1.0)
    assert meter.exported_wh == pytest.approx(1.0, abs=1e-5)
    assert meter.imported_wh == 7.0


def test_reversed_transformers_turn_the_power_and_fill_the_other_counter() -> None:
    meter = Meter()
    meter.ct_sign[:] = [-1, -1, -1]
    fed(meter, flow(6000.0))
    assert meter.power_w == pytest.approx(-6000)
    assert (meter.exported_wh, meter.imported_wh) == pytest.approx((0, 6000 / 3600))
    assert meter.false_w == pytest.approx(-12_000)


def test_what_is_false_is_told_at_the_moment_of_the_sample() -> None:
    meter = Meter(MeterSpec(period_s=0.3))
    meter.ct_sign[:] = [-1, -1, -1]
    for number in range(1, 20):
        meter.step(0.2, number * 0.2, flow(1000 * number))
        assert meter.false_w == pytest.approx(2 * meter.power_w)


def test_one_reversed_transformer_leaves_a_third_of_a_balanced_power() -> None:
    meter = Meter()
    meter.ct_sign[1] = -1
    assert fed(meter, flow(6000.0)).power_w == pytest.approx(2000)


def test_two_swapped_transformers_show_nothing_of_a_balanced_power() -> None:
    """Each of the two sees the other's current, 120 degrees off: half the power, the wrong way round."""
    meter = Meter()
    meter.ct_phase[:] = [1, 0, 2]
    fed(meter, flow(6000.0))
    assert meter.phase_w == pytest.approx((-1000, -1000, 2000))
    assert meter.phase_var == pytest.approx((1000 * sqrt(3), -1000 * sqrt(3), 0), abs=1e-6)
    assert meter.power_w == pytest.approx(0, abs=1e-6)


def test_all_transformers_one_phase_on_show_half_the_power_turned() -> None:
    meter = Meter()
    meter.ct_phase[:] = [1, 2, 0]
    assert fed(meter, flow(6000.0)).power_w == pytest.approx(-3000)


def test_current_of_a_dead_phase_is_no_power_on_any_channel() -> None:
    meter = Meter()
    meter.ct_phase[:] = [1, 0, 2]
    fed(meter, Flow((1000.0, 0.0, 1000.0), (0.0, 0.0, 0.0), (230.0, 0.0, 230.0), 50.0))
    assert meter.phase_w == pytest.approx((0, 0, 1000))


def test_wrong_ratio_shows_a_multiple() -> None:
    meter = Meter(MeterSpec(ct_ratio=40.0))
    meter.ct_told_ratio = 100.0
    assert fed(meter, flow(6000.0, 900.0)).power_w == pytest.approx(15_000)
    assert sum(meter.phase_var) == pytest.approx(2250)


def test_missing_phase_is_neither_seen_nor_counted() -> None:
    meter = Meter()
    meter.missing.add(2)
    fed(meter, flow(-6000.0))
    assert meter.power_w == pytest.approx(-4000)
    assert meter.voltage_v == (230, 230, 0)
    assert meter.imported_wh == pytest.approx(4000 / 3600)


def test_frozen_meter_keeps_all_it_shows_and_counts_on_behind_it() -> None:
    meter, bites = Meter(), []
    fed(meter, flow(3600.0), 1.0)
    meter.frozen = True
    meter.on_bite.append(lambda: bites.append(1))
    fed(meter, flow(-3600.0), 2.0, 1.0)
    assert (meter.power_w, meter.exported_wh, meter.imported_wh) == pytest.approx((3600, 1, 0))
    assert meter.false_w == pytest.approx(7200)
    assert len(bites) == 10  # each sample of 0.2 s that was withheld
    meter.frozen = False
    fed(meter, flow(-3600.0), 0.2, 3.0)
    assert (meter.power_w, meter.false_w) == pytest.approx((-3600, 0))
    assert (meter.exported_wh, meter.imported_wh) == pytest.approx((1, 2.2), abs=0.05)  # one step of 50 ms turned it


def test_sound_meter_bites_nobody_and_a_frozen_one_not_while_nothing_changes() -> None:
    meter, bites = Meter(), []
    meter.on_bite.append(lambda: bites.append(1))
    fed(meter, flow(3600.0))
    meter.frozen = True
    fed(meter, flow(3600.0), 1.0, 1.0)
    assert not bites


def test_meter_that_falls_five_seconds_behind_shows_the_past_and_catches_up() -> None:
    meter = Meter()
    fed(meter, flow(1000.0), 2.0)
    meter.latency_s = 5.0
    fed(meter, flow(9000.0), 4.9, 2.0)
    assert meter.power_w == pytest.approx(1000) and meter.false_w == 0  # old, and true when it was measured
    fed(meter, flow(9000.0), 0.4, 6.9)
    assert meter.power_w == pytest.approx(9000)
    meter.latency_s = 0.0
    fed(meter, flow(2000.0), 0.4, 7.3)
    assert meter.power_w == pytest.approx(2000)
