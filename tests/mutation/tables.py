"""Which files are mutated and which tests look at them."""

from collections.abc import Sequence
from pathlib import Path

COMMON = ("test_engine", "test_invariants", "test_golden")
TESTS: dict[str, tuple[str, ...]] = {  # room -> the test files that may see a change in it, without test_ of the file
    "gate": ("test_gate", "test_invariants"),
    "rules": (
        "test_rules",
        "test_rules_equipment",
        "test_rules_interconnection",
        "test_rules_energy",
        "test_proofs",
        "test_peers",
        *COMMON,
    ),
    "engine": (
        "test_units",
        "test_envelopes",
        "test_ramp",
        "test_load",
        "test_energy",
        "test_availability",
        "test_batteries_together",
        "test_counterfactual",
        "test_phases",
        "test_commit",
        "test_share",
        "test_bank",
        "test_reactive",
        "test_watch",
        "test_trust",
        "test_proofs",
        "test_peers",
        "test_rules_interconnection",
        "test_rules_energy",
        *COMMON,
    ),
    "programs": ("test_programs", "test_rules", *COMMON),
    "model": ("test_sitefile", *COMMON),
}


def files_of(root: Path, rooms: Sequence[str]) -> list[str]:
    """Return the files of the rooms."""
    return [
        path.relative_to(root).as_posix()
        for room in rooms
        for path in sorted((root / "controller" / room).glob("*.py"))
    ]


def tests_of(root: Path, files: Sequence[str]) -> list[str]:
    """Return the test files for these files, as far as they exist, each once."""
    wanted: list[str] = []
    for file in files:
        path = Path(file)
        wanted += [f"test_{path.stem}", *TESTS.get(path.parent.name, COMMON)]
    rows = dict.fromkeys(f"tests/{name}.py" for name in wanted)
    return [row for row in rows if (root / row).exists()]
