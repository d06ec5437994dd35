"""All device I/O. Bytes come in here and become readings; commands leave here and nowhere else.

Laws:
- A link runs for ever: it connects, polls, reconnects with back-off from the very first connect, and never raises for
  what a device or a cable does. It reports to an Inbox; silence shows as age.
- Only clock.py reads a clock.
- A command is sent before any waiting read and is never blindly repeated.

To add a transport: one file with a class that keeps the Link protocol, its URL in app/addresses.py,
its line in app/wiring.py.
"""

import os
import socket
from typing import Protocol

from controller.model import AnyReading, Command, FaultName


class Inbox(Protocol):
    """Where links put what they hear. app.board.Board is one."""

    def heard(self, reading: AnyReading) -> None:
        """Take a reading."""

    def noticed(self, fault: FaultName, device: str, detail: str | None) -> None:
        """Take a fault that now stands (detail is text) or that is over (detail is None)."""


class Link(Protocol):
    """One device on one wire."""

    async def run(self) -> None:
        """Connect, poll and reconnect until cancelled."""

    async def send(self, command: Command) -> None:
        """Write a command that passed the gate.

        Raises LinkError with the reason when it was not acknowledged, PartlyWritten when only its vars were not.
        """

    def tick(self) -> None:
        """Called by the supervised loop after each finished cycle: the only place a keepalive may be sent from."""


class LinkError(Exception):
    """A device could not be reached or did not answer as its protocol demands. The text is for people in the field."""


class PartlyWritten(LinkError):
    """The active power of a command stands, its reactive power does not: the device lacks the set point or refuses."""


def reason(error: OSError) -> str:
    """Return the system's words for an error: asyncio puts its own in their place."""
    if error.errno is None or isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno)
