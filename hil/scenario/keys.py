"""What a struct's fields look like in a scenario file: the one description for checking and for the table of keys."""

from functools import cache

import msgspec
from msgspec import NODEFAULT, inspect

from controller.app.docs import table
from controller.app.keys import FORMS
from hil.scenario import bars
from hil.scenario.words import Scenario

ROWS_MAX = 10_000  # of a list whose struct names no bound
TEXTS = {
    **FORMS,
    bars.FORM: '"<= number" or ">= number"',
    r"^(F\d{2,3})?$": "F01 to F100",
    r"^[a-z0-9][a-z0-9-]{0,79}$": "small letters, digits and -, 80 at most",
    r"^[\w.-]+\.csv\.gz$": "a name that ends in .csv.gz",
}


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One field. name is the file's, field the struct's. table is the struct behind a table, many = [[...]].

    beside: the keys of the table stand beside this field's own. of_each: the type of each value of a table or a list.
    """

    name: str
    field: str
    annotation: object
    required: bool
    default: object
    meaning: str
    allowed: str
    info: inspect.Type
    table: type[msgspec.Struct] | None = None
    many: bool = False
    beside: bool = False
    rows_min: int = 0
    rows_max: int = 0


@cache
def keys(of: type[msgspec.Struct]) -> tuple[Key, ...]:
    """Return the keys of a struct in the order of the file."""
    return tuple(_key(row) for row in msgspec.structs.fields(of))


def keys_table() -> str:
    """Return every key of a scenario file, one table of Markdown per table of the file."""
    return "\n\n".join(_tables(Scenario, ""))


def _tables(of: type[msgspec.Struct], title: str) -> list[str]:
    rows, inner = [], []
    for key in _shown(of):
        if key.table is not None:
            path = f"{title.strip('[]')}.{key.name}".lstrip(".")
            inner += _tables(key.table, f"[[{path}]]" if key.many else f"[{path}]")
            continue
        left_out = key.default in (None, "", ()) or key.default == {}
        default = "required" if key.required else "left out" if left_out else f"`{_written(key.default)}`"
        rows.append((f"`{key.name}`", key.meaning, key.allowed, default))
    head = f"**`{title}`** {(of.__doc__ or '').splitlines()[0]}" if title else "Above the first table:"
    return [f"{head}\n\n{table(('key', 'meaning', 'allowed', 'default'), rows)}", *inner]


def _shown(of: type[msgspec.Struct]) -> list[Key]:
    """Return the keys as they stand in the file: those that stand beside others in their place."""
    return [row for key in keys(of) for row in (_shown(key.table) if key.beside and key.table else [key])]


def _written(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _key(row: msgspec.structs.FieldInfo) -> Key:
    info, meaning, extra = _plain(inspect.type_info(row.type))
    rows = info if isinstance(info, inspect.VarTupleType) else None
    inner = rows.item_type if rows is not None else info
    struct = inner.cls if isinstance(inner, inspect.StructType) else None
    return Key(
        name=row.encode_name,
        field=row.name,
        annotation=row.type,
        required=row.required,
        default=row.default if row.default_factory is NODEFAULT else row.default_factory(),
        meaning=meaning,
        allowed=allowed(info, row.encode_name),
        info=info,
        table=struct,
        many=rows is not None and struct is not None,
        beside=bool(extra.get("beside")),
        rows_min=(rows.min_length or 0) if rows is not None else 0,
        rows_max=(rows.max_length or ROWS_MAX) if rows is not None else 0,
    )


def _plain(info: inspect.Type) -> tuple[inspect.Type, str, dict[str, object]]:
    """Return a type without its description and without the None of a key that may be left out."""
    meaning, extra = "", dict[str, object]()
    while True:
        if isinstance(info, inspect.Metadata):
            meaning = str((info.extra_json_schema or {}).get("description", meaning))
            extra |= info.extra or {}
            info = info.type
        elif isinstance(info, inspect.UnionType) and len(_some(info)) == 1:
            info = _some(info)[0]
        else:
            return info, meaning, extra


def _some(info: inspect.UnionType) -> list[inspect.Type]:
    return [row for row in info.types if not isinstance(row, inspect.NoneType)]


def allowed(info: inspect.Type, name: str) -> str:
    """Return in words what a value of this type may be."""
    match info:
        case inspect.Metadata():
            return allowed(info.type, name)
        case inspect.UnionType():
            return " or ".join(dict.fromkeys(allowed(row, name) for row in _some(info)))
        case inspect.IntType() | inspect.FloatType():
            return _number(info)
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType():
            return _text(info)
        case inspect.LiteralType():
            words = [f'"{word}"' for word in info.values]
            return words[0] if len(words) == 1 else "one of " + ", ".join(words)
        case inspect.DateTimeType():
            return "a date and time with its offset, as 2026-07-01T17:59:00-06:00"
        case inspect.StructType():
            return f"a table [{name}]"
        case inspect.VarTupleType(item_type=inspect.StructType()):
            return f"{info.min_length or 0} to {info.max_length or ROWS_MAX} tables [[{name}]]"
        case inspect.VarTupleType() | inspect.ListType():
            return "a list, each " + allowed(info.item_type, name)
        case inspect.TupleType():
            return f"[{', '.join(allowed(row, name) for row in info.item_types)}]"
        case inspect.DictType():
            return "a table, each " + allowed(info.value_type, name)
    return "any value"


def _number(info: inspect.IntType | inspect.FloatType) -> str:
    kind = "an integer" if isinstance(info, inspect.IntType) else "a number"
    words = {"from": info.ge, "above": info.gt, "to": info.le, "and below": info.lt}
    bounds = [f"{word} {bound if bound % 1 else int(bound)}" for word, bound in words.items() if bound is not None]
    return " ".join([kind, *bounds])


def _text(info: inspect.StrType) -> str:
    if info.pattern is not None:
        return TEXTS.get(info.pattern, f"text of the form {info.pattern}")
    return "text" if info.max_length is None else f"text of {info.min_length or 0} to {info.max_length} characters"
