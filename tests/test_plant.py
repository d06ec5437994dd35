"""The bench's physics: what the wires carry must be believable before anyone is judged by it."""

from pathlib import Path

import pytest

from hil.plant.battery import Battery, Pack
from hil.plant.inverter import PENDING_MAX, Inverter, Rating
from hil.plant.meter import Feeder
from hil.wires import SLOTS, Wires

WIDE_W = 1e6  # a battery that never limits


def run(inverter: Inverter, seconds: float, step_s: float = 0.05) -> float:
    for _ in range(round(seconds / step_s)):
        inverter.step(step_s, WIDE_W, WIDE_W)
    return inverter.ac_w


@pytest.mark.parametrize("power_w", [5000, -5000])
def test_inverter_does_nothing_in_its_dead_time_and_reaches_90_percent_at_its_response_time(power_w: int) -> None:
    inverter = Inverter(Rating(ramp_w_per_s=1e9))
    inverter.command(power_w)
    assert run(inverter, 0.2) == pytest.approx(0, abs=0.1)
    assert run(inverter, 0.4) == pytest.approx(0.9 * power_w, rel=1e-3)
    assert run(inverter, 3.0) == pytest.approx(power_w, rel=1e-3)


def test_inverter_power_does_not_depend_on_the_size_of_the_steps() -> None:
    fine, coarse = Inverter(Rating(ramp_w_per_s=20_000)), Inverter(Rating(ramp_w_per_s=20_000))
    for inverter in (fine, coarse):
        inverter.command(8000)
    assert run(fine, 0.7, 0.001) == pytest.approx(run(coarse, 0.7, 0.35), rel=1e-6)


def test_ramp_holds_the_inverter_back() -> None:
    inverter = Inverter(Rating(dead_s=0.0, ramp_w_per_s=1000))
    inverter.command(10_000)
    lag_s = 0.4 / 2.302585
    assert run(inverter, 5.0) == pytest.approx(1000 * (5.0 - lag_s), rel=1e-3)


@pytest.mark.parametrize(("command_w", "expected_w"), [(25_000, 10_000), (-25_000, -10_000)])
def test_nameplate_holds_both_ways(command_w: int, expected_w: int) -> None:
    inverter = Inverter()
    inverter.command(command_w)
    assert run(inverter, 5.0) == expected_w


def test_battery_limits_hold_at_the_batterys_terminals_and_act_at_once() -> None:
    inverter = Inverter()
    inverter.command(9000)
    run(inverter, 5.0)
    inverter.step(0.05, 5000, 3000)
    assert inverter.dc_w == pytest.approx(3000)
    inverter.command(-9000)
    for _ in range(100):
        inverter.step(0.05, 5000, 3000)
    assert inverter.dc_w == pytest.approx(-5000)
    inverter.step(0.05, 0, 0)
    assert inverter.dc_w == pytest.approx(0)
    assert inverter.ac_w == pytest.approx(-30, abs=1)  # the grid covers the stand-by loss


@pytest.mark.parametrize("ac_w", [-10_000, -400, 0, 400, 10_000])
def test_power_at_the_battery_and_at_the_grid_are_one_curve_read_both_ways(ac_w: int) -> None:
    inverter = Inverter()
    assert inverter.ac_of_dc_w(inverter.dc_of_ac_w(ac_w)) == pytest.approx(ac_w, abs=1e-6)


def test_inverter_is_96_percent_efficient_at_its_rating_and_draws_30_w_standing_by() -> None:
    inverter = Inverter()
    assert 10_000 / inverter.dc_of_ac_w(10_000) == pytest.approx(0.96, abs=0.001)
    assert -inverter.dc_of_ac_w(-10_000) / 10_000 == pytest.approx(0.96, abs=0.002)
    assert inverter.dc_of_ac_w(0) == 30


def test_flood_of_set_points_ends_at_the_newest() -> None:
    inverter = Inverter()
    for power_w in range(10 * PENDING_MAX):
        inverter.command(power_w)
    assert run(inverter, 5.0) == pytest.approx(10 * PENDING_MAX - 1)


@pytest.mark.parametrize("dc_w", [8000.0, -8000.0])
def test_stored_energy_changes_by_what_flowed_and_what_was_lost(dc_w: float) -> None:
    battery = Battery(soc=0.5)
    before_wh, hours, lost_wh = battery.energy_wh, 0.5, 0.0
    for _ in range(1800):
        battery.step(1.0, dc_w)
        lost_wh += battery.pack_a**2 * 0.005 / 3600
        assert battery.pack_v * battery.pack_a == pytest.approx(dc_w, rel=1e-9)
    taken_wh = before_wh - battery.energy_wh
    if dc_w > 0:
        assert taken_wh == pytest.approx(dc_w * hours + lost_wh, rel=1e-6)
    else:
        assert taken_wh == pytest.approx((dc_w * hours + lost_wh) * 0.995, rel=1e-6)


def test_round_trip_loses_a_few_percent_and_never_gains() -> None:
    battery, inverter = Battery(soc=0.5), Inverter()
    start_wh = battery.energy_wh
    for power_w in (-5000, 5000):
        inverter.command(power_w)
        for _ in range(36_000):
            inverter.step(0.1, WIDE_W, WIDE_W)
            battery.step(0.1, inverter.dc_w)
    lost_wh = start_wh - battery.energy_wh
    assert 0.03 * 5000 < lost_wh < 0.12 * 5000


@pytest.mark.parametrize(
    ("soc", "charge_a", "discharge_a"),
    [(0.0, 250, 0), (0.01, 250, 0), (0.03, 250, 125), (0.05, 250, 250), (0.5, 250, 250)]
    + [(0.95, 250, 250), (0.97, 125, 250), (0.99, 0, 250), (1.0, 0, 250)],
)
def test_currents_taper_to_nothing_at_both_ends(soc: float, charge_a: float, discharge_a: float) -> None:
    battery = Battery(soc=soc)
    assert battery.charge_max_a == pytest.approx(charge_a)
    assert battery.discharge_max_a == pytest.approx(discharge_a)


def test_full_current_is_enough_for_ten_kilowatts_both_ways() -> None:
    battery, inverter = Battery(soc=0.1), Inverter()
    battery.step(0.1, inverter.dc_of_ac_w(10_000))
    assert battery.pack_a < battery.discharge_max_a


def test_voltage_rises_with_the_state_of_charge_and_sags_under_load() -> None:
    volts = [Battery(soc=percent / 100).open_v for percent in range(101)]
    assert volts == sorted(volts)
    assert 51 < volts[50] < 54
    battery = Battery(soc=0.5)
    battery.step(1.0, 10_000)
    assert battery.pack_v < battery.open_v


def test_battery_is_never_fuller_than_full_nor_emptier_than_empty() -> None:
    battery = Battery(Pack(capacity_wh=100), soc=0.5)
    for _ in range(100):
        battery.step(60, 5000)
    assert battery.soc == 0
    for _ in range(100):
        battery.step(60, -5000)
    assert battery.soc == 1


def test_power_at_the_interconnection_is_the_sum_of_its_parts_every_moment() -> None:
    feeder = Feeder(seed=7)
    for step in range(200):
        feeder.step(0.1, 3000, 4000 if step < 100 else 300, 1000)
        assert feeder.poi_w == pytest.approx(3000 + feeder.pv_w - feeder.load_w)
    assert feeder.load_w == pytest.approx(300, abs=20)
    assert feeder.exported_wh > 0


def test_load_is_smooth_without_ripple_and_the_same_with_the_same_seed() -> None:
    still = Feeder(ripple_w=0)
    still.step(0.1, 0, 500, 0)
    assert (still.load_w, still.pv_w) == (500, 0)
    first, second = Feeder(seed=3), Feeder(seed=3)
    for feeder in (first, second):
        for _ in range(50):
            feeder.step(0.1, 0, 500, 200)
    assert first.load_w == second.load_w != 500


def test_wires_are_shared_through_a_file(tmp_path: Path) -> None:
    here = Wires.create(tmp_path / "wires")
    there = Wires.open(tmp_path / "wires")
    assert [here[slot.name] for slot in SLOTS] == [slot.default for slot in SLOTS]
    for number, slot in enumerate(SLOTS):
        here[slot.name] = number + 0.5
    assert [there[slot.name] for slot in SLOTS] == [number + 0.5 for number in range(len(SLOTS))]
    here.close()
    there.close()


def test_wires_of_another_bench_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wires"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="does not hold the wires"):
        Wires.open(path)


def test_wires_know_only_their_own_slots() -> None:
    with pytest.raises(KeyError):
        Wires.create(None)["inverter_kw"] = 1.0
