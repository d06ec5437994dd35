"""Where a problem of a scenario stands: its file, and its line as far as a search for the key can tell.

tomllib gives no lines for values. A key in a list of tables within one line, or in a list over several lines, has the
line of the key that the list belongs to.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import msgspec

from controller.app.problems import Problem

HEAD = re.compile(r"\s*\[(\[?)([^\[\]]+)\]")
LAST = re.compile(r'(\.[^."\[\]]+|\."[^"]*"|\[\d+\]|^[^.\[]+)$')  # of a path
KEY = re.compile(r"""\s*("[^"]*"|'[^']*'|[\w.-]+)\s*=""")


class Wrong(Problem, frozen=True, kw_only=True):
    """One thing that is wrong, with its file, and its line where that can be found (0 = it cannot)."""

    file: str
    line_no: int = 0

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.file}{f':{self.line_no}' if self.line_no else ''}: {super().__str__()}"


class ScenarioError(Exception):
    """Scenarios that cannot be used. problems names everything that is wrong with them."""

    def __init__(self, problems: tuple[Wrong, ...]) -> None:
        """Keep the problems, at least one."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def placed(path: Path, text: str, problems: list[Problem]) -> tuple[Wrong, ...]:
    """Return the problems with file and line, in the order of the file."""
    lines = _lines(text)
    found = [
        Wrong(file=str(path), line_no=_line_no(row.path, lines), **msgspec.structs.asdict(row)) for row in problems
    ]
    return tuple(sorted(found, key=lambda row: row.line_no))


def _lines(text: str) -> dict[str, int]:
    """Return on which line each head and each key stands, by its path; a key within [x] or [[x]] has its line."""
    found: dict[str, int] = {}
    counted: dict[str, int] = defaultdict(int)
    head = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := HEAD.match(line):
            name = match[2].strip()
            head = f"{name}[{counted[name]}]." if match[1] else f"{name}."
            counted[name] += bool(match[1])
            found.setdefault(name, number)
            found[head[:-1]] = number
        elif match := KEY.match(line):
            found.setdefault(_path(f"{head}{match[1]}"), number)
    return found


def _path(written: str) -> str:
    """Return a path as problems have it: that of a change of the site file is one key, in quotes."""
    before, dot, after = written.partition(".")
    plain = after.replace('"', "").replace("'", "")
    return f'override."{plain}"' if before == "override" and dot else f"{before}{dot}{plain}"


def _line_no(path: str, lines: Mapping[str, int]) -> int:
    """Return the line of a path, else of what it lies in, else of what lies in it; 0 where there is none."""
    whole = path = path.partition(", ")[0]
    while path not in lines and LAST.search(path):
        path = LAST.sub("", path)
    within = [line_no for one, line_no in lines.items() if one.startswith(f"{whole}.")]
    return lines.get(path, 0) or min(within, default=0)
