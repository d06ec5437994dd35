"""One run of one scenario: in lockstep and model mode in this process, in real time in three."""

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from controller.journal import Entry, read, replay
from controller.model import Site
from hil.clock import run_virtual
from hil.faults import VERBS
from hil.faults.schedule import resolve
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from hil.run.lockstep import START_S, Lockstep, running
from hil.run.model import Model
from hil.run.mutants import Mutant, mutated
from hil.run.outcome import Mode, Outcome
from hil.run.player import Player
from hil.run.realtime import play_real
from hil.scenario.words import Scenario

LOG_LINES_PER_HOUR = 5000  # of the controller; beyond it fills the card of a small gateway
LOG_LINES_MIN = 500
Progress = Callable[[Player], None]


class Refused(Exception):
    """A scenario that cannot run in a mode. The text says why."""


def play(
    scenario: Scenario,
    site: Site,
    folder: Path,
    *,
    mode: Mode = "lockstep",
    mutant: Mutant | None = None,
    progress: Progress = lambda player: None,
) -> Outcome:
    """Run a scenario and judge it. folder takes the journal; one of a run before is deleted.

    Raises Refused for a mode that the scenario is not for, and for a mutant in real time.
    """
    if mode not in scenario.modes:
        raise Refused(f"{scenario.id} does not run in mode {mode}, only in {', '.join(scenario.modes)}")
    if mode == "real" and mutant:
        raise Refused("a mutant runs in lockstep and model mode only")
    shutil.rmtree(folder / "journal", ignore_errors=True)  # a controller would go on where that run ended
    with _Lines() as lines:
        if mode == "lockstep":
            outcome = run_virtual(_lockstep(scenario, site, folder, mutant, progress))
        elif mode == "model":
            outcome = _model(scenario, site, mutant, progress)
        else:
            outcome = asyncio.run(play_real(scenario, site, folder, progress))
    most = max(LOG_LINES_MIN, LOG_LINES_PER_HOUR * scenario.length_s / 3600)
    if lines.count > most:
        flood = f"the controller wrote {lines.count} lines of log; {most:.0f} are allowed"
        outcome = msgspec.structs.replace(outcome, held=False, wrong=(*outcome.wrong, flood))
    return msgspec.structs.replace(outcome, mutant=mutant.name if mutant else "", journal=str(folder / "journal"))


async def _lockstep(scenario: Scenario, site: Site, folder: Path, mutant: Mutant | None, progress: Progress) -> Outcome:
    loop = asyncio.get_running_loop()
    plant = _plant(scenario, site, mutant, loop.time())
    players: list[Player] = []
    done = asyncio.Event()

    def tick(bench: Lockstep, now_s: float) -> None:
        if players:
            players[0].tick(now_s)
            progress(players[0])
            if players[0].over:
                done.set()

    bench = Lockstep(site, folder, plant, _wired(scenario))
    utc_ms = _utc_ms(scenario)
    if utc_ms is not None:
        bench.clock.boot(utc_ms - round(START_S * 1000))
    async with running(bench, tick):
        players.append(Player(scenario, site, bench, mode="lockstep", begun_s=loop.time()))
        await bench.until(done)
        supervisor = bench.supervisor
        expected = scenario.judge.restarts != 0
        wrong = [] if expected else [f"the controller failed: {error!r}" for error in supervisor.failures]
        decisions = bench.service.decisions if supervisor.service else 0
        outcome = players[0].outcome(restarts=supervisor.restarts, decisions=decisions, wrong=tuple(wrong))
    return _replayed(outcome, folder / "journal", scenario)


def _replayed(outcome: Outcome, journal: Path, scenario: Scenario) -> Outcome:
    """Add what the journal has to say: it is whole, and each decision follows from what was recorded as known."""
    if any(VERBS[resolve(fault).do].layer == "disk" for fault in scenario.fault):
        return outcome  # whatever is left of it is judged by the crash sweeps
    wrong = [f"the journal is damaged: {damage}" for segment in read(journal) for damage in segment.damage]
    result = replay(journal)
    if result.first is not None:
        wrong.append(f"the replay differs: {result.first}")
    if not result.entries:
        wrong.append("nothing was recorded")
    return msgspec.structs.replace(outcome, held=outcome.held and not wrong, wrong=(*outcome.wrong, *wrong))


def _model(scenario: Scenario, site: Site, mutant: Mutant | None, progress: Progress) -> Outcome:
    plant = _plant(scenario, site, mutant, 1000.0)
    entries: list[Entry] = []
    bench = Model(site, plant, record=entries.append)
    utc_ms = _utc_ms(scenario)
    if utc_ms is not None:
        bench.clock.boot(utc_ms - round(START_S * 1000))
    bench.run(plant.now_s + START_S)
    player = Player(scenario, site, bench, mode="model", begun_s=bench.clock.now_s)

    def tick(now_s: float) -> None:
        player.tick(now_s)
        progress(player)

    bench.run(bench.clock.now_s + scenario.length_s, tick)
    return player.outcome(restarts=0, decisions=len(entries))


def _utc_ms(scenario: Scenario) -> int | None:
    return None if scenario.start is None else round(scenario.start.timestamp() * 1000)


def _plant(scenario: Scenario, site: Site, mutant: Mutant | None, start_s: float) -> Plant:
    spec = plant_spec(site, scenario.plant)
    return Plant(mutated(spec, mutant) if mutant else spec, scenario.seed, start_s)


def _wired(scenario: Scenario) -> frozenset[str]:
    """Return the devices that a fault of the wire hits: only they need a proxy, which costs time."""
    whole = [resolve(fault) for fault in scenario.fault]
    return frozenset(fault.on for fault in whole if VERBS[fault.do].layer == "wire")


class _Lines(logging.Handler):
    """Counts what the controller logs, and keeps it from the screen."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __enter__(self) -> "_Lines":
        logger = logging.getLogger("linepack")
        self._propagates, logger.propagate = logger.propagate, False
        self._level = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logger = logging.getLogger("linepack")
        logger.removeHandler(self)
        logger.propagate = self._propagates
        logger.setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        """Count one line."""
        self.count += 1
