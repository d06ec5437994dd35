"""What a meter's registers would tell of the phases, without the registers: for the model mode."""

from math import hypot

from hil.plant.meter import Meter

Whole = tuple[int, int, int] | None


def meter_phases(part: Meter, t_s: float) -> tuple[Whole, Whole, Whole]:
    """Return power in W (+ export), voltage in mV and current in mA of the phases; None unless all three are told."""
    amps = [
        hypot(watts, var) / volts if volts > 0 else 0.0
        for watts, var, volts in zip(part.phase_w, part.phase_var, part.voltage_v, strict=True)
    ]
    if part.told.honest:
        (w_1, w_2, w_3), (v_1, v_2, v_3), (a_1, a_2, a_3) = part.phase_w, part.voltage_v, amps
        return (
            (round(w_1), round(w_2), round(w_3)),
            (round(1000 * v_1), round(1000 * v_2), round(1000 * v_3)),
            (round(1000 * a_1), round(1000 * a_2), round(1000 * a_3)),
        )
    return (
        _whole(part, "phase_{}_w", [-watts for watts in part.phase_w], t_s, -1),  # the meter counts import positive
        _whole(part, "phase_{}_v", part.voltage_v, t_s, 1000),
        _whole(part, "phase_{}_a", amps, t_s, 1000),
    )


def _whole(part: Meter, point: str, values: list[float] | tuple[float, ...], t_s: float, factor: int) -> Whole:
    found = [part.told.told(point.format(phase), value, t_s) for phase, value in zip("abc", values, strict=True)]
    a, b, c = (None if value is None else round(factor * value) for value in found)
    return None if a is None or b is None or c is None else (a, b, c)
