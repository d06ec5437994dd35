"""Bad input: every datum of every reading, missing, stale, stuck, jumping or turned, in every state of two sites.

The truth of the plant is judged in a selection in which every datum goes wrong in every way, each in a state and at a
site that are drawn; LINEPACK_MATRIX=all plays the whole matrix. On the words a missing datum, a silent device and a
number on its narrow side may only narrow, in every field of the matrix.
"""

import os
from functools import cache
from itertools import product
from random import Random

import pytest
from msgspec.structs import replace

from controller.codec.settled import settled
from controller.engine import step
from controller.model import Decision, Inverter, Meter, Missing, Reading, Snapshot, State
from tests.matrix import (
    DAMAGES,
    DATA,
    HIT,
    KINDS,
    SEED,
    STALE,
    STATES,
    Case,
    cases,
    copied,
    damaged,
    lived,
    the_site,
    unheard,
)

WHOLE = os.environ.get("LINEPACK_MATRIX") == "all"
WARM_S = 30.0
HOME_WEIGHT = 3
# The ways in which a jump or a turned sign may only narrow: the number means less, or cannot be. What else a jump says
# is another load or another battery, and may open what was closed.
NARROWER = {
    ("charge_max_w", "down"),
    ("charge_max_w", "sign"),
    ("discharge_max_w", "down"),
    ("discharge_max_w", "sign"),
    ("apparent_max_va", "down"),
    ("apparent_max_va", "sign"),
    ("reactive_var", "up"),
    ("isolation_kohm", "down"),
    ("isolation_kohm", "sign"),
    ("state", "down"),
    ("state", "sign"),
    ("remote", "down"),
    ("connected", "down"),
    ("alarms", "up"),
    ("soc_bp", "sign"),
    ("soh_bp", "sign"),
    ("voltage_mv", "down"),
    ("voltage_mv", "sign"),
    ("charge_max_ma", "down"),
    ("charge_max_ma", "sign"),
    ("discharge_max_ma", "down"),
    ("discharge_max_ma", "sign"),
    ("charge_allowed", "down"),
    ("discharge_allowed", "down"),
    ("contactor_closed", "down"),
    ("temperature_mc", "down"),
    ("temperature_min_mc", "down"),
    ("temperature_max_mc", "up"),
    ("cell_min_mv", "down"),
    ("cell_min_mv", "sign"),
    ("cell_max_mv", "up"),
    ("cell_max_mv", "sign"),
    ("closed", "down"),
}
# What is told before it goes wrong, so that the datum is what binds: else nothing could be seen of what its loss opens.
# Not in it: a battery's mean temperature, which lies between its coldest and hottest cell, and what an inverter is set
# to, of which the link keeps what was told last and the site file's nameplate stands for what never was.
TIGHT: dict[str, object] = {
    "soc_bp": 1250,
    "soh_bp": 6000,
    "voltage_mv": 45_000,
    "charge_max_ma": 30_000,
    "discharge_max_ma": 30_000,
    "charge_allowed": False,
    "discharge_allowed": False,
    "temperature_min_mc": 6000,
    "temperature_max_mc": 46_000,
    "cell_min_mv": 3060,
    "cell_max_mv": 3395,
    "isolation_kohm": 50,
}


def chosen() -> list[Case]:
    """Return the cases to play: all of them, or each datum in each way once, in a drawn state of a drawn site."""
    whole, random = cases(), Random(SEED)
    if WHOLE:
        return whole
    ways: dict[tuple[str, str, str], list[Case]] = {}
    for case in whole:
        ways.setdefault((KINDS[case.device].__name__, case.datum, case.damage), []).append(case)
    # The home is played three times as often: the yard takes four times as long.
    return [
        random.choice([one for one in found for _ in range(HOME_WEIGHT if one.site == "home" else 1)])
        for found in ways.values()
    ]


CHOSEN = chosen()


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: "-".join(filter(None, case)))
def test_the_truth_stays_within_its_bounds_while_a_datum_goes_wrong(case: Case) -> None:
    assert not lived(case)


def test_the_selection_has_every_datum_in_every_way() -> None:
    played = {(KINDS[case.device], case.datum, case.damage) for case in CHOSEN}
    wanted = {(kind, datum, damage) for kind, data in DATA.items() for datum in data for damage in DAMAGES}
    assert played == wanted | {(kind, "", "stale") for kind in DATA}
    assert {case.state for case in CHOSEN} == set(STATES)


# -- the words ---------------------------------------------------------------------------------------------------------


def without(snapshot: Snapshot, case: Case) -> Snapshot:
    """Return a snapshot in which the datum of the case is wrong."""
    if unheard_in(snapshot, case):
        readings = tuple(one for one in snapshot.readings if one.device != case.device)
        missing = (*snapshot.missing, Missing(device=case.device, age_ms=60_000))
        lost = next(one for one in snapshot.readings if one.device == case.device)
        battery_w = None if isinstance(lost, Meter | Inverter) else snapshot.poi_battery_w
        return replace(snapshot, readings=readings, missing=missing, poi_battery_w=battery_w)
    told = [(one, damaged(one, case, None)) if one.device == case.device else (one, one) for one in snapshot.readings]
    # As the board takes it: what was told once and is told no more is not forgotten.
    readings = tuple(settled(before, now) for before, now in told if now is not None)
    silent = any(isinstance(one, Inverter) and one.power_w is None for one in readings)
    return replace(snapshot, readings=readings, poi_battery_w=None if silent else snapshot.poi_battery_w)


def tightened(snapshot: Snapshot, case: Case) -> Snapshot:
    """Return a snapshot in which the datum of the case binds, where it is one that can."""
    if case.datum not in TIGHT:
        return snapshot
    told = {case.datum: TIGHT[case.datum]}
    return replace(
        snapshot,
        readings=tuple(
            replace(one, **told) if one.device == case.device and getattr(one, case.datum) is not None else one
            for one in snapshot.readings
        ),
    )


def later(snapshot: Snapshot) -> Snapshot:
    """Return the same a millisecond later."""
    return replace(snapshot, now_ms=snapshot.now_ms + 1)


def unheard_in(snapshot: Snapshot, case: Case) -> bool:
    """Tell whether nothing is left of the device in the snapshot."""
    return any(one.device == case.device and damaged(one, case, None) is None for one in snapshot.readings)


def widened(sound: Decision, wrong: Decision) -> list[str]:
    """Return the ends that lie further out than they did. A power that was forced may be released to 0 W."""
    ends = [("site", sound.low.value_w, sound.high.value_w, wrong.low.value_w, wrong.high.value_w)]
    ends += [
        (before.unit, before.low_w, before.high_w, after.low_w, after.high_w)
        for before, after in zip(sound.shares, wrong.shares, strict=True)
    ]
    return [
        f"{name}: [{low_w}, {high_w}] became [{wrong_low_w}, {wrong_high_w}]"
        for name, low_w, high_w, wrong_low_w, wrong_high_w in ends
        if wrong_low_w < min(low_w, 0) or wrong_high_w > max(high_w, 0)
    ]


@cache
def before_and_now(site: str, state: str) -> tuple[State, Snapshot]:
    """Return the state and the snapshot of one more decision of a site in its state."""
    life = copied(site, state)
    life.run(WARM_S if state == "starting" else 1.0)
    decider = life.model.decider
    assert decider.snapshot is not None
    return decider.state, later(decider.snapshot)


DATA_OF = [(site, kind, datum) for site, devices in HIT.items() for kind in devices for datum in ("", *DATA[kind])]


@pytest.mark.parametrize(
    ("site", "kind", "datum"), DATA_OF, ids=[f"{site}-{kind.__name__.lower()}-{datum}" for site, kind, datum in DATA_OF]
)
def test_what_is_not_told_or_means_less_may_only_narrow(site: str, kind: type[Reading], datum: str) -> None:
    wide = []
    for state, device, damage in product(STATES, HIT[site][kind], DAMAGES if datum else (STALE,)):
        case = Case(site, device, datum, damage, state)
        if damage not in ("missing", STALE) and (datum, damage) not in NARROWER:
            continue
        before, snapshot = before_and_now(site, state)
        tight = tightened(snapshot, case)
        told, sound = step(the_site(site, state), before, tight)
        _, wrong = step(the_site(site, state), told, without(later(tight), case))
        wide += [f"{state}, {device} {damage}: {end}" for end in widened(sound, wrong)]
    assert not wide, "\n".join(wide)


def test_a_wider_envelope_is_noticed() -> None:
    before, snapshot = before_and_now("home", "at_export_limit")
    site = the_site("home", "at_export_limit")
    _, sound = step(site, before, snapshot)
    more = tuple(
        replace(one, power_w=one.power_w - 2000, phase_w=None) if isinstance(one, Meter) else one
        for one in snapshot.readings
    )
    _, wide = step(site, before, replace(snapshot, readings=more))
    assert widened(sound, wide)
    assert not widened(wide, wide)


def test_a_case_that_breaks_a_limit_is_noticed() -> None:
    """What is forgiven, because only the inverter could know it, is seen where it is not."""
    life = copied("home", "at_export_limit")
    life.hit(Case("home", "inverter", "power_w", "up", "at_export_limit"))
    life.forgives = False
    life.run(40.0)
    assert any(verdict.startswith("poi_export") for verdict in life.verdicts())


def test_a_silent_device_is_cut_off_and_a_missing_number_is_not() -> None:
    assert unheard(Case("yard", "meter", "", "stale", "resting"))
    assert unheard(Case("yard", "meter", "power_w", "missing", "resting"))
    assert not unheard(Case("yard", "battery_n", "soc_bp", "missing", "resting"))
