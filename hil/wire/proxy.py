"""A TCP proxy in front of one server: the cable between a client and it, on which toxics act.

Laws:
- Without a toxic, bytes leave in the turn of the loop in which they came.
- Each way of a connection is a chain of stages, one a toxic, then the socket of the other side. The end of a stream
  (FIN or RST) goes through the chain behind the bytes before it.
- A connection is made to the server before the client's is read. A server that refuses is seen by the client as a
  connection that is reset at once: only the kernel can refuse a connect, and at the wire's port it has said yes.
- Who does not read is not sent more: the other side is not read until it does, as TCP does it.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from hil.wire.door import BACKLOG, Address, Door, Doorway

Way = Literal["request", "reply"]  # from the client to the server, from the server to the client
Direction = Literal["both", "up", "down"]  # up is toward the controller

BOTH: tuple[Way, Way] = ("request", "reply")
WRITE_MAX_BYTES = 1 << 16
CONNECTIONS_MAX = 16  # as many as the devices' servers take
CONNECT_S = 5.0
CLOSING_TURNS = 4  # of the loop, until asyncio has closed the sockets
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s: closing sends RST
_CONNECTING, _WRITING = "connecting", "writing"


class Sink(Protocol):
    """Takes a stream: bytes, then its end."""

    def take(self, data: bytes) -> None:
        """Take the next bytes."""

    def end(self, reset: bool) -> None:
        """Take the end: FIN, or RST."""


class Stage:
    """One toxic's part in one way of one connection. This one passes everything on; a toxic overrides what it does."""

    onward: Sink
    side: "Side"  # where the bytes come from; side.other is where they go to

    def start(self) -> None:
        """Begin: both sockets are connected."""

    def take(self, data: bytes) -> None:
        """Take bytes and pass on what becomes of them."""
        self.onward.take(data)

    def end(self, reset: bool) -> None:
        """Take the end of the stream and pass it on behind what is held."""
        self.onward.end(reset)

    def release(self) -> None:
        """Pass on what is held: the toxic is taken away."""

    def stop(self) -> None:
        """Forget what is held: the connection is gone."""


class Toxic(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What a fault adds to a wire.

    stages makes the stages of one connection; door is what becomes of connects; upstream returns the server for one
    more connection, None for the wire's own; open connections are reset when it comes, when it goes, or not.
    """

    stages: Callable[[], dict[Way, Stage]] = dict
    door: Doorway = "open"
    upstream: Callable[[], Address | None] = lambda: None
    resets: frozenset[Literal["first", "last"]] = frozenset()


class Side(asyncio.Protocol):
    """One socket of a connection. What it reads goes through its stages to the other side."""

    def __init__(self, gone: Callable[[], None]) -> None:
        self.other: Side
        self.onward: Sink
        self.lost = False
        self._gone = gone
        self._stages: dict[Toxic, Stage] = {}
        self._transport: asyncio.Transport | None = None
        self._waits_for: set[object] = {_CONNECTING}

    @property
    def attached(self) -> bool:
        """Whether there is a socket."""
        return self._transport is not None

    @property
    def waiting(self) -> bool:
        """Whether it is not read just now."""
        return bool(self._waits_for)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_MAX_BYTES)
        transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self.onward.take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.onward.end(exc is not None)
        self._gone()

    def pause_writing(self) -> None:
        self.other.wait_for(_WRITING)

    def resume_writing(self) -> None:
        self.other.read_on(_WRITING)

    def take(self, data: bytes) -> None:
        """Send to the socket."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def end(self, reset: bool) -> None:
        """Close the socket: FIN behind what was sent, or RST at once."""
        if self._transport is None:
            return
        if not reset:
            self._transport.close()
        elif not self.lost:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._transport.abort()

    def wait_for(self, reason: object) -> None:
        """Stop reading until this reason and all others are over."""
        self._waits_for.add(reason)
        if self._transport is not None:
            self._transport.pause_reading()

    def read_on(self, reason: object) -> None:
        """Read on as far as this reason is concerned."""
        self._waits_for.discard(reason)
        if self._transport is not None and not self._waits_for:
            self._transport.resume_reading()

    def begin(self) -> None:
        """Start the stages and read."""
        for stage in self._stages.values():
            stage.start()
        self.read_on(_CONNECTING)

    def insert(self, toxic: Toxic, stage: Stage) -> None:
        """Put a stage at the end of the chain."""
        self._stages[toxic] = stage
        stage.side = self
        self.link()
        if _CONNECTING not in self._waits_for:
            stage.start()

    def withdraw(self, toxic: Toxic) -> None:
        """Take a toxic's stage out. What it holds goes on to the stages after it."""
        stage = self._stages.pop(toxic, None)
        if stage is not None:
            stage.release()
            self.link()

    def link(self) -> None:
        """Let each stage pass on to the next and the last one to the other side."""
        sink: Sink = self.other
        for stage in reversed(self._stages.values()):
            stage.onward = sink
            sink = stage
        self.onward = sink

    def stop(self) -> None:
        """Forget what the stages hold."""
        for stage in self._stages.values():
            stage.stop()


class _Connection:
    """A client's connection and the one made for it to the server."""

    def __init__(self, forget: Callable[["_Connection"], None]) -> None:
        self.client, self.server = Side(self._lost), Side(self._lost)
        self.client.other, self.server.other = self.server, self.client
        self.sides: dict[Way, Side] = {"request": self.client, "reply": self.server}
        for side in self.sides.values():
            side.link()
        self._forget = forget
        self._over = False
        self.opening: asyncio.Task[None] | None = None

    async def open(self, accepted: socket.socket, upstream: Address) -> None:
        """Connect to the server, then join the client that was accepted to it."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(lambda: self.server, *upstream)
            await loop.connect_accepted_socket(lambda: self.client, accepted)
        except OSError:
            return
        finally:
            if not self.client.attached:
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                accepted.close()
                self.server.end(reset=True)
                self._forget(self)
        if self._over:
            self.reset()
            return
        for side in self.sides.values():
            side.begin()

    def insert(self, toxic: Toxic) -> None:
        """Put a toxic's stages in."""
        for way, stage in toxic.stages().items():
            self.sides[way].insert(toxic, stage)

    def withdraw(self, toxic: Toxic) -> None:
        """Take a toxic's stages out."""
        for side in self.sides.values():
            side.withdraw(toxic)

    def reset(self) -> None:
        """Send RST both ways; while it is still opened, as soon as it is."""
        self._over = True
        for side in self.sides.values():
            side.end(reset=True)

    def _lost(self) -> None:
        if self.client.lost and self.server.lost:
            for side in self.sides.values():
                side.stop()
            self._forget(self)


class Wire:
    """The cable in front of one server. controller says which end of it the controller is."""

    def __init__(self, controller: Literal["client", "server"] = "client") -> None:
        self._up: Way = "reply" if controller == "client" else "request"
        self.port = 0
        self.upstream: Address = ("", 0)
        self._door: Door | None = None
        self._toxics: list[Toxic] = []
        self._connections: list[_Connection] = []  # in the order they were made

    async def start(self, host: str, port: int, upstream_host: str, upstream_port: int) -> None:
        """Listen on host and port (0: a free one) for the server. Hosts are IPv4 addresses: a name costs a thread.

        Raises OSError when the address cannot be had.
        """
        self.upstream = (upstream_host, upstream_port)
        self._door = Door((host, port), self._accept)
        self.port = self._door.address[1]
        self._fit_door()

    async def close(self) -> None:
        """Take the wire away with all its connections."""
        if self._door is not None:
            self._door.close()
            self._door = None
        for connection in tuple(self._connections):
            connection.reset()
        openings = [connection.opening for connection in self._connections if connection.opening]
        await asyncio.gather(*openings, return_exceptions=True)
        for _ in range(CLOSING_TURNS):
            await asyncio.sleep(0)

    def ways(self, direction: Direction) -> tuple[Way, ...]:
        """Return the ways that a fault's direction means on this wire."""
        if direction == "both":
            return BOTH
        return tuple(way for way in BOTH if (way == self._up) == (direction == "up"))

    def add(self, toxic: Toxic) -> None:
        """Let a toxic act on open connections and on those to come. Raises OSError where the door cannot be had so."""
        for connection in self._connections:
            connection.insert(toxic)
        self._toxics.append(toxic)
        try:
            self._fit_door()
        except OSError:
            self.remove(toxic)
            raise
        if "first" in toxic.resets:
            self._reset()

    def remove(self, toxic: Toxic) -> None:
        """Take a toxic away: the wire is as it was before, also for connections that are open."""
        self._toxics.remove(toxic)
        for connection in tuple(self._connections):
            connection.withdraw(toxic)
        if "last" in toxic.resets:
            self._reset()
        self._fit_door()

    def _fit_door(self) -> None:
        """Bring the door to what the toxics want; no answer is stronger than a refusal."""
        if self._door is None:
            return
        wanted = {toxic.door for toxic in self._toxics}
        state: Doorway = "hang" if "hang" in wanted else "refuse" if "refuse" in wanted else "open"
        if self._door.state == "open" != state:
            self._accept()  # whoever came before the door shut is in
        self._door.become(state)

    def _accept(self) -> None:
        assert self._door is not None
        for _ in range(BACKLOG):
            accepted = self._door.accept()
            if accepted is None:
                return
            if self._make_room():
                self._join(accepted)
            else:
                accepted.close()

    def _join(self, accepted: socket.socket) -> None:
        connection = _Connection(self._forget)
        upstream = self.upstream
        for toxic in self._toxics:
            connection.insert(toxic)
            upstream = toxic.upstream() or upstream
        self._connections.append(connection)
        connection.opening = asyncio.get_running_loop().create_task(connection.open(accepted, upstream))

    def _make_room(self) -> bool:
        """Say whether one more connection fits; the oldest whose client is gone, held by a toxic, makes room."""
        if len(self._connections) < CONNECTIONS_MAX:
            return True
        left = next((one for one in self._connections if one.client.lost), None)
        if left is None:
            return False
        left.reset()
        self._forget(left)
        return True

    def _reset(self) -> None:
        for connection in tuple(self._connections):
            connection.reset()

    def _forget(self, connection: _Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
