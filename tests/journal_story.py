"""Journals for tests: a site of one unit, entries that differ in every cycle, and values for every field."""

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from controller.journal import Entry, JournalWriter, read
from controller.model import (
    Battery,
    Bound,
    Command,
    Decision,
    Device,
    Energy,
    Inverter,
    Meter,
    Order,
    Poi,
    Share,
    Site,
    Snapshot,
    State,
    Unit,
)

T = TypeVar("T")
START_UTC_MS = 1_777_658_652_000  # 2026-05-01 18:04:12 UTC
MEGABYTE = 1_000_000
SMALLEST_BYTES = 64 * 1024  # the least a journal may be allowed


def a_site(**changes: object) -> Site:
    """Return a site of one unit, 5 kW and 10 kWh."""
    site = Site(
        name="Mill Lane",
        poi=Poi(meter="meter", import_max_w=8000, export_max_w=5000, load_max_w=9000),
        energy=Energy(floor_pct=10, reserve_pct=30, ceiling_pct=95),
        unit=(
            Unit(
                name="pack",
                inverter="inverter",
                battery="battery",
                charge_max_w=5000,
                discharge_max_w=5000,
                capacity_wh=10_000,
                watchdog_s=10,
                settle_ms=1000,
            ),
        ),
        device=tuple(
            Device(name=name, profile=profile, url="tcp://127.0.0.1:1", stale_after_ms=3000)
            for name, profile in (
                ("meter", "meters/sunspec_meter"),
                ("inverter", "inverters/sunspec_der"),
                ("battery", "batteries/pylontech_lv"),
            )
        ),
    )
    return msgspec.structs.replace(site, **changes)


def an_entry(seq: int = 0, utc_ms: int | None = None, **changes: object) -> Entry:
    """Return entry seq of a story at 1 Hz: a utility's signal followed, every reading a little other each cycle."""
    rng = random.Random(seq)
    now_ms = 100_000 + seq * 1000 + rng.randrange(5)
    power_w, load_w = rng.randint(-5000, 5000), 1000 + rng.randint(-50, 50)
    sampled_ms = now_ms - rng.randint(50, 400)
    order = Order(
        name="wset",
        source="sunspec 127.0.0.1:40912",
        kind="target",
        domain="battery",
        low_w=power_w,
        high_w=power_w,
        starts_ms=now_ms - seq % 4 * 1000,
        expires_ms=now_ms + 60_000 - seq % 4 * 1000,
    )
    snapshot = Snapshot(
        now_ms=now_ms,
        utc_ms=START_UTC_MS + seq * 1000 if utc_ms is None else utc_ms,
        readings=(
            Meter(
                device="meter",
                sampled_ms=sampled_ms,
                heard_ms=sampled_ms,
                power_w=power_w - load_w,
                voltage_mv=rng.randint(228_000, 232_000),
                frequency_mhz=rng.randint(49_980, 50_020),
            ),
            Inverter(device="inverter", sampled_ms=sampled_ms + 3, heard_ms=sampled_ms + 3, power_w=power_w),
            Battery(
                device="battery",
                sampled_ms=sampled_ms - 200,
                heard_ms=sampled_ms - 200,
                soc_bp=5000 + seq // 60 * 100,
                voltage_mv=rng.randint(51_000, 52_000),
                current_ma=power_w * 20,
                charge_max_ma=100_000,
                discharge_max_ma=100_000,
                charge_allowed=True,
                discharge_allowed=True,
                temperature_mc=24_000,
            ),
        ),
        orders=(order,),
        poi_battery_w=power_w,
        utility_silent=False,
    )
    decision = Decision(
        now_ms=now_ms,
        mode="follow",
        target_w=power_w,
        wish_w=power_w,
        wish_because=f"{order.source} asks {power_w:+d} W of the batteries",
        why="wish",
        low=Bound(value_w=-5000, rule="nameplate", because="nameplate in the site file"),
        high=Bound(value_w=5000, rule="nameplate", because="nameplate in the site file"),
        asked_w=power_w,
        net_load_w=load_w,
        stored_wh=5000 + seq // 60 * 100,
        sellable_wh=1800 + seq // 60 * 100,
        shares=(Share(unit="pack", low_w=-5000, high_w=5000, power_w=power_w),),
        commands=(Command(device="inverter", power_w=power_w, running=True, valid_ms=10_000),),
    )
    state = State(decided_ms=now_ms - 1000, target_w=power_w - 7, moved_ms=now_ms - 1000, net_load_w=load_w)
    entry = Entry(seq=seq, state=state, snapshot=snapshot, decision=decision)
    return msgspec.structs.replace(entry, **changes)


def record(directory: Path, entries: Iterable[Entry], max_bytes: int = MEGABYTE, site: Site | None = None) -> None:
    """Write a journal of entries by one writer."""
    writer = JournalWriter(directory, site or a_site(), max_bytes)
    for entry in entries:
        writer.append(entry)
    writer.close()


def segments(directory: Path) -> list[Path]:
    """Return the segment files in order."""
    return sorted(directory.glob("*.lpj"))


def recorded(path: Path) -> list[Entry]:
    """Return every entry that can be read."""
    return [entry for segment in read(path) for entry in segment.entries()]


def seqs(path: Path) -> list[int]:
    """Return their numbers."""
    return [entry.seq for entry in recorded(path)]


def filled(kind: type[T]) -> Iterator[T]:
    """Yield values of kind with another value in every field: all optionals on, each member of every union in turn."""
    seen: set[str] = set()
    for turn in range(100):
        count = itertools.count(1)
        value = _fill(inspect.type_info(kind), count, turn)
        if (known := repr(value)) in seen:
            return
        seen.add(known)
        yield value


def _fill(kind: inspect.Type, count: Iterator[int], turn: int) -> Any:
    match kind:
        case inspect.StructType():
            return kind.cls(**{field.name: _fill(field.type, count, turn) for field in kind.fields})
        case inspect.UnionType():
            members = [member for member in kind.types if not isinstance(member, inspect.NoneType)]
            return _fill(members[turn % len(members)], count, turn)
        case inspect.VarTupleType():
            return tuple(_fill(kind.item_type, count, turn + more) for more in range(2))
        case inspect.TupleType():
            return tuple(_fill(item, count, turn) for item in kind.item_types)
        case inspect.LiteralType():
            return kind.values[(turn + next(count)) % len(kind.values)]
        case inspect.BoolType():
            return next(count) % 2 == turn % 2
        case inspect.IntType():
            return 1000 + next(count)
        case inspect.StrType():
            return f"word {next(count)}"
        case _:
            raise AssertionError(kind)


def any_of(kind: type[T]) -> st.SearchStrategy[T]:
    """Return a strategy of all values of kind."""
    return _strategy(inspect.type_info(kind))


def _strategy(kind: inspect.Type) -> st.SearchStrategy[Any]:
    plain: dict[type, Callable[[], st.SearchStrategy[Any]]] = {
        inspect.NoneType: st.none,
        inspect.BoolType: st.booleans,
        inspect.IntType: lambda: st.integers(-(2**63), 2**63 - 1),
        inspect.StrType: lambda: st.text(max_size=12),
    }
    match kind:
        case inspect.StructType():
            return st.builds(kind.cls, **{field.name: _strategy(field.type) for field in kind.fields})
        case inspect.UnionType():
            return st.one_of([_strategy(member) for member in kind.types])
        case inspect.VarTupleType():
            return st.lists(_strategy(kind.item_type), max_size=2).map(tuple)
        case inspect.TupleType():
            return st.tuples(*[_strategy(item) for item in kind.item_types])
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case _:
            return plain[type(kind)]()
