"""Share a target over the units: integer water-filling, exact in sum and in bounds (control 3, layer B)."""

from collections.abc import Sequence


def share(target_w: int, lows_w: Sequence[int], highs_w: Sequence[int], weights: Sequence[int]) -> list[int]:
    """Return one power per unit: x_i = clamp(level * weight_i, low_i, high_i) with one level for all, sum exact.

    lows_w, highs_w and weights (>= 1) have one entry per unit, low <= high. A target outside [sum(lows), sum(highs)] is
    clamped into it. All units so reach their limits together when the weights are their usable energies.
    """
    open_units = list(range(len(lows_w)))
    result = [0] * len(lows_w)
    left_w = max(sum(lows_w), min(target_w, sum(highs_w)))
    while open_units:
        parts = _split(left_w, [weights[i] for i in open_units])
        excess_w = 0
        for i, part in zip(open_units, parts, strict=True):
            excess_w += max(lows_w[i], min(part, highs_w[i])) - part
        # Fix only the side that is violated more; the other side may still come right (as a float fill would).
        frozen = set()
        for i, part in zip(open_units, parts, strict=True):
            if part < lows_w[i] and excess_w >= 0:
                result[i] = lows_w[i]
                frozen.add(i)
            elif part > highs_w[i] and excess_w <= 0:
                result[i] = highs_w[i]
                frozen.add(i)
        if not frozen:
            for i, part in zip(open_units, parts, strict=True):
                result[i] = part
            break
        left_w -= sum(result[i] for i in frozen)
        open_units = [i for i in open_units if i not in frozen]
    return result


def _split(total_w: int, weights: Sequence[int]) -> list[int]:
    """Return integer parts of total_w in proportion to weights, sum exact, the same for the same input."""
    left_weight = sum(weights)
    parts = []
    for weight in weights:
        part = total_w * weight // left_weight
        parts.append(part)
        total_w -= part
        left_weight -= weight
    return parts
