"""What should be done: one file, one wish.

Laws:
- A program is a pure function of what is seen; its wish is a Limit, width zero for a target. It is folded last.
- A program whose data is missing wishes nothing: the site then holds at 0 W.
- Exactly one program's wish is taken: the utility's order (class 5), else the default while the utility is silent,
  else the calendar's program (6), else the site's own (7).

To add a program: a file here, its name in PROGRAMS (and in model.site.Program if the site file may choose it).
"""

from collections.abc import Callable

from controller.model import Limit, Sight
from controller.programs import hold, self_consumption
from controller.programs.follow import order_limits, target

PROGRAMS: dict[str, Callable[[Sight], Limit]] = {
    "hold": hold.wish,
    "self_consumption": self_consumption.wish,
}


def chosen(sight: Sight) -> Limit:
    """Return the wish of the one program whose turn it is."""
    asked = target(sight)
    if asked is not None:
        return asked
    site, snapshot = sight.site, sight.snapshot
    if snapshot.utility_silent:
        default = site.utility.default
        if default.power_w is not None:
            because = f"the utility is silent: the site's default order is {default.power_w:+d} W"
            return Limit(rule="default", priority=5, low_w=default.power_w, high_w=default.power_w, because=because)
        return PROGRAMS[default.program or "hold"](sight)
    return PROGRAMS[snapshot.program or site.program](sight)


__all__ = ["PROGRAMS", "chosen", "order_limits", "target"]
