"""The emulated battery on CAN. Referees: python-can as a client, the vendor's byte table by hand."""

import asyncio
import struct
from typing import Any

import can
import pytest

from hil.devices import BatteryDevice, Device
from hil.plant.inverter import SetPoint
from hil.plant.site import Plant
from hil.wire.can import CanWire, Unplug
from tests.bench import LOOPBACK, WAIT_S, Time, a_plant, serving


@pytest.fixture
def plant() -> Plant:
    return a_battery_alone()


def a_battery_alone(soc: float = 0.5, **bms: object) -> Plant:
    """Return the demo's plant at half charge, its inverter off: it draws nothing. bms: changes of the BMS."""
    plant = a_plant({"battery": {"soc": soc, "pack": {"spread_pct": 0}, "bms": bms}})
    plant.inverter("inverter").operate("stop")
    return plant


@pytest.fixture
def time() -> Time:
    return Time()


async def open_channel(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(b"S6\rO\r")
    assert await asyncio.wait_for(reader.readexactly(2), WAIT_S) == b"\r\r"
    return reader, writer


async def lines(reader: asyncio.StreamReader, count: int) -> list[str]:
    return [(await asyncio.wait_for(reader.readuntil(b"\r"), WAIT_S))[:-1].decode() for _ in range(count)]


def battery(plant: Plant, time: Time, wire: CanWire | None = None) -> BatteryDevice:
    return BatteryDevice(plant, "battery", now_s=time, wire=wire)


# 56.0 V, 250.0 A, 250.0 A, 46.0 V | 50 %, 100 %, 50.00 % | 16 cells of 3.299 V = 52.78 V, 0 A, 25.0 C | no alarm,
# 5 modules, PN | charge and discharge enabled | maker. Pylontech LV V1.2, little-endian, 0x356 in 0.01 V and 0.1 A.
AT_REST = ["t351830 02 C4 09 C4 09 CC 01", "t355632 00 64 00 88 13", "t35669E 14 00 00 FA 00"]
AT_REST += ["t359700 00 00 00 05 50 4E", "t35C2C0 00", "t35E850 59 4C 4F 4E 20 20 20"]
AT_REST = [line.replace(" ", "") for line in AT_REST]


async def test_battery_at_rest_sends_the_vendors_bytes_every_second(plant: Plant, time: Time) -> None:
    device = battery(plant, time)
    async with serving(device):
        reader, writer = await open_channel(device.port)
        for _ in range(3):
            time.pass_by(1, device)
            assert await lines(reader, 6) == AT_REST
        writer.close()


def running(plant: Plant, power_w: float) -> None:
    plant.inverter("inverter").set_point(SetPoint(enabled=True, power_w=power_w))


async def test_charging_current_is_positive_on_the_bus_and_negative_in_the_plant(time: Time) -> None:
    plant = a_plant()
    running(plant, -5500)
    device = battery(plant, time)
    time.pass_by(5, device)
    amps = plant.value("battery.pack_a")
    assert -102 < amps < -99  # 5.5 kW less 30 W, 1 % and 87 W of loss, at 53 V
    frame = dict(device.frames())[0x356]
    assert struct.unpack("<hh", frame[:4]) == (round(100 * plant.value("battery.pack_v")), round(-10 * amps))


async def test_python_can_reads_the_battery_as_a_serial_adapter(plant: Plant, time: Time) -> None:
    device = battery(plant, time)
    async with serving(device):

        def opened() -> can.BusABC:
            return can.Bus(
                interface="slcan",
                channel=f"socket://{LOOPBACK}:{device.port}",
                bitrate=500_000,
                sleep_after_open=0,
                timeout=WAIT_S,
            )

        def read(bus: can.BusABC) -> dict[int, bytes]:
            seen: dict[int, bytes] = {}
            while len(seen) < 6:
                message = bus.recv(WAIT_S)
                if message is not None:
                    seen[message.arbitration_id] = bytes(message.data)
            bus.send(can.Message(arbitration_id=0x305, data=bytes(8), is_extended_id=False))
            return seen

        bus = await asyncio.to_thread(opened)
        time.pass_by(1, device)
        reading = asyncio.create_task(asyncio.to_thread(read, bus))
        seen = await asyncio.wait_for(until_done(reading, time, device), 6 * WAIT_S)
        await asyncio.to_thread(bus.shutdown)
    assert sorted(seen) == [0x351, 0x355, 0x356, 0x359, 0x35C, 0x35E]
    assert seen[0x351].hex() == "3002c409c409cc01"


async def until_done(task: "asyncio.Task[Any]", time: Time, device: Device) -> Any:
    """Send sets until the client, which opens the channel when its thread runs, has seen one."""
    while not task.done():
        time.pass_by(1, device)
        await asyncio.wait([task], timeout=0.02)
    return await task


async def test_limits_are_told_at_once_when_they_move(plant: Plant, time: Time) -> None:
    device = battery(plant, time)
    async with serving(device):
        reader, writer = await open_channel(device.port)
        time.pass_by(1, device)
        await lines(reader, 6)
        plant.set("battery.soc", 0.98)
        time.pass_by(0.1, device)
        assert await lines(reader, 1) == ["t35183002E803C409CC01"]  # 0.4 of 250 A of charge
        writer.close()


async def test_contactor_opens_without_keepalive_and_closes_when_it_returns(time: Time) -> None:
    plant = a_plant({"battery": {"soc": 0.5}})
    running(plant, 5000)
    device = battery(plant, time)

    def told_and_true() -> tuple[float, float, float]:
        part = device.part
        return part.charge_max_a, part.discharge_max_a, part.pack_a

    async with serving(device):
        reader, writer = await open_channel(device.port)
        time.pass_by(59, device)
        assert plant.value("battery.discharge_max_a") == 250
        told = await lines(reader, 6 * 59)
        assert told[6 * 28 + 3] == "t3597000000000550" + "4E"
        assert told[6 * 30 + 3] == "t3597000000080550" + "4E"  # a warning of the communication: byte 3 bit 3
        time.pass_by(2, device)
        assert told_and_true() == (0, 0, 0)
        held_wh = plant.value("battery.energy_wh")
        told = await lines(reader, 6 * 2)
        assert told[-6] == "t35183002" + "0000" * 2 + "CC01"
        assert told[-3] == "t3597000800000550" + "4E"  # protection by the system: byte 1 bit 3
        assert told[-2] == "t35C20000"
        time.pass_by(5, device)
        assert plant.value("battery.energy_wh") == held_wh
        await lines(reader, 6 * 5)
        writer.write(b"t30580000000000000000\r")
        assert await lines(reader, 1) == ["z"]
        time.pass_by(2, device)  # open since 60.03 s, so its 5 s of rest are over: 2 s of pre-charge
        assert told_and_true() == (0, 0, 0)
        time.pass_by(1.2, device)  # and 0.1 s of closing, after which the limits rise by 20 A/s
        assert 15 < plant.value("battery.discharge_max_a") <= 22
        assert plant.value("battery.pack_a") > 50
        time.pass_by(12, device)
        assert plant.value("battery.discharge_max_a") == plant.value("battery.charge_max_a") == 250
        writer.close()


async def test_keepalive_every_second_keeps_the_contactor_closed(plant: Plant, time: Time) -> None:
    device = battery(plant, time)
    async with serving(device):
        reader, writer = await open_channel(device.port)
        for _ in range(90):
            writer.write(b"t3050\r")
            assert (await lines(reader, 1)) == ["z"]
            time.pass_by(1, device)
            await lines(reader, 6)
        assert device.part.closed
        writer.close()


async def test_bms_that_pauses_tries_one_set_every_thirty_seconds(time: Time) -> None:
    device = battery(a_battery_alone(contactor={"when_silent": "pause"}), time)
    async with serving(device):
        reader, writer = await open_channel(device.port)
        writer.write(b"t3050\r")
        assert await lines(reader, 1) == ["z"]
        time.pass_by(5, device)
        await lines(reader, 6 * 5)
        time.pass_by(29, device)
        writer.write(b"F\r")
        assert await lines(reader, 1) == ["F00"]
        time.pass_by(2, device)
        assert await lines(reader, 6) == AT_REST
        time.pass_by(60, device)
        assert device.part.closed
        writer.close()


async def test_pulled_bms_cable_lets_nothing_through_until_it_is_back(plant: Plant, time: Time) -> None:
    wire, bits = CanWire(), list[None]()
    device, pulled = battery(plant, time, wire), Unplug(lambda: bits.append(None))
    async with serving(device):
        reader, writer = await open_channel(device.port)
        wire.add(pulled)
        for _ in range(61):
            writer.write(b"t3050\r")
            assert await lines(reader, 1) == ["z"]
            time.pass_by(1, device)  # the cells go on without the cable
        assert not device.part.closed, "a keepalive was heard through a cable that is not there"
        assert len(bits) >= 2 * 61
        writer.write(b"F\r")
        assert await lines(reader, 1) == ["F00"], "a frame came through a cable that is not there"
        wire.remove(pulled)
        time.pass_by(1, device)
        assert [line[:4] for line in await lines(reader, 6)] == [line[:4] for line in AT_REST]
        writer.close()


async def test_bench_can_put_anything_on_the_bus(plant: Plant, time: Time) -> None:
    device = battery(plant, time)
    async with serving(device):
        reader, writer = await open_channel(device.port)
        device.inject(b"t3514" + b"14027" + b"\rrubbish\r")
        assert await lines(reader, 2) == ["t351414027", "rubbish"]
        writer.close()


async def test_estimate_is_off_by_the_bias_and_the_true_state_can_be_set(time: Time) -> None:
    plant = a_battery_alone(0.6, estimate={"start_bias_pct": 5})
    device = battery(plant, time)
    plant.set("battery.soc", 0.30)
    device.advance()
    assert plant.value("battery.soc") == pytest.approx(0.30)
    assert plant.value("battery.energy_wh") == pytest.approx(7500)
    assert struct.unpack("<HHH", dict(device.frames())[0x355]) == (35, 100, 3500)


@pytest.mark.parametrize(("soc", "first_byte"), [(0.995, 0xC0), (0.5, 0xC0), (0.04, 0xE0), (0.005, 0xA0)])
async def test_requests_follow_the_state_of_charge(plant: Plant, time: Time, soc: float, first_byte: int) -> None:
    device = battery(plant, time)
    plant.set("battery.soc", soc)
    time.pass_by(0.1, device)
    assert dict(device.frames())[0x35C][0] == first_byte


async def test_battery_that_was_charged_full_lets_nothing_more_in(time: Time) -> None:
    """Full is a cell at its charge voltage for 30 s with a current that is low, not a state of charge that is told."""
    plant = a_plant({"battery": {"soc": 0.9995, "pack": {"spread_pct": 0}}})
    running(plant, -500)
    device = battery(plant, time)
    for _ in range(300):
        device.part.keepalive()
        time.pass_by(1, device)
    frames = dict(device.frames())
    assert frames[0x35C][0] == 0x40
    assert struct.unpack("<HHH", frames[0x355]) == (100, 100, 10_000)
    assert struct.unpack("<Hhh", frames[0x351][:6])[1:] == (0, 2500)


ADAPTER = {
    b"V\r": b"V1013\r",
    b"\r": b"\r",
    b"C\r": b"\a",  # is closed
    b"O\rO\r": b"\r\a",
    b"S6\rO\rS4\rC\r": b"\r\r\a\r",
    b"t30508\r": b"\a",  # is closed
    b"O\rt3051FF\r": b"\rz\r",
    b"O\rT000003050\r": b"\rZ\r",
    b"O\rr3058\r": b"\rz\r",
    b"O\rt3052FF\r": b"\r\a",  # shorter than it says
    b"O\rt8050\r": b"\r\a",  # no such identifier
    b"L\rt3050\r": b"\r\a",  # listens only
    b"O\r" + b"t" * 5000 + b"\rV\r": b"\r\aV1013\r",
}


@pytest.mark.parametrize("sent", ADAPTER, ids=lambda sent: sent[:16].decode().replace("\r", "."))
async def test_adapter_answers_as_its_manual_says(plant: Plant, time: Time, sent: bytes) -> None:
    device = battery(plant, time)
    async with serving(device):
        reader, writer = await asyncio.open_connection(LOOPBACK, device.port)
        writer.write(sent)
        assert await asyncio.wait_for(reader.readexactly(len(ADAPTER[sent])), WAIT_S) == ADAPTER[sent]
        writer.close()


async def test_client_at_the_wrong_speed_hears_nothing(plant: Plant, time: Time) -> None:
    device = battery(plant, time)
    async with serving(device):
        reader, writer = await asyncio.open_connection(LOOPBACK, device.port)
        writer.write(b"S5\rO\r")
        assert await asyncio.wait_for(reader.readexactly(2), WAIT_S) == b"\r\r"
        time.pass_by(3, device)
        writer.write(b"F\r")
        assert await lines(reader, 1) == ["F00"]
        writer.close()


async def test_two_clients_are_on_one_bus(plant: Plant, time: Time) -> None:
    device = battery(plant, time)
    async with serving(device):
        first, first_out = await open_channel(device.port)
        second, second_out = await open_channel(device.port)
        first_out.write(b"t3051AA\r")
        assert await lines(first, 1) == ["z"]
        assert await lines(second, 1) == ["t3051AA"]
        time.pass_by(1, device)
        assert await lines(first, 6) == await lines(second, 6) == AT_REST
        first_out.close()
        second_out.close()
