"""SunSpec model blocks to scaled values and command points to registers, compiled once per model shape.

A block is the registers of one model from its ID point on (ID, L, body), as many of them as were read. The layout of
a model (struct, not-implemented values, scale factors) is compiled on first sight of its id, length and group counts.

Definitions and codes are those of pysunspec2, and decode() equals its computed values except that
- a scale factor that is not implemented or not in -10..10 makes its points None; pysunspec2 hands out the raw number,
  a thousand times too large or small (specification 6.4: the legal range is -10..10);
- an accumulator of 0 is 0: a new meter has counted nothing; pysunspec2 calls that not implemented;
- an infinite float is None, and the float 2143289344.0 is itself: pysunspec2 takes it for its own bit pattern of NaN;
- scaled 64-bit numbers beyond 2**53 keep all their digits;
- a count point of 0 or not implemented means no groups; pysunspec2 fills the rest of the model or raises;
- a count or length beyond the registers at hand means the points that fit, and registers left over are ignored;
- ID and L are what the device sent; pad points are left out.

Source: SunSpec Device Information Model Specification 1.2.1, section 6; model definitions of sunspec/models.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import compress
from math import isfinite
from operator import eq
from struct import Struct
from typing import Literal

import msgspec
from sunspec2 import device, mdef

Value = int | float | str | None
Values = Mapping[str, Value]

HEADER = Struct(">HH")
END_MODEL_ID = 0xFFFF
REQUEST_MAX_REGISTERS = 125
SCALE_MAX = 10

# point type -> struct code and the number that means "not implemented" (None: there is none)
_NUMBERS: dict[str, tuple[str, int | None]] = {
    "int16": ("h", -0x8000),
    "uint16": ("H", 0xFFFF),
    "count": ("H", 0xFFFF),
    "acc16": ("H", None),
    "enum16": ("H", 0xFFFF),
    "bitfield16": ("H", 0xFFFF),
    "sunssf": ("h", -0x8000),
    "int32": ("l", -0x8000_0000),
    "uint32": ("L", 0xFFFF_FFFF),
    "acc32": ("L", None),
    "enum32": ("L", 0xFFFF_FFFF),
    "bitfield32": ("L", 0xFFFF_FFFF),
    "ipaddr": ("L", 0),
    "int64": ("q", -0x8000_0000_0000_0000),
    "uint64": ("Q", 0xFFFF_FFFF_FFFF_FFFF),
    "acc64": ("Q", None),
    "float32": ("f", None),
    "float64": ("d", None),
}
_TEXTS = ("string", "ipv6addr", "eui48")


class CodecError(Exception):
    """A value does not fit the point it is meant for. The text is for people in the field."""


class _Symbol(msgspec.Struct, frozen=True):
    name: str
    value: int


class Point(msgspec.Struct, frozen=True):
    """One point of a model definition. size in registers."""

    name: str
    type: str
    size: int
    sf: int | str | None = None
    access: Literal["R", "RW"] = "R"
    symbols: tuple[_Symbol, ...] = ()


class Group(msgspec.Struct, frozen=True):
    """Points, then groups. count: None once, 0 to the end of the model, else a number or the point that tells it."""

    name: str
    points: tuple[Point, ...] = ()
    groups: tuple["Group", ...] = ()
    count: int | str | None = None


class _Layout(msgspec.Struct, frozen=True, kw_only=True):
    """One model shape, compiled. Slots count the points that are not pads; ends are in registers from the ID point."""

    form: Struct
    paths: tuple[str, ...]
    absent: tuple[int | None, ...]
    reals: tuple[int, ...]
    texts: tuple[tuple[int, str], ...]
    scaled: tuple[tuple[int | None, int | None, tuple[int, ...]], ...]  # slot of the factor or the factor; who uses it
    ends: tuple[int, ...]


def decode(block: bytes) -> Values:
    """Return point path -> scaled value of a block that begins at a model's ID point.

    Paths read as in "W", "PFWInj.PF" and "Prt[0].DCW". Numbers come in the model's own units, None is not implemented
    or not usable. A model without a definition gives an empty mapping; a short block gives the points that fit.
    """
    layout = _layout_of(block)
    if layout is None:
        return {}
    raw = layout.form.unpack_from(block)
    values: list[Value] = list(raw)
    for slot in compress(range(len(raw)), map(eq, raw, layout.absent)):
        values[slot] = None
    for slot in layout.reals:
        if not isfinite(raw[slot]):
            values[slot] = None
    for slot, kind in layout.texts:
        values[slot] = _text(raw[slot], kind)
    for factor_slot, constant, slots in layout.scaled:
        exponent = constant if factor_slot is None else raw[factor_slot]
        if exponent:
            _scale(values, slots, exponent)
        elif exponent is None:
            _scale(values, slots, SCALE_MAX + 1)
    return dict(zip(layout.paths, values, strict=True))


def spoiled(block: bytes) -> tuple[str, ...]:
    """Return the paths whose number is there but whose scale factor is missing or not in -10..10."""
    layout = _layout_of(block)
    if layout is None:
        return ()
    raw = layout.form.unpack_from(block)
    found: list[str] = []
    for factor_slot, constant, slots in layout.scaled:
        exponent = constant if factor_slot is None else raw[factor_slot]
        if exponent is None or not -SCALE_MAX <= exponent <= SCALE_MAX:
            found += [layout.paths[slot] for slot in slots if raw[slot] != layout.absent[slot]]
    return tuple(found)


def known(model_id: int) -> bool:
    """Return whether a definition of the model is at hand."""
    return _definition(model_id) is not None


def boundary(block: bytes, most_registers: int) -> int:
    """Return the last end of a point that is at most most_registers from the ID point, 0 where none is known.

    The block needs to hold at least ID and L; ends behind a group whose count it does not hold are not known.
    Source: specification 6.5.1, a device may refuse a read that begins or ends inside a point.
    """
    model_id, length = HEADER.unpack_from(block)
    if (places := _count_places(model_id)) is None:
        return 0
    layout = _layout(model_id, length, min(length + 2, most_registers), _counts(places, block))
    return layout.ends[-1] if layout.ends else 0


def bit_names(model_id: int, point: str, value: Value) -> tuple[str, ...]:
    """Return the names of the bits that are set, "bit 27" for a bit the definition does not name.

    The top bit is left out: where it is set the word means "not implemented" (specification, bitfield types).
    """
    if not isinstance(value, int):
        return ()
    one = _point(model_id, point)
    names = {symbol.value: symbol.name for symbol in one.symbols}
    return tuple(names.get(bit, f"bit {bit}") for bit in range(16 * one.size - 1) if value >> bit & 1)


def encode(model_id: int, point: str, value: float, exponent: int = 0) -> bytes:
    """Return the registers of one command point for a value in the model's own units, rounded toward zero.

    exponent is the device's present scale factor. Toward zero, so that rounding never exceeds what was decided.

    Raises CodecError when the point cannot be written, the scale factor is not legal, or the value does not fit; the
    number that means "not implemented" does not fit either.
    """
    one = _point(model_id, point)
    code, absent = _NUMBERS.get(one.type, ("", None))
    where = f"model {model_id} {point}"
    if one.access != "RW" or code not in tuple("hHlLqQ"):
        raise CodecError(f"{where} is not a number that can be written")
    if not -SCALE_MAX <= exponent <= SCALE_MAX:
        raise CodecError(f"{where}: the device's scale factor {exponent} is not in -{SCALE_MAX}..{SCALE_MAX}")
    try:
        raw = int(Decimal(str(value)).scaleb(-exponent))
    except (InvalidOperation, ValueError, OverflowError):
        raise CodecError(f"{where}: {value} is not a number") from None
    low, high = _range(one.size, signed=code.islower())
    if not low <= raw <= high or raw == absent:
        unit = Decimal(1).scaleb(exponent)
        raise CodecError(f"{where}: {value} is not in {low * unit}..{high * unit}, the range of its register")
    return raw.to_bytes(2 * one.size, "big", signed=code.islower())


@lru_cache(maxsize=512)
def place(model_id: int, point: str) -> tuple[int, int, bytes]:
    """Return offset and size in registers of a top-level point, and the bytes that mean "not implemented"."""
    offset = 0
    for one in _defined(model_id).points:
        if one.name == point:
            code, absent = _NUMBERS[one.type]
            return offset, one.size, b"" if absent is None else Struct(f">{code}").pack(absent)
        offset += one.size
    raise AssertionError(f"model {model_id} has no point {point}")


def _range(registers: int, *, signed: bool) -> tuple[int, int]:
    bits = 16 * registers
    return (1 - (1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 2)


@lru_cache(maxsize=512)
def _point(model_id: int, name: str) -> Point:
    return next(point for point in _defined(model_id).points if point.name == name)


@lru_cache(maxsize=256)
def _definition(model_id: int) -> Group | None:
    # Read by path: the library's own search begins in the working directory, where anything may lie.
    try:
        found = mdef.from_json_file(f"{device.models_dir}/json/{mdef.to_json_filename(model_id)}")
    except FileNotFoundError:
        return None
    return msgspec.convert(found["group"], type=Group)


def _defined(model_id: int) -> Group:
    group = _definition(model_id)
    assert group is not None, f"no definition of model {model_id}"
    return group


def _layout_of(block: bytes) -> _Layout | None:
    if len(block) < HEADER.size:
        return None
    model_id, length = HEADER.unpack_from(block)
    if (places := _count_places(model_id)) is None:
        return None
    return _layout(model_id, length, min(length + 2, len(block) // 2), _counts(places, block) if places else ())


@lru_cache(maxsize=256)
def _count_places(model_id: int) -> tuple[tuple[str, int], ...] | None:
    """Return name and byte offset of the points that tell how often a group repeats, None for an unknown model."""
    group = _definition(model_id)
    if group is None:
        return None
    names: set[int | str | None] = set()
    waiting = list(group.groups)
    while waiting:
        one = waiting.pop()
        names.add(one.count)
        waiting += one.groups
    places: list[tuple[str, int]] = []
    offset = 0
    for point in group.points:
        if point.name in names:
            places.append((point.name, 2 * offset))
        offset += point.size
    return tuple(places)


def _counts(places: tuple[tuple[str, int], ...], block: bytes) -> tuple[tuple[str, int], ...]:
    found = [(name, int.from_bytes(block[at : at + 2], "big")) for name, at in places if at + 2 <= len(block)]
    return tuple((name, 0 if count == 0xFFFF else count) for name, count in found)


@lru_cache(maxsize=512)
def _layout(model_id: int, length: int, room: int, counts: tuple[tuple[str, int], ...]) -> _Layout:
    """Compile a model of L = length registers of which the first room are at hand."""
    form = [">"]
    paths: list[str] = []
    absent: list[int | None] = []
    ends: list[int] = []
    reals: list[int] = []
    texts: list[tuple[int, str]] = []
    wants: list[tuple[str, int | str, int]] = []  # prefix of the group, scale factor, slot
    end = 0
    for prefix, point in _unroll(_defined(model_id), "", length + 2, dict(counts)):
        end += point.size
        if end > room:
            break
        ends.append(end)
        slot = len(paths)
        if point.type == "pad":
            form.append(f"{2 * point.size}x")
            continue
        code, missing = _NUMBERS.get(point.type, (f"{2 * point.size}s", None))
        form.append(code)
        paths.append(prefix + point.name)
        absent.append(missing)
        if point.type in _TEXTS:
            texts.append((slot, point.type))
        elif code in ("f", "d"):
            reals.append(slot)
        if point.sf is not None:
            wants.append((prefix, point.sf, slot))
    return _Layout(
        form=Struct("".join(form)),
        paths=tuple(paths),
        absent=tuple(absent),
        reals=tuple(reals),
        texts=tuple(texts),
        scaled=_scaled(wants, {path: slot for slot, path in enumerate(paths)}),
        ends=tuple(ends),
    )


def _unroll(group: Group, prefix: str, registers: int, counts: Mapping[str, int]) -> Iterator[tuple[str, Point]]:
    """Yield every point with the path of its group, in order, without end where the counts say so."""
    for point in group.points:
        yield prefix, point
    for inner in group.groups:
        path = f"{prefix}{inner.name}"
        if inner.count is None:
            yield from _unroll(inner, f"{path}.", registers, counts)
            continue
        once = sum(point.size for point in inner.points)
        if once == 0:
            continue
        times = counts.get(inner.count, 0) if isinstance(inner.count, str) else inner.count
        if times == 0 and inner.count == 0:
            times = (registers - sum(point.size for point in group.points)) // once
        for index in range(times):
            yield from _unroll(inner, f"{path}[{index}].", registers, counts)


def _scaled(
    wants: list[tuple[str, int | str, int]], slots: dict[str, int]
) -> tuple[tuple[int | None, int | None, tuple[int, ...]], ...]:
    """Return who uses which scale factor: one of the point's own group, else one of the model, else a constant."""
    users: dict[tuple[int | None, int | None], list[int]] = {}
    for prefix, factor, slot in wants:
        if isinstance(factor, int) or factor.lstrip("-").isdigit():
            key: tuple[int | None, int | None] = (None, int(factor))
        else:
            key = (slots.get(prefix + factor, slots.get(factor)), None)
        users.setdefault(key, []).append(slot)
    return tuple((slot, constant, tuple(who)) for (slot, constant), who in users.items())


def _scale(values: list[Value], slots: tuple[int, ...], exponent: int) -> None:
    legal = -SCALE_MAX <= exponent <= SCALE_MAX
    power = 10 ** abs(exponent) if legal else 1
    for slot in slots:
        value = values[slot]
        if isinstance(value, int):
            # A whole number divided by a power of ten is the nearest float to the decimal: nothing is left to round.
            values[slot] = None if not legal else value * power if exponent > 0 else value / power


def _text(raw: bytes, kind: str) -> str | None:
    if kind == "string":
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            return None
        return None if not text or text[0] == "\0" else text[0] + text[1:].rstrip("\0")
    if not any(raw):
        return None
    if kind == "eui48":
        return None if raw[2:] == b"\xff" * 6 else raw[2:].hex(":").upper()
    return raw.hex(":", 4).upper()
