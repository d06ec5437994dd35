"""Rewrite the generated parts of README: python -m controller.app.docs README.md (make docs).

A generated part stands between `<!-- NAME -->` and `<!-- /NAME -->`; NAME is a row of PARTS.
"""

import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

import msgspec

from controller import programs, rules
from controller.app.blank import toml
from controller.app.keys import keys
from controller.app.main import COMMANDS
from controller.model import FAULTS, RESPONSES, Fault, Site


def commands() -> str:
    """Return the commands of linepack."""
    rows = ((f"`linepack {command.usage}`", command.does) for command in COMMANDS)
    return table(("command", "what it does"), rows)


def site_keys() -> str:
    """Return every key of the site file, one table of Markdown per table of the file."""
    return "\n\n".join(_keys(Site, "", None))


def _keys(of: type[msgspec.Struct], title: str, stands: object) -> list[str]:
    own, inner = [], []
    for key in keys(of):
        default = getattr(stands, key.name, key.default)
        path = f"{title.strip('[]')}.{key.name}".lstrip(".")
        if key.table is not None:
            inner += _keys(key.table, f"[[{path}]]" if key.many else f"[{path}]", None if key.many else default)
            continue
        shown = "required" if key.required else "left out" if default is None else f"`{toml(default)}`"
        own.append((f"`{key.name}`", key.meaning, key.allowed, shown))
    head = f"**`{title}`** {of.__doc__}" if title else "Above the first table:"
    return [f"{head}\n\n{table(('key', 'meaning', 'allowed', 'default'), own)}", *inner]


def faults() -> str:
    """Return every fault with what it means, what the controller does and what to check."""
    rows = ((f"`{row.name}`", row.means, _response(row), row.check) for row in FAULTS.values())
    return table(("fault", "meaning", "the controller", "what to check"), rows)


def _response(row: Fault) -> str:
    ends = f"{row.clears_after_ms / 1000:g} s after its cause" if row.clears_after_ms else "with its cause"
    return f"{RESPONSES[row.response]}; ends {'when a person clears it' if row.latches else ends}"


def rules_and_programs() -> str:
    """Return the rules in the order of their classes and the programs, each by the first line of its file."""
    own = [(priority, 0, sys.modules[rule.__module__]) for priority, rule in rules.UNIT_RULES]
    of_site = [
        (priority, 1, sys.modules[rule.__module__]) for priority, row in enumerate(rules.SITE_RULES) for rule in row
    ]
    order = [module for _, _, module in sorted([*own, *of_site], key=lambda row: row[:2])]
    rows = [_row(module) for module in [*order, *_modules(programs)]]
    return table(("rule or program", "class", "what it does"), rows)


def _modules(room: ModuleType) -> list[ModuleType]:
    return [import_module(f"{room.__name__}.{found.name}") for found in pkgutil.iter_modules(room.__path__)]


def _row(module: ModuleType) -> tuple[str, str, str]:
    first = (module.__doc__ or "").splitlines()[0]
    head, _, does = first.partition(": ")
    return f"`{module.__name__.rpartition('.')[2]}`", head.removeprefix("Class "), does


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "site keys": site_keys,
    "rules": rules_and_programs,
    "faults": faults,
}


def current(text: str, parts: Mapping[str, Callable[[], str]] = PARTS) -> str:
    """Return the page with its generated parts made anew. Raises ValueError where a part's marks are missing."""
    for name, part in parts.items():
        head, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, tail = rest.partition(f"<!-- /{name} -->")
        if not begin or not end:
            raise ValueError(f"the page has no marks <!-- {name} --> and <!-- /{name} -->")
        text = f"{head}{begin}\n{part()}\n\n{end}{tail}"
    return text


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(current(page.read_text("utf-8")), "utf-8")
