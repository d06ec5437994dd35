"""The wires: the true values of the plant, shared by the bench's processes.

One float64 a slot in a mapped file, or in plain memory when everything lives in one process. A slot is eight aligned
bytes and has one writer, so a reader sees the old value or the new one and never half of each. There is no lock.
"""

import mmap
import zlib
from pathlib import Path

import msgspec


class Slot(msgspec.Struct, frozen=True):
    """One wire."""

    name: str
    unit: str
    writer: str  # inverter, meter, battery, or bench
    default: float
    says: str


SLOTS = (
    Slot("inverter_w", "W", "inverter", 0.0, "AC power, + toward the grid"),
    Slot("inverter_command_w", "W", "inverter", 0.0, "the set point in force before dead time and ramp"),
    Slot("inverter_dc_w", "W", "inverter", 0.0, "power out of the battery, + discharge"),
    Slot("soc", "1", "battery", 0.6, "true state of charge, 0..1"),
    Slot("energy_wh", "Wh", "battery", 15_000.0, "true stored energy"),
    Slot("capacity_wh", "Wh", "battery", 25_000.0, "true capacity"),
    Slot("pack_v", "V", "battery", 52.0, "voltage at the battery's terminals"),
    Slot("pack_a", "A", "battery", 0.0, "current, + discharge"),
    Slot("charge_max_a", "A", "battery", 0.0, "charge current the BMS allows now"),
    Slot("discharge_max_a", "A", "battery", 0.0, "discharge current the BMS allows now"),
    Slot("contactor", "1", "battery", 1.0, "1 = closed, 0 = open: no current flows"),
    Slot("load_w", "W", "meter", 0.0, "consumption behind the meter"),
    Slot("pv_w", "W", "meter", 0.0, "generation behind the meter, never negative"),
    Slot("poi_w", "W", "meter", 0.0, "inverter_w + pv_w - load_w, + export"),
    Slot("load_set_w", "W", "bench", 0.0, "what the load goes to"),
    Slot("pv_set_w", "W", "bench", 0.0, "what the generation goes to"),
    Slot("bms_cable", "1", "bench", 1.0, "1 = plugged, 0 = pulled"),
    Slot("inverter_cable", "1", "bench", 1.0, "1 = plugged, 0 = pulled"),
    Slot("meter_cable", "1", "bench", 1.0, "1 = plugged, 0 = pulled"),
    Slot("inverter_local", "1", "bench", 0.0, "1 = someone at the inverter holds it in local control"),
    Slot("inverter_obeys_bms", "1", "bench", 0.0, "1 = the inverter knows the BMS limits itself and keeps them"),
    Slot("soc_bias", "1", "bench", 0.0, "what the BMS estimate is off, as a share of the capacity"),
    Slot("reset_soc", "1", "bench", -1.0, "0..1 sets the true state; the battery takes it and puts -1 back"),
)

_INDEX = {slot.name: index for index, slot in enumerate(SLOTS)}
_SIGNATURE = b"linewire" + zlib.crc32(" ".join(_INDEX).encode()).to_bytes(8, "big")
_SIZE_BYTES = len(_SIGNATURE) + 8 * len(SLOTS)


class Wires:
    """The slots by name. Make it with create or open."""

    def __init__(self, memory: mmap.mmap | bytearray) -> None:
        self._memory = memory
        self._cells = memoryview(memory)[len(_SIGNATURE) :].cast("d")

    @classmethod
    def create(cls, path: Path | None) -> "Wires":
        """Return wires at their defaults: in a new file, or in this process only where path is None."""
        if path is None:
            wires = cls(bytearray(_SIGNATURE.ljust(_SIZE_BYTES, b"\0")))
        else:
            path.write_bytes(_SIGNATURE.ljust(_SIZE_BYTES, b"\0"))
            wires = cls.open(path)
        for slot in SLOTS:
            wires[slot.name] = slot.default
        return wires

    @classmethod
    def open(cls, path: Path) -> "Wires":
        """Return the wires another process created. Raises ValueError where the file holds other slots."""
        with path.open("r+b") as file:
            if file.read(len(_SIGNATURE)) != _SIGNATURE or path.stat().st_size != _SIZE_BYTES:
                raise ValueError(
                    f"{path} does not hold the wires of this bench (another version wrote it, or something else did); "
                    "stop all bench processes, delete it and start them again"
                )
            return cls(mmap.mmap(file.fileno(), _SIZE_BYTES))

    def __getitem__(self, slot: str) -> float:
        return self._cells[_INDEX[slot]]

    def __setitem__(self, slot: str, value: float) -> None:
        self._cells[_INDEX[slot]] = value

    def close(self) -> None:
        """Let go of the file. The values stay in it for the others."""
        self._cells.release()
        if isinstance(self._memory, mmap.mmap):
            self._memory.close()
