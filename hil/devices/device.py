"""What all emulated devices have in common: a port, and registers or frames that follow a part of the plant."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from hil.plant.site import Plant


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
    """The device called `name` in front of the plant's part of that name. A subclass makes its server in __init__."""

    server: Server

    def __init__(self, plant: Plant, name: str, *, now_s: Callable[[], float] = loop_s) -> None:
        self.plant, self.name, self.now_s = plant, name, now_s
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one and keeps it. Raises LinkError or OSError when the port cannot be had."""
        await self.server.start(host, port)
        self.port = self.server.port

    async def close(self) -> None:
        """Go away."""
        await self.server.close()

    def advance(self) -> None:
        """Bring the plant to the present."""
        self.plant.advance(self.now_s())

    @abstractmethod
    def tick(self) -> None:
        """Do what the protocol wants done by itself; called ten times a second, after the plant has moved."""
