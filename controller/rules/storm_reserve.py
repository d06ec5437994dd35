"""Class 4: ahead of a storm or an outage a larger reserve is kept, and charged for until it has to be there.

The reserve is a barrier like the customer's. What is charged for rises on a straight line from the customer's reserve
to the larger one, and power is asked for in proportion to how far the stored energy lies below that line: never all
the power at once (control 1.2). What the ceiling does not let in is not asked for. With an unknown energy nothing is
discharged and nothing is charged for. In an island the reserve is given up, and there is nothing to charge from.
"""

from controller.model import Limit, Site, Snapshot, UnitSight
from controller.rules.energy_barrier import keeping
from controller.rules.unbounded import UNBOUNDED_W


def rising(base_bp: int, reserve_bp: int, elapsed_ms: int, within_ms: int) -> int:
    """Return where the line from base_bp to reserve_bp stands after elapsed_ms of within_ms; never above reserve_bp."""
    base_bp = min(base_bp, reserve_bp)
    if elapsed_ms < 0:
        return base_bp
    if elapsed_ms >= within_ms:
        return reserve_bp
    return base_bp + (reserve_bp - base_bp) * elapsed_ms // within_ms


def reserve(site: Site, snapshot: Snapshot, storm_since_ms: int | None) -> tuple[int, int, str]:
    """Return what is kept, what it has to have risen to by now (0 = not charged for), in bp, and because of whom.

    The largest reserve counts; of the lines that are charged for the highest does.
    """
    asked = [
        (min(10_000, order.soc_bp), order.starts_ms, order.by_ms, f"asked for by {order.source}")
        for order in snapshot.orders
        if order.kind == "reserve"
    ]
    if storm_since_ms is not None:
        storm = site.storm
        by_ms = storm_since_ms + storm.recharge_s * 1000 if storm.recharge_s else 0
        asked.append((storm.reserve_pct * 100, storm_since_ms, by_ms, "kept for the storm"))
    reserve_bp, rising_bp, because = 0, 0, ""
    for kept_bp, starts_ms, by_ms, who in asked:
        if kept_bp > reserve_bp:
            reserve_bp, because = kept_bp, who
        if by_ms:
            elapsed_ms, within_ms = snapshot.now_ms - starts_ms, by_ms - starts_ms
            rising_bp = max(rising_bp, rising(site.energy.reserve_pct * 100, kept_bp, elapsed_ms, within_ms))
    return reserve_bp, rising_bp, because


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return (-unbounded, discharge] in AC watts, (-unbounded, -charge] below the rising line, nothing in an island."""
    if seen.islanded or seen.reserve_bp == 0:
        return None
    needed_w, because = _needed_w(site, seen)
    if needed_w == 0:
        return keeping(site, seen, "storm_reserve", seen.reserve_bp, seen.reserve_because)
    return Limit(
        rule="storm_reserve", priority=4, low_w=-UNBOUNDED_W, high_w=-needed_w, because=because, unit=seen.unit.name
    )


def _needed_w(site: Site, seen: UnitSight) -> tuple[int, str]:
    """Return the AC power that brings the unit back to its rising line within the taper, and what asks for it."""
    if seen.low_wh is None or seen.high_wh is None:
        return 0, ""
    unit = seen.unit
    ceiling_pct = 100 if seen.full_due else site.energy.ceiling_pct
    # The barrier stops at the ceiling with the high side of the estimate: there the low side is that much lower.
    most_wh = seen.capacity_wh * ceiling_pct // 100 - (seen.high_wh - seen.low_wh)
    line_wh = min(seen.capacity_wh * seen.rising_bp // 10_000, most_wh)
    behind_wh = max(0, line_wh - seen.low_wh)
    needed_w = min(behind_wh * 360_000 // (site.energy.taper_s * unit.efficiency_pct), unit.charge_max_w)
    because = (
        f"at least {max(0, seen.low_wh)} Wh stored, {line_wh} Wh are to be stored by now, "
        f"{seen.reserve_because}: charged with {needed_w} W"
    )
    return needed_w, because
