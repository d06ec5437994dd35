"""What a limit on import and export leaves to the batteries, at the POI or on one phase of it; no rule of its own.

export = batteries - load, so batteries <= load_low + export limit, and batteries >= load_high - import limit, where
[load_low, load_high] is what the load less generation may be (control 1.2).

Where the load is not known the largest load and the largest generation are assumed, and the limit never forces the
batteries to move: it only narrows around 0 W. Where the meter is heard nevertheless (an inverter is silent, which may
go on with its last command until its watchdog ends it; or the meter is doubted) nothing is added to what it shows: the
inverters that are heard get no more than it still leaves, or they would take over what the silent one has not given up.
"""

import msgspec

from controller.model import Sight
from controller.rules.unbounded import UNBOUNDED_W


class Behind(msgspec.Struct, frozen=True, kw_only=True):
    """What lies behind a point: the load less generation, and what counts where that is not known."""

    load_low_w: int | None
    load_high_w: int | None
    load_max_w: int
    generation_max_w: int
    away_w: int | None  # the inverters that are heard less what the meter shows, None where it shows nothing
    margin_w: int


def behind_poi(sight: Sight) -> Behind:
    """Return what lies behind the POI meter."""
    poi, away_w = sight.site.poi, None
    if sight.meter is not None and not known(sight):
        away_w = sum(seen.inverter.power_w or 0 for seen in sight.units if seen.inverter) - sight.meter.power_w
    return Behind(
        load_low_w=sight.load_low_w,
        load_high_w=sight.load_high_w,
        load_max_w=poi.load_max_w,
        generation_max_w=poi.generation_max_w,
        away_w=away_w,
        margin_w=poi.margin_w,
    )


def known(sight: Sight) -> bool:
    """Return whether the load less generation behind the POI meter is known."""
    return sight.load_low_w is not None and sight.load_high_w is not None


def told(sight: Sight) -> str:
    """Return what is known of the load, as a person would tell it."""
    if known(sight):
        low_w, high_w = sight.load_low_w, sight.load_high_w
        return f"load less generation is {low_w} W" + ("" if low_w == high_w else f" to {high_w} W")
    if sight.meter is None:
        return "the POI meter is silent: largest load and generation assumed"
    return f"the load is not known, largest assumed; the meter shows {sight.meter.power_w:+d} W"


def room_w(behind: Behind, import_w: int | None, export_w: int | None) -> tuple[int, int]:
    """Return [low, high] of the batteries' power; low > high where both limits cannot be kept. None = no such limit."""
    low_w, high_w, margin_w = -UNBOUNDED_W, UNBOUNDED_W, behind.margin_w
    if behind.load_low_w is None or behind.load_high_w is None:
        if import_w is not None:
            low_w = min(0, behind.load_max_w - import_w + margin_w)
            if behind.away_w is not None:
                low_w = max(low_w, min(0, behind.away_w - import_w + margin_w))
        if export_w is not None:
            high_w = max(0, export_w - behind.generation_max_w - margin_w)
            if behind.away_w is not None:
                high_w = min(high_w, max(0, behind.away_w + export_w - margin_w))
        return low_w, high_w
    if import_w is not None:
        low_w = behind.load_high_w - import_w + margin_w
    if export_w is not None:
        high_w = behind.load_low_w + export_w - margin_w
    return low_w, high_w


def meet(low_w: int, high_w: int) -> tuple[int, int]:
    """Return the interval, or the middle of two ends that cross: neither limit is given up for the other."""
    middle_w = (low_w + high_w) // 2
    return min(low_w, middle_w), max(high_w, middle_w)


def by_phase(phases: str, power_w: int) -> tuple[int, int, int]:
    """Return a unit's power on the phases a, b, c; the sum is exact. phases: "abc" or one letter."""
    if phases == "abc":
        third_w, rest_w = divmod(power_w, 3)
        return third_w + (rest_w > 0), third_w + (rest_w > 1), third_w
    return (power_w if phases == "a" else 0, power_w if phases == "b" else 0, power_w if phases == "c" else 0)
