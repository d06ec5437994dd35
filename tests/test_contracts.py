"""The stairs of the house, and a proof that each contract can break."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
LINT = Path(sys.executable).parent / "lint-imports"


def broken(house: Path) -> set[str]:
    """Return the names of the contracts that the house breaks, with "?" for a complaint of another kind."""
    line = [str(LINT), "--no-logo", "--no-cache", "--config", str(house / "pyproject.toml")]
    result = subprocess.run(line, cwd=house, env={"COLUMNS": "400"}, capture_output=True, text=True, check=False)
    found = set(re.findall(r"^(.*\S) BROKEN", result.stdout, re.MULTILINE))
    if (result.returncode == 0) == bool(found) or "kept" not in result.stdout:
        return {f"? {result.stdout[-2000:]}{result.stderr[-2000:]}"}
    return found


def test_every_file_that_the_program_reads_goes_into_its_package() -> None:
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text("utf-8"))
    packed = tuple(pattern.removeprefix("*") for pattern in project["tool"]["setuptools"]["package-data"]["*"])
    files = [path for room in ("controller", "hil", "profiles") for path in (HOUSE / room).rglob("*.*")]
    read = [path for path in files if path.suffix not in (".py", ".pyc", ".svg")]
    assert len(read) > 5
    assert [path for path in read if not path.name.endswith(packed)] == []


def test_house_keeps_its_contracts() -> None:
    assert broken(HOUSE) == set()


@pytest.mark.parametrize(
    ("path", "line", "contract"),
    [
        ("controller/model/site.py", "import controller.rules", "Imports run downwards only"),
        ("controller/link/clock.py", "import controller.utility", "Imports run downwards only"),
        ("controller/link/clock.py", "import controller.journal", "Imports run downwards only"),
        ("controller/attic/__init__.py", "", "Imports run downwards only"),
        ("controller/model/site.py", "import asyncio", "Pure rooms know no clock, no chance, no device and no file"),
        (
            "controller/codec/__init__.py",
            "import datetime",
            "Pure rooms know no clock, no chance, no device and no file",
        ),
        ("controller/gate/__init__.py", "import controller.rules", "The gate shares nothing with what it checks"),
        ("controller/app/main.py", "import hil", "The controller never imports the bench"),
        (
            "hil/plant/battery.py",
            "import controller.model",
            "Plant and devices share only the framing of Modbus",
        ),
    ],
)
def test_contract_can_break(tmp_path: Path, path: str, line: str, contract: str) -> None:
    for room in ("controller", "hil"):
        shutil.copytree(HOUSE / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HOUSE / "pyproject.toml", tmp_path)
    page = tmp_path / path
    page.parent.mkdir(exist_ok=True)
    page.write_text((page.read_text("utf-8") if page.exists() else "") + f"\n{line}\n")
    assert contract in broken(tmp_path)
