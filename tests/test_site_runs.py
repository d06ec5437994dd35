"""The whole site in lockstep: real frames, virtual time, and the plant's truth as the judge."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from pymodbus.client import AsyncModbusTcpClient

from controller import gate
from controller.app.sitefile import load
from controller.engine import step
from controller.gate import Memory, Verdict
from controller.journal import Entry, last_state, read, replay
from controller.model import Command, Commission, Default, Site, Snapshot
from hil.clock import run_virtual
from hil.faults.schedule import Schedule
from hil.faults.words import Fault
from hil.run.lockstep import Lockstep, lockstep
from hil.stage import DEMO_SITE

Story = Callable[[Lockstep], Awaitable[None]]
SOC_ERROR = 0.02


def a_demo_site(**utility: object) -> Site:
    """Return the demo's site, with a default of holding still so that what the utility causes is plain."""
    site = load(DEMO_SITE)
    changes = {"default": Default(program="hold"), **utility}
    return msgspec.structs.replace(site, utility=msgspec.structs.replace(site.utility, **changes))


def play(folder: Path, story: Story, site: Site | None = None, wired: str = "") -> None:
    """Run a story in lockstep, then replay its journal: every decision must come out again bit for bit.

    wired: the Modbus device whose cable the story pulls.
    """

    async def main() -> None:
        async with lockstep(site or a_demo_site(), folder, wired=frozenset({wired} - {""})) as bench:
            await story(bench)

    run_virtual(main())
    result = replay(folder / "journal")
    assert result.first is None, str(result.first)
    assert result.entries > 3


def faults(bench: Lockstep) -> set[str]:
    assert bench.service.decision is not None
    return {fault.fault for fault in bench.service.decision.faults}


def true_w(bench: Lockstep) -> float:
    """Return what the inverter truly gives."""
    return bench.plant.value("inverter.ac_w")


def pulled(bench: Lockstep, device: str) -> Callable[[], None]:
    """Pull a device's cable; return what plugs it in again."""
    schedule, loop = Schedule((), 1, "lockstep"), asyncio.get_running_loop()
    fault = Fault(do="can_unplug" if device == "battery" else "unplug", on=device)
    number = schedule.arm(fault, loop.time(), bench)

    def plug_in() -> None:
        schedule.disarm(number, loop.time())
        assert schedule.armed[number].effects

    return plug_in


def why(bench: Lockstep) -> str:
    assert bench.service.decision is not None
    return bench.service.decision.why


async def until(bench: Lockstep, condition: Callable[[], bool], within_s: float, every_s: float = 0.05) -> float:
    """Let time pass until a condition holds; fail when it takes longer than within_s. Returns how long it took."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    while not condition():
        assert loop.time() - begun_s < within_s, f"not within {within_s} s"
        await asyncio.sleep(every_s)
    return loop.time() - begun_s


def test_a_set_point_is_delivered_at_the_meter_and_taken_back_when_its_lease_runs_out(tmp_path: Path) -> None:
    async def story(bench: Lockstep) -> None:
        bench.plant.set("load_w", 2000)
        await bench.wait(3)
        before_w = bench.plant.value("poi_w")
        assert await bench.utility.ask(3000)
        await until(bench, lambda: abs(true_w(bench) - 3000) < 60, within_s=1.5)
        assert bench.plant.value("poi_w") - before_w == pytest.approx(3000, abs=250)
        assert why(bench) == "wish"
        await bench.wait(bench.site.utility.lease_s - 2.5)
        assert true_w(bench) == pytest.approx(3000, abs=60)
        await until(bench, lambda: abs(true_w(bench)) < 60, within_s=4)

    play(tmp_path, story)


def test_a_set_point_does_not_wait_for_the_cycle(tmp_path: Path) -> None:
    async def story(bench: Lockstep) -> None:
        for power_w in (3000, -2000, 1000, -500, 2500):
            await bench.wait(2.3)
            assert await bench.utility.ask(power_w)
            await until(bench, lambda w=power_w: bench.plant.value("inverter.command_w") == w, within_s=0.15)

    play(tmp_path, story)
    told = entries(tmp_path)
    assert [entry.seq for entry in told] == list(range(len(told))), "each decision is recorded, once"


def test_while_the_utility_is_silent_the_default_order_covers_the_load(tmp_path: Path) -> None:
    async def story(bench: Lockstep) -> None:
        bench.plant.set("load_w", 3000)
        await until(bench, lambda: abs(bench.plant.value("poi_w")) < 200, within_s=15)
        assert bench.service.decision is not None
        assert bench.service.decision.mode == "self_consumption"
        bench.plant.set("load_w", 4500)
        bench.plant.set("pv_w", 500)
        await bench.wait(1)
        await until(bench, lambda: abs(bench.plant.value("poi_w")) < 200, within_s=6)

    play(tmp_path, story, a_demo_site(default=Default(program="self_consumption"), silent_after_s=5))


def test_discharging_stops_at_the_customers_reserve_by_true_energy(tmp_path: Path) -> None:
    async def story(bench: Lockstep) -> None:
        bench.plant.set("load_w", 5000)
        bench.plant.set("battery.soc", 0.325)
        await bench.wait(3)
        for _ in range(60):
            assert await bench.utility.ask(8000)
            await bench.wait(4)
            assert bench.plant.value("battery.soc") >= 0.30
        assert why(bench) == "customer_reserve(house)"
        assert abs(true_w(bench)) < 600

    play(tmp_path, story)


@pytest.mark.parametrize("bias", [-SOC_ERROR, SOC_ERROR])
def test_a_battery_that_misjudges_itself_as_far_as_declared_still_keeps_the_reserve(
    tmp_path: Path, bias: float
) -> None:
    async def story(bench: Lockstep) -> None:
        bench.plant.set("load_w", 5000)
        bench.plant.battery("battery").bms.jump_soc(100 * bias)
        bench.plant.set("battery.soc", 0.325)
        for _ in range(60):
            assert await bench.utility.ask(8000)
            await bench.wait(4)
            assert bench.plant.value("battery.soc") >= 0.2999

    play(tmp_path, story)


def test_charging_stops_at_the_ceiling_by_true_energy(tmp_path: Path) -> None:
    async def story(bench: Lockstep) -> None:
        bench.plant.set("battery.soc", 0.92)
        for _ in range(60):
            assert await bench.utility.ask(-8000)
            await bench.wait(4)
            assert bench.plant.value("battery.soc") <= 0.95

    play(tmp_path, story)


def test_a_falling_current_limit_of_the_battery_is_kept_by_the_controller_alone(tmp_path: Path) -> None:
    """The inverter knows nothing of the BMS here; the plant's true current is held against the true limit."""

    async def story(bench: Lockstep) -> None:
        bench.plant.set("battery.soc", 0.95)
        seen_a = []
        for _ in range(300):
            assert await bench.utility.ask(-9000)
            await bench.wait(2)
            assert -bench.plant.value("battery.pack_a") <= bench.plant.value("battery.charge_max_a") + 2
            seen_a.append(bench.plant.value("battery.charge_max_a"))
        assert max(seen_a) > 150
        assert min(seen_a) < 60, "the limit never fell: nothing was proved"
        assert why(bench) == "bms_current(house)"

    site = a_demo_site()
    energy = msgspec.structs.replace(site.energy, ceiling_pct=100, soc_error_pct=0, taper_s=12)
    play(tmp_path, story, msgspec.structs.replace(site, energy=energy))


def test_when_the_load_drops_the_export_limit_is_kept_within_two_seconds(tmp_path: Path) -> None:
    async def story(bench: Lockstep) -> None:
        bench.plant.set("load_w", 5000)
        await bench.wait(3)
        for _ in range(3):
            assert await bench.utility.ask(8000)
            await bench.wait(2)
        assert true_w(bench) == pytest.approx(8000, abs=100)
        bench.plant.set("load_w", 300)
        await until(bench, lambda: bench.plant.value("poi_w") > 6000, within_s=2)
        await until(bench, lambda: bench.plant.value("poi_w") <= 6000, within_s=2)
        for _ in range(20):
            assert await bench.utility.ask(8000)
            await bench.wait(0.5)
            assert bench.plant.value("poi_w") <= 6000
        assert why(bench) == "poi_limit"

    play(tmp_path, story)


def test_a_pulled_bms_cable_stops_the_unit_and_it_comes_back_by_itself(tmp_path: Path) -> None:
    async def story(bench: Lockstep) -> None:
        bench.plant.set("load_w", 4000)
        assert await bench.utility.ask(4000)
        await until(bench, lambda: true_w(bench) > 3900, within_s=2)
        plug_in = pulled(bench, "battery")
        for _ in range(8):
            assert await bench.utility.ask(4000)
            await bench.wait(1)
        assert abs(true_w(bench)) < 60
        assert "battery_stale" in faults(bench)
        plug_in()
        for _ in range(25):
            assert await bench.utility.ask(4000)
            await bench.wait(1)
        assert true_w(bench) == pytest.approx(4000, abs=100)
        assert "battery_stale" not in faults(bench)

    play(tmp_path, story)


def test_a_pulled_inverter_cable_ends_in_the_inverters_own_fall_back_and_heals(tmp_path: Path) -> None:
    async def story(bench: Lockstep) -> None:
        bench.plant.set("load_w", 4000)
        assert await bench.utility.ask(4000)
        await until(bench, lambda: true_w(bench) > 3900, within_s=2)
        plug_in = pulled(bench, "inverter")
        await until(bench, lambda: abs(true_w(bench)) < 60, within_s=11.5)
        assert {"inverter_stale", "link_down"} <= faults(bench)
        plug_in()
        for _ in range(40):
            assert await bench.utility.ask(4000)
            await bench.wait(1)
        assert true_w(bench) == pytest.approx(4000, abs=100)
        assert not faults(bench) & {"inverter_stale", "link_down", "write_failed"}

    play(tmp_path, story, wired="inverter")


def test_without_the_meter_the_site_keeps_to_what_the_worst_load_allows(tmp_path: Path) -> None:
    async def story(bench: Lockstep) -> None:
        bench.plant.set("load_w", 4000)
        pulled(bench, "meter")
        await bench.wait(4)
        for asked_w, allowed_w in ((8000, 900), (-8000, -900)):
            assert await bench.utility.ask(asked_w)
            await bench.wait(3)
            assert true_w(bench) == pytest.approx(allowed_w, abs=60)
            assert why(bench) == "poi_limit"

    play(tmp_path, story, wired="meter")


def test_an_inverter_in_local_control_is_not_written_to(tmp_path: Path) -> None:
    async def story(bench: Lockstep) -> None:
        assert await bench.utility.ask(3000)
        await bench.wait(2)
        bench.plant.inverter("inverter").local = True
        await bench.wait(3)
        assert await bench.utility.ask(2000)
        await bench.wait(3)
        assert "inverter_local" in faults(bench)
        assert bench.service.decision is not None
        assert bench.service.decision.target_w == 0
        bench.plant.inverter("inverter").local = False
        assert await bench.utility.ask(2000)
        await until(bench, lambda: abs(true_w(bench) - 2000) < 60, within_s=8)

    play(tmp_path, story)


@pytest.mark.parametrize("jump_ms", [86_400_000, -86_400_000])
def test_a_clock_that_jumps_by_a_day_moves_nothing_and_is_told(tmp_path: Path, jump_ms: int) -> None:
    async def story(bench: Lockstep) -> None:
        assert await bench.utility.ask(3000)
        await bench.wait(2)
        bench.clock.offset_ms += jump_ms
        for _ in range(30):
            await bench.wait(0.1)
            assert true_w(bench) == pytest.approx(3000, abs=60)
        assert "clock_jumped" in faults(bench)
        assert "utility_silent" not in faults(bench)

    play(tmp_path, story)


def test_a_full_disk_stops_the_record_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    full = False

    def write(descriptor: int, content: bytes) -> int:
        if full and len(content) > 64:
            raise OSError(28, "No space left on device")
        return real(descriptor, content)

    async def story(bench: Lockstep) -> None:
        nonlocal full
        monkeypatch.setattr("os.write", write)
        assert await bench.utility.ask(1000)
        await bench.wait(2)
        full = True
        assert await bench.utility.ask(3000)
        await bench.wait(3)
        assert true_w(bench) == pytest.approx(3000, abs=60)
        assert "journal_full" in faults(bench)
        full = False
        await bench.wait(12)
        assert "journal_full" not in faults(bench)

    play(tmp_path, story)


def test_a_refused_command_is_not_written_and_told_until_one_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refusing = False

    def check(
        site: Site, record: Commission | None, snapshot: Snapshot, memory: Memory, commands: tuple[Command, ...]
    ) -> tuple[tuple[Verdict, ...], Memory]:
        if not refusing:
            return gate.check(site, record, snapshot, memory, commands)
        return tuple(Verdict(command=command, refused="this is a test") for command in commands), memory

    async def story(bench: Lockstep) -> None:
        nonlocal refusing
        assert await bench.utility.ask(1000)
        await bench.wait(2)
        refusing = True
        assert await bench.utility.ask(3000)
        await bench.wait(2)
        assert bench.plant.value("inverter.command_w") == 1000
        assert "command_refused" in faults(bench)
        refusing = False
        await until(bench, lambda: bench.plant.value("inverter.command_w") == 3000, within_s=1.2)
        await until(bench, lambda: "command_refused" not in faults(bench), within_s=7)

    monkeypatch.setattr("controller.app.decider.check", check)
    with caplog.at_level("INFO", "linepack"):
        play(tmp_path, story, a_demo_site(lease_s=60))
    told = [record.getMessage() for record in caplog.records if "command_refused" in record.getMessage()]
    assert [message.rpartition(": ")[2] == "over" for message in told] == [False, True], "once when it begins and ends"


def test_a_restart_takes_the_site_over_without_a_jump_and_the_journal_tells_both_lives(tmp_path: Path) -> None:
    async def main() -> None:
        bench: Lockstep
        async with lockstep(a_demo_site(lease_s=60), tmp_path) as bench:
            bench.plant.set("load_w", 4000)
            await bench.wait(2)
            assert await bench.utility.ask(4000)
            await bench.wait(3)
        assert last_state(tmp_path / "journal") is not None
        assert true_w(bench) > 3900, "the controller is gone, the inverter goes on until its own timer"
        async with lockstep(a_demo_site(), tmp_path) as second:
            await second.wait(2)
            assert "inverter_stale" not in faults(second)

    run_virtual(main())
    segments = list(read(tmp_path / "journal"))
    assert len({segment.header.run for segment in segments if segment.header is not None}) == 2
    assert not any(segment.damage for segment in segments)
    assert replay(tmp_path / "journal").first is None


def test_a_site_that_is_stopped_is_left_at_rest_and_not_to_the_inverters_timer(tmp_path: Path) -> None:
    async def main() -> None:
        async with lockstep(a_demo_site(lease_s=60), tmp_path) as bench:
            bench.plant.set("load_w", 4000)
            assert await bench.utility.ask(4000)
            await until(bench, lambda: true_w(bench) > 3900, within_s=3)
            loop = asyncio.get_running_loop()
            begun_s = loop.time()
            await bench.service.rest()
            assert loop.time() - begun_s < 2.1
            await bench.utility.ask(5000)
            await until(bench, lambda: abs(true_w(bench)) < 60, within_s=1.5)
            await bench.wait(2)
            assert abs(true_w(bench)) < 60, "nothing is decided any more"

    run_virtual(main())


def test_a_site_that_the_utility_stopped_stays_stopped_over_a_restart(tmp_path: Path) -> None:
    site = a_demo_site(default=Default(program="self_consumption"))

    async def operate(bench: Lockstep, operation: int) -> None:
        """Write 715.OpCtl: 0 = STOP, 1 = START."""
        assert bench.utility.line is not None
        async with AsyncModbusTcpClient("127.0.0.1", port=bench.service.door.port) as client:
            reply = await client.write_register(bench.utility.line.models[715] + 8, operation, device_id=1)
            assert not reply.isError()

    async def main() -> None:
        async with lockstep(site, tmp_path) as first:
            first.plant.set("load_w", 3000)
            await until(first, lambda: true_w(first) > 2500, within_s=20)
            await operate(first, 0)
            await until(first, lambda: abs(true_w(first)) < 60, within_s=2)
        assert last_state(tmp_path / "journal") is not None
        async with lockstep(site, tmp_path) as second:
            second.plant.set("load_w", 3000)
            await second.wait(20)
            assert abs(true_w(second)) < 60
            assert why(second) == "utility_cease"
            await operate(second, 1)
            await until(second, lambda: true_w(second) > 2500, within_s=15)

    run_virtual(main())
    assert replay(tmp_path / "journal").first is None


def entries(folder: Path) -> list[Entry]:
    return [entry for segment in read(folder / "journal") for entry in segment.entries()]


def test_the_same_story_gives_the_same_journal_bit_for_bit(tmp_path: Path) -> None:
    async def story(bench: Lockstep) -> None:
        for power_w in (3000, -2500, 8000, 0):
            assert await bench.utility.ask(power_w)
            await bench.wait(5)
        pulled(bench, "battery")
        await bench.wait(10)

    runs = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        play(tmp_path / name, story)
        runs.append([msgspec.json.encode(entry) for entry in entries(tmp_path / name)])
    first, second = runs
    port = rb"127\.0\.0\.1\D{1,4}\d+"
    assert [re.sub(port, b"", e) for e in first] == [re.sub(port, b"", e) for e in second]


def test_a_changed_engine_is_found_by_replay_and_the_first_difference_named(tmp_path: Path) -> None:
    async def story(bench: Lockstep) -> None:
        assert await bench.utility.ask(3000)
        await bench.wait(5)

    play(tmp_path, story)

    def one_watt_more(site: Site, state: object, snapshot: object) -> object:
        after, decision = step(site, state, snapshot)  # type: ignore[arg-type]
        return after, msgspec.structs.replace(decision, target_w=decision.target_w + (decision.asked_w is not None))

    result = replay(tmp_path / "journal", one_watt_more)  # type: ignore[arg-type]
    assert result.first is not None
    assert result.first.path == "decision.target_w"
    assert (result.first.recorded, result.first.now) == ("3000", "3001")
