"""Faults inside a device: each verb on a real inverter or meter, request by request. Registers are counted by hand."""

import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controller.app.sitefile import load
from controller.link.modbus_server import Request
from hil.devices import BatteryDevice, Device, InverterDevice, MeterDevice
from hil.faults import VERBS, device
from hil.faults.bench import Standing
from hil.faults.words import Armed, Fault, Heal
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from hil.run.model import Model

SITE = load(Path(__file__).parents[1] / "profiles" / "sites" / "demo.toml")

# Where the SunSpec paper puts the models of this inverter, in registers from 40000 on: model lengths 66 50 26 30 44 24
# 24 153 50 17 65 7 43 7, two registers of header each, after 'SunS'.
AT_1 = 40_002
AT_701 = AT_1 + 68 + 52 + 28 + 32 + 46 + 26 + 26
AT_704 = AT_701 + 155 + 52 + 19
AT_713 = AT_704 + 67
AT_715 = AT_713 + 9 + 45
W_701, WL1_701, W_SF_701 = AT_701 + 10, AT_701 + 41, AT_701 + 116
WSET_ENA, WSET, WSET_RVRT, WSET_RVRT_TMS = AT_704 + 22, AT_704 + 24, AT_704 + 26, AT_704 + 31
DER_HB, OP_CTL = AT_715 + 3, AT_715 + 8
SERIAL = AT_1 + 50
METER_W, METER_W_SF = 40_002 + 68 + 18, 40_002 + 68 + 22  # model 203
METER_EXPORTED = 40_002 + 68 + 38
ENTER_SERVICE_S = 320.0  # start, then 300 s of a sound grid: IEEE 1547-2018, 4.10.3
EXCEPTION_2, EXCEPTION_3, EXCEPTION_6 = 2, 3, 6


class Rig:
    """A plant with its devices in the test's hands; time passes in ticks of 0.1 s, as on a bench."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.plant = Plant(plant_spec(SITE), seed=1, start_s=self.now_s)
        self.plant.set("load_w", 1000)
        clock: Callable[[], float] = lambda: self.now_s  # noqa: E731
        self.inverter = InverterDevice(self.plant, "inverter", now_s=clock)
        self.meter = MeterDevice(self.plant, "meter", now_s=clock)
        self.battery = BatteryDevice(self.plant, "battery", now_s=clock)
        self.devices: dict[str, Device] = {
            "inverter": self.inverter,
            "meter": self.meter,
            "battery": self.battery,
        }
        self.heal: Heal = lambda: None
        self.wait(1)

    def wait(self, wait_s: float) -> None:
        """Let time pass while the BMS is heard."""
        for _ in range(round(10 * wait_s)):
            self.now_s += 0.1
            self.battery.part.keepalive()
            self.plant.advance(self.now_s)
            if isinstance(self.heal, Standing):
                self.heal.look()

    def begin(self, do: str, on: str = "inverter", **params: Any) -> Armed:
        """Let a fault begin, as the schedule does."""
        armed = Armed(Fault(on=on, do=do, params=params), VERBS[do], "7")
        self.heal = VERBS[do].begin(self, armed)
        return armed

    def end(self) -> None:
        """End it."""
        heal, self.heal = self.heal, lambda: None
        heal()

    def read(self, address: int, count: int = 1, on: str = "inverter") -> Any:
        """Return what a device answers to a read."""
        return self.devices[on].answer(request(3, address, count=count))  # type: ignore[attr-defined]

    def value(self, address: int, layout: str = ">h", on: str = "inverter") -> float:
        """Return one value."""
        answer = self.read(address, struct.calcsize(layout) // 2, on)
        assert isinstance(answer, bytes), answer
        return float(struct.unpack(layout, answer)[0])

    def write(self, address: int, layout: str, *values: int) -> Any:
        """Return what the inverter answers to a write."""
        return self.inverter.answer(request(16, address, struct.pack(layout, *values)))

    def ask(self, power_w: int, timer_s: int = 300) -> Any:
        """Write a set point as one block."""
        return self.write(WSET_ENA, ">HHiihhHI", 1, 1, power_w, 0, 0, 0, 0, timer_s)


def request(function: int, address: int, registers: bytes = b"", count: int = 0) -> Request:
    count = count or len(registers) // 2
    return Request(unit=1, function=function, address=address, count=count, registers=registers, peer="test")


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_registers_are_where_they_were_counted(rig: Rig) -> None:
    assert [rig.value(at) for at in (AT_1, AT_701, AT_704, AT_713, AT_715)] == [1, 701, 704, 713, 715]
    assert rig.read(SERIAL, 16) == b"INV-0001".ljust(32, b"\0")
    assert rig.value(40_002 + 68, on="meter") == 203


def test_ignored_write_is_acknowledged_and_changes_nothing(rig: Rig) -> None:
    rig.ask(2000)
    rig.wait(5)
    armed = rig.begin("write_ignored")
    assert rig.ask(5000) == b""
    rig.wait(5)
    assert rig.value(WSET, ">i") == 2000
    assert rig.plant.inverter("inverter").ac_w == pytest.approx(2000, abs=1)
    assert armed.effects == 1
    rig.end()
    assert rig.ask(5000) == b""
    rig.wait(5)
    assert (rig.value(WSET, ">i"), rig.value(W_701)) == (5000, 5000)
    assert armed.effects == 1


def test_late_write_is_taken_late_and_in_its_order(rig: Rig) -> None:
    armed = rig.begin("write_late", late_s=4.0)
    assert rig.ask(2000) == b""
    rig.wait(2)
    assert rig.ask(3000) == b""
    rig.wait(1.5)
    assert (rig.value(WSET, ">i"), armed.effects) == (0, 0)
    rig.wait(1)
    assert (rig.value(WSET, ">i"), armed.effects) == (2000, 1)
    rig.wait(2)
    assert (rig.value(WSET, ">i"), armed.effects) == (3000, 2)


def test_late_write_that_is_on_its_way_is_taken_at_the_end(rig: Rig) -> None:
    armed = rig.begin("write_late", late_s=60.0)
    rig.ask(2000)
    rig.end()
    assert (rig.value(WSET, ">i"), armed.effects) == (2000, 1)
    rig.ask(1000)
    assert rig.value(WSET, ">i") == 1000


def test_write_elsewhere_is_read_back_elsewhere(rig: Rig) -> None:
    rig.ask(1000)
    armed = rig.begin("write_elsewhere")
    assert rig.ask(4000) == b""
    rig.wait(5)
    assert (rig.value(WSET, ">i"), rig.value(WSET_RVRT, ">i")) == (1000, 4000)
    assert rig.plant.inverter("inverter").ac_w == pytest.approx(1000, abs=1)
    assert rig.write(WSET, ">i", 3000) == b""  # alone: the other point is not in the same write
    assert (rig.value(WSET, ">i"), rig.value(WSET_RVRT, ">i")) == (1000, 3000)
    assert armed.effects == 2
    rig.end()
    rig.ask(4000)
    assert rig.value(WSET, ">i") == 4000


def test_write_elsewhere_leaves_other_writes_alone(rig: Rig) -> None:
    armed = rig.begin("write_elsewhere")
    assert rig.write(OP_CTL, ">H", 0) == b""
    assert (rig.value(OP_CTL), armed.effects) == (0, 0)


def test_write_elsewhere_needs_two_points_of_one_size(rig: Rig) -> None:
    with pytest.raises(ValueError, match="not of the same size"):
        rig.begin("write_elsewhere", other="704.WSetEna")


@pytest.mark.parametrize(("heartbeat", "beats"), [("stops", False), ("goes on", True)])
def test_frozen_registers_stay_while_the_inverter_moves(rig: Rig, heartbeat: str, beats: bool) -> None:
    rig.ask(2000)
    rig.wait(5)
    armed = rig.begin("frozen", heartbeat=heartbeat)
    before = rig.value(DER_HB, ">I")
    assert armed.effects == 0
    assert rig.ask(5000) == b""
    rig.wait(5)
    assert rig.plant.inverter("inverter").ac_w == pytest.approx(5000, abs=1)
    assert rig.value(W_701) == 2000
    assert armed.effects == 1
    assert rig.value(WSET, ">i") == 5000  # what was written is read back
    assert (rig.value(DER_HB, ">I") > before) == beats
    rig.end()
    assert rig.value(W_701) == 5000


def test_frozen_device_refuses_what_it_refused_before(rig: Rig) -> None:
    rig.begin("frozen")
    assert rig.write(W_701, ">h", 1) == EXCEPTION_2
    assert rig.value(W_701) == 0


def test_meter_can_be_frozen_too(rig: Rig) -> None:
    rig.plant.set("load_w", 3000)
    rig.wait(3)
    armed = rig.begin("frozen", "meter")
    frozen_w = rig.value(METER_W, on="meter")
    rig.plant.set("load_w", 9000)
    rig.wait(3)
    assert rig.value(METER_W, on="meter") == frozen_w
    assert armed.effects == 1
    rig.end()
    assert rig.value(METER_W, on="meter") == pytest.approx(9000, abs=100)


@pytest.mark.parametrize(
    ("word", "short", "long"),
    [
        ("0x8000", b"\x80\0", b"\x80\0\0\0\0\0\0\0"),
        ("0xFFFF", b"\xff" * 2, b"\xff" * 8),
        ("0x7FC00000", b"\x7f\xc0", b"\x7f\xc0\0\0\0\0\0\0"),
    ],
)
def test_sentinels_stand_in_place_of_every_value(rig: Rig, word: str, short: bytes, long: bytes) -> None:
    armed = rig.begin("sentinels", word=word)
    assert rig.read(W_701) == short
    assert rig.read(AT_701 + 19, 4) == long  # TotWhInj, uint64
    assert armed.effects == 2
    assert rig.value(AT_701) == 701  # the model's header is none
    assert rig.ask(1000) == b""
    assert rig.value(WSET, ">i") == 1000  # nor is a setting
    rig.end()
    assert rig.value(W_701) == 0


def test_sentinel_of_one_point_leaves_the_others(rig: Rig) -> None:
    rig.ask(3000)
    rig.wait(5)
    rig.begin("sentinels", point="701.W", word="0x8000")
    assert (rig.value(W_701), rig.value(WL1_701)) == (-32_768, 1000)
    rig.end()
    rig.begin("sentinels", point="phase_w", word="0xFFFF")
    assert (rig.value(W_701), rig.read(WL1_701)) == (3000, b"\xff\xff")


def test_sentinel_of_a_point_that_is_not_there_cannot_begin(rig: Rig) -> None:
    with pytest.raises(KeyError):
        rig.begin("sentinels", "meter", point="701.W")


def test_swapped_words_turn_long_values_and_refuse_true_ones(rig: Rig) -> None:
    rig.ask(0x0123)
    armed = rig.begin("swapped")
    assert rig.value(WSET, ">i") == 0x01230000
    assert rig.value(AT_701) == 701
    assert rig.ask(5000) == EXCEPTION_3  # 5000 << 16 is no power of this inverter
    assert rig.plant.inverter("inverter").command_w == 0x0123
    assert armed.effects == 2
    rig.end()
    assert rig.ask(5000) == b""
    assert rig.value(WSET, ">i") == 5000


def test_swapped_bytes_turn_every_register(rig: Rig) -> None:
    rig.begin("swapped", order="bytes")
    assert rig.read(40_000, 2) == b"uSSn"
    assert rig.value(AT_701, "<h") == 701


def test_scale_factor_moves_and_the_values_follow(rig: Rig) -> None:
    rig.ask(4000)
    rig.wait(5)
    armed = rig.begin("scale_moves", by=1.0)
    assert (rig.value(W_701), rig.value(W_SF_701)) == (400, 1)
    assert rig.value(WL1_701) == 133
    assert armed.effects == 3
    rig.end()
    assert (rig.value(W_701), rig.value(W_SF_701)) == (4000, 0)


def test_values_follow_a_scale_factor_late(rig: Rig) -> None:
    rig.plant.set("load_w", 4000)
    rig.wait(2)
    rig.begin("scale_moves", "meter", by=1.0, late_s=2.0)
    assert rig.value(METER_W_SF, on="meter") == 1
    assert rig.value(METER_W, on="meter") == pytest.approx(4000, abs=30)
    rig.wait(2.1)
    assert rig.value(METER_W, on="meter") == pytest.approx(400, abs=3)


def test_value_that_is_missing_stays_missing_in_another_scale(rig: Rig) -> None:
    rig.begin("not_a_number", point="ac_w")
    rig.begin("scale_moves")
    assert rig.value(W_701) == -32_768


def test_scale_factor_outside_the_papers_range_cannot_begin(rig: Rig) -> None:
    with pytest.raises(KeyError):
        rig.begin("scale_moves", factor="701.No_SF")


def test_torn_value_is_of_two_moments(rig: Rig) -> None:
    meter = rig.plant.meter("meter")
    counted_wh = [0x1FFF0]
    meter.told.add("exported_wh", _telling(counted_wh))
    armed = rig.begin("torn", "meter")
    assert rig.value(METER_EXPORTED, ">I", "meter") == 0x1FFF0
    assert armed.effects == 0
    rig.wait(1)
    counted_wh[0] = 0x20010
    assert rig.value(METER_EXPORTED, ">I", "meter") == 0x2FFF0  # the new beginning, the old end
    assert armed.effects == 1
    rig.wait(1)
    assert rig.value(METER_EXPORTED, ">I", "meter") == 0x20010
    rig.end()
    rig.wait(1)
    counted_wh[0] = 0x30000
    assert rig.value(METER_EXPORTED, ">I", "meter") == 0x30000


def _telling(value: list[int]) -> Any:
    from hil.plant.told import Tamper

    return Tamper(alter=lambda _true, _t_s: float(value[0]))


@pytest.mark.parametrize(("answer", "said"), [("silence", None), ("busy", EXCEPTION_6)])
def test_occupied_device_serves_nobody_else(rig: Rig, answer: str, said: object) -> None:
    armed = rig.begin("occupied", answer=answer)
    assert rig.read(W_701) == said
    assert rig.ask(1000) == said
    assert armed.effects == 2
    assert armed.verb.cuts
    rig.end()
    assert rig.value(WSET, ">i") == 0


def test_second_master_writes_over_the_first(rig: Rig) -> None:
    rig.ask(3000)
    armed = rig.begin("second_master", power_w=-1500.0, every_s=2.0)
    rig.wait(1)
    assert (rig.value(WSET, ">i"), armed.effects) == (-1500, 1)
    rig.ask(3000)
    assert rig.value(WSET, ">i") == 3000
    rig.wait(2)
    assert (rig.value(WSET, ">i"), armed.effects) == (-1500, 2)
    rig.end()
    rig.ask(3000)
    rig.wait(10)
    assert rig.value(WSET, ">i") == 3000
    assert armed.effects == 2


def test_second_master_does_not_count_what_the_inverter_refused(rig: Rig) -> None:
    armed = rig.begin("second_master", power_w=1e6)
    rig.wait(3)
    assert armed.effects == 0


def test_short_reads_only_and_not_too_often(rig: Rig) -> None:
    armed = rig.begin("small_reads", registers=10.0, gap_s=0.1)
    assert rig.read(AT_701, 11) == EXCEPTION_3
    assert rig.read(AT_701, 10) is None  # in the same instant
    rig.wait(0.1)
    assert len(rig.read(AT_701, 10)) == 20
    rig.wait(0.05 * 2)
    assert rig.ask(1000) == b""  # a write of more is no read
    assert armed.effects == 2
    rig.end()
    assert len(rig.read(AT_701, 100)) == 200


def test_device_starts_anew_with_its_models_turned_round(rig: Rig) -> None:
    rig.ask(3000)
    rig.wait(5)
    armed = rig.begin("moved", silent_s=5.0)
    assert rig.read(40_000, 2) is None
    rig.wait(5.1)
    found = models(rig)
    assert list(found) == [1, 715, 714, 713, 704, 703, 702, 701, 124, 123, 122, 121, 120, 103]
    assert rig.value(found[701] + 10) == 3000
    assert rig.write(found[704] + 24, ">i", 2000) == b""
    assert rig.value(found[704] + 24, ">i") == 2000
    assert rig.plant.inverter("inverter").command_w == 2000
    assert rig.write(found[701] + 10, ">h", 1) == EXCEPTION_2
    assert armed.effects > 2
    rig.end()
    assert rig.value(AT_701) == 701


def test_device_starts_anew_without_a_model(rig: Rig) -> None:
    rig.begin("moved", silent_s=0.0, order="kept", without=120.0)
    found = models(rig)
    assert list(found) == [1, 103, 121, 122, 123, 124, 701, 702, 703, 704, 713, 714, 715]
    assert found[701] == AT_701 - 28
    end = found[715] + 9
    assert rig.read(end, 2) == b"\xff\xff\0\0"
    assert rig.read(end, 3) == EXCEPTION_2
    assert rig.write(end, ">H", 0) == EXCEPTION_2


def models(rig: Rig) -> dict[int, int]:
    """Walk the map as a client does: number of each model -> its first register."""
    found, at = {}, AT_1
    assert rig.read(40_000, 2) == b"SunS"
    while (number := int(rig.value(at, ">H"))) != 0xFFFF:
        found[number] = at
        at += 2 + int(rig.value(at + 1, ">H"))
    return found


def test_other_device_answers_with_its_own_serial_number(rig: Rig) -> None:
    rig.ask(3000)
    rig.wait(5)
    armed = rig.begin("other_serial", serial="XY-9")
    assert rig.read(SERIAL, 16) == b"XY-9".ljust(32, b"\0")
    assert rig.value(W_701) == 0
    assert rig.value(AT_701) == 701
    assert rig.ask(1000) == b""
    assert rig.read(60_000) == EXCEPTION_2
    assert armed.effects == 5
    rig.end()
    assert rig.read(SERIAL, 16) == b"INV-0001".ljust(32, b"\0")
    assert (rig.value(W_701), rig.value(WSET, ">i")) == (3000, 3000)


def test_other_device_answers_at_a_share_of_the_requests(rig: Rig) -> None:
    armed = rig.begin("other_serial", share=0.3)
    said = [rig.read(SERIAL, 16)[:5] for _ in range(200)]
    assert said.count(b"OTHER") == armed.effects
    assert 40 <= armed.effects <= 80  # 60 expected, standard deviation 6.5
    assert said.count(b"INV-0") == 200 - armed.effects


@pytest.mark.parametrize("on", ["inverter", "meter"])
def test_mute_device_says_nothing(rig: Rig, on: str) -> None:
    armed = rig.begin("mute", on)
    assert rig.read(40_000, 2, on) is None
    assert armed.effects == 1
    rig.end()
    assert rig.read(40_000, 2, on) == b"SunS"


def test_mute_battery_sends_nothing(rig: Rig) -> None:
    sent: list[Any] = []
    rig.battery._bus = SimpleNamespace(send=sent.append)  # type: ignore[assignment]
    armed = rig.begin("mute", "battery")
    rig.battery.tick()
    assert [frames for frames in sent if frames] == []
    assert armed.effects == 6  # identifiers of the set
    rig.end()
    rig.wait(1)
    rig.battery.tick()
    assert len(sent[-1]) == 6


def test_lost_inverter_is_dead_forgets_and_starts_anew(rig: Rig) -> None:
    rig.ask(3000)
    rig.wait(5)
    armed = rig.begin("lose_unit")
    rig.wait(1)
    part = rig.plant.inverter("inverter")
    assert (part.ac_w, part.state) == (pytest.approx(0, abs=50), "off")
    assert rig.read(W_701) is None
    assert armed.effects == 1
    rig.end()
    rig.wait(1)
    assert part.state == "starting"
    rig.wait(ENTER_SERVICE_S)
    assert part.state == "run"
    assert rig.value(W_701) == 0  # what it was told is forgotten


def test_mute_device_of_the_model_is_not_heard() -> None:
    plant = Plant(plant_spec(SITE), seed=1, start_s=1000.0)
    bench = Model(SITE, plant)
    armed = Armed(Fault(on="meter", do="mute"), VERBS["mute"], "7")
    heal = VERBS["mute"].begin(bench, armed)
    assert isinstance(heal, Standing)
    heal.look()
    assert bench.silent == {"meter"}
    assert armed.effects == 1
    heal()
    assert bench.silent == set()


def test_meter_with_floats_has_no_scale_factor_to_move(rig: Rig) -> None:
    rig.devices["meter"] = MeterDevice(rig.plant, "meter", now_s=lambda: rig.now_s, floats=True)
    with pytest.raises((KeyError, ValueError)):
        rig.begin("scale_moves", "meter")


def test_hooks_of_several_faults_work_on_what_the_others_left(rig: Rig) -> None:
    rig.ask(3000)
    rig.wait(5)
    rig.begin("frozen")
    frozen = rig.heal
    rig.begin("sentinels", point="phase_w")
    rig.ask(1000)
    rig.wait(5)
    assert (rig.value(W_701), rig.value(WL1_701)) == (3000, -32_768)
    frozen()
    assert (rig.value(W_701), rig.value(WL1_701)) == (1000, -32_768)
    rig.end()
    assert rig.value(WL1_701) == 333


def test_battery_has_no_registers(rig: Rig) -> None:
    with pytest.raises(TypeError, match="battery has no Modbus registers"):
        rig.begin("frozen", "battery")


def test_every_verb_of_the_layer_is_tested_here() -> None:
    text = Path(__file__).read_text("utf-8")
    assert [verb.name for verb in device.VERBS if f'"{verb.name}"' not in text] == []
