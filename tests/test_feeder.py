"""The feeder as an OpenDSS circuit, beside the same impedance by hand. It needs the extra `feeder`."""

from importlib.util import find_spec
from time import perf_counter

import pytest

from hil.plant.feeder import Feeder
from hil.plant.grid import Grid, GridSpec, Thevenin

# Three stiff sources and one line without coupling of the phases: R + jX by itself.
LINE = """
Clear
Set DefaultBaseFrequency={nominal_hz}
New Circuit.line bus1=source.1 phases=1 basekv={nominal_kv} angle=0 Z1=[1e-6, 1e-6] Z0=[1e-6, 1e-6]
New Vsource.source_2 bus1=source.2 phases=1 basekv={nominal_kv} angle=-120 Z1=[1e-6, 1e-6] Z0=[1e-6, 1e-6]
New Vsource.source_3 bus1=source.3 phases=1 basekv={nominal_kv} angle=120 Z1=[1e-6, 1e-6] Z0=[1e-6, 1e-6]
New Line.one bus1=source bus2=site phases=3 length=1 r1=0.25 x1=0.15 r0=0.25 x0=0.15 c1=0 c0=0
"""
POWERS_W = [(0.0, 0.0, 0.0), (5000.0, 5000.0, 5000.0), (-5000.0, 3000.0, 0.0), (-9000.0, -9000.0, -9000.0)]
POWERS_VAR = [(0.0, 0.0, 0.0), (-3000.0, -3000.0, -3000.0), (2000.0, 0.0, -2000.0)]


@pytest.fixture
def opendss() -> None:
    pytest.importorskip("opendssdirect")


@pytest.mark.skipif(find_spec("opendssdirect") is not None, reason="OpenDSSDirect.py is here")
def test_feeder_without_its_library_names_the_extra() -> None:
    with pytest.raises(ImportError, match=r"linepack\[feeder\]"):
        Grid(GridSpec(feeder=True))


@pytest.mark.parametrize("phase_w", POWERS_W)
@pytest.mark.parametrize("phase_var", POWERS_VAR)
@pytest.mark.parametrize("source_pu", [(1.0, 1.0, 1.0), (1.05, 0.95, 1.0)])
def test_stiff_line_agrees_with_its_impedance(
    opendss: None,
    phase_w: tuple[float, float, float],
    phase_var: tuple[float, float, float],
    source_pu: tuple[float, float, float],
) -> None:
    expected = Thevenin(nominal_v=230.0, r_ohm=0.25, x_ohm=0.15).solve(source_pu, phase_w, phase_var)
    assert Feeder(circuit=LINE).solve(source_pu, phase_w, phase_var) == pytest.approx(expected, rel=0.002)


@pytest.mark.parametrize("power_w", [-25_000.0, -5000.0, 5000.0, 25_000.0])
def test_own_circuit_has_the_impedance_of_its_line_and_its_transformer(opendss: None, power_w: float) -> None:
    """By hand: 0.69 + j0.86 ohm at 11 kV, and 1.5 % + j3.71 % of 100 kVA at 398 V."""
    feeder, none = Feeder(), (0.0, 0.0, 0.0)
    down = (3**0.5 * 230 / 11_000) ** 2
    base_ohm = (3**0.5 * 230) ** 2 / 100_000
    r_ohm, x_ohm = 0.69 * down + 0.015 * base_ohm, 0.86 * down + 0.0371 * base_ohm
    thevenin = Thevenin(nominal_v=230.0, r_ohm=r_ohm, x_ohm=x_ohm)
    idle = feeder.solve((1.0, 1.0, 1.0), none, none)
    assert idle == pytest.approx((1, 1, 1), abs=0.002)
    phase_w, phase_var = (power_w,) * 3, (-power_w / 4,) * 3
    expected = thevenin.solve(idle, phase_w, phase_var)
    solved = feeder.solve((1.0, 1.0, 1.0), phase_w, phase_var)
    assert solved == pytest.approx(expected, rel=0.002)
    assert solved[0] - idle[0] == pytest.approx(expected[0] - idle[0], rel=0.05)


def test_phase_lost_at_medium_voltage_pulls_two_phases_behind_the_transformer(opendss: None) -> None:
    """Delta to star: the two that hang on the lost one come down to 1 / sqrt(3) each."""
    none = (0.0, 0.0, 0.0)
    v_pu = sorted(Feeder().solve((1.0, 0.0, 1.0), none, none))
    assert v_pu == pytest.approx([3**-0.5, 3**-0.5, 1.0], abs=0.01)


def test_load_beyond_the_circuit_collapses_its_voltage_and_it_comes_back(opendss: None) -> None:
    feeder, whole, none = Feeder(), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    assert max(feeder.solve(whole, (-3e6,) * 3, none)) < 0.5
    assert feeder.solve(whole, none, none) == pytest.approx(whole, abs=0.002)


def test_grid_takes_the_feeder_as_its_impedance_and_two_feeders_are_apart(opendss: None) -> None:
    first, second = Grid(GridSpec(feeder=True)), Grid(GridSpec(feeder=True))
    first.step(0.05, 60_000.0, 0.0)
    second.step(0.05, -60_000.0, 0.0)
    first.step(0.05, 60_000.0, 0.0)
    assert first.v > 231 > 229 > second.v


@pytest.mark.parametrize(
    ("circuit", "says"),
    [
        (LINE.replace("source_3", "other"), "source_3"),
        (LINE.replace("bus2=site", "bus2=elsewhere"), "leaves the bus site without voltage"),
        (LINE.replace("New Line", "New Rope"), "Rope"),
    ],
)
def test_circuit_that_is_wrong_is_refused(opendss: None, circuit: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Feeder(circuit=circuit)


def test_solve_takes_less_than_a_millisecond(opendss: None) -> None:
    feeder, begun_s = Feeder(), perf_counter()
    for number in range(500):
        feeder.solve((1.0, 1.0, 1.0), (10.0 * number,) * 3, (0.0, 0.0, 0.0))
    each_ms = (perf_counter() - begun_s) * 1000 / 500
    print(f"{each_ms:.3f} ms a solve")
    assert each_ms < 1.0
