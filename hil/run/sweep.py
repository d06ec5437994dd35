"""Crash sweeps: the controller dies at every place where it can, and its journal is hurt at every byte.

    order, start, stop   killed after the k-th of its turns in that moment, for every k (crashes.py)
    bytes                started on a journal cut at the k-th byte, and on one with a flipped bit there (damage.py)

Each case has a process of its own, forked, so that no case knows of another. Command: python -m hil.run.sweep --help
"""

import logging
import os
import sys
import tempfile
import traceback
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import msgspec

from hil.run import crashes, damage

T = TypeVar("T")
HANGS_S = 120.0  # a case takes less than a second
PLACES = 32  # of the journal that one process tries
BYTES = "bytes"
SWEEPS = (*crashes.MOMENTS, BYTES)

Progress = Callable[[int, int], None]
"""Called with how many cases are done, and of how many."""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """One case that went wrong, and each thing that did not hold."""

    case: str
    wrong: tuple[str, ...]


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    """One sweep: how many cases of how many there are, what failed, how long it took."""

    sweep: str
    case_count: int
    most: int
    failed: tuple[Failed, ...]
    took_s: float

    def __str__(self) -> str:
        head = f"{self.sweep}: {self.case_count} of {self.most} cases in {self.took_s:.0f} s, {len(self.failed)} failed"
        return "\n".join([head, *(f"  {one.case}: {'; '.join(one.wrong)}" for one in self.failed)])


def sweep(
    name: str,
    *,
    step_count: int = 1,
    first: int = 1,
    job_count: int = 2,
    progress: Progress = lambda done_count, case_count: None,
) -> Swept:
    """Try every step_count-th case of a sweep, from the first on, job_count of them side by side."""
    begun_s = perf_counter()
    cases, most, work = _bytes(step_count, first) if name == BYTES else _turns(name, step_count, first)
    failed = []
    for done, (case, wrong) in enumerate(side_by_side(cases, work, job_count), 1):
        progress(done, len(cases))
        if wrong:
            told = tuple(wrong) if isinstance(wrong, list) else (str(wrong),)
            failed.append(Failed(case=f"{name} {case}", wrong=told))
    tried = sum(2 * len(case) if isinstance(case, range) else 1 for case in cases)
    return Swept(sweep=name, case_count=tried, most=most, failed=tuple(failed), took_s=perf_counter() - begun_s)


def side_by_side(cases: Iterable[T], work: Callable[[T], object], job_count: int) -> Iterator[tuple[T, Any]]:
    """Yield each case with what work(case) returned in a forked process (msgpack's types), or a text: how it ended."""
    waiting, running = iter(cases), dict[Connection, tuple[ForkProcess, T]]()
    try:
        while True:
            while len(running) < job_count and (case := next(waiting, None)) is not None:
                pipe, process = _forked(case, work)
                running[pipe] = process, case
            if not running:
                return
            heard = wait(list(running), timeout=HANGS_S)
            for pipe in [one for one in running if one in heard or not heard]:
                process, case = running.pop(pipe)
                yield case, _heard(pipe, process)
    finally:
        for process, _case in running.values():
            process.kill()


def _forked(case: T, work: Callable[[T], object]) -> tuple[Connection, ForkProcess]:
    fork = get_context("fork")
    pipe, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=_child, args=(work, case, theirs), daemon=True)
    process.start()
    theirs.close()
    return pipe, process


def _child(work: Callable[[T], object], case: T, pipe: Connection) -> None:
    answer = None
    try:
        answer = work(case)
    finally:
        pipe.send_bytes(msgspec.msgpack.encode(traceback.format_exc() if answer is None else answer))


def _heard(pipe: Connection, process: ForkProcess) -> Any:
    """Return what a child answered, or how it ended."""
    with pipe:
        if not pipe.poll():
            process.kill()
            return f"it hangs: not over within {HANGS_S:g} s"
        try:
            return msgspec.msgpack.decode(pipe.recv_bytes())
        except EOFError:
            return "it died"
        finally:
            process.join()


def _turns(name: str, step_count: int, first: int) -> tuple[Sequence[Any], int, Callable[[Any], object]]:
    moment = crashes.MOMENTS[name]
    ((_, most),) = side_by_side([0], lambda _case: _in_folder(lambda folder: crashes.turns(moment, folder)), 1)
    assert isinstance(most, int), most
    return (
        range(first, most + 1, step_count),
        most,
        lambda no: _in_folder(lambda folder: crashes.crash(moment, no, folder)),
    )


def _bytes(step_count: int, first: int) -> tuple[Sequence[Any], int, Callable[[Any], object]]:
    ((_, content),) = side_by_side([0], lambda _case: _in_folder(damage.a_journal), 1)
    assert isinstance(content, bytes), content
    places = range(first - 1, len(content), step_count)
    chunks = [places[start : start + PLACES] for start in range(0, len(places), PLACES)]
    return chunks, 2 * len(content), lambda chunk: damage.hurt(content, chunk)


def _in_folder(work: Callable[[Path], T]) -> T:
    with tempfile.TemporaryDirectory() as folder:
        return work(Path(folder))


def main(argv: Sequence[str] | None = None) -> int:
    """Sweep, tell what failed, and return 1 where something did."""
    top = ArgumentParser(prog="python -m hil.run.sweep", description="Kill the controller wherever it can die.")
    top.add_argument("sweep", nargs="*", metavar="SWEEP", help=f"{', '.join(SWEEPS)}; default: all")
    top.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th case")
    top.add_argument("--first", type=int, default=1, metavar="K", help="begin with the K-th case")
    top.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes side by side")
    args = top.parse_args(argv)
    if unknown := set(args.sweep) - set(SWEEPS):
        top.error(f"{', '.join(sorted(unknown))}: not among {', '.join(SWEEPS)}")
    logging.getLogger("linepack").setLevel(logging.CRITICAL)

    def progress(done_count: int, case_count: int) -> None:
        sys.stderr.write(f"\r{done_count} of {case_count}" + ("\n" if done_count == case_count else ""))

    failed = 0
    for name in args.sweep or SWEEPS:
        swept = sweep(name, step_count=args.every, first=args.first, job_count=args.jobs, progress=progress)
        sys.stdout.write(f"{swept}\n")
        failed += len(swept.failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
