"""Signals: points, waves, chance and recordings as functions of the time."""

import gzip
from collections.abc import Callable
from itertools import pairwise
from math import inf
from pathlib import Path
from random import Random
from statistics import fmean, pstdev

import msgspec
import pytest

from hil.scenario.recording import ENVIRONMENT, Recording, RecordingError, play, recordings_folder
from hil.scenario.signals import Course, Signal, course

Write = Callable[..., None]


def made(seed: int = 1, **told: object) -> Course:
    return course(msgspec.convert(told, Signal), seed)


@pytest.fixture
def recordings() -> Path:
    """Return the folder of the real recordings."""
    folder = recordings_folder()
    if not (folder / "pv_1s_24h_cloudy.csv.gz").is_file():
        pytest.skip(f"the recordings are not here (set {ENVIRONMENT} to their folder)")
    return folder


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that puts a recording into a folder of its own."""
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))

    def write(text: str, name: str = "own.csv.gz") -> None:
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))

    return write


def test_points_hold_until_the_next_and_say_nothing_before_the_first() -> None:
    signal = made(points=[[2, 8000], [10, -500.5], [80, "nothing"]])
    asked = [signal.value(t_s) for t_s in (0, 1.9, 2, 9.9, 10, 79, 80, 1e9)]
    assert asked == [None, None, 8000, 8000, -500.5, -500.5, None, None]
    assert [signal.next_change_s(t_s) for t_s in (0, 2, 10, 80)] == [2, 10, 80, inf]


def test_time_that_is_a_sum_of_steps_reaches_a_point_in_time() -> None:
    signal, t_s = made(points=[[0, 1], [0.8, 2]]), 0.0
    for _ in range(8):
        t_s += 0.1
    assert t_s < 0.8
    assert signal.value(t_s) == 2 and signal.next_change_s(t_s) == inf


def test_line_joins_points() -> None:
    signal = made(points=[[10, 100], [20, 300], [30, 300], [40, 0]], line=True)
    asked = [signal.value(t_s) for t_s in (9, 10, 12.5, 20, 25, 35, 40, 99)]
    assert asked == [None, 100, pytest.approx(150), 300, 300, pytest.approx(150), 0, 0]
    assert signal.next_change_s(12.52) == pytest.approx(12.6)
    assert signal.next_change_s(20) == 30, "nothing changes where it is flat"
    assert [signal.next_change_s(t_s) for t_s in (0, 19.95, 40)] == [10, 20, inf]
    slow = made(points=[[0, 0], [1000, 1]], line=True)
    assert slow.next_change_s(0) == pytest.approx(10), "a hundredth of the way"


def test_ramp_has_its_ends_before_and_after() -> None:
    signal = made(ramp={"start_value": 50, "end_value": 47.5, "begins_s": 10, "ends_s": 15})
    assert [signal.value(t_s) for t_s in (0, 10, 12, 15, 99)] == [50, 50, pytest.approx(49), 47.5, 47.5]
    assert (signal.next_change_s(0), signal.next_change_s(15)) == (10, inf)


def test_sine_is_at_its_mean_and_rising_at_the_begin() -> None:
    signal = made(sine={"mean": 1.0, "amplitude": 0.1, "period_s": 60})
    asked = [signal.value(t_s) for t_s in (0, 5, 15, 30, 45, 60)]
    assert asked == pytest.approx([1.0, 1.05, 1.1, 1.0, 0.9, 1.0])
    assert 0 < signal.next_change_s(7) - 7 <= 0.6


def test_noise_has_its_deviation_and_holds() -> None:
    signal = made(noise={"sigma": 250, "hold_s": 5})
    drawn = [signal.value(5.0 * number) or 0.0 for number in range(4000)]
    assert fmean(drawn) == pytest.approx(0, abs=4 * 250 / 4000**0.5)
    assert pstdev(drawn) == pytest.approx(250, rel=0.05)
    assert signal.value(5.0 * 7 + 4.99) == drawn[7] and signal.next_change_s(36) == 40
    assert made(noise={"sigma": 250, "hold_s": 5}, seed=2).value(0) != drawn[0]


def test_regulation_signal_is_fast_reverts_and_is_often_at_its_rails() -> None:
    signal, t_s = made(regulation={"peak": 8000}), 0.0
    steps: list[tuple[float, float]] = []
    while t_s < 2 * 3600:
        steps.append((t_s, signal.value(t_s) or 0.0))
        t_s = signal.next_change_s(t_s)
    values = [value for _, value in steps]
    assert max(values) == 8000 and min(values) == -8000
    railed = sum(after - at for (at, value), (after, _) in pairwise(steps) if abs(value) == 8000) / steps[-1][0]
    assert 0.25 < railed < 0.5  # P(|x| > 1) of a normal with deviation 1 / sqrt(1 - 0.4^2) is 0.36
    assert abs(fmean(values)) < 400
    kept = [value * after > 0 for (_, value), (_, after) in pairwise(steps) if abs(value) < 8000]
    assert 0.53 < fmean(kept) < 0.65, "the next step leans the same way, a little"
    assert signal.next_change_s(3599.99) == pytest.approx(3600)
    held_s = [after - at for (at, _), (after, _) in pairwise(steps)]
    assert 1.2 < fmean(held_s) < 2.4, "equal values at a rail are one step"
    loose_s = [after - at for (at, value), (after, _) in pairwise(steps) if abs(value) < 8000 and after < 3600]
    assert 1.0 <= min(loose_s) < 1.01 and 1.99 < max(loose_s) <= 2.0


def test_regulation_signal_is_the_same_asked_in_any_order_and_another_with_another_seed() -> None:
    signal, other = made(regulation={"peak": 1}), made(regulation={"peak": 1}, seed=9)
    times_s = [3600 * 5 + 0.7 * number for number in range(-200, 200)]
    forward = [signal.value(t_s) for t_s in times_s]
    assert None not in forward
    assert [made(regulation={"peak": 1}).value(t_s) for t_s in reversed(times_s)] == forward[::-1]
    assert forward != [other.value(t_s) for t_s in times_s]
    own = [made(regulation={"peak": 1, "seed": 4}, seed=seed).value(50) for seed in (1, 2)]
    assert own[0] == own[1]
    assert signal.value(3600 - 5e-4) is not None  # the last moment of an hour belongs to it


def test_parts_add_up_and_nothing_stays_nothing() -> None:
    signal = made(points=[[5, 1000], [9, "nothing"]], sine={"amplitude": 10, "period_s": 4})
    assert [signal.value(t_s) for t_s in (4, 5, 6, 9)] == [None, pytest.approx(1010), pytest.approx(1000), None]
    assert signal.next_change_s(0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "told",
    [
        {"points": [[0, 1], [3, 2], [7, "nothing"]]},
        {"points": [[0, 1], [3, 2], [900, 7]], "line": True},
        {"ramp": {"start_value": 0, "end_value": 9, "begins_s": 2, "ends_s": 9}},
        {"sine": {"amplitude": 1, "period_s": 7}},
        {"noise": {"sigma": 1, "hold_s": 0.3}},
        {"regulation": {"peak": 1}},
    ],
)
def test_next_change_is_always_ahead_and_nothing_that_holds_changes_before_it(told: dict[str, object]) -> None:
    signal, rng, t_s = made(**told), Random(5), 0.0
    moves_all_the_time = "line" in told or "sine" in told or "ramp" in told
    for _ in range(2000):
        next_s = signal.next_change_s(t_s)
        assert next_s > t_s
        if next_s == inf:
            break
        if not moves_all_the_time:
            assert signal.value(rng.uniform(t_s, next_s - 2e-6)) == signal.value(t_s)
        t_s = next_s
    assert t_s >= 7


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({}, "a signal is points, sine"),
        ({"line": True, "noise": {"sigma": 1}}, "there are none"),
        ({"points": [[1, 0], [1, 2]]}, "1 s stands after 1 s"),
        ({"points": [[1, 0], [2, "nothing"]], "line": True}, "no line leads"),
        ({"points": [[1, "none"]]}, "'none'"),
        ({"ramp": {"start_value": 0, "end_value": 9, "begins_s": 9, "ends_s": 9}}, "ends_s = 9 is not after"),
        ({"sine": {"amplitude": 1, "period_s": 0.5}}, "period_s"),
        ({"sinus": {"amplitude": 1, "period_s": 5}}, "sinus"),
        ({"recording": {"file": "../x.csv.gz", "column": "v"}}, "file"),
    ],
)
def test_signal_that_makes_no_sense_is_refused(told: dict[str, object], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert(told, Signal)


# -- recordings of our own ----------------------------------------------------------------------------------------

MINUTES = "minute,kw\n0,1\n1,3\n2,3\n3,nan\n4,5\n5,6\n8,7\n9,8\n"


def test_recording_is_scaled_placed_and_held(write: Write) -> None:
    write(MINUTES)
    played = {"file": "own.csv.gz", "column": "kw", "start_s": 30, "length_s": 100, "gain": 1000, "offset": -50}
    signal = made(recording=played)
    assert [signal.value(t_s) for t_s in (0, 29, 30, 89, 1e6)] == [950, 950, 2950, 2950, 2950]
    assert [signal.next_change_s(t_s) for t_s in (0, 30)] == [30, inf]
    joined = made(recording=played | {"line": True})
    assert joined.value(0) == pytest.approx(1950)  # half a minute into the first


def test_usual_step_is_the_recordings_own_and_a_single_row_has_none(write: Write) -> None:
    own = Recording(file="own.csv.gz", column="v")
    write("hour,v\n0,1\n1,2\n2,3\n3.4,4\n")
    assert play(own) == ([0, 3600, 7200, pytest.approx(3.4 * 3600)], [1, 2, 3, 4])
    last = made(recording={"file": "own.csv.gz", "column": "v", "start_s": 3.4 * 3600})
    assert (last.value(0), last.next_change_s(0)) == (4, inf)
    write("hour,v\n0,1\n1,2\n2,3\n3.6,4\n", "gap.csv.gz")
    with pytest.raises(RecordingError, match="line 5"):
        play(Recording(file="gap.csv.gz", column="v"))
    write("t_s,v\n7,5\n", "one.csv.gz")
    assert play(Recording(file="one.csv.gz", column="v")) == ([0], [5])


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"column": "w"}, "no column 'w'; it has minute, kw"),
        ({"time": "second"}, "no column 'second'"),
        ({"where": {"region": "SA1"}}, "no column 'region'"),
        ({"where": {"kw": "9"}}, "no row with kw = '9'; it has 1, 3, 5, 6, 7, 8, nan"),
        ({}, "line 5, 180 s after its first row: kw is no number"),
        ({"start_s": 250}, "line 8, 480 s after its first row: 180 s after the row before it, where a step is 60 s"),
        ({"start_s": 541}, "540 s long: start_s = 541 is after its end"),
        ({"time": "kw"}, "kw = 'nan' is neither a number nor a date"),
        ({"file": "other.csv.gz"}, "other.csv.gz is not in .*shared/data; .*LINEPACK_DATA"),
    ],
)
def test_recording_that_cannot_be_played_says_what_to_do(write: Write, told: dict[str, object], says: str) -> None:
    write(MINUTES)
    recording = msgspec.convert({"file": "own.csv.gz", "column": "kw"} | told, Recording)
    with pytest.raises(RecordingError, match=says):
        play(recording)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("t_s,v\n", "has no row"),
        ("", "no column 't_s'"),
        ("t_s,v\n0,1\n0,2\n", "line 3: the time does not go on from line 2"),
        ("t_s,v\n0,1\n1\n", "line 3: 1 cells where the header has 2"),
        ("t_s,v\nnoon,1\n", "t_s = 'noon' is neither"),
    ],
)
def test_broken_recording_is_named_by_its_line(write: Write, text: str, says: str) -> None:
    write(text)
    with pytest.raises(RecordingError, match=says):
        play(Recording(file="own.csv.gz", column="v", time="t_s"))


def test_file_that_is_no_gzip_is_said_to_be_none(write: Write, tmp_path: Path) -> None:
    (tmp_path / "plain.csv.gz").write_text("t_s,v\n0,1\n")
    with pytest.raises(RecordingError, match="cannot be read as a gzip CSV file"):
        play(Recording(file="plain.csv.gz", column="v"))


def test_changed_recording_is_read_anew(write: Write) -> None:
    recording = Recording(file="own.csv.gz", column="v")
    for value in (1, 2222):
        write(f"t_s,v\n0,{value}\n1,{value}\n")
        assert play(recording) == ([0, 1], [value, value])


def test_dates_are_times_with_and_without_their_offset(write: Write) -> None:
    write("when,v\n2022-03-18 04:33:00-07:00,1\n2022-03-18 05:34:00-06:00,2\n", "a.csv.gz")
    write("when,v\n2018/04/01 00:05:00,1\n2018/04/01 00:10:00,2\n", "b.csv.gz")
    assert play(Recording(file="a.csv.gz", column="v"))[0] == [0, 60]
    assert play(Recording(file="b.csv.gz", column="v"))[0] == [0, 300]


# -- the real ones ------------------------------------------------------------------------------------------------


def test_over_frequency_event_peaks_at_60_112_hz_after_41_3_s(recordings: Path) -> None:
    signal = made(recording={"file": "freq_event_over_30hz_150s.csv.gz", "column": "Bus1.F", "line": True})
    peak_hz, t_s = max(((signal.value(number / 30) or 0.0), number / 30) for number in range(4500))
    assert peak_hz == pytest.approx(60.112, abs=5e-4)
    assert t_s == pytest.approx(41.3, abs=0.05)
    assert signal.value(0) == 60.0149
    visited_s, t_s = [], 0.0
    while t_s < 150:
        visited_s.append(t_s)
        t_s = signal.next_change_s(t_s)
    assert max(signal.value(t_s) or 0.0 for t_s in visited_s) == pytest.approx(60.112, abs=5e-4)


def test_worst_second_of_the_cloudy_day_is_17_percent_of_its_peak(recordings: Path) -> None:
    signal = made(recording={"file": "pv_1s_24h_cloudy.csv.gz", "column": "p_kw", "gain": 1000 / 293})
    power = [signal.value(t_s) or 0.0 for t_s in range(86_401)]
    assert max(power) == pytest.approx(1000)
    assert max(abs(after - before) for before, after in pairwise(power)) == pytest.approx(170, abs=5)


def test_evening_of_dispatch_is_at_its_rails_for_much_of_the_time(recordings: Path) -> None:
    """One day of a battery's automatic generation control, in percent of 100 MW, here as power of 10 kW."""
    signal = made(
        recording={"file": "caiso_agc_4s_2016_04_05.csv.gz", "column": "2016-05-28", "gain": 100.0, "start_s": 4 * 100}
    )
    asked_w = [signal.value(4.0 * number) or 0.0 for number in range(3500)]
    assert -10_050 <= min(asked_w) <= -9_900 and 9_900 <= max(asked_w) <= 10_050
    assert signal.value(3.9) == signal.value(0)


def test_day_of_frequency_and_voltage_stays_within_what_was_recorded(recordings: Path) -> None:
    file = "freq_volt_60hz_1s_24h.csv.gz"
    times_s, hz = play(Recording(file=file, column="f_hz"))
    assert (len(hz), times_s[-1]) == (86_400, 86_399)
    assert (min(hz), max(hz)) == pytest.approx((59.951, 60.054), abs=5e-4)
    assert 0.9 < min(play(Recording(file=file, column="v2_pu"))[1]) < 1.1


def test_houses_are_by_the_minute_and_a_year_by_the_half_hour(recordings: Path) -> None:
    times_s, load_kw = play(Recording(file="house_load_1min_h1_h80.csv.gz", column="h7"))
    assert (times_s[1], times_s[-1], len(load_kw)) == (60, 1439 * 60, 1440)
    times_s, _ = play(Recording(file="home_load_pv_30min_1y_ausgrid12.csv.gz", column="load_kw"))
    assert (times_s[1], times_s[-1]) == (1800, (366 * 48 - 1) * 1800)
    times_s, _ = play(Recording(file="pv_1min_serf_east_2d.csv.gz", column="ac_power__752"))
    assert times_s[1] == 60


def test_prices_of_one_region_are_played_and_their_gaps_named(recordings: Path) -> None:
    prices = {"file": "aemo_5min_prices.csv.gz", "column": "RRP", "where": {"REGIONID": "SA1"}}
    signal = made(recording=prices | {"length_s": 3 * 86_400 - 300})
    assert signal.value(0) == 89.0001 and signal.value(299) == 89.0001
    with pytest.raises(RecordingError, match=r"s after the row before it, where a step is 300 s"):
        made(recording=prices)
    with pytest.raises(RecordingError, match="choose one with where"):
        made(recording={"file": "aemo_5min_prices.csv.gz", "column": "RRP"})
    with pytest.raises(RecordingError, match="RAISE1SECRRP is no number"):
        made(recording=prices | {"column": "RAISE1SECRRP", "length_s": 3600})


def test_folder_is_told_by_the_environment_or_stands_beside_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert recordings_folder() == Path(__file__).resolve().parents[2] / "shared" / "data"
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    assert recordings_folder() == tmp_path
