"""The judge: what must be true of the plant at every moment, whatever the controller says of itself.

Laws:
- It sees the truth of the plant (the wires), what the utility asks, and the site file; never telemetry or the journal.
- It is pure: time is handed in with each sample, nothing is read and nothing is written.
- Two measures are enough. A peak: how far a value went beyond its bound. A lasting wrong: for how long without a break
  something was wrong, counted from its cause where it has one.
- An invariant that was never put to the test says so.

The controller keeps soc_error_pct of the capacity away from floor, reserve and ceiling because the battery's estimate
may be that wrong. So the true energy may not cross them at all while the estimate is no worse than that; where the
bench makes it worse than the site declares, the excess is allowed.
"""

import math
from collections.abc import Callable
from typing import Protocol

import msgspec

from controller.model import Default, Site

IDLE_W = 100  # an inverter commanded to 0 W measures within this
METERING_PCT = 1  # of the nameplate: what a meter of class 1 cannot tell apart
AMPERE_SLACK_A = 2.0  # the stand-by draw of the inverter, with the rounding of the frame that told the limit
ENERGY_SLACK_PCT = 0.1  # of the capacity
EXPECTED_PCT = 5  # of the nameplate: how close to a local program's wish the power must be


class Wired(Protocol):
    """Anything that gives the plant's true values by their slot's name."""

    def __getitem__(self, slot: str, /) -> float:
        """Return the value of one slot."""


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """The plant at one moment. Power is positive toward the grid, current positive out of the battery."""

    t_s: float
    inverter_w: float
    inverter_dc_w: float
    soc: float
    energy_wh: float
    capacity_wh: float
    pack_a: float
    charge_max_a: float
    discharge_max_a: float
    load_w: float
    pv_w: float
    poi_w: float
    bms_cable: float
    soc_bias: float


SLOTS = tuple(name for name in Truth.__struct_fields__ if name != "t_s")


def truth(t_s: float, wires: Wired) -> Truth:
    """Return the plant as the wires have it now. Not a number on a wire is a bug of the bench."""
    now = msgspec.convert({"t_s": t_s} | {slot: float(wires[slot]) for slot in SLOTS}, Truth)
    assert all(math.isfinite(value) for value in msgspec.structs.astuple(now)), f"not a number on a wire: {now}"
    return now


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One invariant at the end. worst and allowed are in `unit`; held is worst <= allowed."""

    invariant: str
    says: str
    held: bool
    tested: bool  # False: its case never came up
    worst: float
    allowed: float
    unit: str
    where: str


class Allowed(msgspec.Struct, frozen=True, kw_only=True):
    """How long the site may take to put things right."""

    poi_s: float = 2.0  # meter period + cycle + dead time + response (hil 4.2)
    current_s: float = 2.0
    silence_s: float = 2.0  # on top of the age at which the battery counts as silent
    expiry_s: float = 2.5  # cycle + settling


class _Sample(msgspec.Struct, frozen=True):
    truth: Truth
    asked_w: int | None
    dt_s: float


Excess = Callable[[_Sample], float]
Cause = Callable[[_Sample], bool]


class _Peak:
    """The farthest a value ever went beyond its bound. allowed(sample) is what is tolerated at that moment."""

    def __init__(self, name: tuple[str, str], unit: str, excess: Excess, allowed: Excess) -> None:
        self._name, self._unit, self._excess, self._allowed = name, unit, excess, allowed
        self._worst, self._allowed_there, self._at_s = float("-inf"), 0.0, 0.0

    def look(self, sample: _Sample) -> None:
        worst, allowed = self._excess(sample), self._allowed(sample)
        if worst - allowed > self._worst - self._allowed_there:
            self._worst, self._allowed_there, self._at_s = worst, allowed, sample.truth.t_s

    def verdict(self) -> Verdict:
        tested = self._worst > float("-inf")
        worst = self._worst if tested else 0.0
        where = "nothing was sampled"
        if tested:
            where = f"{abs(worst):.1f} {self._unit} {'beyond' if worst > 0 else 'to spare'} at {self._at_s:.1f} s"
        return Verdict(
            invariant=self._name[0],
            says=self._name[1],
            held=tested and worst <= self._allowed_there,
            tested=tested,
            worst=worst,
            allowed=self._allowed_there,
            unit=self._unit,
            where=where if worst else "none at all",
        )


class _Lasting:
    """The longest unbroken time of a wrong. With a cause, time counts from when the cause began."""

    def __init__(
        self, name: tuple[str, str], unit: str, allowed_s: float, excess: Excess, cause: Cause | None = None
    ) -> None:
        self._name, self._unit, self._allowed_s, self._excess, self._cause = name, unit, allowed_s, excess, cause
        self._since_s: float | None = None
        self._tested = cause is None
        self._worst_s, self._at_s, self._most = 0.0, 0.0, 0.0
        self.total_wh = 0.0

    def look(self, sample: _Sample) -> None:
        t_s, excess = sample.truth.t_s, self._excess(sample)
        caused = excess > 0 if self._cause is None else self._cause(sample)
        if not caused:
            self._since_s = None
            return
        self._tested = True
        if self._since_s is None:
            self._since_s = t_s
        if excess <= 0:
            return
        self.total_wh += excess * sample.dt_s / 3600
        self._most = max(self._most, excess)
        if t_s - self._since_s >= self._worst_s:
            self._worst_s, self._at_s = t_s - self._since_s, self._since_s

    def verdict(self) -> Verdict:
        where = "never"
        if not self._tested:
            where = "its case did not come up"
        elif self._most > 0:
            where = f"{self._worst_s:.1f} s from {self._at_s:.1f} s on, at most {self._most:.0f} {self._unit} beyond"
        return Verdict(
            invariant=self._name[0],
            says=self._name[1],
            held=self._worst_s <= self._allowed_s,
            tested=self._tested,
            worst=self._worst_s,
            allowed=self._allowed_s,
            unit="s",
            where=where,
        )


class _Bounds:
    """The site file in the judge's own arithmetic."""

    def __init__(self, site: Site) -> None:
        energy = site.energy
        self.capacity_wh = sum(unit.capacity_wh for unit in site.unit)
        self.floor_wh = self.capacity_wh * energy.floor_pct / 100
        self.reserve_wh = self.capacity_wh * energy.reserve_pct / 100
        self.ceiling_wh = self.capacity_wh * energy.ceiling_pct / 100
        self.error_wh = self.capacity_wh * energy.soc_error_pct / 100
        self.charge_w = sum(unit.charge_max_w for unit in site.unit)
        self.discharge_w = sum(unit.discharge_max_w for unit in site.unit)
        self.near_w = max(self.charge_w, self.discharge_w) * EXPECTED_PCT / 100
        batteries = {unit.battery for unit in site.unit}
        stale = [device.stale_after_ms for device in site.device if device.name in batteries]
        self.stale_s = max((ms for ms in stale if ms is not None), default=3500) / 1000
        windows = [Default(program=window.program) for window in site.window]
        self.local = (site.utility.default, Default(program=site.program), *windows)

    def energy_allowed(self, sample: _Sample) -> float:
        """Return how many Wh the truth may cross a bound: slack, and what the estimate errs more than declared."""
        off_wh = abs(sample.truth.soc_bias) * self.capacity_wh
        return self.capacity_wh * ENERGY_SLACK_PCT / 100 + max(0.0, off_wh - self.error_wh)

    def unordered_w(self, sample: _Sample) -> float:
        """Return how far the power is from all that the local programs could wish, in W; 0 while an order stands."""
        if sample.asked_w is not None:
            return 0.0
        wishes = [0.0]
        for program in self.local:
            if program.power_w is not None:
                wishes.append(float(program.power_w))
            elif program.program == "self_consumption":
                wishes.append(sample.truth.load_w - sample.truth.pv_w)
        return _outside(sample.truth.inverter_w, min(wishes) - self.near_w, max(wishes) + self.near_w)


def _outside(value: float, low: float, high: float) -> float:
    return max(low - value, value - high, 0.0)


class Judge:
    """Watches the plant against the site file. Feed it 10 to 20 samples a second, in order."""

    def __init__(self, site: Site, allowed: Allowed | None = None) -> None:
        bounds = _Bounds(site)
        self._reserve_used_wh = 0.0
        self._reserve_wh = bounds.reserve_wh
        self._last_s: float | None = None
        grants = allowed or Allowed()
        self._export, self._import = _poi(site, grants)
        self._checks: tuple[_Peak | _Lasting, ...] = (
            *_energy(bounds, lambda: self._reserve_used_wh),
            self._export,
            self._import,
            *_equipment(bounds, grants),
            *_silence(bounds, grants),
        )

    def sample(self, t_s: float, wires: Wired, asked_w: int | None) -> Truth:
        """Judge one moment. t_s never decreases; asked_w is the utility's order in force, None where there is none."""
        now = truth(t_s, wires)
        dt_s = 0.0 if self._last_s is None else t_s - self._last_s
        assert dt_s >= 0, "samples come in order"
        self._last_s = t_s
        if now.energy_wh < self._reserve_wh and now.inverter_w > IDLE_W and asked_w is not None and asked_w > 0:
            self._reserve_used_wh += max(0.0, now.inverter_dc_w) * dt_s / 3600
        sample = _Sample(now, asked_w, dt_s)
        for check in self._checks:
            check.look(sample)
        return now

    def verdicts(self) -> tuple[Verdict, ...]:
        """Return all invariants as they stand, in the order of the law's classes."""
        return tuple(check.verdict() for check in self._checks)

    def excursion_wh(self) -> float:
        """Return the energy in Wh that went beyond the POI limits, both ways together."""
        return self._export.total_wh + self._import.total_wh


def _energy(bounds: _Bounds, reserve_used_wh: Callable[[], float]) -> tuple[_Peak, ...]:
    kept = f"the estimate may be {bounds.error_wh:.0f} Wh off as the site declares; the truth may not cross"
    return (
        _Peak(
            ("energy_floor", f"stored energy never below {bounds.floor_wh:.0f} Wh ({kept})"),
            "Wh",
            lambda s: bounds.floor_wh - s.truth.energy_wh,
            bounds.energy_allowed,
        ),
        _Peak(
            ("energy_ceiling", f"stored energy never above {bounds.ceiling_wh:.0f} Wh ({kept})"),
            "Wh",
            lambda s: s.truth.energy_wh - bounds.ceiling_wh,
            bounds.energy_allowed,
        ),
        _Peak(
            ("customer_reserve", f"nothing below the customer's {bounds.reserve_wh:.0f} Wh is spent on utility orders"),
            "Wh",
            lambda _: reserve_used_wh(),
            bounds.energy_allowed,
        ),
    )


def _poi(site: Site, allowed: Allowed) -> tuple[_Lasting, _Lasting]:
    export_w, import_w = site.poi.export_max_w, site.poi.import_max_w
    within = f"for longer than {allowed.poi_s:g} s"
    return (
        _Lasting(
            ("poi_export", f"never more than {export_w} W into the grid {within}"),
            "W",
            allowed.poi_s,
            lambda s: s.truth.poi_w - export_w,
        ),
        _Lasting(
            ("poi_import", f"never more than {import_w} W from the grid {within}"),
            "W",
            allowed.poi_s,
            lambda s: -s.truth.poi_w - import_w,
        ),
    )


def _equipment(bounds: _Bounds, allowed: Allowed) -> tuple[_Peak | _Lasting, ...]:
    slack_w = max(bounds.charge_w, bounds.discharge_w) * METERING_PCT / 100
    return (
        _Peak(
            ("nameplate", f"power within -{bounds.charge_w} W and +{bounds.discharge_w} W"),
            "W",
            lambda s: max(s.truth.inverter_w - bounds.discharge_w, -s.truth.inverter_w - bounds.charge_w),
            lambda _: slack_w,
        ),
        _Lasting(
            ("bms_charge_current", f"never above what the BMS lets in for longer than {allowed.current_s:g} s"),
            "A",
            allowed.current_s,
            lambda s: -s.truth.pack_a - s.truth.charge_max_a - AMPERE_SLACK_A,
        ),
        _Lasting(
            ("bms_discharge_current", f"never above what the BMS lets out for longer than {allowed.current_s:g} s"),
            "A",
            allowed.current_s,
            lambda s: s.truth.pack_a - s.truth.discharge_max_a - AMPERE_SLACK_A,
        ),
    )


def _silence(bounds: _Bounds, allowed: Allowed) -> tuple[_Lasting, ...]:
    stop_s = bounds.stale_s + allowed.silence_s
    return (
        _Lasting(
            ("bms_silent", f"at 0 W no later than {stop_s:g} s after the BMS fell silent, until it is back"),
            "W",
            stop_s,
            lambda s: abs(s.truth.inverter_w) - IDLE_W,
            cause=lambda s: s.truth.bms_cable < 0.5,
        ),
        _Lasting(
            ("order_expired", f"no lapsed utility order is followed for longer than {allowed.expiry_s:g} s"),
            "W",
            allowed.expiry_s,
            bounds.unordered_w,
        ),
    )
