"""What a scenario and its expressions may name: keys, the truth, decisions, the site, and what the bench has."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

import msgspec
import pytest

from controller.app import sitefile
from controller.model import Bound, Decision, Standing
from hil.plant.site import Plant
from hil.plant.truth import Truth, UnitTruth
from hil.run.fit import plant_spec
from hil.scenario.bars import Bar, bounds, fits
from hil.scenario.draft import INPUTS
from hil.scenario.expression import Expression, ExpressionError, compiled
from hil.scenario.keys import Key, keys, keys_table
from hil.scenario.known import known
from hil.scenario.load import load
from hil.scenario.names import BATTERY, DECIDED, INVERTER, PROGRAMS, RULES, UTILITY, View, names
from hil.scenario.site import site
from hil.scenario.words import Expect, Scenario
from tests.scenarios import HOUSE, KNOWN, TEXT


def every(of: type[msgspec.Struct]) -> list[Key]:
    return [one for key in keys(of) for one in [key, *(every(key.table) if key.table else [])]]


def test_every_key_has_a_meaning_and_says_what_is_allowed() -> None:
    table = keys_table()
    for key in every(Scenario):
        assert key.meaning, key.name
        assert key.allowed, key.name
        assert key.beside or key.table or f"| `{key.name}` | " in table
    assert "**`[[stimulus]]`**" in table
    assert "**`[judge]`**" in table
    assert "| `seed` | all chance comes from it | an integer from 0 to 9223372036854775807 | `1` |" in table


def truth(**unit: object) -> Truth:
    """Return the demo site at one moment, each number another."""
    numbers: dict[str, Any] = {name: 100.0 + place for place, name in enumerate(sorted(INVERTER | BATTERY))}
    words_and_states = {
        "inverter": "inverter",
        "batteries": ("battery",),
        "state": "run",
        "closed": True,
        "local": False,
        "connected": True,
    }
    return Truth(
        t_s=1.0,
        units=(UnitTruth(**numbers | words_and_states | unit),),
        load_w=2.0,
        pv_w=3.0,
        poi_w=4.0,
        grid_hz=5.0,
        grid_v=6.0,
        order_w=7.0,
        cut=frozenset(("meter",)),
    )


def decision() -> Decision:
    return Decision(
        now_ms=0,
        mode="follow",
        target_w=11,
        wish_w=12,
        wish_because="",
        why="wish",
        low=Bound(value_w=13, rule="nameplate", because=""),
        high=Bound(value_w=14, rule="poi_limit", because=""),
        asked_w=15,
        net_load_w=16,
        stored_wh=17,
        sellable_wh=18,
        faults=(Standing(fault="battery_stale", device="battery", since_ms=0),),
    )


@pytest.fixture
def demo(tmp_path: Path) -> Callable[[str], Expression[View]]:
    """Return a function that compiles an expression for the demo site."""
    path = tmp_path / "meter-late.toml"
    path.write_text(TEXT)
    known_names = names(site(load(path, KNOWN), tmp_path))
    return lambda text: compiled(text, known_names)


@pytest.mark.parametrize(
    "text",
    [
        "t_s == 1 and load_w == 2 and pv_w == 3 and poi_w == 4 and grid_hz == 5 and grid_v == 6 and order_w == 7",
        "meter.cut and not inverter.cut and not battery.cut",
        'inverter.state == "run" and battery.closed and not inverter.local',
        "decided.target_w == 11 and decided.wish_w == 12 and decided.low_w == 13 and decided.high_w == 14",
        "decided.asked_w == 15 and decided.net_load_w == 16 and decided.stored_wh == 17 and decided.sellable_wh == 18",
        'decided.mode == "follow" and decided.why == "wish" and decided.low_rule == "nameplate"',
        'decided.high_rule == "poi_limit" and fault("battery_stale", "battery")',
        'not fault("utility_silent", "utility") and not fault("meter_stale", "meter")',
        "site.poi.export_max_w == 5500 and site.energy.floor_pct == 10 and site.unit.house.watchdog_s == 4",
        'site.device.meter.poll_ms == 500 and site.utility.default.program == "self_consumption"',
        'site.device.battery.profile == "batteries/pylontech_lv" and site.name == "demo"',
    ],
)
def test_names_read_what_they_say(demo: Callable[[str], Expression[View]], text: str) -> None:
    assert demo(text).holds(View(truth(), decision()))


def test_every_value_of_a_unit_has_its_name(demo: Callable[[str], Expression[View]]) -> None:
    unnamed = {"inverter", "batteries", "packs", "cell_low_v", "cell_high_v", "force_charge"}  # the judge's alone
    own = set(UnitTruth.__struct_fields__) - unnamed
    assert own == INVERTER | BATTERY
    assert not INVERTER & BATTERY
    for place, name in enumerate(sorted(own)):
        if name not in ("state", "closed", "local", "connected"):
            device = "inverter" if name in INVERTER else "battery"
            assert demo(f"{device}.{name} == {100 + place}").holds(View(truth())), name


def test_what_a_site_or_a_truth_does_not_say_cannot_be_told(demo: Callable[[str], Expression[View]]) -> None:
    assert not demo("order_w > -1").holds(View(msgspec.structs.replace(truth(), order_w=None)))
    assert not demo("decided.target_w > -1 or decided.target_w <= -1").holds(View(truth(), None))
    assert not demo('not fault("battery_stale", "battery")').holds(View(truth(), None))
    with pytest.raises(ExpressionError, match=r"site\.ramp\.rate_w_per_s"):
        demo("site.ramp.rate_w_per_s > 0")


FILES = [path for room in ("rules", "programs", "engine") for path in (HOUSE / "controller" / room).glob("*.py")]


def is_text(node: ast.AST) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_words_of_a_decision_are_those_of_the_controller() -> None:
    found: set[str] = set()
    for room in ("rules", "programs", "engine"):
        for path in (HOUSE / "controller" / room).glob("*.py"):
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            given = [word.value for call in calls for word in call.keywords if word.arg == "rule"]
            found |= {node.value for node in given if isinstance(node, ast.Constant)}
    named = {word.value for path in FILES for word in ast.walk(ast.parse(path.read_text())) if is_text(word)}
    assert found <= RULES | PROGRAMS | UTILITY | {"min_power"}
    assert named >= RULES | PROGRAMS | UTILITY


def test_a_row_expects_what_an_expression_can_say() -> None:
    assert {name for name in Expect.__struct_fields__ if name != "faults"} == set(DECIDED)


def test_inputs_of_the_plant_are_those_of_its_own() -> None:
    plant = Plant(plant_spec(sitefile.load(HOUSE / "profiles/sites/demo.toml")))
    for name, (low, _) in INPUTS.items():
        if not name.startswith("utility."):
            plant.set(name, low)


def test_bench_knows_what_can_be_named() -> None:
    this = known()
    assert {"poi_export", "energy_floor"} <= this.invariants
    assert "olrt_s" in this.metrics
    assert this.rows.keys() >= {f"F{number:02d}" for number in range(1, 101)}
    assert {row.do for row in this.rows.values()} - {""} <= this.verbs.keys()
    assert set(this.parts) == {"inverter", "battery", "meter", "inputs", "grid", "local"}
    this.terms("<= 2")
    with pytest.raises(ValueError, match="no bar"):
        this.terms("< 2")


@pytest.mark.parametrize(
    ("bar", "low", "high"),
    [
        (0.0, 0.0, 0.0),
        (2.0, 2.0, 2.0),
        ("<= 2", None, 2.0),
        (">=0.95", 0.95, None),
        ("<=12", None, 12.0),
        ((1.0, 3.0), 1.0, 3.0),
    ],
)
def test_bar_holds_from_edge_to_edge(bar: Bar, low: float | None, high: float | None) -> None:
    for edge, step in ((low, -1e-9), (high, 1e-9)):
        if edge is not None:
            assert edge in bounds(bar)
            assert fits(bar, edge)
            assert not fits(bar, edge + step)
    assert not fits(bar, None)
    assert not fits(bar, float("nan"))
