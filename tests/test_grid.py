"""The grid: what the site's own power does to its voltage, events of voltage and frequency, islands."""

import cmath

import pytest

from hil.plant.grid import Grid, GridSpec, Thevenin

WEAK = GridSpec(nominal_v=230.0, r_ohm=0.25, x_ohm=0.15)


def test_stiff_grid_does_not_feel_the_site() -> None:
    grid = Grid()
    assert grid.phase_v == (230, 230, 230)
    grid.step(0.05, 100_000.0, 50_000.0)
    assert grid.phase_v == (230, 230, 230)
    assert (grid.v, grid.v_pu, grid.hz) == (pytest.approx(230), pytest.approx(1), 50)


@pytest.mark.parametrize("site_v", [180.0, 230.0, 247.0])
@pytest.mark.parametrize("current_a", [0.0, 40.0, -40.0])
@pytest.mark.parametrize("angle_rad", [0.0, 0.6, -0.6])
def test_voltage_at_the_site_obeys_ohms_law(site_v: float, current_a: float, angle_rad: float) -> None:
    """Forward: choose the site's voltage and its current, and find the source that goes with them."""
    current = cmath.rect(current_a, -angle_rad)
    power_va = site_v * current.conjugate()
    source = site_v - complex(0.25, 0.15) * current
    thevenin = Thevenin(nominal_v=230.0, r_ohm=0.25, x_ohm=0.15)
    source_pu = (abs(source) / 230,) * 3
    solved = thevenin.solve(source_pu, (power_va.real,) * 3, (power_va.imag,) * 3)
    assert solved == pytest.approx((site_v / 230,) * 3, rel=1e-12)


def test_export_lifts_the_voltage_and_absorbed_reactive_power_lowers_it_again() -> None:
    grid = Grid(WEAK)
    grid.step(0.05, 15_000.0, 0.0)
    lifted_v = grid.v
    assert lifted_v - 230 == pytest.approx(0.25 * 5000 / 230, rel=0.05)  # R P / V
    grid.step(0.05, 15_000.0, -15_000.0 * 0.25 / 0.15)
    assert grid.v == pytest.approx(230, abs=1.0)
    grid.step(0.05, -15_000.0, 0.0)
    assert grid.v < 230


def test_resistance_alone_lifts_by_power_and_reactance_alone_by_reactive_power() -> None:
    for spec, lifts, hardly in (
        (GridSpec(r_ohm=0.2), (9000.0, 0.0), (0.0, 9000.0)),
        (GridSpec(x_ohm=0.2), (0.0, 9000.0), (9000.0, 0.0)),
    ):
        grid = Grid(spec)
        grid.step(0.05, *lifts)
        assert grid.v - 230 == pytest.approx(0.2 * 3000 / 230, rel=0.02)
        grid.step(0.05, *hardly)
        assert grid.v == pytest.approx(230, abs=0.03)


def test_phases_are_lifted_and_lowered_each_by_its_own_power() -> None:
    grid = Grid(WEAK)
    grid.step(0.05, 3000.0, 0.0, (2000.0, -1000.0, -1000.0))
    assert grid.phase_w == pytest.approx((3000, 0, 0))
    v_1, v_2, v_3 = grid.phase_v
    assert v_1 > 233
    assert v_2 == v_3 == pytest.approx(230)


def test_more_load_than_the_line_can_carry_collapses_the_voltage() -> None:
    grid, seen_v = Grid(WEAK), []
    for load_w in range(0, 400_000, 10_000):
        grid.step(0.05, -float(load_w), 0.0)
        seen_v.append(grid.v)
    assert seen_v == sorted(seen_v, reverse=True)
    assert seen_v[-1] == 0


def test_what_is_set_holds_from_the_next_step_on() -> None:
    grid = Grid(GridSpec(nominal_hz=60.0, nominal_v=120.0))
    assert (grid.hz, grid.busy) == (60, False)
    grid.set_hz, grid.set_v_pu = 60.112, 0.88
    assert grid.busy and grid.hz == 60
    grid.step(1.0, 0.0, 0.0)
    assert (grid.hz, grid.v) == (60.112, pytest.approx(105.6))
    assert not grid.busy


def test_lost_phase_has_no_voltage_and_the_others_have_theirs() -> None:
    grid = Grid()
    grid.phase_factor[:] = [0.9, 0.0, 0.8]
    assert grid.busy
    grid.step(0.05, 0.0, 0.0)
    assert grid.phase_v == pytest.approx((207, 0, 184))
    assert grid.v_pu == pytest.approx(1.7 / 3)


def test_island_without_a_forming_inverter_is_dead_until_the_breaker_closes() -> None:
    grid = Grid(WEAK)
    grid.closed = False
    assert grid.busy
    grid.step(0.05, 5000.0, 0.0)
    assert (grid.v, grid.hz, grid.phase_v) == (0, 0, (0, 0, 0))
    grid.closed = True
    grid.step(0.05, 0.0, 0.0)
    assert (grid.v, grid.hz) == (pytest.approx(230), 50)


def test_forming_inverter_holds_the_island_whatever_the_grid_does() -> None:
    grid = Grid(GridSpec(forming=True))
    grid.closed, grid.set_hz, grid.set_v_pu = False, 47.0, 0.2
    grid.step(0.05, 5000.0, 0.0)
    assert (grid.v, grid.hz) == (pytest.approx(230), 50)
