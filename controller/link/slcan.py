"""CAN over a serial line or a TCP stream, in the ASCII of the Lawicel CAN232 adapters ("slcan").

One line per frame, ended by a carriage return: tIIILDD.. (11-bit), TIIIIIIIILDD.. (29-bit), r and R the same for
remote frames, each with four more digits where the adapter stamps its frames. The adapter acknowledges with an empty
line, z or Z, and refuses with a bell. Source: Lawicel AB, CAN232 manual V3; the kernel's slcan driver speaks the same.

The bus of python-can reads such a line byte by byte, dies of one malformed line and sleeps when it opens; this one
takes all that waits in one call, counts what is malformed, and never blocks.
"""

import binascii
import contextlib
import os
import socket
from collections import deque

import can
import serial

BITRATES = {10_000: 0, 20_000: 1, 50_000: 2, 100_000: 3, 125_000: 4, 250_000: 5, 500_000: 6, 800_000: 7, 1_000_000: 8}

_KINDS = {ord("t"): (False, False), ord("T"): (True, False), ord("r"): (False, True), ord("R"): (True, True)}
_REPLIES = frozenset(b"zZVvNF")  # acknowledgements, version, serial number, status flags
_READ_BYTES = 4096  # at once; also bounds how many lines can wait
_LINE_BYTES = 64  # the longest line has 31
_UNSENT_BYTES = 1024  # more than this not taken by the wire means that it takes nothing


def parse(line: bytes) -> can.Message:
    """Return the frame of one line without its carriage return. Raises ValueError when it is not a frame."""
    kind = _KINDS.get(line[0]) if line else None
    if kind is None:
        raise ValueError("not a frame")
    extended, remote = kind
    # Identifier and length are 4 or 9 digits; with a zero before the 9 both are whole bytes.
    digits = binascii.unhexlify(b"0" + line[1:] if extended else line[1:])
    split = 5 if extended else 2
    head = int.from_bytes(digits[:split])
    identifier, length = head >> 4, head & 15
    size = 0 if remote else length
    if length > 8 or len(digits) - split not in (size, size + 2) or identifier > (0x1FFFFFFF if extended else 0x7FF):
        raise ValueError("not a frame")
    return can.Message(
        arbitration_id=identifier,
        is_extended_id=extended,
        is_remote_frame=remote,
        dlc=length,
        data=digits[split : split + size],
    )


def encode(message: can.Message) -> bytes:
    """Return the line of one classic CAN frame, carriage return included."""
    if message.is_extended_id:
        head = f"{'R' if message.is_remote_frame else 'T'}{message.arbitration_id:08X}{message.dlc}"
    else:
        head = f"{'r' if message.is_remote_frame else 't'}{message.arbitration_id:03X}{message.dlc}"
    data = "" if message.is_remote_frame else bytes(message.data).hex().upper()
    return f"{head}{data}\r".encode()


class SlcanBus(can.BusABC):
    """A CAN bus behind a connected, non-blocking socket or an open serial port with timeout 0; it owns the wire.

    recv(0) reads the wire at most once, so that garbage cannot hold the caller: it returns the next frame, or None when
    what was read held none. Frames carry no timestamp, for the link stamps them by its own clock. recv and send raise
    OSError when the wire is gone, can.CanOperationError when it is stuck. Not in it: CAN FD, adapters' error reports.
    """

    def __init__(self, wire: socket.socket | serial.Serial, *, bitrate: int = 500_000) -> None:
        self.malformed = 0  # lines thrown away
        self._wire = wire
        self._lines: deque[bytes] = deque()
        self._tail = b""  # a line of which the end has not come yet
        self._resync = False  # throw away everything up to the next carriage return
        self._unsent = b""
        self.channel_info = f"slcan at {bitrate} bit/s"
        try:
            self._write(b"C\rS%d\rO\r" % BITRATES[bitrate])
        except OSError:
            wire.close()
            raise
        super().__init__(channel=self.channel_info)

    def fileno(self) -> int:
        """Return the wire's file descriptor."""
        return self._wire.fileno()

    @property
    def waiting(self) -> bool:
        """Whether frames may wait that the wire's file descriptor no longer tells of."""
        return bool(self._lines)

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        """Write a frame; what the wire does not take at once goes with the next call."""
        self._write(encode(msg))

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        if not self._lines:
            self._split(self._read())
        while self._lines:
            line = self._lines.popleft()
            try:
                return parse(line), False
            except ValueError:
                if line and line[0] not in _REPLIES:
                    self.malformed += 1
        return None, False

    def _split(self, chunk: bytes) -> None:
        """Cut what came into lines. A bell ends a line too: whatever it interrupts is malformed."""
        if not chunk:
            return
        *lines, tail = (self._tail + chunk).replace(b"\a", b"\r").split(b"\r")
        if self._resync and lines:
            lines[0] = b""
            self._resync = False
        if self._resync or len(tail) > _LINE_BYTES:
            self.malformed += not self._resync
            self._resync = True
            tail = b""
        self._tail = tail
        self._lines.extend(lines)

    def _read(self) -> bytes:
        if isinstance(self._wire, serial.Serial):
            return self._wire.read(_READ_BYTES)
        try:
            chunk = self._wire.recv(_READ_BYTES)
        except BlockingIOError:
            return b""
        if not chunk:
            raise ConnectionResetError("the other end closed the connection")
        return chunk

    def _write(self, line: bytes) -> None:
        if len(self._unsent) > _UNSENT_BYTES:
            raise can.CanOperationError("the adapter takes no more bytes")
        self._unsent += line
        with contextlib.suppress(BlockingIOError):
            # Not through pyserial, whose write without time-out spins for as long as the line is full.
            self._unsent = self._unsent[os.write(self.fileno(), self._unsent) :]

    def shutdown(self) -> None:
        """Close the channel as far as the wire still lets, and the wire."""
        super().shutdown()
        with contextlib.suppress(OSError, can.CanError):
            self._write(b"C\r")
        self._wire.close()
