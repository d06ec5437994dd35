"""Builders of the plant's truth for tests of the judge: units of 10 kW and 25 kWh, as those of tests/words.py."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from controller.model import Site
from hil.judge import Allowed, Judge, Truth, UnitTruth, Verdict
from tests.words import a_site

STEP_S = 0.1
CAPACITY_WH = 25_000.0
Changes = Mapping[str, Any]
Stretch = tuple[float, Sequence[Changes], Changes]


def a_unit(n: int = 1, **changes: Any) -> UnitTruth:
    """Return a unit at rest, 60 % full. Unless told otherwise it obeys and its BMS tells the truth."""
    ac_w = changes.get("ac_w", 0.0)
    soc, capacity_wh = changes.get("soc", 0.6), changes.get("capacity_wh", CAPACITY_WH)
    unit = UnitTruth(
        inverter=f"inverter{n}",
        batteries=(f"battery{n}",),
        ac_w=ac_w,
        reactive_var=0.0,
        dc_w=ac_w,
        command_w=ac_w,
        state="run",
        soc=soc,
        energy_wh=soc * capacity_wh,
        capacity_wh=capacity_wh,
        soc_told=soc,
        pack_v=50.0,
        pack_a=ac_w / 50,
        charge_max_a=250.0,
        discharge_max_a=250.0,
        closed=True,
        cell_min_v=3.3,
        cell_max_v=3.3,
        cell_c=25.0,
        writes=0,
    )
    return msgspec.structs.replace(unit, **changes)


def a_truth(t_s: float = 0.0, units: Sequence[Changes] = ({},), **changes: Any) -> Truth:
    """Return a truth with one unit for each of units, behind a load of 1 kW; the meter's power follows unless told."""
    made = tuple(a_unit(n, **unit) for n, unit in enumerate(units, 1))
    load_w, pv_w = changes.get("load_w", 1000.0), changes.get("pv_w", 0.0)
    poi_w = sum(unit.ac_w for unit in made) + pv_w - load_w
    truth = Truth(t_s=t_s, units=made, load_w=load_w, pv_w=pv_w, poi_w=poi_w, grid_hz=50.0, grid_v=230.0)
    return msgspec.structs.replace(truth, **changes)


def stretch(seconds: float, *units: Changes, **changes: Any) -> Stretch:
    """Return a stretch of a story: so many seconds of the same truth."""
    return seconds, units or ({},), changes


def told(*stretches: Stretch) -> Iterator[Truth]:
    """Yield the truths of a story, one every STEP_S."""
    place = 0
    for seconds, units, changes in stretches:
        for _ in range(round(seconds / STEP_S)):
            yield a_truth(place * STEP_S, units, **changes)
            place += 1


def judged(*stretches: Stretch, site: Site | None = None, allowed: Allowed | None = None) -> dict[str, Verdict]:
    """Return the verdicts on a story."""
    judge = Judge(site or a_site(len(stretches[0][1])), allowed)
    for truth in told(*stretches):
        judge.sample(truth)
    return {verdict.invariant: verdict for verdict in judge.verdicts()}
