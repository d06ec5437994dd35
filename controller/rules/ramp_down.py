"""Class 0: a unit with a fault that lets it go gently is brought to 0 W within ten seconds.

Its power may only shrink from the one commanded last, which is 0 W at a start: nothing has to be heard of the unit.
"""

from controller.model import Limit, Site, UnitSight

RAMP_DOWN_S = 10  # from the nameplate to 0 W: what a contactor or a fan can wait for


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return [0, P] or [-P, 0] in AC watts, P a step nearer to 0 W than the power commanded last."""
    if not seen.fading:
        return None
    low_w, high_w = shrunk_w(seen)
    return Limit(rule="ramp_down", priority=0, low_w=low_w, high_w=high_w, because=seen.fading, unit=seen.unit.name)


def shrunk_w(seen: UnitSight) -> tuple[int, int]:
    """Return what is left between 0 W and the last power after the time since then, a watt less at least."""
    nameplate_w = max(seen.unit.charge_max_w, seen.unit.discharge_max_w)
    step_w = max(1, nameplate_w * seen.elapsed_ms // (RAMP_DOWN_S * 1000))
    return min(0, seen.power_w + step_w), max(0, seen.power_w - step_w)
