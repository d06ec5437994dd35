"""The schedule of faults: which begins when, which ends when, and what became of each.

Laws:
- A fault begins at at_s, when its expression is first true, or by chance with per_s; without any of them, at once.
  By at_s and `when` it begins once; by chance again and again, never sooner than stability_s after its end.
- Chance is drawn as a waiting time, so that a run of any tick length meets a fault at the same moment. Each fault
  draws from a seed made of what it is: one fault more or less changes no other.
- What ends at a tick ends before anything begins at it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

import msgspec

from hil.faults import VERBS
from hil.faults.bench import Standing, kind_of
from hil.faults.catalogue import ROWS
from hil.faults.words import PLACES, Armed, Fault, Heal, Mode, Param, Value, Verb

LOG_LINES_MAX = 10_000  # a year of faults by chance must not fill the memory
SOON_S = 1e-6  # a time that is a sum of ticks may fall short of its mark by this much
TRIGGERS = ("at_s", "when", "per_s")


class FaultError(ValueError):
    """A fault that cannot be done. The text names the fault, what is wrong with it and what is allowed."""


def called(fault: Fault) -> str:
    """Return a fault's name for people: "F06 delay on meter"."""
    words = (fault.id, fault.do, f"on {fault.on}" if fault.on else "")
    return " ".join(word for word in words if word)


def resolve(fault: Fault) -> Fault:
    """Return a fault with verb, parameters and place filled in from its row of the catalogue.

    What the fault says itself goes before the row; the row's parameters hold for the row's own verb only.
    Raises FaultError with everything that is wrong.
    """
    wrong = _unknown(fault)
    row = ROWS.get(fault.id)
    do = fault.do or (row.do if row else "")
    verb = VERBS.get(do)
    if wrong or verb is None:
        raise FaultError(f"{called(fault)}: {'; '.join(wrong)}")
    given = row.params if row and row.do == do else {}
    on = fault.on
    if not on and len(verb.on) == 1:
        (kind,) = verb.on
        on = next((place for place in PLACES if PLACES[place] == kind), "")
    whole = msgspec.structs.replace(fault, do=do, on=on, params={**given, **fault.params})
    wrong = list(wrong_params(verb, whole.params))
    if not on:
        wrong.append(f"`on` is missing; allowed is a device of kind {' or '.join(sorted(verb.on))}")
    triggers = [name for name in TRIGGERS if getattr(fault, name) is not None]
    if len(triggers) > 1:
        wrong.append(f"{' and '.join(triggers)} are given; allowed is one of them")
    if wrong:
        raise FaultError(f"{called(whole)}: {'; '.join(wrong)}")
    return whole


def wrong_params(verb: Verb, params: dict[str, Value]) -> Iterator[str]:
    """Yield what is wrong with a verb's parameters; each line says what is allowed."""
    for name, value in params.items():
        param = verb.params.get(name)
        if param is None:
            yield f"{name} is no parameter of {verb.name}; it takes {', '.join(verb.params) or 'none'}"
        elif not _fits(param, value):
            yield f"{name} is {value!r}; allowed is {_allowed(param)}"


class Schedule:
    """The faults of one run. Times are the scenario's, in s from its start; they are handed in and never run back."""

    def __init__(self, faults: Iterable[Fault], seed: int, mode: Mode) -> None:
        """Raise FaultError for a fault that cannot be done at all, or not in this mode."""
        self.log: list[str] = []
        self._seed, self._mode = seed, mode
        self._same: Counter[str] = Counter()
        self._entries: list[_Entry] = []
        for fault in faults:
            self._enter(fault)

    @property
    def armed(self) -> tuple[Armed, ...]:
        """The faults with their effects and times, in the order given, then in that of their arming."""
        return tuple(entry.armed for entry in self._entries)

    @property
    def cut(self) -> frozenset[str]:
        """The devices that cannot be heard now because a fault cuts them off."""
        standing = (armed for armed in self.armed if armed.active and armed.verb.cuts)
        return frozenset(armed.fault.on for armed in standing if armed.fault.on not in PLACES)

    def tick(self, t_s: float, bench: Any, true: Callable[[str], bool]) -> None:
        """End and begin what is due. Raises FaultError for a fault that could not begin.

        true: tells whether an expression is true now; called for faults that still wait for theirs.
        """
        for entry in self._entries:
            entry.look()
            if entry.armed.active and t_s >= entry.ends_s - SOON_S:
                self._end(entry, t_s)
        for entry in self._entries:
            if entry.due(t_s, true):
                self._begin(entry, t_s, bench)

    def arm(self, fault: Fault, t_s: float, bench: Any) -> int:
        """Let a fault begin now, whatever it says of when, and return its number. Raises FaultError."""
        entry = self._enter(msgspec.structs.replace(fault, at_s=t_s, when=None, per_s=None))
        try:
            self._begin(entry, t_s, bench)
        except FaultError:
            self._entries.remove(entry)
            raise
        return len(self._entries) - 1

    def disarm(self, number: int, t_s: float) -> None:
        """End one fault for good. Raises LookupError for a number that no fault has."""
        if not 0 <= number < len(self._entries):
            raise LookupError(f"there is no fault {number}; there are {len(self._entries)}, counted from 0")
        self._finish(self._entries[number], t_s)

    def heal(self, t_s: float) -> None:
        """End every fault for good."""
        for entry in self._entries:
            self._finish(entry, t_s)

    def _enter(self, fault: Fault) -> "_Entry":
        whole = resolve(fault)
        verb = VERBS[whole.do]
        if self._mode not in verb.modes:
            modes = " and ".join(sorted(verb.modes))
            raise FaultError(f"{called(whole)}: it cannot be done in mode {self._mode}, only in {modes}")
        name = f"{called(whole)} {whole.direction}"
        seed = f"{self._seed} {name} {self._same[name]}"
        self._same[name] += 1
        entry = _Entry(Armed(whole, verb, seed), Random(f"{seed} begins"))
        self._entries.append(entry)
        return entry

    def _begin(self, entry: "_Entry", t_s: float, bench: Any) -> None:
        armed = entry.armed
        fault, verb = armed.fault, armed.verb
        try:
            kind = kind_of(bench, fault.on)
            if kind not in verb.on:
                raise TypeError(f"{fault.on} is of kind {kind}, allowed is {' or '.join(sorted(verb.on))}")
            entry.heal = verb.begin(bench, armed)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, OSError) as error:
            raise FaultError(f"{called(fault)} could not begin at {t_s:.1f} s: {error}") from error
        entry.begun(t_s)
        self._tell(f"{t_s:.1f} s {called(fault)} begins")

    def _finish(self, entry: "_Entry", t_s: float) -> None:
        if entry.armed.active:
            self._end(entry, t_s)
        entry.over = True

    def _end(self, entry: "_Entry", t_s: float) -> None:
        armed = entry.armed
        begun_s = entry.end(t_s)
        effects = "1 effect" if armed.effects == 1 else f"{armed.effects} effects"
        note = f", {armed.note}" if armed.note else ""
        self._tell(f"{t_s:.1f} s {called(armed.fault)} ends after {t_s - begun_s:.10g} s, {effects}{note}")

    def _tell(self, line: str) -> None:
        if len(self.log) < LOG_LINES_MAX:
            self.log.append(line)
        elif len(self.log) == LOG_LINES_MAX:
            self.log.append("and more")


class _Entry:
    """One fault's way through the run. over: it never begins again."""

    def __init__(self, armed: Armed, chance: Random) -> None:
        self.armed, self.over = armed, False
        self.heal: Heal = lambda: None
        self.ends_s = float("inf")
        self._chance = chance
        per_s = armed.fault.per_s
        self._due_s = armed.fault.at_s or 0.0 if per_s is None else chance.expovariate(per_s)

    def due(self, t_s: float, true: Callable[[str], bool]) -> bool:
        """Say whether it is to begin now."""
        if self.over or self.armed.active:
            return False
        when = self.armed.fault.when
        return t_s >= self._due_s - SOON_S if when is None else true(when)

    def begun(self, t_s: float) -> None:
        """Take note that it began."""
        fault = self.armed.fault
        self.armed.active = True
        self.armed.times_s.append((t_s, None))
        self.ends_s = t_s + (float("inf") if fault.for_s is None else fault.for_s)
        self.over = fault.per_s is None

    def look(self) -> None:
        """Let it act again, or see whether it has an effect."""
        if self.armed.active and isinstance(self.heal, Standing):
            self.heal.look()

    def end(self, t_s: float) -> float:
        """Undo it and return when it began."""
        fault = self.armed.fault
        self.heal()
        self.armed.active = False
        begun_s, _ = self.armed.times_s[-1]
        self.armed.times_s[-1] = (begun_s, t_s)
        if fault.per_s is not None:
            self._due_s = t_s + fault.stability_s + self._chance.expovariate(fault.per_s)
        return begun_s


def _unknown(fault: Fault) -> list[str]:
    """Return what nobody knows of a fault: its row, its verb."""
    row = ROWS.get(fault.id)
    if fault.id and row is None:
        return [f"there is no row {fault.id}; allowed are F01 to F{len(ROWS):02d}"]
    if fault.do:
        return [] if fault.do in VERBS else [f"{fault.do!r} is no verb; allowed are {', '.join(sorted(VERBS))}"]
    if row is None:
        return ["`id` and `do` are both missing; allowed is a row of the catalogue or a verb"]
    return [] if row.do else [f"{row.title}: it cannot be done yet: {row.why}"]


def _fits(param: Param, value: Value) -> bool:
    if isinstance(param.default, bool) or isinstance(value, bool):
        return isinstance(param.default, bool) and isinstance(value, bool)
    if isinstance(param.default, str) or isinstance(value, str):
        right = isinstance(param.default, str) and isinstance(value, str)
        return right and (not param.choices or value in param.choices)
    return param.low <= value <= param.high


def _allowed(param: Param) -> str:
    if isinstance(param.default, bool):
        return "true or false"
    if isinstance(param.default, str):
        return f"one of {', '.join(map(repr, param.choices))}" if param.choices else "a text"
    return f"a number from {param.low:g} to {param.high:g} {param.unit}".rstrip()
