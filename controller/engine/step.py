"""The step itself: from a snapshot to a decision."""

from collections.abc import Mapping, Sequence

import msgspec

from controller.engine import load, trust, watch
from controller.engine.availability import available, own, sellable_wh
from controller.engine.commit import Candidate, Plan, all_run, commit
from controller.engine.envelopes import Envelopes, UnitEnvelope, envelopes
from controller.engine.fold import Envelope
from controller.engine.ramp import ramped
from controller.engine.reactive import room_var, share_var
from controller.engine.share import share
from controller.engine.units import Judged, judged, ordered_var
from controller.model import (
    Active,
    AnyReading,
    Command,
    Decision,
    Meter,
    Remembered,
    Share,
    Sight,
    Site,
    Snapshot,
    Standing,
    State,
    Unit,
    UnitSight,
    Unmet,
)
from controller.programs import chosen
from controller.programs import target as utility_target
from controller.rules.consumption_limit import consumed
from controller.rules.envelope import operated
from controller.rules.pq_circle import apparent_max_va

MOVE_PCT = 1  # of nameplate: a smaller change of the target does not count as a move of our own
MOVE_W = 50


def step(site: Site, state: State, snapshot: Snapshot) -> tuple[State, Decision]:
    """Decide once. Never raises for anything a snapshot may hold; takes no time from anywhere but the snapshot."""
    readings = {reading.device: reading for reading in snapshot.readings}
    active = watch.acting(site, readings)
    state = _informed(site, state, snapshot, readings, active)
    faults, seen_load, units, sight = _look(site, state, snapshot, readings, active)
    decision, rest_mw, remembered = _decide(sight, units, state, faults)
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
        units=remembered,
        ramp_rest_mw=rest_mw,
        storm_since_ms=state.storm_since_ms,
        trend_w_per_s=seen_load.trend_w_per_s,
        operated=state.operated,
        consumed=state.consumed,
    )
    return after, decision


def _informed(
    site: Site, state: State, snapshot: Snapshot, readings: Mapping[str, AnyReading], active: tuple[Active, ...]
) -> State:
    """Take the site's own memory on by this snapshot: trust in the meter, limits with a ramp or heartbeat, storm."""
    storm = any(one.means == "storm" for one in active)
    return msgspec.structs.replace(
        state,
        trust=trust.look(site, state, snapshot, readings),
        operated=operated(site, state.operated, snapshot),
        consumed=consumed(site, state.consumed, snapshot),
        storm_since_ms=(snapshot.now_ms if state.storm_since_ms is None else state.storm_since_ms) if storm else None,
    )


def _look(
    site: Site, state: State, snapshot: Snapshot, readings: Mapping[str, AnyReading], active: tuple[Active, ...]
) -> tuple[tuple[Standing, ...], load.Load, tuple[Judged, ...], Sight]:
    """Return the faults that stand, the load behind the meter, the units, and the site as rules see it."""
    found = watch.conditions(site, state, snapshot, readings, active)
    faults = watch.standing(state.standing, found, snapshot.now_ms)
    meter = readings.get(site.poi.meter)
    meter = meter if isinstance(meter, Meter) else None
    seen_load = load.estimate(site, state, snapshot, meter)
    units = judged(site, state, snapshot, readings, watch.told(site, faults), active)
    sight = Sight(
        site=site,
        snapshot=snapshot,
        meter=meter,
        units=tuple([unit.seen for unit in units]),
        load_w=None if seen_load.low_w is None else seen_load.net_load_w,
        load_low_w=seen_load.low_w,
        load_high_w=seen_load.high_w,
        phase_load_low_w=seen_load.phase_low_w,
        phase_load_high_w=seen_load.phase_high_w,
        balance_w=seen_load.balance_w,
        active=active,
        operated=state.operated,
        consumption_w=state.consumed.limit_w,
    )
    return faults, seen_load, units, sight


def _decide(
    sight: Sight, units: tuple[Judged, ...], before: State, faults: tuple[Standing, ...]
) -> tuple[Decision, int, tuple[Remembered, ...]]:
    """Return the decision, what the ramp leaves over, and what is remembered of the units."""
    folded = envelopes(sight, tuple([unit.envelope for unit in units]))
    low, high = folded.total.bounds()
    wish = chosen(sight)
    target = Envelope(folded.total.low_w, folded.total.high_w)
    target.add(wish)
    wished_w = target.clamp(0)
    ramped_w, rest_mw = _ramped(sight, before, wished_w)
    target_w = folded.total.clamp(ramped_w)
    remembered = tuple([unit.remembered for unit in units])
    owns = [unit.own for unit in units]
    if folded.units[0] is not units[0].envelope:  # a rule of the site lays limits on single units
        owns = [own(sight.site, seen, unit) for seen, unit in zip(sight.units, folded.units, strict=True)]
    plan = _plan(sight, remembered, folded, target_w)
    missed = _missed(folded, plan, target_w)
    if missed:
        why = "min_power"
    elif target_w == ramped_w != wished_w:
        why = "ramp"
    elif wish.low_w <= target_w <= wish.high_w:
        why = "wish"
    else:
        # In a closed envelope the end counts that keeps the target from where it would go.
        toward_w = wish.low_w if ramped_w == target_w else ramped_w
        why = low.rule if toward_w < target_w else high.rule
    shares, asked_var = _shares(sight, folded.units, plan, before)
    asked = utility_target(sight)
    decision = Decision(
        now_ms=sight.snapshot.now_ms,
        mode=wish.rule,
        target_w=plan.target_w,
        wish_w=max(wish.low_w, min(0, wish.high_w)),
        wish_because=wish.because,
        why=why,
        low=low,
        high=high,
        asked_w=None if asked is None else asked.low_w,
        net_load_w=sight.load_w,
        stored_wh=_stored_wh(sight.units),
        sellable_wh=sellable_wh(owns),
        available=available(sight, folded, owns),
        reactive_var=asked_var,
        unmet=tuple(folded.total.unmet + target.unmet + missed),
        faults=faults,
        shares=shares,
        # Nothing is written to an inverter that is not heard, or that is released: its own watchdog has it.
        commands=tuple(
            _command(seen, part, asked_var)
            for seen, part in zip(sight.units, shares, strict=True)
            if seen.inverter is not None and not seen.released
        ),
    )
    return decision, rest_mw, _committed(remembered, plan, sight.snapshot.now_ms)


def _ramped(sight: Sight, state: State, target_w: int) -> tuple[int, int]:
    """Return the target next to target_w that the ramp allows; at a start it begins from the measured power."""
    if state.target_w is None or state.decided_ms is None:
        measured_w = sum(seen.inverter.power_w or 0 for seen in sight.units if seen.inverter is not None)
        return ramped(sight.site.ramp, measured_w, target_w, 0, 0)
    elapsed_ms = sight.snapshot.now_ms - state.decided_ms
    return ramped(sight.site.ramp, state.target_w, target_w, elapsed_ms, state.ramp_rest_mw)


def _plan(sight: Sight, remembered: Sequence[Remembered], folded: Envelopes, target_w: int) -> Plan:
    """Choose the units that run and what each may take of the target.

    Within the bounds of classes 0-4. Where a stronger class of the site demands more than the energy rules leave, each
    unit gives all that they leave, and of the rest what its own safety, equipment and phase admit.
    """
    soft, hard = [unit.soft for unit in folded.units], [unit.hard for unit in folded.units]
    lows_w, highs_w = [stage.low_w for stage in soft], [stage.high_w for stage in soft]
    if target_w < sum(lows_w):
        lows_w, highs_w = [stage.low_w for stage in hard], lows_w
    elif target_w > sum(highs_w):
        lows_w, highs_w = highs_w, [stage.high_w for stage in hard]
    if not sight.site.commitment.rest_units and not any(unit.min_power_w for unit in sight.site.unit):
        return all_run(lows_w, highs_w, target_w)  # as on most sites
    weights = _weights(sight.units, charging=target_w < 0)
    candidates = [
        Candidate(
            low_w=low_w,
            high_w=high_w,
            min_w=seen.unit.min_power_w,
            weight=weight,
            committed=known.committed,
            committed_ms=known.committed_ms,
        )
        for seen, known, low_w, high_w, weight in zip(sight.units, remembered, lows_w, highs_w, weights, strict=True)
    ]
    bounds_w = (folded.total.low_w, folded.total.high_w)
    return commit(sight.site, candidates, target_w, bounds_w, sight.snapshot.now_ms)


def _missed(folded: Envelopes, plan: Plan, target_w: int) -> list[Unmet]:
    """Return what the units' least powers keep from being reached, and the rules that bind the units there."""
    if not plan.because:
        return []
    ends = [end for unit in folded.units for end in (unit.soft.low, unit.soft.high, unit.hard.low, unit.hard.high)]
    rules = ", ".join(dict.fromkeys(end.rule for end in ends if end is not None))
    because = plan.because + (f"; the units are bound by {rules}" if rules else "")
    return [Unmet(rule="min_power", asked_w=target_w, by_w=abs(target_w - plan.target_w), because=because)]


def _shares(
    sight: Sight, units: Sequence[UnitEnvelope], plan: Plan, before: State
) -> tuple[tuple[Share, ...], int | None]:
    """Share the plan's target over the units, and what reactive power the utility asks inside their circles."""
    weights = _weights(sight.units, charging=plan.target_w < 0)
    powers_w = share(plan.target_w, plan.lows_w, plan.highs_w, weights)
    assert sum(powers_w) == plan.target_w
    asked_var, vars_var = _reactive(sight, powers_w)
    last = {part.unit: part for part in before.shares}
    shares = []
    for seen, unit, power_w, reactive_var in zip(sight.units, units, powers_w, vars_var, strict=True):
        name, soft = seen.unit.name, unit.soft
        part, now_ms = last.get(name), sight.snapshot.now_ms
        if part is None or power_w != part.power_w or reactive_var != part.reactive_var:
            moved = part is None or abs(power_w - part.power_w) > _noise_w((seen.unit,))
            moved_ms = now_ms if moved or part is None else part.moved_ms
        elif part.low_w == soft.low_w and part.high_w == soft.high_w and part.phase == seen.phase:
            shares.append(part)  # as it was
            continue
        else:
            moved_ms = part.moved_ms
        shares.append(
            Share(
                unit=name,
                low_w=soft.low_w,
                high_w=soft.high_w,
                power_w=power_w,
                reactive_var=reactive_var,
                phase=seen.phase,
                moved_ms=moved_ms,
            )
        )
    return tuple(shares), asked_var


def _reactive(sight: Sight, powers_w: Sequence[int]) -> tuple[int | None, Sequence[int]]:
    """Return the reactive power of the units together, None where nobody asks for any, and each unit's part of it."""
    asked_var = ordered_var(sight.snapshot)
    if asked_var is None:
        return None, [0] * len(powers_w)
    rooms_var = [
        room_var(apparent_max_va(seen), power_w) if seen.phase == "run" and not seen.stopped else 0
        for seen, power_w in zip(sight.units, powers_w, strict=True)
    ]
    parts_var = share_var(asked_var, rooms_var)
    return sum(parts_var), parts_var


def _weights(units: Sequence[UnitSight], *, charging: bool) -> list[int]:
    """Return each unit's usable energy in the direction, at least 1: so they reach their limits together."""
    if charging:
        return [1 if seen.energy_wh is None else max(1, seen.capacity_wh - seen.energy_wh) for seen in units]
    return [1 if seen.energy_wh is None else max(1, seen.energy_wh) for seen in units]


def _command(seen: UnitSight, part: Share, asked_var: int | None) -> Command:
    running = part.phase in ("standby", "run", "ramp_down") and not seen.stopped
    return Command(
        device=seen.unit.inverter,
        power_w=part.power_w,
        running=running,
        valid_ms=(seen.unit.watchdog_s or 1) * 1000,
        reactive_var=None if asked_var is None or not running else part.reactive_var,
    )


def _committed(remembered: tuple[Remembered, ...], plan: Plan, now_ms: int) -> tuple[Remembered, ...]:
    """Note which units run, and since when."""
    if all(known.committed == runs for known, runs in zip(remembered, plan.committed, strict=True)):
        return remembered
    return tuple(
        known if known.committed == runs else msgspec.structs.replace(known, committed=runs, committed_ms=now_ms)
        for known, runs in zip(remembered, plan.committed, strict=True)
    )


def _noise_w(units: Sequence[Unit]) -> int:
    return max(MOVE_W, sum(max(unit.charge_max_w, unit.discharge_max_w) for unit in units) * MOVE_PCT // 100)


def _stored_wh(units: Sequence[UnitSight]) -> int | None:
    known = [seen.energy_wh for seen in units]
    return None if None in known else sum(wh for wh in known if wh is not None)
