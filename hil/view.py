"""The terminal view: one picture of the site for people, and the tables at the end.

Laws:
- Pure: a picture is a function of its Frame and of the console it is drawn on; the same frame gives the same picture.
- It fits the console it is given, 80 x 24 at the least; where the terminal cannot show the drawing signs, each is
  replaced by one plain letter, so nothing moves.
"""

import re
from collections.abc import Iterator
from io import StringIO
from textwrap import wrap

from rich.console import Console, ConsoleOptions, ConsoleRenderable, Group, RenderResult
from rich.table import Table
from rich.text import Text

from hil.chart import shown, strip
from hil.ledger import rule
from hil.summary import Frame, Summary, shows, told

PLAIN = str.maketrans("┌┐└┘─│║╫╟◀▶█░▲·…✓✗—", "++++-||+|<>#.^..yx-")
MOVING_W = 50  # less than this draws no arrows
OUT, IN, ALARM, QUIET = "green", "yellow", "bold red", "dim"
GRID_CELLS, BOX_CELLS = 10, 13
PICTURE_CELLS, PICTURE_ROWS = 100, 30


class Screen:
    """One frame, drawn to fit."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(40, options.max_width)
        height = options.height or options.max_height
        lines = [_fit(line, width, plain=options.ascii_only) for line in _lines(self._frame, width, height, options)]
        yield from lines[:height]


def render(frame: Frame) -> ConsoleRenderable:
    """Return the picture of one moment; it takes the width and height of the console it is printed on."""
    return Screen(frame)


def picture(frame: Frame) -> str:
    """Return the picture of one moment as SVG, which loads nothing from anywhere."""
    console = Console(record=True, width=PICTURE_CELLS, height=PICTURE_ROWS, file=StringIO(), force_terminal=True)
    console.print(render(frame), end="")
    svg = console.export_svg(title="make demo", unique_id="linepack")
    return re.sub(r"@font-face\s*{[^}]*}\s*", "", svg)


def line(frame: Frame) -> str:
    """Return one moment as one plain line, for where there is no terminal."""
    asked = "nothing" if frame.asked_w is None else kilowatts(frame.asked_w)
    faults = f" [{', '.join(frame.faults)}]" if frame.faults else ""
    return (
        f"{frame.t_s:6.1f} s  {frame.phase_no}/{frame.phase_count} {frame.phase_title}: asked {asked}, "
        f"delivered {kilowatts(frame.inverter_w)}, POI {kilowatts(frame.poi_w)}, SoC {frame.soc_pct:.1f} %, "
        f"{reason(frame)}{faults}"
    )


def reason(frame: Frame) -> str:
    """Return in words what set the power."""
    if frame.target_w is None:
        return "no decision yet"
    if frame.why == "wish":
        return f"as wished by {frame.mode}"
    return f"{frame.why} binds"


def kilowatts(power_w: float) -> str:
    """Return a power as people read it, signed, 0 without a sign."""
    return "0.00 kW" if abs(power_w) < 5 else f"{power_w / 1000:+.2f} kW"


def _fit(text: Text, width: int, *, plain: bool) -> Text:
    text.truncate(width, overflow="ellipsis")
    if plain:
        text.plain = text.plain.translate(PLAIN).encode("ascii", "replace").decode("ascii")
    return text


def _lines(frame: Frame, width: int, height: int, options: ConsoleOptions) -> Iterator[Text]:
    yield _title(frame, width)
    yield Text("─" * width, QUIET)
    yield from _diagram(frame, width)
    yield _rule("stored energy", width)
    yield from _energy(frame, width)
    yield _rule("decision", width)
    words = list(_decision(frame, width))
    yield from words
    above = 2 + 6 + 1 + 2 + 1 + len(words) + 1
    shown_s = frame.history_s * shown(frame, width, plain=options.ascii_only)
    yield _rule(f"asked (cyan) and delivered (green), last {shown_s:.0f} s", width)
    rows = max(3, min(12, height - above))
    yield from strip(frame, width, rows, plain=options.ascii_only)


def _rule(title: str, width: int) -> Text:
    return Text.assemble(("── ", QUIET), (title, "bold"), (" " + "─" * max(0, width - len(title) - 4), QUIET))


def _title(frame: Frame, width: int) -> Text:
    left = Text.assemble(
        ("Linepack ", "bold"),
        (f"{frame.site}   ", QUIET),
        f"{frame.phase_no}/{frame.phase_count} ",
        (frame.phase_title, "bold cyan"),
    )
    right = f"{frame.t_s:.0f} s · {max(0.0, frame.phase_left_s):.0f} s left"
    left.truncate(max(1, width - len(right) - 2), overflow="ellipsis")
    return left.append(" " * max(1, width - left.cell_len - len(right))).append(right, QUIET)


def _diagram(frame: Frame, width: int) -> Iterator[Text]:
    """Draw grid, meter, bus, inverter and battery from left to right: what goes left goes toward the grid."""
    spare = max(8, width - GRID_CELLS - 3 * BOX_CELLS - 1)
    gaps = [spare // 4 + (1 if place < spare % 4 else 0) for place in range(4)]
    battery_w = 0.0 if abs(frame.inverter_w) < MOVING_W else frame.inverter_w
    powers = (frame.poi_w, frame.poi_w, battery_w, battery_w)
    flows = [_flow(gap, power_w, frame.t_s) for gap, power_w in zip(gaps, powers, strict=True)]
    blank = [Text(" " * gap) for gap in gaps]
    names = ("grid", "POI meter", "inverter", "battery")
    direction = "exports" if frame.poi_w > MOVING_W else "imports" if frame.poi_w < -MOVING_W else "rests"
    values = (direction, kilowatts(frame.poi_w), kilowatts(frame.inverter_w), f"{frame.soc_pct:.1f} %")
    yield _row(["┌─┐"] * 4, blank, "║")
    yield _row([f"│{name}│" for name in names], flows, "╫")
    yield _row([f"│{value}│" for value in values], blank, "║")
    yield _row(["└─┘"] * 4, blank, "║")
    before = GRID_CELLS + BOX_CELLS + gaps[0] + gaps[1]
    yield _branch("load", -frame.load_w, _limit_note(frame), before, frame)
    yield _branch("PV", frame.pv_w, Text(), before, frame)


def _row(boxes: list[str], gaps: list[Text], bus: str) -> Text:
    """Return one line of the diagram: box gap box gap bus gap box gap box."""
    cells = [_box(text, GRID_CELLS if place == 0 else BOX_CELLS) for place, text in enumerate(boxes)]
    return Text.assemble(cells[0], gaps[0], cells[1], gaps[1], (bus, "bold"), gaps[2], cells[2], gaps[3], cells[3])


def _box(text: str, cells: int) -> str:
    inner = text[1:-1]
    if inner == "─":
        return text[0] + "─" * (cells - 2) + text[-1]
    return text[0] + inner[: cells - 2].center(cells - 2) + text[-1]


def _flow(cells: int, power_w: float, t_s: float) -> Text:
    """Return a wire whose arrows move with time, leftward where power goes toward the grid."""
    if abs(power_w) < MOVING_W:
        return Text("─" * cells, QUIET)
    step = int(t_s * 4)
    if power_w > 0:
        return Text("".join("◀" if (place + step) % 4 == 0 else "─" for place in range(cells)), OUT)
    return Text("".join("▶" if (place - step) % 4 == 0 else "─" for place in range(cells)), IN)


def _limit_note(frame: Frame) -> Text:
    style = ALARM if rule(frame.why) == "poi_limit" else QUIET
    limits = f"limits: export {frame.export_max_w / 1000:g} kW, import {frame.import_max_w / 1000:g} kW"
    return Text(limits, style)


def _branch(name: str, power_w: float, note: Text, left_cells: int, frame: Frame) -> Text:
    """Return the line of what hangs on the bus: the load below it, the PV beside it; far right the BMS."""
    note.truncate(left_cells, pad=True)
    text = Text.assemble(note, ("╟", "bold"))
    if abs(power_w) < MOVING_W:
        text.append("─" * 6, QUIET)
    else:
        text.append(("──▶──▶" if power_w < 0 else "──◀──◀"), IN if power_w < 0 else OUT)
    text.append(f" {name} {abs(power_w) / 1000:.2f} kW")
    if name == "load" and not frame.bms_plugged:
        text.append("   BMS cable pulled", ALARM)
    return text


def _energy(frame: Frame, width: int) -> Iterator[Text]:
    """Draw the state of charge as a bar over floor, reserve and ceiling, and the marks below it."""
    label = f"SoC {frame.soc_pct:5.1f} % "
    cells = width - len(label)
    full = round(frame.soc_pct * cells / 100)
    bar = Text.assemble((label, "bold"))
    for low_pct, high_pct, style in (
        (0, frame.floor_pct, "red"),
        (frame.floor_pct, frame.reserve_pct, "yellow"),
        (frame.reserve_pct, frame.ceiling_pct, "green"),
        (frame.ceiling_pct, 100, "red"),
    ):
        low, high = round(low_pct * cells / 100), round(high_pct * cells / 100)
        solid = max(low, min(high, full))
        bar.append("█" * (solid - low) + "░" * max(0, high - solid), style)
    yield bar
    marks = [" "] * width
    for name, pct in (("floor", frame.floor_pct), ("reserve", frame.reserve_pct), ("ceiling", frame.ceiling_pct)):
        at = len(label) + min(cells - 1, round(pct * cells / 100))
        words = f"▲ {name} {pct} %"
        if at + len(words) > width:
            words = f"{name} {pct} % ▲"
            at -= len(words) - 1
        marks[at : at + len(words)] = words
    yield Text("".join(marks)[:width], QUIET)


def _decision(frame: Frame, width: int) -> Iterator[Text]:
    asked = "nothing" if frame.asked_w is None else kilowatts(frame.asked_w)
    target = "no decision" if frame.target_w is None else kilowatts(frame.target_w)
    yield Text.assemble(
        ("asked     ", QUIET),
        (f"{asked:<11}", "bold cyan"),
        ("  delivered ", QUIET),
        (f"{kilowatts(frame.inverter_w):<11}", "bold green"),
        ("  target ", QUIET),
        f"{target:<11}",
        (f"  program {frame.mode}", QUIET),
    )
    binds = frame.why not in ("", "wish")
    yield Text.assemble(("why       ", QUIET), (reason(frame), "bold yellow" if binds else ""))
    told = wrap(frame.because, max(20, width - 10))[:2]
    for place in range(2):
        yield Text(" " * 10 + (told[place] if place < len(told) else ""))
    faults = ", ".join(frame.faults)
    yield Text.assemble(("faults    ", QUIET), (faults, ALARM) if faults else ("none", QUIET))


def closing(summary: Summary) -> ConsoleRenderable:
    """Return the tables of the end: asked, delivered and why not; the invariants; where the report is."""
    figures = summary.figures
    measured = Text(
        f"{figures.decisions} decisions, first control {_or_unknown(figures.start_to_first_control_s, 's')} after "
        f"start, controller {_or_unknown(figures.controller_rss_peak_mb, 'MB')} at most and "
        f"{_or_unknown(figures.controller_cpu_pct, '% of a core')}; beyond the POI limits "
        f"{figures.poi_excursion_s:.1f} s at the longest, {figures.poi_excursion_wh:.2f} Wh in all",
        QUIET,
    )
    parts: list[ConsoleRenderable] = [_phases(summary), *_proofs(summary), _invariants(summary)]
    if untested := [row.invariant for row in summary.verdicts if not shows(row)]:
        parts.append(Text(f"not put to the test by this story: {', '.join(untested)}", QUIET))
    parts.append(measured)
    if summary.report:
        parts.append(Text(f"report:  {summary.report}"))
    parts.append(Text(f"journal: {summary.journal} (linepack replay or explain reads it)"))
    return Group(*parts, Text(told(summary), "bold green" if summary.exit_code == 0 else "bold red"))


def _phases(summary: Summary) -> Table:
    table = Table(title="asked, delivered, why not", title_justify="left")
    heads = ("phase", "asked Wh", "delivered Wh", "mean asked W", "mean delivered W", "why not", "happened")
    for head in heads:
        table.add_column(head, justify="right" if "W" in head else "left")
    for row in summary.outcomes:
        table.add_row(
            row.name,
            f"{row.asked_wh:+.1f}",
            f"{row.delivered_wh:+.1f}",
            f"{row.asked_mean_w:+.0f}",
            f"{row.delivered_mean_w:+.0f}",
            ", ".join(f"{taker} {wh:.1f} Wh" for taker, wh in row.why_not),
            _yes(row.bit),
        )
    return table


def _proofs(summary: Summary) -> Iterator[Text]:
    for row in summary.outcomes:
        style = ALARM if row.bit is False else QUIET
        yield Text.assemble((f"{row.name}: ", "bold"), f"{row.must}; ", (f"seen: {row.seen}", style))


def _invariants(summary: Summary) -> Table:
    table = Table(title="invariants on the plant's true state", title_justify="left")
    for heading in ("invariant", "held", "worst", "allowed", "where"):
        table.add_column(heading, justify="right" if heading in ("worst", "allowed") else "left")
    for row in filter(shows, summary.verdicts):
        table.add_row(
            row.invariant,
            _yes(row.held),
            f"{row.worst:.1f} {row.unit}",
            f"{row.allowed:.1f} {row.unit}",
            row.where,
        )
    return table


def _yes(value: bool | None) -> Text:
    if value is None:
        return Text("not played", QUIET)
    return Text("yes", "green") if value else Text("NO", ALARM)


def _or_unknown(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.1f} {unit}"
