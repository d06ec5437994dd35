"""Each rule as a table, both sides of every edge, and what it does when its data is missing."""

import sys

import msgspec
import pytest

from controller.engine import load, watch
from controller.model import Energy, Limit, Missing, Sight, Snapshot, State, Unit
from controller.programs import PROGRAMS, order_limits, target
from controller.programs.self_consumption import next_balance_w
from controller.rules import RULES, bms_current, customer_reserve, energy_barrier, fault_stop, nameplate, poi_limit
from tests.words import a_battery, a_meter, a_site, a_snapshot, a_target, all_fresh, an_inverter


def seen(snapshot: Snapshot, state: State | None = None, **changes: object) -> Sight:
    """Return a snapshot as the engine shows it to rules."""
    site = a_site(**changes)
    readings = {r.device: r for r in snapshot.readings}
    state = state or State()
    faults = watch.standing((), watch.conditions(site, state, snapshot, readings), snapshot.now_ms)
    estimate = load.estimate(site, state, snapshot, readings.get("meter"))  # type: ignore[arg-type]
    return Sight(
        site=site,
        snapshot=snapshot,
        meter=readings.get("meter"),  # type: ignore[arg-type]
        units=watch.sights(site, readings, faults),
        load_low_w=estimate.low_w,
        load_high_w=estimate.high_w,
        balance_w=estimate.balance_w,
    )


def interval(limits: list[Limit]) -> tuple[int, int]:
    """Return the interval of the only limit."""
    assert len(limits) == 1
    return limits[0].low_w, limits[0].high_w


@pytest.mark.parametrize(
    ("charge_set_w", "discharge_set_w", "expected", "by"),
    [
        (None, None, (-10_000, 10_000), "site file"),
        (10_000, 10_000, (-10_000, 10_000), "site file"),
        (9_999, None, (-9_999, 10_000), "inverter"),
        (None, 1, (-10_000, 1), "inverter"),
        (50_000, 50_000, (-10_000, 10_000), "site file"),
        (0, 0, (0, 0), "inverter"),
    ],
)
def test_nameplate_is_the_lesser_of_site_file_and_inverter_and_says_which(
    charge_set_w: int | None, discharge_set_w: int | None, expected: tuple[int, int], by: str
) -> None:
    inverter = an_inverter(0, charge_max_w=charge_set_w, discharge_max_w=discharge_set_w)
    limits = nameplate.limits(seen(a_snapshot(a_meter(), inverter, a_battery())))
    assert interval(limits) == expected
    assert by in limits[0].because


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (-13_000, 11_700)),
        ({"charge_max_ma": 100_000}, (-5_200, 11_700)),
        ({"discharge_max_ma": 100_000}, (-13_000, 4_680)),
        ({"charge_max_ma": 0, "discharge_max_ma": 0}, (0, 0)),
        ({"force_charge": True}, (-13_000, 0)),
        ({"charge_max_ma": None}, (0, 11_700)),
        ({"discharge_max_ma": None}, (-13_000, 0)),
        ({"voltage_mv": None}, (0, 0)),
        ({"charge_allowed": False}, (0, 11_700)),
        ({"discharge_allowed": False}, (-13_000, 0)),
        ({"charge_allowed": None, "discharge_allowed": None}, (-13_000, 11_700)),
        ({"charge_max_ma": -5_000}, (0, 11_700)),
        ({"charge_max_ma": 3_000_000, "discharge_max_ma": 3_000_000, "voltage_mv": 0}, (0, 0)),
    ],
)
def test_bms_current_allows_only_what_the_battery_tells(changes: dict[str, object], expected: tuple[int, int]) -> None:
    snapshot = a_snapshot(a_meter(), an_inverter(), a_battery(**changes))  # type: ignore[arg-type]
    assert interval(bms_current.limits(seen(snapshot))) == expected


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"charge_max_ma": 74_900}, "the battery allows 74 A in, 250 A out at 52 V"),
        ({"discharge_max_ma": None, "voltage_mv": None}, "the battery allows 250 A in, none out at unknown voltage"),
        ({"charge_max_ma": None}, "the battery allows none in, 250 A out at 52 V"),
        ({"charge_allowed": False}, "the battery allows 250 A in, 250 A out at 52 V, charging not permitted"),
        ({"discharge_allowed": False}, "the battery allows 250 A in, 250 A out at 52 V, discharging not permitted"),
    ],
)
def test_bms_current_says_what_the_battery_told(changes: dict[str, object], because: str) -> None:
    snapshot = a_snapshot(a_meter(), an_inverter(), a_battery(**changes))  # type: ignore[arg-type]
    assert bms_current.limits(seen(snapshot))[0].because == because


def test_bms_current_allows_nothing_of_a_battery_that_is_not_heard() -> None:
    snapshot = a_snapshot(a_meter(), an_inverter(), missing=(Missing(device="battery1", age_ms=9000),))
    assert interval(bms_current.limits(seen(snapshot))) == (0, 0)


@pytest.mark.parametrize(
    ("load_w", "expected"),
    [(0, (-11_900, 5_900)), (1000, (-10_900, 6_900)), (-3000, (-14_900, 2_900)), (-6000, (-17_900, -100))],
)
def test_poi_limit_moves_with_the_load(load_w: int, expected: tuple[int, int]) -> None:
    assert interval(poi_limit.limits(seen(all_fresh(load_w=load_w)))) == expected


def test_poi_limit_with_a_silent_meter_assumes_the_worst_and_forces_nothing() -> None:
    snapshot = a_snapshot(an_inverter(), a_battery(), missing=(Missing(device="meter", age_ms=9000),))
    assert interval(poi_limit.limits(seen(snapshot))) == (-900, 900)
    site = a_site()
    tight = msgspec.structs.replace(site.poi, export_max_w=1000, import_max_w=5000)
    assert interval(poi_limit.limits(seen(snapshot, poi=tight))) == (0, 0)
    only_import = msgspec.structs.replace(site.poi, import_max_w=5000)
    assert interval(poi_limit.limits(seen(snapshot, poi=only_import))) == (0, 900)
    only_export = msgspec.structs.replace(site.poi, export_max_w=1000)
    assert interval(poi_limit.limits(seen(snapshot, poi=only_export))) == (-900, 0)


@pytest.mark.parametrize(
    ("meter_w", "heard_w", "expected"),
    [
        (11_900, 0, (-1900, 0)),
        (11_000, 0, (-1900, 900)),
        (10_000, 0, (-1900, 1900)),
        (15_000, 5000, (-1900, 1900)),
        (18_000, 5000, (-1900, 0)),
        (-23_900, 0, (0, 1900)),
        (-23_000, 0, (-900, 1900)),
    ],
)
def test_the_other_unit_does_not_take_over_what_a_silent_inverter_may_still_do(
    meter_w: int, heard_w: int, expected: tuple[int, int]
) -> None:
    site = a_site(2)
    gone = (Missing(device="inverter2", age_ms=4000),)
    readings = (a_meter(meter_w), an_inverter(heard_w), a_battery(), a_battery(n=2))
    snapshot = a_snapshot(*readings, missing=gone, poi_battery_w=None)
    assert interval(poi_limit.limits(seen(snapshot, unit=site.unit, device=site.device, poi=site.poi))) == expected


def test_poi_limits_that_cross_meet_in_the_middle() -> None:
    poi = msgspec.structs.replace(a_site().poi, export_max_w=50, import_max_w=50, margin_w=100)
    low_w, high_w = interval(poi_limit.limits(seen(all_fresh(load_w=2000), poi=poi)))
    assert low_w == high_w == 2000


# 25 kWh: floor 2,500 Wh, ceiling 23,750 Wh, error 500 Wh, H = 120 s = 1/30 h, efficiency 90 %.
@pytest.mark.parametrize(
    ("soc_bp", "expected"),
    [
        (900, (-630_000, 0)),
        (1000, (-622_500, 0)),
        (1200, (-607_500, 0)),
        (1240, (-604_500, 2_700)),
        (6000, (-247_500, 324_000)),
        (9290, (-750, 546_075)),
        (9300, (0, 546_750)),
        (9500, (0, 560_250)),
        (10_000, (0, 594_000)),
    ],
)
def test_energy_barrier_tapers_to_floor_and_ceiling(soc_bp: int, expected: tuple[int, int]) -> None:
    assert interval(energy_barrier.limits(seen(all_fresh(soc_bp)))) == expected


def test_energy_barrier_horizon_is_the_watchdog_where_that_is_longer_and_an_hour_where_it_is_unknown() -> None:
    unit = a_site().unit[0]
    assert energy_barrier.horizon_ms(unit, 1000, 120) == 120_000
    assert energy_barrier.horizon_ms(msgspec.structs.replace(unit, watchdog_s=300), 1000, 120) == 301_000
    assert energy_barrier.horizon_ms(msgspec.structs.replace(unit, watchdog_s=None), 1000, 120) == 3_601_000


def test_energy_barrier_and_reserve_allow_no_discharge_when_the_state_of_charge_is_unknown() -> None:
    sight = seen(a_snapshot(a_meter(), an_inverter(), a_battery(None)))
    assert interval(energy_barrier.limits(sight)) == (0, 0)
    assert interval(customer_reserve.limits(sight))[1] == 0


@pytest.mark.parametrize(("soc_bp", "high_w"), [(3200, 0), (3199, 0), (3240, 2_700), (3300, 6_750), (2000, 0)])
def test_customer_reserve_is_kept_with_the_error_of_the_estimate(soc_bp: int, high_w: int) -> None:
    low_w, found_w = interval(customer_reserve.limits(seen(all_fresh(soc_bp))))
    assert found_w == high_w
    assert low_w <= -10_000_000, "the reserve never hinders charging"


@pytest.mark.parametrize(
    ("snapshot", "stopped"),
    [
        (all_fresh(), False),
        (a_snapshot(a_meter(), a_battery(), missing=(Missing(device="inverter1", age_ms=9000),)), True),
        (a_snapshot(a_meter(), an_inverter(), missing=(Missing(device="battery1", age_ms=9000),)), True),
        (a_snapshot(an_inverter(), a_battery(), missing=(Missing(device="meter", age_ms=9000),)), False),
        (a_snapshot(a_meter(), an_inverter(None), a_battery()), True),
        (a_snapshot(a_meter(), an_inverter(state="fault"), a_battery()), True),
        (a_snapshot(a_meter(), an_inverter(remote=False), a_battery()), True),
        (a_snapshot(a_meter(), an_inverter(), a_battery(alarms=("cell over-voltage",))), True),
        (a_snapshot(a_meter(), an_inverter(), a_battery(warnings=("cell high",))), False),
        (a_snapshot(a_meter(), an_inverter(), a_battery(contactor_closed=False)), True),
        (a_snapshot(a_meter(), an_inverter(), a_battery(None)), True),
        (a_snapshot(a_meter(), an_inverter(), a_battery(25_500)), True),
    ],
)
def test_fault_stop_stands_a_unit_still(snapshot: Snapshot, stopped: bool) -> None:
    limits = fault_stop.limits(seen(snapshot))
    assert bool(limits) is stopped
    if stopped:
        assert interval(limits) == (0, 0)
        assert limits[0].because


def test_a_set_point_at_the_poi_moves_with_the_load_and_rests_without_a_meter() -> None:
    order = msgspec.structs.replace(a_target(1000, domain="poi"), high_w=1500)
    wish = target(seen(all_fresh(load_w=2000, orders=(order,))))
    assert wish is not None
    assert (wish.low_w, wish.high_w, wish.priority) == (3000, 3500, 5)
    blind = target(seen(a_snapshot(an_inverter(), a_battery(), orders=(order,))))
    assert blind is not None
    assert (blind.low_w, blind.high_w, blind.priority) == (0, 0, 5)


def test_the_newest_of_several_set_points_is_the_wish() -> None:
    orders = tuple(msgspec.structs.replace(a_target(100 * n), name=f"o{n}", starts_ms=n % 3) for n in (1, 2, 3))
    wish = target(seen(all_fresh(orders=orders)))
    assert wish is not None
    assert wish.low_w == 200


@pytest.mark.parametrize(
    ("kind", "domain", "load_w", "expected"),
    [
        ("cease", "battery", (1000, 1000), (0, 0)),
        ("limit", "battery", (1000, 1000), (-100, 100)),
        ("limit", "poi", (1000, 1000), (900, 1100)),
        ("limit", "poi", (900, 1100), (1000, 1000)),
        ("limit", "poi", (0, 5000), (2500, 2500)),
        ("limit", "poi", (None, None), (0, 0)),
    ],
)
def test_orders_that_limit_narrow_by_the_worst_load_and_meet_in_the_middle_where_they_cross(
    kind: str, domain: str, load_w: tuple[int | None, int | None], expected: tuple[int, int]
) -> None:
    order = msgspec.structs.replace(a_target(0), kind=kind, domain=domain, low_w=-100, high_w=100)
    sight = msgspec.structs.replace(seen(all_fresh(orders=(order,))), load_low_w=load_w[0], load_high_w=load_w[1])
    (limit,) = order_limits(sight)
    assert (limit.low_w, limit.high_w, limit.priority) == (*expected, 5)


@pytest.mark.parametrize(
    ("last_w", "load_w", "nameplate_w", "expected_w"),
    [
        (None, 150, 20_000, 150),
        (1000, 1399, 20_000, 1139),
        (1000, 1400, 20_000, 1400),
        (1000, 601, 20_000, 860),
        (1000, 600, 20_000, 600),
        (1000, 1199, 1000, 1069),
        (1000, 1200, 1000, 1200),
    ],
)
def test_balance_follows_large_moves_whole_and_small_ones_at_reduced_gain(
    last_w: int | None, load_w: int, nameplate_w: int, expected_w: int
) -> None:
    assert next_balance_w(last_w, load_w, nameplate_w) == expected_w


def test_every_rule_and_program_lays_the_class_that_its_first_line_tells() -> None:
    sight = seen(a_snapshot(a_meter(), an_inverter(state="fault"), a_battery()))
    unknown = seen(a_snapshot(an_inverter(), a_battery(None)))
    for priority, limits in RULES:
        assert {limit.priority for limit in limits(sight) + limits(unknown)} == {priority}
        assert (sys.modules[limits.__module__].__doc__ or "").startswith(f"Class {priority}: ")
    for wish in PROGRAMS.values():
        blind = seen(a_snapshot(an_inverter(), a_battery()))
        assert (wish(blind).low_w, wish(blind).high_w) == (0, 0)
        for found in (wish(sight), wish(blind)):
            assert (sys.modules[wish.__module__].__doc__ or "").startswith(f"Class {found.priority}: ")


def test_energy_axis_of_the_smallest_site_keeps_its_order() -> None:
    energy = Energy(floor_pct=0, reserve_pct=0, ceiling_pct=100, soc_error_pct=0)
    unit = Unit(
        name="u",
        inverter="inverter1",
        battery="battery1",
        charge_max_w=1,
        discharge_max_w=1,
        capacity_wh=100,
        watchdog_s=10,
        settle_ms=0,
    )
    limits = energy_barrier.limits(seen(all_fresh(0), energy=energy, unit=(unit,)))
    assert interval(limits) == (-3000, 0)
