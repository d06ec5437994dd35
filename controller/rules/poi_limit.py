"""Class 2: import and export at the point of interconnection.

With the meter silent the largest load and the largest generation are assumed, and the limit never forces the batteries
to move: it only narrows around 0 W. So it is while an inverter is silent (rules/at_poi.py has the arithmetic).
"""

from controller.model import Limit, Sight
from controller.rules.at_poi import behind_poi, known, meet, room_w, told


def limits(sight: Sight) -> list[Limit]:
    """Return one interval for the batteries together."""
    poi = sight.site.poi
    low_w, high_w = meet(*room_w(behind_poi(sight), poi.import_max_w, poi.export_max_w))
    because = told(sight)
    if known(sight):
        because += f"; export at most {poi.export_max_w} W, import at most {poi.import_max_w} W"
    return [Limit(rule="poi_limit", priority=2, low_w=low_w, high_w=high_w, because=because)]
