"""Real time: the controller as a process, the devices in another, and the same verdict as in lockstep."""

import os
from pathlib import Path
from time import perf_counter

import pytest

from controller.app import sitefile
from hil.faults.words import Fault
from hil.run.outcome import Outcome
from hil.run.runner import Job, run_all
from hil.scenario.signals import Signal
from hil.scenario.words import Judge, Scenario, Step, Stimulus
from hil.stage import DEMO_SITE

NEAR_PCT, ALIKE = 5, 0.8
SITE = sitefile.load(DEMO_SITE)
RATED_W = SITE.unit[0].discharge_max_w
SCENARIO = Scenario(
    id="real-short",
    title="The utility asks, the load drops, the inverter derates: the limits hold and the site comes back",
    site="demo",
    length_s=15.0,
    heal_s=11.0,
    modes=("lockstep", "real"),
    plant={"battery": {"soc": 0.7}},
    stimulus=(
        Stimulus(set="load_w", signal=Signal(points=((0.0, 4000.0), (7.0, 1000.0)))),
        Stimulus(set="utility.set_w", signal=Signal(points=((1.0, 5000.0),))),
    ),
    fault=(Fault(id="F48", on="inverter", at_s=9.0, for_s=2.0),),
    step=(Step(at_s=1.0, until="abs(inverter.ac_w - 5000) < 200", within_s=4.0, says="follows the utility"),),
    judge=Judge(converged="abs(inverter.ac_w - decided.target_w) < 300", within_s=4.0),
)


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all processes that were given the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(folder) in words:
                found.append(words.replace("\0", " "))
    return found


@pytest.mark.timeout(120)
def test_real_time_and_lockstep_agree_and_no_process_is_left(tmp_path: Path) -> None:
    outcomes: dict[str, Outcome] = {}
    jobs = [Job(scenario=SCENARIO, site=SITE, mode=mode, folder=str(tmp_path / mode)) for mode in SCENARIO.modes]
    for job, outcome in run_all(jobs, workers=1, now_s=perf_counter):
        outcomes[job.mode] = outcome
    assert processes_of(tmp_path) == []
    real, framed = outcomes["real"], outcomes["lockstep"]
    assert framed.held, framed.wrong
    assert real.held, real.wrong
    assert real.restarts == 0
    assert real.decisions > SCENARIO.length_s, "at least one a second"
    assert (tmp_path / "real" / "controller.log").is_file()
    pairs = list(zip(framed.trace.battery_w, real.trace.battery_w, strict=False))
    assert len(pairs) >= SCENARIO.length_s - 1
    alike = sum(abs(a - b) <= RATED_W * NEAR_PCT / 100 for a, b in pairs)
    assert alike >= ALIKE * len(pairs), pairs
    assert max(real.trace.battery_w) > 4500
    assert {one.invariant: one.held for one in real.verdicts} == {one.invariant: one.held for one in framed.verdicts}
    assert [one.fault for one in real.faults] == [one.fault for one in framed.faults]
    assert all(one.effects for one in real.faults)


@pytest.mark.timeout(120)
def test_a_real_run_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    job = Job(scenario=SCENARIO, site=SITE, mode="real", folder=str(tmp_path / "real"))
    told: list[float] = []
    runs = run_all([job], workers=1, now_s=lambda: 1e9 if told else 0.0, tell=lambda progress: told.append(1.0))
    ((_, outcome),) = runs
    assert "it hangs" in outcome.wrong[0]
    assert told, "it was under way"
    assert processes_of(tmp_path) == []
