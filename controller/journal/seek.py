"""Find the entry of a moment."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time, tzinfo
from itertools import chain
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from controller.journal.reader import Segment, read
from controller.journal.record import Damage, Entry, JournalError
from controller.model import Site

_SHORTENED = "the journal was shortened while it was searched; ask again"


class OutOfSpan(JournalError):
    """The journal does not reach the moment asked for."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An entry, the site it was decided for, and how long before the moment asked for it lies (negative: in it)."""

    site: Site
    entry: Entry
    before_ms: int = 0


class _Span(msgspec.Struct, frozen=True, kw_only=True):
    """A segment's file, site, and its entries at both ends."""

    path: Path
    site: Site
    ends: tuple[Entry, Entry]


def last(path: Path) -> Found:
    """Return the last entry of the journal. Raises JournalError when there is none."""
    for segment in read(path, newest_first=True):
        entry = segment.last()
        if entry is not None and segment.header is not None:
            return Found(site=segment.header.site, entry=entry)
    raise JournalError(f"the journal {path} holds no entry that can be read")


def nearest(path: Path, at: str) -> Found:
    """Return the entry nearest at or before a time of the site. Raises JournalError, OutOfSpan where none can be."""
    newest = last(path)
    zone = zone_of(newest.site)
    first_ms, until_ms = _moment(at, datetime.fromtimestamp(newest.entry.snapshot.utc_ms / 1000, zone))
    spans = [span for span in map(_span, read(path)) if span is not None]
    if not spans:
        raise JournalError(_SHORTENED)
    ends_ms = [entry.snapshot.utc_ms for span in spans for entry in span.ends]
    earliest_ms, latest_ms = min(ends_ms), max(ends_ms)
    if until_ms < earliest_ms or first_ms > latest_ms:
        covered = f"{_stamp(earliest_ms, zone)} to {_stamp(latest_ms, zone)}"
        raise OutOfSpan(f"nothing is recorded at {at}: the journal {path} covers {covered}")
    site, entry = _nearest(spans, until_ms)
    return Found(site=site, entry=entry, before_ms=first_ms - entry.snapshot.utc_ms)


def between(path: Path, begin: str | None, end: str | None) -> tuple[Site, Iterator[Entry | Damage | Site]]:
    """Return the newest site and what is recorded from one time to another, both within; None = first or last.

    Beside the entries come, in their place, the site where another one was recorded before, and what of a segment
    could not be read, behind its entries. Raises JournalError, OutOfSpan where nothing lies in that span.
    """
    newest = last(path)
    zone = zone_of(newest.site)
    today = datetime.fromtimestamp(newest.entry.snapshot.utc_ms / 1000, zone)
    first_ms = _moment(begin, today)[0] if begin else None
    until_ms = _moment(end, today)[1] if end else None
    if first_ms is not None and until_ms is not None and until_ms < first_ms:
        raise JournalError(f'"{begin}" is after "{end}"')
    found = _within(path, first_ms, until_ms)
    before: list[Entry | Damage | Site] = []
    for one in found:
        before.append(one)
        if isinstance(one, Entry):
            return newest.site, chain(before, found)
    spans = [span for span in map(_span, read(path)) if span is not None]
    ends_ms = [entry.snapshot.utc_ms for span in spans for entry in span.ends]
    if not ends_ms:
        raise JournalError(_SHORTENED)
    covered = f"{_stamp(min(ends_ms), zone)} to {_stamp(max(ends_ms), zone)}"
    asked = f"from {begin or 'the beginning'} to {end or 'the end'}"
    raise OutOfSpan(f"nothing is recorded {asked}: the journal {path} covers {covered}")


def _within(path: Path, first_ms: int | None, until_ms: int | None) -> Iterator[Entry | Damage | Site]:
    site: Site | None = None
    for segment in read(path):
        begun, ended = next(segment.entries(), None), segment.last()
        if segment.header is None or begun is None or ended is None:
            yield from segment.damage
            continue
        ends_ms = (begun.snapshot.utc_ms, ended.snapshot.utc_ms)
        if (first_ms is not None and max(ends_ms) < first_ms) or (until_ms is not None and min(ends_ms) > until_ms):
            continue  # unless the wall clock left and came back within it, as in _nearest
        if site is not None and segment.header.site != site:
            yield segment.header.site
        site = segment.header.site
        for entry in segment.entries():
            utc_ms = entry.snapshot.utc_ms
            if (first_ms is None or utc_ms >= first_ms) and (until_ms is None or utc_ms <= until_ms):
                yield entry
        yield from segment.damage


def zone_of(site: Site) -> tzinfo:
    """Return the site's time zone, UTC where this machine does not know it."""
    try:
        return ZoneInfo(site.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def _stamp(utc_ms: int, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(utc_ms / 1000, zone):%Y-%m-%d %H:%M:%S %Z}"


def _span(segment: Segment) -> _Span | None:
    first, final = next(segment.entries(), None), segment.last()
    if segment.header is None or first is None or final is None:
        return None
    return _Span(path=segment.path, site=segment.header.site, ends=(first, final))


def _nearest(spans: Iterable[_Span], until_ms: int) -> tuple[Site, Entry]:
    """Return the latest entry at or before until_ms; of two, where the clock was set back, the later recorded.

    Only segments whose ends lie around the time are searched whole. The others have no nearer entry than an end,
    unless the wall clock left and came back within one segment.
    """
    best: tuple[Site, Entry] | None = None
    for span in spans:
        ends_ms = [entry.snapshot.utc_ms for entry in span.ends]
        inside = min(ends_ms) <= until_ms <= max(ends_ms)
        for entry in _entries(span.path) if inside else span.ends:
            utc_ms = entry.snapshot.utc_ms
            if utc_ms <= until_ms and (best is None or utc_ms >= best[1].snapshot.utc_ms):
                best = span.site, entry
    if best is None:
        raise JournalError(_SHORTENED)
    return best


def _entries(path: Path) -> Iterable[Entry]:
    for segment in read(path):
        yield from segment.entries()


def _moment(at: str, newest: datetime) -> tuple[int, int]:
    """Return the first and last millisecond that at can mean. Raises JournalError where it is no time."""
    try:
        if at[2:3] == ":":
            moment = datetime.combine(newest.date(), time.fromisoformat(at))
        else:
            moment = datetime.fromisoformat(at)
        moment = moment.replace(tzinfo=moment.tzinfo or newest.tzinfo)
        first_ms = round(moment.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        wanted = 'an ISO date and time, HH:MM:SS of the last day, or "last"'
        raise JournalError(f'"{at}" is no time; give {wanted}') from error
    return first_ms, first_ms + (999 if moment.microsecond == 0 else 0)
