"""The only way a command reaches a link: the newest one wins, a lease is refreshed before a third of it has run."""

import asyncio
import contextlib

from controller.app.board import Board
from controller.link import Link, LinkError, PartlyWritten
from controller.link.clock import Clock
from controller.model import Command


class Outlet:
    """One inverter's outlet."""

    def __init__(self, device: str, link: Link, board: Board, clock: Clock) -> None:
        """Send through link, report to board."""
        self._device, self._link, self._board, self._clock = device, link, board, clock
        self._waiting: Command | None = None
        self._sent: Command | None = None
        self._sent_ms = 0
        self._task: asyncio.Task[None] | None = None
        self._wrote = asyncio.Event()

    def put(self, command: Command) -> None:
        """Send a command that passed the gate, unless the device already holds it with time to spare."""
        due_ms = self._sent_ms + command.valid_ms // 3
        if command == self._sent and self._clock.now_ms() < due_ms and self._waiting is None:
            return
        self._waiting = command
        self._raise()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain(), name=f"outlet {self._device}")

    def forget(self) -> None:
        """Drop a command that still waits: what came after it was refused."""
        self._waiting = None

    @property
    def writing_ms(self) -> int:
        """How long the present write has lasted, 0 when nothing is being written."""
        busy = self._task is not None and not self._task.done()
        return self._clock.now_ms() - self._sent_ms if busy else 0

    async def finished(self, within_s: float | None = None) -> None:
        """Wait until what was put so far is written or overtaken, within_s at most; None = the link's own deadlines.

        Raises whatever ended a write other than LinkError. What is put meanwhile is not waited for: to a slow device
        there is always something newer on its way.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                for _ in range(2):  # the command on the wire, and the one that waits behind it
                    if self._task is not None and not self._task.done():
                        self._wrote.clear()
                        await self._wrote.wait()
        self._raise()

    def cancel(self) -> None:
        """Stop sending."""
        if self._task is not None:
            self._task.cancel()

    def _raise(self) -> None:
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()

    async def _drain(self) -> None:
        while self._waiting is not None:
            command, self._waiting = self._waiting, None
            self._sent, self._sent_ms = command, self._clock.now_ms()
            try:
                await self._link.send(command)
            except PartlyWritten as error:  # the lease runs; the rest is tried again when it is refreshed
                self._board.noticed("write_failed", self._device, str(error))
            except LinkError as error:
                self._sent = None
                self._board.noticed("write_failed", self._device, str(error))
            else:
                self._board.noticed("write_failed", self._device, None)
            finally:
                self._wrote.set()
