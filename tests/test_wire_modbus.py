"""The Modbus toxics: exact bytes at a client's socket, what pymodbus says of them, and what the controller's line does.

Bytes are by hand from the MBAP header (Modbus Messaging on TCP/IP Implementation Guide V1.0b 3.1.3) and Modbus
Application Protocol V1.1b3: 6.3 (read), 6.12 (write), 7 (exceptions).
"""

import asyncio
from typing import Any

import pytest

from controller.link import LinkError
from controller.link.modbus import ModbusLine
from hil.clock import run_virtual
from hil.wire.modbus import (
    Alter,
    Altered,
    exception,
    late_replies,
    wrong_count,
    wrong_function,
    wrong_transaction,
    wrong_unit,
)
from hil.wire.proxy import Stage
from tests.cable import HOST, TIMEOUT_S, Ear, Heard, cable, said
from tests.modbus_peer import virtual

READ = "0001 0000 0006 01 03 0007 0001"
READ_REPLY = "0001 0000 0005 01 03 02 0007"
WRITE = "0001 0000 0009 01 10 0007 0001 02 0005"
WRITE_REPLY = "0001 0000 0006 01 10 0007 0001"

SEEN: list[tuple[str, dict[str, Any], str, str, int, int]] = [  # verb, with, asked, heard, effects, requests
    ("wrong_transaction", {}, READ, "0002 0000 0005 01 03 02 0007", 1, 1),
    ("wrong_transaction", {"offset": -2}, READ, "FFFF 0000 0005 01 03 02 0007", 1, 1),
    ("wrong_transaction", {"offset": 256}, WRITE, "0101 0000 0006 01 10 0007 0001", 1, 1),
    ("wrong_unit", {}, READ, "0001 0000 0005 02 03 02 0007", 1, 1),
    ("wrong_unit", {"offset": -2}, WRITE, "0001 0000 0006 FF 10 0007 0001", 1, 1),
    ("wrong_function", {}, READ, "0001 0000 0005 01 04 02 0007", 1, 1),
    ("wrong_function", {"offset": -10}, WRITE, "0001 0000 0006 01 06 0007 0001", 1, 1),
    ("wrong_count", {}, READ, "0001 0000 0005 01 03 03 0007", 1, 1),
    ("wrong_count", {"offset": -2}, READ, "0001 0000 0005 01 03 00 0007", 1, 1),
    ("wrong_count", {}, WRITE, "0001 0000 0006 01 10 0007 0002", 1, 1),
    ("exception", {"code": 2}, READ, "0001 0000 0003 01 83 02", 1, 0),
    ("exception", {"code": 3}, READ, "0001 0000 0003 01 83 03", 1, 0),
    ("exception", {}, READ, "0001 0000 0003 01 83 04", 1, 0),
    ("exception", {"code": 5}, WRITE, "0001 0000 0003 01 90 05", 1, 1),  # acknowledge: the device carries it out
    ("exception", {"code": 6}, WRITE, "0001 0000 0003 01 90 06", 1, 0),
    ("exception", {"code": 10}, READ, "0001 0000 0003 01 83 0A", 1, 0),
    ("exception", {"code": 11}, READ, "0001 0000 0003 01 83 0B", 1, 0),
    ("exception", {"code": 6, "writes_only": True}, READ, READ_REPLY, 0, 1),
    ("exception", {"code": 6, "writes_only": True}, WRITE, "0001 0000 0003 01 90 06", 1, 0),
    ("exception", {"code": 5, "writes_only": True}, READ, READ_REPLY, 0, 1),
    ("exception", {"code": 5, "writes_only": True}, WRITE, "0001 0000 0003 01 90 05", 1, 1),
    ("wrong_unit", {"share": 0.0}, READ, READ_REPLY, 0, 1),
    ("exception", {"share": 0.0}, WRITE, WRITE_REPLY, 0, 1),
]


def numbered(transaction: int, address: int = 7) -> bytes:
    """Return a read of one register."""
    return transaction.to_bytes(2, "big") + bytes.fromhex("0000 0006 01 03") + address.to_bytes(2, "big") + b"\0\1"


def answer(transaction: int, value: int = 7) -> bytes:
    """Return its reply."""
    return transaction.to_bytes(2, "big") + bytes.fromhex("0000 0005 01 03 02") + value.to_bytes(2, "big")


@pytest.mark.parametrize(("do", "params", "asked", "heard", "effects", "requests"), SEEN)
@virtual
async def test_verb_is_seen_as_its_name_says(
    do: str, params: dict[str, Any], asked: str, heard: str, effects: int, requests: int
) -> None:
    async with cable() as bench:
        ear = await bench.ear()
        armed, heal = bench.begin(do, **params)
        assert await ear.ask(bytes.fromhex(asked)) == [(0.0, bytes.fromhex(heard))]
        assert (armed.effects, len(bench.asked)) == (effects, requests)
        heal()
        right = WRITE_REPLY if asked == WRITE else READ_REPLY
        assert await ear.ask(bytes.fromhex(asked)) == [(0.0, bytes.fromhex(right))]
        assert (armed.effects, len(bench.asked)) == (effects, requests + 1)


@virtual
async def test_exception_reply_stays_one_whatever_else_is_wrong_with_it() -> None:
    async with cable() as bench:
        ear = await bench.ear()
        bench.begin("wrong_count")
        bench.begin("wrong_function")
        refused = bytes.fromhex("0001 0000 0006 01 03 0007 0000")  # no register at all: exception 3
        assert await ear.ask(refused) == [(0.0, bytes.fromhex("0001 0000 0003 01 84 03"))]


@virtual
async def test_frames_are_found_however_they_are_cut() -> None:
    async with cable() as bench:
        bench.begin("slice", direction="both", size_bytes=5, gap_s=0.01)
        armed, _ = bench.begin("wrong_unit")
        ear = await bench.ear()
        await ear.ask(numbered(1) + numbered(2) + numbered(3))
        assert ear.bytes_heard() == b"".join(answer(number)[:6] + b"\2" + answer(number)[7:] for number in (1, 2, 3))
        assert armed.effects == 3


@virtual
async def test_what_is_no_modbus_passes_as_it_is() -> None:
    async with cable() as bench:
        bench.begin("flood", chunk_bytes=20, gap_s=0.5)
        armed, _ = bench.begin("wrong_unit")
        ear = await bench.ear()
        heard = await ear.ask(b"", 10.2)
        assert [len(what) for _, what in heard] == [20] * 20 and armed.effects == 0


@virtual
async def test_half_a_frame_is_passed_on_when_the_toxic_goes() -> None:
    async with cable() as bench:
        ear = await bench.ear()
        _, heal = bench.begin("exception")
        assert await ear.ask(numbered(1)[:9]) == []
        heal()
        assert await ear.ask(numbered(1)[9:]) == [(0.0, answer(1))]


# -- frame by frame, without a socket -----------------------------------------------------------------------------


class Written:
    """A stage's next one, in the test's hands."""

    def __init__(self, stage: Stage) -> None:
        self.log: list[bytes | str] = []
        stage.onward = self

    def take(self, data: bytes) -> None:
        self.log.append(data)

    def end(self, reset: bool) -> None:
        self.log.append("RST" if reset else "FIN")


def framed(length: int) -> bytes:
    """Return a frame of function 3 with that length in its header."""
    return b"\0\1\0\0" + length.to_bytes(2, "big") + b"\1\3" + bytes(length - 2)


@pytest.mark.parametrize(("length", "frames"), [(2, 1), (3, 1), (253, 1), (254, 1), (255, 0), (1, 0), (0, 0)])
def test_frame_is_what_the_header_says_up_to_254_bytes(length: int, frames: int) -> None:
    seen: list[bytes] = []
    stage = Altered(lambda: None, lambda: True, lambda frame: seen.append(frame) or frame)  # type: ignore[func-returns-value]
    written = Written(stage)
    whole = framed(max(2, length)) if length > 1 else b"\0\1\0\0\0" + bytes((length, 1))
    stage.take(whole[:6])
    assert written.log == []
    stage.take(whole[6:])
    assert written.log == [whole] and seen == [whole] * frames


def test_frame_of_another_protocol_is_none() -> None:
    stage = Altered(lambda: None, lambda: True, lambda frame: b"altered")
    written = Written(stage)
    stage.take(b"\0\1\0\1" + framed(6)[4:])
    stage.take(framed(6))
    assert written.log == [b"\0\1\0\1" + framed(6)[4:], b"altered"]


def test_end_comes_behind_what_is_held_once() -> None:
    stage = Altered(lambda: None, lambda: True, lambda frame: frame)
    written = Written(stage)
    stage.take(framed(6) + b"\0\2\0")
    stage.end(reset=True)
    stage.release()
    assert written.log == [framed(6), b"\0\2\0", "RST"]
    stage.end(reset=False)
    assert written.log[3:] == ["FIN"]


def test_late_reply_and_half_a_one_come_when_the_toxic_goes() -> None:
    stages = late_replies(lambda: None, lambda: True, restamped=False).stages()
    written = Written(stages["reply"])
    stages["reply"].take(framed(6) + b"\0\2\0")
    assert written.log == []
    stages["reply"].release()
    stages["reply"].release()
    assert written.log == [framed(6), b"\0\2\0"]


ALTERED: list[tuple[Alter, str, str]] = [
    (wrong_transaction(1), "FFFF 0000 0003 01 83 02", "0000 0000 0003 01 83 02"),
    (wrong_transaction(-1), "0100 0000 0003 01 83 02", "00FF 0000 0003 01 83 02"),
    (wrong_unit(1), "0001 0000 0003 FF 83 02", "0001 0000 0003 00 83 02"),
    (wrong_function(1), "0001 0000 0003 01 FF 02", "0001 0000 0003 01 80 02"),
    *[
        (wrong_count(256 + n), f"0001 0000 0005 01 0{n} 02 0007", f"0001 0000 0005 01 0{n} 0{2 + n} 0007")
        for n in (1, 2, 3, 4)
    ],
    (wrong_count(1), "0001 0000 0006 01 05 0007 FF00", "0001 0000 0006 01 05 0007 FF00"),
    (wrong_count(1), "0001 0000 0006 01 06 0007 0005", "0001 0000 0006 01 06 0007 0005"),
    (wrong_count(2), "0001 0000 0006 01 0F 0007 00FF", "0001 0000 0006 01 0F 0007 0101"),
    (wrong_count(1), "0001 0000 0006 01 10 0007 0100", "0001 0000 0006 01 10 0007 0101"),
    (wrong_count(-2), "0001 0000 0006 01 10 0007 0001", "0001 0000 0006 01 10 0007 FFFF"),
    (wrong_count(1), "0001 0000 0003 01 83 02", "0001 0000 0003 01 83 02"),
]


@pytest.mark.parametrize(("alter", "before", "after"), ALTERED)
def test_field_wraps_around_and_the_rest_stays(alter: Alter, before: str, after: str) -> None:
    assert alter(bytes.fromhex(before)) == bytes.fromhex(after)


def test_writes_are_all_functions_that_change_something() -> None:
    alter = exception(6, writes_only=True)
    frames = [b"\0\1\0\0\0\6\1" + bytes((function, 0, 7, 0, 1)) for function in range(1, 128)]
    refused = {frame[7] for frame in frames if alter(frame) != frame}
    assert refused == {5, 6, 15, 16, 21, 22, 23}  # coils, registers, file record, mask, read and write


# -- late replies -------------------------------------------------------------------------------------------------


@virtual
async def test_each_reply_comes_in_place_of_the_next_one() -> None:
    async with cable() as bench:
        ear = await bench.ear()
        armed, heal = bench.begin("late_reply")
        assert await ear.ask(numbered(1, 11)) == []
        assert await ear.ask(numbered(2, 12)) == [(0.0, answer(1, 11))]
        assert await ear.ask(numbered(3, 13)) == [(0.0, answer(2, 12))]
        assert armed.effects == 2
        ear.heard = []
        heal()
        await asyncio.sleep(1)
        assert ear.bytes_heard() == answer(3, 13)
        assert await ear.ask(numbered(4, 14)) == [(0.0, answer(4, 14))]


@virtual
async def test_reply_of_a_serial_gateway_bears_the_transaction_of_the_next_request() -> None:
    async with cable() as bench:
        ear = await bench.ear()
        bench.begin("late_reply", restamped=True)
        assert await ear.ask(numbered(1, 11)) == []
        assert await ear.ask(numbered(2, 12)) == [(0.0, answer(2, 11))]


@virtual
async def test_late_now_and_then_every_reply_comes_once_and_late_ones_with_the_next_request() -> None:
    async with cable() as bench:
        ear = await bench.ear()
        armed, _ = bench.begin("late_reply", share=0.4)
        late, heard = b"", b""
        for number in range(1, 201):
            await ear.ask(numbered(number))
            got = ear.bytes_heard()
            own = answer(number)
            assert got in (late, late + own)
            late = b"" if got.endswith(own) else own
            heard += got
        assert heard + late == b"".join(answer(number) for number in range(1, 201))
        assert 50 < armed.effects < 110  # 80 +- 4.3 standard deviations


# -- pymodbus and the controller's line ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "params", "seen"),
    [
        ("exception", {"code": 6}, [("exception 6", 0.0), ("exception 6", 0.0)]),
        ("exception", {"code": 11, "writes_only": True}, [([1], 0.0), ("exception 11", 0.0)]),
        ("wrong_transaction", {}, [("silent", TIMEOUT_S), ("silent", TIMEOUT_S)]),
        ("wrong_unit", {}, [("silent", TIMEOUT_S), ("silent", TIMEOUT_S)]),
        ("late_reply", {}, [("silent", TIMEOUT_S), ("silent", TIMEOUT_S)]),
        ("other_device", {}, [("lost", TIMEOUT_S)]),
    ],
)
@virtual
async def test_pymodbus_sees_the_same(do: str, params: dict[str, Any], seen: list[tuple[Any, float]]) -> None:
    async with cable() as bench:
        client = await bench.client()
        bench.begin(do, **params)
        heard = [await said(client, 1 + number, write=number == 1) for number in range(len(seen))]
        assert heard == seen


WRONG = ["wrong_transaction", "wrong_unit", "wrong_function", "wrong_count", "late_reply", "exception", "duplicate"]


@pytest.mark.parametrize("do", [*WRONG, "truncate", "reset", "merge", "slice"])
def test_line_of_the_controller_believes_no_reply_but_the_right_one(do: str) -> None:
    async def main() -> tuple[int, int]:
        async with cable() as bench:
            params: dict[str, Any] = {} if do == "slice" else {"share": 0.3}
            armed, heal = bench.begin(do, direction="up", **params)
            line = ModbusLine(HOST, bench.wire.port, timeout_ms=1000)
            right = 0
            for address in range(100):
                try:
                    await line.connect()
                    got = await line.read(1, address, 1)
                except LinkError:
                    continue
                assert got == address.to_bytes(2, "big")
                right += 1
            heal()
            await line.connect()
            assert await line.read(1, 500, 1) == (500).to_bytes(2, "big")
            await line.close()
            return right, armed.effects

    right, effects = run_virtual(main())
    assert right >= 20 and effects >= 10


def test_the_same_seed_does_the_same_and_another_does_not() -> None:
    async def played(do: str, seed: str) -> list[Heard]:
        async with cable() as bench:
            bench.begin(do, seed=seed, share=0.3)
            ear: Ear = await bench.ear()
            return [list(await ear.ask(numbered(number))) for number in range(40)]

    for do in ("wrong_unit", "late_reply", "exception"):
        assert run_virtual(played(do, "7")) == run_virtual(played(do, "7")) != run_virtual(played(do, "8"))
