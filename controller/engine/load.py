"""What the load behind the POI meter is, how fast it moves, and how far our move in flight may blur it (control 2.5).

A load that moves goes on moving until the next command has taken effect: a limit that only knows the last sample is
exceeded by that much for as long as a ramp lasts (measured: 270 W at 750 W/s of PV and a margin of 100 W). So the end
of the interval in whose direction the load moves goes ahead by its trend; the other end stays, and so nothing widens.
It is a precaution and forces nothing: it goes no farther than where the limits at the POI leave the batteries 0 W, for
what it would demand beyond would outrank floor and ceiling without being needed yet.
"""

import msgspec

from controller.model import Inverter, Meter, Site, Snapshot, State
from controller.programs.self_consumption import next_balance_w
from controller.rules.at_poi import by_phase

BEYOND_ALL = 2  # times the largest load or generation of the site file: no site but a wrong number is so large
AGED_SETTLES = 3  # while our moves never rest, the estimate is renewed after this many settling times

PHASES_W = 500  # and PHASES_PCT of the power: the phases' sum may be off by as much, for they are told one by one
PHASES_PCT = 10

NOISE_W = 50  # between two samples, and at least NOISE_PER_MILLE of the nameplate: less is no direction
NOISE_PER_MILLE = 5
SLOW_W_PER_S = 100  # and at least SLOW_PCT of the nameplate a second: up to here margin_w is enough
SLOW_PCT = 1
GROWTH = 4  # from sample to sample: a step makes no trend, and one that two samples share no more than this of a mark

Phases = tuple[int, int, int]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """The intervals that limits use, and what the state keeps. sampled_ms: the meter's sample of net_load_w."""

    low_w: int | None = None
    high_w: int | None = None
    net_load_w: int | None
    sampled_ms: int
    balance_w: int | None
    trend_w_per_s: int = 0
    phase_low_w: Phases | None = None
    phase_high_w: Phases | None = None


def implausible(site: Site, snapshot: Snapshot, meter: Meter) -> str:
    """Return what is wrong with a load that no site could have, "" for one that may be.

    What the units can do is added at both ends: while a move is in flight the estimate may be off by as much.
    """
    if meter.phase_w is not None:
        sum_w = sum(meter.phase_w)
        if abs(sum_w - meter.power_w) > max(PHASES_W, abs(meter.power_w) * PHASES_PCT // 100):
            return f"{meter.power_w:+d} W together, but its phases are {sum_w:+d} W"
    if snapshot.poi_battery_w is None:
        return ""
    load_w = snapshot.poi_battery_w - meter.power_w
    low_w, high_w = _admitted_w(site)
    if low_w <= load_w <= high_w:
        return ""
    return f"{meter.power_w:+d} W would be a load of {load_w} W, which is not within {low_w} to {high_w} W"


def estimate(site: Site, state: State, snapshot: Snapshot, meter: Meter | None) -> Load:
    """Return the load less generation behind the meter.

    A sample taken while our own move was in flight is not believed as long as the meter itself stands within its
    limits; beyond them the worse of it and of the last undisturbed sample is taken, so that a limit is kept at once.
    A move is in flight until meter and inverters were sampled after it: an inverter that pauses does not show it yet.
    A sample in flight adds nothing to the trend either; the trend then acts as far as that sample shows it.
    """
    known_w, known_ms = state.net_load_w, state.net_load_sampled_ms
    doubted = snapshot.now_ms < state.trust.until_ms
    if meter is None or snapshot.poi_battery_w is None or doubted or implausible(site, snapshot, meter):
        return Load(net_load_w=known_w, sampled_ms=known_ms, balance_w=state.balance_w)
    load_w = snapshot.poi_battery_w - meter.power_w
    settle_ms = max(unit.settle_ms or 0 for unit in site.unit)
    inverters = {unit.inverter for unit in site.unit}
    seen_ms = min([meter.sampled_ms, *(r.sampled_ms for r in snapshot.readings if r.device in inverters)])
    in_flight = seen_ms < state.moved_ms + settle_ms
    if known_w is None or not in_flight or seen_ms - known_ms > AGED_SETTLES * settle_ms:
        found = _undisturbed(site, state, meter, load_w)
        going_w_per_s, blur_w = found.trend_w_per_s, 0
    else:
        found = _in_flight(site, state, meter, load_w)
        going_w_per_s = _shown_w_per_s(state.trend_w_per_s, load_w - known_w, meter.sampled_ms - known_ms)
        blur_w = abs(load_w - known_w)
    ahead_ms = max(0, snapshot.now_ms - found.sampled_ms) + site.cycle_ms + settle_ms
    if meter.phase_w is not None:
        found = _with_phases(site, snapshot, meter.phase_w, found, blur_w)
    return _ahead(site, state, found, going_w_per_s, ahead_ms)


def next_trend_w_per_s(before_w_per_s: int, moved_w: int, elapsed_ms: int, nameplate_w: int) -> int:
    """Return how fast the load moves after a fresh sample that no move of ours disturbed, from the trend before it.

    The first sample in a direction leaves no more than a mark of SLOW_W_PER_S, which does nothing yet; from the second
    on the trend may grow by GROWTH up to what the samples show. One that stands still or turns back ends it.
    """
    if abs(moved_w) <= max(NOISE_W, nameplate_w * NOISE_PER_MILLE // 1000):
        return 0
    slow_w_per_s = _slow_w_per_s(nameplate_w)
    along_w_per_s = before_w_per_s if moved_w > 0 else -before_w_per_s
    most_w_per_s = slow_w_per_s if along_w_per_s < slow_w_per_s else GROWTH * along_w_per_s
    trend_w_per_s = min(abs(moved_w) * 1000 // elapsed_ms, most_w_per_s)
    return trend_w_per_s if moved_w > 0 else -trend_w_per_s


def _undisturbed(site: Site, state: State, meter: Meter, load_w: int) -> Load:
    """Return the estimate of a sample that is believed. Balance and trend act once on each sample of the meter."""
    balance_w, trend_w_per_s = state.balance_w, state.trend_w_per_s
    elapsed_ms = meter.sampled_ms - state.net_load_sampled_ms
    nameplate_w = _nameplate_w(site)
    if elapsed_ms > 0 or balance_w is None:
        balance_w = next_balance_w(balance_w, load_w, nameplate_w)
    if state.net_load_w is None:
        trend_w_per_s = 0
    elif elapsed_ms > 0:
        trend_w_per_s = next_trend_w_per_s(trend_w_per_s, load_w - state.net_load_w, elapsed_ms, nameplate_w)
    return Load(
        low_w=load_w,
        high_w=load_w,
        net_load_w=load_w,
        sampled_ms=meter.sampled_ms,
        balance_w=balance_w,
        trend_w_per_s=trend_w_per_s,
    )


def _in_flight(site: Site, state: State, meter: Meter, load_w: int) -> Load:
    """Return the estimate of a sample that our own move may have disturbed."""
    known_w = low_w = high_w = state.net_load_w
    assert known_w is not None
    if not -site.poi.import_max_w <= meter.power_w <= site.poi.export_max_w:
        low_w, high_w = min(known_w, load_w), max(known_w, load_w)
        known_w = load_w  # or the next sample, back within the limits, would bring the old load and the old power back
    return Load(
        low_w=low_w,
        high_w=high_w,
        net_load_w=known_w,
        sampled_ms=state.net_load_sampled_ms,
        balance_w=state.balance_w,
        trend_w_per_s=state.trend_w_per_s,
    )


def _shown_w_per_s(trend_w_per_s: int, moved_w: int, elapsed_ms: int) -> int:
    """Return what a later sample shows of the trend: no more than all of it, and nothing of another direction."""
    if elapsed_ms <= 0:
        return trend_w_per_s
    along_w = max(0, moved_w if trend_w_per_s > 0 else -moved_w)
    shown_w_per_s = min(abs(trend_w_per_s), along_w * 1000 // elapsed_ms)
    return shown_w_per_s if trend_w_per_s > 0 else -shown_w_per_s


def _ahead(site: Site, state: State, found: Load, going_w_per_s: int, ahead_ms: int) -> Load:
    """Return the estimate for when the next move takes effect, as far as the site file admits and nothing is forced."""
    assert found.low_w is not None and found.high_w is not None
    if abs(going_w_per_s) <= _slow_w_per_s(_nameplate_w(site)):
        return found
    poi, ahead_w = site.poi, abs(going_w_per_s) * ahead_ms // 1000
    if going_w_per_s < 0:
        last_w = max(-poi.generation_max_w, poi.margin_w - _export_w(site, state))
        return msgspec.structs.replace(found, low_w=max(found.low_w - ahead_w, min(found.low_w, last_w)))
    last_w = min(poi.load_max_w, _import_w(site, state) - poi.margin_w)
    return msgspec.structs.replace(found, high_w=min(found.high_w + ahead_w, max(found.high_w, last_w)))


def _export_w(site: Site, state: State) -> int:
    """Return the least that any limit at the POI may leave to export, whether its contact is active or not."""
    contacts_w = [one.limit_w or 0 for one in site.input if one.means == "export_limit"]
    operated_w = [] if state.operated is None else [state.operated.high_w]
    return min([site.poi.export_max_w, *operated_w, *contacts_w])


def _import_w(site: Site, state: State) -> int:
    contacts_w = [one.limit_w or 0 for one in site.input if one.means == "import_limit"]
    operated_w = [] if state.operated is None else [-state.operated.low_w]
    return min([site.poi.import_max_w, *operated_w, *contacts_w])


def _with_phases(site: Site, snapshot: Snapshot, phase_w: Phases, found: Load, blur_w: int) -> Load:
    """Return the estimate with the loads by phase: the batteries' power on each less what the meter shows there.

    What poi_battery_w, which is of the meter's own time, and the inverters' latest samples differ by is shared evenly
    by the phases that units are on. There is no memory of the phases' loads: while our own move is in flight the sample
    counts, widened by a third of what it may be blurred by, or by all of it where a unit is not on all phases. The
    trend is of the whole: on which phase the load moves is not known.
    """
    even = all(unit.phases == "abc" for unit in site.unit)
    off_w = -(-blur_w // 3) if even else blur_w
    loads_w = [own_w - shown_w for own_w, shown_w in zip(_batteries_w(site, snapshot), phase_w, strict=True)]
    low_w, high_w = _admitted_w(site)
    if not all(low_w <= load_w <= high_w for load_w in loads_w):
        return found
    a_w, b_w, c_w = loads_w
    return msgspec.structs.replace(
        found,
        phase_low_w=(a_w - off_w, b_w - off_w, c_w - off_w),
        phase_high_w=(a_w + off_w, b_w + off_w, c_w + off_w),
    )


def _batteries_w(site: Site, snapshot: Snapshot) -> list[int]:
    """Return the batteries' power on the phases a, b, c at the time of the meter's sample; their sum is exact."""
    phases = {unit.inverter: unit.phases for unit in site.unit}
    together_w = dict.fromkeys(phases.values(), 0)
    for reading in snapshot.readings:
        if isinstance(reading, Inverter) and reading.device in phases:
            together_w[phases[reading.device]] += reading.power_w or 0
    powers_w = [sum(on_one) for on_one in zip(*(by_phase(*one) for one in together_w.items()), strict=True)]
    connected = [place for place, phase in enumerate("abc") if any(phase in one for one in together_w)]
    each_w, rest_w = divmod((snapshot.poi_battery_w or 0) - sum(powers_w), len(connected))
    for order, place in enumerate(connected):
        powers_w[place] += each_w + (order < rest_w)
    return powers_w


def _admitted_w(site: Site) -> tuple[int, int]:
    swing_w = sum(unit.charge_max_w + unit.discharge_max_w for unit in site.unit)
    return -BEYOND_ALL * site.poi.generation_max_w - swing_w, BEYOND_ALL * site.poi.load_max_w + swing_w


def _nameplate_w(site: Site) -> int:
    return sum(max(unit.charge_max_w, unit.discharge_max_w) for unit in site.unit)


def _slow_w_per_s(nameplate_w: int) -> int:
    return max(SLOW_W_PER_S, nameplate_w * SLOW_PCT // 100)
