"""Replay finds every difference and names the first; explain tells a decision as it was."""

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from controller.engine import step
from controller.journal import Entry, JournalError, explain, explain_report, replay, replay_report
from controller.journal.words import power, reading
from controller.model import (
    FAULTS,
    Availability,
    Battery,
    Bound,
    Consumption,
    Decision,
    Default,
    Envelope,
    FaultName,
    Input,
    Inputs,
    Inverter,
    Meter,
    Missing,
    Notice,
    Order,
    Ramp,
    Reading,
    Remembered,
    Share,
    Site,
    Snapshot,
    Standing,
    State,
    Unmet,
)
from tests.journal_story import START_UTC_MS, a_site, an_entry, filled, record, segments

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


def decided(site: Site, cycles: int, first: int = 0) -> list[Entry]:
    """Let the engine decide the story's snapshots, each state handed to the next cycle."""
    state, entries = State(), []
    for seq in range(first, first + cycles):
        snapshot = an_entry(seq).snapshot
        after, decision = step(site, state, snapshot)
        entries.append(Entry(seq=seq, state=state, snapshot=snapshot, decision=decision))
        state = after
    return entries


def altered(entry: Entry, **changes: object) -> Entry:
    return msgspec.structs.replace(entry, decision=msgspec.structs.replace(entry.decision, **changes))


# Replay


def test_a_site_decides_again_as_it_did(tmp_path: Path) -> None:
    site = a_site(ramp=Ramp(rate_w_per_s=500))
    record(tmp_path, decided(site, 900), site=site)
    result = replay(tmp_path)
    assert (result.entries, result.states, result.differing, result.first) == (900, 899, 0, None)
    assert replay_report(tmp_path)[0] == 0
    assert replay_report(segments(tmp_path)[0])[0] == 0


def test_the_first_difference_is_named(tmp_path: Path) -> None:
    entries = decided(a_site(), 40)
    share = entries[21].decision.shares[0]
    lied = msgspec.structs.replace(share, power_w=share.power_w + 100)
    entries[21] = altered(entries[21], shares=(lied,))
    entries[30] = altered(entries[30], mode="hold")
    record(tmp_path, entries)
    result = replay(tmp_path)
    assert result.differing == 2
    assert result.first is not None
    assert str(result.first) == (
        f"entry 21 at 2026-05-01T18:04:33.000+00:00: decision.shares[0].power_w: "
        f"recorded {share.power_w + 100}, now {share.power_w}"
    )
    code, text = replay_report(tmp_path)
    assert code == 1
    assert "2 came out otherwise. The first is entry 21 " in text


@pytest.mark.parametrize("field", list(Decision.__struct_fields__))
def test_a_change_in_any_field_of_the_decision_is_found(tmp_path: Path, field: str) -> None:
    entries = decided(a_site(), 5)
    other = next(
        getattr(value, field)
        for value in filled(Decision)
        if getattr(value, field) != getattr(entries[3].decision, field)
    )
    entries[3] = altered(entries[3], **{field: other})
    record(tmp_path, entries)
    first = replay(tmp_path).first
    assert first is not None
    assert first.seq == 3
    assert first.path.startswith(f"decision.{field}")


@pytest.mark.parametrize("field", list(State.__struct_fields__))
def test_a_state_that_the_cycle_before_did_not_hand_on_is_found(tmp_path: Path, field: str) -> None:
    entries = decided(a_site(), 5)
    state = entries[3].state
    other = next(getattr(value, field) for value in filled(State) if getattr(value, field) != getattr(state, field))
    entries[3] = msgspec.structs.replace(entries[3], state=msgspec.structs.replace(state, **{field: other}))
    record(tmp_path, entries)
    first = replay(tmp_path).first
    assert first is not None
    assert first.seq == 3
    assert first.path.startswith(f"state.{field}")


def test_a_value_that_is_there_on_one_side_only_is_told_as_nothing_on_the_other(tmp_path: Path) -> None:
    entries = decided(a_site(), 3)
    entries[1] = altered(entries[1], unmet=(Unmet(rule="follow", asked_w=1, by_w=1, because="made up"),))
    record(tmp_path, entries)
    first = replay(tmp_path).first
    assert first is not None
    assert (first.path, first.now) == ("decision.unmet", "nothing")


def test_a_restart_and_a_lost_entry_break_the_chain_of_states_only(tmp_path: Path) -> None:
    entries = decided(a_site(), 10)
    record(tmp_path, entries[:4] + entries[5:])
    record(tmp_path, decided(a_site(), 5, first=10))
    result = replay(tmp_path)
    assert (result.entries, result.states, result.first) == (14, 3 + 4 + 4, None)


def test_a_step_that_fails_now_is_a_difference(tmp_path: Path) -> None:
    def failing(site: Site, state: State, snapshot: Snapshot) -> tuple[State, Decision]:
        assert snapshot.now_ms < 102_000, "no good"
        return step(site, state, snapshot)

    record(tmp_path, decided(a_site(), 4))
    result = replay(tmp_path, failing)
    assert result.differing == 2
    assert result.first is not None
    assert (result.first.seq, result.first.path) == (2, "decision")
    assert result.first.now.startswith("the step failed with AssertionError: no good")


def test_a_replay_of_nothing_does_not_pass(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="nothing was replayed"):
        replay(tmp_path)
    record(tmp_path, [an_entry(0)])
    (path,) = segments(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    code, text = replay_report(tmp_path)
    assert code == 2
    assert "nothing was replayed" in text and "cut or damaged up to the end" in text
    assert replay_report(tmp_path / "never")[0] == 2


def test_a_torn_end_is_told_and_the_rest_replayed(tmp_path: Path) -> None:
    record(tmp_path, decided(a_site(), 4))
    (path,) = segments(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    code, text = replay_report(tmp_path)
    assert code == 0
    assert text.startswith("3 entries decided again, 2 of them with their state checked.\nAll came out bit for bit")
    assert "1 places could not be read:\n  00000001.lpj: " in text


def test_entries_that_are_whole_but_not_understood_do_not_pass(tmp_path: Path) -> None:
    record(tmp_path, decided(a_site(), 4))
    record(tmp_path, [an_entry(4)])
    first, second = segments(tmp_path)
    content = second.read_bytes()
    header_bytes = 8 + int.from_bytes(content[8:12], "little")
    second.write_bytes(content[:8] + content[8 + 2 * header_bytes :])
    assert replay_report(tmp_path)[0] == 2
    assert replay_report(first)[0] == 0


# Explain


def the_evening(utc_ms: int = START_UTC_MS) -> Entry:
    """Return a decision in which the reserve stops a discharge, the meter is silent and a fault stands."""
    entry = an_entry(7, utc_ms)
    now_ms = 107_000
    meter, inverter, battery = entry.snapshot.readings
    ages = {inverter.device: 400, battery.device: 900}
    readings = tuple(
        msgspec.structs.replace(each, sampled_ms=now_ms - ages[each.device]) for each in (inverter, battery)
    )
    inverter = msgspec.structs.replace(readings[0], power_w=3180, reactive_var=-40)
    battery = msgspec.structs.replace(
        readings[1],
        soc_bp=3310,
        voltage_mv=51_200,
        current_ma=66_000,
        charge_max_ma=None,
        cell_min_mv=3201,
        cell_max_mv=3214,
        modules=4,
        contactor_closed=True,
        warnings=("cell imbalance",),
    )
    order = Order(
        name="wset",
        source="sunspec 127.0.0.1:40912",
        kind="target",
        domain="battery",
        low_w=6000,
        high_w=6000,
        starts_ms=now_ms - 18_000,
        expires_ms=now_ms + 42_000,
    )
    limit = msgspec.structs.replace(order, name="wmaxlim", kind="limit", domain="poi", low_w=-8000, high_w=4000)
    because = "3310 Wh stored, 3000 Wh are the customer's, estimate good to 200 Wh"
    return Entry(
        seq=7,
        state=entry.state,
        snapshot=msgspec.structs.replace(
            entry.snapshot,
            now_ms=now_ms,
            readings=(inverter, battery),
            orders=(order, limit),
            missing=(Missing(device=meter.device, age_ms=4200), Missing(device="spare")),
        ),
        decision=msgspec.structs.replace(
            entry.decision,
            now_ms=now_ms,
            target_w=3200,
            wish_w=6000,
            wish_because="sunspec 127.0.0.1:40912 asks +6000 W of the batteries",
            why="customer_reserve",
            low=Bound(value_w=-1000, rule="poi_limit", because="the POI meter is silent"),
            high=Bound(value_w=3200, rule="customer_reserve", because=because),
            asked_w=6000,
            net_load_w=None,
            stored_wh=3310,
            sellable_wh=110,
            unmet=(Unmet(rule="follow", asked_w=6000, by_w=2800, because=because),),
            faults=(
                Standing(fault="meter_stale", device="meter", since_ms=now_ms - 1200, detail="silent"),
                Standing(fault="wrong_device", device="spare", since_ms=0, clear_since_ms=now_ms - 5000),
                Standing(fault="bad_reply", device="inverter", since_ms=0, clear_since_ms=now_ms - 30_500),
            ),
            available=Availability(
                discharge_w=3200,
                charge_w=1000,
                discharge_wh=99,
                charge_wh=5990,
                discharge_s=0,
                charge_s=21_444,
                discharge_because=f"customer_reserve(pack): {because}",
                charge_because="poi_limit: the POI meter is silent",
            ),
            shares=(Share(unit="pack", low_w=-5000, high_w=3200, power_w=3200),),
            commands=(msgspec.structs.replace(entry.decision.commands[0], power_w=3200),),
        ),
    )


def test_a_decision_is_told_as_a_person_would() -> None:
    golden = Path(__file__).parent / "golden" / "explain_reserve.txt"
    assert explain(a_site(timezone="Europe/Berlin"), the_evening()) == golden.read_text()


def told(**changes: object) -> str:
    return explain(a_site(ramp=Ramp(rate_w_per_s=250)), altered(an_entry(), **changes))


def test_the_reason_of_the_power_is_told() -> None:
    assert "W (discharge), as wished." in told(target_w=100, why="wish")
    assert "as fast as the ramp, which allows 250 W a second." in told(target_w=-100, why="ramp")
    assert "They were given 0 W because fault_stop binds." in told(target_w=0, why="fault_stop")


def test_a_silent_utility_and_the_calendar_are_told() -> None:
    entry = an_entry()
    alone = msgspec.structs.replace(entry.snapshot, orders=(), utility_silent=True, program="hold")
    text = explain(a_site(), altered(msgspec.structs.replace(entry, snapshot=alone), asked_w=None, stored_wh=None))
    assert text.startswith("18:04:12 - nothing was asked of the batteries. They were given ")
    assert 'The utility is silent: the site\'s default holds, the program "hold".' in text
    assert 'The calendar asked for the program "hold".' in text
    assert "How much was stored is not known; floor 10 % (1,000 Wh)" in text
    fixed = msgspec.structs.replace(a_site().utility, default=Default(power_w=-500))
    assert "default holds, -500 W (charge)." in explain(
        a_site(utility=fixed), msgspec.structs.replace(entry, snapshot=alone)
    )
    heard = msgspec.structs.replace(alone, utility_silent=False)
    assert "The utility asked for nothing." in explain(a_site(), msgspec.structs.replace(entry, snapshot=heard))


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_told_with_what_to_check(name: FaultName) -> None:
    text = told(faults=(Standing(fault=name, device="inverter", since_ms=1),))
    assert f"{name} at inverter" in text
    assert FAULTS[name].means in text and FAULTS[name].check in text


def test_every_field_of_a_decision_can_be_told() -> None:
    for entry in filled(Entry):
        assert explain(a_site(), entry)


EXPLAINED = msgspec.structs.replace(
    a_site(),
    input=(Input(name="stop", device="io", channel=0, means="emergency_stop"),),
    poi=msgspec.structs.replace(
        a_site().poi,
        envelope=Envelope(import_default_w=3000, export_default_w=2000),
        consumption=Consumption(failsafe_w=4200),
    ),
)


def all_told() -> Entry:
    """Return a decision in which everything there is to tell is there."""
    entry = the_evening()
    (share,), (command,) = entry.decision.shares, entry.decision.commands
    decision = msgspec.structs.replace(
        entry.decision,
        reactive_var=700,
        net_load_w=1234,
        shares=(msgspec.structs.replace(share, reactive_var=350, phase="ramp_down"),),
        commands=(msgspec.structs.replace(command, reactive_var=350),),
    )
    snapshot = msgspec.structs.replace(
        entry.snapshot,
        program="self_consumption",
        notices=(Notice(fault="bad_reply", device="inverter", detail="late"),),
        poi_battery_w=3111,
        utility_silent=True,
        consumption_heard_ms=95_000,
    )
    return msgspec.structs.replace(entry, decision=decision, snapshot=snapshot)


OTHER: dict[str, object] = {  # a value that cannot be counted up
    "mode": "hold",
    "why": "ramp",
    "program": "hold",
    "phase": "standby",
    "fault": "frame_flood",
    "utility_silent": False,
    "running": False,
    "wish_because": "another reason",
}


def changed(value: object, field: str) -> object:
    """Return the value with one field another one."""
    old = getattr(value, field)
    new = OTHER.get(field)
    if new is None:
        new = old + 61_001 if isinstance(old, int) else f"another {old}" if isinstance(old, str) else ()
    assert new != old
    return msgspec.structs.replace(value, **{field: new})  # type: ignore[type-var]


@pytest.mark.parametrize("field", Decision.__struct_fields__)
def test_each_field_of_a_decision_is_told(field: str) -> None:
    entry = all_told()
    if isinstance(getattr(entry.decision, field), msgspec.Struct):
        value = getattr(entry.decision, field)
        for inner in value.__struct_fields__:
            other = altered(entry, **{field: changed(value, inner)})
            assert explain(EXPLAINED, other) != explain(EXPLAINED, entry), inner
        return
    other = msgspec.structs.replace(entry, decision=changed(entry.decision, field))
    assert explain(EXPLAINED, other) != explain(EXPLAINED, entry)


@pytest.mark.parametrize("field", ["shares", "commands", "unmet", "faults"])
def test_each_field_of_each_part_of_a_decision_is_told(field: str) -> None:
    entry = all_told()
    part = getattr(entry.decision, field)[0]
    part = msgspec.structs.replace(part, moved_ms=5000) if isinstance(part, Share) else part
    for inner in part.__struct_fields__:
        if inner == "clear_since_ms":
            continue  # None here, told in the evening
        other = altered(entry, **{field: (changed(part, inner),)})
        first = altered(entry, **{field: (part,)})
        assert explain(EXPLAINED, other) != explain(EXPLAINED, first), inner


@pytest.mark.parametrize("field", Snapshot.__struct_fields__)
def test_each_field_of_a_snapshot_is_told(field: str) -> None:
    entry = all_told()
    other = msgspec.structs.replace(entry, snapshot=changed(entry.snapshot, field))
    assert explain(EXPLAINED, other) != explain(EXPLAINED, entry)


@pytest.mark.parametrize("kind", [Meter, Inverter, Battery, Inputs])
def test_each_field_of_a_reading_is_told(kind: type[Reading]) -> None:
    needed: dict[type[Reading], dict[str, object]] = {Meter: {"power_w": 1}, Inputs: {"closed": ()}}
    plain = kind(device="d", sampled_ms=0, heard_ms=0, **needed.get(kind, {}))
    for field in kind.__struct_fields__:
        others = [msgspec.structs.replace(plain, **{field: getattr(value, field)}) for value in filled(kind)]
        told_apart = {reading(other) for other in others} != {reading(plain)}
        assert told_apart or field in ("device", "sampled_ms", "heard_ms"), field


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "cease"}, "asked the site to cease, for another 42 s."),
        ({"kind": "reserve", "soc_bp": 8050}, "asked to keep 80.5 % for the customer, for another 42 s."),
        ({"kind": "reserve", "by_ms": 167_000}, "for the customer and to have it stored in 60 s, for another 42 s."),
        ({"kind": "reactive", "reactive_var": -500}, "asked for a reactive power of -500 var, for another 42 s."),
        ({"kind": "consumption", "low_w": -4200}, "allowed to draw 4,200 W from the grid at most, for another 42 s."),
        (
            {"kind": "envelope", "domain": "poi", "low_w": -3000, "high_w": 2000},
            "set the operating envelope to -3,000 W (import) to +2,000 W (export) at the point of interconnection",
        ),
        ({"starts_ms": 110_000}, "of the batteries, from 3 s later on."),
        ({"expires_ms": 107_000}, "of the batteries; its lease has run out."),
    ],
)
def test_every_kind_of_order_is_told(changes: dict[str, object], says: str) -> None:
    entry = the_evening()
    order = msgspec.structs.replace(entry.snapshot.orders[0], **changes)
    snapshot = msgspec.structs.replace(entry.snapshot, orders=(order,))
    assert says in explain(a_site(), msgspec.structs.replace(entry, snapshot=snapshot))


def test_the_network_operators_limits_in_force_are_told() -> None:
    entry = all_told()
    text = explain(EXPLAINED, entry)
    assert (
        "Operating envelope: import at most 3,000 W, export at most 2,000 W; by default, for none is in force." in text
    )
    assert "Drawn from the grid: at most 4,200 W (init); whoever limits it was heard 12 s ago." in text
    order = msgspec.structs.replace(entry.snapshot.orders[0], kind="envelope", domain="poi", low_w=-900, high_w=800)
    sent = msgspec.structs.replace(entry.snapshot, orders=(order,), consumption_heard_ms=None)
    text = explain(EXPLAINED, msgspec.structs.replace(entry, snapshot=sent))
    assert "Operating envelope: import at most 900 W, export at most 800 W; as sent." in text
    assert "whoever limits it was never heard." in text
    assert "What the network operator allowed" not in explain(a_site(), the_evening())


@pytest.mark.parametrize(
    ("closed", "says"),
    [
        ((False,), "stop: open, active: emergency stop."),
        ((True,), "stop: closed, not active (emergency stop)."),
        ((), "stop: not heard of, so it counts as active: emergency stop."),
        (None, "stop: not heard of, so it counts as active: emergency stop."),
    ],
)
def test_contacts_are_told_with_what_they_mean(closed: tuple[bool, ...] | None, says: str) -> None:
    entry = all_told()
    heard = () if closed is None else (Inputs(device="io", sampled_ms=1, heard_ms=1, closed=closed),)
    snapshot = msgspec.structs.replace(entry.snapshot, readings=heard)
    assert f"What the contacts said\n- {says}" in explain(EXPLAINED, msgspec.structs.replace(entry, snapshot=snapshot))


def test_a_limit_behind_a_contact_is_told() -> None:
    site = a_site(input=(Input(name="relay", device="io", channel=0, means="import_limit", limit_w=4200),))
    assert "- relay: not heard of, so it counts as active: import limit of 4,200 W." in explain(site, the_evening())


def test_what_is_known_from_before_is_told_where_it_matters() -> None:
    entry = the_evening()
    assert "What was known from before" not in explain(a_site(), entry)
    units = (
        Remembered(unit="pack", phase="run", charge_pct=40, discharge_pct=99, recovering=True, attempts=1),
        Remembered(unit="other", attempts=2, full_wanted_utc_ms=1, committed=False),
        Remembered(unit="third"),
    )
    text = explain(
        a_site(), msgspec.structs.replace(entry, state=State(units=units, ceased="Ann", storm_since_ms=47_000))
    )
    assert text.partition("What was known from before\n")[2].startswith(
        "- This was the first decision after a start.\n"
        "- Before the start Ann had ordered the site to cease.\n"
        "- A contact has told of a storm for 60 s.\n"
        "- pack: charging held at 40 %, discharging held at 99 %, being charged from below the floor, "
        "1 failed start in a row.\n"
        "- other: its battery asks for a full charge, 2 failed starts in a row, resting, for it was not needed.\n\n"
    )


def test_least_powers_are_told_with_what_they_kept_from_being_reached() -> None:
    missed = Unmet(rule="min_power", asked_w=400, by_w=400, because="1 unit needs 500 W at least")
    text = told(target_w=0, why="min_power", unmet=(missed,))
    assert "They were given 0 W, the nearest that the units' least powers can reach." in text
    assert "- +400 W (discharge) was missed by 400 W: 1 unit needs 500 W at least." in text


def test_a_ramp_of_several_rates_is_told_with_all_of_them() -> None:
    entry = altered(an_entry(), target_w=100, why="ramp")
    site = a_site(ramp=Ramp(discharge_up_w_per_s=10, charge_down_w_per_s=2000))
    allowed = "which allows 10 W a second while discharge grows, 2,000 W a second while charge shrinks."
    assert allowed in explain(site, entry)
    assert f"on the way there from {power(entry.state.target_w or 0)} as fast as the ramp" in explain(site, entry)
    started = msgspec.structs.replace(entry, state=State())
    assert ", on the way there as fast as the ramp." in explain(a_site(), started)


def test_power_that_could_be_had_is_told_with_its_time_and_its_reason() -> None:
    found = Availability(
        discharge_w=5000,
        charge_w=0,
        discharge_wh=4000,
        charge_wh=20,
        discharge_s=2760,
        charge_s=0,
        charge_because="r: b",
    )
    text = told(available=found)
    assert text.endswith(
        "What could have been had\n"
        "- Discharging: +5,000 W (discharge) at once, for 46 min; 4,000 Wh until the reserve.\n"
        "- Charging: nothing at once; 20 Wh until the ceiling. Less than the nameplate for r: b.\n"
    )
    falling = msgspec.structs.replace(found, charge_w=70, charge_because="")
    assert "- Charging: -70 W (charge) at once, falling already; 20 Wh until the ceiling.\n" in told(available=falling)
    assert "What could have been had" not in told(available=None)


def found(journal: Path, moment: str | None) -> tuple[int, int | None, str]:
    """Return the exit code, the entry's number where one is explained, and the text."""
    code, text = explain_report(journal, moment)
    entry = re.search(r"entry (\d+)\.", text)
    return code, int(entry[1]) if entry else None, text


def test_the_last_decision_is_explained_unless_a_time_is_given(tmp_path: Path) -> None:
    record(tmp_path, [an_entry(seq) for seq in range(5)])
    assert found(tmp_path, None)[:2] == (0, 4)
    assert found(tmp_path, "last")[:2] == (0, 4)
    assert found(segments(tmp_path)[0], "last")[:2] == (0, 4)


@pytest.mark.parametrize(
    ("moment", "seq"),
    [
        ("20:04:15", 3),
        ("20:04:15.249", 2),
        ("20:04:15.250", 3),
        ("18:04:15Z", 3),
        ("2026-05-01T20:04:15", 3),
        ("2026-05-01 18:04:15+00:00", 3),
        ("2026-05-01T18:04:15.3Z", 3),
        ("20:04:12", 0),
    ],
)
def test_a_time_means_the_sites_and_its_whole_second(tmp_path: Path, moment: str, seq: int) -> None:
    entries = [an_entry(each, START_UTC_MS + each * 1000 + 250) for each in range(5)]
    record(tmp_path, entries, site=a_site(timezone="Europe/Berlin"))
    assert found(tmp_path, moment)[:2] == (0, seq)


@pytest.mark.parametrize("moment", ["20:04:11", "20:04:17", "2025-05-01", "2026-05-02T20:04:15"])
def test_a_time_outside_is_told_with_the_span_that_is_covered(tmp_path: Path, moment: str) -> None:
    record(tmp_path, [an_entry(seq) for seq in range(5)], site=a_site(timezone="Europe/Berlin"))
    code, entry, text = found(tmp_path, moment)
    assert (code, entry) == (1, None)
    assert text.startswith(f"nothing is recorded at {moment}: the journal ")
    assert text.endswith("covers 2026-05-01 20:04:12 CEST to 2026-05-01 20:04:16 CEST")


@pytest.mark.parametrize("moment", ["", "soon", "25:00:00", "18:61", "2026-13-01"])
def test_what_is_no_time_is_told_so(tmp_path: Path, moment: str) -> None:
    record(tmp_path, [an_entry()])
    code, _, text = found(tmp_path, moment)
    assert code == 2
    assert text == f'"{moment}" is no time; give an ISO date and time, HH:MM:SS of the last day, or "last"'


def test_a_clock_time_means_the_last_day_and_a_date_any_day(tmp_path: Path) -> None:
    for day in range(3):
        record(tmp_path, [an_entry(day * 10 + n, START_UTC_MS + day * DAY_MS + n * 1000) for n in range(5)])
    assert found(tmp_path, "18:04:14")[:2] == (0, 22)
    assert found(tmp_path, "2026-05-02T18:04:14")[:2] == (0, 12)
    code, entry, text = found(tmp_path, "2026-05-02 19:04:16")
    assert (code, entry) == (0, 14)
    assert text.startswith(
        "Nothing is recorded at 2026-05-02 19:04:16; this is the last decision before it, 60 min earlier."
    )


def test_a_clock_that_was_set_while_recording_still_finds_the_decision(tmp_path: Path) -> None:
    born_1970 = [an_entry(seq, seq * 1000) for seq in range(5)]
    then = [an_entry(seq, START_UTC_MS + seq * 1000) for seq in range(5, 10)]
    record(tmp_path, born_1970 + then)
    back = [an_entry(seq, START_UTC_MS - HOUR_MS + seq * 1000) for seq in range(10, 15)]
    record(tmp_path, back)
    assert found(tmp_path, "1970-01-01T00:00:03")[:2] == (0, 3)
    assert found(tmp_path, "2026-05-01T18:04:19")[:2] == (0, 7)
    assert found(tmp_path, "2026-05-01T17:04:24")[:2] == (0, 12)
    stamp = datetime.fromtimestamp((START_UTC_MS + 9000) / 1000, UTC)
    assert found(tmp_path, stamp.isoformat())[:2] == (0, 9)


def test_a_journal_without_an_entry_is_told(tmp_path: Path) -> None:
    for moment in (None, "18:04:12"):
        assert found(tmp_path, moment)[2].endswith("holds no entry that can be read")
        assert found(tmp_path / "never", moment)[0] == 2
