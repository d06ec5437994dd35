"""What a battery on CAN may do to the site: a named fault, a safe plant, a journal that replays."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from hil.devices import BatteryDevice
from hil.wire.can import CanToxic, Frames
from tests.sites import ASKED_W, Watch, play

HURT_S = 12
BACK_S = 30


class Spoilt(CanToxic):
    """Changes the battery's frames on their way to the bus."""

    def __init__(self) -> None:
        self.rounds = 0
        self.spoil: Callable[[int, bytes], bytes | None] = lambda number, data: data

    def out(self, frames: Frames, t_s: float) -> Frames:
        self.rounds += 1
        changed = [(number, self.spoil(number, data)) for number, data in frames]
        return tuple((number, data) for number, data in changed if data is not None)


def spoilt(watch: Watch) -> Spoilt:
    """Put it on the battery's wire."""
    battery = Spoilt()
    watch.bench.can_wires["battery"].add(battery)
    return battery


def babbling(watch: Watch) -> BatteryDevice:
    """Return the battery through which others speak on its bus."""
    battery = watch.bench.devices["battery"]
    assert isinstance(battery, BatteryDevice)
    return battery


def only(wanted: int, change: Callable[[bytes], bytes | None]) -> Callable[[int, bytes], bytes | None]:
    """Change the frames of one identifier."""
    return lambda number, data: change(data) if number == wanted else data


def words(at: int, new: bytes) -> Callable[[bytes], bytes]:
    """Put other bytes into a frame."""
    return lambda data: data[:at] + new + data[at + len(new) :]


# what is done to the frames -> the fault that must be named, what the inverter must truly do
FRAMES: dict[str, tuple[Callable[[int, bytes], bytes | None], str, int]] = {
    "limits cut to 3 bytes": (only(0x351, lambda data: data[:3]), "bad_frame", 0),
    "state of charge without a byte": (only(0x355, lambda data: b""), "bad_frame", 0),
    "alarms cut to 2 bytes": (only(0x359, lambda data: data[:2]), "bad_frame", 0),
    "all cut": (lambda number, data: data[:1], "bad_frame", 0),
    "limits lost": (only(0x351, lambda data: None), "battery_stale", 0),
    "state of charge lost": (only(0x355, lambda data: None), "battery_stale", 0),
    "voltage lost": (only(0x356, lambda data: None), "battery_stale", 0),
    "alarms lost": (only(0x359, lambda data: None), "battery_alarm", 0),
    "permissions lost": (only(0x35C, lambda data: None), "", 0),
    "all but the name lost": (lambda number, data: data if number == 0x35E else None, "battery_stale", 0),
    "charge 140 %": (only(0x355, words(0, b"\x8c\x00\x64\x00\xb0\x36")), "battery_implausible", 0),
    "charge not told": (only(0x355, words(0, b"\xff\xff\x64\x00\xff\xff")), "soc_unknown", 0),
    "fine charge apart": (only(0x355, words(4, b"\xd0\x07")), "contradiction", 0),
    "voltage not told": (only(0x356, words(0, b"\x00\x80")), "", 0),
    "voltage in another scale": (only(0x356, words(0, b"\x08\x02")), "", 0),
    "voltage 300 V": (only(0x356, words(0, b"\x30\x75")), "battery_implausible", 0),
    "limits not told": (only(0x351, words(2, b"\x00\x80\x00\x80")), "", 0),
    "limits zero": (only(0x351, words(2, bytes(4))), "", 0),
    "alarm": (only(0x359, words(0, b"\x02")), "battery_alarm", 0),
    "discharge forbidden": (only(0x35C, words(0, b"\x80")), "", 0),
}


@pytest.mark.parametrize("what", FRAMES)
def test_a_bad_frame_is_named_and_the_site_is_safe_and_heals(tmp_path: Path, what: str) -> None:
    spoil, fault, safe_w = FRAMES[what]

    async def story(watch: Watch) -> None:
        battery = spoilt(watch)
        await watch.settled(ASKED_W, 5)
        watch.seen.clear()
        battery.spoil = spoil
        await watch.asking(ASKED_W, HURT_S)
        decision = watch.bench.service.decision
        assert decision is not None
        assert decision.why in ("fault_stop(house)", "bms_current(house)", "not_running(house)")
        assert {name for name, where in watch.seen if where == "battery"} >= ({fault} if fault else set())
        assert watch.power_w == pytest.approx(safe_w, abs=60)
        battery.spoil = lambda number, data: data
        await watch.settled(ASKED_W, BACK_S)

    play(tmp_path, story)


def test_two_batteries_with_one_address_are_not_believed(tmp_path: Path) -> None:
    async def story(watch: Watch) -> None:
        battery = spoilt(watch)
        await watch.settled(ASKED_W, 5)
        battery.spoil = only(
            0x355, lambda data: data if battery.rounds % 2 else words(0, b"\x14\x00\x64\x00\xd0\x07")(data)
        )
        await watch.asking(ASKED_W, HURT_S)
        assert ("contradiction", "battery") in watch.seen
        assert watch.power_w == pytest.approx(0, abs=60)
        battery.spoil = lambda number, data: data
        await watch.settled(ASKED_W, BACK_S)

    play(tmp_path, story)


def floods(chance: random.Random) -> dict[str, bytes]:
    """Return what a babbling node says every 50 ms."""
    return {
        "the battery's own voltage": b"t3566" + b"501400000000" + b"\r",
        "a stranger": b"t1238" + b"00" * 8 + b"\r",
        "ever new strangers": b"".join(b"T%08X0\r" % chance.randrange(1 << 29) for _ in range(100)),
        "noise": b"".join(chance.randbytes(20).replace(b"\r", b"") + b"\r" for _ in range(100)),
        "no line ends": b"t356" * 200,
    }


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("the battery's own voltage", "frame_flood"),
        ("a stranger", "frame_flood"),
        ("ever new strangers", ""),
        ("noise", "bad_frame"),
        ("no line ends", "bad_frame"),
    ],
)
def test_a_babbling_node_is_named_and_the_site_goes_on(tmp_path: Path, what: str, fault: str) -> None:
    said = floods(random.Random(5))[what] * (20 if what in ("the battery's own voltage", "a stranger") else 1)

    async def story(watch: Watch) -> None:
        battery = babbling(watch)
        await watch.settled(ASKED_W, 5)
        watch.begin()
        for _ in range(HURT_S):
            assert await watch.ask(ASKED_W)
            for _ in range(20):
                battery.inject(said)
                await asyncio.sleep(0.05)
        assert not fault or (fault, "battery") in watch.seen
        assert watch.longest_ms("decisions") <= 1000 + 50
        if what != "no line ends":
            assert watch.power_w == pytest.approx(ASKED_W, abs=60)
        await watch.settled(ASKED_W, BACK_S)

    play(tmp_path, story)


def test_a_flood_of_moving_limits_does_not_flood_the_site_with_decisions(tmp_path: Path) -> None:
    """Limits wake the site at once; a battery that changes them 400 times a second must not own the loop."""

    async def story(watch: Watch) -> None:
        battery = babbling(watch)
        await watch.settled(ASKED_W, 5)
        decisions = watch.bench.service.decisions
        for turn in range(HURT_S * 20):
            if turn % 20 == 0:
                assert await watch.ask(ASKED_W)
            for number in range(20):
                battery.inject(b"t3518" + b"3002%02X08%02X08C201" % (turn % 200, number) + b"\r")
                await asyncio.sleep(0.0025)
        assert watch.bench.service.decisions - decisions < HURT_S * 60
        assert ("frame_flood", "battery") in watch.seen
        await watch.settled(ASKED_W, BACK_S)

    play(tmp_path, story)
