"""What no single key can tell: whether the keys of a scenario fit one another, the site, and what can be judged.

Each check is a function of a Draft that yields problems; it keeps silent about keys that are already known to be wrong.
The checks of faults are in fault_checks.py.
"""

from collections.abc import Iterator
from itertools import pairwise

from controller.app.problems import Problem, shown
from hil.scenario.decode import TOGETHER, decode
from hil.scenario.draft import ON_THE_BOARD, Check, Draft, bar, expression, input_value, named, rests, standing
from hil.scenario.fault_checks import FAULT_CHECKS
from hil.scenario.names import DECIDED
from hil.scenario.words import Stimulus


def file_has_its_name(draft: Draft) -> Iterator[Problem]:
    """The id is the file's name: it is found by it, and no folder has two of one."""
    name = draft.scenario.id
    if draft.good("id") and name != draft.name:
        yield Problem(path="id", read=shown(name), allowed=f"the file's name, {draft.name}", hint="rename one of them")


def times_are_in_order(draft: Draft) -> Iterator[Problem]:
    """Healing comes before the end and is waited for; what is waited for ends before the scenario does."""
    scenario, judge = draft.scenario, draft.scenario.judge
    if not draft.good("length_s", "heal_s", "judge"):
        return
    heal_s, length_s = scenario.heal_s, scenario.length_s
    if heal_s is None:
        for name in ("converged", "within_s"):
            if getattr(judge, name) is not None:
                hint = "converged is waited for after heal_s"
                yield Problem(path=f"judge.{name}", read="no heal_s", allowed="with heal_s", hint=hint)
        return
    if heal_s >= length_s:
        yield Problem(path="heal_s", read=shown(heal_s), allowed=f"before the end, length_s = {length_s:g}")
    for name in ("converged", "within_s"):
        if getattr(judge, name) is None:
            hint = "after heal_s the site has to come back: say what is true then, and how soon"
            yield Problem(path=f"judge.{name}", read="nothing", allowed="converged and within_s", hint=hint)
    if judge.within_s is not None and heal_s < length_s < heal_s + judge.within_s:
        allowed = f"at most {length_s - heal_s:g}: the end is at length_s = {length_s:g}"
        yield Problem(path="judge.within_s", read=shown(judge.within_s), allowed=allowed)


def modes_are_single(draft: Draft) -> Iterator[Problem]:
    """A mode is named once."""
    modes = draft.scenario.modes
    if draft.good("modes") and len(set(modes)) < len(modes):
        yield Problem(path="modes", read=", ".join(modes), allowed="each mode once")


def plant_has_the_parts(draft: Draft) -> Iterator[Problem]:
    """[plant.NAME] changes a part that is there, and of it what its spec has."""
    if draft.site is None or not draft.good("plant"):
        return
    wrong = [*_parts(draft)]
    yield from wrong
    if not wrong:
        try:
            draft.known.fit(draft.site, draft.scenario.plant)
        except ValueError as error:
            yield Problem(path="plant", read=str(error), allowed=TOGETHER)


def _parts(draft: Draft) -> Iterator[Problem]:
    """Yield what is wrong with single keys; what the site makes of a part decides whether they fit together."""
    kinds = {name: kind for name, kind in draft.targets().items() if kind in draft.known.parts}
    for name, changes in draft.scenario.plant.items():
        path, found = f"plant.{name}", list[Problem]()
        yield from named(path, name, kinds, "the name of a device of the site, grid or local")
        if name in kinds:
            decode(dict(changes), draft.known.parts[kinds[name]], found, path)
        yield from (problem for problem in found if problem.allowed != TOGETHER)


def inputs_are_known(draft: Draft) -> Iterator[Problem]:
    """What is played exists, is played once, begins before the end and stays in its range."""
    known = draft.inputs()
    played: dict[str, str] = {}
    for path, row in draft.sound("stimulus", draft.scenario.stimulus):
        if draft.site is None and row.set not in known:
            continue
        yield from named(f"{path}.set", row.set, known, "an input")
        if row.set in played:
            allowed = "an input that nothing else plays"
            yield Problem(path=f"{path}.set", read=shown(row.set), allowed=allowed, hint=f"{played[row.set]} plays it")
        elif row.set in known:
            played[row.set] = path
            yield from _points(draft, path, row)
    for path, line in draft.sound("row", draft.scenario.row):
        for name, value in line.set.items():
            if draft.site is None and name not in known:
                continue
            yield from named(f"{path}.set.{name}", name, known, "an input")
            if name in played:
                allowed = "an input that no stimulus plays"
                yield Problem(path=f"{path}.set.{name}", read=shown(value), allowed=allowed, hint=played[name])
            elif name in known:
                yield from input_value(draft, f"{path}.set.{name}", name, value)


def _points(draft: Draft, path: str, row: Stimulus) -> Iterator[Problem]:
    for i, (_, value) in enumerate(row.signal.points):
        yield from input_value(draft, f"{path}.points[{i}]", row.set, value)
    first_s = row.signal.points[0][0] if row.signal.points else 0.0
    if row.set in ON_THE_BOARD and "real" in draft.scenario.modes:
        hint = "its protocol is not there yet, and the controller in another process"
        yield Problem(path=f"{path}.set", read=shown(row.set), allowed="in lockstep and model mode", hint=hint)
    if first_s > 0 and not rests(row.set):
        hint = f"{row.set} would have no value before"
        yield Problem(path=f"{path}.points[0]", read=f"{first_s:g} s", allowed="a first point at 0 s", hint=hint)
    elif draft.good("length_s") and first_s >= draft.scenario.length_s:
        allowed = f"a first time before the end, length_s = {draft.scenario.length_s:g}"
        yield Problem(path=f"{path}.points[0]", read=f"{first_s:g} s, so that it never plays", allowed=allowed)


def steps_say_one_thing(draft: Draft) -> Iterator[Problem]:
    """A step waits with until, or watches with always or never for a time."""
    for path, step in draft.sound("step", draft.scenario.step):
        said = [name for name in ("until", "always", "never") if getattr(step, name) is not None]
        if len(said) != 1:
            read = " and ".join(said) or "none of them"
            yield Problem(path=path, read=read, allowed="one of until, always and never")
            continue
        yield from expression(draft, f"{path}.{said[0]}", getattr(step, said[0]))
        if said == ["until"] and step.for_s is not None:
            hint = "within_s is until when it has to be so, maintain_s for how long then"
            yield Problem(path=f"{path}.for_s", read=shown(step.for_s), allowed="with always and never", hint=hint)
        if said != ["until"]:
            for name in ("within_s", "maintain_s"):
                if getattr(step, name):
                    yield Problem(path=f"{path}.{name}", read=shown(getattr(step, name)), allowed="with until")
            if step.for_s is None:
                yield Problem(path=f"{path}.for_s", read="nothing", allowed=f"for how long, with {said[0]}")


def steps_can_run(draft: Draft) -> Iterator[Problem]:
    """A step can begin where it says and be done before the end."""
    length_s, done_s = draft.scenario.length_s, 0.0  # done_s: the soonest
    if not draft.good("step", "length_s"):
        return
    for i, step in enumerate(draft.scenario.step):
        if step.at_s is not None and step.at_s < done_s:
            allowed = f"at least {done_s:g}: the step before it is not done sooner"
            yield Problem(path=f"step[{i}].at_s", read=shown(step.at_s), allowed=allowed)
        least_s = (step.for_s or 0.0) if step.until is None else step.maintain_s
        begin_s = max(done_s, step.at_s or 0.0)
        done_s = begin_s + least_s
        at_most_s = begin_s + (step.within_s or 0.0) + least_s if step.at_s is not None else done_s
        if at_most_s > length_s or begin_s >= length_s:
            read = f"a step that is done at {at_most_s:g} s"
            yield Problem(path=f"step[{i}]", read=read, allowed=f"before the end, length_s = {length_s:g}")
            return


def rows_are_a_table(draft: Draft) -> Iterator[Problem]:
    """Rows stand in order of time, each sets or expects something, and what they expect can be."""
    rows = [*draft.sound("row", draft.scenario.row)]
    for (_, before), (path, after) in pairwise(rows):
        if after.t_s <= before.t_s:
            yield Problem(path=f"{path}.t_s", read=shown(after.t_s), allowed=f"after the row before, {before.t_s:g}")
    ends_another = False
    for path, row in rows:
        if draft.good("length_s") and row.t_s >= draft.scenario.length_s:
            allowed = f"before the end, length_s = {draft.scenario.length_s:g}"
            yield Problem(path=f"{path}.t_s", read=shown(row.t_s), allowed=allowed)
        if not row.set and row.expect is None and not ends_another:
            yield Problem(path=path, read="neither set nor expect", allowed="one of them, or both")
        ends_another = row.expect is not None
        if row.expect is None:
            continue
        yield from standing(draft, f"{path}.expect.faults", row.expect.faults)
        for name, decided in DECIDED.items():
            value = getattr(row.expect, name)
            if decided.kind == "number":
                yield from bar(f"{path}.expect.{name}", value)
            elif value is not None:
                yield from named(f"{path}.expect.{name}", value, decided.words, "one of")


def judge_is_told_what_it_knows(draft: Draft) -> Iterator[Problem]:
    """Invariants, times, faults and metrics exist; what is not judged has a reason."""
    judge, known = draft.scenario.judge, draft.known
    if not draft.good("judge"):
        return
    for key in ("skip", "tested"):
        for i, name in enumerate(getattr(judge, key)):
            yield from named(f"judge.{key}[{i}]", name, known.invariants, "an invariant")
    for i, name in enumerate(judge.skip):
        if not judge.reason.get(name, "").strip():
            yield Problem(path=f"judge.skip[{i}]", read=f"{name!r} without a reason", allowed=f"reason.{name} = why")
        if name in judge.tested:
            yield Problem(path=f"judge.skip[{i}]", read=f"{name!r}, which is in tested", allowed="one of the two")
    for name in judge.reason:
        if name not in judge.skip:
            yield Problem(path=f"judge.reason.{name}", read="a reason", allowed="for what is in skip")
    yield from _times(draft)
    yield from standing(draft, "judge.expect_faults", judge.expect_faults)
    for name, value in judge.metrics.items():
        yield from named(f"judge.metrics.{name}", name, known.metrics, "a metric")
        try:
            known.terms(value)
        except ValueError as error:
            allowed = '"<= number", ">= number" or [low, high]'
            yield Problem(path=f"judge.metrics.{name}", read=shown(value), allowed=allowed, hint=str(error))
    yield from bar("judge.restarts", judge.restarts)
    yield from expression(draft, "judge.converged", judge.converged)


def _times(draft: Draft) -> Iterator[Problem]:
    found: list[Problem] = []
    decode(dict(draft.scenario.judge.allow), draft.known.allowed, found, "judge.allow")
    yield from found


CHECKS: tuple[Check, ...] = (
    file_has_its_name,
    times_are_in_order,
    modes_are_single,
    plant_has_the_parts,
    inputs_are_known,
    *FAULT_CHECKS,
    steps_say_one_thing,
    steps_can_run,
    rows_are_a_table,
    judge_is_told_what_it_knows,
)
