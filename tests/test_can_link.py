"""The battery's link: a whole set becomes a reading, a lost cable a named fault, and a flood costs nobody his turn."""

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import can
import pytest

from controller.link import LinkError
from controller.link import can as can_link
from controller.link.can import FLOOD_FRAMES, CanLink, open_bus
from controller.link.clock import Clock
from controller.model import AnyReading, Battery, Command, FaultName
from hil.clock import VirtualLoop, run_virtual
from hil.run.kill import Process
from tests.test_can_codec import DBC, PROFILE, T1

STALE_S = PROFILE.stale_after_ms / 1000


def line(identifier: int, data: str) -> bytes:
    digits = data.replace(" ", "")
    return f"t{identifier:03X}{len(digits) // 2}{digits}\r".encode()


SET = b"".join(line(identifier, data) for identifier, data in T1.items())


class Ears:
    """An inbox that keeps everything with the time it came."""

    def __init__(self) -> None:
        self.readings: list[Battery] = []
        self.faults: dict[FaultName, str] = {}
        self.story: list[tuple[FaultName, str | None]] = []
        self.changed = asyncio.Event()

    def heard(self, reading: AnyReading) -> None:
        assert isinstance(reading, Battery)
        self.readings.append(reading)
        self.changed.set()

    def noticed(self, fault: FaultName, device: str, detail: str | None) -> None:
        assert device == "battery"
        self.story.append((fault, detail))
        if detail is None:
            self.faults.pop(fault, None)
        else:
            self.faults[fault] = detail
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 60)


class Adapter:
    """The battery's end: a TCP server that takes one slcan client at a time."""

    def __init__(self) -> None:
        self.port = 0
        self.opened_s: list[float] = []
        self.said = b""
        self.writer: asyncio.StreamWriter | None = None
        self.server: asyncio.Server | None = None

    async def listen(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened_s.append(asyncio.get_running_loop().time())
        self.writer = writer
        with suppress(ConnectionError):
            while chunk := await reader.read(4096):
                self.said += chunk
        writer.close()

    async def says(self, lines: bytes) -> None:
        assert self.writer is not None
        self.writer.write(lines)
        await asyncio.sleep(0.001)

    async def vanish(self) -> None:
        assert self.server is not None
        self.server.close()
        if self.writer is not None:
            self.writer.transport.abort()
        await asyncio.sleep(0.001)


def site(story: Callable[[Adapter, CanLink, Ears], Awaitable[None]], *, listening: bool = True) -> None:
    """Play a story of adapter, link and inbox on virtual time."""

    async def play() -> None:
        adapter, ears = Adapter(), Ears()
        await adapter.listen()
        if not listening:
            await adapter.vanish()
        url = f"slcan://127.0.0.1:{adapter.port}"
        link = CanLink(url, "battery", PROFILE, DBC, inbox=ears, clock=Clock())
        running = asyncio.create_task(link.run())
        await asyncio.sleep(0.001)
        try:
            await story(adapter, link, ears)
            assert not running.done()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await adapter.vanish()

    run_virtual(play())


def now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)


# --- readings


def test_set_of_frames_becomes_one_reading_with_the_time_of_arrival() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        assert adapter.said == b"C\rS6\rO\r"
        before_ms = now_ms()
        await adapter.says(SET)
        [reading] = ears.readings
        assert (reading.soc_bp, reading.voltage_mv, reading.modules) == (2600, 48_660, 10)
        assert before_ms <= reading.sampled_ms == reading.heard_ms <= now_ms()
        assert ears.story == []

    site(story)


def test_limit_cut_alone_travels_at_once() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        await adapter.says(SET)
        sampled_ms = ears.readings[-1].sampled_ms
        await asyncio.sleep(0.4)
        await adapter.says(line(0x351, "14 02 00 00 F4 01 C2 01"))
        assert (ears.readings[-1].charge_max_ma, ears.readings[-1].discharge_max_ma) == (0, 50_000)
        assert ears.readings[-1].sampled_ms == sampled_ms
        await adapter.says(line(0x356, T1[0x356]))
        assert len(ears.readings) == 2

    site(story)


def test_battery_that_only_tells_its_voltage_gives_no_more_readings() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        await adapter.says(SET)
        for _ in range(10):
            await asyncio.sleep(0.999)
            await adapter.says(line(0x356, T1[0x356]) + line(0x359, T1[0x359]))
        assert max(reading.heard_ms - reading.sampled_ms for reading in ears.readings) <= PROFILE.stale_after_ms
        assert now_ms() - ears.readings[-1].sampled_ms > 9000
        assert len(adapter.opened_s) == 1  # the bus itself is alive

    site(story)


def test_short_frame_and_contradiction_are_told_and_taken_back() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        await adapter.says(SET + line(0x351, "14 02") + line(0x355, "FF 00 64 00") + b"t35x\r")
        assert "0x351 has 2 bytes" in ears.faults["bad_frame"]
        assert "SoC 255 %" in ears.faults["battery_implausible"]
        assert ears.readings[-1].soc_bp is None
        await asyncio.sleep(2.1)
        await adapter.says(SET)
        assert ears.faults == {}
        assert ears.readings[-1].soc_bp == 2600
        await adapter.says(b"t35x\r")
        assert "2 lines of the adapter were no frames" in ears.faults["bad_frame"]

    site(story)


def test_remote_extended_and_foreign_frames_are_not_the_battery() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        await adapter.says(SET)
        await adapter.says(b"r3518\rT0000035180000000000000000\rt7FF0\rT18F2000080000000000000000\r")
        assert len(ears.readings) == 1 and ears.faults == {}

    site(story)


# --- the keepalive, and nothing else, leaves


KEPT = b"t30580000000000000000\r"


def test_keepalive_leaves_only_on_tick_and_about_once_a_second() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        adapter.said = b""
        for _ in range(5):
            await adapter.says(SET)
            await asyncio.sleep(1)
        assert adapter.said == b""  # a controller that does not finish its cycles does not say that it is alive
        for _ in range(35):
            link.tick()
            await adapter.says(SET)
            await asyncio.sleep(0.099)
        assert adapter.said == KEPT * 5

    site(story)


def test_cycle_that_ends_a_little_early_still_sends_its_keepalive() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        adapter.said = b""
        for cycle_s in (1.08, 0.92, 1.0, 0.999, 0.85, 1.15):
            link.tick()
            await adapter.says(SET)
            await asyncio.sleep(cycle_s - 0.001)
        assert adapter.said == KEPT * 6

    site(story)


def test_tick_without_a_bus_or_a_keepalive_sends_nothing() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        link.tick()
        assert "link_down" in ears.faults

    site(story, listening=False)


def test_battery_is_never_commanded() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        adapter.said = b""
        with pytest.raises(LinkError, match="not commanded"):
            await link.send(Command(device="battery", power_w=1000, running=True, valid_ms=1000))
        await asyncio.sleep(1)
        assert adapter.said == b""

    site(story)


# --- lost and found


def test_first_connect_is_tried_again_with_growing_pauses() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        begun_s = asyncio.get_running_loop().time()
        assert "Connect" in ears.faults["link_down"] or "refused" in ears.faults["link_down"]
        await asyncio.sleep(2.2)  # tried at 0, 0.5, 1.5 s
        await adapter.listen()
        await asyncio.sleep(1.8)  # and at 3.5 s
        assert [round(opened_s - begun_s, 1) for opened_s in adapter.opened_s] == [3.5]
        assert "link_down" in ears.faults  # until the battery is heard
        await adapter.says(SET)
        assert ears.faults == {}

    site(story, listening=False)


def test_battery_end_that_vanishes_is_named_and_found_again() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        for count in range(1, 5):
            await adapter.says(SET)
            assert ears.faults == {} and len(ears.readings) == count
            await adapter.vanish()
            assert f"slcan://127.0.0.1:{adapter.port}: " in ears.faults["link_down"]
            await adapter.listen()
            await asyncio.sleep(0.6)  # a battery that was heard is tried again after the shortest pause
            assert adapter.said.endswith(b"C\rS6\rO\r")

    site(story)


def test_silently_dead_bus_is_opened_anew_and_soon() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        await adapter.says(SET)
        await asyncio.sleep(STALE_S + 0.01)
        assert "no frame for 3500 ms" in ears.faults["link_down"]
        assert adapter.said.endswith(b"C\r")
        await asyncio.sleep(60)
        pauses_s = [later - earlier for earlier, later in zip(adapter.opened_s, adapter.opened_s[1:], strict=False)]
        assert len(pauses_s) > 10 and all(pause_s < STALE_S + 0.6 for pause_s in pauses_s)

    site(story)


def test_cancelled_link_closes_the_channel_and_the_connection() -> None:
    async def play() -> None:
        adapter, ears = Adapter(), Ears()
        await adapter.listen()
        link = CanLink(f"slcan://127.0.0.1:{adapter.port}", "battery", PROFILE, DBC, inbox=ears, clock=Clock())
        running = asyncio.create_task(link.run())
        await asyncio.sleep(0.001)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await asyncio.sleep(0.001)
        assert adapter.said == b"C\rS6\rO\rC\r"
        link.tick()
        assert ears.story == []
        await adapter.vanish()

    run_virtual(play())


class Socketcan(can.BusABC):
    """A kernel CAN socket as far as the link sees it: each byte in the socket pair stands for one outcome of recv."""

    def __init__(self, *outcomes: can.Message | Exception) -> None:
        self.ours, self.kernel = socket.socketpair()
        self.outcomes = list(outcomes)
        self.refusal: Exception | None = None
        self.kernel.sendall(bytes(len(outcomes)))
        super().__init__(channel="can0")

    def fileno(self) -> int:
        return self.ours.fileno()

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        if self.refusal is not None:
            raise self.refusal

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        if not self.outcomes:
            return None, False
        self.ours.recv(1)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome, False

    def shutdown(self) -> None:
        super().shutdown()
        self.ours.close()
        self.kernel.close()


def kernel_site(monkeypatch: pytest.MonkeyPatch, *outcomes: can.Message | Exception, refusal: Exception | None) -> Ears:
    """Let the link live for two seconds on a kernel bus with these outcomes, then on silent ones."""
    buses: list[Socketcan] = []

    async def opened(url: str, *, timeout_ms: int) -> can.BusABC:
        buses.append(Socketcan(*(outcomes if not buses else ())))
        buses[-1].refusal = refusal
        return buses[-1]

    async def play() -> Ears:
        ears = Ears()
        link = CanLink("socketcan://can0", "battery", PROFILE, DBC, inbox=ears, clock=Clock())
        running = asyncio.create_task(link.run())
        await asyncio.sleep(0.001)
        link.tick()
        await asyncio.sleep(2)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return ears

    monkeypatch.setattr(can_link, "open_bus", opened)
    ears = run_virtual(play())
    assert len(buses) == (2 if "link_down" in dict(ears.story) else 1)
    return ears


def error_frame(classes: int) -> can.Message:
    return can.Message(arbitration_id=classes, is_error_frame=True, data=bytes(8))


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (can.CanOperationError("Network is down", errno.ENETDOWN), "Network is down"),
        (can.CanOperationError("No such device", errno.ENODEV), "No such device"),
        (OSError(errno.EBADF, "Bad file descriptor"), "Bad file descriptor"),
        (error_frame(0x40), "bus-off"),
    ],
)
def test_kernel_bus_that_fails_is_named_closed_and_opened_anew(
    monkeypatch: pytest.MonkeyPatch, outcome: can.Message | Exception, text: str
) -> None:
    ears = kernel_site(monkeypatch, outcome, refusal=None)
    assert text in ears.faults["link_down"]


def test_error_frame_that_is_no_bus_off_is_only_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ears = kernel_site(monkeypatch, error_frame(0x20), refusal=None)
    assert {fault for fault, _ in ears.story} == {"bad_frame"}
    assert ears.story[0] == ("bad_frame", "bus errors of class 0x020")


def test_keepalive_that_cannot_leave_means_the_bus_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    ears = kernel_site(monkeypatch, refusal=can.CanOperationError("Transmit buffer full"))
    assert "keepalive not sent: Transmit buffer full" in ears.faults["link_down"]


# --- a controller that stood still

CUT = "14 02 00 00 00 00 C2 01"  # 0x351 with no charge and no discharge permitted


def after_a_stall(stall_s: float, waiting: bytes, *, flood: bool = False) -> tuple[list[Battery], Ears]:
    """Let the link stand still while frames wait for it. Return the readings of the second after it, and the ears."""

    async def play() -> tuple[list[Battery], Ears]:
        loop, adapter, ears = asyncio.get_running_loop(), Adapter(), Ears()
        assert isinstance(loop, VirtualLoop)
        await adapter.listen()
        link = CanLink(f"slcan://127.0.0.1:{adapter.port}", "battery", PROFILE, DBC, inbox=ears, clock=Clock())
        process = Process(loop)
        process.start(link.run(), "link")
        await asyncio.sleep(0.001)
        await adapter.says(SET)
        for _ in range(2 * FLOOD_FRAMES * flood):
            await adapter.says(line(0x351, T1[0x351]))
        process.stall(stall_s)
        await adapter.says(waiting)
        told = len(ears.readings)
        await asyncio.sleep(stall_s + 0.9)
        after = ears.readings[told:]
        await adapter.says(SET)
        assert ears.readings[-1].heard_ms >= now_ms() - 1, "what comes later is believed"
        assert ears.readings[-1].charge_max_ma == 370_000
        await process.leave()
        await adapter.vanish()
        return after, ears

    return run_virtual(play())


def test_frames_that_waited_while_the_controller_stood_still_make_no_reading() -> None:
    for stall_s in (2.0, 30.0):
        after, ears = after_a_stall(stall_s, line(0x351, CUT) + 100 * SET)
        assert after == []
        assert "link_down" not in dict(ears.story), "the bus is not dead"


def test_frames_that_waited_for_a_moment_are_believed() -> None:
    after, _ears = after_a_stall(0.9, SET + line(0x351, CUT))
    assert after[-1].charge_max_ma == 0


def test_a_frame_that_a_flood_held_back_is_not_fresh_after_a_stall() -> None:
    after, ears = after_a_stall(2.0, b"", flood=True)
    assert "frame_flood" in dict(ears.story)
    assert after == []


# --- floods


def test_flooding_identifier_is_throttled_named_and_its_newest_frame_kept() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        await adapter.says(SET)
        for count in range(1, 1001):  # 1000 frames/s for a second, the last one says 100.0 A
            await adapter.says(line(0x351, f"14 02 {count.to_bytes(2, 'little').hex()} 00 00 C2 01"))
        assert "more than 50 frames/s of 0x351" in ears.faults["frame_flood"]
        assert len(ears.readings) <= 2 * FLOOD_FRAMES + 1
        await asyncio.sleep(1)  # the flood is over and nothing else is heard
        assert ears.readings[-1].charge_max_ma == 100_000
        for _ in range(3):
            await asyncio.sleep(1)
            await adapter.says(SET)
        assert ears.faults == {} and ears.readings[-1].charge_max_ma == 370_000

    site(story)


def test_babbling_node_does_not_silence_the_battery() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        for second in range(1, 4):
            await adapter.says(line(0x001, "00 11 22 33 44 55 66 77") * 4000 + SET)
            await ears.until(lambda second=second: len(ears.readings) == second)  # type: ignore[misc]
            await asyncio.sleep(1)
        assert "0x001" in ears.faults["frame_flood"] and list(ears.faults) == ["frame_flood"]
        assert [reading.soc_bp for reading in ears.readings] == [2600] * 3

    site(story)


def test_burst_of_tiny_frames_in_one_read_holds_nothing_back() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        burst = b"".join(b"t%03X0\r" % number for number in range(600))
        assert len(burst + SET) < 4096
        await adapter.says(burst + SET)
        assert len(ears.readings) > 0 and ears.faults == {}

    site(story)


def test_fifty_frames_of_one_identifier_in_a_second_are_no_flood() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        await adapter.says(SET)
        await asyncio.sleep(1)
        await adapter.says(SET * FLOOD_FRAMES)
        assert ears.faults == {}
        await adapter.says(SET)
        assert "frame_flood" in ears.faults

    site(story)


def test_flood_of_ever_new_identifiers_is_bounded_and_the_battery_is_still_read() -> None:
    async def story(adapter: Adapter, link: CanLink, ears: Ears) -> None:
        await adapter.says(b"".join(b"T%08X0\r" % number for number in range(6000)) + SET)
        await asyncio.sleep(1.1)
        assert "frame_flood" in ears.faults
        assert ears.readings[-1].soc_bp == 2600

    site(story)


# --- addresses


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("can://127.0.0.1:1", "must begin with slcan:// or socketcan://"),
        ("slcan://127.0.0.1", "port is missing"),
        ("slcan://127.0.0.1:1", r"\A\S+: Connection refused\Z"),
        ("slcan://127.0.0.1:99999", "99999|0-65535"),
        ("slcan://127.0.0.1:8505?bitrate=123", "500000.* are known"),
        ("slcan://127.0.0.1:8505?speed=1", "are known"),
        ("slcan:///dev/ttyNOSUCH", "No such file or directory"),
        ("slcan:///dev/null", "configure port"),
        ("socketcan://nosuch0", "no CAN|no interface nosuch0"),
    ],
)
async def test_address_that_cannot_be_opened_is_told_with_the_reason(url: str, text: str) -> None:
    with pytest.raises(LinkError, match=text) as refusal:
        await open_bus(url)
    assert str(refusal.value).startswith(f"{url}: ")


async def test_peer_that_does_not_take_the_connection_is_given_up_in_time() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = []
        for _ in range(4):  # the kernel takes one or two more than asked for
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(("127.0.0.1", port))
        with pytest.raises(LinkError, match="no answer within 20 ms"):
            await open_bus(f"slcan://127.0.0.1:{port}", timeout_ms=20)
        for other in waiting:
            other.close()


async def test_battery_on_a_serial_adapter_is_read() -> None:
    adapter, device = os.openpty()
    ears = Ears()
    url = f"slcan://{os.ttyname(device)}?bitrate=500000&baud=921600"
    link = CanLink(url, "battery", PROFILE, DBC, inbox=ears, clock=Clock())
    running = asyncio.create_task(link.run())
    loop = asyncio.get_running_loop()
    opened = asyncio.Event()
    loop.add_reader(adapter, opened.set)
    await asyncio.wait_for(opened.wait(), 10)
    loop.remove_reader(adapter)
    os.write(adapter, b"\r\r\r" + SET)
    await ears.until(lambda: bool(ears.readings) and ears.readings[-1].modules == 10)
    assert ears.readings[-1].soc_bp == 2600
    with pytest.raises(LinkError, match="lock"):  # two programs on one adapter would steal each other's frames
        await open_bus(url)
    os.close(device)
    os.close(adapter)
    await ears.until(lambda: "link_down" in ears.faults)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
