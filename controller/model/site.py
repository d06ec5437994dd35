"""The site, as its file tells it: TOML decoded with bounds.

Each field's Meta carries its range and its description; README's key table and `linepack init` are made from them.
Checks between fields are in app/checks.py.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from controller.model.derating import Derating

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="a short name in small letters")]
Watts = Annotated[int, Meta(ge=0, le=10_000_000)]
OptionalWatts = Annotated[int, Meta(ge=0, le=10_000_000)] | None
Rate = Annotated[int, Meta(ge=1, le=10_000_000)] | None
Program = Literal["hold", "self_consumption"]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of the site file."""


class Envelope(_Table, frozen=True, kw_only=True):
    """An operating envelope that the network operator sends, and what holds while none is in force."""

    import_default_w: Annotated[
        OptionalWatts, Meta(description="import without an envelope; left out = no envelopes")
    ] = None
    export_default_w: Annotated[
        OptionalWatts, Meta(description="export without an envelope; left out = no envelopes")
    ] = None
    ramp_w_per_s: Annotated[
        int, Meta(ge=1, le=10_000_000, description="how fast the limits may widen; a narrower one holds at once")
    ] = 10_000_000


class Consumption(_Table, frozen=True, kw_only=True):
    """A limit on what is drawn from the grid, kept alive by a heartbeat (LPC; section 14a EnWG)."""

    failsafe_w: Annotated[
        OptionalWatts, Meta(description="drawn at most while nobody is heard, and at a start; left out = no such limit")
    ] = None
    heartbeat_s: Annotated[int, Meta(ge=5, le=3600, description="silent for longer = the failsafe limit holds")] = 120
    failsafe_min_s: Annotated[
        int, Meta(ge=1, le=86_400, description="the failsafe limit holds at least so long without a new heartbeat")
    ] = 7200


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
    phase_import_max_w: Annotated[
        OptionalWatts, Meta(description="most a phase may draw; left out = no such limit")
    ] = None
    phase_export_max_w: Annotated[
        OptionalWatts, Meta(description="most a phase may feed; left out = no such limit")
    ] = None
    breaker_max_a: Annotated[
        Annotated[int, Meta(ge=1, le=10_000)] | None,
        Meta(description="the main breaker, per phase; left out = no such limit"),
    ] = None
    nominal_v: Annotated[
        int, Meta(ge=50, le=1000, description="phase to neutral, where the meter does not tell it")
    ] = 230
    envelope: Annotated[Envelope, Meta(description="an operating envelope of the network operator")] = field(
        default_factory=Envelope
    )
    consumption: Annotated[Consumption, Meta(description="a limit on what is drawn, with heartbeat and failsafe")] = (
        field(default_factory=Consumption)
    )


class Energy(_Table, frozen=True, kw_only=True):
    """How the stored energy is cut up: floor | customer reserve | what may be used | ceiling."""

    floor_pct: Annotated[int, Meta(ge=0, le=100, description="never discharged below")] = 10
    reserve_pct: Annotated[int, Meta(ge=0, le=100, description="kept for the customer; never sold")] = 20
    ceiling_pct: Annotated[int, Meta(ge=1, le=100, description="never charged above")] = 95
    soc_error_pct: Annotated[int, Meta(ge=0, le=30, description="how far the battery's own estimate may be off")] = 2
    taper_s: Annotated[
        int, Meta(ge=1, le=3600, description="power is lowered this long before a boundary would be reached")
    ] = 120
    error_growth_pct: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="with full_every_days: soc_error_pct grows by it in a hundred cycles without a full charge",
        ),
    ] = 50
    recovery_pct: Annotated[
        int, Meta(ge=0, le=100, description="of the nameplate: how fast it is charged from below the floor; 0 = not")
    ] = 10
    full_every_days: Annotated[
        Annotated[int, Meta(ge=1, le=365)] | None,
        Meta(description="charged to 100 % this often, so that the battery can balance; left out = never"),
    ] = None
    island_pct: Annotated[
        int, Meta(ge=0, le=100, description="kept in an island, where the reserve is given up; 0 = the floor alone")
    ] = 0


class Ramp(_Table, frozen=True, kw_only=True):
    """How fast the target may move inside the envelope; safety and limit cuts are never slowed."""

    rate_w_per_s: Annotated[Rate, Meta(description="largest change of the target; left out = free")] = None
    discharge_up_w_per_s: Annotated[Rate, Meta(description="while discharge grows; left out = rate_w_per_s")] = None
    discharge_down_w_per_s: Annotated[Rate, Meta(description="while discharge shrinks; left out = rate_w_per_s")] = None
    charge_up_w_per_s: Annotated[Rate, Meta(description="while charge grows; left out = rate_w_per_s")] = None
    charge_down_w_per_s: Annotated[Rate, Meta(description="while charge shrinks; left out = rate_w_per_s")] = None


class Unit(_Table, frozen=True, kw_only=True):
    """One inverter with the batteries behind it. Units may share their batteries: the same names, in the same order."""

    name: Annotated[Name, Meta(description="the unit")]
    inverter: Annotated[Name, Meta(description="the device that is commanded")]
    battery: Annotated[
        # Not Name: a union of a list and a text with a pattern makes msgspec 0.22 read freed memory.
        str | Annotated[tuple[Name, ...], Meta(min_length=1, max_length=32)],
        Meta(description="the device that guards the cells; a list where several hang on one DC side"),
    ]
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
    apparent_max_va: Annotated[
        OptionalWatts, Meta(description="apparent power, which active and reactive power share; left out = free")
    ] = None
    priority: Annotated[
        Literal["active", "reactive"], Meta(description="what goes first where both do not fit into the apparent power")
    ] = "active"
    min_power_w: Annotated[Watts, Meta(description="less than this it cannot give or take; it rests instead")] = 0
    phases: Annotated[
        Literal["abc", "a", "b", "c"], Meta(description="the phases of the meter that it is connected to")
    ] = "abc"
    start_s: Annotated[
        int, Meta(ge=1, le=3600, description="contactor and inverter must each have confirmed a start by then")
    ] = 360
    isolation_min_kohm: Annotated[
        Annotated[int, Meta(ge=1, le=100_000)] | None,
        Meta(description="less against earth, or not told, stops the unit; left out = the devices' own alarms alone"),
    ] = None
    derating: Annotated[Derating, Meta(description="protection of the cells; left out = the battery's profile")] = (
        field(default_factory=Derating)
    )

    @property
    def batteries(self) -> tuple[str, ...]:
        """The devices that guard the cells."""
        return (self.battery,) if isinstance(self.battery, str) else self.battery


class Commitment(_Table, frozen=True, kw_only=True):
    """Which units run: as few as the power needs, so that each runs at a good load."""

    rest_units: Annotated[bool, Meta(description="units that are not needed rest at 0 W")] = False
    dwell_s: Annotated[int, Meta(ge=0, le=86_400, description="a unit that began to run goes on for this long")] = 300
    headroom_pct: Annotated[
        int, Meta(ge=0, le=100, description="of the power asked for, kept free in the units that run")
    ] = 15


class Input(_Table, frozen=True, kw_only=True):
    """One contact of a digital input, and what it means to the site. A lost one counts as active."""

    name: Annotated[Name, Meta(description="the contact")]
    device: Annotated[Name, Meta(description="the device it is wired to")]
    channel: Annotated[int, Meta(ge=0, le=63, description="its number there, from 0")]
    means: Annotated[
        Literal["emergency_stop", "no_charge", "no_discharge", "import_limit", "export_limit", "islanded", "storm"],
        Meta(description="what it does while active"),
    ]
    active: Annotated[
        Literal["open", "closed"],
        Meta(description="the state in which it acts; open acts when a wire breaks, too, so islanded takes closed"),
    ] = "open"
    limit_w: Annotated[OptionalWatts, Meta(description="import_limit and export_limit: the limit while active")] = None


class Storm(_Table, frozen=True, kw_only=True):
    """A larger reserve ahead of an outage: by calendar, by an input that means storm, or by the utility."""

    reserve_pct: Annotated[int, Meta(ge=0, le=100, description="what is kept while it stands")] = 100
    recharge_s: Annotated[
        int, Meta(ge=0, le=172_800, description="charged up to it within so long; 0 = kept, but not charged for")
    ] = 14_400
    start: Annotated[str, Meta(description="crontab line in the site's time zone; left out = never by calendar")] = ""
    minutes: Annotated[int, Meta(ge=1, le=10_080, description="how long it lasts")] = 1440


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
    device: Annotated[tuple[Device, ...], Meta(min_length=1, max_length=400, description="the devices")]
    window: Annotated[tuple[Window, ...], Meta(max_length=100, description="calendar windows")] = ()
    input: Annotated[tuple[Input, ...], Meta(max_length=64, description="digital inputs")] = ()
    storm: Annotated[Storm, Meta(description="the storm reserve")] = field(default_factory=Storm)
    commitment: Annotated[Commitment, Meta(description="which units run")] = field(default_factory=Commitment)
    utility: Annotated[Utility, Meta(description="the utility's door")] = field(default_factory=Utility)
    journal: Annotated[Journal, Meta(description="the flight recorder")] = field(default_factory=Journal)
