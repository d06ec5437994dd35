"""The envelopes: what the rules of classes 0-4 leave to each unit, and with the orders to all of them together.

What binds is told so that it is true: a bound names every rule without which it would lie elsewhere, and no other one.
Of units together that are all whose ends are in the sum: the rule is that of the unit that lost most in the class that
moved the sum last, the others stand behind "also" in the reason. Of rules with the same value the strongest is named.
"""

from collections.abc import Sequence
from operator import attrgetter

import msgspec

from controller.engine.fold import Envelope, fold, named
from controller.model import Limit, Sight, Site, UnitSight, Unmet
from controller.programs import order_limits
from controller.rules import SITE_RULES, UNIT_RULES
from controller.rules.unbounded import UNBOUNDED_W

CLASSES = range(5)
OF_UNITS = tuple(sorted({priority for priority, _ in UNIT_RULES}))
# As a limit's rule: what the units together may do, until it is told who stands behind it.
LOWS, HIGHS = "lows", "highs"
_LOW_END, _HIGH_END = attrgetter("low", "low_also", "low_w"), attrgetter("high", "high_also", "high_w")
HARD = 2  # the class up to which a unit's own bounds hold whatever the site demands: of class 2 it is its phase's


class Stage(msgspec.Struct, frozen=True):
    """An envelope after one class. low and high: the limits that bind, None = nameplate; *_also as in Envelope."""

    low_w: int
    high_w: int
    low: Limit | None
    high: Limit | None
    low_also: tuple[Limit, ...] = ()
    high_also: tuple[Limit, ...] = ()


class UnitEnvelope(msgspec.Struct, frozen=True):
    """A unit's limits, its envelope after each class, and what it could not meet."""

    limits: tuple[Limit, ...]
    stages: tuple[Stage, ...]
    unmet: tuple[Unmet, ...]

    @property
    def soft(self) -> Stage:
        """After all classes."""
        return self.stages[-1]

    @property
    def hard(self) -> Stage:
        """After the unit's own safety and equipment, and what is left to it on its phase."""
        return self.stages[HARD]


class Envelopes(msgspec.Struct, frozen=True):
    """The batteries' envelope of classes 0-5 together, that of classes 0-4 (what could be had), and each unit's."""

    total: Envelope
    physical: Stage
    units: tuple[UnitEnvelope, ...]


def unit_envelope(site: Site, seen: UnitSight) -> UnitEnvelope:
    """Return what the unit's own rules leave to it."""
    found = (rule(site, seen) for _, rule in UNIT_RULES)
    return _folded(seen, tuple(limit for limit in found if limit is not None))


def envelopes(sight: Sight, units: tuple[UnitEnvelope, ...]) -> Envelopes:
    """Fold all limits, strongest class first; within a class the units' own before the site's."""
    of_site = [[limit for rule in rules for limit in rule(sight)] for rules in SITE_RULES]
    if any(limit.unit for limits in of_site for limit in limits):
        units = tuple(
            _folded(seen, _with(unit.limits, [one for row in of_site for one in row if one.unit == seen.unit.name]))
            for seen, unit in zip(sight.units, units, strict=True)
        )
    total = Envelope(
        -sum(seen.unit.charge_max_w for seen in sight.units), sum(seen.unit.discharge_max_w for seen in sight.units)
    )
    sum_w = total.low_w, total.high_w
    for priority in CLASSES:
        if priority in OF_UNITS or any(limit.unit for limit in of_site[priority]):
            sum_w = _add_units(total, units, priority, sum_w)
        fold(total, [limit for limit in of_site[priority] if not limit.unit])
    _tell(total, units)
    physical = _stage(total)
    fold(total, order_limits(sight))
    _tell(total, units)
    for unit in units:
        total.unmet += unit.unmet
    return Envelopes(total, physical, units)


def _with(limits: tuple[Limit, ...], more: Sequence[Limit]) -> tuple[Limit, ...]:
    """Return a unit's limits with those that the site lays on it, strongest class first."""
    return tuple(sorted((*limits, *more), key=lambda limit: limit.priority))


def _folded(seen: UnitSight, limits: tuple[Limit, ...]) -> UnitEnvelope:
    envelope, stages = Envelope(-seen.unit.charge_max_w, seen.unit.discharge_max_w), list[Stage]()
    left = iter(limits)
    limit = next(left, None)
    for priority in CLASSES:
        while limit is not None and limit.priority <= priority:
            envelope.add(limit)
            limit = next(left, None)
        stages.append(_stage(envelope))
    return UnitEnvelope(limits, tuple(stages), tuple(envelope.unmet))


def _stage(envelope: Envelope) -> Stage:
    return Stage(envelope.low_w, envelope.high_w, envelope.low, envelope.high, envelope.low_also, envelope.high_also)


def _add_units(
    total: Envelope, units: Sequence[UnitEnvelope], priority: int, before_w: tuple[int, int]
) -> tuple[int, int]:
    """Project what the units together may do into the site's envelope and return it. before_w: after the last class."""
    low_w = high_w = 0
    for unit in units:
        stage = unit.stages[priority]
        low_w, high_w = low_w + stage.low_w, high_w + stage.high_w
    if low_w > max(total.low_w, before_w[0]):
        _add(total, Limit(rule=LOWS, priority=priority, low_w=low_w, high_w=UNBOUNDED_W, because=""), units)
    if high_w < min(total.high_w, before_w[1]):
        _add(total, Limit(rule=HIGHS, priority=priority, low_w=-UNBOUNDED_W, high_w=high_w, because=""), units)
    return low_w, high_w


def _add(total: Envelope, limit: Limit, units: Sequence[UnitEnvelope]) -> None:
    """Add what the units together may do; where it cannot be met it is told at once who stands behind it."""
    unmet = limit.low_w > total.high_w or limit.high_w < total.low_w
    total.add((told(limit, (), units) or limit) if unmet else limit)


def _tell(total: Envelope, units: Sequence[UnitEnvelope]) -> None:
    """Put into the envelope who stands behind its ends."""
    total.low, total.low_also = told(total.low, total.low_also, units), ()
    total.high, total.high_also = told(total.high, total.high_also, units), ()


def told(limit: Limit | None, also: Sequence[Limit], units: Sequence[UnitEnvelope]) -> Limit | None:
    """Return a limit with all the others in its reason on which its end hangs, each rule once."""
    if limit is None or not (also or limit.rule in (LOWS, HIGHS)):
        return limit
    first, *others = [behind for one in (limit, *also) for behind in _behind(one, units)]
    rules, texts = {first.rule}, [first.because]
    for other in others:
        if other.rule not in rules:
            rules.add(other.rule)
            texts.append(f"also {named(other)}: {other.because}")
    return msgspec.structs.replace(first, low_w=limit.low_w, high_w=limit.high_w, because="; ".join(texts))


def _behind(limit: Limit, units: Sequence[UnitEnvelope]) -> list[Limit]:
    """Return the limits behind what the units together may do, the one it is named by first; else the limit itself."""
    if limit.rule not in (LOWS, HIGHS):
        return [limit]
    lows = limit.rule == LOWS
    end_of = _LOW_END if lows else _HIGH_END
    ends = [end_of(unit.stages[limit.priority]) for unit in units]
    last = [end_of(unit.stages[-1]) for unit in units]
    # A later class that left the sum alone may yet have been kept from moving it: then that is told in its stage.
    if any(also for _, also, _ in last) and sum(value_w for _, _, value_w in last) == sum(w for _, _, w in ends):
        ends = last
    bind = [end for end, _, _ in ends if end is not None]
    moved = [end for end in bind if end.priority == limit.priority] or bind
    first = max(moved, key=lambda one: one.low_w) if lows else min(moved, key=lambda one: one.high_w)
    return [first, *bind, *(one for _, also, _ in ends for one in also)]
