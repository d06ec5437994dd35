"""Many runs side by side, each in a process of its own: one that hangs, dies or eats memory is a verdict of its own."""

import multiprocessing
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path

import msgspec

from controller.model import Site
from hil.run.mutants import MUTANTS
from hil.run.outcome import Mode, Outcome, Trace
from hil.run.play import play
from hil.run.player import Player
from hil.scenario.words import Scenario

WALL_MIN_S = 60.0
WALL_PER_S = 0.2  # a run that is slower than 5 times real time hangs
END_S = 8.0  # for a run in real time, to stop its processes
MEMORY_MAX_BYTES = 4 << 30
NO_TRACE = Trace(
    t_s=[], poi_w=[], load_w=[], pv_w=[], battery_w=[], order_w=[], target_w=[], low_w=[], high_w=[], soc=[]
)
TOLD_EVERY_S = 5.0  # of the scenario's time


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run to make. mutant: a name of MUTANTS, "" = the plant as it is."""

    scenario: Scenario
    site: Site
    mode: Mode = "lockstep"
    mutant: str = ""
    folder: str = ""  # "" = a temporary one that goes with the run

    @property
    def wall_s(self) -> float:
        """Return how long it may take."""
        slowest = 1.0 if self.mode == "real" else WALL_PER_S
        return WALL_MIN_S + slowest * self.scenario.length_s


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How far a run is, and which step it is at."""

    scenario: str
    t_s: float
    waits_for: str = ""


class _Running:
    """One child at work."""

    def __init__(self, job: Job, now_s: float) -> None:
        context = multiprocessing.get_context("fork")
        self.job, self.ends_s = job, now_s + job.wall_s
        self._room = None if job.folder else tempfile.mkdtemp(prefix="linepack-")
        folder = Path(self._room or job.folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_child, args=(job, folder, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def end(self) -> None:
        """Take it away, what it has started, and its folder where that is a temporary one."""
        self.process.terminate()
        self.process.join(END_S)
        self.process.kill()
        self.process.join()
        self.pipe.close()
        if self._room:
            shutil.rmtree(self._room, ignore_errors=True)


def run_all(
    jobs: Iterable[Job],
    *,
    workers: int,
    now_s: Callable[[], float],
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[tuple[Job, Outcome]]:
    """Yield each job with its outcome, in the order of their ends. now_s: real time."""
    waiting, running = iter(jobs), list[_Running]()
    try:
        while True:
            running += (_Running(job, now_s()) for job in islice(waiting, workers - len(running)))
            if not running:
                return
            left_s = min(one.ends_s for one in running) - now_s()
            ready = wait([one.pipe for one in running], timeout=max(0.0, left_s))
            for one in tuple(running):
                outcome = _heard(one, tell) if one.pipe in ready else None
                if outcome is None and now_s() >= one.ends_s:
                    outcome = ended(one.job, f"it hangs: not over after {one.job.wall_s:.0f} s, and was killed")
                if outcome is not None:
                    running.remove(one)
                    one.end()
                    yield one.job, outcome
    finally:
        for one in running:
            one.end()


def ended(job: Job, why: str) -> Outcome:
    """Return the outcome of a run that did not come to its own."""
    scenario = job.scenario
    return Outcome(
        scenario=scenario.id,
        title=scenario.title,
        mode=job.mode,
        seed=scenario.seed,
        length_s=scenario.length_s,
        held=False,
        wrong=(why,),
        verdicts=(),
        steps=(),
        measures=(),
        faults=(),
        log=(),
        stood=(),
        restarts=0,
        decisions=0,
        digest="",
        trace=NO_TRACE,
        mutant=job.mutant,
    )


def _heard(one: _Running, tell: Callable[[Progress], None]) -> Outcome | None:
    """Return the outcome when it came, or what a child left that died."""
    try:
        message = msgspec.msgpack.decode(one.pipe.recv_bytes(), type=Outcome | Progress)
    except (EOFError, OSError):  # OSError: it died in the middle of a message
        one.process.join()
        return ended(one.job, f"the run died with code {one.process.exitcode}")
    if isinstance(message, Outcome):
        return message
    tell(message)
    return None


def _child(job: Job, folder: Path, pipe: Connection) -> None:
    """Run one job and send what became of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
    told_s = -TOLD_EVERY_S

    def progress(player: Player) -> None:
        nonlocal told_s
        if player.t_s - told_s >= TOLD_EVERY_S:
            told_s = player.t_s
            told = Progress(scenario=job.scenario.id, t_s=player.t_s, waits_for=player.waits_for)
            pipe.send_bytes(msgspec.msgpack.encode(told))

    mutant = MUTANTS[job.mutant] if job.mutant else None
    try:
        outcome = play(job.scenario, job.site, folder, mode=job.mode, mutant=mutant, progress=progress)
    except MemoryError:
        outcome = ended(job, f"the run takes more memory than {MEMORY_MAX_BYTES >> 20} MiB")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this run's verdict
        outcome = ended(job, f"the run failed: {type(error).__name__}: {error}")
    pipe.send_bytes(msgspec.msgpack.encode(outcome))
    os._exit(0)
