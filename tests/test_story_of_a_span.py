"""A span of a journal is told as a person would tell it: a page, with nothing left out that matters."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from controller.app.main import main
from controller.engine import step
from controller.journal import Entry, JournalError, story, story_report
from controller.journal.seek import between
from controller.model import FAULTS, Bound, FaultName, Share, Site, Standing, State, Unmet
from tests.journal_story import START_UTC_MS, a_site, an_entry, record, segments
from tests.words import a_battery, a_meter, a_snapshot, a_target, an_inverter
from tests.words import a_site as a_core_site

DAY_MS, HOUR_S = 86_400_000, 3600
RESERVE = Bound(value_w=0, rule="customer_reserve(pack)", because="3000 Wh stored, 3000 Wh are the customer's")


def told(second: int, power_w: int = 0, why: str = "wish", **changes: object) -> Entry:
    """Return the decision of one second: a steady order, its power and what set it."""
    entry = an_entry(second)
    now_ms = 1_000_000 + second * 1000
    snapshot = msgspec.structs.replace(entry.snapshot, now_ms=now_ms, utc_ms=START_UTC_MS + second * 1000)
    fixed: dict[str, object] = {"target_w": power_w, "asked_w": 1000, "why": why, "now_ms": now_ms, "stored_wh": 5000}
    if why == RESERVE.rule:
        fixed["high"] = RESERVE
    decision = msgspec.structs.replace(entry.decision, **fixed | changes)
    return msgspec.structs.replace(entry, snapshot=snapshot, decision=decision)


def faulty(second: int, name: FaultName = "meter_stale", device: str = "meter", **changes: object) -> Entry:
    return told(second, faults=(Standing(fault=name, device=device, since_ms=1, detail="silent"),), **changes)


def lines(entries: Iterable[Entry], site: Site | None = None) -> list[str]:
    return story(site or a_site(), entries).splitlines()


def happened(entries: Iterable[Entry], site: Site | None = None) -> list[str]:
    """Return the lines of what happened, without the day."""
    text = lines(entries, site)
    begun = text.index("What happened") + 2
    ended = text.index("", begun) if "" in text[begun:] else len(text)
    return text[begun:ended]


# -- what is told ------------------------------------------------------------------------------------------------------


def test_a_quiet_hour_is_one_line() -> None:
    entries = [told(second, 1000) for second in range(HOUR_S + 1)]
    assert lines(entries) == [
        "Mill Lane: Friday 2026-05-01 18:04:12 to 19:04:12 UTC, 3,601 decisions.",
        "Decided: 1,000 Wh out of the batteries, 0 Wh into them. What set the power: as wished 100 %.",
        "Stored: 5,000 Wh, then 5,000 Wh.",
        "",
        "What happened",
        "Friday 2026-05-01",
        "18:04:12   for 60 min: followed the utility, asked for +1,000 W (discharge), "
        "the batteries at +1,000 W (discharge).",
    ]


def test_what_set_the_power_is_told_with_its_reason_and_its_part_of_the_time() -> None:
    entries = [told(s, 1000) for s in range(900)] + [told(s, 0, RESERVE.rule) for s in range(900, 1201)]
    text = lines(entries)
    assert text[1].endswith("What set the power: as wished 75 %, customer_reserve(pack) 25 %.")
    assert text[-1] == (
        "18:19:12   for 5 min: followed the utility, asked for +1,000 W (discharge), the batteries at 0 W; "
        "customer_reserve(pack) set it: 3000 Wh stored, 3000 Wh are the customer's."
    )


def test_energy_is_counted_in_each_direction_by_itself() -> None:
    entries = [told(s, 3600) for s in range(100)] + [told(s, -1800) for s in range(100, 201)]
    assert lines(entries)[1].startswith("Decided: 100 Wh out of the batteries, 50 Wh into them.")


def test_a_signal_that_changes_each_second_is_told_with_its_range() -> None:
    entries = [told(s, s % 7 * 100 - 300, asked_w=s % 7 * 100 - 300) for s in range(700)]
    (line,) = happened(entries)
    assert "asked for -300 W (charge) to +300 W (discharge), the batteries at -300 W (charge) to +300 W" in line
    (line,) = happened([told(s, 100 + s % 7, asked_w=-100 - s % 7) for s in range(700)])
    assert "asked for -106 W to -100 W (charge), the batteries at +100 W to +106 W (discharge)." in line


def test_a_single_decision_is_told_as_a_moment() -> None:
    (line,) = happened([told(0, 500)])
    assert line.startswith("18:04:12   a moment: followed the utility")
    assert lines([told(0, 500)])[1].endswith("What set the power: as wished.")
    assert ", 1 decision." in lines([told(0)])[0]


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("hold", "rested, the batteries at 0 W."),
        ("self_consumption", "covered the site's own load, "),
        ("default", "took the fixed power that the site file sets for a silent utility, "),
        ("tranche", 'ran the program "tranche", '),
    ],
)
def test_what_was_at_work_is_told(mode: str, says: str) -> None:
    (line,) = happened([told(s, mode=mode, asked_w=None) for s in range(9)])
    assert says in line and "asked for" not in line


def test_least_powers_and_the_ramp_are_told_as_what_set_the_power() -> None:
    missed = Unmet(rule="min_power", asked_w=400, by_w=400, because="1 unit needs 500 W at least")
    (line,) = happened([told(s, 0, "min_power", unmet=(missed,)) for s in range(9)])
    assert line.endswith("; the units' least powers set it: 1 unit needs 500 W at least.")
    ramp = lines([told(s, 0, "ramp") for s in range(9)])
    assert ramp[1].endswith("What set the power: the ramp 100 %.")
    assert ramp[-1].endswith("the batteries at 0 W; ramp set it.")


def test_a_night_over_midnight_is_told_with_both_days() -> None:
    entries = [told(s * 60, why="wish" if s < 400 else RESERVE.rule) for s in range(800)]
    text = lines(entries, a_site(cycle_ms=10_000))
    assert text[0].endswith("to Saturday 2026-05-02 07:23:12 UTC, 800 decisions.")
    assert [line for line in text if line.startswith(("Friday", "Saturday"))] == [
        "Friday 2026-05-01",
        "Saturday 2026-05-02",
    ]


# -- faults, restarts, gaps --------------------------------------------------------------------------------------------


def test_a_fault_is_told_when_it_begins_and_ends_and_once_with_what_to_check() -> None:
    entries = [told(s) for s in range(60)] + [faulty(s) for s in range(60, 90)] + [told(s) for s in range(90, 120)]
    text = lines(entries)
    row = FAULTS["meter_stale"]
    events = [line for line in text if "meter_stale" in line]
    assert events == [
        "18:05:12 ! meter_stale at meter (silent): takes the worst case for what it does not know.",
        "18:05:42   meter_stale at meter is over.",
        f"- meter_stale at meter, once, first at 18:05:12, 29 s together: {row.means}. Check {row.check}.",
    ]
    assert text.index("What was wrong") == len(text) - 2


def test_faults_that_come_and_go_are_one_line_and_counted() -> None:
    entries = [faulty(s) if s % 20 < 5 else told(s) for s in range(1200)]
    assert len(happened(entries)) == 2
    assert happened(entries)[1].endswith(
        "; it changed 119 times, meter_stale at meter came and went; what set the power: as wished 100 %."
    )
    assert "- meter_stale at meter, 60 times, first at 18:04:12, 4 min together: " in "\n".join(lines(entries))


def test_a_fault_that_comes_twice_is_told_twice_and_at_the_third_time_as_one() -> None:
    def until(second: int) -> list[str]:
        return happened(faulty(s) if s % 20 < 5 else told(s) for s in range(10, second))

    assert len([line for line in until(60) if "! meter_stale" in line]) == 2
    assert len(until(60)) == 5 + 4
    assert len(until(61)) == 1 and "it changed 5 times" in until(61)[0]


def test_a_second_fault_in_a_flickering_hour_is_not_lost() -> None:
    entries = [faulty(s) if s % 20 < 5 else told(s) for s in range(600)]
    entries[300] = faulty(300, "battery_alarm", "battery")
    text = happened(entries)
    assert [line for line in text if "!" in line and "battery_alarm" in line] != []
    assert len(text) < 15


def test_units_that_start_and_stop_are_told() -> None:
    def share(phase: str) -> tuple[Share, ...]:
        return (Share(unit="pack", low_w=0, high_w=0, power_w=0, phase=phase),)  # type: ignore[arg-type]

    entries = [told(s, shares=share("run" if s < 30 else "ramp_down")) for s in range(60)]
    assert "18:04:42   pack: running, then being stopped." in happened(entries)


def test_a_restart_is_told_with_the_gap_before_it() -> None:
    begun = [msgspec.structs.replace(told(s), seq=s - 200, state=State()) for s in range(200, 201)]
    later = [msgspec.structs.replace(told(s), seq=s - 200) for s in range(201, 260)]
    text = happened([told(s) for s in range(21)] + begun + later)
    assert text[1] == "18:07:32 * The controller started anew; the journal has a gap of 3 min before it."
    quick = happened([told(s) for s in range(200)] + begun + later)
    assert quick[1] == "18:07:32 * The controller started anew."
    again = [msgspec.structs.replace(entry, state=told(0).state) for entry in begun]
    assert "The controller started anew" in happened([told(s) for s in range(21)] + again)[1]


def test_decisions_that_are_missing_and_pauses_are_told() -> None:
    lost = happened([told(s) for s in range(60) if s != 30])
    assert lost[1] == "18:04:43 * 1 decision is missing in the journal, 2 s."
    many = happened([told(s) for s in range(60) if not 20 <= s < 50])
    assert many[1] == "18:05:02 * 30 decisions are missing in the journal, 31 s."
    paused = [told(s) for s in range(20)]
    paused += [msgspec.structs.replace(told(s), seq=s - 40) for s in range(60, 80)]
    assert happened(paused)[1] == "18:05:12 * Nothing was decided for 41 s."
    short = [told(s) for s in range(20)] + [msgspec.structs.replace(told(s), seq=s - 9) for s in range(29, 40)]
    assert len(happened(short)) == 1


def test_no_energy_is_counted_through_a_gap() -> None:
    entries = [told(0, 3600), msgspec.structs.replace(told(3600, 3600), seq=1)]
    assert lines(entries)[1].startswith("Decided: 10 Wh out")


# -- a long span is a page ---------------------------------------------------------------------------------------------


def test_hours_of_a_regulation_signal_are_a_page() -> None:
    """A rule, the ramp and the wish take turns every few seconds; the reserve stands for an hour in between."""

    def at(second: int) -> Entry:
        if 2 * HOUR_S <= second < 3 * HOUR_S:
            return told(second, 0, RESERVE.rule)
        why = ("wish", "poi_limit", "wish", "ramp")[second // 7 % 4]
        return told(second, second % 5000 - 2500, why, asked_w=second % 6000 - 3000)

    entries = (at(second) for second in range(0, 10 * HOUR_S, 2))
    text = lines(msgspec.structs.replace(entry, seq=n) for n, entry in enumerate(entries))
    assert len(text) < 15
    flicker = [line for line in text if "it changed" in line]
    assert len(flicker) == 2
    assert all("as wished 5" in line and "poi_limit 2" in line and "the ramp 2" in line for line in flicker)
    assert "for 60 min: followed the utility" in "\n".join(text)


def test_few_changes_are_told_one_by_one() -> None:
    whys = ["wish", "poi_limit", "wish"]
    assert len(happened([told(s, 0, whys[s // 60]) for s in range(180)])) == 3
    whys = ["wish", "poi_limit", "wish", "poi_limit"]
    assert len(happened([told(s, 0, whys[s // 60]) for s in range(240)])) == 1


def test_long_spells_are_told_by_themselves() -> None:
    whys = ["wish", "poi_limit"] * 3
    assert len(happened([told(s, 0, whys[s // 600]) for s in range(3600)])) == 6
    assert len(happened([told(s, 0, whys[s // 599]) for s in range(3594)])) == 1


def test_of_very_many_spells_the_longest_are_told_and_no_fault_is_left_out() -> None:
    names = sorted(FAULTS)
    entries = []
    for second in range(6000):
        kind = second // 20
        entries.append(faulty(second, names[kind % len(names)], f"device{kind % 13}"))
    text = lines(entries)
    assert "220 shorter spells are left out; ask for a shorter span to see them." in text
    assert len([line for line in text if line.startswith("- ")]) == len({(k % len(names), k % 13) for k in range(300)})


# -- from the journal --------------------------------------------------------------------------------------------------


def test_the_span_between_two_times_is_told(tmp_path: Path) -> None:
    record(tmp_path, [told(s) for s in range(600)], site=a_site(timezone="Europe/Berlin"))
    code, text = story_report(tmp_path, "20:05:00", "20:06:00")
    assert code == 0
    assert text.startswith("Mill Lane: Friday 2026-05-01 20:05:00 to 20:06:00 CEST, 61 decisions.")
    assert "600 decisions" in story_report(tmp_path, None, None)[1]
    assert "20:05:00 to 20:14:11 CEST" in story_report(tmp_path, "20:05:00", None)[1]
    assert "20:04:12 to 20:05:00 CEST" in story_report(tmp_path, None, "20:05:00")[1]
    assert all(len(line) <= 110 for line in text.splitlines())


def test_what_is_wrong_with_the_times_is_told(tmp_path: Path) -> None:
    record(tmp_path, [told(s) for s in range(60)])
    code, text = story_report(tmp_path, "19:00:00", "19:10:00")
    assert code == 1
    assert text.startswith("nothing is recorded from 19:00:00 to 19:10:00: the journal ")
    assert text.endswith("covers 2026-05-01 18:04:12 UTC to 2026-05-01 18:05:11 UTC")
    assert story_report(tmp_path, "17:00:00", "17:10:00")[0] == 1
    assert story_report(tmp_path, "18:05:00", "18:04:30") == (2, '"18:05:00" is after "18:04:30"')
    code, text = story_report(tmp_path, "soon", None)
    assert (code, text.startswith('"soon" is no time')) == (2, True)
    assert story_report(tmp_path / "never", None, None)[0] == 2
    with pytest.raises(JournalError):
        between(tmp_path / "never", None, None)


def test_several_runs_days_and_segments_are_one_story(tmp_path: Path) -> None:
    for day in range(3):
        entries = [told(s) for s in range(20)]
        moved = [
            msgspec.structs.replace(
                entry,
                seq=n,
                state=State() if n == 0 else entry.state,
                snapshot=msgspec.structs.replace(entry.snapshot, utc_ms=entry.snapshot.utc_ms + day * DAY_MS),
            )
            for n, entry in enumerate(entries)
        ]
        record(tmp_path, moved, site=a_site(cycle_ms=1000 + 1000 * (day == 2)))
    code, text = story_report(tmp_path, None, None)
    assert code == 0
    text = " ".join(text.split())
    assert text.count("The controller started anew; the journal has a gap of 23 h 59 min before it.") == 2
    assert text.count("The site file was another one from here on.") == 1
    only = story_report(tmp_path, "2026-05-02T18:00", "2026-05-02T19:00")[1]
    assert "Saturday 2026-05-02 18:04:12 to 18:04:31 UTC, 20 decisions." in only
    assert "started anew" not in only


def test_a_clock_that_was_set_back_loses_nothing(tmp_path: Path) -> None:
    entries = [told(s) for s in range(60)]
    back = [
        msgspec.structs.replace(e, snapshot=msgspec.structs.replace(e.snapshot, utc_ms=e.snapshot.utc_ms - 40_000))
        for e in entries[30:]
    ]
    record(tmp_path, entries[:30] + back)
    assert "60 decisions" in story_report(tmp_path, None, None)[1]


def test_damage_is_told_with_what_it_took(tmp_path: Path) -> None:
    record(tmp_path, [told(s) for s in range(60)])
    (path,) = segments(tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 0xFF
    path.write_bytes(bytes(content))
    code, text = story_report(tmp_path, None, None)
    assert code == 0
    assert "1 decision is missing in the journal, 2 s." in text
    assert "What could not be read: 1 place of the journal\n- 00000001.lpj: " in text
    path.write_bytes(b"nothing of it is left")
    assert story_report(tmp_path, None, None)[0] == 2


def lived(seconds: int) -> list[Entry]:
    """Let the engine decide: it follows a signal, meets the reserve, loses the meter and gets it back."""
    site, state, entries, power_w = a_core_site(), State(), list[Entry](), 0
    stored_w_s = 9_500 * 3600
    for second in range(seconds):
        now_ms = 1_000_000 + 1000 * second
        battery = a_battery(stored_w_s * 10_000 // 3600 // 25_000, at_ms=now_ms)
        heard = [an_inverter(power_w, at_ms=now_ms), battery]
        if not 1200 <= second < 1260:
            heard.append(a_meter(power_w - 2000, now_ms))  # type: ignore[arg-type]
        orders = (a_target(4000 if second // 30 % 2 else 2500, at_ms=now_ms),)
        snapshot = a_snapshot(*heard, now_ms=now_ms, orders=orders, utc_ms=START_UTC_MS + second * 1000)
        after, decision = step(site, state, snapshot)
        entries.append(Entry(seq=second, state=state, snapshot=snapshot, decision=decision))
        state, power_w = after, decision.target_w
        stored_w_s -= power_w * 100 // 92
    return entries


def test_an_hour_that_the_engine_decided_is_told(tmp_path: Path) -> None:
    record(tmp_path, lived(HOUR_S), max_bytes=20_000_000, site=a_core_site())
    code, text = story_report(tmp_path, None, None)
    assert code == 0
    assert text.startswith("test: Friday 2026-05-01 18:04:12 to 19:04:11 UTC, 3,600 decisions.\n")
    assert "18:24:12 ! meter_stale at meter" in text
    assert "18:24:12   for 60 s: followed the utility" in text
    assert "18:25:12   meter_stale at meter is over." in text
    assert "customer_reserve(unit1) set it: at least" in " ".join(text.split())
    assert len(text.splitlines()) < 30


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_tells_a_span_and_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path, [told(s) for s in range(60)])
    assert main(["explain", str(tmp_path), "--from", "18:04:20", "--to", "18:04:29"]) == 0
    assert ", 10 decisions." in capsys.readouterr().out
    assert main(["explain", str(tmp_path), "--to", "18:04:29"]) == 0
    assert ", 18 decisions." in capsys.readouterr().out
    assert main(["explain", str(tmp_path), "--from", "19:00"]) == 1
    assert main(["explain", str(tmp_path), "--from", "late"]) == 2
    capsys.readouterr()
    assert main(["explain", str(tmp_path), "--at", "18:04:20", "--from", "18:04"]) == 2
    assert "give one or the other" in capsys.readouterr().err
    assert main(["explain", str(tmp_path)]) == 0
    assert "What was done" in capsys.readouterr().out
