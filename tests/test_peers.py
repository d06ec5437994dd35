"""What other controllers were found to get wrong, each as a test of what this site does instead.

The defects were found by reading and measuring peers; D1 to D22 are their numbers there.

D1: a protection that never fires, and keeps its last flag on a missing value
    test_a_battery_that_allows_nothing_is_not_used_in_that_direction_in_the_same_second
    test_a_limit_that_is_no_longer_told_does_not_stay_as_it_was
D2: a dispatch that adds up to more than was asked, and never says so
    test_total_of_ten_with_unit_two_at_least_eight_gives_two_and_eight
    test_what_is_shared_is_what_was_asked_to_the_watt
    test_an_order_against_a_limit_is_told_as_unmet_and_a_limit_that_is_gone_binds_no_more
D3: one contradiction gives 0 W to all
    test_one_rule_that_cannot_be_met_does_not_stop_the_plant
D4: an unknown state of charge removes the floor
    test_an_undefined_state_of_charge_never_removes_the_floor
D5: any write keeps every set point alive
    test_a_write_to_one_channel_does_not_keep_anothers_set_point_alive
D6: the watchdog is fed before the work is done
    test_the_watchdog_is_not_fed_by_a_cycle_that_failed
D7: 23 to 50 % overshoot behind a slow inverter
    test_the_balance_does_not_overshoot_behind_a_slow_inverter
D8: a total above the limit is smoothed away, a limit of 0 leaves some
    test_a_total_above_the_limits_is_cut_at_once_and_not_smoothed_away
    test_a_limit_cut_holds_for_the_sum_of_the_units
D9: a charge limit of 0 is overridden
    test_a_charge_limit_of_zero_is_never_overridden
D10: schedules in naive local time
    test_a_schedule_keeps_local_time_when_the_clocks_change
D11: a limit cut of 20 % waits for a minute
    test_a_limit_cut_of_a_fifth_acts_in_the_same_cycle
D12: without cell voltages or temperatures full current flows; so it does at NaN
    test_all_cell_voltages_missing_stops_charging
    test_a_missing_temperature_never_widens_a_limit
    test_a_number_that_is_none_cannot_be_read_decoded_or_let_through
D13: half an hour on the last limits of a battery that fell silent
    test_a_silent_battery_is_not_used_on_its_last_limits
D14: one full battery holds the others
    test_one_full_battery_does_not_hold_the_others
D15: dead zones circulate power, like batteries get unlike parts
    test_dead_zones_never_circulate_power
    test_a_unit_of_unknown_charge_takes_nothing_and_like_units_get_like_parts
D16: 0 W asked is not 0 W everywhere; all broken counts as all working
    test_nothing_asked_is_nothing_everywhere
    test_where_every_battery_is_broken_none_is_used
D17: least power 0 forbids charging; energy is compared with power; a list grows for ever
    test_a_unit_without_a_least_power_charges_down_to_a_watt
    test_the_power_before_the_floor_is_the_energy_over_the_time_it_may_act
    test_what_is_remembered_does_not_grow
D18: a missing voltage passes power through
    test_without_a_voltage_no_current_limit_becomes_power
D19: a tick with stale readings is skipped and the last command held
    test_stale_readings_are_not_used_and_no_cycle_is_skipped
D20: the floor is 0 %, missing keys pass, what the utility writes is not checked
    test_the_gate_knows_floor_and_missing_values_by_itself
    test_an_order_beyond_all_ratings_is_cut
D21: which inverter belongs to which battery is fixed in the code
    test_two_inverters_on_one_battery_share_what_it_allows
D22: after a long outage the process gives up
    test_a_day_of_silence_ends_as_soon_as_the_devices_are_back
Others of the same list: the order of a silent utility, limits against each other, a load that goes and comes
    test_the_order_of_a_silent_utility_lapses
    test_limits_that_exclude_each_other_are_met_in_the_order_of_their_classes
    test_a_load_that_goes_and_comes_is_covered_without_hunting

Left out, for they are no matter of the law: that a service runs as root (D6; tests/test_systemd.py has ours), a
negative power cast into a register (D21; the fill-every-field tests of tests/test_utility_sunspec_map.py), the roles
and the load tests of one protocol (D20).
"""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller.app.board import Board
from controller.app.calendar import Calendar
from controller.engine import share, step
from controller.gate import Memory, check, fingerprint
from controller.model import (
    AnyReading,
    Battery,
    Commission,
    Decision,
    Default,
    Derating,
    Inverter,
    Missing,
    Order,
    Poi,
    Ramp,
    Site,
    Snapshot,
    State,
    Utility,
    Window,
)
from hil.clock import run_virtual
from hil.run.lockstep import lockstep
from tests.golden_run import play
from tests.golden_stories import a_story, asks, load, program, with_unit
from tests.test_board import HandClock
from tests.test_site_runs import a_demo_site
from tests.words import a_battery, a_meter, a_site, a_snapshot, a_target, all_fresh, an_inverter

CURVES = Derating(
    charge_by_cell_max_mv=((3400, 100), (3600, 0)),
    discharge_by_cell_min_mv=((3000, 0), (3200, 100)),
    charge_by_temperature_c=((0, 0), (10, 100), (45, 100), (55, 0)),
    discharge_by_temperature_c=((-10, 0), (0, 100), (45, 100), (55, 0)),
)


def decide(snapshot: Snapshot, site: Site | None = None, state: State | None = None) -> Decision:
    return step(site or a_site(), state or State(), snapshot)[1]


def units_of(*batteries: Battery, power_w: int = 0, load_w: int = 0, **changes: Any) -> Snapshot:
    """Return a snapshot of as many sound units as there are batteries."""
    inverters = [an_inverter(power_w, n) for n in range(1, len(batteries) + 1)]
    return a_snapshot(a_meter(power_w * len(batteries) - load_w), *inverters, *batteries, **changes)


def later(at_ms: int, *, power_w: int = 0, load_w: int = 0, asked_w: int = 0, **battery: Any) -> Snapshot:
    """Return a snapshot of one unit at another time."""
    readings: list[AnyReading] = [a_meter(power_w - load_w, at_ms), an_inverter(power_w, at_ms=at_ms)]
    readings.append(msgspec.structs.replace(a_battery(at_ms=at_ms), **battery))
    return a_snapshot(*readings, now_ms=at_ms, orders=(a_target(asked_w, at_ms=at_ms),))


def powers_w(decision: Decision) -> list[int]:
    return [part.power_w for part in decision.shares]


def test_every_defect_of_the_list_has_its_test_and_every_test_its_defect() -> None:
    told = __doc__ or ""
    assert re.findall(r"^D(\d+): ", told, re.MULTILINE) == [str(number) for number in range(1, 23)]
    named = re.findall(r"^    (test_\w+)$", told, re.MULTILINE)
    here = {name for name in globals() if name.startswith("test_")}
    assert set(named) == here - {"test_every_defect_of_the_list_has_its_test_and_every_test_its_defect"}
    assert len(named) == len(set(named))


# -- limits of the battery ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("charging", [True, False])
@pytest.mark.parametrize("limit", [{"ma": 0}, {"ma": None}, {"allowed": False}])
def test_a_battery_that_allows_nothing_is_not_used_in_that_direction_in_the_same_second(
    charging: bool, limit: dict[str, Any]
) -> None:
    way = "charge" if charging else "discharge"
    closed = {f"{way}_max_ma": limit["ma"]} if "ma" in limit else {f"{way}_allowed": limit["allowed"]}
    asked_w = -5000 if charging else 5000
    state, before = step(a_site(), State(), later(100_000, load_w=3000, asked_w=asked_w))
    assert before.target_w == asked_w
    after = decide(later(101_000, power_w=asked_w, load_w=3000, asked_w=asked_w, **closed), state=state)
    assert after.target_w == 0
    other = decide(later(101_000, power_w=asked_w, load_w=3000, asked_w=-asked_w, **closed), state=state)
    assert other.target_w == -asked_w, "the other direction stays open"


def test_a_limit_that_is_no_longer_told_does_not_stay_as_it_was() -> None:
    state, low = step(a_site(), State(), later(100_000, load_w=9000, asked_w=9000, discharge_max_ma=100_000))
    assert low.target_w == 100 * 52 * 90 // 100
    gone = decide(later(101_000, load_w=9000, asked_w=9000, discharge_max_ma=None), state=state)
    assert gone.target_w == 0
    higher = decide(later(101_000, load_w=9000, asked_w=9000, discharge_max_ma=150_000), state=state)
    assert higher.target_w == 150 * 52 * 90 // 100


def test_a_limit_cut_of_a_fifth_acts_in_the_same_cycle() -> None:
    site = a_site(ramp=Ramp(rate_w_per_s=10))
    before = State(target_w=-2600, decided_ms=100_000)
    state, first = step(site, before, later(100_100, power_w=-2600, asked_w=-2600, charge_max_ma=50_000))
    assert first.target_w == -2600
    cut = decide(later(100_200, power_w=-2600, asked_w=-2600, charge_max_ma=40_000), site, state)
    assert cut.target_w == -2080
    assert cut.why == "bms_current(unit1)"


def test_a_total_above_the_limits_is_cut_at_once_and_not_smoothed_away() -> None:
    """Three units at 50 A each; then the batteries allow 10 A each."""
    asked_w = -7800
    site = a_site(3, ramp=Ramp(rate_w_per_s=100))
    full = units_of(
        *(a_battery(n=n, charge_max_ma=50_000) for n in (1, 2, 3)), power_w=-2600, orders=(a_target(asked_w),)
    )
    state, before = step(site, State(target_w=asked_w, decided_ms=99_000), full)
    assert powers_w(before) == [-2600, -2600, -2600]
    cut = units_of(
        *(a_battery(n=n, charge_max_ma=10_000) for n in (1, 2, 3)), power_w=-2600, orders=(a_target(asked_w),)
    )
    assert powers_w(decide(cut, site, state)) == [-520, -520, -520]
    none = units_of(*(a_battery(n=n, charge_max_ma=0) for n in (1, 2, 3)), power_w=-2600, orders=(a_target(asked_w),))
    assert powers_w(decide(none, site, state)) == [0, 0, 0]


def test_a_limit_cut_holds_for_the_sum_of_the_units() -> None:
    """What one unit may no longer give is not more than what the others may: the site's own limit stands too."""
    sound = units_of(*(a_battery(n=n) for n in (1, 2, 3)), load_w=2000, orders=(a_target(30_000),))
    assert sum(powers_w(decide(sound, a_site(3)))) == 18_000 + 2000 - 100
    weak = units_of(
        a_battery(n=1, discharge_max_ma=20_000), a_battery(n=2), a_battery(n=3), load_w=2000, orders=(a_target(30_000),)
    )
    decision = decide(weak, a_site(3))
    assert powers_w(decision)[0] == 20 * 52 * 90 // 100
    assert sum(powers_w(decision)) == decision.target_w == 18_000 + 2000 - 100


@pytest.mark.parametrize("soc_bp", [50, 900, 6000, 9400])
@pytest.mark.parametrize("asks", ["utility", "surplus", "forced", "storm"])
def test_a_charge_limit_of_zero_is_never_overridden(soc_bp: int, asks: str) -> None:
    """Neither by the utility, a surplus, the battery's own wish, a state of charge below the floor, nor a storm."""
    site = a_site(utility=Utility(default=Default(program="self_consumption")))
    orders: tuple[Order, ...] = (a_target(-5000),) if asks == "utility" else ()
    if asks == "storm":
        reserve = msgspec.structs.replace(a_target(0), kind="reserve", soc_bp=9000, by_ms=100_001)
        orders = (reserve,)
    battery = a_battery(soc_bp, charge_max_ma=0, force_charge=asks == "forced")
    snapshot = a_snapshot(a_meter(4000), an_inverter(), battery, orders=orders, utility_silent=asks != "utility")
    assert decide(snapshot, site).target_w >= 0


def test_all_cell_voltages_missing_stops_charging() -> None:
    site = with_unit(derating=CURVES)
    told: dict[str, Any] = {"cell_max_mv": 3300, "cell_min_mv": 3290, "temperature_mc": 20_000}
    for asked_w in (-5000, 5000):
        sound = decide(later(100_000, load_w=3000, asked_w=asked_w, **told), site)
        assert sound.target_w == asked_w
        blind = decide(
            later(100_000, load_w=3000, asked_w=asked_w, **(told | {"cell_max_mv": None, "cell_min_mv": None})), site
        )
        assert blind.target_w == 0
        assert blind.why == "cell_voltage(unit1)"


@pytest.mark.parametrize("missing", [("temperature_min_mc",), ("temperature_max_mc",), ("temperature_mc",)])
def test_a_missing_temperature_never_widens_a_limit(missing: tuple[str, ...]) -> None:
    site = with_unit(derating=CURVES)
    cells: dict[str, Any] = {"cell_max_mv": 3300, "cell_min_mv": 3290}
    for at_mc in (-20_000, -5000, 2000, 20_000, 50_000, 60_000):
        told: dict[str, Any] = {"temperature_mc": at_mc, "temperature_min_mc": at_mc, "temperature_max_mc": at_mc}
        for asked_w in (-10_000, 8000):
            known = decide(later(100_000, load_w=3000, asked_w=asked_w, **cells, **told), site)
            less = decide(
                later(100_000, load_w=3000, asked_w=asked_w, **cells, **(told | dict.fromkeys(missing))), site
            )
            none = decide(later(100_000, load_w=3000, asked_w=asked_w, **cells), site)
            assert abs(less.target_w) <= abs(known.target_w)
            assert none.target_w == 0, "a curve makes the temperature mandatory"


def test_without_a_voltage_no_current_limit_becomes_power() -> None:
    for asked_w in (5000, -5000):
        decision = decide(later(100_000, load_w=3000, asked_w=asked_w, voltage_mv=None))
        assert (decision.target_w, decision.why) == (0, "bms_current(unit1)")


# -- energy -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("soc_bp", [None, -1, 10_001, 70_000])
@pytest.mark.parametrize("asked_w", [5000, -5000])
def test_an_undefined_state_of_charge_never_removes_the_floor(soc_bp: int | None, asked_w: int) -> None:
    known_low, first = step(a_site(), State(), later(100_000, load_w=3000, asked_w=5000, soc_bp=1000))
    assert first.target_w <= 0, "at the floor"
    for state in (State(), known_low):
        decision = decide(later(101_000, load_w=3000, asked_w=asked_w, soc_bp=soc_bp), state=state)
        assert decision.target_w == 0
        assert decision.available is not None
        assert (decision.available.discharge_w, decision.available.charge_w) == (0, 0)


def test_the_power_before_the_floor_is_the_energy_over_the_time_it_may_act() -> None:
    """100 Wh above the floor, at 90 %, over the taper of 120 s: 2700 W; with a taper of an hour 90 W."""
    energy = msgspec.structs.replace(a_site().energy, reserve_pct=0, soc_error_pct=0, error_growth_pct=0)
    for taper_s, allowed_w in ((120, 2700), (3600, 90)):
        site = a_site(energy=msgspec.structs.replace(energy, taper_s=taper_s))
        decision = decide(later(100_000, load_w=3000, asked_w=8000, soc_bp=1040), site)
        assert (decision.target_w, decision.why) == (allowed_w, "energy_barrier(unit1)")


def test_the_gate_knows_floor_and_missing_values_by_itself() -> None:
    """Whatever was decided: what a sound state admits is refused at the floor and where a value is missing."""
    site = a_site()
    record = Commission(site="test", fingerprint=fingerprint(site), by="a test", at="2026-01-01")
    command = decide(all_fresh(load_w=5000, orders=(a_target(5000),))).commands
    assert command[0].power_w == 5000

    def refused(**battery: Any) -> bool:
        told = a_snapshot(a_meter(-5000), an_inverter(), msgspec.structs.replace(a_battery(), **battery))
        verdicts, _ = check(site, record, told, Memory(), command)
        return bool(verdicts[0].refused)

    assert not refused()
    for value in (None, 0, 1000, float("nan"), -1, 65_535):
        assert refused(soc_bp=value), value
    for name in ("voltage_mv", "discharge_max_ma"):
        assert refused(**{name: None})
        assert refused(**{name: float("nan")})


# -- dispatch -----------------------------------------------------------------------------------------------------


def test_total_of_ten_with_unit_two_at_least_eight_gives_two_and_eight() -> None:
    assert share(10_000, [0, 8000], [10_000, 10_000], [1, 1]) == [2000, 8000]
    forced = a_battery(n=2, soc_bp=6000, force_charge=True)
    decision = decide(units_of(a_battery(), forced, orders=(a_target(-10_000),)), a_site(2))
    assert sum(powers_w(decision)) == -10_000, "and so it is with a unit that has to take some"
    assert powers_w(decision)[1] <= -500


@pytest.mark.parametrize("asked_w", [10_000, 12_000, 0, -10_000, 1, -1, 13, 7777])
def test_what_is_shared_is_what_was_asked_to_the_watt(asked_w: int) -> None:
    batteries = [a_battery(soc_bp, n) for n, soc_bp in enumerate((8000, 5500, 4000), 1)]
    decision = decide(units_of(*batteries, orders=(a_target(asked_w),)), a_site(3))
    assert (decision.target_w, sum(powers_w(decision))) == (asked_w, asked_w)


def test_an_order_against_a_limit_is_told_as_unmet_and_a_limit_that_is_gone_binds_no_more() -> None:
    at_most = msgspec.structs.replace(a_target(0), name="limit", kind="limit", low_w=-10_000, high_w=-2000)
    state, decision = step(a_site(), State(), all_fresh(orders=(a_target(5000), at_most)))
    assert (decision.target_w, decision.why) == (-2000, "utility_limit")
    assert [(one.rule, one.asked_w, one.by_w) for one in decision.unmet] == [("follow", 5000, 7000)]
    gone = decide(all_fresh(orders=(a_target(5000),)), state=state)
    assert (gone.target_w, gone.unmet) == (5000, ())


def test_one_rule_that_cannot_be_met_does_not_stop_the_plant() -> None:
    """18 kW of load behind 12 kW of import cannot be met with 5 kW: it is met as far as it goes, and told."""
    snapshot = a_snapshot(
        a_meter(-21_000), an_inverter(), a_battery(discharge_max_ma=100_000), orders=(a_target(1000),)
    )
    site = a_site()
    site = msgspec.structs.replace(site, poi=msgspec.structs.replace(site.poi, load_max_w=25_000))
    decision = decide(snapshot, site)
    assert decision.target_w == 100 * 52 * 90 // 100
    assert {"poi_limit", "follow"} <= {one.rule for one in decision.unmet}


def test_limits_that_exclude_each_other_are_met_in_the_order_of_their_classes() -> None:
    """Import of phase a beyond its limit asks for discharge, the battery's alarm for 0 W: the alarm is the stronger."""
    poi = Poi(
        meter="meter", import_max_w=12_000, export_max_w=0, load_max_w=25_000, generation_max_w=20_000, margin_w=0
    )
    site = msgspec.structs.replace(a_site(2), poi=poi)
    readings: list[AnyReading] = [
        a_meter(-15_000),
        an_inverter(),
        an_inverter(n=2),
        a_battery(alarms=("a",)),
        a_battery(n=2),
    ]
    decision = decide(a_snapshot(*readings), site)
    assert powers_w(decision) == [0, 3000]


@pytest.mark.parametrize("asked_w", [5000, 15_000, 25_000, 29_999, 30_000, -5000, -25_000])
def test_dead_zones_never_circulate_power(asked_w: int) -> None:
    """Three units that give or take 10 kW at least: what they cannot reach together is met by less, never against."""
    site = with_unit(a_site(3), min_power_w=10_000, charge_max_w=15_000, discharge_max_w=15_000)
    site = msgspec.structs.replace(
        site, poi=msgspec.structs.replace(site.poi, import_max_w=60_000, export_max_w=60_000)
    )
    batteries = [a_battery(n=n, charge_max_ma=400_000, discharge_max_ma=400_000) for n in (1, 2, 3)]
    decision = decide(units_of(*batteries, orders=(a_target(asked_w),)), site)
    parts_w = powers_w(decision)
    assert all(part_w == 0 or abs(part_w) >= 10_000 for part_w in parts_w)
    assert not (min(parts_w) < 0 < max(parts_w))
    reachable = {5000: {0}, 15_000: {15_000}, 25_000: {25_000}, 29_999: {29_999}, 30_000: {30_000}}
    assert abs(decision.target_w) in reachable[abs(asked_w)]
    assert (decision.why == "min_power") is (abs(asked_w) == 5000)


def test_a_unit_of_unknown_charge_takes_nothing_and_like_units_get_like_parts() -> None:
    readings = units_of(a_battery(), a_battery(None, 2), a_battery(n=3), orders=(a_target(-9000),))
    assert powers_w(decide(readings, a_site(3))) == [-4500, 0, -4500]


def test_nothing_asked_is_nothing_everywhere() -> None:
    batteries = [a_battery(soc_bp, n) for n, soc_bp in enumerate((9400, 5500, 1250), 1)]
    for order in ((a_target(0),), ()):
        for power_w in (0, 3000):
            decision = decide(units_of(*batteries, power_w=power_w, load_w=9000, orders=order), a_site(3))
            assert powers_w(decision) == [0, 0, 0]
            assert {command.power_w for command in decision.commands} == {0}


def test_where_every_battery_is_broken_none_is_used() -> None:
    batteries = [a_battery(n=n, alarms=("broken",)) for n in (1, 2, 3)]
    decision = decide(units_of(*batteries, orders=(a_target(9000),)), a_site(3))
    assert powers_w(decision) == [0, 0, 0]
    assert decision.available is not None
    assert (decision.available.discharge_w, decision.available.discharge_wh, decision.sellable_wh) == (0, 0, 0)


def test_one_full_battery_does_not_hold_the_others() -> None:
    for full in (1, 2, 3):
        batteries = [a_battery(9500 if n == full else 5000, n) for n in (1, 2, 3)]
        parts_w = powers_w(decide(units_of(*batteries, orders=(a_target(-8000),)), a_site(3)))
        assert parts_w[full - 1] == 0
        assert sorted(parts_w) == [-4000, -4000, 0]


def test_a_unit_without_a_least_power_charges_down_to_a_watt() -> None:
    for min_power_w, taken_w in ((0, -1), (1, -1), (2, 0)):
        site = with_unit(min_power_w=min_power_w)
        assert decide(all_fresh(orders=(a_target(-1),)), site).target_w == taken_w


def test_two_inverters_on_one_battery_share_what_it_allows() -> None:
    site = a_site(2)
    units = tuple(msgspec.structs.replace(unit, battery="battery1") for unit in site.unit)
    site = msgspec.structs.replace(site, unit=units)
    readings: list[AnyReading] = [
        a_meter(-15_000),
        an_inverter(),
        an_inverter(n=2),
        a_battery(discharge_max_ma=100_000),
    ]
    decision = decide(a_snapshot(*readings, orders=(a_target(12_000),)), site)
    allowed_w = 100 * 52 * 90 // 100
    assert sum(powers_w(decision)) == decision.target_w == allowed_w
    assert powers_w(decision) == [allowed_w // 2, allowed_w // 2]


def test_an_order_beyond_all_ratings_is_cut() -> None:
    for asked_w in (-(2**31), 2**31 - 1):
        decision = decide(all_fresh(load_w=4000, orders=(a_target(asked_w),)))
        assert decision.target_w == (9900 if asked_w > 0 else -7900)
        assert decision.unmet


# -- time and silence ---------------------------------------------------------------------------------------------


def a_board() -> tuple[Board, HandClock]:
    clock = HandClock()
    return Board(a_site(), clock), clock


def test_a_write_to_one_channel_does_not_keep_anothers_set_point_alive() -> None:
    board, clock = a_board()
    board.order(a_target(5000, at_ms=clock.at_ms, lease_ms=10_000))
    for _ in range(20):
        limit = msgspec.structs.replace(
            a_target(0, at_ms=clock.at_ms, lease_ms=10_000), name="limit", kind="limit", low_w=-9000, high_w=9000
        )
        board.order(limit)
        board.utility_heard()
        clock.at_ms += 1000
        lives = {order.name for order in board.freeze("").orders}
        assert ("wset" in lives) is (clock.at_ms < 110_000)
        assert "limit" in lives


def test_the_order_of_a_silent_utility_lapses() -> None:
    board, clock = a_board()
    board.order(a_target(5000, at_ms=clock.at_ms, lease_ms=10_000))
    site, state = a_site(utility=Utility(default=Default(power_w=700))), State()
    targets_w = []
    for _ in range(70):
        board.heard(a_meter(-9000, clock.at_ms))
        board.heard(an_inverter(0, at_ms=clock.at_ms))
        board.heard(a_battery(at_ms=clock.at_ms))
        state, decision = step(site, state, board.freeze(""))
        targets_w.append(decision.target_w)
        clock.at_ms += 1000
    assert targets_w[:10] == [5000] * 10
    assert set(targets_w[10:]) == {700}


def test_a_silent_battery_is_not_used_on_its_last_limits() -> None:
    board, clock = a_board()
    state = State()
    board.heard(a_battery(at_ms=clock.at_ms))
    stale_ms = next(device.stale_after_ms or 0 for device in a_site().device if device.name == "battery1")
    for _ in range(8):
        board.heard(a_meter(-9000, clock.at_ms))
        board.heard(an_inverter(0, at_ms=clock.at_ms))
        board.order(a_target(5000, at_ms=clock.at_ms))
        state, decision = step(a_site(), state, board.freeze(""))
        assert decision.target_w == (5000 if clock.at_ms - 100_000 <= stale_ms else 0)
        clock.at_ms += 500
    assert clock.at_ms - 100_000 > stale_ms, "it was heard and is not any more"


def test_stale_readings_are_not_used_and_no_cycle_is_skipped() -> None:
    board, clock = a_board()
    for reading in (a_meter(-3000), an_inverter(), a_battery()):
        board.heard(reading)
    state, seen = State(), []
    for _ in range(10):
        board.order(a_target(5000, at_ms=clock.at_ms))
        state, decision = step(a_site(), state, board.freeze(""))
        seen.append((clock.at_ms - 100_000, decision.target_w, len(decision.commands)))
        clock.at_ms += 1000
    assert seen[:4] == [(at_ms, 5000, 1) for at_ms in (0, 1000, 2000, 3000)]
    assert seen[4:] == [(at_ms, 0, 0) for at_ms in range(4000, 10_000, 1000)], (
        "decided at 0 W, and nothing written blind"
    )


def test_a_day_of_silence_ends_as_soon_as_the_devices_are_back() -> None:
    state = State()
    gone = tuple(Missing(device=name, age_ms=86_400_000) for name in ("meter", "inverter1", "battery1"))
    for minute in range(24 * 60):
        at_ms = 100_000 + minute * 60_000
        state, decision = step(a_site(), state, a_snapshot(now_ms=at_ms, missing=gone))
        assert (decision.target_w, decision.commands) == (0, ())
    targets_w = []
    for second in range(6):
        snapshot = later(at_ms + 60_000 + second * 1000, load_w=3000, asked_w=5000)
        state, decision = step(a_site(), state, snapshot)
        targets_w.append(decision.target_w)
    assert targets_w == [0, 0, 0, 5000, 5000, 5000], "the battery's clearing time of 3 s, and on"


def test_what_is_remembered_does_not_grow() -> None:
    state, sizes = State(), []
    for second in range(2000):
        power_w = 0 if second == 0 else state.target_w or 0
        asked_w = 4000 if second // 7 % 2 else -4000
        snapshot = later(100_000 + second * 1000, power_w=power_w, load_w=3000, asked_w=asked_w)
        state, _ = step(a_site(), state, snapshot)
        sizes.append(len(msgspec.json.encode(state)))
    assert max(sizes[1000:]) <= max(sizes[:1000])


@pytest.mark.parametrize(
    ("day", "utc_hour"),
    [("2026-03-28", 16), ("2026-03-29", 15), ("2026-10-24", 15), ("2026-10-25", 16)],
)
def test_a_schedule_keeps_local_time_when_the_clocks_change(day: str, utc_hour: int) -> None:
    """17:00 in Berlin is 16:00 UTC in winter and 15:00 UTC in summer, on the very day of the change."""
    window = Window(start="0 17 * * *", minutes=60, program="self_consumption")
    calendar = Calendar(a_site(timezone="Europe/Berlin", window=(window,)))
    begins = datetime.fromisoformat(day).replace(hour=utc_hour, tzinfo=UTC)
    for minutes, expected in ((-1, ""), (0, "self_consumption"), (59, "self_consumption"), (60, "")):
        at_ms = int((begins + timedelta(minutes=minutes)).timestamp() * 1000)
        assert calendar.program(at_ms) == expected


@pytest.mark.parametrize("late_s", [1, 2, 4])
def test_the_balance_does_not_overshoot_behind_a_slow_inverter(late_s: int) -> None:
    """The load steps by 5 kW; the inverter shows a command late_s seconds after it was written."""
    site = with_unit(a_site(utility=Utility(default=Default(program="self_consumption"))), settle_ms=late_s * 1000)
    state, sent_w, shown_w = State(), [0] * late_s, []
    for second in range(60):
        at_ms, power_w, load_w = 100_000 + second * 1000, sent_w[-late_s], 1000 if second < 20 else 6000
        readings = (a_meter(power_w - load_w, at_ms), an_inverter(power_w, at_ms=at_ms), a_battery(at_ms=at_ms))
        state, decision = step(site, state, a_snapshot(*readings, now_ms=at_ms))
        sent_w.append(decision.target_w)
        shown_w.append(power_w)
    assert max(shown_w) <= 6000 * 101 // 100
    assert shown_w[20 + 2 * late_s + 1] >= 5900, "and it is there after two dead times"
    assert all(abs(after_w - before_w) < 50 for before_w, after_w in pairwise(shown_w[40:]))


def test_a_load_that_goes_and_comes_is_covered_without_hunting() -> None:
    story = a_story("", program("self_consumption", 0, 60), load(6000, 20, 40), length_s=60)
    measured_w = [tick.measured_w for tick in play(story)]
    assert set(measured_w) == {0, 3000, 6000}
    assert asks(1).values["low_w"] == 1


# -- numbers that are none ----------------------------------------------------------------------------------------


def test_a_number_that_is_none_cannot_be_read_decoded_or_let_through() -> None:
    """A reading's numbers are whole: NaN is none, and one that was smuggled in is refused by the gate."""
    told = msgspec.to_builtins(a_battery())
    for kind in (Battery, Inverter):
        for name in kind.__struct_fields__:
            if name.endswith(("_mv", "_ma", "_bp", "_mc", "_w", "_var")):
                with pytest.raises(msgspec.ValidationError):
                    msgspec.convert({**told, "type": kind.__name__, name: float("nan")}, kind)
    site = a_site()
    record = Commission(site="test", fingerprint=fingerprint(site), by="a test", at="2026-01-01")
    commands = decide(all_fresh(load_w=5000, orders=(a_target(-5000),))).commands
    for name in ("cell_max_mv", "temperature_mc", "charge_max_ma"):
        smuggled = msgspec.structs.replace(a_battery(), **{name: float("nan")})
        snapshot = a_snapshot(a_meter(-5000), an_inverter(), smuggled)
        assert check(site, record, snapshot, Memory(), commands)[0][0].refused


# -- the service --------------------------------------------------------------------------------------------------


def test_the_watchdog_is_not_fed_by_a_cycle_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision that fails ends the process: nothing is fed after it, and systemd starts anew."""
    failing, fails_at_s, beats_s = False, 0.0, list[float]()

    def broken(site: Site, state: State, snapshot: Snapshot) -> tuple[State, Decision]:
        if failing:
            raise ZeroDivisionError("this is a test")
        return step(site, state, snapshot)

    async def main() -> None:
        nonlocal failing, fails_at_s
        async with lockstep(a_demo_site(), tmp_path) as bench:
            service = bench.service
            notify = service._notify

            def note(message: str) -> None:
                if message == "WATCHDOG=1":
                    beats_s.append(bench.loop.time())
                notify(message)

            service._notify = note
            await bench.wait(3)
            failing, fails_at_s = True, bench.loop.time()
            await bench.wait(3)

    monkeypatch.setattr("controller.app.decider.step", broken)
    with pytest.raises(ExceptionGroup) as ended:
        run_virtual(main())
    assert ended.group_contains(ZeroDivisionError)
    assert len([at_s for at_s in beats_s if at_s < fails_at_s]) >= 2, "it is fed once a second"
    assert not [at_s for at_s in beats_s if at_s >= fails_at_s]
