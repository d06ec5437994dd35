"""The flight recorder on a full, failing or vanishing disk: it tells, loses nothing that was recorded, and goes on."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller.journal import JournalError, JournalWriter, read
from tests.journal_story import MEGABYTE, SMALLEST_BYTES, a_site, an_entry, record, segments, seqs


def file_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def a_disk(monkeypatch: pytest.MonkeyPatch, fails: dict[int, int | float]) -> Iterator[None]:
    """Let the n-th os.write fail: an int is its errno, a float the part of the bytes that still goes in."""
    real, calls = os.write, iter(range(1_000_000))

    def write(file: int, content: bytes) -> int:
        failure = fails.get(next(calls))
        if isinstance(failure, int):
            real(file, content[: len(content) // 2])
            raise OSError(failure, os.strerror(failure))
        return real(file, content if failure is None else content[: int(len(content) * failure)])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        yield


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EIO, errno.EROFS, 0.0, 0.5, 0.99])
@pytest.mark.parametrize("call", range(8))
def test_a_write_that_fails_costs_its_entry_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, failure: int | float
) -> None:
    writer = JournalWriter(tmp_path, a_site(), MEGABYTE)
    failed = []
    with a_disk(monkeypatch, {call: failure}):
        for seq in range(8):
            try:
                writer.append(an_entry(seq))
            except JournalError:
                failed.append(seq)
    writer.close()
    assert failed == [call]
    assert seqs(tmp_path) == [seq for seq in range(8) if seq != call]
    assert not any(segment.damage for segment in read(tmp_path))


def test_a_disk_that_stays_full_raises_each_time_and_then_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalWriter(tmp_path, a_site(), MEGABYTE)
    writer.append(an_entry(0))
    with a_disk(monkeypatch, dict.fromkeys(range(20), 0.3)):
        for seq in range(1, 21):
            with pytest.raises(JournalError, match="No space left on device"):
                writer.append(an_entry(seq))
    writer.append(an_entry(21))
    writer.close()
    assert seqs(tmp_path) == [0, 21]


def test_a_full_disk_gives_up_the_oldest_segment_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for start in range(4):
        record(tmp_path, [an_entry(start)])
    writer = JournalWriter(tmp_path, a_site(), MEGABYTE)
    writer.append(an_entry(4))
    with a_disk(monkeypatch, dict.fromkeys(range(3), errno.ENOSPC)):
        with pytest.raises(JournalError, match=r"oldest part, 00000001\.lpj, was deleted"):
            writer.append(an_entry(5))
        for seq in (6, 7):
            with pytest.raises(JournalError) as told:
                writer.append(an_entry(seq))
            assert "deleted" not in str(told.value)
    writer.append(an_entry(8))
    writer.close()
    assert seqs(tmp_path) == [1, 2, 3, 4, 8]


def test_a_failing_disk_does_not_cost_old_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path, [an_entry(0)])
    writer = JournalWriter(tmp_path, a_site(), MEGABYTE)
    with a_disk(monkeypatch, {0: errno.EIO}), pytest.raises(JournalError, match="Input/output error"):
        writer.append(an_entry(1))
    writer.close()
    assert seqs(tmp_path) == [0]


def test_what_cannot_be_taken_back_is_left_behind_as_the_end_of_its_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: int, size: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    writer = JournalWriter(tmp_path, a_site(), MEGABYTE)
    writer.append(an_entry(0))
    with a_disk(monkeypatch, {0: errno.EIO}), monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(JournalError):
            writer.append(an_entry(1))
    writer.append(an_entry(2))
    writer.close()
    assert seqs(tmp_path) == [0, 2]
    assert [len(segment.damage) for segment in read(tmp_path)] == [1, 0]


def test_the_kernels_own_file_limit_is_met_like_a_full_disk(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = JournalWriter(tmp_path, a_site(), MEGABYTE)
    failed = []
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
        for seq in range(60):
            try:
                writer.append(an_entry(seq))
            except JournalError:
                failed.append(seq)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.append(an_entry(60))
    writer.close()
    assert failed and seqs(tmp_path) == [seq for seq in range(61) if seq not in failed]
    assert not any(segment.damage for segment in read(tmp_path))


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file stands here")
    writer = JournalWriter(tmp_path / "journal", a_site(), MEGABYTE)
    with pytest.raises(JournalError, match=r"could not be written: .*Check the free space"):
        writer.append(an_entry(0))


def test_a_journal_removed_under_the_writer_is_begun_again(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, a_site(), MEGABYTE)
    writer.append(an_entry(0))
    segments(tmp_path)[0].unlink()
    writer.append(an_entry(1))
    writer.close()
    assert seqs(tmp_path) == [1]


def test_sync_reaches_every_segment_and_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(file_of(file)))
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(file_of(file)))
    writer = JournalWriter(tmp_path, a_site(), SMALLEST_BYTES * 4)
    for seq in range(1000):
        writer.append(an_entry(seq))
    writer.sync()
    assert synced == [*segments(tmp_path), tmp_path]
    assert len(synced) >= 3
    synced.clear()
    writer.append(an_entry(1000))
    writer.sync()
    assert synced == [segments(tmp_path)[-1]]
    writer.close()


def test_a_segment_whose_sync_failed_is_not_written_to_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    writer = JournalWriter(tmp_path, a_site(), MEGABYTE)
    writer.append(an_entry(0))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(JournalError, match="could not be synced: Input/output error"):
            writer.sync()
    writer.append(an_entry(1))
    writer.append(an_entry(2))
    writer.sync()
    writer.close()
    assert [[entry.seq for entry in segment.entries()] for segment in read(tmp_path)] == [[0], [1, 2]]


def test_no_file_stays_open_behind_the_writer(tmp_path: Path) -> None:
    before = open_files()
    writer = JournalWriter(tmp_path, a_site(), MEGABYTE)
    for seq in range(3000):
        writer.append(an_entry(seq))
        assert open_files() <= before + 5
    writer.sync()
    writer.close()
    assert open_files() == before
