"""A serial CAN adapter's side of slcan, on TCP: text lines, one frame a line, each ended by a carriage return.

Source: LAWICEL CAN232 manual, the command list. CR says yes, BELL says no:
- S0..S8 sets the speed and C, O, L close and open the channel; what does not fit the channel's state is answered BELL.
- tIIILDD.. and TIIIIIIIILDD.. carry data frames, r and R remote frames; the adapter confirms with z or Z.
- V, N and F tell version, serial number and status flags.

The bus runs at 500 kbit/s: a client that opened at another speed hears nothing and is not heard. All open clients are
on one bus, so each hears what the others send.
"""

import asyncio
import re
from collections.abc import Callable

BUS_SPEED = b"S6"  # 500 kbit/s
CLIENTS_MAX = 4
LINE_MAX_BYTES = 64
OUTPUT_MAX_BYTES = 1 << 16
CLOSING_TURNS = 4  # of the loop, so that a connection just being accepted is met too

YES, NO = b"\r", b"\a"

_ANSWERS = {b"V": b"V1013\r", b"N": b"NBNCH\r", b"F": b"F00\r"}
FRAME = re.compile(rb"(?:([tr])([0-7][0-9A-Fa-f]{2})|([TR])([01][0-9A-Fa-f]{7}))([0-8])((?:[0-9A-Fa-f]{2})*)\Z")

Heard = Callable[[int, bytes], None]
"""Called with identifier and data of each standard data frame a client puts on the bus."""


class _Client(asyncio.Protocol):
    """One client of the adapter."""

    def __init__(self, server: "SlcanServer") -> None:
        self._server = server
        self._line = bytearray()
        self._speed = BUS_SPEED
        self._open = self._listening = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._server.admit(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.leave(self)

    def data_received(self, data: bytes) -> None:
        for byte in data:
            if byte != 0x0D:
                if len(self._line) < LINE_MAX_BYTES:
                    self._line.append(byte)
                continue
            line = bytes(self._line)
            self._line.clear()
            self._send(self._obey(line))

    def deliver(self, lines: bytes) -> None:
        """Pass on what is on the bus."""
        if self._open and self._speed == BUS_SPEED:
            self._send(lines)

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()

    def _send(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > OUTPUT_MAX_BYTES:
            self.abort()  # it does not read
            return
        self._transport.write(data)

    def _obey(self, line: bytes) -> bytes:
        """Do what a line says and return the answer."""
        if not line:
            return YES
        if line in _ANSWERS:
            return _ANSWERS[line]
        if line in (b"O", b"L", b"C"):
            opening = line != b"C"
            if opening == self._open:
                return NO
            self._open, self._listening = opening, line == b"L"
            return YES
        if re.fullmatch(rb"S[0-8]", line):
            if self._open:
                return NO
            self._speed = line
            return YES
        return self._transmit(line)

    def _transmit(self, line: bytes) -> bytes:
        frame = FRAME.match(line)
        if not frame or not self._open or self._listening:
            return NO
        data = bytes.fromhex(frame[6].decode())
        remote = line[:1] in b"rR"
        if len(data) != (0 if remote else int(frame[5])):
            return NO
        if self._speed == BUS_SPEED:
            self._server.pass_on(self, line + YES)
            if line[:1] == b"t":
                self._server.heard(int(frame[2], 16), data)
        return b"z\r" if line[:1] in b"tr" else b"Z\r"


class SlcanServer:
    """The adapter. The device behind it hears and sends through it."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard
        self._clients: list[_Client] = []
        self._listener: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port listened on."""
        assert self._listener, "not started"
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        self._listener = await asyncio.get_running_loop().create_server(lambda: _Client(self), host, port)

    async def close(self) -> None:
        """Stop listening and close every connection."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.close()
        for _ in range(CLOSING_TURNS):
            for client in tuple(self._clients):
                client.abort()
            await asyncio.sleep(0)
        await listener.wait_closed()

    def send(self, frames: tuple[tuple[int, bytes], ...]) -> None:
        """Put standard data frames (identifier, data) on the bus, in one write a client."""
        self.inject(
            b"".join(b"t%03X%d%s\r" % (number, len(data), data.hex().upper().encode()) for number, data in frames)
        )

    def inject(self, lines: bytes) -> None:
        """Give every open client these bytes as they are."""
        for client in tuple(self._clients):
            client.deliver(lines)

    def pass_on(self, sender: _Client, line: bytes) -> None:
        """Let the other clients hear what one of them sent."""
        for client in tuple(self._clients):
            if client is not sender:
                client.deliver(line)

    def admit(self, client: _Client) -> bool:
        """Say whether one more client may come in."""
        if self._listener is None or len(self._clients) >= CLIENTS_MAX:
            return False
        self._clients.append(client)
        return True

    def leave(self, client: _Client) -> None:
        """Forget a client that is gone."""
        if client in self._clients:
            self._clients.remove(client)
