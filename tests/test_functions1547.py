"""The grid functions against the numbers of IEEE 1547-2018 and the tests of IEEE 1547.1-2020, worked out by hand."""

from math import sqrt

import msgspec
import pytest

from hil.plant.functions import (
    CATEGORY_II,
    CATEGORY_III,
    Cessation,
    ConstantFactor,
    ConstantVar,
    EnterService,
    FreqDroop,
    Functions,
    Trips,
    VoltVar,
    VoltWatt,
    WattVar,
    beyond,
    ceases,
    constant_factor_pu,
    droop_pu,
    lagged,
    rest_of_circle,
    serves,
    volt_var_pu,
    volt_watt_pu,
    watt_var_pu,
)
from hil.plant.grid_watch import TRIPS
from hil.plant.inverter import Inverter, InverterSpec, Limit, SetPoint, Terminals

WIDEST = Trips(ov1_pu=1.20, ov1_s=13, uv1_pu=0, uv1_s=50, uv2_pu=0, uv2_s=21, of2_hz=6, of1_hz=6, uf1_hz=10, uf2_hz=10)
ALWAYS = EnterService(delay_s=0, ramp_s=0)


def grid(v_pu: float = 1.0, hz: float = 60.0) -> Terminals:
    return Terminals(
        charge_max_w=1e6, discharge_max_w=1e6, pack_v=52.0, closed=True, grid_v_pu=v_pu, grid_hz=hz, ambient_c=20.0
    )


def running(functions: Functions, power_w: float = 10_000.0, nominal_hz: float = 60.0) -> Inverter:
    """Return an inverter of 10 kW and 10 kVA that has settled at a set point."""
    inverter = Inverter(InverterSpec(functions=functions, nominal_hz=nominal_hz, ramp_w_per_s=1e9))
    inverter.set_point(SetPoint(enabled=True, power_w=power_w))
    run(inverter, 300, grid(hz=nominal_hz), 1.0)
    return inverter


def run(inverter: Inverter, seconds: float, terminals: Terminals, step_s: float = 0.05) -> float:
    for _ in range(round(seconds / step_s)):
        inverter.step(step_s, terminals)
    return inverter.ac_w


# The curves: IEEE 1547.1-2020 Tables 25 to 33, category B

VOLT_VAR = {
    1: VoltVar(enabled=True),
    2: VoltVar(enabled=True, v1_pu=0.88, v2_pu=1.04, v3_pu=1.07, v4_pu=1.10, q2_pu=0.22, q3_pu=0.22, response_s=1),
    3: VoltVar(enabled=True, v1_pu=0.90, v2_pu=0.93, v3_pu=0.96, v4_pu=1.10, q2_pu=-0.22, q3_pu=-0.22, response_s=90),
}


@pytest.mark.parametrize(
    ("curve", "v_pu", "q_pu"),
    [(1, 0.50, 0.44), (1, 0.92, 0.44), (1, 0.95, 0.22), (1, 0.98, 0), (1, 1.0, 0), (1, 1.02, 0)]
    + [(1, 1.05, -0.22), (1, 1.08, -0.44), (1, 1.20, -0.44)]
    + [(2, 0.88, 0.44), (2, 0.96, 0.33), (2, 1.04, 0.22), (2, 1.07, 0.22), (2, 1.085, -0.11), (2, 1.10, -0.44)]
    + [(3, 0.90, 0.44), (3, 0.915, 0.11), (3, 0.93, -0.22), (3, 0.95, -0.22), (3, 1.03, -0.33), (3, 1.11, -0.44)],
)
def test_volt_var_follows_its_curve(curve: int, v_pu: float, q_pu: float) -> None:
    assert volt_var_pu(VOLT_VAR[curve], v_pu) == pytest.approx(q_pu)


def test_volt_var_of_category_a_has_no_dead_band() -> None:
    curve = VoltVar(v1_pu=0.9, v2_pu=1.0, v3_pu=1.0, v4_pu=1.1, q1_pu=0.25, q4_pu=-0.25)
    assert [volt_var_pu(curve, v_pu) for v_pu in (0.96, 1.0, 1.04)] == pytest.approx([0.1, 0, -0.1])


WATT_VAR = {
    1: WattVar(enabled=True),
    2: WattVar(q1_pu=-0.22, q2_pu=-0.22, charge_q1_pu=0.22, charge_q2_pu=0.22),
    3: WattVar(q2_pu=-0.44, charge_q2_pu=0.44),
}


@pytest.mark.parametrize(
    ("curve", "power_pu", "q_pu"),
    [(1, -1, 0.44), (1, -0.75, 0.22), (1, -0.5, 0), (1, 0, 0), (1, 0.5, 0), (1, 0.75, -0.22), (1, 1, -0.44)]
    + [(2, -0.2, 0.22), (2, 0, 0), (2, 0.1, -0.11), (2, 0.2, -0.22), (2, 0.5, -0.22), (2, 0.75, -0.33)]
    + [(3, -0.35, 0.22), (3, -0.2, 0), (3, 0.2, 0), (3, 0.35, -0.22), (3, 0.5, -0.44), (3, 1, -0.44)],
)
def test_watt_var_follows_its_curve(curve: int, power_pu: float, q_pu: float) -> None:
    assert watt_var_pu(WATT_VAR[curve], power_pu) == pytest.approx(q_pu)


@pytest.mark.parametrize(
    ("v1_pu", "p2_pu", "v_pu", "power_pu"),
    [(1.06, 0.2, 1.06, 1), (1.06, 0.2, 1.08, 0.6), (1.06, 0.2, 1.10, 0.2), (1.06, 0.2, 1.2, 0.2), (1.06, 0, 1.09, 0.25)]
    + [(1.05, -1, 1.05, 1), (1.05, -1, 1.075, 0), (1.05, -1, 1.10, -1), (1.09, 0.2, 1.095, 0.6)],
)
def test_volt_watt_follows_its_curve(v1_pu: float, p2_pu: float, v_pu: float, power_pu: float) -> None:
    assert volt_watt_pu(VoltWatt(v1_pu=v1_pu, p2_pu=p2_pu), v_pu) == pytest.approx(power_pu)


DROOP_2 = FreqDroop(over_band_hz=0.017, under_band_hz=0.017, over_droop_pu=0.03, under_droop_pu=0.03, response_s=0.2)


@pytest.mark.parametrize(
    ("setting", "nominal_hz", "off_hz", "change_pu"),
    [
        (FreqDroop(), 60, 0.036, None),
        (FreqDroop(), 60, -0.036, None),
        (FreqDroop(), 60, 0.336, -0.1),  # 0.3 Hz past the band, of 60 Hz x 5 % = 3 Hz
        (FreqDroop(), 60, -0.336, 0.1),
        (FreqDroop(), 60, 1.0, -0.964 / 3),
        (FreqDroop(), 50, -0.536, 0.2),  # 0.5 Hz of 2.5 Hz
        (DROOP_2, 60, 0.33, -0.313 / 1.8),
        (DROOP_2, 60, -0.107, 0.05),
    ],
)
def test_droop_moves_power_by_its_slope(
    setting: FreqDroop, nominal_hz: float, off_hz: float, change_pu: float | None
) -> None:
    change = droop_pu(setting, nominal_hz, off_hz)
    assert change == (None if change_pu is None else pytest.approx(change_pu))


@pytest.mark.parametrize(
    ("factor", "injects", "power_pu", "q_pu"),
    [(0.9, True, 0.5, 0.2422), (0.9, False, 0.5, -0.2422), (0.9, True, -0.5, 0.2422), (1.0, True, 0.8, 0)]
    + [(0.8, False, 0.4, -0.3)],
)
def test_constant_power_factor_sets_q_beside_p(factor: float, injects: bool, power_pu: float, q_pu: float) -> None:
    setting = ConstantFactor(power_factor=factor, injects=injects)
    assert constant_factor_pu(setting, power_pu) == pytest.approx(q_pu, abs=1e-4)
    assert constant_factor_pu(setting, power_pu, 0.5) == pytest.approx(q_pu / 2, abs=1e-4)


def test_lag_has_done_90_percent_at_its_response_time_and_99_at_twice_that() -> None:
    assert lagged(100, 200, 5, 5) == pytest.approx(190)
    assert lagged(100, 200, 10, 5) == pytest.approx(199)
    assert lagged(100, 200, 0.1, 0) == 200


def test_circle_leaves_what_pythagoras_leaves() -> None:
    assert rest_of_circle(5, 3) == pytest.approx(4)
    assert rest_of_circle(5, 6) == 0


# Settings: IEEE 1547-2018 Tables 4, 8 to 13, 18 and 24

TABLE_12_18 = {"ov2": (1.20, 0.16), "ov1": (1.10, 2), "uv1": (0.70, 10), "uv2": (0.45, 0.16)} | {
    "of2": (2.0, 0.16),  # 62.0 Hz
    "of1": (1.2, 300),  # 61.2 Hz
    "uf1": (1.5, 300),  # 58.5 Hz
    "uf2": (3.5, 0.16),  # 56.5 Hz
}
TABLE_13_18 = TABLE_12_18 | {"ov1": (1.10, 13), "uv1": (0.88, 21), "uv2": (0.50, 2)}


@pytest.mark.parametrize(("trips", "table"), [(CATEGORY_II, TABLE_12_18), (CATEGORY_III, TABLE_13_18)])
def test_trips_are_those_of_the_standard(trips: Trips, table: dict[str, tuple[float, float]]) -> None:
    for name, (limit, clears_s) in table.items():
        unit = "pu" if "v" in name else "hz"
        assert (getattr(trips, f"{name}_{unit}"), getattr(trips, f"{name}_s")) == (limit, clears_s)


def test_all_but_trips_and_enter_service_is_off_and_enter_service_is_the_default() -> None:
    functions = Functions()
    off = (functions.volt_var, functions.watt_var, functions.constant_factor, functions.constant_var)
    assert not any(one.enabled for one in (*off, functions.volt_watt, functions.freq_droop, functions.cessation))
    assert functions.trips == CATEGORY_II
    service = EnterService(min_pu=0.917, max_pu=1.05, below_hz=0.5, above_hz=0.1, delay_s=300, ramp_s=300)
    assert functions.enter_service == service


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        (VoltVar(), (0.92, 0.98, 1.02, 1.08, 0.44, 0, 0, -0.44, 5)),  # Table 8, category B
        (WattVar(), (0.2, 0.5, 1.0, 0, 0, -0.44, -0.2, -0.5, -1.0, 0, 0, 0.44, 10)),  # Table 9, category B; 5.3.4
        (VoltWatt(), (1.06, 1.10, 0, 10)),  # Table 10
        (FreqDroop(), (0.036, 0.036, 0.05, 0.05, 5)),  # Table 24
        (Cessation(), (0.50, 1.10, 0.083)),  # Table 16
    ],
)
def test_settings_begin_at_the_defaults_of_the_standard(setting: msgspec.Struct, values: tuple[float, ...]) -> None:
    assert msgspec.structs.astuple(setting)[1:] == values


@pytest.mark.parametrize(
    ("function", "inside", "outside"),
    [
        ("volt_var", {"response_s": 90}, {"response_s": 91}),
        ("volt_var", {"response_s": 1}, {"response_s": 0.9}),
        ("volt_var", {"v1_pu": 0.77}, {"v1_pu": 0.76}),
        ("volt_var", {"q1_pu": 1}, {"q1_pu": -0.1}),
        ("volt_var", {"v3_pu": 1.08}, {"v3_pu": 1.09}),
        ("volt_var", {"v4_pu": 1.02}, {"v4_pu": 1.01}),
        ("watt_var", {"p2_pu": 0.4}, {"p2_pu": 0.39}),
        ("watt_var", {"response_s": 10}, {"response_s": 11}),
        ("watt_var", {"p1_pu": 0.5}, {"p1_pu": 0.6}),
        ("volt_watt", {"v1_pu": 1.05}, {"v1_pu": 1.04}),
        ("volt_watt", {"response_s": 60}, {"response_s": 61}),
        ("freq_droop", {"over_droop_pu": 0.02}, {"over_droop_pu": 0.019}),
        ("freq_droop", {"under_band_hz": 1}, {"under_band_hz": 1.1}),
        ("freq_droop", {"response_s": 0.2}, {"response_s": 0.1}),
        ("constant_factor", {"power_factor": 0.8}, {"power_factor": 0}),
        ("volt_var", {"q2_pu": -1}, {"q2_pu": -1.01}),
        ("watt_var", {"q3_pu": 1}, {"q3_pu": 1.01}),
        ("constant_var", {"q_pu": 1}, {"q_pu": 1.01}),
        ("constant_var", {"response_s": 10}, {"response_s": 10.1}),
        ("cessation", {"response_s": 0.16}, {"response_s": 0.17}),
        ("trips", {"ov2_pu": 1.2}, {"ov2_pu": 1.21}),
        ("trips", {"ov1_s": 1}, {"ov1_s": 0.9}),
        ("trips", {"uv1_s": 50}, {"uv1_s": 51}),
        ("trips", {"uv2_pu": 0.5}, {"uv2_pu": 0.51}),
        ("trips", {"of1_s": 180}, {"of1_s": 179}),
        ("trips", {"of2_hz": 1.8}, {"of2_hz": 1.7}),
        ("trips", {"uf2_hz": 3}, {"uf2_hz": 2.9}),
        ("enter_service", {"min_pu": 0.95}, {"min_pu": 0.96}),
        ("enter_service", {"max_pu": 1.06}, {"max_pu": 1.07}),
        ("enter_service", {"delay_s": 600}, {"delay_s": 601}),
        ("enter_service", {"ramp_s": 1000}, {"ramp_s": 1001}),
        ("enter_service", {"above_hz": 1}, {"above_hz": 1.1}),
    ],
)
def test_settings_keep_the_ranges_of_the_standard(
    function: str, inside: dict[str, float], outside: dict[str, float]
) -> None:
    msgspec.convert({function: inside}, Functions)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({function: outside}, Functions)


# Trip, 6.4.1 and 6.5.1


@pytest.mark.parametrize(
    ("v_pu", "off_hz", "passed"),
    [(1.0, 0, set()), (0.70, 0, set()), (0.699, 0, {"uv1"}), (0.45, 0, {"uv1"}), (0.449, 0, {"uv1", "uv2"})]
    + [(1.10, 0, set()), (1.101, 0, {"ov1"}), (1.20, 0, {"ov1"}), (1.201, 0, {"ov1", "ov2"})]
    + [(1, 1.2, set()), (1, 1.21, {"of1"}), (1, 2.01, {"of1", "of2"})]
    + [(1, -1.5, set()), (1, -1.51, {"uf1"}), (1, -3.51, {"uf1", "uf2"})],
)
def test_trip_limits_are_passed_beyond_their_edge(v_pu: float, off_hz: float, passed: set[str]) -> None:
    assert set(beyond(CATEGORY_II, v_pu, off_hz)) == passed


EVENTS = {  # just beyond the limit of each trip: voltage and distance from nominal
    2: {"uv1": (0.69, 0), "uv2": (0.44, 0), "ov1": (1.11, 0), "ov2": (1.21, 0)},
    3: {"uv1": (0.87, 0), "uv2": (0.49, 0), "ov1": (1.11, 0), "ov2": (1.21, 0)},
}
FREQUENCY_EVENTS = {"uf1": (1.0, -1.6), "uf2": (1.0, -3.6), "of1": (1.0, 1.3), "of2": (1.0, 2.1)}


@pytest.mark.parametrize("nominal_hz", [50.0, 60.0])
@pytest.mark.parametrize("name", TRIPS)
@pytest.mark.parametrize("category", [2, 3])
@pytest.mark.parametrize("step_s", [0.01, 0.3, 1.0])
def test_each_limit_trips_at_its_clearing_time(category: int, name: str, nominal_hz: float, step_s: float) -> None:
    trips, table = ((CATEGORY_II, TABLE_12_18), (CATEGORY_III, TABLE_13_18))[category - 2]
    v_pu, off_hz = (EVENTS[category] | FREQUENCY_EVENTS)[name]
    inverter = Inverter(InverterSpec(functions=Functions(trips=trips), nominal_hz=nominal_hz, instant=True))
    inverter.set_point(SetPoint(enabled=True, power_w=5000))
    inverter.step(1.0, grid(hz=nominal_hz))
    event, clears_s, t_s = grid(v_pu, nominal_hz + off_hz), table[name][1], 0.0
    while inverter.state == "run":
        inverter.step(step_s, event)
        t_s += step_s
    assert clears_s - 1e-6 <= t_s < clears_s + step_s
    assert (inverter.tripped, inverter.ac_w) == (name, 0)


def test_excursion_that_ends_in_time_starts_the_clock_anew() -> None:
    inverter = running(Functions(), 5000)
    for _ in range(3):
        run(inverter, 9.9, grid(0.6))
        run(inverter, 0.1, grid(1.0))
    assert inverter.state == "run"
    run(inverter, 9.95, grid(0.6))
    assert inverter.state == "run"
    run(inverter, 0.1, grid(0.6))
    assert inverter.tripped == "uv1"


def test_trips_can_be_switched_off() -> None:
    inverter = running(Functions(trips=Trips(enabled=False)), 5000)
    run(inverter, 30, grid(0.3, 65.0))
    assert inverter.state == "run"


# Enter service, 4.10; IEEE 1547.1-2020 Table 11


@pytest.mark.parametrize(
    ("v_pu", "off_hz", "may"),
    [(1.0, 0, True), (0.917, 0, True), (0.916, 0, False), (1.05, 0, True), (1.051, 0, False)]
    + [(1.0, 0.1, True), (1.0, 0.11, False), (1.0, -0.5, True), (1.0, -0.51, False)],
)
def test_service_is_entered_inside_its_window(v_pu: float, off_hz: float, may: bool) -> None:
    assert serves(EnterService(), v_pu, off_hz) is may


MAXIMA = EnterService(min_pu=0.95, max_pu=1.06, below_hz=0.1, above_hz=1.0, delay_s=600, ramp_s=1000)
MINIMA = EnterService(min_pu=0.88, max_pu=1.05, below_hz=1.0, above_hz=0.1, delay_s=0, ramp_s=1)


@pytest.mark.parametrize(
    ("service", "outside", "inside"),
    [
        (EnterService(), (0.897, 60.0), (0.937, 60.0)),
        (MAXIMA, (1.08, 60.0), (1.04, 60.0)),
        (MAXIMA, (1.0, 61.02), (1.0, 60.98)),
        (MINIMA, (0.86, 60.0), (0.90, 60.0)),
        (MINIMA, (1.0, 58.98), (1.0, 59.92)),
    ],
)
def test_service_is_entered_after_its_delay_and_along_its_ramp(
    service: EnterService, outside: tuple[float, float], inside: tuple[float, float]
) -> None:
    inverter = running(Functions(enter_service=service, trips=WIDEST))
    inverter.permit_service = False
    run(inverter, 2.0, grid())
    assert (inverter.ac_w, inverter.state, inverter.tripped) == (0, "fault", "permit")
    run(inverter, 2 * service.delay_s + 60, grid(), 0.5)
    assert inverter.state == "fault"
    inverter.permit_service = True
    run(inverter, 2 * service.delay_s + 60, grid(*outside), 0.5)
    if service.delay_s:
        run(inverter, 0.25 * service.delay_s, grid(*inside), 0.5)
        run(inverter, 0.1, grid(*outside))
    assert inverter.state == "fault"
    run(inverter, 0.985 * service.delay_s, grid(*inside), 0.05)
    assert inverter.ac_w == 0
    run(inverter, 0.015 * service.delay_s, grid(*inside), 0.05)
    run(inverter, 0.5 * service.ramp_s, grid(*inside), 0.05)
    assert inverter.state == "run"
    assert 0.45 * 10_000 * (service.ramp_s > 10) <= inverter.ac_w <= 0.5 * 10_000 + 1e-6
    run(inverter, 0.485 * service.ramp_s, grid(*inside), 0.05)
    assert inverter.ac_w < 10_000
    full_w = min(10_000, 11_000 * inside[0])  # 1.1 of the rated current
    assert run(inverter, 0.015 * service.ramp_s + 2, grid(*inside), 0.05) == pytest.approx(full_w)


def test_service_permitted_anew_waits_for_its_delay() -> None:
    inverter = running(Functions())
    inverter.permit_service = False
    inverter.step(0.05, grid())
    assert inverter.ac_w == 0
    inverter.permit_service = True
    run(inverter, 5, grid())
    assert (inverter.ac_w, inverter.state) == (0, "fault")
    run(inverter, 295.1, grid())
    assert inverter.state == "run"


def test_inverter_returns_after_a_trip_when_the_grid_has_been_sound_for_300_s() -> None:
    inverter = running(Functions(), 6000)
    run(inverter, 1, grid(0.2))
    assert inverter.tripped == "uv2"
    run(inverter, 600, grid(0.9), 1.0)
    assert inverter.state == "fault"
    inverter.operate("start")  # nothing that an order can hasten
    run(inverter, 299, grid(0.95), 1.0)
    assert inverter.state == "fault"
    run(inverter, 2, grid(0.95), 0.05)
    assert inverter.state == "run"
    run(inverter, 60, grid(0.95))
    assert inverter.ac_w == pytest.approx(10_000 * 61 / 300, abs=50)
    run(inverter, 240, grid(0.95))
    assert inverter.ac_w == 6000


# Ride-through, 6.4.2; the sequences of IEEE 1547.1-2020 5.5 as voltage and seconds

CATEGORY_II_LOW = [(0.94, 10), (0.28, 0.16), (0.43, 0.16), (0.65, 2.68), (0.67, 7.68), (0.88, 2), (0.94, 120)]
CATEGORY_III_LOW = [(0.94, 10), (0.03, 1), (0.48, 9), (0.52, 9), (0.70, 10), (0.94, 120)]
CATEGORY_II_HIGH = [(1.0, 10), (1.18, 0.2), (1.175, 0.3), (1.15, 0.5), (1.0, 120)]
CATEGORY_III_HIGH = [(1.0, 10), (1.18, 12), (1.12, 12), (1.0, 120)]


@pytest.mark.parametrize("sequence", [CATEGORY_II_LOW, CATEGORY_III_LOW, CATEGORY_II_HIGH, CATEGORY_III_HIGH])
@pytest.mark.parametrize("cessation", [Cessation(), Cessation(enabled=True)])
@pytest.mark.parametrize("power_w", [10_000, 3000, -8000])
def test_inverter_rides_through_three_sets_and_takes_its_set_point_up_again(
    sequence: list[tuple[float, float]], cessation: Cessation, power_w: float
) -> None:
    inverter = running(Functions(trips=WIDEST, cessation=cessation, volt_var=VOLT_VAR[1]), power_w)
    before_w = inverter.ac_w
    for _ in range(3):
        for v_pu, seconds in sequence:
            run(inverter, seconds, grid(v_pu), 0.02)
            assert inverter.state == "run"
            largest_va = 10_000 * min(1.0, 1.1 * v_pu)
            assert sqrt(inverter.ac_w**2 + inverter.reactive_var**2) <= largest_va + 1e-6
            if cessation.enabled and seconds > 0.1 and not 0.5 <= v_pu <= 1.10:
                assert (inverter.ac_w, inverter.reactive_var) == (0, 0)
        run(inverter, 60, grid(1.0), 1.0)
        assert inverter.ac_w == pytest.approx(before_w, abs=1)


def test_default_trips_of_category_ii_end_its_ride_through_sequence_at_uv2() -> None:
    inverter = running(Functions(), 5000)
    for v_pu, seconds in CATEGORY_II_LOW[:3]:
        run(inverter, seconds, grid(v_pu), 0.01)
    assert inverter.tripped == "uv2"


@pytest.mark.parametrize("step_s", [0.001, 0.083, 0.2])
def test_cessation_answers_within_83_ms_and_80_percent_is_back_within_400_ms(step_s: float) -> None:
    inverter = running(Functions(trips=CATEGORY_III, cessation=Cessation(enabled=True)), 9000)
    inverter.step(0.082, grid(0.4))
    assert inverter.ac_w > 0
    run(inverter, 0.2, grid(0.4), step_s)
    assert inverter.ac_w == 0
    inverter.step(0.01, grid(0.95))
    assert inverter.ac_w < 0.2 * 9000  # it comes back along its response, not at once
    assert run(inverter, 0.39, grid(0.95), min(step_s, 0.03)) >= 0.8 * 9000
    assert run(inverter, 3, grid(0.95), 0.05) == 9000


@pytest.mark.parametrize(("v_pu", "bad"), [(0.5, False), (0.499, True), (1.10, False), (1.101, True)])
def test_cessation_begins_beyond_its_edge(v_pu: float, bad: bool) -> None:
    assert ceases(Cessation(enabled=True), v_pu) is bad
    assert not ceases(Cessation(), v_pu)


# Several functions at once: IEEE 1547.1-2020 5.13 and 5.16

TABLE_39 = [  # voltage, frequency, P, then Q by volt-var, constant var, constant power factor (as P tan), watt-var
    (1.00, 60.00, 0.5, 0.00, 0.44, 0.5 * 0.4843, 0.00),
    (1.09, 60.00, 0.4, -0.44, 0.44, 0.4 * 0.4843, 0.00),
    (1.09, 60.33, 0.3, -0.44, 0.44, 0.3 * 0.4843, 0.00),
    (1.09, 60.00, 0.4, -0.44, 0.44, 0.4 * 0.4843, 0.00),
    (1.09, 59.36, 0.4, -0.44, 0.44, 0.4 * 0.4843, 0.00),
    (1.00, 59.36, 0.6, 0.00, 0.44, 0.6 * 0.4843, -0.09),
    (1.00, 60.00, 0.5, 0.00, 0.44, 0.5 * 0.4843, 0.00),
    (1.00, 59.36, 0.7, 0.00, 0.44, 0.7 * 0.4843, -0.18),
]
MODES = (
    {"volt_var": VoltVar(enabled=True)},
    {"constant_var": ConstantVar(enabled=True, q_pu=0.44)},
    {"constant_factor": ConstantFactor(enabled=True, power_factor=0.9)},
    {"watt_var": WattVar(enabled=True)},
)


@pytest.mark.parametrize("mode", range(4), ids=["volt-var", "var", "power factor", "watt-var"])
def test_functions_take_precedence_as_in_table_39(mode: int) -> None:
    functions = Functions(
        trips=WIDEST, volt_watt=VoltWatt(enabled=True, p2_pu=0.2), freq_droop=FreqDroop(enabled=True), **MODES[mode]
    )
    inverter = running(functions)
    inverter.limit(Limit(enabled=True, pct=50))
    for v_pu, hz, power_pu, *vars_pu in TABLE_39:
        run(inverter, 60, grid(v_pu, hz), 1.0)
        assert inverter.ac_w / 10_000 == pytest.approx(power_pu, abs=0.003)
        assert inverter.reactive_var / 10_000 == pytest.approx(vars_pu[mode], abs=0.003)


@pytest.mark.parametrize("pct", [66, 33, 0])
def test_active_power_limit_holds_and_droop_and_volt_watt_act_beside_it(pct: float) -> None:
    volt_watt = VoltWatt(enabled=True)
    inverter = running(Functions(trips=WIDEST, volt_watt=volt_watt, freq_droop=FreqDroop(enabled=True)))
    limited_pu, slope_pu = pct / 100, 0.964 / 3  # 1 Hz less the dead band, of 60 Hz x 5 %
    inverter.limit(Limit(enabled=True, pct=pct))
    assert run(inverter, 30, grid()) == pytest.approx(10_000 * limited_pu, abs=1)
    for v_pu, hz, power_pu in [
        (1.0, 59.0, limited_pu + slope_pu),  # Table 23 goes past the limit
        (1.0, 60.0, limited_pu),
        (1.0, 61.0, limited_pu - slope_pu),  # a battery goes on into charging
        (1.0, 60.0, limited_pu),
        (1.08, 60.0, min(limited_pu, 0.5)),
        (1.0, 60.0, limited_pu),
    ]:
        assert run(inverter, 60, grid(v_pu, hz), 1.0) == pytest.approx(10_000 * power_pu, abs=1)


@pytest.mark.parametrize("response_s", [1, 5, 10])
@pytest.mark.parametrize(
    ("function", "setting", "event", "from_w", "to_w", "to_var"),
    [
        ("volt_watt", VoltWatt(enabled=True), grid(1.08), 10_000, 5000, 0),
        ("freq_droop", FreqDroop(enabled=True), grid(hz=60.636), 9000, 7000, 0),
        ("freq_droop", FreqDroop(enabled=True), grid(hz=59.364), 1000, 3000, 0),
        ("volt_var", VoltVar(enabled=True), grid(0.95), 4000, 4000, 2200),
    ],
)
def test_function_has_done_90_percent_of_its_step_at_its_response_time(
    function: str, setting: object, event: Terminals, from_w: float, to_w: float, to_var: float, response_s: float
) -> None:
    functions = Functions(**{function: msgspec.structs.replace(setting, response_s=response_s)})
    inverter = Inverter(InverterSpec(functions=functions, nominal_hz=60.0, instant=True))
    inverter.set_point(SetPoint(enabled=True, power_w=from_w))
    assert run(inverter, 60, grid()) == pytest.approx(from_w)
    run(inverter, response_s, event)
    assert inverter.ac_w == pytest.approx(from_w + 0.9 * (to_w - from_w), abs=1)
    assert inverter.reactive_var == pytest.approx(0.9 * to_var, abs=1)


@pytest.mark.parametrize(
    ("function", "setting", "to_var"),
    [
        ("constant_var", ConstantVar(enabled=True, q_pu=-0.3, response_s=4), -3000),
        ("constant_factor", ConstantFactor(enabled=True, power_factor=0.8, response_s=4), 3000),
        ("watt_var", WattVar(enabled=True, q1_pu=0.1, q2_pu=0.1, response_s=4), 1000),
    ],
)
def test_reactive_function_has_done_90_percent_at_its_response_time(
    function: str, setting: object, to_var: float
) -> None:
    inverter = Inverter(InverterSpec(functions=Functions(**{function: setting}), nominal_hz=60.0, instant=True))
    inverter.set_point(SetPoint(enabled=True, power_w=4000))
    run(inverter, 4, grid())
    assert inverter.reactive_var == pytest.approx(0.9 * to_var, abs=1)


def test_droop_acts_around_50_hz_by_default() -> None:
    inverter = running(Functions(freq_droop=FreqDroop(enabled=True)), 2000, nominal_hz=50.0)
    assert run(inverter, 60, grid(hz=49.714)) == pytest.approx(2000 + 10_000 * 0.25 / 2.5, abs=1)
    assert run(inverter, 60, grid(hz=50.036)) == pytest.approx(2000)


def test_set_point_moves_power_while_droop_acts() -> None:
    inverter = running(Functions(freq_droop=FreqDroop(enabled=True)), 2000)
    assert run(inverter, 60, grid(hz=60.636)) == pytest.approx(0, abs=1)
    inverter.set_point(SetPoint(enabled=True, power_w=5000))
    assert run(inverter, 3, grid(hz=60.636)) == pytest.approx(3000, abs=2)
    assert run(inverter, 60, grid()) == 5000


def test_battery_can_be_driven_past_0_w_by_over_frequency_and_high_voltage() -> None:
    droop = running(Functions(freq_droop=FreqDroop(enabled=True)), 1000)
    assert run(droop, 60, grid(hz=60.936)) == pytest.approx(-2000, abs=1)
    charged = running(Functions(trips=WIDEST, volt_watt=VoltWatt(enabled=True, p2_pu=-1.0)), 1000)
    assert run(charged, 60, grid(1.10)) == pytest.approx(-10_000, abs=1)


@pytest.mark.parametrize("step_s", [1.0, 0.5])
def test_long_steps_give_what_short_ones_give(step_s: float) -> None:
    functions = Functions(
        trips=WIDEST,
        volt_watt=VoltWatt(enabled=True, response_s=2),
        freq_droop=FreqDroop(enabled=True, response_s=1),
        watt_var=WattVar(enabled=True, response_s=1),
    )
    coarse, fine = running(functions), running(functions)
    for v_pu, hz, power_w in [(1.08, 60, 9000), (1.0, 60.4, 9000), (1.0, 59.7, 2000), (1.07, 60, -9000)]:
        for inverter in (coarse, fine):
            inverter.set_point(SetPoint(enabled=True, power_w=power_w))
        for _ in range(3):
            run(coarse, 1, grid(v_pu, hz), step_s)
            run(fine, 1, grid(v_pu, hz), 0.01)
            assert coarse.ac_w == pytest.approx(fine.ac_w, abs=60)
            assert coarse.reactive_var == pytest.approx(fine.reactive_var, abs=60)


@pytest.mark.parametrize("functions", [Functions(), Functions(volt_var=VoltVar(enabled=True))])
def test_inverter_with_functions_rests_when_nothing_moves(functions: Functions) -> None:
    inverter = running(functions, 4000)
    inverter.step(1.0, grid())
    assert not inverter.busy
    assert (inverter.ac_w, inverter.reactive_var) == (4000, 0)
