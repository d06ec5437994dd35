"""The bench's command line: linepack-hil."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

import msgspec

from controller.link import LinkError
from hil import demo
from hil.children import HOST, stopped_by_signals, unless
from hil.devices import KINDS, serve
from hil.summary import decode, stored_frame
from hil.view import picture
from hil.wires import Wires

DURATION_MAX_S = 86_400.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of the bench and return its exit code: 0 good, 1 failed, 2 could not be set up."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a sign that the terminal cannot show must not end the run
            stream.reconfigure(errors="replace")
    if chosen.command == "device":
        if chosen.can and chosen.kind != "battery":
            parser.error("only the battery sits on CAN")
        return _device(chosen.kind, chosen.wires, chosen.port or 0, chosen.can)
    if chosen.command == "picture":
        return _picture(chosen.svg, chosen.summary)
    return demo.run(
        demo.Options(
            duration_s=chosen.duration_s,
            summary=chosen.summary,
            report=chosen.report,
            workdir=chosen.workdir,
            live=chosen.fast_view == "on",
            can=chosen.can,
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="linepack-hil", description="The bench: it plays a site's devices.")
    commands = parser.add_subparsers(dest="command", required=True)
    played = commands.add_parser("demo", help="run a whole site for a while, watch it, judge it")
    played.add_argument("--duration-s", type=_duration_s, default=60.0, help="how long; 0 = until Ctrl-C")
    played.add_argument("--summary", type=Path, help="write the outcome here, as JSON")
    played.add_argument("--report", type=Path, help="write the report here, as one HTML page")
    played.add_argument("--workdir", type=Path, help="where journal and logs go; left out = a new temporary folder")
    played.add_argument("--fast-view", choices=("on", "off"), default="on", help="off: plain lines on a terminal too")
    played.add_argument(
        "--can", default="auto", help="the battery's CAN interface; auto: a vcan that is up, off: slcan"
    )
    device = commands.add_parser("device", help="run one emulated device")
    device.add_argument("kind", choices=sorted(KINDS))
    device.add_argument("--wires", type=Path, required=True, help="the wires file of the bench")
    place = device.add_mutually_exclusive_group(required=True)
    place.add_argument("--port", type=int, help=f"TCP port on {HOST}")
    place.add_argument("--can", help="CAN interface, for the battery")
    drawn = commands.add_parser("picture", help="draw the terminal view of a demo as SVG")
    drawn.add_argument("svg", type=Path, help="the file to write")
    drawn.add_argument("--summary", type=Path, help="what a demo wrote with --summary; left out = the README's moment")
    return parser


def _duration_s(text: str) -> float:
    duration_s = float(text)
    if not 0 <= duration_s <= DURATION_MAX_S:
        raise argparse.ArgumentTypeError(f"{text}: allowed are 0 (until stopped) to {DURATION_MAX_S:g} s")
    return duration_s


def _device(kind: str, wires: Path, port: int, can: str | None) -> int:
    try:
        asyncio.run(_emulate(kind, Wires.open(wires), port, can))
    except (OSError, ValueError, LinkError) as error:
        print(f"linepack-hil device {kind}: {error}", file=sys.stderr)
        return demo.NO_SETUP
    return 0


async def _emulate(kind: str, wires: Wires, port: int, can: str | None) -> None:
    """Play one device until a signal stops it."""
    with stopped_by_signals() as stop:
        await unless(stop, serve(kind, wires, port, can))


def _picture(svg: Path, summary: Path | None) -> int:
    try:
        frame = stored_frame() if summary is None else decode(summary.read_bytes()).picture
        if frame is None:
            raise ValueError("it holds no picture; the demo was stopped before it drew one")
        svg.write_text(picture(frame), encoding="utf-8")
    except (OSError, ValueError, msgspec.DecodeError) as error:
        print(f"linepack-hil picture: {summary or svg}: {error}", file=sys.stderr)
        return demo.NO_SETUP
    return 0


if __name__ == "__main__":
    sys.exit(main())
