"""Emulator mutants: the plant with a piece of its physics left out. Each must make a scenario fail.

A scenario that passes on the real plant and on every mutant does not need the physics, so it proves nothing about them.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from hil.plant.battery import BatterySpec
from hil.plant.inverter import InverterSpec
from hil.plant.meter import MeterSpec
from hil.plant.site import PlantSpec, Spec


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """One row: the specs of a kind, changed."""

    name: str
    says: str
    of: type[Any]
    change: Callable[[Any], Any]


def _with(**changes: object) -> Callable[[Any], Any]:
    return lambda spec: msgspec.structs.replace(spec, **changes)


_ROWS = (
    Mutant(
        name="instant", says="inverters without dead time, ramp and lag", of=InverterSpec, change=_with(instant=True)
    ),
    Mutant(name="lossless", says="inverters without losses", of=InverterSpec, change=_with(lossless=True)),
    Mutant(name="no_derating", says="inverters that bear any heat", of=InverterSpec, change=_with(no_derating=True)),
    Mutant(
        name="meter_sign", says="a meter that counts the other way round", of=MeterSpec, change=_with(reversed=True)
    ),
    Mutant(name="never_limits", says="a BMS that never limits", of=BatterySpec, change=_with(never_limits=True)),
)

MUTANTS = {row.name: row for row in _ROWS}


def mutated(spec: PlantSpec, mutant: Mutant) -> PlantSpec:
    """Return the plant's spec with the mutant's piece of physics left out."""

    def changed(part: Spec) -> Spec:
        return mutant.change(part) if isinstance(part, mutant.of) else part

    return msgspec.structs.replace(spec, parts={name: changed(part) for name, part in spec.parts.items()})
