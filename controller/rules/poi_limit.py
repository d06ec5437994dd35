"""Class 2: import and export at the point of interconnection.

export = batteries - load, so batteries <= load_low + export limit, and batteries >= load_high - import limit, where
[load_low, load_high] is what the load less generation may be (control 1.2). With the meter silent the largest load
and the largest generation are assumed, and the limit never forces the batteries to move: it only narrows around 0 W.
So it is while an inverter is silent, which may go on with its last command until its watchdog ends it: the others then
get no more than the meter still leaves, or they would take over what it has not given up.
"""

from controller.model import Limit, Sight


def limits(sight: Sight) -> list[Limit]:
    """Return one interval for the batteries together."""
    poi = sight.site.poi
    if sight.load_low_w is None or sight.load_high_w is None:
        low_w = min(0, poi.load_max_w - poi.import_max_w + poi.margin_w)
        high_w = max(0, poi.export_max_w - poi.generation_max_w - poi.margin_w)
        because = "the POI meter is silent: largest load and generation assumed"
        if sight.meter is not None:
            away_w = sum(seen.inverter.power_w or 0 for seen in sight.units if seen.inverter) - sight.meter.power_w
            low_w = max(low_w, min(0, away_w - poi.import_max_w + poi.margin_w))
            high_w = min(high_w, max(0, away_w + poi.export_max_w - poi.margin_w))
            because = f"the load is not known, largest assumed; the meter shows {sight.meter.power_w:+d} W"
    else:
        low_w = sight.load_high_w - poi.import_max_w + poi.margin_w
        high_w = sight.load_low_w + poi.export_max_w - poi.margin_w
        because = (
            f"load less generation is {sight.load_low_w} W; export at most {poi.export_max_w} W, "
            f"import at most {poi.import_max_w} W"
        )
    if low_w > high_w:
        low_w = high_w = (low_w + high_w) // 2
    return [Limit(rule="poi_limit", priority=2, low_w=low_w, high_w=high_w, because=because)]
