"""The SunSpec door's registers: layout, what is refused, every writable field, what is shown of the site."""

import struct
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.link.modbus_server import Request
from controller.model import Snapshot, Standing
from controller.utility.sunspec_map import Registers
from controller.utility.sunspec_site import ratings, registers
from tests.sunspec_master import ANN, Master, a_decision, battery_site
from tests.words import a_battery, a_meter, a_site, a_snapshot, an_inverter


@pytest.fixture
def master() -> Master:
    return Master()


# the map


def test_map_stands_at_40000_and_ends_with_the_end_model(master: Master) -> None:
    assert master.read(40_000, 2) == b"SunS"
    assert tuple(master.models) == (1, 701, 702, 703, 704, 713, 715)
    assert master.read(master.end, 2) == b"\xff\xff\x00\x00"
    assert master.ask(3, master.end + 1, 2) == 2
    assert master.ask(3, 39_999, 2) == 2
    assert master.ask(3, 0, 2) == 2


@pytest.mark.parametrize(
    ("model_id", "length"), [(1, 66), (701, 153), (702, 50), (703, 17), (704, 65), (713, 7), (715, 7)]
)
def test_each_model_has_its_papers_length_and_decodes_without_error(model_id: int, length: int) -> None:
    model = Master().models[model_id]
    assert model.model_len == length
    assert model.error_info == ""


def test_points_that_are_not_served_carry_their_types_not_implemented_value(master: Master) -> None:
    def raw(name: str) -> str:
        address, point = master.points[name]
        return master.read(address, point.len).hex()

    assert raw("701.W") == "8000"  # int16
    assert raw("701.LNV") == "ffff"  # uint16
    assert raw("701.St") == "ffff"  # enum16
    assert raw("701.Hz") == "ffffffff"  # uint32
    assert raw("701.TotWhInj") == "ffffffffffffffff"  # uint64
    assert raw("701.Alrm") == "ffffffff"  # bitfield32
    assert raw("701.A_SF") == "8000"  # sunssf
    assert raw("704.VarSet") == "80000000"  # int32
    assert raw("702.IntIslandCatRtg") == "ffff"  # bitfield16
    assert raw("1.Opt") == "00" * 16  # string
    assert raw("1.Pad") == "8000"


def test_every_served_point_has_a_scale_factor_where_it_needs_one(master: Master) -> None:
    at_work(master)
    scaled = 0
    for name, (_, point) in master.points.items():
        if point.sf and master.value(name) is not None:
            assert master.value(f"{name.split('.')[0]}.{point.sf}") in range(-10, 11), name
            scaled += 1
    assert scaled >= 18


def test_identity_names_the_site() -> None:
    master = Master(msgspec.structs.replace(battery_site(), name="Hütte 7, a name longer than thirty-two characters"))
    assert master.value("1.Mn") == "Linepack"
    assert master.value("1.SN") == "H?tte 7, a name longer than thir"
    assert master.value("1.DA") == 1


@pytest.mark.parametrize(
    ("rating_w", "exponent", "shown"),
    [(10_000, 0, 9999), (26_213, 0, 26_000), (26_215, 1, 2600), (300_000, 2, 2999), (10_000_000, 3, 9999)],
)
def test_scale_factor_of_power_lets_int16_carry_the_rating(rating_w: int, exponent: int, shown: int) -> None:
    site = battery_site(discharge_max_w=rating_w)
    master = Master(site)
    assert master.value("701.W_SF") == exponent
    power_w = shown * 10**exponent
    master.door.publish(a_snapshot(an_inverter(power_w)), a_decision())
    assert master.value("701.W") == shown


def test_ratings_and_settings_are_the_units_together() -> None:
    site = a_site(units=3)
    master = Master(msgspec.structs.replace(site, utility=battery_site().utility))
    for name in ("WMaxRtg", "WChaRteMaxRtg", "WDisChaRteMaxRtg", "WMax", "WChaRteMax", "WDisChaRteMax"):
        assert master.value(f"702.{name}") == 30_000
    assert master.value("702.CtrlModes") == 0b11
    assert (master.value("713.WHRtg"), master.value("713.WH_SF")) == (7500, 1)


def test_other_units_are_told_that_nobody_is_there(master: Master) -> None:
    request = Request(unit=2, function=3, address=40_000, count=2, registers=b"", peer=ANN)
    assert master.door.answer(request) == 0x0B
    assert master.ask(4, 40_000, 2) == 1


def test_read_may_start_inside_a_point(master: Master) -> None:
    master.engage(-2)
    address, _ = master.points["704.WSet"]
    assert master.read(address + 1, 1) == b"\xff\xfe"


# refusals

REFUSED = [
    ("704.WSet", 10_001, 3),
    ("704.WSet", -5001, 3),
    ("704.WSet", -(2**31), 3),  # not implemented
    ("704.WSetRvrt", 10_001, 3),
    ("704.WSetPct", 10_001, 3),
    ("704.WSetPct", -5001, 3),
    ("704.WSetPct", -32_768, 3),  # not implemented
    ("704.WSetPctRvrt", 10_001, 3),
    ("704.WSetEna", 2, 3),
    ("704.WSetEna", 0xFFFF, 3),
    ("704.WSetMod", 2, 3),
    ("704.WSetEnaRvrt", 2, 3),
    ("704.WSetRvrtTms", 86_401, 3),
    ("704.WSetRvrtTms", 120 << 16, 3),  # 120 s in the high word: 91 days
    ("704.WMaxLimPct", 10_001, 3),
    ("704.WMaxLimPct", 0xFFFF, 3),
    ("704.WMaxLimPctEna", 2, 3),
    ("703.ES", 2, 3),
    ("715.OpCtl", 4, 3),
    ("715.ControllerHb", 0xFFFF_FFFF, 3),
    ("704.WSetRvrtRem", 1, 2),  # read-only
    ("704.WSet_SF", 1, 2),
    ("715.LocRemCtl", 1, 2),
    ("715.DERHb", 1, 2),
    ("702.WMax", 1, 2),
    ("1.DA", 5, 2),
    ("701.W", 1, 2),
    ("704.ID", 704, 2),
    ("704.VarSetEna", 1, 2),  # writable in the paper, not implemented here
    ("704.WRmp", 1, 2),
    ("703.ESDlyTms", 1, 2),
    ("715.AlarmReset", 1, 2),
]


@pytest.mark.parametrize(("name", "value", "code"), REFUSED)
def test_write_that_cannot_be_changes_nothing_and_is_told(master: Master, name: str, value: int, code: int) -> None:
    master.engage(1000)
    calls = list(master.book.calls)
    address, point = master.points[name]
    data = point.info.to_data(value, 2 * point.len)
    assert master.fail(address, data) == code
    assert master.book.calls == calls
    detail = master.book.notices["utility_bad_write"]
    assert name in detail and ANN in detail and str(address) in detail
    if code == 3:
        assert f"= {value}, allowed " in detail
    assert master.write(W715_ControllerHb=9) == b""
    assert master.book.notices == {}


@pytest.mark.parametrize("name", ["WSet", "WSetRvrt", "WSetRvrtTms", "WMaxLimPctRvrtTms"])
def test_half_of_a_32_bit_value_is_refused(master: Master, name: str) -> None:
    address, _ = master.points[f"704.{name}"]
    assert master.fail(address, b"\x00\x01") == 3
    assert master.fail(address + 1, b"\x00\x01") == 3
    assert master.fail(address + 1, b"\x00\x01\x00\x00") == 3
    assert "whole or not at all" in master.book.notices["utility_bad_write"]


def test_block_with_one_bad_point_changes_none(master: Master) -> None:
    address, _ = master.points["704.WSetEna"]
    assert master.fail(address, bytes.fromhex("0001 0001 00002711")) == 3  # 10 001 W
    assert master.fail(address, bytes.fromhex("0001 0001 0000")) == 3  # ends inside WSet
    limit, _ = master.points["704.WMaxLimPctEna"]
    block = master.read(limit, 21)
    assert master.fail(limit, block) == 2  # the remaining times in it are read-only, even with their own values


def test_writes_beyond_the_map_are_refused(master: Master) -> None:
    for address in (0, 39_999, master.end, master.end + 1, master.end + 2, 65_534):
        assert master.fail(address, b"\0\0\0\0") == 2
    assert "40000.." in master.book.notices["utility_bad_write"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(39_998, 40_390), st.binary(min_size=1, max_size=40), st.sampled_from((b"", b"\0\0", b"\0\1\0\0")))
def test_any_write_is_either_read_back_or_changes_nothing(address: int, noise: bytes, start: bytes) -> None:
    master = Master()
    data = start + noise + noise[: len(noise) % 2]
    before = master.image()
    answer = master.ask(16, address, len(data) // 2, data)
    assert answer in (b"", 2, 3)
    if answer == b"":
        assert master.read(address, len(data) // 2) == data
    else:
        assert master.image() == before
        assert master.book.orders == {}


# fill every field

DISTINCT = {
    "703.ES": 0,
    "704.WMaxLimPctEna": 1,
    "704.WMaxLimPct": 101,
    "704.WMaxLimPctRvrt": 202,
    "704.WMaxLimPctEnaRvrt": 1,
    "704.WMaxLimPctRvrtTms": 70_303,
    "704.WSetEna": 1,
    "704.WSetMod": 0,
    "704.WSet": -404,
    "704.WSetRvrt": 505,
    "704.WSetPct": -606,
    "704.WSetPctRvrt": 707,
    "704.WSetEnaRvrt": 1,
    "704.WSetRvrtTms": 80_808,
    "715.ControllerHb": 0xFFFF_FFFE,
    "715.OpCtl": 2,
}


def test_every_writable_point_reads_back_what_was_written(master: Master) -> None:
    own: Registers = registers(battery_site())
    assert [point.name for point in own if point.legal is not None] == list(DISTINCT)
    for name, value in DISTINCT.items():
        assert master.value(name) != value, name
        assert master.put(name, value) == b"", name
    assert {name: master.value(name) for name in DISTINCT} == DISTINCT


def test_every_writable_point_keeps_to_the_edges_of_its_range(master: Master) -> None:
    for point in registers(battery_site()):
        if point.legal is None:
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


def test_points_of_the_map_neither_overlap_nor_leave_holes() -> None:
    for before, after in pairwise(registers(battery_site())):
        assert before.first + before.size == after.first


def test_percentages_stay_within_the_ratings_of_any_site() -> None:
    for discharge_w, charge_w in [(10_000, 5000), (3, 7), (7, 3), (9999, 10_000), (0, 5000), (10_000_000, 1)]:
        site = battery_site(discharge_max_w=discharge_w)
        unit = msgspec.structs.replace(site.unit[0], charge_max_w=charge_w)
        rated = ratings(msgspec.structs.replace(site, unit=(unit,)))
        shares = rated.set_point_bp()
        assert shares[0] >= -10_000 and shares[-1] <= 10_000
        assert all(-charge_w <= rated.watts(share) <= discharge_w for share in shares)


# what is shown


def at_work(master: Master) -> Snapshot:
    meter = a_meter(-800, voltage_mv=231_460, frequency_mhz=49_987)
    inverter = an_inverter(-3210, reactive_var=150, state="run")
    snapshot = a_snapshot(meter, inverter, a_battery(6543, soh_bp=9870))
    decision = a_decision(-3210, wish_w=-5000, why="energy_barrier", sellable_wh=8004)
    master.door.publish(snapshot, decision)
    return snapshot


def test_measured_and_effective_points_are_shown(master: Master) -> None:
    at_work(master)
    shown = {name: master.value(f"701.{name}") for name in ("W", "Var", "LNV", "Hz", "St", "InvSt", "ConnSt", "Alrm")}
    assert shown == {"W": -3210, "Var": 150, "LNV": 2315, "Hz": 49_987, "St": 1, "InvSt": 4, "ConnSt": 1, "Alrm": 0}
    assert (master.value("701.ThrotPct"), master.value("701.ThrotSrc")) == (18, 1 << 14)  # 1790 of 10 000 W, DERATED
    storage = [master.value(f"713.{name}") for name in ("WHRtg", "WHAvail", "SoC", "SoH", "Sta")]
    assert storage == [25_000, 8004, 6543, 9870, 0]


def test_requested_stays_while_effect_differs(master: Master) -> None:
    master.engage(9000)
    master.door.publish(a_snapshot(an_inverter(4000)), a_decision(4000, wish_w=9000, why="customer_reserve"))
    assert (master.value("704.WSet"), master.value("704.WSetEna")) == (9000, 1)
    assert (master.value("701.W"), master.value("701.ThrotPct")) == (4000, 50)


def test_own_limit_of_the_utility_is_named_as_the_source(master: Master) -> None:
    master.door.publish(a_snapshot(an_inverter(0)), a_decision(2000, wish_w=4000, why="utility_limit"))
    assert master.value("701.ThrotSrc") == 1
    master.door.publish(a_snapshot(an_inverter(0)), a_decision(2000, wish_w=4000, why="ramp"))
    assert (master.value("701.ThrotSrc"), master.value("701.ThrotPct")) == (0, 0)


def test_sum_with_a_missing_part_is_not_known() -> None:
    site = msgspec.structs.replace(a_site(units=2), utility=battery_site().utility)
    master = Master(site)
    master.door.publish(
        a_snapshot(an_inverter(1000), an_inverter(2000, n=2), a_battery(4000, soh_bp=9000), a_battery(5000, n=2)),
        a_decision(),
    )
    assert (master.value("701.W"), master.value("713.SoC"), master.value("713.SoH")) == (3000, 4500, None)
    for partner in ((), (an_inverter(None, n=2),)):
        master.door.publish(a_snapshot(an_inverter(1000), *partner, a_battery(4000)), a_decision())
        assert master.value("701.W") is None
        assert master.value("713.SoC") is None
        assert master.value("713.WHAvail") is None
        assert master.value("701.InvSt") == 3
    master.door.publish(a_snapshot(), a_decision())
    assert [master.value(f"701.{name}") for name in ("St", "InvSt", "ConnSt", "LNV", "Hz")] == [None] * 5


def test_faults_and_alarms_are_shown() -> None:
    master = Master()
    stopped = Standing(fault="battery_contactor_open", device="battery1", since_ms=0)
    silent = Standing(fault="inverter_fault", device="inverter1", since_ms=0)
    noted = Standing(fault="bad_frame", device="battery1", since_ms=0)
    inverter = an_inverter(0, state="fault", alarms=("over_temp", "vendor_17"))
    master.door.publish(a_snapshot(inverter, a_battery()), a_decision(faults=(stopped, silent, noted)))
    assert master.value("701.Alrm") == 1 << 3 | 1 << 7 | 1 << 16
    assert master.value("701.MnAlrmInfo") == "battery_contactor_open battery1, inverter_fault inverter1"
    assert (master.value("701.St"), master.value("701.InvSt"), master.value("713.Sta")) == (0, 6, 2)
    master.door.publish(a_snapshot(an_inverter(), a_battery()), a_decision(faults=(noted,)))
    assert (master.value("701.Alrm"), master.value("713.Sta")) == (0, 1)
    master.door.publish(a_snapshot(an_inverter(), a_battery(warnings=("cold",))), a_decision())
    assert master.value("713.Sta") == 1


def test_no_energy_is_offered_below_the_reserve(master: Master) -> None:
    master.door.publish(a_snapshot(), a_decision(sellable_wh=-1))
    assert master.value("713.WHAvail") == 0


def test_power_that_does_not_fit_is_shown_as_not_known(master: Master) -> None:
    master.door.publish(a_snapshot(an_inverter(40_000)), a_decision())
    assert master.value("701.W") is None
