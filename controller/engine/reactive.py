"""Share reactive power over the units, each inside its own circle: P^2 + Q^2 <= S^2."""

from collections.abc import Sequence
from math import isqrt

from controller.engine.share import split


def room_var(apparent_max_va: int | None, power_w: int) -> int:
    """Return the most reactive power, as a magnitude, beside power_w; 0 where the circle is not known."""
    if apparent_max_va is None or apparent_max_va <= abs(power_w):
        return 0
    return isqrt(apparent_max_va * apparent_max_va - power_w * power_w)


def share_var(asked_var: int, rooms_var: Sequence[int]) -> list[int]:
    """Return one reactive power per unit, in proportion to its room (>= 0): sum exact, asked_var cut to the whole room.

    All have the sign of asked_var, so that none feeds what another takes.
    """
    parts_var = split(min(abs(asked_var), sum(rooms_var)), rooms_var)
    return parts_var if asked_var >= 0 else [-part_var for part_var in parts_var]
