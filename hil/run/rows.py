"""Rows of a scenario: inputs where a row begins, the last decision where it ends, strict about faults."""

from collections.abc import Iterator

from controller.model import Decision
from hil.scenario.bars import Bar, fits
from hil.scenario.words import Expect, Row

NUMBERS = ("target_w", "wish_w", "asked_w", "net_load_w", "stored_wh", "sellable_wh", "reactive_var")
AVAILABLE = ("discharge_w", "charge_w", "discharge_wh", "charge_wh", "discharge_s", "charge_s")


def mismatches(expect: Expect, decision: Decision) -> Iterator[str]:
    """Yield what of a decision is not as a row expects. A fault that stands and is not named is one."""
    found: dict[str, float | None] = {name: getattr(decision, name) for name in NUMBERS}
    found |= {"low_w": decision.low.value_w, "high_w": decision.high.value_w}
    found |= {name: getattr(decision.available, name, None) for name in AVAILABLE}
    for name, value in found.items():
        bar: Bar | None = getattr(expect, name)
        if bar is not None and not fits(bar, value):
            yield f"{name} is {value}, not {shown(bar)}"
    words = {"mode": decision.mode, "why": decision.why, "low_rule": decision.low.rule, "high_rule": decision.high.rule}
    for name, word in words.items():
        wanted = getattr(expect, name)
        if wanted is not None and word.partition("(")[0] != wanted:
            yield f"{name} is {word}, not {wanted}"
    standing = {f"{fault.fault} {fault.device}" for fault in decision.faults}
    for fault in sorted(standing - set(expect.faults)):
        yield f"{fault} stands and is not named"
    for fault in sorted(set(expect.faults) - standing):
        yield f"{fault} does not stand"


def shown(bar: Bar) -> str:
    """Return a bar as a person writes it."""
    return f"[{bar[0]:g}, {bar[1]:g}]" if isinstance(bar, tuple) else bar if isinstance(bar, str) else f"{bar:g}"


class Rows:
    """The rows under way."""

    def __init__(self, rows: tuple[Row, ...]) -> None:
        self._rows = rows
        self._place = -1
        self.wrong: list[str] = []

    def begun(self, t_s: float, decision: Decision | None) -> Iterator[Row]:
        """Yield each row that begins by t_s; the one before it ends and is compared with the last decision."""
        while self._place + 1 < len(self._rows) and self._rows[self._place + 1].t_s <= t_s + 1e-6:
            self.end(decision)
            self._place += 1
            yield self._rows[self._place]

    def end(self, decision: Decision | None) -> None:
        """Compare the row that ends now."""
        if self._place < 0:
            return
        row = self._rows[self._place]
        if row.expect is None:
            return
        if decision is None:
            self.wrong.append(f"row at {row.t_s:g} s: there was no decision")
            return
        self.wrong += [f"row at {row.t_s:g} s: {text}" for text in mismatches(row.expect, decision)]
