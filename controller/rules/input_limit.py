"""Class 2: what a contact allows at the point of interconnection: ripple control, a relay after section 14a EnWG.

A contact that is not heard counts as active, and one without a limit of its own as 0 W. With the load not known the
largest load and the largest generation are assumed, and nothing forces the batteries to move.
"""

from controller.model import Active, Limit, Sight
from controller.rules.at_poi import behind_poi, room_w, told


def limits(sight: Sight) -> list[Limit]:
    """Return one interval for the batteries together for each active contact that limits import or export."""
    return [_limit(sight, active) for active in sight.active if active.means in ("import_limit", "export_limit")]


def _limit(sight: Sight, active: Active) -> Limit:
    most_w = active.limit_w or 0
    imports = active.means == "import_limit"
    low_w, high_w = room_w(behind_poi(sight), most_w if imports else None, None if imports else most_w)
    state = "is not heard and counts as active" if active.lost else "is active"
    because = f"input {active.name} {state}: {'import' if imports else 'export'} at most {most_w} W; {told(sight)}"
    return Limit(rule="input_limit", priority=2, low_w=low_w, high_w=high_w, because=because)
