"""The rules of style that a program can check. tests/test_tidy.py lays them on the house and proves that each can fail.

A rule is a function of one Page (a parsed file) that yields what is wrong with it, each line naming what to do instead.
"""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

FILE_LINES = 400
FUNCTION_LINES = 60
PARAMETERS = 6
UNITS = frozenset(
    {
        "ah",
        "w",
        "va",
        "var",
        "wh",
        "kwh",
        "v",
        "a",
        "hz",
        "c",
        "s",
        "ms",
        "us",
        "ns",
        "pct",
        "bp",
        "mv",
        "ma",
        "mhz",
        "mc",
    }
    | {
        "w_per_s",
        "per_s",
        "ohm",
        "mohm",
        "kohm",
        "mwh",
        "mw",
        "f",
        "j_per_k",
        "k_per_w",
        "da",
        "pu",
        "mb",
        "bytes",
        "lines",
        "columns",
        "px",
    }
)
# Numbers without a dimension, by their last word.
COUNTS = {
    "fd",
    "count",
    "attempt",
    "seq",
    "number",
    "no",
    "version",
    "priority",
    "seed",
    "score",
    "ratio",
    "soc",
    "soh",
    "sign",
}
COUNTS |= {
    "modules",
    "frames",
    "cells",
    "samples",
    "polls",
    "cycles",
    "decisions",
    "states",
    "entries",
    "blocks",
    "ticks",
}
COUNTS |= {
    "requests",
    "replies",
    "rejected",
    "timeouts",
    "exceptions",
    "connects",
    "clients",
    "written",
    "failed",
    "counted",
}
COUNTS |= {"differing", "minutes", "most", "least", "max", "min", "run", "beats", "steps", "effects", "restarts"}
COUNTS |= {"minute", "days", "input", "turns", "workers", "missed", "attempts", "inputs", "channel", "weight", "part"}
PLACES_AND_CODES = {
    "port",
    "unit",
    "id",
    "pid",
    "address",
    "register",
    "registers",
    "function",
    "code",
    "model",
    "index",
}
PLACES_AND_CODES |= {"heading", "answer", "operation"}
PLACES_AND_CODES |= {"place", "offset", "base", "first", "length", "width", "height", "x", "y", "row", "column", "sf"}
PLACES_AND_CODES |= {
    "transaction",
    "counter",
    "invalid",
    "bit",
    "bits",
    "bitrate",
    "baud",
    "identifier",
    "mask",
    "value",
}
RAW = {
    "scale",
    "exponent",
    "factor",
    "size",
    "low",
    "high",
    "start",
    "end",
    "rows",
    "byte",
    "room",
    "one",
    "other",
    "largest",
}
PLAIN = COUNTS | PLACES_AND_CODES | RAW
# Names that a library gives to a method's parameters, and numbers whose unit differs from row to row.
OWN_NAMES: dict[str, set[str]] = {
    "controller/link/modbus.py": {"exp_devid", "exp_tid"},  # pymodbus
    "controller/link/modbus_server.py": {"sizehint", "nbytes"},  # asyncio.BufferedProtocol
    "controller/link/slcan.py": {"timeout"},  # python-can
    "hil/clock.py": {"timeout"},  # selectors
    "hil/judge/measures.py": {"worst", "allowed"},  # each invariant has a unit of its own
    "hil/faults/words.py": {"default"},  # of whatever the parameter is
    "hil/plant/told.py": {"per_h", "sigma"},  # of whatever is told
    "hil/plant/truth.py": {"soc_told", "writes"},
    "hil/scenario/signals.py": {"mean", "amplitude", "sigma", "peak"},  # of whatever is set
    "hil/scenario/recording.py": {"gain"},
    "hil/score.py": {"correlation", "delay", "precision", "total"},  # the parts of the score, 0 to 1
    "hil/regulation.py": {"reference"},  # a score
}
FROZEN_ROOMS = ("controller/model/",)
TOLD_ROOMS = tuple(f"controller/{room}/" for room in ("model", "rules", "programs", "engine", "gate", "codec", "app"))
PRINTS = ("controller/app/main.py", "hil/main.py", "hil/demo.py", "hil/show.py", "hil/bench.py", "hil/commands/")
CATCHES_ALL = ("controller/app/main.py", "hil/run/runner.py")  # the end of a process
CLOCKS = ("controller/link/clock.py",)
CLOCK = "Clock in controller/link/clock.py, or the time that is handed in"
SEEDED = "a random.Random(seed) of its own, with the seed told"
BANNED: dict[str, tuple[str, tuple[str, ...]]] = {  # call -> what instead, where it may stand
    "time.time": (CLOCK, CLOCKS),
    "time.time_ns": (CLOCK, CLOCKS),
    "time.monotonic": (CLOCK, CLOCKS),
    "time.monotonic_ns": (CLOCK, CLOCKS),
    "time.sleep": ("await asyncio.sleep, or an event to wait for", ("hil/bench.py",)),
    "datetime.datetime.now": (CLOCK, CLOCKS),
    "datetime.datetime.utcnow": (CLOCK, CLOCKS),
    "datetime.datetime.today": (CLOCK, CLOCKS),
    "datetime.date.today": (CLOCK, CLOCKS),
    "asyncio.gather": ("asyncio.TaskGroup, or return_exceptions=True: a failure must not leave siblings behind", ()),
    "asyncio.get_event_loop": ("asyncio.get_running_loop", ()),
    "threading.Thread": ("a task of the loop, or a process", ()),
    "os.system": ("asyncio.create_subprocess_exec", ()),
    "pickle.loads": ("msgspec with a type", ()),
    "json.dumps": ("msgspec.json.encode", ()),
    "json.loads": ("msgspec.json.decode with a type", ()),
    "print": ("logging, or a return value that the command line prints", PRINTS),
    "eval": ("a table", ()),
    "exec": ("a table", ()),
}
RANDOM_ALLOWED = ("random.Random",)
UNFINISHED = re.compile(r"\b(TO" + "DO|FIX" + r"ME|X{3}|HACK)\b")
PLACES = re.compile(r"(?<![\w.])/(home|root|work|tmp|Users|mnt|srv)(/|\b)")
FOREIGN = ("data_received",)  # asyncio.Protocol
FILLERS = re.compile(r"(^|_)(manager|helper|util|utils|handler|data|info)($|_)")


@dataclass(frozen=True)
class Page:
    """One source file. path is relative to the house, with slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.text)

    @cached_property
    def names(self) -> dict[str, str]:
        """What each imported name stands for, with its whole path."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for row in node.names:
                    top = row.name.partition(".")[0]
                    found[row.asname or top] = row.name if row.asname else top
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {(row.asname or row.name): f"{node.module}.{row.name}" for row in node.names}
        return found

    def called(self, node: ast.expr) -> str:
        """Return the whole dotted name of what is called, "" where it is no name."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            before = self.called(node.value)
            return f"{before}.{node.attr}" if before else ""
        return ""

    @cached_property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method."""
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        """Every class."""
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]

    @cached_property
    def comments(self) -> list[tuple[int, str]]:
        """Every comment that has its line for itself, with the line's number."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        whole = [token for token in tokens if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")]
        return [(token.start[0], token.string.lstrip("# ")) for token in whole]


def sizes(page: Page) -> Iterator[tuple[str, int, int]]:
    """Yield what is measured: its name, its size, the most it may be."""
    yield page.path, len(page.text.splitlines()), FILE_LINES
    for node in page.functions:
        where = f"{page.path}:{node.name}"
        yield f"{where} lines", (node.end_lineno or node.lineno) - node.lineno + 1, FUNCTION_LINES
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        yield f"{where} parameters", len([one for one in arguments if one.arg not in ("self", "cls")]), PARAMETERS


def numbers_end_in_their_unit(page: Page) -> Iterator[str]:
    """A number's name ends in its unit: in a struct's field and in a parameter."""
    aliases = {
        target.id
        for node in page.tree.body
        if isinstance(node, ast.Assign) and _number(node.value, set())
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for struct in page.classes:
        for node in struct.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield from _unit(page, node.target.id, node.annotation, aliases)
    for function in page.functions:
        for one in [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]:
            if one.annotation is not None:
                yield from _unit(page, one.arg, one.annotation, aliases)


def _unit(page: Page, name: str, annotation: ast.expr, aliases: set[str]) -> Iterator[str]:
    ends_in_unit = any(f"_{name}".endswith(f"_{unit}") for unit in UNITS)
    known = ends_in_unit or name.rpartition("_")[2] in PLAIN or name in OWN_NAMES.get(page.path, ())
    if not known and _number(annotation, aliases):
        yield f"{annotation.lineno}: {name} is a number: end its name in its unit or in a plain word of tests/tidy.py"


def _number(annotation: ast.expr, aliases: set[str]) -> bool:
    """Tell whether an annotation is int or float, also as one of several or with bounds."""
    match annotation:
        case ast.Name(id=name):
            return name in ("int", "float") or name in aliases
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _number(left, aliases) or _number(right, aliases)
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[first, *_])):
            return _number(first, aliases)
    return False


def words_are_frozen(page: Page) -> Iterator[str]:
    """Structs of the model are frozen, each says so itself."""
    if not page.path.startswith(FROZEN_ROOMS):
        return
    for node in page.classes:
        said = {word.arg for word in node.keywords if isinstance(word.value, ast.Constant) and word.value.value is True}
        if not {"frozen", "kw_only"} <= said:
            yield f"{node.lineno}: {node.name}: write frozen=True, kw_only=True; values of the model never change"


def banned_calls_are_absent(page: Page) -> Iterator[str]:
    """What may not be called is not called; the message names what to use."""
    for node in ast.walk(page.tree):
        if not isinstance(node, ast.Call):
            continue
        name = page.called(node.func)
        instead, where = BANNED.get(name, ("", ()))
        if name == "asyncio.gather" and any(word.arg == "return_exceptions" for word in node.keywords):
            continue
        if instead and not page.path.startswith(where or ("\0",)):
            yield f"{node.lineno}: {name}: use {instead}"
        elif name.startswith("random.") and (name not in RANDOM_ALLOWED or not node.args):
            yield f"{node.lineno}: {name}: use {SEEDED}"


def errors_are_named(page: Page) -> Iterator[str]:
    """Named exceptions only are caught; Exception once, where it ends the process."""
    for node in ast.walk(page.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        for one in caught:
            name = page.called(one) if one is not None else "everything"
            allowed = name == "Exception" and page.path in CATCHES_ALL
            if name in ("everything", "Exception", "BaseException") and not allowed:
                yield f"{node.lineno}: catches {name}: name the exceptions that can come"
    handlers = [node for node in ast.walk(page.tree) if isinstance(node, ast.ExceptHandler) and node.type is not None]
    wide = [node for node in handlers if node.type is not None and page.called(node.type) == "Exception"]
    for node in wide[1:]:
        yield f"{node.lineno}: a second except Exception: one is the most there may be"


def nothing_is_left_unfinished(page: Page) -> Iterator[str]:
    """No mark of unfinished work: it belongs into an issue."""
    for line, text in enumerate(page.text.splitlines(), 1):
        if UNFINISHED.search(text):
            yield f"{line}: unfinished: do it, or file an issue and take the mark out"


def no_code_in_comments(page: Page) -> Iterator[str]:
    """A comment is a sentence; dead code is deleted."""
    for line, text in page.comments:
        if _code(text):
            yield f"{line}: code in a comment: delete it"


def _code(text: str) -> bool:
    statement = f"{text}\n    pass" if text.endswith(":") else text
    try:
        body = ast.parse(statement).body
    except SyntaxError:
        return False
    kinds = (ast.Import, ast.ImportFrom, ast.Return, ast.Assign, ast.AugAssign, ast.If, ast.For, ast.While, ast.With)
    return any(
        isinstance(node, (*kinds, ast.FunctionDef, ast.ClassDef, ast.Raise, ast.Assert))
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await))
        for node in body
    )


def no_place_of_one_machine(page: Page) -> Iterator[str]:
    """No path that only one machine has."""
    for line, text in enumerate(page.text.splitlines(), 1):
        if PLACES.search(text):
            yield f"{line}: a path of one machine: make it relative, or a setting"


def names_say_what_the_thing_is(page: Page) -> Iterator[str]:
    """No name that could stand for anything."""
    named = [(node.name, node.lineno) for node in [*page.functions, *page.classes]]
    for name, line in [*named, (page.path.rpartition("/")[2].removesuffix(".py"), 1)]:
        if name not in FOREIGN and FILLERS.search(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()):
            yield f"{line}: {name}: say what it is at the site"


def public_things_have_a_docstring(page: Page) -> Iterator[str]:
    """Every file, public class and public function says what it is; so do public methods of the rooms that are told."""
    if not ast.get_docstring(page.tree):
        yield "1: the file does not say what it is: begin it with a docstring"
    methods = [node for struct in page.classes for node in struct.body if page.path.startswith(TOLD_ROOMS)]
    for node in [*page.tree.body, *methods]:
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith(
            "_"
        )
        if named and not ast.get_docstring(node):  # type: ignore[arg-type]
            yield f"{node.lineno}: {ast.unparse(node).splitlines()[0]} say what it returns or does"


def a_room_states_its_laws(page: Page) -> Iterator[str]:
    """A room's __init__ states its laws and how to add to it."""
    if not re.fullmatch(r"controller/\w+/__init__\.py", page.path):
        return
    text = ast.get_docstring(page.tree) or ""
    if "Laws:" not in text:
        yield '1: the room states no laws: a list under "Laws:" in its docstring'
    if not re.search(r"To add|hardly ever grow", text):
        yield '1: the room does not say how to add to it: "To add ...:" in its docstring'


RULES: tuple[Callable[[Page], Iterator[str]], ...] = (
    numbers_end_in_their_unit,
    words_are_frozen,
    banned_calls_are_absent,
    errors_are_named,
    nothing_is_left_unfinished,
    no_code_in_comments,
    no_place_of_one_machine,
    names_say_what_the_thing_is,
    public_things_have_a_docstring,
    a_room_states_its_laws,
)
