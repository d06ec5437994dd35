"""Controllers that live and die: one without any device, and a whole bench on which faults are armed by name."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path

import msgspec

from controller.app.sitefile import load
from controller.model import Default, Site
from hil.clock import VirtualClock, VirtualLoop, run_virtual
from hil.faults.schedule import Schedule
from hil.faults.words import Armed, Fault, Value
from hil.judge import Judge
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from hil.run.lockstep import Lockstep, running
from hil.run.supervisor import Supervisor
from hil.stage import DEMO_SITE

HOST = "127.0.0.1"
CONTROL_S = 8.0  # from a start, or from the end of a fault, to a site that follows its utility


def free_port() -> int:
    """Return a port of loopback at which nobody is."""
    with socket.socket() as wire:
        wire.bind((HOST, 0))
        return int(wire.getsockname()[1])


def a_lonely_site() -> Site:
    """Return the demo's site with nobody at its devices' addresses."""
    site = load(DEMO_SITE)
    devices = (msgspec.structs.replace(one, url=_moved(one.url, free_port())) for one in site.device)
    utility = msgspec.structs.replace(site.utility, listen=f"{HOST}:{free_port()}")
    return msgspec.structs.replace(site, device=tuple(devices), utility=utility)


def _moved(url: str, port: int) -> str:
    place, mark, query = url.partition("?")
    return f"{place.rpartition(':')[0]}:{port}{mark}{query}"


def live_alone(folder: Path, story: Callable[[Supervisor], Coroutine[None, None, None]]) -> Supervisor:
    """Run a supervised controller without devices until the story ends, which begins when it has lived for 3 s."""

    async def main() -> Supervisor:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        supervisor = Supervisor(a_lonely_site(), folder, VirtualClock(), loop)
        running = asyncio.ensure_future(supervisor.run())
        await asyncio.sleep(3)
        await story(supervisor)
        running.cancel()
        await asyncio.wait((running,))
        assert running.cancelled(), running
        return supervisor

    return run_virtual(main())


class Site3kw:
    """The demo's site whose utility asks for 3 kW for ever, at rest without it. The judge watches it."""

    def __init__(self, bench: Lockstep) -> None:
        self.bench, self.supervisor, self.clock = bench, bench.supervisor, bench.clock
        self._schedule = Schedule((), 1, "lockstep")
        self._judge = Judge(bench.site)

    def arm(self, do: str, on: str, **params: Value) -> tuple[Armed, Callable[[], None]]:
        """Begin a fault; return what is known of it, and what ends it."""
        number = self._schedule.arm(Fault(do=do, on=on, params=params), self.bench.loop.time(), self.bench)
        return self._schedule.armed[number], lambda: self._schedule.disarm(number, self.bench.loop.time())

    def tick(self, now_s: float) -> None:
        """Look at the faults and at the plant."""
        self._schedule.tick(now_s, self.bench, lambda text: False)
        self.bench.plant.order_w = self.bench.utility.order_w
        self._judge.sample(self.bench.plant.truth())

    @property
    def power_w(self) -> float:
        """What the inverter delivers in truth."""
        return self.bench.plant.truth().units[0].ac_w

    @property
    def faults(self) -> set[str]:
        """The faults that the present decision tells."""
        decision = self.bench.decision
        return set() if decision is None else {fault.fault for fault in decision.faults}

    async def follows(self, within_s: float = CONTROL_S) -> None:
        """See that it follows its utility within this time."""
        for _ in range(round(within_s / 0.1)):
            if abs(self.power_w - 3000) < 100:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{self.power_w:.0f} W after {within_s} s; {self.faults}; {self.supervisor.ends}")

    def broken(self) -> list[str]:
        """Return what the judge has to object to."""
        return [f"{one.says}: {one.where}" for one in self._judge.verdicts() if not one.held]


def on_bench(folder: Path, story: Callable[[Site3kw], Coroutine[None, None, None]]) -> None:
    """Let the story hit a site that follows its utility; it must follow again at the end, and no limit be broken."""
    site = load(DEMO_SITE)
    site = msgspec.structs.replace(site, utility=msgspec.structs.replace(site.utility, default=Default(program="hold")))

    async def main() -> None:
        played: list[Site3kw] = []

        def tick(bench: Lockstep, now_s: float) -> None:
            for one in played:
                one.tick(now_s)

        async with running(Lockstep(site, folder, Plant(plant_spec(site), start_s=1000.0)), tick) as bench:
            played.append(Site3kw(bench))
            bench.utility.wish.set_w = 3000
            await played[0].follows()
            await story(played[0])
            await played[0].follows()
        assert not played[0].broken()

    run_virtual(main())
