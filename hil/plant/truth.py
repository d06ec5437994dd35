"""The truth: the whole plant at one moment, as the judge sees it and no device tells it.

Power is positive toward the grid, current positive out of the battery. A value that no fault can spoil needs no word of
its own; what a fault makes false stands beside it (soc_told, meter_false_w), so that nobody is blamed for believing it.
Of units that share their batteries each has the whole of them in its numbers.
"""

from typing import Literal

import msgspec

from hil.plant.grid import EVEN, Phases

State = Literal["off", "standby", "starting", "run", "fault"]


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is in force of what the utility asks beside its set point, as the bench knows it; None = nothing.

    envelope_*: an operating envelope at the POI, magnitudes. consumption_age_s: since whoever limits consumption was
    heard last, None = never.
    """

    envelope_import_w: float | None = None
    envelope_export_w: float | None = None
    consumption_w: float | None = None
    consumption_age_s: float | None = None
    reserve_pct: float | None = None
    reactive_var: float | None = None


class Contacts(msgspec.Struct, frozen=True, kw_only=True):
    """The contacts of one module of digital inputs, True = closed."""

    device: str
    closed: tuple[bool, ...]


class PackTruth(msgspec.Struct, frozen=True, kw_only=True):
    """One of several batteries that are one unit's together."""

    battery: str
    soc: float
    energy_wh: float
    capacity_wh: float
    soc_told: float
    pack_v: float
    pack_a: float
    charge_max_a: float
    discharge_max_a: float
    closed: bool
    cell_min_v: float
    cell_max_v: float
    cell_c: float
    cell_cold_c: float


class UnitTruth(msgspec.Struct, frozen=True, kw_only=True):
    """One inverter with the batteries behind it, as one: those that are connected, all where none is."""

    inverter: str
    batteries: tuple[str, ...]
    ac_w: float
    reactive_var: float
    dc_w: float  # out of the battery
    command_w: float  # the set point in force in the device
    state: State
    soc: float  # by charge, 0..1
    energy_wh: float  # soc x capacity_wh
    capacity_wh: float
    soc_told: float  # what the BMS tells, 0..1
    pack_v: float
    pack_a: float
    charge_max_a: float  # what the BMS lets in now, as a magnitude
    discharge_max_a: float  # what it lets out now
    closed: bool  # the contactor
    cell_min_v: float
    cell_max_v: float
    cell_c: float
    writes: int  # registers that were written to the inverter since the start
    local: bool = False  # somebody at the inverter holds it in local control
    rated_va: float | None = None  # apparent power of the inverter; None = the site's nameplate
    command_var: float = 0.0  # the reactive set point in force in the device, 0 without one
    connected: bool = True  # the inverter, to the grid
    isolation_kohm: float | None = None  # of the DC side against earth
    cell_cold_c: float | None = None  # the coldest cell; cell_c is the warmest
    cell_low_v: float | None = None  # what no cell may ever pass, where its maker's guard trips
    cell_high_v: float | None = None
    packs: tuple[PackTruth, ...] = ()  # where there are several batteries
    force_charge: bool = False  # a BMS asks to be charged, from whatever source


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """The plant at t_s. units stand in the order of the site file's."""

    t_s: float
    units: tuple[UnitTruth, ...]
    load_w: float
    pv_w: float
    poi_w: float
    grid_hz: float
    grid_v: float  # phase to neutral
    cut: frozenset[str] = frozenset()  # devices that cannot be heard now because a fault cut them
    order_w: float | None = None  # what the utility's order in force asks, None = nothing
    meter_false_w: float = 0.0  # what a fault of the POI meter adds to what it tells; its age is no fault
    phase_w: Phases | None = None  # of poi_w
    phase_a: Phases | None = None  # magnitudes
    phase_false_w: Phases = EVEN  # of meter_false_w
    contacts: tuple[Contacts, ...] = ()  # of every module of digital inputs
    asked: Asked = Asked()
