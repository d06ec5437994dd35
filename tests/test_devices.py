"""The emulated inverter and meter on the wire. Referees: pysunspec2 as a client, register numbers counted by hand."""

import asyncio
import struct
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from controller.app.sitefile import load
from controller.link.modbus_server import Request
from hil.devices import BatteryDevice, Device, InverterDevice, MeterDevice, ModbusDevice
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from hil.run.host import Host
from hil.stage import DEMO_SITE
from hil.wire.proxy import Toxic, Wire
from tests.bench import LOOPBACK, QUIET, WAIT_S, Time, a_plant, request, scan, serving


@pytest.fixture
def plant() -> Plant:
    return a_plant()


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
TAKEN_PCT = 4000 / 0.97 / 3600 * 5 / 25_000 * 100  # of the charge, by 4 kW for 5 s at an efficiency near 97 %
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


def inverter(plant: Plant, time: Time) -> InverterDevice:
    return InverterDevice(plant, "inverter", now_s=time)


async def test_pysunspec2_finds_all_fourteen_models_and_reads_the_plant(time: Time) -> None:
    plant = a_plant({"battery": {"soc": 0.42, "bms": {"estimate": {"start_bias_pct": 3}}}})
    device = inverter(plant, time)
    beats = register(device, AT_715 + 3, ">I")
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
    assert (found[103]["W"], found[103]["St"], found[103]["DCV"]) == (4000, 4, round(plant.value("battery.pack_v"), 2))
    assert found[701]["A"] == pytest.approx(4000 / 230, abs=0.05)
    assert (found[702]["WMaxRtg"], found[702]["WMax"], found[702]["WChaRteMax"]) == (10_000, 10_000, 10_000)
    assert (found[120]["WRtg"], found[120]["DERTyp"], found[121]["WMax"]) == (10_000, 82, 10_000)
    assert (found[713]["WHRtg"], found[713]["SoH"]) == (25_000, 100)
    assert found[713]["SoC"] == pytest.approx(45 - TAKEN_PCT, abs=0.01)
    assert found[713]["WHAvail"] == pytest.approx((0.45 - TAKEN_PCT / 100) * plant.value("battery.capacity_wh"), abs=10)
    assert found[714]["DCW"] == found[714]["Prt"][0]["DCW"] == round(plant.value("inverter.dc_w"))
    assert found[714]["Prt"][0]["PrtTyp"] == 1
    assert (found[715]["LocRemCtl"], found[715]["OpCtl"]) == (0, 1)
    assert found[715]["DERHb"] - beats == 5
    assert found[703]["ES"] == 1
    assert found[701]["TotWhInj"] == round(plant.value("inverter.injected_wh")) == 5


async def test_pysunspec2_sets_the_power_and_reads_it_back(plant: Plant, time: Time) -> None:
    device = inverter(plant, time)
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
    assert plant.value("inverter.ac_w") == pytest.approx(-3456, abs=1)
    assert plant.value("inverter.command_w") == -3456


def test_power_sits_where_the_paper_puts_it_and_is_positive_toward_the_grid(plant: Plant, time: Time) -> None:
    device = inverter(plant, time)
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


def test_set_point_reverts_when_its_time_is_over(plant: Plant, time: Time) -> None:
    device = inverter(plant, time)
    device.answer(set_point(6000, timer_s=10))
    time.pass_by(8, device)
    assert plant.value("inverter.ac_w") == pytest.approx(6000, abs=1)
    assert register(device, WSET_RVRT_REM, ">I") in (2, 3)
    time.pass_by(5, device)
    assert plant.value("inverter.ac_w") == pytest.approx(0, abs=1)
    assert (register(device, WSET_ENA), register(device, WSET, ">i"), register(device, WSET_RVRT_REM, ">I")) == (
        0,
        0,
        0,
    )


def test_refreshed_set_point_does_not_revert(plant: Plant, time: Time) -> None:
    device = inverter(plant, time)
    for _ in range(5):
        device.answer(set_point(6000, timer_s=10))
        time.pass_by(8, device)
    assert plant.value("inverter.ac_w") == pytest.approx(6000, abs=1)


def test_heartbeat_alone_does_not_hold_a_set_point(plant: Plant, time: Time) -> None:
    device = inverter(plant, time)
    device.answer(set_point(6000, timer_s=10))
    for beat in range(12):
        assert device.answer(request(16, CONTROLLER_HB, struct.pack(">I", beat))) == b""
        time.pass_by(1, device)
    assert register(device, CONTROLLER_HB, ">I") == 11
    assert plant.value("inverter.command_w") == 0


def test_reversion_can_leave_another_set_point_in_force_for_good(plant: Plant, time: Time) -> None:
    device = inverter(plant, time)
    device.answer(set_point(6000, revert_w=-500, enabled_after=1, timer_s=10))
    time.pass_by(100, device)
    assert plant.value("inverter.ac_w") == pytest.approx(-500, abs=1)


def test_set_point_without_a_timer_stays_and_disabling_it_gives_zero(plant: Plant, time: Time) -> None:
    device = inverter(plant, time)
    device.answer(set_point(6000))
    time.pass_by(1000, device)
    assert plant.value("inverter.ac_w") == pytest.approx(6000, abs=1)
    assert device.answer(request(6, WSET_ENA, b"\0\0")) == b""
    time.pass_by(5, device)
    assert plant.value("inverter.ac_w") == pytest.approx(0, abs=1)


def test_set_point_in_percent_of_the_rating(plant: Plant, time: Time) -> None:
    device = inverter(plant, time)
    device.answer(request(16, WSET_ENA, struct.pack(">HHiihhHI", 1, 0, 0, 0, -255, 0, 0, 0)))
    time.pass_by(5, device)
    assert plant.value("inverter.ac_w") == pytest.approx(-2550, abs=1)


@pytest.mark.parametrize(("operation", "power_w", "state"), [(0, 0, 0), (1, 3000, 3), (2, 0, 7), (3, 3000, 3)], ids=str)
def test_operation_can_be_stopped_and_started(
    plant: Plant, time: Time, operation: int, power_w: int, state: int
) -> None:
    device = inverter(plant, time)
    device.answer(set_point(3000))
    assert device.answer(request(6, OP_CTL, struct.pack(">H", operation))) == b""
    time.pass_by(5, device)
    assert plant.value("inverter.ac_w") == pytest.approx(power_w, abs=1)
    assert register(device, AT_701 + 4) == state


REFUSED = {
    "measurement": (request(6, AT_701 + 10, b"\0\1"), 2),
    "model_number": (request(6, AT_704, b"\0\1"), 2),
    "not_implemented": (request(6, AT_704 + 2, b"\0\1"), 2),
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
def test_inverter_refuses_what_the_paper_forbids_and_keeps_what_it_had(plant: Plant, time: Time, case: str) -> None:
    device = inverter(plant, time)
    device.answer(set_point(1234))
    before = bytes(device.image.registers)
    bad, code = REFUSED[case]
    assert device.answer(bad) == code
    assert bytes(device.image.registers) == before


def test_one_bad_value_in_a_group_refuses_the_whole_group(plant: Plant, time: Time) -> None:
    device = inverter(plant, time)
    device.answer(set_point(1234))
    assert device.answer(set_point(5000, timer_s=10**6)) == 3
    assert register(device, WSET, ">i") == 1234


def test_reads_outside_the_map_and_other_functions_are_refused(plant: Plant, time: Time) -> None:
    device = inverter(plant, time)
    assert device.answer(request(3, 39_999, count=2)) == 2
    assert device.answer(request(3, AT_715 + 8, count=4)) == 2
    assert device.answer(request(4, 40_000, count=2)) == 1
    assert device.answer(request(3, 40_000, count=2)) == b"SunS"
    assert device.answer(request(3, AT_715 + 9, count=2)) == b"\xff\xff\0\0"


def test_other_units_are_met_with_silence(plant: Plant, time: Time) -> None:
    assert inverter(plant, time).answer(request(3, 40_000, count=2, unit=2)) is None
    assert MeterDevice(plant, "meter", now_s=time).answer(request(3, 40_000, count=2, unit=2)) is None


def test_local_control_stops_the_inverter_and_refuses_writes_until_it_ends(plant: Plant, time: Time) -> None:
    device = inverter(plant, time)
    device.answer(set_point(3000))
    time.pass_by(5, device)
    plant.inverter("inverter").local = True
    time.pass_by(5, device)
    assert plant.value("inverter.ac_w") == pytest.approx(0, abs=1)
    assert register(device, AT_715 + 2) == 1
    assert device.answer(set_point(3000)) == 4
    plant.inverter("inverter").local = False
    time.pass_by(5, device)
    assert plant.value("inverter.ac_w") == pytest.approx(3000, abs=1)


async def ask(port: int, frame: str) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(bytes.fromhex(frame))
    try:
        return await asyncio.wait_for(reader.read(300), WAIT_S)
    finally:
        writer.close()


READ_SUNS = "0001 0000 0006 01 03 9c40 0002"
SUNS = bytes.fromhex("0001 0000 0007 01 03 04") + b"SunS"


@pytest.mark.parametrize("name", ["inverter", "meter"])
async def test_closed_port_ends_the_connection_and_comes_back_as_the_same(plant: Plant, time: Time, name: str) -> None:
    device: Device = inverter(plant, time) if name == "inverter" else MeterDevice(plant, name, now_s=time)
    wire, closed = Wire(), Toxic(door="refuse", resets=frozenset(("first",)))
    async with serving(device):
        await wire.start(LOOPBACK, 0, LOOPBACK, device.port)
        assert await ask(wire.port, READ_SUNS) == SUNS
        reader, writer = await asyncio.open_connection(LOOPBACK, wire.port)
        wire.add(closed)
        with pytest.raises(OSError):
            await asyncio.open_connection(LOOPBACK, wire.port)
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(1), WAIT_S) == b""
        writer.close()
        wire.remove(closed)
        assert await ask(wire.port, READ_SUNS) == SUNS
        await wire.close()


@pytest.mark.parametrize(("floats", "number"), [(False, 203), (True, 213)])
async def test_meter_counts_import_as_positive_and_exports_by_phase(time: Time, floats: bool, number: int) -> None:
    plant = a_plant(QUIET | {"inverter": {"instant": True}})
    plant.set("load_w", 4900)
    plant.set("pv_w", 300)
    device = MeterDevice(plant, "meter", now_s=time, floats=floats)
    inverter(plant, time).answer(set_point(1000))
    async with serving(device):
        time.pass_by(3600, device)

        def read(client: Any) -> Any:
            assert [key for key in client.models if isinstance(key, int)] == [1, number]
            return client.models[number][0].get_dict(computed=True)

        found = await scan(device.port, read)
    assert plant.value("poi_w") == pytest.approx(-3600)
    assert found["W"] == pytest.approx(3600)
    assert [found[f"Wph{phase}"] for phase in "ABC"] == pytest.approx([1200, 1200, 1200])
    assert found["TotWhImp"] == pytest.approx(3600, abs=2)
    assert not found["TotWhExp"]
    assert (round(found["Hz"], 3), round(found["PhV"], 3)) == (50, 230)
    assert found["PPV"] == pytest.approx(398.4, abs=0.1)
    assert found["AphA"] == pytest.approx(1200 / 230, abs=0.1)


def test_meter_holds_its_value_between_two_samples(time: Time) -> None:
    plant = a_plant({"local": {"ripple_w": 0, "lag_s": 1e-6}})
    plant.inverter("inverter").operate("stop")
    plant.set("load_w", 1000)
    device = MeterDevice(plant, "meter", now_s=time)
    time.pass_by(0.2, device)
    seen = []
    for step in range(1, 9):
        plant.set("load_w", 1000 - 100 * step)
        time.pass_by(0.1, device)
        answer = device.answer(request(3, 40_070 + 18, count=1))
        assert isinstance(answer, bytes)
        seen.append(struct.unpack(">h", answer)[0])
    assert seen == [1000, 800, 800, 600, 600, 400, 400, 200]


def test_nothing_in_the_meter_can_be_written(plant: Plant, time: Time) -> None:
    assert MeterDevice(plant, "meter", now_s=time).answer(request(6, 40_070 + 18, b"\0\0")) == 2


def test_three_devices_in_front_of_one_plant_keep_the_energy(plant: Plant, time: Time) -> None:
    plant.set("load_w", 2000)
    devices = (
        BatteryDevice(plant, "battery", now_s=time),
        inverter(plant, time),
        MeterDevice(plant, "meter", now_s=time),
    )
    time.pass_by(1, *devices)
    before_wh = plant.value("battery.energy_wh")
    devices[1].answer(set_point(5000))
    time.pass_by(50, *devices)
    assert plant.value("inverter.ac_w") == pytest.approx(5000, abs=1)
    assert plant.value("poi_w") == pytest.approx(3000, abs=25)
    taken_wh = before_wh - plant.value("battery.energy_wh")
    assert taken_wh == pytest.approx(plant.value("inverter.dc_w") * 49.5 / 3600, rel=0.02)


class Hurt:
    """A fault that asks for another register, and answers another word."""

    def asked(self, request: Request) -> Request | int | None:
        return msgspec.structs.replace(request, address=request.address + 2)

    def answered(self, request: Request, answer: bytes | int | None) -> bytes | int | None:
        return b"hurt" if answer == b"SunS" else answer


class Deaf(Hurt):
    """A fault that hears nothing."""

    def asked(self, request: Request) -> Request | int | None:
        return None


def test_hooks_see_requests_before_the_device_and_answers_after_it(plant: Plant, time: Time) -> None:
    device: ModbusDevice = MeterDevice(plant, "meter", now_s=time)
    device.hooks.append(Hurt())
    assert device.answer(request(3, 39_998, count=2)) == b"hurt"
    device.hooks.append(Deaf())
    assert device.answer(request(3, 39_998, count=2)) is None
    device.hooks.clear()
    assert device.answer(request(3, 40_000, count=2)) == b"SunS"


async def test_host_moves_the_plant_by_itself_until_cancelled() -> None:
    site, moved = load(DEMO_SITE), asyncio.Event()
    plant = Plant(plant_spec(site), start_s=asyncio.get_running_loop().time())
    plant.set("load_w", 777)
    host = Host(site, plant)
    await host.start()
    task = asyncio.create_task(host.run(lambda now_s: moved.set() if plant.value("load_w") > 0 else None))
    await asyncio.wait_for(moved.wait(), WAIT_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await host.close()
    assert plant.value("load_w") == pytest.approx(777, abs=20)


async def test_host_gives_its_ports_back_and_takes_them_again(plant: Plant) -> None:
    ports: dict[str, int] = {}
    for _ in range(2):
        host = Host(load(DEMO_SITE), plant, wired=frozenset({"inverter"}))
        await host.start(ports)
        assert ports in ({}, host.ports)
        ports = dict(host.ports)
        assert await ask(ports["meter"], READ_SUNS) == await ask(ports["inverter"], READ_SUNS) == SUNS
        urls = {device.name: device.url for device in host.reached(host.site).device}
        assert urls == {
            "inverter": f"tcp://{LOOPBACK}:{ports['inverter']}?unit=1",
            "meter": f"tcp://{LOOPBACK}:{ports['meter']}?unit=1",
            "battery": f"slcan://{LOOPBACK}:{ports['battery']}",
        }
        await host.close()
        for port in ports.values():
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(LOOPBACK, port)


def test_device_without_a_part_in_the_plant_is_refused(plant: Plant, time: Time) -> None:
    site = load(DEMO_SITE)
    devices = tuple(msgspec.structs.replace(one, name=f"{one.name}2") for one in site.device)
    with pytest.raises(KeyError):
        Host(msgspec.structs.replace(site, device=devices), plant)
    with pytest.raises(TypeError):
        MeterDevice(plant, "inverter", now_s=time)
