"""Class 1: outside the temperatures its cells like, the power shrinks along the battery's curves.

The least over all temperatures that are told counts. A curve makes a temperature mandatory: with none told, and with
the coldest cell told but not the hottest or the other way round, its direction is closed. A temperature that no
battery can have counts as not told.
"""

from controller.model import Battery, Curve, Limit, Site, UnitSight
from controller.rules.curve import ALL_PCT, derated, percent

COLDEST_MC = -60_000  # below it and above the other one no battery is measured, but a sensor that is not there
HOTTEST_MC = 120_000


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return [-charge, discharge] in AC watts; None where both curves leave all."""
    curves, told_mc = seen.unit.derating, _told_mc(seen.battery)
    charge = _left(curves.charge_by_temperature_c, told_mc)
    discharge = _left(curves.discharge_by_temperature_c, told_mc)
    return derated("temperature", seen, charge, discharge)


def _told_mc(battery: Battery | None) -> tuple[int, ...]:
    """Return the temperatures that can be believed; none of them where one end of their range is missing."""
    if battery is None:
        return ()
    coldest, hottest = _believed(battery.temperature_min_mc), _believed(battery.temperature_max_mc)
    if len(coldest) != len(hottest):
        return ()
    return (*coldest, *hottest, *_believed(battery.temperature_mc))


def _believed(value_mc: int | None) -> tuple[int, ...]:
    return () if value_mc is None or not COLDEST_MC <= value_mc <= HOTTEST_MC else (value_mc,)


def _left(curve: Curve, told_mc: tuple[int, ...]) -> tuple[int, str]:
    if not curve:
        return ALL_PCT, ""
    if not told_mc:
        return 0, "temperature not known"
    pct, value_mc = min((percent(curve, value_mc, 1000), value_mc) for value_mc in told_mc)
    return pct, f"battery at {value_mc / 1000:g} degC"
