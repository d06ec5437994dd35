"""Batteries and inverters that are not one to one: several batteries on one DC side, several inverters on one bank."""

from collections.abc import Mapping, Sequence

from controller.model import AnyReading, Battery, Inverter, Site, Unit

IDLE_PCT = 1  # of nameplate: less than this is no power


def together(batteries: Sequence[Battery]) -> Battery:
    """Return parallel batteries on one DC side as one battery; a single one as it is.

    The connected ones count: all but those whose contactor is known to be open, and where every one is open, all. For
    alarms and warnings all count, and the oldest sample. What one of those that count does not tell is not told; of
    state of health, voltage and isolation the least that is told stands for all.
    """
    if len(batteries) == 1:
        return batteries[0]
    contactors = [battery.contactor_closed for battery in batteries]
    connected = [battery for battery in batteries if battery.contactor_closed is not False]
    count, told = len(connected), connected or batteries
    return Battery(
        device="+".join(battery.device for battery in batteries),
        sampled_ms=min(battery.sampled_ms for battery in batteries),
        heard_ms=min(battery.heard_ms for battery in batteries),
        soc_bp=_mean([battery.soc_bp for battery in told]),
        soh_bp=_least_told([battery.soh_bp for battery in told]),
        voltage_mv=_least_told([battery.voltage_mv for battery in told]),
        current_ma=_sum([battery.current_ma for battery in told]),
        # Parallel packs do not part the current by their limits: the weakest one says what each may take.
        charge_max_ma=_times(count, _least([battery.charge_max_ma for battery in told])),
        discharge_max_ma=_times(count, _least([battery.discharge_max_ma for battery in told])),
        charge_max_mv=_least([battery.charge_max_mv for battery in told]),
        discharge_min_mv=_largest([battery.discharge_min_mv for battery in told]),
        charge_allowed=_all([battery.charge_allowed for battery in told]),
        discharge_allowed=_all([battery.discharge_allowed for battery in told]),
        contactor_closed=True if True in contactors else None if connected else False,
        force_charge=any(battery.force_charge for battery in told),
        full_charge_wanted=any(battery.full_charge_wanted for battery in told),
        isolation_kohm=_least_told([battery.isolation_kohm for battery in told]),
        temperature_min_mc=_least([_end_mc(battery, battery.temperature_min_mc) for battery in told]),
        temperature_max_mc=_largest([_end_mc(battery, battery.temperature_max_mc) for battery in told]),
        cell_min_mv=_least([battery.cell_min_mv for battery in told]),
        cell_max_mv=_largest([battery.cell_max_mv for battery in told]),
        packs=(len(told), len(batteries)),
        modules=_sum([battery.modules for battery in told]),
        alarms=tuple(f"{battery.device}: {alarm}" for battery in batteries for alarm in battery.alarms),
        warnings=tuple(f"{battery.device}: {warning}" for battery in batteries for warning in battery.warnings),
    )


def parts(site: Site, readings: Mapping[str, AnyReading]) -> dict[str, tuple[int, int]]:
    """Return each unit's part of its bank by the unit's name, as (part, whole); (1, 1) where it shares with nobody.

    Units that name the same batteries part them by what their inverters can do, so that together they are the whole.
    One that is known to be down has no part, unless all of them are; one that is not heard keeps its own, for it may
    still do what it was told last.
    """
    banks: dict[tuple[str, ...], list[Unit]] = {}
    for unit in site.unit:
        banks.setdefault(unit.batteries, []).append(unit)
    found: dict[str, tuple[int, int]] = {}
    for units in banks.values():
        if len(units) == 1:
            found[units[0].name] = (1, 1)
            continue
        able_w = [_able_w(unit, readings.get(unit.inverter)) for unit in units]
        if not any(able_w):
            able_w = [unit.charge_max_w + unit.discharge_max_w for unit in units]
        if not any(able_w):
            able_w = [1] * len(units)
        found |= {unit.name: (part_w, sum(able_w)) for unit, part_w in zip(units, able_w, strict=True)}
    return found


def _able_w(unit: Unit, inverter: AnyReading | None) -> int:
    """Return what the inverter can do both ways together."""
    if not isinstance(inverter, Inverter):
        return unit.charge_max_w + unit.discharge_max_w
    nameplate_w = max(unit.charge_max_w, unit.discharge_max_w)
    idle = inverter.power_w is not None and abs(inverter.power_w) * 100 < IDLE_PCT * nameplate_w
    if idle and inverter.state in ("off", "fault"):
        return 0
    set_w = ((unit.charge_max_w, inverter.charge_max_w), (unit.discharge_max_w, inverter.discharge_max_w))
    return sum(rated_w if limit_w is None else min(rated_w, limit_w) for rated_w, limit_w in set_w)


Told = Sequence[int | None]


def _all_told(values: Told) -> list[int]:
    """Return the values where every one is told, else none of them."""
    told = [value for value in values if value is not None]
    return told if len(told) == len(values) else []


def _least(values: Told) -> int | None:
    return min(_all_told(values), default=None)


def _largest(values: Told) -> int | None:
    return max(_all_told(values), default=None)


def _least_told(values: Told) -> int | None:
    return min((value for value in values if value is not None), default=None)


def _sum(values: Told) -> int | None:
    told = _all_told(values)
    return sum(told) if told else None


def _mean(values: Told) -> int | None:
    told = _all_told(values)
    return sum(told) // len(told) if told else None


def _times(count: int, value: int | None) -> int | None:
    return None if value is None else count * value


def _end_mc(battery: Battery, end_mc: int | None) -> int | None:
    """Return one end of a battery's temperatures; one that tells neither end has its only temperature for both."""
    alone = battery.temperature_min_mc is None and battery.temperature_max_mc is None
    return battery.temperature_mc if alone else end_mc


def _all(flags: Sequence[bool | None]) -> bool | None:
    return False if False in flags else None if None in flags else True
