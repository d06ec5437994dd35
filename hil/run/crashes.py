"""A site whose controller is killed after a given turn, and what must hold of the plant and the journal afterwards.

The controller dies twice at the same place. The first time it is started again at once. The second time it stays away
until the inverter's own timer has run out, and the power has failed with it: its last write to the journal is cut.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import msgspec

from controller.app.sitefile import load
from controller.journal import Entry, read, replay
from controller.model import Default, Site
from hil.clock import run_virtual
from hil.judge import IDLE_W, Judge
from hil.run.lockstep import START_S, Lockstep, lockstep
from hil.stage import DEMO_SITE

FIRST_W, SECOND_W = 3000, -2000  # the two orders
NEAR_W = 100
CYCLE_S = 1.1  # one cycle and a little
FOLLOWED_S = 3.0  # from an order to its power
BACK_S = 6.0  # from a kill to a controller that hears every device
SETTLED_S = 1.5  # from the end of a reversion timer to no power
AWAY_S = 8.0  # longer than the inverter waits
TORN_BYTES, TORN_MOST_BYTES = 37, 1000  # more of the last write stays with every case
CUT = "cut or damaged up to the end"


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """When the controller dies. last(bench) lets the moment pass and returns how many turns there are to die at.

    dies(bench, turn_count, dying) lets it die after so many of them; dying is called once that life is there.
    """

    name: str
    says: str
    dies: Callable[[Lockstep, int, Callable[[], None]], Coroutine[None, None, None]]
    last: Callable[[Lockstep], Coroutine[None, None, int]]
    life_count: int = 1  # how many end each time
    in_order: bool = False  # it may come to its end before it is killed


async def _dies_under_order(bench: Lockstep, turn_count: int, dying: Callable[[], None]) -> None:
    dying()
    bench.supervisor.kill(turn_count)
    asking = asyncio.ensure_future(bench.utility.ask(SECOND_W))
    await _gone(bench, 1)
    await bench.utility.hang_up()
    await asyncio.wait((asking,))


async def _turns_under_order(bench: Lockstep) -> int:
    process = bench.supervisor.process
    assert process is not None
    before = process.turns
    assert await bench.utility.ask(SECOND_W)
    await asyncio.sleep(CYCLE_S)
    return process.turns - before


async def _dies_at_start(bench: Lockstep, turn_count: int, dying: Callable[[], None]) -> None:
    bench.supervisor.before_start(dying)
    bench.supervisor.before_start(lambda: bench.supervisor.kill(turn_count))
    bench.supervisor.kill()
    await _gone(bench, 2)


async def _turns_at_start(bench: Lockstep) -> int:
    bench.supervisor.kill()
    await _gone(bench, 1)
    await asyncio.sleep(START_S)
    process = bench.supervisor.process
    assert process is not None
    return process.turns


async def _dies_at_stop(bench: Lockstep, turn_count: int, dying: Callable[[], None]) -> None:
    dying()
    bench.supervisor.kill(turn_count)
    bench.supervisor.stop()
    await _gone(bench, 1)


async def _turns_at_stop(bench: Lockstep) -> int:
    process = bench.supervisor.process
    assert process is not None
    before = process.turns
    bench.supervisor.stop()
    await _gone(bench, 1)
    return process.turns - before - 1  # with the last one it has ended in order


MOMENTS = {
    row.name: row
    for row in (
        Moment(
            name="order",
            says="through a whole cycle with a new order, its decision, its write and its record",
            dies=_dies_under_order,
            last=_turns_under_order,
        ),
        Moment(
            name="start",
            says="from the start of a life until every device is heard and commanded",
            dies=_dies_at_start,
            last=_turns_at_start,
            life_count=2,
        ),
        Moment(
            name="stop",
            says="from the request to stop until it is at rest and gone",
            dies=_dies_at_stop,
            last=_turns_at_stop,
            in_order=True,
        ),
    )
}


def a_site() -> Site:
    """Return the demo's site, at rest while nobody asks anything."""
    site = load(DEMO_SITE)
    return msgspec.structs.replace(site, utility=msgspec.structs.replace(site.utility, default=Default(program="hold")))


def turns(moment: Moment, folder: Path) -> int:
    """Return after how many turns the controller can die in a moment."""

    async def main() -> int:
        async with lockstep(a_site(), folder) as bench:
            await _under_order(bench)
            return await moment.last(bench)

    return run_virtual(main())


def crash(moment: Moment, turn_no: int, folder: Path) -> list[str]:
    """Let the controller die at a turn of a moment, twice, and return what did not hold."""
    case = _Case(moment, turn_no)
    run_virtual(case.run(folder))
    case.look_at(folder / "journal")
    return case.wrong


class _Case:
    """One site through both deaths. wrong is what did not hold."""

    def __init__(self, moment: Moment, turn_no: int) -> None:
        self.wrong: list[str] = []
        self._moment, self._turn_no = moment, turn_no
        self._site = a_site()
        self._judge = Judge(self._site)

    async def run(self, folder: Path) -> None:
        """Live through it."""
        (unit,) = self._site.unit
        assert unit.watchdog_s is not None
        async with lockstep(self._site, folder, tick=self._tick) as bench:
            await _under_order(bench)
            await self._moment.dies(bench, self._turn_no, lambda: None)
            await self._back(bench)
            await _under_order(bench)
            let_go: list[Callable[[], None]] = []
            await self._moment.dies(bench, self._turn_no, lambda: let_go.append(bench.supervisor.hold()))
            bench.disk.tear(self._turn_no * TORN_BYTES % TORN_MOST_BYTES)
            await asyncio.sleep(unit.watchdog_s + SETTLED_S)
            self._check(_rests(bench), f"the inverter is at {_power_w(bench):.0f} W after its own timer has run out")
            await asyncio.sleep(AWAY_S - unit.watchdog_s - SETTLED_S)
            let_go[0]()
            await self._back(bench)
            await _under_order(bench)
            ends = [end.how for end in bench.supervisor.ends]
            expected = ("killed", "stopped") if self._moment.in_order else ("killed",)
            fits = len(ends) == 2 * self._moment.life_count and all(how in expected for how in ends)
            self._check(fits, f"its lives ended otherwise: {bench.supervisor.ends}")
        self.wrong += [f"{one.invariant}: {one.says}: {one.where}" for one in self._judge.verdicts() if not one.held]

    def look_at(self, journal: Path) -> None:
        """See that the journal is whole but for what the power failure cut, and says how it came to each decision."""
        for segment in read(journal):
            hurt = [one for one in segment.damage if one.because != CUT]
            self._check(not hurt, f"the journal is damaged: {hurt}")
            self._check(_begins_anew(segment.entries()), f"a life begins with an order of before: {segment.path.name}")
        result = replay(journal)
        self._check(result.first is None, f"the replay differs: {result.first}")

    async def _back(self, bench: Lockstep) -> None:
        """See that the controller is back, and does nothing that nobody asks of it."""
        await bench.utility.hang_up()
        await asyncio.sleep(BACK_S)
        service = bench.supervisor.service
        if service is None or service.snapshot is None or service.decision is None:
            self.wrong.append("the controller is not back")
            return
        self._check(not service.snapshot.missing, f"not heard: {service.snapshot.missing}")
        self._check(service.decision.asked_w is None, f"it follows {service.decision.asked_w} W that nobody asks")
        self._check(_rests(bench), f"the inverter is at {_power_w(bench):.0f} W that nobody asks")
        await bench.utility.connect()

    def _tick(self, bench: Lockstep, now_s: float) -> None:
        bench.plant.order_w = bench.utility.order_w
        self._judge.sample(bench.plant.truth())

    def _check(self, held: bool, otherwise: str) -> None:
        if not held:
            self.wrong.append(otherwise)


async def _gone(bench: Lockstep, life_count: int) -> None:
    """Wait until so many lives more have ended. Raises AssertionError where that takes too long."""
    wanted = len(bench.supervisor.ends) + life_count
    for _ in range(100):
        if len(bench.supervisor.ends) >= wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not die")


async def _under_order(bench: Lockstep) -> None:
    """Ask for the first power and see it delivered. Raises AssertionError where it is not."""
    assert await bench.utility.ask(FIRST_W), "the order was not taken"
    await asyncio.sleep(FOLLOWED_S)
    assert abs(_power_w(bench) - FIRST_W) < NEAR_W, f"{FIRST_W} W were asked and {_power_w(bench):.0f} W came"


def _power_w(bench: Lockstep) -> float:
    return bench.plant.truth().units[0].ac_w


def _rests(bench: Lockstep) -> bool:
    return abs(_power_w(bench)) <= IDLE_W


def _begins_anew(entries: Iterator[Entry]) -> bool:
    """Say whether the first decision of a life stands on no order."""
    entry = next(entries, None)
    return entry is None or entry.seq > 0 or not entry.snapshot.orders
