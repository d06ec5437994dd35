"""Class 0: a unit with a standing fault that stops it (silent, alarmed, open, unknown) stays at 0 W.

What is missing is a fault by itself, so a unit that is not heard is stopped as well.
"""

from controller.model import Limit, Site, UnitSight


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return [0, 0] for a stopped unit, because of the fault that stands longest."""
    if not seen.stopped:
        return None
    return Limit(rule="fault_stop", priority=0, low_w=0, high_w=0, because=seen.stopped, unit=seen.unit.name)
