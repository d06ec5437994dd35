"""A scenario whose keys were read one by one, with all that it may name: what the checks between its keys work on."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from controller.app import sitefile
from controller.app.problems import Problem, nearest, shown
from controller.model import FAULTS, Site
from hil.faults.words import PLACES, Kind, Row, Verb
from hil.run.extras import SEEN
from hil.run.utility import VALUES
from hil.scenario.bars import Bar, bounds
from hil.scenario.expression import ExpressionError, Names, compiled
from hil.scenario.names import View, bearers, contacts
from hil.scenario.words import NOTHING, Scenario

T = TypeVar("T")
LISTED_MOST = 60  # names that are told as what is allowed

# Inputs of the plant and what the utility does, with the lowest and highest value that means anything.
INPUTS: dict[str, tuple[float, float]] = {
    "load_w": (0.0, 1e7),
    "pv_w": (0.0, 1e7),
    "grid_hz": (40.0, 70.0),
    "grid_v_pu": (0.0, 1.5),
    "ambient_c": (-40.0, 80.0),
    "load_a_w": (0.0, 1e7),  # on phase a alone, beside load_w
    "load_b_w": (0.0, 1e7),
    "load_c_w": (0.0, 1e7),
    "utility.set_w": (-1e9, 1e9),  # far beyond any nameplate: a utility may ask nonsense
    "utility.limit_pct": (0.0, 100.0),
    "utility.heartbeat": (0.0, 1.0),
    "utility.cease": (0.0, 1.0),
    "utility.reactive_var": (-1e9, 1e9),
    "utility.envelope_import_w": (0.0, 1e9),
    "utility.envelope_export_w": (0.0, 1e9),
    "utility.consumption_w": (0.0, 1e9),
    "utility.consumption_beats": (0.0, 1.0),
    "utility.reserve_pct": (0.0, 100.0),
    "utility.reserve_within_s": (1.0, 172_800.0),
}
SOC = (0.0, 1.0)
SWITCH = (0.0, 1.0)
OF_BATTERY = {"soc": SOC, "force_charge": SWITCH, "full_charge_wanted": SWITCH}
OF_INVERTER = {"isolation_kohm": (0.0, 65_000.0)}
SILENT = frozenset(f"utility.{name}" for name in VALUES)  # that can say nothing
PHASE_LOADS = frozenset(("load_a_w", "load_b_w", "load_c_w"))
# What is laid on the controller's own board: there is no such line to a controller in another process.
ON_THE_BOARD = frozenset(f"utility.{name}" for name in SEEN) | {"utility.consumption_beats"}


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a scenario may name of the other rooms.

    parts: the spec of each kind of part of the plant, and of grid and local. fit: makes a plant of a site and [plant].
    allowed: the struct of the judge's times. terms: reads the bar of a metric. Both functions raise ValueError.
    """

    verbs: Mapping[str, Verb]
    rows: Mapping[str, Row]
    invariants: frozenset[str]
    metrics: frozenset[str]
    terms: Callable[[str | tuple[float, float]], object]
    allowed: type[msgspec.Struct]
    parts: Mapping[str, type[msgspec.Struct]]
    fit: Callable[[Site, dict[str, dict[str, object]]], object]


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario that may have problems. Where wrong names a path, the value there means nothing."""

    scenario: Scenario
    name: str  # of its file, without the ending
    known: Known
    site: Site | None  # None: it could not be read
    names: Names[View] | None
    wrong: tuple[str, ...]

    def good(self, *paths: str) -> bool:
        """Tell whether none of these keys, nothing in them and nothing they lie in has a problem of its own."""
        pairs = [(f"{path}.", f"{wrong}.") for path in paths for wrong in self.wrong]
        return not any(_within(path, wrong) or _within(wrong, path) for path, wrong in pairs)

    def sound(self, table: str, rows: tuple[T, ...]) -> Iterator[tuple[str, T]]:
        """Yield path and value of the rows of [[table]] that have no problem of their own."""
        for i, row in enumerate(rows):
            if self.good(f"{table}[{i}]"):
                yield f"{table}[{i}]", row

    def targets(self) -> dict[str, Kind]:
        """Return the kind of everything that a fault can hit."""
        devices = self.site.device if self.site is not None else ()
        return {**{row.name: sitefile.profile(row.profile).kind for row in devices}, **PLACES}

    def inputs(self) -> dict[str, tuple[float, float]]:
        """Return what can be set, with its range."""
        return INPUTS if self.site is None else INPUTS | inputs_of(self.site)


Check = Callable[[Draft], Iterator[Problem]]


def inputs_of(site: Site) -> dict[str, tuple[float, float]]:
    """Return what can be set at the devices of a site, with its range: battery.soc, inputs.0 ..."""
    found: dict[str, tuple[float, float]] = {}
    for unit in site.unit:
        for name in unit.batteries:
            found |= {f"{name}.{point}": span for point, span in OF_BATTERY.items()}
        found |= {f"{unit.inverter}.{point}": span for point, span in OF_INVERTER.items()}
    for device, channels in contacts(site).items():
        found |= {f"{device}.{channel}": SWITCH for channel in range(channels)}
    return found


def rests(name: str) -> bool:
    """Tell whether an input has a value that means something before it is played: no phase load, a closed contact."""
    device, _, point = name.rpartition(".")
    return name in PHASE_LOADS or (bool(device) and point != "soc")


def _within(path: str, outer: str) -> bool:
    return path.startswith((outer, f"{outer[:-1]}["))


def expression(draft: Draft, path: str, text: str | None) -> Iterator[Problem]:
    """Yield what is wrong with an expression. A site that could not be read has no names to know."""
    if text is None or draft.names is None:
        return
    try:
        compiled(text, draft.names)
    except ExpressionError as error:
        for problem in error.problems:
            yield msgspec.structs.replace(problem, path=f"{path}, {problem.path}")


def named(path: str, name: str, known: Iterable[str], what: str) -> Iterator[Problem]:
    """Yield that a name is not known."""
    words = sorted(known)
    if name not in words:
        hint = nearest(name, words)
        listed = len(words) <= LISTED_MOST and not hint.startswith("known")
        allowed = f"{what}: {', '.join(words)}" if listed else what
        yield Problem(path=path, read=shown(name), allowed=allowed, hint=hint)


def standing(draft: Draft, path: str, texts: tuple[str, ...]) -> Iterator[Problem]:
    """Yield what is wrong with faults of the controller, each "battery_stale battery"."""
    for i, text in enumerate(texts):
        fault, _, who = text.partition(" ")
        known = bearers(draft.site) if draft.site is not None else frozenset((who,))
        if not who:
            allowed = "the fault and where it stands, as battery_stale battery"
            yield Problem(path=f"{path}[{i}]", read=shown(text), allowed=allowed, hint=nearest(fault, FAULTS))
            continue
        yield from named(f"{path}[{i}]", fault, FAULTS, "a fault of the controller")
        yield from named(f"{path}[{i}]", who, known, "where it stands")


def bar(path: str, value: Bar | None) -> Iterator[Problem]:
    """Yield that a bar lets nothing through."""
    low, high = (0.0, 0.0) if value is None else bounds(value)
    if low > high:
        yield Problem(path=path, read=f"[{low:g}, {high:g}]", allowed="[low, high], the lower number first")


def input_value(draft: Draft, path: str, name: str, value: float | str) -> Iterator[Problem]:
    """Yield what is wrong with a value of an input; its name is known."""
    low, high = draft.inputs()[name]
    if value == NOTHING:
        if name not in SILENT:
            allowed = f"a number from {low:g} to {high:g}"
            yield Problem(path=path, read=shown(value), allowed=allowed, hint="nothing is for what the utility asks")
    elif isinstance(value, str) or not low <= value <= high:
        allowed = f"a number from {low:g} to {high:g}" + (f', or "{NOTHING}"' if name in SILENT else "")
        yield Problem(path=path, read=shown(value), allowed=allowed)
