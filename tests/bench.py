"""What the tests of the emulated devices share: a plant, its clock in their hands, a port, pysunspec2 as referee."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from controller.app.sitefile import load
from controller.link.modbus_server import Request
from hil.devices import Device
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from hil.stage import DEMO_SITE

LOOPBACK = "127.0.0.1"
WAIT_S = 5
START_S = 1000.0
TICK_S = 0.1
# A house without ripple, cells all alike, and a BMS that bears a bus on which nobody is heard.
QUIET = {
    "local": {"ripple_w": 0},
    "battery": {"pack": {"spread_pct": 0}, "bms": {"contactor": {"when_silent": "pause"}}},
}


def a_plant(changes: Mapping[str, Mapping[str, object]] = QUIET) -> Plant:
    """Return the plant of the demo's site: 10 kW, five modules with 25 kWh, 250 A."""
    return Plant(plant_spec(load(DEMO_SITE), changes), start_s=START_S)


class Time:
    """The devices' clock in the tests' hands."""

    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s

    def pass_by(self, seconds: float, *devices: Device) -> None:
        """Let time pass as a host does: ten times a second the plant moves, then every device gets its turn."""
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            for device in devices:
                device.advance()
                device.tick()


@asynccontextmanager
async def serving(device: Device) -> AsyncIterator[Device]:
    await device.start(LOOPBACK, 0)
    try:
        yield device
    finally:
        await device.close()


def request(function: int, address: int, registers: bytes = b"", count: int = 0, unit: int = 1) -> Request:
    count = count or len(registers) // 2
    return Request(unit=unit, function=function, address=address, count=count, registers=registers, peer="test")


def scan(port: int, work: Callable[[Any], Any]) -> Coroutine[Any, Any, Any]:
    """Let pysunspec2 discover the device and work with it, in a thread because it blocks."""

    def blocking() -> Any:
        client = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr=LOOPBACK, ipport=port, timeout=WAIT_S)
        try:
            client.scan()
            client.connect()
            return work(client)
        finally:
            client.disconnect()

    return asyncio.wait_for(asyncio.to_thread(blocking), 6 * WAIT_S)
