"""Fit a second-order equivalent circuit to a recording of pulses and rests, by least squares.

With its two time constants given, the circuit

    v(t) = open_v(soc) - r0(soc) i - v1 - v2,   v_n' = (r_n(soc) i - v_n) / tau_n

is linear in the values at the knots of open_v, r0, r1 and r2: one set of normal equations gives them all at once, with
a small price on bends so that noise makes no wiggles. A search finds the time constants. Resistance is solved as the
volts lost at 1C, so that the price is the same for a cell of any size.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import exp, sqrt

import msgspec

from hil.plant.chemistry import Points

OPEN_SOC = tuple(percent / 100 for percent in (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, *range(15, 101, 5)))
LOSS_SOC = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BEND_OPEN = 1e-3  # price of a change of slope of the open-circuit voltage, a volt over the whole charge
BEND_LOSS = 10.0  # price of a bend of a loss, a volt at 1C
LONGEST_S = 20.0  # a sample counts for the time since the one before, at most this
FIRST_S = (20.0, 400.0)  # where the search for the time constants begins
FACTORS = (2.0, 1.4, 1.15)  # its steps, from coarse to fine

Sample = tuple[float, float, float]
"""Time in s, current in A since the sample before (+ discharge), voltage in V."""


class Circuit(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. resistance: rows of soc, r0, r1, r2 in mohm; rmse_mv: of the fit itself, by time."""

    capacity_ah: float
    open_v: Points
    resistance: tuple[tuple[float, float, float, float], ...]
    fast_s: float
    slow_s: float
    rmse_mv: float


def fit(samples: Sequence[Sample], from_soc: float = 1.0, capacity_ah: float | None = None) -> Circuit:
    """Return the circuit that comes nearest to the recording, which begins at rest at from_soc.

    Without a capacity, the recording ends empty and what it took out is the capacity.
    """
    steps = [(t1 - t0, i, v) for (t0, _, _), (t1, i, v) in pairwise(samples)]
    out_ah = sum(dt_s * i for dt_s, i, _ in steps) / 3600
    full_ah = capacity_ah or out_ah / from_soc
    rows = [(0.0, from_soc, 0.0, samples[0][2])]
    soc = from_soc
    for dt_s, i, v in steps:
        soc -= i * dt_s / 3600 / full_ah
        rows.append((dt_s, soc, i / full_ah, v))
    taus_s = _search(lambda fast_s, slow_s: _solve(rows, fast_s, slow_s)[1])
    values, rmse_v = _solve(rows, *taus_s)
    n, m = len(OPEN_SOC), len(LOSS_SOC)
    mohm = [1000 * value / full_ah for value in values[n:]]
    return Circuit(
        capacity_ah=full_ah,
        open_v=tuple(zip(OPEN_SOC, values[:n], strict=True)),
        resistance=tuple(zip(LOSS_SOC, mohm[:m], mohm[m : 2 * m], mohm[2 * m :], strict=True)),
        fast_s=taus_s[0],
        slow_s=taus_s[1],
        rmse_mv=1000 * rmse_v,
    )


def _search(error: Callable[[float, float], float]) -> tuple[float, float]:
    """Return the two time constants of the least error: steps of a factor, finer and finer."""
    best_s, best = FIRST_S, error(*FIRST_S)
    for factor in FACTORS:
        moved = True
        while moved:
            moved = False
            for fast, slow in ((factor, 1.0), (1 / factor, 1.0), (1.0, factor), (1.0, 1 / factor)):
                tried_s = best_s[0] * fast, best_s[1] * slow
                tried = error(*tried_s)
                if tried < best:
                    best_s, best, moved = tried_s, tried, True
    return best_s


def _solve(
    rows: Sequence[tuple[float, float, float, float]], fast_s: float, slow_s: float
) -> tuple[list[float], float]:
    """Return the values at all knots (open_v, r0, r1, r2) and the weighted RMSE in V.

    rows: time since the row before in s, state of charge, current in units of 1C, voltage.
    """
    n, m = len(OPEN_SOC), len(LOSS_SOC)
    size = n + 3 * m
    normal = [[0.0] * (size + 1) for _ in range(size)]  # the last column is the right side
    _bend_prices(normal)
    fast, slow = [0.0] * m, [0.0] * m
    sum_v2 = weights = 0.0
    for dt_s, soc, rate, volts in rows:
        weight = min(dt_s, LONGEST_S) + 0.01
        at = _between(LOSS_SOC, soc)
        for states, tau_s in ((fast, fast_s), (slow, slow_s)):
            left = exp(-dt_s / tau_s)
            for k in range(m):
                states[k] *= left
            for k, share in at:
                states[k] += share * rate * (1 - left)
        entries = _between(OPEN_SOC, soc)
        entries += [(n + k, -share * rate) for k, share in at if rate]
        entries += [(n + m + k, -value) for k, value in enumerate(fast) if abs(value) > 1e-9]
        entries += [(n + 2 * m + k, -value) for k, value in enumerate(slow) if abs(value) > 1e-9]
        for k, value in entries:
            line, weighed = normal[k], weight * value
            for other, factor in entries:
                line[other] += weighed * factor
            line[size] += weighed * volts
        sum_v2 += weight * volts * volts
        weights += weight
    right = [line[size] for line in normal]
    values = _cholesky(normal, right)
    left_v2 = max(0.0, sum_v2 - sum(a * b for a, b in zip(values, right, strict=True)))
    return values, sqrt(left_v2 / weights)


def _between(knots: Sequence[float], soc: float) -> list[tuple[int, float]]:
    """Return the two knots around soc and the share of each."""
    for k in range(1, len(knots)):
        if soc < knots[k] or k == len(knots) - 1:
            share = min(1.0, max(0.0, (soc - knots[k - 1]) / (knots[k] - knots[k - 1])))
            return [(k - 1, 1 - share), (k, share)]
    raise AssertionError("there are at least two knots")


def _bend_prices(normal: list[list[float]]) -> None:
    """Add the price of bends to the normal equations."""
    n, m = len(OPEN_SOC), len(LOSS_SOC)
    bends = []
    for k in range(1, n - 1):
        before, after = 1 / (OPEN_SOC[k] - OPEN_SOC[k - 1]), 1 / (OPEN_SOC[k + 1] - OPEN_SOC[k])
        bends.append([(k - 1, BEND_OPEN * before), (k, -BEND_OPEN * (before + after)), (k + 1, BEND_OPEN * after)])
    for start in (n, n + m, n + 2 * m):
        for k in range(start + 1, start + m - 1):
            bends.append([(k - 1, BEND_LOSS), (k, -2 * BEND_LOSS), (k + 1, BEND_LOSS)])
    for bend in bends:
        for k, value in bend:
            for other, factor in bend:
                normal[k][other] += value * factor


def _cholesky(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """Solve a symmetric positive definite system; more columns than rows are not looked at."""
    size = len(right)
    low = [[0.0] * size for _ in range(size)]
    for row in range(size):
        for column in range(row + 1):
            rest = matrix[row][column] - sum(low[row][k] * low[column][k] for k in range(column))
            low[row][column] = sqrt(rest) if row == column else rest / low[column][column]
    middle = [0.0] * size
    for row in range(size):
        middle[row] = (right[row] - sum(low[row][k] * middle[k] for k in range(row))) / low[row][row]
    found = [0.0] * size
    for row in reversed(range(size)):
        found[row] = (middle[row] - sum(low[k][row] * found[k] for k in range(row + 1, size))) / low[row][row]
    return found
