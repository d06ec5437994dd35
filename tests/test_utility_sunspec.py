"""The SunSpec door: orders, leases, several clients."""

import asyncio

import pytest

from controller.link.clock import Clock
from controller.link.modbus_server import Request
from controller.model import Order
from controller.utility.sunspec import NEVER_MS, SunSpecDoor
from hil.clock import run_virtual
from tests.sunspec_master import ANN, BOB, LEASE_MS, START_MS, Book, Master, battery_site


@pytest.fixture
def master() -> Master:
    return Master()


# orders


def test_set_point_becomes_an_order_within_the_answer(master: Master) -> None:
    assert master.write(W704_WSetEna=1, W704_WSetMod=1, W704_WSet=-4321) == b""
    assert master.book.calls == ["heard", "order wset"]
    assert master.book.orders["wset"] == Order(
        name="wset",
        source=f"sunspec {ANN}",
        kind="target",
        domain="battery",
        low_w=-4321,
        high_w=-4321,
        starts_ms=START_MS,
        expires_ms=START_MS + LEASE_MS,
    )


def test_set_point_without_enable_asks_nothing(master: Master) -> None:
    assert master.write(W704_WSet=4000) == b""
    assert master.value("704.WSet") == 4000
    assert master.book.orders == {}
    assert master.write(W704_WSetEna=1) == b""
    assert master.book.orders["wset"].low_w == 4000


def test_new_value_replaces_the_order_and_disable_withdraws_it(master: Master) -> None:
    master.engage(1000)
    assert master.write(W704_WSet=2000) == b""
    assert master.book.orders["wset"].high_w == 2000
    assert master.write(W704_WSetEna=0) == b""
    assert master.book.orders == {}
    assert master.value("704.WSet") == 2000


@pytest.mark.parametrize(("share_bp", "power_w"), [(10_000, 10_000), (1234, 1234), (0, 0), (-5000, -5000), (-1, -1)])
def test_set_point_in_percent_is_of_wmax(master: Master, share_bp: int, power_w: int) -> None:
    assert master.write(W704_WSetPct=share_bp) == b""
    assert master.write(W704_WSetEna=1, W704_WSetMod=0) == b""
    assert master.book.orders["wset"].low_w == power_w


def test_set_point_at_the_poi_is_bounded_by_the_interconnection() -> None:
    master = Master(battery_site("poi"))
    master.engage(-12_000)
    order = master.book.orders["wset"]
    assert (order.domain, order.low_w) == ("poi", -12_000)
    address, _ = master.points["704.WSet"]
    assert master.fail(address, (6001).to_bytes(4, "big")) == 3


def test_generation_limit_leaves_charging_free(master: Master) -> None:
    assert master.write(W704_WMaxLimPctEna=1, W704_WMaxLimPct=2550) == b""
    order = master.book.orders["wmaxlim"]
    assert (order.kind, order.domain, order.low_w, order.high_w) == ("limit", "battery", -5000, 2550)
    assert order.expires_ms == START_MS + LEASE_MS
    assert master.write(W704_WMaxLimPctEna=0) == b""
    assert master.book.orders == {}


@pytest.mark.parametrize(("stop", "start"), [(0, 1), (2, 3), (2, 1)])
def test_stop_and_standby_cease_without_end_until_taken_back(master: Master, stop: int, start: int) -> None:
    assert master.write(W715_OpCtl=stop) == b""
    order = master.book.orders["cease"]
    assert (order.kind, order.domain, order.low_w, order.high_w) == ("cease", "battery", 0, 0)
    assert order.expires_ms == NEVER_MS
    master.clock.ms += 10**10
    master.door.tick()
    assert "cease" in master.book.orders
    assert master.write(W715_OpCtl=start) == b""
    assert master.book.orders == {}


def test_a_cease_of_before_a_restart_holds_until_it_is_started_again(master: Master) -> None:
    master.door.cease(f"sunspec {ANN}")
    assert master.book.orders["cease"].source == f"sunspec {ANN}"
    assert master.book.orders["cease"].expires_ms == NEVER_MS
    assert master.value("715.OpCtl") == 0, "a master sees why"
    assert master.write(W703_ES=1) == b""
    assert "cease" in master.book.orders
    assert master.write(W715_OpCtl=1) == b""
    assert master.book.orders == {}


def test_end_of_standby_does_not_start_a_stopped_site(master: Master) -> None:
    for operation in (0, 3):
        assert master.write(W715_OpCtl=operation) == b""
    assert "cease" in master.book.orders
    for operation in (2, 3):
        assert master.write(W715_OpCtl=operation) == b""
    assert "cease" in master.book.orders
    assert master.write(W715_OpCtl=1) == b""
    assert master.book.orders == {}


def test_no_permit_to_enter_service_ceases_until_permitted_again(master: Master) -> None:
    assert master.write(W703_ES=0) == b""
    assert master.book.orders["cease"].source == f"sunspec {ANN}"
    assert master.write(W715_OpCtl=1) == b""
    assert "cease" in master.book.orders
    assert master.write(W703_ES=1) == b""
    assert master.book.orders == {}


# leases


def test_order_without_timer_ends_with_the_sites_lease_and_the_master_sees_it(master: Master) -> None:
    master.engage(3000)
    master.clock.ms += LEASE_MS - 1
    master.door.tick()
    assert master.book.orders["wset"].expires_ms == START_MS + LEASE_MS
    master.clock.ms += 1
    master.door.tick()
    assert master.book.orders == {}
    assert master.value("704.WSetEna") == 0
    assert master.value("704.WSet") == 3000


def test_expiry_is_seen_by_a_read_before_the_next_cycle(master: Master) -> None:
    master.engage(3000)
    master.clock.ms += LEASE_MS
    assert master.value("704.WSetEna") == 0
    assert master.book.orders == {}


def test_changed_heartbeat_renews_the_lease_and_a_still_one_does_not(master: Master) -> None:
    master.engage(3000)
    master.clock.ms += 50_000
    assert master.write(W715_ControllerHb=1) == b""
    order = master.book.orders["wset"]
    assert (order.starts_ms, order.expires_ms) == (START_MS, START_MS + 50_000 + LEASE_MS)
    master.book.calls.clear()
    master.clock.ms += 50_000
    assert master.write(W715_ControllerHb=1) == b""
    assert master.book.calls == []
    master.clock.ms += 10_000
    master.door.tick()
    assert master.book.calls == ["withdraw wset"]


def test_heartbeat_of_another_host_does_not_keep_an_order_alive_whose_writer_is_gone(master: Master) -> None:
    master.engage(3000)
    master.clock.ms += 50_000
    assert master.write(BOB, W715_ControllerHb=1) == b""
    assert master.book.orders["wset"].expires_ms == START_MS + LEASE_MS
    assert master.write(f"{ANN.rpartition(':')[0]}:55555", W715_ControllerHb=2) == b""
    assert master.book.orders["wset"].expires_ms == START_MS + 50_000 + LEASE_MS


def test_write_to_the_function_renews_its_lease_and_no_others(master: Master) -> None:
    master.engage(3000)
    assert master.write(W704_WMaxLimPctEna=1) == b""
    master.clock.ms += 50_000
    assert master.write(W704_WSet=3000) == b""
    master.clock.ms += 20_000
    master.door.tick()
    assert set(master.book.orders) == {"wset"}


def test_reads_neither_renew_nor_count_as_hearing_the_utility(master: Master) -> None:
    master.engage(3000)
    master.book.calls.clear()
    master.clock.ms += LEASE_MS - 1
    master.image()
    assert master.book.calls == []
    assert master.book.orders["wset"].expires_ms == START_MS + LEASE_MS


def test_reversion_timer_counts_down_and_disables(master: Master) -> None:
    master.engage(5000, reversion_s=10)
    assert master.book.orders["wset"].expires_ms == START_MS + 10_000
    assert master.value("704.WSetRvrtRem") == 10
    master.clock.ms += 3001
    assert master.value("704.WSetRvrtRem") == 7
    master.clock.ms += 6998
    master.door.tick()
    assert (master.value("704.WSetRvrtRem"), master.value("704.WSetEna")) == (1, 1)
    master.clock.ms += 1
    master.door.tick()
    assert (master.value("704.WSetRvrtRem"), master.value("704.WSetEna")) == (0, 0)
    assert (master.value("704.WSet"), master.value("704.WSetRvrtTms")) == (0, 10)
    assert master.book.orders == {}


def test_reversion_to_other_values_holds_them_on_the_sites_lease(master: Master) -> None:
    assert master.write(W704_WSetRvrt=-700, W704_WSetPct=0, W704_WSetPctRvrt=-900, W704_WSetEnaRvrt=1) == b""
    master.engage(5000, reversion_s=10)
    master.clock.ms += 10_500  # the cycle comes late; the lease counts from the reversion
    master.door.tick()
    order = master.book.orders["wset"]
    assert (order.low_w, order.starts_ms, order.expires_ms) == (-700, START_MS + 10_000, START_MS + 10_000 + LEASE_MS)
    assert order.source == f"sunspec {ANN} (reverted)"
    assert [master.value(f"704.{name}") for name in ("WSet", "WSetPct", "WSetEna", "WSetRvrtRem")] == [-700, -900, 1, 0]
    assert master.write(W715_ControllerHb=7) == b""
    master.clock.ms += LEASE_MS
    master.door.tick()
    assert master.book.orders == {}
    assert master.value("704.WSetEna") == 0


def test_long_gap_without_cycles_runs_through_reversion_and_lease(master: Master) -> None:
    assert master.write(W704_WSetEnaRvrt=1) == b""
    master.engage(5000, reversion_s=10)
    master.clock.ms += 10_000 + LEASE_MS
    master.door.tick()
    assert master.book.orders == {}
    assert master.value("704.WSetEna") == 0


def test_heartbeat_does_not_stretch_a_reversion_timer_but_a_write_restarts_it(master: Master) -> None:
    master.engage(5000, reversion_s=10)
    master.clock.ms += 9000
    assert master.write(W715_ControllerHb=1) == b""
    assert master.value("704.WSetRvrtRem") == 1
    assert master.write(W704_WSetRvrtTms=20) == b""
    assert master.value("704.WSetRvrtRem") == 20
    assert master.book.orders["wset"].expires_ms == START_MS + 9000 + 20_000
    assert master.write(W704_WSetRvrtTms=0) == b""
    assert master.value("704.WSetRvrtRem") == 0
    assert master.book.orders["wset"].expires_ms == START_MS + 9000 + LEASE_MS


def test_generation_limit_has_its_own_timer_and_reversion(master: Master) -> None:
    assert master.write(W704_WMaxLimPctRvrt=8000, W704_WMaxLimPctEnaRvrt=1, W704_WMaxLimPctRvrtTms=5) == b""
    assert master.write(W704_WMaxLimPctEna=1, W704_WMaxLimPct=1000) == b""
    master.engage(3000)
    assert (master.value("704.WMaxLimPctRvrtRem"), master.value("704.WSetRvrtRem")) == (5, 0)
    master.clock.ms += 5000
    master.door.tick()
    assert master.book.orders["wmaxlim"].high_w == 8000
    assert master.book.orders["wset"].high_w == 3000


def test_own_heartbeat_goes_up_once_a_second_while_cycles_run(master: Master) -> None:
    master.door.tick()
    beats = []
    for _ in range(8):
        master.clock.ms += 500
        master.door.tick()
        beats.append(master.value("715.DERHb"))
    assert beats == [0, 1, 1, 2, 2, 3, 3, 4]
    master.clock.ms += 5000
    assert master.value("715.DERHb") == 4


class Diary(Book):
    """Notes when, in ms since it was begun, the set point changed, and to what."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.begun_ms = 0
        self.told: list[tuple[int, str]] = []

    def now_ms(self) -> int:
        return self.clock.now_ms() - self.begun_ms

    def order(self, order: Order) -> None:
        self.told.append((self.now_ms(), f"{order.low_w} W"))

    def withdraw(self, name: str) -> None:
        self.told.append((self.now_ms(), "withdrawn"))


def on_virtual_time(*writes: tuple[int, str, int]) -> list[tuple[int, str]]:
    """Write (at_ms, point, value) to a door without cycles; return when what became of the set point."""
    diary, points = Diary(), Master().points

    async def play() -> None:
        door = SunSpecDoor(battery_site(), diary, diary.clock)
        await door.start()
        diary.begun_ms = diary.clock.now_ms()
        for at_ms, name, value in writes:
            await asyncio.sleep((at_ms - diary.now_ms()) / 1000)
            address, point = points[name]
            data = point.info.to_data(value, 2 * point.len)
            request = Request(unit=1, function=16, address=address, count=point.len, registers=data, peer=ANN)
            assert door.answer(request) == b""
        await asyncio.sleep(200)
        await door.close()

    run_virtual(play())
    return diary.told


def test_door_wakes_by_itself_at_the_very_end_of_a_renewed_lease() -> None:
    told = on_virtual_time((0, "704.WSet", 900), (0, "704.WSetEna", 1), (30_000, "715.ControllerHb", 1))
    assert told == [(0, "900 W"), (30_000, "900 W"), (90_000, "withdrawn")]


def test_door_wakes_by_itself_at_reversion_and_at_the_lease_after_it() -> None:
    first = (0, "704.WSet", 900), (0, "704.WSetRvrt", -100), (0, "704.WSetEnaRvrt", 1), (0, "704.WSetRvrtTms", 70)
    told = on_virtual_time(*first, (0, "704.WSetEna", 1), (5000, "704.WSetRvrtTms", 7))
    assert told == [(0, "900 W"), (5000, "900 W"), (12_000, "-100 W"), (72_000, "withdrawn")]


# a controller that stood still


def test_what_waited_while_the_controller_stood_still_is_refused_as_busy_and_reads_go_on(master: Master) -> None:
    still_ms = 2 * battery_site().cycle_ms + 1000
    master.door.tick()
    master.clock.ms += still_ms
    assert master.write(W704_WSetEna=1, W704_WSetMod=1, W704_WSet=1000) == b"", "two cycles and 1 s are borne"
    master.door.tick()
    master.clock.ms += still_ms + 1
    before, calls = master.image(), list(master.book.calls)
    assert master.write(W704_WSet=3000) == 6
    assert master.write(W715_ControllerHb=5) == 6
    master.door.tick()  # the first after it; a connection that waited to be accepted comes later still
    assert master.write(BOB, W704_WSet=3000) == 6
    assert (master.value("704.WSet"), master.value("715.ControllerHb"), master.book.calls) == (1000, 0, calls)
    assert len(master.image()) == len(before)
    master.clock.ms += 1
    master.door.tick()
    assert master.write(W704_WSet=3000) == b""
    assert master.book.orders["wset"].low_w == 3000


# two clients


def test_last_valid_writer_wins_and_the_order_names_whom_it_took_over_from(master: Master) -> None:
    master.engage(1000)
    assert master.write(BOB, W704_WSet=2000) == b""
    order = master.book.orders["wset"]
    assert (order.low_w, order.source) == (2000, f"sunspec {BOB} (took over from {ANN})")
    assert master.write(BOB, W704_WSet=2500) == b""
    assert master.book.orders["wset"].source == f"sunspec {BOB}"


def test_refused_write_of_one_client_leaves_the_order_with_the_other(master: Master) -> None:
    master.engage(1000)
    address, _ = master.points["704.WSet"]
    assert master.ask(16, address, 2, (20_000).to_bytes(4, "big"), BOB) == 3
    assert master.book.orders["wset"].source == f"sunspec {ANN}"


def test_client_that_comes_after_an_ended_order_takes_over_from_nobody(master: Master) -> None:
    master.engage(1000)
    master.clock.ms += LEASE_MS
    master.engage(2000, peer=BOB)
    assert master.book.orders["wset"].source == f"sunspec {BOB}"
