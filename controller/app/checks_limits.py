"""Whether what a site file allows fits together: powers, energies, curves, batteries that are shared, digital inputs.

Each check is a function of a Draft that yields problems, as those of checks.py, which lists them.
"""

from collections.abc import Iterator
from itertools import pairwise

from controller.app.draft import Draft
from controller.app.problems import Problem, shown
from controller.model import Derating

LIMITING = ("import_limit", "export_limit")  # what an input means to which a limit belongs


def batteries_are_shared_whole(draft: Draft) -> Iterator[Problem]:
    """Units share all their batteries, in the same order, or none; no battery stands twice in a list."""
    units = draft.site.unit
    for i, unit in enumerate(units):
        path = f"unit[{i}].battery"
        if not draft.good(path):
            continue
        for k, name in enumerate(unit.batteries):
            if name in unit.batteries[:k]:
                yield Problem(path=f"{path}[{k}]", read=shown(name), allowed="each battery once")
        for j, other in enumerate(units[:i]):
            if not draft.good(f"unit[{j}].battery") or unit.batteries == other.batteries:
                continue
            common = [name for name in unit.batteries if name in other.batteries]
            if common:
                read = f"{common[0]!r}, which unit[{j}] has too"
                allowed = f"none of its batteries, or all of them in the same order: {', '.join(other.batteries)}"
                yield Problem(path=path, read=read, allowed=allowed)
                break


def batteries_are_of_one_kind(draft: Draft) -> Iterator[Problem]:
    """The batteries of a unit have one profile: they are one bank with one derating."""
    kinds = {device.name: device.profile for device in draft.site.device if device.profile in draft.profiles}
    for i, unit in enumerate(draft.site.unit):
        if not draft.good(f"unit[{i}].battery"):
            continue
        found = dict.fromkeys(kinds[name] for name in unit.batteries if name in kinds)
        if len(found) > 1:
            allowed = "batteries of one profile, for they are derated as one"
            yield Problem(path=f"unit[{i}].battery", read=" and ".join(found), allowed=allowed)


def curve_problems(derating: Derating, path: str) -> Iterator[Problem]:
    """Yield the points of derating curves that do not come after the one before them."""
    for name in derating.__struct_fields__:
        points = getattr(derating, name)
        if not isinstance(points, tuple):
            continue
        for k, (before, point) in enumerate(pairwise(points), 1):
            if point[0] <= before[0]:
                allowed = f"a point whose first number is above {before[0]}, that of the point before"
                yield Problem(path=f"{path}.{name}[{k}]", read=str(list(point)), allowed=allowed)


def curves_rise(draft: Draft) -> Iterator[Problem]:
    """The points of a derating curve come in the order of their values, each value once."""
    for i, unit in enumerate(draft.site.unit):
        if draft.good(f"unit[{i}].derating"):
            yield from curve_problems(unit.derating, f"unit[{i}].derating")


def units_can_run(draft: Draft) -> Iterator[Problem]:
    """The least power of a unit is within its nameplates, where it has one, and its apparent power is one."""
    for i, unit in enumerate(draft.site.unit):
        path = f"unit[{i}]"
        if unit.apparent_max_va == 0:
            hint = "left out = free"
            yield Problem(path=f"{path}.apparent_max_va", read=shown(0), allowed="at least 1", hint=hint)
        if not draft.good(*(f"{path}.{key}" for key in ("min_power_w", "charge_max_w", "discharge_max_w"))):
            continue
        ratings = (unit.charge_max_w, "charge_max_w"), (unit.discharge_max_w, "discharge_max_w")
        most_w, rating = min((one for one in ratings if one[0] > 0), default=(unit.min_power_w, ""))
        if unit.min_power_w > most_w:
            allowed = f"at most {path}.{rating} = {most_w}"
            yield Problem(path=f"{path}.min_power_w", read=shown(unit.min_power_w), allowed=allowed)


def envelope_is_whole(draft: Draft) -> Iterator[Problem]:
    """An operating envelope has a default in both directions, within the limits of the POI, or in none."""
    poi, path = draft.site.poi, "poi.envelope"
    ends = {
        "import": (poi.envelope.import_default_w, poi.import_max_w),
        "export": (poi.envelope.export_default_w, poi.export_max_w),
    }
    if not draft.good(*(f"{path}.{end}_default_w" for end in ends)):
        return
    none = [end for end, (default_w, _) in ends.items() if default_w is None]
    if len(none) == 1:
        allowed = "an integer, as the default in the other direction has one"
        hint = "without envelopes leave out both"
        yield Problem(path=f"{path}.{none[0]}_default_w", read="nothing", allowed=allowed, hint=hint)
    for end, (default_w, most_w) in ends.items():
        if default_w is not None and draft.good(f"poi.{end}_max_w") and default_w > most_w:
            allowed = f"at most poi.{end}_max_w = {most_w}"
            yield Problem(path=f"{path}.{end}_default_w", read=shown(default_w), allowed=allowed)


def failsafe_is_within_the_limit(draft: Draft) -> Iterator[Problem]:
    """What may be drawn while nobody limits it is no more than what may be drawn at all."""
    path, poi = "poi.consumption.failsafe_w", draft.site.poi
    failsafe_w = poi.consumption.failsafe_w
    if failsafe_w is not None and draft.good("poi.import_max_w") and failsafe_w > poi.import_max_w:
        allowed = f"at most poi.import_max_w = {poi.import_max_w}"
        yield Problem(path=path, read=shown(failsafe_w), allowed=allowed)


def island_is_in_order(draft: Draft) -> Iterator[Problem]:
    """floor <= what is kept in an island <= ceiling, where it is set."""
    energy, path = draft.site.energy, "energy.island_pct"
    if not draft.good(path, "energy.floor_pct", "energy.ceiling_pct") or energy.floor_pct >= energy.ceiling_pct:
        return
    if energy.island_pct and not energy.floor_pct <= energy.island_pct <= energy.ceiling_pct:
        ends = f"energy.floor_pct = {energy.floor_pct} to energy.ceiling_pct = {energy.ceiling_pct}"
        yield Problem(path=path, read=shown(energy.island_pct), allowed=f"0, or from {ends}")


def storm_keeps_more(draft: Draft) -> Iterator[Problem]:
    """Where a storm can be told, what is kept for it is not less than what is kept every day."""
    site, path = draft.site, "storm.reserve_pct"
    told = site.storm.start or any(contact.means == "storm" for contact in site.input)
    if told and draft.good(path, "energy.reserve_pct") and site.storm.reserve_pct < site.energy.reserve_pct:
        allowed = f"at least energy.reserve_pct = {site.energy.reserve_pct}"
        yield Problem(path=path, read=shown(site.storm.reserve_pct), allowed=allowed)


def inputs_are_wired(draft: Draft) -> Iterator[Problem]:
    """Each contact has a channel of its own that its device has."""
    wired: dict[tuple[str, int], int] = {}
    for i, contact in enumerate(draft.site.input):
        path = f"input[{i}].channel"
        if not draft.good(path, f"input[{i}].device"):
            continue
        profile = draft.profile(contact.device)
        if profile is not None and profile.kind == "inputs" and contact.channel >= profile.inputs:
            allowed = f"less than {profile.inputs}, the channels of {contact.device}, counted from 0"
            yield Problem(path=path, read=shown(contact.channel), allowed=allowed)
        first = wired.setdefault((contact.device, contact.channel), i)
        if first != i:
            hint = f"input[{first}] is there too"
            yield Problem(path=path, read=shown(contact.channel), allowed="a channel of its own", hint=hint)


def islands_are_told_by_a_closed_contact(draft: Draft) -> Iterator[Problem]:
    """A broken wire is an open contact: it must not give up the reserve."""
    for i, contact in enumerate(draft.site.input):
        path = f"input[{i}].active"
        if draft.good(path, f"input[{i}].means") and contact.means == "islanded" and contact.active == "open":
            allowed = "'closed', for means is 'islanded'"
            hint = "a broken wire is an open contact, and in an island the customer's reserve is given up"
            yield Problem(path=path, read=shown(contact.active), allowed=allowed, hint=hint)


def inputs_have_their_limit(draft: Draft) -> Iterator[Problem]:
    """A contact that limits the POI says to what, and no other one does."""
    for i, contact in enumerate(draft.site.input):
        path = f"input[{i}].limit_w"
        if not draft.good(path, f"input[{i}].means"):
            continue
        if contact.means in LIMITING and contact.limit_w is None:
            allowed = f"an integer, for means is {contact.means!r}"
            yield Problem(path=path, read="nothing", allowed=allowed, hint="the limit while the contact is active")
        elif contact.means not in LIMITING and contact.limit_w is not None:
            allowed = f"nothing, for means is {contact.means!r}"
            hint = f"only {' and '.join(LIMITING)} have a limit"
            yield Problem(path=path, read=shown(contact.limit_w), allowed=allowed, hint=hint)
