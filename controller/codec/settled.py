"""What a device told once and tells no more.

A reading without a datum may come from a device that has none, or from one that lost it. The first has never told it.
What the second one told is not forgotten, or its loss would widen what the site does: a rating stays as it was told
last, and what permits counts as refused: charging, discharging, a closed contactor, the connection to the grid. Of a
battery that lost both ends of its cells' temperatures one is kept, so that it is told from one that never had them:
with one end alone nothing is believed (rules/temperature.py).
"""

import msgspec

from controller.model import AnyReading, Battery, Inverter

_KEPT: dict[type, tuple[str, ...]] = {
    Inverter: ("charge_max_w", "discharge_max_w", "apparent_max_va"),
    Battery: (),
}
_REFUSED: dict[type, tuple[str, ...]] = {
    Inverter: ("connected",),
    Battery: ("charge_allowed", "discharge_allowed", "contactor_closed"),
}
_ENDS = ("temperature_min_mc", "temperature_max_mc")


def settled(before: AnyReading | None, now: AnyReading) -> AnyReading:
    """Return now with what before told and now does not; the very same object where nothing was lost."""
    if type(before) is not type(now) or type(now) not in _KEPT:
        return now
    lost: dict[str, object] = {}
    for name in _KEPT[type(now)]:
        if getattr(now, name) is None and getattr(before, name) is not None:
            lost[name] = getattr(before, name)
    for name in _REFUSED[type(now)]:
        if getattr(now, name) is None and getattr(before, name) is not None:
            lost[name] = False
    if isinstance(now, Battery) and all(getattr(now, name) is None for name in _ENDS):
        told = {name: getattr(before, name) for name in _ENDS if getattr(before, name) is not None}
        lost |= dict(list(told.items())[:1])
    return msgspec.structs.replace(now, **lost) if lost else now
