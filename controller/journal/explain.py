"""Explain: one recorded decision as a person would tell it."""

from datetime import datetime
from pathlib import Path
from textwrap import fill

from controller.journal.record import Entry, JournalError
from controller.journal.seek import OutOfSpan, last, nearest, zone_of
from controller.journal.words import duration, percent, power, reading, watt_hours, watts
from controller.model import FAULTS, Bound, Decision, Order, Site, Snapshot, Standing

_MODES = {
    "follow": "followed the utility",
    "default": "took the fixed power that the site file sets for a silent utility",
    "self_consumption": "covered the site's own load",
    "hold": "rested",
}
_RESPONSES = {
    "note": "The controller tells it and goes on.",
    "narrow": "The controller takes the worst case for what it does not know.",
    "stop": "The controller holds the unit at 0 W.",
    "release": "The controller writes nothing to it: its own timer takes it to its fall-back.",
}
_COLUMNS = 110
_GAP_CYCLES = 10  # an entry this long before the time asked for is not what was meant; the text says so


def explain(site: Site, entry: Entry) -> str:
    """Return the decision of entry in plain sentences, its time in the site's zone."""
    snapshot, decision = entry.snapshot, entry.decision
    sections = (
        _headline(site, entry),
        _asked(site, snapshot),
        _done(decision),
        _unmet(decision),
        _faults(decision),
        _readings(snapshot),
        _shares(decision),
        _energy(site, decision),
    )
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _headline(site: Site, entry: Entry) -> list[str]:
    at = datetime.fromtimestamp(entry.snapshot.utc_ms / 1000, zone_of(site))
    decision = entry.decision
    asked = "nothing was asked of the batteries"
    if decision.asked_w is not None:
        asked = f"the utility asked the batteries for {power(decision.asked_w)}"
    return [
        f"{at:%H:%M:%S} - {asked}. They were given {power(decision.target_w)}{_why(site, decision)}.",
        f"{site.name}, {at:%A %Y-%m-%d}, time zone {at:%Z}, entry {entry.seq}.",
    ]


def _asked(site: Site, snapshot: Snapshot) -> list[str]:
    lines = ["What was asked"]
    lines += [f"- {_order(order, snapshot.now_ms)}" for order in snapshot.orders]
    if snapshot.utility_silent:
        default = site.utility.default
        holds = power(default.power_w) if default.power_w is not None else f'the program "{default.program}"'
        lines.append(f"- The utility is silent: the site's default holds, {holds}.")
    elif not snapshot.orders:
        lines.append("- The utility asked for nothing.")
    if snapshot.program:
        lines.append(f'- The calendar asked for the program "{snapshot.program}".')
    return lines


def _order(order: Order, now_ms: int) -> str:
    at_poi = order.domain == "poi"
    where = "at the point of interconnection" if at_poi else "of the batteries"
    if order.kind == "cease":
        what = "asked the site to cease"
    elif order.kind == "target" and order.low_w == order.high_w:
        what = f"asked for {power(order.low_w, at_poi=at_poi)} {where}"
    else:
        what = f"allowed {power(order.low_w, at_poi=at_poi)} to {power(order.high_w, at_poi=at_poi)} {where}"
    if order.starts_ms > now_ms:
        return f"{order.source} {what}, from {duration(order.starts_ms - now_ms)} later on."
    if order.expires_ms <= now_ms:
        return f"{order.source} {what}; its lease has run out."
    return f"{order.source} {what}, for another {duration(order.expires_ms - now_ms)}."


def _done(decision: Decision) -> list[str]:
    mode = _MODES.get(decision.mode, f'ran the program "{decision.mode}"')
    lines = [
        "What was done",
        f"- The site {mode}: {decision.wish_because}. That would be {power(decision.wish_w)}.",
        f"- The batteries could have gone up to {_bound(decision, decision.high)}.",
        f"- They could have gone down to {_bound(decision, decision.low)}.",
    ]
    if decision.net_load_w is not None:
        lines.append(f"- Load less generation behind the meter was taken as {watts(decision.net_load_w)}.")
    return lines


def _why(site: Site, decision: Decision) -> str:
    if decision.why == "wish":
        return ", as wished"
    if decision.why == "ramp":
        rate_w_per_s = site.ramp.rate_w_per_s
        fast = "" if rate_w_per_s is None else f", which allows {rate_w_per_s:,} W a second"
        return f", on the way there as fast as the ramp{fast}"
    bound = next((bound for bound in (decision.high, decision.low) if _sets(decision, bound)), None)
    return f" because {decision.why} binds" + ("" if bound is None else f": {bound.because}")


def _sets(decision: Decision, bound: Bound) -> bool:
    return bound.rule == decision.why and bound.value_w == decision.target_w


def _bound(decision: Decision, bound: Bound) -> str:
    because = "" if _sets(decision, bound) else f": {bound.because}"
    return f"{power(bound.value_w)}, where {bound.rule} binds{because}"


def _unmet(decision: Decision) -> list[str]:
    lines = [
        f"- {unmet.rule} asked for {power(unmet.asked_w)} and was missed by {abs(unmet.by_w):,} W: {unmet.because}."
        for unmet in decision.unmet
    ]
    return ["What could not be met", *lines] if lines else []


def _faults(decision: Decision) -> list[str]:
    lines = [f"- {_fault(fault, decision.now_ms)}" for fault in decision.faults]
    return ["What was wrong", *lines] if lines else []


def _fault(fault: Standing, now_ms: int) -> str:
    row = FAULTS[fault.fault]
    detail = f" ({fault.detail})" if fault.detail else ""
    # 0 is what a restart sets for a fault it took over (reader.last_state).
    since = f"for {duration(now_ms - fault.since_ms)}" if fault.since_ms else "since the start or before"
    told = f"{fault.fault} at {fault.device}, {since}: {row.means}{detail}."
    if fault.clear_since_ms is not None:
        gone = f" Its cause is gone for {duration(now_ms - fault.clear_since_ms)};"
        still = "it holds over restarts until a person clears it."
        told += f"{gone} {still if row.latches else f'it holds for {duration(row.clears_after_ms)} after that.'}"
    return f"{told} {_RESPONSES[row.response]} Check {row.check}."


def _readings(snapshot: Snapshot) -> list[str]:
    lines = ["What it rested on"]
    lines += [
        f"- {each.device}: {reading(each)}; {duration(snapshot.now_ms - each.sampled_ms)} old."
        for each in snapshot.readings
    ]
    for missing in snapshot.missing:
        heard = "never heard" if missing.age_ms is None else f"last heard {duration(missing.age_ms)} ago"
        lines.append(f"- {missing.device}: missing, {heard}.")
    return lines


def _shares(decision: Decision) -> list[str]:
    lines = [
        f"- {share.unit}: {power(share.power_w)}, of {watts(share.low_w)} to {watts(share.high_w)}."
        for share in decision.shares
    ]
    for command in decision.commands:
        told = power(command.power_w) if command.running else f"to stop, at {power(command.power_w)}"
        lines.append(f"- {command.device} was to be told {told}, valid for {duration(command.valid_ms)}.")
    return ["Who did how much", *lines] if lines else []


def _energy(site: Site, decision: Decision) -> list[str]:
    energy = site.energy
    capacity_wh = sum(unit.capacity_wh for unit in site.unit)
    marks = (("floor", energy.floor_pct), ("customer's reserve", energy.reserve_pct), ("ceiling", energy.ceiling_pct))
    axis = ", ".join(f"{name} {pct} % ({watt_hours(capacity_wh * pct // 100)})" for name, pct in marks)
    stored = "How much was stored is not known"
    if decision.stored_wh is not None:
        full = percent(decision.stored_wh * 10_000 // capacity_wh)
        stored = f"{watt_hours(decision.stored_wh)} of {watt_hours(capacity_wh)} were stored, {full}"
    lines = ["Where the energy stood", f"- {stored}; {axis}."]
    if decision.sellable_wh is not None:
        lines.append(
            f"- {watt_hours(decision.sellable_wh)} lay above floor and reserve, with the estimate's error off."
        )
    return lines


def explain_report(path: Path, at: str | None) -> tuple[int, str]:
    """Return exit code and text: 0 explained, 1 nothing recorded at that time, 2 not readable or no such time.

    at is an ISO date and time, HH:MM[:SS] on the last day of the journal, or None or "last"; times without an offset
    are the site's. The entry taken is the nearest at or before; a time in whole seconds covers its second.
    """
    try:
        found = last(path) if at is None or at == "last" else nearest(path, at)
    except OutOfSpan as error:
        return 1, str(error)
    except JournalError as error:
        return 2, str(error)
    text = explain(found.site, found.entry)
    if found.before_ms > _GAP_CYCLES * found.site.cycle_ms:
        early = f"this is the last decision before it, {duration(found.before_ms)} earlier"
        text = f"Nothing is recorded at {at}; {early}.\n\n{text}"
    return 0, "\n".join(_wrapped(line) for line in text.splitlines())


def _wrapped(line: str) -> str:
    return fill(line, _COLUMNS, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
