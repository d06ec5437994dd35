"""What is written as a scenario file is read again as it was; what is not one is told and nothing else."""

import tempfile
import tomllib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.model import FAULTS
from hil.faults.words import Fault
from hil.scenario import words
from hil.scenario.bars import Bar
from hil.scenario.decode import decode
from hil.scenario.keys import keys
from hil.scenario.load import ScenarioError, dump, load
from hil.scenario.names import PROGRAMS
from hil.scenario.signals import Noise, Regulation, Signal, Sine
from hil.scenario.toml import toml
from hil.scenario.words import Expect, Judge, Scenario, Step, Stimulus
from tests.scenarios import KNOWN, TEXT


def test_dump_reads_as_a_person_writes(tmp_path: Path) -> None:
    path = tmp_path / "meter-late.toml"
    path.write_text(TEXT)
    lines = dump(load(path, KNOWN)).splitlines()
    for line in ("seed = 7", "[override]", '"poi.export_max_w" = 5500', "[[fault]]", "with = {latency_s = 0.8}"):
        assert line in lines
    assert "start = 2026-07-01T17:59:00-06:00" in lines
    assert 'points = [[2.0, 8000.0], [80.0, "nothing"]]' in lines
    assert not [line for line in lines if "restarts" in line or "stability_s" in line], "what is not said is left out"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
TIMES = st.floats(0.5, 400).map(lambda t_s: round(t_s, 3))
BARS: st.SearchStrategy[Bar] = (
    st.floats(-1e6, 1e6)
    | st.sampled_from(("<= 2", ">= 0.95", "<= -3.25"))
    | st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)).map(lambda pair: (min(pair), max(pair)))
)
EXPRESSIONS = st.sampled_from(('poi_w < 3 and decided.why == "wish"', "not battery.closed", "t_s >= 0"))
STANDING = st.lists(st.sampled_from([f"{fault} battery" for fault in FAULTS]), max_size=3, unique=True).map(tuple)


def rising(pairs: list[tuple[float, Any]]) -> tuple[tuple[float, Any], ...]:
    """Return points in order of time, the first at 0, each time once."""
    times_s = sorted({t_s for t_s, _ in pairs} - {0.0})
    return tuple(zip([0.0, *times_s], [value for _, value in pairs], strict=False))


POINTS = st.lists(st.tuples(TIMES, st.floats(0, 1e6)), min_size=1, max_size=5).map(rising)
ASKED = st.lists(st.tuples(TIMES, st.floats(-1e6, 1e6) | st.just("nothing")), min_size=1, max_size=5).map(rising)
SIGNALS = st.builds(
    Signal,
    points=POINTS,
    line=st.booleans(),
    sine=st.none() | st.builds(Sine, amplitude=st.floats(-9, 9), period_s=st.floats(1, 1e4)),
    noise=st.none() | st.builds(Noise, sigma=st.floats(0, 100)),
    regulation=st.none() | st.builds(Regulation, peak=st.floats(0, 1e4), seed=st.none() | st.integers(0, 2**40)),
)
STEPS = st.one_of(
    st.builds(Step, until=EXPRESSIONS, within_s=st.none() | TIMES, maintain_s=st.floats(0, 100), says=TEXTS),
    st.builds(Step, always=EXPRESSIONS, for_s=TIMES),
    st.builds(Step, never=EXPRESSIONS, for_s=TIMES, says=TEXTS),
)
FAULT_ROWS = st.builds(
    Fault,
    id=st.sampled_from(("", "F60")),
    do=st.just("late"),
    on=st.just("meter"),
    at_s=st.none() | TIMES,
    for_s=st.none() | TIMES,
    direction=st.sampled_from(("both", "up", "down")),
    params=st.dictionaries(st.just("latency_s"), st.floats(0, 10)),
)
EXPECTS = st.builds(
    Expect,
    target_w=st.none() | BARS,
    low_w=st.none() | BARS,
    stored_wh=st.none() | BARS,
    why=st.none() | st.sampled_from(("wish", "poi_limit")),
    mode=st.none() | st.sampled_from(sorted(PROGRAMS)),
    faults=STANDING,
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "poi.export_max_w": st.integers(0, 10_000_000),
        "device.meter.poll_ms": st.integers(50, 900),
        "utility.default.program": st.sampled_from(("hold", "self_consumption")),
        "unit.house.settle_ms": st.integers(0, 3000) | st.just("nothing"),
        "window": st.just([{"start": "0 17 * * mon-fri", "minutes": 120, "program": "hold"}]),
    },
)
JUDGES = st.builds(
    Judge,
    skip=st.just(("ramp",)),
    reason=TEXTS.filter(str.strip).map(lambda why: {"ramp": why}),
    allow=st.dictionaries(st.sampled_from(("poi_s", "silence_s")), st.floats(0, 30)),
    expect_faults=STANDING,
    only_faults=st.booleans(),
    metrics=st.dictionaries(st.sampled_from(("poi_over_s", "olrt_s")), st.sampled_from(("<= 2", (0.5, 2.0)))),
    tested=st.sampled_from(((), ("poi_export",))),
    converged=EXPRESSIONS,
    within_s=TIMES,
    restarts=BARS,
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Draw a scenario in which nothing is wrong."""
    inputs = draw(st.lists(st.sampled_from(("load_w", "pv_w")), max_size=2, unique=True))
    stimuli = [Stimulus(set=name, signal=draw(SIGNALS)) for name in inputs]
    stimuli += [Stimulus(set="utility.set_w", signal=Signal(points=draw(ASKED)))] if draw(st.booleans()) else []
    times_s = draw(st.lists(TIMES, max_size=3, unique=True).map(sorted))
    rows = [words.Row(t_s=t_s, set={"ambient_c": 20.5}, expect=draw(st.none() | EXPECTS)) for t_s in times_s]
    offset = timezone(timedelta(minutes=draw(st.integers(-720, 720))))
    return Scenario(
        id="drawn",
        title=draw(TEXTS),
        traces=tuple(draw(st.lists(TEXTS, max_size=2))),
        tags=tuple(draw(st.lists(TEXTS, max_size=2))),
        seed=draw(st.integers(0, 2**63 - 1)),
        site="demo",
        length_s=10_000.0,
        heal_s=1000.0,
        start=draw(st.none() | st.datetimes(min_value=SOONEST, timezones=st.just(offset))),
        modes=draw(st.sampled_from((("lockstep", "model"), ("real",), ("model", "real", "lockstep")))),
        override=draw(CHANGES),
        plant=draw(st.dictionaries(st.just("battery"), st.fixed_dictionaries({"soc": st.floats(0, 1)}))),
        stimulus=tuple(stimuli),
        fault=tuple(draw(st.lists(FAULT_ROWS, max_size=3))),
        step=tuple(draw(st.lists(STEPS, max_size=3))),
        row=tuple(rows),
        judge=draw(JUDGES),
    )


@settings(max_examples=80, deadline=None)
@given(scenarios())
def test_what_is_written_is_read_as_it_was(scenario: Scenario) -> None:
    with tempfile.TemporaryDirectory() as room:
        path = Path(room) / "drawn.toml"
        path.write_text(dump(scenario), "utf-8")
        assert load(path, KNOWN) == scenario


SOONEST = datetime(1970, 1, 1)  # noqa: DTZ001 - hypothesis gives it its offset
PLAIN = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
PLAIN |= st.text(st.characters(exclude_categories=["Cs"])) | st.just(datetime(2026, 7, 1, 1, 2, 3, 4, UTC))
NAMED = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NESTED = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMED, inner, max_size=3), max_leaves=8
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(NAMED, NESTED, max_size=5))
def test_any_table_is_written_as_toml(table: dict[str, object]) -> None:
    assert tomllib.loads(toml(table)) == table


def test_what_has_no_form_in_toml_is_refused() -> None:
    with pytest.raises(TypeError, match="NoneType has no form in TOML"):
        toml({"a": [1, None]})


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([key.name for key in keys(Scenario)]), NESTED, max_size=6), st.data())
def test_any_table_is_a_scenario_or_told_why_not(table: dict[str, object], data: st.DataObject) -> None:
    base = tomllib.loads(TEXT)
    for name in data.draw(st.lists(st.sampled_from(("judge", "row", "step", "fault", "stimulus")), max_size=2)):
        base[name] = data.draw(NESTED)
    with tempfile.TemporaryDirectory() as room:
        path = Path(room) / "meter-late.toml"
        path.write_text(toml({**base, **table}), "utf-8")
        try:
            assert isinstance(load(path, KNOWN), Scenario)
        except ScenarioError as error:
            assert error.problems


def test_every_field_of_a_scenario_is_read_and_written() -> None:
    full: dict[type[msgspec.Struct], msgspec.Struct] = {
        Judge: Judge(
            skip=("ramp",),
            reason={"ramp": "why"},
            allow={"poi_s": 1.5},
            expect_faults=("meter_stale meter",),
            only_faults=True,
            idle_faults=True,
            metrics={"olrt_s": (0.5, 2.0)},
            tested=("poi_export",),
            converged="t_s > 1",
            within_s=2.5,
            restarts=(1.0, 2.0),
        ),
        Expect: Expect(
            target_w=1.0,
            wish_w=2.0,
            low_w=3.0,
            high_w=4.0,
            asked_w=5.0,
            net_load_w=6.0,
            stored_wh=7.0,
            sellable_wh="<= 8",
            reactive_var=9.0,
            discharge_w=10.0,
            charge_w=11.0,
            discharge_wh=12.0,
            charge_wh=13.0,
            discharge_s=14.0,
            charge_s=15.0,
            mode="hold",
            why="ramp",
            low_rule="nameplate",
            high_rule="poi_limit",
            faults=("meter_stale meter",),
        ),
        Step: Step(at_s=1.0, until="a", within_s=2.0, maintain_s=3.0, always="b", never="c", for_s=4.0, says="d"),
        Fault: Fault(
            id="F60",
            on="meter",
            do="late",
            at_s=1.0,
            when="a",
            per_s=0.5,
            for_s=2.0,
            stability_s=3.0,
            direction="up",
            params={"a": 1.5, "b": "c", "d": True},
        ),
    }
    for of, struct in full.items():
        assert all(getattr(struct, key.field) != key.default for key in keys(of)), "each field has a value of its own"
        table = {key.name: getattr(struct, key.field) for key in keys(of)}
        assert decode(tomllib.loads(toml(table)), of, problems := []) == struct
        assert not problems
