"""Lockstep: the real controller service and the emulated devices in one process on virtual time, with real frames."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import msgspec

from controller.app.board import Board
from controller.app.service import Service
from controller.model import Decision, Journal, Site
from hil.children import HOST
from hil.clock import VirtualClock, VirtualLoop
from hil.devices import Device
from hil.plant.site import Plant
from hil.run.disk import Disk
from hil.run.fit import plant_spec
from hil.run.host import Host
from hil.run.supervisor import Supervisor
from hil.run.utility import Utility
from hil.wire.can import CanWire
from hil.wire.proxy import Wire

UTILITY = "utility"
START_S = 3.0  # until every device has been heard and the first commands are out

Tick = Callable[["Lockstep", float], None]


class Lockstep:
    """A site at work: plant and devices, the supervised controller, a third-party utility. All that a fault hits."""

    def __init__(self, site: Site, folder: Path, plant: Plant, wired: frozenset[str] = frozenset()) -> None:
        """wired: devices that are reached through a proxy, so that faults of the wire can hit them."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop), "lockstep runs on virtual time"
        self.loop, self.clock = loop, VirtualClock()
        self.folder, self.plant = folder, plant
        self.host = Host(site, plant, wired=wired)
        self.site = site
        self.utility = Utility(site, self._port, loop.time)
        self.supervisor: Supervisor
        self.wires: dict[str, Wire] = dict(self.host.wires)  # the proxies, by device name and for the utility
        if UTILITY in wired:
            self.wires[UTILITY] = Wire("server")
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def devices(self) -> Mapping[str, Device]:
        """The emulated devices by name."""
        return self.host.devices

    @property
    def can_wires(self) -> Mapping[str, CanWire]:
        """The filters of CAN frames by battery name."""
        return self.host.can_wires

    @property
    def disk(self) -> Disk:
        """The controller's disk."""
        return self.supervisor.disk

    @property
    def service(self) -> Service:
        """The controller of the present life."""
        assert self.supervisor.service is not None, "the controller is down"
        return self.supervisor.service

    @property
    def decision(self) -> Decision | None:
        """The last decision of the present life."""
        return None if self.supervisor.service is None else self.supervisor.service.decision

    @property
    def book(self) -> Board | None:
        """Where the controller's doors put what they are asked, None while it is down."""
        return None if self.supervisor.service is None else self.supervisor.service.board

    async def wait(self, wait_s: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(wait_s)

    async def start(self, tick: Tick = lambda bench, now_s: None) -> None:
        """Let devices listen on free ports, start the controller for them, and wait until it knows them all."""
        await self.host.start()
        site = self.host.reached(self.site)
        self.site = msgspec.structs.replace(
            site,
            utility=msgspec.structs.replace(site.utility, listen=f"{HOST}:{free_port()}"),
            journal=Journal(directory="journal", max_mb=site.journal.max_mb),
        )
        self.supervisor = Supervisor(self.site, self.folder, self.clock, self.loop)
        if UTILITY in self.wires:
            await self.wires[UTILITY].start(HOST, 0, HOST, self._site_port)
        self.tasks.append(self.loop.create_task(self.host.run(lambda now_s: tick(self, now_s)), name="host"))
        self.tasks.append(self.loop.create_task(self.supervisor.run(), name="supervisor"))
        await self.wait(START_S)

    async def until(self, event: asyncio.Event) -> None:
        """Wait for an event. Raises what ended a task of the bench before."""
        waiting = self.loop.create_task(event.wait())
        await asyncio.wait({waiting, *self.tasks}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for task in self.tasks:
            if task.done():
                task.result()

    async def close(self) -> None:
        """Take everything away."""
        await self.utility.hang_up()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if UTILITY in self.wires:
            await self.wires[UTILITY].close()
        await self.host.close()

    @property
    def _site_port(self) -> int:
        return int(self.site.utility.listen.rpartition(":")[2])

    def _port(self) -> int:
        return self.wires[UTILITY].port if UTILITY in self.wires else self._site_port


@contextlib.asynccontextmanager
async def lockstep(
    site: Site,
    folder: Path,
    *,
    plant: Plant | None = None,
    wired: frozenset[str] = frozenset(),
    tick: Tick = lambda bench, now_s: None,
) -> AsyncIterator[Lockstep]:
    """Run a site in lockstep until the block ends; give it on once its first seconds have passed.

    The utility's line is connected and the block asks by hand (bench.utility.ask). Raises what ended a task of the
    bench, or a life of the controller from inside.
    """
    loop = asyncio.get_running_loop()
    bench = Lockstep(site, folder, plant or Plant(plant_spec(site), start_s=loop.time()), wired)
    try:
        await bench.start(tick)
        await bench.utility.connect()
        yield bench
        for task in bench.tasks:
            if task.done():
                task.result()
        for error in bench.supervisor.failures:
            raise error
    finally:
        await bench.close()


@contextlib.asynccontextmanager
async def running(bench: Lockstep, tick: Tick = lambda bench, now_s: None) -> AsyncIterator[Lockstep]:
    """Run a bench until the block ends.

    The utility writes what bench.utility.wish says; the ends of the controller's lives are left to whoever looks at
    bench.supervisor.
    """
    try:
        await bench.start(tick)
        bench.tasks.append(bench.loop.create_task(bench.utility.run(), name="utility"))
        yield bench
    finally:
        await bench.close()


def free_port() -> int:
    """Return a port that is free now: the site keeps it over the restarts of its controller."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
