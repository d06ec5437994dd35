"""The SunSpec door: the whole site as one DER behind Modbus TCP. The protocol's choices, where it leaves any:

- Base 40000, function codes 3, 6 and 16; others draw exception 1. A request for another unit draws 0x0B: silence
  would cost its sender a timeout, and nobody else answers on this connection.
- A write is applied whole or not at all: exception 2 beyond the map and on points that are read-only or not
  implemented, 3 on a value out of range, a not-implemented value, or a part of a multi-register point.
- A read may start and end inside a point, and reads of not-implemented points succeed; beyond the map: exception 2.
- With several clients the last valid write wins; the order names its writer and whom it took over from.
- After the controller stood still, writes draw exception 6 until a tick follows another in time: what waited meanwhile
  in a socket, or in a connection not yet accepted, was given up long ago by whoever sent it. Reads go on.
- Stopped or put into standby, or not permitted to enter service (703.ES), the site ceases until the same register
  takes it back. EXIT_STANDBY ends a standby only, START ends both.

Source: SunSpec Device Information Model Specification 1.2.1, section 6; model definitions 703, 704, 715.
"""

import asyncio

from controller.link.clock import Clock
from controller.link.modbus_server import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ModbusServer, Request
from controller.model import Decision, Order, Site, Snapshot
from controller.utility import OrderBook
from controller.utility.sunspec_control import Control, rows
from controller.utility.sunspec_map import BASE, Refused
from controller.utility.sunspec_site import UINT32_MAX, ratings, registers
from controller.utility.sunspec_telemetry import Telemetry

BUSY, UNIT_NOT_HERE = 6, 0x0B
STOP, START, ENTER_STANDBY = 0, 1, 2
NEVER_MS = 2**53  # a cease has no end of its own
STILL_CYCLES = 2  # without a tick are ordinary: one may wait for a slow inverter
STILL_MS = 1000  # more is a stall: a client's usual time-out


class SunSpecDoor:
    """One server for any number of clients. All calls come from the loop that started it."""

    def __init__(self, site: Site, book: OrderBook, clock: Clock) -> None:
        self._book, self._clock = book, clock
        self._unit_id = site.utility.unit_id
        self._host, _, port = site.utility.listen.rpartition(":")
        self._wanted_port = int(port)
        self._registers = registers(site)
        rated, lease_ms = ratings(site), site.utility.lease_s * 1000
        self._controls = tuple(Control(row, self._registers, rated, lease_ms) for row in rows(rated))
        self._telemetry = Telemetry(site, self._registers)
        self._heartbeat, self._own_heartbeat = self._registers["715.ControllerHb"], self._registers["715.DERHb"]
        self._permit, self._operation = self._registers["703.ES"], self._registers["715.OpCtl"]
        self._live: set[str] = set()  # names of the orders that were placed and not withdrawn
        self._stopped = self._standby = self._complained = False
        self._first_tick_ms: int | None = None
        self._ticked_ms: int | None = None  # the last tick
        self._late = False  # it came after a stall
        self._still_ms = STILL_CYCLES * site.cycle_ms + STILL_MS
        self._server = ModbusServer(self.answer)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = NEVER_MS

    async def start(self) -> None:
        """Open the door. Raises LinkError when the address cannot be had."""
        self._loop = asyncio.get_running_loop()
        await self._server.start(self._host.strip("[]"), self._wanted_port)

    async def close(self) -> None:
        """Close the door and every connection through it. Orders live on until their leases end."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
        await self._server.close()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.port

    def cease(self, source: str) -> None:
        """Take up a cease of before a restart, as an order to stop: START takes it back."""
        self._registers.put(self._operation, STOP)
        self._operate(self._clock.now_ms(), source)

    def publish(self, snapshot: Snapshot, decision: Decision) -> None:
        """Show what the site measures and does. Reads that follow see it."""
        self._telemetry.show(snapshot, decision)

    def tick(self) -> None:
        """Let timers run out and the DER's own heartbeat go on; called once a cycle, so a hung cycle stops it."""
        now_ms = self._clock.now_ms()
        self._lapse(now_ms)
        if self._first_tick_ms is None:
            self._first_tick_ms = now_ms
        self._late, self._ticked_ms = self._stands_still(now_ms), now_ms
        beats = (now_ms - self._first_tick_ms) // 1000
        self._registers.put(self._own_heartbeat, beats % (UINT32_MAX + 1))

    def answer(self, request: Request) -> bytes | int | None:
        """Answer one request: register bytes, b"" for a write that was taken, or a Modbus exception code."""
        if request.unit != self._unit_id:
            return UNIT_NOT_HERE
        now_ms = self._clock.now_ms()
        self._lapse(now_ms)
        if request.function == 3:
            found = self._registers.read(request.address - BASE, request.count)
            return ILLEGAL_ADDRESS if found is None else found
        if request.function in (6, 16):
            return BUSY if self._late or self._stands_still(now_ms) else self._write(request, now_ms)
        return ILLEGAL_FUNCTION

    def _stands_still(self, now_ms: int) -> bool:
        return self._ticked_ms is not None and now_ms - self._ticked_ms > self._still_ms

    def _write(self, request: Request, now_ms: int) -> bytes | int:
        first = request.address - BASE
        try:
            points = self._registers.checked(first, request.registers)
        except Refused as refusal:
            last = request.address + len(request.registers) // 2 - 1
            wrote = f"{request.peer} wrote registers {request.address}..{last}"
            self._complained = True
            self._book.noticed("utility_bad_write", "utility", f"{wrote}: {refusal}; nothing was changed")
            return refusal.code
        heartbeat = self._registers.number(self._heartbeat)
        self._registers.store(first, request.registers)
        alive = self._registers.number(self._heartbeat) != heartbeat
        parts = {point.part for point in points}
        if self._complained:
            self._complained = False
            self._book.noticed("utility_bad_write", "utility", None)
        if alive or parts != {"heartbeat"}:  # a heartbeat that stands still is a gateway's, not the controller's
            self._book.utility_heard()
            self._obey(parts, alive, now_ms, request.peer)
        return b""

    def _obey(self, parts: set[str], alive: bool, now_ms: int, peer: str) -> None:
        if "cease" in parts:
            self._operate(now_ms, f"sunspec {peer}")
        for control in self._controls:
            if control.name in parts:
                control.start(now_ms, peer)
                self._pass_on(control)
            elif alive and control.renew(now_ms, peer):
                self._pass_on(control)
        self._arm(now_ms)

    def _operate(self, now_ms: int, source: str) -> None:
        operation = self._registers.number(self._operation)
        self._stopped = operation == STOP or (self._stopped and operation != START)
        self._standby = operation == ENTER_STANDBY
        permitted = self._registers.number(self._permit) == 1
        if self._stopped or self._standby or not permitted:
            self._place(
                Order(
                    name="cease",
                    source=source,
                    kind="cease",
                    domain="battery",
                    low_w=0,
                    high_w=0,
                    starts_ms=now_ms,
                    expires_ms=NEVER_MS,
                )
            )
        else:
            self._withdraw("cease")

    def _pass_on(self, control: Control) -> None:
        order = control.order()
        if order is None:
            self._withdraw(control.name)
        else:
            self._place(order)

    def _place(self, order: Order) -> None:
        self._live.add(order.name)
        self._book.order(order)

    def _withdraw(self, name: str) -> None:
        if name in self._live:
            self._live.remove(name)
            self._book.withdraw(name)

    def _lapse(self, now_ms: int) -> None:
        for control in self._controls:
            if control.lapse(now_ms):
                self._pass_on(control)
            control.count_down(now_ms)

    def _arm(self, now_ms: int) -> None:
        """Wake at the next expiry. A timer that fires early finds nothing to do and is set anew."""
        due_ms = min((c.expires_ms for c in self._controls if c.expires_ms is not None), default=NEVER_MS)
        if self._loop is None or due_ms >= self._timer_ms:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = due_ms
        self._timer = self._loop.call_later(max(1, due_ms - now_ms) / 1000, self._wake)

    def _wake(self) -> None:
        self._timer, self._timer_ms = None, NEVER_MS
        now_ms = self._clock.now_ms()
        self._lapse(now_ms)
        self._arm(now_ms)
