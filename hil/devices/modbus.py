"""A device that answers Modbus requests out of a register image, and the hooks through which faults get at it."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

from controller.link.modbus_server import ModbusServer, Request
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
    """One unit behind one port. The registers are filled when somebody asks: nobody sees them in between."""

    unit = 1

    def __init__(self, plant: Plant, name: str, image: Image, *, now_s: Callable[[], float] = loop_s) -> None:
        super().__init__(plant, name, now_s=now_s)
        self.image = image
        self.hooks: list[Hook] = []
        self._shown_s: float | None = None  # the registers show the plant as it is at this time
        self.server = ModbusServer(self.answer)

    def answer(self, request: Request) -> Answer:
        """Answer one request at its own moment."""
        asked: Request | int | None = request
        for hook in self.hooks:
            asked = hook.asked(request)
            if not isinstance(asked, Request):
                return asked
            request = asked
        answer = self._take(request)
        for hook in self.hooks:
            answer = hook.answered(request, answer)
        return answer

    def tick(self) -> None:
        """Have nothing to do by itself."""

    def _take(self, request: Request) -> Answer:
        if request.unit != self.unit:
            return None
        self.advance()
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
