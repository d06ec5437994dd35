"""The stage of the demo: a folder, the process that serves the devices, the controller, and the utility's line to it.

Everything but the utility is a process of its own and speaks real frames on the ports below.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from controller.app import commissioning
from controller.journal import Entry, Follower
from controller.link.clock import Clock
from controller.model import Site
from hil.children import HOST, STOP_S, Child, ChildError, SetupError, answers, free, start
from hil.commands.fault import CONTROL_PORT
from hil.dispatch import Dispatch, DispatchError
from hil.run.remote import RemotePlant
from hil.story import Stimulus

DEMO_SITE = Path(__file__).parent.parent / "profiles" / "sites" / "demo.toml"
DEVICE_PORTS = {"inverter": 8503, "meter": 8504, "battery": 8505}
UTILITY_PORT = 8502
START_S = 20.0  # a Raspberry Pi under load needs a few
WAIT_S = 0.05


class Devices:
    """The process that serves the devices, and the plant in it as it tells of it."""

    def __init__(self, child: Child) -> None:
        self.child, self.plant = child, RemotePlant(CONTROL_PORT)
        self._watching = asyncio.create_task(self._watch())

    def check(self) -> None:
        """Raise ChildError if the process has ended by itself, hung up, or refused what was wanted of it."""
        self.child.check()
        if self._watching.done():
            self._watching.result()
        if self.plant.errors:
            raise ChildError(f"the devices' process did not do what was asked: {self.plant.errors[0]}")

    async def hang_up(self) -> None:
        """Look no longer; the process goes on."""
        self._watching.cancel()
        with contextlib.suppress(asyncio.CancelledError, ChildError):
            await self._watching

    async def _watch(self) -> None:
        """Take in the truth. A process that dies hangs up first: give it the time to tell how it died."""
        try:
            await self.plant.run()
        except OSError as error:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.child.process.wait(), STOP_S)
            self.child.check()
            raise ChildError(f"the devices' process tells nothing any more: {error}\n{self.child.tail()}") from error


class Stage(msgspec.Struct, frozen=True):
    """All that is up and running."""

    site: Site
    devices: Devices
    controller: Child
    dispatch: Dispatch
    follower: Follower
    journal: Path
    first: Entry  # the first decision that saw every device
    start_to_first_control_s: float

    def check(self) -> None:
        """Raise ChildError if a process has ended by itself."""
        self.devices.check()
        self.controller.check()


def check_ports(can: str | None) -> None:
    """Raise SetupError if one of the demo's ports is taken. can: the battery's CAN interface, None for slcan."""
    emulated = {f"emulated {name}": port for name, port in DEVICE_PORTS.items() if not (can and name == "battery")}
    free({"controller": UTILITY_PORT} | emulated | {"bench's control line": CONTROL_PORT})


def battery_url(can: str | None) -> str:
    """Return where the controller finds the battery."""
    return f"socketcan://{can}" if can else f"slcan://{HOST}:{DEVICE_PORTS['battery']}"


@asynccontextmanager
async def stage(
    folder: Path, site: Site, opening: Iterable[Stimulus], clock: Clock, can: str | None = None
) -> AsyncIterator[Stage]:
    """Set the stage in a folder and clear it away afterwards, whatever happens. Raises SetupError, ChildError.

    site: what DEMO_SITE says. opening: what the plant is set to before the controller starts. can: the battery's CAN
    interface, None for slcan.
    """
    site_file = folder / "demo.toml"
    try:
        site_file.write_text(DEMO_SITE.read_text("utf-8").replace(battery_url(None), battery_url(can)), "utf-8")
        commissioning.record(site_file, by="demo")
    except OSError as error:
        raise SetupError(f"the demo's folder {folder} cannot be prepared: {error}") from error
    async with AsyncExitStack() as stack:
        devices = await _served(site_file, can, stack)
        await _opened(devices, opening)
        started_ms = clock.utc_ms()
        controller = await start("controller", "controller.app.main", ["run", str(site_file)], folder)
        stack.push_async_callback(controller.stop)
        journal = folder / site.journal.directory
        follower = Follower(journal)
        first = await _first_control(devices, controller, follower, started_ms)
        await answers(controller, UTILITY_PORT, START_S)
        dispatch = Dispatch(UTILITY_PORT, site.utility.unit_id)
        stack.push_async_callback(dispatch.close)
        try:
            await dispatch.discover()
        except DispatchError as error:
            raise SetupError(f"{error}\n{controller.tail()}") from error
        yield Stage(
            site,
            devices,
            controller,
            dispatch,
            follower,
            journal,
            first,
            (first.snapshot.utc_ms - started_ms) / 1000,
        )


async def _served(site_file: Path, can: str | None, stack: AsyncExitStack) -> Devices:
    """Start the process that serves the devices: once its control line answers, each of them listens."""
    arguments = ["serve", str(site_file), "--control", str(CONTROL_PORT), *(["--can", can] if can else [])]
    child = await start("devices", "hil.main", arguments, site_file.parent)
    stack.push_async_callback(child.stop)
    await answers(child, CONTROL_PORT, START_S)
    devices = Devices(child)
    stack.push_async_callback(devices.hang_up)
    return devices


async def _opened(devices: Devices, opening: Iterable[Stimulus]) -> None:
    """Wait for the first truth and set what the story opens with."""
    async with _in_time("the devices' process tells nothing", devices.child):
        while devices.plant.latest is None:
            devices.check()
            await asyncio.sleep(WAIT_S)
    for stimulus in opening:
        devices.plant.set(stimulus.name, stimulus.value)
    await devices.plant.sent()
    devices.check()


async def _first_control(devices: Devices, controller: Child, follower: Follower, started_ms: int) -> Entry:
    """Wait for the first decision since the start that misses no device and commands an inverter."""
    async with _in_time("the controller has not seen every device", controller):
        while True:
            devices.check()
            controller.check()
            for entry in follower.poll():
                snapshot = entry.snapshot
                complete = snapshot.readings and not snapshot.missing and entry.decision.commands
                if complete and snapshot.utc_ms >= started_ms:
                    return entry
            await asyncio.sleep(WAIT_S)


@asynccontextmanager
async def _in_time(otherwise: str, child: Child) -> AsyncIterator[None]:
    """Give a block START_S. Raises SetupError with what was not reached and what the child said."""
    try:
        async with asyncio.timeout(START_S):
            yield
    except TimeoutError:
        raise SetupError(f"{otherwise} after {START_S:g} s:\n{child.tail()}") from None
