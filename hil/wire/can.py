"""The wire between an emulated BMS and its bus: what can happen to CAN frames on it, either way.

Pure and synchronous: the BMS passes what it sends through out() and what it hears through heard(), and asks due() ten
times a second for frames that come by themselves. Times are handed in and never run back.
"""

import struct
from random import Random

from hil.wire.toxics import Bit, Strikes

Frame = tuple[int, bytes]  # standard identifier, 0 to 8 bytes
Frames = tuple[Frame, ...]

EVERY = 0  # in place of an identifier: all of them
KEEPALIVE_ID = 0x305
MAILBOXES = 3  # frames a CAN controller keeps to be sent: bxCAN has as many (ST RM0008, bxCAN main features)
BURST_MAX_FRAMES = 1000  # at one due(), however long ago the last one was


class CanToxic:
    """One disturbance. This one changes nothing; a toxic overrides what it does."""

    cuts = False  # whether its out() holds for frames of other toxics too

    def out(self, frames: Frames, t_s: float) -> Frames:
        """Return what becomes of the frames that the BMS sends."""
        return frames

    def heard(self, identifier: int, data: bytes, t_s: float) -> bool:
        """Say whether the BMS hears a frame."""
        return True

    def due(self, t_s: float) -> Frames:
        """Return the frames that came up by themselves since the last call."""
        return ()

    def left(self) -> Frames:
        """Return the frames that still come once this is over."""
        return ()


class CanWire:
    """The wire. Toxics act in the order in which they were added."""

    def __init__(self) -> None:
        self._toxics: list[CanToxic] = []
        self._left: Frames = ()

    def add(self, toxic: CanToxic) -> None:
        """Let a toxic act."""
        self._toxics.append(toxic)

    def remove(self, toxic: CanToxic) -> None:
        """Take a toxic away. What it leaves comes with the next due()."""
        self._toxics.remove(toxic)
        self._left += toxic.left()

    def out(self, frames: Frames, t_s: float) -> Frames:
        """Return what reaches the bus of the frames that the BMS sends."""
        for toxic in self._toxics:
            frames = toxic.out(frames, t_s)
        return frames

    def heard(self, identifier: int, data: bytes, t_s: float) -> bool:
        """Say whether the BMS hears a frame that is on the bus."""
        heard = [toxic.heard(identifier, data, t_s) for toxic in self._toxics]  # all are asked, since each counts
        return all(heard)

    def due(self, t_s: float) -> Frames:
        """Return the frames that come onto the bus by themselves."""
        frames, self._left = self._left, ()
        for toxic in self._toxics:
            frames += toxic.due(t_s)
        for toxic in self._toxics:
            if toxic.cuts:
                frames = toxic.out(frames, t_s)
        return frames


class Unplug(CanToxic):
    """The cable is out: nothing passes, either way."""

    cuts = True

    def __init__(self, bit: Bit) -> None:
        self._bit = bit

    def out(self, frames: Frames, t_s: float) -> Frames:
        if frames:
            self._bit()
        return ()

    def heard(self, identifier: int, data: bytes, t_s: float) -> bool:
        self._bit()
        return False


class BusOff(Unplug):
    """The BMS's CAN controller is bus-off. When it recovers it sends the frames it was left with: the oldest ones."""

    def __init__(self, bit: Bit) -> None:
        super().__init__(bit)
        self._mailboxes: Frames = ()

    def out(self, frames: Frames, t_s: float) -> Frames:
        self._mailboxes = (self._mailboxes + frames)[:MAILBOXES]
        return super().out(frames, t_s)

    def left(self) -> Frames:
        return self._mailboxes


class Drop(CanToxic):
    """Struck frames with an identifier, or of EVERY one, are missing."""

    def __init__(self, bit: Bit, strikes: Strikes, identifier: int) -> None:
        self._bit, self._strikes, self._identifier = bit, strikes, identifier

    def out(self, frames: Frames, t_s: float) -> Frames:
        return tuple(frame for frame in frames if not self._drops(frame[0]))

    def _drops(self, identifier: int) -> bool:
        if self._identifier not in (EVERY, identifier) or not self._strikes():
            return False
        self._bit()
        return True


class Short(CanToxic):
    """The frames with an identifier, or EVERY frame, end after length_bytes."""

    def __init__(self, bit: Bit, identifier: int, length_bytes: int) -> None:
        self._bit, self._identifier, self._length_bytes = bit, identifier, length_bytes

    def out(self, frames: Frames, t_s: float) -> Frames:
        return tuple((identifier, self._cut(identifier, data)) for identifier, data in frames)

    def _cut(self, identifier: int, data: bytes) -> bytes:
        if self._identifier not in (EVERY, identifier) or len(data) <= self._length_bytes:
            return data
        self._bit()
        return data[: self._length_bytes]


class Freeze(CanToxic):
    """An identifier, or EVERY one, keeps the bytes it had first. It counts where that makes a difference."""

    def __init__(self, bit: Bit, identifier: int) -> None:
        self._bit, self._identifier = bit, identifier
        self._frozen: dict[int, bytes] = {}

    def out(self, frames: Frames, t_s: float) -> Frames:
        return tuple((identifier, self._kept(identifier, data)) for identifier, data in frames)

    def _kept(self, identifier: int, data: bytes) -> bytes:
        if self._identifier not in (EVERY, identifier):
            return data
        kept = self._frozen.setdefault(identifier, data)
        if kept != data:
            self._bit()
        return kept


class Garbage(CanToxic):
    """Identifiers carry bytes of someone else's choice."""

    def __init__(self, bit: Bit, instead: Frames) -> None:
        self._bit, self._instead = bit, dict(instead)

    def out(self, frames: Frames, t_s: float) -> Frames:
        return tuple((identifier, self._swapped(identifier, data)) for identifier, data in frames)

    def _swapped(self, identifier: int, data: bytes) -> bytes:
        swapped = self._instead.get(identifier, data)
        if swapped != data:
            self._bit()
        return swapped


class SecondPack(CanToxic):
    """Another pack with the same identifiers sends after each frame its own: another SoC, another voltage.

    soc_pct and pack_v are how far its own values are from the first pack's. Layout: Pylontech LV V1.2, 0x355 SoC in
    1 % (bytes 0-1) and in 0.01 % (4-5), 0x356 voltage in 0.01 V (0-1), little-endian.
    """

    def __init__(self, bit: Bit, soc_pct: float, pack_v: float) -> None:
        self._bit = bit
        self._offsets = {  # identifier -> first byte, offset and largest value of a field
            0x355: ((0, round(soc_pct), 100), (4, round(100 * soc_pct), 10_000)),
            0x356: ((0, round(100 * pack_v), 0x7FFF),),
        }

    def out(self, frames: Frames, t_s: float) -> Frames:
        if frames:
            self._bit()
        return tuple(each for frame in frames for each in (frame, self._other(*frame)))

    def _other(self, identifier: int, data: bytes) -> Frame:
        other = bytearray(data)
        for first, offset, most in self._offsets.get(identifier, ()):
            if first + 2 <= len(data):
                (value,) = struct.unpack_from("<H", data, first)
                struct.pack_into("<H", other, first, min(most, max(0, value + offset)))
        return identifier, bytes(other)


class Reorder(CanToxic):
    """A struck set comes in any order, and behind it a frame of the set before."""

    def __init__(self, bit: Bit, strikes: Strikes, random: Random) -> None:
        self._bit, self._strikes, self._random = bit, strikes, random
        self._before: Frames = ()

    def out(self, frames: Frames, t_s: float) -> Frames:
        before, self._before = self._before, frames or self._before
        if not frames or not self._strikes():
            return frames
        self._bit()
        mixed = self._random.sample(frames, len(frames))
        if before:
            mixed.append(self._random.choice(before))
        return tuple(mixed)


class Flood(CanToxic):
    """Another node sends frames_per_s frames of 8 bytes with an identifier."""

    def __init__(self, bit: Bit, identifier: int, frames_per_s: float) -> None:
        self._bit, self._identifier, self._frames_per_s = bit, identifier, frames_per_s
        self._begun_s: float | None = None
        self._sent_frames = 0

    def due(self, t_s: float) -> Frames:
        if self._begun_s is None:
            self._begun_s = t_s
        until_now = int((t_s - self._begun_s) * self._frames_per_s)
        count, self._sent_frames = min(BURST_MAX_FRAMES, until_now - self._sent_frames), until_now
        if count:
            self._bit()
        return ((self._identifier, bytes(8)),) * count


class HoldKeepalive(CanToxic):
    """Struck keepalives do not reach the BMS."""

    def __init__(self, bit: Bit, strikes: Strikes) -> None:
        self._bit, self._strikes = bit, strikes

    def heard(self, identifier: int, data: bytes, t_s: float) -> bool:
        if identifier != KEEPALIVE_ID or not self._strikes():
            return True
        self._bit()
        return False


def frames_of(text: str) -> Frames:
    """Return the frames in a text as cansend writes them, such as "355#FF006400 35C#C000".

    Raises ValueError where a word is no standard frame of up to 8 bytes.
    """
    return tuple(_frame_of(word) for word in text.split())


def _frame_of(word: str) -> Frame:
    try:
        number, _, payload = word.partition("#")
        identifier, data = int(number, 16), bytes.fromhex(payload)
    except ValueError:
        identifier, data = -1, b""
    if not 0 <= identifier <= 0x7FF or len(data) > 8 or "#" not in word:
        raise ValueError(f"{word!r} is no CAN frame; write identifier#bytes in hex, such as 355#FF006400")
    return identifier, data
