"""A serial cable: a pseudo-terminal in front of a TCP server, so that a client finds the device at /dev/pts/N.

The terminal is raw and stays open on this side, whether a client has it open or not. What nobody reads is lost, as on a
serial line without flow control.
"""

import asyncio
import contextlib
import os
import tty

CHUNK_BYTES = 4096


class _Far(asyncio.Protocol):
    """The server's end."""

    def __init__(self, terminal: "Pty") -> None:
        self._terminal = terminal

    def data_received(self, data: bytes) -> None:
        self._terminal.show(data)


class Pty:
    """One serial cable. path is where a client opens it."""

    def __init__(self) -> None:
        self.path = ""
        self._ours = self._theirs = -1
        self._transport: asyncio.Transport | None = None

    async def start(self, host: str, port: int) -> None:
        """Make the terminal and connect it with the server. Raises OSError when there is none."""
        loop = asyncio.get_running_loop()
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self.path = os.ttyname(self._theirs)
        self._transport, _ = await loop.create_connection(lambda: _Far(self), host, port)
        loop.add_reader(self._ours, self._take)

    async def close(self) -> None:
        """Take the terminal away: a client sees it end."""
        if self._ours < 0:
            return
        asyncio.get_running_loop().remove_reader(self._ours)
        if self._transport is not None:
            self._transport.abort()
            await asyncio.sleep(0)
        os.close(self._ours)
        os.close(self._theirs)
        self._ours = self._theirs = -1

    def show(self, data: bytes) -> None:
        """Give bytes to the client."""
        if self._ours >= 0:
            with contextlib.suppress(BlockingIOError):
                os.write(self._ours, data)

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._ours, CHUNK_BYTES)
            if self._transport is not None:
                self._transport.write(data)
