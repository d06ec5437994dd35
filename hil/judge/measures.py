"""The two measures of a wrong. A peak: how far a value went beyond its bound. A lasting wrong: for how long unbroken.

An excess is a function of a moment and a place, the number of a unit or 0 for the site. It returns how far the value is
beyond its bound, negative for what is to spare, and None where its case has not come up.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Literal

import msgspec

from hil.judge.moment import Moment

CLOCK_S = 1e-6  # times are sums of steps

Excess = Callable[[Moment, int], float | None]
Kind = Literal["peak", "lasting", "lasting from its cause"]


class Laid(msgspec.Struct, frozen=True, kw_only=True):
    """An invariant laid on a site. allowed: one number for each place, in the unit of the verdict."""

    excess: Excess
    allowed: tuple[float, ...]
    says: str = ""  # the site's own numbers
    idle: bool = False  # the site has nothing by which its case could come up


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One invariant at the end. worst and allowed are in `unit`; held is worst <= allowed."""

    invariant: str
    says: str
    held: bool
    tested: bool  # False: its case never came up
    worst: float
    allowed: float
    unit: str
    where: str


class Peak:
    """The farthest a value ever went beyond its bound, at the place where it was the least within what is allowed."""

    def __init__(self, laid: Laid) -> None:
        self._excess, self._allowed = laid.excess, laid.allowed
        self._places = range(len(laid.allowed))
        self._over = self.worst = -inf
        self.allowed, self._at_s, self._place = max(laid.allowed), 0.0, 0

    def look(self, moment: Moment) -> None:
        """Take one moment."""
        for place in self._places:
            value = self._excess(moment, place)
            if value is not None and value - self._allowed[place] > self._over:
                self.worst, self.allowed = value, self._allowed[place]
                self._over, self._place, self._at_s = value - self.allowed, place, moment.truth.t_s

    def verdict(self, invariant: str, says: str, unit: str, names: Sequence[str]) -> Verdict:
        """Return how it stands. names: one for each place."""
        tested = self.worst > -inf
        worst = self.worst if tested else 0.0
        if not tested:
            where = "its case did not come up"
        elif not worst:
            where = "none at all"
        else:
            where = f"{abs(worst):.1f} {unit} {'beyond' if worst > 0 else 'to spare'} at {self._at_s:.1f} s"
            where += _of(names, self._place)
        return Verdict(
            invariant=invariant,
            says=says,
            held=worst <= self.allowed,
            tested=tested,
            worst=worst,
            allowed=self.allowed,
            unit=unit,
            where=where,
        )


class Lasting:
    """The longest unbroken time of a wrong. With caused, time counts from when its case came up, not from the wrong."""

    def __init__(self, laid: Laid, unit: str, *, caused: bool) -> None:
        self._excess, self._allowed, self._unit, self._caused = laid.excess, laid.allowed, unit, caused
        self._places = range(len(laid.allowed))
        self._since_s: list[float | None] = [None] * len(laid.allowed)
        self._tested = False
        self._over_s, self.worst_s, self._at_s, self._most, self._place = -inf, 0.0, 0.0, 0.0, 0
        self.allowed_s = max(laid.allowed)

    def look(self, moment: Moment) -> None:
        """Take one moment."""
        for place in self._places:
            excess = self._excess(moment, place)
            if excess is None:
                self._since_s[place] = None
                continue
            self._tested = True
            if excess > 0:
                self._wrong(moment.truth.t_s, place, excess)
            elif not self._caused:
                self._since_s[place] = None
            elif self._since_s[place] is None:
                self._since_s[place] = moment.truth.t_s

    def verdict(self, invariant: str, says: str, names: Sequence[str]) -> Verdict:
        """Return how it stands. names: one for each place."""
        where = "never"
        if not self._tested:
            where = "its case did not come up"
        elif self._most > 0:
            where = f"{self.worst_s:.1f} s from {self._at_s:.1f} s on, at most {self._most:.0f} {self._unit} beyond"
            where += _of(names, self._place)
        return Verdict(
            invariant=invariant,
            says=says,
            held=self.worst_s <= self.allowed_s + CLOCK_S,
            tested=self._tested,
            worst=self.worst_s,
            allowed=self.allowed_s,
            unit="s",
            where=where,
        )

    def _wrong(self, t_s: float, place: int, value: float) -> None:
        since_s = self._since_s[place]
        if since_s is None:
            since_s = self._since_s[place] = t_s
        self._most = max(self._most, value)
        lasted_s, allowed_s = t_s - since_s, self._allowed[place]
        if lasted_s - allowed_s >= self._over_s:
            self._over_s, self._at_s, self._place = lasted_s - allowed_s, since_s, place
            self.worst_s, self.allowed_s = lasted_s, allowed_s


def _of(names: Sequence[str], place: int) -> str:
    return f" ({names[place]})" if len(names) > 1 else ""
