"""Recordings: gzip CSV files with one header line, in the data folder, which stands beside the repository.

Columns, resolution, origin and licence of each file are told where the folder comes from; keep the attribution in
whatever is made of them.
"""

import csv
import gzip
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from math import inf, isfinite, nan
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

ENVIRONMENT = "LINEPACK_DATA"
GAP_STEPS = 1.5  # a step longer than this many usual ones is a gap
TIME_UNITS_S = {"minute": 60.0, "hour": 3600.0}  # what one is worth in a time column of that name; in others 1 s
_CACHED = 32  # columns that are kept, some megabytes each

Text = Annotated[str, Meta(max_length=200)]


class RecordingError(ValueError):
    """A recording that cannot be played; the message says what to do."""


class Recording(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A column of a recording: gain x what was recorded + offset. After its end the last value stands."""

    file: Annotated[str, Meta(pattern=r"^[\w.-]+\.csv\.gz$", description="a gzip CSV file of the data folder")]
    column: Annotated[Text, Meta(description="what is played")]
    time: Annotated[Text, Meta(description='column of times: seconds, "minute", "hour" or dates; "" = the first')] = ""
    where: Annotated[dict[str, Text], Meta(description="only the rows in which these columns say this")] = {}
    start_s: Annotated[float, Meta(ge=0, description="what is played at t = 0, in s after the first row")] = 0.0
    length_s: Annotated[float, Meta(gt=0, description="plays so long; left out = to the end")] | None = None
    gain: Annotated[float, Meta(description="1000 makes W of kW")] = 1.0
    offset: Annotated[float, Meta(description="added to it")] = 0.0
    line: Annotated[bool, Meta(description="straight lines from row to row; false = each row holds until the next")] = (
        False
    )


def recordings_folder() -> Path:
    """Return where recordings are: $LINEPACK_DATA, else shared/data beside the repository."""
    told = os.environ.get(ENVIRONMENT)
    return Path(told) if told else Path(__file__).resolve().parents[3] / "shared" / "data"


def play(recording: Recording) -> tuple[list[float], list[float]]:
    """Return the times in s, of which the first is not after 0, and the values.

    Raises RecordingError where the file or a column is not there, and where a row that is played has no number or no
    time, or does not follow the one before it at its usual distance.
    """
    rows = _column(recording)
    begin_s, end_s = recording.start_s, recording.start_s + (recording.length_s or inf)
    if begin_s > rows.times_s[-1]:
        raise RecordingError(f"{recording.file} is {rows.times_s[-1]:g} s long: start_s = {begin_s:g} is after its end")
    played = range(bisect_right(rows.times_s, begin_s) - 1, bisect_right(rows.times_s, end_s))
    for index in played:
        step_s = rows.times_s[index] - rows.times_s[max(index - 1, played.start)]
        wrong = ""
        if not isfinite(rows.values[index]):
            wrong = f"{recording.column} is no number"
        elif step_s > GAP_STEPS * rows.usual_s:
            wrong = f"{step_s:g} s after the row before it, where a step is {rows.usual_s:g} s"
        if wrong:
            where = f"{recording.file}, line {rows.lines[index]}, {rows.times_s[index]:g} s after its first row"
            raise RecordingError(f"{where}: {wrong}; choose start_s and length_s around it")
    times_s = [rows.times_s[index] - begin_s for index in played]
    return times_s, [recording.gain * rows.values[index] + recording.offset for index in played]


class _Rows(NamedTuple):
    """A whole column: times in s after its first row, values (not a number where there is none), lines in the file."""

    times_s: "array[float]"
    values: "array[float]"
    lines: "array[int]"
    usual_s: float  # from row to row


def _column(recording: Recording) -> _Rows:
    path = recordings_folder() / recording.file
    if not path.is_file():
        raise RecordingError(
            f"the recording {recording.file} is not in {path.parent}: recordings are kept beside the repository in "
            f"shared/data; put it there, or set {ENVIRONMENT} to the folder that has it"
        )
    where = tuple(sorted(recording.where.items()))
    return _read(path, path.stat().st_mtime_ns, recording.time, recording.column, where)


@lru_cache(maxsize=_CACHED)
def _read(path: Path, _changed_ns: int, time: str, column: str, where: tuple[tuple[str, str], ...]) -> _Rows:
    times_s, values, lines = array("d"), array("d"), array("L")
    said: set[str] = set()
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            table = csv.reader(file)
            header = next(table, [])
            time = time or (header[0] if header else "")
            at, of, *wheres = (_place(path.name, header, name) for name in (time, column, *(name for name, _ in where)))
            for line, row in _whole(path.name, table, len(header)):
                said |= {row[place] for place in wheres}
                if any(row[place] != word for place, (_, word) in zip(wheres, where, strict=True)):
                    continue
                times_s.append(_seconds(f"{path.name}, line {line}", time, row[at]))
                values.append(_number(row[of]))
                lines.append(line)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path.name} cannot be read as a gzip CSV file: {error}") from error
    if not times_s:
        asked = " and ".join(f"{name} = {word!r}" for name, word in where)
        raise RecordingError(
            f"{path.name} has no row" + (f" with {asked}; it has {', '.join(sorted(said))}" if where else "")
        )
    for index in range(1, len(times_s)):
        if times_s[index] <= times_s[index - 1]:
            raise RecordingError(
                f"{path.name}, line {lines[index]}: the time does not go on from line {lines[index - 1]}; "
                "where a file holds several series, choose one with where"
            )
    usual_s = median(after_s - before_s for before_s, after_s in pairwise(times_s)) if len(times_s) > 1 else inf
    begin_s = times_s[0]
    return _Rows(array("d", (time_s - begin_s for time_s in times_s)), values, lines, usual_s)


def _whole(file: str, table: Iterator[list[str]], columns: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows with their line in the file."""
    for line, row in enumerate(table, 2):
        if len(row) != columns:
            raise RecordingError(f"{file}, line {line}: {len(row)} cells where the header has {columns}")
        yield line, row


def _place(file: str, header: list[str], name: str) -> int:
    if name not in header:
        raise RecordingError(f"{file} has no column {name!r}; it has {', '.join(header)}")
    return header.index(name)


def _seconds(where: str, column: str, cell: str) -> float:
    """Return a time in s. Dates without an offset are taken as they stand, dates with one by what moment they are."""
    number = _number(cell)
    if isfinite(number):
        return number * TIME_UNITS_S.get(column, 1.0)
    try:
        moment = datetime.fromisoformat(cell.replace("/", "-"))
    except ValueError:
        raise RecordingError(f"{where}: {column} = {cell!r} is neither a number nor a date") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return nan
