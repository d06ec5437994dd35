"""The invariants of the law (control 2.6), one test each: on lives of whole sites, and on cycles decided twice.

A life (tests/life.py) drives board, step and gate over a true plant. What compares two decisions (I3, I4, I15, I16,
I19) decides the same cycle twice. I7 stands for what is promised upward, there is no tranche yet. I12 is with
tests/test_share.py, I17 with the bench's scenarios, I18 with the rules' counterfactual tests.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from controller.engine import step
from controller.gate import Memory, check, fingerprint
from controller.model import (
    AnyReading,
    Battery,
    Command,
    Commission,
    Commitment,
    Decision,
    Energy,
    Inverter,
    Meter,
    Missing,
    Ramp,
    Site,
    Snapshot,
    State,
)
from tests.life import FIELDS, LIVES, STALE_MS, W_MS, Cycle, Life, LyingLife, live, sites
from tests.words import a_battery, a_meter, a_site, a_snapshot, a_target, all_fresh, an_inverter

PAIRS = settings(LIVES, max_examples=80)


# -- laws of one cycle -------------------------------------------------------------------------------------------------


def forced(cycle: Cycle) -> bool:
    """Tell whether a stronger class took a unit beyond what energy and reserve leave."""
    return any(not s.low_w <= s.power_w <= s.high_w for s in cycle.decision.shares)


def bounds_are_nested(life: Life, cycle: Cycle) -> None:
    decision, units = cycle.decision, cycle.site.unit
    lows_w, highs_w = [-unit.charge_max_w for unit in units], [unit.discharge_max_w for unit in units]
    assert sum(lows_w) <= decision.low.value_w <= decision.high.value_w <= sum(highs_w)
    for share, low_w, high_w in zip(decision.shares, lows_w, highs_w, strict=True):
        assert low_w <= share.low_w <= share.high_w <= high_w
    if decision.why != "min_power":
        assert decision.low.value_w <= decision.target_w <= decision.high.value_w
    else:  # no least power lies inside: the nearest sum of them is taken, or 0 W
        least_w = sum(unit.min_power_w for unit in units)
        assert decision.low.value_w - least_w < decision.target_w < decision.high.value_w + least_w


def test_envelope_is_never_empty_and_lies_in_the_nameplate() -> None:
    """I1: low <= target <= high, of the site and of each unit, inside the nameplates."""
    live(bounds_are_nested)


def test_lying_devices_never_empty_or_widen_the_envelope() -> None:
    """I1, I2: the same where devices tell anything, and no unit is moved by a lie beyond what its devices admit."""

    def law(life: Life, cycle: Cycle) -> None:
        bounds_are_nested(life, cycle)
        devices_admit(life, cycle)
        sums_are_exact(life, cycle)

    live(law, LyingLife)


def devices_admit(life: Life, cycle: Cycle) -> None:
    readings = {reading.device: reading for reading in cycle.snapshot.readings}
    for unit, share in zip(cycle.site.unit, cycle.decision.shares, strict=True):
        if share.power_w == 0:
            continue
        inverter, battery = readings.get(unit.inverter), readings.get(unit.batteries[0])
        assert isinstance(inverter, Inverter) and isinstance(battery, Battery), "moved without being heard"
        assert inverter.remote and inverter.state != "fault" and inverter.power_w is not None
        assert not battery.alarms and battery.contactor_closed is not False
        assert battery.soc_bp is not None and 0 <= battery.soc_bp <= 10_000
        up = share.power_w > 0
        current_ma = battery.discharge_max_ma if up else battery.charge_max_ma
        assert (battery.discharge_allowed if up else battery.charge_allowed) is not False
        assert not (up and battery.force_charge)
        assert abs(share.power_w) * 1_000_000 <= (current_ma or 0) * (battery.voltage_mv or 0)
        set_w = inverter.discharge_max_w if up else inverter.charge_max_w
        assert set_w is None or abs(share.power_w) <= set_w


def test_no_unit_moves_beyond_what_its_devices_admit_at_this_moment() -> None:
    """I2: commands lie in classes 0 and 1, laid anew from the raw snapshot."""
    live(devices_admit)


def test_gate_refuses_nothing_on_a_healthy_site() -> None:
    """I2, the other side: what step commands of a site without faults and moves in flight, the gate lets pass."""

    def law(life: Life, cycle: Cycle) -> None:
        healthy = not (life.cut or life.hidden or cycle.snapshot.missing or cycle.snapshot.notices)
        if healthy and not forced(cycle):
            assert [verdict.refused for verdict in cycle.verdicts if verdict.refused] == []

    live(law)


def test_stored_energy_stays_between_floor_and_ceiling() -> None:
    """I5: the true energy, for all commands, losses of data, hangs, restarts, clock jumps, unless class 2 demands."""

    def law(life: Life, cycle: Cycle) -> None:
        if life.demanded:
            return
        energy = cycle.site.energy
        for cells in life.cells:
            full_w_ms = cells.unit.capacity_wh * W_MS
            least_w_ms = min(cells.began_w_ms, full_w_ms * energy.floor_pct // 100)
            most_w_ms = max(cells.began_w_ms, full_w_ms * energy.ceiling_pct // 100)
            assert least_w_ms <= cells.stored_w_ms <= most_w_ms

    live(law)


def test_customers_reserve_is_never_sold() -> None:
    """I6: no order and no program discharges below the reserve; on the plant, from wherever it began above it."""

    def law(life: Life, cycle: Cycle) -> None:
        if life.demanded:
            return
        for cells in life.cells:
            reserve_w_ms = cells.unit.capacity_wh * W_MS * cycle.site.energy.reserve_pct // 100
            assert cells.stored_w_ms >= min(cells.began_w_ms, reserve_w_ms)

    live(law)


def test_what_is_promised_upward_is_there_and_is_not_the_customers() -> None:
    """I7: floor, reserve, what may be sold and what is free are parts of one whole; the promise holds on the plant."""

    def law(life: Life, cycle: Cycle) -> None:
        decision, energy = cycle.decision, cycle.site.energy
        assert decision.available is not None
        assert decision.available.discharge_w <= max(0, sum(unit.discharge_max_w for unit in cycle.site.unit))
        free_wh = room_wh = 0
        for cells in life.cells:
            stored_wh, capacity_wh = cells.stored_w_ms // W_MS, cells.unit.capacity_wh
            free_wh += max(0, stored_wh - capacity_wh * max(energy.floor_pct, energy.reserve_pct) // 100 + 1)
            room_wh += max(0, capacity_wh * energy.ceiling_pct // 100 - stored_wh + 1)
        if not life.cut:
            assert decision.available.discharge_wh <= free_wh
            assert decision.available.charge_wh <= room_wh
            assert (decision.sellable_wh or 0) <= min(free_wh, decision.stored_wh or 0)

    live(law)


def test_order_is_followed_while_its_lease_runs_and_not_one_cycle_longer() -> None:
    """I8: without a live target order nothing is followed; the target is what the site's own program makes of it."""

    def law(life: Life, cycle: Cycle) -> None:
        now_ms, decision = cycle.snapshot.now_ms, cycle.decision
        assert all(order.starts_ms <= now_ms < order.expires_ms for order in cycle.snapshot.orders)
        targets = [order for order in cycle.snapshot.orders if order.kind == "target"]
        assert (decision.mode == "follow") == bool(targets) == (decision.asked_w is not None)
        if decision.mode == "hold" and cycle.site.ramp == Ramp():
            nearest_w = max(decision.low.value_w, min(0, decision.high.value_w))
            assert decision.target_w == nearest_w or decision.why == "min_power"

    live(law)


def test_no_command_outlives_the_inverters_own_watchdog() -> None:
    """I9: each command's lease ends with the watchdog at the latest; on the plant a silent controller leaves 0 W."""

    def law(life: Life, cycle: Cycle) -> None:
        watchdogs_s = {unit.inverter: unit.watchdog_s or 0 for unit in cycle.site.unit}
        for command in cycle.decision.commands:
            assert 0 < command.valid_ms <= watchdogs_s[command.device] * 1000

    live(law)


def sums_are_exact(life: Life, cycle: Cycle) -> None:
    decision = cycle.decision
    assert sum(share.power_w for share in decision.shares) == decision.target_w
    parts_w = {share.unit: share.power_w for share in decision.shares}
    units = {unit.inverter: unit.name for unit in cycle.site.unit}
    assert all(command.power_w == parts_w[units[command.device]] for command in decision.commands)
    if not forced(cycle):
        assert all(share.low_w <= share.power_w <= share.high_w for share in decision.shares)


def test_units_together_give_the_target_to_the_watt() -> None:
    """I10: the shares add up to the target, each in its unit's bounds, and are what is commanded."""
    live(sums_are_exact)


def test_no_unit_runs_in_its_dead_zone_and_none_against_another() -> None:
    """I11: 0 W or at least the least power, unless the unit itself is forced into it; no power circulates."""

    def law(life: Life, cycle: Cycle) -> None:
        free = [share for share in cycle.decision.shares if share.low_w <= 0 <= share.high_w]
        least_w = {unit.name: unit.min_power_w for unit in cycle.site.unit}
        assert [share for share in free if 0 < abs(share.power_w) < least_w[share.unit]] == []
        assert len({share.power_w > 0 for share in free if share.power_w}) <= 1

    live(law)


def test_target_moves_no_faster_than_the_ramp_inside_the_envelope() -> None:
    """I13: faster only where the envelope itself has moved past the target, or to the first power a unit can give."""

    def law(life: Life, cycle: Cycle) -> None:
        before, decision, ramp = cycle.before, cycle.decision, cycle.site.ramp
        if before.target_w is None or before.decided_ms is None or decision.why == "min_power":
            return
        if decision.target_w in (decision.low.value_w, decision.high.value_w):
            return
        elapsed_ms = cycle.snapshot.now_ms - before.decided_ms
        growing = {
            1: ramp.discharge_up_w_per_s if decision.target_w > 0 else ramp.charge_down_w_per_s,
            -1: ramp.charge_up_w_per_s if decision.target_w < 0 else ramp.discharge_down_w_per_s,
        }[1 if decision.target_w > before.target_w else -1]
        rates = [ramp.rate_w_per_s if growing is None else growing]
        if before.target_w * decision.target_w < 0:
            return
        if rates[0] is not None:
            assert abs(decision.target_w - before.target_w) * 1000 <= rates[0] * elapsed_ms + 1000

    live(law)


# -- laws of two decisions ---------------------------------------------------------------------------------------------


def same(law_of_two: Callable[[Cycle], None], kind: type[Life] = LyingLife) -> None:
    """Lay a law that decides the same cycle once more on every cycle of lives."""
    live(lambda life, cycle: law_of_two(cycle), kind, 2)


def test_same_site_state_and_snapshot_decide_the_same() -> None:
    """I15: at once, and from what a journal would keep of them."""

    def law(cycle: Cycle) -> None:
        first = cycle.after, cycle.decision
        assert step(cycle.site, cycle.before, cycle.snapshot) == first
        site, before, snapshot = (
            msgspec.json.decode(msgspec.json.encode(value), type=type(value))
            for value in (cycle.site, cycle.before, cycle.snapshot)
        )
        assert step(site, before, snapshot) == first

    same(law)


def test_weaker_class_never_changes_what_a_stronger_one_leaves() -> None:
    """I4: without the utility's orders the envelope is no narrower, without its targets it is the same."""

    def law(cycle: Cycle) -> None:
        decision, orders = cycle.decision, cycle.snapshot.orders
        classes = {
            "targets": tuple(order for order in orders if order.kind != "target"),
            "all of class 5": tuple(order for order in orders if order.kind == "reserve"),
        }
        for name, left in classes.items():
            snapshot = msgspec.structs.replace(cycle.snapshot, orders=left)
            _, other = step(cycle.site, cycle.before, snapshot)
            ends = [(d.low.value_w, d.high.value_w) for d in (other, decision)]
            units = [[(s.low_w, s.high_w) for s in d.shares] for d in (other, decision)]
            assert units[0] == units[1]
            assert ends[0][0] <= ends[1][0] <= ends[1][1] <= ends[0][1]
            assert name != "targets" or ends[0] == ends[1]

    same(law)


def test_wall_clock_may_jump_without_any_effect() -> None:
    """I19: hours, days and years ahead or back change nothing but the stamps (full charges by the calendar aside)."""

    def law(cycle: Cycle) -> None:
        for jump_ms in (-86_400_000, -7000, 3_600_000, 10**11):
            snapshot = msgspec.structs.replace(cycle.snapshot, utc_ms=cycle.snapshot.utc_ms + jump_ms)
            _, other = step(cycle.site, cycle.before, snapshot)
            assert other == cycle.decision

    same(law, Life)


def ends_w(decision: Decision) -> list[tuple[str, int, int]]:
    """Return the envelopes: the site's and each unit's."""
    units = [(share.unit, share.low_w, share.high_w) for share in decision.shares]
    return [("site", decision.low.value_w, decision.high.value_w), *units]


def widened(before: Decision, after: Decision) -> list[str]:
    """Return whose envelope grew.

    Two things are no growth: a unit's power that was forced may be given up, to 0 W and not beyond; and the site goes
    where its other units are still forced to, where the lost one balanced them.
    """
    given_up_w = sum(max(0, -share.high_w) for share in before.shares), sum(max(0, s.low_w) for s in before.shares)
    still_w = sum(min(0, share.high_w) for share in after.shares), sum(max(0, s.low_w) for s in after.shares)
    found = []
    for (name, low_w, high_w), (_, new_low_w, new_high_w) in zip(ends_w(before), ends_w(after), strict=True):
        least_w, most_w = min(low_w, 0), max(high_w, 0)
        if name == "site":
            least_w = min(least_w, low_w - given_up_w[1], still_w[0])
            most_w = max(most_w, high_w + given_up_w[0], still_w[1])
        if new_low_w < least_w or new_high_w > most_w:
            found.append(f"{name}: [{low_w}, {high_w}] became [{new_low_w}, {new_high_w}]")
    return found


def poorer(snapshot: Snapshot, reading: AnyReading) -> list[Snapshot]:
    """Return the snapshot without a reading, and with each of its data left out in turn."""
    without = tuple(other for other in snapshot.readings if other is not reading)
    gone = Missing(device=reading.device, age_ms=STALE_MS + 1)
    poi_battery_w = None if isinstance(reading, Meter | Inverter) else snapshot.poi_battery_w
    found = [
        msgspec.structs.replace(
            snapshot, readings=without, missing=(*snapshot.missing, gone), poi_battery_w=poi_battery_w
        )
    ]
    for field in FIELDS[type(reading)]:
        if getattr(reading, field) is not None:
            told = tuple(
                msgspec.structs.replace(other, **{field: None}) if other is reading else other
                for other in snapshot.readings
            )
            unknown = None if field == "power_w" else snapshot.poi_battery_w
            found.append(msgspec.structs.replace(snapshot, readings=told, poi_battery_w=unknown))
    return found


def test_losing_a_measurement_never_widens_what_is_allowed() -> None:
    """I3: in the same cycle, from the same state: a device that falls silent, a datum that is no longer told."""

    def law(cycle: Cycle) -> None:
        _, again = step(cycle.site, cycle.after, cycle.snapshot)
        for reading in cycle.snapshot.readings:
            for snapshot in poorer(cycle.snapshot, reading):
                _, other = step(cycle.site, cycle.after, snapshot)
                assert widened(again, other) == [], reading.device

    same(law, Life)


# -- laws with a world of their own ------------------------------------------------------------------------------------


@PAIRS
@given(
    site=sites(),
    soc_bp=st.integers(6000, 7000),
    load_w=st.integers(-4000, 10_000),
    asked_w=st.none() | st.integers(-30_000, 30_000),
    delay=st.integers(0, 1),
)
def test_nothing_moves_any_more_where_nothing_changes(
    site: Site, soc_bp: int, load_w: int, asked_w: int | None, delay: int
) -> None:
    """I14: under constant load, orders and charge the target comes to rest and stays: no limit cycle."""
    assume(site.energy.reserve_pct < 45 and site.energy.ceiling_pct > 85)
    rates_w_per_s = (site.ramp.rate_w_per_s, site.ramp.discharge_up_w_per_s, site.ramp.charge_down_w_per_s)
    assume(10 not in rates_w_per_s)  # would need an hour
    units = tuple(msgspec.structs.replace(unit, capacity_wh=500_000) for unit in site.unit)
    site = msgspec.structs.replace(site, unit=units)
    state, targets_w = State(), []
    pending = [[0] * len(units)] * (delay + 1)
    for second in range(90):
        now_ms, powers_w = 1_000_000 + 1000 * second, pending.pop(0)
        told: list[AnyReading] = [a_meter(sum(powers_w) - load_w, now_ms)]
        for n, power_w in enumerate(powers_w, 1):
            told += [an_inverter(power_w, n, now_ms), a_battery(soc_bp, n, now_ms, contactor_closed=True)]
        orders = () if asked_w is None else (a_target(asked_w, at_ms=1_000_000, lease_ms=10**6),)
        state, decision = step(site, state, a_snapshot(*told, now_ms=now_ms, orders=orders))
        pending.append([share.power_w for share in decision.shares])
        targets_w.append((decision.target_w, [share.power_w for share in decision.shares]))
    assert targets_w[-20:] == targets_w[-1:] * 20


def mirrored(site: Site, worlds: list[dict[str, Any]], sign: int) -> list[Decision]:
    """Decide worlds in a row, as they are or with discharge and charge exchanged."""
    state, found = State(), []
    for second, world in enumerate(worlds):
        now_ms = 1_000_000 + 1000 * second
        told: list[AnyReading] = [a_meter(sign * world["poi_w"], now_ms)]
        for n in range(1, len(site.unit) + 1):
            soc_bp, limits = world["socs_bp"][n - 1], world["limits_ma"][n - 1]
            charge_ma, discharge_ma = limits if sign > 0 else limits[::-1]
            battery = a_battery(soc_bp if sign > 0 else 10_000 - soc_bp, n, now_ms, contactor_closed=True)
            limited = msgspec.structs.replace(battery, charge_max_ma=charge_ma, discharge_max_ma=discharge_ma)
            told += [an_inverter(sign * world["power_w"], n, now_ms), limited]
        orders = () if world["asked_w"] is None else (a_target(sign * world["asked_w"], at_ms=now_ms),)
        state, decision = step(site, state, a_snapshot(*told, now_ms=now_ms, orders=orders))
        found.append(decision)
    return found


WORLDS = st.lists(
    st.fixed_dictionaries(
        {
            "poi_w": st.integers(-9000, 9000),
            "power_w": st.integers(-3000, 3000),
            "socs_bp": st.tuples(*[st.integers(500, 9500)] * 3),
            "limits_ma": st.tuples(*[st.tuples(st.integers(0, 300_000), st.integers(0, 300_000))] * 3),
            "asked_w": st.none() | st.integers(-30_000, 30_000),
        }
    ),
    min_size=4,
    max_size=8,
)


@PAIRS
@given(count=st.integers(1, 3), rate_w_per_s=st.sampled_from([None, 700]), worlds=WORLDS, rest_units=st.booleans())
def test_charging_is_the_mirror_of_discharging(
    count: int, rate_w_per_s: int | None, worlds: list[dict[str, Any]], rest_units: bool
) -> None:
    """I16: but for rounding, where the site itself is its own mirror.

    It never is in four respects, which are left out here: losses fall on the discharge alone, a reserve is kept against
    discharging alone, only charging is ever forced, and integers are rounded down: 1 W in each cycle, and 1 Wh of a
    unit's energy, which is 30 W to a barrier that tapers over 120 s.
    """
    site = a_site(count)
    poi = msgspec.structs.replace(
        site.poi, import_max_w=6000, export_max_w=6000, load_max_w=5000 * count, generation_max_w=5000 * count
    )
    site = msgspec.structs.replace(
        site,
        poi=poi,
        energy=Energy(floor_pct=10, reserve_pct=10, ceiling_pct=90, recovery_pct=0),
        unit=tuple(msgspec.structs.replace(unit, efficiency_pct=100, capacity_wh=10_000) for unit in site.unit),
        ramp=Ramp(rate_w_per_s=rate_w_per_s),
        commitment=Commitment(rest_units=rest_units),
    )
    both = zip(mirrored(site, worlds, 1), mirrored(site, worlds, -1), strict=True)
    for cycles, (one, other) in enumerate(both, 1):
        pairs_w = [(one.target_w, other.target_w), (one.low.value_w, other.high.value_w)]
        pairs_w += [(one.high.value_w, other.low.value_w)]
        pairs_w += [(a.power_w, b.power_w) for a, b in zip(one.shares, other.shares, strict=True)]
        assert [(a, b) for a, b in pairs_w if abs(a + b) > cycles + 30 * count] == []


TOLD: Any = st.integers(-(2**70), 2**70) | st.integers(-200, 200) | st.floats()
NUMBERS: Any = st.none() | TOLD
DEVICES = st.sampled_from(["inverter1", "inverter2", "battery1", "meter", "nobody", ""])
COMMANDS = st.builds(
    Command,
    device=DEVICES,
    power_w=NUMBERS | st.just("7"),
    running=st.booleans(),
    valid_ms=NUMBERS | st.just(10_000),
    reactive_var=NUMBERS,
)
TEXTS = st.sampled_from([(), ("alarm",)])
READINGS: Any = st.one_of(
    st.builds(Meter, device=DEVICES, sampled_ms=st.integers(90_000, 101_000), heard_ms=st.just(0), power_w=TOLD),
    st.builds(
        Inverter,
        device=DEVICES,
        sampled_ms=st.integers(90_000, 101_000),
        heard_ms=st.just(0),
        power_w=NUMBERS,
        charge_max_w=NUMBERS,
        apparent_max_va=NUMBERS,
        alarms=TEXTS,
    ),
    st.builds(
        Battery,
        device=DEVICES,
        sampled_ms=st.integers(90_000, 101_000),
        heard_ms=st.just(0),
        soc_bp=NUMBERS,
        soh_bp=NUMBERS,
        voltage_mv=NUMBERS,
        charge_max_ma=NUMBERS,
        discharge_max_ma=NUMBERS,
        cell_max_mv=NUMBERS,
        alarms=TEXTS,
    ),
)


@settings(PAIRS, max_examples=200)
@given(
    commands=st.lists(COMMANDS, max_size=3).map(tuple),
    readings=st.lists(READINGS, max_size=4).map(tuple),
    battery_w=st.none() | st.integers(-(2**70), 2**70),
)
def test_gate_answers_whatever_it_is_asked(
    commands: tuple[Command, ...], readings: tuple[AnyReading, ...], battery_w: int | None
) -> None:
    """I20: it never raises, judges each command, and passes only whole watts inside the nameplate."""
    site = a_site(2)
    record = Commission(site=site.name, fingerprint=fingerprint(site), by="test", at="2026-01-01T00:00:00Z")
    snapshot = msgspec.structs.replace(all_fresh(), readings=readings, poi_battery_w=battery_w)
    verdicts, memory = check(site, record, snapshot, Memory(), commands)
    assert [verdict.command for verdict in verdicts] == list(commands) or "nan" in repr(commands)
    for verdict in verdicts:
        if not verdict.refused:
            command = verdict.command
            assert type(command.power_w) is int and type(command.valid_ms) is int
            assert command.device in ("inverter1", "inverter2") and abs(command.power_w) <= 10_000
    again, _ = check(site, record, snapshot, memory, commands)
    assert len(again) == len(commands)
    silent, unchanged = check(site, None, snapshot, Memory(), commands)
    assert all(verdict.refused for verdict in silent) and unchanged == Memory()
