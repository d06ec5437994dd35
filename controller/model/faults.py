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
    "battery_alarm",
    "battery_contactor_open",
    "battery_implausible",
    "soc_unknown",
    "link_down",
    "wrong_device",
    "map_moved",
    "bad_reply",
    "bad_frame",
    "frame_flood",
    "contradiction",
    "command_refused",
    "write_failed",
    "utility_silent",
    "utility_bad_write",
    "journal_full",
    "clock_jumped",
]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One row.

    response: note = tell only; narrow = a rule takes the worst case; stop = its unit goes to 0 W; release = nothing is
    written to it any more.
    """

    name: FaultName
    response: Literal["note", "narrow", "stop", "release"]
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
        "its profile",
    ),
    Fault(
        name="inverter_stale",
        response="stop",
        means="no fresh reading of an inverter: nothing is known of what it does",
        check="the inverter's network cable, whether another client holds its only connection",
        clears_after_ms=2000,
    ),
    Fault(
        name="battery_stale",
        response="stop",
        means="the battery management system is silent",
        check="the BMS cable and its terminator, whether the battery sleeps",
        clears_after_ms=3000,
    ),
    Fault(
        name="inverter_fault",
        response="stop",
        means="the inverter reports a fault or an alarm that stops it",
        check="the inverter's display for its own code",
        clears_after_ms=5000,
    ),
    Fault(
        name="inverter_local",
        response="stop",
        means="somebody at the inverter holds it in local control: it would not obey",
        check="the local/remote switch or the installer's app",
    ),
    Fault(
        name="inverter_silent_power",
        response="stop",
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
        name="battery_alarm",
        response="stop",
        means="the battery management system raises an alarm",
        check="the battery's display; the alarm is named in the detail",
        clears_after_ms=5000,
    ),
    Fault(
        name="battery_contactor_open",
        response="stop",
        means="the battery has opened its contactor",
        check="the battery's breaker, its emergency stop, its alarms",
        clears_after_ms=5000,
    ),
    Fault(
        name="battery_implausible",
        response="stop",
        means="a value of the battery is outside what any battery of its kind can have",
        check="whether the profile matches the battery; the value is named in the detail",
        clears_after_ms=5000,
    ),
    Fault(
        name="soc_unknown",
        response="stop",
        means="the battery does not tell its state of charge: no energy limit could be kept",
        check="the battery's firmware; a battery that was just replaced may need a full charge",
        clears_after_ms=3000,
    ),
    Fault(
        name="link_down",
        response="note",
        means="the connection to a device is not up; it is tried again with growing pauses",
        check="cable, address, port, and whether the device allows one client only",
    ),
    Fault(
        name="wrong_device",
        response="stop",
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
        response="stop",
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
