"""Covering arrays: few rows in which every pair of values of any two factors comes up at least once.

The greedy construction of Cohen, Dalal, Fredman and Patton ("The AETG System", IEEE TSE 23(7), 1997): each new row is
the best of a few candidates, made by taking again and again the value that covers most of the pairs still missing.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from random import Random

CANDIDATES = 20

Pair = tuple[tuple[str, str], tuple[str, str]]


def pairwise(
    factors: Mapping[str, Sequence[str]], seed: int = 1, forbidden: frozenset[Pair] = frozenset()
) -> list[dict[str, str]]:
    """Return rows (factor -> value) that cover every pair but the forbidden ones, which no row has.

    A forbidden pair is ((factor, value), (factor, value)) in the order of the factors. Raises ValueError where what is
    forbidden leaves no row for another pair.
    """
    chance, names = Random(seed), list(factors)
    missing = {
        pair
        for one, other in combinations(names, 2)
        for a in factors[one]
        for b in factors[other]
        if (pair := ((one, a), (other, b))) not in forbidden
    }
    rows: list[dict[str, str]] = []
    while missing:
        made = (_row(factors, missing, forbidden, chance) for _ in range(CANDIDATES))
        best = max(made, key=lambda row: len(_pairs(row, names) & missing))
        missing -= _pairs(best, names)
        rows.append(best)
    return rows


def _row(
    factors: Mapping[str, Sequence[str]], missing: set[Pair], forbidden: frozenset[Pair], chance: Random
) -> dict[str, str]:
    """Return one candidate, begun with a missing pair; where a value leads nowhere, the next one is taken."""
    names = list(factors)
    start = chance.choice(sorted(missing))
    order = chance.sample([name for name in names if name not in dict(start)], len(names) - 2)

    def filled(row: dict[str, str], left: list[str]) -> dict[str, str] | None:
        if not left:
            return row
        rows = [row | {left[0]: value} for value in factors[left[0]]]
        gains = [(len(_pairs(one, names) & missing), one) for one in rows if not _pairs(one, names) & forbidden]
        most = max((gain for gain, _ in gains), default=0)
        first = chance.choice([one for gain, one in gains if gain == most]) if gains else None
        others = (one for _, one in gains if one != first)
        found = (filled(one, left[1:]) for one in (first, *others) if one)
        return next((whole for whole in found if whole), None)

    row = filled(dict(start), order)
    if row is None:
        raise ValueError(f"no row can hold {start}: too much is forbidden")
    return {name: row[name] for name in names}


def _pairs(row: Mapping[str, str], names: Sequence[str]) -> set[Pair]:
    present = [(name, row[name]) for name in names if name in row]
    return set(combinations(present, 2))
