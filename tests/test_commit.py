"""Which units run, and the total that they reach: dead zones, rest, dwell and headroom, against a search of all."""

import itertools
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.engine.commit import SPANS_MOST, Candidate, Plan, commit
from controller.engine.share import share
from controller.model import Commitment
from tests.words import a_site

FREE = (-(10**9), 10**9)
NOW_MS = 1_000_000


def a_candidate(low_w: int = -10_000, high_w: int = 10_000, min_w: int = 0, **changes: object) -> Candidate:
    unit = Candidate(low_w=low_w, high_w=high_w, min_w=min_w, weight=1, committed=False, committed_ms=0)
    return msgspec.structs.replace(unit, **changes)


def planned(
    units: Sequence[Candidate],
    target_w: int,
    bounds_w: tuple[int, int] = FREE,
    now_ms: int = NOW_MS,
    **settings: object,
) -> Plan:
    return commit(a_site(commitment=Commitment(**settings)), units, target_w, bounds_w, now_ms)


def shared(units: Sequence[Candidate], plan: Plan) -> list[int]:
    return share(plan.target_w, plan.lows_w, plan.highs_w, [unit.weight for unit in units])


def powers(
    units: Sequence[Candidate], target_w: int, bounds_w: tuple[int, int] = FREE, **settings: object
) -> list[int]:
    return shared(units, planned(units, target_w, bounds_w, **settings))


# -- the peers' cases ---------------------------------------------------------------------------------------------


def test_five_kilowatts_over_three_dead_zones_of_ten_rest_and_never_circulate() -> None:
    """Peers D15: elsewhere -15, 10 and 10 kW flow for these 5 kW."""
    three = [a_candidate(-20_000, 20_000, 10_000)] * 3
    plan = planned(three, 5_000)
    assert shared(three, plan) == [0, 0, 0]
    assert plan.because == "3 units need 10000 W at least"
    assert not any(plan.committed)


def test_twenty_five_kilowatts_over_three_dead_zones_of_ten_run_two_of_them() -> None:
    """Peers D15: elsewhere 5, 10 and 10 kW, the first one inside its own dead zone."""
    three = [a_candidate(-20_000, 20_000, 10_000)] * 3
    plan = planned(three, 25_000)
    assert (shared(three, plan), plan.because) == ([12_500, 12_500, 0], "")


def test_1500_watts_of_charge_over_three_minimums_of_one_kilowatt_run_one_unit() -> None:
    """Control 3: elsewhere +500, -1000 and -1000 W, one of the units discharging inside its dead zone."""
    three = [a_candidate(-5_000, 5_000, 1_000)] * 3
    plan = planned(three, -1_500)
    assert shared(three, plan) == [-1_500, 0, 0]
    assert (plan.target_w, plan.because, plan.committed) == (-1_500, "", (True, False, False))


def test_a_charge_of_less_than_the_minimum_is_possible_with_a_unit_that_has_none() -> None:
    """Peers D17: elsewhere a least power that is not known as one makes charging impossible."""
    assert powers([a_candidate(min_w=1_000), a_candidate()], -400) == [0, -400]
    assert powers([a_candidate(min_w=1_000), a_candidate()], -1_000) == [-1_000, 0]


# -- dead zones ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked_w", "bounds_w", "reached_w", "because"),
    [
        (999, FREE, 0, "3 units need 1000 W at least"),
        (-999, FREE, 0, "3 units need 1000 W at least"),
        (1_000, FREE, 1_000, ""),
        (999, (1, 5_000), 1_000, "3 units need 1000 W at least"),
        (999, (0, 5_000), 0, "3 units need 1000 W at least"),
        (-999, (-5_000, -1), -1_000, "3 units need 1000 W at least"),
        (300, (100, 899), 0, "3 units need 1000 W at least"),  # 100 W short of the bounds, 1000 W would be 101 W over
        (300, (100, 901), 1_000, "3 units need 1000 W at least"),
        (600, (100, 900), 1_000, "3 units need 1000 W at least"),  # as far beyond as 0, and nearer to what was asked
        (400, (100, 900), 0, "3 units need 1000 W at least"),
        (500, (100, 900), 0, "3 units need 1000 W at least"),  # and as near: the one nearer to 0
        (6_000, FREE, 6_000, ""),
        (6_001, FREE, 6_000, "the units get no nearer than 6000 W"),
        (-6_001, FREE, -6_000, "the units get no nearer than -6000 W"),
        (0, FREE, 0, ""),
    ],
)
def test_what_lies_in_the_gap_next_to_zero_rests_unless_the_site_must_move(
    asked_w: int, bounds_w: tuple[int, int], reached_w: int, because: str
) -> None:
    plan = planned([a_candidate(-2_000, 2_000, 1_000)] * 3, asked_w, bounds_w)
    assert (plan.target_w, plan.because) == (reached_w, because)


def test_one_unit_alone_is_told_as_one() -> None:
    assert planned([a_candidate(min_w=1_000)], 300).because == "1 unit needs 1000 W at least"


@pytest.mark.parametrize(
    ("asked_w", "bounds_w", "reached_w"),
    [
        (1_300, FREE, 1_200),
        (1_600, FREE, 1_200),  # half way: the nearer to 0
        (1_601, FREE, 2_000),
        (1_601, (0, 1_999), 1_200),
        (1_300, (1_201, 3_000), 2_000),
        (-1_601, FREE, -2_000),
        (-1_600, FREE, -1_200),
        (-1_601, (-1_999, 0), -1_200),
    ],
)
def test_between_what_one_and_what_two_units_reach_the_nearer_is_taken(
    asked_w: int, bounds_w: tuple[int, int], reached_w: int
) -> None:
    plan = planned([a_candidate(-1_200, 1_200, 1_000)] * 2, asked_w, bounds_w)
    sign = 1 if asked_w > 0 else -1
    ends = f"{sign * 1200} W and {sign * 2000} W"
    assert plan.target_w == reached_w
    assert plan.because == f"the units' least powers leave out what is between {ends}"


def test_a_target_beyond_the_sites_envelope_is_brought_into_it_first() -> None:
    assert planned([a_candidate(min_w=1_000)], 9_000, (-5_000, 4_000)).target_w == 4_000
    assert planned([a_candidate(min_w=1_000)], -9_000, (-5_000, 4_000)).target_w == -5_000
    assert planned([a_candidate()], 9_000, (-5_000, 4_000)).target_w == 4_000
    assert planned([a_candidate()], -9_000, (-5_000, 4_000)).target_w == -5_000


def test_a_preferred_unit_that_is_in_the_way_makes_room_for_the_one_that_fits() -> None:
    """With the first one running 3.9 kW cannot be reached: the second one does not fit beside it."""
    units = [a_candidate(-3_500, 3_500, 3_000, weight=9), a_candidate(-10_000, 10_000, 1_000)]
    assert powers(units, 3_500) == [3_500, 0]
    assert powers(units, 3_900) == [0, 3_900]
    assert powers(units, 4_000) == [3_000, 1_000]


def test_a_forced_unit_gives_its_least_power_and_the_others_what_is_left() -> None:
    forced = a_candidate(200, 5_000, 1_000)
    charged = a_candidate(-5_000, -200, 1_000)
    other = a_candidate(min_w=300)
    assert powers([forced, other], 600) == [1_000, 0], "which is not fed to the other one"
    assert powers([forced, other], 600, (-5_000, 1_000)) == [1_000, 0]
    assert powers([forced, other], 600, (-5_000, 999)) == [1_000, -400], "unless the site must not give so much"
    assert powers([forced, other], 600, (-5_000, 999), rest_units=True) == [1_000, -400]
    assert powers([forced, other], 1_200) == [1_200, 0]
    assert powers([forced, other], 1_300) == [1_000, 300]
    assert powers([charged, other], -600) == [-1_000, 0]
    assert powers([charged, other], -600, (-999, 5_000)) == [-1_000, 400]
    assert planned([forced], 600).because == "the units get no nearer than 1000 W"
    assert planned([charged], -600).because == "the units get no nearer than -1000 W"


def test_what_a_forced_unit_gives_beyond_the_target_the_others_take() -> None:
    """Not because of a dead zone: its battery is to be discharged with 2 kW or more."""
    forced = a_candidate(2_000, 5_000, 1_000)
    assert powers([forced, a_candidate(min_w=300)], 600) == [2_000, -1_400]
    assert powers([forced, a_candidate(min_w=1_500)], 600) == [2_100, -1_500]
    assert powers([a_candidate(-5_000, -2_000, 1_000), a_candidate(min_w=300)], 0) == [-2_000, 2_000]


def test_a_forced_unit_whose_bounds_lie_in_its_dead_zone_rests() -> None:
    for low_w, high_w in ((200, 900), (-900, -200)):
        plan = planned([a_candidate(low_w, high_w, 1_000)], low_w)
        assert (plan.lows_w, plan.highs_w, plan.committed) == ([0], [0], (False,))
    assert powers([a_candidate(200, 1_000, 1_000)], 200) == [1_000]
    assert powers([a_candidate(-1_000, -200, 1_000)], -200) == [-1_000]


# -- who runs -----------------------------------------------------------------------------------------------------


def test_where_no_unit_rests_and_none_has_a_minimum_their_bounds_are_left_alone() -> None:
    units = [a_candidate(-3_000, 5_000), a_candidate(0, 0), a_candidate(-4_000, -500)]
    plan = planned(units, 1_000)
    assert (plan.lows_w, plan.highs_w, plan.target_w) == ([-3_000, 0, -4_000], [5_000, 0, -500], 1_000)
    assert plan.committed == (True, True, True)
    assert (planned(units, 5_000).target_w, planned(units, 5_000).because) == (
        4_500,
        "the units get no nearer than 4500 W",
    )
    assert planned(units, -8_000).target_w == -7_000
    assert planned(units, -7_000).because == ""


def test_where_no_unit_rests_all_run_whose_minimums_fit() -> None:
    three = [a_candidate(-5_000, 5_000, 1_000)] * 3
    assert powers(three, 2_999) == [1_499, 1_500, 0]
    assert powers(three, 3_000) == [1_000, 1_000, 1_000]
    assert planned(three, 3_000).committed == (True, True, True)


@pytest.mark.parametrize(("asked_w", "running"), [(8_695, 1), (8_696, 2), (0, 0), (1, 1), (-8_695, 1), (-8_696, 2)])
def test_as_few_units_run_as_give_the_target_and_fifteen_percent(asked_w: int, running: int) -> None:
    plan = planned([a_candidate()] * 3, asked_w, rest_units=True)
    assert sum(plan.committed) == running
    assert sum(shared([a_candidate()] * 3, plan)) == asked_w


def test_without_room_for_the_headroom_all_run() -> None:
    plan = planned([a_candidate()] * 3, 30_000, rest_units=True)
    assert (plan.committed, plan.target_w) == ((True, True, True), 30_000)


def test_the_headroom_is_the_sites_own() -> None:
    units = [a_candidate()] * 3
    assert sum(planned(units, 10_000, rest_units=True, headroom_pct=0).committed) == 1
    assert sum(planned(units, 5_000, rest_units=True, headroom_pct=100).committed) == 1
    assert sum(planned(units, 5_001, rest_units=True, headroom_pct=100).committed) == 2


def test_those_that_run_go_on_before_those_with_more_energy_and_these_before_the_first() -> None:
    units = [a_candidate(weight=5), a_candidate(weight=7), a_candidate(weight=7), a_candidate(weight=1, committed=True)]
    later_ms = 10**9
    for asked_w, running in ((5_000, "0001"), (15_000, "0101"), (25_000, "0111"), (26_087, "1111")):
        plan = planned(units, asked_w, now_ms=later_ms, rest_units=True)
        assert plan.committed == tuple(flag == "1" for flag in running)


@pytest.mark.parametrize(("since_ms", "running"), [(299_999, (False, True)), (300_000, (True, False))])
def test_a_unit_that_began_to_run_goes_on_for_its_dwell(since_ms: int, running: tuple[bool, bool]) -> None:
    """Both run; the first is to be preferred, and from 300 s on it alone."""
    units = [
        a_candidate(weight=9, committed=True, committed_ms=NOW_MS - 600_000),
        a_candidate(weight=1, committed=True, committed_ms=NOW_MS - since_ms),
    ]
    assert planned(units, 1_000, rest_units=True).committed == running
    assert planned(units, 1_000, rest_units=True, dwell_s=600).committed[1]
    assert planned(units, 0, rest_units=True).committed[1] == running[1]


def test_a_dwelling_unit_is_not_held_beside_the_target_by_its_minimum() -> None:
    began = {"committed": True, "committed_ms": NOW_MS}
    units = [a_candidate(min_w=1_000, **began), a_candidate(min_w=1_000, **began)]
    assert planned(units, 1_500, rest_units=True).committed == (True, False)
    assert planned(units, 2_000, rest_units=True).committed == (True, True)
    assert planned(units, 500, rest_units=True).committed == (False, False)


def test_a_unit_that_rests_is_not_held_by_when_it_last_changed() -> None:
    units = [a_candidate(weight=9), a_candidate(weight=1, committed_ms=NOW_MS)]
    assert planned(units, 1_000, rest_units=True).committed == (True, False)


def test_one_large_unit_runs_rather_than_the_three_small_ones_before_it() -> None:
    small, large = a_candidate(-2_000, 2_000, weight=9), a_candidate(-10_000, 10_000, weight=1)
    plan = planned([small, small, small, large], 8_000, rest_units=True)
    assert plan.committed == (False, False, False, True)


def test_what_a_forced_unit_gives_spares_another() -> None:
    units = [a_candidate(), a_candidate(500, 10_000)]
    assert planned(units, 8_000, rest_units=True).committed == (False, True)
    assert planned(units, 9_000, rest_units=True).committed == (True, True)


def test_a_lost_unit_is_made_up_for_in_the_same_cycle() -> None:
    running = {"committed": True, "committed_ms": NOW_MS}
    units = [a_candidate(min_w=1_000, **running), a_candidate(min_w=1_000), a_candidate(min_w=1_000)]
    assert powers(units, 5_000, rest_units=True) == [5_000, 0, 0]
    units[0] = a_candidate(0, 0, 1_000, **running)
    plan = planned(units, 5_000, rest_units=True)
    assert (shared(units, plan), plan.committed, plan.because) == ([0, 5_000, 0], (False, True, False), "")


def test_a_unit_that_is_full_does_not_charge_and_one_that_is_empty_does_not_discharge() -> None:
    full, empty = a_candidate(0, 10_000, weight=9), a_candidate(-10_000, 0, weight=9)
    assert planned([full, a_candidate()], -1_000, rest_units=True).committed == (False, True)
    assert planned([empty, a_candidate()], 1_000, rest_units=True).committed == (False, True)


# -- against a search of everything -------------------------------------------------------------------------------


def reachable(units: Sequence[Candidate], sign: int) -> list[int]:
    """Return every total with nobody in a dead zone and those free to rest at powers of this sign or at rest."""

    def alone(unit: Candidate) -> list[int]:
        free = unit.low_w <= 0 <= unit.high_w
        inside = [x for x in range(unit.low_w, unit.high_w + 1) if x == 0 or abs(x) >= unit.min_w]
        return [x for x in inside if not free or x * sign >= 0] or [0]

    return sorted({sum(powers_w) for powers_w in itertools.product(*map(alone, units))})


def searched(units: Sequence[Candidate], target_w: int, bounds_w: tuple[int, int]) -> int:
    """Return the total to be planned, by the laws of commit.py, among all that there are."""

    def breach_w(total_w: int) -> int:
        return max(bounds_w[0] - total_w, 0, total_w - bounds_w[1])

    def nearest(sign: int) -> int:
        totals = reachable(units, sign)
        beside = [x for x in totals if x * target_w > 0 and abs(x) <= abs(target_w)]
        beyond = [x for x in totals if x * target_w > 0 and abs(x) > abs(target_w)]
        if target_w and 0 in totals and beyond and not beside and breach_w(0) == 0:
            return 0
        return min(totals, key=lambda x: (breach_w(x), abs(x - target_w), abs(x)))

    able = [unit for unit in units if not unit.low_w <= 0 <= unit.high_w and any(reachable([unit], 1))]
    low_w, high_w = sum(unit.low_w for unit in able), sum(unit.high_w for unit in able)
    beyond_forced = (target_w > high_w) - (target_w < low_w)
    sign = beyond_forced or (-1 if target_w < 0 else 1)
    found_w = nearest(sign)
    return min(found_w, nearest(-sign), key=breach_w)


small_w = st.integers(-5, 5)
small_unit = st.builds(
    lambda ends, min_w, weight, committed, ms: a_candidate(
        min(ends), max(ends), min_w, weight=weight, committed=committed, committed_ms=ms
    ),
    st.tuples(small_w, small_w),
    st.integers(0, 4),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from((0, NOW_MS)),
)
small_sites = st.lists(small_unit, min_size=1, max_size=4)
small_bounds = st.tuples(st.integers(-20, 20), st.integers(-20, 20)).map(lambda ends: (min(ends), max(ends)))


@given(small_sites, st.integers(-20, 20), small_bounds, st.booleans(), st.integers(0, 100))
@example([a_candidate(-3, 3, 3), a_candidate(-5, 5, 2)], 4, (-20, 20), True, 0)
@settings(max_examples=200, deadline=None)
def test_the_plan_is_what_a_search_of_everything_finds(
    units: list[Candidate], target_w: int, bounds_w: tuple[int, int], resting: bool, headroom_pct: int
) -> None:
    plan = planned(units, target_w, bounds_w, rest_units=resting, headroom_pct=headroom_pct)
    inside_w = max(bounds_w[0], min(target_w, bounds_w[1]))
    if not resting and not any(unit.min_w for unit in units):
        low_w, high_w = sum(unit.low_w for unit in units), sum(unit.high_w for unit in units)
        assert plan.target_w == max(low_w, min(inside_w, high_w))
    else:
        assert plan.target_w == searched(units, inside_w, bounds_w)
    assert (plan.because == "") == (plan.target_w == inside_w)


@given(small_sites, st.integers(-20, 20), small_bounds, st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_share_of_a_plan_is_in_a_dead_zone_or_against_the_others(
    units: list[Candidate], target_w: int, bounds_w: tuple[int, int], resting: bool
) -> None:
    """I10 and I11 of control 2.6: the sum is exact, nobody in its exclusion zone."""
    plan = planned(units, target_w, bounds_w, rest_units=resting)
    powers_w = shared(units, plan)
    assert sum(powers_w) == plan.target_w
    for unit, power_w, committed in zip(units, powers_w, plan.committed, strict=True):
        assert power_w == 0 or abs(power_w) >= unit.min_w
        assert unit.low_w <= power_w <= unit.high_w or (power_w == 0 and unit.min_w)
        assert committed or power_w == 0
    if resting or any(unit.min_w for unit in units):
        free = [x for x, unit in zip(powers_w, units, strict=True) if unit.low_w <= 0 <= unit.high_w]
        assert min(free, default=0) * max(free, default=0) >= 0


@given(small_sites, st.integers(-20, 20), st.integers(0, 100))
@settings(max_examples=200, deadline=None)
def test_no_unit_runs_that_could_rest(units: list[Candidate], target_w: int, headroom_pct: int) -> None:
    """Without any one of those that run, unless it is dwelling, the headroom would be gone."""
    units = [unit for unit in units if unit.low_w <= 0 <= unit.high_w]
    plan = planned(units, target_w, rest_units=True, headroom_pct=headroom_pct)
    mosts_w = plan.highs_w if target_w > 0 else [-low_w for low_w in plan.lows_w]
    for unit, most_w, committed in zip(units, mosts_w, plan.committed, strict=True):
        if committed and not (unit.committed and unit.committed_ms == NOW_MS):
            assert (sum(mosts_w) - most_w) * 100 < abs(plan.target_w) * (100 + headroom_pct)


@given(small_sites, st.integers(-20, 20).filter(bool), small_bounds, st.booleans())
@settings(max_examples=150, deadline=None)
def test_charging_is_planned_as_discharging(
    units: list[Candidate], target_w: int, bounds_w: tuple[int, int], resting: bool
) -> None:
    mirrored = [msgspec.structs.replace(unit, low_w=-unit.high_w, high_w=-unit.low_w) for unit in units]
    plan = planned(units, target_w, bounds_w, rest_units=resting)
    other = planned(mirrored, -target_w, (-bounds_w[1], -bounds_w[0]), rest_units=resting)
    if max(bounds_w[0], min(target_w, bounds_w[1])) != 0:
        assert (other.target_w, other.committed) == (-plan.target_w, plan.committed)
        assert [-low_w for low_w in other.lows_w] == list(plan.highs_w)


def test_a_hundred_units_of_one_power_each_are_planned_within_what_is_kept_of_the_sums() -> None:
    """Powers that cannot be varied make as many totals as there are sets of units: what is kept is right."""
    units = [a_candidate(-w, w, w) for w in range(1_000, 100_000, 991)]
    assert len(units) == SPANS_MOST
    for asked_w in (777_777, -3_000_001):
        plan = planned(units, asked_w)
        powers_w = shared(units, plan)
        assert sum(powers_w) == plan.target_w
        assert all(abs(x) in (0, unit.min_w) for x, unit in zip(powers_w, units, strict=True))
        assert abs(plan.target_w - asked_w) < 1_000


# -- every small site --------------------------------------------------------------------------------------------------

KINDS = [
    a_candidate(-3, 3),
    a_candidate(-1, 1),
    a_candidate(-4, 5, 2),
    a_candidate(-2, 0, 1),
    a_candidate(0, 4, 4),
    a_candidate(1, 4, 2),
    a_candidate(-4, -1, 3),
    a_candidate(-1, -1, 2),
    a_candidate(2, 2),
]


@pytest.mark.parametrize("bounds_w", [FREE, (-3, 2), (1, 4), (-2, -2)])
def test_the_plan_of_every_two_units_is_what_a_search_finds(bounds_w: tuple[int, int]) -> None:
    for units in itertools.combinations_with_replacement(KINDS, 2):
        for target_w in range(-9, 10):
            inside_w = max(bounds_w[0], min(target_w, bounds_w[1]))
            for resting in (False, True):
                plan = planned(units, target_w, bounds_w, rest_units=resting, headroom_pct=0)
                if resting or any(unit.min_w for unit in units):
                    assert plan.target_w == searched(units, inside_w, bounds_w), (units, target_w)
                powers_w = shared(units, plan)
                assert sum(powers_w) == plan.target_w
                for unit, power_w, runs in zip(units, powers_w, plan.committed, strict=True):
                    assert power_w == 0 or abs(power_w) >= unit.min_w
                    assert runs or power_w == 0


def test_three_units_are_let_go_one_after_the_other_as_a_later_one_makes_them_needless() -> None:
    """Of 1, 1 and 9 kW in this order 9 kW alone are needed for 8 kW."""
    units = [a_candidate(-w, w) for w in (1000, 1000, 9000)]
    assert planned(units, 8000, rest_units=True, headroom_pct=0).committed == (False, False, True)
    units = [a_candidate(-w, w) for w in (1000, 2000, 8000)]
    assert planned(units, 8500, rest_units=True, headroom_pct=0).committed == (True, False, True)
    assert planned(units, 9000, rest_units=True, headroom_pct=0).committed == (True, False, True)
    assert planned(units, 9001, rest_units=True, headroom_pct=0).committed == (False, True, True)
