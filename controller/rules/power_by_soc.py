"""Class 1: near full and near empty the power shrinks along the battery's curves of its state of charge.

A curve makes the state of charge mandatory: where it is not told, or is outside 0 to 100 %, its direction is closed.
"""

from controller.model import Curve, Limit, Site, UnitSight
from controller.rules.curve import ALL_PCT, derated, percent

FULL_BP = 10_000


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return [-charge, discharge] in AC watts; None where both curves leave all."""
    curves = seen.unit.derating
    charge, discharge = _left(curves.charge_by_soc_pct, seen.soc_bp), _left(curves.discharge_by_soc_pct, seen.soc_bp)
    return derated("power_by_soc", seen, charge, discharge)


def _left(curve: Curve, soc_bp: int | None) -> tuple[int, str]:
    if not curve:
        return ALL_PCT, ""
    if soc_bp is None or not 0 <= soc_bp <= FULL_BP:
        return 0, "state of charge not known"
    return percent(curve, soc_bp, 100), f"state of charge {soc_bp / 100:g} %"
