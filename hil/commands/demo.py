"""linepack-hil demo: run a whole site for a while, watch it, judge it."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from hil import demo

DURATION_S = 60.0
DURATION_MAX_S = 86_400.0


def arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("--duration-s", type=_duration_s, default=DURATION_S, help="how long; 0 = until Ctrl-C")
    parser.add_argument("--summary", type=Path, help="write the outcome here, as JSON")
    parser.add_argument("--report", type=Path, help="write the report here, as one HTML page")
    parser.add_argument("--workdir", type=Path, help="where journal and logs go; left out = a new temporary folder")
    parser.add_argument("--fast-view", choices=("on", "off"), default="on", help="off: plain lines on a terminal too")
    parser.add_argument(
        "--can", default="auto", help="the battery's CAN interface; auto: a vcan that is up, off: slcan"
    )


def run(chosen: Namespace) -> int:
    """Play the story and tell how it went."""
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


def _duration_s(text: str) -> float:
    duration_s = float(text)
    if not 0 <= duration_s <= DURATION_MAX_S:
        raise ArgumentTypeError(f"{text}: allowed are 0 (until stopped) to {DURATION_MAX_S:g} s")
    return duration_s
