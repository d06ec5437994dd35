"""Class 0: a digital input that forbids charging or discharging closes that direction.

An input that is not heard counts as active, so its silence closes the direction too.
"""

from controller.model import Limit, Site, UnitSight
from controller.rules.unbounded import UNBOUNDED_W


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return an interval that ends at 0 W in each direction that is closed."""
    if not (seen.no_charge or seen.no_discharge):
        return None
    return Limit(
        rule="blocked",
        priority=0,
        low_w=0 if seen.no_charge else -UNBOUNDED_W,
        high_w=0 if seen.no_discharge else UNBOUNDED_W,
        because="; ".join(why for why in (seen.no_charge, seen.no_discharge) if why),
        unit=seen.unit.name,
    )
