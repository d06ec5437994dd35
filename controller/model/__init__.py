"""The words of the site: readings, orders, limits, decisions, faults, the site itself.

Laws:
- Values only: frozen structs, no verbs, no clock, no I/O.
- Power is integer watts and positive toward the grid (discharge, export); energy is integer watt-hours, time integer
  milliseconds, state of charge integer basis points (1 bp = 0.01 %). Every number's name ends in its unit.
- None means "not reported". It never means zero and it never means unlimited.

To add a word: a struct in the file of its kind, exported here, and a line in the README's glossary.
"""

from controller.model.commission import Commission
from controller.model.decision import (
    Availability,
    Bound,
    Command,
    Consumed,
    Decision,
    Operated,
    Phase,
    Remembered,
    Rest,
    Share,
    Standing,
    State,
    Trust,
    Unmet,
)
from controller.model.derating import Curve, Derating
from controller.model.faults import FAULTS, RESPONSES, SITE, Fault, FaultName, Response
from controller.model.orders import Limit, Order
from controller.model.profile import Profile
from controller.model.readings import AnyReading, Battery, Inputs, Inverter, Meter, Reading
from controller.model.sight import Active, Sight, UnitSight
from controller.model.site import (
    Commitment,
    Consumption,
    Default,
    Device,
    Energy,
    Envelope,
    Input,
    Journal,
    Poi,
    Ramp,
    Site,
    Storm,
    Unit,
    Utility,
    Window,
)
from controller.model.snapshot import Missing, Notice, Snapshot

__all__ = [
    "FAULTS",
    "RESPONSES",
    "SITE",
    "Active",
    "AnyReading",
    "Availability",
    "Battery",
    "Bound",
    "Command",
    "Commission",
    "Commitment",
    "Consumed",
    "Consumption",
    "Curve",
    "Decision",
    "Default",
    "Derating",
    "Device",
    "Energy",
    "Envelope",
    "Fault",
    "FaultName",
    "Input",
    "Inputs",
    "Inverter",
    "Journal",
    "Limit",
    "Meter",
    "Missing",
    "Notice",
    "Operated",
    "Order",
    "Phase",
    "Poi",
    "Profile",
    "Ramp",
    "Reading",
    "Remembered",
    "Response",
    "Rest",
    "Share",
    "Sight",
    "Site",
    "Snapshot",
    "Standing",
    "State",
    "Storm",
    "Trust",
    "Unit",
    "UnitSight",
    "Unmet",
    "Utility",
    "Window",
]
