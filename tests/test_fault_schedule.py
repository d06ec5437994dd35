"""The schedule of faults: when each begins and ends, by chance and by what is true, and what is known of it after."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controller.app.sitefile import load
from hil.faults import VERBS, schedule
from hil.faults.bench import Standing
from hil.faults.catalogue import ROWS
from hil.faults.schedule import FaultError, Schedule, called, resolve
from hil.faults.words import LOCKSTEP, Armed, Fault, Heal, Kind, Mode, Param, Row, Verb
from hil.plant.site import Plant
from hil.run.fit import plant_spec

SITE = load(Path(__file__).parents[1] / "profiles" / "sites" / "demo.toml")


class Stage:
    """A bench on which the verbs of these tests leave their traces."""

    def __init__(self) -> None:
        self.plant = Plant(plant_spec(SITE))
        self.done: list[str] = []

    def begin(self, name: str) -> Callable[[Any, Armed], Heal]:
        def begin(bench: Any, armed: Armed) -> Heal:
            self.done.append(f"+{name}")
            armed.bit()

            return lambda: self.done.append(f"-{name}")

        return begin


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage()
    meter: frozenset[Kind] = frozenset(("meter",))

    def verb(name: str, **more: Any) -> None:
        row = Verb(**({"name": name, "layer": "wire", "says": name, "on": meter, "begin": stage.begin(name)} | more))
        monkeypatch.setitem(VERBS, name, row)

    level = Param(default=1.0, low=0.0, high=10.0, unit="W", says="how much")
    word = Param(default="a", choices=("a", "b"), says="which")
    name = Param(default="", says="any text")
    truth = Param(default=False, says="yes or no")
    verb("one", params={"level_w": level, "word": word, "name": name, "truth": truth})
    verb("two")
    verb("cutting", cuts=True)
    verb("cutting_utility", cuts=True, on=frozenset(("utility",)))
    verb("slow", modes=LOCKSTEP)
    verb("watched", begin=_watched)
    verb("failing", begin=_failing)
    monkeypatch.setitem(ROWS, "F06", Row(id="F06", title="row", do="one", must="hold", params={"level_w": 5.0}))
    yield stage


def _watched(bench: Any, armed: Armed) -> Heal:
    return Standing(lambda: None, armed.bit)


def _failing(bench: Any, armed: Armed) -> Heal:
    raise RuntimeError("there is no such thing")


def never(expression: str) -> bool:
    raise AssertionError(f"nobody waits for {expression}")


def run(
    stage: Stage,
    faults: tuple[Fault, ...],
    length_s: float,
    *,
    tick_s: float = 0.1,
    seed: int = 1,
    true: Callable[[str, float], bool] | None = None,
) -> Schedule:
    """Tick a schedule from 0 s on."""
    played = Schedule(faults, seed, "lockstep")
    for tick in range(round(length_s / tick_s) + 1):
        t_s = round(tick * tick_s, 6)
        played.tick(t_s, stage, never if true is None else lambda text, t_s=t_s: true(text, t_s))  # type: ignore[misc]
    return played


def test_fault_begins_at_its_time_and_ends_after_its_length(stage: Stage) -> None:
    played = run(stage, (Fault(on="meter", do="one", at_s=12.3, for_s=30),), 60)
    (armed,) = played.armed
    assert armed.times_s == [(12.3, 42.3)]
    assert played.log == ["12.3 s one on meter begins", "42.3 s one on meter ends after 30 s, 1 effect"]
    assert not armed.active


def test_fault_without_a_length_stands_until_all_are_healed(stage: Stage) -> None:
    played = run(stage, (Fault(on="meter", do="one", at_s=2),), 10)
    assert played.armed[0].active
    played.heal(10.0)
    assert played.armed[0].times_s == [(2.0, 10.0)]
    assert stage.done == ["+one", "-one"]


def test_fault_that_says_nothing_of_when_begins_at_once(stage: Stage) -> None:
    played = run(stage, (Fault(on="meter", do="one", for_s=1),), 5)
    assert played.armed[0].times_s == [(0.0, 1.0)]


def test_fault_that_was_begun_by_the_clock_does_not_begin_again(stage: Stage) -> None:
    run(stage, (Fault(on="meter", do="one", at_s=1, for_s=1),), 100)
    assert stage.done == ["+one", "-one"]


def test_fault_falls_between_two_ticks_and_is_not_missed(stage: Stage) -> None:
    played = run(stage, (Fault(on="meter", do="one", at_s=1.5, for_s=0.2),), 10, tick_s=1.0)
    assert played.armed[0].times_s == [(2.0, 3.0)]


def test_times_that_are_sums_of_ticks_are_met(stage: Stage) -> None:
    played = Schedule((Fault(on="meter", do="one", at_s=0.8, for_s=0.1),), 1, "lockstep")
    t_s = 0.0
    for _ in range(20):
        played.tick(t_s, stage, never)
        t_s += 0.1  # 0.7999999999999999 at the eighth
    assert played.armed[0].times_s == [(0.7999999999999999, 0.8999999999999999)]


def test_fault_begins_when_its_expression_is_first_true_and_only_then(stage: Stage) -> None:
    asked: list[str] = []

    def true(text: str, t_s: float) -> bool:
        asked.append(text)
        return 3 <= t_s < 4 or t_s > 8

    played = run(stage, (Fault(on="meter", do="one", when="battery.soc < 0.3", for_s=1),), 20, true=true)
    assert played.armed[0].times_s == [(3.0, 4.0)]
    assert set(asked) == {"battery.soc < 0.3"}
    assert len(asked) == 31  # ten a second up to 3 s


def test_what_ends_at_a_tick_ends_before_anything_begins(stage: Stage) -> None:
    first, then = Fault(on="meter", do="one", at_s=5), Fault(on="meter", do="two", at_s=0, for_s=5)
    run(stage, (first, then), 6)
    assert stage.done == ["+two", "-two", "+one"]


def test_chance_begins_as_often_as_its_rate_says(stage: Stage) -> None:
    played = run(stage, (Fault(on="meter", do="one", per_s=0.1, for_s=1),), 20_000, tick_s=0.5)
    # One round is 10 s of waiting and 1 s of standing, and up to half a second more to the next tick at both ends.
    assert len(played.armed[0].times_s) == pytest.approx(20_000 / 11.25, rel=0.1)  # deviation of the count: 2.2 %


def test_chance_does_not_depend_on_the_length_of_a_tick(stage: Stage) -> None:
    fault = Fault(on="meter", do="one", per_s=0.01)
    fine = run(stage, (fault,), 2000, tick_s=0.1).armed[0].times_s
    coarse = run(stage, (fault,), 2000, tick_s=1.0).armed[0].times_s
    assert fine and 0 <= coarse[0][0] - fine[0][0] < 1


def test_chance_is_the_seeds_and_repeats(stage: Stage) -> None:
    fault = Fault(on="meter", do="one", per_s=0.05, for_s=2)
    times = [run(stage, (fault,), 500, seed=seed).armed[0].times_s for seed in (7, 7, 8)]
    assert times[0] == times[1] != times[2]


def test_one_fault_more_or_less_changes_no_other(stage: Stage) -> None:
    one, two = Fault(on="meter", do="one", per_s=0.05, for_s=2), Fault(on="meter", do="two", per_s=0.05, for_s=2)
    alone = run(stage, (one,), 500).armed[0]
    beside = run(stage, (two, one), 500).armed
    assert beside[1].times_s == alone.times_s != beside[0].times_s
    assert beside[1].random.random() == alone.random.random()


def test_two_faults_of_the_same_words_have_chances_of_their_own(stage: Stage) -> None:
    fault = Fault(on="meter", do="watched", per_s=0.05, for_s=2)
    played = run(stage, (fault, fault), 500)
    assert played.armed[0].times_s != played.armed[1].times_s


def test_what_a_verb_draws_does_not_move_the_next_begin(stage: Stage) -> None:
    fault = Fault(on="meter", do="one", per_s=0.05, for_s=2)
    played = Schedule((fault,), 1, "lockstep")
    for tick in range(5001):
        played.armed[0].random.random()
        played.tick(tick / 10, stage, never)
    assert played.armed[0].times_s == run(stage, (fault,), 500).armed[0].times_s


def test_chance_leaves_its_stability_between_end_and_begin(stage: Stage) -> None:
    played = run(stage, (Fault(on="meter", do="one", per_s=2, for_s=1, stability_s=5),), 300)
    times = played.armed[0].times_s
    gaps_s = [begun - ended for (_, ended), (begun, _) in pairwise(times) if ended is not None]
    assert len(gaps_s) > 30
    assert 5 <= min(gaps_s) < 5.5
    assert max(gaps_s) > 5.5


def test_heal_ends_all_for_good(stage: Stage) -> None:
    faults = (
        Fault(on="meter", do="one", at_s=1),
        Fault(on="meter", do="two", at_s=20),
        Fault(on="meter", do="watched", per_s=1.0, for_s=1),
    )
    played = run(stage, faults, 10)
    played.heal(10.0)
    for tick in range(200):
        played.tick(10 + tick / 10, stage, never)
    assert stage.done == ["+one", "-one"]
    assert not any(armed.active for armed in played.armed)
    assert all(ended is not None and ended <= 10 for armed in played.armed for _, ended in armed.times_s)


def test_heal_of_a_fault_that_has_ended_does_it_no_second_time(stage: Stage) -> None:
    played = run(stage, (Fault(on="meter", do="one", at_s=1, for_s=1),), 5)
    played.heal(5.0)
    played.heal(6.0)
    assert stage.done == ["+one", "-one"]


def test_log_of_a_long_run_has_an_end(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "LOG_LINES_MAX", 4)
    played = run(stage, (Fault(on="meter", do="one", per_s=1.0, for_s=0.5),), 60)
    assert len(played.log) == 5
    assert played.log[3].startswith(f"{played.armed[0].times_s[1][1]:.1f} s one on meter ends")
    assert played.log[4] == "and more"


def test_standing_fault_is_looked_at_at_every_tick_while_it_stands(stage: Stage) -> None:
    played = run(stage, (Fault(on="meter", do="watched", at_s=1, for_s=2),), 10)
    assert played.armed[0].effects == 20
    assert played.log[-1] == "3.0 s watched on meter ends after 2 s, 20 effects"


def test_devices_that_are_cut_off_are_named_while_they_are(stage: Stage) -> None:
    faults = (
        Fault(on="meter", do="cutting", at_s=1, for_s=2),
        Fault(on="meter", do="two", at_s=0),
        Fault(on="utility", do="cutting_utility", at_s=0),
    )
    played = Schedule(faults, 1, "lockstep")
    cuts = []
    for t_s in (0.0, 1.0, 2.0, 3.0):
        played.tick(t_s, stage, never)
        cuts.append(played.cut)
    assert cuts == [frozenset(), frozenset(("meter",)), frozenset(("meter",)), frozenset()]


def test_note_of_the_last_effect_stands_in_the_log(stage: Stage) -> None:
    played = Schedule((Fault(on="meter", do="one", at_s=0),), 1, "lockstep")
    played.tick(0.0, stage, never)
    played.armed[0].bit("5000 Wh of 25000")
    played.heal(2.5)
    assert played.log[-1] == "2.5 s one on meter ends after 2.5 s, 2 effects, 5000 Wh of 25000"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(on="meter", do="failing"), "failing on meter could not begin at 0.0 s: there is no such thing"),
        (Fault(on="metre", do="one"), "one on metre could not begin at 0.0 s: there is no 'metre'; there are "),
        (Fault(on="battery", do="one"), "battery is of kind battery, allowed is meter"),
    ],
)
def test_begin_that_fails_names_the_fault(stage: Stage, fault: Fault, says: str) -> None:
    played = Schedule((fault,), 1, "lockstep")
    with pytest.raises(FaultError) as raised:
        played.tick(0.0, stage, never)
    assert says in str(raised.value)
    assert not played.armed[0].active
    assert played.log == []


def test_fault_that_is_not_for_the_mode_is_refused_at_once(stage: Stage) -> None:
    modes: tuple[Mode, ...] = ("model", "real")
    for mode in modes:
        with pytest.raises(FaultError, match=f"slow on meter: it cannot be done in mode {mode}, only in lockstep"):
            Schedule((Fault(on="meter", do="slow"),), 1, mode)
    Schedule((Fault(on="meter", do="slow"),), 1, "lockstep")


def test_live_fault_is_armed_and_disarmed_by_its_number(stage: Stage) -> None:
    live = Schedule((), 1, "real")
    first = live.arm(Fault(on="meter", do="one", at_s=500, for_s=5), 10.0, stage)
    second = live.arm(Fault(id="F06", on="meter", when="never asked"), 11.0, stage)
    assert (first, second) == (0, 1)
    assert live.armed[1].number("level_w") == 5.0
    live.disarm(second, 12.0)
    live.tick(14.9, stage, never)
    assert live.armed[0].active
    live.tick(15.0, stage, never)
    assert [armed.times_s for armed in live.armed] == [[(10.0, 15.0)], [(11.0, 12.0)]]
    live.disarm(first, 16.0)
    assert stage.done == ["+one", "+one", "-one", "-one"]


@pytest.mark.parametrize("number", [-1, 1])
def test_number_that_no_fault_has_cannot_be_disarmed(stage: Stage, number: int) -> None:
    live = Schedule((), 1, "real")
    live.arm(Fault(on="meter", do="one"), 1.0, stage)
    with pytest.raises(LookupError, match=f"there is no fault {number}"):
        live.disarm(number, 2.0)


def test_live_fault_that_fails_leaves_no_trace(stage: Stage) -> None:
    live = Schedule((), 1, "real")
    with pytest.raises(FaultError):
        live.arm(Fault(on="meter", do="failing"), 1.0, stage)
    assert live.armed == ()
    assert live.arm(Fault(on="meter", do="one"), 2.0, stage) == 0


def test_row_gives_verb_and_parameters_and_the_fault_goes_before_it(stage: Stage) -> None:
    assert resolve(Fault(id="F06", on="meter")).params == {"level_w": 5.0}
    own = resolve(Fault(id="F06", on="meter", params={"level_w": 7.0, "word": "b"}))
    assert (own.do, own.params) == ("one", {"level_w": 7.0, "word": "b"})
    other = resolve(Fault(id="F06", on="meter", do="two"))
    assert (other.do, other.params) == ("two", {})


def test_place_that_is_the_only_one_need_not_be_said(stage: Stage) -> None:
    assert resolve(Fault(do="cutting_utility")).on == "utility"
    assert resolve(Fault(id="F67")).on == "clock"
    assert resolve(Fault(id="F91")).on == "controller"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(id="F101", on="meter"), "F101 on meter: there is no row F101; allowed are F01 to F100"),
        (Fault(on="meter"), "`id` and `do` are both missing"),
        (Fault(on="meter", do="dleay"), "'dleay' is no verb; allowed are"),
        (
            Fault(id="F30", on="meter"),
            "F30 on meter: CRC errors on the serial line: it cannot be done yet: the RTU link",
        ),
        (Fault(do="one"), "`on` is missing; allowed is a device of kind meter"),
        (Fault(on="meter", do="one", at_s=1, per_s=1), "at_s and per_s are given; allowed is one of them"),
        (Fault(on="meter", do="one", params={"level": 1}), "level is no parameter of one; it takes level_w, word"),
        (Fault(on="meter", do="two", params={"x": 1}), "x is no parameter of two; it takes none"),
        (Fault(on="meter", do="one", params={"level_w": 10.1}), "level_w is 10.1; allowed is a number from 0 to 10 W"),
        (Fault(on="meter", do="one", params={"level_w": float("nan")}), "level_w is nan; allowed is a number"),
        (Fault(on="meter", do="one", params={"level_w": "much"}), "level_w is 'much'; allowed is a number"),
        (Fault(on="meter", do="one", params={"level_w": True}), "level_w is True; allowed is a number"),
        (Fault(on="meter", do="one", params={"word": "c"}), "word is 'c'; allowed is one of 'a', 'b'"),
        (Fault(on="meter", do="one", params={"word": 1.0}), "word is 1.0; allowed is one of 'a', 'b'"),
        (Fault(on="meter", do="one", params={"name": 1.0}), "name is 1.0; allowed is a text"),
        (Fault(on="meter", do="one", params={"truth": 1}), "truth is 1; allowed is true or false"),
    ],
)
def test_fault_that_cannot_be_is_refused_with_what_is_allowed(stage: Stage, fault: Fault, says: str) -> None:
    with pytest.raises(FaultError) as raised:
        resolve(fault)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    "params", [{"level_w": 0}, {"level_w": 10.0}, {"word": "b"}, {"name": "anything"}, {"truth": True}]
)
def test_parameters_at_the_edges_of_their_ranges_fit(stage: Stage, params: dict[str, Any]) -> None:
    assert resolve(Fault(on="meter", do="one", params=params)).params == params


def test_everything_that_is_wrong_with_a_fault_is_told_at_once(stage: Stage) -> None:
    with pytest.raises(FaultError) as raised:
        resolve(Fault(do="one", at_s=1, when="x", params={"level_w": -1, "nonsense": 1}))
    said = str(raised.value)
    assert all(
        word in said for word in ("level_w is -1", "nonsense is no parameter", "`on` is missing", "at_s and when")
    )


def test_fault_is_called_by_row_verb_and_place() -> None:
    assert called(Fault(id="F06", do="delay", on="meter")) == "F06 delay on meter"
    assert called(Fault(do="delay", on="meter")) == "delay on meter"
    assert called(Fault(id="F06")) == "F06"


def test_verbs_of_the_house_run_under_the_schedule() -> None:
    plant = Plant(plant_spec(SITE), start_s=1000.0)
    plant.set("load_w", 3000)
    bench = SimpleNamespace(plant=plant)
    faults = (
        Fault(id="F59", on="meter", at_s=2, for_s=6),
        Fault(do="wrong", on="battery", at_s=2, for_s=3, params={"point": "soc", "value": 0.99}),
    )
    played = Schedule(faults, 3, "model")
    for tick in range(100):
        plant.advance(1000 + tick / 10)
        plant.parts["battery"].told.told("soc", 0.6, plant.now_s)
        played.tick(tick / 10, bench, never)
    assert played.armed[0].effects == 30  # a sample every 0.2 s, of a load that is never quiet
    assert played.armed[1].effects == 30
    assert schedule.VERBS is VERBS
