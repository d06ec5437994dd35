"""Modbus TCP server: frames only. Bytes come in, a callback answers each request, the answers go out in order.

Laws:
- A request reaches the callback in the same turn of the loop in which its last byte arrives, and every answer is given
  before the next request is looked at: several requests in one segment, or one in many, are never mixed.
- Every buffer is bounded: input by one fixed buffer a connection, output by closing on a client that does not read.
- What is not Modbus closes the connection it came from and touches no other.
"""

import asyncio
import struct
from collections.abc import Callable, Collection

import msgspec

from controller.link import LinkError, reason

READ_INPUTS = 2
REGISTERS = (3, 4, 6, 16)  # functions of a device with registers
READ_MAX = 125  # registers, Modbus Application Protocol V1.1b3 6.3
WRITE_MAX = 123  # registers, the same 6.12
INPUTS_MAX = 2000  # discrete inputs, the same 6.2
INPUT_BYTES = 2048  # so that one client cannot hold the loop for more than 170 requests in one turn
OUTPUT_MAX_BYTES = 1 << 16
CLOSING_TURNS = 4  # of the loop: as many as asyncio needs to finish accepting a connection

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3

_HEADER = struct.Struct(">HHHB")  # transaction, protocol, length of what follows, unit


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One well-formed request: count registers or inputs from address on, all of them below 65536."""

    unit: int
    function: int  # 2: read inputs, 3 or 4: read registers, 6 or 16: write registers
    address: int
    count: int  # 1..2000 inputs or 1..125 registers to read, 1..123 to write
    registers: bytes  # big-endian, b"" for reads
    peer: str  # "127.0.0.1:40912", one per connection


Answer = Callable[[Request], bytes | int | None]
"""bytes: the registers of a read, or its inputs as packed() makes them, b"" for a write that was taken; int: a Modbus
exception code; None: stay silent."""


def packed(inputs: Collection[bool]) -> bytes:
    """Return discrete inputs as function 2 tells them: the first in the lowest bit of the first byte, zeros behind."""
    bits = sum(closed << place for place, closed in enumerate(inputs))
    return bits.to_bytes(-(-len(inputs) // 8), "little")


def parse(unit: int, pdu: bytes, peer: str, functions: Collection[int] = REGISTERS) -> Request | int:
    """Return the request in a PDU, or the exception code it deserves.

    Source: Modbus Application Protocol V1.1b3, the state diagrams of 6.2, 6.3, 6.4, 6.6 and 6.12.
    """
    function = pdu[0]
    if function not in functions:
        return ILLEGAL_FUNCTION
    if len(pdu) < 5 or (function != 16 and len(pdu) > 5):
        return ILLEGAL_VALUE
    address, count = struct.unpack_from(">HH", pdu, 1)
    registers = b""
    if function == 6:
        count, registers = 1, pdu[3:5]
    elif function == 16:
        registers = pdu[6:]
        if not 1 <= count <= WRITE_MAX or len(registers) != 2 * count or pdu[5] != 2 * count:
            return ILLEGAL_VALUE
    elif not 1 <= count <= (INPUTS_MAX if function == READ_INPUTS else READ_MAX):
        return ILLEGAL_VALUE
    if address + count > 0x10000:
        return ILLEGAL_ADDRESS
    return Request(unit=unit, function=function, address=address, count=count, registers=registers, peer=peer)


class _Connection(asyncio.BufferedProtocol):
    """One client."""

    def __init__(self, server: "ModbusServer") -> None:
        self._server = server
        self._space = bytearray(INPUT_BYTES)
        self._filled_bytes = 0
        self._heard = False
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        name = transport.get_extra_info("peername")
        self._peer = f"{name[0]}:{name[1]}" if name else "unknown"
        transport.set_write_buffer_limits(high=OUTPUT_MAX_BYTES)
        if self._server.admit(self):
            self._watch()
        else:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle:
            self._idle.cancel()
        self._server.leave(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._space)[self._filled_bytes :]

    def buffer_updated(self, nbytes: int) -> None:
        self._heard = True
        filled_bytes, start = self._filled_bytes + nbytes, 0
        while filled_bytes - start >= _HEADER.size and not self._transport.is_closing():
            transaction, protocol, length, unit = _HEADER.unpack_from(self._space, start)
            if protocol or not 2 <= length <= 254:
                self._transport.close()
                return
            end = start + 6 + length
            if end > filled_bytes:
                break
            self._reply(transaction, unit, bytes(self._space[start + 7 : end]))
            start = end
        self._space[: filled_bytes - start] = self._space[start:filled_bytes]
        self._filled_bytes = filled_bytes - start

    def pause_writing(self) -> None:
        self.abort()  # the client asks and does not read the answers

    def abort(self) -> None:
        """Close now, whatever is still to be sent."""
        self._transport.abort()

    def _reply(self, transaction: int, unit: int, pdu: bytes) -> None:
        request = parse(unit, pdu, self._peer, self._server.functions)
        answer = request if isinstance(request, int) else self._server.answer(request)
        if answer is None:
            return
        if isinstance(answer, int):
            reply = bytes((pdu[0] | 0x80, answer))
        elif pdu[0] in (6, 16):
            reply = pdu[:5]
        else:
            assert isinstance(request, Request)
            answer_bytes = -(-request.count // 8) if request.function == READ_INPUTS else 2 * request.count
            assert len(answer) == answer_bytes, "an answer of the wrong length"
            reply = bytes((pdu[0], len(answer))) + answer
        self._transport.write(_HEADER.pack(transaction, 0, len(reply) + 1, unit) + reply)

    def _watch(self) -> None:
        """Close a client that says nothing for idle_s (found out within twice that time)."""
        self._heard = False
        self._idle = asyncio.get_running_loop().call_later(self._server.idle_s, self._look)

    def _look(self) -> None:
        if self._heard:
            self._watch()
        else:
            self.abort()


class ModbusServer:
    """Serves host:port. answer is called on the running loop and must not block.

    functions: what it is asked at most; all else draws exception 1. A device with inputs names READ_INPUTS.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        max_clients: int = 16,
        idle_s: float = 600,
        functions: Collection[int] = REGISTERS,
    ) -> None:
        self.answer = answer
        self.functions = functions
        self.idle_s = idle_s
        self._max_clients = max_clients
        self._connections: set[_Connection] = set()
        self._listener: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port listened on, the kernel's choice when started with port 0."""
        assert self._listener, "not started"
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises LinkError when the address cannot be had."""
        try:
            self._listener = await asyncio.get_running_loop().create_server(lambda: _Connection(self), host, port)
        except OSError as error:
            raise LinkError(
                f"cannot serve Modbus on {host}:{port} ({reason(error)}); check that the address "
                "is this machine's, whether another program uses the port, and the right to use ports below 1024"
            ) from error

    async def close(self) -> None:
        """Stop listening and close every connection."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        # A listener that is closed at once leaves behind, open, a client that was accepted in this very turn.
        for listening in listener.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(CLOSING_TURNS):
            for connection in tuple(self._connections):
                connection.abort()
            await asyncio.sleep(0)
        listener.close()
        await listener.wait_closed()

    def admit(self, connection: _Connection) -> bool:
        """Say whether one more client may come in. The newest stays out: whoever is served keeps being served."""
        if len(self._connections) >= self._max_clients:
            return False
        self._connections.add(connection)
        return True

    def leave(self, connection: _Connection) -> None:
        """Forget a client that is gone."""
        self._connections.discard(connection)
