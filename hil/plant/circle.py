"""The reactive power of an inverter and the active power that fits beside it: the PQ circle.

Q comes from a function of the grid code (hil.plant.grid_support) or, while one is enabled, from a set point of SunSpec
704.VarSet, which stands in for them and answers as fast as power does. Which of P and Q keeps its value at the edge of
the circle is the spec's word, or that of the set point while it holds.
"""

from hil.plant.functions import lagged, rest_of_circle
from hil.plant.grid_support import NEAR_PU, GridSupport
from hil.plant.inverter_spec import InverterSpec, Reactive


class Circle:
    """reactive_var is what flows; order: the set point past the dead time."""

    def __init__(self, spec: InverterSpec, support: GridSupport) -> None:
        self.spec, self.support = spec, support
        self.order = Reactive()
        self.reactive_var = 0.0
        self._set_pu = 0.0  # on its way to the set point

    @property
    def enabled(self) -> bool:
        """Whether anything shapes Q, or Q is on its way back from it."""
        return self.order.enabled or bool(self._set_pu) or self.support.enabled

    @property
    def moving(self) -> bool:
        """Whether Q has not arrived where a set point wants it."""
        return self._set_pu != self._wanted_pu

    def reset(self) -> None:
        """Start anew: the inverter has stopped."""
        self.support.reset()
        self.reactive_var = self._set_pu = 0.0

    def fit(self, dt_s: float, power_w: float, radius_va: float, v_pu: float) -> float:
        """Move Q for dt_s and return the P that fits beside it."""
        spec, order = self.spec, self.order
        reactive_first = (order.priority if order.enabled else spec.priority) == "reactive"
        room_w = rest_of_circle(radius_va, self.reactive_var) if reactive_first else radius_va
        seen_w = min(room_w, max(-room_w, power_w))
        wanted_var = spec.rated_va * self._pu(dt_s, seen_w / spec.rated_w, v_pu)
        most_var = min(radius_va, spec.rated_va * spec.var_max_pct / 100)
        if not reactive_first:
            most_var = min(most_var, rest_of_circle(radius_va, seen_w))
        self.reactive_var = min(most_var, max(-most_var, wanted_var))
        room_w = rest_of_circle(radius_va, self.reactive_var)
        return min(room_w, max(-room_w, power_w))

    @property
    def _wanted_pu(self) -> float:
        return self.order.reactive_var / self.spec.rated_va if self.order.enabled else 0.0

    def _pu(self, dt_s: float, power_pu: float, v_pu: float) -> float:
        by_function_pu = self.support.reactive_pu(dt_s, power_pu, v_pu)
        if not self.order.enabled and not self._set_pu:
            return by_function_pu
        spec, wanted_pu = self.spec, self._wanted_pu
        self._set_pu = lagged(self._set_pu, wanted_pu, dt_s, 0.0 if spec.instant else spec.response_s)
        if abs(wanted_pu - self._set_pu) < NEAR_PU:
            self._set_pu = wanted_pu
        return self._set_pu if self.order.enabled else self._set_pu + by_function_pu
