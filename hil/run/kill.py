"""One program of several on a virtual loop, and its end as the kernel makes it: SIGKILL at an exact step.

A context variable marks the program's first task; every task, timer, socket and callback that comes of it inherits the
mark, and the loop runs each of them by leave of the program. One such run is a turn: a step of a coroutine from one
await to the next, or one callback of a timer or a socket. So a program can be killed between any two of its turns.

What a kill leaves is what a kernel leaves. What was written stays written. The sockets close: their peers see the end
of the connection, the ports are free. Nothing else happens: no finally block runs, no buffer is flushed, no callback is
called. Python itself would run the finally blocks of a coroutine when it is freed, so what is dead is never freed.

A turn is whole: the kill does not fall between two system calls of one turn. Nearly every turn of the controller makes
at most one that anybody could see. Where it makes more, as for several records at once, the places between them are
tried by cutting the journal at every byte (hil.run.damage).
"""

import asyncio
import ctypes
import itertools
import os
from collections.abc import Coroutine
from contextvars import Context, copy_context
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from hil.clock import OWNER, Turn, VirtualLoop

T = TypeVar("T")
SOON_S = 0.01


class Wire(Protocol):
    """What is known of a socket here."""

    def fileno(self) -> int:
        """Return its descriptor, -1 where it is closed."""

    def close(self) -> None:
        """Close it as the kernel would."""


class Process:
    """One program. turns counts what it has run so far. disk: its journal's (hil.run.disk), None = the system's."""

    def __init__(self, loop: VirtualLoop, disk: object = None) -> None:
        self.turns = 0
        self.disk = disk
        self.stalled = False
        self.killed = False
        self.gone: asyncio.Future[None] = loop.create_future()  # done when it was killed
        self.files: set[int] = set()  # descriptors that are no sockets; whoever opens one for the program adds it
        self._loop = loop
        self._count = itertools.count()  # what is counted is in order, so that every run of a bench is the same
        self._tasks: WeakValueDictionary[int, asyncio.Task[Any]] = WeakValueDictionary()
        self._wires: WeakValueDictionary[int, Wire] = WeakValueDictionary()
        self._late: list[Turn] = []  # what came due while stalled
        self._until_s = 0.0
        self._inside = False  # one of its turns is running
        self._last_no = 0  # the turn after which it is killed, 0 = none

    def start(self, main: Coroutine[Any, Any, T], name: str) -> "asyncio.Task[T]":
        """Run the program's first task."""
        context = copy_context()
        context.run(OWNER.set, self)
        return self._loop.create_task(main, name=name, context=context)

    def kill(self, turn_count: int = 0) -> None:
        """Kill it after so many more of its turns; 0 = now, or when the present turn of its own is over."""
        self._last_no = self.turns + turn_count + self._inside
        if not turn_count and not self._inside:
            self._end()

    def stall(self, stall_s: float) -> None:
        """Let nothing of it run for so long, as SIGSTOP or a suspended machine would.

        Meanwhile its timers come due and its sockets queue; afterwards what is in the sockets is taken first.
        """
        until_s = self._loop.time() + stall_s
        if until_s > self._until_s:
            self.stalled, self._until_s = True, until_s
            self._loop.call_at(until_s, self._go_on, until_s, context=Context())

    def throw(self, name: str, error: Exception) -> None:
        """Raise an error in the task of that name, out of the await where it stands. Raises KeyError: none such."""
        tasks = {task.get_name(): task for task in self._tasks.values() if not task.done()}
        self._throw(tasks[name], error)

    async def leave(self) -> None:
        """Cancel what still runs and wait for it, as the end of asyncio.run does, then close what is still open."""
        self._go_on(self._until_s)
        left = [task for task in self._tasks.values() if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._end()

    def turn(self, turn: Turn) -> None:
        """Run one callback of the program, or keep it for later while it is stalled."""
        if self.killed:
            return
        if self.stalled:
            self._late.append(turn)
            return
        self._inside = True
        try:
            turn.callback(*turn.args)
        finally:
            self._inside = False
            self.turns += 1
            if self.turns == self._last_no:
                self._end()

    def made(self, task: "asyncio.Task[Any]") -> None:
        """Take note of a task."""
        self._tasks[next(self._count)] = task

    def opened(self, wire: Wire) -> None:
        """Take note of a socket."""
        self._wires[next(self._count)] = wire

    def _throw(self, task: "asyncio.Task[Any]", error: Exception) -> None:
        waits_for = task._fut_waiter  # type: ignore[attr-defined]  # None while it is about to run
        plain = isinstance(waits_for, asyncio.Future) and not isinstance(waits_for, asyncio.Task)
        if plain and not waits_for.done():
            waits_for.set_exception(error)
        elif not self.killed and not task.done():
            self._loop.call_later(SOON_S, self._throw, task, error, context=Context())

    def _go_on(self, until_s: float) -> None:
        if until_s == self._until_s:
            self.stalled = False
            self._loop.call_soon(self._catch_up, context=Context())

    def _catch_up(self) -> None:
        late, self._late = self._late, []
        for turn in late:
            self._loop.call_late(self._late_turn, turn)

    def _late_turn(self, turn: Turn) -> None:
        if not turn.handle.cancelled():
            self.turn(turn)

    def _end(self) -> None:
        """Do what the kernel does, and keep Python from doing more."""
        if self.killed:
            return
        self.killed = True
        watched = set(self._loop.watched(self)) | self.files
        for wire in self._wires.values():
            fd = wire.fileno()
            if fd >= 0:
                watched.discard(fd)
                _never_free((wire, self._loop.forget(fd)))
                wire.close()
        for fd in sorted(watched):
            _never_free(self._loop.forget(fd))
            os.close(fd)
        for task in self._tasks.values():
            if not task.done():
                asyncio.tasks._unregister_task(task)  # what ends the loop would cancel it, and wait for it
                _never_free(task)
        if not self.gone.done():
            self.gone.set_result(None)


def _never_free(dead: object) -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(dead))
