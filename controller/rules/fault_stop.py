"""Class 0: a unit with a standing fault that stops it (silent, alarmed, open, unknown) stays at 0 W."""

from controller.model import Limit, Sight


def limits(sight: Sight) -> list[Limit]:
    """Return [0, 0] for each stopped unit, because of the fault that stands longest."""
    return [
        Limit(rule="fault_stop", priority=0, low_w=0, high_w=0, because=seen.stopped, unit=seen.unit.name)
        for seen in sight.units
        if seen.stopped
    ]
