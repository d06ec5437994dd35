"""A tap in the wire between the controller and an emulated Modbus device: it spoils the replies, byte by byte."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Iterator

from hil.devices import Device

# Takes a request and its proper reply; yields (wait in s, bytes) to send, None for bytes to hang up.
Spoil = Callable[[bytes, bytes], Iterator[tuple[float, bytes | None]]]


def proper(request: bytes, reply: bytes) -> Iterator[tuple[float, bytes | None]]:
    """Pass the reply on as it is."""
    yield 0, reply


class Tap:
    """Stands in for a device: what the device answers goes out as spoil makes it."""

    def __init__(self, device: Device) -> None:
        self.device, self.spoil, self.port = device, proper, 0
        self.drops_writes = False  # block writes never reach the device
        self.writes: list[bytes] = []  # requests of function 6 and 16 that came from the controller
        self._playing: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> None:
        await self.device.start(host, 0)
        self._listener = await asyncio.start_server(self._play, host, port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def run(self) -> None:
        await self.device.run()

    async def close(self) -> None:
        self._listener.close()
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)
        await self.device.close()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._playing.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            async with _connected(self.device.port) as (inner, outer):
                while True:
                    request = await _frame(reader)
                    if request[7] in (6, 16):
                        self.writes.append(request)
                    reply = request[:4] + b"\x00\x06" + request[6:12]
                    if not (self.drops_writes and request[7] == 16):
                        outer.write(request)
                        reply = await _frame(inner)
                    await self._reply(writer, request, reply)
        writer.transport.abort()
        self._playing.discard(task)

    async def _reply(self, writer: asyncio.StreamWriter, request: bytes, reply: bytes) -> None:
        for wait_s, content in self.spoil(request, reply):
            await asyncio.sleep(wait_s)
            if content is None:
                raise ConnectionError
            writer.write(content)
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(6)
    return head + await reader.readexactly(struct.unpack(">H", head[4:6])[0])
