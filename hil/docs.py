"""Rewrite the generated parts of the bench's page: python -m hil.docs hil/README.md (make docs)."""

import sys
from collections.abc import Callable
from pathlib import Path

from controller.app.docs import current, table
from hil.faults import VERBS
from hil.faults.catalogue import ROWS
from hil.faults.words import Verb
from hil.judge import INVARIANTS
from hil.judge.metrics import METRICS
from hil.main import COMMANDS
from hil.run.mutants import MUTANTS
from hil.scenario.keys import keys_table


def commands() -> str:
    """Return the commands of linepack-hil."""
    return table(("command", "what it does"), ((f"`linepack-hil {row.name}`", row.does) for row in COMMANDS))


def faults() -> str:
    """Return the catalogue."""
    rows = (
        (row.id, f"`{row.do}`" if row.do else "", row.title, row.must if row.do else f"not yet: {row.why}")
        for row in ROWS.values()
    )
    return table(("id", "verb", "fault", "what has to hold"), rows)


def verbs() -> str:
    """Return every verb with its parameters."""
    rows = (
        (f"`{row.name}`", " ".join(sorted(row.on)), " ".join(sorted(row.modes)), _params(row), row.says)
        for row in VERBS.values()
    )
    return table(("verb", "on", "modes", "with", "what it does"), rows)


def _params(verb: Verb) -> str:
    found = []
    for name, param in verb.params.items():
        bounds = (
            " or ".join(param.choices) if param.choices else f"{param.low:g} to {param.high:g} {param.unit}".strip()
        )
        found.append(
            f"`{name}` = {param.default}"
            + ("" if isinstance(param.default, bool | str) and not param.choices else f" ({bounds})")
        )
    return ", ".join(found)


def invariants() -> str:
    """Return what the judge watches."""
    return table(
        ("invariant", "what has to hold", "why"), ((f"`{row.name}`", row.says, row.why) for row in INVARIANTS.values())
    )


def metrics() -> str:
    """Return what a scenario can put a bar on."""
    return table(("metric", "unit", "what it is"), ((f"`{row.name}`", row.unit, row.says) for row in METRICS.values()))


def mutants() -> str:
    """Return the emulator mutants."""
    return table(("mutant", "the plant with"), ((f"`{row.name}`", row.says) for row in MUTANTS.values()))


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "scenario keys": keys_table,
    "catalogue": faults,
    "verbs": verbs,
    "invariants": invariants,
    "metrics": metrics,
    "mutants": mutants,
}

if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(current(page.read_text("utf-8"), PARTS), "utf-8")
