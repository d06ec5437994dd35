"""The server answers what the standard says, each request once and in order, whoever asks and however it is cut."""

import asyncio
import gc
import itertools
import shutil
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient

from controller.link import LinkError
from controller.link.modbus import ModbusLine
from controller.link.modbus_server import Answer, ModbusServer, Request
from hil.clock import VirtualLoop
from tests.modbus_peer import virtual


class Registers:
    """A device: 200 registers, none above, the first ones as in the standard's examples."""

    def __init__(self) -> None:
        self.words = bytearray(400)
        self.words[2 * 0x6B : 2 * 0x6B + 6] = bytes.fromhex("022B 0000 0064")
        self.words[2 * 8 : 2 * 8 + 2] = bytes.fromhex("000A")
        self.heard: list[Request] = []

    def answer(self, request: Request) -> bytes | int | None:
        self.heard.append(request)
        if request.unit != 1:
            return None
        if request.address + request.count > 200:
            return 2
        where = slice(2 * request.address, 2 * (request.address + request.count))
        if request.function in (3, 4):
            return bytes(self.words[where])
        self.words[where] = request.registers
        return b""


@asynccontextmanager
async def serving(answer: Answer, *, max_clients: int = 16, idle_s: float = 600) -> AsyncIterator[ModbusServer]:
    broken: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: broken.append(what))
    server = ModbusServer(answer, max_clients=max_clients, idle_s=idle_s)
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.close()
    assert not broken


class Client:
    """Raw bytes towards the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def replies(self, count: int) -> list[bytes]:
        got = []
        for _ in range(count):
            head = await self.reader.readexactly(6)
            got.append(head + await self.reader.readexactly(int.from_bytes(head[4:], "big")))
        return got

    async def ask(self, message: bytes) -> bytes:
        self.writer.write(message)
        return (await self.replies(1))[0]

    async def closed(self) -> bool:
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def client_of(server: ModbusServer) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


def adu(transaction: int, pdu: str, unit: int = 1) -> bytes:
    body = bytes.fromhex(pdu)
    return struct.pack(">HHHB", transaction, 0, len(body) + 1, unit) + body


# Modbus Application Protocol V1.1b3: 6.3, 6.4, 6.6, 6.12 worked examples; the exceptions of their state diagrams.
EXAMPLES = [
    pytest.param("03 006B 0003", "03 06 022B 0000 0064", id="read holding registers 108-110"),
    pytest.param("04 0008 0001", "04 02 000A", id="read input register 9"),
    pytest.param("06 0001 0003", "06 0001 0003", id="write single register 2"),
    pytest.param("10 0001 0002 04 000A 0102", "10 0001 0002", id="write registers 2-3"),
]
REFUSALS = [
    pytest.param("01 0013 0013", "81 01", id="read coils"),
    pytest.param("05 00AC FF00", "85 01", id="write coil"),
    pytest.param("2B 0E 01 00", "AB 01", id="read device identification"),
    pytest.param("00", "80 01", id="function 0"),
    pytest.param("83 02", "83 01", id="exception as a request"),
    pytest.param("03 006B 0000", "83 03", id="read none"),
    pytest.param("03 0000 007E", "83 03", id="read 126"),
    pytest.param("04 0000 0000", "84 03", id="read no inputs"),
    pytest.param("10 0001 0000 00", "90 03", id="write none"),
    pytest.param("10 0000 007C F8" + "0000" * 123, "90 03", id="write 124"),
    pytest.param("10 0001 0002 03 000A 01", "90 03", id="odd byte count"),
    pytest.param("10 0001 0002 04 000A", "90 03", id="registers missing"),
    pytest.param("10 0001 0002 04 000A 0102 0000", "90 03", id="registers too many"),
    pytest.param("10 0000 007B F6" + "00" * 247, "90 03", id="the longest request there can be"),
    pytest.param("10 0001 0002 02 000A 0102", "90 03", id="byte count of one register"),
    pytest.param("10 0001 0001", "90 03", id="cut after the count"),
    pytest.param("03", "83 03", id="cut after the function"),
    pytest.param("03 006B 00", "83 03", id="half a count"),
    pytest.param("03 006B 0003 00", "83 03", id="read too long"),
    pytest.param("06 0001 00", "86 03", id="half a value"),
    pytest.param("06 0001 0003 00", "86 03", id="write single too long"),
    pytest.param("03 FFFF 0002", "83 02", id="beyond the last register"),
    pytest.param("10 FFFF 0002 04 0000 0000", "90 02", id="write beyond the last register"),
    pytest.param("03 00C8 0001", "83 02", id="register the device lacks"),
]


@pytest.mark.parametrize(("request_pdu", "reply_pdu"), EXAMPLES + REFUSALS)
async def test_each_request_gets_the_answer_of_the_standard(request_pdu, reply_pdu):
    async with serving(Registers().answer) as server, client_of(server) as client:
        assert await client.ask(adu(0x1501, request_pdu)) == adu(0x1501, reply_pdu)


async def test_writes_of_the_standard_land_in_their_registers():
    device = Registers()
    async with serving(device.answer) as server, client_of(server) as client:
        await client.ask(adu(1, "10 0001 0002 04 000A 0102"))
        await client.ask(adu(2, "06 0004 0003"))
        assert await client.ask(adu(3, "03 0000 0006")) == adu(3, "03 0C 0000 000A 0102 0000 0003 0000")


@pytest.mark.parametrize("function", ["10", "06"])
async def test_largest_requests_pass(function):
    words = "1234" * 123
    device = Registers()
    async with serving(device.answer) as server, client_of(server) as client:
        assert await client.ask(adu(1, "10 0000 007B F6" + words)) == adu(1, "10 0000 007B")
        assert await client.ask(adu(2, "03 0000 007D")) == adu(2, "03 FA" + words + "0000" * 2)


async def test_callback_hears_who_asks_for_what():
    device = Registers()
    async with serving(device.answer) as server, client_of(server) as one, client_of(server) as other:
        await one.ask(adu(1, "03 0001 0002"))
        await other.ask(adu(1, "10 0001 0001 02 BEEF"))
        ports = [client.writer.get_extra_info("sockname")[1] for client in (one, other)]
    assert device.heard == [
        Request(unit=1, function=3, address=1, count=2, registers=b"", peer=f"127.0.0.1:{ports[0]}"),
        Request(unit=1, function=16, address=1, count=1, registers=b"\xbe\xef", peer=f"127.0.0.1:{ports[1]}"),
    ]


async def test_malformed_requests_never_reach_the_callback():
    device = Registers()
    async with serving(device.answer) as server, client_of(server) as client:
        for case in REFUSALS[:-1]:
            await client.ask(adu(1, case.values[0]))
    assert device.heard == []


async def test_foreign_unit_gets_silence_and_the_next_request_its_answer():
    async with serving(Registers().answer) as server, client_of(server) as client:
        client.writer.write(adu(1, "03 006B 0003", unit=7))
        assert await client.ask(adu(2, "04 0008 0001")) == adu(2, "04 02 000A")


async def test_last_register_of_all_can_be_reached():
    async with (
        serving(lambda request: b"\1\2" if request.function == 3 else b"") as server,
        client_of(server) as client,
    ):
        assert await client.ask(adu(1, "03 FFFF 0001")) == adu(1, "03 02 0102")
        assert await client.ask(adu(2, "06 FFFF 0001")) == adu(2, "06 FFFF 0001")


async def test_callback_may_refuse_with_any_code():
    async with serving(lambda request: 0x0B) as server, client_of(server) as client:
        assert await client.ask(adu(1, "03 0000 0001")) == adu(1, "83 0B")
        assert await client.ask(adu(2, "06 0000 0001")) == adu(2, "86 0B")


async def test_write_reaches_the_callback_in_the_turn_its_bytes_arrive():
    device = Registers()
    async with serving(device.answer) as server, client_of(server) as client:
        await client.ask(adu(1, "04 0008 0001"))
        (connection,) = server._connections
        message = adu(2, "06 0000 0001")
        connection.get_buffer(-1)[: len(message)] = message
        connection.buffer_updated(len(message))
        assert device.words[:2] == b"\0\1"
        assert await client.replies(1) == [message]


async def test_several_requests_in_one_segment_are_answered_each_and_in_order():
    """S2: of two requests in one segment only the first was answered."""
    async with serving(Registers().answer) as server, client_of(server) as client:
        client.writer.write(b"".join(adu(number, f"06 0000 {number:04x}") for number in range(100)))
        assert await client.replies(100) == [adu(number, f"06 0000 {number:04x}") for number in range(100)]


async def test_overlapping_requests_keep_their_own_numbers_and_values():
    """S3: two requests at once were both answered with the second's number."""
    asked = [("03 006B 0003", "03 06 022B 0000 0064"), ("01 0000 0001", "81 01"), ("04 0008 0001", "04 02 000A")]
    async with serving(Registers().answer) as server, client_of(server) as client:
        client.writer.write(b"".join(adu(number, pdu) for number, (pdu, _) in enumerate(asked, 7)))
        assert await client.replies(3) == [adu(number, pdu) for number, (_, pdu) in enumerate(asked, 7)]


@virtual
async def test_request_that_comes_byte_by_byte_is_answered_once():
    async with serving(Registers().answer) as server, client_of(server) as client:
        for byte in adu(1, "10 0001 0002 04 000A 0102") + adu(2, "04 0008 0001"):
            client.writer.write(bytes((byte,)))
            await asyncio.sleep(0.001)
        assert await client.replies(2) == [adu(1, "10 0001 0002"), adu(2, "04 02 000A")]


async def test_clients_at_once_are_never_mixed():
    async with serving(Registers().answer) as server, client_of(server) as one, client_of(server) as other:
        half = adu(1, "03 006B 0003")
        one.writer.write(half[:7])
        assert await other.ask(adu(9, "04 0008 0001")) == adu(9, "04 02 000A")
        assert await one.ask(half[7:]) == adu(1, "03 06 022B 0000 0064")


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param("0001 0001 0006 01 03 006B 0003", id="foreign protocol"),
        pytest.param("0001 0000 0000 01 03 006B 0003", id="length 0"),
        pytest.param("0001 0000 0001 01 03 006B 0003", id="no function"),
        pytest.param("0001 0000 00FF 01 03 006B 0003", id="length 255"),
        pytest.param("4745 5420 2F20 48 5454 502F 312E 31", id="a web browser"),
    ],
)
async def test_garbage_closes_its_own_connection_after_what_came_before_it(garbage):
    async with serving(Registers().answer) as server, client_of(server) as bad, client_of(server) as good:
        bad.writer.write(adu(1, "04 0008 0001") + bytes.fromhex(garbage) + adu(2, "04 0008 0001"))
        assert await bad.replies(1) == [adu(1, "04 02 000A")]
        assert await bad.closed()
        assert await good.ask(adu(3, "04 0008 0001")) == adu(3, "04 02 000A")


async def test_nothing_is_obeyed_that_comes_behind_the_end_of_a_connection():
    heard = []

    def answer(request: Request) -> None:
        heard.append(request.address)
        for connection in server._connections:
            connection.abort()

    async with serving(answer) as server, client_of(server) as client:
        client.writer.write(adu(1, "06 0001 0001") + adu(2, "06 0002 0001"))
        assert await client.closed()
        assert heard == [1]


async def test_newest_client_beyond_the_limit_is_refused_and_the_others_are_served():
    async with (
        serving(Registers().answer, max_clients=2) as server,
        client_of(server) as one,
        client_of(server) as two,
        client_of(server) as three,
    ):
        assert await three.closed()
        for client in (one, two):
            assert await client.ask(adu(1, "04 0008 0001")) == adu(1, "04 02 000A")
        one.writer.close()
        await one.writer.wait_closed()
        await two.ask(adu(2, "04 0008 0001"))
        async with client_of(server) as four:
            assert await four.ask(adu(1, "04 0008 0001")) == adu(1, "04 02 000A")


async def test_client_that_asks_and_never_reads_is_closed():
    asked = adu(1, "03 0000 007D") * 100
    with socket.socket() as deaf:
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        device = Registers()
        async with serving(device.answer) as server:
            await loop.sock_connect(deaf, ("127.0.0.1", server.port))
            with pytest.raises(ConnectionError):
                for _ in range(10_000):
                    await loop.sock_sendall(deaf, asked)
            async with client_of(server) as client:
                assert await client.ask(adu(3, "04 0008 0001")) == adu(3, "04 02 000A")


@virtual
async def test_silent_client_is_closed_and_a_talking_one_kept():
    async with serving(Registers().answer, idle_s=10) as server, client_of(server) as idle, client_of(server) as busy:
        for number in range(10):
            await asyncio.sleep(5)
            await busy.ask(adu(number, "04 0008 0001"))
        assert await asyncio.wait_for(idle.closed(), 0.1)
        assert await busy.ask(adu(99, "04 0008 0001")) == adu(99, "04 02 000A")


async def test_closing_the_server_closes_its_clients_and_frees_the_port():
    server = ModbusServer(Registers().answer)
    await server.start("127.0.0.1", 0)
    port = server.port
    async with client_of(server) as client:
        await client.ask(adu(1, "04 0008 0001"))
        await server.close()
        await server.close()
        assert await client.closed()
    again = ModbusServer(Registers().answer)
    await again.start("127.0.0.1", port)
    await again.close()


@pytest.mark.parametrize("turns", range(6))
def test_closing_while_clients_come_in_leaves_none_behind(turns):
    async def play() -> None:
        server = ModbusServer(Registers().answer)
        await server.start("127.0.0.1", 0)
        with socket.create_connection(("127.0.0.1", server.port)) as one:
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.close()
            one.setblocking(False)
            with suppress(ConnectionError):
                assert one.recv(1) == b""

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play())
    gc.collect()  # a socket left open would now warn


async def test_port_in_use_says_where_and_what_to_check():
    async with serving(Registers().answer) as server:
        other = ModbusServer(Registers().answer)
        with pytest.raises(LinkError, match=rf"cannot serve Modbus on 127\.0\.0\.1:{server.port} .*another program"):
            await other.start("127.0.0.1", server.port)
        await other.close()


# --- any bytes -----------------------------------------------------------------------------------------------------

PDUS = st.binary(min_size=1, max_size=253) | st.builds(
    lambda function, address, count, rest: struct.pack(">BHH", function, address, count) + rest,
    st.sampled_from([3, 4, 6, 16]),
    st.integers(0, 0xFFFF),
    st.integers(0, 130),
    st.binary(max_size=240),
)
FRAMES = st.builds(
    lambda transaction, unit, pdu: struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu,
    st.integers(0, 0xFFFF),
    st.sampled_from([0, 1, 1, 1, 255]),
    PDUS,
)


def whole_frames(stream: bytes) -> tuple[list[bytes], bool]:
    """Return the frames at the head of a stream, and whether garbage follows them."""
    frames = []
    while len(stream) >= 7:
        _, protocol, length = struct.unpack_from(">HHH", stream)
        if protocol or not 2 <= length <= 254:
            return frames, True
        if len(stream) < 6 + length:
            break
        frames.append(stream[: 6 + length])
        stream = stream[6 + length :]
    return frames, False


@settings(max_examples=150, deadline=None)
@given(st.lists(FRAMES | st.binary(max_size=40), max_size=12), st.lists(st.integers(0, 5000), max_size=8))
def test_any_bytes_get_valid_answers_or_a_closed_connection(parts, cuts):
    stream = b"".join(parts)
    asked, garbage = whole_frames(stream)
    ends = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})

    async def play() -> bytes:
        device = Registers()
        async with serving(device.answer) as server, client_of(server) as client:
            for start, end in itertools.pairwise(ends):
                client.writer.write(stream[start:end])
                await asyncio.sleep(0)
            if not garbage:
                client.writer.write_eof()
            answers = b""
            with suppress(ConnectionError):  # sent after the garbage: the kernel answers with a reset
                while some := await client.reader.read(65536):
                    answers += some
            return answers

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        answers = runner.run(play())
    answered, _ = whole_frames(answers)
    assert b"".join(answered) == answers
    ours = [message for message in asked if message[6] == 1]
    assert garbage or [reply[:2] for reply in answered if reply[6] == 1] == [message[:2] for message in ours]
    for message, reply in zip(ours, (reply for reply in answered if reply[6] == 1), strict=False):
        assert reply[7] | 0x80 == message[7] | 0x80
        assert len(reply) == 9 or message[7] in (3, 4, 6, 16)


# --- clients that others wrote -------------------------------------------------------------------------------------


async def test_pymodbus_reads_and_writes():
    async with serving(Registers().answer) as server:
        client = AsyncModbusTcpClient("127.0.0.1", port=server.port, retries=0, reconnect_delay=0)
        assert await client.connect()
        assert (await client.read_holding_registers(107, count=3)).registers == [555, 0, 100]
        assert (await client.read_input_registers(8, count=1)).registers == [10]
        assert not (await client.write_registers(20, list(range(123)))).isError()
        assert not (await client.write_register(20, 0xBEEF)).isError()
        assert (await client.read_holding_registers(20, count=3)).registers == [0xBEEF, 1, 2]
        assert (await client.read_coils(0, count=1)).exception_code == 1
        assert (await client.read_holding_registers(199, count=2)).exception_code == 2
        client.close()
        await asyncio.sleep(0)


async def test_our_own_line_reads_and_writes():
    async with serving(Registers().answer) as server:
        line = ModbusLine("127.0.0.1", server.port)
        await line.connect()
        await line.write(1, 20, bytes(range(246)))
        assert await line.read(1, 20, 123) == bytes(range(246))
        await line.close()


@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is not installed")
async def test_mbpoll_reads_and_writes():
    async def mbpoll(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *("mbpoll", "-m", "tcp", "-a", "1", "-0", "-1", "-p", str(server.port), *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(process.communicate(), 20)
        return said.decode()

    device = Registers()
    async with serving(device.answer) as server:
        said = await mbpoll("-r", "107", "-c", "3", "127.0.0.1")
        assert [line.split()[-1] for line in said.splitlines() if line.startswith("[")] == ["555", "0", "100"]
        await mbpoll("-r", "30", "127.0.0.1", "1234")
        await mbpoll("-r", "31", "127.0.0.1", "1", "2", "3")
        assert device.words[60:68] == bytes.fromhex("04D2 0001 0002 0003")
        assert {request.function for request in device.heard} == {3, 6, 16}
        assert "Illegal data address" in await mbpoll("-r", "500", "127.0.0.1")
