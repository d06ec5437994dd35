"""A site file is judged whole: every problem with where it is, what was read, what is allowed, what was meant."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from controller.app.blank import blank
from controller.app.checks import CHECKS
from controller.app.keys import Key, keys
from controller.app.sitefile import BYTES_MAX, Problem, SiteError, load, profile, profile_names, profile_text
from controller.app.summary import summary
from controller.model import Profile, Site

Judge = Callable[[str | bytes], tuple[Problem, ...]]
DEMO = (Path(__file__).parent / "golden" / "site.toml").read_text()


@pytest.fixture
def judged(tmp_path: Path) -> Judge:
    """Return a function from a text to the problems that are told of it."""

    def judge(content: str | bytes) -> tuple[Problem, ...]:
        path = tmp_path / "site.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            load(path)
        except SiteError as error:
            return error.problems
        return ()

    return judge


def edited(*changes: tuple[str, str]) -> str:
    """Return the demo's file with each old text replaced once. An old text that is not there is a wrong test."""
    text = DEMO
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def test_demo_site_has_no_problem() -> None:
    site = load(Path(__file__).parents[1] / "profiles" / "sites" / "demo.toml")
    assert site.utility.default.program == "self_consumption"


def test_what_the_site_file_leaves_out_comes_from_the_profiles() -> None:
    site = load(Path(__file__).parent / "golden" / "site.toml")
    assert [unit.watchdog_s for unit in site.unit] == [profile("inverters/sunspec_der").watchdog_s]
    assert [unit.settle_ms for unit in site.unit] == [profile("inverters/sunspec_der").settle_ms]
    assert [device.poll_ms for device in site.device] == [500, 200, profile("batteries/pylontech_lv").poll_ms]
    assert all(device.stale_after_ms is not None for device in site.device)


def test_what_the_site_file_says_goes_before_the_profile(judged: Judge, tmp_path: Path) -> None:
    assert judged(edited(("capacity_wh = 25000", "capacity_wh = 25000\nwatchdog_s = 20\nsettle_ms = 0"))) == ()
    unit = load(tmp_path / "site.toml").unit[0]
    assert (unit.watchdog_s, unit.settle_ms) == (20, 0)


def test_written_blank_passes_its_own_check_and_names_every_key(judged: Judge) -> None:
    assert judged(blank()) == ()

    def names(of: type[msgspec.Struct]) -> list[str]:
        return [name for key in keys(of) for name in ([key.name] if key.table is None else names(key.table))]

    lines = [line.removeprefix("# ") for line in blank().splitlines()]
    for name in names(Site):
        assert any(line.startswith(f"{name} =") for line in lines), name


def test_every_key_of_the_site_file_has_a_meaning_and_a_range() -> None:
    def every(of: type[msgspec.Struct]) -> list[Key]:
        return [one for key in keys(of) for one in [key, *(every(key.table) if key.table else [])]]

    for key in every(Site):
        assert key.meaning, key.name
        assert key.allowed, key.name


POWER_10001 = ('program = "self_consumption"', "power_w = 10001")
CHARGE_10001 = ('program = "self_consumption"', "power_w = -10001")
# change of the demo's file -> path, part of what was read, part of what is allowed, part of the hint
ONE_PROBLEM = {
    "integer below its range": (("25000", "50"), "unit[0].capacity_wh", "50 (integer)", "from 100 to 100000000", ""),
    "integer above its range": (("cycle_ms = 1000", "cycle_ms = 99999"), "cycle_ms", "99999", "100 to 10000", ""),
    "integer beyond 64 bits": (("25000", "9" * 30), "unit[0].capacity_wh", "999", "100000000", ""),
    "text with a unit": (("= 6000", '= "6 kW"'), "poi.export_max_w", "'6 kW'", "an integer", "write 6000"),
    "text with a comma": (("= 6000", '= "5,5 kW"'), "poi.export_max_w", "5,5 kW", "an integer", "write 5500"),
    "text that is a number": (("= 6000", '= "6000"'), "poi.export_max_w", "'6000'", "an integer", "write 6000"),
    "text in another dimension": (("= 6000", '= "6 km"'), "poi.export_max_w", "6 km", "an integer", "most the site"),
    "whole float": (("= 6000", "= 6000.0"), "poi.export_max_w", "6000.0", "an integer", "write 6000"),
    "broken float": (("= 6000", "= 5.5"), "poi.export_max_w", "5.5", "an integer", "5 or 6"),
    "not a number": (("= 6000", "= nan"), "poi.export_max_w", "nan", "an integer", ""),
    "truth for a number": (("= 6000", "= true"), "poi.export_max_w", "true", "an integer", ""),
    "number for a text": (('name = "demo"', "name = 5"), "name", "5 (integer)", "text of 1 to 64", ""),
    "empty name": (('name = "demo"', 'name = ""'), "name", "''", "1 to 64", ""),
    "unknown program": (('"self_consumption"', '"selfconsumption"'), "utility.default.program", "", "hold", "self_"),
    "unknown key": (("lease_s", "leese_s"), "utility.leese_s", "unknown key", "[utility]", "did you mean 'lease_s'?"),
    "unknown table": (("[poi]", "[batery]\n[poi]"), "batery", "unknown key", "of the file", ""),
    "key in a wrong table": (("[poi]", "[poi]\ncycle_ms = 1000"), "poi.cycle_ms", "unknown", "[poi]", "above the"),
    "key of another table": (("lease_s = 10", "margin_w = 10"), "utility.margin_w", "unknown", "", "belongs in [poi]"),
    "key in another unit": (("lease_s = 10", "lease_min = 2"), "utility.lease_min", "2", "", "'lease_s'? write 120"),
    "table for a list": (("[[unit]]", "[unit]"), "unit", "a table", "[[unit]]", "two brackets"),
    "floor above ceiling": (("floor_pct = 10", "floor_pct = 96"), "energy.floor_pct", "96", "less than energy", ""),
    "floor at ceiling": (("floor_pct = 10", "floor_pct = 95"), "energy.floor_pct", "95", "less than energy", ""),
    "reserve below floor": (("reserve_pct = 30", "reserve_pct = 9"), "energy.reserve_pct", "9", "from energy", ""),
    "reserve at ceiling": (("reserve_pct = 30", "reserve_pct = 95"), "energy.reserve_pct", "95", "to below", ""),
    "reserve above capacity": (("reserve_pct = 30", "reserve_pct = 130"), "energy.reserve_pct", "130", "0 to 100", ""),
    "unknown profile": (("/sunspec_der", "/sunspec_dre"), "device[0].profile", "dre", "profiles/", "sunspec_der'"),
    "profile that leaves its folder": (("inverters/sunspec_der", "../LICENSE"), "device[0].profile", "..", "", ""),
    "unknown meter": (('meter = "meter"', 'meter = "metre"'), "poi.meter", "'metre'", "kind meter", "'meter'"),
    "meter as battery": (('battery = "battery"', 'battery = "meter"'), "unit[0].battery", "kind meter", "battery", ""),
    "two of a name": (('name = "meter"', 'name = "inverter"'), "device[1].name", "inverter", "no other", "device[0]"),
    "url of another protocol": (("slcan://127", "tcp://127"), "device[2].url", "tcp", "slcan://HOST", "scheme"),
    "url without a port": ((":8504?", "?"), "device[1].url", "", "tcp://HOST:PORT?unit=", "not HOST:PORT"),
    "url without a unit": ((":8504?unit=1", ":8504"), "device[1].url", "", "unit=1 .. 247", "missing"),
    "url with unit 0": ((":8504?unit=1", ":8504?unit=0"), "device[1].url", "", "unit=1 .. 247", "'0'"),
    "url with unit 248": ((":8504?unit=1", ":8504?unit=248"), "device[1].url", "", "unit=1 .. 247", "'248'"),
    "url with port 65536": ((":8504?", ":65536?"), "device[1].url", "", "", "65536"),
    "url with a path": ((":8504?", ":8504/x?"), "device[1].url", "", "", "more in it"),
    "serial line that is none": (("slcan://127.0.0.1:8505", "slcan:///etc/x"), "device[2].url", "", "/dev/TTY", "dev"),
    "unknown bit rate": (("1:8505", "1:8505?bitrate=7"), "device[2].url", "", "", "500000"),
    "long interface name": (("slcan://127.0.0.1:8505", f"socketcan://{'c' * 16}"), "device[2].url", "", "", "is not"),
    "stale before two polls": (("s = 2000", "s = 999"), "device[0].stale_after_ms", "999", "1000", ""),
    "polls beyond its age": (('505"', '505"\npoll_ms = 2000'), "device[2].stale_after_ms", "3500", "4000", ""),
    "unknown time zone": (('"UTC"', '"Europe/Berln"'), "timezone", "Berln", "IANA", "'Europe/Berlin'"),
    "time zone that is a folder": (('"UTC"', '"Europe"'), "timezone", "'Europe'", "IANA", ""),
    "time zone outside": (('"UTC"', '"../../etc/passwd"'), "timezone", "passwd", "IANA", ""),
    "no default": (('program = "self_consumption"', ""), "utility.default", "neither", "one of the two", "hold"),
    "two defaults": (("[utility.default]", "[utility.default]\npower_w = 0"), "utility.default", "both", "one of", ""),
    "default beyond discharge": (POWER_10001, "utility.default.power_w", "10001", "from -10000 to 10000", "toward"),
    "default beyond charge": (CHARGE_10001, "utility.default.power_w", "-10001", "from -10000", ""),
    "port 0": (("1:8502", "1:0"), "utility.listen", ":0", "HOST:PORT", "'0'"),
    "port 65536": (("1:8502", "1:65536"), "utility.listen", "65536", "HOST:PORT", "1 to 65535"),
    "port alone": (('"127.0.0.1:8502"', '"8502"'), "utility.listen", "'8502'", "HOST:PORT", "HOST:PORT of the server"),
    "no port": (('"127.0.0.1:8502"', '"localhost"'), "utility.listen", "localhost", "HOST:PORT", ""),
    "taper within the watchdog": (("[energy]", "[energy]\ntaper_s = 10"), "energy.taper_s", "10", "at least 11", ""),
    "cycle beyond a third of the watchdog": (("25000", "25000\nwatchdog_s = 2"), "cycle_ms", "1000", "at most 666", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_PROBLEM)
def test_problem_is_told_with_place_range_and_what_was_meant(judged: Judge, name: str) -> None:
    change, path, read, allowed, hint = ONE_PROBLEM[name]
    problems = judged(edited(change))
    told = [one for one in problems if one.path == path]
    assert len(told) == 1, [str(one) for one in problems]
    problem = told[0]
    assert read in problem.read
    assert allowed in problem.allowed
    assert hint in problem.hint


@pytest.mark.parametrize("name", [name for name in ONE_PROBLEM if name.startswith(("floor", "url", "default", "port"))])
def test_one_mistake_is_told_once(judged: Judge, name: str) -> None:
    assert len(judged(edited(ONE_PROBLEM[name][0]))) == 1


WINDOW = '[[window]]\nstart = "{}"\nminutes = 60\nprogram = "hold"\n[utility]'


@pytest.mark.parametrize("line", ["0 17 * * mon-fri", "*/15 6-9 1 jan *", "30 0 * * sat,sun"])
def test_window_takes_a_crontab_line(judged: Judge, line: str) -> None:
    assert judged(edited(("[utility]", WINDOW.format(line)))) == ()


@pytest.mark.parametrize(
    ("line", "hint"),
    [("0 17 * *", "expected 5"), ("0 25 * * *", ""), ("x 1 * * *", ""), ("0 17 * * 1-5", "weekdays"), ("", "")],
)
def test_window_refuses_what_is_no_crontab_line_or_has_two_readings(judged: Judge, line: str, hint: str) -> None:
    (problem,) = judged(edited(("[utility]", WINDOW.format(line))))
    assert problem.path == "window[0].start"
    assert hint in problem.hint


@pytest.mark.parametrize(
    "change",
    [
        ("floor_pct = 10", "floor_pct = 94\ntaper_s = 11"),
        ("reserve_pct = 30", "reserve_pct = 10"),
        ("reserve_pct = 30", "reserve_pct = 94"),
        ("export_max_w = 6000", "export_max_w = 1000000"),
        ("stale_after_ms = 2000", "stale_after_ms = 1000"),
        ('program = "self_consumption"', "power_w = -10000"),
        ("slcan://127.0.0.1:8505", "socketcan://can0"),
        ("slcan://127.0.0.1:8505", "slcan:///dev/ttyACM0?bitrate=500000"),
        ("tcp://127.0.0.1:8504?unit=1", "tcp://[::1]:8504?unit=247"),
        ("1:8502", "1:65535"),
    ],
)  # fmt: skip
def test_what_is_just_inside_passes(judged: Judge, change: tuple[str, str]) -> None:
    more = [("reserve_pct = 30", "reserve_pct = 94")] if "94" in change[1] and "floor" in change[0] else []
    assert judged(edited(change, *more)) == ()


def test_all_problems_are_told_at_once(judged: Judge) -> None:
    changes = (
        ("cycle_ms = 1000", "cycle_ms = 1"),
        ("export_max_w = 6000", "export_max_kw = 6"),
        ("floor_pct = 10", "floor_pct = 99"),
        ('battery = "battery"', 'battery = "batery"'),
        ("tcp://127.0.0.1:8503?unit=1", "http://127.0.0.1"),
        ('program = "self_consumption"', "power_w = 20000"),
        ('timezone = "UTC"', 'timezone = "Mars/Base"'),
    )
    paths = {problem.path for problem in judged(edited(*changes))}
    assert paths == {
        "cycle_ms",
        "poi.export_max_kw",
        "poi.export_max_w",
        "energy.floor_pct",
        "unit[0].battery",
        "device[0].url",
        "utility.default.power_w",
        "timezone",
    }


def test_wrong_unit_key_says_what_to_write(judged: Judge) -> None:
    unknown, missing = judged(edited(("export_max_w = 6000", "export_max_kw = 6")))
    assert str(unknown) == (
        "poi.export_max_kw: read 6 (integer), an unknown key, allowed: the keys of [poi]; "
        "did you mean 'export_max_w'? write 6000"
    )
    assert missing.path == "poi.export_max_w"
    assert "required: most the site may feed into the grid" in missing.hint


def test_device_that_nothing_names_is_told(judged: Judge) -> None:
    spare = '[[device]]\nname = "spare"\nprofile = "meters/sunspec_meter"\nurl = "tcp://h:502?unit=9"\n[utility]'
    (problem,) = judged(edited(("[utility]", spare)))
    assert problem.path == "device[3].name"
    assert "used nowhere" in problem.read


def test_two_meters_at_one_place_are_told(judged: Judge) -> None:
    spare = (
        '[[device]]\nname = "spare"\nprofile = "meters/sunspec_meter"\nurl = "tcp://127.0.0.1:8504?unit=1"\n[utility]'
    )
    assert "device[3].url" in {problem.path for problem in judged(edited(("[utility]", spare)))}


def test_two_units_cannot_share_an_inverter(judged: Judge) -> None:
    begin = DEMO.index("[[unit]]")
    unit = DEMO[begin : DEMO.index("[[device]]")]
    problems = judged(DEMO.replace(unit, unit + unit.replace('"house"', '"barn"')))
    assert [problem.path for problem in problems] == ["unit[1].inverter", "unit[1].battery"]


def test_inverter_without_a_watchdog_is_refused(judged: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    without = msgspec.structs.replace(profile("inverters/sunspec_der"), watchdog_s=None)
    known = profile
    monkeypatch.setattr("controller.app.sitefile.profile", lambda name: without if "inverters" in name else known(name))
    for text in (DEMO, edited(("25000", "25000\nwatchdog_s = 10"))):
        (problem,) = judged(text)
        assert problem.path == "unit[0].inverter"
        assert "watchdog_s is missing" in problem.read


def test_wrong_profile_is_told_where_it_is_named(judged: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    text = profile_text("inverters/sunspec_der.toml").replace("watchdog_s", "watchdog_ms")
    known = profile_text
    monkeypatch.setattr(
        "controller.app.sitefile.profile_text", lambda name: text if name.startswith("inverters/") else known(name)
    )
    profile.cache_clear()
    (problem,) = judged(DEMO)
    profile.cache_clear()
    assert problem.path == "device[0].profile: profiles/inverters/sunspec_der.toml: watchdog_ms"
    assert "did you mean 'watchdog_s'" in problem.hint


@pytest.mark.parametrize(
    ("content", "path", "read"),
    [
        ("[poi\n", "line 1, column 5", "Expected"),
        ("name = demo", "line 1, column 8", "Invalid value"),
        ("a = 5 kW", "line 1, column 7", "Expected newline"),
        ("a = 1\na = 2", "line 2, its end", "Cannot overwrite"),
        (b"\xff", "(file)", "byte 1 is 0xff"),
        ("a = " + "[" * 10_000, "(file)", "nested without end"),
        (b"#" * (BYTES_MAX + 1), "(file)", "more than 1000000 bytes"),
        ("", "name", "nothing"),
    ],
)
def test_what_is_no_site_file_is_told_with_its_place(judged: Judge, content: str | bytes, path: str, read: str) -> None:
    problem = judged(content)[0]
    assert problem.path == path
    assert read in problem.read


@pytest.mark.parametrize("place", ["absent.toml", "."])
def test_file_that_cannot_be_read_is_told(tmp_path: Path, place: str) -> None:
    with pytest.raises(SiteError, match="read nothing: "):
        load(tmp_path / place)


@pytest.mark.parametrize("content", ["\ufeff" + DEMO, DEMO.replace("\n", "\r\n")])
def test_file_from_a_windows_editor_passes(judged: Judge, content: str) -> None:
    assert judged(content.encode()) == ()


@pytest.mark.parametrize("line", range(len(DEMO.splitlines())))
def test_file_cut_after_any_line_never_breaks_the_check(judged: Judge, line: int) -> None:
    for problem in judged("\n".join(DEMO.splitlines()[:line])):
        assert problem.read
        assert problem.allowed


@pytest.mark.parametrize("value", ["3", "'x'", "[]", "[1]", "{}", "[[]]", "true", "1.5", "2024-01-01", "-1", "[{}]"])
@pytest.mark.parametrize("key", [key.name for key in keys(Site)])
def test_any_value_for_any_key_never_breaks_the_check(judged: Judge, key: str, value: str) -> None:
    for problem in judged(f"{key} = {value}"):
        assert problem.read
        assert problem.allowed


def test_every_profile_can_be_read_and_says_where_its_facts_come_from() -> None:
    assert len(profile_names()) >= 3
    for name in profile_names():
        kind = profile(name)
        assert isinstance(kind, Profile)
        assert name.startswith({"inverter": "inverters/", "meter": "meters/", "battery": "batteries/"}[kind.kind])
        assert len(kind.source) > 20
        assert kind.kind != "inverter" or kind.watchdog_s is not None


def test_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(SiteError, match="did you mean 'meters/sunspec_meter'"):
        profile("meters/sunspec")


def test_summary_tells_the_energy_axis_in_watt_hours() -> None:
    text = summary(load(Path(__file__).parents[1] / "profiles" / "sites" / "demo.toml"))
    assert "0 | floor 2500 | reserve 7500 | ceiling 23750 | 25000 Wh" in text
    assert "12000 W in and 6000 W out" in text


def test_every_check_says_what_it_keeps() -> None:
    assert all(check.__doc__ for check in CHECKS)
