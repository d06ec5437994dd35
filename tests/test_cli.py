"""The commands of linepack as a person or a service manager meets them."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.app.main import COMMANDS, EXIT_CONFIG, main

DEMO = (Path(__file__).parent / "golden" / "site.toml").read_text()
START_S = 30  # how long a process may take to say what it has to say


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a site file whose ports are free, so that no device answers and the utility's door can open."""
    text = DEMO
    for port in (8502, 8503, 8504, 8505):
        with socket.socket() as wire:
            wire.bind(("127.0.0.1", 0))
            text = text.replace(f":{port}", f":{wire.getsockname()[1]}")
    path = tmp_path / "site.toml"
    path.write_text(text)
    return path


@pytest.fixture
def service_manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Return the socket that systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(str(tmp_path / "notify"))
        wire.settimeout(START_S)
        yield wire


def linepack(*arguments: str | Path, notify: str = "") -> subprocess.Popen[str]:
    """Start linepack as a process of its own."""
    line = [sys.executable, "-m", "controller.app.main", *map(str, arguments)]
    environment = {**os.environ, "NOTIFY_SOCKET": notify}
    return subprocess.Popen(line, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_check_tells_what_it_understood_of_a_good_file(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(site)]) == 0
    told = capsys.readouterr()
    assert f"{site}: no problem found" in told.out
    assert "reserve 7500 | ceiling 23750 | 25000 Wh" in told.out
    assert told.err == ""


def test_check_prints_every_problem_with_file_place_reading_and_range(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write_text(site.read_text().replace("25000", "50").replace("lease_s", "leese_s"))
    assert main(["check", str(site)]) == 1
    told = capsys.readouterr()
    assert f"{site}: unit[0].capacity_wh: read 50 (integer), allowed: an integer from 100 to 100000000; " in told.err
    assert f"{site}: utility.leese_s: read 10 (integer), an unknown key, allowed: the keys of [utility]; " in told.err
    assert f"{site}: 2 problems" in told.err
    assert told.out == ""


def test_init_writes_a_file_that_passes_and_never_overwrites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.toml"
    assert main(["init", str(path)]) == 0
    assert main(["check", str(path)]) == 0
    path.write_text("mine")
    assert main(["init", str(path)]) == 1
    assert path.read_text() == "mine"
    assert "exists already" in capsys.readouterr().err


def test_init_in_a_place_that_cannot_be_written_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "absent" / "site.toml")]) == 1
    assert "could not be written: No such file or directory" in capsys.readouterr().err


def test_run_refuses_a_bad_file_with_the_code_that_is_not_restarted(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write_text("nonsense")
    assert main(["run", str(site)]) == EXIT_CONFIG == 78
    assert "line 1, its end" in capsys.readouterr().err


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGINT])
def test_run_tells_the_service_manager_and_ends_well_when_asked(
    site: Path, service_manager: socket.socket, ends: signal.Signals
) -> None:
    with linepack("run", site, notify=service_manager.getsockname()) as process:
        assert service_manager.recv(100) == b"READY=1"
        assert service_manager.recv(100) == b"WATCHDOG=1"
        process.send_signal(ends)
        while (message := service_manager.recv(100)) == b"WATCHDOG=1":
            pass
        told = process.communicate(timeout=START_S)
        assert message == b"STOPPING=1"
    assert process.returncode == 0, told
    assert "Traceback" not in told[1]
    assert (site.parent / "journal").is_dir()


def test_run_whose_door_is_taken_says_what_happened_and_ends(site: Path) -> None:
    port = int(site.read_text().partition('listen = "127.0.0.1:')[2].partition('"')[0])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with linepack("run", site) as process:
            told = process.communicate(timeout=START_S)
    assert process.returncode == 1
    assert f"linepack run: cannot serve Modbus on 127.0.0.1:{port} (Address already in use)" in told[1]
    assert "Traceback" not in told[1]


def test_unforeseen_error_is_told_and_ends_with_a_code(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> None:
        raise RuntimeError("the third cable")

    monkeypatch.setattr("controller.app.main.load", broken)
    assert main(["check", str(site)]) == 1
    assert "RuntimeError: the third cable" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "code"), [("replay", 2), ("explain", 2)])
def test_journal_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, code: int
) -> None:
    assert main([command, str(tmp_path / "absent")]) == code
    assert "absent" in capsys.readouterr().out


@pytest.mark.parametrize("command", [command.usage.split()[0] for command in COMMANDS])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: linepack {command}")


@pytest.mark.parametrize("line", [[], ["chekc"], ["check"], ["explain", "x", "--when", "now"]])
def test_wrong_usage_ends_with_code_two(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line)
    assert ended.value.code == 2
    assert "usage: linepack" in capsys.readouterr().err


def test_usage_of_every_command_names_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([command.usage.split()[0], "--help"])
        told = capsys.readouterr().out
        for word in command.usage.replace("[", "").replace("]", "").split():
            assert word in told
