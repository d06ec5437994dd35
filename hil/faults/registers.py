"""Faults of what a device's registers tell: the link is sound, the device lives, the numbers are wrong."""

import msgspec

from controller.link.modbus_server import Request
from hil.devices.inverter import InverterDevice
from hil.devices.modbus import Answer, RegisterDevice
from hil.devices.sunspec import NAN, Cell
from hil.faults.hook import WRITES, Hook, long_cells, meter_model, models, place, scaled_points, told_cells
from hil.faults.words import Armed

EXPONENTS = range(-10, 11)  # of a scale factor: SunSpec Device Information Model Specification V1.2.1, sunssf


class Frozen(Hook):
    """Registers stay as they were. What is written is still taken, and read back; a heartbeat may go on."""

    def __init__(self, device: RegisterDevice, armed: Armed) -> None:
        super().__init__(device, armed)
        device.advance()
        device.refresh()
        self._held = bytearray(device.image.registers)
        beats = armed.text("heartbeat") == "goes on" and isinstance(device, InverterDevice)
        self._alive = (device.image.cell("715.DERHb"),) if beats else ()

    def answered(self, request: Request, answer: Answer) -> Answer:
        """Keep what was written, and tell what is kept."""
        if request.unit == self.device.unit and request.function in WRITES and answer == b"":
            self._held[place(request) : place(request) + len(request.registers)] = request.registers
        return super().answered(request, answer)

    def alter(self, registers: bytearray) -> None:
        """Tell the kept registers."""
        live = bytes(registers)
        registers[:] = self._held
        for cell in self._alive:
            alive = slice(cell.offset_bytes, cell.offset_bytes + cell.size_bytes)
            registers[alive] = live[alive]


class Sentinels(Hook):
    """Registers hold a word that means "not implemented", be it that of their kind or not."""

    def __init__(self, device: RegisterDevice, armed: Armed) -> None:
        super().__init__(device, armed)
        self._cells = told_cells(device, armed.text("point"))
        word = bytes.fromhex(armed.text("word").removeprefix("0x"))
        filler = b"\xff" if word == b"\xff\xff" else b"\0"
        self._words = {size: word[:size].ljust(size, filler) for size in (2, 4, 8)}

    def alter(self, registers: bytearray) -> None:
        """Put the word in."""
        for cell in self._cells:
            registers[cell.offset_bytes : cell.offset_bytes + cell.size_bytes] = self._words[cell.size_bytes]


class Swapped(Hook):
    """Long values come, and are taken, with their words turned round; or every register with its bytes."""

    def __init__(self, device: RegisterDevice, armed: Armed) -> None:
        super().__init__(device, armed)
        self._cells = long_cells(device)
        self._bytes = armed.text("order") == "bytes"

    def write(self, request: Request) -> Request:
        """Take a write the wrong way round."""
        registers = bytearray(request.registers)
        self._turn(registers, place(request))
        if registers != request.registers:
            self.armed.bit()
        return msgspec.structs.replace(request, registers=bytes(registers))

    def alter(self, registers: bytearray) -> None:
        """Tell everything the wrong way round."""
        self._turn(registers, 0)

    def _turn(self, registers: bytearray, start: int) -> None:
        """Turn what lies wholly within these registers; they begin start bytes into the device's."""
        if self._bytes:
            registers[::2], registers[1::2] = registers[1::2], registers[::2]
            return
        for cell in self._cells:
            begin = cell.offset_bytes - start
            end = begin + cell.size_bytes
            if begin >= 0 and end <= len(registers):
                words = [registers[at : at + 2] for at in range(begin, end, 2)]
                registers[begin:end] = b"".join(reversed(words))


class ScaleMoves(Hook):
    """A scale factor changes while the device runs, and the values that hang on it follow late_s later."""

    def __init__(self, device: RegisterDevice, armed: Armed) -> None:
        super().__init__(device, armed)
        name = armed.text("factor") or f"{_power_model(device)}.W_SF"
        number, factor = int(name.partition(".")[0]), name.partition(".")[2]
        offset, points = scaled_points(number, factor)
        begin = offset + next(begin for found, begin, _ in models(device.image.registers) if found == number)
        self._place = slice(begin, begin + 2)
        self._before = int.from_bytes(device.image.registers[self._place], "big", signed=True)
        self._after = self._before + round(armed.number("by"))
        if self._before not in EXPONENTS or self._after not in EXPONENTS:
            raise ValueError(f"{name} is {self._before} and would be {self._after}; allowed are -10 to 10")
        self._follows_s = device.plant.now_s + armed.number("late_s")
        self._values = {device.image.cell(f"{number}.{point}").offset_bytes: kind for point, kind in points.items()}

    def alter(self, registers: bytearray) -> None:
        """Tell the new factor, and with it the values in the new scale once they follow."""
        registers[self._place] = self._after.to_bytes(2, "big", signed=True)
        if self.device.plant.now_s < self._follows_s:
            return
        for offset, kind in self._values.items():
            old, new = Cell(registers, offset, kind, self._before), Cell(registers, offset, kind, self._after)
            if registers[offset : offset + old.size_bytes] != _absent(kind, old.size_bytes):
                new.put(old.value)


class Torn(Hook):
    """The first register of a long value is of now, the rest of the last earlier moment at which somebody asked."""

    def __init__(self, device: RegisterDevice, armed: Armed) -> None:
        super().__init__(device, armed)
        point = armed.text("point")
        self._cells = told_cells(device, point) if point else long_cells(device)
        device.advance()
        device.refresh()
        self._now_s, self._now = device.plant.now_s, bytes(device.image.registers)
        self._before = self._now

    def alter(self, registers: bytearray) -> None:
        """Put old ends to new beginnings."""
        now_s = self.device.plant.now_s
        if now_s > self._now_s:
            self._before, self._now_s, self._now = self._now, now_s, bytes(self.device.image.registers)
        for cell in self._cells:
            rest = slice(cell.offset_bytes + 2, cell.offset_bytes + cell.size_bytes)
            registers[rest] = self._before[rest]


def _absent(kind: str, size_bytes: int) -> bytes:
    """Return the word for "not implemented"."""
    word = bytearray(size_bytes)
    Cell(word, 0, kind, 0).put(NAN)
    return bytes(word)


def _power_model(device: RegisterDevice) -> int:
    """Return the model that a device tells its power by."""
    return 701 if isinstance(device, InverterDevice) else meter_model(device)
