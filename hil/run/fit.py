"""From a site file to the plant that fits it, with a scenario's changes of the emulated parts."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from controller.app import sitefile
from controller.app.problems import SiteError
from controller.model import Device, Profile, Site, Unit
from hil.plant.battery import BatterySpec, Speaks
from hil.plant.bms import BmsSpec
from hil.plant.grid import GridSpec
from hil.plant.inputs import InputsSpec
from hil.plant.inverter import InverterSpec
from hil.plant.local import LocalSpec
from hil.plant.meter import MeterSpec
from hil.plant.pack import PackSpec
from hil.plant.site import PlantSpec, Spec

MODULE_WH = 5000.0
MODULES_MAX = 64
CURRENT_SPARE = 1.2  # a pack that could not carry its inverter's power is no fit
NOMINAL_V = 51.2
CELLS_DBC = "canbus_bms.dbc"
Changes = Mapping[str, Mapping[str, object]]
S = TypeVar("S", bound=msgspec.Struct)
PLACES = ("grid", "local")  # what is changed by a name of its own


def plant_spec(site: Site, changes: Changes | None = None) -> PlantSpec:
    """Return the spec of the plant behind a site: sizes from its file, all else by default, then the changes.

    changes: by device name, or grid or local; tables within tables. Raises ValueError that names place and range.
    """
    changes = changes or {}
    parts: dict[str, Spec] = {site.poi.meter: MeterSpec()}
    dialects = {device.name: _profile(device) for device in site.device}
    for unit in site.unit:
        parts[unit.inverter] = _inverter(unit)
        sharing = [other for other in site.unit if other.batteries == unit.batteries]
        power_w = sum(max(other.charge_max_w, other.discharge_max_w) for other in sharing)
        parts |= {name: _battery(unit, power_w, dialects.get(name)) for name in unit.batteries}
    parts |= {
        name: InputsSpec(channel_count=profile.inputs, first_address=profile.first_input)
        for name, profile in dialects.items()
        if profile is not None and profile.kind == "inputs"
    }
    unknown = [name for name in changes if name not in parts and name not in PLACES]
    if unknown:
        raise ValueError(f"plant.{unknown[0]}: no such part; there are {', '.join((*parts, *PLACES))}")
    return PlantSpec(
        units=tuple((unit.inverter, unit.batteries) for unit in site.unit),
        meter=site.poi.meter,
        parts={name: changed(part, changes.get(name, {}), f"plant.{name}") for name, part in parts.items()},
        grid=changed(GridSpec(), changes.get("grid", {}), "plant.grid"),
        local=changed(LocalSpec(), changes.get("local", {}), "plant.local"),
    )


def changed(spec: S, changes: Mapping[str, object], place: str) -> S:
    """Return a spec with some fields changed, tables within it field by field. Raises ValueError with the place."""
    whole = msgspec.to_builtins(spec)
    _merge(whole, changes)
    try:
        return msgspec.convert(whole, type(spec))
    except msgspec.ValidationError as error:
        raise ValueError(f"{place}: {error}") from error


def _merge(whole: dict[str, object], changes: Mapping[str, object]) -> None:
    for name, value in changes.items():
        inner = whole.get(name)
        if isinstance(inner, dict) and isinstance(value, Mapping):
            _merge(inner, value)
        else:
            whole[name] = value


def _inverter(unit: Unit) -> InverterSpec:
    """Return the default inverter at the unit's rating: losses, ramp and heat in proportion."""
    spec, rated_w = InverterSpec(), float(max(unit.charge_max_w, unit.discharge_max_w, 1))
    rated_va = rated_w if unit.apparent_max_va is None else float(unit.apparent_max_va)
    size = rated_w / spec.rated_w
    return msgspec.structs.replace(
        spec,
        rated_w=rated_w,
        rated_va=max(rated_va, 1.0),
        phases=unit.phases,
        loss_w=spec.loss_w * size,
        loss_per_w=spec.loss_per_w / size,
        standby_w=spec.standby_w * size,
        ramp_w_per_s=spec.ramp_w_per_s * size,
        heat_k_per_w=spec.heat_k_per_w / size,
        heat_j_per_k=spec.heat_j_per_k * size,
    )


def _battery(unit: Unit, power_w: int, profile: Profile | None) -> BatterySpec:
    """Return modules of 5 kWh in parallel, as many as the capacity takes; larger ones where that would be too many.

    Several batteries of a unit are alike, each with its part of the capacity and of the current. Units that share
    their batteries tell the same capacity, that of all of them. power_w: of all inverters on them.
    """
    count = len(unit.batteries)
    capacity_wh = unit.capacity_wh / count
    modules = min(MODULES_MAX, max(1, round(capacity_wh / MODULE_WH)))
    needed_a = CURRENT_SPARE * power_w / NOMINAL_V / modules / count
    speaks: Speaks = "canbus_bms" if profile is not None and profile.dbc == CELLS_DBC else "pylontech_lv"
    return BatterySpec(
        pack=PackSpec(modules=modules, capacity_wh=capacity_wh),
        bms=BmsSpec(module_max_a=max(BmsSpec().module_max_a, needed_a)),
        speaks=speaks,
    )


def _profile(device: Device) -> Profile | None:
    """Return a device's profile, None where there is none of that name: its kind is known by the units then."""
    try:
        return sitefile.profile(device.profile)
    except SiteError:
        return None
