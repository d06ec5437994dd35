"""Share a target over the units: integer water-filling, exact in sum and in bounds (control 3, layer B).

x_i = clamp(level * weight_i, low_i, high_i), with one level for all units at which the sum is the target. Where the
level passes low_i / weight_i the unit comes free of its low end, at high_i / weight_i it stays at its high end. Between
two of these passes the sum is a straight line, so the free units are found by going through the passes in their order,
and what the others leave is split over the free ones by weight.

Powers to 20 MW a unit and weights to 1e8: passes that differ at all then differ as floats too, so that floats may order
them. Everything that is compared with the target or added up is an integer.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import chain
from operator import le, truediv
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column = NDArray[np.int64]
    Flags = NDArray[np.bool_]

PURE_MOST = 100  # units shared without numpy, to the same watt on every machine; a site has no more
SLACK_W = 1e-6  # above the rounding of a float of 20 MW (1e-8), below 1 W / 10,000 units
FLOATS_W = 0.01  # above the rounding of the sum of 10,000 such floats (1e-3)
SAMPLE_EVERY = 64


def share(target_w: int, lows_w: Sequence[int], highs_w: Sequence[int], weights: Sequence[int]) -> list[int]:
    """Return one power per unit: x_i = clamp(level * weight_i, low_i, high_i) with one level for all, sum exact.

    lows_w, highs_w and weights (>= 1) have one entry per unit, low <= high. A target outside [sum(lows), sum(highs)] is
    clamped into it. All units so reach their limits together when the weights are their usable energies. Each power is
    within 1 W of its level.
    """
    if len(weights) > PURE_MOST:
        return _share_many(target_w, lows_w, highs_w, weights)
    total_w = max(sum(lows_w), min(target_w, sum(highs_w)))
    parts_w = split(total_w, weights)
    if all(map(le, lows_w, parts_w)) and all(map(le, parts_w, highs_w)):
        return parts_w
    return _share_bound(total_w, lows_w, highs_w, weights)


def split(value: int, weights: Sequence[int]) -> list[int]:
    """Return integer parts of value in proportion to weights (>= 0), sum exact, each within 1 of its proportion.

    What is left of one part is carried to the next, so that every part is its proportion rounded down or up. Where all
    weights are 0, so are the parts.
    """
    whole = sum(weights) or 1
    parts, carried = [], 0
    for weight in weights:
        part, carried = divmod(value * weight + carried, whole)
        parts.append(part)
    return parts


def _share_bound(total_w: int, lows_w: Sequence[int], highs_w: Sequence[int], weights: Sequence[int]) -> list[int]:
    """Share total_w, which lies between the sums, where some units are at their ends."""
    count = len(weights)
    # Place i is unit i's low end, place count + i its high end: at equal levels a unit comes free before it is full.
    levels = chain(map(truediv, lows_w, weights), map(truediv, highs_w, weights))
    passes = sorted(zip(levels, range(2 * count), strict=True))
    fixed_w, free_weight = sum(lows_w), 0
    powers_w, free = list(lows_w), set[int]()
    for _, place in passes:
        i, full = (place - count, True) if place >= count else (place, False)
        end_w, weight = (highs_w if full else lows_w)[i], weights[i]
        if fixed_w * weight + free_weight * end_w >= total_w * weight:
            break
        if full:
            free.discard(i)
            powers_w[i] = end_w
            fixed_w += end_w
            free_weight -= weight
        else:
            free.add(i)
            fixed_w -= end_w
            free_weight += weight
    places = sorted(free)
    for i, part_w in zip(places, split(total_w - fixed_w, [weights[i] for i in places]), strict=True):
        powers_w[i] = part_w
    return powers_w


def _share_many(target_w: int, lows_w: Sequence[int], highs_w: Sequence[int], weights: Sequence[int]) -> list[int]:
    """Share as share does, with arrays. All are of one column: those of two are slow, for they pass 128 kB."""
    import numpy as np  # the extra "fleet": 0.1 s and 20 MB that no site of up to PURE_MOST units needs

    low_w, high_w, weight = (np.array(column, dtype=np.int64) for column in (lows_w, highs_w, weights))
    total_w = max(int(low_w.sum()), min(target_w, int(high_w.sum())))
    free, full = _free_and_full(total_w, low_w, high_w, weight)
    held_w = np.where(full, high_w, low_w)
    left_w, whole = total_w - int(held_w[~free].sum()), int(weight[free].sum())
    exact_w = np.where(free, left_w / max(1, whole) * weight, held_w)
    # Rounded down; what that leaves is given out, 1 W each, to the first that were rounded: there are enough of them.
    powers_w = np.floor(exact_w + SLACK_W).astype(np.int64)
    powers_w[np.flatnonzero(exact_w > powers_w)[: total_w - int(powers_w.sum())]] += 1
    assert int(powers_w.sum()) == total_w
    assert bool(((low_w <= powers_w) & (powers_w <= high_w)).all())
    powers: list[int] = powers_w.tolist()
    return powers


def _free_and_full(total_w: int, low_w: "Column", high_w: "Column", weight: "Column") -> "tuple[Flags, Flags]":
    """Return which units are between their ends at the level of total_w, and which are at their high end."""
    import numpy as np

    comes, fills = low_w / weight, high_w / weight
    floats = [column.astype(np.float64) for column in (weight, low_w, high_w)]  # twice as fast as with integers

    def over_w(level_ratio: float) -> float:
        return float(np.minimum(np.maximum(floats[0] * level_ratio, floats[1]), floats[2]).sum()) - total_w

    # Some of the passes, evaluated in floats, bracket the level; only those within the bracket are gone through.
    sample = np.sort(np.concatenate((comes[::SAMPLE_EVERY], fills[::SAMPLE_EVERY])))
    some = [float("-inf"), *sample.tolist(), float("inf")]
    first = some[bisect_left(some, -FLOATS_W, 1, len(some) - 1, key=over_w) - 1]
    last = some[bisect_right(some, FLOATS_W, 1, len(some) - 1, key=over_w)]
    moves = low_w < high_w  # a unit without room never comes free
    free, full = moves & (comes <= first) & (fills > first), fills <= first
    coming = np.flatnonzero(moves & (comes > first) & (comes < last))
    filling = np.flatnonzero(moves & (fills > first) & (fills < last))
    turns = np.concatenate((comes[coming], fills[filling])).argsort(kind="stable")
    unit = np.concatenate((coming, filling))[turns]
    comes_now = turns < len(coming)
    end_w, by = np.where(comes_now, low_w[unit], high_w[unit]), weight[unit]
    # What stays at an end, and the weight that is free, before each of these passes.
    held_w = np.where(full, high_w, low_w)[~free].sum()
    fixed_w = np.concatenate(([held_w], np.where(comes_now, -end_w, end_w))).cumsum()
    free_weight = np.concatenate(([weight[free].sum()], np.where(comes_now, by, -by))).cumsum()

    def reached(place: int) -> bool:
        """Tell whether the sum at this pass is total_w or more, in Python's integers: the products pass 63 bits."""
        by_w, sum_w = int(free_weight[place]) * int(end_w[place]), int(fixed_w[place]) - total_w
        return sum_w * int(by[place]) + by_w >= 0

    passed = bisect_left(range(len(turns)), True, key=reached)
    free[unit[:passed]] = comes_now[:passed]
    full[unit[:passed]] = ~comes_now[:passed]
    return free, full
