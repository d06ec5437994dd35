"""A SunSpec device is found in few requests, read only while it is itself, and written to only when it may be.

The device's registers are laid out by pysunspec2; the frames are real, on loopback; waiting costs no time.
"""

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sunspec2 import device as sunspec2_device
from sunspec2.device import Model

from controller.link import LinkError, PartlyWritten
from controller.link.clock import Clock
from controller.link.modbus import ModbusException, ModbusLine
from controller.link.modbus_server import ILLEGAL_ADDRESS, ModbusServer, Request
from controller.link.notices import CLEAN_MS
from controller.link.sunspec import SunSpecLink
from controller.link.sunspec_discovery import MODELS_MAX, discover, spans
from controller.model import AnyReading, Battery, Command, FaultName, Inverter, Meter, Profile
from hil.clock import VirtualLoop
from hil.run.kill import Process
from tests.modbus_peer import virtual

END = struct.pack(">HH", 0xFFFF, 0)
PEER_IMAGE = Path(sunspec2_device.__file__).parent / "tests" / "test_data" / "device_1547.json"
POLL_MS = 500

COMMON: dict[str, Any] = {"ID": 1, "L": 66, "Mn": "Maker", "Md": "Box", "SN": "0815"}
MEASURES: dict[str, Any] = {"ID": 701, "L": 153, "InvSt": 3, "ConnSt": 1, "W": 250, "W_SF": 1, "Var": 0, "Var_SF": 0}
CAPACITY: dict[str, Any] = {"ID": 702, "L": 50, "WMax": 60, "WChaRteMax": 50, "WDisChaRteMax": 55, "W_SF": 2}
CONTROL: dict[str, Any] = {
    "ID": 704,
    "L": 65,
    "WSetEna": 0,
    "WSetMod": 0,
    "WSet": 0,
    "WSetRvrt": 0,
    "WSetPct": 11,
    "WSetPctRvrt": 12,
    "WSetEnaRvrt": 0,
    "WSetRvrtTms": 0,
    "WSetRvrtRem": 0,
    "WSet_SF": 1,
    "WSetPct_SF": 0,
}
SWITCH: dict[str, Any] = {
    "ID": 715,
    "L": 7,
    "LocRemCtl": 0,
    "DERHb": 0,
    "ControllerHb": 41,
    "AlarmReset": 0,
    "OpCtl": 1,
}
INVERTER = (COMMON, MEASURES, CAPACITY, CONTROL, SWITCH)

INVERTER_PROFILE = Profile(
    name="t", kind="inverter", protocol="sunspec", source="t", latency_ms=30, control="sunspec_704", watchdog_s=10
)
METER_PROFILE = Profile(name="t", kind="meter", protocol="sunspec", source="t", power_sign=-1)
BATTERY_PROFILE = Profile(name="t", kind="battery", protocol="sunspec", source="t")


def registers(*models: dict[str, Any]) -> bytes:
    """Return what pysunspec2 makes of raw values, as one chain."""
    return b"SunS" + b"".join(bytes(Model(one["ID"], data=one).get_mb()) for one in models) + END


def peer_image() -> bytes:
    """Return pysunspec2's own example of a device: 14 models, 614 registers with marker and end."""
    return registers(*json.loads(PEER_IMAGE.read_text())["models"])


class Device:
    """A register image at a base address, and what happens to those who ask for it."""

    def __init__(self, *models: dict[str, Any], image: bytes | None = None) -> None:
        self.image = bytearray(image if image is not None else registers(*models))
        self.base = 40000
        self.asked: list[Request] = []
        self.silent = False
        self.rule: Callable[[Request], int | None] = lambda request: None  # an exception code instead of an answer
        self.server = ModbusServer(self.answer)
        self.port = 0

    async def listen(self) -> None:
        """Take connections, on the same port as before."""
        await self.server.start("127.0.0.1", self.port)
        self.port = self.server.port

    def answer(self, request: Request) -> bytes | int | None:
        if self.silent:
            return None
        self.asked.append(request)
        start, size = 2 * (request.address - self.base), 2 * request.count
        if start < 0 or start + size > len(self.image):
            return ILLEGAL_ADDRESS
        if code := self.rule(request):
            return code
        if request.function == 16:
            self.image[start : start + size] = request.registers
            return b""
        return bytes(self.image[start : start + size])

    def chain(self) -> dict[int, tuple[int, int]]:
        """Return address and registers of every model."""
        found: dict[int, tuple[int, int]] = {}
        at = 4
        while (model_id := int.from_bytes(self.image[at : at + 2], "big")) != 0xFFFF:
            length = int.from_bytes(self.image[at + 2 : at + 4], "big")
            found.setdefault(model_id, (self.base + at // 2, length + 2))
            at += 4 + 2 * length
        return found

    def model(self, model_id: int) -> Any:
        """Return a model as pysunspec2 reads it from the registers."""
        address, count = self.chain()[model_id]
        at = 2 * (address - self.base)
        return Model(model_id, model_len=count - 2, data=bytes(self.image[at : at + 2 * count]))

    def put(self, model_id: int, **raw: int) -> None:
        """Change points."""
        model = self.model(model_id)
        for name, value in raw.items():
            model.points[name].value = value
        at = 2 * (self.chain()[model_id][0] - self.base)
        self.image[at : at + 2 * model.len] = model.get_mb()

    def become(self, *models: dict[str, Any], base: int = 40000) -> None:
        self.image, self.base = bytearray(registers(*models)), base

    @property
    def writes(self) -> list[tuple[int, int]]:
        """Return address and registers of what was written, heartbeats left out."""
        heartbeat = self.chain().get(715, (-10, 0))[0] + 5
        return [(one.address, one.count) for one in self.asked if one.function == 16 and one.address != heartbeat]


class Inbox:
    """Everything a link reports; heard and noticed wake whoever waits."""

    def __init__(self) -> None:
        self.readings: list[AnyReading] = []
        self.notices: list[tuple[FaultName, str | None]] = []
        self.news = asyncio.Event()

    def heard(self, reading: AnyReading) -> None:
        self.readings.append(reading)
        self.news.set()

    def noticed(self, fault: FaultName, device: str, detail: str | None) -> None:
        assert device == "device"
        self.notices.append((fault, detail))
        self.news.set()

    async def until(self, told: Callable[[], object]) -> None:
        """Wait until something holds; a minute of the device's time is the most."""
        async with asyncio.timeout(60):
            while not told():
                self.news.clear()
                await self.news.wait()

    async def readings_more(self, count: int = 1) -> None:
        before = len(self.readings)
        await self.until(lambda: len(self.readings) >= before + count)

    def faults(self) -> list[FaultName]:
        return [fault for fault, detail in self.notices if detail is not None]

    def standing(self, fault: FaultName) -> str | None:
        return next((detail for name, detail in reversed(self.notices) if name == fault), None)


@asynccontextmanager
async def linked(
    device: Device, profile: Profile = INVERTER_PROFILE, *, listening: bool = True
) -> AsyncIterator[tuple[SunSpecLink, Inbox]]:
    """Run a link to a device."""
    await device.listen()
    if not listening:
        await device.server.close()
    line = ModbusLine("127.0.0.1", device.port, timeout_ms=200)
    inbox = Inbox()
    link = SunSpecLink(line, 1, "device", profile, poll_ms=POLL_MS, inbox=inbox, clock=Clock())
    running = asyncio.ensure_future(link.run())
    try:
        yield link, inbox
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert not line.connected
        await device.server.close()


@asynccontextmanager
async def line_to(device: Device) -> AsyncIterator[ModbusLine]:
    await device.listen()
    line = ModbusLine("127.0.0.1", device.port, timeout_ms=200)
    await line.connect()
    try:
        yield line
    finally:
        await line.close()
        await device.server.close()


def command(power_w: int, *, running: bool = True, valid_ms: int = 10_000, reactive_var: int | None = None) -> Command:
    return Command(device="device", power_w=power_w, running=running, valid_ms=valid_ms, reactive_var=reactive_var)


# --- discovery --------------------------------------------------------------------------------------------------


@virtual
async def test_fourteen_models_are_found_and_read_in_at_most_twenty_requests() -> None:
    device = Device(image=peer_image())
    assert (len(device.chain()), len(device.image) // 2) == (14, 614)
    async with line_to(device) as line:
        found = await discover(line, 1)
    assert len(device.asked) <= 20
    assert {model.model_id: (model.address, model.length + 2) for model in found.models} == device.chain()
    assert b"".join(model.block for model in found.models) == device.image[4:-4]
    assert found.problems == ()


@virtual
async def test_a_link_tells_its_first_reading_within_twenty_requests() -> None:
    device = Device(image=peer_image())
    async with linked(device) as (_link, inbox):
        await inbox.readings_more()
        assert len(device.asked) <= 20
        assert isinstance(inbox.readings[0], Inverter)
        assert inbox.readings[0].power_w == device.model(701).W.cvalue


@pytest.mark.parametrize("base", [40000, 0, 50000])
@virtual
async def test_a_map_is_found_at_every_base_address(base: int) -> None:
    device = Device()
    device.become(*INVERTER, base=base)
    async with line_to(device) as line:
        found = await discover(line, 1)
    assert (found.base, found.models[0].address) == (base, base + 2)


@virtual
async def test_a_device_without_a_map_is_told_with_what_to_check() -> None:
    device = Device(image=bytes(500))
    async with line_to(device) as line:
        with pytest.raises(LinkError, match=r"no SunSpec map.*check its unit number"):
            await discover(line, 1)


def refuses_to_cross(device: Device) -> Callable[[Request], int | None]:
    """Refuse what does not lie within one model, its header alone or its body alone."""

    def rule(request: Request) -> int | None:
        if request.address == device.base:
            return None
        spaces = [*device.chain().values(), (device.base + len(device.image) // 2 - 2, 2)]
        inside = any(
            start <= request.address and request.address + request.count <= start + count for start, count in spaces
        )
        return None if inside or request.function == 16 else ILLEGAL_ADDRESS

    return rule


@virtual
async def test_a_device_that_refuses_reads_across_models_is_walked_plainly() -> None:
    device = Device(image=peer_image())
    device.rule = refuses_to_cross(device)
    async with line_to(device) as line:
        found = await discover(line, 1)
    assert b"".join(model.block for model in found.models) == device.image[4:-4]
    assert found.problems == ()
    refused = sum(device.rule(request) is not None for request in device.asked)
    assert refused == 1


@virtual
async def test_a_model_is_never_read_from_within_a_point() -> None:
    strings = [{"StrNMod": 1} for _ in range(5)]
    bank = {"ID": 803, "L": 26 - 2 + 32 * 5, "NStr": 5, "string": strings}
    device = Device(COMMON, MEASURES, bank)
    async with line_to(device) as line:
        found = await discover(line, 1)
    assert found.problems == ()
    ends = {start for start, _count in device.chain().values()}
    for model_id, (address, _count) in device.chain().items():
        ends |= {address + end for end in _ends(device.model(model_id))}
    for request in device.asked[1:]:
        assert request.address in ends or request.address - 2 in ends


def _ends(group: Any) -> Iterable[int]:
    yield from (point.offset + point.len for point in group.points.values())
    for inner in group.groups.values():
        for one in inner if isinstance(inner, list) else (inner,):
            yield from _ends(one)


@virtual
async def test_one_model_that_cannot_be_read_spoils_nothing() -> None:
    device = Device(*INVERTER)
    address, count = device.chain()[702]
    body = range(address + 2, address + count)
    device.rule = lambda request: 4 if request.address in body else None
    async with linked(device) as (_link, inbox):
        await inbox.readings_more()
    told = inbox.readings[0]
    assert isinstance(told, Inverter)
    assert (told.power_w, told.charge_max_w) == (2500, None)
    assert "model 702" in (inbox.standing("bad_reply") or "")


@virtual
async def test_an_end_of_one_register_is_the_end() -> None:
    device = Device(image=registers(*INVERTER)[:-2])
    async with line_to(device) as line:
        found = await discover(line, 1)
    assert [model.model_id for model in found.models] == [1, 701, 702, 704, 715]
    assert found.problems == ()


@virtual
async def test_a_chain_without_an_end_keeps_what_was_found_and_says_so() -> None:
    device = Device(image=registers(*INVERTER)[:-4])
    async with line_to(device) as line:
        found = await discover(line, 1)
    assert [model.model_id for model in found.models] == [1, 701, 702, 704, 715]
    assert "breaks off" in found.problems[0]


@virtual
async def test_a_chain_that_runs_in_a_circle_is_left_after_128_models() -> None:
    device = Device(image=b"SunS" + struct.pack(">HH", 64999, 0) * 1000)
    async with line_to(device) as line:
        found = await discover(line, 1)
    assert len(found.models) == MODELS_MAX
    assert "circle" in found.problems[0]
    assert len(device.asked) <= MODELS_MAX + 2


@virtual
async def test_a_length_beyond_the_last_register_ends_the_chain() -> None:
    device = Device(image=b"SunS" + struct.pack(">HH", 701, 60000) + bytes(400))
    async with line_to(device) as line:
        found = await discover(line, 1)
    assert found.models == ()
    assert "beyond the last register" in found.problems[0]


@virtual
async def test_a_vendor_model_is_kept_in_the_map_and_stepped_over() -> None:
    vendor = struct.pack(">HH", 64201, 40) + bytes(80)
    image = registers(COMMON)[:-4] + vendor + registers(*INVERTER[1:])[4:]
    device = Device(image=image)
    async with linked(device) as (_link, inbox):
        await inbox.readings_more()
    assert device.chain()[64201] == (40070, 42)
    assert isinstance(inbox.readings[0], Inverter)
    assert inbox.readings[0].power_w == 2500


@virtual
async def test_models_back_to_back_share_a_request_where_they_fit() -> None:
    device = Device(*INVERTER)
    async with line_to(device) as line:
        found = await discover(line, 1)
    models = [found.model(model_id) for model_id in (702, 704, 715)]
    assert [[part.model_id for part, _count in span.parts] for span in spans(models, joined=True)] == [
        [702, 704],
        [715],
    ]
    assert [span.count for span in spans(models, joined=True)] == [119, 9]
    assert [span.count for span in spans(models, joined=False)] == [52, 67, 9]


# --- readings ---------------------------------------------------------------------------------------------------


@virtual
async def test_an_inverter_is_read_at_its_pace_with_its_settings_and_its_times() -> None:
    device = Device(*INVERTER)
    async with linked(device) as (_link, inbox):
        await inbox.readings_more(4)
    first, second, third = inbox.readings[:3]
    assert isinstance(first, Inverter)
    assert (first.power_w, first.state, first.remote) == (2500, "run", True)
    assert (first.charge_max_w, first.discharge_max_w) == (5000, 5500)
    assert first.heard_ms - first.sampled_ms == INVERTER_PROFILE.latency_ms
    assert third.heard_ms - second.heard_ms == POLL_MS
    assert inbox.notices == []


@virtual
async def test_a_poll_takes_one_request_and_the_settings_come_less_often() -> None:
    device = Device(*INVERTER)
    async with linked(device) as (_link, inbox):
        await inbox.readings_more()
        before = len(device.asked)
        await inbox.readings_more(8)
    asked = device.asked[before:]
    assert sum(one.count == 123 for one in asked) == 8
    assert len(asked) <= 8 + 2 * 2


@virtual
async def test_a_scale_factor_that_changes_between_two_polls_is_applied_at_once() -> None:
    device = Device(*INVERTER)
    async with linked(device) as (_link, inbox):
        await inbox.readings_more()
        device.put(701, W=2500, W_SF=0)
        await inbox.readings_more()
    assert [one.power_w for one in inbox.readings if isinstance(one, Inverter)] == [2500, 2500]


@pytest.mark.parametrize("factor", [-11, 300, None])
@virtual
async def test_a_scale_factor_that_cannot_be_leaves_the_power_unknown_until_it_is_mended(factor: int | None) -> None:
    device = Device(*INVERTER)
    device.put(701, W_SF=factor)  # type: ignore[arg-type]
    async with linked(device) as (_link, inbox):
        await inbox.readings_more(2)
        assert "701.W not used" in (inbox.standing("bad_reply") or "")
        device.put(701, W_SF=1)
        await inbox.until(lambda: inbox.standing("bad_reply") is None)
    powers = [one.power_w for one in inbox.readings if isinstance(one, Inverter)]
    assert powers[:2] == [None, None]
    assert powers[-1] == 2500
    clean_ms = inbox.readings[-1].heard_ms - inbox.readings[2].heard_ms
    assert CLEAN_MS - POLL_MS <= clean_ms <= CLEAN_MS + POLL_MS


@virtual
async def test_a_meter_is_turned_to_our_sign_and_silent_where_it_tells_no_power() -> None:
    meter = {"ID": 203, "L": 105, "W": 120, "W_SF": 1, "PhV": 2300, "V_SF": -1, "Hz": 5001, "Hz_SF": -2}
    device = Device(COMMON, meter)
    async with linked(device, METER_PROFILE) as (_link, inbox):
        await inbox.readings_more()
        told = inbox.readings[0]
        assert isinstance(told, Meter)
        assert (told.power_w, told.voltage_mv, told.frequency_mhz) == (-1200, 230_000, 50_010)
        device.put(203, W=-32768)
        await inbox.until(lambda: inbox.standing("bad_reply"))
    assert inbox.standing("bad_reply") == "it answers but does not tell its power"


@virtual
async def test_a_battery_behind_sunspec_is_read_with_its_storage_model() -> None:
    bank = {"ID": 802, "L": 62, "SoC": 61, "SoC_SF": 0, "V": 51, "V_SF": 0, "State": 3, "Evt1": 0}
    storage = {"ID": 713, "L": 7, "WHRtg": 100, "SoC": 60, "SoH": 98, "Pct_SF": 0, "WH_SF": 2}
    device = Device(COMMON, storage, bank)
    async with linked(device, BATTERY_PROFILE) as (_link, inbox):
        await inbox.readings_more()
        before = len(device.asked)
        await inbox.readings_more()
        assert len(device.asked) == before + 1
        device.rule = refuses_to_cross(device)
        await inbox.readings_more(2)
    told = inbox.readings[-1]
    assert isinstance(told, Battery)
    assert (told.soc_bp, told.soh_bp, told.voltage_mv, told.contactor_closed) == (6100, 9800, 51_000, True)
    assert inbox.notices == []


@virtual
async def test_a_reading_is_as_old_as_the_first_reply_that_it_is_made_of() -> None:
    bank = {"ID": 802, "L": 62, "SoC": 61, "SoC_SF": 0, "V": 51, "V_SF": 0, "State": 3, "Evt1": 0}
    storage = {"ID": 713, "L": 7, "WHRtg": 100, "SoC": 60, "SoH": 98, "Pct_SF": 0, "WH_SF": 2}
    device = Device(COMMON, storage, bank)
    loop, crossed, asked_ms = asyncio.get_running_loop(), refuses_to_cross(device), []
    assert isinstance(loop, VirtualLoop)
    process, inbox = Process(loop), Inbox()

    def rule(request: Request) -> int | None:
        if len(inbox.readings) == 2:
            asked_ms.append(int(loop.time() * 1000))
            process.stall(0.15 if len(asked_ms) == 2 else 0)  # the second reply waits in its socket
        return crossed(request)

    device.rule = rule
    await device.listen()
    line = ModbusLine("127.0.0.1", device.port, timeout_ms=200)
    link = SunSpecLink(line, 1, "device", BATTERY_PROFILE, poll_ms=POLL_MS, inbox=inbox, clock=Clock())
    process.start(link.run(), "link")
    await inbox.readings_more(3)
    assert len(asked_ms) == 2, "two models, two requests"
    assert inbox.readings[2].heard_ms == asked_ms[0]
    assert int(loop.time() * 1000) >= asked_ms[1] + 149
    await process.leave()
    await device.server.close()


@virtual
async def test_a_model_shorter_than_its_paper_tells_what_it_has() -> None:
    device = Device(*INVERTER)
    at = 2 * (device.chain()[701][0] - device.base)
    short = device.image[at : at + 2] + struct.pack(">H", 121) + device.image[at + 4 : at + 2 * 123]
    device.image[at : at + 2 * 155] = short
    async with linked(device) as (_link, inbox):
        await inbox.readings_more()
    assert isinstance(inbox.readings[0], Inverter)
    assert inbox.readings[0].power_w == 2500


@virtual
async def test_a_device_of_another_kind_is_told_with_the_models_it_has() -> None:
    device = Device(*INVERTER)
    async with linked(device, METER_PROFILE) as (_link, inbox):
        await inbox.until(lambda: inbox.standing("link_down"))
    assert "no model that a meter is read by, only 1, 701, 702, 704, 715" in (inbox.standing("link_down") or "")
    assert inbox.readings == []


# --- losing and finding -----------------------------------------------------------------------------------------


@virtual
async def test_a_device_that_is_not_there_yet_is_tried_with_growing_pauses_until_it_is() -> None:
    device = Device(*INVERTER)
    async with linked(device, listening=False) as (link, inbox):
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await inbox.until(lambda: inbox.standing("link_down"))
        assert "check the address and port" in (inbox.standing("link_down") or "")
        with pytest.raises(LinkError, match="not written"):
            await link.send(command(1000))
        await asyncio.sleep(20)
        await device.listen()
        await inbox.readings_more()
        assert 20 < loop.time() - begin < 40
    assert inbox.faults() == ["link_down"]
    assert inbox.standing("link_down") is None


@virtual
async def test_a_device_that_falls_silent_ages_and_comes_back() -> None:
    device = Device(*INVERTER)
    async with linked(device) as (link, inbox):
        await inbox.readings_more(2)
        device.silent = True
        await inbox.until(lambda: inbox.standing("link_down"))
        heard = len(inbox.readings)
        with pytest.raises(LinkError):
            await link.send(command(1000))
        device.silent = False
        await inbox.until(lambda: len(inbox.readings) > heard)
        assert inbox.standing("link_down") is None
        await link.send(command(1000))
    assert device.model(704).WSet.cvalue == 1000
    assert "map_moved" not in inbox.faults()


@virtual
async def test_one_lost_reply_is_no_reason_to_start_over() -> None:
    device = Device(*INVERTER)
    async with linked(device) as (_link, inbox):
        await inbox.readings_more(2)
        device.silent = True
        await asyncio.sleep(POLL_MS / 1000)
        device.silent = False
        before = len(device.asked)
        await inbox.readings_more(3)
        assert all(one.address != device.base for one in device.asked[before:])
    assert inbox.notices == []


@virtual
async def test_a_map_that_moved_is_read_anew_and_told() -> None:
    device = Device(*INVERTER)
    async with linked(device) as (link, inbox):
        await inbox.readings_more(2)
        device.become(*INVERTER, base=0)
        device.put(701, W=111)
        await inbox.until(lambda: inbox.standing("map_moved"))
        assert inbox.standing("map_moved") == "the map moved from 40000 to 0"
        await inbox.readings_more()
        await link.send(command(-2000))
        await inbox.until(lambda: inbox.standing("map_moved") is None)
    assert isinstance(inbox.readings[-1], Inverter)
    assert inbox.readings[-1].power_w == 1110
    assert device.model(704).WSet.cvalue == -2000
    assert "wrong_device" not in inbox.faults()


@virtual
async def test_a_model_that_slipped_in_before_the_others_is_noticed_at_the_next_poll() -> None:
    device = Device(*INVERTER)
    async with linked(device) as (_link, inbox):
        await inbox.readings_more(2)
        device.become(COMMON, CAPACITY, MEASURES, CONTROL, SWITCH)
        await inbox.until(lambda: inbox.standing("map_moved"))
        await inbox.readings_more()
    assert inbox.standing("map_moved") == "model 701 moved from 40070 to 40122, model 702 moved from 40225 to 40070"
    assert all(one.power_w == 2500 for one in inbox.readings if isinstance(one, Inverter))


@pytest.mark.parametrize("other", [{"SN": "4711"}, {"Md": "Crate"}, {"Mn": "Copier"}])
@virtual
async def test_another_device_at_the_address_is_neither_read_nor_commanded(other: dict[str, str]) -> None:
    device = Device(*INVERTER)
    async with linked(device) as (link, inbox):
        await inbox.readings_more(2)
        await device.server.close()
        device.become(COMMON | other, *INVERTER[1:])
        await device.listen()
        await inbox.until(lambda: inbox.standing("wrong_device"))
        assert "answers where Maker Box 0815 was met" in (inbox.standing("wrong_device") or "")
        heard = len(inbox.readings)
        await asyncio.sleep(30)
        with pytest.raises(LinkError, match="no reading was heard"):
            await link.send(command(1000))
        assert (len(inbox.readings), device.writes) == (heard, [])
        device.become(*INVERTER)
        await inbox.readings_more()
        assert inbox.standing("wrong_device") is None


@virtual
async def test_a_device_that_does_not_tell_who_it_is_while_it_starts_is_waited_for() -> None:
    device = Device(*INVERTER)
    async with linked(device) as (_link, inbox):
        await inbox.readings_more(2)
        await device.server.close()
        device.become({"ID": 1, "L": 66, "Mn": "Maker", "Md": "Box"}, *INVERTER[1:])
        await device.listen()
        await inbox.until(lambda: "does not tell" in (inbox.standing("link_down") or ""))
        device.become(*INVERTER)
        await inbox.readings_more()
    assert "wrong_device" not in inbox.faults()


ISOLATION: dict[str, Any] = {"ID": 122, "L": 44, "PVConn": 0, "StorConn": 0, "ECPConn": 1, "Ris": 800, "Ris_SF": 3}
WATCHED = (COMMON, MEASURES, CAPACITY, CONTROL, SWITCH, ISOLATION)
ROUND_MS = 5 * POLL_MS  # 702 with 704, 715 and 122 take turns over four polls; the link counts one for each model


def insulation(inbox: Inbox) -> int | None:
    last = inbox.readings[-1]
    assert isinstance(last, Inverter)
    return last.isolation_kohm


@virtual
async def test_insulation_is_read_among_the_settings_and_one_that_is_told_no_more_is_unknown() -> None:
    device = Device(*WATCHED)
    async with linked(device) as (_link, inbox):
        await inbox.readings_more()
        assert insulation(inbox) == 800
        device.put(122, Ris=31)
        await inbox.until(lambda: insulation(inbox) == 31)
        device.put(122, Ris=0xFFFF)  # some measure it before they connect alone: their own guard is all there is then
        await inbox.until(lambda: insulation(inbox) is None)


@virtual
async def test_insulation_that_cannot_be_read_any_more_is_unknown_while_all_else_goes_on() -> None:
    device = Device(*WATCHED)
    async with linked(device) as (_link, inbox):
        await inbox.readings_more(2)
        at = device.chain()[122][0]
        device.rule = lambda one: 4 if one.address <= at < one.address + one.count else None
        began_ms = inbox.readings[-1].heard_ms
        await inbox.until(lambda: insulation(inbox) is None)
        last = inbox.readings[-1]
        assert isinstance(last, Inverter)
        assert (last.power_w, last.charge_max_w, last.remote) == (2500, 5000, True)
        stale_ms = INVERTER_PROFILE.stale_after_ms
        assert stale_ms <= last.heard_ms - began_ms <= stale_ms + 2 * ROUND_MS
        device.rule = lambda one: None
        await inbox.until(lambda: insulation(inbox) == 800)


@virtual
async def test_apparent_power_that_is_told_no_more_stays_and_a_lost_connection_shows() -> None:
    device = Device(COMMON, MEASURES, {**CAPACITY, "VAMax": 6600, "VA_SF": 0}, CONTROL, SWITCH)
    async with linked(device) as (_link, inbox):
        await inbox.readings_more()
        device.put(702, VAMax=0xFFFF)
        device.put(701, ConnSt=0)
        await inbox.readings_more(12)
        last = inbox.readings[-1]
    assert isinstance(inbox.readings[0], Inverter) and inbox.readings[0].connected is True
    assert isinstance(last, Inverter)
    assert (last.apparent_max_va, last.connected) == (6600, False)


# --- commands ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("power_w", "running", "stored_w"), [(4321, True, 4320), (-4329, True, -4320), (4000, False, 0)]
)
@virtual
async def test_a_set_point_is_one_write_that_pysunspec2_reads_back(power_w: int, running: bool, stored_w: int) -> None:
    device = Device(*INVERTER)
    async with linked(device) as (link, inbox):
        await inbox.readings_more()
        await link.send(command(power_w, running=running, valid_ms=9_001))
    model = device.model(704)
    told = {
        name: model.points[name].cvalue
        for name in ("WSetEna", "WSetMod", "WSet", "WSetRvrt", "WSetEnaRvrt", "WSetRvrtTms")
    }
    assert told == {"WSetEna": 1, "WSetMod": 1, "WSet": stored_w, "WSetRvrt": 0, "WSetEnaRvrt": 0, "WSetRvrtTms": 10}
    assert (model.WSetPct.value, model.WSetPctRvrt.value) == (11, 12)
    assert device.writes == [(device.chain()[704][0] + 22, 11)]


REACTIVE: dict[str, Any] = {
    "VarSetEna": 0,
    "VarSetMod": 0,
    "VarSetPri": 1,
    "VarSet": 0,
    "VarSetRvrt": 0,
    "VarSetPct": 0,
    "VarSetPctRvrt": 0,
    "VarSetEnaRvrt": 0,
    "VarSetRvrtTms": 0,
    "VarSetRvrtRem": 0,
    "VarSet_SF": 0,
}
WITH_VARS = (COMMON, MEASURES, CAPACITY, {**CONTROL, **REACTIVE}, SWITCH)


@pytest.mark.parametrize("reactive_var", [1500, -1500, 0])
@virtual
async def test_reactive_power_is_one_more_write_that_pysunspec2_reads_back(reactive_var: int) -> None:
    device = Device(*WITH_VARS)
    async with linked(device) as (link, inbox):
        await inbox.readings_more()
        await link.send(command(2000, reactive_var=reactive_var))
        model, at = device.model(704), device.chain()[704][0]
        assert device.writes == [(at + 22, 11), (at + 35, 12)]
        assert (model.WSetEna.value, model.WSet.cvalue) == (1, 2000)
        assert (model.VarSetEna.value, model.VarSetMod.value, model.VarSetPri.value) == (1, 4, 1)
        assert (model.VarSet.cvalue, model.VarSetRvrtTms.value) == (reactive_var, 10)


@virtual
async def test_reactive_power_that_is_asked_no_more_is_taken_back_once() -> None:
    device = Device(*WITH_VARS)
    async with linked(device) as (link, inbox):
        await inbox.readings_more()
        await link.send(command(2000))
        await link.send(command(2000, reactive_var=900))
        before = len(device.writes)
        await link.send(command(2000))
        await link.send(command(2100))
        at = device.chain()[704][0]
        assert device.writes[before:] == [(at + 22, 11), (at + 35, 1), (at + 22, 11)]
        assert (device.model(704).VarSetEna.value, device.model(704).WSetEna.value) == (0, 1)


@virtual
async def test_a_unit_that_does_not_run_gives_no_vars() -> None:
    device = Device(*WITH_VARS)
    async with linked(device) as (link, inbox):
        await inbox.readings_more()
        await link.send(command(2000, reactive_var=900))
        await link.send(command(2000, running=False, reactive_var=900))
        model = device.model(704)
        assert (model.WSetEna.value, model.WSet.cvalue, model.VarSetEna.value) == (1, 0, 0)


@virtual
async def test_a_lost_take_back_is_tried_again_with_the_next_command() -> None:
    device = Device(*WITH_VARS)
    async with linked(device) as (link, inbox):
        await inbox.readings_more()
        await link.send(command(2000, reactive_var=900))
        at = device.chain()[704][0]
        device.rule = lambda one: 4 if one.function == 16 and one.address == at + 35 else None
        with pytest.raises(PartlyWritten, match=r"reactive power was not written.*exception 4"):
            await link.send(command(2000))
        device.rule = lambda one: None
        await link.send(command(2000))
        assert device.model(704).VarSetEna.value == 0


@virtual
async def test_a_device_without_vars_takes_its_active_power_and_says_what_it_lacks() -> None:
    device = Device(*INVERTER)
    async with linked(device) as (link, inbox):
        await inbox.readings_more()
        with pytest.raises(PartlyWritten, match="model 704 does not implement VarSetEna: it takes no reactive power"):
            await link.send(command(3000, reactive_var=900))
        await link.send(command(3000))
        assert device.model(704).WSet.cvalue == 3000
        assert device.writes == [(device.chain()[704][0] + 22, 11)] * 2
        assert inbox.notices == []


@virtual
async def test_a_device_that_refuses_vars_keeps_its_active_power() -> None:
    device = Device(*WITH_VARS)
    async with linked(device) as (link, inbox):
        await inbox.readings_more()
        at = device.chain()[704][0]
        device.rule = lambda one: 3 if one.function == 16 and one.address == at + 35 else None
        with pytest.raises(PartlyWritten, match="exception 3"):
            await link.send(command(3000, reactive_var=900))
        assert (device.model(704).WSetEna.value, device.model(704).WSet.cvalue) == (1, 3000)


@virtual
async def test_vars_that_are_refused_half_way_are_ended() -> None:
    """The timer goes out first where the device has a gap before its vars; it must not run for the old ones."""
    device = Device(COMMON, MEASURES, CAPACITY, {**CONTROL, **REACTIVE, "VarSetPri": None}, SWITCH)
    async with linked(device) as (link, inbox):
        await inbox.readings_more()
        await link.send(command(3000, reactive_var=900))
        assert device.model(704).VarSetEna.value == 1
        at = device.chain()[704][0]
        device.rule = lambda one: 3 if one.function == 16 and (one.address, one.count) == (at + 35, 2) else None
        with pytest.raises(PartlyWritten):
            await link.send(command(3000, reactive_var=-900))
        assert (device.model(704).VarSetEna.value, device.model(704).WSetEna.value) == (0, 1)


@virtual
async def test_a_power_that_is_not_acknowledged_takes_no_vars_with_it() -> None:
    device = Device(*WITH_VARS)
    async with linked(device) as (link, inbox):
        await inbox.readings_more()
        device.rule = lambda one: 3 if one.function == 16 else None
        with pytest.raises(ModbusException, match="exception 3"):
            await link.send(command(3000, reactive_var=900))
        assert len(device.writes) == 1


@virtual
async def test_a_device_with_its_sign_turned_is_commanded_in_its_own_sign() -> None:
    device = Device(*INVERTER)
    turned = Profile(name="t", kind="inverter", protocol="sunspec", source="t", control="sunspec_704", power_sign=-1)
    async with linked(device, turned) as (link, inbox):
        await inbox.readings_more()
        await link.send(command(3000))
    assert isinstance(inbox.readings[0], Inverter)
    assert inbox.readings[0].power_w == -2500
    assert device.model(704).WSet.cvalue == -3000


@virtual
async def test_a_device_in_local_control_is_not_written_to() -> None:
    device = Device(*INVERTER)
    async with linked(device) as (link, inbox):
        await inbox.readings_more()
        device.put(715, LocRemCtl=1)
        await inbox.until(lambda: isinstance(inbox.readings[-1], Inverter) and not inbox.readings[-1].remote)
        with pytest.raises(LinkError, match="local control"):
            await link.send(command(1000))
    assert device.writes == []


@virtual
async def test_a_rating_and_a_switch_that_are_told_no_more_widen_nothing() -> None:
    device = Device(*INVERTER)
    device.put(702, WMax=5000)
    async with linked(device) as (link, inbox):
        await inbox.readings_more()
        assert isinstance(inbox.readings[-1], Inverter)
        told_w = inbox.readings[-1].discharge_max_w
        assert told_w is not None
        for model, point in ((702, "WMax"), (702, "WDisChaRteMax"), (715, "LocRemCtl")):
            device.put(model, **{point: 0xFFFF})
        await inbox.until(lambda: isinstance(inbox.readings[-1], Inverter) and not inbox.readings[-1].remote)
        assert isinstance(inbox.readings[-1], Inverter)
        assert inbox.readings[-1].discharge_max_w == told_w
        device.put(715, LocRemCtl=0)
        await inbox.until(lambda: isinstance(inbox.readings[-1], Inverter) and inbox.readings[-1].remote)
        await link.send(command(1000))


@virtual
async def test_a_device_that_no_longer_answers_for_its_settings_is_not_believed_to_obey_for_ever() -> None:

    class Forgetful(Device):
        switch = -1

        def answer(self, request: Request) -> bytes | int | None:
            asked = request.address <= self.switch < request.address + request.count
            return None if asked else super().answer(request)

    device = Forgetful(*INVERTER)
    async with linked(device) as (_link, inbox):
        await inbox.readings_more()
        device.switch = device.chain()[715][0]
        await inbox.until(lambda: inbox.standing("link_down"))
        count = len(inbox.readings)
        await asyncio.sleep(30)
        assert len(inbox.readings) == count


@virtual
async def test_a_rating_that_is_refused_for_once_does_not_open_the_site_to_its_nameplate() -> None:
    device = Device(*INVERTER)
    async with linked(device) as (_link, inbox):
        await inbox.readings_more()
        capacity = device.chain()[702][0]
        device.rule = lambda one: 4 if one.address <= capacity < one.address + one.count else None
        await inbox.readings_more(12)
        last = inbox.readings[-1]
    assert isinstance(last, Inverter)
    assert (last.charge_max_w, last.discharge_max_w, last.remote) == (5000, 5500, True)


@virtual
async def test_a_set_point_that_is_refused_half_way_does_not_prolong_the_old_one() -> None:
    """A device with a gap in its registers takes the timer in a write of its own, before the power."""
    device = Device(COMMON, MEASURES, CAPACITY, {**CONTROL, "WSetRvrt": None}, SWITCH)
    async with linked(device) as (link, inbox):
        await inbox.readings_more()
        await link.send(command(2000))
        assert device.model(704).WSetEna.value == 1
        address = device.chain()[704][0]
        device.rule = lambda one: 3 if one.function == 16 and one.address == address + 22 and one.count > 1 else None
        with pytest.raises(ModbusException, match="exception 3"):
            await link.send(command(-500))
    assert device.model(704).WSetEna.value == 0


@virtual
async def test_a_device_that_refuses_the_set_point_is_told_with_its_code() -> None:
    device = Device(*INVERTER)
    device.rule = lambda request: 3 if request.function == 16 else None
    async with linked(device) as (link, inbox):
        await inbox.readings_more()
        with pytest.raises(ModbusException, match="exception 3"):
            await link.send(command(1000))
    assert len(device.writes) == 1


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ((COMMON, MEASURES, CAPACITY, SWITCH), "no model 704"),
        ((COMMON, MEASURES, {**CONTROL, "WSetRvrtTms": None}, SWITCH), "for ever"),
        ((COMMON, MEASURES, {**CONTROL, "WSet_SF": 300}, SWITCH), "scale factor 300"),
    ],
)
@virtual
async def test_a_device_that_cannot_hold_a_leased_set_point_is_told_and_never_written_to(
    models: tuple[dict[str, Any], ...], told: str
) -> None:
    device = Device(*models)
    async with linked(device) as (link, inbox):
        await inbox.readings_more()
        assert told in (inbox.standing("write_failed") or "")
        link.tick()
        await inbox.readings_more(4)
        with pytest.raises(LinkError, match=told):
            await link.send(command(1000))
    assert [one for one in device.asked if one.function == 16] == []
    assert inbox.faults()[0] == "write_failed"


@virtual
async def test_a_scale_factor_that_heals_lets_commands_through_again() -> None:
    device = Device(*INVERTER)
    device.put(704, WSet_SF=11)
    async with linked(device) as (link, inbox):
        await inbox.until(lambda: inbox.standing("write_failed"))
        device.put(704, WSet_SF=0)
        await inbox.until(lambda: inbox.standing("write_failed") is None)
        await inbox.readings_more()
        await link.send(command(1234))
    assert device.model(704).WSet.cvalue == 1234


@virtual
async def test_a_link_without_control_never_writes() -> None:
    device = Device(*INVERTER)
    silent = Profile(name="t", kind="inverter", protocol="sunspec", source="t")
    async with linked(device, silent) as (link, inbox):
        link.tick()
        await inbox.readings_more(3)
        with pytest.raises(LinkError, match="its profile allows no control"):
            await link.send(command(1000))
    assert [one for one in device.asked if one.function == 16] == []
    assert inbox.notices == []


@virtual
async def test_the_heartbeat_counts_seconds_while_cycles_finish_and_stops_when_they_do_not() -> None:
    device = Device(*INVERTER)
    async with linked(device) as (link, inbox):
        await inbox.readings_more(4)
        assert device.model(715).ControllerHb.value == 41
        for _poll in range(10):
            link.tick()
            await inbox.readings_more()
        beaten = device.model(715).ControllerHb.value
        assert 45 <= beaten <= 47
        await inbox.readings_more(10)
        assert device.model(715).ControllerHb.value in (beaten, beaten + 1)


@virtual
async def test_a_device_that_refuses_the_heartbeat_is_left_alone_and_read_on() -> None:
    device = Device(*INVERTER)
    device.rule = lambda request: 2 if request.function == 16 else None
    async with linked(device) as (link, inbox):
        for _poll in range(6):
            link.tick()
            await inbox.readings_more()
    assert sum(one.function == 16 for one in device.asked) == 1
    assert "heartbeat" in (inbox.standing("bad_reply") or "")
