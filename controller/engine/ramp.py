"""How fast the target may move inside the envelope: four rates, up and down, discharging and charging."""

from controller.model import Ramp


def ramped(ramp: Ramp, before_w: int, target_w: int, elapsed_ms: int, rest_mw: int) -> tuple[int, int]:
    """Return the power next to target_w that may be reached from before_w, and the fraction of a watt left over in mW.

    rest_mw: what was left over last time; without it a slow ramp would stand still under frequent decisions. A move
    through zero takes the time of its first part off the second. A rate that is left out is free.
    """
    at_w, left_ms, owed_mw = before_w, max(0, elapsed_ms), rest_mw
    for end_w in (0, target_w) if before_w * target_w < 0 else (target_w,):
        rate_w_per_s = _rate(ramp, at_w, end_w)
        way_w = abs(end_w - at_w)
        if rate_w_per_s is None:
            at_w = end_w
            continue
        may_mw = rate_w_per_s * left_ms + owed_mw
        if may_mw < 1000 * way_w:
            return at_w + (may_mw // 1000 if end_w > at_w else -(may_mw // 1000)), may_mw % 1000
        left_ms, owed_mw = max(0, left_ms - 1000 * way_w // rate_w_per_s), 0
        at_w = end_w
    return at_w, 0


def _rate(ramp: Ramp, from_w: int, to_w: int) -> int | None:
    """Return the rate of a move that does not cross zero."""
    if from_w > 0 or to_w > 0:
        rate_w_per_s = ramp.discharge_up_w_per_s if to_w > from_w else ramp.discharge_down_w_per_s
    else:
        rate_w_per_s = ramp.charge_up_w_per_s if to_w < from_w else ramp.charge_down_w_per_s
    return ramp.rate_w_per_s if rate_w_per_s is None else rate_w_per_s
