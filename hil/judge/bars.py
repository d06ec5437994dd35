"""Bars: what a scenario asks of a metric, as "<= 2", ">= 0.95 and >= reference - 0.02", or the range [0.2, 2.0].

`reference` is the same metric of the follower that answers at once, `late` that of the one with a delay. A metric that
had nothing to measure holds no bar: a scenario that asks for it has to make it happen.
"""

import re
from collections.abc import Mapping
from math import inf, isnan

import msgspec
from msgspec.structs import replace

from hil.judge.metrics import METRICS
from hil.judge.recording import Recording

FORM = re.compile(
    r"\s*(?P<sign><=|>=)\s*(?P<base>reference|late)?\s*(?P<value>(?(base)(?:[-+]\s*)|-?)\d+(?:\.\d+)?)?\s*"
)
EXAMPLE = '"<= 2", ">= 0.95 and >= reference - 0.02", or [0.2, 2.0]'
BASES = ("reference", "late")

Text = str | tuple[float, float]


class Term(msgspec.Struct, frozen=True):
    """One side: at least (sign 1) or at most (sign -1) base + value. base "" is 0."""

    sign: int
    base: str
    value: float


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One metric against its bar. margin_value: to the nearest term, negative where the bar is missed."""

    metric: str
    says: str
    unit: str
    value: float | None
    reference_value: float | None  # None where the bar does not name it
    late_value: float | None
    bar: str
    held: bool
    margin_value: float | None


def terms(bar: Text) -> tuple[Term, ...]:
    """Return a bar's terms. Raises ValueError where it is none."""
    if not isinstance(bar, str):
        low, high = bar
        if not low <= high:
            raise ValueError(f"{low} to {high} is no range; write the lower end first")
        return Term(1, "", low), Term(-1, "", high)
    found = []
    for part in bar.split(" and "):
        match = FORM.fullmatch(part)
        if match is None or not (match["base"] or match["value"]):
            raise ValueError(f"{part.strip()!r} is no bar; write {EXAMPLE}")
        value = float((match["value"] or "0").replace(" ", ""))
        found.append(Term(1 if match["sign"] == ">=" else -1, match["base"] or "", value))
    return tuple(found)


def measured(run: Recording, bars: Mapping[str, Text]) -> tuple[Measured, ...]:
    """Return each metric against its bar, in the order of the bars. Raises ValueError where check finds a fault."""
    return tuple(_measured(run, name, bar) for name, bar in bars.items())


def check(bars: Mapping[str, Text]) -> list[str]:
    """Return what is wrong with bars, one line each, [] where nothing is."""
    wrong = [f"{name} is no metric; there are {', '.join(METRICS)}" for name in bars if name not in METRICS]
    for name, bar in bars.items():
        try:
            terms(bar)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    return wrong


def _measured(run: Recording, name: str, bar: Text) -> Measured:
    if name not in METRICS:
        raise ValueError(f"{name} is no metric; there are {', '.join(METRICS)}")
    row, sides = METRICS[name], terms(bar)
    value = row.of(run)
    named = {term.base for term in sides}
    followers = {"reference": run.ideal, "late": run.late}
    bases = {base: row.of(replace(run, delivered=followers[base])) for base in BASES if base in named}
    margins = [_margin(term, value, 0.0 if not term.base else bases[term.base]) for term in sides]
    known = [margin for margin in margins if margin is not None]
    margin = min(known) if len(known) == len(margins) else None
    return Measured(
        metric=name,
        says=row.says,
        unit=row.unit,
        value=value,
        reference_value=bases.get("reference"),
        late_value=bases.get("late"),
        bar=bar if isinstance(bar, str) else f"[{bar[0]:g}, {bar[1]:g}]",
        held=margin is not None and margin >= 0,
        margin_value=margin,
    )


def _margin(term: Term, value: float | None, base: float | None) -> float | None:
    """Return how far a value is on the right side of a term; None where one of both is not known."""
    if value is None or base is None or isnan(value) or isnan(base):
        return None
    if value == base == inf:
        return None
    return term.sign * (value - base - term.value)
