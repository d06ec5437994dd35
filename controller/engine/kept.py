"""Results that are kept while what they were made of is the same, so that a large site need not be judged anew."""

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")
KEPT_MAX = 1000


class Kept(Generic[T]):
    """One result for each key. A result is given back only for what it was made of.

    Pure in what it does: with and without it the results are equal, for they are made by pure functions of frozen
    values. The same objects are found to be equal without a look into them: that is what makes it quick.
    """

    def __init__(self) -> None:
        self._results: dict[Hashable, tuple[tuple[object, ...], T]] = {}

    def get(self, key: Hashable, *of: object) -> T | None:
        """Return the result for key that was made of these values, None where there is none."""
        found = self._results.get(key)
        return found[1] if found is not None and found[0] == of else None

    def keep(self, result: T, key: Hashable, *of: object) -> T:
        """Keep a result in place of the one for key, and return it."""
        if len(self._results) >= KEPT_MAX:
            self._results.clear()
        self._results[key] = (of, result)
        return result
