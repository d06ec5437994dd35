"""Class 4: in an island the customer's reserve is given up down to what the island keeps.

The same barrier as the floor's, at energy.island_pct, so that something is left to start again with. With an unknown
energy nothing is discharged.
"""

from controller.model import Limit, Site, UnitSight
from controller.rules.energy_barrier import keeping


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return (-unbounded, discharge] in AC watts while the site is islanded."""
    if not seen.islanded:
        return None
    return keeping(site, seen, "island_reserve", site.energy.island_pct * 100, "kept in an island")
