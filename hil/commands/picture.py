"""linepack-hil picture: draw the terminal view of a demo as SVG."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import msgspec

from hil.commands import HELD, NO_SETUP
from hil.summary import decode, stored_frame
from hil.view import picture


def arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("svg", type=Path, help="the file to write")
    parser.add_argument("--summary", type=Path, help="what a demo wrote with --summary; left out = the README's moment")


def run(chosen: Namespace) -> int:
    """Draw it."""
    svg, summary = chosen.svg, chosen.summary
    try:
        frame = stored_frame() if summary is None else decode(summary.read_bytes()).picture
        if frame is None:
            raise ValueError("it holds no picture; the demo was stopped before it drew one")
        svg.write_text(picture(frame), encoding="utf-8")
    except (OSError, ValueError, msgspec.DecodeError) as error:
        print(f"linepack-hil picture: {summary or svg}: {error}", file=sys.stderr)
        return NO_SETUP
    return HELD
