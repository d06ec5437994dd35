"""The cell: against recordings of a real one, against closed forms, and its own books of charge and energy."""

import csv
import gzip
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import msgspec
import pytest

from hil.circuit_fit import LOSS_SOC, OPEN_SOC, Sample, fit
from hil.plant.cell import Cell, demanded_a
from hil.plant.chemistry import LEAF, LFP, Chemistry
from hil.scenario.recording import recordings_folder
from hil.truth import compare, discharges, pulse_test, recording

DISCHARGE = "cell_leaf_discharge_bitrode_1c.csv.gz"
PULSES = "cell_leaf_low_current_hppc_25c_2.csv.gz"
PEER_MV = 21  # the circuit of the recordings' own authors on the same pulse test

PLAIN = msgspec.structs.replace(
    LEAF,
    capacity_ah=10.0,
    open_v=((0.0, 3.0), (1.0, 4.0)),
    resistance=((0.0, 2.0, 1.0, 3.0), (1.0, 2.0, 1.0, 3.0)),
    fast_s=10.0,
    slow_s=300.0,
    cold_ratio=1.000001,
    charge_pct=100.0,
)
"""Straight lines, so that a closed form is short."""


def recorded(name: str) -> Path:
    path = recordings_folder() / name
    if not path.is_file():
        pytest.skip(f"the recording is not here: {name} (set LINEPACK_DATA to its folder)")
    return path


def numbers(name: str) -> list[list[float]]:
    """Return the rows of a table without its header, an empty field left out."""
    with gzip.open(recorded(name), "rt", encoding="ascii") as file:
        rows = list(csv.reader(file))[1:]
    return [[float(field) for field in row if field] for row in rows]


def at(points: Sequence[tuple[float, float]], x: float) -> float:
    """Interpolate, independently of the code under test."""
    (x0, y0), (x1, y1) = next((a, b) for a, b in pairwise(points) if a[0] <= x <= b[0])
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def open_j(chemistry: Chemistry, from_soc: float, to_soc: float, capacity_ah: float) -> float:
    """Return the energy of the open-circuit voltage between two states of charge in J."""
    knots = sorted({from_soc, to_soc, *(soc for soc, _ in chemistry.open_v if to_soc < soc < from_soc)})
    volts = [at(chemistry.open_v, soc) for soc in knots]
    area_v = sum((v0 + v1) / 2 * (b - a) for (a, v0), (b, v1) in pairwise(zip(knots, volts, strict=True)))
    return area_v * capacity_ah * 3600


# -- against recordings


def test_voltage_and_energy_of_a_recorded_1c_discharge_are_met() -> None:
    runs = list(discharges(recording(recorded(DISCHARGE)), LEAF.capacity_ah))
    assert len(runs) == 4
    for number, samples in enumerate(runs):
        compared = compare(f"1C discharge {number}", Cell(LEAF, soc=1.0), samples)
        print(compared)
        assert compared.first_mv <= 35
        assert abs(compared.energy_pct) <= 1


def test_recorded_pulse_test_is_met_better_than_by_its_authors_own_circuit() -> None:
    compared = compare("pulse test", Cell(LEAF, soc=1.0), pulse_test(recording(recorded(PULSES))))
    print(compared)
    assert compared.rmse_mv <= PEER_MV


def test_numbers_of_the_leaf_cell_are_those_of_the_recording() -> None:
    circuit = fit(pulse_test(recording(recorded(PULSES))))
    assert circuit.capacity_ah == pytest.approx(LEAF.capacity_ah, abs=0.01)
    assert (circuit.fast_s, circuit.slow_s) == pytest.approx((LEAF.fast_s, LEAF.slow_s), rel=0.01)
    for found, kept in zip(circuit.open_v, LEAF.open_v, strict=True):
        assert found == pytest.approx(kept, abs=0.001)
    for row, kept_row in zip(circuit.resistance, LEAF.resistance, strict=True):
        assert row == pytest.approx(kept_row, abs=0.001)


def test_the_generic_lfp_cell_is_like_a_measured_one() -> None:
    table = [(soc, volts) for soc, volts in sorted(numbers("simses_CLFP_Sony_US26650_OCV.csv.gz"))]
    for percent in range(10, 96):
        assert at(LFP.open_v, percent / 100) == pytest.approx(at(table, percent / 100), abs=0.020)
    rows = [row for row in numbers("simses_CLFP_Sony_US26650_Rint.csv.gz") if 0.2 <= row[0] <= 0.9]
    ratios = [row[first] / row[first + 1] for row in rows for first in (-8, -4)]  # 10 C over 25 C, charge and discharge
    assert LFP.cold_ratio == pytest.approx(sum(ratios) / len(ratios), abs=0.05)


def test_the_fit_finds_a_circuit_that_is_known() -> None:
    """A cell of constant resistances, solved in steps of 0.1 s by Euler's rule, with pulses and rests as in a test."""
    full_ah, fast_s, slow_s = 20.0, 15.0, 250.0
    ohms = (0.002, 0.0012, 0.0018)
    soc, v1, v2, now_s = 1.0, 0.0, 0.0, 0.0
    samples: list[Sample] = [(0.0, 0.0, 3.2 + 0.9)]
    cycle = ((30, 20.0), (40, 0.0), (10, -15.0), (1080, 6.6), (1800, 0.0))
    while soc > 0.1:
        for length_s, amps in cycle:
            for tenth in range(10 * length_s):
                v1 += 0.1 * (ohms[1] * amps - v1) / fast_s
                v2 += 0.1 * (ohms[2] * amps - v2) / slow_s
                soc -= 0.1 * amps / 3600 / full_ah
                now_s += 0.1
                if tenth % 50 == 49:
                    samples.append((now_s, amps, 3.2 + 0.9 * soc - ohms[0] * amps - v1 - v2))
    circuit = fit(samples, capacity_ah=full_ah)
    assert circuit.rmse_mv < 1
    assert (circuit.fast_s, circuit.slow_s) == pytest.approx((fast_s, slow_s), rel=0.2)
    assert dict(circuit.open_v)[0.5] == pytest.approx(3.65, abs=0.001)
    found = next(row for row in circuit.resistance if row[0] == 0.5)
    assert sum(found[1:]) == pytest.approx(5.0, rel=0.03)
    assert found[1:] == pytest.approx((2.0, 1.2, 1.8), rel=0.15)


def test_tables_of_a_fit_stand_on_the_rows_of_the_cell() -> None:
    for soc in (*OPEN_SOC, *LOSS_SOC, *(soc for soc, _ in LFP.open_v)):
        assert 200 * soc == pytest.approx(round(200 * soc))


# -- against closed forms


@pytest.mark.parametrize("dt_s", [0.05, 0.25, 1.0])
@pytest.mark.parametrize("amps", [5.0, -5.0])
def test_constant_current_follows_the_closed_form_whatever_the_step(dt_s: float, amps: float) -> None:
    cell = Cell(PLAIN, soc=0.5)
    for _ in range(round(60 / dt_s)):
        cell.step(dt_s, amps)
    soc = 0.5 - amps * 60 / 3600 / 10
    relaxed_ohm = 0.001 * (1 - math.exp(-6)) + 0.003 * (1 - math.exp(-0.2))
    assert cell.soc == pytest.approx(soc)
    assert cell.terminal_v(amps) == pytest.approx(3 + soc - amps * (0.002 + relaxed_ohm), abs=1e-6)


def test_relaxation_after_a_pulse_follows_the_closed_form() -> None:
    cell = Cell(PLAIN, soc=0.5)
    for _ in range(30):
        cell.step(1.0, 20.0)
    for _ in range(100):
        cell.step(1.0, 0.0)
    left_v = 0.02 * (1 - math.exp(-3)) * math.exp(-10) + 0.06 * (1 - math.exp(-0.1)) * math.exp(-100 / 300)
    assert cell.terminal_v(0.0) == pytest.approx(3 + cell.soc - left_v, abs=1e-6)


@pytest.mark.parametrize("chemistry", [LFP, LEAF])
@pytest.mark.parametrize("share", [1.0, -1.0, 0.01, 0.0])
def test_demanded_power_is_what_flows(chemistry: Chemistry, share: float) -> None:
    cell = Cell(chemistry, soc=0.5)
    power_w = share * chemistry.capacity_ah * 3.5
    for _ in range(100):
        cell.step_w(1.0, power_w)
        assert cell.voltage_v * cell.current_a == pytest.approx(power_w, rel=1e-9)


def test_more_than_the_cell_can_give_is_the_most_it_can_give() -> None:
    """A source e - r i gives at most e^2 / 4r, at half its voltage."""
    assert demanded_a(4.0, 0.01, 400.0) == pytest.approx(200)
    assert demanded_a(4.0, 0.01, 1e6) == pytest.approx(200)
    assert 399 < 4 * demanded_a(4.0, 0.01, 399.9) - 0.01 * demanded_a(4.0, 0.01, 399.9) ** 2 < 400


def test_half_the_cell_has_twice_the_resistance() -> None:
    small, large = Cell(LEAF, soc=0.5, capacity_ah=10), Cell(LEAF, soc=0.5, capacity_ah=20)
    drops_v = [cell.terminal_v(0) - cell.terminal_v(10) for cell in (small, large)]
    assert drops_v[0] == pytest.approx(2 * drops_v[1])
    aged = Cell(LEAF, soc=0.5, capacity_ah=20, resistance_factor=1.5)
    assert aged.terminal_v(0) - aged.terminal_v(10) == pytest.approx(1.5 * drops_v[1])


# -- books


@pytest.mark.parametrize("chemistry", [PLAIN, LEAF, LFP])
def test_energy_is_what_flowed_what_was_lost_and_what_is_held(chemistry: Chemistry) -> None:
    chemistry = msgspec.structs.replace(chemistry, charge_pct=100.0)
    cell, chance = Cell(chemistry, soc=0.9), Random(5)
    given_j = lost_j = 0.0
    for _ in range(300):
        amps, dt_s = chemistry.capacity_ah * chance.uniform(-0.8, 1.0), chance.choice((0.05, 0.5, 1.0))
        for _ in range(40):
            cell.step(dt_s, amps)
            assert cell.heat_w >= 0
            given_j += cell.voltage_v * amps * dt_s
            lost_j += cell.heat_w * dt_s
    assert 0.2 < cell.soc < 0.85
    taken_j = open_j(chemistry, 0.9, cell.soc, chemistry.capacity_ah)
    assert given_j + lost_j + cell.stored_j == pytest.approx(taken_j, rel=2e-4)
    assert lost_j > 0.01 * taken_j


def test_charge_in_is_charge_out_but_for_what_is_lost_in_charging() -> None:
    cell = Cell(LEAF, soc=0.5)
    for amps in (-10.0, 10.0):
        for _ in range(3600):
            cell.step(1.0, amps)
    assert cell.soc == pytest.approx(0.5 - 0.001 * 10 / LEAF.capacity_ah, abs=1e-9)


def test_overcharge_and_deep_discharge_have_an_end() -> None:
    cell = Cell(LFP, soc=0.99)
    for _ in range(7200):
        cell.step(1.0, -100.0)
    assert cell.soc == 1.05
    assert 3.7 < cell.open_v < 4.2
    assert 2.0 < Cell(LFP, soc=-0.05).open_v < 2.5


# -- hysteresis


def rested_loop_v(chemistry: Chemistry) -> dict[int, list[float]]:
    """Go from 30 % to 70 % and back in steps of 2 %, resting an hour after each: voltage after charge and discharge."""
    cell, size_a = Cell(chemistry, soc=0.3), chemistry.capacity_ah / 5
    rested: dict[int, list[float]] = {}
    for amps, percents in ((-size_a, range(32, 71, 2)), (size_a, range(68, 29, -2))):
        for percent in percents:
            while (percent / 100 - cell.soc) * -amps > 0:
                cell.step(1.0, amps)
            for _ in range(3600):
                cell.step(1.0, 0.0)
            rested.setdefault(percent, []).append(cell.terminal_v(0.0) - at(chemistry.open_v, cell.soc))
    return {percent: volts for percent, volts in rested.items() if len(volts) == 2}


def test_lfp_rests_higher_after_charge_than_after_discharge_and_the_leaf_cell_does_not() -> None:
    loop = rested_loop_v(LFP)
    apart_v = [charged - discharged for charged, discharged in loop.values()]
    assert min(apart_v) > 0.010, "the area of the loop is positive"
    assert max(apart_v) < 2 * LFP.hysteresis_v + 0.001
    assert loop[60][0] == pytest.approx(LFP.hysteresis_v, abs=0.001)
    assert loop[40][1] == pytest.approx(-LFP.hysteresis_v, abs=0.001)
    for charged, discharged in rested_loop_v(LEAF).values():
        assert charged == pytest.approx(discharged, abs=0.001)


def test_hysteresis_decays_with_the_charge_that_passes_and_not_with_time() -> None:
    """Plett 2004: from h = +1, a discharge of 1/40 of the charge at a ratio of 40 leaves (1 + 1)/e - 1."""
    cell = Cell(LFP, soc=0.6)
    for _ in range(3600):
        cell.step(1.0, -20.0)
    assert cell.hysteresis == pytest.approx(1.0, abs=0.001)
    for _ in range(1800):
        cell.step(1.0, 0.0)
    assert cell.hysteresis == pytest.approx(1.0, abs=0.001)
    for _ in range(180):
        cell.step(1.0, 50.0)
    assert cell.hysteresis == pytest.approx(2 / math.e - 1, abs=0.002)


# -- heat


def test_cell_warms_under_load_and_cools_back_to_its_surroundings() -> None:
    cell = Cell(LEAF, soc=0.95)
    heat_j = 0.0
    for _ in range(2400):
        cell.step(1.0, 30.0)
        heat_j += cell.heat_w
    assert 1.0 < cell.temperature_c - 25 < heat_j / LEAF.heat_j_per_k
    for _ in range(3):  # relaxing goes on for a while
        for _ in range(640):
            cell.step(1.0, 0.0)
    before_c = cell.temperature_c
    for _ in range(640):  # one time constant, 800 J/K times 0.8 K/W
        cell.step(1.0, 0.0)
    assert cell.temperature_c - 25 == pytest.approx((before_c - 25) / math.e, rel=0.02)


def test_losses_without_cooling_all_stay_in_the_cell() -> None:
    cell = Cell(msgspec.structs.replace(LEAF, cooling_k_per_w=1e6), soc=0.95)
    heat_j = 0.0
    for _ in range(600):
        cell.step(1.0, 30.0)
        heat_j += cell.heat_w
    assert cell.temperature_c - 25 == pytest.approx(heat_j / 800, rel=1e-3)


def test_cold_raises_the_resistance_and_warmth_lowers_it() -> None:
    drops_v = {}
    for celsius in (10.0, 25.0, 40.0):
        cell = Cell(LFP, soc=0.5, temperature_c=celsius)
        drops_v[celsius] = cell.terminal_v(0.0) - cell.terminal_v(50.0)
    assert drops_v[10.0] / drops_v[25.0] == pytest.approx(1.45)
    kelvins = 1 / 313.15 - 1 / 298.15, 1 / 283.15 - 1 / 298.15
    assert drops_v[40.0] / drops_v[25.0] == pytest.approx(1.45 ** (kelvins[0] / kelvins[1]))


def test_heat_from_elsewhere_warms_at_its_rate() -> None:
    cell = Cell(msgspec.structs.replace(LEAF, cooling_k_per_w=1e6), soc=0.5)
    cell.warming_c_per_s = 0.1
    for _ in range(100):
        cell.step(1.0, 0.0)
    assert cell.temperature_c == pytest.approx(35.0, abs=0.01)
