"""Reading: whole segments, the last entry, and following a journal that is being written."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from controller.journal.record import (
    FORMAT,
    MAGIC,
    Damage,
    Entry,
    Header,
    JournalError,
    inflated,
    records,
    segment_files,
    unreadable,
)
from controller.model import FAULTS, Remembered, State

_OTHER_VERSION = "perhaps written by another version of this software"
_entries = msgspec.msgpack.Decoder(Entry)
_headers = msgspec.msgpack.Decoder(Header)


class _Format(msgspec.Struct):
    format_version: int


class Segment:
    """One segment in memory: its entries by place, and what of it could not be read.

    header is None where nothing can be read. An entry that is whole and yet cannot be unpacked shows in damage when it
    was first asked for.
    """

    def __init__(self, path: Path, content: bytes, unread: str = "") -> None:
        """content is the whole file; unread is why it could not be read when it is empty."""
        self.path = path
        self.header: Header | None = None
        self._content = content
        self._damage: dict[int, Damage] = {}
        self._places: list[tuple[int, int, int]] = []
        if content and content[: len(MAGIC)] != MAGIC:
            self._hurt(0, min(len(content), len(MAGIC)), "does not begin as a segment of a journal")
        expected = len(MAGIC)
        header_payload = b""
        for place in records(content, len(MAGIC)):
            offset, start, end = place
            if offset != expected:
                self._hurt(expected, offset - expected, "damaged")
            expected = end
            if not header_payload:
                header_payload = content[start:end]
            elif content[start:end] != header_payload:
                self._places.append(place)
        if expected < len(content):
            self._hurt(expected, len(content) - expected, "cut or damaged up to the end")
        if header_payload:
            self._take_header(header_payload)
        elif not self._damage:
            self._hurt(0, len(content), unread or "ends before its header", whole=bool(unread))

    def __len__(self) -> int:
        return len(self._places)

    @property
    def damage(self) -> tuple[Damage, ...]:
        """What could not be read, in the order of the file."""
        return tuple(self._damage[offset] for offset in sorted(self._damage))

    def entry(self, place: int) -> Entry | None:
        """Return the entry at place 0 .. len - 1, None where it cannot be unpacked."""
        assert self.header is not None
        offset, start, end = self._places[place]
        try:
            return _entries.decode(inflated(self._content[start:end], self.header.dictionary))
        except (msgspec.DecodeError, zlib.error, UnicodeDecodeError) as error:
            self._hurt(offset, end - offset, f"{error}; {_OTHER_VERSION}", whole=True)
            return None

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in order, those that can be read."""
        for place in range(len(self)):
            entry = self.entry(place)
            if entry is not None:
                yield entry

    def last(self) -> Entry | None:
        """Return the last entry that can be read."""
        found = (self.entry(place) for place in reversed(range(len(self))))
        return next((entry for entry in found if entry is not None), None)

    def _take_header(self, payload: bytes) -> None:
        try:
            self.header = _header(payload)
        except JournalError as error:
            self._places = []
            self._hurt(0, len(self._content), str(error), whole=True)

    def _hurt(self, offset: int, skipped_bytes: int, because: str, *, whole: bool = False) -> None:
        self._damage[offset] = Damage(
            segment=self.path.name, offset=offset, skipped_bytes=skipped_bytes, because=because, whole=whole
        )


def _header(payload: bytes) -> Header:
    """Return the header. Raises JournalError where it is none, or one of another format."""
    try:
        packed = inflated(payload)
        written = msgspec.msgpack.decode(packed, type=_Format).format_version
        if written != FORMAT:
            raise JournalError(f"written in format {written}, this version reads format {FORMAT}")
        return _headers.decode(packed)
    except (msgspec.DecodeError, zlib.error, UnicodeDecodeError) as error:
        raise JournalError(f"its header cannot be read: {error}") from error


def read(path: Path, *, newest_first: bool = False) -> Iterator[Segment]:
    """Yield the segments of a journal, or the one that path is. Raises JournalError when there is no journal."""
    try:
        files = [path] if path.is_file() else [file for _, file in segment_files(path)]
    except OSError as error:
        raise JournalError(unreadable(path, error)) from error
    for file in reversed(files) if newest_first else files:
        segment = _segment(file)
        if segment is not None:
            yield segment


def _segment(path: Path) -> Segment | None:
    """Return the segment, None when it was deleted meanwhile to keep the bound."""
    try:
        return Segment(path, path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        return Segment(path, b"", unread=f"the storage does not give it back: {error.strerror or error}")


def last_state(directory: Path) -> State | None:
    """Return what a restart may take over, None when nothing was recorded.

    That is latched faults, a cease that stood last, and of each unit what only time and energy can undo: its latched
    derating, its health, what went through it since it was full. A start begins anew.

    since_ms is 0, before the start: the clock of that run has ended. Raises JournalError.
    """
    if not directory.exists():
        return None
    last = (segment.last() for segment in read(directory, newest_first=True))
    entry = next((entry for entry in last if entry is not None), None)
    if entry is None:
        return None
    latched = (fault for fault in entry.decision.faults if FAULTS[fault.fault].latches)
    kept = (
        Remembered(
            unit=unit.unit,
            charge_pct=unit.charge_pct,
            discharge_pct=unit.discharge_pct,
            soh_bp=unit.soh_bp,
            cycled_mwh=unit.cycled_mwh,
            full_utc_ms=unit.full_utc_ms,
            full_wanted_utc_ms=unit.full_wanted_utc_ms,
            recovering=unit.recovering,
        )
        for unit in entry.state.units
    )
    return State(
        units=tuple(kept),
        standing=tuple(msgspec.structs.replace(fault, since_ms=0, clear_since_ms=None) for fault in latched),
        ceased=next((order.source for order in entry.snapshot.orders if order.kind == "cease"), ""),
    )


class Follower:
    """Reads a journal while it is written: each poll returns what came since the last, across segments.

    Damaged entries are passed over in silence. Never raises: a journal that is not there yet has nothing new.
    """

    def __init__(self, directory: Path) -> None:
        self.header: Header | None = None  # of the segment read last
        self._directory = directory
        self._number = 0
        self._offset = 0
        self._header_payload = b""

    def poll(self, most: int = 10_000) -> list[Entry]:
        """Return at most so many new entries, oldest first; the rest comes with the next poll."""
        entries: list[Entry] = []
        try:
            files = [(number, path) for number, path in segment_files(self._directory) if number >= self._number]
            for number, path in files:
                if number > self._number:
                    self._number, self._offset, self._header_payload = number, len(MAGIC), b""
                entries += self._rest(path, most - len(entries))
                if len(entries) >= most:
                    break
        except OSError:
            return entries
        return entries

    def _rest(self, path: Path, most: int) -> list[Entry]:
        with path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        entries: list[Entry] = []
        begun = self._offset
        for _, start, end in records(content, 0):
            if len(entries) >= most:
                break
            self._offset = begun + end
            entry = self._entry(content[start:end])
            if entry is not None:
                entries.append(entry)
        return entries

    def _entry(self, payload: bytes) -> Entry | None:
        if payload == self._header_payload:
            return None
        try:
            if not self._header_payload:
                self._header_payload, self.header = payload, None
                self.header = _header(payload)
                return None
            if self.header is None:
                return None
            return _entries.decode(inflated(payload, self.header.dictionary))
        except (JournalError, msgspec.DecodeError, zlib.error, UnicodeDecodeError):
            return None
