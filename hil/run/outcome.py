"""What became of a scenario: every failed demand with its place, and all that the report draws."""

from hashlib import sha256
from typing import Literal

import msgspec

from hil.judge import Verdict
from hil.judge.bars import Measured
from hil.plant.truth import Truth

Mode = Literal["lockstep", "model", "real"]
TRACE_EVERY_S = 1.0


class StepOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One step: when it began, when it was done, and what was wrong, "" = nothing."""

    says: str
    began_s: float | None
    done_s: float | None
    wrong: str = ""


class FaultOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: how often it stood and how often it bit."""

    fault: str  # "F06 delay on meter"
    times_s: tuple[tuple[float, float | None], ...]
    effects: int
    note: str = ""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """The plant once a second, for drawing. Powers in W, charge of each unit 0..1."""

    t_s: list[float]
    poi_w: list[float]
    load_w: list[float]
    pv_w: list[float]
    battery_w: list[float]
    order_w: list[float | None]
    target_w: list[float | None]
    low_w: list[float | None]
    high_w: list[float | None]
    soc: list[list[float]]


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One run of one scenario. held: nothing is wrong. digest: of every truth and every decision, to compare runs."""

    scenario: str
    title: str
    mode: Mode
    seed: int
    length_s: float
    held: bool
    wrong: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    steps: tuple[StepOutcome, ...]
    measures: tuple[Measured, ...]
    faults: tuple[FaultOutcome, ...]
    log: tuple[str, ...]
    stood: tuple[str, ...]  # the controller's faults that stood, "battery_stale battery"
    restarts: int
    decisions: int
    digest: str
    trace: Trace
    mutant: str = ""
    journal: str = ""


class Tracer:
    """Takes down every tick of a run: a digest of all of it, and the trace."""

    def __init__(self) -> None:
        self.trace = Trace(
            t_s=[], poi_w=[], load_w=[], pv_w=[], battery_w=[], order_w=[], target_w=[], low_w=[], high_w=[], soc=[]
        )
        self._digest = sha256()
        self._next_s = float("-inf")

    def note(self, t_s: float, truth: Truth, decided: tuple[int, int, int] | None) -> None:
        """Take down one moment; decided: target, low and high of the last decision."""
        units = truth.units
        power_w = sum(unit.ac_w for unit in units)
        values = (t_s, truth.poi_w, truth.load_w, truth.pv_w, power_w, *(unit.soc for unit in units))
        self._digest.update(repr((values, decided)).encode())
        if t_s < self._next_s:
            return
        self._next_s = t_s + TRACE_EVERY_S - 1e-6
        trace = self.trace
        trace.t_s.append(round(t_s, 3))
        trace.poi_w.append(round(truth.poi_w, 1))
        trace.load_w.append(round(truth.load_w, 1))
        trace.pv_w.append(round(truth.pv_w, 1))
        trace.battery_w.append(round(power_w, 1))
        trace.order_w.append(truth.order_w)
        for column, value in zip((trace.target_w, trace.low_w, trace.high_w), decided or (None,) * 3, strict=True):
            column.append(value)
        trace.soc.append([round(unit.soc, 5) for unit in units])

    @property
    def digest(self) -> str:
        """Return the digest of all that was noted."""
        return self._digest.hexdigest()[:16]
