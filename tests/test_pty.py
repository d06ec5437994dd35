"""The battery behind a serial port: the controller's own driver opens the pseudo-terminal and hears the frames."""

import asyncio
import os

import can
import pytest

from controller.app.sitefile import load
from controller.link import LinkError
from controller.link.can import open_bus
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from hil.run.host import PTY, Host
from hil.stage import DEMO_SITE
from hil.wire.pty import CHUNK_BYTES, Pty

SET = {0x351, 0x355, 0x356, 0x359, 0x35C, 0x35E}  # Pylontech LV V1.2
KEEPALIVE = 0x305
WAIT_S = 5.0


async def heard(bus: can.BusABC, wanted: set[int]) -> set[int]:
    """Return the identifiers that come in, as soon as all that are wanted have."""
    found: set[int] = set()
    async with asyncio.timeout(WAIT_S):
        while not wanted <= found:
            message = bus.recv(timeout=0)
            if message is None:
                await asyncio.sleep(0.01)
            else:
                found.add(message.arbitration_id)
    return found


async def test_the_controllers_driver_hears_the_battery_on_a_terminal_and_is_heard() -> None:
    site = load(DEMO_SITE)
    host = Host(site, Plant(plant_spec(site), start_s=asyncio.get_running_loop().time()), can=PTY)
    await host.start()
    running = asyncio.get_running_loop().create_task(host.run())
    try:
        url = next(device.url for device in host.reached(site).device if device.name == "battery")
        assert url.startswith("slcan:///dev/")
        bus = await open_bus(url)
        assert await heard(bus, SET) == SET
        kept = asyncio.Event()
        host.plant.battery("battery").keepalive = kept.set  # type: ignore[method-assign]
        bus.send(can.Message(arbitration_id=KEEPALIVE, is_extended_id=False, data=bytes(8)))
        await asyncio.wait_for(kept.wait(), WAIT_S)
        bus.shutdown()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await host.close()
    with pytest.raises(LinkError):
        await open_bus(url)


async def test_a_terminal_that_nobody_reads_loses_bytes_and_holds_up_nobody() -> None:
    terminal, got = Pty(), asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(200):
            writer.write(bytes(CHUNK_BYTES))
            await writer.drain()
        assert await reader.read(1) == b"x"
        got.set()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    await terminal.start("127.0.0.1", server.sockets[0].getsockname()[1])
    client = os.open(terminal.path, os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(client, b"x")
        await asyncio.wait_for(got.wait(), WAIT_S)
    finally:
        os.close(client)
        await terminal.close()
        server.close()
        await server.wait_closed()
