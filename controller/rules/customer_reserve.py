"""Class 4: what the customer keeps is never sold.

The same barrier as the floor's, at the reserve. It stops discharging; it does not force a charge. With an unknown
state of charge nothing is discharged.
"""

from controller.model import Limit, Sight
from controller.rules.energy_barrier import discharge_w, error_wh, horizon_ms

UNBOUNDED_W = 1_000_000_000


def limits(sight: Sight) -> list[Limit]:
    """Return (-unbounded, discharge] in AC watts per unit."""
    found = []
    energy = sight.site.energy
    for seen in sight.units:
        unit = seen.unit
        reserve_wh = -(-unit.capacity_wh * energy.reserve_pct // 100)
        high_w, because = 0, "state of charge not known: the reserve is kept"
        if seen.energy_wh is not None:
            within_ms = horizon_ms(unit, sight.site.cycle_ms, energy.taper_s)
            off_wh = error_wh(sight, unit)
            high_w = discharge_w(unit, seen.energy_wh - off_wh, reserve_wh, within_ms)
            because = f"{seen.energy_wh} Wh stored, {reserve_wh} Wh are the customer's, estimate good to {off_wh} Wh"
        found.append(
            Limit(
                rule="customer_reserve", priority=4, low_w=-UNBOUNDED_W, high_w=high_w, because=because, unit=unit.name
            )
        )
    return found
