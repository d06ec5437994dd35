"""Faults of sensors: what a device tells of a true value. Device and cable are sound; the number is wrong.

A point is a name of the device's own: those that its frames are filled from, in the point's own unit.
"""

from collections.abc import Callable

from hil.devices.inverter import TOLD as INVERTER_TOLD
from hil.devices.meter import TOLD as METER_TOLD
from hil.faults.bench import Bench, kind_of_part
from hil.faults.words import Armed, Heal, Kind, Param, Verb
from hil.plant import told
from hil.plant.told import Alter, Tamper

POINTS: dict[Kind, tuple[str, ...]] = {
    "inverter": tuple(INVERTER_TOLD),
    "meter": tuple(METER_TOLD),
    "battery": (
        *("soc", "soh", "pack_a", "pack_v", "temperature_c", "charge_max_a", "discharge_max_a"),
        *("cell_min_v", "cell_max_v", "temperature_min_c", "temperature_max_c"),  # told by canbus_bms alone
    ),
    "inputs": tuple(map(str, range(8))),  # the channels
}
FIRST: dict[Kind, str] = {"inverter": "ac_w", "meter": "power_w", "battery": "soc", "inputs": "0"}
ON: frozenset[Kind] = frozenset(POINTS)
ANY = 1e9

POINT = Param(
    default="",
    choices=("", *sorted({point for points in POINTS.values() for point in points})),
    says="what is told wrongly; left out = ac_w of an inverter, power_w of a meter, soc of a battery, 0 of inputs",
)


def _verb(name: str, says: str, make: Callable[[Armed, float], Alter], **params: Param) -> Verb:
    """Return a verb that puts make(armed, now_s) on a point."""

    def begin(bench: Bench, armed: Armed) -> Heal:
        part = bench.plant.parts[armed.fault.on]
        kind = kind_of_part(part)
        point = armed.text("point") or FIRST[kind]
        if point not in POINTS[kind]:
            raise ValueError(f"this {kind} tells no {point}; it tells {', '.join(POINTS[kind])}")
        tamper = part.told.add(point, Tamper(alter=make(armed, bench.plant.now_s), on_bite=armed.bit))
        return lambda: part.told.remove(tamper)

    return Verb(name=name, layer="told", says=says, on=ON, begin=begin, params={"point": POINT, **params})


def _number(value: float, says: str) -> Param:
    return Param(default=value, low=-ANY, high=ANY, says=says, unit="of the point")


VERBS: tuple[Verb, ...] = (
    _verb("stuck", "tells for ever what it tells when the fault begins", lambda armed, _now_s: told.stuck()),
    _verb(
        "wrong",
        "tells a value of its own",
        lambda armed, _now_s: told.wrong(armed.number("value")),
        value=_number(0.0, "what is told"),
    ),
    _verb(
        "offset",
        "tells the true value and a constant more",
        lambda armed, _now_s: told.offset(armed.number("by_value")),
        by_value=_number(0.1, "what is added"),
    ),
    _verb(
        "factor",
        "tells a multiple of the true value",
        lambda armed, _now_s: told.factor(armed.number("by_factor")),
        by_factor=Param(default=-1.0, low=-1000.0, high=1000.0, says="-1 turns the sign"),
    ),
    _verb(
        "drift",
        "tells more and more than the true value, or less and less",
        lambda armed, now_s: told.drift(armed.number("per_h"), now_s),
        per_h=_number(0.05, "what is added after an hour"),
    ),
    _verb(
        "jumps",
        "tells the true value and another by turns",
        lambda armed, now_s: told.jumps(armed.number("by_value"), armed.number("every_s"), now_s),
        by_value=_number(0.1, "what is added every other time"),
        every_s=Param(default=2.0, low=0.1, high=3600.0, unit="s", says="how long each turn lasts"),
    ),
    _verb(
        "noise",
        "tells the true value with normal noise, drawn anew ten times a second",
        lambda armed, _now_s: told.noise(armed.number("sigma"), armed.random.getrandbits(32)),
        sigma=Param(default=100.0, low=0.0, high=ANY, says="standard deviation", unit="of the point"),
    ),
    _verb("not_a_number", "tells nothing that is a number", lambda armed, _now_s: told.not_a_number()),
)
