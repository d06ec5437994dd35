"""The bench's commands: what they print, what they leave, and with which code they end."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller.app.docs import current
from controller.journal import read
from hil.commands import FAILED, HELD, NO_SETUP
from hil.commands.run import SCENARIOS
from hil.docs import PARTS
from hil.faults import VERBS
from hil.faults.catalogue import ROWS
from hil.judge import INVARIANTS
from hil.judge.metrics import METRICS
from hil.main import COMMANDS, main
from hil.run import runner
from hil.run.mutants import MUTANTS
from hil.run.outcome import Outcome
from hil.scenario.load import find, load

HOUSE = Path(__file__).parents[1]
PAGE = (HOUSE / "hil/README.md").read_text("utf-8")
QUOTED = sorted(set(re.findall(r"\blinepack-hil ([a-z]+)", " ".join(re.findall(r"`[^`]+`|```.*?```", PAGE, re.S)))))
TEXT = """\
id = "short"
title = "Ten seconds of a load"
tags = ["mine"]
site = "demo"
length_s = 10
modes = ["lockstep", "model", "real"]

[[stimulus]]
set = "load_w"
points = [[0, 1000]]

[[step]]
until = "load_w > 900"
within_s = 5
"""
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Return what types a command line and gives its code, what it printed, and what it said of errors."""

    def run(*words: object) -> tuple[int, str, str]:
        try:
            code = main([str(word) for word in words])
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            code = ended.code
        out, wrong = capsys.readouterr()
        return code, out, wrong

    return run


@pytest.fixture
def short(tmp_path: Path) -> Path:
    path = tmp_path / "short.toml"
    path.write_text(TEXT, "utf-8")
    return path


def changed(path: Path, old: str, new: str) -> Path:
    assert old in TEXT
    path.write_text(TEXT.replace(old, new), "utf-8")
    return path


def lines(out: str) -> list[Any]:
    return [msgspec.json.decode(line) for line in out.splitlines()]


def test_a_scenario_that_holds(short: Path, typed: Typed) -> None:
    code, out, wrong = typed("run", short, "--mode", "model")
    assert (code, wrong) == (HELD, "")
    assert re.search(r"^held +short \(model\): Ten seconds of a load$", out, re.M)
    assert "1 of 1 held; 0 minutes of sites in " in out


def test_a_scenario_that_fails(short: Path, typed: Typed) -> None:
    code, out, _ = typed("run", changed(short, "> 900", "> 1900"), "--mode", "model")
    assert code == FAILED
    assert re.search(r"^FAILED +short \(model\)", out, re.M)
    assert "load_w > 1900 was not so within 5 s" in out
    assert "0 of 1 held" in out


def test_json_is_an_outcome_a_line_and_nothing_else(short: Path, typed: Typed) -> None:
    code, out, _ = typed("run", short, "--mode", "all", "--json", "--jobs", "1", "--seed", "7")
    outcomes = [msgspec.json.decode(line, type=Outcome) for line in out.splitlines()]
    assert code == HELD
    assert [(one.scenario, one.mode, one.seed, one.held) for one in outcomes] == [
        ("short", "lockstep", 7, True),
        ("short", "model", 7, True),
    ]
    assert len({one.digest for one in outcomes}) == 2


def test_a_mutant_lacks_its_physics(short: Path, typed: Typed) -> None:
    """The inverter's dead time alone is longer than 0.1 s (hil/plant/inverter_spec.py); without it there is none."""
    asked = '[[stimulus]]\nset = "utility.set_w"\npoints = [[0, "nothing"], [4, 5000]]\n\n[[step]]'
    slow = (
        'at_s = 4\nuntil = "inverter.ac_w > 4900 or t_s > 9"\nwithin_s = 5\n\n[judge]\nmetrics = {olrt_s = ">= 0.3"}\n'
    )
    short.write_text(TEXT.partition("[[step]]")[0] + asked + "\n" + slow, "utf-8")
    assert typed("run", short, "--mode", "model")[0] == HELD
    code, out, _ = typed("run", short, "--mode", "model", "--mutant", "instant")
    assert code == FAILED
    assert "short (model without instant)" in out
    assert "olrt_s is" in out


def test_a_mutant_in_real_time_is_refused(short: Path, typed: Typed) -> None:
    code, out, wrong = typed("run", short, "--mode", "real", "--mutant", "instant")
    assert (code, out) == (NO_SETUP, "")
    assert "lockstep and model" in wrong


def test_what_is_kept(short: Path, tmp_path: Path, typed: Typed) -> None:
    code, out, _ = typed("run", short, "--keep", tmp_path / "kept", "--json")
    assert code == HELD
    folder = tmp_path / "kept" / "short-lockstep"
    told = msgspec.json.decode(out, type=Outcome)
    assert msgspec.json.decode((folder / "outcome.json").read_bytes(), type=Outcome) == told
    assert told.journal == str(folder / "journal")
    segments = list(read(folder / "journal"))
    assert sum(len(list(segment.entries())) for segment in segments) >= told.decisions > 0
    assert not any(segment.damage for segment in segments)


def test_a_run_that_is_kept_again_is_the_same_run(short: Path, tmp_path: Path, typed: Typed) -> None:
    kept = ("run", short, "--keep", tmp_path / "kept", "--json")
    first, again = typed(*kept), typed(*kept)
    assert first[0] == HELD
    assert first == again, "the controller went on where the run before had ended"


WRONG = [  # old text, new text, the line of the mistake, what is told
    ('site = "demo"', 'site = "domo"', 4, ["'domo'", "profiles/sites"]),
    ("length_s = 10", "length_s = -10", 5, ["-10", "above 0"]),
    ('"model", "real"]', '"toy"]', 6, ["'toy'", "lockstep", "model", "real"]),
    ('set = "load_w"', 'set = "loud_w"', 9, ["'loud_w'", "load_w"]),
    ("load_w > 900", "loud_w > 900", 13, ["loud_w", "load_w"]),
    ("within_s = 5", "within_ms = 5", 14, ["within_ms", "within_s"]),
]


@pytest.mark.parametrize(("old", "new", "line_no", "told"), WRONG)
def test_a_mistake_is_told_with_its_line_and_what_is_allowed(
    old: str, new: str, line_no: int, told: list[str], short: Path, typed: Typed
) -> None:
    code, out, wrong = typed("run", changed(short, old, new))
    assert (code, out) == (NO_SETUP, "")
    assert f"{short}:{line_no}: " in wrong
    assert "allowed" in wrong
    assert [word for word in told if word not in wrong] == [], wrong


def test_what_is_not_there(tmp_path: Path, short: Path, typed: Typed) -> None:
    code, out, wrong = typed("run", tmp_path / "other.toml")
    assert (code, out) == (NO_SETUP, "")
    assert "other.toml" in wrong
    code, out, wrong = typed("run", "shirt", "--root", tmp_path)
    assert (code, out) == (NO_SETUP, "")
    assert "'shirt'" in wrong and "short" in wrong
    code, out, wrong = typed("run", changed(short, ', "model", "real"]', "]"), "--mode", "model")
    assert (code, out) == (NO_SETUP, "")
    assert "none of these scenarios is for mode model" in wrong


def test_every_kind_is_listed(typed: Typed) -> None:
    wanted = {
        "faults": set(ROWS),
        "verbs": set(VERBS),
        "invariants": set(INVARIANTS),
        "metrics": set(METRICS),
        "mutants": set(MUTANTS),
    }
    for kind, names in wanted.items():
        code, out, _ = typed("list", kind, "--json")
        rows = lines(out)
        assert code == HELD
        assert {next(iter(row.values())) for row in rows} == names
        code, out, _ = typed("list", kind)
        assert code == HELD
        assert [name for name in names if not re.search(rf"^{name}\b", out, re.M)] == []


def test_scenarios_are_listed(short: Path, tmp_path: Path, typed: Typed) -> None:
    code, out, _ = typed("list", "--root", tmp_path)
    assert code == HELD
    assert all(word in out for word in ("short", "mine", "lockstep model real"))
    code, out, _ = typed("list", "scenarios", "mine", "--root", tmp_path, "--json")
    assert lines(out) == [
        {"id": "short", "tags": "mine", "modes": "lockstep model real", "title": "Ten seconds of a load"}
    ]
    code, out, wrong = typed("list", "scenarios", "yours", "--root", tmp_path)
    assert (code, out) == (NO_SETUP, "")
    assert "'yours'" in wrong
    assert typed("list", "sorrows")[0] == NO_SETUP


def test_a_campaign_that_holds(tmp_path: Path, typed: Typed) -> None:
    words = ("campaign", "--seeds", 2, "--minutes", 7, "--mode", "model", "--out", tmp_path / "out", "--json")
    code, out, _ = typed(*words)
    rows = lines(out)
    assert {row["scenario"] for row in rows} == {"campaign-1", "campaign-2"}
    assert [row["wrong"] for row in rows] == [[], []]
    assert code == HELD
    assert not (tmp_path / "out").exists()


def test_a_seed_that_fails_is_shrunk_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Typed) -> None:
    """What fails is any scenario of which a load is played and a fault is left; nothing of it is played here."""

    def play(scenario: Any, *rest: Any, **named: Any) -> Outcome:
        bad = bool(scenario.fault) and "load_w" in {one.set for one in scenario.stimulus}
        job = runner.Job(scenario=scenario, site=rest[0], mode="model")
        return msgspec.structs.replace(runner.ended(job, "it fails"), held=not bad)

    monkeypatch.setattr(runner, "play", play)
    words = ("campaign", "--seeds", 1, "--first", 5, "--mode", "model", "--out", tmp_path / "out")
    code, out, _ = typed(*words)
    assert code == FAILED
    path = tmp_path / "out" / "campaign-5.toml"
    left = load(path)
    assert len(left.fault) == 1
    assert [one.set for one in left.stimulus] == ["load_w"]
    assert left.length_s < 3600
    assert "0 of 1 held; 1 h of sites" in out
    assert f"{path}: {left.fault[0].id} on {left.fault[0].on}; found in " in out
    code, _, _ = typed(*words[:-1], tmp_path / "whole", "--no-shrink")
    assert code == FAILED
    assert load(tmp_path / "whole" / "campaign-5.toml").length_s == 3600


def test_a_campaign_that_cannot_be(tmp_path: Path, typed: Typed) -> None:
    code, out, wrong = typed("campaign", "--minutes", 1)
    assert (code, out) == (NO_SETUP, "")
    assert "--minutes: 60 s read, allowed are 370 s and more" in wrong
    code, out, wrong = typed("campaign", "--site", tmp_path / "none.toml")
    assert (code, out) == (NO_SETUP, "")
    assert "none.toml" in wrong or "file" in wrong


def test_without_a_command(typed: Typed) -> None:
    code, out, wrong = typed()
    assert (code, out) == (NO_SETUP, "")
    assert "usage: linepack-hil" in wrong and "COMMAND" in wrong


def test_an_unknown_command(typed: Typed) -> None:
    code, out, wrong = typed("fly")
    assert (code, out) == (NO_SETUP, "")
    assert "'fly'" in wrong
    assert [one.name for one in COMMANDS if one.name not in wrong] == []


@pytest.mark.parametrize("name", [one.name for one in COMMANDS])
def test_every_command_says_what_it_takes(name: str, typed: Typed) -> None:
    code, out, _ = typed(name, "--help")
    assert code == HELD
    assert f"usage: linepack-hil {name}" in out


def test_the_page_is_current() -> None:
    assert current(PAGE, PARTS) == PAGE, "run: make docs"


@pytest.mark.parametrize("name", PARTS)
def test_an_outdated_part_of_the_page_is_noticed(name: str) -> None:
    outdated = PAGE.replace(f"<!-- {name} -->\n", f"<!-- {name} -->\nold\n")
    assert outdated != PAGE
    assert current(outdated, PARTS) == PAGE


def test_the_commands_that_the_page_quotes_exist() -> None:
    assert {"run", "list", "serve", "fault", "campaign"} <= set(QUOTED)
    assert set(QUOTED) <= {one.name for one in COMMANDS}


def test_what_the_page_quotes_of_options_and_scenarios_exists(typed: Typed) -> None:
    quoted = re.findall(r"linepack-hil ([a-z]+)([^`\n#;]*)", " ".join(re.findall(r"`[^`]+`|```.*?```", PAGE, re.S)))
    options = {(name, option) for name, rest in quoted for option in re.findall(r"--[a-z-]+", rest)}
    assert len(options) >= 2
    for name, option in options:
        assert option in typed(name, "--help")[1], (name, option)
    ids = {rest.split()[0] for name, rest in quoted if name == "run" and rest.strip()} - {"my-meter.toml"}
    assert ids
    for one in ids:
        assert find(SCENARIOS, [one])


def test_the_scenario_of_the_page_holds(tmp_path: Path, typed: Typed) -> None:
    (block,) = re.findall(r"^ *```toml\n(.*?)^ *```", PAGE, re.M | re.S)
    text = re.sub(r"^   ", "", block, flags=re.M)
    path = tmp_path / f"{tomllib.loads(text)['id']}.toml"
    path.write_text(text, "utf-8")
    assert path.name in PAGE
    code, out, wrong = typed("run", path)
    assert code == HELD, out + wrong
