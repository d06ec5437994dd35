"""Virtual time: an event loop whose clock jumps to the next timer whenever no socket has anything to say.

The sockets are real and on loopback, so the real protocol stacks run unchanged; only waiting costs nothing. A jump
happens when the ready queue is empty and a poll of the sockets finds nothing; loopback delivers within the sending
call, so nothing is ever in flight at that moment. No thread takes part, it would race with the jumps: what a program
gives to a thread is done at once, and its result comes when the virtual time of the call is over.

Several programs share the loop. What a context says to have an owner (hil.run.kill.Process) runs by its leave, so that
one program can be stalled or killed while the others go on.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from typing import Any, Protocol, TypeVar, TypeVarTuple

from controller.link.clock import Clock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STALL_S = 5.0  # real seconds without any event while nothing is scheduled: the run hangs


class StalledError(RuntimeError):
    """Everything waits for something that cannot come."""


class Turn:
    """One callback of a program, as it is to be run. Cancelling the handle takes it back, also when it is late."""

    __slots__ = ("args", "callback", "context", "handle")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context) -> None:
        self.callback, self.args, self.context = callback, args, context
        self.handle: asyncio.Handle


class Owner(Protocol):
    """A program of its own on the loop: all that its first task begets."""

    stalled: bool

    def turn(self, turn: Turn) -> None:
        """Run one callback of the program, now, later or never."""

    def made(self, task: "asyncio.Task[Any]") -> None:
        """Take note of a task of the program."""

    def opened(self, wire: Any) -> None:
        """Take note of a socket of the program."""

    def stall(self, stall_s: float) -> None:
        """Let nothing of the program run for so long, from the end of the present turn on."""


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)


class _JumpingSelector(selectors.DefaultSelector):
    """Polls the sockets; where they are silent, time moves on instead of passing. owners: programs by descriptor."""

    def __init__(self, start_s: float) -> None:
        super().__init__()
        self.now_s = start_s
        self.owners: dict[int, Owner] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._heard(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            ready = self._heard(STALL_S)
            if not ready:
                raise StalledError("every task waits and no timer is set")
            return ready
        self.now_s += timeout
        return []

    def _heard(self, timeout_s: float) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what came in; what came for a stalled program stays in its sockets."""
        owners = self.owners
        return [
            (key, events)
            for key, events in super().select(timeout_s)
            if (owner := owners.get(key.fd)) is None or not owner.stalled
        ]


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time, beginning at start_s."""

    def __init__(self, start_s: float = 1000.0) -> None:
        """Begin at start_s: a clock that starts at zero would hide what zero hides."""
        self._jumping = _JumpingSelector(start_s)
        self._call_s: float | None = None  # the time that a call in a "thread" takes, None outside of one
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._jumping.now_s

    def block(self, block_s: float) -> None:
        """Say that the running code blocks for so long.

        In a call that was given to a thread its result comes so much later; elsewhere it stalls its program.
        """
        owner = OWNER.get()
        if self._call_s is not None:
            self._call_s += block_s
        elif owner is not None:
            owner.stall(block_s)

    def watched(self, owner: Owner) -> list[int]:
        """Return the descriptors that the loop watches for a program."""
        watched = self._jumping.get_map()
        return [fd for fd, one in self._jumping.owners.items() if one is owner and fd in watched]

    def forget(self, fd: int) -> object:
        """Watch a descriptor no more, whoever used it. Return its transport, None where it has none."""
        self._remove_reader(fd)  # type: ignore[attr-defined]  # what transports call is not in the stubs
        self._remove_writer(fd)  # type: ignore[attr-defined]
        self._jumping.owners.pop(fd, None)
        transport: object = self._transports.pop(fd, None)  # type: ignore[attr-defined]
        return transport

    # What asyncio, its transports and its tasks call. Each lets a program's callback run by its owner's leave.

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback in the next turn of the loop."""
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is None:
            return super().call_soon(callback, *args, context=context)
        turn = _turn(callback, args, context)
        turn.handle = super().call_soon(owner.turn, turn, context=turn.context)
        return turn.handle

    def call_at(
        self, when_s: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at a time of the loop."""
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is None:
            return super().call_at(when_s, callback, *args, context=context)
        turn = _turn(callback, args, context)
        turn.handle = timer = super().call_at(when_s, owner.turn, turn, context=turn.context)
        return timer

    def call_late(self, run: Callable[[Turn], None], turn: Turn) -> None:
        """Run what a stalled program has kept."""
        super().call_soon(run, turn, context=turn.context)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> "asyncio.Task[T]":
        """Make a task; its owner is told."""
        task = super().create_task(coro, name=name, context=context)
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is not None:
            owner.made(task)
        return task

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> "asyncio.Future[T]":
        """Do the call at once, in no thread; its result comes when the time that it takes is over."""

        async def call() -> T:
            self._call_s = 0.0
            try:
                return func(*args)
            finally:
                call_s, self._call_s = self._call_s, None
                await asyncio.sleep(call_s)

        return self.create_task(call())

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Connect a socket; its owner is told."""
        _told(sock)
        await super().sock_connect(sock, address)

    def _start_serving(self, factory: Any, sock: Any, *rest: Any) -> None:
        _told(sock)
        super()._start_serving(factory, sock, *rest)  # type: ignore[misc]

    def _accept_connection2(self, factory: Any, conn: Any, *rest: Any) -> Any:
        _told(conn)
        return super()._accept_connection2(factory, conn, *rest)  # type: ignore[misc]

    def _make_socket_transport(self, sock: Any, *rest: Any, **named: Any) -> Any:
        _told(sock)
        return super()._make_socket_transport(sock, *rest, **named)  # type: ignore[misc]

    def _add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> asyncio.Handle:
        return self._watch(super()._add_reader, fd, callback, args)  # type: ignore[misc]

    def _add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> asyncio.Handle:
        return self._watch(super()._add_writer, fd, callback, args)  # type: ignore[misc]

    def _watch(
        self, watch: Callable[..., asyncio.Handle], fd: int, callback: Callable[..., object], args: tuple[Any, ...]
    ) -> asyncio.Handle:
        owner = OWNER.get()
        if owner is None:
            self._jumping.owners.pop(fd, None)
            return watch(fd, callback, *args)
        self._jumping.owners[fd] = owner
        turn = _turn(callback, args, None)
        turn.handle = watch(fd, owner.turn, turn)
        return turn.handle


def _turn(callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> Turn:
    return Turn(callback, args, copy_context() if context is None else context)


def _told(wire: Any) -> None:
    owner = OWNER.get()
    if owner is not None:
        owner.opened(wire)


class VirtualClock(Clock):
    """The wall clock beside a virtual loop. What goes wrong with wall clocks is a fault that the bench injects."""

    def __init__(self, utc_ms: int = 1_780_000_000_000) -> None:
        """Let the loop's time zero be utc_ms."""
        self.offset_ms = utc_ms
        self.us_per_s = 0.0  # how fast it drifts away from the loop
        self._since_ms = 0  # it does since this time of the loop

    def utc_ms(self) -> int:
        """Return the wall clock: it moves with the loop, and away from it by its drift."""
        now_ms = self.now_ms()
        return self.offset_ms + now_ms + int((now_ms - self._since_ms) * self.us_per_s / 1e6)

    def step(self, by_s: float) -> None:
        """Set the wall clock forward, or back where by_s is negative."""
        self.offset_ms += round(by_s * 1000)

    def boot(self, utc_ms: int = 0) -> None:
        """Set the wall clock as a start without a battery-backed clock does: 1970 unless something else is said."""
        self.offset_ms += utc_ms - self.utc_ms()

    def drift(self, us_per_s: float) -> None:
        """Let the wall clock run fast by so many microseconds a second (ppm) from now on, slow where negative."""
        now_ms = self.now_ms()
        self.offset_ms = self.utc_ms() - now_ms
        self.us_per_s, self._since_ms = us_per_s, now_ms


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a fresh virtual loop and return its result. Whatever it left running is cancelled."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
