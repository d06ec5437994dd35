"""The emulated battery that tells of its cells. Referees: the papers' bytes by hand, and cantools with the DBC."""

from importlib.resources import files
from struct import unpack

import pytest
from cantools.database import load_string

from controller.app.sitefile import profile
from controller.codec.can import BatteryFrames
from controller.model import Battery as BatteryReading
from hil.devices import BatteryDevice
from hil.plant import told
from hil.plant.inverter import SetPoint
from hil.plant.site import Plant
from hil.plant.told import Tamper
from hil.run.battery_reading import battery_reading
from tests.bench import Time, a_plant

DBC = load_string(files("profiles").joinpath("batteries", "canbus_bms.dbc").read_text("utf-8"), "dbc")
CELLS, PAIRS = 0x373, 0x35A


def a_battery(soc: float = 0.5, spread_pct: float = 0.0, **bms: object) -> tuple[Plant, BatteryDevice]:
    bms = {"contactor": {"when_silent": "pause"}} | bms
    plant = a_plant({"battery": {"speaks": "canbus_bms", "soc": soc, "pack": {"spread_pct": spread_pct}, "bms": bms}})
    plant.inverter("inverter").operate("stop")
    return plant, BatteryDevice(plant, "battery", now_s=Time())


def sent(device: BatteryDevice) -> dict[int, bytes]:
    return dict(device.frames())


def reading(device: BatteryDevice) -> BatteryReading:
    """Return what the controller's own codec makes of the frames."""
    kind = profile("batteries/canbus_bms")
    frames = BatteryFrames("battery", kind, files("profiles").joinpath("batteries", kind.dbc).read_text("utf-8"))
    for identifier, data in device.frames():
        frames.take(identifier, data, 1000)
    found = frames.reading(1000)
    assert found is not None
    return found


def test_battery_at_rest_sends_the_papers_bytes() -> None:
    _, device = a_battery()
    frames = sent(device)
    # 56.0 V, 250.0 A, 250.0 A, 46.0 V | 50 %, 100 %, 50.00 % | 16 cells of 3.299 V, 0 A, 25.0 C | all cleared
    assert frames[0x351] == bytes.fromhex("3002 C409 C409 CC01")
    assert frames[0x355] == bytes.fromhex("3200 6400 8813")
    assert frames[0x356] == bytes.fromhex("9E14 0000 FA00")
    assert frames[PAIRS] == bytes.fromhex("AAAAAA02 AAAAAA02")
    assert frames[0x372] == bytes.fromhex("0500 0000 0000 0000")
    # 3299 mV twice, 25 C = 298 K twice
    assert frames[CELLS] == bytes.fromhex("E30C E30C 2A01 2A01")
    assert set(frames) == {0x351, 0x355, 0x356, PAIRS, 0x35C, 0x35E, 0x35F, 0x372, CELLS}


def test_cantools_reads_what_the_plant_is() -> None:
    plant, device = a_battery(soc=0.95, spread_pct=2.0)
    plant.inverter("inverter").operate("start")
    plant.advance(plant.now_s + 400)
    plant.inverter("inverter").set_point(SetPoint(enabled=True, power_w=-8000))
    plant.advance(plant.now_s + 300)
    part, frames = plant.battery("battery"), sent(device)
    cells = DBC.decode_message(CELLS, frames[CELLS])
    assert part.cell_max_v - part.cell_min_v > 0.005  # the weak one is not the strong one
    assert cells["CellVoltageMin"] == pytest.approx(1000 * part.cell_min_v, abs=0.5)
    assert cells["CellVoltageMax"] == pytest.approx(1000 * part.cell_max_v, abs=0.5)
    assert cells["CellTemperatureMin"] == pytest.approx(part.cell_cold_c, abs=0.51)
    assert cells["CellTemperatureMax"] == pytest.approx(part.cell_c, abs=0.66)
    measured = DBC.decode_message(0x356, frames[0x356], allow_truncated=True)
    assert measured["PackCurrent"] == pytest.approx(-part.pack_a, abs=0.05)
    assert part.pack_a < -100  # charging: positive in the frame


def test_alarm_is_the_pair_01_and_the_rest_10() -> None:
    plant, device = a_battery()
    plant.battery("battery").bms.force_open = True
    plant.advance(plant.now_s + 5)
    assert plant.battery("battery").alarms == {"contactor"}
    pairs = DBC.decode_message(PAIRS, sent(device)[PAIRS], decode_choices=False)
    assert pairs["Alarm_contactor"] == 1
    assert {name for name, value in pairs.items() if value == 1} == {"Alarm_contactor"}
    assert sent(device)[0x372] == bytes.fromhex("0500 0500 0500 0000")  # all modules block both


@pytest.mark.parametrize(("point", "at"), [("cell_min_v", 0), ("cell_max_v", 1), ("temperature_min_c", 2)])
def test_cell_that_is_not_told_is_all_ones(point: str, at: int) -> None:
    plant, device = a_battery()
    plant.battery("battery").told.add(point, Tamper(alter=told.not_a_number()))
    words = unpack("<HHHH", sent(device)[CELLS])
    assert words[at] == 0xFFFF
    assert [word for place, word in enumerate(words) if place != at and word == 0xFFFF] == []


@pytest.mark.parametrize(
    ("point", "alter"),
    [
        ("soc", None),
        ("cell_min_v", told.not_a_number()),
        ("cell_max_v", told.not_a_number()),
        ("cell_min_v", told.factor(-1)),
        ("cell_max_v", told.wrong(2.9)),  # below the lowest
        ("cell_max_v", told.wrong(5.1)),
        ("temperature_min_c", told.factor(-1)),
        ("temperature_max_c", told.not_a_number()),
        ("temperature_max_c", told.wrong(-30.0)),  # below the coldest
        ("temperature_max_c", told.wrong(200.0)),
        ("charge_max_a", told.not_a_number()),
        ("charge_max_a", told.factor(-1)),
        ("pack_a", told.factor(-1)),
        ("soc", told.wrong(2.55)),
    ],
)
def test_without_frames_the_same_is_told_as_with_them(point: str, alter: told.Alter | None) -> None:
    plant, device = a_battery(soc=0.7, spread_pct=1.0)
    plant.advance(plant.now_s + 5)
    part = plant.battery("battery")
    if alter is not None:
        part.told.add(point, Tamper(alter=alter))
    with_frames, without = reading(device), battery_reading("battery", part, plant.now_s, 1000)
    for name in (
        *("soc_bp", "soh_bp", "voltage_mv", "current_ma", "charge_max_ma", "discharge_max_ma", "cell_min_mv"),
        *("cell_max_mv", "temperature_mc", "temperature_min_mc", "temperature_max_mc", "charge_allowed", "modules"),
        *("force_charge", "full_charge_wanted", "alarms"),
    ):
        assert getattr(without, name) == getattr(with_frames, name), name


def test_battery_that_does_not_tell_its_cells_tells_none() -> None:
    plant = a_plant()
    found = battery_reading("battery", plant.battery("battery"), plant.now_s, 1000)
    assert (found.cell_min_mv, found.cell_max_mv, found.temperature_min_mc, found.temperature_max_mc) == (None,) * 4
    assert CELLS not in dict(BatteryDevice(plant, "battery", now_s=Time()).frames())
