"""What a verb reaches of a running bench, and a fault that is looked at for as long as it stands."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from hil.dispatch import Write
from hil.faults.words import PLACES, Heal, Kind
from hil.plant.battery import Battery
from hil.plant.inputs import Inputs
from hil.plant.inverter import Inverter
from hil.plant.site import Part, Plant
from hil.run.utility import Wish


class Caller(Protocol):
    """The utility of any mode: what it wants, whether it says nothing, and what becomes of each of its writes."""

    wish: Wish
    silent: bool
    mangle: Callable[[Write], list[Write]]

    @property
    def order_w(self) -> int | None: ...

    def changed(self) -> None: ...


class Bench(Protocol):
    """A bench of any mode."""

    @property
    def plant(self) -> Plant: ...
    @property
    def utility(self) -> Caller: ...


class Standing(msgspec.Struct, frozen=True):
    """What undoes a fault, and what is to be called at every tick until then: it acts again, or counts its effects."""

    heal: Heal
    look: Callable[[], None]

    def __call__(self) -> None:
        """Undo the fault."""
        self.heal()


def devices(bench: Bench) -> Mapping[str, object]:
    """Return the emulated devices by name, none where there are no frames."""
    found: Mapping[str, object] = getattr(bench, "devices", {})
    return found


class Overlay:
    """One attribute of one thing: what others set it to, and what the faults that stand make of that.

    Faults on one attribute act one behind the other, in any order of their ends; what others set meanwhile is kept.
    """

    def __init__(self, owner: object, name: str) -> None:
        self._owner, self._name = owner, name
        self.changes: list[Callable[[Any], Any]] = []
        self._theirs = self._ours = getattr(owner, name)

    def look(self) -> bool:
        """Take what others set, and set what becomes of it. Returns whether that changed anything."""
        now = getattr(self._owner, self._name)
        if now != self._ours:
            self._theirs = now
        self._ours = self._theirs
        for change in self.changes:
            self._ours = change(self._ours)
        if self._ours == now:
            return False
        setattr(self._owner, self._name, self._ours)
        return True


_OVERLAYS: dict[tuple[int, str], Overlay] = {}  # by identity and attribute of what they hold, while any change stands


def overlaid(owner: object, name: str, change: Callable[[Any], Any]) -> tuple[Overlay, Heal]:
    """Let a change of an attribute stand and return its overlay, with what takes the change away again."""
    key = (id(owner), name)
    overlay = _OVERLAYS.setdefault(key, Overlay(owner, name))
    overlay.changes.append(change)
    overlay.look()

    def heal() -> None:
        overlay.changes.remove(change)
        overlay.look()
        if not overlay.changes:
            del _OVERLAYS[key]

    return overlay, heal


def kind_of(bench: Bench, name: str) -> Kind:
    """Return what a target is. Raises LookupError where the bench has none of that name."""
    if name in PLACES:
        return PLACES[name]
    part = bench.plant.parts.get(name)
    if part is None:
        known = ", ".join([*bench.plant.parts, *PLACES])
        raise LookupError(f"there is no {name!r}; there are {known}")
    return kind_of_part(part)


def kind_of_part(part: Part) -> Kind:
    """Return which kind of device a part of the plant is."""
    if isinstance(part, Inverter):
        return "inverter"
    if isinstance(part, Inputs):
        return "inputs"
    return "battery" if isinstance(part, Battery) else "meter"
