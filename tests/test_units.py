"""The units of a site in one cycle: what is judged anew, what is remembered of each, and how the rules see it."""

import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from controller.engine import step, units, watch
from controller.engine.units import Judged, judged
from controller.model import (
    Battery,
    Commitment,
    Derating,
    Energy,
    Input,
    Inputs,
    Inverter,
    Missing,
    Notice,
    Order,
    Ramp,
    Reading,
    Remembered,
    Share,
    Site,
    Snapshot,
    State,
    Storm,
)
from tests.words import a_battery, a_meter, a_site, a_snapshot, a_target, all_fresh, an_inverter

NOW_MS = 100_000
RAN = Remembered(unit="unit1", phase="run", since_ms=1000)
CELLS = Derating(
    charge_by_cell_max_mv=((3400, 100), (3600, 0)), discharge_by_cell_min_mv=((2800, 0), (3000, 100)), latch=True
)


def forget() -> None:
    """Let go of all that is kept of earlier cycles beside the state."""
    for kept in (units._banks, units._judged, units._sharing, watch._kept, watch._sound):
        kept._results.clear()
    units._arounds.clear()


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    forget()
    yield
    forget()


def looked(site: Site, snapshot: Snapshot, state: State | None = None) -> tuple[Judged, ...]:
    """Return the units as the step judges them."""
    state = state or State()
    readings = {reading.device: reading for reading in snapshot.readings}
    active = watch.acting(site, readings)
    found = watch.conditions(site, state, snapshot, readings, active)
    faults = watch.standing(state.standing, found, snapshot.now_ms)
    return judged(site, state, snapshot, readings, watch.told(site, faults), active)


def with_unit(site: Site, n: int = 1, **changes: Any) -> Site:
    rows = list(site.unit)
    rows[n - 1] = msgspec.structs.replace(rows[n - 1], **changes)
    return msgspec.structs.replace(site, unit=tuple(rows))


def contacts(*means: str, **changes: Any) -> Site:
    rows = tuple(Input(name=f"c{n}", device="io", channel=n, means=one) for n, one in enumerate(means))  # type: ignore[arg-type]
    return a_site(input=rows, **changes)


def module(*closed: bool, at_ms: int = NOW_MS) -> Inputs:
    return Inputs(device="io", sampled_ms=at_ms, heard_ms=at_ms, closed=closed)


# -- what is kept of a unit says what judging it anew says -------------------------------------------------------------


def mixed_site() -> Site:
    """Return a site of every kind of unit: alone, two on one bank, two batteries on one unit, one that may rest."""
    site = a_site(
        5,
        energy=Energy(floor_pct=10, reserve_pct=20, ceiling_pct=95, full_every_days=7, island_pct=5),
        ramp=Ramp(rate_w_per_s=3000),
        input=tuple(
            Input(name=means, device="io", channel=n, means=means)  # type: ignore[arg-type]
            for n, means in enumerate(("no_charge", "no_discharge", "islanded", "storm"))
        ),
        storm=Storm(reserve_pct=80, recharge_s=600),
        commitment=Commitment(rest_units=True, dwell_s=5),
    )
    site = with_unit(site, 2, derating=CELLS, start_s=2)
    site = with_unit(site, 3, battery="battery4")
    return with_unit(site, 5, battery=("battery3", "battery5"), min_power_w=1500)


def stream(seed: int, cycles: int = 40) -> list[Snapshot]:
    """Return what a site tells in a row: most of it again and again, now and then something new, or nothing."""
    chance = random.Random(seed)
    told: dict[str, Reading] = {}
    snapshots, now_ms = [], NOW_MS
    soc_bp = {n: chance.choice((500, 1100, 2500, 6000, 9400, 9960)) for n in range(1, 6)}
    notice: tuple[Notice, ...] = ()
    for cycle in range(cycles):
        now_ms += chance.choice((200, 1000, 1000, 1500, 61_000 if chance.random() < 0.1 else 1000))
        for n in range(1, 6):
            if cycle == 0 or chance.random() < 0.3:
                told[f"inverter{n}"] = an_inverter(
                    chance.choice((0, 1500, -3000, 9000)),
                    n,
                    now_ms,
                    state=chance.choice(("run", "run", "run", "standby", "starting")),
                    alarms=chance.choice(((), (), (), ("fan",))),
                )
            if cycle == 0 or chance.random() < 0.3:
                soc_bp[n] = max(0, min(10_000, soc_bp[n] + chance.randint(-20, 20)))
                low_mv = chance.choice((2790, 2950, 3300))
                told[f"battery{n}"] = a_battery(
                    soc_bp[n],
                    n,
                    now_ms,
                    cell_min_mv=low_mv,
                    cell_max_mv=chance.choice((3300, 3450, 3610)),
                    warnings=chance.choice(((), (), ("cold",))),
                    full_charge_wanted=chance.random() < 0.2,
                    contactor_closed=chance.choice((None, True, True, False)),
                )
        if chance.random() < 0.2:
            notice = chance.choice(
                (
                    (),
                    (),
                    (Notice(fault="inverter_unruly", device="inverter1"),),
                    (Notice(fault="link_down", device="x"),),
                )
            )
        if cycle == 0 or chance.random() < 0.1:
            told["io"] = module(*(chance.random() < 0.8 for _ in range(4)), at_ms=now_ms)
        gone = {name for name in told if chance.random() < 0.02}
        orders = [msgspec.structs.replace(a_target(chance.choice((-9000, 0, 700, 20_000))), starts_ms=now_ms)]
        if chance.random() < 0.3:
            orders.append(Order(**ORDER, kind="reserve", starts_ms=NOW_MS, soc_bp=7000, by_ms=NOW_MS + 60_000))
        heard = [reading for name, reading in told.items() if name not in gone]
        snapshots.append(
            a_snapshot(
                a_meter(chance.choice((-2000, 0, 4000)), now_ms),
                *heard,  # type: ignore[arg-type]
                now_ms=now_ms,
                orders=tuple(orders),
                missing=tuple(Missing(device=name, age_ms=5000) for name in gone),
                notices=notice,
            )
        )
    return snapshots


ORDER: dict[str, Any] = {
    "name": "o",
    "source": "test",
    "domain": "battery",
    "low_w": 0,
    "high_w": 0,
    "expires_ms": 1 << 60,
}


@pytest.mark.parametrize("seed", range(12))
def test_a_unit_that_is_judged_by_what_is_kept_of_it_is_judged_as_anew(seed: int) -> None:
    site, snapshots = mixed_site(), stream(seed)
    one, other = State(), State()
    kept = []
    for snapshot in snapshots:
        one, decision = step(site, one, snapshot)
        kept.append((one, decision))
    for snapshot, (state, decision) in zip(snapshots, kept, strict=True):
        forget()
        other, anew = step(site, other, snapshot)
        assert anew == decision
        assert other == state


# -- what is judged once -----------------------------------------------------------------------------------------------


@pytest.fixture
def judgements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the units that were judged, in their order."""
    names: list[str] = []
    judge = units._judge

    def counting(site: Site, state: State, snapshot: Snapshot, met: units.Met, *rest: Any) -> Judged:
        names.append(met.unit.name)
        return judge(site, state, snapshot, met, *rest)

    monkeypatch.setattr(units, "_judge", counting)
    return names


def again(site: Site, snapshot: Snapshot, state: State, after_ms: int = 1000, **changes: Any) -> tuple[State, Snapshot]:
    """Decide once more later, with the same readings unless told; now_ms and utc_ms go on alike."""
    later = msgspec.structs.replace(
        snapshot, now_ms=snapshot.now_ms + after_ms, utc_ms=snapshot.utc_ms + after_ms, **changes
    )
    return step(site, state, later)[0], later


def test_a_unit_is_judged_once_for_what_it_tells(judgements: list[str]) -> None:
    site = a_site()
    snapshot = a_snapshot(a_meter(), an_inverter(), a_battery())
    state, _ = step(site, State(), snapshot)
    for _ in range(3):
        state, snapshot = again(site, snapshot, state, readings=(a_meter(), an_inverter(), a_battery()))
    assert judgements == ["unit1"]
    state, snapshot = again(site, snapshot, state, readings=(a_meter(), an_inverter(7), a_battery()))
    state, snapshot = again(site, snapshot, state)
    assert len(judgements) == 2
    state, snapshot = again(site, snapshot, state, readings=(a_meter(), an_inverter(7), a_battery(6001)))
    state, snapshot = again(site, snapshot, state)
    assert len(judgements) == 3
    other = msgspec.structs.replace(site, energy=Energy(floor_pct=11))
    state, snapshot = again(other, snapshot, state)
    assert len(judgements) == 4


def test_of_two_units_only_the_one_that_tells_something_new_is_judged(judgements: list[str]) -> None:
    site = a_site(2)
    one, two = (an_inverter(n=1), a_battery(n=1)), (an_inverter(n=2), a_battery(n=2))
    state, _ = step(site, State(), a_snapshot(a_meter(), *one, *two))
    step(site, state, a_snapshot(a_meter(), *one, an_inverter(5, 2), a_battery(n=2)))
    assert judgements == ["unit1", "unit2", "unit2"]


def test_the_calendar_is_looked_at_each_minute(judgements: list[str]) -> None:
    site, minute_ms = a_site(), 60_000
    snapshot = msgspec.structs.replace(all_fresh(), utc_ms=30 * minute_ms)
    state, _ = step(site, State(), snapshot)
    state, snapshot = again(site, snapshot, state, 59_999)
    assert len(judgements) == 1
    again(site, snapshot, state, 1)
    assert len(judgements) == 2


@pytest.mark.parametrize(
    ("site", "readings"),
    [
        (with_unit(a_site(2), 2, battery="battery1"), (an_inverter(n=1), an_inverter(n=2), a_battery())),
        (with_unit(a_site(), battery=("battery1", "battery2")), (an_inverter(), a_battery(), a_battery(n=2))),
        (a_site(), (an_inverter(), a_battery(alarms=("hot",)))),  # a fault stands
        (a_site(), (an_inverter(state="starting"), a_battery())),  # it starts
        (a_site(), (a_battery(),)),
        (a_site(), (an_inverter(),)),
    ],
    ids=["two on one bank", "two batteries", "fault", "starting", "inverter silent", "battery silent"],
)
def test_a_unit_that_time_alone_may_change_is_judged_every_cycle(
    site: Site, readings: tuple[Any, ...], judgements: list[str]
) -> None:
    snapshot = a_snapshot(a_meter(), *readings)
    state, _ = step(site, State(), snapshot)
    for _ in range(2):
        state, snapshot = again(site, snapshot, state)
    assert judgements == [unit.name for unit in site.unit] * 3


def test_failed_starts_are_forgotten_a_minute_after_a_start_though_nothing_new_is_told(judgements: list[str]) -> None:
    site = a_site()
    failed = msgspec.structs.replace(RAN, since_ms=NOW_MS - 59_999, attempts=2, counted_ms=NOW_MS)
    state, snapshot = step(site, State(units=(failed,)), all_fresh())[0], all_fresh()
    assert state.units[0].attempts == 2
    state, snapshot = again(site, snapshot, state, 1)
    assert state.units[0].attempts == 0
    assert len(judgements) == 2
    again(site, snapshot, state)
    assert len(judgements) == 2


def test_which_inverters_share_a_bank_is_found_once() -> None:
    site = with_unit(a_site(3), 3, battery="battery1")
    found = units._shared(site)
    assert found == {("battery1",): ("inverter1", "inverter3")}
    assert units._shared(site) is found


def test_batteries_on_one_dc_side_are_put_together_once_for_what_they_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    made, together = [], units.bank.together

    def counting(batteries: Any) -> Battery:
        made.append(len(batteries))
        return together(batteries)

    monkeypatch.setattr(units.bank, "together", counting)
    site = with_unit(a_site(), battery=("battery1", "battery2"))
    snapshot = a_snapshot(a_meter(), an_inverter(), a_battery(), a_battery(4000, 2))
    assert looked(site, snapshot)[0].seen.soc_bp == 5000
    assert looked(site, snapshot)[0].seen.soc_bp == 5000
    assert made == [2]
    new = a_snapshot(a_meter(), an_inverter(), a_battery(), a_battery(5000, 2))
    assert looked(site, new)[0].seen.soc_bp == 5500
    assert made == [2, 2]


# -- what is around the units ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closed", "no_charge", "no_discharge", "islanded"),
    [
        ((True, True, True), "", "", False),
        ((False, True, True), "input c0 is active", "", False),
        ((True, False, True), "", "input c1 is active", False),
        ((True, True, False), "", "", True),
        ((False, False, False), "input c0 is active", "input c1 is active", True),
        (
            (),
            "input c0 is not heard of and counts as active",
            "input c1 is not heard of and counts as active",
            False,  # a wire that breaks makes no island: there the reserve is given up
        ),
    ],
)
def test_a_digital_input_is_seen_by_every_unit(
    closed: tuple[bool, ...], no_charge: str, no_discharge: str, islanded: bool
) -> None:
    site = contacts("no_charge", "no_discharge", "islanded")
    seen = looked(site, a_snapshot(a_meter(), an_inverter(), a_battery(), module(*closed)))[0].seen
    assert (seen.no_charge, seen.no_discharge, seen.islanded) == (no_charge, no_discharge, islanded)


def test_a_site_does_not_see_what_is_around_another_one() -> None:
    site, other = contacts("no_charge"), contacts("no_charge", name="other")
    snapshot = a_snapshot(a_meter(), an_inverter(), a_battery(), module(False))
    assert looked(site, snapshot)[0].seen.no_charge
    assert not looked(other, a_snapshot(a_meter(), an_inverter(), a_battery(), module(True)))[0].seen.no_charge
    assert looked(site, snapshot)[0].seen.no_charge
    assert list(units._arounds) == ["test"], "what is around is kept of one site"


def test_a_reserve_that_is_asked_for_is_seen_by_every_unit() -> None:
    order = Order(**ORDER, kind="reserve", starts_ms=NOW_MS - 1000, soc_bp=7000, by_ms=NOW_MS + 1000)
    seen = looked(a_site(), all_fresh(orders=(order,)))[0].seen
    assert (seen.reserve_bp, seen.rising_bp, seen.reserve_because) == (7000, 5000, "asked for by test")


def test_a_storm_lasts_from_the_cycle_in_which_it_is_told_until_it_is_told_no_more() -> None:
    site = contacts("storm", "no_charge")

    def told(*closed: bool, at_ms: int) -> Snapshot:
        return a_snapshot(
            a_meter(0, at_ms), an_inverter(at_ms=at_ms), a_battery(at_ms=at_ms), module(*closed), now_ms=at_ms
        )

    state, since_ms = State(), []
    courses = ((True, False), (False, False), (False, True), (True, True), (False, True))
    for place, closed in enumerate(courses):
        state, decision = step(site, state, told(*closed, at_ms=NOW_MS + 1000 * place))
        since_ms.append(state.storm_since_ms)
        assert (decision.high.rule == "storm_reserve(unit1)") is not closed[0]
    assert since_ms == [None, 101_000, 101_000, None, 104_000]


# -- how a rule sees a unit --------------------------------------------------------------------------------------------


def test_a_healthy_unit_as_its_rules_see_it() -> None:
    snapshot = all_fresh()
    seen = looked(a_site(), snapshot)[0].seen
    assert seen == msgspec.structs.replace(
        seen,
        unit=a_site().unit[0],
        inverter=snapshot.readings[1],
        battery=snapshot.readings[2],
        phase="run",
        part=(1, 1),
        capacity_wh=25_000,
        energy_wh=15_000,
        low_wh=14_500,
        high_wh=15_500,
        soc_bp=6000,
        stopped="",
        held="",
        fading="",
        released=False,
        power_w=0,
        elapsed_ms=0,
        charge_pct=100,
        discharge_pct=100,
        recovering=False,
        full_due="",
        full_forced=False,
        islanded=False,
        reserve_bp=0,
        rising_bp=0,
        reserve_because="",
    )


def test_units_on_one_bank_see_their_parts_of_it_on_the_bad_side() -> None:
    site = a_site(4)
    for n in (2, 3):
        site = with_unit(site, n, battery="battery1")
    told = [an_inverter(n=n) for n in (1, 2, 3, 4)]
    rows = looked(site, a_snapshot(a_meter(), *told, a_battery(), a_battery(n=4)))
    seen = [row.seen for row in rows]
    assert [(one.capacity_wh, one.energy_wh, one.low_wh, one.high_wh) for one in seen] == [
        (8333, 5000, 4833, 5167),
        (8333, 5000, 4833, 5167),
        (8333, 5000, 4833, 5167),
        (25_000, 15_000, 14_500, 15_500),
    ]
    assert [one.part for one in seen] == [(20_000, 60_000)] * 3 + [(1, 1)]


def test_a_unit_whose_battery_is_silent_has_no_energy_that_is_known() -> None:
    seen = looked(a_site(), a_snapshot(a_meter(), an_inverter()))[0].seen
    assert (seen.capacity_wh, seen.energy_wh, seen.low_wh, seen.high_wh) == (25_000, None, None, None)
    assert (seen.battery, seen.soc_bp, seen.phase) == (None, None, "off")
    assert seen.stopped.startswith("battery1: ")


def test_of_two_batteries_on_one_unit_both_have_to_be_heard() -> None:
    site = with_unit(a_site(), battery=("battery1", "battery2"))
    both = looked(site, a_snapshot(a_meter(), an_inverter(), a_battery(), a_battery(4000, 2)))[0].seen
    assert (both.soc_bp, both.phase, both.stopped) == (5000, "run", "")
    assert both.battery is not None
    assert both.battery.device == "battery1+battery2"
    one = looked(site, a_snapshot(a_meter(), an_inverter(), a_battery()))[0].seen
    assert (one.battery, one.phase) == (None, "off")


def test_what_reads_under_a_devices_name_and_is_of_another_kind_is_not_heard() -> None:
    swapped = (
        Battery(device="inverter1", sampled_ms=NOW_MS, heard_ms=NOW_MS, soc_bp=5000),
        Inverter(device="battery1", sampled_ms=NOW_MS, heard_ms=NOW_MS, power_w=0),
        Inverter(device="meter", sampled_ms=NOW_MS, heard_ms=NOW_MS, power_w=0),
    )
    decision = step(a_site(), State(), a_snapshot(*swapped))[1]
    assert (decision.target_w, decision.commands, decision.net_load_w) == (0, (), None)
    assert {"meter_stale", "inverter_stale", "battery_stale"} <= {fault.fault for fault in decision.faults}
    bank = with_unit(a_site(2), 2, battery="battery1")
    other = msgspec.structs.replace(swapped[0], device="inverter2")
    assert step(bank, State(), a_snapshot(an_inverter(), other, a_battery()))[1].shares[1].power_w == 0
    blind = msgspec.structs.replace(a_snapshot(*swapped, an_inverter()), poi_battery_w=0)
    assert step(a_site(), State(), blind)[1].net_load_w is None


BEFORE = State(
    decided_ms=NOW_MS - 700,
    target_w=900,
    shares=(
        Share(unit="unit2", low_w=0, high_w=1, power_w=-300),
        Share(unit="unit1", low_w=0, high_w=9000, power_w=1200),
    ),
    units=(RAN, msgspec.structs.replace(RAN, unit="unit2")),
)


@pytest.mark.parametrize(
    ("told", "power_w", "elapsed_ms"),
    [
        ({}, 0, 0),  # a healthy unit's rules need neither
        ({"alarms": ("fan",)}, 1200, 700),
    ],
)
def test_what_a_unit_was_commanded_last_is_seen_where_a_fault_stands(
    told: dict[str, Any], power_w: int, elapsed_ms: int
) -> None:
    snapshot = a_snapshot(a_meter(), an_inverter(**told), an_inverter(n=2, **told), a_battery(), a_battery(n=2))
    one, two = (row.seen for row in looked(a_site(2), snapshot, BEFORE))
    assert (one.power_w, one.elapsed_ms, bool(one.held)) == (power_w, elapsed_ms, bool(told))
    assert (two.power_w, two.elapsed_ms) == (-300 if told else 0, elapsed_ms)


@pytest.mark.parametrize(("phase", "power_w"), [("run", 0), ("ramp_down", 1200), ("standby", 1200)])
def test_what_a_unit_was_commanded_last_is_seen_where_it_does_not_run(phase: Any, power_w: int) -> None:
    before = msgspec.structs.replace(
        BEFORE, units=(msgspec.structs.replace(RAN, phase=phase, since_ms=NOW_MS - 700), BEFORE.units[1])
    )
    assert looked(a_site(), all_fresh(), before)[0].seen.power_w == power_w


@pytest.mark.parametrize(("decided_ms", "elapsed_ms"), [(None, 0), (NOW_MS - 1, 1), (NOW_MS, 0), (NOW_MS + 5, 0)])
def test_the_time_since_the_last_decision_is_never_less_than_none(decided_ms: int | None, elapsed_ms: int) -> None:
    snapshot = a_snapshot(a_meter(), an_inverter(alarms=("fan",)), a_battery())
    before = msgspec.structs.replace(BEFORE, decided_ms=decided_ms)
    assert looked(a_site(), snapshot, before)[0].seen.elapsed_ms == elapsed_ms
    new = msgspec.structs.replace(before, shares=())
    assert looked(a_site(), snapshot, new)[0].seen.power_w == 0, "a unit that had no share had no power"


def test_a_held_unit_goes_no_further_and_a_fading_one_is_brought_to_0_w_and_off() -> None:
    site = a_site()
    state, first = step(site, State(), all_fresh(load_w=5000, orders=(a_target(5000),)))
    assert first.target_w == 5000
    held = a_snapshot(
        a_meter(0, 101_000),
        an_inverter(5000, at_ms=101_000, alarms=("fan",)),
        a_battery(at_ms=101_000),
        now_ms=101_000,
        orders=(a_target(9000),),
    )
    state, decision = step(site, state, held)
    assert (decision.target_w, decision.why) == (5000, "hold_power(unit1)")
    powers_w, phases, running = [], [], []
    shown_w = 5000
    for now_ms in range(102_000, 109_000, 1000):
        fading = a_snapshot(
            a_meter(shown_w - 5000, now_ms),
            an_inverter(shown_w, at_ms=now_ms),
            a_battery(at_ms=now_ms, cell_min_mv=2900, cell_max_mv=3401),
            now_ms=now_ms,
            orders=(a_target(9000),),
        )
        state, decision = step(site, state, fading)
        shown_w = decision.target_w
        powers_w.append(decision.target_w)
        phases.append(state.units[0].phase)
        running.append(decision.commands[0].running)
    assert powers_w == [4000, 3000, 2000, 1000, 0, 0, 0]
    assert phases == ["ramp_down"] * 5 + ["off", "off"]
    assert running == [True] * 5 + [False, False]


def test_a_released_unit_is_not_commanded_and_the_other_makes_up_for_what_it_does() -> None:
    site = a_site(2)
    notice = Notice(fault="inverter_unruly", device="inverter1")
    told = (an_inverter(1500, 1), an_inverter(0, 2), a_battery(n=1), a_battery(n=2))
    state, decision = step(site, State(), a_snapshot(a_meter(), *told, notices=(notice,), orders=(a_target(4000),)))
    assert [command.device for command in decision.commands] == ["inverter2"]
    assert [part.power_w for part in decision.shares] == [1500, 2500]
    assert decision.shares[0].phase == "run"
    assert state.units[0].phase == "run"
    one, two = looked(site, a_snapshot(a_meter(), *told, notices=(notice,)))
    assert (one.seen.released, two.seen.released) == (True, False)


# -- what is remembered of a unit --------------------------------------------------------------------------------------


def cells(low_mv: int | None = 3300, high_mv: int | None = 3300, at_ms: int = NOW_MS) -> Snapshot:
    battery = a_battery(at_ms=at_ms, cell_min_mv=low_mv, cell_max_mv=high_mv)
    return a_snapshot(a_meter(0, at_ms), an_inverter(at_ms=at_ms), battery, now_ms=at_ms)


@pytest.mark.parametrize(
    ("course", "left"),
    [
        ([(3300, 3500), (3300, 3450), (3300, 3401), (3300, 3400)], [(50, 100), (50, 100), (50, 100), (100, 100)]),
        ([(2900, 3300), (2950, 3300), (2999, 3300), (3000, 3300)], [(100, 50), (100, 50), (100, 50), (100, 100)]),
        ([(2900, 3300), (None, None), (3300, 3300)], [(100, 50), (100, 50), (100, 100)]),
        ([(2900, 3500), (3000, 3300)], [(50, 50), (100, 100)]),
    ],
)
def test_a_derating_by_a_cells_voltage_is_held_from_cycle_to_cycle(
    course: list[tuple[int | None, int | None]], left: list[tuple[int, int]]
) -> None:
    site, state = with_unit(a_site(), derating=CELLS), State()
    found, seen = [], []
    for place, (low_mv, high_mv) in enumerate(course):
        snapshot = cells(low_mv, high_mv, NOW_MS + 1000 * place)
        seen.append(looked(site, snapshot, state)[0].seen)
        state, _ = step(site, state, snapshot)
        found.append((state.units[0].charge_pct, state.units[0].discharge_pct))
    assert found == left
    assert [(one.charge_pct, one.discharge_pct) for one in seen] == left


def test_without_a_latch_a_derating_follows_the_cell() -> None:
    site = with_unit(a_site(), derating=msgspec.structs.replace(CELLS, latch=False))
    state = State(units=(msgspec.structs.replace(RAN, charge_pct=10, discharge_pct=20),))
    known = step(site, state, cells(2950, 3450))[0].units[0]
    assert (known.charge_pct, known.discharge_pct) == (75, 75)


@pytest.mark.parametrize(
    ("before", "soc_bp", "recovering"),
    [(False, 1101, False), (False, 1100, True), (True, 1299, True), (True, 1300, False)],
)
def test_a_unit_below_its_floor_is_recovered_until_it_is_above_it(before: bool, soc_bp: int, recovering: bool) -> None:
    """On at 9 % and off at 11 %, both as the least that may be stored: the estimate may be 2 % off."""
    state = State(units=(msgspec.structs.replace(RAN, recovering=before),))
    row = looked(a_site(), all_fresh(soc_bp), state)[0]
    assert (row.remembered.recovering, row.seen.recovering) == (recovering, recovering)


def test_a_full_charge_is_due_by_what_is_remembered() -> None:
    day_ms = 86_400_000
    site = a_site(energy=Energy(full_every_days=7))
    utc_ms = all_fresh().utc_ms

    def due(ago_ms: int) -> tuple[str, bool]:
        state = State(units=(msgspec.structs.replace(RAN, full_utc_ms=utc_ms - ago_ms),))
        seen = looked(site, all_fresh(), state)[0].seen
        return seen.full_due, seen.full_forced

    assert due(7 * day_ms - 1) == ("", False)
    assert due(7 * day_ms) == ("not full for 7 days", False)
    assert due(8 * day_ms) == ("not full for 7 days", True)


def counting(power_w: int | None, at_ms: int, more: tuple[Any, ...] = (), soc_bp: int | None = 6000) -> Snapshot:
    battery = a_battery(soc_bp, at_ms=at_ms)
    return a_snapshot(a_meter(0, at_ms), an_inverter(power_w, at_ms=at_ms), battery, *more, now_ms=at_ms)


def test_the_energy_is_counted_from_sample_to_sample_of_the_inverter() -> None:
    site = a_site()
    state, _ = step(site, State(), counting(-3600, NOW_MS))
    known = state.units[0]
    assert (known.counted_mwh, known.counted_ms, known.cycled_mwh) == (15_000_000, NOW_MS, 0), (
        "nothing before the first"
    )
    state, _ = step(site, state, counting(-3600, NOW_MS))
    assert state.units[0] == known, "the same sample again counts nothing"
    state, _ = step(site, state, counting(-3600, NOW_MS + 2000))
    known = state.units[0]
    assert (known.counted_mwh, known.counted_ms, known.cycled_mwh) == (15_002_000, NOW_MS + 2000, 2000)
    old = step(site, state, counting(-3600, NOW_MS + 1000))[0].units[0]
    assert (old.counted_mwh, old.cycled_mwh) == (15_002_000, 2000), "an older sample takes nothing back"
    silent = a_snapshot(a_meter(0, NOW_MS + 3000), a_battery(at_ms=NOW_MS + 3000), now_ms=NOW_MS + 3000)
    quiet = step(site, state, silent)[0].units[0]
    assert (quiet.counted_mwh, quiet.counted_ms) == (15_002_000, NOW_MS + 2000)
    large = with_unit(site, capacity_wh=100_000_000)
    told = msgspec.structs.replace(RAN, soc_bp=6000, counted_mwh=60_000_000_000, counted_ms=NOW_MS)
    assert step(large, State(units=(told,)), silent)[0].units[0].counted_mwh == 60_000_000_000
    longer = step(site, state, counting(-3600, NOW_MS + 38_000))[0].units[0]
    assert (longer.counted_mwh, longer.cycled_mwh) == (15_038_000, 38_000)
    blind = step(site, state, counting(None, NOW_MS + 3000))[0].units[0]
    assert (blind.cycled_mwh, blind.counted_ms) == (2000, NOW_MS + 3000), "a power that is not told counts nothing"


def test_before_the_inverters_first_sample_nothing_is_counted_though_its_battery_is_known() -> None:
    alone = a_snapshot(a_meter(0, 4000), a_battery(at_ms=4000), now_ms=4000)
    state, _ = step(a_site(), State(), alone)
    assert (state.units[0].counted_mwh, state.units[0].counted_ms) == (15_000_000, 0)
    known = step(a_site(), state, counting(-3600, 5000))[0].units[0]
    assert (known.counted_mwh, known.cycled_mwh, known.counted_ms) == (15_000_000, 0, 5000)


def test_what_all_inverters_of_a_bank_take_is_counted_once_for_each_of_its_units() -> None:
    site = with_unit(a_site(2), 2, battery="battery1")
    state, _ = step(site, State(), counting(-3600, NOW_MS, (an_inverter(-1800, 2),)))
    later_ms = NOW_MS + 1000
    after, _ = step(site, state, counting(-3600, later_ms, (an_inverter(-1800, 2, later_ms),)))
    assert [known.counted_mwh for known in after.units] == [15_001_500, 15_001_500]
    for more in ((), (an_inverter(None, 2, later_ms),)):
        after, _ = step(site, state, counting(-3600, later_ms, more))
        assert after.units[0].cycled_mwh == 0, "what one of them takes is not known"


def test_a_unit_that_was_not_known_starts_with_nothing_remembered() -> None:
    state = step(a_site(2), State(units=(RAN,)), all_fresh())[0]
    assert [known.unit for known in state.units] == ["unit1", "unit2"]
    assert (state.units[0].since_ms, state.units[1].phase) == (1000, "off")


def test_what_is_remembered_stays_the_same_object_while_it_says_the_same() -> None:
    site, snapshot = a_site(), all_fresh()
    state, _ = step(site, State(), snapshot)
    forget()
    after, _ = step(site, state, msgspec.structs.replace(snapshot, now_ms=NOW_MS + 1000))
    assert after.units[0] is state.units[0]


@pytest.mark.parametrize(
    ("open_", "faults", "capacity_wh", "phase"),
    [
        ((), [], 25_000, "run"),
        ((2,), [("battery_apart", "battery2", "hot")], 12_500, "run"),
        (
            (1, 2),
            [
                ("battery_contactor_open", "battery1", ""),
                ("battery_alarm", "battery2", "hot"),
                ("battery_contactor_open", "battery2", ""),
            ],
            25_000,
            "off",
        ),
    ],
)
def test_of_two_batteries_on_one_unit_one_that_opened_is_apart_and_the_other_goes_on(
    open_: tuple[int, ...], faults: list[tuple[str, str, str]], capacity_wh: int, phase: str
) -> None:
    site = with_unit(a_site(), battery=("battery1", "battery2"))
    told = [
        a_battery(n=n, contactor_closed=n not in open_, alarms=("hot",) if n == 2 and open_ else ()) for n in (1, 2)
    ]
    snapshot = a_snapshot(a_meter(), an_inverter(), *told, orders=(a_target(0),))
    decision = step(site, State(), snapshot)[1]
    assert [(fault.fault, fault.device, fault.detail) for fault in decision.faults] == faults
    seen = looked(site, snapshot)[0].seen
    assert (seen.capacity_wh, seen.phase) == (capacity_wh, phase)


@pytest.mark.parametrize(
    ("circles_va", "asked_var", "parts_var"),
    [
        ((5000, 10_000, None), None, [0, 0, 0]),
        ((5000, 10_000, None), 0, [0, 0, 0]),
        ((5000, 10_000, None), -900, [300, 600, 0]),
        ((5000, 10_000, None), 15_000_000, [5_000_000, 10_000_000, 0]),
        ((5000, 10_000, None), 1, [1, 1, 0]),  # rounded up: each rather leaves too much free
        ((1, None, None), 7, [7, 0, 0]),
        ((None, None, None), 900, [0, 0, 0]),
    ],
)
def test_reactive_power_that_is_ordered_is_parted_by_the_circles_of_the_site_file(
    circles_va: tuple[int | None, ...], asked_var: int | None, parts_var: list[int]
) -> None:
    site = a_site(3)
    for n, circle_va in enumerate(circles_va, 1):
        site = with_unit(site, n, apparent_max_va=circle_va)
    old = Order(**ORDER, kind="reactive", starts_ms=1, reactive_var=77)
    orders = () if asked_var is None else (msgspec.structs.replace(old, starts_ms=2, reactive_var=asked_var), old)
    snapshot = a_snapshot(*(make(n=n) for n in (1, 2, 3) for make in (an_inverter, a_battery)), orders=orders)
    assert [row.seen.ordered_var for row in looked(site, snapshot)] == parts_var
