"""Freeze, decide, check: the part of the service that needs no wire, no task and no disk."""

import msgspec

from controller.app.board import Board
from controller.app.calendar import Calendar
from controller.app.commissioning import why_silent
from controller.engine import step
from controller.gate import Memory, Verdict, check
from controller.journal import Entry
from controller.link.clock import Clock
from controller.model import SITE, Command, Commission, Decision, Site, Snapshot, State

CLOCK_JUMP_MS = 2000


class Decider:
    """One site's decisions, one after another. What a decision leaves to the next is kept here."""

    def __init__(
        self,
        site: Site,
        board: Board,
        clock: Clock,
        state: State | None = None,
        commission: Commission | None = None,
    ) -> None:
        """state: what stood when the last run ended. commission: the record without which nothing is written."""
        self.state = state or State()
        self.snapshot: Snapshot | None = None
        self.decision: Decision | None = None
        self.decisions = 0
        self._site, self._board, self._clock = site, board, clock
        self._calendar = Calendar(site)
        self._utc_offset_ms: int | None = None
        self._commission, self._passed = commission, Memory()
        self._silent = why_silent(site, commission)
        board.noticed("not_commissioned", SITE, self._silent or None)

    def decide(self) -> tuple[Entry, tuple[Verdict, ...]]:
        """Decide once. Returns what is to be recorded, and the gate's verdict on each command."""
        utc_ms = self._clock.utc_ms()
        self._watch_clock(utc_ms)
        snapshot = self._board.freeze(self._calendar.program(utc_ms))
        if (storm := self._calendar.reserve(utc_ms, snapshot.now_ms)) is not None:
            snapshot = msgspec.structs.replace(snapshot, orders=(*snapshot.orders, storm))
        before = self.state
        self.state, decision = step(self._site, before, snapshot)
        self.snapshot, self.decision = snapshot, decision
        verdicts = self.judged(snapshot, decision.commands)
        for verdict in verdicts:
            if not self._silent:  # else it is told once, as not_commissioned
                self._board.noticed("command_refused", verdict.command.device, verdict.refused or None)
        entry = Entry(seq=self.decisions, state=before, snapshot=snapshot, decision=decision)
        self.decisions += 1
        return entry, verdicts

    def judged(self, snapshot: Snapshot, commands: tuple[Command, ...]) -> tuple[Verdict, ...]:
        """Return the gate's verdict on each command; it remembers what it let pass."""
        verdicts, self._passed = check(self._site, self._commission, snapshot, self._passed, commands)
        return verdicts

    def _watch_clock(self, utc_ms: int) -> None:
        offset_ms = utc_ms - self._clock.now_ms()
        known_ms, self._utc_offset_ms = self._utc_offset_ms, offset_ms
        jumped_ms = 0 if known_ms is None else offset_ms - known_ms
        detail = f"by {jumped_ms / 1000:+.1f} s" if abs(jumped_ms) > CLOCK_JUMP_MS else None
        self._board.noticed("clock_jumped", "controller", detail)
