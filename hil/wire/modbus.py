"""Toxics on Modbus TCP frames: replies that are wrong in one field, late, or an exception.

Source: Modbus Messaging on TCP/IP Implementation Guide V1.0b 3.1.3 (the MBAP header: transaction, protocol, length of
what follows, unit) and Modbus Application Protocol V1.1b3 (functions, exception codes in section 7).
"""

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable

from hil.wire.proxy import BOTH, Stage, Toxic, Way
from hil.wire.toxics import Bit, Strikes

WRITES = frozenset((5, 6, 15, 16, 21, 22, 23))  # all that change something, 6.5 to 6.17
ACKNOWLEDGE = 5  # the exception that says the request is being carried out

_HEADER = struct.Struct(">HHHB")


class Frames(Stage, ABC):
    """Cuts a way into frames. What is no Modbus TCP passes as it is."""

    def __init__(self) -> None:
        self._begun = b""  # of a frame, less than 260 bytes

    def take(self, data: bytes) -> None:
        data = self._begun + data
        while len(data) >= _HEADER.size:
            _, protocol, length, _ = _HEADER.unpack_from(data)
            if protocol or not 2 <= length <= 254:
                self.onward.take(data)
                data = b""
            elif len(data) < 6 + length:
                break
            else:
                self.frame(data[: 6 + length])
                data = data[6 + length :]
        self._begun = data

    def end(self, reset: bool) -> None:
        self.release()
        self.onward.end(reset)

    def release(self) -> None:
        if self._begun:
            self.onward.take(self._begun)
            self._begun = b""

    @abstractmethod
    def frame(self, frame: bytes) -> None:
        """Take one whole frame and pass on what becomes of it."""


Alter = Callable[[bytes], bytes]


class Altered(Frames):
    """The struck frames come as alter makes them. A frame that alter leaves as it is does not count."""

    def __init__(self, bit: Bit, strikes: Strikes, alter: Alter) -> None:
        super().__init__()
        self._bit, self._strikes, self._alter = bit, strikes, alter

    def frame(self, frame: bytes) -> None:
        if self._strikes():
            altered = self._alter(frame)
            if altered != frame:
                self._bit()
                frame = altered
        self.onward.take(frame)


def wrong_transaction(offset: int) -> Alter:
    """Return what adds offset to the transaction."""

    def alter(reply: bytes) -> bytes:
        return struct.pack(">H", (reply[0] << 8 | reply[1]) + offset & 0xFFFF) + reply[2:]

    return alter


def wrong_unit(offset: int) -> Alter:
    """Return what adds offset to the unit."""
    return lambda reply: reply[:6] + bytes((reply[6] + offset & 0xFF,)) + reply[7:]


def wrong_function(offset: int) -> Alter:
    """Return what adds offset to the function, within 0..127; whether it is an exception stays."""
    return lambda reply: reply[:7] + bytes((reply[7] & 0x80 | reply[7] + offset & 0x7F,)) + reply[8:]


def wrong_count(offset: int) -> Alter:
    """Return what makes a reply claim offset more than it holds: bytes of a read, registers of a write of many."""

    def alter(reply: bytes) -> bytes:
        if reply[7] in (1, 2, 3, 4):
            return reply[:8] + bytes((reply[8] + offset & 0xFF,)) + reply[9:]
        if reply[7] in (15, 16):
            return reply[:10] + struct.pack(">H", (reply[10] << 8 | reply[11]) + offset & 0xFFFF)
        return reply

    return alter


def exception(code: int, *, writes_only: bool) -> Alter:
    """Return what makes an exception reply of a request or of its reply."""

    def alter(frame: bytes) -> bytes:
        function = frame[7] & 0x7F
        if writes_only and function not in WRITES:
            return frame
        return frame[:4] + bytes((0, 3, frame[6], function | 0x80, code))

    return alter


class Refused(Frames):
    """The struck requests are answered with an exception and do not reach the device."""

    def __init__(self, bit: Bit, strikes: Strikes, alter: Alter) -> None:
        super().__init__()
        self._bit, self._strikes, self._alter = bit, strikes, alter

    def frame(self, frame: bytes) -> None:
        if self._strikes():
            reply = self._alter(frame)
            if reply != frame:
                self._bit()
                self.side.other.onward.take(reply)
                return
        self.onward.take(frame)


def exceptions(bit: Bit, strikes: Strikes, code: int, *, writes_only: bool) -> Toxic:
    """Return a toxic that answers requests with an exception.

    ACKNOWLEDGE comes in place of the reply, since the device carries the request out; every other code comes in place
    of the request.
    """
    alter = exception(code, writes_only=writes_only)
    if code == ACKNOWLEDGE:
        return Toxic(stages=lambda: {"reply": Altered(bit, strikes, alter)})
    return Toxic(stages=lambda: {"request": Refused(bit, strikes, alter)})


class _Late(Frames):
    """The way of the replies: a struck one is held until the next request."""

    def __init__(self, bit: Bit, strikes: Strikes, *, restamped: bool) -> None:
        super().__init__()
        self._bit, self._strikes, self._restamped = bit, strikes, restamped
        self._late = b""

    def frame(self, frame: bytes) -> None:
        if self._late or not self._strikes():
            self.onward.take(frame)
        else:
            self._late = frame

    def asked(self, request: bytes) -> None:
        """Answer a request with the reply of the one before it."""
        late, self._late = self._late, b""
        if late:
            self._bit()
            self.onward.take(request[:2] + late[2:] if self._restamped else late)

    def release(self) -> None:
        if self._late:
            self.onward.take(self._late)
            self._late = b""
        super().release()


class _Asked(Frames):
    """The way of the requests: each brings out the reply that is late."""

    def __init__(self, replies: _Late) -> None:
        super().__init__()
        self._replies = replies

    def frame(self, frame: bytes) -> None:
        self._replies.asked(frame)
        self.onward.take(frame)


def late_replies(bit: Bit, strikes: Strikes, *, restamped: bool) -> Toxic:
    """Return a toxic that keeps the struck replies back until the next request and gives them in its place.

    restamped: the late reply bears the transaction of the request it is taken for, as from a serial gateway that
    takes whatever its line brings for the answer. No client can tell it from the right one by its header.
    """

    def stages() -> dict[Way, Stage]:
        replies = _Late(bit, strikes, restamped=restamped)
        return dict(zip(BOTH, (_Asked(replies), replies), strict=True))

    return Toxic(stages=stages)
