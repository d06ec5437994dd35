"""The emulated devices: real frames outside, a part of the plant inside.

Laws:
- A device is start(host, port), port, tick(), close(). It holds no physics: it brings the plant to the present and
  tells what its part's sensors tell; a write is taken at its own moment.
- Layouts are written from the vendors' papers. pysunspec2 and python-can are the referees in the tests.
- A device refuses what its paper forbids and answers as its paper says; it never repairs a client's mistake.
- Faults of the device itself are hooks on its requests (devices/modbus.py), those of its cable are on the wire.

To add a device: a file here, its part's kind in hil/run/host.py.
"""

from hil.devices.battery import BatteryDevice
from hil.devices.device import Device
from hil.devices.inputs import InputsDevice
from hil.devices.inverter import InverterDevice
from hil.devices.meter import MeterDevice
from hil.devices.modbus import ModbusDevice, RegisterDevice

__all__ = [
    "BatteryDevice",
    "Device",
    "InputsDevice",
    "InverterDevice",
    "MeterDevice",
    "ModbusDevice",
    "RegisterDevice",
]
