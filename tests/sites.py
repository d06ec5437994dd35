"""A whole site under the judge's eyes: what the tests of bad input share."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from controller.app.sitefile import load
from controller.journal import read, replay
from controller.model import Default, Site
from hil.clock import run_virtual
from hil.devices import KINDS, BatteryDevice
from hil.judge import Allowed, Judge
from hil.lockstep import Lockstep, lockstep
from hil.regulation import DEMO_SITE

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


class Watch:
    """A site at work with the judge sampling its plant, and what was seen of it."""

    def __init__(self, bench: Lockstep) -> None:
        self.bench, self.wires, self.seen = bench, bench.wires, set[tuple[str, str]]()
        self._moments: defaultdict[str, set[int]] = defaultdict(set)
        self._asked_w: int | None = None
        self._until_s = 0.0
        self._delivered: list[bool] = []
        self._judge = Judge(bench.site, Allowed(expiry_s=2.5 + WATCHDOG_S))

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
            asked_w = self._asked_w if loop.time() < self._until_s else None
            self._judge.sample(loop.time(), self.wires, asked_w)
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
            if abs(self.wires["inverter_w"] - power_w) <= near_w:
                return
            assert await self.ask(ASKED_W)
            await asyncio.sleep(0.5)
        raise AssertionError(f"{self.wires['inverter_w']:.0f} W and not {power_w} W after {within_s} s: {self.faults}")

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

    def longest_ms(self, of: str) -> int:
        """Return the longest pause between two decisions, keepalives to the battery, or samples of a device."""
        moments = sorted(self._moments[of])
        return max(later - earlier for earlier, later in pairwise(moments))

    def _note(self) -> None:
        """Note when things happened; the battery counts the seconds since the last keepalive by itself."""
        self.seen |= self.faults.keys()
        snapshot = self.bench.service.snapshot
        assert snapshot is not None
        self._delivered.append(abs(self.wires["inverter_w"] - ASKED_W) <= 60)
        self._moments["decisions"].add(snapshot.now_ms)
        for reading in snapshot.readings:
            self._moments[reading.device].add(reading.sampled_ms)
        battery = self.bench.devices["battery"]
        assert isinstance(battery, BatteryDevice)
        heard_ms = round(1000 * (asyncio.get_running_loop().time() - battery._silent_s), -2)
        self._moments["keepalives"].add(int(heard_ms))

    def check(self) -> None:
        """Fail where an invariant of the plant did not hold."""
        broken = [verdict for verdict in self._judge.verdicts() if not verdict.held]
        assert not broken, "\n".join(f"{verdict.says}: {verdict.where}" for verdict in broken)


@contextlib.asynccontextmanager
async def watched(site: Site, folder: Path) -> AsyncIterator[Watch]:
    """Run a site in lockstep under the judge."""
    async with lockstep(site, folder) as bench:
        bench.wires["load_set_w"] = LOAD_W
        watch = Watch(bench)
        looking = asyncio.get_running_loop().create_task(watch.look())
        try:
            yield watch
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)


def play(
    folder: Path, story: Story, devices: Mapping[str, Callable[..., Any]] | None = None, site: Site | None = None
) -> None:
    """Run a story with some devices replaced; then the plant was safe, and the journal is whole and replays."""

    async def main() -> None:
        async with watched(site or quiet_site(), folder) as watch:
            await story(watch)
            watch.check()

    with patch.dict(KINDS, devices or {}):
        run_virtual(main())
    assert not [damage for segment in read(folder / "journal") for damage in segment.damage]
    result = replay(folder / "journal")
    assert result.first is None, str(result.first)
