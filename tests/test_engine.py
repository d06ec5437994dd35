"""The step: envelope, ramp, share, explanations and memory."""

import itertools
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.engine import Envelope, fold, share, step, watch
from controller.model import (
    Battery,
    Commitment,
    Decision,
    Default,
    Energy,
    Inverter,
    Limit,
    Meter,
    Missing,
    Notice,
    Order,
    Ramp,
    Reading,
    Share,
    Site,
    Snapshot,
    State,
    Utility,
)
from tests.words import a_battery, a_meter, a_site, a_snapshot, a_target, all_fresh, an_inverter

watts = st.integers(-50_000, 50_000)


def a_limit(low_w: int, high_w: int, rule: str = "r") -> Limit:
    return Limit(rule=rule, priority=3, low_w=min(low_w, high_w), high_w=max(low_w, high_w), because="test")


# -- fold ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(watts, watts), max_size=12))
def test_envelope_is_never_empty_and_only_shrinks(ends: list[tuple[int, int]]) -> None:
    envelope = Envelope(-10_000, 10_000)
    for low_w, high_w in ends:
        before = envelope.low_w, envelope.high_w
        envelope.add(a_limit(low_w, high_w))
        assert before[0] <= envelope.low_w <= envelope.high_w <= before[1]


@given(watts, watts, watts, watts)
def test_a_compatible_limit_holds_everywhere_and_another_is_met_at_the_nearest_point(
    a: int, b: int, c: int, d: int
) -> None:
    envelope = Envelope(min(a, b), max(a, b))
    limit = a_limit(c, d)
    envelope.add(limit)
    if limit.high_w < min(a, b):
        assert (envelope.low_w, envelope.high_w) == (min(a, b), min(a, b))
        assert envelope.unmet[0].by_w == min(a, b) - limit.high_w
    elif limit.low_w > max(a, b):
        assert (envelope.low_w, envelope.high_w) == (max(a, b), max(a, b))
        assert envelope.unmet[0].by_w == limit.low_w - max(a, b)
    else:
        assert envelope.low_w >= limit.low_w
        assert envelope.high_w <= limit.high_w
        assert not envelope.unmet


def test_the_binding_rule_is_the_one_that_made_the_end() -> None:
    envelope = fold(Envelope(-10, 10), [a_limit(-8, 20, "first"), a_limit(-9, 5, "second"), a_limit(-7, 5, "third")])
    low, high = envelope.bounds()
    assert (low.value_w, low.rule) == (-7, "third")
    assert (high.value_w, high.rule) == (5, "second"), "an equal limit that comes later does not take the place"


# -- share --------------------------------------------------------------------------------------------------------

units = st.lists(st.tuples(watts, watts, st.integers(1, 100_000)), min_size=1, max_size=12)


@given(units, st.integers(-400_000, 400_000))
def test_shares_add_up_exactly_inside_their_bounds(rows: list[tuple[int, int, int]], target_w: int) -> None:
    lows = [min(a, b) for a, b, _ in rows]
    highs = [max(a, b) for a, b, _ in rows]
    parts = share(target_w, lows, highs, [w for _, _, w in rows])
    assert sum(parts) == max(sum(lows), min(target_w, sum(highs)))
    assert all(low <= part <= high for low, part, high in zip(lows, parts, highs, strict=True))


@given(units, st.integers(-400_000, 400_000))
def test_shares_are_level_so_that_no_unit_could_give_to_another(
    rows: list[tuple[int, int, int]], target_w: int
) -> None:
    lows = [min(a, b) for a, b, _ in rows]
    highs = [max(a, b) for a, b, _ in rows]
    weights = [w for _, _, w in rows]
    parts = share(target_w, lows, highs, weights)
    for i, j in itertools.permutations(range(len(rows)), 2):
        if parts[i] < highs[i] and parts[j] > lows[j]:
            # i could take more and j less: then j's level is not above i's by more than integer rounding.
            assert parts[j] * weights[i] - parts[i] * weights[j] <= len(rows) * (weights[i] + weights[j])


def test_total_of_ten_with_unit_two_at_least_eight_gives_two_and_eight() -> None:
    assert share(10_000, [0, 8_000], [10_000, 10_000], [1, 1]) == [2_000, 8_000]


def test_equal_units_never_circulate_power() -> None:
    assert share(5_000, [0, 0, 0], [10_000, 10_000, 10_000], [1, 1, 1]) == [1666, 1667, 1667]


# -- step ---------------------------------------------------------------------------------------------------------


def decide(snapshot: Snapshot, site: Site | None = None, state: State | None = None) -> Decision:
    return step(site or a_site(), state or State(), snapshot)[1]


def test_an_order_inside_all_rules_is_followed_to_the_watt() -> None:
    decision = decide(all_fresh(orders=(a_target(3210),)))
    assert (decision.mode, decision.target_w, decision.why, decision.asked_w) == ("follow", 3210, "wish", 3210)
    assert decision.commands[0].power_w == 3210
    assert decision.commands[0].valid_ms == 10_000
    assert (decision.stored_wh, decision.sellable_wh) == (15_000, 15_000 - 500 - 7_500)
    assert not decision.unmet
    assert not decision.faults


def test_an_order_that_leaves_room_is_met_as_near_to_rest_as_it_allows() -> None:
    for low_w, high_w, target_w in ((-100, 100, 0), (200, 900, 200), (-900, -200, -200)):
        order = msgspec.structs.replace(a_target(0), low_w=low_w, high_w=high_w)
        decision = decide(all_fresh(orders=(order,)))
        assert (decision.target_w, decision.wish_w, decision.why) == (target_w, target_w, "wish")


def test_the_bound_is_named_by_the_unit_that_lost_most() -> None:
    snapshot = a_snapshot(
        a_meter(),
        an_inverter(0, 1),
        an_inverter(0, 2),
        a_battery(6000, 1, charge_max_ma=100_000, discharge_max_ma=50_000),
        a_battery(6000, 2, charge_max_ma=50_000, discharge_max_ma=100_000),
    )
    decision = decide(snapshot, a_site(2))
    assert (decision.low.value_w, decision.low.rule) == (-7800, "bms_current(unit2)")
    assert (decision.high.value_w, decision.high.rule) == (7020, "bms_current(unit1)")


def test_an_order_beyond_the_export_limit_is_cut_and_says_why() -> None:
    decision = decide(all_fresh(load_w=300, orders=(a_target(8000),)))
    assert decision.target_w == 300 + 6000 - 100
    assert decision.why == decision.high.rule == "poi_limit"
    assert decision.unmet[0].rule == "follow"
    assert decision.unmet[0].by_w == 8000 - 6200


def test_the_reserve_stops_a_discharge_and_the_stronger_classes_do_not_hide_it() -> None:
    decision = decide(all_fresh(3200, load_w=5000, orders=(a_target(8000),)))
    assert decision.target_w == 0
    assert decision.why == "customer_reserve(unit1)"
    assert decision.sellable_wh == 0


def test_a_charge_order_is_still_followed_at_the_reserve() -> None:
    assert decide(all_fresh(2000, orders=(a_target(-4000),))).target_w == -4000


def test_an_import_that_breaks_the_poi_limit_outranks_the_reserve_and_is_told() -> None:
    decision = decide(all_fresh(2500, load_w=14_000))
    assert decision.target_w == 14_000 - 12_000 + 100
    assert decision.why == "poi_limit"
    assert {u.rule for u in decision.unmet} >= {"customer_reserve", "hold"}


def test_the_silent_utility_leaves_the_default_order() -> None:
    for default, target_w in (
        (Default(power_w=1500), 1500),
        (Default(program="hold"), 0),
        (Default(program="self_consumption"), 2000),
    ):
        site = a_site(utility=Utility(default=default))
        decision = decide(all_fresh(load_w=2000), site)
        assert decision.target_w == target_w
        assert [f.fault for f in decision.faults] == ["utility_silent"]


def test_the_calendar_chooses_when_the_utility_is_there_and_asks_nothing() -> None:
    snapshot = all_fresh(load_w=2000, utility_silent=False, program="self_consumption")
    assert decide(snapshot).target_w == 2000
    assert decide(msgspec.structs.replace(snapshot, program="")).target_w == 0


def test_a_set_point_at_the_poi_is_reached_through_the_load() -> None:
    assert decide(all_fresh(load_w=2000, orders=(a_target(1000, domain="poi"),))).target_w == 3000
    blind = a_snapshot(
        an_inverter(),
        a_battery(),
        missing=(Missing(device="meter", age_ms=4000),),
        orders=(a_target(1000, domain="poi"),),
    )
    assert decide(blind).target_w == 0


def test_cease_and_limit_orders_narrow_whatever_is_asked() -> None:
    cease = Order(
        name="cease", source="u", kind="cease", domain="battery", low_w=0, high_w=0, starts_ms=0, expires_ms=1 << 60
    )
    limit = msgspec.structs.replace(cease, name="limit", kind="limit", low_w=-10_000, high_w=2000)
    assert decide(all_fresh(orders=(a_target(3000), limit))).target_w == 2000
    decision = decide(all_fresh(orders=(a_target(3000), limit, cease)))
    assert (decision.target_w, decision.why) == (0, "utility_cease")
    at_poi = msgspec.structs.replace(limit, domain="poi", low_w=-12_000, high_w=500)
    assert decide(all_fresh(load_w=1000, orders=(a_target(3000), at_poi))).target_w == 1500
    blind = a_snapshot(an_inverter(), a_battery(), missing=(Missing(device="meter"),), orders=(a_target(900), at_poi))
    assert decide(blind).target_w == 0


def test_a_limit_cut_acts_in_the_same_cycle_although_the_ramp_is_slow() -> None:
    site = a_site(ramp=Ramp(rate_w_per_s=100))
    state, first = step(site, State(target_w=8000, decided_ms=99_000), all_fresh(load_w=8000, orders=(a_target(8000),)))
    assert first.target_w == 8000
    cut = a_snapshot(
        a_meter(0, 100_500),
        an_inverter(8000, at_ms=100_500),
        a_battery(at_ms=100_500, discharge_max_ma=20_000),
        now_ms=100_500,
        orders=(a_target(8000),),
    )
    assert step(site, state, cut)[1].target_w == 20 * 52 * 90 // 100


def test_the_ramp_moves_inside_the_envelope_only_as_fast_as_it_may() -> None:
    site = a_site(ramp=Ramp(rate_w_per_s=500))
    state = State(target_w=1000, decided_ms=99_000)
    decision = step(site, state, all_fresh(load_w=9000, orders=(a_target(6000),)))[1]
    assert (decision.target_w, decision.why) == (1500, "ramp")
    down = step(site, state, all_fresh(load_w=9000, orders=(a_target(-6000),)))[1]
    assert (down.target_w, down.why) == (500, "ramp")


def test_at_the_start_the_ramp_begins_at_the_measured_power() -> None:
    site = a_site(ramp=Ramp(rate_w_per_s=500))
    decision = decide(all_fresh(load_w=3000, power_w=2000, orders=(a_target(6000),)), site)
    assert decision.target_w == 2000


def test_a_silent_battery_stops_its_unit_at_once_and_for_a_while_after_it_is_back() -> None:
    silent = a_snapshot(
        a_meter(), an_inverter(4000), missing=(Missing(device="battery1", age_ms=4000),), orders=(a_target(4000),)
    )
    state, decision = step(a_site(), State(), silent)
    assert (decision.target_w, decision.why) == (0, "fault_stop(unit1)")
    assert decision.commands[0].power_w == 0
    assert not decision.commands[0].running
    for back_ms, target_w in ((0, 0), (2999, 0), (3000, 4000)):
        now_ms = 101_000 + back_ms
        fresh = a_snapshot(
            a_meter(0, now_ms),
            an_inverter(0, at_ms=now_ms),
            a_battery(at_ms=now_ms),
            now_ms=now_ms,
            orders=(a_target(4000),),
        )
        state, decision = step(a_site(), state, fresh)
        assert decision.target_w == target_w, back_ms


def test_devices_that_were_never_heard_hold_the_site_only_until_they_are() -> None:
    nothing = a_snapshot(missing=tuple(Missing(device=d) for d in ("meter", "inverter1", "battery1")))
    state, decision = step(a_site(), State(), nothing)
    assert decision.target_w == 0
    assert {f.fault for f in decision.faults} >= {"meter_stale", "inverter_stale", "battery_stale"}
    assert decision.commands == (), "nothing is written to a device that was never heard"
    later = all_fresh(orders=(a_target(2000, at_ms=100_000),))
    assert step(a_site(), state, later)[1].target_w == 2000


def test_a_latched_fault_holds_after_its_notice_is_gone() -> None:
    wrong = all_fresh(notices=(Notice(fault="wrong_device", device="inverter1", detail="serial 2"),))
    state, decision = step(a_site(), State(), wrong)
    assert decision.target_w == 0
    for now_ms in (101_000, 1_000_000):
        snapshot = a_snapshot(
            a_meter(0, now_ms),
            an_inverter(at_ms=now_ms),
            a_battery(at_ms=now_ms),
            now_ms=now_ms,
            orders=(a_target(2000, at_ms=now_ms),),
        )
        state, decision = step(a_site(), state, snapshot)
        assert decision.target_w == 0
        assert decision.why == "fault_stop(unit1)"


def test_a_device_that_does_not_follow_is_named_once_it_had_time_to() -> None:
    site, state = a_site(), State()
    for at_ms in range(100_000, 108_000, 1000):
        snapshot = a_snapshot(
            a_meter(0, at_ms),
            an_inverter(0, at_ms=at_ms),
            a_battery(at_ms=at_ms),
            now_ms=at_ms,
            orders=(a_target(3000, at_ms=100_000),),
        )
        state, decision = step(site, state, snapshot)
        named = any(f.fault == "inverter_not_following" for f in decision.faults)
        assert named is (at_ms >= 104_000)


@pytest.mark.parametrize(
    ("measured_w", "sampled_ms", "rated_w", "settle_ms", "named"),
    [
        (2500, 100_000, 10_000, 1000, False),
        (2499, 100_000, 10_000, 1000, True),
        (3501, 100_000, 10_000, 1000, True),
        (2499, 99_999, 10_000, 1000, False),
        (2499, 99_000, 10_000, None, True),
        (2499, 98_999, 10_000, None, False),
        (2800, 100_000, 2000, 1000, False),
        (2799, 100_000, 2000, 1000, True),
    ],
)
def test_astray_is_more_than_a_twentieth_of_the_nameplate_or_200_w_three_seconds_after_settling(
    measured_w: int, sampled_ms: int, rated_w: int, settle_ms: int | None, named: bool
) -> None:
    site = a_site()
    unit = msgspec.structs.replace(site.unit[0], charge_max_w=rated_w, discharge_max_w=rated_w, settle_ms=settle_ms)
    state = State(moved_ms=96_000, shares=(Share(unit="unit1", low_w=0, high_w=9000, power_w=3000),))
    snapshot = a_snapshot(a_meter(), an_inverter(measured_w, at_ms=sampled_ms), a_battery())
    readings = {r.device: r for r in snapshot.readings}
    found = watch.conditions(msgspec.structs.replace(site, unit=(unit,)), state, snapshot, readings)
    assert [detail for fault, _, detail in found if fault == "inverter_not_following"] == (
        [f"commanded +3000 W, measured +{measured_w} W"] if named else []
    )


@pytest.mark.parametrize(
    ("commanded_w", "measured_w", "poi_w", "unruly"),
    [
        (1000, 5000, 1, True),  # relative to the export limit
        (1000, 5000, 0, False),
        (5000, 1000, 1, False),  # what it does not give is no harm to the export limit
        (-1000, -5000, -1, True),  # relative to the import limit
        (-1000, -5000, 0, False),
        (-5000, -1000, -1, False),
        (1000, 1100, 1, False),  # it follows
    ],
)
def test_an_inverter_that_breaks_a_grid_limit_by_itself_is_left_to_its_own_timer(
    commanded_w: int, measured_w: int, poi_w: int, unruly: bool
) -> None:
    site = a_site()
    limit_w = site.poi.export_max_w if commanded_w > 0 else -site.poi.import_max_w
    state = State(
        decided_ms=99_000,
        target_w=commanded_w,
        moved_ms=90_000,
        shares=(Share(unit="unit1", low_w=-9000, high_w=9000, power_w=commanded_w),),
    )
    meter = msgspec.structs.replace(a_meter(), power_w=limit_w + poi_w)
    snapshot = a_snapshot(meter, an_inverter(measured_w, at_ms=100_000), a_battery())
    after, decision = step(site, state, snapshot)
    assert any(fault.fault == "inverter_unruly" for fault in decision.faults) is unruly
    assert (decision.commands == ()) is unruly
    if unruly:  # and so it stays for a minute
        later = msgspec.structs.replace(snapshot, now_ms=snapshot.now_ms + 59_000)
        assert step(site, msgspec.structs.replace(after, shares=()), later)[1].commands == ()


@pytest.mark.parametrize(("soc_bp", "detail"), [(-1, "-0.01 %"), (0, ""), (10_000, ""), (10_001, "100.01 %")])
def test_a_state_of_charge_beyond_0_to_100_percent_is_implausible(soc_bp: int, detail: str) -> None:
    told = [f.detail for f in decide(all_fresh(soc_bp)).faults if f.fault == "battery_implausible"]
    assert told == ([f"state of charge {detail}"] if detail else [])


@pytest.mark.parametrize(
    ("rated_w", "target_w", "moves"), [(10_000, 100, False), (10_000, 101, True), (3000, -50, False), (3000, -51, True)]
)
def test_a_move_is_a_change_beyond_a_hundredth_of_the_nameplate_or_50_w(
    rated_w: int, target_w: int, moves: bool
) -> None:
    site = a_site()
    unit = msgspec.structs.replace(site.unit[0], charge_max_w=rated_w, discharge_max_w=rated_w)
    before = State(target_w=0, decided_ms=99_000, moved_ms=50_000)
    snapshot = all_fresh(orders=(a_target(target_w),))
    after, _ = step(msgspec.structs.replace(site, unit=(unit,)), before, snapshot)
    assert after.moved_ms == (100_000 if moves else 50_000)


def test_loss_of_one_unit_is_shared_by_the_others_in_the_same_cycle() -> None:
    readings = [a_meter(-20_000)]
    for n in (1, 2, 3):
        readings += [an_inverter(0, n), a_battery(6000, n)]
    whole = a_snapshot(*readings, orders=(a_target(12_000),))
    assert [s.power_w for s in decide(whole, a_site(3)).shares] == [4000, 4000, 4000]
    lost = msgspec.structs.replace(
        whole,
        readings=tuple(r for r in whole.readings if r.device != "battery2"),
        missing=(Missing(device="battery2", age_ms=9000),),
    )
    assert [s.power_w for s in decide(lost, a_site(3)).shares] == [6000, 0, 6000]


def test_units_share_by_what_they_hold() -> None:
    snapshot = a_snapshot(
        a_meter(-10_000),
        an_inverter(0, 1),
        an_inverter(0, 2),
        a_battery(8000, 1),
        a_battery(4000, 2),
        orders=(a_target(6000),),
    )
    assert [s.power_w for s in decide(snapshot, a_site(2)).shares] == [4000, 2000]
    charge = msgspec.structs.replace(snapshot, orders=(a_target(-4000),))
    assert [s.power_w for s in decide(charge, a_site(2)).shares] == [-1000, -3000]


# -- the load and our own moves -----------------------------------------------------------------------------------


def test_a_sample_taken_during_our_own_move_does_not_move_the_balance() -> None:
    site = a_site(utility=Utility(default=Default(program="self_consumption")))
    state, decision = step(site, State(), all_fresh(load_w=3000))
    assert decision.target_w == 3000
    # Half a second later the inverter has only begun to move and the meter's sample is a little younger than its own:
    # a naive loop would see a load of 4500 W here.
    blurred = a_snapshot(
        a_meter(-3000, 100_500), an_inverter(1500, at_ms=100_500), a_battery(at_ms=100_500), now_ms=100_500
    )
    state, decision = step(site, state, blurred)
    assert decision.target_w == 3000
    settled = a_snapshot(
        a_meter(-500, 101_200), an_inverter(3000, at_ms=101_200), a_battery(at_ms=101_200), now_ms=101_200
    )
    assert step(site, state, settled)[1].target_w == 3500


def test_a_pause_of_the_inverter_after_our_move_is_not_taken_for_load() -> None:
    """The inverter went from 0 to -10 kW and the meter shows it; its own last sample is from before the move."""
    state = State(target_w=-10_000, decided_ms=98_000, moved_ms=98_000, net_load_w=0, net_load_sampled_ms=97_900)
    paused = a_snapshot(a_meter(-10_000), an_inverter(0, at_ms=97_900), a_battery(), orders=(a_target(10_000),))
    decision = step(a_site(), state, paused)[1]
    assert decision.net_load_w == 0
    assert decision.target_w == 5900, "a load of 10 kW that is not there would let it export 10 kW"


@pytest.mark.parametrize(("meter_w", "believed"), [(-42_000, True), (-42_001, False), (30_000, True), (30_001, False)])
def test_a_meter_that_shows_what_no_site_can_be_moves_nothing(meter_w: int, believed: bool) -> None:
    """A single wrong number made the site discharge all it could, below floor and reserve (class 2 is the stronger)."""
    decision = decide(a_snapshot(a_meter(meter_w), an_inverter(), a_battery(1500)))
    assert (decision.target_w != 0) is believed
    assert ("meter_implausible" in {fault.fault for fault in decision.faults}) is not believed
    if not believed:
        assert decision.net_load_w is None
        assert (decision.low.value_w == 0) is (meter_w < 0), "nor is anything added to what it shows"


def test_a_limit_that_is_exceeded_does_not_wait_for_our_move_to_settle() -> None:
    state = State(target_w=8000, decided_ms=99_900, moved_ms=99_900, net_load_w=5000, net_load_sampled_ms=99_800)
    exceeded = a_snapshot(a_meter(7700), an_inverter(8000), a_battery(), orders=(a_target(8000),))
    assert step(a_site(), state, exceeded)[1].target_w == 300 + 5900
    within = a_snapshot(a_meter(5500), an_inverter(8000), a_battery(), orders=(a_target(8000),))
    assert step(a_site(), state, within)[1].target_w == 8000


@pytest.mark.parametrize(
    ("meter_w", "power_w", "target_w"),
    [(6000, 8000, 8000), (6001, 8000, 7899), (-12_000, -9000, -9000), (-12_001, -9000, -8899)],
)
def test_during_our_own_move_a_meter_at_its_limit_is_believed_only_once_it_is_beyond(
    meter_w: int, power_w: int, target_w: int
) -> None:
    known_w = 5000 if power_w > 0 else 2000
    state = State(target_w=power_w, decided_ms=99_900, moved_ms=99_900, net_load_w=known_w, net_load_sampled_ms=99_800)
    snapshot = a_snapshot(a_meter(meter_w), an_inverter(power_w), a_battery(), orders=(a_target(power_w),))
    assert step(a_site(), state, snapshot)[1].target_w == target_w


def test_small_changes_of_the_load_are_followed_at_reduced_gain() -> None:
    site = a_site(utility=Utility(default=Default(program="self_consumption")))
    state = step(site, State(), all_fresh(load_w=3000, power_w=3000))[0]
    next_snapshot = a_snapshot(
        a_meter(-100, 102_000), an_inverter(3000, at_ms=102_000), a_battery(at_ms=102_000), now_ms=102_000
    )
    assert step(site, state, next_snapshot)[1].target_w == 3035


# -- properties over everything a snapshot may hold ---------------------------------------------------------------

huge = st.integers(-(2**62), 2**62)
maybe = st.none() | st.integers(-10_000_000, 10_000_000) | huge


@st.composite
def any_snapshot(draw: st.DrawFn, units: int = 2) -> Snapshot:
    readings: list[Reading] = []
    missing = []

    def put(reading: Reading) -> None:
        if draw(st.integers(0, 4)):
            readings.append(reading)
        else:
            missing.append(Missing(device=reading.device, age_ms=draw(st.none() | st.integers(0, 10**9))))

    at_ms = st.integers(97_000, 100_000)
    put(Meter(device="meter", sampled_ms=draw(at_ms), heard_ms=100_000, power_w=draw(watts | huge)))
    for n in range(1, units + 1):
        put(
            Inverter(
                device=f"inverter{n}",
                sampled_ms=draw(at_ms),
                heard_ms=100_000,
                power_w=draw(maybe),
                state=draw(st.sampled_from(["off", "standby", "starting", "run", "fault"])),
                remote=draw(st.booleans()),
                charge_max_w=draw(st.none() | st.integers(0, 20_000)),
                discharge_max_w=draw(st.none() | st.integers(0, 20_000)),
            )
        )
        put(
            Battery(
                device=f"battery{n}",
                sampled_ms=draw(at_ms),
                heard_ms=100_000,
                soc_bp=draw(st.none() | st.integers(-100, 70_000)),
                voltage_mv=draw(maybe),
                charge_max_ma=draw(maybe),
                discharge_max_ma=draw(maybe),
                charge_allowed=draw(st.none() | st.booleans()),
                discharge_allowed=draw(st.none() | st.booleans()),
                alarms=draw(st.sampled_from([(), (), ("over-voltage",)])),
            )
        )
    orders = draw(st.lists(st.sampled_from(["target", "limit", "cease"]), max_size=3))
    made = []
    for i, kind in enumerate(orders):
        ends = sorted((draw(watts | huge), draw(watts | huge)))
        low_w, high_w = (ends[0], ends[0]) if kind == "target" else ends
        made.append(
            Order(
                name=f"o{i}",
                source="test",
                kind=kind,
                domain=draw(st.sampled_from(["battery", "poi"])),
                low_w=low_w,
                high_w=high_w,
                starts_ms=0,
                expires_ms=200_000,
            )
        )
    has_meter = any(r.device == "meter" for r in readings)
    return Snapshot(
        now_ms=100_000,
        utc_ms=0,
        readings=tuple(readings),
        missing=tuple(missing),
        orders=tuple(made),
        poi_battery_w=draw(st.none() | watts | huge) if has_meter else None,
        program=draw(st.sampled_from(["", "hold", "self_consumption"])),
        utility_silent=draw(st.booleans()),
    )


any_state = st.builds(
    State,
    decided_ms=st.none() | st.integers(0, 100_000),
    target_w=st.none() | watts,
    moved_ms=st.integers(0, 100_000),
    net_load_w=st.none() | watts,
    net_load_sampled_ms=st.integers(0, 100_000),
    balance_w=st.none() | watts,
)


@settings(max_examples=300, deadline=None)
@given(any_snapshot(), any_state, st.none() | st.integers(1, 10_000))
def test_whatever_is_seen_the_target_is_inside_and_the_shares_add_up(
    snapshot: Snapshot, state: State, rate_w_per_s: int | None
) -> None:
    site = a_site(2, ramp=Ramp(rate_w_per_s=rate_w_per_s))
    after, decision = step(site, state, snapshot)
    assert -20_000 <= decision.low.value_w <= decision.target_w <= decision.high.value_w <= 20_000
    assert sum(part.power_w for part in decision.shares) == decision.target_w
    assert all(abs(part.power_w) <= 10_000 for part in decision.shares)
    assert step(site, state, snapshot) == (after, decision), "the same input gives the same decision"
    readings = {r.device: r for r in snapshot.readings}
    for command in decision.commands:
        battery, inverter = readings.get(command.device.replace("inverter", "battery")), readings.get(command.device)
        if not isinstance(battery, Battery) or not isinstance(inverter, Inverter) or battery.alarms:
            assert command.power_w == 0
        else:
            most_ma = battery.discharge_max_ma if command.power_w > 0 else battery.charge_max_ma
            if command.power_w:
                assert most_ma is not None
                assert battery.voltage_mv is not None
                assert abs(command.power_w) * 1_000_000 <= most_ma * battery.voltage_mv


@settings(max_examples=300, deadline=None)
@given(any_snapshot(), any_state, st.randoms(use_true_random=False))
def test_losing_a_measurement_never_widens_what_the_site_may_do(
    snapshot: Snapshot, state: State, choice: random.Random
) -> None:
    """Orders are left out: they lapse by their own expiry. A forced power may fall back to 0 W, never beyond."""
    snapshot = msgspec.structs.replace(snapshot, orders=())
    if not snapshot.readings:
        return
    gone = choice.choice(snapshot.readings)
    less = msgspec.structs.replace(
        snapshot,
        readings=tuple(r for r in snapshot.readings if r is not gone),
        missing=(*snapshot.missing, Missing(device=gone.device, age_ms=9000)),
        poi_battery_w=None if not gone.device.startswith("battery") else snapshot.poi_battery_w,
    )
    heard_w = sum(r.power_w or 0 for r in snapshot.readings if isinstance(r, Inverter))
    load_w = heard_w if snapshot.poi_battery_w is None else snapshot.poi_battery_w
    meter = next((r.power_w for r in snapshot.readings if isinstance(r, Meter)), 0)
    site = a_site(2)
    if not -site.poi.generation_max_w <= load_w - meter <= site.poi.load_max_w:
        return  # beyond what the site file declares admissible
    if state.net_load_w is not None and not -site.poi.generation_max_w <= state.net_load_w <= site.poi.load_max_w:
        return
    wide, narrow = step(site, state, snapshot)[1], step(site, state, less)[1]
    assert narrow.high.value_w <= max(0, wide.high.value_w)
    assert narrow.low.value_w >= min(0, wide.low.value_w)


@pytest.mark.parametrize("default", [Default(power_w=50_000), Default(power_w=-50_000)])
def test_a_default_beyond_the_envelope_is_cut_like_any_wish(default: Default) -> None:
    decision = decide(all_fresh(load_w=0), a_site(utility=Utility(default=default)))
    assert decision.target_w == (5900 if default.power_w == 50_000 else -10_000)


# -- what the units are told, and what is remembered of it -------------------------------------------------------------


def a_bench(site: Site, *powers_w: int | None, now_ms: int = 100_000, **changes: object) -> Snapshot:
    """Return a snapshot of healthy units of 60 % at these powers, no load behind the meter; more battery fields may be
    told as b1={...}, of inverters as i1={...}."""
    told = [a_meter(sum(power_w or 0 for power_w in powers_w), now_ms)]
    for n, power_w in enumerate(powers_w, 1):
        inverter, battery = changes.pop(f"i{n}", {}), changes.pop(f"b{n}", {})
        told.append(an_inverter(power_w, n, now_ms, **inverter))  # type: ignore[arg-type]
        told.append(a_battery(n=n, at_ms=now_ms, **battery))  # type: ignore[arg-type]
    return a_snapshot(*told, now_ms=now_ms, **changes)  # type: ignore[arg-type]


def reactive(asked_var: int, starts_ms: int = 0) -> Order:
    return msgspec.structs.replace(a_target(0), name="q", kind="reactive", reactive_var=asked_var, starts_ms=starts_ms)


def with_unit(site: Site, n: int = 1, **changes: object) -> Site:
    rows = list(site.unit)
    rows[n - 1] = msgspec.structs.replace(rows[n - 1], **changes)
    return msgspec.structs.replace(site, unit=tuple(rows))


def test_at_the_start_a_ramp_begins_at_exactly_what_the_inverters_tell() -> None:
    site = a_site(3, ramp=Ramp(rate_w_per_s=10_000))
    snapshot = a_bench(site, 1500, None, 500, orders=(a_target(6000),))
    state, decision = step(site, State(), snapshot)
    assert (decision.target_w, state.ramp_rest_mw) == (2000, 0)
    assert step(site, State(target_w=0), snapshot)[1].target_w == 2000
    later = msgspec.structs.replace(snapshot, now_ms=snapshot.now_ms + 1)
    assert step(site, state, later)[1].target_w == 2010


def test_a_ramp_leaves_over_what_is_less_than_a_watt_and_goes_on_with_it() -> None:
    site = a_site(ramp=Ramp(rate_w_per_s=1500))
    state, decision = step(site, State(target_w=0, decided_ms=99_999), all_fresh(orders=(a_target(5000),)))
    assert (decision.target_w, state.ramp_rest_mw) == (1, 500)
    later = all_fresh(orders=(a_target(5000),), now_ms=100_001)
    assert step(site, state, later)[1].target_w == 3


def test_a_load_that_is_not_known_now_is_not_told() -> None:
    state = State(net_load_w=3000, net_load_sampled_ms=99_000)
    assert decide(a_snapshot(an_inverter(), a_battery()), state=state).net_load_w is None
    assert decide(all_fresh(load_w=3000), state=state).net_load_w == 3000


def test_the_energy_is_told_only_where_that_of_every_unit_is_known() -> None:
    site = a_site(2)
    assert decide(a_bench(site, 0, 0), site).stored_wh == 30_000
    decision = decide(a_bench(site, 0, 0, b2={"soc_bp": None}), site)
    assert (decision.stored_wh, decision.sellable_wh) == (None, None)


def test_each_share_tells_its_units_interval_and_phase() -> None:
    site = a_site(2)
    snapshot = a_bench(site, 0, 0, b1={"charge_max_ma": 100_000}, i2={"state": "starting"}, orders=(a_target(900),))
    one, two = decide(snapshot, site).shares
    assert (one.low_w, one.high_w, one.power_w, one.phase) == (-5200, 10_000, 900, "run")
    assert (two.low_w, two.high_w, two.power_w, two.phase) == (0, 0, 0, "standby")
    fuller = decide(a_bench(site, 0, 0, b1={"soc_bp": 3000}), site).shares[0]
    assert (fuller.low_w, fuller.high_w) == (-10_000, 0), "after the weakest of its rules"


@pytest.mark.parametrize(
    ("power_w", "moved_ms"),
    [(2100, 50_000), (2101, 100_000), (1900, 50_000), (1899, 100_000), (2000, 50_000)],
)
def test_a_unit_has_moved_once_its_power_changed_by_more_than_a_hundredth_of_its_nameplate(
    power_w: int, moved_ms: int
) -> None:
    before = State(
        decided_ms=99_000,
        target_w=2000,
        moved_ms=50_000,
        shares=(Share(unit="unit1", low_w=-10_000, high_w=10_000, power_w=2000, moved_ms=50_000),),
    )
    after, _ = step(a_site(), before, all_fresh(orders=(a_target(power_w),)))
    assert (after.shares[0].power_w, after.shares[0].moved_ms) == (power_w, moved_ms)
    again, _ = step(a_site(), after, all_fresh(orders=(a_target(power_w),), now_ms=101_000))
    assert again.shares[0] is after.shares[0], "as it was"
    assert again.moved_ms == after.moved_ms


def test_a_unit_that_had_no_share_has_moved_with_its_first_one() -> None:
    after, _ = step(a_site(), State(target_w=0, decided_ms=99_000), all_fresh())
    assert after.shares[0].moved_ms == 100_000


@pytest.mark.parametrize(
    "changes",
    [
        {"low_w": -9999},
        {"high_w": 9999},
        {"phase": "standby"},
        {"reactive_var": 5},
        {"low_w": -9999, "high_w": 9999, "phase": "standby"},
    ],
)
def test_a_share_is_told_anew_wherever_any_of_it_changed_and_a_unit_moves_by_its_power_alone(
    changes: dict[str, object],
) -> None:
    share_now = Share(unit="unit1", low_w=-10_000, high_w=10_000, power_w=2000, moved_ms=50_000)
    old = msgspec.structs.replace(share_now, **changes)
    before = State(decided_ms=99_000, target_w=2000, moved_ms=50_000, shares=(old,))
    assert step(a_site(), before, all_fresh(orders=(a_target(2000),)))[0].shares == (share_now,)


def test_a_move_of_several_units_counts_by_their_nameplates_together() -> None:
    site = with_unit(a_site(2), 2, charge_max_w=20_000, discharge_max_w=4000)
    for target_w, moves in ((300, False), (301, True)):
        before = State(target_w=0, decided_ms=99_000, moved_ms=50_000)
        after, _ = step(site, before, a_bench(site, 0, 0, orders=(a_target(target_w),)))
        assert after.moved_ms == (100_000 if moves else 50_000)


@pytest.mark.parametrize(
    ("target_w", "powers_w"),
    [(1, [-1000, -1999]), (0, [-1000, -2000]), (-1, [-2001, -1000])],
)
def test_units_are_weighed_by_what_they_hold_and_below_0_w_by_what_they_have_room_for(
    target_w: int, powers_w: list[int]
) -> None:
    """The first unit is left to itself at 3 kW, and the others make up for it; they hold 1/3 and 2/3 of their sum."""
    site = a_site(3)
    notice = Notice(fault="inverter_unruly", device="inverter1")
    snapshot = a_bench(
        site,
        3000,
        0,
        0,
        b2={"soc_bp": 3333},
        b3={"soc_bp": 6667},
        notices=(notice,),
        orders=(a_target(target_w),),
    )
    decision = decide(snapshot, site)
    assert decision.target_w == target_w
    assert [abs(part.power_w - power_w) <= 1 for part, power_w in zip(decision.shares[1:], powers_w, strict=True)] == [
        True,
        True,
    ]


@pytest.mark.parametrize("asked_w", [9000, -9000])
def test_a_unit_of_unknown_energy_and_one_at_its_end_leave_it_to_the_others(asked_w: int) -> None:
    site = a_site(4, energy=Energy(floor_pct=0, reserve_pct=0, ceiling_pct=100, soc_error_pct=0))
    end_bp = 0 if asked_w > 0 else 10_000
    snapshot = a_bench(
        site,
        0,
        0,
        0,
        0,
        b1={"soc_bp": None},
        b2={"soc_bp": end_bp},
        b3={"discharge_max_ma": 20_000, "charge_max_ma": 20_000},
        orders=(a_target(asked_w),),
    )
    powers_w = [part.power_w for part in decide(snapshot, site).shares]
    way = 1 if asked_w > 0 else -1
    weakest_w = 20 * 52 * 90 // 100 if way > 0 else 20 * 52
    assert [way * power_w for power_w in powers_w] == [0, 0, weakest_w, 9000 - weakest_w]


def test_a_site_that_must_charge_beyond_the_ceiling_does_so_within_its_equipment() -> None:
    """9 kW of generation, of which 6 kW may go out; both batteries are full, and one takes 20 A at most."""
    site = a_site(2, poi=msgspec.structs.replace(a_site().poi, generation_max_w=10_000))
    snapshot = a_bench(site, 0, 0, b1={"soc_bp": 9500, "charge_max_ma": 20_000}, b2={"soc_bp": 9500})
    readings = (a_meter(9000), *snapshot.readings[1:])
    decision = decide(msgspec.structs.replace(snapshot, readings=readings), site)
    assert decision.target_w == -3100
    assert [part.power_w for part in decision.shares] == [-1040, -2060]


def test_a_least_power_that_the_energy_rules_do_not_leave_is_not_taken() -> None:
    site = with_unit(a_site(), min_power_w=6000)
    full = all_fresh(orders=(a_target(-9000),))
    assert decide(full, site).target_w == -9000
    barred = msgspec.structs.replace(full, readings=(*full.readings[:2], a_battery(9233)))
    decision = decide(barred, site)
    assert -6000 < decision.low.value_w < 0
    assert decision.target_w == 0
    assert [(one.rule, one.by_w) for one in decision.unmet if one.rule == "min_power"] == [
        ("min_power", -decision.low.value_w)
    ]
    assert decision.why == "min_power"
    assert decision.unmet[-1].because.endswith("; the units are bound by energy_barrier")
    low = msgspec.structs.replace(full, readings=(*full.readings[:2], a_battery(3274)), orders=(a_target(9000),))
    decision = decide(low, with_unit(a_site(), min_power_w=5000))
    assert 4000 < decision.high.value_w < 5000
    assert (decision.target_w, decision.why) == (0, "min_power")


def test_where_one_unit_has_a_least_power_the_others_do_what_is_less() -> None:
    site = with_unit(a_site(2), 1, min_power_w=1000)
    decision = decide(a_bench(site, 0, 0, orders=(a_target(500),)), site)
    assert [part.power_w for part in decision.shares] == [0, 500]


def test_a_cut_of_a_ramp_that_leads_elsewhere_names_the_limit_that_cut_it() -> None:
    """From 8 kW it would go to 7.9 kW on the way to -5 kW, but no more than 20 A may flow."""
    site = a_site(ramp=Ramp(rate_w_per_s=100))
    snapshot = a_bench(site, 8000, b1={"discharge_max_ma": 20_000}, orders=(a_target(-5000),))
    decision = step(site, State(target_w=8000, decided_ms=99_000), snapshot)[1]
    assert (decision.target_w, decision.why, decision.low.rule) == (936, "bms_current(unit1)", "nameplate")


def test_what_least_powers_leave_out_is_told_by_how_far_it_was_missed() -> None:
    """Units of 6 to 10 kW give up to 10 kW, or 12 kW and more."""
    site = with_unit(with_unit(a_site(2), 1, min_power_w=6000), 2, min_power_w=6000)
    decision = decide(a_bench(site, 0, 0, orders=(a_target(10_500),)), site)
    assert decision.target_w == 10_000
    assert [(one.rule, one.asked_w, one.by_w) for one in decision.unmet] == [("min_power", 10_500, 500)]


def test_units_that_all_come_to_rest_are_remembered_as_resting() -> None:
    site = a_site(2, commitment=Commitment(rest_units=True, dwell_s=0))
    state, _ = step(site, State(), a_bench(site, 0, 0, orders=(a_target(0),)))
    assert [(known.committed, known.committed_ms) for known in state.units] == [(False, 100_000)] * 2


@pytest.mark.parametrize(("asked_w", "runs"), [(2000, (True, False)), (-2000, (False, True)), (-1, (False, True))])
def test_as_few_units_run_as_are_needed_and_those_with_more_usable_energy(
    asked_w: int, runs: tuple[bool, bool]
) -> None:
    site = a_site(2, commitment=Commitment(rest_units=True, dwell_s=0))
    snapshot = a_bench(site, 0, 0, b1={"soc_bp": 8000}, b2={"soc_bp": 4000}, orders=(a_target(asked_w),))
    state, decision = step(site, State(), snapshot)
    assert tuple(part.power_w != 0 for part in decision.shares) == runs
    assert tuple(known.committed for known in state.units) == runs
    assert tuple(known.committed_ms for known in state.units) == tuple(0 if run else 100_000 for run in runs)
    later = msgspec.structs.replace(snapshot, now_ms=101_000)
    assert step(site, state, later)[0].units == state.units, "since when it runs or rests does not change with time"
    back = msgspec.structs.replace(later, orders=(a_target(9500 if asked_w < 0 else -9500),))
    turned = step(site, state, back)[0].units
    assert all(known.committed_ms == 101_000 or known == old for known, old in zip(turned, state.units, strict=True))
    assert [known.committed for known in turned] != [known.committed for known in state.units]


def test_a_unit_that_began_to_run_goes_on_for_its_dwell() -> None:
    site = a_site(2, commitment=Commitment(rest_units=True, dwell_s=60))
    state, _ = step(site, State(), a_bench(site, 0, 0, orders=(a_target(12_000),)))
    assert [known.committed for known in state.units] == [True, True]
    state = msgspec.structs.replace(
        state, units=tuple(msgspec.structs.replace(known, committed_ms=90_000) for known in state.units)
    )
    for now_ms, running in ((149_999, [True, True]), (150_000, [True, False])):
        snapshot = a_bench(site, 0, 0, now_ms=now_ms, orders=(a_target(1000),))
        assert [part.power_w != 0 for part in step(site, state, snapshot)[1].shares] == running


# -- reactive power and commands --------------------------------------------------------------------------------------


def test_reactive_power_is_shared_inside_the_circles_of_the_units_that_run() -> None:
    """A circle of 5 kVA leaves 3 kvar beside 4 kW; the lesser of what the site file and the inverter tell counts."""
    site = with_unit(with_unit(a_site(3), 1, apparent_max_va=5000), 2, apparent_max_va=9000)
    snapshot = a_bench(
        site,
        0,
        0,
        0,
        i1={"apparent_max_va": 9000},
        i2={"apparent_max_va": 5000},
        i3={"state": "starting", "apparent_max_va": 5000},
        orders=(a_target(8000), reactive(9000)),
    )
    decision = decide(snapshot, site)
    assert [(part.power_w, part.reactive_var) for part in decision.shares] == [(4000, 3000), (4000, 3000), (0, 0)]
    assert decision.reactive_var == 6000
    assert [command.reactive_var for command in decision.commands] == [3000, 3000, 0]


def test_the_latest_order_for_reactive_power_counts_and_without_one_it_is_the_inverters_own_business() -> None:
    site = with_unit(a_site(), apparent_max_va=5000)
    asked = decide(all_fresh(orders=(reactive(700, 5), reactive(-900, 9), a_target(4000))), site)
    assert (asked.reactive_var, asked.shares[0].reactive_var, asked.commands[0].reactive_var) == (-900, -900, -900)
    assert asked.target_w == 4000
    free = decide(all_fresh(orders=(a_target(4000),)), site)
    assert (free.reactive_var, free.shares[0].reactive_var, free.commands[0].reactive_var) == (None, 0, None)
    none = decide(all_fresh(orders=(reactive(0), a_target(4000))), site)
    assert (none.reactive_var, none.commands[0].reactive_var) == (0, 0)


def test_where_nobody_tells_an_apparent_power_there_is_no_reactive_power() -> None:
    assert decide(all_fresh(orders=(reactive(700),))).reactive_var == 0


@pytest.mark.parametrize(
    ("inverter", "battery", "phase", "running"),
    [
        ({}, {}, "run", True),
        ({"state": "starting"}, {}, "standby", True),
        ({}, {"warnings": ("cold",)}, "off", False),  # it may not start, and no fault stops it
        ({}, {"alarms": ("hot",)}, "off", False),
        ({}, {"contactor_closed": False}, "off", False),
    ],
)
def test_an_inverter_is_to_run_once_its_battery_is_there(
    inverter: dict[str, object], battery: dict[str, object], phase: str, running: bool
) -> None:
    site = with_unit(a_site(), apparent_max_va=5000)
    snapshot = a_bench(site, 0, i1=inverter, b1=battery, orders=(reactive(700),))
    decision = decide(snapshot, site)
    command = decision.commands[0]
    assert (decision.shares[0].phase, command.running) == (phase, running)
    assert command.reactive_var == ((700 if phase == "run" else 0) if running else None)


@pytest.mark.parametrize(("watchdog_s", "valid_ms"), [(None, 1000), (1, 1000), (7, 7000)])
def test_a_command_is_valid_for_as_long_as_its_inverters_watchdog(watchdog_s: int | None, valid_ms: int) -> None:
    assert decide(all_fresh(), with_unit(a_site(), watchdog_s=watchdog_s)).commands[0].valid_ms == valid_ms
