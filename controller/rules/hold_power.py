"""Class 0: a unit with a fault that holds it goes no further from 0 W than it stands.

What counts is the power commanded last, which is 0 W at a start: nothing has to be heard of the unit.
"""

from controller.model import Limit, Site, UnitSight


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return [min(0, P), max(0, P)] in AC watts, P commanded last."""
    if not seen.held:
        return None
    low_w, high_w = min(0, seen.power_w), max(0, seen.power_w)
    return Limit(rule="hold_power", priority=0, low_w=low_w, high_w=high_w, because=seen.held, unit=seen.unit.name)
