"""Class 1: a battery that asks to be charged by force is charged with a small power, from whatever source.

As much as its own current limit leaves and no more: a limit or a voltage that is not told forces nothing. It is folded
last in its class, so that what the cells cannot take (too cold, too hot, too high) goes before what they ask for.
"""

from controller.model import Limit, Site, UnitSight
from controller.rules.bms_current import charge_w
from controller.rules.unbounded import UNBOUNDED_W

FORCE_PCT = 5  # of the nameplate: peers take 5 to 10 % for a battery that is low (control 1.2)


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return (-unbounded, -charge] in AC watts while the battery asks for it."""
    if seen.battery is None or not seen.battery.force_charge:
        return None
    unit = seen.unit
    # Less than its least power the unit could not take at all.
    power_w = min(max(unit.charge_max_w * FORCE_PCT // 100, unit.min_power_w), charge_w(seen))
    because = f"the battery asks to be charged by force: {power_w} W"
    return Limit(rule="force_charge", priority=1, low_w=-UNBOUNDED_W, high_w=-power_w, because=because, unit=unit.name)
