"""The site file: read once, judged whole, resolved. Every problem is told at once, not only the first."""

import re
import tomllib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from controller.app.checks import CHECKS
from controller.app.checks_limits import curve_problems
from controller.app.decode import decode
from controller.app.draft import Draft
from controller.app.problems import Problem, SiteError, nearest
from controller.model import Derating, Device, Profile, Site, Unit

BYTES_MAX = 1_000_000
T = TypeVar("T", Device, Unit)

__all__ = ["Problem", "SiteError", "load", "profile", "profile_names", "profile_text"]


def load(path: Path) -> Site:
    """Return the site with every value that the file leaves to a profile filled in. Raises SiteError."""
    table = _toml(_text(path))
    problems: list[Problem] = []
    site = decode(table, Site, problems)
    profiles = _profiles(site, problems)
    site = _resolved(site, profiles)
    # Where a row of a list is wrong, the whole list means nothing.
    wrong = tuple(re.sub(r"(\[\d+\])+$", "", problem.path) for problem in problems)
    draft = Draft(site=site, profiles=profiles, wrong=wrong)
    problems += [problem for check in CHECKS for problem in check(draft)]
    if problems:
        raise SiteError(tuple(problems))
    return site


@cache
def profile(name: str) -> Profile:
    """Return the profile of a kind of device, as "inverters/sunspec_der". Raises SiteError when it is none or wrong."""
    if name not in profile_names():
        raise SiteError((_unknown_profile("profile", name),))
    problems: list[Problem] = []
    found = decode(_toml(profile_text(f"{name}.toml")), Profile, problems)
    problems = problems or list(curve_problems(found.derating, "derating"))
    if problems:
        raise SiteError(tuple(problems))
    return found


def profile_text(name: str) -> str:
    """Return the text of a file in profiles/, as "batteries/pylontech_lv.dbc". Raises OSError when there is none."""
    return _root().joinpath(*name.split("/")).read_text("utf-8")


@cache
def profile_names() -> tuple[str, ...]:
    """Return the names of all profiles, sorted."""
    folders = [folder for folder in _root().iterdir() if folder.is_dir() and folder.name != "sites"]
    found = [f"{folder.name}/{row.name}" for folder in folders for row in folder.iterdir()]
    return tuple(sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml")))


def _root() -> Traversable:
    return files("profiles")


def _text(path: Path) -> str:
    """Return the file's text without a byte order mark. Raises SiteError."""
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise _unreadable(f"nothing: {error.strerror}", "a file that can be read") from error
    if len(content) > BYTES_MAX:
        raise _unreadable(f"more than {BYTES_MAX} bytes", "a site file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"byte {error.start + 1} is 0x{content[error.start]:02x}"
        raise _unreadable(where, "UTF-8 text", "save it as UTF-8 in the editor") from error


def _unreadable(read: str, allowed: str, hint: str = "") -> SiteError:
    return SiteError((Problem(path="(file)", read=read, allowed=allowed, hint=hint),))


def _toml(text: str) -> dict[str, object]:
    """Return the decoded TOML. Raises SiteError with line and column of a mistake in its grammar."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).rstrip(")").partition(" (at ")
        path = where.replace("end of document", f"line {len(text.splitlines())}, its end") or "(file)"
    except RecursionError:
        what, path = "lists or tables nested without end", "(file)"
    hint = 'text stands in "quotes", a number has no unit, each key stands once'
    raise SiteError((Problem(path=path, read=what, allowed="TOML", hint=hint),))


def _profiles(site: Site, problems: list[Problem]) -> dict[str, Profile]:
    """Return the profiles that the devices name; what is wrong with one is told at the device that names it."""
    found: dict[str, Profile] = {}
    for i, device in enumerate(site.device):
        if device.profile is None or device.profile in found:
            continue
        path = f"device[{i}].profile"
        if device.profile not in profile_names():
            problems.append(_unknown_profile(path, device.profile))
            continue
        try:
            found[device.profile] = profile(device.profile)
        except SiteError as error:
            at = f"{path}: profiles/{device.profile}.toml: "
            problems += [replace(problem, path=at + problem.path) for problem in error.problems]
    return found


def _unknown_profile(path: str, name: str) -> Problem:
    hint = nearest(name, profile_names())
    return Problem(path=path, read=f"{name!r} (text)", allowed="a file in profiles/ without its ending", hint=hint)


def _resolved(site: Site, profiles: dict[str, Profile]) -> Site:
    """Return the site with the values that are left out taken from the profiles, as far as those are known."""
    kinds = {device.name: profiles.get(device.profile) for device in site.device}
    return replace(
        site,
        device=tuple(_filled(row, profiles.get(row.profile), "poll_ms", "stale_after_ms") for row in site.device),
        unit=tuple(
            _derated(_filled(row, kinds.get(row.inverter), "watchdog_s", "settle_ms"), kinds) for row in site.unit
        ),
    )


def _derated(unit: Unit, kinds: dict[str, Profile | None]) -> Unit:
    """Return a unit whose derating is its batteries', but for the curves that it has of its own."""
    kind = kinds.get(unit.batteries[0]) if unit.battery else None
    if kind is None:
        return unit
    own, none = unit.derating, Derating()
    left_out = [name for name in own.__struct_fields__ if getattr(own, name) == getattr(none, name)]
    return replace(unit, derating=replace(own, **{name: getattr(kind.derating, name) for name in left_out}))


def _filled(row: T, kind: Profile | None, *names: str) -> T:
    """Return row with those of the named values that it leaves out as its profile has them."""
    if kind is None:
        return row
    return replace(row, **{name: getattr(kind, name) for name in names if getattr(row, name) is None})
