"""The TCP wire and its toxics on any bytes, seen from a client's socket and from pymodbus, in virtual time."""

import asyncio
import socket
from typing import Any

import pytest

from hil.clock import run_virtual
from hil.faults.can import VERBS as CAN_VERBS
from hil.faults.wire import VERBS
from hil.wire.proxy import CONNECTIONS_MAX
from tests.cable import HOST, ROWS, TIMEOUT_S, Cable, Heard, cable, echo, fill, joined, reset_on_close, said
from tests.modbus_peer import virtual

# One register at 7 of unit 1, by hand from Modbus Application Protocol V1.1b3 6.3 and the MBAP header.
REQUEST = bytes.fromhex("0001 0000 0006 01 03 0007 0001")
REPLY = bytes.fromhex("0001 0000 0005 01 03 02 0007")


# -- the wire itself ----------------------------------------------------------------------------------------------


@virtual
async def test_idle_wire_passes_everything_at_once_and_unchanged() -> None:
    async with cable() as bench:
        ear = await bench.ear()
        assert await ear.ask(REQUEST) == [(0.0, REPLY)]
        client = await bench.client()
        assert [await said(client, address) for address in (1, 2, 3)] == [([1], 0.0), ([2], 0.0), ([3], 0.0)]


@virtual
async def test_a_megabyte_passes_both_ways_unchanged() -> None:
    async with echo() as (wire, _):
        reader, writer = await asyncio.open_connection(HOST, wire.port)
        sent = bytes(range(256)) * 4096
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        writer.close()


@virtual
async def test_the_end_of_a_connection_passes_as_what_it_is() -> None:
    async with echo() as (wire, far):
        for reset, seen in ((False, None), (True, ConnectionResetError)):
            ear = await joined(wire)
            await ear.ask(b"x", 1)
            if reset:
                reset_on_close(ear.transport)
            ear.transport.abort()
            await asyncio.sleep(1)
            assert [type(error) if error else None for error in far.ends] == [seen]
            far.forget()


@virtual
async def test_server_that_hangs_up_is_seen_by_the_client() -> None:
    async with echo() as (wire, far):
        ear = await joined(wire)
        await ear.ask(b"x", 1)
        far.transports[0].close()
        await asyncio.sleep(1)
        assert [what for _, what in ear.heard] == [b"x", "FIN"]


@virtual
async def test_server_that_is_away_is_seen_as_a_reset() -> None:
    async with cable() as bench:
        await bench.server.close()
        ear = await bench.ear()
        await asyncio.sleep(1)
        assert [what for _, what in ear.heard] == ["RST"]


@virtual
async def test_who_does_not_read_is_not_sent_more_than_fits() -> None:
    async with echo() as (wire, _):
        loop = asyncio.get_running_loop()
        with socket.create_connection((HOST, wire.port)) as client:
            client.setblocking(False)
            for _ in range(3):
                assert await fill(client) < 64 << 20  # what the kernel takes for four sockets, and the wire's bound
            first = await loop.sock_recv(client, 1 << 20)
            assert first  # and when it reads, it goes on
            assert await fill(client) >= 0


@virtual
async def test_silent_wire_stops_reading_at_its_bound() -> None:
    async with echo() as (wire, far):
        bench = Cable()
        bench.wires["meter"] = wire
        bench.begin("half_open")
        with socket.create_connection((HOST, wire.port)) as client:
            client.setblocking(False)
            assert 1 << 16 <= await fill(client) + await fill(client) + await fill(client) < 64 << 20
        assert far.heard_bytes == 0


@virtual
async def test_connections_beyond_the_bound_are_closed_and_those_before_stay() -> None:
    async with cable() as bench:
        ears = [await bench.ear() for _ in range(CONNECTIONS_MAX + 1)]
        await asyncio.sleep(1)
        assert [what for _, what in ears[-1].heard] in (["FIN"], ["RST"])
        assert await ears[0].ask(REQUEST) == [(0.0, REPLY)]


@virtual
async def test_connections_that_the_client_left_on_a_silent_wire_make_room() -> None:
    async with cable() as bench:
        _, heal = bench.begin("half_open")
        for _ in range(3 * CONNECTIONS_MAX):
            ear = await bench.ear()
            ear.transport.write(REQUEST)
            await asyncio.sleep(1)
            ear.transport.close()
            await asyncio.sleep(1)
        assert not bench.asked
        heal()
        await asyncio.sleep(1)
        assert 0 < len(bench.asked) <= CONNECTIONS_MAX  # what was asked is asked late, and not without bound
        assert await (await bench.ear()).ask(REQUEST) == [(0.0, REPLY)]


def test_the_wire_works_in_real_time_too() -> None:
    async def main() -> list[Any]:
        async with cable() as bench:
            client = await bench.client()
            bench.begin("delay", direction="up", latency_s=0.05)
            loop = asyncio.get_running_loop()
            begun_s = loop.time()
            (seen, _) = await said(client)
            return [seen, 0.05 <= loop.time() - begun_s < TIMEOUT_S]

    assert asyncio.run(main()) == [[7], True]


@virtual
async def test_up_is_toward_the_controller_whichever_end_it_is() -> None:
    for controller, asked in (("client", 1), ("server", 0)):
        async with cable(controller) as bench:
            bench.begin("lose", direction="up", share=1.0)
            assert await (await bench.ear()).ask(REQUEST) == []
            assert len(bench.asked) == asked


# -- what each verb is, at the client's socket --------------------------------------------------------------------

ONE_BY_ONE: Heard = [(0.0, REPLY[place : place + 1]) for place in range(len(REPLY))]
WITH_GAPS: Heard = [(round(0.01 * place, 6), REPLY[place : place + 1]) for place in range(len(REPLY))]
SEEN: list[tuple[str, str, dict[str, Any], Heard, int, int]] = [  # verb, direction, with, heard, effects, asked
    ("delay", "both", {"latency_s": 0.5}, [(1.0, REPLY)], 2, 1),
    ("delay", "up", {"latency_s": 0.5}, [(0.5, REPLY)], 1, 1),
    ("delay", "down", {"latency_s": 0.5}, [(0.5, REPLY)], 1, 1),
    ("rate", "both", {"bytes_per_s": 100}, [(0.23, REPLY)], 2, 1),  # 12 bytes there, 11 back
    ("rate", "up", {"bytes_per_s": 10}, [(1.1, REPLY)], 1, 1),
    ("slice", "both", {}, ONE_BY_ONE, 1, 1),
    ("slice", "up", {"gap_s": 0.01}, WITH_GAPS, 1, 1),
    ("slice", "up", {"size_bytes": 7}, [(0.0, REPLY[:7]), (0.0, REPLY[7:])], 1, 1),
    ("slice", "up", {"size_bytes": 11}, [(0.0, REPLY)], 0, 1),
    ("lose", "both", {"share": 1.0}, [], 1, 0),
    ("lose", "up", {"share": 1.0}, [], 1, 1),
    ("lose", "up", {"share": 0.0}, [(0.0, REPLY)], 0, 1),
    ("duplicate", "up", {}, [(0.0, REPLY + REPLY)], 1, 1),
    ("duplicate", "down", {}, [(0.0, REPLY + REPLY)], 1, 2),
    ("reset", "both", {}, [(0.0, "RST")], 1, 1),
    ("reset", "up", {"after_bytes": 5}, [(0.0, REPLY[:5]), (0.0, "RST")], 1, 1),
    ("reset", "down", {"after_bytes": 5}, [(0.0, "RST")], 1, 0),
    ("close_each", "both", {}, [(0.0, REPLY), (0.0, "FIN")], 1, 1),
    ("merge", "both", {}, [], 1, 1),
    ("truncate", "both", {"length_bytes": 10}, [(0.0, REPLY[:10]), (0.0, "FIN")], 1, 1),
    ("truncate", "both", {"length_bytes": 0}, [(0.0, "FIN")], 1, 1),
    ("truncate", "both", {"length_bytes": 11}, [(0.0, REPLY)], 0, 1),
    ("half_open", "both", {}, [], 1, 0),
    ("unplug", "both", {}, [], 2, 0),
    ("black_hole", "both", {}, [], 2, 0),
]


@pytest.mark.parametrize(("do", "direction", "params", "heard", "effects", "asked"), SEEN)
@virtual
async def test_verb_is_seen_as_its_name_says(
    do: str, direction: str, params: dict[str, Any], heard: Heard, effects: int, asked: int
) -> None:
    async with cable() as bench:
        ear = await bench.ear()
        armed, _ = bench.begin(do, direction=direction, **params)
        assert await ear.ask(REQUEST) == heard
        assert (armed.effects, len(bench.asked)) == (effects, asked)


@pytest.mark.parametrize(("do", "direction", "params", "heard", "effects", "asked"), SEEN)
@virtual
async def test_open_connection_is_as_before_once_healed(
    do: str, direction: str, params: dict[str, Any], heard: Heard, effects: int, asked: int
) -> None:
    async with cable() as bench:
        ear = await bench.ear()
        armed, heal = bench.begin(do, direction=direction, **params)
        heal()
        expected: Heard = [(0.0, REPLY)]
        if do == "black_hole":
            await asyncio.sleep(1)
            expected, ear = [(0.0, REPLY)], await bench.ear()
        counted = armed.effects
        assert await ear.ask(REQUEST) == expected
        assert armed.effects == counted


@pytest.mark.parametrize(
    "do", ["delay", "rate", "slice", "lose", "duplicate", "flood", "half_open", "merge", "corrupt"]
)
@virtual
async def test_connection_made_later_meets_what_stands(do: str) -> None:
    async with cable() as bench:
        params: dict[str, Any] = {"share": 1.0} if "share" in ROWS[do].params else {}
        armed, _ = bench.begin(do, **params)
        ear = await bench.ear()
        await ear.ask(REQUEST)
        assert ear.heard != [(0.0, REPLY)] and armed.effects


@virtual
async def test_delayed_reply_that_waits_when_the_delay_ends_comes_then_and_in_order() -> None:
    async with cable() as bench:
        ear = await bench.ear()
        _, heal = bench.begin("delay", direction="up", latency_s=10.0)
        second = b"\0\2" + REQUEST[2:]
        asyncio.get_running_loop().call_later(2, ear.transport.write, second)
        asyncio.get_running_loop().call_later(3, heal)
        heard = await ear.ask(REQUEST)
        assert {at_s for at_s, _ in heard} == {3.0}
        assert ear.bytes_heard() == REPLY + b"\0\2" + REPLY[2:]


@pytest.mark.parametrize(
    ("do", "params"),
    [
        ("delay", {"latency_s": 0.2, "jitter_s": 0.2}),
        ("rate", {"bytes_per_s": 1000}),
        ("slice", {"size_bytes": 3, "gap_s": 0.001}),
        ("merge", {"share": 0.5}),
    ],
)
@virtual
async def test_nothing_overtakes_anything(do: str, params: dict[str, Any]) -> None:
    async with echo() as (wire, _):
        bench = Cable()
        bench.wires["meter"] = wire
        bench.begin(do, **params)
        bench.begin("delay", latency_s=0.05, jitter_s=0.05, seed="2")
        ear = await joined(wire)
        sent = [bytes((number,)) * (1 + number % 40) for number in range(200)]
        for number, chunk in enumerate(sent):
            asyncio.get_running_loop().call_later(0.01 * number, ear.transport.write, chunk)
        await ear.ask(b"", 60)
        heard = ear.bytes_heard()
        whole = b"".join(sent)
        assert heard == (whole[: len(heard)] if do == "merge" else whole)
        assert len(heard) >= len(whole) - len(sent[-1])


@virtual
async def test_merged_replies_come_in_one_segment() -> None:
    async with cable() as bench:
        ear = await bench.ear()
        bench.begin("merge")
        assert await ear.ask(REQUEST) == []
        assert await ear.ask(b"\0\2" + REQUEST[2:]) == [(0.0, REPLY + b"\0\2" + REPLY[2:])]


@virtual
async def test_one_bit_of_a_corrupt_reply_is_wrong() -> None:
    async with cable() as bench:
        ear = await bench.ear()
        bench.begin("corrupt", direction="up")
        ((_, heard),) = await ear.ask(REQUEST)
        assert isinstance(heard, bytes)
        wrong = int.from_bytes(heard, "big") ^ int.from_bytes(REPLY, "big")
        assert len(heard) == len(REPLY) and wrong.bit_count() == 1


@virtual
async def test_flood_goes_on_without_a_question_and_ends_with_its_fault() -> None:
    async with cable() as bench:
        ear = await bench.ear()
        armed, heal = bench.begin("flood", chunk_bytes=50, gap_s=0.1)
        heard = await ear.ask(b"", 1.05)
        assert [(at_s, len(data)) for at_s, data in heard] == [(round(0.1 * n, 6), 50) for n in range(1, 11)]
        assert armed.effects == 10
        heal()
        assert await ear.ask(REQUEST) == [(0.0, REPLY)]


# -- connects -----------------------------------------------------------------------------------------------------


@virtual
async def test_refused_connect_fails_at_once_and_open_connections_are_reset() -> None:
    async with cable() as bench:
        ear, port = await bench.ear(), bench.wire.port
        armed, heal = bench.begin("refuse")
        assert await ear.ask(b"", 1) == [(0.0, "RST")]
        begun_s = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionRefusedError):
            await bench.ear()
        assert asyncio.get_running_loop().time() == begun_s and armed.effects == 1
        heal()
        assert bench.wire.port == port and await (await bench.ear()).ask(REQUEST) == [(0.0, REPLY)]


@pytest.mark.parametrize("do", ["black_hole", "unplug"])
@virtual
async def test_connect_into_nothing_hangs_in_the_kernel(do: str) -> None:
    async with cable() as bench:
        _, heal = bench.begin(do)
        loop = asyncio.get_running_loop()
        for _ in range(3):
            with socket.socket() as client:
                client.setblocking(False)
                begun_s = loop.time()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(75):
                        await loop.sock_connect(client, (HOST, bench.wire.port))
                syn_sent = 2  # the first byte of TCP_INFO is the state, linux/include/net/tcp_states.h
                assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == syn_sent
                assert loop.time() - begun_s == 75
        heal()
        assert await (await bench.ear()).ask(REQUEST) == [(0.0, REPLY)]


@virtual
async def test_hang_that_cannot_be_had_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.wire.door.FILL_MAX", 1)  # as where one connect more than Linux takes is answered
    async with cable() as bench:
        ear, armed = await bench.ear(), bench.armed("unplug")
        with pytest.raises(OSError, match="do not hang"):
            armed.verb.begin(bench, armed)
        assert await ear.ask(REQUEST) == await (await bench.ear()).ask(REQUEST) == [(0.0, REPLY)]
        assert armed.effects == 0


@virtual
async def test_fault_on_what_is_on_no_wire_is_refused_by_name() -> None:
    async with cable() as bench:
        with pytest.raises(LookupError, match="nobody is on no wire; on one are meter, stranger"):
            bench.begin("other_device", other="nobody")
        stranger = bench.wires.pop("stranger")
        with pytest.raises(LookupError, match="another is on no wire; on one are meter"):
            bench.begin("other_device")
        bench.wires["stranger"] = stranger


@virtual
async def test_open_connection_is_dead_after_a_black_hole() -> None:
    async with cable() as bench:
        ear = await bench.ear()
        _, heal = bench.begin("black_hole")
        asyncio.get_running_loop().call_later(2, heal)
        assert await ear.ask(REQUEST) == [(2.0, "RST")]
        assert not bench.asked  # what was sent into it is gone


@pytest.mark.parametrize("do", ["half_open", "unplug"])
@virtual
async def test_what_was_said_into_silence_arrives_at_its_end(do: str) -> None:
    async with cable() as bench:
        ear = await bench.ear()
        _, heal = bench.begin(do)
        asyncio.get_running_loop().call_later(60, heal)
        assert await ear.ask(REQUEST, 61) == [(60.0, REPLY)]
        assert await ear.ask(REQUEST) == [(0.0, REPLY)]


@virtual
async def test_write_sent_into_silence_is_taken_long_after_its_client_is_gone() -> None:
    async with cable() as bench:
        ear = await bench.ear()
        _, heal = bench.begin("unplug")
        ear.transport.write(bytes.fromhex("0001 0000 0009 01 10 0007 0001 02 0005"))
        ear.transport.close()
        await asyncio.sleep(30)
        assert not bench.asked
        heal()
        await asyncio.sleep(1)
        assert [request.registers for request in bench.asked] == [b"\0\5"]


@virtual
async def test_connects_are_taken_while_nothing_is_said() -> None:
    async with cable() as bench:
        bench.begin("half_open")
        assert await (await bench.ear()).ask(REQUEST, 100) == []


@virtual
async def test_connects_to_an_unplugged_port_are_refused_where_asked_for() -> None:
    async with cable() as bench:
        ear = await bench.ear()
        bench.begin("unplug", connects="refuse")
        with pytest.raises(ConnectionRefusedError):
            await bench.ear()
        assert await ear.ask(REQUEST) == []


@virtual
async def test_no_answer_is_stronger_than_a_refusal_and_each_heals_for_itself() -> None:
    async with cable() as bench:
        _, plug = bench.begin("unplug")
        _, reopen = bench.begin("refuse")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await bench.ear()
        plug()
        with pytest.raises(ConnectionRefusedError):
            await bench.ear()
        reopen()
        assert await (await bench.ear()).ask(REQUEST) == [(0.0, REPLY)]


@virtual
async def test_other_device_answers_at_the_address_until_healed() -> None:
    async with cable() as bench:
        ear = await bench.ear()
        armed, heal = bench.begin("other_device")
        assert await ear.ask(b"", 1) == [(0.0, "RST")]
        foreign = await bench.ear()
        assert await foreign.ask(REQUEST) == [(0.0, REPLY[:-2] + b"\xee\xee")]
        assert armed.effects == 1 and not bench.asked
        heal()
        await asyncio.sleep(1)
        assert foreign.heard[-1][1] == "RST"
        assert await (await bench.ear()).ask(REQUEST) == [(0.0, REPLY)]


@virtual
async def test_slow_loris_takes_every_place_of_the_server_until_healed() -> None:
    async with cable() as bench:
        armed, heal = bench.begin("slow_loris", clients=16, gap_s=1.0)
        await asyncio.sleep(300)  # longer than one request's 260 bytes take
        assert await (await bench.ear()).ask(REQUEST, 0.5) in ([(0.0, "FIN")], [(0.0, "RST")])
        assert armed.effects == 16 * 300
        heal()
        await asyncio.sleep(1)
        assert await (await bench.ear()).ask(REQUEST) == [(0.0, REPLY)]


@virtual
async def test_slow_loris_that_finds_no_place_or_loses_it_comes_again() -> None:
    async with cable() as bench:
        armed, heal = bench.begin("slow_loris", clients=20, gap_s=1.0)
        await asyncio.sleep(30.5)
        assert armed.effects == 16 * 30  # the other four are turned away each time
        port = bench.server.port
        await bench.server.close()
        await asyncio.sleep(30)
        assert armed.effects == 16 * 30
        await bench.server.start(HOST, port)
        await asyncio.sleep(10)
        assert 16 * 38 <= armed.effects <= 16 * 40
        heal()


# -- pymodbus, chance, the table ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "params", "seen"),
    [
        ("delay", {"latency_s": 0.2}, [([1], 0.4), ([2], 0.4)]),
        ("delay", {"latency_s": 0.6}, [("silent", TIMEOUT_S), ("silent", TIMEOUT_S)]),
        ("rate", {"bytes_per_s": 1000.0}, [([1], 0.023), ([2], 0.023)]),
        ("lose", {"share": 1.0}, [("silent", TIMEOUT_S), ("silent", TIMEOUT_S)]),
        ("half_open", {}, [("silent", TIMEOUT_S), ("silent", TIMEOUT_S)]),
        ("unplug", {}, [("silent", TIMEOUT_S), ("silent", TIMEOUT_S)]),
        ("black_hole", {}, [("silent", TIMEOUT_S), ("silent", TIMEOUT_S)]),
        ("merge", {}, [("silent", TIMEOUT_S), ([2], 0.0)]),
        ("close_each", {}, [([1], 0.0)]),
        ("reset", {}, [("lost", TIMEOUT_S)]),
        ("truncate", {}, [("lost", TIMEOUT_S)]),
    ],
)
@virtual
async def test_pymodbus_sees_the_same(do: str, params: dict[str, Any], seen: list[tuple[Any, float]]) -> None:
    async with cable() as bench:
        client = await bench.client()
        bench.begin(do, **params)
        assert [await said(client, 1 + number) for number in range(len(seen))] == seen


CHANCE: list[tuple[str, dict[str, Any]]] = [
    ("delay", {"latency_s": 0.2, "jitter_s": 0.1}),
    ("lose", {"share": 0.3}),
    ("duplicate", {"share": 0.3}),
    ("corrupt", {"share": 0.3}),
    ("reset", {"share": 0.3}),
    ("truncate", {"share": 0.3}),
    ("close_each", {"share": 0.3}),
    ("flood", {"gap_s": 0.3}),
]


@pytest.mark.parametrize(("do", "params"), CHANCE)
def test_the_same_seed_does_the_same_and_another_does_not(do: str, params: dict[str, Any]) -> None:
    async def played(seed: str) -> tuple[list[Heard], int]:
        async with cable() as bench:
            armed, _ = bench.begin(do, seed=seed, **params)
            heard = []
            for _ in range(20):
                ear = await bench.ear()
                heard += [list(await ear.ask(REQUEST, 1.0)), list(await ear.ask(REQUEST, 1.0))]
                ear.transport.abort()
            return heard, armed.effects

    first = run_virtual(played("7"))
    assert first == run_virtual(played("7"))
    assert first[0] != run_virtual(played("8"))[0]
    assert first[1] > 0


def test_share_is_how_often_it_strikes() -> None:
    async def main() -> int:
        async with cable() as bench:
            ear = await bench.ear()
            armed, _ = bench.begin("duplicate", direction="down", share=0.25)
            for _ in range(1000):
                await ear.ask(REQUEST, 0.01)
            return armed.effects

    assert 200 < run_virtual(main()) < 300  # 250 +- 3.6 standard deviations


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
@virtual
async def test_what_cuts_says_so_and_what_does_not_cut_lets_something_through(verb: Any) -> None:
    async with cable() as bench:
        ear = await bench.ear()
        params: dict[str, Any] = {"share": 0.5} if "share" in verb.params else {}
        bench.begin(verb.name, **params)
        heard: Heard = []
        for _ in range(20):
            if not ear.transport.is_closing():
                heard += await ear.ask(REQUEST, 1.5)
            elif not verb.cuts:
                ear = await bench.ear()
        assert verb.cuts == (not any(isinstance(what, bytes) for _, what in heard))


def test_every_verb_of_wire_and_can_has_a_name_of_its_own() -> None:
    names = [verb.name for verb in (*VERBS, *CAN_VERBS)]
    assert len(names) == len(set(names))
