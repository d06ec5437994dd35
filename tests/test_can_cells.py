"""A battery on CAN that tells of its cells: the frames of a BYD tower as its owner decoded them, and what gets lost."""

import tomllib
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from controller.codec.can import BatteryFrames
from controller.model import Battery, Curve, Profile

BATTERIES = Path(__file__).parent.parent / "profiles" / "batteries"
PROFILE = msgspec.convert(tomllib.loads((BATTERIES / "canbus_bms.toml").read_text()), Profile)
DBC = (BATTERIES / "canbus_bms.dbc").read_text()
STALE_MS = PROFILE.stale_after_ms

# A BYD LVS 8.0 behind Venus OS (github.com/dfch/BydCanProtocol): 58.4 V, 128 A both ways, 43.0 V; 67 %; 53.1 V, -0.7 A
# (discharge), 14 degC; cells 3306 and 3329 mV, 287 and 290 K; no alarm. 0x372 is its first frame after a start.
TOWER = {
    0x351: "48 02 00 05 00 05 AE 01",
    0x355: "43 00 64 00 00 00 00 00",
    0x356: "BE 14 F9 FF 8C 00 00 00",
    0x35A: "AA AA AA AA AA AA AA AA",
    0x372: "02 00 02 00 01 00 00 00",
    0x373: "EA 0C 01 0D 1F 01 22 01",
}
REST = {key: data for key, data in TOWER.items() if key != 0x373}
CELLS = ("cell_min_mv", "cell_max_mv", "temperature_min_mc", "temperature_max_mc")


def heard(frames: dict[int, str], now_ms: int = 0, into: BatteryFrames | None = None) -> BatteryFrames:
    into = into or BatteryFrames("battery", PROFILE, DBC)
    for identifier, data in frames.items():
        into.take(identifier, bytes.fromhex(data), now_ms)
    return into


def cells(frames: BatteryFrames, now_ms: int = 0) -> tuple[int | None, ...]:
    told = frames.reading(now_ms)
    assert told is not None
    return tuple(getattr(told, name) for name in CELLS)


def fault_text(frames: BatteryFrames, fault: str, now_ms: int = 0) -> str:
    return dict(frames.faults(now_ms)).get(fault, "")  # type: ignore[call-overload, no-any-return]


def test_tower_tells_every_word_as_its_owner_saw_it() -> None:
    frames = heard(TOWER, 7000)
    assert frames.reading(7000) == Battery(
        device="battery",
        sampled_ms=7000,
        heard_ms=7000,
        soc_bp=6700,
        soh_bp=10_000,
        voltage_mv=53_100,
        current_ma=700,
        charge_max_ma=128_000,
        discharge_max_ma=128_000,
        charge_max_mv=58_400,
        discharge_min_mv=43_000,
        temperature_mc=14_000,
        temperature_min_mc=13_850,
        temperature_max_mc=17_000,
        cell_min_mv=3306,
        cell_max_mv=3329,
        modules=2,
    )
    assert frames.faults(7000) == ()


def test_cell_data_that_are_lost_become_unknown_while_the_battery_goes_on_talking() -> None:
    frames = heard(TOWER)
    for now_ms in (1000, 2000, 3000):
        heard(REST, now_ms, frames)
    assert cells(frames, STALE_MS) == (3306, 3329, 13_850, 17_000)
    heard(REST, STALE_MS + 1, frames)
    assert cells(frames, STALE_MS + 1) == (None, None, None, None)
    heard({0x373: TOWER[0x373]}, STALE_MS + 2, frames)
    assert cells(frames, STALE_MS + 2) == (3306, 3329, 13_850, 17_000)


def test_cell_data_that_were_never_told_are_unknown() -> None:
    assert cells(heard(REST)) == (None, None, None, None)


@pytest.mark.parametrize(
    ("kelvin", "coldest_mc", "hottest_mc"),
    [
        (273, -150, 0),  # makers count from 273 or from 273.15: each cell is taken on its bad side
        (274, 850, 1000),
        (234, -39_150, -39_000),
        (372, 98_850, 99_000),
        (233, None, None),  # -40 degC is how a missing sensor reads
        (373, 99_850, None),  # beyond 99.9 degC nothing is believed
        (0, None, None),
        (0xFFFF, None, None),
    ],
)
def test_kelvin_become_degrees_on_the_bad_side_of_each_cell(
    kelvin: int, coldest_mc: int | None, hottest_mc: int | None
) -> None:
    word = kelvin.to_bytes(2, "little").hex()
    frames = heard(TOWER | {0x373: f"EA 0C 01 0D {word} {word}"})
    assert cells(frames) == (3306, 3329, coldest_mc, hottest_mc)
    told = fault_text(frames, "battery_implausible")
    assert (told == "") is (hottest_mc is not None or kelvin == 0xFFFF)  # all ones is how "not told" reads


@pytest.mark.parametrize(("cell_mv", "believed"), [(999, False), (1000, True), (5000, True), (5001, False), (0, False)])
def test_cell_voltage_that_no_working_cell_has_is_not_believed(cell_mv: int, believed: bool) -> None:
    word = cell_mv.to_bytes(2, "little").hex()
    frames = heard(TOWER | {0x373: f"{word} {word} 1F 01 22 01"})
    assert cells(frames)[:2] == ((cell_mv, cell_mv) if believed else (None, None))
    assert ("CellVoltageMin" in fault_text(frames, "battery_implausible")) is not believed


def test_hottest_cell_colder_than_the_coldest_is_a_contradiction_and_neither_is_believed() -> None:
    frames = heard(TOWER | {0x373: "EA 0C 01 0D 22 01 1F 01"})
    assert cells(frames) == (3306, 3329, None, None)
    assert "the coldest cell has 16.85 degC, the hottest 14 degC" in fault_text(frames, "contradiction")
    frames = heard(TOWER | {0x373: "EA 0C 01 0D 22 01 22 01"})
    assert cells(frames) == (3306, 3329, 16_850, 17_000)
    assert frames.faults(0) == ()


def test_short_frame_tells_the_voltages_alone_and_a_shorter_one_nothing() -> None:
    assert cells(heard(TOWER | {0x373: "EA 0C 01 0D"})) == (3306, 3329, None, None)
    frames = heard(TOWER | {0x373: "EA 0C 01"})
    assert cells(frames) == (None, None, None, None)
    assert "0x373 has 3 bytes, at least 4 are needed" in fault_text(frames, "bad_frame")


def test_alarm_of_venus_is_read_where_its_byte_was_seen() -> None:
    told = heard(TOWER | {0x35A: "04 AA AA AA AA AA AA AA"}).reading(0)
    assert told is not None and told.alarms == ("high voltage",)


def test_voltage_in_tenths_is_refused_and_a_24_volt_battery_is_not() -> None:
    told = heard(TOWER | {0x356: "13 02 F9 FF 8C 00"}).reading(0)  # 53.1 V told in 0.1 V
    assert told is not None and told.voltage_mv is None
    low = {0x351: "24 01 00 05 00 05 D7 00", 0x356: "60 0A F9 FF 8C 00"}  # 29.2 V, 21.5 V, 26.56 V
    told = heard(TOWER | low).reading(0)
    assert told is not None and told.voltage_mv == 26_560


def test_insulation_resistance_is_read_from_a_battery_whose_dbc_names_it() -> None:
    frame = '\nBO_ 884 Insulation: 8 BMS\n SG_ Isolation : 0|16@1+ (10,0) [0|600000] "kOhm" Inverter\n'
    head, tail = DBC.split("\nCM_ ", 1)
    frames = heard(
        TOWER | {0x374: "2A 00 00 00 00 00 00 00"}, 0, BatteryFrames("b", PROFILE, f"{head}{frame}\nCM_ {tail}")
    )
    told = frames.reading(0)
    assert told is not None and told.isolation_kohm == 420
    heard(TOWER, STALE_MS + 1, frames)
    told = frames.reading(STALE_MS + 1)
    assert told is not None and told.isolation_kohm is None


# --- the tables of the profile

# Amperes that dbus-serialbattery 358d3c7 allows with its defaults, of 50 A (charge) and 60 A (discharge), as measured.
CHARGE_BY_CELL_A = {
    3375: 50, 3380: 42.5, 3390: 27.5, 3400: 12.5, 3410: 8.5, 3425: 2.5, 3440: 1.15, 3450: 0.25, 3475: 0.125, 3500: 0,
}  # fmt: skip
DISCHARGE_BY_CELL_A = {
    2800: 0, 2850: 0.15, 2900: 0.3, 2950: 1.65, 3000: 3, 3050: 9, 3100: 15, 3150: 40, 3190: 60, 3300: 60,
}  # fmt: skip
CHARGE_BY_TEMPERATURE_A = {0: 0, 1: 6.25, 2: 12.5, 5: 25, 10: 50, 40: 50, 45: 25, 50: 12.5, 55: 0, -5: 0, 60: 0}
DISCHARGE_BY_TEMPERATURE_A = {-10: 0, -5: 7.5, 0: 15, 5: 30, 10: 60, 45: 30, 50: 15, 55: 0, -20: 0, 60: 0}


def share_pct(curve: Curve, at: int) -> float:
    for (low, low_pct), (high, high_pct) in pairwise(curve):
        if low <= at <= high:
            return low_pct + (high_pct - low_pct) * (at - low) / (high - low)
    return curve[0][1] if at < curve[0][0] else curve[-1][1]


@pytest.mark.parametrize(
    ("curve", "measured_a", "most_a"),
    [
        (PROFILE.derating.charge_by_cell_max_mv, CHARGE_BY_CELL_A, 50),
        (PROFILE.derating.discharge_by_cell_min_mv, DISCHARGE_BY_CELL_A, 60),
        (PROFILE.derating.charge_by_temperature_c, CHARGE_BY_TEMPERATURE_A, 50),
        (PROFILE.derating.discharge_by_temperature_c, DISCHARGE_BY_TEMPERATURE_A, 60),
    ],
    ids=["charge by cell", "discharge by cell", "charge by temperature", "discharge by temperature"],
)
def test_no_table_allows_more_than_was_measured_and_none_a_percent_less(
    curve: Curve, measured_a: dict[int, float], most_a: int
) -> None:
    assert [value for value, _ in curve] == sorted({value for value, _ in curve})
    for at, amperes in measured_a.items():
        measured_pct = 100 * amperes / most_a
        assert measured_pct - 1 < share_pct(curve, at) <= measured_pct, at


def test_voltage_deratings_latch() -> None:
    assert PROFILE.derating.latch
