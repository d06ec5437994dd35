"""The only reader of clocks. Control runs on monotonic time; the wall clock stamps records and picks windows."""

import asyncio
import time


class Clock:
    """Time of the running event loop, so that a loop on virtual time takes everything with it."""

    def now_ms(self) -> int:
        """Return monotonic milliseconds of the running loop."""
        return int(asyncio.get_running_loop().time() * 1000)

    def utc_ms(self) -> int:
        """Return wall-clock milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000
