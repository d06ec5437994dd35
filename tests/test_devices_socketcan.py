"""The emulated battery on a CAN interface of the kernel, and the choice of that interface.

Where the kernel has no CAN, python-can's own driver runs on a pair of local sockets: the bytes of struct can_frame
(include/uapi/linux/can.h: identifier and flags, length, three pads, eight bytes) are read and written by hand.
"""

import asyncio
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.children import SetupError
from hil.devices import BatteryDevice
from hil.main import main
from hil.stage import DEMO_SITE, battery_url
from hil.vcan import interface
from hil.wire.can import CanWire, Unplug
from tests.bench import Time, serving
from tests.test_devices_can import AT_REST, a_battery_alone

DRIVER = "can.interfaces.socketcan.socketcan"
KEEPALIVE = 0x305
EXTENDED, REMOTE, ERROR = 0x80000000, 0x40000000, 0x20000000


def raw(number: int, data: bytes = b"") -> bytes:
    return struct.pack("=IB3x8s", number, len(data), data)


def raw_line(line: str) -> bytes:
    return raw(int(line[1:4], 16), bytes.fromhex(line[5:]))


class Kernel:
    """A kernel with one interface, vcan0, whose far end is in the test's hands."""

    def __init__(self) -> None:
        self.present = True
        self.far_ends: list[socket.socket] = []

    def index(self, name: str) -> int:
        if not self.present or name != "vcan0":
            raise OSError(19, "No such device")
        return 4

    def create_socket(self) -> socket.socket:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        far.setblocking(False)
        self.far_ends.append(far)
        return near

    def heard(self) -> list[bytes]:
        """Return what was sent since the last call."""
        frames = []
        try:
            while True:
                frame = self.far_ends[-1].recv(72)
                frames.append(frame[:5] + bytes(3) + frame[8:])  # python-can puts the length into the last pad too
        except BlockingIOError:
            return frames

    async def says(self, *frames: bytes) -> None:
        for frame in frames:
            self.far_ends[-1].send(frame)
        for _ in range(3):
            await asyncio.sleep(0)

    async def goes(self) -> None:
        """Let the interface vanish: what the node sent is not fetched, so its next receive fails."""
        self.present = False
        self.far_ends[-1].close()
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    kernel = Kernel()
    monkeypatch.setattr("socket.if_nametoindex", kernel.index)
    monkeypatch.setattr(f"{DRIVER}.create_socket", kernel.create_socket)
    monkeypatch.setattr(f"{DRIVER}.bind_socket", lambda wire, channel: None)
    yield kernel
    for far in kernel.far_ends:
        far.close()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def battery(time: Time) -> BatteryDevice:
    return BatteryDevice(a_battery_alone(), "battery", now_s=time, wire=CanWire(), can="vcan0")


async def test_battery_puts_the_vendors_bytes_on_the_bus_every_second(
    kernel: Kernel, battery: BatteryDevice, time: Time
) -> None:
    async with serving(battery):
        kernel.heard()
        for _ in range(3):
            time.pass_by(1, battery)
            assert kernel.heard() == [raw_line(line) for line in AT_REST]


async def test_keepalive_on_the_bus_closes_the_contactor_and_nothing_like_it_does(
    kernel: Kernel, battery: BatteryDevice, time: Time
) -> None:
    async with serving(battery):
        time.pass_by(66, battery)  # 60 s until it opens, 5 s of rest
        assert not battery.part.closed
        await kernel.says(
            raw(KEEPALIVE | EXTENDED, bytes(8)), raw(KEEPALIVE | REMOTE), raw(KEEPALIVE | ERROR, bytes(8)), raw(0x306)
        )
        time.pass_by(3, battery)
        assert not battery.part.closed
        await kernel.says(*(raw(0x7FF, bytes(8)) for _ in range(100)), raw(KEEPALIVE, bytes(8)))
        time.pass_by(2, battery)
        assert not battery.part.closed
        time.pass_by(0.3, battery)  # 2 s of pre-charge, 0.1 s of closing
        assert battery.part.closed


async def test_pulled_cable_lets_nothing_through_until_it_is_back(
    kernel: Kernel, battery: BatteryDevice, time: Time
) -> None:
    bits: list[None] = []
    pulled = Unplug(lambda: bits.append(None))
    async with serving(battery):
        battery.wire.add(pulled)
        kernel.heard()
        for _ in range(61):
            await kernel.says(raw(KEEPALIVE, bytes(8)))
            time.pass_by(1, battery)
        assert not battery.part.closed and kernel.heard() == []
        assert len(bits) >= 2 * 61
        battery.wire.remove(pulled)
        time.pass_by(1, battery)
        assert len(kernel.heard()) == 6


async def test_battery_that_goes_away_leaves_the_bus(kernel: Kernel, battery: BatteryDevice, time: Time) -> None:
    async with serving(battery):
        kernel.heard()
    time.pass_by(3, battery)
    with pytest.raises(ConnectionRefusedError):
        await kernel.says(raw(KEEPALIVE))
    assert kernel.heard() == [] and len(kernel.far_ends) == 1


async def test_interface_that_goes_and_comes_back_has_its_battery_again(
    kernel: Kernel, battery: BatteryDevice, time: Time
) -> None:
    async with serving(battery):
        await kernel.goes()
        time.pass_by(5, battery)
        assert len(kernel.far_ends) == 1
        kernel.present = True
        time.pass_by(1, battery)
        assert [frame[:2] for frame in kernel.heard()] == [raw_line(line)[:2] for line in AT_REST]
        kernel.far_ends[-1].close()  # an interface that takes nothing more
        time.pass_by(2, battery)
        assert len(kernel.heard()) == 6 and len(kernel.far_ends) == 3


async def test_bench_can_put_any_frame_on_the_bus_and_only_frames(kernel: Kernel, battery: BatteryDevice) -> None:
    async with serving(battery):
        kernel.heard()
        battery.inject(b"t351414022701\rrubbish\rt3518FF\rT18F200001AB\rr3058\rt7FF9" + b"00" * 9 + b"\r")
        assert kernel.heard() == [
            raw(0x351, bytes.fromhex("14022701")),
            raw(0x18F20000 | EXTENDED, b"\xab"),
            struct.pack("=IB3x8x", KEEPALIVE | REMOTE, 8),
        ]


def test_absent_interface_is_named(kernel: Kernel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--free-ports", "--control", "0", "--can", "vcan7"]) == 2
    assert "no CAN interface vcan7" in capsys.readouterr().err


# --- the demo's choice


def add(net: Path, name: str, kind: int, flags: str, *, adapter: bool = False) -> None:
    (net / name).mkdir()
    (net / name / "type").write_text(f"{kind}\n")
    (net / name / "flags").write_text(f"{flags}\n")
    if adapter:
        (net / name / "device").mkdir()


@pytest.fixture
def net(tmp_path: Path) -> Path:
    add(tmp_path, "lo", 772, "0x9")
    add(tmp_path, "can0", 280, "0x81", adapter=True)
    add(tmp_path, "slcan0", 280, "0x81")  # a serial adapter has no device either
    add(tmp_path, "vcan0", 280, "0x80")
    add(tmp_path, "vcan1", 280, "0x81", adapter=True)
    return tmp_path


def test_demo_takes_the_first_virtual_interface_that_is_up_and_never_an_adapter(net: Path) -> None:
    assert interface("auto", net) is None
    add(net, "vcan3", 280, "0x81")
    add(net, "vcan2", 280, "0x81")
    add(net, "vcan20", 1, "0x1")
    assert interface("auto", net) == "vcan2"
    assert interface("off", net) is None
    assert interface("auto", net / "absent") is None


@pytest.mark.parametrize("asked", ["vcan0", "vcan9", "lo", ""])
def test_asked_interface_that_is_no_can_or_not_up_is_told_with_what_helps(net: Path, asked: str) -> None:
    with pytest.raises(SetupError, match="ip link add dev vcan0 type vcan"):
        interface(asked, net)


def test_asked_interface_may_be_an_adapter(net: Path) -> None:
    assert interface("can0", net) == "can0"


def test_demos_site_file_names_the_battery_once_so_that_it_can_be_moved() -> None:
    assert DEMO_SITE.read_text("utf-8").count(f'"{battery_url(None)}"') == 1
    assert battery_url("vcan0") == "socketcan://vcan0"
