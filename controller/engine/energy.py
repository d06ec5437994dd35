"""What is stored, as an interval: what the battery tells, and what our own count of the power says of it (control 2.4).

The count starts at what the battery tells and follows the measured AC power, at the efficiency that is worse on the
side on which it lies: below what is told it is how little may be stored (discharging costs P / efficiency, charging
gives P x efficiency), above it how much (P, both ways). So while the told energy stands still the count does not
promise more than is there.

It comes nearer to what is told for two reasons only:
- the battery tells a change in the direction of the power: a part of that change, and of no more than 1 % of the
  capacity at once. A state of charge that lives is believed as it moves; one that is stuck never moves, and a jump
  frees at most that part of 1 %. The part covers the whole span of admitted efficiencies.
- the unit rests, at less than 1 % of its capacity an hour: 1 % an hour, for the stand-by of inverter and battery and
  the offset of a power measurement, which else would pile up for days. Under power it does not drift: with 0.1 % a
  minute a unit that is stuck at 60 % and gives 0.4 C would pass its floor by 7 % of the capacity.
What flowed in a hole of a minute or more nobody has measured: the count starts anew there.
"""

import msgspec

from controller.model import Battery, Remembered, Site, Unit
from controller.rules.full_charge import grown_wh

FULL_BP = 9_950
NEW_BP = 10_000  # the health of a battery that tells none: the site file's capacity stands
SOH_BP = (1_000, NEW_BP)  # what a state of health may be; all else is not believed
HOLE_MS = 60_000
BAND_PCT = 3  # of the capacity: told and counted may differ by so much; where whole per cents are told they do by 1 %
ERROR_MAX_PCT = 30
JUMP_PCT = 1  # of the capacity: the most of one told change that is evidence


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored, in Wh. low_wh may lie below 0 and high_wh above the capacity. None = nothing is told now."""

    capacity_wh: int
    energy_wh: int | None = None
    low_wh: int | None = None
    high_wh: int | None = None


def count(
    before: Remembered, unit: Unit, told: Battery | None, power_w: int | None, elapsed_ms: int, utc_ms: int
) -> Remembered:
    """Return what is remembered of the energy after power_w (AC, all units on the bank) for the last elapsed_ms.

    A missing power counts nothing. A missing state of charge leaves the count without its guide; a missing or
    implausible state of health leaves the last one.
    """
    told_bp, health_bp = _soc_bp(told), _soh_bp(told)
    soh_bp = before.soh_bp if health_bp is None else health_bp
    if before.counted_mwh is None or before.soc_bp is None or elapsed_ms >= HOLE_MS:
        soc_bp, moved_mwh = before.soc_bp if told_bp is None else told_bp, 0
        counted_mwh = None if told_bp is None else _mwh(unit, told_bp, soh_bp)
    else:
        soc_bp = before.soc_bp if told_bp is None else told_bp
        told_mwh, flow_w = _mwh(unit, soc_bp, soh_bp), power_w or 0
        beside_mwh = before.counted_mwh - told_mwh
        below = beside_mwh < 0 or (beside_mwh == 0 and flow_w > 0)
        moved_mwh = _moved_mwh(unit, flow_w, elapsed_ms, below=below)
        counted_mwh = max(0, min(unit.capacity_wh * 1000, before.counted_mwh + moved_mwh))
        if told_bp is not None:
            change_mwh = told_mwh - _mwh(unit, before.soc_bp, before.soh_bp)
            reach_mwh = _reach_mwh(unit, change_mwh, flow_w, elapsed_ms)
            counted_mwh += max(-reach_mwh, min(reach_mwh, told_mwh - counted_mwh))
    cycled_mwh, full_utc_ms = before.cycled_mwh + abs(moved_mwh), before.full_utc_ms
    wanted_utc_ms = before.full_wanted_utc_ms
    if told is not None:
        wanted_utc_ms = (wanted_utc_ms or utc_ms) if told.full_charge_wanted else 0
    if told_bp is not None and told_bp >= FULL_BP:
        cycled_mwh, full_utc_ms, wanted_utc_ms = 0, utc_ms, 0
    return msgspec.structs.replace(
        before,
        soc_bp=soc_bp,
        soh_bp=soh_bp,
        counted_mwh=counted_mwh,
        cycled_mwh=cycled_mwh,
        full_utc_ms=full_utc_ms,
        full_wanted_utc_ms=wanted_utc_ms,
    )


def stored(site: Site, unit: Unit, remembered: Remembered, told: Battery | None) -> Stored:
    """Return the energy of the unit's bank: as told, and the worst on each side of told and counted with the error.

    Of several batteries on one DC side those whose contactor is open hold nothing that could be had.
    """
    soh_bp = NEW_BP if remembered.soh_bp is None else remembered.soh_bp
    capacity_wh = unit.capacity_wh * soh_bp // 10_000
    soc_bp = _soc_bp(told)
    if told is None or soc_bp is None:
        return Stored(capacity_wh=capacity_wh)
    product = unit.capacity_wh * soh_bp * soc_bp
    told_wh, most_wh = product // 100_000_000, -(-product // 100_000_000)
    off_wh = error_wh(site, unit, remembered)
    counted_mwh = remembered.counted_mwh
    least_wh = told_wh if counted_mwh is None else min(told_wh, counted_mwh // 1000)
    most_wh = most_wh if counted_mwh is None else max(most_wh, -(-counted_mwh // 1000))
    connected, packs = told.packs
    return Stored(
        capacity_wh=capacity_wh * connected // packs,
        energy_wh=told_wh * connected // packs,
        low_wh=(least_wh - off_wh) * connected // packs,
        high_wh=-(-(most_wh + off_wh) * connected // packs),
    )


def error_wh(site: Site, unit: Unit, remembered: Remembered) -> int:
    """Return how far the battery's own estimate may be off, in Wh, rounded up: it grows until the next full charge."""
    own_wh = -(-unit.capacity_wh * site.energy.soc_error_pct // 100)
    return min(own_wh + grown_wh(site, remembered.cycled_mwh), -(-unit.capacity_wh * ERROR_MAX_PCT // 100))


def astray(site: Site, unit: Unit, remembered: Remembered) -> str:
    """Return what speaks against the state of charge that was told last, "" where it agrees with our own count."""
    counted_mwh = remembered.counted_mwh
    if counted_mwh is None or remembered.soc_bp is None:
        return ""
    told_mwh = _mwh(unit, remembered.soc_bp, remembered.soh_bp)
    if abs(told_mwh - counted_mwh) <= unit.capacity_wh * BAND_PCT * 10:
        return ""
    told_pct, counted_pct = (mwh // (unit.capacity_wh * 10) for mwh in (told_mwh, counted_mwh))
    return f"it tells {told_pct} % of the capacity, by the power that flowed it is {counted_pct} %"


def _soc_bp(told: Battery | None) -> int | None:
    return told.soc_bp if told is not None and told.soc_bp is not None and 0 <= told.soc_bp <= 10_000 else None


def _soh_bp(told: Battery | None) -> int | None:
    if told is None or told.soh_bp is None or not SOH_BP[0] <= told.soh_bp <= SOH_BP[1]:
        return None
    return told.soh_bp


def _mwh(unit: Unit, soc_bp: int, soh_bp: int | None) -> int:
    return unit.capacity_wh * (NEW_BP if soh_bp is None else soh_bp) * soc_bp // 100_000


def _moved_mwh(unit: Unit, power_w: int, elapsed_ms: int, *, below: bool) -> int:
    """Return what went into the cells, rounded and at the efficiency to the worse of the side the count lies on."""
    if not below:
        return -(power_w * elapsed_ms // 3600)
    if power_w > 0:
        return -power_w * elapsed_ms * 100 // (3600 * unit.efficiency_pct)
    return -power_w * elapsed_ms * unit.efficiency_pct // 360_000


def _reach_mwh(unit: Unit, change_mwh: int, power_w: int, elapsed_ms: int) -> int:
    """Return how far the count may come toward what is told."""
    reach_mwh = 0
    if (change_mwh > 0) == (power_w < 0):
        part_pct = max(25, 2 * (100 - unit.efficiency_pct))
        reach_mwh = min(abs(change_mwh), unit.capacity_wh * JUMP_PCT * 10) * part_pct // 100
    if abs(power_w) * 100 <= unit.capacity_wh:
        reach_mwh += -(-unit.capacity_wh * elapsed_ms // 360_000)
    return reach_mwh
