"""SIGKILL at any moment: real processes, real time, real frames; the plant, the journal and the next life bear it."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from controller.app import commissioning
from controller.app.sitefile import load
from controller.journal import read, replay
from controller.link.modbus_server import Request
from hil.devices import InverterDevice
from hil.judge import INVARIANTS, Allowed, Judge
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from hil.run.host import Host
from hil.stage import DEMO_SITE

SEED = 20260715
KILLS = 15
DEFAULT_W = 3000  # what the site does by itself while no utility is there
WATCHDOG_S = 1
LIFE_S = 20  # at most, from the start of a process to its control of the site on a loaded machine
HOST = "127.0.0.1"


class Killing:
    """A hook of the inverter that kills the controller in the moment of a request."""

    def __init__(self) -> None:
        self._victim = 0
        self._left = 0
        self._controlled = False  # count only from the first set point on

    def will_kill(self, pid: int, after_requests: int, *, in_control: bool) -> None:
        """Kill pid in the moment of that request, counted from its first one or from its first set point on."""
        self._victim, self._left, self._controlled = pid, after_requests, not in_control

    def asked(self, request: Request) -> Request:
        return request

    def answered(self, request: Request, answer: bytes | int | None) -> bytes | int | None:
        self._controlled = self._controlled or (request.function == 16 and request.count > 4)
        if self._victim and self._controlled:
            self._left -= 1
            if self._left <= 0:
                os.kill(self._victim, signal.SIGKILL)
                self._victim = 0
        return answer


async def until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    loop = asyncio.get_running_loop()
    end_s = loop.time() + within_s
    while not condition():
        assert loop.time() < end_s, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.01)


def a_site(folder: Path, device_ports: dict[str, int]) -> Path:
    """Write the demo's site with short leases, at the ports of these devices, steady at DEFAULT_W without a utility."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        ports = {8502: probe.getsockname()[1], 8503: device_ports["inverter"]}
    ports |= {8504: device_ports["meter"], 8505: device_ports["battery"]}
    text = DEMO_SITE.read_text()
    for known, port in ports.items():
        text = text.replace(f":{known}", f":{port}")
    text = text.replace("watchdog_s = 4", f"watchdog_s = {WATCHDOG_S}").replace("cycle_ms = 1000", "cycle_ms = 200")
    text = text.replace("poll_ms = 200", "poll_ms = 50")
    text = text.replace('program = "self_consumption"', f"power_w = {DEFAULT_W}")
    path = folder / "site.toml"
    path.write_text(text)
    commissioning.record(path, by="bench")
    return path


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Plant, Killing, Path]]:
    """Run the devices and judge the plant for as long as the block lasts."""
    loop, demo, killing = asyncio.get_running_loop(), load(DEMO_SITE), Killing()
    plant = Plant(plant_spec(demo), start_s=loop.time())
    host = Host(demo, plant)
    await host.start()
    inverter = host.devices["inverter"]
    assert isinstance(inverter, InverterDevice)
    inverter.hooks.append(killing)
    site = a_site(folder, host.ports)
    # Whoever is killed again and again has set points that go to and fro: their way is nobody's limit cycle.
    judge = Judge(load(site), Allowed(expiry_s=2.5 + WATCHDOG_S), INVARIANTS.keys() - {"travel"})

    async def judging() -> None:
        while True:
            plant.advance(loop.time())
            judge.sample(plant.truth())
            await asyncio.sleep(0.05)

    tasks = [loop.create_task(host.run()), loop.create_task(judging())]
    try:
        yield plant, killing, site
        assert not [task for task in tasks if task.done()]
        broken = [verdict for verdict in judge.verdicts() if not verdict.held]
        assert not broken, "\n".join(f"{verdict.says}: {verdict.where}" for verdict in broken)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await host.close()


async def start(site: Path) -> asyncio.subprocess.Process:
    with (site.parent / "log").open("ab") as log:
        line = ("-m", "controller.app.main", "run", str(site))
        return await asyncio.create_subprocess_exec(sys.executable, *line, stdout=log, stderr=log)


async def ended(process: asyncio.subprocess.Process, site: Path) -> int:
    try:
        return await asyncio.wait_for(process.wait(), LIFE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError((site.parent / "log").read_text()[-2000:]) from None


def recorded(journal: Path) -> int:
    """Return how many entries can be read; anything but a torn end of a segment fails."""
    entries = 0
    for segment in read(journal):
        assert all(damage.because == "cut or damaged up to the end" for damage in segment.damage), segment.damage
        entries += len(segment)
    return entries


async def test_the_controller_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    journal = tmp_path / "journal"
    async with serving(tmp_path) as (plant, killing, site):
        known = 0

        def delivers(power_w: int) -> Callable[[], bool]:
            return lambda: abs(plant.value("inverter.ac_w") - power_w) < 100

        for number in range(KILLS):
            process = await start(site)
            in_control = number % 3 > 0  # a third dies before it ever controlled the site
            killing.will_kill(process.pid, chance.randrange(1, 40 if in_control else 15), in_control=in_control)
            assert await ended(process, site) == -signal.SIGKILL
            now = recorded(journal)
            assert now >= known + in_control
            known = now

        process = await start(site)
        await until(delivers(DEFAULT_W), LIFE_S, "the site is back in control")
        process.kill()
        await process.wait()
        await until(delivers(0), WATCHDOG_S + 3, "the inverter falls back by its own timer")

        process = await start(site)
        await until(delivers(DEFAULT_W), LIFE_S, "the site is back in control")
        process.terminate()
        assert await ended(process, site) == 0
    assert recorded(journal) > known
    result = replay(journal)
    assert result.first is None, str(result.first)
    runs = {segment.header.run for segment in read(journal) if segment.header is not None}
    assert len(runs) >= KILLS * 2 // 3 + 2
