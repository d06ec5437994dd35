"""Class 1: no unit beyond its nameplate, nor beyond what its inverter says it is set to."""

from controller.model import Limit, Sight


def limits(sight: Sight) -> list[Limit]:
    """Return [-charge, discharge] in AC watts per unit: the lesser of the site file and of the inverter's settings."""
    found = []
    for seen in sight.units:
        unit, inverter = seen.unit, seen.inverter
        charge_w, discharge_w = unit.charge_max_w, unit.discharge_max_w
        because = "nameplate in the site file"
        if inverter is not None:
            if inverter.charge_max_w is not None and inverter.charge_max_w < charge_w:
                charge_w, because = inverter.charge_max_w, "the inverter is set lower than its nameplate"
            if inverter.discharge_max_w is not None and inverter.discharge_max_w < discharge_w:
                discharge_w, because = inverter.discharge_max_w, "the inverter is set lower than its nameplate"
        found.append(
            Limit(rule="nameplate", priority=1, low_w=-charge_w, high_w=discharge_w, because=because, unit=unit.name)
        )
    return found
