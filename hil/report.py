"""The report: one self-contained page with the plots and the tables of a run.

Laws:
- Nothing is loaded from anywhere; the page opens from a disk in ten years.
- Every text is escaped: names come from the site file, words from the controller.
"""

from collections.abc import Callable, Iterable
from html import escape
from itertools import groupby, pairwise

import msgspec

from controller.model import Site
from hil.ledger import Outcome
from hil.summary import Summary, shows, told
from hil.svg import Band, Line, Span, Stretch, legend, plot, ribbon

POINTS_MAX = 1500  # in a plot; more cannot be seen and make the page heavy
ASKED, DELIVERED, POI, SOC = "#0b7285", "#2b8a3e", "#862e9c", "#1864ab"
FORBIDDEN, KEPT, FAULT = "#ffd8d8", "#fff3bf", "#ffa8a8"
RULES = {
    "wish": "#d3f9d8",
    "ramp": "#e9ecef",
    "poi_limit": "#eebefa",
    "customer_reserve": "#ffec99",
    "fault_stop": "#ffa8a8",
    "bms_current": "#ffd8a8",
    "energy_barrier": "#ffc9c9",
    "nameplate": "#d0ebff",
}
OTHER_RULE = "#dee2e6"

STYLE = """
body{font:16px/1.45 system-ui,sans-serif;margin:0 auto;max-width:960px;padding:1rem;color:#212529;background:#fff}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.1rem;margin:1.6rem 0 .3rem}
.good{color:#2b8a3e;font-weight:600}.bad{color:#c92a2a;font-weight:700}.quiet{color:#5c636a}
.plots,.table{overflow-x:auto}.plots svg{display:block;width:100%;min-width:560px;height:auto}
svg text{font:12px system-ui,sans-serif;fill:#343a40}svg path{fill:none;stroke-width:1.8}
svg .grid{stroke:#e9ecef;stroke-width:1}
.legend{margin:.2rem 0;font-size:.85rem}.legend span{margin-right:1rem;white-space:nowrap}
.legend i{display:inline-block;width:.9em;height:.9em;margin-right:.35em;vertical-align:-.1em;border-radius:2px}
table{border-collapse:collapse;font-size:.88rem;min-width:100%}
th,td{text-align:left;padding:.3rem .55rem;border-bottom:1px solid #dee2e6;vertical-align:top}
td.number,th.number{text-align:right;white-space:nowrap}
"""


class Point(msgspec.Struct, frozen=True):
    """One moment of the run as it is plotted."""

    t_s: float
    asked_w: int | None
    delivered_w: float
    poi_w: float
    soc_pct: float
    why: str
    faults: tuple[str, ...]


def page(summary: Summary, site: Site, points: Iterable[Point]) -> str:
    """Return the HTML page of a run; points in order of time."""
    every = tuple(points)
    title = f"{summary.site}: {summary.played_s:.0f} s on the bench"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="{"good" if summary.exit_code == 0 else "bad"}">{told(summary).capitalize()}.</p>',
        '<div class="plots">',
        *_plots(every, site, summary.outcomes),
        "</div>",
        "<h2>Asked, delivered, why not</h2>",
        _phases(summary),
        "<h2>Invariants, judged on the plant's true state</h2>",
        _invariants(summary),
        "<h2>Figures</h2>",
        _figures(summary),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>{escape(title)}</title><style>{STYLE}</style></head>\n'
        f"<body>{''.join(part + chr(10) for part in body)}</body></html>\n"
    )


def _plots(points: tuple[Point, ...], site: Site, outcomes: tuple[Outcome, ...]) -> list[str]:
    if len(points) < 2:
        return ["<p>Nothing was sampled.</p>"]
    across = (points[0].t_s, points[-1].t_s)
    phases = [outcome for outcome in outcomes if outcome.end_s > across[0] and outcome.start_s < across[1]]
    story = tuple(
        Stretch(
            label=outcome.name,
            colour="#e7f5ff" if place % 2 else "#c5f6fa",
            start=max(across[0], outcome.start_s),
            end=min(across[1], outcome.end_s),
        )
        for place, outcome in enumerate(phases)
    )
    rules = _stretches(
        points, lambda point: (point.why,) if point.why else (), lambda rule: RULES.get(rule, OTHER_RULE)
    )
    faults = _stretches(points, lambda point: point.faults, lambda _: FAULT)
    return [
        "<h2>The story</h2>",
        ribbon(across, story),
        *_power(points, across, site),
        "<h2>The rule that set the power</h2>",
        ribbon(across, rules),
        legend((rule, RULES.get(rule, OTHER_RULE)) for rule in dict.fromkeys(stretch.label for stretch in rules)),
        "<h2>Stored energy</h2>",
        *_energy(points, across, site),
        "<h2>Faults</h2>",
        *_fault_ribbons(across, faults),
    ]


def _power(points: tuple[Point, ...], across: Span, site: Site) -> list[str]:
    far_w = 10 * (site.poi.export_max_w + site.poi.import_max_w)
    lines = (
        Line(label="asked", colour=ASKED, step=True, points=_curve(points, lambda p: p.asked_w)),
        Line(label="delivered", colour=DELIVERED, points=_curve(points, lambda p: p.delivered_w)),
        Line(label="at the POI", colour=POI, points=_curve(points, lambda p: p.poi_w)),
    )
    bands = (
        Band(label="above the export limit of the POI", colour=FORBIDDEN, low=site.poi.export_max_w, high=far_w),
        Band(label="above the import limit of the POI", colour=FORBIDDEN, low=-far_w, high=-site.poi.import_max_w),
    )
    return [
        "<h2>Power, positive toward the grid</h2>",
        plot("W", across, lines, bands),
        legend([*((line.label, line.colour) for line in lines), ("beyond the POI limits", FORBIDDEN)]),
    ]


def _energy(points: tuple[Point, ...], across: Span, site: Site) -> list[str]:
    energy = site.energy
    soc = Line(label="true state of charge", colour=SOC, points=_curve(points, lambda p: p.soc_pct))
    bands = (
        Band(label="below the floor", colour=FORBIDDEN, low=0, high=energy.floor_pct),
        Band(label="the customer's reserve", colour=KEPT, low=energy.floor_pct, high=energy.reserve_pct),
        Band(label="above the ceiling", colour=FORBIDDEN, low=energy.ceiling_pct, high=100),
    )
    key = (("true state of charge", SOC), ("customer's reserve", KEPT), ("below floor, above ceiling", FORBIDDEN))
    return [plot("%", across, (soc,), bands), legend(key)]


def _fault_ribbons(across: Span, stretches: tuple[Stretch, ...]) -> list[str]:
    if not stretches:
        return ['<p class="quiet">none</p>']
    rows = []
    for fault in dict.fromkeys(stretch.label for stretch in stretches):
        rows.append(f'<p class="legend">{escape(fault)}</p>')
        rows.append(ribbon(across, tuple(stretch for stretch in stretches if stretch.label == fault)))
    return rows


def _curve(points: tuple[Point, ...], value: Callable[[Point], float | None]) -> tuple[tuple[float, float | None], ...]:
    every = max(1, len(points) // POINTS_MAX)
    return tuple((point.t_s, value(point)) for point in (*points[:-1:every], points[-1]))


def _stretches(
    points: tuple[Point, ...], labels: Callable[[Point], tuple[str, ...]], colour: Callable[[str], str]
) -> tuple[Stretch, ...]:
    """Return for each label the times in which it stood, in order of time."""
    found: list[Stretch] = []
    for label in dict.fromkeys(label for point in points for label in labels(point)):
        pieces = [(now.t_s, after.t_s, label in labels(now)) for now, after in pairwise(points)]
        for stands, group in groupby(pieces, key=lambda piece: piece[2]):
            run = list(group)
            if stands:
                found.append(Stretch(label=label, colour=colour(label), start=run[0][0], end=run[-1][1]))
    return tuple(sorted(found, key=lambda stretch: stretch.start))


def _phases(summary: Summary) -> str:
    heads = ("phase", "asked Wh", "delivered Wh", "mean asked W", "mean delivered W", "why not", "happened")
    rows = [
        (
            row.title,
            f"{row.asked_wh:+.1f}",
            f"{row.delivered_wh:+.1f}",
            f"{row.asked_mean_w:+.0f}",
            f"{row.delivered_mean_w:+.0f}",
            ", ".join(f"{rule} {wh:.1f} Wh" for rule, wh in row.why_not),
            f"{_yes(row.bit)}: {row.must}; seen: {row.seen}",
        )
        for row in summary.outcomes
    ]
    return _table(heads, rows)


def _invariants(summary: Summary) -> str:
    rows = [
        (
            row.says,
            _yes(row.held),
            f"{row.worst:.1f} {row.unit}",
            f"{row.allowed:.1f} {row.unit}",
            row.where,
        )
        for row in filter(shows, summary.verdicts)
    ]
    table = _table(("invariant", "held", "worst", "allowed", "where"), rows)
    untested = ", ".join(row.invariant for row in summary.verdicts if not shows(row))
    return f'{table}\n<p class="quiet">Not put to the test by this story: {escape(untested)}</p>' if untested else table


def _figures(summary: Summary) -> str:
    values = msgspec.structs.asdict(summary.figures) | {"journal": summary.journal}
    rows = [(name.replace("_", " "), _number(value)) for name, value in values.items()]
    return _table(("figure", "value"), rows)


def _number(value: object) -> str:
    if value is None:
        return "not readable here"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _yes(value: bool | None) -> str:
    return "not played" if value is None else "yes" if value else "NO"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    numeric = [head.endswith((" W", " Wh")) or head in ("worst", "allowed") for head in heads]

    def cell(tag: str, text: str, number: bool) -> str:
        style = ' class="number"' if number else ""
        alarm = ' class="bad"' if tag == "td" and text.split(":")[0] == "NO" else ""
        return f"<{tag}{alarm or style}>{escape(text)}</{tag}>"

    def row_of(tag: str, cells: tuple[str, ...]) -> str:
        return "<tr>" + "".join(cell(tag, text, number) for text, number in zip(cells, numeric, strict=True)) + "</tr>"

    return (
        f'<div class="table"><table><thead>{row_of("th", heads)}</thead>'
        f"<tbody>{''.join(row_of('td', row) for row in rows)}</tbody></table></div>"
    )
