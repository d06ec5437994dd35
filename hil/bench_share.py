"""What sharing a target over the units costs, beside frequenz-sdk on the same problems: rows for `make bench`.

frequenz-sdk (MIT) is in the extra "bench"; where it is not installed its rows say so. Its sign is the other one:
positive charges. Both get the same bounds, and shares by the energy that can be used in the direction.
"""

import importlib
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, NamedTuple

from controller.engine.commit import Candidate, commit
from controller.engine.share import share
from controller.model import Commitment, Device, Poi, Site, Unit

SEED = 11
BARS_US = {10: 20.0, 100: None, 1_000: 500.0, 10_000: 3_000.0}
OURS_ROUNDS, THEIRS_ROUNDS = 40, 3  # the best counts: the machine is shared
ROUND_S = 0.005  # about so long, or one turn
ALGORITHM = "frequenz.sdk.microgrid._power_distributing._distribution_algorithm"
READINGS = "frequenz.sdk.microgrid._old_component_data"
FLOOR_PCT = 10
FLOAT_W = 1e-3  # less is rounding, not a breach

Row = tuple[str, str, str, bool | None]
"""What, measured, bar, and whether it is held; None where there is no bar."""


class One(NamedTuple):
    """One unit of a problem. It gives nothing, or at least min_w."""

    capacity_wh: int
    soc_pct: int
    low_w: int
    high_w: int
    min_w: int

    @property
    def usable_wh(self) -> int:
        """What can be discharged."""
        return self.capacity_wh * (self.soc_pct - FLOOR_PCT) // 100


class Outcome(NamedTuple):
    """What came out of one way of sharing."""

    off_w: float
    breach_count: int
    circulating_w: float

    def told(self) -> str:
        """Return it as text."""
        return f"sum off {self.off_w:.3g} W, {self.breach_count} out of bounds, {self.circulating_w:.3g} W circulate"

    def clean(self) -> bool:
        """Tell whether nothing is wrong with it, to the watt and beyond."""
        return self.off_w == 0 and self.breach_count == 0 and self.circulating_w == 0


def share_figures() -> list[Row]:
    """Return the figures of the share, beside those of frequenz-sdk where that is installed."""
    theirs = _Theirs.found()
    rows: list[Row] = []
    for count, bar_us in BARS_US.items():
        units, target_w = _problem(count)
        rows += [
            _ours(units, target_w, bar_us),
            _beside(theirs, f"the same {count:,} units", units, target_w, told=False),
        ]
    dead_zones = (
        ("5 kW over three inverters that give 10 kW at least", [One(20_000, 50, -30_000, 30_000, 10_000)] * 3, 5_000),
        ("1.5 kW of charge over three that take 1 kW at least", [One(10_000, 50, -5_000, 5_000, 1_000)] * 3, -1_500),
    )
    for what, alike, target_w in dead_zones:
        rows += [_committed(what, alike, target_w), _beside(theirs, what, alike, target_w, told=True)]
    return rows


def _problem(count: int) -> tuple[list[One], int]:
    """Return so many unlike units and a discharge at which some of them are at their limit."""
    chance = random.Random(SEED + count)
    units = [
        One(
            capacity_wh=chance.randrange(5_000, 50_000),
            soc_pct=chance.randrange(20, 90),
            low_w=-chance.randrange(2_000, 10_000),
            high_w=chance.randrange(2_000, 10_000),
            min_w=0,
        )
        for _ in range(count)
    ]
    return units, sum(unit.high_w for unit in units) * 6 // 10


def _ours(units: Sequence[One], target_w: int, bar_us: float | None) -> Row:
    lows_w, highs_w = [unit.low_w for unit in units], [unit.high_w for unit in units]
    weights = [unit.usable_wh for unit in units]
    powers_w = share(target_w, lows_w, highs_w, weights)
    outcome = _judge(units, target_w, powers_w)
    us = _best_us(lambda: share(target_w, lows_w, highs_w, weights), OURS_ROUNDS)
    bar = "" if bar_us is None else f"{bar_us:g} us, exact"
    held = None if bar_us is None else us <= bar_us and outcome.clean()
    return f"share over {len(units):,} units", f"{us:.1f} us, {outcome.told()}", bar, held


def _committed(what: str, units: Sequence[One], target_w: int) -> Row:
    """Commit and share where there are dead zones."""
    site = _site(len(units))
    candidates = [
        Candidate(
            low_w=unit.low_w,
            high_w=unit.high_w,
            min_w=unit.min_w,
            weight=unit.usable_wh,
            committed=False,
            committed_ms=0,
        )
        for unit in units
    ]
    whole_w = (sum(unit.low_w for unit in units), sum(unit.high_w for unit in units))

    def run() -> list[int]:
        plan = commit(site, candidates, target_w, whole_w, 0)
        return share(plan.target_w, plan.lows_w, plan.highs_w, [unit.usable_wh for unit in units])

    plan = commit(site, candidates, target_w, whole_w, 0)
    powers_w = run()
    outcome = _judge(units, plan.target_w, powers_w)
    why = f" ({plan.because})" if plan.because else ""
    measured = f"{_best_us(run, OURS_ROUNDS):.1f} us, {_told(powers_w)}{why}, {outcome.told()}"
    return what, measured, "0 W circulate", outcome.clean()


def _beside(theirs: "_Theirs | None", what: str, units: Sequence[One], target_w: int, told: bool) -> Row:
    """Share the same with frequenz-sdk; told: the powers as well."""
    if theirs is None:
        return f"  frequenz-sdk, {what}", "not installed (extra bench)", "", None
    pairs = theirs.pairs(units)
    powers_w = theirs.share(pairs, target_w)
    us = _best_us(lambda: theirs.share(pairs, target_w), THEIRS_ROUNDS)
    shown = f"{_told(powers_w)}, " if told else ""
    outcome = _judge(units, target_w, powers_w)
    return f"  frequenz-sdk {theirs.version}, {what}", f"{us:.1f} us, {shown}{outcome.told()}", "", None


def _judge(units: Sequence[One], target_w: int, powers_w: Sequence[float]) -> Outcome:
    """Count what is wrong: against the sum, against bounds and dead zones, from one unit into another."""
    breaches = 0
    for unit, power_w in zip(units, powers_w, strict=True):
        beyond = power_w < unit.low_w - FLOAT_W or power_w > unit.high_w + FLOAT_W
        breaches += beyond or FLOAT_W < abs(power_w) < unit.min_w - FLOAT_W
    given_w = sum(power_w for power_w in powers_w if power_w > 0)
    taken_w = -sum(power_w for power_w in powers_w if power_w < 0)
    return Outcome(abs(sum(powers_w) - target_w), breaches, min(given_w, taken_w))


def _told(powers_w: Sequence[float]) -> str:
    return "/".join(f"{power_w:.0f}" for power_w in powers_w) + " W"


def _best_us(work: Callable[[], object], turns: int) -> float:
    begun_s = time.perf_counter()
    work()
    calls = max(1, int(ROUND_S / (time.perf_counter() - begun_s)))
    best_s = float("inf")
    for _ in range(turns):
        begun_s = time.perf_counter()
        for _ in range(calls):
            work()
        best_s = min(best_s, time.perf_counter() - begun_s)
    return best_s / calls * 1e6


def _site(count: int) -> Site:
    """Return a site with so many units; only its commitment is read."""
    unit = Unit(name="unit", inverter="i", battery="b", charge_max_w=0, discharge_max_w=0, capacity_wh=100)
    return Site(
        name="bench",
        poi=Poi(meter="meter", import_max_w=0, export_max_w=0, load_max_w=0),
        unit=(unit,) * count,
        device=(Device(name="meter", profile="", url=""),),
        commitment=Commitment(rest_units=True),
    )


class _Theirs:
    """frequenz-sdk's BatteryDistributionAlgorithm, called with our units."""

    def __init__(self, algorithm: Any, readings: Any, number: Callable[[int], Any], version: str) -> None:
        self.version = version
        self._algorithm, self._readings, self._number = algorithm, readings, number
        self._distribution = algorithm.BatteryDistributionAlgorithm()
        self._power = importlib.import_module("frequenz.quantities").Power

    @classmethod
    def found(cls) -> "_Theirs | None":
        """Return it, None where it is not installed."""
        try:
            algorithm, readings = importlib.import_module(ALGORITHM), importlib.import_module(READINGS)
            number = importlib.import_module("frequenz.client.common.microgrid.components").ComponentId
            return cls(algorithm, readings, number, metadata.version("frequenz-sdk"))
        except ImportError:
            return None

    def pairs(self, units: Sequence[One]) -> list[Any]:
        """Return the units in its words, in which positive charges."""
        at = datetime(2026, 1, 1, tzinfo=UTC)
        pairs = []
        for place, unit in enumerate(units):
            battery = self._readings.BatteryData(
                component_id=self._number(2 * place),
                timestamp=at,
                soc=float(unit.soc_pct),
                soc_lower_bound=float(FLOOR_PCT),
                soc_upper_bound=100.0,
                capacity=float(unit.capacity_wh),
                power_inclusion_lower_bound=-float(unit.high_w),
                power_exclusion_lower_bound=-float(unit.min_w),
                power_exclusion_upper_bound=float(unit.min_w),
                power_inclusion_upper_bound=-float(unit.low_w),
            )
            inverter = self._readings.InverterData(
                component_id=self._number(2 * place + 1),
                timestamp=at,
                active_power_inclusion_lower_bound=-float(unit.high_w),
                active_power_exclusion_lower_bound=-float(unit.min_w),
                active_power_exclusion_upper_bound=float(unit.min_w),
                active_power_inclusion_upper_bound=-float(unit.low_w),
            )
            whole = self._algorithm.AggregatedBatteryData([battery])
            pairs.append(self._algorithm.InvBatPair(whole, [inverter]))
        return pairs

    def share(self, pairs: list[Any], target_w: int) -> list[float]:
        """Return its shares in our sign and order."""
        result = self._distribution.distribute_power(self._power.from_watts(-float(target_w)), pairs)
        return [-result.distribution[pair.inverter[0].component_id].as_watts() for pair in pairs]
