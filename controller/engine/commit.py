"""Choose the units that run and the total that they can reach (control 3, layer A).

A unit with a least power gives nothing between 0 and it, so that what the units reach together is a union of spans.
Laws:
- Nobody feeds another: all units that are free to rest have one sign, that of what the forced ones leave of the target.
  A unit is forced where 0 W lies outside its bounds. What its least power is too much the others take only where the
  site's bounds demand it.
- The reached total is the one next to the target, inside the site's bounds wherever any is; the nearer to 0 of two. In
  the gap next to 0 the units rest, for less than the least power was asked.
- No unit goes beyond its bounds for its least power: a forced one whose bounds lie inside its dead zone rests.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from controller.model import Site

SPANS_MOST = 100  # of reachable totals, kept on the way: enough for any six units, and for any number of like ones

Span = tuple[int, int]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One unit: its bounds, its least power, its usable energy, and whether it runs, since when."""

    low_w: int
    high_w: int
    min_w: int
    weight: int
    committed: bool
    committed_ms: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the units are to reach together, and the bounds in which to share it; in the order of the units."""

    target_w: int
    lows_w: Sequence[int]
    highs_w: Sequence[int]
    committed: tuple[bool, ...]  # who runs
    because: str  # why target_w is not the one asked for, "" where it is


class _Row(NamedTuple):
    """A unit that may run or rest, and the powers it takes when it runs. stays: it began to run and goes on."""

    place: int
    least_w: int
    most_w: int
    stays: bool


def commit(site: Site, units: Sequence[Candidate], target_w: int, bounds_w: Span, now_ms: int) -> Plan:
    """Return the plan for target_w inside bounds_w, the site's envelope.

    With rest_units as few units run as give target_w and the headroom: those that are forced, then those that run, then
    those with more usable energy; a unit that began to run goes on for dwell_s. Else all run whose least powers fit.
    """
    wished_w = max(bounds_w[0], min(target_w, bounds_w[1]))
    if not site.commitment.rest_units and not any(unit.min_w for unit in units):
        return all_run([unit.low_w for unit in units], [unit.high_w for unit in units], wished_w)
    forced = [unit for unit in units if _forced(unit) and _running(unit, 1) != (0, 0)]
    low_w, high_w = sum(unit.low_w for unit in forced), sum(unit.high_w for unit in forced)
    sign = -1 if wished_w < low_w or (wished_w < 0 and wished_w <= high_w) else 1
    plan = _one_way(site, units, wished_w, bounds_w, now_ms, sign)
    if _breach_w(plan.target_w, bounds_w) == 0:
        return plan
    # The least power of a forced unit is more than the site may take: the others make up for it, if they can.
    other = _one_way(site, units, wished_w, bounds_w, now_ms, -sign)
    return min(plan, other, key=lambda plan: _breach_w(plan.target_w, bounds_w))


def all_run(lows_w: Sequence[int], highs_w: Sequence[int], wished_w: int) -> Plan:
    """Return the plan of units that all run and have no least power: what they reach is one span."""
    reached_w = max(sum(lows_w), min(wished_w, sum(highs_w)))
    return Plan(
        target_w=reached_w,
        lows_w=lows_w,
        highs_w=highs_w,
        committed=(True,) * len(lows_w),
        because="" if reached_w == wished_w else f"the units get no nearer than {reached_w} W",
    )


def _toward(span_w: Span, sign: int) -> Span:
    """Return a span as it is seen with sign."""
    return span_w if sign > 0 else (-span_w[1], -span_w[0])


def _breach_w(total_w: int, bounds_w: Span) -> int:
    return max(bounds_w[0] - total_w, 0, total_w - bounds_w[1])


def _one_way(site: Site, units: Sequence[Candidate], wished_w: int, bounds_w: Span, now_ms: int, sign: int) -> Plan:
    """Return the plan in which the units that are free to rest have power of this sign, or none."""
    spans_w = [_running(unit, sign) if _forced(unit) else (0, 0) for unit in units]
    base_w = sum(low_w for low_w, _ in spans_w), sum(high_w for _, high_w in spans_w)
    rows = _rows(site, units, sign, now_ms)
    reached_w, because = sign * wished_w, ""
    crew = _crew(site, base_w, rows, reached_w, [])
    low_w, high_w = _sums(base_w, crew)
    if not low_w <= reached_w <= high_w:
        layers = _layers(base_w, rows, reached_w)
        reached_w, because = _nearest(layers[-1], len(rows), reached_w, _toward(bounds_w, sign), sign)
        crew = _crew(site, base_w, rows, reached_w, _picked(layers, rows, reached_w))
    for row in crew:
        spans_w[row.place] = (row.least_w, row.most_w)
    spans_w = [_toward(span_w, sign) for span_w in spans_w]
    return Plan(
        target_w=sign * reached_w,
        lows_w=[low_w for low_w, _ in spans_w],
        highs_w=[high_w for _, high_w in spans_w],
        committed=tuple(span_w != (0, 0) for span_w in spans_w),
        because=because,
    )


def _forced(unit: Candidate) -> bool:
    return unit.low_w > 0 or unit.high_w < 0


def _running(unit: Candidate, sign: int) -> Span:
    """Return the powers of a unit that runs, seen with sign; (0, 0) where its bounds leave it none."""
    low_w, high_w = _toward((unit.low_w, unit.high_w), sign)
    if high_w < 0:
        return (low_w, min(high_w, -unit.min_w)) if low_w <= -unit.min_w else (0, 0)
    least_w = max(low_w, unit.min_w)
    return (least_w, high_w) if least_w <= high_w else (0, 0)


def _rows(site: Site, units: Sequence[Candidate], sign: int, now_ms: int) -> list[_Row]:
    """Return the units that are free to rest and have power in the direction, whoever is preferred first."""
    rows = []
    for place, unit in enumerate(units):
        least_w, most_w = _running(unit, sign)
        if most_w > 0 and not _forced(unit):
            stays = unit.committed and now_ms - unit.committed_ms < site.commitment.dwell_s * 1000
            rows.append(_Row(place, least_w, most_w, stays))
    return sorted(rows, key=lambda row: (not row.stays, not units[row.place].committed, -units[row.place].weight))


def _crew(site: Site, base_w: Span, rows: Sequence[_Row], wished_w: int, begun: Sequence[_Row]) -> list[_Row]:
    """Return who runs for wished_w beside the forced units, beginning with those begun.

    Going down the rows whoever is wanted joins, as long as the least powers together do not pass wished_w; then, going
    up again, whoever was made needless by a later one leaves.
    """
    resting = site.commitment.rest_units
    needed_w = wished_w + -(-abs(wished_w) * site.commitment.headroom_pct // 100)
    crew, low_w, high_w = list(begun), *_sums(base_w, begun)
    places = {row.place for row in begun}
    for row in rows:
        wanted = row.stays or not resting or high_w < needed_w
        if wanted and row.place not in places and low_w + row.least_w <= wished_w:
            crew.append(row)
            low_w, high_w = low_w + row.least_w, high_w + row.most_w
    if not resting:
        return crew
    left = []
    for row in reversed(crew):
        if row.stays or high_w - row.most_w < needed_w:
            left.append(row)
        else:
            high_w -= row.most_w
    return left


def _sums(base_w: Span, rows: Sequence[_Row]) -> Span:
    return base_w[0] + sum(row.least_w for row in rows), base_w[1] + sum(row.most_w for row in rows)


def _layers(base_w: Span, rows: Sequence[_Row], wished_w: int) -> list[list[Span]]:
    """Return what can be reached with none of the rows, with the first, with the first two, and so on."""
    layers = [[base_w]]
    for row in rows:
        spans = layers[-1]
        layers.append(
            _joined([*spans, *((low_w + row.least_w, high_w + row.most_w) for low_w, high_w in spans)], wished_w)
        )
    return layers


def _joined(spans: Sequence[Span], wished_w: int) -> list[Span]:
    """Return spans in their order, those that touch as one, up to the first that reaches wished_w: rows only add."""
    joined: list[Span] = []
    for low_w, high_w in sorted(spans):
        if joined and low_w <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high_w))
        elif joined and joined[-1][1] >= wished_w:
            break
        else:
            joined.append((low_w, high_w))
    # Of too many every second one is let go, or more; those next to wished_w are kept.
    return joined[: -2 : 1 + len(joined) // SPANS_MOST] + joined[-2:]


def _nearest(spans: Sequence[Span], unit_count: int, wished_w: int, bounds_w: Span, sign: int) -> tuple[int, str]:
    """Return the total to reach for wished_w, which lies inside bounds_w, and why it is another one."""
    below_w = max((min(high_w, wished_w) for low_w, high_w in spans if low_w <= wished_w), default=None)
    above_w = min((max(low_w, wished_w) for low_w, high_w in spans if high_w >= wished_w), default=None)
    if below_w == wished_w:
        return wished_w, ""
    if below_w is None or above_w is None:
        end_w = spans[0][0] if below_w is None else below_w
        return end_w, f"the units get no nearer than {sign * end_w} W"
    if below_w == 0:
        because = f"{unit_count} unit{'s need' if unit_count > 1 else ' needs'} {above_w} W at least"
        if bounds_w[0] <= 0:
            return 0, because
    else:
        because = f"the units' least powers leave out what is between {sign * below_w} W and {sign * above_w} W"
    nearest_w = min(below_w, above_w, key=lambda w: (_breach_w(w, bounds_w), abs(w - wished_w), abs(w)))
    return nearest_w, because


def _picked(layers: Sequence[Sequence[Span]], rows: Sequence[_Row], reached_w: int) -> list[_Row]:
    """Return rows whose spans, with the base, reach reached_w; the later ones only where it takes them."""
    picked = []
    for row, spans in zip(reversed(rows), reversed(layers[:-1]), strict=True):
        if any(low_w <= reached_w <= high_w for low_w, high_w in spans):
            continue
        picked.append(row)
        first_w, last_w = reached_w - row.most_w, reached_w - row.least_w
        reached_w = next(max(low_w, first_w) for low_w, high_w in spans if low_w <= last_w and high_w >= first_w)
    return picked
