"""The emulated remote I/O: digital inputs on Modbus TCP, read by function 2 and by nothing else.

Source: MODBUS Application Protocol Specification V1.1b3, 6.2: 1 = ON, the first input asked for in the lowest bit.
"""

from collections.abc import Callable

from controller.link.modbus_server import ILLEGAL_ADDRESS, READ_INPUTS, Request, packed
from hil.devices.device import loop_s
from hil.devices.modbus import Answer, ModbusDevice
from hil.devices.sunspec import DEVICE_FAILURE
from hil.plant.site import Plant


class InputsDevice(ModbusDevice):
    """Unit 1 on its port. A module whose channels cannot be told answers that it has failed."""

    functions = (READ_INPUTS,)

    def __init__(self, plant: Plant, name: str, *, now_s: Callable[[], float] = loop_s) -> None:
        super().__init__(plant, name, now_s=now_s)
        self.part = plant.inputs(name)

    def take(self, request: Request) -> Answer:
        """Tell the contacts."""
        begin = request.address - self.part.spec.first_address
        if begin < 0 or begin + request.count > self.part.spec.channel_count:
            return ILLEGAL_ADDRESS
        told = self.part.told_closed(self.plant.now_s)
        return DEVICE_FAILURE if told is None else packed(told[begin : begin + request.count])
