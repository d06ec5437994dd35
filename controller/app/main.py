"""The command line: linepack check | init | commission | run | clear | replay | explain."""

import asyncio
import gc
import logging
import os
import signal
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from controller.app import commissioning, systemd
from controller.app.blank import blank
from controller.app.sitefile import SiteError, load
from controller.app.sole import TakenError, sole
from controller.app.summary import summary
from controller.link import LinkError
from controller.link.clock import Clock
from controller.model import Commission, Site, State

EXIT_WRONG = 1
EXIT_USAGE = 2  # as argparse has it
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h: systemd does not restart on it
CLEARED = "cleared"  # a file beside the journal's segments: a person has looked at the faults that latched


def check(args: Namespace) -> int:
    """Print every problem of a site file, or what was understood of it."""
    site = _load(args.site)
    if site is None:
        return EXIT_WRONG
    print(f"{args.site}: no problem found\n{summary(site)}")
    return 0


def init(args: Namespace) -> int:
    """Write a commented site file; never over one that exists."""
    text = blank()
    try:
        with args.file.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        print(f"{args.file}: exists already and was left as it is; name another file", file=sys.stderr)
        return EXIT_WRONG
    except OSError as error:
        print(f"{args.file}: could not be written: {error.strerror}", file=sys.stderr)
        return EXIT_WRONG
    print(f"{args.file}: written. Edit it, then: linepack check {args.file}")
    return 0


def commission(args: Namespace) -> int:
    """Record that a person saw the site's devices obey: only then anything is written to them."""
    site = _load(args.site)
    if site is None:
        return EXIT_WRONG
    by = args.by.strip()
    if not by or not by.isprintable():
        print("--by: read nothing, or what cannot be printed; allowed: the name of whoever saw them", file=sys.stderr)
        return EXIT_WRONG
    print(f"{args.site}: the controller may write to these devices, within these ratings and limits:")
    print(commissioning.permits(site))
    try:
        place = commissioning.record(args.site, by=by, utc_ms=Clock().utc_ms())
    except OSError as error:
        print(f"{error.filename}: could not be written: {error.strerror}; nothing was recorded", file=sys.stderr)
        return EXIT_WRONG
    print(f"{place}: written for {by}. It holds from the next start on, until devices, units or ratings change")
    return 0


def run(args: Namespace) -> int:
    """Run the site until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    site = _load(args.site)
    if site is None:
        return EXIT_CONFIG
    try:
        with sole(site, args.site.parent):
            asyncio.run(_run(site, args.site.parent, _record(args.site)))
    except (LinkError, TakenError) as error:
        print(f"linepack run: {error}", file=sys.stderr)
        return EXIT_WRONG
    return 0


async def _run(site: Site, base: Path, record: Commission | None) -> None:
    from controller.app.service import Service, serve  # drivers take long to load; no other command needs them

    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    gc.set_threshold(20_000)  # values here make no cycles: look for them seldom, not in the way of a command
    gc.collect()
    gc.freeze()  # a full collection of what was loaded until here would stop a cycle for some 10 ms, for nothing
    service = Service(site, base, state=_last_state(site, base), commission=record, notify=systemd.notify)
    await serve(service, stop)
    systemd.notify("STOPPING=1")


def _record(site_file: Path) -> Commission | None:
    """Return the commissioning record. One that cannot be used is told and counts as none: the site keeps silent."""
    try:
        return commissioning.read(site_file)
    except SiteError as error:
        for problem in error.problems:
            logging.getLogger("linepack").error("%s: %s", commissioning.record_file(site_file), problem)
        return None


def _last_state(site: Site, base: Path) -> State | None:
    """Return what the last run leaves to this one, without the latched faults a person has let go of."""
    from controller.journal import JournalError, last_state

    log, directory = logging.getLogger("linepack"), base / site.journal.directory
    try:
        state = last_state(directory)
    except JournalError as error:
        log.info("nothing is taken over from the last run: %s", error)
        return None
    try:
        (directory / CLEARED).unlink()
    except FileNotFoundError:
        return state
    except OSError as error:
        log.error("the latched faults stay: %s could not be removed: %s", directory / CLEARED, error.strerror)
        return state
    log.info("the faults that latched in the last run were let go of")
    return None if state is None else msgspec.structs.replace(state, standing=())


def clear(args: Namespace) -> int:
    """Let go of the faults that latched, at the next start: a person has looked at what caused them."""
    site = _load(args.site)
    if site is None:
        return EXIT_WRONG
    mark = args.site.parent / site.journal.directory / CLEARED
    try:
        mark.touch()
    except FileNotFoundError:
        print(f"{mark.parent}: there is no journal yet, so nothing has latched", file=sys.stderr)
        return EXIT_WRONG
    except OSError as error:
        print(f"{mark}: could not be written: {error.strerror}; nothing was let go of", file=sys.stderr)
        return EXIT_WRONG
    print("the latched faults are let go of at the next start; restart the controller now")
    return 0


def replay(args: Namespace) -> int:
    """Decide every entry of a journal anew and compare bit for bit."""
    from controller.journal import replay_report

    return _report(replay_report(args.journal))


def explain(args: Namespace) -> int:
    """Tell a decision of a journal, or a span of it, as a person would."""
    from controller.journal import explain_report, story_report

    if args.begin is None and args.end is None:
        return _report(explain_report(args.journal, args.at))
    if args.at is not None:
        print(
            "linepack explain: --at tells one moment, --from and --to tell a span; give one or the other",
            file=sys.stderr,
        )
        return EXIT_USAGE
    return _report(story_report(args.journal, args.begin, args.end))


def _report(result: tuple[int, str]) -> int:
    code, text = result
    print(text)
    return code


def _load(path: Path) -> Site | None:
    """Return the site, or print all its problems and return None."""
    try:
        return load(path)
    except SiteError as error:
        for problem in error.problems:
            print(f"{path}: {problem}", file=sys.stderr)
        count = len(error.problems)
        print(f"{path}: {count} problem{'s' if count > 1 else ''}", file=sys.stderr)
        return None


def _site_argument(command: ArgumentParser) -> None:
    command.add_argument("site", type=Path, metavar="SITE", help="the site file, TOML")


def _file_argument(command: ArgumentParser) -> None:
    place = Path("site.toml")
    command.add_argument("file", type=Path, metavar="FILE", nargs="?", default=place, help=f"default: {place}")


def _by_argument(command: ArgumentParser) -> None:
    command.add_argument("--by", metavar="NAME", required=True, help="who saw the devices obey")


def _journal_argument(command: ArgumentParser) -> None:
    command.add_argument(
        "journal", type=Path, metavar="JOURNAL", help="the journal's directory, or one of its segments"
    )


def _at_argument(command: ArgumentParser) -> None:
    when = (
        'ISO date and time, HH:MM[:SS] on the last day, or "last" (default); without an offset in the site\'s time zone'
    )
    command.add_argument("--at", metavar="TIME", help=when)
    span = "tell the span from TIME (default: the first entry) to TIME (default: the last) as a story"
    command.add_argument("--from", dest="begin", metavar="TIME", help=span)
    command.add_argument("--to", dest="end", metavar="TIME", help="see --from")


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command. Its help is the first line of its function."""

    usage: str
    run: Callable[[Namespace], int]
    arguments: tuple[Callable[[ArgumentParser], None], ...]

    @property
    def does(self) -> str:
        """Return what it does, one line."""
        return (self.run.__doc__ or "").splitlines()[0]


COMMANDS = (
    Command(usage="check SITE", run=check, arguments=(_site_argument,)),
    Command(usage="init [FILE]", run=init, arguments=(_file_argument,)),
    Command(usage="commission SITE --by NAME", run=commission, arguments=(_site_argument, _by_argument)),
    Command(usage="run SITE", run=run, arguments=(_site_argument,)),
    Command(usage="clear SITE", run=clear, arguments=(_site_argument,)),
    Command(usage="replay JOURNAL", run=replay, arguments=(_journal_argument,)),
    Command(
        usage="explain JOURNAL [--at TIME] [--from TIME] [--to TIME]",
        run=explain,
        arguments=(_journal_argument, _at_argument),
    ),
)


def parser() -> ArgumentParser:
    """Return the parser of the command line."""
    top = ArgumentParser(
        prog="linepack",
        description="Controller of a battery site: keeps the local rules, follows the utility inside them, says why.",
        epilog=f"Exit codes: 0 well, {EXIT_WRONG} something is wrong, 2 wrong usage, {EXIT_CONFIG} run: bad site file.",
    )
    top.add_argument("--version", action="version", version=f"linepack {version('linepack')}")
    rows = top.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        row = rows.add_parser(command.usage.split()[0], help=command.does, description=command.does)
        row.set_defaults(run=command.run)
        for argument in command.arguments:
            argument(row)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    args = parser().parse_args(argv)
    command: Callable[[Namespace], int] = args.run
    code = EXIT_WRONG
    try:
        code = command(args)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read us, head for example, has read enough; what is left goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # noqa: BLE001 - the only one: what nobody foresaw is told and ends the process
        traceback.print_exc()
        ends = "This is a fault of Linepack itself. If it ran a site, the devices now fall back on their own timers."
        print(f"linepack: {type(error).__name__}: {error}\n{ends}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
