"""The judge: what must be true of the plant at every moment, whatever the controller says of itself.

Laws:
- It sees the truth of the plant, the utility's order in force and the site file; never telemetry or the journal.
- It is pure: time is handed in with each sample, nothing is read and nothing is written.
- Two measures are enough (measures.py): how far a value went beyond its bound, and for how long something was wrong.
- An invariant that was never put to the test says so.
- Nobody is blamed for what he could not know or do: where a fault makes a declared assumption of the site file false,
  the excess is allowed by the amount of the falsehood, and by no more.

To add an invariant: a row in invariants.py. To add a metric: a row in metrics.py.
"""

from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from controller.model import Site
from hil.judge.bounds import IDLE_W, Allowed, Bounds
from hil.judge.invariants import INVARIANTS, Invariant, selected
from hil.judge.measures import Laid, Lasting, Peak, Verdict
from hil.judge.moment import Moment, belongs
from hil.plant.truth import Truth, UnitTruth

__all__ = ["IDLE_W", "INVARIANTS", "Allowed", "Figures", "Invariant", "Judge", "Truth", "UnitTruth", "Verdict"]

Check: TypeAlias = Peak | Lasting


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured beside the verdicts. Energies are magnitudes; beyond the limits whoever is to blame."""

    samples: int
    judged_s: float
    export_over_wh: float
    import_over_wh: float
    discharged_wh: float  # AC, all units
    charged_wh: float
    registers_written: int


class Judge:
    """Watches the plant against the site file. Feed it 10 to 20 truths a second, in order."""

    def __init__(self, site: Site, allowed: Allowed | None = None, names: Iterable[str] | None = None) -> None:
        """names: the invariants to judge, None = all. Raises ValueError for a name that is none."""
        self._site, bounds = site, Bounds(site, allowed or Allowed())
        self._unit_names = tuple(unit.name for unit in site.unit)
        self._moment = Moment(bounds)
        rows = [(row, row.lay(bounds)) for row in selected(names)]
        checks = [_check(row, laid) for row, laid in rows]
        self._rows = tuple((row, laid.says, check) for (row, laid), check in zip(rows, checks, strict=True))
        self._looks = tuple(check.look for (_, laid), check in zip(rows, checks, strict=True) if not laid.idle)
        self._samples, self._begun_s = 0, 0.0
        self._export_over_wh = self._import_over_wh = self._discharged_wh = self._charged_wh = 0.0
        self._written_before = 0

    def sample(self, truth: Truth) -> None:
        """Judge one moment. AssertionError where it is earlier than the last, of another site, or no number."""
        if not self._samples:
            assert belongs(truth, self._site), f"not the units of {self._site.name}: {truth.units}"
            self._begun_s, self._written_before = truth.t_s, sum(unit.writes for unit in truth.units)
        moment = self._moment
        moment.take(truth)
        self._samples += 1
        self._measure(truth, moment.dt_s)
        for look in self._looks:
            look(moment)

    def verdicts(self) -> tuple[Verdict, ...]:
        """Return all invariants as they stand, in the table's order; none holds where nothing was sampled."""
        found = []
        for row, numbers, check in self._rows:
            says = f"{row.says}: {numbers}" if numbers else row.says
            names = ("",) if row.of_site else self._unit_names
            if isinstance(check, Peak):
                verdict = check.verdict(row.name, says, row.unit, names)
            else:
                verdict = check.verdict(row.name, says, names)
            if not self._samples:
                verdict = msgspec.structs.replace(verdict, held=False, where="nothing was sampled")
            found.append(verdict)
        return tuple(found)

    def figures(self) -> Figures:
        """Return what was measured so far."""
        return Figures(
            samples=self._samples,
            judged_s=self._moment.truth.t_s - self._begun_s if self._samples else 0.0,
            export_over_wh=self._export_over_wh,
            import_over_wh=self._import_over_wh,
            discharged_wh=self._discharged_wh,
            charged_wh=self._charged_wh,
            registers_written=sum(unit.writes for unit in self._moment.truth.units) - self._written_before,
        )

    def _measure(self, truth: Truth, dt_s: float) -> None:
        """Sum up energies; a sample stands for the time since the one before."""
        poi = self._site.poi
        self._export_over_wh += max(0.0, truth.poi_w - poi.export_max_w) * dt_s / 3600
        self._import_over_wh += max(0.0, -truth.poi_w - poi.import_max_w) * dt_s / 3600
        for unit in truth.units:
            if unit.ac_w > 0:
                self._discharged_wh += unit.ac_w * dt_s / 3600
            else:
                self._charged_wh -= unit.ac_w * dt_s / 3600


def _check(row: Invariant, laid: Laid) -> Check:
    if row.kind == "peak":
        return Peak(laid)
    return Lasting(laid, row.unit, caused=row.kind == "lasting from its cause")
