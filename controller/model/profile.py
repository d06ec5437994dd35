"""A kind of device, as data: what it is, how fast it answers, what it does when the controller dies."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from controller.model.derating import Derating

Seconds = Annotated[int, Meta(ge=1, le=3600)]
Millis = Annotated[int, Meta(ge=0, le=600_000)]


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file in profiles/. Every controlling profile declares its watchdog: the energy barrier is void without it."""

    name: str
    kind: Literal["inverter", "meter", "battery", "inputs"]
    protocol: Literal["sunspec", "can", "modbus_inputs"]
    source: str  # the paper and page the facts come from
    poll_ms: Annotated[int, Meta(ge=50, le=60_000)] = 1000
    stale_after_ms: Annotated[int, Meta(ge=200, le=600_000)] = 3500
    latency_ms: Millis = 0  # from the device's measurement to its answer
    # Modbus
    timeout_ms: Annotated[int, Meta(ge=20, le=30_000)] = 1000
    gap_ms: Millis = 0  # silence the device needs between requests
    connect_delay_ms: Millis = 0
    power_sign: Literal[-1, 1] = 1  # what to multiply the device's W with to have positive = toward the grid
    # control, inverters only
    control: Literal["none", "sunspec_704"] = "none"
    watchdog_s: Seconds | None = None  # the device falls back this long after the last write
    settle_ms: Millis = 1000  # dead time plus open-loop response: when a write shows in the power
    # CAN, batteries only
    dbc: str = ""
    keepalive_id: Annotated[int, Meta(ge=0, le=0x1FFFFFFF)] | None = None
    derating: Derating = Derating()
    # digital inputs only
    first_input: Annotated[int, Meta(ge=0, le=65_535)] = 0  # address of channel 0
    inputs: Annotated[int, Meta(ge=0, le=64)] = 0  # how many channels
