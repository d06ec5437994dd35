"""A snapshot seen through the site: who is who, and what is known of the load. What rules and programs read."""

import msgspec

from controller.model.decision import Operated, Phase
from controller.model.readings import Battery, Inverter, Meter
from controller.model.site import Site, Unit
from controller.model.snapshot import Snapshot


class UnitSight(msgspec.Struct, frozen=True, kw_only=True):
    """One unit with its fresh readings and what the engine remembers of it.

    battery: its batteries as one (engine/bank.py): the currents of those that are connected together, the extremes of
    their cells; None where one of them is not heard. Where units share their batteries, this unit's part of every
    power and energy is part[0] of part[1].

    Energy is an interval, in Wh of this unit's part: low_wh and high_wh are the worst that the stored energy may be,
    each on its bad side, the error of the estimate counted in. None = not known, and so nothing is allowed.
    """

    unit: Unit
    inverter: Inverter | None
    battery: Battery | None
    phase: Phase = "run"  # of its start and stop (engine/phases.py); only in "run" it gives or takes power
    part: tuple[int, int] = (1, 1)
    capacity_wh: int  # of this unit's part, with the state of health
    energy_wh: int | None  # the best estimate
    low_wh: int | None
    high_wh: int | None
    soc_bp: int | None = None  # as told
    # Why it must stand at 0 W, may not go beyond the power it had, or is to be brought to 0 W gently; "" = it need not.
    stopped: str = ""
    held: str = ""
    fading: str = ""
    no_charge: str = ""  # why it may not be charged, by a digital input; "" = it may
    no_discharge: str = ""
    released: bool = False  # nothing is written to the inverter: its own timer has it
    power_w: int = 0  # commanded last, 0 at a start
    elapsed_ms: int = 0  # since then
    charge_pct: int = 100  # what the latched voltage derating leaves
    discharge_pct: int = 100
    recovering: bool = False
    full_due: str = ""  # why a full charge is due, "" = it is not
    full_forced: bool = False  # it is overdue: it is charged for
    islanded: bool = False  # the site is cut off from the grid, as a digital input tells
    reserve_bp: int = 0  # the storm reserve in force, 0 = none
    ordered_var: int = 0  # this unit's part of the reactive power that is ordered, as a magnitude
    rising_bp: int = 0  # what it has to have risen to by now, 0 = it is not charged for
    reserve_because: str = ""


class Active(msgspec.Struct, frozen=True, kw_only=True):
    """A digital input that acts now. lost: because nothing is heard of it."""

    name: str
    means: str
    limit_w: int | None = None
    lost: bool = False


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """The whole site. The load less generation behind the meter lies in [load_low_w, load_high_w] until the next
    command takes effect, None = not known."""

    site: Site
    snapshot: Snapshot
    meter: Meter | None
    units: tuple[UnitSight, ...]
    load_w: int | None = None  # the best estimate of it
    load_low_w: int | None = None
    load_high_w: int | None = None
    phase_load_low_w: tuple[int, int, int] | None = None  # the same by phase, None = not known
    phase_load_high_w: tuple[int, int, int] | None = None
    balance_w: int | None = None  # what self-consumption would cover, None = nothing known yet
    active: tuple[Active, ...] = ()
    operated: Operated | None = None  # the operating envelope in force, None where the site has none
    consumption_w: int | None = None  # what may be drawn from the grid at most, None = no such limit now
