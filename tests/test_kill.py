"""SIGKILL in process: what a kernel leaves is left, and nothing else happens."""

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from hil.clock import VirtualLoop, run_virtual
from hil.run.kill import Process

HOST = "127.0.0.1"


def a_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def free_port() -> int:
    with socket.socket() as wire:
        wire.bind((HOST, 0))
        return int(wire.getsockname()[1])


class Peer(asyncio.Protocol):
    """The far end of a connection: what it heard, and how it ended."""

    def __init__(self) -> None:
        self.heard = b""
        self.ended: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.append(exc)


class Program:
    """A program with a server, a client, a file, a timer and finally blocks. told is what its clean-up would say."""

    def __init__(self, port: int, far_port: int, file: Path) -> None:
        self.port, self.far_port, self.file = port, far_port, file
        self.told: list[str] = []
        self.lines = 0

    async def main(self) -> None:
        server = await asyncio.start_server(self._serve, HOST, self.port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._client(), name="client")
                group.create_task(self._write(), name="writer")
                asyncio.get_running_loop().call_later(0.35, self.told.append, "a timer fired")
        finally:
            self.told.append("main cleaned up")
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
        finally:
            self.told.append("server cleaned up")
            writer.close()

    async def _client(self) -> None:
        _reader, writer = await asyncio.open_connection(HOST, self.far_port)
        try:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.1)
        finally:
            self.told.append("client cleaned up")
            writer.close()

    async def _write(self) -> None:
        handle = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with contextlib.closing(os.fdopen(handle, "wb", buffering=1 << 16)) as buffered:
            while True:
                os.write(handle, b"line\n")
                buffered.write(b"never flushed\n")
                self.lines += 1
                await asyncio.sleep(0.1)


Story = Callable[[Program, Process, Peer], Coroutine[None, None, None]]


def play(folder: Path, story: Story) -> None:
    """Run the program as a process of its own beside a far end, for the story to kill."""

    async def main() -> None:
        loop, far = asyncio.get_running_loop(), Peer()
        server = await loop.create_server(lambda: far, HOST, 0)
        program = Program(free_port(), server.sockets[0].getsockname()[1], folder / "file")
        process = Process(a_loop())
        main = process.start(program.main(), "main")
        await story(program, process, far)
        if main.done():
            assert main.exception() is not None
        server.close()
        await server.wait_closed()

    run_virtual(main())


def test_what_was_written_stays_and_nothing_else_happens(tmp_path: Path) -> None:
    async def story(program: Program, process: Process, far: Peer) -> None:
        near = Peer()
        await asyncio.sleep(0.05)
        await a_loop().create_connection(lambda: near, HOST, program.port)
        await asyncio.sleep(0.2)
        process.kill()
        written, turns = program.lines, process.turns
        await asyncio.sleep(2)
        assert (tmp_path / "file").read_bytes() == b"line\n" * written
        assert far.heard == b"x" * written
        assert far.ended == near.ended == [None], "both ends of the world see the end of the connection"
        assert (program.told, process.turns) == ([], turns)

    play(tmp_path, story)


def test_the_port_can_be_bound_again_at_once_and_another_program_goes_on_undisturbed(tmp_path: Path) -> None:
    async def story(program: Program, process: Process, far: Peer) -> None:
        other = Program(free_port(), program.far_port, tmp_path / "other")
        beside = Process(a_loop())
        beside.start(other.main(), "other")
        await asyncio.sleep(0.25)
        process.kill()
        server = await asyncio.start_server(lambda r, w: None, HOST, program.port)
        await asyncio.sleep(1)
        server.close()
        assert other.lines == 13
        assert "a timer fired" in other.told and program.told == []
        beside.kill()

    play(tmp_path, story)


def test_a_connection_that_waits_to_be_accepted_is_reset(tmp_path: Path) -> None:
    async def story(program: Program, process: Process, far: Peer) -> None:
        await asyncio.sleep(0.05)
        process.stall(60)
        near = Peer()
        await a_loop().create_connection(lambda: near, HOST, program.port)
        await asyncio.sleep(1)
        process.kill()
        await asyncio.sleep(0.1)
        assert [type(how) for how in near.ended] == [ConnectionResetError]

    play(tmp_path, story)


@pytest.mark.filterwarnings("error")
def test_the_dead_leave_no_warning_no_task_and_no_descriptor(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def story(program: Program, process: Process, far: Peer) -> None:
        before = descriptors() - 1  # its listener stands already
        with contextlib.suppress(OSError):
            await a_loop().create_connection(Peer, HOST, program.port)
        await asyncio.sleep(0.2)
        assert descriptors() > before
        process.files.add(next(fd for fd in range(3, 256) if _is(fd, tmp_path / "file")))
        process.kill()
        await asyncio.sleep(1)
        gc.collect()
        assert {task.get_name() for task in asyncio.all_tasks()} == {asyncio.current_task().get_name()}  # type: ignore[union-attr]

    before = descriptors()
    play(tmp_path, story)
    gc.collect()
    assert descriptors() == before
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


def _is(fd: int, path: Path) -> bool:
    try:
        return Path(f"/proc/self/fd/{fd}").readlink() == path
    except OSError:
        return False


@pytest.mark.parametrize("turn", range(1, 60, 3))
def test_it_dies_after_the_turn_that_was_named_and_the_same_turn_is_the_same_state(tmp_path: Path, turn: int) -> None:
    seen = []

    async def story(program: Program, process: Process, far: Peer) -> None:
        process.kill(turn)
        await process.gone
        begun_s = asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        seen.append((begun_s, program.lines, far.heard, tuple(program.told)))
        assert process.turns == turn
        assert program.told in ([], ["a timer fired"])

    play(tmp_path, story)
    play(tmp_path, story)
    assert seen[0] == seen[1]


def test_a_program_may_kill_itself_and_its_turn_is_finished(tmp_path: Path) -> None:
    told = []

    async def main() -> None:
        process = Process(a_loop())

        async def program() -> None:
            process.kill()
            told.append("the turn goes on to its await")
            await asyncio.sleep(0)
            told.append("and no farther")

        process.start(program(), "program")
        await process.gone

    run_virtual(main())
    assert told == ["the turn goes on to its await"]


def test_a_stalled_program_finds_its_timers_late_and_its_sockets_full(tmp_path: Path) -> None:
    async def story(program: Program, process: Process, far: Peer) -> None:
        loop = a_loop()
        near = Peer()
        await asyncio.sleep(0.05)
        wire, _ = await loop.create_connection(lambda: near, HOST, program.port)
        await asyncio.sleep(0.1)
        lines = program.lines
        process.stall(30)
        for _ in range(29):
            wire.write(b"queued\n")
            await asyncio.sleep(1)
        assert (program.lines, near.heard) == (lines, b"")
        await asyncio.sleep(1.05)
        assert near.heard == b"queued\n" * 29
        assert program.lines == lines + 1, "a timer that is late fires once"
        assert program.told == ["a timer fired"]
        process.kill()

    play(tmp_path, story)


def test_a_timer_that_came_due_in_a_stall_is_taken_back_by_what_waited_in_a_socket(tmp_path: Path) -> None:
    """As in any asyncio loop: sockets are served before timers, and what was cancelled does not run."""
    told: list[str] = []

    async def main() -> None:
        loop, process = a_loop(), Process(a_loop())
        far, near = socket.socketpair()
        near.setblocking(False)

        def heard() -> None:
            told.append("heard")
            near.recv(10)
            for timer in timers:
                timer.cancel()

        timers: list[asyncio.TimerHandle] = []

        async def program() -> None:
            loop.add_reader(near.fileno(), heard)
            timers.extend(loop.call_later(1, told.append, "late") for _ in range(2))
            await asyncio.sleep(10)

        process.start(program(), "program")
        await asyncio.sleep(0.5)
        process.stall(5)
        far.send(b"x")
        await asyncio.sleep(6)
        loop.forget(near.fileno())
        await process.leave()
        far.close()
        near.close()

    run_virtual(main())
    assert told == ["heard"]


def test_the_longest_of_several_stalls_counts(tmp_path: Path) -> None:
    async def story(program: Program, process: Process, far: Peer) -> None:
        await asyncio.sleep(0.25)
        process.stall(5)
        process.stall(2)
        await asyncio.sleep(1)
        process.stall(10)
        lines = program.lines
        await asyncio.sleep(9.9)
        assert program.lines == lines
        await asyncio.sleep(0.2)
        assert program.lines > lines
        process.kill()

    play(tmp_path, story)


def test_an_error_is_raised_where_the_task_stands(tmp_path: Path) -> None:
    async def story(program: Program, process: Process, far: Peer) -> None:
        await asyncio.sleep(0.25)
        process.throw("writer", ValueError("a bug"))
        await asyncio.sleep(0.05)
        assert not process.killed
        assert program.told == ["client cleaned up", "main cleaned up"]
        assert far.ended == [None]
        with pytest.raises(KeyError):
            process.throw("writer", ValueError("a bug"))
        await process.leave()

    play(tmp_path, story)


def test_a_call_in_a_thread_costs_its_time_and_stalls_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        loop, told = a_loop(), []

        async def ticking() -> None:
            while True:
                await asyncio.sleep(1)
                told.append(loop.time())

        async def program() -> None:
            ticks = asyncio.ensure_future(ticking())
            begun_s = loop.time()
            await asyncio.to_thread(loop.block, 4.5)
            assert loop.time() == begun_s + 4.5
            assert len(told) == 4
            loop.block(3)
            await asyncio.sleep(0)
            assert loop.time() == begun_s + 7.5, "outside of a thread it holds up the program"
            ticks.cancel()

        process = Process(loop)
        await asyncio.wait((process.start(program(), "program"),))
        await process.leave()

    run_virtual(main())
