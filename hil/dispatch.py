"""The utility of the demo: a Modbus TCP client of third-party make that finds model 704 and writes set points.

Framing is pymodbus', the place of the points in the model is pysunspec2's: nothing of the controller is used, so that a
mistake of the controller's own server cannot hide behind the same mistake here.
"""

import asyncio

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from sunspec2.device import Model

from hil.children import HOST

BASE = 40000
MODELS_MAX = 64
MODEL_END = 0xFFFF
MARK = [0x5375, 0x6E53]  # "SunS"
WATTS = 1
TIMEOUT_S = 1.0
EXPECTED_MODELS = (1, 701, 702, 703, 704, 713, 715)
BLOCK = ("WSetEna", "WSetRvrtTms")  # first and last point of the function; its reversion goes out as none at all


class DispatchError(Exception):
    """The site's SunSpec server did not answer as it should. The text says what was read."""


class Dispatch:
    """The utility's line to one site. It gives way to another client for as long as that one's set point stands."""

    def __init__(self, port: int, unit: int) -> None:
        self.written = self.failed = 0
        self.models: dict[int, int] = {}
        self._unit = unit
        self._client = AsyncModbusTcpClient(HOST, port=port, timeout=TIMEOUT_S, retries=0)
        self._offsets: dict[str, int] = {name: point.offset for name, point in Model(704).points.items()}
        self._first = self._offsets[BLOCK[0]]
        self._count = self._offsets[BLOCK[1]] + 2 - self._first
        self._asked: list[int] = []  # the block as it was acknowledged last
        self._scale = 0

    async def discover(self) -> None:
        """Connect and walk the models. Raises DispatchError."""
        if not await self._client.connect():
            raise DispatchError("the site's SunSpec server does not take the connection")
        if await self._read(BASE, 2) != MARK:
            raise DispatchError(f"no SunS mark at {BASE}")
        address = BASE + 2
        for _ in range(MODELS_MAX):
            model, length = await self._read(address, 2)
            if model == MODEL_END:
                break
            self.models[model] = address
            address += 2 + length
        missing = [model for model in EXPECTED_MODELS if model not in self.models]
        if missing:
            raise DispatchError(f"the site's SunSpec map has {sorted(self.models)}, not {missing}")
        (scale,) = await self._read(self.models[704] + self._offsets["WSet_SF"], 1)
        self._scale = scale - 0x10000 if scale >= 0x8000 else scale

    async def ask(self, power_w: int) -> bool:
        """Write a set point in watts as one block, without a timer. Returns whether the site acknowledged it."""
        value = round(power_w / 10**self._scale) & 0xFFFFFFFF
        registers = [0] * self._count
        for name, numbers in (("WSetEna", [1]), ("WSetMod", [WATTS]), ("WSet", [value >> 16, value & 0xFFFF])):
            at = self._offsets[name] - self._first
            registers[at : at + len(numbers)] = numbers
        try:
            reply = await self._client.write_registers(self.models[704] + self._first, registers, device_id=self._unit)
        except (ModbusException, TimeoutError):
            self.failed += 1
            return False
        if reply.isError():
            self.failed += 1
            return False
        self._asked = registers
        self.written += 1
        return True

    async def guest_w(self) -> int | None:
        """Return the set point in watts that another client wrote and that stands, None where there is none."""
        try:
            block = await self._read(self.models[704] + self._first, self._count)
        except DispatchError:
            return None
        at = self._offsets["WSet"] - self._first
        enabled, mode, value = block[0], block[1], block[at] << 16 | block[at + 1]
        if not enabled or mode != WATTS or block == self._asked:
            return None
        return round((value - (value >> 31 << 32)) * 10.0**self._scale)

    async def close(self) -> None:
        """Hang up."""
        self._client.close()
        await asyncio.sleep(0)

    async def _read(self, address: int, count: int) -> list[int]:
        try:
            reply = await self._client.read_holding_registers(address, count=count, device_id=self._unit)
        except (ModbusException, TimeoutError) as error:
            raise DispatchError(f"reading {count} registers at {address}: {error}") from error
        if reply.isError() or len(reply.registers) != count:
            raise DispatchError(f"reading {count} registers at {address}: {reply}")
        return list(reply.registers)
