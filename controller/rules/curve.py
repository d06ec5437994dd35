"""Derating curves: how much of a unit's nameplate a measured value leaves. What the rules of the cells share."""

from bisect import bisect_right

from controller.model import Curve, Limit, UnitSight
from controller.rules.unbounded import UNBOUNDED_W

ALL_PCT = 100


def percent(curve: Curve, value: int, scale: int = 1) -> int:
    """Return what the curve leaves at a value, rounded down: straight between its points, level beyond its ends.

    scale: how many of the value's units one unit of the curve's points is. An empty curve leaves 100 %.
    """
    if not curve:
        return ALL_PCT
    reached = bisect_right(curve, value, key=lambda point: point[0] * scale)
    if reached == 0:
        return curve[0][1]
    if reached == len(curve):
        return curve[-1][1]
    (low, low_pct), (high, high_pct) = curve[reached - 1], curve[reached]
    return low_pct + (high_pct - low_pct) * (value - low * scale) // ((high - low) * scale)


def derated(rule: str, seen: UnitSight, charge: tuple[int, str], discharge: tuple[int, str]) -> Limit | None:
    """Return a limit of class 1 on a unit, None where both directions keep all.

    charge, discharge: the percentage of the nameplate that is left, and the datum that leaves it as a person tells it.
    """
    if charge[0] == discharge[0] == ALL_PCT:
        return None
    both = (*charge, "charging"), (*discharge, "discharging")
    left = [f"{datum} leaves {pct} % for {doing}" for pct, datum, doing in both if pct < ALL_PCT]
    return Limit(
        rule=rule,
        priority=1,
        low_w=-_left_w(seen.unit.charge_max_w, charge[0]),
        high_w=_left_w(seen.unit.discharge_max_w, discharge[0]),
        because=", ".join(left),
        unit=seen.unit.name,
    )


def _left_w(nameplate_w: int, pct: int) -> int:
    return UNBOUNDED_W if pct == ALL_PCT else nameplate_w * pct // 100
