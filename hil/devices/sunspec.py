"""A SunSpec device's registers, laid out by pysunspec2's model definitions.

Laws (SunSpec Device Information Model Specification V1.2.1, chapter 6):
- 'SunS', the models, the end model (0xFFFF, 0), from register 40000 on. Scale factors never change.
- A write is taken whole or not at all. What is not writable answers exception 2; half of a value, or a value out of
  its range, answers exception 3.
- Changing values are packed into their registers one by one: no model is rebuilt after the start.
"""

import struct
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from sunspec2.device import Model

from controller.link.modbus_server import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE, Request

BASE = 40_000
DEVICE_FAILURE = 4  # Modbus Application Protocol V1.1b3, chapter 7

NAN = float("nan")

_KINDS = {  # struct letter, lowest and highest that do not mean "not implemented", and what means it
    "int16": ("h", -32_767, 32_767, -(2**15)),
    "uint16": ("H", 0, 65_534, 2**16 - 1),
    "enum16": ("H", 0, 65_534, 2**16 - 1),
    "bitfield16": ("H", 0, 65_534, 2**16 - 1),
    "int32": ("i", -(2**31) + 1, 2**31 - 1, -(2**31)),
    "uint32": ("I", 0, 2**32 - 2, 2**32 - 1),
    "bitfield32": ("I", 0, 2**32 - 2, 2**32 - 1),
    "acc32": ("I", 0, 2**32 - 1, 0),
    "uint64": ("Q", 0, 2**64 - 2, 2**64 - 1),
    "acc64": ("Q", 0, 2**64 - 1, 0),
    "float32": ("f", -3.4e38, 3.4e38, NAN),
}


class Writable(msgspec.Struct, frozen=True):
    """A point a client may write, with the range of its raw value."""

    point: str  # "704.WSet"
    low: int
    high: int


class Cell:
    """The registers of one point. put and value are in the point's unit, scale factor applied."""

    def __init__(self, image: bytearray, offset_bytes: int, kind: str, scale_exponent: int) -> None:
        letter, self._low, self._high, self._absent = _KINDS[kind]
        self._whole = letter != "f"
        self._struct = struct.Struct(">" + letter)
        self._image = image
        self._scale_exponent = scale_exponent
        self._per_unit = 10.0**-scale_exponent
        self.offset_bytes = offset_bytes
        self.size_bytes = self._struct.size

    def put(self, value: float) -> None:
        """Store a value, rounded to the point's resolution and held inside what the point can say.

        Not a number is stored as the point's "not implemented".
        """
        if value != value:
            self._struct.pack_into(self._image, self.offset_bytes, self._absent)
            return
        scaled = value * self._per_unit
        raw = min(self._high, max(self._low, round(scaled) if self._whole else scaled))
        self._struct.pack_into(self._image, self.offset_bytes, raw)

    @property
    def value(self) -> float:
        """Return what is stored."""
        return self.raw_in(self._image, self.offset_bytes) * 10.0**self._scale_exponent

    def raw_in(self, registers: bytes | bytearray, offset_bytes: int) -> float:
        """Return the raw value somewhere else, in a request for example."""
        return cast(float, self._struct.unpack_from(registers, offset_bytes)[0])


class Image:
    """All registers of one device. Values handed in are raw register values; what is left out is not implemented."""

    def __init__(self, models: Mapping[int, Mapping[str, Any]], writable: tuple[Writable, ...] = ()) -> None:
        self.registers = bytearray(b"SunS")
        self._points: dict[str, tuple[int, Any]] = {}
        for number, values in models.items():
            model = Model(number, data=dict(values))
            assert not model.error_info, f"model {number}: {model.error_info}"
            self._index(str(number), model, len(self.registers))
            self.registers += model.get_mb()
        self.registers += b"\xff\xff\x00\x00"
        self._settings: dict[int, tuple[Cell, Writable]] = {}
        self._writable: set[int] = set()
        for row in writable:
            cell = self.cell(row.point)
            self._settings[cell.offset_bytes] = (cell, row)
            self._writable.update(range(cell.offset_bytes, cell.offset_bytes + cell.size_bytes, 2))

    def cell(self, point: str) -> Cell:
        """Return the cell of a point: "701.W", or "714.Prt.DCW" for one in the first of a repeating group."""
        offset_bytes, found = self._points[point]
        scale = found.sf_value
        if found.sf:
            holder = found.group if found.sf in found.group.points else found.model
            scale = holder.points[found.sf].value
        return Cell(self.registers, offset_bytes, found.pdef["type"], scale or 0)

    def cells(self, number: int, *points: str) -> tuple[Cell, ...]:
        """Return cells of one model."""
        return tuple(self.cell(f"{number}.{point}") for point in points)

    def answer(self, request: Request) -> bytes | int:
        """Return what the device answers to a request for its own unit."""
        start, size = 2 * (request.address - BASE), 2 * request.count
        if request.function == 4:
            return ILLEGAL_FUNCTION
        if start < 0 or start + size > len(self.registers):
            return ILLEGAL_ADDRESS
        if request.function == 3:
            return bytes(self.registers[start : start + size])
        refused = self._refuses(start, request.registers)
        if refused:
            return refused
        self.registers[start : start + size] = request.registers
        return b""

    def _refuses(self, start: int, registers: bytes) -> int:
        """Return the exception a write deserves, 0 where it is to be taken."""
        at = start
        while at < start + len(registers):
            if at not in self._writable:
                return ILLEGAL_ADDRESS
            if at not in self._settings:
                return ILLEGAL_VALUE
            cell, row = self._settings[at]
            if at + cell.size_bytes > start + len(registers):
                return ILLEGAL_VALUE
            if not row.low <= cell.raw_in(registers, at - start) <= row.high:
                return ILLEGAL_VALUE
            at += cell.size_bytes
        return 0

    def _index(self, path: str, group: Any, model_bytes: int) -> None:
        for name, point in group.points.items():
            self._points[f"{path}.{name}"] = (model_bytes + 2 * point.offset, point)
        for name, inner in group.groups.items():
            first = inner[0] if isinstance(inner, list) else inner
            self._index(f"{path}.{name}", first, model_bytes)
