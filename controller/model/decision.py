"""What one cycle decided, why, and what it hands to the next."""

import msgspec

from controller.model.faults import FaultName


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


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written to one inverter, valid for valid_ms from the decision."""

    device: str
    power_w: int
    running: bool
    valid_ms: int


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
    ceased: str = ""  # at a start only: who had ordered the site to cease when the last run ended
