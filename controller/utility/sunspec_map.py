"""The registers of a SunSpec DER: models laid out as one image, with an access table compiled once at the start.

The layout comes from pysunspec2's model definitions; nothing of that library runs after the start. A point that the
site does not serve keeps its not-implemented value and is read-only, as are all points that are not in `writable`.

Source: SunSpec Device Information Model Specification 1.2.1, section 6; model definitions 1, 701-704, 713, 715.
"""

import struct
from collections.abc import Iterator, Mapping

import msgspec
from sunspec2 import mb
from sunspec2.device import Group, Model
from sunspec2.device import Point as ModelPoint

from controller.link.modbus_server import ILLEGAL_ADDRESS, ILLEGAL_VALUE

BASE = 40_000
PAD = b"\x80\x00"

_FORMS = {
    "int16": struct.Struct(">h"),
    "uint16": struct.Struct(">H"),
    "enum16": struct.Struct(">H"),
    "bitfield16": struct.Struct(">H"),
    "sunssf": struct.Struct(">h"),
    "int32": struct.Struct(">i"),
    "uint32": struct.Struct(">I"),
    "bitfield32": struct.Struct(">I"),
    "uint64": struct.Struct(">Q"),
}


class Refused(Exception):
    """A write that cannot be. code is the Modbus exception, the text is for the person who configured the writer."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Writable(msgspec.Struct, frozen=True):
    """What the utility may write to a point. legal holds raw values, None = the symbols of the model definition."""

    part: str  # the function of the site that the point belongs to
    legal: range | None = None


class Point(msgspec.Struct, frozen=True):
    """One point of the map. Registers are counted from BASE."""

    name: str  # "704.WSet"
    first: int
    size: int
    form: struct.Struct | None  # None: text, padding, markers
    unimplemented: bytes
    part: str = ""
    legal: range | None = None  # raw values that may be written, None = none


class Registers:
    """The image and its points. Reads and writes are of raw values; scale factors are the caller's."""

    def __init__(
        self, models: tuple[int, ...], values: Mapping[str, int | str], writable: Mapping[str, Writable]
    ) -> None:
        """Lay out the models and fill in values, named "704.WSet"; what is not named is not implemented."""
        self._image = bytearray(b"SunS")
        self._points = {"SunS": Point("SunS", 0, 2, None, b"SunS")}
        for model_id in models:
            for point in _points(model_id, len(self._image) // 2, writable):
                self._points[point.name] = point
                self._image += point.unimplemented
        end = Point("end", len(self._image) // 2, 2, None, b"\xff\xff\x00\x00")
        self._points[end.name] = end
        self._image += end.unimplemented
        self._at = tuple(point for point in self._points.values() for _ in range(point.size))
        assert not writable.keys() - self._points.keys()
        for name, value in values.items():
            point = self._points[name]
            if isinstance(value, str):
                self.put_text(point, value)
            else:
                self.put(point, value)

    def __getitem__(self, name: str) -> Point:
        """Return the point of this name."""
        return self._points[name]

    def __iter__(self) -> Iterator[Point]:
        """Yield the points in the order of their registers."""
        return iter(self._points.values())

    def read(self, first: int, count: int) -> bytes | None:
        """Return the bytes of count registers, None beyond the map. A read may start or end inside a point."""
        if first < 0 or first + count > len(self._at):
            return None
        return bytes(self._image[2 * first : 2 * (first + count)])

    def checked(self, first: int, registers: bytes) -> list[Point]:
        """Return the points that a write would fill, each whole and legal. Changes nothing.

        Raises:
            Refused: with ILLEGAL_ADDRESS beyond the map and on points that are read-only or not implemented, with
                ILLEGAL_VALUE on a value out of range, a not-implemented value, and a part of a multi-register point.
        """
        end = first + len(registers) // 2
        if first < 0 or end > len(self._at):
            raise Refused(ILLEGAL_ADDRESS, f"the map spans registers {BASE}..{BASE + len(self._at) - 1}")
        covered = []
        register = first
        while register < end:
            point = self._at[register]
            if point.legal is None or point.form is None:
                raise Refused(ILLEGAL_ADDRESS, f"{point.name} (register {BASE + point.first}) cannot be written here")
            if register != point.first or register + point.size > end:
                where = f"registers {BASE + point.first}..{BASE + point.first + point.size - 1}"
                raise Refused(ILLEGAL_VALUE, f"{point.name} ({where}) is written whole or not at all")
            (value,) = point.form.unpack_from(registers, 2 * (register - first))
            if value not in point.legal:
                edge = ".." if point.legal.step == 1 else " or "
                allowed = f"allowed {point.legal[0]}{edge}{point.legal[-1]}"
                raise Refused(ILLEGAL_VALUE, f"{point.name} (register {BASE + point.first}) = {value}, {allowed}")
            covered.append(point)
            register += point.size
        return covered

    def store(self, first: int, registers: bytes) -> None:
        """Take over a checked write."""
        self._image[2 * first : 2 * first + len(registers)] = registers

    def number(self, point: Point) -> int:
        """Return the raw value of a point that holds a number."""
        assert point.form is not None
        value: int = point.form.unpack_from(self._image, 2 * point.first)[0]
        return value

    def put(self, point: Point, value: int | None) -> None:
        """Set a raw value; None and what does not fit its type become not implemented, never another number."""
        assert point.form is not None
        packed = point.unimplemented
        if value is not None:
            try:
                packed = point.form.pack(value)
            except struct.error:
                packed = point.unimplemented
        self.store(point.first, packed)

    def put_text(self, point: Point, text: str) -> None:
        """Set a string point, cut to its length; characters beyond ASCII become question marks."""
        self.store(point.first, text.encode("ascii", "replace")[: 2 * point.size].ljust(2 * point.size, b"\0"))


def _points(model_id: int, base: int, writable: Mapping[str, Writable]) -> Iterator[Point]:
    for name, point in _flat(Model(model_id), str(model_id)):
        kind, size = str(point.pdef["type"]), int(point.len)
        form = _FORMS.get(kind)
        blank = PAD if kind == "pad" else mb.create_unimpl_value(kind, len=2 * size)
        if form is not None and point.value is not None:  # ID and L
            blank = form.pack(point.value)
        row = writable.get(name)
        part, legal = "", None
        if row is not None:
            assert point.pdef.get("access") == "RW", name
            part, legal = row.part, row.legal or _symbols(point.pdef["symbols"])
        yield Point(name, base + int(point.offset), size, form, blank, part, legal)


def _flat(group: Group, prefix: str) -> Iterator[tuple[str, ModelPoint]]:
    for name, point in group.points.items():
        yield f"{prefix}.{name}", point
    for name, inner in group.groups.items():
        yield from _flat(inner, f"{prefix}.{name}")


def _symbols(symbols: list[dict[str, int]]) -> range:
    values = sorted(symbol["value"] for symbol in symbols)
    legal = range(values[0], values[-1] + 1)
    assert list(legal) == values
    return legal
