"""Freeze, decide, check: the part of the service that needs no wire, no task and no disk."""

from controller.app.board import Board
from controller.app.calendar import Calendar
from controller.engine import step
from controller.gate import Verdict, check
from controller.journal import Entry
from controller.link.clock import Clock
from controller.model import Decision, Site, Snapshot, State

CLOCK_JUMP_MS = 2000


class Decider:
    """One site's decisions, one after another. What a decision leaves to the next is kept here."""

    def __init__(self, site: Site, board: Board, clock: Clock, state: State | None = None) -> None:
        """state: what stood when the last run ended."""
        self.state = state or State()
        self.snapshot: Snapshot | None = None
        self.decision: Decision | None = None
        self.decisions = 0
        self._site, self._board, self._clock = site, board, clock
        self._calendar = Calendar(site)
        self._utc_offset_ms: int | None = None

    def decide(self) -> tuple[Entry, tuple[Verdict, ...]]:
        """Decide once. Returns what is to be recorded, and the gate's verdict on each command."""
        utc_ms = self._clock.utc_ms()
        self._watch_clock(utc_ms)
        snapshot = self._board.freeze(self._calendar.program(utc_ms))
        before = self.state
        self.state, decision = step(self._site, before, snapshot)
        verdicts = check(self._site, snapshot, decision.commands)
        for verdict in verdicts:
            self._board.noticed("command_refused", verdict.command.device, verdict.refused or None)
        self.snapshot, self.decision = snapshot, decision
        entry = Entry(seq=self.decisions, state=before, snapshot=snapshot, decision=decision)
        self.decisions += 1
        return entry, verdicts

    def _watch_clock(self, utc_ms: int) -> None:
        offset_ms = utc_ms - self._clock.now_ms()
        known_ms, self._utc_offset_ms = self._utc_offset_ms, offset_ms
        jumped_ms = 0 if known_ms is None else offset_ms - known_ms
        detail = f"by {jumped_ms / 1000:+.1f} s" if abs(jumped_ms) > CLOCK_JUMP_MS else None
        self._board.noticed("clock_jumped", "controller", detail)
