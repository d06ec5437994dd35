"""The verbs on a battery's CAN bus: the table, and how each begins.

A verb puts a toxic on the bench's can_wires[name]; healing takes it away.
"""

from collections.abc import Callable
from typing import Any

from hil.faults.words import WITH_FRAMES, Armed, Heal, Kind, Param, Verb
from hil.wire import can
from hil.wire.can import CanToxic
from hil.wire.toxics import Strikes, by_chance

BATTERY: frozenset[Kind] = frozenset(("battery",))
SOC_ID = 0x355
FULL_BUS_PER_S = 3600.0  # 8-byte frames of 125 bits: 90 % of a bus with 500 kbit/s

_SHARE = Param(default=1.0, low=0.0, high=1.0, says="how often it strikes")
_ID = Param(default=SOC_ID, low=1, high=0x7FF, says="the identifier")
_ANY_ID = Param(default=can.EVERY, low=0, high=0x7FF, says="the identifier, 0 = every one")
_LENGTH = Param(default=4, low=0, high=8, unit="bytes", says="what is left of a frame")
_FRAMES = Param(default="355#FF006400", says="what each identifier carries, as cansend writes it")
_SOC = Param(default=-30.0, low=-100, high=100, unit="%", says="of the other pack, from the first one's")
_VOLTS = Param(default=-1.0, low=-20, high=20, unit="V", says="of the other pack, from the first one's")
_FLOOD_ID = Param(default=0x001, low=0, high=0x7FF, says="the identifier; a low one goes before all others")
_FLOOD = Param(default=FULL_BUS_PER_S, low=1, high=4400, unit="1/s", says="frames a second")

Begin = Callable[[Any, Armed], Heal]


def _toxic(make: Callable[[Armed], CanToxic]) -> Begin:
    """Return the begin of a verb that puts a toxic on the wire of the battery it names."""

    def begin(bench: Any, armed: Armed) -> Heal:
        wire: can.CanWire = bench.can_wires[armed.fault.on]
        toxic = make(armed)
        wire.add(toxic)
        return lambda: wire.remove(toxic)

    return begin


def _verb(name: str, says: str, make: Callable[[Armed], CanToxic], *, cuts: bool = False, **params: Param) -> Verb:
    return Verb(
        name=name,
        layer="can",
        says=says,
        on=BATTERY,
        begin=_toxic(make),
        params=params,
        modes=WITH_FRAMES,
        cuts=cuts,
    )


def _strikes(armed: Armed) -> Strikes:
    return by_chance(armed.random, armed.number("share"))


def _identifier(armed: Armed) -> int:
    return int(armed.number("identifier"))


VERBS: tuple[Verb, ...] = (
    _verb("can_unplug", "the cable is out: nothing passes", lambda armed: can.Unplug(armed.bit), cuts=True),
    _verb(
        "bus_off",
        "the BMS is bus-off; what it was about to send comes, old, when it recovers",
        lambda armed: can.BusOff(armed.bit),
        cuts=True,
    ),
    _verb(
        "drop_all",
        "the BMS sends nothing; it still hears",
        lambda armed: can.Drop(armed.bit, lambda: True, can.EVERY),
        cuts=True,
    ),
    _verb(
        "drop",
        "frames with an identifier are missing",
        lambda armed: can.Drop(armed.bit, _strikes(armed), _identifier(armed)),
        identifier=_ID,
        share=_SHARE,
    ),
    _verb(
        "short",
        "frames are shorter than the paper says",
        lambda armed: can.Short(armed.bit, _identifier(armed), int(armed.number("length_bytes"))),
        identifier=_ANY_ID,
        length_bytes=_LENGTH,
    ),
    _verb(
        "freeze",
        "frames come and never change",
        lambda armed: can.Freeze(armed.bit, _identifier(armed)),
        identifier=_ANY_ID,
    ),
    _verb(
        "garbage",
        "frames carry given bytes",
        lambda armed: can.Garbage(armed.bit, can.frames_of(armed.text("frames"))),
        frames=_FRAMES,
    ),
    _verb(
        "second_pack",
        "another pack with the same identifiers is on the bus",
        lambda armed: can.SecondPack(armed.bit, armed.number("soc_pct"), armed.number("pack_v")),
        soc_pct=_SOC,
        pack_v=_VOLTS,
    ),
    _verb(
        "reorder",
        "the frames of a set come in any order, an old one behind a new one",
        lambda armed: can.Reorder(armed.bit, _strikes(armed), armed.random),
        share=_SHARE,
    ),
    _verb(
        "can_flood",
        "another node fills the bus",
        lambda armed: can.Flood(armed.bit, _identifier(armed), armed.number("frames_per_s")),
        identifier=_FLOOD_ID,
        frames_per_s=_FLOOD,
    ),
    _verb(
        "hold_keepalive",
        "the controller's keepalive does not reach the BMS",
        lambda armed: can.HoldKeepalive(armed.bit, _strikes(armed)),
        share=_SHARE,
    ),
)
