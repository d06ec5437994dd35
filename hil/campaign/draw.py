"""From a seed to a scenario: a day of a site in an hour, with faults by chance. The same seed gives the same scenario.

Swarm testing (Groce et al., "Swarm Testing", ISSTA 2012): each seed draws from a few kinds of faults only, so that
faults which hide each other do not always come together.
"""

from random import Random

from controller.model import Site
from hil.faults import VERBS
from hil.faults.catalogue import ROWS
from hil.faults.words import PLACES, Fault, Kind, Mode, Row
from hil.scenario.names import contacts
from hil.scenario.signals import Nothing, Regulation, Signal
from hil.scenario.words import Judge, Scenario, Stimulus

HEAL_S = 300.0  # before the end: then the site has to be itself again
SOONEST_S, LATEST_S = 10.0, 60.0  # a fault begins: after the start, before the healing
LENGTH_MIN_S = HEAL_S + SOONEST_S + LATEST_S
FAULTS_MOST = 6
LASTS_S = (2.0, 600.0)
LOAD_EVERY_S = (20.0, 600.0)
STEP_W = 100
ENTER_SERVICE = {"delay_s": 20.0, "ramp_s": 0.0}  # the standard's 300 s would not fit between the healing and the end
CONVERGED_W = 400
WITHIN_S = 120.0
LATE = ("F06", "F07", "F17", "F18", "F19", "F20", "F58", "F59", "F60")  # late, or false until a move shows it: hil 4.2
ANOTHER = {  # what another master does is not ours
    "travel": "another master's set points travel, ours stand still",
    "order_expired": "the power is what another master orders",
}
ALLOWED_LATE = {"poi_s": 10.0, "expiry_s": 10.0, "reaction_s": 10.0}
Points = tuple[tuple[float, float | Nothing], ...]


def draw(seed: int, site: Site, site_name: str, *, length_s: float = 3600.0, mode: Mode = "lockstep") -> Scenario:
    """Return the scenario of a seed. Raises ValueError for a length in which no fault could come and heal."""
    if length_s < LENGTH_MIN_S:
        raise ValueError(f"{length_s:g} s read, allowed are {LENGTH_MIN_S:g} s and more")
    chance = Random(f"campaign {seed}")
    heal_s = length_s - HEAL_S
    faults = _faults(chance, site, heal_s, mode)
    return Scenario(
        id=f"campaign-{seed}",
        title=f"random faults of seed {seed}: the limits hold, and the site comes back",
        tags=("campaign",),
        seed=seed,
        site=site_name,
        length_s=length_s,
        heal_s=heal_s,
        modes=(mode,),
        plant=_plant(chance, site),
        stimulus=_stimuli(chance, site, length_s),
        fault=faults,
        judge=judged(site, faults, WITHIN_S),
    )


def judged(site: Site, faults: tuple[Fault, ...], within_s: float) -> Judge:
    """Return how a drawn scenario is judged: by all invariants, but for what its faults take out of our hands."""
    not_ours = ANOTHER if any(fault.id == "F26" for fault in faults) else {}
    return Judge(
        skip=tuple(not_ours),
        reason=not_ours,
        allow=ALLOWED_LATE if any(fault.id in LATE for fault in faults) else {},
        converged=_converged(site),
        within_s=within_s,
        restarts=(0.0, 1000.0),
        idle_faults=True,
    )


def _plant(chance: Random, site: Site) -> dict[str, dict[str, object]]:
    """Return batteries at any charge, some of them not as new."""
    found: dict[str, dict[str, object]] = {}
    for unit in site.unit:
        found[unit.inverter] = {"functions": {"enter_service": ENTER_SERVICE}}
        for battery in unit.batteries:
            if battery in found:
                continue
            found[battery] = {"soc": round(chance.uniform(0.05, 0.99), 3)}
            if chance.random() < 0.3:
                found[battery]["pack"] = {"resistance_factor": round(chance.uniform(1.0, 3.0), 2)}
    return found


def _stimuli(chance: Random, site: Site, length_s: float) -> tuple[Stimulus, ...]:
    load = _steps(chance, length_s - HEAL_S, site.poi.load_max_w)
    generation = _steps(chance, length_s - HEAL_S, site.poi.generation_max_w)
    found = [Stimulus(set="load_w", signal=Signal(points=load)), Stimulus(set="pv_w", signal=Signal(points=generation))]
    rated_w = sum(min(unit.charge_max_w, unit.discharge_max_w) for unit in site.unit)
    if chance.random() < 0.5:
        peak_w = round(rated_w * chance.uniform(0.3, 0.9))
        asked = Signal(regulation=Regulation(peak=peak_w), points=((0.0, 0.0), (length_s - HEAL_S, "nothing")))
    else:
        asked = Signal(points=_orders(chance, length_s, rated_w))
    return (*found, Stimulus(set="utility.set_w", signal=asked))


def _steps(chance: Random, length_s: float, most_w: int) -> Points:
    points: list[tuple[float, float | Nothing]] = []
    t_s = 0.0
    while t_s < length_s:
        points.append((round(t_s, 1), float(round(chance.triangular(0, most_w, most_w / 5) / STEP_W) * STEP_W)))
        t_s += chance.uniform(*LOAD_EVERY_S)
    return tuple(points)


def _orders(chance: Random, length_s: float, rated_w: int) -> Points:
    """Return set points that stand for a while, now and then none; the last stands until the end."""
    points: list[tuple[float, float | Nothing]] = []
    t_s = 0.0
    while t_s < length_s - HEAL_S:
        power_w = float(round(chance.uniform(-rated_w, rated_w) / STEP_W) * STEP_W)
        points.append((round(t_s, 1), "nothing" if chance.random() < 0.2 else power_w))
        t_s += chance.uniform(*LOAD_EVERY_S)
    return (*points, (length_s - HEAL_S, float(round(rated_w / 4 / STEP_W) * STEP_W)))


def _faults(chance: Random, site: Site, until_s: float, mode: Mode) -> tuple[Fault, ...]:
    rows = [row for row in ROWS.values() if row.do and mode in VERBS[row.do].modes and targets(row, site)]
    kinds = chance.sample(rows, chance.randint(1, min(4, len(rows))))
    found = []
    for _ in range(chance.randint(1, FAULTS_MOST)):
        row = chance.choice(kinds)
        at_s = round(chance.uniform(SOONEST_S, until_s - LATEST_S), 1)
        lasts_s = round(min(until_s - at_s, _log_uniform(chance, *LASTS_S)), 1)
        found.append(Fault(id=row.id, on=chance.choice(targets(row, site)), at_s=at_s, for_s=lasts_s))
    return tuple(sorted(found, key=lambda fault: (fault.at_s, fault.id, fault.on)))


def targets(row: Row, site: Site) -> list[str]:
    """Return what of a site the fault of a row can hit."""
    kinds: dict[str, Kind] = {site.poi.meter: "meter"}
    for unit in site.unit:
        kinds |= {unit.inverter: "inverter", **dict.fromkeys(unit.batteries, "battery")}
    kinds |= dict.fromkeys(contacts(site), "inputs")
    return [name for name, kind in (kinds | PLACES).items() if kind in VERBS[row.do].on]


def _log_uniform(chance: Random, low: float, high: float) -> float:
    return float(low * (high / low) ** chance.random())


def _converged(site: Site) -> str:
    """Return what has to be true again: every device is heard, and each unit does what it is told."""
    heard = [f'not fault("meter_stale", "{site.poi.meter}")']
    for unit in site.unit:
        heard.append(f'not fault("inverter_stale", "{unit.inverter}")')
        heard += [f'not fault("battery_stale", "{name}")' for name in unit.batteries]
    done = " + ".join(f"{unit.inverter}.ac_w" for unit in site.unit)
    return " and ".join([*heard, f"abs({done} - decided.target_w) < {CONVERGED_W}"])
