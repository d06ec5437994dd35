"""README tells what is: its generated parts are current, everything has its place, every command it quotes exists."""

import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from controller.app.docs import PARTS, current
from controller.app.keys import keys
from controller.app.main import COMMANDS, main
from controller.app.sitefile import load
from controller.model import FAULTS, Site
from hil.devices import MeterDevice
from hil.main import main as bench
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from hil.stage import DEMO_SITE
from tests.sunspec_master import Master

HOUSE = Path(__file__).parents[1]
README = (HOUSE / "README.md").read_text("utf-8")
QUOTED = sorted(
    set(
        re.findall(
            r"\b(linepack-hil [a-z]+|linepack [a-z]+|make [a-z]+)\b",
            " ".join(re.findall(r"`[^`]+`|```.*?```", README, re.S)),
        )
    )
)


def test_generated_parts_are_current() -> None:
    assert current(README) == README, "run: make docs"


@pytest.mark.parametrize("name", PARTS)
def test_outdated_part_is_noticed(name: str) -> None:
    outdated = README.replace(f"<!-- {name} -->\n", f"<!-- {name} -->\nold\n")
    assert outdated != README
    assert current(outdated) == README


@pytest.mark.parametrize("name", PARTS)
def test_part_whose_marks_are_lost_is_noticed(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        current(README.replace(f"<!-- /{name} -->", ""))


def test_every_fault_rule_program_key_and_command_has_its_place() -> None:
    rooms = [HOUSE / "controller" / room for room in ("rules", "programs")]
    helpers = {"at_poi", "curve", "unbounded"}  # what several rules share, and no rule of their own
    names = [path.stem for room in rooms for path in room.glob("*.py") if path.stem not in {"__init__", *helpers}]
    names += [*FAULTS, *_keys(Site), *(f"linepack {command.usage}" for command in COMMANDS)]
    assert len(names) > 70
    assert [name for name in names if f"`{name}`" not in README] == []


def _keys(of: type) -> list[str]:
    return [name for key in keys(of) for name in ([key.name] if key.table is None else _keys(key.table))]


def test_every_dependency_and_room_is_told() -> None:
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["hil"]]
    for name in (re.split(r"[<>=]", one)[0] for one in wanted):
        assert re.search(rf"^\| {name}\b", README, re.M), name


def test_quoted_commands_are_found() -> None:
    assert {"linepack check", "linepack-hil demo", "make demo", "make test"} <= set(QUOTED)


@pytest.mark.parametrize("line", QUOTED)
def test_quoted_command_exists(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, command = shlex.split(line)
    if program == "make":
        assert re.search(rf"^{command}:", (HOUSE / "Makefile").read_text("utf-8"), re.M)
        return
    with pytest.raises(SystemExit) as ended:
        {"linepack": main, "linepack-hil": bench}[program]([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: {line}" in capsys.readouterr().out


def test_registers_to_be_written_and_read_by_hand_are_where_the_page_says() -> None:
    points = Master().points
    first, timer = points["704.WSetEna"][0], points["704.WSetRvrtTms"][0]
    (address, block), (power,) = (
        re.findall(r"mbpoll .*-r (\d+) -p 8502 127\.0\.0\.1 ([\d ]+\d)", README)[0],
        re.findall(r"mbpoll .*-r (\d+) -p 8504", README),
    )
    numbers = [int(number) for number in block.split()]
    assert (int(address), len(numbers)) == (first, timer + 2 - first)
    assert numbers[points["704.WSet"][0] - first + 1] == 3000
    assert numbers[timer - first + 1] == 20
    assert (
        int(power)
        == 40_000 + MeterDevice(Plant(plant_spec(load(DEMO_SITE))), "meter").image.cell("203.W").offset_bytes // 2
    )


def test_quoted_files_exist() -> None:
    quoted = re.findall(r"`((?:controller|hil|profiles|systemd|tests)/[\w./]*)`|\]\(([\w./]+)\)", README)
    for place in (one or other for one, other in quoted):
        assert (HOUSE / place).exists(), place


def test_what_make_calls_exists() -> None:
    makefile = (HOUSE / "Makefile").read_text("utf-8")
    for module in re.findall(r"python -m ([\w.]+)", makefile):
        if module != "pytest":
            place = HOUSE / module.replace(".", "/")
            assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module
    options = set(re.findall(r"linepack-hil demo.*", makefile)[0].split()) & {"--duration-s", "--report"}
    assert options == {"--duration-s", "--report"}
    assert sys.version_info >= (3, 11)
