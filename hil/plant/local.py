"""Load and generation behind the meter: they go to what they are set to, steeply, and are never quite quiet.

Both are a first-order lag, solved in closed form, plus a ripple that is a function of the seed and of the time alone:
how the time was cut into steps makes no difference.
"""

from math import exp
from typing import Annotated

import msgspec
from msgspec import Meta

from hil.plant import chance
from hil.plant.grid import EVEN, Phases

DROP_OUT_PU = 0.5  # below it contactors let go: IEC 60947-4-1, 8.2.1.2 has it between 0.2 and 0.75 of rated voltage
REST_W = 20.0  # nearer to the set value than this counts as there: it is what a house ripples anyway
SPLIT_SLACK = 1e-3

Share = Annotated[float, Meta(ge=0, le=1)]


class LocalSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands beside the battery. A split is the share of each phase; the three add up to 1.

    What is set on one phase (set_phase_w) comes on top of the load's split, and at once.
    """

    load_split: tuple[Share, Share, Share] = (1 / 3, 1 / 3, 1 / 3)
    pv_split: tuple[Share, Share, Share] = (1 / 3, 1 / 3, 1 / 3)
    ripple_w: Annotated[float, Meta(ge=0, le=10_000)] = 20.0  # at most, both ways: a house is never quiet
    lag_s: Annotated[float, Meta(gt=0, le=60)] = 0.1  # a steep slope, as a contactor makes it that drops a load

    def __post_init__(self) -> None:
        """Raise ValueError where a split does not add up to 1."""
        for name, split in (("load_split", self.load_split), ("pv_split", self.pv_split)):
            if abs(sum(split) - 1) > SPLIT_SLACK:
                raise ValueError(f"{name}: the shares of the phases add up to {sum(split):g}, not to 1")


class Local:
    """Consumption load_w and generation pv_w, neither ever negative, on their way to set_load_w and set_pv_w.

    Before the first step nothing runs; the first step begins at the set values, at rest.
    """

    def __init__(self, spec: LocalSpec | None = None, seed: int = 1) -> None:
        self.spec = spec or LocalSpec()
        self.set_load_w = self.set_pv_w = 0.0
        self.set_phase_w = [0.0, 0.0, 0.0]  # load on one phase
        self.phase_load_w = self.phase_pv_w = EVEN
        self.load_w = self.pv_w = 0.0
        self._load = _Course(self.spec, chance.named(seed, "load"))
        self._pv = _Course(self.spec, chance.named(seed, "pv"))

    @property
    def busy(self) -> bool:
        """Tell whether either is still on its way."""
        return self._load.away_w(self.set_load_w) > REST_W or self._pv.away_w(self.set_pv_w) > REST_W

    @property
    def unbalance_w(self) -> Phases:
        """Return by how much each phase is off the mean of the three, in W toward the grid; they add up to 0."""
        mean_w = (self.pv_w - self.load_w) / 3
        (load_1, load_2, load_3), (pv_1, pv_2, pv_3) = self.phase_load_w, self.phase_pv_w
        return pv_1 - load_1 - mean_w, pv_2 - load_2 - mean_w, pv_3 - load_3 - mean_w

    def step(self, dt_s: float, now_s: float, phase_v_pu: Phases = (1.0, 1.0, 1.0)) -> None:
        """Run for dt_s up to now_s. What hangs on a phase whose voltage is gone takes and gives nothing."""
        spec = self.spec
        self.phase_load_w = _split(self._load.step(dt_s, now_s, self.set_load_w), spec.load_split, phase_v_pu)
        if any(self.set_phase_w):
            self.phase_load_w = self._with_phases(phase_v_pu)
        self.phase_pv_w = _split(self._pv.step(dt_s, now_s, self.set_pv_w), spec.pv_split, phase_v_pu)
        self.load_w, self.pv_w = sum(self.phase_load_w), sum(self.phase_pv_w)

    def _with_phases(self, phase_v_pu: Phases) -> Phases:
        """Return the load with what is set on single phases."""
        (load_1, load_2, load_3), (v_1, v_2, v_3) = self.phase_load_w, phase_v_pu
        own_1, own_2, own_3 = self.set_phase_w
        return (
            load_1 + (own_1 if v_1 >= DROP_OUT_PU else 0.0),
            load_2 + (own_2 if v_2 >= DROP_OUT_PU else 0.0),
            load_3 + (own_3 if v_3 >= DROP_OUT_PU else 0.0),
        )


class _Course:
    """One power: its lag and its ripple."""

    def __init__(self, spec: LocalSpec, seed: int) -> None:
        self._spec, self._seed = spec, seed
        self._smooth_w: float | None = None
        self._slot = -1
        self._ripple_w = 0.0

    def away_w(self, set_w: float) -> float:
        """Return how far it is from the set value."""
        return 0.0 if self._smooth_w is None else abs(max(0.0, set_w) - self._smooth_w)

    def step(self, dt_s: float, now_s: float, set_w: float) -> float:
        """Return the power in W at now_s. The ripple fades with the power, so that nothing stays nothing."""
        set_w = max(0.0, set_w)
        before_w = set_w if self._smooth_w is None else self._smooth_w
        self._smooth_w = smooth_w = set_w + (before_w - set_w) * exp(-dt_s / self._spec.lag_s)
        most_w = self._spec.ripple_w
        slot = chance.slot(now_s)
        if slot != self._slot:
            self._slot, self._ripple_w = slot, most_w * (2 * chance.uniform(self._seed, slot) - 1)
        return smooth_w + self._ripple_w * min(1.0, smooth_w / most_w if most_w else 0.0)


def _split(total_w: float, split: Phases, phase_v_pu: Phases) -> Phases:
    share_1, share_2, share_3 = split
    v_1, v_2, v_3 = phase_v_pu
    return (
        total_w * share_1 if v_1 >= DROP_OUT_PU else 0.0,
        total_w * share_2 if v_2 >= DROP_OUT_PU else 0.0,
        total_w * share_3 if v_3 >= DROP_OUT_PU else 0.0,
    )
