"""Writing: append-only segments, bounded together, one write per entry."""

import errno
import os
import threading
from collections import deque
from importlib import metadata
from pathlib import Path

import msgspec

from controller.journal.record import (
    DICTIONARY_MAX_BYTES,
    ENTRY_MAX_BYTES,
    FORMAT,
    MAGIC,
    SUFFIX,
    Entry,
    Header,
    JournalError,
    compressor,
    deflated,
    framed,
    segment_files,
)
from controller.model import Site

SEGMENTS = 16  # the bound on disk is given back in steps of one sixteenth
SEGMENT_MIN_BYTES = 64 * 1024
SEGMENT_MAX_BYTES = 16 * 1024 * 1024  # a reader holds one segment in memory
SAMPLES = 16  # entries that make the dictionary of a segment; the first of a run has one and is soon replaced
SAMPLE_EVERY = 64
RETIRED_MAX = 4  # segments that were left but not yet synced
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def _software_version() -> str:
    try:
        return metadata.version("linepack")
    except metadata.PackageNotFoundError:
        return "unknown"


def _packed(entry: Entry) -> bytes:
    try:
        packed = msgspec.msgpack.encode(entry)
    except (OverflowError, UnicodeEncodeError) as error:
        raise JournalError(f"Entry {entry.seq} was left out of the journal, it cannot be written: {error}.") from error
    if len(packed) > ENTRY_MAX_BYTES:
        raise JournalError(f"Entry {entry.seq} was left out of the journal: {len(packed)} bytes are too many.")
    return packed


class JournalWriter:
    """The journal of one running controller. append, never blocking on the disk, and sync, off the loop.

    Nothing is touched before the first append; it begins a segment of its own.
    """

    def __init__(self, directory: Path, site: Site, max_bytes: int) -> None:
        """max_bytes bounds all segments together and is at least SEGMENT_MIN_BYTES."""
        assert max_bytes >= SEGMENT_MIN_BYTES
        self._directory = directory
        self._site = site
        self._max_bytes = max_bytes
        self._segment_bytes = min(max(max_bytes // SEGMENTS, SEGMENT_MIN_BYTES), SEGMENT_MAX_BYTES)
        self._software_version = _software_version()
        self._run = 0  # the number of the first segment, 0 before it
        self._path: Path | None = None
        self._size_bytes = 0
        self._compressor = compressor(b"")
        self._samples: deque[bytes] = deque(maxlen=SAMPLES)
        self._appended = 0
        self._learning = True  # the segment's dictionary was made before all samples were there
        self._shed = False  # the oldest segment was given up for a full disk, and nothing was recorded since
        self._lock = threading.Lock()  # guards what sync takes over from append: the next four
        self._file: int | None = None
        self._retired: list[int] = []
        self._begun = False  # a segment was begun whose directory entry is not synced
        self._distrusted = False  # a sync failed: what the kernel holds of this segment may never reach the disk

    def append(self, entry: Entry) -> None:
        """Record entry. Raises JournalError: it is left out, all before it stays, and the next append tries again."""
        packed = _packed(entry)
        try:
            self._append(packed, entry.snapshot.utc_ms)
        except OSError as error:
            given_up = self._give_up_oldest() if error.errno in _FULL else ""
            raise JournalError(self._told("written", error) + given_up) from error
        self._shed = False

    def sync(self) -> None:
        """Bring all that was appended to the disk. May take seconds; call it off the loop. Raises JournalError."""
        with self._lock:
            files, self._retired = self._retired, []
            begun, self._begun = self._begun, False
            try:
                files += [] if self._file is None else [os.dup(self._file)]
            except OSError as error:
                self._retired, self._begun = files, begun
                raise JournalError(self._told("synced", error)) from error
        try:
            for file in files:
                os.fdatasync(file)
            if begun:
                self._sync_directory()
        except OSError as error:
            self._distrusted = True
            raise JournalError(self._told("synced", error)) from error
        finally:
            for file in files:
                os.close(file)

    def close(self) -> None:
        """Leave the journal. Call sync before it; a later append would begin a new segment."""
        self._leave()
        with self._lock:
            files, self._retired = self._retired, []
        for file in files:
            os.close(file)

    def _append(self, packed: bytes, utc_ms: int) -> None:
        record = framed(deflated(packed, self._compressor))
        learned = self._learning and len(self._samples) == SAMPLES
        full = self._size_bytes + len(record) > self._segment_bytes
        if self._file is None or self._distrusted or learned or full or os.fstat(self._file).st_nlink == 0:
            record = self._begin(packed, utc_ms)
        self._write(record)
        if self._appended % SAMPLE_EVERY == 0:
            self._samples.append(packed)
        self._appended += 1

    def _begin(self, packed: bytes, utc_ms: int) -> bytes:
        """Open a new segment and return what its first write must hold."""
        self._directory.mkdir(parents=True, exist_ok=True)
        files = segment_files(self._directory)
        number = files[-1][0] + 1 if files else 1
        # In small segments a large dictionary would not pay for itself.
        dictionary = b"".join(self._samples or [packed])[-min(DICTIONARY_MAX_BYTES, self._segment_bytes // SEGMENTS) :]
        ready = compressor(dictionary)
        header = Header(
            format_version=FORMAT,
            software_version=self._software_version,
            run=self._run or number,
            opened_utc_ms=utc_ms,
            site=self._site,
            dictionary=dictionary,
        )
        # The header twice: what all entries hang on must not hang on one good sector.
        beginning = framed(deflated(msgspec.msgpack.encode(header), compressor(b"")))
        content = MAGIC + beginning * 2 + framed(deflated(packed, ready))
        self._make_room(files, max(self._segment_bytes, len(content)))
        path = self._directory / f"{number:08d}{SUFFIX}"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._leave()
        with self._lock:
            self._file, self._begun, self._distrusted = file, True, False
        self._run = header.run
        self._path, self._size_bytes = path, 0
        self._compressor, self._learning = ready, len(self._samples) < SAMPLES
        return content

    def _make_room(self, files: list[tuple[int, Path]], room_bytes: int) -> None:
        if room_bytes > self._max_bytes:
            raise OSError(errno.E2BIG, f"one segment of {room_bytes} bytes is more than the journal may take")
        sizes_bytes = [path.stat().st_size for _, path in files]
        total_bytes = sum(sizes_bytes)
        for (_, path), size_bytes in zip(files, sizes_bytes, strict=True):
            if total_bytes + room_bytes <= self._max_bytes:
                return
            path.unlink()
            total_bytes -= size_bytes

    def _write(self, record: bytes) -> None:
        """Write record whole or take back what of it was written."""
        assert self._file is not None
        try:
            written_bytes = os.write(self._file, record)
            if written_bytes != len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self._take_back()
            raise
        self._size_bytes += len(record)

    def _take_back(self) -> None:
        assert self._file is not None and self._path is not None
        try:
            os.ftruncate(self._file, self._size_bytes)
            if self._size_bytes == 0:
                self._path.unlink()
                self._leave()
        except OSError:
            self._leave()  # the torn record stays the segment's last: a reader passes over it

    def _sync_directory(self) -> None:
        file = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def _leave(self) -> None:
        """Hand the segment to the next sync; what is too much for it is closed unsynced."""
        with self._lock:
            if self._file is not None:
                self._retired.append(self._file)
                self._file = None
            surplus, self._retired = self._retired[:-RETIRED_MAX], self._retired[-RETIRED_MAX:]
        for file in surplus:
            os.close(file)

    def _give_up_oldest(self) -> str:
        """Delete the oldest segment, once until something could be recorded again, and never the one being written."""
        if self._shed:
            return ""
        try:
            oldest = next((path for _, path in segment_files(self._directory) if path != self._path), None)
            if oldest is None:
                return ""
            oldest.unlink()
        except OSError:
            return ""
        self._shed = True
        return f" Its oldest part, {oldest.name}, was deleted to make room."

    def _told(self, done: str, error: OSError) -> str:
        return (
            f"The journal in {self._directory} could not be {done}: {error.strerror or error}. "
            "Control goes on; decisions are not recorded for now and it is tried again at the next one. "
            "Check the free space, the path with its permissions, and the health of the storage."
        )
