"""Sole use: a second controller on this machine neither commands the same inverters nor writes the same journal.

Both claims are the kernel's and end with the process, SIGKILL included: nothing is left behind that could be stale.
A system that cannot grant a claim does not keep the site from running.
"""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from controller.model import Site

NAME_MAX = 90  # characters of a URL; unix(7) leaves 107 bytes for an abstract name


class TakenError(Exception):
    """Another controller on this machine holds what this one needs. The text says what, and how to find it."""


@contextlib.contextmanager
def sole(site: Site, base: Path) -> Iterator[None]:
    """Hold the journal's directory and every inverter of the site while the block runs. Raises TakenError."""
    urls = {device.name: device.url for device in site.device}
    with contextlib.ExitStack() as held:
        _claim_journal(base / site.journal.directory, held)
        for unit in site.unit:
            _claim_inverter(unit.inverter, urls[unit.inverter], held)
        yield


def _claim_journal(directory: Path, held: contextlib.ExitStack) -> None:
    """Lock the directory; one that cannot be made or locked is the journal's own trouble, told as journal_full."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    held.callback(os.close, file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TakenError(
            f"another linepack writes the journal in {directory.resolve()}; "
            "stop it (is it the service? systemctl status linepack), or name another [journal] directory"
        ) from None
    except OSError:
        return


def _claim_inverter(name: str, url: str, held: contextlib.ExitStack) -> None:
    """Bind an abstract socket named after the inverter's URL, seen by ss -xa."""
    wire = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    place = url if len(url) <= NAME_MAX else sha256(url.encode()).hexdigest()
    try:
        wire.bind(f"\0linepack {place}")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise TakenError(
                f"another linepack on this machine commands {name} at {url}; an inverter obeys one controller only: "
                "stop the other (is it the service? systemctl status linepack; else: ss -xap | grep linepack)"
            ) from None
