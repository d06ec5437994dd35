"""Signals: values over time, as a scenario file tells them.

A signal is what its keys say, added up where there are several: a recorded load with noise on it, a sine after points.
Made into a Course it is a function of the time, to be asked in any order, and can tell when it changes next.

Chance comes from the seed that course() is given; give each signal of a scenario one of its own (chance.named).
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from math import floor, inf, pi, sin
from random import Random
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from hil.plant import chance
from hil.scenario.recording import Recording, play

FINE_S = 0.1  # what moves all the time is asked again this often,
FINE_PARTS = 100  # and where it is slow, so many times on its way
EARLY_S = 1e-6  # a time that is a sum of steps may be this much before its change and still counts as after it
BLOCK_S = 3600.0  # a regulation signal begins anew this often, so that any hour can be had without those before it
_STEP_S = (1.0, 2.0)  # a regulation signal stays this long, at least and at most
_KEPT = 0.4  # of the drift from step to step

Nothing = Literal["nothing"]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of a signal."""


class Sine(_Table, frozen=True, kw_only=True):
    """A sine that is at its mean and rising at t = 0."""

    mean: Annotated[float, Meta(description="around this")] = 0.0
    amplitude: Annotated[float, Meta(description="up and down by this")]
    period_s: Annotated[float, Meta(ge=1, description="of one wave")]


class Ramp(_Table, frozen=True, kw_only=True):
    """A straight line between two values, which hold before and after."""

    start_value: Annotated[float, Meta(description="before begins_s")]
    end_value: Annotated[float, Meta(description="after ends_s")]
    begins_s: Annotated[float, Meta(ge=0, description="leaves start_value")] = 0.0
    ends_s: Annotated[float, Meta(gt=0, description="reaches end_value")]

    def __post_init__(self) -> None:
        """Raise ValueError where it ends before it begins."""
        if self.ends_s <= self.begins_s:
            raise ValueError(f"ramp: ends_s = {self.ends_s:g} is not after begins_s = {self.begins_s:g}")


class Noise(_Table, frozen=True, kw_only=True):
    """Normal noise around 0."""

    sigma: Annotated[float, Meta(ge=0, description="its standard deviation")]
    hold_s: Annotated[float, Meta(ge=0.1, description="each value stands so long")] = 1.0


class Regulation(_Table, frozen=True, kw_only=True):
    """A signal of the fast kind: mean-reverting, often at its rails, a step every 1 to 2 s."""

    peak: Annotated[float, Meta(ge=0, description="its rails: this, and as far below 0")]
    seed: Annotated[int, Meta(ge=0, description="left out = the scenario's")] | None = None


class Signal(_Table, frozen=True, kw_only=True):
    """A value over time. What is given adds up; as long as one part says nothing, so does the whole."""

    points: Annotated[
        tuple[tuple[float, float | Nothing], ...],
        Meta(max_length=10_000, description='[t in s, value], in order of time; "nothing" = no value any more'),
    ] = ()
    line: Annotated[bool, Meta(description="straight lines between points; false = each holds until the next")] = False
    sine: Annotated[Sine | None, Meta(description="a sine")] = None
    ramp: Annotated[Ramp | None, Meta(description="from one value to another")] = None
    noise: Annotated[Noise | None, Meta(description="noise around 0")] = None
    regulation: Annotated[Regulation | None, Meta(description="a regulation signal")] = None
    recording: Annotated[Recording | None, Meta(description="a column of a recording")] = None

    def __post_init__(self) -> None:
        """Raise ValueError where nothing is given, or the points are in no order."""
        if not self.points and not any((self.sine, self.ramp, self.noise, self.regulation, self.recording)):
            raise ValueError("a signal is points, sine, ramp, noise, regulation, recording, or several of them")
        if self.line and not self.points:
            raise ValueError("line says how points are joined, and there are none")
        for (before_s, _), (after_s, _) in pairwise(self.points):
            if after_s <= before_s:
                raise ValueError(f"points: {after_s:g} s stands after {before_s:g} s")
        if self.line and any(value == "nothing" for _, value in self.points):
            raise ValueError('points: no line leads to "nothing"')


class Course(Protocol):
    """A signal as a function of the time."""

    def value(self, t_s: float) -> float | None:
        """Return the value at a time; None = it says nothing."""

    def next_change_s(self, t_s: float) -> float:
        """Return the next time after t_s at which it may be another; inf = never. What moves all the time: soon."""


def course(signal: Signal, seed: int) -> Course:
    """Return the signal as a function of the time. Raises RecordingError where its recording cannot be played."""
    parts = _parts(signal, seed)
    return parts[0] if len(parts) == 1 else _Sum(parts)


def _parts(signal: Signal, seed: int) -> list[Course]:
    parts: list[Course] = []
    if signal.points:
        values = [None if value == "nothing" else value for _, value in signal.points]
        parts.append(_Rows([t_s for t_s, _ in signal.points], values, signal.line))
    if signal.sine:
        parts.append(_Wave(signal.sine))
    if ramp := signal.ramp:
        parts.append(
            _Rows([-inf, ramp.begins_s, ramp.ends_s], [ramp.start_value, ramp.start_value, ramp.end_value], True)
        )
    if signal.noise:
        parts.append(_Drawn(signal.noise, chance.named(seed, "noise")))
    if signal.regulation:
        own = signal.regulation.seed
        parts.append(_Regulation(signal.regulation.peak, chance.named(seed, "regulation") if own is None else own))
    if signal.recording:
        parts.append(_Rows(*play(signal.recording), signal.recording.line))
    return parts


class _Rows:
    """Values at times: held until the next, or joined by lines. Before the first it says nothing; the last stays."""

    def __init__(self, times_s: Sequence[float], values: Sequence[float | None], line: bool) -> None:
        last = len(values) - 1
        kept = [
            index
            for index, value in enumerate(values)
            if index == 0 or value != values[index - 1] or (line and index < last and value != values[index + 1])
        ]
        self._times_s = [times_s[index] for index in kept]
        self._values = [values[index] for index in kept]
        self._line = line

    def value(self, t_s: float) -> float | None:
        """Return the value at a time."""
        index = self._index(t_s)
        if index < 0:
            return None
        value = self._values[index]
        if not self._line or index == len(self._values) - 1:
            return value
        after = self._values[index + 1]
        if value is None or after is None or after == value:
            return value
        begin_s, end_s = self._times_s[index], self._times_s[index + 1]
        return value + (after - value) * max(0.0, t_s - begin_s) / (end_s - begin_s)

    def next_change_s(self, t_s: float) -> float:
        """Return when the next row comes, or on a slope soon."""
        index = self._index(t_s)
        if index == len(self._times_s) - 1:
            return inf
        next_s = self._times_s[index + 1]
        if not self._line or index < 0 or self._values[index] == self._values[index + 1]:
            return next_s
        begin_s = self._times_s[index]
        return min(next_s, begin_s + _after(t_s - begin_s, max(FINE_S, (next_s - begin_s) / FINE_PARTS)))

    def _index(self, t_s: float) -> int:
        return bisect_right(self._times_s, t_s + EARLY_S) - 1


class _Wave:
    """A sine."""

    def __init__(self, sine: Sine) -> None:
        self._sine = sine

    def value(self, t_s: float) -> float:
        """Return the value at a time."""
        return self._sine.mean + self._sine.amplitude * sin(2 * pi * t_s / self._sine.period_s)

    def next_change_s(self, t_s: float) -> float:
        """Return a time soon after."""
        return _after(t_s, max(FINE_S, self._sine.period_s / FINE_PARTS))


class _Drawn:
    """Noise."""

    def __init__(self, noise: Noise, seed: int) -> None:
        self._noise, self._seed = noise, seed

    def value(self, t_s: float) -> float:
        """Return the value at a time."""
        return self._noise.sigma * chance.normal(self._seed, chance.slot(t_s, self._noise.hold_s))

    def next_change_s(self, t_s: float) -> float:
        """Return when the next value is drawn."""
        return _after(t_s, self._noise.hold_s)


class _Regulation:
    """A regulation signal, hour by hour; the recipe is that of hil/story.py."""

    def __init__(self, peak: float, seed: int) -> None:
        self._peak, self._seed = peak, seed
        self._number, self._block = -1, _Rows([0.0], [0.0], False)

    def value(self, t_s: float) -> float | None:
        """Return the value at a time."""
        return self._of(t_s).value(t_s)

    def next_change_s(self, t_s: float) -> float:
        """Return when the next step comes."""
        block = self._of(t_s)
        return min(block.next_change_s(t_s), (self._number + 1) * BLOCK_S)

    def _of(self, t_s: float) -> _Rows:
        number = floor((t_s + EARLY_S) / BLOCK_S)
        if number != self._number:
            self._number, self._block = number, _Rows(*self._drawn(number), False)
        return self._block

    def _drawn(self, number: int) -> tuple[list[float], list[float]]:
        rng = Random(chance.named(self._seed, f"block {number}"))
        times_s, values = list[float](), list[float]()
        t_s, end_s, drift = number * BLOCK_S, (number + 1) * BLOCK_S, 0.0
        while t_s < end_s:
            drift = _KEPT * drift + rng.gauss(0.0, 1.0)
            times_s.append(t_s)
            values.append(max(-1.0, min(1.0, drift)) * self._peak)
            t_s += rng.uniform(*_STEP_S)
        return times_s, values


class _Sum:
    """Several courses added up."""

    def __init__(self, parts: list[Course]) -> None:
        self._parts = parts

    def value(self, t_s: float) -> float | None:
        """Return the sum; None where one of them says nothing."""
        total = 0.0
        for part in self._parts:
            value = part.value(t_s)
            if value is None:
                return None
            total += value
        return total

    def next_change_s(self, t_s: float) -> float:
        """Return when the first of them changes."""
        return min(part.next_change_s(t_s) for part in self._parts)


def _after(t_s: float, step_s: float) -> float:
    """Return the next multiple of a step."""
    return (chance.slot(t_s, step_s) + 1) * step_s
