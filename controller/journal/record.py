"""The bytes of the journal: records, the header, and how an entry is packed."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from controller.model import Decision, Site, Snapshot, State

MAGIC = b"LPJ\r\n\x1a\n\x00"  # shows a transfer that changed line ends or cut at a control character
FORMAT = 1
SUFFIX = ".lpj"
RECORD_MAX_BYTES = 1 << 18
ENTRY_MAX_BYTES = 1 << 20  # unpacked; also bounds what a hostile file can make us unpack
SCAN_MAX_BYTES = 1 << 20  # how far to look for the next good record behind a damaged one
CHECK_MAX_BYTES = 1 << 26  # how much to sum up while looking, about 50 ms
DICTIONARY_MAX_BYTES = 1 << 15  # the window of deflate: more of a dictionary would not be seen
_PREFIX = struct.Struct("<II")
_RAW_DEFLATE = -15  # no zlib frame around it: the record has its own checksum, and 10 bytes an entry count


class JournalError(Exception):
    """The journal cannot be written or read. The text is for people in the field."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One decision with all it came from. state is the one handed into the step."""

    seq: int
    state: State
    snapshot: Snapshot
    decision: Decision


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment needs to be read by itself. run: the segment with which its writer began."""

    format_version: int
    software_version: str
    run: int
    opened_utc_ms: int  # of its first entry
    site: Site
    dictionary: bytes


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a segment that could not be read. whole: its bytes are as written, this version cannot read them."""

    segment: str
    offset: int
    skipped_bytes: int
    because: str
    whole: bool = False

    def __str__(self) -> str:
        return f"{self.segment}: {self.skipped_bytes} bytes at {self.offset}: {self.because}"


def segment_files(directory: Path) -> list[tuple[int, Path]]:
    """Return the segments' numbers and paths, oldest first; files of other names are not ours. Raises OSError."""
    files = (path for path in directory.iterdir() if path.suffix == SUFFIX and path.stem.isdecimal())
    return sorted((int(path.stem), path) for path in files)


def framed(payload: bytes) -> bytes:
    """Return payload as a record. Raises JournalError when it is too long to be one."""
    if not 0 < len(payload) <= RECORD_MAX_BYTES:
        raise JournalError(f"a journal record of {len(payload)} bytes is beyond the {RECORD_MAX_BYTES} allowed")
    return _PREFIX.pack(len(payload), zlib.crc32(payload)) + payload


def records(content: bytes, offset: int) -> Iterator[tuple[int, int, int]]:
    """Yield (offset, start, end) of each good record from offset on; payload is content[start:end].

    A bad one is passed by looking at every byte for the next good one, within SCAN_MAX_BYTES. Its own length is not
    believed: with a flipped bit it could lead to the record after the next.
    """
    found = _next_record(content, offset)
    while found is not None:
        yield found
        found = _next_record(content, found[2])


def _next_record(content: bytes, offset: int) -> tuple[int, int, int] | None:
    last = min(len(content) - _PREFIX.size - 1, offset + SCAN_MAX_BYTES)
    checks_left_bytes = CHECK_MAX_BYTES
    while offset <= last and checks_left_bytes > 0:
        length, crc = _PREFIX.unpack_from(content, offset)
        start = offset + _PREFIX.size
        if 0 < length <= RECORD_MAX_BYTES and start + length <= len(content):
            end = start + length
            if zlib.crc32(memoryview(content)[start:end]) == crc:
                return offset, start, end
            checks_left_bytes -= length
        # The fourth byte of a length is always zero: go where the next zero can be that byte.
        zero = content.find(b"\0", offset + 4)
        if zero < 0:
            return None
        offset = zero - 3
    return None


def compressor(dictionary: bytes) -> "zlib._Compress":
    """Return what deflated works with: ready to compress against dictionary."""
    return zlib.compressobj(6, zlib.DEFLATED, _RAW_DEFLATE, 6, zlib.Z_DEFAULT_STRATEGY, dictionary)


def deflated(packed: bytes, ready: "zlib._Compress") -> bytes:
    """Return packed compressed, leaving ready as it is: a copy is much cheaper than reading the dictionary again."""
    deflate = ready.copy()
    return deflate.compress(packed) + deflate.flush()


def inflated(payload: bytes, dictionary: bytes = b"") -> bytes:
    """Return the inverse of deflated. Raises zlib.error for what is not deflate, is cut or is beyond the bound."""
    inflate = zlib.decompressobj(_RAW_DEFLATE, dictionary)
    packed = inflate.decompress(payload, ENTRY_MAX_BYTES)
    if not inflate.eof:
        raise zlib.error("it is cut or longer than any can be")
    return packed


def unreadable(directory: Path, error: OSError) -> str:
    """Return what to tell when the journal cannot be read."""
    return f"the journal {directory} cannot be read: {error.strerror or error}; check the path and its permissions"
