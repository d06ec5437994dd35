"""The grid functions of IEEE 1547-2018 as settings and formulas, without state.

Voltages are per unit of nominal. Active power is per unit of the rated power, reactive power per unit of the rated
apparent power: positive is discharging and injecting. A frequency is told by its distance from nominal in Hz, so that
one table serves 60 Hz, which the standard is written for, and 50 Hz. The ranges are the standard's, of all categories.
"""

from bisect import bisect_right
from math import exp, log, sqrt
from typing import Annotated

import msgspec
from msgspec import Meta

RESPONSE_LOG = log(10)  # a first-order lag has done 90 % after so many time constants

Share = Annotated[float, Meta(ge=-1, le=1)]
Within10 = Annotated[float, Meta(ge=0, le=10)]


def _rising(names: str, values: tuple[float, ...]) -> None:
    if list(values) != sorted(values):
        raise ValueError(f"{names} must not fall: {values}")


class Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one function."""


class VoltVar(Setting, frozen=True, kw_only=True):
    """Q by V, 5.3.3 and Table 8, category B. The ranges hold for any VRef of 0.95 to 1.05."""

    enabled: bool = False
    v1_pu: Annotated[float, Meta(ge=0.77, le=1.03)] = 0.92
    v2_pu: Annotated[float, Meta(ge=0.92, le=1.05)] = 0.98
    v3_pu: Annotated[float, Meta(ge=0.95, le=1.08)] = 1.02
    v4_pu: Annotated[float, Meta(ge=0.97, le=1.23)] = 1.08
    q1_pu: Annotated[float, Meta(ge=0, le=1)] = 0.44
    q2_pu: Share = 0.0
    q3_pu: Share = 0.0
    q4_pu: Annotated[float, Meta(ge=-1, le=0)] = -0.44
    response_s: Annotated[float, Meta(ge=1, le=90)] = 5.0

    def __post_init__(self) -> None:
        _rising("v1_pu to v4_pu", (self.v1_pu, self.v2_pu, self.v3_pu, self.v4_pu))


class WattVar(Setting, frozen=True, kw_only=True):
    """Q by P, 5.3.4 and Table 9, category B. charge_*: the standard's P' and Q', for power that is absorbed."""

    enabled: bool = False
    p1_pu: Annotated[float, Meta(ge=0, le=0.7)] = 0.2
    p2_pu: Annotated[float, Meta(ge=0.4, le=0.8)] = 0.5
    p3_pu: Annotated[float, Meta(ge=0.5, le=1)] = 1.0
    q1_pu: Share = 0.0
    q2_pu: Share = 0.0
    q3_pu: Share = -0.44
    charge_p1_pu: Annotated[float, Meta(ge=-0.7, le=0)] = -0.2
    charge_p2_pu: Annotated[float, Meta(ge=-0.8, le=-0.4)] = -0.5
    charge_p3_pu: Annotated[float, Meta(ge=-1, le=-0.5)] = -1.0
    charge_q1_pu: Share = 0.0
    charge_q2_pu: Share = 0.0
    charge_q3_pu: Share = 0.44
    response_s: Within10 = 10.0

    def __post_init__(self) -> None:
        _rising("p1_pu to p3_pu", (self.p1_pu, self.p2_pu, self.p3_pu))
        _rising("charge_p3_pu to charge_p1_pu", (self.charge_p3_pu, self.charge_p2_pu, self.charge_p1_pu))


class VoltWatt(Setting, frozen=True, kw_only=True):
    """The most P by V, 5.4.2 and Table 10. Below 0 the battery must charge."""

    enabled: bool = False
    v1_pu: Annotated[float, Meta(ge=1.05, le=1.09)] = 1.06
    v2_pu: Annotated[float, Meta(ge=1.06, le=1.10)] = 1.10
    p2_pu: Share = 0.0
    response_s: Annotated[float, Meta(ge=0.5, le=60)] = 10.0

    def __post_init__(self) -> None:
        _rising("v1_pu to v2_pu", (self.v1_pu, self.v2_pu))


class FreqDroop(Setting, frozen=True, kw_only=True):
    """P by f, 6.5.2.7 and Table 24. Droop: the change of f, per unit, that moves P by its whole rating."""

    enabled: bool = False
    over_band_hz: Annotated[float, Meta(ge=0.017, le=1)] = 0.036
    under_band_hz: Annotated[float, Meta(ge=0.017, le=1)] = 0.036
    over_droop_pu: Annotated[float, Meta(ge=0.02, le=0.05)] = 0.05
    under_droop_pu: Annotated[float, Meta(ge=0.02, le=0.05)] = 0.05
    response_s: Annotated[float, Meta(ge=0.2, le=10)] = 5.0


class ConstantFactor(Setting, frozen=True, kw_only=True):
    """A constant power factor, 5.3.2. Injects names the direction of Q, whichever way P flows."""

    enabled: bool = False
    power_factor: Annotated[float, Meta(gt=0, le=1)] = 1.0
    injects: bool = True
    response_s: Within10 = 5.0


class ConstantVar(Setting, frozen=True, kw_only=True):
    """A constant Q, 5.3.5."""

    enabled: bool = False
    q_pu: Share = 0.0
    response_s: Within10 = 5.0


class Trips(Setting, frozen=True, kw_only=True):
    """When to trip, 6.4.1 with Tables 11 to 13 and 6.5.1 with Table 18; the defaults are category II's."""

    enabled: bool = True
    ov2_pu: Annotated[float, Meta(ge=1.20, le=1.20)] = 1.20
    ov2_s: Annotated[float, Meta(ge=0.16, le=0.16)] = 0.16
    ov1_pu: Annotated[float, Meta(ge=1.10, le=1.20)] = 1.10
    ov1_s: Annotated[float, Meta(ge=1, le=13)] = 2.0
    uv1_pu: Annotated[float, Meta(ge=0, le=0.88)] = 0.70
    uv1_s: Annotated[float, Meta(ge=2, le=50)] = 10.0
    uv2_pu: Annotated[float, Meta(ge=0, le=0.50)] = 0.45
    uv2_s: Annotated[float, Meta(ge=0.16, le=21)] = 0.16
    of2_hz: Annotated[float, Meta(ge=1.8, le=6)] = 2.0  # above nominal
    of2_s: Annotated[float, Meta(ge=0.16, le=1000)] = 0.16
    of1_hz: Annotated[float, Meta(ge=1, le=6)] = 1.2
    of1_s: Annotated[float, Meta(ge=180, le=1000)] = 300.0
    uf1_hz: Annotated[float, Meta(ge=1, le=10)] = 1.5  # below nominal
    uf1_s: Annotated[float, Meta(ge=180, le=1000)] = 300.0
    uf2_hz: Annotated[float, Meta(ge=3, le=10)] = 3.5
    uf2_s: Annotated[float, Meta(ge=0.16, le=1000)] = 0.16


CATEGORY_II = Trips()
CATEGORY_III = Trips(ov1_s=13.0, uv1_pu=0.88, uv1_s=21.0, uv2_pu=0.50, uv2_s=2.0)


class EnterService(Setting, frozen=True, kw_only=True):
    """When to energize (again), and how slowly, 4.10 and Table 4."""

    min_pu: Annotated[float, Meta(ge=0.88, le=0.95)] = 0.917
    max_pu: Annotated[float, Meta(ge=1.05, le=1.06)] = 1.05
    below_hz: Annotated[float, Meta(ge=0.1, le=1)] = 0.5  # below nominal
    above_hz: Annotated[float, Meta(ge=0.1, le=1)] = 0.1
    delay_s: Annotated[float, Meta(ge=0, le=600)] = 300.0
    ramp_s: Annotated[float, Meta(ge=0, le=1000)] = 300.0  # to the whole rating; 0 = at once


class Cessation(Setting, frozen=True, kw_only=True):
    """Momentary cessation while V is out of these bounds, 6.4.2 and Table 16, category III."""

    enabled: bool = False
    below_pu: Annotated[float, Meta(ge=0, le=0.70)] = 0.50
    above_pu: Annotated[float, Meta(ge=1.10, le=1.20)] = 1.10
    response_s: Annotated[float, Meta(ge=0, le=0.16)] = 0.083


class Functions(Setting, frozen=True, kw_only=True):
    """All functions of one inverter. At most one of those that set Q may be enabled, 5.3.1."""

    volt_var: VoltVar = VoltVar()
    watt_var: WattVar = WattVar()
    constant_factor: ConstantFactor = ConstantFactor()
    constant_var: ConstantVar = ConstantVar()
    volt_watt: VoltWatt = VoltWatt()
    freq_droop: FreqDroop = FreqDroop()
    trips: Trips = Trips()
    enter_service: EnterService = EnterService()
    cessation: Cessation = Cessation()

    def __post_init__(self) -> None:
        modes = (self.volt_var, self.watt_var, self.constant_factor, self.constant_var)
        if sum(mode.enabled for mode in modes) > 1:
            raise ValueError("of volt_var, watt_var, constant_factor and constant_var only one may be enabled")


def volt_var_pu(setting: VoltVar, v_pu: float) -> float:
    """Return Q by the curve of 5.3.3."""
    return _curve(
        (setting.v1_pu, setting.v2_pu, setting.v3_pu, setting.v4_pu),
        (setting.q1_pu, setting.q2_pu, setting.q3_pu, setting.q4_pu),
        v_pu,
    )


def watt_var_pu(setting: WattVar, power_pu: float) -> float:
    """Return Q by the curve of 5.3.4."""
    return _curve(
        (
            setting.charge_p3_pu,
            setting.charge_p2_pu,
            setting.charge_p1_pu,
            setting.p1_pu,
            setting.p2_pu,
            setting.p3_pu,
        ),
        (
            setting.charge_q3_pu,
            setting.charge_q2_pu,
            setting.charge_q1_pu,
            setting.q1_pu,
            setting.q2_pu,
            setting.q3_pu,
        ),
        power_pu,
    )


def constant_factor_pu(setting: ConstantFactor, power_pu: float, rated_ratio: float = 1.0) -> float:
    """Return Q = |P| tan(acos PF), 5.3.2. rated_ratio: rated power over rated apparent power."""
    q_pu = abs(power_pu) * rated_ratio * sqrt(1 / setting.power_factor**2 - 1)
    return q_pu if setting.injects else -q_pu


def volt_watt_pu(setting: VoltWatt, v_pu: float) -> float:
    """Return the most P by the curve of 5.4.2."""
    return _curve((setting.v1_pu, setting.v2_pu), (1.0, setting.p2_pu), v_pu)


def droop_pu(setting: FreqDroop, nominal_hz: float, off_hz: float) -> float | None:
    """Return by how much P leaves what it was before the disturbance, Table 23; None inside the dead band."""
    if off_hz > setting.over_band_hz:
        return -(off_hz - setting.over_band_hz) / (nominal_hz * setting.over_droop_pu)
    if off_hz < -setting.under_band_hz:
        return (-setting.under_band_hz - off_hz) / (nominal_hz * setting.under_droop_pu)
    return None


def beyond(setting: Trips, v_pu: float, off_hz: float) -> dict[str, float]:
    """Return the trip limits that are passed, each with its clearing time in s."""
    passed = {}
    if v_pu < setting.uv1_pu:
        passed["uv1"] = setting.uv1_s
    if v_pu < setting.uv2_pu:
        passed["uv2"] = setting.uv2_s
    if v_pu > setting.ov1_pu:
        passed["ov1"] = setting.ov1_s
    if v_pu > setting.ov2_pu:
        passed["ov2"] = setting.ov2_s
    if off_hz < -setting.uf1_hz:
        passed["uf1"] = setting.uf1_s
    if off_hz < -setting.uf2_hz:
        passed["uf2"] = setting.uf2_s
    if off_hz > setting.of1_hz:
        passed["of1"] = setting.of1_s
    if off_hz > setting.of2_hz:
        passed["of2"] = setting.of2_s
    return passed


def serves(setting: EnterService, v_pu: float, off_hz: float) -> bool:
    """Return whether voltage and frequency let a source enter service, 4.10.2."""
    return setting.min_pu <= v_pu <= setting.max_pu and -setting.below_hz <= off_hz <= setting.above_hz


def ceases(setting: Cessation, v_pu: float) -> bool:
    """Return whether the voltage asks for momentary cessation, 6.4.2."""
    return setting.enabled and not setting.below_pu <= v_pu <= setting.above_pu


def rest_of_circle(radius_va: float, other_va: float) -> float:
    """Return the most that one axis of the PQ circle has left beside the other, W beside var or var beside W."""
    return sqrt(max(0.0, radius_va * radius_va - other_va * other_va))


def lagged(value: float, target_value: float, dt_s: float, response_s: float) -> float:
    """Return where a first-order lag is after dt_s; it has done 90 % of a step after response_s, 3.1."""
    if response_s <= 0:
        return target_value
    return target_value + (value - target_value) * exp(-dt_s * RESPONSE_LOG / response_s)


def _curve(xs: tuple[float, ...], ys: tuple[float, ...], value: float) -> float:
    """Return the value of a curve of straight lines; it is flat before the first and after the last point."""
    place = bisect_right(xs, value)
    if place == 0:
        return ys[0]
    if place == len(xs):
        return ys[-1]
    x0, x1, y0, y1 = xs[place - 1], xs[place], ys[place - 1], ys[place]
    return y0 + (y1 - y0) * (value - x0) / (x1 - x0)
