"""Class 1: near a cell's voltage limits the power shrinks along the battery's curves, and latches until released.

The highest cell derates charging, the lowest one discharging. A curve makes its cell mandatory: one that is not told,
or is outside what a cell can have, closes the curve's direction. The cell's voltage rebounds as soon as the current
falls, so with latch the least percentage is held until the curve gives 100 again (control 1.2); else power would swing.
"""

from controller.model import Curve, Limit, Site, UnitSight
from controller.rules.curve import ALL_PCT, derated, percent

CELL_LOW_MV = 500  # below it and above the other one no lithium cell is measured, but a broken wire or a wrong scale
CELL_HIGH_MV = 5000


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return [-charge, discharge] in AC watts; None where both curves leave all."""
    curves, battery = seen.unit.derating, seen.battery
    highest_mv = None if battery is None else battery.cell_max_mv
    lowest_mv = None if battery is None else battery.cell_min_mv
    charge = _left("highest cell", curves.charge_by_cell_max_mv, highest_mv, seen.charge_pct)
    discharge = _left("lowest cell", curves.discharge_by_cell_min_mv, lowest_mv, seen.discharge_pct)
    return derated("cell_voltage", seen, charge, discharge)


def next_pct(curve: Curve, value_mv: int | None, before_pct: int, latch: bool) -> int:
    """Return what the engine remembers as left in the curve's direction; a value that is missing changes nothing."""
    if value_mv is None or not _believed(value_mv):
        return before_pct
    now_pct = percent(curve, value_mv)
    return min(before_pct, now_pct) if latch and now_pct < ALL_PCT else now_pct


def _believed(value_mv: int) -> bool:
    return CELL_LOW_MV <= value_mv <= CELL_HIGH_MV


def _left(cell: str, curve: Curve, value_mv: int | None, held_pct: int) -> tuple[int, str]:
    if not curve:
        return ALL_PCT, ""
    if value_mv is None or not _believed(value_mv):
        return 0, f"{cell} not known"
    now_pct = percent(curve, value_mv)
    if held_pct < now_pct:
        return held_pct, f"{cell} {value_mv} mV, held until it is fully released,"
    return now_pct, f"{cell} {value_mv} mV"
