"""All that one cycle may know, frozen once."""

import msgspec

from controller.model.faults import FaultName
from controller.model.orders import Order
from controller.model.readings import AnyReading


class Missing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A device whose latest reading is too old or was never heard. age_ms None = never."""

    device: str
    age_ms: int | None = None


class Notice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fault that a link, the utility side or the journal reports and still holds."""

    fault: FaultName
    device: str
    detail: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The process image. Only fresh readings are in it; what is missing is named.

    poi_battery_w is the units' AC power interpolated at the POI meter's own sample time, None where it is not known:
    with it the load behind the meter is poi_battery_w - meter.power_w whatever our own moves are (control 2.5).
    """

    now_ms: int
    utc_ms: int
    readings: tuple[AnyReading, ...] = ()
    missing: tuple[Missing, ...] = ()
    orders: tuple[Order, ...] = ()
    notices: tuple[Notice, ...] = ()
    poi_battery_w: int | None = None
    program: str = ""  # the calendar's program for this moment; "" = none
    utility_silent: bool = True
    consumption_heard_ms: int | None = None  # when whoever limits consumption was heard last, None = never
