"""Results that are kept while what they were made of is the same, so that a large site need not be judged anew."""

from collections.abc import Hashable
from operator import is_
from typing import Generic, TypeVar

T = TypeVar("T")
KEPT_MAX = 1000


class Kept(Generic[T]):
    """One result for each key. A result is given back only for the very objects it was made of.

    Pure in what it does: with and without it the results are equal, for they are made by pure functions of frozen
    values. What is no object of its own (numbers, texts) must be in the key.
    """

    def __init__(self) -> None:
        self._results: dict[Hashable, tuple[tuple[object, ...], T]] = {}

    def get(self, key: Hashable, *of: object) -> T | None:
        """Return the result for key that was made of these objects, None where there is none."""
        found = self._results.get(key)
        return found[1] if found is not None and all(map(is_, of, found[0])) else None

    def keep(self, result: T, key: Hashable, *of: object) -> T:
        """Keep a result in place of the one for key, and return it. It holds the objects, so that none is reused."""
        if len(self._results) >= KEPT_MAX:
            self._results.clear()
        self._results[key] = (of, result)
        return result
