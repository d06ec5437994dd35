"""The names of expressions: the truth, what the controller decided, and the site file.

    t_s load_w pv_w poi_w grid_hz grid_v order_w ...    the plant as a whole
    phase_a_w, phase_b_a, meter_false_w ...             a phase at the POI: power, + toward the grid, and current
    asked.consumption_w, asked.reserve_pct ...          what is in force of what the utility asks beside its set point
    inverter.ac_w, battery.soc, meter.cut ...           a part, by its device's name in the site file
    inputs.closed_0 ...                                 a contact of a module of digital inputs
    decided.target_w, decided.why ...                   the last decision; before the first one it cannot be told
    decided.discharge_w, decided.charge_wh ...          what it says the site could do (availability)
    decided.phase_house == "run"                        where a unit is on its way from off to run, by the unit's name
    site.poi.export_max_w, site.unit.house.watchdog_s   the site file, with the scenario's changes

To add a name of the truth: a field in hil/plant/truth.py, and in INVERTER or BATTERY where it is a unit's.
"""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import NamedTuple, get_args

from msgspec import inspect

from controller.app import sitefile
from controller.model import FAULTS, Decision, Phase, Site
from controller.rules import SITE_RULES, UNIT_RULES
from hil.plant.truth import Asked, Truth, UnitTruth
from hil.scenario.expression import Kind, Name, Names
from hil.scenario.logic import Told, Value
from hil.scenario.site import values

INVERTER = frozenset(("ac_w", "reactive_var", "dc_w", "command_w", "state", "writes", "local", "rated_va")) | frozenset(
    ("command_var", "connected", "isolation_kohm")
)
BATTERY = frozenset(
    ("soc", "energy_wh", "capacity_wh", "soc_told", "pack_v", "pack_a", "charge_max_a", "discharge_max_a")
) | frozenset(("closed", "cell_min_v", "cell_max_v", "cell_c", "cell_cold_c"))
BEARERS = frozenset(("site", "utility", "journal", "controller"))  # what a fault can stand at on any site

# Who can set a decision's target, or an end of its envelope.
RULES = frozenset(
    rule.__module__.rpartition(".")[2]  # one file, one rule
    for rule in (*(unit for _, unit in UNIT_RULES), *(limits for rules in SITE_RULES for limits in rules))
)
PROGRAMS = frozenset(("follow", "default", "self_consumption", "hold"))
PHASES = frozenset(map(str, get_args(Phase)))
UTILITY = frozenset(("utility_cease", "utility_limit"))
BINDS = RULES | UTILITY
SETS = BINDS | frozenset(("wish", "ramp", "min_power"))


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


def _available(name: str) -> Callable[[Decision], Value]:
    """Return what reads one number of what the site could do."""
    read = attrgetter(name)
    return lambda decision: None if decision.available is None else read(decision.available)


DECIDED: dict[str, Decided] = {
    "target_w": Decided("number", attrgetter("target_w")),
    "wish_w": Decided("number", attrgetter("wish_w")),
    "low_w": Decided("number", attrgetter("low.value_w")),
    "high_w": Decided("number", attrgetter("high.value_w")),
    "asked_w": Decided("number", attrgetter("asked_w")),
    "net_load_w": Decided("number", attrgetter("net_load_w")),
    "stored_wh": Decided("number", attrgetter("stored_wh")),
    "sellable_wh": Decided("number", attrgetter("sellable_wh")),
    "reactive_var": Decided("number", attrgetter("reactive_var")),
    "discharge_w": Decided("number", _available("discharge_w")),
    "charge_w": Decided("number", _available("charge_w")),
    "discharge_wh": Decided("number", _available("discharge_wh")),
    "charge_wh": Decided("number", _available("charge_wh")),
    "discharge_s": Decided("number", _available("discharge_s")),
    "charge_s": Decided("number", _available("charge_s")),
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
    found |= {
        f"asked.{name}": Name(kind, attrgetter(f"truth.asked.{name}"), words) for name, kind, words in _fields(Asked)
    }
    for place, phase in enumerate("abc"):
        found[f"phase_{phase}_w"] = Name("number", _of_phase("phase_w", place))
        found[f"phase_{phase}_a"] = Name("number", _of_phase("phase_a", place))
    for place, unit in enumerate(site.unit):
        for name, kind, words in _fields(UnitTruth):
            if name in INVERTER:
                found[f"{unit.inverter}.{name}"] = Name(kind, _of_unit(place, name), words)
            elif name in BATTERY:
                for pack, device in enumerate(unit.batteries):
                    read = _of_unit(place, name) if len(unit.batteries) == 1 else _of_pack(place, pack, name)
                    found[f"{device}.{name}"] = Name(kind, read, words)
    for module, (device, channels) in enumerate(contacts(site).items()):
        for channel in range(channels):
            found[f"{device}.closed_{channel}"] = Name("statement", _contact(module, channel))
    found |= {f"{device}.cut": Name("statement", _cut(device)) for device in devices}
    found |= {f"decided.{name}": Name(row.kind, _decided(row.read), row.words) for name, row in DECIDED.items()}
    for unit in site.unit:
        found[f"decided.phase_{unit.name}"] = Name("text", _decided(_phase(unit.name)), PHASES)
    found |= {f"site.{path}": Name(kind, _same(value)) for path, kind, value in _told(site)}
    return Names(values=found, stands=stands, faults=frozenset(FAULTS), bearers=bearers(site))


def stands(view: View, fault: str, who: str) -> bool | None:
    """Tell whether a fault stands in the last decision."""
    if view.decision is None:
        return None
    return any(row.fault == fault and row.device == who for row in view.decision.faults)


def bearers(site: Site) -> frozenset[str]:
    """Return what a fault can stand at: devices, units and digital inputs by name, and what every site has."""
    return BEARERS | {row.name for rows in (site.device, site.unit, site.input) for row in rows}


def contacts(site: Site) -> dict[str, int]:
    """Return the modules of digital inputs of a site, each with the number of its channels."""
    profiles = {device.name: sitefile.profile(device.profile) for device in site.device}
    return {name: profile.inputs for name, profile in profiles.items() if profile.kind == "inputs"}


def _fields(of: type[Truth] | type[UnitTruth] | type[Asked]) -> Iterator[tuple[str, Kind, frozenset[str]]]:
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


def _of_pack(place: int, pack_place: int, name: str) -> Told[View]:
    read = attrgetter(name)
    return lambda view: read(view.truth.units[place].packs[pack_place])


def _of_phase(name: str, place: int) -> Told[View]:
    read = attrgetter(f"truth.{name}")

    def told(view: View) -> Value:
        phases = read(view)
        return None if phases is None else phases[place]

    return told


def _contact(module_no: int, channel_no: int) -> Told[View]:
    return lambda view: view.truth.contacts[module_no].closed[channel_no]


def _cut(device: str) -> Told[View]:
    return lambda view: device in view.truth.cut


def _decided(read: Callable[[Decision], Value]) -> Told[View]:
    return lambda view: None if view.decision is None else read(view.decision)


def _phase(unit: str) -> Callable[[Decision], Value]:
    """Return what reads where a unit is on its way from off to run."""
    return lambda decision: next((share.phase for share in decision.shares if share.unit == unit), None)


def _same(value: Value) -> Told[View]:
    return lambda _view: value


def _told(site: Site) -> Iterator[tuple[str, Kind, Value]]:
    """Yield path, kind and value of everything plain that the site file says."""
    for path, value in values(site):
        if isinstance(value, int):
            yield path, "number", value
        elif isinstance(value, str):
            yield path, "text", value
