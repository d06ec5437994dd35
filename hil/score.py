"""How well a power followed a signal: PJM's performance score (M12 as LBNL coded it) and the plain errors.

Both series are sampled every 10 s at moments that never fall on an edge of the signal: with a 4 s signal, offset 1 s.
On an edge a follower of any delay is called wrong by chance (hil 4.3).
"""

import math
from collections.abc import Sequence

import msgspec

SAMPLE_S = 10
BLOCK = 30  # samples: 5 min
FLAT = 0.01  # of rated: below this spread of the signal a correlation means nothing, the slopes are compared


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """All in 0..1. blocks is how many 5-minute blocks were scored."""

    correlation: float
    delay: float
    precision: float
    total: float
    blocks: int


def pjm_score(asked: Sequence[float], delivered: Sequence[float], counted: Sequence[bool]) -> Score | None:
    """Return the mean score of the blocks whose samples all count, None where there is none.

    asked and delivered are per unit of rated power, one sample every 10 s; each block looks up to 300 s ahead.
    """
    rows = []
    for start in range(0, len(asked) - 2 * BLOCK + 1, BLOCK):
        if all(counted[start : start + 2 * BLOCK]):
            rows.append(_block(asked[start : start + BLOCK], delivered[start : start + 2 * BLOCK]))
    if not rows:
        return None
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return Score(correlation=means[0], delay=means[1], precision=means[2], total=sum(means) / 3, blocks=len(rows))


def rms(asked: Sequence[float], delivered: Sequence[float]) -> float:
    """Return the root mean square of the difference."""
    return math.sqrt(sum((a - d) ** 2 for a, d in zip(asked, delivered, strict=True)) / len(asked))


def _block(signal: Sequence[float], ahead: Sequence[float]) -> tuple[float, float, float]:
    best, lag = -1.0, 0
    if _spread(signal) < FLAT:
        best = max(0.0, 1.0 - abs(_slope(signal) - _slope(ahead[:BLOCK])))
    else:
        for shift in range(BLOCK + 1):
            r = _pearson(signal, ahead[shift : shift + BLOCK])
            if r > best + 1e-9:
                best, lag = r, shift
    size = sum(abs(x) for x in signal)
    error = sum(abs(x - y) for x, y in zip(signal, ahead, strict=False))
    precision = max(0.0, 1.0 - error / size) if size > FLAT * BLOCK else float(error < FLAT * BLOCK)
    return max(0.0, best), (BLOCK - lag) / BLOCK, precision


def _spread(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))


def _slope(values: Sequence[float]) -> float:
    return (values[-1] - values[0]) / len(values)


def _pearson(x: Sequence[float], y: Sequence[float]) -> float:
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    below = math.sqrt(sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y))
    return above / below if below else 0.0
