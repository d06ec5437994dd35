"""The commissioning record: a file beside the site file with which a person says that this site's devices obey.

Without one that fits the gate lets nothing out (controller/gate). It fits as long as devices, units and their ratings
are those of the site file; limits, reserves and programs may change without a new one.
"""

import contextlib
import os
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from controller.app.blank import toml
from controller.app.decode import decode
from controller.app.problems import Problem, SiteError
from controller.app.sitefile import load
from controller.gate import fingerprint
from controller.model import Commission, Site

ENDING = ".commissioned.toml"
HEAD = "# Written by `linepack commission`. It lets the controller write to the devices of the site file beside it.\n"


def record_file(site_file: Path) -> Path:
    """Return where the record of a site file is: site.toml -> site.commissioned.toml."""
    return site_file.with_name(site_file.name.removesuffix(".toml") + ENDING)


def commissioned(site: Site, *, by: str, utc_ms: int = 0) -> Commission:
    """Return a record that fits the site."""
    at = datetime.fromtimestamp(utc_ms // 1000, UTC).astimezone(ZoneInfo(site.timezone))
    return Commission(site=site.name, fingerprint=fingerprint(site), by=by, at=at.isoformat())


def record(site_file: Path, *, by: str, utc_ms: int = 0) -> Path:
    """Write the record of a site file and return where. Raises SiteError, OSError; an old record then stays."""
    place = record_file(site_file)
    words = msgspec.structs.asdict(commissioned(load(site_file), by=by, utc_ms=utc_ms))
    draft = place.with_name(f".{place.name}.new")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(HEAD + "".join(f"{name} = {toml(value)}\n" for name, value in words.items()))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(place)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # or a loss of power now could take the new name away again
    finally:
        os.close(folder)
    return place


def read(site_file: Path) -> Commission | None:
    """Return the record of a site file, None where there is none. Raises SiteError for one that cannot be used."""
    try:
        table = tomllib.loads(record_file(site_file).read_text("utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _broken(f"nothing: {error.strerror}", "a file that can be read") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise _broken(str(error), "TOML as `linepack commission` writes it") from error
    problems: list[Problem] = []
    found = decode(table, Commission, problems)
    if problems:
        raise SiteError(tuple(problems))
    return found


def why_silent(site: Site, commission: Commission | None) -> str:
    """Return why nothing may be written and what to do, "" where the record fits."""
    if commission is None:
        return "no record that can be used is beside the site file"
    if commission.fingerprint != fingerprint(site):
        since = f"since {commission.by} commissioned it at {commission.at}"
        return f"devices, units or ratings were changed {since}: commission it anew, or put back what was changed"
    return ""


def permits(site: Site) -> str:
    """Return what a record of this site permits, with its numbers."""
    poi, energy = site.poi, site.energy
    rows = [
        (
            "unit",
            f"{unit.name}: {unit.inverter} with {', '.join(unit.batteries)}, {-unit.charge_max_w:+d} .. "
            f"{unit.discharge_max_w:+d} W, {unit.capacity_wh} Wh, falls back by itself after {unit.watchdog_s} s",
        )
        for unit in site.unit
    ]
    rows += [("device", f"{device.name}: {device.profile} at {device.url}") for device in site.device]
    rows += [
        ("grid", f"at most {poi.import_max_w} W in and {poi.export_max_w} W out, measured by {poi.meter}"),
        ("energy", f"floor {energy.floor_pct} %, ceiling {energy.ceiling_pct} %"),
    ]
    return "\n".join(f"  {title:<8} {text}" for title, text in rows)


def _broken(read_as: str, allowed: str) -> SiteError:
    hint = "delete it and commission the site anew"
    return SiteError((Problem(path="(file)", read=read_as, allowed=allowed, hint=hint),))
