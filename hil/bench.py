"""`make bench`: the figures that have a bar, side by side in one run. Machines are noisy: look at the ratios."""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from controller.app.sitefile import load, profile
from controller.link.clock import Clock
from controller.link.modbus import ModbusLine
from controller.link.modbus_server import Request
from controller.link.sunspec import SunSpecLink
from controller.model import (
    AnyReading,
    FaultName,
    Site,
)
from hil.bench_battery import cell_figures
from hil.bench_engine import fold_us, step_us
from hil.bench_process import measure
from hil.bench_share import share_figures
from hil.children import HOST
from hil.clock import run_virtual
from hil.devices import InverterDevice
from hil.devices.modbus import Answer
from hil.judge import Judge
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from hil.run.lockstep import lockstep
from hil.run.model import Model, profiled
from hil.stage import DEMO_SITE

LOCKSTEP_S = 600.0  # virtual
MODEL_S = 6 * 3600.0
ASKED_W = (3000, -2000)  # in turn
ASKED_EVERY_S = 4.0


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. held is None where the line is there for comparison only."""

    what: str
    measured: str
    bar: str
    held: bool | None


# -- engine -------------------------------------------------------------------------------------------------------


def engine_figures() -> list[Figure]:
    """Time folds and steps; see bench_engine."""
    rows = [
        _figure("fold of 10 limits, p50", _percentile(fold_us(10), 50), "us", 10),
        _figure("fold of 100 limits, p50", _percentile(fold_us(100), 50), "us", 40),
    ]
    for units, bar_us in ((10, 300), (100, 1000)):
        some, every, nobody = step_us(units, 5), step_us(units, 1), step_us(units, None)
        what = f"one step, {units} units of which a fifth tells news, p99"
        rows.append(_figure(what, _percentile(some, 99), "us", bar_us))
        what = f"one step, {units} units, where the meter alone tells news, p99"
        rows.append(_figure(what, _percentile(nobody, 99), "us", bar_us))
        all_tell = f"{_percentile(every, 50):.0f} us where all tell, p99 {_percentile(every, 99):.0f}"
        beside = f"{_percentile(some, 50):.0f} us; {all_tell}"
        rows.append(Figure(what="  the same, p50", measured=beside, bar="", held=None))
    return rows


# -- discovery ----------------------------------------------------------------------------------------------------


class _Inbox:
    """Ends the wait with the first reading."""

    def __init__(self) -> None:
        self.first = asyncio.Event()

    def heard(self, reading: AnyReading) -> None:
        self.first.set()

    def noticed(self, fault: FaultName, device: str, detail: str | None) -> None:
        """Take no note."""


class _Counter:
    """Counts the requests that reach a device."""

    def __init__(self) -> None:
        self.requests = 0

    def asked(self, request: Request) -> Request:
        self.requests += 1
        return request

    def answered(self, request: Request, answer: Answer) -> Answer:
        return answer


async def _requests_to_first_reading() -> tuple[int, int]:
    plant = Plant(plant_spec(load(DEMO_SITE)), start_s=asyncio.get_running_loop().time())
    device, counter = InverterDevice(plant, "inverter"), _Counter()
    device.hooks.append(counter)
    await device.start(HOST, 0)
    line, inbox = ModbusLine(HOST, device.port), _Inbox()
    link = SunSpecLink(
        line, 1, "inverter", profile("inverters/sunspec_der"), poll_ms=60_000, inbox=inbox, clock=Clock()
    )
    task = asyncio.create_task(link.run())
    await asyncio.wait_for(inbox.first.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    ours, counter.requests = counter.requests, 0
    await asyncio.to_thread(_scan, device.port)
    await device.close()
    return ours, counter.requests


def _scan(port: int) -> None:
    from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

    client = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr=HOST, ipport=port, timeout=5)
    client.scan()
    client.close()


def discovery_figures() -> list[Figure]:
    """Count the requests until the first reading of the emulated 14-model device."""
    ours, theirs = asyncio.run(_requests_to_first_reading())
    return [
        _figure("SunSpec discovery and first read, 14 models", ours, "requests", 20),
        Figure(what="pysunspec2 scan() of the same device", measured=f"{theirs} requests", bar="", held=None),
    ]


# -- lockstep and model --------------------------------------------------------------------------------------------


def lockstep_figures() -> list[Figure]:
    """Time sites in lockstep with a new set point every few seconds."""
    demo = load(DEMO_SITE)
    return [
        _factor("lockstep with frames, demo site, 1 s cycle", _lockstep_factor(demo), 120),
        _factor("lockstep, 2 inverters, meter, a CAN battery each, 1 s cycle", _lockstep_factor(_two_units(demo)), 100),
    ]


def model_figures() -> list[Figure]:
    """Time the demo site without frames: every device read once a second, the judge looking on."""
    site = profiled(load(DEMO_SITE), 1000)
    plant = Plant(plant_spec(site), start_s=0.0, moving_s=1.0)
    bench, judge = Model(site, plant), Judge(site)

    def tick(now_s: float) -> None:
        bench.utility.wish.set_w = _asked_w(now_s)
        plant.order_w = bench.utility.order_w
        judge.sample(plant.truth())

    begun_s = time.perf_counter()
    bench.run(MODEL_S, tick, tick_s=1.0)
    return [_factor("model, demo site, 1 s cycle, judged", MODEL_S / (time.perf_counter() - begun_s), 5000)]


def _lockstep_factor(site: Site) -> float:
    async def main(folder: Path) -> float:
        async with lockstep(site, folder) as bench:
            begun_s, end_s = time.perf_counter(), bench.loop.time() + LOCKSTEP_S
            while bench.loop.time() < end_s:
                await bench.utility.ask(_asked_w(bench.loop.time()))
                await bench.wait(ASKED_EVERY_S)
            return LOCKSTEP_S / (time.perf_counter() - begun_s)

    with tempfile.TemporaryDirectory(prefix="linepack-") as folder:
        return run_virtual(main(Path(folder)))


def _asked_w(now_s: float) -> int:
    return ASKED_W[int(now_s / ASKED_EVERY_S) % len(ASKED_W)]


def _two_units(site: Site) -> Site:
    """Return the site with a second unit of the same kind beside the first."""
    unit = site.unit[0]
    names = {unit.inverter: "inverter2", unit.batteries[0]: "battery2"}
    second = msgspec.structs.replace(unit, name="second", inverter="inverter2", battery="battery2")
    more = (msgspec.structs.replace(one, name=names[one.name]) for one in site.device if one.name in names)
    return msgspec.structs.replace(site, unit=(unit, second), device=(*site.device, *more))


# -- battery ------------------------------------------------------------------------------------------------------


def battery_figures() -> list[Figure]:
    """Time the emulated battery and hold it against recorded cells; see bench_battery."""
    return [
        Figure(what=what, measured=measured, bar=f"<= {bar}" if bar else "", held=held)
        for what, measured, bar, held in cell_figures()
    ]


# -- the table ----------------------------------------------------------------------------------------------------


def process_figures() -> list[Figure]:
    """Run the product as a process; see bench_process."""
    got = measure()
    whole_us, bare_us = _percentile(got.whole_us, 50), _percentile(got.bare_us, 50)
    return [
        _figure(
            "utility write acknowledged -> register written, p99", _percentile(got.after_ack_us, 99) / 1000, "ms", 10
        ),
        Figure(
            what="utility write sent -> register written, p50, beside a bare socket pair",
            measured=f"{whole_us:.0f} us, {bare_us:.0f} us bare: {whole_us / bare_us:.2f} x",
            bar="<= 3 x",
            held=whole_us <= 3 * bare_us,
        ),
        _figure("limit cut on CAN -> inverter's register written, p99", _percentile(got.cut_us, 99) / 1000, "ms", 20),
        _figure("controller resident", got.resident_mb, "MB", 80),
        _figure("controller share of one core on the demo site", got.cpu_pct, "%", 5),
        _figure("process start -> first safe control, devices answering", got.start_s, "s", 2),
    ]


def _timed_us(work: Callable[[], object]) -> float:
    begun_ns = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - begun_ns) / 1000


def _percentile(values: list[float], rank_pct: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[rank_pct - 1]


def _factor(what: str, factor: float, least: float) -> Figure:
    return Figure(what=what, measured=f"{factor:.0f} x real time", bar=f">= {least:g}", held=factor >= least)


def _figure(what: str, value: float, unit: str, most: float) -> Figure:
    shown = f"{value:.0f}" if value >= 100 or isinstance(value, int) else f"{value:.2f}"
    return Figure(what=what, measured=f"{shown} {unit}", bar=f"<= {most:g} {unit}", held=value <= most)


def share_rows() -> list[Figure]:
    """Time the sharing over many units beside a peer; see bench_share."""
    return [Figure(what=what, measured=measured, bar=bar, held=held) for what, measured, bar, held in share_figures()]


PARTS: Mapping[str, Callable[[], list[Figure]]] = {
    "engine": engine_figures,
    "share": share_rows,
    "discovery": discovery_figures,
    "lockstep": lockstep_figures,
    "model": model_figures,
    "battery": battery_figures,
    "process": process_figures,
}


def figures(parts: list[str]) -> Iterator[Figure]:
    """Measure, part by part."""
    for part in parts or PARTS:
        print(f"measuring: {part} ...", file=sys.stderr, flush=True)
        yield from PARTS[part]()


def main() -> int:
    """Print the table; exit 1 where a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m hil.bench", description=__doc__)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = list(figures(asked.part))
    wide = max(len(row.what) for row in rows)
    for row in rows:
        mark = {True: "held", False: "MISSED", None: ""}[row.held]
        print(f"{row.what:<{wide}}  {row.measured:<40} {row.bar:<14} {mark}")
    if asked.json:
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows)))
    return int(any(row.held is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
