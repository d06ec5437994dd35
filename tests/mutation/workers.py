"""Run pytest once up to its collected tests, then try each mutant on them in a forked child."""

import contextlib
import gc
import importlib
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import hypothesis
import msgspec
import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.loading import House, Importers, Reached
from tests.mutation.points import Mutant

EXAMPLES = 30  # of a hypothesis test at the first look; a survivor is looked at again with the test's own number
LOOK_S = 20  # the second look takes no longer
QUIET: dict[str, Any] = {  # always the same examples; the first that fails ends it and is not made smaller
    "report_multiple_bugs": False,
    "derandomize": True,
    "database": None,
    "deadline": None,
    "phases": (hypothesis.Phase.explicit, hypothesis.Phase.generate),
    "suppress_health_check": list(hypothesis.HealthCheck),
}
MEMORY_BYTES = 6 << 30  # of a child: a mutant that only ever appends ends
KILLED = 1


class First(msgspec.Struct):
    """What the first run tells of one test: how long it took, which mutants' points it reached, how it failed."""

    seconds_s: float = 0.0
    reached: list[int] = []
    failed: str = ""


class Tried(msgspec.Struct):
    """How one mutant ended: survived, killed, timeout, crash, or not reached by any test."""

    ended: str
    by: str = ""  # the test that killed
    seconds_s: float = 0.0


class _Child(msgspec.Struct):
    answer: IO[bytes]
    started_s: float
    done: Callable[[int, bytes, float], None]


class Pool:
    """At most so many forked children at a time."""

    def __init__(self, jobs: int) -> None:
        self.jobs, self.children = jobs, dict[int, _Child]()

    def fork(self, work: Callable[[IO[bytes]], int], done: Callable[[int, bytes, float], None]) -> None:
        """Do work in a child, which returns its exit code; done gets the wait status, what was written, the seconds."""
        while len(self.children) >= self.jobs:
            self.wait()
        answer = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the child has ended
        pid = os.fork()
        if pid:
            self.children[pid] = _Child(answer, time.monotonic(), done)
            return
        code = 3
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.setpgid(0, 0)
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            code = work(answer)
            answer.flush()
        finally:
            os._exit(code)

    def wait(self) -> None:
        """Wait for one child to end."""
        pid, status = os.wait()
        child = self.children.pop(pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # whatever a test has started
        with child.answer as answer:
            answer.seek(0)
            child.done(status, answer.read(), time.monotonic() - child.started_s)

    def finish(self) -> None:
        """Wait for all of them."""
        while self.children:
            self.wait()

    def end(self) -> None:
        """End them at once."""
        for pid in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


class Bench:
    """A pytest plugin: takes the collected tests and runs them its own way. results has one row per mutant."""

    def __init__(self, house: House, jobs: int, timeout_s: int, tell: Callable[[str], None]) -> None:
        self.house, self.pool, self.timeout_s, self.tell = house, Pool(jobs), timeout_s, tell
        self.broken: list[str] = []
        self.results: dict[int, Tried] = {}
        self.items: list[pytest.Item] = []
        self.firsts: list[First] = []
        self.kills: dict[tuple[str, int], int] = {}  # file and test: how many mutants it has killed

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a test file that cannot be read."""
        if report.failed:
            self.broken.append(f"{report.nodeid}: {report.longreprtext}")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests once without a mutant, then each mutant."""
        self.items = list(session.items)
        session.config.option.tbstyle = "native"  # no time for printing values
        if self.broken or not self.items:
            return True
        for name in self.house.names.values():
            importlib.import_module(name)
        self.importers = Importers(("controller", "tests", "hil", *{n.partition(".")[0] for n in self.house.names}))
        for item in self.items:
            _few(item)
        gc.collect()
        gc.freeze()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))  # so that the children end as well
        try:
            self._first_run()
            if not self.broken:
                self._try_all()
        finally:
            self.pool.end()
        return True

    # -- without a mutant

    def _first_run(self) -> None:
        self.firsts = [First() for _ in self.items]
        files = sorted({item.path for item in self.items})
        for path in files:
            places = [place for place, item in enumerate(self.items) if item.path == path]
            self.pool.fork(lambda answer, places=places: self._look(answer, places), self._looked(path, places))
        self.pool.finish()

    def _look(self, answer: IO[bytes], places: Sequence[int]) -> int:
        rows = []
        for place in places:
            reached = Reached()
            self.house.watch(reached)
            started_s = time.monotonic()
            failed = self._failure(place)
            rows.append(First(time.monotonic() - started_s, sorted(reached.numbers), failed))
        answer.write(msgspec.json.encode(rows))
        return 0

    def _looked(self, path: Path, places: Sequence[int]) -> Callable[[int, bytes, float], None]:
        def done(status: int, answer: bytes, seconds_s: float) -> None:
            if status:
                self.broken.append(f"{path.name}: the child ended with status {status}")
                return
            for place, first in zip(places, msgspec.json.decode(answer, type=list[First]), strict=True):
                self.firsts[place] = first
                if first.failed:
                    self.broken.append(f"{self.items[place].nodeid}: {first.failed}")
            self.tell(f"{path.name}: {len(places)} tests pass, {seconds_s:.1f} s")

        return done

    def _failure(self, place: int) -> str:
        for report in runtestprotocol(self.items[place], nextitem=None, log=False):
            if report.failed:
                return report.longreprtext or report.when or "failed"
        return ""

    # -- with one

    def _try_all(self) -> None:
        by_number: dict[int, list[int]] = {}
        for place, first in enumerate(self.firsts):
            for number in first.reached:
                by_number.setdefault(number, []).append(place)
        touching = {
            file: sorted({place for m in self.house.mutants if m.file == file for place in by_number.get(m.number, ())})
            for file in self.house.names
        }
        everywhere = sorted({place for places in by_number.values() for place in places})
        for count, mutant in enumerate(self.house.mutants, 1):
            places = by_number.get(mutant.number, [])
            if mutant.constant is not None:
                used = self.importers(self.house.names[mutant.file], mutant.constant)
                places = (everywhere if used else touching[mutant.file]) or range(len(self.items))
            if places:
                order = sorted(places, key=self._worth(mutant), reverse=True)
                self.pool.fork(lambda answer, m=mutant, o=order: self._try(m, o, answer), self._tried(mutant))
            else:
                self.results[mutant.number] = Tried("not reached")
            if count % 50 == 0 or count == len(self.house.mutants):
                gone = sum(row.ended in ("survived", "not reached") for row in self.results.values())
                self.tell(f"{count} of {len(self.house.mutants)} mutants, {gone} survive so far, at {mutant.file}")
        self.pool.finish()

    def _worth(self, mutant: Mutant) -> Callable[[int], float]:
        """Return how soon a test is to be tried: those that kill in this file and those that are quick come first."""
        own = f"test_{Path(mutant.file).stem.replace('__init__', Path(mutant.file).parent.name)}.py"

        def worth(place: int) -> float:
            relevant = 4 if self.items[place].path.name == own else 1
            return relevant * (1 + self.kills.get((mutant.file, place), 0)) / (0.002 + self.firsts[place].seconds_s)

        return worth

    def _try(self, mutant: Mutant, order: Sequence[int], answer: IO[bytes]) -> int:
        self.house.switch_on(mutant, self.importers)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the child, whatever it is doing
        for place in order:
            signal.setitimer(signal.ITIMER_REAL, self.timeout_s + 10 * self.firsts[place].seconds_s)
            answer.seek(0)
            answer.write(b"%8d" % place)
            answer.flush()
            if self._failure(place):
                return KILLED
        left_s = LOOK_S
        for place in order:
            if _own(self.items[place]) and left_s > 0:
                started_s = time.monotonic()
                signal.setitimer(signal.ITIMER_REAL, self.timeout_s + 100 * self.firsts[place].seconds_s)
                answer.seek(0)
                answer.write(b"%8d" % place)
                answer.flush()
                if self._failure(place):
                    return KILLED
                left_s -= time.monotonic() - started_s
        return 0

    def _tried(self, mutant: Mutant) -> Callable[[int, bytes, float], None]:
        def done(status: int, answer: bytes, seconds_s: float) -> None:
            place = int(answer or b"0")
            if status == 0:
                self.results[mutant.number] = Tried("survived", "", seconds_s)
                return
            ended = "crash"
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
                ended = "timeout"
            elif os.WIFEXITED(status) and os.WEXITSTATUS(status) == KILLED:
                ended = "killed"
                self.kills[mutant.file, place] = self.kills.get((mutant.file, place), 0) + 1
            self.results[mutant.number] = Tried(ended, self.items[place].nodeid, seconds_s)

        return done


def _settings(item: pytest.Item) -> Iterator[tuple[object, str]]:
    """Yield where the settings of a hypothesis test stand."""
    obj = getattr(item, "obj", None)
    if hasattr(obj, "_hypothesis_internal_use_settings"):
        yield getattr(obj, "__func__", obj), "_hypothesis_internal_use_settings"
    cls = getattr(item, "cls", None)
    if isinstance(getattr(cls, "settings", None), hypothesis.settings):
        yield cls, "settings"


def _few(item: pytest.Item) -> None:
    """Give a hypothesis test few examples, and keep what it had."""
    for place, name in _settings(item):
        own = getattr(place, name)
        setattr(place, name, hypothesis.settings(own, **QUIET, max_examples=min(EXAMPLES, own.max_examples)))
        if own.max_examples > EXAMPLES:
            place._mutation_own = hypothesis.settings(own, **QUIET, max_examples=own.max_examples)  # type: ignore[attr-defined]


def _own(item: pytest.Item) -> bool:
    """Give a hypothesis test its own number of examples back; return whether that is more than it had."""
    changed = False
    for place, name in _settings(item):
        own = getattr(place, "_mutation_own", None)
        if own is not None:
            setattr(place, name, own)
            changed = True
    return changed


def run(bench: Bench, root: Path, tests: Sequence[str], select: str) -> None:
    """Collect the tests and run the bench on them."""
    hypothesis.settings.register_profile("mutation", max_examples=EXAMPLES, **QUIET)
    hypothesis.settings.load_profile("mutation")  # for tests that make settings of their own
    options = [
        "-o",
        "addopts=",
        "-o",
        "timeout=0",
        "-o",
        "filterwarnings=",
        "-p",
        "no:terminal",
        "-p",
        "no:cacheprovider",
        "--assert=plain",
        "-s",
    ]
    options += ["--rootdir", str(root), *(["-k", select] if select else [])]
    os.chdir(root)
    sys.path.insert(0, str(root))
    code = pytest.main([*options, *tests], plugins=[bench])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.INTERRUPTED):
        bench.broken.append(f"pytest ended with {code!r}")
