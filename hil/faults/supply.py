"""The verbs on meter, grid, load and generation."""

from collections.abc import Callable
from typing import Any

from hil.faults.bench import Bench, Standing, overlaid
from hil.faults.knob import Turn, on, plant_verb, turned
from hil.faults.words import Armed, Heal, Param, Verb

ALL = "all"
PHASE = Param(default="1", choices=("1", "2", "3"), says="which phase")


def _metered(attribute: str, turn: Turn) -> Callable[[Bench, Armed], Heal]:
    """Return the begin of a verb that turns one knob of a meter."""

    def begin(bench: Bench, armed: Armed) -> Heal:
        meter, bite = bench.plant.meter(armed.fault.on), lambda: armed.bit()
        _, turn_back = overlaid(meter, attribute, lambda value: turn(armed, value))
        meter.on_bite.append(bite)

        def heal() -> None:
            meter.on_bite.remove(bite)
            turn_back()

        return heal

    return begin


def _grid(bench: Bench, _name: str) -> Any:
    return bench.plant.grid


def _phases(armed: Armed) -> frozenset[int]:
    phase = armed.text("phase")
    return frozenset(range(3)) if phase == ALL else frozenset((int(phase) - 1,))


def _meter_late(bench: Bench, armed: Armed) -> Heal:
    """An effect is a tick at which what is shown is older than this meter's ever is."""
    plant, meter = bench.plant, bench.plant.meter(armed.fault.on)
    oldest_s = meter.spec.latency_s + meter.spec.period_s
    overlay, heal = overlaid(meter, "latency_s", lambda latency_s: latency_s + armed.number("by_s"))

    def look() -> None:
        overlay.look()
        if plant.now_s - meter.sampled_s > oldest_s:
            armed.bit()

    return Standing(heal, look)


def _stepped(name: str) -> Callable[[Bench, Armed], Heal]:
    """Return the begin of a verb that adds to an input over a while. An effect is a tick at which it moves."""

    def begin(bench: Bench, armed: Armed) -> Heal:
        plant, over_s, by_w = bench.plant, armed.number("over_s"), armed.number("by_w")
        begun_s = plant.now_s

        def change(theirs_w: float) -> float:
            share = min(1.0, (plant.now_s - begun_s) / over_s) if over_s else 1.0
            return max(0.0, theirs_w + by_w * share)

        before_w = getattr(plant.local, name)
        overlay, heal = overlaid(plant.local, name, change)
        if getattr(plant.local, name) != before_w:
            armed.bit()

        def look() -> None:
            if overlay.look():
                armed.bit()

        return Standing(heal, look)

    return begin


def _grid_event(bench: Bench, armed: Armed) -> Heal:
    """Set voltage and frequency at once; an effect is a tick at which they are not nominal."""
    grid, v_pu, hz = bench.plant.grid, armed.number("v_pu"), armed.number("hz")
    changes = {"set_v_pu": v_pu, "set_hz": hz}
    overlays = [overlaid(grid, name, _to(value)) for name, value in changes.items() if value]

    def look() -> None:
        for overlay, _ in overlays:
            overlay.look()
        if grid.closed and (grid.set_v_pu, grid.set_hz) != (1.0, grid.spec.nominal_hz):
            armed.bit()

    def heal() -> None:
        for _, undo in overlays:
            undo()

    return Standing(heal, look)


def _to(value: float) -> Callable[[float], float]:
    return lambda _theirs: value


def _lost_phase(armed: Armed, factor: list[float]) -> list[float]:
    return [0.0 if phase in _phases(armed) else share for phase, share in enumerate(factor)]


_STEP = {
    "over_s": Param(default=0.0, low=0.0, high=3600.0, unit="s", says="spread over so long, 0 = at once"),
}


def _watts(default_w: float) -> Param:
    return Param(default=default_w, low=-1e7, high=1e7, unit="W", says="how much is added; it never gets below 0")


VERBS: tuple[Verb, ...] = (
    plant_verb(
        "ct_reversed",
        "current transformers sit the wrong way round",
        "meter",
        _metered("ct_sign", lambda armed, sign: [-s if n in _phases(armed) else s for n, s in enumerate(sign)]),
        phase=Param(default=ALL, choices=(ALL, "1", "2", "3"), says="which"),
    ),
    plant_verb(
        "ct_swapped",
        "current transformers sit on each other's phases",
        "meter",
        _metered("ct_phase", lambda armed, order: {"two": [1, 0, 2], "turned": [1, 2, 0]}[armed.text("order")]),
        order=Param(default="two", choices=("two", "turned"), says="the first two, or all three in a ring"),
    ),
    plant_verb(
        "ct_ratio",
        "the meter was told another ratio than its transformers have",
        "meter",
        _metered("ct_told_ratio", lambda armed, ratio: ratio * armed.number("factor")),
        factor=Param(default=2.0, low=0.01, high=100.0, says="times too much"),
    ),
    plant_verb(
        "channel_lost",
        "a channel of the meter has neither voltage nor current",
        "meter",
        _metered("missing", lambda armed, missing: missing | _phases(armed)),
        phase=PHASE,
    ),
    plant_verb(
        "meter_frozen",
        "the meter shows its last sample for ever, as if it were new",
        "meter",
        _metered("frozen", on),
    ),
    plant_verb(
        "meter_late",
        "the meter shows its samples late",
        "meter",
        _meter_late,
        by_s=Param(default=5.0, low=0.1, high=60.0, unit="s", says="so much later than it does"),
    ),
    plant_verb(
        "phase_loss",
        "a phase of the grid is gone",
        "grid",
        turned(_grid, "phase_factor", _lost_phase, lambda grid, armed: grid.phase_v_pu[min(_phases(armed))] == 0),
        phase=PHASE,
    ),
    plant_verb(
        "grid_event",
        "voltage or frequency of the grid leave their range",
        "grid",
        _grid_event,
        v_pu=Param(default=0.88, low=0.0, high=1.5, unit="pu", says="all phases, 0 = as it is"),
        hz=Param(default=0.0, low=0.0, high=70.0, unit="Hz", says="0 = as it is"),
    ),
    plant_verb(
        "island",
        "the breaker toward the grid opens",
        "grid",
        turned(_grid, "closed", lambda _armed, _closed: False, lambda grid, _armed: grid.hz == 0 or grid.spec.forming),
    ),
    plant_verb(
        "step_load", "the load steps up or down", "local", _stepped("set_load_w"), by_w=_watts(-11_000.0), **_STEP
    ),
    plant_verb(
        "step_pv", "the generation steps up or down", "local", _stepped("set_pv_w"), by_w=_watts(-5000.0), **_STEP
    ),
)
