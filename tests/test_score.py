"""The score says what it should of followers whose quality is known."""

import math
import random
import statistics

from hil.score import BLOCK, FLAT, pjm_score, rms


def a_signal(seed: int = 7, samples: int = 360) -> list[float]:
    rng = random.Random(seed)
    value, out = 0.0, []
    for _ in range(samples):
        value = max(-1.0, min(1.0, 0.7 * value + rng.gauss(0, 0.5)))
        out.append(value)
    return out


def all_counted(signal: list[float]) -> list[bool]:
    return [True] * len(signal)


def test_an_exact_follower_scores_one() -> None:
    signal = a_signal()
    score = pjm_score(signal, signal, all_counted(signal))
    assert score is not None
    assert math.isclose(score.total, 1.0)
    assert rms(signal, signal) == 0


def test_a_follower_a_minute_late_loses_a_fifth_of_the_delay_and_much_precision() -> None:
    signal = a_signal()
    late = [0.0] * 6 + signal[:-6]
    score = pjm_score(signal, late, all_counted(signal))
    assert score is not None
    assert math.isclose(score.delay, 0.8)
    assert score.correlation > 0.999
    assert score.precision < 0.5


def test_half_the_power_keeps_the_correlation_and_halves_the_precision() -> None:
    signal = a_signal()
    score = pjm_score(signal, [x / 2 for x in signal], all_counted(signal))
    assert score is not None
    assert math.isclose(score.correlation, 1.0)
    assert math.isclose(score.precision, 0.5)


def test_doing_nothing_scores_badly_and_a_flat_signal_is_judged_by_its_slope() -> None:
    signal = a_signal()
    nothing = pjm_score(signal, [0.0] * len(signal), all_counted(signal))
    assert nothing is not None
    assert nothing.precision == 0
    flat = [0.8] * 120
    score = pjm_score(flat, flat, all_counted(flat))
    assert score is not None
    assert score.total == 1.0


def test_blocks_with_uncounted_samples_are_left_out() -> None:
    signal = a_signal()
    counted = all_counted(signal)
    counted[100] = False
    some = pjm_score(signal, signal, counted)
    assert some is not None
    assert some.blocks == 9
    assert pjm_score(signal, signal, [False] * len(signal)) is None


def test_correlation_is_the_best_within_five_minutes_whatever_the_level() -> None:
    rng = random.Random(3)
    asked = [0.5 + x / 3 for x in a_signal(seed=5, samples=2 * BLOCK)]
    delivered = [0.2 + 0.6 * x + rng.gauss(0, 0.1) for x in [0.0] * 4 + asked[:-4]]
    rs = [statistics.correlation(asked[:BLOCK], delivered[lag : lag + BLOCK]) for lag in range(BLOCK + 1)]
    score = pjm_score(asked, delivered, all_counted(asked))
    assert score is not None
    assert math.isclose(score.correlation, max(rs))
    assert math.isclose(score.delay, 1 - rs.index(max(rs)) / BLOCK)


def test_signal_is_flat_below_a_hundredth_of_rated_and_then_its_slope_is_compared() -> None:
    # +-w about 0.5 has a deviation of w; a follower that does the opposite correlates with -1 within a shift of one
    for width, flat in ((FLAT * 0.99, True), (FLAT * 1.01, False)):
        asked = [0.5 + width * (1 if place % 2 else -1) for place in range(2 * BLOCK)]
        rising = [0.3 + 0.3 * place / (BLOCK - 1) for place in range(2 * BLOCK)]
        score = pjm_score(asked, rising, all_counted(asked))
        assert score is not None
        slopes = abs((asked[BLOCK - 1] - asked[0]) / BLOCK - 0.3 / BLOCK)
        assert math.isclose(score.correlation, 1 - slopes) is flat
