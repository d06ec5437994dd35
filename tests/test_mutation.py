"""The tool of tests/mutation: which wrong changes it makes, how it ends with them, and how it judges by the list."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.mutation import survivors
from tests.mutation.points import SWITCH, Mutant, instrument
from tests.mutation.survivors import Listed, judge, updated

MOST_LISTED = 166  # entries of survivors.txt: may only shrink
HOUSE = Path(__file__).parents[1]

SHOP = """
LEAST_W = 3


def power_w(count: int, each_w: int) -> int:
    if count < 1:
        return 0
    left, total_w = count, 0
    while left > 0:
        total_w += each_w
        left -= 1
    return max(LEAST_W, total_w)
"""
SHOP_TEST = """
from shop import power_w


def test_all_edges():
    got_w = [power_w(count, each_w) for count, each_w in ((-1, 5), (0, 5), (1, 1), (1, 5), (2, 5))]
    assert got_w == [0, 0, 3, 5, 10]
"""


def made(body: str, returns: str = "object") -> list[str]:
    """Return the operators found in a function with that body."""
    source = f"LIMIT_W = 5\ndef f(a, b: int = 3, *c) -> {returns}:\n    {body}\n"
    return [mutant.operator for mutant in instrument(source, "f.py")[1] if mutant.where]


@pytest.mark.parametrize(
    ("body", "operators"),
    [
        ("a == b", ["statement removed", "== to !="]),
        ("x = a < b", ["< to <=", "< to >="]),
        ("x = a <= b", ["<= to <", "<= to >"]),
        ("x = a > b", ["> to >=", "> to <="]),
        ("x = a >= b", [">= to >", ">= to <"]),
        ("x = a in c", ["in to not in"]),
        ("x = a is None", ["is to is not"]),
        ("x = a - b", ["- to +"]),
        ("x = a * b // c", ["* to //", "// to *"]),
        ("x = a % b", ["% to //"]),
        ("x = a and b", ["and to or"]),
        ("x = not a", ["not removed"]),
        ("x = -a", ["minus removed"]),
        ("x = min(a, b)", ["min to max"]),
        ("x = a + 7", ["7 to 8", "7 to 6", "+ to -"]),
        ("x = a * 20_000", ["20000 to 20200", "20000 to 19800", "* to //"]),
        ("x = True", ["True to False"]),
        ("x = a if b else c", ["condition True", "condition False"]),
        ("x = [i for i in c if i]", ["condition True", "condition False"]),
        ("if a: return b", ["condition True", "condition False"]),
        ("while a: b()", ["condition False", "statement removed"]),
        ("a = b", ["statement removed"]),  # of a name that is bound elsewhere
        ("a += b", ["statement removed", "+= to -="]),
        ("a.append(b)", ["statement removed"]),
    ],
)
def test_an_expression_is_changed_in_these_ways(body: str, operators: list[str]) -> None:
    assert sorted(made(body)) == sorted(operators)


@pytest.mark.parametrize(
    ("returns", "value", "operators"),
    [
        ("bool", "f(a)", ["return negated"]),
        ("bool", "True", ["True to False"]),
        ("int | None", "f(a)", ["return None"]),
        ("int | None", "None", []),
        ("str", "f(a)", ['return ""']),
        ("str", "''", ['return "mutant"']),
        ("int", "f(a)", ["return 0"]),
        ("list[int]", "f(a)", ["return []"]),
        ("list[int]", "[]", []),
        ("tuple[int, ...]", "f(a)", ["return ()"]),
    ],
)
def test_what_is_returned_is_changed_in_these_ways(returns: str, value: str, operators: list[str]) -> None:
    assert made(f"return {value}", returns) == operators


@pytest.mark.parametrize(
    "body",
    [
        "'says what it does'",
        "assert a < b",
        "import os",
        "x: int = b",
        "x = f'{a + 1} W'",
        "because = a + 1",
        "f(because=a + 1, rule='x')",
        "x = zip(a, b, strict=True)",
        "if a: because += ' is full'",
        "x = b",  # without it the name would not be there at all
    ],
)
def test_texts_annotations_and_assertions_are_left_alone(body: str) -> None:
    assert [word for word in made(body) if word not in ("statement removed",)] == []
    assert "statement removed" not in made(body) or body.startswith("f(")


def test_each_mutant_changes_what_the_function_does_and_none_does_without_its_number() -> None:
    source = "def inside(a, low, high):\n    return not a < low and max(-1, a + 2) <= high * 3 + low\n"
    tree, mutants = instrument(source, "f.py", 41)
    assert [mutant.number for mutant in mutants] == list(range(41, 41 + len(mutants)))
    code, plain = compile(tree, "f.py", "exec"), dict[str, Any]()
    exec(source, plain)
    inputs = list(itertools.product(range(-9, 10), repeat=3))

    def behaves(number: int) -> list[bool]:
        module: dict[str, Any] = {SWITCH: number}
        exec(code, module)
        return [module["inside"](*row) for row in inputs]

    assert behaves(0) == [plain["inside"](*row) for row in inputs]
    assert [mutant.operator for mutant in mutants if behaves(mutant.number) == behaves(0)] == []
    assert len({tuple(behaves(mutant.number)) for mutant in mutants}) > 12


def a_mutant(number: int, file: str = "controller/gate/a.py") -> Mutant:
    return Mutant(number, file, number, "check", "< to <=", f"if a < {number}:")


def test_a_survivor_that_is_not_listed_fails() -> None:
    judgement = judge([a_mutant(1), a_mutant(2)], {2}, Listed())
    assert judgement.alive == [a_mutant(2)]
    assert any("not listed" in line and "a.py:2" in line for line in judgement.wrong)


def test_a_listed_survivor_that_is_killed_fails_with_advice() -> None:
    listed = Listed([(a_mutant(1).key, "accepted: only words")])
    assert judge([a_mutant(1)], set(), listed).wrong == [
        f"is killed now, or no longer there: delete it from the list: {a_mutant(1).key}"
    ]
    assert judge([a_mutant(1, "controller/rules/b.py")], set(), listed).wrong == []  # of a file that was not run


def test_an_entry_without_a_reason_fails() -> None:
    listed = updated([a_mutant(1, "controller/app/a.py")], {1}, Listed())
    assert "without a reason" in judge([a_mutant(1, "controller/app/a.py")], {1}, listed).wrong[0]


@pytest.mark.parametrize(("dead", "reason", "wrong"), [(95, "accepted", 0), (94, "accepted", 1), (0, "equivalent", 0)])
def test_rules_need_95_of_100_and_equivalent_mutants_count_as_neither(dead: int, reason: str, wrong: int) -> None:
    mutants = [a_mutant(number, "controller/rules/a.py") for number in range(100)]
    alive = set(range(dead, 100))
    listed = Listed([(mutant.key, f"{reason}: so it is") for mutant in mutants if mutant.number in alive])
    judgement = judge(mutants, alive, listed)
    assert len(judgement.wrong) == wrong
    assert judgement.counted["controller/rules/a.py"] == ((dead, 100) if reason == "accepted" else (0, 0))


def test_the_gate_needs_all() -> None:
    mutants = [a_mutant(number) for number in range(1000)]
    wrong = judge(mutants, {7}, Listed([(a_mutant(7).key, "accepted: so it is")])).wrong
    assert wrong == ["controller/gate/: 999 of 1000 killed, at least 100 % are wanted"]


def test_the_list_is_written_as_it_is_read_and_the_same_line_may_stand_twice(tmp_path: Path) -> None:
    twice = [Mutant(n, "controller/gate/a.py", n, "f", "| to &", "x = a | b") for n in (1, 2)]
    listed = Listed([(twice[0].key, "equivalent: both are empty")] * 2)
    listed.write(tmp_path / "s.txt")
    assert Listed.read(tmp_path / "s.txt") == listed
    assert judge(twice, {1, 2}, listed).wrong == []
    assert len(judge(twice, {1}, listed).wrong) == 1
    (tmp_path / "s.txt").write_text("controller/gate/a.py: no columns\n")
    with pytest.raises(AssertionError, match="no columns"):
        Listed.read(tmp_path / "s.txt")


def test_the_list_of_survivors_only_shrinks() -> None:
    listed = Listed.read(HOUSE / "tests" / "mutation" / "survivors.txt")
    assert len(listed.entries) <= MOST_LISTED, "a mutant that survives needs a test, not an entry"
    assert not [key for key, reason in listed.entries if reason.startswith(survivors.UNSAID)]


@pytest.mark.parametrize(
    ("test", "code", "says"),
    [
        (SHOP_TEST, 0, "timeout"),
        (SHOP_TEST.replace("(1, 1), ", "").replace("0, 3,", "0,"), 1, "survives and is not listed: shop.py | 3 to 4"),
        (SHOP_TEST.replace("5, 10]", "5, 11]"), 2, "nothing was measured"),
    ],
    ids=["every mutant is killed", "an edge is not tested", "a test fails without a mutant"],
)
def test_the_whole_run_tells_whether_the_tests_see_each_change(tmp_path: Path, test: str, code: int, says: str) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "test_shop.py").write_text(test)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    options = [
        "--root",
        str(tmp_path),
        "--survivors",
        str(tmp_path / "s.txt"),
        "--file",
        "shop.py",
        "--tests",
        "test_shop.py",
        "--timeout-s",
        "1",
        "--json",
        str(tmp_path / "o.json"),
    ]
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.mutation",
            "--root",
            str(tmp_path),
            "--survivors",
            str(tmp_path / "s.txt"),
            *options,
        ],
        capture_output=True,
        text=True,
        cwd=HOUSE,
        timeout=60,
    )
    assert (ran.returncode, says in ran.stdout) == (code, True), ran.stdout + ran.stderr
    assert (tmp_path / "o.json").exists() == (code != 2)
