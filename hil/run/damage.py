"""A journal hurt at one byte, and what a controller that is started on it takes over.

What a life takes over are the latched faults and the cease of the last entry. Of a journal that is cut or has a flipped
bit it may take over those of the entry before; never some of each, and never a fault that did not latch.
"""

import asyncio
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from controller.journal import Entry, JournalWriter, read
from controller.journal.record import MAGIC, records
from controller.model import Order, Site, Standing
from hil.children import HOST
from hil.clock import VirtualClock, VirtualLoop, run_virtual
from hil.run.crashes import a_site
from hil.run.supervisor import Supervisor

LIFE_S = 1.2  # two decisions
RECORDED_S = 5.0
NEVER_MS = 2**53


class Taken(msgspec.Struct, frozen=True):
    """What a life took over from the one before: the detail of the fault that latched, who ceased the site."""

    latched: str
    ceased: str


NOTHING, BEFORE, LAST = Taken("", ""), Taken("first", ""), Taken("second", "the utility")


def a_journal(folder: Path) -> bytes:
    """Return the one segment of a journal whose last two entries differ in all that is taken over."""
    one, two, three, four, five, *_ = _lived(folder, RECORDED_S)
    writer = JournalWriter(folder / "hurt", _site(), 1_000_000)
    for entry in (one, two, three, _latched(four, BEFORE), _latched(five, LAST)):
        writer.append(entry)
    writer.close()
    (segment,) = (folder / "hurt").iterdir()
    return segment.read_bytes()


def hurt(content: bytes, places: Sequence[int]) -> list[str]:
    """Cut a journal at each place, flip a bit at each place, start a controller on it, and return what went wrong."""
    wrong = []
    for place in places:
        cut, flipped = content[:place], bytearray(content)
        flipped[place] ^= 1 << place % 8
        wrong += [f"cut at byte {place}: {what}" for what in _started(cut, _after_cut(content, place))]
        wrong += [f"flipped at byte {place}: {what}" for what in _started(bytes(flipped), _after_flip(content, place))]
    return wrong


def _ends(content: bytes) -> list[int]:
    """Return where each record ends: the header twice, then the entries."""
    return [end for _offset, _start, end in records(content, len(MAGIC))]


def _after_cut(content: bytes, place: int) -> Taken:
    """Return what must be taken over of a journal of which this much is left."""
    left = sum(end <= place for end in _ends(content)) - 2
    return LAST if left >= 5 else BEFORE if left == 4 else NOTHING


def _after_flip(content: bytes, place: int) -> Taken:
    """Return what must be taken over of a journal with another byte at this place."""
    return LAST if place < _ends(content)[-2] else BEFORE


def _started(content: bytes, expected: Taken) -> list[str]:
    """Start a controller on a journal and return what it did wrong."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        old = folder / "journal" / "00000001.lpj"
        old.parent.mkdir()
        old.write_bytes(content)
        taken = _taken(_lived(folder, LIFE_S)[0])
        wrong = [] if taken == expected else [f"{taken} was taken over, not {expected}"]
        return wrong if old.read_bytes() == content else [*wrong, "the old part of the journal was changed"]


def _site() -> Site:
    """Return the demo's site; nobody is at its devices' address, and no other case's controller claims it."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]

    def nowhere(url: str) -> str:
        place, mark, query = url.partition("?")
        return f"{place.rpartition(':')[0]}:{port}{mark}{query}"

    site = a_site()
    devices = tuple(msgspec.structs.replace(device, url=nowhere(device.url)) for device in site.device)
    utility = msgspec.structs.replace(site.utility, listen=f"{HOST}:0")
    return msgspec.structs.replace(site, device=devices, utility=utility)


def _lived(folder: Path, life_s: float) -> list[Entry]:
    """Let a controller live for a while on what is in the folder, and return what it recorded itself."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        supervisor = Supervisor(_site(), folder, VirtualClock(), loop)
        running = asyncio.ensure_future(supervisor.run())
        await asyncio.sleep(life_s)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for error in supervisor.failures:
            raise error

    run_virtual(main())
    *_, newest = read(folder / "journal")
    return list(newest.entries())


def _latched(entry: Entry, taken: Taken) -> Entry:
    """Return an entry with a fault that latched, and with a cease where one is named."""
    fault = Standing(fault="wrong_device", device="inverter", detail=taken.latched, since_ms=1)
    cease = Order(
        name="cease",
        source=taken.ceased,
        kind="cease",
        domain="battery",
        low_w=0,
        high_w=0,
        starts_ms=0,
        expires_ms=NEVER_MS,
    )
    snapshot = msgspec.structs.replace(entry.snapshot, orders=(cease,) if taken.ceased else ())
    decision = msgspec.structs.replace(entry.decision, faults=(fault,))
    return msgspec.structs.replace(entry, snapshot=snapshot, decision=decision)


def _taken(first: Entry) -> Taken:
    """Return what a life began with, by its first entry."""
    latched = (fault.detail for fault in first.state.standing if fault.fault == "wrong_device")
    ceased = (order.source for order in first.snapshot.orders if order.kind == "cease")
    return Taken(next(latched, ""), next(ceased, ""))
