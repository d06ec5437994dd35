"""The site file that `linepack init` writes: every key with its meaning, range and default, ready to be edited."""

import textwrap
import tomllib

import msgspec

from controller.app.keys import Key, keys
from controller.app.sitefile import profile_text
from controller.model import Site

HEAD = """\
# Site file of Linepack. Edit it, then run: linepack check THIS_FILE
# Power is in whole watts and positive toward the grid, energy in whole watt-hours. What stands here with a value and is
# not required is the default. A key behind a # is left out; what holds then is told in its comment.
"""
WINDOW = {"start": "0 17 * * mon-fri", "minutes": 120, "program": "self_consumption"}
INPUT = {"name": "emergency_stop", "device": "contacts", "channel": 0, "means": "emergency_stop"}
COLUMNS = 118


def blank() -> str:
    """Return a whole site file that passes the check as it is. Its required values are those of the demo site."""
    demo = tomllib.loads(profile_text("sites/demo.toml"))
    examples: dict[str, object] = {**demo, "window": [WINDOW], "input": [INPUT]}
    return "\n".join([HEAD, *_table(Site, None, examples, "")]) + "\n"


def _table(of: type[msgspec.Struct], stands: object, examples: dict[str, object], path: str) -> list[str]:
    """Return the lines of one table, its own keys before the tables in it. stands: the struct that is the default."""
    lines: list[str] = []
    for key in keys(of):
        if key.table is None:
            lines += _line(key, getattr(stands, key.name, key.default), examples.get(key.name))
    for key in keys(of):
        if key.table is None:
            continue
        inner = f"{path}.{key.name}" if path else key.name
        example = examples.get(key.name, {})
        lines += ["", *_comment(key.meaning)]
        if key.many:
            rows = example if isinstance(example, list) else []
            blocks = [[f"[[{inner}]]", *_table(key.table, None, row, inner)] for row in rows]
            lines += _first_told(blocks) if key.required else [_out(line) for line in _first_told(blocks)]
        else:
            known = example if isinstance(example, dict) else {}
            lines += [f"[{inner}]", *_table(key.table, key.default, known, inner)]
    return lines


def _first_told(blocks: list[list[str]]) -> list[str]:
    """Return the lines of all blocks, with comments and left-out keys in the first one only."""
    rest = [["", *(line for line in block if not line.startswith("#"))] for block in blocks[1:]]
    return [line for block in [*blocks[:1], *rest] for line in block]


def _out(line: str) -> str:
    return line if line.startswith("#") else f"# {line}"


def _line(key: Key, default: object, example: object) -> list[str]:
    if key.required:
        return [*_comment(f"{key.meaning} ({key.allowed}; required)"), f"{key.name} = {toml(example)}"]
    if default is None:
        return [*_comment(f"{key.meaning} ({key.allowed})"), f"# {key.name} ="]
    return [*_comment(f"{key.meaning} ({key.allowed})"), f"{key.name} = {toml(default)}"]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, COLUMNS)]


def toml(value: object) -> str:
    """Return a text, a number or a list of them as TOML writes it; JSON writes them the same way."""
    return msgspec.json.encode(value).decode()
