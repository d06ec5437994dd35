"""What may be done: one file, one limit.

Laws:
- A rule is a pure function `limits(sight) -> list[Limit]`. It lays intervals; the fold decides among them.
- Missing, stale or implausible data may only narrow a rule's interval. Each rule's docstring says to what.
- A rule never reads a clock or another rule.

To add a rule: a file here, a line in RULES at its class, a table test with both sides of every edge.
"""

from collections.abc import Callable

from controller.model import Limit, Sight
from controller.rules import bms_current, customer_reserve, energy_barrier, fault_stop, nameplate, poi_limit

RULES: tuple[tuple[int, Callable[[Sight], list[Limit]]], ...] = (
    (0, fault_stop.limits),
    (1, nameplate.limits),
    (1, bms_current.limits),
    (2, poi_limit.limits),
    (3, energy_barrier.limits),
    (4, customer_reserve.limits),
)
