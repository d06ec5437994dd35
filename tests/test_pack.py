"""The pack: many cells as three, their books, and which of them decides."""

from itertools import pairwise

import msgspec
import pytest

from hil.plant.chemistry import LFP
from hil.plant.pack import CellSpread, Pack, PackSpec

MEAN_V = sum((v0 + v1) / 2 * (b - a) for (a, v0), (b, v1) in pairwise(LFP.open_v))
NEW_AH = 25_000 / (16 * MEAN_V)
EQUAL = PackSpec(weak=CellSpread(), strong=CellSpread())


def run(pack: Pack, length_s: float, dc_w: float, dt_s: float = 1.0) -> float:
    """Run with a power and return the energy at the terminals in Wh."""
    given_wh = 0.0
    for _ in range(round(length_s / dt_s)):
        pack.step(dt_s, dc_w)
        given_wh += pack.pack_v * pack.pack_a * dt_s / 3600
    return given_wh


def test_default_pack_is_that_of_five_48_v_modules() -> None:
    pack = Pack(PackSpec(), soc=0.5)
    assert pack.capacity_wh == pytest.approx(25_000)
    assert pack.new_ah == pytest.approx(NEW_AH)
    assert 470 < pack.new_ah < 480
    assert 52 < pack.pack_v < 54
    at_rest_v = pack.pack_v
    for _ in range(1800):
        pack.step(1.0, 6000)
    pack_mohm = (at_rest_v - pack.pack_v) / pack.pack_a * 1000
    assert 3.5 < pack_mohm < 8, "resistance with hysteresis, half an hour into a discharge"


@pytest.mark.parametrize("dc_w", [8000.0, -8000.0, 30.0])
def test_power_at_the_terminals_is_what_was_demanded(dc_w: float) -> None:
    pack = Pack(PackSpec(), soc=0.5)
    for _ in range(200):
        pack.step(0.5, dc_w)
        assert pack.pack_v * pack.pack_a == pytest.approx(dc_w, rel=1e-9)


def test_string_is_the_sum_of_its_cells() -> None:
    pack = Pack(EQUAL, soc=0.5)
    run(pack, 100, 10_000)
    assert pack.cell_min_v == pytest.approx(pack.cell_max_v)
    assert pack.pack_v == pytest.approx(16 * pack.cell_min_v - 0.001 * pack.pack_a)
    uneven = Pack(PackSpec(), soc=0.5)
    run(uneven, 100, 10_000)
    assert 16 * uneven.cell_min_v < uneven.pack_v + 0.001 * uneven.pack_a < 16 * uneven.cell_max_v


def test_charge_is_conserved() -> None:
    pack = Pack(PackSpec(), soc=0.9)
    taken_ah = 0.0
    for _ in range(3600):
        pack.step(1.0, 9000)
        taken_ah += pack.pack_a / 3600
    assert 0.9 - pack.soc == pytest.approx(taken_ah / NEW_AH, rel=1e-9)
    assert pack.energy_wh == pytest.approx(pack.soc * 25_000)


def test_more_is_taken_out_of_the_cells_than_is_given_and_the_rest_is_heat() -> None:
    pack = Pack(EQUAL, soc=0.6)
    lost_wh = given_wh = 0.0
    for _ in range(3600):
        pack.step(1.0, 8000)
        assert pack.heat_w >= 0
        given_wh += pack.pack_v * pack.pack_a / 3600
        lost_wh += pack.heat_w / 3600
    taken_wh = (0.6 - pack.soc) * NEW_AH * 16 * (3.305 + 3.293) / 2  # between 60 and 40 % the curve is one line
    assert pack.soc > 0.2
    assert given_wh + lost_wh == pytest.approx(taken_wh, rel=0.01)
    assert 0.01 * given_wh < lost_wh < 0.05 * given_wh


def test_round_trip_at_a_quarter_of_the_capacity_per_hour_returns_between_90_and_99_percent() -> None:
    pack = Pack(PackSpec(), soc=0.8)
    given_wh = run(pack, 2 * 3600, 25_000 / 4)
    taken_wh = 0.0
    while pack.soc < 0.8:
        taken_wh -= run(pack, 1, -25_000 / 4)
    assert 0.90 < given_wh / taken_wh < 0.99


def test_result_does_not_depend_on_the_size_of_the_steps() -> None:
    ends = []
    for dt_s in (0.05, 1.0):
        pack = Pack(PackSpec(), soc=0.7)
        for dc_w in (9000, -5000, 0, 12_000):
            run(pack, 120, dc_w, dt_s)
        ends.append((pack.soc, pack.pack_v, pack.cell_min_v, pack.cell_c))
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)


def test_weakest_cell_ends_the_discharge_and_its_charge_is_the_packs() -> None:
    spec = PackSpec(weak=CellSpread(capacity_pct=-10), strong=CellSpread())
    pack = Pack(spec, soc=1.0)
    assert pack.capacity_wh == pytest.approx(25_000)
    taken_ah = 0.0
    while pack.soc > 0:
        pack.step(1.0, 5000)
        taken_ah += pack.pack_a / 3600
    assert taken_ah == pytest.approx(NEW_AH, rel=1e-3)
    assert pack.cell_min_v < 2.9
    assert pack.cell_max_v > 3.15, "the others have a tenth left"


def test_cell_that_is_out_of_step_takes_from_both_ends() -> None:
    spec = PackSpec(weak=CellSpread(), strong=CellSpread(behind_pct=4))
    pack = Pack(spec, soc=0.5)
    assert pack.capacity_wh == pytest.approx(0.96 * 25_000)
    charged_ah = discharged_ah = 0.0
    while pack.soc < 1:
        pack.step(1.0, -5000)
        charged_ah -= 0.999 * pack.pack_a / 3600
    assert charged_ah == pytest.approx(0.48 * NEW_AH, rel=1e-3)
    pack.set_soc(1.0)
    while pack.soc > 0:
        pack.step(1.0, 5000)
        discharged_ah += pack.pack_a / 3600
    assert discharged_ah == pytest.approx(0.96 * NEW_AH, rel=1e-3)


def test_bleeding_brings_cells_together_again() -> None:
    spec = PackSpec(weak=CellSpread(), strong=CellSpread(behind_pct=0.5))
    pack = Pack(spec, soc=1.0)
    before_wh, apart_v = pack.capacity_wh, pack.cell_max_v - pack.cell_min_v
    assert apart_v > 0.02
    pack.bleed_a = 5.0
    run(pack, 1800, 0.0)
    assert pack.cell_max_v - pack.cell_min_v < 0.01
    assert pack.capacity_wh > before_wh + 0.003 * 25_000


def test_age_takes_capacity_and_adds_resistance() -> None:
    new, old = Pack(EQUAL, soc=0.5), Pack(msgspec.structs.replace(EQUAL, capacity_factor=0.7), soc=0.5)
    assert old.capacity_wh == pytest.approx(0.7 * 25_000)
    assert old.energy_wh == pytest.approx(0.35 * 25_000)
    for pack in (new, old):
        run(pack, 60, 5000)
    assert 0.5 - old.soc == pytest.approx((0.5 - new.soc) / 0.7, rel=0.01)
    old.set_soc(0.5)
    soc, rest_v = old.soc, old.pack_v
    sag_v = []
    for factor in (1.0, 2.0):
        old.age(0.7, factor)
        assert old.soc == pytest.approx(soc)
        old.set_soc(0.5)
        old.step(0.001, 10_000)
        sag_v.append(rest_v - old.pack_v - 0.001 * old.pack_a)
    assert sag_v[1] == pytest.approx(2 * sag_v[0], rel=0.02)


def test_pack_gives_the_most_it_can_and_nothing_when_it_is_empty() -> None:
    pack = Pack(PackSpec(), soc=0.5)
    rest_v = pack.pack_v
    pack.step(0.01, 1e7)
    assert pack.pack_v == pytest.approx(rest_v / 2, rel=0.01)
    assert 100_000 < pack.pack_v * pack.pack_a < 1e6
    empty = Pack(PackSpec(), soc=0.0)
    run(empty, 3600, 10_000)
    assert (empty.pack_a, empty.soc) == (0.0, 0.0)
    run(empty, 1200, -10_000)
    assert empty.soc > 0.05


def test_pack_warms_under_load_and_the_cell_of_most_resistance_is_warmest() -> None:
    pack = Pack(PackSpec(), soc=0.9)
    run(pack, 3600, 12_500)
    assert 27 < pack.temperature_c < 40
    assert pack.cell_c > pack.temperature_c
    warm_c = pack.temperature_c
    run(pack, 4 * 3600, 0)
    assert 25 < pack.temperature_c < 25 + (warm_c - 25) / 3
    pack.ambient_c = -5
    run(pack, 24 * 3600, 0)
    assert pack.temperature_c == pytest.approx(-5, abs=1)


def test_cell_of_twice_the_resistance_sags_twice_as_far() -> None:
    pack = Pack(PackSpec(weak=CellSpread(resistance_pct=100), strong=CellSpread()), soc=0.5)
    rest_v = pack.cell_max_v
    pack.step(0.001, 10_000)
    assert rest_v - pack.cell_min_v == pytest.approx(2 * (rest_v - pack.cell_max_v), rel=1e-3)


def test_cells_are_drawn_from_the_seed_unless_they_are_given() -> None:
    def sagged(spec: PackSpec, seed: str) -> tuple[float, float]:
        pack = Pack(spec, soc=0.5, seed=seed)
        run(pack, 60, 10_000)
        return pack.cell_min_v, pack.cell_max_v

    assert sagged(PackSpec(), "7 battery") == sagged(PackSpec(), "7 battery")
    assert sagged(PackSpec(), "7 battery") != sagged(PackSpec(), "8 battery")
    assert sagged(EQUAL, "7 battery") == sagged(EQUAL, "8 battery")
    assert sagged(PackSpec(spread_pct=0), "7 battery") == sagged(EQUAL, "1")


def test_leaf_pack_has_the_voltage_of_its_chemistry() -> None:
    pack = Pack(PackSpec(chemistry="leaf", cells=14), soc=0.5)
    assert pack.pack_v == pytest.approx(14 * 3.918, rel=1e-3)


@pytest.mark.parametrize(
    ("toml", "path"),
    [
        ({"capacity_factor": 3.0}, "capacity_factor"),
        ({"cells": 2}, "cells"),
        ({"weak": {"capacity_pct": -95.0}}, "weak.capacity_pct"),
        ({"chemistry": "lead"}, "chemistry"),
        ({"colour": 1}, "colour"),
    ],
)
def test_spec_that_cannot_be_is_refused_by_name(toml: dict[str, object], path: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=path):
        msgspec.convert(toml, PackSpec)
