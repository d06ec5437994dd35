"""The emulated battery on CAN. Referees: python-can as a client, the vendor's byte table by hand."""

import asyncio
import struct
from typing import Any

import can
import pytest

from hil.devices import BatteryDevice, Device
from hil.wires import Wires
from tests.bench import LOOPBACK, WAIT_S, Time, serving


@pytest.fixture
def wires() -> Wires:
    wires = Wires.create(None)
    wires["charge_max_a"] = wires["discharge_max_a"] = 250.0
    return wires


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


def battery(wires: Wires, time: Time, **options: Any) -> BatteryDevice:
    wires["soc"] = 0.5
    return BatteryDevice(wires, now_s=time, **options)


# 56.0 V, 250.0 A, 250.0 A, 46.0 V | 50 %, 100 %, 50.00 % | 16 cells of 3.3025 V = 52.84 V, 0 A, 25.0 C | no alarm,
# 5 modules, PN | charge and discharge enabled | maker. Pylontech LV V1.2, little-endian, 0x356 in 0.01 V and 0.1 A.
AT_REST = ["t351830 02 C4 09 C4 09 CC 01", "t355632 00 64 00 88 13", "t3566A4 14 00 00 FA 00"]
AT_REST += ["t359700 00 00 00 05 50 4E", "t35C2C0 00", "t35E850 59 4C 4F 4E 20 20 20"]
AT_REST = [line.replace(" ", "") for line in AT_REST]


async def test_battery_at_rest_sends_the_vendors_bytes_every_second(wires: Wires, time: Time) -> None:
    device = battery(wires, time)
    async with serving(device):
        reader, writer = await open_channel(device.port)
        for _ in range(3):
            time.pass_by(1, device)
            assert await lines(reader, 6) == AT_REST
        writer.close()


async def test_charging_current_is_positive_on_the_bus_and_negative_on_the_wires(wires: Wires, time: Time) -> None:
    wires["inverter_dc_w"] = -5284.0
    device = battery(wires, time)
    time.pass_by(1, device)
    amps = wires["pack_a"]
    assert -100 < amps < -98
    frame = dict(device.frames())[0x356]
    assert struct.unpack("<hh", frame[:4]) == (round(100 * wires["pack_v"]), round(-10 * amps))


async def test_python_can_reads_the_battery_as_a_serial_adapter(wires: Wires, time: Time) -> None:
    device = battery(wires, time)
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


async def test_limits_are_told_at_once_when_they_move(wires: Wires, time: Time) -> None:
    device = battery(wires, time)
    async with serving(device):
        reader, writer = await open_channel(device.port)
        time.pass_by(1, device)
        await lines(reader, 6)
        device.physics.energy_wh = 0.98 * 25_000
        time.pass_by(0.05, device)
        assert await lines(reader, 1) == ["t351830027102C409CC01"]  # 62.5 A of charge
        writer.close()


async def test_contactor_opens_without_keepalive_and_closes_when_it_returns(wires: Wires, time: Time) -> None:
    wires["inverter_dc_w"] = 5000.0
    device = battery(wires, time)
    async with serving(device):
        reader, writer = await open_channel(device.port)
        time.pass_by(59, device)
        assert wires["discharge_max_a"] == 250
        await lines(reader, 6 * 59)
        time.pass_by(2, device)
        assert (wires["charge_max_a"], wires["discharge_max_a"], wires["pack_a"]) == (0, 0, 0)
        held_wh = wires["energy_wh"]
        told = await lines(reader, 13)
        assert told[-6] == "t35183002" + "0000" * 2 + "CC01"
        assert told[-3] == "t3597000000080550" + "4E"  # internal communication, byte 3 bit 3
        assert told[-2] == "t35C20000"
        time.pass_by(5, device)
        assert wires["energy_wh"] == held_wh
        await lines(reader, 6 * 5)
        writer.write(b"t30580000000000000000\r")
        assert await lines(reader, 1) == ["z"]
        time.pass_by(0.05, device)
        assert wires["discharge_max_a"] == 250
        writer.close()


async def test_keepalive_every_second_keeps_the_contactor_closed(wires: Wires, time: Time) -> None:
    device = battery(wires, time)
    async with serving(device):
        reader, writer = await open_channel(device.port)
        for _ in range(90):
            writer.write(b"t3050\r")
            assert (await lines(reader, 1)) == ["z"]
            time.pass_by(1, device)
            await lines(reader, 6)
        assert device.closed
        writer.close()


async def test_bms_that_pauses_tries_one_set_every_thirty_seconds(wires: Wires, time: Time) -> None:
    device = battery(wires, time, when_silent="pause")
    async with serving(device):
        reader, writer = await open_channel(device.port)
        time.pass_by(5, device)
        await lines(reader, 6 * 5)
        time.pass_by(29, device)
        writer.write(b"F\r")
        assert await lines(reader, 1) == ["F00"]
        time.pass_by(2, device)
        assert await lines(reader, 6) == AT_REST
        assert device.closed
        writer.close()


async def test_pulled_bms_cable_drops_the_client_and_refuses_others_until_it_is_back(wires: Wires, time: Time) -> None:
    device = battery(wires, time)
    async with serving(device):
        reader, writer = await open_channel(device.port)
        wires["bms_cable"] = 0
        await device.look()
        with pytest.raises(OSError):
            await asyncio.open_connection(LOOPBACK, device.port)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await lines(reader, 1)
        writer.close()
        time.pass_by(1, device)  # the cells go on without the cable
        wires["bms_cable"] = 1
        await device.look()
        _, writer = await open_channel(device.port)
        writer.close()


async def test_bench_can_put_anything_on_the_bus(wires: Wires, time: Time) -> None:
    device = battery(wires, time)
    async with serving(device):
        reader, writer = await open_channel(device.port)
        device.inject(b"t3514" + b"14027" + b"\rrubbish\r")
        assert await lines(reader, 2) == ["t351414027", "rubbish"]
        writer.close()


async def test_estimate_is_off_by_the_bias_and_the_true_state_can_be_set(wires: Wires, time: Time) -> None:
    device = battery(wires, time)
    wires["soc_bias"] = 0.05
    wires["reset_soc"] = 0.30
    device.advance()
    assert wires["reset_soc"] == -1
    assert wires["soc"] == pytest.approx(0.30)
    assert wires["energy_wh"] == pytest.approx(7500)
    assert struct.unpack("<HHH", dict(device.frames())[0x355]) == (35, 100, 3500)


@pytest.mark.parametrize(("soc", "first_byte"), [(1.0, 0x40), (0.995, 0x40), (0.5, 0xC0), (0.04, 0xE0), (0.005, 0xA0)])
async def test_requests_follow_the_state_of_charge(wires: Wires, time: Time, soc: float, first_byte: int) -> None:
    device = battery(wires, time)
    wires["reset_soc"] = soc
    device.advance()
    assert dict(device.frames())[0x35C][0] == first_byte


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
async def test_adapter_answers_as_its_manual_says(wires: Wires, time: Time, sent: bytes) -> None:
    device = battery(wires, time)
    async with serving(device):
        reader, writer = await asyncio.open_connection(LOOPBACK, device.port)
        writer.write(sent)
        assert await asyncio.wait_for(reader.readexactly(len(ADAPTER[sent])), WAIT_S) == ADAPTER[sent]
        writer.close()


async def test_client_at_the_wrong_speed_hears_nothing(wires: Wires, time: Time) -> None:
    device = battery(wires, time)
    async with serving(device):
        reader, writer = await asyncio.open_connection(LOOPBACK, device.port)
        writer.write(b"S5\rO\r")
        assert await asyncio.wait_for(reader.readexactly(2), WAIT_S) == b"\r\r"
        time.pass_by(3, device)
        writer.write(b"F\r")
        assert await lines(reader, 1) == ["F00"]
        writer.close()


async def test_two_clients_are_on_one_bus(wires: Wires, time: Time) -> None:
    device = battery(wires, time)
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
