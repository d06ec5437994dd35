"""linepack-hil serve: play a whole site in real time on real ports, for any controller."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from controller.app import sitefile
from controller.link import LinkError
from controller.model import Site
from hil.children import stopped_by_signals, unless
from hil.commands import HELD, NO_SETUP
from hil.commands.fault import CONTROL_PORT
from hil.run.serve import Served
from hil.stage import DEMO_SITE


def arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("site", nargs="?", type=Path, default=DEMO_SITE, help="a site file; left out = the demo's")
    parser.add_argument("--control", type=int, default=CONTROL_PORT, metavar="PORT", help="of linepack-hil fault")
    parser.add_argument("--seed", type=int, default=1, help="all chance comes from it")
    parser.add_argument(
        "--can", help="CAN interface for the batteries, or pty for a pseudo-terminal; left out = slcan on TCP"
    )
    parser.add_argument("--plant", default="{}", metavar="JSON", help='changes of the parts: {"battery": {"soc": 0.3}}')
    parser.add_argument("--free-ports", action="store_true", help="any free ports, not those of the site file")


def run(chosen: Namespace) -> int:
    """Serve until a signal comes. Prints one JSON object with where everything is."""
    try:
        site = sitefile.load(chosen.site)
    except sitefile.SiteError as error:
        for problem in error.problems:
            print(f"{chosen.site}: {problem}", file=sys.stderr)
        return NO_SETUP
    try:
        asyncio.run(_serve(site, chosen))
    except (LinkError, OSError, ValueError) as error:
        print(f"linepack-hil serve: {error}", file=sys.stderr)
        return NO_SETUP
    return HELD


async def _serve(site: Site, chosen: Namespace) -> None:
    with stopped_by_signals() as stop:
        changes = msgspec.json.decode(chosen.plant, type=dict[str, dict[str, object]])
        served = Served(site, changes=changes, seed=chosen.seed, can=chosen.can)
        try:
            await served.start({} if chosen.free_ports else ports(site), chosen.control)
            print(msgspec.json.encode(served.described()).decode(), flush=True)
            await unless(stop, served.run())
        finally:
            await served.close()


def ports(site: Site) -> dict[str, int]:
    """Return the port of each device that the site file names one for."""
    found = {device.name: urlsplit(device.url).port for device in site.device}
    return {name: port for name, port in found.items() if port}
