"""The faults of the bench: what can go wrong at a site, as words, and what each does to a running bench.

Laws:
- A fault is a row: of VERBS, what can be done to what with which parameters; of catalogue.ROWS, what happens in the
  field and what has to hold all the same.
- A verb's begin does it and returns what undoes it; begun and ended again, the bench is as it was. What has to act or
  be seen again and again returns a Standing. What cannot begin raises, and nothing has changed.
- Effects are counted where they show, not where they are ordered: a fault that never bit proves nothing.
- Several faults may turn one knob, and end in any order (bench.overlaid); what others set meanwhile holds after.
- All chance is the fault's own generator (Armed.random). All times are handed in, or the running loop's.
- Production code cannot import this room.

To add a fault: a row in VERBS of the file of its layer (told, device, plant, wire, can, time, utility, disk, process)
and a test that sees it act, end and count. What it needs of a device's registers is a hook (hook.py), of a part of the
plant a knob (knob.py). Where it is one of the field's, a row of the catalogue as well.
"""

from collections.abc import Iterable

from hil.faults import can, device, disk, plant, process, time, told, utility, wire
from hil.faults.words import Verb


def _table(verbs: Iterable[Verb]) -> dict[str, Verb]:
    table: dict[str, Verb] = {}
    for verb in verbs:
        assert verb.name not in table, f"two verbs are called {verb.name}"
        table[verb.name] = verb
    return table


VERBS = _table(
    (
        *wire.VERBS,
        *can.VERBS,
        *told.VERBS,
        *device.VERBS,
        *plant.VERBS,
        *time.VERBS,
        *utility.VERBS,
        *disk.VERBS,
        *process.VERBS,
    )
)
