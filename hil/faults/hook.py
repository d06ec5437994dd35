"""The hook of a fault inside a device that answers Modbus, and what such faults have to know of its registers.

A hook stands between the device's server and its registers (hil/devices/modbus.py). Hooks of several faults stand one
behind the other; each works on what the one before it left.
"""

from collections.abc import Iterator

import msgspec
from sunspec2.device import Model

from controller.link.modbus_server import Request
from hil.devices.inverter import TOLD as INVERTER_TOLD
from hil.devices.inverter import InverterDevice
from hil.devices.inverter_map import writable
from hil.devices.meter import TOLD as METER_TOLD
from hil.devices.modbus import Answer, RegisterDevice
from hil.devices.sunspec import BASE, Cell
from hil.faults.words import Armed

READ = 3
READS, WRITES = (READ, 4), (6, 16)  # the devices refuse 4
NOBODY = -1  # a unit that no device has: what is for it changes nothing and gets no answer
METER_MODELS = (203, 213)
MARK_BYTES = 4  # 'SunS'
MODEL_END = 0xFFFF


class Deaf:
    """A fault of a device that answers Modbus of any kind: no request gets an answer."""

    def __init__(self, armed: Armed) -> None:
        self.armed = armed

    def asked(self, request: Request) -> Request | int | None:
        """Say nothing."""
        self.armed.bit()
        return None

    def answered(self, request: Request, answer: Answer) -> Answer:
        """Return the answer as it is; there is none."""
        return answer


class Hook:
    """One fault of one device. This one does nothing; a subclass says what becomes of reads, writes and answers."""

    def __init__(self, device: RegisterDevice, armed: Armed) -> None:
        self.device, self.armed = device, armed

    def asked(self, request: Request) -> Request | int | None:
        """Return the request to take, an exception to answer with, or None to stay silent."""
        if request.unit != self.device.unit:
            return request
        return self.read(request) if request.function in READS else self.write(request)

    def answered(self, request: Request, answer: Answer) -> Answer:
        """Return what is answered in place of `answer`."""
        if request.unit != self.device.unit or request.function not in READS or not isinstance(answer, bytes):
            return answer
        start = place(request)
        registers = bytearray(self.device.image.registers)
        registers[start : start + len(answer)] = answer
        self.alter(registers)
        said = bytes(registers[start : start + len(answer)])
        if said != answer:
            self.armed.bit()
        return said

    def read(self, request: Request) -> Request | int | None:
        """Do as asked() for a read."""
        return request

    def write(self, request: Request) -> Request | int | None:
        """Do as asked() for a write."""
        return request

    def alter(self, registers: bytearray) -> None:
        """Change what a read tells. registers: all of the device's, with what was to be told in its place."""


def for_nobody(request: Request) -> Request:
    """Return a request that no device takes, the rest as it was."""
    return msgspec.structs.replace(request, unit=NOBODY)


def place(request: Request) -> int:
    """Return where a request begins in the device's registers, in bytes."""
    return 2 * (request.address - BASE)


def told_cells(device: RegisterDevice, point: str = "") -> tuple[Cell, ...]:
    """Return the registers of a told point ("ac_w") or of one by its name ("701.W"); "" = those of all told points.

    Raises KeyError for a point that the device does not have.
    """
    points = _told_points(device)
    if point and point not in points:
        return (device.image.cell(point),)
    names = points[point] if point else tuple(name for names in points.values() for name in names)
    return tuple(device.image.cell(name) for name in names)


def long_cells(device: RegisterDevice) -> tuple[Cell, ...]:
    """Return all told points and settings that take more than one register."""
    cells = told_cells(device)
    if isinstance(device, InverterDevice):
        cells += tuple(device.image.cell(row.point) for row in writable(device.part.spec))
    return tuple(cell for cell in cells if cell.size_bytes > 2)


def models(registers: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
    """Yield the models of a SunSpec map: number, first byte with the header, first byte behind."""
    at = MARK_BYTES
    while (number := int.from_bytes(registers[at : at + 2], "big")) != MODEL_END:
        end = at + 4 + 2 * int.from_bytes(registers[at + 2 : at + 4], "big")
        yield number, at, end
        at = end


def scaled_points(number: int, factor: str) -> tuple[int, dict[str, str]]:
    """Return where a scale factor is in its model, in bytes, and the points that hang on it with their kinds.

    Raises KeyError for a factor that the model does not have.
    """
    points = Model(number).points
    kinds = {name: point.pdef["type"] for name, point in points.items() if point.pdef.get("sf") == factor}
    return 2 * points[factor].offset, kinds


def meter_model(device: RegisterDevice) -> int:
    """Return the model that a meter tells by."""
    return next(number for number, _, _ in models(device.image.registers) if number in METER_MODELS)


def _told_points(device: RegisterDevice) -> dict[str, tuple[str, ...]]:
    if isinstance(device, InverterDevice):
        return INVERTER_TOLD
    number = meter_model(device)
    return {point: tuple(f"{number}.{name}" for name in names) for point, names in METER_TOLD.items()}
