"""Class 4: what the customer keeps is never sold.

The same barrier as the floor's, at the reserve. It stops discharging; it does not force a charge. With an unknown
energy nothing is discharged. In an island the reserve is what it was kept for: there rules/island_reserve.py has it.
"""

from controller.model import Limit, Site, UnitSight
from controller.rules.energy_barrier import keeping


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return (-unbounded, discharge] in AC watts, nothing while the site is islanded."""
    if seen.islanded:
        return None
    return keeping(site, seen, "customer_reserve", site.energy.reserve_pct * 100, "the customer's")
