"""Whether the POI meter is believed: what it shows of our own moves, and whether the balance hunts after it."""

import random
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given, settings

from controller.engine import step, trust
from controller.model import Default, Meter, Order, Rest, Share, Snapshot, State, Trust, Utility
from tests.test_engine import any_snapshot, any_state
from tests.words import a_battery, a_meter, a_site, a_snapshot, a_target, all_fresh, an_inverter, let_out

SITE = a_site()  # 10 kW, settles in 1 s, load 0 to 11 kW, generation up to 5 kW
BALANCING = a_site(utility=Utility(default=Default(program="self_consumption")))
SAMPLE_MS = 200
DOUBT_MS = 60_000

Course = Callable[[int], int]  # from ms to W


def steps_of(every_ms: int, *powers_w: int) -> Course:
    """Return powers that follow one another and begin anew."""
    return lambda t_ms: powers_w[t_ms // every_ms % len(powers_w)]


def sound(poi_w: Course) -> Course:
    return poi_w


def frozen(poi_w: Course) -> Course:
    return lambda t_ms: poi_w(min(t_ms, 5_000))


def reversed_(poi_w: Course) -> Course:
    return lambda t_ms: -poi_w(t_ms)


def late(poi_w: Course) -> Course:
    return lambda t_ms: poi_w(max(0, t_ms - 5_000))


def doubts_ms(
    power_w: Course,
    load_w: Course,
    meter: Callable[[Course], Course] = sound,
    *,
    length_ms: int = 120_000,
    every_ms: int = SAMPLE_MS,
    inverter_late_ms: int = 0,
) -> list[int]:
    """Return when a meter under a utility's orders was doubted (anew), in ms since the start.

    power_w: what the batteries do; the inverter tells it inverter_late_ms later.
    """
    shown_w = meter(lambda t_ms: power_w(t_ms) - load_w(t_ms))
    state, found = State(), []
    for t_ms in range(0, length_ms, every_ms):
        told_w = power_w(max(0, t_ms - inverter_late_ms))
        snapshot = a_snapshot(
            a_meter(shown_w(t_ms), t_ms), an_inverter(told_w, at_ms=t_ms), now_ms=t_ms, orders=(a_target(told_w),)
        )
        seen = trust.look(SITE, state, snapshot, {reading.device: reading for reading in snapshot.readings})
        if seen.until_ms != state.trust.until_ms:
            assert seen.until_ms == t_ms + DOUBT_MS
            found.append(t_ms)
        state = msgspec.structs.replace(state, trust=seen)
    return found


# -- while the utility sets the power -----------------------------------------------------------------------------


def steady(t_ms: int) -> int:
    return 4000


@pytest.mark.parametrize("meter", [frozen, reversed_, late])
def test_a_meter_is_doubted_once_the_second_move_was_not_shown_and_then_after_each(
    meter: Callable[[Course], Course],
) -> None:
    """Moves of 3 kW at 10 s, 20 s, 30 s ...; each is judged 1 s after its power has arrived."""
    asked = steps_of(10_000, 4000, 1000)
    assert doubts_ms(asked, steady, meter, length_ms=45_000) == [21_000, 31_000, 41_000]


def test_a_meter_that_is_sound_again_is_doubted_no_more_and_needs_two_misses_anew() -> None:
    def for_a_while(poi_w: Course) -> Course:
        return lambda t_ms: poi_w(5_000) if t_ms < 25_000 or 45_000 <= t_ms < 55_000 else poi_w(t_ms)

    assert doubts_ms(steps_of(10_000, 4000, 1000), steady, for_a_while, length_ms=100_000) == [21_000]


def test_a_reversed_meter_that_leaves_no_load_of_this_site_is_doubted_at_once() -> None:
    """4 kW of load and 6 kW of charging are shown as an export of 10 kW: 16 kW of generation where 5 kW is the most."""
    assert doubts_ms(steps_of(10_000, 4000, -6000), steady, reversed_, length_ms=15_000) == [11_000]


@pytest.mark.parametrize(("move_w", "found_ms"), [(999, []), (1000, [21_000])])
def test_a_move_counts_from_a_tenth_of_the_nameplate_on(move_w: int, found_ms: list[int]) -> None:
    assert doubts_ms(steps_of(10_000, 0, move_w), steady, frozen, length_ms=25_000) == found_ms


@pytest.mark.parametrize(("shown_w", "found_ms"), [(1199, [21_000]), (1200, [])])
def test_two_fifths_of_a_move_have_to_be_shown(shown_w: int, found_ms: list[int]) -> None:
    def weak(poi_w: Course) -> Course:
        return lambda t_ms: steps_of(10_000, 0, shown_w)(t_ms) - 4000

    assert doubts_ms(steps_of(10_000, 0, 3000), steady, weak, length_ms=25_000) == found_ms


def noisy(load_w: Course) -> Course:
    """Return the load with noise of up to 300 W; the same at the same time."""
    return lambda t_ms: load_w(t_ms) + random.Random(t_ms).randint(-300, 300)


def ramp(t_ms: int) -> int:
    """Return 100 W/s up for 50 s and down again."""
    return abs(t_ms % 100_000 - 50_000) // 10


def regulation(t_ms: int) -> int:
    """Return a step every 4 s to anywhere."""
    return random.Random(t_ms // 4_000).randint(-8_000, 8_000)


def tripped(t_ms: int) -> int:
    """Return 6 kW that end by themselves, as after a trip or by the watchdog, and come back."""
    return 0 if t_ms % 30_000 >= 12_300 else 6_000


TEN = steps_of(10_000, 4000, 1000)
SOUND: list[tuple[str, Course, Course]] = [
    ("moves", TEN, steady),
    ("one load step along with a move", TEN, lambda t_ms: 2000 if t_ms < 10_000 else 500),
    ("load steps against each move", TEN, steps_of(10_000, 500, 4500)),
    ("load steps between the moves", TEN, lambda t_ms: steps_of(10_000, 500, 6500)(t_ms + 5_000)),
    ("load cycles of 9 s", TEN, steps_of(4_500, 500, 6500)),
    ("the inverter moves by itself", tripped, noisy(steady)),
    ("slow ramps of the power", ramp, noisy(steady)),
    ("slow ramps of power and load", ramp, ramp),
    ("regulation under a noisy load", regulation, noisy(steady)),
]


@pytest.mark.parametrize(("power_w", "load_w"), [row[1:] for row in SOUND], ids=[row[0] for row in SOUND])
@pytest.mark.parametrize(
    ("every_ms", "inverter_late_ms"), [(200, 0), (200, 900), (2_000, 0)], ids=["fast", "inverter late", "meter slow"]
)
def test_a_sound_meter_is_never_doubted(power_w: Course, load_w: Course, every_ms: int, inverter_late_ms: int) -> None:
    found = doubts_ms(power_w, load_w, length_ms=400_000, every_ms=every_ms, inverter_late_ms=inverter_late_ms)
    assert found == []


def test_what_is_not_seen_begins_anew() -> None:
    rest = Rest(power_w=0, since_ms=0, low_w=0, high_w=0, compared=True)
    state = State(trust=Trust(rest=rest, before=rest, missed=1))
    unseen = all_fresh(orders=(a_target(0),), poi_battery_w=None)
    assert trust.look(SITE, state, unseen, {"meter": a_meter()}) == Trust(missed=1)
    assert trust.look(SITE, state, all_fresh(orders=(a_target(0),)), {}) == Trust(missed=1)


# -- while the site balances its own load -------------------------------------------------------------------------


def balanced(
    load_w: Course, meter: Callable[[Course], Course] = sound, *, length_ms: int, large: bool = False
) -> tuple[list[int], list[int]]:
    """Play the whole step with an inverter that follows after 400 ms. Return when it doubted, and its powers.

    large: on a site with 30 kW of load and of generation.
    """
    poi = msgspec.structs.replace(BALANCING.poi, import_max_w=50_000, export_max_w=50_000)
    if large:
        poi = msgspec.structs.replace(poi, load_max_w=30_000, generation_max_w=30_000)
    site = msgspec.structs.replace(BALANCING, poi=poi)
    state, found, powers_w, targets_w = State(), list[int](), list[int](), [0, 0, 0]
    shown_w = meter(lambda t_ms: powers_w[t_ms // SAMPLE_MS] - load_w(t_ms))
    for t_ms in range(0, length_ms, SAMPLE_MS):
        powers_w.append(targets_w[-3])
        snapshot = a_snapshot(
            a_meter(shown_w(t_ms), t_ms), an_inverter(powers_w[-1], at_ms=t_ms), a_battery(at_ms=t_ms), now_ms=t_ms
        )
        after, decision = step(site, state, snapshot)
        if after.trust.until_ms != state.trust.until_ms:
            found.append(t_ms)
        assert ("meter_not_following" in {f.fault for f in decision.faults}) is (t_ms < after.trust.until_ms)
        state = after
        targets_w.append(decision.target_w)
    return found, powers_w


@pytest.mark.parametrize(
    "load_w",
    [
        steps_of(10_000, 500, 2500),
        steps_of(10_000, 500, 4500),
        steps_of(4_500, 500, 6500),
        steps_of(10_000, -4500, 9000),
        noisy(ramp),
        noisy(steps_of(7_000, 500, 4000, 8000)),
    ],
    ids=["2 kW", "4 kW", "a hob of 6 kW", "clouds", "slow ramps", "stairs"],
)
def test_balancing_a_load_that_goes_on_and_off_is_no_hunting(load_w: Course) -> None:
    found, powers_w = balanced(load_w, length_ms=300_000)
    assert found == []
    assert max(powers_w) - min(powers_w) >= 1900, "and the batteries did follow it"


def test_growing_swings_after_a_late_meter_end_by_the_third_turn() -> None:
    """No load is too large for this site, so that only the turns tell."""
    found, powers_w = balanced(steps_of(30_000, 2000, 5000), late, length_ms=100_000, large=True)
    assert found
    turns = turns_of(powers_w[: found[0] // SAMPLE_MS])
    assert 2 <= turns <= 3
    assert powers_w[found[0] // SAMPLE_MS + 10 :][:250] == [0] * 250, "at rest for the minute"


def turns_of(powers_w: Sequence[int]) -> int:
    """Return how often the power turned back by 3 kW or more."""
    turns, heading, far_w = 0, 0, powers_w[0]
    for power_w in powers_w:
        if heading and (power_w - far_w) * heading > 0:
            far_w = power_w
        elif abs(power_w - far_w) >= 3000:
            turns += heading != 0
            heading, far_w = (1 if power_w > far_w else -1), power_w
    return turns


@pytest.mark.parametrize("meter", [late, reversed_])
def test_a_swing_to_what_is_no_load_of_this_site_ends_at_once(meter: Callable[[Course], Course]) -> None:
    found, powers_w = balanced(lambda t_ms: 500 if t_ms < 20_000 else 5000, meter, length_ms=40_000)
    assert found
    assert turns_of(powers_w[: found[0] // SAMPLE_MS]) <= 1
    assert powers_w[-1] == 0


# -- what a doubt does --------------------------------------------------------------------------------------------


def test_state_of_doubt_survives_its_record() -> None:
    rest = Rest(power_w=-3000, since_ms=11, low_w=-12, high_w=13, compared=True)
    before = Rest(power_w=14, since_ms=15, low_w=16, high_w=17)
    full = Trust(
        rest=rest,
        before=before,
        missed=1,
        turn_w=18,
        heading=-1,
        unshown=True,
        turned_ms=(19, 20),
        until_ms=21,
        opposed_ms=(22,),
    )
    assert all(getattr(full, name) != getattr(Trust(), name) for name in Trust.__struct_fields__)
    state = State(trust=full)
    assert msgspec.json.decode(msgspec.json.encode(state), type=State) == state
    assert msgspec.json.decode(msgspec.json.encode(State()), type=State) == State()


@settings(max_examples=300, deadline=None)
@given(any_snapshot(), any_state)
def test_a_doubt_never_widens_what_the_site_may_do(snapshot: Snapshot, state: State) -> None:
    """Within what the site file admits, and with no order: a forced power may fall back to 0 W, never beyond."""
    snapshot = msgspec.structs.replace(snapshot, orders=())
    site = a_site(2)
    meter = next((r for r in snapshot.readings if isinstance(r, Meter)), None)
    load_w = 0 if meter is None or snapshot.poi_battery_w is None else snapshot.poi_battery_w - meter.power_w
    loads_w = [load_w, state.net_load_w or 0]
    if not all(-site.poi.generation_max_w <= one_w <= site.poi.load_max_w for one_w in loads_w):
        return
    doubting = msgspec.structs.replace(state, trust=Trust(until_ms=snapshot.now_ms + 1))
    wide, narrow = step(site, state, snapshot)[1], step(site, doubting, snapshot)[1]
    assert narrow.high.value_w <= max(0, wide.high.value_w)
    assert narrow.low.value_w >= min(0, wide.low.value_w)


@pytest.mark.parametrize(("now_ms", "doubted"), [(99_999, True), (100_000, False)])
def test_a_doubt_lasts_until_its_end_and_not_longer(now_ms: int, doubted: bool) -> None:
    snapshot = all_fresh(orders=(a_target(5000),), now_ms=now_ms)
    decision = step(SITE, State(trust=Trust(until_ms=100_000)), snapshot)[1]
    assert decision.target_w == (900 if doubted else 5000), "6000 W of export, 5000 W of generation, 100 W of margin"
    assert [fault.fault for fault in decision.faults] == (["meter_not_following"] if doubted else [])


# -- the gate, which does not know of doubts ----------------------------------------------------------------------

POWERS_W = (-10_000, -3000, 0, 3000, 10_000)


@pytest.mark.parametrize("asked_w", [None, -9000, 9000])
@pytest.mark.parametrize("power_w", POWERS_W)
@pytest.mark.parametrize("shown_w", [-14_000, -12_001, -5000, 0, 5000, 6001, 14_000])
def test_the_gate_lets_pass_what_a_doubt_narrows_to(asked_w: int | None, power_w: int, shown_w: int) -> None:
    """Whatever a meter lies while the batteries run: the way back toward 0 W is never refused."""
    orders: tuple[Order, ...] = () if asked_w is None else (a_target(asked_w),)
    snapshot = a_snapshot(a_meter(shown_w), an_inverter(power_w), a_battery(), orders=orders)
    decision = step(SITE, State(trust=Trust(until_ms=snapshot.now_ms + 1)), snapshot)[1]
    assert abs(decision.target_w) <= 900
    verdicts = let_out(SITE, snapshot, decision.commands)
    assert [verdict.refused for verdict in verdicts] == [""]


# -- one sample at a time ---------------------------------------------------------------------------------------------

NOW_MS = 100_000


def looked(before: Trust, *, power_w: int | None = None, load_w: int = 1000, **state: int | None) -> Trust:
    """Return what speaks against the meter after one sample, or without one; nobody asks unless asked is told."""
    orders = (a_target(0), a_limit_order()) if state.pop("asked", None) else (a_limit_order(),)
    snapshot = a_snapshot(now_ms=NOW_MS, orders=orders)
    if power_w is not None:
        snapshot = a_snapshot(a_meter(power_w - load_w), an_inverter(power_w), now_ms=NOW_MS, orders=orders)
    readings = {reading.device: reading for reading in snapshot.readings}
    return trust.look(SITE, State(trust=before, **state), snapshot, readings)  # type: ignore[arg-type]


def a_limit_order() -> Order:
    return msgspec.structs.replace(a_target(0), name="limit", kind="limit", low_w=-9000, high_w=9000)


T = Trust
U_MS = NOW_MS + DOUBT_MS


@pytest.mark.parametrize(
    ("before", "target_w", "after"),
    [
        (T(), None, T()),
        (T(turn_w=5, heading=1, unshown=True, turned_ms=(7,)), None, T(turned_ms=(7,))),
        (T(), 5000, T(turn_w=5000)),
        (T(turn_w=0, unshown=True), 2999, T(turn_w=0, unshown=True)),
        (T(turn_w=0, unshown=True), 3000, T(turn_w=3000, heading=1)),  # the first way is no turn
        (T(turn_w=0, unshown=True), -2999, T(turn_w=0, unshown=True)),
        (T(turn_w=0, unshown=True), -3000, T(turn_w=-3000, heading=-1)),
        (T(turn_w=3000, heading=1, unshown=True), 3001, T(turn_w=3001, heading=1, unshown=True)),
        (T(turn_w=3000, heading=-1, unshown=True), 2999, T(turn_w=2999, heading=-1, unshown=True)),
        (T(turn_w=5000, heading=1, unshown=True), 2001, T(turn_w=5000, heading=1, unshown=True)),
        (T(turn_w=5000, heading=1, unshown=True), 2000, T(turn_w=2000, heading=-1, turned_ms=(NOW_MS,))),
        (T(turn_w=5000, heading=1), 2000, T(turn_w=2000, heading=-1)),  # what was shown is no hunting
        (T(turn_w=-5000, heading=-1, unshown=True), -2000, T(turn_w=-2000, heading=1, turned_ms=(NOW_MS,))),
        (
            T(turn_w=5000, heading=1, unshown=True, turned_ms=(NOW_MS - 60_000, NOW_MS - 9)),
            0,
            T(turn_w=0, heading=-1, turned_ms=(NOW_MS - 9, NOW_MS)),
        ),
        (
            T(turn_w=5000, heading=1, unshown=True, turned_ms=(NOW_MS - 59_999, NOW_MS - 9)),
            0,
            T(turn_w=0, heading=-1, turned_ms=(U_MS, U_MS), until_ms=U_MS),
        ),
        (
            T(turn_w=5000, heading=1, unshown=True, until_ms=NOW_MS + 1),
            700,
            T(turn_w=700, until_ms=NOW_MS + 1),
        ),
        (
            T(turn_w=5000, heading=1, unshown=True, until_ms=NOW_MS),
            700,
            T(turn_w=700, heading=-1, turned_ms=(NOW_MS,), until_ms=NOW_MS),
        ),
        (
            T(turn_w=5000, heading=1, unshown=True, turned_ms=(NOW_MS, NOW_MS), until_ms=NOW_MS),
            700,
            T(turn_w=700, heading=-1, turned_ms=(U_MS, U_MS), until_ms=U_MS),
        ),
    ],
)
def test_the_target_is_followed_from_turn_to_turn_of_a_third_of_the_nameplate_nearly(
    before: Trust, target_w: int | None, after: Trust
) -> None:
    assert looked(before, target_w=target_w) == after


def rest(power_w: int = 0, low_w: int = 1000, high_w: int = 1000, ago_ms: int = 5000, compared: bool = False) -> Rest:
    return Rest(power_w=power_w, since_ms=NOW_MS - ago_ms, low_w=low_w, high_w=high_w, compared=compared)


@pytest.mark.parametrize(
    ("before", "power_w", "load_w", "now", "then"),
    [
        (T(), 700, 1000, rest(700, ago_ms=0), None),
        (T(rest=rest(compared=True)), 500, 900, rest(0, 900, 1000, compared=True), None),
        (T(rest=rest(compared=True)), -500, 1100, rest(0, 1000, 1100, compared=True), None),
        (T(rest=rest(compared=True)), 501, 1000, rest(501, ago_ms=0), rest(compared=True)),
        (T(rest=rest(compared=True)), -501, 1000, rest(-501, ago_ms=0), rest(compared=True)),
        (T(rest=rest(), before=rest(9)), 501, 1000, rest(501, ago_ms=0), rest(9)),  # it never came to rest
        (T(rest=rest(), before=rest(9)), 0, 1000, rest(compared=True), rest(9)),
    ],
)
@pytest.mark.parametrize("asked", [0, 1])
def test_the_batteries_rest_while_their_power_moves_by_no_more_than_a_twentieth(
    before: Trust, power_w: int, load_w: int, now: Rest, then: Rest | None, asked: int
) -> None:
    after = looked(before, power_w=power_w, load_w=load_w, asked=asked)
    assert (after.rest, after.before, after.missed, after.until_ms) == (now, then, 0, 0)


@pytest.mark.parametrize(
    ("asked", "since_ago_ms", "moved_ago_ms", "settled"),
    [
        (1, 1000, 0, True),  # after an order the settling time counts from the power's arrival
        (1, 999, 9000, False),
        (0, 0, 1000, True),  # while balancing from our own move, and not before the power has arrived
        (0, 5000, 999, False),
        (0, 500, 5000, True),
        (0, -1, 5000, False),
    ],
)
def test_a_move_is_compared_once_it_has_settled(
    asked: int, since_ago_ms: int, moved_ago_ms: int, settled: bool
) -> None:
    before = T(rest=rest(ago_ms=since_ago_ms))
    after = looked(before, power_w=0, moved_ms=NOW_MS - moved_ago_ms, asked=asked)
    assert after.rest is not None
    assert after.rest.compared is settled


def test_the_slowest_unit_and_the_larger_nameplate_of_each_count() -> None:
    one, two, three = a_site(3).unit
    site = msgspec.structs.replace(
        a_site(3),
        unit=(
            msgspec.structs.replace(one, discharge_max_w=2000),
            msgspec.structs.replace(two, settle_ms=4000),
            msgspec.structs.replace(three, settle_ms=None),
        ),
    )
    for ago_ms, power_w, same, compared in (
        (4000, 1500, True, True),
        (3999, 1500, True, False),
        (4000, 1501, False, False),
    ):
        snapshot = a_snapshot(a_meter(power_w), an_inverter(power_w), orders=(a_target(0),))
        readings = {reading.device: reading for reading in snapshot.readings}
        found = trust.look(site, State(trust=T(rest=rest(ago_ms=ago_ms))), snapshot, readings).rest
        assert found is not None
        assert (found.power_w == 0, found.compared) == (same, compared)


def test_a_unit_that_settles_at_once_is_compared_at_once() -> None:
    site = msgspec.structs.replace(SITE, unit=(msgspec.structs.replace(SITE.unit[0], settle_ms=None),))
    snapshot = a_snapshot(a_meter(), an_inverter(), orders=(a_target(0),))
    readings = {reading.device: reading for reading in snapshot.readings}
    found = trust.look(site, State(trust=T(rest=rest(ago_ms=0))), snapshot, readings).rest
    assert found == rest(0, 0, 1000, ago_ms=0, compared=True)


@pytest.mark.parametrize(
    ("power_w", "load_w", "shown"),
    [
        (999, 9000, None),
        (1000, 1801, False),
        (1000, 1800, True),
        (2000, 2400, True),
        (2000, 2401, False),
        (2000, -4000, True),  # the load went the other way
        (-1000, 400, True),
        (-1000, 399, False),
        (-2000, -200, True),
        (-2000, -201, False),
        (-2000, 9000, True),
    ],
)
def test_a_move_is_shown_unless_the_load_seems_to_go_along_by_more_than_three_fifths(
    power_w: int, load_w: int, shown: bool | None
) -> None:
    """The load before the move was 1000 to 1200 W; the nearest of it counts."""
    before = T(rest=rest(power_w), before=rest(0, 1000, 1200, compared=True), missed=0)
    for missed in (0, 1):
        known = msgspec.structs.replace(
            before, missed=missed, turn_w=1, heading=1, unshown=True, turned_ms=(NOW_MS - 1,)
        )
        after = looked(known, power_w=power_w, load_w=load_w, asked=1)
        expected = missed if shown is None else 0 if shown else 1
        assert (after.missed, after.until_ms) == (expected, U_MS if shown is False and missed else 0)
        assert (after.turn_w, after.heading, after.unshown, after.turned_ms) == (None, 0, False, ())
    for unshown in (False, True):
        after = looked(
            msgspec.structs.replace(before, unshown=unshown, turn_w=0), power_w=power_w, load_w=load_w, target_w=0
        )
        assert (after.unshown, after.until_ms) == (unshown or shown is False, 0)


@pytest.mark.parametrize(
    ("power_w", "load_w", "doubted"),
    [
        (2000, 11_000, False),
        (2000, 11_001, True),
        (-2000, -5000, False),
        (-2000, -5001, True),
        (-2000, 11_001, False),  # it showed the move
    ],
)
@pytest.mark.parametrize("asked", [0, 1])
def test_one_move_that_leaves_a_load_beyond_the_site_file_is_enough(
    power_w: int, load_w: int, doubted: bool, asked: int
) -> None:
    before = T(rest=rest(power_w), before=rest(compared=True))
    after = looked(before, power_w=power_w, load_w=load_w, asked=asked, target_w=0)
    assert after.until_ms == (U_MS if doubted else 0)


def opposed(
    power_w: int, part_w: int, at_ms: int, before: tuple[int, ...] = (), load_w: int = 6000, **unit: object
) -> Trust:
    """Return the trust after one look at an inverter that tells power_w while part_w is commanded.

    load_w: how far the load seems to have jumped with it.
    """
    site = a_site()
    site = msgspec.structs.replace(site, unit=(msgspec.structs.replace(site.unit[0], **unit),))
    share = Share(unit="unit1", low_w=-10_000, high_w=10_000, power_w=part_w)
    snapshot = a_snapshot(a_meter(), an_inverter(power_w), a_battery(), now_ms=at_ms)
    state = State(shares=(share,), trust=Trust(opposed_ms=before), net_load_w=power_w - load_w)
    return trust.look(site, state, snapshot, {reading.device: reading for reading in snapshot.readings})


@pytest.mark.parametrize(
    ("power_w", "part_w", "counts"),
    [
        (-1000, 1000, True),
        (1000, -1000, True),
        (-999, 1000, False),
        (-1000, 999, False),
        (1000, 1000, False),
        (-1000, -1000, False),
        (0, 1000, False),
    ],
)
def test_an_inverter_that_tells_the_opposite_of_its_command_is_noted(power_w: int, part_w: int, counts: bool) -> None:
    assert opposed(power_w, part_w, 100_000).opposed_ms == ((100_000,) if counts else ())


@pytest.mark.parametrize(
    ("before", "settle_ms", "after", "doubted"),
    [
        ((), 1000, (100_000,), False),
        ((99_001,), 1000, (99_001,), False),
        ((99_000,), 1000, (99_000, 100_000), False),
        ((92_000, 99_000), 1000, (99_000, 100_000), False),
        ((92_001, 99_000), 1000, (), True),
        ((92_000, 98_000), 2000, (), True),
        ((84_000, 98_000), 2000, (98_000, 100_000), False),
        ((92_001, 99_000), 0, (), True),
        ((92_001, 99_000), None, (), True),
    ],
)
def test_three_times_in_eight_settling_times_it_is_taken_for_a_wrong_sign_and_the_load_is_doubted(
    before: tuple[int, ...], settle_ms: int | None, after: tuple[int, ...], doubted: bool
) -> None:
    seen = opposed(-3000, 3000, 100_000, before, settle_ms=settle_ms)
    assert seen.opposed_ms == after
    assert seen.until_ms == (160_000 if doubted else 0)


@pytest.mark.parametrize(("power_w", "after"), [(3000, ()), (-3000, (98_000, 100_000)), (999, (98_000,))])
def test_an_inverter_that_is_seen_to_go_the_way_it_was_told_has_the_right_sign(
    power_w: int, after: tuple[int, ...]
) -> None:
    assert opposed(power_w, 3000, 100_000, (98_000,)).opposed_ms == after


def test_one_of_two_inverters_that_opposes_is_noted_beside_one_that_obeys() -> None:
    site = a_site(2)
    parts = tuple(Share(unit=f"unit{n}", low_w=0, high_w=9000, power_w=3000) for n in (1, 2))
    for first_w, second_w in ((3000, -3000), (-3000, 3000)):
        snapshot = a_snapshot(a_meter(), an_inverter(first_w), an_inverter(second_w, 2), a_battery(), a_battery(n=2))
        readings = {reading.device: reading for reading in snapshot.readings}
        assert trust.look(site, State(shares=parts, net_load_w=6000), snapshot, readings).opposed_ms == (100_000,)


@pytest.mark.parametrize(("load_w", "counts"), [(1000, True), (999, False), (-1000, True), (-999, False), (0, False)])
def test_an_inverter_that_obeys_the_wrong_way_round_leaves_the_load_where_it_was(load_w: int, counts: bool) -> None:
    assert opposed(-3000, 3000, 100_000, load_w=load_w).opposed_ms == ((100_000,) if counts else ())


def test_an_inverter_that_is_not_heard_or_tells_no_power_opposes_nothing() -> None:
    assert opposed(-3000, 3000, 100_000, inverter="another").opposed_ms == ()
    share = Share(unit="unit1", low_w=0, high_w=0, power_w=3000)
    snapshot = a_snapshot(a_meter(), an_inverter(None), a_battery())
    readings = {reading.device: reading for reading in snapshot.readings}
    assert trust.look(a_site(), State(shares=(share,)), snapshot, readings).opposed_ms == ()
