"""Reactive power that an inverter is told: the set point of SunSpec 704 in the plant and in registers; phases."""

from math import hypot
from typing import Any

import pytest

from controller.engine.reactive import room_var, share_var
from controller.link.modbus_server import ILLEGAL_VALUE
from hil.devices import InverterDevice, MeterDevice
from hil.devices.sunspec import BASE
from hil.plant import told as told_as
from hil.plant.functions import ConstantVar, Functions
from hil.plant.inverter import Inverter, InverterSpec, Reactive, SetPoint, Terminals
from hil.plant.site import Plant
from hil.plant.told import Tamper
from hil.run.meter_reading import meter_phases
from tests.bench import Time, a_plant, request

WIDE = Terminals(charge_max_w=1e6, discharge_max_w=1e6, pack_v=52.0, closed=True)
WRITE, READ = 16, 3
VARS = 4


def run(inverter: Inverter, seconds: float, step_s: float = 0.05) -> tuple[float, float]:
    for _ in range(round(seconds / step_s)):
        inverter.step(step_s, WIDE)
    return inverter.ac_w, inverter.reactive_var


def told(power_w: float, reactive: Reactive | None = None, **spec: Any) -> Inverter:
    inverter = Inverter(InverterSpec(**spec))
    inverter.set_point(SetPoint(enabled=True, power_w=power_w))
    if reactive is not None:
        inverter.reactive(reactive)
    return inverter


def test_reactive_set_point_is_followed_as_fast_as_power() -> None:
    inverter = told(0, Reactive(enabled=True, reactive_var=2000))
    assert run(inverter, 0.2)[1] == 0  # the dead time
    assert run(inverter, 0.4)[1] == pytest.approx(0.9 * 2000, rel=0.02)
    assert run(inverter, 5) == (pytest.approx(0, abs=1), 2000)
    assert not inverter.busy
    inverter.reactive(Reactive())
    assert run(inverter, 5)[1] == 0
    assert not inverter.busy


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("priority", "power_w", "reactive_var", "gives"),
    [
        ("active", 10_000, 4000, (10_000, 0)),
        ("reactive", 10_000, 4000, (9165, 4000)),
        ("active", 9000, 4400, (9000, 4359)),
        ("reactive", 9000, 4400, (8980, 4400)),
        ("active", 3000, 4400, (3000, 4400)),
        ("reactive", 0, 9000, (0, 4400)),  # var_max_pct of 10 kVA
    ],
)
def test_priority_says_what_gives_way_at_the_circle(
    sign: int, priority: Any, power_w: float, reactive_var: float, gives: tuple[float, float]
) -> None:
    inverter = told(power_w, Reactive(enabled=True, reactive_var=sign * reactive_var, priority=priority))
    power, reactive = run(inverter, 20)
    assert (power, sign * reactive) == pytest.approx(gives, abs=2)
    assert hypot(power, reactive) <= 10_000.01


def test_reactive_timer_reverts_by_itself() -> None:
    inverter = told(1000, Reactive(enabled=True, reactive_var=2000, after_enabled=True, after_var=500, timer_s=10))
    assert inverter.reactive_reverts_s == 10
    assert run(inverter, 9.9)[1] == 2000
    assert (inverter.command_var, inverter.reactive_reverted) == (2000, False)
    assert run(inverter, 5) == (1000, 500)
    assert (inverter.command_var, inverter.reactive_reverted, inverter.reverted) == (500, True, False)
    inverter.reactive(Reactive(enabled=True, reactive_var=2000, timer_s=100))
    assert inverter.revert_now()
    assert run(inverter, 5) == (1000, 0)


def test_set_point_stands_in_for_the_functions_of_the_grid_code() -> None:
    functions = Functions(constant_var=ConstantVar(enabled=True, q_pu=0.1, response_s=1.0))
    inverter = told(0, functions=functions)
    assert run(inverter, 10)[1] == pytest.approx(1000, abs=1)
    inverter.reactive(Reactive(enabled=True, reactive_var=-3000))
    assert run(inverter, 10)[1] == -3000
    inverter.reactive(Reactive())
    assert run(inverter, 10)[1] == pytest.approx(1000, abs=1)


def test_inverter_that_stops_or_is_lost_gives_no_reactive_power() -> None:
    inverter = told(1000, Reactive(enabled=True, reactive_var=2000))
    run(inverter, 5)
    inverter.operate("stop")
    assert run(inverter, 1) == (0, 0)
    assert inverter.command_var == 0
    inverter.lost = True
    run(inverter, 1)
    assert inverter.reactive_now == Reactive()


@pytest.mark.parametrize(
    ("state", "grid_v_pu", "connected"),
    [("run", 1.0, True), ("standby", 1.0, True), ("run", 0.0, False), ("stop", 1.0, False), ("trip", 1.0, False)],
)
def test_inverter_is_connected_while_it_runs_on_a_live_grid(state: Any, grid_v_pu: float, connected: bool) -> None:
    inverter = Inverter()
    if state == "trip":
        inverter.trip()
    elif state != "run":
        inverter.operate(state)
    inverter.step(0.05, Terminals(charge_max_w=1e6, discharge_max_w=1e6, pack_v=52, closed=True, grid_v_pu=grid_v_pu))
    assert inverter.connected is connected


# In registers


class Rig:
    """The demo's inverter, its registers by name."""

    def __init__(self, **spec: object) -> None:
        self.time = Time()
        self.plant: Plant = a_plant({"inverter": spec, "local": {"ripple_w": 0}})
        self.device = InverterDevice(self.plant, "inverter", now_s=self.time)

    def register(self, point: str) -> int:
        return BASE + self.device.image.cell(point).offset_bytes // 2

    def read(self, point: str) -> float:
        self.device.answer(request(READ, self.register(point), count=1))
        return self.device.image.cell(point).value

    def write(self, reactive_var: int, timer_s: int = 0, mode: int = VARS, pct: int = 0, priority: int = 0) -> object:
        registers = b"".join(
            value.to_bytes(size, "big", signed=True)
            for value, size in (
                *((1, 2), (mode, 2), (priority, 2), (reactive_var, 4), (0, 4), (pct, 2), (0, 2), (0, 2)),
                (timer_s, 4),
            )
        )
        return self.device.answer(request(WRITE, self.register("704.VarSetEna"), registers))


def test_reactive_set_point_is_written_and_told() -> None:
    rig = Rig()
    assert rig.write(2500, timer_s=10) == b""
    rig.time.pass_by(5, rig.device)
    assert rig.read("701.Var") == 2500
    assert rig.read("704.VarSetRvrtRem") == pytest.approx(5, abs=1)
    rig.time.pass_by(10, rig.device)
    assert (rig.read("701.Var"), rig.read("704.VarSetEna"), rig.read("704.VarSet")) == (0, 0, 0)
    assert rig.write(0, mode=3, pct=-200) == b""  # -20.0 % of 10 kVA
    rig.time.pass_by(5, rig.device)
    assert rig.read("701.Var") == -2000


def test_reactive_set_point_beyond_the_rating_or_of_another_kind_is_refused() -> None:
    rig = Rig(rated_va=9000)
    assert rig.write(9000) == b""
    assert rig.write(9001) == ILLEGAL_VALUE
    assert rig.write(0, mode=2) == ILLEGAL_VALUE
    assert rig.write(0, priority=2) == ILLEGAL_VALUE
    assert (rig.read("702.VAMax"), rig.read("121.VAMax"), rig.read("702.VarMaxInj")) == (9000, 9000, 3960)


def test_isolation_and_connection_are_told() -> None:
    rig = Rig()
    assert (rig.read("122.Ris"), rig.read("701.ConnSt")) == (2_000_000, 1)
    rig.plant.set("inverter.isolation_kohm", 45)
    rig.plant.inverter("inverter").trip()
    rig.time.pass_by(0.1, rig.device)
    assert (rig.read("122.Ris"), rig.read("701.ConnSt")) == (45_000, 0)


def test_single_phase_inverter_tells_its_own_phase() -> None:
    rig = Rig(phases="b")
    rig.plant.inverter("inverter").set_point(SetPoint(enabled=True, power_w=2300))
    rig.time.pass_by(5, rig.device)
    assert [rig.read(f"701.WL{n}") for n in (1, 2, 3)] == [0, 2300, 0]
    assert [rig.read(f"701.AL{n}") for n in (1, 2, 3)] == [0, 10, 0]
    assert rig.read("701.ACType") == 0


def test_meter_tells_each_phase_with_the_sign_and_the_scale_of_the_whole() -> None:
    rig = Rig()
    rig.plant.set("load_w", 3000)
    rig.plant.set("load_c_w", 2000)
    rig.write(-3000)
    rig.time.pass_by(5, rig.device)
    meter = MeterDevice(rig.plant, "meter", now_s=rig.time)
    meter.answer(request(READ, BASE, count=1))
    told = {name: meter.image.cell(f"203.{name}").value for name in ("W", "WphA", "WphB", "WphC", "VAR", "VARphA")}
    assert told == {"W": 5000, "WphA": 1000, "WphB": 1000, "WphC": 3000, "VAR": 3000, "VARphA": 1000}  # + = import
    amps = [meter.image.cell(f"203.Aph{phase}").value for phase in "ABC"]
    assert amps == pytest.approx([1414 / 230, 1414 / 230, 3162 / 230], abs=0.06)
    assert [meter.image.cell(f"203.PhVph{phase}").value for phase in "ABC"] == [230, 230, 230]


def test_phases_are_the_same_without_registers() -> None:
    plant = a_plant({"local": {"ripple_w": 0}})
    plant.set("load_w", 3000)
    plant.set("load_c_w", 2000)
    plant.advance(plant.now_s + 5)
    meter = plant.meter("meter")
    amps_ma = [round(1000 * watts / 230) for watts in (1000, 1000, 3000)]
    rounded = meter_phases(meter, plant.now_s)
    assert rounded[0] == (-1000, -1000, -3000)  # + = export
    assert rounded[1] == (230_000, 230_000, 230_000)
    assert rounded[2] == pytest.approx(amps_ma, abs=1)
    honest = meter.told.add("hz", Tamper(alter=told_as.factor(1.0)))  # of another point: all are asked one by one
    assert meter_phases(meter, plant.now_s) == rounded
    meter.told.remove(honest)
    meter.told.add("phase_b_w", Tamper(alter=told_as.not_a_number()))
    meter.told.add("phase_a_a", Tamper(alter=told_as.wrong(5.0)))
    assert meter_phases(meter, plant.now_s) == (None, rounded[1], (5000, *(rounded[2] or ())[1:]))


# -- the engine's part: inside the circles of the units ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("apparent_max_va", "power_w", "most_var"),
    [
        (5000, 4000, 3000),
        (5000, -4000, 3000),
        (5000, 3999, 3001),
        (5000, 5000, 0),
        (5000, 4999, 99),
        (5000, 9000, 0),
        (5000, 0, 5000),
        (None, 0, 0),
    ],
)
def test_what_is_left_beside_a_power_is_the_rest_of_the_circle_rounded_down(
    apparent_max_va: int | None, power_w: int, most_var: int
) -> None:
    assert room_var(apparent_max_va, power_w) == most_var


@pytest.mark.parametrize(
    ("asked_var", "rooms_var", "parts_var"),
    [
        (300, [200, 400], [100, 200]),
        (-300, [200, 400], [-100, -200]),
        (900, [200, 400], [200, 400]),
        (-900, [200, 400], [-200, -400]),
        (1, [0, 5], [0, 1]),
        (-1, [0, 5], [0, -1]),
        (0, [3, 5], [0, 0]),
        (700, [0, 0], [0, 0]),
    ],
)
def test_reactive_power_is_shared_in_proportion_to_the_rooms_and_has_one_sign(
    asked_var: int, rooms_var: list[int], parts_var: list[int]
) -> None:
    assert share_var(asked_var, rooms_var) == parts_var
