"""What a link has to complain of: told once when it begins or changes, withdrawn once when it is over."""

from controller.link import Inbox
from controller.link.clock import Clock
from controller.model import FaultName

CLEAN_MS = 10_000  # polls must pass clean for so long before a notice is withdrawn
_PASSING: tuple[FaultName, ...] = ("bad_reply", "map_moved")


class Notices:
    """The notices of one device behind a line that others may share."""

    def __init__(self, device: str, inbox: Inbox, clock: Clock, rejected: int) -> None:
        """rejected: how many replies the line has thrown away so far."""
        self._device, self._inbox, self._clock, self._rejected = device, inbox, clock, rejected
        self._standing: dict[FaultName, tuple[str, int]] = {}  # detail, last seen

    def tell(self, fault: FaultName, detail: str) -> None:
        """Tell of a fault, unless it stands with the same words already."""
        before = self._standing.get(fault)
        self._standing[fault] = (detail, self._clock.now_ms())
        if before is None or before[0] != detail:
            self._inbox.noticed(fault, self._device, detail)

    def tell_rejected(self, rejected: int) -> None:
        """Report replies that were thrown away; a device that sends nothing else is not silent but talks nonsense."""
        if rejected > self._rejected:
            self.tell("bad_reply", f"{rejected - self._rejected} replies did not fit their request")
            self._rejected = rejected

    def withdraw(self, fault: FaultName) -> None:
        """Withdraw a fault where it stands."""
        if self._standing.pop(fault, None):
            self._inbox.noticed(fault, self._device, None)

    def withdraw_passed(self) -> None:
        """Withdraw what has not been seen again for a while, and link_down at once."""
        now_ms = self._clock.now_ms()
        self.withdraw("link_down")
        for fault in _PASSING:
            if fault in self._standing and now_ms - self._standing[fault][1] >= CLEAN_MS:
                self.withdraw(fault)
