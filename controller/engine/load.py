"""What the load behind the POI meter is, and how far our own move in flight may blur it (control 2.5)."""

import msgspec

from controller.model import Meter, Site, Snapshot, State
from controller.programs.self_consumption import next_balance_w

BEYOND_ALL = 2  # times the largest load or generation of the site file: no site but a wrong number is so large
AGED_SETTLES = 3  # while our moves never rest, the estimate is renewed after this many settling times


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """The interval that limits use, and what the state keeps."""

    low_w: int | None
    high_w: int | None
    net_load_w: int | None
    sampled_ms: int
    balance_w: int | None


def implausible(site: Site, snapshot: Snapshot, meter: Meter) -> str:
    """Return what is wrong with a load that no site could have, "" for one that may be.

    What the units can do is added at both ends: while a move is in flight the estimate may be off by as much.
    """
    if snapshot.poi_battery_w is None:
        return ""
    load_w = snapshot.poi_battery_w - meter.power_w
    swing_w = sum(unit.charge_max_w + unit.discharge_max_w for unit in site.unit)
    low_w, high_w = -BEYOND_ALL * site.poi.generation_max_w - swing_w, BEYOND_ALL * site.poi.load_max_w + swing_w
    if low_w <= load_w <= high_w:
        return ""
    return f"{meter.power_w:+d} W would be a load of {load_w} W, which is not within {low_w} to {high_w} W"


def estimate(site: Site, state: State, snapshot: Snapshot, meter: Meter | None) -> Load:
    """Return the load less generation behind the meter.

    A sample taken while our own move was in flight is not believed as long as the meter itself stands within its
    limits; beyond them the worse of it and of the last undisturbed sample is taken, so that a limit is kept at once.
    A move is in flight until meter and inverters were sampled after it: an inverter that pauses does not show it yet.
    """
    doubted = snapshot.now_ms < state.trust.until_ms
    if meter is None or snapshot.poi_battery_w is None or doubted or implausible(site, snapshot, meter):
        return Load(
            low_w=None,
            high_w=None,
            net_load_w=state.net_load_w,
            sampled_ms=state.net_load_sampled_ms,
            balance_w=state.balance_w,
        )
    load_w = snapshot.poi_battery_w - meter.power_w
    settle_ms = max(unit.settle_ms or 0 for unit in site.unit)
    known_w, known_ms = state.net_load_w, state.net_load_sampled_ms
    inverters = {unit.inverter for unit in site.unit}
    seen_ms = min([meter.sampled_ms, *(r.sampled_ms for r in snapshot.readings if r.device in inverters)])
    in_flight = seen_ms < state.moved_ms + settle_ms
    if known_w is None or not in_flight or seen_ms - known_ms > AGED_SETTLES * settle_ms:
        balance_w = state.balance_w
        if seen_ms > known_ms or balance_w is None:
            nameplate_w = sum(max(unit.charge_max_w, unit.discharge_max_w) for unit in site.unit)
            balance_w = next_balance_w(balance_w, load_w, nameplate_w)
        return Load(low_w=load_w, high_w=load_w, net_load_w=load_w, sampled_ms=seen_ms, balance_w=balance_w)
    low_w = high_w = known_w
    if not -site.poi.import_max_w <= meter.power_w <= site.poi.export_max_w:
        low_w, high_w = min(known_w, load_w), max(known_w, load_w)
        known_w = load_w  # or the next sample, back within the limits, would bring the old load and the old power back
    return Load(low_w=low_w, high_w=high_w, net_load_w=known_w, sampled_ms=known_ms, balance_w=state.balance_w)
