"""The rules of class 2 as tables: both sides of every edge, both directions, and what each does without its data."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.model import Active, Consumed, Consumption, Envelope, Limit, Operated, Order, Sight, Site, Snapshot
from controller.programs import order_limits, target
from controller.rules import consumption_limit, envelope, input_limit, phase_limit, poi_limit
from controller.rules.at_poi import by_phase, meet
from controller.rules.unbounded import UNBOUNDED_W
from tests.words import a_meter, a_sight, a_site, a_snapshot, a_unit, an_inverter

OPEN_W = UNBOUNDED_W
NOW_MS = 10_000_000
Loads = tuple[int | None, int | None]


def interval(limits: list[Limit]) -> tuple[int, int]:
    """Return the interval of the only limit, which is one of class 2 for the batteries together."""
    (limit,) = limits
    assert (limit.priority, limit.unit) == (2, "")
    return limit.low_w, limit.high_w


def site_of(units: int = 1, **poi: Any) -> Site:
    """Return a site with other numbers at its POI: else 12 kW in, 6 kW out, load to 11 kW, generation to 5 kW."""
    site = a_site(units)
    return msgspec.structs.replace(site, poi=msgspec.structs.replace(site.poi, **poi))


def loaded(low_w: int | None, high_w: int | None, site: Site | None = None, **changes: Any) -> Sight:
    """Return the site with a load less generation between two powers behind its meter."""
    return a_sight(site, load_low_w=low_w, load_high_w=high_w, **changes)


def silent(site: Site | None = None, **changes: Any) -> Sight:
    """Return the site without a meter."""
    return loaded(None, None, site, meter=None, **changes)


def one_inverter_silent(meter_w: int, heard_w: int | None, site: Site | None = None, **changes: Any) -> Sight:
    """Return a site of two units whose second inverter is silent: its power and so the load is not known."""
    site = site or a_site(2)
    units = (a_unit(site, 1, inverter=an_inverter(heard_w)), a_unit(site, 2, inverter=None))
    return loaded(None, None, site, meter=a_meter(meter_w), units=units, **changes)


# -- import and export at the POI ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low_w", "high_w", "expected"),
    [
        (0, 0, (-11_900, 5_900)),
        (1000, 1000, (-10_900, 6_900)),
        (-3000, -3000, (-14_900, 2_900)),
        (-6000, -6000, (-17_900, -100)),
        (12_000, 12_000, (100, 17_900)),
        (-1000, 2000, (-9_900, 4_900)),
    ],
)
def test_poi_limit_moves_with_the_load_and_keeps_both_limits_for_the_worst_of_it(
    low_w: int, high_w: int, expected: tuple[int, int]
) -> None:
    assert interval(poi_limit.limits(loaded(low_w, high_w))) == expected


@pytest.mark.parametrize(
    ("poi", "expected"),
    [
        ({}, (-900, 900)),
        ({"import_max_w": 11_100, "export_max_w": 5_100}, (0, 0)),
        ({"import_max_w": 11_101, "export_max_w": 5_101}, (-1, 1)),
        ({"import_max_w": 5000, "export_max_w": 1000}, (0, 0)),
        ({"import_max_w": 5000}, (0, 900)),
        ({"export_max_w": 1000}, (-900, 0)),
        ({"margin_w": 0}, (-1000, 1000)),
    ],
)
def test_poi_limit_with_a_silent_meter_assumes_the_worst_and_forces_nothing(
    poi: dict[str, int], expected: tuple[int, int]
) -> None:
    assert interval(poi_limit.limits(silent(site_of(**poi)))) == expected


@pytest.mark.parametrize("loads", [(0, None), (None, 0)])
def test_a_load_of_which_one_side_is_not_known_is_not_known(loads: Loads) -> None:
    assert interval(poi_limit.limits(loaded(*loads, meter=None))) == (-900, 900)
    assert poi_limit.limits(loaded(*loads, meter=None))[0].because.startswith("the POI meter is silent")


@pytest.mark.parametrize(
    ("meter_w", "heard_w", "expected"),
    [
        (11_900, 0, (-1900, 0)),
        (11_899, 0, (-1900, 1)),
        (11_000, 0, (-1900, 900)),
        (10_000, 0, (-1900, 1900)),
        (9_000, 0, (-1900, 1900)),
        (11_000, None, (-1900, 900)),
        (15_000, 5000, (-1900, 1900)),
        (18_000, 5000, (-1900, 0)),
        (-23_900, 0, (0, 1900)),
        (-23_899, 0, (-1, 1900)),
        (-23_000, 0, (-900, 1900)),
        (-22_000, 0, (-1900, 1900)),
        (-28_000, -5000, (-900, 1900)),
    ],
)
def test_the_other_unit_does_not_take_over_what_a_silent_inverter_may_still_do(
    meter_w: int, heard_w: int | None, expected: tuple[int, int]
) -> None:
    assert interval(poi_limit.limits(one_inverter_silent(meter_w, heard_w))) == expected


def test_poi_limits_that_cross_meet_in_the_middle() -> None:
    tight = site_of(export_max_w=50, import_max_w=50, margin_w=100)
    assert interval(poi_limit.limits(loaded(2000, 2000, tight))) == (2000, 2000)
    assert interval(poi_limit.limits(loaded(1000, 2001, tight))) == (1500, 1500)


@pytest.mark.parametrize(
    ("low_w", "high_w", "met"), [(1, 2, (1, 2)), (1, 1, (1, 1)), (2, 1, (1, 1)), (5, -8, (-2, -2))]
)
def test_two_ends_meet_only_where_they_cross(low_w: int, high_w: int, met: tuple[int, int]) -> None:
    assert meet(low_w, high_w) == met


@pytest.mark.parametrize(
    ("sight", "because"),
    [
        (loaded(7, 7), "load less generation is 7 W; export at most 6000 W, import at most 12000 W"),
        (loaded(-7, 8), "load less generation is -7 W to 8 W; export at most 6000 W, import at most 12000 W"),
        (silent(), "the POI meter is silent: largest load and generation assumed"),
        (one_inverter_silent(-3, 0), "the load is not known, largest assumed; the meter shows -3 W"),
    ],
)
def test_poi_limit_says_what_it_knows_of_the_load(sight: Sight, because: str) -> None:
    (limit,) = poi_limit.limits(sight)
    assert (limit.rule, limit.because) == ("poi_limit", because)


# -- phases -------------------------------------------------------------------------------------------------------


def phased(
    phases: Sequence[str] = ("abc",),
    low_w: tuple[int, int, int] | None = (0, 0, 0),
    high_w: tuple[int, int, int] | None = None,
    nameplates_w: Sequence[tuple[int, int]] = (),
    **poi: Any,
) -> Sight:
    """Return a site with units on these phases, (charge, discharge) nameplates, and a load on each phase."""
    site = site_of(len(phases), **({"phase_import_max_w": 4000, "phase_export_max_w": 2000} | poi))
    ratings = nameplates_w or [(10_000, 10_000)] * len(phases)
    units = tuple(
        msgspec.structs.replace(unit, phases=one, charge_max_w=rated[0], discharge_max_w=rated[1])
        for unit, one, rated in zip(site.unit, phases, ratings, strict=True)
    )
    site = msgspec.structs.replace(site, unit=units)
    return a_sight(site, phase_load_low_w=low_w, phase_load_high_w=low_w if high_w is None else high_w)


# The margin of 100 W leaves 34 W to each phase: 3,966 W in and 1,966 W out.
@pytest.mark.parametrize(
    ("low_w", "high_w", "expected"),
    [
        ((0, 0, 0), None, (-11_898, 5_898)),
        ((1000, 0, -500), None, (-8_898, 4_398)),
        ((-500, 1000, 0), None, (-8_898, 4_398)),
        ((0, -500, 1000), None, (-8_898, 4_398)),
        ((-500, -500, -500), (1000, 1000, 1000), (-8_898, 4_398)),
        ((5000, 5000, 5000), None, (3_102, 20_898)),
        ((-3000, -3000, -3000), None, (-20_898, -3_102)),
        ((6000, 0, -3000), None, (1500, 1500)),
    ],
)
def test_three_phase_units_may_do_three_times_what_the_tightest_phase_leaves(
    low_w: tuple[int, int, int], high_w: tuple[int, int, int] | None, expected: tuple[int, int]
) -> None:
    assert interval(phase_limit.limits(phased(("abc", "abc"), low_w, high_w))) == expected


@pytest.mark.parametrize(("phase", "expected"), [("a", (-2_966, 2_966)), ("b", (34, 5_966)), ("c", (-6_966, -1_034))])
def test_units_on_one_phase_have_what_that_phase_leaves(phase: str, expected: tuple[int, int]) -> None:
    assert interval(phase_limit.limits(phased((phase, phase), (1000, 4000, -3000)))) == expected


def test_limits_of_one_phase_that_cross_meet_in_the_middle() -> None:
    sight = phased(("a",), (2000, 0, 0), phase_import_max_w=10, phase_export_max_w=20)
    assert interval(phase_limit.limits(sight)) == (2005, 2005)


def test_without_a_limit_of_a_phase_there_is_none() -> None:
    assert phase_limit.limits(phased(phase_import_max_w=None, phase_export_max_w=None)) == []
    assert phase_limit.limits(phased(("abc", "a"), None, phase_import_max_w=None, phase_export_max_w=None)) == []


@pytest.mark.parametrize(
    ("poi", "abc", "one"),
    [
        ({"phase_import_max_w": None}, (-OPEN_W, 5_898), (-OPEN_W, 1_966)),
        ({"phase_export_max_w": None}, (-11_898, OPEN_W), (-3_966, OPEN_W)),
        ({"phase_import_max_w": None, "breaker_max_a": 20}, (-12_318, 5_898), (-4_106, 1_966)),
        ({"phase_export_max_w": None, "breaker_max_a": 20}, (-11_898, 12_318), (-3_966, 4_106)),
        ({"breaker_max_a": 1}, (-519, 519), (-173, 173)),
        ({"phase_import_max_w": None, "phase_export_max_w": None, "breaker_max_a": 1}, (-519, 519), (-173, 173)),
    ],
)
def test_a_side_of_a_phase_without_a_limit_is_open_and_the_least_of_limit_and_breaker_counts(
    poi: dict[str, Any], abc: tuple[int, int], one: tuple[int, int]
) -> None:
    """207 V are 90 % of the nominal voltage, which this meter does not tell."""
    assert interval(phase_limit.limits(phased(**poi))) == abc
    assert interval(phase_limit.limits(phased(("c",), **poi))) == one


def metered(phase_loads_w: tuple[int, int, int] | None = (0, 0, 0), **meter: Any) -> Sight:
    """Return a site with a breaker of 25 A whose meter tells these values."""
    sight = phased(low_w=phase_loads_w, phase_import_max_w=None, phase_export_max_w=None, breaker_max_a=25)
    return msgspec.structs.replace(sight, meter=a_meter(**meter))


@pytest.mark.parametrize(
    ("phase_mv", "expected_w"),
    [
        (None, 5175),
        ((0, 0, 0), 5175),
        ((-1, -1, -1), 5175),
        ((1, 1, 1), 0),
        ((200_000, 200_000, 200_000), 5000),
        ((230_000, 230_000, 230_000), 5750),
        ((252_999, 253_000, 253_000), 6324),
        ((253_000, 253_000, 253_000), 6325),
        ((999_000, 253_000, 253_000), 6325),
    ],
)
def test_the_breaker_leaves_current_times_voltage_and_no_more_than_a_tenth_above_the_nominal_one(
    phase_mv: tuple[int, int, int] | None, expected_w: int
) -> None:
    assert phase_limit.breaker_w(metered(phase_mv=phase_mv), 0) == expected_w


def test_each_phase_has_its_own_voltage_current_and_power_at_the_breaker() -> None:
    sight = metered(phase_mv=(200_000, 220_000, 240_000))
    assert [phase_limit.breaker_w(sight, place) for place in range(3)] == [5000, 5500, 6000]
    assert interval(phase_limit.limits(sight)) == (-3 * 4966, 3 * 4966)
    told = {"phase_mv": (230_000,) * 3, "phase_ma": (20_000, 12_000, 0), "phase_w": (2760, 0, 0)}
    assert [phase_limit.breaker_w(metered(**told), place) for place in range(3)] == [4418, 5044, 5750]
    told = {"phase_mv": (201_000,) * 3, "phase_ma": (24_000, 24_005, 24_010), "phase_w": (0, 0, 0)}
    found = [phase_limit.breaker_w(metered(**told), place) for place in range(3)]
    assert found == [1407, 1400, 1396], "4824, 4825.005 and 4826.01 VA are 4824, 4826 and 4827 VA"


@pytest.mark.parametrize(
    ("phase_ma", "phase_w", "expected_w"),
    [
        (20_000, 4600, 5750),  # no reactive power
        (20_000, 2760, 4418),  # 3680 var
        (-20_000, -2760, 4418),
        (25_000, 0, 0),
        (40_000, 0, 0),
        (24_999, 0, 0),  # rounded up against us
        (24_990, 0, 151),
        (24_987, 0, 151),  # 5747.01 VA are 5748
        (10_000, 9999, 5750),  # more than its current can be: not negative
    ],
)
def test_reactive_power_takes_its_part_of_the_breaker(phase_ma: int, phase_w: int, expected_w: int) -> None:
    told = {"phase_mv": (230_000,) * 3, "phase_ma": (phase_ma,) * 3, "phase_w": (phase_w,) * 3}
    assert phase_limit.breaker_w(metered(**told), 1) == expected_w
    for name in ("phase_ma", "phase_w"):
        assert phase_limit.breaker_w(metered(**(told | {name: None})), 1) == 5750
    assert phase_limit.breaker_w(metered(**(told | {"phase_mv": None})), 1) == 5175


def test_a_phase_with_next_to_no_voltage_leaves_nothing_whatever_power_the_meter_tells_of_it() -> None:
    told = {"phase_mv": (1,) * 3, "phase_ma": (0,) * 3, "phase_w": (5000,) * 3}
    assert phase_limit.breaker_w(metered(**told), 0) == 0


def test_a_site_without_a_breaker_or_without_a_meter_has_the_breaker_that_its_file_tells() -> None:
    assert phase_limit.breaker_w(phased(), 0) is None
    blind = msgspec.structs.replace(metered(), meter=None)
    assert phase_limit.breaker_w(blind, 0) == 5175


def test_a_voltage_is_not_believed_above_nine_tenths_while_the_loads_of_the_phases_are_not_known() -> None:
    assert phase_limit.breaker_w(metered(None, phase_mv=(230_000,) * 3), 0) == 5175
    assert phase_limit.breaker_w(metered(None, phase_mv=(206_000,) * 3), 0) == 5150
    for half in ({"phase_load_low_w": None}, {"phase_load_high_w": None}):
        sight = msgspec.structs.replace(metered(phase_mv=(230_000,) * 3), **half)
        assert phase_limit.breaker_w(sight, 0) == 5175


@pytest.mark.parametrize(
    ("poi", "abc", "one"),
    [
        ({"phase_import_max_w": 12_000, "phase_export_max_w": 6000}, (-2898, 2898), (-966, 966)),
        ({"phase_import_max_w": 11_034, "phase_export_max_w": 5034}, (0, 0), (0, 0)),
        ({"phase_import_max_w": 11_035, "phase_export_max_w": 5035}, (-3, 3), (-1, 1)),
        ({"phase_import_max_w": 4000, "phase_export_max_w": 2000}, (0, 0), (0, 0)),
        ({"phase_import_max_w": None, "phase_export_max_w": 2000}, (-OPEN_W, 0), (-OPEN_W, 0)),
        ({"phase_import_max_w": 4000, "phase_export_max_w": None}, (0, OPEN_W), (0, OPEN_W)),
    ],
)
@pytest.mark.parametrize("meter", [None, a_meter(), a_meter(9000)])
def test_a_meter_that_tells_no_phases_leaves_what_the_largest_load_on_one_phase_leaves_and_forces_nothing(
    poi: dict[str, Any], abc: tuple[int, int], one: tuple[int, int], meter: Any
) -> None:
    for phases, expected in (("abc", abc), ("b", one)):
        sight = phased((phases,), None, load_max_w=11_000, generation_max_w=5000, **poi)
        assert interval(phase_limit.limits(msgspec.structs.replace(sight, meter=meter))) == expected
    half = msgspec.structs.replace(sight, phase_load_low_w=(0, 0, 0), meter=meter)
    assert interval(phase_limit.limits(half)) == one
    half = msgspec.structs.replace(sight, phase_load_high_w=(0, 0, 0), meter=meter)
    assert interval(phase_limit.limits(half)) == one


@pytest.mark.parametrize(
    ("phase_w", "expected"),
    [
        ((0, 0, 0), (-2898, 2898)),
        ((7000, 0, 0), (-2898, 0)),
        ((0, 6300, 0), (-2898, 3 * 666)),
        ((0, 0, -13_000), (0, 2898)),
        ((-10_400, 0, 0), (-3 * 566, 2898)),
        ((0, 0, -10_400), (-3 * 566, 2898)),
        ((0, 0, 6300), (-2898, 3 * 666)),
    ],
)
def test_while_an_inverter_is_silent_nothing_is_added_to_what_the_meter_shows_on_a_phase(
    phase_w: tuple[int, int, int], expected: tuple[int, int]
) -> None:
    """The heard one gives 1 kW on each phase: 12 kW in and 6 kW out per phase leave 966 W of the largest load."""
    poi: dict[str, Any] = {
        "phase_import_max_w": 12_000,
        "phase_export_max_w": 6000,
        "load_max_w": 11_000,
        "generation_max_w": 5000,
    }
    sight = phased(("abc", "abc"), None, **poi)
    heard, gone = sight.units
    units = (
        msgspec.structs.replace(heard, inverter=an_inverter(3000)),
        msgspec.structs.replace(gone, inverter=None),
    )
    sight = msgspec.structs.replace(sight, units=units, meter=a_meter(phase_w=phase_w))
    for half in ({}, {"phase_load_low_w": (0, 0, 0)}, {"phase_load_high_w": (0, 0, 0)}):
        assert interval(phase_limit.limits(msgspec.structs.replace(sight, **half))) == expected
    sleeping = msgspec.structs.replace(units[1], inverter=an_inverter(None, 2))
    assert interval(phase_limit.limits(msgspec.structs.replace(sight, units=(units[0], sleeping)))) == expected


# On a mixed site 4,000 W in and 2,000 W out are shared; margin 0.
@pytest.mark.parametrize(
    ("phases", "nameplates_w", "loads_w", "expected"),
    [
        (("abc", "a"), [(10_000, 10_000), (5000, 5000)], (0, 0, 0), [(-4800, 2400), (-2400, 1200)]),
        (("abc", "a"), [(10_000, 10_000), (5000, 10_000)], (0, 0, 0), [(-4800, 1500), (-2400, 1500)]),
        (("abc", "c"), [(10_000, 10_000), (5000, 5000)], (0, 0, 1000), [(-3600, 3600), (-1800, 1800)]),
        (("abc", "b"), [(10_000, 10_000), (5000, 5000)], (0, 5000, 0), [(0, 6000), (0, 4200)]),
        (("abc", "b"), [(10_000, 10_000), (5000, 5000)], (0, -2001, 0), [(-7201, 0), (-3600, 0)]),
        (("abc", "a"), [(10_000, 10_000), (5000, 5000)], (0, 5000, -3000), [(0, 0), (-2400, 1200)]),
        (("a", "b"), [(3000, 3000), (6000, 6000)], (1000, 0, 9000), [(-3000, 3000), (-4000, 2000)]),
        (
            ("a", "a", "b"),
            [(3000, 1000), (6000, 3000), (1, 1)],
            (0, 0, 0),
            [(-1333, 500), (-2666, 1500), (-4000, 2000)],
        ),
        (("abc", "a"), [(0, 10_000), (0, 0)], (0, 0, 0), [(0, 6000), (0, 0)]),
        (("a", "a", "b"), [(3000, 3000)] * 3, (0, 0, 0), [(-2000, 1000), (-2000, 1000), (-4000, 2000)]),
        (("abc", "abc", "a"), [(5000, 5000)] * 3, (0, 0, 0), [(-2400, 1200)] * 3),
        (("abc", "a"), [(1, 1), (0, 0)], (0, 0, 0), [(-12_000, 6000), (0, 0)]),
    ],
)
def test_on_a_mixed_site_the_units_of_a_phase_share_its_room_by_their_nameplates(
    phases: tuple[str, ...], nameplates_w: list[tuple[int, int]], loads_w: tuple[int, int, int], expected: list[Any]
) -> None:
    limits = phase_limit.limits(phased(phases, loads_w, nameplates_w=nameplates_w, margin_w=0))
    assert [(limit.low_w, limit.high_w) for limit in limits] == expected
    assert [limit.unit for limit in limits] == [f"unit{n}" for n in range(1, len(phases) + 1)]
    assert {(limit.rule, limit.priority) for limit in limits} == {("phase_limit", 2)}


def test_a_side_without_a_limit_is_open_on_a_mixed_site_too() -> None:
    for limit in phase_limit.limits(phased(("abc", "a"), phase_import_max_w=None)):
        assert limit.low_w == -OPEN_W
        assert 0 < limit.high_w < 6000
    for limit in phase_limit.limits(phased(("abc", "a"), phase_export_max_w=None)):
        assert limit.high_w == OPEN_W
        assert -12_000 < limit.low_w < 0


watts = st.integers(-10_000, 10_000)
rated = st.tuples(st.integers(0, 10_000), st.integers(0, 10_000))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["abc", "a", "b", "c"]), rated), min_size=2, max_size=6),
    st.tuples(watts, watts, watts),
)
def test_what_the_units_get_together_fits_into_every_phase(
    units: list[tuple[str, tuple[int, int]]], loads_w: tuple[int, int, int]
) -> None:
    """With every unit at its limit no phase is beyond its own, but by what its load alone takes."""
    if len({phases for phases, _ in units}) == 1:
        return
    limits = phase_limit.limits(
        phased([one for one, _ in units], loads_w, nameplates_w=[w for _, w in units], margin_w=0)
    )
    for place, phase in enumerate("abc"):
        on_it = [
            (limit, 1 if one == "abc" else 3) for limit, (one, _) in zip(limits, units, strict=True) if phase in one
        ]
        assert sum(-limit.low_w * parts for limit, parts in on_it) <= 3 * max(0, 4000 - loads_w[place])
        assert sum(limit.high_w * parts for limit, parts in on_it) <= 3 * max(0, 2000 + loads_w[place])
        assert all(limit.low_w <= 0 <= limit.high_w for limit, _ in on_it)


@pytest.mark.parametrize(
    ("sight", "because"),
    [
        (phased(low_w=(1, 1, 1)), ["phase a takes 1 to 1 W; import at most 4000 W, export at most 2000 W"]),
        (
            phased(low_w=(0, 9, -9), phase_export_max_w=None, breaker_max_a=10),
            [
                "charging, phase b takes 9 to 9 W; import at most 2070 W, export at most 2070 W; "
                "discharging, phase c takes -9 to -9 W; import at most 2070 W, export at most 2070 W"
            ],
        ),
        (
            phased(("b",), None, phase_export_max_w=None),
            ["phase b is not known, largest load and generation assumed; import at most 4000 W"],
        ),
        (
            phased(("a", "b"), (1, 2, 3), (4, 5, 6), phase_import_max_w=None),
            [
                "phase a takes 1 to 4 W; export at most 2000 W; shared by the units on it",
                "phase b takes 2 to 5 W; export at most 2000 W; shared by the units on it",
            ],
        ),
        (
            phased(("abc", "c"), (9, 0, 0), margin_w=0),
            ["phase c takes 0 to 0 W; import at most 4000 W, export at most 2000 W; shared by the units on it"] * 2,
        ),
    ],
)
def test_phase_limit_names_the_phase_that_binds(sight: Sight, because: list[str]) -> None:
    assert [limit.because for limit in phase_limit.limits(sight)] == because


@pytest.mark.parametrize(
    ("phases", "power_w", "expected"),
    [
        ("abc", 0, (0, 0, 0)),
        ("abc", 3, (1, 1, 1)),
        ("abc", 4, (2, 1, 1)),
        ("abc", 5, (2, 2, 1)),
        ("abc", -4, (-1, -1, -2)),
        ("abc", -5, (-1, -2, -2)),
        ("a", 7, (7, 0, 0)),
        ("b", -7, (0, -7, 0)),
        ("c", 7, (0, 0, 7)),
    ],
)
def test_a_units_power_is_parted_over_its_phases_to_the_watt(
    phases: str, power_w: int, expected: tuple[int, int, int]
) -> None:
    assert by_phase(phases, power_w) == expected
    assert sum(expected) == power_w


# -- operating envelopes ------------------------------------------------------------------------------------------


def enveloped(import_w: int | None = 1500, export_w: int | None = 1000, ramp_w_per_s: int = 100) -> Site:
    return site_of(envelope=Envelope(import_default_w=import_w, export_default_w=export_w, ramp_w_per_s=ramp_w_per_s))


def an_order(low_w: int, high_w: int, **changes: Any) -> Order:
    """Return an operating envelope that is in force."""
    order = Order(
        name="one",
        source="the network",
        kind="envelope",
        domain="poi",
        low_w=low_w,
        high_w=high_w,
        starts_ms=NOW_MS - 10,
        expires_ms=NOW_MS + 10,
    )
    return msgspec.structs.replace(order, **changes)


def now(*orders: Order, **changes: Any) -> Snapshot:
    return a_snapshot(now_ms=NOW_MS, orders=orders, **changes)


def in_force(site: Site, before: tuple[int, int, int] | None, *orders: Order) -> tuple[int, int, int]:
    """Return the envelope now as (low_w, high_w, at_ms since a second ago); before likewise."""
    known = None if before is None else Operated(low_w=before[0], high_w=before[1], at_ms=NOW_MS - 1000 + before[2])
    found = envelope.operated(site, known, now(*orders))
    assert found is not None
    return found.low_w, found.high_w, found.at_ms - NOW_MS + 1000


@pytest.mark.parametrize("orders", [(), (an_order(-1, 1),)])
def test_a_site_whose_file_knows_of_no_envelope_has_none(orders: tuple[Order, ...]) -> None:
    assert envelope.operated(enveloped(None, None), None, now(*orders)) is None
    assert envelope.operated(enveloped(None, None), Operated(low_w=0, high_w=0, at_ms=0), now(*orders)) is None
    assert envelope.limits(a_sight(operated=None)) == []


@pytest.mark.parametrize(
    ("import_w", "export_w", "expected"),
    [(1500, 1000, (-1500, 1000)), (None, 1000, (-12_000, 1000)), (1500, None, (-1500, 6000)), (0, 0, (0, 0))],
)
def test_while_no_envelope_is_in_force_the_defaults_hold(
    import_w: int | None, export_w: int | None, expected: tuple[int, int]
) -> None:
    others = (
        an_order(-1, 1, kind="limit"),
        an_order(-1, 1, kind="target"),
        an_order(-1, 1, kind="consumption"),
        an_order(-1, 1, domain="battery"),
    )
    assert in_force(enveloped(import_w, export_w), None, *others) == (*expected, 1000)


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ([(-9000, 5000)], (-9000, 5000)),
        ([(-9000, 5000), (-4000, 8000)], (-4000, 5000)),
        ([(-9000, -500), (-500, 8000)], (-500, -500)),
        ([(-9000, -501), (-500, 8000)], (-500, 8000)),
        ([(-500, 8000), (-9000, -501)], (-9000, -501)),
        ([(-500, 8000), (1, 9000), (-9000, -501)], (-9000, -501)),
    ],
)
def test_the_narrowest_of_several_envelopes_counts_and_the_newest_where_nothing_is_left(
    orders: list[tuple[int, int]], expected: tuple[int, int]
) -> None:
    live = [an_order(*one, name=f"o{n}", starts_ms=n) for n, one in enumerate(orders)]
    if len(orders) == 2:
        assert in_force(enveloped(), (-20_000, 20_000, 0), *reversed(live))[:2] == expected
    assert in_force(enveloped(), (-20_000, 20_000, 0), *live) == (*expected, 1000)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ((-9000, 5000), (-1500, 1000)),
        ((-500, 5000), (-500, 1000)),
        ((-9000, 300), (-1500, 300)),
        ((-9000, -1500), (-1500, -1500)),
        ((-9000, -1501), (-9000, -1501)),
        ((1000, 9000), (1000, 1000)),
        ((1001, 9000), (1001, 9000)),
    ],
)
def test_a_start_begins_with_the_narrower_of_default_and_envelope(
    order: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert in_force(enveloped(), None, an_order(*order)) == (*expected, 1000)


# 100 W/s for a second, or what is left of it.
@pytest.mark.parametrize(
    ("before", "order", "expected"),
    [
        ((-2000, 2000, 0), (-2000, 2000), (-2000, 2000, 1000)),
        ((-2000, 2000, 0), (-1000, 500), (-1000, 500, 1000)),
        ((-2000, 2000, 0), (-2099, 2000), (-2099, 2000, 1000)),
        ((-2000, 2000, 0), (-2101, 2000), (-2100, 2000, 1000)),
        ((-2000, 2000, 0), (-2000, 2099), (-2000, 2099, 1000)),
        ((-2000, 2000, 0), (-2000, 2101), (-2000, 2100, 1000)),
        ((-2000, 2000, 0), (-9000, 9000), (-2100, 2100, 1000)),
        ((-2000, 2000, 0), (-9000, 500), (-2100, 500, 1000)),
        ((-2000, 2000, 0), (-500, 9000), (-500, 2100, 1000)),
        ((-2000, 2000, 985), (-2000, 2000), (-2000, 2000, 1000)),
        ((-2000, 2000, 985), (-2000, 500), (-2000, 500, 1000)),
        ((-2000, 2000, 985), (-500, 2000), (-500, 2000, 1000)),
        ((-2000, 2000, 985), (-2001, 500), (-2001, 500, 995)),
        ((-2000, 2000, 985), (-500, 2001), (-500, 2001, 995)),
        ((-2000, 2000, 991), (-9000, 9000), (-2000, 2000, 991)),
        ((-2000, 2000, 990), (-9000, 9000), (-2001, 2001, 1000)),
        ((-2000, 2000, 985), (-9000, 9000), (-2001, 2001, 995)),
        ((-2000, 2000, 1000), (-9000, 9000), (-2000, 2000, 1000)),
        ((-2000, 2000, 5000), (-9000, 9000), (-2000, 2000, 1000)),
        ((-2000, 2000, 5000), (-9000, 500), (-2000, 500, 1000)),
    ],
)
def test_an_envelope_narrows_at_once_and_widens_at_its_rate(
    before: tuple[int, int, int], order: tuple[int, int], expected: tuple[int, int, int]
) -> None:
    assert in_force(enveloped(), before, an_order(*order)) == expected


def test_the_end_of_an_envelope_leads_to_the_defaults_at_the_rate() -> None:
    assert in_force(enveloped(), (-500, 500, 0)) == (-600, 600, 1000)
    assert in_force(enveloped(), (-9000, 9000, 0)) == (-1500, 1000, 1000)


@pytest.mark.parametrize("rate_w_per_s", [1, 3, 7, 999])
def test_a_slow_rate_is_kept_however_short_the_cycles_are(rate_w_per_s: int) -> None:
    site, order = enveloped(ramp_w_per_s=rate_w_per_s), an_order(-9_000_000, 9_000_000)
    found = Operated(low_w=-1000, high_w=1000, at_ms=0)
    for now_ms in range(0, 20_001, 130):
        step = envelope.operated(site, found, a_snapshot(now_ms=now_ms, orders=(order,)))
        assert step is not None
        found = step
        most_w = rate_w_per_s * now_ms // 1000
        cycles = now_ms // 130
        assert 1000 + rate_w_per_s * (now_ms - cycles) // 1000 - 1 <= found.high_w <= 1000 + most_w
        assert found.low_w == -found.high_w


@pytest.mark.parametrize(
    ("loads", "bounds", "expected"),
    [
        ((0, 0), (-1500, 1000), (-1400, 900)),
        ((3000, 3000), (-1500, 1000), (1600, 3900)),
        ((-3000, -3000), (-1500, 1000), (-4400, -2100)),
        ((-200, 300), (-1500, 1000), (-1100, 700)),
        ((0, 3000), (-1500, 1000), (1250, 1250)),
        ((None, None), (-1500, 1000), (0, 0)),
        ((None, None), (-12_000, 6000), (-900, 900)),
        ((500, 500), (100, 1000), (700, 1400)),
    ],
)
def test_an_envelope_limits_import_and_export_at_the_meter(
    loads: Loads, bounds: tuple[int, int], expected: tuple[int, int]
) -> None:
    held = Operated(low_w=bounds[0], high_w=bounds[1], at_ms=0)
    sight = loaded(*loads, meter=None if loads[0] is None else a_meter(), operated=held)
    assert interval(envelope.limits(sight)) == expected


def test_an_envelope_says_what_it_is() -> None:
    (limit,) = envelope.limits(loaded(7, 7, operated=Operated(low_w=-1500, high_w=1000, at_ms=0)))
    assert limit.rule == "envelope"
    assert limit.because == (
        "operating envelope: import at most 1500 W, export at most 1000 W; load less generation is 7 W"
    )


# -- limits on consumption ----------------------------------------------------------------------------------------


def lpc(failsafe_w: int | None = 4200) -> Site:
    """Return a site with a heartbeat of 120 s and a least failsafe duration of two hours."""
    return site_of(consumption=Consumption(failsafe_w=failsafe_w))


def most(power_w: int, at_s: int = 0, name: str = "lpc") -> Order:
    """Return a limit on consumption that was written at_s after now."""
    return an_order(-power_w, 0, kind="consumption", name=name, starts_ms=NOW_MS + 1000 * at_s)


def after(phase: str, since_s: int, heard_s: int | None, *orders: Order, site: Site | None = None) -> tuple[Any, ...]:
    """Return phase, since when in s and limit; all times are in s after now."""
    before = Consumed(phase=phase, since_ms=NOW_MS + 1000 * since_s, limit_w=1)  # type: ignore[arg-type]
    heard_ms = None if heard_s is None else NOW_MS + 1000 * heard_s
    found = consumption_limit.consumed(site or lpc(), before, now(*orders, consumption_heard_ms=heard_ms))
    return found.phase, (found.since_ms - NOW_MS) // 1000, found.limit_w


@pytest.mark.parametrize(
    ("before", "heard_s", "orders", "expected"),
    [
        # at a start nobody is heard, then somebody is without a limit, then for 120 s
        (("init", -50), None, (), ("init", 0, 4200)),
        (("init", -50), -121, (), ("init", 0, 4200)),
        (("init", -50), -120, (), ("init", -50, 4200)),
        (("init", -50), None, (most(3000),), ("init", 0, 3000)),
        (("init", -50), None, (most(5000),), ("init", 0, 4200)),
        (("init", -119), 0, (), ("init", -119, 4200)),
        (("init", -120), 0, (), ("unlimited", 0, None)),
        (("init", -1), 0, (most(5000, -40),), ("limited", 0, 5000)),
        # heard, with and without a limit
        (("unlimited", -50), 0, (), ("unlimited", -50, None)),
        (("unlimited", -50), -120, (), ("unlimited", -50, None)),
        (("unlimited", -50), 0, (most(5000),), ("limited", 0, 5000)),
        (("limited", -50), 0, (most(5000),), ("limited", -50, 5000)),
        (("limited", -50), 0, (most(5000), most(3000, 0, "two"), most(4000, 0, "three")), ("limited", -50, 3000)),
        (("limited", -50), 0, (most(0),), ("limited", -50, 0)),
        (("limited", -50), 0, (most(-7),), ("limited", -50, 0)),
        (("limited", -50), 0, (), ("unlimited", 0, None)),
        # the heartbeat is lost
        (("unlimited", -500), -121, (), ("failsafe", 0, 4200)),
        (("unlimited", -500), None, (), ("failsafe", 0, 4200)),
        (("limited", -500), -121, (most(5000, -300),), ("failsafe", 0, 4200)),
        (("limited", -500), -121, (most(3000, -300),), ("failsafe", 0, 3000)),
        (("failsafe", -100), -221, (), ("failsafe", -100, 4200)),
        (("failsafe", -9000), -9121, (), ("failsafe", -9000, 4200)),
        (("failsafe", -100), -221, (most(5000, -50),), ("failsafe", -100, 4200)),
        # it is back
        (("failsafe", -100), 0, (), ("failsafe", -100, 4200)),
        (("failsafe", -100), 0, (most(5000, -100),), ("failsafe", -100, 4200)),
        (("failsafe", -100), 0, (most(5000, -101),), ("failsafe", -100, 4200)),
        (("failsafe", -100), 0, (most(5000, -99),), ("limited", 0, 5000)),
        (("failsafe", -100), 0, (most(5000, -200), most(6000, -99, "two")), ("limited", 0, 5000)),
        (("failsafe", -7199), 0, (), ("failsafe", -7199, 4200)),
        (("failsafe", -7200), 0, (), ("init", 0, 4200)),
        (("failsafe", -7200), 0, (most(5000, -9000),), ("init", 0, 4200)),
    ],
)
def test_a_limit_on_consumption_goes_from_phase_to_phase(
    before: tuple[str, int], heard_s: int | None, orders: tuple[Order, ...], expected: tuple[Any, ...]
) -> None:
    others = (an_order(-1, 1), an_order(-1, 1, kind="limit", starts_ms=NOW_MS))
    assert after(*before, heard_s, *orders, *others) == expected


@pytest.mark.parametrize(
    ("before", "ago_ms", "heard_ago_ms", "phase"),
    [
        ("init", 119_999, 0, "init"),
        ("init", 120_000, 0, "unlimited"),
        ("failsafe", 7_199_999, 0, "failsafe"),
        ("failsafe", 7_200_000, 0, "init"),
        ("limited", 1, 120_000, "unlimited"),
        ("limited", 1, 120_001, "failsafe"),
    ],
)
def test_the_times_of_a_limit_on_consumption_are_kept_to_the_millisecond(
    before: str, ago_ms: int, heard_ago_ms: int, phase: str
) -> None:
    known = Consumed(phase=before, since_ms=NOW_MS - ago_ms)  # type: ignore[arg-type]
    found = consumption_limit.consumed(lpc(), known, now(consumption_heard_ms=NOW_MS - heard_ago_ms))
    assert found.phase == phase


def test_a_start_waits_for_a_limit_from_the_first_heartbeat_on() -> None:
    state, phases = Consumed(), []
    for now_s in range(1000, 1300, 10):
        heard_ms = 1_000 * now_s if now_s >= 1050 else None
        snapshot = a_snapshot(now_ms=1000 * now_s, consumption_heard_ms=heard_ms)
        state = consumption_limit.consumed(lpc(), state, snapshot)
        phases.append((state.phase, state.limit_w))
    assert phases == [("init", 4200)] * 16 + [("unlimited", None)] * 14, (
        "heard from 1050 s on, the last wait ended 1040"
    )


def test_the_first_snapshot_of_all_never_ends_the_wait() -> None:
    found = consumption_limit.consumed(lpc(), Consumed(), now(consumption_heard_ms=NOW_MS))
    assert found == Consumed(phase="init", since_ms=NOW_MS, limit_w=4200)


@pytest.mark.parametrize("heard_s", [None, -121, 0])
def test_a_site_without_a_failsafe_limit_has_no_limit_on_consumption(heard_s: int | None) -> None:
    for phase in ("init", "limited", "failsafe"):
        assert after(phase, -50, heard_s, most(1), site=lpc(None)) == ("unlimited", 0, None)
    assert after("unlimited", -50, heard_s, most(1), site=lpc(None)) == ("unlimited", -50, None)


@pytest.mark.parametrize(
    ("consumption_w", "load_high_w", "low_w"),
    [
        (4200, 0, -4200),
        (4200, 9000, -4200),
        (4200, 1, -4200),
        (4200, -1, -4201),
        (4200, -3000, -7200),
        (0, -3000, -3000),
        (0, 5000, 0),
        (4200, None, -4200),
        (0, None, 0),
    ],
)
def test_charging_may_take_the_limit_and_the_own_surplus_and_nothing_is_forced(
    consumption_w: int, load_high_w: int | None, low_w: int
) -> None:
    sight = loaded(-9000, load_high_w, consumption_w=consumption_w)
    assert interval(consumption_limit.limits(sight)) == (low_w, OPEN_W)
    assert consumption_limit.limits(sight)[0].rule == "consumption_limit"


def test_consumption_without_a_limit_lays_nothing_and_with_one_says_how_much_is_surplus() -> None:
    assert consumption_limit.limits(loaded(0, 0)) == []
    (limit,) = consumption_limit.limits(loaded(-800, -700, consumption_w=4200))
    assert limit.because == "at most 4200 W may be drawn from the grid to charge, and 700 W are the site's own surplus"


# -- contacts -----------------------------------------------------------------------------------------------------


def contact(means: str, limit_w: int | None = 4200, *, lost: bool = False) -> Active:
    return Active(name="relay", means=means, limit_w=limit_w, lost=lost)


@pytest.mark.parametrize(
    ("active", "loads", "expected"),
    [
        (contact("import_limit"), (0, 0), (-4100, OPEN_W)),
        (contact("import_limit"), (-100, 5000), (900, OPEN_W)),
        (contact("import_limit", 0), (-3000, -3000), (-2900, OPEN_W)),
        (contact("import_limit", None), (-3000, -3000), (-2900, OPEN_W)),
        (contact("import_limit"), (None, None), (0, OPEN_W)),
        (contact("import_limit", 11_101), (None, None), (-1, OPEN_W)),
        (contact("export_limit"), (0, 0), (-OPEN_W, 4100)),
        (contact("export_limit"), (-5000, 100), (-OPEN_W, -900)),
        (contact("export_limit", 0), (3000, 3000), (-OPEN_W, 2900)),
        (contact("export_limit", None), (3000, 3000), (-OPEN_W, 2900)),
        (contact("export_limit"), (None, None), (-OPEN_W, 0)),
        (contact("export_limit", 5101), (None, None), (-OPEN_W, 1)),
    ],
)
def test_a_contact_limits_import_or_export_at_the_meter(
    active: Active, loads: Loads, expected: tuple[int, int]
) -> None:
    for lost in (False, True):
        acting = msgspec.structs.replace(active, lost=lost)
        sight = loaded(*loads, meter=None if loads[0] is None else a_meter(), active=(acting,))
        assert interval(input_limit.limits(sight)) == expected


def test_a_contact_says_its_name_its_limit_and_whether_it_is_lost() -> None:
    active = (contact("import_limit"), contact("export_limit", 700, lost=True))
    first, second = input_limit.limits(loaded(7, 7, active=active))
    assert {first.rule, second.rule} == {"input_limit"}
    assert first.because == "input relay is active: import at most 4200 W; load less generation is 7 W"
    assert second.because == (
        "input relay is not heard and counts as active: export at most 700 W; load less generation is 7 W"
    )


def test_contacts_that_mean_something_else_limit_nothing() -> None:
    others = ("emergency_stop", "no_charge", "no_discharge", "islanded", "storm")
    assert input_limit.limits(loaded(0, 0, active=tuple(contact(means) for means in others))) == []
    assert input_limit.limits(loaded(0, 0)) == []


# -- what all of them do without the load -------------------------------------------------------------------------

admitted = st.integers(-5000, 11_000)


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(admitted, admitted, admitted),
    st.sampled_from([("abc",), ("b",), ("abc", "a"), ("a", "b", "c")]),
    st.integers(0, 15_000),
    st.integers(0, 15_000),
    st.none() | st.integers(1, 100),
)
def test_losing_the_load_never_widens_what_any_rule_leaves(
    loads_w: tuple[int, int, int], phases: tuple[str, ...], import_w: int, export_w: int, breaker_a: int | None
) -> None:
    """For any load that the site file admits: a forced power may fall back to 0 W, never beyond."""
    limits: dict[str, Any] = {
        "import_max_w": import_w,
        "export_max_w": export_w,
        "load_max_w": 11_000,
        "generation_max_w": 5000,
    }
    limits |= {"phase_import_max_w": import_w, "phase_export_max_w": export_w}
    seen = phased(phases, loads_w, breaker_max_a=breaker_a, **limits)
    seen = msgspec.structs.replace(
        seen,
        meter=a_meter(phase_mv=(236_000, 207_000, 230_000)),
        load_low_w=loads_w[0],
        load_high_w=loads_w[0],
        operated=Operated(low_w=-import_w, high_w=export_w, at_ms=0),
        active=(contact("import_limit", import_w), contact("export_limit", export_w)),
        consumption_w=import_w,
    )
    lost = {"load_low_w": None, "load_high_w": None, "phase_load_low_w": None, "phase_load_high_w": None}
    for blind in (msgspec.structs.replace(seen, **lost), msgspec.structs.replace(seen, meter=None, **lost)):
        for rule in (poi_limit, phase_limit, envelope, input_limit, consumption_limit):
            for wide, narrow in zip(rule.limits(seen), rule.limits(blind), strict=True):
                assert (narrow.rule, narrow.unit) == (wide.rule, wide.unit)
                assert min(0, wide.low_w) <= narrow.low_w <= 0 <= narrow.high_w <= max(0, wide.high_w)


# -- what is no order of class 5 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["envelope", "consumption", "reserve", "reactive"])
def test_orders_of_other_classes_are_neither_set_points_nor_limits_of_class_5(kind: str) -> None:
    sight = a_sight(snapshot=now(an_order(-1, 1, kind=kind)))
    assert order_limits(sight) == []
    assert target(sight) is None
