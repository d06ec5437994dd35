"""Decode a scenario's table into structs and name everything that is wrong with it; msgspec alone stops at the first.

The controller does the same with its site file (controller/app/decode.py), which has whole numbers only; a scenario has
numbers with a point, times, tables of any names, and keys that stand beside another table's.
"""

import math
from collections.abc import Callable, Iterator
from typing import TypeVar, cast

import msgspec
from msgspec import inspect

from controller.app.problems import Problem, meant_key, meant_value, nearest, shown
from hil.scenario.keys import Key, allowed, keys

T = TypeVar("T", bound=msgspec.Struct)
Homes = dict[str, str]
TOGETHER = "values that fit together"


def decode(
    table: dict[str, object], of: type[T], problems: list[Problem], path: str = "", top: Homes | None = None
) -> T:
    """Return the struct and append to problems. A field with a problem is its default, or None when it is required.

    Only a struct that brought no problem is what its type says. The others serve to look for further problems.
    top: where in the file a key belongs, made from the outermost struct.
    """
    top = homes(of, path) if top is None else top
    own = {key.name: key for key in keys(of) if not key.beside}
    beside = next((key for key in keys(of) if key.beside), None)
    rest = {name: value for name, value in table.items() if name not in own}
    values = {key.field: _field(table, key, _join(path, name), problems, top) for name, key in own.items()}
    if beside is not None and beside.table is not None:
        values[beside.field] = decode(rest, beside.table, problems, path, top)
    else:
        problems += [_unknown(name, value, own, path, top) for name, value in rest.items()]
    return _built(of, values, problems, path)


def homes(of: type[msgspec.Struct], path: str = "") -> Homes:
    """Return in which table of the file each key belongs, the outermost where there are several."""
    inner = [homes(key.table, path if key.beside else _join(path, key.name)) for key in keys(of) if key.table]
    own = {key.name: f"in [{path}]" if path else "above the first table" for key in keys(of) if not key.beside}
    return {name: home for found in [*inner, own] for name, home in found.items()}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _built(of: type[T], values: dict[str, object], problems: list[Problem], path: str) -> T:
    """Return the struct; one that looks at its values together and finds them wrong, or finds none, is None."""
    build: Callable[..., T] = of
    if not hasattr(of, "__post_init__"):
        return build(**values)
    if not any(row.path == path or row.path.startswith((f"{path}.", f"{path}[")) for row in problems):
        try:
            return build(**values)
        except ValueError as error:
            problems.append(Problem(path=path, read=str(error), allowed=TOGETHER))
    return cast(T, None)


def _unknown(name: str, value: object, known: dict[str, Key], path: str, top: Homes) -> Problem:
    misplaced = f"{name!r} belongs {top[name]}" if name in top else ""
    hint = misplaced or meant_key(name, value, known) or nearest(name, known)
    place = f"the keys {f'of [{path}]' if path else 'of the file'}"
    return Problem(path=_join(path, name), read=f"{shown(value)}, an unknown key", allowed=place, hint=hint)


def _field(table: dict[str, object], key: Key, path: str, problems: list[Problem], top: Homes) -> object:
    if key.name not in table:
        if not key.required:
            return key.default
        problems.append(Problem(path=path, read="nothing", allowed=key.allowed, hint=f"required: {key.meaning}"))
        return () if key.many else None
    value = table[key.name]
    if key.table is not None:
        return _tables(value, key, path, problems, top)
    found = _wrong(value, key, path) or [*_boundless(value, path)]
    if not found:
        return msgspec.convert(value, key.annotation)
    problems += found
    return None if key.required else key.default


def _tables(value: object, key: Key, path: str, problems: list[Problem], top: Homes) -> object:
    assert key.table is not None
    if not key.many:
        if isinstance(value, dict):
            return decode(value, key.table, problems, path, top)
        problems.append(Problem(path=path, read=shown(value), allowed=key.allowed, hint=key.meaning))
        return key.default
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        hint = f"write [[{key.name}]] with two brackets" if isinstance(value, dict) else key.meaning
        problems.append(Problem(path=path, read=shown(value), allowed=key.allowed, hint=hint))
        return ()
    if not key.rows_min <= len(value) <= key.rows_max:
        problems.append(Problem(path=path, read=shown(value), allowed=key.allowed, hint=key.meaning))
        return ()
    return tuple(decode(row, key.table, problems, f"{path}[{i}]", top) for i, row in enumerate(value))


def _wrong(value: object, key: Key, path: str) -> list[Problem]:
    """Return what is wrong with a plain value, a list's and a table's each by itself."""
    if _converts(value, key):
        return []
    found: list[Problem] = []
    match key.info:
        case inspect.DictType(value_type=each) if isinstance(value, dict):
            items = value.items()
            found = [_told(row, each, key, _join(path, name)) for name, row in items if not _converts({name: row}, key)]
        case inspect.VarTupleType(item_type=each) if isinstance(value, list):
            rows = enumerate(value)
            found = [_told(row, each, key, f"{path}[{i}]") for i, row in rows if not _converts([row], key)]
    return found or [_told(value, key.info, key, path)]


def _converts(value: object, key: Key) -> bool:
    try:
        msgspec.convert(value, key.annotation)
    except msgspec.ValidationError:
        return False
    return True


def _told(value: object, info: inspect.Type, key: Key, path: str) -> Problem:
    hint = ""
    if isinstance(info, inspect.LiteralType):
        hint = nearest(str(value), [str(word) for word in info.values])
    elif isinstance(info, inspect.FloatType | inspect.IntType):
        hint = meant_value(key.name, value) if isinstance(value, str) or isinstance(info, inspect.IntType) else ""
    return Problem(path=path, read=shown(value), allowed=allowed(info, key.name), hint=hint or key.meaning)


def _boundless(value: object, path: str) -> Iterator[Problem]:
    """Yield every number that is none, and infinity, wherever it stands in a value."""
    if isinstance(value, float) and not math.isfinite(value):
        yield Problem(path=path, read=shown(value), allowed="a number")
    elif isinstance(value, dict):
        for name, row in value.items():
            yield from _boundless(row, _join(path, name))
    elif isinstance(value, list):
        for i, row in enumerate(value):
            yield from _boundless(row, f"{path}[{i}]")
