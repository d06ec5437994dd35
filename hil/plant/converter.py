"""The power stage of a battery inverter: losses, heat, and how much power it lets through."""

from math import exp, inf, sqrt

from hil.plant.inverter_spec import InverterSpec, Terminals


class Converter:
    """The power stage. cabinet_c: its temperature, in balance with the outside before the first step."""

    def __init__(self, spec: InverterSpec) -> None:
        self.spec = spec
        lost = (0.0, 0.0, 0.0, 0.0)
        if not spec.lossless:
            lost = (spec.loss_w, spec.loss_pct / 100, spec.loss_per_w, spec.standby_w)
        self.loss_w, self._share, self._square, self.standby_w = lost
        self.idle_w = self.ac_of_dc_w(0.0)  # what the grid gives when the battery gives nothing
        self._heat_s = spec.heat_k_per_w * spec.heat_j_per_k
        self.cabinet_c: float | None = None

    def dc_of_ac_w(self, ac_w: float, reactive_var: float = 0.0) -> float:
        """Return the power out of the battery for a power toward the grid."""
        square_va = ac_w * ac_w + reactive_var * reactive_var
        return ac_w + self.loss_w + self._share * abs(ac_w) + self._square * square_va

    def ac_of_dc_w(self, dc_w: float, reactive_var: float = 0.0) -> float:
        """Return the power toward the grid for a power out of the battery; at 0 W the grid covers the losses."""
        share, square = self._share, self._square
        spare_w = dc_w - self.loss_w - square * reactive_var * reactive_var
        slope = 1 + share if spare_w >= 0 else 1 - share
        return 2 * spare_w / (slope + sqrt(max(0.0, slope * slope + 4 * square * spare_w)))

    def radius_va(self, v_pu: float) -> float:
        """Return the radius of the PQ circle: the nameplate, or less where the largest current is reached before."""
        return self.spec.rated_va * min(1.0, v_pu * self.spec.current_max_pu)

    def clips_w(self, terminals: Terminals, reactive_var: float, factor: float) -> tuple[float, float]:
        """Return the least and the most power, in the order of the clips: contactor, BMS, heat, DC voltage, nameplate.

        factor: the share of the nameplate, 0 to 1, that the rest of the inverter leaves.
        """
        if not terminals.closed:
            return self.idle_w, self.idle_w
        spec = self.spec
        low_w, high_w = -inf, inf
        if spec.obeys_bms:
            low_w = self.ac_of_dc_w(-terminals.charge_max_w, reactive_var)
            high_w = self.ac_of_dc_w(terminals.discharge_max_w, reactive_var)
        in_w = out_w = spec.rated_w * min(factor, self._cool())
        volts, taper_v = terminals.pack_v, spec.dc_taper_v
        if volts < spec.dc_min_v + taper_v:
            out_w = min(out_w, spec.rated_w * max(0.0, (volts - spec.dc_min_v) / taper_v))
        elif volts > spec.dc_max_v - taper_v:
            in_w = min(in_w, spec.rated_w * max(0.0, (spec.dc_max_v - volts) / taper_v))
        high_w = min(high_w, out_w)
        return min(high_w, max(low_w, -in_w)), high_w

    def warm(self, dt_s: float, lost_w: float, ambient_c: float) -> None:
        """Warm or cool for dt_s: one lump, heated by the losses."""
        spec = self.spec
        if self.cabinet_c is None:
            self.cabinet_c = ambient_c
        end_c = ambient_c + spec.heat_k_per_w * lost_w
        self.cabinet_c = end_c + (self.cabinet_c - end_c) * exp(-dt_s / self._heat_s)

    def _cool(self) -> float:
        """Return the share of the rating that the heat leaves, 0 to 1."""
        spec, at_c = self.spec, self.cabinet_c
        if at_c is None or at_c <= spec.derate_from_c or spec.no_derating:
            return 1.0
        return max(0.0, (spec.derate_to_c - at_c) / (spec.derate_to_c - spec.derate_from_c))
