"""Invariants of the stored energy: floor, ceiling and the customer's reserve, unit by unit, by the true energy.

What counts is what is driven across: power that the unit's own set points account for, that the POI limit did not
demand (the interconnection stands above energy, and energy above the reserve), at a true energy beyond the bound. So
stand-by losses and a battery that begins on the wrong side break nothing, and one discharged there does. The controller
keeps the declared error of the estimate away from each bound; where it is told more wrong than that, the bound itself
moves by what is more.
"""

from collections.abc import Callable

from hil.judge.bounds import IDLE_W, Bounds, listed
from hil.judge.measures import Laid
from hil.judge.moment import Moment

Edges = Callable[[Moment], tuple[float, ...] | None]


class Driven:
    """How far a unit was driven across a bound, in Wh, until it is back; negative: what is to spare.

    edges_wh: of each unit, by the moment, None where there are none now. sign 1: discharged below them, -1: charged
    above. for_utility: only what an order asks for counts.
    """

    def __init__(self, edges_wh: Edges, sign: int, count: int, *, for_utility: bool = False) -> None:
        self._edges_wh, self._sign, self._for_utility = edges_wh, sign, for_utility
        self._driven_wh = [0.0] * count

    def __call__(self, moment: Moment, place: int) -> float | None:
        """Take a moment of one unit."""
        sign, unit, edges_wh = self._sign, moment.truth.units[place], self._edges_wh(moment)
        if edges_wh is None:
            self._driven_wh[place] = 0.0
            return None
        beyond_wh = sign * (edges_wh[place] - unit.energy_wh)
        beyond_wh -= (moment.over_told_wh if sign > 0 else moment.under_told_wh)[place]
        if beyond_wh <= 0:
            self._driven_wh[place] = 0.0
            return beyond_wh
        own_w = sign * moment.own_w[place]
        asked = moment.wish_w is not None and moment.wish_w > 0
        if own_w > IDLE_W and (asked or not self._for_utility):
            share = moment.unforced(sign) * min(1.0, moment.own_w[place] / unit.ac_w)
            self._driven_wh[place] += max(0.0, sign * unit.dc_w) * share * moment.dt_s / 3600
        return self._driven_wh[place]


def floor(bounds: Bounds) -> Laid:
    """Lay the floor."""
    return _laid(bounds, tuple(unit.floor_wh for unit in bounds.units), 1)


def ceiling(bounds: Bounds) -> Laid:
    """Lay the ceiling."""
    return _laid(bounds, tuple(unit.ceiling_wh for unit in bounds.units), -1)


def reserve(bounds: Bounds) -> Laid:
    """Lay the customer's reserve; in an island it is there to be used."""
    edges_wh = tuple(unit.reserve_wh for unit in bounds.units)
    return _laid(bounds, edges_wh, 1, for_utility=True, in_islands=False)


def storm_reserve(bounds: Bounds) -> Laid:
    """Lay the reserve that is kept ahead of a storm, for whatever the energy would be spent."""
    capacities_wh = tuple(unit.capacity_wh for unit in bounds.units)

    def edges_wh(moment: Moment) -> tuple[float, ...] | None:
        kept_pct = moment.limits.reserve_pct
        return None if kept_pct is None else tuple(capacity_wh * kept_pct / 100 for capacity_wh in capacities_wh)

    reaction_s = bounds.allowed.reaction_s
    return Laid(
        excess=Driven(edges_wh, 1, len(bounds.units)),
        allowed=tuple(unit.slack_wh + unit.discharge_w * reaction_s / 3600 for unit in bounds.units),
        says=f"from {reaction_s:g} s after it was asked for",
    )


def _laid(
    bounds: Bounds, edges_wh: tuple[float, ...], sign: int, *, for_utility: bool = False, in_islands: bool = True
) -> Laid:
    def edges(moment: Moment) -> tuple[float, ...] | None:
        return edges_wh if in_islands or "islanded" not in moment.limits.means else None

    return Laid(
        excess=Driven(edges, sign, len(edges_wh), for_utility=for_utility),
        allowed=tuple(unit.slack_wh for unit in bounds.units),
        says=f"{listed(edges_wh)} Wh; the estimate may be {listed(u.error_wh for u in bounds.units)} Wh off",
    )
