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

    A forbidden pair is ((factor, value), (factor, value)) in the order of the factors.
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
        made = (_row(factors, names, missing, forbidden, chance) for _ in range(CANDIDATES))
        best = max((row for row in made if row), key=lambda row: len(_pairs(row, names) & missing), default=None)
        if best is None or not _pairs(best, names) & missing:
            raise ValueError(f"no row can hold {sorted(missing)[0]}: too much is forbidden")
        missing -= _pairs(best, names)
        rows.append(best)
    return rows


def _row(
    factors: Mapping[str, Sequence[str]],
    names: list[str],
    missing: set[Pair],
    forbidden: frozenset[Pair],
    chance: Random,
) -> dict[str, str] | None:
    """Return one candidate, begun with a missing pair; None where what is forbidden leaves no value for a factor."""
    start = chance.choice(sorted(missing))
    row = dict(start)
    for name in chance.sample([name for name in names if name not in row], len(names) - 2):
        free = [value for value in factors[name] if not _pairs(row | {name: value}, names) & forbidden]
        if not free:
            return None
        gains = {value: len(_pairs(row | {name: value}, names) & missing) for value in free}
        most = max(gains.values())
        row[name] = chance.choice([value for value in free if gains[value] == most])
    return {name: row[name] for name in names}


def _pairs(row: Mapping[str, str], names: Sequence[str]) -> set[Pair]:
    present = [(name, row[name]) for name in names if name in row]
    return set(combinations(present, 2))
