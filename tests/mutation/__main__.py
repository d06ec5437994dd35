"""The command line: python -m tests.mutation --help."""

import argparse
import sys
import time
from pathlib import Path

import msgspec

from tests.mutation.loading import House
from tests.mutation.survivors import Judgement, Listed, in_room, judge, updated
from tests.mutation.tables import TESTS, files_of, tests_of
from tests.mutation.workers import Bench, Tried, run

HOUSE = Path(__file__).parents[2]
LISTED = Path(__file__).with_name("survivors.txt")
ALIVE = ("survived", "not reached")


def parsed(words: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Does a test see each wrong change?")
    parser.add_argument("--room", action="append", choices=sorted(TESTS), help="gate, rules and engine unless told")
    parser.add_argument("--file", action="append", help="only these files")
    parser.add_argument("--tests", action="append", help="only these test files, in place of those of the table")
    parser.add_argument("--select", default="", help="only these tests, as pytest's -k")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout-s", type=int, default=20, help="beyond ten times what a test took without a mutant")
    parser.add_argument("--list", action="store_true", help="only tell the mutants")
    parser.add_argument("--json", type=Path, help="write the figures and each mutant's end into this file")
    parser.add_argument("--update-survivors", action="store_true", help="rewrite the list; new entries need a reason")
    parser.add_argument("--root", type=Path, default=HOUSE, help=argparse.SUPPRESS)
    parser.add_argument("--survivors", type=Path, default=LISTED, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Run it; return 0 where all is well, 1 where mutants say otherwise, 2 where nothing could be measured."""
    asked = parsed(words)
    started_s = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - started_s:6.0f} s  {line}", file=sys.stderr, flush=True)

    files = asked.file or files_of(asked.root, asked.room or ["gate", "rules", "engine"])
    house = House(asked.root, files)
    if asked.list:
        for mutant in house.mutants:
            print(f"{mutant.file}:{mutant.line}: {mutant.operator}: {mutant.text}")
        print(f"{len(house.mutants)} mutants in {len(files)} files")
        return 0
    tests = asked.tests or tests_of(asked.root, files)
    tell(f"{len(house.mutants)} mutants in {len(files)} files; reading {len(tests)} test files")
    bench = Bench(house, asked.jobs, asked.timeout_s, tell)
    run(bench, asked.root, tests, asked.select)
    if bench.broken or not bench.results:
        print("\n".join(bench.broken[:1]) or "no test was found")
        print("\n".join(f"fails as well: {line.partition(': ')[0]}" for line in bench.broken[1:]))
        print("without a mutant the tests do not pass: nothing was measured")
        return 2
    survivors = {number for number, tried in bench.results.items() if tried.ended in ALIVE}
    listed = Listed.read(asked.survivors)
    if asked.update_survivors:
        listed = updated(house.mutants, survivors, listed)
        listed.write(asked.survivors)
    judgement = judge(house.mutants, survivors, listed)
    report(judgement, bench, time.monotonic() - started_s)
    if asked.json:
        asked.json.write_bytes(msgspec.json.format(as_json(judgement, bench, time.monotonic() - started_s)))
    return 1 if judgement.wrong else 0


def report(judgement: Judgement, bench: Bench, seconds_s: float) -> None:
    """Print who lives, the figures, and why the run fails."""
    for mutant in judgement.alive:
        ended = bench.results[mutant.number].ended
        print(f"{ended}: {mutant.file}:{mutant.line} {mutant.where}: {mutant.operator}: {mutant.text}")
    print()
    for file, (killed, total) in judgement.counted.items():
        print(f"{file:44} {killed:5} of {total:5} killed {_pct(killed, total):6.1f} %")
    for room in sorted({f"{file.rpartition('/')[0]}/" for file in judgement.counted}):
        killed, total = in_room(judgement.counted, room)
        print(f"{room:44} {killed:5} of {total:5} killed {_pct(killed, total):6.1f} %")
    ends = [tried.ended for tried in bench.results.values()]
    counts = ", ".join(f"{ends.count(end)} {end}" for end in sorted(set(ends)))
    print(f"{len(ends)} mutants in {seconds_s:.0f} s: {counts}")
    for line in judgement.wrong:
        print(f"WRONG: {line}")


def as_json(judgement: Judgement, bench: Bench, seconds_s: float) -> bytes:
    """Return the same for programs."""
    gone = Tried("not reached")
    rows = [
        {
            "file": mutant.file,
            "line": mutant.line,
            "where": mutant.where,
            "operator": mutant.operator,
            "text": mutant.text,
            "ended": bench.results.get(mutant.number, gone).ended,
            "by": bench.results.get(mutant.number, gone).by,
            "seconds_s": round(bench.results.get(mutant.number, gone).seconds_s, 3),
        }
        for mutant in bench.house.mutants
    ]
    files = {file: {"killed": killed, "all": total} for file, (killed, total) in judgement.counted.items()}
    return msgspec.json.encode(
        {"seconds_s": round(seconds_s, 1), "files": files, "wrong": judgement.wrong, "mutants": rows}
    )


def _pct(killed: int, total: int) -> float:
    return 100 * killed / total if total else 100.0


if __name__ == "__main__":
    sys.exit(main())
