"""Digital inputs behind a Modbus line: all of a module's channels in one request, at every poll.

Laws:
- A reading holds every channel of one reply, as it was told; what a contact means is the site file's.
- A reply that did not come leaves the last reading to age: whoever reads it takes a lost contact as active.
- Nothing is ever written.
"""

import asyncio

from controller.link import Inbox, LinkError
from controller.link.clock import Clock
from controller.link.modbus import ModbusException, ModbusLine, backoff_s
from controller.link.notices import Notices
from controller.model import Command, Inputs, Profile

FAILURES_MAX = 3  # polls in a row without an answer, then it counts as lost and is asked less often


class InputsLink:
    """One module. Reports to inbox under the name device; the line may be shared with other units."""

    def __init__(
        self, line: ModbusLine, unit: int, device: str, profile: Profile, *, inbox: Inbox, clock: Clock
    ) -> None:
        """Raises ValueError when the profile names no inputs."""
        if not profile.inputs:
            raise ValueError(f"{profile.name}: inputs is 0; name how many channels the module has")
        self._line, self._unit, self._device, self._profile = line, unit, device, profile
        self._inbox, self._clock = inbox, clock
        self._notices = Notices(device, inbox, clock, line.counters.rejected)
        self._attempt = 0

    async def run(self) -> None:
        """Connect, poll and start over until cancelled, then close the line."""
        try:
            while True:
                try:
                    await self._line.connect()
                    await self._polling()
                except LinkError as error:
                    self._notices.tell_rejected(self._line.counters.rejected)
                    self._notices.tell("link_down", str(error))
                await asyncio.sleep(backoff_s(self._attempt))
                self._attempt += 1
        finally:
            await self._line.close()

    async def send(self, command: Command) -> None:
        """Raise LinkError: a module of inputs is not commanded."""
        raise LinkError(f"{self._device}: digital inputs are not commanded; {command.power_w:+d} W was not written")

    def tick(self) -> None:
        """Have nothing to keep alive."""

    async def _polling(self) -> None:
        """Poll until the line is lost or the module stays silent. Raises LinkError with the reason."""
        due_ms, failures = self._clock.now_ms(), 0
        while True:
            try:
                closed = await self._line.read_inputs(self._unit, self._profile.first_input, self._profile.inputs)
                failures = self._attempt = 0
                self._tell(closed)
            except LinkError as error:
                failures += 1
                if isinstance(error, ModbusException):
                    self._notices.tell("bad_reply", str(error))
                if failures == FAILURES_MAX or not self._line.connected:
                    raise
            now_ms = self._clock.now_ms()
            due_ms = max(due_ms + self._profile.poll_ms, now_ms)
            await asyncio.sleep((due_ms - now_ms) / 1000)

    def _tell(self, closed: tuple[bool, ...]) -> None:
        heard_ms = self._clock.now_ms()
        self._notices.tell_rejected(self._line.counters.rejected)
        self._inbox.heard(
            Inputs(
                device=self._device, sampled_ms=heard_ms - self._profile.latency_ms, heard_ms=heard_ms, closed=closed
            )
        )
        self._notices.withdraw_passed()
