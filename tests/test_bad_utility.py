"""What a utility may write to the site: a refusal as Modbus names it, a safe plant, a journal that replays."""

import asyncio
import contextlib
import random
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTcpClient

from hil.dispatch import Dispatch
from tests.sites import ASKED_W, Watch, play

SECONDS = 4
ADDRESS, VALUE = 2, 3  # Modbus exceptions: illegal data address, illegal data value
# what is written -> model and first register's offset in it, the registers, the exception that must come back
WRITES: dict[str, tuple[int, int, list[int], int]] = {
    "beyond the rating": (704, 22, [1, 1, 0, 10_001], VALUE),
    "beyond the rating the other way": (704, 22, [1, 1, 0xFFFF, 0xD8EF], VALUE),
    "not a number": (704, 22, [1, 1, 0x8000, 0], VALUE),
    "a mode that is none": (704, 22, [1, 7, 0, 1000], VALUE),
    "an enable that is none": (704, 22, [2, 1, 0, 1000], VALUE),
    "the upper half of the set point": (704, 24, [0], VALUE),
    "the lower half of the set point": (704, 25, [500], VALUE),
    "a block that ends within the set point": (704, 22, [1, 1, 0], VALUE),
    "measured power": (701, 10, [5], ADDRESS),
    "a model's id": (704, 0, [705], ADDRESS),
    "a scale factor": (704, 55, [3], ADDRESS),
    "a rating": (702, 2, [1], ADDRESS),
    "the map's end and beyond": (715, 9, [1] * 8, ADDRESS),
    "an operation that is none": (715, 8, [9], VALUE),
}


def models(watch: Watch) -> dict[int, int]:
    """Return where each model of the site's map begins."""
    assert watch.bench.utility.line is not None
    return watch.bench.utility.line.models


@contextlib.asynccontextmanager
async def client(watch: Watch) -> AsyncIterator[AsyncModbusTcpClient]:
    """Connect one more client of third-party make to the site."""
    line = AsyncModbusTcpClient("127.0.0.1", port=watch.bench.service.door.port, retries=0)
    assert await line.connect()
    try:
        yield line
    finally:
        line.close()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def second_utility(watch: Watch) -> AsyncIterator[Dispatch]:
    """Connect one more utility to the site."""
    other = Dispatch(watch.bench.service.door.port, watch.bench.site.utility.unit_id)
    await other.discover()
    try:
        yield other
    finally:
        await other.close()


@pytest.mark.parametrize("what", WRITES)
def test_a_write_that_cannot_be_is_refused_and_named_and_moves_nothing(tmp_path: Path, what: str) -> None:
    model, offset, registers, exception = WRITES[what]

    async def story(watch: Watch) -> None:
        await watch.settled(ASKED_W, 5)
        async with client(watch) as other:
            address = models(watch)[model] + offset
            for _ in range(SECONDS):
                reply = await other.write_registers(address, registers, device_id=1)
                assert reply.isError()
                assert reply.exception_code == exception
                await asyncio.sleep(0.3)
                assert f"wrote registers {address}.." in watch.faults["utility_bad_write", "utility"]
                assert watch.power_w == pytest.approx(ASKED_W, abs=60)
                await watch.asking(ASKED_W, 1)

    play(tmp_path, story)


def test_of_two_utilities_at_once_the_last_write_holds_and_names_whom_it_took_over_from(tmp_path: Path) -> None:
    async def story(watch: Watch) -> None:
        async with second_utility(watch) as other:
            for turn in range(SECONDS):
                asks = [(watch.bench.utility, ASKED_W), (other, -2000)]
                (utility, last), (second, at_once) = asks if turn % 2 else asks[::-1]
                assert await asyncio.gather(utility.ask(last), second.ask(at_once)) == [True, True]
                assert await utility.ask(last)
                watch.hold(last)
                await asyncio.sleep(2)
                assert watch.power_w == pytest.approx(last, abs=60)
                snapshot = watch.bench.service.snapshot
                assert snapshot is not None
                (order,) = snapshot.orders
                assert (order.low_w, "took over from" in order.source) == (last, True)

    play(tmp_path, story)


def test_a_utility_that_writes_without_pause_neither_stops_the_cycle_nor_the_devices(tmp_path: Path) -> None:
    """Two thousand set points in a burst of pipelined frames, again and again; the last one of each is what counts."""

    def burst(address: int, last_w: int) -> bytes:
        chance = random.Random(3)
        powers_w = [chance.randrange(-10_000, 10_000) for _ in range(1999)] + [last_w]
        return b"".join(
            struct.pack(">HHHBBHHBHHi", number & 0xFFFF, 0, 15, 1, 16, address, 4, 8, 1, 1, power_w)
            for number, power_w in enumerate(powers_w)
        )

    async def story(watch: Watch) -> None:
        await watch.settled(ASKED_W, 5)
        reader, writer = await asyncio.open_connection("127.0.0.1", watch.bench.service.door.port)
        watch.begin()
        for last_w in (-1000, 2500):
            writer.write(burst(models(watch)[704] + 22, last_w))
            watch.hold(last_w)
            for _ in range(2000):
                assert (await reader.readexactly(12))[7] == 16
            await asyncio.sleep(2)
            assert watch.power_w == pytest.approx(last_w, abs=60)
        writer.close()
        await writer.wait_closed()
        assert watch.longest_ms("decisions") <= 1050
        assert not {fault for fault, _ in watch.seen} - {"utility_silent"}

    play(tmp_path, story)


def test_clients_that_talk_nonsense_stall_or_crowd_the_door_disturb_nobody(tmp_path: Path) -> None:
    async def story(watch: Watch) -> None:
        chance = random.Random(9)
        await watch.settled(ASKED_W, 5)
        watch.begin()
        crowd = []
        for number in range(40):
            _, writer = await asyncio.open_connection("127.0.0.1", watch.bench.service.door.port)
            crowd.append(writer)
            with contextlib.suppress(ConnectionError):
                writer.write(
                    (chance.randbytes(50), struct.pack(">HHHBBHH", 1, 0, 250, 1, 16, 40_000, 4), b"")[number % 3]
                )
                await asyncio.sleep(0.1)
            if number % 10 == 0:
                await watch.asking(ASKED_W, 1)
                assert watch.power_w == pytest.approx(ASKED_W, abs=60)
        assert watch.longest_ms("decisions") <= 1050
        assert not watch.seen
        for writer in crowd:
            writer.transport.abort()
        await asyncio.sleep(0.1)
        async with second_utility(watch) as other:
            assert await other.ask(1000)
            watch.hold(1000)
            await asyncio.sleep(2)
            assert watch.power_w == pytest.approx(1000, abs=60)

    play(tmp_path, story)
