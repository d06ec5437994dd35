"""The verbs on inverter and battery: what happens to them, whatever anybody is told. Meter and grid are in supply.py.

Most are one knob of a part, turned while the fault stands. A knob has an effect at each tick at which it shows; a meter
says itself when it shows what is not so.
"""

from typing import Any

from hil.faults import supply
from hil.faults.bench import Bench, Standing, overlaid
from hil.faults.knob import on, plant_verb, turned
from hil.faults.words import Armed, Heal, Param, Verb

SEEN_PU = 0.01  # of the rating: less is no effect
SEEN_SOC = 0.001
SEEN_C = 0.5


def _inverter(bench: Bench, name: str) -> Any:
    return bench.plant.inverter(name)


def _bms(bench: Bench, name: str) -> Any:
    return bench.plant.battery(name).bms


def _strays(inverter: Any, _armed: Armed) -> bool:
    """Say whether power is not where the set point wants it."""
    return bool(abs(inverter.ac_w - inverter.command_w) > SEEN_PU * inverter.spec.rated_w)


def _derated(inverter: Any, armed: Armed) -> bool:
    return bool(abs(inverter.command_w) > inverter.spec.rated_w * armed.number("to_pct") / 100)


def _trip(bench: Bench, armed: Armed) -> Heal:
    """Trip once; where it has not come back by itself, the end starts it."""
    inverter = bench.plant.inverter(armed.fault.on)
    if inverter.state not in ("off", "fault"):
        armed.bit()
    inverter.trip(armed.number("restart_s"))

    def heal() -> None:
        if inverter.state == "fault":
            inverter.operate("start")

    return heal


def _revert_now(bench: Bench, armed: Armed) -> Heal:
    if bench.plant.inverter(armed.fault.on).revert_now():
        armed.bit()
    return lambda: None


def _soc_jump(bench: Bench, armed: Armed) -> Heal:
    bms, by_pct = bench.plant.battery(armed.fault.on).bms, armed.number("by_pct")

    def jump(points_pct: float) -> float:
        before = bms.estimate.soc
        bms.jump_soc(points_pct)
        return 100 * (bms.estimate.soc - before)

    jumped_pct = jump(by_pct)
    if jumped_pct:
        armed.bit(f"{jumped_pct:+.1f} points")
    return lambda: bms.jump_soc(-jumped_pct)


def _soc_bias(bench: Bench, armed: Armed) -> Heal:
    """Move the estimate away bit by bit, so that no jump is seen; the end sets it right."""
    plant, battery = bench.plant, bench.plant.battery(armed.fault.on)
    begun_s, over_s, by_pct = plant.now_s, armed.number("over_s"), armed.number("by_pct")
    moved_pct = 0.0

    def look() -> None:
        nonlocal moved_pct
        share = min(1.0, (plant.now_s - begun_s) / over_s) if over_s else 1.0
        if by_pct * share != moved_pct:
            battery.bms.jump_soc(by_pct * share - moved_pct)
            moved_pct = by_pct * share
        off_soc = battery.soc_told - battery.soc
        if abs(off_soc) > SEEN_SOC:
            armed.bit(f"tells {100 * off_soc:+.1f} points")

    look()
    return Standing(lambda: battery.bms.jump_soc(100 * (battery.soc - battery.bms.estimate.soc)), look)


def _heat(bench: Bench, armed: Armed) -> Heal:
    """Warm the cells up to until_c and keep them there; an effect is a tick at which that shows."""
    pack = bench.plant.battery(armed.fault.on).pack
    begun_c, rate_c_per_s, until_c = pack.cell_c, armed.number("c_per_s"), armed.number("until_c")
    overlay, heal = overlaid(pack, "warming_c_per_s", lambda value: value + rate_c_per_s * (pack.cell_c < until_c))

    def look() -> None:
        overlay.look()
        if pack.cell_c > begun_c + SEEN_C:
            armed.bit(f"{pack.cell_c:.1f} C")

    return Standing(heal, look)


def _capacity(bench: Bench, armed: Armed) -> Heal:
    pack = bench.plant.battery(armed.fault.on).pack
    spec, begun_wh = pack.spec, pack.capacity_wh
    pack.age(spec.capacity_factor * armed.number("to_pct") / 100, spec.resistance_factor * armed.number("resistance"))
    if pack.capacity_wh != begun_wh:
        armed.bit(f"{pack.capacity_wh:.0f} Wh of {begun_wh:.0f}")
    return lambda: pack.age(spec.capacity_factor, spec.resistance_factor)


def _points(default_pct: float) -> Param:
    return Param(default=default_pct, low=-100.0, high=100.0, unit="points", says="how far from what it was")


VERBS: tuple[Verb, ...] = (
    plant_verb(
        "trip",
        "the inverter falls into a fault and starts again by itself",
        "inverter",
        _trip,
        restart_s=Param(default=120.0, low=0.0, high=3600.0, unit="s", says="after so long"),
    ),
    plant_verb(
        "derate",
        "the inverter gives and takes less than it is asked, and tells nobody",
        "inverter",
        turned(_inverter, "derate_pct", lambda armed, pct: min(pct, armed.number("to_pct")), _derated),
        to_pct=Param(default=40.0, low=0.0, high=100.0, unit="%", says="of its rating"),
    ),
    plant_verb(
        "ignore",
        "the inverter takes set points and does not follow them",
        "inverter",
        turned(_inverter, "ignores", on, _strays),
    ),
    plant_verb(
        "take_local",
        "somebody at the inverter takes it into local control, at 0 W; writes are refused",
        "inverter",
        turned(_inverter, "local", on, lambda _inverter, _armed: True),
    ),
    plant_verb(
        "invert",
        "the inverter takes the sign of set points the other way round",
        "inverter",
        turned(_inverter, "sign", lambda _armed, sign: -sign, _strays),
    ),
    plant_verb("revert_now", "the inverter's reversion timers act before their time", "inverter", _revert_now),
    plant_verb(
        "soc_jump",
        "the told state of charge jumps, and back at the end",
        "battery",
        _soc_jump,
        by_pct=_points(-10.0),
    ),
    plant_verb(
        "soc_bias",
        "the told state of charge moves away from the true one, and is set right at the end",
        "battery",
        _soc_bias,
        by_pct=_points(15.0),
        over_s=Param(default=600.0, low=0.0, high=86_400.0, unit="s", says="spread over so long, 0 = at once"),
    ),
    plant_verb(
        "hold_soc",
        "the told state of charge stands still while energy moves",
        "battery",
        turned(_bms, "hold_soc", on, lambda bms, _armed: abs(bms.soc_told - bms.estimate.told_soc) > SEEN_SOC),
    ),
    plant_verb(
        "limits_zero",
        "the BMS permits neither charge nor discharge",
        "battery",
        turned(_bms, "limits_zero", on, lambda bms, _armed: bms.charge_max_a == bms.discharge_max_a == 0),
    ),
    plant_verb(
        "open_contactor",
        "the contactor opens, also under load, and closes again at the end",
        "battery",
        turned(_bms, "force_open", on, lambda bms, _armed: not bms.closed),
    ),
    plant_verb(
        "heat",
        "the cells are warmed from outside",
        "battery",
        _heat,
        c_per_s=Param(default=0.05, low=0.0, high=5.0, unit="C/s", says="how fast, before what they lose"),
        until_c=Param(default=65.0, low=-40.0, high=120.0, unit="C", says="how far"),
    ),
    plant_verb(
        "capacity",
        "the battery holds less than its plate says",
        "battery",
        _capacity,
        to_pct=Param(default=70.0, low=10.0, high=100.0, unit="%", says="of what it held"),
        resistance=Param(default=1.0, low=0.1, high=10.0, says="times its inner resistance"),
    ),
    *supply.VERBS,
)
