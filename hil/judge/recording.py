"""What a run leaves for the metrics: a few series on one row of times, beside what an ideal controller would have done.

A Recorder takes every truth and keeps one every every_s, and each at which the order changed: about 100 bytes each.
"""

from array import array
from collections.abc import Callable

import msgspec

from controller.model import Site
from hil.judge.reference import Reference
from hil.judge.series import Series
from hil.plant.truth import Truth

COLUMNS = ("asked", "delivered", "command", "poi", "stored", "ideal", "late", "met")
EARLY_S = 1e-9  # times are sums of steps


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Powers in W, positive toward the grid; asked, ideal and late are not a number where nothing is asked."""

    rated_w: float
    export_max_w: float
    import_max_w: float
    asked: Series  # of the batteries, held
    delivered: Series
    command: Series  # all set points in force, held
    poi: Series
    stored: Series  # Wh
    ideal: Series  # of the reference follower that answers at once
    late: Series  # of the one with a delay
    met: Series  # 1 where the ideal follower could give all that was asked, else 0; held
    healed_s: float | None = None  # when the last fault ended
    refused: tuple[tuple[str, float], ...] = ()  # what kept the ideal follower from giving it, and for how long in s

    @property
    def begun_s(self) -> float:
        """Return the time of the first sample."""
        return self.delivered.times_s[0]

    @property
    def ended_s(self) -> float:
        """Return the time of the last sample."""
        return self.delivered.times_s[-1]


class Metric(msgspec.Struct, frozen=True):
    """One number of a run. of: None = there was nothing to measure, inf = what was waited for never came."""

    name: str
    unit: str
    says: str
    of: Callable[[Recording], float | None]


class Recorder:
    """Takes the truths of a run in order. delay_s: of the second reference follower, a cycle and a response."""

    def __init__(self, site: Site, delay_s: float = 1.4, every_s: float = 0.1) -> None:
        self._site, self._every_s = site, every_s
        self._reference = Reference(site, delay_s)
        self._parts = self._reference.parts
        self._times_s = array("d")
        self._columns = {name: array("d") for name in COLUMNS}
        self._refused_s: dict[str, float] = {}
        self._last_s: float | None = None
        self._order_w: float | None = None

    def sample(self, truth: Truth) -> None:
        """Take a moment."""
        ideal = self._reference.sample(truth)
        if self._last_s is not None and ideal.bound:
            self._refused_s[ideal.bound] = self._refused_s.get(ideal.bound, 0.0) + truth.t_s - self._last_s
        self._last_s = truth.t_s
        early = bool(self._times_s) and truth.t_s - self._times_s[-1] < self._every_s - EARLY_S
        if early and truth.order_w == self._order_w:
            return
        self._order_w = truth.order_w
        self._times_s.append(truth.t_s)
        row = (
            ideal.asked_w,
            sum(unit.ac_w for unit in truth.units),
            sum(unit.command_w for unit in truth.units),
            truth.poi_w,
            sum(unit.energy_wh * part for unit, part in zip(truth.units, self._parts, strict=True)),
            ideal.power_w,
            ideal.late_w,
            float(ideal.met),
        )
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)

    def recording(self, healed_s: float | None = None) -> Recording:
        """Return what was recorded. healed_s: when the last fault ended, None = there was none."""
        return Recording(
            rated_w=max(
                sum(unit.discharge_max_w for unit in self._site.unit),
                sum(unit.charge_max_w for unit in self._site.unit),
            ),
            export_max_w=self._site.poi.export_max_w,
            import_max_w=self._site.poi.import_max_w,
            healed_s=healed_s,
            refused=tuple(sorted(self._refused_s.items(), key=lambda row: -row[1])),
            **{name: Series(self._times_s, column) for name, column in self._columns.items()},
        )
