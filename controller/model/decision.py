"""What one cycle decided, why, and what it hands to the next."""

from typing import Literal

import msgspec

from controller.model.faults import FaultName

Phase = Literal["off", "precharge", "standby", "run", "ramp_down", "fault"]


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """One end of the envelope with the rule that binds there."""

    value_w: int
    rule: str
    because: str


class Unmet(msgspec.Struct, frozen=True, kw_only=True):
    """A demand that the stronger classes did not leave room for. by_w is how far it was missed."""

    rule: str
    asked_w: int
    by_w: int
    because: str


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fault that stands. clear_since_ms: since when its condition is gone; it still holds until its row lets go."""

    fault: FaultName
    device: str
    since_ms: int
    detail: str = ""
    clear_since_ms: int | None = None


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One unit's part of the target and the interval it had."""

    unit: str
    low_w: int
    high_w: int
    power_w: int
    reactive_var: int = 0
    phase: Phase = "run"
    moved_ms: int = 0  # when power_w last moved by more than the noise: the inverter is on its way after it


class Availability(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the site could do for whoever asks, out of the same envelope; the customer's reserve is never in it.

    *_w: power at once, magnitudes. *_wh: energy at the POI until the reserve or the ceiling. *_s: how long that power
    could be held. *_because: why it is less than the nameplate, "" where it is not.
    """

    discharge_w: int
    charge_w: int
    discharge_wh: int
    charge_wh: int
    discharge_s: int
    charge_s: int
    discharge_because: str = ""
    charge_because: str = ""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written to one inverter, valid for valid_ms from the decision."""

    device: str
    power_w: int
    running: bool
    valid_ms: int
    reactive_var: int | None = None  # None: the inverter's own business


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One decision. low <= target_w <= high always."""

    now_ms: int
    mode: str  # the program whose wish was taken: follow, default, self_consumption, hold
    target_w: int  # the units together
    wish_w: int  # what the program wished before the envelope and the ramp
    wish_because: str
    why: str  # what set target_w: "wish", a rule's name, or "ramp"
    low: Bound
    high: Bound
    asked_w: int | None = None  # what the utility asked of the batteries, None when it asks nothing
    net_load_w: int | None = None  # load less generation behind the POI meter
    stored_wh: int | None = None  # energy in the units as far as it is known
    sellable_wh: int | None = None  # of it, what lies above floor and reserve
    available: Availability | None = None
    reactive_var: int | None = None  # of the units together, None where nobody asks for it
    unmet: tuple[Unmet, ...] = ()
    faults: tuple[Standing, ...] = ()
    shares: tuple[Share, ...] = ()
    commands: tuple[Command, ...] = ()


class Rest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A time in which the batteries together stood at one power, and the loads that the meter's samples gave in it."""

    power_w: int
    since_ms: int
    low_w: int
    high_w: int
    compared: bool = False  # with the rest before it


class Trust(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What speaks against the POI meter (engine/trust.py)."""

    rest: Rest | None = None
    before: Rest | None = None
    missed: int = 0  # moves in a row that the meter did not show
    turn_w: int | None = None  # the last farthest point of the target
    heading: int = 0  # 1 up from there, -1 down, 0 not known yet
    unshown: bool = False  # a move since the last turn was not shown
    turned_ms: tuple[int, ...] = ()  # when the target turned back after such a move
    until_ms: int = 0  # the meter is not believed before
    opposed_ms: tuple[int, ...] = ()  # when an inverter told the opposite of its command, once a settling time at most


class Remembered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is remembered of one unit from cycle to cycle."""

    unit: str
    phase: Phase = "off"
    since_ms: int = 0  # of the phase
    attempts: int = 0  # failed starts in a row
    charge_pct: int = 100  # what a latched voltage derating left
    discharge_pct: int = 100
    soc_bp: int | None = None  # told last
    soh_bp: int | None = None  # told last
    counted_mwh: int | None = None  # stored energy by our own count, in milliwatt-hours (engine/energy.py)
    counted_ms: int = 0  # up to when
    cycled_mwh: int = 0  # through the cells since the last full charge
    full_utc_ms: int = 0  # when it was full last, 0 = not known
    full_wanted_utc_ms: int = 0  # since when its BMS asks for a full charge, 0 = it does not
    recovering: bool = False  # it is being charged from below the floor
    committed: bool = True  # it is one of the units that run
    committed_ms: int = 0  # since when


class Operated(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The operating envelope in force after its ramp; the signs of the POI, export positive."""

    low_w: int
    high_w: int
    at_ms: int


class Consumed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the limit on consumption stands (rules/consumption_limit.py)."""

    phase: Literal["init", "unlimited", "limited", "failsafe"] = "init"
    since_ms: int = 0
    limit_w: int | None = None


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that one cycle hands to the next. The default is the state at start: nothing is assumed."""

    decided_ms: int | None = None
    target_w: int | None = None
    shares: tuple[Share, ...] = ()  # the parts of target_w, to see whether the devices follow
    moved_ms: int = 0  # when target_w last moved by more than the noise: our own move is in flight after it
    net_load_w: int | None = None  # load less generation at the last sample that no move of ours disturbed
    net_load_sampled_ms: int = 0
    balance_w: int | None = None  # what self-consumption covers
    trust: Trust = Trust()
    standing: tuple[Standing, ...] = ()
    units: tuple[Remembered, ...] = ()
    ramp_rest_mw: int = 0  # what the ramp allowed beyond whole watts
    storm_since_ms: int | None = None  # a digital input tells of a storm
    trend_w_per_s: int = 0  # how fast the load less generation moves, at the last undisturbed sample
    operated: Operated | None = None
    consumed: Consumed = Consumed()
    ceased: str = ""  # at a start only: who had ordered the site to cease when the last run ended
