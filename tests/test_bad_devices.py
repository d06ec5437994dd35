"""What a device on Modbus may do to the site: a named fault, a safe plant, a journal that replays."""

import asyncio
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from controller.link.modbus_server import Request
from hil.devices import ModbusDevice
from hil.devices.sunspec import BASE
from tests.sites import ASKED_W, Watch, play
from tests.tap import Spoil, Tap, proper

Reply = Iterator[tuple[float, bytes | None]]
HURT_S = 12
BACK_S = 45  # back-off of the link at its longest after HURT_S, and the faults' own time to clear


# --- replies


def shorter(request: bytes, reply: bytes) -> Reply:
    body = reply[6:8] + struct.pack("B", max(0, len(reply) - 11)) + reply[9:-2]
    yield 0, reply[:4] + struct.pack(">H", len(body)) + body


def of_another_function(request: bytes, reply: bytes) -> Reply:
    yield 0, reply[:7] + bytes((reply[7] ^ 1,)) + reply[8:]


def late(request: bytes, reply: bytes) -> Reply:
    yield 1.3, reply


def torn(request: bytes, reply: bytes) -> Reply:
    yield 0, reply[: len(reply) // 2]


def torn_and_hung_up(request: bytes, reply: bytes) -> Reply:
    yield from torn(request, reply)
    yield 0, None


def byte_by_byte(request: bytes, reply: bytes) -> Reply:
    for at in range(len(reply)):
        yield 0, reply[at : at + 1]


def twice(request: bytes, reply: bytes) -> Reply:
    yield 0, reply + reply


def of_another_request(request: bytes, reply: bytes) -> Reply:
    foreign = struct.pack(">H", (int.from_bytes(reply[:2], "big") + 7) & 0xFFFF) + reply[2:9]
    yield 0, foreign + b"\x7f" * (len(reply) - 9) + reply


def of_another_unit(request: bytes, reply: bytes) -> Reply:
    yield 0, reply[:6] + b"\x09" + reply[7:9] + b"\x7f" * (len(reply) - 9) + reply


def only_of_another_unit(request: bytes, reply: bytes) -> Reply:
    yield 0, reply[:6] + b"\x09" + reply[7:]


def refused(request: bytes, reply: bytes) -> Reply:
    yield 0, reply[:4] + b"\x00\x03" + reply[6:7] + bytes((reply[7] | 0x80, 4))


def writes_refused(request: bytes, reply: bytes) -> Reply:
    yield from refused(request, reply) if request[7] == 16 else iter([(0, reply)])


def writes_unheard(request: bytes, reply: bytes) -> Reply:
    if request[7] != 16:
        yield 0, reply


def noise() -> Spoil:
    chance = random.Random(7)

    def noisy(request: bytes, reply: bytes) -> Reply:
        yield 0, chance.randbytes(chance.randrange(1, 300))

    return noisy


def hung_up(request: bytes, reply: bytes) -> Reply:
    yield 0, None


# what comes back -> the faults that must be named; does the site go on?
REPLIES: dict[str, tuple[Spoil, set[str], bool]] = {
    "shorter than asked": (shorter, {"bad_reply", "stale"}, False),
    "of another function": (of_another_function, {"bad_reply", "stale"}, False),
    "late": (late, {"bad_reply", "stale"}, False),
    "torn": (torn, {"stale", "link_down"}, False),
    "torn and hung up": (torn_and_hung_up, {"stale", "link_down"}, False),
    "byte by byte": (byte_by_byte, set(), True),
    "twice": (twice, {"bad_reply"}, True),
    "behind one of another request": (of_another_request, {"bad_reply"}, True),
    "behind one of another unit": (of_another_unit, {"bad_reply"}, True),
    "of another unit alone": (only_of_another_unit, {"bad_reply", "stale"}, False),
    "a refusal": (refused, {"bad_reply", "stale"}, False),
    "noise": (noise(), {"stale", "link_down"}, False),
    "nothing but a hang-up": (hung_up, {"stale", "link_down"}, False),
}
DEVICES = ("inverter", "meter")


def tapped(watch: Watch, device: str) -> Tap:
    """Put a tap on a device's wire."""
    tap = Tap()
    watch.bench.wires[device].add(tap.toxic)
    return tap


BLIND_W = 900  # without the meter: export limit 6000 less generation 5000 less margin 100


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("what", REPLIES)
def test_a_bad_reply_is_named_and_the_site_is_safe_and_heals(tmp_path: Path, what: str, device: str) -> None:
    spoil, named, goes_on = REPLIES[what]
    named = {f"{device}_{name}" if name == "stale" else name for name in named}

    async def story(watch: Watch) -> None:
        tap = tapped(watch, device)
        await watch.settled(ASKED_W, 5)
        watch.seen.clear()
        tap.spoil = spoil
        await watch.asking(ASKED_W, HURT_S)
        assert named == {fault for fault, where in watch.seen if where == device} & (named | {f"{device}_stale"})
        safe_w = ASKED_W if goes_on else 0 if device == "inverter" else BLIND_W
        assert watch.power_w == pytest.approx(safe_w, abs=60)
        tap.spoil = proper
        await watch.settled(ASKED_W, BACK_S)
        await watch.over(f"{device}_stale", device, BACK_S)

    play(tmp_path, story, device)


@pytest.mark.parametrize("spoil", [writes_refused, writes_unheard])
def test_a_write_that_is_not_taken_is_named_and_the_inverters_own_timer_ends_the_last_one(
    tmp_path: Path, spoil: Spoil
) -> None:
    async def story(watch: Watch) -> None:
        tap = tapped(watch, "inverter")
        await watch.settled(ASKED_W, 5)
        tap.spoil, tap.drops_writes = spoil, True
        await watch.asking(ASKED_W, HURT_S)
        assert ("write_failed", "inverter") in watch.seen
        assert watch.power_w == pytest.approx(0, abs=60)
        tap.spoil, tap.drops_writes = proper, False
        await watch.settled(ASKED_W, BACK_S)
        await watch.over("write_failed", "inverter", BACK_S)

    play(tmp_path, story, "inverter")


# --- values


class Points:
    """Overwrites points of a device's registers with raw words in every reply, as long as they are set."""

    def __init__(self, device: ModbusDevice) -> None:
        self.false: dict[str, bytes] = {}
        self.shift = 0  # of the whole map
        self.writes = 0
        self._image = device.image

    def asked(self, request: Request) -> Request | int | None:
        self.writes += request.function != 3
        moved = msgspec.structs.replace(request, address=request.address - self.shift)
        return 2 if moved.address < 0 else moved

    def answered(self, request: Request, answer: bytes | int | None) -> bytes | int | None:
        if not isinstance(answer, bytes) or request.function != 3:
            return answer
        registers = bytearray(answer)
        for point, raw in self.false.items():
            at = self._image._points[point][0] - 2 * (request.address - BASE)
            if 0 <= at <= len(registers) - len(raw):
                registers[at : at + len(raw)] = raw
        return bytes(registers)


def false_points(watch: Watch, name: str) -> Points:
    """Let a device tell what is not so."""
    device = watch.bench.devices[name]
    assert isinstance(device, ModbusDevice)
    points = Points(device)
    device.hooks.append(points)
    return points


NAN_16, UNSET_SF, SF_11, SF_MINUS_11 = b"\x80\x00", b"\x80\x00", b"\x00\x0b", b"\xff\xf5"
# device, point, raw words -> the fault that must be named, what the inverter must truly do
VALUES: dict[str, tuple[str, str, bytes, str, int]] = {
    "power not implemented": ("inverter", "701.W", NAN_16, "inverter_silent_power", 0),
    "power's scale not implemented": ("inverter", "701.W_SF", UNSET_SF, "bad_reply", 0),
    "power's scale 11": ("inverter", "701.W_SF", SF_11, "bad_reply", 0),
    "power's scale -11": ("inverter", "701.W_SF", SF_MINUS_11, "bad_reply", 0),
    "set point's scale 11": ("inverter", "704.WSet_SF", SF_11, "write_failed", 0),
    "rating not implemented": ("inverter", "702.WMax", b"\xff\xff", "", ASKED_W),
    "state fault": ("inverter", "701.InvSt", b"\x00\x06", "inverter_fault", 0),
    "state out of its range": ("inverter", "701.InvSt", b"\x12\x34", "inverter_fault", 0),
    "local or remote told no more": ("inverter", "715.LocRemCtl", b"\xff\xff", "inverter_local", 0),
    "local": ("inverter", "715.LocRemCtl", b"\x00\x01", "inverter_local", 0),
    "meter's power not implemented": ("meter", "203.W", NAN_16, "meter_stale", BLIND_W),
    "meter's scale not implemented": ("meter", "203.W_SF", UNSET_SF, "meter_stale", BLIND_W),
    "meter's scale 11": ("meter", "203.W_SF", SF_11, "meter_stale", BLIND_W),
    "meter's scale -11": ("meter", "203.W_SF", SF_MINUS_11, "meter_stale", BLIND_W),
}


@pytest.mark.parametrize("what", VALUES)
def test_a_value_that_cannot_be_is_named_and_never_believed(tmp_path: Path, what: str) -> None:
    device, point, raw, fault, safe_w = VALUES[what]

    async def story(watch: Watch) -> None:
        false = false_points(watch, device)
        await watch.settled(ASKED_W, 5)
        watch.seen.clear()
        false.false[point] = raw
        await watch.asking(ASKED_W, HURT_S)
        assert not fault or (fault, device) in watch.seen
        assert watch.power_w == pytest.approx(safe_w, abs=60)
        false.false.clear()
        await watch.settled(ASKED_W, BACK_S)

    play(tmp_path, story, device)


# --- identity and place


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_that_comes_back_at_another_address_of_its_map_is_found_and_told(tmp_path: Path, device: str) -> None:
    async def story(watch: Watch) -> None:
        moving = false_points(watch, device)
        await watch.settled(ASKED_W, 5)
        plug_in = watch.pulled(device)
        await watch.asking(ASKED_W, HURT_S)
        assert ("link_down", device) in watch.seen
        moving.shift = -BASE
        plug_in()
        await watch.settled(ASKED_W, BACK_S)
        await watch.over(f"{device}_stale", device, BACK_S)
        assert "from 40000 to 0" in watch.faults["map_moved", device]

    play(tmp_path, story, device)


def test_a_map_that_moves_under_the_open_connection_is_found_and_told(tmp_path: Path) -> None:
    async def story(watch: Watch) -> None:
        moving = false_points(watch, "inverter")
        await watch.settled(ASKED_W, 5)
        moving.shift = 10_000
        await watch.asking(ASKED_W, HURT_S)
        assert ("map_moved", "inverter") in watch.seen
        await watch.settled(ASKED_W, BACK_S)

    play(tmp_path, story, "inverter")


@pytest.mark.parametrize("returns", [False, True])
def test_another_inverter_in_place_of_the_first_is_never_commanded(tmp_path: Path, returns: bool) -> None:
    async def story(watch: Watch) -> None:
        other = false_points(watch, "inverter")
        await watch.settled(ASKED_W, 5)
        plug_in = watch.pulled("inverter", "black_hole")
        await watch.asking(ASKED_W, HURT_S)
        other.false["1.SN"] = b"INV-0002"
        plug_in()
        writes = other.writes
        await watch.asking(ASKED_W, BACK_S)
        assert "INV-0002 answers where" in watch.faults["wrong_device", "inverter"]
        assert watch.power_w == pytest.approx(0, abs=60)
        if returns:
            other.false.clear()
            await watch.asking(ASKED_W, BACK_S)
            assert ("wrong_device", "inverter") in watch.faults, "it latches until a person restarts the controller"
            assert watch.power_w == pytest.approx(0, abs=60)
        else:
            assert other.writes == writes, "not even 0 W is written to a stranger"

    play(tmp_path, story, "inverter")


def test_another_meter_in_place_of_the_first_is_not_believed(tmp_path: Path) -> None:
    async def story(watch: Watch) -> None:
        other = false_points(watch, "meter")
        await watch.settled(ASKED_W, 5)
        plug_in = watch.pulled("meter", "black_hole")
        await watch.asking(ASKED_W, HURT_S)
        other.false["1.SN"] = b"MTR-0002"
        plug_in()
        await watch.asking(ASKED_W, BACK_S)
        assert "MTR-0002 answers where" in watch.faults["wrong_device", "meter"]
        assert watch.power_w == pytest.approx(BLIND_W, abs=60)

    play(tmp_path, story, "meter")


# --- slow and lossy


def dropping(share: float) -> Spoil:
    chance = random.Random(11)

    def drops(request: bytes, reply: bytes) -> Reply:
        if chance.random() >= share:
            yield 0, reply

    return drops


def slow(wait_s: float) -> Spoil:
    def slowly(request: bytes, reply: bytes) -> Reply:
        yield wait_s, reply

    return slowly


# how it answers -> how much of the time the set point is delivered; a reading lives for 2 s at this site
PACES: dict[str, tuple[Spoil, int]] = {
    "300 ms": (slow(0.3), 100),
    "900 ms": (slow(0.9), 0),
    "1500 ms, beyond its time-out": (slow(1.5), 0),
    "one in ten never": (dropping(0.1), 50),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pace", PACES)
def test_a_slow_or_lossy_device_delays_neither_the_cycle_nor_the_others(tmp_path: Path, pace: str, device: str) -> None:
    spoil, delivers_pct = PACES[pace]

    async def story(watch: Watch) -> None:
        tap = tapped(watch, device)
        await watch.settled(ASKED_W, 5)
        tap.spoil = spoil
        watch.begin()
        await watch.asking(ASKED_W, 40)
        assert watch.longest_ms("decisions") <= 1000 + 50
        assert watch.longest_ms("keepalives") <= 3000 + 100, "batteries give the controller up after 5 s"
        for other in {"inverter", "meter", "battery"} - {device}:
            assert watch.longest_ms(other) <= 1000 + 200 + 50
            assert not {(fault, where) for fault, where in watch.seen if where == other}
        assert watch.delivered_pct >= delivers_pct
        tap.spoil = proper
        await watch.settled(ASKED_W, BACK_S)

    play(tmp_path, story, device)


def test_a_write_that_never_ends_starves_the_watchdog_and_the_keepalive(tmp_path: Path) -> None:
    """A bug in a link could cause it: then systemd and the devices' own timers have to take over."""

    async def never(command: object) -> None:
        await asyncio.Event().wait()

    async def story(watch: Watch) -> None:
        await watch.settled(ASKED_W, 5)
        beats: list[str] = []
        service = watch.bench.service
        notify = service._notify

        def note(message: str) -> None:
            beats.append(message)
            notify(message)

        service._notify = note
        service.links["inverter"].send = never  # type: ignore[method-assign]
        await watch.asking(ASKED_W, HURT_S + 2)
        assert watch.power_w == pytest.approx(0, abs=60)
        assert beats, "while it may still be a slow device the watchdog is fed"
        beats.clear()
        watch.begin()
        await watch.asking(ASKED_W, 5)
        assert not beats
        assert watch.heard("keepalives") == 0

    play(tmp_path, story)
