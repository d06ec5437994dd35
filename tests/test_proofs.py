"""Proofs with z3, for all integers and not for samples: the projection of the fold and the energy barrier."""

from itertools import combinations_with_replacement

import z3
from z3 import And, Implies, Int, Ints, Not, Real, Solver, unsat

from controller.engine import Envelope
from controller.model import Limit
from controller.rules.energy_barrier import charge_w, discharge_w
from tests.words import a_site


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
