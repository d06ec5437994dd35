"""What a scenario may name of the other rooms of this bench: faults, invariants, metrics, the judge's times."""

from functools import cache

from hil.faults import VERBS
from hil.faults.catalogue import ROWS
from hil.judge import INVARIANTS, Allowed
from hil.judge.bars import terms
from hil.judge.metrics import METRICS
from hil.plant.battery import BatterySpec
from hil.plant.grid import GridSpec
from hil.plant.inputs import InputsSpec
from hil.plant.inverter import InverterSpec
from hil.plant.local import LocalSpec
from hil.plant.meter import MeterSpec
from hil.run.fit import plant_spec
from hil.scenario.draft import Known


@cache
def known() -> Known:
    """Return all of it."""
    return Known(
        verbs=VERBS,
        rows=ROWS,
        invariants=frozenset(INVARIANTS),
        metrics=frozenset(METRICS),
        terms=terms,
        allowed=Allowed,
        parts={
            "inverter": InverterSpec,
            "battery": BatterySpec,
            "meter": MeterSpec,
            "inputs": InputsSpec,
            "grid": GridSpec,
            "local": LocalSpec,
        },
        fit=plant_spec,
    )
