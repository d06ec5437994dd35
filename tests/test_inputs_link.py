"""Digital inputs over Modbus: read as the standard writes it, believed as strictly as registers, never written to."""

import asyncio
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from controller.app.addresses import FORMS, address_problem
from controller.app.board import Board
from controller.app.wiring import links
from controller.link import LinkError
from controller.link.clock import Clock
from controller.link.inputs import InputsLink
from controller.link.modbus import ModbusException, ModbusLine
from controller.link.modbus_server import READ_INPUTS, ModbusServer, Request, packed, parse
from controller.link.notices import CLEAN_MS
from controller.model import AnyReading, Command, Device, FaultName, Inputs, Profile
from tests.modbus_peer import Peer, Wire, frame, virtual
from tests.words import a_site

PROFILES = Path(__file__).parent.parent / "profiles"
PROFILE = msgspec.convert(tomllib.loads((PROFILES / "inputs" / "modbus_discrete.toml").read_text()), Profile)

# Modbus Application Protocol V1.1b3, 6.2: discrete inputs 197 to 218; the first byte, AC, is 204 to 197.
EXAMPLE_ASKED, EXAMPLE_REPLY = "02 00C4 0016", "02 03 AC DB 35"
EXAMPLE = tuple(bit == "1" for bit in "00110101" "11011011" "101011")  # fmt: skip


class Module:
    """A remote I/O module: function 2 and nothing else, some channels from an address on."""

    def __init__(self, channels: int = 8, first: int = 0) -> None:
        self.closed = [True] * channels
        self.first = first
        self.silent = False
        self.swallows = 0  # requests that it does not answer from now on
        self.refusal = 0
        self.asked: list[Request] = []
        self.server = ModbusServer(self.answer, functions=(READ_INPUTS,))

    def answer(self, request: Request) -> bytes | int | None:
        self.asked.append(request)
        if self.silent or self.swallows:
            self.swallows = max(0, self.swallows - 1)
            return None
        if self.refusal:
            return self.refusal
        start = request.address - self.first
        if start < 0 or start + request.count > len(self.closed):
            return 2
        return packed(self.closed[start : start + request.count])


class Inbox:
    """Everything a link reports."""

    def __init__(self) -> None:
        self.readings: list[AnyReading] = []
        self.notices: list[tuple[FaultName, str | None]] = []

    def heard(self, reading: AnyReading) -> None:
        self.readings.append(reading)

    def noticed(self, fault: FaultName, device: str, detail: str | None) -> None:
        assert device == "io"
        self.notices.append((fault, detail))

    @property
    def closed(self) -> tuple[bool, ...]:
        last = self.readings[-1]
        assert isinstance(last, Inputs)
        return last.closed


@asynccontextmanager
async def linked(module: Module, profile: Profile = PROFILE) -> AsyncIterator[Inbox]:
    await module.server.start("127.0.0.1", 0)
    line, inbox = ModbusLine("127.0.0.1", module.server.port, timeout_ms=profile.timeout_ms), Inbox()
    running = asyncio.ensure_future(InputsLink(line, 1, "io", profile, inbox=inbox, clock=Clock()).run())
    try:
        yield inbox
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert not line.connected
        await module.server.close()


# --- the wire


@virtual
async def test_inputs_are_asked_for_and_understood_as_the_standard_writes_them() -> None:
    async def script(wire: Wire) -> None:
        await wire.send(frame(await wire.request(), EXAMPLE_REPLY))

    async with Peer(script) as peer:
        line = ModbusLine("127.0.0.1", peer.port)
        await line.connect()
        assert await line.read_inputs(17, 196, 22) == EXAMPLE
        assert peer.requests[0][2:] == bytes.fromhex("0000 0006 11" + EXAMPLE_ASKED)
        await line.close()


@pytest.mark.parametrize(
    "misfit",
    [
        pytest.param("01 03 AC DB 35", id="coils"),
        pytest.param("03 03 AC DB 35", id="registers"),
        pytest.param("02 02 AC DB", id="too few inputs"),
        pytest.param("02 04 AC DB 35 00", id="too many inputs"),
        pytest.param("02 02 AC DB 35", id="byte count too small"),
        pytest.param("02 04 AC DB 35", id="byte count too large"),
        pytest.param("81 02", id="another function's exception"),
        pytest.param("82", id="exception without a code"),
    ],
)
@virtual
async def test_reply_that_does_not_fit_is_thrown_away_and_the_good_one_behind_it_arrives(misfit: str) -> None:
    async def script(wire: Wire) -> None:
        asked = await wire.request()
        await wire.send(frame(asked, misfit), frame(asked, EXAMPLE_REPLY, unit=3), frame(asked, EXAMPLE_REPLY))

    async with Peer(script) as peer:
        line = ModbusLine("127.0.0.1", peer.port)
        await line.connect()
        assert await line.read_inputs(17, 196, 22) == EXAMPLE
        assert line.counters.rejected >= 2
        await line.close()


@pytest.mark.parametrize(
    ("unit", "address", "count"), [(1, 0, 0), (1, 0, 2001), (1, -1, 1), (1, 0xFFFF, 2), (256, 0, 1)]
)
@virtual
async def test_what_cannot_be_asked_for_never_leaves(unit: int, address: int, count: int) -> None:
    line = ModbusLine("127.0.0.1", 9)
    with pytest.raises(LinkError, match=r"\(function 2\): cannot be asked for"):
        await line.read_inputs(unit, address, count)


@pytest.mark.parametrize(("address", "count"), [(0, 1), (0, 2000), (0xFFFF, 1)])
@virtual
async def test_the_edges_of_what_can_be_asked_for(address: int, count: int) -> None:
    module = Module(channels=2000 if count == 2000 else 1, first=address)
    await module.server.start("127.0.0.1", 0)
    line = ModbusLine("127.0.0.1", module.server.port)
    await line.connect()
    assert await line.read_inputs(1, address, count) == (True,) * count
    await line.close()
    await module.server.close()


@pytest.mark.parametrize(
    ("pdu", "answer"),
    [
        ("02 00C4 0000", 3),
        ("02 0000 07D1", 3),
        ("02 0000", 3),
        ("02 0000 0001 00", 3),
        ("02 FFFF 0002", 2),
        ("03 0000 0001", 1),
        ("10 0000 0001 02 0000", 1),
    ],
)
def test_module_refuses_as_the_state_diagram_says(pdu: str, answer: int) -> None:
    assert parse(1, bytes.fromhex(pdu), "peer", (READ_INPUTS,)) == answer


def test_device_with_registers_knows_no_inputs() -> None:
    assert parse(1, bytes.fromhex("02 0000 0001"), "peer") == 1
    most = parse(1, bytes.fromhex("02 0000 07D0"), "peer", (READ_INPUTS,))
    assert isinstance(most, Request) and (most.function, most.address, most.count) == (2, 0, 2000)


def test_inputs_are_packed_as_in_the_standards_example() -> None:
    assert packed(EXAMPLE).hex() == "acdb35"
    assert packed((False,) * 9).hex() == "0000"


# --- the link


@virtual
async def test_all_channels_come_at_every_poll_in_their_order() -> None:
    module = Module()
    module.closed[2] = False
    async with linked(module) as inbox:
        await asyncio.sleep(0.05)
        assert inbox.closed == (True, True, False, True, True, True, True, True)
        await asyncio.sleep(1.0)
        assert len(inbox.readings) in (10, 11, 12)
        module.closed[2], module.closed[7] = True, False
        await asyncio.sleep(PROFILE.poll_ms / 1000)
        assert inbox.closed == (True,) * 7 + (False,)
    assert {(one.function, one.address, one.count) for one in module.asked} == {(2, 0, 8)}
    assert inbox.notices == []


@virtual
async def test_channels_of_another_module_are_read_where_its_profile_says_and_as_old_as_it_says() -> None:
    module = Module(channels=3, first=512)
    profile = msgspec.structs.replace(PROFILE, first_input=512, inputs=3, latency_ms=20)
    async with linked(module, profile) as inbox:
        await asyncio.sleep(0.05)
    first = inbox.readings[0]
    assert inbox.closed == (True, True, True)
    assert first.heard_ms - first.sampled_ms == 20


@virtual
async def test_silent_module_tells_nothing_more_and_comes_back() -> None:
    module = Module()
    async with linked(module) as inbox:
        await asyncio.sleep(0.25)
        module.silent = True
        heard = len(inbox.readings)
        await asyncio.sleep(1.0)
        assert len(inbox.readings) == heard
        assert [fault for fault, detail in inbox.notices if detail] == ["link_down"]
        module.silent = False
        await asyncio.sleep(2.0)
        assert len(inbox.readings) > heard
        assert inbox.notices[-1] == ("link_down", None)


@virtual
async def test_one_lost_reply_leaves_the_contacts_fresh() -> None:
    module = Module()
    async with linked(module) as inbox:
        await asyncio.sleep(0.25)
        module.swallows = 1
        await asyncio.sleep(0.75)
        times_ms = [reading.sampled_ms for reading in inbox.readings]
    gap_ms = max(after - before for before, after in pairwise(times_ms))
    assert PROFILE.poll_ms + PROFILE.timeout_ms <= gap_ms < PROFILE.stale_after_ms
    assert inbox.notices == []


@virtual
async def test_module_that_refuses_is_told_with_its_code_and_forgiven_after_a_clean_while() -> None:
    module = Module()
    async with linked(module) as inbox:
        await asyncio.sleep(0.15)
        module.refusal = 2
        await asyncio.sleep(1.0)
        told = dict(inbox.notices)
        assert "exception 2 (illegal data address)" in (told["bad_reply"] or "")
        assert "link_down" in told
        module.refusal = 0
        await asyncio.sleep(5.0)
        assert dict(inbox.notices)["link_down"] is None
        assert dict(inbox.notices)["bad_reply"] is not None
        await asyncio.sleep(CLEAN_MS / 1000)
        assert dict(inbox.notices)["bad_reply"] is None


@virtual
async def test_module_that_is_not_there_is_tried_with_growing_pauses() -> None:
    module = Module()
    await module.server.start("127.0.0.1", 0)
    port = module.server.port
    await module.server.close()
    line, inbox = ModbusLine("127.0.0.1", port, timeout_ms=100), Inbox()
    running = asyncio.ensure_future(InputsLink(line, 1, "io", PROFILE, inbox=inbox, clock=Clock()).run())
    await asyncio.sleep(20)
    assert [fault for fault, _ in inbox.notices] == ["link_down"]
    await module.server.start("127.0.0.1", port)
    await asyncio.sleep(31)
    assert inbox.closed == (True,) * 8
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await module.server.close()


@virtual
async def test_inputs_are_never_commanded() -> None:
    link = InputsLink(ModbusLine("127.0.0.1", 9), 1, "io", PROFILE, inbox=Inbox(), clock=Clock())
    link.tick()
    with pytest.raises(LinkError, match="digital inputs are not commanded"):
        await link.send(Command(device="io", power_w=500, running=True, valid_ms=1000))


@virtual
async def test_profile_without_channels_is_refused() -> None:
    empty = msgspec.structs.replace(PROFILE, inputs=0)
    with pytest.raises(ValueError, match="name how many channels"):
        InputsLink(ModbusLine("127.0.0.1", 9), 1, "io", empty, inbox=Inbox(), clock=Clock())


@virtual
async def test_refusal_is_an_exception_of_its_own() -> None:
    module = Module(channels=4)
    await module.server.start("127.0.0.1", 0)
    line = ModbusLine("127.0.0.1", module.server.port)
    await line.connect()
    with pytest.raises(ModbusException, match="reading 8 inputs at 0") as refused:
        await line.read_inputs(1, 0, 8)
    assert refused.value.code == 2
    assert await line.read_inputs(1, 0, 4) == (True,) * 4
    await line.close()
    await module.server.close()


# --- its place in the site


@virtual
async def test_site_wires_a_module_and_an_inverter_at_one_address_to_one_line() -> None:
    site, clock = a_site(), Clock()
    place = "tcp://192.0.2.7:502"
    module = Device(name="io", profile="inputs/modbus_discrete", url=f"{place}?unit=3", stale_after_ms=500)
    devices = tuple(
        msgspec.structs.replace(device, url=f"{place}?unit=1") if device.url.startswith("tcp:") else device
        for device in site.device
    )
    site = msgspec.structs.replace(site, device=(*devices, module))
    made = links(site, Board(site, clock), clock)
    assert isinstance(made["io"], InputsLink)
    assert made["io"]._line is made["inverter1"]._line  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("tcp://192.0.2.7:502?unit=3", ""),
        ("tcp://192.0.2.7:502", "the unit is missing"),
        ("slcan:///dev/ttyUSB0", "the scheme is 'slcan'"),
    ],
)
def test_address_of_a_module_has_the_form_of_modbus(url: str, problem: str) -> None:
    assert address_problem(url, "modbus_inputs") == problem
    assert FORMS["modbus_inputs"] == FORMS["sunspec"]
