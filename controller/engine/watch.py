"""Watch: from readings, silences and notices to the faults that stand, and what each unit may still do."""

from collections.abc import Iterable, Mapping

import msgspec

from controller.engine import energy, load
from controller.engine.kept import Kept
from controller.model import (
    FAULTS,
    SITE,
    Active,
    AnyReading,
    Battery,
    FaultName,
    Inputs,
    Inverter,
    Meter,
    Remembered,
    Response,
    Site,
    Snapshot,
    Standing,
    State,
    Unit,
)

NEVER_HEARD = "not heard since the start"
ASTRAY_PCT = 5  # of nameplate, and at least ASTRAY_W: measured power this far from the command is not following
ASTRAY_W = 200
ASTRAY_EXTRA_MS = 3000
CELLS_APART_MV = 500  # lithium iron phosphate at its ends spreads by 200 to 300 mV while it balances
# Nothing was written, so nothing is followed; and once it is written the device has this row's clearing time to do so.
UNWRITTEN = frozenset[FaultName]({"command_refused", "not_commissioned"})

Found = tuple[FaultName, str, str]  # fault, device, detail
SAYING: frozenset[Response] = frozenset(("trip", "ramp_down", "hold", "no_start", "release"))
_kept: Kept[list[Found]] = Kept()
_sound: Kept[dict[str, "Told"]] = Kept()


def conditions(
    site: Site, state: State, snapshot: Snapshot, readings: Mapping[str, AnyReading], active: tuple[Active, ...] = ()
) -> list[Found]:
    """Return every fault whose condition holds now. active: the digital inputs that act."""
    found: list[Found] = [(notice.fault, notice.device, notice.detail) for notice in snapshot.notices]
    ages = {missing.device: missing.age_ms for missing in snapshot.missing}
    meter = readings.get(site.poi.meter)
    if not isinstance(meter, Meter):
        found.append(_stale("meter_stale", site.poi.meter, ages))
    elif wrong := load.implausible(site, snapshot, meter):
        found.append(("meter_implausible", site.poi.meter, wrong))
    elif snapshot.now_ms < state.trust.until_ms:
        found.append(("meter_not_following", site.poi.meter, ""))
    remembered = {known.unit: known for known in state.units}
    for unit in site.unit:
        name, battery = unit.name, unit.battery
        known, inverter = remembered.get(name), readings.get(unit.inverter)
        if isinstance(battery, str) and inverter is not None and (only := readings.get(battery)) is not None:
            of_unit = _kept.get(name, site, known, inverter, only)
            if of_unit is None:
                of_unit = _unit(unit, readings, ages) + _remembered(site, unit, known)
                _kept.keep(of_unit, name, site, known, inverter, only)
        else:
            of_unit = _unit(unit, readings, ages) + _remembered(site, unit, known)
        found += of_unit
    found += _astray(site, state, snapshot, readings)
    found += _outside(site, state, snapshot, active)
    return list(dict.fromkeys(found))  # a battery that units share is told of once


def acting(site: Site, readings: Mapping[str, AnyReading]) -> tuple[Active, ...]:
    """Return the digital inputs that act now; one that is not heard of counts as active."""
    result = []
    for each in site.input:
        closed = _closed(readings.get(each.device), each.channel)
        if closed is None or closed == (each.active == "closed"):
            result.append(Active(name=each.name, means=each.means, limit_w=each.limit_w, lost=closed is None))
    return tuple(result)


def standing(before: tuple[Standing, ...], found: Iterable[Found], now_ms: int) -> tuple[Standing, ...]:
    """Return the faults that stand: those found, and those gone whose row does not let go of them yet."""
    old = {(fault.fault, fault.device): fault for fault in before}
    result: dict[tuple[FaultName, str], Standing] = {}
    for fault, device, detail in found:
        known = old.pop((fault, device), None)
        since_ms = now_ms if known is None else known.since_ms
        result[fault, device] = Standing(fault=fault, device=device, since_ms=since_ms, detail=detail)
    for key, known in old.items():
        row = FAULTS[known.fault]
        clear_ms = now_ms if known.clear_since_ms is None else known.clear_since_ms
        if row.latches or (now_ms - clear_ms < row.clears_after_ms and known.detail != NEVER_HEARD):
            result[key] = Standing(
                fault=known.fault,
                device=known.device,
                since_ms=known.since_ms,
                detail=known.detail,
                clear_since_ms=clear_ms,
            )
    return tuple(result.values())


class Told(msgspec.Struct, frozen=True):
    """What the standing faults say of one unit: why it is tripped, faded, held or not started; "" = it is not."""

    trip: str = ""
    fading: str = ""
    held: str = ""
    no_start: str = ""
    released: bool = False


NOTHING = Told()  # one object, so that what is kept of a sound unit is found again


def told(site: Site, faults: tuple[Standing, ...]) -> dict[str, Told]:
    """Return what the faults say of each unit; of several with one response the one that stands longest is told."""
    found = _sound.get(site.name, site)
    if found is None:
        found = _sound.keep({unit.name: NOTHING for unit in site.unit}, site.name, site)
    saying = [fault for fault in faults if FAULTS[fault.fault].response in SAYING]
    if not saying:
        return found
    said: dict[str, dict[Response, str]] = {}
    for fault in sorted(saying, key=lambda fault: fault.since_ms):
        row = FAULTS[fault.fault]
        detail = f" ({fault.detail})" if fault.detail else ""
        text = f"{fault.device}: {row.means}{detail}"
        for unit in site.unit:
            if fault.device in (SITE, unit.name, unit.inverter, *unit.batteries):
                said.setdefault(unit.name, {}).setdefault(row.response, text)
    return {**found, **{name: _told(texts) for name, texts in said.items()}}


def _told(texts: Mapping[Response, str]) -> Told:
    return Told(
        trip=texts.get("trip", ""),
        fading=texts.get("ramp_down", ""),
        held=texts.get("hold", ""),
        no_start=texts.get("no_start", ""),
        released="release" in texts,
    )


def _closed(module: AnyReading | None, channel: int) -> bool | None:
    """Return whether a contact is closed, None where it is not heard of."""
    return module.closed[channel] if isinstance(module, Inputs) and channel < len(module.closed) else None


def _unit(unit: Unit, readings: Mapping[str, AnyReading], ages: Mapping[str, int | None]) -> list[Found]:
    """Return what is wrong with a unit's devices; of several batteries one that is apart from them counts no more."""
    inverter = readings.get(unit.inverter)
    found = _inverter(inverter) if isinstance(inverter, Inverter) else [_stale("inverter_stale", unit.inverter, ages)]
    heard = {name: battery for name in unit.batteries if isinstance(battery := readings.get(name), Battery)}
    apart = {name for name, battery in heard.items() if battery.contactor_closed is False}
    for name in unit.batteries:
        if name not in heard:
            found.append(_stale("battery_stale", name, ages))
        elif name in apart and len(apart) < len(unit.batteries):
            found.append(("battery_apart", name, ", ".join(heard[name].alarms)))
        else:
            found += _battery(heard[name])
    return found + _isolation(unit, readings)


def _stale(fault: FaultName, device: str, ages: Mapping[str, int | None]) -> Found:
    return fault, device, NEVER_HEARD if ages.get(device) is None else "silent"


def _inverter(inverter: Inverter) -> list[Found]:
    found: list[Found] = []
    if inverter.state == "fault":
        found.append(("inverter_fault", inverter.device, ", ".join(inverter.alarms)))
    elif inverter.alarms:
        found.append(("inverter_alarm", inverter.device, ", ".join(inverter.alarms)))
    if inverter.connected is False:
        found.append(("inverter_disconnected", inverter.device, ""))
    if not inverter.remote:
        found.append(("inverter_local", inverter.device, ""))
    if inverter.power_w is None:
        found.append(("inverter_silent_power", inverter.device, ""))
    return found


def _battery(battery: Battery) -> list[Found]:
    found: list[Found] = []
    if battery.alarms:
        found.append(("battery_alarm", battery.device, ", ".join(battery.alarms)))
    if battery.warnings:
        found.append(("battery_warning", battery.device, ", ".join(battery.warnings)))
    if battery.contactor_closed is False:
        found.append(("battery_contactor_open", battery.device, ""))
    if battery.soc_bp is None:
        found.append(("soc_unknown", battery.device, ""))
    elif not 0 <= battery.soc_bp <= 10_000:
        found.append(("battery_implausible", battery.device, f"state of charge {battery.soc_bp / 100:g} %"))
    if battery.cell_max_mv is not None and battery.cell_min_mv is not None:
        apart_mv = battery.cell_max_mv - battery.cell_min_mv
        if apart_mv < 0:
            detail = f"its lowest cell at {battery.cell_min_mv} mV, its highest at {battery.cell_max_mv} mV"
            found.append(("battery_implausible", battery.device, detail))
        elif apart_mv > CELLS_APART_MV:
            found.append(("cells_apart", battery.device, f"{apart_mv} mV, at most {CELLS_APART_MV} mV"))
    return found


def _isolation(unit: Unit, readings: Mapping[str, AnyReading]) -> list[Found]:
    """Return who tells less resistance against earth than the unit's site file admits, or that nobody tells one.

    While one of them is silent that is told, and nothing of what it might have told.
    """
    least_kohm = unit.isolation_min_kohm
    if least_kohm is None:
        return []
    heard = [readings.get(name) for name in (unit.inverter, *unit.batteries)]
    devices = [device for device in heard if isinstance(device, Inverter | Battery)]
    told = [(device.device, device.isolation_kohm) for device in devices if device.isolation_kohm is not None]
    if not told and len(devices) == len(heard):
        names = " nor ".join(device.device for device in devices)
        return [("isolation_unknown", unit.inverter, f"neither {names} tells it")]
    return [
        ("isolation_low", name, f"{told_kohm} kohm, at least {least_kohm} kohm")
        for name, told_kohm in told
        if told_kohm < least_kohm
    ]


def _remembered(site: Site, unit: Unit, known: Remembered | None) -> list[Found]:
    if known is None:
        return []
    found: list[Found] = []
    if known.phase == "fault":
        found.append(("start_failed", unit.name, ""))
    if wrong := energy.astray(site, unit, known):
        found.append(("soc_astray", unit.batteries[0], wrong))
    return found


def _outside(site: Site, state: State, snapshot: Snapshot, active: tuple[Active, ...]) -> list[Found]:
    """Return what comes from outside the units: digital inputs, the utility, the network operator."""
    found: list[Found] = []
    for one in active:
        if one.means == "emergency_stop":
            found.append(("emergency_stop_lost" if one.lost else "emergency_stop", SITE, one.name))
        elif one.lost:
            found.append(("input_lost", one.name, f"it counts as active: {one.means}"))
    if snapshot.utility_silent:
        found.append(("utility_silent", "utility", ""))
    default = site.poi.envelope
    scheme = (default.import_default_w, default.export_default_w) != (None, None)
    if scheme and not any(order.kind == "envelope" for order in snapshot.orders):
        found.append(("envelope_lapsed", "utility", ""))
    if state.consumed.phase in ("failsafe", "init") and site.poi.consumption.failsafe_w is not None:
        found.append(("consumption_failsafe", "utility", ""))
    return found


def _astray(site: Site, state: State, snapshot: Snapshot, readings: Mapping[str, AnyReading]) -> list[Found]:
    found: list[Found] = []
    unwritten = {notice.device for notice in snapshot.notices if notice.fault in UNWRITTEN}
    unwritten |= {fault.device for fault in state.standing if fault.fault in UNWRITTEN}
    for unit, part in zip(site.unit, state.shares, strict=False):
        inverter = readings.get(unit.inverter)
        if not isinstance(inverter, Inverter) or inverter.power_w is None or inverter.power_w == part.power_w:
            continue
        if inverter.sampled_ms < max(state.moved_ms, part.moved_ms) + (unit.settle_ms or 0) + ASTRAY_EXTRA_MS:
            continue
        off_w = inverter.power_w - part.power_w
        may_w = max(ASTRAY_W, max(unit.charge_max_w, unit.discharge_max_w) * ASTRAY_PCT // 100)
        if abs(off_w) > may_w and unwritten.isdisjoint((SITE, unit.inverter)):
            detail = f"commanded {part.power_w:+d} W, measured {inverter.power_w:+d} W"
            found.append(("inverter_not_following", unit.inverter, detail))
            if _worsens(site, readings, off_w):
                found.append(("inverter_unruly", unit.inverter, detail))
    return found


def _worsens(site: Site, readings: Mapping[str, AnyReading], off_w: int) -> bool:
    """Tell whether power that was not commanded goes where a grid limit is exceeded already."""
    meter = readings.get(site.poi.meter)
    if not isinstance(meter, Meter):
        return False
    return meter.power_w > site.poi.export_max_w if off_w > 0 else meter.power_w < -site.poi.import_max_w
