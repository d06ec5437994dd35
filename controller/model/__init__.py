"""The words of the site: readings, orders, limits, decisions, faults, the site itself.

Laws:
- Values only: frozen structs, no verbs, no clock, no I/O.
- Power is integer watts and positive toward the grid (discharge, export); energy is integer watt-hours, time integer
  milliseconds, state of charge integer basis points (1 bp = 0.01 %). Every number's name ends in its unit.
- None means "not reported". It never means zero and it never means unlimited.

To add a word: a struct in the file of its kind, exported here, and a line in the README's glossary.
"""

from controller.model.decision import Bound, Command, Decision, Rest, Share, Standing, State, Trust, Unmet
from controller.model.faults import FAULTS, Fault, FaultName
from controller.model.orders import Limit, Order
from controller.model.profile import Profile
from controller.model.readings import AnyReading, Battery, Inverter, Meter, Reading
from controller.model.sight import Sight, UnitSight
from controller.model.site import Default, Device, Energy, Journal, Poi, Ramp, Site, Unit, Utility, Window
from controller.model.snapshot import Missing, Notice, Snapshot

__all__ = [
    "FAULTS",
    "AnyReading",
    "Battery",
    "Bound",
    "Command",
    "Decision",
    "Default",
    "Device",
    "Energy",
    "Fault",
    "FaultName",
    "Inverter",
    "Journal",
    "Limit",
    "Meter",
    "Missing",
    "Notice",
    "Order",
    "Poi",
    "Profile",
    "Ramp",
    "Reading",
    "Rest",
    "Share",
    "Sight",
    "Site",
    "Snapshot",
    "Standing",
    "State",
    "Trust",
    "Unit",
    "UnitSight",
    "Unmet",
    "Utility",
    "Window",
]
