"""The journal on a disk that fails: what the bench does to it, and what the controller makes of it."""

import asyncio
import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller.app.main import _last_state
from controller.journal import Entry, JournalError, JournalWriter, read, replay
from controller.journal.record import FORMAT, MAGIC, records
from controller.model import Order, Site, Standing
from hil.clock import VirtualLoop, run_virtual
from hil.run.disk import Disk, flip, newest, rewrite
from hil.run.kill import Process
from hil.run.supervisor import Supervisor
from tests.journal_story import MEGABYTE, a_site, an_entry, record, recorded, segments, seqs
from tests.lives import Site3kw, live_alone, on_bench


class Bites:
    """Counts what a fault did."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def __call__(self, note: str) -> None:
        self.notes.append(note)


def on_disk(directory: Path, work: Callable[[Disk, JournalWriter], None]) -> None:
    """Let a program of the bench write a journal on a disk of the bench."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        disk = Disk(directory, loop)
        process = Process(loop, disk)

        async def program() -> None:
            writer = JournalWriter(directory, a_site(), MEGABYTE)
            work(disk, writer)
            writer.close()

        await process.start(program(), "program")
        assert process.files == set()

    run_virtual(main())


def fails(writer: JournalWriter, seq: int, because: str) -> None:
    with pytest.raises(JournalError, match=because):
        writer.append(an_entry(seq))


def test_a_full_disk_takes_a_part_and_is_written_again_when_there_is_room(tmp_path: Path) -> None:
    bites = Bites()

    def work(disk: Disk, writer: JournalWriter) -> None:
        writer.append(an_entry(0))
        room_bytes = 0
        heal = disk.fill(100, bites)
        fails(writer, 1, "No space left on device")
        room_bytes = segments(tmp_path)[0].stat().st_size
        fails(writer, 2, "No space left on device")
        assert segments(tmp_path)[0].stat().st_size == room_bytes
        heal()
        writer.append(an_entry(3))

    on_disk(tmp_path, work)
    assert seqs(tmp_path) == [0, 3]
    assert len(bites.notes) == 2 and all("had no room" in note for note in bites.notes)
    assert not any(segment.damage for segment in read(tmp_path))


def test_a_full_disk_has_room_again_for_what_the_journal_gives_up(tmp_path: Path) -> None:
    for seq in range(3):
        record(tmp_path, [an_entry(seq)])

    def work(disk: Disk, writer: JournalWriter) -> None:
        writer.append(an_entry(3))
        disk.fill(0, Bites())
        fails(writer, 4, r"00000001\.lpj, was deleted")
        for seq in range(5, 8):
            writer.append(an_entry(seq))

    on_disk(tmp_path, work)
    assert seqs(tmp_path) == [1, 2, 3, 5, 6, 7]


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS])
def test_a_failing_disk_costs_what_comes_while_it_fails_and_nothing_before(tmp_path: Path, error: int) -> None:
    bites = Bites()

    def work(disk: Disk, writer: JournalWriter) -> None:
        writer.append(an_entry(0))
        heal = disk.fail(error, bites)
        for seq in (1, 2):
            fails(writer, seq, os.strerror(error))
        with pytest.raises(JournalError, match="could not be synced"):
            writer.sync()
        heal()
        writer.append(an_entry(3))
        writer.sync()

    on_disk(tmp_path, work)
    assert seqs(tmp_path) == [0, 3]
    assert len(bites.notes) >= 3


def test_only_programs_of_the_bench_meet_its_disk(tmp_path: Path) -> None:
    def work(disk: Disk, writer: JournalWriter) -> None:
        disk.fail(errno.EIO, Bites())
        fails(writer, 0, "Input/output error")

    on_disk(tmp_path / "bench", work)
    record(tmp_path / "mine", [an_entry(1)])
    assert seqs(tmp_path / "mine") == [1]


# The whole controller, without devices: the disk is all that matters here


def told(supervisor: Supervisor) -> dict[str, str]:
    """Return the faults that the present decision tells, with their details."""
    assert supervisor.service is not None and supervisor.service.decision is not None
    return {fault.fault: fault.detail for fault in supervisor.service.decision.faults}


def decided(directory: Path) -> list[int]:
    return [entry.seq for segment in read(directory) for entry in segment.entries()]


@pytest.mark.parametrize(
    ("arm", "because"),
    [
        (lambda disk: disk.fill(0, Bites()), "No space left on device"),
        (lambda disk: disk.fail(errno.EIO, Bites()), "Input/output error"),
        (lambda disk: disk.fail(errno.EROFS, Bites()), "Read-only file system"),
    ],
)
def test_control_goes_on_without_its_journal_tells_it_and_records_again(
    tmp_path: Path, arm: Callable[[Disk], Callable[[], None]], because: str
) -> None:
    async def story(supervisor: Supervisor) -> None:
        service = supervisor.service
        assert service is not None
        before = service.decisions
        heal = arm(supervisor.disk)
        await asyncio.sleep(30)
        assert because in told(supervisor)["journal_full"]
        assert supervisor.service is service and service.decisions >= before + 30
        heal()
        await asyncio.sleep(12)
        assert "journal_full" not in told(supervisor)
        await asyncio.sleep(5)

    live_alone(tmp_path, story)
    seen = decided(tmp_path / "journal")
    missed = set(range(seen[-1] + 1)) - set(seen)
    assert 25 <= len(missed) <= 35
    assert replay(tmp_path / "journal").first is None


def test_a_flush_of_5_s_holds_up_no_cycle(tmp_path: Path) -> None:
    bites = Bites()

    async def story(supervisor: Supervisor) -> None:
        service = supervisor.service
        assert service is not None
        supervisor.disk.slow(0, 5, bites)
        before = service.decisions
        await asyncio.sleep(60)
        assert service.decisions - before >= 60
        assert 5 <= len(bites.notes) <= 7, "a flush begins 5 s after the one before has ended"
        assert supervisor.ends == []

    live_alone(tmp_path, story)
    times_ms = [entry.decision.now_ms for entry in recorded(tmp_path / "journal")]
    assert max(after - before for before, after in itertools.pairwise(times_ms)) <= 1010


def test_a_write_that_blocks_longer_than_the_watchdog_allows_ends_the_controller(tmp_path: Path) -> None:
    """The journal is written on the loop: a disk that blocks its writes, not only flushes, stops the control."""
    bites = Bites()

    async def story(supervisor: Supervisor) -> None:
        heal = supervisor.disk.slow(0.3, 0, bites)
        await asyncio.sleep(20)
        assert supervisor.ends == [] and len(bites.notes) >= 20
        heal()
        heal = supervisor.disk.slow(15, 0, bites)
        await asyncio.sleep(30)
        assert {end.how for end in supervisor.ends} == {"watchdog"}
        heal()
        await asyncio.sleep(20)
        assert supervisor.service is not None and supervisor.service.decisions > 10

    live_alone(tmp_path, story)


# What a start finds


def a_latched_entry(seq: int, latched: str = "wrong_device", ceased: str = "") -> Entry:
    """Return an entry of a site in which a fault has latched, and a cease stands where its source is named."""
    entry = an_entry(seq)
    fault = Standing(fault=latched, device="inverter", detail=f"since entry {seq}", since_ms=1)
    cease = Order(
        name="cease", source=ceased, kind="cease", domain="battery", low_w=0, high_w=0, starts_ms=0, expires_ms=2**53
    )
    snapshot = msgspec.structs.replace(entry.snapshot, orders=(*entry.snapshot.orders, *((cease,) if ceased else ())))
    decision = msgspec.structs.replace(entry.decision, faults=(fault,))
    return msgspec.structs.replace(entry, snapshot=snapshot, decision=decision)


def site_at(folder: Path) -> Site:
    """Return a site whose journal is in this folder."""
    site = a_site()
    return msgspec.structs.replace(site, journal=msgspec.structs.replace(site.journal, directory=str(folder)))


def taken_over(folder: Path) -> tuple[str, str] | None:
    """Return what a start takes over: the detail of the fault that latched, and who has ceased the site."""
    state = _last_state(site_at(folder), folder)
    if state is None:
        return None
    return state.standing[0].detail, state.ceased


@pytest.fixture
def story_of_two(tmp_path: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield the file and content of a journal whose two last entries differ in all that a start takes over."""
    record(tmp_path, [a_latched_entry(0), a_latched_entry(1), a_latched_entry(2, ceased="sunspec utility")])
    path = newest(tmp_path)
    assert path is not None
    yield path, path.read_bytes()


BEFORE, LAST = ("since entry 1", ""), ("since entry 2", "sunspec utility")


def test_a_cut_at_any_byte_leaves_the_state_before_or_the_last_one(story_of_two: tuple[Path, bytes]) -> None:
    path, content = story_of_two
    seen = []
    for cut in range(len(content), -1, -1):
        path.write_bytes(content[:cut])
        seen.append(taken_over(path.parent))
    changes = [state for place, state in enumerate(seen) if place == 0 or state != seen[place - 1]]
    assert changes == [LAST, BEFORE, ("since entry 0", ""), None]


def test_a_flipped_bit_leaves_the_state_before_or_the_last_one(story_of_two: tuple[Path, bytes]) -> None:
    """One byte in seven; the sweep of bytes tries them all."""
    path, content = story_of_two
    *_, (last, _start, end) = records(content, len(MAGIC))
    assert end == len(content)
    for place in range(0, len(content), 7):
        path.write_bytes(content)
        flip(path, place, place % 8)
        assert taken_over(path.parent) == (BEFORE if place >= last else LAST), place


def test_a_torn_last_write_costs_its_entry_only(tmp_path: Path) -> None:
    for keep in (0, 1, 7, 8, 50, 10_000):
        folder = tmp_path / str(keep)

        def work(disk: Disk, writer: JournalWriter, keep: int = keep, folder: Path = folder) -> None:
            for seq in range(4):
                writer.append(an_entry(seq))
            lost = disk.tear(keep)
            assert (lost > 0) == (keep < 10_000)

        on_disk(folder, work)
        assert seqs(folder) == ([0, 1, 2, 3] if keep == 10_000 else [0, 1, 2])


def test_a_segment_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    """/proc/self/mem gives EIO to whoever reads it from its beginning: a real error of the kernel's."""
    record(tmp_path, [a_latched_entry(1)])
    (tmp_path / "00000002.lpj").symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match="Input/output error"):
        (tmp_path / "00000002.lpj").read_bytes()
    assert taken_over(tmp_path) == BEFORE
    record(tmp_path, [an_entry(3)])
    assert segments(tmp_path)[-1].name == "00000003.lpj"


# Other versions


def test_a_journal_of_another_software_version_is_taken_over(tmp_path: Path) -> None:
    record(tmp_path, [a_latched_entry(1), a_latched_entry(2, ceased="sunspec utility")])
    assert rewrite(tmp_path, {"software_version": "99.0"}) == 1
    assert [segment.header.software_version for segment in read(tmp_path) if segment.header] == ["99.0"]
    assert taken_over(tmp_path) == LAST


@pytest.mark.parametrize("newer_by", [-1, 1])
def test_a_journal_of_another_format_is_left_alone_and_the_controller_starts(tmp_path: Path, newer_by: int) -> None:
    record(tmp_path, [a_latched_entry(1)])
    rewrite(tmp_path, {"format_version": FORMAT + newer_by})
    content = segments(tmp_path)[0].read_bytes()
    assert taken_over(tmp_path) is None
    record(tmp_path, [an_entry(2)])
    assert segments(tmp_path)[0].read_bytes() == content
    assert seqs(tmp_path) == [2]


def test_fields_of_a_newer_version_are_passed_over_and_those_of_an_older_one_filled_in(tmp_path: Path) -> None:
    record(tmp_path, [a_latched_entry(1), a_latched_entry(2, ceased="sunspec utility")])

    def newer(entry: dict[str, Any]) -> None:
        for part in ("state", "snapshot", "decision"):
            entry[part]["of_next_year"] = {"a": [1, 2]}

    def older(entry: dict[str, Any]) -> None:
        for part, known in (("decision", "unmet"), ("snapshot", "utility_silent"), ("state", "net_load_w")):
            entry[part].pop(known, None)

    for change in (newer, older):
        assert rewrite(tmp_path, {}, change) == 1
        assert taken_over(tmp_path) == LAST


# The verbs, on a whole site


@pytest.mark.parametrize(
    ("do", "params", "tells"),
    [
        ("disk_full", {"left_bytes": 700}, True),
        ("disk_error", {"error": "EIO"}, True),
        ("disk_error", {"error": "EROFS"}, True),
        ("disk_slow", {"flush_s": 5.0}, False),
    ],
)
def test_a_site_is_controlled_on_a_disk_that_fails(
    tmp_path: Path, do: str, params: dict[str, Any], tells: bool
) -> None:
    async def story(site: Site3kw) -> None:
        fault, heal = site.arm(do, "disk", **params)
        for _ in range(40):
            await asyncio.sleep(0.5)
            assert abs(site.power_w - 3000) < 100
        assert ("journal_full" in site.faults) == tells
        assert fault.effects > 1
        heal()
        effects = fault.effects
        await asyncio.sleep(15)
        assert fault.effects == effects
        assert "journal_full" not in site.faults
        assert site.supervisor.ends == []

    on_bench(tmp_path, story)


@pytest.mark.parametrize(
    ("do", "params"),
    [
        ("tear", {"keep_bytes": 20}),
        ("flip", {"at_share": 0.5, "bit_no": 3}),
        ("flip", {"at_share": 0.0, "bit_no": 7}),
        ("other_format", {"newer_by": 1}),
        ("other_format", {"newer_by": -1}),
    ],
)
def test_a_site_is_controlled_again_whatever_its_journal_has_become(
    tmp_path: Path, do: str, params: dict[str, Any]
) -> None:
    async def story(site: Site3kw) -> None:
        fault, heal = site.arm(do, "disk", **params)
        assert fault.effects == 1
        await asyncio.sleep(5)
        heal()
        assert [end.how for end in site.supervisor.ends] == ["killed"]

    on_bench(tmp_path, story)
    result = replay(tmp_path / "journal")
    assert result.first is None
    assert len(result.damage) == 1
