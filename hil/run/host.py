"""The host of a site's emulated devices: the plant, a device in front of each part, and a wire to each device."""

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from controller.model import Device as SiteDevice
from controller.model import Site
from hil.children import HOST
from hil.devices import BatteryDevice, Device, InputsDevice, InverterDevice, MeterDevice, ModbusDevice
from hil.plant.battery import Battery
from hil.plant.inputs import Inputs
from hil.plant.inverter import Inverter
from hil.plant.site import Plant
from hil.wire.can import CanWire
from hil.wire.proxy import Wire
from hil.wire.pty import Pty

TICK_S = 0.1
PTY = "pty"


class Host:
    """A site's devices at work. wires holds a TCP proxy by device name, can_wires a filter by battery name."""

    def __init__(
        self, site: Site, plant: Plant, *, wired: frozenset[str] = frozenset(), can: str | None = None
    ) -> None:
        """wired: devices that are reached through a proxy, so that faults of the wire can hit them.

        can: the interface of the kernel that the batteries sit on; None = each is a serial adapter (slcan) on TCP,
        PTY = on a pseudo-terminal.
        """
        self.site, self.plant = site, plant
        self._can = None if can == PTY else can
        self._terminals: dict[str, Pty] = {}
        self._on_terminals = can == PTY
        self.can_wires: dict[str, CanWire] = {}
        self.devices: dict[str, Device] = {device.name: self._device(device) for device in site.device}
        self.wires = {name: Wire() for name in self.devices if name in wired}
        self.ports: dict[str, int] = {}  # where the controller finds each device

    async def start(self, ports: Mapping[str, int] | None = None) -> None:
        """Let every device listen: on the given ports, else on free ones. Raises LinkError or OSError."""
        wanted = ports or {}
        for name, device in self.devices.items():
            wire = self.wires.get(name)
            await device.start(HOST, 0 if wire else wanted.get(name, 0))
            self.ports[name] = device.port
            if wire:
                await wire.start(HOST, wanted.get(name, 0), HOST, device.port)
                self.ports[name] = wire.port
            if self._on_terminals and name in self.can_wires:
                terminal = self._terminals[name] = Pty()
                await terminal.start(HOST, self.ports[name])

    async def run(self, tick: Callable[[float], None] = lambda now_s: None) -> None:
        """Move the plant ten times a second until cancelled; tick(now_s) is called after each move."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            now_s = loop.time()
            self.plant.advance(now_s)
            for device in self.devices.values():
                device.tick()
            tick(now_s)
            due_s = max(due_s + TICK_S, now_s)
            await asyncio.sleep(due_s - loop.time())

    async def close(self) -> None:
        """Take every device and wire away."""
        for terminal in self._terminals.values():
            await terminal.close()
        for wire in self.wires.values():
            await wire.close()
        for device in self.devices.values():
            await device.close()

    def reached(self, site: Site) -> Site:
        """Return the site with each device at the address where the host serves it."""
        return msgspec.structs.replace(site, device=tuple(self._at(device) for device in site.device))

    def _device(self, device: SiteDevice) -> Device:
        part = self.plant.parts[device.name]
        if isinstance(part, Inverter):
            return InverterDevice(self.plant, device.name)
        if isinstance(part, Battery):
            self.can_wires[device.name] = CanWire()
            return BatteryDevice(self.plant, device.name, wire=self.can_wires[device.name], can=self._can)
        if isinstance(part, Inputs):
            return InputsDevice(self.plant, device.name)
        return MeterDevice(self.plant, device.name)

    def _at(self, device: SiteDevice) -> SiteDevice:
        port = self.ports[device.name]
        if isinstance(self.devices[device.name], ModbusDevice):
            url = f"tcp://{HOST}:{port}?unit=1"
        elif device.name in self._terminals:
            url = f"slcan://{self._terminals[device.name].path}"
        elif self._can:
            url = f"socketcan://{self._can}"
        else:
            url = f"slcan://{HOST}:{port}"
        return msgspec.structs.replace(device, url=url)
