"""The battery inverter: what it is told, what it does, and what it lets through."""

from collections.abc import Iterator
from math import e, exp, log, sqrt
from random import Random

import msgspec
import pytest

from hil.plant.functions import ConstantVar, EnterService, Functions, Trips, VoltVar, WattVar
from hil.plant.inverter import PENDING_MAX, Inverter, InverterSpec, Limit, SetPoint, Terminals

WIDE = Terminals(charge_max_w=1e6, discharge_max_w=1e6, pack_v=52.0, closed=True)
SOON = Functions(enter_service=EnterService(delay_s=0, ramp_s=0))  # in service at once, for tests of other things


def at(**terminals: float | bool) -> Terminals:
    return msgspec.structs.replace(WIDE, **terminals)


def run(inverter: Inverter, seconds: float, terminals: Terminals = WIDE, step_s: float = 0.05) -> float:
    for _ in range(round(seconds / step_s)):
        inverter.step(step_s, terminals)
    return inverter.ac_w


def told(power_w: float, timer_s: float = 0.0, after_w: float = 0.0, after_enabled: bool = False) -> SetPoint:
    return SetPoint(enabled=True, power_w=power_w, after_enabled=after_enabled, after_w=after_w, timer_s=timer_s)


def settled(spec: InverterSpec, power_w: float, terminals: Terminals = WIDE) -> Inverter:
    inverter = Inverter(spec)
    inverter.set_point(told(power_w))
    run(inverter, 10, terminals)
    return inverter


# The path of a set point


@pytest.mark.parametrize("power_w", [5000, -5000])
def test_inverter_does_nothing_in_its_dead_time_and_reaches_90_percent_at_its_response_time(power_w: int) -> None:
    inverter = Inverter(InverterSpec(ramp_w_per_s=1e9))
    inverter.set_point(told(power_w))
    assert run(inverter, 0.2) == pytest.approx(0, abs=0.1)
    assert run(inverter, 0.4) == pytest.approx(0.9 * power_w, rel=1e-3)
    assert run(inverter, 3.0) == power_w


def test_ramp_holds_the_inverter_back() -> None:
    inverter = Inverter(InverterSpec(dead_s=0.0, ramp_w_per_s=1000))
    inverter.set_point(told(10_000))
    lag_s = 0.4 / log(10)
    assert run(inverter, 5.0) == pytest.approx(1000 * (5.0 - lag_s), abs=0.1)


def by_small_steps(ramp_w_per_s: float, orders: dict[float, float], end_s: float) -> float:
    """Integrate dead time, ramp and lag by the trapezoidal rule, with nothing of the code under test."""
    dt_s, lag_s, dead_s = 1e-4, 0.4 / log(10), 0.2
    goal_w = ramp_w = power_w = 0.0
    acts = {round((when_s + dead_s) / dt_s): order_w for when_s, order_w in orders.items()}
    for number in range(round(end_s / dt_s)):
        goal_w = acts.get(number, goal_w)
        before_w = ramp_w
        ramp_w += max(-ramp_w_per_s * dt_s, min(ramp_w_per_s * dt_s, goal_w - ramp_w))
        share = dt_s / lag_s / 2
        power_w = (power_w * (1 - share) + share * (before_w + ramp_w)) / (1 + share)
    return power_w


@pytest.mark.parametrize("step_s", [1.0, 0.25, 0.05, 0.001])
@pytest.mark.parametrize("end_s", [1.0, 2.0, 3.0, 4.0])
def test_power_is_what_small_steps_give_whatever_the_size_of_the_steps(step_s: float, end_s: float) -> None:
    orders = {0.0: 8000.0, 1.0: -6000.0, 2.0: 500.0, 3.0: 9000.0}
    inverter = Inverter(InverterSpec(ramp_w_per_s=12_000))
    for when_s, order_w in orders.items():
        if when_s < end_s:
            inverter.set_point(told(order_w))
            run(inverter, 1.0, step_s=step_s)
    assert inverter.ac_w == pytest.approx(by_small_steps(12_000, orders, end_s), abs=0.1)


@pytest.mark.parametrize("step_s", [1.0, 0.5, 0.02])
def test_limits_that_come_and_go_do_not_make_power_depend_on_the_size_of_the_steps(step_s: float) -> None:
    def walk(step_s: float) -> Iterator[float]:
        inverter = Inverter(InverterSpec(obeys_bms=True, ramp_w_per_s=7000))
        limits = [at(discharge_max_w=2000), WIDE, at(charge_max_w=900), at(discharge_max_w=0), WIDE]
        for order_w, terminals in zip([9000, 9000, -9000, 4000, -300], limits, strict=True):
            inverter.set_point(told(order_w))
            for _ in range(3):
                yield run(inverter, 1.0, terminals, step_s)

    assert list(walk(step_s)) == pytest.approx(list(walk(0.001)), abs=0.1)


def test_flood_of_set_points_ends_at_the_newest() -> None:
    inverter = Inverter()
    for power_w in range(10 * PENDING_MAX):
        inverter.set_point(told(power_w))
    assert run(inverter, 5.0) == 10 * PENDING_MAX - 1


@pytest.mark.parametrize(("order_w", "power_w"), [(99, 0), (100, 100), (-99, 0), (-100, -100)])
def test_small_set_points_are_not_followed(order_w: float, power_w: float) -> None:
    assert settled(InverterSpec(min_w=100), order_w).ac_w == power_w


def test_inverter_is_busy_while_it_moves_and_rests_exactly_at_its_set_point() -> None:
    inverter = Inverter()
    assert not inverter.busy
    inverter.set_point(told(3000))
    assert inverter.busy
    while inverter.busy:
        inverter.step(0.05, WIDE)
    assert inverter.ac_w == 3000
    inverter.step(1.0, WIDE)
    assert inverter.ac_w == 3000
    assert not inverter.busy


def test_inverter_is_busy_a_second_before_its_timer_acts_and_when_a_knob_is_turned() -> None:
    inverter = Inverter()
    inverter.set_point(told(3000, timer_s=10))
    run(inverter, 8.9)
    assert not inverter.busy
    run(inverter, 0.15)
    assert inverter.busy
    still = settled(InverterSpec(), 3000)
    assert not still.busy
    still.derate_pct = 20
    assert still.busy


def test_instant_inverter_knows_no_dead_time_ramp_nor_lag() -> None:
    inverter = Inverter(InverterSpec(instant=True))
    inverter.set_point(told(7000))
    inverter.step(0.001, WIDE)
    assert inverter.ac_w == 7000


# Clips

COOL = {"heat_j_per_k": 1e12}  # the cabinet stays as warm as it is


@pytest.mark.parametrize(
    ("spec", "terminals", "order_w", "power_w"),
    [
        ({}, {}, 25_000, 10_000),  # nameplate
        ({}, {}, -25_000, -10_000),
        ({"rated_va": 8000}, {}, 10_000, 8000),
        ({}, {"charge_max_w": 0, "discharge_max_w": 0}, 9000, 9000),  # it does not hear the BMS
        (COOL, {"ambient_c": 75}, 10_000, 10_000),  # heat: 1 up to 75 C, 0 from 95 C
        (COOL, {"ambient_c": 85}, 10_000, 5000),
        (COOL, {"ambient_c": 85}, -10_000, -5000),
        (COOL, {"ambient_c": 95}, 10_000, 0),
        (COOL, {"ambient_c": 120}, -10_000, 0),
        (COOL | {"no_derating": True}, {"ambient_c": 120}, 10_000, 10_000),
        ({}, {"pack_v": 42.0}, 10_000, 10_000),  # DC window: 40 to 60 V, 2 V of taper
        ({}, {"pack_v": 41.0}, 10_000, 5000),
        ({}, {"pack_v": 41.0}, -10_000, -10_000),
        ({}, {"pack_v": 39.0}, 10_000, 0),
        ({}, {"pack_v": 59.5}, -10_000, -2500),
        ({}, {"pack_v": 59.5}, 10_000, 10_000),
        ({}, {"pack_v": 61.0}, -10_000, 0),
        ({}, {"grid_v_pu": 0.95}, 10_000, 10_000),  # AC current: 1.1 of nominal
        ({}, {"grid_v_pu": 0.80}, 10_000, 8800),
        ({}, {"grid_v_pu": 0.80}, -10_000, -8800),
        (COOL, {"ambient_c": 85, "pack_v": 41.5}, 10_000, 5000),  # the tighter of two holds
        (COOL, {"ambient_c": 85, "pack_v": 40.5}, 10_000, 2500),
        (COOL, {"ambient_c": 85, "grid_v_pu": 0.75}, 9000, 5000),
    ],
)
def test_each_clip_holds(spec: dict[str, object], terminals: dict[str, float], order_w: float, power_w: float) -> None:
    inverter = settled(InverterSpec(functions=Functions(trips=Trips(enabled=False)), **spec), order_w, at(**terminals))
    assert inverter.ac_w == pytest.approx(power_w, abs=0.01)


@pytest.mark.parametrize(
    ("terminals", "order_w", "dc_w"),
    [
        ({"discharge_max_w": 3000}, 9000, 3000),
        ({"charge_max_w": 5000}, -9000, -5000),
        ({"charge_max_w": 0}, -9000, 0),
        ({"discharge_max_w": 0}, 9000, 0),
        ({"discharge_max_w": 0, "charge_max_w": 0}, 0, 0),
        ({"discharge_max_w": 0, "ambient_c": 130}, 9000, 0),  # no heat makes up for what the BMS refuses
        ({"discharge_max_w": 3000, "ambient_c": 91.2}, 9000, 1900 + 30 + 19 + 2.87e-6 * 1900**2),  # heat is tighter
        ({"closed": False}, 9000, 0),
        ({"closed": False, "discharge_max_w": 3000}, 9000, 0),  # the contactor comes before the BMS
        ({"closed": False, "charge_max_w": 3000}, -9000, 0),
    ],
)
def test_limits_of_the_bms_hold_at_the_batterys_terminals(
    terminals: dict[str, float], order_w: float, dc_w: float
) -> None:
    inverter = settled(InverterSpec(obeys_bms=True, heat_j_per_k=1e12), order_w, at(**terminals))
    assert inverter.dc_w == pytest.approx(dc_w, abs=0.01)
    if dc_w == 0:
        assert inverter.ac_w == pytest.approx(-30.3, abs=0.1)  # the grid feeds the inverter


def test_limits_of_the_bms_act_at_once_and_are_left_along_the_path() -> None:
    inverter = settled(InverterSpec(obeys_bms=True), 9000)
    inverter.step(0.001, at(discharge_max_w=3000))
    assert inverter.dc_w == pytest.approx(3000)
    inverter.step(0.001, WIDE)
    assert inverter.dc_w < 3300


@pytest.mark.parametrize(
    ("priority", "order_w", "power_w", "var"),
    [
        ("reactive", 10_000, sqrt(10_000**2 - 4400**2), 4400),
        ("reactive", -10_000, -sqrt(10_000**2 - 4400**2), 4400),
        ("reactive", 8000, 8000, 4400),
        ("active", 10_000, 10_000, 0),
        ("active", 9500, 9500, sqrt(10_000**2 - 9500**2)),
        ("active", 8000, 8000, 4400),
    ],
)
def test_p_or_q_keeps_its_value_at_the_edge_of_the_circle(
    priority: str, order_w: float, power_w: float, var: float
) -> None:
    functions = Functions(constant_var=ConstantVar(enabled=True, q_pu=0.6))  # more than the 44 % it can
    inverter = Inverter(InverterSpec(priority=priority, functions=functions))
    inverter.set_point(told(order_w))
    run(inverter, 60)
    assert (inverter.ac_w, inverter.reactive_var) == pytest.approx((power_w, var), abs=1)


def losses_w(inverter: Inverter) -> float:
    """Return what the paper says it loses now."""
    at_rest_w = {"off": 0.0, "standby": 10.0, "fault": 10.0, "starting": 30.0}
    if inverter.state != "run":
        return at_rest_w[inverter.state]
    ac_w, var = inverter.ac_w, inverter.reactive_var
    return 30 + 0.01 * abs(ac_w) + 2.87e-6 * (ac_w**2 + var**2)


def chance_walk(spec: InverterSpec, seed: int) -> Iterator[tuple[Inverter, Terminals]]:
    """Yield after each step of a walk through orders, faults of the grid and the battery, and step sizes."""
    random, inverter, terminals = Random(seed), Inverter(spec), WIDE
    for _ in range(3000):
        if random.random() < 0.1:
            inverter.set_point(told(random.uniform(-14e3, 14e3), timer_s=random.choice([0, 0, 1, 5])))
        if random.random() < 0.01:
            inverter.operate(random.choice(["stop", "start", "standby", "start", "start"]))
        if random.random() < 0.003:
            inverter.trip(random.choice([None, 3.0]))
        if random.random() < 0.1:
            terminals = at(
                charge_max_w=random.uniform(0, 9000),
                discharge_max_w=random.uniform(0, 9000),
                pack_v=random.uniform(39, 61),
                closed=random.random() < 0.9,
                grid_v_pu=random.choice([1, 1, 1, random.uniform(0.3, 1.25)]),
                grid_hz=random.choice([50, 50, random.uniform(48, 52)]),
                ambient_c=random.uniform(-20, 60),
            )
        inverter.step(random.choice([0.001, 0.05, 0.05, 0.3, 1.0]), terminals)
        yield inverter, terminals


Q_MODES = {
    "none": {},
    "volt-var": {"volt_var": VoltVar(enabled=True, response_s=1)},
    "watt-var": {"watt_var": WattVar(enabled=True, response_s=1)},
    "constant": {"constant_var": ConstantVar(enabled=True, q_pu=-0.44)},
}


@pytest.mark.parametrize("mode", Q_MODES)
@pytest.mark.parametrize("priority", ["active", "reactive"])
def test_no_energy_is_made_and_the_circle_is_never_left(mode: str, priority: str) -> None:
    functions = Functions(enter_service=EnterService(delay_s=2, ramp_s=5), **Q_MODES[mode])
    spec = InverterSpec(functions=functions, priority=priority, startup_s=1.0)
    states, largest_va = set(), 0.0
    for inverter, terminals in chance_walk(spec, seed=11):
        ac_w, dc_w, var = inverter.ac_w, inverter.dc_w, inverter.reactive_var
        states.add(inverter.state)
        assert dc_w - ac_w == pytest.approx(losses_w(inverter), abs=1e-6)
        assert terminals.closed or dc_w == 0
        assert terminals.closed or -31 < ac_w <= 0
        edge_va = 10_000 * min(1.0, 1.1 * terminals.grid_v_pu)
        assert sqrt(ac_w**2 + var**2) <= edge_va + 1e-6
        largest_va = max(largest_va, sqrt(ac_w**2 + var**2) / edge_va)
    assert states == {"off", "standby", "starting", "run", "fault"}
    assert largest_va > 0.999


# Losses and heat


@pytest.mark.parametrize("ac_w", [-10_000, -400, 0, 400, 10_000])
@pytest.mark.parametrize("var", [0, 3000])
def test_power_at_the_battery_and_at_the_grid_are_one_curve_read_both_ways(ac_w: int, var: int) -> None:
    inverter = Inverter()
    assert inverter.ac_of_dc_w(inverter.dc_of_ac_w(ac_w, var), var) == pytest.approx(ac_w, abs=1e-6)


def test_inverter_is_96_percent_efficient_at_its_rating_and_draws_30_w_at_0_w() -> None:
    inverter = Inverter()
    assert 10_000 / inverter.dc_of_ac_w(10_000) == pytest.approx(0.96, abs=0.001)
    assert -inverter.dc_of_ac_w(-10_000) / 10_000 == pytest.approx(0.96, abs=0.002)
    assert inverter.dc_w == inverter.dc_of_ac_w(0) == 30


def test_lossless_inverter_loses_nothing_in_any_state() -> None:
    inverter = settled(InverterSpec(lossless=True), 8000)
    assert inverter.dc_w == inverter.ac_w == 8000
    inverter.operate("standby")
    run(inverter, 1)
    assert inverter.dc_w == inverter.ac_w == 0


def test_counters_take_what_flows() -> None:
    inverter = settled(InverterSpec(), 6000)
    before = (inverter.injected_wh, inverter.absorbed_wh, inverter.dc_out_wh, inverter.dc_in_wh)
    run(inverter, 3600, step_s=1.0)
    dc_w = 6000 + 30 + 60 + 2.87e-6 * 6000**2
    after = (inverter.injected_wh, inverter.absorbed_wh, inverter.dc_out_wh, inverter.dc_in_wh)
    assert [b - a for a, b in zip(before, after, strict=True)] == pytest.approx([6000, 0, dc_w, 0])
    inverter = settled(InverterSpec(), -6000)
    before = (inverter.injected_wh, inverter.absorbed_wh, inverter.dc_out_wh, inverter.dc_in_wh)
    run(inverter, 3600, step_s=1.0)
    after = (inverter.injected_wh, inverter.absorbed_wh, inverter.dc_out_wh, inverter.dc_in_wh)
    dc_w = 6000 - 30 - 60 - 2.87e-6 * 6000**2
    assert [b - a for a, b in zip(before, after, strict=True)] == pytest.approx([0, 6000, 0, dc_w])


@pytest.mark.parametrize("step_s", [0.05, 1.0])
def test_cabinet_warms_with_the_losses_as_one_lump(step_s: float) -> None:
    inverter = Inverter(InverterSpec(instant=True))
    inverter.set_point(told(5000))
    rise_k = 0.08 * (30 + 50 + 2.87e-6 * 5000**2)
    run(inverter, 960, at(ambient_c=20), step_s)  # once the time constant, 0.08 K/W x 12 kJ/K
    assert inverter.cabinet_c == pytest.approx(20 + rise_k * (1 - 1 / e), abs=0.02)
    run(inverter, 9600, at(ambient_c=20), 1.0)
    assert inverter.cabinet_c == pytest.approx(20 + rise_k, abs=0.01)


def test_full_power_is_held_at_40_c_and_given_up_in_part_at_50_c() -> None:
    for ambient_c, low_w, high_w in [(40, 10_000, 10_000), (50, 7000, 9500)]:
        inverter = Inverter()
        inverter.set_point(told(10_000))
        run(inverter, 10_000, at(ambient_c=ambient_c), 1.0)
        assert low_w <= inverter.ac_w <= high_w


# States


def test_stop_is_at_once_and_start_takes_its_time() -> None:
    inverter = settled(InverterSpec(functions=SOON), 5000)
    inverter.operate("stop")
    inverter.step(0.05, WIDE)
    assert (inverter.state, inverter.ac_w, inverter.dc_w, inverter.command_w) == ("off", 0, 0, 0)
    inverter.operate("start")
    run(inverter, 9.9)
    assert (inverter.state, inverter.ac_w, inverter.dc_w) == ("starting", 0, 30)
    run(inverter, 0.15)
    assert inverter.state == "run"
    assert run(inverter, 3) == 5000  # the set point has stayed


def test_standby_draws_little_and_wakes_without_the_ramp_of_enter_service() -> None:
    inverter = settled(InverterSpec(), 5000)
    inverter.operate("standby")
    run(inverter, 1)
    assert (inverter.state, inverter.ac_w, inverter.dc_w, inverter.command_w) == ("standby", 0, 10, 0)
    inverter.step(0.05, at(closed=False))
    assert (inverter.ac_w, inverter.dc_w) == (-10, 0)
    inverter.operate("start")
    run(inverter, 1.9)
    assert inverter.state == "starting"
    assert run(inverter, 3) == 5000


def test_power_sets_out_from_0_w_when_the_inverter_wakes() -> None:
    inverter = settled(InverterSpec(ramp_w_per_s=1e9), 5000)
    inverter.operate("standby")
    run(inverter, 60)
    inverter.operate("start")
    run(inverter, 2.0)
    assert (inverter.state, inverter.ac_w) == ("run", 0)
    assert run(inverter, 0.4) == pytest.approx(4500, abs=5)


@pytest.mark.parametrize("operation", ["stop", "standby"])
def test_idle_inverter_is_not_busy_and_its_timers_are_still_seen(operation: str) -> None:
    inverter = settled(InverterSpec(), 5000)
    inverter.operate(operation)
    assert inverter.busy
    inverter.step(0.05, WIDE)
    assert not inverter.busy
    inverter.set_point(told(4000, timer_s=3))
    run(inverter, 1.5)
    assert not inverter.busy
    run(inverter, 0.6)
    assert inverter.busy


def test_start_in_run_and_a_second_start_change_nothing() -> None:
    inverter = settled(InverterSpec(functions=SOON), 5000)
    inverter.operate("start")
    inverter.step(0.05, WIDE)
    assert inverter.ac_w == 5000
    inverter.operate("stop")
    inverter.operate("start")
    run(inverter, 8)
    inverter.operate("start")
    run(inverter, 2.1)
    assert inverter.state == "run"


def test_dead_battery_and_dead_grid_leave_nothing_to_flow() -> None:
    inverter = settled(InverterSpec(functions=Functions(trips=Trips(enabled=False))), 5000)
    inverter.step(0.05, at(closed=False, grid_v_pu=0.0))
    assert (inverter.ac_w, inverter.dc_w) == (0, 0)


def test_trip_stops_it_and_it_starts_again_after_its_time() -> None:
    inverter = settled(InverterSpec(functions=SOON), 5000)
    inverter.trip(60)
    inverter.step(0.05, WIDE)
    assert (inverter.state, inverter.tripped, inverter.ac_w, inverter.dc_w) == ("fault", "fault", 0, 10)
    run(inverter, 59.9)
    assert inverter.state == "fault"
    run(inverter, 0.1)
    assert inverter.state == "starting"
    run(inverter, 10)
    assert (inverter.state, inverter.tripped) == ("run", "")
    assert run(inverter, 3) == 5000


def test_fault_without_a_time_waits_to_be_started_and_can_be_stopped() -> None:
    inverter = settled(InverterSpec(functions=SOON), 5000)
    inverter.trip()
    run(inverter, 1000, step_s=1.0)
    assert inverter.state == "fault"
    inverter.operate("start")
    run(inverter, 10.1)
    assert inverter.state == "run"
    inverter.trip(30)
    inverter.operate("stop")
    run(inverter, 100, step_s=1.0)
    assert inverter.state == "off"


def test_what_is_off_does_not_trip() -> None:
    inverter = Inverter()
    inverter.operate("stop")
    inverter.trip(1)
    run(inverter, 30)
    assert inverter.state == "off"


@pytest.mark.parametrize("step_s", [0.05, 1.0])
def test_power_rises_along_the_ramp_of_enter_service(step_s: float) -> None:
    functions = Functions(enter_service=EnterService(delay_s=0, ramp_s=100))
    inverter = settled(InverterSpec(functions=functions, startup_s=10), 8000)
    inverter.trip(0)
    run(inverter, 10, step_s=step_s)
    for second in range(1, 80):
        assert run(inverter, 1.0, step_s=step_s) == pytest.approx(100 * second, abs=25)
        assert inverter.ac_w <= 100 * second + 1e-6
        assert inverter.busy
    run(inverter, 30)
    assert inverter.ac_w == 8000
    assert not inverter.busy


# Reversion


def test_set_point_reverts_to_its_value_and_enable_after_its_time() -> None:
    inverter = Inverter()
    inverter.set_point(told(5000, timer_s=10, after_w=1500, after_enabled=True))
    assert run(inverter, 9.9) == 5000
    assert inverter.reverts_s == pytest.approx(0.1)
    run(inverter, 0.15)
    assert inverter.reverts_s == 0
    assert (inverter.reverted, inverter.command_w) == (True, 1500)
    assert inverter.set_point_now == SetPoint(enabled=True, power_w=1500, after_enabled=True, after_w=1500, timer_s=10)
    assert run(inverter, 100) == 1500  # it reverts once


def test_set_point_that_reverts_to_disabled_is_0_w() -> None:
    inverter = Inverter()
    inverter.set_point(told(5000, timer_s=10, after_w=1500))
    assert run(inverter, 15) == 0
    assert (inverter.command_w, inverter.set_point_now.enabled) == (0, False)


def test_every_write_while_enabled_starts_the_timer_anew() -> None:
    inverter = Inverter()
    for _ in range(5):
        inverter.set_point(told(5000, timer_s=10))
        assert inverter.reverts_s == 10
        assert run(inverter, 9) == pytest.approx(5000)
    assert run(inverter, 3) == 0


def test_disabled_group_has_no_timer_until_it_is_enabled() -> None:
    inverter = Inverter()
    inverter.set_point(SetPoint(power_w=5000, timer_s=10))
    assert inverter.reverts_s == 0
    assert run(inverter, 8) == 0
    inverter.set_point(told(5000, timer_s=10))
    assert inverter.reverts_s == 10
    assert run(inverter, 9) == 5000
    inverter.set_point(SetPoint(power_w=5000, after_enabled=True, after_w=700, timer_s=10))
    assert inverter.reverts_s == 0
    assert run(inverter, 20) == 0


def test_timer_of_0_s_is_none_and_cancels_the_one_that_runs() -> None:
    inverter = Inverter()
    inverter.set_point(told(5000, timer_s=10))
    run(inverter, 5)
    inverter.set_point(told(5000, timer_s=0))
    assert inverter.reverts_s == 0
    assert run(inverter, 1000, step_s=1.0) == 5000


def test_limit_has_a_timer_of_its_own() -> None:
    inverter = Inverter()
    inverter.set_point(told(9000, timer_s=30))
    inverter.limit(Limit(enabled=True, pct=40, after_enabled=True, after_pct=70, timer_s=10))
    assert run(inverter, 9) == 4000
    assert (inverter.limit_reverts_s, inverter.reverts_s) == pytest.approx((1, 21))
    assert run(inverter, 5) == 7000
    assert (inverter.limit_reverted, inverter.reverted, inverter.limit_now.pct) == (True, False, 70)
    assert run(inverter, 20) == 0
    assert inverter.reverted


def test_limit_that_reverts_to_disabled_is_none() -> None:
    inverter = Inverter()
    inverter.set_point(told(9000))
    inverter.limit(Limit(enabled=True, pct=0, timer_s=10))
    assert run(inverter, 9) == 0
    assert run(inverter, 5) == 9000
    assert not inverter.limit_now.enabled
    assert inverter.limit_reverts_s == 0


@pytest.mark.parametrize(("order_w", "power_w"), [(9000, 5000), (3000, 3000), (-9000, -9000)])
def test_limit_holds_what_goes_to_the_grid_and_not_what_is_charged(order_w: float, power_w: float) -> None:
    inverter = Inverter()
    inverter.limit(Limit(enabled=True, pct=50))
    inverter.set_point(told(order_w))
    assert run(inverter, 5) == power_w


def test_limit_takes_the_dead_time_and_the_path() -> None:
    inverter = settled(InverterSpec(ramp_w_per_s=1e9), 10_000)
    inverter.limit(Limit(enabled=True, pct=0))
    assert run(inverter, 0.2) == 10_000
    assert run(inverter, 0.4) == pytest.approx(1000, abs=5)


def test_reversion_in_the_middle_of_a_long_step_is_seen_at_its_end() -> None:
    inverter = Inverter(InverterSpec(ramp_w_per_s=1e9))
    inverter.set_point(told(5000, timer_s=9.5))
    run(inverter, 9, step_s=1.0)
    inverter.step(1.0, WIDE)  # half a second to the timer, the dead time, the rest of the fall
    assert inverter.ac_w == pytest.approx(5000 * exp(-0.3 * log(10) / 0.4), abs=0.1)


def test_timers_run_in_every_state() -> None:
    inverter = Inverter(InverterSpec(functions=SOON))
    inverter.set_point(told(5000, timer_s=10))
    inverter.operate("stop")
    run(inverter, 11)
    assert not inverter.set_point_now.enabled


# Faults


def test_timers_that_run_can_be_fired_early() -> None:
    inverter = Inverter()
    assert not inverter.revert_now()
    inverter.set_point(told(5000, timer_s=60, after_w=800, after_enabled=True))
    inverter.limit(Limit(enabled=True, pct=50))
    run(inverter, 3)
    assert inverter.revert_now()
    assert (inverter.reverted, inverter.limit_reverted, inverter.command_w, inverter.reverts_s) == (True, False, 800, 0)
    assert run(inverter, 3) == 800
    assert not inverter.revert_now()


def test_ignored_set_points_are_taken_and_not_followed() -> None:
    inverter = settled(InverterSpec(), 2000)
    inverter.ignores = True
    inverter.set_point(told(-3000, timer_s=5))
    assert run(inverter, 3) == 2000
    assert inverter.command_w == -3000
    assert run(inverter, 5) == 2000  # the reversion is not followed either
    assert inverter.command_w == 0
    inverter.set_point(told(1000))
    run(inverter, 1)
    inverter.ignores = False
    assert run(inverter, 3) == 1000


def test_device_held_locally_is_at_0_w_until_it_is_let_go() -> None:
    inverter = settled(InverterSpec(), 2000)
    inverter.local = True
    assert run(inverter, 3) == 0
    assert inverter.command_w == 0
    inverter.local = False
    assert run(inverter, 3) == 2000


def test_derated_device_gives_less_and_tells_nobody() -> None:
    inverter = settled(InverterSpec(), 9000)
    inverter.derate_pct = 40
    assert run(inverter, 1) == 4000
    assert (inverter.command_w, inverter.state) == (9000, "run")
    inverter.set_point(told(-9000))
    assert run(inverter, 3) == -4000
    inverter.derate_pct = 100
    assert run(inverter, 3) == -9000


def test_sign_turned_round_turns_power_and_not_what_is_told() -> None:
    inverter = settled(InverterSpec(), 2000)
    inverter.sign = -1
    assert run(inverter, 3) == -2000
    assert inverter.command_w == 2000


def test_lost_device_is_dead_and_comes_back_with_nothing_in_force() -> None:
    inverter = settled(InverterSpec(functions=SOON), 5000)
    inverter.limit(Limit(enabled=True, pct=90))
    inverter.lost = True
    inverter.step(0.05, WIDE)
    assert (inverter.state, inverter.ac_w, inverter.dc_w) == ("off", 0, 0)
    inverter.set_point(told(5000))
    inverter.operate("start")
    run(inverter, 20)
    assert inverter.state == "off"
    inverter.lost = False
    run(inverter, 10.1)
    assert (inverter.state, inverter.command_w) == ("run", 0)
    assert inverter.limit_now == Limit()
    assert run(inverter, 3) == 0


def test_lost_device_waits_for_the_grid_anew() -> None:
    inverter = Inverter(InverterSpec(functions=Functions(enter_service=EnterService(delay_s=60, ramp_s=0))))
    inverter.lost = True
    run(inverter, 1000, step_s=1.0)
    inverter.lost = False
    run(inverter, 59, step_s=1.0)
    assert inverter.state == "starting"
    run(inverter, 2, step_s=1.0)
    assert inverter.state == "run"


# Specs


@pytest.mark.parametrize(
    "text",
    [
        '{"rated_w": 0}',
        '{"dead_s": -1}',
        '{"colour": "red"}',
        '{"derate_from_c": 80, "derate_to_c": 80}',
        '{"dc_min_v": 50, "dc_max_v": 53.9}',
        '{"functions": {"volt_var": {"enabled": true}, "watt_var": {"enabled": true}}}',
        '{"functions": {"trips": {"uv1_pu": 0.9}}}',
        '{"functions": {"volt_watt": {"v1_pu": 1.09, "v2_pu": 1.08}}}',
    ],
)
def test_specs_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=InverterSpec)


def test_spec_at_its_edges_is_taken() -> None:
    text = '{"dc_min_v": 50, "dc_max_v": 54, "dead_s": 0, "response_s": 0, "functions": {"trips": {"uv1_pu": 0.88}}}'
    spec = msgspec.json.decode(text, type=InverterSpec)
    inverter = Inverter(spec)
    inverter.set_point(told(1000))
    assert run(inverter, 0.05) == 1000
