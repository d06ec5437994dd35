"""One Modbus TCP connection that several units behind it share.

Laws:
- One request is on the wire at a time. A waiting write goes before every waiting read and is never sent twice.
- A reply is believed only when its transaction, unit, function, length and write echo all fit the request that is
  outstanding; everything else is counted and skipped, and the good reply behind it still arrives.
- A caller that gives up frees its place in the queue, but the wire stays taken until the device has answered or the
  deadline has passed: many devices lose the second of two requests.
- A reply that is taken after its deadline is no reply, also where it came in time and the controller stood still:
  nobody can tell how old it is.
- Nothing reconnects by itself. The owner calls connect() and waits backoff_s() between attempts.

pymodbus brings the transport. Its own transactions are not used: they would queue writes behind reads, wait out the
deadline after the connection is gone, and believe a reply by its transaction number alone.
"""

import asyncio
import logging
import socket
import struct
from collections import deque
from functools import partial
from typing import Literal

import msgspec
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU

from controller.link import LinkError, reason

READ_MAX = 125  # registers, Modbus Application Protocol V1.1b3 6.3
WRITE_MAX = 123  # registers, the same 6.12
INPUTS_MAX = 2000  # discrete inputs, the same 6.2
WAITING_MAX = 64  # requests in each of the two queues
TIMEOUTS_MAX = 2  # in a row, then the connection is given up
BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0
KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))  # s, s, probes
CHUNK_MAX_BYTES = 1 << 19  # asyncio hands over 256 KiB at most, and less than one frame is ever left over

_HEADER = struct.Struct(">HHHB")  # transaction, protocol, length of what follows, unit
_UNKNOWN = ("not in the standard", "the device's manual")
_EXCEPTIONS = {  # Modbus Application Protocol V1.1b3, section 7: name, what to check
    1: ("illegal function", "whether the profile fits the device"),
    2: ("illegal data address", "whether the profile fits the device and its firmware"),
    3: ("illegal data value", "the limits set in the device"),
    4: ("server device failure", "the device's own display for its fault"),
    5: ("acknowledge", "whether the device is busy with a long task"),
    6: ("server device busy", "whether another client keeps the device busy"),
    8: ("memory parity error", "the device's memory; it may need repair"),
    0x0A: ("gateway path unavailable", "the gateway's configuration and load"),
    0x0B: ("gateway target device failed to respond", "the device behind the gateway: power, address, bus wiring"),
}

# pymodbus prints its last twenty frames in hex with every lost reply. What matters of it is in LinkError and Counters.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class ModbusException(LinkError):
    """The device was reached and answered with a Modbus exception."""

    def __init__(self, code: int, what: str) -> None:
        name, check = _EXCEPTIONS.get(code, _UNKNOWN)
        super().__init__(f"{what}: the device refused with exception {code} ({name}); check {check}")
        self.code = code


class Counters(msgspec.Struct, kw_only=True):
    """What happened on a line since it was made. replies includes the exceptions, rejected the late replies."""

    requests: int = 0
    replies: int = 0
    rejected: int = 0
    timeouts: int = 0
    exceptions: int = 0
    connects: int = 0


def backoff_s(attempt: int) -> float:
    """Return how long to wait after failed connect number attempt, counted from 0: 0.5 s, doubling up to 30 s."""
    return min(BACKOFF_MAX_S, BACKOFF_MIN_S * (1 << min(max(attempt, 0), 16)))


class _Request(msgspec.Struct, frozen=True):
    """A request and what only its reply looks like: the first bytes and the whole length of the reply's PDU."""

    unit: int
    pdu: bytes
    reply_head: bytes
    reply_bytes: int
    what: str

    def answered_by(self, pdu: bytes) -> bool:
        if len(pdu) == self.reply_bytes:
            return pdu.startswith(self.reply_head)
        return len(pdu) == 2 and pdu[0] == self.pdu[0] | 0x80


class _Reply(ModbusPDU):
    """A reply as the bytes it came in, in the shape that pymodbus passes on."""

    def __init__(self, pdu: bytes) -> None:
        super().__init__()
        self.pdu = pdu


class _StrictFramer(FramerSocket):
    """Take the one reply that fits the outstanding request; count and skip everything else."""

    def __init__(self, decoder: DecodePDU, counters: Counters) -> None:
        super().__init__(decoder)
        self.counters = counters
        self.outstanding: _Request | None = None
        self.transaction = 0

    def frame(self, request: _Request) -> bytes:
        """Return the bytes to send and wait for this request's reply from now on."""
        # The count runs on over reconnects: a gateway may answer the old connection's question on the new one.
        self.transaction = self.transaction % 0xFFFF + 1
        self.outstanding = request
        return _HEADER.pack(self.transaction, 0, len(request.pdu) + 1, request.unit) + request.pdu

    def handleFrame(self, data: bytes, exp_devid: int, exp_tid: int) -> tuple[int, ModbusPDU | None]:  # noqa: N802
        """Return how many bytes are done with, and the reply when it was among them."""
        reply, start = None, 0
        while len(data) - start > _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(data, start)
            if protocol or not 3 <= length <= 254:
                start = self._realign(data, start)
                continue
            if len(data) - start < length + 6:
                break
            pdu = data[start + 7 : start + 6 + length]
            start += 6 + length
            request = self.outstanding
            if request and transaction == self.transaction and unit == request.unit and request.answered_by(pdu):
                reply, self.outstanding = _Reply(pdu), None
            else:
                self.counters.rejected += 1
        return start, reply

    def _realign(self, data: bytes, start: int) -> int:
        """Return where to read on in a stream that lost step, as after the first half of a late reply was dropped."""
        self.counters.rejected += 1
        if not (request := self.outstanding):
            return len(data)
        function = request.pdu[0]
        heads = (
            _HEADER.pack(self.transaction, 0, request.reply_bytes + 1, request.unit) + bytes((function,)),
            _HEADER.pack(self.transaction, 0, 3, request.unit) + bytes((function | 0x80,)),
        )
        found = [at for head in heads if (at := data.find(head, start + 1)) >= 0]
        return min(found, default=max(start + 1, len(data) - _HEADER.size))


class _Turns:
    """Who may use the wire: one at a time, commands before reads."""

    def __init__(self) -> None:
        self._taken = False
        self._commands: deque[asyncio.Future[None]] = deque()
        self._reads: deque[asyncio.Future[None]] = deque()

    async def take(self, *, command: bool) -> None:
        """Wait for the turn. Raises LinkError when too many wait already."""
        if not self._taken:
            self._taken = True
            return
        queue = self._commands if command else self._reads
        if len(queue) >= WAITING_MAX:
            raise LinkError(f"{WAITING_MAX} requests wait for this line already; check whether it is polled too fast")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in queue:
                queue.remove(turn)
            elif not turn.cancelled():
                self.give()  # the turn came in the same moment as the cancellation
            raise

    def give(self) -> None:
        """Hand the turn to the next in line."""
        for queue in (self._commands, self._reads):
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._taken = False


class ModbusLine:
    """One TCP connection to host:port. timeout_ms bounds a connect and each request from its sending to its reply."""

    def __init__(
        self, host: str, port: int, *, timeout_ms: int = 1000, gap_ms: int = 0, connect_delay_ms: int = 0
    ) -> None:
        self.counters = Counters()
        self._host, self._port = host, port
        self._place = f"{host}:{port}"
        self._timeout_ms, self._gap_ms, self._connect_delay_ms = timeout_ms, gap_ms, connect_delay_ms
        self._framer = _StrictFramer(DecodePDU(False), self.counters)
        self._client: AsyncModbusTcpClient | None = None
        self._answer: asyncio.Future[_Reply | str] | None = None  # str: why there is none
        self._turns = _Turns()
        self._connecting = asyncio.Lock()
        self._timeouts_in_a_row = 0

    @property
    def connected(self) -> bool:
        """Say whether a request could be sent now."""
        return self._client is not None and self._client.connected

    async def connect(self) -> None:
        """Make one attempt to connect; nothing happens when the line is up already. Raises LinkError."""
        async with self._connecting:
            if self.connected:
                return
            client = AsyncModbusTcpClient(
                self._host, port=self._port, retries=0, reconnect_delay=0, trace_connect=self._changed
            )
            client.ctx.framer = self._framer
            client.ctx.max_buffer_size = CHUNK_MAX_BYTES
            try:
                await self._open(client)
                self._client = client
            finally:
                if self._client is not client:
                    client.close()
            self.counters.connects += 1
            self._timeouts_in_a_row = 0

    async def close(self) -> None:
        """Close the connection. Whoever waits for it gets a LinkError."""
        async with self._connecting:
            self._drop("the controller closed the connection")
            await asyncio.sleep(0)  # asyncio closes the socket in its next turn

    async def read(self, unit: int, address: int, count: int, *, function: Literal[3, 4] = 3) -> bytes:
        """Return count registers (1..125) from address on as 2 * count bytes, big-endian.

        Raises LinkError: not connected, too many waiting, no reply in time; ModbusException: the device refused.
        """
        what = f"{self._place} unit {unit}: reading {count} registers at {address} (function {function})"
        if not (0 <= unit <= 255 and address >= 0 and 1 <= count <= READ_MAX and address + count <= 0x10000):
            raise LinkError(f"{what}: cannot be asked for; check the profile and the device's register map")
        request = _Request(
            unit=unit,
            pdu=struct.pack(">BHH", function, address, count),
            reply_head=bytes((function, 2 * count)),
            reply_bytes=2 + 2 * count,
            what=what,
        )
        return (await self._ask(request, command=False))[2:]

    async def read_inputs(self, unit: int, address: int, count: int) -> tuple[bool, ...]:
        """Return count discrete inputs (1..2000, function 2) from address on, True = 1 = current flows.

        Raises LinkError as read() does. Bits behind the last input are not looked at.
        """
        what = f"{self._place} unit {unit}: reading {count} inputs at {address} (function 2)"
        if not (0 <= unit <= 255 and address >= 0 and 1 <= count <= INPUTS_MAX and address + count <= 0x10000):
            raise LinkError(f"{what}: cannot be asked for; check the profile and the device's list of inputs")
        reply_bytes = -(-count // 8)
        request = _Request(
            unit=unit,
            pdu=struct.pack(">BHH", 2, address, count),
            reply_head=bytes((2, reply_bytes)),
            reply_bytes=2 + reply_bytes,
            what=what,
        )
        bits = int.from_bytes((await self._ask(request, command=False))[2:], "little")
        return tuple(bool(bits >> place & 1) for place in range(count))

    async def write(self, unit: int, address: int, registers: bytes, *, function: Literal[6, 16] = 16) -> None:
        """Write 1..123 registers (function 6: exactly one), given as big-endian bytes, before all waiting reads.

        Raises LinkError as read() does. After a LinkError other than a refusal the write may have been carried out.
        """
        count = len(registers) // 2
        what = f"{self._place} unit {unit}: writing {count} registers at {address} (function {function})"
        fits = 0 <= unit <= 255 and address >= 0 and address + count <= 0x10000 and 2 * count == len(registers)
        if not fits or not 1 <= count <= (1 if function == 6 else WRITE_MAX):
            raise LinkError(f"{what}: cannot be written; check the profile and the device's register map")
        if function == 6:
            pdu = struct.pack(">BH", function, address) + registers
        else:
            pdu = struct.pack(">BHHB", function, address, count, 2 * count) + registers
        request = _Request(unit=unit, pdu=pdu, reply_head=pdu[:5], reply_bytes=5, what=what)  # the echo, both functions
        await self._ask(request, command=True)

    async def _open(self, client: AsyncModbusTcpClient) -> None:
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                await client.ctx.call_create()
        except TimeoutError:
            raise LinkError(
                f"{self._place} does not take the connection within {self._timeout_ms} ms; "
                "check the device's power, the cable and the address"
            ) from None
        except OSError as error:
            raise LinkError(
                f"{self._place} cannot be connected to ({reason(error)}); "
                "check the address and port, and whether Modbus TCP is switched on in the device"
            ) from error
        _keep_alive(client)
        await asyncio.sleep(self._connect_delay_ms / 1000)
        if not client.connected:
            raise LinkError(
                f"{self._place} took the connection and closed it; check whether another client holds its only one"
            )

    async def _ask(self, request: _Request, *, command: bool) -> bytes:
        """Send when the turn comes and return the PDU of the reply that fits."""
        client = self._client
        if client is None or not client.connected:
            raise LinkError(f"{request.what}: not connected; check the cable, the address and other clients of it")
        await self._turns.take(command=command)
        if not client.connected:
            self._turns.give()
            raise LinkError(f"{request.what}: not sent, the connection was lost before its turn came")
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._timeout_ms / 1000
        reply = await asyncio.shield(self._send(client, request))
        if loop.time() > due_s and not isinstance(reply, str):
            reply = f"its reply was taken later than {self._timeout_ms} ms after it; check the controller's own load"
        if isinstance(reply, str):
            doubt = "; it may have been carried out all the same" if command else ""
            raise LinkError(f"{request.what}: {reply}{doubt}")
        if len(reply.pdu) == 2:
            raise ModbusException(reply.pdu[1], request.what)
        return reply.pdu

    def _send(self, client: AsyncModbusTcpClient, request: _Request) -> "asyncio.Future[_Reply | str]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Reply | str] = loop.create_future()
        deadline = loop.call_later(self._timeout_ms / 1000, self._expire, answer)
        answer.add_done_callback(partial(self._settle, deadline))
        self._answer = client.ctx.response_future = answer
        self.counters.requests += 1
        client.ctx.send(self._framer.frame(request))  # forgets what was received before
        return answer

    def _expire(self, answer: "asyncio.Future[_Reply | str]") -> None:
        if answer.done():
            return  # the reply came in the same turn of the loop
        self.counters.timeouts += 1
        self._timeouts_in_a_row += 1
        self._fail(f"no reply within {self._timeout_ms} ms; check the device's power and load and its unit number")
        if self._timeouts_in_a_row >= TIMEOUTS_MAX:
            self._drop("given up after repeated silence")

    def _settle(self, deadline: asyncio.TimerHandle, answer: "asyncio.Future[_Reply | str]") -> None:
        """End the exchange, whether or not its caller still waits, and pass the turn on after the gap."""
        deadline.cancel()
        self._framer.outstanding = None
        if isinstance(reply := answer.result(), _Reply):
            self._timeouts_in_a_row = 0
            self.counters.replies += 1
            self.counters.exceptions += len(reply.pdu) == 2
        if self._gap_ms:
            asyncio.get_running_loop().call_later(self._gap_ms / 1000, self._turns.give)
        else:
            self._turns.give()

    def _changed(self, up: bool) -> None:
        """Hear from pymodbus that the connection came or went."""
        if not up:
            self._fail("the connection was lost before the reply came; the controller connects again")

    def _fail(self, why: str) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(why)

    def _drop(self, why: str) -> None:
        client, self._client = self._client, None
        self._fail(why)
        if client:
            client.close()


def _keep_alive(client: AsyncModbusTcpClient) -> None:
    """Let the kernel find out within half a minute that the peer is gone, where it can."""
    if transport := client.ctx.transport:
        wire = transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE:
            if (option := getattr(socket, name, None)) is not None:
                wire.setsockopt(socket.IPPROTO_TCP, option, value)
