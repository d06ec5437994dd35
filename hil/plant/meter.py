"""The meter at the point of interconnection: samples at fixed times, shown some time later, and energy counters.

Between two steps of the plant the power is taken as a straight line: samples are read off it at their own moments, and
the counters integrate it, whatever the steps and the samples. What a wrongly wired current transformer makes of the
power follows from the phasors: a channel multiplies its own phase's voltage with whatever current it is given.
"""

from cmath import rect
from collections import deque
from collections.abc import Callable
from math import floor, pi
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from hil.plant import PHASES
from hil.plant.grid import EVEN, Phases
from hil.plant.told import Told

ACC32_WH = 2.0**32  # where a 32-bit accumulator of SunSpec starts again from 0
_EARLY = 1e-6  # of a period: a time that is a sum of steps may end this much before its sample
_TURNS = (rect(1, 0), rect(1, -2 * pi / 3), rect(1, 2 * pi / 3))  # phase n lags phase 0 by n thirds of a turn


class MeterSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the meter is. Samples are taken at the multiples of period_s."""

    period_s: Annotated[float, Meta(ge=0.02, le=60)] = 0.2
    latency_s: Annotated[float, Meta(ge=0, le=60)] = 0.0  # from a sample until it is shown
    reversed: bool = False  # all current transformers sit the wrong way round
    ct_ratio: Annotated[float, Meta(gt=0, le=10_000)] = 50.0  # of the current transformers: 50 = 250 A to 5 A
    rollover_wh: Annotated[float, Meta(gt=0)] = ACC32_WH  # a counter that gets here starts again from 0
    exported_wh: Annotated[float, Meta(ge=0)] = 0.0  # what the counters have when the plant starts
    imported_wh: Annotated[float, Meta(ge=0)] = 0.0


class Mains(Protocol):
    """What is measured: the power of each phase toward the grid, its voltage to neutral, and the frequency."""

    @property
    def phase_w(self) -> Phases: ...
    @property
    def phase_var(self) -> Phases: ...
    @property
    def phase_v(self) -> Phases: ...
    @property
    def hz(self) -> float: ...


class Flow(msgspec.Struct, frozen=True):
    """One moment of the mains; satisfies Mains."""

    phase_w: Phases = EVEN
    phase_var: Phases = EVEN
    phase_v: Phases = EVEN
    hz: float = 0.0

    @property
    def power_w(self) -> float:
        """Return the sum of the phases, + toward the grid."""
        return sum(self.phase_w)


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured at t_s: flow as the meter has it, true_flow as it was."""

    t_s: float
    flow: Flow
    true_flow: Flow
    exported_wh: float
    imported_wh: float


class Meter:
    """What the meter shows. Power and counters are those of all three phases together, power + toward the grid.

    Faults are plain attributes: ct_sign (-1 = that transformer sits the wrong way round), ct_phase (whose current each
    channel is given), ct_told_ratio (what the meter was told its transformers are), missing (channels without voltage
    and current), frozen (shows its last sample as if it were new), and the meter's own latency_s and period_s.
    on_bite: called at each showing of what is not so; who turns a knob puts its own there and takes it away.
    """

    def __init__(self, spec: MeterSpec | None = None) -> None:
        self.spec = spec = spec or MeterSpec()
        self.told = Told()
        self.period_s, self.latency_s = spec.period_s, spec.latency_s
        self.ct_sign = [-1, -1, -1] if spec.reversed else [1, 1, 1]
        self.ct_phase = [0, 1, 2]
        self.ct_told_ratio = spec.ct_ratio
        self.missing: set[int] = set()
        self.frozen = False
        self.on_bite: list[Callable[[], None]] = []
        self._counted_wh = [spec.exported_wh, spec.imported_wh]
        self._flow: Flow | None = None  # of the last step, as the meter has it
        self._true_flow = Flow()
        self._late: deque[Sample] = deque()  # taken and not yet due: at most latency_s / period_s of them
        self._shown = self._due = self._sample(0.0, Flow(), Flow())

    @property
    def sampled_s(self) -> float:
        """Return when what is shown was measured, in s."""
        return self._shown.t_s

    @property
    def power_w(self) -> float:
        """Return the power in W, + toward the grid."""
        return self._shown.flow.power_w

    @property
    def phase_w(self) -> Phases:
        """Return the power of each phase in W, + toward the grid."""
        return self._shown.flow.phase_w

    @property
    def phase_var(self) -> Phases:
        """Return the reactive power of each phase in var, + toward the grid."""
        return self._shown.flow.phase_var

    @property
    def voltage_v(self) -> Phases:
        """Return the voltage of each phase to neutral in V."""
        return self._shown.flow.phase_v

    @property
    def hz(self) -> float:
        """Return the frequency in Hz."""
        return self._shown.flow.hz

    @property
    def exported_wh(self) -> float:
        """Return the energy toward the grid, as the register has it."""
        return self._shown.exported_wh

    @property
    def imported_wh(self) -> float:
        """Return the energy from the grid, as the register has it."""
        return self._shown.imported_wh

    @property
    def false_w(self) -> float:
        """Return by how much the power shown is not what a sound meter of the same age would show, in W."""
        return self._shown.flow.power_w - self._due.true_flow.power_w

    @property
    def phase_false_w(self) -> Phases:
        """Return the same for each phase."""
        (a_1, a_2, a_3), (b_1, b_2, b_3) = self._shown.flow.phase_w, self._due.true_flow.phase_w
        return a_1 - b_1, a_2 - b_2, a_3 - b_3

    def step(self, dt_s: float, now_s: float, mains: Mains) -> None:
        """Run for dt_s up to now_s, at the end of which the mains are these.

        The first step is taken to be at rest; its sample is shown at once.
        """
        true_flow = Flow(mains.phase_w, mains.phase_var, mains.phase_v, mains.hz)
        flow = true_flow if self._sound else self._measured(true_flow)
        first = self._flow is None
        before, true_before = (flow, true_flow) if self._flow is None else (self._flow, self._true_flow)
        begin_s = now_s - dt_s
        newest, shown = self._number(now_s), self._number(now_s - self.latency_s)
        part = 0.0
        for number in range(max(self._number(begin_s) + 1, shown), newest + 1):  # what nobody will see is left out
            t_s = number * self.period_s
            ratio = min(1.0, max(0.0, (t_s - begin_s) / dt_s))
            here = _between(before, flow, ratio)
            self._count(_between(before, flow, part).power_w, here.power_w, (ratio - part) * dt_s)
            part = ratio
            self._late.append(self._sample(t_s, here, _between(true_before, true_flow, ratio)))
        self._count(_between(before, flow, part).power_w, flow.power_w, (1 - part) * dt_s)
        self._flow, self._true_flow = flow, true_flow
        if first:
            self._show(self._sample(now_s, flow, true_flow))
        while self._late and self._late[0].t_s + self.latency_s <= now_s + _EARLY * self.period_s:
            self._show(self._late.popleft())

    @property
    def _sound(self) -> bool:
        return (
            self.ct_sign == [1, 1, 1]
            and self.ct_phase == [0, 1, 2]
            and self.ct_told_ratio == self.spec.ct_ratio
            and not self.missing
        )

    def _number(self, t_s: float) -> int:
        return floor(t_s / self.period_s + _EARLY)

    def _measured(self, true: Flow) -> Flow:
        """Return what the channels make of the mains: S = V conj(I), each with the current it is given."""
        powers_va, volts = [], []
        for channel in range(PHASES):
            phase, own_v = self.ct_phase[channel], true.phase_v[channel]
            phase_v = true.phase_v[phase]
            power_va = complex(true.phase_w[phase], true.phase_var[phase])
            if channel in self.missing or phase_v == 0:
                power_va = 0j
            elif phase != channel:
                power_va *= _TURNS[(channel - phase) % PHASES] * own_v / phase_v
            powers_va.append(power_va * self.ct_sign[channel] * self.ct_told_ratio / self.spec.ct_ratio)
            volts.append(0.0 if channel in self.missing else own_v)
        one, two, three = powers_va
        v_1, v_2, v_3 = volts
        return Flow((one.real, two.real, three.real), (one.imag, two.imag, three.imag), (v_1, v_2, v_3), true.hz)

    def _count(self, begin_w: float, end_w: float, dt_s: float) -> None:
        """Add the energy under a straight line to the two counters; where it crosses 0, each gets its triangle."""
        if begin_w * end_w < 0:
            crossing_s = dt_s * begin_w / (begin_w - end_w)
            self._count(begin_w, 0.0, crossing_s)
            self._count(0.0, end_w, dt_s - crossing_s)
            return
        energy_wh = (begin_w + end_w) / 2 * dt_s / 3600
        counter = 0 if energy_wh > 0 else 1
        self._counted_wh[counter] = (self._counted_wh[counter] + abs(energy_wh)) % self.spec.rollover_wh

    def _sample(self, t_s: float, flow: Flow, true_flow: Flow) -> Sample:
        exported_wh, imported_wh = self._counted_wh
        return Sample(t_s=t_s, flow=flow, true_flow=true_flow, exported_wh=exported_wh, imported_wh=imported_wh)

    def _show(self, sample: Sample) -> None:
        self._due = sample
        if not self.frozen:
            self._shown = sample
        if self._shown.flow != sample.true_flow:
            for bite in self.on_bite:
                bite()


def _between(before: Flow, after: Flow, ratio: float) -> Flow:
    """Return what lies on the straight line from one moment to the next; ratio 0..1."""
    if ratio >= 1 or before is after:
        return after
    if ratio <= 0:
        return before
    return Flow(
        _mixed(before.phase_w, after.phase_w, ratio),
        _mixed(before.phase_var, after.phase_var, ratio),
        _mixed(before.phase_v, after.phase_v, ratio),
        before.hz + (after.hz - before.hz) * ratio,
    )


def _mixed(before: Phases, after: Phases, ratio: float) -> Phases:
    (a_1, a_2, a_3), (b_1, b_2, b_3) = before, after
    return a_1 + (b_1 - a_1) * ratio, a_2 + (b_2 - a_2) * ratio, a_3 + (b_3 - a_3) * ratio
