"""Virtual time: an event loop whose clock jumps to the next timer whenever no socket has anything to say.

The sockets are real and on loopback, so the real protocol stacks run unchanged; only waiting costs nothing. A jump
happens when the ready queue is empty and a poll of the sockets finds nothing; loopback delivers within the sending
call, so nothing is ever in flight at that moment. No thread may take part: it would race with the jumps.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from controller.link.clock import Clock

T = TypeVar("T")

STALL_S = 5.0  # real seconds without any event while nothing is scheduled: the run hangs


class StalledError(RuntimeError):
    """Everything waits for something that cannot come."""


class _JumpingSelector(selectors.DefaultSelector):
    """Polls the sockets; where they are silent, time moves on instead of passing."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return list(ready)
        if timeout is None:
            ready = super().select(STALL_S)
            if not ready:
                raise StalledError("every task waits and no timer is set")
            return list(ready)
        self.now_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time, beginning at start_s."""

    def __init__(self, start_s: float = 1000.0) -> None:
        """Begin at start_s: a clock that starts at zero would hide what zero hides."""
        self._jumping = _JumpingSelector()
        self._jumping.now_s = start_s
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._jumping.now_s


class VirtualClock(Clock):
    """The wall clock beside a virtual loop. A step of the wall clock is a fault that the bench may inject."""

    def __init__(self, utc_ms: int = 1_780_000_000_000) -> None:
        """Let the loop's time zero be utc_ms."""
        self.offset_ms = utc_ms

    def utc_ms(self) -> int:
        """Return the wall clock, which moves with the loop."""
        return self.offset_ms + self.now_ms()


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a fresh virtual loop and return its result. Whatever it left running is cancelled."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
