"""The utility's side: one protocol, one file. Whatever a utility says becomes an Order with a lease, or a refusal.

Laws:
- What was asked and what is done are kept apart: a register, point or resource reads back what was written to it;
  what the site does is shown as measurements.
- Every order has an end. A function without a timer of its own gets the site's lease, renewed by writes and by the
  controller's heartbeat. Only a cease has none: it may only make the site safer, and it stays until it is taken back.
- A write is checked whole before anything changes. A refused one gets the protocol's own exception and a fault that
  names who wrote what and what would have been legal; nothing is clamped silently.
- Only valid writes and a moving heartbeat prove that the utility lives; reads do not.
- A write reaches the order book before its answer leaves, so the answer is never ahead of the dispatch.
- Nothing here knows a device. A cease survives a restart, out of the journal; nothing else does: after one, nothing is
  asked until it is asked again.

To add a protocol: one file with a codec half that needs no socket and a session half that keeps the door's shape
(start, close, publish, tick), a fill-every-field test, an extra in pyproject.toml when it needs a library.
"""

from typing import Protocol

from controller.model import FaultName, Order


class OrderBook(Protocol):
    """Where the doors put what the utility asks. app.board.Board is one."""

    def order(self, order: Order) -> None:
        """Take an order; it replaces the one of the same name."""

    def withdraw(self, name: str) -> None:
        """Drop the order of this name, if there is one."""

    def utility_heard(self) -> None:
        """Note that the utility is there now."""

    def noticed(self, fault: FaultName, device: str, detail: str | None) -> None:
        """Take a fault that now stands (detail is text) or that is over (detail is None)."""
