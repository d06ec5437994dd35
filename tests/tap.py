"""A tap in the wire between the controller and an emulated Modbus device: it spoils the replies, byte by byte."""

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Iterator

from hil.wire.proxy import Stage, Toxic, Way

# Takes a request and its proper reply; yields (wait in s, bytes) to send, None for bytes to hang up.
Spoil = Callable[[bytes, bytes], Iterator[tuple[float, bytes | None]]]
Spoken = tuple[bytes, bytes]


def proper(request: bytes, reply: bytes) -> Iterator[tuple[float, bytes | None]]:
    """Pass the reply on as it is."""
    yield 0, reply


class Tap:
    """Sits on a wire as a toxic: what the device answers goes out as spoil makes it."""

    def __init__(self) -> None:
        self.spoil = proper
        self.drops_writes = False  # block writes never reach the device and are acknowledged all the same
        self.writes: list[bytes] = []  # requests of function 6 and 16 that came from the controller
        self.toxic = Toxic(stages=self._stages)

    def _stages(self) -> dict[Way, Stage]:
        replies = _Replies(self)
        return {"request": _Requests(self, replies), "reply": replies}


class _Requests(Stage):
    """Takes note of what is asked on one connection."""

    def __init__(self, tap: Tap, replies: "_Replies") -> None:
        self._tap, self._replies, self._frames = tap, replies, _Frames()

    def take(self, data: bytes) -> None:
        for request in self._frames.of(data):
            if request[7] in (6, 16):
                self._tap.writes.append(request)
            if self._tap.drops_writes and request[7] == 16:
                self._replies.play(request, request[:4] + b"\x00\x06" + request[6:12])
            else:
                self._replies.asked.append(request)
                self.onward.take(request)


class _Replies(Stage):
    """Spoils the replies of one connection, one after another."""

    def __init__(self, tap: Tap) -> None:
        self.asked: deque[bytes] = deque()
        self._tap, self._frames = tap, _Frames()
        self._spoken: asyncio.Queue[Spoken] = asyncio.Queue()
        self._playing: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._playing = asyncio.get_running_loop().create_task(self._play())

    def take(self, data: bytes) -> None:
        for reply in self._frames.of(data):
            if self.asked:
                self.play(self.asked.popleft(), reply)
            else:  # it was asked for before the tap came
                self.onward.take(reply)

    def play(self, request: bytes, reply: bytes) -> None:
        """Let a reply go out when those before it are out."""
        self._spoken.put_nowait((request, reply))

    def stop(self) -> None:
        if self._playing is not None:
            self._playing.cancel()

    async def _play(self) -> None:
        while True:
            request, reply = await self._spoken.get()
            for wait_s, content in self._tap.spoil(request, reply):
                await asyncio.sleep(wait_s)
                if content is None:
                    self.onward.end(reset=True)
                    self.side.end(reset=True)
                    return
                self.onward.take(content)
                await asyncio.sleep(0.001)  # so that what follows comes in a segment of its own


class _Frames:
    """Cuts a stream of Modbus TCP into frames."""

    def __init__(self) -> None:
        self._buffer = b""

    def of(self, data: bytes) -> Iterator[bytes]:
        """Yield the frames that are whole now."""
        self._buffer += data
        while len(self._buffer) >= 6:
            size = 6 + struct.unpack_from(">H", self._buffer, 4)[0]
            if len(self._buffer) < size:
                return
            frame, self._buffer = self._buffer[:size], self._buffer[size:]
            yield frame
