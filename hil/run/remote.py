"""A served site from outside: its plant as it streams it, its inputs and faults as it takes them."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from hil.children import HOST
from hil.faults.words import Armed, Fault, Heal
from hil.plant.site import Part
from hil.plant.truth import Asked, Truth
from hil.run.control import LINE_MAX_BYTES, DemandError, ask

EVERY_S = 0.05


class RemotePlant:
    """The plant of another process. What is set or armed is on its way when the call returns."""

    def __init__(self, control_port: int, parts: Mapping[str, Part] | None = None) -> None:
        """parts: what each device is, for faults that ask; their state is the other process's."""
        self.parts = parts or {}
        self.order_w: float | None = None
        self.asked = Asked()
        self.cut: set[str] = set()
        self.latest: Truth | None = None
        self.fresh = asyncio.Event()
        self.errors: list[str] = []
        self._port = control_port
        self._sent: set[asyncio.Task[Any]] = set()
        self._line = asyncio.Lock()  # one demand after another: they are done in the order of the calls
        self._numbers: list[tuple[Armed, int]] = []

    async def run(self) -> None:
        """Take in the truth until cancelled. Raises ConnectionError when the site's process hangs up."""
        reader, writer = await asyncio.open_connection(HOST, self._port, limit=LINE_MAX_BYTES)
        try:
            writer.write(msgspec.json.encode({"do": "watch", "every_s": EVERY_S}) + b"\n")
            while line := await reader.readline():
                self.latest = msgspec.json.decode(line, type=Truth)
                self.fresh.set()
        finally:
            writer.close()
        raise ConnectionError("the served site hung up")

    def truth(self) -> Truth:
        """Return the plant as it was heard last, with what this side knows of it."""
        assert self.latest is not None, "nothing was heard yet"
        cut = self.latest.cut | self.cut
        return msgspec.structs.replace(self.latest, order_w=self.order_w, asked=self.asked, cut=cut)

    def set(self, name: str, value: float) -> None:
        """Set an input."""
        self._send({"do": "set", "name": name, "value": value})

    def arm(self, fault: Fault) -> None:
        """Let a fault begin over there, whatever it says of when; it ends by itself after its for_s."""
        self._send({"do": "arm", "fault": msgspec.to_builtins(fault)})

    def begin(self, armed: Armed) -> Heal:
        """Let a fault begin over there; return what ends it."""
        fault = msgspec.to_builtins(armed.fault) | {"at_s": None, "when": None, "per_s": None, "for_s": None}
        number: list[int] = []

        async def arm() -> None:
            answer = await self._ask({"do": "arm", "fault": fault})
            number.append(answer["number"])
            self._numbers.append((armed, answer["number"]))

        arming = self._do(arm())

        async def disarm() -> None:
            await arming
            if number:
                await self._ask({"do": "disarm", "number": number[0]})

        def heal() -> None:
            self._do(disarm())

        return heal

    async def sent(self) -> None:
        """Wait for all that is on its way."""
        while self._sent:
            await asyncio.wait(self._sent)

    async def settle(self) -> None:
        """Wait for all that is on its way, then take over how often each fault bit."""
        await self.sent()
        rows = await self._ask({"do": "faults"})
        for armed, number in self._numbers:
            armed.effects += rows[number]["effects"]

    def _send(self, demand: dict[str, object]) -> None:
        self._do(self._ask(demand))

    async def _ask(self, demand: dict[str, object]) -> Any:
        async with self._line:
            return await ask(HOST, self._port, demand)

    def _do(self, work: Any) -> "asyncio.Task[None]":
        async def guarded() -> None:
            try:
                await work
            except (DemandError, OSError, RuntimeError, ValueError, KeyError) as error:
                self.errors.append(str(error))

        task = asyncio.get_running_loop().create_task(guarded())
        self._sent.add(task)
        task.add_done_callback(self._sent.discard)
        return task


async def first_line(log: Any, within_s: float) -> bytes:
    """Return the first whole line of a growing file. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while True:
            with contextlib.suppress(OSError):
                text: bytes = log.read_bytes()
                for line in text.splitlines(keepends=True):
                    if line.startswith(b"{") and line.endswith(b"\n"):
                        return line
            await asyncio.sleep(0.05)
