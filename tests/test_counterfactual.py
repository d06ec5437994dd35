"""I18: an explanation is true: without a rule that it names the bound lies elsewhere, without another it does not.

Where several rules lay the same value the strongest is named: without it the next one stands there with that value, and
without all of them the bound moves. Of units together every rule is named that holds the end of any unit in their sum.
"""

import re
import sys
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.engine import step
from controller.model import (
    AnyReading,
    Bound,
    Consumption,
    Decision,
    Derating,
    Energy,
    Envelope,
    Input,
    Inputs,
    Notice,
    Order,
    Ramp,
    Remembered,
    Share,
    Site,
    Snapshot,
    State,
)
from controller.rules import SITE_RULES, UNIT_RULES
from tests.words import a_battery, a_meter, a_site, a_snapshot, a_target, an_inverter

ENVELOPES = sys.modules["controller.engine.envelopes"]
RULES = {function.__module__.rpartition(".")[2] for _, function in UNIT_RULES} | {
    function.__module__.rpartition(".")[2] for rules in SITE_RULES for function in rules
}
MANY = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
NOW_MS, BEFORE_MS, DAY_MS = 100_000, 99_000, 86_400_000
CURVE = ((3000, 0), (3200, 100))


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What one cycle knows."""

    site: Site
    snapshot: Snapshot
    state: State = State()


def decided(world: World, without: Iterable[str] = ()) -> Decision:
    """Decide without some rules. The site is copied, so that nothing kept from another decision is taken."""
    left_out = set(without)
    with pytest.MonkeyPatch.context() as patch:
        units = tuple(row for row in UNIT_RULES if row[1].__module__.rpartition(".")[2] not in left_out)
        sites = tuple(
            tuple(one for one in rules if one.__module__.rpartition(".")[2] not in left_out) for rules in SITE_RULES
        )
        patch.setattr(ENVELOPES, "UNIT_RULES", units)
        patch.setattr(ENVELOPES, "SITE_RULES", sites)
        return step(msgspec.structs.replace(world.site), world.state, world.snapshot)[1]


def named(bound: Bound) -> set[str]:
    """Return the rules that a bound names and that can be left out: neither the site file's nameplate nor an order."""
    if (bound.rule, bound.because) == ("nameplate", "nameplate in the site file"):
        return set()
    return {bound.rule.partition("(")[0], *re.findall(r"; also ([a-z_]+)", bound.because)} & RULES


def told(decision: Decision) -> str:
    """Return all in a decision that names rules."""
    unmet = [f"{one.rule} {one.because}" for one in decision.unmet]
    bounds = [f"{bound.rule} {' '.join(named(bound))}" for bound in (decision.low, decision.high)]
    return " ".join([*bounds, decision.why, *unmet])


def ends(decision: Decision) -> tuple[int, int]:
    return decision.low.value_w, decision.high.value_w


def stands_without(world: World, decision: Decision, side: str, rule: str) -> set[str]:
    """Return what has to be left out until the bound moves: the rule, and what then stands in its place."""
    value_w, left_out = getattr(decision, side).value_w, {rule}
    while True:
        bound = getattr(decided(world, left_out), side)
        if bound.value_w != value_w or bound.rule.startswith("utility_"):  # an order of the same value stands there
            return left_out
        instead = named(bound) - left_out
        assert instead, f"{side} stays at {value_w} W without {left_out}: {bound}"
        left_out |= instead


def explanation_is_true(world: World) -> Decision:
    """Check both sides: what is named matters, what is not named does not."""
    decision = decided(world)
    for side in ("low", "high"):
        for rule in named(getattr(decision, side)):
            stands_without(world, decision, side, rule)
    text = told(decision)
    for rule in RULES:
        if not re.search(rf"\b{rule}\b", text):
            other = decided(world, {rule})
            same = (other.target_w, *ends(other)) == (decision.target_w, *ends(decision))
            assert same, f"{rule} is not named, but without it {decision} becomes {other}"
    return decision


# -- one case a rule ---------------------------------------------------------------------------------------------------


def with_unit(**changes: object) -> Site:
    site = a_site()
    return msgspec.structs.replace(site, unit=(msgspec.structs.replace(site.unit[0], **changes),))


def with_poi(**changes: object) -> Site:
    site = a_site()
    return msgspec.structs.replace(site, poi=msgspec.structs.replace(site.poi, **changes))


def contact(means: str, limit_w: int | None = None) -> Site:
    return a_site(input=(Input(name="contact", device="io", channel=0, means=means, limit_w=limit_w),))  # type: ignore[arg-type]


def asking(
    asked_w: int,
    *more: AnyReading,
    inverter: dict[str, Any] | None = None,
    battery: dict[str, Any] | None = None,
    **changes: Any,
) -> Snapshot:
    meter = a_meter(-changes.pop("load_w", 0))
    told = meter, an_inverter(**(inverter or {})), a_battery(**(battery or {})), *more
    return a_snapshot(*told, **{"orders": (a_target(asked_w),), **changes})


OPEN = Inputs(device="io", sampled_ms=NOW_MS, heard_ms=NOW_MS, closed=(False,))
RAN = State(
    decided_ms=BEFORE_MS,
    target_w=2000,
    shares=(Share(unit="unit1", low_w=-10_000, high_w=10_000, power_w=2000),),
    units=(Remembered(unit="unit1", phase="run"),),
)
PHASES = {"phase_w": (0, 0, 0)}
CASES: dict[str, tuple[str, World]] = {  # rule -> the side at which it binds, and when
    "fault_stop": ("high", World(site=a_site(), snapshot=asking(5000, battery={"alarms": ("cell over voltage",)}))),
    "released": (
        "high",
        World(site=a_site(), snapshot=asking(5000, notices=(Notice(fault="inverter_unruly", device="inverter1"),))),
    ),
    "ramp_down": (
        "high",
        World(site=a_site(), snapshot=asking(5000, battery={"cell_min_mv": 2900, "cell_max_mv": 3500}), state=RAN),
    ),
    "hold_power": ("high", World(site=a_site(), snapshot=asking(5000, inverter={"alarms": ("fan",)}), state=RAN)),
    "blocked": ("high", World(site=contact("no_discharge"), snapshot=asking(5000, OPEN))),
    "not_running": ("high", World(site=a_site(), snapshot=asking(5000, inverter={"state": "starting"}))),
    "nameplate": ("high", World(site=a_site(), snapshot=asking(5000, inverter={"discharge_max_w": 4000}))),
    "bms_current": ("low", World(site=a_site(), snapshot=asking(-9000, battery={"charge_max_ma": 50_000}))),
    "cell_voltage": (
        "high",
        World(
            site=with_unit(derating=Derating(discharge_by_cell_min_mv=CURVE)),
            snapshot=asking(5500, battery={"cell_min_mv": 3100}),
        ),
    ),
    "temperature": (
        "low",
        World(
            site=with_unit(derating=Derating(charge_by_temperature_c=((0, 0), (10, 100)))),
            snapshot=asking(-5000, battery={"temperature_mc": 4000}),
        ),
    ),
    "power_by_soc": (
        "low",
        World(
            site=with_unit(derating=Derating(charge_by_soc_pct=((50, 100), (70, 0)))),
            snapshot=asking(-9000),
        ),
    ),
    "pq_circle": ("low", World(site=with_unit(apparent_max_va=6000), snapshot=asking(-9000))),
    "force_charge": ("high", World(site=a_site(), snapshot=asking(5000, battery={"force_charge": True}))),
    "energy_barrier": ("low", World(site=a_site(), snapshot=asking(-9000, battery={"soc_bp": 9290}))),
    "recovery": ("high", World(site=a_site(), snapshot=asking(5000, battery={"soc_bp": 500}))),
    "full_charge": (
        "high",
        World(
            site=a_site(),
            snapshot=asking(5000, battery={"full_charge_wanted": True}),
            state=State(units=(Remembered(unit="unit1", full_wanted_utc_ms=1_780_000_000_000 - 2 * DAY_MS),)),
        ),
    ),
    "island_reserve": (
        "high",
        World(
            site=msgspec.structs.replace(contact("islanded"), energy=Energy(floor_pct=5, island_pct=10)),
            snapshot=asking(5000, OPEN, battery={"soc_bp": 1210}),
        ),
    ),
    "customer_reserve": ("high", World(site=a_site(), snapshot=asking(5000, battery={"soc_bp": 3210}))),
    "storm_reserve": (
        "high",
        World(
            site=a_site(),
            snapshot=asking(
                5000,
                orders=(a_target(5000), msgspec.structs.replace(a_target(0), name="r", kind="reserve", soc_bp=5790)),
            ),
        ),
    ),
    "phase_limit": (
        "high",
        World(
            site=with_poi(phase_export_max_w=1000),
            snapshot=a_snapshot(a_meter(**PHASES), an_inverter(), a_battery(), orders=(a_target(5000),)),
        ),
    ),
    "poi_limit": ("high", World(site=a_site(), snapshot=asking(9000))),
    "envelope": (
        "high",
        World(site=with_poi(envelope=Envelope(import_default_w=3000, export_default_w=2000)), snapshot=asking(5000)),
    ),
    "input_limit": ("low", World(site=contact("import_limit", 1500), snapshot=asking(-5000, OPEN))),
    "consumption_limit": (
        "low",
        World(site=with_poi(consumption=Consumption(failsafe_w=4200)), snapshot=asking(-9000)),
    ),
}


def test_every_rule_has_its_case() -> None:
    assert set(CASES) == RULES


@pytest.mark.parametrize("rule", sorted(CASES))
def test_each_rule_is_named_where_it_binds_and_sets_the_power(rule: str) -> None:
    side, world = CASES[rule]
    decision = explanation_is_true(world)
    bound = getattr(decision, side)
    assert bound.rule.partition("(")[0] == rule
    assert decision.target_w == bound.value_w
    assert decision.why == bound.rule
    beside = {"not_running"} if rule in ("ramp_down", "fault_stop") else set()  # the phase follows the fault
    assert stands_without(world, decision, side, rule) == {rule} | beside


@pytest.mark.parametrize("rule", sorted(CASES))
def test_each_rule_is_true_of_three_units_of_which_one_is_hurt(rule: str) -> None:
    _, world = CASES[rule]
    site, readings = a_site(3), world.snapshot.readings
    healthy = [make(n=n) for n in (2, 3) for make in (an_inverter, a_battery)]
    units = (world.site.unit[0], *site.unit[1:])
    site = msgspec.structs.replace(world.site, unit=units, device=site.device)
    snapshot = msgspec.structs.replace(world.snapshot, readings=(*readings, *healthy))
    explanation_is_true(World(site=site, snapshot=snapshot, state=world.state))


# -- what several rules do together ------------------------------------------------------------------------------------


def two(first: dict[str, Any], second: dict[str, Any], asked_w: int, **changes: Any) -> World:
    site = a_site(2, **changes)
    told = [an_inverter(n=1), an_inverter(n=2), a_battery(n=1, **first), a_battery(n=2, **second)]
    return World(site=site, snapshot=a_snapshot(a_meter(0), *told, orders=(a_target(asked_w),)))


def test_units_that_different_rules_bind_are_both_named() -> None:
    decision = explanation_is_true(two({"discharge_max_ma": 20_000}, {"soc_bp": 3210}, 9000))
    assert named(decision.high) == {"bms_current", "customer_reserve"}
    assert decision.high.because.count("also ") == 1
    assert decision.why == decision.high.rule == "customer_reserve(unit2)"


def test_a_rule_that_binds_two_units_is_named_once() -> None:
    decision = explanation_is_true(two({"discharge_max_ma": 20_000}, {"discharge_max_ma": 10_000}, 9000))
    assert (decision.high.rule, "also" in decision.high.because) == ("bms_current(unit2)", False)


def test_in_a_closed_envelope_the_side_is_told_to_which_the_wish_would_go() -> None:
    closed = {"soc_bp": 2000, "charge_allowed": False}
    up = decided(World(site=a_site(), snapshot=asking(5000, battery=closed)))
    down = decided(World(site=a_site(), snapshot=asking(-5000, battery=closed)))
    assert ends(up) == ends(down) == (0, 0)
    assert (up.why, down.why) == ("customer_reserve(unit1)", "bms_current(unit1)")


def test_a_wish_of_0_w_in_a_closed_envelope_is_met() -> None:
    closed = {"soc_bp": 2000, "charge_allowed": False}
    decision = decided(World(site=a_site(), snapshot=asking(0, battery=closed)))
    assert (decision.target_w, decision.why, decision.unmet) == (0, "wish", ())


@pytest.mark.parametrize(("asked_w", "why"), [(5999, "wish"), (5900, "wish"), (5901, "poi_limit"), (5899, "wish")])
def test_a_wish_at_the_very_bound_is_met_and_a_watt_beyond_it_is_not(asked_w: int, why: str) -> None:
    decision = explanation_is_true(World(site=a_site(), snapshot=asking(asked_w)))
    assert decision.high.value_w == 5900
    assert decision.why == ("poi_limit" if asked_w > 5900 else why)


def test_a_power_that_a_demand_could_not_reach_names_the_demand_and_what_stood_against_it() -> None:
    site = with_unit(derating=Derating(charge_by_temperature_c=((0, 0), (100, 10))))
    hurt = {"soc_bp": 500, "temperature_mc": 10_000}
    decision = explanation_is_true(World(site=site, snapshot=asking(5000, battery=hurt)))
    assert ends(decision) == (-100, -100)
    assert named(decision.low) == {"temperature"}
    assert named(decision.high) == {"recovery", "temperature"}
    assert [one.rule for one in decision.unmet if one.by_w == 900] == ["recovery"]


def test_what_changes_nothing_any_more_takes_nobodys_name() -> None:
    site = with_poi(envelope=Envelope(import_default_w=3000, export_default_w=2000))
    decision = explanation_is_true(World(site=site, snapshot=asking(5000, battery={"alarms": ("hot",)}, load_w=5000)))
    assert (decision.low.rule, decision.high.rule) == ("fault_stop(unit1)", "fault_stop(unit1)")
    assert "envelope" in [one.rule for one in decision.unmet]


def test_what_a_demand_would_change_were_it_not_for_the_other_end_is_named_at_its_own() -> None:
    site = contact("no_discharge")
    told_by = {"soc_bp": 500, "charge_max_ma": 0}
    decision = explanation_is_true(World(site=site, snapshot=asking(5000, OPEN, battery=told_by)))
    assert ends(decision) == (0, 0)
    assert decision.why == decision.high.rule == "blocked(unit1)"
    assert named(decision.high) == {"blocked", "bms_current"}, "without bms_current it would be charged"


def test_a_ramp_is_told_only_where_it_sets_the_power() -> None:
    site = a_site(ramp=Ramp(rate_w_per_s=500))
    rising = decided(World(site=site, snapshot=asking(5000), state=RAN))
    assert (rising.target_w, rising.why) == (2500, "ramp")
    there = decided(World(site=site, snapshot=asking(2500), state=RAN))
    assert (there.target_w, there.why) == (2500, "wish")
    cut = decided(World(site=site, snapshot=asking(0, inverter={"discharge_max_w": 1000}), state=RAN))
    assert (cut.target_w, cut.why) == (1000, "nameplate(unit1)")


def test_least_powers_tell_what_they_keep_from_being_reached_and_who_binds_the_units() -> None:
    site = a_site(2)
    units = (
        msgspec.structs.replace(site.unit[0], min_power_w=100),
        msgspec.structs.replace(site.unit[1], min_power_w=900),
    )
    world = two({"discharge_max_ma": 6_000}, {}, 500)
    world = msgspec.structs.replace(world, site=msgspec.structs.replace(site, unit=units))
    decision = explanation_is_true(world)
    assert (decision.target_w, decision.why) == (280, "min_power")
    (missed,) = decision.unmet
    assert (missed.rule, missed.asked_w, missed.by_w) == ("min_power", 500, 220)
    assert missed.because.endswith("between 280 W and 900 W; the units are bound by bms_current")
    free = msgspec.structs.replace(decided(msgspec.structs.replace(world, site=site)))
    assert (free.target_w, free.why, free.unmet) == (500, "wish", ())


# -- whatever may come -------------------------------------------------------------------------------------------------

SITE_CHANGES: list[dict[str, Any]] = [
    {},
    {"phase_export_max_w": 1000, "phase_import_max_w": 2000},
    {"envelope": Envelope(import_default_w=3000, export_default_w=2000)},
    {"consumption": Consumption(failsafe_w=4200)},
    {"import_max_w": 1000, "export_max_w": 500},
]
CURVES = Derating(
    discharge_by_cell_min_mv=CURVE,
    charge_by_temperature_c=((0, 0), (10, 100)),
    charge_by_soc_pct=((50, 100), (70, 10)),
)
MEANS = ("no_charge", "no_discharge", "import_limit", "export_limit", "islanded", "storm", "emergency_stop")


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw a site of up to three units, whatever its devices tell, whatever is asked and what was remembered."""
    count = draw(st.integers(1, 3))
    site = a_site(count)
    unit_changes = st.fixed_dictionaries(
        {
            "min_power_w": st.sampled_from([0, 0, 0, 700]),
            "apparent_max_va": st.sampled_from([None, 6000]),
            "phases": st.sampled_from(["abc", "abc", "a"]),
            "charge_max_w": st.sampled_from([3000, 10_000]),
            "derating": st.sampled_from([Derating(), CURVES]),
        }
    )
    inputs = draw(st.lists(st.sampled_from(MEANS), max_size=2, unique=True))
    site = msgspec.structs.replace(
        site,
        unit=tuple(msgspec.structs.replace(unit, **draw(unit_changes)) for unit in site.unit),
        poi=msgspec.structs.replace(site.poi, **draw(st.sampled_from(SITE_CHANGES))),
        energy=Energy(reserve_pct=draw(st.sampled_from([10, 30])), recovery_pct=draw(st.sampled_from([0, 10]))),
        ramp=Ramp(rate_w_per_s=draw(st.sampled_from([None, None, 500]))),
        input=tuple(
            Input(name=means, device="io", channel=place, means=means, limit_w=1000)  # type: ignore[arg-type]
            for place, means in enumerate(inputs)
        ),
    )
    return World(site=site, snapshot=draw(snapshots(count, len(inputs))), state=draw(states(count)))


@st.composite
def snapshots(draw: st.DrawFn, count: int, inputs: int) -> Snapshot:
    told: list[AnyReading] = []
    for n in range(1, count + 1):
        battery = {
            "soc_bp": draw(st.sampled_from([500, 1250, 3210, 3250, 6000, 6500, 9290])),
            "charge_max_ma": draw(st.sampled_from([None, 0, 40_000, 250_000])),
            "discharge_max_ma": draw(st.sampled_from([0, 40_000, 250_000, 250_000])),
            "cell_min_mv": draw(st.sampled_from([3100, 3300])),
            "cell_max_mv": draw(st.sampled_from([3350, 3350, 3350, 3900])),
            "temperature_mc": draw(st.sampled_from([4000, 25_000])),
            "force_charge": draw(st.sampled_from([False, False, False, True])),
            "alarms": draw(st.sampled_from([(), (), (), ("hot",)])),
        }
        told.append(a_battery(n=n, **battery))
        inverter = {
            "power_w": draw(st.sampled_from([0, 0, 1500, -1500])),
            "discharge_max_w": draw(st.sampled_from([None, 4000])),
            "state": draw(st.sampled_from(["run", "run", "run", "starting"])),
            "alarms": draw(st.sampled_from([(), (), ("fan",)])),
        }
        told.append(an_inverter(n=n, **inverter))
    if draw(st.booleans()):
        load_w = draw(st.sampled_from([-9000, -2000, 0, 2000, 15_000]))
        phase_w = draw(st.sampled_from([None, (-load_w // 3,) * 3]))
        told.append(a_meter(-load_w, phase_w=phase_w))
    if draw(st.booleans()):
        closed = tuple(draw(st.booleans()) for _ in range(inputs))
        told.append(Inputs(device="io", sampled_ms=NOW_MS, heard_ms=NOW_MS, closed=closed))
    released = (Notice(fault="inverter_unruly", device="inverter1"),)
    notices = draw(st.sampled_from([(), (), (), released]))
    return a_snapshot(*told, orders=draw(orders()), notices=notices)


@st.composite
def orders(draw: st.DrawFn) -> tuple[Order, ...]:
    found = []
    if draw(st.integers(0, 3)):
        found.append(a_target(draw(st.sampled_from([-40_000, -3000, -400, 0, 400, 3000, 40_000]))))
    if not draw(st.integers(0, 3)):
        limit = msgspec.structs.replace(a_target(0), name="limit", kind="limit", low_w=-2000, high_w=1000)
        found.append(msgspec.structs.replace(limit, domain=draw(st.sampled_from(["battery", "poi"]))))
    if not draw(st.integers(0, 3)):
        changes = {"soc_bp": draw(st.sampled_from([5790, 9000])), "by_ms": draw(st.sampled_from([0, 90_000]))}
        found.append(msgspec.structs.replace(a_target(0), name="reserve", kind="reserve", **changes))
    return tuple(found)


@st.composite
def states(draw: st.DrawFn, count: int) -> State:
    if draw(st.booleans()):
        return State()
    powers_w = [draw(st.sampled_from([-2000, 0, 1500])) for _ in range(count)]
    names = [f"unit{n}" for n in range(1, count + 1)]
    wanted_utc_ms = 1_780_000_000_000 - 2 * DAY_MS
    return State(
        decided_ms=BEFORE_MS,
        target_w=sum(powers_w),
        shares=tuple(
            Share(unit=name, low_w=-3000, high_w=3000, power_w=power_w)
            for name, power_w in zip(names, powers_w, strict=True)
        ),
        units=tuple(
            Remembered(
                unit=name,
                phase=draw(st.sampled_from(["run", "run", "off", "ramp_down"])),
                discharge_pct=draw(st.sampled_from([100, 100, 40])),
                full_wanted_utc_ms=draw(st.sampled_from([0, 0, wanted_utc_ms])),
            )
            for name in names
        ),
    )


@MANY
@given(world=worlds())
def test_whatever_the_site_knows_the_rules_that_are_named_and_no_others_make_the_decision(world: World) -> None:
    explanation_is_true(world)
