"""The line believes only the reply that fits, sends commands first and once, and says what to check."""

import asyncio
import itertools
import logging
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.pdu import DecodePDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from controller.link import LinkError
from controller.link.modbus import (
    WAITING_MAX,
    Counters,
    ModbusException,
    ModbusLine,
    _Reply,
    _Request,
    _StrictFramer,
    backoff_s,
)
from hil.clock import VirtualLoop
from hil.run.kill import Process
from tests.modbus_peer import Peer, Wire, frame, registers, virtual

Script = Callable[[Wire], Awaitable[None]]
# Modbus Application Protocol V1.1b3, 6.3: registers 108..110 hold 555, 0 and 100.
ASKED = bytes.fromhex("03 006B 0003")
REPLY = "03 06 022B 0000 0064"
GIVEN = bytes.fromhex("022B 0000 0064")


@asynccontextmanager
async def line_to(script: Script, *, gap_ms: int = 0, delay_ms: int = 0) -> AsyncIterator[tuple[ModbusLine, Peer]]:
    async with Peer(script) as peer:
        line = ModbusLine("127.0.0.1", peer.port, gap_ms=gap_ms, connect_delay_ms=delay_ms)
        await line.connect()
        try:
            yield line, peer
        finally:
            await line.close()


async def obedient(wire: Wire) -> None:
    """Answer everything as the standard says."""
    while True:
        asked = await wire.request()
        await wire.send(registers(asked, "1234") if asked[7] in (3, 4) else frame(asked, asked[7:12].hex()))


async def mute(wire: Wire) -> None:
    while True:
        await wire.request()


def now_s() -> float:
    return asyncio.get_running_loop().time()


# --- the standard's own examples -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "address", "count", "request_pdu", "reply_pdu"),
    [
        (3, 0x006B, 3, "03 006B 0003", "03 06 022B 0000 0064"),
        (4, 0x0008, 1, "04 0008 0001", "04 02 000A"),
    ],
)
@virtual
async def test_reads_are_asked_and_understood_as_the_standard_writes_them(
    function, address, count, request_pdu, reply_pdu
):
    async def script(wire: Wire) -> None:
        await wire.send(frame(await wire.request(), reply_pdu))

    async with line_to(script) as (line, peer):
        assert await line.read(17, address, count, function=function) == bytes.fromhex(reply_pdu)[2:]
        assert peer.requests[0][2:] == bytes.fromhex("0000 0006 11" + request_pdu)


@pytest.mark.parametrize(
    ("function", "words", "request_pdu", "reply_pdu"),
    [
        (6, "0003", "06 0001 0003", "06 0001 0003"),
        (16, "000A 0102", "10 0001 0002 04 000A 0102", "10 0001 0002"),
    ],
)
@virtual
async def test_writes_are_sent_and_acknowledged_as_the_standard_writes_them(function, words, request_pdu, reply_pdu):
    async def script(wire: Wire) -> None:
        await wire.send(frame(await wire.request(), reply_pdu))

    async with line_to(script) as (line, peer):
        await line.write(1, 1, bytes.fromhex(words), function=function)
        assert peer.requests[0][7:] == bytes.fromhex(request_pdu)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (1, "illegal function"),
        (2, "illegal data address"),
        (3, "illegal data value"),
        (4, "server device failure"),
        (5, "acknowledge"),
        (6, "server device busy"),
        (8, "memory parity error"),
        (0x0A, "gateway path unavailable"),
        (0x0B, "gateway target device failed to respond"),
        (0x80, "not in the standard"),
    ],
)
@virtual
async def test_a_refusal_is_told_by_its_code_and_name_and_keeps_the_line(code, name):
    async def script(wire: Wire) -> None:
        await wire.send(frame(await wire.request(), f"83 {code:02x}"))
        await wire.send(frame(await wire.request(), f"90 {code:02x}"))

    async with line_to(script) as (line, peer):
        with pytest.raises(
            ModbusException, match=rf"127.0.0.1:{peer.port} unit 9: .* exception {code} \({name}\)"
        ) as it:
            await line.read(9, 40000, 2)
        assert it.value.code == code
        with pytest.raises(ModbusException):
            await line.write(9, 40000, b"\0\1")
        assert line.connected
        assert (line.counters.replies, line.counters.exceptions, line.counters.timeouts) == (2, 2, 0)


# --- replies that do not fit (southbound 1.3) ----------------------------------------------------------------------


@virtual
async def test_late_reply_is_never_taken_for_the_next_request():
    """C1: asked for 2 registers at 200, a site got the 10 of address 100."""

    async def script(wire: Wire) -> None:
        first = await wire.request()
        second = await wire.request()
        await wire.send(registers(first, "AAAA"), registers(second, "BBBB"))

    async with line_to(script) as (line, _):
        with pytest.raises(LinkError, match="no reply within 1000 ms"):
            await line.read(1, 100, 10)
        assert await line.read(1, 200, 2) == bytes.fromhex("BBBB BBBB")
        assert line.counters.rejected == 1


@virtual
async def test_late_reply_of_the_same_shape_is_never_taken_for_the_next_request():
    """A gateway that is always one reply behind hands out yesterday's power for ever."""

    async def script(wire: Wire) -> None:
        before = await wire.request()
        while True:
            asked = await wire.request()
            await wire.send(registers(before, "AAAA"))
            before = asked

    async with line_to(script) as (line, _):
        for _ in range(2):
            with pytest.raises(LinkError):
                await line.read(1, 100, 2)
        assert line.counters.rejected == 1
        assert not line.connected


@pytest.mark.parametrize(
    "misfit",
    [
        pytest.param(lambda asked: frame(asked, REPLY, transaction=0), id="transaction 0"),
        pytest.param(lambda asked: frame(asked, REPLY, transaction=0xFFFF), id="foreign transaction"),
        pytest.param(lambda asked: frame(asked, REPLY, unit=2), id="foreign unit"),
        pytest.param(lambda asked: frame(asked, REPLY, unit=0), id="unit 0"),
        pytest.param(lambda asked: frame(asked, "04 06 022B 0000 0064"), id="other function"),
        pytest.param(lambda asked: frame(asked, "84 02"), id="other function's exception"),
        pytest.param(lambda asked: frame(asked, "03 04 022B 0000"), id="too few registers"),
        pytest.param(lambda asked: frame(asked, "03 08 022B 0000 0064 0000"), id="too many registers"),
        pytest.param(lambda asked: frame(asked, "03 04 022B 0000 0064"), id="byte count too small"),
        pytest.param(lambda asked: frame(asked, "03 06 022B 0000"), id="byte count too large"),
        pytest.param(lambda asked: frame(asked, "03 05 022B 0000 00"), id="half a register"),
        pytest.param(lambda asked: frame(asked, "83"), id="exception without a code"),
        pytest.param(lambda asked: frame(asked, "83 02 00"), id="exception too long"),
        pytest.param(lambda asked: frame(asked, ASKED.hex()), id="the request's echo"),
        pytest.param(lambda asked: asked[:2] + b"\0\1" + frame(asked, REPLY)[4:], id="foreign protocol"),
        pytest.param(lambda asked: asked[:2] + b"\0\0\0\0", id="length 0"),
        pytest.param(lambda asked: asked[:2] + b"\0\0\xff\xff\1\3", id="length 65535"),
        pytest.param(lambda asked: b"HTTP/1.1 400 Bad Request\r\n\r\n", id="another protocol"),
    ],
)
@pytest.mark.parametrize("merged", [True, False])
@virtual
async def test_reply_that_does_not_fit_is_thrown_away_and_the_good_one_behind_it_arrives(misfit, merged):
    """C2: pymodbus takes another function's reply, or 3 registers for 10."""

    async def script(wire: Wire) -> None:
        asked = await wire.request()
        segments = (misfit(asked), frame(asked, REPLY))
        await wire.send(*((b"".join(segments),) if merged else segments))

    async with line_to(script) as (line, _):
        assert await line.read(1, 0x6B, 3) == GIVEN
        assert line.counters.rejected >= 1


@pytest.mark.parametrize(
    ("function", "echo"),
    [
        pytest.param(16, "10 03E7 0002", id="other address"),
        pytest.param(16, "10 0064 0001", id="other count"),
        pytest.param(16, "06 0064 0002", id="other function"),
        pytest.param(16, "10 0064 0002 00", id="too long"),
        pytest.param(6, "06 0064 0002", id="other value"),
        pytest.param(6, "06 0065 0001", id="other address"),
    ],
)
@virtual
async def test_write_to_100_is_not_acknowledged_by_another_writes_echo(function, echo):
    """C2: a write to 100 that echoed address 999 counted as done."""

    async def script(wire: Wire) -> None:
        await wire.send(frame(await wire.request(), echo))

    async with line_to(script) as (line, _):
        with pytest.raises(LinkError, match="it may have been carried out all the same"):
            await line.write(1, 100, b"\0\1\0\2"[: 4 if function == 16 else 2], function=function)
        assert line.counters.rejected == 1


@virtual
async def test_late_and_fresh_full_blocks_in_one_segment_do_not_start_a_chain_of_timeouts():
    """C3: 518 bytes overflowed the receive buffer and the good reply was lost with the late one."""

    async def script(wire: Wire) -> None:
        first, second = await wire.request(), await wire.request()
        await wire.send(registers(first, "AAAA") + registers(second, "BBBB"))

    async with line_to(script) as (line, _):
        with pytest.raises(LinkError):
            await line.read(1, 0, 125)
        assert await line.read(1, 500, 125) == b"\xbb" * 250
        assert (line.counters.timeouts, line.counters.rejected) == (1, 1)


@virtual
async def test_a_hundred_late_replies_in_one_burst_do_not_hide_the_good_one():
    async def script(wire: Wire) -> None:
        asked = await wire.request()
        await wire.send(registers(frame(asked, ASKED.hex(), transaction=9), "AAAA") * 100 + frame(asked, REPLY))

    async with line_to(script) as (line, _):
        assert await line.read(1, 0x6B, 3) == GIVEN
        assert line.counters.rejected == 100


@pytest.mark.parametrize("cut", [1, 6, 7, 8, 9, 14])
@virtual
async def test_reply_split_over_two_segments_is_put_together(cut):
    """C4: a split reply raised inside the receiver and the request timed out."""

    async def script(wire: Wire) -> None:
        reply = frame(await wire.request(), REPLY)
        await wire.send(reply[:cut], reply[cut:])

    async with line_to(script) as (line, _):
        assert await line.read(1, 0x6B, 3) == GIVEN
        assert line.counters.rejected == 0


@virtual
async def test_reply_that_comes_byte_by_byte_is_put_together():
    async def script(wire: Wire) -> None:
        reply = frame(await wire.request(), REPLY)
        await wire.send(*(reply[at : at + 1] for at in range(len(reply))))

    async with line_to(script) as (line, _):
        assert await line.read(1, 0x6B, 3) == GIVEN


@virtual
async def test_duplicated_reply_is_not_taken_for_the_next_request():
    """C4: of two replies in one segment the second was swallowed, or served the next request."""

    async def script(wire: Wire) -> None:
        first = await wire.request()
        await wire.send(registers(first, "AAAA") * 2)
        second = await wire.request()
        await wire.send(registers(first, "AAAA") + registers(second, "BBBB"))

    async with line_to(script) as (line, _):
        assert await line.read(1, 0, 2) == b"\xaa" * 4
        assert await line.read(1, 0, 2) == b"\xbb" * 4
        assert line.counters.rejected == 2


@pytest.mark.parametrize("cut", [3, 7, 9, 20])
@virtual
async def test_second_half_of_a_late_reply_does_not_hide_the_good_one(cut):
    """The first half is forgotten with the request it came before; the rest arrives out of step."""

    async def script(wire: Wire) -> None:
        late = registers(await wire.request(), "AAAA")
        await asyncio.sleep(1.0)
        await wire.send(late[:cut])
        second = await wire.request()
        await wire.send(late[cut:], registers(second, "BBBB"))

    async with line_to(script) as (line, _):
        with pytest.raises(LinkError):
            await line.read(1, 0, 40)
        await asyncio.sleep(0.5)
        assert await line.read(1, 0, 2) == b"\xbb" * 4


@virtual
async def test_reply_that_stays_torn_costs_one_request_only():
    async def script(wire: Wire) -> None:
        await wire.send(frame(await wire.request(), REPLY)[:9])
        await wire.send(frame(await wire.request(), REPLY))

    async with line_to(script) as (line, _):
        with pytest.raises(LinkError):
            await line.read(1, 0x6B, 3)
        assert await line.read(1, 0x6B, 3) == GIVEN


@pytest.mark.parametrize("cut", range(9))
@virtual
async def test_exception_behind_noise_is_found_and_the_noise_counted_once_a_segment(cut):
    async def script(wire: Wire) -> None:
        refusal = frame(await wire.request(), "83 02")
        await wire.send(b"\xff" * 30, b"\xff" * 30 + refusal[:cut], refusal[cut:])

    async with line_to(script) as (line, _):
        with pytest.raises(ModbusException):
            await line.read(1, 0x6B, 3)
        assert line.counters.rejected in (2, 3)


@virtual
async def test_late_reply_that_nobody_waits_for_is_counted():
    async def script(wire: Wire) -> None:
        asked = await wire.request()
        await asyncio.sleep(1.5)
        await wire.send(frame(asked, REPLY))

    async with line_to(script) as (line, _):
        with pytest.raises(LinkError):
            await line.read(1, 0x6B, 3)
        await asyncio.sleep(1)
        assert line.counters.rejected == 1


def test_transaction_numbers_differ_as_long_as_they_can_and_are_never_0():
    framer = _StrictFramer(DecodePDU(False), Counters())
    numbers = [int.from_bytes(framer.frame(QUESTION)[:2], "big") for _ in range(0xFFFF + 1)]
    assert sorted(numbers[:-1]) == list(range(1, 0x10000))
    assert numbers[-1] == 1


@virtual
async def test_reply_that_came_before_its_request_is_not_believed():
    async def script(wire: Wire) -> None:
        early = [frame(bytes(12), "03 02 DEAD", transaction=number, unit=1) for number in range(5)]
        await wire.send(b"".join(early))
        await wire.send(frame(await wire.request(), "03 02 0001"))

    async with line_to(script) as (line, _):
        await asyncio.sleep(0.1)
        assert line.counters.rejected == 5
        assert await line.read(1, 0, 1) == b"\0\1"


@virtual
async def test_deadline_in_the_same_moment_as_the_reply_counts_as_a_reply():
    async with line_to(obedient) as (line, _):
        for _ in range(3):
            await line.read(1, 0, 1)
            line._expire(line._answer)
        assert line.counters.timeouts == 0
        assert line.connected


@virtual
async def test_reply_that_waited_in_the_socket_while_the_controller_stood_still_is_no_reply():
    async def asks(line: ModbusLine) -> list[bytes | str]:
        outcomes: list[bytes | str] = []
        for _ in range(3):
            try:
                outcomes.append(await line.read(1, 0, 1))
            except LinkError as error:
                outcomes.append(str(error))
        return outcomes

    async def script(wire: Wire) -> None:
        for stall_s in (0.9, 1.1, 0):
            asked = await wire.request()
            process.stall(stall_s)
            await wire.send(registers(asked, "1234"))

    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    process = Process(loop)
    async with line_to(script) as (line, _):
        quick, late, next_one = await process.start(asks(line), "asks")
    assert (quick, next_one) == (b"\x12\x34", b"\x12\x34")
    assert "taken later than 1000 ms" in str(late)


@virtual
async def test_stream_of_foreign_replies_does_not_move_the_deadline():
    async def script(wire: Wire) -> None:
        asked = await wire.request()
        for _ in range(50):
            await wire.send(frame(asked, REPLY, transaction=0xFFFF))
            await asyncio.sleep(0.1)

    async with line_to(script) as (line, _):
        started_s = now_s()
        with pytest.raises(LinkError):
            await line.read(1, 0x6B, 3)
        assert now_s() - started_s < 1.1
        assert line.counters.rejected >= 9


@virtual
async def test_pymodbus_does_not_flood_the_log(caplog):
    async def script(wire: Wire) -> None:
        asked = await wire.request()
        await wire.send(frame(asked, REPLY, unit=9), b"\1" * 30)

    caplog.set_level(logging.DEBUG)
    async with line_to(script) as (line, _):
        with pytest.raises(LinkError):
            await line.read(1, 0x6B, 3)
    assert not [record for record in caplog.records if record.name.startswith("pymodbus")]


QUESTION = _Request(unit=1, pdu=ASKED, reply_head=b"\3\6", reply_bytes=8, what="")


def fed(chunks: list[bytes]) -> list[bytes]:
    """Return the PDUs that the strict framer lets through, for transaction 1, as pymodbus feeds it."""
    framer = _StrictFramer(DecodePDU(False), Counters())
    framer.frame(QUESTION)
    taken, left = [], b""
    for chunk in chunks:
        left += chunk
        used, reply = framer.handleFrame(left, 0, 0)
        assert 0 <= used <= len(left)
        left = left[used:]
        assert len(left) < 260
        if reply:
            assert isinstance(reply, _Reply)
            taken.append(reply.pdu)
    return taken


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    return [stream[a:b] for a, b in itertools.pairwise(ends)]


CUTS = st.lists(st.integers(0, 10_000), max_size=20)
FOREIGN = st.builds(
    lambda transaction, unit, pdu: frame(bytes(12), pdu.hex(), transaction=transaction, unit=unit),
    st.integers(2, 0xFFFF),
    st.integers(0, 255),
    st.binary(min_size=2, max_size=253),
)


@given(st.lists(FOREIGN, max_size=6), st.lists(FOREIGN, max_size=3), CUTS)
def test_good_reply_is_found_among_any_foreign_ones_however_they_are_cut(before, after, cuts):
    good = frame(bytes(12), REPLY, transaction=1, unit=1)
    stream = b"".join([*before, good, *after])
    assert fed(split(stream, cuts)) == [bytes.fromhex(REPLY)]


@given(st.lists(st.binary(max_size=300) | FOREIGN, max_size=8), CUTS)
def test_no_noise_is_ever_taken_for_a_reply_that_does_not_fit(noise, cuts):
    for pdu in fed(split(b"".join(noise), cuts)):
        assert QUESTION.answered_by(pdu)


# --- the queue -----------------------------------------------------------------------------------------------------


@virtual
async def test_command_overtakes_waiting_reads():
    release = asyncio.Event()

    async def script(wire: Wire) -> None:
        first = await wire.request()
        await release.wait()
        await wire.send(registers(first, "0000"))
        await obedient(wire)

    async with line_to(script) as (line, peer), asyncio.TaskGroup() as callers:
        for address in (1, 2, 3):
            callers.create_task(line.read(1, address, 1))
        await asyncio.sleep(0.1)
        callers.create_task(line.write(1, 100, b"\0\1"))
        callers.create_task(line.write(1, 101, b"\0\1"))
        await asyncio.sleep(0.1)
        release.set()
    assert [int.from_bytes(asked[8:10], "big") for asked in peer.requests] == [1, 100, 101, 2, 3]


@virtual
async def test_command_is_sent_once_even_when_nobody_answers():
    async with line_to(mute) as (line, peer):
        with pytest.raises(LinkError, match=r"writing 1 registers at 100 .* no reply within 1000 ms.*carried out"):
            await line.write(1, 100, b"\0\1")
        await asyncio.sleep(10)
        assert len(peer.requests) == 1


@virtual
async def test_one_request_is_on_the_wire_at_a_time():
    async def script(wire: Wire) -> None:
        while True:
            asked = await wire.request()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(wire.request(), 0.05)
            await wire.send(registers(asked, "1234"))

    async with line_to(script) as (line, peer):
        await asyncio.gather(*(line.read(1, address, 1) for address in range(10)))
        assert len(peer.requests) == 10


@virtual
async def test_pacing_leaves_the_device_its_silence():
    asked_s, answered_s = [], []

    async def script(wire: Wire) -> None:
        while True:
            asked = await wire.request()
            asked_s.append(now_s())
            await asyncio.sleep(0.02)
            answered_s.append(now_s())
            await wire.send(registers(asked, "1234"))

    async with line_to(script, gap_ms=100) as (line, _):
        await asyncio.gather(*(line.read(1, address, 1) for address in range(5)))
    silences_s = [after - before for before, after in zip(answered_s, asked_s[1:], strict=False)]
    assert len(silences_s) == 4
    assert all(silence_s > 0.0999 for silence_s in silences_s)


@virtual
async def test_device_gets_its_pause_after_connecting():
    async with Peer(obedient) as peer:
        line = ModbusLine("127.0.0.1", peer.port, connect_delay_ms=2000)
        started_s = now_s()
        connecting = asyncio.create_task(line.connect())
        await asyncio.sleep(1.0)
        assert not line.connected
        with pytest.raises(LinkError, match="not connected"):
            await line.read(1, 0, 1)
        await connecting
        assert now_s() - started_s >= 1.999
        assert await line.read(1, 0, 1) == bytes.fromhex("1234")
        await line.close()


@virtual
async def test_queue_of_reads_is_bounded_and_never_shuts_out_a_command():
    release = asyncio.Event()

    async def script(wire: Wire) -> None:
        first = await wire.request()
        await release.wait()
        await wire.send(registers(first, "0000"))
        await obedient(wire)

    async with line_to(script) as (line, peer), asyncio.TaskGroup() as callers:
        callers.create_task(line.read(1, 0, 1))
        await asyncio.sleep(0.1)
        leaving = [asyncio.create_task(line.read(1, address, 1)) for address in range(WAITING_MAX)]
        await asyncio.sleep(0.1)
        for task in leaving:
            task.cancel()
        await asyncio.sleep(0.1)
        for address in range(WAITING_MAX):
            callers.create_task(line.read(1, address, 1))
        await asyncio.sleep(0.1)
        with pytest.raises(LinkError, match="wait for this line already"):
            await line.read(1, 999, 1)
        callers.create_task(line.write(1, 100, b"\0\1"))
        await asyncio.sleep(0.1)
        release.set()
    assert len(peer.requests) == WAITING_MAX + 2


@virtual
async def test_cancelled_caller_keeps_the_wire_until_the_device_has_answered():
    """Many devices lose the second of two requests."""
    order = []

    async def script(wire: Wire) -> None:
        asked = await wire.request()
        order.append("first asked")
        await asyncio.sleep(0.5)
        order.append("first answered")
        await wire.send(registers(asked, "AAAA"))
        asked = await wire.request()
        order.append("second asked")
        await wire.send(registers(asked, "BBBB"))

    async with line_to(script) as (line, _):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(line.read(1, 0, 1), 0.1)
        assert await line.read(1, 0, 1) == b"\xbb\xbb"
        assert order == ["first asked", "first answered", "second asked"]
        assert line.counters.replies == 2


@virtual
async def test_cancelled_callers_leave_nothing_behind():
    seed = 20160405
    dice = random.Random(seed)

    async def caller(line: ModbusLine, address: int) -> None:
        with suppress(asyncio.CancelledError, LinkError):
            if address % 3:
                assert await line.read(1, address, 1) == bytes.fromhex("1234")
            else:
                await line.write(1, address, b"\0\1")

    async with line_to(obedient) as (line, _):
        for _ in range(20):
            callers = [asyncio.create_task(caller(line, address)) for address in range(50)]
            for task in dice.sample(callers, 45):
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(0)
                task.cancel()
            done, stuck = await asyncio.wait(callers, timeout=60)
            assert not stuck, f"seed {seed}"
            assert all(task.cancelled() or task.exception() is None for task in done)
        assert await line.read(1, 0, 1) == bytes.fromhex("1234"), f"seed {seed}"
        assert line.counters.timeouts == 0


@virtual
async def test_turn_that_comes_in_the_moment_of_cancellation_is_passed_on():
    async with line_to(obedient) as (line, _):
        turns = line._turns
        await turns.take(command=False)
        waiting = [asyncio.create_task(turns.take(command=False)) for _ in range(3)]
        await asyncio.sleep(0)
        turns.give()
        waiting[0].cancel()
        waiting[1].cancel()
        await asyncio.wait_for(waiting[2], 1)
        turns.give()
        assert await line.read(1, 0, 1) == bytes.fromhex("1234")


# --- the connection ------------------------------------------------------------------------------------------------


@virtual
async def test_line_that_is_not_connected_says_so_at_once():
    line = ModbusLine("127.0.0.1", 502)
    assert not line.connected
    for asking in (line.read(1, 0, 1), line.write(1, 0, b"\0\0")):
        with pytest.raises(LinkError, match=r"127\.0\.0\.1:502 unit 1: .*not connected; check the cable"):
            await asking
    await line.close()


@virtual
async def test_refused_connection_says_where_and_what_to_check():
    async with Peer(mute) as peer:
        port = peer.port
    line = ModbusLine("127.0.0.1", port)
    with pytest.raises(LinkError, match=rf"127\.0\.0\.1:{port} cannot be connected to .*refused.*check the address"):
        await line.connect()
    assert not line.connected


@virtual
async def test_device_that_never_takes_the_connection_costs_one_timeout():
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)  # full after one that nobody accepts; the kernel then drops the rest
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        line = ModbusLine(*listener.getsockname(), timeout_ms=700)
        with pytest.raises(LinkError, match="does not take the connection within 700 ms"):
            await line.connect()
        assert not line.connected


@virtual
async def test_device_that_closes_each_new_connection_is_told_as_such():
    async def script(wire: Wire) -> None:
        wire.hang_up()

    async with Peer(script) as peer:
        line = ModbusLine("127.0.0.1", peer.port, connect_delay_ms=50)
        with pytest.raises(LinkError, match="took the connection and closed it; check whether another client"):
            await line.connect()


@virtual
async def test_lost_connection_is_told_at_once_and_not_after_the_deadline():
    async def script(wire: Wire) -> None:
        await wire.request()
        wire.hang_up()

    async with line_to(script) as (line, _):
        started_s = now_s()
        waiting = asyncio.create_task(line.read(1, 1, 1))
        behind = asyncio.create_task(line.write(1, 2, b"\0\0"))
        with pytest.raises(LinkError, match="the connection was lost before the reply came"):
            await waiting
        with pytest.raises(LinkError, match="not sent, the connection was lost before its turn came"):
            await behind
        assert now_s() - started_s < 0.1
        assert not line.connected


@virtual
async def test_two_silences_in_a_row_give_the_connection_up():
    async with line_to(mute) as (line, peer):
        asking = [asyncio.create_task(line.read(1, address, 1)) for address in range(4)]
        done, _ = await asyncio.wait(asking)
        assert all(isinstance(task.exception(), LinkError) for task in done)
        assert len(peer.requests) == 2
        assert line.counters.timeouts == 2
        assert not line.connected


@virtual
async def test_new_connection_is_not_blamed_for_the_old_ones_silence():
    async with line_to(mute) as (line, _):
        for _ in range(2):
            with pytest.raises(LinkError):
                await line.read(1, 0, 1)
        await line.connect()
        with pytest.raises(LinkError):
            await line.read(1, 0, 1)
        assert line.connected


@virtual
async def test_command_that_waited_for_the_old_connection_is_not_sent_on_the_new_one():
    async with line_to(mute, gap_ms=500) as (line, peer):
        asking = [asyncio.create_task(line.read(1, 0, 1)), asyncio.create_task(line.write(1, 0, b"\0\1"))]
        await asyncio.sleep(0.1)
        await line.close()
        await line.connect()
        with pytest.raises(LinkError, match="not sent, the connection was lost before its turn came"):
            await asking[1]
        assert isinstance(asking[0].exception(), LinkError)
        assert len(peer.requests) == 1
        assert line.connected


@virtual
async def test_single_silences_do_not_give_the_connection_up():
    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(registers(await wire.request(), "1234"))

    async with line_to(script) as (line, _):
        for _ in range(5):
            with pytest.raises(LinkError):
                await line.read(1, 0, 1)
            await line.read(1, 0, 1)
        assert line.connected
        assert line.counters.connects == 1


@virtual
async def test_line_comes_back_after_the_device_vanished_and_returned():
    async with line_to(obedient) as (line, peer):
        await line.read(1, 0, 1)
        await peer.__aexit__()
        await asyncio.sleep(0.1)
        assert not line.connected
        for _ in range(3):
            with pytest.raises(LinkError):
                await line.connect()
        await peer.__aenter__()
        await line.connect()
        assert await line.read(1, 0, 1) == bytes.fromhex("1234")
        assert line.counters.connects == 2


@virtual
async def test_reply_to_the_old_connections_question_is_not_believed_on_the_new_one():
    """A gateway queues towards its serial bus and answers whoever is connected when the answer comes."""
    old = []

    async def script(wire: Wire) -> None:
        asked = await wire.request()
        if old:
            await wire.send(registers(old[0], "AAAA"), registers(asked, "BBBB"))
        else:
            old.append(asked)
            wire.hang_up()

    async with line_to(script) as (line, _):
        with pytest.raises(LinkError):
            await line.read(1, 0, 1)
        await line.connect()
        assert await line.read(1, 0, 1) == b"\xbb\xbb"
        assert line.counters.rejected == 1


@virtual
async def test_several_owners_share_one_connection():
    async with Peer(obedient) as peer:
        line = ModbusLine("127.0.0.1", peer.port)
        await asyncio.gather(*(line.connect() for _ in range(5)))
        assert line.counters.connects == 1
        await line.close()
        assert not line.connected


@virtual
async def test_closing_wakes_whoever_waits():
    async with line_to(mute) as (line, _):
        asking = [asyncio.create_task(line.read(1, address, 1)) for address in range(3)]
        await asyncio.sleep(0.1)
        await line.close()
        done, _ = await asyncio.wait(asking, timeout=0.1)
        assert len(done) == 3
        assert all(isinstance(task.exception(), LinkError) for task in done)


@virtual
async def test_cancelled_connect_leaves_no_connection():
    async with Peer(mute) as peer:
        line = ModbusLine("127.0.0.1", peer.port, connect_delay_ms=1000)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(line.connect(), 0.5)
        await asyncio.sleep(0.1)
        assert not peer.wires
        assert not line.connected
        await line.connect()
        assert line.connected
        await line.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="the platform has no keepalive timing")
@virtual
async def test_kernel_watches_over_an_idle_connection():
    async with line_to(mute) as (line, _):
        wire = line._client.ctx.transport.get_extra_info("socket")
        assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10


@pytest.mark.parametrize(
    "ask",
    [
        lambda line: line.read(1, 0, 0),
        lambda line: line.read(1, 0, 126),
        lambda line: line.read(1, -1, 1),
        lambda line: line.read(1, 65535, 2),
        lambda line: line.read(256, 0, 1),
        lambda line: line.write(1, 0, b""),
        lambda line: line.write(1, 0, b"\0\0\0"),
        lambda line: line.write(1, 0, bytes(248)),
        lambda line: line.write(1, 65535, bytes(4)),
        lambda line: line.write(1, 0, bytes(4), function=6),
    ],
)
@virtual
async def test_what_modbus_cannot_ask_is_never_sent(ask):
    async with line_to(mute) as (line, peer):
        with pytest.raises(LinkError, match="cannot be"):
            await ask(line)
        await asyncio.sleep(0.1)
        assert not peer.requests
        assert line.connected


@virtual
async def test_largest_blocks_go_through():
    async with line_to(obedient) as (line, _):
        assert await line.read(1, 65411, 125) == bytes.fromhex("1234") * 125
        await line.write(1, 65413, bytes(246))


def test_reconnecting_waits_longer_each_time_up_to_half_a_minute():
    assert [backoff_s(attempt) for attempt in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert backoff_s(10**9) == 30.0


async def test_line_reads_and_writes_a_server_that_others_wrote():
    device = SimDevice(17, simdata=[SimData(107, values=[555, 0, 100], datatype=DataType.REGISTERS)])
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    line = ModbusLine("127.0.0.1", server.transport.sockets[0].getsockname()[1])
    await line.connect()
    assert await line.read(17, 107, 3) == GIVEN
    await line.write(17, 108, bytes.fromhex("000A 0102"))
    await line.write(17, 107, bytes.fromhex("0003"), function=6)
    assert await line.read(17, 107, 3) == bytes.fromhex("0003 000A 0102")
    with pytest.raises(ModbusException) as refused:
        await line.read(17, 500, 1)
    assert refused.value.code == 2
    await line.close()
    await server.shutdown()
