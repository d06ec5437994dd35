"""Model: the same decisions on the same plant without a frame, a socket or a task, for years, fuzzing and fleets.

What links do is told in a few lines here: a device is sampled every poll, a battery tells every second, a command is
written when it changed or a third of its lease is over. Board, orders, engine and gate are the controller's own.
"""

from collections.abc import Callable

import msgspec

from controller.app.board import Board
from controller.app.commissioning import commissioned
from controller.app.decider import Decider
from controller.codec.sunspec import bit_names
from controller.journal import Entry
from controller.link.clock import Clock
from controller.link.modbus_server import Request
from controller.model import Command, Decision, Inputs, Inverter, Meter, Site, State
from controller.utility.sunspec import SunSpecDoor
from hil.dispatch import BASE, MODEL_END, OFFSETS_704, SCALES, START, STOP, Points, Write, exponent
from hil.plant.inputs import Inputs as Contacts
from hil.plant.inverter import Reactive, SetPoint
from hil.plant.site import Plant
from hil.run.battery_reading import battery_reading
from hil.run.meter_reading import meter_phases
from hil.run.utility import REFRESH_S, Order, Wish

BATTERY_S = 1.0
NOTICE_PCT = 5  # a battery tells a limit at once when it moved by more of its largest
UTC_MS = 1_780_000_000_000
LEASE_PARTS = 3
SET_REGISTERS = 11  # of 704, WSetEna to WSetRvrtTms
Recorder = Callable[[Entry], None]


class ModelClock(Clock):
    """Time that is moved by hand. Monotonic and wall clock can be told apart by a fault."""

    def __init__(self, now_s: float, utc_ms: int = UTC_MS) -> None:
        self.now_s, self.offset_ms = now_s, utc_ms

    def now_ms(self) -> int:
        """Return monotonic milliseconds."""
        return int(self.now_s * 1000 + 1e-6)

    def utc_ms(self) -> int:
        """Return wall-clock milliseconds."""
        return self.offset_ms + self.now_ms()

    def step(self, by_s: float) -> None:
        """Move the wall clock alone."""
        self.offset_ms += round(by_s * 1000)

    def boot(self, utc_ms: int = 0) -> None:
        """Set the wall clock."""
        self.offset_ms += utc_ms - self.utc_ms()


class ModelUtility:
    """The utility without a socket: its writes reach the site's own server as requests."""

    def __init__(self, site: Site, door: SunSpecDoor, clock: ModelClock) -> None:
        self.wish = Wish()
        self.order, self.reactive = Order(site.utility.lease_s), Order(site.utility.lease_s)
        self.silent = False
        self.mangle: Callable[[Write], list[Write]] = lambda write: [write]
        self._unit, self._door, self._clock = site.utility.unit_id, door, clock
        self._points = self._found()
        self._due_s = clock.now_s
        self._beats = 0
        self._stopped = False

    @property
    def order_w(self) -> int | None:
        """The set point that the utility may believe to be in force."""
        return self.order.power_w(self._clock.now_s)

    @property
    def reactive_var(self) -> int | None:
        """The set point of reactive power that the utility may believe to be in force."""
        return self.reactive.power_w(self._clock.now_s)

    def changed(self) -> None:
        """Write what is wanted at the next tick."""
        self._due_s = self._clock.now_s

    def tick(self) -> None:
        """Write what is wanted when it is due."""
        now_s, wish = self._clock.now_s, self.wish
        if now_s < self._due_s - 1e-9 or self.silent:
            return
        self._due_s = now_s + REFRESH_S
        if wish.cease != self._stopped and self._send(self._points.operate(STOP if wish.cease else START)):
            self._stopped = wish.cease
        if wish.limit_pct is not None:
            self._send(self._points.limit(wish.limit_pct))
        if wish.beats:
            self._beats += 1
            self._send(self._points.beat(self._beats))
            self.order.renewed(now_s)
        self._tick_reactive()
        power_w = wish.set_w
        if power_w is None or (wish.beats and self.order_w == round(power_w)):
            return
        if self._send(self._points.set_point(round(power_w))):
            self.order.acknowledged(round(power_w), now_s)

    def _tick_reactive(self) -> None:
        wanted_var = self.wish.reactive_var
        if wanted_var is not None:
            if self._send(*self._points.reactive(round(wanted_var))):
                self.reactive.acknowledged(round(wanted_var), self._clock.now_s)
        elif self.reactive_var is not None and self._send(*self._points.reactive(None)):
            self.reactive.ended()

    def _send(self, *writes: Write) -> bool:
        taken = True
        for write in writes:
            for one in self.mangle(write):
                data = b"".join(register.to_bytes(2, "big") for register in one.registers)
                taken = self._ask(16, one.address, len(one.registers), data) == b"" and taken
        return taken

    def _found(self) -> Points:
        models, address = {}, BASE + 2
        while True:
            model, length = self._read(address), self._read(address + 1)
            if model == MODEL_END:
                break
            models[model] = address
            address += 2 + length
        return Points(models, *(exponent(self._read(models[704] + OFFSETS_704[name])) for name in SCALES))

    def _read(self, address: int) -> int:
        answer = self._ask(3, address, 1, b"")
        assert isinstance(answer, bytes), f"the site's server refuses a read at {address}"
        return int.from_bytes(answer, "big")

    def _ask(self, function: int, address: int, count: int, registers: bytes) -> bytes | int | None:
        request = Request(
            unit=self._unit, function=function, address=address, count=count, registers=registers, peer="127.0.0.1:1"
        )
        return self._door.answer(request)


class _Held:
    """The command that an inverter holds."""

    command: Command | None = None
    sent_s = 0.0


class Model:
    """One site from the plant's present on. silent: devices that are not heard and cannot be commanded."""

    def __init__(
        self, site: Site, plant: Plant, *, state: State | None = None, record: Recorder = lambda entry: None
    ) -> None:
        self.site, self.plant, self.record = site, plant, record
        self.clock = ModelClock(plant.now_s)
        self.silent: set[str] = set()
        self._changed = False
        self.board = Board(site, self.clock, self._change)
        self.decider = Decider(site, self.board, self.clock, state, commissioned(site, by="bench"))
        self.door = SunSpecDoor(site, self.board, self.clock)
        if state and state.ceased:
            self.door.cease(state.ceased)
        self.utility = ModelUtility(site, self.door, self.clock)
        self._cycle_s = site.cycle_ms / 1000
        self._held = {unit.inverter: _Held() for unit in site.unit}
        batteries = {name for unit in site.unit for name in unit.batteries}
        periods_s = {
            device.name: BATTERY_S if device.name in batteries else (device.poll_ms or 500) / 1000
            for device in site.device
        }
        self._inputs = {name: part for name, part in plant.parts.items() if isinstance(part, Contacts)}
        self._periods_s = periods_s
        self._due_s = dict.fromkeys(periods_s, plant.now_s)
        self._cycle_due_s = plant.now_s
        self._limits_a = dict.fromkeys(batteries, (0.0, 0.0))

    def run(self, until_s: float, tick: Callable[[float], None] = lambda now_s: None, tick_s: float = 0.1) -> None:
        """Run up to until_s; tick(now_s) is called every tick_s, after everything of that moment."""
        tick_due_s = self.clock.now_s
        while True:
            now_s = min(self._cycle_due_s, tick_due_s, *self._due_s.values())
            if now_s > until_s + 1e-9:
                break
            self.clock.now_s = now_s
            self.plant.advance(now_s)
            self.utility.tick()
            self._hear(now_s)
            if self._cycle_due_s <= now_s + 1e-9:
                self._cycle_due_s += self._cycle_s
                self._changed = True
                self.door.tick()
            if self._changed:
                self._changed = False
                self._decide(now_s)
            if tick_due_s <= now_s + 1e-9:
                tick(now_s)
                tick_due_s += tick_s
        self.clock.now_s = until_s
        self.plant.advance(until_s)

    @property
    def book(self) -> Board:
        """Where the controller's doors put what they are asked."""
        return self.board

    @property
    def decision(self) -> Decision | None:
        """The last decision."""
        return self.decider.decision

    def _change(self) -> None:
        self._changed = True

    def _decide(self, now_s: float) -> None:
        entry, verdicts = self.decider.decide()
        for verdict in verdicts:
            if not verdict.refused:
                self._write(verdict.command, now_s)
        self.record(entry)

    def _write(self, command: Command, now_s: float) -> None:
        held = self._held[command.device]
        fresh = now_s - held.sent_s < command.valid_ms / 1000 / LEASE_PARTS
        if command == held.command and fresh:
            return
        part = self.plant.inverter(command.device)
        if command.device in self.silent or part.local:
            held.command = None
            return
        held.command, held.sent_s = command, now_s
        power_w = float(command.power_w) if command.running else 0.0
        timer_s = -(-command.valid_ms // 1000)
        part.set_point(SetPoint(enabled=True, power_w=power_w, timer_s=timer_s))
        part.writes += SET_REGISTERS
        reactive_var = command.reactive_var
        if reactive_var is not None or part.reactive_now.enabled:
            part.reactive(
                Reactive(
                    enabled=reactive_var is not None,
                    reactive_var=float(reactive_var or 0),
                    timer_s=timer_s,
                    priority=part.spec.priority,
                )
            )
            part.writes += SET_REGISTERS

    def _hear(self, now_s: float) -> None:
        """Let every device tell that is due, and a battery whose limits moved."""
        for name, due_s in self._due_s.items():
            if due_s > now_s + 1e-9 and not self._moved(name):
                continue
            self._due_s[name] = now_s + self._periods_s[name] if due_s <= now_s + 1e-9 else due_s
            if name not in self.silent:
                self._tell(name, now_s)

    def _moved(self, name: str) -> bool:
        if name not in self._limits_a:
            return False
        part = self.plant.battery(name)
        notice_a = part.current_max_a * NOTICE_PCT / 100
        charge_a, discharge_a = self._limits_a[name]
        return abs(part.charge_max_a - charge_a) > notice_a or abs(part.discharge_max_a - discharge_a) > notice_a

    def _tell(self, name: str, now_s: float) -> None:
        now_ms = self.clock.now_ms()
        if name in self._limits_a:
            part = self.plant.battery(name)
            self._limits_a[name] = (part.charge_max_a, part.discharge_max_a)
            part.keepalive()
            self.board.heard(battery_reading(name, part, now_s, now_ms))
        elif name == self.site.poi.meter:
            self._tell_meter(name, now_s, now_ms)
        elif name in self._inputs:
            closed = self._inputs[name].told_closed(now_s)
            if closed is not None:
                self.board.heard(Inputs(device=name, sampled_ms=now_ms, heard_ms=now_ms, closed=closed))
        else:
            self._tell_inverter(name, now_s, now_ms)

    def _tell_meter(self, name: str, now_s: float, now_ms: int) -> None:
        part = self.plant.meter(name)
        told = part.told.told
        power_w = told("power_w", -part.power_w, now_s)
        if power_w is None:
            return
        hz, volts = told("hz", part.hz, now_s), told("voltage_v", sum(part.voltage_v) / 3, now_s)
        phases_w = meter_phases(part, now_s)
        self.board.heard(
            Meter(
                device=name,
                sampled_ms=now_ms,
                heard_ms=now_ms,
                power_w=-round(power_w),
                frequency_mhz=None if hz is None else round(1000 * hz),
                voltage_mv=None if volts is None else round(1000 * volts),
                phase_w=phases_w[0],
                phase_mv=phases_w[1],
                phase_ma=phases_w[2],
            )
        )

    def _tell_inverter(self, name: str, now_s: float, now_ms: int) -> None:
        part = self.plant.inverter(name)
        told, rated_w = part.told.told, round(part.spec.rated_w)
        power_w, reactive_var = told("ac_w", part.ac_w, now_s), told("reactive_var", part.reactive_var, now_s)
        connected = told("connected", part.connected, now_s)
        isolation_ohm = told("isolation_ohm", 1000 * part.isolation_kohm, now_s)
        alarms = told("alarms", 0.0, now_s)
        self.board.heard(
            Inverter(
                device=name,
                sampled_ms=now_ms,
                heard_ms=now_ms,
                power_w=None if power_w is None else round(power_w),
                reactive_var=None if reactive_var is None else round(reactive_var),
                state=part.state,
                remote=not part.local,
                connected=None if connected is None else connected > 0,
                apparent_max_va=round(part.spec.rated_va),
                isolation_kohm=None if isolation_ohm is None else round(isolation_ohm / 1000),
                alarms=() if alarms is None else bit_names(701, "Alrm", round(alarms)),
                charge_max_w=rated_w,
                discharge_max_w=rated_w,
            )
        )


def profiled(site: Site, polls_ms: int) -> Site:
    """Return the site with every device read this often: a year run reads once a cycle."""
    devices = tuple(msgspec.structs.replace(device, poll_ms=polls_ms) for device in site.device)
    return msgspec.structs.replace(site, device=devices)
