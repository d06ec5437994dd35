"""Class 2: import and export of each phase, and the main breaker.

The breaker leaves current times voltage to each phase as apparent power; of it goes what the phase's reactive power
takes, where the meter tells voltage, current and power of the phase. A voltage that is not told counts as 90 % of the
nominal one (EN 50160 admits 10 % less), and one that is told as 110 % at most. margin_w is shared by the three phases.

Where all units are connected alike, the limit is one for all of them: on three phases three times the tightest phase,
on one phase that phase's room. On a mixed site each phase's room is shared by the units on it in proportion to their
nameplate and each unit gets the least of its phases; there a phase that its load already takes beyond its limit leaves
0 W and forces nothing, for what relieves it might overload another.

Where the loads of the phases are not known the largest load and generation are assumed, all on one phase, and nothing
forces the batteries to move (rules/at_poi.py).
"""

from collections import Counter
from collections.abc import Sequence
from math import isqrt
from typing import NamedTuple

import msgspec

from controller.model import Limit, Meter, Sight, UnitSight
from controller.rules.at_poi import Behind, by_phase, meet, room_w
from controller.rules.unbounded import UNBOUNDED_W

PHASES = "abc"
LOW_VOLTAGE_PCT = 90  # of the nominal one, EN 50160
HIGH_VOLTAGE_PCT = 110


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What one phase leaves to the batteries; low_w > high_w where both limits cannot be kept."""

    phase: str
    low_w: int
    high_w: int
    because: str


class Kind(NamedTuple):
    """What a unit's part depends on."""

    phases: str
    charge_max_w: int
    discharge_max_w: int


def limits(sight: Sight) -> list[Limit]:
    """Return one interval for the batteries together, or one for each unit of a mixed site; none without a limit."""
    poi = sight.site.poi
    if poi.phase_import_max_w is None and poi.phase_export_max_w is None and poi.breaker_max_a is None:
        return []
    rooms = _rooms(sight)
    kinds = {seen.unit.phases for seen in sight.units}
    if len(kinds) > 1:
        return _of_units(sight.units, rooms)
    if kinds == {"abc"}:
        low, high = max(rooms, key=lambda room: room.low_w), min(rooms, key=lambda room: room.high_w)
        low_w, high_w = meet(max(-UNBOUNDED_W, 3 * low.low_w), min(UNBOUNDED_W, 3 * high.high_w))
    else:
        low = high = next(room for room in rooms if {room.phase} == kinds)
        low_w, high_w = meet(low.low_w, high.high_w)
    return [Limit(rule="phase_limit", priority=2, low_w=low_w, high_w=high_w, because=_because(low, high))]


def breaker_w(sight: Sight, place: int) -> int | None:
    """Return the active power in W that the breaker leaves to a phase, by its place in PHASES; None without one."""
    poi, meter = sight.site.poi, sight.meter
    if poi.breaker_max_a is None:
        return None
    low_mv = poi.nominal_v * 10 * LOW_VOLTAGE_PCT
    if meter is None or meter.phase_mv is None or meter.phase_mv[place] <= 0:
        return poi.breaker_max_a * low_mv // 1000
    told_mv = meter.phase_mv[place]
    most_mv = poi.nominal_v * 10 * HIGH_VOLTAGE_PCT if _known(sight) else low_mv
    most_va = poi.breaker_max_a * min(told_mv, most_mv) // 1000
    return isqrt(max(0, most_va**2 - _reactive_var2(meter, told_mv, place)))


def _reactive_var2(meter: Meter, voltage_mv: int, place: int) -> int:
    """Return the square of the reactive power that a phase takes, 0 where it is not told. Q^2 = (V I)^2 - P^2."""
    if meter.phase_ma is None or meter.phase_w is None:
        return 0
    apparent_va = (voltage_mv * abs(meter.phase_ma[place]) + 999_999) // 1_000_000
    return max(0, apparent_va**2 - meter.phase_w[place] ** 2)


def _rooms(sight: Sight) -> list[Room]:
    poi = sight.site.poi
    lows_w, highs_w = sight.phase_load_low_w, sight.phase_load_high_w
    aways_w = _aways_w(sight)
    rooms = []
    for place, phase in enumerate(PHASES):
        breaker = breaker_w(sight, place)
        import_w, export_w = _least(poi.phase_import_max_w, breaker), _least(poi.phase_export_max_w, breaker)
        behind = Behind(
            load_low_w=None if lows_w is None else lows_w[place],
            load_high_w=None if highs_w is None else highs_w[place],
            load_max_w=poi.load_max_w,
            generation_max_w=poi.generation_max_w,
            away_w=None if aways_w is None else aways_w[place],
            margin_w=-(-poi.margin_w // 3),
        )
        low_w, high_w = room_w(behind, import_w, export_w)
        load = "is not known, largest load and generation assumed"
        if _known(sight):
            load = f"takes {behind.load_low_w} to {behind.load_high_w} W"
        most = ", ".join(
            f"{way} at most {most_w} W"
            for way, most_w in (("import", import_w), ("export", export_w))
            if most_w is not None
        )
        rooms.append(Room(phase=phase, low_w=low_w, high_w=high_w, because=f"phase {phase} {load}; {most}"))
    return rooms


def _known(sight: Sight) -> bool:
    return sight.phase_load_low_w is not None and sight.phase_load_high_w is not None


def _aways_w(sight: Sight) -> list[int] | None:
    """Return the heard inverters' power less what the meter shows, by phase; None where that is not needed or told."""
    if _known(sight) or sight.meter is None or sight.meter.phase_w is None:
        return None
    together_w = dict.fromkeys(("abc", "a", "b", "c"), 0)
    for seen in sight.units:
        if seen.inverter is not None:
            together_w[seen.unit.phases] += seen.inverter.power_w or 0
    on_each_w = zip(*(by_phase(*one) for one in together_w.items()), strict=True)
    return [sum(own_w) - shown_w for own_w, shown_w in zip(on_each_w, sight.meter.phase_w, strict=True)]


def _of_units(units: Sequence[UnitSight], rooms: Sequence[Room]) -> list[Limit]:
    """Return what each unit of a mixed site gets: in both directions the least of its parts of its phases' rooms."""
    kinds = [Kind(seen.unit.phases, seen.unit.charge_max_w, seen.unit.discharge_max_w) for seen in units]
    counts = Counter(kinds)
    charging = [sum(_thirds(kind, room) * kind.charge_max_w * n for kind, n in counts.items()) for room in rooms]
    discharging = [sum(_thirds(kind, room) * kind.discharge_max_w * n for kind, n in counts.items()) for room in rooms]
    limits: dict[Kind, Limit] = {}
    for kind in counts:
        own = [place for place, room in enumerate(rooms) if _thirds(kind, room)]
        charge_w, low = min((_part_w(-rooms[place].low_w, kind.charge_max_w, charging[place]), place) for place in own)
        discharge_w, high = min(
            (_part_w(rooms[place].high_w, kind.discharge_max_w, discharging[place]), place) for place in own
        )
        because = f"{_because(rooms[low], rooms[high])}; shared by the units on it"
        limits[kind] = Limit(rule="phase_limit", priority=2, low_w=-charge_w, high_w=discharge_w, because=because)
    return [msgspec.structs.replace(limits[kind], unit=seen.unit.name) for seen, kind in zip(units, kinds, strict=True)]


def _thirds(kind: Kind, room: Room) -> int:
    """Return how many thirds of its power a unit has on a phase."""
    return 0 if room.phase not in kind.phases else 3 // len(kind.phases)


def _part_w(room_w: int, nameplate_w: int, thirds_w: int) -> int:
    """Return a unit's power, of all its phases, for its part of a phase's room; the parts together fit into it.

    thirds_w: three times the nameplates of all units on the phase.
    """
    if room_w >= UNBOUNDED_W:
        return UNBOUNDED_W
    return 3 * max(0, room_w) * nameplate_w // max(1, thirds_w)


def _least(one_w: int | None, other_w: int | None) -> int | None:
    return min((most_w for most_w in (one_w, other_w) if most_w is not None), default=None)


def _because(low: Room, high: Room) -> str:
    return low.because if low is high else f"charging, {low.because}; discharging, {high.because}"
