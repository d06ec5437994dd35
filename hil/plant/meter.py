"""The point of interconnection: a load and generation behind the meter, and what is left for the grid."""

from math import exp
from random import Random

RIPPLE_W = 20.0  # a house is never quiet
LAG_S = 0.1  # a step of the bench is a steep slope, as a contactor that drops a load makes it


class Feeder:
    """Load, generation and the meter's two energy counters. poi_w is positive toward the grid."""

    def __init__(self, seed: int = 1, ripple_w: float = RIPPLE_W) -> None:
        self._random = Random(seed)
        self._ripple_w = ripple_w
        self._load_w: float | None = None  # None until the first step, which starts at rest
        self._pv_w = 0.0
        self.load_w = 0.0
        self.pv_w = 0.0
        self.poi_w = 0.0
        self.exported_wh = 0.0
        self.imported_wh = 0.0

    def step(self, dt_s: float, inverter_w: float, load_set_w: float, pv_set_w: float) -> None:
        """Run for dt_s toward the set values."""
        if self._load_w is None:
            self._load_w, self._pv_w = load_set_w, pv_set_w
        left = exp(-dt_s / LAG_S)
        self._load_w = load_set_w + (self._load_w - load_set_w) * left
        self._pv_w = pv_set_w + (self._pv_w - pv_set_w) * left
        self.load_w = max(0.0, self._load_w + self._ripple() * min(1.0, self._load_w / (self._ripple_w or 1.0)))
        self.pv_w = max(0.0, self._pv_w + self._ripple() * min(1.0, self._pv_w / (self._ripple_w or 1.0)))
        self.poi_w = inverter_w + self.pv_w - self.load_w
        if self.poi_w > 0:
            self.exported_wh += self.poi_w * dt_s / 3600
        else:
            self.imported_wh -= self.poi_w * dt_s / 3600

    def _ripple(self) -> float:
        return self._ripple_w * (2 * self._random.random() - 1)
