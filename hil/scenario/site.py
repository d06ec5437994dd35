"""The site of a scenario: its file with the scenario's changes, checked as a whole by the controller's own loader."""

import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

import msgspec
from msgspec.structs import replace

from controller.app import sitefile
from controller.app.keys import Key, keys
from controller.app.problems import Problem, SiteError, nearest, shown
from controller.model import Site
from hil.scenario.toml import toml
from hil.scenario.words import NOTHING, Scenario

ALLOWED = "a file in profiles/sites without its ending, or the path of a .toml from this file"


def site(scenario: Scenario, folder: Path) -> Site:
    """Return the site that a scenario runs on. folder: where the scenario's file is.

    Raises SiteError; the paths of its problems are those of the scenario.
    """
    path = _file(scenario.site, folder)
    if path is None or not path.is_file():
        hint = nearest(scenario.site, _names())
        raise SiteError((Problem(path="site", read=shown(scenario.site), allowed=ALLOWED, hint=hint),))
    unchanged = _loaded(path, {})
    if not scenario.override:
        return unchanged
    table = tomllib.loads(path.read_text("utf-8-sig"))
    places, problems = changed(table, scenario.override)
    if problems:
        raise SiteError(tuple(problems))
    with tempfile.TemporaryDirectory() as room:
        copy = Path(room) / path.name
        copy.write_text(toml(table), "utf-8")
        return _loaded(copy, places)


def changed(table: dict[str, object], override: Mapping[str, object]) -> tuple[dict[str, str], list[Problem]]:
    """Change the table of a site file. Return where each change went, as "unit[0].watchdog_s", and what is wrong."""
    places: dict[str, str] = {}
    problems: list[Problem] = []
    for path, value in override.items():
        place = _put(table, path.split("."), value)
        if isinstance(place, Problem):
            problems.append(replace(place, path=f'override."{path}"'))
        else:
            places[place] = f'override."{path}"'
    return places, problems


def values(of: msgspec.Struct, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the path and the value of every key of a site, as "unit.house.watchdog_s": by name in its lists."""
    for name in of.__struct_fields__:
        value, inner = getattr(of, name), f"{path}{name}"
        if isinstance(value, msgspec.Struct):
            yield from values(value, f"{inner}.")
        elif isinstance(value, tuple) and all(hasattr(row, "name") for row in value):
            for row in value:
                yield from values(row, f"{inner}.{row.name}.")
        else:
            yield inner, value


def _file(name: str, folder: Path) -> Path | None:
    if name.endswith(".toml"):
        return folder / name
    return Path(str(files("profiles").joinpath("sites", f"{name}.toml"))) if name in _names() else None


def _names() -> list[str]:
    return [row.name.removesuffix(".toml") for row in files("profiles").joinpath("sites").iterdir()]


def _loaded(path: Path, places: Mapping[str, str]) -> Site:
    """Return the site of a file. What is wrong where a change went is told of the change, the rest of the file."""
    try:
        return sitefile.load(path)
    except SiteError as error:
        found, begin = error.problems, "override" if places else "site"
    named = (replace(row, path=_told(row.path, places) or f"{begin}, {path.name}: {row.path}") for row in found)
    raise SiteError(tuple(named))


def _told(path: str, places: Mapping[str, str]) -> str:
    """Return the change that a place of the site file lies in, or that lies in it, "" where there is none."""
    for place, own in places.items():
        if f"{path}.".startswith((f"{place}.", f"{place}[")) or f"{place}.".startswith((f"{path}.", f"{path}[")):
            return own
    return ""


def _put(table: dict[str, object], words: list[str], value: object) -> str | Problem:
    """Put a value into a site file's table. Return its place, or what is wrong with its path."""
    of: type[msgspec.Struct] = Site
    place = ""
    while True:
        known = {key.name: key for key in keys(of)}
        word, *words = words
        if word not in known:
            return _unknown(word, known, place)
        key, place = known[word], f"{place}.{word}".lstrip(".")
        if not words:
            return _set(table, key, value) or place
        if key.table is None:
            return Problem(path="", read=f"{'.'.join(words)!r} after {place}", allowed=f"{place} alone, it is no table")
        of, inner = key.table, table.setdefault(word, {})
        if key.many:
            name, *words = words
            rows = inner if isinstance(inner, list) else []
            found = [str(row.get("name")) for row in rows]
            if name not in found or not words:
                return _unnamed(name, found, place)
            place, inner = f"{place}[{found.index(name)}]", rows[found.index(name)]
        assert isinstance(inner, dict), "the file was loaded before"
        table = inner


def _set(table: dict[str, object], key: Key, value: object) -> Problem | None:
    if key.required and value == NOTHING:
        return Problem(path="", read=shown(value), allowed=key.allowed, hint="it cannot be left out")
    table[key.name] = value
    if value == NOTHING:
        del table[key.name]
    return None


def _unknown(word: str, known: Mapping[str, Key], place: str) -> Problem:
    allowed = f"the keys {f'of [{place}]' if place else 'of the site file'}"
    return Problem(path="", read=f"{word!r}, an unknown key", allowed=allowed, hint=nearest(word, known))


def _unnamed(name: str, found: list[str], place: str) -> Problem:
    allowed = f"{place}.NAME.KEY, where NAME is one of {', '.join(found) or 'none'}"
    return Problem(path="", read=f"{name!r} after {place}", allowed=allowed, hint=nearest(name, found))
