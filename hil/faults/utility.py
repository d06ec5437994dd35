"""The verbs on the utility's line: what it says, how often, in which order, and who else says something.

What changes an order changes the utility's wish, so that the bench knows which order is in force; what happens to
single writes is a change of those. Other clients have connections of their own.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from controller.model import Site
from hil.dispatch import OFFSETS_704, Dispatch, DispatchError, Points, Write
from hil.faults.bench import Bench, Caller, Standing, overlaid
from hil.faults.words import ALL_MODES, WITH_FRAMES, Armed, Heal, Kind, Mode, Param, Verb
from hil.run.utility import Utility

UTILITY: frozenset[Kind] = frozenset(("utility",))
RETRY_S = 1.0
AGAIN_S = 1.0  # a contradicting client writes so often
LARGEST, NOT_IMPLEMENTED = 2**31 - 1, -(2**31)  # of an int32: SunSpec Device Information Model Specification V1.2.1
OUTSIDE = 65_000  # a register that no map of a site reaches
CHANGES_MAX = 1024  # writes that were replaced and may still come again
MOST_W = 1e7

Change = Callable[[Write], list[Write]]
Value = Callable[[Any], Any]
Talk = Callable[[Dispatch, Points], Coroutine[Any, Any, None]]


class Reached(Bench, Protocol):
    """A bench with frames: utility is a client on a socket, site says where the site's server listens."""

    @property
    def site(self) -> Site: ...


class _Changes:
    """What becomes of each write: all changes that stand, one behind the other. Sits where the utility asks for it."""

    def __init__(self, before: Change) -> None:
        self.before = before
        self.standing: list[Change] = []

    def __call__(self, write: Write) -> list[Write]:
        """Return what goes out in place of a write."""
        writes = self.before(write)
        for change in self.standing:
            writes = [changed for one in writes for changed in change(one)]
        return writes


def _changes(utility: Caller) -> _Changes:
    if not isinstance(utility.mangle, _Changes):
        utility.mangle = _Changes(utility.mangle)
    return utility.mangle


def _changed(utility: Caller, change: Change) -> Heal:
    """Let a change stand."""
    standing = _changes(utility).standing
    standing.append(change)
    return lambda: standing.remove(change)


def _wished(bench: Bench, armed: Armed, name: str, value: Value) -> Standing:
    """Let the utility want value(what it wants itself), also while that changes; each write meanwhile is an effect."""
    utility = bench.utility
    overlay, unwish = overlaid(utility.wish, name, value)
    uncount = _changed(utility, lambda write: _counted(write, armed))
    utility.changed()

    def look() -> None:
        if overlay.look():
            utility.changed()

    def heal() -> None:
        uncount()
        unwish()
        utility.changed()

    return Standing(heal, look)


def _counted(write: Write, armed: Armed) -> list[Write]:
    armed.bit()
    return [write]


def _silent(bench: Bench, armed: Armed) -> Heal:
    """An effect is a tick at which the utility wants something and says nothing."""
    utility = bench.utility
    overlay, speak = overlaid(utility, "silent", lambda _silent: True)

    def look() -> None:
        overlay.look()
        wish = utility.wish
        if wish.set_w is not None or wish.limit_pct is not None or wish.cease or wish.beats:
            armed.bit()

    def heal() -> None:
        speak()
        utility.changed()

    return Standing(heal, look)


def _write_twice(bench: Bench, armed: Armed) -> Heal:
    def change(write: Write) -> list[Write]:
        armed.bit()
        return [write, write]

    return _changed(bench.utility, change)


def _old(bench: Bench, armed: Armed) -> Heal:
    """Send a block once more, late_s after another took its place."""
    plant, late_s = bench.plant, armed.number("late_s")
    last: dict[int, Write] = {}
    replaced: deque[tuple[float, Write]] = deque(maxlen=CHANGES_MAX)

    def change(write: Write) -> list[Write]:
        before = last.get(write.address, write)
        if len(write.registers) > 2:  # a block of 704; heartbeats and operations have one register or two
            last[write.address] = write
            if before != write:
                replaced.append((plant.now_s + late_s, before))
        writes = [write]
        while replaced and replaced[0][0] <= plant.now_s:
            writes.append(replaced.popleft()[1])
            armed.bit()
        return writes

    return _changed(bench.utility, change)


def _nonsense(bench: Bench, armed: Armed) -> Heal:
    values: dict[str, Callable[[float], float]] = {
        "largest": lambda _set_w: LARGEST,
        "not_implemented": lambda _set_w: NOT_IMPLEMENTED,
        "kilowatts": lambda set_w: set_w / 1000,
        "thousandfold": lambda set_w: 1000 * set_w,
    }
    value = values[armed.text("what")]
    return _wished(bench, armed, "set_w", lambda set_w: None if set_w is None else value(set_w))


def _limit_too(bench: Bench, armed: Armed) -> Heal:
    """Afterwards it writes a limit of 100 % where it wants none itself, or the other would stand until it lapses."""
    limit_pct, wish = armed.number("limit_pct"), bench.utility.wish
    wished = _wished(bench, armed, "limit_pct", lambda _theirs: limit_pct)

    def heal() -> None:
        wished.heal()
        if wish.limit_pct is None:
            wish.limit_pct = 100.0

    return Standing(heal, wished.look)


def _ask_all(bench: Bench, armed: Armed) -> Heal:
    power_w = armed.number("power_w")
    return _wished(bench, armed, "set_w", lambda _theirs: power_w)


def _flap(bench: Bench, armed: Armed) -> Heal:
    utility, plant = bench.utility, bench.plant
    theirs, due_s = utility.wish.cease, plant.now_s

    def look() -> None:
        nonlocal due_s
        if plant.now_s >= due_s:
            due_s += armed.number("every_s")
            utility.wish.cease = not utility.wish.cease
            utility.changed()
            armed.bit()

    def heal() -> None:
        utility.wish.cease = theirs
        utility.changed()

    return Standing(heal, look)


def _expires_offline(bench: Reached, armed: Armed) -> Heal:
    """Ask for a while, and be gone before that is over."""
    utility = bench.utility
    if not isinstance(utility, Utility) or utility.line is None:
        raise RuntimeError("the utility is not connected")

    async def ask(caller: Utility) -> None:
        if await caller.ask(round(armed.number("power_w")), round(armed.number("timer_s"))):
            armed.bit(f"{armed.number('power_w'):g} W for {armed.number('timer_s'):g} s")

    _, speak = overlaid(utility, "silent", lambda _silent: True)
    task = asyncio.get_running_loop().create_task(ask(utility))

    def heal() -> None:
        task.cancel()
        speak()
        utility.changed()

    return heal


def _clients(bench: Reached, talk: Talk, count: int = 1) -> Heal:
    """Let clients of their own talk to the site's server; each connects anew where its line breaks."""
    utility = bench.site.utility
    port = int(utility.listen.rpartition(":")[2])

    async def client() -> None:
        while True:
            line = Dispatch(port, utility.unit_id)
            try:
                await line.discover()
                assert line.points is not None
                await talk(line, line.points)
            except DispatchError:
                await asyncio.sleep(RETRY_S)
            finally:
                await line.close()

    tasks = [asyncio.get_running_loop().create_task(client()) for _ in range(count)]

    def heal() -> None:
        for task in tasks:
            task.cancel()

    return heal


def _second_client(bench: Reached, armed: Armed) -> Heal:
    async def talk(line: Dispatch, points: Points) -> None:
        while True:
            if await line.write(points.set_point(round(armed.number("power_w")))):
                armed.bit()
            await asyncio.sleep(AGAIN_S)

    return _clients(bench, talk)


def _stray_writes(bench: Reached, armed: Armed) -> Heal:
    where = armed.text("where")

    async def talk(line: Dispatch, points: Points) -> None:
        block = points.set_point(LARGEST).registers
        places = {
            "outside": Write(OUTSIDE, block),
            "read_only": Write(line.models[701], block),
            "half": Write(line.models[704] + OFFSETS_704["WSet"] + 1, [0]),
        }
        while True:
            taken = await line.write(places[where])
            await line.discover()  # refused, and not unheard: the line still answers
            armed.bit("taken" if taken else "refused")
            await asyncio.sleep(AGAIN_S)

    return _clients(bench, talk)


def _flood_writes(bench: Reached, armed: Armed) -> Heal:
    """Write what is in force, or a heartbeat where nothing is: load and nothing else."""
    count = round(armed.number("clients"))
    gap_s = count / armed.number("per_s")

    async def talk(line: Dispatch, points: Points) -> None:
        loop = asyncio.get_running_loop()
        due_s, beats = loop.time(), 0
        while True:
            beats += 1
            order_w = bench.utility.order_w
            if await line.write(points.beat(beats) if order_w is None else points.set_point(order_w)):
                armed.bit()
            due_s = max(due_s + gap_s, loop.time())
            await asyncio.sleep(due_s - loop.time())

    return _clients(bench, talk, count)


def _verb(
    name: str,
    says: str,
    begin: Callable[[Any, Armed], Heal],
    modes: frozenset[Mode] = ALL_MODES,
    **params: Param,
) -> Verb:
    return Verb(name=name, layer="utility", says=says, on=UTILITY, begin=begin, params=params, modes=modes)


def _power(default_w: float, says: str) -> Param:
    return Param(default=default_w, low=-MOST_W, high=MOST_W, unit="W", says=says)


_SECONDS = Param(default=5.0, low=0.1, high=86_400.0, unit="s", says="how often")

VERBS: tuple[Verb, ...] = (
    _verb("silent", "it says nothing; its connection stays", _silent),
    _verb("write_twice", "every write comes twice", _write_twice),
    _verb(
        "old_write",
        "an order that was replaced comes once more",
        _old,
        late_s=Param(default=0.0, low=0.0, high=86_400.0, unit="s", says="so long after; 0 = right behind the new one"),
    ),
    _verb(
        "limit_too",
        "beside its set point it writes a limit that excludes it",
        _limit_too,
        limit_pct=Param(default=0.0, low=0.0, high=100.0, unit="%", says="of the rating"),
    ),
    _verb(
        "second_client",
        "another client writes another set point, once a second",
        _second_client,
        WITH_FRAMES,
        power_w=_power(-2000.0, "its set point, + toward the grid"),
    ),
    _verb(
        "nonsense",
        "its set points make no sense",
        _nonsense,
        what=Param(
            default="largest",
            choices=("largest", "not_implemented", "kilowatts", "thousandfold"),
            says="2^31 - 1, the word for no value, kW written as W, or a thousand times too much",
        ),
    ),
    _verb(
        "stray_writes",
        "another client writes where nothing can be written, once a second",
        _stray_writes,
        WITH_FRAMES,
        where=Param(default="outside", choices=("outside", "read_only", "half"), says="half: of a 32-bit value"),
    ),
    _verb(
        "ask_all",
        "it asks one power, whatever is left in the battery",
        _ask_all,
        power_w=_power(10_000.0, "what it asks, + toward the grid"),
    ),
    _verb(
        "expires_offline",
        "it writes an order with a reversion time and is not heard again",
        _expires_offline,
        WITH_FRAMES,
        power_w=_power(3000.0, "what it asks"),
        timer_s=Param(default=30.0, low=1.0, high=86_400.0, unit="s", says="the reversion time"),
    ),
    _verb(
        "flood_writes",
        "other clients write what is in force, again and again",
        _flood_writes,
        WITH_FRAMES,
        per_s=Param(default=100.0, low=1.0, high=1000.0, unit="1/s", says="writes of all of them together"),
        clients=Param(default=4.0, low=1.0, high=15.0, says="how many"),
    ),
    _verb(
        "beats_only",
        "it keeps its order alive by its heartbeat, and writes it no more",
        lambda bench, armed: _wished(bench, armed, "beats", lambda _theirs: True),
    ),
    _verb("flap", "it stops and starts the site, again and again", _flap, every_s=_SECONDS),
)
