"""The service as systemd sees it: its unit, its user, and the words it is told."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from controller.app.systemd import notify

HOUSE = Path(__file__).parents[1] / "systemd"
UNIT = HOUSE / "linepack.service"


def settings(path: Path) -> dict[str, list[str]]:
    """Return "Section.Key" -> values in order, as systemd reads a unit."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            key, equals, value = line.partition("=")
            assert equals, line
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Service.Type", "notify"),
        ("Service.ExecStart", "/opt/linepack/bin/linepack run /etc/linepack/site.toml"),
        ("Service.Restart", "always"),
        ("Service.RestartPreventExitStatus", "78"),
        ("Service.User", "linepack"),
        ("Service.SupplementaryGroups", "dialout"),
        ("Service.StateDirectory", "linepack"),
        ("Service.LogsDirectory", "linepack"),
        ("Service.ProtectSystem", "strict"),
        ("Service.NoNewPrivileges", "yes"),
        ("Service.CapabilityBoundingSet", ""),
        ("Service.MemoryDenyWriteExecute", "yes"),
        ("Unit.StartLimitIntervalSec", "0"),
        ("Install.WantedBy", "multi-user.target"),
    ],
)
def test_unit_says(key: str, value: str) -> None:
    assert settings(UNIT)[key] == [value]


def test_watchdog_bites_within_seconds_and_later_than_a_late_cycle() -> None:
    (word,) = settings(UNIT)["Service.WatchdogSec"]
    assert 3 <= int(word.removesuffix("s")) <= 30


def test_can_and_serial_stay_reachable_inside_the_sandbox() -> None:
    unit = settings(UNIT)
    assert "AF_CAN" in unit["Service.RestrictAddressFamilies"][0].split()
    assert {"AF_UNIX", "AF_INET", "AF_INET6"} <= set(unit["Service.RestrictAddressFamilies"][0].split())
    assert unit["Service.PrivateDevices"] == ["no"]
    assert {"char-ttyUSB rw", "char-ttyACM rw"} <= set(unit["Service.DeviceAllow"])


@pytest.mark.parametrize("key", ["ExecStartPre", "ExecStopPost", "MemoryHigh", "SocketBindDeny"])
def test_settings_that_were_measured_to_do_harm_are_absent(key: str) -> None:
    assert f"Service.{key}" not in settings(UNIT)


def test_control_waits_for_no_network_and_no_clock() -> None:
    words = " ".join(value for values in settings(UNIT).values() for value in values)
    assert "network-online" not in words
    assert "time-sync" not in words


@pytest.fixture
def startable(tmp_path: Path) -> Path:
    """Return a copy of the unit whose program exists on this machine."""
    copy = tmp_path / UNIT.name
    (program,) = settings(UNIT)["Service.ExecStart"]
    copy.write_text(UNIT.read_text("utf-8").replace(program, "/bin/true"))
    return copy


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_to_complain_about(startable: Path) -> None:
    result = subprocess.run(["systemd-analyze", "verify", startable], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_exposure_stays_as_low_as_field_buses_allow(startable: Path) -> None:
    line = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", str(startable)]
    result = subprocess.run(line, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-300:] + result.stderr


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
def test_user_of_its_own_is_made_and_may_use_serial_adapters(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "group").write_text("dialout:x:20:\n")
    conf = tmp_path / "linepack.conf"
    shutil.copy(HOUSE / "linepack.sysusers.conf", conf)
    line = ["systemd-sysusers", f"--root={tmp_path}", "--replace=/usr/lib/sysusers.d/linepack.conf", "-"]
    with conf.open() as rows:
        result = subprocess.run(line, stdin=rows, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "linepack:" in (tmp_path / "etc" / "passwd").read_text()
    assert "nologin" in (tmp_path / "etc" / "passwd").read_text()
    assert "dialout:x:20:linepack" in (tmp_path / "etc" / "group").read_text()


def test_folders_are_for_the_user_of_the_unit() -> None:
    rows = (HOUSE / "linepack.tmpfiles.conf").read_text("utf-8").splitlines()
    made = {row.split()[1]: row.split()[2:5] for row in rows if row.startswith("d ")}
    assert made["/etc/linepack"] == ["0750", "root", "linepack"]
    assert made["/var/lib/linepack"] == ["0700", "linepack", "linepack"]


def test_word_reaches_the_socket_that_systemd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(str(tmp_path / "notify"))
        wire.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")
        assert wire.recv(100) == b"READY=1"


def test_word_reaches_an_abstract_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(f"\0{tmp_path}")
        wire.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{tmp_path}")
        notify("WATCHDOG=1")
        assert wire.recv(100) == b"WATCHDOG=1"


def test_without_systemd_nothing_is_said_and_nothing_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("", "relative", str(tmp_path / "absent")):
        monkeypatch.setenv("NOTIFY_SOCKET", place)
        notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")


def test_full_socket_does_not_hold_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        for _ in range(2000):
            notify("WATCHDOG=1")
