"""The stage of the demo: a folder, the wires, the emulated devices, the controller, and the utility's line to it.

Everything but the utility is a process of its own and speaks real frames on the ports below.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from controller.journal import Entry, Follower
from controller.link.clock import Clock
from controller.model import Site
from hil.children import Child, SetupError, answers, free, start
from hil.dispatch import Dispatch, DispatchError
from hil.story import Stimulus
from hil.wires import Wires

DEMO_SITE = Path(__file__).parent.parent / "profiles" / "sites" / "demo.toml"
DEVICE_PORTS = {"inverter": 8503, "meter": 8504, "battery": 8505}
UTILITY_PORT = 8502
START_S = 20.0  # a Raspberry Pi under load needs a few
WAIT_S = 0.05
AT_START: Mapping[str, float] = {
    "bms_cable": 1.0,
    "inverter_cable": 1.0,
    "meter_cable": 1.0,
    "soc_bias": 0.0,
    "reset_soc": -1.0,
}


class Stage(msgspec.Struct, frozen=True):
    """All that is up and running."""

    site: Site
    wires: Wires
    children: tuple[Child, ...]
    controller: Child
    dispatch: Dispatch
    follower: Follower
    journal: Path
    first: Entry  # the first decision that saw every device
    start_to_first_control_s: float

    def check(self) -> None:
        """Raise ChildError if a process has ended by itself."""
        for child in self.children:
            child.check()


def check_ports() -> None:
    """Raise SetupError if one of the demo's ports is taken."""
    free({"controller": UTILITY_PORT} | {f"emulated {name}": port for name, port in DEVICE_PORTS.items()})


@asynccontextmanager
async def stage(folder: Path, site: Site, opening: tuple[Stimulus, ...], clock: Clock) -> AsyncIterator[Stage]:
    """Set the stage in a folder and clear it away afterwards, whatever happens. Raises SetupError, ChildError.

    site: what DEMO_SITE says. opening: what is put on the wires before anything starts.
    """
    site_file = folder / "demo.toml"
    try:
        shutil.copyfile(DEMO_SITE, site_file)
        wires = Wires.create(folder / "wires")
    except OSError as error:
        raise SetupError(f"the demo's folder {folder} cannot be prepared: {error}") from error
    for slot, value in AT_START.items():
        wires[slot] = value
    for stimulus in opening:
        wires[stimulus.slot] = stimulus.value
    async with AsyncExitStack() as stack:
        devices = [await _device(name, port, folder, stack) for name, port in DEVICE_PORTS.items()]
        for child, port in zip(devices, DEVICE_PORTS.values(), strict=True):
            await answers(child, port, START_S)
        started_ms = clock.utc_ms()
        controller = await start("controller", "controller.app.main", ["run", str(site_file)], folder)
        stack.push_async_callback(controller.stop)
        journal = folder / site.journal.directory
        follower = Follower(journal)
        first = await _first_control(controller, follower, started_ms)
        await answers(controller, UTILITY_PORT, START_S)
        dispatch = Dispatch(UTILITY_PORT, site.utility.unit_id)
        stack.push_async_callback(dispatch.close)
        try:
            await dispatch.discover()
        except DispatchError as error:
            raise SetupError(f"{error}\n{controller.tail()}") from error
        yield Stage(
            site,
            wires,
            (*devices, controller),
            controller,
            dispatch,
            follower,
            journal,
            first,
            (first.snapshot.utc_ms - started_ms) / 1000,
        )


async def _device(name: str, port: int, folder: Path, stack: AsyncExitStack) -> Child:
    arguments = ["device", name, "--wires", str(folder / "wires"), "--port", str(port)]
    child = await start(f"emulated {name}", "hil.main", arguments, folder)
    stack.push_async_callback(child.stop)
    return child


async def _first_control(controller: Child, follower: Follower, started_ms: int) -> Entry:
    """Wait for the first decision since the start that misses no device and commands an inverter."""
    try:
        async with asyncio.timeout(START_S):
            while True:
                controller.check()
                for entry in follower.poll():
                    snapshot = entry.snapshot
                    complete = snapshot.readings and not snapshot.missing and entry.decision.commands
                    if complete and snapshot.utc_ms >= started_ms:
                        return entry
                await asyncio.sleep(WAIT_S)
    except TimeoutError:
        said = controller.tail()
        raise SetupError(f"the controller has not seen every device after {START_S:g} s:\n{said}") from None
