"""What the site says it could do, it does: as much, as long, and never out of the customer's reserve."""

from typing import Any

import msgspec
import pytest
from hypothesis import given

from controller.engine import availability, step
from controller.engine.availability import Part, Way
from controller.model import (
    Availability,
    Decision,
    Derating,
    Energy,
    Notice,
    Order,
    Ramp,
    Remembered,
    Share,
    Site,
    Snapshot,
    State,
)
from tests.test_counterfactual import (
    MANY,
    OPEN,
    World,
    asking,
    contact,
    decided,
    with_poi,
    with_unit,
    worlds,
)
from tests.words import a_battery, a_meter, a_site, a_snapshot, a_target, all_fresh, an_inverter

ALL_W = 1_000_000_000
RAN = State(decided_ms=99_000, target_w=0, units=(Remembered(unit="unit1", phase="run"),))


def had(world: World) -> Availability:
    found = decided(world).available
    assert found is not None
    return found


def of(site: Site, snapshot: Snapshot, state: State | None = None) -> Availability:
    return had(World(site=site, snapshot=snapshot, state=state or State()))


def ordered(world: World, asked_w: int | None, *kinds: str) -> World:
    """Return the world with orders of these kinds left, and one for a power; its ramp is taken away."""
    orders = [order for order in world.snapshot.orders if order.kind in kinds]
    orders += [] if asked_w is None else [a_target(asked_w)]
    snapshot = msgspec.structs.replace(world.snapshot, orders=tuple(orders), utility_silent=False)
    return msgspec.structs.replace(
        world, snapshot=snapshot, site=msgspec.structs.replace(world.site, ramp=Ramp(), program="hold")
    )


# -- power -------------------------------------------------------------------------------------------------------------


@MANY
@given(world=worlds())
def test_what_is_said_to_be_there_is_given_to_whoever_asks_for_all(world: World) -> None:
    found = had(ordered(world, None, "reserve"))
    for asked_w, said_w in ((ALL_W, found.discharge_w), (-ALL_W, found.charge_w)):
        decision = decided(ordered(world, asked_w, "reserve"))
        given_w = sum(command.power_w for command in decision.commands) * (1 if asked_w > 0 else -1)
        away = any("is not to be had" in why for why in (found.discharge_because, found.charge_because))
        least = any(unit.min_power_w for unit in world.site.unit)
        demanded = any(not share.low_w <= share.power_w <= share.high_w for share in decision.shares)
        assert 0 <= said_w <= max(0, given_w)
        assert said_w == max(0, given_w) or away or least or demanded, "as much as there is"


@MANY
@given(world=worlds())
def test_a_limit_of_the_utilitys_own_does_not_lessen_what_is_there(world: World) -> None:
    free, limited = (had(ordered(world, None, *kinds)) for kinds in (("reserve",), ("reserve", "limit")))
    assert free == limited


@MANY
@given(world=worlds())
def test_energy_and_time_are_there_only_with_a_power_and_a_reason_wherever_it_is_less(world: World) -> None:
    found = had(world)
    nameplates_w = (
        sum(unit.discharge_max_w for unit in world.site.unit),
        sum(unit.charge_max_w for unit in world.site.unit),
    )
    ways = (
        (found.discharge_w, found.discharge_wh, found.discharge_s, found.discharge_because),
        (found.charge_w, found.charge_wh, found.charge_s, found.charge_because),
    )
    for (power_w, energy_wh, held_s, because), nameplate_w in zip(ways, nameplates_w, strict=True):
        assert 0 <= power_w <= nameplate_w
        assert (because == "") == (power_w == nameplate_w)
        assert held_s == 0 or power_w > 0
        assert power_w * held_s * 95 // 100 <= energy_wh * 3600


def test_a_ramp_is_the_way_there_and_lessens_nothing() -> None:
    assert of(a_site(ramp=Ramp(rate_w_per_s=10)), all_fresh()) == of(a_site(), all_fresh())


def test_the_whole_nameplate_needs_no_reason() -> None:
    found = of(with_poi(export_max_w=20_000), all_fresh())
    assert (found.discharge_w, found.charge_w) == (10_000, 10_000)
    assert (found.discharge_because, found.charge_because) == ("", "")


def test_the_reason_is_the_rule_that_binds() -> None:
    found = of(a_site(), asking(0, battery={"charge_max_ma": 50_000}))
    assert (found.discharge_w, found.charge_w) == (5900, 2600)
    assert found.discharge_because.startswith("poi_limit: load less generation is 0 W")
    assert found.charge_because == "bms_current(unit1): the battery allows 50 A in, 250 A out at 52 V"


def test_what_a_stronger_class_would_take_out_of_the_reserve_is_not_promised() -> None:
    world = World(site=a_site(), snapshot=asking(0, battery={"soc_bp": 2500}, load_w=20_000))
    decision = decided(world)
    assert decision.target_w == 8100
    assert decision.available is not None
    assert decision.available.discharge_w == 0
    assert decision.available.discharge_because.startswith("customer_reserve(unit1): ")


# -- who is not to be had ----------------------------------------------------------------------------------------------

AWAY: dict[str, tuple[Snapshot, State, str]] = {
    "stopped": (asking(0, battery={"alarms": ("hot",)}), RAN, "fault_stop"),
    "held": (asking(0, inverter={"alarms": ("fan",)}), RAN, "an alarm that does not stop it"),
    "brought to 0 W": (asking(0, battery={"cell_min_mv": 2900, "cell_max_mv": 3500}), RAN, "apart"),
    "starting": (asking(0, inverter={"state": "starting"}), State(), "not_running"),
    "released": (
        asking(0, notices=(Notice(fault="inverter_unruly", device="inverter1"),)),
        RAN,
        "released(unit1): ",
    ),
}


@pytest.mark.parametrize("way", AWAY)
@pytest.mark.parametrize("power_w", [2000, -2000])
def test_a_unit_that_is_not_at_disposal_has_nothing(way: str, power_w: int) -> None:
    snapshot, state, why = AWAY[way]
    shares = (Share(unit="unit1", low_w=-10_000, high_w=10_000, power_w=power_w),)
    state = msgspec.structs.replace(state, shares=shares, target_w=power_w)
    found = of(a_site(), snapshot, state)
    assert [found.discharge_w, found.charge_w, found.discharge_wh, found.charge_wh] == [0] * 4
    assert [found.discharge_s, found.charge_s] == [0, 0]
    assert why in (found.discharge_because if power_w > 0 else found.charge_because)


def test_the_other_units_are_there_without_the_one_that_is_away() -> None:
    told = [an_inverter(), a_battery(), an_inverter(n=2), a_battery(n=2)]
    site = with_poi(export_max_w=30_000, import_max_w=30_000)
    site = msgspec.structs.replace(a_site(2), poi=site.poi)
    notices = (Notice(fault="inverter_unruly", device="inverter1"),)
    found = of(site, a_snapshot(a_meter(), *told, notices=notices))
    both = of(site, a_snapshot(a_meter(), *told))
    assert (both.discharge_w, both.discharge_wh) == (20_000, 12_600)
    assert (found.discharge_w, found.discharge_wh, found.charge_w) == (10_000, 6300, 10_000)
    assert found.discharge_because == "released(unit1): it is left to its own timer and measured at +0 W"


def test_what_a_released_unit_takes_shortens_the_time_of_the_others() -> None:
    told = [an_inverter(-4000), a_battery(), an_inverter(n=2), a_battery(n=2)]
    site = msgspec.structs.replace(a_site(2), poi=with_poi(export_max_w=2000, margin_w=0).poi)
    notices = (Notice(fault="inverter_unruly", device="inverter1"),)
    found = of(site, a_snapshot(a_meter(-4000), *told, notices=notices))
    assert (found.discharge_w, found.discharge_s) == (2000, 6300 * 3600 // 6000 - 120)


# -- energy ------------------------------------------------------------------------------------------------------------

# At 60 % of 25 kWh, good to 500 Wh: 7000 Wh lie above the reserve of 30 %, 8250 Wh fit below the ceiling of 95 %.
ENERGIES: dict[str, tuple[Site, dict[str, Any], int, int]] = {
    "above the reserve": (a_site(), {}, 6300, 8250),
    "above the floor where it is higher": (a_site(energy=Energy(floor_pct=40, reserve_pct=30)), {}, 4050, 8250),
    "at the reserve": (a_site(), {"soc_bp": 3200}, 0, 15_250),
    "a little above the reserve": (a_site(), {"soc_bp": 3204}, 9, 15_240),
    "at the ceiling": (a_site(), {"soc_bp": 9300}, 13_725, 0),
    "a little below the ceiling": (a_site(), {"soc_bp": 9296}, 13_716, 10),
    "not known": (a_site(), {"soc_bp": None}, 0, 0),
    "not to be discharged": (a_site(), {"discharge_allowed": False}, 0, 8250),
    "not to be charged": (a_site(), {"charge_allowed": False}, 6300, 0),
    "without losses": (with_unit(efficiency_pct=100), {}, 7000, 8250),
}


@pytest.mark.parametrize("case", ENERGIES)
def test_energy_is_told_as_it_would_come_out_or_go_in(case: str) -> None:
    site, told, out_wh, in_wh = ENERGIES[case]
    found = of(site, asking(0, battery=told))
    assert (found.discharge_wh, found.charge_wh) == (out_wh, in_wh)


def test_energy_is_told_where_only_the_grid_connection_leaves_no_power() -> None:
    found = of(with_poi(export_max_w=100), asking(0))
    assert (found.discharge_w, found.discharge_s, found.discharge_wh) == (0, 0, 6300)


def test_a_storm_keeps_more_and_what_is_charged_for_it_is_not_to_be_had() -> None:
    keep = msgspec.structs.replace(a_target(0), name="r", kind="reserve", soc_bp=5000)
    found = of(a_site(), asking(0, orders=(keep,)))
    assert found.discharge_wh == (14_500 - 12_500) * 90 // 100
    rising = msgspec.structs.replace(keep, soc_bp=9000, by_ms=100_001, starts_ms=0)
    found = of(a_site(), asking(0, orders=(rising,)))
    assert (found.discharge_w, found.discharge_wh, found.charge_w) == (0, 0, 10_000)


def test_an_island_gives_up_the_reserve_but_for_what_it_keeps() -> None:
    site = msgspec.structs.replace(contact("islanded"), energy=Energy(floor_pct=5, reserve_pct=30, island_pct=20))
    assert of(site, asking(0, OPEN)).discharge_wh == (14_500 - 5000) * 90 // 100
    floor = msgspec.structs.replace(site, energy=Energy(floor_pct=25, reserve_pct=30, island_pct=20))
    assert of(floor, asking(0, OPEN)).discharge_wh == (14_500 - 6250) * 90 // 100
    keep = msgspec.structs.replace(a_target(0), name="r", kind="reserve", soc_bp=5000)
    assert of(site, asking(0, OPEN, orders=(keep,))).discharge_wh == (14_500 - 5000) * 90 // 100


def test_a_full_charge_that_is_due_makes_room_up_to_100_percent() -> None:
    due = State(units=(Remembered(unit="unit1", full_wanted_utc_ms=1_780_000_000_000),))
    assert of(a_site(), asking(0, battery={"full_charge_wanted": True}), due).charge_wh == 25_000 - 15_500


def test_units_that_share_their_batteries_share_what_is_there() -> None:
    site = a_site(2)
    units = (site.unit[0], msgspec.structs.replace(site.unit[1], battery="battery1"))
    told = [an_inverter(), an_inverter(n=2), a_battery(discharge_max_ma=100_000)]
    found = of(msgspec.structs.replace(site, unit=units), a_snapshot(a_meter(), *told))
    assert (found.discharge_w, found.discharge_wh, found.charge_wh) == (2 * 2340, 6300, 8250)


# -- how long ----------------------------------------------------------------------------------------------------------


def test_power_is_there_until_the_taper_begins() -> None:
    found = of(a_site(), all_fresh())
    assert found.discharge_w == 5900
    assert found.discharge_s == 6300 * 3600 // 5900 - 120
    assert found.charge_s == 8250 * 3600 // 10_000 - 120


def test_several_units_behind_one_limit_last_as_long_as_any_of_them_must() -> None:
    told = [an_inverter(), an_inverter(n=2), a_battery(), a_battery(soc_bp=3300, n=2)]
    tapering = a_snapshot(a_meter(), *told)
    site = msgspec.structs.replace(a_site(2), poi=with_poi(export_max_w=10_100).poi)
    found = of(site, tapering)
    assert (found.discharge_w, found.discharge_s) == (10_000, 6300 * 3600 // 10_000 - 120)
    site = msgspec.structs.replace(a_site(2), poi=with_poi(export_max_w=10_700).poi)
    assert of(site, tapering).discharge_s == 0, "95 % of 10600 W are more than the first unit gives"


def test_a_unit_that_tapers_already_holds_nothing() -> None:
    found = of(a_site(), asking(0, battery={"soc_bp": 3240}))
    assert (found.discharge_w, found.discharge_s) == (2700, 0)


def test_one_of_many_units_that_tapers_takes_little_of_the_time() -> None:
    site = msgspec.structs.replace(a_site(11), poi=with_poi(export_max_w=200_000, import_max_w=200_000).poi)

    def told(last_bp: int) -> Snapshot:
        socs_bp = [6000] * 10 + [last_bp]
        pairs = [each for n, soc_bp in enumerate(socs_bp, 1) for each in (an_inverter(n=n), a_battery(soc_bp, n=n))]
        return a_snapshot(a_meter(), *pairs)

    assert of(site, told(3204)).discharge_s == 6300 * 3600 // 10_000 - 120
    half = of(site, told(3300))
    assert (half.discharge_w, half.discharge_s) == (106_750, 0), "a unit that gives more than 5 % is needed"


def test_a_curve_by_state_of_charge_ends_the_time_earlier() -> None:
    curves = Derating(discharge_by_soc_pct=((0, 0), (50, 100)), charge_by_soc_pct=((62, 100), (90, 10), (95, 0)))
    found = of(with_unit(derating=curves), all_fresh())
    assert found.discharge_s == 2250 * 3600 // 5900
    assert found.charge_s == 500 * 3600 // 10_000
    beyond = of(with_unit(derating=curves), all_fresh(soc_bp=7000))
    assert (beyond.charge_s, beyond.charge_w > 0) == (0, True)
    level = Derating(discharge_by_soc_pct=((0, 100), (50, 100)), charge_by_soc_pct=((50, 90),))
    found = of(with_unit(derating=level), all_fresh())
    assert (found.discharge_s, found.charge_s) == (6300 * 3600 // 5900 - 120, 0)


def lived(site: Site, stored_wh: list[int], asked_w: int, seconds: int) -> tuple[list[Decision], list[int], int]:
    """Let units with this energy, of which the batteries tell 2 % too much, do all they may; lossy as can be."""
    state, decisions, every_s = State(), list[Decision](), 5
    cells_w_s, moved_w_s = [wh * 3600 for wh in stored_wh], 0
    powers_w = [0] * len(stored_wh)
    for now_ms in range(1_000_000, 1_000_000 + seconds * 1000, every_s * 1000):
        error_wh = 500 if asked_w > 0 else -500
        told: list[Any] = [a_meter(sum(powers_w), now_ms)]
        for n, (energy_w_s, power_w) in enumerate(zip(cells_w_s, powers_w, strict=True), 1):
            soc_bp = (energy_w_s // 3600 + error_wh) * 10_000 // 25_000
            told += [an_inverter(power_w, n, now_ms), a_battery(soc_bp, n, now_ms)]
        order = a_target(asked_w, at_ms=now_ms)
        state, decision = step(site, state, a_snapshot(*told, now_ms=now_ms, orders=(order,)))
        decisions.append(decision)
        powers_w = [share.power_w for share in decision.shares]
        for place, power_w in enumerate(powers_w):
            lost = 100 / 90 if power_w > 0 else 1.0
            cells_w_s[place] -= round(power_w * every_s * lost)
            moved_w_s += abs(power_w) * every_s
    return decisions, [energy_w_s // 3600 for energy_w_s in cells_w_s], moved_w_s // 3600


@pytest.mark.parametrize("stored_wh", [[8500], [8600, 8300], [9000, 8000, 7600]])
@pytest.mark.parametrize("asked_w", [ALL_W, -ALL_W])
def test_what_was_promised_comes_out_before_the_reserve_stops_it(stored_wh: list[int], asked_w: int) -> None:
    """On true cells at the bad end of their estimate: power, time and energy are kept, the reserve is not touched."""
    count, discharging = len(stored_wh), asked_w > 0
    poi = with_poi(export_max_w=9000 * count, import_max_w=9000 * count).poi
    site = msgspec.structs.replace(a_site(count), poi=poi)
    if not discharging:
        stored_wh = [23_750 - (wh - 7500) for wh in stored_wh]
    decisions, left_wh, moved_wh = lived(site, stored_wh, asked_w, 1500)
    first = decisions[0].available
    assert first is not None
    power_w, energy_wh, held_s = (
        (first.discharge_w, first.discharge_wh, first.discharge_s)
        if discharging
        else (first.charge_w, first.charge_wh, first.charge_s)
    )
    assert power_w > 0 and energy_wh > 0
    held = [abs(decision.target_w) for decision in decisions[: held_s // 5 + 1]]
    assert min(held) * 100 >= power_w * 95
    assert moved_wh >= energy_wh * 99 // 100
    for wh in left_wh:
        assert wh >= 7500 if discharging else wh <= 23_750


# -- least powers ------------------------------------------------------------------------------------------------------


def pair(least_w: tuple[int, int], discharge_ma: tuple[int, int], export_max_w: int) -> tuple[Site, Snapshot]:
    site = a_site(2)
    units = tuple(
        msgspec.structs.replace(unit, min_power_w=power_w) for unit, power_w in zip(site.unit, least_w, strict=True)
    )
    poi = msgspec.structs.replace(site.poi, export_max_w=export_max_w, margin_w=0)
    told = [
        each
        for n, limit_ma in enumerate(discharge_ma, 1)
        for each in (an_inverter(n=n), a_battery(n=n, discharge_max_ma=limit_ma))
    ]
    return msgspec.structs.replace(site, unit=units, poi=poi), a_snapshot(a_meter(), *told)


@pytest.mark.parametrize(
    ("least_w", "discharge_ma", "export_max_w", "power_w"),
    [
        ((0, 0), (6000, 250_000), 30_000, 10_280),
        ((280, 0), (6000, 250_000), 30_000, 10_280),
        ((281, 0), (6000, 250_000), 30_000, 10_000),
        ((0, 500), (6000, 250_000), 500, 500),
        ((0, 500), (6000, 250_000), 499, 280),
        ((300, 500), (6000, 250_000), 499, 0),
        ((1000, 1000), (250_000, 250_000), 1999, 1999),
    ],
)
def test_less_than_its_least_power_is_not_promised_of_a_unit(
    least_w: tuple[int, int], discharge_ma: tuple[int, int], export_max_w: int, power_w: int
) -> None:
    site, snapshot = pair(least_w, discharge_ma, export_max_w)
    found = of(site, snapshot)
    assert found.discharge_w == power_w
    asked = msgspec.structs.replace(snapshot, orders=(a_target(ALL_W),))
    assert decided(World(site=site, snapshot=asked)).target_w == power_w
    short = power_w < min(export_max_w, 10_280)
    assert ("least powers" in found.discharge_because) == short


def test_a_forced_unit_takes_its_least_power_and_the_others_make_up_for_it() -> None:
    site = msgspec.structs.replace(a_site(2), poi=with_poi(export_max_w=30_000).poi)
    units = tuple(msgspec.structs.replace(unit, min_power_w=1500) for unit in site.unit)
    told = [an_inverter(), a_battery(soc_bp=500), an_inverter(n=2), a_battery(n=2)]
    world = World(
        site=msgspec.structs.replace(site, unit=units),
        snapshot=a_snapshot(a_meter(), *told, orders=(a_target(ALL_W),)),
    )
    assert had(world).discharge_w == decided(world).target_w == 8500


def orders_of(kind: str) -> Order:
    return msgspec.structs.replace(a_target(0), name=kind, kind=kind)


def test_a_cease_order_does_not_lessen_what_is_there() -> None:
    assert of(a_site(), asking(0, orders=(orders_of("cease"),))) == of(a_site(), asking(0))


def test_a_unit_that_is_charged_by_force_lessens_what_the_others_can_give() -> None:
    site = msgspec.structs.replace(a_site(2), poi=with_poi(export_max_w=30_000).poi)
    told = [an_inverter(), an_inverter(n=2), a_battery(force_charge=True), a_battery(n=2)]
    found = of(site, a_snapshot(a_meter(), *told))
    assert (found.discharge_w, found.discharge_wh) == (9500, 6300)
    assert found.discharge_s == 6300 * 3600 // 10_000 - 120


# -- part by part ------------------------------------------------------------------------------------------------------


def a_part(power_w: int, least_w: int = 0, lost_w: int = 0, held_s: int = 0) -> Part:
    return Part(power_w, least_w, lost_w, energy_wh=1000, whole_wh=1000, held_s=held_s)


def a_way(*parts: Part, site_w: int = 100_000) -> Way:
    return availability._way("highs", site_w, None, list(parts))


@pytest.mark.parametrize(
    ("parts", "site_w", "power_w"),
    [
        ([a_part(5000), a_part(0, lost_w=3000)], 9000, 5000),
        ([a_part(5000), a_part(0, lost_w=3000)], 7000, 4000),  # the one that is away goes on with what it does
        ([a_part(5000), a_part(0, lost_w=3000)], 2000, 0),
        ([a_part(600, 500), a_part(600, 500)], 900, 600),
        ([a_part(600, 500), a_part(600, 500)], 1000, 1000),
        ([a_part(300, 300), a_part(2000, 400)], 600, 600),  # the strongest first
        ([a_part(1), a_part(500, 600)], 9000, 1),
        ([a_part(0, 500), a_part(1000)], 9000, 1000),  # a unit without power takes no least one
        ([a_part(-1), a_part(1000, 1)], 9000, 999),
        ([a_part(-1, 400), a_part(1000)], 9000, 600),
        ([a_part(-500, 400), a_part(1000)], 9000, 500),
        ([a_part(-500, 400), a_part(300, 1)], 9000, 0),
    ],
)
def test_the_power_of_units_together(parts: list[Part], site_w: int, power_w: int) -> None:
    assert availability._power_w(a_way(*parts, site_w=site_w)) == power_w


@pytest.mark.parametrize(
    ("parts", "power_w", "held_s"),
    [
        ([a_part(9500, held_s=100), a_part(500, held_s=50)], 10_000, 100),
        ([a_part(9499, held_s=100), a_part(501, held_s=50)], 10_000, 50),
        ([a_part(1, held_s=7)], 1, 7),
        ([a_part(1, held_s=7)], 0, 0),
        ([a_part(953, held_s=100), a_part(47, held_s=50), a_part(-50)], 950, 100),  # one takes 50 W of it
        ([a_part(952, held_s=100), a_part(48, held_s=50), a_part(-50)], 950, 50),
    ],
)
def test_power_is_held_for_as_long_as_the_units_that_give_95_percent_of_it(
    parts: list[Part], power_w: int, held_s: int
) -> None:
    assert availability._held_s(a_way(*parts), power_w) == held_s


def test_what_tapers_already_lasts_for_no_time() -> None:
    assert availability._lasts_s(0, 0, 120, 100) == 0
    assert availability._lasts_s(10, 5, 120, 100) == 180
    assert availability._lasts_s(10, 20, 120, 100) == 240


def test_the_taper_takes_its_own_time_off() -> None:
    site = a_site(energy=Energy(floor_pct=10, reserve_pct=30, ceiling_pct=95, taper_s=2000))
    assert of(site, all_fresh()).discharge_s == 6300 * 3600 // 5900 - 2000


def test_what_a_stopped_unit_stores_is_not_sold() -> None:
    told = [an_inverter(), a_battery(alarms=("hot",)), an_inverter(n=2), a_battery(n=2)]
    decision = decided(World(site=a_site(2), snapshot=a_snapshot(a_meter(), *told)))
    assert (decision.stored_wh, decision.sellable_wh) == (30_000, 7000)
    below = decided(World(site=a_site(), snapshot=all_fresh(2500)))
    assert below.sellable_wh == 0


def test_a_unit_on_its_curve_holds_even_a_small_power_for_no_time() -> None:
    """With 20 A of charge a single Wh would last for 3 s."""
    for curve in (((50, 90),), ((50, 100), (90, 50))):
        site = with_unit(derating=Derating(charge_by_soc_pct=curve))
        found = of(site, asking(0, battery={"charge_max_ma": 20_000}))
        assert (found.charge_w, found.charge_s) == (1040, 0)


# -- the whole reason --------------------------------------------------------------------------------------------------


def test_the_reserve_is_told_where_a_stronger_class_would_take_more() -> None:
    found = of(a_site(), all_fresh(2500, load_w=14_000))
    assert found.discharge_w == 0
    assert found.discharge_because == "customer_reserve(unit1): at least 5750 Wh stored, 7500 Wh are the customer's"


def test_a_unit_that_is_held_is_told_with_what_it_holds() -> None:
    told = [an_inverter(2000, alarms=("fan",)), a_battery(), an_inverter(n=2), a_battery(n=2)]
    site = msgspec.structs.replace(a_site(2), poi=with_poi(export_max_w=30_000).poi)
    shares = (Share(unit="unit1", low_w=-10_000, high_w=10_000, power_w=2000),)
    state = msgspec.structs.replace(RAN, shares=shares, target_w=2000)
    found = of(site, a_snapshot(a_meter(2000), *told), state)
    why = "inverter1: the inverter raises an alarm that does not stop it (fan)"
    assert found.discharge_w == 10_000
    assert found.discharge_because == f"hold_power(unit1): {why}; unit1 is not to be had: {why}"
    assert found.charge_because == f"hold_power(unit1): {why}", "it could not have been charged anyway"


def test_what_is_forced_the_other_way_counts_to_the_watt() -> None:
    assert a_way(a_part(-1), a_part(0), a_part(5)).forced_w == -1
    assert a_way(a_part(0), a_part(5)).forced_w == 0
