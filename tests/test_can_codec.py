"""Pylontech LV frames against recorded batteries and the vendors' tables (canbms reference, traces T1-T4, T6, T13)."""

import struct
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.codec.can import EXTENDED, BatteryFrames
from controller.model import Battery, Profile

BATTERIES = Path(__file__).parent.parent / "profiles" / "batteries"
PROFILE = msgspec.convert(tomllib.loads((BATTERIES / "pylontech_lv.toml").read_text()), Profile)
DBC = (BATTERIES / "pylontech_lv.dbc").read_text()
STALE_MS = PROFILE.stale_after_ms

# A healthy US2000 stack of ten (T1); the other traces replace some of its frames.
T1 = {
    0x351: "14 02 74 0E 74 0E CC 01",
    0x355: "1A 00 64 00",
    0x356: "02 13 00 00 4A 01",
    0x359: "00 00 00 00 0A 50 4E",
    0x35C: "C0 00",
    0x35E: "50 59 4C 4F 4E 20 20 20",
}
NEEDED = {key: T1[key] for key in (0x351, 0x355, 0x356)}


def battery_frames(dbc: str = DBC) -> BatteryFrames:
    return BatteryFrames("battery", PROFILE, dbc)


def heard(frames: dict[int, str], now_ms: int = 0, into: BatteryFrames | None = None) -> BatteryFrames:
    into = into or battery_frames()
    for identifier, data in frames.items():
        into.take(identifier, bytes.fromhex(data), now_ms)
    return into


def reading(frames: dict[int, str], now_ms: int = 0) -> Battery:
    told = heard(frames, now_ms).reading(now_ms)
    assert told is not None
    return told


def fault_text(frames: BatteryFrames, fault: str, now_ms: int = 0) -> str:
    return dict(frames.faults(now_ms)).get(fault, "")  # type: ignore[call-overload, no-any-return]


# --- recorded batteries


def test_ten_pylontech_modules_read_as_their_owner_saw_them() -> None:
    assert reading(T1, now_ms=7000) == Battery(
        device="battery",
        sampled_ms=7000,
        heard_ms=7000,
        soc_bp=2600,
        soh_bp=10_000,
        voltage_mv=48_660,
        current_ma=0,
        charge_max_ma=370_000,
        discharge_max_ma=370_000,
        charge_max_mv=53_200,
        discharge_min_mv=46_000,
        charge_allowed=True,
        discharge_allowed=True,
        temperature_mc=33_000,
        modules=10,
    )
    assert heard(T1).faults(0) == ()


def test_discharge_of_a_us5000_stack_is_positive() -> None:
    told = reading(
        {
            0x351: "14 02 C0 12 C0 12 C2 01",
            0x355: "58 00 5E 00",
            0x356: "7A 13 F2 FE 6B 01",
            0x359: "00 00 00 00 06 50 4E",
            0x35C: "C0 00",
        }
    )
    assert (told.current_ma, told.voltage_mv, told.temperature_mc) == (27_000, 49_860, 36_300)
    assert (told.charge_max_ma, told.discharge_max_ma, told.charge_max_mv) == (480_000, 480_000, 53_200)
    assert (told.soc_bp, told.soh_bp, told.modules) == (8800, 9400, 6)


def test_can_v1_3_without_359_and_35c_reads_with_permissions_unknown_and_no_alarm() -> None:
    frames = heard(
        {
            0x351: "10 02 C0 12 C0 12 C2 01",
            0x355: "54 00 60 00 00 00",
            0x356: "7B 13 E9 FE 6B 01",
            0x35A: "00 00 00 00 00 00 00 00",
            0x35F: "4C 49 01 03 3C 02 AA 00",
        }
    )
    told = frames.reading(0)
    assert told is not None
    assert (told.soc_bp, told.soh_bp, told.current_ma) == (8400, 9600, 27_900)
    assert (told.charge_allowed, told.discharge_allowed, told.modules) == (None, None, None)
    assert (told.alarms, told.warnings, frames.faults(0)) == ((), (), ())


def test_four_modules_and_a_pack_with_a_six_byte_limit_frame() -> None:
    four = {
        0x359: "00 00 00 00 04 50 4E",
        0x351: "14 02 B0 04 40 06 C2 01",
        0x355: "5A 00 64 00",
        0x356: "84 13 F1 FF 37 00",
    }
    told = reading(four)
    assert (told.charge_max_ma, told.discharge_max_ma, told.discharge_min_mv) == (120_000, 160_000, 45_000)
    assert (told.voltage_mv, told.current_ma, told.temperature_mc, told.modules) == (49_960, 1500, 5500, 4)
    told = reading(four | {0x351: "14 02 50 02 C8 05", 0x356: "77 13 A9 FE 0B 01"})
    assert (told.charge_max_mv, told.charge_max_ma, told.discharge_max_ma) == (53_200, 59_200, 148_000)
    assert told.discharge_min_mv is None
    assert (told.voltage_mv, told.current_ma, told.temperature_mc) == (49_830, 34_300, 26_700)


def test_byd_tower_reads_as_on_the_venus_display_with_all_alarms_cleared() -> None:
    cells = (
        "\nBO_ 883 Cells: 8 BMS\n"
        ' SG_ CellVoltageMin : 0|16@1+ (1,0) [0|5000] "mV" Inverter\n'
        ' SG_ CellVoltageMax : 16|16@1+ (1,0) [0|5000] "mV" Inverter\n'
    )
    head, tail = DBC.split("\nCM_ ", 1)
    frames = battery_frames(f"{head}{cells}\nCM_ {tail}")
    byd = {
        0x351: "48 02 00 05 00 05 AE 01",
        0x355: "43 00 64 00 00 00 00 00",
        0x356: "BE 14 F9 FF 8C 00 00 00",
        0x35A: "AA AA AA AA AA AA AA AA",
        0x373: "EA 0C 01 0D 1F 01 22 01",
    }
    told = heard(byd, into=frames).reading(0)
    assert told is not None
    assert (told.charge_max_mv, told.charge_max_ma, told.discharge_max_ma, told.discharge_min_mv) == (
        58_400,
        128_000,
        128_000,
        43_000,
    )
    assert (told.soc_bp, told.voltage_mv, told.current_ma, told.temperature_mc) == (6700, 53_100, 700, 14_000)
    assert (told.cell_min_mv, told.cell_max_mv, told.alarms, told.warnings) == (3306, 3329, (), ())
    heard({0x373: "01 0D EA 0C 1F 01 22 01"}, into=frames)
    told = frames.reading(0)
    assert told is not None and told.cell_min_mv is None and told.cell_max_mv is None
    assert "lowest cell has 3329 mV, the highest 3306 mV" in fault_text(frames, "contradiction")


def test_full_dyness_forbids_charging_by_limit_and_by_permission() -> None:
    told = reading(T1 | {0x351: "14 02 00 00 F4 01 C2 01", 0x355: "64 00 64 00", 0x35C: "40"})
    assert (told.charge_max_ma, told.discharge_max_ma) == (0, 50_000)
    assert (told.charge_allowed, told.discharge_allowed, told.soc_bp) == (False, True, 10_000)


# --- alarms

# SMA FSS-ConnectingBat-TI-en-10: pairs of 0x35A in order; warnings are the same four bytes later.
PAIRS = (
    "general",
    "high voltage",
    "low voltage",
    "high temperature",
    "low temperature",
    "high temperature on charge",
    "low temperature on charge",
    "high discharge current",
    "high charge current",
    "contactor",
    "short circuit",
    "bms internal",
    "cell imbalance",
    None,
    None,
    "generator",
)


@pytest.mark.parametrize("state", [0b00, 0b01, 0b10, 0b11])
@pytest.mark.parametrize("pair", range(32))
def test_alarm_pair_is_raised_only_by_01(pair: int, state: int) -> None:
    told = reading(NEEDED | {0x35A: (state << 2 * pair).to_bytes(8, "little").hex()})
    text = PAIRS[pair % 16] or f"0x35A bit {pair // 4}.{pair % 4 * 2}"
    raised = (text,) if state == 0b01 else ()
    assert (told.alarms, told.warnings) == ((raised, ()) if pair < 16 else ((), raised))


# Pylontech LV V1.2, 0x359: byte.bit -> what; all other bits of bytes 0-3 have no name there.
PROTECTION = {
    (0, 1): "high voltage",
    (0, 2): "low voltage",
    (0, 3): "high temperature",
    (0, 4): "low temperature",
    (0, 7): "discharge over current",
    (1, 0): "charge over current",
    (1, 3): "system error",
    (2, 1): "high voltage",
    (2, 2): "low voltage",
    (2, 3): "high temperature",
    (2, 4): "low temperature",
    (2, 7): "high discharge current",
    (3, 0): "high charge current",
    (3, 3): "internal communication",
}


@pytest.mark.parametrize(("byte", "bit"), [(byte, bit) for byte in range(4) for bit in range(8)])
def test_protection_bit_is_an_alarm_and_alarm_bit_a_warning_and_none_is_dropped(byte: int, bit: int) -> None:
    data = bytearray.fromhex(T1[0x359])
    data[byte] |= 1 << bit
    told = reading(NEEDED | {0x359: data.hex()})
    text = (PROTECTION.get((byte, bit), f"0x359 bit {byte}.{bit}"),)
    assert (told.alarms, told.warnings) == ((text, ()) if byte < 2 else ((), text))


def test_same_alarm_in_both_alarm_frames_is_told_once() -> None:
    told = reading(NEEDED | {0x359: "02 00 00 00 01 50 4E", 0x35A: "04 00 00 00 00 00 00"})
    assert told.alarms == ("high voltage",)


def test_requests_are_read_bit_by_bit() -> None:
    told = {bit: reading(NEEDED | {0x35C: f"{1 << bit:02X}"}) for bit in range(8)}
    assert [bit for bit in told if told[bit].charge_allowed] == [7]
    assert [bit for bit in told if told[bit].discharge_allowed] == [6]
    assert [bit for bit in told if told[bit].force_charge] == [4, 5]
    assert [bit for bit in told if told[bit].full_charge_wanted] == [3]


# --- frame lengths


@pytest.mark.parametrize(
    ("identifier", "data", "field", "value"),
    [
        (0x351, "14 02 50 02 C8 05", "discharge_min_mv", None),
        (0x351, "14 02 50 02 C8 05 C2", "discharge_min_mv", None),
        (0x355, "1A 00 64 00 3C 0A", "soc_bp", 2620),
        (0x355, "1A 00 64 00 3C 0A 00 00", "soc_bp", 2620),
        (0x355, "1A 00 64 00 3C", "soc_bp", 2600),
        (0x356, "02 13 00 00 4A 01 00 00", "temperature_mc", 33_000),
        (0x359, "00 00 00 00 02 50 4E 03", "modules", 2),
        (0x359, "00 08 00 00", "alarms", ("system error",)),
        (0x35A, "00 00 00 01 00 00 00", "alarms", ("cell imbalance",)),
        (0x35C, "80", "discharge_allowed", False),
    ],
)
def test_short_and_long_frames_of_real_packs_are_read(identifier: int, data: str, field: str, value: object) -> None:
    frames = heard(T1 | {identifier: data})
    assert getattr(frames.reading(0), field) == value
    assert frames.faults(0) == ()


@pytest.mark.parametrize(
    ("identifier", "data"),
    [(0x351, "14 02 50 02 C8"), (0x355, "1A 00 64"), (0x356, "02 13 00 00"), (0x359, "00 00"), (0x35C, "")],
)
def test_frame_too_short_is_refused_named_and_forgiven(identifier: int, data: str) -> None:
    frames = battery_frames()
    assert not frames.take(identifier, bytes.fromhex(data), 0)
    text = f"0x{identifier:03X} has {len(bytes.fromhex(data))} bytes"
    assert text in fault_text(frames, "bad_frame")
    heard(T1, into=frames)
    assert frames.faults(0) == ()
    frames.take(identifier, bytes.fromhex(data), 0)
    assert frames.reading(0) == reading(T1)
    assert fault_text(frames, "bad_frame", STALE_MS + 1) == ""


def test_battery_whose_alarms_cannot_be_read_is_not_taken_for_healthy() -> None:
    told = reading(NEEDED | {0x359: "00 00", 0x35C: ""})
    assert told.alarms == ("0x359 is lost",)
    assert (told.charge_allowed, told.discharge_allowed) == (False, False)


# --- numbers


def test_negative_limits_are_magnitudes() -> None:
    told = reading(T1 | {0x351: "14 02 0C FE 0C FE CC 01"})
    assert (told.charge_max_ma, told.discharge_max_ma) == (50_000, 50_000)


def test_invalid_numbers_are_none() -> None:
    frames = heard({0x351: "FF FF 00 80 00 80 FF FF", 0x355: "FF FF FF FF FF FF", 0x356: "00 80 00 80 00 80"})
    told = frames.reading(0)
    assert told is not None and frames.faults(0) == ()  # not told is not implausible
    assert (told.charge_max_mv, told.charge_max_ma, told.discharge_max_ma, told.discharge_min_mv) == (None,) * 4
    assert (told.soc_bp, told.soh_bp, told.voltage_mv, told.current_ma, told.temperature_mc) == (None,) * 5


@pytest.mark.parametrize(
    ("data", "soc_bp"),
    [
        ("1A 00 64 00 00 00", 2600),  # not supported
        ("1A 00 64 00 FF FF", 2600),  # invalid
        ("1A 00 64 00 88 0A", 2696),
        ("1A 00 64 00 8C 0A", 2700),  # 1 % off: still the same estimate
        ("1A 00 64 00 8D 0A", 2600),  # more than 1 % off
        ("64 00 64 00 11 27", 10_000),  # 100.01 %
        ("00 00 64 00 32 00", 50),
    ],
)
def test_fine_state_of_charge_is_used_where_it_agrees(data: str, soc_bp: int) -> None:
    frames = heard(T1 | {0x355: data})
    told = frames.reading(0)
    assert told is not None and told.soc_bp == soc_bp
    assert frames.faults(0) == ()


@pytest.mark.parametrize(
    ("frames", "field", "text"),
    [
        ({0x355: "FF 00 64 00"}, "soc_bp", "SoC 255 % is outside 0 to 100"),
        ({0x355: "65 00 64 00"}, "soc_bp", "SoC 101 % is outside 0 to 100"),
        ({0x356: "02 13 00 00 70 FE"}, "temperature_mc", "PackTemperature -40 degC"),
        ({0x356: "02 13 00 00 E8 03"}, "temperature_mc", "PackTemperature 100 degC"),
        ({0x356: "B8 0A 00 00 4A 01"}, "voltage_mv", "PackVoltage 27.44 V is outside 30 to 65"),
        ({0x351: "4C 1D 74 0E 74 0E CC 01"}, "charge_max_mv", "ChargeVoltageMax 750 V"),
    ],
)
def test_implausible_value_is_named_and_not_believed(frames: dict[int, str], field: str, text: str) -> None:
    told = heard(T1 | frames)
    now = told.reading(0)
    assert now is not None and getattr(now, field) is None
    assert text in fault_text(told, "battery_implausible")
    heard(T1, into=told)
    assert told.faults(0) == ()


# --- contradictions


def test_voltage_of_another_scale_contradicts_the_charge_voltage() -> None:
    frames = heard(T1 | {0x356: "E7 01 00 00 4A 01"})  # 48.7 V told in 0.1 V
    told = frames.reading(0)
    assert told is not None and told.voltage_mv is None
    assert "PackVoltage 4.87 V does not go with ChargeVoltageMax 53.2 V" in fault_text(frames, "contradiction")


def test_states_of_charge_six_percent_apart_are_both_disbelieved() -> None:
    frames = heard(T1 | {0x355: "1A 00 64 00 81 0C"})  # 26 % and 32.01 %
    told = frames.reading(0)
    assert told is not None and told.soc_bp is None
    assert "SoC 26 % does not go with SoCFine 32.01 %" in fault_text(frames, "contradiction")


def test_two_packs_with_one_address_are_named() -> None:
    frames = heard(T1)
    heard({0x355: "50 00 64 00"}, 500, frames)  # the other pack, 80 %
    assert frames.faults(500) == ()  # a single jump is how a BMS corrects its estimate
    heard({0x355: T1[0x355]}, 1000, frames)
    assert "SoC swings between 26 and 80 %: two batteries" in fault_text(frames, "contradiction", 1000)
    told = frames.reading(1000)
    assert told is not None and told.soc_bp is None and told.voltage_mv == 48_660
    heard(T1, 1000 + 2 * STALE_MS + 1, frames)
    assert frames.faults(1000 + 2 * STALE_MS + 1) == ()


def test_two_packs_with_one_address_are_named_by_their_voltages() -> None:
    frames = heard(T1)
    for now_ms, data in ((500, "68 15 00 00 4A 01"), (1000, T1[0x356])):  # 54.80 V and 48.66 V
        heard({0x356: data}, now_ms, frames)
    assert "PackVoltage swings between 48.66 and 54.8 V" in fault_text(frames, "contradiction", 1000)


def test_slow_or_small_moves_are_no_contradiction() -> None:
    frames = heard(T1)
    for second, soc in enumerate((26, 31, 26, 31, 90)):
        volts = "02 13" if second % 2 else "DC 14"  # 48.66 V and 53.40 V: hard load steps
        heard({0x355: f"{soc:02X} 00 64 00", 0x356: f"{volts} 00 00 4A 01"}, 1000 * second, frames)
        assert frames.faults(1000 * second) == ()
    heard({0x355: T1[0x355]}, 4000 + STALE_MS + 1, frames)
    assert frames.faults(4000 + STALE_MS + 1) == ()


# --- time


def test_no_reading_before_the_needed_frames_are_all_there() -> None:
    for missing in NEEDED:
        assert heard({key: data for key, data in T1.items() if key != missing}).reading(0) is None


@pytest.mark.parametrize("silent", NEEDED)
def test_one_silent_needed_frame_makes_the_battery_stale(silent: int) -> None:
    frames = heard(T1)
    others = {key: data for key, data in T1.items() if key != silent}
    for now_ms in (1000, 2000, 3000):
        heard(others, now_ms, frames)
    told = frames.reading(STALE_MS)
    assert told is not None and (told.sampled_ms, told.heard_ms) == (0, STALE_MS)
    assert frames.reading(STALE_MS + 1) is None


def test_silent_alarm_frame_never_reads_as_no_alarm() -> None:
    frames = heard(T1 | {0x359: "02 00 00 00 0A 50 4E"})
    heard(NEEDED | {0x35C: "C0 00"}, STALE_MS + 1, frames)
    told = frames.reading(STALE_MS + 1)
    assert told is not None and told.alarms == ("0x359 is lost",) and told.modules is None
    heard(T1, STALE_MS + 2, frames)
    told = frames.reading(STALE_MS + 2)
    assert told is not None and told.alarms == ()


def test_silent_permission_frame_never_reads_as_permitted() -> None:
    frames = heard(T1)
    heard(NEEDED | {0x359: T1[0x359]}, STALE_MS + 1, frames)
    told = frames.reading(STALE_MS + 1)
    assert told is not None and (told.charge_allowed, told.discharge_allowed) == (False, False)
    assert told.warnings == ("0x35C is lost",)


def test_reading_is_due_at_once_for_limits_alarms_permissions_and_else_by_the_set() -> None:
    frames = battery_frames()
    order = (0x355, 0x351, 0x356, 0x355, 0x356, 0x359, 0x35C, 0x35E, 0x305, 0x123, 0x351)
    due = [frames.take(key, bytes.fromhex(T1.get(key, "00")), 0) for key in order]
    assert due == [False, True, True, False, False, True, True, False, False, False, True]
    assert frames.take(0x35A, bytes(8), 0)


def test_latency_of_the_profile_counts_into_the_sample_time() -> None:
    slow = BatteryFrames("battery", msgspec.structs.replace(PROFILE, latency_ms=300), DBC)
    told = heard(T1, 5000, slow).reading(5200)
    assert told is not None and (told.sampled_ms, told.heard_ms) == (4700, 5200)


# --- any bytes


@given(st.binary(min_size=8, max_size=8), st.binary(min_size=6, max_size=6), st.binary(min_size=6, max_size=6))
def test_numbers_equal_those_unpacked_by_hand_or_are_none(limits: bytes, charge: bytes, measured: bytes) -> None:
    told = reading({0x351: limits.hex(), 0x355: charge.hex(), 0x356: measured.hex()})
    charge_v, charge_a, discharge_a, discharge_v = struct.unpack("<HhhH", limits)
    soc, soh, fine = struct.unpack("<HHH", charge)
    pack_v, pack_a, pack_t = struct.unpack("<hhh", measured)
    assert told.charge_max_ma in (None, abs(charge_a) * 100)
    assert told.discharge_max_ma in (None, abs(discharge_a) * 100)
    assert told.charge_max_mv in (None, charge_v * 100) and told.discharge_min_mv in (None, discharge_v * 100)
    assert told.soc_bp in (None, soc * 100, fine) and told.soh_bp in (None, soh * 100)
    assert told.voltage_mv in (None, pack_v * 10) and told.current_ma in (None, -pack_a * 100)
    assert told.temperature_mc in (None, pack_t * 100)
    if 0 <= soc <= 100 and not (0 < fine <= 10_000 and abs(fine - soc * 100) > 500):
        assert told.soc_bp is not None
    if abs(charge_a) <= 20_000:
        assert told.charge_max_ma is not None


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0x305, 0x351, 0x355, 0x356, 0x359, 0x35A, 0x35C, 0x35E, 0x35F, 0x7FF]),
            st.binary(max_size=8),
            st.integers(0, 3000),
        ),
        max_size=40,
    )
)
def test_no_frame_raises_or_widens_what_a_battery_can_be(sent: list[tuple[int, bytes, int]]) -> None:
    frames = battery_frames()
    now_ms = 0
    for identifier, data, later_ms in sent:
        now_ms += later_ms
        frames.take(identifier, data, now_ms)
        told = frames.reading(now_ms)
        frames.faults(now_ms)
        if told is not None:
            assert told.soc_bp is None or 0 <= told.soc_bp <= 10_000
            assert told.voltage_mv is None or 30_000 <= told.voltage_mv <= 65_000
            assert (told.charge_max_ma or 0) >= 0 and (told.discharge_max_ma or 0) >= 0
            assert now_ms - told.sampled_ms <= STALE_MS


# --- profiles


def test_29_bit_frame_is_not_taken_for_the_11_bit_one_of_the_same_number() -> None:
    frames = heard(T1)
    assert not frames.take(0x351 | EXTENDED, bytes(8), 0)
    assert frames.reading(0) == reading(T1)
    padded = battery_frames(DBC.replace("BO_ 849", f"BO_ {849 | EXTENDED}"))
    assert heard(T1, into=padded).reading(0) is None
    padded.take(0x351 | EXTENDED, bytes.fromhex(T1[0x351]), 0)
    assert padded.reading(0) == reading(T1)


@pytest.mark.parametrize(
    ("dbc", "text"),
    [
        ("not a dbc", "pylontech_lv.dbc"),
        (DBC.replace("32|16@1- (0.1,0) [-2000", "31|16@1- (0.1,0) [-2000"), "overlap"),
        (DBC.replace("SG_ SoC :", "SG_ StateOfCharge :"), "no frame holds the signal SoC"),
        (DBC.replace('"V" Inverter', '"volt" Inverter'), "unit 'volt' is none of"),
    ],
)
def test_unusable_dbc_is_refused_with_the_reason(dbc: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        BatteryFrames("battery", PROFILE, dbc)
