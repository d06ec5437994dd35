"""A battery on CAN: frames in, readings out; the only frame that leaves is the keepalive, and only from tick().

Laws:
- No thread, no time-out inside a driver, no timer that would keep the battery convinced while the controller hangs.
- One wake-up takes all frames that wait, up to DRAIN_FRAMES, and tells at most one reading.
- A frame carries no time and is taken for one of now; so what waited while the controller stood still is thrown away.
- An open bus that tells nothing is opened anew: a socket survives neither an unplugged adapter nor a lost cable.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from urllib.parse import parse_qsl, urlsplit

import can
import serial

from controller.codec.can import EXTENDED, BatteryFrames
from controller.link import Inbox, LinkError, reason
from controller.link.clock import Clock
from controller.link.modbus import backoff_s
from controller.link.slcan import BITRATES, SlcanBus
from controller.model import Command, FaultName, Profile

DRAIN_FRAMES = 256  # taken in one wake-up, so that a babbling node cannot hold the loop
FLOOD_FRAMES = 50  # of one identifier in WINDOW_MS; a battery sends each at most ten times a second
FLOOD_IDENTIFIERS = 4096  # told apart in one window; an 11-bit bus has 2048
WINDOW_MS = 1000
KEEPALIVE_MS = 750  # at least between two: one each second is due, and a cycle of 1 s that ends early has its own
TOLD_MS = 2000  # a passing fault is told this long
AWAKE_MS = 400  # the loop shows so often that it runs; what comes so soon after a stall may have waited in an adapter
STILL_MS = 1500  # longer without a sign of it is a stall
BUS_OFF = 0x40  # class bit of a kernel error frame (linux/can/error.h)

logging.getLogger("can").setLevel(logging.CRITICAL)  # what it has to say is raised, and told as link_down


async def open_bus(url: str, *, timeout_ms: int = 1000) -> can.BusABC:
    """Open slcan://HOST:PORT, slcan:///dev/TTY (both with ?bitrate=, the latter with ?baud=) or socketcan://CAN.

    Raises LinkError when it cannot be opened or does not answer within timeout_ms.
    """
    try:
        parts = urlsplit(url)
        options = {key: int(value) for key, value in parse_qsl(parts.query, strict_parsing=bool(parts.query))}
        bitrate, baud = options.pop("bitrate", 500_000), options.pop("baud", 115_200)
        if options or bitrate not in BITRATES:
            raise ValueError(f"only ?bitrate= ({', '.join(map(str, BITRATES))}) and ?baud= are known")
        if parts.scheme == "socketcan":
            return _open_socketcan(parts.netloc)
        if parts.scheme != "slcan":
            raise ValueError("it must begin with slcan:// or socketcan://")
        if not parts.hostname:
            return SlcanBus(serial.Serial(parts.path, baud, timeout=0, exclusive=True), bitrate=bitrate)
        if not parts.port:
            raise ValueError("the port is missing")
        async with asyncio.timeout(timeout_ms / 1000):
            return await _open_tcp(parts.hostname, parts.port, bitrate)
    except (ValueError, can.CanError) as error:
        raise LinkError(f"{url}: {error}") from error
    except TimeoutError as error:
        raise LinkError(f"{url}: no answer within {timeout_ms} ms") from error
    except OSError as error:
        raise LinkError(f"{url}: {error.strerror or error}") from error


async def _open_tcp(host: str, port: int, bitrate: int) -> SlcanBus:
    wire = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    with contextlib.ExitStack() as unless_opened:
        unless_opened.callback(wire.close)
        wire.setblocking(False)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().sock_connect(wire, (host, port))
        except OSError as error:
            raise OSError(error.errno, reason(error)) from error
        bus = SlcanBus(wire, bitrate=bitrate)
        unless_opened.pop_all()
    return bus


def _open_socketcan(channel: str) -> can.BusABC:
    try:
        socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW).close()
    except OSError as error:
        raise OSError(error.errno, "this kernel has no CAN: load can_raw, or use an slcan:// adapter") from error
    try:
        socket.if_nametoindex(channel)
    except OSError as error:
        raise OSError(errno.ENODEV, f"no interface {channel}: is the adapter plugged in and set up?") from error
    return can.Bus(channel=channel, interface="socketcan", ignore_config=True)


class CanLink:
    """One battery behind one CAN bus. Nothing is ever commanded to it.

    Raises ValueError from the constructor when the profile's DBC is not usable.
    """

    def __init__(self, url: str, device: str, profile: Profile, dbc_text: str, *, inbox: Inbox, clock: Clock) -> None:
        self._url = url
        self._device = device
        self._profile = profile
        self._inbox = inbox
        self._clock = clock
        self._frames = BatteryFrames(device, profile, dbc_text)
        self._bus: can.BusABC | None = None
        self._lost: asyncio.Future[str] | None = None
        self._heard_ms: int | None = None  # the last frame of this opening
        self._kept_ms: int | None = None  # the last keepalive
        self._awake_ms = 0  # when the loop last ran
        self._deaf_until_ms = 0  # no frame before is believed
        self._window_ms = 0
        self._counts: dict[int, int] = {}  # frames of each identifier in this window
        self._held: dict[int, bytes] = {}  # the newest surplus frame of each flooding identifier
        self._malformed = 0
        self._passing: dict[FaultName, tuple[int, str]] = {}
        self._told: dict[FaultName, str] = {}

    async def run(self) -> None:
        """Open, listen and open anew until cancelled."""
        attempt = 0
        while True:
            self._heard_ms = None
            began_ms = self._clock.now_ms()
            reason = await self._session()
            lasted_ms = self._clock.now_ms() - began_ms
            if self._heard_ms is not None or lasted_ms >= self._profile.stale_after_ms:
                attempt = 0  # a bus that is only silent is not left unheard for long
            self._tell("link_down", reason)
            self._publish()
            await asyncio.sleep(backoff_s(attempt))
            attempt += 1

    async def send(self, command: Command) -> None:
        """Raise LinkError: a battery is not commanded."""
        raise LinkError(f"{self._device}: a battery is not commanded; {command.power_w:+d} W belongs to its inverter")

    def tick(self) -> None:
        """Send the keepalive when one is due. Only a controller that finished its cycle may say it is alive."""
        keepalive, now_ms = self._profile.keepalive_id, self._clock.now_ms()
        if self._bus is None or keepalive is None:
            return
        if self._kept_ms is not None and now_ms - self._kept_ms < KEEPALIVE_MS:
            return
        self._kept_ms = now_ms
        try:
            self._bus.send(can.Message(arbitration_id=keepalive, is_extended_id=keepalive > 0x7FF, data=bytes(8)))
        except (OSError, can.CanError) as error:
            self._lose(f"keepalive not sent: {error}")

    async def _session(self) -> str:
        """Open the bus and listen until it is lost; return why."""
        try:
            bus = await open_bus(self._url, timeout_ms=self._profile.timeout_ms)
        except LinkError as error:
            return str(error)
        loop = asyncio.get_running_loop()
        self._bus, self._lost, self._malformed = bus, loop.create_future(), 0
        descriptor = bus.fileno()
        loop.add_reader(descriptor, self._drain, bus)
        try:
            return f"{self._url}: {await self._silence(self._lost)}"
        finally:
            self._bus = None
            loop.remove_reader(descriptor)
            bus.shutdown()

    async def _silence(self, lost: asyncio.Future[str]) -> str:
        """Wait until the bus is lost or has told nothing for as long as a reading lives; return which."""
        stale_ms = self._profile.stale_after_ms
        self._awake_ms = opened_ms = self._clock.now_ms()
        while True:
            since_ms = opened_ms if self._heard_ms is None else self._heard_ms
            left_ms = since_ms + stale_ms - self._clock.now_ms()
            if left_ms <= 0:
                return f"no frame for {stale_ms} ms; it is opened anew"
            await asyncio.wait((lost,), timeout=min(left_ms, AWAKE_MS) / 1000)
            if lost.done():
                return lost.result()
            self._wake(self._clock.now_ms())
            self._publish()

    def _lose(self, reason: str) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(reason)

    def _wake(self, now_ms: int) -> None:
        """Note that the loop runs. After a stall, throw away what waited and what still comes of it."""
        if now_ms - self._awake_ms > STILL_MS:
            self._deaf_until_ms, self._held = now_ms + AWAKE_MS, {}
        self._awake_ms = now_ms

    def _drain(self, bus: can.BusABC) -> None:
        """Take the frames that wait. What a bounded buffer keeps from the selector is taken in the next turn."""
        if bus is not self._bus:
            return
        now_ms = self._clock.now_ms()
        self._wake(now_ms)
        due = now_ms - self._window_ms >= WINDOW_MS and self._renew(now_ms)
        try:
            for _ in range(DRAIN_FRAMES):
                message = bus.recv(timeout=0)
                if message is None:
                    break
                due |= self._take(message, now_ms)
        except (OSError, can.CanError) as error:
            self._lose(str(error))
        if isinstance(bus, SlcanBus):
            if bus.waiting:
                asyncio.get_running_loop().call_soon(self._drain, bus)
            if bus.malformed > self._malformed:
                self._malformed = bus.malformed
                self._pass("bad_frame", f"{bus.malformed} lines of the adapter were no frames", now_ms)
        self._report(due, now_ms)

    def _take(self, message: can.Message, now_ms: int) -> bool:
        if message.is_error_frame:
            if message.arbitration_id & BUS_OFF:
                self._lose("bus-off: the adapter left the bus after too many errors")
            self._pass("bad_frame", f"bus errors of class 0x{message.arbitration_id:03X}", now_ms)
            return False
        if self._heard_ms is None:
            self._tell("link_down", None)
        self._heard_ms = now_ms
        if message.is_remote_frame or message.is_fd or now_ms < self._deaf_until_ms:
            return False
        identifier = message.arbitration_id | EXTENDED if message.is_extended_id else message.arbitration_id
        if self._floods(identifier):
            self._pass("frame_flood", f"more than {FLOOD_FRAMES} frames/s of 0x{message.arbitration_id:03X}", now_ms)
            self._hold(identifier, bytes(message.data))
            return False
        return self._frames.take(identifier, bytes(message.data), now_ms)

    def _floods(self, identifier: int) -> bool:
        count = self._counts.get(identifier, 0) + 1
        if count == 1 and len(self._counts) >= FLOOD_IDENTIFIERS:
            return True
        self._counts[identifier] = count
        return count > FLOOD_FRAMES

    def _hold(self, identifier: int, data: bytes) -> None:
        """Keep the newest surplus frame, to be taken when the window ends even if the flood ends before."""
        if not self._held:
            left_ms = max(0, self._window_ms + WINDOW_MS - self._clock.now_ms())
            asyncio.get_running_loop().call_later(left_ms / 1000, self._release)
        if identifier in self._held or len(self._held) < FLOOD_IDENTIFIERS:
            self._held[identifier] = data

    def _release(self) -> None:
        if self._bus is not None:
            now_ms = self._clock.now_ms()
            self._wake(now_ms)
            self._report(self._renew(now_ms), now_ms)

    def _renew(self, now_ms: int) -> bool:
        """Begin a new window; return whether a frame that was held makes a reading due."""
        held, self._held, self._counts, self._window_ms = self._held, {}, {}, now_ms
        due = False
        for identifier, data in held.items():
            due |= self._frames.take(identifier, data, now_ms)
        return due

    def _report(self, due: bool, now_ms: int) -> None:
        self._publish()
        if due and (reading := self._frames.reading(now_ms)) is not None:
            self._inbox.heard(reading)

    def _pass(self, fault: FaultName, detail: str, now_ms: int) -> None:
        self._passing[fault] = (now_ms + TOLD_MS, detail)

    def _publish(self) -> None:
        """Tell which of the frames' and the bus's faults came, changed or went."""
        now_ms = self._clock.now_ms()
        self._passing = {fault: held for fault, held in self._passing.items() if now_ms < held[0]}
        standing = {fault: detail for fault, (_, detail) in self._passing.items()} | dict(self._frames.faults(now_ms))
        for gone in sorted(self._told.keys() - standing.keys() - {"link_down"}):
            self._tell(gone, None)
        for fault, detail in standing.items():
            self._tell(fault, detail)

    def _tell(self, fault: FaultName, detail: str | None) -> None:
        if self._told.get(fault) == detail:
            return
        if detail is None:
            self._told.pop(fault, None)
        else:
            self._told[fault] = detail
        self._inbox.noticed(fault, self._device, detail)
