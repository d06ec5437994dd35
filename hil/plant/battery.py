"""A 48 V battery of LFP modules in parallel: voltage by state of charge, one resistance, losses, current limits."""

from bisect import bisect_right
from itertools import pairwise
from math import sqrt

import msgspec

_LFP_CELL = (  # state of charge, open-circuit volts: the shape all LFP cells share, knees at both ends
    (0.00, 2.900),
    (0.02, 3.050),
    (0.05, 3.160),
    (0.10, 3.210),
    (0.20, 3.250),
    (0.30, 3.280),
    (0.40, 3.295),
    (0.60, 3.310),
    (0.70, 3.330),
    (0.90, 3.340),
    (0.97, 3.370),
    (0.99, 3.400),
    (1.00, 3.500),
)


class Pack(msgspec.Struct, frozen=True, kw_only=True):
    """What the battery is made of. The defaults are five 48 V modules of 5 kWh."""

    modules: int = 5  # in parallel
    cells: int = 16  # in series
    capacity_wh: float = 25_000.0
    resistance_mohm: float = 5.0  # of all modules together, with their cables
    charge_pct: float = 99.5  # of what goes in at the cells that can be taken out again
    module_max_a: float = 50.0  # both ways
    charge_max_v: float = 56.0  # 3.50 V a cell
    discharge_min_v: float = 46.0  # 2.875 V a cell


class Taper(msgspec.Struct, frozen=True):
    """A current limit that goes from nothing to all between two states of charge (0..1)."""

    none_soc: float
    full_soc: float

    def share(self, soc: float) -> float:
        """Return the share of the full limit, 0..1."""
        return min(1.0, max(0.0, (soc - self.none_soc) / (self.full_soc - self.none_soc)))


CHARGE_TAPER = Taper(none_soc=0.99, full_soc=0.95)
DISCHARGE_TAPER = Taper(none_soc=0.01, full_soc=0.05)


def _interpolation(points: tuple[tuple[float, float], ...]) -> tuple[list[float], list[tuple[float, float, float]]]:
    """Return the inner knots, and start, value and slope of each piece."""
    pieces = [(x0, y0, (y1 - y0) / (x1 - x0)) for (x0, y0), (x1, y1) in pairwise(points)]
    return [x for x, _ in points[1:-1]], pieces


_KNOTS, _PIECES = _interpolation(_LFP_CELL)


class Battery:
    """The true state. pack_a and pack_v are those of the last step."""

    def __init__(self, pack: Pack | None = None, soc: float = 0.6) -> None:
        self.pack = pack or Pack()
        self.energy_wh = soc * self.pack.capacity_wh
        self.pack_a = 0.0
        self.pack_v = self.open_v

    @property
    def soc(self) -> float:
        """Return the true state of charge by energy, 0..1."""
        return self.energy_wh / self.pack.capacity_wh

    @property
    def open_v(self) -> float:
        """Return the open-circuit voltage in V."""
        soc = self.soc
        start, value_v, slope_v = _PIECES[bisect_right(_KNOTS, soc)]
        return self.pack.cells * (value_v + (soc - start) * slope_v)

    @property
    def charge_max_a(self) -> float:
        """Return what the cells may take now, in A."""
        return self.pack.modules * self.pack.module_max_a * CHARGE_TAPER.share(self.soc)

    @property
    def discharge_max_a(self) -> float:
        """Return what the cells may give now, in A."""
        return self.pack.modules * self.pack.module_max_a * DISCHARGE_TAPER.share(self.soc)

    def step(self, dt_s: float, dc_w: float) -> None:
        """Give dc_w (+ discharge) at the terminals for dt_s."""
        open_v, resistance_ohm = self.open_v, self.pack.resistance_mohm / 1000
        root = max(0.0, open_v * open_v - 4 * resistance_ohm * dc_w)  # 0: more than the battery can give at all
        self.pack_a = (open_v - sqrt(root)) / (2 * resistance_ohm)
        self.pack_v = open_v - resistance_ohm * self.pack_a
        out_w = open_v * self.pack_a
        if out_w < 0:
            out_w *= self.pack.charge_pct / 100
        self.energy_wh = min(self.pack.capacity_wh, max(0.0, self.energy_wh - out_w * dt_s / 3600))
