"""The demo's story: what the utility asks, and what the bench does to the plant, phase by phase.

Laws:
- Pure and seeded: the same length and site give the same story.
- A phase has a share of the time and a least length, which comes from the site's own times (how long until a battery
  counts as silent, until the utility does). A story that was given less time than these add up to takes what it needs.

To add a phase: a row in _PARTS, its scene in _SCENES (what it sets and breaks, what is asked), its proof in
hil/ledger.py.
"""

import math
import random
from collections.abc import Callable, Iterator

import msgspec

from controller.model import Site
from hil.faults.words import Fault

PEAK_W = 8000  # the largest set point of the utility
STEP_W = 50
SIGNAL_SEED = 20160405
CYCLE_S = 1.0
SETTLE_S = 0.6
CABLE_OUT = "drop_all"  # the verb for a pulled BMS cable: no frame comes any more
PLUG_S = 0.2  # the cable moves this long after its phase began and before it ends
STEP_MIN_S, STEP_MAX_S = 1.0, 2.0
LEFT_SHARE = 0.06  # of the discharge, when the reserve phase ends
INVERTER_EFFICIENCY = 0.95  # of the emulated one, at the powers of the story
STEPS_WANTED = 4  # in a story too short for them the signal steps faster


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the story, from start_s up to end_s of the story's time."""

    name: str
    title: str
    must: str  # what has to be seen for the phase to have happened
    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Return how long it lasts."""
        return self.end_s - self.start_s


class Stimulus(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the bench does to the plant: set its input `name` to `value` at `at_s`."""

    at_s: float
    name: str
    value: float


class SetPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What the utility asks from start_s on; None = it says nothing any more."""

    start_s: float
    power_w: int | None


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """The whole plan, each list in order of time. Every fault says when it begins and for how long."""

    phases: tuple[Phase, ...]
    stimuli: tuple[Stimulus, ...]
    faults: tuple[Fault, ...]
    set_points: tuple[SetPoint, ...]

    @property
    def length_s(self) -> float:
        """Return how long it lasts."""
        return self.phases[-1].end_s - self.phases[0].start_s

    @property
    def end_s(self) -> float:
        """Return when it ends."""
        return self.phases[-1].end_s

    def phase(self, t_s: float) -> Phase:
        """Return the phase at a time; the last one afterwards."""
        return next((phase for phase in self.phases if t_s < phase.end_s), self.phases[-1])

    def due(self, after_s: float, until_s: float) -> Iterator[Stimulus | Fault]:
        """Yield what the bench does later than after_s, up to and at until_s."""
        everything: tuple[Stimulus | Fault, ...] = (*self.stimuli, *self.faults)
        for one in everything:
            if one.at_s is not None and after_s < one.at_s <= until_s:
                yield one

    def asked_w(self, t_s: float) -> int | None:
        """Return what the utility asks at a time, None where it says nothing."""
        standing = [point.power_w for point in self.set_points if point.start_s <= t_s]
        return standing[-1] if standing else None


class _Scene(msgspec.Struct, frozen=True, kw_only=True):
    stimuli: tuple[Stimulus, ...]
    set_points: tuple[SetPoint, ...]
    faults: tuple[Fault, ...] = ()


_PARTS = (  # name, title, what must be seen, share of the time that is left when each had its least
    ("follow", "Follow the regulation signal", "the power settles at the set points", 0.27),
    ("reserve", "Discharge into the customer's reserve", "customer_reserve binds and the discharge stops", 0.33),
    ("export", "The load drops: the export limit binds", "poi_limit binds below what is asked", 0.22),
    ("bms", "The BMS cable is pulled and comes back", "battery_stale stops the unit, then clears", 0.12),
    ("silence", "The utility falls silent", "utility_silent stands and the default order holds", 0.06),
)


def tell(duration_s: float, site: Site, begins_s: float = 0.0) -> Story:
    """Return the story for a duration; longer than asked where the site's own times need it."""
    phases = _phases(duration_s, site, begins_s)
    scenes = [_SCENES[phase.name](phase, site) for phase in phases]
    return Story(
        phases=phases,
        stimuli=tuple(stimulus for scene in scenes for stimulus in scene.stimuli),
        faults=tuple(fault for scene in scenes for fault in scene.faults),
        set_points=tuple(point for scene in scenes for point in scene.set_points),
    )


def stale_s(site: Site) -> float:
    """Return after how long without a frame the site's battery counts as silent."""
    batteries = {name for unit in site.unit for name in unit.batteries}
    ages = [device.stale_after_ms for device in site.device if device.name in batteries]
    return max((age for age in ages if age is not None), default=3500) / 1000


def regulation(seed: int, length_s: float, peak_w: int) -> tuple[SetPoint, ...]:
    """Return a regulation signal of the fast kind: mean-reverting, often at its rails, a step every 1 to 2 s."""
    haste = min(1.0, length_s / (STEPS_WANTED * STEP_MAX_S))
    rng = random.Random(seed)
    points = []
    t_s = drift = 0.0
    while t_s < length_s:
        drift = 0.4 * drift + rng.gauss(0.0, 1.0)
        power_w = round(max(-1.0, min(1.0, drift)) * peak_w / STEP_W) * STEP_W
        points.append(SetPoint(start_s=t_s, power_w=power_w))
        t_s += rng.uniform(STEP_MIN_S, STEP_MIN_S + haste * (STEP_MAX_S - STEP_MIN_S))
    return tuple(points)


def _phases(duration_s: float, site: Site, begins_s: float) -> tuple[Phase, ...]:
    least_s = {
        "follow": 3.0,  # two steps of the signal and the time to see the second
        "reserve": 2.5,
        "export": 3.0,
        "bms": _unplugged_s(stale_s(site)) + 2 * PLUG_S,
        "silence": max(site.utility.silent_after_s, site.utility.lease_s) + CYCLE_S + SETTLE_S,
    }
    spare_s = max(0.0, duration_s - sum(least_s.values()))
    phases, start_s = [], begins_s
    for name, title, must, share in _PARTS:
        end_s = start_s + least_s[name] + share * spare_s
        phases.append(Phase(name=name, title=title, must=must, start_s=start_s, end_s=end_s))
        start_s = end_s
    return tuple(phases)


def _unplugged_s(stale_after_s: float) -> float:
    return stale_after_s + CYCLE_S + SETTLE_S


def _does(at_s: float, **values: float) -> tuple[Stimulus, ...]:
    return tuple(Stimulus(at_s=at_s, name=name, value=value) for name, value in values.items())


def _charged(at_s: float, soc: float, site: Site) -> tuple[Stimulus, ...]:
    return _does(at_s, **{f"{name}.soc": soc for unit in site.unit for name in unit.batteries})


def _asks(phase: Phase, power_w: int | None) -> tuple[SetPoint, ...]:
    return (SetPoint(start_s=phase.start_s, power_w=power_w),)


def _follow(phase: Phase, site: Site) -> _Scene:
    signal = regulation(SIGNAL_SEED, phase.length_s, PEAK_W)
    moved = tuple(SetPoint(start_s=phase.start_s + point.start_s, power_w=point.power_w) for point in signal)
    at_home = _does(phase.start_s, load_w=4000, pv_w=1000)
    return _Scene(stimuli=_charged(phase.start_s, _above_reserve(site), site) + at_home, set_points=moved)


def _above_reserve(site: Site) -> float:
    """Return a state of charge just above the reserve phase's: two opposite jumps would look like two batteries."""
    return (site.energy.reserve_pct + site.energy.soc_error_pct + 2.5) / 100


def _reserve(phase: Phase, site: Site) -> _Scene:
    """Start as far above the reserve as can be discharged within the phase, the taper at its end included."""
    energy = site.energy
    full_wh = sum(unit.capacity_wh for unit in site.unit)
    kept = (energy.reserve_pct + energy.soc_error_pct) / 100
    charged = _charged(phase.start_s, kept + _run_wh(phase.length_s, site) / full_wh, site)
    return _Scene(
        stimuli=charged + _does(phase.start_s, load_w=4500, pv_w=800),
        set_points=_asks(phase, PEAK_W),
    )


def _run_wh(length_s: float, site: Site) -> float:
    """Return the energy in Wh above the reserve from which PEAK_W ends at LEFT_SHARE of it after length_s.

    Near a boundary the controller allows efficiency x energy / H, so the power fades with a time constant H over what
    the losses make of it; the knee is the energy at which the fading begins.
    """
    unit = site.unit[0]
    horizon_s = max(site.cycle_ms / 1000 + (unit.watchdog_s or 0), site.energy.taper_s)
    fade_s = horizon_s * INVERTER_EFFICIENCY * 100 / unit.efficiency_pct
    knee_wh = PEAK_W * horizon_s * 100 / unit.efficiency_pct / 3600
    flat_s = length_s + fade_s * math.log(LEFT_SHARE)
    if flat_s > 0:
        return knee_wh + PEAK_W * flat_s / 3600
    return knee_wh * math.exp(flat_s / fade_s)


def _export(phase: Phase, site: Site) -> _Scene:
    before = _charged(phase.start_s, 0.7, site) + _does(phase.start_s, load_w=5000, pv_w=600)
    dropped = _does(phase.start_s + 0.4 * phase.length_s, load_w=300)
    return _Scene(stimuli=before + dropped, set_points=_asks(phase, PEAK_W))


def _bms(phase: Phase, site: Site) -> _Scene:
    """Pull the cable early; it comes back before the end, in a short story only just."""
    pulled_s, out_s = phase.start_s + PLUG_S, _unplugged_s(stale_s(site))
    return _Scene(
        stimuli=_does(phase.start_s, load_w=2500, pv_w=600),
        faults=tuple(
            Fault(on=name, do=CABLE_OUT, at_s=pulled_s, for_s=out_s) for unit in site.unit for name in unit.batteries
        ),
        set_points=_asks(phase, PEAK_W // 2),
    )


def _silence(phase: Phase, site: Site) -> _Scene:
    return _Scene(stimuli=_does(phase.start_s, load_w=2500, pv_w=600), set_points=_asks(phase, None))


_SCENES: dict[str, Callable[[Phase, Site], _Scene]] = {
    "follow": _follow,
    "reserve": _reserve,
    "export": _export,
    "bms": _bms,
    "silence": _silence,
}
