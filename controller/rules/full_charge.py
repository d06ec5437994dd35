"""Class 3: now and then a unit is charged to the full, so that its battery balances and finds its state of charge.

It is due after the site's days, when the error of the estimate has grown by 5 % of the capacity (control 1.2), or when
the battery's management asks for it. Due is not at once: the barrier lets it charge to 100 % and what lies above the
ceiling is not discharged again. A day later it is charged for, from the grid: a request means "within the day"
(canbms 5). An error alone never forces a charge, and nothing is forced while the last full charge is not known: a
site that starts for the first time would begin with hours of charging.
Missing data asks for nothing: with an unknown energy the barrier has closed both directions already.
"""

from controller.model import Limit, Remembered, Site, Unit, UnitSight
from controller.rules.unbounded import UNBOUNDED_W

DAY_MS = 86_400_000
GROWN_PCT = 5  # of the capacity, beyond soc_error_pct
FORCED_MIN_PCT = 5  # of the nameplate: less hardly covers what inverter and battery use themselves


def grown_wh(site: Site, cycled_mwh: int) -> int:
    """Return by how much the error of the estimate has grown since the last full charge, in Wh, rounded up.

    error_growth_pct of the capacity in a hundred cycles, each of twice the capacity through the cells: the capacity
    falls out. At a site that is never charged to the full it does not grow: nothing would ever take it back.
    """
    if site.energy.full_every_days is None:
        return 0
    return -(-cycled_mwh * site.energy.error_growth_pct // 20_000_000)


def due(site: Site, unit: Unit, remembered: Remembered, utc_ms: int) -> tuple[str, bool]:
    """Return why a full charge is due, "" where it is not, and whether it is overdue and so charged for."""
    days = site.energy.full_every_days
    last_ms, wanted_ms = remembered.full_utc_ms, remembered.full_wanted_utc_ms
    late_ms = None if days is None or last_ms <= 0 else utc_ms - last_ms - days * DAY_MS
    overdue = late_ms is not None and late_ms >= DAY_MS
    if wanted_ms > 0:
        return "the battery asks for a full charge", overdue or utc_ms >= wanted_ms + DAY_MS
    if late_ms is not None and late_ms >= 0:
        return f"not full for {days} days", overdue
    if days is not None and last_ms == 0:
        return "it is not known when it was full last", False
    if grown_wh(site, remembered.cycled_mwh) * 100 >= unit.capacity_wh * GROWN_PCT:
        return f"the estimate of its energy has grown worse by {GROWN_PCT} %", False
    return "", False


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return (-unbounded, -charge] in AC watts while overdue, (-unbounded, 0] above the ceiling while it is due."""
    ceiling_wh = seen.capacity_wh * site.energy.ceiling_pct // 100
    if not seen.full_due or seen.energy_wh is None or seen.islanded:
        return None
    if seen.full_forced:
        charge_w = seen.unit.charge_max_w * max(FORCED_MIN_PCT, site.energy.recovery_pct) // 100
        because = f"{seen.full_due}: charged with {charge_w} W"
    elif seen.energy_wh > ceiling_wh:
        charge_w, because = 0, f"{seen.full_due}: {seen.energy_wh} Wh stored, on the way from the ceiling to full"
    else:
        return None
    return Limit(
        rule="full_charge", priority=3, low_w=-UNBOUNDED_W, high_w=-charge_w, because=because, unit=seen.unit.name
    )
