"""Explain: one recorded decision as a person would tell it."""

from datetime import datetime
from pathlib import Path
from textwrap import fill

from controller.journal.record import Entry, JournalError
from controller.journal.seek import OutOfSpan, last, nearest, zone_of
from controller.journal.words import MODES, PHASES, duration, percent, power, reading, watt_hours, watts
from controller.model import FAULTS, RESPONSES, Bound, Decision, Inputs, Order, Ramp, Site, Snapshot, Standing
from controller.rules.consumption_limit import consumed
from controller.rules.envelope import operated

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
        _contacts(site, snapshot),
        _grid(site, entry),
        _shares(decision),
        _remembered(entry),
        _energy(site, decision),
        _available(decision),
    )
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _headline(site: Site, entry: Entry) -> list[str]:
    at = datetime.fromtimestamp(entry.snapshot.utc_ms / 1000, zone_of(site))
    decision = entry.decision
    asked = "nothing was asked of the batteries"
    if decision.asked_w is not None:
        asked = f"the utility asked the batteries for {power(decision.asked_w)}"
    return [
        f"{at:%H:%M:%S} - {asked}. They were given {power(decision.target_w)}{_why(site, entry)}.",
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
    what = f"{order.source} {_wanted(order, now_ms)}"
    if order.starts_ms > now_ms:
        return f"{what}, from {duration(order.starts_ms - now_ms)} later on."
    if order.expires_ms <= now_ms:
        return f"{what}; its lease has run out."
    return f"{what}, for another {duration(order.expires_ms - now_ms)}."


def _wanted(order: Order, now_ms: int) -> str:
    at_poi = order.domain == "poi"
    where = "at the point of interconnection" if at_poi else "of the batteries"
    if order.kind == "cease":
        return "asked the site to cease"
    if order.kind == "reserve":
        by = f" and to have it stored in {duration(order.by_ms - now_ms)}" if order.by_ms > now_ms else ""
        return f"asked to keep {percent(order.soc_bp)} for the customer{by}"
    if order.kind == "reactive":
        return f"asked for a reactive power of {order.reactive_var:+,} var"
    if order.kind == "consumption":
        return f"allowed to draw {-order.low_w:,} W from the grid at most"
    if order.kind == "target" and order.low_w == order.high_w:
        return f"asked for {power(order.low_w, at_poi=at_poi)} {where}"
    named = "set the operating envelope to" if order.kind == "envelope" else "allowed"
    return f"{named} {power(order.low_w, at_poi=at_poi)} to {power(order.high_w, at_poi=at_poi)} {where}"


def _done(decision: Decision) -> list[str]:
    mode = MODES.get(decision.mode, f'ran the program "{decision.mode}"')
    lines = [
        "What was done",
        f"- The site {mode}: {decision.wish_because}. That would be {power(decision.wish_w)}.",
        f"- The batteries could have gone up to {_bound(decision, decision.high)}.",
        f"- They could have gone down to {_bound(decision, decision.low)}.",
    ]
    if decision.net_load_w is not None:
        lines.append(f"- Load less generation behind the meter was taken as {watts(decision.net_load_w)}.")
    return lines


def _why(site: Site, entry: Entry) -> str:
    decision = entry.decision
    if decision.why == "wish":
        return ", as wished"
    if decision.why == "ramp":
        before_w = entry.state.target_w
        since = "" if before_w is None else f" from {power(before_w)}"
        return f", on the way there{since} as fast as the ramp{_rates(site.ramp)}"
    if decision.why == "min_power":
        return ", the nearest that the units' least powers can reach"
    bound = next((bound for bound in (decision.high, decision.low) if _sets(decision, bound)), None)
    return f" because {decision.why} binds" + ("" if bound is None else f": {bound.because}")


def _rates(ramp: Ramp) -> str:
    rates = (
        (ramp.rate_w_per_s, "a second"),
        (ramp.discharge_up_w_per_s, "a second while discharge grows"),
        (ramp.discharge_down_w_per_s, "a second while discharge shrinks"),
        (ramp.charge_up_w_per_s, "a second while charge grows"),
        (ramp.charge_down_w_per_s, "a second while charge shrinks"),
    )
    told = [f"{rate_w_per_s:,} W {when}" for rate_w_per_s, when in rates if rate_w_per_s is not None]
    return f", which allows {', '.join(told)}" if told else ""


def _sets(decision: Decision, bound: Bound) -> bool:
    return bound.rule == decision.why and bound.value_w == decision.target_w


def _bound(decision: Decision, bound: Bound) -> str:
    because = "" if _sets(decision, bound) else f": {bound.because}"
    return f"{power(bound.value_w)}, where {bound.rule} binds{because}"


def _unmet(decision: Decision) -> list[str]:
    lines = []
    for unmet in decision.unmet:
        # What least powers keep from being reached was asked for by somebody else.
        asked = (
            power(unmet.asked_w) if unmet.rule == "min_power" else f"{unmet.rule} asked for {power(unmet.asked_w)} and"
        )
        lines.append(f"- {asked} was missed by {abs(unmet.by_w):,} W: {unmet.because}.")
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
    return f"{told} The controller {RESPONSES[row.response]}. Check {row.check}."


def _readings(snapshot: Snapshot) -> list[str]:
    lines = ["What it rested on"]
    lines += [
        f"- {each.device}: {reading(each)}; {duration(snapshot.now_ms - each.sampled_ms)} old."
        for each in snapshot.readings
    ]
    for missing in snapshot.missing:
        heard = "never heard" if missing.age_ms is None else f"last heard {duration(missing.age_ms)} ago"
        lines.append(f"- {missing.device}: missing, {heard}.")
    for notice in snapshot.notices:
        detail = f" ({notice.detail})" if notice.detail else ""
        lines.append(f"- {notice.device}: its link reports {notice.fault}{detail}.")
    if snapshot.poi_battery_w is not None:
        lines.append(f"- At the time of the meter's sample the batteries were at {power(snapshot.poi_battery_w)}.")
    return lines


def _contacts(site: Site, snapshot: Snapshot) -> list[str]:
    heard = {each.device: each.closed for each in snapshot.readings if isinstance(each, Inputs)}
    lines = []
    for each in site.input:
        closed = heard.get(each.device, ())
        means = each.means.replace("_", " ")
        limit = f" of {each.limit_w:,} W" if each.limit_w is not None else ""
        if each.channel >= len(closed):
            lines.append(f"- {each.name}: not heard of, so it counts as active: {means}{limit}.")
            continue
        state = "closed" if closed[each.channel] else "open"
        acts = f"active: {means}{limit}" if state == each.active else f"not active ({means})"
        lines.append(f"- {each.name}: {state}, {acts}.")
    return ["What the contacts said", *lines] if lines else []


def _grid(site: Site, entry: Entry) -> list[str]:
    """Tell the network operator's limits in force; they follow from what was recorded, as the step derived them."""
    snapshot, lines = entry.snapshot, []
    envelope = operated(site, entry.state.operated, snapshot)
    if envelope is not None:
        sent = any(order.kind == "envelope" for order in snapshot.orders)
        whose = "as sent" if sent else "by default, for none is in force"
        most = f"import at most {-envelope.low_w:,} W, export at most {envelope.high_w:,} W"
        lines.append(f"- Operating envelope: {most}; {whose}.")
    if site.poi.consumption.failsafe_w is not None:
        limit = consumed(site, entry.state.consumed, snapshot)
        most = "without a limit" if limit.limit_w is None else f"at most {limit.limit_w:,} W"
        heard_ms = snapshot.consumption_heard_ms
        heard = "never heard" if heard_ms is None else f"heard {duration(snapshot.now_ms - heard_ms)} ago"
        lines.append(f"- Drawn from the grid: {most} ({limit.phase}); whoever limits it was {heard}.")
    elif snapshot.consumption_heard_ms is not None:
        ago = duration(snapshot.now_ms - snapshot.consumption_heard_ms)
        lines.append(f"- Who limits consumption was heard {ago} ago; the site file has no such limit.")
    return ["What the network operator allowed", *lines] if lines else []


def _shares(decision: Decision) -> list[str]:
    lines = []
    for share in decision.shares:
        var = f", {share.reactive_var:+,} var" if share.reactive_var else ""
        span = f"of {watts(share.low_w)} to {watts(share.high_w)}"
        moved = f", changed {duration(decision.now_ms - share.moved_ms)} ago" if share.moved_ms else ""
        lines.append(f"- {share.unit}: {power(share.power_w)}, {span}{var}{moved}; {PHASES[share.phase]}.")
    if decision.reactive_var is not None:
        lines.append(f"- Reactive power of all together: {decision.reactive_var:+,} var.")
    for command in decision.commands:
        told = power(command.power_w) if command.running else f"to stop, at {power(command.power_w)}"
        var = "" if command.reactive_var is None else f" and {command.reactive_var:+,} var"
        lines.append(f"- {command.device} was to be told {told}{var}, valid for {duration(command.valid_ms)}.")
    return ["Who did how much", *lines] if lines else []


def _remembered(entry: Entry) -> list[str]:
    """Tell what was carried over from before, as far as it changes what is done."""
    lines = []
    if entry.state.decided_ms is None:
        lines.append("- This was the first decision after a start.")
    if entry.state.ceased:
        lines.append(f"- Before the start {entry.state.ceased} had ordered the site to cease.")
    if entry.state.storm_since_ms is not None:
        lines.append(
            f"- A contact has told of a storm for {duration(entry.snapshot.now_ms - entry.state.storm_since_ms)}."
        )
    for unit in entry.state.units:
        parts = (
            f"charging held at {unit.charge_pct} %" if unit.charge_pct < 100 else "",
            f"discharging held at {unit.discharge_pct} %" if unit.discharge_pct < 100 else "",
            "being charged from below the floor" if unit.recovering else "",
            "its battery asks for a full charge" if unit.full_wanted_utc_ms else "",
            f"{unit.attempts} failed start{'' if unit.attempts == 1 else 's'} in a row" if unit.attempts else "",
            "" if unit.committed else "resting, for it was not needed",
        )
        told = ", ".join(part for part in parts if part)
        lines += [f"- {unit.unit}: {told}."] if told else []
    return ["What was known from before", *lines] if lines else []


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


def _available(decision: Decision) -> list[str]:
    found = decision.available
    if found is None:
        return []
    ways = (
        (found.discharge_w, found.discharge_wh, found.discharge_s, found.discharge_because, "the reserve"),
        (-found.charge_w, found.charge_wh, found.charge_s, found.charge_because, "the ceiling"),
    )
    lines = []
    for (power_w, energy_wh, held_s, because, until), word in zip(ways, ("Discharging", "Charging"), strict=True):
        held = f"for {duration(held_s * 1000)}" if held_s else "falling already"
        energy = f"{watt_hours(energy_wh)} until {until}"
        what = f"{power(power_w)} at once, {held}; {energy}" if power_w else f"nothing at once; {energy}"
        lines.append(f"- {word}: {what}{f'. Less than the nameplate for {because}' if because else ''}.")
    return ["What could have been had", *lines]


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
