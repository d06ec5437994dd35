"""A whole site served in real time, for any controller: real ports, the plant behind them, faults switched live."""

import asyncio
from collections.abc import Mapping

import msgspec

from controller.model import Site
from hil.children import HOST
from hil.faults.schedule import Schedule, resolve
from hil.faults.words import PLACES, Fault
from hil.plant.site import Plant
from hil.run.control import ControlServer, Demand, DemandError
from hil.run.fit import Changes, plant_spec
from hil.run.host import Host
from hil.run.player import UTILITY
from hil.scenario.draft import INPUTS as PLAYED
from hil.scenario.draft import inputs_of

# Utility and controller are somebody else's: what can be set here, and what a fault can hit beside the devices.
INPUTS = {name: bounds for name, bounds in PLAYED.items() if not name.startswith(UTILITY)}
SERVED = ("grid", "local")


class Served:
    """A site's devices on real ports with their control line."""

    def __init__(self, site: Site, *, changes: Changes | None = None, seed: int = 1, can: str | None = None) -> None:
        """changes: of the parts' specs. can: the kernel's interface for the batteries; None = slcan on TCP.

        Raises ValueError for changes that do not fit.
        """
        now_s = asyncio.get_running_loop().time()
        self.site = site
        self.plant = Plant(plant_spec(site, changes), seed, now_s)
        self.host = Host(site, self.plant, wired=frozenset(device.name for device in site.device), can=can)
        self.wires, self.can_wires, self.devices = self.host.wires, self.host.can_wires, self.host.devices
        self.schedule = Schedule((), seed, "real")
        self.control = ControlServer(self._answer)
        self._begun_s = now_s
        self._inputs = INPUTS | inputs_of(site)

    async def start(self, ports: Mapping[str, int] | None = None, control_port: int = 0) -> None:
        """Listen everywhere. Raises LinkError or OSError where a port cannot be had."""
        await self.host.start(ports)
        await self.control.start(HOST, control_port)

    async def run(self) -> None:
        """Serve until cancelled."""
        await self.host.run(self._tick)

    async def close(self) -> None:
        """Take everything away."""
        await self.control.close()
        await self.host.close()

    def described(self) -> dict[str, object]:
        """Return where everything is, for people and programs."""
        site = self.host.reached(self.site)
        return {
            "site": site.name,
            "devices": {device.name: device.url for device in site.device},
            "control": f"{HOST}:{self.control.port}",
            "inputs": list(self._inputs),
        }

    def _tick(self, now_s: float) -> None:
        self.schedule.tick(now_s - self._begun_s, self, lambda expression: False)
        self.plant.cut = set(self.schedule.cut)

    def _answer(self, demand: Demand) -> object:
        doing = {
            "describe": self.described,
            "truth": lambda: self.plant.truth(),
            "set": lambda: self._set(demand.name, demand.value),
            "arm": lambda: self._arm(demand.fault),
            "disarm": lambda: self._disarm(demand.number),
            "faults": self._faults,
        }
        if demand.do not in doing:
            raise DemandError(f"do: {demand.do!r} read, allowed are {', '.join(doing)}, watch")
        return doing[demand.do]()

    def _set(self, name: str, value: float) -> dict[str, object]:
        if name not in self._inputs:
            raise DemandError(f"set: {name!r} read, allowed are {', '.join(self._inputs)}")
        low, high = self._inputs[name]
        if not low <= value <= high:
            raise DemandError(f"set: {value:g} read, allowed for {name} is a number from {low:g} to {high:g}")
        self.plant.set(name, value)
        return {"name": name, "value": value}

    def _arm(self, fault: Fault | None) -> dict[str, object]:
        if fault is None:
            raise DemandError("arm: the fault is missing")
        try:
            on = resolve(fault).on
            if on in PLACES and on not in SERVED:
                allowed = ", ".join((*self.devices, *SERVED))
                raise DemandError(f"arm: on {on!r} read, allowed are {allowed}")
            return {"number": self.schedule.arm(fault, self._now_s(), self)}
        except ValueError as error:
            raise DemandError(str(error)) from error

    def _disarm(self, number: int) -> dict[str, object]:
        try:
            self.schedule.disarm(number, self._now_s())
        except LookupError as error:
            raise DemandError(f"disarm: {error}") from error
        return {"number": number}

    def _faults(self) -> list[dict[str, object]]:
        return [
            {"number": n, "fault": msgspec.to_builtins(one.fault), "active": one.active, "effects": one.effects}
            for n, one in enumerate(self.schedule.armed)
        ]

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time() - self._begun_s
