"""The plant as a whole: what is set holds, what flows adds up, and whoever looks from another process sees the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from controller.app.sitefile import load
from controller.model import Site
from hil.plant.inverter import SetPoint
from hil.plant.site import Plant
from hil.run.control import DemandError, ask
from hil.run.fit import plant_spec
from hil.run.serve import INPUTS, Served
from hil.scenario.draft import inputs_of
from hil.stage import DEMO_SITE
from tests.bench import LOOPBACK, QUIET, START_S, WAIT_S, a_plant

SET = {"load_w": 2345.0, "pv_w": 1234.0, "grid_hz": 50.125, "grid_v_pu": 1.025, "ambient_c": 31.5, "battery.soc": 0.375}


def a_site_of(count: int) -> Site:
    """Return the demo's site with so many units behind its meter."""
    site = load(DEMO_SITE)
    units = tuple(
        msgspec.structs.replace(site.unit[0], name=f"unit{n}", inverter=f"inverter{n}", battery=f"battery{n}")
        for n in range(count)
    )
    meter = next(device for device in site.device if device.name == site.poi.meter)
    devices = [
        msgspec.structs.replace(device, name=f"{device.name}{n}")
        for n in range(count)
        for device in site.device
        if device.name != site.poi.meter
    ]
    return msgspec.structs.replace(site, unit=units, device=(meter, *devices))


def commanded(plant: Plant, inverter: str, power_w: float) -> None:
    plant.inverter(inverter).set_point(SetPoint(enabled=True, power_w=power_w))


def test_what_is_set_holds_and_nothing_else_moves() -> None:
    plant = a_plant()
    before = plant.truth()
    assert (before.load_w, before.pv_w, before.grid_hz, before.grid_v) == (0, 0, 50, 230)
    for name, value in SET.items():
        plant.set(name, value)
    plant.advance(START_S + 5)
    truth = plant.truth()
    assert (truth.load_w, truth.pv_w) == pytest.approx((2345, 1234))
    assert (truth.grid_hz, truth.grid_v) == pytest.approx((50.125, 1.025 * 230))
    assert truth.units[0].soc == pytest.approx(0.375, abs=1e-4)
    assert plant.value("ambient_c") == 31.5
    assert (truth.units[0].command_w, truth.units[0].writes, truth.units[0].closed) == (0, 0, True)


@pytest.mark.parametrize(
    ("name", "error"),
    [("inverter_kw", KeyError), ("load", KeyError), ("poi_w", KeyError), ("battery.energy_wh", KeyError)]
    + [("battery2.soc", KeyError), ("inverter.soc", KeyError)],
)
def test_plant_knows_only_its_own_inputs(name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        a_plant().set(name, 1.0)


def test_power_at_the_meter_is_what_is_given_less_what_is_used() -> None:
    site = a_site_of(2)
    plant = Plant(plant_spec(site, {"local": {"ripple_w": 0}}), start_s=START_S)
    plant.set("load_w", 5000)
    plant.set("pv_w", 700)
    commanded(plant, "inverter0", 6000)
    commanded(plant, "inverter1", -1500)
    before = plant.truth()
    plant.advance(START_S + 30)
    truth = plant.truth()
    first, second = truth.units
    assert (first.ac_w, second.ac_w) == pytest.approx((6000, -1500), abs=1)
    assert truth.poi_w == pytest.approx(6000 - 1500 + 700 - 5000, abs=2)
    assert plant.meter("meter").power_w == pytest.approx(truth.poi_w, abs=1)
    assert first.soc < before.units[0].soc, "each inverter has its own battery"
    assert second.soc > before.units[1].soc
    assert first.pack_a * first.pack_v == pytest.approx(first.dc_w, rel=0.01)


def test_plant_stands_still_between_two_moments() -> None:
    plant = a_plant()
    commanded(plant, "inverter", 4000)
    plant.advance(START_S + 0.4)
    truth = plant.truth()
    plant.advance(START_S + 0.4)
    plant.advance(START_S)
    assert plant.truth() == truth


@pytest.mark.parametrize("looks_s", [0.01, 0.1, 0.37, 5.0])
def test_how_often_somebody_looks_makes_no_difference(looks_s: float) -> None:
    plant, seen = a_plant(), a_plant()
    for one in (plant, seen):
        one.set("load_w", 3000)
        commanded(one, "inverter", 4000)
    plant.advance(START_S + 10)
    now_s = START_S
    while now_s < START_S + 10:
        now_s = min(START_S + 10, now_s + looks_s)
        seen.advance(now_s)
    for name in ("poi_w", "inverter.ac_w", "battery.pack_v"):
        assert seen.value(name) == pytest.approx(plant.value(name), rel=1e-3)
    taken_wh = [15_000 - one.value("battery.energy_wh") for one in (plant, seen)]
    assert taken_wh[1] == pytest.approx(taken_wh[0], rel=0.02)
    assert taken_wh[0] == pytest.approx(4154 * 9.63 / 3600, rel=0.03)  # 0.2 s dead, tau 0.4 s / ln 10: 9.63 s of power


# --- from another process


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Served, int]]:
    """Serve the demo's site on free ports; give its control line's port."""
    site = Served(load(DEMO_SITE), changes=QUIET)
    await site.start()
    running = asyncio.create_task(site.run())
    try:
        yield site, site.control.port
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await site.close()


async def test_plant_is_shared_with_other_processes_by_its_control_line() -> None:
    async with served() as (site, port), asyncio.timeout(WAIT_S):
        assert set((await ask(LOOPBACK, port, {"do": "describe"}))["inputs"]) == {*INPUTS, *inputs_of(load(DEMO_SITE))}
        for name, value in SET.items():
            assert await ask(LOOPBACK, port, {"do": "set", "name": name, "value": value}) == {
                "name": name,
                "value": value,
            }
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(b'{"do": "watch", "every_s": 0.02}\n')
        while True:
            truth = msgspec.json.decode(await reader.readline())
            if truth["grid_hz"] == 50.125 and abs(truth["load_w"] - 2345) < 30:
                break
        writer.close()
        assert truth["grid_v"] == pytest.approx(1.025 * 230)
        assert truth["units"][0]["soc"] == pytest.approx(0.375, abs=1e-3)
        assert site.plant.value("battery.soc") == pytest.approx(0.375, abs=1e-3)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"something else\n", "JSON"),
        (b'{"do": "set", "name": "inverter_kw", "value": 1}\n', "allowed are load_w, pv_w"),
        (b'{"do": "dance"}\n', "allowed are describe, truth, set"),
        (b'{"do": "set", "name": "load_w", "value": "much"}\n', "float"),
        (b'{"do": "disarm", "number": 7}\n', "there is no fault 7"),
    ],
)
async def test_line_that_cannot_be_done_is_refused_and_the_next_is_heard(line: bytes, says: str) -> None:
    async with served() as (_, port), asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(line)
        assert says in msgspec.json.decode(await reader.readline())["error"]
        writer.write(b'{"do": "truth"}\n')
        assert "poi_w" in msgspec.json.decode(await reader.readline())
        writer.close()


async def test_fault_is_armed_and_healed_by_the_control_line() -> None:
    async with served() as (site, port), asyncio.timeout(WAIT_S):
        armed = await ask(LOOPBACK, port, {"do": "arm", "fault": {"do": "refuse", "on": "meter"}})
        with pytest.raises(OSError):
            await asyncio.open_connection(LOOPBACK, site.host.ports["meter"])
        (row,) = await ask(LOOPBACK, port, {"do": "faults"})
        assert (row["active"], row["effects"], row["fault"]["on"]) == (True, 1, "meter")
        await ask(LOOPBACK, port, {"do": "disarm", "number": armed["number"]})
        _, writer = await asyncio.open_connection(LOOPBACK, site.host.ports["meter"])
        writer.close()
        with pytest.raises(DemandError, match="no parameter"):
            await ask(LOOPBACK, port, {"do": "arm", "fault": {"do": "refuse", "on": "meter", "with": {"x": 1}}})
