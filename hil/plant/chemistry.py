"""Two cells as tables of numbers: LFP, a generic cell of large storage, and LEAF, a recorded cell of an electric car.

LEAF is fitted on the pulse test (HPPC) of a 2013 Nissan Leaf cell at 25 C, recorded at Oak Ridge National Laboratory
and published with batterysim/equiv-circ-model (MIT; examples/data/cell_low_current_hppc_25c_2.csv): `python -m
hil.truth fit FILE` finds its numbers again. The charge lost is that of the 1C recordings there. Heat and cooling are
those of a pouch of 0.8 kg at 1000 J/kg K with both faces, 0.13 m2, in moving air of 10 W/m2 K.

LFP is a table of our own: the open-circuit voltage all these cells share, mean of charge and discharge, with the
resistance, heat and cooling of a prismatic cell of 2.1 kg in a closed case. It lies within 20 mV of the Sony US26650 of
SimSES 1.3.12 (BSD-3) from 10 to 95 % of charge, and its resistance grows with cold as that cell's.

To add a chemistry: a Chemistry here, and its name in CHEMISTRIES.
"""

from itertools import pairwise
from typing import TypeAlias

import msgspec

Points: TypeAlias = tuple[tuple[float, float], ...]
"""A curve: pairs (x, y) with x rising; straight between them, level beyond the ends."""

Levels: TypeAlias = tuple[float, float, float]
"""Where a warning, an alarm and a trip begin."""


class Chemistry(msgspec.Struct, frozen=True, kw_only=True):
    """A cell. Resistance is that of a cell of capacity_ah at 25 C; a larger cell has less in proportion.

    open_v: state of charge 0..1, V; the knots lie on half percents. Beyond both ends the last slope goes on.
    resistance: rows of state of charge, then r0, r1 and r2 in mohm; r1 relaxes within fast_s, r2 within slow_s.
    cold_ratio: resistance at 10 C over that at 25 C; other temperatures by Arrhenius' law.
    hysteresis_v, hysteresis_ratio: the most the voltage stays above or below open_v after charging or discharging, and
    how many times it decays by e over one full charge (hil.plant.cell).
    charge_pct: of the charge that goes in, what can be taken out again.
    full_v, empty_v: where charging and discharging end; charge_by_v, discharge_by_v: share of the full current by the
    voltage of the highest and lowest cell. balance_v: the highest cell is bled above it.
    """

    capacity_ah: float
    open_v: Points
    resistance: tuple[tuple[float, float, float, float], ...]
    fast_s: float
    slow_s: float
    cold_ratio: float = 1.45
    hysteresis_v: float = 0.0
    hysteresis_ratio: float = 0.0
    charge_pct: float
    heat_j_per_k: float
    cooling_k_per_w: float
    full_v: float
    empty_v: float
    charge_by_v: Points
    discharge_by_v: Points
    balance_v: float
    high_v: Levels
    low_v: Levels


LFP = Chemistry(
    capacity_ah=100.0,
    open_v=(
        (0.000, 2.860),
        (0.005, 2.920),
        (0.010, 2.965),
        (0.020, 3.035),
        (0.030, 3.085),
        (0.050, 3.150),
        (0.100, 3.205),
        (0.200, 3.245),
        (0.300, 3.275),
        (0.400, 3.293),
        (0.600, 3.305),
        (0.700, 3.322),
        (0.800, 3.330),
        (0.900, 3.335),
        (0.950, 3.345),
        (0.980, 3.360),
        (0.990, 3.385),
        (0.995, 3.420),
        (1.000, 3.475),
    ),
    resistance=(
        (0.00, 0.60, 0.45, 0.65),
        (0.10, 0.50, 0.32, 0.46),
        (0.30, 0.48, 0.28, 0.40),
        (0.90, 0.48, 0.28, 0.40),
        (1.00, 0.50, 0.32, 0.46),
    ),
    fast_s=20.0,
    slow_s=400.0,
    hysteresis_v=0.012,
    hysteresis_ratio=40.0,
    charge_pct=99.9,
    heat_j_per_k=2100.0,
    cooling_k_per_w=4.3,
    full_v=3.500,
    empty_v=2.875,
    charge_by_v=((3.40, 1.0), (3.50, 0.0)),
    discharge_by_v=((2.875, 0.0), (3.05, 1.0)),
    balance_v=3.42,
    high_v=(3.53, 3.58, 3.65),
    low_v=(2.85, 2.75, 2.50),
)

LEAF = Chemistry(
    capacity_ah=30.51,
    open_v=(
        (0.00, 3.047),
        (0.01, 3.167),
        (0.02, 3.261),
        (0.03, 3.344),
        (0.04, 3.413),
        (0.05, 3.476),
        (0.06, 3.523),
        (0.08, 3.609),
        (0.10, 3.672),
        (0.12, 3.696),
        (0.15, 3.716),
        (0.20, 3.743),
        (0.25, 3.787),
        (0.30, 3.828),
        (0.35, 3.856),
        (0.40, 3.878),
        (0.45, 3.896),
        (0.50, 3.918),
        (0.55, 3.935),
        (0.60, 3.957),
        (0.65, 3.974),
        (0.70, 3.989),
        (0.75, 4.013),
        (0.80, 4.053),
        (0.85, 4.066),
        (0.90, 4.089),
        (0.95, 4.121),
        (1.00, 4.169),
    ),
    resistance=(
        (0.00, 1.811, 1.330, 1.531),
        (0.05, 1.767, 1.335, 1.431),
        (0.10, 1.723, 1.340, 1.331),
        (0.20, 1.697, 1.361, 1.245),
        (0.30, 1.697, 1.409, 1.212),
        (0.40, 1.698, 1.453, 1.221),
        (0.50, 1.677, 1.457, 1.215),
        (0.60, 1.671, 1.460, 1.189),
        (0.70, 1.711, 1.499, 1.157),
        (0.80, 1.778, 1.554, 1.115),
        (0.90, 1.785, 1.533, 1.012),
        (1.00, 1.820, 1.529, 0.884),
    ),
    fast_s=46.0,
    slow_s=560.0,
    charge_pct=99.9,
    heat_j_per_k=800.0,
    cooling_k_per_w=0.8,
    full_v=4.180,
    empty_v=3.000,
    charge_by_v=((4.08, 1.0), (4.18, 0.0)),
    discharge_by_v=((3.00, 0.0), (3.30, 1.0)),
    balance_v=4.10,
    high_v=(4.20, 4.23, 4.28),
    low_v=(2.95, 2.80, 2.50),
)

CHEMISTRIES = {"lfp": LFP, "leaf": LEAF}


def interpolated(points: Points, x: float) -> float:
    """Return the height of a curve at x."""
    if x <= points[0][0]:
        return points[0][1]
    for k in range(1, len(points)):
        x1, y1 = points[k]
        if x <= x1:
            x0, y0 = points[k - 1]
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]


def mean_v(chemistry: Chemistry) -> float:
    """Return the open-circuit voltage averaged over a full charge, in V: Wh per Ah at no current."""
    points = chemistry.open_v
    return sum((v0 + v1) / 2 * (soc1 - soc0) for (soc0, v0), (soc1, v1) in pairwise(points))
