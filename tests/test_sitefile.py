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
from controller.model import Derating, Profile, Site

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
    "number for a battery": (('battery = "battery"', "battery = 3"), "unit[0].battery", "3 (integer)", "a list of", ""),
    "battery list without one": (
        ('battery = "battery"', "battery = []"), "unit[0].battery", "a list of 0", "1 to 32", ""),
    "number among batteries": (
        ('battery = "battery"', 'battery = ["battery", 3]'), "unit[0].battery[1]", "3 (integer)", "each a name",
        "cells"),
    "battery that is no name": (
        ('battery = "battery"', 'battery = ["battery", "B 2"]'), "unit[0].battery[1]", "'B 2'", "each a name", ""),
    "unknown battery in a list": (
        ('battery = "battery"', 'battery = ["battery", "batery"]'), "unit[0].battery[1]", "batery", "kind battery",
        "'battery'"),
    "meter in a list of batteries": (
        ('battery = "battery"', 'battery = ["battery", "meter"]'), "unit[0].battery[1]", "kind meter", "battery", ""),
    "battery twice in a list": (
        ('battery = "battery"', 'battery = ["battery", "battery"]'), "unit[0].battery[1]", "'battery'", "once", ""),
    "curve that is a number": (
        ("25000", "25000\n[unit.derating]\ncharge_by_soc_pct = 90"), "unit[0].derating.charge_by_soc_pct", "90",
        "a list, each [an integer from -100000 to 100000, an integer from 0 to 100]", "charging"),
    "point beyond 100 %": (
        ("25000", "25000\n[unit.derating]\ncharge_by_soc_pct = [[0, 5], [90, 101]]"),
        "unit[0].derating.charge_by_soc_pct[1][1]", "101 (integer)", "0 to 100", ""),
    "point below 0 %": (
        ("25000", "25000\n[unit.derating]\ncharge_by_soc_pct = [[0, -1]]"),
        "unit[0].derating.charge_by_soc_pct[0][1]", "-1 (integer)", "0 to 100", ""),
    "point of one number": (
        ("25000", "25000\n[unit.derating]\ncharge_by_soc_pct = [[0, 5], [90]]"),
        "unit[0].derating.charge_by_soc_pct[1]", "a list of 1", "[an integer from -100000", ""),
    "point with a float": (
        ("25000", "25000\n[unit.derating]\ncharge_by_soc_pct = [[0.0, 5]]"),
        "unit[0].derating.charge_by_soc_pct[0][0]", "0.0", "an integer", "write 0"),
    "curve that falls back": (
        ("25000", "25000\n[unit.derating]\ncharge_by_cell_max_mv = [[3400, 100], [3500, 5], [3499, 0]]"),
        "unit[0].derating.charge_by_cell_max_mv[2]", "[3499, 0]", "above 3500", ""),
    "curve with a step": (
        ("25000", "25000\n[unit.derating]\ndischarge_by_soc_pct = [[3, 100], [3, 5]]"),
        "unit[0].derating.discharge_by_soc_pct[1]", "[3, 5]", "above 3,", ""),
    "number for the latch": (
        ("25000", "25000\n[unit.derating]\nlatch = 1"), "unit[0].derating.latch", "1", "true or false", "voltage"),
    "curve of another name": (
        ("25000", "25000\n[unit.derating]\ncharge_by_cell_mv = []"), "unit[0].derating.charge_by_cell_mv", "unknown",
        "[unit[0].derating]", "'charge_by_cell_max_mv'"),
    "least power beyond charging": (
        ("charge_max_w = 10000", "charge_max_w = 999\nmin_power_w = 1000"), "unit[0].min_power_w", "1000",
        "at most unit[0].charge_max_w = 999", ""),
    "least power beyond discharging": (
        ("discharge_max_w = 10000", "discharge_max_w = 9999\nmin_power_w = 10000"), "unit[0].min_power_w", "10000",
        "at most unit[0].discharge_max_w = 9999", ""),
    "no apparent power": (
        ("25000", "25000\napparent_max_va = 0"), "unit[0].apparent_max_va", "0", "at least 1", "free"),
    "envelope without export": (
        ("[energy]", "[poi.envelope]\nimport_default_w = 5\n[energy]"), "poi.envelope.export_default_w", "nothing",
        "an integer", "leave out both"),
    "envelope without import": (
        ("[energy]", "[poi.envelope]\nexport_default_w = 0\n[energy]"), "poi.envelope.import_default_w", "nothing",
        "an integer", "leave out both"),
    "envelope beyond import": (
        ("[energy]", "[poi.envelope]\nimport_default_w = 12001\nexport_default_w = 6000\n[energy]"),
        "poi.envelope.import_default_w", "12001", "at most poi.import_max_w = 12000", ""),
    "envelope beyond export": (
        ("[energy]", "[poi.envelope]\nimport_default_w = 12000\nexport_default_w = 6001\n[energy]"),
        "poi.envelope.export_default_w", "6001", "at most poi.export_max_w = 6000", ""),
    "failsafe beyond import": (
        ("[energy]", "[poi.consumption]\nfailsafe_w = 12001\n[energy]"), "poi.consumption.failsafe_w", "12001",
        "at most poi.import_max_w = 12000", ""),
    "island below the floor": (
        ("[energy]", "[energy]\nisland_pct = 9"), "energy.island_pct", "9", "= 10 to", ""),
    "island above the ceiling": (
        ("[energy]", "[energy]\nisland_pct = 96"), "energy.island_pct", "96", "to energy.ceiling_pct = 95", ""),
    "storm below the reserve": (
        ("[utility]", '[storm]\nstart = "0 5 1 * *"\nreserve_pct = 29\n[utility]'), "storm.reserve_pct", "29",
        "at least energy.reserve_pct = 30", ""),
    "storm at no time": (
        ("[utility]", '[storm]\nstart = "0 25 * * *"\n[utility]'), "storm.start", "0 25", "weekday", ""),
    "storm on numbered days": (
        ("[utility]", '[storm]\nstart = "0 5 * * 1"\n[utility]'), "storm.start", "* 1", "weekday", "name the weekdays"),
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


ALONE = ("floor", "url", "default", "port", "battery list", "curve that", "point", "least", "no apparent", "envelope")
ALONE += ("failsafe", "island", "storm")


@pytest.mark.parametrize("name", [name for name in ONE_PROBLEM if name.startswith(ALONE)])
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
        ("floor_pct = 10", "floor_pct = 94\ntaper_s = 11\nisland_pct = 95"),
        ("reserve_pct = 30", "reserve_pct = 10"),
        ("reserve_pct = 30", "reserve_pct = 94"),
        ("export_max_w = 6000", "export_max_w = 1000000"),
        ("stale_after_ms = 2000", "stale_after_ms = 1000"),
        ('program = "self_consumption"', "power_w = -10000"),
        ("slcan://127.0.0.1:8505", "socketcan://can0"),
        ("slcan://127.0.0.1:8505", "slcan:///dev/ttyACM0?bitrate=500000"),
        ("tcp://127.0.0.1:8504?unit=1", "tcp://[::1]:8504?unit=247"),
        ("1:8502", "1:65535"),
        ('battery = "battery"', 'battery = ["battery"]'),
        ("25000", "25000\n[unit.derating]\ncharge_by_soc_pct = [[-1, 0], [0, 100], [1, 0]]"),
        ("charge_max_w = 10000", "charge_max_w = 1000\nmin_power_w = 1000"),
        ("charge_max_w = 10000", "charge_max_w = 0\nmin_power_w = 10000"),
        ("25000", "25000\napparent_max_va = 1"),
        ("[energy]", "[poi.envelope]\nimport_default_w = 12000\nexport_default_w = 6000\n[energy]"),
        ("[energy]", "[poi.envelope]\nimport_default_w = 0\nexport_default_w = 0\n[energy]"),
        ("[energy]", "[poi.consumption]\nfailsafe_w = 12000\n[energy]"),
        ("[energy]", "[energy]\nisland_pct = 10"),
        ("[energy]", "[energy]\nisland_pct = 95"),
        ("[utility]", '[storm]\nstart = "0 5 1 * mon"\nreserve_pct = 30\n[utility]'),
        ("[utility]", "[storm]\nreserve_pct = 29\n[utility]"),
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
    assert [problem.path for problem in problems] == ["unit[1].inverter"]


CONTACTS = """
[[device]]
name = "contacts"
profile = "inputs/modbus_discrete"
url = "tcp://127.0.0.1:8506?unit=1"
"""


def contact(name: str, means: str = "no_charge", channel: int = 0, device: str = "contacts", more: str = "") -> str:
    """Return the lines of one digital input."""
    return f'[[input]]\nname = "{name}"\ndevice = "{device}"\nchannel = {channel}\nmeans = "{means}"\n{more}\n'


def wired(*contacts: str, more: str = "") -> str:
    """Return the demo's file with a device of digital inputs and these contacts."""
    return edited(("[utility]", f"{CONTACTS}{''.join(contacts)}{more}[utility]"))


@pytest.mark.parametrize(
    ("contacts", "told"),
    [
        ((contact("stop", "emergency_stop"),), {}),
        ((contact("stop", "emergency_stop", 7), contact("a"), contact("b", channel=1)), {}),
        ((contact("a", channel=8),), {"input[0].channel": "less than 8, the channels of contacts"}),
        ((contact("a"), contact("b", channel=1), contact("c")), {"input[2].channel": "a channel of its own"}),
        ((contact("a", "import_limit", more="limit_w = 0"),), {}),
        ((contact("a", "export_limit", more="limit_w = 5"),), {}),
        ((contact("a", "import_limit"),), {"input[0].limit_w": "an integer, for means is 'import_limit'"}),
        ((contact("a", "export_limit"),), {"input[0].limit_w": "an integer, for means is 'export_limit'"}),
        ((contact("a", "storm", more="limit_w = 0"),), {"input[0].limit_w": "nothing, for means is 'storm'"}),
        ((contact("a", "islanded"),), {"input[0].active": "'closed', for means is 'islanded'"}),
        ((contact("a", "islanded", more='active = "closed"'),), {}),
        ((contact("a"), contact("a", channel=1)), {"input[1].name": "a name that no other input has"}),
        ((contact("a"), contact("b", device="meter")), {"input[1].device": "kind inputs"}),
        ((contact("a"), contact("b", device="contact")), {"input[1].device": "kind inputs"}),
        ((contact("a"), contact("b", "rain", 1)), {"input[1].means": "one of"}),
        ((contact("a"), contact("b", channel=64)), {"input[1].channel": "from 0 to 63"}),
        ((), {"device[3].name": "a device that something names"}),
    ],
)
def test_contacts_are_wired_to_channels_of_their_own_and_limit_only_where_they_mean_it(
    judged: Judge, contacts: tuple[str, ...], told: dict[str, str]
) -> None:
    found = {problem.path: problem.allowed for problem in judged(wired(*contacts))}
    assert found.keys() == told.keys()
    for path, allowed in told.items():
        assert allowed in found[path]


def test_contact_on_a_taken_channel_names_the_one_that_has_it(judged: Judge) -> None:
    (problem,) = judged(wired(contact("a", channel=1), contact("b"), contact("c")))
    assert (problem.path, problem.read, problem.hint) == ("input[2].channel", "0 (integer)", "input[1] is there too")


def test_two_devices_of_inputs_have_the_same_channels(judged: Judge) -> None:
    second = CONTACTS.replace('"contacts"', '"more"').replace("8506", "8507")
    assert judged(wired(contact("a"), contact("b", device="more"), more=second)) == ()


def test_storm_that_an_input_tells_of_keeps_no_less_than_the_reserve(judged: Judge) -> None:
    storm = contact("a"), contact("b", "storm", 1)
    (problem,) = judged(wired(*storm, more="[storm]\nreserve_pct = 29\n"))
    assert problem.path == "storm.reserve_pct"
    assert judged(wired(*storm, more="[storm]\nreserve_pct = 30\n")) == ()
    assert judged(wired(storm[0], more="[storm]\nreserve_pct = 29\n")) == ()


def banked(first: str, second: str, third: str = "") -> str:
    """Return the demo's file with units on these batteries (in TOML) out of battery, battery2 and battery3."""
    begin, end = DEMO.index("[[unit]]"), DEMO.index("[[device]]")
    units = [DEMO[begin:end].replace('"battery"', told) for told in (first, second, third) if told]
    units = [unit.replace('"inverter"', f'"inverter{n}"').replace('"house"', f'"u{n}"') for n, unit in enumerate(units)]
    devices = "".join(
        f'[[device]]\nname = "inverter{n}"\nprofile = "inverters/sunspec_der"\nurl = "tcp://h:1?unit={n + 1}"\n'
        for n in range(len(units))
    )
    devices += "".join(
        f'[[device]]\nname = "battery{n}"\nprofile = "batteries/pylontech_lv"\nurl = "slcan://h:{n}"\n' for n in (2, 3)
    )
    own = DEMO.index('[[device]]\nname = "meter"')
    return DEMO[:begin] + "".join(units) + devices + DEMO[own:]


@pytest.mark.parametrize(
    ("batteries", "told"),
    [
        (('["battery", "battery2"]', '"battery3"'), {}),
        (('["battery", "battery2", "battery3"]', '["battery", "battery2", "battery3"]'), {}),
        (('"battery"', '["battery"]', '["battery2", "battery3"]'), {}),
        (
            ('["battery", "battery2", "battery3"]', '["battery", "battery3", "battery2"]'),
            {"unit[1].battery": "in the same order: battery, battery2, battery3"},
        ),
        (('["battery", "battery2", "battery3"]', '"battery2"'), {"unit[1].battery": "none of its batteries"}),
        (('["battery", "battery2"]', '["battery2", "battery3"]'), {"unit[1].battery": "none of its batteries"}),
        (
            ('["battery", "battery2"]', '["battery3", "battery"]', '["battery3", "battery"]'),
            {"unit[1].battery": "battery, battery2", "unit[2].battery": "battery, battery2"},
        ),
        (('["battery", "Bat 2"]', '["battery", "battery3"]'), {"unit[0].battery[1]": "each a name"}),
    ],
)
def test_units_share_all_their_batteries_or_none(
    judged: Judge, batteries: tuple[str, ...], told: dict[str, str]
) -> None:
    found = {problem.path: problem.allowed for problem in judged(banked(*batteries))}
    assert found.keys() == told.keys()
    for path, allowed in told.items():
        assert allowed in found[path]


def test_units_that_share_batteries_in_part_are_told_which_one(judged: Judge) -> None:
    (problem,) = judged(banked('["battery", "battery2"]', '["battery3", "battery2"]'))
    assert problem.read == "'battery2', which unit[0] has too"


def test_batteries_of_one_unit_are_of_one_kind(judged: Judge) -> None:
    text = banked('["battery", "battery2"]', '"battery3"')
    other = text.replace('name = "battery2"\nprofile = "batteries/pylontech_lv"', 'name = "battery2"\nprofile = "{}"')
    (problem,) = judged(other.format("batteries/canbus_bms"))
    assert problem.path == "unit[0].battery"
    assert problem.read == "batteries/pylontech_lv and batteries/canbus_bms"
    (problem,) = judged(other.format("batteries/canbus_bmx"))
    assert problem.path == "device[2].profile", "an unknown kind is no other kind"


def test_derating_comes_from_the_batterys_profile_curve_by_curve(judged: Judge, tmp_path: Path) -> None:
    kind = profile("batteries/canbus_bms").derating
    assert kind != Derating(), "the test needs a profile with curves"
    told = ("batteries/pylontech_lv", "batteries/canbus_bms")
    for battery in ('"battery"', '["battery"]'):
        assert judged(edited(told, ('battery = "battery"', f"battery = {battery}"))) == ()
        assert load(tmp_path / "site.toml").unit[0].derating == kind
    own = "25000\n[unit.derating]\ncharge_by_cell_max_mv = [[3300, 50]]\nlatch = false"
    assert judged(edited(told, ("25000", own))) == ()
    expected = msgspec.structs.replace(kind, charge_by_cell_max_mv=((3300, 50),), latch=False)
    assert load(tmp_path / "site.toml").unit[0].derating == expected


def test_profile_whose_curve_falls_back_is_told_where_it_is_named(
    judged: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = "\n[derating]\ncharge_by_temperature_c = [[0, 0], [10, 100], [9, 50]]\n"
    text = profile_text("batteries/pylontech_lv.toml").partition("[derating]")[0] + wrong
    known = profile_text
    monkeypatch.setattr(
        "controller.app.sitefile.profile_text", lambda name: text if name.startswith("batteries/") else known(name)
    )
    profile.cache_clear()
    (problem,) = judged(DEMO)
    profile.cache_clear()
    where = "device[2].profile: profiles/batteries/pylontech_lv.toml: derating.charge_by_temperature_c[2]"
    assert (problem.path, problem.read) == (where, "[9, 50]")
    assert "above 10," in problem.allowed


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


@pytest.mark.parametrize("value", ["3", "'x'", "[]", "[1]", "{}", "[[]]", "true", "[[1, 2, 3]]", "[[1, []]]", "[{}]"])
@pytest.mark.parametrize(
    "line", ["battery = {}", "[unit.derating]\nlatch = {}", "[unit.derating]\ncharge_by_soc_pct = {}"]
)
def test_any_value_in_a_list_of_a_unit_never_breaks_the_check(judged: Judge, line: str, value: str) -> None:
    own = edited(('battery = "battery"\n', ""), ("25000", "25000\n" + line.replace("{}", value)))
    for problem in judged(own):
        assert problem.read
        assert problem.allowed


def test_every_profile_can_be_read_and_says_where_its_facts_come_from() -> None:
    assert len(profile_names()) >= 3
    for name in profile_names():
        kind = profile(name)
        assert isinstance(kind, Profile)
        folders = {"inverter": "inverters/", "meter": "meters/", "battery": "batteries/", "inputs": "inputs/"}
        assert name.startswith(folders[kind.kind])
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
