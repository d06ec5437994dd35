"""The site service: the same in the field, in lockstep on virtual time, and on the bench."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from controller.app.board import Board
from controller.app.decider import Decider
from controller.app.outlet import Outlet
from controller.app.wiring import links
from controller.gate import Verdict
from controller.journal import Entry, JournalError, JournalWriter
from controller.link.clock import Clock
from controller.model import FAULTS, Commission, Decision, Site, Snapshot, State
from controller.utility.sunspec import SunSpecDoor

log = logging.getLogger("linepack")

SYNC_EVERY_MS = 5000
REST_MS = 2000  # to bring the inverters to 0 W before an ordinary end
WRITE_MAX_MS = 10_000  # longer than turn and reply together with the shipped profiles, whose time-out is 1 s
LATE_CYCLES = 3  # a cycle this many times late does not feed the watchdog


class Service:
    """One site. run() ends only when it is cancelled or when a cycle failed."""

    def __init__(
        self,
        site: Site,
        base: Path,
        *,
        state: State | None = None,
        commission: Commission | None = None,
        clock: Clock | None = None,
        notify: Callable[[str], None] = lambda message: None,
    ) -> None:
        """Build everything that the site file names; base is the folder its paths are relative to.

        state: what stood when the last run ended. commission: the record without which nothing is written. notify:
        where "READY=1" and "WATCHDOG=1" go.
        """
        self.site = site
        self.clock = clock or Clock()
        self.board = Board(site, self.clock, self._wake)
        self.links = links(site, self.board, self.clock)
        self.door = SunSpecDoor(site, self.board, self.clock)
        self._decider = Decider(site, self.board, self.clock, state, commission)
        self._ceased = state.ceased if state else ""
        self._journal_at = base / site.journal.directory
        self._journal: JournalWriter | None = None
        self._notify = notify
        self._outlets = {
            unit.inverter: Outlet(unit.inverter, self.links[unit.inverter], self.board, self.clock)
            for unit in site.unit
        }
        self._changed, self._decided = asyncio.Event(), asyncio.Event()
        self._unrecorded: deque[Entry] = deque()  # at most the decisions of one turn of the loop
        self._synced = True  # what was flushed last is on the disk
        self._told: dict[tuple[str, str], bool] = {}
        self._resting = False

    @property
    def snapshot(self) -> Snapshot | None:
        """What the last decision knew, None before the first."""
        return self._decider.snapshot

    @property
    def decision(self) -> Decision | None:
        """The last decision, None before the first."""
        return self._decider.decision

    @property
    def decisions(self) -> int:
        """How many decisions were made since the start."""
        return self._decider.decisions

    async def run(self) -> None:
        """Connect, decide, write, until cancelled. Raises whatever made a cycle fail."""
        await self.door.start()
        if self._ceased:
            self.door.cease(self._ceased)
        try:
            async with asyncio.TaskGroup() as group:
                for name, link in self.links.items():
                    group.create_task(link.run(), name=f"link {name}")
                group.create_task(self._on_change(), name="changes")
                group.create_task(self._on_decided(), name="record")
                group.create_task(self._flush(), name="flush")
                await self._cycles()
        finally:
            for outlet in self._outlets.values():
                outlet.cancel()
            self._tell_and_record()
            await self.door.close()
            if self._journal is not None:
                self._journal.close()

    async def rest(self) -> None:
        """Bring every inverter that is heard to 0 W, within REST_MS, and decide no more.

        So a site is left that somebody stops: with nobody watching its limits, it does not go on with the last command
        until the devices' own timers end it. A crash leaves that to them.
        """
        self._resting = True
        if self.snapshot is None or self.decision is None:
            return
        still = (msgspec.structs.replace(one, power_w=0, running=False) for one in self.decision.commands)
        self._write(self._decider.judged(self.snapshot, tuple(still)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REST_MS / 1000):
                for outlet in self._outlets.values():
                    await outlet.finished()

    async def _cycles(self) -> None:
        cycle_ms = self.site.cycle_ms
        due_ms = self.clock.now_ms()
        self._decide()
        self._notify("READY=1")
        while True:
            late_ms = self.clock.now_ms() - due_ms
            if await self._written(due_ms + cycle_ms):
                for link in self.links.values():
                    link.tick()
                if late_ms < LATE_CYCLES * cycle_ms:
                    self._notify("WATCHDOG=1")
            now_ms = self.clock.now_ms()
            due_ms += cycle_ms * max(1, -(-(now_ms - due_ms) // cycle_ms))
            await asyncio.sleep((due_ms - now_ms) / 1000)
            self.door.tick()
            self._decide()

    async def _written(self, until_ms: int) -> bool:
        """Wait for the writes under way, no longer than to the next cycle: a slow inverter holds up nobody else.

        Returns False where one write lasts so long that its link must be hanging.
        """
        for outlet in self._outlets.values():
            await outlet.finished(max(0, until_ms - self.clock.now_ms()) / 1000)
        return all(outlet.writing_ms < WRITE_MAX_MS for outlet in self._outlets.values())

    async def _on_change(self) -> None:
        """Decide as soon as something came that must not wait for the cycle."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._decide()

    def _wake(self) -> None:
        self._changed.set()

    def _decide(self) -> None:
        """Freeze, decide, check, hand to the outlets."""
        if self._resting:
            return
        entry, verdicts = self._decider.decide()
        self._write(verdicts)
        self._unrecorded.append(entry)
        self._decided.set()

    def _write(self, verdicts: tuple[Verdict, ...]) -> None:
        """Hand to the outlets what the gate let pass."""
        for verdict in verdicts:
            outlet = self._outlets[verdict.command.device]
            if verdict.refused:
                outlet.forget()
            else:
                outlet.put(verdict.command)

    async def _on_decided(self) -> None:
        """Tell and record what was decided, after its commands are on their way."""
        while True:
            await self._decided.wait()
            self._decided.clear()
            self._tell_and_record()

    def _tell_and_record(self) -> None:
        while self._unrecorded:
            entry = self._unrecorded.popleft()
            self.door.publish(entry.snapshot, entry.decision)
            self._record(entry)
            self._tell(entry.decision)

    def _record(self, entry: Entry) -> None:
        try:
            if self._journal is None:
                limit = self.site.journal.max_mb * 1_000_000
                self._journal = JournalWriter(self._journal_at, self.site, limit)
            self._journal.append(entry)
        except JournalError as error:
            self.board.noticed("journal_full", "journal", str(error))
        else:
            if self._synced:
                self.board.noticed("journal_full", "journal", None)

    async def _flush(self) -> None:
        """Flush the journal to the disk now and then, from a thread: a slow card must not hold up the cycle."""
        while True:
            await asyncio.sleep(SYNC_EVERY_MS / 1000)
            if self._journal is None:
                continue
            try:
                await asyncio.to_thread(self._journal.sync)
            except JournalError as error:
                self._synced = False
                self.board.noticed("journal_full", "journal", str(error))
            else:
                self._synced = True

    def _tell(self, decision: Decision) -> None:
        """Log once when a fault begins and once when it is over."""
        now = {(fault.fault, fault.device): fault for fault in decision.faults}
        for key, fault in now.items():
            if key not in self._told:
                row = FAULTS[fault.fault]
                detail = f" ({fault.detail})" if fault.detail else ""
                log.warning("%s %s: %s%s. Check: %s.", fault.device, row.name, row.means, detail, row.check)
        for name, device in self._told:
            if (name, device) not in now:
                log.info("%s %s: over", device, name)
        self._told = dict.fromkeys(now, True)


async def serve(service: Service, stop: asyncio.Event) -> None:
    """Run a service until stop is set, then bring it to rest; or until it fails."""
    running = asyncio.ensure_future(service.run())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if running.done():
        return running.result()
    try:
        await service.rest()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
