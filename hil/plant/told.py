"""What a device tells of a true value, through the faults of its sensors.

A point is a name of the device's own ("soc", "power_w", ...). Where several tampers sit on one point, each sees what
the one before it told, in the order they were added; what is no number stays none.

To add a kind of sensor fault: a function here that returns an Alter.
"""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from hil.plant import chance

Alter: TypeAlias = Callable[[float, float], float | None]
"""From a value and the time in s to what is told instead; None = not a number."""


class Tamper(msgspec.Struct, frozen=True, kw_only=True):
    """What a fault does to one point. on_bite is called each time the value was changed."""

    alter: Alter
    on_bite: Callable[[], None] = lambda: None


class Told:
    """The tampers of one device. Without any, every value is told as it is."""

    def __init__(self) -> None:
        self._tampers: dict[str, tuple[Tamper, ...]] = {}

    @property
    def honest(self) -> bool:
        """Whether every value is told as it is."""
        return not self._tampers

    def told(self, point: str, value: float, t_s: float) -> float | None:
        """Return what the device tells at t_s for a true value; None = not a number."""
        tampers = self._tampers.get(point)
        if tampers is None:
            return value
        for tamper in tampers:
            altered = tamper.alter(value, t_s)
            if altered != value:
                tamper.on_bite()
            if altered is None:
                return None
            value = altered
        return value

    def add(self, point: str, tamper: Tamper) -> Tamper:
        """Put a tamper on a point, after those that are there, and return it."""
        self._tampers[point] = (*self._tampers.get(point, ()), tamper)
        return tamper

    def remove(self, tamper: Tamper) -> None:
        """Take a tamper off its point. Raises ValueError where it is on none."""
        for point, tampers in self._tampers.items():
            left = tuple(one for one in tampers if one is not tamper)
            if len(left) == len(tampers):
                continue
            if left:
                self._tampers[point] = left
            else:
                del self._tampers[point]
            return
        raise ValueError("this tamper is on no point of the device")


def stuck(value: float | None = None) -> Alter:
    """Tell one value only: the given one, or the first that is to be told once the fault is there."""
    held = value

    def alter(true_value: float, _t_s: float) -> float:
        nonlocal held
        if held is None:
            held = true_value
        return held

    return alter


def wrong(value: float) -> Alter:
    """Tell this value in place of the true one."""
    return lambda _value, _t_s: value


def offset(by_value: float) -> Alter:
    """Tell the true value and a constant more."""
    return lambda value, _t_s: value + by_value


def factor(by_factor: float) -> Alter:
    """Tell a multiple of the true value; -1 turns its sign."""
    return lambda value, _t_s: value * by_factor


def drift(per_h: float, begun_s: float) -> Alter:
    """Tell more by per_h for every hour since begun_s."""
    return lambda value, t_s: value + per_h * (t_s - begun_s) / 3600


def jumps(by_value: float, every_s: float, begun_s: float) -> Alter:
    """Tell the true value and by_value more by turns, each for every_s; the first turn is the false one."""
    return lambda value, t_s: value + (0.0 if chance.slot(t_s - begun_s, every_s) % 2 else by_value)


def noise(sigma: float, seed: int) -> Alter:
    """Add normal noise of this deviation, a new draw every chance.SLOT_S, however often it is asked for."""
    return lambda value, t_s: value + sigma * chance.normal(seed, chance.slot(t_s))


def not_a_number() -> Alter:
    """Tell nothing that is a number."""
    return lambda _value, _t_s: None
