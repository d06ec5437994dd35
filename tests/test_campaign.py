"""Campaigns: the shrinker, the covering array, the scenarios that a seed and a row of the array stand for."""

from itertools import combinations, product
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.app import sitefile
from hil.campaign.covering import Pair, pairwise
from hil.campaign.draw import LENGTH_MIN_S, draw, targets
from hil.campaign.pairs import STATES, pairs
from hil.campaign.shrink import shrunk, smallest
from hil.faults import VERBS
from hil.faults.catalogue import ROWS
from hil.faults.words import Fault, Mode
from hil.scenario.load import dump, load
from hil.scenario.signals import Signal
from hil.scenario.words import Judge, Scenario, Stimulus
from hil.stage import DEMO_SITE

SITES = {path.stem: sitefile.load(path) for path in sorted(DEMO_SITE.parent.glob("*.toml"))}
DEMO = SITES["demo"]
MODES: tuple[Mode, ...] = ("lockstep", "model")


@pytest.mark.parametrize("guilty", [set(), {0}, {9}, {4}, {0, 9}, {3, 4}, {2, 5, 8}, set(range(10))])
def test_the_guilty_are_found_among_ten(guilty: set[int]) -> None:
    assert set(smallest(range(10), lambda kept: guilty <= set(kept))) == guilty


def test_nothing_is_made_of_nothing() -> None:
    assert smallest([], lambda kept: True) == []


@given(st.integers(1, 14), st.data())
def test_what_is_left_fails_and_needs_each_of_its_parts(count: int, data: st.DataObject) -> None:
    """A monotone predicate: it fails as soon as one of some sets of culprits is there as a whole."""
    culprits = data.draw(st.lists(st.sets(st.integers(0, count - 1), min_size=1), min_size=1, max_size=4))

    def fails(kept: list[int]) -> bool:
        return any(one <= set(kept) for one in culprits)

    parts = list(range(count))
    if not fails(parts):
        return
    left = smallest(parts, fails)
    assert fails(left)
    assert left == sorted(left), "the order is kept"
    assert not any(fails(left[:i] + left[i + 1 :]) for i in range(len(left)))


def a_failing_scenario(**changes: object) -> Scenario:
    faults = tuple(Fault(id="F06", on="meter", at_s=at_s, for_s=20.0) for at_s in (100.0, 400.0, 1000.0))
    whole = Scenario(
        id="drawn",
        title="for the test",
        site="demo",
        length_s=3600.0,
        heal_s=3300.0,
        modes=("lockstep",),
        fault=faults,
        stimulus=(
            Stimulus(set="load_w", signal=Signal(points=((0.0, 500.0),))),
            Stimulus(set="pv_w", signal=Signal(points=((0.0, 300.0),))),
        ),
        judge=Judge(converged="poi_w < 6000", within_s=120.0),
    )
    return msgspec.structs.replace(whole, **changes)


def test_a_scenario_is_left_with_what_makes_it_fail(tmp_path: Path) -> None:
    def fails(scenario: Scenario) -> bool:
        at_s = {fault.at_s for fault in scenario.fault}
        return 400.0 in at_s and "load_w" in {one.set for one in scenario.stimulus} and scenario.length_s > 420.0

    left = shrunk(a_failing_scenario(), fails)
    assert fails(left)
    assert [fault.at_s for fault in left.fault] == [400.0]
    assert [one.set for one in left.stimulus] == ["load_w"]
    assert 420.0 < left.length_s < 600.0, "cut off behind the fault's end"
    path = tmp_path / "drawn.toml"
    path.write_text(dump(left), "utf-8")
    assert load(path) == left


def test_a_scenario_is_cut_off_no_sooner_than_it_fails() -> None:
    left = shrunk(a_failing_scenario(), lambda scenario: scenario.length_s > 1500.0)
    assert left.fault == () == left.stimulus
    assert left.length_s == 3600.0, "without a fault nothing says where it could end"
    late = shrunk(a_failing_scenario(), lambda scenario: bool(scenario.fault) and scenario.length_s >= 500.0)
    assert len(late.fault) == 1
    assert 500.0 <= late.length_s < 3600.0


FACTORS = st.lists(st.integers(1, 5), min_size=2, max_size=5).map(
    lambda sizes: {f"f{i}": [f"v{n}" for n in range(size)] for i, size in enumerate(sizes)}
)


def held_pairs(row: dict[str, str], names: list[str]) -> set[Pair]:
    return {((one, row[one]), (other, row[other])) for one, other in combinations(names, 2)}


def every_pair(factors: dict[str, list[str]]) -> set[Pair]:
    found = set()
    for one, other in combinations(factors, 2):
        found |= {((one, a), (other, b)) for a, b in product(factors[one], factors[other])}
    return found


@settings(max_examples=40, deadline=None)
@given(FACTORS, st.integers(0, 1000))
def test_every_pair_comes_up(factors: dict[str, list[str]], seed: int) -> None:
    rows = pairwise(factors, seed)
    assert set().union(*(held_pairs(row, list(factors)) for row in rows)) == every_pair(factors)
    assert all(list(row) == list(factors) for row in rows)
    assert rows == pairwise(factors, seed)
    assert len(rows) <= len(every_pair(factors))


@settings(max_examples=60, deadline=None)
@given(FACTORS, st.data())
def test_forbidden_pairs_never_come_up_and_all_others_do_where_any_row_holds_them(
    factors: dict[str, list[str]], data: st.DataObject
) -> None:
    wanted = every_pair(factors)
    forbidden = data.draw(st.frozensets(st.sampled_from(sorted(wanted)), max_size=8))
    names = list(factors)
    whole = [dict(zip(names, values, strict=True)) for values in product(*factors.values())]
    allowed = [pairs for row in whole if not (pairs := held_pairs(row, names)) & forbidden]
    possible = set().union(*allowed)
    if possible != wanted - forbidden:
        with pytest.raises(ValueError, match="too much is forbidden"):
            pairwise(factors, 1, forbidden)
        return
    found = set().union(*(held_pairs(row, names) for row in pairwise(factors, 1, forbidden)))
    assert found == wanted - forbidden


def test_few_rows_do() -> None:
    """Ten factors of three values: 405 pairs; the paper's construction needs about 20 rows of the 59049."""
    factors = {f"f{i}": ["a", "b", "c"] for i in range(10)}
    assert len(pairwise(factors)) <= 22


@pytest.mark.parametrize("mode", MODES)
def test_what_a_seed_stands_for_is_a_scenario(mode: Mode, tmp_path: Path) -> None:
    drawn = [draw(seed, DEMO, "demo", mode=mode) for seed in range(25)]
    for seed, scenario in enumerate(drawn):
        path = tmp_path / f"{scenario.id}.toml"
        path.write_text(dump(scenario), "utf-8")
        assert load(path) == scenario == draw(seed, DEMO, "demo", mode=mode)
        assert scenario.fault
        for fault in scenario.fault:
            assert fault.at_s is not None and fault.for_s is not None and scenario.heal_s is not None
            assert 0 < fault.at_s < fault.at_s + fault.for_s <= scenario.heal_s + 0.1
    assert len({dump(msgspec.structs.replace(one, id="x", title="x", seed=1)) for one in drawn}) == len(drawn)


@pytest.mark.parametrize("name", SITES)
def test_a_seed_stands_for_a_scenario_of_any_site_and_of_the_shortest_length(name: str, tmp_path: Path) -> None:
    for seed in range(10):
        scenario = draw(seed, SITES[name], name, length_s=LENGTH_MIN_S + 1)
        path = tmp_path / f"{scenario.id}.toml"
        path.write_text(dump(scenario), "utf-8")
        assert load(path) == scenario


def test_an_hour_is_not_drawn_into_a_minute() -> None:
    with pytest.raises(ValueError, match="60 s read, allowed are 370 s and more"):
        draw(1, DEMO, "demo", length_s=60)


@pytest.mark.parametrize("mode", MODES)
def test_every_fault_meets_every_state_of_a_site(mode: Mode, tmp_path: Path) -> None:
    found = pairs(SITES, mode)
    met = {(one.fault[0].id, one.tags[1]) for one in found}
    ids = {row.id for row in ROWS.values() if row.do and mode in VERBS[row.do].modes}
    assert met == set(product(ids, (state.name for state in STATES)))
    assert {(one.tags[1], one.site) for one in found} == set(product((state.name for state in STATES), SITES))
    for scenario in found[:: len(found) // 20]:
        path = tmp_path / f"{scenario.id}.toml"
        path.write_text(dump(scenario), "utf-8")
        assert load(path) == scenario
    assert len({one.id for one in found}) == len(found)


def test_a_fault_is_drawn_for_what_it_can_hit() -> None:
    for row in (row for row in ROWS.values() if row.do):
        for on in targets(row, DEMO):
            profile = next((device.profile for device in DEMO.device if device.name == on), "")
            kind = profile.partition("/")[0] or f"{on} itself"
            plural = {"inverters": "inverter", "batteries": "battery", "meters": "meter"}
            assert plural.get(kind, on) in VERBS[row.do].on
