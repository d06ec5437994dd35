"""Time that goes wrong: the wall clock steps, drifts, starts in 1970, changes to summer; the machine stands still.

Expected times of the change to and from summer time are those of directive 2000/84/EC: 01:00 UTC on the last Sundays of
March and October.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import msgspec
import pytest

from controller.app.calendar import Calendar
from controller.app.sitefile import load
from controller.journal import read, replay
from controller.model import Battery, Meter
from controller.model.site import Window
from hil.clock import VirtualClock, VirtualLoop, run_virtual
from hil.faults.schedule import Schedule
from hil.faults.words import Fault
from hil.run.lockstep import lockstep
from hil.stage import DEMO_SITE
from tests.lives import CONTROL_S, Site3kw, on_bench

SPRING = datetime(2026, 3, 29, 1, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 25, 1, tzinfo=UTC)
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
BERLIN = "Europe/Berlin"


def ms(when: datetime) -> int:
    return round(when.timestamp() * 1000)


def a_calendar(start: str, minutes: int, zone: str = BERLIN) -> Calendar:
    window = Window(start=start, minutes=minutes, program="hold")
    return Calendar(msgspec.structs.replace(load(DEMO_SITE), timezone=zone, window=(window,)))


def opened(calendar: Calendar, around: datetime, hours: int) -> list[str]:
    """Return when the window opens and closes, in UTC, looked at once a minute for so many hours before and after."""
    changes, was = [], calendar.program(ms(around - timedelta(hours=hours, minutes=1)))
    for minute in range(-hours * 60, hours * 60):
        now = around + timedelta(minutes=minute)
        if (program := calendar.program(ms(now))) != was:
            changes.append(f"{now:%d %H:%M} {'opens' if program else 'closes'}")
            was = program
    return changes


def at(utc: datetime) -> VirtualClock:
    """Return a wall clock that shows utc now."""
    clock = VirtualClock()
    clock.boot(ms(utc))
    return clock


def test_a_step_moves_the_wall_clock_and_nothing_else() -> None:
    async def main() -> None:
        loop, clock = asyncio.get_running_loop(), at(NEW_YEAR)
        begun_s = loop.time()
        await asyncio.sleep(10)
        clock.step(-3600)
        await asyncio.sleep(10)
        clock.step(7200.25)
        assert clock.utc_ms() == ms(NEW_YEAR) + 20_000 + 3_600_250
        assert (loop.time() - begun_s, clock.now_ms()) == (20, 1_020_000)

    run_virtual(main())


def test_a_clock_that_runs_fast_by_200_ppm_is_720_ms_ahead_after_an_hour_and_keeps_them() -> None:
    async def main() -> None:
        clock = at(NEW_YEAR)
        clock.drift(200)
        await asyncio.sleep(3600)
        assert clock.utc_ms() == ms(NEW_YEAR) + 3_600_720
        clock.drift(-100)
        await asyncio.sleep(3600)
        assert clock.utc_ms() == ms(NEW_YEAR) + 7_200_360
        clock.drift(0)
        await asyncio.sleep(3600)
        assert clock.utc_ms() == ms(NEW_YEAR) + 10_800_360

    run_virtual(main())


def test_a_machine_without_a_clock_starts_in_1970_and_is_set_right_later() -> None:
    async def main() -> None:
        clock = at(NEW_YEAR)
        clock.drift(200)
        await asyncio.sleep(1000)
        clock.boot()
        assert clock.utc_ms() == 0
        clock.drift(0)
        await asyncio.sleep(60)
        assert clock.utc_ms() == 60_000
        clock.boot(ms(NEW_YEAR))
        assert clock.utc_ms() == ms(NEW_YEAR)

    run_virtual(main())


def test_sockets_timers_windows_and_the_wall_clock_move_together_over_the_change_to_summer() -> None:
    calendar = a_calendar("0 3 * * *", 30)
    seen: list[tuple[str, bool]] = []

    async def main() -> None:
        loop, clock = asyncio.get_running_loop(), at(SPRING - timedelta(minutes=10))
        assert isinstance(loop, VirtualLoop)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.readline():
                writer.write(f"{datetime.fromtimestamp(clock.utc_ms() / 1000, UTC):%H:%M:%S}\n".encode())
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(6):
            await asyncio.sleep(599 if len(seen) % 2 == 0 else 1)
            writer.write(b"what time is it\n")
            told = (await reader.readline()).decode().strip()
            seen.append((told, bool(calendar.program(clock.utc_ms()))))
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run_virtual(main())
    assert seen == [
        ("00:59:59", False),
        ("01:00:00", True),  # 02:00 in winter time does not come; it is 03:00
        ("01:09:59", True),
        ("01:10:00", True),
        ("01:19:59", True),
        ("01:20:00", True),
    ]


def test_a_window_keeps_its_local_time_and_its_length_over_both_changes() -> None:
    assert opened(a_calendar("0 1 * * *", 120), SPRING, 5) == ["29 00:00 opens", "29 02:00 closes"]
    assert opened(a_calendar("0 1 * * *", 120), AUTUMN, 5) == ["24 23:00 opens", "25 01:00 closes"]
    assert opened(a_calendar("0 4 * * *", 60), SPRING, 5) == ["29 02:00 opens", "29 03:00 closes"]
    assert opened(a_calendar("0 4 * * *", 60), AUTUMN, 5) == ["25 03:00 opens", "25 04:00 closes"]
    assert opened(a_calendar("30 2 * * *", 30, "UTC"), SPRING, 5) == ["29 02:30 opens", "29 03:00 closes"]


def test_a_window_in_the_hour_that_comes_twice_opens_once() -> None:
    assert opened(a_calendar("30 2 * * *", 30), AUTUMN, 5) == ["25 00:30 opens", "25 01:00 closes"]


def test_a_window_in_the_hour_that_is_skipped_opens_all_the_same() -> None:
    assert opened(a_calendar("30 2 * * *", 30), SPRING, 5) == ["29 01:30 opens", "29 02:00 closes"]


def test_a_window_of_a_whole_day_has_no_gap_after_the_change_to_summer() -> None:
    assert opened(a_calendar("0 0 * * *", 1440), SPRING, 36) == []


def test_a_window_of_a_whole_day_has_no_gap_after_the_change_to_winter() -> None:
    assert opened(a_calendar("0 0 * * *", 1440), AUTUMN, 36) == []
    assert (
        opened(a_calendar("30 2 * * *", 1440), AUTUMN, 36) == opened(a_calendar("30 2 * * *", 1440), SPRING, 36) == []
    )


def test_a_window_over_a_change_lasts_its_real_minutes() -> None:
    assert opened(a_calendar("30 1 * * *", 120), AUTUMN, 5) == ["24 23:30 opens", "25 01:30 closes"]
    assert opened(a_calendar("30 1 * * *", 120), SPRING, 5) == ["29 00:30 opens", "29 02:30 closes"]


def test_a_change_of_half_an_hour_is_one_too() -> None:
    """Lord Howe Island goes back from UTC+11 to UTC+10:30 on 5 April 2026 at 15:00 UTC: 01:30 to 02:00 comes twice."""
    change = datetime(2026, 4, 4, 15, tzinfo=UTC)
    assert opened(a_calendar("45 1 * * *", 15, "Australia/Lord_Howe"), change, 5) == [
        "04 14:45 opens",
        "04 15:00 closes",
    ]


def test_no_window_is_open_by_a_date_from_before_the_program() -> None:
    calendar = a_calendar("* * * * *", 60, "UTC")
    dates = (
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1980, 1, 6, tzinfo=UTC),
        datetime(2025, 12, 31, 23, 59, tzinfo=UTC),
    )
    assert [calendar.program(ms(date)) for date in (*dates, NEW_YEAR)] == ["", "", "", "hold"]


def test_a_leap_second_repeats_one_second_of_a_window_and_shifts_nothing_behind_it() -> None:
    """POSIX time has no leap second: the wall clock is set back by 1 s at midnight (RFC 3339, appendix D)."""
    calendar = a_calendar("0 0 * * *", 5, "UTC")
    seen: list[bool] = []

    async def main() -> None:
        clock = at(NEW_YEAR - timedelta(seconds=2.5))
        for _ in range(7):
            seen.append(bool(calendar.program(clock.utc_ms())))
            await asyncio.sleep(1)
            if len(seen) == 3:
                clock.step(-1)
        assert clock.utc_ms() == ms(NEW_YEAR + timedelta(seconds=3.5))

    run_virtual(main())
    assert seen == [False, False, False, False, True, True, True]


# The verbs, on a whole site


@pytest.mark.parametrize("by_s", [3600.0, -3600.0, 90.0])
def test_control_does_not_notice_that_the_wall_clock_is_set(tmp_path: Path, by_s: float) -> None:
    async def story(site: Site3kw) -> None:
        begun_ms = site.clock.utc_ms()
        fault, heal = site.arm("clock_step", "clock", by_s=by_s)
        assert site.clock.utc_ms() - begun_ms == by_s * 1000
        told = set()
        for _ in range(100):
            await asyncio.sleep(0.1)
            told |= site.faults
            assert abs(site.power_w - 3000) < 100
        assert "clock_jumped" in told
        heal()
        assert site.clock.utc_ms() - begun_ms == 10_000
        await asyncio.sleep(70)
        assert abs(site.power_w - 3000) < 100
        assert "clock_jumped" not in site.faults, "it is told for a minute"
        assert (fault.effects, site.supervisor.ends) == (1, [])

    on_bench(tmp_path, story)
    assert replay(tmp_path / "journal").first is None


def test_a_second_back_and_200_ppm_are_not_even_told(tmp_path: Path) -> None:
    async def story(site: Site3kw) -> None:
        leap, _ = site.arm("clock_step", "clock", by_s=-1.0)
        first, heal_first = site.arm("clock_drift", "clock", us_per_s=200.0)
        second, heal_second = site.arm("clock_drift", "clock", us_per_s=300.0)
        for _ in range(200):
            await asyncio.sleep(0.1)
            assert "clock_jumped" not in site.faults
        assert leap.effects == 1
        assert 9 <= first.effects == second.effects <= 10  # 20 s at 500 us/s
        heal_first()
        assert site.clock.us_per_s == 300
        heal_second()
        assert site.clock.us_per_s == 0

    on_bench(tmp_path, story)


def test_a_site_is_controlled_from_1970_on(tmp_path: Path) -> None:
    async def story(site: Site3kw) -> None:
        right_ms = site.clock.utc_ms()
        fault, heal = site.arm("clock_boot", "clock")
        assert site.clock.utc_ms() == 0
        await asyncio.sleep(1)
        await site.follows()
        await asyncio.sleep(10)
        heal()
        assert 11_000 <= site.clock.utc_ms() - right_ms <= 11_000 + CONTROL_S * 1000
        await asyncio.sleep(1)
        assert fault.effects == 1
        assert [end.how for end in site.supervisor.ends] == ["killed"]

    on_bench(tmp_path, story)
    years = [time.year for time in recorded_times(tmp_path / "journal")]
    assert [year for year, _ in groupby(years)] == [2026, 1970, 2026]


def recorded_times(journal: Path) -> list[datetime]:
    return [
        datetime.fromtimestamp(entry.snapshot.utc_ms / 1000, UTC)
        for segment in read(journal)
        for entry in segment.entries()
    ]


def test_no_window_opens_before_the_clock_was_set(tmp_path: Path) -> None:
    """The program itself is younger than 1970, so the date cannot be right."""
    site = load(DEMO_SITE)
    window = Window(start="0 0 * * *", minutes=60, program="self_consumption")
    site = msgspec.structs.replace(site, window=(window,))

    async def main() -> str:
        async with lockstep(site, tmp_path) as bench:
            await bench.wait(3)
            bench.supervisor.kill()
            bench.clock.boot()
            await bench.wait(8)
            assert bench.service.snapshot is not None
            return bench.service.snapshot.program

    assert run_virtual(main()) == ""


def test_limits_that_waited_on_the_bus_for_30_s_are_not_taken_for_fresh_ones(tmp_path: Path) -> None:
    """The cable is out since the first second of the stall: what the battery said before is all that waits."""

    async def main() -> list[int]:
        async with lockstep(load(DEMO_SITE), tmp_path) as bench:
            schedule = Schedule((), 1, "lockstep")
            bench.supervisor.stall(30, watched=False)
            await bench.wait(3)
            schedule.arm(Fault(do="can_unplug", on="battery"), 0, bench)
            await bench.wait(27)
            heard = []
            for _ in range(20):
                await bench.wait(0.1)
                assert bench.service.snapshot is not None
                heard.append(sum(isinstance(one, Battery) for one in bench.service.snapshot.readings))
            return heard

    assert run_virtual(main()) == [0] * 20


def test_a_stall_of_3_s_is_borne_and_sends_no_keepalive_meanwhile(tmp_path: Path) -> None:
    async def story(site: Site3kw) -> None:
        service = site.supervisor.service
        assert service is not None
        fault, heal = site.arm("stall", "controller", stall_s=3.0)
        decisions = service.decisions
        await asyncio.sleep(2.9)
        assert service.decisions == decisions
        heal()
        await asyncio.sleep(0.2)
        assert service.decisions > decisions
        await asyncio.sleep(20)
        assert (site.supervisor.service, site.supervisor.ends, fault.effects) == (service, [], 1)

    on_bench(tmp_path, story)


@pytest.mark.parametrize("watched", [False, True])
def test_after_a_stall_of_30_s_nobodys_order_is_followed(tmp_path: Path, watched: bool) -> None:
    async def story(site: Site3kw) -> None:
        site.bench.utility.silent = True
        await asyncio.sleep(1.1)  # nothing of it is on its way
        fault, _heal = site.arm("stall", "controller", stall_s=30.0, watched=watched)
        await asyncio.sleep(6)
        assert abs(site.power_w) < 100, "the inverter's own timer has run out"
        await asyncio.sleep(23.9)
        assert [end.how for end in site.supervisor.ends] == (["watchdog"] if watched else [])
        for _ in range(80):
            await asyncio.sleep(0.1)
            assert abs(site.power_w) < 100
        assert site.bench.decision is not None and site.bench.decision.asked_w is None
        assert fault.effects == 1
        site.bench.utility.silent = False

    on_bench(tmp_path, story)


def test_an_order_that_waited_in_a_socket_for_30_s_is_not_followed(tmp_path: Path) -> None:
    """Who sent it has given up 29 s ago. It is obeyed for a whole lease: 3 kW for 3 s that nobody asks."""

    async def story(site: Site3kw) -> None:
        site.arm("stall", "controller", stall_s=30.0)
        await asyncio.sleep(1.1)
        site.bench.utility.silent = True
        await asyncio.sleep(28.9)
        for _ in range(80):
            await asyncio.sleep(0.1)
            assert abs(site.power_w) < 100
        site.bench.utility.silent = False

    on_bench(tmp_path, story)


def test_a_reading_that_waited_in_a_socket_for_30_s_is_not_taken_for_a_fresh_one(tmp_path: Path) -> None:
    async def main() -> tuple[int, float]:
        async with lockstep(load(DEMO_SITE), tmp_path, wired=frozenset({"meter"})) as bench:
            schedule = Schedule((), 1, "lockstep")
            schedule.arm(Fault(do="delay", on="meter", params={"latency_s": 0.1}), 0, bench)
            await bench.wait(3)
            bench.plant.set("load_w", 5000.0)
            bench.supervisor.stall(30, watched=False)
            await bench.wait(30.01)
            assert bench.service.snapshot is not None
            (told_w,) = [one.power_w for one in bench.service.snapshot.readings if isinstance(one, Meter)] or (-5000,)
            return told_w, bench.plant.poi_w

    told_w, true_w = run_virtual(main())
    assert told_w == pytest.approx(true_w, abs=100)
