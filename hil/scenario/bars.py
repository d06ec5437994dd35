"""A bar: what a number has to be. 0 = exactly that; "<= 2" and ">= 0.95"; [0.8, 0.97] from one to the other."""

import math
from typing import Annotated, TypeAlias

from msgspec import Meta

FORM = r"^(<=|>=) ?-?\d+(\.\d+)?$"
SAYS = 'a number, "<= number", ">= number" or [low, high]'

Bar: TypeAlias = float | Annotated[str, Meta(pattern=FORM)] | tuple[float, float]


def bounds(bar: Bar) -> tuple[float, float]:
    """Return the lowest and the highest number that fit, both of them in."""
    if isinstance(bar, tuple):
        return bar
    if isinstance(bar, str):
        edge = float(bar[2:])
        return (-math.inf, edge) if bar.startswith("<") else (edge, math.inf)
    return bar, bar


def fits(bar: Bar, value: float | None) -> bool:
    """Tell whether a number is within its bar. None and not a number never are."""
    low, high = bounds(bar)
    return value is not None and low <= value <= high
