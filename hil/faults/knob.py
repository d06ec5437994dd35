"""A knob of a part of the plant, turned while a fault stands."""

from collections.abc import Callable
from typing import Any

from hil.faults.bench import Bench, Standing, overlaid
from hil.faults.words import Armed, Heal, Kind, Param, Verb

Owner = Callable[[Bench, str], Any]
Turn = Callable[[Armed, Any], Any]  # from where the knob is to where the fault puts it
Shows = Callable[[Any, Armed], bool]  # of the knob's owner


def plant_verb(name: str, says: str, on: Kind, begin: Callable[[Bench, Armed], Heal], **params: Param) -> Verb:
    """Return a verb of the plant's layer on one kind of target."""
    return Verb(name=name, layer="plant", says=says, on=frozenset((on,)), begin=begin, params=params)


def turned(owner: Owner, attribute: str, turn: Turn, shows: Shows) -> Callable[[Bench, Armed], Heal]:
    """Return the begin of a verb that turns one knob and counts the ticks at which that shows."""

    def begin(bench: Bench, armed: Armed) -> Heal:
        part = owner(bench, armed.fault.on)
        overlay, heal = overlaid(part, attribute, lambda value: turn(armed, value))

        def look() -> None:
            overlay.look()
            if shows(part, armed):
                armed.bit()

        return Standing(heal, look)

    return begin


def on(_armed: Armed, _value: bool) -> bool:
    """Turn a switch on."""
    return True
