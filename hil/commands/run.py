"""linepack-hil run: play scenarios and judge them."""

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

from hil.commands import FAILED, HELD, NO_SETUP
from hil.run.mutants import MUTANTS
from hil.run.outcome import Mode, Outcome
from hil.run.runner import Job, Progress, run_all
from hil.scenario.load import ScenarioError, find, load
from hil.scenario.site import site
from hil.scenario.words import Scenario

SCENARIOS = Path(__file__).parent.parent / "scenarios"
PLAIN_CELLS = 200
LINES_MOST = 12  # of what is wrong with one run
MODES: tuple[Mode, ...] = ("lockstep", "model", "real")


def arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("words", nargs="*", metavar="WHAT", help="ids, folders, tags, or .toml files; none = all")
    parser.add_argument("--root", type=Path, default=SCENARIOS, help="where the scenarios are")
    parser.add_argument("--mode", choices=(*MODES, "all"), default="lockstep", help="all: lockstep and model")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="so many side by side")
    parser.add_argument("--seed", type=int, help="in place of each scenario's own")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), default="", help="leave this piece of physics out")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave journals and results here")
    parser.add_argument("--json", action="store_true", help="one JSON object a run, a line each, and nothing else")


def run(chosen: Namespace) -> int:
    """Run the chosen scenarios and tell how each went."""
    try:
        found = list(chosen_of(chosen.root, chosen.words))
    except ScenarioError as error:
        print(error, file=sys.stderr)
        return NO_SETUP
    if chosen.mutant and chosen.mode == "real":
        print("a mutant runs in lockstep and model mode only", file=sys.stderr)
        return NO_SETUP
    jobs = list(_jobs(found, chosen))
    if not jobs:
        print(f"none of these scenarios is for mode {chosen.mode}", file=sys.stderr)
        return NO_SETUP
    console = told_on(chosen.json)
    begun_s = perf_counter()
    outcomes = list(_told(jobs, chosen, console))
    failed = [one for one in outcomes if not one.held]
    if not chosen.json:
        virtual_s = sum(one.length_s for one in outcomes)
        took_s = perf_counter() - begun_s
        console.print(
            f"{len(outcomes) - len(failed)} of {len(outcomes)} held; "
            f"{virtual_s / 60:.0f} minutes of sites in {took_s:.0f} s",
            highlight=False,
        )
    return FAILED if failed else HELD


def chosen_of(root: Path, words: list[str]) -> Iterator[tuple[Path, Scenario]]:
    """Yield files and scenarios by id, folder, tag or path. Raises ScenarioError."""
    files = [Path(word) for word in words if word.endswith(".toml")]
    for file in files:
        yield file, load(file)
    names = [word for word in words if not word.endswith(".toml")]
    if names or not files:
        yield from find(root, names)


def _jobs(found: list[tuple[Path, Scenario]], chosen: Namespace) -> Iterator[Job]:
    for path, scenario in found:
        changed = scenario if chosen.seed is None else msgspec.structs.replace(scenario, seed=chosen.seed)
        for mode in MODES if chosen.mode == "all" else (chosen.mode,):
            if mode in scenario.modes and (mode != "real" or chosen.mode == "real"):
                folder = str(chosen.keep / f"{scenario.id}-{mode}") if chosen.keep else ""
                yield Job(
                    scenario=changed, site=site(scenario, path.parent), mode=mode, mutant=chosen.mutant, folder=folder
                )


def _told(jobs: list[Job], chosen: Namespace, console: Console) -> Iterator[Outcome]:
    """Run the jobs, with a line of progress on a terminal, and tell of each as it ends."""
    at: dict[str, Progress] = {}
    done = 0
    lengths_s = {job.scenario.id: job.scenario.length_s for job in jobs}

    def tell(progress: Progress) -> None:
        at[progress.scenario] = progress
        now = "  ".join(f"{name} {100 * one.t_s / lengths_s[name]:.0f} % {one.waits_for}" for name, one in at.items())
        live.update(Text(f"{done}/{len(jobs)}  {now}"), refresh=True)

    with Live(console=console, transient=True, auto_refresh=False) as live:
        for job, outcome in run_all(jobs, workers=max(1, chosen.jobs), now_s=perf_counter, tell=tell):
            done += 1
            at.pop(job.scenario.id, None)
            if job.folder:
                Path(job.folder, "outcome.json").write_bytes(msgspec.json.encode(outcome))
            if chosen.json:
                print(msgspec.json.encode(outcome).decode(), flush=True)
            else:
                live.console.print(line(outcome), highlight=False)
            yield outcome


def told_on(as_json: bool) -> Console:
    """Return where people are told: the terminal; anything else has room for whole lines."""
    console = Console(stderr=as_json)
    return console if console.is_terminal else Console(stderr=as_json, width=PLAIN_CELLS)


def line(outcome: Outcome) -> Text:
    """Return what is to be told of one run: one line, and what was wrong."""
    mutant = f" without {outcome.mutant}" if outcome.mutant else ""
    text = Text.assemble(
        ("held   ", "green") if outcome.held else ("FAILED ", "red"),
        f"{outcome.scenario} ({outcome.mode}{mutant}): {outcome.title}",
    )
    for wrong in outcome.wrong[:LINES_MOST]:
        text.append(f"\n         {wrong}")
    if len(outcome.wrong) > LINES_MOST:
        text.append(f"\n         and {len(outcome.wrong) - LINES_MOST} more")
    return text
