"""A scenario file is judged whole: every problem with its line, where it is, what was read, what is allowed."""

import re
import textwrap
import tomllib
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from controller.model import FAULTS
from hil.faults.words import Fault
from hil.scenario import words
from hil.scenario.keys import keys
from hil.scenario.load import ScenarioError, Wrong, find, load
from hil.scenario.signals import Signal
from hil.scenario.site import site
from hil.scenario.words import Expect, Judge, Scenario, Step, Stimulus
from tests.scenarios import HOUSE, KNOWN, TEXT, edited

Judged = Callable[..., tuple[Wrong, ...]]


@pytest.fixture
def judged(tmp_path: Path) -> Judged:
    """Return a function from a text to the problems that are told of it."""

    def judge(text: str | bytes, name: str = "meter-late.toml") -> tuple[Wrong, ...]:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            load(path, KNOWN)
        except ScenarioError as error:
            return error.problems
        return ()

    return judge


def test_whole_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "meter-late.toml"
    path.write_text(TEXT)
    scenario = load(path, KNOWN)
    assert (scenario.id, scenario.length_s, scenario.heal_s, scenario.seed) == ("meter-late", 90.0, 55.0, 7)
    assert scenario.start == datetime(2026, 7, 1, 17, 59, tzinfo=timezone(timedelta(hours=-6)))
    assert scenario.modes == ("lockstep", "model")
    assert scenario.override == {"poi.export_max_w": 5500, "device.meter.poll_ms": 500}
    assert scenario.plant == {"battery": {"soc": 0.7}}
    assert scenario.stimulus[1] == Stimulus(
        set="utility.set_w", signal=Signal(points=((2.0, 8000.0), (80.0, "nothing")))
    )
    assert scenario.fault == (Fault(id="F60", on="meter", at_s=20.0, for_s=30.0, params={"latency_s": 0.8}),)
    assert scenario.step[1] == Step(always="abs(inverter.ac_w - decided.target_w) < 300", for_s=5.0)
    assert scenario.row[0].expect is None
    assert scenario.row[1].expect == Expect(target_w=(4500.0, 4900.0), why="poi_limit", faults=("meter_stale meter",))
    assert scenario.judge == Judge(
        skip=("ramp",),
        reason={"ramp": "the site has no ramp"},
        allow={"poi_s": 3.0},
        expect_faults=("meter_stale meter",),
        metrics={"poi_over_s": "<= 2"},
        tested=("poi_export",),
        converged="poi_w < 6000",
        within_s=20.0,
    )
    changed = site(scenario, tmp_path)
    assert (changed.poi.export_max_w, changed.poi.import_max_w) == (5500, 12000)
    assert [(device.name, device.poll_ms) for device in changed.device][:2] == [("inverter", 200), ("meter", 500)]


def test_example_that_people_learn_from_is_right(judged: Judged, tmp_path: Path) -> None:
    lines = (words.__doc__ or "").splitlines()
    example = textwrap.dedent("\n".join(line for line in lines if line.startswith("    ") or not line))
    path = tmp_path / "poi-export-load-drop.toml"
    path.write_text(example)
    assert load(path).title in example
    tables = set(tomllib.loads(example))
    assert tables >= {key.name for key in keys(Scenario)} - {"modes"}


# case -> old text, new text, path, part of what was read, of what is allowed, of the hint
ONE_PROBLEM = {
    "key that is missing": ("seed = 7\nsite", "seed = 7\n# site", "site", "nothing", "text", "required: a file"),
    "key that is unknown": ("seed = 7", "sed = 7", "sed", "7 (integer), an unknown", "of the file", "'seed'?"),
    "key in another table": ("maintain_s = 10", "for_ms = 3", "step[0].for_ms", "3", "[step[0]]", "for_s"),
    "key of another table": ("for_s = 5", "for_s = 5\ntested = []", "step[1].tested", "", "", "[judge]"),
    "key above the first table": ("skip", "seed = 8\nskip", "judge.seed", "8", "of [judge]", "above the"),
    "number out of its range": ("seed = 7", "seed = -7", "seed", "-7 (integer)", "from 0", ""),
    "number with a unit": ("length_s = 90", 'length_s = "90 s"', "length_s", "'90 s'", "above 0", "write 90"),
    "number that is none": ("length_s = 90", "length_s = nan", "length_s", "nan", "a number", ""),
    "number without end": ("length_s = 90", "length_s = inf", "length_s", "inf", "above 0 to 3", ""),
    "number below 0": ("at_s = 24", "at_s = -1", "step[0].at_s", "-1 (integer)", "from 0", ""),
    "number in a point": ("[24, 300]", "[24, nan]", "stimulus[0].points[1][1]", "nan", "a number", ""),
    "point of one number": ("[24, 300]", "[24]", "stimulus[0].points[1]", "a list of 1", '"nothing"]', ""),
    "text that is no text": ('"smoke"', "3", "tags[1]", "3 (integer)", "text of 1 to 1000", ""),
    "text that is empty": ('title = "The', 'title = ""\n# "', "title", "''", "text of 1 to 200", ""),
    "id of odd letters": ('"meter-late"', '"Meter Late"', "id", "'Meter Late'", "small letters, digits", ""),
    "id of another file": ('"meter-late"', '"meter-early"', "id", "'meter-early'", "meter-late", "rename"),
    "time without offset": ("17:59:00-06:00", "17:59:00", "start", "17:59:00 (datetime)", "its offset", ""),
    "date without time": ("2026-07-01T17:59:00-06:00", "2026-07-01", "start", "", "its offset", ""),
    "unknown mode": ("heal_s", 'modes = ["modle"]\nheal_s', "modes[0]", "'modle'", '"lockstep", "m', "'model'?"),
    "no mode": ("heal_s", "modes = []\nheal_s", "modes", "a list of 0", "a list", "where it can run"),
    "mode twice": ("heal_s", 'modes = ["model", "model"]\nheal_s', "modes", "model, model", "once", ""),
    "table for a list": ("[[fault]]", "[fault]", "fault", "a table", "tables [[fault]]", "two brackets"),
    "text for a table": ("[judge]\nskip", 'judge = 3\n"skip"', "row[1].judge", "3", "of [row[1]]", "above"),
    "unknown site": ('"demo"', '"dmeo"', "site", "'dmeo'", "a file in profiles/sites", "'demo'?"),
    "site that is no file": ('"demo"', '"other.toml"', "site", "'other.toml'", "the path of a .toml", ""),
    "site in another folder": ('"demo"', '"../LICENSE"', "site", "'../LICENSE'", "profiles/sites", ""),
    "unknown change": ("poi.export_max_w", "poi.exprt_max_w", 'override."poi.exprt_max_w"', "", "[poi]", "'exp"),
    "change of nothing": ("poi.export_max_w", "pio.export_max_w", 'override."pio.export_max_w"', "", "site f", "poi"),
    "change of no device": ("device.meter", "device.metre", 'override."device.metre.poll_ms"', "", "NAME", "meter"),
    "change without a key": ("device.meter.poll_ms", "device.meter", 'override."device.meter"', "", "KEY", ""),
    "change within a value": ("export_max_w =", "export_max_w.x =", 'override."poi.export_max_w.x"', "'x'", "", ""),
    "change out of range": ("5500", "-5500", 'override."poi.export_max_w"', "-5500", "from 0", ""),
    "change in a unit": ("5500", '"5 kW"', 'override."poi.export_max_w"', "'5 kW'", "an integer", "write 5000"),
    "change that does not fit": (
        '_ms" = 500',
        '_ms" = 1900',
        "override, demo.toml: device[1].stale_after_ms",
        "2000",
        "3800",
        "",
    ),
    "required key left out": ("5500", '"nothing"', 'override."poi.export_max_w"', "'nothing'", "", "cannot be left"),
    "unknown part": ("[plant.battery]", "[plant.batery]", "plant.batery", "'batery'", "device", "'battery'?"),
    "unknown key of a part": ("soc = 0.7", "sok = 0.7", "plant.battery.sok", "0.7", "[plant.battery]", "'soc'?"),
    "part out of range": ("soc = 0.7", "soc = 70", "plant.battery.soc", "70", "from 0 to 1", ""),
    "key deep in a part": ("soc = 0.7", "capacity_wh = 9", "plant.battery.capacity_wh", "9", "", "[plant.battery.p"),
    "part that does not fit": (
        "[plant.battery]\nsoc = 0.7",
        "[plant.inverter]\nderate_to_c = 20",
        "plant",
        "derate_to_c 20",
        "values that fit together",
        "",
    ),
    "unknown input": ('"load_w"', '"laod_w"', "stimulus[0].set", "'laod_w'", "an input", "'load_w'?"),
    "input played twice": ('"utility.set_w"', '"load_w"', "stimulus[1].set", "", "nothing else", "stimulus[0]"),
    "input without a signal": ("points = [[0, 5000], [24, 300]]", "", "stimulus[0]", "a signal is", "fit", ""),
    "points out of order": ("[24, 300]", "[0, 300]", "stimulus[0]", "0 s stands after 0 s", "fit", ""),
    "input that begins late": ("[0, 5000]", "[3, 5000]", "stimulus[0].points[0]", "3 s", "at 0 s", "before"),
    "input that never plays": ("[2, 8000], [80", "[90, 8000], [91", "stimulus[1].points[0]", "90 s", "before", ""),
    "input out of range": ("[0, 5000]", "[0, -1]", "stimulus[0].points[0]", "-1", "from 0", ""),
    "load of nothing": ("[24, 300]", '[24, "nothing"]', "stimulus[0].points[1]", "'nothing'", "from 0", "utility"),
    "charge beyond full": ('"load_w"', '"battery.soc"', "stimulus[0].points[0]", "5000", "from 0 to 1", ""),
    "charge of a meter": ('"load_w"', '"meter.soc"', "stimulus[0].set", "'meter.soc'", "battery.soc", ""),
    "input of a row played": ("{pv_w", "{load_w", "row[0].set.load_w", "1000", "no stimulus", "stimulus[0]"),
    "input of a row unknown": ("{pv_w", "{pv_kw", "row[0].set.pv_kw", "'pv_kw'", "an input", "'pv_w'?"),
    "input of a row out of range": ("pv_w = 1000", "pv_w = -1", "row[0].set.pv_w", "-1", "from 0", ""),
    "text as a row's input": ("pv_w = 1000", 'pv_w = "much"', "row[0].set.pv_w", "'much'", "a number", ""),
    "unknown fault": (
        'id = "F60"',
        'id = "F62"',
        "fault[0].id",
        "'F62'",
        "F01 to F100: F60, F81",
        "did you mean 'F60'?",
    ),
    "fault of no form": ('id = "F60"', 'id = "60"', "fault[0].id", "'60'", "F01 to F100", ""),
    "fault that cannot be done": (
        'id = "F60"',
        'id = "F81"',
        "fault[0].id",
        "F81 (certificate)",
        "with a verb",
        "no door",
    ),
    "unknown verb": ('id = "F60"', 'do = "lat"', "fault[0].do", "'lat'", "a verb: kill, late", "'late'?"),
    "fault without a verb": ('id = "F60"', "", "fault[0]", "neither id nor do", "a row of the catalogue", ""),
    "target that is not there": ('on = "meter"', 'on = "metre"', "fault[0].on", "'metre'", "late can", "'meter'?"),
    "target of another kind": ('on = "meter"', 'on = "battery"', "fault[0].on", "of kind battery", "hit: meter", ""),
    "target that is missing": ('on = "meter"', "", "fault[0].on", "nothing", "late can hit: meter", ""),
    "parameter out of range": (
        "latency_s = 0.8",
        "latency_s = 80",
        "fault[0].with.latency_s",
        "80",
        "0 to 10 s",
        "how",
    ),
    "parameter of another kind": ("_s = 0.8", "_s = true", "fault[0].with.latency_s", "true", "0 to 10 s", ""),
    "parameter in another unit": (
        "latency_s = 0.8",
        "latency_ms = 8000",
        "fault[0].with.latency_ms",
        "8000",
        "late",
        "8",
    ),
    "unknown parameter": ("latency_s = 0.8", "jitter_s = 0.8", "fault[0].with.jitter_s", "0.8", "of late", ""),
    "fault of two begins": ("at_s = 20", "at_s = 20\nper_s = 1", "fault[0]", "at_s and per_s", "one of at_s", ""),
    "fault after the end": ("at_s = 20", "at_s = 90", "fault[0].at_s", "90", "before ", "never begins"),
    "fault after the healing": ("at_s = 20", "at_s = 55", "fault[0].at_s", "55", "heal_s = 55", "never"),
    "stability of one fault": ("for_s = 30", "stability_s = 3", "fault[0].stability_s", "3", "with per_s", "once"),
    "fault of a wrong condition": ("at_s = 20", 'when = "soc < 1"', "fault[0].when, column 1", "'soc'", "", ""),
    "direction of no wire": ("at_s = 20", 'direction = "upp"', "fault[0].direction", "'upp'", '"up"', "'up'?"),
    "step of two kinds": ("for_s = 5", 'for_s = 5\nnever = "t_s < 0"', "step[1]", "always and never", "one", ""),
    "step of no kind": ("always = ", "says = ", "step[1]", "none of them", "one of until", ""),
    "step of a wrong name": ("poi_w <=", "poi <=", "step[0].until, column 1", "'poi'", "poi_w, pv_w", "'poi_w'?"),
    "step of a name the site has not": (
        "site.poi.export",
        "site.poi.exprt",
        "step[0].until, column 10",
        "",
        "site.poi",
        "",
    ),
    "step of a device there is not": (
        "inverter.ac_w",
        "inv1.ac_w",
        "step[1].always, column 5",
        "'inv1",
        "inverter...",
        "",
    ),
    "step that never can be": (
        "abs(inverter",
        "decided.why == 'rmp' and abs(inverter",
        "step[1].always, column 1",
        "'rmp'",
        "one of blocked, bms_current",
        "'ramp'?",
    ),
    "always within": ("for_s = 5", "for_s = 5\nwithin_s = 3", "step[1].within_s", "3", "with until", ""),
    "always without end": ("for_s = 5", "", "step[1].for_s", "nothing", "for how long, with always", ""),
    "until for a time": ("maintain_s = 10", "for_s = 10", "step[0].for_s", "10", "with always", "within_s"),
    "step that ends too late": ("maintain_s = 10", "maintain_s = 65", "step[0]", "done at 91 s", "= 90", ""),
    "step that begins too late": ("at_s = 24", "at_s = 90\nfor_ = 1", "step[0].for_", "1", "", ""),
    "step after the end": ("for_s = 5", "for_s = 57", "step[1]", "done at 91 s", "length_s = 90", ""),
    "step before it can begin": ("for_s = 5", "for_s = 5\nat_s = 30", "step[1].at_s", "30", "at least 34", ""),
    "rows out of order": ("t_s = 60", "t_s = 58", "row[1].t_s", "58", "after the row before, 58", ""),
    "row after the end": ("t_s = 60", "t_s = 90", "row[1].t_s", "90", "length_s = 90", ""),
    "row of nothing": ("set = {pv_w = 1000}", "", "row[0]", "neither set nor expect", "one of them", ""),
    "row's rule is unknown": ('"poi_limit"', '"poi_limt"', "row[1].expect.why", "'poi_limt'", "", "'poi_limit'?"),
    "row's program is unknown": ('why = "poi_limit"', 'mode = "folow"', "row[1].expect.mode", "", "", "'follow'?"),
    "row's range is upside down": ("[4500, 4900]", "[4900, 4500]", "row[1].expect.target_w", "[4900", "lower", ""),
    "row's bar is none": ("[4500, 4900]", '"< 3"', "row[1].expect.target_w", "'< 3'", '"<= number"', ""),
    "row's fault is unknown": (
        '"meter_stale meter"]}',
        '"stale meter"]}',
        "row[1].expect.faults[0]",
        "'stale'",
        "",
        "",
    ),
    "fault of nobody": (
        '= ["meter_stale meter"]\nm',
        '= ["meter_stale"]\nm',
        "judge.expect_faults[0]",
        "",
        "where",
        "",
    ),
    "fault of no device": ('er"]\nmetr', 'e"]\nmetr', "judge.expect_faults[0]", "'mete'", "battery, contr", "'meter'?"),
    "fault of a wrong name": (
        '["meter_stale meter"]\nm',
        '["metr_stale meter"]\nm',
        "judge.expect_faults[0]",
        "",
        "",
        "'meter_s",
    ),
    "unknown invariant": ('["poi_export"]', '["poi_exprt"]', "judge.tested[0]", "'poi_exprt'", "poi_import", "'poi"),
    "skipped without a reason": ("reason = {ramp", "# reason = {", "judge.skip[0]", "without a", "reason.ramp", ""),
    "reason for nothing": ('skip = ["ramp"]', "", "judge.reason.ramp", "a reason", "in skip", ""),
    "skipped and tested": ('["poi_export"]', '["ramp"]', "judge.skip[0]", "'ramp', which is in", "one of the two", ""),
    "unknown time": ("poi_s = 3.0", "poi_ms = 3000", "judge.allow.poi_ms", "3000", "[judge.allow]", "'poi_s'?"),
    "unknown metric": ("poi_over_s =", "poi_over =", "judge.metrics.poi_over", "'poi_over'", "olrt_s", "'poi_"),
    "bar that is none": ('"<= 2"', '"< 2"', "judge.metrics.poi_over_s", "'< 2'", "number", "'< 2' is no bar"),
    "restarts upside down": ("within_s = 20", "within_s = 20\nrestarts = [2, 1]", "judge.restarts", "[2, 1]", "", ""),
    "converged of a wrong name": ('"poi_w < 6000"', '"poi < 6"', "judge.converged, column 1", "'poi'", "", "'poi_w'?"),
    "healing after the end": ("heal_s = 55", "heal_s = 90", "heal_s", "90", "length_s = 90", ""),
    "converged too late": ("within_s = 20", "within_s = 36", "judge.within_s", "36", "at most 35", ""),
    "healing without convergence": ('converged = "poi_w < 6000"', "", "judge.converged", "nothing", "", "come back"),
}


@pytest.mark.parametrize("case", ONE_PROBLEM)
def test_what_is_wrong_is_told_with_its_place(judged: Judged, case: str) -> None:
    old, new, path, read, allowed, hint = ONE_PROBLEM[case]
    text = edited((old, new))
    found = judged(text)
    problem = next((row for row in found if row.path == path), None)
    assert problem is not None, found
    assert read in problem.read
    assert allowed in problem.allowed
    assert hint in problem.hint
    line = text.splitlines()[problem.line_no - 1] if problem.line_no else ""
    last = re.findall(r"[a-z]+[a-z_]*", path.partition(", ")[0])[-1]
    assert last in line or line.startswith("[") or (path, read) == ("site", "nothing"), f"{path} is told at {line!r}"
    assert str(problem).startswith(f"{problem.file}:{problem.line_no}: {path}: read " if line else problem.file)


def test_sound_file_has_no_problem(judged: Judged) -> None:
    assert judged(TEXT) == ()
    assert judged(b"\xef\xbb\xbf" + TEXT.encode()) == ()


# changes that are right, at the edge of what is
RIGHT = {
    "mark of another program": ("seed = 7", "seed = 0"),
    "healing just before the end": ("within_s = 20", "within_s = 35"),
    "step to the very end": ("for_s = 5", "for_s = 54"),
    "wait to the very end": ("maintain_s = 10", "maintain_s = 58.9"),
    "step at the soonest": ("for_s = 5", "for_s = 5\nat_s = 34"),
    "wait without a limit": ("within_s = 2\n", ""),
    "fault by chance": ("at_s = 20", "per_s = 0.1\nstability_s = 5"),
    "fault by its condition": ("at_s = 20", "when = \"battery.soc < 0.5 and not fault('meter_stale', 'meter')\""),
    "fault at once": ("at_s = 20", ""),
    "fault of the controller": ('id = "F60"\non = "meter"', 'do = "stop"\non = "utility"'),
    "row that only ends another": ("[judge]\nskip", "[[row]]\nt_s = 70\n\n[judge]\nskip"),
    "range of one value": ("[4500, 4900]", "[4500, 4500]"),
    "bar of one side": ("[4500, 4900]", '">= -3.5"'),
    "utility says nothing from the start": ("[2, 8000], [80", "[89.9, 8000], [91"),
    "utility asks nonsense": ("[2, 8000]", "[2, 1000000000.0]"),
    "charge from the start": ("{pv_w = 1000}", '{"battery.soc" = 1, grid_hz = 50.2, "utility.limit_pct" = "nothing"}'),
    "two signals in one": ('set = "load_w"', 'set = "load_w"\nnoise = {sigma = 20}'),
    "key left out": ('"device.meter.poll_ms" = 500', 'device.meter.stale_after_ms = "nothing"'),
    "parts that are no device": ("[plant.battery]\nsoc = 0.7", "[plant.grid]\nr_ohm = 0.1"),
    "tables within a part": ("soc = 0.7", "pack = {capacity_factor = 0.7}"),
    "restarts": ("within_s = 20", 'within_s = 20\nrestarts = "<= 1"'),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right_is_taken(judged: Judged, case: str) -> None:
    text = edited(RIGHT[case])
    if case == "fault of the controller":
        text = text.replace("with = {latency_s = 0.8}", "")
    assert judged(text) == ()


RANGES = {
    "load_w": (0, 1e7),
    "pv_w": (0, 1e7),
    "grid_hz": (40, 70),
    "grid_v_pu": (0, 1.5),
    "ambient_c": (-40, 80),
    "battery.soc": (0, 1),
    "utility.set_w": (-1e9, 1e9),
    "utility.limit_pct": (0, 100),
    "utility.heartbeat": (0, 1),
    "utility.cease": (0, 1),
}


@pytest.mark.parametrize("name", RANGES)
def test_input_is_within_its_range(judged: Judged, name: str) -> None:
    low, high = RANGES[name]
    for value, right in ((low, True), (high, True), (low - 0.01, False), (high + 0.01, False)):
        text = f'id = "meter-late"\ntitle = "one input"\nsite = "demo"\nlength_s = 10\n[[stimulus]]\nset = "{name}"\n'
        found = [row.path for row in judged(f"{text}points = [[0, {value!r}]]")]
        assert found == ([] if right else ["stimulus[0].points[0]"]), value


def test_one_wrong_value_of_a_table_is_told_alone(judged: Judged) -> None:
    (problem,) = judged(edited(("{poi_s = 3.0}", '{silence_s = 2, poi_s = "3 s"}')))
    assert (problem.path, problem.read, problem.hint) == ("judge.allow.poi_s", "'3 s' (text)", problem.hint)
    (problem,) = judged(edited(('["poi", "smoke"]', '["poi", "", "smoke"]')))
    assert problem.path == "tags[1]"


def test_tables_are_no_more_than_they_may_be(judged: Judged) -> None:
    rows = "".join(f'[[stimulus]]\nset = "load_w"\npoints = [[0, {number}]]\n' for number in range(101))
    begin = 'id = "meter-late"\ntitle = "too many"\nsite = "demo"\nlength_s = 10\n'
    (problem,) = judged(begin + rows)
    assert (problem.path, problem.read, problem.allowed) == (
        "stimulus",
        "a list of 101",
        "0 to 100 tables [[stimulus]]",
    )


def test_edges_are_where_they_are_said(judged: Judged) -> None:
    for latency_s, right in ((0, True), (10, True), (-0.001, False), (10.001, False)):
        assert (judged(edited(("latency_s = 0.8", f"latency_s = {latency_s}"))) == ()) is right
    assert judged(edited(("for_s = 5", "for_s = 5\nat_s = 85"))) == ()
    (problem,) = judged(edited(("for_s = 5", "for_s = 5\nat_s = 85.1")))
    assert problem.read == "a step that is done at 90.1 s"
    assert {row.path for row in judged(edited(("[0, 5000]", "[0.5, 5000]")))} == {"stimulus[0].points[0]"}
    assert [row.path for row in judged(edited(("heal_s = 55", "heal_s = 90")))] == ["heal_s"]


def test_names_that_are_few_are_the_hint_and_many_are_what_is_allowed(judged: Judged) -> None:
    (few,) = judged(edited(('["poi_export"]', '["zzz"]')))
    assert (few.allowed, few.hint) == ("an invariant", "known: poi_export, poi_import, ramp")
    (many,) = judged(edited(('expect_faults = ["meter_stale meter"]', 'expect_faults = ["zzz meter"]')))
    assert many.allowed == f"a fault of the controller: {', '.join(sorted(FAULTS))}"
    assert not many.hint


def test_fault_has_to_be_possible_in_every_mode(judged: Judged) -> None:
    kill = (('id = "F60"\non = "meter"', 'id = "F91"'), ("with = {latency_s = 0.8}", "with = {hard = false}"))
    (problem,) = judged(edited(*kill))
    assert problem.path == "fault[0]"
    assert problem.read == "kill, which cannot be done in mode model"
    assert problem.hint == 'modes = ["lockstep"]'
    assert judged(edited(*kill, ("heal_s = 55", 'heal_s = 55\nmodes = ["lockstep"]'))) == ()
    (problem,) = judged(edited(*kill[:1], ("with = {latency_s = 0.8}", "with = {hard = 1}"), LOCKSTEP_ONLY))
    assert (problem.path, problem.allowed) == ("fault[0].with.hard", "true or false")


LOCKSTEP_ONLY = ("heal_s = 55", 'heal_s = 55\nmodes = ["lockstep"]')


def test_word_of_a_parameter_is_one_of_its_choices(judged: Judged) -> None:
    verb_of = ('id = "F60"', 'do = "unplug"')
    assert judged(edited(verb_of, ("latency_s = 0.8", 'connects = "refuse"'))) == ()
    (problem,) = judged(edited(verb_of, ("latency_s = 0.8", 'connects = "refused"')))
    assert (problem.allowed, problem.hint) == ("one of 'hang', 'refuse'", "did you mean 'refuse'?")


def test_scenario_without_healing_waits_for_nothing(judged: Judged) -> None:
    text = edited(("heal_s = 55", ""))
    assert {row.path for row in judged(text)} == {"judge.converged", "judge.within_s"}
    assert judged(text.replace('converged = "poi_w < 6000"\nwithin_s = 20\n', "")) == ()


def test_all_problems_are_told_at_once_in_the_order_of_the_file(judged: Judged, tmp_path: Path) -> None:
    problems = judged(edited(("seed = 7", "seed = 7.5"), ("at_s = 20", "at_s = 99"), ('["poi_export"]', '["poi"]')))
    assert [(row.line_no, row.path) for row in problems] == [
        (5, "seed"),
        (29, "fault[0].at_s"),
        (29, "fault[0].at_s"),
        (57, "judge.tested[0]"),
    ]
    first = str(ScenarioError(problems)).splitlines()[0]
    assert first.removeprefix(str(tmp_path / "meter-late.toml")) == (
        ":5: seed: read 7.5 (number with a decimal point), allowed: an integer from 0 to 9223372036854775807; "
        "whole numbers only: write 7 or 8"
    )


def test_wrong_site_does_not_hide_what_else_is_wrong(judged: Judged) -> None:
    problems = judged(edited(('"demo"', '"dmeo"'), ("at_s = 20", "at_s = 99"), ('"load_w"', '"battery.soc"')))
    assert [row.path for row in problems] == ["site", "fault[0].at_s", "fault[0].at_s"]


@pytest.mark.parametrize(
    ("content", "line_no", "path", "read"),
    [
        (b'id = "a"\nseed = = 7\n', 2, "line 2, column 8", "Invalid value"),
        (b'id = "a"\n\nid = "b"\n', 3, "line 3, column", "Cannot overwrite"),
        (b'id = "a', 1, "end of document", "Unterminated string"),
        (b"a = " + b"[" * 3000, 0, "(file)", "nested without end"),
        (b'id = "\xff"', 0, "(file)", "byte 7 is 0xff"),
    ],
)
def test_file_that_is_no_toml(judged: Judged, content: bytes, line_no: int, path: str, read: str) -> None:
    (problem,) = judged(content)
    assert problem.line_no == line_no
    assert path in problem.path
    assert read in problem.read


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none\.toml: \(file\): read nothing: No such file"):
        load(tmp_path / "none.toml", KNOWN)


def test_site_may_stand_beside_the_scenario(judged: Judged, tmp_path: Path) -> None:
    demo = (HOUSE / "profiles/sites/demo.toml").read_text()
    (tmp_path / "mine.toml").write_text(demo.replace("export_max_w = 6000", "export_max_w = 4000"))
    text = edited(('"demo"', '"mine.toml"'), ("poi.export_max_w = 5500", ""))
    assert judged(text) == ()
    assert site(load(tmp_path / "meter-late.toml", KNOWN), tmp_path).poi.export_max_w == 4000
    (tmp_path / "mine.toml").write_text(demo.replace("export_max_w = 6000", "export_max_w = -1"))
    (problem,) = judged(text)
    assert (problem.path, problem.read) == ("site, mine.toml: poi.export_max_w", "-1 (integer)")


def test_key_that_is_left_out_makes_room_for_another(judged: Judged, tmp_path: Path) -> None:
    change = 'utility.default.program = "nothing"\nutility.default.power_w = -500'
    assert judged(edited(("poi.export_max_w = 5500", change))) == ()
    default = site(load(tmp_path / "meter-late.toml", KNOWN), tmp_path).utility.default
    assert (default.program, default.power_w) == (None, -500)
    (problem,) = judged(edited(("poi.export_max_w = 5500", 'utility.default.program = "nothing"')))
    assert problem.path == 'override."utility.default.program"'
    assert "neither program nor power_w" in problem.read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with three scenarios: smoke/one, smoke/two, long/three."""
    for name, tag in (("smoke/one", "poi"), ("smoke/two", "bms"), ("long/three", "poi")):
        path = tmp_path / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(edited(('"meter-late"', f'"{path.stem}"'), ('["poi", "smoke"]', f'["{tag}"]')))
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ((), ["three", "one", "two"]),
        (("two",), ["two"]),
        (("smoke",), ["one", "two"]),
        (("poi",), ["three", "one"]),
        (("bms", "long"), ["three", "two"]),
    ],
)
def test_scenarios_are_found_by_id_folder_and_tag(folder: Path, wanted: tuple[str, ...], ids: list[str]) -> None:
    found = find(folder, wanted, KNOWN)
    assert [scenario.id for _, scenario in found] == ids
    assert all(load(path, KNOWN) == scenario for path, scenario in found)


def test_word_that_stands_for_no_scenario(folder: Path) -> None:
    with pytest.raises(ScenarioError, match=r"read 'smok' .text., allowed: an id, .* did you mean 'smoke'"):
        find(folder, ("poi", "smok"), KNOWN)


def test_two_scenarios_of_one_id(folder: Path) -> None:
    (folder / "long" / "one.toml").write_text((folder / "smoke" / "one.toml").read_text())
    with pytest.raises(ScenarioError) as told:
        find(folder, (), KNOWN)
    (problem,) = told.value.problems
    assert problem.file == str(folder / "smoke" / "one.toml")
    assert problem.path == "id"
    assert f"{folder / 'long' / 'one.toml'} has it too" in problem.hint


def test_wrong_files_of_a_folder_are_told_together(folder: Path) -> None:
    for name in ("smoke/one", "long/three"):
        (folder / f"{name}.toml").write_text("seed = 3")
    with pytest.raises(ScenarioError) as told:
        find(folder, ("smoke",), KNOWN)
    assert {problem.file for problem in told.value.problems} == {
        str(folder / f"{name}.toml") for name in ("smoke/one", "long/three")
    }
