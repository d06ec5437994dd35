"""Invariants of power and current: what the interconnection, the nameplates and the batteries let through."""

from math import hypot

from controller.model import Site
from hil.judge.bounds import METERING_PCT, Bounds, listed
from hil.judge.measures import Laid
from hil.judge.moment import Moment

AMPERE_SLACK_A = 2.0  # the stand-by draw of the inverter, with the rounding of the frame that told the limit
COMMAND_PCT = 0.1  # of the nameplate: the rounding of the register
CELL_SLACK_MV = 5.0


def poi_export(bounds: Bounds) -> Laid:
    """Lay the export limit."""
    return _poi(bounds, 1, bounds.site.poi.export_max_w)


def poi_import(bounds: Bounds) -> Laid:
    """Lay the import limit."""
    return _poi(bounds, -1, bounds.site.poi.import_max_w)


def _poi(bounds: Bounds, sign: int, most_w: int) -> Laid:
    """Lay a limit at the meter; the excess that nobody could see or that no battery could take off is not counted."""

    def excess(moment: Moment, _place: int) -> float | None:
        truth = moment.truth
        unseen_w = max(0.0, -sign * truth.meter_false_w)
        over_w = sign * truth.poi_w - most_w - unseen_w
        if over_w <= 0:
            return over_w
        return None if moment.blind else min(over_w, moment.room_w(sign))

    return Laid(excess=excess, allowed=(bounds.poi_s,), says=f"{most_w} W, for {bounds.poi_s:g} s")


def nameplate(bounds: Bounds) -> Laid:
    """Lay the ratings of active power, both ways."""

    def excess(moment: Moment, place: int) -> float:
        unit, row = moment.truth.units[place], bounds.units[place]
        return max(unit.ac_w - row.discharge_w, -unit.ac_w - row.charge_w)

    allowed = tuple(max(unit.charge_w, unit.discharge_w) * METERING_PCT / 100 for unit in bounds.units)
    return Laid(excess=excess, allowed=allowed, says=_ratings(bounds.site))


def command_range(bounds: Bounds) -> Laid:
    """Lay the same ratings on what the device is told."""

    def excess(moment: Moment, place: int) -> float:
        command_w, row = moment.truth.units[place].command_w, bounds.units[place]
        return max(command_w - row.discharge_w, -command_w - row.charge_w)

    allowed = tuple(max(unit.charge_w, unit.discharge_w) * COMMAND_PCT / 100 for unit in bounds.units)
    return Laid(excess=excess, allowed=allowed, says=_ratings(bounds.site))


def pq_circle(bounds: Bounds) -> Laid:
    """Lay the apparent power: P^2 + Q^2 within S^2."""
    plates_va = tuple(max(unit.charge_w, unit.discharge_w) for unit in bounds.units)

    def excess(moment: Moment, place: int) -> float:
        unit = moment.truth.units[place]
        rated_va = plates_va[place] if unit.rated_va is None else unit.rated_va
        return hypot(unit.ac_w, unit.reactive_var) - rated_va

    return Laid(excess=excess, allowed=tuple(plate_va * METERING_PCT / 100 for plate_va in plates_va))


def command_circle(bounds: Bounds) -> Laid:
    """Lay the apparent power on what the device is told: the site's where it names one, else the inverter's."""

    def excess(moment: Moment, place: int) -> float | None:
        unit, row = moment.truth.units[place], bounds.units[place]
        most_va = unit.rated_va if row.unit.apparent_max_va is None else row.unit.apparent_max_va
        if most_va is None or not unit.command_var:
            return None
        return hypot(unit.command_w, unit.command_var) - most_va

    return Laid(excess=excess, allowed=tuple(max(u.charge_w, u.discharge_w) * COMMAND_PCT / 100 for u in bounds.units))


def cell_voltage(bounds: Bounds) -> Laid:
    """Lay what no cell may pass: no charge while the highest is above it, no discharge while the lowest is below."""

    def excess(moment: Moment, place: int) -> float | None:
        unit, own_w = moment.truth.units[place], moment.own_w[place]
        if unit.cell_low_v is None or unit.cell_high_v is None or not unit.closed:
            return None
        if own_w < -bounds.units[place].near_w:
            return 1000 * (unit.cell_max_v - unit.cell_high_v)
        return 1000 * (unit.cell_low_v - unit.cell_min_v) if own_w > bounds.units[place].near_w else None

    return Laid(excess=excess, allowed=(CELL_SLACK_MV,) * len(bounds.units))


def bms_charge_current(bounds: Bounds) -> Laid:
    """Lay the current that the BMS lets in."""
    return _current(bounds, -1)


def bms_discharge_current(bounds: Bounds) -> Laid:
    """Lay the current that the BMS lets out."""
    return _current(bounds, 1)


def _current(bounds: Bounds, sign: int) -> Laid:
    """Lay a current limit; while inverter or battery is cut off, the invariants of silence stand for it."""

    def excess(moment: Moment, place: int) -> float | None:
        unit = moment.truth.units[place]
        if not moment.reached[place] or not moment.obeys[place] or moment.deaf(unit):
            return None
        most_a = unit.discharge_max_a if sign > 0 else unit.charge_max_a
        return sign * unit.pack_a - most_a - AMPERE_SLACK_A

    current_s = bounds.allowed.current_s
    return Laid(excess=excess, allowed=(current_s,) * len(bounds.units), says=f"but for {current_s:g} s")


def contactor_open(bounds: Bounds) -> Laid:
    """Lay that no current flows through an open contactor."""

    def excess(moment: Moment, place: int) -> float | None:
        unit = moment.truth.units[place]
        return None if unit.closed else abs(unit.pack_a)

    return Laid(excess=excess, allowed=(AMPERE_SLACK_A,) * len(bounds.units))


def _ratings(site: Site) -> str:
    charge, discharge = (
        listed(getattr(unit, key) for unit in site.unit) for key in ("charge_max_w", "discharge_max_w")
    )
    return f"-{charge} W to +{discharge} W"
