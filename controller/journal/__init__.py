"""The flight recorder: what was handed into each step and what came out, and how to read it back.

Laws:
- Append only, one write per entry. A cut at any byte loses at most the entry being written; a damaged byte loses at
  most the entry it lies in, because each entry can be read without its neighbours.
- Bounded on disk: the oldest segment is deleted before a new one is begun.
- A journal that cannot be written is told as JournalError and stops nothing else; what was recorded stays.
- Reading never raises for damage: it names segment, offset and bytes, and goes on behind it.
- Nothing here reads a clock: every time is the entry's own.

A directory holds segments 00000001.lpj, 00000002.lpj, ... Each is MAGIC, the header record twice, then one record an
entry. A record is u32 length, u32 crc32, payload, little endian; a payload is deflated msgpack, an entry's against the
dictionary in the header (record.py). A writer never appends to an old segment.

To add a field to what is recorded: add it to the model with a default; old journals stay readable. A change that old
journals cannot be read with counts FORMAT up.
"""

from controller.journal.explain import explain, explain_report
from controller.journal.reader import Follower, Segment, last_state, read
from controller.journal.record import Damage, Entry, Header, JournalError
from controller.journal.replay import Difference, ReplayResult, replay, replay_report
from controller.journal.story import story, story_report
from controller.journal.writer import JournalWriter

__all__ = [
    "Damage",
    "Difference",
    "Entry",
    "Follower",
    "Header",
    "JournalError",
    "JournalWriter",
    "ReplayResult",
    "Segment",
    "explain",
    "explain_report",
    "last_state",
    "read",
    "replay",
    "replay_report",
    "story",
    "story_report",
]
