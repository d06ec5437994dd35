"""The battery with its BMS: contactor, watches, limits, the estimate, and every fault that can be set on them."""

from collections.abc import Callable
from random import Random

import msgspec
import pytest

from hil.plant.battery import Battery, BatterySpec
from hil.plant.pack import CellSpread

FULL_A = 250.0  # five modules of 50 A
AH = 473.6  # of the default pack: 25 kWh over 16 cells of 3.299 V
EQUAL = {"weak": {}, "strong": {}}


def battery(soc: float = 0.5, bms: dict[str, object] | None = None, pack: dict[str, object] | None = None) -> Battery:
    """Return a battery of equal cells that nobody needs to talk to, changed as told."""
    contactor = {"when_silent": "pause", **(bms or {}).get("contactor", {})}  # type: ignore[dict-item]
    spec = {"soc": soc, "pack": EQUAL | (pack or {}), "bms": (bms or {}) | {"contactor": contactor}}
    return Battery(msgspec.convert(spec, BatterySpec))


def run(one: Battery, length_s: float, dc_w: float = 0.0, dt_s: float = 0.1) -> Battery:
    for _ in range(round(length_s / dt_s)):
        one.step(dt_s, dc_w)
    return one


def obeyed(one: Battery, length_s: float, dc_w: float, dt_s: float = 1.0) -> None:
    """Run with a power that an inverter cuts to what the BMS permits."""
    for _ in range(round(length_s / dt_s)):
        low_w, high_w = -one.charge_max_a * one.pack_v, one.discharge_max_a * one.pack_v
        one.step(dt_s, min(high_w, max(low_w, dc_w)))


def until(one: Battery, holds: Callable[[Battery], bool], dc_w: float = 0.0, dt_s: float = 0.05) -> float:
    """Return after how long something holds, at most an hour."""
    for step in range(round(3600 / dt_s)):
        if holds(one):
            return step * dt_s
        one.step(dt_s, dc_w)
    raise AssertionError("it never came")


# -- contactor


@pytest.mark.parametrize("dt_s", [0.01, 0.05, 0.5, 1.0])
def test_contactor_opens_pauses_precharges_and_closes_in_its_times(dt_s: float) -> None:
    """Opened for 1 s: 0.03 s to open, 5 s of pause from then, 2 s of pre-charge, 0.1 s to close."""
    one = battery()
    one.bms.force_open = True
    taken_ah, closed_s = 0.0, None
    for step in range(round(12 / dt_s)):
        one.bms.force_open = step * dt_s < 1.0 - 1e-9
        before_soc = one.soc
        one.step(dt_s, 5000)
        taken_ah += (before_soc - one.soc) * AH
        if closed_s is None and one.closed and step * dt_s > 1:
            closed_s = (step + 1) * dt_s
    assert closed_s == pytest.approx(0.03 + 5 + 2 + 0.1, abs=2 * dt_s)
    flowing_s = 12 - (5 + 2 + 0.1)
    assert taken_ah == pytest.approx(flowing_s * 5000 / 53.3 / 3600, rel=0.02, abs=dt_s * 5000 / 53.3 / 3600)


def test_nothing_flows_and_nothing_is_permitted_while_the_contactor_is_open() -> None:
    one = battery()
    one.bms.force_open = True
    run(one, 1.0, 8000)
    assert not one.closed
    for dc_w in (8000, -8000):
        one.step(0.1, dc_w)
        assert one.pack_a == 0.0
    assert (one.charge_max_a, one.discharge_max_a) == (0.0, 0.0)
    assert not one.charge_enabled
    assert not one.discharge_enabled
    assert one.alarms == {"contactor"}


def test_opening_during_precharge_begins_all_anew() -> None:
    one = battery(bms={"contactor": {"starts": "open"}})
    assert not one.closed
    run(one, 1.0)
    one.bms.force_open = True
    run(one, 0.1)
    one.bms.force_open = False
    assert until(one, lambda b: b.closed) == pytest.approx(5 + 2 + 0.1, abs=0.2)


@pytest.mark.parametrize("dt_s", [0.1, 1.0])
def test_battery_opens_after_60_s_in_which_nobody_was_heard_and_closes_when_someone_is(dt_s: float) -> None:
    one = battery(bms={"contactor": {"when_silent": "open"}})
    run(one, 60 - dt_s, dt_s=dt_s)
    assert one.closed
    assert one.warnings == {"communication"}
    run(one, 2 * dt_s, dt_s=dt_s)
    assert not one.closed
    assert one.alarms == {"communication"}
    one.keepalive()
    for _ in range(100):
        run(one, 0.1)
        one.keepalive()
    assert one.closed
    assert not one.alarms


def test_keepalive_every_second_keeps_the_battery_closed_and_a_pausing_one_does_not_care() -> None:
    one, pausing = battery(bms={"contactor": {"when_silent": "open"}}), battery()
    for _ in range(120):
        one.keepalive()
        run(one, 1.0, dt_s=0.5)
    assert one.closed
    assert run(pausing, 600, dt_s=1.0).closed
    assert not pausing.alarms


# -- watches: what provokes each, and when it warns, raises an alarm, trips


def overload(share: float) -> Callable[[Battery], float]:
    return lambda one: share * FULL_A * one.pack_v


WATCHES = [  # battery, demanded power, name, level, after how long
    ("discharge_over_current", "warning", 10.0, battery, overload(1.08)),
    ("discharge_over_current", "alarm", 5.0, battery, overload(1.20)),
    ("discharge_over_current", "trip", 1.0, battery, overload(1.40)),
    ("charge_over_current", "warning", 10.0, battery, overload(-1.08)),
    ("charge_over_current", "alarm", 5.0, battery, overload(-1.20)),
    ("charge_over_current", "trip", 1.0, battery, overload(-1.40)),
    ("over_temperature", "warning", 5.0, lambda: battery(pack={"temperature_c": 51.0}), None),
    ("over_temperature", "alarm", 2.0, lambda: battery(pack={"temperature_c": 56.0}), None),
    ("over_temperature", "trip", 1.0, lambda: battery(pack={"temperature_c": 61.0}), None),
    ("under_temperature", "warning", 5.0, lambda: battery(pack={"temperature_c": 2.0}), None),
    ("under_temperature", "alarm", 2.0, lambda: battery(pack={"temperature_c": -2.0}), None),
    ("under_temperature", "trip", 10.0, lambda: battery(pack={"temperature_c": -5.0}), overload(-0.1)),
    ("imbalance", "warning", 60.0, lambda: battery(0.0, pack={"weak": {"behind_pct": -8.0}}), None),
]


@pytest.mark.parametrize(("name", "level", "after_s", "make", "demand"), WATCHES)
def test_watch_reaches_each_level_after_its_delay(
    name: str, level: str, after_s: float, make: Callable[[], Battery], demand: Callable[[Battery], float] | None
) -> None:
    one = make()
    for step in range(round((after_s + 0.1) / 0.01)):
        stands = {"warning": name in one.warnings, "alarm": name in one.alarms, "trip": not one.closed}[level]
        assert not stands or step * 0.01 > after_s - 0.02, f"after {step * 0.01:.2f} s"
        ambient_c = one.spec.pack.temperature_c
        one.step(0.01, demand(one) if demand else 0.0, ambient_c)
    assert {"warning": name in one.warnings, "alarm": name in one.alarms, "trip": not one.closed}[level]
    assert level == "trip" or one.closed


def test_overcharge_by_an_inverter_that_does_not_listen_warns_stops_and_trips() -> None:
    one = battery(0.98)
    warned_s = until(one, lambda b: "over_voltage" in b.warnings, -9000)
    alarmed_s = warned_s + until(one, lambda b: "over_voltage" in b.alarms, -9000)
    assert one.charge_max_a == 0
    assert not one.charge_enabled
    assert one.discharge_max_a > 0
    assert one.closed
    tripped_s = alarmed_s + until(one, lambda b: not b.closed, -9000)
    assert warned_s < alarmed_s < tripped_s
    assert 3.65 <= max(one.cell_max_v, 3.65) < 3.75


def test_deep_discharge_by_an_inverter_that_does_not_listen_trips_at_the_weakest_cell() -> None:
    one = battery(0.06, pack={"weak": {"capacity_pct": -5.0}})
    until(one, lambda b: "under_voltage" in b.alarms, 9000)
    assert one.discharge_max_a == 0
    assert one.charge_max_a > 0
    until(one, lambda b: not b.closed, 9000)
    assert one.cell_max_v > one.cell_min_v + 0.3
    assert one.soc == 0


@pytest.mark.parametrize(
    ("soc", "dc_w", "name", "levels_v"),
    [(0.99, -300, "over_voltage", (3.53, 3.58, 3.65)), (0.01, 300, "under_voltage", (2.85, 2.75, 2.50))],
)
def test_voltage_watches_begin_at_their_levels(
    soc: float, dc_w: float, name: str, levels_v: tuple[float, float, float]
) -> None:
    """So slowly that no delay is seen."""
    one, begun_v = battery(soc), []
    for holds in (lambda: name in one.warnings, lambda: name in one.alarms, lambda: not one.closed):
        while not holds():
            one.step(1.0, dc_w)
        begun_v.append(one.cell_max_v if dc_w < 0 else one.cell_min_v)
    assert begun_v == pytest.approx(levels_v, abs=0.005)


def test_trip_comes_on_time_within_a_long_step() -> None:
    """Overload from the start: 1 s of delay and 0.03 s to open, in steps of 0.7 s."""
    one = battery()
    dc_w = 1.4 * FULL_A * one.pack_v
    for _ in range(2):
        one.step(0.7, dc_w)
    assert not one.closed
    assert (0.5 - one.soc) * AH * 3600 == pytest.approx(1.03 * 1.4 * FULL_A, rel=0.03)


def test_heat_ramp_takes_the_current_away_before_it_trips() -> None:
    one = battery()
    one.pack.warming_c_per_s = 0.1
    until(one, lambda b: b.cell_c > 49.9, 2000)
    assert (one.charge_max_a, one.discharge_max_a) == pytest.approx((125, 250), abs=5)
    until(one, lambda b: b.cell_c > 55, 2000)
    assert (one.charge_max_a, one.discharge_max_a) == pytest.approx((0, 125), abs=5)
    until(one, lambda b: "over_temperature" in b.alarms, 2000)
    assert one.discharge_max_a == one.charge_max_a == 0
    assert one.closed
    until(one, lambda b: not b.closed, 2000)
    assert 60 <= one.cell_c < 62


def test_trip_outlasts_its_cause_and_nothing_closes_before() -> None:
    one = battery()
    one.bms.isolation_lost = True
    assert until(one, lambda b: not b.closed) == pytest.approx(1.0 + 0.03, abs=0.03)
    assert one.alarms == {"isolation"}
    run(one, 120)
    assert not one.closed
    one.bms.isolation_lost = False
    assert until(one, lambda b: b.closed) == pytest.approx(60 + 2 + 0.1, abs=0.2)
    assert not one.alarms


def test_short_excursion_raises_nothing() -> None:
    one = battery()
    for _ in range(20):
        run(one, 0.9, 1.4 * FULL_A * one.pack_v, dt_s=0.01)
        run(one, 0.1, 0.0, dt_s=0.01)
    assert one.closed
    assert not one.alarms


def test_level_falls_only_with_a_margin() -> None:
    """The warning begins at 50 C and ends below 45 C."""
    one = battery(pack={"temperature_c": 51.0})
    for warming_c_per_s, celsius, warned in ((0.0, 51.0, True), (-0.1, 47.0, True), (-0.1, 44.0, False)):
        one.pack.warming_c_per_s = warming_c_per_s
        until(one, lambda b, celsius=celsius: b.cell_c <= celsius)  # type: ignore[misc]
        one.pack.warming_c_per_s = 0.0
        run(one, 6)
        assert ("over_temperature" in one.warnings) == warned


# -- limits


@pytest.mark.parametrize(
    ("soc", "charge_a", "discharge_a"),
    [(0.0, 250, 0), (0.01, 250, 0), (0.03, 250, 125), (0.05, 250, 250), (0.5, 250, 250)]
    + [(0.96, 250, 250), (0.97, 156.25, 250), (0.98, 100, 250), (0.99, 50, 250)],
)
def test_currents_taper_at_both_ends_of_the_charge(soc: float, charge_a: float, discharge_a: float) -> None:
    """At 0 and 1 % the voltage of the cells says so as well; at 3 % it permits more than the estimate does."""
    one = battery(soc)
    assert one.charge_max_a == pytest.approx(charge_a)
    assert one.discharge_max_a == pytest.approx(discharge_a)


@pytest.mark.parametrize(
    ("celsius", "charge_a", "discharge_a"),
    [(-20, 0, 0), (-10, 0, 125), (0, 0, 250), (5, 50, 250), (10, 150, 250), (25, 250, 250)]
    + [(45, 250, 250), (50, 125, 250), (55, 0, 125), (60, 0, 0)],
)
def test_currents_follow_the_temperature(celsius: float, charge_a: float, discharge_a: float) -> None:
    one = battery(pack={"temperature_c": celsius})
    assert one.charge_max_a == pytest.approx(charge_a)
    assert one.discharge_max_a == pytest.approx(discharge_a)


def test_charging_to_the_top_ends_at_constant_voltage_and_stays_ended() -> None:
    one = battery(0.9)
    highest_v = ended_a = 0.0
    for _ in range(4 * 3600):
        obeyed(one, 1.0, -12_000)
        highest_v = max(highest_v, one.cell_max_v)
        ended_a = -one.pack_a if one.charge_enabled else ended_a
    assert 0.03 * AH < ended_a < 0.05 * AH, "the tail: a twentieth of the capacity per hour"
    assert 3.48 < highest_v < 3.53, "the charge voltage is held, no watch is near"
    assert one.soc > 0.99
    assert (one.soc_told, one.charge_max_a, one.charge_enabled) == (1.0, 0.0, False)
    assert one.discharge_max_a == FULL_A
    assert not one.alarms | one.warnings
    obeyed(one, 600, 5000)
    assert 0.96 < one.soc_told < 0.98
    while one.soc_told > 0.965:
        obeyed(one, 1.0, 5000)
    obeyed(one, 20, 0.0)
    assert one.charge_max_a > 150


@pytest.mark.parametrize(("chemistry", "cells"), [("lfp", 16), ("leaf", 14)])
def test_both_chemistries_come_to_full_and_to_empty_within_their_limits(chemistry: str, cells: int) -> None:
    one = battery(0.8, pack={"chemistry": chemistry, "cells": cells})
    obeyed(one, 4 * 3600, -8000)
    assert 0.99 < one.soc <= 1.0
    assert (one.soc_told, one.charge_max_a) == (1.0, 0.0)
    given_wh = 0.0
    for _ in range(8 * 3600):
        obeyed(one, 1.0, 6000)
        given_wh += one.pack_v * one.pack_a / 3600
    assert one.soc < 0.02
    assert one.soc_told < 0.02
    assert given_wh == pytest.approx(25_000, rel=0.04), "nameplate, but for what is lost"
    assert not one.alarms


def test_highest_cell_alone_takes_the_charge_current_away() -> None:
    one = battery(0.97, pack={"strong": {"behind_pct": -5.0}}, bms={"estimate": {"start_bias_pct": -10.0}})
    assert one.charge_max_a == FULL_A
    while one.cell_max_v < 3.46:
        obeyed(one, 1.0, -12_000)
    assert one.soc_told < 0.96
    assert one.cell_max_v > one.pack_v / 16 + 0.05
    assert one.charge_max_a == pytest.approx(0.4 * FULL_A, abs=15), "by its voltage: 1 at 3.40 V, 0 at 3.50 V"


def test_limits_fall_at_once_and_rise_slowly() -> None:
    one = battery()
    one.bms.limits_zero = True
    one.step(0.1, 0.0)
    assert (one.charge_max_a, one.discharge_max_a, one.closed) == (0.0, 0.0, True)
    one.bms.limits_zero = False
    run(one, 5.0)
    assert one.discharge_max_a == pytest.approx(100, rel=0.03)
    run(one, 10.0)
    assert one.discharge_max_a == FULL_A


def test_voltage_limits_are_those_of_the_cells() -> None:
    one = battery()
    assert (one.charge_max_v, one.discharge_min_v) == (56.0, 46.0)
    assert (one.modules, one.current_max_a) == (5, FULL_A)


def test_random_duty_within_the_limits_never_raises_anything() -> None:
    one, chance = Battery(BatterySpec(soc=0.5), seed="3"), Random(3)
    for _ in range(400):
        dc_w = chance.uniform(-15_000, 15_000)
        one.keepalive()
        obeyed(one, 50, dc_w, chance.choice((0.5, 1.0)))
        assert one.closed
        assert not one.alarms
        assert 0 <= one.soc_told <= 1
        assert 0 <= one.charge_max_a <= FULL_A
        assert 0 <= one.discharge_max_a <= FULL_A
        assert one.soc_told == pytest.approx(one.soc, abs=0.02)


# -- estimate


def test_perfect_sensor_counts_what_is_true() -> None:
    one = battery(0.8)
    run(one, 3600, 8000, 1.0)
    run(one, 1800, -8000, 1.0)
    assert one.soc_told == pytest.approx(one.soc, abs=0.0002)


@pytest.mark.parametrize(
    ("estimate", "dc_w", "points"),
    [({"current_offset_a": 2.0}, 0, -100 * 2 * 2 / AH), ({"current_offset_a": -2.0}, 0, 100 * 2 * 2 * 0.999 / AH)]
    + [({"current_gain_pct": -10.0}, 5000, 0.1 * 100 * 2 * 5000 / 52.5 / AH)],
)
def test_estimate_drifts_by_what_the_sensor_is_off(estimate: dict[str, float], dc_w: float, points: float) -> None:
    one = battery(0.6, bms={"estimate": estimate})
    run(one, 2 * 3600, dc_w, 1.0)
    assert 100 * (one.soc_told - one.soc) == pytest.approx(points, rel=0.02, abs=0.01)


def test_full_charge_sets_a_wrong_estimate_right() -> None:
    one = battery(0.9, bms={"estimate": {"start_bias_pct": -15.0}})
    assert one.soc_told == pytest.approx(0.75)
    obeyed(one, 3 * 3600, -8000)
    assert one.soc > 0.99
    assert one.soc_told == 1.0


def test_empty_cell_sets_a_wrong_estimate_right() -> None:
    one = battery(0.1, bms={"estimate": {"start_bias_pct": 15.0}})
    assert one.soc_told == pytest.approx(0.25)
    obeyed(one, 2 * 3600, 8000)
    assert one.soc < 0.02
    assert one.soc_told < 0.03
    assert one.force_charge


def test_capacity_is_believed_until_a_whole_discharge_has_shown_it() -> None:
    """At 70 % of the capacity, the estimate says 30 % where the pack is empty; then it knows better."""
    one = battery(1.0, pack={"capacity_factor": 0.7})
    obeyed(one, 600, -1000)
    assert (one.soc_told, one.soh_told) == (1.0, 1.0)
    assert one.capacity_wh == pytest.approx(17_500)
    most_wrong = 0.0
    for _ in range(4 * 3600):
        obeyed(one, 1.0, 6000)
        most_wrong = max(most_wrong, one.soc_told - one.soc)
    assert most_wrong == pytest.approx(0.3, abs=0.02)
    assert one.soc < 0.02
    assert one.soh_told == pytest.approx(0.7, abs=0.02)
    one.set_soc(0.5)
    before_soc = one.soc_told
    run(one, 600, 6000, 1.0)
    assert before_soc - one.soc_told == pytest.approx(0.5 - one.soc, rel=0.05)


def test_told_state_of_charge_comes_in_steps_and_late() -> None:
    coarse = battery(0.6, bms={"estimate": {"step_pct": 1.0}})
    told = set()
    for _ in range(1800):
        coarse.step(1.0, 8000)
        told.add(round(100 * coarse.soc_told, 6))
    assert told <= {float(percent) for percent in range(40, 61)}
    assert len(told) > 10
    late = battery(0.6, bms={"estimate": {"lag_s": 60.0, "step_pct": 0.0}})
    run(late, 1800, 8000, 1.0)
    behind_s = (late.soc_told - late.soc) * AH * 3600 / late.pack_a
    assert behind_s == pytest.approx(60, rel=0.02)


def test_set_state_of_charge_takes_the_estimate_along_with_its_error() -> None:
    one = battery(0.6, bms={"estimate": {"start_bias_pct": 5.0}})
    one.set_soc(0.3)
    assert one.soc == pytest.approx(0.3)
    assert one.soc_told == pytest.approx(0.35)
    one.set_soc(0.0)
    assert (one.soc, one.energy_wh) == (0.0, 0.0)


# -- requests


def test_force_charge_is_asked_below_5_percent_until_10() -> None:
    one = battery(0.06)
    asked = []
    for dc_w, goal in ((5000, 0.045), (-5000, 0.098), (-5000, 0.102)):
        while (one.soc_told - goal) * dc_w > 0:
            one.step(1.0, dc_w)
        asked.append(one.force_charge)
    assert asked == [True, True, False]


def test_full_charge_is_wanted_after_a_time_or_many_cycles_and_no_more_once_it_was_full() -> None:
    by_time = battery(0.9, bms={"full_wanted_after_s": 3600.0})
    run(by_time, 3590, dt_s=1.0)
    assert not by_time.full_charge_wanted
    run(by_time, 11, dt_s=1.0)
    assert by_time.full_charge_wanted
    obeyed(by_time, 3000, -8000)
    assert by_time.soc_told == 1.0
    assert not by_time.full_charge_wanted
    by_use = battery(0.6, bms={"full_wanted_after_cycles": 0.1})
    while not by_use.full_charge_wanted:
        by_use.step(1.0, 8000)
    assert 0.6 - by_use.soc == pytest.approx(0.2, abs=0.001), "a cycle is once out and once in"


def test_balancing_at_the_top_gives_capacity_back() -> None:
    one = battery(0.98, pack={"strong": {"behind_pct": 1.0}}, bms={"balance_a": 1.0})
    before_wh = one.capacity_wh
    assert before_wh == pytest.approx(0.99 * 25_000)
    balanced_s = 0
    for dc_w, length_s in ((-3000, 3600), (8000, 400)) * 3:
        for _ in range(length_s):
            was, apart_v = one.bms.balancing, one.cell_max_v - one.cell_min_v
            obeyed(one, 1.0, dc_w)
            balanced_s += one.bms.balancing
            assert not one.bms.balancing or (one.cell_max_v > 3.42 and apart_v > (0.004 if was else 0.009))
    assert not one.bms.balancing
    assert one.capacity_wh - before_wh == pytest.approx(balanced_s / 3600 * 5 / AH * 25_000, rel=0.2)
    assert one.capacity_wh > before_wh + 100


# -- the other faults


def test_held_state_of_charge_stands_while_the_energy_moves() -> None:
    one = battery(0.5)
    one.bms.hold_soc = True
    run(one, 1800, 8000, 1.0)
    assert one.soc_told == 0.5
    assert one.soc < 0.36
    one.bms.hold_soc = False
    run(one, 1.0)
    assert one.soc_told == pytest.approx(one.soc, abs=0.001)


@pytest.mark.parametrize("points_pct", [10.0, -10.0])
def test_jump_of_the_told_state_of_charge_leaves_the_truth_alone(points_pct: float) -> None:
    one = battery(0.5)
    one.bms.jump_soc(points_pct)
    run(one, 0.1)
    assert one.soc == pytest.approx(0.5)
    assert one.soc_told == pytest.approx(0.5 + points_pct / 100, abs=1e-4)


def test_lost_calibration_begins_again_from_the_voltage_which_load_and_hysteresis_bend() -> None:
    one = battery(0.5)
    run(one, 600, 9000, 1.0)
    one.bms.lose_calibration()
    one.step(0.1, 9000)
    assert one.soc_told < one.soc - 0.1, "the curve is flat, the load pulls the voltage down"


def test_battery_that_never_limits_lets_all_through() -> None:
    one = battery(0.97)
    assert not one.bms.never_limits
    one = Battery(msgspec.structs.replace(one.spec, never_limits=True))
    for _ in range(600):
        one.step(1.0, -12_000)
        assert one.charge_max_a == one.discharge_max_a == FULL_A
    assert one.closed
    assert one.cell_max_v > 3.65
    assert not one.alarms


def test_age_can_be_changed_while_it_runs() -> None:
    one = battery(0.5)
    one.pack.age(0.7, 1.5)
    assert one.capacity_wh == pytest.approx(17_500)
    assert one.soc == pytest.approx(0.5)


# -- the whole


@pytest.mark.parametrize("dt_s", [0.05, 1.0])
def test_steps_of_any_size_give_the_same(dt_s: float) -> None:
    one, fine = Battery(seed="9"), Battery(seed="9")
    for dc_w in (9000, -9000, 0, 18_500):
        run(one, 40, dc_w, dt_s)
        run(fine, 40, dc_w, 0.01)
        one.keepalive(), fine.keepalive()
    assert one.soc == pytest.approx(fine.soc, rel=1e-4)
    assert one.soc_told == pytest.approx(fine.soc_told, abs=2e-4)
    assert one.pack_v == pytest.approx(fine.pack_v, rel=1e-4)
    assert one.closed == fine.closed
    assert one.alarms == fine.alarms == {"discharge_over_current"}


def test_no_time_changes_nothing() -> None:
    one = run(battery(), 100, 5000, 1.0)
    before = one.soc, one.soc_told, one.cell_c, one.charge_max_a
    one.step(0.0, 5000)
    assert (one.soc, one.soc_told, one.cell_c, one.charge_max_a) == before


def test_battery_is_busy_only_while_something_is_about_to_happen() -> None:
    one = run(battery(), 10, 8000)
    assert not one.busy
    run(one, 0.2, 1.4 * FULL_A * one.pack_v)
    assert one.busy, "a watch is on its way to a trip"
    run(one, 1.0)
    run(one, 1.0, 1.08 * FULL_A * one.pack_v)
    assert not one.busy, "a warning changes nothing"
    run(one, 1.0)
    run(one, 0.2, 1.4 * FULL_A * one.pack_v)
    run(one, 1.0, 1.4 * FULL_A * one.pack_v)
    assert not one.closed
    run(one, 70)
    assert one.closed
    run(one, 10)
    assert not one.busy


def test_spec_comes_from_toml_and_says_where_it_is_wrong() -> None:
    toml = b"""
    soc = 0.5
    [pack]
    capacity_factor = 0.7
    [pack.weak]
    capacity_pct = -5
    [bms]
    charge_by_c = [[0, 0], [10, 1.0]]
    [bms.estimate]
    start_bias_pct = 15
    [bms.contactor]
    when_silent = "pause"
    """
    spec = msgspec.toml.decode(toml, type=BatterySpec)
    assert spec.pack.weak == CellSpread(capacity_pct=-5)
    assert spec.when_silent == "pause"
    assert Battery(spec).soc_told == pytest.approx(0.65)
    for wrong, path in (
        (b"[bms.estimate]\nstep_pct = 50", r"\$\.bms\.estimate\.step_pct"),
        (b"[bms]\ncharge_by_c = [[10, 0], [0, 1.0]]", r"curve.*\$\.bms"),
        (b"soc = 1.5", r"\$\.soc"),
    ):
        with pytest.raises(msgspec.ValidationError, match=path):
            msgspec.toml.decode(wrong, type=BatterySpec)
