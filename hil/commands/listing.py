"""linepack-hil list: what scenarios, faults, invariants, metrics and mutants there are."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import msgspec
from rich.table import Table

from hil.commands import HELD, NO_SETUP
from hil.commands.run import SCENARIOS, told_on
from hil.faults import VERBS
from hil.faults.catalogue import ROWS
from hil.judge import INVARIANTS
from hil.judge.metrics import METRICS
from hil.run.mutants import MUTANTS
from hil.scenario.load import ScenarioError, find

KINDS = ("scenarios", "faults", "verbs", "invariants", "metrics", "mutants")


def arguments(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("kind", nargs="?", choices=KINDS, default="scenarios")
    parser.add_argument("words", nargs="*", metavar="WHAT", help="of scenarios: ids, folders, tags; none = all")
    parser.add_argument("--root", type=Path, default=SCENARIOS, help="where the scenarios are")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(chosen: Namespace) -> int:
    """List what was asked for."""
    try:
        head, rows = _scenarios(chosen) if chosen.kind == "scenarios" else _TABLES[chosen.kind]()
    except ScenarioError as error:
        print(error, file=sys.stderr)
        return NO_SETUP
    if chosen.json:
        for row in rows:
            print(msgspec.json.encode(dict(zip(head, row, strict=True))).decode())
        return HELD
    table = Table(box=None, pad_edge=False)
    table.add_column(head[0], no_wrap=True)  # to be found by
    for name in head[1:]:
        table.add_column(name)
    for row in rows:
        table.add_row(*row)
    told_on(as_json=False).print(table, highlight=False)
    return HELD


Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]


def _scenarios(chosen: Namespace) -> Rows:
    found = find(chosen.root, chosen.words)
    rows: list[tuple[str, ...]] = [(one.id, " ".join(one.tags), " ".join(one.modes), one.title) for _, one in found]
    return ("id", "tags", "modes", "title"), rows


def _faults() -> Rows:
    return ("id", "verb", "title", "must"), [
        (row.id, row.do or "not yet", row.title, row.must if row.do else row.why) for row in ROWS.values()
    ]


def _verbs() -> Rows:
    return ("verb", "on", "modes", "parameters", "says"), [
        (
            verb.name,
            " ".join(sorted(verb.on)),
            " ".join(sorted(verb.modes)),
            " ".join(f"{name}={param.default}" for name, param in verb.params.items()),
            verb.says,
        )
        for verb in VERBS.values()
    ]


def _invariants() -> Rows:
    return ("invariant", "unit", "says", "why"), [
        (row.name, row.unit, row.says, row.why) for row in INVARIANTS.values()
    ]


def _metrics() -> Rows:
    return ("metric", "unit", "says"), [(row.name, row.unit, row.says) for row in METRICS.values()]


def _mutants() -> Rows:
    return ("mutant", "says"), [(row.name, row.says) for row in MUTANTS.values()]


_TABLES = {
    "faults": _faults,
    "verbs": _verbs,
    "invariants": _invariants,
    "metrics": _metrics,
    "mutants": _mutants,
}
