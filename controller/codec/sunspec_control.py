"""Set points of active and of reactive power as SunSpec 704 registers, each leased by the device's own timer.

All points of a function go out in one block, WSetEna..WSetRvrtTms or VarSetEna..VarSetRvrtTms, so that the device never
sees a new power with an old lease. Points that are not ours to change go out as they were last read. Points the device
does not implement are left out (specification 6.6: writing one is answered with an exception); the block then falls
into pieces, of which the timer is written first and the enabling last.

Sign of reactive power: 704.VarSet is positive where it is to be injected (over-excited), as is ours; no profile turns
it.
"""

from collections.abc import Mapping

import msgspec

from controller.codec.sunspec import CodecError, encode, place

CONTROL_MODEL = 704
HEARTBEAT_MODEL = 715
_DISABLED, _ENABLED, _WATTS, _VARS = b"\x00\x00", b"\x00\x01", b"\x00\x01", b"\x00\x04"

# A function's block in register order. None: set by the command, or kept as it was read where the point is in _KEPT.
_Block = tuple[tuple[str, bytes | None], ...]
_POWER: _Block = (
    ("WSetEna", _ENABLED),
    ("WSetMod", _WATTS),
    ("WSet", None),
    ("WSetRvrt", b"\x00\x00\x00\x00"),
    ("WSetPct", None),
    ("WSetPctRvrt", None),
    ("WSetEnaRvrt", _DISABLED),
    ("WSetRvrtTms", None),
)
_REACTIVE: _Block = (
    ("VarSetEna", _ENABLED),
    ("VarSetMod", _VARS),
    ("VarSetPri", None),
    ("VarSet", None),
    ("VarSetRvrt", b"\x00\x00\x00\x00"),
    ("VarSetPct", None),
    ("VarSetPctRvrt", None),
    ("VarSetEnaRvrt", _DISABLED),
    ("VarSetRvrtTms", None),
)
_KEPT = ("WSetPct", "WSetPctRvrt", "VarSetPri", "VarSetPct", "VarSetPctRvrt")
_NEEDED = {
    "WSetEna": "it takes no power set point",
    "WSetMod": "it does not tell whether a set point is in watts",
    "WSet": "it takes no power set point in watts",
    "WSetRvrtTms": "it would hold the last set point for ever if the controller died",
    "VarSetEna": "it takes no reactive power set point",
    "VarSetMod": "it does not tell whether a set point is in vars",
    "VarSet": "it takes no reactive power set point in vars",
    "VarSetRvrtTms": "it would hold the last reactive power for ever if the controller died",
}


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """Registers to write, offset in registers from the model's ID point."""

    offset: int
    registers: bytes


def power_writes(block: bytes, power_w: int, valid_ms: int) -> tuple[Write, ...]:
    """Return the writes, in order, that make the device hold power_w for valid_ms, in the device's own sign.

    block: model 704 as last read. The power is rounded toward zero, the time up to whole seconds, at least one. When
    the time is over the device's own timer disables the function.

    Raises CodecError when the device lacks a point the function needs or the power does not fit.
    """
    lacking = _lacking(block, _POWER)
    return _writes(block, _POWER, lacking, _leased(block, "WSet", power_w, valid_ms))


def reactive_writes(block: bytes, reactive_var: int, valid_ms: int) -> tuple[Write, ...]:
    """Return the same for reactive power. Raises CodecError likewise."""
    lacking = _lacking(block, _REACTIVE)
    return _writes(block, _REACTIVE, lacking, _leased(block, "VarSet", reactive_var, valid_ms))


def disabling_write() -> Write:
    """Return the write that takes the power set point out of force."""
    return Write(offset=place(CONTROL_MODEL, "WSetEna")[0], registers=_DISABLED)


def reactive_disabling_write() -> Write:
    """Return the write that takes the reactive power set point out of force."""
    return Write(offset=place(CONTROL_MODEL, "VarSetEna")[0], registers=_DISABLED)


def heartbeat_write(counter: int) -> Write:
    """Return the write of 715.ControllerHb, which wraps before the number that means "not implemented"."""
    offset, _size, _unimplemented = place(HEARTBEAT_MODEL, "ControllerHb")
    return Write(offset=offset, registers=encode(HEARTBEAT_MODEL, "ControllerHb", counter % 0xFFFF_FFFF))


def _lacking(block: bytes, points: _Block) -> frozenset[str]:
    """Return the points that the device does not implement. Raises CodecError where it cannot do without one."""
    found = set()
    for point, _constant in points:
        offset, size, unimplemented = place(CONTROL_MODEL, point)
        if block[2 * offset : 2 * (offset + size)] == unimplemented:
            if point in _NEEDED:
                raise CodecError(f"model 704 does not implement {point}: {_NEEDED[point]}")
            found.add(point)
    return frozenset(found)


def _leased(block: bytes, point: str, value: int, valid_ms: int) -> dict[str, bytes]:
    """Return the set point and its timer as registers, by the device's present scale factor. value in W or var."""
    at = 2 * place(CONTROL_MODEL, f"{point}_SF")[0]
    if len(block) < at + 2:
        raise CodecError(f"model 704 is too short to tell the scale factor of {point}")
    exponent = int.from_bytes(block[at : at + 2], "big", signed=True)
    return {
        point: encode(CONTROL_MODEL, point, value, exponent),
        f"{point}RvrtTms": encode(CONTROL_MODEL, f"{point}RvrtTms", max(1, -(-valid_ms // 1000))),
    }


def _writes(block: bytes, points: _Block, lacking: frozenset[str], ours: Mapping[str, bytes]) -> tuple[Write, ...]:
    pieces: list[Write] = []
    for point, constant in points:
        if point in lacking:
            continue
        offset, size, _unimplemented = place(CONTROL_MODEL, point)
        registers = block[2 * offset : 2 * (offset + size)] if point in _KEPT else constant or ours[point]
        if pieces and pieces[-1].offset + len(pieces[-1].registers) // 2 == offset:
            last = pieces.pop()
            pieces.append(Write(offset=last.offset, registers=last.registers + registers))
        else:
            pieces.append(Write(offset=offset, registers=registers))
    return tuple(reversed(pieces))
