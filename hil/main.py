"""The bench's command line: linepack-hil."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper

import msgspec

from hil.commands import FAILED, HELD, NO_SETUP


class Command(msgspec.Struct, frozen=True):
    """One command: its name, its file in hil/commands, what it does."""

    name: str
    file: str
    does: str


COMMANDS = (
    Command("run", "run", "play scenarios and judge them on the plant's truth"),
    Command("list", "listing", "tell what scenarios, faults, verbs, invariants, metrics and mutants there are"),
    Command("serve", "serve", "play a whole site in real time for any controller"),
    Command("fault", "fault", "switch faults and inputs of a served site"),
    Command("campaign", "campaign", "play random faults by seed and shrink what fails"),
    Command("demo", "demo", "run a whole site for a while, watch it, judge it"),
    Command("picture", "picture", "draw the terminal view of a demo as SVG"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 held, 1 failed, 2 could not be set up."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a sign that the terminal cannot show must not end the run
            stream.reconfigure(errors="replace")
    chosen = parser(given[0] if given else "").parse_args(given)
    try:
        code: int = chosen.run(chosen)
    except BrokenPipeError:  # whoever read us, head for example, has read enough
        return HELD
    return code


def parser(wanted: str = "") -> ArgumentParser:
    """Return the parser. Only the wanted command is loaded: each brings in what the others do without."""
    top = ArgumentParser(
        prog="linepack-hil",
        description="The bench: it plays a site's devices, its faults and its utility, and judges the truth.",
        epilog=f"Exit codes: {HELD} everything held, {FAILED} something did not, {NO_SETUP} it could not be set up.",
    )
    rows = top.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        row = rows.add_parser(command.name, help=command.does, description=command.does)
        if command.name == wanted:
            room = import_module(f"hil.commands.{command.file}")
            room.arguments(row)
            row.set_defaults(run=room.run)
    return top


if __name__ == "__main__":
    sys.exit(main())
