"""The utility as a bench plays it: what it wants, written once a second, and what it may believe to be in force."""

import asyncio
import contextlib
from collections.abc import Callable

from controller.model import Site
from hil.dispatch import START, STOP, TIMEOUT_S, Dispatch, DispatchError, Points, Write

REFRESH_S = 1.0
RETRY_S = 1.0
# What a signal of the utility's sets: a number or nothing, or a statement by the name of its field.
VALUES = (
    *("set_w", "limit_pct", "reactive_var", "envelope_import_w", "envelope_export_w", "consumption_w"),
    *("reserve_pct", "reserve_within_s"),
)
STATEMENTS = {"cease": "cease", "heartbeat": "beats", "consumption_beats": "consumption_beats"}


class Wish:
    """What the utility wants of a site. A field that is None is not written; a changed one is written at once."""

    def __init__(self) -> None:
        self.set_w: float | None = None
        self.limit_pct: float | None = None
        self.cease = False
        self.beats = False  # keeps its order alive by a heartbeat in place of writing it again
        self.reactive_var: float | None = None
        # By protocols that are not there yet (extras.py): magnitudes at the POI, and energy to be kept.
        self.envelope_import_w: float | None = None
        self.envelope_export_w: float | None = None
        self.consumption_w: float | None = None
        self.consumption_beats = False
        self.reserve_pct: float | None = None
        self.reserve_within_s: float | None = None  # None: it is kept, and not charged for

    def put(self, name: str, value: float | None) -> None:
        """Want something by the name of its signal, None = no longer. Raises KeyError for a name that is none."""
        if name in STATEMENTS:
            setattr(self, STATEMENTS[name], bool(value))
        elif name in VALUES:
            setattr(self, name, value)
        else:
            raise KeyError(name)


class Order:
    """What the utility may believe to be in force: what was acknowledged last, until its lease ends."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._power_w: int | None = None
        self._until_s = 0.0

    def acknowledged(self, power_w: int, now_s: float, timer_s: float = 0.0) -> None:
        """Note a set point that the site took."""
        self._power_w, self._until_s = power_w, now_s + (timer_s or self._lease_s)

    def sent(self, power_w: int, now_s: float) -> None:
        """Note a set point that is on its way: the site may take it and its answer may be lost."""
        self._power_w, self._until_s = power_w, now_s + TIMEOUT_S + self._lease_s

    def renewed(self, now_s: float) -> None:
        """Note a heartbeat that the site took."""
        if self._power_w is not None and now_s < self._until_s:
            self._until_s = now_s + self._lease_s

    def ended(self) -> None:
        """Note that the site was told to forget it."""
        self._power_w = None

    def power_w(self, now_s: float) -> int | None:
        """Return the set point in force, None where there is none."""
        return self._power_w if now_s < self._until_s else None


class Utility:
    """The utility on a real socket. Faults of its own line and mind are hooks: `silent`, `mangle`."""

    def __init__(self, site: Site, port: Callable[[], int], now_s: Callable[[], float]) -> None:
        """port: where the site's server is to be reached now."""
        self.wish = Wish()
        self.order, self.reactive = Order(site.utility.lease_s), Order(site.utility.lease_s)
        self.silent = False
        self.mangle: Callable[[Write], list[Write]] = lambda write: [write]
        self.line: Dispatch | None = None
        self._port, self._unit, self._now_s = port, site.utility.unit_id, now_s
        self._changed = asyncio.Event()
        self._beats = 0

    def changed(self) -> None:
        """Write what is wanted now, not at the next refresh."""
        self._changed.set()

    @property
    def order_w(self) -> int | None:
        """The set point that the utility may believe to be in force."""
        return self.order.power_w(self._now_s())

    @property
    def reactive_var(self) -> int | None:
        """The set point of reactive power that the utility may believe to be in force."""
        return self.reactive.power_w(self._now_s())

    async def run(self) -> None:
        """Connect, find the points, keep what is wanted alive, for ever."""
        try:
            while True:
                try:
                    await self.connect()
                    await self._keep()
                except DispatchError:
                    await asyncio.sleep(RETRY_S)
                finally:
                    await self.hang_up()
        finally:
            await self.hang_up()

    async def connect(self) -> None:
        """Connect and find the points. Raises DispatchError."""
        self.line = Dispatch(self._port(), self._unit)
        await self.line.discover()

    async def ask(self, power_w: int, timer_s: int = 0) -> bool:
        """Write one set point now. Returns whether the site acknowledged it."""
        assert self.line is not None, "not connected"
        taken = await self.line.ask(power_w, timer_s)
        if taken:
            self.order.acknowledged(power_w, self._now_s(), timer_s)
        return taken

    async def hang_up(self) -> None:
        """Close the line."""
        line, self.line = self.line, None
        if line is not None:
            await line.close()

    async def _keep(self) -> None:
        stopped = False
        while True:
            self._changed.clear()
            if not self.silent:
                stopped = await self._write(stopped)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    await self._changed.wait()

    async def _write(self, stopped: bool) -> bool:
        """Write all that is wanted. Returns whether the site is told to cease."""
        wish, points = self.wish, self.line.points if self.line else None
        assert points is not None, "not connected"
        if wish.cease != stopped:
            ceases = wish.cease
            stopped = ceases if await self._send(points.operate(STOP if ceases else START)) else stopped
        if wish.limit_pct is not None:
            await self._send(points.limit(wish.limit_pct))
        if wish.beats:
            self._beats += 1
            if await self._send(points.beat(self._beats)):
                self.order.renewed(self._now_s())
        await self._write_reactive(points)
        power_w = wish.set_w
        if power_w is None or (wish.beats and self.order_w == round(power_w)):
            return stopped
        self.order.sent(round(power_w), self._now_s())
        if await self._send(points.set_point(round(power_w))):
            self.order.acknowledged(round(power_w), self._now_s())
        return stopped

    async def _write_reactive(self, points: Points) -> None:
        """Write the reactive set point, or take it out of force once nothing is wanted any more."""
        wanted_var, standing_var = self.wish.reactive_var, self.reactive_var
        if wanted_var is not None:
            if await self._send(*points.reactive(round(wanted_var))):
                self.reactive.acknowledged(round(wanted_var), self._now_s())
        elif standing_var is not None and await self._send(*points.reactive(None)):
            self.reactive.ended()

    async def _send(self, *writes: Write) -> bool:
        assert self.line is not None, "not connected"
        taken = True
        for write in writes:
            for one in self.mangle(write):
                taken = await self.line.write(one) and taken
        return taken
