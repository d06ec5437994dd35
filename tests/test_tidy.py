"""Style is a test: the rules of tests/tidy.py over controller/ and hil/, and a proof for each that it can fail."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests import tidy
from tests.tidy import RULES, Page, sizes

HOUSE = Path(__file__).parents[1]
ROOMS = ("controller", "hil")
# What is larger than it may be, with its size. An entry may only shrink; the test says when it can.
TOO_LARGE: dict[str, int] = {
    "controller/link/sunspec.py:__init__ parameters": 7,  # the line, the unit on it, and what every link is given
}


@cache
def pages() -> tuple[Page, ...]:
    files = sorted(path for room in ROOMS for path in (HOUSE / room).rglob("*.py"))
    return tuple(Page(path.relative_to(HOUSE).as_posix(), path.read_text("utf-8")) for path in files)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_house_keeps_the_rule(rule: Callable[[Page], object]) -> None:
    wrong = [f"{page.path}:{line}" for page in pages() for line in rule(page)]  # type: ignore[attr-defined]
    assert not wrong, "\n".join(["", *wrong])


def test_nothing_is_larger_than_it_may_be() -> None:
    measured = {name: (size, most) for page in pages() for name, size, most in sizes(page)}
    wrong = [
        f"{name}: {size}, at most {TOO_LARGE.get(name, most)}: it is two ideas, part them"
        for name, (size, most) in measured.items()
        if size > TOO_LARGE.get(name, most)
    ]
    wrong += [
        f"{name} is {measured.get(name, (0, 0))[0]} now: lower or delete its entry in TOO_LARGE"
        for name, size in TOO_LARGE.items()
        if measured.get(name, (0, 0))[0] < size
    ]
    assert not wrong, "\n".join(["", *wrong])


# rule -> path, a page that breaks it, a page that keeps it
SAMPLES: dict[Callable[..., object], list[tuple[str, str, str]]] = {
    tidy.numbers_end_in_their_unit: [
        ("hil/a.py", "class A(Struct):\n    power: int", "class A(Struct):\n    power_w: int"),
        ("hil/a.py", "class A(Struct):\n    t: int | None = None", "class A(Struct):\n    t_ms: int | None = None"),
        ("hil/a.py", "P = Annotated[int, 3]\nclass A(Struct):\n    p: P", "class A(Struct):\n    p: str"),
        ("hil/a.py", "def f(delay: float) -> None: ...", "def f(delay_s: float, unit: int) -> None: ..."),
        ("hil/a.py", "async def f(*, rate: int = 0): ...", "async def f(*, rate_w_per_s: int = 0): ..."),
    ],
    tidy.words_are_frozen: [
        ("controller/model/a.py", "class A(S, kw_only=True): ...", "class A(S, frozen=True, kw_only=True): ..."),
        ("controller/model/a.py", "class A(Struct, frozen=False, kw_only=True): ...", "x = 1"),
    ],
    tidy.banned_calls_are_absent: [
        ("hil/a.py", "import time\ntime.time()", "import time\ntime.perf_counter()"),
        ("hil/a.py", "from time import monotonic as now\nnow()", "from controller.link.clock import Clock\nClock()"),
        ("hil/a.py", "from datetime import datetime\ndatetime.now()", "import datetime\ndatetime.timedelta()"),
        ("hil/a.py", "import datetime\ndatetime.datetime.now()", "now()"),
        ("hil/a.py", "import time\ntime.sleep(1)", "import asyncio\nasyncio.sleep(1)"),
        ("hil/a.py", "import random\nrandom.gauss(0, 1)", "import random\nrandom.Random(7).gauss(0, 1)"),
        ("hil/a.py", "from random import Random\nRandom()", "from random import Random\nRandom(7)"),
        ("hil/a.py", "import asyncio\nasyncio.gather(f())", "import asyncio\nasyncio.TaskGroup()"),
        ("controller/link/a.py", "print(1)", "log.info(1)"),
        ("controller/journal/a.py", "import json\njson.dumps({})", "import msgspec\nmsgspec.json.encode({})"),
    ],
    tidy.errors_are_named: [
        ("controller/link/a.py", "try: f()\nexcept Exception: g()", "try: f()\nexcept OSError: g()"),
        ("controller/link/a.py", "try: f()\nexcept: g()", "try: f()\nfinally: g()"),
        ("hil/a.py", "try: f()\nexcept (OSError, BaseException): g()", "try: f()\nexcept (OSError, KeyError): g()"),
        (
            "controller/app/main.py",
            "try: f()\nexcept Exception: g()\ntry: f()\nexcept Exception: g()",
            "try: f()\nexcept Exception: g()",
        ),
    ],
    tidy.nothing_is_left_unfinished: [("hil/a.py", "x = 1  # TO" + "DO later", "x = 1  # what is to be done is done")],
    tidy.no_code_in_comments: [
        ("hil/a.py", "# x = f(1)", "# x is the command, f(1) its answer"),
        ("hil/a.py", "# if x > 1:", "# three cases follow:"),
        ("hil/a.py", "# send(command)", "# Laws"),
    ],
    tidy.no_place_of_one_machine: [("hil/a.py", "x = '/ho" + "me/me/site.toml'", "x = '/var/lib/linepack'")],
    tidy.names_say_what_the_thing_is: [
        ("hil/a.py", "class LinkManager: ...", "class Link: ..."),
        ("hil/a.py", "def site_data(): ...", "def dated(): ..."),
        ("hil/utils.py", "", ""),
    ],
    tidy.public_things_have_a_docstring: [
        ("hil/a.py", "x = 1", '"""Words."""\nx = 1'),
        ("hil/a.py", '"""Words."""\ndef f(): ...', '"""Words."""\ndef _f(): ...'),
        ("hil/a.py", '"""Words."""\nclass A: ...', '"""Words."""\ndef f():\n    """Do."""'),
        ("controller/gate/a.py", '"""A."""\nclass A:\n    """A."""\n    def f(self): ...', '"""A."""\nx = 1'),
    ],
    tidy.a_room_states_its_laws: [
        ("controller/a/__init__.py", '"""A room."""', '"""A room.\n\nLaws:\n- one\n\nTo add a thing: a file."""'),
        ("controller/a/__init__.py", '"""A room.\n\nLaws:\n- one"""', '"""Laws:\n\nTo add: a file."""'),
    ],
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_can_fail_and_can_pass(rule: Callable[[Page], object]) -> None:
    for path, bad, good in SAMPLES[rule]:
        assert list(rule(Page(path, bad))), bad  # type: ignore[call-overload]
        if path != "hil/utils.py":
            assert not list(rule(Page(path, good))), good  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("\n" * (tidy.FILE_LINES + 1), "hil/a.py"),
        ("def f():\n" + "    x = 1\n" * tidy.FUNCTION_LINES, "hil/a.py:f lines"),
        ("def f(a, b, c, d, e, f, *, g): ...", "hil/a.py:f parameters"),
    ],
)
def test_size_can_be_too_large(text: str, name: str) -> None:
    assert [name] == [row for row, size, most in sizes(Page("hil/a.py", text)) if size > most]


def test_size_may_be_just_what_it_may_be() -> None:
    function = "def f(self, a, b, c, d, e, f):\n" + "    x = 1\n" * (tidy.FUNCTION_LINES - 1)
    text = function + "\n" * (tidy.FILE_LINES - tidy.FUNCTION_LINES)
    assert not [row for row, size, most in sizes(Page("hil/a.py", text)) if size > most]


def test_every_room_is_a_package() -> None:
    rooms = [path for path in (HOUSE / "controller").iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert {room.name for room in rooms if not (room / "__init__.py").exists()} == set()
