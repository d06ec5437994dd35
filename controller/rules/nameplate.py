"""Class 1: no unit beyond its nameplate, nor beyond what its inverter says it is set to.

What the inverter does not tell leaves the nameplate of the site file.
"""

from controller.model import Limit, Site, UnitSight


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return [-charge, discharge] in AC watts: the lesser of the site file and of the inverter's settings."""
    unit, inverter = seen.unit, seen.inverter
    charge_w, discharge_w = unit.charge_max_w, unit.discharge_max_w
    lower = "the inverter is set lower than its nameplate"
    because = "nameplate in the site file"
    if inverter is not None:
        if inverter.charge_max_w is not None and inverter.charge_max_w < charge_w:
            charge_w, because = max(0, inverter.charge_max_w), lower
        if inverter.discharge_max_w is not None and inverter.discharge_max_w < discharge_w:
            discharge_w, because = max(0, inverter.discharge_max_w), lower
    return Limit(rule="nameplate", priority=1, low_w=-charge_w, high_w=discharge_w, because=because, unit=unit.name)
