"""What may be done: one file, one limit.

Laws:
- A unit's rule is a pure function `limit(site, seen) -> Limit | None` of what is seen of one unit; it may read nothing
  else, for the engine judges a unit anew only when that changed. A rule of the site is `limits(sight) -> list[Limit]`.
  They lay intervals; the fold decides among them.
- Missing, stale or implausible data may only narrow a rule's interval. Each rule's docstring says to what.
- A rule never reads a clock. What it must remember is a pure function in its file; the engine keeps the result.

To add a rule: a file here, a line in UNIT_RULES or SITE_RULES at its class, a table test with both sides of every edge,
a scenario of the bench.
"""

from collections.abc import Callable

from controller.model import Limit, Sight, Site, UnitSight
from controller.rules import (
    blocked,
    bms_current,
    cell_voltage,
    consumption_limit,
    customer_reserve,
    energy_barrier,
    envelope,
    fault_stop,
    force_charge,
    full_charge,
    hold_power,
    input_limit,
    island_reserve,
    nameplate,
    not_running,
    phase_limit,
    poi_limit,
    power_by_soc,
    pq_circle,
    ramp_down,
    recovery,
    released,
    storm_reserve,
    temperature,
)

UNIT_RULES: tuple[tuple[int, Callable[[Site, UnitSight], Limit | None]], ...] = (
    (0, released.limit),
    (0, fault_stop.limit),
    (0, ramp_down.limit),
    (0, hold_power.limit),
    (0, blocked.limit),
    (1, not_running.limit),
    (1, nameplate.limit),
    (1, bms_current.limit),
    (1, cell_voltage.limit),
    (1, temperature.limit),
    (1, power_by_soc.limit),
    (1, pq_circle.limit),
    (1, force_charge.limit),
    (3, energy_barrier.limit),
    (3, recovery.limit),
    (3, full_charge.limit),
    (4, island_reserve.limit),
    (4, customer_reserve.limit),
    (4, storm_reserve.limit),
)
# By class, strongest first.
SITE_RULES: tuple[tuple[Callable[[Sight], list[Limit]], ...], ...] = (
    (),
    (),
    (
        phase_limit.limits,
        poi_limit.limits,
        envelope.limits,
        input_limit.limits,
        consumption_limit.limits,
    ),
    (),
    (),
)
