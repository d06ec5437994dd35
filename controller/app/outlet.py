"""The only way a command reaches a link: the newest one wins, a lease is refreshed before a third of it has run."""

import asyncio

from controller.app.board import Board
from controller.link import Link, LinkError
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

    def put(self, command: Command) -> None:
        """Send a command that passed the gate, unless the device already holds it with time to spare."""
        due_ms = self._sent_ms + command.valid_ms // 3
        if command == self._sent and self._clock.now_ms() < due_ms and self._waiting is None:
            return
        self._waiting = command
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain(), name=f"outlet {self._device}")

    def forget(self) -> None:
        """Drop a command that still waits: what came after it was refused."""
        self._waiting = None

    async def finished(self) -> None:
        """Wait until nothing is being written. Bounded by the link's own deadline."""
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task})
        if self._task is not None and not self._task.cancelled():
            error = self._task.exception()
            if error is not None:
                raise error

    def cancel(self) -> None:
        """Stop sending."""
        if self._task is not None:
            self._task.cancel()

    async def _drain(self) -> None:
        while self._waiting is not None:
            command, self._waiting = self._waiting, None
            self._sent, self._sent_ms = command, self._clock.now_ms()
            try:
                await self._link.send(command)
            except LinkError as error:
                self._sent = None
                self._board.noticed("write_failed", self._device, str(error))
            else:
                self._board.noticed("write_failed", self._device, None)
