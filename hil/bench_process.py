"""The product as a process against emulated devices: how long a command takes through it, what it costs to run.

A bare relay of two sockets does the same two transactions in the same run, on the same devices.
"""

import asyncio
import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import BinaryIO

import msgspec

from controller.app import commissioning
from controller.app.sitefile import load
from controller.link.modbus_server import Request
from hil.children import HOST, used
from hil.devices import BatteryDevice, InverterDevice
from hil.devices.modbus import Answer
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from hil.run.host import Host
from hil.stage import DEMO_SITE

UTILITY, INVERTER, RELAY, LIMITS = 18502, 18503, 18506, 18507
DEVICE_PORTS = {"inverter": INVERTER, "meter": 18504, "battery": 18505}
TURNS = 8  # product and relay in turn, so that both meet the same noise
WRITES = 25  # a turn
PAUSE_S = 0.06  # the gate lets no more than 20 raises a second out
WATCHED_S = 20.0
CUTS, CUT_A, FREE_A = 100, 20, 150  # the battery's discharge limit goes down and up while 4 kW are asked
CUT_ASKED_W = 4000
BASE = 40000


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Times of set points from their sending, and from their acknowledgement, to the inverter's register.

    cut_us: of a limit that the battery cuts, from its frame to the inverter's register.
    """

    start_s: float
    cpu_pct: float
    resident_mb: float
    whole_us: list[float]
    after_ack_us: list[float]
    bare_us: list[float]
    cut_us: list[float]


class _Stamps:
    """Tells, through a pipe, when a block write reached the inverter's registers."""

    def __init__(self, stamps_fd: int) -> None:
        self._stamps_fd = stamps_fd

    def asked(self, request: Request) -> Request:
        return request

    def answered(self, request: Request, answer: Answer) -> Answer:
        if request.function == 16 and request.count > 4:
            os.write(self._stamps_fd, struct.pack("<q", time.perf_counter_ns()))
        return answer


class _Limits(asyncio.DatagramProtocol):
    """Puts a frame of limits on the battery's bus for each datagram: the discharge limit in amperes."""

    def __init__(self, battery: BatteryDevice) -> None:
        self._battery = battery

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Send 0x351 at once: charge voltage, charge and discharge current in tenths, discharge voltage."""
        frame = struct.pack("<HhhH", 560, 1500, 10 * int(data), 470)
        self._battery.inject(b"t3518" + frame.hex().upper().encode() + b"\r")


def play_devices(stamps_fd: int) -> None:
    """Run as a process: the site's devices, with an inverter whose register writes are timed."""

    async def main() -> None:
        site = load(DEMO_SITE)
        host = Host(site, Plant(plant_spec(site), start_s=asyncio.get_running_loop().time()))
        inverter = host.devices["inverter"]
        assert isinstance(inverter, InverterDevice)
        inverter.hooks.append(_Stamps(stamps_fd))
        await host.start(DEVICE_PORTS)
        battery = host.devices["battery"]
        assert isinstance(battery, BatteryDevice)
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Limits(battery), local_addr=(HOST, LIMITS))
        await host.run()

    asyncio.run(main())


def play_relay() -> None:
    """Run as a process: the bare socket pair. One request in, acknowledged, one request out, acknowledged."""
    with _connect(INVERTER) as out:
        address = _find_704(out)
        with socket.create_server((HOST, RELAY)) as server:
            wire, _ = server.accept()
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in count():
            request = wire.recv(260)
            if not request:
                break
            wire.sendall(request[:5] + b"\x06" + request[6:12])
            registers = b"\0\1\0\1" + request[-4:] + bytes(10) + b"\0\0\0\x0a"
            body = struct.pack(">BBHHB", 1, 16, address, len(registers) // 2, len(registers)) + registers
            out.sendall(struct.pack(">HHH", number & 0xFFFF, 0, len(body)) + body)
            out.recv(260)
        wire.close()


def measure() -> Measured:
    """Start the product and its devices, time it, then time the bare relay on the same inverter."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="linepack-")))
        site_file = folder / "site.toml"
        site_file.write_text(DEMO_SITE.read_text().replace(":850", ":1850"))
        commissioning.record(site_file, by="bench")
        stamps_fd, told = os.pipe()
        stack.callback(os.close, stamps_fd)
        stack.callback(os.close, told)
        start = _Children(stack, stack.enter_context((folder / "log").open("wb")), told)
        start("-m", "hil.bench_process", "devices", str(told))
        for port in DEVICE_PORTS.values():
            _connect(port).close()
        begun_ns = time.perf_counter_ns()
        product = start("-m", "controller.app.main", "run", str(site_file))
        start_s = (_next_stamp_ns(stamps_fd, begun_ns) - begun_ns) / 1e9
        start("-m", "hil.bench_process", "relay")
        ours, bare = list[tuple[float, float]](), list[tuple[float, float]]()
        with _connect(UTILITY) as wire, _connect(RELAY) as relay:
            address = _find_704(wire)
            for turn in range(TURNS + 1):
                mine, theirs = _timed_writes(wire, stamps_fd, address), _timed_writes(relay, stamps_fd, 0)
                if turn:  # the first one warms both up
                    ours += mine
                    bare += theirs
            cut_us = _timed_cuts(wire, stamps_fd, address)
        cpu_pct, resident_mb = _watch(product.pid)
    return Measured(
        start_s=start_s,
        cpu_pct=cpu_pct,
        resident_mb=resident_mb,
        whole_us=[whole_us for whole_us, _ in ours],
        after_ack_us=[after_us for _, after_us in ours],
        bare_us=[whole_us for whole_us, _ in bare],
        cut_us=cut_us,
    )


class _Children:
    """Starts processes and sees that they end."""

    def __init__(self, stack: contextlib.ExitStack, log: BinaryIO, inherited_fd: int) -> None:
        self._stack, self._log, self._inherited_fd = stack, log, inherited_fd

    def __call__(self, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, *arguments]
        child = subprocess.Popen(command, stdout=self._log, stderr=self._log, pass_fds=(self._inherited_fd,))
        self._stack.callback(_stop, child)
        return child


def _stop(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _connect(port: int) -> socket.socket:
    """Connect as soon as somebody listens."""
    deadline_s = time.perf_counter() + 10
    while True:
        try:
            wire = socket.create_connection((HOST, port), 5)
        except OSError:
            if time.perf_counter() > deadline_s:
                raise
            _pause(0.05)
        else:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return wire


def _pause(pause_s: float) -> None:
    """Wait in real time: real processes are timed here."""
    select.select([], [], [], pause_s)


def _find_704(wire: socket.socket) -> int:
    address = BASE + 2
    while True:
        model, length = struct.unpack(">HH", _read(wire, address, 2))
        if model == 704:
            return address + 22
        address += 2 + length


def _read(wire: socket.socket, address: int, count: int) -> bytes:
    wire.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, address, count))
    return wire.recv(300)[9:]


def _timed_writes(wire: socket.socket, stamps_fd: int, address: int) -> list[tuple[float, float]]:
    """Return (from sending, from the acknowledgement) to the register write in us, for WRITES set points."""
    times = []
    for number in range(WRITES):
        registers = struct.pack(">HHi", 1, 1, 1000 + number)
        body = struct.pack(">BBHHB", 1, 16, address, 4, 8) + registers
        sent_ns = time.perf_counter_ns()
        wire.sendall(struct.pack(">HHH", number, 0, len(body)) + body)
        wire.recv(300)
        acknowledged_ns = time.perf_counter_ns()
        written_ns = _next_stamp_ns(stamps_fd, sent_ns)
        times.append(((written_ns - sent_ns) / 1000, max(0, written_ns - acknowledged_ns) / 1000))
        _pause(PAUSE_S)
    return times


def _timed_cuts(wire: socket.socket, stamps_fd: int, address: int) -> list[float]:
    """Return how long each cut of the battery's limit took from its sending to the inverter's register, in us."""
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as limits:
        for number in range(CUTS):
            body = struct.pack(">BBHHBHHi", 1, 16, address, 4, 8, 1, 1, CUT_ASKED_W)  # within its lease
            wire.sendall(struct.pack(">HHH", number, 0, len(body)) + body)
            wire.recv(300)
            _pause(PAUSE_S)
            sent_ns = time.perf_counter_ns()
            limits.sendto(str(CUT_A).encode(), (HOST, LIMITS))
            times.append((_next_stamp_ns(stamps_fd, sent_ns) - sent_ns) / 1000)
            limits.sendto(str(FREE_A).encode(), (HOST, LIMITS))
            _pause(PAUSE_S)
    return times


def _next_stamp_ns(stamps_fd: int, after_ns: int) -> int:
    """Return when the inverter took the first write after after_ns; earlier ones are passed over."""
    while select.select([stamps_fd], [], [], 20.0)[0]:
        stamp_ns = int(struct.unpack("<q", os.read(stamps_fd, 8))[0])
        if stamp_ns > after_ns:
            return stamp_ns
    raise TimeoutError("no write reached the inverter")


def _watch(pid: int) -> tuple[float, float]:
    """Return the CPU share in percent of one core over WATCHED_S, and the peak resident size in MB."""
    before, begun_s = used(pid), time.perf_counter()
    _pause(WATCHED_S)
    after, watched_s = used(pid), time.perf_counter() - begun_s
    assert before and after, "the product ended, or this system has no /proc"
    return 100 * (after.cpu_s - before.cpu_s) / watched_s, after.rss_peak_mb


if __name__ == "__main__":
    if sys.argv[1] == "devices":
        play_devices(int(sys.argv[2]))
    else:
        play_relay()
