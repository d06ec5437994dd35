"""The demo's story and its ledger: a phase in which nothing happened must not pass."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from controller.model import Bound, Decision, FaultName, Standing, Utility
from hil.faults.schedule import resolve
from hil.faults.words import Fault
from hil.judge import Judge, Verdict
from hil.ledger import Ledger
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from hil.story import SIGNAL_SEED, Stimulus, Story, regulation, tell
from hil.summary import passed
from tests.truths import STEP_S, a_truth
from tests.words import a_site

THE_SITE = a_site(utility=Utility(silent_after_s=5, lease_s=5))


def test_story_takes_the_time_it_is_given_and_never_less_than_the_site_needs() -> None:
    assert tell(60, THE_SITE).length_s == pytest.approx(60)
    short = tell(1, THE_SITE)
    assert short.length_s < 22
    silence = short.phases[-1]
    assert silence.length_s > 5 + THE_SITE.cycle_ms / 1000
    assert [phase.name for phase in short.phases] == ["follow", "reserve", "export", "bms", "silence"]


def test_story_is_the_same_each_time_and_moves_only_what_the_bench_may_move() -> None:
    assert tell(60, THE_SITE) == tell(60, THE_SITE)
    later = tell(60, THE_SITE, 60.0)
    assert later.phases[0].start_s == 60
    plant = Plant(plant_spec(THE_SITE))
    for stimulus in later.stimuli:
        plant.set(stimulus.name, stimulus.value)  # raises for what is no input
    assert {stimulus.name for stimulus in later.stimuli} == {"load_w", "pv_w", "battery1.soc"}


def test_each_thing_that_the_bench_does_is_due_once_whatever_the_ticks() -> None:
    story = tell(20, THE_SITE)
    everything = (*story.stimuli, *story.faults)
    for tick_s in (0.05, 0.7, 100.0):
        done: list[Stimulus | Fault] = []
        done_s, t_s = -1.0, 0.0
        while done_s < story.end_s:
            done.extend(story.due(done_s, t_s))
            done_s, t_s = t_s, t_s + tick_s
        assert len(done) == len(everything)
        assert set(map(id, done)) == set(map(id, everything))


def test_the_battery_falls_silent_long_enough_to_be_noticed_and_is_back_before_its_phase_ends() -> None:
    for duration_s in (10, 60, 600):
        story = tell(duration_s, THE_SITE)
        (fault,), phase = story.faults, story.phases[3]
        assert resolve(fault).on == "battery1"
        assert fault.at_s is not None
        assert fault.for_s is not None
        assert fault.for_s > 3.5 + THE_SITE.cycle_ms / 1000, "stale after 3.5 s, seen at the next cycle"
        assert phase.start_s < fault.at_s < fault.at_s + fault.for_s < phase.end_s


def test_regulation_signal_steps_every_one_to_two_seconds_within_its_peak() -> None:
    points = regulation(SIGNAL_SEED, 600, 8000)
    gaps = [after.start_s - before.start_s for before, after in pairwise(points)]
    assert 1.0 <= min(gaps) <= max(gaps) <= 2.0
    powers = [point.power_w or 0 for point in points]
    assert max(powers) == 8000
    assert min(powers) == -8000
    assert abs(sum(powers) / len(powers)) < 1500


def test_reserve_phase_starts_above_the_reserve_and_its_declared_error() -> None:
    for duration_s in (10, 20, 60, 600):
        story = tell(duration_s, THE_SITE)
        start_s = story.phases[1].start_s
        (soc,) = [s.value for s in story.stimuli if s.name == "battery1.soc" and s.at_s == start_s]
        assert 0.32 < soc < 0.5


def quiet_verdicts() -> tuple[Verdict, ...]:
    judge = Judge(THE_SITE)
    judge.sample(a_truth())
    return judge.verdicts()


def decided(why: str, mode: str = "follow", faults: tuple[FaultName, ...] = ()) -> Decision:
    bound = Bound(value_w=0, rule=why, because="so")
    return Decision(
        now_ms=0,
        mode=mode,
        target_w=0,
        wish_w=0,
        wish_because="asked",
        why=why,
        low=bound,
        high=bound,
        faults=tuple(Standing(fault=fault, device="d", since_ms=0) for fault in faults),
    )


def at(power_w: float, **changes: Any) -> dict[str, Any]:
    """Return the changes of a truth in which the unit delivers power_w."""
    return {"units": ({"ac_w": power_w},), **changes}


def played(phase_name: str, *stretches: tuple[float, dict[str, Any], int | None, Decision]) -> tuple[bool | None, str]:
    """Play one phase of a 60 s story, stretches as parts of its length, and return how it came out."""
    story = tell(60, THE_SITE)
    phase = next(phase for phase in story.phases if phase.name == phase_name)
    ledger = Ledger(story, THE_SITE)
    t_s = phase.start_s
    for share, changes, asked_w, decision in stretches:
        end_s = t_s + share * phase.length_s
        while t_s < end_s:
            ledger.sample(a_truth(t_s, **changes), asked_w)
            ledger.decided(decision, t_s)
            t_s += STEP_S
    outcome = next(row for row in ledger.outcomes(phase.end_s) if row.name == phase_name)
    return outcome.bit, outcome.seen


def test_reserve_phase_that_never_met_the_reserve_fails() -> None:
    bit, seen = played("reserve", (1, at(8000.0), 8000, decided("wish")))
    assert bit is False
    assert "never" in seen


def test_reserve_phase_must_end_with_the_discharge_stopped() -> None:
    reserve = decided("customer_reserve(unit1)")
    assert played("reserve", (0.5, at(8000.0), 8000, reserve), (0.5, {}, 8000, reserve))[0] is True
    assert played("reserve", (1, at(5000.0), 8000, reserve))[0] is False


def test_export_phase_needs_a_load_that_really_dropped() -> None:
    held, low = at(5500.0, load_w=300.0), decided("poi_limit")
    assert played("export", (1, held, 8000, low))[0] is True
    assert played("export", (1, held | {"load_w": 5000.0}, 8000, low))[0] is False
    assert played("export", (1, held, 8000, decided("wish")))[0] is False


def test_bms_phase_needs_the_silence_the_stop_and_the_return() -> None:
    cut = frozenset(("battery1",))
    pulled = at(3.0, cut=cut)
    stale, well = decided("fault_stop(unit1)", faults=("battery_stale",)), decided("wish")
    assert played("bms", (0.5, pulled, 4000, stale), (0.5, {}, 4000, well))[0] is True
    assert played("bms", (0.5, pulled, 4000, well), (0.5, {}, 4000, well))[0] is False
    assert played("bms", (0.5, at(4000.0, cut=cut), 4000, stale), (0.5, {}, 4000, well))[0] is False
    meter = at(3.0, cut=frozenset(("meter",)))
    assert played("bms", (0.5, meter, 4000, stale), (0.5, {}, 4000, well))[0] is False
    assert played("bms", (1, {}, 4000, well))[0] is False


def test_bms_that_stays_away_for_long_after_its_cable_fails_the_phase() -> None:
    story = tell(200, THE_SITE)
    ledger = Ledger(story, THE_SITE)
    phase = story.phases[3]
    stale = decided("fault_stop(unit1)", faults=("battery_stale",))
    for place in range(round(phase.length_s / STEP_S)):
        t_s = phase.start_s + place * STEP_S
        cut = frozenset(("battery1",) if place < 20 else ())
        ledger.sample(a_truth(t_s, cut=cut), 4000)
        ledger.decided(stale, t_s)
    outcome = ledger.outcomes(phase.end_s)[3]
    assert outcome.bit is False
    assert "not back" in outcome.seen


def test_silence_phase_needs_the_fault_and_another_program() -> None:
    silent: tuple[FaultName, ...] = ("utility_silent",)
    assert played("silence", (1, {}, None, decided("wish", mode="hold", faults=silent)))[0] is True
    assert played("silence", (1, {}, None, decided("wish", mode="hold")))[0] is False
    assert played("silence", (1, {}, None, decided("wish", mode="follow", faults=silent)))[0] is False


def test_follow_phase_counts_the_set_points_that_were_reached() -> None:
    wish = decided("wish")
    steps = [(0.2, at(float(power_w)), power_w, wish) for power_w in (1000, -2000, 3000, 0, 500)]
    assert played("follow", *steps)[0] is True
    lazy = [(share, at(0.0), asked_w, wish) for share, _, asked_w, wish in steps]
    assert played("follow", *lazy)[0] is False


def test_what_was_missed_is_booked_on_the_rule_that_took_it() -> None:
    story = tell(60, THE_SITE)
    ledger = Ledger(story, THE_SITE)
    phase = story.phases[2]
    for place in range(round(phase.length_s / STEP_S)):
        t_s = phase.start_s + place * STEP_S
        ledger.decided(decided("poi_limit"), t_s)
        ledger.sample(a_truth(t_s, **at(5000.0)), 8000)
    outcome = ledger.outcomes(phase.end_s)[2]
    ((taker, took_wh),) = outcome.why_not
    assert taker == "poi_limit"
    assert took_wh == pytest.approx(3000 * phase.length_s / 3600, rel=0.05)
    assert took_wh == pytest.approx(outcome.missed_wh)
    assert outcome.asked_mean_w == pytest.approx(8000)
    assert outcome.delivered_mean_w == pytest.approx(5000)


def test_a_run_without_end_is_judged_by_the_phases_it_played() -> None:
    story: Story = tell(60, THE_SITE)
    outcomes = Ledger(story, THE_SITE).outcomes(0.0)
    verdicts = quiet_verdicts()
    bit = tuple(msgspec.structs.replace(outcome, bit=True) for outcome in outcomes)
    assert not passed(outcomes, verdicts, endless=True)  # nothing was played at all
    assert passed((bit[0], *outcomes[1:]), verdicts, endless=True)
    assert not passed((bit[0], *outcomes[1:]), verdicts, endless=False)
    assert passed(bit, verdicts, endless=False)
    broken = msgspec.structs.replace(verdicts[0], held=False)
    assert not passed(bit, (broken, *verdicts[1:]), endless=False)


def test_a_phase_in_which_somebody_joined_is_not_asked_for_but_the_others_are() -> None:
    story = tell(60, THE_SITE)
    ledger, verdicts = Ledger(story, THE_SITE), quiet_verdicts()
    ledger.joined(1.0)
    outcomes = ledger.outcomes(story.end_s)
    assert outcomes[0].bit is None
    assert outcomes[0].joined
    assert "joined in by hand" in outcomes[0].seen
    assert [outcome.bit for outcome in outcomes[1:]] == [False] * 4
    played = tuple(msgspec.structs.replace(outcome, bit=True) for outcome in outcomes[1:])
    assert passed((outcomes[0], *played), verdicts, endless=False)
    assert not passed(outcomes, verdicts, endless=False)
