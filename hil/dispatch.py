"""The utility of the bench: a Modbus TCP client of third-party make that finds model 704 and writes what it orders.

Framing is pymodbus', the place of the points in the model is pysunspec2's: nothing of the controller is used, so that a
mistake of the controller's own server cannot hide behind the same mistake here.
"""

import asyncio
from collections.abc import Iterator, Mapping

import msgspec
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
SCALES = ("WSet_SF", "WMaxLimPct_SF", "VarSet_SF")
EXPECTED_MODELS = (1, 701, 702, 703, 704, 713, 715)
SET_BLOCK = ("WSetEna", "WSetRvrtTms")  # first and last point of the function
LIMIT_BLOCK = ("WMaxLimPctEna", "WMaxLimPctRvrtTms")
REACTIVE_BLOCKS = (("VarSet", "VarSetRvrtTms"), ("VarSetEna", "VarSetMod"))  # the priority between them is the site's
VARS = 4
NO_SCALE = 0x8000  # the site takes no reactive set point
STOP, START = 0, 1


class DispatchError(Exception):
    """The site's SunSpec server did not answer as it should. The text says what was read."""


class Write(msgspec.Struct, frozen=True):
    """Registers to write, from an address on."""

    address: int
    registers: list[int]


class Points:
    """Where a site's control points are, and the writes that order something. Pure."""

    def __init__(self, models: Mapping[int, int], set_scale: int, limit_scale: int, reactive_scale: int = 0) -> None:
        """models: address of each model; the scales are the exponents of WSet_SF, WMaxLimPct_SF and VarSet_SF."""
        self._at = {number: models[number] for number in (704, 715)}
        self._set_scale, self._limit_scale, self._reactive_scale = set_scale, limit_scale, reactive_scale
        self.set_block = self._block(SET_BLOCK)

    def set_point(self, power_w: int, timer_s: int = 0) -> Write:
        """Return the write of a set point in watts as one block; timer_s 0 = the site's own lease."""
        value = round(power_w / 10**self._set_scale)
        return self._write(SET_BLOCK, {"WSetEna": 1, "WSetMod": WATTS, "WSet": value, "WSetRvrtTms": timer_s})

    def limit(self, share_pct: float | None, timer_s: int = 0) -> Write:
        """Return the write of a limit in percent of the rating, or of none."""
        value = 0 if share_pct is None else round(share_pct / 10**self._limit_scale)
        enabled = 0 if share_pct is None else 1
        points = {"WMaxLimPctEna": enabled, "WMaxLimPct": value, "WMaxLimPctRvrtTms": timer_s}
        return self._write(LIMIT_BLOCK, points)

    def reactive(self, reactive_var: int | None, timer_s: int = 0) -> tuple[Write, ...]:
        """Return the writes of a reactive set point in var, the enabling last, or of none."""
        value = 0 if reactive_var is None else round(reactive_var / 10**self._reactive_scale)
        enabled = 0 if reactive_var is None else 1
        points = {"VarSetEna": enabled, "VarSetMod": VARS, "VarSet": value, "VarSetRvrtTms": timer_s}
        return tuple(self._write(ends, {name: points[name] for name in ends}) for ends in REACTIVE_BLOCKS)

    def operate(self, operation: int) -> Write:
        """Return the write that stops or starts the site."""
        return Write(self._at[715] + OFFSETS_715["OpCtl"], [operation])

    def beat(self, beats: int) -> Write:
        """Return the write of the controller's heartbeat."""
        return Write(self._at[715] + OFFSETS_715["ControllerHb"], list(divmod(beats & 0xFFFF_FFFF, 0x10000)))

    def standing_w(self, block: list[int]) -> int | None:
        """Return the set point that the registers of set_block hold, None where none is enabled in watts."""
        at = OFFSETS_704["WSet"] - OFFSETS_704[SET_BLOCK[0]]
        value = block[at] << 16 | block[at + 1]
        if not block[0] or block[1] != WATTS:
            return None
        return round((value - (value >> 31 << 32)) * 10.0**self._set_scale)

    def _block(self, ends: tuple[str, str]) -> tuple[int, int]:
        first, last = OFFSETS_704[ends[0]], OFFSETS_704[ends[1]] + SIZES_704[ends[1]]
        return self._at[704] + first, last - first

    def _write(self, ends: tuple[str, str], values: Mapping[str, int]) -> Write:
        """Return a block with these values and 0 everywhere else: its reversion goes out as none at all."""
        address, count = self._block(ends)
        registers = [0] * count
        for name, value in values.items():
            at, size = OFFSETS_704[name] - OFFSETS_704[ends[0]], SIZES_704[name]
            for place in range(size):
                registers[at + place] = value >> 16 * (size - 1 - place) & 0xFFFF
        return Write(address, registers)


class Dispatch:
    """The utility's line to one site. It gives way to another client for as long as that one's set point stands."""

    def __init__(self, port: int, unit: int) -> None:
        self.written = self.failed = 0
        self.models: dict[int, int] = {}
        self.points: Points | None = None
        self._unit = unit
        self._client = AsyncModbusTcpClient(HOST, port=port, timeout=TIMEOUT_S, retries=0)
        self._asked: list[int] = []  # the block as it was acknowledged last

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
        scales = [await self._read(self.models[704] + OFFSETS_704[name], 1) for name in SCALES]
        self.points = Points(self.models, *(exponent(scale) for (scale,) in scales))

    async def ask(self, power_w: int, timer_s: int = 0) -> bool:
        """Write a set point in watts. Returns whether the site acknowledged it."""
        assert self.points is not None, "discover first"
        write = self.points.set_point(power_w, timer_s)
        taken = await self.write(write)
        if taken:
            self._asked = write.registers
        return taken

    async def write(self, write: Write) -> bool:
        """Write registers. Returns whether the site acknowledged them."""
        try:
            reply = await self._client.write_registers(write.address, write.registers, device_id=self._unit)
        except (ModbusException, TimeoutError):
            self.failed += 1
            return False
        if reply.isError():
            self.failed += 1
            return False
        self.written += 1
        return True

    async def guest_w(self) -> int | None:
        """Return the set point in watts that another client wrote and that stands, None where there is none."""
        assert self.points is not None, "discover first"
        try:
            block = await self._read(*self.points.set_block)
        except DispatchError:
            return None
        return None if block == self._asked else self.points.standing_w(block)

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


def exponent(scale: int) -> int:
    """Return a scale factor as it is read; 0 where it is not implemented."""
    if scale == NO_SCALE:
        return 0
    return scale - 0x10000 if scale > NO_SCALE else scale


def _layout(model: int) -> Iterator[tuple[str, int, int]]:
    for name, point in Model(model).points.items():
        yield name, point.offset, point.len


OFFSETS_704 = {name: offset for name, offset, _ in _layout(704)}
SIZES_704 = {name: size for name, _, size in _layout(704)}
OFFSETS_715 = {name: offset for name, offset, _ in _layout(715)}
