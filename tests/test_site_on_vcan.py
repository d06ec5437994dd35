"""The whole site with its battery on a CAN interface of the kernel; each test is skipped where it cannot be had."""

import logging
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest

from controller.journal import replay
from hil.clock import run_virtual
from hil.run.host import Host
from hil.run.lockstep import Lockstep, lockstep
from hil.vcan import MAKE_ONE, interface
from tests.test_site_runs import a_demo_site, faults, pulled, true_w, until

OWN = "vcan-linepack"  # of the tests that take it down or away
FOLLOWED_W = 3900


def ip(*words: str) -> str:
    """Run ip link and return what it has to complain."""
    try:
        return subprocess.run(["ip", "link", *words], capture_output=True, text=True, check=False).stderr.strip()
    except OSError as error:
        return f"ip: {error.strerror}"


def add_own() -> str:
    return ip("add", "dev", OWN, "type", "vcan") or ip("set", OWN, "up")


@pytest.fixture
def vcan() -> str:
    name = interface("auto")
    if name is None:
        pytest.skip(f"no vcan interface is up: {MAKE_ONE}")
    return name


@pytest.fixture
def own_vcan() -> Iterator[str]:
    complaint = add_own()
    if complaint:
        pytest.skip(f"no vcan interface can be made: {complaint}")
    yield OWN
    ip("del", OWN)


def play(folder: Path, can: str, story: Callable[[Lockstep], Awaitable[None]]) -> None:
    """Let the site follow an order, run the story, and replay the journal."""

    async def main() -> None:
        async with lockstep(a_demo_site(), folder) as bench:
            bench.plant.set("load_w", 4000)
            assert await bench.utility.ask(4000)
            await until(bench, lambda: true_w(bench) > FOLLOWED_W, within_s=2)
            await story(bench)

    with patch("hil.run.lockstep.Host", partial(Host, can=can)):
        run_virtual(main())
    assert replay(folder / "journal").first is None


async def asked_for(bench: Lockstep, seconds: int) -> None:
    for _ in range(seconds):
        assert await bench.utility.ask(4000)
        await bench.wait(1)


async def lost(bench: Lockstep, *named: str) -> None:
    """Check that the site stops and says why, and how the battery's link is told."""
    await asked_for(bench, 8)
    assert abs(true_w(bench)) < 60
    assert {"battery_stale", "link_down"} <= faults(bench)
    assert bench.service.decision is not None
    details = [fault.detail for fault in bench.service.decision.faults if fault.fault == "link_down"]
    assert any(name in detail for name in named for detail in details), details


async def found(bench: Lockstep) -> None:
    """Check that the site follows again by itself and has nothing left to complain of."""
    await asked_for(bench, 40)
    assert true_w(bench) > FOLLOWED_W
    assert faults(bench) == set()


def test_site_keeps_its_battery_over_a_minute_on_the_kernels_bus(
    tmp_path: Path, vcan: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def story(bench: Lockstep) -> None:
        await asked_for(bench, 70)  # longer than a BMS without a keepalive keeps its contactor closed
        assert bench.plant.battery("battery").closed
        assert true_w(bench) > FOLLOWED_W
        assert faults(bench) == set()

    play(tmp_path, vcan, story)
    assert not [record for record in caplog.records if record.name.startswith("can")], "the driver talks into the log"


def test_pulled_battery_on_the_kernels_bus_stops_the_unit_and_comes_back(tmp_path: Path, vcan: str) -> None:
    async def story(bench: Lockstep) -> None:
        plug_in = pulled(bench, "battery")
        await lost(bench, "no frame for 2500 ms")
        plug_in()
        await found(bench)

    play(tmp_path, vcan, story)


def test_interface_that_goes_down_is_named_and_the_site_is_back_when_it_is_up(tmp_path: Path, own_vcan: str) -> None:
    async def story(bench: Lockstep) -> None:
        assert ip("set", own_vcan, "down") == ""
        await lost(bench, "Network is down")
        assert ip("set", own_vcan, "up") == ""
        await found(bench)

    play(tmp_path, own_vcan, story)


def test_interface_that_is_taken_away_is_named_and_the_site_is_back_with_it(tmp_path: Path, own_vcan: str) -> None:
    async def story(bench: Lockstep) -> None:
        assert ip("del", own_vcan) == ""
        await lost(bench, f"no interface {own_vcan}", "No such device")
        assert add_own() == ""
        await found(bench)

    play(tmp_path, own_vcan, story)
