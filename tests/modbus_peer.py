"""A device played byte by byte, and tests on which waiting costs no time."""

import asyncio
import functools
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from hil.clock import VirtualLoop


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on virtual time."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def frame(request: bytes, pdu: str, *, transaction: int | None = None, unit: int | None = None) -> bytes:
    """Return the reply to a request, addressed as the request was where nothing else is said."""
    body = bytes.fromhex(pdu)
    asked, _, _, asked_unit = struct.unpack_from(">HHHB", request)
    transaction = asked if transaction is None else transaction
    return struct.pack(">HHHB", transaction, 0, len(body) + 1, asked_unit if unit is None else unit) + body


def registers(request: bytes, word: str) -> bytes:
    """Return a proper reply to a read, with the same word in every register."""
    count = int.from_bytes(request[10:12], "big")
    return frame(request, f"{request[7]:02x} {2 * count:02x} " + word * count)


class Wire:
    """One connection as the device sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: list[bytes]) -> None:
        self._reader, self._writer, self._log = reader, writer, log

    async def request(self) -> bytes:
        """Return the next whole request."""
        head = await self._reader.readexactly(6)
        whole = head + await self._reader.readexactly(int.from_bytes(head[4:6], "big"))
        self._log.append(whole)
        return whole

    async def send(self, *segments: bytes) -> None:
        """Send each segment by itself: the next leaves when this one has been taken in."""
        for segment in segments:
            self._writer.write(segment)
            await asyncio.sleep(0.001)

    def hang_up(self) -> None:
        self._writer.transport.abort()


class Peer:
    """Listens on loopback and plays script on each connection; requests holds what was asked, in order."""

    def __init__(self, script: Callable[[Wire], Awaitable[None]]) -> None:
        self.requests: list[bytes] = []
        self.port = 0
        self._script = script
        self._playing: set[asyncio.Task[None]] = set()
        self.wires: set[Wire] = set()  # the connections that are up

    async def __aenter__(self) -> "Peer":
        self._listener = await asyncio.start_server(self._play, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for wire in self.wires:
            wire.hang_up()
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)
        await asyncio.sleep(0.001)

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._playing.add(task)
        wire = Wire(reader, writer, self.requests)
        self.wires.add(wire)
        try:
            await self._script(wire)
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            wire.hang_up()
            self.wires.discard(wire)
            self._playing.discard(task)
