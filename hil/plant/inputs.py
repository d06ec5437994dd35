"""A remote I/O module with digital inputs: contacts that are closed until somebody opens them.

A contact has no physics but its state. What the module tells of it goes through its told point, the channel's number:
1 for closed, 0 for open.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from hil.plant.told import Told

CHANNELS_MAX = 64
CLOSED_VALUE = 0.5  # what is told as more than this is told as closed


class InputsSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the module is. first_address: of channel 0, as function 2 asks for it."""

    channel_count: Annotated[int, Meta(ge=1, le=CHANNELS_MAX)] = 8
    first_address: Annotated[int, Meta(ge=0, le=65_000)] = 0


class Inputs:
    """The contacts at work, all closed at first, as a sound emergency stop is."""

    def __init__(self, spec: InputsSpec | None = None) -> None:
        self.spec = spec = spec or InputsSpec()
        self.closed = [True] * spec.channel_count
        self.told = Told()

    def set(self, channel: int, closed: bool) -> None:
        """Open or close a contact. Raises IndexError for a channel that the module does not have."""
        if not 0 <= channel < len(self.closed):
            raise IndexError(f"channel {channel} of {len(self.closed)}")
        self.closed[channel] = closed

    def told_closed(self, t_s: float) -> tuple[bool, ...] | None:
        """Return what the module tells of each contact; None where one is no number: it then tells nothing at all."""
        found = []
        for channel, closed in enumerate(self.closed):
            value = self.told.told(str(channel), float(closed), t_s)
            if value is None:
                return None
            found.append(value > CLOSED_VALUE)
        return tuple(found)
