"""What no single key can tell: whether the keys of a site file fit one another.

Each check is a function of a Draft that yields problems; it keeps silent about keys that are already known to be wrong.
"""

from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo, available_timezones

from apscheduler.triggers.cron import CronTrigger

from controller.app import checks_limits
from controller.app.addresses import FORMS, Protocol, address_problem, host_and_port
from controller.app.draft import Draft
from controller.app.problems import Problem, nearest, shown
from controller.model import Site

POLLS_BEFORE_STALE = 2  # one lost reply must not make a reading stale
SHARED_KINDS = ("battery", "inputs")  # what several places may name; how units share batteries is a check of its own
CYCLES_IN_WATCHDOG = 3  # a command is refreshed before a third of the device's own timer


def names_are_single(draft: Draft) -> Iterator[Problem]:
    """A name stands for one thing."""
    site = draft.site
    names = {
        "unit": [row.name for row in site.unit],
        "device": [row.name for row in site.device],
        "input": [row.name for row in site.input],
    }
    for table, row_names in names.items():
        for i, name in enumerate(row_names):
            first = row_names.index(name)
            if first != i and draft.good(f"{table}[{i}].name"):
                hint = f"{table}[{first}] has it too"
                allowed = f"a name that no other {table} has"
                yield Problem(path=f"{table}[{i}].name", read=shown(name), allowed=allowed, hint=hint)


def _roles(site: Site) -> Iterator[tuple[str, str, str]]:
    """Yield path, device's name and the kind it must be for every place where a device is named."""
    yield "poi.meter", site.poi.meter, "meter"
    for i, unit in enumerate(site.unit):
        yield f"unit[{i}].inverter", unit.inverter, "inverter"
        if isinstance(unit.battery, tuple):
            yield from ((f"unit[{i}].battery[{k}]", name, "battery") for k, name in enumerate(unit.battery))
        else:
            yield f"unit[{i}].battery", unit.battery, "battery"
    for i, contact in enumerate(site.input):
        yield f"input[{i}].device", contact.device, "inputs"


def devices_are_known(draft: Draft) -> Iterator[Problem]:
    """Who is named exists and is of the right kind."""
    known = [row.name for row in draft.site.device]
    if None in known or not draft.good("device"):
        return
    for path, name, kind in _roles(draft.site):
        if not draft.good(path):
            continue
        allowed = f"the name of a device whose profile is of kind {kind}"
        if name not in known:
            of_kind = [one for one in known if draft.kind(one) in (kind, "")]
            yield Problem(path=path, read=shown(name), allowed=allowed, hint=nearest(name, of_kind or known))
        elif draft.kind(name) not in (kind, ""):
            yield Problem(path=path, read=f"{name!r}, which is of kind {draft.kind(name)}", allowed=allowed)


def devices_are_used_once(draft: Draft) -> Iterator[Problem]:
    """A device that nothing names is a mistake, and so is a meter or an inverter that two places name."""
    used: dict[str, str] = {}
    for path, name, kind in _roles(draft.site):
        shared = kind in SHARED_KINDS or draft.kind(name) not in (kind, "")
        if name in used and not shared and draft.good(path):
            hint = f"{used[name]} names it too"
            yield Problem(path=path, read=shown(name), allowed="a device of this place alone", hint=hint)
        used.setdefault(name, path)
    open_kinds = {kind for path, name, kind in _roles(draft.site) if draft.kind(name) != kind or not draft.good(path)}
    for i, device in enumerate(draft.site.device):
        if device.name in used or draft.kind(device.name) in ("", *open_kinds):
            continue
        hint = "name it as poi.meter, unit.inverter, unit.battery or input.device, or take the device out"
        allowed = "a device that something names"
        yield Problem(path=f"device[{i}].name", read=f"{device.name!r}, used nowhere", allowed=allowed, hint=hint)


def addresses_fit(draft: Draft) -> Iterator[Problem]:
    """A URL is of its profile's protocol, and no two devices of a kind are at one place."""
    seen: dict[tuple[str, str], int] = {}
    for i, device in enumerate(draft.site.device):
        profile = draft.profiles.get(device.profile)
        path = f"device[{i}].url"
        if not draft.good(path):
            continue
        guessed: Protocol = "sunspec" if device.url.startswith("tcp:") else "can"
        protocol = guessed if profile is None else profile.protocol
        wrong = address_problem(device.url, protocol)
        allowed = " or ".join(FORMS[protocol])
        if wrong:
            yield Problem(path=path, read=shown(device.url), allowed=allowed, hint=wrong)
        first = seen.setdefault((device.url, "" if profile is None else profile.kind), i)
        if first != i:
            hint = f"device[{first}] is there too"
            yield Problem(path=path, read=shown(device.url), allowed="a place of its own", hint=hint)


def readings_outlive_polls(draft: Draft) -> Iterator[Problem]:
    """One lost reply does not make a device stale."""
    for i, device in enumerate(draft.site.device):
        paths = (f"device[{i}].poll_ms", f"device[{i}].stale_after_ms")
        if device.poll_ms is None or device.stale_after_ms is None or not draft.good(*paths):
            continue
        least_ms = POLLS_BEFORE_STALE * device.poll_ms
        if device.stale_after_ms < least_ms:
            allowed = f"at least {least_ms}, {POLLS_BEFORE_STALE} polls of {device.poll_ms} ms"
            yield Problem(
                path=paths[1], read=shown(device.stale_after_ms), allowed=allowed, hint="raise it or poll faster"
            )


def inverters_fall_back(draft: Draft) -> Iterator[Problem]:
    """The energy barrier is void without the device's own watchdog; the barrier and the cycle must fit into it."""
    site = draft.site
    for i, unit in enumerate(site.unit):
        profile = draft.profile(unit.inverter)
        if profile is None or profile.kind != "inverter":
            continue
        if profile.control == "none" or profile.watchdog_s is None:
            lacks = "control" if profile.control == "none" else "watchdog_s"
            hint = "without it nobody knows how long a command lives on after the controller died"
            allowed = "an inverter whose profile has control and watchdog_s"
            yield Problem(
                path=f"unit[{i}].inverter", read=f"{unit.inverter!r}, {lacks} is missing", allowed=allowed, hint=hint
            )
        elif unit.watchdog_s is not None and draft.good(f"unit[{i}].watchdog_s", "cycle_ms", "energy.taper_s"):
            yield from _times(site, unit.watchdog_s, f"unit[{i}].watchdog_s")


def _times(site: Site, watchdog_s: int, path: str) -> Iterator[Problem]:
    needed_s = -(-site.cycle_ms // 1000) + watchdog_s
    if site.energy.taper_s < needed_s:
        allowed = f"at least {needed_s}: one cycle of {site.cycle_ms} ms and {path} = {watchdog_s}"
        yield Problem(path="energy.taper_s", read=shown(site.energy.taper_s), allowed=allowed)
    if CYCLES_IN_WATCHDOG * site.cycle_ms > watchdog_s * 1000:
        allowed = f"at most {watchdog_s * 1000 // CYCLES_IN_WATCHDOG}, a third of {path} = {watchdog_s}"
        hint = "a command must be refreshed before the inverter gives it up"
        yield Problem(path="cycle_ms", read=shown(site.cycle_ms), allowed=allowed, hint=hint)


def energy_is_in_order(draft: Draft) -> Iterator[Problem]:
    """0 <= floor <= reserve < ceiling <= 100."""
    energy = draft.site.energy
    if draft.good("energy.floor_pct", "energy.ceiling_pct") and energy.floor_pct >= energy.ceiling_pct:
        allowed = f"less than energy.ceiling_pct = {energy.ceiling_pct}"
        yield Problem(path="energy.floor_pct", read=shown(energy.floor_pct), allowed=allowed)
        return
    if not draft.good("energy.floor_pct", "energy.ceiling_pct", "energy.reserve_pct"):
        return
    if not energy.floor_pct <= energy.reserve_pct < energy.ceiling_pct:
        allowed = f"from energy.floor_pct = {energy.floor_pct} to below energy.ceiling_pct = {energy.ceiling_pct}"
        yield Problem(path="energy.reserve_pct", read=shown(energy.reserve_pct), allowed=allowed)


def default_is_one_thing(draft: Draft) -> Iterator[Problem]:
    """While the utility is silent either a program runs or a power holds that the units can give."""
    default, path = draft.site.utility.default, "utility.default"
    if not draft.good(f"{path}.program", f"{path}.power_w"):
        return
    if (default.program is None) == (default.power_w is None):
        read = "neither program nor power_w" if default.program is None else "both program and power_w"
        yield Problem(path=path, read=read, allowed="one of the two", hint='program = "hold" rests at 0 W')
    ratings = [f"unit[{i}].{key}" for i in range(len(draft.site.unit)) for key in ("charge_max_w", "discharge_max_w")]
    if default.power_w is None or not draft.good("unit", *ratings):
        return
    low_w = -sum(unit.charge_max_w for unit in draft.site.unit)
    high_w = sum(unit.discharge_max_w for unit in draft.site.unit)
    if not low_w <= default.power_w <= high_w:
        hint = "positive is toward the grid"
        allowed = f"from {low_w} to {high_w}, the units' nameplate together"
        yield Problem(path=f"{path}.power_w", read=shown(default.power_w), allowed=allowed, hint=hint)


def door_can_listen(draft: Draft) -> Iterator[Problem]:
    """The utility's server has a host and a port."""
    if draft.good("utility.listen"):
        try:
            host_and_port(draft.site.utility.listen)
        except ValueError as error:
            listen = shown(draft.site.utility.listen)
            yield Problem(path="utility.listen", read=listen, allowed="HOST:PORT", hint=str(error))


def calendar_is_readable(draft: Draft) -> Iterator[Problem]:
    """The time zone exists and every crontab line, of a window or the storm, can be read in one way only."""
    if draft.good("timezone"):
        try:
            ZoneInfo(draft.site.timezone)
        except (KeyError, ValueError, OSError):
            hint = nearest(draft.site.timezone, available_timezones())
            allowed = "an IANA time zone, as Europe/Berlin"
            yield Problem(path="timezone", read=shown(draft.site.timezone), allowed=allowed, hint=hint)
    lines = {f"window[{i}].start": window.start for i, window in enumerate(draft.site.window)}
    if draft.site.storm.start:
        lines["storm.start"] = draft.site.storm.start
    for path, line in lines.items():
        hint = _crontab_problem(line) if draft.good(path) else ""
        if hint:
            allowed = "minute hour day month weekday, as 0 17 * * mon-fri"
            yield Problem(path=path, read=shown(line), allowed=allowed, hint=hint)


def _crontab_problem(line: str) -> str:
    try:
        CronTrigger.from_crontab(line, timezone="UTC")
    except ValueError as error:
        return str(error)
    if any(character.isdigit() for character in line.split()[4].partition("/")[0]):
        return "name the weekdays mon .. sun: with numbers one program's Monday is another's Sunday"
    return ""


CHECKS: tuple[Callable[[Draft], Iterator[Problem]], ...] = (
    names_are_single,
    devices_are_known,
    devices_are_used_once,
    addresses_fit,
    readings_outlive_polls,
    inverters_fall_back,
    energy_is_in_order,
    default_is_one_thing,
    door_can_listen,
    calendar_is_readable,
    checks_limits.batteries_are_shared_whole,
    checks_limits.batteries_are_of_one_kind,
    checks_limits.curves_rise,
    checks_limits.units_can_run,
    checks_limits.envelope_is_whole,
    checks_limits.failsafe_is_within_the_limit,
    checks_limits.island_is_in_order,
    checks_limits.storm_keeps_more,
    checks_limits.inputs_are_wired,
    checks_limits.inputs_have_their_limit,
    checks_limits.islands_are_told_by_a_closed_contact,
)
