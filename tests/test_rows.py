"""Rows of a scenario: what they set and when, what they expect of the last decision, and that no fault goes unnamed."""

import msgspec
import pytest

from controller.model import Bound, Decision, Standing
from hil.run.rows import Rows, mismatches, shown
from hil.scenario.words import Expect, Row


def a_decision(target_w: int = 4000, *faults: str, **changes: object) -> Decision:
    """Return a decision at the export limit. faults: each as "meter_stale meter"."""
    standing = tuple(
        Standing(fault=fault, device=device, since_ms=0)  # type: ignore[arg-type]
        for fault, _, device in (text.partition(" ") for text in faults)
    )
    decision = Decision(
        now_ms=100_000,
        mode="follow",
        target_w=target_w,
        wish_w=8000,
        wish_because="the utility asks",
        why="poi_limit",
        low=Bound(value_w=-10_000, rule="nameplate", because="its rating"),
        high=Bound(value_w=target_w, rule="poi_limit(export)", because="the export limit"),
        faults=standing,
    )
    return msgspec.structs.replace(decision, **changes)


@pytest.mark.parametrize(
    ("expect", "wrong"),
    [
        (Expect(), ""),
        (Expect(target_w=4000), ""),
        (Expect(target_w=4001), "target_w is 4000, not 4001"),
        (Expect(target_w=(4000.0, 4100.0)), ""),
        (Expect(target_w=(4000.5, 4100.0)), "target_w is 4000, not [4000.5, 4100]"),
        (Expect(target_w="<= 4000"), ""),
        (Expect(target_w=">= 4001"), "target_w is 4000, not >= 4001"),
        (Expect(wish_w=8000, low_w=-10_000, high_w=4000), ""),
        (Expect(low_w=0), "low_w is -10000, not 0"),
        (Expect(asked_w=(-1e9, 1e9)), "asked_w is None, not [-1e+09, 1e+09]"),
        (Expect(mode="follow", why="poi_limit", low_rule="nameplate"), ""),
        (Expect(high_rule="poi_limit"), ""),
        (Expect(high_rule="nameplate"), "high_rule is poi_limit(export), not nameplate"),
        (Expect(why="wish"), "why is poi_limit, not wish"),
    ],
)
def test_what_a_row_expects(expect: Expect, wrong: str) -> None:
    assert list(mismatches(expect, a_decision())) == ([wrong] if wrong else [])


@pytest.mark.parametrize(
    ("standing", "named", "wrong"),
    [
        ((), (), []),
        (("meter_stale meter",), ("meter_stale meter",), []),
        (("meter_stale meter",), (), ["meter_stale meter stands and is not named"]),
        ((), ("meter_stale meter",), ["meter_stale meter does not stand"]),
        (
            ("battery_stale battery",),
            ("battery_stale battery2",),
            ["battery_stale battery stands and is not named", "battery_stale battery2 does not stand"],
        ),
        (("b b", "a a"), (), ["a a stands and is not named", "b b stands and is not named"]),
    ],
)
def test_every_fault_that_stands_is_named(standing: tuple[str, ...], named: tuple[str, ...], wrong: list[str]) -> None:
    assert list(mismatches(Expect(faults=named), a_decision(4000, *standing))) == wrong


def test_everything_that_is_wrong_is_told() -> None:
    wrong = list(mismatches(Expect(target_w=1, why="wish"), a_decision(4000, "meter_stale meter")))
    assert len(wrong) == 3


def test_a_row_is_compared_where_the_next_one_begins_and_the_last_one_at_the_end() -> None:
    rows = Rows(
        (
            Row(t_s=0.0, set={"load_w": 1000.0}),
            Row(t_s=10.0, expect=Expect(target_w=4000)),
            Row(t_s=20.0, set={"load_w": 300.0}, expect=Expect(target_w=5000)),
        )
    )
    assert [row.t_s for row in rows.begun(0.0, None)] == [0.0]
    assert list(rows.begun(9.9, a_decision(1))) == []
    assert [row.t_s for row in rows.begun(9.9999995, a_decision(1))] == [10.0], "a sum of ticks falls short of its mark"
    assert list(rows.begun(19.9, a_decision(4000))) == []
    assert [dict(row.set) for row in rows.begun(20.0, a_decision(4000))] == [{"load_w": 300.0}]
    assert rows.wrong == []
    rows.end(a_decision(4999))
    assert rows.wrong == ["row at 20 s: target_w is 4999, not 5000"]


def test_a_row_without_a_decision_is_wrong_only_where_it_expects_one() -> None:
    rows = Rows((Row(t_s=0.0, set={"load_w": 1.0}), Row(t_s=1.0, expect=Expect())))
    assert len(list(rows.begun(1.0, None))) == 2
    assert rows.wrong == []
    rows.end(None)
    assert rows.wrong == ["row at 1 s: there was no decision"]


def test_without_rows_nothing_is_compared() -> None:
    rows = Rows(())
    assert list(rows.begun(5.0, a_decision())) == []
    rows.end(None)
    assert rows.wrong == []


@pytest.mark.parametrize(
    ("bar", "text"), [(4000.0, "4000"), ("<= 2", "<= 2"), ((0.5, 2.0), "[0.5, 2]")], ids=["number", "edge", "range"]
)
def test_a_bar_is_shown_as_it_is_written(bar: float | str | tuple[float, float], text: str) -> None:
    assert shown(bar) == text
