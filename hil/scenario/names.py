"""The names of expressions: the truth, what the controller decided, and the site file.

    t_s load_w pv_w poi_w grid_hz grid_v order_w ...    the plant as a whole
    inverter.ac_w, battery.soc, meter.cut ...           a part, by its device's name in the site file
    decided.target_w, decided.why ...                   the last decision; before the first one it cannot be told
    site.poi.export_max_w, site.unit.house.watchdog_s   the site file, with the scenario's changes

To add a name of the truth: a field in hil/plant/truth.py, and in INVERTER or BATTERY where it is a unit's.
"""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import NamedTuple

from msgspec import inspect

from controller.model import FAULTS, Decision, Site
from hil.plant.truth import Truth, UnitTruth
from hil.scenario.expression import Kind, Name, Names
from hil.scenario.logic import Told, Value
from hil.scenario.site import values

INVERTER = frozenset(("ac_w", "reactive_var", "dc_w", "command_w", "state", "writes", "local", "rated_va"))
BATTERY = frozenset(
    ("soc", "energy_wh", "capacity_wh", "soc_told", "pack_v", "pack_a", "charge_max_a", "discharge_max_a")
) | frozenset(("closed", "cell_min_v", "cell_max_v", "cell_c"))
BEARERS = frozenset(("utility", "journal", "controller"))  # what a fault can stand at beside the devices

# Who can set a decision's target, or an end of its envelope.
RULES = frozenset(("fault_stop", "nameplate", "bms_current", "poi_limit", "energy_barrier", "customer_reserve"))
PROGRAMS = frozenset(("follow", "default", "self_consumption", "hold"))
UTILITY = frozenset(("utility_cease", "utility_limit"))
BINDS = RULES | UTILITY
SETS = BINDS | frozenset(("wish", "ramp"))


class View(NamedTuple):
    """What an expression sees: the truth of one moment and the last decision, None before the first."""

    truth: Truth
    decision: Decision | None = None


class Decided(NamedTuple):
    """One name of a decision."""

    kind: Kind
    read: Callable[[Decision], Value]
    words: frozenset[str] = frozenset()


def _rule(path: str) -> Callable[[Decision], Value]:
    """Return what reads a rule's name, without the unit that it names behind it: "energy_barrier(house)"."""
    read = attrgetter(path)
    return lambda decision: str(read(decision).partition("(")[0])


DECIDED: dict[str, Decided] = {
    "target_w": Decided("number", attrgetter("target_w")),
    "wish_w": Decided("number", attrgetter("wish_w")),
    "low_w": Decided("number", attrgetter("low.value_w")),
    "high_w": Decided("number", attrgetter("high.value_w")),
    "asked_w": Decided("number", attrgetter("asked_w")),
    "net_load_w": Decided("number", attrgetter("net_load_w")),
    "stored_wh": Decided("number", attrgetter("stored_wh")),
    "sellable_wh": Decided("number", attrgetter("sellable_wh")),
    "mode": Decided("text", attrgetter("mode"), PROGRAMS),
    "why": Decided("text", _rule("why"), SETS),
    "low_rule": Decided("text", _rule("low.rule"), BINDS),
    "high_rule": Decided("text", _rule("high.rule"), BINDS),
}


def names(site: Site) -> Names[View]:
    """Return all that an expression may say on a site."""
    devices = frozenset(device.name for device in site.device)
    found: dict[str, Name[View]] = {}
    found |= {name: Name(kind, attrgetter(f"truth.{name}"), words) for name, kind, words in _fields(Truth)}
    for place, unit in enumerate(site.unit):
        for name, kind, words in _fields(UnitTruth):
            device = unit.inverter if name in INVERTER else unit.battery
            if name in INVERTER | BATTERY:
                found[f"{device}.{name}"] = Name(kind, _of_unit(place, name), words)
    found |= {f"{device}.cut": Name("statement", _cut(device)) for device in devices}
    found |= {f"decided.{name}": Name(row.kind, _decided(row.read), row.words) for name, row in DECIDED.items()}
    found |= {f"site.{path}": Name(kind, _same(value)) for path, kind, value in _told(site)}
    return Names(values=found, stands=stands, faults=frozenset(FAULTS), bearers=devices | BEARERS)


def stands(view: View, fault: str, who: str) -> bool | None:
    """Tell whether a fault stands in the last decision."""
    if view.decision is None:
        return None
    return any(row.fault == fault and row.device == who for row in view.decision.faults)


def _fields(of: type[Truth] | type[UnitTruth]) -> Iterator[tuple[str, Kind, frozenset[str]]]:
    """Yield name, kind and possible words of every plain field of the truth."""
    info = inspect.type_info(of)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        types = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
        for one in types:
            if isinstance(one, inspect.FloatType | inspect.IntType):
                yield field.name, "number", frozenset()
            elif isinstance(one, inspect.BoolType):
                yield field.name, "statement", frozenset()
            elif isinstance(one, inspect.LiteralType):
                yield field.name, "text", frozenset(map(str, one.values))


def _of_unit(place: int, name: str) -> Told[View]:
    read = attrgetter(name)
    return lambda view: read(view.truth.units[place])


def _cut(device: str) -> Told[View]:
    return lambda view: device in view.truth.cut


def _decided(read: Callable[[Decision], Value]) -> Told[View]:
    return lambda view: None if view.decision is None else read(view.decision)


def _same(value: Value) -> Told[View]:
    return lambda _view: value


def _told(site: Site) -> Iterator[tuple[str, Kind, Value]]:
    """Yield path, kind and value of everything plain that the site file says."""
    for path, value in values(site):
        if isinstance(value, int):
            yield path, "number", value
        elif isinstance(value, str):
            yield path, "text", value
