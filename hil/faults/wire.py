"""The verbs on a TCP wire: the table, and how each begins.

A verb puts a toxic on the bench's wires[name]; healing takes it away. Where a fault names no direction, a verb acts
both ways, or toward the controller where only that makes sense ("reply" rows). The Modbus verbs act on what a device
answers, so they are for devices only.

The kernel refuses a connect, or drops it, without telling anyone: a port that is shut counts once, when it shuts.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from hil.faults.words import WITH_FRAMES, Armed, Heal, Kind, Param, Verb
from hil.wire import modbus, toxics
from hil.wire.door import Address
from hil.wire.proxy import BOTH, Direction, Stage, Toxic, Way, Wire
from hil.wire.toxics import Strikes, by_chance

Begin = Callable[[Any, Armed], Heal]

DEVICES: frozenset[Kind] = frozenset(("inverter", "meter", "inputs"))
ENDS: frozenset[Kind] = DEVICES | {"utility"}
UTILITY: frozenset[Kind] = frozenset(("utility",))

SHARE = Param(default=1.0, low=0.0, high=1.0, says="how often it strikes, a request or reply at a time")
OFFSET = Param(default=1, low=-0xFFFF, high=0xFFFF, says="how far off the field is")
CLIENTS_MAX = 32


def _strikes(armed: Armed) -> Strikes:
    return by_chance(armed.random, armed.number("share"))


def _wire(bench: Any, name: str) -> Wire:
    wire: Wire | None = bench.wires.get(name)
    if wire is None:
        raise LookupError(f"{name} is on no wire; on one are {', '.join(bench.wires) or 'none'}")
    return wire


def _added(wire: Wire, toxic: Toxic) -> Heal:
    wire.add(toxic)
    return lambda: wire.remove(toxic)


def _stage(make: Callable[[Armed], Stage], both: Direction = "both") -> Begin:
    """Return the begin of a verb that is a stage. both: the direction where the fault names none."""

    def begin(bench: Any, armed: Armed) -> Heal:
        wire = _wire(bench, armed.fault.on)
        ways = wire.ways(both if armed.fault.direction == "both" else armed.fault.direction)
        return _added(wire, Toxic(stages=lambda: {way: make(armed) for way in ways}))

    return begin


def _toxic(make: Callable[[Armed], Toxic]) -> Begin:
    """Return the begin of a verb that is a whole toxic."""

    def begin(bench: Any, armed: Armed) -> Heal:
        toxic = make(armed)
        heal = _added(_wire(bench, armed.fault.on), toxic)
        if toxic.door != "open":
            armed.bit(f"the port: {toxic.door}")
        return heal

    return begin


def _altered(make: Callable[[int], modbus.Alter]) -> Begin:
    """Return the begin of a verb that changes one field of the replies by its parameter offset."""

    def toxic(armed: Armed) -> Toxic:
        alter, strikes = make(int(armed.number("offset"))), _strikes(armed)
        return Toxic(stages=lambda: {"reply": modbus.Altered(armed.bit, strikes, alter)})

    return _toxic(toxic)


def _refuse(armed: Armed) -> Toxic:
    return Toxic(door="refuse", resets=frozenset(("first",)))


def _black_hole(armed: Armed) -> Toxic:
    stages = partial(_both, lambda: toxics.Swallow(armed.bit))
    return Toxic(stages=stages, door="hang", resets=frozenset(("last",)))


def _unplug(armed: Armed) -> Toxic:
    stages = partial(_both, lambda: toxics.Silence(armed.bit))
    return Toxic(stages=stages, door="hang" if armed.text("connects") == "hang" else "refuse")


def _half_open(armed: Armed) -> Toxic:
    return Toxic(stages=partial(_both, lambda: toxics.Silence(armed.bit)))


def _both(make: Callable[[], Stage]) -> dict[Way, Stage]:
    return {way: make() for way in BOTH}


def _other_device(bench: Any, armed: Armed) -> Heal:
    wire, strikes = _wire(bench, armed.fault.on), _strikes(armed)
    other = armed.text("other") or next((name for name in bench.wires if name != armed.fault.on), "another")
    server = _wire(bench, other).upstream

    def upstream() -> Address | None:
        if not strikes():
            return None
        armed.bit(f"{other} answers")
        return server

    return _added(wire, Toxic(upstream=upstream, resets=frozenset(("first", "last"))))


def _slow_loris(bench: Any, armed: Armed) -> Heal:
    host, _, port = bench.site.utility.listen.rpartition(":")
    clients, gap_s = int(armed.number("clients")), armed.number("gap_s")
    dribble = toxics.slow_loris((host, int(port)), clients=clients, gap_s=gap_s, bit=armed.bit)
    task = asyncio.get_running_loop().create_task(dribble)

    def heal() -> None:
        task.cancel()

    return heal


def _exceptions(armed: Armed) -> Toxic:
    return modbus.exceptions(
        armed.bit,
        _strikes(armed),
        int(armed.number("code")),
        writes_only=bool(armed.number("writes_only")),
    )


def _delay(armed: Armed) -> Stage:
    return toxics.Delay(armed.bit, armed.random, armed.number("latency_s"), armed.number("jitter_s"))


def _late_replies(armed: Armed) -> Toxic:
    restamped = bool(armed.number("restamped"))
    return modbus.late_replies(armed.bit, _strikes(armed), restamped=restamped)


def _rows(on: frozenset[Kind], *rows: tuple[str, str, Begin, dict[str, Param]], cuts: bool = False) -> tuple[Verb, ...]:
    return tuple(
        Verb(name=name, layer="wire", says=says, on=on, begin=begin, params=params, modes=WITH_FRAMES, cuts=cuts)
        for name, says, begin, params in rows
    )


_CUTTING = _rows(
    ENDS,
    ("refuse", "the port is closed: connects are refused, open connections are reset", _toxic(_refuse), {}),
    (
        "black_hole",
        "nothing comes back: connects hang, what was sent is lost, a reset at the end",
        _toxic(_black_hole),
        {},
    ),
    ("half_open", "connects are taken and nothing is said; it all comes at the end", _toxic(_half_open), {}),
    (
        "unplug",
        "the cable is out: connections fall silent; what was sent is repeated at the end",
        _toxic(_unplug),
        {"connects": Param(default="hang", choices=("hang", "refuse"), says="what becomes of connects")},
    ),
    cuts=True,
)

_BYTES = _rows(
    ENDS,
    (
        "delay",
        "bytes come later, none before another",
        _stage(
            lambda armed: toxics.Delay(armed.bit, armed.random, armed.number("latency_s"), armed.number("jitter_s"))
        ),
        {
            "latency_s": Param(default=0.5, low=0.0, high=60.0, unit="s", says="how much later"),
            "jitter_s": Param(default=0.0, low=0.0, high=60.0, unit="s", says="by how much that goes up and down"),
        },
    ),
    (
        "rate",
        "bytes come as on a slow line",
        _stage(lambda armed: toxics.Rate(armed.bit, armed.number("bytes_per_s"))),
        {"bytes_per_s": Param(default=1000.0, low=1.0, high=1e7, unit="bytes/s", says="how fast")},
    ),
    (
        "slice",
        "chunks come in small segments",
        _stage(
            lambda armed: toxics.Slice(armed.bit, int(armed.number("size_bytes")), armed.number("gap_s")), both="up"
        ),
        {
            "size_bytes": Param(default=1, low=1, high=1000, unit="bytes", says="of a segment"),
            "gap_s": Param(default=0.0, low=0.0, high=10.0, unit="s", says="between two of them"),
        },
    ),
    (
        "lose",
        "chunks are gone",
        _stage(lambda armed: toxics.Lose(armed.bit, _strikes(armed))),
        {"share": Param(default=0.02, low=0.0, high=1.0, says=SHARE.says)},
    ),
    (
        "duplicate",
        "chunks come twice",
        _stage(lambda armed: toxics.Duplicate(armed.bit, _strikes(armed))),
        {"share": SHARE},
    ),
    (
        "corrupt",
        "one bit of a chunk is wrong",
        _stage(lambda armed: toxics.Corrupt(armed.bit, _strikes(armed), armed.random)),
        {"share": SHARE},
    ),
)

_REPLIES = _rows(
    ENDS,
    (
        "reset",
        "RST in the middle of a transaction",
        _stage(
            lambda armed: toxics.Reset(armed.bit, _strikes(armed), int(armed.number("after_bytes"))),
            both="up",
        ),
        {
            "share": SHARE,
            "after_bytes": Param(default=0, low=0, high=260, unit="bytes", says="of the reply that still come"),
        },
    ),
    (
        "close_each",
        "FIN follows each reply",
        _stage(lambda armed: toxics.CloseEach(armed.bit, _strikes(armed)), both="up"),
        {"share": SHARE},
    ),
    (
        "merge",
        "a reply waits for the next and comes with it in one segment",
        _stage(lambda armed: toxics.Merge(armed.bit, _strikes(armed)), both="up"),
        {"share": SHARE},
    ),
    (
        "truncate",
        "a reply ends early, then FIN",
        _stage(
            lambda armed: toxics.Truncate(armed.bit, _strikes(armed), int(armed.number("length_bytes"))),
            both="up",
        ),
        {
            "share": SHARE,
            "length_bytes": Param(default=10, low=0, high=260, unit="bytes", says="what is left of the reply"),
        },
    ),
    (
        "flood",
        "any bytes come between the real ones",
        _stage(
            lambda armed: toxics.Flood(
                armed.bit, armed.random, int(armed.number("chunk_bytes")), armed.number("gap_s")
            ),
            both="up",
        ),
        {
            "chunk_bytes": Param(default=200, low=1, high=65536, unit="bytes", says="how many at once"),
            "gap_s": Param(default=0.1, low=0.001, high=60.0, unit="s", says="between two times"),
        },
    ),
)

_MODBUS = _rows(
    DEVICES,
    (
        "wrong_transaction",
        "replies bear another transaction",
        _altered(modbus.wrong_transaction),
        {"offset": OFFSET, "share": SHARE},
    ),
    ("wrong_unit", "replies come from another unit", _altered(modbus.wrong_unit), {"offset": OFFSET, "share": SHARE}),
    (
        "wrong_function",
        "replies are of another function",
        _altered(modbus.wrong_function),
        {"offset": OFFSET, "share": SHARE},
    ),
    (
        "wrong_count",
        "replies claim more or less than they hold",
        _altered(modbus.wrong_count),
        {"offset": OFFSET, "share": SHARE},
    ),
    (
        "late_reply",
        "the reply of the request before comes in place of this one's",
        _toxic(_late_replies),
        {
            "share": SHARE,
            "restamped": Param(default=False, low=0, high=1, says="it bears this request's transaction"),
        },
    ),
    (
        "exception",
        "requests are answered with an exception",
        _toxic(_exceptions),
        {
            "code": Param(default=4, low=1, high=11, says="the exception"),
            "writes_only": Param(default=False, low=0, high=1, says="reads are answered as ever"),
            "share": SHARE,
        },
    ),
    (
        "other_device",
        "another device answers at the address, as with a duplicate IP",
        _other_device,
        {"other": Param(default="", says="its name; left out = any other on a wire"), "share": SHARE},
    ),
)

_SERVER = _rows(
    UTILITY,
    (
        "slow_loris",
        "clients hold connections of the site's server and never finish a request",
        _slow_loris,
        {
            "clients": Param(default=16, low=1, high=CLIENTS_MAX, says="how many"),
            "gap_s": Param(default=1.0, low=0.001, high=600.0, unit="s", says="between two bytes"),
        },
    ),
)

VERBS: tuple[Verb, ...] = _CUTTING + _BYTES + _REPLIES + _MODBUS + _SERVER
