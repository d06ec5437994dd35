"""The bench's own line: look at the plant, set its inputs and switch faults while a site is served in real time.

One JSON object a line on loopback, answered by one line; after "watch" the server goes on sending truths.
    {"do": "describe"}                                       where each device is reached, what can be set, the faults
    {"do": "truth"}                                          the plant's true state now
    {"do": "watch", "every_s": 0.1}                          and again every so often, until the line is closed
    {"do": "set", "name": "load_w", "value": 3000}
    {"do": "arm", "fault": {"id": "F06", "on": "meter"}}     -> {"number": 1}
    {"do": "disarm", "number": 1}
    {"do": "faults"}                                         what was armed, and how often it bit
What is wrong with a line is answered as {"error": "..."}; nothing else happens then. A line that is too long, and one
client too many, is hung up on after its answer.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from hil.faults.words import Fault

LINE_MAX_BYTES = 1 << 16
EVERY_MIN_S = 0.02
CLIENTS_MAX = 8


class Demand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a client."""

    do: str
    name: str = ""
    value: float = 0.0
    number: int = 0
    every_s: float = 0.1
    fault: Fault | None = None


class DemandError(Exception):
    """A line that cannot be done. The text says what is allowed."""


Answer = Callable[[Demand], Any]


class ControlServer:
    """Serves host:port. answer(demand) returns what is to be told; DemandError is told as it is."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port listened on."""
        assert self._server, "not started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=LINE_MAX_BYTES)

    async def close(self) -> None:
        """Stop listening and hang up."""
        if self._server is not None:
            self._server.close()
        for line in tuple(self._lines):
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        full = len(self._lines) >= CLIENTS_MAX
        self._lines.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                if full:
                    await _send(writer, {"error": f"one client too many: allowed are {CLIENTS_MAX} at a time"})
                else:
                    await self._serve(reader, writer)
        finally:
            self._lines.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await reader.readuntil()
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                await _send(writer, {"error": f"the line is too long: allowed are {LINE_MAX_BYTES} bytes"})
                return
            every_s = await self._tell(line, writer)
            while every_s and not writer.is_closing():
                await asyncio.sleep(every_s)
                await self._tell(b'{"do": "truth"}', writer)

    async def _tell(self, line: bytes, writer: asyncio.StreamWriter) -> float:
        """Answer one line. Returns how often the answer is to be repeated, 0 = once."""
        every_s = 0.0
        try:
            demand = msgspec.json.decode(line, type=Demand)
            if demand.do == "watch":
                every_s = max(EVERY_MIN_S, demand.every_s)
                demand = Demand(do="truth")
            answer = self._answer(demand)
        except (msgspec.DecodeError, UnicodeDecodeError, DemandError) as error:
            answer = {"error": str(error)}
        await _send(writer, answer)
        return every_s


async def _send(writer: asyncio.StreamWriter, answer: object) -> None:
    writer.write(msgspec.json.encode(answer, enc_hook=_plain) + b"\n")
    await writer.drain()


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    raise NotImplementedError(type(value))


async def ask(host: str, port: int, demand: dict[str, object]) -> Any:
    """Send one demand and return the answer.

    Raises OSError where nobody serves or the line breaks before the answer, DemandError with what was wrong.
    """
    reader, writer = await asyncio.open_connection(host, port, limit=LINE_MAX_BYTES)
    try:
        writer.write(msgspec.json.encode(demand) + b"\n")
        line = await reader.readline()
    finally:
        writer.close()
    if not line.endswith(b"\n"):
        raise ConnectionError("the served site hung up before its answer")
    answer = msgspec.json.decode(line)
    if isinstance(answer, dict) and "error" in answer:
        raise DemandError(str(answer["error"]))
    return answer
