"""Class 3: a unit below its floor is charged back to it, slowly.

It is a latch: on 1 % of the capacity below the floor, off 1 % above it, so that self-discharge around the floor does
not switch a charger all night. It stands below the interconnection (class 2): a low battery never breaks an import
limit. While the energy is not known nothing is charged, and in an island there is nothing to charge from.
"""

from controller.model import Limit, Site, UnitSight
from controller.rules.unbounded import UNBOUNDED_W

BESIDE_PCT = 1  # of the capacity, on either side of the floor


def next_recovering(site: Site, before: bool, stored_low_wh: int | None, capacity_wh: int) -> bool:
    """Return whether the unit is being recovered now; with an unknown energy it stays as it was."""
    if stored_low_wh is None:
        return before
    if stored_low_wh * 100 <= capacity_wh * (site.energy.floor_pct - BESIDE_PCT):
        return True
    return before and stored_low_wh * 100 < capacity_wh * (site.energy.floor_pct + BESIDE_PCT)


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return (-unbounded, -recovery] in AC watts while the unit recovers."""
    recovery_w = seen.unit.charge_max_w * site.energy.recovery_pct // 100
    if not seen.recovering or recovery_w == 0 or seen.low_wh is None or seen.islanded:
        return None
    return Limit(
        rule="recovery",
        priority=3,
        low_w=-UNBOUNDED_W,
        high_w=-recovery_w,
        because=f"as little as {max(0, seen.low_wh)} Wh stored, below the floor: charged with {recovery_w} W",
        unit=seen.unit.name,
    )
