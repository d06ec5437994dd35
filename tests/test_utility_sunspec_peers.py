"""The SunSpec door over real sockets, spoken to by third-party clients: pysunspec2's own, and mbpoll."""

import asyncio
import shutil
from collections.abc import AsyncIterator

import pytest
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP
from sunspec2.modbus.modbus import ModbusClientException

from controller.link.clock import Clock
from controller.utility.sunspec import SunSpecDoor
from controller.utility.sunspec_site import MODELS
from tests.sunspec_master import Book, Master, battery_site


@pytest.fixture
async def served() -> AsyncIterator[tuple[SunSpecDoor, Book]]:
    book = Book()
    door = SunSpecDoor(battery_site(), book, Clock())
    await door.start()
    yield door, book
    await door.close()


async def test_pysunspec2_scans_and_sets_a_power(served: tuple[SunSpecDoor, Book]) -> None:
    door, book = served
    client = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=door.port, timeout=5)

    def play() -> None:
        client.scan()
        client.connect()
        control = client.DERCtlAC[0]
        control.WSetEna.cvalue, control.WSetMod.cvalue, control.WSet.cvalue = 1, 1, -4200
        control.WSetRvrtTms.cvalue = 30
        control.write()
        control.read()
        client.disconnect()

    await asyncio.to_thread(play)
    assert [model.model_id for model in client.model_list] == list(MODELS)
    assert [model.error_info for model in client.model_list] == [""] * len(MODELS)
    control = client.DERCtlAC[0]
    assert (control.WSet.cvalue, control.WSetEna.value, control.WSetRvrtTms.value) == (-4200, 1, 30)
    assert control.WSetRvrtRem.value in (29, 30)
    order = book.orders["wset"]
    assert (order.low_w, order.high_w) == (-4200, -4200)
    assert order.expires_ms - order.starts_ms == 30_000
    assert book.calls == ["heard", "order wset", "heard", "order wset"]


async def test_pysunspec2_gets_the_exception_of_a_refused_write(served: tuple[SunSpecDoor, Book]) -> None:
    door, book = served
    client = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=door.port, timeout=5)

    def play() -> None:
        client.scan()
        client.connect()
        client.DERCtlAC[0].WSet.cvalue = 10_001
        try:
            with pytest.raises(ModbusClientException, match="exception: 3"):
                client.DERCtlAC[0].WSet.write()
        finally:
            client.disconnect()

    await asyncio.to_thread(play)
    assert "704.WSet" in book.notices["utility_bad_write"]


@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is not installed")
async def test_mbpoll_reads_the_marker_and_writes_a_set_point(served: tuple[SunSpecDoor, Book]) -> None:
    door, book = served

    async def mbpoll(*arguments: str) -> str:
        line = ["-m", "tcp", "-a", "1", "-0", "-t", "4", "-1", "-p", str(door.port), *arguments]
        process = await asyncio.create_subprocess_exec("mbpoll", *line, stdout=asyncio.subprocess.PIPE)
        output, _ = await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 0, output
        return output.decode()

    shown = await mbpoll("-r", "40000", "-c", "4", "127.0.0.1")
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("[4000")] == ["21365", "28243", "1", "66"]
    address = Master().points["704.WSetEna"][0]
    await mbpoll("-r", str(address), "127.0.0.1", "1", "1", "0", "2500")
    assert book.orders["wset"].high_w == 2500
