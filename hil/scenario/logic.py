"""The logic of expressions: functions of a view that tell a number, a text, a statement, or that it cannot be told.

Laws:
- None and not a number are what cannot be told. A comparison with it is neither true nor false, and so is `not` of it;
  `and` is false where one part is, `or` true where one part is, whatever the other parts are (Kleene, Introduction to
  Metamathematics, section 64).
- Nothing raises: a division by zero and a number too large cannot be told.
"""

import math
from collections.abc import Callable
from typing import TypeVar

V = TypeVar("V")
Value = float | str | bool | None
Told = Callable[[V], Value]


def untold(_view: object) -> None:
    """Tell nothing: it stands in the place of a piece that is wrong."""
    return


def constant(value: float | str) -> Told[V]:
    """Return what tells the same of every view."""
    return lambda _view: value


def compared(compare: Callable[[float, float], bool], left: Told[V], right: Told[V]) -> Told[V]:
    """Return what tells a comparison of two numbers, or of two texts."""

    def told(view: V) -> bool | None:
        a, b = left(view), right(view)
        if a is None or b is None or a != a or b != b:  # not a number is unlike itself
            return None
        return compare(a, b)  # type: ignore[arg-type] # both of one kind, which the compiler saw to

    return told


def reckoned(reckon: Callable[..., float], *parts: Told[V]) -> Told[V]:
    """Return what tells a number made of numbers."""

    def told(view: V) -> float | None:
        numbers = [part(view) for part in parts]
        if None in numbers:
            return None
        try:
            return reckon(*numbers)
        except (ZeroDivisionError, OverflowError):
            return None

    return told


def least(*numbers: float) -> float:
    """Return the smallest number, not a number where one of them is none."""
    return math.nan if any(map(math.isnan, numbers)) else min(numbers)


def most(*numbers: float) -> float:
    """Return the largest number, not a number where one of them is none."""
    return math.nan if any(map(math.isnan, numbers)) else max(numbers)


def every(*parts: Told[V]) -> Told[V]:
    """Return what tells whether all statements are true."""
    return _until(False, parts)


def either(*parts: Told[V]) -> Told[V]:
    """Return what tells whether one of the statements is true."""
    return _until(True, parts)


def _until(decisive: bool, parts: tuple[Told[V], ...]) -> Told[V]:
    """Return what looks through statements until one decides; one that cannot be told decides only at the end."""

    def told(view: V) -> bool | None:
        found: bool | None = not decisive
        for part in parts:
            one = part(view)
            if one is decisive:
                return decisive
            if one is None:
                found = None
        return found

    return told


def negated(part: Told[V]) -> Told[V]:
    """Return what tells whether a statement is not true."""

    def told(view: V) -> bool | None:
        one = part(view)
        return None if one is None else not one

    return told
