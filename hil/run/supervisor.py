"""systemd for a controller in lockstep: it starts it, watches it, and starts it again for ever.

What is played is systemd/linepack.service: Type=notify with its start time-out, the watchdog, Restart=always after
RestartSec without a start limit. One life is one process (hil.run.kill): it begins with what the journal of the life
before leaves, holds the claims of sole use while it lasts, and ends by a kill, by an error of its own, or in order.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from controller.app.commissioning import commissioned
from controller.app.main import _last_state
from controller.app.service import Service, serve
from controller.app.sole import TakenError, sole
from controller.link.clock import Clock
from controller.model import Site
from hil.clock import VirtualLoop
from hil.run.disk import Disk
from hil.run.kill import Process

RESTART_S = 0.5  # RestartSec
WATCHDOG_S = 10.0  # WatchdogSec
START_S = 30.0  # TimeoutStartSec
STOP_S = 15.0  # TimeoutStopSec
SOON_S = 1e-6
LOOP_ENDS = 5  # so many ends that nobody asked for
LOOP_S = 300.0  # in this time are a restart loop: systemd's own start limit is off, so somebody must see it

How = Literal["killed", "failed", "watchdog", "start", "stopped"]


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How one life ended. killed: from outside; watchdog and start: not heard in time; stopped: in order."""

    at_s: float
    how: How
    says: str


class Supervisor:
    """One site's controller, kept alive. Make and run it on the virtual loop."""

    def __init__(self, site: Site, folder: Path, clock: Clock, loop: VirtualLoop) -> None:
        """folder: where the site file would lie; the journal's directory is relative to it."""
        self.site, self.folder = site, folder
        self.disk = Disk(folder / site.journal.directory, loop)
        self.service: Service | None = None  # of the present life
        self.process: Process | None = None
        self.starts = 0
        self.ends: list[End] = []
        self.failures: list[BaseException] = []  # what ended a life from inside
        self._clock, self._loop = clock, loop
        self._holds = 0
        self._free = asyncio.Event()
        self._free.set()
        self._before_start: list[Callable[[], None]] = []
        self._deaf: list[Callable[[], None]] = []
        self._due_s = 0.0  # when the present life must have been heard again
        self._ready = False
        self._stop, self._news = asyncio.Event(), asyncio.Event()  # news: it is over, or due sooner than before

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, self.starts - 1)

    @property
    def looping(self) -> bool:
        """Whether it falls again and again: more often than anybody asked for."""
        recent = [end for end in self.ends if end.how != "stopped" and self._loop.time() - end.at_s <= LOOP_S]
        return len(recent) >= LOOP_ENDS

    async def run(self) -> None:
        """Keep the controller alive until cancelled; it then ends as by SIGINT, without coming to rest."""
        while True:
            await self._free.wait()
            await self._live()
            await asyncio.sleep(RESTART_S)

    def kill(self, turn_count: int = 0) -> None:
        """Kill the present life (SIGKILL) after so many of its turns; 0 = now. Nothing happens between two lives."""
        if self.process is not None:
            self.process.kill(turn_count)

    def stop(self) -> None:
        """Ask the present life to end (SIGTERM); one that does not is killed after STOP_S."""
        self._stop.set()
        self._due_s = self._loop.time() + STOP_S
        self._news.set()

    def hold(self) -> Callable[[], None]:
        """Start no further life. Return what lets go again."""
        self._holds += 1
        self._free.clear()

        def let_go() -> None:
            self._holds -= 1
            if not self._holds:
                self._free.set()

        return let_go

    def before_start(self, change: Callable[[], None]) -> None:
        """Call change once, when the next life is there and nothing of it has run yet."""
        self._before_start.append(change)

    def stall(self, stall_s: float, *, watched: bool = True) -> None:
        """Let nothing of the present life run for so long. Not watched: the whole machine stands still, systemd too."""
        if self.process is not None:
            self.process.stall(stall_s)
            self._due_s += 0.0 if watched else stall_s

    def deafen(self, lost: Callable[[], None]) -> Callable[[], None]:
        """Lose what the controller notifies, and call lost for each of it. Return what lets it be heard again."""
        self._deaf.append(lost)
        return lambda: self._deaf.remove(lost)

    async def _live(self) -> None:
        """Live through one life."""
        self.starts += 1
        self._stop, self._ready = asyncio.Event(), False
        self._due_s = self._loop.time() + START_S
        self.process = process = Process(self._loop, self.disk)
        changes, self._before_start = self._before_start, []
        for change in changes:
            change()
        try:
            with sole(self.site, self.folder):
                await self._watch(process, process.start(self._main(), "controller"))
        except TakenError as error:
            self._failed(error)
        finally:
            if not process.killed:
                await process.leave()
            self.process = self.service = None

    async def _main(self) -> None:
        state = _last_state(self.site, self.folder)
        record = commissioned(self.site, by="bench")
        self.service = Service(
            self.site, self.folder, state=state, commission=record, clock=self._clock, notify=self._notified
        )
        await serve(self.service, self._stop)

    async def _watch(self, process: Process, main: "asyncio.Task[None]") -> None:
        """Wait for the end of a life, and end it when it is not heard in time."""
        for over in (main, process.gone):
            over.add_done_callback(lambda _over: self._news.set())
        while not main.done() and not process.killed:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._due_s):
                    await self._news.wait()
                continue
            if self._loop.time() >= self._due_s - SOON_S:
                self._overdue(process)
                return
        if process.killed:
            self._ended("killed", "killed from outside")
        elif (error := main.exception()) is not None:
            self._failed(error)
        else:
            self._ended("stopped", "stopped in order")

    def _overdue(self, process: Process) -> None:
        process.kill()
        if self._stop.is_set():
            self._ended("killed", f"did not stop within {STOP_S:g} s")
        elif self._ready:
            self._ended("watchdog", f"did not feed the watchdog for {WATCHDOG_S:g} s")
        else:
            self._ended("start", f"did not start within {START_S:g} s")

    def _notified(self, message: str) -> None:
        """Take what the controller tells systemd."""
        for lost in self._deaf:
            lost()
        if self._deaf:
            return
        if not self._stop.is_set():
            self._due_s = self._loop.time() + WATCHDOG_S
        if message == "READY=1":
            self._ready = True
            self._news.set()

    def _failed(self, error: BaseException) -> None:
        self.failures.append(error)
        self._ended("failed", f"{type(error).__name__}: {error}")

    def _ended(self, how: How, says: str) -> None:
        self.ends.append(End(at_s=self._loop.time(), how=how, says=says))
