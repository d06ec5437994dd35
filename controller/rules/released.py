"""Class 0: a unit to which nothing is written stands where it is measured: the others make up for it.

An inverter that does not follow and holds the site beyond a grid limit is left to its own timer. Until that acts it
goes on with what it does, whatever is planned for it. What it does not tell is left to fault_stop.
"""

from controller.model import Limit, Site, UnitSight


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return [measured, measured] in AC watts for a released unit."""
    if not seen.released or seen.inverter is None or seen.inverter.power_w is None:
        return None
    power_w = seen.inverter.power_w
    because = f"it is left to its own timer and measured at {power_w:+d} W"
    return Limit(rule="released", priority=0, low_w=power_w, high_w=power_w, because=because, unit=seen.unit.name)
