"""The state of charge as a BMS knows it: counted from the current, set right where the pack is full or empty.

What it counts with is its own: a current sensor with an offset and a gain, and a capacity it believes in. On the way
from full to empty it learns that capacity.
"""

from math import exp
from typing import Annotated

import msgspec

LEAST_SOH = 0.1  # a capacity learned below this share of the new pack's is not believed


class EstimateSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the BMS counts, and how it tells.

    current_offset_a: what it reads at no current; a positive one counts as discharge. start_bias_pct: points more than
    true at the start. soh_pct: the capacity it believes in at first, of the new pack's. step_pct: told in steps of this
    many points. lag_s: first-order lag of what is told.
    """

    current_offset_a: Annotated[float, msgspec.Meta(ge=-100, le=100)] = 0.0
    current_gain_pct: Annotated[float, msgspec.Meta(ge=-50, le=50)] = 0.0
    start_bias_pct: Annotated[float, msgspec.Meta(ge=-100, le=100)] = 0.0
    soh_pct: Annotated[float, msgspec.Meta(ge=10, le=120)] = 100.0
    step_pct: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.01
    lag_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 0.0


class SocEstimate:
    """soc is what it counts, told_soc what it tells of that, soh its capacity over the new pack's; all 0..1."""

    def __init__(self, spec: EstimateSpec, *, new_ah: float, charge_pct: float, true_soc: float) -> None:
        """charge_pct: of the charge that goes in, what it counts."""
        self._spec, self._new_ah, self._charge_share = spec, new_ah, charge_pct / 100
        self.capacity_ah = new_ah * spec.soh_pct / 100
        self._since_full_ah: float | None = None  # taken out since full; None = it was not full yet
        self.set(true_soc + spec.start_bias_pct / 100)

    @property
    def soh(self) -> float:
        """Return the capacity it believes in, as a share of the new pack's, at most 1."""
        return min(1.0, self.capacity_ah / self._new_ah)

    @property
    def told_soc(self) -> float:
        """Return what is told: late, and in steps."""
        step = self._spec.step_pct / 100
        return round(self._late_soc / step) * step if step else self._late_soc

    def set(self, soc: float) -> None:
        """Begin to count from here, and tell it at once."""
        self.soc = self._late_soc = min(1.0, max(0.0, soc))

    def step(self, dt_s: float, true_a: float) -> None:
        """Count a current for dt_s."""
        spec = self._spec
        taken_ah = (true_a * (1 + spec.current_gain_pct / 100) + spec.current_offset_a) * dt_s / 3600
        if taken_ah < 0:
            taken_ah *= self._charge_share
        if self._since_full_ah is not None:
            self._since_full_ah += taken_ah
        self.soc = min(1.0, max(0.0, self.soc - taken_ah / self.capacity_ah))
        left = exp(-dt_s / spec.lag_s) if spec.lag_s else 0.0
        self._late_soc = self.soc + (self._late_soc - self.soc) * left

    def full(self) -> None:
        """The pack is full."""
        self.soc, self._since_full_ah = 1.0, 0.0

    def empty(self) -> None:
        """The pack is empty; what was taken since full is its capacity."""
        if self._since_full_ah is not None and self._since_full_ah > LEAST_SOH * self._new_ah:
            self.capacity_ah = self._since_full_ah
        self.soc, self._since_full_ah = 0.0, None
