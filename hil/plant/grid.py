"""The grid at the point of interconnection: its frequency, its voltages, and the breaker toward it.

What is set is the source's; behind an impedance the site's own power lifts or lowers the voltage. With the breaker
open the site is an island: it is dead unless an inverter forms a grid, which then holds nominal voltage and frequency.
"""

from math import hypot, sqrt
from typing import Annotated, Protocol, TypeAlias

import msgspec
from msgspec import Meta

from hil.plant import GRID_HZ, GRID_V

Phases: TypeAlias = tuple[float, float, float]
EVEN: Phases = (0.0, 0.0, 0.0)


class GridSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the grid is. Voltages are phase to neutral; R and X are those of one phase with its share of the neutral."""

    nominal_v: Annotated[float, Meta(ge=50, le=1000)] = GRID_V
    nominal_hz: Annotated[float, Meta(ge=45, le=65)] = GRID_HZ
    r_ohm: Annotated[float, Meta(ge=0, le=10)] = 0.0  # both 0: a stiff grid
    x_ohm: Annotated[float, Meta(ge=0, le=10)] = 0.0
    feeder: bool = False  # the voltages come from hil/plant/feeder.py and not from R and X
    forming: bool = False  # an inverter of the site carries the island


class Impedance(Protocol):
    """What lies between the source and the site."""

    def solve(self, source_v_pu: Phases, phase_w: Phases, phase_var: Phases) -> Phases:
        """Return the voltages at the site in pu for those of the source and the site's power (+ toward the grid)."""


class Thevenin(msgspec.Struct, frozen=True, kw_only=True):
    """R + jX in each phase, the phases independent of each other."""

    nominal_v: float
    r_ohm: float
    x_ohm: float

    def solve(self, source_v_pu: Phases, phase_w: Phases, phase_var: Phases) -> Phases:
        """Return the voltages at the site in pu."""
        (e_1, e_2, e_3), (p_1, p_2, p_3), (q_1, q_2, q_3) = source_v_pu, phase_w, phase_var
        return self._phase(e_1, p_1, q_1), self._phase(e_2, p_2, q_2), self._phase(e_3, p_3, q_3)

    def _phase(self, source_pu: float, power_w: float, reactive_var: float) -> float:
        """Solve V = E + Z I with I = conj(S / V) for |V|, the upper of the two solutions.

        With a = RP + XQ and b = XP - RQ that is |V|^2 = c + sqrt(c^2 - a^2 - b^2), c = a + E^2/2. A load beyond what
        the impedance can carry has no solution: the voltage collapses.
        """
        squared = self.nominal_v * self.nominal_v
        along = (self.r_ohm * power_w + self.x_ohm * reactive_var) / squared
        across = (self.x_ohm * power_w - self.r_ohm * reactive_var) / squared
        middle = along + source_pu * source_pu / 2
        return sqrt(max(0.0, middle + sqrt(max(0.0, middle * middle - along * along - across * across))))


class Grid:
    """The voltages and the frequency at the site.

    From outside: set_hz, set_v_pu (all phases), phase_factor (each phase's part of it, [1, 1, 0] = one phase lost) and
    closed (the breaker). What was set holds from the next step on.
    """

    def __init__(self, spec: GridSpec | None = None, impedance: Impedance | None = None) -> None:
        """impedance: None = as the spec says. Raises ImportError where the spec's feeder needs what is not here."""
        self.spec = spec = spec or GridSpec()
        self.set_hz, self.set_v_pu = spec.nominal_hz, 1.0
        self.phase_factor = [1.0, 1.0, 1.0]
        self.closed = True
        self.hz = self.set_hz
        self.phase_v_pu: Phases = (1.0, 1.0, 1.0)
        self.phase_w = self.phase_var = EVEN  # what the site gave in the last step
        self._impedance = impedance or _impedance(spec)
        self._in_force = self._asked()

    @property
    def busy(self) -> bool:
        """Tell whether something was set that does not hold yet."""
        return self._asked() != self._in_force

    @property
    def v_pu(self) -> float:
        """Return the mean of the phases' voltages in pu."""
        return sum(self.phase_v_pu) / 3

    @property
    def v(self) -> float:
        """Return the mean of the phases' voltages in V, phase to neutral."""
        return self.v_pu * self.spec.nominal_v

    @property
    def phase_v(self) -> Phases:
        """Return the phases' voltages in V, phase to neutral."""
        (v_1, v_2, v_3), nominal_v = self.phase_v_pu, self.spec.nominal_v
        return v_1 * nominal_v, v_2 * nominal_v, v_3 * nominal_v

    @property
    def phase_a(self) -> Phases:
        """Return what flows in each phase in A, a magnitude; nothing in one that is dead."""
        (w_1, w_2, w_3), (q_1, q_2, q_3), (v_1, v_2, v_3) = self.phase_w, self.phase_var, self.phase_v
        return _amps(w_1, q_1, v_1), _amps(w_2, q_2, v_2), _amps(w_3, q_3, v_3)

    def step(
        self, _dt_s: float, site_w: float, site_var: float, unbalance_w: Phases = EVEN, unbalance_var: Phases = EVEN
    ) -> None:
        """Take what was set and the site's power: its sum, + toward the grid, and each phase's distance from a third.

        The grid has no memory, so that a step of any length ends in the same state.
        """
        self._in_force = self._asked()
        share_w, share_var = site_w / 3, site_var / 3
        off_1, off_2, off_3 = unbalance_w
        self.phase_w = (share_w + off_1, share_w + off_2, share_w + off_3)
        off_1, off_2, off_3 = unbalance_var
        self.phase_var = (share_var + off_1, share_var + off_2, share_var + off_3)
        if self.closed:
            self.hz = self.set_hz
            factor_1, factor_2, factor_3 = self.phase_factor
            source_pu = (self.set_v_pu * factor_1, self.set_v_pu * factor_2, self.set_v_pu * factor_3)
            self.phase_v_pu = (
                self._impedance.solve(source_pu, self.phase_w, self.phase_var) if self._impedance else source_pu
            )
        elif self.spec.forming:
            self.hz, self.phase_v_pu = self.spec.nominal_hz, (1.0, 1.0, 1.0)
        else:
            self.hz, self.phase_v_pu = 0.0, EVEN

    def _asked(self) -> tuple[float, ...]:
        return (self.set_hz, self.set_v_pu, self.closed, *self.phase_factor)


def _amps(power_w: float, reactive_var: float, at_v: float) -> float:
    return hypot(power_w, reactive_var) / at_v if at_v > 0 else 0.0


def _impedance(spec: GridSpec) -> Impedance | None:
    if spec.feeder:
        from hil.plant.feeder import Feeder

        return Feeder(nominal_v=spec.nominal_v, nominal_hz=spec.nominal_hz)
    if spec.r_ohm or spec.x_ohm:
        return Thevenin(nominal_v=spec.nominal_v, r_ohm=spec.r_ohm, x_ohm=spec.x_ohm)
    return None
