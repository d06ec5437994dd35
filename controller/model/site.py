"""The site, as its file tells it: TOML decoded with bounds.

Each field's Meta carries its range and its description; README's key table and `linepack init` are made from them.
Checks between fields are in app/checks.py.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="a short name in small letters")]
Watts = Annotated[int, Meta(ge=0, le=10_000_000)]
Program = Literal["hold", "self_consumption"]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of the site file."""


class Poi(_Table, frozen=True, kw_only=True):
    """The point of interconnection."""

    meter: Annotated[Name, Meta(description="the device that measures here")]
    import_max_w: Annotated[Watts, Meta(description="most the site may draw from the grid")]
    export_max_w: Annotated[Watts, Meta(description="most the site may feed into the grid")]
    load_max_w: Annotated[Watts, Meta(description="largest load behind the meter, assumed while the meter is silent")]
    generation_max_w: Annotated[
        Watts, Meta(description="largest generation other than the batteries, assumed while the meter is silent")
    ] = 0
    margin_w: Annotated[
        int, Meta(ge=0, le=100_000, description="kept free at both limits for what moves between two samples")
    ] = 100


class Energy(_Table, frozen=True, kw_only=True):
    """How the stored energy is cut up: floor | customer reserve | what may be used | ceiling."""

    floor_pct: Annotated[int, Meta(ge=0, le=100, description="never discharged below")] = 10
    reserve_pct: Annotated[int, Meta(ge=0, le=100, description="kept for the customer; never sold")] = 20
    ceiling_pct: Annotated[int, Meta(ge=1, le=100, description="never charged above")] = 95
    soc_error_pct: Annotated[int, Meta(ge=0, le=30, description="how far the battery's own estimate may be off")] = 2
    taper_s: Annotated[
        int, Meta(ge=1, le=3600, description="power is lowered this long before a boundary would be reached")
    ] = 120


class Ramp(_Table, frozen=True, kw_only=True):
    """How fast the target may move inside the envelope; safety and limit cuts are never slowed."""

    rate_w_per_s: Annotated[
        Annotated[int, Meta(ge=1, le=10_000_000)] | None,
        Meta(description="largest change of the target, both ways; left out = free"),
    ] = None


class Unit(_Table, frozen=True, kw_only=True):
    """One inverter with the battery behind it."""

    name: Annotated[Name, Meta(description="the unit")]
    inverter: Annotated[Name, Meta(description="the device that is commanded")]
    battery: Annotated[Name, Meta(description="the device that guards the cells")]
    charge_max_w: Annotated[Watts, Meta(description="nameplate, AC side")]
    discharge_max_w: Annotated[Watts, Meta(description="nameplate, AC side")]
    capacity_wh: Annotated[int, Meta(ge=100, le=100_000_000, description="usable energy from 0 to 100 %")]
    efficiency_pct: Annotated[
        int, Meta(ge=50, le=100, description="lowest one-way efficiency between cells and grid")
    ] = 90
    watchdog_s: Annotated[
        Annotated[int, Meta(ge=1, le=3600)] | None,
        Meta(description="the inverter falls back this long after the last write; left out = the profile's"),
    ] = None
    settle_ms: Annotated[
        Annotated[int, Meta(ge=0, le=600_000)] | None,
        Meta(description="from a write to the power it causes; left out = the profile's"),
    ] = None


class Device(_Table, frozen=True, kw_only=True):
    """One thing on a wire."""

    name: Annotated[Name, Meta(description="the device")]
    profile: Annotated[str, Meta(description="its kind: a file in profiles/, without the ending")]
    url: Annotated[
        str,
        Meta(description="where it is: tcp://HOST:PORT?unit=N, slcan://HOST:PORT, slcan:///dev/TTY, socketcan://CAN"),
    ]
    poll_ms: Annotated[
        Annotated[int, Meta(ge=50, le=60_000)] | None, Meta(description="read this often; left out = the profile's")
    ] = None
    stale_after_ms: Annotated[
        Annotated[int, Meta(ge=200, le=600_000)] | None,
        Meta(description="a reading older than this counts as missing; left out = the profile's"),
    ] = None


class Default(_Table, frozen=True, kw_only=True):
    """What holds while the utility is silent."""

    program: Annotated[Program | None, Meta(description="a local program")] = None
    power_w: Annotated[
        Annotated[int, Meta(ge=-10_000_000, le=10_000_000)] | None,
        Meta(description="or a fixed power of the batteries, positive toward the grid"),
    ] = None


class Utility(_Table, frozen=True, kw_only=True):
    """The utility's door: a SunSpec DER server."""

    listen: Annotated[str, Meta(pattern=r"^[0-9a-zA-Z_.:\[\]-]+:\d{1,5}$", description="HOST:PORT of the server")] = (
        "127.0.0.1:8502"
    )
    unit_id: Annotated[int, Meta(ge=1, le=247, description="Modbus unit")] = 1
    domain: Annotated[
        Literal["battery", "poi"],
        Meta(description="what a set point means: power of the batteries, or power at the POI"),
    ] = "battery"
    lease_s: Annotated[
        int, Meta(ge=1, le=86_400, description="a set point without a reversion time of its own holds this long")
    ] = 60
    silent_after_s: Annotated[
        int, Meta(ge=1, le=86_400, description="no write and no heartbeat for this long = the utility is silent")
    ] = 60
    default: Annotated[Default, Meta(description="what holds while the utility is silent")] = field(
        default_factory=lambda: Default(program="hold")
    )


class Window(_Table, frozen=True, kw_only=True):
    """A calendar window in which a local program runs when the utility asks nothing."""

    start: Annotated[str, Meta(description="crontab line in the site's time zone: minute hour day month weekday")]
    minutes: Annotated[int, Meta(ge=1, le=1440, description="how long it lasts")]
    program: Annotated[Program, Meta(description="what runs in it")]


class Journal(_Table, frozen=True, kw_only=True):
    """The flight recorder."""

    directory: Annotated[str, Meta(description="where; relative to the site file")] = "journal"
    max_mb: Annotated[int, Meta(ge=1, le=100_000, description="never takes more disk than this")] = 256


class Site(_Table, frozen=True, kw_only=True):
    """One site."""

    name: Annotated[str, Meta(min_length=1, max_length=64, description="for people")]
    timezone: Annotated[str, Meta(description="IANA name, for calendar windows and reports")] = "UTC"
    cycle_ms: Annotated[int, Meta(ge=100, le=10_000, description="a decision at least this often")] = 1000
    program: Annotated[Program, Meta(description="what runs when the utility is there and asks nothing")] = "hold"
    poi: Annotated[Poi, Meta(description="the point of interconnection")]
    energy: Annotated[Energy, Meta(description="how the stored energy is cut up")] = field(default_factory=Energy)
    ramp: Annotated[Ramp, Meta(description="how fast the target may move")] = field(default_factory=Ramp)
    unit: Annotated[tuple[Unit, ...], Meta(min_length=1, max_length=100, description="the units")]
    device: Annotated[tuple[Device, ...], Meta(min_length=1, max_length=300, description="the devices")]
    window: Annotated[tuple[Window, ...], Meta(max_length=100, description="calendar windows")] = ()
    utility: Annotated[Utility, Meta(description="the utility's door")] = field(default_factory=Utility)
    journal: Annotated[Journal, Meta(description="the flight recorder")] = field(default_factory=Journal)
