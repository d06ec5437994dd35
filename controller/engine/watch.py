"""Watch: from readings, silences and notices to the faults that stand, and what each unit may still do."""

from collections.abc import Iterable, Mapping

from controller.engine import load
from controller.model import (
    FAULTS,
    AnyReading,
    Battery,
    FaultName,
    Inverter,
    Meter,
    Site,
    Snapshot,
    Standing,
    State,
    UnitSight,
)

NEVER_HEARD = "not heard since the start"
ASTRAY_PCT = 5  # of nameplate, and at least ASTRAY_W: measured power this far from the command is not following
ASTRAY_W = 200
ASTRAY_EXTRA_MS = 3000

Found = tuple[FaultName, str, str]  # fault, device, detail


def conditions(site: Site, state: State, snapshot: Snapshot, readings: Mapping[str, AnyReading]) -> list[Found]:
    """Return every fault whose condition holds now."""
    found: list[Found] = [(notice.fault, notice.device, notice.detail) for notice in snapshot.notices]
    ages = {missing.device: missing.age_ms for missing in snapshot.missing}
    meter = readings.get(site.poi.meter)
    if not isinstance(meter, Meter):
        found.append(("meter_stale", site.poi.meter, _age(ages.get(site.poi.meter))))
    elif wrong := load.implausible(site, snapshot, meter):
        found.append(("meter_implausible", site.poi.meter, wrong))
    elif snapshot.now_ms < state.trust.until_ms:
        found.append(("meter_not_following", site.poi.meter, ""))
    for unit in site.unit:
        inverter = readings.get(unit.inverter)
        if isinstance(inverter, Inverter):
            found += _inverter(inverter)
        else:
            found.append(("inverter_stale", unit.inverter, _age(ages.get(unit.inverter))))
        battery = readings.get(unit.battery)
        if isinstance(battery, Battery):
            found += _battery(battery)
        else:
            found.append(("battery_stale", unit.battery, _age(ages.get(unit.battery))))
    found += _astray(site, state, readings)
    if snapshot.utility_silent:
        found.append(("utility_silent", "utility", ""))
    return found


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


def sights(site: Site, readings: Mapping[str, AnyReading], faults: tuple[Standing, ...]) -> tuple[UnitSight, ...]:
    """Return the units as rules see them."""
    stopped: dict[str, str] = {}
    released = {fault.device for fault in faults if FAULTS[fault.fault].response == "release"}
    for fault in faults:
        if FAULTS[fault.fault].response == "stop":
            row = FAULTS[fault.fault]
            detail = f" ({fault.detail})" if fault.detail else ""
            stopped.setdefault(fault.device, f"{fault.device}: {row.means}{detail}")
    result = []
    for unit in site.unit:
        inverter, battery = readings.get(unit.inverter), readings.get(unit.battery)
        inverter = inverter if isinstance(inverter, Inverter) else None
        battery = battery if isinstance(battery, Battery) else None
        soc_bp = None if battery is None else battery.soc_bp
        result.append(
            UnitSight(
                released=unit.inverter in released,
                unit=unit,
                inverter=inverter,
                battery=battery,
                energy_wh=None if soc_bp is None else unit.capacity_wh * soc_bp // 10_000,
                stopped=stopped.get(unit.inverter) or stopped.get(unit.battery) or "",
            )
        )
    return tuple(result)


def _inverter(inverter: Inverter) -> list[Found]:
    found: list[Found] = []
    if inverter.state == "fault":
        found.append(("inverter_fault", inverter.device, ", ".join(inverter.alarms)))
    if not inverter.remote:
        found.append(("inverter_local", inverter.device, ""))
    if inverter.power_w is None:
        found.append(("inverter_silent_power", inverter.device, ""))
    return found


def _battery(battery: Battery) -> list[Found]:
    found: list[Found] = []
    if battery.alarms:
        found.append(("battery_alarm", battery.device, ", ".join(battery.alarms)))
    if battery.contactor_closed is False:
        found.append(("battery_contactor_open", battery.device, ""))
    if battery.soc_bp is None:
        found.append(("soc_unknown", battery.device, ""))
    elif not 0 <= battery.soc_bp <= 10_000:
        found.append(("battery_implausible", battery.device, f"state of charge {battery.soc_bp / 100:g} %"))
    return found


def _astray(site: Site, state: State, readings: Mapping[str, AnyReading]) -> list[Found]:
    found: list[Found] = []
    for unit, part in zip(site.unit, state.shares, strict=False):
        inverter = readings.get(unit.inverter)
        settled_ms = state.moved_ms + (unit.settle_ms or 0) + ASTRAY_EXTRA_MS
        if not isinstance(inverter, Inverter) or inverter.power_w is None or inverter.sampled_ms < settled_ms:
            continue
        off_w = abs(inverter.power_w - part.power_w)
        if off_w > max(ASTRAY_W, max(unit.charge_max_w, unit.discharge_max_w) * ASTRAY_PCT // 100):
            detail = f"commanded {part.power_w:+d} W, measured {inverter.power_w:+d} W"
            found.append(("inverter_not_following", unit.inverter, detail))
            if _worsens(site, readings, inverter.power_w - part.power_w):
                found.append(("inverter_unruly", unit.inverter, detail))
    return found


def _worsens(site: Site, readings: Mapping[str, AnyReading], off_w: int) -> bool:
    """Tell whether power that was not commanded goes where a grid limit is exceeded already."""
    meter = readings.get(site.poi.meter)
    if not isinstance(meter, Meter):
        return False
    return meter.power_w > site.poi.export_max_w if off_w > 0 else meter.power_w < -site.poi.import_max_w


def _age(age_ms: int | None) -> str:
    return NEVER_HEARD if age_ms is None else "silent"
