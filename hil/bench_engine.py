"""What a decision costs: the fold, and one step of sites of ten and of a hundred units that follow a set point.

The POI meter tells five times a second and each time a decision is made; of the units every fifth has told something
new by then, as where each is asked once a second. The rows beside it are of a site whose every device tells at once.
"""

import gc
import time
from collections.abc import Callable

import msgspec

from controller.app.sitefile import load
from controller.engine import Envelope, fold, step
from controller.model import AnyReading, Battery, Decision, Inverter, Limit, Meter, Order, Site, Snapshot, State
from hil.stage import DEMO_SITE

ASKED_W = 4000  # of each unit
TURN_MS = 200
STEPS = 1500
WARM_UP = 30  # steps, until the units stand where they are asked to


def fold_us(count: int, turns: int = 5000) -> list[float]:
    """Return what folding so many limits takes, in us; each narrows one end or both."""
    rows = [
        Limit(rule=f"r{n}", priority=n, low_w=-10_000 + 100 * n, high_w=10_000 - 150 * n, because="bench")
        for n in range(count)
    ]
    return [_timed_us(lambda: fold(Envelope(-10_000, 10_000), rows)) for _ in range(turns)]


def step_us(count: int, turns: int | None) -> list[float]:
    """Return what steps take, in us, where the units' devices tell in so many turns of the meter; None = once."""
    site, stream = _site(count), _Stream(count, turns)
    state, times = State(), []
    gc.collect()
    gc.freeze()  # as the product does
    for number in range(STEPS + WARM_UP):
        snapshot = stream.snapshot(number)
        begun_ns = time.perf_counter_ns()
        state, decision = step(site, state, snapshot)
        times.append((time.perf_counter_ns() - begun_ns) / 1000)
        stream.follow(decision)
    gc.unfreeze()
    return times[WARM_UP:]


class _Stream:
    """The readings of a site whose inverters do at once what they are told."""

    def __init__(self, count: int, turns: int | None) -> None:
        self._turns, self._told = turns, dict[str, AnyReading]()
        self._powers_w = {f"u{n}": 0 for n in range(count)}
        self._order = Order(
            name="wset",
            source="bench",
            kind="target",
            domain="battery",
            low_w=ASKED_W * count,
            high_w=ASKED_W * count,
            starts_ms=0,
            expires_ms=1 << 50,
        )

    def snapshot(self, number: int) -> Snapshot:
        """Return the next snapshot."""
        now_ms = 100_000 + number * TURN_MS
        for n, (name, power_w) in enumerate(self._powers_w.items()):
            if number < 2 or (self._turns and n % self._turns == number % self._turns):
                self._told[f"i{name}"] = Inverter(
                    device=f"i{name}", sampled_ms=now_ms, heard_ms=now_ms, power_w=power_w, connected=True
                )
                self._told[f"b{name}"] = _battery(f"b{name}", 4000 + 40 * n, now_ms)
        total_w = sum(reading.power_w or 0 for reading in self._told.values() if isinstance(reading, Inverter))
        meter = Meter(device="meter", sampled_ms=now_ms, heard_ms=now_ms, power_w=total_w)
        return Snapshot(
            now_ms=now_ms,
            utc_ms=now_ms,
            readings=(meter, *self._told.values()),
            orders=(self._order,),
            poi_battery_w=total_w,
            utility_silent=False,
        )

    def follow(self, decision: Decision) -> None:
        """Give what was decided."""
        self._powers_w = {share.unit: share.power_w for share in decision.shares}


def _battery(name: str, soc_bp: int, now_ms: int) -> Battery:
    return Battery(
        device=name,
        sampled_ms=now_ms,
        heard_ms=now_ms,
        soc_bp=soc_bp,
        voltage_mv=52_000,
        charge_max_ma=150_000,
        discharge_max_ma=150_000,
        charge_allowed=True,
        discharge_allowed=True,
        contactor_closed=True,
    )


def _site(count: int) -> Site:
    """Return the demo's site with so many of its units behind its meter."""
    site = load(DEMO_SITE)
    meter, inverter, battery = (
        next(d for d in site.device if d.name == name)
        for name in (site.poi.meter, site.unit[0].inverter, site.unit[0].batteries[0])
    )
    names = [f"u{n}" for n in range(count)]
    return msgspec.structs.replace(
        site,
        unit=tuple(
            msgspec.structs.replace(site.unit[0], name=name, inverter=f"i{name}", battery=f"b{name}") for name in names
        ),
        device=(
            msgspec.structs.replace(meter, name="meter"),
            *(msgspec.structs.replace(inverter, name=f"i{name}") for name in names),
            *(msgspec.structs.replace(battery, name=f"b{name}") for name in names),
        ),
        poi=msgspec.structs.replace(
            site.poi, meter="meter", export_max_w=6000 * count, import_max_w=12_000 * count, load_max_w=11_000 * count
        ),
    )


def _timed_us(work: Callable[[], object]) -> float:
    begun_ns = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - begun_ns) / 1000
