"""Scenario files: read, judged whole, found by name, folder or tag, and written. Every problem is told at once."""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from controller.app.problems import Problem, SiteError, nearest, shown
from controller.model import Site
from hil.scenario.checks import CHECKS
from hil.scenario.decode import decode
from hil.scenario.draft import Draft, Known
from hil.scenario.keys import keys
from hil.scenario.known import known
from hil.scenario.names import names
from hil.scenario.places import ScenarioError, Wrong, placed
from hil.scenario.site import site
from hil.scenario.toml import toml
from hil.scenario.words import Scenario

__all__ = ["ScenarioError", "Wrong", "dump", "find", "load"]
HINT = 'text stands in "quotes", a number has no unit, each key stands once'


def load(path: Path, given: Known | None = None) -> Scenario:
    """Return the scenario of a file. Raises ScenarioError.

    given: what it may name of faults and judge, None = all that this bench has.
    """
    text = _text(path)
    table = _toml(path, text)
    problems: list[Problem] = []
    override = table.get("override")
    if isinstance(override, dict):
        table["override"] = dict(_flat(override))
    scenario = decode(table, Scenario, problems)
    of = _site(scenario, path.parent, problems)
    draft = Draft(
        scenario=scenario,
        name=path.stem,
        known=given or known(),
        site=of,
        names=None if of is None else names(of),
        wrong=tuple(problem.path for problem in problems),
    )
    problems += [problem for check in CHECKS for problem in check(draft)]
    if problems:
        raise ScenarioError(placed(path, text, problems))
    return scenario


def find(root: Path, words: Iterable[str] = (), given: Known | None = None) -> list[tuple[Path, Scenario]]:
    """Return the scenarios under a folder, in the order of their paths, with their files.

    words: ids, folders and tags; a scenario is wanted by any of them, and all are where there are none. Raises
    ScenarioError with what is wrong with any file under the folder, and with words that stand for nothing.
    """
    found: list[tuple[Path, Scenario]] = []
    problems: list[Wrong] = []
    for path in sorted(root.rglob("*.toml")):
        try:
            found.append((path, load(path, given)))
        except ScenarioError as error:
            problems += error.problems
    problems += _twice(found)
    called = {path: {one.id, *one.tags, *path.relative_to(root).parts[:-1]} for path, one in found}
    wanted = list(words)
    every = sorted(set().union(*called.values()))
    for word in wanted:
        if word not in every and not problems:
            hint = nearest(word, every)
            allowed = "an id, a folder or a tag of a scenario"
            problems.append(Wrong(file=str(root), path="(files)", read=shown(word), allowed=allowed, hint=hint))
    if problems:
        raise ScenarioError(tuple(problems))
    return [(path, one) for path, one in found if not wanted or called[path] & set(wanted)]


def dump(scenario: Scenario) -> str:
    """Return a scenario as the text of a file; what is as it would be without being said is left out."""
    return toml(_table(scenario))


def _table(struct: msgspec.Struct) -> dict[str, object]:
    table: dict[str, object] = {}
    for key in keys(type(struct)):
        value = getattr(struct, key.field)
        if key.beside:
            table |= _table(value)
        elif key.required or value != key.default:
            table[key.name] = _plain(value)
    return table


def _plain(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return _table(value)
    return [_plain(row) for row in value] if isinstance(value, tuple) else value


def _twice(found: list[tuple[Path, Scenario]]) -> Iterator[Wrong]:
    """Yield every id that stands in two folders."""
    paths: dict[str, list[Path]] = defaultdict(list)
    for path, scenario in found:
        paths[scenario.id].append(path)
    for name, (first, *others) in paths.items():
        for path in others:
            allowed = "an id that no other scenario has"
            yield Wrong(file=str(path), path="id", read=shown(name), allowed=allowed, hint=f"{first} has it too")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        read, allowed = f"nothing: {error.strerror}", "a file that can be read"
    except UnicodeDecodeError as error:
        read, allowed = f"byte {error.start + 1} is 0x{error.object[error.start]:02x}", "UTF-8 text"
    raise ScenarioError((Wrong(file=str(path), path="(file)", read=read, allowed=allowed),))


def _toml(path: Path, text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, _, place = str(error).rstrip(")").partition(" (at ")
    except RecursionError:
        what, place = "lists or tables nested without end", ""
    line_no = re.search(r"\d+", place.replace("end of document", str(len(text.splitlines()))))
    wrong = Wrong(file=str(path), path=place or "(file)", read=what, allowed="TOML", hint=HINT)
    raise ScenarioError((msgspec.structs.replace(wrong, line_no=int(line_no[0]) if line_no else 0),))


def _flat(table: Mapping[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the changes of [override] by their dotted path, however they were written."""
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _site(scenario: Scenario, folder: Path, problems: list[Problem]) -> Site | None:
    if any(problem.path.startswith(("site", "override")) for problem in problems):
        return None
    try:
        return site(scenario, folder)
    except SiteError as error:
        problems += error.problems
    return None
