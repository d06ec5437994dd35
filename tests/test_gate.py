"""The gate, alone: what it lets pass, what it refuses and that it never raises."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.engine import step
from controller.gate import check
from controller.model import Command, Energy, FaultName, Missing, Notice, Site, Snapshot, State
from tests.test_engine import any_snapshot, any_state
from tests.words import a_battery, a_meter, a_site, a_snapshot, a_target, all_fresh, an_inverter


def a_command(power_w: int, device: str = "inverter1", valid_ms: int = 10_000) -> Command:
    return Command(device=device, power_w=power_w, running=True, valid_ms=valid_ms)


def refusal(power_w: int, snapshot: Snapshot, site: Site | None = None) -> str:
    return check(site or a_site(), snapshot, (a_command(power_w),))[0].refused


def with_battery(**changes: object) -> Snapshot:
    return a_snapshot(a_meter(), an_inverter(), a_battery(**changes))  # type: ignore[arg-type]


def with_inverter(**changes: object) -> Snapshot:
    return a_snapshot(a_meter(), an_inverter(**changes), a_battery())  # type: ignore[arg-type]


@pytest.mark.parametrize("power_w", [-10_000, -1, 0, 1, 10_000])
def test_a_command_inside_everything_passes(power_w: int) -> None:
    assert refusal(power_w, all_fresh(load_w=9000)) == ""


@pytest.mark.parametrize("power_w", [10_001, -10_001, 10**12])
def test_no_command_beyond_the_nameplate(power_w: int) -> None:
    assert "rating" in refusal(power_w, all_fresh())


def test_no_command_beyond_what_the_inverter_is_set_to() -> None:
    assert "rating" in refusal(5001, with_inverter(discharge_max_w=5000))
    assert refusal(5000, with_inverter(discharge_max_w=5000)) == ""
    assert "rating" in refusal(-5001, with_inverter(charge_max_w=5000))
    assert refusal(-5000, with_inverter(charge_max_w=5000)) == ""


@pytest.mark.parametrize(("valid_ms", "passes"), [(0, False), (-1, False), (1, True), (10_000, True), (10_001, False)])
def test_every_command_carries_a_lease_no_longer_than_the_watchdog(valid_ms: int, passes: bool) -> None:
    verdict = check(a_site(), all_fresh(), (a_command(0, valid_ms=valid_ms),))[0]
    assert (verdict.refused == "") is passes


def test_a_unit_without_a_known_watchdog_is_never_commanded() -> None:
    site = a_site()
    site = msgspec.structs.replace(site, unit=(msgspec.structs.replace(site.unit[0], watchdog_s=None),))
    assert refusal(0, all_fresh(), site)


@pytest.mark.parametrize("device", ["battery1", "meter", "inverter9", ""])
def test_only_inverters_of_the_site_are_written(device: str) -> None:
    assert "not the inverter" in check(a_site(), all_fresh(), (a_command(0, device),))[0].refused


def test_an_inverter_that_two_units_claim_is_not_written() -> None:
    site = a_site()
    twice = msgspec.structs.replace(site, unit=(site.unit[0], msgspec.structs.replace(site.unit[0], name="unit2")))
    assert refusal(0, all_fresh(), twice)


def test_not_even_zero_is_written_to_another_device_in_the_inverters_place() -> None:
    notice = Notice(fault="wrong_device", device="inverter1")
    assert refusal(0, all_fresh(notices=(notice,)))
    assert refusal(0, all_fresh(notices=(msgspec.structs.replace(notice, device="inverter2"),))) == ""
    assert refusal(0, all_fresh(notices=(msgspec.structs.replace(notice, fault="bad_reply"),))) == ""


@pytest.mark.parametrize("gone", ["inverter1", "battery1"])
def test_without_fresh_readings_only_zero_passes(gone: str) -> None:
    whole = all_fresh(load_w=9000)
    less = msgspec.structs.replace(
        whole, readings=tuple(r for r in whole.readings if r.device != gone), missing=(Missing(device=gone),)
    )
    assert "freshly" in refusal(100, less)
    assert "freshly" in refusal(-100, less)
    assert refusal(0, less) == ""


@pytest.mark.parametrize(("age_ms", "passes"), [(0, True), (3000, True), (3001, False), (-1, False)])
def test_the_gate_looks_at_the_age_itself(age_ms: int, passes: bool) -> None:
    snapshot = a_snapshot(a_meter(-5000), an_inverter(at_ms=100_000 - age_ms), a_battery())
    assert (refusal(1000, snapshot) == "") is passes


@pytest.mark.parametrize(("age_ms", "passes"), [(3500, True), (3501, False)])
def test_each_device_goes_stale_at_its_own_age(age_ms: int, passes: bool) -> None:
    snapshot = a_snapshot(a_meter(-5000), an_inverter(), a_battery(at_ms=100_000 - age_ms))
    assert (refusal(1000, snapshot) == "") is passes


@pytest.mark.parametrize(
    "snapshot",
    [
        with_inverter(state="fault"),
        with_inverter(remote=False),
        with_inverter(power_w=None),
        with_battery(alarms=("over-voltage",)),
        with_battery(contactor_closed=False),
    ],
)
def test_a_device_at_fault_takes_only_zero(snapshot: Snapshot) -> None:
    assert refusal(1, snapshot)
    assert refusal(-1, snapshot)
    assert refusal(0, snapshot) == ""


def test_a_closed_or_untold_contactor_is_no_reason_to_refuse() -> None:
    assert refusal(1, with_battery(contactor_closed=True)) == ""


@pytest.mark.parametrize(
    ("power_w", "changes", "passes"),
    [
        (5200, {"discharge_max_ma": 100_000}, True),
        (5201, {"discharge_max_ma": 100_000}, False),
        (-5200, {"charge_max_ma": 100_000}, True),
        (-5201, {"charge_max_ma": 100_000}, False),
        (1, {"discharge_max_ma": 0}, False),
        (1, {"discharge_max_ma": None}, False),
        (-1, {"charge_max_ma": None}, False),
        (1, {"voltage_mv": None}, False),
        (1, {"discharge_allowed": False}, False),
        (-1, {"discharge_allowed": False}, True),
        (-1, {"charge_allowed": False}, False),
        (1, {"charge_allowed": False}, True),
        (1, {"discharge_allowed": None}, True),
        (1, {"force_charge": True}, False),
        (-1, {"force_charge": True}, True),
        (1, {"discharge_max_ma": -100_000}, False),
        (5000, {"discharge_max_ma": 5_000_000, "voltage_mv": 1000}, True),
        (5000, {"discharge_max_ma": 4_999_999, "voltage_mv": 1000}, False),
    ],
)
def test_no_current_beyond_what_the_battery_permits(power_w: int, changes: dict[str, object], passes: bool) -> None:
    assert (refusal(power_w, with_battery(**changes)) == "") is passes


# H = 1 s + 10 s; floor 10 % + 2 % error, ceiling 95 % - 2 %; 1 bp of 25 kWh = 2.5 Wh.
@pytest.mark.parametrize(
    ("power_w", "soc_bp", "passes"),
    [
        (1, 1200, False),
        (736, 1201, True),
        (737, 1201, False),
        (10_000, 1214, True),
        (10_000, 1213, False),
        (-1, 9300, False),
        (-818, 9299, True),
        (-819, 9299, False),
        (-10_000, 9287, True),
        (-10_000, 9288, False),
        (1, None, False),
        (1, 10_001, False),
        (-1, -1, False),
        (1, 10_000, True),
        (-1, 0, True),
    ],
)
def test_no_command_could_leave_floor_and_ceiling_before_the_watchdog(
    power_w: int, soc_bp: int | None, passes: bool
) -> None:
    assert (refusal(power_w, with_battery(soc_bp=soc_bp)) == "") is passes


# What passes uses up the energy to the last W ms, what is refused lies less than a ten-thousandth (charging) or a
# millionth (discharging) above it: power x 11 s against 1 bp of the capacity, 90 % of it discharging.
@pytest.mark.parametrize(
    ("power_w", "soc_bp", "capacity_wh", "passes"),
    [
        (8100, 1211, 25_000, True),
        (10_000, 1202, 169_753, False),
        (-9000, 9289, 25_000, True),
        (-10_000, 9288, 25_461, False),
    ],
)
def test_the_energy_before_floor_and_ceiling_is_counted_exactly(
    power_w: int, soc_bp: int, capacity_wh: int, passes: bool
) -> None:
    site = a_site()
    site = msgspec.structs.replace(site, unit=(msgspec.structs.replace(site.unit[0], capacity_wh=capacity_wh),))
    assert (refusal(power_w, with_battery(soc_bp=soc_bp), site) == "") is passes


def test_a_poi_limit_that_demands_it_outranks_floor_and_ceiling_and_no_more_than_it_demands() -> None:
    thirsty = a_snapshot(a_meter(-14_000), an_inverter(), a_battery(1000))
    assert refusal(1, thirsty) == refusal(2100, thirsty) == ""
    assert "floor" in refusal(2101, thirsty)
    sunny = a_snapshot(a_meter(9000), an_inverter(), a_battery(9500))
    assert refusal(-3100, sunny) == ""
    assert "ceiling" in refusal(-3101, sunny)
    unknown = msgspec.structs.replace(thirsty, poi_battery_w=None)
    assert "floor" in refusal(2100, unknown)


@pytest.mark.parametrize(
    ("power_w", "meter_w", "passes"),
    [(1000, -42_000, True), (1000, -42_001, False), (-1000, 30_000, True), (-1000, 30_001, False)],
)
def test_a_meter_that_shows_what_no_site_can_be_relieves_nobody_of_floor_and_ceiling(
    power_w: int, meter_w: int, passes: bool
) -> None:
    soc_bp = 1000 if power_w > 0 else 9500
    assert (refusal(power_w, a_snapshot(a_meter(meter_w), an_inverter(), a_battery(soc_bp))) == "") is passes


@pytest.mark.parametrize(
    ("power_w", "meter_w", "measured_w", "passes"),
    [
        (5000, 6000, 4000, True),
        (4000, 6001, 4000, True),
        (4001, 6001, 4000, False),
        (1, 6001, -500, False),
        (-400, 6001, -500, True),
        (-5000, -12_000, -4000, True),
        (-4000, -12_001, -4000, True),
        (-4001, -12_001, -4000, False),
        (-1, -12_001, 500, False),
        (400, -12_001, 500, True),
    ],
)
def test_nothing_adds_to_a_poi_limit_that_is_exceeded(
    power_w: int, meter_w: int, measured_w: int, passes: bool
) -> None:
    snapshot = a_snapshot(a_meter(meter_w), an_inverter(measured_w), a_battery())
    assert (refusal(power_w, snapshot) == "") is passes


@pytest.mark.parametrize(("power_w", "passes"), [(1000, True), (1001, False), (-1000, True), (-1001, False)])
def test_without_a_meter_the_worst_load_and_generation_are_assumed(power_w: int, passes: bool) -> None:
    snapshot = a_snapshot(
        an_inverter(),
        a_battery(),
        missing=(Missing(device="meter"),),
    )
    site = a_site()
    site = msgspec.structs.replace(site, poi=msgspec.structs.replace(site.poi, load_max_w=11_000))
    assert (refusal(power_w, snapshot, site) == "") is passes


def test_without_a_meter_limits_below_the_worst_load_leave_zero() -> None:
    site = a_site()
    site = msgspec.structs.replace(site, poi=msgspec.structs.replace(site.poi, export_max_w=1000, import_max_w=1000))
    snapshot = a_snapshot(an_inverter(), a_battery(), missing=(Missing(device="meter"),))
    assert refusal(1, snapshot, site)
    assert refusal(-1, snapshot, site)
    assert refusal(0, snapshot, site) == ""


def test_units_are_judged_together_at_the_poi() -> None:
    readings = [a_meter(12_001), an_inverter(5000, 1), an_inverter(5000, 2), a_battery(6000, 1), a_battery(6000, 2)]
    commands = (a_command(9000, "inverter1"), a_command(1001, "inverter2"))
    verdicts = check(a_site(2), a_snapshot(*readings), commands)
    assert all(v.refused for v in verdicts)
    charging = (a_command(9000, "inverter1"), a_command(-1001, "inverter2"))
    assert not any(v.refused for v in check(a_site(2), a_snapshot(*readings), charging))
    more = (a_command(11_000, "inverter1"), a_command(-500, "inverter2"))
    first, second = check(a_site(2), a_snapshot(*readings), more)
    assert first.refused
    assert second.refused == "", "the one that goes the other way is not to blame"


@pytest.mark.parametrize("power_w", [1, -1])
@pytest.mark.parametrize(
    ("fault", "device", "passes"),
    [
        ("contradiction", "battery1", False),
        ("battery_implausible", "battery1", False),
        ("wrong_device", "battery1", False),
        ("contradiction", "battery2", True),
        ("bad_frame", "battery1", True),
    ],
)
def test_only_zero_passes_while_a_notice_stands_that_stops_the_unit(
    fault: FaultName, device: str, passes: bool, power_w: int
) -> None:
    snapshot = all_fresh(notices=(Notice(fault=fault, device=device),))
    assert (refusal(power_w, snapshot) == "") is passes
    assert refusal(0, snapshot) == ""


@pytest.mark.parametrize("soc_bp", [None, -1, 10_001])
def test_no_poi_limit_demands_power_of_a_battery_whose_charge_is_not_known(soc_bp: int | None) -> None:
    assert "state of charge" in refusal(2000, a_snapshot(a_meter(-14_000), an_inverter(), a_battery(soc_bp)))


def test_a_battery_of_negative_current_and_voltage_permits_nothing() -> None:
    assert refusal(1, with_battery(discharge_max_ma=-100_000, voltage_mv=-52_000))
    assert refusal(1, with_battery(discharge_max_ma=100_000, voltage_mv=0))


def test_one_unit_does_not_lean_on_another_whose_command_is_refused() -> None:
    readings = [a_meter(12_001), an_inverter(5000, 1), an_inverter(5000, 2), a_battery(6000, 1), a_battery(6000, 2)]
    readings[-1] = a_battery(6000, 2, charge_allowed=False)
    commands = (a_command(10_000, "inverter1"), a_command(-5000, "inverter2"))
    first, second = check(a_site(2), a_snapshot(*readings), commands)
    assert second.refused
    assert first.refused, "the other stays at 5 kW: 15 kW together would add to an export that is too large already"


@pytest.mark.parametrize("power_w", [float("nan"), 100.0, None, True, "100"])
def test_nothing_but_whole_watts_passes(power_w: object) -> None:
    wrong = msgspec.structs.replace(a_command(0), power_w=power_w)
    assert "whole watts" in check(a_site(), all_fresh(), (wrong,))[0].refused
    timeless = msgspec.structs.replace(a_command(0), valid_ms=power_w)
    assert "whole watts" in check(a_site(), all_fresh(), (timeless,))[0].refused


def test_an_inverter_that_is_commanded_twice_in_a_cycle_is_not_written() -> None:
    assert all(v.refused for v in check(a_site(), all_fresh(), (a_command(5000), a_command(-5000))))


def two_units(meter_w: int, measured_w: tuple[int | None, int | None], soc_bp: int = 6000) -> Snapshot:
    inverters = [an_inverter(power_w, n) for n, power_w in enumerate(measured_w, 1)]
    return a_snapshot(a_meter(meter_w), *inverters, a_battery(soc_bp, 1), a_battery(6000, 2))


PAIR = (a_command(5000, "inverter1"), a_command(-5000, "inverter2"))


@pytest.mark.parametrize(("meter_w", "measured_w"), [(12_001, -1000), (-24_001, 1000), (None, 0)])
def test_units_that_cancel_out_add_nothing_at_the_poi(meter_w: int | None, measured_w: int) -> None:
    site = a_site(2)
    snapshot = two_units(meter_w or 0, (measured_w, measured_w))
    if meter_w is None:
        snapshot = msgspec.structs.replace(snapshot, readings=snapshot.readings[1:])
        tight = msgspec.structs.replace(site.poi, export_max_w=1000, import_max_w=1000)
        site = msgspec.structs.replace(site, poi=tight)
    assert [v.refused for v in check(site, snapshot, PAIR)] == ["", ""]


def test_units_that_cancel_out_relieve_no_poi_limit_and_the_refused_one_takes_the_other_with_it() -> None:
    first, second = check(a_site(2), two_units(-30_000, (0, 0), soc_bp=1000), PAIR)
    assert "floor" in first.refused
    assert "already" in second.refused


def test_only_the_sites_own_inverters_and_what_they_tell_count_as_power_that_is_there_already() -> None:
    untold = two_units(12_001, (0, None))
    assert "already" in check(a_site(2), untold, (a_command(1),))[0].refused
    stranger = msgspec.structs.replace(an_inverter(5000), device="stranger")
    snapshot = msgspec.structs.replace(untold, readings=(*untold.readings, stranger))
    assert "already" in check(a_site(2), snapshot, (a_command(1000),))[0].refused


@settings(max_examples=300, deadline=None)
@given(any_snapshot(), st.integers(-(2**62), 2**62), st.integers(-(2**62), 2**62))
def test_the_gate_never_raises(snapshot: Snapshot, power_w: int, valid_ms: int) -> None:
    commands = (a_command(power_w, "inverter1", valid_ms), a_command(power_w, "inverter2", valid_ms))
    assert len(check(a_site(2), snapshot, commands)) == 2


@pytest.mark.parametrize("soc_bp", range(9280, 9310))
def test_the_last_watt_hour_below_the_ceiling_is_charged_and_not_refused(soc_bp: int) -> None:
    site = a_site(energy=Energy(floor_pct=10, reserve_pct=30, ceiling_pct=95, taper_s=11))
    snapshot = all_fresh(soc_bp, load_w=-5000, orders=(a_target(-10_000),))
    decision = step(site, State(), snapshot)[1]
    assert not check(site, snapshot, decision.commands)[0].refused


@settings(max_examples=400, deadline=None)
@given(any_snapshot(), any_state)
def test_what_the_engine_decides_on_plausible_data_the_gate_lets_pass(snapshot: Snapshot, state: State) -> None:
    """Two independent derivations agree; only a meter beyond its limit while our move is in flight may differ."""
    site = a_site(2)
    decision = step(site, State(standing=state.standing), snapshot)[1]
    verdicts = check(site, snapshot, decision.commands)
    refused = [v.refused for v in verdicts if v.refused and "already" not in v.refused]
    assert not refused
