"""What the tests of the emulated devices share: a clock in their hands, a port, pysunspec2 as referee."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from controller.link.modbus_server import Request
from hil.devices import Device

LOOPBACK = "127.0.0.1"
WAIT_S = 5


class Time:
    """The devices' clock in the tests' hands."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def pass_by(self, seconds: float, *devices: Device) -> None:
        for _ in range(round(seconds / 0.05)):
            self.now_s += 0.05
            for device in devices:
                device.advance()


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
