"""Whether the POI meter can be believed: what it does when the batteries move, and whether the target hunts after it.

A meter that is late, frozen or wired the wrong way round tells numbers that any site could have. What gives it away
is our own power (control 2.4, 2.5): where the load seems to move along after a move of the batteries, the meter did not
show the move. A late or frozen one shows all of it as load, a reversed one twice.
- While the utility sets the power, a move has nothing to do with the load: two in a row that were not shown are enough.
- While the site balances its own load, the load may go on the way it went, as the ramp of a charger does. But a meter
  that is later than the batteries are fast makes the target swing, from one side to the other, again and again. Such a
  turn counts where the swing before it had a move that was not shown: a load that goes on and off swings it as well,
  and a sound meter shows each move.
- In both cases one such move is enough where it leaves a load that the site file does not admit: after a reversed meter
  the power runs to its end at once, and no second move or turn follows.
- An inverter that tells its power with the wrong sign spoils the load in the same way. It is found by telling the
  opposite of what it is commanded again and again, which one that turns round does not.
"""

from collections.abc import Mapping

import msgspec

from controller.model import AnyReading, Inverter, Meter, Rest, Site, Snapshot, State, Trust

MOVE_PCT = 10  # of the units' nameplate: a move that the meter has to show
STILL_PCT = 5  # of it: less is rest
SHOWN_PCT = 40  # of the move
MISSED_MAX = 2  # in a row
SWING_PCT = 30  # of the nameplate: how far the target has to turn back
TURNS_MAX = 3
TURNS_MS = 60_000  # within this time
OPPOSED_MAX = 3
OPPOSED_TIMES = 8
DOUBT_MS = 60_000  # not believed for so long; after it one more is enough


def look(site: Site, state: State, snapshot: Snapshot, readings: Mapping[str, AnyReading]) -> Trust:
    """Return what speaks against the meter after this snapshot."""
    nameplate_w = sum(max(unit.charge_max_w, unit.discharge_max_w) for unit in site.unit)
    asked = any(order.kind == "target" for order in snapshot.orders)
    trust, meter = state.trust, readings.get(site.poi.meter)
    shown, admitted = None, True
    if snapshot.poi_battery_w is None or not isinstance(meter, Meter):
        trust = msgspec.structs.replace(trust, rest=None, before=None)
    else:
        settle_ms = max(unit.settle_ms or 0 for unit in site.unit)
        since_ms = 0 if trust.rest is None else trust.rest.since_ms
        # The balance takes the next load as soon as our move is no longer in flight: later is too late.
        settled_ms = since_ms + settle_ms if asked else max(since_ms, state.moved_ms + settle_ms)
        load_w = snapshot.poi_battery_w - meter.power_w
        admitted = -site.poi.generation_max_w <= load_w <= site.poi.load_max_w
        seen = Rest(power_w=snapshot.poi_battery_w, since_ms=meter.sampled_ms, low_w=load_w, high_w=load_w)
        trust, shown = _rested(trust, seen, nameplate_w, settled=meter.sampled_ms >= settled_ms)
    if asked:
        trust = _counted(trust, shown, snapshot.now_ms)
    else:
        trust = msgspec.structs.replace(trust, unshown=trust.unshown or shown is False)
        trust = _turned(trust, state.target_w, snapshot.now_ms, nameplate_w)
    opposed_ms = _opposed(site, state, snapshot, readings)
    false = len(opposed_ms) >= OPPOSED_MAX
    if false or (shown is False and not admitted):
        trust = msgspec.structs.replace(trust, until_ms=snapshot.now_ms + DOUBT_MS)
    return msgspec.structs.replace(trust, opposed_ms=() if false else opposed_ms)


def _opposed(site: Site, state: State, snapshot: Snapshot, readings: Mapping[str, AnyReading]) -> tuple[int, ...]:
    """Return when in the last OPPOSED_TIMES settling times an inverter told power the other way than commanded.

    One that tells its power with the wrong sign does so again and again, and the load seems to jump with it: by twice
    each of our moves, so that the target runs to and fro. One that only turns round is soon seen to go the way it was
    told, and one that obeys the wrong way round leaves the load where it was.
    """
    settle_ms = max(1000, max(unit.settle_ms or 0 for unit in site.unit))
    now_ms = snapshot.now_ms
    known = tuple(at_ms for at_ms in state.trust.opposed_ms if now_ms - at_ms < OPPOSED_TIMES * settle_ms)
    meter = readings.get(site.poi.meter)
    jumped_w = 0
    if isinstance(meter, Meter) and snapshot.poi_battery_w is not None and state.net_load_w is not None:
        jumped_w = abs(snapshot.poi_battery_w - meter.power_w - state.net_load_w)
    along = False
    for unit, part in zip(site.unit, state.shares, strict=False):
        inverter = readings.get(unit.inverter)
        power_w = inverter.power_w or 0 if isinstance(inverter, Inverter) else 0
        large_w = max(unit.charge_max_w, unit.discharge_max_w) * MOVE_PCT // 100
        if min(abs(power_w), abs(part.power_w)) < large_w:
            continue
        if (power_w > 0) == (part.power_w > 0):
            along = True
        elif jumped_w >= large_w:
            return known if known and now_ms - known[-1] < settle_ms else (*known, now_ms)
    return () if along else known


def _rested(trust: Trust, seen: Rest, nameplate_w: int, *, settled: bool) -> tuple[Trust, bool | None]:
    """Take in one sample; where a move has settled, return whether the meter showed it, else None."""
    rest = trust.rest
    if rest is None or abs(seen.power_w - rest.power_w) * 100 > nameplate_w * STILL_PCT:
        before = rest if rest is not None and rest.compared else trust.before
        return msgspec.structs.replace(trust, rest=seen, before=before), None
    now = msgspec.structs.replace(
        rest,
        low_w=min(rest.low_w, seen.low_w),
        high_w=max(rest.high_w, seen.high_w),
        compared=rest.compared or settled,
    )
    trust = msgspec.structs.replace(trust, rest=now)
    if rest.compared or not settled or trust.before is None:
        return trust, None
    return trust, _shown(trust.before, rest.power_w, seen.low_w, nameplate_w)


def _shown(before: Rest, power_w: int, load_w: int, nameplate_w: int) -> bool | None:
    """Compare the load with the loads of the rest before, of which the nearest counts: the load may have moved, too."""
    move_w = power_w - before.power_w
    if abs(move_w) * 100 < nameplate_w * MOVE_PCT:
        return None
    along_w = load_w - before.high_w if move_w > 0 else before.low_w - load_w
    return along_w * 100 <= abs(move_w) * (100 - SHOWN_PCT)


def _counted(trust: Trust, shown: bool | None, now_ms: int) -> Trust:
    """Count the moves in a row that the meter did not show."""
    trust = msgspec.structs.replace(trust, turn_w=None, heading=0, turned_ms=(), unshown=False)
    if shown is None:
        return trust
    if shown or trust.missed + 1 < MISSED_MAX:
        return msgspec.structs.replace(trust, missed=0 if shown else trust.missed + 1)
    return msgspec.structs.replace(trust, missed=MISSED_MAX - 1, until_ms=now_ms + DOUBT_MS)


def _turned(trust: Trust, target_w: int | None, now_ms: int, nameplate_w: int) -> Trust:
    """Follow the target from one turn to the next; too many of them in a short time are hunting."""
    if target_w is None or now_ms < trust.until_ms:
        return msgspec.structs.replace(trust, turn_w=target_w, heading=0, unshown=False)
    turn_w = target_w if trust.turn_w is None else trust.turn_w
    heading, turned_ms, until_ms, unshown = trust.heading, trust.turned_ms, trust.until_ms, trust.unshown
    way = 1 if target_w > turn_w else -1
    if way == heading:
        turn_w = target_w
    elif abs(target_w - turn_w) * 100 >= nameplate_w * SWING_PCT:
        if heading and unshown:
            turned_ms = (*(at_ms for at_ms in turned_ms if now_ms - at_ms < TURNS_MS), now_ms)
        turn_w, heading, unshown = target_w, way, False
    if len(turned_ms) >= TURNS_MAX:
        until_ms = now_ms + DOUBT_MS
        turned_ms = (until_ms,) * (TURNS_MAX - 1)  # after the doubt one more is enough
    return msgspec.structs.replace(
        trust, turn_w=turn_w, heading=heading, turned_ms=turned_ms, until_ms=until_ms, unshown=unshown
    )
