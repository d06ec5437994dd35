"""The truth: the whole plant at one moment, as the judge sees it and no device tells it.

Power is positive toward the grid, current positive out of the battery. A value that no fault can spoil needs no word of
its own; what a fault makes false stands beside it (soc_told, meter_false_w), so that nobody is blamed for believing it.
"""

from typing import Literal

import msgspec

State = Literal["off", "standby", "starting", "run", "fault"]


class UnitTruth(msgspec.Struct, frozen=True, kw_only=True):
    """One inverter with the battery behind it."""

    inverter: str
    battery: str
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
