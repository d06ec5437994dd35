"""The player: what a scenario does to a bench, tick by tick, and what it sees of it. The same in every mode."""

import math
from typing import Protocol

import msgspec

from controller.model import Decision, Site
from hil.faults.schedule import Schedule, called
from hil.judge import INVARIANTS, Allowed, Judge
from hil.judge.bars import Measured, measured
from hil.judge.recording import Recorder
from hil.plant import chance
from hil.plant.truth import Asked, Truth
from hil.run.extras import Extras
from hil.run.outcome import FaultOutcome, Mode, Outcome, Tracer
from hil.run.rows import Rows, shown
from hil.run.steps import Steps
from hil.run.utility import Wish
from hil.scenario.bars import fits
from hil.scenario.expression import Expression, compiled
from hil.scenario.names import View, names
from hil.scenario.signals import course
from hil.scenario.words import NOTHING, Scenario

UTILITY = "utility."
SOON_S = 1e-6


class Played(Protocol):
    """The plant of a bench, here or in another process."""

    order_w: float | None
    asked: Asked
    cut: set[str]

    def set(self, name: str, value: float) -> None: ...
    def truth(self) -> Truth: ...


class Caller(Protocol):
    """The utility of a bench."""

    wish: Wish
    silent: bool

    @property
    def order_w(self) -> int | None: ...

    @property
    def reactive_var(self) -> int | None: ...

    def changed(self) -> None: ...


class Bench(Protocol):
    """What the player needs of a bench of any mode."""

    @property
    def plant(self) -> Played: ...
    @property
    def utility(self) -> Caller: ...
    @property
    def decision(self) -> Decision | None: ...


class Player:
    """One scenario on one bench. Call tick(now_s) ten times a second, then outcome()."""

    def __init__(self, scenario: Scenario, site: Site, bench: Bench, *, mode: Mode, begun_s: float) -> None:
        """begun_s: the bench's time at which the scenario's t = 0."""
        self.scenario, self.bench = scenario, bench
        self.schedule = Schedule(scenario.fault, scenario.seed, mode)
        self.truth: Truth | None = None
        self.t_s = -math.inf
        self._mode, self._begun_s = mode, begun_s
        self._names = names(site)
        judge = scenario.judge
        self.judge = Judge(site, msgspec.convert(judge.allow, Allowed), _judged(scenario))
        self._steps, self._rows = Steps(scenario.step), Rows(scenario.row)
        self._courses = [
            (row.set, course(row.signal, chance.named(scenario.seed, f"{row.set} {place}")))
            for place, row in enumerate(scenario.stimulus)
        ]
        self._due_s = [0.0] * len(self._courses)
        self._expressions: dict[str, Expression[View]] = {}
        self._view: View | None = None
        self._tracer, self._recorder = Tracer(), Recorder(site)
        self._extras = Extras(site, bench.utility.wish)
        self._stood: set[str] = set()
        self._converged_s: float | None = None  # since when it holds without a break
        self._healed = False

    @property
    def over(self) -> bool:
        """Whether the scenario's time is over."""
        return self.t_s >= self.scenario.length_s - SOON_S

    def tick(self, now_s: float) -> None:
        """Play and look at one moment. Nothing is done before t = 0 and after the end."""
        t_s = round(now_s - self._begun_s, 6)
        if t_s < -SOON_S or self.over:
            return
        self.t_s = t_s
        bench, plant = self.bench, self.bench.plant
        self._play(t_s)
        self._lay(now_s)
        plant.order_w = bench.utility.order_w
        plant.cut = set(self.schedule.cut)
        truth = self.truth = msgspec.structs.replace(plant.truth(), t_s=t_s)
        decision = bench.decision
        self._view = View(truth, decision)
        self.judge.sample(truth)
        self._recorder.sample(truth)
        decided = None
        if decision is not None:
            self._stood.update(f"{fault.fault} {fault.device}" for fault in decision.faults)
            decided = (decision.target_w, decision.low.value_w, decision.high.value_w)
        self._tracer.note(t_s, truth, decided)
        self._steps.look(t_s, self.holds)
        self._converge(t_s)

    def holds(self, text: str) -> bool:
        """Tell whether an expression is true now. What cannot be told is not."""
        if self._view is None:
            return False
        if text not in self._expressions:
            self._expressions[text] = compiled(text, self._names)
        return self._expressions[text].holds(self._view)

    @property
    def waits_for(self) -> str:
        """What is waited for, "" where nothing is."""
        return self._steps.now

    def outcome(self, *, restarts: int, decisions: int, wrong: tuple[str, ...] = ()) -> Outcome:
        """Return what became of it. wrong: what the bench itself found."""
        self.schedule.heal(self.t_s)
        self._rows.end(self.bench.decision)
        scenario, verdicts, steps = self.scenario, self.judge.verdicts(), self._steps.outcomes()
        measures = self._measures()
        found = [
            *wrong,
            *(f"{one.invariant}: {one.says}: {one.where}" for one in verdicts if not one.held),
            *(
                f"{one.invariant} was never put to the test"
                for one in verdicts
                if self._untested(one.invariant, one.tested)
            ),
            *(f"step: {one.says}: {one.wrong}" for one in steps if one.wrong),
            *self._rows.wrong,
            *(f"{one.metric} is {_number(one.value)} {one.unit}, not {one.bar}" for one in measures if not one.held),
            *self._faults_wrong(),
            *self._unconverged(),
        ]
        if not fits(scenario.judge.restarts, restarts):
            found.append(f"the controller was started again {restarts} times, not {shown(scenario.judge.restarts)}")
        return Outcome(
            scenario=scenario.id,
            title=scenario.title,
            mode=self._mode,
            seed=scenario.seed,
            length_s=scenario.length_s,
            held=not found,
            wrong=tuple(found),
            verdicts=verdicts,
            steps=steps,
            measures=measures,
            faults=tuple(
                FaultOutcome(fault=called(one.fault), times_s=tuple(one.times_s), effects=one.effects, note=one.note)
                for one in self.schedule.armed
            ),
            log=tuple(self.schedule.log),
            stood=tuple(sorted(self._stood)),
            restarts=restarts,
            decisions=decisions,
            digest=self._tracer.digest,
            trace=self._tracer.trace,
        )

    def _play(self, t_s: float) -> None:
        """Set what is due and let faults begin and end."""
        for place, (name, signal) in enumerate(self._courses):
            if t_s >= self._due_s[place] - SOON_S:
                self._set(name, signal.value(t_s))
                self._due_s[place] = signal.next_change_s(t_s)
        for row in self._rows.begun(t_s, self.bench.decision):
            for name, value in row.set.items():
                self._set(name, None if value == NOTHING else float(value))
        heal_s = self.scenario.heal_s
        if heal_s is not None and t_s >= heal_s - SOON_S and not self._healed:
            self._healed = True
            self.schedule.heal(t_s)
        self.schedule.tick(t_s, self.bench, self.holds)

    def _lay(self, now_s: float) -> None:
        """Lay what the utility asks by protocols that are not there yet, where the controller is in this process."""
        bench, utility = self.bench, self.bench.utility
        clock = getattr(bench, "clock", None)
        if clock is not None:
            book = getattr(bench, "book", None)
            self._extras.tick(book, now_s, clock.now_ms(), silent=utility.silent)
        asked = self._extras.asked(now_s)
        bench.plant.asked = msgspec.structs.replace(asked, reactive_var=utility.reactive_var)

    def _set(self, name: str, value: float | None) -> None:
        if not name.startswith(UTILITY):
            if value is not None:  # None: it has not begun
                self.bench.plant.set(name, value)
            return
        self.bench.utility.wish.put(name.removeprefix(UTILITY), value)
        self.bench.utility.changed()

    def _converge(self, t_s: float) -> None:
        wanted = self.scenario.judge.converged
        if wanted is None or not self._healed:
            return
        if not self.holds(wanted):
            self._converged_s = None
        elif self._converged_s is None:
            self._converged_s = t_s

    def _unconverged(self) -> list[str]:
        wanted, heal_s = self.scenario.judge.converged, self.scenario.heal_s
        if wanted is None or heal_s is None:
            return []
        within_s = self.scenario.judge.within_s or math.inf
        if self._converged_s is None:
            return [f"not converged at the end: {wanted}"]
        late_s = self._converged_s - heal_s
        return (
            []
            if late_s <= within_s + SOON_S
            else [f"{wanted} only {late_s:.1f} s after the healing, not {within_s:g} s"]
        )

    def _untested(self, invariant: str, tested: bool) -> bool:
        return invariant in self.scenario.judge.tested and not tested

    def _faults_wrong(self) -> list[str]:
        judge = self.scenario.judge
        found = [f"{fault} never stood" for fault in judge.expect_faults if fault not in self._stood]
        if judge.only_faults:
            found += [f"{fault} stood" for fault in sorted(self._stood - set(judge.expect_faults))]
        if judge.idle_faults:
            return found
        return found + [
            f"{called(one.fault)} never bit: it proves nothing" for one in self.schedule.armed if not one.effects
        ]

    def _measures(self) -> tuple[Measured, ...]:
        ends_s = [end_s for one in self.schedule.armed for _, end_s in one.times_s if end_s is not None]
        return measured(self._recorder.recording(max(ends_s, default=None)), self.scenario.judge.metrics)


def _judged(scenario: Scenario) -> tuple[str, ...]:
    return tuple(name for name in INVARIANTS if name not in scenario.judge.skip)


def _number(value: float | None) -> str:
    return "not to be had" if value is None else f"{value:.4g}"
