"""The supervisor does to the controller what systemd does by systemd/linepack.service. No device answers here."""

import asyncio
import gc
import os
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from controller.app.sole import TakenError, sole
from controller.journal import read, replay
from hil.faults import VERBS
from hil.faults.process import DriverError
from hil.faults.words import Armed, Fault
from hil.run.supervisor import RESTART_S, START_S, STOP_S, WATCHDOG_S, Supervisor
from tests.lives import Site3kw, live_alone, on_bench

UNIT = Path(__file__).parent.parent / "systemd" / "linepack.service"

Story = Callable[[Supervisor], Coroutine[None, None, None]]


def play(folder: Path, story: Story) -> Supervisor:
    """Run a supervised controller until the story ends; its journal must replay."""
    supervisor = live_alone(folder, story)
    assert replay(folder / "journal").first is None
    return supervisor


def lives(folder: Path) -> int:
    """Return how many lives recorded something."""
    return len({segment.header.run for segment in read(folder / "journal") if segment.header is not None})


def ends(supervisor: Supervisor) -> list[str]:
    return [end.how for end in supervisor.ends]


def test_its_times_are_those_of_the_unit_file() -> None:
    text = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0] != "#")
    assert text["WatchdogSec"] == f"{WATCHDOG_S:g}s"
    assert text["TimeoutStartSec"] == f"{START_S:g}s"
    assert text["TimeoutStopSec"] == f"{STOP_S:g}s"
    assert text["RestartSec"] == f"{RESTART_S * 1000:g}ms"
    assert (text["Restart"], text["StartLimitIntervalSec"], text["Type"]) == ("always", "0", "notify")


def test_a_killed_controller_is_back_after_half_a_second_on_the_same_port(tmp_path: Path) -> None:
    async def story(supervisor: Supervisor) -> None:
        first = supervisor.service
        assert first is not None and first.door.port
        port = first.door.port
        supervisor.kill()
        await asyncio.sleep(0.49)
        assert supervisor.service is None
        await asyncio.sleep(0.02)
        assert supervisor.service is not None and supervisor.service is not first
        assert supervisor.service.door.port == port
        assert (supervisor.starts, supervisor.restarts) == (2, 1)

    supervisor = play(tmp_path, story)
    assert ends(supervisor) == ["killed"]
    assert lives(tmp_path) == 2


def test_it_is_asked_to_end_and_does_so_in_order(tmp_path: Path) -> None:
    async def story(supervisor: Supervisor) -> None:
        let_go = supervisor.hold()
        supervisor.stop()
        await asyncio.sleep(20)
        assert (supervisor.service, ends(supervisor)) == (None, ["stopped"])
        let_go()
        await asyncio.sleep(1)
        assert supervisor.service is not None

    play(tmp_path, story)


def test_one_that_does_not_end_when_asked_is_killed(tmp_path: Path) -> None:
    async def story(supervisor: Supervisor) -> None:
        supervisor.stall(60)
        supervisor.stop()
        await asyncio.sleep(STOP_S - 0.6)
        assert ends(supervisor) == []
        await asyncio.sleep(1)
        assert ends(supervisor) == ["killed"]

    play(tmp_path, story)


def test_one_that_stands_still_is_ended_by_its_watchdog_and_a_shorter_stall_is_borne(tmp_path: Path) -> None:
    async def story(supervisor: Supervisor) -> None:
        first = supervisor.service
        supervisor.stall(WATCHDOG_S - 3)  # a cycle that is late does not feed it, the one after does
        await asyncio.sleep(30)
        assert supervisor.service is first, "it went on and fed its watchdog again"
        begun_s = asyncio.get_running_loop().time()
        supervisor.stall(60)
        await asyncio.sleep(12)
        assert ends(supervisor) == ["watchdog"]
        assert WATCHDOG_S - 1 <= supervisor.ends[0].at_s - begun_s <= WATCHDOG_S
        assert supervisor.service is not None

    play(tmp_path, story)


def test_one_that_never_gets_ready_is_ended_by_the_start_timeout(tmp_path: Path) -> None:
    async def story(supervisor: Supervisor) -> None:
        lost: list[None] = []
        heal = supervisor.deafen(lambda: lost.append(None))
        supervisor.kill()
        await asyncio.sleep(START_S + 1.1)
        assert ends(supervisor) == ["killed", "start"]
        assert len(lost) >= START_S
        heal()
        await asyncio.sleep(60)
        assert supervisor.starts == 3

    play(tmp_path, story)


def test_a_bug_in_one_driver_ends_the_process_which_starts_again_and_the_bug_is_kept(tmp_path: Path) -> None:
    async def story(supervisor: Supervisor) -> None:
        for link in ("link meter", "link battery", "link inverter"):
            assert supervisor.process is not None
            supervisor.process.throw(link, ZeroDivisionError(link))
            await asyncio.sleep(3)
            assert supervisor.service is not None and supervisor.service.decisions > 1

    supervisor = play(tmp_path, story)
    assert ends(supervisor) == ["failed"] * 3
    causes = [error.exceptions for error in supervisor.failures if isinstance(error, ExceptionGroup)]
    assert [str(cause) for group in causes for cause in group] == ["link meter", "link battery", "link inverter"]


def test_a_restart_loop_is_bounded_in_its_rate_and_seen(tmp_path: Path) -> None:
    async def story(supervisor: Supervisor) -> None:
        host, _, port = supervisor.site.utility.listen.rpartition(":")
        let_go = supervisor.hold()
        supervisor.kill()
        await asyncio.sleep(1)
        with socket.create_server((host, int(port))):
            let_go()
            await asyncio.sleep(20)
            assert 30 <= supervisor.restarts <= 20 / RESTART_S + 1
            assert supervisor.looping
            assert all("cannot serve Modbus" in str(error) for error in supervisor.failures)
        await asyncio.sleep(301)
        assert supervisor.service is not None and not supervisor.looping

    play(tmp_path, story)


def test_a_life_holds_the_claims_of_sole_use_and_a_kill_lets_go_of_them(tmp_path: Path) -> None:
    async def story(supervisor: Supervisor) -> None:
        with pytest.raises(TakenError), sole(supervisor.site, tmp_path):
            pass
        let_go = supervisor.hold()
        supervisor.kill()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with sole(supervisor.site, tmp_path):
            let_go()
            await asyncio.sleep(1)
            assert [type(error) for error in supervisor.failures] == [TakenError]
        await asyncio.sleep(1)
        assert supervisor.service is not None

    play(tmp_path, story)


def test_what_is_done_between_two_lives_is_done_once_and_before_the_journal_is_read(tmp_path: Path) -> None:
    async def story(supervisor: Supervisor) -> None:
        seen = []
        supervisor.before_start(lambda: seen.append(supervisor.service))
        supervisor.stop()
        await asyncio.sleep(5)
        supervisor.kill()
        await asyncio.sleep(5)
        assert seen == [None]

    play(tmp_path, story)


def test_the_journal_is_flushed_off_the_loop_as_in_the_field(tmp_path: Path) -> None:
    async def story(supervisor: Supervisor) -> None:
        before = supervisor.disk.flushed
        await asyncio.sleep(60)
        assert supervisor.disk.flushed - before == 13  # every 5 s, and its directory once

    play(tmp_path, story)


# The verbs, on a whole site


def test_a_killed_site_is_at_rest_by_its_inverters_own_timer_until_the_fault_is_over(tmp_path: Path) -> None:
    async def story(site: Site3kw) -> None:
        fault, heal = site.arm("kill", "controller")
        await asyncio.sleep(2)
        assert abs(site.power_w - 3000) < 100, "its lease runs 4 s and was renewed at the latest 1.4 s before"
        await asyncio.sleep(4)
        assert abs(site.power_w) < 100
        await asyncio.sleep(4)
        assert site.supervisor.service is None
        heal()
        assert (fault.effects, site.supervisor.restarts) == (1, 0)

    on_bench(tmp_path, story)


def test_a_kill_may_fall_a_number_of_turns_later_and_one_of_the_dead_does_not_bite(tmp_path: Path) -> None:
    async def story(site: Site3kw) -> None:
        process = site.supervisor.process
        assert process is not None
        before = process.turns
        first, heal_first = site.arm("kill", "controller", after_turns=333)
        await process.gone
        assert process.turns == before + 333
        await asyncio.sleep(0.2)
        second, heal_second = site.arm("kill", "controller")
        assert (first.effects, second.effects) == (1, 0)
        heal_first()
        await asyncio.sleep(3)
        assert site.supervisor.service is None, "the other one still stands"
        heal_second()

    on_bench(tmp_path, story)


def test_a_site_that_is_stopped_in_order_is_brought_to_rest_at_once(tmp_path: Path) -> None:
    async def story(site: Site3kw) -> None:
        fault, heal = site.arm("restart", "controller")
        await asyncio.sleep(2)
        assert abs(site.power_w) < 100, "not by its timer, which takes 4 s"
        assert ends(site.supervisor) == ["stopped"]
        heal()
        assert fault.effects == 1

    on_bench(tmp_path, story)


def test_an_order_is_not_followed_after_a_restart_until_the_utility_asks_again(tmp_path: Path) -> None:
    async def story(site: Site3kw) -> None:
        utility = site.bench.utility
        utility.silent = True
        site.supervisor.kill()
        await asyncio.sleep(6)
        assert site.supervisor.service is not None and site.supervisor.service.decision is not None
        assert site.supervisor.service.decision.asked_w is None
        assert abs(site.power_w) < 100
        utility.silent = False

    on_bench(tmp_path, story)


def test_a_cease_holds_over_a_kill_and_over_an_upgrade_until_it_is_taken_back(tmp_path: Path) -> None:
    async def story(site: Site3kw) -> None:
        wish = site.bench.utility.wish
        await asyncio.sleep(0.5)  # between two writes of the utility
        wish.cease = True
        site.bench.utility.changed()
        await asyncio.sleep(3)
        assert abs(site.power_w) < 100
        site.bench.utility.silent = True
        for do, params in (("kill", {}), ("upgrade", {"version": "99.0"})):
            fault, heal = site.arm(do, "controller", **params)
            await asyncio.sleep(2)
            heal()
            await asyncio.sleep(10)
            assert fault.effects == 1
            decision = site.bench.decision
            assert decision is not None and abs(site.power_w) < 100
            assert "cease" in decision.why or "cease" in str(decision.low) + str(decision.high), decision
        wish.cease = False
        site.bench.utility.silent = False
        site.bench.utility.changed()

    on_bench(tmp_path, story)


@pytest.mark.parametrize("device", ["inverter", "meter", "battery"])
def test_a_driver_that_fails_by_a_bug_costs_a_restart_and_no_limit(tmp_path: Path, device: str) -> None:
    async def story(site: Site3kw) -> None:
        fault, _heal = site.arm("driver_raises", device)
        await asyncio.sleep(1)
        assert ends(site.supervisor) == ["failed"]
        (error,) = site.supervisor.failures
        assert isinstance(error, ExceptionGroup) and isinstance(error.exceptions[0], DriverError)
        assert fault.effects == 1

    on_bench(tmp_path, story)


def test_a_controller_that_is_not_heard_is_restarted_again_and_again_and_no_faster_than_its_watchdog(
    tmp_path: Path,
) -> None:
    async def story(site: Site3kw) -> None:
        fault, heal = site.arm("deafen", "controller")
        await asyncio.sleep(150)
        assert 150 / (START_S + RESTART_S) - 1 <= site.supervisor.restarts <= 150 / (WATCHDOG_S + RESTART_S)
        assert site.supervisor.looping
        assert fault.effects >= 100
        heal()
        restarts = site.supervisor.restarts
        await asyncio.sleep(60)
        assert site.supervisor.restarts <= restarts + 1

    on_bench(tmp_path, story)


def test_a_site_file_that_is_wrong_and_a_second_controller_touch_nothing(tmp_path: Path) -> None:
    async def story(site: Site3kw) -> None:
        service = site.supervisor.service
        wrong, _ = site.arm("bad_site", "controller")
        assert wrong.effects == 1 and "exit code 78: no_such_key" in wrong.note
        second, heal = site.arm("second", "controller")
        await asyncio.sleep(10)
        heal()
        assert second.effects >= 10 and "another linepack" in second.note
        assert site.supervisor.service is service
        assert abs(site.power_w - 3000) < 100

    on_bench(tmp_path, story)


def test_an_hour_would_leave_no_memory_behind(tmp_path: Path) -> None:
    """Blocks that Python holds, devices and bench included: one object kept with each decision would be 700 more."""

    async def story(site: Site3kw) -> None:
        held, decisions = [], []
        for power_w in (-1000, 3000, -1000, 3000):
            site.bench.utility.wish.set_w = power_w
            await asyncio.sleep(60)
            gc.collect()
            held.append(sys.getallocatedblocks())
            decisions.append(site.bench.service.decisions)
        assert decisions[-1] - decisions[0] > 700
        assert held[-1] - held[0] < 200

    on_bench(tmp_path, story)


def test_busy_neighbours_are_there_until_they_are_healed() -> None:
    verb = VERBS["busy"]
    assert verb.modes == {"real"}
    fault = Armed(Fault(do="busy", on="controller", params={"count": 2}), verb, "seed")
    heal = verb.begin(None, fault)
    assert len(busy_children()) == 2
    heal()
    assert busy_children() == []
    assert fault.effects == 1


def busy_children() -> list[str]:
    """Return the children of this process that do nothing for ever."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            status, line = (place / "status").read_text(), (place / "cmdline").read_bytes()
        except OSError:
            continue
        if f"PPid:\t{os.getpid()}\n" in status and b"while True: pass" in line:
            found.append(place.name)
    return found
