"""A cell: open-circuit voltage, a resistance, two that relax, hysteresis, heat.

    voltage = open_v(soc) + hysteresis_v h - r0 i - v1 - v2,   v_n' = (r_n i - v_n) / tau_n

A step holds the current and solves both relaxations in closed form. What counts as the step's voltage is its mean, so
that voltage times current times time is the energy exactly, whatever the step; it is linear in the current,

    mean voltage = e - r i,

and so the current of a demanded power is a root of a quadratic, and cells in series are a sum (hil.plant.pack).

Hysteresis is Plett's one-state model ("Extended Kalman filtering for battery management systems of LiPB-based HEV
battery packs, part 2", J. Power Sources 134, 2004): with the charge that passes, h decays toward -1 (discharge) or +1
(charge), dh/dq = -ratio (h + sign i) per full charge. It stores hysteresis_v h^2 / (2 ratio) of energy per unit of
charge, and loses hysteresis_v h^2 |i|: never less than nothing.

Charge beyond full by SPARE is lost to side reactions; below empty by SPARE there is nothing left (hil.plant.pack).
"""

from functools import cache
from math import copysign, exp, expm1, log, sqrt
from typing import TypeAlias

from hil.plant.chemistry import Chemistry, Points, interpolated

ROWS = 200  # of the table, one for each half percent of charge: resistance is constant within a row
SPARE = 0.05  # of a full charge
REFERENCE_C = 25.0
RETUNE_C = 0.1  # resistance follows the temperature in steps of this: 0.2 %
_ZERO_C_IN_K = 273.15
_TEN_C_IN_K, _REFERENCE_K = _ZERO_C_IN_K + 10.0, _ZERO_C_IN_K + REFERENCE_C

Row: TypeAlias = tuple[float, float, float, float, float, float]
"""State of charge at the row's beginning, open V there, its slope, then r0, r1 and r2 in ohm."""


class Cell:
    """The true state. voltage_v, current_a and heat_w are means of the last step; heat_w is what the losses give.

    ambient_c is what it stands in; warming_c_per_s is heat from elsewhere.
    """

    __slots__ = (
        "_arrhenius",
        "_chemistry",
        "_constants",
        "_dt_s",
        "_e_v",
        "_mean1",
        "_mean2",
        "_open",
        "_place",
        "_r_ohm",
        "_rows",
        "_tuned_c",
        "_v1",
        "_v2",
        "ambient_c",
        "capacity_ah",
        "current_a",
        "heat_w",
        "hysteresis",
        "resistance_factor",
        "soc",
        "temperature_c",
        "voltage_v",
        "warming_c_per_s",
    )

    def __init__(
        self,
        chemistry: Chemistry,
        *,
        soc: float,
        capacity_ah: float | None = None,
        resistance_factor: float = 1.0,
        temperature_c: float = REFERENCE_C,
    ) -> None:
        self._chemistry = chemistry
        self._rows = table(chemistry)
        self._arrhenius = log(chemistry.cold_ratio) / (1 / _TEN_C_IN_K - 1 / _REFERENCE_K)
        self.ambient_c = self.temperature_c = temperature_c
        self.warming_c_per_s = 0.0
        self.resize(capacity_ah or chemistry.capacity_ah, resistance_factor)
        self.rest(soc)

    def resize(self, capacity_ah: float, resistance_factor: float = 1.0) -> None:
        """Make the cell another size, at the state of charge it is at; resistance_factor comes on top of the size."""
        self.capacity_ah, self.resistance_factor = capacity_ah, resistance_factor
        self._place, self._dt_s = -1, -1.0  # of the last step; others mean to tune

    def rest(self, soc: float) -> None:
        """Put the cell at a state of charge, relaxed, as after days of rest."""
        self.soc = soc
        self.hysteresis = self._v1 = self._v2 = 0.0
        self.current_a = self.heat_w = 0.0
        self._place = -1
        self.voltage_v = self.terminal_v(0.0)

    @property
    def open_v(self) -> float:
        """Return the open-circuit voltage without hysteresis in V."""
        start_soc, open_v, slope_v, *_ = self._rows[self._place_now()]
        return open_v + (self.soc - start_soc) * slope_v

    @property
    def stored_j(self) -> float:
        """Return the energy held in the relaxing voltages and the hysteresis, in J; the charge's own is not in it."""
        _, _, _, _, r1_ohm, r2_ohm = self._rows[self._place_now()]
        chemistry, ratio = self._chemistry, self._ohms()
        held = chemistry.fast_s * self._v1**2 / (r1_ohm * ratio) + chemistry.slow_s * self._v2**2 / (r2_ohm * ratio)
        if chemistry.hysteresis_ratio:
            share = chemistry.hysteresis_v * self.hysteresis**2 / chemistry.hysteresis_ratio
            held += share * 3600 * self.capacity_ah
        return held / 2

    def terminal_v(self, current_a: float) -> float:
        """Return the voltage at this moment, were this current to flow."""
        e_v, r_ohm = self.line(0.0)
        return e_v - r_ohm * current_a

    def line(self, dt_s: float) -> tuple[float, float]:
        """Return e in V and r in ohm of the mean voltage over the next dt_s: e - r i."""
        soc = self.soc
        if int(soc * ROWS) != self._place or dt_s != self._dt_s or abs(self.temperature_c - self._tuned_c) > RETUNE_C:
            self._tune(dt_s)
        start_soc, open_v, slope_v, hysteresis_v = self._open
        held_v = self._mean1 * self._v1 + self._mean2 * self._v2
        self._e_v = e_v = open_v + (soc - start_soc) * slope_v + hysteresis_v * self.hysteresis - held_v
        return e_v, self._r_ohm

    def carry(self, current_a: float) -> None:
        """Run with a current (+ out of the cell) for the dt_s that line() was asked for last."""
        dt_s, sum_ohm, r1_ohm, r2_ohm, decay1, decay2, square1, square2, full_as, gain, cooling = self._constants
        self.current_a = current_a
        self.voltage_v = voltage_v = self._e_v - self._r_ohm * current_a
        flow1_v, flow2_v = r1_ohm * current_a, r2_ohm * current_a
        off1_v, off2_v = self._v1 - flow1_v, self._v2 - flow2_v
        self._v1, self._v2 = flow1_v + off1_v * decay1, flow2_v + off2_v * decay2
        heat_w = current_a * (sum_ohm * current_a + 2 * (off1_v * self._mean1 + off2_v * self._mean2))
        heat_w += square1 * off1_v * off1_v + square2 * off2_v * off2_v
        passed = current_a * dt_s / full_as
        chemistry = self._chemistry
        if chemistry.hysteresis_v and passed:
            h, toward = self.hysteresis, copysign(1.0, passed)
            heat_w += chemistry.hysteresis_v * h * h * abs(current_a)
            self.hysteresis = (h + toward) * exp(-chemistry.hysteresis_ratio * abs(passed)) - toward
        if passed < 0:
            kept = chemistry.charge_pct / 100
            heat_w -= (1 - kept) * current_a * voltage_v
            self.soc = min(self.soc - kept * passed, 1 + SPARE)
        else:
            self.soc -= passed
        self.heat_w = heat_w
        off_c = self.ambient_c + cooling * heat_w - self.temperature_c
        self.temperature_c += gain * off_c + self.warming_c_per_s * dt_s

    def step(self, dt_s: float, current_a: float) -> None:
        """Run with a current (+ out of the cell) for dt_s."""
        self.line(dt_s)
        self.carry(current_a)

    def step_w(self, dt_s: float, power_w: float) -> None:
        """Run with a power at the terminals (+ out of the cell) for dt_s, or with the most that the cell can give."""
        self.carry(demanded_a(*self.line(dt_s), power_w))

    def _place_now(self) -> int:
        return min(ROWS - 1, max(0, int(self.soc * ROWS)))

    def _ohms(self) -> float:
        """Return the resistance as it is now over the table's."""
        celsius = self.temperature_c
        by_temperature = exp(self._arrhenius * (1 / (_ZERO_C_IN_K + celsius) - 1 / _REFERENCE_K))
        return self.resistance_factor * by_temperature * self._chemistry.capacity_ah / self.capacity_ah

    def _tune(self, dt_s: float) -> None:
        """Hold what stays the same while the row of the table, the step and the temperature do."""
        chemistry, size = self._chemistry, self._chemistry.capacity_ah / self.capacity_ah
        self._place, self._dt_s, self._tuned_c = int(self.soc * ROWS), dt_s, self.temperature_c
        start_soc, open_v, slope_v, *row_ohm = self._rows[self._place_now()]
        ratio = self._ohms()
        r0_ohm, r1_ohm, r2_ohm = (ohm * ratio for ohm in row_ohm)
        decay1, self._mean1, square1 = _decay(dt_s / chemistry.fast_s)
        decay2, self._mean2, square2 = _decay(dt_s / chemistry.slow_s)
        gain = -expm1(-dt_s / (chemistry.heat_j_per_k * chemistry.cooling_k_per_w))
        full_as = 3600 * self.capacity_ah
        self._open = (start_soc, open_v, slope_v, chemistry.hysteresis_v)
        self._r_ohm = r0_ohm + r1_ohm * (1 - self._mean1) + r2_ohm * (1 - self._mean2)
        self._r_ohm += slope_v * dt_s / (2 * full_as)  # open_v itself moves with the charge
        self._constants = (
            *(dt_s, r0_ohm + r1_ohm + r2_ohm, r1_ohm, r2_ohm, decay1, decay2),
            *(square1 / r1_ohm, square2 / r2_ohm, full_as, gain, chemistry.cooling_k_per_w * size),
        )


def demanded_a(e_v: float, r_ohm: float, power_w: float) -> float:
    """Return the current that gives a power from a source e - r i, in A; the most it can give where that is less."""
    root_v2 = e_v * e_v - 4 * r_ohm * power_w
    return 2 * power_w / (e_v + sqrt(root_v2)) if root_v2 > 0 else e_v / (2 * r_ohm)


@cache
def table(chemistry: Chemistry) -> tuple[Row, ...]:
    """Return the ROWS of a chemistry: exact in voltage at their ends, resistance as in their middle."""
    rows = []
    for place in range(ROWS):
        start_soc, end_soc = place / ROWS, (place + 1) / ROWS
        open_v = interpolated(chemistry.open_v, start_soc)
        slope_v = (interpolated(chemistry.open_v, end_soc) - open_v) * ROWS
        r0_ohm, r1_ohm, r2_ohm = (
            interpolated(_column(chemistry, column), (start_soc + end_soc) / 2) / 1000 for column in (1, 2, 3)
        )
        rows.append((start_soc, open_v, slope_v, r0_ohm, r1_ohm, r2_ohm))
    return tuple(rows)


def _column(chemistry: Chemistry, column: int) -> Points:
    return tuple((row[0], row[column]) for row in chemistry.resistance)


def _decay(time_ratio: float) -> tuple[float, float, float]:
    """Return what is left of a decay after a time over its constant, and its mean and mean square until then."""
    if time_ratio <= 0:
        return 1.0, 1.0, 1.0
    return exp(-time_ratio), -expm1(-time_ratio) / time_ratio, -expm1(-2 * time_ratio) / (2 * time_ratio)
