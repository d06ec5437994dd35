"""Find the mutants of a file and build all of them into one syntax tree, each behind its number."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

SWITCH = "_mutant_"  # the module's global that holds the number of the mutant that acts, 0 = none
LARGE = 10_000  # from here on a number changes by a hundredth: one more is below what a watt or a second shows
TEXTS = {"because", "rule", "detail", "source", "why"}  # arguments and names that hold what is told to people
KEPT = TEXTS | {"strict"}  # arguments that are left alone

COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}
SIGNS: dict[type[ast.AST], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Div: "/",
    ast.Mod: "%",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.And: "and",
    ast.Or: "or",
}
Variant = tuple[str, ast.expr]


@dataclass(frozen=True)
class Mutant:
    """One wrong change. constant: the module's name that takes value, None where it stands behind the switch."""

    number: int
    file: str
    line: int
    where: str  # the function, "" = a constant of the module
    operator: str  # "< to <="
    text: str  # the line as it is
    constant: str | None = None
    value: int = 0

    @property
    def key(self) -> str:
        """What it is known by from run to run: file, function, operator and line, whatever the line's number."""
        place = f"{self.file} {self.where}".rstrip()
        return f"{place} | {self.operator} | {self.text}"


def instrument(source: str, file: str, first: int = 1) -> tuple[ast.Module, list[Mutant]]:
    """Return the tree with every mutant in it, and the mutants, numbered from first."""
    builder = _Builder(source, file, first)
    tree = builder.module(ast.parse(source, file))
    return ast.fix_missing_locations(tree), builder.mutants


class _Builder(ast.NodeTransformer):
    def __init__(self, source: str, file: str, first: int) -> None:
        self.lines, self.file, self.first = source.splitlines(), file, first
        self.mutants: list[Mutant] = []
        self.names: list[str] = []  # of the classes and functions around
        self.returns: list[str] = []  # what those functions return
        self.bound: list[dict[str, int]] = []  # how often they bind each name

    def module(self, tree: ast.Module) -> ast.Module:
        """Build the mutants into a whole file."""
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                self.visit(node)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                self._constant(node)
        return tree

    def _constant(self, node: ast.Assign | ast.AnnAssign) -> None:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        number = _fixed(node.value)
        if isinstance(target, ast.Name) and number is not None:
            for other in _beside(number):
                self._add(node, f"{number} to {other}", target.id, other)

    def _add(self, node: ast.stmt | ast.expr, operator: str, constant: str | None = None, value: int = 0) -> int:
        number = self.first + len(self.mutants)
        text, where = self.lines[node.lineno - 1].strip(), ".".join(self.names)
        self.mutants.append(Mutant(number, self.file, node.lineno, where, operator, text, constant, value))
        return number

    # -- where the visit goes

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.FunctionDef):
            return self._function(node)
        if isinstance(node, ast.ClassDef):
            return self._class(node)
        if isinstance(node, ast.stmt):
            return self._statement(node)
        if isinstance(node, ast.Lambda):
            node.body = self.visit(node.body)
            return node
        if isinstance(node, ast.JoinedStr | ast.pattern) or (isinstance(node, ast.keyword) and node.arg in KEPT):
            return node
        if isinstance(node, ast.comprehension):
            node.target, node.iter = self.visit(node.target), self.visit(node.iter)
            node.ifs = [self._condition(test) for test in node.ifs]
            return node
        if isinstance(node, ast.expr):
            return self._expression(node)
        return self.generic_visit(node)

    def _class(self, node: ast.ClassDef) -> ast.ClassDef:
        self.names.append(node.name)
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef):
                self.visit(inner)
        self.names.pop()
        return node

    def _function(self, node: ast.FunctionDef) -> ast.FunctionDef:
        bound: dict[str, int] = {}
        for inner in ast.walk(node):
            name = inner.arg if isinstance(inner, ast.arg) else inner.id if _stores(inner) else ""
            bound[name] = bound.get(name, 0) + 1
        self.names.append(node.name)
        self.returns.append("" if node.returns is None else ast.unparse(node.returns))
        self.bound.append(bound)
        node.body = [self.visit(inner) for inner in node.body]
        for around in (self.names, self.returns, self.bound):
            around.pop()
        return node

    # -- statements

    def _statement(self, node: ast.stmt) -> ast.stmt:
        match node:
            case ast.Assert() | ast.Import() | ast.ImportFrom() | ast.Global() | ast.Nonlocal() | ast.Pass():
                return node
            case ast.Expr(value=ast.Constant()):
                return node
            case ast.Return(value=ast.expr()):
                variants = list(self._returned(node.value))
                node.value = self._choice(node.value, variants, self.visit(node.value))
                return node
            case ast.If():
                test = node.test if _told(node.body + node.orelse) else self._condition(node.test)
                node.test, node.body = test, [self.visit(inner) for inner in node.body]
                node.orelse = [self.visit(inner) for inner in node.orelse]
                return node
            case ast.While():
                variants = [("condition False", _forced(node.test, False))]  # True would only never end
                node.test = self._choice(node.test, variants, self.visit(node.test))
                node.body = [self.visit(inner) for inner in node.body]
                return node
            case ast.Assign(targets=[ast.Name(id=name)]) if name in TEXTS:
                return node
            case ast.AugAssign():
                return self._augmented(node)
            case ast.AnnAssign():
                if node.value is not None:
                    node.value = self.visit(node.value)
                return node
        removable = self._removable(node)
        changed = self.generic_visit(node)
        assert isinstance(changed, ast.stmt)
        return self._unless(self._add(node, "statement removed"), changed) if removable else changed

    def _removable(self, node: ast.stmt) -> bool:
        """Tell whether the rest could still run without it: a name that is bound elsewhere, an effect, a jump."""
        match node:
            case ast.Expr() | ast.Continue() | ast.Break():
                return True
            case ast.Assign(value=value, targets=targets):
                names = [inner.id for target in targets for inner in ast.walk(target) if _stores(inner)]
                told = _text(value) or bool(TEXTS & set(names))
                return not told and all(self.bound[-1][name] > 1 for name in names)
        return False

    def _augmented(self, node: ast.AugAssign) -> ast.stmt:
        if _text(node.value):
            return node
        swapped = COMPUTED.get(type(node.op))
        raw = copy.deepcopy(node)
        node.value = self.visit(node.value)
        found: ast.stmt = self._unless(self._add(raw, "statement removed"), node)
        if swapped is not None:
            raw.op = swapped()
            number = self._add(raw, f"{SIGNS[type(node.op)]}= to {SIGNS[swapped]}=")
            found = ast.copy_location(ast.If(test=_is(number), body=[raw], orelse=[found]), node)
        return found

    def _unless(self, number: int, node: ast.stmt) -> ast.stmt:
        other = ast.Compare(left=ast.Name(id=SWITCH, ctx=ast.Load()), ops=[ast.NotEq()], comparators=[_int(number)])
        return ast.copy_location(ast.If(test=other, body=[node], orelse=[]), node)

    def _returned(self, value: ast.expr) -> Iterator[Variant]:
        returns = self.returns[-1]
        constant = isinstance(value, ast.Constant)
        if returns == "bool" and not constant and not isinstance(value, ast.Compare):
            yield "return negated", ast.UnaryOp(op=ast.Not(), operand=copy.deepcopy(value))
        elif returns.endswith("| None") and not constant:
            yield "return None", ast.Constant(value=None)
        elif returns == "str":
            word = "" if not isinstance(value, ast.Constant) or value.value else "mutant"
            yield f'return "{word}"', ast.Constant(value=word)
        elif returns == "int" and not constant:
            yield "return 0", _int(0)
        elif returns.startswith("list[") and not (isinstance(value, ast.List) and not value.elts):
            yield "return []", ast.List(elts=[], ctx=ast.Load())
        elif returns.endswith(", ...]") and not (isinstance(value, ast.Tuple) and not value.elts):
            yield "return ()", ast.Tuple(elts=[], ctx=ast.Load())

    # -- expressions

    def _condition(self, test: ast.expr) -> ast.expr:
        variants = [(f"condition {word}", _forced(test, word)) for word in (True, False)]
        return self._choice(test, variants, self.visit(test))

    def _expression(self, node: ast.expr) -> ast.expr:
        variants = list(_variants(node))
        if isinstance(node, ast.IfExp):
            told = _text(node.body) and _text(node.orelse)
            node.test = self.visit(node.test) if told else self._condition(node.test)
            node.body, node.orelse = self.visit(node.body), self.visit(node.orelse)
            return node
        changed = self.generic_visit(node)
        assert isinstance(changed, ast.expr)
        return self._choice(node, variants, changed)

    def _choice(self, node: ast.expr, variants: list[Variant], changed: ast.expr) -> ast.expr:
        """Return changed, or the variant whose number is chosen."""
        for operator, variant in variants:
            number = self._add(node, operator)
            changed = ast.copy_location(ast.IfExp(test=_is(number), body=variant, orelse=changed), node)
        return changed


def _variants(node: ast.expr) -> Iterator[Variant]:
    match node:
        case ast.Compare(ops=ops):
            for place, op in enumerate(ops):
                for other in COMPARED[type(op)]:
                    variant = copy.deepcopy(node)
                    variant.ops[place] = other()
                    yield f"{SIGNS[type(op)]} to {SIGNS[other]}", variant
        case ast.BoolOp(op=op):
            swapped = ast.Or if isinstance(op, ast.And) else ast.And
            variant = copy.deepcopy(node)
            variant.op = swapped()
            yield f"{SIGNS[type(op)]} to {SIGNS[swapped]}", variant
        case ast.UnaryOp(op=ast.Not() | ast.USub() as op, operand=operand):
            yield "not removed" if isinstance(op, ast.Not) else "minus removed", copy.deepcopy(operand)
        case ast.BinOp(op=op, left=left, right=right) if type(op) in COMPUTED and not _text(left) and not _text(right):
            swapped = COMPUTED[type(op)]
            variant = copy.deepcopy(node)
            variant.op = swapped()
            yield f"{SIGNS[type(op)]} to {SIGNS[swapped]}", variant
        case ast.Constant(value=bool(value)):
            yield f"{value} to {not value}", ast.Constant(value=not value)
        case ast.Constant(value=int(value)):
            for other in _beside(value):
                yield f"{value} to {other}", _int(other)
        case ast.Call(func=ast.Name(id=name)) if name in CALLED:
            variant = copy.deepcopy(node)
            variant.func = ast.Name(id=CALLED[name], ctx=ast.Load())
            yield f"{name} to {CALLED[name]}", variant


def _beside(number: int) -> tuple[int, int]:
    step = abs(number) // 100 if abs(number) >= LARGE else 1
    return number + step, number - step


def _fixed(node: ast.expr | None) -> int | None:
    """Return the value of a whole number that is written out, None for anything else."""
    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = _fixed(operand)
            return None if number is None else -number
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            one, other = _fixed(left), _fixed(right)
            return None if one is None or other is None else one * other
    return None


def _forced(test: ast.expr, word: bool) -> ast.expr:
    """Return word; where the test binds a name, it is still evaluated."""
    constant = ast.Constant(value=word)
    if not any(isinstance(inner, ast.NamedExpr) for inner in ast.walk(test)):
        return constant
    return ast.BoolOp(op=ast.Or() if word else ast.And(), values=[copy.deepcopy(test), constant])


def _text(node: ast.expr | None) -> bool:
    match node:
        case ast.JoinedStr() | ast.Constant(value=str()):
            return True
        case ast.IfExp(body=body, orelse=orelse):
            return _text(body) and _text(orelse)
        case ast.BinOp(left=left, right=right):
            return _text(left) or _text(right)
    return False


def _told(body: list[ast.stmt]) -> bool:
    """Tell whether statements do nothing but word a text."""
    for node in body:
        match node:
            case ast.AugAssign(value=value) if _text(value):
                continue
            case ast.Assign(value=value, targets=[ast.Name(id=name)]) if _text(value) or name in TEXTS:
                continue
            case ast.If(body=inner, orelse=other) if _told(inner + other):
                continue
        return False
    return True


def _stores(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _is(number: int) -> ast.expr:
    return ast.Compare(left=ast.Name(id=SWITCH, ctx=ast.Load()), ops=[ast.Eq()], comparators=[_int(number)])


def _int(number: int) -> ast.expr:
    return ast.Constant(value=number)
