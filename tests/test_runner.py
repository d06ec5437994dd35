"""Runs side by side: one that hangs, dies, raises, eats memory or floods its log is a verdict, and the others go on."""

import logging
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import pytest

from controller.app import sitefile
from hil.commands.run import SCENARIOS
from hil.run import play as real
from hil.run import runner
from hil.run.mutants import MUTANTS
from hil.run.outcome import Outcome
from hil.run.play import Refused
from hil.run.player import Player
from hil.run.runner import Job, Progress, run_all
from hil.scenario.load import find
from hil.scenario.words import Scenario
from hil.stage import DEMO_SITE

SITE = sitefile.load(DEMO_SITE)
((_, WHOLE),) = find(SCENARIOS, ["poi-export-load-drop"])
GOOD = "good"
Play = Callable[..., Outcome]


def a_job(name: str, **changes: Any) -> Job:
    """Return a job of five seconds in model mode."""
    scenario = Scenario(id=name, title="for the test", site="demo", length_s=5.0, stimulus=WHOLE.stimulus)
    return Job(scenario=scenario, site=SITE, mode="model", **changes)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let temporary folders lie here."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_left_behind(room: Path) -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert list(room.glob("linepack-*")) == [], "a folder of a run is left behind"


def played(monkeypatch: pytest.MonkeyPatch, bad: Play, *jobs: Job, workers: int = 2) -> dict[str, Outcome]:
    """Run the jobs; all but the good ones are played by `bad`."""

    def play(scenario: Scenario, *rest: Any, **named: Any) -> Outcome:
        if scenario.id.startswith(GOOD):
            return real.play(scenario, *rest, **named)
        return bad(scenario, *rest, **named)

    monkeypatch.setattr(runner, "play", play)
    return {job.scenario.id: outcome for job, outcome in run_all(jobs, workers=workers, now_s=perf_counter)}


def hang(*given: Any, **named: Any) -> Outcome:
    while True:
        signal.pause()


def hang_on(*given: Any, **named: Any) -> Outcome:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return hang()


def leave(*given: Any, **named: Any) -> Outcome:
    os._exit(3)


def be_killed(*given: Any, **named: Any) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    return hang()


def fail(*given: Any, **named: Any) -> Outcome:
    raise ValueError("no such thing")


def eat(*given: Any, **named: Any) -> Outcome:
    eaten = []
    while True:
        eaten.append(bytearray(1 << 26))


def flood(scenario: Scenario, *rest: Any, **named: Any) -> Outcome:
    log = logging.getLogger("linepack.test")
    lines = real.LOG_LINES_MIN // 50 + 1  # 51 ticks of a tenth of a second

    def tell(player: Player) -> None:
        for number in range(lines):
            log.info("line %s", number)

    named["progress"] = tell
    return real.play(scenario, *rest, **named)


@pytest.mark.parametrize(
    ("bad", "wrong"),
    [
        (leave, "the run died with code 3"),
        (be_killed, "the run died with code -9"),
        (fail, "the run failed: ValueError: no such thing"),
        (eat, "the run takes more memory than 1024 MiB"),
        (flood, "lines of log; 500 are allowed"),
    ],
)
def test_a_run_that_goes_wrong_is_a_verdict_and_the_others_go_on(
    bad: Play, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "MEMORY_MAX_BYTES", 1 << 30)
    outcomes = played(monkeypatch, bad, a_job("good-1"), a_job("bad"), a_job("good-2"))
    assert {name: one.held for name, one in outcomes.items()} == {"good-1": True, "bad": False, "good-2": True}
    (told,) = outcomes["bad"].wrong
    assert wrong in told
    assert outcomes["bad"].title == "for the test"
    assert outcomes["good-1"].decisions > 0
    assert outcomes["good-1"].digest == outcomes["good-2"].digest


@pytest.mark.parametrize("bad", [hang, hang_on])
def test_a_run_that_hangs_is_killed(bad: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "WALL_MIN_S", 0.2)
    monkeypatch.setattr(runner, "END_S", 0.2)
    outcomes = played(monkeypatch, bad, a_job("bad"), workers=1)
    assert outcomes["bad"].wrong == ("it hangs: not over after 1 s, and was killed",)
    assert not outcomes["bad"].held


def test_a_run_that_hangs_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall is 60 s away: the others are told long before."""

    def play(scenario: Scenario, *rest: Any, **named: Any) -> Outcome:
        return real.play(scenario, *rest, **named) if scenario.id.startswith(GOOD) else hang()

    monkeypatch.setattr(runner, "play", play)
    runs = run_all([a_job("bad"), a_job("good-1"), a_job("good-2")], workers=2, now_s=perf_counter)
    assert [next(runs)[0].scenario.id, next(runs)[0].scenario.id] == ["good-1", "good-2"]
    runs.close()  # type: ignore[attr-defined]


def test_a_run_that_dies_in_the_middle_of_its_message_is_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(job: Job, folder: Path, pipe: Any) -> None:
        os.write(pipe.fileno(), b"\x00\x00\x10\x00half")
        os._exit(5)

    monkeypatch.setattr(runner, "_child", half)
    ((_, outcome),) = run_all([a_job("bad")], workers=1, now_s=perf_counter)
    assert outcome.wrong == ("the run died with code 5",)


def test_what_a_run_leaves_in_a_folder_of_its_own_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kept" / "deep"
    outcomes = played(monkeypatch, leave, a_job("bad", folder=str(folder)))
    assert not outcomes["bad"].held
    assert folder.is_dir()


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Progress] = []
    scenario = msgspec.structs.replace(a_job("good").scenario, length_s=12.0)
    job = msgspec.structs.replace(a_job("good"), scenario=scenario)
    ((_, outcome),) = run_all([job], workers=1, now_s=perf_counter, tell=told.append)
    assert outcome.held
    assert [round(one.t_s, 3) for one in told] == [0.0, 5.0, 10.0]
    assert {one.scenario for one in told} == {"good"}


def test_how_long_a_run_may_take() -> None:
    """A minute to begin with, and then a fifth of the scenario's time; in real time all of it."""
    assert a_job("good").wall_s == 61.0
    assert msgspec.structs.replace(a_job("good"), mode="lockstep").wall_s == 61.0
    assert msgspec.structs.replace(a_job("good"), mode="real").wall_s == 65.0


def test_no_jobs_no_outcomes() -> None:
    assert list(run_all([], workers=2, now_s=perf_counter)) == []


def test_a_run_that_cannot_be_is_refused(tmp_path: Path) -> None:
    scenario = a_job("good").scenario
    with pytest.raises(Refused, match="does not run in mode real, only in lockstep, model"):
        real.play(scenario, SITE, tmp_path, mode="real")
    anywhere = msgspec.structs.replace(scenario, modes=("lockstep", "model", "real"))
    with pytest.raises(Refused, match="lockstep and model mode only"):
        real.play(anywhere, SITE, tmp_path, mode="real", mutant=MUTANTS["instant"])
