"""Expressions: what a step waits for and what must always hold, in Python's grammar and with none of its power.

    abs(inverter.ac_w - 3000) < 60 and not fault("battery_stale", "battery")

Laws:
- Names, numbers, texts, + - * / %, comparisons, and, or, not, abs, min, max, fault(...) and parentheses. Nothing else:
  a text is parsed, never run; each piece of it becomes a function of this file.
- A name is a row of a table that is handed in. Unknown names, numbers where a statement belongs and words that a value
  can never be are found when the text is compiled, all at once.
- What cannot be told (None, not a number, a division by zero) makes a comparison neither true nor false, and so does
  `not` of it. At the end it does not hold, and it is counted.
"""

import ast
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, Literal

import msgspec

from controller.app.problems import Problem, nearest, shown
from hil.scenario.logic import Told, V, compared, constant, either, every, least, most, negated, reckoned, untold

LENGTH_MOST = 1000  # characters
DEPTH_MOST = 40  # parentheses and operators within one another
NUMBER_MOST = 1e12
EXAMPLE = "a statement that is true or false, such as abs(poi_w - 3000) < 60"
ASSIGNED = re.compile(r"(?<![=<>!:])=(?!=)")
HINTS = {"&&": "write `and`", "||": "write `or`", "!": "write `not`"}

Kind = Literal["number", "text", "statement"]

ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
FUNCTIONS: dict[str, Callable[..., float]] = {"abs": abs, "min": least, "max": most}
CALLS = {"abs": (1, 1), "min": (2, 10), "max": (2, 10), "fault": (2, 2)}  # fewest and most arguments


class Name(msgspec.Struct, Generic[V], frozen=True):
    """One name: what kind of value it is, how it is read, and for a text what it can be (nothing = any text)."""

    kind: Kind
    read: Told[V]
    words: frozenset[str] = frozenset()


class Names(msgspec.Struct, Generic[V], frozen=True):
    """All that an expression may say. stands(view, fault, who) tells whether a fault stands, None = cannot be told."""

    values: Mapping[str, Name[V]]
    stands: Callable[[V, str, str], bool | None]
    faults: frozenset[str]
    bearers: frozenset[str]  # what a fault can stand at


class ExpressionError(Exception):
    """A text that is no expression. problems: everything that is wrong with it; their paths are columns."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        """Keep the problems, at least one."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class Expression(Generic[V]):
    """A compiled expression. untold_count is how often it could not be told."""

    __slots__ = ("_told", "text", "untold_count")

    def __init__(self, text: str, told: Told[V]) -> None:
        """Made by compiled."""
        self.text, self._told, self.untold_count = text, told, 0

    def holds(self, view: V) -> bool:
        """Tell whether it is true of a view. What cannot be told does not hold, and is counted."""
        told = self._told(view)
        if told is None:
            self.untold_count += 1
        return told is True


def compiled(text: str, names: Names[V]) -> Expression[V]:
    """Return the expression of a text. Raises ExpressionError with everything that is wrong with it.

    Columns are those of the text without the blanks before it.
    """
    tree = _parsed(text.strip())
    compiler = _Compiler(names)
    part = compiler.part(tree)
    if part.kind in ("number", "text"):
        compiler.wrong(tree, f"a {part.kind}", EXAMPLE)
    if compiler.problems:
        raise ExpressionError(tuple(compiler.problems))
    return Expression(text, part.told)


def _parsed(text: str) -> ast.expr:
    if not text or len(text) > LENGTH_MOST:
        read = f"a text of {len(text)} characters" if text else "an empty text"
        raise ExpressionError((Problem(path="column 1", read=read, allowed=EXAMPLE),))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        what, column = error.msg, error.offset or len(text) + 1
    except (ValueError, RecursionError, MemoryError) as error:
        what, column = str(error) or "nested too deep", 1
    hint = next((hint for sign, hint in HINTS.items() if sign in text.replace("!=", "")), what)
    if ASSIGNED.search(text):
        hint = "write == to compare"
    raise ExpressionError((Problem(path=f"column {column}", read=shown(text), allowed=EXAMPLE, hint=hint),))


class _Part(msgspec.Struct, Generic[V], frozen=True):
    """A compiled piece. kind None: it is wrong and has been told; text is set where it is a text written out."""

    kind: Kind | None
    told: Told[V]
    words: frozenset[str] = frozenset()
    text: str | None = None


class _Compiler(Generic[V]):
    """Turns the pieces of a parsed text into functions and gathers what is wrong with them."""

    def __init__(self, names: Names[V]) -> None:
        self._names = names
        self._depth = 0
        self.problems: list[Problem] = []

    def wrong(self, node: ast.expr, read: str, allowed: str, hint: str = "") -> _Part[V]:
        """Note a problem and return what stands in the piece's place."""
        place = f"column {node.col_offset + 1}"
        self.problems.append(Problem(path=place, read=read, allowed=allowed, hint=hint))
        return _Part(None, untold)

    def part(self, node: ast.expr) -> _Part[V]:
        """Return a piece compiled, with all that it is made of."""
        if self._depth > DEPTH_MOST:
            return self.wrong(node, f"more than {DEPTH_MOST} pieces within one another", "less of them")
        self._depth += 1
        found = self._part(node)
        self._depth -= 1
        return found

    def _part(self, node: ast.expr) -> _Part[V]:
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp():
                return self._arithmetic(node)
            case ast.BoolOp():
                parts = [self._of("statement", row, "statements on both sides") for row in node.values]
                return _Part("statement", (every if isinstance(node.op, ast.And) else either)(*parts))
            case ast.Compare():
                return self._compare(node)
            case ast.Call():
                return self._call(node)
        allowed = "names, numbers, texts, + - * / %, comparisons, and, or, not, abs, min, max, fault"
        return self.wrong(node, _source(node), allowed)

    def _of(self, kind: Kind, node: ast.expr, allowed: str) -> Told[V]:
        """Return a piece that has to be of one kind."""
        part = self.part(node)
        if part.kind not in (None, kind):
            self.wrong(node, f"{_source(node)}, which is a {part.kind}", allowed)
        return part.told

    def _constant(self, node: ast.Constant) -> _Part[V]:
        value = node.value
        if isinstance(value, str):
            return _Part("text", constant(value), text=value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            if abs(value) <= NUMBER_MOST:
                return _Part("number", constant(float(value)))
            return self.wrong(node, "a number without measure", f"numbers up to {NUMBER_MOST:g}")
        return self.wrong(node, _source(node), "numbers and texts", "write the statement itself, or `not` before it")

    def _name(self, node: ast.Name | ast.Attribute) -> _Part[V]:
        name = _dotted(node)
        if name is None:
            return self.wrong(node, _source(node), "names, as poi_w or battery.soc")
        found = self._names.values.get(name)
        if found is not None:
            return _Part(found.kind, found.read, words=found.words)
        hint = f"write {name}(...)" if name in CALLS else _near(name, self._names.values)
        return self.wrong(
            node, f"{shown(name).removesuffix(' (text)')}, an unknown name", _choices(name, self._names.values), hint
        )

    def _unary(self, node: ast.UnaryOp) -> _Part[V]:
        if isinstance(node.op, ast.Not):
            return _Part("statement", negated(self._of("statement", node.operand, "not before a statement")))
        if isinstance(node.op, ast.Invert):
            return self.wrong(node, _source(node), "not before a statement, - before a number")
        number = self._of("number", node.operand, "a sign before a number")
        return _Part("number", reckoned(operator.neg, number) if isinstance(node.op, ast.USub) else number)

    def _arithmetic(self, node: ast.BinOp) -> _Part[V]:
        reckon = ARITHMETIC.get(type(node.op))
        if reckon is None:
            return self.wrong(node, _source(node), "+ - * / %", "write a * a" if isinstance(node.op, ast.Pow) else "")
        left, right = (self._of("number", side, "numbers on both sides") for side in (node.left, node.right))
        return _Part("number", reckoned(reckon, left, right))

    def _compare(self, node: ast.Compare) -> _Part[V]:
        sides = [self.part(side) for side in (node.left, *node.comparators)]
        pairs: list[Told[V]] = []
        for i, op in enumerate(node.ops):
            left, right, compare = sides[i], sides[i + 1], COMPARISONS.get(type(op))
            if compare is None:
                self.wrong(node, _source(node), "< <= > >= == !=", "compare one by one with == and join with `or`")
                continue
            self._comparable(node, left, right, isinstance(op, ast.Eq | ast.NotEq))
            pairs.append(compared(compare, left.told, right.told))
        return _Part("statement", pairs[0] if len(pairs) == 1 else every(*pairs))

    def _comparable(self, node: ast.Compare, left: _Part[V], right: _Part[V], equality: bool) -> None:
        kinds = {left.kind, right.kind}
        if None in kinds or kinds == {"number"}:
            return
        if kinds != {"text"} or not equality:
            allowed = "two numbers, or two texts with == or !="
            hint = "write the statement itself, or `not` before it" if kinds == {"statement"} else ""
            self.wrong(node, f"{_source(node)}, a {left.kind} and a {right.kind}", allowed, hint)
        for one, other in ((left, right), (right, left)):
            if one.text is not None and other.words and one.text not in other.words:
                allowed = f"one of {', '.join(sorted(other.words))}"
                self.wrong(node, shown(one.text), allowed, _near(one.text, other.words))

    def _call(self, node: ast.Call) -> _Part[V]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in CALLS:
            return self.wrong(node, f"{_source(node.func)}(...)", ", ".join(CALLS), _near(name, CALLS))
        fewest, all_of = CALLS[name]
        if node.keywords or not fewest <= len(node.args) <= all_of:
            allowed = f"{name} of {fewest if fewest == all_of else f'{fewest} to {all_of}'}, with commas between"
            return self.wrong(node, _source(node), allowed)
        if name == "fault":
            return self._fault(node)
        numbers = [self._of("number", row, "numbers") for row in node.args]
        return _Part("number", reckoned(FUNCTIONS[name], *numbers))

    def _fault(self, node: ast.Call) -> _Part[V]:
        words = [row.value if isinstance(row, ast.Constant) else None for row in node.args]
        for row, word, known in zip(node.args, words, (self._names.faults, self._names.bearers), strict=True):
            if not isinstance(word, str):
                self.wrong(row, _source(row), 'two texts, as fault("battery_stale", "battery")')
            elif word not in known:
                self.wrong(row, shown(word), ", ".join(sorted(known)), _near(word, known))
        fault, who, stands = str(words[0]), str(words[1]), self._names.stands
        return _Part("statement", lambda view: stands(view, fault, who))


def _dotted(node: ast.expr) -> str | None:
    """Return "a.b.c" of a name with dots, None where something else stands before a dot."""
    words: list[str] = []
    while isinstance(node, ast.Attribute):
        words.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(words)]) if isinstance(node, ast.Name) else None


def _source(node: ast.expr) -> str:
    """Return a piece as it is written; what is nested too deep to be written again is told so."""
    try:
        return shown(ast.unparse(node)).removesuffix(" (text)")
    except RecursionError:
        return "a piece nested without end"


def _near(name: str, known: Iterable[str]) -> str:
    """Return the nearest known word as a hint, "" where none is near: all of them are told as what is allowed."""
    hint = nearest(name, known)
    return hint if hint.startswith("did") else ""


def _choices(name: str, known: Iterable[str]) -> str:
    """Return the known names beside an unknown one: those of its device or table, else all, tables by their head."""
    head = name
    while head:
        head = head.rpartition(".")[0]
        beside = [row for row in known if not head or row.startswith(f"{head}.")]
        if beside:
            break
    skipped = len(head) + 1 if head else 0
    cut = [(row[:skipped], *row[skipped:].partition(".")) for row in beside]
    return "one of " + ", ".join(sorted({f"{begin}{word}{'...' if dot else ''}" for begin, word, dot, _ in cut}))
