"""Sharing a target over the units: exact in sum and bounds, level, the same for the same site."""

import itertools
import random
from fractions import Fraction
from importlib import import_module

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.engine.share import PURE_MOST, _share_bound, _share_many, share, split

MOST_W = 10_000_000
MOST_WEIGHT = 100_000_000
Rows = list[tuple[int, int, int]]


def units_of(most_w: int, most_weight: int, count: int) -> st.SearchStrategy[Rows]:
    """Return sites: (low, high, weight) a unit; some without room."""
    power_w = st.integers(-most_w, most_w)
    unit = st.tuples(power_w, power_w, st.integers(1, most_weight), st.booleans())
    return st.lists(
        unit.map(lambda row: (min(row[:2]), min(row[:2]) if row[3] and row[2] % 4 == 0 else max(row[:2]), row[2])),
        min_size=1,
        max_size=count,
    )


sites = st.one_of(units_of(MOST_W, MOST_WEIGHT, 12), units_of(6, 4, 8))
where = st.floats(-0.1, 1.1)


def target_of(rows: Rows, place: float) -> int:
    """Return a target at a place between the sums, 0 at the lows and 1 at the highs; a little beyond them as well."""
    low_w, high_w = sum(row[0] for row in rows), sum(row[1] for row in rows)
    return low_w + int((high_w - low_w) * place)


def shared(rows: Rows, target_w: int) -> list[int]:
    return share(target_w, [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def between(rows: Rows, target_w: int) -> int:
    return max(sum(row[0] for row in rows), min(target_w, sum(row[1] for row in rows)))


def level_by_search(rows: Rows, total_w: int) -> list[Fraction]:
    """Return the exact powers: the level is looked for between all the passes, one after the other."""

    def at(level: Fraction) -> list[Fraction]:
        return [max(Fraction(low), min(level * weight, Fraction(high))) for low, high, weight in rows]

    passes = sorted({Fraction(end, row[2]) for row in rows for end in row[:2]})
    for first, last in itertools.pairwise(passes):
        low_w, high_w = sum(at(first)), sum(at(last))
        if low_w <= total_w <= high_w and low_w < high_w:
            return at(first + (last - first) * Fraction(total_w - low_w, high_w - low_w))
    return at(passes[0]) if sum(at(passes[0])) == total_w else at(passes[-1])


@given(sites, where)
def test_shares_add_up_to_the_target_inside_all_bounds(rows: Rows, place: float) -> None:
    target_w = target_of(rows, place)
    powers_w = shared(rows, target_w)
    assert sum(powers_w) == between(rows, target_w)
    assert all(low_w <= power_w <= high_w for power_w, (low_w, high_w, _) in zip(powers_w, rows, strict=True))


@given(sites, where)
def test_every_unit_is_within_a_watt_of_the_common_level(rows: Rows, place: float) -> None:
    """Which is max-min fairness: no unit is above its proportion while another one below its own has room."""
    target_w = target_of(rows, place)
    exact_w = level_by_search(rows, between(rows, target_w))
    assert all(abs(part - exact) < 1 for part, exact in zip(shared(rows, target_w), exact_w, strict=True))


@given(sites, where)
@example([(0, 5, 1), (5, 5, 4), (-5, -5, 4)], 0.5)
@example([(0, 0, 1)], 0.0)
def test_a_site_too_large_for_the_short_way_is_shared_alike(rows: Rows, place: float) -> None:
    total_w = between(rows, target_of(rows, place))
    columns = [[row[n] for row in rows] for n in range(3)]
    many = _share_many(total_w, *columns)
    assert sum(many) == total_w
    assert all(low_w <= power_w <= high_w for power_w, (low_w, high_w, _) in zip(many, rows, strict=True))
    exact_w = level_by_search(rows, total_w)
    assert all(
        abs(power_w - exact) <= Fraction(1_000_001, 1_000_000) for power_w, exact in zip(many, exact_w, strict=True)
    )
    assert all(type(power_w) is int for power_w in many)


@given(sites, where)
def test_the_long_way_gives_what_the_short_way_gives(rows: Rows, place: float) -> None:
    """The quick answer, that nobody is at an end, is tried first; without it a share differs by a watt at most."""
    total_w = between(rows, target_of(rows, place))
    columns = [[row[n] for row in rows] for n in range(3)]
    quick, slow = shared(rows, total_w), _share_bound(total_w, *columns)
    assert sum(slow) == sum(quick) == total_w
    assert all(abs(one - other) <= 1 for one, other in zip(quick, slow, strict=True)), (quick, slow)


@given(sites, where, st.randoms(use_true_random=False))
def test_the_order_of_the_units_moves_a_share_by_a_watt_at_most(
    rows: Rows, place: float, chance: random.Random
) -> None:
    target_w = target_of(rows, place)
    order = list(range(len(rows)))
    chance.shuffle(order)
    before, after = shared(rows, target_w), shared([rows[i] for i in order], target_w)
    assert all(abs(before[i] - after[n]) <= 1 for n, i in enumerate(order))


@given(sites, where)
def test_charging_is_shared_as_discharging_to_a_watt(rows: Rows, place: float) -> None:
    target_w = target_of(rows, place)
    mirrored = shared([(-high_w, -low_w, weight) for low_w, high_w, weight in rows], -target_w)
    assert all(abs(a + b) <= 1 for a, b in zip(shared(rows, target_w), mirrored, strict=True))


def a_large_site(count: int, seed: int, *, alike: bool = False) -> Rows:
    chance = random.Random(seed)
    if alike:
        return [(-5_000, 5_000, 10_000)] * count
    return [
        (-chance.randrange(MOST_W), chance.randrange(MOST_W), int(10 ** chance.uniform(0, 8)) or 1)
        for _ in range(count)
    ]


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("count", [PURE_MOST, PURE_MOST + 1, 1_000, 10_000])
@pytest.mark.parametrize("place", [-0.1, 0.0, 1e-9, 0.3, 0.5, 0.77, 1 - 1e-9, 1.0, 1.1])
def test_a_fleet_of_ten_megawatt_units_is_shared_to_the_watt(count: int, place: float, alike: bool) -> None:
    rows = a_large_site(count, seed=count, alike=alike)
    target_w = target_of(rows, place)
    powers_w = shared(rows, target_w)
    assert sum(powers_w) == between(rows, target_w)
    assert all(low_w <= power_w <= high_w for power_w, (low_w, high_w, _) in zip(powers_w, rows, strict=True))
    pure = _share_bound(between(rows, target_w), *[[row[n] for row in rows] for n in range(3)])
    assert max(abs(a - b) for a, b in zip(powers_w, pure, strict=True)) <= 1
    assert powers_w == shared(rows, target_w), "the same site is shared the same way each time"


def test_the_heaviest_fleet_there_may_be_does_not_overflow() -> None:
    rows: Rows = [(-MOST_W, MOST_W, MOST_WEIGHT)] * 9_999 + [(-MOST_W, MOST_W, 1)]
    for target_w in (99_989_999_999, -99_989_999_999, 12_345_678_901):
        powers_w = shared(rows, target_w)
        assert sum(powers_w) == target_w
        assert max(powers_w[:-1]) - min(powers_w[:-1]) <= 1


def test_up_to_a_hundred_units_are_shared_without_floats_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site has at most 100 units: its shares are the same on every machine, whatever its arithmetic of arrays."""
    module = import_module("controller.engine.share")
    monkeypatch.setattr(module, "_share_many", lambda *_: pytest.fail("with arrays"))
    assert sum(shared([(0, 10, 1)] * 100, 995)) == 995
    with pytest.raises(pytest.fail.Exception, match="with arrays"):
        shared([(0, 10, 1)] * 101, 995)


def test_total_of_ten_with_unit_two_at_least_eight_gives_two_and_eight() -> None:
    """OpenEMS's tree solver gives 13 kW for such 10 kW (peers D2)."""
    assert share(10_000, [0, 8_000], [10_000, 10_000], [1, 1]) == [2_000, 8_000]


def test_two_identical_batteries_get_the_same() -> None:
    """Peers D15: in frequenz's own test two identical ones get 785.71 and 714.28."""
    assert share(1_500, [0, 0], [1_000, 1_000], [9_800, 9_800]) == [750, 750]


def test_zero_watts_asked_are_zero_watts_for_each() -> None:
    """Peers D16: elsewhere a request of 0 W may give set points that are not 0."""
    assert share(0, [-5_000] * 3, [5_000] * 3, [1, 50, 777]) == [0, 0, 0]
    assert share(0, [-5_000] * 3, [0] * 3, [1, 50, 777]) == [0, 0, 0]


def test_equal_units_take_the_rounding_from_the_back() -> None:
    assert share(5_000, [0, 0, 0], [10_000, 10_000, 10_000], [1, 1, 1]) == [1666, 1667, 1667]
    assert share(-5_000, [-10_000] * 3, [0] * 3, [1, 1, 1]) == [-1667, -1667, -1666]


def test_in_a_fleet_the_rounding_goes_to_the_first() -> None:
    assert share(1_003, [0] * 200, [10_000] * 200, [7] * 200) == [6] * 3 + [5] * 197
    assert share(-1_003, [-10_000] * 200, [0] * 200, [7] * 200) == [-5] * 197 + [-6] * 3


@pytest.mark.parametrize(
    ("target_w", "powers_w"),
    [
        (6_999, [2333, 4666]),
        (7_500, [2500, 5000]),
        (7_501, [2501, 5000]),
        (10_000, [5000, 5000]),
        (10_001, [5000, 5000]),
        (-3_000, [-1000, -2000]),
        (-3_001, [-1001, -2000]),
        (-7_000, [-5000, -2000]),
        (-7_001, [-5000, -2000]),
    ],
)
def test_what_a_full_unit_cannot_take_the_other_one_takes(target_w: int, powers_w: list[int]) -> None:
    assert share(target_w, [-5_000, -2_000], [5_000, 5_000], [1, 2]) == powers_w


def test_a_forced_charge_is_made_up_for_by_the_others() -> None:
    assert share(0, [-500, 0, 0], [-500, 5_000, 5_000], [1, 1, 1]) == [-500, 250, 250]


def test_no_units_have_nothing_to_share() -> None:
    assert share(1_000, [], [], []) == []


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(0, MOST_WEIGHT), max_size=20))
@settings(max_examples=150)
def test_a_split_is_exact_and_each_part_is_rounded_up_or_down(total: int, weights: list[int]) -> None:
    parts = split(total, weights)
    assert sum(parts) == (total if any(weights) else 0)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(total * weight, sum(weights) or 1)) < 1
