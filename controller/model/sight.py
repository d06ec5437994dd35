"""A snapshot seen through the site: who is who, and what is known of the load. What rules and programs read."""

import msgspec

from controller.model.readings import Battery, Inverter, Meter
from controller.model.site import Site, Unit
from controller.model.snapshot import Snapshot


class UnitSight(msgspec.Struct, frozen=True, kw_only=True):
    """One unit with its fresh readings. stopped is why it must stand at 0 W, "" when it need not."""

    unit: Unit
    inverter: Inverter | None
    battery: Battery | None
    energy_wh: int | None  # as the battery estimates it
    stopped: str = ""
    released: bool = False  # nothing is written to the inverter: its own timer has it


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """The whole site. The load less generation behind the meter lies in [load_low_w, load_high_w], None = not known."""

    site: Site
    snapshot: Snapshot
    meter: Meter | None
    units: tuple[UnitSight, ...]
    load_low_w: int | None = None
    load_high_w: int | None = None
    balance_w: int | None = None  # what self-consumption would cover, None = nothing known yet
