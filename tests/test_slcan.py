"""Our slcan against the kernel driver's recorded lines, python-can's own slcan bus, and any bytes at all."""

import os
import select
import socket
from collections.abc import Iterator
from contextlib import closing

import can
import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from controller.link.slcan import SlcanBus, encode, parse


class Wire:
    """Our bus on one end of a socket pair, an adapter's end in the test's hands."""

    def __init__(self) -> None:
        ours, self.adapter = socket.socketpair()
        for end in (ours, self.adapter):
            end.setblocking(False)
        self.bus = SlcanBus(ours)
        self.opening = self.adapter.recv(4096)

    def says(self, *chunks: bytes) -> list[str]:
        """Let the adapter say it in these pieces and return the frames taken, as identifier#data."""
        frames = []
        for chunk in chunks:
            self.adapter.sendall(chunk)
            while (message := self.bus.recv(timeout=0)) or select.select([self.bus], [], [], 0)[0]:
                if message:
                    frames.append(f"{message.arbitration_id:03X}#{message.data.hex().upper()}")
        return frames

    def close(self) -> None:
        self.bus.shutdown()
        self.adapter.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with closing(Wire()) as wire:
        yield wire


SOC_LINE = b"t35581A00640000000000\r"  # written to an adapter's end of slcand, seen as 0x355 on its slcan0
KEEPALIVE_LINE = b"t30580000000000000000\r"  # what that adapter saw of a 0x305 with eight zero bytes


def test_channel_is_opened_as_the_kernel_tool_opens_it_and_closed() -> None:
    wire = Wire()
    assert wire.opening == b"C\rS6\rO\r"
    wire.bus.shutdown()
    assert wire.adapter.recv(100) == b"C\r"
    assert wire.adapter.recv(100) == b""
    wire.adapter.close()


def test_line_the_kernel_driver_takes_is_the_same_frame_here(wire: Wire) -> None:
    assert wire.says(SOC_LINE) == ["355#1A00640000000000"]


def test_keepalive_is_the_line_the_kernel_driver_writes(wire: Wire) -> None:
    wire.bus.send(can.Message(arbitration_id=0x305, is_extended_id=False, data=bytes(8)))
    assert wire.adapter.recv(100) == KEEPALIVE_LINE


def test_frames_cut_anywhere_are_put_together(wire: Wire) -> None:
    for cut in range(1, len(SOC_LINE)):
        assert wire.says(SOC_LINE[:cut], SOC_LINE[cut:]) == ["355#1A00640000000000"]
    assert wire.says(*(bytes([byte]) for byte in SOC_LINE * 3)) == ["355#1A00640000000000"] * 3


def test_adapters_replies_and_stamps_are_no_frames_and_no_errors(wire: Wire) -> None:
    chunk = b"\r\rz\rZ\rV1013\rNA123\rF00\r\a" + SOC_LINE[:-1] + b"3A5C\r\a\r"
    assert wire.says(chunk) == ["355#1A00640000000000"]
    assert wire.bus.malformed == 0


@pytest.mark.parametrize(
    "line",
    [
        b"t3558",
        b"t35581A006400000000",
        b"t35581A0064000000000000",
        b"t35591A0064000000000000",
        b"t35581A0064000000 000",
        b"t 5581A00640000000000",
        b"t-5581A00640000000000",
        b"t8550",
        b"T200003550",
        b"t3x50",
        b"t",
        b"T",
        b"d35581A00640000000000",
        b"hello",
        b"\xff\xfe\x00",
        b"t355\x00",
        b"u" * 5000,
        b"t35581A0064" * 1000,
    ],
)
def test_malformed_line_is_counted_and_the_next_frame_taken(wire: Wire, line: bytes) -> None:
    assert wire.says(line + b"\r" + SOC_LINE) == ["355#1A00640000000000"]
    assert wire.bus.malformed == 1
    assert wire.says(line, b"\r" + SOC_LINE) == ["355#1A00640000000000"]
    assert wire.bus.malformed == 2


def test_bell_in_a_line_ends_it(wire: Wire) -> None:
    assert wire.says(b"t3558\a" + SOC_LINE) == ["355#1A00640000000000"]
    assert wire.bus.malformed == 1


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_after_any_bytes_the_next_line_is_taken(chunks: list[bytes]) -> None:
    with closing(Wire()) as wire:
        assert wire.says(*chunks, b"\r" + SOC_LINE)[-1] == "355#1A00640000000000"


HEX = b"0123456789abcdefABCDEF"


@given(st.sampled_from(b"tTrR"), st.binary(max_size=30) | st.lists(st.sampled_from(HEX), max_size=30).map(bytes))
def test_line_is_a_frame_that_encodes_back_or_a_value_error(kind: int, rest: bytes) -> None:
    line = bytes([kind]) + rest
    try:
        message = parse(line)
    except ValueError:
        return
    assert line.upper().startswith(encode(message)[:-1].upper())
    assert len(line) - len(encode(message)[:-1]) in (0, 4)


messages = st.one_of(
    st.builds(
        can.Message,
        arbitration_id=st.integers(0, 0x7FF),
        is_extended_id=st.just(False),
        data=st.binary(max_size=8),
    ),
    st.builds(can.Message, arbitration_id=st.integers(0, 0x1FFFFFFF), data=st.binary(max_size=8)),
    st.builds(
        can.Message, arbitration_id=st.integers(0, 0x7FF), is_extended_id=st.just(False), is_remote_frame=st.just(True)
    ),
    st.builds(can.Message, arbitration_id=st.integers(0, 0x1FFFFFFF), is_remote_frame=st.just(True)),
)


@given(messages)
def test_every_classic_frame_survives_encode_and_parse(message: can.Message) -> None:
    assert parse(encode(message)[:-1]).equals(message, timestamp_delta=None)


def test_lost_peer_is_told_and_closing_afterwards_is_quiet(wire: Wire) -> None:
    wire.adapter.sendall(SOC_LINE)
    wire.adapter.close()
    assert wire.bus.recv(timeout=0) is not None
    with pytest.raises(ConnectionResetError, match="closed the connection"):
        wire.bus.recv(timeout=0)


def test_wire_that_takes_nothing_is_told_and_never_blocks(wire: Wire) -> None:
    keepalive = can.Message(arbitration_id=0x305, is_extended_id=False, data=bytes(8))
    with pytest.raises(can.CanOperationError, match="takes no more bytes"):
        for _ in range(100_000):
            wire.bus.send(keepalive)
    taken = b""
    with pytest.raises(BlockingIOError):
        while True:
            taken += wire.adapter.recv(65536)
    assert taken.startswith(KEEPALIVE_LINE * 100)


# --- a pseudo-terminal, and python-can's slcan as the third party


@pytest.fixture
def tty() -> Iterator[tuple[int, str]]:
    """An adapter's end (file descriptor) and the device that a program opens."""
    adapter, device = os.openpty()
    path = os.ttyname(device)
    yield adapter, path
    for descriptor in (adapter, device):
        try:
            os.close(descriptor)
        except OSError:
            assert descriptor in (adapter, device)


def next_frame(bus: can.BusABC) -> can.Message:
    """Return the next frame; the kernel hands bytes through a pseudo-terminal in its own time."""
    while (message := bus.recv(timeout=0)) is None:
        assert select.select([bus], [], [], 10)[0]
    return message


def read_until(descriptor: int, ending: bytes) -> bytes:
    chunk = b""
    while not chunk.endswith(ending):
        assert select.select([descriptor], [], [], 10)[0]
        chunk += os.read(descriptor, 100)
    return chunk


def test_frames_pass_a_tty_through_pyserial(tty: tuple[int, str]) -> None:
    adapter, path = tty
    bus = SlcanBus(serial.Serial(path, 115_200, timeout=0, exclusive=True), bitrate=250_000)
    assert read_until(adapter, b"O\r") == b"C\rS5\rO\r"
    assert bus.recv(timeout=0) is None
    os.write(adapter, SOC_LINE * 100)
    assert [next_frame(bus).arbitration_id for _ in range(100)] == [0x355] * 100
    bus.send(can.Message(arbitration_id=0x305, is_extended_id=False, data=bytes(8)))
    assert read_until(adapter, KEEPALIVE_LINE) == KEEPALIVE_LINE
    bus.shutdown()
    assert read_until(adapter, b"C\r") == b"C\r"


def test_unplugged_adapter_is_told() -> None:
    adapter, device = os.openpty()
    bus = SlcanBus(serial.Serial(os.ttyname(device), 115_200, timeout=0, exclusive=True))
    os.close(device)
    os.close(adapter)
    with pytest.raises(OSError):
        next_frame(bus)
    bus.shutdown()


def test_python_can_reads_our_lines_and_we_read_its(tty: tuple[int, str], wire: Wire) -> None:
    adapter, path = tty
    third_party = can.Bus(
        interface="slcan", channel=path, sleep_after_open=0, timeout=0, bitrate=500_000, ignore_config=True
    )
    assert read_until(adapter, b"O\rO\r").startswith(b"C\rS6\r")
    frames = [
        can.Message(arbitration_id=0x355, is_extended_id=False, data=bytes.fromhex("1A00640000000000")),
        can.Message(arbitration_id=0x1872F00D, data=b"\x01\x02\x03"),
        can.Message(arbitration_id=0x35C, is_extended_id=False, data=b"\xc0"),
        can.Message(arbitration_id=0x7FF, is_extended_id=False, data=b""),
        can.Message(arbitration_id=0x4200, is_remote_frame=True, dlc=8),
    ]
    for frame in frames:
        wire.bus.send(frame)
        os.write(adapter, wire.adapter.recv(100))
        assert next_frame(third_party).equals(frame, timestamp_delta=None)
        third_party.send(frame, timeout=1)
        wire.adapter.sendall(read_until(adapter, b"\r"))
        assert next_frame(wire.bus).equals(frame, timestamp_delta=None)
    third_party.shutdown()
