"""The list of mutants that are known to survive, and the judgement of a run against it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutation.points import Mutant

EQUIVALENT = "equivalent"  # how the reason of a mutant begins that no test could kill: it counts as neither
UNSAID = "?"  # an entry whose reason nobody has written yet fails
BARS_PCT = {"controller/gate/": 100, "controller/rules/": 95, "controller/engine/": 95}
HEAD = """\
# Mutants that survive, one a line: file function | operator | line | reason. The list may only shrink: a survivor that
# is not here fails, and so does an entry that is killed. A reason that begins with "equivalent" says why no test could
# tell the mutant from the original; it then counts as neither killed nor alive.
"""


@dataclass
class Listed:
    """The entries: the key of a mutant and the reason why it may live. A key may stand there more than once."""

    entries: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Listed":
        """Read the file; a missing one lists nothing."""
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        rows = [line.rsplit(" | ", 1) for line in lines if line.strip() and not line.startswith("#")]
        wrong = [row[0] for row in rows if len(row) != 2 or row[0].count(" | ") < 2]
        assert not wrong, f"{path.name}: not 'file function | operator | line | reason': {wrong[0]}"
        return cls([(key, reason.strip()) for key, reason in rows])

    def write(self, path: Path) -> None:
        """Write the file, sorted."""
        rows = sorted(f"{key} | {reason}" for key, reason in self.entries)
        path.write_text("\n".join([HEAD, *rows, ""]) if rows else HEAD, "utf-8")


@dataclass
class Judgement:
    """What a run means. counted: file -> (killed, all but the equivalent ones)."""

    counted: dict[str, tuple[int, int]]
    alive: list[Mutant]  # survivors that are not excused as equivalent
    wrong: list[str]  # why the run fails


def judge(mutants: Sequence[Mutant], survivors: Collection[int], listed: Listed) -> Judgement:
    """Judge a run by the list and the bars. Entries of files that were not run say nothing."""
    files = sorted({mutant.file for mutant in mutants})
    reasons: dict[str, list[str]] = {}
    for key, reason in listed.entries:
        reasons.setdefault(key, []).append(reason)
    wrong, alive, equal = [], [], Counter[str]()
    for mutant in mutants:
        if mutant.number not in survivors:
            continue
        reason = reasons[mutant.key].pop() if reasons.get(mutant.key) else None
        if reason is None:
            wrong.append(f"{mutant.file}:{mutant.line}: survives and is not listed: {mutant.key}")
        elif reason.startswith(UNSAID):
            wrong.append(f"{mutant.file}:{mutant.line}: is listed without a reason: {mutant.key}")
        if reason is not None and reason.startswith(EQUIVALENT):
            equal[mutant.file] += 1
        else:
            alive.append(mutant)
    for key, left in reasons.items():
        if left and key.partition(" ")[0] in files:
            wrong.append(f"is killed now, or no longer there: delete it from the list: {key}")
    counted = {}
    for file in files:
        total = sum(mutant.file == file for mutant in mutants) - equal[file]
        counted[file] = total - sum(mutant.file == file for mutant in alive), total
    return Judgement(counted, alive, wrong + _below(counted))


def _below(counted: Mapping[str, tuple[int, int]]) -> list[str]:
    found = []
    for room, bar_pct in BARS_PCT.items():
        killed, total = in_room(counted, room)
        if killed * 100 < total * bar_pct:
            found.append(f"{room}: {killed} of {total} killed, at least {bar_pct} % are wanted")
    return found


def in_room(counted: Mapping[str, tuple[int, int]], room: str) -> tuple[int, int]:
    """Return killed and all of one room."""
    rows = [row for file, row in counted.items() if file.startswith(room)]
    return sum(killed for killed, _ in rows), sum(total for _, total in rows)


def updated(mutants: Sequence[Mutant], survivors: Collection[int], listed: Listed) -> Listed:
    """Return the list without what is killed, and with what is new, whose reason is still to be written."""
    files = {mutant.file for mutant in mutants}
    wanted = Counter(mutant.key for mutant in mutants if mutant.number in survivors)
    entries = []
    for key, reason in listed.entries:
        if key.partition(" ")[0] not in files:
            entries.append((key, reason))
        elif wanted[key]:
            wanted[key] -= 1
            entries.append((key, reason))
    return Listed(entries + [(key, UNSAID) for key in wanted.elements()])
