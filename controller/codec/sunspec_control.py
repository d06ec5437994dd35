"""A power set point as SunSpec 704 registers, leased by the device's own reversion timer.

All points of the function go out in one block, WSetEna..WSetRvrtTms, so that the device never sees a new power with an
old lease. Points that are not ours to change go out as they were last read. Points the device does not implement are
left out (specification 6.6: writing one is answered with an exception); the block then falls into pieces, of which the
timer is written first and the enabling last.
"""

import msgspec

from controller.codec.sunspec import CodecError, encode, place

CONTROL_MODEL = 704
HEARTBEAT_MODEL = 715
_DISABLED, _ENABLED, _WATTS = b"\x00\x00", b"\x00\x01", b"\x00\x01"

# The block in register order. None: set by the command, or kept as it was read where the point is in _KEPT.
_BLOCK: tuple[tuple[str, bytes | None], ...] = (
    ("WSetEna", _ENABLED),
    ("WSetMod", _WATTS),
    ("WSet", None),
    ("WSetRvrt", b"\x00\x00\x00\x00"),
    ("WSetPct", None),
    ("WSetPctRvrt", None),
    ("WSetEnaRvrt", _DISABLED),
    ("WSetRvrtTms", None),
)
_KEPT = ("WSetPct", "WSetPctRvrt")
_NEEDED = {
    "WSetEna": "it takes no power set point",
    "WSetMod": "it does not tell whether a set point is in watts",
    "WSet": "it takes no power set point in watts",
    "WSetRvrtTms": "it would hold the last set point for ever if the controller died",
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
    at = 2 * place(CONTROL_MODEL, "WSet_SF")[0]
    if len(block) < at + 2:
        raise CodecError("model 704 is too short to tell the scale factor of WSet")
    exponent = int.from_bytes(block[at : at + 2], "big", signed=True)
    ours = {
        "WSet": encode(CONTROL_MODEL, "WSet", power_w, exponent),
        "WSetRvrtTms": encode(CONTROL_MODEL, "WSetRvrtTms", max(1, -(-valid_ms // 1000))),
    }
    pieces: list[Write] = []
    for point, constant in _BLOCK:
        offset, size, unimplemented = place(CONTROL_MODEL, point)
        present = block[2 * offset : 2 * (offset + size)]
        if present == unimplemented:
            if point in _NEEDED:
                raise CodecError(f"model 704 does not implement {point}: {_NEEDED[point]}")
            continue
        registers = present if point in _KEPT else constant or ours[point]
        if pieces and pieces[-1].offset + len(pieces[-1].registers) // 2 == offset:
            last = pieces.pop()
            pieces.append(Write(offset=last.offset, registers=last.registers + registers))
        else:
            pieces.append(Write(offset=offset, registers=registers))
    return tuple(reversed(pieces))


def disabling_write() -> Write:
    """Return the write that takes the power set point out of force."""
    return Write(offset=place(CONTROL_MODEL, "WSetEna")[0], registers=_DISABLED)


def heartbeat_write(counter: int) -> Write:
    """Return the write of 715.ControllerHb, which wraps before the number that means "not implemented"."""
    offset, _size, _unimplemented = place(HEARTBEAT_MODEL, "ControllerHb")
    return Write(offset=offset, registers=encode(HEARTBEAT_MODEL, "ControllerHb", counter % 0xFFFF_FFFF))
