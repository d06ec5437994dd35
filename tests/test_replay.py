"""Replay finds every difference and names the first; explain tells a decision as it was."""

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from controller.engine import step
from controller.journal import Entry, JournalError, explain, explain_report, replay, replay_report
from controller.model import (
    FAULTS,
    Bound,
    Decision,
    Default,
    FaultName,
    Missing,
    Order,
    Ramp,
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
    assert "-100 W (charge), on the way there as fast as the ramp, which allows 250 W a second." in told(
        target_w=-100, why="ramp"
    )
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
