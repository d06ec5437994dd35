"""A strip chart in letters: asked against delivered over the last seconds.

With braille signs a letter holds 2 x 4 dots; on a plain terminal one letter is one dot.
"""

from collections.abc import Iterator
from itertools import groupby

from rich.text import Text

from hil.summary import Frame

_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # [row][column], as Unicode numbers them
_AXIS_CELLS = 7
_STYLE = {"asked": "cyan", "delivered": "green", "both": "bold green", "zero": "dim"}

_Dots = set[tuple[int, int]]


def shown(frame: Frame, width: int, *, plain: bool) -> float:
    """Return which part of the frame's history, 0 to 1, fits into a chart of this width."""
    return min(1.0, max(1, width - _AXIS_CELLS) * (1 if plain else 2) / max(1, len(frame.history)))


def strip(frame: Frame, width: int, rows: int, *, plain: bool) -> Iterator[Text]:
    """Yield `rows` lines of `width` cells; the newest point is at the right edge."""
    cells = max(1, width - _AXIS_CELLS)
    across, down = (1, 1) if plain else (2, 4)
    points = frame.history[-cells * across :]
    top_w = max(1, frame.nameplate_w)
    first = cells * across - len(points)
    last_row = rows * down - 1

    def row_of(power_w: float) -> int:
        clipped = max(-1.0, min(1.0, power_w / top_w))
        return round((1 - clipped) / 2 * last_row)

    asked = _trace([None if point[0] is None else row_of(point[0]) for point in points], first)
    delivered = _trace([row_of(point[1]) for point in points], first)
    zero_row = row_of(0) // down
    for row in range(rows):
        letters = []
        for column in range(cells):
            cell = [(column * across + x, row * down + y) for y in range(down) for x in range(across)]
            letters.append(_letter(cell, asked, delivered, zero=row == zero_row, plain=plain))
        text = Text.assemble((_axis(row, rows, zero_row, top_w), "dim"))
        for style, run in groupby(letters, key=lambda letter: letter[1]):
            text.append("".join(letter for letter, _ in run), style)
        yield text


def _trace(rows: list[int | None], first: int) -> _Dots:
    """Return the dots of a line through the points, steps drawn upright."""
    dots: _Dots = set()
    before: int | None = None
    for place, row in enumerate(rows):
        if row is not None:
            start = row if before is None else before
            dots |= {(first + place, y) for y in range(min(start, row), max(start, row) + 1)}
        before = row
    return dots


def _letter(cell: list[tuple[int, int]], asked: _Dots, delivered: _Dots, *, zero: bool, plain: bool) -> tuple[str, str]:
    has_asked, has_delivered = any(dot in asked for dot in cell), any(dot in delivered for dot in cell)
    if not has_asked and not has_delivered:
        return ("-" if plain else "╌", _STYLE["zero"]) if zero else (" ", "")
    kind = "both" if has_asked and has_delivered else "asked" if has_asked else "delivered"
    if plain:
        return "." if kind == "asked" else "*", _STYLE[kind]
    bits = sum(_DOTS[place // 2][place % 2] for place, dot in enumerate(cell) if dot in asked or dot in delivered)
    return chr(_BRAILLE + bits), _STYLE[kind]


def _axis(row: int, rows: int, zero_row: int, top_w: int) -> str:
    if row == 0:
        label = f"{top_w / 1000:+g} kW"
    elif row == rows - 1:
        label = f"{-top_w / 1000:+g} kW"
    else:
        label = "0" if row == zero_row else ""
    return f"{label:>{_AXIS_CELLS - 1}} "[-_AXIS_CELLS:]
