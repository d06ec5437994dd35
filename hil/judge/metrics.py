"""The metrics: one row each, a pure function of a recording, for the bars of a scenario (bars.py).

To add one: a function here or beside its kin (response, tracking), a row in the table, a test against arithmetic.
"""

from collections.abc import Callable, Iterator
from math import inf, isnan, sqrt

from hil.judge import response, tracking
from hil.judge.recording import Metric, Recording
from hil.judge.response import Step
from hil.judge.series import Edge, Series

STEP_PCT = 5  # of rated: a smaller change is no step
SAME_PCT = 1  # of rated: a change of the order within this leaves the step standing
NEAR_PCT = 2  # of rated: counts as reached (PNNL-22010)
LONG_S = 30.0  # a step that stood so long and was not answered never is (UL 1741 CRD)
HOLD_S = 5.0  # recovered = within the band for so long
LATE_S = 2.0  # behind a moving reference


def steps(run: Recording) -> Iterator[Step]:
    """Yield the steps of the order that the ideal follower could answer in full, each from the power at its moment.

    Each begins settled: what is on its way elsewhere says nothing of its answer. What stood when the run began is no
    step.
    """
    edges: list[Edge] = []
    for edge in run.asked.edges():
        if not edges or not abs(edge.end - edges[-1].end) <= run.rated_w * SAME_PCT / 100:
            edges.append(edge)
    ends_s = [edge.at_s for edge in edges[1:]] + [run.ended_s]
    for edge, until_s in zip(edges, ends_s, strict=True):
        start_w = run.delivered.at(edge.at_s)
        if edge.at_s == run.begun_s or abs(start_w - edge.start) > run.rated_w * NEAR_PCT / 100:
            continue
        if isnan(edge.end) or not abs(edge.end - start_w) >= run.rated_w * STEP_PCT / 100:
            continue
        if all(met for at_s, met in run.met.within(edge.at_s, until_s) if at_s < until_s):
            yield Step(at_s=edge.at_s, until_s=until_s, start=start_w, end=edge.end)


def recovery_s(run: Recording) -> float | None:
    """Return how long after the last fault the power came back to the reference follower's, and stayed."""
    if run.healed_s is None:
        return None
    near_w, since_s, asked = run.rated_w * NEAR_PCT / 100, None, False
    recent: list[tuple[float, float]] = []  # bounded by LATE_S
    for t_s, ideal_w in run.ideal.within(run.healed_s - LATE_S, run.ended_s):
        recent = [row for row in recent if row[0] >= t_s - LATE_S] + [(t_s, ideal_w)]
        if t_s < run.healed_s or isnan(ideal_w):
            continue
        asked = True
        powers_w = [power_w for _, power_w in recent if not isnan(power_w)]
        if not min(powers_w) - near_w <= run.delivered.at(t_s) <= max(powers_w) + near_w:
            since_s = None
            continue
        since_s = t_s if since_s is None else since_s
        if t_s - since_s >= HOLD_S:
            return since_s - run.healed_s
    return inf if asked else None


def award_s(run: Recording) -> float | None:
    """Return the longest time from an award, an order after none or after 0 W, to 90 % of it."""
    edges, found = list(run.asked.edges()), []
    ends_s = [edge.at_s for edge in edges[1:]] + [run.ended_s]
    for edge, until_s in zip(edges, ends_s, strict=True):
        begins = (isnan(edge.start) and edge.at_s > run.begun_s) or edge.start == 0
        if not begins or isnan(edge.end) or edge.end == 0:
            continue
        step = Step(at_s=edge.at_s, until_s=until_s, start=0.0, end=edge.end)
        answered_s = response.open_loop_s(run.delivered, step)
        if answered_s is not None or step.stood_s >= LONG_S:
            found.append(inf if answered_s is None else answered_s)
    return max(found, default=None)


def round_trip_pct(run: Recording) -> float | None:
    """Return the AC round-trip efficiency, corrected for what more or less is stored at the end.

    One-way efficiency e, the same both ways, from in * e - out / e = more stored; the round trip is e^2. With the
    state of charge returned that is out / in (PNNL-22010). None where nothing went in or nothing came out.
    """
    out_wh = sum(_over_ws(length_s, a, b) for length_s, a, b in run.delivered.spans()) / 3600
    in_wh = sum(_over_ws(length_s, -a, -b) for length_s, a, b in run.delivered.spans()) / 3600
    if not out_wh or not in_wh:
        return None
    more_wh = run.stored.values[-1] - run.stored.values[0]
    one_way = (more_wh + sqrt(more_wh**2 + 4 * in_wh * out_wh)) / (2 * in_wh)
    return 100 * one_way**2


def delivered_pct(run: Recording) -> float | None:
    """Return which part of the asked energy was delivered; what was delivered beyond it does not count."""
    asked_ws = given_ws = 0.0
    for (length_s, asked_w, _), (_, a_w, b_w) in zip(run.asked.spans(), run.delivered.spans(), strict=True):
        if not isnan(asked_w) and asked_w:
            sign = 1 if asked_w > 0 else -1
            asked_ws += abs(asked_w) * length_s
            given_ws += sum(min(abs(asked_w), max(0.0, sign * power_w)) for power_w in (a_w, b_w)) / 2 * length_s
    return 100 * given_ws / asked_ws if asked_ws else None


def over_wh(run: Recording) -> float:
    """Return the energy beyond the POI limits, both ways together."""
    total_ws = 0.0
    for length_s, a_w, b_w in run.poi.spans():
        total_ws += _over_ws(length_s, a_w - run.export_max_w, b_w - run.export_max_w)
        total_ws += _over_ws(length_s, -a_w - run.import_max_w, -b_w - run.import_max_w)
    return total_ws / 3600


def over_s(run: Recording) -> float:
    """Return the longest unbroken time beyond a POI limit, from sample to sample."""
    longest_s, since_s = 0.0, None
    for t_s, poi_w in zip(run.poi.times_s, run.poi.values, strict=True):
        if -run.import_max_w <= poi_w <= run.export_max_w:
            since_s = None
            continue
        since_s = t_s if since_s is None else since_s
        longest_s = max(longest_s, t_s - since_s)
    return longest_s


def travel_pu(series: Series, rated_w: float) -> float:
    """Return the way of a held value in multiples of rated_w; what begins after nothing has no way."""
    ways_w = (abs(edge.end - edge.start) for edge in series.edges())
    return sum(way_w for way_w in ways_w if not isnan(way_w)) / rated_w


def _worst(measure: Callable[[Recording, Step], float | None]) -> Callable[[Recording], float | None]:
    """Return the metric of the largest value over all steps; one relieved before it was answered tells nothing."""

    def of(run: Recording) -> float | None:
        found = []
        for step in steps(run):
            value = measure(run, step)
            if value is not None or step.stood_s >= LONG_S:
                found.append(inf if value is None else value)
        return max(found, default=None)

    return of


def _over_ws(length_s: float, start: float, end: float) -> float:
    """Return the area between 0 and a line from start to end, as far as it lies above 0."""
    top = max(start, end)
    if min(start, end) >= 0:
        return (start + end) / 2 * length_s
    return 0.0 if top <= 0 else top * top / (2 * abs(start - end)) * length_s


_ROWS = (
    Metric(
        "olrt_s",
        "s",
        "open-loop response time, to 90 % of the slowest step (IEEE 1547-2018 3.1)",
        _worst(lambda run, step: response.open_loop_s(run.delivered, step)),
    ),
    Metric(
        "rise_s",
        "s",
        "10 % to 90 % of the slowest step",
        _worst(lambda run, step: response.rise_s(run.delivered, step)),
    ),
    Metric(
        "overshoot_pct",
        "%",
        "beyond the end of a step, in percent of the step",
        _worst(lambda run, step: response.overshoot_pct(run.delivered, step)),
    ),
    Metric(
        "settle_s",
        "s",
        "until the power stays within 2 % of rated of what is asked, slowest step",
        _worst(lambda run, step: response.settle_s(run.delivered, step, run.rated_w * NEAR_PCT / 100)),
    ),
    Metric("award_s", "s", "from an award, an order after none or 0 W, to 90 % of it; the slowest", award_s),
    Metric("recovery_s", "s", "from the last fault's end until back at the reference's power for 5 s", recovery_s),
    Metric("poi_over_wh", "Wh", "energy beyond the POI limits", over_wh),
    Metric("poi_over_s", "s", "longest time beyond a POI limit", over_s),
    Metric(
        "travel_pu", "pu", "way of the set points, in rated powers", lambda run: travel_pu(run.command, run.rated_w)
    ),
    Metric("mileage_pu", "pu", "way of what is asked, in rated powers", lambda run: travel_pu(run.asked, run.rated_w)),
    Metric("delivered_pct", "%", "of the asked energy that was delivered", delivered_pct),
    Metric("rte_pct", "%", "AC round-trip efficiency with the stored energy returned by reckoning", round_trip_pct),
    *tracking.ROWS,
)

METRICS: dict[str, Metric] = {row.name: row for row in _ROWS}
