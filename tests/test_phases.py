"""Starting and stopping a unit: each edge from both sides, and z3 over all that can happen in 40 cycles."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, get_args

import msgspec
import pytest
import z3

from controller.engine.phases import ATTEMPTS_MAX, EDGES, RUN_S, Condition, Seen, advance
from controller.model import Battery, Inverter, Phase, Remembered, Unit
from tests.words import a_battery, a_site, an_inverter

UNIT = a_site().unit[0]
CLOSED = a_battery(contactor_closed=True)
OPEN = a_battery(contactor_closed=False)
READY = an_inverter()
AWAY = an_inverter(connected=False)


def seen(now_ms: int = 1_000, **changes: object) -> Seen:
    """Return a unit that is wanted and of which both devices confirm."""
    healthy = Seen(
        inverter=READY,
        battery=CLOSED,
        trip=False,
        fading=False,
        no_start=False,
        wanted=True,
        power_w=0,
        now_ms=now_ms,
    )
    return msgspec.structs.replace(healthy, **changes)


def then(phase: Phase, now_ms: int = 1_000, attempts: int = 0, unit: Unit = UNIT, **changes: object) -> Phase:
    """Return the phase after one cycle, begun in phase at 0 ms."""
    return advance(Remembered(unit="unit1", phase=phase, attempts=attempts), unit, seen(now_ms, **changes)).phase


# -- starting -----------------------------------------------------------------------------------------------------


def test_healthy_devices_run_in_the_first_cycle_after_a_restart_of_the_controller() -> None:
    after = advance(Remembered(unit="unit1"), UNIT, seen(5_000))
    assert (after.phase, after.since_ms, after.attempts) == ("run", 5_000, 0)


@pytest.mark.parametrize(
    ("battery", "phase"),
    [
        (CLOSED, "run"),
        (OPEN, "precharge"),
        (None, "precharge"),
        (a_battery(), "run"),  # it does not tell of its contactor, but admits currents
        (a_battery(charge_max_ma=None), "run"),
        (a_battery(discharge_max_ma=None), "run"),
        (a_battery(charge_max_ma=0, discharge_max_ma=None), "run"),
        (a_battery(charge_max_ma=None, discharge_max_ma=None), "precharge"),
        (a_battery(charge_max_ma=None, discharge_max_ma=None, contactor_closed=True), "run"),
    ],
)
def test_start_waits_for_the_battery_to_close_its_contactor(battery: Battery | None, phase: Phase) -> None:
    assert then("off", battery=battery) == phase


@pytest.mark.parametrize(
    ("inverter", "phase"),
    [
        (READY, "run"),
        (an_inverter(state="standby"), "run"),
        (an_inverter(connected=True), "run"),
        (an_inverter(state="starting"), "standby"),
        (an_inverter(state="off"), "standby"),
        (an_inverter(state="fault"), "standby"),
        (an_inverter(remote=False), "standby"),
        (AWAY, "standby"),
        (None, "standby"),
    ],
)
def test_start_waits_for_an_inverter_that_is_ready_and_obeys(inverter: Inverter | None, phase: Phase) -> None:
    assert then("off", inverter=inverter) == phase
    assert then("standby", inverter=inverter) == phase


@pytest.mark.parametrize("phase", ["off", "precharge", "standby"])
@pytest.mark.parametrize("held_back", [{"trip": True}, {"no_start": True}, {"fading": True}, {"wanted": False}])
def test_nothing_starts_that_a_fault_or_its_owner_holds_back(phase: Phase, held_back: dict[str, bool]) -> None:
    assert then(phase, **held_back) == "off"


@pytest.mark.parametrize(
    ("phase", "missing"), [("precharge", {"battery": OPEN}), ("standby", {"inverter": an_inverter(state="starting")})]
)
@pytest.mark.parametrize("start_s", [360, 5])
def test_a_start_that_is_not_confirmed_in_time_has_failed(
    phase: Phase, missing: dict[str, object], start_s: int
) -> None:
    unit = msgspec.structs.replace(UNIT, start_s=start_s)
    before = Remembered(unit="unit1", phase=phase)
    assert advance(before, unit, seen(start_s * 1000 - 1, **missing)) is before
    for attempts, left in ((0, "off"), (1, "off"), (2, "fault")):
        tried = Remembered(unit="unit1", phase=phase, attempts=attempts)
        after = advance(tried, unit, seen(start_s * 1000, **missing))
        assert (after.phase, after.since_ms, after.attempts) == (left, start_s * 1000, attempts + 1)


def test_a_confirmation_in_the_last_moment_counts() -> None:
    assert then("precharge", now_ms=10**9) == "run"
    assert then("standby", now_ms=10**9) == "run"


def test_each_confirmation_has_a_time_of_its_own() -> None:
    """The battery takes 359 s to close; the inverter then has its 360 s, and not 1 s."""
    waiting = an_inverter(state="starting")
    after = advance(Remembered(unit="unit1", phase="precharge"), UNIT, seen(359_999, inverter=waiting))
    assert (after.phase, after.since_ms) == ("standby", 359_999)
    late = advance(Remembered(unit="unit1", phase="precharge"), UNIT, seen(10**9, inverter=waiting))
    assert (late.phase, late.since_ms, late.attempts) == ("standby", 10**9, 0)


def test_a_failed_start_is_seen_as_off_for_a_cycle_before_the_next() -> None:
    known = Remembered(unit="unit1", phase="precharge")
    phases = []
    for now_ms in (360_000, 361_000, 720_999, 721_000, 722_000, 1_081_999, 1_082_000, 10**9):
        known = advance(known, UNIT, seen(now_ms, battery=OPEN))
        phases.append(known.phase)
    assert phases == ["off", "precharge", "precharge", "off", "precharge", "precharge", "fault", "fault"]
    assert known.attempts == ATTEMPTS_MAX


@pytest.mark.parametrize("changes", [{}, {"trip": True}, {"wanted": False}, {"battery": None, "inverter": None}])
def test_a_unit_that_failed_three_starts_is_left_alone_until_a_restart(changes: dict[str, object]) -> None:
    before = Remembered(unit="unit1", phase="fault", attempts=3)
    assert advance(before, UNIT, seen(10**9, **changes)) is before
    assert advance(Remembered(unit="unit1"), UNIT, seen()).phase == "run", "memory begins anew"


@pytest.mark.parametrize(("run_ms", "attempts"), [(RUN_S * 1000 - 1, 2), (RUN_S * 1000, 0)])
def test_failed_starts_are_forgotten_after_a_minute_in_run(run_ms: int, attempts: int) -> None:
    before = Remembered(unit="unit1", phase="run", since_ms=7, attempts=2)
    after = advance(before, UNIT, seen(7 + run_ms))
    assert (after.phase, after.since_ms, after.attempts) == ("run", 7, attempts)
    waiting = Remembered(unit="unit1", phase="standby", since_ms=7, attempts=2)
    assert advance(waiting, UNIT, seen(7 + run_ms)).attempts == 2, "only in run"


# -- running ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["precharge", "standby", "run", "ramp_down"])
def test_a_trip_leads_to_off_at_once_and_is_no_failed_start(phase: Phase) -> None:
    for now_ms in (1, 10**9):
        before = Remembered(unit="unit1", phase=phase, attempts=2)
        after = advance(before, UNIT, seen(now_ms, trip=True, power_w=9_000))
        assert (after.phase, after.since_ms) == ("off", now_ms)
        assert after.attempts == (0 if phase == "run" and now_ms > 1 else 2)


def test_a_unit_that_goes_on_running_is_remembered_as_it_was() -> None:
    before = Remembered(unit="unit1", phase="run", since_ms=5)
    assert advance(before, UNIT, seen(10**9, power_w=8_000)) is before
    tripped = Remembered(unit="unit1", phase="off", since_ms=5)
    assert advance(tripped, UNIT, seen(10**9, trip=True)) is tripped, "since when it is off does not move on"


@pytest.mark.parametrize(
    ("changes", "phase"),
    [
        ({"inverter": None}, "off"),
        ({"battery": None}, "off"),
        ({"battery": OPEN}, "standby"),
        ({"inverter": an_inverter(state="starting")}, "standby"),
        ({"inverter": an_inverter(state="standby")}, "run"),
        ({"inverter": an_inverter(remote=False)}, "standby"),
        ({"inverter": AWAY}, "standby"),
        ({"inverter": AWAY, "fading": True}, "standby"),
        ({"fading": True}, "ramp_down"),
        ({"wanted": False}, "ramp_down"),
        ({"no_start": True}, "run"),  # it has started
    ],
)
def test_a_running_unit_needs_both_devices_in_each_cycle(changes: dict[str, object], phase: Phase) -> None:
    assert then("run", power_w=5_000, **changes) == phase


def test_a_grid_that_is_away_for_hours_is_no_failed_start() -> None:
    known = Remembered(unit="unit1", phase="run")
    for now_ms in range(0, 5 * 3_600_000, 60_000):
        known = advance(known, UNIT, seen(now_ms, inverter=AWAY))
        assert (known.phase, known.since_ms, known.attempts) == ("standby", now_ms, 0)
    back_ms = known.since_ms
    waiting = an_inverter(connected=True, state="starting")  # it waits its 300 s before it enters service
    assert advance(known, UNIT, seen(back_ms + 300_000, inverter=waiting)) is known
    assert advance(known, UNIT, seen(back_ms + 301_000)).phase == "run"
    assert advance(known, UNIT, seen(back_ms + 360_000, inverter=waiting)).attempts == 1


def test_an_inverter_that_does_not_tell_of_the_grid_has_no_such_grace() -> None:
    assert then("standby", now_ms=360_000, inverter=an_inverter(state="off")) == "off"
    assert then("standby", now_ms=360_000, inverter=an_inverter(state="off", connected=False)) == "standby"


# -- stopping -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "phase"),
    [
        ({"power_w": 0}, "off"),
        ({"power_w": 1}, "ramp_down"),
        ({"power_w": -1}, "ramp_down"),
        ({"power_w": 0, "inverter": an_inverter(199)}, "off"),
        ({"power_w": 0, "inverter": an_inverter(200)}, "ramp_down"),  # 2 % of 10 kW
        ({"power_w": 0, "inverter": an_inverter(-199)}, "off"),
        ({"power_w": 0, "inverter": an_inverter(-200)}, "ramp_down"),
        ({"power_w": 0, "inverter": an_inverter(None)}, "ramp_down"),
        ({"power_w": 500, "now_ms": 359_999}, "ramp_down"),
        ({"power_w": 500, "now_ms": 360_000}, "off"),
        ({"power_w": 500, "inverter": None}, "off"),
        ({"power_w": 500, "battery": OPEN}, "off"),
        ({"power_w": 500, "inverter": AWAY}, "off"),
        ({"power_w": 500, "wanted": True}, "run"),
        ({"power_w": 500, "wanted": True, "no_start": True}, "run"),
        ({"power_w": 500, "wanted": True, "fading": True}, "ramp_down"),
    ],
)
def test_a_unit_is_off_when_its_power_is_gone(changes: dict[str, object], phase: Phase) -> None:
    assert then("ramp_down", **{"wanted": False} | changes) == phase


@pytest.mark.parametrize(
    ("charge_max_w", "discharge_max_w", "quiet_w"), [(20_000, 5_000, 399), (5_000, 20_000, 399), (50, 50, 0)]
)
def test_no_power_is_less_than_two_percent_of_the_larger_nameplate(
    charge_max_w: int, discharge_max_w: int, quiet_w: int
) -> None:
    unit = msgspec.structs.replace(UNIT, charge_max_w=charge_max_w, discharge_max_w=discharge_max_w)
    assert then("ramp_down", unit=unit, wanted=False, inverter=an_inverter(quiet_w)) == "off"
    assert then("ramp_down", unit=unit, wanted=False, inverter=an_inverter(quiet_w + 1)) == "ramp_down"


def test_a_stop_takes_its_time_from_when_it_began() -> None:
    known = advance(Remembered(unit="unit1", phase="run"), UNIT, seen(10**9, wanted=False, power_w=4_000))
    assert (known.phase, known.since_ms) == ("ramp_down", 10**9)
    assert advance(known, UNIT, seen(10**9 + 359_999, wanted=False, power_w=4_000)) is known
    assert advance(known, UNIT, seen(10**9 + 360_000, wanted=False, power_w=4_000)).phase == "off"


# -- the whole ----------------------------------------------------------------------------------------------------


class Raw(NamedTuple):
    """All that the machine asks of the world, each free to hold or not: truth values, or z3's."""

    trip: Any
    fading: Any
    no_start: Any
    wanted: Any
    charged: Any
    ready: Any
    heard: Any
    cut_off: Any
    quiet: Any
    late: Any
    settled: Any


PHASES: tuple[Phase, ...] = get_args(Phase)
OFF, PRECHARGE, STANDBY, RUN, RAMP_DOWN, FAULT = range(6)


class Logic(NamedTuple):
    """What the model is built of, so that the same model is run and proved."""

    all: Callable[..., Any]
    any: Callable[..., Any]
    no: Callable[[Any], Any]
    case: Callable[[Any, Any, Any], Any]


PLAIN = Logic(lambda *a: all(a), lambda *a: any(a), lambda a: not a, lambda a, b, c: b if a else c)
PROVED = Logic(z3.And, z3.Or, z3.Not, lambda a, b, c: z3.If(a, bits(b), bits(c)))


def bits(value: Any) -> Any:
    return z3.BitVecVal(value, 3) if isinstance(value, int) else value


def cycle(by: Logic, phase: Any, attempts: Any, raw: Raw) -> tuple[Any, Any]:
    """Return phase and attempts after a cycle, written out phase by phase."""
    case, no = by.case, by.no
    go = by.all(raw.wanted, no(raw.fading))
    start = by.all(go, no(raw.no_start), no(raw.trip))
    confirmed = by.all(raw.charged, raw.ready)
    kept = case(by.all(phase == RUN, raw.settled), 0, attempts)
    fails = by.all(
        start,
        raw.late,
        by.any(
            by.all(phase == PRECHARGE, no(raw.charged)),
            by.all(phase == STANDBY, no(confirmed), no(raw.cut_off)),
        ),
    )
    after = case(fails, kept + 1, kept)
    failed = case(after >= 3, FAULT, OFF)
    up = case(confirmed, RUN, case(raw.charged, STANDBY, PRECHARGE))
    running = case(no(confirmed), STANDBY, case(go, RUN, RAMP_DOWN))
    ending = case(by.any(raw.quiet, raw.late), OFF, RAMP_DOWN)
    nexts = (
        case(start, up, OFF),
        case(start, case(fails, failed, up), OFF),
        case(start, case(fails, failed, case(confirmed, RUN, STANDBY)), OFF),
        case(by.any(raw.trip, no(raw.heard)), OFF, running),
        case(by.any(raw.trip, no(confirmed)), OFF, case(go, RUN, ending)),
    )
    result: Any = FAULT
    for number, following in enumerate(nexts):
        result = case(phase == number, following, result)
    return result, after


TIMES = (  # start_s, ms since the phase began, and so: late, settled
    (360, 59_999, False, False),
    (360, 60_000, False, True),
    (360, 360_000, True, True),
    (30, 30_000, True, False),
)
BATTERIES = ((CLOSED, True), (a_battery(), True), (OPEN, False), (None, False))
INVERTERS = (
    (READY, True),
    (an_inverter(5_000, state="standby"), True),
    (an_inverter(state="starting"), False),
    (an_inverter(None, remote=False), False),
    (AWAY, False),
    (an_inverter(5_000, connected=False), False),
    (None, False),
)


def everything() -> Iterator[tuple[Unit, Seen, Raw]]:
    """Yield every combination of what can be seen, as it is seen and as the model has it."""
    flags = itertools.product((False, True), repeat=4)
    for (trip, fading, no_start, wanted), (battery, charged), (inverter, ready), power_w, times in itertools.product(
        flags, BATTERIES, INVERTERS, (0, 700), TIMES
    ):
        start_s, now_ms, late, settled = times
        quiet = power_w == 0 and (inverter is None or inverter.power_w == 0)
        cut_off = inverter is not None and inverter.connected is False
        heard = battery is not None and inverter is not None
        yield (
            msgspec.structs.replace(UNIT, start_s=start_s),
            Seen(
                inverter=inverter,
                battery=battery,
                trip=trip,
                fading=fading,
                no_start=no_start,
                wanted=wanted,
                power_w=power_w,
                now_ms=now_ms,
            ),
            Raw(trip, fading, no_start, wanted, charged, ready, heard, cut_off, quiet, late, settled),
        )


def test_every_phase_has_an_answer_to_everything_and_it_is_the_models() -> None:
    """3,584 things to be seen in 6 phases after 0 to 3 failed starts: nothing raises, all is as the model says."""
    assert set(EDGES) == set(PHASES)
    before = {
        (phase, attempts): Remembered(unit="unit1", phase=PHASES[phase], attempts=attempts)
        for phase in range(6)
        for attempts in range(4)
    }
    checked = 0
    for unit, what, raw in everything():
        for (phase, attempts), known in before.items():
            after = advance(known, unit, what)
            assert (PHASES.index(after.phase), after.attempts) == cycle(PLAIN, phase, attempts, raw), (known, what)
            assert after.since_ms == 0 or after.since_ms == what.now_ms
            assert (after.since_ms == 0) <= (after.phase == known.phase)
            checked += 1
    assert checked == 16 * 4 * 7 * 2 * 4 * 24


def test_the_table_asks_for_every_condition_there_is() -> None:
    named = {condition for edges in EDGES.values() for condition, _ in edges}
    assert named == set(get_args(Condition))


def unrolled(cycles: int) -> tuple[z3.Solver, list[tuple[Any, Any, Raw, Any, Any]]]:
    """Return a solver with so many cycles from a start on, in each of which anything may be seen."""
    solver = z3.SolverFor("QF_FD")
    phase, attempts = z3.BitVecVal(OFF, 3), z3.BitVecVal(0, 3)
    steps = []
    for n in range(cycles):
        raw = Raw(*(z3.Bool(f"{name}{n}") for name in Raw._fields))
        next_phase, next_attempts = z3.BitVecs(f"phase{n} attempts{n}", 3)
        told_phase, told_attempts = cycle(PROVED, phase, attempts, raw)
        solver.add(next_phase == told_phase, next_attempts == told_attempts)
        steps.append((phase, attempts, raw, next_phase, next_attempts))
        phase, attempts = next_phase, next_attempts
    return solver, steps


def test_whatever_happens_in_forty_cycles_no_unit_runs_that_must_not() -> None:
    solver, steps = unrolled(40)
    broken = []
    for phase, attempts, raw, after, tried in steps:
        confirmed = z3.And(raw.charged, raw.ready)
        gives = z3.Or(after == RUN, after == RAMP_DOWN)
        broken += [
            z3.And(gives, z3.Not(confirmed)),  # with a battery or an inverter that does not confirm
            z3.And(gives, raw.trip),  # while it is to trip
            z3.And(phase == FAULT, after != FAULT),  # out of a fault without a restart
            z3.And(after == FAULT, tried != 3),
            z3.UGT(tried, 3),
            z3.And(after != FAULT, z3.UGE(tried, 3)),
            z3.And(z3.UGT(tried, attempts), z3.Or(raw.trip, z3.Not(raw.late))),  # a failed start that was none
            z3.And(phase == OFF, after == RUN, z3.Or(raw.no_start, raw.fading, z3.Not(raw.wanted))),
        ]
    solver.add(z3.Or(broken))
    assert solver.check() == z3.unsat


def test_the_proof_would_find_a_unit_that_runs() -> None:
    """The same cycles without the claim: run and fault are reached, so that the proof is not one of nothing."""
    for phase in (RUN, RAMP_DOWN, FAULT):
        solver, steps = unrolled(10)
        solver.add(z3.Or([after == phase for *_, after, _ in steps]))
        assert solver.check() == z3.sat
