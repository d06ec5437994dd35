"""Whether the faults of a scenario exist, hit something that they can hit, and can be done in its modes."""

from collections.abc import Iterator

from controller.app.problems import Problem, meant_key, nearest, shown
from hil.faults.words import PLACES, Fault, Param, Value, Verb
from hil.scenario.draft import Check, Draft, expression, named


def faults_are_known(draft: Draft) -> Iterator[Problem]:
    """Row and verb exist; the target is there and of a kind that the verb can hit; so are its parameters."""
    for path, fault in draft.sound("fault", draft.scenario.fault):
        verb, problem = _verb(draft, path, fault)
        if problem is not None:
            yield problem
        if verb is None:
            continue
        if draft.site is not None:
            yield from _target(draft, path, fault, verb)
        for name, value in fault.params.items():
            yield from _param(f"{path}.with.{name}", name, value, verb)
        impossible = [mode for mode in draft.scenario.modes if mode not in verb.modes] if draft.good("modes") else []
        if impossible:
            hint = f"modes = {sorted(verb.modes)}".replace("'", '"')
            read = f"{verb.name}, which cannot be done in mode {' or '.join(impossible)}"
            yield Problem(path=path, read=read, allowed="a fault that can be done in all modes named", hint=hint)


def _verb(draft: Draft, path: str, fault: Fault) -> tuple[Verb | None, Problem | None]:
    """Return the verb of a fault, or what is wrong where it has none."""
    known, row = draft.known, draft.known.rows.get(fault.id)
    if fault.id and row is None:
        problems = [*named(f"{path}.id", fault.id, known.rows, "a row of the catalogue, F01 to F100")]
        return known.verbs.get(fault.do), problems[0]
    do = fault.do or (row.do if row is not None else "")
    if do:
        problems = [*named(f"{path}.do", do, known.verbs, "a verb")]
        return known.verbs.get(do), problems[0] if problems else None
    if row is not None:
        read = f"{fault.id} ({row.title}), which cannot be done yet"
        return None, Problem(path=f"{path}.id", read=read, allowed="a row with a verb", hint=row.why)
    return None, Problem(path=path, read="neither id nor do", allowed="a row of the catalogue, or a verb")


def _target(draft: Draft, path: str, fault: Fault, verb: Verb) -> Iterator[Problem]:
    targets = draft.targets()
    fitting = [name for name, kind in targets.items() if kind in verb.on]
    allowed = f"what {verb.name} can hit: {', '.join(fitting) or 'nothing of this site'}"
    if not fault.on:
        if len(verb.on) > 1 or not verb.on & set(PLACES.values()):
            yield Problem(path=f"{path}.on", read="nothing", allowed=allowed)
    elif fault.on not in targets:
        yield Problem(path=f"{path}.on", read=shown(fault.on), allowed=allowed, hint=nearest(fault.on, targets))
    elif fault.on not in fitting:
        yield Problem(path=f"{path}.on", read=f"{fault.on!r}, which is of kind {targets[fault.on]}", allowed=allowed)


def _param(path: str, name: str, value: Value, verb: Verb) -> Iterator[Problem]:
    param = verb.params.get(name)
    if param is None:
        hint = meant_key(name, value, verb.params) or nearest(name, verb.params)
        allowed = f"the parameters of {verb.name}" if verb.params else f"none: {verb.name} has no parameters"
        yield Problem(path=path, read=f"{shown(value)}, an unknown parameter", allowed=allowed, hint=hint)
    elif not _fits(param, value):
        hint = nearest(value, param.choices) if isinstance(value, str) and param.choices else param.says
        yield Problem(path=path, read=shown(value), allowed=_allowed(param), hint=hint)


def _fits(param: Param, value: Value) -> bool:
    match param.default:
        case bool():
            return isinstance(value, bool)
        case str():
            return isinstance(value, str) and (not param.choices or value in param.choices)
    return isinstance(value, int | float) and not isinstance(value, bool) and param.low <= value <= param.high


def _allowed(param: Param) -> str:
    match param.default:
        case bool():
            return "true or false"
        case str():
            return f"one of {', '.join(map(repr, param.choices))}" if param.choices else "text"
    return f"a number from {param.low:g} to {param.high:g} {param.unit}".rstrip()


def faults_can_begin(draft: Draft) -> Iterator[Problem]:
    """A fault begins in one way, and before the end and the healing."""
    scenario = draft.scenario
    ends = {"length_s": scenario.length_s, "heal_s": scenario.heal_s} if draft.good("length_s", "heal_s") else {}
    for path, fault in draft.sound("fault", draft.scenario.fault):
        triggers = [name for name in ("at_s", "when", "per_s") if getattr(fault, name) is not None]
        if len(triggers) > 1:
            yield Problem(path=path, read=" and ".join(triggers), allowed="one of at_s, when and per_s")
        for name, end_s in ends.items():
            if fault.at_s is not None and end_s is not None and fault.at_s >= end_s:
                allowed = f"before {name} = {end_s:g}"
                yield Problem(path=f"{path}.at_s", read=shown(fault.at_s), allowed=allowed, hint="it never begins")
        if fault.stability_s and fault.per_s is None:
            hint = "without per_s it begins once only"
            yield Problem(path=f"{path}.stability_s", read=shown(fault.stability_s), allowed="with per_s", hint=hint)
        yield from expression(draft, f"{path}.when", fault.when)


FAULT_CHECKS: tuple[Check, ...] = (faults_are_known, faults_can_begin)
