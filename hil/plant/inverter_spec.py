"""What a battery inverter is, what it is told, and what lies at its terminals."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hil.plant.functions import Functions

Watts = Annotated[float, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0, le=600)]
State = Literal["off", "standby", "starting", "run", "fault"]
Operation = Literal["stop", "start", "standby"]


class InverterSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The inverter. Loss in W at P watts AC and Q var: loss_w + loss_pct/100 |P| + loss_per_w (P^2 + Q^2).

    The defaults are a 48 V inverter of 10 kW: 96 % efficient at its rating, full power up to 40 C outside.
    instant: no dead time, ramp nor lag; lossless: no loss at all; no_derating: any heat is borne. They are physics
    left out: what a scenario that passes without them does not test.
    """

    rated_w: Annotated[float, Meta(gt=0)] = 10_000.0
    rated_va: Annotated[float, Meta(gt=0)] = 10_000.0
    nominal_hz: Annotated[float, Meta(ge=45, le=65)] = 50.0
    dead_s: Seconds = 0.2  # from the write to the first movement
    response_s: Seconds = 0.4  # open-loop response time, to 90 % of a step (IEEE 1547-2018, 3.1)
    ramp_w_per_s: Annotated[float, Meta(gt=0)] = 100_000.0
    min_w: Watts = 0.0  # set points that are smaller are not followed
    startup_s: Seconds = 10.0  # from off or a fault
    wake_s: Seconds = 2.0  # from standby
    loss_w: Watts = 30.0
    loss_pct: Annotated[float, Meta(ge=0, le=20)] = 1.0
    loss_per_w: Annotated[float, Meta(ge=0, le=1e-3)] = 2.87e-6
    standby_w: Watts = 10.0  # drawn in standby and in a fault
    obeys_bms: bool = False  # most do not hear the BMS
    dc_min_v: Annotated[float, Meta(gt=0)] = 40.0  # no discharge below
    dc_max_v: Annotated[float, Meta(gt=0)] = 60.0  # no charge above
    dc_taper_v: Annotated[float, Meta(gt=0)] = 2.0  # power falls to nothing over so much inside the window
    current_max_pu: Annotated[float, Meta(ge=0.1, le=3)] = 1.1  # of rated_va at nominal voltage
    var_max_pct: Annotated[float, Meta(ge=0, le=100)] = 44.0  # of rated_va; category B, IEEE 1547-2018 Table 7
    priority: Literal["active", "reactive"] = "reactive"  # which of P and Q keeps its value at the edge of the circle
    heat_k_per_w: Annotated[float, Meta(gt=0)] = 0.08
    heat_j_per_k: Annotated[float, Meta(gt=0)] = 12_000.0
    derate_from_c: float = 75.0  # full power up to here
    derate_to_c: float = 95.0  # none from here
    phases: Literal["abc", "a", "b", "c"] = "abc"  # what it is connected to, its power alike on each
    isolation_kohm: Annotated[float, Meta(ge=0, le=65_000)] = 2000.0  # of the DC side against earth
    functions: Functions = Functions()
    instant: bool = False
    lossless: bool = False
    no_derating: bool = False

    def __post_init__(self) -> None:
        if self.derate_to_c <= self.derate_from_c:
            raise ValueError(f"derate_to_c {self.derate_to_c} must be above derate_from_c {self.derate_from_c}")
        if self.dc_max_v - self.dc_min_v < 2 * self.dc_taper_v:
            raise ValueError(f"dc_min_v {self.dc_min_v} to dc_max_v {self.dc_max_v} must hold dc_taper_v twice")


class SetPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The WSet group of SunSpec 704. after_*: what it becomes when timer_s has run out; 0 s is no timer."""

    enabled: bool = False
    power_w: float = 0.0
    after_enabled: bool = False
    after_w: float = 0.0
    timer_s: float = 0.0

    def expired(self) -> "SetPoint":
        """Return what it is when its time has run out."""
        return msgspec.structs.replace(self, enabled=self.after_enabled, power_w=self.after_w)


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """The WMaxLimPct group of SunSpec 704: the most active power toward the grid, in percent of the rating."""

    enabled: bool = False
    pct: float = 100.0
    after_enabled: bool = False
    after_pct: float = 100.0
    timer_s: float = 0.0

    def expired(self) -> "Limit":
        """Return what it is when its time has run out."""
        return msgspec.structs.replace(self, enabled=self.after_enabled, pct=self.after_pct)


class Reactive(msgspec.Struct, frozen=True, kw_only=True):
    """The VarSet group of SunSpec 704, in var toward the grid; after_* and timer_s as for the set point.

    priority: which of P and Q keeps its value where both do not fit into the apparent power.
    """

    enabled: bool = False
    reactive_var: float = 0.0
    after_enabled: bool = False
    after_var: float = 0.0
    timer_s: float = 0.0
    priority: Literal["active", "reactive"] = "active"

    def expired(self) -> "Reactive":
        """Return what it is when its time has run out."""
        return msgspec.structs.replace(self, enabled=self.after_enabled, reactive_var=self.after_var)


class Terminals(msgspec.Struct, frozen=True, kw_only=True):
    """What the inverter finds at its terminals. The BMS's limits are magnitudes on the DC side."""

    charge_max_w: float
    discharge_max_w: float
    pack_v: float
    closed: bool  # the battery's contactor
    grid_v_pu: float = 1.0
    grid_hz: float = 50.0
    ambient_c: float = 25.0


AT_REST = Terminals(charge_max_w=0.0, discharge_max_w=0.0, pack_v=0.0, closed=True)
