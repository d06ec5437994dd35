"""A device that answers Modbus requests, and the hooks through which faults get at it."""

from abc import abstractmethod
from collections.abc import Callable, Collection
from typing import Protocol

from controller.link.modbus_server import REGISTERS, ModbusServer, Request
from hil.devices.device import Device, loop_s
from hil.devices.sunspec import Image
from hil.plant.site import Plant

Answer = bytes | int | None


class Hook(Protocol):
    """A fault in the device itself: it sees each request before it is taken and each answer before it leaves."""

    def asked(self, request: Request) -> Request | int | None:
        """Return the request to take, an exception to answer with, or None to stay silent."""

    def answered(self, request: Request, answer: Answer) -> Answer:
        """Return what is answered in place of `answer`."""


class ModbusDevice(Device):
    """One unit behind one port. functions: what it is asked at most, all else draws exception 1."""

    unit = 1
    functions: Collection[int] = REGISTERS

    def __init__(self, plant: Plant, name: str, *, now_s: Callable[[], float] = loop_s) -> None:
        super().__init__(plant, name, now_s=now_s)
        self.hooks: list[Hook] = []
        self.server = ModbusServer(self.answer, functions=self.functions)

    def answer(self, request: Request) -> Answer:
        """Answer one request at its own moment."""
        asked: Request | int | None = request
        for hook in self.hooks:
            asked = hook.asked(request)
            if not isinstance(asked, Request):
                return asked
            request = asked
        answer = None
        if request.unit == self.unit:
            self.advance()
            answer = self.take(request)
        for hook in self.hooks:
            answer = hook.answered(request, answer)
        return answer

    def tick(self) -> None:
        """Have nothing to do by itself."""

    @abstractmethod
    def take(self, request: Request) -> Answer:
        """Answer a request for its own unit; the plant is at the present."""


class RegisterDevice(ModbusDevice):
    """A device with SunSpec registers. They are filled when somebody asks: nobody sees them in between."""

    def __init__(self, plant: Plant, name: str, image: Image, *, now_s: Callable[[], float] = loop_s) -> None:
        super().__init__(plant, name, now_s=now_s)
        self.image = image
        self._shown_s: float | None = None  # the registers show the plant as it is at this time

    def take(self, request: Request) -> Answer:
        """Answer a read out of the registers; a write is the device's own matter."""
        if request.function in (3, 4):
            if self._shown_s != self.plant.now_s:
                self._shown_s = self.plant.now_s
                self.refresh()
            return self.image.answer(request)
        self._shown_s = None
        return self.write(request)

    @abstractmethod
    def refresh(self) -> None:
        """Put the part's values into the registers."""

    @abstractmethod
    def write(self, request: Request) -> Answer:
        """Take a write whole, or refuse it whole."""
