"""Faults of the controller's process and its host."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from controller.app.blank import blank
from controller.app.main import EXIT_CONFIG
from controller.app.sole import TakenError, sole
from hil.faults.bench import Standing
from hil.faults.words import LOCKSTEP, Armed, Heal, Kind, Mode, Param, Verb
from hil.run.disk import rewrite
from hil.run.supervisor import Supervisor

CONTROLLER: frozenset[Kind] = frozenset(("controller",))
DEVICES: frozenset[Kind] = frozenset(("inverter", "meter", "battery", "inputs"))
REAL: frozenset[Mode] = frozenset(("real",))
TURNS_MAX = 1e6
BUSY = (sys.executable, "-c", "while True: pass")
COMMAND = (sys.executable, "-m", "controller.app.main")
WRONG_KEY = "no_such_key"


class Supervised(Protocol):
    """What these verbs need of a bench."""

    @property
    def supervisor(self) -> Supervisor: ...


class DriverError(Exception):
    """The bench's own: a bug in a driver."""


def _kill(bench: Supervised, armed: Armed) -> Heal:
    let_go = bench.supervisor.hold()
    if bench.supervisor.process is not None:
        bench.supervisor.kill(int(armed.number("after_turns")))
        armed.bit("killed")
    return let_go


def _restart(bench: Supervised, armed: Armed) -> Heal:
    let_go = bench.supervisor.hold()
    if bench.supervisor.process is not None:
        bench.supervisor.stop()
        armed.bit("stopped in order")
    return let_go


def _upgrade(bench: Supervised, armed: Armed) -> Heal:
    supervisor, version = bench.supervisor, armed.text("version")

    def change() -> None:
        if count := rewrite(supervisor.disk.directory, {"software_version": version}):
            armed.bit(f"{count} segments were written by version {version}")

    supervisor.before_start(change)
    supervisor.stop()
    return lambda: None


def _raise(bench: Supervised, armed: Armed) -> Heal:
    process = bench.supervisor.process
    if process is not None:
        name = f"link {armed.fault.on}"
        process.throw(name, DriverError(name))
        armed.bit(f"{name} raises")
    return lambda: None


def _deafen(bench: Supervised, armed: Armed) -> Heal:
    return bench.supervisor.deafen(armed.bit)


def _bad_site(bench: Supervised, armed: Armed) -> Heal:
    """Start the real command with a site file that is wrong; whatever else runs is not to be touched by it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "site.toml"
        path.write_text(f"{WRONG_KEY} = 1\n{blank()}")
        started = subprocess.run((*COMMAND, "run", str(path)), capture_output=True, text=True, check=False)
    if started.returncode == EXIT_CONFIG and WRONG_KEY in started.stderr:
        armed.bit(f"exit code {EXIT_CONFIG}: {started.stderr.splitlines()[0].partition(': ')[2]}")
    return lambda: None


def _second(bench: Supervised, armed: Armed) -> Heal:
    """Claim what a second controller of the same site file would claim, as often as it would be started again."""
    supervisor = bench.supervisor

    def look() -> None:
        try:
            with sole(supervisor.site, supervisor.folder):
                pass
        except TakenError as error:
            armed.bit(str(error))

    look()
    return Standing(lambda: None, look)


def _busy(bench: object, armed: Armed) -> Heal:
    count = int(armed.number("count")) or os.cpu_count() or 1
    neighbours = [subprocess.Popen(BUSY) for _ in range(count)]
    armed.bit(f"{count} neighbours that never rest")

    def heal() -> None:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()

    return heal


def _verb(
    name: str,
    says: str,
    begin: Callable[[Any, Armed], Heal],
    params: dict[str, Param] | None = None,
    on: frozenset[Kind] = CONTROLLER,
) -> Verb:
    modes = REAL if begin is _busy else LOCKSTEP
    return Verb(name=name, layer="process", says=says, on=on, begin=begin, params=params or {}, modes=modes)


VERBS: tuple[Verb, ...] = (
    _verb(
        "kill",
        "SIGKILL; it is started again when the fault is over",
        _kill,
        {"after_turns": Param(default=0, low=0, high=TURNS_MAX, says="steps of the controller until then, 0 = now")},
    ),
    _verb("restart", "SIGTERM; it is started again when the fault is over", _restart),
    _verb(
        "upgrade",
        "it is stopped, and started again beside a journal that another version wrote",
        _upgrade,
        {"version": Param(default="0.0.1", says="the version that wrote it")},
    ),
    _verb("driver_raises", "the driver of one device fails by a bug", _raise, on=DEVICES),
    _verb("deafen", "what the controller tells its supervisor is lost: its watchdog ends it again and again", _deafen),
    _verb("bad_site", "somebody starts a controller with a site file that is wrong", _bad_site),
    _verb("second", "somebody starts a second controller of the same site, again and again", _second),
    _verb(
        "busy",
        "other programs take all the processors",
        _busy,
        {"count": Param(default=0, low=0, high=1024, says="how many programs, 0 = one a processor")},
    ),
)
