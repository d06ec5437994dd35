"""The disk under the journal, in the bench's hands: full, failing, slow, cut by a power failure, written by others.

The journal's writer calls the operating system through its module's `os`. Here that name is given another meaning for
programs of the bench (hil.run.kill.Process) that have a disk; all others reach the system's own. The writer knows
nothing of it, and everything but the fault is real: real files, real bytes, real errors of the kernel.

What is flushed is only counted: nothing is gained by a flush in a bench, and real disks cost real time. A flush that
takes long takes it in virtual time, in the thread where the controller puts it (VirtualLoop.block); a write that takes
long holds up the whole controller, because it writes on its loop.

Not shadowed is what goes through pathlib: a journal at its bound can still delete its oldest segment on a disk that
cannot be written.
"""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from controller.journal import writer
from controller.journal.reader import Segment
from controller.journal.record import MAGIC, compressor, deflated, framed, inflated, records, segment_files
from hil.clock import OWNER, VirtualLoop
from hil.run.kill import Process

Bit = Callable[[str], None]
Heal = Callable[[], None]


class Disk:
    """The disk that a journal's directory is on. What it does not shadow is os itself."""

    def __init__(self, directory: Path, loop: VirtualLoop) -> None:
        self.directory = directory
        self.flushed = 0  # how often a file was flushed
        self._loop = loop
        self._paths: dict[int, str] = {}
        self._last: tuple[str, int, int] | None = None  # the last write: file, offset, length
        self._full: list[tuple[int, Bit]] = []  # (bytes the directory may take, who counts)
        self._failing: list[tuple[int, Bit]] = []  # (errno, who counts)
        self._slow: list[tuple[float, float, Bit]] = []  # (s a write, s a flush, who counts)
        writer.os = _SYSTEM  # type: ignore[attr-defined,assignment]  # it has all of os that is called

    def fill(self, left_bytes: int, bit: Bit) -> Heal:
        """Let only so many bytes more be free; what the journal deletes of its own is free again."""
        return _armed(self._full, (self._used_bytes() + left_bytes, bit))

    def fail(self, error_no: int, bit: Bit) -> Heal:
        """Let every write, truncation, flush and new file end in an error: errno.EIO, or EROFS once it is read-only."""
        return _armed(self._failing, (error_no, bit))

    def slow(self, write_s: float, flush_s: float, bit: Bit) -> Heal:
        """Let each write and each flush take so long."""
        return _armed(self._slow, (write_s, flush_s, bit))

    def tear(self, keep_bytes: int) -> int:
        """Cut the last write after its first keep_bytes, as a power failure does. Return how many bytes are lost."""
        if self._last is None:
            return 0
        path, offset, length = self._last
        kept_bytes = min(keep_bytes, length)
        os.truncate(path, offset + kept_bytes)
        return length - kept_bytes

    # What the writer calls.

    def open(self, path: Path, flag_bits: int, mode_bits: int = 0o777) -> int:
        """Open a file; a new one needs a disk that can be written."""
        if flag_bits & os.O_CREAT:
            self._check(f"{path.name} was not made")
        fd = os.open(path, flag_bits, mode_bits)
        self._paths[fd] = str(path)
        return _opened(fd)

    def dup(self, fd: int) -> int:
        """Duplicate a descriptor."""
        return _opened(os.dup(fd))

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        owner = OWNER.get()
        if isinstance(owner, Process):
            owner.files.discard(fd)
        os.close(fd)

    def write(self, fd: int, content: bytes) -> int:
        """Write what there is room for."""
        for write_s, _flush_s, bit in self._slow:
            if write_s:
                bit(f"a write took {write_s:g} s")
                self._loop.block(write_s)
        self._check(f"{len(content)} bytes were not written")
        offset, room = os.fstat(fd).st_size, len(content)
        for most_bytes, bit in self._full:
            left_bytes = max(0, most_bytes - self._used_bytes())
            if left_bytes < len(content):
                bit(f"{len(content) - left_bytes} of {len(content)} bytes had no room")
                room = min(room, left_bytes)
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(fd, content[:room])
        self._last = (self._paths[fd], offset, written)
        return written

    def ftruncate(self, fd: int, length_bytes: int) -> None:
        """Cut a file."""
        self._check("nothing was cut")
        os.ftruncate(fd, length_bytes)

    def fdatasync(self, fd: int) -> None:
        """Count a flush, and let it take its time."""
        self._flush()

    def fsync(self, fd: int) -> None:
        """Count a flush, and let it take its time."""
        self._flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _flush(self) -> None:
        for _write_s, flush_s, bit in self._slow:
            if flush_s:
                bit(f"a flush took {flush_s:g} s")
                self._loop.block(flush_s)
        self._check("nothing was flushed")
        self.flushed += 1

    def _check(self, what: str) -> None:
        for error, bit in self._failing:
            bit(f"{what}: {os.strerror(error)}")
            raise OSError(error, os.strerror(error))

    def _used_bytes(self) -> int:
        if not self.directory.exists():
            return 0
        return sum(path.stat().st_size for path in self.directory.iterdir())


class _System:
    """os, or the disk of the program that asks."""

    def __getattr__(self, name: str) -> Any:
        owner = OWNER.get()
        disk = owner.disk if isinstance(owner, Process) else None
        return getattr(os if disk is None else disk, name)


_SYSTEM = _System()


def newest(directory: Path) -> Path | None:
    """Return the segment that was written last, None where there is none."""
    files = segment_files(directory) if directory.exists() else []
    return files[-1][1] if files else None


def flip(path: Path, place: int, bit: int) -> None:
    """Flip one bit of the byte at a place."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def rewrite(directory: Path, header: dict[str, Any], entry: Callable[[dict[str, Any]], None] | None = None) -> int:
    """Make a journal one of another version: change fields of each segment's header, and each entry where asked.

    entry changes a decoded entry in place. Return how many segments were rewritten; one without a header stays.
    """
    count = 0
    for _number, path in segment_files(directory) if directory.exists() else []:
        content = path.read_bytes()
        known = Segment(path, content).header
        if known is None:
            continue
        fields = msgspec.to_builtins(known, builtin_types=(bytes,)) | header
        beginning = framed(deflated(msgspec.msgpack.encode(fields), compressor(b"")))
        payloads = [content[start:end] for _offset, start, end in records(content, len(MAGIC))]
        body = b"".join(_changed(payloads[2:], known.dictionary, entry))
        path.write_bytes(MAGIC + beginning * 2 + body)
        count += 1
    return count


def _changed(
    payloads: list[bytes], dictionary: bytes, entry: Callable[[dict[str, Any]], None] | None
) -> Iterator[bytes]:
    ready = compressor(dictionary)
    for payload in payloads:
        if entry is None:
            yield framed(payload)
            continue
        fields = msgspec.msgpack.decode(inflated(payload, dictionary))
        entry(fields)
        yield framed(deflated(msgspec.msgpack.encode(fields), ready))


def _opened(fd: int) -> int:
    owner = OWNER.get()
    if isinstance(owner, Process):
        owner.files.add(fd)
    return fd


def _armed(standing: list[Any], trouble: Any) -> Heal:
    standing.append(trouble)
    return lambda: standing.remove(trouble)
