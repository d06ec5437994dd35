"""Story: a span of a journal as a person would tell it, a page and not a log.

A spell is a run of decisions in which the same program was at work, the same rule set the power, the same faults stood
and the units were in the same phases. What the utility asks may change in it, as a regulation signal does every few
seconds; its range is told. Short spells that change to and fro are told as one with how often they changed, faults
that come and go with how often they came. Where that is still too long the longest spells are told; no fault, restart
or gap is left out.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from itertools import groupby
from pathlib import Path
from textwrap import fill

from controller.journal.record import Damage, Entry, JournalError
from controller.journal.seek import OutOfSpan, between, zone_of
from controller.journal.words import MODES, PHASES, duration, powers, watt_hours
from controller.model import FAULTS, RESPONSES, Decision, FaultName, Site

SPELLS_MAX = 80  # told one by one
SHORT_MS = 10 * 60_000  # a spell that is longer is told alone
FEW = 3  # so many short spells in a row are told one by one
FLICKERS = 5  # changes between the same two surroundings, a fault that came three times, are told as one
GAP_CYCLES = 10  # without a decision for longer than this the record has a gap
_COLUMNS = 110
Faults = frozenset[tuple[FaultName, str]]


class Spell:
    """Consecutive decisions told as one. Energy is what was decided, not what was measured."""

    def __init__(self, entry: Entry, before: str = "") -> None:
        """Begin with one decision. before: what is to be told ahead of it: a restart, a gap."""
        decision = entry.decision
        self.first = self.last = entry
        self.before = before
        self.lasted_ms, self.count, self.changes = 0, 1, 0
        self.asked_w = [] if decision.asked_w is None else [decision.asked_w]
        self.least_w = self.most_w = decision.target_w
        self.out_w_ms = self.in_w_ms = 0
        self.why_ms = Counter[str]({decision.why: 0})
        self.flickering: Faults = frozenset()

    def add(self, entry: Entry) -> None:
        """Take in the next decision of the same kind."""
        self.last = entry
        self.count += 1
        self._widen([entry.decision.target_w], [] if entry.decision.asked_w is None else [entry.decision.asked_w])

    def hold(self, until_ms: int) -> None:
        """Let the last decision have held up to a moment of the same run."""
        span_ms = max(0, until_ms - self.last.snapshot.now_ms)
        target_w = self.last.decision.target_w
        self.lasted_ms += span_ms
        self.out_w_ms += max(0, target_w) * span_ms
        self.in_w_ms += max(0, -target_w) * span_ms
        self.why_ms[self.last.decision.why] += span_ms

    def join(self, other: "Spell") -> None:
        """Take in a whole spell that follows."""
        flicker = faults_of(self.last.decision) ^ faults_of(other.first.decision)
        self.last = other.last
        self.count += other.count
        self.changes += 1 + other.changes
        self.lasted_ms += other.lasted_ms
        self.out_w_ms, self.in_w_ms = self.out_w_ms + other.out_w_ms, self.in_w_ms + other.in_w_ms
        self.why_ms.update(other.why_ms)
        self.flickering |= flicker | other.flickering
        self._widen([other.least_w, other.most_w], other.asked_w)

    def _widen(self, powers_w: Sequence[int], asked_w: Sequence[int]) -> None:
        self.least_w, self.most_w = min(self.least_w, *powers_w), max(self.most_w, *powers_w)
        if asked_w:
            known_w = (*self.asked_w, *asked_w)
            self.asked_w = [min(known_w), max(known_w)]


def around(decision: Decision) -> tuple[object, ...]:
    """Return what stays the same while only the reason of the power changes."""
    phases = tuple((share.unit, share.phase) for share in decision.shares)
    return decision.mode, decision.asked_w is None, faults_of(decision), phases


def faults_of(decision: Decision) -> Faults:
    """Return the faults that stood."""
    return frozenset((fault.fault, fault.device) for fault in decision.faults)


def spells(site: Site, entries: Iterable[Entry | Damage | Site]) -> Iterator[Spell]:
    """Yield the spells of a record, oldest first. A restart, a gap and another site file end a spell."""
    gap_ms, spell, before = GAP_CYCLES * site.cycle_ms, None, ""
    for entry in entries:
        if isinstance(entry, Site):
            before, gap_ms = "The site file was another one from here on. ", GAP_CYCLES * entry.cycle_ms
        if not isinstance(entry, Entry):
            continue
        if spell is not None:
            before += _between(spell.last, entry, gap_ms)
            spell.hold(min(entry.snapshot.now_ms, spell.last.snapshot.now_ms + gap_ms))
            old, new = spell.last.decision, entry.decision
            if not before and old.why == new.why and around(old) == around(new):
                spell.add(entry)
                continue
            yield spell
        spell, before = Spell(entry, before), ""
    if spell is not None:
        yield spell


def _between(last: Entry, entry: Entry, gap_ms: int) -> str:
    """Return what to tell ahead of an entry: that the controller started anew, that decisions are missing; or ""."""
    away_ms = entry.snapshot.utc_ms - last.snapshot.utc_ms
    if entry.state.decided_ms is None or entry.seq <= last.seq:
        gap = f"; the journal has a gap of {duration(away_ms)} before it" if away_ms > gap_ms else ""
        return f"The controller started anew{gap}."
    missing = entry.seq - last.seq - 1
    if missing:
        lacks = f"{missing:,} decision{' is' if missing == 1 else 's are'} missing in the journal"
        return f"{lacks}, {duration(entry.snapshot.now_ms - last.snapshot.now_ms)}."
    if entry.snapshot.now_ms - last.snapshot.now_ms > gap_ms:
        return f"Nothing was decided for {duration(entry.snapshot.now_ms - last.snapshot.now_ms)}."
    return ""


def merged(found: Iterable[Spell]) -> list[Spell]:
    """Return the spells with the short ones that change to and fro as one: by their reason, then by their faults."""
    told: list[Spell] = []
    for _, alike in groupby(_runs(found), key=lambda one: (one[0], around(one[1].first.decision))):
        told += _put_together([spell for _, spell in alike])
    result: list[Spell] = []
    for _, run in groupby(_runs(told), key=lambda one: one[0]):
        result += _flickers([spell for _, spell in run])
    return result


def _runs(found: Iterable[Spell]) -> Iterator[tuple[int, Spell]]:
    """Number the spells by what came before them: nothing is put together over a restart or a gap."""
    number = 0
    for spell in found:
        number += bool(spell.before)
        yield number, spell


def _put_together(alike: Sequence[Spell]) -> list[Spell]:
    told: list[Spell] = []
    for short, row in groupby(alike, key=lambda spell: spell.lasted_ms < SHORT_MS):
        run = list(row)
        told += [_joined(run)] if short and len(run) > FEW else run
    return told


def _flickers(run: Sequence[Spell]) -> list[Spell]:
    """Return a run in which more than a few changes between the same two surroundings are one."""
    told: list[Spell] = []
    place = 0
    while place < len(run):
        end, changes = _to_and_fro(run, place)
        row = run[place:end] if changes >= FLICKERS else run[place : place + 1]
        told.append(_joined(row))
        place += len(row)
    return told


def _to_and_fro(run: Sequence[Spell], place: int) -> tuple[int, int]:
    """Return how far short spells of two surroundings at most go from place, and how often they change."""
    kinds, end, changes = {around(run[place].first.decision)}, place + 1, 0
    while end < len(run) and run[end].lasted_ms < SHORT_MS and run[end - 1].lasted_ms < SHORT_MS:
        kind = around(run[end].first.decision)
        kinds.add(kind)
        if len(kinds) > 2:
            break
        changes += kind != around(run[end - 1].last.decision)
        end += 1
    return end, changes


def _joined(run: Sequence[Spell]) -> Spell:
    for spell in run[1:]:
        run[0].join(spell)
    return run[0]


def story(site: Site, entries: Iterable[Entry | Damage | Site]) -> str:
    """Return the story in the site's time zone: a summary, a line for each spell and event, the faults, what lacks."""
    damage: list[Damage] = []
    seen = _Faults()

    def heard() -> Iterator[Entry | Site]:
        for one in entries:
            if isinstance(one, Damage):
                damage.append(one)
                continue
            if isinstance(one, Entry):
                seen.take(one)
            yield one

    zone = zone_of(site)
    told = merged(spells(site, heard()))
    if not told:
        raise OutOfSpan("nothing is recorded in that span")
    lines = [*_summary(site, told, zone), "", "What happened", *_happened(told, zone)]
    lines += seen.lines(zone)
    if damage:
        lines += ["", f"What could not be read: {len(damage)} place{'' if len(damage) == 1 else 's'} of the journal"]
        lines += [f"- {one}" for one in damage[:10]]
    return "\n".join(lines)


def _happened(told: Sequence[Spell], zone: tzinfo) -> list[str]:
    keep = {id(spell) for spell in sorted(told, key=lambda spell: -spell.lasted_ms)[:SPELLS_MAX]}
    lines: list[str] = []
    before: Spell | None = None
    for spell in told:
        if before is None or _day(before.last, zone) != _day(spell.first, zone):
            lines.append(f"{_day(spell.first, zone)}")
        if spell.before:
            lines.append(f"{_clock(spell.first, zone)} * {spell.before.strip()}")
        lines += _events(None if before is None else before.last.decision, spell, zone)
        if id(spell) in keep:
            lines.append(_line(spell, zone))
        before = spell
    if len(told) > SPELLS_MAX:
        left_out = len(told) - SPELLS_MAX
        lines.append(f"{left_out} shorter spells are left out; ask for a shorter span to see them.")
    return lines


def _summary(site: Site, told: Sequence[Spell], zone: tzinfo) -> list[str]:
    first, last = told[0].first, told[-1].last
    out_wh = sum(spell.out_w_ms for spell in told) // 3_600_000
    in_wh = sum(spell.in_w_ms for spell in told) // 3_600_000
    why = Counter[str]()
    for spell in told:
        why.update(spell.why_ms)
    count = sum(spell.count for spell in told)
    begun, ended = (datetime.fromtimestamp(entry.snapshot.utc_ms / 1000, zone) for entry in (first, last))
    until = f"{ended:%H:%M:%S %Z}" if begun.date() == ended.date() else f"{ended:%A %Y-%m-%d %H:%M:%S %Z}"
    lines = [
        f"{site.name}: {begun:%A %Y-%m-%d %H:%M:%S} to {until}, {count:,} decision{'' if count == 1 else 's'}.",
        f"Decided: {watt_hours(out_wh)} out of the batteries, {watt_hours(in_wh)} into them. "
        f"What set the power: {_reasons(why)}.",
    ]
    if first.decision.stored_wh is not None and last.decision.stored_wh is not None:
        lines.append(f"Stored: {watt_hours(first.decision.stored_wh)}, then {watt_hours(last.decision.stored_wh)}.")
    return lines


def _reasons(why_ms: Counter[str]) -> str:
    """Return what set the power, by time, the most first; what took less than 1 % is told as less."""
    names = {"wish": "as wished", "ramp": "the ramp", "min_power": "the units' least powers"}
    whole_ms = sum(why_ms.values())
    if not whole_ms:
        return ", ".join(names.get(why, why) for why in why_ms)
    parts = [(names.get(why, why), 100 * span_ms // whole_ms) for why, span_ms in why_ms.most_common()]
    return ", ".join(f"{name} {pct} %" if pct else f"{name} less than 1 %" for name, pct in parts)


def _events(before: Decision | None, spell: Spell, zone: tzinfo) -> list[str]:
    """Tell which faults began and ended, and which units started and stopped, as a spell begins."""
    now, at = spell.first.decision, _clock(spell.first, zone)
    old = {} if before is None else {(fault.fault, fault.device): fault for fault in before.faults}
    new = {(fault.fault, fault.device): fault for fault in now.faults}
    lines = []
    for key, fault in new.items():
        if key not in old:
            detail = f" ({fault.detail})" if fault.detail else ""
            lines.append(f"{at} ! {fault.fault} at {fault.device}{detail}: {RESPONSES[FAULTS[fault.fault].response]}.")
    lines += [f"{at}   {name} at {device} is over." for name, device in old if (name, device) not in new]
    phases = {} if before is None else {share.unit: share.phase for share in before.shares}
    lines += [
        f"{at}   {share.unit}: {PHASES[phases[share.unit]]}, then {PHASES[share.phase]}."
        for share in now.shares
        if share.unit in phases and phases[share.unit] != share.phase
    ]
    return lines


class _Faults:
    """All faults of a span: how often each stood, how long, since when; told once with what to check."""

    def __init__(self) -> None:
        self._first: dict[tuple[FaultName, str], Entry] = {}
        self._times = Counter[tuple[FaultName, str]]()
        self._stood_ms = Counter[tuple[FaultName, str]]()
        self._before: Entry | None = None

    def take(self, entry: Entry) -> None:
        """Take in the next entry."""
        before = self._before
        standing = faults_of(entry.decision)
        stood = frozenset[tuple[FaultName, str]]() if before is None else faults_of(before.decision)
        for key in standing - stood:
            self._first.setdefault(key, entry)
            self._times[key] += 1
        if before is not None:
            for key in standing & stood:
                self._stood_ms[key] += max(0, entry.snapshot.now_ms - before.snapshot.now_ms)
        self._before = entry

    def lines(self, zone: tzinfo) -> list[str]:
        """Return the section, the fault that stood longest first."""
        found = sorted(self._first, key=lambda key: -self._stood_ms[key])
        lines = []
        for name, device in found:
            times = self._times[name, device]
            often = "once" if times == 1 else f"{times:,} times"
            at = _clock(self._first[name, device], zone)
            lines.append(
                f"- {name} at {device}, {often}, first at {at}, {duration(self._stood_ms[name, device])} together: "
                f"{FAULTS[name].means}. Check {FAULTS[name].check}."
            )
        return ["", "What was wrong", *lines] if lines else []


def _line(spell: Spell, zone: tzinfo) -> str:
    decision = spell.first.decision
    mode = MODES.get(decision.mode, f'ran the program "{decision.mode}"')
    asked = f", asked for {powers(min(spell.asked_w), max(spell.asked_w))}" if spell.asked_w else ""
    given = f"the batteries at {powers(spell.least_w, spell.most_w)}"
    lasted = f"for {duration(spell.lasted_ms)}" if spell.lasted_ms else "a moment"
    because = _because(decision) if not spell.changes else f"; it changed {spell.changes:,} times, {_changes(spell)}"
    return f"{_clock(spell.first, zone)}   {lasted}: {mode}{asked}, {given}{because}."


def _changes(spell: Spell) -> str:
    flicker = ", ".join(sorted(f"{name} at {device}" for name, device in spell.flickering))
    what = f"what set the power: {_reasons(spell.why_ms)}"
    return f"{flicker} came and went; {what}" if flicker else what


def _because(decision: Decision) -> str:
    if decision.why == "wish":
        return ""
    if decision.why == "min_power":
        missed = next((one for one in decision.unmet if one.rule == "min_power"), None)
        return "; the units' least powers set it" + ("" if missed is None else f": {missed.because}")
    bound = next((one for one in (decision.high, decision.low) if one.rule == decision.why), None)
    return f"; {decision.why} set it" + ("" if bound is None else f": {bound.because}")


def _clock(entry: Entry, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(entry.snapshot.utc_ms / 1000, zone):%H:%M:%S}"


def _day(entry: Entry, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(entry.snapshot.utc_ms / 1000, zone):%A %Y-%m-%d}"


def story_report(path: Path, begin: str | None, end: str | None) -> tuple[int, str]:
    """Return exit code and text: 0 told, 1 nothing recorded in that span, 2 not readable or no such time.

    begin, end: times as `explain_report` takes them; None = the journal's first or last entry.
    """
    try:
        site, entries = between(path, begin, end)
        text = story(site, entries)
    except OutOfSpan as error:
        return 1, str(error)
    except JournalError as error:
        return 2, str(error)
    return 0, "\n".join(_wrapped(line) for line in text.splitlines())


def _wrapped(line: str) -> str:
    indent = " " * 11 if line[2:3] == ":" else "  "  # under the text behind the time of day
    return fill(line, _COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
