"""The golden journals: every fault and every rule appears, acts, and clears, latches or lets go, as committed."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from controller.engine.watch import NEVER_HEARD
from controller.model import FAULTS, FaultName, Standing
from controller.programs import PROGRAMS
from controller.rules import SITE_RULES, UNIT_RULES
from tests import golden_stories
from tests.golden_plot import draw
from tests.golden_run import BEGIN_MS, Row, Tick, changes, fields, play, tell
from tests.golden_stories import GOLDEN, STORIES, asks, plot_at, text_at

FAULT_STORIES = [name for name in STORIES if name.startswith("fault_")]
RULE_STORIES = [name for name in STORIES if name.startswith("rule_")]
RULES = {rule.__module__.rpartition(".")[2] for _, rule in UNIT_RULES}
RULES |= {rule.__module__.rpartition(".")[2] for rules in SITE_RULES for rule in rules}
ORDERS = {"follow", "default", "utility_limit", "utility_cease"}
SHAPERS = {"ramp", "min_power"}  # what sets the target beside rules and wishes
LAYERS = {"commitment"}  # what chooses the units
OF_FAULTS = {"fault_stop", "hold_power", "ramp_down"}  # the rules that faults act through
PLOT_MAX_BYTES = 10_000


@cache
def played(name: str) -> tuple[Tick, ...]:
    return tuple(play(STORIES[name]))


def of(name: str) -> FaultName:
    return name.removeprefix("fault_")  # type: ignore[return-value]


def standing(tick: Tick, fault: FaultName) -> list[Standing]:
    return [one for one in tick.decision.faults if one.fault == fault]


def while_standing(name: str) -> list[tuple[Tick, Tick, list[Standing]]]:
    """Return each second at which the story's fault stands, with the second before it."""
    ticks = played(name)
    return [
        (ticks[max(0, place - 1)], tick, found)
        for place, tick in enumerate(ticks)
        if (found := standing(tick, of(name)))
    ]


def plain(rule: str) -> str:
    """Return a rule's name without the unit it acts on."""
    return rule.partition("(")[0]


def concerned(name: str, fault: Standing) -> list[str]:
    """Return the units that a standing fault concerns."""
    return [
        unit.name
        for unit in STORIES[name].site.unit
        if fault.device in ("site", unit.name, unit.inverter, *unit.batteries)
    ]


def powers_w(tick: Tick) -> dict[str, int]:
    return {part.unit: part.power_w for part in tick.decision.shares}


# -- the files ----------------------------------------------------------------------------------------------------


def test_every_fault_and_every_rule_has_its_story_and_none_is_left_over() -> None:
    assert {of(name) for name in FAULT_STORIES} == set(FAULTS)
    assert {name.removeprefix("rule_") for name in RULE_STORIES} == RULES | set(PROGRAMS) | ORDERS | SHAPERS | LAYERS
    assert sorted(path.stem for path in (GOLDEN / "journal").iterdir()) == sorted(STORIES)
    assert sorted(path.stem for path in (GOLDEN / "plots").iterdir()) == sorted(FAULT_STORIES)


@pytest.mark.parametrize("name", STORIES)
def test_the_site_does_what_its_golden_journal_tells(name: str) -> None:
    found = changes(name, text_at(name).read_text("utf-8"), tell(STORIES[name], played(name)))
    advice = "where it is meant: python -m tests.golden_stories --update, and the reason in the commit"
    assert not found, "\n".join(["", *found[:12], f"{len(found)} differences; {advice}"])


@pytest.mark.parametrize("name", FAULT_STORIES)
def test_the_plot_of_a_fault_is_drawn_from_its_journal(name: str) -> None:
    drawn = draw(of(name), STORIES[name], played(name))
    assert plot_at(name).read_text("utf-8") == drawn, f"{name}: python -m tests.golden_stories --update {name}"
    assert len(drawn.encode()) < PLOT_MAX_BYTES
    assert FAULTS[of(name)].response in drawn
    assert f"<title>{of(name)}: " in drawn, "the span of the fault is shaded and named"


def test_a_difference_names_story_second_field_was_and_is() -> None:
    was = tell(STORIES["fault_battery_alarm"], played("fault_battery_alarm"))
    line = next(line for line in was.splitlines() if line.startswith("10 s: "))
    now = was.replace(line, line.replace("target_w=0", "target_w=7"))
    found = changes("fault_battery_alarm", was, now)
    assert found[0] == "fault_battery_alarm, 10 s, target_w: was 0, is 7"
    assert all(", target_w: was 0, is 7" in one for one in found)
    assert changes("x", was, was) == []
    assert changes("x", "# a\n0 s: a=1\n", "# b\n0 s: a=1\n") == ["x: the lines that begin with # differ"]
    assert changes("x", "0 s: a=1\n", "0 s: a=1\n4 s: b=2\n") == [
        "x, 4 s, a: was 1, is None",
        "x, 4 s, b: was None, is 2",
    ]


def test_an_update_rewrites_only_the_story_that_is_named_and_tells_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("journal", "plots"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(golden_stories, "GOLDEN", tmp_path)
    assert golden_stories.update(["fault_link_down"]) == ["fault_link_down: new"]
    written = tmp_path / "journal" / "fault_link_down.txt"
    written.write_text(written.read_text("utf-8").replace("target_w=5000", "target_w=5001"), "utf-8")
    assert golden_stories.update(["fault_link_down"])[0] == "fault_link_down, 0 s, target_w: was 5001, is 5000"
    assert golden_stories.update(["fault_link_down"]) == []
    assert [path.name for path in sorted(tmp_path.rglob("*.*"))] == ["fault_link_down.txt", "fault_link_down.svg"]


def test_what_a_journal_names_of_a_second_is_all_that_decides_it() -> None:
    for tick in played("fault_inverter_disconnected"):
        told = fields(tick)
        assert list(told) == [
            "mode", "target_w", "why", "low_w", "high_w", "unit1", "unit2", "faults", "written", "refused",
        ]  # fmt: skip
        assert not any(" " in value for value in told.values())


# -- the faults ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAULT_STORIES)
def test_a_fault_appears_and_clears_or_latches(name: str) -> None:
    ticks = played(name)
    there = [bool(standing(tick, of(name))) for tick in ticks]
    assert True in there
    if FAULTS[of(name)].latches:
        first = there.index(True)
        assert first > 0, "before it all was well"
        assert all(there[first:])
        gone = all(one.clear_since_ms is not None for one in standing(ticks[-1], of(name)))
        assert gone or ticks[-1].decision.shares[0].phase == "fault", "its cause is gone, and it stands"
    else:
        assert False in there
        assert not there[-1]


@pytest.mark.parametrize("name", [name for name in FAULT_STORIES if not FAULTS[of(name)].latches])
def test_a_fault_stands_for_its_rows_clearing_time_after_its_cause_is_gone(name: str) -> None:
    clears_s = FAULTS[of(name)].clears_after_ms // 1000
    spans: dict[tuple[str, int], int] = {}
    for _, tick, found in while_standing(name):
        for one in found:
            assert one.detail != NEVER_HEARD or one.clear_since_ms is None
            if one.clear_since_ms is not None:
                spans[one.device, one.clear_since_ms] = (BEGIN_MS + tick.at_s * 1000 - one.clear_since_ms) // 1000 + 1
    assert set(spans.values()) == ({clears_s} if clears_s else set())


def named(response: str) -> list[str]:
    return [name for name in FAULT_STORIES if FAULTS[of(name)].response == response]


@pytest.mark.parametrize("name", named("trip"))
def test_a_tripped_unit_is_at_0_w_from_the_first_second_to_the_last(name: str) -> None:
    for before, tick, found in while_standing(name):
        units = {unit for fault in found for unit in concerned(name, fault)}
        assert units
        assert {powers_w(tick)[unit] for unit in units} == {0}
        assert all(command.power_w == 0 and not command.running for command in tick.decision.commands)
        assert plain(tick.decision.why) == "fault_stop"
        assert tick.decision.asked_w != 0, "more was asked"
        if not standing(before, of(name)) and name != "fault_start_failed":
            assert before.decision.target_w == 5000


@pytest.mark.parametrize("name", named("hold"))
def test_a_held_unit_goes_no_further_and_may_go_less_far(name: str) -> None:
    seen = while_standing(name)
    for before, tick, _ in seen:
        assert abs(tick.decision.target_w) <= abs(before.decision.target_w)
    held = [tick for _, tick, _ in seen if plain(tick.decision.why) == "hold_power"]
    assert held
    assert all(abs(tick.decision.asked_w or 0) > abs(tick.decision.target_w) > 0 for tick in held)
    assert len({tick.decision.target_w for tick in held}) > 1, "it shrank where less was asked"
    assert abs(played(name)[-1].decision.target_w) > abs(seen[-1][1].decision.target_w), "and grows when it is over"


@pytest.mark.parametrize("name", named("ramp_down"))
def test_a_unit_that_is_let_go_comes_to_0_w_gently(name: str) -> None:
    story_w = [tick.decision.target_w for _, tick, _ in while_standing(name)]
    first_w = while_standing(name)[0][0].decision.target_w
    way_w = [first_w, *story_w[: story_w.index(0) + 1]]
    steps_w = [before_w - after_w for before_w, after_w in pairwise(way_w)]
    assert len(steps_w) == 8, "a tenth of the nameplate a second, from 8 kW"
    assert set(steps_w) == {1000}
    assert set(story_w[len(steps_w) :]) == {0}
    assert played(name)[-1].decision.target_w == first_w


@pytest.mark.parametrize("name", named("no_start"))
def test_a_unit_that_may_not_start_does_not_and_one_that_runs_goes_on(name: str) -> None:
    phases = {"starting": set[str](), "running": set[str]()}
    for before, tick, _ in while_standing(name):
        ran = before is not tick and before.decision.shares[0].phase == "run"
        phases["running" if ran else "starting"].add(tick.decision.shares[0].phase)
        if ran:
            assert tick.decision.target_w == before.decision.target_w != 0
    assert phases == {"starting": {"off"}, "running": {"run"}}


@pytest.mark.parametrize("name", named("narrow"))
def test_what_is_not_known_narrows_what_may_be_done(name: str) -> None:
    ticks, fault = played(name), of(name)
    onset = next(
        place
        for place, tick in enumerate(ticks)
        if place and standing(tick, fault) and not standing(ticks[place - 1], fault)
    )
    before, after = ticks[onset - 1].decision, [tick.decision for tick in ticks[onset:] if standing(tick, fault)]
    least = min(after, key=lambda decision: decision.high.value_w - decision.low.value_w)
    assert before.low.value_w <= least.low.value_w <= least.high.value_w <= before.high.value_w
    assert (least.low.value_w, least.high.value_w) != (before.low.value_w, before.high.value_w)
    assert not any(one.fault == fault for one in ticks[-1].decision.faults)


@pytest.mark.parametrize("name", named("release"))
def test_a_released_inverter_is_not_written_to(name: str) -> None:
    for _, tick, found in while_standing(name):
        assert {fault.device for fault in found} & {command.device for command in tick.decision.commands} == set()
        assert tick.written == ()
    assert played(name)[0].written
    assert played(name)[-1].written
    assert 0 in {tick.measured_w for _, tick, _ in while_standing(name)}, "its own timer took it to its fall-back"


@pytest.mark.parametrize("name", named("note"))
def test_a_fault_that_is_only_told_stops_and_holds_nothing(name: str) -> None:
    for before, tick, _ in while_standing(name):
        binding = {plain(rule) for rule in (tick.decision.why, tick.decision.low.rule, tick.decision.high.rule)}
        assert not binding & OF_FAULTS
        if tick.decision.wish_w == before.decision.wish_w:
            assert tick.decision.target_w == before.decision.target_w == tick.decision.wish_w


def test_without_a_commissioning_record_everything_is_decided_and_nothing_is_written() -> None:
    for _, tick, _ in while_standing("fault_not_commissioned"):
        assert tick.decision.target_w == 5000
        assert tick.decision.commands
        assert tick.written == ()
        assert [one.fault for one in tick.decision.faults] == ["not_commissioned"], "nor is it said not to follow"
    assert played("fault_not_commissioned")[-1].measured_w == 5000


def test_what_the_gate_refused_is_told_and_not_taken_for_an_inverter_that_does_not_follow() -> None:
    seen = while_standing("fault_command_refused")
    assert {one.fault for _, tick, _ in seen for one in tick.decision.faults} == {"command_refused"}
    assert 0 in {tick.measured_w for _, tick, _ in seen}, "its own timer took it to its fall-back"


# -- the rules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULE_STORIES)
def test_a_rule_binds_and_lets_go(name: str) -> None:
    rule, ticks = name.removeprefix("rule_"), played(name)
    if rule in LAYERS:
        resting = [any(part.power_w == 0 for part in tick.decision.shares) for tick in ticks]
        assert True in resting
        assert not resting[0]
        assert not resting[-1]
        return
    wishes = {*PROGRAMS, "follow", "default"}
    binds = [rule == tick.decision.mode if rule in wishes else rule == plain(tick.decision.why) for tick in ticks]
    assert True in binds
    assert False in binds[binds.index(True) :]
    if rule not in wishes and rule != "ramp":
        bound = [tick.decision for tick, bound in zip(ticks, binds, strict=True) if bound]
        assert all(decision.target_w != decision.wish_w for decision in bound), "it changed what was wished"
        if rule not in SHAPERS:
            assert all(decision.unmet for decision in bound), "and what was missed is told"


def test_no_command_of_any_story_but_that_of_an_aged_reading_is_refused_by_the_gate() -> None:
    """The gate computes classes 0 to 3 by itself: what the engine decides has to pass."""
    refused = {name for name in STORIES for tick in played(name) if tick.refused}
    assert refused == {"fault_command_refused", "fault_not_commissioned", "fault_wrong_device"}


def test_a_row_holds_from_its_start_up_to_and_without_its_end() -> None:
    row = asks(700, 2, 4)
    story = golden_stories.a_story("", row, length_s=6)
    assert isinstance(row, Row)
    assert [tick.decision.target_w for tick in play(story)] == [0, 0, 700, 700, 0, 0]
    assert [tick.measured_w for tick in play(story)] == [0, 0, 0, 700, 700, 0], "a second after it was written"
