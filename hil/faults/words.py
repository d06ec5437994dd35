"""The words of faults: what a scenario says, what a verb is, and what is known of a fault while it stands.

A fault is a verb on a target for a while: `F06 delay on meter at 20 s for 30 s`. Its verb is a row of a table; the
row's `begin` does it to a bench and returns the function that undoes it. Whoever applies the fault counts its bites:
a fault that never bit proves nothing, and a scenario with one fails.
"""

from collections.abc import Callable
from random import Random
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

Mode = Literal["lockstep", "model", "real"]
Layer = Literal["wire", "can", "told", "device", "plant", "time", "utility", "disk", "process"]
Kind = Literal["inverter", "meter", "battery", "inputs", "utility", "controller", "disk", "clock", "grid", "local"]
Value = float | str | bool

ALL_MODES: frozenset[Mode] = frozenset(("lockstep", "model", "real"))
WITH_FRAMES: frozenset[Mode] = frozenset(("lockstep", "real"))
LOCKSTEP: frozenset[Mode] = frozenset(("lockstep",))

# What is no device of the site file has one name and one kind.
PLACES: dict[str, Kind] = {
    "utility": "utility",
    "controller": "controller",
    "disk": "disk",
    "clock": "clock",
    "grid": "grid",
    "local": "local",
}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"params": "with"}):
    """One fault of a scenario. It begins at at_s, or when an expression is true, or by chance with per_s a second."""

    id: Annotated[str, Meta(pattern=r"^(F\d{2,3})?$", description="row of the catalogue, F01 to F100")] = ""
    on: Annotated[str, Meta(description="the device it hits, or utility, controller, disk, clock, grid, local")] = ""
    do: Annotated[str, Meta(description="the verb; left out = the catalogue's")] = ""
    at_s: Annotated[float, Meta(ge=0, description="begins here")] | None = None
    when: Annotated[str, Meta(description="begins when this expression is first true")] | None = None
    per_s: Annotated[float, Meta(gt=0, le=10, description="begins by chance, this often a second")] | None = None
    for_s: Annotated[float, Meta(gt=0, description="lasts; left out = until the scenario heals or ends")] | None = None
    stability_s: Annotated[float, Meta(ge=0, description="after its end it does not begin again for so long")] = 0.0
    direction: Annotated[Literal["both", "up", "down"], Meta(description="on a wire: up is toward the controller")] = (
        "both"
    )
    params: Annotated[dict[str, Value], Meta(description="the verb's parameters, as `with`")] = field(
        default_factory=dict
    )


class Param(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter of a verb: a number within [low, high], or one of choices, or any text where choices is empty."""

    default: Value
    says: str
    unit: str = ""
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()


class Armed:
    """A fault of a running bench: what became of it, and the chance that is its own."""

    def __init__(self, fault: Fault, verb: "Verb", seed: str) -> None:
        """seed: the scenario's, with the fault's own place in it, so that one more fault changes no other."""
        self.fault, self.verb, self.random = fault, verb, Random(seed)
        self.active = False
        self.effects = 0
        self.times_s: list[tuple[float, float | None]] = []  # begun, ended
        self.note = ""  # the last thing it did

    def number(self, name: str) -> float:
        """Return a parameter that is a number."""
        return float(self.fault.params.get(name, self.verb.params[name].default))

    def text(self, name: str) -> str:
        """Return a parameter that is a word."""
        return str(self.fault.params.get(name, self.verb.params[name].default))

    def bit(self, note: str = "") -> None:
        """Count one effect."""
        self.effects += 1
        if note:
            self.note = note


Heal = Callable[[], None]


class Verb(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be done to a bench. begin(bench, armed) does it and returns what undoes it."""

    name: str
    layer: Layer
    says: str
    on: frozenset[Kind]
    begin: Callable[[Any, Armed], Heal]
    params: dict[str, Param] = {}
    modes: frozenset[Mode] = ALL_MODES
    cuts: bool = False  # the target cannot be heard while it stands


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the catalogue: a fault that happens in the field, as a verb with parameters."""

    id: str
    title: str
    do: str  # a verb; "" = not yet, and why says why
    must: str  # what has to hold
    params: dict[str, Value] = {}
    why: str = ""
