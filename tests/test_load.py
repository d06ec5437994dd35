"""The load behind the POI meter: what a sample is worth while our own move is in flight, its trend, its phases."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.engine.load import Load, estimate, implausible, next_trend_w_per_s
from controller.model import AnyReading, Input, Meter, Operated, Site, Snapshot, State, Trust
from controller.rules import poi_limit
from tests.words import a_meter, a_sight, a_site, a_snapshot, an_inverter

SITE = a_site()  # 10 kW, settles in 1 s, cycle 1 s; load to 11 kW, generation to 5 kW, 12 kW in, 6 kW out
NOW_MS = 100_000
AT_REST = State(net_load_w=0, net_load_sampled_ms=NOW_MS - 1000, balance_w=0)


def with_poi(**changes: Any) -> Site:
    return msgspec.structs.replace(SITE, poi=msgspec.structs.replace(SITE.poi, **changes))


def seen(state: State, load_w: int, battery_w: int = 0, site: Site = SITE, **changes: Any) -> Load:
    """Return the estimate now, with a sample of this moment; changes: of the meter, or now_ms, inverter_ms."""
    now_ms, inverter_ms = changes.pop("now_ms", NOW_MS), changes.pop("inverter_ms", NOW_MS)
    meter = a_meter(battery_w - load_w, **changes)
    snapshot = a_snapshot(meter, an_inverter(battery_w, at_ms=inverter_ms), now_ms=now_ms)
    return estimate(site, state, snapshot, meter)


def moved(ago_ms: int, **changes: Any) -> State:
    """Return a state after a move of ours so long ago, a load of 1 kW known from 1.5 s before now."""
    state = State(moved_ms=NOW_MS - ago_ms, net_load_w=1000, net_load_sampled_ms=NOW_MS - 1500, balance_w=900)
    return msgspec.structs.replace(state, **changes)


# -- what is not known --------------------------------------------------------------------------------------------


def blind_cases() -> list[tuple[State, Snapshot, Meter | None]]:
    meter = a_meter(-500)
    sound = a_snapshot(meter, an_inverter())
    wild = a_meter(-42_001)
    return [
        (State(), a_snapshot(an_inverter()), None),
        (State(), msgspec.structs.replace(sound, poi_battery_w=None), meter),
        (State(trust=Trust(until_ms=NOW_MS + 1)), sound, meter),
        (State(), a_snapshot(wild, an_inverter()), wild),
    ]


@pytest.mark.parametrize(("state", "snapshot", "meter"), blind_cases())
def test_a_load_that_is_not_known_keeps_what_was_known_and_ends_the_trend(
    state: State, snapshot: Snapshot, meter: Meter | None
) -> None:
    kept = msgspec.structs.replace(state, net_load_w=7, net_load_sampled_ms=8, balance_w=9, trend_w_per_s=700)
    if meter is not None:
        meter = msgspec.structs.replace(meter, phase_w=(0, 0, 0))
    found = estimate(SITE, kept, snapshot, meter)
    assert found == Load(low_w=None, high_w=None, net_load_w=7, sampled_ms=8, balance_w=9, trend_w_per_s=0)
    assert (found.phase_low_w, found.phase_high_w) == (None, None)


def test_a_doubt_ends_at_its_time() -> None:
    assert seen(State(trust=Trust(until_ms=NOW_MS)), 500).low_w == 500
    assert seen(State(trust=Trust(until_ms=NOW_MS + 1)), 500).low_w is None


@pytest.mark.parametrize(
    ("meter_w", "wrong"),
    [
        (-42_000, ""),
        (-42_001, "-42001 W would be a load of 42001 W, which is not within -30000 to 42000 W"),
        (30_000, ""),
        (30_001, "+30001 W would be a load of -30001 W, which is not within -30000 to 42000 W"),
    ],
)
def test_a_load_is_implausible_beyond_twice_what_the_site_file_admits_and_the_units_swing(
    meter_w: int, wrong: str
) -> None:
    meter = a_meter(meter_w)
    snapshot = a_snapshot(meter, an_inverter())
    assert implausible(SITE, snapshot, meter) == wrong
    assert implausible(SITE, msgspec.structs.replace(snapshot, poi_battery_w=None), meter) == ""


# -- our own move in flight ---------------------------------------------------------------------------------------


def test_a_sample_at_rest_is_the_load_and_is_remembered_with_the_meters_own_time() -> None:
    found = seen(AT_REST, 40, 3000, inverter_ms=NOW_MS - 300)
    assert found == Load(low_w=40, high_w=40, net_load_w=40, sampled_ms=NOW_MS, balance_w=14)


def test_the_first_sample_of_all_is_believed_even_in_flight() -> None:
    found = seen(State(moved_ms=NOW_MS, trend_w_per_s=500), 3000, 1000)
    assert found == Load(low_w=3000, high_w=3000, net_load_w=3000, sampled_ms=NOW_MS, balance_w=3000)


@pytest.mark.parametrize(
    ("moved_ago_ms", "inverter_ms", "believed"),
    [
        (1000, NOW_MS, True),
        (999, NOW_MS, False),
        (1300, NOW_MS - 300, True),
        (1299, NOW_MS - 300, False),
    ],
)
def test_a_move_is_in_flight_until_meter_and_inverter_were_sampled_after_it_settled(
    moved_ago_ms: int, inverter_ms: int, believed: bool
) -> None:
    found = seen(moved(moved_ago_ms), 2000, 1000, inverter_ms=inverter_ms)
    expected_w, at_ms = (2000, NOW_MS) if believed else (1000, NOW_MS - 1500)
    assert (found.low_w, found.high_w, found.net_load_w, found.sampled_ms) == (expected_w,) * 3 + (at_ms,)
    assert found.balance_w == (2000 if believed else 900)


def test_the_slowest_unit_tells_how_long_a_move_is_in_flight_and_a_stranger_is_not_asked() -> None:
    site = a_site(2)
    slow = msgspec.structs.replace(site.unit[1], settle_ms=2000)
    site = msgspec.structs.replace(site, unit=(msgspec.structs.replace(site.unit[0], settle_ms=None), slow))
    meter = a_meter(-2000)
    readings = (meter, an_inverter(), an_inverter(n=2), an_inverter(n=3, at_ms=0))
    for moved_ago_ms, expected_w in ((2000, 2000), (1999, 1000)):
        found = estimate(site, moved(moved_ago_ms), a_snapshot(*readings), meter)
        assert found.net_load_w == expected_w


@pytest.mark.parametrize(("known_ago_ms", "believed"), [(3001, True), (3000, False)])
def test_while_moves_never_rest_the_estimate_is_renewed_after_three_settling_times(
    known_ago_ms: int, believed: bool
) -> None:
    state = moved(0, net_load_sampled_ms=NOW_MS - known_ago_ms)
    assert seen(state, 2000, 1000).net_load_w == (2000 if believed else 1000)


@pytest.mark.parametrize(
    ("load_w", "battery_w", "expected"),
    [
        (1500, 7500, (1000, 1000, 1000)),  # exactly 6,000 W out
        (1500, 7501, (1000, 1500, 1500)),
        (500, 6501, (500, 1000, 500)),
        (6000, -6000, (1000, 1000, 1000)),  # exactly 12,000 W in
        (6000, -6001, (1000, 6000, 6000)),
        (-500, -11_501, (1000, 1000, 1000)),
        (-500, -12_501, (-500, 1000, -500)),
    ],
)
def test_beyond_a_limit_the_worse_of_a_sample_in_flight_and_the_known_load_counts(
    load_w: int, battery_w: int, expected: tuple[int, int, int]
) -> None:
    found = seen(moved(0), load_w, battery_w)
    assert (found.low_w, found.high_w, found.net_load_w) == expected
    assert (found.sampled_ms, found.balance_w) == (NOW_MS - 1500, 900)


def test_balance_and_trend_act_once_on_a_sample() -> None:
    state = msgspec.structs.replace(AT_REST, net_load_sampled_ms=NOW_MS, trend_w_per_s=-300, net_load_w=-500)
    again = seen(state, -450)
    assert (again.balance_w, again.trend_w_per_s, again.net_load_w) == (0, -300, -450)
    fresh = seen(msgspec.structs.replace(state, net_load_sampled_ms=NOW_MS - 1), -450)
    assert (fresh.balance_w, fresh.trend_w_per_s) == (-450, 0)
    first = seen(msgspec.structs.replace(state, balance_w=None), -450)
    assert first.balance_w == -450


# -- the trend ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before_w_per_s", "moved_w", "elapsed_ms", "nameplate_w", "expected_w_per_s"),
    [
        (0, 50, 1000, 10_000, 0),
        (700, 50, 1000, 10_000, 0),
        (700, 0, 1000, 10_000, 0),
        (0, 51, 1000, 10_000, 51),
        (0, 99, 1000, 10_000, 99),
        (0, 5000, 200, 10_000, 100),
        (99, 5000, 200, 10_000, 100),
        (100, 5000, 200, 10_000, 400),
        (100, 399, 1000, 10_000, 399),
        (400, 750, 1000, 10_000, 750),
        (400, 5000, 1000, 10_000, 1600),
        (750, 150, 200, 10_000, 750),
        (750, 149, 200, 10_000, 745),
        (-750, 5000, 1000, 10_000, 100),
        (0, 250, 1000, 50_000, 0),
        (0, 251, 1000, 50_000, 251),
        (0, 5000, 1000, 50_000, 500),
        (499, 5000, 1000, 50_000, 500),
        (500, 5000, 1000, 50_000, 2000),
        (0, 50, 1000, 1000, 0),
        (0, 5000, 1000, 1000, 100),
    ],
)
def test_a_trend_needs_a_second_sample_in_its_direction_and_grows_fourfold_at_most(
    before_w_per_s: int, moved_w: int, elapsed_ms: int, nameplate_w: int, expected_w_per_s: int
) -> None:
    assert next_trend_w_per_s(before_w_per_s, moved_w, elapsed_ms, nameplate_w) == expected_w_per_s
    assert next_trend_w_per_s(-before_w_per_s, -moved_w, elapsed_ms, nameplate_w) == -expected_w_per_s


@pytest.mark.parametrize(
    ("trend_w_per_s", "load_w", "age_ms", "below_w", "above_w"),
    [
        (-400, -750, 0, 1500, 0),
        (-400, -750, 200, 1650, 0),
        (-25, -750, 0, 0, 0),
        (0, -750, 0, 0, 0),
        (-100, -100, 0, 0, 0),
        (-100, -101, 0, 202, 0),
        (400, 750, 0, 0, 1500),
        (400, 750, 200, 0, 1650),
        (25, 750, 0, 0, 0),
        (100, 100, 0, 0, 0),
        (100, 101, 0, 0, 202),
        (-400, 750, 0, 0, 0),
        (400, -750, 0, 0, 0),
    ],
)
def test_the_interval_goes_ahead_to_where_the_load_will_be_when_the_next_move_takes_effect(
    trend_w_per_s: int, load_w: int, age_ms: int, below_w: int, above_w: int
) -> None:
    """A cycle and the settling time from now on, 2 s together, and the age of the sample; the other end stays."""
    state = msgspec.structs.replace(AT_REST, trend_w_per_s=trend_w_per_s)
    found = seen(state, load_w, now_ms=NOW_MS + age_ms)
    assert (found.low_w, found.high_w) == (load_w - below_w, load_w + above_w)
    assert found.net_load_w == load_w


@pytest.mark.parametrize(("charge_w", "discharge_w"), [(60_000, 10_000), (10_000, 60_000)])
def test_on_a_larger_site_a_trend_begins_with_a_hundredth_of_its_nameplate_a_second(
    charge_w: int, discharge_w: int
) -> None:
    unit = msgspec.structs.replace(SITE.unit[0], charge_max_w=charge_w, discharge_max_w=discharge_w)
    site = msgspec.structs.replace(SITE, unit=(unit,))
    state = msgspec.structs.replace(AT_REST, trend_w_per_s=599)
    assert (seen(state, 601, site=site).high_w, seen(state, 601, site=site).trend_w_per_s) == (601, 600)
    state = msgspec.structs.replace(AT_REST, trend_w_per_s=600)
    assert (seen(state, 601, site=site).high_w, seen(state, 601, site=site).trend_w_per_s) == (601 + 1202, 601)


def test_a_slow_cycle_and_a_slow_unit_lengthen_what_lies_ahead() -> None:
    slow = msgspec.structs.replace(SITE.unit[0], settle_ms=700)
    site = msgspec.structs.replace(SITE, cycle_ms=500, unit=(slow,))
    found = seen(msgspec.structs.replace(AT_REST, trend_w_per_s=-500), -1000, site=site)
    assert found.low_w == -1000 - 1200


def test_a_sample_of_a_time_to_come_is_of_now() -> None:
    found = seen(msgspec.structs.replace(AT_REST, trend_w_per_s=-400), -750, now_ms=NOW_MS - 500)
    assert found.low_w == -750 - 1500


@pytest.mark.parametrize(
    ("load_w", "low_w"),
    [(-999, -2997), (-1665, -4995), (-1667, -5000), (-4999, -5000), (-5000, -5000), (-5600, -5600)],
)
def test_a_trend_goes_no_farther_than_the_largest_load_or_generation_of_the_site_file(load_w: int, low_w: int) -> None:
    """From 0 W a second ago: two seconds on it is three times as far."""
    falling = msgspec.structs.replace(AT_REST, trend_w_per_s=-9000)
    assert (seen(falling, load_w).low_w, seen(falling, load_w).high_w) == (low_w, load_w)
    site = with_poi(load_max_w=5000)
    rising = msgspec.structs.replace(AT_REST, trend_w_per_s=9000)
    assert (seen(rising, -load_w, site=site).low_w, seen(rising, -load_w, site=site).high_w) == (-load_w, -low_w)


def a_contact(means: str, limit_w: int | None) -> Input:
    return Input(name="relay", device="contacts", channel=0, means=means, limit_w=limit_w)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("poi", "contacts", "operated", "last_w"),
    [
        ({}, (), None, 5000),
        ({"export_max_w": 3000, "import_max_w": 3000}, (), None, 2900),
        ({"export_max_w": 3000, "import_max_w": 3000, "margin_w": 0}, (), None, 3000),
        ({}, (), (-3000, 3000), 2900),
        ({}, (), (-9000, 9000), 5000),
        ({}, (("export_limit", 3000), ("import_limit", 3000)), None, 2900),
        ({}, (("export_limit", None), ("import_limit", None)), None, 1000),
        ({}, (("export_limit", 4000), ("import_limit", 4000)), (-3000, 3000), 2900),
        ({}, (("export_limit", 2500), ("import_limit", 2500)), (-3000, 3000), 2400),
        ({}, (("storm", 3), ("no_charge", None)), None, 5000),
    ],
)
def test_a_trend_forces_nothing_it_ends_where_the_limits_leave_the_batteries_0_w(
    poi: dict[str, int], contacts: tuple[tuple[str, int | None], ...], operated: tuple[int, int] | None, last_w: int
) -> None:
    """A load of 1 kW a second in either direction, which moves on by the trend's 9 kW/s, but only so far."""
    site = with_poi(**({"load_max_w": 5000} | poi))
    site = msgspec.structs.replace(site, input=tuple(a_contact(*one) for one in contacts))
    held = None if operated is None else Operated(low_w=operated[0], high_w=operated[1], at_ms=0)
    for way in (-1, 1):
        state = State(
            net_load_w=-2000 * way,
            net_load_sampled_ms=NOW_MS - 1000,
            balance_w=0,
            trend_w_per_s=9000 * way,
            operated=held,
        )
        found = seen(state, 1000 * way, site=site)
        assert (found.low_w, found.high_w) == ((-last_w, -1000) if way < 0 else (1000, last_w))


def test_each_side_of_a_trend_has_its_own_limits() -> None:
    site = msgspec.structs.replace(SITE, input=(a_contact("export_limit", 2000),))
    held = Operated(low_w=-3000, high_w=9000, at_ms=0)
    for way, ends in ((-1, (-1900, -1000)), (1, (1000, 2900))):
        known = State(
            net_load_w=-2000 * way, net_load_sampled_ms=NOW_MS - 1000, trend_w_per_s=9000 * way, operated=held
        )
        assert (seen(known, 1000 * way, site=site).low_w, seen(known, 1000 * way, site=site).high_w) == ends
    site = msgspec.structs.replace(SITE, input=(a_contact("import_limit", 2000),))
    held = Operated(low_w=-9000, high_w=3000, at_ms=0)
    for way, ends in ((-1, (-2900, -1000)), (1, (1000, 1900))):
        known = State(
            net_load_w=-2000 * way, net_load_sampled_ms=NOW_MS - 1000, trend_w_per_s=9000 * way, operated=held
        )
        assert (seen(known, 1000 * way, site=site).low_w, seen(known, 1000 * way, site=site).high_w) == ends


@pytest.mark.parametrize(
    ("trend_w_per_s", "load_w", "low_w", "high_w"),
    [
        # 1,000 W known for 1.5 s; 3.5 s from there on
        (-400, 400, -400, 1000),
        (-400, 100, -400, 1000),
        (-400, 700, 300, 1000),
        (-400, 849, 1000, 1000),
        (-400, 1000, 1000, 1000),
        (-400, 1600, 1000, 1000),
        (400, 1600, 1000, 2400),
        (400, 1900, 1000, 2400),
        (400, 1300, 1000, 1700),
        (400, 1150, 1000, 1000),
        (400, 400, 1000, 1000),
        (-100, 400, 1000, 1000),
        (0, 400, 1000, 1000),
    ],
)
def test_in_flight_a_trend_goes_on_as_far_as_the_sample_shows_it_and_takes_nothing_from_it(
    trend_w_per_s: int, load_w: int, low_w: int, high_w: int
) -> None:
    found = seen(moved(0, trend_w_per_s=trend_w_per_s), load_w)
    assert (found.low_w, found.high_w) == (low_w, high_w)
    assert (found.net_load_w, found.trend_w_per_s) == (1000, trend_w_per_s)


def test_in_flight_a_sample_that_was_known_before_the_move_says_nothing_against_the_trend() -> None:
    state = moved(0, trend_w_per_s=-400, net_load_sampled_ms=NOW_MS)
    assert (seen(state, 1000).low_w, seen(state, 1200).low_w) == (200, 200)


def test_in_flight_and_beyond_a_limit_the_trend_goes_on_from_the_worse_load() -> None:
    found = seen(moved(0, trend_w_per_s=-400), 400, 6500)
    assert (found.low_w, found.high_w, found.net_load_w) == (400 - 1400, 1000, 400)


EVEN = with_poi(generation_max_w=11_000, export_max_w=12_000)


def course(load_w: Callable[[int], int], every_ms: int, length_ms: int = 20_000) -> list[tuple[int, int]]:
    """Return (below_w, above_w) of each cycle of a site at rest whose meter is sampled every so often."""
    state, found = State(), []
    for now_ms in range(NOW_MS, NOW_MS + length_ms, 100):
        at_ms = now_ms - now_ms % every_ms
        meter = a_meter(-load_w(at_ms - NOW_MS), at_ms)
        got = estimate(EVEN, state, a_snapshot(meter, an_inverter(at_ms=at_ms), now_ms=now_ms), meter)
        assert got.low_w is not None
        assert got.high_w is not None
        assert got.net_load_w is not None
        state = State(
            net_load_w=got.net_load_w,
            net_load_sampled_ms=got.sampled_ms,
            balance_w=got.balance_w,
            trend_w_per_s=got.trend_w_per_s,
        )
        found.append((got.net_load_w - got.low_w, got.high_w - got.net_load_w))
    return found


@pytest.mark.parametrize("every_ms", [200, 1000, 5000])
@pytest.mark.parametrize(
    "load_w",
    [
        lambda t_ms: 4000 if t_ms > 3000 else -2000,
        lambda t_ms: -2000 if t_ms > 3000 else 4000,
        lambda t_ms: 500 * (t_ms // 10_000),
        lambda t_ms: (t_ms // 200 * 37) % 50,
        lambda t_ms: -((t_ms // 200 * 37) % 50),
    ],
    ids=["step up", "step down", "steps", "noise", "noise below"],
)
def test_neither_a_step_nor_noise_is_a_trend(load_w: Callable[[int], int], every_ms: int) -> None:
    assert set(course(load_w, every_ms)) == {(0, 0)}


@pytest.mark.parametrize(("every_ms", "from_ms", "age_ms"), [(200, 1800, 100), (1000, 4000, 900)])
def test_a_ramp_is_a_trend_from_its_third_sample_on_until_it_ends(every_ms: int, from_ms: int, age_ms: int) -> None:
    """750 W/s from 1 s to 7 s, up and down."""

    def ramp(t_ms: int) -> int:
        return 750 * min(max(0, t_ms - 1000), 6000) // 1000

    up, down = course(lambda t_ms: ramp(t_ms), every_ms), course(lambda t_ms: -ramp(t_ms), every_ms)
    assert down == [(above_w, below_w) for below_w, above_w in up]
    assert {below_w for below_w, _ in up} == {0}
    above_w = [above_w for _, above_w in up]
    whole_w = {750 * (2000 + age_ms) // 1000 for age_ms in range(0, age_ms + 1, 100)}
    assert set(above_w[from_ms // 100 : 70]) == whole_w
    second_ms = 1000 + 2 * every_ms
    assert set(above_w[: second_ms // 100]) == {0}
    assert above_w[second_ms // 100] == 800, "400 W/s with the third sample"
    assert set(above_w[(7000 + every_ms) // 100 :]) == {0}


def exceeded_w(*, with_trend: bool, every_ms: int = 200, lag_ms: int = 300) -> int:
    """Return by how much a PV ramp of 750 W/s lets a site at its export limit of 6 kW exceed it.

    An inverter that takes 100 ms to begin and follows with a lag; its meter and itself are sampled at one time.
    """
    state, power_w, most_w = State(), 5000, 0
    told: list[int] = [5000]
    for t_ms in range(0, 14_000, 100):
        now_ms = NOW_MS + t_ms
        pv_w = 750 * min(max(0, t_ms - 5000), 6000) // 1000
        power_w += (told[max(0, len(told) - 2)] - power_w) * 100 // lag_ms
        most_w = max(most_w, power_w + pv_w - 6000)
        if t_ms % every_ms:
            told.append(told[-1])
            continue
        meter = a_meter(power_w + pv_w, now_ms)
        got = estimate(SITE, state, a_snapshot(meter, an_inverter(power_w, at_ms=now_ms), now_ms=now_ms), meter)
        (limit,) = poi_limit.limits(a_sight(load_low_w=got.low_w, load_high_w=got.high_w))
        told.append(max(limit.low_w, min(5000, limit.high_w)))
        state = State(
            moved_ms=now_ms if abs(told[-1] - told[-2]) > 100 else state.moved_ms,
            net_load_w=got.net_load_w,
            net_load_sampled_ms=got.sampled_ms,
            balance_w=got.balance_w,
            trend_w_per_s=got.trend_w_per_s if with_trend else 0,
        )
    return most_w


def test_a_ramp_of_generation_does_not_exceed_the_export_limit_as_it_did_without_the_trend() -> None:
    assert exceeded_w(with_trend=False) > 200
    assert exceeded_w(with_trend=True) <= 0
    assert exceeded_w(with_trend=False, every_ms=1000) > 500
    assert exceeded_w(with_trend=True, every_ms=1000) < exceeded_w(with_trend=False, every_ms=1000)


loads = st.integers(-40_000, 40_000)


@settings(max_examples=200, deadline=None)
@given(
    loads, loads, st.integers(-5000, 5000), st.integers(0, 2000), st.integers(-4000, 10), st.integers(-10_000, 10_000)
)
def test_a_trend_never_narrows_the_interval_and_never_makes_both_ends_of_it(
    known_w: int, load_w: int, trend_w_per_s: int, moved_ago_ms: int, known_ms: int, battery_w: int
) -> None:
    state = moved(moved_ago_ms, net_load_w=known_w, net_load_sampled_ms=NOW_MS + known_ms)
    plain = seen(state, load_w, battery_w)
    found = seen(msgspec.structs.replace(state, trend_w_per_s=trend_w_per_s), load_w, battery_w)
    if plain.low_w is None or plain.high_w is None:
        assert found.low_w is None
        return
    assert found.low_w is not None
    assert found.high_w is not None
    assert found.low_w <= plain.low_w <= plain.high_w <= found.high_w
    assert found.low_w == plain.low_w or found.high_w == plain.high_w
    assert (found.net_load_w, found.balance_w) == (plain.net_load_w, plain.balance_w)


# -- phases -------------------------------------------------------------------------------------------------------


def on_phases(*phases: str) -> Site:
    site = a_site(len(phases))
    units = tuple(msgspec.structs.replace(unit, phases=one) for unit, one in zip(site.unit, phases, strict=True))
    return msgspec.structs.replace(site, unit=units)


def by_phase(
    site: Site,
    powers_w: tuple[int | None, ...],
    phase_w: tuple[int, int, int] | None,
    state: State = AT_REST,
    **changes: Any,
) -> tuple[Any, Any]:
    """Return the loads by phase; the meter's whole is the sum of its phases."""
    meter = a_meter(sum(phase_w or (0,)), phase_w=phase_w)
    readings: list[AnyReading] = [meter]
    readings += [an_inverter(power_w, n) for n, power_w in enumerate(powers_w, 1)]
    found = estimate(site, state, a_snapshot(*readings, **changes), meter)
    return found.phase_low_w, found.phase_high_w


@pytest.mark.parametrize(
    ("phases", "powers_w", "phase_w", "expected"),
    [
        (("abc",), (0,), (-100, -200, 300), (100, 200, -300)),
        (("abc",), (3000,), (900, 1000, 1100), (100, 0, -100)),
        (("abc",), (-3001,), (-1000, -1000, -1001), (0, 0, -1 + 1 - 1 + 1)),
        (("abc", "a"), (3000, -500), (0, 0, 0), (500, 1000, 1000)),
        (("b", "c"), (700, 800), (1, 2, 3), (-1, 698, 797)),
        (("abc", "b"), (3000, None), (0, 0, 0), (1000, 1000, 1000)),
    ],
)
def test_the_load_of_a_phase_is_the_batteries_power_there_less_what_the_meter_shows(
    phases: tuple[str, ...], powers_w: tuple[int | None, ...], phase_w: tuple[int, int, int], expected: Any
) -> None:
    assert by_phase(on_phases(*phases), powers_w, phase_w) == (expected, expected)


@pytest.mark.parametrize(
    ("phases", "battery_w", "expected"),
    [
        (("abc", "abc"), 2000, (667, 667, 666)),
        (("abc", "abc"), 2003, (668, 668, 667)),
        (("abc", "abc"), 1997, (666, 666, 665)),
        (("abc", "abc"), 2001, (668, 667, 666)),
        (("a", "a"), 2600, (2600, 0, 0)),
        (("c", "c"), 1400, (0, 0, 1400)),
        (("a", "b"), 2005, (1003, 1002, 0)),
        (("c", "b"), 1995, (0, 998, 997)),
    ],
)
def test_the_batteries_power_by_phase_adds_up_to_that_of_the_meters_own_time(
    phases: tuple[str, ...], battery_w: int, expected: tuple[int, int, int]
) -> None:
    """Two inverters told 1 kW each; what they had at the meter's sample is another sum."""
    found = by_phase(on_phases(*phases), (1000, 1000), (0, 0, 0), poi_battery_w=battery_w)
    assert found == (expected, expected)
    assert sum(expected) == battery_w


def test_without_powers_by_phase_there_are_no_loads_by_phase() -> None:
    assert by_phase(on_phases("abc"), (0,), None) == (None, None)


@pytest.mark.parametrize(
    ("phase_w", "known"),
    [
        ((-42_000, 30_000, 0), True),
        ((0, -42_001, 42_000), False),
        ((0, 30_001, -30_000), False),
        ((30_000, 0, -42_000), True),
        ((-30_000, 0, 30_001), False),
    ],
)
def test_a_phase_that_no_site_could_have_leaves_no_phase_known(phase_w: tuple[int, int, int], known: bool) -> None:
    low_w, high_w = by_phase(on_phases("abc"), (0,), phase_w)
    assert (low_w is not None, high_w is not None) == (known, known)


@pytest.mark.parametrize(
    ("phases", "sample_w", "off_w"),
    [
        (("abc",), (-400, -400, -400), 67),
        (("abc",), (-400, -400, -401), 67),
        (("abc",), (-300, -300, -200), 67),
        (("abc", "abc"), (-400, -400, -403), 68),
        (("abc", "a"), (-400, -400, -401), 201),
        (("a",), (-300, -300, -200), 200),
    ],
)
def test_in_flight_each_phase_is_widened_by_what_our_own_move_may_blur_on_it(
    phases: tuple[str, ...], sample_w: tuple[int, int, int], off_w: int
) -> None:
    """1,000 W are known of the whole; at rest nothing is widened."""
    low_w, high_w = by_phase(on_phases(*phases), (0,) * len(phases), sample_w, moved(0))
    assert low_w == tuple(-w - off_w for w in sample_w)
    assert high_w == tuple(-w + off_w for w in sample_w)
    rested = by_phase(on_phases(*phases), (0,) * len(phases), sample_w, moved(1000))
    assert rested == (tuple(-w for w in sample_w),) * 2


def test_in_flight_and_beyond_a_limit_a_phase_is_widened_by_the_blur_alone() -> None:
    low_w, high_w = by_phase(on_phases("abc"), (7502,), (2001, 2000, 2000), moved(0))
    assert low_w == tuple(w - 167 for w in (500, 501, 500))
    assert high_w == tuple(w + 167 for w in (500, 501, 500))


def test_an_inverter_that_is_no_units_counts_on_no_phase() -> None:
    found = by_phase(on_phases("abc"), (300, 9000), (0, 0, 0), poi_battery_w=300)
    assert found == ((100, 100, 100),) * 2, "the second one is not of this site"


def test_a_trend_of_the_whole_is_no_trend_of_a_phase() -> None:
    state = msgspec.structs.replace(AT_REST, trend_w_per_s=-400)
    assert by_phase(on_phases("abc"), (0,), (700, 0, 50), state) == ((-700, 0, -50),) * 2
    assert seen(state, -750, phase_w=(700, 0, 50)).low_w == -2250


# -- small numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("moved_ms", "in_flight"), [(NOW_MS, False), (NOW_MS + 1, True)])
def test_a_unit_that_settles_at_once_is_in_flight_for_no_time(moved_ms: int, in_flight: bool) -> None:
    site = msgspec.structs.replace(SITE, unit=(msgspec.structs.replace(SITE.unit[0], settle_ms=None),))
    state = State(moved_ms=moved_ms, net_load_w=1000, net_load_sampled_ms=NOW_MS, balance_w=1000)
    assert seen(state, 1500, site=site).low_w == (1000 if in_flight else 1500)


def test_noise_is_half_a_percent_of_a_large_nameplate() -> None:
    assert next_trend_w_per_s(0, 1000, 1000, 200_000) == 0
    assert next_trend_w_per_s(0, 1001, 1000, 200_000) == 1001


@pytest.mark.parametrize(
    ("load_w", "elapsed_ms", "going_w_per_s"),
    [
        (1000, 1, 0),  # in a millisecond nothing was seen to go on
        (995, 1, 0),  # nor against it
        (1002, 1, 2000),
        (3000, 1000, 2000),
        (5000, 1000, 3000),
        (1000, 0, 3000),  # the sample that was known already
        (1000, -1, 3000),
    ],
)
def test_in_flight_a_trend_goes_on_by_as_much_as_is_seen_of_it(
    load_w: int, elapsed_ms: int, going_w_per_s: int
) -> None:
    for way in (-1, 1):
        state = State(
            moved_ms=NOW_MS - 1,
            net_load_w=1000 * way,
            net_load_sampled_ms=NOW_MS - elapsed_ms,
            trend_w_per_s=3000 * way,
        )
        site = with_poi(generation_max_w=50_000, load_max_w=50_000, import_max_w=50_000, export_max_w=50_000)
        found = seen(state, load_w * way, site=site)
        ahead_w = going_w_per_s * (2000 + max(0, elapsed_ms)) // 1000
        ends_w = (1000, 1000 + ahead_w) if way > 0 else (-1000 - ahead_w, -1000)
        assert (found.low_w, found.high_w) == ends_w


def test_a_contact_without_a_limit_leaves_nothing_beyond_the_margin() -> None:
    """A trend ends where it would force the batteries: at 100 W of load where nothing may go out."""
    site = msgspec.structs.replace(SITE, input=(a_contact("export_limit", None), a_contact("import_limit", None)))
    for way in (-1, 1):
        state = State(net_load_w=-1500 * way, net_load_sampled_ms=NOW_MS - 1000, balance_w=0, trend_w_per_s=9000 * way)
        found = seen(state, -500 * way, site=site)
        assert (found.low_w, found.high_w) == ((100, 500) if way < 0 else (-500, -100))


@pytest.mark.parametrize(
    ("phase_w", "power_w", "told"),
    [
        ((1000, 1000, 1000), 3000, False),
        ((1000, 1000, 1500), 3000, False),
        ((1000, 1000, 1501), 3000, True),
        ((1000, 1000, 499), 3000, True),
        ((1000, 1000, 1000), -3000, True),
        ((3000, 3000, 3000), 10_000, False),
        ((3000, 3000, 2999), 10_000, True),
        (None, 3000, False),
    ],
)
def test_a_meter_whose_power_is_not_the_sum_of_its_phases_is_not_believed(
    phase_w: tuple[int, int, int] | None, power_w: int, told: bool
) -> None:
    meter = a_meter(power_w, phase_w=phase_w)
    wrong = implausible(a_site(2), a_snapshot(meter, an_inverter()), meter)
    assert ("phases are" in wrong) is told is bool(wrong)
