"""The board, the outlet and the calendar: what a snapshot holds, when a command is sent, which window is open."""

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from controller.app.board import ORDERS_MAX, TRAIL_SAMPLES, Board
from controller.app.calendar import Calendar
from controller.app.decider import Decider
from controller.app.outlet import Outlet
from controller.link import LinkError, PartlyWritten
from controller.link.clock import Clock
from controller.model import Command, Device, Inputs, Inverter, Site, Storm, Window
from hil.clock import run_virtual
from tests.words import a_battery, a_meter, a_site, a_target, an_inverter


class HandClock(Clock):
    """A clock that a test moves."""

    def __init__(self, now_ms: int = 100_000) -> None:
        self.at_ms = now_ms

    def now_ms(self) -> int:
        return self.at_ms

    def utc_ms(self) -> int:
        return 1_780_000_000_000 + self.at_ms


def a_board(site: Site | None = None) -> tuple[Board, HandClock, list[int]]:
    clock, changes = HandClock(), []
    board = Board(site or a_site(), clock, lambda: changes.append(clock.at_ms))
    return board, clock, changes


def test_at_the_start_everything_is_missing_and_the_utility_silent() -> None:
    board, _, _ = a_board()
    snapshot = board.freeze("")
    assert {m.device: m.age_ms for m in snapshot.missing} == {"meter": None, "inverter1": None, "battery1": None}
    assert snapshot.utility_silent
    assert snapshot.poi_battery_w is None


@pytest.mark.parametrize(("age_ms", "fresh"), [(0, True), (3000, True), (3001, False)])
def test_a_reading_counts_until_it_is_stale_and_then_its_age_is_told(age_ms: int, fresh: bool) -> None:
    board, clock, _ = a_board()
    board.heard(a_meter(500))
    clock.at_ms += age_ms
    snapshot = board.freeze("")
    assert (snapshot.readings == (a_meter(500),)) is fresh
    if not fresh:
        assert next(m.age_ms for m in snapshot.missing if m.device == "meter") == age_ms


def test_an_older_sample_never_replaces_a_younger_one() -> None:
    board, _, _ = a_board()
    board.heard(a_meter(500, 99_900))
    board.heard(a_meter(900, 99_000))
    assert board.freeze("").readings == (a_meter(500, 99_900),)


@pytest.mark.parametrize(
    ("sampled_ms", "expected_w"), [(99_000, 1000), (99_250, 1500), (99_500, 2000), (99_900, 2800), (100_000, 3000)]
)
def test_battery_power_is_taken_at_the_meter_samples_own_time(sampled_ms: int, expected_w: int) -> None:
    board, _, _ = a_board()
    for at_ms, power_w in ((99_000, 1000), (99_500, 2000), (100_000, 3000)):
        board.heard(an_inverter(power_w, at_ms=at_ms))
    board.heard(a_meter(0, sampled_ms))
    assert board.freeze("").poi_battery_w == expected_w


def test_battery_power_is_unknown_while_one_inverter_is_silent_or_does_not_tell_it() -> None:
    board, _, _ = a_board(a_site(2))
    board.heard(a_meter(0))
    board.heard(an_inverter(500, 1))
    assert board.freeze("").poi_battery_w is None
    board.heard(an_inverter(None, 2))
    assert board.freeze("").poi_battery_w is None
    board.heard(an_inverter(700, 2))
    assert board.freeze("").poi_battery_w == 1200


def test_an_inverter_that_no_longer_tells_its_power_is_not_taken_for_what_it_did_last() -> None:
    board, _, _ = a_board()
    board.heard(an_inverter(8000, at_ms=99_000))
    board.heard(an_inverter(None, at_ms=100_000))
    board.heard(a_meter(0))
    assert board.freeze("").poi_battery_w is None


def test_an_order_lives_as_long_as_its_lease_and_wakes_the_site() -> None:
    board, clock, changes = a_board()
    board.order(a_target(3000, lease_ms=5000))
    assert changes == [100_000]
    clock.at_ms = 104_999
    assert [o.low_w for o in board.freeze("").orders] == [3000]
    clock.at_ms = 105_000
    assert board.freeze("").orders == ()
    board.withdraw("wset")
    assert changes == [100_000], "what has lapsed is not withdrawn again"


def test_an_order_replaces_the_one_of_its_name_and_waits_for_its_start() -> None:
    board, clock, changes = a_board()
    board.order(a_target(3000))
    board.order(a_target(4000))
    later = msgspec.structs.replace(a_target(1000, at_ms=101_000), name="later")
    board.order(later)
    assert [o.low_w for o in board.freeze("").orders] == [4000]
    clock.at_ms = 101_000
    assert [o.low_w for o in board.freeze("").orders] == [4000, 1000]
    board.withdraw("wset")
    assert [o.low_w for o in board.freeze("").orders] == [1000]
    assert len(changes) == 4


def test_orders_beyond_their_bound_are_left_out_and_known_ones_still_renewed() -> None:
    board, _, _ = a_board()
    for n in range(ORDERS_MAX + 1):
        board.order(msgspec.structs.replace(a_target(n), name=f"o{n}"))
    board.order(msgspec.structs.replace(a_target(77), name="o0"))
    assert [o.low_w for o in board.freeze("").orders] == [77, *range(1, ORDERS_MAX)]


def test_no_notice_is_dropped_however_many_devices_complain() -> None:
    board, _, _ = a_board()
    for n in range(600):
        board.noticed("bad_frame", f"d{n}", "short")
    board.noticed("contradiction", "battery1", "two packs")
    notices = board.freeze("").notices
    assert [len(notices), notices[-1].fault] == [601, "contradiction"]


def test_battery_power_is_remembered_for_the_last_samples_only() -> None:
    board, _, _ = a_board()
    for n in range(TRAIL_SAMPLES + 1):
        board.heard(an_inverter(n, at_ms=99_000 + n))
    board.heard(a_meter(0, 98_000))
    assert board.freeze("").poi_battery_w == 1, "the oldest sample that is left stands for all before it"


def test_the_utility_is_silent_after_its_time_unless_a_target_of_its_still_lives() -> None:
    board, clock, _ = a_board()
    board.utility_heard()
    assert not board.freeze("").utility_silent
    clock.at_ms += 60_000
    assert not board.freeze("").utility_silent
    clock.at_ms += 1
    assert board.freeze("").utility_silent
    board.order(a_target(10, at_ms=clock.at_ms, lease_ms=600_000))
    clock.at_ms += 599_000
    assert not board.freeze("").utility_silent


def test_only_what_must_not_wait_wakes_the_site() -> None:
    board, _, changes = a_board()
    board.heard(a_battery())
    assert len(changes) == 1
    board.heard(a_battery(5900))
    assert len(changes) == 1, "a state of charge can wait for the cycle"
    board.heard(a_battery(5900, discharge_max_ma=1000))
    assert len(changes) == 2
    board.heard(a_battery(5900, discharge_max_ma=1000, alarms=("over-voltage",)))
    assert len(changes) == 3
    board.heard(a_meter(5))
    assert len(changes) == 4
    board.heard(an_inverter(5))
    assert len(changes) == 4


def a_module(*closed: bool, at_ms: int = 100_000) -> Inputs:
    return Inputs(device="io", sampled_ms=at_ms, heard_ms=at_ms, closed=closed)


def test_contact_that_moves_wakes_the_site_and_one_that_rests_does_not() -> None:
    board, _, changes = a_board()
    board.heard(a_module(True, True))
    assert len(changes) == 1
    board.heard(a_module(True, True, at_ms=100_100))
    assert len(changes) == 1
    board.heard(a_module(True, False, at_ms=100_200))
    assert len(changes) == 2
    board.heard(a_module(True, True, at_ms=100_300))
    assert len(changes) == 3


def test_cell_data_wait_for_the_cycle() -> None:
    board, _, changes = a_board()
    board.heard(a_battery())
    board.heard(a_battery(cell_max_mv=3650, cell_min_mv=2500, temperature_min_mc=-9000, temperature_max_mc=61_000))
    board.heard(a_battery(isolation_kohm=1, warnings=("cold",)))
    assert len(changes) == 1


@pytest.mark.parametrize(("age_ms", "fresh"), [(500, True), (501, False)])
def test_contacts_count_until_they_are_stale(age_ms: int, fresh: bool) -> None:
    site = a_site()
    module = Device(name="io", profile="inputs/modbus_discrete", url="tcp://127.0.0.1:1?unit=1", stale_after_ms=500)
    board, clock, _ = a_board(msgspec.structs.replace(site, device=(*site.device, module)))
    board.heard(a_module(True))
    clock.at_ms += age_ms
    snapshot = board.freeze("")
    assert bool(snapshot.readings) is fresh
    assert [m.age_ms for m in snapshot.missing if m.device == "io"] == ([] if fresh else [age_ms])


def test_heartbeat_of_the_consumption_limit_is_kept_with_its_time_and_is_not_the_utilitys() -> None:
    board, clock, changes = a_board()
    assert board.freeze("").consumption_heard_ms is None
    board.consumption_heard()
    clock.at_ms += 70_000
    snapshot = board.freeze("")
    assert (snapshot.consumption_heard_ms, snapshot.utility_silent, changes) == (100_000, True, [])


@pytest.mark.parametrize("kind", ["envelope", "consumption", "reserve", "reactive"])
def test_orders_of_every_kind_pass_as_they_are_and_only_a_target_speaks_for_its_sender(kind: str) -> None:
    board, clock, _ = a_board()
    order = msgspec.structs.replace(
        a_target(-500, at_ms=clock.at_ms), name=kind, kind=kind, soc_bp=9000, by_ms=7, reactive_var=-30
    )
    board.order(order)
    assert board.freeze("").orders == (order,)
    assert board.freeze("").utility_silent


def test_notices_stand_until_they_are_over() -> None:
    board, _, _ = a_board()
    board.noticed("bad_frame", "battery1", "0x351 has 2 bytes")
    board.noticed("bad_frame", "battery1", "0x351 has 3 bytes")
    assert [n.detail for n in board.freeze("").notices] == ["0x351 has 3 bytes"]
    board.noticed("bad_frame", "battery1", None)
    assert board.freeze("").notices == ()


class FakeLink:
    """A link that takes commands after a delay and may refuse."""

    def __init__(self, delay_s: float = 0.1) -> None:
        self.delay_s, self.sent, self.error, self.lack = delay_s, list[Command](), "", ""
        self.bug: Exception | None = None

    async def run(self) -> None:
        """Do nothing."""

    async def send(self, command: Command) -> None:
        await asyncio.sleep(self.delay_s)
        if self.bug is not None:
            raise self.bug
        if self.error:
            raise LinkError(self.error)
        self.sent.append(command)
        if self.lack:
            raise PartlyWritten(self.lack)

    def tick(self) -> None:
        """Do nothing."""


def a_command(power_w: int) -> Command:
    return Command(device="inverter1", power_w=power_w, running=True, valid_ms=9000)


def test_the_newest_command_wins_and_a_lease_is_refreshed_before_a_third_of_it() -> None:
    async def main() -> list[int]:
        link, clock = FakeLink(), Clock()
        outlet = Outlet("inverter1", link, Board(a_site(), clock), clock)
        for power_w in (100, 200, 300):
            outlet.put(a_command(power_w))
        await outlet.finished()
        assert [c.power_w for c in link.sent] == [300]
        for _ in range(9):
            await asyncio.sleep(1)
            outlet.put(a_command(300))
            await outlet.finished()
        return [c.power_w for c in link.sent]

    assert run_virtual(main()) == [300, 300, 300, 300]


def test_a_write_that_failed_is_named_tried_again_at_the_next_cycle_and_over_when_it_passes() -> None:
    async def main() -> None:
        link, clock = FakeLink(), Clock()
        board = Board(a_site(), clock)
        outlet = Outlet("inverter1", link, board, clock)
        link.error = "no answer from 127.0.0.1:502"
        outlet.put(a_command(100))
        await outlet.finished()
        assert [(n.fault, n.detail) for n in board.freeze("").notices] == [("write_failed", link.error)]
        link.error = ""
        outlet.put(a_command(100))
        await outlet.finished()
        assert board.freeze("").notices == ()
        assert [c.power_w for c in link.sent] == [100]

    run_virtual(main())


def test_a_power_without_its_vars_is_named_and_holds_its_lease_like_any_other() -> None:
    async def main() -> None:
        link, clock = FakeLink(delay_s=0), Clock()
        board = Board(a_site(), clock)
        outlet = Outlet("inverter1", link, board, clock)
        link.lack = "inverter1: the reactive power was not written"
        for _ in range(4):
            outlet.put(a_command(100))
            await outlet.finished()
            assert [(n.fault, n.detail) for n in board.freeze("").notices] == [("write_failed", link.lack)]
            await asyncio.sleep(1)
        assert len(link.sent) == 2, "at once and at a third of the lease, not at every cycle"
        link.lack = ""
        outlet.put(a_command(200))
        await outlet.finished()
        assert board.freeze("").notices == ()

    run_virtual(main())


def test_a_lease_is_refreshed_at_the_very_third_of_it() -> None:
    async def main() -> list[int]:
        link, clock = FakeLink(delay_s=0), Clock()
        outlet = Outlet("inverter1", link, Board(a_site(), clock), clock)
        counts = []
        for wait_s in (0, 2.999, 0.001):
            await asyncio.sleep(wait_s)
            outlet.put(a_command(300))
            await outlet.finished()
            counts.append(len(link.sent))
        return counts

    assert run_virtual(main()) == [1, 1, 2]


def test_a_bug_in_a_link_ends_the_cycle_that_waits_for_it() -> None:
    async def main() -> None:
        link, clock = FakeLink(), Clock()
        outlet = Outlet("inverter1", link, Board(a_site(), clock), clock)
        link.bug = AssertionError("this cannot be")
        outlet.put(a_command(100))
        with pytest.raises(AssertionError, match="cannot be"):
            await outlet.finished()

    run_virtual(main())


def test_a_cancelled_outlet_sends_nothing_more() -> None:
    async def main() -> list[Command]:
        link, clock = FakeLink(delay_s=5), Clock()
        outlet = Outlet("inverter1", link, Board(a_site(), clock), clock)
        outlet.cancel()
        outlet.put(a_command(100))
        await asyncio.sleep(1)
        outlet.cancel()
        await outlet.finished()
        await asyncio.sleep(10)
        return link.sent

    assert run_virtual(main()) == []


def test_a_refused_command_takes_the_waiting_one_with_it() -> None:
    async def main() -> list[int]:
        link, clock = FakeLink(), Clock()
        outlet = Outlet("inverter1", link, Board(a_site(), clock), clock)
        outlet.put(a_command(100))
        await asyncio.sleep(0.05)
        outlet.put(a_command(200))
        outlet.forget()
        await outlet.finished()
        return [c.power_w for c in link.sent]

    assert run_virtual(main()) == [100]


def test_a_slow_device_that_always_has_something_newer_waiting_does_not_hold_the_cycle() -> None:
    async def main() -> None:
        link, clock = FakeLink(delay_s=0.8), Clock()
        outlet = Outlet("inverter1", link, Board(a_site(), clock), clock)
        loop = asyncio.get_running_loop()
        for tenth in range(100):
            loop.call_later(tenth / 10, outlet.put, a_command(100 + tenth))
        await asyncio.sleep(0.1)
        begun_s = loop.time()
        await outlet.finished()
        assert loop.time() - begun_s < 2.0
        outlet.cancel()

    run_virtual(main())


@pytest.mark.parametrize("put_again", [False, True])
def test_a_write_that_breaks_in_a_way_nobody_foresaw_ends_the_cycle(
    put_again: bool,
) -> None:
    class BrokenLink(FakeLink):
        async def send(self, command: Command) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        clock = Clock()
        outlet = Outlet("inverter1", BrokenLink(), Board(a_site(), clock), clock)
        outlet.put(a_command(100))
        await asyncio.sleep(0.1)
        with pytest.raises(ZeroDivisionError):
            if put_again:
                outlet.put(a_command(200))
            await outlet.finished()

    run_virtual(main())


def at_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("utc", "program"),
    [
        ("2026-07-01 14:59:59", ""),
        ("2026-07-01 15:00:00", "self_consumption"),
        ("2026-07-01 16:59:59", "self_consumption"),
        ("2026-07-01 17:00:00", ""),
        ("2026-12-01 15:30:00", ""),
        ("2026-12-01 16:00:00", "self_consumption"),
        ("2026-07-04 15:30:00", ""),
    ],
)
def test_a_window_opens_by_the_sites_own_clock_summer_and_winter(utc: str, program: str) -> None:
    window = Window(start="0 17 * * mon-fri", minutes=120, program="self_consumption")
    calendar = Calendar(a_site(window=(window,), timezone="Europe/Berlin"))
    assert calendar.program(at_ms(utc)) == program


def test_a_clock_that_jumps_by_a_day_chooses_the_window_anew() -> None:
    window = Window(start="0 0 * * mon", minutes=1440, program="self_consumption")
    calendar = Calendar(a_site(window=(window,)))
    assert calendar.program(at_ms("2026-07-06 12:00:00")) == "self_consumption"
    assert calendar.program(at_ms("2026-07-05 12:00:00")) == ""
    assert calendar.program(at_ms("2026-07-06 12:00:00")) == "self_consumption"


def test_an_inverter_that_no_unit_names_is_kept_but_not_trailed() -> None:
    board, _, _ = a_board()
    board.heard(Inverter(device="stranger", sampled_ms=1, heard_ms=1, power_w=5))
    assert board.freeze("").readings == ()


# --- the storm reserve by calendar


def a_storm(start: str = "0 18 * * fri", minutes: int = 120, timezone: str = "UTC", **changes: object) -> Calendar:
    storm = msgspec.structs.replace(Storm(start=start, minutes=minutes, reserve_pct=80, recharge_s=3600), **changes)
    return Calendar(a_site(storm=storm, timezone=timezone))


def test_storm_window_asks_for_its_reserve_from_its_beginning_to_its_end() -> None:
    order = a_storm().reserve(at_ms("2026-07-03 18:30:00"), 5_000_000)
    assert order is not None
    assert (order.name, order.source, order.kind, order.domain) == ("calendar storm", "calendar", "reserve", "battery")
    assert (order.low_w, order.high_w, order.soc_bp, order.reactive_var) == (0, 0, 8000, 0)
    assert order.starts_ms == 5_000_000 - 30 * 60_000
    assert (order.expires_ms - order.starts_ms, order.by_ms - order.starts_ms) == (120 * 60_000, 3_600_000)


@pytest.mark.parametrize(("utc", "kept"), [("2026-07-03 18:30:00", True), ("2026-07-03 17:30:00", False)])
def test_storm_window_of_the_calendar_keeps_the_reserve_in_what_is_decided(utc: str, kept: bool) -> None:
    """60 % are stored: without the storm the order is followed, in its window nothing is given."""
    site = a_site(storm=Storm(start="0 18 * * fri", minutes=120, reserve_pct=80, recharge_s=0))
    clock = HandClock()
    clock.utc_ms = lambda: at_ms(utc)  # type: ignore[method-assign]
    board = Board(site, clock)
    for reading in (a_meter(), an_inverter(), a_battery(6000)):
        board.heard(reading)
    board.order(a_target(3000))
    decider = Decider(site, board, clock)
    decider.decide()
    assert decider.decision is not None
    assert decider.decision.target_w == (0 if kept else 3000)
    assert decider.decision.high.rule.startswith("storm_reserve") is kept


def test_storm_reserve_that_is_only_kept_has_no_time_to_be_reached_by() -> None:
    order = a_storm(recharge_s=0).reserve(at_ms("2026-07-03 18:00:00"), 1000)
    assert order is not None and (order.by_ms, order.starts_ms) == (0, 1000)


@pytest.mark.parametrize(
    ("utc", "stands"),
    [
        ("2026-07-03 17:59:59", False),
        ("2026-07-03 18:00:00", True),
        ("2026-07-03 19:59:59", True),
        ("2026-07-03 20:00:00", False),
        ("2026-07-02 18:30:00", False),
        ("1970-01-02 18:30:00", False),  # a Friday of a clock that was never set
    ],
)
def test_storm_reserve_stands_in_its_window_and_not_before_the_clock_is_set(utc: str, stands: bool) -> None:
    assert (a_storm().reserve(at_ms(utc), 0) is not None) is stands


def test_site_without_a_storm_window_has_no_reserve() -> None:
    assert Calendar(a_site()).reserve(at_ms("2026-07-03 18:30:00"), 0) is None


@pytest.mark.parametrize(
    ("utc", "began_min"),
    [
        ("2026-03-29 01:40:00", 10),  # 02:30 is skipped in Berlin and meant as 03:30, which is 01:30 UTC
        ("2026-10-25 00:45:00", 15),  # 02:30 comes twice and is meant the first time, 00:30 UTC
        ("2026-10-25 01:45:00", 75),
    ],
)
def test_storm_window_at_a_change_of_the_clocks_begins_as_every_window_does(utc: str, began_min: int) -> None:
    calendar = a_storm(start="30 2 * * *", timezone="Europe/Berlin")
    order = calendar.reserve(at_ms(utc), 10_000_000)
    assert order is not None and order.starts_ms == 10_000_000 - began_min * 60_000


def test_storm_order_does_not_move_while_the_clock_is_trimmed_and_is_worked_out_anew_after_a_jump() -> None:
    calendar, began_ms = a_storm(), at_ms("2026-07-03 18:00:00")
    first = calendar.reserve(began_ms, 1_000_000)
    assert first is not None
    for minute in range(1, 60):  # the wall clock is 30 ms a minute fast against the monotonic one
        now = calendar.reserve(began_ms + minute * 60_000, 1_000_000 + minute * (60_000 - 30))
        assert now == first
    jumped = calendar.reserve(began_ms + 90 * 60_000, 1_000_000 + 61 * 60_000)
    assert jumped is not None and jumped.starts_ms == 1_000_000 - 29 * 60_000
    assert calendar.reserve(at_ms("2026-07-02 12:00:00"), 1_000_000 + 62 * 60_000) is None


def test_storm_window_of_a_week_is_still_one_window_on_its_last_day() -> None:
    calendar = a_storm(start="0 0 1 * *", minutes=10_080)
    order = calendar.reserve(at_ms("2026-07-07 23:59:00"), 0)
    assert order is not None and order.starts_ms == -(7 * 24 * 60 - 1) * 60_000
    assert calendar.reserve(at_ms("2026-07-08 00:00:00"), 60_000) is None
