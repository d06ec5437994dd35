"""One SunSpec device on a Modbus line: found by discovery, polled for readings, commanded by model 704.

Laws:
- Every poll reads the header in front of the points it believes. A header that changed means the map moved: the device
  is discovered anew. A connection that was renewed by anyone means the same.
- The device met first stays the device of this address: another Mn, Md or SN gives no readings and gets no writes.
- A reading is as old as the first reply that it is made of, so that a pause between two of them cannot make it fresh.
- Nothing is written before a reading was heard on the present connection, nor while the device is in local control.
- The heartbeat of 715 is written only when the supervised loop has ticked since the last one.
"""

import asyncio

from controller.codec import sunspec_readings
from controller.codec.sunspec import HEADER, CodecError, Value, Values, decode, spoiled
from controller.codec.sunspec_control import (
    CONTROL_MODEL,
    HEARTBEAT_MODEL,
    Write,
    disabling_write,
    heartbeat_write,
    power_writes,
    reactive_disabling_write,
    reactive_writes,
)
from controller.link import Inbox, LinkError, PartlyWritten
from controller.link.clock import Clock
from controller.link.modbus import ModbusException, ModbusLine, backoff_s
from controller.link.notices import Notices
from controller.link.sunspec_discovery import DeviceMap, FoundModel, Span, discover, spans
from controller.model import Command, Profile

SWITCH_MODEL = 715
SLOW_EVERY_POLLS = 4  # settings and the local/remote switch, spread over these polls
HEARTBEAT_EVERY_MS = 1000  # 715.ControllerHb counts seconds
FAILURES_MAX = 3  # polls in a row without an answer, then the device is discovered anew


class _StartOver(LinkError):
    """The device is there, but not as it was discovered."""


class SunSpecLink:
    """One device. Reports to inbox under the name device; the line may be shared with other units."""

    def __init__(  # noqa: PLR0913  one wire, one place on it, one kind, one pace, and where to report
        self,
        line: ModbusLine,
        unit: int,
        device: str,
        profile: Profile,
        *,
        poll_ms: int,
        inbox: Inbox,
        clock: Clock,
    ) -> None:
        self._line, self._unit, self._device, self._profile = line, unit, device, profile
        self._poll_ms, self._inbox, self._clock = poll_ms, inbox, clock
        self._identity: tuple[Value, ...] | None = None  # Mn, Md, SN
        self._map = DeviceMap(base=0, models=(), problems=())
        self._fast: tuple[FoundModel, ...] = ()
        self._slow: tuple[FoundModel, ...] = ()
        self._blocks: dict[int, bytes] = {}
        self._values: dict[int, Values] = {}
        self._spoiled: dict[int, tuple[str, ...]] = {}
        self._read_ms: dict[int, int] = {}  # when each model was read last
        self._uncontrolled = "it was not discovered yet"  # why it cannot be commanded at all
        self._connects = -1  # the line's count of connects at the last discovery
        self._joined = True  # until the device refuses a read across two models
        self._ready = False  # a reading was heard since the last discovery
        self._reactive = False  # a reactive power of ours may stand in the device
        self._ticked = False
        self._beat: int | None = None  # last ControllerHb, None where the device takes none
        self._beat_ms = 0
        self._attempt = 0
        self._turn = 0  # which of the settings is read next
        self._notices = Notices(device, inbox, clock, line.counters.rejected)

    async def run(self) -> None:
        """Connect, discover, poll and start over until cancelled, then close the line."""
        try:
            while True:
                await self._life()
                self._ready = False
                await asyncio.sleep(backoff_s(self._attempt))
                self._attempt += 1
        finally:
            self._ready = False
            await self._line.close()

    async def send(self, command: Command) -> None:
        """Write the set points with their lease. Not running is a power of 0 W, held like any other, and no vars.

        Raises LinkError when a set point may not be written, does not fit the device, or was not acknowledged, and
        PartlyWritten when that holds for the reactive power alone.
        """
        assert command.device == self._device, f"a command for {command.device} came to {self._device}"
        if reason := self._refusal():
            raise LinkError(f"{self._device}: the set point was not written: {reason}")
        power_w = command.power_w * self._profile.power_sign if command.running else 0
        try:
            writes = power_writes(self._blocks[CONTROL_MODEL], power_w, command.valid_ms)
        except CodecError as error:
            raise LinkError(f"{self._device}: the set point was not written: {error}") from error
        await self._write_all(writes, disabling_write())
        try:
            await self._send_reactive(command.reactive_var if command.running else None, command.valid_ms)
        except (CodecError, ModbusException) as error:
            raise PartlyWritten(f"{self._device}: the reactive power was not written: {error}") from error

    async def _send_reactive(self, reactive_var: int | None, valid_ms: int) -> None:
        """Write a reactive power; or take ours back once, and it is the inverter's own business again."""
        off = reactive_disabling_write()
        if reactive_var is not None:
            writes = reactive_writes(self._blocks[CONTROL_MODEL], reactive_var, valid_ms)
            self._reactive = True
            await self._write_all(writes, off)
        elif self._reactive:
            await self._write_all((off,), off)
            self._reactive = False

    async def _write_all(self, writes: tuple[Write, ...], off: Write) -> None:
        """Write the pieces of a set point in their order; off ends it."""
        address = self._map.model(CONTROL_MODEL).address
        for place, write in enumerate(writes):
            try:
                await self._line.write(self._unit, address + write.offset, write.registers)
            except LinkError:
                if place:  # the timer went out and runs anew for the old power: end that, or each attempt prolongs it
                    await self._line.write(self._unit, address + off.offset, off.registers)
                raise

    def tick(self) -> None:
        """Allow one more heartbeat: the supervised loop has finished a cycle."""
        self._ticked = True

    async def _life(self) -> None:
        """Live through one connection, from connecting to whatever ends it."""
        try:
            await self._open()
            await self._polling()
        except _StartOver:
            self._notices.withdraw("link_down")
        except LinkError as error:
            self._notices.tell_rejected(self._line.counters.rejected)
            self._notices.tell("link_down", str(error))

    async def _open(self) -> None:
        """Connect if need be, discover, and make sure that it is the device met first."""
        await self._line.connect()
        connects = self._line.counters.connects
        found = await discover(self._line, self._unit)
        self._recognise(found)
        if moves := _moves(self._map, found):
            self._notices.tell("map_moved", moves)
        if found.problems:
            self._notices.tell("bad_reply", "; ".join(found.problems))
        fast, slow = sunspec_readings.wanted(self._profile.kind, found.readable)
        if not fast:
            listed = ", ".join(str(model.model_id) for model in found.models)
            raise LinkError(
                f"unit {self._unit} has no model that a {self._profile.kind} is read by, only {listed}; "
                "check whether the profile fits the device"
            )
        self._map, self._connects, self._joined = found, connects, True
        self._fast, self._slow = tuple(map(found.model, fast)), tuple(map(found.model, slow))
        self._blocks, self._values, self._spoiled = {}, {}, {}
        self._turn = -1  # discovery has just read them all
        for model in self._fast + self._slow:
            self._keep(model, model.block)
        beat = self._values.get(HEARTBEAT_MODEL, {}).get("ControllerHb")
        self._beat = beat if isinstance(beat, int) else None
        self._check_control()

    def _recognise(self, found: DeviceMap) -> None:
        """Raise _StartOver for another device than the one met first, LinkError when it does not tell who it is."""
        values = decode(found.model(1).block) if 1 in found.readable else {}
        now = tuple(values.get(point) for point in ("Mn", "Md", "SN"))
        met = self._identity or now
        if any(new is None and old is not None for new, old in zip(now, met, strict=True)) or not any(now):
            raise LinkError(
                f"unit {self._unit} does not tell maker, model and serial number; check whether it starts up"
            )
        if any(old is not None and new != old for new, old in zip(now, met, strict=True)):
            first, other = (" ".join(str(part) for part in who if part is not None) for who in (met, now))
            self._notices.tell(
                "wrong_device", f"{other} answers where {first} was met; it is neither read nor commanded"
            )
            raise _StartOver("another device")
        self._identity = now
        self._notices.withdraw("wrong_device")

    def _check_control(self) -> None:
        """Find out whether the device can be commanded and tell it when the profile says so but the device does not."""
        if self._profile.control != "sunspec_704":
            self._uncontrolled = "its profile allows no control"
            return
        try:
            power_writes(self._blocks[CONTROL_MODEL], 0, 1000)
        except KeyError:
            self._uncontrolled = "it has no model 704"
        except CodecError as error:
            self._uncontrolled = str(error)
        else:
            self._uncontrolled = ""
            self._notices.withdraw("write_failed")
            return
        self._notices.tell(
            "write_failed",
            f"{self._uncontrolled}: it is never written to; check its firmware and whether remote control is unlocked",
        )

    async def _polling(self) -> None:
        """Poll until the line is lost, the device stays silent, or is not as it was discovered."""
        due_ms, failures = self._clock.now_ms(), 0
        while True:
            try:
                await self._poll()
                failures = self._attempt = 0
            except _StartOver:
                raise
            except LinkError as error:
                failures += 1
                self._notices.tell_rejected(self._line.counters.rejected)
                if isinstance(error, ModbusException):
                    self._notices.tell("bad_reply", str(error))
                if failures == FAILURES_MAX or not self._line.connected:
                    raise
            now_ms = self._clock.now_ms()
            due_ms = max(due_ms + self._poll_ms, now_ms)
            await asyncio.sleep((due_ms - now_ms) / 1000)

    async def _poll(self) -> None:
        if self._line.counters.connects != self._connects:
            raise _StartOver("the connection was renewed")
        heard_ms = None
        for span in spans(self._fast, joined=self._joined):
            await self._read(span)
            heard_ms = self._clock.now_ms() if heard_ms is None else heard_ms
        assert heard_ms is not None, "_open lets no device pass that has nothing to poll"
        self._tell(heard_ms)
        self._notices.withdraw_passed()
        await self._read_settings()
        await self._heartbeat()

    async def _read(self, span: Span) -> None:
        """Read models together, or one by one for a device that refuses it."""
        try:
            registers = await self._line.read(self._unit, span.address, span.count)
        except ModbusException:
            if len(span.parts) == 1:
                raise
            self._joined = False
            for model, count in span.parts:
                await self._read(Span(address=model.address, parts=((model, count),)))
            return
        at = 0
        for model, count in span.parts:
            block = registers[at : at + 2 * count]
            if HEADER.unpack_from(block) != (model.model_id, model.length):
                raise _StartOver(f"model {model.model_id} is no longer at {model.address}")
            self._keep(model, block)
            at += 2 * count

    async def _read_settings(self) -> None:
        """Read one span of them in this poll: all at once would hold up the power of a slow device.

        One whose reply is lost is read again with the next poll, so that no setting is believed for longer than it is.
        """
        pending = spans(self._slow, joined=self._joined)
        turn = self._turn % max(SLOW_EVERY_POLLS, len(pending))
        if turn < len(pending):
            span = pending[turn]
            try:
                await self._read(span)
            except ModbusException as error:
                self._notices.tell("bad_reply", str(error))
                # A rating that cannot be read stays what it was; a switch that cannot be read does not say "remote".
                if [model.model_id for model, _count in span.parts] == [SWITCH_MODEL]:
                    self._values[SWITCH_MODEL] = sunspec_readings.settled(self._values.get(SWITCH_MODEL, {}), {})
            self._check_control()
        self._turn = turn + 1

    def _keep(self, model: FoundModel, block: bytes) -> None:
        self._blocks[model.model_id] = block
        kept = model in self._slow and model.model_id not in sunspec_readings.LIVE
        before = self._values.get(model.model_id, {}) if kept else {}
        self._values[model.model_id] = sunspec_readings.settled(before, decode(block))
        self._spoiled[model.model_id] = sunspec_readings.used(model.model_id, spoiled(block))
        self._read_ms[model.model_id] = self._clock.now_ms()

    def _tell(self, heard_ms: int) -> None:
        """Report the reading, and what of it could not be believed."""
        if points := [f"{model_id}.{point}" for model_id, lost in self._spoiled.items() for point in lost]:
            self._notices.tell(
                "bad_reply", f"{', '.join(points)} not used: the scale factor is missing or not in -10..10"
            )
        self._notices.tell_rejected(self._line.counters.rejected)
        self._forget(heard_ms)
        reading = sunspec_readings.reading(self._device, self._profile, self._values, heard_ms)
        if reading is None:
            self._notices.tell("bad_reply", "it answers but does not tell its power")
            return
        self._inbox.heard(reading)
        self._ready = True

    def _forget(self, heard_ms: int) -> None:
        """Take out what was measured too long ago: it comes round with the settings, and then as long as a reading."""
        round_ms = self._poll_ms * max(SLOW_EVERY_POLLS, len(self._slow))
        for model_id in sunspec_readings.LIVE:
            if heard_ms - self._read_ms.get(model_id, heard_ms) > self._profile.stale_after_ms + round_ms:
                self._values.pop(model_id, None)

    async def _heartbeat(self) -> None:
        now_ms = self._clock.now_ms()
        due = self._ticked and self._ready and now_ms - self._beat_ms >= HEARTBEAT_EVERY_MS
        if self._beat is None or self._uncontrolled or not due:
            return
        self._ticked, self._beat_ms, self._beat = False, now_ms, self._beat + 1
        write = heartbeat_write(self._beat)
        try:
            await self._line.write(self._unit, self._map.model(HEARTBEAT_MODEL).address + write.offset, write.registers)
        except ModbusException as error:
            self._beat = None
            self._notices.tell(
                "bad_reply", f"it refuses the controller's heartbeat, which is not sent any more: {error}"
            )

    def _refusal(self) -> str:
        """Return why nothing may be written now, empty when it may."""
        if self._uncontrolled:
            return self._uncontrolled
        if not self._ready or not self._line.connected or self._line.counters.connects != self._connects:
            return "no reading was heard since the device was last connected to; check its connection"
        if not sunspec_readings.remote(self._values):
            return "it is held in local control (715.LocRemCtl); check the switch at the device"
        return ""


def _moves(old: DeviceMap, new: DeviceMap) -> str:
    """Tell which models changed their address between two discoveries, empty when none did."""
    both = old.readable & new.readable
    moved = [model_id for model_id in sorted(both) if old.model(model_id).address != new.model(model_id).address]
    if moved and old.base != new.base:
        return f"the map moved from {old.base} to {new.base}"
    return ", ".join(
        f"model {model_id} moved from {old.model(model_id).address} to {new.model(model_id).address}"
        for model_id in moved
    )
