"""Class 3: stored energy stays between floor and ceiling.

A barrier instead of a hysteresis (control 2.3): whatever is commanded now may go on until the inverter's own watchdog
ends it, so P_discharge <= efficiency x (E - error - E_floor) / H with H = cycle + watchdog, and with the longer taper
time a smooth approach. Charging, the cells take at most P: P_charge <= (E_ceiling - E - error) / H. Proved with z3.
An unknown state of charge allows nothing.
"""

from controller.model import Limit, Sight, Unit, UnitSight


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


def error_wh(sight: Sight, unit: Unit) -> int:
    """Return how far the battery's estimate of its energy may be off, in Wh, rounded up."""
    return -(-unit.capacity_wh * sight.site.energy.soc_error_pct // 100)


def limits(sight: Sight) -> list[Limit]:
    """Return [-charge, discharge] in AC watts per unit; [0, 0] where the energy is not known."""
    return [_limit(sight, seen) for seen in sight.units]


def _limit(sight: Sight, seen: UnitSight) -> Limit:
    unit, energy, battery = seen.unit, sight.site.energy, seen.battery
    if seen.energy_wh is None or battery is None or battery.soc_bp is None:
        return Limit(
            rule="energy_barrier", priority=3, low_w=0, high_w=0, because="state of charge not known", unit=unit.name
        )
    within_ms = horizon_ms(unit, sight.site.cycle_ms, energy.taper_s)
    off_wh = error_wh(sight, unit)
    floor_wh = -(-unit.capacity_wh * energy.floor_pct // 100)
    ceiling_wh = unit.capacity_wh * energy.ceiling_pct // 100
    most_wh = -(-unit.capacity_wh * battery.soc_bp // 10_000)  # energy_wh is rounded down, the wrong way for charging
    return Limit(
        rule="energy_barrier",
        priority=3,
        low_w=-charge_w(most_wh + off_wh, ceiling_wh, within_ms),
        high_w=discharge_w(unit, seen.energy_wh - off_wh, floor_wh, within_ms),
        because=f"{seen.energy_wh} Wh stored (good to {off_wh} Wh), floor {floor_wh} Wh, ceiling {ceiling_wh} Wh",
        unit=unit.name,
    )
