"""Batteries in parallel and inverters that share them: currents part by physics, and what is told is of the whole."""

import pytest
from msgspec.structs import replace

from hil.plant.bank import Bank
from hil.plant.battery import Battery, BatterySpec
from hil.plant.inverter import SetPoint
from hil.plant.pack import PackSpec
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from tests.bench import START_S
from tests.rich import rich_site

ALIKE = PackSpec(spread_pct=0)
CALM = {"local": {"ripple_w": 0}} | {
    name: {"pack": {"spread_pct": 0}, "bms": {"contactor": {"when_silent": "pause"}}} for name in ("pack1", "pack2")
}


def a_bank(*socs: float, **pack: object) -> Bank:
    """Return packs of 25 kWh, alike but for their charge. pack: of the last one."""
    specs = [BatterySpec(pack=ALIKE, soc=soc) for soc in socs]
    specs[-1] = replace(specs[-1], pack=replace(ALIKE, **pack))
    return Bank(tuple(Battery(spec) for spec in specs), tuple(f"pack{n}" for n in range(1, len(specs) + 1)))


def a_plant(**changes: object) -> Plant:
    plant = Plant(plant_spec(rich_site(), CALM | changes), start_s=START_S)
    plant.advance(START_S + 1)
    return plant


def given(bank: Bank, power_w: float, seconds: float, step_s: float = 0.5) -> list[float]:
    """Give a power for a while and return the current of each pack at the end."""
    for _ in range(round(seconds / step_s)):
        bank.step(step_s, power_w, 25.0)
    return [battery.pack_a for battery in bank.batteries]


def test_packs_that_are_alike_carry_the_same() -> None:
    one, two = given(a_bank(0.5, 0.5), 10_000, 60)
    assert one == pytest.approx(two)
    assert one == pytest.approx(5000 / 52, rel=0.02)


def test_pack_with_twice_the_resistance_carries_half() -> None:
    one, two = given(a_bank(0.5, 0.5, resistance_factor=2.0, cable_mohm=10.0), 5000, 2)
    assert two == pytest.approx(one / 2, rel=0.02)


def test_fuller_pack_gives_more_and_charges_the_other_while_nothing_is_asked() -> None:
    bank = a_bank(0.75, 0.5)
    full, empty = given(bank, 0, 1)
    assert full == pytest.approx(-empty, rel=1e-6)
    assert full > 10
    assert [battery.pack_v for battery in bank.batteries] == pytest.approx([bank.pack_v] * 2)  # one DC side
    apart = bank.batteries[0].soc - bank.batteries[1].soc
    given(bank, 0, 600, 1.0)
    assert bank.batteries[0].soc - bank.batteries[1].soc < apart - 0.001


def test_pack_that_is_far_from_the_other_trips_on_the_current_between_them() -> None:
    bank = a_bank(0.95, 0.15)
    given(bank, 0, 10)
    assert "charge_over_current" in bank.batteries[1].alarms
    assert [battery.closed for battery in bank.batteries].count(True) <= 1


@pytest.mark.parametrize("power_w", [12_000.0, -12_000.0, 0.0])
def test_power_of_the_packs_is_what_was_asked_for(power_w: float) -> None:
    bank = a_bank(0.55, 0.5, resistance_factor=1.5)
    given(bank, power_w, 30)
    assert sum(one.pack_v * one.pack_a for one in bank.batteries) == pytest.approx(power_w, abs=1.0)
    assert bank.pack_a == pytest.approx(sum(one.pack_a for one in bank.batteries))


def test_pack_behind_an_open_contactor_carries_nothing_and_counts_for_nothing() -> None:
    bank = a_bank(0.6, 0.4)
    bank.batteries[1].bms.force_open = True
    one, two = given(bank, 5000, 60)
    assert two == 0
    assert one == pytest.approx(5000 / 52, rel=0.03)
    assert bank.closed
    assert bank.soc == bank.batteries[0].soc
    assert bank.discharge_max_a == bank.batteries[0].discharge_max_a > 0
    bank.batteries[0].bms.force_open = True
    given(bank, 5000, 60)
    assert not bank.closed
    assert (bank.charge_max_a, bank.discharge_max_a, bank.pack_a) == (0, 0, 0)
    assert 0.4 < bank.soc < 0.6  # of all, as none is connected


def test_one_battery_is_a_bank_that_changes_nothing() -> None:
    bank, alone = a_bank(0.5), Battery(BatterySpec(pack=ALIKE, soc=0.5))
    for power_w in (8000.0, -3000.0, 0.0) * 20:
        bank.step(0.5, power_w, 25.0)
        alone.step(0.5, power_w, 25.0)
    assert (bank.soc, bank.pack_v, bank.pack_a) == (alone.soc, alone.pack_v, alone.pack_a)
    assert bank.packs() == ()


def test_currents_of_inverters_on_one_bank_add() -> None:
    plant = a_plant()
    for name, power_w in (("inverter1", 6000.0), ("inverter2", 3000.0)):
        plant.inverter(name).set_point(SetPoint(enabled=True, power_w=power_w))
    plant.advance(START_S + 20)
    truth = plant.truth()
    one, two = truth.units
    assert (one.ac_w, two.ac_w) == pytest.approx((6000, 3000), abs=5)
    assert one.batteries == two.batteries == ("pack1", "pack2")
    assert one.pack_a == two.pack_a == pytest.approx(sum(pack.pack_a for pack in one.packs))
    assert one.pack_a * one.pack_v == pytest.approx(one.dc_w + two.dc_w, rel=0.001)
    assert one.capacity_wh == pytest.approx(40_000)
    assert one.energy_wh == pytest.approx(sum(pack.energy_wh for pack in one.packs))


def test_inverters_that_work_against_each_other_leave_the_bank_alone() -> None:
    plant = a_plant()
    for name, power_w in (("inverter1", 3000.0), ("inverter2", -3000.0)):
        plant.inverter(name).set_point(SetPoint(enabled=True, power_w=power_w))
    plant.advance(START_S + 20)
    losses_w = sum(unit.dc_w for unit in plant.truth().units)
    assert plant.truth().units[0].pack_a * plant.truth().units[0].pack_v == pytest.approx(losses_w, abs=1)


def test_pack_of_a_bank_has_its_name_in_the_truth() -> None:
    plant = a_plant(pack1={"soc": 0.7, **CALM["pack1"]}, pack2={"soc": 0.6, **CALM["pack2"]})
    packs = plant.truth().units[1].packs
    assert [(pack.battery, round(pack.soc, 2)) for pack in packs] == [("pack1", 0.7), ("pack2", 0.6)]
    plant.set("pack2.soc", 0.3)
    assert plant.truth().units[0].packs[1].soc == pytest.approx(0.3)


def test_units_that_share_a_part_of_their_batteries_are_no_plant() -> None:
    spec = plant_spec(rich_site())
    (one, names), (two, _) = spec.units
    with pytest.raises(ValueError, match="inverter2: units share all of their batteries or none, not pack1"):
        Plant(replace(spec, units=((one, names), (two, names[:1]))))


def test_requests_of_a_bms_are_set_from_outside() -> None:
    plant = a_plant()
    battery = plant.battery("pack1")
    assert (battery.force_charge, battery.full_charge_wanted) == (False, False)
    plant.set("pack1.force_charge", 1)
    plant.set("pack1.full_charge_wanted", 1)
    assert (battery.force_charge, battery.full_charge_wanted) == (True, True)
    plant.advance(START_S + 10)
    plant.set("pack1.force_charge", 0)
    assert (battery.force_charge, battery.full_charge_wanted) == (False, True)


def test_load_on_one_phase_is_on_that_phase_alone() -> None:
    plant = a_plant()
    plant.set("load_w", 3000)
    plant.set("load_b_w", 2000)
    plant.advance(START_S + 5)
    assert plant.truth().phase_w == pytest.approx((-1000, -3000, -1000), abs=5)
    assert plant.truth().phase_a == pytest.approx((1000 / 230, 3000 / 230, 1000 / 230), abs=0.05)
    assert plant.truth().load_w == pytest.approx(5000, abs=5)


def test_single_phase_inverter_feeds_its_own_phase() -> None:
    plant = a_plant(inverter2={"phases": "c"})
    plant.inverter("inverter2").set_point(SetPoint(enabled=True, power_w=3000))
    plant.advance(START_S + 10)
    idle_w = plant.truth().units[0].ac_w / 3
    assert plant.truth().phase_w == pytest.approx((idle_w, idle_w, idle_w + 3000), abs=5)
    assert plant.meter("meter").phase_w == pytest.approx(plant.truth().phase_w, abs=5)
