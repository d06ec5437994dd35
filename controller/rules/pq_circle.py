"""Class 1: active and reactive power of a unit stay together inside its apparent power.

With priority "active" P may take it all and reactive power gets what is left; with "reactive" P gets what the reactive
power leaves that is measured or ordered, whichever is more: P <= sqrt(S^2 - Q^2). Reactive power that is not told is
taken for 44 % of S, the most that IEEE 1547-2018 (5.2, category B) asks of an inverter. The lesser of the site file's
and of the inverter's S counts.
"""

from math import isqrt

from controller.model import Limit, Site, UnitSight

REACTIVE_PCT = 44


def apparent_max_va(seen: UnitSight) -> int | None:
    """Return the lesser of the site file's and of the inverter's apparent power, >= 0; None where nobody tells one."""
    set_va = None if seen.inverter is None else seen.inverter.apparent_max_va
    return min((max(0, va) for va in (seen.unit.apparent_max_va, set_va) if va is not None), default=None)


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return [-P, P] in AC watts; None where nobody tells an apparent power."""
    unit, inverter = seen.unit, seen.inverter
    apparent_va = apparent_max_va(seen)
    if apparent_va is None:
        return None
    power_w, because = apparent_va, f"apparent power of {apparent_va} VA"
    if unit.priority == "reactive":
        told_var = None if inverter is None else inverter.reactive_var
        reactive_var = -(-apparent_va * REACTIVE_PCT // 100) if told_var is None else abs(told_var)
        reactive_var = max(reactive_var, seen.ordered_var)
        power_w = isqrt(max(0, apparent_va * apparent_va - reactive_var * reactive_var))
        assumed = "an assumed " if told_var is None else ""
        because = f"{because} with {assumed}{reactive_var} var leaves {power_w} W"
    return Limit(rule="pq_circle", priority=1, low_w=-power_w, high_w=power_w, because=because, unit=unit.name)
