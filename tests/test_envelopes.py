"""The envelopes: what the classes leave to each unit and to all of them together, and who is told to have bound it."""

from typing import Any

import msgspec
import pytest

from controller.engine import Envelope, step
from controller.engine.envelopes import Envelopes, _folded, envelopes, unit_envelope
from controller.model import Limit, Order, Site, Snapshot, State
from tests.words import a_battery, a_meter, a_sight, a_site, a_snapshot, a_target, an_inverter

ALL_W = 1_000_000_000


def a_limit(rule: str, low_w: int = -ALL_W, high_w: int = ALL_W, priority: int = 3, unit: str = "") -> Limit:
    return Limit(rule=rule, priority=priority, low_w=low_w, high_w=high_w, because=f"of {rule}", unit=unit)


def a_site_with(units: int = 2, phases: str = "", **poi: Any) -> Site:
    site = a_site(units)
    rows = tuple(
        msgspec.structs.replace(unit, phases=phases[n] if n < len(phases) else "abc")
        for n, unit in enumerate(site.unit)
    )
    return msgspec.structs.replace(site, unit=rows, poi=msgspec.structs.replace(site.poi, margin_w=0, **poi))


def together(*rows: tuple[Limit, ...], **poi: Any) -> Envelopes:
    """Return the envelopes of units on which these limits lie, at a POI without load."""
    sight = a_sight(a_site_with(len(rows), **poi))
    units = tuple(_folded(seen, limits) for seen, limits in zip(sight.units, rows, strict=True))
    return envelopes(sight, units)


def told_by(rule: str, n: int = 1) -> str:
    return f"{rule}(unit{n})"


# -- one unit ----------------------------------------------------------------------------------------------------------


def test_a_units_envelope_is_told_after_each_class() -> None:
    seen = a_sight().units[0]
    limits = tuple(a_limit(f"r{n}", -9000 + 1000 * n, 9000 - 100 * n, priority=n) for n in (0, 1, 3, 4))
    unit = _folded(seen, limits)
    assert [(stage.low_w, stage.high_w) for stage in unit.stages] == [
        (-9000, 9000),
        (-8000, 8900),
        (-8000, 8900),
        (-6000, 8700),
        (-5000, 8600),
    ]
    assert unit.soft == unit.stages[4]
    assert (unit.hard.low_w, unit.hard.high_w) == (-8000, 8900)
    assert unit.limits == limits
    assert unit.unmet == ()


def test_a_unit_of_which_nothing_is_known_has_no_power() -> None:
    seen = msgspec.structs.replace(a_sight().units[0], battery=None, energy_wh=None, low_wh=None, high_wh=None)
    soft = unit_envelope(a_site(), seen).soft
    assert (soft.low_w, soft.high_w) == (0, 0)


# -- all of them together ----------------------------------------------------------------------------------------------


def test_units_that_nothing_of_the_site_is_laid_on_keep_their_own_envelopes() -> None:
    sight = a_sight(a_site_with())
    units = tuple(unit_envelope(sight.site, seen) for seen in sight.units)
    assert envelopes(sight, units).units is units


def test_the_sum_of_the_units_is_what_they_have_together() -> None:
    found = together((a_limit("a", -500, 600),), (a_limit("b", -3000, 4000, priority=4),))
    assert (found.total.low_w, found.total.high_w) == (-3500, 4600)
    low, high = found.total.bounds()
    assert (low.rule, high.rule) == ("b", "b"), "of the class that moved the sum last"
    assert low.because == high.because == "of b; also a: of a"


def test_what_kept_a_later_class_from_moving_the_sum_is_told() -> None:
    """The first unit is at -100 W by c; d would take it further but for t."""
    rows = a_limit("t", low_w=-100, priority=1), a_limit("c", high_w=-100), a_limit("d", high_w=-2000, priority=4)
    found = together(rows, ())
    assert found.total.high_w == 9900
    assert found.total.bounds()[1].because == "of c; also t: of t"
    rows = a_limit("t", high_w=100, priority=1), a_limit("c", low_w=100), a_limit("d", low_w=2000, priority=4)
    assert together(rows, ()).total.bounds()[0].because == "of c; also t: of t"


def test_of_units_together_the_one_that_lost_most_is_named_and_every_rule_once() -> None:
    found = together(
        (a_limit("a", high_w=3000),),
        (a_limit("b", high_w=1000),),
        (a_limit("b", high_w=2000),),
        (a_limit("a", -5, 5000),),
    )
    assert found.total.bounds()[1].because == "of b; also a: of a"
    found = together((a_limit("a", low_w=-3000),), (a_limit("b", low_w=-1000),), (a_limit("b", low_w=-2000),))
    assert found.total.bounds()[0].because == "of b; also a: of a"


def test_a_demand_of_units_that_the_site_has_no_room_for_is_told_once_with_who_made_it() -> None:
    """The export limit of 1 kW stands before the two units' 3 kW; what later classes leave alone is not told again."""
    rows = ((a_limit("a", low_w=3000),), (a_limit("b", low_w=0, priority=1),))
    found = together(*rows, export_max_w=1000)
    assert (found.total.low_w, found.total.high_w) == (1000, 1000)
    assert [(one.rule, one.asked_w, one.by_w) for one in found.total.unmet] == [("a", 3000, 2000)]
    assert found.total.bounds()[0].rule == "a"
    rows = ((a_limit("a", high_w=-3000),), (a_limit("b", high_w=0, priority=1),))
    found = together(*rows, import_max_w=1000)
    assert (found.total.low_w, found.total.high_w) == (-1000, -1000)
    assert [(one.rule, one.asked_w, one.by_w) for one in found.total.unmet] == [("a", -3000, 2000)]


def test_a_demand_that_is_met_to_the_watt_is_met() -> None:
    found = together((a_limit("a", low_w=1000),), (a_limit("b", low_w=0, priority=1),), export_max_w=1000)
    assert (found.total.low_w, found.total.unmet) == (1000, [])
    assert found.total.bounds()[0].rule == "a"


def test_what_a_unit_could_not_meet_is_told_of_the_site() -> None:
    found = together((a_limit("a", high_w=0, priority=0), a_limit("b", low_w=500)), ())
    assert [(one.rule, one.by_w) for one in found.total.unmet] == [("b", 500)]
    assert found.units[0].unmet == tuple(found.total.unmet)


def test_an_order_that_cannot_be_met_names_what_stood_against_it() -> None:
    """4 kW of load beyond what may be drawn have to come from the battery, whatever the utility orders."""
    site = a_site_with(1)
    cease = Order(
        name="c", source="u", kind="cease", domain="battery", low_w=0, high_w=0, starts_ms=0, expires_ms=1 << 60
    )
    snapshot = a_snapshot(a_meter(-16_000), an_inverter(), a_battery(), orders=(cease,))
    decision = step(site, State(), snapshot)[1]
    assert (decision.low.value_w, decision.target_w, decision.high.value_w) == (4000, 4000, 4000)
    assert decision.high.rule == "utility_cease"
    assert "; also poi_limit: " in decision.high.because
    assert decision.available is not None
    assert decision.available.discharge_w == 10_000, "what could be had does not know the order"


# -- a stronger demand of the site, and phases -------------------------------------------------------------------------


def demanded(site: Site, load_w: tuple[int, int, int], **battery: Any) -> Snapshot:
    """Return two units at their reserve behind loads on the three phases."""
    meter = a_meter(-sum(load_w), phase_w=tuple(-w for w in load_w))
    batteries = a_battery(2500, 1, **battery), a_battery(2500, 2)
    return a_snapshot(meter, an_inverter(n=1), an_inverter(n=2), *batteries)


def shared(site: Site, snapshot: Snapshot) -> list[int]:
    return [part.power_w for part in step(site, State(), snapshot)[1].shares]


def test_what_the_site_demands_beyond_the_reserve_is_given_within_each_units_equipment() -> None:
    site = a_site_with()
    assert shared(site, demanded(site, (10_000, 10_000, 6000))) == [1000, 1000]
    weak = demanded(site, (10_000, 10_000, 6000), discharge_max_ma=10_000)
    assert shared(site, weak) == [468, 1532]


def test_what_the_site_demands_beyond_the_reserve_is_given_within_the_limits_of_each_phase() -> None:
    """Phase a has no load and may be fed with 500 W: the unit there gives no more, the one on phase b the rest."""
    site = a_site_with(phases="ab", phase_export_max_w=500)
    assert shared(site, demanded(site, (0, 13_000, 13_000))) == [500, 1500]


def test_what_no_phase_has_room_for_is_left_out_of_what_the_site_demands() -> None:
    site = a_site_with(phases="ab", phase_export_max_w=500)
    decision = step(site, State(), demanded(site, (0, 0, 26_000)))[1]
    assert [part.power_w for part in decision.shares] == [500, 500]
    assert (decision.target_w, decision.low.rule) == (1000, "poi_limit")
    assert "poi_limit" in {one.rule for one in decision.unmet}


def test_a_limit_on_one_unit_is_no_limit_on_all_of_them() -> None:
    site = a_site_with(phases="ab", phase_export_max_w=500)
    meter = a_meter(-5000, phase_w=(0, -5000, 0))
    told = (an_inverter(n=1), an_inverter(n=2), a_battery(n=1), a_battery(n=2))
    decision = step(site, State(), a_snapshot(meter, *told, orders=(a_target(9000),)))[1]
    assert [(part.high_w, part.power_w) for part in decision.shares] == [(500, 500), (5500, 5500)]
    assert (decision.target_w, decision.why) == (6000, "phase_limit(unit1)")
    assert decision.available is not None
    assert decision.available.discharge_w == 6000
    # Above the reserve 15,000 - 500 - 7500 Wh in each unit, at 90 %: for as long as the unit on phase b lasts.
    assert decision.available.discharge_wh == 2 * 6300
    assert decision.available.discharge_s == 6300 * 3600 // 5500 - 120


# -- the fold ----------------------------------------------------------------------------------------------------------


def test_what_a_demand_was_met_by_is_told_at_the_end_that_it_closed() -> None:
    envelope = Envelope(-10, 10)
    envelope.add(a_limit("ceiling", high_w=4))
    envelope.add(a_limit("demand", low_w=7))
    assert (envelope.low_w, envelope.high_w) == (4, 4)
    assert envelope.low is not None
    assert (envelope.low.rule, [one.rule for one in envelope.low_also]) == ("demand", ["ceiling"])
    envelope.add(a_limit("again", low_w=9))
    assert (envelope.low.rule, [one.rule for one in envelope.low_also]) == ("demand", ["ceiling", "ceiling"])
    envelope = Envelope(-10, 10)
    envelope.add(a_limit("floor", low_w=-4))
    envelope.add(a_limit("demand", high_w=-7))
    assert envelope.high is not None
    assert (envelope.high.rule, [one.rule for one in envelope.high_also]) == ("demand", ["floor"])


@pytest.mark.parametrize(("power_w", "clamped_w"), [(-4, -3), (-3, -3), (0, 0), (5, 5), (6, 5)])
def test_a_power_is_brought_to_the_nearest_point(power_w: int, clamped_w: int) -> None:
    assert Envelope(-3, 5).clamp(power_w) == clamped_w


def test_a_nameplate_of_nobody_is_told_as_such() -> None:
    low, high = Envelope(-3, 5).bounds()
    assert (low.value_w, low.rule, high.value_w, high.rule) == (-3, "nameplate", 5, "nameplate")
    named = Envelope(-3, 5)
    named.add(a_limit("r", high_w=1, unit="unit1"))
    assert named.bounds()[1].rule == told_by("r")
