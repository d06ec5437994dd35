"""Start and stop one unit: a table of edges (control 1.2).

Laws:
- A unit runs only while its battery and its inverter both confirm, in that same cycle.
- A trip leads from every phase but fault to off at once; it does not count as a failed start.
- Going up takes as many edges in one cycle as hold, so that healthy devices run in the first cycle after a restart of
  the controller; any other edge ends the cycle, so that off is seen, and written, before the next start.
- A start that is not confirmed in time has failed; the third in a row is a fault, which only a restart leaves.

While an inverter is cut off from the grid, which may last for hours, the unit waits in standby and its time does not
run: it begins when the grid is back, for only then the inverter can confirm (IEEE 1547-2018 has it wait 300 s before it
enters service). An inverter that does not tell whether it is connected has no such grace.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from controller.model import Battery, Inverter, Phase, Remembered, Unit

ATTEMPTS_MAX = 3  # failed starts in a row
RUN_S = 60  # after so long in run the failed starts are forgotten
QUIET_PCT = 2  # of nameplate: less than this is no power

Condition = Literal[
    "trip",
    "startable",
    "barred",
    "charged",
    "confirmed",
    "unheard",
    "unconfirmed",
    "cut_off",
    "wanted",
    "fading",
    "quiet",
    "late",
]
Then = Phase | Literal["failed"]

# What leads out of each phase: the first condition that holds. Each edge taken begins the time of its phase anew.
EDGES: Mapping[Phase, Sequence[tuple[Condition, Then]]] = {
    "off": (("startable", "precharge"),),
    "precharge": (("trip", "off"), ("barred", "off"), ("charged", "standby"), ("late", "failed")),
    "standby": (
        ("trip", "off"),
        ("barred", "off"),
        ("confirmed", "run"),
        ("cut_off", "standby"),
        ("late", "failed"),
    ),
    "run": (("trip", "off"), ("unheard", "off"), ("unconfirmed", "standby"), ("fading", "ramp_down")),
    "ramp_down": (("trip", "off"), ("unconfirmed", "off"), ("wanted", "run"), ("quiet", "off"), ("late", "off")),
    "fault": (),
}
_ABOVE: Mapping[Phase, Phase] = {"off": "precharge", "precharge": "standby", "standby": "run"}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a unit in this cycle. Its batteries as one, None where one of them or the inverter is silent."""

    inverter: Inverter | None
    battery: Battery | None
    trip: bool  # a fault stops it at once
    fading: bool  # a fault brings it to 0 W gently
    no_start: bool  # a fault does not let it start
    wanted: bool  # it is switched on
    power_w: int  # commanded last
    now_ms: int


def advance(before: Remembered, unit: Unit, seen: Seen) -> Remembered:
    """Return before with its phase, the time it began and the failed starts brought to this cycle."""
    phase, since_ms, attempts = before.phase, before.since_ms, before.attempts
    steady = phase == "run" and not attempts and seen.wanted and not (seen.trip or seen.fading)
    if steady and _charged(seen.battery) and _ready(seen.inverter):
        return before  # as nearly always
    if phase == "run" and seen.now_ms - since_ms >= RUN_S * 1000:
        attempts = 0
    holds = _holding(before, unit, seen)
    rising = True
    while rising:
        then = next((then for condition, then in EDGES[phase] if condition in holds), None)
        if then is None:
            break
        if then == "failed":
            attempts += 1
            then = "fault" if attempts >= ATTEMPTS_MAX else "off"
        rising = _ABOVE.get(phase) == then
        phase, since_ms = then, seen.now_ms
        holds.discard("late")
    if (phase, since_ms, attempts) == (before.phase, before.since_ms, before.attempts):
        return before
    return msgspec.structs.replace(before, phase=phase, since_ms=since_ms, attempts=attempts)


def _holding(before: Remembered, unit: Unit, seen: Seen) -> set[Condition]:
    """Return the conditions that hold."""
    wanted = seen.wanted and not seen.fading
    startable = wanted and not seen.no_start and not seen.trip
    charged = _charged(seen.battery)
    confirmed = charged and _ready(seen.inverter)
    found: dict[Condition, bool] = {
        "trip": seen.trip,
        "startable": startable,
        "barred": not startable,
        "charged": charged,
        "confirmed": confirmed,
        "unheard": seen.inverter is None or seen.battery is None,
        "unconfirmed": not confirmed,
        "cut_off": seen.inverter is not None and seen.inverter.connected is False,
        "wanted": wanted,
        "fading": not wanted,
        "quiet": seen.power_w == 0 and _quiet(unit, seen.inverter),
        "late": seen.now_ms - before.since_ms >= unit.start_s * 1000,
    }
    return {condition for condition, holds in found.items() if holds}


def _charged(battery: Battery | None) -> bool:
    """Tell whether the battery confirms: its contactor is closed or, where it does not tell, it admits a current."""
    if battery is None or battery.contactor_closed is False:
        return False
    return battery.contactor_closed is True or (battery.charge_max_ma, battery.discharge_max_ma) != (None, None)


def _ready(inverter: Inverter | None) -> bool:
    """Tell whether the inverter confirms: it is at work or ready for it, obeys, and is not cut off from the grid."""
    if inverter is None:
        return False
    return inverter.state in ("run", "standby") and inverter.remote and inverter.connected is not False


def _quiet(unit: Unit, inverter: Inverter | None) -> bool:
    if inverter is None:
        return True
    nameplate_w = max(unit.charge_max_w, unit.discharge_max_w)
    return inverter.power_w is not None and abs(inverter.power_w) * 100 < QUIET_PCT * nameplate_w
