"""Faults of what a device does with requests: writes go wrong, service is refused, another map or device answers."""

from collections import deque

import msgspec

from controller.link.modbus_server import ILLEGAL_ADDRESS, ILLEGAL_VALUE, Request
from hil.devices.modbus import Answer, RegisterDevice
from hil.devices.sunspec import BASE
from hil.faults.hook import MARK_BYTES, NOBODY, READ, READS, WRITES, Hook, for_nobody, models, place, told_cells
from hil.faults.words import Armed

SERVER_BUSY = 6  # Modbus Application Protocol V1.1b3, chapter 7
PENDING_MAX = 1024  # writes on their way; the oldest gives way
SERIAL = slice(MARK_BYTES + 2 * 50, MARK_BYTES + 2 * 66)  # SunSpec model 1, SN: registers 50 to 65, first in every map


class Ignored(Hook):
    """Writes are acknowledged and nothing happens."""

    def write(self, request: Request) -> Request:
        """Let nobody take it."""
        self.armed.bit()
        return for_nobody(request)

    def answered(self, request: Request, answer: Answer) -> Answer:
        """Acknowledge it all the same."""
        if request.unit == NOBODY and request.function in WRITES:
            return b""
        return super().answered(request, answer)


class Late(Ignored):
    """Writes are acknowledged at once and taken late_s later; what is on its way at the end is taken then."""

    def __init__(self, device: RegisterDevice, armed: Armed) -> None:
        super().__init__(device, armed)
        self._late_s = armed.number("late_s")
        self._pending: deque[tuple[float, Request]] = deque(maxlen=PENDING_MAX)

    def write(self, request: Request) -> Request:
        """Put it on its way."""
        self._pending.append((self.device.now_s() + self._late_s, request))
        return for_nobody(request)

    def take(self, now_s: float) -> None:
        """Take what is due."""
        while self._pending and self._pending[0][0] <= now_s:
            _, request = self._pending.popleft()
            self.device.advance()
            self.device.write(request)
            self.armed.bit()


class Elsewhere(Hook):
    """What is written to one point lands in another; the first keeps its value."""

    def __init__(self, device: RegisterDevice, armed: Armed) -> None:
        super().__init__(device, armed)
        self._point, self._other = device.image.cell(armed.text("point")), device.image.cell(armed.text("other"))
        if self._point.size_bytes != self._other.size_bytes:
            raise ValueError(f"{armed.text('point')} and {armed.text('other')} are not of the same size")

    def write(self, request: Request) -> Request:
        """Turn it aside: into the same write where that holds the other point, else into the other's registers."""
        start, registers, size_bytes = place(request), bytearray(request.registers), self._point.size_bytes
        at, aside = self._point.offset_bytes - start, self._other.offset_bytes - start
        if at < 0 or at + size_bytes > len(registers):
            return request
        image = self.device.image.registers
        written, kept = registers[at : at + size_bytes], image[self._point.offset_bytes :][:size_bytes]
        registers[at : at + size_bytes] = kept
        if 0 <= aside <= len(registers) - size_bytes:
            registers[aside : aside + size_bytes] = written
        else:
            image[self._other.offset_bytes : self._other.offset_bytes + size_bytes] = written
        if written != kept:
            self.armed.bit()
        return msgspec.structs.replace(request, registers=bytes(registers))


class SmallReads(Hook):
    """Reads of many registers are refused, and a request too soon after the one before is not heard."""

    def __init__(self, device: RegisterDevice, armed: Armed) -> None:
        super().__init__(device, armed)
        self._most, self._gap_s = armed.number("registers"), armed.number("gap_s")
        self._heard_s = float("-inf")

    def asked(self, request: Request) -> Request | int | None:
        """Refuse what is too soon or too much."""
        now_s = self.device.now_s()
        if now_s - self._heard_s < self._gap_s:
            self.armed.bit("too soon")
            return None
        self._heard_s = now_s
        if request.function in READS and request.count > self._most:
            self.armed.bit("too much")
            return ILLEGAL_VALUE
        return request


class Occupied(Hook):
    """Another master holds the only connection that is served: requests of others get no answer, or exception 6."""

    def asked(self, request: Request) -> int | None:
        """Refuse it."""
        self.armed.bit()
        return SERVER_BUSY if self.armed.text("answer") == "busy" else None


class Moved(Hook):
    """The device starts anew: silence for silent_s, then a map with its models in another order, or without one."""

    def __init__(self, device: RegisterDevice, armed: Armed) -> None:
        super().__init__(device, armed)
        self._until_s = device.now_s() + armed.number("silent_s")
        without = round(armed.number("without"))
        blocks = list(models(device.image.registers))
        common, others = blocks[:1], [block for block in blocks[1:] if block[0] != without]
        if armed.text("order") == "turned":
            others.reverse()
        self._blocks: list[tuple[int, int, int]] = []  # where a model is now, where it was, how long: in bytes
        at = MARK_BYTES
        for _, begin, end in common + others:
            self._blocks.append((at, begin, end - begin))
            at += end - begin

    def asked(self, request: Request) -> Request | int | None:
        """Say nothing during the start."""
        if self.device.now_s() < self._until_s:
            self.armed.bit("silent")
            return None
        return super().asked(request)

    def read(self, request: Request) -> Request:
        """Leave it to answered(), which tells the new map."""
        if request.function != READ:
            return request
        self.device.advance()
        self.device.refresh()
        return for_nobody(request)

    def write(self, request: Request) -> Request | int:
        """Bring a write to where its registers were."""
        start, size_bytes = place(request), 2 * request.count
        for at, begin, length in self._blocks:
            if at <= start and start + size_bytes <= at + length:
                return msgspec.structs.replace(request, address=BASE + (begin + start - at) // 2)
        return ILLEGAL_ADDRESS

    def answered(self, request: Request, answer: Answer) -> Answer:
        """Tell the new map."""
        if request.unit != NOBODY or request.function != READ:
            return answer
        image = self.device.image.registers
        registers = b"SunS" + b"".join(bytes(image[begin : begin + size]) for _, begin, size in self._blocks)
        registers += b"\xff\xff\0\0"
        start, end = place(request), place(request) + 2 * request.count
        if start < 0 or end > len(registers):
            return ILLEGAL_ADDRESS
        if registers[start:end] != image[start:end]:
            self.armed.bit("another map")
        return registers[start:end]


class Other(Ignored):
    """At a share of the requests another device of the same make answers: its own serial number, all else at rest."""

    def __init__(self, device: RegisterDevice, armed: Armed) -> None:
        super().__init__(device, armed)
        device.advance()
        device.refresh()
        self._registers = bytearray(device.image.registers)
        self._registers[SERIAL] = armed.text("serial").encode()[:32].ljust(32, b"\0")
        for cell in told_cells(device):
            self._registers[cell.offset_bytes : cell.offset_bytes + cell.size_bytes] = bytes(cell.size_bytes)

    def asked(self, request: Request) -> Request | int | None:
        """Let the other one take a share."""
        if request.unit != self.device.unit or request.function not in (READ, *WRITES):
            return request
        if self.armed.random.random() >= self.armed.number("share"):
            return request
        self.armed.bit()
        return for_nobody(request)

    def answered(self, request: Request, answer: Answer) -> Answer:
        """Answer as the other one."""
        if request.unit != NOBODY or request.function != READ:
            return super().answered(request, answer)
        start, end = place(request), place(request) + 2 * request.count
        return bytes(self._registers[start:end]) if start >= 0 and end <= len(self._registers) else ILLEGAL_ADDRESS
