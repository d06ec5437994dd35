"""A served site's control line, on the real loop: what is asked, what is answered, and what each wrong line is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from controller.app import sitefile
from hil.children import HOST
from hil.commands import FAILED, HELD, NO_SETUP
from hil.faults.schedule import Schedule
from hil.faults.words import Fault
from hil.main import main
from hil.plant.truth import Truth
from hil.run.control import CLIENTS_MAX, LINE_MAX_BYTES, DemandError, ask
from hil.run.lockstep import free_port
from hil.run.remote import RemotePlant
from hil.run.serve import Served
from hil.stage import DEMO_SITE

WAIT_S = 10
INPUTS = ["load_w", "pv_w", "grid_hz", "grid_v_pu", "ambient_c", "load_a_w", "load_b_w", "load_c_w", "battery.soc"]
INPUTS += ["battery.force_charge", "battery.full_charge_wanted", "inverter.isolation_kohm"]


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    """Serve the demo's site on free ports."""
    served = Served(sitefile.load(DEMO_SITE), changes={"local": {"ripple_w": 0}})
    running = None
    try:
        await served.start()
        running = asyncio.create_task(served.run())
        async with asyncio.timeout(WAIT_S):
            yield served
    finally:
        if running is not None:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
        await served.close()


@asynccontextmanager
async def connected(served: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, served.control.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def asked(served: Served, **demand: object) -> Any:
    return ask(HOST, served.control.port, demand)


async def answer_to(served: Served, line: bytes) -> dict[str, Any]:
    """Send a line as it is, and after it one that is right: the line goes on after a mistake."""
    async with connected(served) as (reader, writer):
        writer.write(line + b"\n")
        answer: dict[str, Any] = msgspec.json.decode(await reader.readline())
        writer.write(b'{"do": "faults"}\n')
        assert msgspec.json.decode(await reader.readline()) == []
        return answer


async def test_where_everything_is() -> None:
    async with serving() as served:
        told = await asked(served, do="describe")
        assert told["site"] == served.site.name
        assert told["control"] == f"{HOST}:{served.control.port}"
        assert told["inputs"] == INPUTS
        assert set(told["devices"]) == {"meter", "inverter", "battery"}
        for url in told["devices"].values():
            port = int(url.partition("?")[0].rpartition(":")[2])
            _, writer = await asyncio.open_connection(HOST, port)
            writer.close()


async def test_what_is_set_comes_true_and_can_be_watched() -> None:
    async with serving() as served, connected(served) as (reader, writer):
        before = msgspec.convert(await asked(served, do="truth"), Truth)
        assert before.load_w == 0
        assert await asked(served, do="set", name="load_w", value=3000) == {"name": "load_w", "value": 3000}
        assert (await asked(served, do="set", name="battery.soc", value=0.25))["value"] == 0.25
        writer.write(b'{"do": "watch", "every_s": 0.02}\n')
        seen = [msgspec.json.decode(await reader.readline(), type=Truth)]
        while abs(seen[-1].load_w - 3000) > 1:
            seen.append(msgspec.json.decode(await reader.readline(), type=Truth))
        assert seen[-1].units[0].soc == pytest.approx(0.25, abs=0.001)
        assert [one.t_s for one in seen] == sorted(one.t_s for one in seen)


async def test_a_fault_begins_bites_and_ends() -> None:
    async with serving() as served:
        answer = await asked(served, do="arm", fault={"do": "meter_frozen", "on": "meter"})
        assert answer == {"number": 0}
        assert (await asked(served, do="arm", fault={"id": "F01", "on": "meter"})) == {"number": 1}
        await served_tick(served)
        assert (await asked(served, do="truth"))["cut"] == ["meter"]
        told = await asked(served, do="faults")
        assert [(one["number"], one["active"]) for one in told] == [(0, True), (1, True)]
        assert told[1]["fault"]["id"] == "F01"
        assert await asked(served, do="disarm", number=1) == {"number": 1}
        await served_tick(served)
        assert (await asked(served, do="truth"))["cut"] == []
        assert [one["active"] for one in await asked(served, do="faults")] == [True, False]


async def served_tick(served: Served) -> None:
    """Wait until the site has moved on twice."""
    async with connected(served) as (reader, writer):
        writer.write(b'{"do": "watch", "every_s": 0.02}\n')
        moments_s = set[float]()
        while len(moments_s) < 3:
            moments_s.add(msgspec.json.decode(await reader.readline(), type=Truth).t_s)


WRONG = [  # the line, what its answer has to name
    (b"", ["truncated"]),
    (b"no json", ["JSON"]),
    (b'{"do": "truth"', ["truncated"]),
    (b'"\xff\xfe"', []),
    (b'{"do": "\xff"}', []),
    (b"[]", ["object", "array"]),
    (b"{}", ["do"]),
    (b'{"do": 3}', ["str", "int"]),
    (b'{"do": "dance"}', ["'dance'", "describe", "truth", "set", "arm", "disarm", "faults", "watch"]),
    (b'{"do": "truth", "soon": true}', ["soon"]),
    (b'{"do": "set", "name": "load_w", "value": "much"}', ["float", "value"]),
    (b'{"do": "set", "name": "load"}', ["'load'", *INPUTS]),
    (b'{"do": "set", "name": "meter.soc"}', ["'meter.soc'", *INPUTS]),
    (b'{"do": "set", "name": "utility.set_w", "value": 1}', ["'utility.set_w'", *INPUTS]),
    (b'{"do": "set", "name": "battery.soc", "value": 7}', ["7", "battery.soc", "0 to 1"]),
    (b'{"do": "set", "name": "load_w", "value": -1}', ["-1", "load_w", "0 to"]),
    (b'{"do": "set", "name": "load_w", "value": 1e999}', []),
    (b'{"do": "arm"}', ["fault is missing"]),
    (b'{"do": "arm", "fault": {"id": "F999", "on": "meter"}}', ["F999", "F01 to F100"]),
    (b'{"do": "arm", "fault": {"id": "6", "on": "meter"}}', ["fault.id"]),
    (b'{"do": "arm", "fault": {"do": "explode", "on": "meter"}}', ["'explode'", "delay"]),
    (b'{"do": "arm", "fault": {"do": "delay"}}', ["`on` is missing", "meter"]),
    (b'{"do": "arm", "fault": {"do": "delay", "on": "metre"}}', ["'metre'", "meter", "inverter", "battery", "grid"]),
    (b'{"do": "arm", "fault": {"do": "trip", "on": "meter"}}', ["meter", "inverter"]),
    (b'{"do": "arm", "fault": {"do": "delay", "on": "meter", "with": {"late": 1}}}', ["late", "latency_s"]),
    (b'{"do": "arm", "fault": {"do": "delay", "on": "meter", "with": {"latency_s": -1}}}', ["latency_s", "from 0"]),
    (b'{"do": "arm", "fault": {"do": "kill", "on": "controller"}}', ["'controller'", "meter", "grid", "local"]),
    (b'{"do": "arm", "fault": {"do": "silent", "on": "utility"}}', ["'utility'", "meter", "grid", "local"]),
    (b'{"do": "arm", "fault": {"do": "busy", "on": "controller"}}', ["'controller'", "meter", "grid", "local"]),
    (b'{"do": "disarm", "number": 0}', ["no fault 0", "there are 0"]),
    (b'{"do": "disarm", "number": -1}', ["no fault -1"]),
]


async def test_each_wrong_line_is_told_what_is_allowed_and_does_nothing() -> None:
    async with serving() as served:
        for line, named in WRONG:
            answer = await answer_to(served, line)
            assert set(answer) == {"error"}, line
            assert answer["error"], line
            assert [word for word in named if word not in answer["error"]] == [], (line, answer)
        assert served.plant.value("load_w") == 0


async def test_a_line_that_is_too_long_is_told_so_and_hung_up_on() -> None:
    async with serving() as served:
        async with connected(served) as (reader, writer):
            writer.write(b'{"do": "' + b"x" * LINE_MAX_BYTES)
            assert f"{LINE_MAX_BYTES} bytes" in msgspec.json.decode(await reader.readline())["error"]
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        assert await asked(served, do="faults") == []


async def test_one_client_too_many_is_told_so() -> None:
    async with serving() as served, contextlib.AsyncExitStack() as stack:
        for _ in range(CLIENTS_MAX):
            reader, writer = await stack.enter_async_context(connected(served))
            writer.write(b'{"do": "faults"}\n')
            assert await reader.readline() == b"[]\n"
        with pytest.raises(DemandError, match=f"allowed are {CLIENTS_MAX}"):
            await asked(served, do="faults")
        await stack.aclose()
        while True:  # the server hears of their ends in its own time
            with contextlib.suppress(DemandError):
                assert await asked(served, do="faults") == []
                return


async def test_a_site_that_hangs_up_before_its_answer_is_no_answer() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'{"num')
        writer.close()

    server = await asyncio.start_server(hang_up, HOST, 0)
    async with server:
        with pytest.raises(ConnectionError, match="hung up"):
            await ask(HOST, server.sockets[0].getsockname()[1], {"do": "truth"})


async def test_the_site_from_outside_takes_everything_in_order() -> None:
    async with serving() as served:
        remote = RemotePlant(served.control.port, served.plant.parts)
        watching = asyncio.create_task(remote.run())
        await remote.fresh.wait()
        for load_w in range(100, 100 + 5 * CLIENTS_MAX):  # far more at once than lines are allowed
            remote.set("load_w", load_w)
        remote.set("nonsense", 1.0)
        (armed,) = Schedule([Fault(do="meter_frozen", on="meter")], 1, "real").armed
        heal = remote.begin(armed)
        await remote.settle()
        assert served.plant.local.set_load_w == 99 + 5 * CLIENTS_MAX
        assert [one.active for one in served.schedule.armed] == [True]
        assert [error for error in remote.errors if "nonsense" not in error] == []
        assert len(remote.errors) == 1
        heal()
        await remote.sent()
        assert [one.active for one in served.schedule.armed] == [False]
        await served.control.close()
        with pytest.raises(ConnectionError, match="hung up"):
            await watching


async def test_a_person_at_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving() as served:

        async def typed(*words: str) -> tuple[int, list[Any], str]:
            code = await asyncio.to_thread(main, ["fault", "--control", str(served.control.port), *words])
            out, wrong = capsys.readouterr()
            return code, [msgspec.json.decode(line) for line in out.splitlines()], wrong

        assert await typed("set", "load_w", "3000") == (HELD, [{"name": "load_w", "value": 3000}], "")
        assert await typed("list") == (HELD, [], "")
        assert await typed("begin", "meter", "F06", "latency_s=0.8", "--for", "60") == (HELD, [{"number": 0}], "")
        assert await typed("begin", "inverter", "ignore") == (HELD, [{"number": 1}], "")
        assert (await typed("end", "1"))[0] == HELD
        code, rows, _ = await typed("list")
        assert code == HELD
        assert [(row["fault"]["do"], row["active"]) for row in rows] == [("delay", True), ("ignore", False)]
        assert rows[0]["fault"]["with"]["latency_s"] == 0.8
        assert rows[0]["fault"]["for_s"] == 60
        code, (told,), _ = await typed("describe")
        assert (code, told["inputs"]) == (HELD, INPUTS)
        code, (truth,), _ = await typed("truth")
        assert msgspec.convert(truth, Truth).units[0].inverter == "inverter"
        code, rows, wrong = await typed("set", "loud_w", "1")
        assert (code, rows) == (FAILED, [])
        assert "'loud_w'" in wrong and "load_w" in wrong
        code, _, wrong = await typed("begin", "meter", "delay", "latency_s=late")
        assert code == FAILED and "latency_s" in wrong and "number from" in wrong


def test_nobody_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    assert main(["fault", "--control", str(port), "truth"]) == NO_SETUP
    wrong = capsys.readouterr().err
    assert f"nobody serves a site on {HOST}:{port}" in wrong
    assert "linepack-hil serve" in wrong


@pytest.mark.parametrize("words", [[], ["begin"], ["begin", "meter", "delay", "latency_s"], ["set", "load_w", "much"]])
def test_a_wrong_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fault", *words])
    assert ended.value.code == NO_SETUP
    assert "usage: linepack-hil fault" in capsys.readouterr().err
