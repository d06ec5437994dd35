"""Real time: the controller as it is shipped, the devices in another process on real ports, and the judge in this one.

Faults of process and line act here (the controller is a child and is started again as systemd would), all others in
the process that serves the devices.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TypeVar

import msgspec

from controller.app import commissioning
from controller.journal import Follower, read, replay
from controller.model import Decision, Journal, Site
from hil.children import HOST, Child, ChildError, answers, start
from hil.faults import VERBS
from hil.faults.words import Armed, Heal
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from hil.run.lockstep import free_port
from hil.run.outcome import Outcome
from hil.run.player import Player
from hil.run.remote import RemotePlant, first_line
from hil.run.utility import Utility
from hil.scenario.load import dump
from hil.scenario.toml import plain, toml
from hil.scenario.words import Scenario

START_S = 20.0
RESTART_S = 0.5  # RestartSec of systemd/linepack.service
TICK_S = 0.1
HERE = ("process", "utility")  # layers whose faults act in this process

Progress = Callable[[Player], None]
T = TypeVar("T")


class Gateway:
    """The controller's process, started again whenever it ends."""

    def __init__(self, site_file: Path, folder: Path) -> None:
        self.restarts = -1
        self.child: Child | None = None
        self._site_file, self._folder = site_file, folder

    async def run(self) -> None:
        """Keep it running until cancelled."""
        try:
            while True:
                self.restarts += 1
                self.child = await start(
                    "controller", "controller.app.main", ["run", str(self._site_file)], self._folder
                )
                await self.child.process.wait()
                await asyncio.sleep(RESTART_S)
        finally:
            if self.child is not None:
                await self.child.stop()

    def kill(self, turns: int = 0) -> None:
        """Kill it (SIGKILL) now; where in its work cannot be chosen from outside."""
        if self.child is not None and self.child.process.returncode is None:
            self.child.process.kill()


class RealTime:
    """A site of three processes. What a fault of this process hits: supervisor and utility."""

    def __init__(self, site: Site, plant: RemotePlant, gateway: Gateway, journal: Path) -> None:
        loop = asyncio.get_running_loop()
        self.site, self.plant, self.supervisor = site, plant, gateway
        port = int(site.utility.listen.rpartition(":")[2])
        self.utility = Utility(site, lambda: port, loop.time)
        self.decision: Decision | None = None
        self.decisions = 0
        self._follower = Follower(journal)

    def look(self) -> None:
        """Take in what was decided since the last look."""
        for entry in self._follower.poll():
            self.decision = entry.decision
            self.decisions += 1

    async def complete(self) -> None:
        """Wait for the first decision that misses no device."""
        while True:
            for entry in self._follower.poll():
                if entry.snapshot.readings and not entry.snapshot.missing and entry.decision.commands:
                    return
            await asyncio.sleep(TICK_S)


async def play_real(scenario: Scenario, site: Site, folder: Path, progress: Progress) -> Outcome:
    """Run a scenario in real time and judge it. Raises ChildError where a process ends by itself or does not start up.

    SIGTERM ends it in order: no process of it is left behind.
    """
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with contextlib.AsyncExitStack() as stack:
        devices = await _serve(scenario, site, folder)
        stack.push_async_callback(devices.stop)
        line = await _started(devices, first_line(folder / "devices.log", START_S))
        described = msgspec.json.decode(line, type=dict)
        parts = Plant(plant_spec(site, scenario.plant)).parts
        plant = RemotePlant(int(described["control"].rpartition(":")[2]), parts)
        reached = _reached(site, described["devices"])
        site_file = folder / "site.toml"
        site_file.write_text(toml(plain(reached)), "utf-8")
        commissioning.record(site_file, by="bench")
        gateway = Gateway(site_file, folder)
        bench = RealTime(reached, plant, gateway, folder / "journal")
        group = await stack.enter_async_context(_Group())
        group.add(plant.run(), gateway.run(), bench.utility.run())
        await _started(devices, plant.fresh.wait())
        await _started(gateway.child, bench.complete())
        if gateway.child is not None:
            await answers(gateway.child, int(reached.utility.listen.rpartition(":")[2]), START_S)
        outcome = await _played(scenario, bench, devices, progress)
        group.check()
    return _replayed(outcome, folder / "journal")


async def _started(child: Child | None, work: Coroutine[None, None, T]) -> T:
    """Return what comes once a process has started up. Raises ChildError with its last words where nothing comes."""
    try:
        return await asyncio.wait_for(work, START_S)
    except TimeoutError:
        told = f"the {child.name} process:\n{child.tail()}" if child else "no controller process"
        raise ChildError(f"not started up after {START_S:g} s; {told}") from None


async def _played(scenario: Scenario, bench: RealTime, devices: Child, progress: Progress) -> Outcome:
    loop = asyncio.get_running_loop()
    player = Player(scenario, bench.site, bench, mode="real", begun_s=loop.time())
    for armed in player.schedule.armed:
        if armed.verb.layer not in HERE:
            armed.verb = msgspec.structs.replace(VERBS[armed.verb.name], begin=_there)
    due_s = loop.time()
    while not player.over:
        bench.look()
        devices.check()
        player.tick(loop.time())
        progress(player)
        due_s = max(due_s + TICK_S, loop.time())
        await asyncio.sleep(due_s - loop.time())
    player.schedule.heal(player.t_s)
    await bench.plant.settle()
    wrong = tuple(f"the served site refused: {error}" for error in bench.plant.errors)
    return player.outcome(restarts=bench.supervisor.restarts, decisions=bench.decisions, wrong=wrong)


def _there(bench: RealTime, armed: Armed) -> Heal:
    return bench.plant.begin(armed)


async def _serve(scenario: Scenario, site: Site, folder: Path) -> Child:
    """Start the devices' process with the scenario's plant."""
    (folder / "played.toml").write_text(dump(scenario), "utf-8")
    (folder / "plant-site.toml").write_text(toml(plain(site)), "utf-8")
    arguments = ["serve", str(folder / "plant-site.toml"), "--free-ports", "--control", "0"]
    arguments += ["--seed", str(scenario.seed), "--plant", msgspec.json.encode(scenario.plant).decode()]
    return await start("devices", "hil.main", arguments, folder)


def _reached(site: Site, urls: dict[str, str]) -> Site:
    """Return the site at the served addresses, with a port and a journal of its own."""
    return msgspec.structs.replace(
        site,
        device=tuple(msgspec.structs.replace(device, url=urls[device.name]) for device in site.device),
        utility=msgspec.structs.replace(site.utility, listen=f"{HOST}:{free_port()}"),
        journal=Journal(directory="journal", max_mb=site.journal.max_mb),
    )


def _replayed(outcome: Outcome, journal: Path) -> Outcome:
    wrong = [f"the journal is damaged: {damage}" for segment in read(journal) for damage in segment.damage]
    result = replay(journal)
    if result.first is not None:
        wrong.append(f"the replay differs: {result.first}")
    return msgspec.structs.replace(outcome, held=outcome.held and not wrong, wrong=(*outcome.wrong, *wrong))


class _Group:
    """Tasks that live as long as the block."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "_Group":
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add(self, *works: object) -> None:
        """Let works run."""
        for work in works:
            assert asyncio.iscoroutine(work)
            self._tasks.append(asyncio.get_running_loop().create_task(work))

    def check(self) -> None:
        """Raise what ended one of them."""
        for task in self._tasks:
            if task.done() and (error := task.exception()) is not None:
                raise ChildError(str(error)) from error
