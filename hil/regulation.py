"""Follow a recorded regulation signal in lockstep and say how well, and when and why not.

The recording is CAISO's dispatch of a 100 MW battery (hil 3; LBNL SynAS, BSD-style): one set point every 4 s from 18:00
to 22:00, in percent of rated, positive = discharge. It is scaled to the site.
"""

import argparse
import asyncio
import csv
import gzip
import sys
import tempfile
from collections import Counter
from pathlib import Path

import msgspec

from controller.app.sitefile import load
from controller.model import Site
from hil.clock import run_virtual
from hil.plant.truth import Truth
from hil.run.lockstep import Lockstep, lockstep
from hil.score import SAMPLE_S, pjm_score, rms
from hil.stage import DEMO_SITE

STEP_S = 4
FIRST_SAMPLE_S = 1.0  # samples at odd seconds never fall on an edge of a 4 s signal
START_SOC = 0.6


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """One day. Errors are shares of rated power; counted is the share of time in which the energy allowed it."""

    day: str
    score: float
    reference: float
    rms_error_pu: float
    counted: float
    energy_low_wh: float
    energy_high_wh: float
    reserve_wh: float
    floor_wh: float
    ceiling_wh: float
    refused_s: dict[str, int]
    decisions: int


class _Sample(msgspec.Struct):
    asked_w: float
    delivered_w: float
    counted: bool


def signal(path: Path, day: str) -> list[float]:
    """Return one day's set points per unit of rated power."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        return [float(row[day]) / 100 for row in csv.DictReader(file)]


def front_of_meter(site: Site) -> Site:
    """Return the site with an interconnection that never binds: here the energy is the story."""
    poi = msgspec.structs.replace(site.poi, import_max_w=30_000, export_max_w=30_000)
    return msgspec.structs.replace(site, poi=poi)


def follow(path: Path, day: str, length_s: float = 14_400) -> Followed:
    """Run one day in lockstep."""
    points = signal(path, day)[: int(length_s / STEP_S)]
    with tempfile.TemporaryDirectory(prefix="linepack-") as folder:
        return run_virtual(_follow(front_of_meter(load(DEMO_SITE)), Path(folder), day, points))


async def _follow(site: Site, folder: Path, day: str, points: list[float]) -> Followed:
    rated_w = sum(unit.discharge_max_w for unit in site.unit)
    samples: list[_Sample] = []
    refused: Counter[str] = Counter()
    energies: list[float] = []
    async with lockstep(site, folder) as bench:
        for unit in site.unit:
            for battery in unit.batteries:
                bench.plant.set(f"{battery}.soc", START_SOC)
        await bench.wait(2.0)
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        for number, point in enumerate(points):
            asked_w = round(point * rated_w)
            assert await bench.utility.ask(asked_w), "the site refused a set point within its rating"
            for offset_s in (FIRST_SAMPLE_S, FIRST_SAMPLE_S + 2):
                await asyncio.sleep(begun_s + number * STEP_S + offset_s - loop.time())
                truth = bench.plant.truth()
                energies.append(_energy_wh(truth))
                samples.append(_Sample(asked_w, sum(unit.ac_w for unit in truth.units), _allowed(site, truth, asked_w)))
                _count(bench, refused)
            await asyncio.sleep(begun_s + (number + 1) * STEP_S - loop.time())
        decision = bench.service.decision
        assert decision is not None
        decisions = bench.service.decisions
    return _result(site, day, samples, energies, refused, decisions)


def _count(bench: Lockstep, refused: Counter[str]) -> None:
    decision = bench.service.decision
    if decision is not None and any(unmet.rule == "follow" for unmet in decision.unmet):
        refused[decision.why] += 2


def _energy_wh(truth: Truth) -> float:
    return sum(unit.energy_wh for unit in truth.units)


def _allowed(site: Site, truth: Truth, asked_w: int) -> bool:
    """Return whether the true energy, less the declared error of its estimate, allowed what was asked."""
    energy, true_wh = site.energy, _energy_wh(truth)
    full_wh = sum(unit.capacity_wh for unit in site.unit)
    quantum_wh = full_wh / 10_000
    error_wh = full_wh * energy.soc_error_pct / 100 + quantum_wh
    keep_wh = full_wh * max(energy.floor_pct, energy.reserve_pct) / 100
    above_wh = (true_wh - error_wh - keep_wh) * site.unit[0].efficiency_pct / 100
    below_wh = full_wh * energy.ceiling_pct / 100 - error_wh - true_wh
    return -below_wh * 3600 / energy.taper_s <= asked_w <= above_wh * 3600 / energy.taper_s


def _result(
    site: Site, day: str, samples: list[_Sample], energies: list[float], refused: Counter[str], decisions: int
) -> Followed:
    rated_w = sum(unit.discharge_max_w for unit in site.unit)
    full_wh = sum(unit.capacity_wh for unit in site.unit)
    tens = samples[:: SAMPLE_S // 2]
    asked = [s.asked_w / rated_w for s in tens]
    counted = [s.counted for s in tens]
    ours = pjm_score(asked, [s.delivered_w / rated_w for s in tens], counted)
    # The ideal follower delivers what was asked exactly and at once wherever the energy allowed it.
    ideal = pjm_score(asked, asked, counted)
    kept = [s for s in samples if s.counted]
    return Followed(
        day=day,
        score=0.0 if ours is None else ours.total,
        reference=0.0 if ideal is None else ideal.total,
        rms_error_pu=rms([s.asked_w / rated_w for s in kept], [s.delivered_w / rated_w for s in kept]),
        counted=len(kept) / len(samples),
        energy_low_wh=min(energies),
        energy_high_wh=max(energies),
        reserve_wh=full_wh * site.energy.reserve_pct / 100,
        floor_wh=full_wh * site.energy.floor_pct / 100,
        ceiling_wh=full_wh * site.energy.ceiling_pct / 100,
        refused_s=dict(refused),
        decisions=decisions,
    )


def main() -> int:
    """Follow the days named and print one JSON line each."""
    parser = argparse.ArgumentParser(prog="python -m hil.regulation", description=__doc__)
    parser.add_argument("file", type=Path, help="caiso_agc_4s_2016_04_05.csv.gz")
    parser.add_argument("day", nargs="+", help="a column of the file, such as 2016-04-29")
    parser.add_argument("--length-s", type=float, default=14_400)
    asked = parser.parse_args()
    for day in asked.day:
        sys.stdout.write(msgspec.json.encode(follow(asked.file, day, asked.length_s)).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
