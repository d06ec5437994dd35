"""Whether the POI meter can be believed: what it does when the batteries move, and whether the target hunts after it.

A meter that is late, frozen or wired the wrong way round tells numbers that any site could have. What gives it away
is our own power (control 2.4, 2.5):
- While the utility sets the power, a move of the batteries has nothing to do with the load. Where the load seems to
  have moved along, the meter did not show the move: a late or frozen one shows all of it as load, a reversed one twice.
- While the site balances its own load, load and batteries move together anyway. But a meter that is later than the
  batteries are fast makes the target swing, from one side to the other, again and again.
"""

from collections.abc import Mapping

import msgspec

from controller.model import AnyReading, Meter, Rest, Site, Snapshot, State, Trust

MOVE_PCT = 10  # of the units' nameplate: a move that the meter has to show
STILL_PCT = 5  # of it: less is rest
SHOWN_PCT = 40  # of the move
MISSED_MAX = 2  # in a row
SWING_PCT = 30  # of the nameplate: how far the target has to turn back
TURNS_MAX = 3
TURNS_MS = 60_000  # within this time
DOUBT_MS = 60_000  # not believed for so long; after it one more is enough


def look(site: Site, state: State, snapshot: Snapshot, readings: Mapping[str, AnyReading]) -> Trust:
    """Return what speaks against the meter after this snapshot."""
    nameplate_w = sum(max(unit.charge_max_w, unit.discharge_max_w) for unit in site.unit)
    if not any(order.kind == "target" for order in snapshot.orders):
        return _turned(state.trust, state.target_w, snapshot.now_ms, nameplate_w)
    trust = msgspec.structs.replace(state.trust, turn_w=None, heading=0, turned_ms=())
    power_w, meter = snapshot.poi_battery_w, readings.get(site.poi.meter)
    if power_w is None or not isinstance(meter, Meter):
        return msgspec.structs.replace(trust, rest=None, before=None)
    settle_ms = max(unit.settle_ms or 0 for unit in site.unit)
    load_w = power_w - meter.power_w
    rest = trust.rest
    if rest is None or abs(power_w - rest.power_w) * 100 > nameplate_w * STILL_PCT:
        before = rest if rest is not None and rest.compared else trust.before
        begun = Rest(power_w=power_w, since_ms=meter.sampled_ms, low_w=load_w, high_w=load_w)
        return msgspec.structs.replace(trust, rest=begun, before=before)
    rested = rest.compared or meter.sampled_ms - rest.since_ms >= settle_ms
    now = msgspec.structs.replace(rest, low_w=min(rest.low_w, load_w), high_w=max(rest.high_w, load_w), compared=rested)
    trust = msgspec.structs.replace(trust, rest=now)
    return _compared(trust, load_w, snapshot.now_ms, nameplate_w) if rested and not rest.compared else trust


def _compared(trust: Trust, load_w: int, now_ms: int, nameplate_w: int) -> Trust:
    """Compare the load with the loads of the rest before, of which the nearest counts: the load may have moved, too."""
    rest, before = trust.rest, trust.before
    if rest is None or before is None or abs(rest.power_w - before.power_w) * 100 < nameplate_w * MOVE_PCT:
        return trust
    move_w = rest.power_w - before.power_w
    along_w = load_w - before.high_w if move_w > 0 else before.low_w - load_w
    if along_w * 100 <= abs(move_w) * (100 - SHOWN_PCT):
        return msgspec.structs.replace(trust, missed=0)
    if trust.missed + 1 < MISSED_MAX:
        return msgspec.structs.replace(trust, missed=trust.missed + 1)
    return msgspec.structs.replace(trust, missed=MISSED_MAX - 1, until_ms=now_ms + DOUBT_MS)


def _turned(trust: Trust, target_w: int | None, now_ms: int, nameplate_w: int) -> Trust:
    """Follow the target from one turn to the next; too many of them in a short time are hunting."""
    trust = msgspec.structs.replace(trust, rest=None, before=None)
    if target_w is None or now_ms < trust.until_ms:
        return msgspec.structs.replace(trust, turn_w=target_w, heading=0, turned_ms=())
    turn_w = target_w if trust.turn_w is None else trust.turn_w
    heading, turned_ms, until_ms = trust.heading, trust.turned_ms, trust.until_ms
    way = 1 if target_w > turn_w else -1
    if way == heading:
        turn_w = target_w
    elif abs(target_w - turn_w) * 100 >= nameplate_w * SWING_PCT:
        turned_ms = (*(at_ms for at_ms in turned_ms if now_ms - at_ms < TURNS_MS), now_ms) if heading else ()
        turn_w, heading = target_w, way
    if len(turned_ms) >= TURNS_MAX:
        turned_ms, until_ms = (), now_ms + DOUBT_MS
    return msgspec.structs.replace(trust, turn_w=turn_w, heading=heading, turned_ms=turned_ms, until_ms=until_ms)
