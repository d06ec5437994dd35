"""How a power answers a step: IEEE 1547's open-loop response and its bands, rise, overshoot, settling.

IEEE 1547.1-2020 judges a response Y to a step at 0 by Y(t) = Y0 + (Yss - Y0)(1 - e^(-t / tau)) with tau = Tr / ln 10,
so that 90 % of the step are gone at Tr, widened by one and a half times the minimum required accuracy (MRA) of the
value and of the time. For a value that is a curve of a measured one, the accuracy of what is measured widens the band
too: it is the widest that the curve gives within 1.5 MRA of the measured value. Values are read at their exact moment,
between two samples on their line. Units are the caller's: W, var, Hz, V.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import exp, isnan, log

import msgspec

from hil.judge.series import Series

WIDER = 1.5  # times the MRA, on each side
REACHED_PCT = 90
CYCLES = 2  # the accuracy of a time in a transient, IEEE 1547-2018 table 3
Curve = Sequence[tuple[float, float]]
"""Points (x, y) with ascending x; straight between them, level outside."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step that stands from at_s until until_s; the value is `start` at at_s and has to become `end`."""

    at_s: float
    until_s: float
    start: float
    end: float

    @property
    def stood_s(self) -> float:
        """Return how long it stood."""
        return self.until_s - self.at_s


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """The MRA of a value, in its own unit, and of the time (IEEE 1547-2018 table 3: 1 %, in a transient 2 cycles)."""

    value: float
    time_pct: float = 1.0
    hz: float = 60.0

    def time_s(self, since_s: float) -> float:
        """Return the accuracy of a time since_s after the step."""
        return max(CYCLES / self.hz, since_s * self.time_pct / 100)


def first_order(step: Step, response_s: float, t_s: float) -> float:
    """Return the exact open-loop response at t_s; response_s is Tr, to 90 %."""
    if t_s <= step.at_s:
        return step.start
    return step.start + (step.end - step.start) * (1 - exp(-(t_s - step.at_s) * log(10) / response_s))


def response_band(step: Step, response_s: float, accuracy: Accuracy, t_s: float) -> tuple[float, float]:
    """Return the least and the most the value may be at t_s."""
    time_s = WIDER * accuracy.time_s(max(0.0, t_s - step.at_s))
    ends = [first_order(step, response_s, t_s + sign * time_s) for sign in (-1, 1)]
    return min(ends) - WIDER * accuracy.value, max(ends) + WIDER * accuracy.value


def beyond_response(
    series: Series, step: Step, response_s: float, accuracy: Accuracy, times_s: Sequence[float] | None = None
) -> float | None:
    """Return how far the value left its band at the worst moment while the step stood, negative for what was to spare.

    times_s: the moments to judge, such as one and two Tr after the step; None = all samples. None where there is none.
    """
    if times_s is None:
        times_s = [t_s for t_s, _ in series.within(step.at_s, step.until_s)]
    worst: float | None = None
    for t_s in times_s:
        value = series.at(t_s)
        if isnan(value):
            return None
        low, high = response_band(step, response_s, accuracy, t_s)
        beyond = max(low - value, value - high)
        worst = beyond if worst is None else max(worst, beyond)
    return worst


def curve_at(curve: Curve, x: float) -> float:
    """Return y of a curve at x."""
    if x <= curve[0][0]:
        return curve[0][1]
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return curve[-1][1]


def curve_band(curve: Curve, x: float, accuracy_x: float, accuracy_y: float) -> tuple[float, float]:
    """Return the least and the most y may be in steady state at a measured x. The accuracies are the MRA."""
    low_x, high_x = x - WIDER * accuracy_x, x + WIDER * accuracy_x
    ys = [curve_at(curve, low_x), curve_at(curve, high_x), *(y for at, y in curve if low_x < at < high_x)]
    return min(ys) - WIDER * accuracy_y, max(ys) + WIDER * accuracy_y


def frequency_curve(nominal_hz: float, deadband_hz: float, droop_pu: float, before_w: float, able_w: float) -> Curve:
    """Return power over frequency of IEEE 1547's frequency-droop. before_w, able_w: before the event, available.

    Above the dead band the power falls by before_w for each droop_pu of the nominal frequency, to 0 W; below it rises
    by able_w for each, to able_w (hil 4.1). 0 < before_w < able_w, 0 < deadband_hz.
    """
    fall_hz = nominal_hz * droop_pu
    return (
        (nominal_hz - deadband_hz - fall_hz * (able_w - before_w) / able_w, able_w),
        (nominal_hz - deadband_hz, before_w),
        (nominal_hz + deadband_hz, before_w),
        (nominal_hz + deadband_hz + fall_hz, 0.0),
    )


def beyond_limit(series: Series, most: float, accuracy_y: float) -> float | None:
    """Return how far a value went over a limit and 1.5 MRA (IEEE 1547.1 5.13), None of an empty series."""
    return max(series.values) - most - WIDER * accuracy_y if len(series) else None


def open_loop_s(series: Series, step: Step) -> float | None:
    """Return the open-loop response time: until 90 % of the step are gone. None where that never came."""
    return _crossing_s(series, step, REACHED_PCT / 100)


def rise_s(series: Series, step: Step) -> float | None:
    """Return the time from 10 % of a step to 90 %. None where that never came."""
    begun_s, done_s = _crossing_s(series, step, 1 - REACHED_PCT / 100), _crossing_s(series, step, REACHED_PCT / 100)
    return None if begun_s is None or done_s is None else done_s - begun_s


def overshoot_pct(series: Series, step: Step) -> float:
    """Return how far the value went beyond the step's end, in percent of the step, 0 at the least."""
    size = step.end - step.start
    over = max(((value - step.end) / size for _, value in series.within(step.at_s, step.until_s)), default=0.0)
    return 100 * max(0.0, over)


def settle_s(series: Series, step: Step, width: float) -> float | None:
    """Return how long it took until the value stayed within end +- width for as long as the step stood.

    None where it was outside at the end, or was not sampled.
    """
    outside_s: float | None = None
    before: tuple[float, float] | None = None
    settled: float | None = None
    for t_s, value in series.within(step.at_s, step.until_s):
        if abs(value - step.end) > width:
            outside_s, settled = t_s, None
        elif settled is None:
            settled = t_s if outside_s is None or before is None else _entered_s(before, (t_s, value), step.end, width)
        before = (t_s, value)
    return None if settled is None else settled - step.at_s


def _entered_s(before: tuple[float, float], after: tuple[float, float], end: float, width: float) -> float:
    """Return when the line from outside to inside crosses the band's edge."""
    edge = end + width if before[1] > end else end - width
    return before[0] + (after[0] - before[0]) * (edge - before[1]) / (after[1] - before[1])


def _crossing_s(series: Series, step: Step, ratio: float) -> float | None:
    """Return when a part of the step (0..1) is first gone, counted from the step, on the line between samples."""
    size = step.end - step.start
    before_s, before = step.at_s, 0.0
    for t_s, value in series.within(step.at_s, step.until_s):
        gone = (value - step.start) / size
        if gone >= ratio:
            part = (ratio - before) / (gone - before) if gone > before else 0.0
            return before_s + max(0.0, part) * (t_s - before_s) - step.at_s
        before_s, before = t_s, gone
    return None
