"""Tables as TOML. msgspec writes TOML by the package tomli_w, which the bench does not have; this is all it needs.

What stands in a table of the file is written inline, so a file has [name] and [[name]] and no deeper heads.
"""

import re
from collections.abc import Mapping
from datetime import datetime

import msgspec

BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml(table: Mapping[str, object]) -> str:
    """Return a file's text. Values are texts, finite numbers, truth values, times, lists, and tables of these."""
    plain, heads = [], []
    for name, value in table.items():
        if isinstance(value, Mapping):
            heads += ["", f"[{_key(name)}]", *_lines(value)]
        elif isinstance(value, list | tuple) and value and all(isinstance(row, Mapping) for row in value):
            for row in value:
                heads += ["", f"[[{_key(name)}]]", *_lines(row)]
        else:
            plain.append(f"{_key(name)} = {_value(value)}")
    return "\n".join([*plain, *heads]) + "\n"


def _lines(table: Mapping[str, object]) -> list[str]:
    return [f"{_key(name)} = {_value(value)}" for name, value in table.items()]


def _key(name: str) -> str:
    return name if BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    """Return a basic string: JSON's, but for the one sign that only TOML forbids."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value)
        case str():
            return _text(value)
        case datetime():
            return value.isoformat()
        case list() | tuple():
            return f"[{', '.join(_value(row) for row in value)}]"
        case Mapping():
            return f"{{{', '.join(f'{_key(name)} = {_value(row)}' for name, row in value.items())}}}"
    raise TypeError(f"{type(value).__name__} has no form in TOML")


def plain(of: msgspec.Struct) -> dict[str, object]:
    """Return the table of a struct, a site for example, without what is left out."""

    def kept(value: object) -> object:
        if isinstance(value, dict):
            return {name: kept(one) for name, one in value.items() if one is not None}
        return [kept(one) for one in value] if isinstance(value, list | tuple) else value

    table = kept(msgspec.to_builtins(of))
    assert isinstance(table, dict)
    return table
