"""One moment of the plant, with what several invariants need of it.

A device that does not obey is not the controller's doing. own_w is what of a unit's power its set points account for:
the power, held between 0 W and the set points that were in force within the last settling time. Of a device that obeys
it is the whole power; of one in local control, with a turned sign or deaf it is less, and the rest is nobody's order.
"""

from math import inf, isfinite

from controller.model import Site
from hil.judge.bounds import EXPECTED_PCT, Bounds
from hil.judge.limits import Limits
from hil.plant.truth import Truth, UnitTruth

NOTHING = Truth(t_s=-inf, units=(), load_w=0, pv_w=0, poi_w=0, grid_hz=0, grid_v=0)


class Moment:
    """The latest truth. Made once and taken forward, so that a sample costs no memory."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds, count = bounds, len(bounds.units)
        self.truth, self.dt_s = NOTHING, 0.0
        self.own_w = [0.0] * count
        self.reached = [True] * count  # whether the inverter can be told anything
        self.obeys = [True] * count
        self.command_w = 0.0  # of all units together
        self.net_load_w = 0.0
        self.wish_w: float | None = None  # what the utility's order asks of the batteries, None = there is none
        self.blind = False  # the meter is cut off, and not for so long that the site has to know
        self.over_told_wh = [0.0] * count  # what is told too much, beyond what the site declares, with a little memory
        self.under_told_wh = [0.0] * count
        self._over_s, self._under_s = [-inf] * count, [-inf] * count
        self._low_w, self._high_w = [0.0] * count, [0.0] * count  # set points of the last settling time
        self._low_s, self._high_s = [-inf] * count, [-inf] * count
        self._meter, self._meter_cut_s = bounds.site.poi.meter, inf
        self._at_poi = bounds.site.utility.domain == "poi"
        self.limits = Limits(bounds)

    def take(self, truth: Truth) -> None:
        """Go on to truth. Stops the bench where it is out of order, of another site, or no number."""
        t_s, before_s = truth.t_s, self.truth.t_s
        assert t_s >= before_s, f"samples come in order: {t_s} s after {before_s} s"
        self.dt_s = t_s - before_s if before_s > -inf else 0.0
        self.truth = truth
        self.net_load_w = net_load_w = truth.load_w - truth.pv_w
        self.wish_w = order_w = truth.order_w
        if order_w is not None and self._at_poi:
            self.wish_w = order_w + net_load_w
        if self._meter not in truth.cut:
            self._meter_cut_s, self.blind = inf, False
        else:
            self._meter_cut_s = min(self._meter_cut_s, t_s)
            patience_s = self.bounds.meter_stale_s + self.bounds.allowed.silence_s
            self.blind = t_s - self._meter_cut_s <= patience_s
        self.limits.take(truth)
        total = net_load_w + truth.poi_w + truth.meter_false_w + truth.grid_hz + truth.grid_v + (order_w or 0.0)
        self.command_w = 0.0
        for place, unit in enumerate(truth.units):
            total += self._unit(place, unit, t_s)
        assert isfinite(total), f"not a number in the truth: {truth}"

    def poi_needs_w(self, sign: int) -> float:
        """Return the least power the batteries must have in one direction (1: discharge) so that the POI limit holds.

        Negative where they may rest. The interconnection stands above energy and reserve.
        """
        limits = self.limits
        most_w = limits.import_w if sign > 0 else limits.export_w
        need_w = sign * self.net_load_w - most_w + self.bounds.site.poi.margin_w
        return max(need_w, limits.need_w[0 if sign > 0 else 1])

    def unforced(self, sign: int) -> float:
        """Return which share (0..1) of the batteries' power in one direction the POI limit does not demand."""
        total_w = sum(max(0.0, sign * own_w) for own_w in self.own_w)
        return 1.0 - min(1.0, max(0.0, self.poi_needs_w(sign)) / total_w) if total_w > 0 else 1.0

    def room_w(self, sign: int) -> float:
        """Return how far the batteries could still move against one direction (1: against export), 0 at the least.

        A unit that is not heard, or that a contact keeps from it, may be stopped and no more; one that is not reached,
        does not run or does not obey cannot be moved at all.
        """
        total_w = 0.0
        stops = {"emergency_stop", "no_charge" if sign > 0 else "no_discharge"} & self.limits.means
        for place, unit in enumerate(self.truth.units):
            if not self.reached[place] or not self.obeys[place] or unit.state != "run":
                continue
            able_w = 0.0
            if unit.closed and not stops and not self.deaf(unit):
                able_w = self._able_w(place, unit, -sign) * (100 - EXPECTED_PCT) / 100
            total_w += max(0.0, sign * unit.ac_w, sign * unit.ac_w + able_w)
        return total_w

    def deaf(self, unit: UnitTruth) -> bool:
        """Return whether one of a unit's batteries cannot be heard: the unit has to rest then."""
        return any(name in self.truth.cut for name in unit.batteries)

    def _able_w(self, place: int, unit: UnitTruth, sign: int) -> float:
        row = self.bounds.units[place]
        volts = unit.pack_v * row.part_ratio
        if sign > 0:
            return min(row.discharge_w, unit.discharge_max_a * volts * row.efficiency_ratio)
        return min(row.charge_w, unit.charge_max_a * volts)

    def _unit(self, place: int, unit: UnitTruth, t_s: float) -> float:
        """Take a unit and return a sum that is a number when all its values are."""
        row, ac_w, command_w = self.bounds.units[place], unit.ac_w, unit.command_w
        self.command_w += command_w
        if command_w >= self._high_w[place] or t_s - self._high_s[place] > row.settle_s:
            self._high_w[place], self._high_s[place] = command_w, t_s
        if command_w <= self._low_w[place] or t_s - self._low_s[place] > row.settle_s:
            self._low_w[place], self._low_s[place] = command_w, t_s
        low_w, high_w = min(0.0, self._low_w[place]) - row.near_w, max(0.0, self._high_w[place]) + row.near_w
        self.own_w[place] = low_w if ac_w < low_w else min(ac_w, high_w)
        self.obeys[place] = low_w <= ac_w <= high_w
        self.reached[place] = unit.inverter not in self.truth.cut
        off_wh = unit.soc_told * row.capacity_wh - unit.energy_wh
        if abs(off_wh) > row.error_wh or self.over_told_wh[place] or self.under_told_wh[place]:
            self._told(place, off_wh, t_s)
        return (
            ac_w
            + command_w
            + unit.reactive_var
            + unit.dc_w
            + unit.energy_wh
            + unit.capacity_wh
            + unit.soc
            + unit.soc_told
            + unit.pack_v
            + unit.pack_a
            + unit.charge_max_a
            + unit.discharge_max_a
        )

    def _told(self, place: int, off_wh: float, t_s: float) -> None:
        """Note what is told too much of the energy; it may be acted on for as long as a silent battery's last word."""
        row = self.bounds.units[place]
        over_wh, under_wh = off_wh - row.error_wh, -off_wh - row.error_wh
        patience_s = row.stale_s + self.bounds.allowed.silence_s
        if over_wh >= self.over_told_wh[place] or t_s - self._over_s[place] > patience_s:
            self.over_told_wh[place], self._over_s[place] = max(0.0, over_wh), t_s
        if under_wh >= self.under_told_wh[place] or t_s - self._under_s[place] > patience_s:
            self.under_told_wh[place], self._under_s[place] = max(0.0, under_wh), t_s


def belongs(truth: Truth, site: Site) -> bool:
    """Tell whether the units of a truth are those of a site, in its order."""
    return [(u.inverter, u.batteries) for u in truth.units] == [(u.inverter, u.batteries) for u in site.unit]
