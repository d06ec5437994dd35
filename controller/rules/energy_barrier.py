"""Class 3: stored energy stays between floor and ceiling.

A barrier instead of a hysteresis (control 2.3): whatever is commanded now may go on until the inverter's own watchdog
ends it, so P_discharge <= efficiency x (E_low - E_floor) / H with H = cycle + watchdog, and with the longer taper time
a smooth approach. Charging, the cells take at most P: P_charge <= (E_ceiling - E_high) / H. E_low and E_high are the
worst that may be stored, the error of the estimate counted in. Proved with z3. An unknown energy allows nothing.

While a full charge is due the ceiling is 100 %, and up to it the estimate is taken as told, without its error: with
the error it would never become full, and only a full battery takes the error back. It may then be full before it tells
so; the current that its own management allows (class 1) ends that charge, as it does in any charger.
"""

from controller.model import Limit, Site, Unit, UnitSight
from controller.rules.unbounded import UNBOUNDED_W


def horizon_ms(unit: Unit, cycle_ms: int, taper_s: int) -> int:
    """Return how long a command may act: cycle plus watchdog, or the taper where that is longer. Unknown = an hour."""
    watchdog_s = 3600 if unit.watchdog_s is None else unit.watchdog_s
    return max(cycle_ms + watchdog_s * 1000, taper_s * 1000)


def discharge_w(unit: Unit, energy_wh: int, keep_wh: int, within_ms: int) -> int:
    """Return the AC power in W, >= 0, that cannot reach keep_wh within within_ms at any admitted efficiency."""
    return max(0, energy_wh - keep_wh) * 36_000 * unit.efficiency_pct // within_ms


def charge_w(energy_wh: int, most_wh: int, within_ms: int) -> int:
    """Return the AC power in W, >= 0, at which most_wh cannot be exceeded within within_ms."""
    return max(0, most_wh - energy_wh) * 3_600_000 // within_ms


def keeping(site: Site, seen: UnitSight, rule: str, keep_bp: int, whose: str) -> Limit:
    """Return (-unbounded, discharge] of class 4: the barrier at keep_bp of the capacity, closed while E is unknown."""
    keep_wh = -(-seen.capacity_wh * keep_bp // 10_000)
    high_w, because = 0, f"stored energy not known: what is {whose} is kept"
    if seen.low_wh is not None:
        within_ms = horizon_ms(seen.unit, site.cycle_ms, site.energy.taper_s)
        high_w = discharge_w(seen.unit, seen.low_wh, keep_wh, within_ms)
        because = f"at least {max(0, seen.low_wh)} Wh stored, {keep_wh} Wh are {whose}"
    return Limit(rule=rule, priority=4, low_w=-UNBOUNDED_W, high_w=high_w, because=because, unit=seen.unit.name)


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return [-charge, discharge] in AC watts; [0, 0] where the energy is not known."""
    unit, energy = seen.unit, site.energy
    low_w = high_w = 0
    because = "stored energy not known"
    if seen.energy_wh is not None and seen.low_wh is not None and seen.high_wh is not None:
        within_ms = horizon_ms(unit, site.cycle_ms, energy.taper_s)
        floor_wh = -(-seen.capacity_wh * energy.floor_pct // 100)
        ceiling_wh = seen.capacity_wh if seen.full_due else seen.capacity_wh * energy.ceiling_pct // 100
        most_wh = seen.energy_wh if seen.full_due else seen.high_wh
        low_w = -charge_w(most_wh, ceiling_wh, within_ms)
        high_w = discharge_w(unit, seen.low_wh, floor_wh, within_ms)
        because = (
            f"{seen.energy_wh} Wh stored ({seen.low_wh} to {seen.high_wh} Wh), floor {floor_wh} Wh, "
            f"ceiling {ceiling_wh} Wh"
        )
    return Limit(rule="energy_barrier", priority=3, low_w=low_w, high_w=high_w, because=because, unit=unit.name)
