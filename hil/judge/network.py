"""Invariants of what the network and a contact may narrow: phases, envelope, consumption, digital inputs, isolation."""

from collections.abc import Callable

from controller.model import Envelope
from hil.judge.bounds import EXPECTED_PCT, IDLE_W, Bounds, listed
from hil.judge.measures import Laid
from hil.judge.moment import Moment

STOPPED_PCT = 2  # of the nameplate: at rest
BREAKER_SLACK_PCT = 1  # of its rating
COMMAND_PCT = 0.1  # of the nameplate: the rounding of the register


def phase_export(bounds: Bounds) -> Laid:
    """Lay the export limit of each phase."""
    return _phases(bounds, 1, bounds.site.poi.phase_export_max_w)


def phase_import(bounds: Bounds) -> Laid:
    """Lay the import limit of each phase."""
    return _phases(bounds, -1, bounds.site.poi.phase_import_max_w)


def _phases(bounds: Bounds, sign: int, most_w: int | None) -> Laid:
    """Lay a limit on the worst phase; what a fault of the meter hid and what no battery could take off is left out."""

    def excess(moment: Moment, _place: int) -> float | None:
        truth = moment.truth
        found = moment.limits.phases_over_w(truth, sign)
        if not found:
            return None
        hidden = [max(0.0, -sign * false_w) for false_w in truth.phase_false_w]
        over_w = max(over - unseen for over, unseen in zip(found, hidden, strict=True))
        if over_w <= 0:
            return over_w
        return None if moment.blind else min(over_w, moment.room_w(sign))

    says = "none is set" if most_w is None else f"{most_w} W a phase, for {bounds.poi_s:g} s"
    return Laid(excess=excess, allowed=(bounds.poi_s,), says=says, idle=most_w is None)


def breaker(bounds: Bounds) -> Laid:
    """Lay the main breaker on the worst phase, as far as the batteries could move either way."""
    most_a = bounds.site.poi.breaker_max_a

    def excess(moment: Moment, _place: int) -> float | None:
        truth = moment.truth
        found = moment.limits.breaker_over_a(truth)
        if not found or most_a is None or truth.phase_w is None:
            return None
        volts = max(1.0, truth.grid_v)
        over_a = max(
            over - abs(false_w) / volts - most_a * BREAKER_SLACK_PCT / 100
            for over, false_w in zip(found, truth.phase_false_w, strict=True)
        )
        if over_a <= 0:
            return over_a
        worst = found.index(max(found))
        room_a = moment.room_w(1 if truth.phase_w[worst] > 0 else -1) / volts
        return None if moment.blind else min(over_a, room_a)

    says = "none is set" if most_a is None else f"{most_a} A a phase, for {bounds.poi_s:g} s"
    return Laid(excess=excess, allowed=(bounds.poi_s,), says=says, idle=most_a is None)


def envelope_export(bounds: Bounds) -> Laid:
    """Lay the export limit that is in force by an envelope or a contact."""
    return _operated(bounds, 1)


def envelope_import(bounds: Bounds) -> Laid:
    """Lay the import limit that is in force by an envelope or a contact."""
    return _operated(bounds, -1)


def _operated(bounds: Bounds, sign: int) -> Laid:
    allowed_s = max(bounds.poi_s, bounds.allowed.reaction_s)
    none_w = float(bounds.site.poi.export_max_w if sign > 0 else bounds.site.poi.import_max_w)

    def excess(moment: Moment, _place: int) -> float | None:
        truth = moment.truth
        most_w = moment.limits.export_w if sign > 0 else moment.limits.import_w
        if most_w >= none_w:
            return None  # poi_export and poi_import stand for it
        over_w = sign * truth.poi_w - most_w - max(0.0, -sign * truth.meter_false_w)
        if over_w <= 0:
            return over_w
        return None if moment.blind else min(over_w, moment.room_w(sign))

    envelope, means = bounds.site.poi.envelope, {row.means for row in bounds.site.input}
    idle = envelope == Envelope() and means.isdisjoint(("import_limit", "export_limit"))
    return Laid(excess=excess, allowed=(allowed_s,), says=f"but for {allowed_s:g} s", idle=idle)


def consumption(bounds: Bounds) -> Laid:
    """Lay that no more is charged from the grid than the limit on consumption or its failsafe leaves."""
    allowed_s = max(bounds.poi_s, bounds.allowed.reaction_s)
    near_w = bounds.nameplate_w * EXPECTED_PCT / 100

    def excess(moment: Moment, _place: int) -> float | None:
        most_w = moment.limits.consumption_w
        if most_w == float("inf"):
            return None
        surplus_w = max(0.0, -moment.net_load_w)
        charged_w = -sum(own for own, reached in zip(moment.own_w, moment.reached, strict=True) if reached)
        return charged_w - most_w - surplus_w - near_w

    failsafe_w = bounds.site.poi.consumption.failsafe_w
    says = "none is set" if failsafe_w is None else f"{failsafe_w} W without a heartbeat, but for {allowed_s:g} s"
    return Laid(excess=excess, allowed=(allowed_s,), says=says, idle=failsafe_w is None)


def emergency_stop(bounds: Bounds) -> Laid:
    """Lay that every unit is at rest once the emergency stop acts."""
    rest_w = [max(IDLE_W, max(row.charge_w, row.discharge_w) * STOPPED_PCT / 100) for row in bounds.units]
    return _acts(bounds, "emergency_stop", lambda moment, place: abs(moment.own_w[place]) - rest_w[place])


def no_charge(bounds: Bounds) -> Laid:
    """Lay that nothing is charged while a contact forbids it."""
    return _acts(bounds, "no_charge", lambda moment, place: -moment.own_w[place] - bounds.units[place].near_w)


def no_discharge(bounds: Bounds) -> Laid:
    """Lay that nothing is discharged while a contact forbids it."""
    return _acts(bounds, "no_discharge", lambda moment, place: moment.own_w[place] - bounds.units[place].near_w)


def _acts(bounds: Bounds, means: str, over_w: Callable[[Moment, int], float]) -> Laid:
    """Lay what a contact means on every unit that can be told anything."""

    def excess(moment: Moment, place: int) -> float | None:
        return over_w(moment, place) if means in moment.limits.means and moment.reached[place] else None

    polls_s = [bounds.poll_s(row.device) for row in bounds.site.input if row.means == means]
    allowed_s = max(polls_s, default=0.0) + bounds.allowed.reaction_s
    says = f"no later than {allowed_s:g} s after the contact" if polls_s else "no contact does"
    return Laid(excess=excess, allowed=(allowed_s,) * len(bounds.units), says=says, idle=not polls_s)


def isolation(bounds: Bounds) -> Laid:
    """Lay that a unit rests while its DC side is not isolated from earth as it has to be."""

    def excess(moment: Moment, place: int) -> float | None:
        least_kohm, unit = bounds.units[place].unit.isolation_min_kohm, moment.truth.units[place]
        if least_kohm is None or unit.isolation_kohm is None or not moment.reached[place]:
            return None
        return abs(moment.own_w[place]) - IDLE_W if unit.isolation_kohm < least_kohm else None

    allowed_s = bounds.allowed.isolation_s
    return Laid(
        excess=excess,
        allowed=(allowed_s,) * len(bounds.units),
        says=f"no later than {allowed_s:g} s after it fell",
        idle=all(row.unit.isolation_min_kohm is None for row in bounds.units),
    )


def min_power(bounds: Bounds) -> Laid:
    """Lay that no unit is told a power that it cannot give: 0 W, or its least power and more."""
    ends_w = [row.unit.min_power_w for row in bounds.units]

    def excess(moment: Moment, place: int) -> float | None:
        magnitude_w = abs(moment.truth.units[place].command_w)
        if not ends_w[place]:
            return None
        return ends_w[place] - magnitude_w if magnitude_w >= 1 else -ends_w[place]

    allowed = tuple(max(row.charge_w, row.discharge_w) * COMMAND_PCT / 100 for row in bounds.units)
    return Laid(
        excess=excess,
        allowed=allowed,
        says=f"{listed(ends_w)} W" if any(ends_w) else "none is set",
        idle=not any(ends_w),
    )
