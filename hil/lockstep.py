"""Lockstep: the real controller service and the emulated devices in one process on virtual time, with real frames."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from controller.app.service import Service
from controller.model import Device, Journal, Site, State
from hil.children import HOST
from hil.clock import VirtualClock
from hil.devices import KINDS, BatteryDevice
from hil.dispatch import Dispatch
from hil.wires import Wires


class Lockstep:
    """A site at work: wires (the truth), devices (the frames), service (the controller), utility (a client)."""

    def __init__(
        self, site: Site, folder: Path, clock: VirtualClock, state: State | None = None, can: str | None = None
    ) -> None:
        """Build the devices; addresses are filled in when they listen. can: the battery's interface, None for slcan."""
        self.site, self.folder, self.clock, self.state, self.can = site, folder, clock, state, can
        self.wires = Wires.create(None)
        self.devices = {name: kind(self.wires) for name, kind in KINDS.items()}
        if can:
            self.devices["battery"] = BatteryDevice(self.wires, can=can)
        self.service: Service
        self.utility: Dispatch

    async def wait(self, wait_s: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(wait_s)

    async def start(self) -> None:
        """Let devices listen on free ports and build the service for them."""
        ports = {}
        for name, device in self.devices.items():
            await device.start(HOST, 0)
            ports[name] = device.port
        site = _at_ports(self.site, ports, self.can)
        self.site = msgspec.structs.replace(
            site,
            utility=msgspec.structs.replace(site.utility, listen=f"{HOST}:0"),
            journal=Journal(directory="journal", max_mb=site.journal.max_mb),
        )
        self.restart()

    def restart(self) -> None:
        """Build a fresh service, as after a restart of the process."""
        self.service = Service(self.site, self.folder, state=self.state, clock=self.clock, sync_off_loop=False)

    async def connect_utility(self) -> None:
        """Let a third-party client find the utility server."""
        self.utility = Dispatch(self.service.door.port, self.site.utility.unit_id)
        await self.utility.discover()


@contextlib.asynccontextmanager
async def lockstep(
    site: Site, folder: Path, *, utility: bool = True, can: str | None = None, state: State | None = None
) -> AsyncIterator[Lockstep]:
    """Run a site in lockstep until the block ends; give it on once its first seconds have passed."""
    bench = Lockstep(site, folder, VirtualClock(), can=can, state=state)
    await bench.start()
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(device.run(), name=name) for name, device in bench.devices.items()]
    tasks.append(loop.create_task(bench.service.run(), name="service"))
    try:
        await bench.wait(3.0)
        if utility:
            await bench.connect_utility()
        yield bench
        failed = [task for task in tasks if task.done()]
        for task in failed:
            task.result()
        assert not failed, f"ended on their own: {[task.get_name() for task in failed]}"
    finally:
        if utility and hasattr(bench, "utility"):
            await bench.utility.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for device in bench.devices.values():
            await device.close()


def _at_ports(site: Site, ports: dict[str, int], can: str | None) -> Site:
    """Return the site with each device's address replaced by where the bench's device of its kind listens."""
    kinds = {site.poi.meter: "meter"}
    for unit in site.unit:
        kinds |= {unit.inverter: "inverter", unit.battery: "battery"}

    def moved(device: Device) -> Device:
        kind = kinds[device.name]
        scheme, query = ("slcan", "") if kind == "battery" else ("tcp", "?unit=1")
        url = f"socketcan://{can}" if can and kind == "battery" else f"{scheme}://{HOST}:{ports[kind]}{query}"
        return msgspec.structs.replace(device, url=url)

    return msgspec.structs.replace(site, device=tuple(moved(device) for device in site.device))
