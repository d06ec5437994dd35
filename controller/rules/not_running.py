"""Class 1: a unit that has not started stays at 0 W, and one that is being stopped is brought there gently.

It runs only once contactor and inverter have confirmed their start; without that confirmation it stays at 0 W.
"""

from controller.model import Limit, Site, UnitSight
from controller.rules.ramp_down import shrunk_w

BECAUSE = {
    "off": "the unit is off",
    "precharge": "the unit is starting: the contactor has not confirmed yet",
    "standby": "the unit is starting: the inverter has not confirmed yet",
    "ramp_down": "the unit is being stopped",
    "fault": "the unit has failed and is not started again by itself",
}


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return [0, 0], or what is left of the last power while the unit is being stopped."""
    if seen.phase == "run":
        return None
    low_w, high_w = shrunk_w(seen) if seen.phase == "ramp_down" else (0, 0)
    because = BECAUSE[seen.phase]
    return Limit(rule="not_running", priority=1, low_w=low_w, high_w=high_w, because=because, unit=seen.unit.name)
