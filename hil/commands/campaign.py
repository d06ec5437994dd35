"""linepack-hil campaign: play random faults by seed; a seed that fails is shrunk and written as a scenario."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from controller.app import sitefile
from controller.app.sitefile import SiteError
from controller.model import Site
from hil.campaign.draw import draw
from hil.campaign.pairs import pairs
from hil.campaign.shrink import shrunk
from hil.commands import FAILED, HELD, NO_SETUP
from hil.commands.run import line, told_on
from hil.run.outcome import Outcome
from hil.run.runner import NO_TRACE, Job, run_all
from hil.scenario.load import dump
from hil.scenario.words import Scenario
from hil.stage import DEMO_SITE

SEEDS = 20
SITES = DEMO_SITE.resolve().parent


def arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("--seeds", type=int, default=SEEDS, help="so many")
    parser.add_argument("--pairs", action="store_true", help="in place of seeds: each fault in each state of a site")
    parser.add_argument("--first", type=int, default=1, metavar="SEED", help="the first of them")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the site's time, for each seed")
    parser.add_argument("--mode", choices=("lockstep", "model"), default="lockstep")
    parser.add_argument("--site", type=Path, default=DEMO_SITE, help="a site file; left out = the demo's")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="so many side by side")
    parser.add_argument("--out", type=Path, default=Path("out/campaign"), help="where scenarios of failing seeds go")
    parser.add_argument("--no-shrink", action="store_true", help="write failing seeds as they are")
    parser.add_argument("--json", action="store_true", help="one JSON object a run, a line each, and nothing else")


def run(chosen: Namespace) -> int:
    """Play all seeds and tell what failed."""
    try:
        site = sitefile.load(chosen.site)
    except SiteError as error:
        print(error, file=sys.stderr)
        return NO_SETUP
    try:
        jobs = _pairs(chosen) if chosen.pairs else _seeds(chosen, site)
    except ValueError as error:
        print(f"--minutes: {error}", file=sys.stderr)
        return NO_SETUP
    console = told_on(chosen.json)
    begun_s = perf_counter()
    failed = [job for job, outcome in _played(jobs, chosen, console) if not outcome.held]
    hours = sum(job.scenario.length_s for job in jobs) / 3600
    took_s = perf_counter() - begun_s
    console.print(f"{len(jobs) - len(failed)} of {len(jobs)} held; {hours:.0f} h of sites in {took_s:.0f} s")
    for job in failed:
        _write(job, chosen, console)
    return FAILED if failed else HELD


def _seeds(chosen: Namespace, site: Site) -> list[Job]:
    inside = chosen.site.resolve().parent == SITES
    name = chosen.site.stem if inside else str(chosen.site.resolve())
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    drawn = (draw(seed, site, name, length_s=60 * chosen.minutes, mode=chosen.mode) for seed in seeds)
    return [Job(scenario=scenario, site=site, mode=chosen.mode) for scenario in drawn]


def _pairs(chosen: Namespace) -> list[Job]:
    sites = {path.stem: sitefile.load(path) for path in sorted(SITES.glob("*.toml"))}
    return [Job(scenario=one, site=sites[one.site], mode=chosen.mode) for one in pairs(sites, chosen.mode)]


def _played(jobs: list[Job], chosen: Namespace, console: Console) -> Iterator[tuple[Job, Outcome]]:
    done = 0
    with Live(console=console, transient=True, auto_refresh=False) as live:
        for job, outcome in run_all(jobs, workers=max(1, chosen.jobs), now_s=perf_counter):
            done += 1
            if chosen.json:
                print(msgspec.json.encode(msgspec.structs.replace(outcome, trace=NO_TRACE)).decode(), flush=True)
            elif not outcome.held or not console.is_terminal:
                live.console.print(line(outcome), highlight=False)
            live.update(Text(f"{done}/{len(jobs)}"), refresh=True)
            yield job, outcome


def _write(job: Job, chosen: Namespace, console: Console) -> None:
    """Find the smallest part of a failing scenario that still fails, and write it."""
    tries = 0

    def fails(scenario: Scenario) -> bool:
        nonlocal tries
        tries += 1
        again = msgspec.structs.replace(job, scenario=scenario)
        return any(not outcome.held for _, outcome in run_all([again], workers=1, now_s=perf_counter))

    smallest = job.scenario if chosen.no_shrink else shrunk(job.scenario, fails)
    chosen.out.mkdir(parents=True, exist_ok=True)
    path = chosen.out / f"{smallest.id}.toml"
    path.write_text(dump(smallest), "utf-8")
    faults = ", ".join(f"{fault.id} on {fault.on}" for fault in smallest.fault) or "no fault at all"
    console.print(f"{path}: {faults}; found in {tries} runs", highlight=False)
