"""A problem in a site file as it is told, and the guesses at what was meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from fractions import Fraction
from math import floor

import msgspec

# How many of the key's own unit one of the written unit is.
SCALES: dict[str, dict[str, Fraction]] = {
    "w": {"w": Fraction(1), "kw": Fraction(1000), "mw": Fraction(1_000_000)},
    "wh": {"wh": Fraction(1), "kwh": Fraction(1000), "mwh": Fraction(1_000_000)},
    "w_per_s": {"w_per_s": Fraction(1), "w/s": Fraction(1), "kw/s": Fraction(1000), "w_per_min": Fraction(1, 60)},
    "ms": {"ms": Fraction(1), "s": Fraction(1000), "min": Fraction(60_000)},
    "s": {"ms": Fraction(1, 1000), "s": Fraction(1), "min": Fraction(60), "h": Fraction(3600)},
    "pct": {"%": Fraction(1), "pct": Fraction(1)},
    "mb": {"mb": Fraction(1), "gb": Fraction(1000)},
    "minutes": {"min": Fraction(1), "minutes": Fraction(1), "h": Fraction(60)},
}
AMOUNT = re.compile(r"\s*([-+]?\d{1,15}(?:[.,]\d{1,9})?)\s*([a-zA-Z/%_]*)\s*")
SHOWN_MOST = 60  # characters of a value that are repeated to the reader


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong: where in the file, what was read, what is allowed, what may have been meant."""

    path: str
    read: str
    allowed: str
    hint: str = ""

    def __str__(self) -> str:
        """Return one line."""
        line = f"{self.path}: read {self.read}, allowed: {self.allowed}"
        return f"{line}; {self.hint}" if self.hint else line


class SiteError(Exception):
    """A site file or a profile that cannot be used. problems names everything that is wrong with it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        """Keep the problems, at least one."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def shown(value: object) -> str:
    """Return a value as a person would tell it, with its kind."""
    match value:
        case bool():
            return f"{str(value).lower()} (true or false)"
        case int():
            return f"{_short(str(value))} (integer)"
        case float():
            return f"{value} (number with a decimal point)"
        case str():
            return f"{_short(repr(value))} (text)"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "a table"
    return f"{_short(str(value))} ({type(value).__name__})"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_MOST else text[:SHOWN_MOST] + "..."


def meant_value(key: str, value: object) -> str:
    """Return a hint for a value of the wrong kind: what to write for 5 kW, "5000" or 5000.0 in whole watts."""
    if isinstance(value, bool) or not isinstance(value, str | float):
        return ""
    unit = _unit(key)
    found = AMOUNT.fullmatch(str(value))
    if found is None or (unit is None and found[2]):
        return ""
    factor = SCALES.get(unit or "", {}).get(found[2].lower(), None if found[2] else Fraction(1))
    if factor is None:
        return ""
    amount = Fraction(found[1].replace(",", ".")) * factor
    if amount.denominator != 1:
        return f"whole numbers only: write {floor(amount)} or {floor(amount) + 1}"
    return f"write {amount}"


def meant_key(name: str, value: object, known: Iterable[str]) -> str:
    """Return a hint for an unknown key: the nearest known one, with its value in that key's unit."""
    names = list(known)
    for candidate in names:
        unit = _unit(candidate)
        stem = candidate.removesuffix(f"_{unit}")
        if unit is None or not name.startswith(f"{stem}_"):
            continue
        factor = SCALES[unit].get(name.removeprefix(f"{stem}_").lower())
        if factor is not None:
            return f"did you mean {candidate!r}? {_rescaled(value, factor)}".rstrip()
    near = get_close_matches(name, names, 1, 0.6)
    return f"did you mean {near[0]!r}?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known word, else all of them when they are few."""
    words = sorted(known)
    near = get_close_matches(name, words, 1, 0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(words)}" if 0 < len(words) <= 12 else ""


def _rescaled(value: object, factor: Fraction) -> str:
    found = AMOUNT.fullmatch(str(value))
    amount = Fraction(found[1].replace(",", ".")) * factor if found else Fraction(1, 2)
    return f"write {amount}" if amount.denominator == 1 else ""


def _unit(key: str) -> str | None:
    """Return the unit a key ends in, the longest that fits, None where it has none."""
    return max((unit for unit in SCALES if f"_{key}".endswith(f"_{unit}")), key=len, default=None)
