"""The CAN wire and its verbs, frame by frame. Frames are Pylontech LV V1.2's, by hand from its table."""

from collections.abc import Callable
from typing import Any

import pytest

from hil.faults.can import VERBS
from hil.faults.words import Armed, Fault
from hil.wire.can import CanToxic, CanWire, Frames, frames_of

ROWS = {verb.name: verb for verb in VERBS}
ALIVE = (0x305, bytes(8))

# 56.0 V, 250.0 A, 250.0 A, 46.0 V | SoC 50 %, SoH 100 %, SoC 50.00 % | 52.84 V, 0 A, 25.0 C | both enabled
SET = frames_of("351#3002C409C409CC01 355#320064008813 356#A4140000FA00 35C#C000")
# The same a while later: SoC 51 %, 52.90 V
LATER = frames_of("351#3002C409C409CC01 355#33006400EC13 356#AA140000FA00 35C#C000")


class Bus:
    """A wire with verbs on it."""

    def __init__(self) -> None:
        self.wire = CanWire()
        self.can_wires = {"bms": self.wire}

    def begin(self, do: str, *, seed: str = "1", **params: Any) -> tuple[Armed, Callable[[], None]]:
        armed = Armed(Fault(on="bms", do=do, params=params), ROWS[do], seed)
        return armed, ROWS[do].begin(self, armed)


def replaced(frames: Frames, text: str) -> Frames:
    """Return frames with those of the text in place of theirs."""
    instead = dict(frames_of(text))
    return tuple((identifier, instead.get(identifier, data)) for identifier, data in frames)


def without(frames: Frames, *identifiers: int) -> Frames:
    return tuple(frame for frame in frames if frame[0] not in identifiers)


def test_idle_wire_passes_everything_both_ways() -> None:
    wire = CanWire()
    assert wire.out(SET, 1.0) == SET and wire.heard(*ALIVE, 1.0) and wire.due(1.0) == ()


OTHER_PACK = frames_of(
    "351#3002C409C409CC01 351#3002C409C409CC01 355#320064008813 355#14006400D007 "  # 50 % and 20 %
    "356#A4140000FA00 356#40140000FA00 35C#C000 35C#C000"  # 52.84 V and 51.84 V
)
SEEN: list[tuple[str, dict[str, Any], Frames, bool, int]] = [  # verb, with, sent, heard, effects
    ("can_unplug", {}, (), False, 2),
    ("bus_off", {}, (), False, 2),
    ("drop_all", {}, (), True, 4),
    ("drop", {"identifier": 0x356}, without(SET, 0x356), True, 1),
    ("drop", {"identifier": 0x123}, SET, True, 0),
    ("drop", {"share": 0.0}, SET, True, 0),
    ("short", {"identifier": 0x351, "length_bytes": 6}, replaced(SET, "351#3002C409C409"), True, 1),
    ("short", {"length_bytes": 1}, frames_of("351#30 355#32 356#A4 35C#C0"), True, 4),
    ("short", {"length_bytes": 0, "identifier": 0x35C}, replaced(SET, "35C#"), True, 1),
    ("short", {"length_bytes": 8}, SET, True, 0),
    ("garbage", {}, replaced(SET, "355#FF006400"), True, 1),  # SoC 255 %
    ("garbage", {"frames": "356#A414000070FE 35C#00"}, replaced(SET, "356#A414000070FE 35C#00"), True, 2),  # -40.0 C
    ("freeze", {}, SET, True, 0),  # nothing has changed yet
    ("second_pack", {}, OTHER_PACK, True, 1),
    ("hold_keepalive", {}, SET, False, 1),
    ("hold_keepalive", {"share": 0.0}, SET, True, 0),
    ("can_flood", {}, SET, True, 0),  # floods by itself only
]


@pytest.mark.parametrize(("do", "params", "sent", "heard", "effects"), SEEN)
def test_verb_is_seen_as_its_name_says(
    do: str, params: dict[str, Any], sent: Frames, heard: bool, effects: int
) -> None:
    bus = Bus()
    armed, heal = bus.begin(do, **params)
    assert bus.wire.out(SET, 1.0) == sent
    assert bus.wire.heard(*ALIVE, 1.0) == heard
    assert armed.effects == effects
    heal()
    bus.wire.due(1.0)
    assert bus.wire.out(LATER, 2.0) == LATER and bus.wire.heard(*ALIVE, 2.0) and bus.wire.due(2.0) == ()
    assert armed.effects == effects


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_what_cuts_says_so_and_what_does_not_cut_lets_something_through(verb: Any) -> None:
    bus = Bus()
    bus.begin(verb.name)
    sent = [bus.wire.due(at_s) + bus.wire.out(SET, float(at_s)) for at_s in range(20)]
    assert verb.cuts == (not any(sent))


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_verb_takes_every_parameter_at_both_ends_of_its_range(verb: Any) -> None:
    for name, param in verb.params.items():
        if not isinstance(param.default, str):
            assert param.low <= param.default <= param.high
            for value in (param.low, param.high):
                bus = Bus()
                _, heal = bus.begin(verb.name, **{name: value})
                for at_s in range(3):
                    frames = bus.wire.due(float(at_s)) + bus.wire.out(SET, float(at_s))
                    assert all(0 <= identifier <= 0x7FF and len(data) <= 8 for identifier, data in frames)
                heal()


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_no_verb_trips_over_nothing_or_over_empty_frames(verb: Any) -> None:
    bus = Bus()
    armed, heal = bus.begin(verb.name)
    assert bus.wire.out((), 0.0) == bus.wire.due(0.0) == () and armed.effects == 0
    assert all(data == b"" for _, data in bus.wire.out(tuple((number, b"") for number, _ in without(SET, 0x355)), 1.0))
    heal()


def test_frozen_frames_keep_the_bytes_they_had_first() -> None:
    bus = Bus()
    armed, heal = bus.begin("freeze", identifier=0x355)
    assert bus.wire.out(SET, 0.0) == SET
    assert bus.wire.out(LATER, 1.0) == replaced(LATER, "355#320064008813")
    assert armed.effects == 1
    heal()
    every, _ = bus.begin("freeze")
    assert bus.wire.out(LATER, 2.0) == LATER and bus.wire.out(SET, 3.0) == LATER
    assert every.effects == 2  # SoC and voltage; limits and requests are the same


@pytest.mark.parametrize(
    ("soc_pct", "soc"), [(30, "355#50006400401F"), (80, "355#640064001027"), (-80, "355#000064000000")]
)
def test_second_pack_stays_between_empty_and_full(soc_pct: float, soc: str) -> None:
    bus = Bus()
    bus.begin("second_pack", soc_pct=soc_pct, pack_v=0.0)
    assert bus.wire.out(SET[1:2], 0.0) == (*SET[1:2], *frames_of(soc))


def test_second_pack_of_an_old_battery_has_no_fine_soc_either() -> None:
    bus = Bus()
    bus.begin("second_pack")
    assert bus.wire.out(frames_of("355#32006400"), 0.0) == frames_of("355#32006400 355#14006400")


def test_bus_off_ends_with_the_oldest_three_frames() -> None:
    bus = Bus()
    armed, heal = bus.begin("bus_off")
    assert bus.wire.out(SET, 0.0) == bus.wire.out(LATER, 1.0) == ()
    assert not bus.wire.heard(*ALIVE, 1.0)
    assert bus.wire.due(1.1) == ()
    heal()
    assert bus.wire.due(2.0) == SET[:3]  # 50 %, though it is 51 % by now
    assert bus.wire.due(2.1) == () and bus.wire.out(LATER, 2.1) == LATER
    assert armed.effects == 3


def test_flood_has_its_rate_whoever_asks_how_often() -> None:
    for step_s in (0.1, 0.25, 0.05):
        bus = Bus()
        armed, heal = bus.begin("can_flood", frames_per_s=1000.0)
        frames: Frames = ()
        for step in range(round(2 / step_s) + 1):
            frames += bus.wire.due(100 + step * step_s)
        assert frames == ((0x001, bytes(8)),) * 2000
        assert armed.effects == round(2 / step_s)
        heal()
        assert bus.wire.due(103.0) == ()


def test_flood_is_bounded_after_a_long_pause_and_does_not_make_up_for_it() -> None:
    bus = Bus()
    bus.begin("can_flood", frames_per_s=3600.0, identifier=0)
    assert bus.wire.due(0.0) == ()
    assert len(bus.wire.due(3600.0)) == 1000
    assert len(bus.wire.due(3600.1)) == 360


def test_no_flood_reaches_a_battery_that_is_unplugged_before_or_after() -> None:
    for order in (("can_unplug", "can_flood"), ("can_flood", "can_unplug")):
        bus = Bus()
        heals = {do: bus.begin(do)[1] for do in order}
        bus.wire.due(0.0)
        assert bus.wire.due(1.0) == ()
        heals["can_unplug"]()
        assert len(bus.wire.due(1.1)) == 360


@pytest.mark.parametrize("do", sorted(set(ROWS) - {"can_unplug", "bus_off", "can_flood"}))
def test_what_happens_to_the_battery_does_not_happen_to_other_nodes(do: str) -> None:
    bus = Bus()
    armed, _ = bus.begin(do)
    bus.begin("can_flood", frames_per_s=1.0, identifier=0x351)
    bus.wire.due(0.0)
    assert bus.wire.due(2.0) == ((0x351, bytes(8)),) * 2
    assert armed.effects == 0


def test_shuffled_sets_hold_every_frame_and_an_old_one_behind_its_successor() -> None:
    bus = Bus()
    armed, _ = bus.begin("reorder")
    assert sorted(bus.wire.out(SET, 0.0)) == sorted(SET)
    orders = set()
    for at_s in range(1, 51):
        before, now = (SET, LATER) if at_s % 2 else (LATER, SET)
        mixed = bus.wire.out(now, float(at_s))
        *fresh, old = mixed
        assert sorted(fresh) == sorted(now) and old in before
        orders.add(tuple(identifier for identifier, _ in fresh))
    assert len(orders) > 10 and armed.effects == 51


def test_the_same_seed_does_the_same_and_another_does_not() -> None:
    def played(do: str, seed: str) -> list[Any]:
        bus = Bus()
        bus.begin(do, seed=seed, share=0.5)
        return [(bus.wire.out(SET, float(at_s)), bus.wire.heard(*ALIVE, float(at_s))) for at_s in range(50)]

    for do in ("drop", "reorder", "hold_keepalive"):
        assert played(do, "7") == played(do, "7") != played(do, "8")


def test_share_is_how_often_it_strikes() -> None:
    bus = Bus()
    armed, _ = bus.begin("drop", identifier=0x355, share=0.25)
    sent = [bus.wire.out(SET, float(at_s)) for at_s in range(1000)]
    assert 200 < armed.effects < 300  # 250 +- 3.6 standard deviations
    assert sum(0x355 not in dict(frames) for frames in sent) == armed.effects


def test_toxics_act_one_after_the_other_and_each_heals_for_itself() -> None:
    bus = Bus()
    _, thaw = bus.begin("freeze", identifier=0x355)
    bus.begin("short", identifier=0x355, length_bytes=4)
    assert dict(bus.wire.out(SET, 0.0))[0x355] == bytes.fromhex("32006400")
    assert dict(bus.wire.out(LATER, 1.0))[0x355] == bytes.fromhex("32006400")
    thaw()
    assert dict(bus.wire.out(LATER, 2.0))[0x355] == bytes.fromhex("33006400")


def test_every_standard_identifier_can_be_written() -> None:
    assert frames_of("000# 7FF#00 1#AB") == ((0, b""), (0x7FF, b"\0"), (1, b"\xab"))


@pytest.mark.parametrize("text", ["355", "800#00", "355#0", "355#112233445566778899", "x#00", "-1#00"])
def test_what_is_no_frame_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is no CAN frame"):
        frames_of(text)


def test_toxic_that_overrides_nothing_changes_nothing() -> None:
    wire = CanWire()
    wire.add(CanToxic())
    assert wire.out(SET, 0.0) == SET and wire.heard(*ALIVE, 0.0) and wire.due(0.0) == ()
