"""The step itself: from a snapshot to a decision."""

from collections.abc import Sequence

import msgspec

from controller.engine import load, trust, watch
from controller.engine.fold import Envelope, fold
from controller.engine.share import share
from controller.model import (
    Command,
    Decision,
    Limit,
    Meter,
    Share,
    Sight,
    Site,
    Snapshot,
    Standing,
    State,
    Unit,
    UnitSight,
)
from controller.programs import chosen, order_limits
from controller.programs import target as utility_target
from controller.rules import RULES
from controller.rules.energy_barrier import error_wh

MOVE_PCT = 1  # of nameplate: a smaller change of the target does not count as a move of our own
MOVE_W = 50


def step(site: Site, state: State, snapshot: Snapshot) -> tuple[State, Decision]:
    """Decide once. Never raises for anything a snapshot may hold; takes no time from anywhere but the snapshot."""
    readings = {reading.device: reading for reading in snapshot.readings}
    state = msgspec.structs.replace(state, trust=trust.look(site, state, snapshot, readings))
    faults = watch.standing(state.standing, watch.conditions(site, state, snapshot, readings), snapshot.now_ms)
    meter = readings.get(site.poi.meter)
    meter = meter if isinstance(meter, Meter) else None
    seen_load = load.estimate(site, state, snapshot, meter)
    sight = Sight(
        site=site,
        snapshot=snapshot,
        meter=meter,
        units=watch.sights(site, readings, faults),
        load_low_w=seen_load.low_w,
        load_high_w=seen_load.high_w,
        balance_w=seen_load.balance_w,
    )
    decision = _decide(sight, state, faults)
    moved = state.target_w is None or abs(decision.target_w - state.target_w) > _noise_w(site.unit)
    after = State(
        decided_ms=snapshot.now_ms,
        target_w=decision.target_w,
        shares=decision.shares,
        moved_ms=snapshot.now_ms if moved else state.moved_ms,
        net_load_w=seen_load.net_load_w,
        net_load_sampled_ms=seen_load.sampled_ms,
        balance_w=seen_load.balance_w,
        trust=state.trust,
        standing=faults,
    )
    return after, decision


def _decide(sight: Sight, before: State, faults: tuple[Standing, ...]) -> Decision:
    envelope, hard, soft = _fold_all(sight)
    low, high = envelope.bounds()
    wish = chosen(sight)
    target = Envelope(envelope.low_w, envelope.high_w)
    target.add(wish)
    wished_w = target.clamp(0)
    ramped_w = _ramped(sight, before, wished_w)
    target_w = envelope.clamp(ramped_w)
    if target_w == ramped_w != wished_w:
        why = "ramp"
    elif wish.low_w <= target_w <= wish.high_w:
        why = "wish"
    else:
        why = low.rule if target_w == low.value_w else high.rule
    shares = _share(target_w, sight.units, hard, soft)
    asked = utility_target(sight)
    return Decision(
        now_ms=sight.snapshot.now_ms,
        mode=wish.rule,
        target_w=target_w,
        wish_w=max(wish.low_w, min(0, wish.high_w)),
        wish_because=wish.because,
        why=why,
        low=low,
        high=high,
        asked_w=None if asked is None else asked.low_w,
        net_load_w=sight.load_low_w,
        stored_wh=_stored_wh(sight.units),
        sellable_wh=_sellable_wh(sight),
        unmet=tuple(envelope.unmet + target.unmet),
        faults=faults,
        shares=shares,
        # Nothing is written to an inverter that is not heard, or that is released: its own watchdog has it.
        commands=tuple(
            _command(seen, part)
            for seen, part in zip(sight.units, shares, strict=True)
            if seen.inverter is not None and not seen.released
        ),
    )


def _fold_all(sight: Sight) -> tuple[Envelope, list[tuple[int, int]], list[Envelope]]:
    """Return the batteries' envelope of classes 0-5, the units' ends of classes 0-1 and their envelopes of 0-4."""
    units = sight.units
    soft = [Envelope(-seen.unit.charge_max_w, seen.unit.discharge_max_w) for seen in units]
    places = {seen.unit.name: place for place, seen in enumerate(units)}
    total = Envelope(sum(e.low_w for e in soft), sum(e.high_w for e in soft))
    hard: list[tuple[int, int]] = []
    for priority, limits in RULES:
        if priority == 2:
            hard = [(e.low_w, e.high_w) for e in soft]
        of_site = []
        for limit in limits(sight):
            if limit.unit:
                soft[places[limit.unit]].add(limit)
            else:
                of_site.append(limit)
        _add_units(total, soft, priority)
        fold(total, of_site)
    fold(total, order_limits(sight))
    for envelope in soft:
        total.unmet += envelope.unmet
    return total, hard, soft


def _add_units(total: Envelope, units: Sequence[Envelope], priority: int) -> None:
    """Project what the units together may do into the site's envelope, named by the unit that lost most."""
    low_w = high_w = 0
    for envelope in units:
        low_w += envelope.low_w
        high_w += envelope.high_w
    if low_w > total.low_w:
        lows = [e.low for e in units if e.low is not None and e.low.priority == priority]
        if lows:
            total.add(_together(max(lows, key=lambda limit: limit.low_w), low_w, max(low_w, total.high_w)))
    if high_w < total.high_w:
        highs = [e.high for e in units if e.high is not None and e.high.priority == priority]
        if highs:
            total.add(_together(min(highs, key=lambda limit: limit.high_w), min(high_w, total.low_w), high_w))


def _together(limit: Limit, low_w: int, high_w: int) -> Limit:
    return Limit(
        rule=limit.rule,
        priority=limit.priority,
        low_w=low_w,
        high_w=high_w,
        because=limit.because,
        unit=limit.unit,
    )


def _ramped(sight: Sight, state: State, target_w: int) -> int:
    rate_w_per_s = sight.site.ramp.rate_w_per_s
    if rate_w_per_s is None:
        return target_w
    before_w, elapsed_ms = state.target_w, 0
    if before_w is None or state.decided_ms is None:
        before_w = sum(seen.inverter.power_w or 0 for seen in sight.units if seen.inverter is not None)
    else:
        elapsed_ms = max(0, sight.snapshot.now_ms - state.decided_ms)
    most_w = rate_w_per_s * elapsed_ms // 1000
    return max(before_w - most_w, min(target_w, before_w + most_w))


def _share(
    target_w: int, units: Sequence[UnitSight], hard: Sequence[tuple[int, int]], soft: Sequence[Envelope]
) -> tuple[Share, ...]:
    """Share within the bounds of classes 0-4; what a stronger class still demands goes beyond the energy bounds."""
    lows_w, highs_w = [e.low_w for e in soft], [e.high_w for e in soft]
    charging = target_w < 0
    weights = [_usable_wh(seen, charging) for seen in units]
    powers_w = share(target_w, lows_w, highs_w, weights)
    rest_w = target_w - sum(powers_w)
    if rest_w:
        more = share(
            rest_w,
            [low_w - power_w for (low_w, _), power_w in zip(hard, powers_w, strict=True)],
            [high_w - power_w for (_, high_w), power_w in zip(hard, powers_w, strict=True)],
            weights,
        )
        powers_w = [power_w + extra_w for power_w, extra_w in zip(powers_w, more, strict=True)]
    assert sum(powers_w) == target_w
    return tuple(
        Share(unit=seen.unit.name, low_w=e.low_w, high_w=e.high_w, power_w=power_w)
        for seen, e, power_w in zip(units, soft, powers_w, strict=True)
    )


def _usable_wh(seen: UnitSight, charging: bool) -> int:
    if seen.energy_wh is None:
        return 1
    return max(1, seen.unit.capacity_wh - seen.energy_wh if charging else seen.energy_wh)


def _command(seen: UnitSight, part: Share) -> Command:
    valid_ms = (seen.unit.watchdog_s or 1) * 1000
    return Command(device=seen.unit.inverter, power_w=part.power_w, running=not seen.stopped, valid_ms=valid_ms)


def _noise_w(units: Sequence[Unit]) -> int:
    return max(MOVE_W, sum(max(unit.charge_max_w, unit.discharge_max_w) for unit in units) * MOVE_PCT // 100)


def _stored_wh(units: Sequence[UnitSight]) -> int | None:
    known = [seen.energy_wh for seen in units]
    return None if None in known else sum(wh for wh in known if wh is not None)


def _sellable_wh(sight: Sight) -> int | None:
    """Return what lies above floor and reserve on the bad side of the estimate, 0 for a stopped unit."""
    energy = sight.site.energy
    total_wh = 0
    for seen in sight.units:
        if seen.energy_wh is None:
            return None
        if not seen.stopped:
            keep_wh = -(-seen.unit.capacity_wh * max(energy.floor_pct, energy.reserve_pct) // 100)
            total_wh += max(0, seen.energy_wh - error_wh(sight, seen.unit) - keep_wh)
    return total_wh
