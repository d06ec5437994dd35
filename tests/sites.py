"""A whole site under the judge's eyes: what the tests of bad input share."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import msgspec

from controller.app.sitefile import load
from controller.journal import read, replay
from controller.model import Default, Site
from hil.clock import run_virtual
from hil.faults.schedule import Schedule
from hil.faults.words import Fault
from hil.judge import Allowed, Judge
from hil.run.lockstep import Lockstep, lockstep
from hil.stage import DEMO_SITE
from hil.wire.can import KEEPALIVE_ID, CanToxic

Story = Callable[["Watch"], Awaitable[None]]
LOAD_W = 4000
ASKED_W = 3000
LEASE_S = 5
WATCHDOG_S = 4  # the inverter holds what it was told last for so long when it is not reached any more


def quiet_site() -> Site:
    """Return the demo's site, at rest while the utility asks nothing."""
    site = load(DEMO_SITE)
    return msgspec.structs.replace(
        site, utility=msgspec.structs.replace(site.utility, default=Default(program="hold"), lease_s=LEASE_S)
    )


class Ear(CanToxic):
    """Hears the keepalives on the battery's bus and changes nothing."""

    def __init__(self, note: Callable[[float], None]) -> None:
        self._note = note

    def heard(self, identifier: int, data: bytes, t_s: float) -> bool:
        if identifier == KEEPALIVE_ID:
            self._note(t_s)
        return True


class Watch:
    """A site at work with the judge sampling its plant, and what was seen of it."""

    def __init__(self, bench: Lockstep) -> None:
        self.bench, self.plant, self.seen = bench, bench.plant, set[tuple[str, str]]()
        self._moments: defaultdict[str, set[int]] = defaultdict(set)
        self._asked_w: int | None = None
        self._until_s = 0.0
        self._delivered: list[bool] = []
        self._judge = Judge(bench.site, Allowed(expiry_s=2.5 + WATCHDOG_S))
        self._schedule = Schedule((), 1, "lockstep")
        bench.can_wires["battery"].add(Ear(lambda t_s: self._moments["keepalives"].add(round(1000 * t_s))))

    @property
    def power_w(self) -> float:
        """What the inverter truly gives."""
        return self.plant.value("inverter.ac_w")

    def pulled(self, device: str, do: str = "unplug") -> Callable[[], None]:
        """Pull the cable of a device that is on a wire; return what plugs it in again.

        do: a verb that cuts; unplug: what was sent meanwhile is repeated then; black_hole: it meets another device.
        """
        loop = asyncio.get_running_loop()
        number = self._schedule.arm(Fault(do=do, on=device), loop.time(), self.bench)
        return lambda: self._schedule.disarm(number, loop.time())

    @property
    def faults(self) -> dict[tuple[str, str], str]:
        """Fault and device that stand now, with the detail."""
        decision = self.bench.service.decision
        assert decision is not None
        return {(fault.fault, fault.device): fault.detail for fault in decision.faults}

    async def look(self) -> None:
        """Sample the plant twenty times a second and note every fault of every decision."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.05)
            now_s = loop.time()
            asked_w = self._asked_w if now_s < self._until_s else None
            self.plant.advance(now_s)
            self._judge.sample(msgspec.structs.replace(self.plant.truth(), order_w=asked_w, cut=self._schedule.cut))
            self._note()

    async def ask(self, power_w: int) -> bool:
        """Let the utility ask."""
        taken = await self.bench.utility.ask(power_w)
        if taken:
            self.hold(power_w)
        return taken

    def hold(self, power_w: int | None) -> None:
        """Note for the judge what the utility has asked by other means."""
        self._asked_w, self._until_s = power_w, asyncio.get_running_loop().time() + LEASE_S

    async def asking(self, power_w: int, for_s: int) -> None:
        """Let the utility ask once a second."""
        for _ in range(for_s):
            assert await self.ask(power_w)
            await asyncio.sleep(1)

    async def settled(self, power_w: int, within_s: int, near_w: int = 60) -> None:
        """Keep asking ASKED_W until the inverter truly gives power_w."""
        for _ in range(within_s * 2):
            if abs(self.power_w - power_w) <= near_w:
                return
            assert await self.ask(ASKED_W)
            await asyncio.sleep(0.5)
        raise AssertionError(f"{self.power_w:.0f} W and not {power_w} W after {within_s} s: {self.faults}")

    async def over(self, fault: str, device: str, within_s: int) -> None:
        """Keep asking ASKED_W until a fault does not stand any more."""
        for _ in range(within_s):
            if (fault, device) not in self.faults:
                return
            await self.asking(ASKED_W, 1)
        raise AssertionError(f"{fault} still stands after {within_s} s: {self.faults}")

    def begin(self) -> None:
        """Forget what was seen so far."""
        self.seen.clear()
        self._delivered.clear()
        self._moments.clear()

    @property
    def delivered_pct(self) -> float:
        """For how much of the time the inverter truly gave ASKED_W."""
        return 100 * sum(self._delivered) / len(self._delivered)

    def heard(self, of: str) -> int:
        """Return how many decisions, keepalives to the battery, or samples of a device there were."""
        return len(self._moments[of])

    def longest_ms(self, of: str) -> int:
        """Return the longest pause between two decisions, keepalives to the battery, or samples of a device."""
        moments = sorted(self._moments[of])
        return max(later - earlier for earlier, later in pairwise(moments))

    def _note(self) -> None:
        """Note when things happened."""
        self.seen |= self.faults.keys()
        snapshot = self.bench.service.snapshot
        assert snapshot is not None
        self._delivered.append(abs(self.power_w - ASKED_W) <= 60)
        self._moments["decisions"].add(snapshot.now_ms)
        for reading in snapshot.readings:
            self._moments[reading.device].add(reading.sampled_ms)

    def check(self) -> None:
        """Fail where an invariant of the plant did not hold, a cable was pulled in vain, or the controller fell."""
        broken = [verdict for verdict in self._judge.verdicts() if not verdict.held]
        assert not broken, "\n".join(f"{verdict.says}: {verdict.where}" for verdict in broken)
        assert all(armed.effects for armed in self._schedule.armed)
        assert self.bench.supervisor.starts == 1, self.bench.supervisor.ends


@contextlib.asynccontextmanager
async def watched(site: Site, folder: Path, wired: frozenset[str]) -> AsyncIterator[Watch]:
    """Run a site in lockstep under the judge."""
    async with lockstep(site, folder, wired=wired) as bench:
        bench.plant.set("load_w", LOAD_W)
        watch = Watch(bench)
        looking = asyncio.get_running_loop().create_task(watch.look())
        try:
            yield watch
            if looking.done():
                looking.result()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)


def play(folder: Path, story: Story, *wired: str, site: Site | None = None) -> None:
    """Run a story; then the plant was safe, and the journal is whole and replays. wired: devices behind a proxy."""

    async def main() -> None:
        async with watched(site or quiet_site(), folder, frozenset(wired)) as watch:
            await story(watch)
            watch.check()

    run_virtual(main())
    assert not [damage for segment in read(folder / "journal") for damage in segment.damage]
    result = replay(folder / "journal")
    assert result.first is None, str(result.first)
