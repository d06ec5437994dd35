"""A node on a CAN interface of the kernel: virtual (vcan), or an adapter.

Several programs on one interface hear each other, so candump and cansend meet the battery as the controller does. An
interface that goes down or away is lost as a bus is, not as a device: the node joins again with what it sends next.
"""

import asyncio
import errno
import socket
from collections.abc import Iterable, Iterator

import can

from hil.devices.slcan import FRAME, Heard

DRAIN_FRAMES = 64  # taken in one turn of the loop


class SocketcanServer:
    """The node. The device behind it hears and sends through it."""

    port = 0  # an interface has none

    def __init__(self, heard: Heard, interface: str) -> None:
        self.heard = heard
        self._interface = interface
        self._plugged = False
        self._bus: can.BusABC | None = None

    async def start(self, host: str, port: int) -> None:
        """Join the bus, wherever host and port point to. Raises OSError when there is no such interface."""
        self._join()
        self._plugged = True

    async def close(self) -> None:
        """Leave the bus: nothing is sent and nothing is heard."""
        self._plugged = False
        self._leave()

    def send(self, frames: tuple[tuple[int, bytes], ...]) -> None:
        """Put standard data frames (identifier, data) on the bus."""
        self._put(can.Message(arbitration_id=number, data=data, is_extended_id=False) for number, data in frames)

    def inject(self, lines: bytes) -> None:
        """Put the frames of these slcan lines on the bus. What is no frame cannot be on a bus and is left out."""
        self._put(_frames(lines))

    def _put(self, messages: Iterable[can.Message]) -> None:
        if not self._plugged:
            return
        try:
            bus = self._bus or self._join()
            for message in messages:
                bus.send(message)
        except (OSError, can.CanError):
            self._leave()

    def _join(self) -> can.BusABC:
        try:
            socket.if_nametoindex(self._interface)
        except OSError as error:
            raise OSError(errno.ENODEV, f"no CAN interface {self._interface}") from error
        self._bus = can.Bus(channel=self._interface, interface="socketcan", ignore_config=True)
        asyncio.get_running_loop().add_reader(self._bus.fileno(), self._drain, self._bus)
        return self._bus

    def _leave(self) -> None:
        bus, self._bus = self._bus, None
        if bus is not None:
            asyncio.get_running_loop().remove_reader(bus.fileno())
            bus.shutdown()

    def _drain(self, bus: can.BusABC) -> None:
        try:
            for _ in range(DRAIN_FRAMES):
                message = bus.recv(timeout=0)
                if message is None:
                    return
                if not (message.is_error_frame or message.is_remote_frame or message.is_extended_id or message.is_fd):
                    self.heard(message.arbitration_id, bytes(message.data))
        except (OSError, can.CanError):
            self._leave()


def _frames(lines: bytes) -> Iterator[can.Message]:
    for line in lines.split(b"\r"):
        frame = FRAME.match(line)
        if frame is None:
            continue
        remote, length, data = line[:1] in b"rR", int(frame[5]), bytes.fromhex(frame[6].decode())
        if len(data) == (0 if remote else length):
            yield can.Message(
                arbitration_id=int(frame[2] or frame[4], 16),
                is_extended_id=frame[4] is not None,
                is_remote_frame=remote,
                dlc=length,
                data=data,
            )
