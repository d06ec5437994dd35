"""Rules of safety and equipment as tables: both sides of every edge, each sign, and what missing data leaves."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.model import Derating, Limit, UnitSight
from controller.rules import (
    blocked,
    bms_current,
    cell_voltage,
    curve,
    fault_stop,
    force_charge,
    hold_power,
    nameplate,
    not_running,
    power_by_soc,
    pq_circle,
    ramp_down,
    released,
    temperature,
)
from controller.rules.unbounded import UNBOUNDED_W
from tests.words import a_battery, a_site, a_unit, an_inverter

SITE = a_site()
RULES: dict[Any, int] = {
    released: 0, fault_stop: 0, hold_power: 0, ramp_down: 0, blocked: 0, not_running: 1, nameplate: 1, bms_current: 1,
    cell_voltage: 1, temperature: 1, power_by_soc: 1, pq_circle: 1, force_charge: 1,
}  # fmt: skip


def seen_unit(battery: dict[str, Any] | None = None, unit: dict[str, Any] | None = None, **changes: Any) -> UnitSight:
    """Return a healthy unit with changes of its battery's reading, of its lines in the site file, and of itself."""
    changes = {"battery": a_battery(**(battery or {})), **changes}
    return a_unit(unit=msgspec.structs.replace(SITE.unit[0], **(unit or {})), **changes)


def laid(rule: Any, seen: UnitSight) -> Limit:
    """Return the limit that a rule lays; it must lay one, on this unit, in its own name and class."""
    found = rule.limit(SITE, seen)
    assert isinstance(found, Limit)
    assert (found.rule, found.priority, found.unit) == (rule.__name__.rpartition(".")[2], RULES[rule], "unit1")
    assert found.low_w <= found.high_w
    assert found.because
    return found


def interval(rule: Any, seen: UnitSight) -> tuple[int, int]:
    """Return the ends of the limit that a rule lays."""
    found = laid(rule, seen)
    return found.low_w, found.high_w


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.rpartition(".")[2])
def test_first_line_of_a_rule_tells_its_class(rule: Any) -> None:
    assert (rule.__doc__ or "").startswith(f"Class {RULES[rule]}: ")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.rpartition(".")[2])
def test_healthy_unit_has_its_nameplate_and_its_battery_and_no_other_limit(rule: Any) -> None:
    found = rule.limit(SITE, a_unit())
    assert (found is not None) is (rule in (nameplate, bms_current))


# --- class 0 ---------------------------------------------------------------------------------------------------------


def test_stopped_unit_stands_still_and_says_why() -> None:
    found = laid(fault_stop, a_unit(stopped="inverter1: inverter_fault", power_w=4000))
    assert (found.low_w, found.high_w, found.because) == (0, 0, "inverter1: inverter_fault")


@pytest.mark.parametrize(
    ("power_w", "expected"),
    [(0, (0, 0)), (1, (0, 1)), (-1, (-1, 0)), (4000, (0, 4000)), (-4000, (-4000, 0))],
)
def test_held_unit_goes_no_further_from_zero_than_it_stands(power_w: int, expected: tuple[int, int]) -> None:
    found = laid(hold_power, a_unit(held="meter lost", power_w=power_w))
    assert (found.low_w, found.high_w, found.because) == (*expected, "meter lost")


# 10 kW in 10 s is 1 W a millisecond.
@pytest.mark.parametrize(
    ("power_w", "elapsed_ms", "expected"),
    [
        (4000, 1000, (0, 3000)),
        (-4000, 1000, (-3000, 0)),
        (4000, 0, (0, 3999)),
        (-4000, 0, (-3999, 0)),
        (4000, 1, (0, 3999)),
        (4000, 2, (0, 3998)),
        (1001, 1000, (0, 1)),
        (1000, 1000, (0, 0)),
        (999, 1000, (0, 0)),
        (-1001, 1000, (-1, 0)),
        (-1000, 1000, (0, 0)),
        (-999, 1000, (0, 0)),
        (10_000, 9_999, (0, 1)),
        (10_000, 10_000, (0, 0)),
        (0, 1000, (0, 0)),
    ],
)
def test_fading_unit_is_at_zero_ten_seconds_after_its_nameplate(
    power_w: int, elapsed_ms: int, expected: tuple[int, int]
) -> None:
    moving = {"power_w": power_w, "elapsed_ms": elapsed_ms}
    found = laid(ramp_down, a_unit(fading="battery hot", **moving))
    assert (found.low_w, found.high_w, found.because) == (*expected, "battery hot")
    assert interval(not_running, a_unit(phase="ramp_down", **moving)) == expected


@pytest.mark.parametrize("greater", ["charge_max_w", "discharge_max_w"])
def test_unit_fades_at_the_greater_of_its_nameplates_rounded_down(greater: str) -> None:
    seen = seen_unit(unit={greater: 20_019}, fading="x", power_w=5000, elapsed_ms=1000)
    assert interval(ramp_down, seen) == (0, 2999)


@pytest.mark.parametrize(
    ("closed", "expected", "because"),
    [
        ({"no_charge": "door open"}, (0, UNBOUNDED_W), "door open"),
        ({"no_discharge": "frost"}, (-UNBOUNDED_W, 0), "frost"),
        ({"no_charge": "door open", "no_discharge": "frost"}, (0, 0), "door open; frost"),
    ],
)
def test_input_closes_its_direction_only(closed: dict[str, str], expected: tuple[int, int], because: str) -> None:
    found = laid(blocked, a_unit(**closed))
    assert (found.low_w, found.high_w, found.because) == (*expected, because)


@pytest.mark.parametrize("power_w", [0, 1, -1, 4000, -4000, 12_345])
def test_unit_that_is_left_to_its_own_timer_stands_where_it_is_measured_and_not_where_it_was_commanded(
    power_w: int,
) -> None:
    found = laid(released, a_unit(released=True, inverter=an_inverter(power_w), power_w=777))
    assert (found.low_w, found.high_w) == (power_w, power_w)
    assert found.because == f"it is left to its own timer and measured at {power_w:+d} W"


@pytest.mark.parametrize(
    "changes",
    [
        {"released": False, "inverter": an_inverter(4000)},
        {"released": True, "inverter": None},
        {"released": True, "inverter": an_inverter(None)},
        {"released": False, "inverter": None},
    ],
)
def test_unit_that_is_written_to_or_tells_no_power_is_not_pinned_to_one(changes: dict[str, Any]) -> None:
    assert released.limit(SITE, a_unit(power_w=4000, **changes)) is None


# --- class 1 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "because"),
    [("off", "off"), ("precharge", "contactor"), ("standby", "inverter"), ("fault", "failed")],
)
def test_unit_that_does_not_run_stands_still_whatever_it_was_told(phase: str, because: str) -> None:
    for power_w in (4000, -4000):
        found = laid(not_running, a_unit(phase=phase, power_w=power_w))
        assert (found.low_w, found.high_w) == (0, 0)
        assert because in found.because


def test_unit_that_is_being_stopped_says_so() -> None:
    assert laid(not_running, a_unit(phase="ramp_down", power_w=4000)).because == "the unit is being stopped"


@pytest.mark.parametrize(
    ("charge_set_w", "discharge_set_w", "expected", "by"),
    [
        (None, None, (-10_000, 8_000), "nameplate in the site file"),
        (10_000, 8_000, (-10_000, 8_000), "nameplate in the site file"),
        (9_999, None, (-9_999, 8_000), "the inverter is set lower than its nameplate"),
        (None, 7_999, (-10_000, 7_999), "the inverter is set lower than its nameplate"),
        (50_000, 50_000, (-10_000, 8_000), "nameplate in the site file"),
        (0, 0, (0, 0), "the inverter is set lower than its nameplate"),
        (1, 1, (-1, 1), "the inverter is set lower than its nameplate"),
        (-1, -1, (0, 0), "the inverter is set lower than its nameplate"),
    ],
)
def test_nameplate_is_the_lesser_of_site_file_and_inverter_and_says_which(
    charge_set_w: int | None, discharge_set_w: int | None, expected: tuple[int, int], by: str
) -> None:
    inverter = an_inverter(charge_max_w=charge_set_w, discharge_max_w=discharge_set_w)
    found = laid(nameplate, seen_unit(unit={"discharge_max_w": 8_000}, inverter=inverter))
    assert (found.low_w, found.high_w, found.because) == (*expected, by)


def test_nameplate_of_an_inverter_that_is_not_heard_is_the_site_files() -> None:
    assert interval(nameplate, a_unit(inverter=None)) == (-10_000, 10_000)


@pytest.mark.parametrize(
    ("battery", "expected"),
    [
        ({}, (-13_000, 11_700)),
        ({"charge_max_ma": 100_000}, (-5_200, 11_700)),
        ({"discharge_max_ma": 100_000}, (-13_000, 4_680)),
        ({"charge_max_ma": 0, "discharge_max_ma": 0}, (0, 0)),
        ({"charge_max_ma": 20, "discharge_max_ma": 20}, (-1, 0)),
        ({"force_charge": True}, (-13_000, 0)),
        ({"charge_max_ma": None}, (0, 11_700)),
        ({"discharge_max_ma": None}, (-13_000, 0)),
        ({"voltage_mv": None}, (0, 0)),
        ({"charge_allowed": False}, (0, 11_700)),
        ({"discharge_allowed": False}, (-13_000, 0)),
        ({"charge_allowed": None, "discharge_allowed": None}, (-13_000, 11_700)),
        ({"charge_max_ma": -5_000}, (0, 11_700)),
        ({"discharge_max_ma": -5_000}, (-13_000, 0)),
        ({"voltage_mv": -52_000}, (0, 0)),
        ({"charge_max_ma": 3_000_000, "discharge_max_ma": 3_000_000, "voltage_mv": 0}, (0, 0)),
        ({"charge_max_ma": 0, "discharge_max_ma": 0, "voltage_mv": 1_200_000}, (0, 0)),
        ({"charge_max_ma": -1, "discharge_max_ma": -1, "voltage_mv": 1_200_000}, (0, 0)),
        ({"charge_max_ma": 1, "discharge_max_ma": 2, "voltage_mv": 1_200_000}, (-1, 1)),
    ],
)
def test_bms_current_allows_only_what_the_battery_tells(battery: dict[str, Any], expected: tuple[int, int]) -> None:
    assert interval(bms_current, seen_unit(battery)) == expected


@pytest.mark.parametrize(
    ("part", "expected"),
    [((1, 1), (-13_000, 11_700)), ((1, 3), (-4_333, 3_900)), ((2, 3), (-8_666, 7_800)), ((1, 7), (-1_857, 1_671))],
)
def test_units_on_one_battery_get_their_part_of_its_current_rounded_down(
    part: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert interval(bms_current, a_unit(part=part)) == expected


@pytest.mark.parametrize(
    ("battery", "part", "because"),
    [
        ({"charge_max_ma": 74_900}, (1, 1), "the battery allows 74 A in, 250 A out at 52 V"),
        (
            {"discharge_max_ma": None, "voltage_mv": None},
            (1, 1),
            "the battery allows 250 A in, none out at unknown voltage",
        ),
        ({"charge_max_ma": None}, (1, 1), "the battery allows none in, 250 A out at 52 V"),
        ({"charge_allowed": False}, (1, 1), "the battery allows 250 A in, 250 A out at 52 V, charging not permitted"),
        (
            {"discharge_allowed": False, "force_charge": True},
            (1, 1),
            "the battery allows 250 A in, 250 A out at 52 V, discharging not permitted, it asks to be charged",
        ),
        ({}, (1, 2), "the battery allows 250 A in, 250 A out at 52 V; 1/2 of it for this unit"),
    ],
)
def test_bms_current_says_what_the_battery_told(battery: dict[str, Any], part: tuple[int, int], because: str) -> None:
    assert laid(bms_current, seen_unit(battery, part=part)).because == because


def test_bms_current_allows_nothing_of_a_battery_that_is_not_heard() -> None:
    found = laid(bms_current, a_unit(battery=None))
    assert (found.low_w, found.high_w, found.because) == (0, 0, "the battery is not heard")


@pytest.mark.parametrize(
    ("battery", "unit", "part", "forced_w"),
    [
        ({}, {}, (1, 1), 500),
        ({}, {"charge_max_w": 10_019}, (1, 1), 500),
        ({}, {"discharge_max_w": 90_000}, (1, 1), 500),
        ({}, {"min_power_w": 499}, (1, 1), 500),
        ({}, {"min_power_w": 800}, (1, 1), 800),
        ({"charge_max_ma": 9_000}, {}, (1, 1), 468),
        ({"charge_max_ma": 9_000}, {}, (1, 2), 234),
        ({"charge_max_ma": 9_000}, {"min_power_w": 800}, (1, 1), 468),
        ({"charge_max_ma": 0}, {}, (1, 1), 0),
        ({"charge_max_ma": None}, {}, (1, 1), 0),
        ({"voltage_mv": None}, {}, (1, 1), 0),
        ({"charge_allowed": False}, {}, (1, 1), 0),
    ],
)
def test_battery_that_asks_for_it_is_charged_by_force_within_its_own_limit(
    battery: dict[str, Any], unit: dict[str, Any], part: tuple[int, int], forced_w: int
) -> None:
    found = laid(force_charge, seen_unit({"force_charge": True, **battery}, unit, part=part))
    assert (found.low_w, found.high_w) == (-UNBOUNDED_W, -forced_w)
    assert found.because == f"the battery asks to be charged by force: {forced_w} W"


def test_battery_that_is_not_heard_is_not_charged_by_force() -> None:
    assert force_charge.limit(SITE, a_unit(battery=None)) is None


# --- derating --------------------------------------------------------------------------------------------------------

CHARGE = ((3400, 100), (3450, 40), (3500, 10), (3600, 0))
DISCHARGE = ((2900, 0), (3000, 100))


@pytest.mark.parametrize(
    ("points", "value", "scale", "expected"),
    [
        ((), 3400, 1, 100),
        (((10, 30),), 9, 1, 30),
        (((10, 30),), 11, 1, 30),
        (CHARGE, 0, 1, 100),
        (CHARGE, 3399, 1, 100),
        (CHARGE, 3400, 1, 100),
        (CHARGE, 3401, 1, 98),
        (CHARGE, 3449, 1, 41),
        (CHARGE, 3450, 1, 40),
        (CHARGE, 3451, 1, 39),
        (CHARGE, 3499, 1, 10),
        (CHARGE, 3599, 1, 0),
        (CHARGE, 3600, 1, 0),
        (CHARGE, 9999, 1, 0),
        (DISCHARGE, 2899, 1, 0),
        (DISCHARGE, 2999, 1, 99),
        (((-10, 0), (0, 7)), -5, 1, 3),
        (((-10, 7), (0, 0)), -5, 1, 3),
        (((-10, 0), (10, 100)), -10_001, 1000, 0),
        (((-10, 0), (10, 100)), -9_801, 1000, 0),
        (((-10, 0), (10, 100)), -9_800, 1000, 1),
        (((-10, 0), (10, 100)), 9_999, 1000, 99),
        (((-10, 0), (10, 100)), 10_000, 1000, 100),
    ],
)
def test_curve_is_straight_between_its_points_level_beyond_them_and_rounded_down(
    points: Any, value: int, scale: int, expected: int
) -> None:
    assert curve.percent(points, value, scale) == expected


POINTS = st.dictionaries(st.integers(-100, 100), st.integers(0, 100), min_size=1, max_size=6)


@given(POINTS, st.integers(-150, 150), st.integers(1, 1000))
@example({0: 100, 1: 0}, 0, 1)
def test_curve_passes_through_its_points_and_never_leaves_their_range(
    points: dict[int, int], value: int, scale: int
) -> None:
    line = tuple(sorted(points.items()))
    assert min(points.values()) <= curve.percent(line, value, scale) <= max(points.values())
    for point, pct in line:
        assert curve.percent(line, point * scale, scale) == pct


@pytest.mark.parametrize(
    ("value_mv", "before_pct", "latch", "expected"),
    [
        (None, 30, True, 30),
        (None, 100, False, 100),
        (499, 30, True, 30),
        (5001, 30, False, 30),
        (500, 30, True, 100),
        (5000, 30, True, 0),
        (3450, 100, True, 40),
        (3450, 100, False, 40),
        (3450, 39, True, 39),
        (3450, 39, False, 40),
        (3450, 41, True, 40),
        (3401, 10, True, 10),
        (3400, 10, True, 100),
        (3400, 10, False, 100),
    ],
)
def test_voltage_derating_latches_until_it_is_fully_released(
    value_mv: int | None, before_pct: int, latch: bool, expected: int
) -> None:
    assert cell_voltage.next_pct(CHARGE, value_mv, before_pct, latch) == expected


def test_cell_that_rebounds_as_the_current_falls_does_not_swing_the_power() -> None:
    pct = 100
    found = []
    for value_mv in (3390, 3450, 3440, 3410, 3455, 3410, None, 3401, 3400, 3410):
        pct = cell_voltage.next_pct(CHARGE, value_mv, pct, latch=True)
        found.append(pct)
    assert found == [100, 40, 40, 40, 37, 37, 37, 37, 100, 88]


BOTH = {"charge_by_cell_max_mv": CHARGE, "discharge_by_cell_min_mv": DISCHARGE}


def cells(highest_mv: int | None, lowest_mv: int | None, curves: dict[str, Any] = BOTH, **changes: Any) -> UnitSight:
    """Return a unit of 10 kW charging and 8 kW discharging with these cells."""
    battery = {"cell_max_mv": highest_mv, "cell_min_mv": lowest_mv}
    return seen_unit(battery, {"derating": Derating(**curves), "discharge_max_w": 8_000}, **changes)


@pytest.mark.parametrize(
    ("highest_mv", "lowest_mv", "expected", "because"),
    [
        (3450, 3200, (-4_000, UNBOUNDED_W), "highest cell 3450 mV leaves 40 % for charging"),
        (3300, 2950, (-UNBOUNDED_W, 4_000), "lowest cell 2950 mV leaves 50 % for discharging"),
        (
            3450,
            2950,
            (-4_000, 4_000),
            "highest cell 3450 mV leaves 40 % for charging, lowest cell 2950 mV leaves 50 % for discharging",
        ),
        (3401, 3000, (-9_800, UNBOUNDED_W), "highest cell 3401 mV leaves 98 % for charging"),
        (3600, 3200, (0, UNBOUNDED_W), "highest cell 3600 mV leaves 0 % for charging"),
        (None, 3200, (0, UNBOUNDED_W), "highest cell not known leaves 0 % for charging"),
        (3300, None, (-UNBOUNDED_W, 0), "lowest cell not known leaves 0 % for discharging"),
        (499, 499, (0, 0), "highest cell not known leaves 0 % for charging"),
        (500, 3200, None, ""),
        (3300, 5000, None, ""),
        (5001, 5001, (0, 0), "lowest cell not known leaves 0 % for discharging"),
        (3400, 3000, None, ""),
    ],
)
def test_cells_near_their_voltage_limits_derate_the_power(
    highest_mv: int | None, lowest_mv: int | None, expected: tuple[int, int] | None, because: str
) -> None:
    seen = cells(highest_mv, lowest_mv)
    if expected is None:
        assert cell_voltage.limit(SITE, seen) is None
        return
    assert interval(cell_voltage, seen) == expected
    assert because in laid(cell_voltage, seen).because


def test_all_cell_voltages_missing_stops_charging_and_discharging() -> None:
    assert interval(cell_voltage, cells(None, None)) == (0, 0)
    silent = msgspec.structs.replace(cells(3300, 3300), battery=None)
    assert interval(cell_voltage, silent) == (0, 0)


@pytest.mark.parametrize(
    ("curves", "expected"),
    [
        ({"charge_by_cell_max_mv": CHARGE}, (0, UNBOUNDED_W)),
        ({"discharge_by_cell_min_mv": DISCHARGE}, (-UNBOUNDED_W, 0)),
    ],
)
def test_missing_cell_closes_no_direction_without_a_curve(curves: dict[str, Any], expected: tuple[int, int]) -> None:
    assert interval(cell_voltage, cells(None, None, curves)) == expected
    assert cell_voltage.limit(SITE, cells(None, None, {}, charge_pct=0, discharge_pct=0)) is None


@pytest.mark.parametrize(
    ("held", "expected", "because"),
    [
        (
            {"charge_pct": 39},
            (-3_900, UNBOUNDED_W),
            "highest cell 3450 mV, held until it is fully released, leaves 39 % for charging",
        ),
        ({"charge_pct": 40}, (-4_000, UNBOUNDED_W), "highest cell 3450 mV leaves 40 % for charging"),
        ({"charge_pct": 41}, (-4_000, UNBOUNDED_W), "highest cell 3450 mV leaves 40 % for charging"),
        ({"charge_pct": 0}, (0, UNBOUNDED_W), "held until it is fully released, leaves 0 % for charging"),
        ({"discharge_pct": 99}, (-4_000, 7_920), "lowest cell 3200 mV, held until it is fully released, leaves 99 %"),
    ],
)
def test_latched_derating_holds_beyond_what_the_cell_tells_now(
    held: dict[str, int], expected: tuple[int, int], because: str
) -> None:
    found = laid(cell_voltage, cells(3450, 3200, **held))
    assert (found.low_w, found.high_w) == expected
    assert because in found.because


WARM = {"charge_by_temperature_c": ((0, 0), (20, 100), (40, 100), (50, 0))}
COLD = {"discharge_by_temperature_c": ((-20, 0), (0, 100))}


def warm(curves: dict[str, Any], now_mc: int | None, range_mc: tuple[int | None, int | None]) -> UnitSight:
    """Return a unit with a battery of these temperatures."""
    told = {"temperature_mc": now_mc, "temperature_min_mc": range_mc[0], "temperature_max_mc": range_mc[1]}
    return seen_unit(told, {"derating": Derating(**curves)})


@pytest.mark.parametrize(
    ("now_mc", "range_mc", "left_w", "because"),
    [
        (10_000, (None, None), 5_000, "battery at 10 degC leaves 50 %"),
        (19_999, (None, None), 9_900, "battery at 19.999 degC leaves 99 %"),
        (199, (None, None), 0, "battery at 0.199 degC leaves 0 %"),
        (200, (None, None), 100, "battery at 0.2 degC leaves 1 %"),
        (-3_500, (None, None), 0, "battery at -3.5 degC leaves 0 %"),
        (None, (10_000, 45_000), 5_000, "battery at 10 degC leaves 50 %"),
        (None, (15_000, 46_000), 4_000, "battery at 46 degC leaves 40 %"),
        (4_000, (15_000, 30_000), 2_000, "battery at 4 degC leaves 20 %"),
        (None, (None, None), 0, "temperature not known leaves 0 %"),
        (25_000, (25_000, None), 0, "temperature not known leaves 0 %"),
        (25_000, (None, 25_000), 0, "temperature not known leaves 0 %"),
        (25_000, (25_000, 120_001), 0, "temperature not known leaves 0 %"),
        (25_000, (-60_001, 25_000), 0, "temperature not known leaves 0 %"),
        (-60_001, (None, None), 0, "temperature not known leaves 0 %"),
        (120_001, (None, None), 0, "temperature not known leaves 0 %"),
        (-60_000, (None, None), 0, "battery at -60 degC leaves 0 %"),
        (120_000, (None, None), 0, "battery at 120 degC leaves 0 %"),
        (120_001, (10_000, 30_000), 5_000, "battery at 10 degC leaves 50 %"),
    ],
)
def test_charging_is_derated_by_the_worst_temperature_that_is_told(
    now_mc: int | None, range_mc: tuple[int | None, int | None], left_w: int, because: str
) -> None:
    found = laid(temperature, warm(WARM, now_mc, range_mc))
    assert (found.low_w, found.high_w) == (-left_w, UNBOUNDED_W)
    assert found.because == f"{because} for charging"


def test_discharging_has_a_temperature_curve_of_its_own() -> None:
    assert interval(temperature, warm(COLD, -10_000, (None, None))) == (-UNBOUNDED_W, 5_000)
    assert interval(temperature, warm({**WARM, **COLD}, -10_000, (None, None))) == (0, 5_000)
    assert temperature.limit(SITE, warm({**WARM, **COLD}, 20_000, (20_000, 40_000))) is None


def test_battery_without_a_temperature_is_free_only_where_no_curve_asks_for_one() -> None:
    assert temperature.limit(SITE, warm({}, None, (None, None))) is None
    silent = msgspec.structs.replace(warm(COLD, 20_000, (None, None)), battery=None)
    assert interval(temperature, silent) == (-UNBOUNDED_W, 0)


SOC = {"charge_by_soc_pct": ((90, 100), (100, 10)), "discharge_by_soc_pct": ((0, 0), (20, 100))}


@pytest.mark.parametrize(
    ("soc_bp", "expected", "because"),
    [
        (9_001, (-9_900, UNBOUNDED_W), "state of charge 90.01 % leaves 99 % for charging"),
        (9_500, (-5_500, UNBOUNDED_W), "state of charge 95 % leaves 55 % for charging"),
        (10_000, (-1_000, UNBOUNDED_W), "state of charge 100 % leaves 10 % for charging"),
        (1_999, (-UNBOUNDED_W, 9_900), "state of charge 19.99 % leaves 99 % for discharging"),
        (0, (-UNBOUNDED_W, 0), "state of charge 0 % leaves 0 % for discharging"),
        (None, (0, 0), "state of charge not known leaves 0 % for charging"),
        (-1, (0, 0), "state of charge not known leaves 0 % for discharging"),
        (10_001, (0, 0), "state of charge not known leaves 0 % for charging"),
    ],
)
def test_power_tapers_with_the_state_of_charge(soc_bp: int | None, expected: tuple[int, int], because: str) -> None:
    found = laid(power_by_soc, seen_unit(unit={"derating": Derating(**SOC)}, soc_bp=soc_bp))
    assert (found.low_w, found.high_w) == expected
    assert because in found.because


@pytest.mark.parametrize(("curves", "soc_bp"), [(SOC, 9_000), (SOC, 2_000), ({}, None)])
def test_state_of_charge_within_the_curves_leaves_all(curves: dict[str, Any], soc_bp: int | None) -> None:
    assert power_by_soc.limit(SITE, seen_unit(unit={"derating": Derating(**curves)}, soc_bp=soc_bp)) is None


# --- apparent power --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit_va", "inverter_va", "priority", "reactive_var", "power_w", "because"),
    [
        (5000, None, "active", 3000, 5000, "apparent power of 5000 VA"),
        (None, 4999, "active", None, 4999, "apparent power of 4999 VA"),
        (5000, 4999, "active", None, 4999, "apparent power of 4999 VA"),
        (5000, 5001, "active", None, 5000, "apparent power of 5000 VA"),
        (5000, -1, "active", None, 0, "apparent power of 0 VA"),
        (5000, None, "reactive", 3000, 4000, "apparent power of 5000 VA with 3000 var leaves 4000 W"),
        (5000, None, "reactive", -3000, 4000, "apparent power of 5000 VA with 3000 var leaves 4000 W"),
        (5000, None, "reactive", 2999, 4000, "apparent power of 5000 VA with 2999 var leaves 4000 W"),
        (5000, None, "reactive", 3001, 3999, "apparent power of 5000 VA with 3001 var leaves 3999 W"),
        (5000, None, "reactive", 0, 5000, "apparent power of 5000 VA with 0 var leaves 5000 W"),
        (5000, None, "reactive", 5000, 0, "apparent power of 5000 VA with 5000 var leaves 0 W"),
        (5000, None, "reactive", 6000, 0, "apparent power of 5000 VA with 6000 var leaves 0 W"),
        (None, 5000, "reactive", None, 4489, "apparent power of 5000 VA with an assumed 2200 var leaves 4489 W"),
        (51, None, "reactive", None, 45, "apparent power of 51 VA with an assumed 23 var leaves 45 W"),
    ],
)
def test_active_and_reactive_power_stay_inside_the_circle(
    unit_va: int | None, inverter_va: int | None, priority: str, reactive_var: int | None, power_w: int, because: str
) -> None:
    inverter = an_inverter(apparent_max_va=inverter_va, reactive_var=reactive_var)
    found = laid(pq_circle, seen_unit(unit={"apparent_max_va": unit_va, "priority": priority}, inverter=inverter))
    assert (found.low_w, found.high_w, found.because) == (-power_w, power_w, because)


def test_inverter_that_is_not_heard_leaves_the_circle_of_the_site_file() -> None:
    seen = seen_unit(unit={"apparent_max_va": 5000, "priority": "reactive"}, inverter=None)
    assert interval(pq_circle, seen) == (-4489, 4489)
    assert pq_circle.limit(SITE, a_unit(inverter=None)) is None


@pytest.mark.parametrize(
    ("measured_var", "ordered_var", "power_w"),
    [(0, 0, 10_000), (0, 6000, 8000), (6000, 0, 8000), (6000, 5999, 8000), (-6000, 6000, 8000), (5999, 6000, 8000)],
)
def test_with_reactive_power_first_the_ordered_var_are_left_free_before_they_flow(
    measured_var: int, ordered_var: int, power_w: int
) -> None:
    site = a_site()
    unit = msgspec.structs.replace(site.unit[0], apparent_max_va=10_000, priority="reactive")
    inverter = an_inverter(reactive_var=measured_var)
    limit = pq_circle.limit(site, a_unit(unit=unit, inverter=inverter, ordered_var=ordered_var))
    assert limit is not None
    assert (limit.low_w, limit.high_w) == (-power_w, power_w)
