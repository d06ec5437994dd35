"""Contacts of a site on the bench: the emulated module of inputs on its wire, its faults, and the model mode."""

import asyncio
from typing import Any

import pytest

from controller.link.modbus_server import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION
from controller.model import Inputs as InputsReading
from controller.model import Site
from hil.devices import InputsDevice
from hil.devices.sunspec import DEVICE_FAILURE
from hil.faults import VERBS
from hil.faults.words import Armed, Fault
from hil.plant.inputs import Inputs, InputsSpec
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from hil.run.model import Model
from tests.bench import LOOPBACK, START_S, WAIT_S, Time, request, serving
from tests.rich import rich_site

READ_INPUTS = 2


@pytest.fixture
def site() -> Site:
    return rich_site()


@pytest.fixture
def plant(site: Site) -> Plant:
    return Plant(plant_spec(site), start_s=START_S)


@pytest.fixture
def device(plant: Plant) -> InputsDevice:
    return InputsDevice(plant, "inputs", now_s=Time())


def begun(bench: Any, do: str, **params: Any) -> tuple[Armed, Any]:
    """Let a fault of the module begin."""
    armed = Armed(Fault(on="inputs", do=do, params=params), VERBS[do], "1")
    return armed, VERBS[do].begin(bench, armed)


class Bench:
    """What a verb reaches."""

    def __init__(self, plant: Plant, **devices: Any) -> None:
        self.plant, self.devices = plant, devices
        self.silent: set[str] = set()


async def test_contacts_are_told_in_the_bits_of_the_paper(plant: Plant, device: InputsDevice) -> None:
    async with serving(device):
        reader, writer = await asyncio.open_connection(LOOPBACK, device.port)
        for opened, bits in ((None, "FF"), (0, "FE"), (3, "F6"), (7, "76")):
            if opened is not None:
                plant.set(f"inputs.{opened}", 0)
            # V1.1b3 6.2: function 2, address 0, eight inputs; one byte, the first input in its lowest bit
            writer.write(bytes.fromhex("0001 0000 0006 01 02 0000 0008"))
            reply = await asyncio.wait_for(reader.readexactly(10), WAIT_S)
            assert reply == bytes.fromhex(f"0001 0000 0004 01 02 01 {bits}")
        plant.set("inputs.0", 1)
        assert device.answer(request(READ_INPUTS, 0, count=1)) == b"\x01"
        writer.close()


def test_part_of_the_channels_can_be_asked_for(plant: Plant, device: InputsDevice) -> None:
    plant.set("inputs.4", 0)
    assert device.answer(request(READ_INPUTS, 3, count=3)) == bytes((0b101,))
    assert device.answer(request(READ_INPUTS, 7, count=1)) == b"\x01"
    assert device.answer(request(READ_INPUTS, 7, count=2)) == ILLEGAL_ADDRESS
    assert device.answer(request(READ_INPUTS, 8, count=1)) == ILLEGAL_ADDRESS
    assert device.answer(request(READ_INPUTS, 0, count=1, unit=2)) is None


async def test_module_has_no_registers(device: InputsDevice) -> None:
    async with serving(device):
        reader, writer = await asyncio.open_connection(LOOPBACK, device.port)
        writer.write(bytes.fromhex("0001 0000 0006 01 03 0000 0001"))
        reply = await asyncio.wait_for(reader.readexactly(9), WAIT_S)
        assert reply == bytes.fromhex("0001 0000 0003 01 83") + bytes((ILLEGAL_FUNCTION,))
        writer.close()


def test_channels_begin_where_the_module_has_them() -> None:
    plant = Plant(plant_spec(rich_site(), {"inputs": {"first_address": 100, "channel_count": 2}}), start_s=START_S)
    device = InputsDevice(plant, "inputs", now_s=Time())
    assert device.answer(request(READ_INPUTS, 100, count=2)) == b"\x03"
    assert device.answer(request(READ_INPUTS, 99, count=2)) == ILLEGAL_ADDRESS


@pytest.mark.parametrize("name", ["inputs.8", "inputs.x", "inputs.-1", "meter.0"])
def test_contact_that_is_not_there_cannot_be_set(plant: Plant, name: str) -> None:
    with pytest.raises(KeyError):
        plant.set(name, 1)


def test_channel_that_is_not_there_is_no_contact() -> None:
    module = Inputs(InputsSpec(channel_count=2))
    module.set(1, False)
    assert module.closed == [True, False]
    for channel in (2, -1):
        with pytest.raises(IndexError):
            module.set(channel, False)


@pytest.mark.parametrize(
    ("do", "params", "told"),
    [
        ("stuck", {}, 0xFF),
        ("factor", {"by_factor": -1.0}, 0xFE),  # a contact of the wrong sign is open
        ("wrong", {"value": 1.0}, 0xFF),
        ("not_a_number", {}, DEVICE_FAILURE),
        (None, {}, 0xFE),
    ],
)
def test_module_tells_a_contact_wrongly(
    plant: Plant, device: InputsDevice, do: str | None, params: dict[str, Any], told: int
) -> None:
    heal = None
    if do:
        armed, heal = begun(Bench(plant, inputs=device), do, **params)
        device.answer(request(READ_INPUTS, 0, count=8))  # what it is stuck at
    plant.set("inputs.0", 0)
    answer = device.answer(request(READ_INPUTS, 0, count=8))
    assert answer == (told if told == DEVICE_FAILURE else bytes((told,)))
    if heal:
        assert armed.effects or do == "factor"
        heal()
        assert device.answer(request(READ_INPUTS, 0, count=8)) == b"\xfe"


def test_mute_module_says_nothing_until_the_end(plant: Plant, device: InputsDevice) -> None:
    armed, heal = begun(Bench(plant, inputs=device), "mute")
    assert device.answer(request(READ_INPUTS, 0, count=8)) is None
    assert armed.effects == 1
    heal()
    assert device.answer(request(READ_INPUTS, 0, count=8)) == b"\xff"


def test_without_frames_the_contacts_are_on_the_board(site: Site, plant: Plant) -> None:
    bench = Model(site, plant)

    def heard() -> InputsReading | None:
        found = bench.board.freeze("").readings
        return next((row for row in found if isinstance(row, InputsReading)), None)

    bench.run(START_S + 1)
    assert heard() == InputsReading(device="inputs", sampled_ms=1_001_000, heard_ms=1_001_000, closed=(True,) * 8)
    plant.set("inputs.2", 0)
    bench.run(START_S + 1.1)
    told = heard()
    assert told is not None
    assert told.closed == (True, True, False, True, True, True, True, True)
    _, heal = begun(bench, "not_a_number", point="5")
    bench.run(START_S + 2)
    assert heard() is None  # it is stale after half a second
    heal()
    bench.run(START_S + 2.2)
    assert heard() is not None
