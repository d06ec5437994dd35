"""Draw a fault's golden story: target, measured power, the limits, and when the fault stands, with its response."""

from collections.abc import Callable, Sequence

from controller.model import FAULTS, RESPONSES, FaultName
from hil import svg
from tests.golden_run import Story, Tick

STANDS, CLEARS = "#f4c7c3", "#fde9d9"
TOP_PX = 40  # title and key above the ribbon
STYLE = (
    "text{font:11px sans-serif;fill:#333}.title{font-size:14px}path{fill:none;stroke-width:1.6}"
    ".grid{stroke:#ddd;stroke-width:1}"
)
LINES: tuple[tuple[str, str, Callable[[Tick], int]], ...] = (
    ("upper limit", "#9aa7b1", lambda tick: tick.decision.high.value_w),
    ("lower limit", "#9aa7b1", lambda tick: tick.decision.low.value_w),
    ("measured", "#2a7f62", lambda tick: tick.measured_w),
    ("target", "#c0392b", lambda tick: tick.decision.target_w),
)


def draw(fault: FaultName, story: Story, ticks: Sequence[Tick]) -> str:
    """Return the plot as a file of SVG; the same story gives the same bytes."""
    across = (0.0, float(story.length_s))
    row = FAULTS[fault]
    stretches = _stretches(fault, ticks)
    lines = tuple(
        svg.Line(label=label, colour=colour, points=_corners(ticks, value), step=True) for label, colour, value in LINES
    )
    scale = (svg.WIDTH - svg.LEFT - svg.RIGHT) / story.length_s
    shades = "".join(
        f'<rect x="{svg.LEFT + one.start * scale:.1f}" y="{TOP_PX}" width="{(one.end - one.start) * scale:.1f}" '
        f'height="{svg.RIBBON_HEIGHT + svg.PLOT_HEIGHT - svg.BOTTOM}" fill="{one.colour}" opacity="0.5"/>'
        for one in stretches
    )
    key = "".join(
        f'<text x="{svg.LEFT + 110 * place}" y="34" style="fill:{colour}">{label}</text>'
        for place, (label, colour, _) in enumerate(LINES)
    )
    height = TOP_PX + svg.RIBBON_HEIGHT + svg.PLOT_HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{svg.WIDTH}" height="{height}">\n<style>{STYLE}</style>\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text class="title" x="4" y="16">{fault}: {row.response}, {RESPONSES[row.response]}</text>\n{key}\n{shades}\n'
        f"{_placed(svg.ribbon(across, stretches), TOP_PX, svg.RIBBON_HEIGHT)}\n"
        f"{_placed(svg.plot('W', across, lines), TOP_PX + svg.RIBBON_HEIGHT, svg.PLOT_HEIGHT)}\n</svg>\n"
    )


def _placed(picture: str, y_px: int, height_px: int) -> str:
    return picture.replace("<svg ", f'<svg y="{y_px}" width="{svg.WIDTH}" height="{height_px}" ', 1)


def _stretches(fault: FaultName, ticks: Sequence[Tick]) -> tuple[svg.Stretch, ...]:
    """Return when the fault stands, and when its condition is gone but its row has not let go of it yet."""
    found: list[svg.Stretch] = []
    for tick in ticks:
        standing = [one for one in tick.decision.faults if one.fault == fault]
        if not standing:
            continue
        clearing = all(one.clear_since_ms is not None for one in standing)
        label = ("clearing" if not FAULTS[fault].latches else "latched") if clearing else fault
        if found and found[-1].label == label and found[-1].end == tick.at_s:
            start = found.pop().start
        else:
            start = float(tick.at_s)
        colour = CLEARS if clearing else STANDS
        found.append(svg.Stretch(label=label, colour=colour, start=start, end=float(tick.at_s + 1)))
    return tuple(found)


def _corners(ticks: Sequence[Tick], value: Callable[[Tick], int]) -> tuple[tuple[float, float | None], ...]:
    """Return the points at which a stepped curve changes, and its end."""
    points: list[tuple[float, float | None]] = []
    for tick in ticks:
        if not points or points[-1][1] != value(tick):
            points.append((float(tick.at_s), float(value(tick))))
    return (*points, (float(ticks[-1].at_s + 1), points[-1][1]))
