"""Toxics on any bytes. Each is the stage it puts into one way of one connection.

bit is called each time something was changed. strikes is asked once a chunk whether it is to be changed; a chunk is a
whole request or reply where the sender wrote it at once, as servers do.
After Toxiproxy's list (latency, bandwidth, slicer, limit_data, reset_peer, timeout, slow_close).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import cycle
from math import inf
from random import Random

from hil.wire.door import Address
from hil.wire.proxy import Stage

Bit = Callable[[], None]
Strikes = Callable[[], bool]

HELD_MAX_BYTES = 1 << 16  # then its sender is not read any more
RATE_PIECE_BYTES = 64
DRIBBLE = bytes.fromhex("0000 0000 00FE 00 7F") + bytes(252)  # one whole request of a function that does not exist


def by_chance(chance: Random, share_pu: float) -> Strikes:
    """Return what strikes a share (0..1) of the times it is asked: 1 always, 0 never."""
    return lambda: chance.random() < share_pu


class Queue(Stage):
    """Holds what comes and passes it on in order, each piece when it is due and in a turn of its own."""

    def __init__(self) -> None:
        self._held: deque[tuple[float, bytes, bool | None]] = deque()  # due in s, bytes, or how the stream ended
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self.last_due_s = 0.0

    def hold(self, data: bytes, due_s: float, end: bool | None = None) -> None:
        """Pass data on at due_s of the loop, or behind what is held already where that is later."""
        self.last_due_s = max(self.last_due_s, due_s)
        self._held.append((self.last_due_s, data, end))
        self._held_bytes += len(data)
        if self._held_bytes > HELD_MAX_BYTES:
            self.side.wait_for(self)
        self._arm()

    def end(self, reset: bool) -> None:
        """Let the end follow the bytes before it."""
        self.hold(b"", self.last_due_s, reset)

    def release(self) -> None:
        """Pass everything on."""
        self._disarm()
        while self._held:
            self._give()

    def stop(self) -> None:
        """Drop everything."""
        self._disarm()
        self._held.clear()

    def _arm(self) -> None:
        if self._timer is None and self._held and self._held[0][0] < inf:
            self._timer = asyncio.get_running_loop().call_at(self._held[0][0], self._due)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        self._give()
        self._arm()

    def _give(self) -> None:
        _, data, end = self._held.popleft()
        self._held_bytes -= len(data)
        if self._held_bytes <= HELD_MAX_BYTES:
            self.side.read_on(self)
        if end is None:
            self.onward.take(data)
        else:
            self.onward.end(end)


class Silence(Queue):
    """Nothing passes until it is healed; then everything does, as TCP repeats what was lost behind a pulled cable."""

    def __init__(self, bit: Bit) -> None:
        super().__init__()
        self._bit = bit

    def take(self, data: bytes) -> None:
        self._bit()
        self.hold(data, inf)

    def end(self, reset: bool) -> None:
        """Hold the end too."""
        self.hold(b"", inf, reset)


class Swallow(Stage):
    """Nothing passes, not even the end, and nothing ever comes."""

    def __init__(self, bit: Bit) -> None:
        self._bit = bit

    def take(self, data: bytes) -> None:
        self._bit()

    def end(self, reset: bool) -> None:
        """Keep the end from the other side."""


class Delay(Queue):
    """Each chunk comes latency_s later, more or less by up to jitter_s; none overtakes another."""

    def __init__(self, bit: Bit, random: Random, latency_s: float, jitter_s: float) -> None:
        super().__init__()
        self._bit, self._random, self._latency_s, self._jitter_s = bit, random, latency_s, jitter_s

    def take(self, data: bytes) -> None:
        self._bit()
        self.hold(data, self._due_s())

    def end(self, reset: bool) -> None:
        """Delay the end as the bytes."""
        self.hold(b"", self._due_s(), reset)

    def _due_s(self) -> float:
        wait_s = self._latency_s + self._random.uniform(-self._jitter_s, self._jitter_s)
        return asyncio.get_running_loop().time() + max(0.0, wait_s)


class Rate(Queue):
    """Bytes come at bytes_per_s at most, in pieces of up to RATE_PIECE_BYTES."""

    def __init__(self, bit: Bit, bytes_per_s: float) -> None:
        super().__init__()
        self._bit, self._bytes_per_s = bit, bytes_per_s

    def take(self, data: bytes) -> None:
        self._bit()
        for piece in _pieces(data, RATE_PIECE_BYTES):
            begun_s = max(asyncio.get_running_loop().time(), self.last_due_s)
            self.hold(piece, begun_s + len(piece) / self._bytes_per_s)


class Slice(Queue):
    """Chunks come in segments of size_bytes, gap_s apart; 0 = one a turn of the loop."""

    def __init__(self, bit: Bit, size_bytes: int, gap_s: float) -> None:
        super().__init__()
        self._bit, self._size_bytes, self._gap_s = bit, size_bytes, gap_s

    def take(self, data: bytes) -> None:
        if len(data) > self._size_bytes:
            self._bit()
        now_s = asyncio.get_running_loop().time()
        for piece in _pieces(data, self._size_bytes):
            self.hold(piece, max(now_s, self.last_due_s + self._gap_s))


class Struck(Stage):
    """What strikes some of the chunks."""

    def __init__(self, bit: Bit, strikes: Strikes) -> None:
        self._bit, self._strikes = bit, strikes

    def struck(self) -> bool:
        """Say whether it strikes now, and count it."""
        struck = self._strikes()
        if struck:
            self._bit()
        return struck


class Lose(Struck):
    """A chunk is gone, as behind a serial gateway that drops a frame."""

    def take(self, data: bytes) -> None:
        if not self.struck():
            self.onward.take(data)


class Duplicate(Struck):
    """A chunk comes twice."""

    def take(self, data: bytes) -> None:
        self.onward.take(data)
        if self.struck():
            self.onward.take(data)


class Corrupt(Struck):
    """One bit of a chunk, any one, is wrong."""

    def __init__(self, bit: Bit, strikes: Strikes, random: Random) -> None:
        super().__init__(bit, strikes)
        self._random = random

    def take(self, data: bytes) -> None:
        if self.struck():
            bit_index = self._random.randrange(8 * len(data))
            wrong = bytearray(data)
            wrong[bit_index // 8] ^= 1 << bit_index % 8
            data = bytes(wrong)
        self.onward.take(data)


class CloseEach(Struck):
    """FIN follows a chunk."""

    def take(self, data: bytes) -> None:
        self.onward.take(data)
        if self.struck():
            self.onward.end(reset=False)


class Truncate(Struck):
    """Of a chunk the first length_bytes come, then FIN."""

    def __init__(self, bit: Bit, strikes: Strikes, length_bytes: int) -> None:
        super().__init__(bit, strikes)
        self._length_bytes = length_bytes

    def take(self, data: bytes) -> None:
        if len(data) <= self._length_bytes or not self.struck():
            self.onward.take(data)
            return
        if self._length_bytes:
            self.onward.take(data[: self._length_bytes])
        self.onward.end(reset=False)


class Reset(Struck):
    """Of a chunk the first after_bytes come, then RST goes both ways."""

    def __init__(self, bit: Bit, strikes: Strikes, after_bytes: int) -> None:
        super().__init__(bit, strikes)
        self._after_bytes = after_bytes

    def take(self, data: bytes) -> None:
        if not self.struck():
            self.onward.take(data)
            return
        if self._after_bytes:
            self.onward.take(data[: self._after_bytes])
        self.onward.end(reset=True)
        self.side.end(reset=True)


class Merge(Struck):
    """A chunk waits for the next one and comes with it in one segment."""

    def __init__(self, bit: Bit, strikes: Strikes) -> None:
        super().__init__(bit, strikes)
        self._first = b""

    def take(self, data: bytes) -> None:
        if not self._first and self.struck():
            self._first = data
            return
        data, self._first = self._first + data, b""
        self.onward.take(data)

    def end(self, reset: bool) -> None:
        self.release()
        self.onward.end(reset)

    def release(self) -> None:
        if self._first:
            self.onward.take(self._first)
            self._first = b""


class Flood(Stage):
    """Between the real bytes come any bytes, in a chunk of chunk_bytes every gap_s."""

    def __init__(self, bit: Bit, random: Random, chunk_bytes: int, gap_s: float) -> None:
        self._bit, self._random, self._chunk_bytes, self._gap_s = bit, random, chunk_bytes, gap_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._gap_s, self._spill)

    def release(self) -> None:
        self.stop()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _spill(self) -> None:
        if not (self.side.waiting or self.side.other.lost):  # whoever does not read is not flooded further
            self._bit()
            self.onward.take(self._random.randbytes(self._chunk_bytes))
        self.start()


async def slow_loris(server: Address, *, clients: int, gap_s: float, bit: Bit) -> None:
    """Keep connections to a server open with one byte of a request every gap_s, until cancelled.

    clients: how many. bit is called for each byte after which the connection still stood gap_s later. A connection
    that the server closes or does not take is tried again.
    """
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_dribble(server, gap_s, bit))


async def _dribble(server: Address, gap_s: float, bit: Bit) -> None:
    while True:
        try:
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, *server)
        except OSError:
            await asyncio.sleep(gap_s)
            continue
        try:
            for byte in cycle(DRIBBLE):
                transport.write(bytes((byte,)))
                await asyncio.sleep(gap_s)
                if transport.is_closing():
                    break
                bit()
        finally:
            transport.abort()


def _pieces(data: bytes, size_bytes: int) -> list[bytes]:
    return [data[start : start + size_bytes] for start in range(0, len(data), size_bytes)]
