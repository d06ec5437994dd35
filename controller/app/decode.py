"""Decode a TOML table into a struct and name everything that is wrong with it; msgspec alone stops at the first."""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from controller.app.keys import Key, keys
from controller.app.problems import Problem, meant_key, meant_value, nearest, shown

T = TypeVar("T", bound=msgspec.Struct)
Homes = dict[str, str]


def decode(
    table: dict[str, object], of: type[T], problems: list[Problem], path: str = "", top: Homes | None = None
) -> T:
    """Return the struct and append to problems. A field with a problem is its default, or None when it is required.

    Only a struct that brought no problem is what its type says. The others serve to look for further problems.
    top: where in the whole file a key belongs, made from the outermost struct.
    """
    top = homes(of) if top is None else top
    known = {key.name: key for key in keys(of)}
    for name, value in table.items():
        if name not in known:
            problems.append(_unknown(name, value, known, path, top))
    values = {name: _field(table, key, _join(path, name), problems, top) for name, key in known.items()}
    build: Callable[..., T] = of
    return build(**values)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def homes(of: type[msgspec.Struct], path: str = "") -> Homes:
    """Return in which table of the file each key belongs, the outermost where there are several."""
    inner = [homes(key.table, _join(path, key.name)) for key in keys(of) if key.table is not None]
    own = {key.name: f"in [{path}]" if path else "above the first table" for key in keys(of)}
    return {name: home for found in [*inner, own] for name, home in found.items()}


def _unknown(name: str, value: object, known: dict[str, Key], path: str, top: Homes) -> Problem:
    misplaced = f"{name!r} belongs {top[name]}" if name in top else ""
    hint = misplaced or meant_key(name, value, known) or nearest(name, known)
    allowed = f"the keys {f'of [{path}]' if path else 'of the file'}"
    return Problem(path=_join(path, name), read=f"{shown(value)}, an unknown key", allowed=allowed, hint=hint)


def _field(table: dict[str, object], key: Key, path: str, problems: list[Problem], top: Homes) -> object:
    if key.name not in table:
        if not key.required:
            return key.default
        problems.append(Problem(path=path, read="nothing", allowed=key.allowed, hint=f"required: {key.meaning}"))
        return _blank(key)
    value = table[key.name]
    if key.table is not None:
        return _tables(value, key, path, problems, top)
    try:
        return msgspec.convert(value, key.annotation)
    except msgspec.ValidationError as error:
        place, wrong = _innermost(value, str(error))
        hint = nearest(str(wrong), key.choices) if key.choices else ""
        if "an integer" in key.allowed:
            hint = meant_value(key.name, wrong)
        problems.append(Problem(path=path + place, read=shown(wrong), allowed=key.allowed, hint=hint or key.meaning))
        return None if key.required else key.default


def _innermost(value: object, error: str) -> tuple[str, object]:
    """Return where in a list msgspec found its error, as "[1][0]", and what stands there; "" and all elsewhere."""
    found = re.search(r" - at `\$((?:\[\d+\])+)`$", error)
    place = found[1] if found else ""
    for row in re.findall(r"\d+", place):
        assert isinstance(value, list), "msgspec was there"
        value = value[int(row)]
    return place, value


def _tables(value: object, key: Key, path: str, problems: list[Problem], top: Homes) -> object:
    assert key.table is not None
    if not key.many:
        if isinstance(value, dict):
            return decode(value, key.table, problems, path, top)
        problems.append(Problem(path=path, read=shown(value), allowed=key.allowed, hint=key.meaning))
        return _blank(key)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        hint = f"write [[{key.name}]] with two brackets" if isinstance(value, dict) else key.meaning
        problems.append(Problem(path=path, read=shown(value), allowed=key.allowed, hint=hint))
        return ()
    rows = tuple(decode(row, key.table, problems, f"{path}[{i}]", top) for i, row in enumerate(value))
    if not key.rows_min <= len(rows) <= key.rows_max:
        problems.append(Problem(path=path, read=shown(value), allowed=key.allowed, hint=key.meaning))
    return rows


def _blank(key: Key) -> object:
    """Return what stands for a value that is not there; a table keeps its form so that the search can go on."""
    if key.table is None:
        return None
    return () if key.many else decode({}, key.table, [], top={})
