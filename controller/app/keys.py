"""What a struct's fields look like in a TOML file: the one description for checking, `linepack init` and README."""

from functools import cache

import msgspec
from msgspec import NODEFAULT, inspect

ROWS_MAX = 1000  # of a list whose struct names no bound
FORMS = {
    r"^[a-z][a-z0-9_]{0,31}$": "a name of small letters, digits and _, beginning with a letter, 32 at most",
    r"^[0-9a-zA-Z_.:\[\]-]+:\d{1,5}$": "HOST:PORT",
}


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One field. default is NODEFAULT where the key is required; table is the struct behind a table, many = [[...]]."""

    name: str
    annotation: object
    required: bool
    default: object
    meaning: str
    allowed: str
    table: type[msgspec.Struct] | None = None
    many: bool = False
    rows_min: int = 0
    rows_max: int = 0
    choices: tuple[str, ...] = ()


@cache
def keys(of: type[msgspec.Struct]) -> tuple[Key, ...]:
    """Return the keys of a struct in the order of the file."""
    return tuple(_key(row) for row in msgspec.structs.fields(of))


def _key(row: msgspec.structs.FieldInfo) -> Key:
    info = inspect.type_info(row.type)
    meaning = ""
    if isinstance(info, inspect.Metadata):
        meaning = str((info.extra_json_schema or {}).get("description", ""))
        info = info.type
    default = row.default if row.default_factory is NODEFAULT else row.default_factory()
    rows = info if isinstance(info, inspect.VarTupleType) else None
    inner = rows.item_type if rows is not None else info
    table = inner.cls if isinstance(inner, inspect.StructType) else None
    many = rows is not None and table is not None
    return Key(
        name=row.name,
        annotation=row.type,
        required=row.required,
        default=default,
        meaning=meaning,
        allowed=_allowed(info, row.name),
        table=table,
        many=many,
        rows_min=(rows.min_length or 0) if rows is not None else 0,
        rows_max=(rows.max_length or ROWS_MAX) if rows is not None else 0,
        choices=_choices(info),
    )


def _choices(info: inspect.Type) -> tuple[str, ...]:
    parts = info.types if isinstance(info, inspect.UnionType) else (info,)
    return tuple(str(word) for part in parts if isinstance(part, inspect.LiteralType) for word in part.values)


def _allowed(info: inspect.Type, name: str) -> str:
    """Return in words what a value of this type may be."""
    match info:
        case inspect.Metadata():
            return _allowed(info.type, name)
        case inspect.UnionType():
            return " or ".join(_allowed(one, name) for one in info.types if not isinstance(one, inspect.NoneType))
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "an integer" if info.ge is None else f"an integer from {info.ge} to {info.le}"
        case inspect.StrType():
            return _text_allowed(info)
        case inspect.LiteralType():
            return "one of " + ", ".join(str(value) for value in info.values)
        case inspect.StructType():
            return f"a table [{name}]"
        case inspect.VarTupleType(item_type=inspect.StructType()):
            return f"{info.min_length or 0} to {info.max_length} tables [[{name}]]"
        case inspect.VarTupleType():
            rows = "a list" if info.max_length is None else f"a list of {info.min_length or 0} to {info.max_length}"
            return f"{rows}, each {_allowed(info.item_type, name)}"
        case inspect.TupleType():
            return f"[{', '.join(_allowed(one, name) for one in info.item_types)}]"
    raise TypeError(f"{name}: no words for {info}")


def _text_allowed(info: inspect.StrType) -> str:
    if info.pattern is not None:
        return FORMS.get(info.pattern, f"text of the form {info.pattern}")
    return "text" if info.max_length is None else f"text of {info.min_length or 0} to {info.max_length} characters"
