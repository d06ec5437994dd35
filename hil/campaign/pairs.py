"""Fault x state x site, pairwise: every fault meets every state of a site, on some site, at least once.

A row of the covering array is a short scenario: the site is brought into the state, the fault comes and goes, and the
site has to be itself again.
"""

from collections.abc import Mapping

import msgspec

from controller.model import Site
from hil.campaign.covering import pairwise
from hil.campaign.draw import ENTER_SERVICE, judged, targets
from hil.faults import VERBS
from hil.faults.catalogue import ROWS
from hil.faults.words import Fault, Mode
from hil.scenario.signals import Nothing, Regulation, Signal
from hil.scenario.words import Scenario, Stimulus

AT_S, LASTS_S, HEAL_S, LENGTH_S, WITHIN_S = 20.0, 40.0, 65.0, 175.0, 105.0
Points = tuple[tuple[float, float | Nothing], ...]


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What a site is doing when the fault comes. Powers are shares of what the units, or the POI, can do."""

    name: str
    soc: float
    load_pu: float  # of the largest load
    asked_pu: float | None = None  # of the units' rating; None = nothing is asked
    regulation_pu: float = 0.0  # a signal of this peak in place of it


STATES = (
    State(name="idle", soc=0.6, load_pu=0.0),
    State(name="balance", soc=0.6, load_pu=0.4),
    State(name="charge", soc=0.5, load_pu=0.1, asked_pu=-0.5),
    State(name="discharge", soc=0.7, load_pu=0.4, asked_pu=0.5),
    State(name="event", soc=0.6, load_pu=0.4, regulation_pu=0.5),
    State(name="reserve", soc=0.30, load_pu=0.4, asked_pu=0.8),
    State(name="export", soc=0.7, load_pu=0.02, asked_pu=0.9),
    State(name="import", soc=0.5, load_pu=0.7, asked_pu=-0.9),
)


def pairs(sites: Mapping[str, Site], mode: Mode = "lockstep", seed: int = 1) -> list[Scenario]:
    """Return the scenarios, one per row of the array. sites: by the name or path that a scenario gives them."""
    rows = {row.id: row for row in ROWS.values() if row.do and mode in VERBS[row.do].modes}
    states = {state.name: state for state in STATES}
    factors = {"fault": list(rows), "state": list(states), "site": list(sites)}
    forbidden = frozenset(
        (("fault", fault), ("site", name))
        for fault, row in rows.items()
        for name, site in sites.items()
        if not targets(row, site)
    )
    found = []
    for number, row in enumerate(pairwise(factors, seed, forbidden)):
        name, state = row["site"], states[row["state"]]
        on, *_ = targets(rows[row["fault"]], sites[name])
        fault = Fault(id=row["fault"], on=on, at_s=AT_S, for_s=LASTS_S)
        found.append(_scenario(number, fault, state, name, sites[name], mode))
    return found


def _scenario(number: int, fault: Fault, state: State, name: str, site: Site, mode: Mode) -> Scenario:
    return Scenario(
        id=f"pair-{fault.id.lower()}-{state.name}-{number}",
        title=f"{ROWS[fault.id].title}, while the site is at {state.name}: the limits hold, and the site comes back",
        traces=(fault.id,),
        tags=("pairs", state.name),
        seed=number,
        site=name,
        length_s=LENGTH_S,
        heal_s=HEAL_S,
        modes=(mode,),
        plant=_plant(state, site),
        stimulus=_stimuli(state, site),
        fault=(fault,),
        judge=judged(site, (fault,), WITHIN_S),
    )


def _plant(state: State, site: Site) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for unit in site.unit:
        found[unit.inverter] = {"functions": {"enter_service": ENTER_SERVICE}}
        found |= {name: {"soc": state.soc} for name in unit.batteries}
    return found


def _stimuli(state: State, site: Site) -> tuple[Stimulus, ...]:
    rated_w = sum(min(unit.charge_max_w, unit.discharge_max_w) for unit in site.unit)
    load = Signal(points=((0.0, round(state.load_pu * site.poi.load_max_w)),))
    found = [Stimulus(set="load_w", signal=load)]
    if state.regulation_pu:
        asked = Signal(
            regulation=Regulation(peak=state.regulation_pu * rated_w), points=((0.0, 0.0), (HEAL_S, "nothing"))
        )
        found.append(Stimulus(set="utility.set_w", signal=asked))
    elif state.asked_pu is not None:
        points: Points = ((0.0, round(state.asked_pu * rated_w)),)
        found.append(Stimulus(set="utility.set_w", signal=Signal(points=points)))
    return tuple(found)
