"""Every scenario in every mode that needs no real time; the modes agree; the same seed gives the same run."""

import os
from time import perf_counter

import msgspec
import pytest

from hil.commands.run import SCENARIOS
from hil.faults import VERBS
from hil.faults.catalogue import ROWS
from hil.faults.schedule import resolve
from hil.run.mutants import MUTANTS
from hil.run.outcome import Mode, Outcome
from hil.run.runner import Job, run_all
from hil.scenario.load import find
from hil.scenario.site import site

NEAR_PCT = 5  # of rated: the two modes count as at the same power
ALIKE = 0.8  # of the seconds; a signal that steps every second is caught in mid-step in one mode and not in the other
ENERGY_PCT = 0.1  # of the capacity, at the end
WORKERS = max(2, os.cpu_count() or 1)
TWICE = ("f06-inverter", "f12-meter", "f37-battery", "f86-disk", "f91-controller")
# Faults that a scenario cannot carry here: F95 needs real time.
ELSEWHERE = {"F95": "tests/test_supervisor.py begins and ends it; it is seen in real time only"}

FOUND = find(SCENARIOS)
MODES: tuple[Mode, ...] = ("lockstep", "model")
RUNS = [(one.id, mode) for _, one in FOUND for mode in MODES if mode in one.modes]


def played(jobs: list[Job]) -> list[tuple[Job, Outcome]]:
    return list(run_all(jobs, workers=WORKERS, now_s=perf_counter))


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[str, str], Outcome]:
    """Run all of them, side by side."""
    jobs = [
        Job(scenario=one, site=site(one, path.parent), mode=mode)
        for path, one in FOUND
        for mode in MODES
        if mode in one.modes
    ]
    return {(job.scenario.id, job.mode): outcome for job, outcome in played(jobs)}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("scenario", "mode"), RUNS)
def test_the_scenario_holds(outcomes: dict[tuple[str, str], Outcome], scenario: str, mode: str) -> None:
    outcome = outcomes[scenario, mode]
    assert outcome.held, "\n".join(outcome.wrong)
    assert outcome.decisions > 0


@pytest.mark.parametrize("scenario", [one.id for _, one in FOUND if set(MODES) <= set(one.modes)])
def test_lockstep_and_model_agree(outcomes: dict[tuple[str, str], Outcome], scenario: str) -> None:
    framed, bare = (outcomes[scenario, mode] for mode in MODES)
    one = next(one for _, one in FOUND if one.id == scenario)
    units = site(one, SCENARIOS).unit
    rated_w = sum(max(unit.charge_max_w, unit.discharge_max_w) for unit in units)
    pairs = list(zip(framed.trace.battery_w, bare.trace.battery_w, strict=True))
    alike = sum(abs(a - b) <= rated_w * NEAR_PCT / 100 for a, b in pairs)
    assert alike >= ALIKE * len(pairs)
    for a, b in zip(framed.trace.soc[-1], bare.trace.soc[-1], strict=True):
        assert abs(a - b) * 100 <= ENERGY_PCT
    assert framed.held == bare.held


def test_the_same_seed_gives_the_same_run_bit_for_bit(outcomes: dict[tuple[str, str], Outcome]) -> None:
    jobs = [Job(scenario=one, site=site(one, path.parent)) for path, one in FOUND if one.id in TWICE]
    assert len(jobs) == len(TWICE)
    for job, again in played(jobs):
        first = outcomes[job.scenario.id, "lockstep"]
        assert msgspec.structs.replace(again, journal="") == msgspec.structs.replace(first, journal="")


def test_every_fault_of_the_catalogue_is_played_or_told_why_not() -> None:
    found = {fault.id for _, one in FOUND for fault in one.fault}
    missing = {row.id: row.why for row in ROWS.values() if row.id not in found and row.id not in ELSEWHERE}
    assert all(missing.values()), missing
    assert len(FOUND) >= 60


def test_every_verb_of_the_wire_is_played() -> None:
    done = {resolve(fault).do for _, one in FOUND for fault in one.fault}
    wire = {verb.name for verb in VERBS.values() if verb.layer == "wire"}
    told = {row.do for row in ROWS.values()}
    assert wire & told <= done


NEEDED = {  # mutant -> scenarios that need the physics it leaves out
    "instant": ("std-olrt", "std-response-slow"),
    "lossless": ("std-round-trip",),
    "no_derating": ("energy-hot-cabinet",),
    "meter_sign": ("poi-export-load-drop", "demo-silence"),
    "never_limits": ("energy-bms-tapers",),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_without_its_physics_a_scenario_fails(mutant: str) -> None:
    jobs = [
        Job(scenario=one, site=site(one, path.parent), mode="model", mutant=mutant)
        for path, one in FOUND
        if one.id in NEEDED[mutant]
    ]
    assert len(jobs) == len(NEEDED[mutant])
    for job, outcome in played(jobs):
        assert not outcome.held, f"{job.scenario.id} does not notice {mutant}"
        assert not any("the run failed" in wrong or "died" in wrong for wrong in outcome.wrong), outcome.wrong
