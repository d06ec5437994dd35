"""The demo's own parts: its processes, its utility client, its command line. The whole of it is run by `make demo`."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest
from rich.console import Console

from controller.link.modbus_server import ModbusServer, Request
from controller.model import Bound, Decision
from hil import demo
from hil.children import Child, ChildError, SetupError, answers, free, start, stopped_by_signals, used
from hil.dispatch import Dispatch, DispatchError
from hil.faults.words import Fault
from hil.main import main
from hil.run.control import ControlServer, Demand, DemandError
from hil.run.remote import RemotePlant
from hil.show import because
from hil.stage import Devices
from hil.summary import encode
from tests.test_report import a_summary
from tests.truths import a_truth

FUNCTION = 22  # 704: WSetEna, WSetMod, WSet, ... WSetRvrtTms in registers 22 to 32, as the published model has them
SCALE = 55  # WSet_SF


class Site704:
    """A SunSpec map of the seven models, all registers plain memory."""

    def __init__(self, models: tuple[tuple[int, int], ...], scale: int = 0, refuse: int = 0) -> None:
        self.refuse = refuse
        self.writes: list[Request] = []
        self.registers = {40_000: 0x5375, 40_001: 0x6E53}
        self.at = {}
        address = 40_002
        for model, length in (*models, (0xFFFF, 0)):
            self.at[model] = address
            self.registers |= {address: model, address + 1: length}
            self.registers |= dict.fromkeys(range(address + 2, address + 2 + length), 0)
            address += 2 + length
        if 704 in self.at:
            self.registers[self.at[704] + SCALE] = scale & 0xFFFF

    def answer(self, request: Request) -> bytes | int | None:
        if request.function == 3:
            places = range(request.address, request.address + request.count)
            return b"".join(self.registers.get(place, 0).to_bytes(2, "big") for place in places)
        self.writes.append(request)
        if not self.refuse:
            numbers = [int.from_bytes(request.registers[at : at + 2], "big") for at in range(0, 2 * request.count, 2)]
            self.registers |= dict(enumerate(numbers, request.address))
        return self.refuse or b""


ALL = ((1, 66), (701, 153), (702, 50), (703, 17), (704, 65), (713, 7), (715, 7))


async def served(site: Site704) -> ModbusServer:
    server = ModbusServer(site.answer)
    await server.start("127.0.0.1", 0)
    return server


@pytest.mark.parametrize(
    ("power_w", "scale", "registers"),
    [
        (8000, 0, "0001 0001 0000 1f40"),
        (-8000, 0, "0001 0001 ffff e0c0"),
        (8000, 1, "0001 0001 0000 0320"),
        (-50, -1, "0001 0001 ffff fe0c"),
    ],
)
async def test_utility_writes_the_set_point_as_one_block(power_w: int, scale: int, registers: str) -> None:
    site = Site704(ALL, scale=scale)
    server = await served(site)
    dispatch = Dispatch(server.port, 1)
    await dispatch.discover()
    assert await dispatch.ask(power_w)
    await dispatch.close()
    await server.close()
    (request,) = site.writes
    assert (request.function, request.address) == (16, site.at[704] + FUNCTION)
    assert request.registers == bytes.fromhex(registers) + bytes(14), "nothing to revert to, and no timer"
    assert (dispatch.written, dispatch.failed) == (1, 0)


async def test_refused_set_point_is_counted_and_not_taken_for_given() -> None:
    site = Site704(ALL, refuse=3)
    server = await served(site)
    dispatch = Dispatch(server.port, 1)
    await dispatch.discover()
    assert not await dispatch.ask(8000)
    await dispatch.close()
    await server.close()
    assert (dispatch.written, dispatch.failed) == (0, 1)


@pytest.mark.parametrize(
    ("place", "number", "guest_w"),
    [
        (3, 8000, None),
        (3, 7999, 7999),
        (2, 0xFFFF, -57_536),
        (10, 20, 8000),
        (0, 0, None),
        (1, 0, None),
    ],
)
async def test_utility_knows_the_set_point_of_another_client_from_its_own(
    place: int, number: int, guest_w: int | None
) -> None:
    """Value, sign, timer, function disabled, set point in percent: one register of the block at a time."""
    site = Site704(ALL)
    server = await served(site)
    dispatch = Dispatch(server.port, 1)
    await dispatch.discover()
    assert await dispatch.ask(8000)
    assert await dispatch.guest_w() is None
    site.registers[site.at[704] + FUNCTION + place] = number
    assert await dispatch.guest_w() == guest_w
    await dispatch.close()
    await server.close()


async def test_map_without_the_der_models_is_named() -> None:
    server = await served(Site704(((1, 66), (103, 50))))
    dispatch = Dispatch(server.port, 1)
    with pytest.raises(DispatchError, match="704"):
        await dispatch.discover()
    await dispatch.close()
    await server.close()


def test_taken_port_is_named_with_what_it_was_wanted_for() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            spare = other.getsockname()[1]
        told = rf"port {port} on 127.0.0.1, wanted for the emulated meter: .*\n.*sport = :{port}'"
        with pytest.raises(SetupError, match=told):
            free({"controller": spare, "emulated meter": port})
    free({"emulated meter": port})


async def a_child(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> Child:
    """Start a process that runs a few lines."""
    (folder / "some_child.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return await start("some device", "some_child", [], folder)


async def test_process_that_ends_by_itself_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = await a_child(tmp_path, monkeypatch, "import sys\nsys.exit('the meter is on fire')")
    await child.process.wait()
    with pytest.raises(ChildError, match="the meter is on fire"):
        child.check()
    with pytest.raises(ChildError, match="some device"):
        await answers(child, 1, 5)
    await child.stop()


DEVICES = """
import pathlib, socket, sys
door = socket.create_server(("127.0.0.1", 0))
pathlib.Path({port!r}).write_text(str(door.getsockname()[1]) + ";")
caller, _ = door.accept()
caller.recv(1000)
sys.exit("the plant blew up")
"""


async def test_devices_that_die_are_told_with_their_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = tmp_path / "port"
    child = await a_child(tmp_path, monkeypatch, DEVICES.format(port=str(port)))
    async with asyncio.timeout(20):
        while not port.exists() or not port.read_text().endswith(";"):
            child.check()
            await asyncio.sleep(0)
        monkeypatch.setattr("hil.stage.CONTROL_PORT", int(port.read_text().rstrip(";")))
        devices = Devices(child)
        with pytest.raises(ChildError, match=r"code 1:\nthe plant blew up"):
            while True:
                devices.check()
                await asyncio.sleep(0)
    await devices.hang_up()


async def test_plant_of_another_process_is_set_and_broken_over_its_line_and_tells_what_is_cut() -> None:
    demands: list[Demand] = []

    def answer(demand: Demand) -> object:
        demands.append(demand)
        if demand.name == "moon_w":
            raise DemandError("moon_w read, allowed are load_w, pv_w")
        return a_truth(cut=frozenset(("battery1",)), load_w=1234.0) if demand.do == "truth" else {"number": 0}

    server = ControlServer(answer)
    await server.start("127.0.0.1", 0)
    plant = RemotePlant(server.port)
    listening = asyncio.create_task(plant.run())
    await asyncio.wait_for(plant.fresh.wait(), 20)
    plant.cut, plant.order_w = {"meter"}, 3000
    truth = plant.truth()
    assert truth.cut == frozenset(("battery1", "meter"))
    assert (truth.order_w, truth.load_w) == (3000.0, 1234.0)
    fault = Fault(on="battery1", do="drop_all", at_s=30.0, for_s=4.5)
    plant.set("load_w", 300.0)
    plant.arm(fault)
    plant.set("moon_w", 1.0)
    await plant.sent()
    listening.cancel()
    await server.close()
    assert {one.name: one.value for one in demands if one.do == "set"} == {"load_w": 300.0, "moon_w": 1.0}
    assert [one.fault for one in demands if one.do == "arm"] == [fault]
    assert plant.errors == ["moon_w read, allowed are load_w, pv_w"]


async def test_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.children.STOP_S", 0.2)
    code = (
        "import pathlib, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "import socket\ns = socket.create_server(('127.0.0.1', 0))\n"
        f"print(s.getsockname()[1], file=open({str(tmp_path / 'port')!r}, 'w'), flush=True)\nwhile True: s.accept()\n"
    )
    child = await a_child(tmp_path, monkeypatch, code)
    async with asyncio.timeout(20):
        while not (tmp_path / "port").exists() or not (tmp_path / "port").read_text().strip():
            child.check()
            await asyncio.sleep(0)
    await answers(child, int((tmp_path / "port").read_text()), 5)
    await child.stop()
    assert child.process.returncode == -9


async def test_process_that_never_listens_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        child = await a_child(tmp_path, monkeypatch, "import signal\nsignal.pause()")
        with pytest.raises(SetupError, match="some device does not answer"):
            await answers(child, unused.getsockname()[1], 0.2)
    await child.stop()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_a_process_used_is_read_from_the_system() -> None:
    mine = used(os.getpid())
    assert mine is not None
    assert 5 < mine.rss_peak_mb < 10_000
    assert mine.cpu_s > 0
    assert used(2**30) is None


async def test_ctrl_c_is_an_event_and_not_an_exception() -> None:
    with stopped_by_signals() as stop:
        os.kill(os.getpid(), 2)
        await asyncio.wait_for(stop.wait(), 5)


def test_explanation_is_that_of_the_end_which_binds() -> None:
    low, high = (
        Bound(value_w=-12_000, rule="poi_limit", because="import"),
        Bound(value_w=6000, rule="poi_limit", because="export"),
    )

    def told(why: str, target_w: int) -> str:
        return because(
            Decision(
                now_ms=0,
                mode="follow",
                target_w=target_w,
                wish_w=8000,
                wish_because="asked",
                why=why,
                low=low,
                high=high,
            )
        )

    assert told("poi_limit", 6000) == "export"
    assert told("poi_limit", -12_000) == "import"
    assert told("wish", 8000) == "asked"
    assert "+8000 W" in told("ramp", 3000)


def test_demo_that_cannot_be_set_up_ends_with_2_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr("hil.stage.DEVICE_PORTS", {"meter": port})
        monkeypatch.setattr("hil.stage.UTILITY_PORT", port)
        assert demo.run(demo.Options(duration_s=5, workdir=tmp_path)) == 2
    told = capsys.readouterr().err
    assert f"port {port}" in told
    assert "emulated meter" in told


def test_report_that_could_not_be_written_is_told_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hil.demo.check_ports", lambda can: None)
    options = demo.Options(duration_s=5, workdir=tmp_path, report=tmp_path / "nowhere" / "report.html")
    assert demo.run(options) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_folder_that_cannot_be_made_ends_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hil.demo.check_ports", lambda can: None)
    (tmp_path / "file").write_text("")
    assert demo.run(demo.Options(duration_s=5, workdir=tmp_path / "file" / "folder")) == 2
    assert "no folder for the run" in capsys.readouterr().err


def test_picture_is_drawn_from_the_summary_of_the_last_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary, svg = tmp_path / "demo.json", tmp_path / "demo.svg"
    summary.write_bytes(encode(a_summary()))
    assert main(["picture", str(svg), "--summary", str(summary)]) == 0
    assert svg.read_text().startswith("<svg")
    assert main(["picture", str(svg)]) == 0
    assert "binds" in svg.read_text()
    for bad in (b"{", b"{}", encode(a_summary(picture=None))):
        summary.write_bytes(bad)
        assert main(["picture", str(svg), "--summary", str(summary)]) == 2
        assert str(summary) in capsys.readouterr().err


@pytest.mark.parametrize("duration", ["-1", "a minute", "1e9", "nan"])
def test_impossible_duration_is_refused(duration: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", f"--duration-s={duration}"])
    assert ended.value.code == 2
    assert "duration" in capsys.readouterr().err


def test_output_that_is_no_terminal_has_room_for_the_tables() -> None:
    assert isinstance(demo._console(), Console)
    assert demo._console().width == demo.PLAIN_CELLS
