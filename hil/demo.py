"""The demo: a battery site on real protocol frames, told as a story, judged on the plant's true state.

The utility's client, the judge and the view live in this process; the controller and the devices each in one of their
own (stage.py).
"""

import asyncio
import math
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
from rich.console import Console

from controller.app import sitefile
from controller.link.clock import Clock
from controller.model import Site
from hil.children import ChildError, SetupError, stopped_by_signals, unless, used
from hil.commands import FAILED, HELD, NO_SETUP
from hil.report import page
from hil.show import ENDLESS_S, Show
from hil.stage import DEMO_SITE, Stage, battery_url, check_ports, stage
from hil.story import Stimulus, tell
from hil.summary import Summary, encode, passed
from hil.vcan import interface
from hil.view import closing

PLAIN_CELLS = 130


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for. duration_s 0 = until stopped."""

    duration_s: float
    summary: Path | None = None
    report: Path | None = None
    workdir: Path | None = None
    live: bool = True
    can: str = "auto"


def run(options: Options) -> int:
    """Run the demo and tell how it went. Return 0 if it passed, 1 if it failed, 2 if it could not be set up."""
    try:
        return asyncio.run(_run(options, _console()))
    except SetupError as error:
        print(f"linepack-hil demo: {error}", file=sys.stderr)
        return NO_SETUP
    except ChildError as error:
        print(f"linepack-hil demo: {error}", file=sys.stderr)
        return FAILED


def _console() -> Console:
    """Return the terminal; anything else that is written to has room for the tables."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_CELLS)


async def _run(options: Options, console: Console) -> int:
    """Set the stage, play, clear the stage, tell."""
    can = interface(options.can)
    check_ports(can)
    site, folder, clock = _site(), _folder(options), Clock()
    story = tell(options.duration_s or ENDLESS_S, site)
    opening = [one for one in story.due(-math.inf, 0.0) if isinstance(one, Stimulus)]
    report = options.report or folder / "report.html"
    _can_be_written(report, options.summary)
    console.print(f"setting the stage in {folder}, the battery on {battery_url(can)} ...", highlight=False)
    if 0 < options.duration_s < story.length_s - 0.05:
        console.print(f"the story takes {story.length_s:.0f} s: the site's own times need them", highlight=False)
    with stopped_by_signals() as stop:
        async with AsyncExitStack() as stack:
            on = await unless(stop, stack.enter_async_context(stage(folder, site, opening, clock, can)))
            if on is None:
                console.print("stopped before it began")
                return FAILED
            before = used(on.controller.process.pid)
            show = Show(on, story, clock, endless=options.duration_s <= 0)
            await show.play(stop, console, live=options.live)
            after = used(on.controller.process.pid)
            cpu_s = None if before is None or after is None else after.cpu_s - before.cpu_s
            summary = _summary(show, on, options, cpu_s, report)
    _write(summary, show, site, options)
    console.print(closing(summary), highlight=False)
    return summary.exit_code


def _summary(show: Show, on: Stage, options: Options, cpu_s: float | None, report: Path) -> Summary:
    endless = options.duration_s <= 0
    outcomes, verdicts = show.outcomes(), show.judge.verdicts()
    return Summary(
        site=on.site.name,
        asked_duration_s=options.duration_s,
        played_s=show.played_s,
        interrupted=show.interrupted,
        exit_code=HELD if passed(outcomes, verdicts, endless=endless) else FAILED,
        outcomes=outcomes,
        verdicts=verdicts,
        figures=show.figures(cpu_s),
        report=str(report),
        journal=str(on.journal),
        picture=show.picture,
    )


def _write(summary: Summary, show: Show, site: Site, options: Options) -> None:
    """Write the report and the summary. Raises SetupError where a file cannot be written."""
    try:
        Path(summary.report).write_text(page(summary, site, show.points), encoding="utf-8")
        if options.summary is not None:
            options.summary.write_bytes(encode(summary))
    except OSError as error:
        raise SetupError(f"cannot write {error.filename}: {error.strerror}") from error


def _can_be_written(*files: Path | None) -> None:
    """Check before the run what would be lost after it. Raises SetupError."""
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise SetupError(f"{file} cannot be written: there is no folder {file.parent}")


def _site() -> Site:
    try:
        return sitefile.load(DEMO_SITE)
    except sitefile.SiteError as error:
        raise SetupError(f"the demo's site file {DEMO_SITE} cannot be read: {error}") from error


def _folder(options: Options) -> Path:
    """Return the folder of the run: the one asked for, or a new one among the temporary files."""
    try:
        if options.workdir is None:
            return Path(tempfile.mkdtemp(prefix="linepack-demo-"))
        options.workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"no folder for the run: {error}") from error
    return options.workdir
