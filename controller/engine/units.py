"""The units of a site in one cycle: what is remembered of each, how the rules see it, and what they leave to it.

A unit is judged anew only when something of it changed: of a hundred units most tell nothing new between two samples of
the meter. What is kept is the result of pure functions of frozen values (kept.py).
"""

from collections.abc import Mapping, Sequence

import msgspec

from controller.engine import bank, energy, phases
from controller.engine.availability import Own, own
from controller.engine.envelopes import UnitEnvelope, unit_envelope
from controller.engine.kept import Kept
from controller.engine.watch import NOTHING, Told
from controller.model import Active, AnyReading, Battery, Inverter, Remembered, Site, Snapshot, State, Unit, UnitSight
from controller.rules import cell_voltage, full_charge, recovery, storm_reserve

WHOLE = (1, 1)
MINUTE_MS = 60_000  # what only the calendar changes is looked at this often


class Met(msgspec.Struct, frozen=True):
    """One unit's devices in this snapshot. bank: the inverters of all units that draw on its batteries."""

    unit: Unit
    inverter: Inverter | None
    battery: Battery | None  # its batteries as one, None where one of them is not heard
    bank: tuple[Inverter | None, ...]
    part: tuple[int, int] = WHOLE


class Judged(msgspec.Struct, frozen=True):
    """One unit as far as it can be judged without the site."""

    remembered: Remembered
    seen: UnitSight
    envelope: UnitEnvelope
    own: Own


class Around(msgspec.Struct, frozen=True):
    """What is the same for all units in one cycle."""

    no_charge: str
    no_discharge: str
    islanded: bool
    reserve: tuple[int, int, str]
    ordered_var: int  # of the units together, as a magnitude
    circles_va: int  # of the units that have one, together
    minute: int


_banks: Kept[Battery] = Kept()
_judged: Kept[Judged] = Kept()
_sharing: Kept[dict[tuple[str, ...], tuple[str, ...]]] = Kept()
_arounds: dict[str, Around] = {}


def judged(
    site: Site,
    state: State,
    snapshot: Snapshot,
    readings: Mapping[str, AnyReading],
    told: Mapping[str, Told],
    active: Sequence[Active],
) -> tuple[Judged, ...]:
    """Return every unit of the site, judged by this snapshot."""
    around = _around(site, state, snapshot, active)
    before = {remembered.unit: remembered for remembered in state.units}
    banks = _shared(site)
    parts = bank.parts(site, readings) if banks else {}
    result = []
    for unit in site.unit:
        name = unit.name
        known, about = before.get(name) or Remembered(unit=name), told[name]
        # A bank of several batteries, or one that is shared, has no key of its own: it is judged every time.
        battery = readings.get(unit.battery) if isinstance(unit.battery, str) else None
        of = (site, readings.get(unit.inverter), battery, known, about, around)
        found = _judged.get(name, *of)
        if found is None:
            met = _met(unit, readings, banks.get(unit.batteries, (unit.inverter,)), parts.get(name, WHOLE))
            found = _judge(site, state, snapshot, met, known, (about, around))
            if _quiet(found, met, about):
                # Judged once more by the same readings it says the same: no time has passed that is not counted yet.
                _judged.keep(found, name, *of[:3], found.remembered, about, around)
        result.append(found)
    return tuple(result)


def _quiet(found: Judged, met: Met, about: Told) -> bool:
    """Tell whether nothing of the unit changes by time alone."""
    alone = len(met.bank) == 1 and isinstance(met.unit.battery, str)
    heard = met.inverter is not None and met.battery is not None
    remembered = found.remembered
    return alone and heard and about is NOTHING and remembered.phase == "run" and remembered.attempts == 0


def _around(site: Site, state: State, snapshot: Snapshot, active: Sequence[Active]) -> Around:
    """Return the same object as long as it says the same."""
    now = Around(
        no_charge=_blocked(active, "no_charge"),
        no_discharge=_blocked(active, "no_discharge"),
        islanded=any(one.means == "islanded" and not one.lost for one in active),
        ordered_var=abs(ordered_var(snapshot) or 0),
        circles_va=sum(unit.apparent_max_va or 0 for unit in site.unit),
        reserve=storm_reserve.reserve(site, snapshot, state.storm_since_ms),
        minute=snapshot.utc_ms // MINUTE_MS,
    )
    if _arounds.get(site.name) != now:
        _arounds.clear()
        _arounds[site.name] = now
    return _arounds[site.name]


def ordered_var(snapshot: Snapshot) -> int | None:
    """Return the reactive power that the newest order asks of the units together, None where nobody asks."""
    orders = [order for order in snapshot.orders if order.kind == "reactive"]
    return max(orders, key=lambda order: order.starts_ms).reactive_var if orders else None


def _blocked(active: Sequence[Active], means: str) -> str:
    """Return why a direction is closed by a digital input, "" where it is not."""
    for one in active:
        if one.means == means:
            return f"input {one.name} {'is not heard of and counts as active' if one.lost else 'is active'}"
    return ""


def _shared(site: Site) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Return the inverters of each bank that several units share."""
    known = _sharing.get(site.name, site)
    if known is not None:
        return known
    inverters: dict[tuple[str, ...], tuple[str, ...]] = {}
    for unit in site.unit:
        inverters[unit.batteries] = (*inverters.get(unit.batteries, ()), unit.inverter)
    return _sharing.keep({names: of for names, of in inverters.items() if len(of) > 1}, site.name, site)


def _met(unit: Unit, readings: Mapping[str, AnyReading], inverters: Sequence[str], part: tuple[int, int]) -> Met:
    """Return the devices of a unit as far as they are heard. inverters: all that draw on its batteries."""
    on_bank = tuple(found if isinstance(found := readings.get(name), Inverter) else None for name in inverters)
    own = readings.get(unit.inverter)
    return Met(unit, own if isinstance(own, Inverter) else None, _bank(unit.batteries, readings), on_bank, part)


def _bank(names: tuple[str, ...], readings: Mapping[str, AnyReading]) -> Battery | None:
    """Return the batteries as one, None where one of them is not heard."""
    if len(names) == 1:
        found = readings.get(names[0])
        return found if isinstance(found, Battery) else None
    batteries = [found for name in names if isinstance(found := readings.get(name), Battery)]
    if len(batteries) < len(names):
        return None
    return _banks.get(names, *batteries) or _banks.keep(bank.together(batteries), names, *batteries)


def _judge(
    site: Site, state: State, snapshot: Snapshot, met: Met, known: Remembered, by: tuple[Told, Around]
) -> Judged:
    told, around = by
    power_w, elapsed_ms = 0, 0
    if known.phase != "run" or told is not NOTHING:
        power_w = next((share.power_w for share in state.shares if share.unit == met.unit.name), 0)
        elapsed_ms = 0 if state.decided_ms is None else max(0, snapshot.now_ms - state.decided_ms)
    counted = _counted(known, met, snapshot.utc_ms)
    stored = energy.stored(site, met.unit, counted, met.battery)
    remembered = _latched(site, counted, met, stored)
    seen = phases.Seen(
        inverter=met.inverter,
        battery=met.battery,
        trip=bool(told.trip),
        fading=bool(told.fading),
        no_start=bool(told.no_start),
        wanted=True,
        power_w=power_w,
        now_ms=snapshot.now_ms,
    )
    remembered = phases.advance(remembered, met.unit, seen)
    due, forced = full_charge.due(site, met.unit, remembered, snapshot.utc_ms)
    part, whole = met.part
    sight = UnitSight(
        unit=met.unit,
        inverter=met.inverter,
        battery=met.battery,
        phase=remembered.phase,
        part=met.part,
        capacity_wh=stored.capacity_wh * part // whole,
        energy_wh=None if stored.energy_wh is None else stored.energy_wh * part // whole,
        low_wh=None if stored.low_wh is None else stored.low_wh * part // whole,
        high_wh=None if stored.high_wh is None else -(-stored.high_wh * part // whole),
        soc_bp=None if met.battery is None else met.battery.soc_bp,
        stopped=told.trip,
        held=told.held,
        fading=told.fading,
        no_charge=around.no_charge,
        no_discharge=around.no_discharge,
        released=told.released,
        power_w=power_w,
        elapsed_ms=elapsed_ms,
        charge_pct=remembered.charge_pct,
        discharge_pct=remembered.discharge_pct,
        recovering=remembered.recovering,
        full_due=due,
        full_forced=forced,
        islanded=around.islanded,
        ordered_var=-(-around.ordered_var * (met.unit.apparent_max_va or 0) // max(1, around.circles_va)),
        reserve_bp=around.reserve[0],
        rising_bp=around.reserve[1],
        reserve_because=around.reserve[2],
    )
    envelope = unit_envelope(site, sight)
    return Judged(known if remembered == known else remembered, sight, envelope, own(site, sight, envelope))


def _latched(site: Site, counted: Remembered, met: Met, stored: energy.Stored) -> Remembered:
    """Take the latches of derating and recovery on."""
    battery, curves = met.battery, met.unit.derating
    cell_max_mv = None if battery is None else battery.cell_max_mv
    cell_min_mv = None if battery is None else battery.cell_min_mv
    charge_pct = cell_voltage.next_pct(curves.charge_by_cell_max_mv, cell_max_mv, counted.charge_pct, curves.latch)
    discharge_pct = cell_voltage.next_pct(
        curves.discharge_by_cell_min_mv, cell_min_mv, counted.discharge_pct, curves.latch
    )
    recovering = recovery.next_recovering(site, counted.recovering, stored.low_wh, stored.capacity_wh)
    if (charge_pct, discharge_pct, recovering) == (counted.charge_pct, counted.discharge_pct, counted.recovering):
        return counted
    return msgspec.structs.replace(counted, charge_pct=charge_pct, discharge_pct=discharge_pct, recovering=recovering)


def _counted(known: Remembered, met: Met, utc_ms: int) -> Remembered:
    """Count the energy up to the newest sample of the unit's inverter; at a first sample nothing is counted yet."""
    if met.inverter is None:
        return energy.count(known, met.unit, met.battery, None, 0, utc_ms)
    sampled_ms = met.inverter.sampled_ms
    elapsed_ms = max(0, sampled_ms - known.counted_ms) if known.counted_ms else 0
    power_w: int | None = 0
    for inverter in met.bank:
        power_w = (
            None if power_w is None or inverter is None or inverter.power_w is None else power_w + inverter.power_w
        )
    counted = energy.count(known, met.unit, met.battery, power_w, elapsed_ms, utc_ms)
    return counted if sampled_ms == counted.counted_ms else msgspec.structs.replace(counted, counted_ms=sampled_ms)
