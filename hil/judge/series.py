"""Recorded series: what a value was at which moments. Between its samples it is held (orders) or on a line (powers)."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import floor, isnan, nan
from typing import NamedTuple


class Edge(NamedTuple):
    """A change of a held value. start and end may be not a number: nothing was asked."""

    at_s: float
    start: float
    end: float


class Series:
    """Values at ascending times. Not a number where there was none."""

    __slots__ = ("times_s", "values")

    def __init__(self, times_s: Sequence[float], values: Sequence[float]) -> None:
        """times_s and values are of one length and are not copied: several series may share their times."""
        assert len(times_s) == len(values), f"{len(times_s)} times for {len(values)} values"
        self.times_s, self.values = times_s, values

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, float | None]]) -> "Series":
        """Return the series of (t_s, value); None = not a number."""
        rows = list(pairs)
        assert all(earlier[0] <= later[0] for earlier, later in pairwise(rows)), "samples come in order"
        return cls([t_s for t_s, _ in rows], [nan if value is None else value for _, value in rows])

    def __len__(self) -> int:
        return len(self.times_s)

    def held(self, t_s: float) -> float:
        """Return the last value at or before t_s; before the first sample, not a number."""
        place = bisect_right(self.times_s, t_s) - 1
        return self.values[place] if place >= 0 else nan

    def at(self, t_s: float) -> float:
        """Return the value at t_s on the line between its neighbours; not a number outside the series."""
        after = bisect_left(self.times_s, t_s)
        if after == len(self.times_s) or (after == 0 and t_s < self.times_s[0]):
            return nan
        end_s, end = self.times_s[after], self.values[after]
        if end_s == t_s:
            return end
        start_s, start = self.times_s[after - 1], self.values[after - 1]
        return start + (end - start) * (t_s - start_s) / (end_s - start_s)

    def within(self, begin_s: float, end_s: float) -> Iterator[tuple[float, float]]:
        """Yield the samples of begin_s <= t_s <= end_s."""
        for place in range(bisect_left(self.times_s, begin_s), bisect_right(self.times_s, end_s)):
            yield self.times_s[place], self.values[place]

    def edges(self) -> Iterator[Edge]:
        """Yield the changes of a held value; the first sample changes from not a number."""
        before = nan
        for t_s, value in zip(self.times_s, self.values, strict=True):
            if value != before and not (isnan(value) and isnan(before)):
                yield Edge(t_s, before, value)
            before = value

    def spans(self) -> Iterator[tuple[float, float, float]]:
        """Yield length in s, value at the start and value at the end of each piece between two samples."""
        for place in range(1, len(self.times_s)):
            length_s = self.times_s[place] - self.times_s[place - 1]
            yield length_s, self.values[place - 1], self.values[place]


def raster_s(begin_s: float, end_s: float, every_s: float, edges_s: Iterable[float]) -> list[float]:
    """Return times every every_s within [begin_s, end_s] that keep as far from a held signal's edges as they can.

    On an edge a follower of any delay is called wrong by chance: of a signal in steps of 4 s every second sample of a
    10 s raster that starts with it falls on one (hil 4.3). The offset is the first best twentieth of every_s: 1 s for
    that signal.
    """
    steps = 20
    taken = {round((t_s - begin_s) % every_s / every_s, 9) % 1.0 for t_s in edges_s}
    offsets = [step / steps for step in range(steps)]
    best = max(offsets, key=lambda offset: min((_apart(offset, edge) for edge in taken), default=0.5))
    count = floor((end_s - begin_s) / every_s - best + 1e-9) + 1
    return [begin_s + (place + best) * every_s for place in range(count)]


def _apart(one: float, other: float) -> float:
    """Return the distance of two places on a circle of length 1."""
    return min((one - other) % 1.0, (other - one) % 1.0)
