"""Expressions: a small language that sees names only, tells what is wrong with a text, and never guesses."""

import math
import sys
import unicodedata  # noqa: F401 - the parser imports it at the first letter that is not ASCII
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hil.scenario.expression import DEPTH_MOST, LENGTH_MOST, Expression, ExpressionError, Name, Names, compiled

NAMES: Names[Any] = Names(
    values={
        "poi_w": Name("number", attrgetter("poi_w")),
        "load_w": Name("number", attrgetter("load_w")),
        "battery.soc": Name("number", attrgetter("soc")),
        "battery.closed": Name("statement", attrgetter("closed")),
        "decided.why": Name("text", attrgetter("why"), frozenset(("wish", "ramp", "poi_limit"))),
        "site.name": Name("text", lambda _view: "demo"),
    },
    stands=lambda view, fault, who: None if view.faults is None else (fault, who) in view.faults,
    faults=frozenset(("battery_stale", "meter_stale")),
    bearers=frozenset(("battery", "meter")),
)


def seen(**changed: object) -> SimpleNamespace:
    """Return a view: 4000 W into the grid, load 1000 W, half full, contactor closed, no fault."""
    plain = {"poi_w": 4000.0, "load_w": 1000.0, "soc": 0.5, "closed": True, "why": "wish", "faults": frozenset()}
    return SimpleNamespace(**plain | changed)


def holds(text: str, **changed: object) -> bool:
    return compiled(text, NAMES).holds(seen(**changed))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("poi_w == 4000", True),
        ("poi_w != 4000", False),
        ("poi_w < 4000", False),
        ("poi_w <= 4000", True),
        ("poi_w > 4000", False),
        ("poi_w >= 4000", True),
        ("3000 < poi_w < 5000", True),
        ("3000 < poi_w < 4000", False),
        ("poi_w + load_w * 2 == 6000", True),
        ("(poi_w + load_w) * 2 == 10000", True),
        ("poi_w - load_w - 500 == 2500", True),
        ("poi_w / 8 == 500", True),
        ("poi_w % 1500 == 1000", True),
        ("-poi_w < +load_w", True),
        ("abs(load_w - poi_w) == 3000", True),
        ("min(poi_w, load_w, 2000) == 1000", True),
        ("max(poi_w, load_w, 2000) == 4000", True),
        ("battery.closed", True),
        ("not battery.closed", False),
        ("battery.closed and poi_w < 0", False),
        ("battery.closed or poi_w < 0", True),
        ("not (poi_w < 0 or load_w < 0)", True),
        ("poi_w > 0 and load_w > 0 and battery.soc > 0.4", True),
        ('decided.why == "wish"', True),
        ("'ramp' == decided.why", False),
        ('decided.why != "ramp"', True),
        ('site.name == "anything at all"', False),
        ('fault("battery_stale", "battery")', False),
        ('not fault("battery_stale", "battery")', True),
        ("  poi_w ==\t4000 ", True),
        ("(poi_w\n == 4000)", True),
    ],
)
def test_expression_holds(text: str, expected: bool) -> None:
    expression = compiled(text, NAMES)
    assert expression.holds(seen()) is expected
    assert expression.untold_count == 0


def test_fault_stands_where_it_is_and_nowhere_else() -> None:
    stand = frozenset({("battery_stale", "battery")})
    assert holds('fault("battery_stale", "battery")', faults=stand)
    assert not holds('fault("meter_stale", "meter")', faults=stand)
    assert not holds('fault("battery_stale", "meter")', faults=stand)


UNKNOWN = (None, math.nan)


@pytest.mark.parametrize("nothing", UNKNOWN)
@pytest.mark.parametrize(
    "text",
    [
        "poi_w < 5000",
        "poi_w != 4000",
        "poi_w == poi_w",
        "not poi_w < 5000",
        "not (not poi_w < 5000)",
        "abs(poi_w) < 5000",
        "poi_w + 1 < 5000",
        "-poi_w < 5000",
        "min(1, poi_w) < 5000",
        "max(poi_w, 1) > 0",
        "0 < poi_w < 5000",
        "poi_w < 5000 and load_w == 1000",
        "poi_w < 5000 or load_w == 0",
    ],
)
def test_what_cannot_be_told_does_not_hold_and_is_counted(text: str, nothing: float | None) -> None:
    expression = compiled(text, NAMES)
    assert not expression.holds(seen(poi_w=nothing))
    assert not expression.holds(seen(poi_w=nothing))
    assert expression.untold_count == 2


@pytest.mark.parametrize("nothing", UNKNOWN)
def test_what_cannot_be_told_changes_nothing_where_the_rest_decides(nothing: float | None) -> None:
    for text in ("poi_w < 1 or load_w == 1000", "load_w == 1000 or poi_w < 1", "not (poi_w < 1 and load_w == 0)"):
        expression = compiled(text, NAMES)
        assert expression.holds(seen(poi_w=nothing)), text
        assert expression.untold_count == 0
    expression = compiled("load_w == 0 and poi_w < 1", NAMES)
    assert not expression.holds(seen(poi_w=nothing))
    assert expression.untold_count == 0


@pytest.mark.parametrize("text", ["poi_w / load_w > 0", "poi_w % load_w >= 0", "not poi_w / load_w > 0"])
def test_division_by_zero_cannot_be_told(text: str) -> None:
    expression = compiled(text, NAMES)
    assert not expression.holds(seen(load_w=0.0))
    assert expression.untold_count == 1


def test_before_the_first_decision_nothing_is_known_of_it() -> None:
    for text in ('decided.why == "wish"', 'decided.why != "wish"', 'fault("battery_stale", "battery")'):
        assert not holds(text, why=None, faults=None)
        assert not holds(f"not {text}", why=None, faults=None)


# text -> column, part of what was read, part of what is allowed, part of the hint
WRONG = {
    "poi <= 3": (1, "'poi', an unknown name", "battery..., decided..., load_w, poi_w, site...", "'poi_w'?"),
    "load_w < 3 and batery.soc < 1": (16, "'batery.soc'", "battery...", "did you mean 'battery.soc'?"),
    "battery.sok < 1": (1, "'battery.sok'", "one of battery.closed, battery.soc", "did you mean 'battery.soc'?"),
    "zzz < 1": (1, "'zzz'", "load_w", ""),
    "poi_w": (1, "a number", "true or false, such as", ""),
    "decided.why": (1, "a text", "true or false, such as", ""),
    "abs < 3": (1, "'abs'", "", "write abs(...)"),
    "poi_w = 3": (7, "'poi_w = 3'", "such as", "write == to compare"),
    "poi_w < 3 && load_w < 3": (12, "&&", "such as", "write `and`"),
    "poi_w < 3 || load_w < 3": (12, "||", "such as", "write `or`"),
    "!battery.closed": (1, "!battery", "such as", "write `not`"),
    "poi_w <": (8, "'poi_w <'", "such as", "invalid syntax"),
    "  (poi_w < 3": (1, "(poi_w", "such as", "never closed"),
    "": (1, "an empty text", "such as", ""),
    "   ": (1, "an empty text", "such as", ""),
    "poi_w < 3 # " + "x" * LENGTH_MOST: (1, f"a text of {LENGTH_MOST + 12} characters", "such as", ""),
    "poi_w < '5'": (1, "a number and a text", "two numbers, or two texts", ""),
    "decided.why < 'wish'": (1, "a text and a text", "two texts with == or !=", ""),
    "battery.closed == poi_w": (1, "a statement and a number", "two numbers", ""),
    "battery.closed == battery.closed": (1, "a statement and a statement", "two numbers", "the statement itself"),
    "battery.closed == True": (19, "'True'", "numbers and texts", "the statement itself"),
    "poi_w == None": (10, "'None'", "numbers and texts", ""),
    "poi_w == 3j": (10, "3j", "numbers and texts", ""),
    "b'a' == decided.why": (1, "b'a'", "numbers and texts", ""),
    "poi_w < 1e999": (9, "a number without measure", "1e+12", ""),
    f"poi_w < {10**13}": (9, "a number without measure", "1e+12", ""),
    "decided.why == 'rampe'": (1, "'rampe'", "one of poi_limit, ramp, wish", "did you mean 'ramp'?"),
    "'rampe' == decided.why": (1, "'rampe'", "one of poi_limit, ramp, wish", "did you mean 'ramp'?"),
    "fault('batt_stale', 'battery')": (7, "'batt_stale'", "battery_stale, meter_stale", "'battery_stale'?"),
    "fault('battery_stale', 'batery')": (24, "'batery'", "battery, meter", "did you mean 'battery'?"),
    "fault('battery_stale')": (1, "fault", "fault of 2", ""),
    "fault(poi_w, 'battery')": (7, "poi_w", "two texts", ""),
    "fault('a', who='b')": (1, "fault", "fault of 2", ""),
    "min(1) < 2": (1, "min(1)", "min of 2 to 10", ""),
    "abs(1, 2) < 2": (1, "abs(1, 2)", "abs of 1", ""),
    "abs(battery.closed) < 2": (5, "battery.closed', which is a statement", "numbers", ""),
    "not poi_w": (5, "poi_w', which is a number", "not before a statement", ""),
    "poi_w and battery.closed": (1, "poi_w', which is a number", "statements on both sides", ""),
    "battery.closed + 1 < 3": (1, "battery.closed', which is a statement", "numbers on both sides", ""),
    "-battery.closed < 3": (2, "battery.closed'", "a sign before a number", ""),
    "~poi_w < 3": (1, "~poi_w", "- before a number", ""),
    "poi_w ** 2 < 3": (1, "poi_w ** 2", "+ - * / %", "write a * a"),
    "poi_w // 2 < 3": (1, "poi_w // 2", "+ - * / %", ""),
    "poi_w in (1, 2)": (10, "(1, 2)", "names, numbers, texts", ""),
    "poi_w is 3": (1, "poi_w is 3", "< <= > >= == !=", "join with `or`"),
    "(poi_w).real.imag < 3": (1, "poi_w.real.imag", "poi_w", ""),
    "'a'.upper() == 'A'": (1, "upper", "abs, min, max, fault", ""),
    "'a'.x == 'A'": (1, "'a'", "names, as poi_w", ""),
    "poi_w[0] < 3": (1, "poi_w[0]", "names, numbers, texts", ""),
    "poi_w if battery.closed else load_w": (1, "if battery.closed", "names, numbers, texts", ""),
    "(x := 3) < 4": (2, "x := 3", "names, numbers, texts", ""),
    "(lambda: 3)() < 4": (1, "lambda", "abs, min, max, fault", ""),
    "[x for x in poi_w] == 3": (1, "[x for x in poi_w]", "names, numbers, texts", ""),
    "f'{poi_w}' == 'a'": (1, "f'{poi_w}'", "names, numbers, texts", ""),
    "__import__('os').system('x') == 0": (1, "__import__", "abs, min, max, fault", ""),
    "exec('x')": (1, "'exec'(...)", "abs, min, max, fault", ""),
    "poi_w.__class__ == 3": (1, "poi_w.__class__", "poi_w", ""),
    "min(*poi_w, 3) < 3": (5, "*poi_w", "names, numbers, texts", ""),
    "await poi_w": (1, "await poi_w", "names, numbers, texts", ""),
    "'\\d' == decided.why": (0, "", "such as", "escape"),
    "\0": (0, "", "such as", "null bytes"),
    "\ud800 < 3": (1, "", "such as", "surrogates"),
    "-" * (DEPTH_MOST + 2) + "poi_w < 3": (DEPTH_MOST + 1, f"more than {DEPTH_MOST} pieces", "less of them", ""),
    "(" * 300 + "poi_w" + ")" * 300 + " < 3": (0, "", "such as", "too many nested parentheses"),
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: ascii(text)[1:40])
def test_wrong_expression_is_told_with_its_place(text: str) -> None:
    column, read, allowed, hint = WRONG[text]
    with pytest.raises(ExpressionError) as told:
        compiled(text, NAMES)
    problem = told.value.problems[0]
    assert not column or problem.path == f"column {column}"
    assert read in problem.read
    assert allowed in problem.allowed
    assert hint in problem.hint


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ExpressionError) as told:
        compiled("poi < 3 and (decided.why == 'rampe' or not load_w) and fault('a', 'battery')", NAMES)
    assert [problem.path for problem in told.value.problems] == ["column 1", "column 14", "column 44", "column 62"]
    assert str(told.value).splitlines()[0].startswith("column 1: read 'poi', an unknown name, allowed: one of")


def test_bounds_of_an_expression_are_where_they_are_said() -> None:
    wide = " and ".join(["poi_w < 5000"] * (DEPTH_MOST + 5))
    assert holds(wide), "what stands side by side is not nested"
    assert holds("-" * (DEPTH_MOST - 2) + "poi_w < 5000")
    with pytest.raises(ExpressionError, match="pieces within one another"):
        compiled("-" * DEPTH_MOST + "poi_w < 5000", NAMES)
    for length, right in ((LENGTH_MOST, True), (LENGTH_MOST + 1, False)):
        text = "poi_w < 5000".ljust(length - 1, "\n") + "#"
        assert len(text) == length
        assert (compiled(text, NAMES).holds(seen()) if right else fed(text)) is (True if right else None)
    assert holds("poi_w < 1000000000000")
    for name in ("min", "max"):
        assert holds(f"{name}({', '.join(['poi_w'] * 10)}) == 4000")
        assert fed(f"{name}({', '.join(['poi_w'] * 11)}) == 4000") is None
    assert fed("fault('battery_stale', 'battery', 'battery')") is None


def test_nearest_name_is_guessed_only_where_one_is_near() -> None:
    with pytest.raises(ExpressionError) as told:
        compiled("xyz < 3", NAMES)
    assert not told.value.problems[0].hint


WORDS = ("poi_w", "load_w", "battery.soc", "3", "-2.5", "0", "(", ")", "+", "-", "*", "/", "%", "<", "<=", "==", "!=")
WORDS += ("and", "or", "not", "abs(", "min(", ",", "'a'", "battery.closed", "decided.why", "fault(", "'battery_stale'")
FOREIGN = ("__import__('os')", ".__class__", "lambda:", "[", "]", "{", "}", ":=", "if", "else", "for x in", "exec(")
FOREIGN += ("print(", "open(", "f'{1}'", "await", "yield", "\n", "#", "\\", "=", "\0", "é", "\ud800", "9" * 400, "is")
VIEWS = (seen(), seen(poi_w=None, why=None, faults=None), seen(load_w=0.0, soc=math.nan))
VIEWS += (seen(poi_w=1e308, load_w=-1e308, soc=math.inf),)


class Heard:
    """Takes down what Python says that it executes, imports or opens, while it is on."""

    def __init__(self) -> None:
        self.on, self.events = False, list[str]()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _arguments: tuple[object, ...]) -> None:
        if self.on and event.split(".")[0] in ("exec", "import", "open", "os", "subprocess", "socket", "builtins"):
            self.events.append(event)


HEARD = Heard()


def fed(text: str) -> Expression[Any] | None:
    """Compile a text and look at every view with it; anything but ExpressionError fails, and so does foreign code."""
    HEARD.events.clear()
    HEARD.on = True
    try:
        expression = compiled(text, NAMES)
        for view in VIEWS:
            assert expression.holds(view) in (True, False)
    except ExpressionError as error:
        assert error.problems
        return None
    finally:
        HEARD.on = False
        assert not HEARD.events, HEARD.events
    return expression


def test_foreign_code_would_be_heard() -> None:
    HEARD.events.clear()
    HEARD.on = True
    eval("1 + 1")
    HEARD.on = False
    assert HEARD.events == ["exec"]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(WORDS + FOREIGN), max_size=14).map(" ".join))
def test_any_row_of_words_is_an_expression_or_an_error(text: str) -> None:
    fed(text)


@settings(max_examples=300)
@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_an_error(text: str) -> None:
    fed(text)


@pytest.mark.parametrize("piece", ["(", "-", "not ", "abs(", "poi_w+", "poi_w.", "[", "1if 1else "])
def test_endless_nesting_is_an_error(piece: str) -> None:
    for count in (50, 90, LENGTH_MOST // len(piece)):
        assert fed(piece * count + "poi_w < 3") is None


NUMBERS = st.recursive(
    st.sampled_from(("poi_w", "load_w", "battery.soc", "3", "0", "0.25", "1000")),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/%"), inner).map(lambda row: f"({' '.join(row)})"),
        inner.map("abs({})".format),
        inner.map("-{}".format),
        st.tuples(inner, inner).map(lambda row: f"max({', '.join(row)})"),
    ),
    max_leaves=6,
)
STATEMENTS = st.recursive(
    st.tuples(NUMBERS, st.sampled_from(("<", "<=", ">", ">=", "==", "!=")), NUMBERS).map(" ".join)
    | st.just("battery.closed")
    | st.just('fault("meter_stale", "meter")'),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from((" and ", " or ")), inner).map(lambda row: f"({''.join(row)})"),
        inner.map("(not {})".format),
    ),
    max_leaves=5,
)


@settings(max_examples=300)
@given(STATEMENTS, st.floats(-1e4, 1e4), st.floats(0, 1e4), st.floats(0, 1), st.booleans(), st.booleans())
def test_expressions_mean_what_python_means(
    text: str, poi_w: float, load_w: float, soc: float, closed: bool, stale: bool
) -> None:
    def fault(name: str, who: str) -> bool:
        return stale and (name, who) == ("meter_stale", "meter")

    battery = SimpleNamespace(soc=soc, closed=closed)
    allowed: dict[str, Any] = {"abs": abs, "max": max, "fault": fault, "battery": battery, "__builtins__": {}}
    try:
        expected = eval(text, allowed, {"poi_w": poi_w, "load_w": load_w})
    except ZeroDivisionError:
        assume(False)
    faults = frozenset({("meter_stale", "meter")} if stale else ())
    assert holds(text, poi_w=poi_w, load_w=load_w, soc=soc, closed=closed, faults=faults) == expected
