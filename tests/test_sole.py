"""One controller for one site: a second one on the same machine refuses, and what people read when a start fails."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from controller.app.main import main
from controller.app.sitefile import load
from controller.app.sole import TakenError, sole
from controller.model import Device, Journal, Site
from hil.regulation import DEMO_SITE

START_S = 30


def a_site(*, port: int, journal: str = "journal") -> Site:
    """Return a site whose inverter is at a port and whose journal is in a folder of this name."""
    site = load(DEMO_SITE)

    def at_port(device: Device) -> Device:
        return msgspec.structs.replace(device, url=device.url.replace("8503", str(port)))

    return msgspec.structs.replace(
        site, device=tuple(map(at_port, site.device)), journal=Journal(directory=journal, max_mb=1)
    )


def free_port() -> int:
    with socket.socket() as wire:
        wire.bind(("127.0.0.1", 0))
        return int(wire.getsockname()[1])


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    text = re.sub(r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{free_port()}", DEMO_SITE.read_text())
    path = tmp_path / "site.toml"
    path.write_text(text)
    return path


@pytest.fixture
def first(site_file: Path) -> Iterator["subprocess.Popen[str]"]:
    """Return a controller that runs the site."""
    place = str(site_file.parent / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(place)
        told.settimeout(START_S)
        with started(site_file, NOTIFY_SOCKET=place) as process:
            assert told.recv(100) == b"READY=1"
            yield process
            process.kill()


def started(site_file: Path, **environment: str) -> "subprocess.Popen[str]":
    line = [sys.executable, "-m", "controller.app.main", "run", str(site_file)]
    environment = {**os.environ, **environment}
    return subprocess.Popen(line, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


# what of the first controller's site file the second one has changed -> what it must say
SECONDS = {
    "nothing": ((), "another linepack writes the journal in "),
    "its door": (("listen",), "another linepack writes the journal in "),
    "its door and journal": (("listen", "journal"), "another linepack on this machine commands inverter at tcp://127."),
}


@pytest.mark.parametrize("what", SECONDS)
def test_a_second_controller_refuses_and_the_first_goes_on(
    site_file: Path, first: "subprocess.Popen[str]", what: str
) -> None:
    changed, said = SECONDS[what]
    text = site_file.read_text()
    if "listen" in changed:
        text = re.sub(r'listen = "127\.0\.0\.1:\d+"', f'listen = "127.0.0.1:{free_port()}"', text)
    if "journal" in changed:
        text += '\n[journal]\ndirectory = "other"\n'
    other = site_file.with_name("other.toml")
    other.write_text(text)
    with started(other) as second:
        out, told = second.communicate(timeout=START_S)
    assert (second.returncode, out) == (1, "")
    assert told.startswith(f"linepack run: {said}"), told
    assert len(told.splitlines()) == 1
    assert first.poll() is None


def test_what_a_killed_controller_held_is_free_at_once(site_file: Path, first: "subprocess.Popen[str]") -> None:
    first.send_signal(signal.SIGKILL)
    first.wait(START_S)
    with sole(load(site_file), site_file.parent):
        pass


def test_a_claim_ends_with_its_block_and_bars_only_what_is_shared(tmp_path: Path) -> None:
    port, other_port = free_port(), free_port()
    with sole(a_site(port=port), tmp_path):
        with pytest.raises(TakenError, match="journal"), sole(a_site(port=other_port), tmp_path):
            pass
        with pytest.raises(TakenError, match="inverter"), sole(a_site(port=port, journal="other"), tmp_path):
            pass
        with sole(a_site(port=other_port, journal="other"), tmp_path):
            pass
    with sole(a_site(port=port), tmp_path):
        pass


def test_a_refused_claim_leaves_nothing_held(tmp_path: Path) -> None:
    port, other_port = free_port(), free_port()
    with sole(a_site(port=port), tmp_path), pytest.raises(TakenError), ExitStack() as held:
        held.enter_context(sole(a_site(port=port, journal="other"), tmp_path))
    with sole(a_site(port=other_port, journal="other"), tmp_path):
        pass


def test_long_addresses_are_told_apart(tmp_path: Path) -> None:
    host = "a" * 200
    sites = [
        msgspec.structs.replace(
            one, device=tuple(msgspec.structs.replace(d, url=d.url.replace("127.0.0.1", host)) for d in one.device)
        )
        for one in (a_site(port=1), a_site(port=2, journal="other"))
    ]
    with sole(sites[0], tmp_path), sole(sites[1], tmp_path):
        pass


def test_a_journal_that_cannot_be_locked_does_not_keep_the_site_from_running(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file in the place of the folder")
    with sole(a_site(port=free_port()), tmp_path):
        pass


def test_a_journal_whose_place_is_taken_is_told_once_with_what_to_check(site_file: Path) -> None:
    (site_file.parent / "journal").write_text("a file in the place of the folder")
    with started(site_file) as process:
        assert process.stderr is not None
        told = next(line for line in process.stderr if "journal_full" in line)
        process.terminate()
        process.communicate(timeout=START_S)
    assert process.returncode == 0
    assert "could not be written: File exists" in told
    assert "Check: free space, path and permissions, health of the storage." in told


def test_a_door_on_an_address_that_is_not_ours_is_told_in_one_line(site_file: Path) -> None:
    site_file.write_text(re.sub(r'listen = ".*"', 'listen = "192.0.2.1:8502"', site_file.read_text()))
    with started(site_file) as process:
        told = process.communicate(timeout=START_S)[1]
    assert process.returncode == 1
    assert told.startswith("linepack run: cannot serve Modbus on 192.0.2.1:8502 (Cannot assign requested address)")
    assert len(told.splitlines()) == 1


def test_a_reader_that_has_read_enough_is_no_fault(site_file: Path) -> None:
    line = f"{sys.executable} -m controller.app.main check {site_file} | head -c 1"
    with subprocess.Popen(line, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, told = process.communicate(timeout=START_S)
    assert (len(out), told) == (1, "")


@pytest.mark.parametrize("command", ["replay", "explain"])
@pytest.mark.parametrize("what", ["an empty folder", "a site file", "noise", "a folder of noise", "nothing"])
def test_what_is_no_journal_is_told_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, what: str
) -> None:
    place = tmp_path / "place"
    if what == "an empty folder":
        place.mkdir()
    elif what == "a site file":
        place.write_text(DEMO_SITE.read_text())
    elif what == "noise":
        place.write_bytes(random.Random(1).randbytes(3000))
    elif what == "a folder of noise":
        place.mkdir()
        (place / "00000001.lpj").write_bytes(random.Random(1).randbytes(3000))
    assert main([command, str(place)]) == 2
    told = capsys.readouterr()
    assert str(place) in told.out
    assert "cannot be read" in told.out or "no entry that can be read" in told.out
    assert "Traceback" not in told.out + told.err
