"""Faults of the disk under the journal. What a power failure leaves is found by the next start, so it kills first."""

import errno
from collections.abc import Callable
from typing import Any, Protocol

from controller.journal.record import FORMAT
from hil.faults.words import LOCKSTEP, Armed, Heal, Kind, Param, Verb
from hil.run.disk import Disk, flip, newest, rewrite
from hil.run.supervisor import Supervisor

DISK: frozenset[Kind] = frozenset(("disk",))
MANY_BYTES = 1e9
MANY_S = 3600.0
ERRORS = {"EIO": errno.EIO, "EROFS": errno.EROFS}


class Stored(Protocol):
    """What these verbs need of a bench."""

    @property
    def disk(self) -> Disk: ...
    @property
    def supervisor(self) -> Supervisor: ...


def _fill(bench: Stored, armed: Armed) -> Heal:
    return bench.disk.fill(int(armed.number("left_bytes")), armed.bit)


def _fail(bench: Stored, armed: Armed) -> Heal:
    return bench.disk.fail(ERRORS[armed.text("error")], armed.bit)


def _slow(bench: Stored, armed: Armed) -> Heal:
    return bench.disk.slow(armed.number("write_s"), armed.number("flush_s"), armed.bit)


def _tear(bench: Stored, armed: Armed) -> Heal:
    bench.supervisor.kill()
    if bench.disk.tear(int(armed.number("keep_bytes"))):
        armed.bit("the last write is torn")  # how many bytes hangs on the ports in it, which differ from run to run
    return lambda: None


def _flip(bench: Stored, armed: Armed) -> Heal:
    bench.supervisor.kill()
    path = newest(bench.disk.directory)
    if path is not None and (size := path.stat().st_size):
        place = round(armed.number("at_share") * (size - 1))
        flip(path, place, int(armed.number("bit_no")))
        armed.bit(f"byte {place} of {size} in {path.name}")
    return lambda: None


def _other_format(bench: Stored, armed: Armed) -> Heal:
    bench.supervisor.kill()
    written = FORMAT + int(armed.number("newer_by"))
    if count := rewrite(bench.disk.directory, {"format_version": written}):
        armed.bit(f"{count} segments are of format {written}")
    return lambda: None


def _verb(name: str, says: str, begin: Callable[[Any, Armed], Heal], params: dict[str, Param]) -> Verb:
    return Verb(name=name, layer="disk", says=says, on=DISK, begin=begin, params=params, modes=LOCKSTEP)


VERBS: tuple[Verb, ...] = (
    _verb(
        "disk_full",
        "so many bytes more can be written, and what is deleted can be written again",
        _fill,
        {"left_bytes": Param(default=0, low=0, high=MANY_BYTES, unit="bytes", says="still free when it begins")},
    ),
    _verb(
        "disk_error",
        "nothing can be written, cut, flushed or made",
        _fail,
        {"error": Param(default="EIO", choices=tuple(ERRORS), says="a broken disk, or one that is read-only now")},
    ),
    _verb(
        "disk_slow",
        "writes and flushes take long; a write holds up the controller, a flush a thread of its own",
        _slow,
        {
            "write_s": Param(default=0.0, low=0.0, high=MANY_S, unit="s", says="each write"),
            "flush_s": Param(default=5.0, low=0.0, high=MANY_S, unit="s", says="each flush"),
        },
    ),
    _verb(
        "tear",
        "the power fails: the controller is killed and its last write is on the disk in part",
        _tear,
        {"keep_bytes": Param(default=0, low=0, high=MANY_BYTES, unit="bytes", says="of the last write")},
    ),
    _verb(
        "flip",
        "the controller is killed and one bit of the newest part of its journal is another",
        _flip,
        {
            "at_share": Param(default=0.9, low=0.0, high=1.0, says="where: 0 the first byte, 1 the last"),
            "bit_no": Param(default=0, low=0, high=7, says="which bit of the byte"),
        },
    ),
    _verb(
        "other_format",
        "the controller is killed and its journal is in the format of an older or a newer one",
        _other_format,
        {"newer_by": Param(default=1, low=-1, high=9, says="versions of the format; negative is older")},
    ),
)
