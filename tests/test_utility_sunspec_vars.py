"""Reactive power through the SunSpec door: what may be asked, how it is leased, what is shown of it."""

import asyncio
import struct

import msgspec
import pytest
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from controller.link.clock import Clock
from controller.model import Availability, Order, Site, Standing
from controller.utility.sunspec import SunSpecDoor
from controller.utility.sunspec_site import banks, registers
from tests.sunspec_master import ANN, LEASE_MS, START_MS, Book, Master, a_decision, battery_site
from tests.words import a_battery, a_site, a_snapshot, an_inverter

MOST_VAR = 5280  # IEEE 1547-2018, table 7: 44 % of 12 kVA


def var_site(**changes: object) -> Site:
    return battery_site(apparent_max_va=12_000, **changes)


@pytest.fixture
def master() -> Master:
    return Master(var_site())


def engage(master: Master, reactive_var: int, reversion_s: int = 0) -> None:
    assert master.write(W704_VarSetRvrtTms=reversion_s) == b""
    assert master.put("704.VarSet", reactive_var) == b""
    assert master.write(W704_VarSetEna=1, W704_VarSetMod=4) == b""


def test_vars_become_an_order_within_the_answer(master: Master) -> None:
    engage(master, -1500)
    assert master.book.orders["varset"] == Order(
        name="varset",
        source=f"sunspec {ANN}",
        kind="reactive",
        domain="battery",
        low_w=0,
        high_w=0,
        starts_ms=START_MS,
        expires_ms=START_MS + LEASE_MS,
        reactive_var=-1500,
    )
    assert master.write(W704_VarSetEna=0) == b""
    assert master.book.orders == {}


def test_vars_are_of_the_batteries_also_where_set_points_mean_the_poi() -> None:
    site = var_site()
    at_poi = msgspec.structs.replace(site, utility=msgspec.structs.replace(site.utility, domain="poi"))
    master = Master(at_poi)
    engage(master, 700)
    assert (master.book.orders["varset"].domain, master.book.orders["varset"].reactive_var) == ("battery", 700)


@pytest.mark.parametrize(
    ("share_bp", "reactive_var"), [(10_000, MOST_VAR), (-10_000, -MOST_VAR), (0, 0), (2501, 1320), (-2501, -1320)]
)
def test_vars_in_percent_are_of_the_most_vars_and_rounded_toward_zero(
    master: Master, share_bp: int, reactive_var: int
) -> None:
    assert master.put("704.VarSetPct", share_bp) == b""
    assert master.write(W704_VarSetEna=1, W704_VarSetMod=1) == b""
    assert master.book.orders["varset"].reactive_var == reactive_var


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("704.VarSet", MOST_VAR + 1, 3),
        ("704.VarSet", -MOST_VAR - 1, 3),
        ("704.VarSet", -(2**31), 3),  # not implemented
        ("704.VarSetRvrt", MOST_VAR + 1, 3),
        ("704.VarSetPct", 10_001, 3),
        ("704.VarSetPct", -32_768, 3),
        ("704.VarSetEna", 2, 3),
        ("704.VarSetMod", 0, 3),  # percent of WMax
        ("704.VarSetMod", 2, 3),  # percent of what is available
        ("704.VarSetMod", 3, 3),  # percent of VAMax
        ("704.VarSetMod", 5, 3),
        ("704.VarSetRvrtTms", 86_401, 3),
        ("704.VarSetRvrtRem", 1, 2),
        ("704.VarSetPri", 0, 2),  # each unit's own, in the site file
        ("704.VarSet_SF", 1, 2),
        ("702.VarMaxInj", 1, 2),
    ],
)
def test_vars_that_cannot_be_change_nothing_and_are_told(master: Master, name: str, value: int, code: int) -> None:
    engage(master, 1000)
    address, point = master.points[name]
    assert master.fail(address, point.info.to_data(value, 2 * point.len)) == code
    assert name in master.book.notices["utility_bad_write"]


def test_a_mode_that_is_not_served_is_told_with_those_that_are(master: Master) -> None:
    address, _ = master.points["704.VarSetMod"]
    master.fail(address, b"\0\3")
    assert "704.VarSetMod (register" in master.book.notices["utility_bad_write"]
    assert "= 3, allowed 1 or 4" in master.book.notices["utility_bad_write"]


def test_site_whose_units_tell_no_apparent_power_takes_no_vars_and_shows_none() -> None:
    master = Master()
    for name in ("VarSetEna", "VarSetMod", "VarSet", "VarSetPct", "VarSetRvrtTms", "VarSetRvrtRem", "VarSet_SF"):
        assert master.value(f"704.{name}") is None, name
    for name in ("VAMax", "VarMaxInj", "VarMaxAbs", "VAMaxRtg", "VarMaxInjRtg", "VarMaxAbsRtg", "Var_SF", "VA_SF"):
        assert master.value(f"702.{name}") is None, name
    master.door.tick()
    assert master.value("704.VarSetRvrtRem") is None
    address, _ = master.points["704.VarSetEna"]
    assert master.fail(address, b"\0\1") == 2


DISTINCT = {
    "704.VarSetEna": 1,
    "704.VarSetMod": 1,
    "704.VarSet": -404,
    "704.VarSetRvrt": 505,
    "704.VarSetPct": -606,
    "704.VarSetPctRvrt": 707,
    "704.VarSetEnaRvrt": 1,
    "704.VarSetRvrtTms": 80_808,
}


def test_every_writable_point_of_vars_reads_back_what_was_written(master: Master) -> None:
    more = [point.name for point in registers(var_site()) if point.legal is not None]
    less = [point.name for point in registers(battery_site()) if point.legal is not None]
    assert [name for name in more if name not in less] == list(DISTINCT)
    for name, value in DISTINCT.items():
        assert master.value(name) != value, name
        assert master.put(name, value) == b"", name
    assert {name: master.value(name) for name in DISTINCT} == DISTINCT


def test_every_writable_point_of_vars_keeps_to_the_edges_of_its_range(master: Master) -> None:
    for point in registers(var_site()):
        if point.name not in DISTINCT or point.legal is None:
            continue
        address, model_point = master.points[point.name]
        for value in (point.legal[0], point.legal[-1]):
            assert master.put(point.name, value) == b"", point.name
        for value in (point.legal[0] - 1, point.legal[-1] + 1):
            try:
                data = model_point.info.to_data(value, 2 * point.size)
            except struct.error:  # below an unsigned zero
                continue
            assert master.fail(address, data) == 3, point.name


# the lease


def test_vars_end_with_the_sites_lease_and_the_heartbeat_renews_them(master: Master) -> None:
    engage(master, 900)
    master.clock.ms += LEASE_MS - 1
    assert master.write(W715_ControllerHb=1) == b""
    assert master.book.orders["varset"].expires_ms == START_MS + 2 * LEASE_MS - 1
    master.clock.ms += LEASE_MS
    master.door.tick()
    assert master.book.orders == {}
    assert master.value("704.VarSetEna") == 0


def test_vars_have_a_timer_and_a_reversion_of_their_own(master: Master) -> None:
    assert master.write(W704_VarSetRvrt=-250, W704_VarSetPct=0, W704_VarSetPctRvrt=-900, W704_VarSetEnaRvrt=1) == b""
    engage(master, 2000, reversion_s=10)
    master.engage(3000)
    assert (master.value("704.VarSetRvrtRem"), master.value("704.WSetRvrtRem")) == (10, 0)
    master.clock.ms += 9999
    master.door.tick()
    assert master.book.orders["varset"].reactive_var == 2000
    master.clock.ms += 1
    master.door.tick()
    order = master.book.orders["varset"]
    assert (order.reactive_var, order.expires_ms) == (-250, START_MS + 10_000 + LEASE_MS)
    assert order.source == f"sunspec {ANN} (reverted)"
    assert [master.value(f"704.VarSet{name}") for name in ("", "Pct", "Ena", "RvrtRem")] == [-250, -900, 1, 0]
    assert master.book.orders["wset"].low_w == 3000


def test_vars_without_a_reversion_are_over_at_the_end_of_their_timer(master: Master) -> None:
    engage(master, 2000, reversion_s=10)
    master.clock.ms += 10_000
    master.door.tick()
    assert (master.book.orders, master.value("704.VarSetEna"), master.value("704.VarSet")) == ({}, 0, 0)


# what is shown


def test_ratings_of_vars_are_shown_with_their_scale(master: Master) -> None:
    assert {master.value(f"702.{name}") for name in ("VarMaxInjRtg", "VarMaxAbsRtg", "VarMaxInj", "VarMaxAbs")} == {
        MOST_VAR
    }
    assert (master.value("702.Var_SF"), master.value("702.VAMax"), master.value("702.VAMaxRtg")) == (0, 12_000, 12_000)
    assert master.value("702.CtrlModes") == 0b111  # MAX_W, FIXED_W, FIXED_VAR
    large = Master(battery_site(apparent_max_va=5_000_000, discharge_max_w=5_000_000))
    assert (large.value("702.VarMaxInj"), large.value("702.Var_SF")) == (22_000, 2)
    assert (large.value("702.VAMax"), large.value("702.VA_SF")) == (50_000, 2)


def test_vars_are_those_of_the_units_that_tell_and_apparent_power_is_known_from_all_or_none() -> None:
    site = a_site(units=2)
    one = msgspec.structs.replace(site.unit[0], apparent_max_va=10_000)
    both = msgspec.structs.replace(site.unit[1], apparent_max_va=5000)
    for units, most_var, apparent_va in (((one, site.unit[1]), 4400, None), ((one, both), 6600, 15_000)):
        master = Master(msgspec.structs.replace(site, unit=units, utility=battery_site().utility))
        assert (master.value("702.VarMaxInj"), master.value("702.VAMax")) == (most_var, apparent_va)


@pytest.mark.parametrize("reactive_var", [MOST_VAR, -MOST_VAR])
def test_measured_vars_are_shown_as_the_inverters_tell_them(master: Master, reactive_var: int) -> None:
    engage(master, 100)
    master.door.publish(a_snapshot(an_inverter(0, reactive_var=reactive_var)), a_decision())
    assert (master.value("701.Var"), master.value("704.VarSet")) == (reactive_var, 100)


def test_measured_vars_of_a_unit_with_more_vars_than_watts_fit_their_point() -> None:
    master = Master(battery_site(apparent_max_va=1_000_000))
    assert (master.value("701.W_SF"), master.value("701.Var_SF")) == (0, 2)
    master.door.publish(a_snapshot(an_inverter(4000, reactive_var=-440_000)), a_decision())
    assert (master.value("701.W"), master.value("701.Var")) == (4000, -4400)


async def test_pysunspec2_sets_vars_over_a_real_socket() -> None:
    book = Book()
    door = SunSpecDoor(var_site(), book, Clock())
    await door.start()
    client = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=door.port, timeout=5)

    def play() -> None:
        client.scan()
        client.connect()
        control = client.DERCtlAC[0]
        control.VarSetMod.cvalue, control.VarSet.cvalue, control.VarSetRvrtTms.cvalue = 4, -1234, 30
        control.VarSetEna.cvalue = 1
        control.write()
        client.disconnect()

    await asyncio.to_thread(play)
    await door.close()
    order = book.orders["varset"]
    assert (order.kind, order.reactive_var, order.expires_ms - order.starts_ms) == ("reactive", -1234, 30_000)


# energy


def test_energy_that_is_available_goes_before_what_lies_above_the_reserve(master: Master) -> None:
    available = Availability(discharge_w=1, charge_w=1, discharge_wh=7654, charge_wh=1, discharge_s=1, charge_s=1)
    master.door.publish(a_snapshot(), a_decision(sellable_wh=9000, available=available))
    assert master.value("713.WHAvail") == 7654
    master.door.publish(a_snapshot(), a_decision(sellable_wh=9000))
    assert master.value("713.WHAvail") == 9000


def shared_site() -> Site:
    """Return two units of 25 kWh on the same two batteries, and a third with a battery of its own."""
    site = a_site(units=3)
    bank = ("battery1", "battery2")
    units = tuple(msgspec.structs.replace(unit, battery=bank) for unit in site.unit[:2])
    return msgspec.structs.replace(site, unit=(*units, site.unit[2]), utility=battery_site().utility)


def test_batteries_that_units_share_are_counted_once() -> None:
    assert banks(shared_site()) == {("battery1", "battery2"): 25_000, ("battery3",): 25_000}
    master = Master(shared_site())
    assert master.value("713.WHRtg") == 50_000
    told = (a_battery(2000, soh_bp=9000), a_battery(4000, n=2, soh_bp=10_000), a_battery(9000, n=3, soh_bp=10_000))
    master.door.publish(a_snapshot(*told), a_decision())
    assert (master.value("713.SoC"), master.value("713.SoH")) == (6000, 9750)
    master.door.publish(a_snapshot(told[0], told[2]), a_decision())
    assert (master.value("713.SoC"), master.value("713.SoH")) == (None, None)


@pytest.mark.parametrize(
    ("fault", "alarm", "status"),
    [("battery_alarm", 1 << 16, 2), ("cells_apart", 1 << 16, 2), ("battery_warning", 0, 1)],
)
def test_fault_that_stops_a_unit_at_once_or_gently_is_an_alarm(fault: str, alarm: int, status: int) -> None:
    master = Master(shared_site())
    standing = Standing(fault=fault, device="battery2", since_ms=0)  # type: ignore[arg-type]
    master.door.publish(a_snapshot(), a_decision(faults=(standing,)))
    assert (master.value("701.Alrm"), master.value("713.Sta")) == (alarm, status)
