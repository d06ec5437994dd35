"""A real Modbus server behind a wire, clients in front of it, and the verbs of the wire at hand."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from pymodbus import ModbusException
from pymodbus.client import AsyncModbusTcpClient

from controller.link.modbus_server import ModbusServer, Request
from hil.faults.wire import VERBS
from hil.faults.words import Armed, Fault
from hil.wire.proxy import Wire

HOST = "127.0.0.1"
TIMEOUT_S = 1.0
ROWS = {verb.name: verb for verb in VERBS}
Heard = list[tuple[float, bytes | str]]


class Ear(asyncio.Protocol):
    """A client that writes down what it hears and when: bytes as they came, FIN or RST."""

    def __init__(self) -> None:
        self.heard: Heard = []
        self._loop = asyncio.get_running_loop()
        self._since_s = self._loop.time()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._note(data)

    def eof_received(self) -> None:
        self._note("FIN")

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ConnectionResetError):
            self._note("RST")

    async def ask(self, request: bytes, wait_s: float = 5.0) -> Heard:
        """Send a request and return what is heard within wait_s, with times counted from now."""
        self._since_s = self._loop.time()
        self.heard = []
        self.transport.write(request)
        await asyncio.sleep(wait_s)
        return self.heard

    def bytes_heard(self) -> bytes:
        """Return all bytes heard since the last request."""
        return b"".join(data for _, data in self.heard if isinstance(data, bytes))

    def _note(self, what: bytes | str) -> None:
        self.heard.append((round(self._loop.time() - self._since_s, 6), what))


class Cable:
    """A bench of one device, `meter`, and a stranger, each on a wire."""

    def __init__(self, controller: Any = "client") -> None:
        self.asked: list[Request] = []
        self.server = ModbusServer(self.answer)
        self.stranger = ModbusServer(lambda request: bytes.fromhex("EEEE") * request.count)
        self.wire = Wire(controller)
        self.wires = {"meter": self.wire, "stranger": Wire()}
        self.site = SimpleNamespace(utility=SimpleNamespace(listen=""))  # the server plays the site's, too
        self._clients: list[AsyncModbusTcpClient] = []
        self._ears: list[Ear] = []

    def answer(self, request: Request) -> bytes | int | None:
        """Answer a read with the registers' own addresses."""
        self.asked.append(request)
        numbers = range(request.address, request.address + request.count)
        return b"" if request.registers else b"".join(number.to_bytes(2, "big") for number in numbers)

    def armed(self, do: str, *, direction: Any = "both", seed: str = "1", **params: Any) -> Armed:
        """Return a verb armed for the wire, by its row of the table."""
        return Armed(Fault(on="meter", do=do, direction=direction, params=params), ROWS[do], seed)

    def begin(self, do: str, **said: Any) -> tuple[Armed, Callable[[], None]]:
        """Do a verb to the wire. Returns the fault and what heals it."""
        armed = self.armed(do, **said)
        return armed, armed.verb.begin(self, armed)

    async def ear(self) -> Ear:
        """Connect a client that only listens and writes down. Raises OSError."""
        _, ear = await asyncio.get_running_loop().create_connection(Ear, HOST, self.wire.port)
        self._ears.append(ear)
        return ear

    async def client(self) -> AsyncModbusTcpClient:
        """Connect a pymodbus client."""
        client = AsyncModbusTcpClient(HOST, port=self.wire.port, timeout=TIMEOUT_S, retries=0, reconnect_delay=0)
        self._clients.append(client)
        await client.connect()
        return client

    async def start(self) -> None:
        """Serve on free ports."""
        for server, wire in ((self.server, self.wire), (self.stranger, self.wires["stranger"])):
            await server.start(HOST, 0)
            await wire.start(HOST, 0, HOST, server.port)
        self.site.utility.listen = f"{HOST}:{self.server.port}"

    async def close(self) -> None:
        """Take everything away."""
        for client in self._clients:
            client.close()
        for ear in self._ears:
            ear.transport.abort()
        for wire in self.wires.values():
            await wire.close()
        for server in (self.server, self.stranger):
            await server.close()


@asynccontextmanager
async def cable(controller: str = "client") -> AsyncIterator[Cable]:
    """Serve for a block."""
    made = Cable(controller)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def said(client: AsyncModbusTcpClient, address: int = 7, *, write: bool = False) -> tuple[Any, float]:
    """Let pymodbus read, or write, one register. Returns what it says of it, and after how many seconds."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    try:
        reply = await (
            client.write_registers(address, [5], device_id=1)
            if write
            else client.read_holding_registers(address, count=1, device_id=1)
        )
        what: Any = f"exception {reply.exception_code}" if reply.isError() else reply.registers
    except ModbusException:
        what = "silent" if client.connected else "lost"
    return what, round(loop.time() - begun_s, 6)


class Far(asyncio.Protocol):
    """Says what it hears."""

    def __init__(self, log: "Log") -> None:
        self._log = log

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._log.transports.append(transport)

    def data_received(self, data: bytes) -> None:
        self._log.heard_bytes += len(data)
        self._transport.write(data)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._log.ends.append(exc)


class Log:
    """What happened at the far end."""

    def __init__(self) -> None:
        self.heard_bytes = 0
        self.forget()

    def forget(self) -> None:
        self.transports: list[asyncio.Transport] = []
        self.ends: list[Exception | None] = []


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[Wire, Log]]:
    """Serve an echo behind a wire for a block."""
    log, wire = Log(), Wire()
    server = await asyncio.get_running_loop().create_server(lambda: Far(log), HOST, 0)
    await wire.start(HOST, 0, *server.sockets[0].getsockname())
    try:
        yield wire, log
    finally:
        await wire.close()
        server.close()
        for transport in log.transports:
            transport.abort()
        await asyncio.sleep(0)
        await server.wait_closed()


async def joined(wire: Wire) -> Ear:
    """Connect a listening client."""
    _, ear = await asyncio.get_running_loop().create_connection(Ear, HOST, wire.port)
    return ear


async def fill(client: socket.socket) -> int:
    """Send until nothing more is taken, and return how many bytes were."""
    taken_bytes, silent_turns = 0, 0
    while silent_turns < 200:
        try:
            taken_bytes += client.send(bytes(1 << 16))
            silent_turns = 0
        except BlockingIOError:
            silent_turns += 1
        await asyncio.sleep(0)
    return taken_bytes


def reset_on_close(transport: asyncio.Transport) -> None:
    """Let a connection end with RST."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
