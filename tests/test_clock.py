"""Virtual time: what jumps, what does not, and that it is the same every time."""

import asyncio

import pytest

from hil.clock import StalledError, VirtualClock, run_virtual


@pytest.mark.timeout(60)  # an hour must not be waited for
def test_an_hour_of_waiting_costs_next_to_nothing_and_ends_on_time() -> None:
    async def main() -> tuple[float, int]:
        loop = asyncio.get_running_loop()
        begun_s, utc_ms = loop.time(), VirtualClock().utc_ms()
        await asyncio.sleep(3600)
        return loop.time() - begun_s, VirtualClock().utc_ms() - utc_ms

    assert run_virtual(main()) == (3600.0, 3_600_000)


def test_a_reply_over_a_real_socket_arrives_before_the_clock_moves() -> None:
    async def main() -> list[float]:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                await asyncio.sleep(0.25)
                writer.write(line)
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        loop, seen = asyncio.get_running_loop(), []
        for _ in range(200):
            asked_s = loop.time()
            writer.write(b"x\n")
            await reader.readline()
            seen.append(round(loop.time() - asked_s, 9))
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return seen

    assert run_virtual(main()) == [0.25] * 200


def test_a_run_in_which_everything_waits_for_ever_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.clock.STALL_S", 0.01)
    with pytest.raises(StalledError):
        run_virtual(asyncio.Event().wait())
