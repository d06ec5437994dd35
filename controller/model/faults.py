"""Every fault of the site, one row each: what it means, what the controller does, what to check.

Laws: the engine reads responses only, never names; the README's table is made from these rows.
To add one: a name, a row, and the one place that raises its condition (a link's notice or engine/watch.py).
"""

from typing import Literal

import msgspec

FaultName = Literal[
    "meter_stale",
    "meter_implausible",
    "meter_not_following",
    "inverter_stale",
    "battery_stale",
    "inverter_fault",
    "inverter_local",
    "inverter_silent_power",
    "inverter_not_following",
    "inverter_unruly",
    "inverter_alarm",
    "inverter_disconnected",
    "start_failed",
    "isolation_low",
    "isolation_unknown",
    "emergency_stop",
    "emergency_stop_lost",
    "input_lost",
    "battery_alarm",
    "battery_contactor_open",
    "battery_implausible",
    "soc_unknown",
    "soc_astray",
    "battery_warning",
    "cells_apart",
    "battery_apart",
    "link_down",
    "wrong_device",
    "map_moved",
    "bad_reply",
    "bad_frame",
    "frame_flood",
    "contradiction",
    "command_refused",
    "not_commissioned",
    "write_failed",
    "utility_silent",
    "utility_bad_write",
    "envelope_lapsed",
    "consumption_failsafe",
    "journal_full",
    "clock_jumped",
]


Response = Literal["note", "narrow", "no_start", "hold", "ramp_down", "trip", "release"]

# What the controller does, weakest first. README and `linepack explain` tell it in these words.
RESPONSES: dict[Response, str] = {
    "note": "tells of it and goes on",
    "narrow": "takes the worst case for what it does not know",
    "no_start": "does not start the unit; one that runs goes on",
    "hold": "lets the unit's power shrink but not grow",
    "ramp_down": "brings the unit to 0 W gently and stops it",
    "trip": "holds the unit at 0 W at once",
    "release": "writes nothing to the inverter any more: its own timer takes it to its fall-back",
}
SITE = "site"  # as a fault's device: the whole site


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One row.

    A fault at a device concerns the units of that device, one at SITE concerns all of them.
    """

    name: FaultName
    response: Response
    means: str
    check: str
    latches: bool = False  # held over restarts until a person says `linepack clear`
    clears_after_ms: int = 0  # how long the condition must be gone


_ROWS = (
    Fault(
        name="meter_stale",
        response="narrow",
        means="no fresh reading of the POI meter: the worst admissible load and generation are assumed",
        check="the meter's power and cable, its address in the site file",
        clears_after_ms=2000,
    ),
    Fault(
        name="meter_implausible",
        response="narrow",
        means="the POI meter shows what this site cannot draw or feed: it is not believed, the worst load is assumed",
        check="the meter's scale and wiring, poi.load_max_w and poi.generation_max_w in the site file",
        clears_after_ms=5000,
    ),
    Fault(
        name="meter_not_following",
        response="narrow",
        means="the batteries moved and the POI meter did not show it: it is late, frozen or wired the wrong way round; "
        "it is not believed for a minute, the worst load is assumed",
        check="the meter's own averaging and age, the direction and phase of its current transformers, power_sign in "
        "its profile and in the inverters'",
    ),
    Fault(
        name="inverter_stale",
        response="trip",
        means="no fresh reading of an inverter: nothing is known of what it does",
        check="the inverter's network cable, whether another client holds its only connection",
        clears_after_ms=2000,
    ),
    Fault(
        name="battery_stale",
        response="trip",
        means="the battery management system is silent",
        check="the BMS cable and its terminator, whether the battery sleeps",
        clears_after_ms=3000,
    ),
    Fault(
        name="inverter_fault",
        response="trip",
        means="the inverter reports a fault or an alarm that stops it",
        check="the inverter's display for its own code",
        clears_after_ms=5000,
    ),
    Fault(
        name="inverter_local",
        response="trip",
        means="somebody at the inverter holds it in local control: it would not obey",
        check="the local/remote switch or the installer's app",
    ),
    Fault(
        name="inverter_silent_power",
        response="trip",
        means="the inverter answers but does not tell its AC power",
        check="whether it is starting up or asleep; its firmware",
        clears_after_ms=2000,
    ),
    Fault(
        name="inverter_not_following",
        response="note",
        means="measured power has been away from the command for longer than the device needs",
        check="whether the device derates, ignores set points, or another master writes to it",
        clears_after_ms=5000,
    ),
    Fault(
        name="inverter_unruly",
        response="release",
        means="the inverter does not follow and holds the site beyond a grid limit: each further write would only keep "
        "alive what it does, so nothing is written and its own timer takes it to its fall-back",
        check="whether its firmware takes set points as its paper says, whether another master writes to it",
        clears_after_ms=60_000,
    ),
    Fault(
        name="inverter_alarm",
        response="hold",
        means="the inverter raises an alarm that does not stop it",
        check="the inverter's display; the alarm is named in the detail",
        clears_after_ms=5000,
    ),
    Fault(
        name="inverter_disconnected",
        response="note",
        means="the inverter is not connected to the grid: it waits for it, and the other units do its part",
        check="the grid's voltage and frequency; after an outage inverters wait for minutes by rule",
    ),
    Fault(
        name="start_failed",
        response="trip",
        means="the unit did not start three times in a row: contactor or inverter did not confirm in time",
        check="the battery's contactor and breaker, the inverter's display; then: linepack clear SITE and a restart",
        latches=True,
    ),
    Fault(
        name="isolation_low",
        response="trip",
        means="the resistance of the DC side against earth is below what the site file admits",
        check="DC cables, connectors and water in the battery's cabinet; then: linepack clear SITE and a restart",
        latches=True,
    ),
    Fault(
        name="isolation_unknown",
        response="trip",
        means="the site file asks for a resistance against earth, and no device of the unit tells one",
        check="whether the devices measure it at all; else take isolation_min_kohm out of the site file",
        clears_after_ms=5000,
    ),
    Fault(
        name="emergency_stop",
        response="trip",
        means="somebody pressed the emergency stop: no unit gives or takes power until a person clears it",
        check="why it was pressed; release it, then: linepack clear SITE and a restart",
        latches=True,
    ),
    Fault(
        name="emergency_stop_lost",
        response="trip",
        means="the contact of the emergency stop is not heard of: it counts as pressed",
        check="the input module's power and cable",
        clears_after_ms=3000,
    ),
    Fault(
        name="input_lost",
        response="narrow",
        means="a digital input is not heard of: it counts as active",
        check="the input module's power and cable",
        clears_after_ms=3000,
    ),
    Fault(
        name="battery_alarm",
        response="trip",
        means="the battery management system raises an alarm",
        check="the battery's display; the alarm is named in the detail",
        clears_after_ms=5000,
    ),
    Fault(
        name="battery_contactor_open",
        response="trip",
        means="the battery has opened its contactor",
        check="the battery's breaker, its emergency stop, its alarms",
        clears_after_ms=5000,
    ),
    Fault(
        name="battery_implausible",
        response="trip",
        means="a value of the battery is outside what any battery of its kind can have",
        check="whether the profile matches the battery; the value is named in the detail",
        clears_after_ms=5000,
    ),
    Fault(
        name="soc_unknown",
        response="trip",
        means="the battery does not tell its state of charge: no energy limit could be kept",
        check="the battery's firmware; a battery that was just replaced may need a full charge",
        clears_after_ms=3000,
    ),
    Fault(
        name="soc_astray",
        response="narrow",
        means="the state of charge that the battery tells does not fit the energy that went in and out: of both the "
        "worse one is taken",
        check="whether the battery's own estimate is stuck, or capacity_wh is wrong; it heals as the state of charge "
        "moves with the power again",
        clears_after_ms=60_000,
    ),
    Fault(
        name="battery_warning",
        response="no_start",
        means="the battery management system warns",
        check="the battery's display; the warning is named in the detail",
        clears_after_ms=5000,
    ),
    Fault(
        name="cells_apart",
        response="ramp_down",
        means="the highest and the lowest cell are further apart than a healthy battery's",
        check="a full charge lets the battery balance; a cell that stays behind needs service",
        clears_after_ms=60_000,
    ),
    Fault(
        name="battery_apart",
        response="note",
        means="one of several batteries on one DC side has opened its contactor: the others go on without it",
        check="that battery's breaker and alarms; they are named in the detail",
        clears_after_ms=5000,
    ),
    Fault(
        name="link_down",
        response="note",
        means="the connection to a device is not up; it is tried again with growing pauses",
        check="cable, address, port, and whether the device allows one client only",
    ),
    Fault(
        name="wrong_device",
        response="trip",
        means="another device answers at this address than the one that was met first",
        check="swapped cables or addresses; where the device was replaced: linepack clear SITE, then a restart",
        latches=True,
    ),
    Fault(
        name="map_moved",
        response="note",
        means="the device's register map changed place; it was read anew",
        check="whether its firmware was updated or its model format switched",
        clears_after_ms=60_000,
    ),
    Fault(
        name="bad_reply",
        response="note",
        means="a device's reply did not fit its request and was thrown away",
        check="gateways between, other masters on the line",
        clears_after_ms=60_000,
    ),
    Fault(
        name="bad_frame",
        response="note",
        means="a CAN frame was too short or out of range and was thrown away",
        check="whether the profile matches the battery, the bit rate, the terminators",
        clears_after_ms=60_000,
    ),
    Fault(
        name="frame_flood",
        response="note",
        means="one CAN identifier comes far more often than it may; the surplus is thrown away",
        check="a babbling node on the bus",
        clears_after_ms=10_000,
    ),
    Fault(
        name="contradiction",
        response="trip",
        means="two values of the battery contradict each other: none of them is believed",
        check="two batteries with one address, a profile that does not match",
        clears_after_ms=5000,
    ),
    Fault(
        name="command_refused",
        response="note",
        means="the gate refused a command; nothing was written and the device's own timer runs",
        check="the detail names the reason; report it with the journal, this should not happen",
        clears_after_ms=5000,
    ),
    Fault(
        name="not_commissioned",
        response="note",
        means="the site has no commissioning record that fits it: everything is read and decided, nothing is written",
        check="the devices, then: linepack commission SITE --by NAME, and a restart",
    ),
    Fault(
        name="write_failed",
        response="note",
        means="a command could not be written to the inverter; its own timer runs",
        check="the inverter's connection, whether it accepts remote control",
        clears_after_ms=5000,
    ),
    Fault(
        name="utility_silent",
        response="note",
        means="the utility has not been heard: its orders are dropped and the site's default order holds",
        check="the utility's line; nothing need be done at the site",
    ),
    Fault(
        name="utility_bad_write",
        response="note",
        means="the utility wrote something that cannot be; it got an exception and nothing changed",
        check="the utility's configuration; the register is named in the detail",
        clears_after_ms=60_000,
    ),
    Fault(
        name="envelope_lapsed",
        response="narrow",
        means="no operating envelope is in force: the site file's default limits hold",
        check="the line to the network operator; nothing need be done at the site",
    ),
    Fault(
        name="consumption_failsafe",
        response="narrow",
        means="whoever limits consumption has not been heard: the failsafe limit holds",
        check="the line to the network operator; nothing need be done at the site",
    ),
    Fault(
        name="journal_full",
        response="note",
        means="the journal cannot be written; control goes on, these cycles are not recorded",
        check="free space, path and permissions, health of the storage",
        clears_after_ms=10_000,
    ),
    Fault(
        name="clock_jumped",
        response="note",
        means="the wall clock jumped; control runs on the monotonic clock and is not touched, windows were chosen anew",
        check="the time source",
        clears_after_ms=60_000,
    ),
)

FAULTS: dict[FaultName, Fault] = {row.name: row for row in _ROWS}
