"""The flight recorder: nothing that was recorded is lost, whatever the disk, the power or a bit does."""

import random
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings

from controller.journal import (
    Entry,
    Follower,
    JournalError,
    JournalWriter,
    Segment,
    last_state,
    read,
)
from controller.model import Standing
from tests.journal_story import (
    MEGABYTE,
    SMALLEST_BYTES,
    START_UTC_MS,
    a_site,
    an_entry,
    any_of,
    filled,
    record,
    recorded,
    segments,
    seqs,
)


def ends(content: bytes) -> list[int]:
    """Return where each record ends, by walking the format as its description tells it."""
    offset, found = 8, []
    while offset < len(content):
        length, crc = struct.unpack_from("<II", content, offset)
        offset += 8 + length
        assert zlib.crc32(content[offset - length : offset]) == crc
        found.append(offset)
    return found


# What is written


def test_every_entry_comes_back_as_it_was_recorded(tmp_path: Path) -> None:
    entries = [an_entry(seq) for seq in range(50)]
    record(tmp_path, entries)
    (segment,) = read(tmp_path)
    assert list(segment.entries()) == entries
    assert segment.damage == ()
    assert segment.header is not None
    assert segment.header.site == a_site()
    assert segment.header.opened_utc_ms == START_UTC_MS


def test_every_field_of_an_entry_comes_back(tmp_path: Path) -> None:
    entries = list(filled(Entry))
    assert len(entries) >= 3
    record(tmp_path, entries)
    assert recorded(tmp_path) == entries


@settings(max_examples=60, deadline=None)
@given(first=any_of(Entry), second=any_of(Entry))
def test_any_two_entries_come_back(tmp_path_factory: pytest.TempPathFactory, first: Entry, second: Entry) -> None:
    directory = tmp_path_factory.mktemp("journal")
    record(directory, [first, second])
    assert recorded(directory) == [first, second]


def test_a_day_at_one_decision_a_second_takes_less_than_17_megabytes(tmp_path: Path) -> None:
    record(tmp_path, (an_entry(seq) for seq in range(4000)), 256 * MEGABYTE)
    learning, learned = segments(tmp_path)
    assert len(Segment(learning, learning.read_bytes())) == 961  # a quarter of an hour, then with a better dictionary
    assert learned.stat().st_size / 3039 * 86_400 < 17 * MEGABYTE


def test_nothing_is_touched_before_the_first_entry(tmp_path: Path) -> None:
    JournalWriter(tmp_path / "journal", a_site(), MEGABYTE).close()
    assert not (tmp_path / "journal").exists()


def test_a_new_writer_begins_a_new_segment_and_a_new_run(tmp_path: Path) -> None:
    record(tmp_path, [an_entry(0), an_entry(1)])
    before = segments(tmp_path)[0].read_bytes()
    record(tmp_path, [an_entry(0), an_entry(1)])
    first, second = read(tmp_path)
    assert first.path.read_bytes() == before
    assert seqs(tmp_path) == [0, 1, 0, 1]
    assert first.header is not None and second.header is not None
    assert (first.header.run, second.header.run) == (1, 2)


def test_foreign_files_in_the_directory_are_left_alone(tmp_path: Path) -> None:
    for name in ("notes.txt", "old.lpj", "00000001.lpj.bak"):
        (tmp_path / name).write_text("not ours")
    record(tmp_path, (an_entry(seq) for seq in range(1000)), SMALLEST_BYTES)
    assert (tmp_path / "notes.txt").read_text() == "not ours"
    assert seqs(tmp_path)[-1] == 999


def test_an_entry_that_cannot_be_written_is_told_and_the_next_one_recorded(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, a_site(), MEGABYTE)
    writer.append(an_entry(0))
    endless = msgspec.structs.replace(an_entry(1).decision, target_w=2**70)
    with pytest.raises(JournalError, match="Entry 1 was left out"):
        writer.append(an_entry(1, decision=endless))
    huge = msgspec.structs.replace(an_entry(2).decision, wish_because="x" * 2_000_000)
    with pytest.raises(JournalError, match="Entry 2 was left out"):
        writer.append(an_entry(2, decision=huge))
    writer.append(an_entry(3))
    writer.close()
    assert seqs(tmp_path) == [0, 3]


# The bound on disk


@pytest.mark.parametrize("max_bytes", [SMALLEST_BYTES, 200_000, MEGABYTE])
def test_the_journal_never_takes_more_than_its_bound(tmp_path: Path, max_bytes: int) -> None:
    writer = JournalWriter(tmp_path, a_site(), max_bytes)
    most_bytes = 0
    for seq in range(6000):
        writer.append(an_entry(seq))
        most_bytes = max(most_bytes, sum(path.stat().st_size for path in segments(tmp_path)))
    writer.close()
    assert most_bytes <= max_bytes
    kept = seqs(tmp_path)
    assert kept == list(range(kept[0], 6000))
    assert kept[0] > 0


def test_many_starts_keep_the_bound(tmp_path: Path) -> None:
    for start in range(100):
        record(tmp_path, [an_entry(start)], 200_000)
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 200_000
    assert seqs(tmp_path)[-1] == 99


# Power cuts and flipped bits


def a_small_journal(directory: Path, entries: int) -> tuple[Path, bytes]:
    record(directory, (an_entry(seq) for seq in range(entries)))
    (path,) = segments(directory)
    return path, path.read_bytes()


@pytest.mark.parametrize("rest", ["gone", "zero"])
def test_a_cut_at_any_byte_loses_only_what_was_being_written(tmp_path: Path, rest: str) -> None:
    path, content = a_small_journal(tmp_path, 4)
    done = ends(content)[2:]  # the first two records are the header
    for cut in range(len(content)):
        torn = content[:cut] + (b"" if rest == "gone" else bytes(len(content) - cut))
        segment = Segment(path, torn)
        whole = sum(end <= cut for end in done)
        kept = [entry.seq for entry in segment.entries()]
        # A record may end in zeros that the cut put back.
        assert kept[:whole] == list(range(whole)) and len(kept) <= whole + (rest == "zero")
        assert segment.damage or cut in ends(content) or len(kept) > whole
        assert sum(hurt.skipped_bytes for hurt in segment.damage) <= len(torn)


def test_a_flipped_bit_anywhere_loses_at_most_the_entry_it_lies_in(tmp_path: Path) -> None:
    path, content = a_small_journal(tmp_path, 5)
    every = [an_entry(seq) for seq in range(5)]
    header_end, *done = ends(content)[1:]
    rng = random.Random(12)
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.randrange(8)
        segment = Segment(path, bytes(flipped))
        kept = list(segment.entries())
        hit = None if place < header_end else sum(end <= place for end in done)
        assert kept == [entry for entry in every if entry.seq != hit], place
        (hurt,) = segment.damage
        assert hurt.offset <= place < hurt.offset + hurt.skipped_bytes


def test_a_length_that_points_at_a_later_record_does_not_hide_the_one_between(tmp_path: Path) -> None:
    path, content = a_small_journal(tmp_path, 4)
    bounds = ends(content)[1:]
    lied = bytearray(content)
    struct.pack_into("<I", lied, bounds[0], bounds[2] - bounds[0] - 8)  # the first entry claims the second one too
    assert [entry.seq for entry in Segment(path, bytes(lied)).entries()] == [1, 2, 3]


def test_a_lost_sector_loses_only_the_entries_in_it(tmp_path: Path) -> None:
    path, content = a_small_journal(tmp_path, 100)
    bounds = ends(content)[1:]
    at = bounds[40]
    lost = content[:at] + random.Random(3).randbytes(4096) + content[at + 4096 :]
    next_whole = next(seq for seq in range(100) if bounds[seq] >= at + 4096)
    segment = Segment(path, lost)
    assert [entry.seq for entry in segment.entries()] == [*range(40), *range(next_whole, 100)]
    assert [(hurt.offset, hurt.skipped_bytes) for hurt in segment.damage] == [(at, bounds[next_whole] - at)]


@pytest.mark.parametrize(
    "content",
    [b"", bytes(3_000_000), b"\x00\x00\x03\x00" * 700_000, random.Random(4).randbytes(1_000_000)],
    ids=["empty", "zeros", "lengths everywhere", "noise"],
)
def test_a_file_that_is_no_journal_is_damage_and_no_crash(tmp_path: Path, content: bytes) -> None:
    segment = Segment(tmp_path / "00000001.lpj", content)
    assert list(segment.entries()) == []
    assert segment.header is None
    assert segment.damage


def test_entries_behind_a_lost_header_are_told_as_whole_but_unread(tmp_path: Path) -> None:
    path, content = a_small_journal(tmp_path, 3)
    segment = Segment(path, content[:8] + content[ends(content)[1] :])
    assert list(segment.entries()) == []
    assert segment.damage[-1].whole


def test_a_segment_of_another_format_says_which(tmp_path: Path) -> None:
    deflate = zlib.compressobj(wbits=-15)
    newer = deflate.compress(msgspec.msgpack.encode({"format_version": 2})) + deflate.flush()
    content = b"LPJ\r\n\x1a\n\0" + struct.pack("<II", len(newer), zlib.crc32(newer)) + newer
    (hurt,) = Segment(tmp_path / "00000001.lpj", content).damage
    assert hurt.because == "written in format 2, this version reads format 1"


def test_sigkill_of_a_writing_process_loses_nothing_it_had_told(tmp_path: Path) -> None:
    program = (
        "import sys, itertools, pathlib\n"
        "from controller.journal import JournalWriter\n"
        "from tests.journal_story import a_site, an_entry\n"
        "writer = JournalWriter(pathlib.Path(sys.argv[1]), a_site(), 1_000_000)\n"
        "for seq in itertools.count():\n"
        "    writer.append(an_entry(seq))\n"
        "    print(seq, flush=True)\n"
    )
    told = 0
    for kill_after in (1, 7, 40):
        directory = tmp_path / str(kill_after)
        with subprocess.Popen([sys.executable, "-c", program, directory], stdout=subprocess.PIPE, text=True) as writing:
            assert writing.stdout is not None
            for _ in range(kill_after):
                told = int(writing.stdout.readline())
            writing.send_signal(signal.SIGKILL)
        kept = seqs(directory)
        assert kept == list(range(len(kept))) and len(kept) > told


# Following, and what a restart takes over


def test_a_follower_sees_each_entry_once_across_segments(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "journal")
    assert follower.poll() == []
    writer = JournalWriter(tmp_path / "journal", a_site(), MEGABYTE)
    seen = []
    for seq in range(1500):
        writer.append(an_entry(seq))
        if seq % 7 == 0:
            seen += [entry.seq for entry in follower.poll(most=5)]
    while new := follower.poll():
        seen += [entry.seq for entry in new]
    writer.close()
    assert len(segments(tmp_path / "journal")) > 3
    assert seen == list(range(1500))
    assert follower.header is not None and follower.header.site == a_site()


def test_a_follower_waits_for_the_rest_of_a_torn_entry(tmp_path: Path) -> None:
    path, content = a_small_journal(tmp_path, 3)
    follower, seen = Follower(tmp_path), []
    for cut in range(0, len(content), 3):
        path.write_bytes(content[:cut])
        seen += [entry.seq for entry in follower.poll()]
    path.write_bytes(content)
    seen += [entry.seq for entry in follower.poll()]
    assert seen == [0, 1, 2]


def test_a_follower_that_fell_behind_the_bound_goes_on_with_the_oldest_left(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    writer = JournalWriter(tmp_path, a_site(), SMALLEST_BYTES)
    writer.append(an_entry(0))
    assert [entry.seq for entry in follower.poll()] == [0]
    for seq in range(1, 1000):
        writer.append(an_entry(seq))
    writer.close()
    new = [entry.seq for entry in follower.poll()]
    assert new == seqs(tmp_path) and new[-1] == 999


def test_a_restart_takes_over_the_faults_that_latch_and_nothing_else(tmp_path: Path) -> None:
    wrong = Standing(fault="wrong_device", device="inverter", since_ms=77_000, detail="SN 2", clear_since_ms=90_000)
    stale = Standing(fault="battery_stale", device="battery", since_ms=88_000)
    decision = msgspec.structs.replace(an_entry(1).decision, faults=(stale, wrong))
    record(tmp_path, [an_entry(0), an_entry(1, decision=decision)])
    (tmp_path / "00000002.lpj").write_bytes(b"")  # a start that a power cut ended
    state = last_state(tmp_path)
    assert state is not None
    assert state.standing == (Standing(fault="wrong_device", device="inverter", since_ms=0, detail="SN 2"),)
    assert msgspec.structs.replace(state, standing=()) == type(state)()


def test_without_a_journal_there_is_nothing_to_take_over(tmp_path: Path) -> None:
    assert last_state(tmp_path) is None
    assert last_state(tmp_path / "never") is None
    with pytest.raises(JournalError, match="cannot be read: No such file"):
        list(read(tmp_path / "never"))
