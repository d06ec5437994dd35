"""The emulated devices: real frames outside, the plant's physics inside.

Laws:
- A device is start(host, port), port, run(), close(). run() steps the physics by the loop's time and looks after the
  protocol's timers; a write is taken at its own moment, not at the next step.
- Layouts are written from the vendors' papers. pysunspec2 and python-can are the referees in the tests.
- A pulled cable closes every connection and refuses new ones until it is plugged again; the physics go on.
- A device refuses what its paper forbids and answers as its paper says; it never repairs a client's mistake.

To add a device: a file here, a line in KINDS.
"""

from hil.devices.battery import BatteryDevice
from hil.devices.device import Device
from hil.devices.inverter import InverterDevice
from hil.devices.meter import MeterDevice
from hil.wires import Wires

__all__ = ["KINDS", "BatteryDevice", "Device", "InverterDevice", "MeterDevice", "serve"]

KINDS: dict[str, type[Device]] = {"inverter": InverterDevice, "meter": MeterDevice, "battery": BatteryDevice}


async def serve(kind: str, wires: Wires, port: int, can: str | None = None) -> None:
    """Play one device on 127.0.0.1:port until cancelled. Raises KeyError for a kind that is not in KINDS.

    can: the battery sits on this CAN interface of the kernel and not on the port.
    """
    device = BatteryDevice(wires, can=can) if can else KINDS[kind](wires)
    try:
        await device.start("127.0.0.1", port)
        await device.run()
    finally:
        await device.close()
