"""Small line plots and ribbons as inline SVG. Pure: values in, markup out; every text is escaped."""

import math
from collections.abc import Iterable
from html import escape

import msgspec

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 720, 62, 12, 12, 30
PLOT_HEIGHT, RIBBON_HEIGHT = 230, 22
TICKS = 6

Span = tuple[float, float]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One curve. A y of None is a gap; step: the value holds until the next point."""

    label: str
    colour: str
    points: tuple[tuple[float, float | None], ...]
    step: bool = False


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """A coloured region of y, from low to high, behind the curves. It is where the curve may not be."""

    label: str
    colour: str
    low: float
    high: float


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a ribbon from start to end on the x axis."""

    label: str
    colour: str
    start: float
    end: float


def plot(unit: str, across: Span, lines: tuple[Line, ...], bands: tuple[Band, ...] = ()) -> str:
    """Return a line plot of y in `unit` over seconds. The y range holds all points and shows the edge of each band."""
    up = _range(lines, bands)
    bottom = PLOT_HEIGHT - BOTTOM

    def x_of(x: float) -> float:
        return LEFT + (x - across[0]) / _length(across) * (WIDTH - LEFT - RIGHT)

    def y_of(y: float) -> float:
        inside = max(up[0], min(up[1], y))
        return bottom - (inside - up[0]) / _length(up) * (bottom - TOP)

    parts = []
    for band in bands:
        top, low = y_of(band.high), y_of(band.low)
        box = f'<rect x="{LEFT}" y="{top:.1f}" width="{WIDTH - LEFT - RIGHT}" height="{max(0.0, low - top):.1f}"'
        parts.append(f'{box} fill="{escape(band.colour)}"><title>{escape(band.label)}</title></rect>')
    for y in _ticks(up):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_of(y):.1f}" y2="{y_of(y):.1f}"/>')
        parts.append(_text(LEFT - 6, y_of(y) + 4, f"{y:g}", "end"))
    for x in _ticks(across):
        parts.append(_text(x_of(x), PLOT_HEIGHT - 10, f"{x:g} s", "middle"))
    parts.append(_text(4, TOP + 2, unit, "start"))
    for line in lines:
        scaled = [(x_of(x), None if y is None else y_of(y)) for x, y in line.points]
        path = _path(scaled, step=line.step)
        parts.append(f'<path d="{path}" stroke="{escape(line.colour)}"><title>{escape(line.label)}</title></path>')
    return _frame(PLOT_HEIGHT, parts)


def ribbon(across: Span, stretches: tuple[Stretch, ...]) -> str:
    """Return a strip that names what holds when; a label is written where it fits and told by its title anyway."""
    scale = (WIDTH - LEFT - RIGHT) / _length(across)
    parts = []
    for stretch in stretches:
        x, cells = LEFT + (stretch.start - across[0]) * scale, max(0.5, (stretch.end - stretch.start) * scale)
        title = f"{stretch.label}: {stretch.start:.1f} to {stretch.end:.1f} s"
        box = f'<rect x="{x:.1f}" y="2" width="{cells:.1f}" height="{RIBBON_HEIGHT - 4}"'
        parts.append(f'{box} fill="{escape(stretch.colour)}"><title>{escape(title)}</title></rect>')
        if cells > 7 * len(stretch.label):
            parts.append(_text(x + cells / 2, RIBBON_HEIGHT / 2 + 4, stretch.label, "middle"))
    return _frame(RIBBON_HEIGHT, parts)


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Return the key to a plot from (label, colour) pairs."""
    items = (f'<span><i style="background:{escape(colour)}"></i>{escape(label)}</span>' for label, colour in entries)
    return f'<p class="legend">{"".join(items)}</p>'


def _frame(height: int, parts: list[str]) -> str:
    inside = "\n".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{inside}</svg>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _path(points: list[tuple[float, float | None]], *, step: bool) -> str:
    marks: list[str] = []
    drawing = False
    for x, y in points:
        if y is None:
            if drawing and step:
                marks.append(f"H{x:.1f}")
            drawing = False
            continue
        if not drawing:
            marks.append(f"M{x:.1f} {y:.1f}")
        else:
            marks.append(f"H{x:.1f}V{y:.1f}" if step else f"L{x:.1f} {y:.1f}")
        drawing = True
    return "".join(marks) or "M0 0"


def _range(lines: tuple[Line, ...], bands: tuple[Band, ...]) -> Span:
    found = [y for line in lines for _, y in line.points if y is not None]
    low, high = min(found, default=0.0), max(found, default=1.0)
    for band in bands:  # the inner edge of each, with a little of its colour
        edge = band.high if band.high <= (low + high) / 2 else band.low
        low, high = min(low, edge), max(high, edge)
    room = max((high - low) * 0.06, 1e-3)
    return low - room, high + room


def _length(span: Span) -> float:
    return max(span[1] - span[0], 1e-9)


def _ticks(span: Span) -> list[float]:
    """Return round numbers inside a span, TICKS of them or fewer."""
    rough = _length(span) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(span[0] / step)
    return [round(place * step, 9) for place in range(first, math.floor(span[1] / step) + 1)]
