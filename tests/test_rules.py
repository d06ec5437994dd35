"""Each rule as a table, both sides of every edge, and what it does when its data is missing."""

import sys
from importlib import import_module

import msgspec
import pytest

from controller.model import Missing, Sight, Snapshot, State
from controller.programs import PROGRAMS, order_limits, target
from controller.programs.self_consumption import next_balance_w
from controller.rules import SITE_RULES, UNIT_RULES, fault_stop
from tests.words import a_battery, a_meter, a_site, a_snapshot, a_target, all_fresh, an_inverter

look = import_module("controller.engine.step")._look


def seen(snapshot: Snapshot, **changes: object) -> Sight:
    """Return a snapshot as the engine shows it to rules."""
    sight: Sight = look(a_site(**changes), State(), snapshot, {r.device: r for r in snapshot.readings}, ())[3]
    return sight


@pytest.mark.parametrize(
    ("snapshot", "stopped"),
    [
        (all_fresh(), False),
        (a_snapshot(a_meter(), a_battery(), missing=(Missing(device="inverter1", age_ms=9000),)), True),
        (a_snapshot(a_meter(), an_inverter(), missing=(Missing(device="battery1", age_ms=9000),)), True),
        (a_snapshot(an_inverter(), a_battery(), missing=(Missing(device="meter", age_ms=9000),)), False),
        (a_snapshot(a_meter(), an_inverter(None), a_battery()), True),
        (a_snapshot(a_meter(), an_inverter(state="fault"), a_battery()), True),
        (a_snapshot(a_meter(), an_inverter(remote=False), a_battery()), True),
        (a_snapshot(a_meter(), an_inverter(), a_battery(alarms=("cell over-voltage",))), True),
        (a_snapshot(a_meter(), an_inverter(), a_battery(warnings=("cell high",))), False),
        (a_snapshot(a_meter(), an_inverter(), a_battery(contactor_closed=False)), True),
        (a_snapshot(a_meter(), an_inverter(), a_battery(None)), True),
        (a_snapshot(a_meter(), an_inverter(), a_battery(25_500)), True),
    ],
)
def test_fault_stop_stands_a_unit_still(snapshot: Snapshot, stopped: bool) -> None:
    limit = fault_stop.limit(a_site(), seen(snapshot).units[0])
    assert (limit is not None) is stopped
    if limit is not None:
        assert (limit.low_w, limit.high_w) == (0, 0)
        assert limit.because


def test_a_set_point_at_the_poi_moves_with_the_load_and_rests_without_a_meter() -> None:
    order = msgspec.structs.replace(a_target(1000, domain="poi"), high_w=1500)
    wish = target(seen(all_fresh(load_w=2000, orders=(order,))))
    assert wish is not None
    assert (wish.low_w, wish.high_w, wish.priority) == (3000, 3500, 5)
    blind = target(seen(a_snapshot(an_inverter(), a_battery(), orders=(order,))))
    assert blind is not None
    assert (blind.low_w, blind.high_w, blind.priority) == (0, 0, 5)


def test_the_newest_of_several_set_points_is_the_wish() -> None:
    orders = tuple(msgspec.structs.replace(a_target(100 * n), name=f"o{n}", starts_ms=n % 3) for n in (1, 2, 3))
    wish = target(seen(all_fresh(orders=orders)))
    assert wish is not None
    assert wish.low_w == 200


@pytest.mark.parametrize(
    ("kind", "domain", "load_w", "expected"),
    [
        ("cease", "battery", (1000, 1000), (0, 0)),
        ("limit", "battery", (1000, 1000), (-100, 100)),
        ("limit", "poi", (1000, 1000), (900, 1100)),
        ("limit", "poi", (900, 1100), (1000, 1000)),
        ("limit", "poi", (0, 5000), (2500, 2500)),
        ("limit", "poi", (None, None), (0, 0)),
    ],
)
def test_orders_that_limit_narrow_by_the_worst_load_and_meet_in_the_middle_where_they_cross(
    kind: str, domain: str, load_w: tuple[int | None, int | None], expected: tuple[int, int]
) -> None:
    order = msgspec.structs.replace(a_target(0), kind=kind, domain=domain, low_w=-100, high_w=100)
    sight = msgspec.structs.replace(seen(all_fresh(orders=(order,))), load_low_w=load_w[0], load_high_w=load_w[1])
    (limit,) = order_limits(sight)
    assert (limit.low_w, limit.high_w, limit.priority) == (*expected, 5)


@pytest.mark.parametrize(
    ("last_w", "load_w", "nameplate_w", "expected_w"),
    [
        (None, 150, 20_000, 150),
        (1000, 1399, 20_000, 1139),
        (1000, 1400, 20_000, 1400),
        (1000, 601, 20_000, 860),
        (1000, 600, 20_000, 600),
        (1000, 1199, 1000, 1069),
        (1000, 1200, 1000, 1200),
    ],
)
def test_balance_follows_large_moves_whole_and_small_ones_at_reduced_gain(
    last_w: int | None, load_w: int, nameplate_w: int, expected_w: int
) -> None:
    assert next_balance_w(last_w, load_w, nameplate_w) == expected_w


def test_every_rule_and_program_lays_the_class_that_its_first_line_tells() -> None:
    sight = seen(a_snapshot(a_meter(), an_inverter(state="fault"), a_battery()))
    unknown = seen(a_snapshot(an_inverter(), a_battery(None)))
    rows = [(priority, rule) for priority, row in enumerate(SITE_RULES) for rule in row]
    for priority, rule in rows:
        assert {limit.priority for limit in rule(sight) + rule(unknown)} <= {priority}
        assert (sys.modules[rule.__module__].__doc__ or "").startswith(f"Class {priority}: ")
    for priority, unit_rule in UNIT_RULES:
        found = [unit_rule(each.site, each.units[0]) for each in (sight, unknown)]
        assert {limit.priority for limit in found if limit is not None} <= {priority}
        assert (sys.modules[unit_rule.__module__].__doc__ or "").startswith(f"Class {priority}: ")
    for wish in PROGRAMS.values():
        blind = seen(a_snapshot(an_inverter(), a_battery()))
        assert (wish(blind).low_w, wish(blind).high_w) == (0, 0)
        for laid in (wish(sight), wish(blind)):
            assert (sys.modules[wish.__module__].__doc__ or "").startswith(f"Class {laid.priority}: ")


def test_the_rules_stand_in_the_order_of_their_classes() -> None:
    priorities = [priority for priority, _ in UNIT_RULES]
    assert priorities == sorted(priorities)
