"""The reference follower: what an ideal controller would do with the same order on the same plant.

It knows the truth: the true energy less the error that the site declares for its estimate, the true load, what the
batteries permit at this moment, which devices can be reached. Its devices answer at once. Its limits are the site
file's in the order of the law: ratings and BMS, interconnection, energy, the customer's reserve, then the order.
"""

from collections import deque
from math import nan

import msgspec

from controller.model import Site
from hil.judge.bounds import Allowed, Bounds, UnitBounds
from hil.plant.truth import Truth, UnitTruth

QUANTUM_RATIO = 0.0001  # of the capacity: the last digit of a state of charge in hundredths of a percent
MET_W = 1.0


class Ideal(msgspec.Struct, frozen=True, kw_only=True):
    """What the reference follower does at one moment. Not a number where nothing is asked."""

    asked_w: float  # of the batteries
    power_w: float
    late_w: float  # the same after the delay, within the limits of now
    bound: str  # what took a part of it: "units", "poi", "energy", "reserve", or "" where all was given

    @property
    def met(self) -> bool:
        """Tell whether all that was asked could be given."""
        return not self.bound and self.asked_w == self.asked_w


class Reference:
    """Follows the order in force, at once and after delay_s."""

    def __init__(self, site: Site, delay_s: float) -> None:
        self._site, self._delay_s, self._bounds = site, delay_s, Bounds(site, Allowed())
        self.parts = tuple(row.part_ratio for row in self._bounds.units)  # of its batteries, by unit
        self._past: deque[tuple[float, float]] = deque()  # t_s, power_w; not older than the delay
        self._late_w = nan

    def sample(self, truth: Truth) -> Ideal:
        """Take a moment. t_s never decreases."""
        low_w, high_w, names = self._limits(truth)
        asked_w = nan if truth.order_w is None else float(truth.order_w)
        if self._site.utility.domain == "poi":
            asked_w += truth.load_w - truth.pv_w
        power_w = max(low_w, min(asked_w, high_w)) if asked_w == asked_w else nan
        bound = ""
        if abs(power_w - asked_w) > MET_W:
            bound = names[0] if asked_w < power_w else names[1]
        self._past.append((truth.t_s, power_w))
        while self._past and self._past[0][0] <= truth.t_s - self._delay_s + 1e-9:
            self._late_w = self._past.popleft()[1]
        late_w = self._late_w
        if late_w == late_w:
            late_w = max(low_w, min(late_w, high_w))
        return Ideal(asked_w=asked_w, power_w=power_w, late_w=late_w, bound=bound)

    def _limits(self, truth: Truth) -> tuple[float, float, tuple[str, str]]:
        """Return the least and the most power and the names of what set them."""
        unit_low_w = unit_high_w = low_wh_w = high_wh_w = sold_w = 0.0
        for unit, row in zip(truth.units, self._bounds.units, strict=True):
            charge_w, discharge_w = _able(unit, row, truth.cut)
            most_in_w, most_out_w, most_sold_w = self._by_energy(unit, row)
            unit_low_w -= charge_w
            unit_high_w += discharge_w
            low_wh_w -= min(charge_w, most_in_w)
            high_wh_w += min(discharge_w, most_out_w)
            sold_w += min(discharge_w, most_sold_w)
        poi, net_load_w = self._site.poi, truth.load_w - truth.pv_w
        low_w, high_w, low_name, high_name = unit_low_w, unit_high_w, "units", "units"
        for name, least_w, most_w in (
            ("poi", net_load_w - poi.import_max_w, net_load_w + poi.export_max_w),
            ("energy", low_wh_w, high_wh_w),
            ("reserve", low_wh_w, sold_w),
        ):
            raised_w, lowered_w = min(least_w, high_w), max(most_w, low_w)
            if raised_w > low_w:
                low_w, low_name = raised_w, name
            if lowered_w < high_w:
                high_w, high_name = lowered_w, name
        return low_w, high_w, (low_name, high_name)

    def _by_energy(self, unit: UnitTruth, row: UnitBounds) -> tuple[float, float, float]:
        """Return the AC power in W that may go in, that may go out, and that may go out for the utility.

        At most what reaches the bound after the taper time, or after a cycle and the watchdog where that is longer.
        """
        energy = self._site.energy
        horizon_s = max(float(energy.taper_s), self._bounds.cycle_s + row.watchdog_s)
        off_wh = row.error_wh + row.capacity_wh * QUANTUM_RATIO
        out_wh = unit.energy_wh - off_wh - row.floor_wh
        sold_wh = unit.energy_wh - off_wh - max(row.floor_wh, row.reserve_wh)
        in_wh = row.ceiling_wh - off_wh - unit.energy_wh
        per_s = 3600 * row.part_ratio / horizon_s
        out_w, sold_w = (max(0.0, left_wh) * row.efficiency_ratio * per_s for left_wh in (out_wh, sold_wh))
        return max(0.0, in_wh) * per_s, out_w, sold_w


def _able(unit: UnitTruth, row: UnitBounds, cut: frozenset[str]) -> tuple[float, float]:
    """Return what a unit can take and give now, in W: nothing where it stands, is cut off or its contactor is open."""
    if unit.state != "run" or not unit.closed or not cut.isdisjoint((unit.inverter, *unit.batteries)):
        return 0.0, 0.0
    volts = unit.pack_v * row.part_ratio
    charge_w = min(row.charge_w, unit.charge_max_a * volts)
    return charge_w, min(row.discharge_w, unit.discharge_max_a * volts * row.efficiency_ratio)
