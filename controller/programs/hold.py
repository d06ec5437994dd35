"""Class 7: hold the batteries at 0 W."""

from controller.model import Limit, Sight


def wish(sight: Sight) -> Limit:
    """Return 0 W."""
    return Limit(rule="hold", priority=7, low_w=0, high_w=0, because="nothing is asked: the batteries rest")
