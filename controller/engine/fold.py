"""Fold limits into an envelope by projection, strongest class first (control 2.1).

Projection clamps both ends of the new interval into what stands. So the envelope is never empty, every compatible
limit holds at every point of it, an incompatible one is met at the nearest point and reported, and the binding rule on
each side falls out. Integers only.
"""

from collections.abc import Iterable

from controller.model import Bound, Limit, Unmet


class Envelope:
    """An interval with the limit that made each end. It only ever shrinks.

    low_also, high_also: the limits without which that end would lie elsewhere, too. They are those of the other end
    where the limit was incompatible and met it there.
    """

    __slots__ = ("high", "high_also", "high_w", "low", "low_also", "low_w", "unmet")

    def __init__(self, low_w: int, high_w: int) -> None:
        """Start at [low_w, high_w], low_w <= high_w, with nobody binding yet."""
        assert low_w <= high_w
        self.low_w, self.high_w = low_w, high_w
        self.low: Limit | None = None
        self.high: Limit | None = None
        self.low_also: tuple[Limit, ...] = ()
        self.high_also: tuple[Limit, ...] = ()
        self.unmet: list[Unmet] = []

    def add(self, limit: Limit) -> None:
        """Project one limit into the envelope. What moves no end takes nobody's place there."""
        low_w, high_w = self.low_w, self.high_w
        if limit.high_w < low_w:
            self.unmet.append(_missed(limit, limit.high_w, low_w))
            if low_w < high_w:
                self.high, self.high_w, self.high_also = limit, low_w, ()
            self.high_also += _both(self.low, self.low_also)
        elif limit.low_w > high_w:
            self.unmet.append(_missed(limit, limit.low_w, high_w))
            if low_w < high_w:
                self.low, self.low_w, self.low_also = limit, high_w, ()
            self.low_also += _both(self.high, self.high_also)
        else:
            if limit.low_w > low_w:
                self.low, self.low_w, self.low_also = limit, limit.low_w, ()
            if limit.high_w < high_w:
                self.high, self.high_w, self.high_also = limit, limit.high_w, ()

    def clamp(self, power_w: int) -> int:
        """Return the point of the envelope nearest to power_w."""
        return self.low_w if power_w < self.low_w else min(power_w, self.high_w)

    def bounds(self) -> tuple[Bound, Bound]:
        """Return both ends with the rule that binds there."""
        return _bound(self.low_w, self.low), _bound(self.high_w, self.high)


def fold(envelope: Envelope, limits: Iterable[Limit]) -> Envelope:
    """Project limits in their order, which is strongest class first, into envelope and return it."""
    for limit in limits:
        envelope.add(limit)
    return envelope


def _both(limit: Limit | None, also: tuple[Limit, ...]) -> tuple[Limit, ...]:
    return also if limit is None else (limit, *also)


def _missed(limit: Limit, asked_w: int, got_w: int) -> Unmet:
    return Unmet(rule=limit.rule, asked_w=asked_w, by_w=abs(asked_w - got_w), because=limit.because)


def _bound(value_w: int, limit: Limit | None) -> Bound:
    if limit is None:
        return Bound(value_w=value_w, rule="nameplate", because="nameplate in the site file")
    return Bound(value_w=value_w, rule=named(limit), because=limit.because)


def named(limit: Limit) -> str:
    """Return the rule with the unit it was laid on."""
    return f"{limit.rule}({limit.unit})" if limit.unit else limit.rule
