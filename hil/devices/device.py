"""What all emulated devices have in common: a plug, and physics that follow the loop's time."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol

from hil.wires import Wires


def loop_s() -> float:
    """Return the running loop's time in s, real or virtual."""
    return asyncio.get_running_loop().time()


class Server(Protocol):
    """What listens on the device's port."""

    @property
    def port(self) -> int:
        """The port listened on."""

    async def start(self, host: str, port: int) -> None:
        """Listen."""

    async def close(self) -> None:
        """Stop listening and close every connection."""


class Device(ABC):
    """A device on one port. A subclass makes its server in __init__ and moves its physics in step."""

    cable: ClassVar[str]  # the slot that says whether the device is plugged in
    step_s: ClassVar[float] = 0.1
    server: Server

    def __init__(self, wires: Wires, *, now_s: Callable[[], float] = loop_s) -> None:
        self.wires = wires
        self.now_s = now_s
        self.port = 0
        self._host = ""
        self._plugged = False
        self._last_s: float | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one and keeps it. Raises LinkError or OSError when the port cannot be had."""
        self._host = host
        await self.server.start(host, port)
        self.port = self.server.port
        self._plugged = True
        self.advance()

    async def run(self) -> None:
        """Live until cancelled."""
        while True:
            await asyncio.sleep(self.step_s)
            await self.look()
            self.advance()

    async def close(self) -> None:
        """Go away."""
        self._plugged = False
        await self.server.close()

    async def look(self) -> None:
        """Follow the cable: pull the plug or put it back."""
        plugged = self.wires[self.cable] >= 0.5
        if plugged == self._plugged:
            return
        self._plugged = plugged
        if plugged:
            await self.server.start(self._host, self.port)
        else:
            await self.server.close()

    def advance(self) -> None:
        """Bring the physics to the present."""
        now_s = self.now_s()
        if self._last_s is None:
            self._last_s = now_s
        dt_s, self._last_s = now_s - self._last_s, now_s
        self.step(dt_s)

    @abstractmethod
    def step(self, dt_s: float) -> None:
        """Move the physics by dt_s (0 or more), put its values on the wires and in the registers."""
