"""The open end of an interval that a rule closes on one side only."""

UNBOUNDED_W = 1_000_000_000
