"""The energy rules (classes 3 and 4) as tables: both sides of every edge, and what missing data does."""

import msgspec
import pytest

from controller.model import Energy, Limit, Order, Remembered, Site, Storm, UnitSight
from controller.rules import (
    customer_reserve,
    energy_barrier,
    full_charge,
    island_reserve,
    recovery,
    storm_reserve,
)
from controller.rules.unbounded import UNBOUNDED_W
from tests.words import a_site, a_unit, all_fresh

SITE = a_site()
DAY_MS = 86_400_000
UTC_MS = 1_780_000_000_000


def ruled(**changes: object) -> Site:
    """Return the site with other energy rules: floor 10 %, reserve 30 %, ceiling 95 % unless told."""
    return a_site(energy=msgspec.structs.replace(SITE.energy, **changes))


def holding(energy_wh: int, error_wh: int = 500, /, **changes: object) -> UnitSight:
    """Return a unit of 25 kWh that holds so much, as far as it is known."""
    sides = {"energy_wh": energy_wh, "low_wh": energy_wh - error_wh, "high_wh": energy_wh + error_wh}
    return a_unit(**(sides | changes))


def interval(limit: Limit | None) -> tuple[int, int]:
    """Return the interval of a limit that is laid."""
    assert limit is not None
    assert limit.unit == "unit1"
    return limit.low_w, limit.high_w


# 25 kWh: floor 2,500 Wh, ceiling 23,750 Wh, error 500 Wh, H = 120 s = 1/30 h, efficiency 90 %.
@pytest.mark.parametrize(
    ("energy_wh", "expected"),
    [
        (-100, (-700_500, 0)),
        (2_250, (-630_000, 0)),
        (3_000, (-607_500, 0)),
        (3_001, (-607_470, 27)),
        (3_100, (-604_500, 2_700)),
        (15_000, (-247_500, 324_000)),
        (23_225, (-750, 546_075)),
        (23_249, (-30, 546_723)),
        (23_250, (0, 546_750)),
        (23_251, (0, 546_777)),
        (25_000, (0, 594_000)),
    ],
)
def test_energy_barrier_tapers_to_floor_and_ceiling(energy_wh: int, expected: tuple[int, int]) -> None:
    limit = energy_barrier.limit(SITE, holding(energy_wh))
    assert interval(limit) == expected
    assert limit is not None
    assert (limit.rule, limit.priority) == ("energy_barrier", 3)
    sides = f"{energy_wh} Wh stored ({energy_wh - 500} to {energy_wh + 500} Wh)"
    assert limit.because == f"{sides}, floor 2500 Wh, ceiling 23750 Wh"


def test_energy_barrier_takes_the_low_side_for_discharging_and_the_high_one_for_charging() -> None:
    assert interval(energy_barrier.limit(SITE, holding(15_000, low_wh=2_600))) == (-247_500, 2_700)
    assert interval(energy_barrier.limit(SITE, holding(15_000, high_wh=23_740))) == (-300, 324_000)


def test_energy_barrier_measures_floor_and_ceiling_by_the_capacity_that_is_left() -> None:
    limit = energy_barrier.limit(SITE, holding(15_000, capacity_wh=20_001))
    assert interval(limit) == (-105_000, (14_500 - 2_001) * 27)
    assert limit is not None
    assert limit.because.endswith("floor 2001 Wh, ceiling 19000 Wh")


def test_energy_barrier_horizon_is_the_watchdog_where_that_is_longer_and_an_hour_where_it_is_unknown() -> None:
    unit = SITE.unit[0]
    assert energy_barrier.horizon_ms(unit, 1000, 120) == 120_000
    assert energy_barrier.horizon_ms(unit, 1000, 11) == 11_000
    assert energy_barrier.horizon_ms(unit, 1001, 11) == 11_001
    assert energy_barrier.horizon_ms(msgspec.structs.replace(unit, watchdog_s=300), 1000, 120) == 301_000
    assert energy_barrier.horizon_ms(msgspec.structs.replace(unit, watchdog_s=None), 1000, 120) == 3_601_000


def test_a_long_watchdog_lengthens_the_taper_of_every_barrier() -> None:
    slow = msgspec.structs.replace(SITE.unit[0], watchdog_s=359)
    assert interval(energy_barrier.limit(SITE, holding(15_000, unit=slow))) == (-82_500, 108_000)
    assert interval(customer_reserve.limit(SITE, holding(15_000, unit=slow)))[1] == 63_000


@pytest.mark.parametrize("missing", ["energy_wh", "low_wh", "high_wh"])
def test_energy_barrier_closes_both_sides_where_the_energy_is_not_known(missing: str) -> None:
    limit = energy_barrier.limit(SITE, holding(15_000, **{missing: None}))
    assert interval(limit) == (0, 0)
    assert limit is not None
    assert (limit.priority, limit.because) == (3, "stored energy not known")


@pytest.mark.parametrize(
    ("energy_wh", "full_due", "low_w"),
    [
        (24_000, "", 0),
        (24_000, "due", -30_000),
        (24_999, "due", -30),
        (25_000, "due", 0),
        (25_001, "due", 0),
    ],
)
def test_a_full_charge_that_is_due_opens_the_ceiling_without_the_error(
    energy_wh: int, full_due: str, low_w: int
) -> None:
    seen = holding(energy_wh, full_due=full_due)
    assert interval(energy_barrier.limit(SITE, seen)) == (low_w, (energy_wh - 3_000) * 27)


def test_energy_axis_of_the_smallest_site_keeps_its_order() -> None:
    site = a_site(energy=Energy(floor_pct=0, reserve_pct=0, ceiling_pct=100, soc_error_pct=0))
    assert interval(energy_barrier.limit(site, holding(0, 0, capacity_wh=100))) == (-3000, 0)


@pytest.mark.parametrize(
    ("low_wh", "before", "after"),
    [
        (2_250, False, True),
        (2_251, False, False),
        (2_251, True, True),
        (2_500, True, True),
        (2_749, True, True),
        (2_750, True, False),
        (2_749, False, False),
        (-300, False, True),
        (20_000, True, False),
        (None, True, True),
        (None, False, False),
    ],
)
def test_recovery_begins_a_per_cent_below_the_floor_and_ends_a_per_cent_above(
    low_wh: int | None, before: bool, after: bool
) -> None:
    assert recovery.next_recovering(SITE, before, low_wh, 25_000) is after


@pytest.mark.parametrize(("low_wh", "after"), [(-100, True), (-99, False)])
def test_recovery_of_a_site_without_a_floor_begins_below_nothing(low_wh: int, after: bool) -> None:
    assert recovery.next_recovering(ruled(floor_pct=0), False, low_wh, 10_000) is after


@pytest.mark.parametrize(
    ("pct", "changes", "high_w"),
    [
        (10, {"recovering": True}, -1000),
        (33, {"recovering": True}, -3300),
        (1, {"recovering": True}, -100),
        (0, {"recovering": True}, None),
        (10, {"recovering": False}, None),
        (10, {"recovering": True, "low_wh": None}, None),
        (10, {"recovering": True, "islanded": True}, None),
    ],
)
def test_recovery_charges_slowly_and_not_blindly(pct: int, changes: dict[str, object], high_w: int | None) -> None:
    limit = recovery.limit(ruled(recovery_pct=pct), holding(2_500, 400, **changes))
    if high_w is None:
        assert limit is None
        return
    assert interval(limit) == (-UNBOUNDED_W, high_w)
    assert limit is not None
    assert (limit.rule, limit.priority) == ("recovery", 3)
    assert limit.because == f"as little as 2100 Wh stored, below the floor: charged with {-high_w} W"


def test_recovery_never_tells_of_less_than_nothing() -> None:
    limit = recovery.limit(SITE, holding(100, recovering=True))
    assert limit is not None
    assert limit.because.startswith("as little as 0 Wh")


def memory(**changes: object) -> Remembered:
    """Return the memory of a unit that was full a day ago."""
    return msgspec.structs.replace(Remembered(unit="unit1", full_utc_ms=UTC_MS - DAY_MS), **changes)


DAYS = "not full for 14 days"
UNKNOWN = "it is not known when it was full last"
WISH = "the battery asks for a full charge"
WORSE = "the estimate of its energy has grown worse by 5 %"


@pytest.mark.parametrize(
    ("days", "changes", "expected"),
    [
        (None, {}, ("", False)),
        (None, {"full_utc_ms": 0}, ("", False)),
        (None, {"full_utc_ms": 1}, ("", False)),
        (14, {}, ("", False)),
        (14, {"full_utc_ms": UTC_MS - 14 * DAY_MS + 1}, ("", False)),
        (14, {"full_utc_ms": UTC_MS - 14 * DAY_MS}, (DAYS, False)),
        (14, {"full_utc_ms": UTC_MS - 15 * DAY_MS + 1}, (DAYS, False)),
        (14, {"full_utc_ms": UTC_MS - 15 * DAY_MS}, (DAYS, True)),
        (14, {"full_utc_ms": 1}, (DAYS, True)),
        (14, {"full_utc_ms": 0}, (UNKNOWN, False)),
        (14, {"full_utc_ms": UTC_MS + 100 * DAY_MS}, ("", False)),
        (None, {"full_wanted_utc_ms": UTC_MS}, (WISH, False)),
        (None, {"full_wanted_utc_ms": 1}, (WISH, True)),
        (None, {"full_wanted_utc_ms": UTC_MS - DAY_MS + 1}, (WISH, False)),
        (None, {"full_wanted_utc_ms": UTC_MS - DAY_MS}, (WISH, True)),
        (14, {"full_wanted_utc_ms": UTC_MS, "full_utc_ms": UTC_MS - 15 * DAY_MS}, (WISH, True)),
        (14, {"full_wanted_utc_ms": UTC_MS, "full_utc_ms": UTC_MS - 15 * DAY_MS + 1}, (WISH, False)),
        (14, {"full_wanted_utc_ms": UTC_MS, "full_utc_ms": 0}, (WISH, False)),
        (14, {"cycled_mwh": 499_600_000}, ("", False)),
        (14, {"cycled_mwh": 499_600_001}, (WORSE, False)),
        (None, {"cycled_mwh": 5_000_000_000}, ("", False)),
        (14, {"cycled_mwh": 500_000_000, "full_utc_ms": UTC_MS - 15 * DAY_MS}, (DAYS, True)),
        (14, {"cycled_mwh": 500_000_000}, (WORSE, False)),
    ],
)
def test_a_full_charge_is_due_by_days_by_cycles_and_by_the_batterys_wish_and_a_day_later_it_is_forced(
    days: int | None, changes: dict[str, object], expected: tuple[str, bool]
) -> None:
    assert full_charge.due(ruled(full_every_days=days), a_site().unit[0], memory(**changes), UTC_MS) == expected


@pytest.mark.parametrize(("capacity_wh", "reason"), [(25_000, WORSE), (50_000, "")])
def test_the_error_of_each_unit_is_measured_by_its_own_capacity(capacity_wh: int, reason: str) -> None:
    unit = msgspec.structs.replace(a_site().unit[0], capacity_wh=capacity_wh)
    assert full_charge.due(ruled(full_every_days=14), unit, memory(cycled_mwh=600_000_000), UTC_MS) == (reason, False)


@pytest.mark.parametrize(
    ("growth_pct", "cycled_mwh", "grown_wh"),
    [(50, 0, 0), (50, 1, 1), (50, 400_000, 1), (50, 400_001, 2), (1000, 50_000_000, 2500), (0, 10**12, 0)],
)
def test_the_error_grows_by_its_part_of_a_hundred_cycles(growth_pct: int, cycled_mwh: int, grown_wh: int) -> None:
    assert full_charge.grown_wh(ruled(error_growth_pct=growth_pct, full_every_days=14), cycled_mwh) == grown_wh
    assert full_charge.grown_wh(ruled(error_growth_pct=growth_pct), cycled_mwh) == 0


@pytest.mark.parametrize(
    ("recovery_pct", "energy_wh", "changes", "high_w"),
    [
        (10, 24_000, {}, None),
        (10, 24_000, {"full_forced": True}, None),
        (10, 23_750, {"full_due": "due"}, None),
        (10, 23_751, {"full_due": "due"}, 0),
        (10, 15_000, {"full_due": "due", "full_forced": True}, -1000),
        (10, 24_000, {"full_due": "due", "full_forced": True}, -1000),
        (4, 15_000, {"full_due": "due", "full_forced": True}, -500),
        (5, 15_000, {"full_due": "due", "full_forced": True}, -500),
        (6, 15_000, {"full_due": "due", "full_forced": True}, -600),
        (10, 24_000, {"full_due": "due", "energy_wh": None}, None),
        (10, 24_000, {"full_due": "due", "full_forced": True, "energy_wh": None}, None),
        (10, 24_000, {"full_due": "due", "full_forced": True, "islanded": True}, None),
        (10, 24_000, {"full_due": "due", "islanded": True}, None),
    ],
)
def test_a_due_full_charge_keeps_what_is_above_the_ceiling_and_a_forced_one_charges(
    recovery_pct: int, energy_wh: int, changes: dict[str, object], high_w: int | None
) -> None:
    limit = full_charge.limit(ruled(recovery_pct=recovery_pct), holding(energy_wh, **changes))
    if high_w is None:
        assert limit is None
        return
    assert interval(limit) == (-UNBOUNDED_W, high_w)
    assert limit is not None
    assert (limit.rule, limit.priority) == ("full_charge", 3)
    told = f"charged with {-high_w} W" if high_w else "23751 Wh stored, on the way from the ceiling to full"
    assert limit.because == f"due: {told}"


@pytest.mark.parametrize(
    ("energy_wh", "high_w"), [(7_999, 0), (8_000, 0), (8_001, 27), (8_100, 2_700), (8_250, 6_750), (5_000, 0)]
)
def test_customer_reserve_is_kept_with_the_error_of_the_estimate(energy_wh: int, high_w: int) -> None:
    limit = customer_reserve.limit(SITE, holding(energy_wh))
    assert interval(limit) == (-UNBOUNDED_W, high_w)
    assert limit is not None
    assert (limit.rule, limit.priority) == ("customer_reserve", 4)
    assert limit.because == f"at least {energy_wh - 500} Wh stored, 7500 Wh are the customer's"


def test_a_reserve_is_rounded_up_and_what_is_stored_is_never_less_than_nothing() -> None:
    limit = customer_reserve.limit(SITE, holding(100, capacity_wh=20_001))
    assert limit is not None
    assert limit.because == "at least 0 Wh stored, 6001 Wh are the customer's"


def test_the_reserves_are_kept_where_the_energy_is_not_known() -> None:
    unknown = holding(20_000, low_wh=None)
    limit = customer_reserve.limit(SITE, unknown)
    assert interval(limit) == (-UNBOUNDED_W, 0)
    assert limit is not None
    assert limit.because == "stored energy not known: what is the customer's is kept"
    cut_off = msgspec.structs.replace(unknown, islanded=True)
    assert interval(island_reserve.limit(SITE, cut_off)) == (-UNBOUNDED_W, 0)
    storm = msgspec.structs.replace(unknown, reserve_bp=1, rising_bp=1)
    assert interval(storm_reserve.limit(SITE, storm)) == (-UNBOUNDED_W, 0)


def test_in_an_island_the_reserve_is_given_up_down_to_the_islands_own() -> None:
    cut_off = holding(5_000, islanded=True, reserve_bp=9000, rising_bp=9000)
    assert customer_reserve.limit(SITE, cut_off) is None
    assert storm_reserve.limit(SITE, cut_off) is None
    site = ruled(island_pct=15)
    limit = island_reserve.limit(site, cut_off)
    assert interval(limit) == (-UNBOUNDED_W, (4_500 - 3_750) * 27)
    assert limit is not None
    assert (limit.rule, limit.priority) == ("island_reserve", 4)
    assert limit.because == "at least 4500 Wh stored, 3750 Wh are kept in an island"
    assert interval(island_reserve.limit(site, holding(4_251, islanded=True)))[1] == 27
    assert interval(island_reserve.limit(site, holding(4_250, islanded=True)))[1] == 0
    assert island_reserve.limit(site, holding(5_000)) is None


def kept(soc_bp: int, by_ms: int = 0, starts_ms: int = 0, name: str = "reserve") -> Order:
    """Return an order to keep energy."""
    return Order(
        name=name,
        source=f"{name} desk",
        kind="reserve",
        domain="battery",
        low_w=0,
        high_w=0,
        starts_ms=starts_ms,
        expires_ms=10**9,
        soc_bp=soc_bp,
        by_ms=by_ms,
    )


DESK = "asked for by reserve desk"
STORM = "kept for the storm"


# The snapshot is of 100,000 ms; the customer's reserve is 30 %.
@pytest.mark.parametrize(
    ("orders", "since_ms", "expected"),
    [
        ((), None, (0, 0, "")),
        ((kept(8000),), None, (8000, 0, DESK)),
        ((kept(0),), None, (0, 0, "")),
        ((kept(-5, 200_000),), None, (0, 0, "")),
        ((kept(10_001),), None, (10_000, 0, DESK)),
        ((msgspec.structs.replace(kept(8000), kind="limit"),), None, (0, 0, "")),
        ((kept(8000, 200_000),), None, (8000, 5500, DESK)),
        ((kept(8000, 200_000, 100_000),), None, (8000, 3000, DESK)),
        ((kept(8000, 200_000, 150_000),), None, (8000, 3000, DESK)),
        ((kept(8000, 150_000, 150_000),), None, (8000, 3000, DESK)),
        ((kept(8000, 105_000, 99_999),), None, (8000, 3000, DESK)),
        ((kept(8000, 104_999, 99_999),), None, (8000, 3001, DESK)),
        ((kept(8000, 105_000, 100_000),), None, (8000, 3000, DESK)),
        ((kept(8000, 200_000, 100_001),), None, (8000, 3000, DESK)),
        ((kept(2000, 200_000, 150_000),), None, (2000, 2000, DESK)),
        ((kept(8000, 100_001),), None, (8000, 7999, DESK)),
        ((kept(8000, 100_000),), None, (8000, 8000, DESK)),
        ((kept(8000, 50_000),), None, (8000, 8000, DESK)),
        ((kept(8000, 100_000, 100_000),), None, (8000, 8000, DESK)),
        ((kept(2000, 200_000),), None, (2000, 2000, DESK)),
        ((kept(3001, 200_000),), None, (3001, 3000, DESK)),
        ((kept(8000), kept(7000, 50_000, name="other")), None, (8000, 7000, DESK)),
        ((kept(7000, 50_000, name="other"), kept(8000)), None, (8000, 7000, DESK)),
        ((kept(8000), kept(8000, name="other")), None, (8000, 0, DESK)),
        ((), 0, (9000, 3600, STORM)),
        ((), 100_000, (9000, 3000, STORM)),
        ((), 90_000, (9000, 3060, STORM)),
        ((kept(9500),), 90_000, (9500, 3060, DESK)),
        ((kept(8500, 50_000),), 90_000, (9000, 8500, STORM)),
    ],
)
def test_the_largest_reserve_counts_and_rises_on_a_line_until_it_has_to_be_there(
    orders: tuple[Order, ...], since_ms: int | None, expected: tuple[int, int, str]
) -> None:
    site = msgspec.structs.replace(SITE, storm=Storm(reserve_pct=90, recharge_s=1000))
    assert storm_reserve.reserve(site, all_fresh(orders=orders), since_ms) == expected


def test_a_storm_without_a_recharge_time_keeps_and_does_not_charge() -> None:
    site = msgspec.structs.replace(SITE, storm=Storm(reserve_pct=90, recharge_s=0))
    for since_ms in (0, 50_000, 100_000):
        assert storm_reserve.reserve(site, all_fresh(), since_ms) == (9000, 0, STORM)
    at_once = msgspec.structs.replace(SITE, storm=Storm(reserve_pct=90, recharge_s=1))
    assert storm_reserve.reserve(at_once, all_fresh(), 99_000) == (9000, 9000, STORM)
    assert storm_reserve.reserve(at_once, all_fresh(), 99_001) == (9000, 8994, STORM)


# 1 Wh behind the line is 33 W: 1 Wh in 120 s at 90 %. The line of 60 % is 15,000 Wh, the reserve of 80 % 20,000 Wh.
@pytest.mark.parametrize(
    ("low_wh", "rising_bp", "high_w"),
    [
        (15_000, 0, 0),
        (20_000, 0, 0),
        (20_001, 0, 27),
        (20_001, 6000, 27),
        (15_000, 6000, 0),
        (15_001, 6000, 0),
        (14_999, 6000, -33),
        (14_998, 6000, -66),
        (14_701, 6000, -9_966),
        (14_700, 6000, -10_000),
        (14_699, 6000, -10_000),
        (-200, 6000, -10_000),
        (14_999, 5999, 0),
    ],
)
def test_storm_reserve_is_kept_and_charged_for_in_proportion_to_what_is_behind_the_line(
    low_wh: int, rising_bp: int, high_w: int
) -> None:
    seen = holding(
        low_wh + 500, high_wh=low_wh + 1000, reserve_bp=8000, rising_bp=rising_bp, reserve_because="asked for by X"
    )
    limit = storm_reserve.limit(SITE, seen)
    assert interval(limit) == (-UNBOUNDED_W, high_w)
    assert limit is not None
    assert (limit.rule, limit.priority) == ("storm_reserve", 4)
    told = f"at least {max(0, low_wh)} Wh stored"
    if high_w < 0:
        behind = f"{told}, 15000 Wh are to be stored by now, asked for by X: charged with {-high_w} W"
        assert limit.because == behind
    else:
        assert limit.because == f"{told}, 20000 Wh are asked for by X"


@pytest.mark.parametrize(
    ("energy_wh", "full_due", "high_w"),
    [
        (23_249, "", -33),
        (23_250, "", 0),
        (23_300, "", 0),
        (23_300, "due", -10_000),
        (24_499, "due", -33),
        (24_500, "due", 0),
    ],
)
def test_storm_reserve_asks_for_no_more_than_the_ceiling_lets_in(energy_wh: int, full_due: str, high_w: int) -> None:
    seen = holding(energy_wh, reserve_bp=10_000, rising_bp=10_000, full_due=full_due)
    assert interval(storm_reserve.limit(SITE, seen)) == (-UNBOUNDED_W, high_w)


@pytest.mark.parametrize("missing", ["low_wh", "high_wh"])
def test_storm_reserve_charges_for_nothing_where_the_energy_is_not_known(missing: str) -> None:
    seen = holding(15_000, reserve_bp=8000, rising_bp=8000, **{missing: None})
    assert interval(storm_reserve.limit(SITE, seen)) == (-UNBOUNDED_W, 0)


def test_no_storm_no_limit() -> None:
    assert storm_reserve.limit(SITE, holding(15_000)) is None
    assert storm_reserve.limit(SITE, holding(15_000, reserve_bp=1)) is not None
