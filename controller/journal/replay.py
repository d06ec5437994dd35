"""Replay: decide every recorded cycle again and compare bit for bit."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path

import msgspec

from controller.engine import step as engine_step
from controller.journal.reader import Segment, read
from controller.journal.record import Damage, Entry, JournalError
from controller.model import Decision, Site, Snapshot, State

Step = Callable[[Site, State, Snapshot], tuple[State, Decision]]
_STEP_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
_DAMAGE_TOLD = 10


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first place where a cycle came out otherwise than it was recorded."""

    seq: int
    utc_ms: int
    path: str  # of the field: decision.shares[0].power_w
    recorded: str
    now: str

    def __str__(self) -> str:
        at = datetime.fromtimestamp(self.utc_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return f"entry {self.seq} at {at}: {self.path}: recorded {self.recorded}, now {self.now}"


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay found. states counts the entries whose outgoing state could be held against the next entry's."""

    entries: int
    states: int
    differing: int
    first: Difference | None
    damage: tuple[Damage, ...]


def replay(path: Path, step: Step = engine_step) -> ReplayResult:
    """Decide every entry of the journal again with step. Raises JournalError when there is no journal or no entry."""
    entries = states = differing = 0
    first: Difference | None = None
    damage: list[Damage] = []
    run_before, before = 0, -1
    expected: State | None = None
    for segment in read(path):
        for run, site, entry in _numbered(segment):
            found = None
            if expected is not None and run == run_before and entry.seq == before + 1:
                found = _difference("state", entry, entry.state, expected)
                states += 1
            expected, decided = _decide(step, site, entry)
            found = found or decided
            entries += 1
            differing += found is not None
            first = first or found
            run_before, before = run, entry.seq
        damage += segment.damage
    if not entries:
        told = "".join(f"\n  {hurt}" for hurt in damage[:_DAMAGE_TOLD])
        raise JournalError(f"the journal {path} holds no entry that can be read: nothing was replayed{told}")
    return ReplayResult(entries=entries, states=states, differing=differing, first=first, damage=tuple(damage))


def _numbered(segment: Segment) -> Iterator[tuple[int, Site, Entry]]:
    if segment.header is not None:
        for entry in segment.entries():
            yield segment.header.run, segment.header.site, entry


def _decide(step: Step, site: Site, entry: Entry) -> tuple[State | None, Difference | None]:
    try:
        state, decision = step(site, entry.state, entry.snapshot)
    except _STEP_ERRORS as error:
        now = f"the step failed with {type(error).__name__}: {error}"
        return None, _differs(entry, "decision", "a decision", now)
    return state, _difference("decision", entry, entry.decision, decision)


def _difference(name: str, entry: Entry, recorded: Decision | State, now: Decision | State) -> Difference | None:
    if msgspec.msgpack.encode(recorded) == msgspec.msgpack.encode(now):
        return None
    path, was, becomes = next(_differing(name, msgspec.to_builtins(recorded), msgspec.to_builtins(now)))
    return _differs(entry, path, was, becomes)


def _differs(entry: Entry, path: str, recorded: str, now: str) -> Difference:
    return Difference(seq=entry.seq, utc_ms=entry.snapshot.utc_ms, path=path, recorded=recorded, now=now)


def _differing(path: str, recorded: object, now: object) -> Iterator[tuple[str, str, str]]:
    """Yield path, recorded and replayed value of each field in which two values of plain types differ."""
    if isinstance(recorded, dict) and isinstance(now, dict):
        for key in [*recorded, *(key for key in now if key not in recorded)]:
            yield from _differing(f"{path}.{key}", recorded.get(key, _Absent), now.get(key, _Absent))
    elif isinstance(recorded, (list, tuple)) and isinstance(now, (list, tuple)):
        for place, (was, becomes) in enumerate(zip_longest(recorded, now, fillvalue=_Absent)):
            yield from _differing(f"{path}[{place}]", was, becomes)
    elif type(recorded) is not type(now) or recorded != now:
        yield path, _told(recorded), _told(now)


class _Absent:
    """Stands for a field left at its default, which is not written, or for an element that is not there."""


def _told(value: object) -> str:
    return "nothing" if value is _Absent else repr(value)


def replay_report(path: Path) -> tuple[int, str]:
    """Return the exit code and what to tell: 0 all the same, 1 a difference, 2 not (wholly) readable or empty."""
    try:
        result = replay(path)
    except JournalError as error:
        return 2, str(error)
    lines = [f"{result.entries} entries decided again, {result.states} of them with their state checked."]
    if result.first is not None:
        lines += [f"{result.differing} came out otherwise. The first is {result.first}"]
    else:
        lines += ["All came out bit for bit as recorded."]
    if result.damage:
        lines += [f"{len(result.damage)} places could not be read:"]
        lines += [f"  {hurt}" for hurt in result.damage[:_DAMAGE_TOLD]]
    unread = any(hurt.whole for hurt in result.damage)
    return 1 if result.first is not None else 2 if unread else 0, "\n".join(lines)
