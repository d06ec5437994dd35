"""linepack-hil fault: look at a served site and switch its faults and inputs while it runs."""

import asyncio
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any

import msgspec

from hil.children import HOST
from hil.commands import FAILED, HELD, NO_SETUP
from hil.run.control import DemandError, ask

CONTROL_PORT = 8506


def arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("--control", type=int, default=CONTROL_PORT, metavar="PORT", help="of the site's control line")
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    begin = what.add_parser("begin", help="let a fault begin: begin meter delay latency_s=0.8, begin meter F58")
    begin.add_argument("on", help="a device, or grid or local")
    begin.add_argument("do", help="a verb, or a row of the catalogue as F06")
    begin.add_argument("params", nargs="*", type=_param, metavar="NAME=VALUE", help="the verb's parameters")
    begin.add_argument("--for", dest="for_s", type=float, metavar="S", help="for so long; left out = until it is ended")
    begin.add_argument("--direction", choices=("both", "up", "down"), default="both", help="up: toward the controller")
    end = what.add_parser("end", help="end a fault by its number")
    end.add_argument("number", type=int)
    value = what.add_parser("set", help="set an input: set load_w 3000")
    value.add_argument("name")
    value.add_argument("value", type=float)
    what.add_parser("list", help="the faults so far, and how often each bit")
    what.add_parser("truth", help="the plant's true state")
    what.add_parser("describe", help="where the devices are and what can be set")


def run(chosen: Namespace) -> int:
    """Ask the served site and print its answer as JSON."""
    try:
        answer = asyncio.run(ask(HOST, chosen.control, _demand(chosen)))
    except DemandError as error:
        print(f"linepack-hil fault: {error}", file=sys.stderr)
        return FAILED
    except OSError:
        where = f"{HOST}:{chosen.control}"
        print(f"linepack-hil fault: nobody serves a site on {where}; start one: linepack-hil serve", file=sys.stderr)
        return NO_SETUP
    for row in answer if isinstance(answer, list) else [answer]:
        print(msgspec.json.encode(row).decode())
    return HELD


def _demand(chosen: Namespace) -> dict[str, object]:
    if chosen.what == "begin":
        row = chosen.do[:1] == "F" and chosen.do[1:].isdigit()
        fault: dict[str, object] = {"on": chosen.on, "id" if row else "do": chosen.do, "direction": chosen.direction}
        fault |= {"with": dict(chosen.params)} if chosen.params else {}
        fault |= {} if chosen.for_s is None else {"for_s": chosen.for_s}
        return {"do": "arm", "fault": fault}
    if chosen.what == "end":
        return {"do": "disarm", "number": chosen.number}
    if chosen.what == "set":
        return {"do": "set", "name": chosen.name, "value": chosen.value}
    return {"do": {"list": "faults"}.get(chosen.what, chosen.what)}


def _param(text: str) -> tuple[str, Any]:
    name, given, value = text.partition("=")
    if not given or not name:
        raise ArgumentTypeError(f"{text}: write NAME=VALUE")
    try:
        return name, float(value)
    except ValueError:
        return name, {"true": True, "false": False}.get(value, value)
