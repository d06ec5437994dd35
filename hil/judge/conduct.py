"""Invariants of conduct: how set points move, what a silence, a lapse, a stop or a local switch must lead to."""

from hil.judge.bounds import EXPECTED_PCT, IDLE_W, METERING_PCT, Bounds, listed
from hil.judge.measures import Laid
from hil.judge.moment import Moment

JITTER_CYCLES = 2  # the target moves once a cycle, and a cycle may come late
TRAVEL_RATIO = 2  # the set points may travel twice what orders, load and limits travel
START_S = 600.0  # of the day's writes, that may be used at once: discovery and the first set points
DAY_S = 86_400.0
FORCED_PCT = 5  # of the nameplate: what a battery that demands it is charged with
RECOVERED_PCT = 1  # above the floor a unit's recovery ends


def ramp(bounds: Bounds) -> Laid:
    """Lay the site's ramp on the sum of the set points.

    A follower at the ramp's rate goes with them; how far they are ahead of it is the excess. Toward 0 W and as far as
    the POI limit demands it moves freely: a limit cut is never slowed.
    """
    rate_w_per_s = bounds.site.ramp.rate_w_per_s
    along_w: float | None = None

    def excess(moment: Moment, _place: int) -> float | None:
        nonlocal along_w
        if rate_w_per_s is None:
            return None
        command_w, before_w = moment.command_w, along_w
        if before_w is None:
            before_w = command_w
        most_w = rate_w_per_s * moment.dt_s
        high_w = max(max(0.0, before_w) + most_w, moment.poi_needs_w(1))
        low_w = min(min(0.0, before_w) - most_w, -moment.poi_needs_w(-1))
        along_w = max(low_w, min(command_w, high_w))
        return abs(command_w - along_w)

    ahead_w = (rate_w_per_s or 0) * JITTER_CYCLES * bounds.cycle_s
    says = "none is set" if rate_w_per_s is None else f"{rate_w_per_s} W/s"
    return Laid(excess=excess, allowed=(ahead_w + bounds.nameplate_w * METERING_PCT / 100,), says=says)


def order_expired(bounds: Bounds) -> Laid:
    """Lay that without an order the power is one that a local program could wish or the POI limit demands.

    A unit that is not reached goes on by itself; the others may make up for it and need not.
    """
    expiry_s = bounds.allowed.expiry_s
    if bounds.site.ramp.rate_w_per_s is not None:
        expiry_s += (bounds.charge_w + bounds.discharge_w) / bounds.site.ramp.rate_w_per_s
    near_w = bounds.nameplate_w * EXPECTED_PCT / 100

    def excess(moment: Moment, _place: int) -> float | None:
        if moment.wish_w is not None:
            return None
        own_w = lost_w = 0.0
        for unit, power_w, reached in zip(moment.truth.units, moment.own_w, moment.reached, strict=True):
            own_w += power_w if reached else 0.0
            lost_w += 0.0 if reached else unit.ac_w
        low_w, high_w = bounds.wishes_w(moment.net_load_w)
        low_w = min(low_w, -moment.poi_needs_w(-1), -sum(_replenished_w(bounds, moment))) - near_w - max(0.0, lost_w)
        high_w = max(high_w, moment.poi_needs_w(1)) + near_w - min(0.0, lost_w)
        return max(low_w - own_w, own_w - high_w)

    return Laid(excess=excess, allowed=(expiry_s,), says=f"but for {expiry_s:g} s")


def _replenished_w(bounds: Bounds, moment: Moment) -> list[float]:
    """Return what each unit is charged with at most whatever is ordered.

    Up to a reserve that is asked for, back to the floor, or because its battery demands it.
    """
    energy, kept_pct = bounds.site.energy, moment.limits.reserve_pct
    found = []
    for row, unit in zip(bounds.units, moment.truth.units, strict=True):
        sure_pct, power_w = 100 * unit.soc_told - energy.soc_error_pct, 0.0
        if kept_pct is not None and sure_pct < kept_pct:
            power_w = row.charge_w
        elif sure_pct < energy.floor_pct + RECOVERED_PCT:
            power_w = row.charge_w * energy.recovery_pct / 100
        if unit.force_charge:
            power_w = max(power_w, row.charge_w * FORCED_PCT / 100, row.unit.min_power_w)
        found.append(power_w)
    return found


def bms_silent(bounds: Bounds) -> Laid:
    """Lay that a unit rests while its battery cannot be heard."""

    def excess(moment: Moment, place: int) -> float | None:
        if not moment.deaf(moment.truth.units[place]) or not moment.reached[place]:
            return None
        return abs(moment.own_w[place]) - IDLE_W

    allowed_s = tuple(unit.stale_s + bounds.allowed.silence_s for unit in bounds.units)
    return Laid(excess=excess, allowed=allowed_s, says=f"no later than {_seconds(allowed_s)} s after it fell silent")


def inverter_silent(bounds: Bounds) -> Laid:
    """Lay that an inverter that cannot be told anything falls back by its own watchdog."""

    def excess(moment: Moment, place: int) -> float | None:
        return None if moment.reached[place] else abs(moment.truth.units[place].ac_w) - IDLE_W

    allowed_s = tuple(unit.watchdog_s + unit.settle_s for unit in bounds.units)
    return Laid(excess=excess, allowed=allowed_s, says=f"no later than {_seconds(allowed_s)} s after it was cut off")


def meter_silent(bounds: Bounds) -> Laid:
    """Lay that the batteries stay where no load and no generation of the site file could break a POI limit."""
    low_w, high_w = bounds.blind_low_w, bounds.blind_high_w

    def excess(moment: Moment, _place: int) -> float | None:
        if bounds.site.poi.meter not in moment.truth.cut:
            return None
        own_w = sum(power_w for power_w, reached in zip(moment.own_w, moment.reached, strict=True) if reached)
        return max(low_w - own_w, own_w - high_w) - IDLE_W

    allowed_s = bounds.meter_stale_s + bounds.allowed.silence_s
    says = f"{low_w:.0f} W to {high_w:+.0f} W no later than {allowed_s:g} s after it fell silent"
    return Laid(excess=excess, allowed=(allowed_s,), says=says)


def unit_stopped(bounds: Bounds) -> Laid:
    """Lay that a unit that is off, at fault or behind an open contactor is told to rest."""

    def excess(moment: Moment, place: int) -> float | None:
        unit = moment.truth.units[place]
        stopped = unit.state in ("off", "fault") or not unit.closed
        return abs(unit.command_w) - IDLE_W if stopped and moment.reached[place] else None

    allowed_s = tuple(unit.poll_s + bounds.allowed.reaction_s for unit in bounds.units)
    return Laid(excess=excess, allowed=allowed_s, says=f"no later than {_seconds(allowed_s)} s after it stopped")


def units_opposed(bounds: Bounds) -> Laid:
    """Lay that no unit charges another: whatever the sum, it can be met without, but for what a unit has to have."""

    def excess(moment: Moment, _place: int) -> float | None:
        if len(bounds.units) == 1:
            return None
        out_w = in_w = 0.0
        for power_w, reached, due_w in zip(moment.own_w, moment.reached, _replenished_w(bounds, moment), strict=True):
            if reached:
                out_w += max(0.0, power_w - IDLE_W)
                in_w += max(0.0, -power_w - IDLE_W - due_w)
        return min(out_w, in_w)

    return Laid(excess=excess, allowed=(bounds.allowed.reaction_s,), says=f"but for {bounds.allowed.reaction_s:g} s")


def local_control(bounds: Bounds) -> Laid:
    """Lay that nothing is written to an inverter that somebody holds in local control, once that could be seen."""
    count = len(bounds.units)
    since_s: list[float | None] = [None] * count
    before = [0] * count
    seen_s = tuple(unit.poll_s + bounds.allowed.reaction_s for unit in bounds.units)

    def excess(moment: Moment, place: int) -> float | None:
        unit, t_s = moment.truth.units[place], moment.truth.t_s
        begun_s = since_s[place]
        if not unit.local:
            since_s[place] = None
            return None
        if begun_s is None:
            begun_s = since_s[place] = t_s
        if t_s - begun_s <= seen_s[place]:
            before[place] = unit.writes
        return unit.writes - before[place]

    return Laid(excess=excess, allowed=(0.0,) * count, says=f"from {_seconds(seen_s)} s on")


def write_budget(bounds: Bounds) -> Laid:
    """Lay the wear of the inverters' memory: a budget of written registers a day, earned second by second."""
    first: list[tuple[float, int] | None] = [None] * len(bounds.units)

    def excess(moment: Moment, place: int) -> float:
        t_s, written = moment.truth.t_s, moment.truth.units[place].writes
        begun_s, before = first[place] = first[place] or (t_s, written)
        earned = bounds.units[place].daily_writes_max * (START_S + t_s - begun_s) / DAY_S
        return written - before - earned

    daily = listed(unit.daily_writes_max for unit in bounds.units)
    return Laid(excess=excess, allowed=(0.0,) * len(bounds.units), says=f"{daily} a day")


def travel(bounds: Bounds) -> Laid:
    """Lay the way of the set points: bounded by the way of what they answer to, and a little for each minute.

    What they answer to is the order, the load less generation, what the batteries permit, and each device that goes or
    comes; ripple within METERING_PCT of the nameplate is no way.
    """
    swing_w = bounds.charge_w + bounds.discharge_w
    rate_w_per_s = bounds.allowed.travel_w_per_s
    rate_w_per_s = bounds.nameplate_w / 60 if rate_w_per_s is None else rate_w_per_s
    band_w = bounds.nameplate_w * METERING_PCT / 100
    own, order, load, permitted, gone = _Way(0.0), _Way(band_w), _Way(band_w), _Way(band_w), _Way(0.0)
    begun_s: float | None = None

    def excess(moment: Moment, _place: int) -> float:
        nonlocal begun_s
        truth = moment.truth
        begun_s = truth.t_s if begun_s is None else begun_s
        permitted_w, gone_count = 0.0, len(truth.cut)
        for unit in truth.units:
            permitted_w += (unit.charge_max_a + unit.discharge_max_a) * unit.pack_v
            gone_count += (unit.state != "run") + (not unit.closed)
        answered_w = order.take(moment.wish_w or 0.0) + load.take(moment.net_load_w)
        answered_w += permitted.take(permitted_w) + gone.take(gone_count * swing_w)
        return own.take(moment.command_w) - TRAVEL_RATIO * answered_w - rate_w_per_s * (truth.t_s - begun_s)

    return Laid(excess=excess, allowed=(swing_w,), says=f"and {rate_w_per_s:.0f} W/s, after a swing of {swing_w:.0f} W")


class _Way:
    """The way of a value, that of its smallest path within a band on both sides."""

    def __init__(self, band_w: float) -> None:
        self._band_w, self._way_w = band_w, 0.0
        self._at_w: float | None = None

    def take(self, value_w: float) -> float:
        """Return the way up to this value."""
        at_w = value_w if self._at_w is None else self._at_w
        if value_w > at_w + self._band_w:
            self._way_w += value_w - self._band_w - at_w
            at_w = value_w - self._band_w
        elif value_w < at_w - self._band_w:
            self._way_w += at_w - self._band_w - value_w
            at_w = value_w + self._band_w
        self._at_w = at_w
        return self._way_w


def _seconds(allowed_s: tuple[float, ...]) -> str:
    words = [f"{seconds_s:g}" for seconds_s in allowed_s]
    return words[0] if len(set(words)) == 1 else ", ".join(words)
