"""What the site could do for whoever asks, out of the envelope of classes 0-4: never the customer's reserve.

- Power: what the engine would give at once to an order for all of it; a ramp is the way there and does not lessen it,
  and neither does a limit of the utility's own (class 5). What a stronger class would take out of the reserve is not in
  it, nor is a unit that is not at anybody's disposal: stopped, held, being brought to 0 W, not running, released.
- Energy: at the POI, until reserve or ceiling, with the stored energy on its bad side, at the lowest efficiency when
  it is discharged and without losses when it is charged. A unit that has no power has none. Where it is the grid
  connection that leaves no power, the energy is told all the same: it is there as soon as the load lets it out.
- How long: for so long HELD_PCT of the power are there at least, then the barrier tapers it. So a unit that tapers
  already has 0 s, and power times time is less than the energy. What will warm up or sag in the cells is not foreseen.
"""

from collections.abc import Sequence
from operator import attrgetter

import msgspec

from controller.engine.envelopes import HIGHS, LOWS, OF_UNITS, Envelopes, UnitEnvelope, told
from controller.engine.fold import named
from controller.model import Availability, Curve, Limit, Sight, Site, UnitSight
from controller.rules.curve import ALL_PCT
from controller.rules.energy_barrier import horizon_ms

HELD_PCT = 95  # of several units one that tapers early takes little of the power with it
NO_END_WH = 1_000_000_000  # ten times the largest unit that a site file may name


class Part(msgspec.Struct, frozen=True):
    """One unit's part in one direction, as magnitudes."""

    power_w: int  # negative: it is forced the other way
    least_w: int  # less it could not give
    lost_w: int  # in the envelope, but at nobody's disposal
    energy_wh: int = 0
    whole_wh: int = 0  # of it, what comes before a curve shrinks the power
    taper_s: int = 0
    held_s: int = 0  # how long it can give power_w


class Way(msgspec.Struct, frozen=True):
    """One direction, as magnitudes: what the site's envelope leaves in it, who made that end, the units' parts."""

    rule: str  # as the units' limits together are named
    site_w: int
    end: Limit | None
    parts: list[Part]
    sum_w: int  # of the parts' power
    lost_w: int
    forced_w: int  # of those that are forced the other way, <= 0


_LEAST = attrgetter("least_w")


class Own(msgspec.Struct, frozen=True):
    """What one unit has: its parts in discharging and charging, and what of its energy lies above floor and reserve."""

    out: Part
    into: Part
    sellable_wh: int | None  # 0 for a unit that stands still, None where its energy is not known


def available(sight: Sight, folded: Envelopes, owns: Sequence[Own]) -> Availability:
    """Return the power that can be had at once, the energy, and how long that power is there, for both directions."""
    stage = folded.physical
    out = _way(HIGHS, stage.high_w, stage.high, [own.out for own in owns])
    into = _way(LOWS, -stage.low_w, stage.low, [own.into for own in owns])
    discharge_w, charge_w = _power_w(out), _power_w(into)
    return Availability(
        discharge_w=discharge_w,
        charge_w=charge_w,
        discharge_wh=sum([part.energy_wh for part in out.parts]),  # noqa: C419 - twice as fast as a generator
        charge_wh=sum([part.energy_wh for part in into.parts]),  # noqa: C419
        discharge_s=_held_s(out, discharge_w),
        charge_s=_held_s(into, charge_w),
        discharge_because=_because(sight, folded.units, out, discharge_w),
        charge_because=_because(sight, folded.units, into, charge_w),
    )


def _way(rule: str, site_w: int, end: Limit | None, parts: list[Part]) -> Way:
    powers_w = [part.power_w for part in parts]
    losts_w = [part.lost_w for part in parts]
    forced_w = sum(power_w for power_w in powers_w if power_w < 0) if min(powers_w) < 0 else 0
    return Way(rule, site_w, end, parts, sum(powers_w), sum(losts_w), forced_w)


def sellable_wh(owns: Sequence[Own]) -> int | None:
    """Return what lies above floor and reserve on the bad side of the estimate; None where any energy is not known."""
    known = [own.sellable_wh for own in owns]
    return None if None in known else sum(wh for wh in known if wh is not None)


def own(site: Site, seen: UnitSight, unit: UnitEnvelope) -> Own:
    """Return what one unit has in the envelope that its rules leave to it."""
    curves, efficiency_pct = seen.unit.derating, seen.unit.efficiency_pct
    above_wh = _above_wh(site, seen)
    full_wh = _whole_wh(seen, curves.discharge_by_soc_pct[::-1], -1) * efficiency_pct // 100
    room_wh, empty_wh = _room_wh(site, seen), _whole_wh(seen, curves.charge_by_soc_pct, 1)
    return Own(
        _part(site, seen, unit.soft.high_w, (above_wh * efficiency_pct // 100, full_wh)),
        _part(site, seen, -unit.soft.low_w, (room_wh, empty_wh)),
        None if seen.energy_wh is None else 0 if seen.stopped else above_wh,
    )


def _part(site: Site, seen: UnitSight, power_w: int, energies_wh: tuple[int, int]) -> Part:
    """Return a unit's part. energies_wh: all it can give, and of it what comes before a curve shrinks its power."""
    least_w = seen.unit.min_power_w
    if _away(seen):
        return Part(min(0, power_w), least_w, max(0, power_w))
    if power_w <= 0:
        return Part(power_w, least_w, 0)
    energy_wh, whole_wh = energies_wh
    taper_s = -(-horizon_ms(seen.unit, site.cycle_ms, site.energy.taper_s) // 1000)
    held_s = _lasts_s(energy_wh, whole_wh, taper_s, power_w)
    return Part(power_w, least_w, 0, energy_wh, whole_wh, taper_s, held_s)


def _lasts_s(energy_wh: int, whole_wh: int, taper_s: int, power_w: int) -> int:
    """Return how long a unit can give a power that it can give now."""
    return max(0, min(energy_wh * 3600 // power_w - taper_s, whole_wh * 3600 // power_w))


def _away(seen: UnitSight) -> str:
    """Return why the unit is at nobody's disposal, "" where it is."""
    released = "nothing is written to its inverter any more" if seen.released else ""
    return seen.stopped or seen.held or seen.fading or released or ("" if seen.phase == "run" else "it does not run")


def _power_w(way: Way) -> int:
    """Return what the units can give together inside the site's envelope."""
    most_w = max(0, min(way.site_w, way.sum_w + way.lost_w) - way.lost_w)
    return _reached_w(way, most_w) if max(map(_LEAST, way.parts)) else most_w


def _reached_w(way: Way, most_w: int) -> int:
    """Return a power up to most_w that the units reach in spite of their least powers, the strongest units first."""
    low_w = high_w = sum(min(part.power_w, -part.least_w) for part in way.parts if part.power_w < 0)
    for part in sorted(way.parts, key=lambda part: -part.power_w):
        if part.least_w <= part.power_w and low_w + part.least_w <= most_w and part.power_w > 0:
            low_w, high_w = low_w + part.least_w, high_w + part.power_w
    return max(0, min(most_w, high_w))


def _held_s(way: Way, power_w: int) -> int:
    """Return how long HELD_PCT of the power is there: the units that last longest suffice for it until then."""
    if power_w == 0:
        return 0
    most_w = power_w - way.forced_w  # no unit gives more than the others take and the site is given
    lasting = [_lasting(part, most_w) for part in way.parts if part.power_w > 0]
    left_w, held_s = -(-power_w * HELD_PCT // 100) - way.forced_w, 0
    for lasts_s, unit_w in sorted(lasting, reverse=True):
        if left_w <= 0:
            break
        left_w, held_s = left_w - unit_w, lasts_s
    return held_s


def _lasting(part: Part, most_w: int) -> tuple[int, int]:
    """Return how long a unit gives its power, or most_w where that is less."""
    if part.power_w <= most_w:
        return part.held_s, part.power_w
    return _lasts_s(part.energy_wh, part.whole_wh, part.taper_s, most_w), most_w


def _because(sight: Sight, units: Sequence[UnitEnvelope], way: Way, power_w: int) -> str:
    """Return why the power is less than the nameplate, "" where it is not."""
    end = way.end
    if way.sum_w + way.lost_w < way.site_w:  # a stronger class of the site would take more than the units' rules leave
        end = told(Limit(rule=way.rule, priority=OF_UNITS[-1], low_w=0, high_w=0, because=""), (), units)
    reasons = [] if end is None else [f"{named(end)}: {end.because}"]
    if way.lost_w:
        reasons += [
            f"{seen.unit.name} is not to be had: {_away(seen)}"
            for seen, part in zip(sight.units, way.parts, strict=True)
            if part.lost_w
        ]
    if power_w < min(way.site_w, way.sum_w + way.lost_w) - way.lost_w:
        reasons.append("the units' least powers leave no more")
    return "; ".join(reasons)


def _above_wh(site: Site, seen: UnitSight) -> int:
    """Return what is stored above floor and reserve at least, >= 0."""
    energy = site.energy
    reserve_bp = 100 * energy.island_pct if seen.islanded else max(100 * energy.reserve_pct, seen.reserve_bp)
    keep_wh = -(-seen.capacity_wh * max(100 * energy.floor_pct, reserve_bp) // 10_000)
    return 0 if seen.low_wh is None else max(0, seen.low_wh - keep_wh)


def _room_wh(site: Site, seen: UnitSight) -> int:
    """Return what can be stored up to the ceiling at least, >= 0."""
    ceiling_pct = 100 if seen.full_due else site.energy.ceiling_pct
    return 0 if seen.high_wh is None else max(0, seen.capacity_wh * ceiling_pct // 100 - seen.high_wh)


def _whole_wh(seen: UnitSight, curve: Curve, sign: int) -> int:
    """Return the energy in the cells until the curve leaves less than all of the power, >= 0.

    curve: by percent state of charge, from the end where power is free; sign: +1 charging, -1 discharging.
    """
    whole_pct = None
    for value_pct, left_pct in curve:
        if left_pct < ALL_PCT:
            break
        whole_pct = value_pct
    else:
        return NO_END_WH
    if whole_pct is None or seen.soc_bp is None:
        return 0
    return max(0, sign * (whole_pct * 100 - seen.soc_bp)) * seen.capacity_wh // 10_000
