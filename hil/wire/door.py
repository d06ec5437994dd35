"""The listening end of a wire: one port that is open, refuses, or lets connects hang."""

import asyncio
import socket
from collections.abc import Callable
from typing import Literal

Doorway = Literal["open", "refuse", "hang"]
Address = tuple[str, int]

BACKLOG = 64
FILL_MAX = 4  # a queue of length 0 takes one connect on Linux, one more elsewhere


class Door:
    """A port on an IPv4 address. It stays bound until close(), so that nobody else can take it in between."""

    def __init__(self, address: Address, arrived: Callable[[], None]) -> None:
        """Bind the address (port 0: a free one) and refuse. arrived is called when someone waits at the open door.

        Raises OSError when the address cannot be had.
        """
        self._arrived = arrived
        self._socket = _bound(address)
        self._fillers: list[socket.socket] = []
        self.address: Address = self._socket.getsockname()
        self.state: Doorway = "refuse"

    def become(self, state: Doorway) -> None:
        """Open the door, shut it so that connects are refused, or shut it so that they get no answer at all."""
        if state == self.state:
            return
        self.close()
        self._socket, self.state = _bound(self.address), state
        if state == "open":
            self._socket.listen(BACKLOG)
            asyncio.get_running_loop().add_reader(self._socket, self._arrived)
        elif state == "hang":
            self._fillers = _filled(self._socket, self.address)

    def accept(self) -> socket.socket | None:
        """Return the next one that waits, None when there is none."""
        try:
            accepted, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        accepted.setblocking(False)
        return accepted

    def close(self) -> None:
        """Give the port back."""
        if self.state == "open":
            asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self.state = "refuse"


def _bound(address: Address) -> socket.socket:
    """Return a socket that holds the port. While it does not listen, the kernel refuses every connect."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio: TCP_NODELAY for TCP only
    bound.setblocking(False)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _filled(listening: socket.socket, address: Address) -> list[socket.socket]:
    """Listen with a queue of length 0 and fill it: the kernel drops every further SYN, as a black hole does.

    Returns the connections that fill the queue. Raises OSError where the system answers all the same.
    """
    listening.listen(0)
    fillers: list[socket.socket] = []
    for _ in range(FILL_MAX):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(address)
        if not _connected(filler):  # loopback connects within the call, or not at all
            filler.close()
            return fillers
        fillers.append(filler)
    for filler in fillers:
        filler.close()
    raise OSError(f"connects to a full queue at {address} do not hang on this system")


def _connected(one: socket.socket) -> bool:
    try:
        one.getpeername()
    except OSError:
        return False
    return True
