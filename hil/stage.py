"""The stage of the demo: a folder, the wires, the emulated devices, the controller, and the utility's line to it.

Everything but the utility is a process of its own and speaks real frames on the ports below.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from controller.journal import Entry, Follower
from controller.link.clock import Clock
from controller.model import Site
from hil.children import HOST, Child, SetupError, answers, free, start
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


def check_ports(can: str | None) -> None:
    """Raise SetupError if one of the demo's ports is taken. can: the battery's CAN interface, None for slcan."""
    free({"controller": UTILITY_PORT} | {f"emulated {name}": port for name, port in _ports(can).items()})


def battery_url(can: str | None) -> str:
    """Return where the controller finds the battery."""
    return f"socketcan://{can}" if can else f"slcan://{HOST}:{DEVICE_PORTS['battery']}"


def _ports(can: str | None) -> dict[str, int]:
    return {name: port for name, port in DEVICE_PORTS.items() if not (can and name == "battery")}


@asynccontextmanager
async def stage(
    folder: Path, site: Site, opening: tuple[Stimulus, ...], clock: Clock, can: str | None = None
) -> AsyncIterator[Stage]:
    """Set the stage in a folder and clear it away afterwards, whatever happens. Raises SetupError, ChildError.

    site: what DEMO_SITE says. opening: what is put on the wires before anything starts. can: the battery's CAN
    interface, None for slcan.
    """
    site_file = folder / "demo.toml"
    try:
        site_file.write_text(DEMO_SITE.read_text("utf-8").replace(battery_url(None), battery_url(can)), "utf-8")
        wires = Wires.create(folder / "wires")
    except OSError as error:
        raise SetupError(f"the demo's folder {folder} cannot be prepared: {error}") from error
    for slot, value in AT_START.items():
        wires[slot] = value
    for stimulus in opening:
        wires[stimulus.slot] = stimulus.value
    async with AsyncExitStack() as stack:
        ports = _ports(can)
        devices = [await _device(name, ["--port", str(port)], folder, stack) for name, port in ports.items()]
        for child, port in zip(devices, ports.values(), strict=True):
            await answers(child, port, START_S)
        if can:
            devices.append(await _device("battery", ["--can", can], folder, stack))
        started_ms = clock.utc_ms()
        controller = await start("controller", "controller.app.main", ["run", str(site_file)], folder)
        stack.push_async_callback(controller.stop)
        journal = folder / site.journal.directory
        follower = Follower(journal)
        first = await _first_control((*devices, controller), follower, started_ms)
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


async def _device(name: str, place: list[str], folder: Path, stack: AsyncExitStack) -> Child:
    arguments = ["device", name, "--wires", str(folder / "wires"), *place]
    child = await start(f"emulated {name}", "hil.main", arguments, folder)
    stack.push_async_callback(child.stop)
    return child


async def _first_control(children: tuple[Child, ...], follower: Follower, started_ms: int) -> Entry:
    """Wait for the first decision since the start that misses no device and commands an inverter."""
    try:
        async with asyncio.timeout(START_S):
            while True:
                for child in children:
                    child.check()
                for entry in follower.poll():
                    snapshot = entry.snapshot
                    complete = snapshot.readings and not snapshot.missing and entry.decision.commands
                    if complete and snapshot.utc_ms >= started_ms:
                        return entry
                await asyncio.sleep(WAIT_S)
    except TimeoutError:
        said = children[-1].tail()
        raise SetupError(f"the controller has not seen every device after {START_S:g} s:\n{said}") from None
