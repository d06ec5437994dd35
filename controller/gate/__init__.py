"""The last look before a write: check(site, snapshot, commands) -> verdicts.

Laws:
- Independent: it imports the words and nothing else, shares no code with rules and engine, keeps no state.
- It recomputes classes 0, 1 and 3 from the raw snapshot; of class 2 it refuses what would add to a limit that the meter
  shows exceeded, or that could be exceeded unseen. It refuses, it never repairs: a refused command is not written and
  the device's own watchdog runs out.
- Total: it never raises, whatever the snapshot holds. 0 W passes unless the device itself is in doubt.

It should hardly ever grow; a new limit belongs in rules/ and comes here only if a bug above it could hurt somebody.
"""

import msgspec

from controller.model import FAULTS, Battery, Command, Inverter, Meter, Site, Snapshot, Unit


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One command with the reason why it must not be written, "" = it may."""

    command: Command
    refused: str = ""


def check(site: Site, snapshot: Snapshot, commands: tuple[Command, ...]) -> tuple[Verdict, ...]:
    """Return a verdict for each command. All of them share the POI, so they are judged together."""
    malformed = [_malformed(commands, command) for command in commands]
    asked_w = sum(command.power_w for command, wrong in zip(commands, malformed, strict=True) if not wrong)
    relieves = _relieves(site, snapshot, asked_w)
    alone = [
        wrong or _unit(site, snapshot, command, relieves=relieves)
        for command, wrong in zip(commands, malformed, strict=True)
    ]
    # What is refused is not done: the unit stays where it is, and nobody may lean on its moving.
    stays_w = {r.device: r.power_w or 0 for r in snapshot.readings if isinstance(r, Inverter)}
    total_w = sum(
        stays_w.get(command.device, 0) if refused else command.power_w
        for command, refused in zip(commands, alone, strict=True)
    )
    at_poi = _poi(site, snapshot, total_w)
    verdicts = []
    for command, refused in zip(commands, alone, strict=True):
        if not refused and command.power_w and at_poi and (command.power_w > 0) == (at_poi[0] > 0):
            refused = at_poi[1]
        verdicts.append(Verdict(command=command, refused=refused))
    return tuple(verdicts)


def _malformed(commands: tuple[Command, ...], command: Command) -> str:
    if type(command.power_w) is not int or type(command.valid_ms) is not int:
        return f"a command to {command.device} must be in whole watts and milliseconds"
    if sum(other.device == command.device for other in commands) > 1:
        return f"{command.device} is commanded more than once in one cycle"
    return ""


def _unit(site: Site, snapshot: Snapshot, command: Command, *, relieves: bool) -> str:
    units = [unit for unit in site.unit if unit.inverter == command.device]
    if len(units) != 1:
        return f"{command.device} is not the inverter of exactly one unit"
    unit = units[0]
    if unit.watchdog_s is None or not 0 < command.valid_ms <= unit.watchdog_s * 1000:
        return f"a command to {command.device} must hold 1 ms to {unit.watchdog_s} s, not {command.valid_ms} ms"
    if any(notice.fault == "wrong_device" and notice.device == command.device for notice in snapshot.notices):
        return f"another device answers in place of {command.device}"
    if command.power_w == 0:
        return ""
    for notice in snapshot.notices:
        if notice.device in (unit.inverter, unit.battery) and FAULTS[notice.fault].response == "stop":
            return f"{notice.fault} stands at {notice.device}"
    inverter = _fresh(site, snapshot, unit.inverter)
    battery = _fresh(site, snapshot, unit.battery)
    if not isinstance(inverter, Inverter) or not isinstance(battery, Battery):
        return f"{unit.inverter} or {unit.battery} is not freshly heard"
    refused = _state(inverter, battery) or _power(unit, inverter, battery, command.power_w)
    return refused or _energy(site, unit, battery, command.power_w, relieves=relieves)


def _fresh(site: Site, snapshot: Snapshot, device: str) -> object:
    allowed_ms = next((d.stale_after_ms for d in site.device if d.name == device), None)
    for reading in snapshot.readings:
        if reading.device == device and allowed_ms is not None:
            return reading if 0 <= snapshot.now_ms - reading.sampled_ms <= allowed_ms else None
    return None


def _state(inverter: Inverter, battery: Battery) -> str:
    if inverter.state == "fault" or not inverter.remote or inverter.power_w is None:
        return f"{inverter.device} is at fault, in local control or does not tell its power"
    if battery.alarms or battery.contactor_closed is False:
        return f"{battery.device} raises an alarm or has its contactor open"
    return ""


def _power(unit: Unit, inverter: Inverter, battery: Battery, power_w: int) -> str:
    if power_w > 0:
        nameplate_w, set_w = unit.discharge_max_w, inverter.discharge_max_w
        current_ma, allowed = battery.discharge_max_ma, False if battery.force_charge else battery.discharge_allowed
    else:
        nameplate_w, set_w = unit.charge_max_w, inverter.charge_max_w
        current_ma, allowed = battery.charge_max_ma, battery.charge_allowed
    if abs(power_w) > nameplate_w or (set_w is not None and abs(power_w) > set_w):
        return f"{power_w:+d} W is beyond the rating of {unit.inverter}"
    if allowed is False or current_ma is None or battery.voltage_mv is None or battery.voltage_mv <= 0:
        return f"{battery.device} does not permit {power_w:+d} W"
    if abs(power_w) * 1_000_000 > current_ma * battery.voltage_mv:
        return f"{power_w:+d} W is beyond {current_ma} mA at {battery.voltage_mv} mV of {battery.device}"
    return ""


def _energy(site: Site, unit: Unit, battery: Battery, power_w: int, *, relieves: bool) -> str:
    if battery.soc_bp is None or not 0 <= battery.soc_bp <= 10_000 or unit.watchdog_s is None:
        return f"{battery.device} does not tell a state of charge from 0 to 100 %"
    if relieves:
        return ""
    acting_ms = site.cycle_ms + unit.watchdog_s * 1000
    capacity_w_ms = unit.capacity_wh * 3_600_000
    margin_bp = site.energy.soc_error_pct * 100
    if power_w > 0:
        above_bp = battery.soc_bp - margin_bp - site.energy.floor_pct * 100
        if power_w * acting_ms * 1_000_000 > above_bp * capacity_w_ms * unit.efficiency_pct:
            return f"{power_w:+d} W could take {battery.device} below its floor before the watchdog ends it"
    else:
        below_bp = site.energy.ceiling_pct * 100 - margin_bp - battery.soc_bp
        if -power_w * acting_ms * 10_000 > below_bp * capacity_w_ms:
            return f"{power_w:+d} W could take {battery.device} above its ceiling before the watchdog ends it"
    return ""


def _relieves(site: Site, snapshot: Snapshot, total_w: int) -> bool:
    """Return whether the POI limit itself demands this much of the batteries: class 2 outranks floor and ceiling."""
    poi = site.poi
    meter = _fresh(site, snapshot, poi.meter)
    if not isinstance(meter, Meter) or snapshot.poi_battery_w is None:
        return False
    load_w = snapshot.poi_battery_w - meter.power_w
    swing_w = sum(unit.charge_max_w + unit.discharge_max_w for unit in site.unit)
    if not -2 * poi.generation_max_w - swing_w <= load_w <= 2 * poi.load_max_w + swing_w:
        return False  # a number that no load of this site can be demands nothing
    if total_w > 0:
        return total_w <= load_w - poi.import_max_w + poi.margin_w
    return total_w >= load_w + poi.export_max_w - poi.margin_w


def _poi(site: Site, snapshot: Snapshot, total_w: int) -> tuple[int, str] | None:
    """Return (direction, reason) where the commands together must not go further that way, None where they may."""
    poi = site.poi
    meter = _fresh(site, snapshot, poi.meter)
    if not isinstance(meter, Meter):
        if total_w > max(0, poi.export_max_w - poi.generation_max_w):
            return 1, f"{total_w:+d} W without a POI meter could export too much"
        if total_w < min(0, poi.load_max_w - poi.import_max_w):
            return -1, f"{total_w:+d} W without a POI meter could import too much"
        return None
    inverters = {unit.inverter for unit in site.unit}
    measured_w = sum(r.power_w or 0 for r in snapshot.readings if isinstance(r, Inverter) and r.device in inverters)
    if meter.power_w > poi.export_max_w and total_w > max(0, measured_w):
        return 1, f"{poi.meter} shows {meter.power_w} W export already; {total_w:+d} W would add to it"
    if meter.power_w < -poi.import_max_w and total_w < min(0, measured_w):
        return -1, f"{poi.meter} shows {-meter.power_w} W import already; {total_w:+d} W would add to it"
    return None
