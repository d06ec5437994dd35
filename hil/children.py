"""The demo's other processes: ports, start, watch, stop, and what one of them used.

Each child gets a session of its own, so that Ctrl-C reaches the demo alone and the children are stopped in order.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")

HOST = "127.0.0.1"
STOP_S = 4.0  # from SIGTERM to SIGKILL
TAIL_LINES = 15


class SetupError(Exception):
    """The demo cannot be set up. The text says what is in the way and what to do."""


class ChildError(Exception):
    """A process of the demo ended by itself. The text holds the end of what it wrote."""


class Child:
    """One running process; its words go to a file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self._log = log

    def check(self) -> None:
        """Raise ChildError if the process has ended."""
        code = self.process.returncode
        if code is not None:
            raise ChildError(f"the {self.name} process ended by itself with code {code}:\n{self.tail()}")

    def tail(self) -> str:
        """Return the last lines it wrote."""
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            return f"({self._log}: {error.strerror})"
        return "\n".join(lines[-TAIL_LINES:]) or "(it wrote nothing)"

    async def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL where that does not help within STOP_S."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), STOP_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self.process.kill()
                await self.process.wait()


async def start(name: str, module: str, arguments: list[str], folder: Path) -> Child:
    """Start a Python module as a process; what it writes goes to NAME.log in the folder."""
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments, stdout=file, stderr=file, start_new_session=True
        )
    return Child(name, process, log)


async def answers(child: Child, port: int, within_s: float) -> None:
    """Wait until the child's port takes a connection. Raises ChildError, SetupError when it never does."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                child.check()
                try:
                    _, writer = await asyncio.open_connection(HOST, port)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                await writer.wait_closed()
                return
    except TimeoutError:
        raise SetupError(
            f"the {child.name} does not answer on port {port} after {within_s:g} s:\n{child.tail()}"
        ) from None


def free(ports: dict[str, int]) -> None:
    """Check that nothing listens on the ports. Raises SetupError that names each one that is taken."""
    taken: dict[int, str] = {}
    for name, port in ports.items():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                taken[port] = f"port {port} on {HOST}, wanted for the {name}: {error.strerror}"
    if taken:
        hint = f"find what holds it with: ss -ltnp 'sport = :{next(iter(taken))}'"
        raise SetupError("\n".join([*taken.values(), "Is another demo running? " + hint]))


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """What a process has used so far."""

    rss_peak_mb: float
    cpu_s: float


def used(pid: int) -> Used | None:
    """Return what a process has used, None where the system does not tell or the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    peak_kb = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), None)
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces; utime and stime are fields 14 and 15
    if peak_kb is None or len(fields) < 13:
        return None
    return Used(rss_peak_mb=peak_kb * 1024 / 1e6, cpu_s=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[asyncio.Event]:
    """Yield an event that Ctrl-C, SIGTERM and a closed terminal set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def unless(stop: asyncio.Event, work: Coroutine[None, None, T]) -> T | None:
    """Return what the work returns, None where stop was set before; the work is then undone."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        return working.result()
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    return None
