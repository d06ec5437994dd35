"""Proofs with z3, for all integers and not for samples: the fold, the barrier, the count, the latch of recovery."""

from itertools import combinations_with_replacement

import z3
from z3 import And, Bool, BoolVal, If, Implies, Int, Ints, Not, Or, Real, Reals, Solver, unsat

from controller.engine import energy
from controller.engine.fold import Envelope
from controller.model import Limit, Remembered
from controller.rules.energy_barrier import charge_w, discharge_w
from controller.rules.recovery import next_recovering
from controller.rules.storm_reserve import rising
from tests.words import a_battery, a_site


def proved(*claim: z3.BoolRef) -> bool:
    """Return whether no counter-example exists."""
    solver = Solver()
    solver.add(Not(And(*claim)))
    return bool(solver.check() == unsat)


def project(low: z3.ArithRef, high: z3.ArithRef, a: z3.ArithRef, b: z3.ArithRef) -> tuple[z3.ArithRef, z3.ArithRef]:
    """Return what engine.fold.Envelope.add does to [low, high] with the limit [a, b], written as its three cases."""
    new_low = z3.If(b < low, low, z3.If(a > high, high, z3.If(a > low, a, low)))
    new_high = z3.If(b < low, low, z3.If(a > high, high, z3.If(b < high, b, high)))
    return new_low, new_high


def test_the_projection_that_is_proved_is_what_the_envelope_does() -> None:
    ends = list(combinations_with_replacement(range(-2, 3), 2))
    for low_w, high_w in ends:
        for a_w, b_w in ends:
            envelope = Envelope(low_w, high_w)
            envelope.add(Limit(rule="r", priority=3, low_w=a_w, high_w=b_w, because="test"))
            projected = project(*(z3.IntVal(end_w) for end_w in (low_w, high_w, a_w, b_w)))
            assert [z3.simplify(end).as_long() for end in projected] == [envelope.low_w, envelope.high_w]


def test_projection_keeps_the_envelope_inside_itself_and_never_empty() -> None:
    low, high, a, b = Ints("low high a b")
    new_low, new_high = project(low, high, a, b)
    assert proved(Implies(And(low <= high, a <= b), And(low <= new_low, new_low <= new_high, new_high <= high)))


def test_projection_keeps_every_compatible_limit_at_every_point() -> None:
    low, high, a, b, point = Ints("low high a b point")
    new_low, new_high = project(low, high, a, b)
    compatible = And(low <= high, a <= b, b >= low, a <= high)
    assert proved(Implies(And(compatible, new_low <= point, point <= new_high), And(a <= point, point <= b)))


def test_projection_meets_an_incompatible_limit_at_the_nearest_point() -> None:
    low, high, a, b, point = Ints("low high a b point")
    new_low, new_high = project(low, high, a, b)
    below = And(low <= high, a <= b, b < low, low <= point, point <= high)
    assert proved(Implies(below, And(new_low == low, new_high == low, point - b >= new_low - b)))


def test_plain_intersection_would_not_do() -> None:
    low, high, a, b = Ints("low high a b")
    cut_low, cut_high = z3.If(a > low, a, low), z3.If(b < high, b, high)
    assert not proved(Implies(And(low <= high, a <= b), cut_low <= cut_high))


def test_barrier_keeps_the_true_energy_for_all_times_efficiencies_and_errors() -> None:
    """P = eta_low (E - error - keep) / H never takes the true energy below keep within H, nor charging above most."""
    estimate, error, keep, most, horizon, elapsed, eta_low, eta, true = (
        Real(name) for name in ("estimate", "error", "keep", "most", "horizon", "elapsed", "eta_low", "eta", "true")
    )
    world = And(
        error >= 0,
        horizon > 0,
        elapsed >= 0,
        elapsed <= horizon,
        eta_low > 0,
        eta_low <= eta,
        eta <= 1,
        true >= estimate - error,
        true <= estimate + error,
    )
    power, above = Real("power"), Real("above")
    discharging = And(
        world, above == estimate - error - keep, above >= 0, power >= 0, power * horizon <= eta_low * above
    )
    drawn = Real("drawn")
    cells = And(drawn * eta == power * elapsed, drawn >= 0)
    # Two steps that z3 takes at once: what is drawn over the horizon, and what that leaves.
    assert proved(Implies(And(discharging, cells), drawn * eta <= eta_low * above))
    assert proved(Implies(And(world, above >= 0, drawn >= 0, drawn * eta <= eta_low * above), drawn <= above))
    assert proved(Implies(And(world, above == estimate - error - keep, drawn <= above), true - drawn >= keep))
    room = Real("room")
    charging = And(world, room == most - estimate - error, room >= 0, power >= 0, power * horizon <= room)
    assert proved(Implies(charging, power * elapsed * eta <= room))
    assert proved(Implies(And(world, room == most - estimate - error), true + room <= most))


def test_the_integer_barrier_never_rounds_up() -> None:
    """floor(x) <= x for the very expression of the rule, over all energies."""
    energy, keep, within, eta = Ints("energy keep within eta")
    power = Int("power")
    rounded = And(
        within > 0,
        eta >= 50,
        eta <= 100,
        energy >= keep,
        power * within <= (energy - keep) * 36_000 * eta,
        (power + 1) * within > (energy - keep) * 36_000 * eta,
    )
    assert proved(Implies(rounded, power * within * 100 <= (energy - keep) * 3_600_000 * eta))
    unit = a_site().unit[0]
    for above_wh in (0, 1, 7, 333, 25_000):
        got_w = discharge_w(unit, 2_500 + above_wh, 2_500, 11_000)
        assert got_w * 11_000 * 100 <= above_wh * 3_600_000 * unit.efficiency_pct
        assert charge_w(25_000 - above_wh, 25_000, 11_000) * 11_000 <= above_wh * 3_600_000


def test_the_interval_holds_the_true_energy_wherever_the_count_is_while_what_is_told_is_within_its_error() -> None:
    """low = floor(min(told, counted)) - error, high = ceil(max(told, counted)) + error, whole Wh of exact energies."""
    told, counted, true, error = Reals("told counted true error")
    floor, ceiling = Ints("floor ceiling")
    least, most = If(told < counted, told, counted), If(told > counted, told, counted)
    rounded = And(floor <= least, floor > least - 1, ceiling >= most, ceiling < most + 1)
    told_well = And(error >= 0, true >= told - error, true <= told + error)
    assert proved(Implies(And(rounded, told_well), And(floor - error <= true, true <= ceiling + error)))
    assert not proved(Implies(rounded, And(floor - error <= true, true <= ceiling + error)))


def test_a_count_beside_a_stuck_state_of_charge_never_promises_more_than_is_there() -> None:
    """One step, any efficiency from eta_low to 1: below what is told for the low side, above it for the high side.

    power x elapsed is in mJ at the grid, energies in mWh (3,600 mJ); moved is rounded down below and up above. By
    induction it holds for as long as the state of charge stays stuck and the power goes the same way.
    """
    work, true, counted, error, eta_low, eta, cells = Reals("work true counted error eta_low eta cells")
    moved = Int("moved")
    world = And(work >= 0, error >= 0, eta_low > 0, eta_low <= eta, eta <= 1)
    drawn = And(world, cells * eta * 3600 == work)
    below = And(drawn, cells >= 0, moved <= 0, moved * 3600 * eta_low <= -work)
    assert proved(Implies(below, cells <= -moved))
    kept = And(true >= counted - error, cells <= -moved)
    assert proved(Implies(kept, true - cells >= counted + moved - error))
    put = And(world, cells * 3600 == work * eta, moved * 3600 >= work)
    assert proved(Implies(put, cells <= moved))
    kept = And(true <= counted + error, cells <= moved)
    assert proved(Implies(kept, true + cells <= counted + moved + error))


def test_the_count_that_is_proved_is_what_the_engine_counts() -> None:
    unit = a_site().unit[0]
    for power_w in (251, 999, 7_777, 10_000):
        for elapsed_ms in (1, 1000, 1001, 59_999):
            for sign in (1, -1):
                before = Remembered(unit="unit1", soc_bp=6000, counted_mwh=15_000_000)
                after = energy.count(before, unit, a_battery(6000), sign * power_w, elapsed_ms, 0)
                assert after.counted_mwh is not None
                moved_mwh, work_mj = after.counted_mwh - 15_000_000, power_w * elapsed_ms
                if sign > 0:
                    assert moved_mwh * 36 * unit.efficiency_pct <= -work_mj < (moved_mwh + 1) * 36 * unit.efficiency_pct
                else:
                    assert moved_mwh * 3600 >= work_mj > (moved_mwh - 1) * 3600


def latched(before: z3.BoolRef, low: z3.ArithRef, capacity: z3.ArithRef, floor_pct: z3.ArithRef) -> z3.BoolRef:
    """Return what recovery.next_recovering does, in z3."""
    off = low * 100 >= capacity * (floor_pct + 1)
    return Or(low * 100 <= capacity * (floor_pct - 1), And(before, Not(off)))


def test_the_latch_that_is_proved_is_what_recovery_does() -> None:
    site = a_site()  # floor 10 %
    for before in (False, True):
        for low_wh in (-1, 0, 88, 89, 90, 91, 99, 100, 109, 110, 111, 500):
            taken = latched(BoolVal(before), z3.IntVal(low_wh), z3.IntVal(1000), z3.IntVal(site.energy.floor_pct))
            assert z3.is_true(z3.simplify(taken)) is next_recovering(site, before, low_wh, 1000)


def test_recovery_is_never_off_below_its_floor_nor_on_above_and_switches_only_after_two_per_cent() -> None:
    """All courses of six cycles: a bounded model check over any energies, from either state of the latch."""
    capacity, floor_pct = Ints("capacity floor_pct")
    lows = [Int(f"low{n}") for n in range(6)]
    states, world = [Bool("before")], And(capacity >= 100, floor_pct >= 0, floor_pct <= 100)
    for low in lows:
        states.append(latched(states[-1], low, capacity, floor_pct))
    for low, state in zip(lows, states[1:], strict=True):
        assert proved(Implies(And(world, low * 100 <= capacity * (floor_pct - 1)), state))
        assert proved(Implies(And(world, low * 100 >= capacity * (floor_pct + 1)), Not(state)))
    for first in range(1, 5):
        for then in range(first + 1, 6):
            on = And(Not(states[first]), states[first + 1])
            off = And(states[then], Not(states[then + 1]))
            assert proved(Implies(And(world, on, off), (lows[then] - lows[first]) * 100 >= 2 * capacity))


def test_what_is_charged_for_ahead_of_a_storm_only_rises_and_never_above_the_reserve() -> None:
    """q = floor(d t / w) is written as q w <= d t < (q + 1) w, d what is to be risen by and w the time for it."""
    base, reserve, within, t1, t2, q1, q2 = Ints("base reserve within t1 t2 q1 q2")
    rise, p1, p2 = Ints("rise p1 p2")
    assert proved(Implies(And(rise >= 0, t1 >= 0, t1 <= t2), rise * t1 <= rise * t2))
    assert proved(Implies(And(rise >= 0, t1 >= 0, t1 < within), And(rise * t1 >= 0, rise * t1 <= rise * within)))
    lines = And(within > 0, q1 * within <= p1, p1 < (q1 + 1) * within, q2 * within <= p2, p2 < (q2 + 1) * within)
    assert proved(Implies(And(lines, p1 <= p2), q1 <= q2))
    assert proved(Implies(And(lines, p1 >= 0, p1 <= rise * within), And(q1 >= 0, q1 <= rise)))
    # With 0 <= q1 <= q2 <= rise the line lies between its ends, and the reserve caps one that begins above it.
    ends = And(rise == If(reserve > base, reserve - base, 0), q1 >= 0, q1 <= q2, q2 <= rise)
    line1, line2 = (If(base + q < reserve, base + q, reserve) for q in (q1, q2))
    assert proved(Implies(ends, And(line1 <= line2, line2 <= reserve, Or(line1 >= base, line1 == reserve))))
    course = [rising(3000, 8000, elapsed_ms, 7_000) for elapsed_ms in range(-2_000, 9_000, 7)]
    assert course == sorted(course)
    assert (course[0], course[-1]) == (3000, 8000)
    assert [rising(3000, 2000, elapsed_ms, 7_000) for elapsed_ms in (0, 6_999, 7_000)] == [2000] * 3
