"""The emulated inverter and meter on the wire. Referees: pysunspec2 as a client, register numbers counted by hand."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any

import pytest

from controller.link.modbus_server import Request
from hil.devices import BatteryDevice, Device, InverterDevice, MeterDevice, serve
from hil.plant.meter import Feeder
from hil.wires import Wires
from tests.bench import LOOPBACK, WAIT_S, Time, request, scan, serving


@pytest.fixture
def wires() -> Wires:
    wires = Wires.create(None)
    wires["charge_max_a"] = wires["discharge_max_a"] = 250.0
    return wires


@pytest.fixture
def time() -> Time:
    return Time()


INVERTER_MODELS = [1, 103, 120, 121, 122, 123, 124, 701, 702, 703, 704, 713, 714, 715]

# Where the paper puts what a dispatcher needs, in registers from 40000 on: model lengths 66 50 26 30 44 24 24 153 50 17
# 65 7 43 7, two registers of header each, after 'SunS'. WSetEna is 704's register 22.
AT_701 = 40_000 + 2 + 68 + 52 + 28 + 32 + 46 + 26 + 26
AT_704 = AT_701 + 155 + 52 + 19
AT_713 = AT_704 + 67
AT_715 = AT_713 + 9 + 45
WSET_ENA, WSET, WSET_RVRT_TMS, WSET_RVRT_REM = AT_704 + 22, AT_704 + 24, AT_704 + 31, AT_704 + 33
CONTROLLER_HB, OP_CTL = AT_715 + 5, AT_715 + 8


def set_point(
    power_w: int, *, enabled: int = 1, revert_w: int = 0, enabled_after: int = 0, timer_s: int = 0
) -> Request:
    """The one write of the recipe: 704 registers 22 to 32."""
    values = (enabled, 1, power_w, revert_w, 0, 0, enabled_after, timer_s)
    return request(16, WSET_ENA, struct.pack(">HHiihhHI", *values))


def register(device: InverterDevice, address: int, layout: str = ">h") -> int:
    answer = device.answer(request(3, address, count=struct.calcsize(layout) // 2))
    assert isinstance(answer, bytes)
    return int(struct.unpack(layout, answer)[0])


def inverter(wires: Wires, time: Time) -> InverterDevice:
    device = InverterDevice(wires, now_s=time)
    device.advance()
    return device


async def test_pysunspec2_finds_all_fourteen_models_and_reads_the_plant(wires: Wires, time: Time) -> None:
    wires["soc"], wires["pack_v"], wires["soc_bias"] = 0.42, 52.5, 0.03
    device = InverterDevice(wires, now_s=time)
    async with serving(device):
        device.answer(set_point(4000))
        time.pass_by(5, device)

        def read(client: Any) -> Any:
            assert [number for number in client.models if isinstance(number, int)] == INVERTER_MODELS
            assert not any(model.error_info for model in client.model_list)
            return {number: client.models[number][0].get_dict(computed=True) for number in INVERTER_MODELS}

        found = await scan(device.port, read)
    assert (found[1]["Mn"], found[1]["SN"], found[1]["DA"]) == ("Linepack", "INV-0001", 1)
    assert (found[701]["W"], found[701]["InvSt"], found[701]["Hz"], found[701]["LNV"]) == (4000, 3, 50, 230)
    assert (found[103]["W"], found[103]["St"], found[103]["DCV"]) == (4000, 4, 52.5)
    assert found[701]["A"] == pytest.approx(4000 / 230, abs=0.05)
    assert (found[702]["WMaxRtg"], found[702]["WMax"], found[702]["WChaRteMax"]) == (10_000, 10_000, 10_000)
    assert (found[120]["WRtg"], found[120]["DERTyp"], found[121]["WMax"]) == (10_000, 82, 10_000)
    assert (found[713]["WHRtg"], found[713]["SoC"], found[713]["SoH"]) == (25_000, 45, 100)
    assert found[713]["WHAvail"] == pytest.approx(0.45 * 25_000, abs=10)
    assert found[714]["DCW"] == found[714]["Prt"][0]["DCW"] == round(wires["inverter_dc_w"])
    assert found[714]["Prt"][0]["PrtTyp"] == 1
    assert (found[715]["LocRemCtl"], found[715]["OpCtl"]) == (0, 1)
    assert found[715]["DERHb"] in (4, 5)
    assert found[703]["ES"] == 1
    assert found[701]["TotWhInj"] == round(device.physics.injected_wh)


async def test_pysunspec2_sets_the_power_and_reads_it_back(wires: Wires, time: Time) -> None:
    device = InverterDevice(wires, now_s=time)
    async with serving(device):

        def write(client: Any) -> Any:
            control = client.models[704][0]
            control.WSetRvrt.value, control.WSetEnaRvrt.value, control.WSetRvrtTms.value = 0, 0, 60
            control.WSetMod.value, control.WSet.cvalue, control.WSetEna.value = 1, -3456, 1
            control.write()
            control.read()
            return control.WSet.cvalue, control.WSetEna.value, control.WSetRvrtRem.value

        assert await scan(device.port, write) == (-3456, 1, 60)
        time.pass_by(5, device)
    assert wires["inverter_w"] == pytest.approx(-3456, abs=1)
    assert wires["inverter_command_w"] == -3456


def test_power_sits_where_the_paper_puts_it_and_is_positive_toward_the_grid(wires: Wires, time: Time) -> None:
    device = inverter(wires, time)
    assert device.answer(set_point(5000)) == b""
    time.pass_by(5, device)
    assert register(device, AT_701, ">h") == 701
    assert register(device, AT_704, ">h") == 704
    assert register(device, AT_715, ">h") == 715
    assert register(device, AT_701 + 10) == 5000
    device.answer(set_point(-5000))
    time.pass_by(5, device)
    assert register(device, AT_701 + 10) == -5000
    assert register(device, AT_701 + 116) == 0  # W_SF


def test_set_point_reverts_when_its_time_is_over(wires: Wires, time: Time) -> None:
    device = inverter(wires, time)
    device.answer(set_point(6000, timer_s=10))
    time.pass_by(8, device)
    assert wires["inverter_w"] == pytest.approx(6000, abs=1)
    assert register(device, WSET_RVRT_REM, ">I") in (2, 3)
    time.pass_by(5, device)
    assert wires["inverter_w"] == pytest.approx(0, abs=1)
    assert (register(device, WSET_ENA), register(device, WSET, ">i"), register(device, WSET_RVRT_REM, ">I")) == (
        0,
        0,
        0,
    )


def test_refreshed_set_point_does_not_revert(wires: Wires, time: Time) -> None:
    device = inverter(wires, time)
    for _ in range(5):
        device.answer(set_point(6000, timer_s=10))
        time.pass_by(8, device)
    assert wires["inverter_w"] == pytest.approx(6000, abs=1)


def test_heartbeat_alone_does_not_hold_a_set_point(wires: Wires, time: Time) -> None:
    device = inverter(wires, time)
    device.answer(set_point(6000, timer_s=10))
    for beat in range(12):
        assert device.answer(request(16, CONTROLLER_HB, struct.pack(">I", beat))) == b""
        time.pass_by(1, device)
    assert register(device, CONTROLLER_HB, ">I") == 11
    assert wires["inverter_command_w"] == 0


def test_reversion_can_leave_another_set_point_in_force_for_good(wires: Wires, time: Time) -> None:
    device = inverter(wires, time)
    device.answer(set_point(6000, revert_w=-500, enabled_after=1, timer_s=10))
    time.pass_by(100, device)
    assert wires["inverter_w"] == pytest.approx(-500, abs=1)


def test_set_point_without_a_timer_stays_and_disabling_it_gives_zero(wires: Wires, time: Time) -> None:
    device = inverter(wires, time)
    device.answer(set_point(6000))
    time.pass_by(1000, device)
    assert wires["inverter_w"] == pytest.approx(6000, abs=1)
    assert device.answer(request(6, WSET_ENA, b"\0\0")) == b""
    time.pass_by(5, device)
    assert wires["inverter_w"] == pytest.approx(0, abs=1)


def test_set_point_in_percent_of_the_rating(wires: Wires, time: Time) -> None:
    device = inverter(wires, time)
    device.answer(request(16, WSET_ENA, struct.pack(">HHiihhHI", 1, 0, 0, 0, -255, 0, 0, 0)))
    time.pass_by(5, device)
    assert wires["inverter_w"] == pytest.approx(-2550, abs=1)


@pytest.mark.parametrize(("operation", "power_w", "state"), [(0, 0, 0), (1, 3000, 3), (2, 0, 7), (3, 3000, 3)], ids=str)
def test_operation_can_be_stopped_and_started(
    wires: Wires, time: Time, operation: int, power_w: int, state: int
) -> None:
    device = inverter(wires, time)
    device.answer(set_point(3000))
    assert device.answer(request(6, OP_CTL, struct.pack(">H", operation))) == b""
    time.pass_by(5, device)
    assert wires["inverter_w"] == pytest.approx(power_w, abs=1)
    assert register(device, AT_701 + 4) == state


REFUSED = {
    "measurement": (request(6, AT_701 + 10, b"\0\1"), 2),
    "model_number": (request(6, AT_704, b"\0\1"), 2),
    "not_implemented": (request(6, AT_704 + 14, b"\0\1"), 2),
    "remaining_time": (request(16, WSET_RVRT_REM, b"\0\0\0\1"), 2),
    "set_point_running_into_the_remaining_time": (request(16, WSET_RVRT_TMS, bytes(8)), 2),
    "nameplate": (request(6, AT_701 + 155 + 2, b"\0\1"), 2),
    "before_the_map": (request(6, 39_999, b"\0\1"), 2),
    "behind_the_map": (request(16, AT_715 + 8, bytes(6 * 2)), 2),
    "high_half_of_a_set_point": (request(6, WSET, b"\0\1"), 3),
    "low_half_of_a_set_point": (request(6, WSET + 1, b"\0\1"), 3),
    "set_point_cut_in_two": (request(16, WSET_ENA, bytes(6)), 3),
    "set_point_above_the_rating": (request(16, WSET, struct.pack(">i", 10_001)), 3),
    "set_point_not_implemented": (request(16, WSET, struct.pack(">i", -(2**31))), 3),
    "enable_out_of_range": (request(6, WSET_ENA, b"\0\2"), 3),
    "operation_out_of_range": (request(6, OP_CTL, b"\0\4"), 3),
}


@pytest.mark.parametrize("case", REFUSED)
def test_inverter_refuses_what_the_paper_forbids_and_keeps_what_it_had(wires: Wires, time: Time, case: str) -> None:
    device = inverter(wires, time)
    device.answer(set_point(1234))
    before = bytes(device.image.registers)
    bad, code = REFUSED[case]
    assert device.answer(bad) == code
    assert bytes(device.image.registers) == before


def test_one_bad_value_in_a_group_refuses_the_whole_group(wires: Wires, time: Time) -> None:
    device = inverter(wires, time)
    device.answer(set_point(1234))
    assert device.answer(set_point(5000, timer_s=10**6)) == 3
    assert register(device, WSET, ">i") == 1234


def test_reads_outside_the_map_and_other_functions_are_refused(wires: Wires, time: Time) -> None:
    device = inverter(wires, time)
    assert device.answer(request(3, 39_999, count=2)) == 2
    assert device.answer(request(3, AT_715 + 8, count=4)) == 2
    assert device.answer(request(4, 40_000, count=2)) == 1
    assert device.answer(request(3, 40_000, count=2)) == b"SunS"
    assert device.answer(request(3, AT_715 + 9, count=2)) == b"\xff\xff\0\0"


def test_other_units_are_met_with_silence(wires: Wires, time: Time) -> None:
    assert inverter(wires, time).answer(request(3, 40_000, count=2, unit=2)) is None
    assert MeterDevice(wires, now_s=time).answer(request(3, 40_000, count=2, unit=2)) is None


def test_local_control_stops_the_inverter_and_refuses_writes_until_it_ends(wires: Wires, time: Time) -> None:
    device = inverter(wires, time)
    device.answer(set_point(3000))
    time.pass_by(5, device)
    wires["inverter_local"] = 1
    time.pass_by(5, device)
    assert wires["inverter_w"] == pytest.approx(0, abs=1)
    assert register(device, AT_715 + 2) == 1
    assert device.answer(set_point(3000)) == 4
    wires["inverter_local"] = 0
    time.pass_by(5, device)
    assert wires["inverter_w"] == pytest.approx(3000, abs=1)


async def ask(port: int, frame: str) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(bytes.fromhex(frame))
    try:
        return await asyncio.wait_for(reader.read(300), WAIT_S)
    finally:
        writer.close()


READ_SUNS = "0001 0000 0006 01 03 9c40 0002"
SUNS = bytes.fromhex("0001 0000 0007 01 03 04") + b"SunS"


@pytest.mark.parametrize("kind", [InverterDevice, MeterDevice])
async def test_pulled_cable_closes_the_connection_and_comes_back_on_the_same_port(
    wires: Wires, time: Time, kind: type[Device]
) -> None:
    async with serving(kind(wires, now_s=time)) as device:
        assert await ask(device.port, READ_SUNS) == SUNS
        reader, writer = await asyncio.open_connection(LOOPBACK, device.port)
        wires[device.cable] = 0
        await device.look()
        with pytest.raises(OSError):
            await asyncio.open_connection(LOOPBACK, device.port)
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(1), WAIT_S) == b""
        writer.close()
        wires[device.cable] = 1
        await device.look()
        assert await ask(device.port, READ_SUNS) == SUNS


@pytest.mark.parametrize(("floats", "number"), [(False, 203), (True, 213)])
async def test_meter_counts_import_as_positive_and_exports_by_phase(
    wires: Wires, time: Time, floats: bool, number: int
) -> None:
    wires["inverter_w"], wires["load_set_w"], wires["pv_set_w"] = 1000, 4900, 300
    device = MeterDevice(wires, now_s=time, feeder=Feeder(ripple_w=0), floats=floats)
    async with serving(device):
        time.pass_by(3600, device)

        def read(client: Any) -> Any:
            assert [key for key in client.models if isinstance(key, int)] == [1, number]
            return client.models[number][0].get_dict(computed=True)

        found = await scan(device.port, read)
    assert wires["poi_w"] == -3600
    assert found["W"] == 3600
    assert [found[f"Wph{phase}"] for phase in "ABC"] == [1200, 1200, 1200]
    assert found["TotWhImp"] == pytest.approx(3600, abs=2)
    assert not found["TotWhExp"]
    assert (round(found["Hz"], 3), round(found["PhV"], 3)) == (50, 230)
    assert found["PPV"] == pytest.approx(398.4, abs=0.1)
    assert found["AphA"] == pytest.approx(1200 / 230, abs=0.1)


def test_meter_holds_its_value_between_two_samples(wires: Wires, time: Time) -> None:
    wires["load_set_w"] = 1000
    device = MeterDevice(wires, now_s=time, feeder=Feeder(ripple_w=0))
    device.advance()
    seen = []
    for step in range(1, 9):
        wires["inverter_w"] = 100.0 * step
        time.now_s += 0.1
        device.advance()
        answer = device.answer(request(3, 40_070 + 18, count=1))
        assert isinstance(answer, bytes)
        seen.append(struct.unpack(">h", answer)[0])
    assert seen == [1000, 800, 800, 600, 600, 400, 400, 200]


def test_nothing_in_the_meter_can_be_written(wires: Wires, time: Time) -> None:
    assert MeterDevice(wires, now_s=time).answer(request(6, 40_070 + 18, b"\0\0")) == 2


def test_three_devices_on_one_set_of_wires_keep_the_energy(time: Time) -> None:
    wires = Wires.create(None)
    wires["load_set_w"] = 2000
    devices = (BatteryDevice(wires, now_s=time), InverterDevice(wires, now_s=time), MeterDevice(wires, now_s=time))
    for device in devices:
        device.advance()
    before_wh = wires["energy_wh"]
    devices[1].answer(set_point(5000))
    time.pass_by(50, *devices)
    assert wires["inverter_w"] == pytest.approx(5000, abs=1)
    assert wires["poi_w"] == pytest.approx(3000, abs=25)
    assert before_wh - wires["energy_wh"] == pytest.approx(wires["inverter_dc_w"] * 49.5 / 3600, rel=0.02)


async def test_device_runs_on_its_own_until_cancelled(wires: Wires) -> None:
    wires["load_set_w"] = 777
    moved = asyncio.Event()

    class Watched(MeterDevice):
        def step(self, dt_s: float) -> None:
            super().step(dt_s)
            if dt_s > 0:
                moved.set()

    device = Watched(wires)
    async with serving(device):
        task = asyncio.create_task(device.run())
        await asyncio.wait_for(moved.wait(), WAIT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert wires["load_w"] == pytest.approx(777, abs=20)


async def test_served_device_gives_its_port_back_when_cancelled(wires: Wires) -> None:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    for _ in range(2):
        task = asyncio.create_task(serve("meter", wires, port))
        async with asyncio.timeout(WAIT_S):
            assert await eventually(port) == SUNS
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def eventually(port: int) -> bytes:
    """Ask until the device listens."""
    while True:
        with suppress(ConnectionRefusedError):
            return await ask(port, READ_SUNS)
        await asyncio.sleep(0)


async def test_unknown_kind_of_device_is_refused(wires: Wires) -> None:
    with pytest.raises(KeyError):
        await serve("windmill", wires, 0)
