"""What a device said, in our units and our sign, and when it was sampled and heard."""

from typing import Literal

import msgspec


class Reading(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Base of all readings. Times are the controller's monotonic clock."""

    device: str
    sampled_ms: int  # when the device measured it: heard_ms less the profile's latency
    heard_ms: int  # when the bytes arrived


class Meter(Reading, frozen=True, kw_only=True, omit_defaults=True):
    """A meter at the point of interconnection."""

    power_w: int  # positive = export
    voltage_mv: int | None = None
    frequency_mhz: int | None = None
    phase_w: tuple[int, int, int] | None = None  # of power_w, positive = export; None unless all three are told
    phase_mv: tuple[int, int, int] | None = None  # to neutral
    phase_ma: tuple[int, int, int] | None = None  # magnitudes


class Inverter(Reading, frozen=True, kw_only=True, omit_defaults=True):
    """The AC side of one unit."""

    power_w: int | None = None  # positive = toward the grid; None at night or when not implemented
    reactive_var: int | None = None
    state: Literal["off", "standby", "starting", "run", "fault"] = "run"
    remote: bool = True  # False: someone at the device holds it in local control
    connected: bool | None = None  # to the grid; None: it does not tell
    charge_max_w: int | None = None  # magnitude, as the device is set now
    discharge_max_w: int | None = None
    apparent_max_va: int | None = None  # as the device is set now
    isolation_kohm: int | None = None  # of the DC side against earth
    alarms: tuple[str, ...] = ()


class Battery(Reading, frozen=True, kw_only=True, omit_defaults=True):
    """The DC side of one unit as its battery management system tells it. Limits are magnitudes."""

    soc_bp: int | None = None  # state of charge, 0..10000
    soh_bp: int | None = None
    voltage_mv: int | None = None
    current_ma: int | None = None  # positive = discharge
    charge_max_ma: int | None = None
    discharge_max_ma: int | None = None
    charge_max_mv: int | None = None
    discharge_min_mv: int | None = None
    charge_allowed: bool | None = None
    discharge_allowed: bool | None = None
    contactor_closed: bool | None = None
    force_charge: bool = False
    full_charge_wanted: bool = False
    isolation_kohm: int | None = None
    temperature_mc: int | None = None
    temperature_min_mc: int | None = None  # of the coldest cell
    temperature_max_mc: int | None = None  # of the hottest cell
    cell_min_mv: int | None = None
    cell_max_mv: int | None = None
    modules: int | None = None
    packs: tuple[int, int] = (1, 1)  # of several batteries on one DC side: how many are connected, of how many
    alarms: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Inputs(Reading, frozen=True, kw_only=True, omit_defaults=True):
    """Digital inputs: contacts of a remote I/O module in the order of its channels, True = closed (current flows)."""

    closed: tuple[bool, ...]


AnyReading = Meter | Inverter | Battery | Inputs
