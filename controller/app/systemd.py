"""Tell systemd how we are: READY=1, WATCHDOG=1, STOPPING=1.

One datagram to the socket that NOTIFY_SOCKET names; outside systemd nothing is named and nothing is sent.
Source: sd_notify(3), section "Notes", which specifies the protocol for programs without libsystemd.
"""

import os
import socket


def notify(message: str) -> None:
    """Send one message. A socket that does not take it is left alone: systemd then restarts us by its watchdog."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return
    address = "\0" + place[1:] if place.startswith("@") else place
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire:
            wire.setblocking(False)
            wire.sendto(message.encode(), address)
    except OSError:
        return
