"""The report and the summary: whole, readable without a network, and safe whatever the texts in them are."""

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import msgspec
import pytest
from rich.console import Console

from hil.judge import Verdict
from hil.ledger import Outcome
from hil.report import Point, page
from hil.summary import Figures, Summary, decode, encode, told
from hil.svg import Band, Line, Stretch, legend, plot, ribbon
from hil.view import closing
from tests.test_view import a_frame
from tests.words import a_site

NASTY = "<script>alert('x')</script>&\"東"
VOID = {"meta"}


def an_outcome(**changes: object) -> Outcome:
    outcome = Outcome(
        name="export",
        title="The load drops",
        must="poi_limit binds",
        start_s=0.0,
        end_s=10.0,
        asked_wh=22.2,
        delivered_wh=17.5,
        asked_mean_w=8000.0,
        delivered_mean_w=6300.0,
        missed_wh=4.7,
        why_not=(("poi_limit", 4.1), ("still moving", 0.6)),
        bit=True,
        seen="poi_limit bound",
    )
    return msgspec.structs.replace(outcome, **changes)


def a_verdict(**changes: object) -> Verdict:
    verdict = Verdict(
        invariant="poi_export",
        says="never more than 6000 W into the grid for longer than 2 s",
        held=True,
        tested=True,
        worst=1.2,
        allowed=2.0,
        unit="s",
        where="1.2 s from 4.0 s on",
    )
    return msgspec.structs.replace(verdict, **changes)


def a_summary(**changes: object) -> Summary:
    summary = Summary(
        site="demo",
        asked_duration_s=10.0,
        played_s=10.0,
        interrupted=False,
        exit_code=0,
        outcomes=(an_outcome(),),
        verdicts=(a_verdict(),),
        figures=Figures(
            start_to_first_control_s=1.25,
            controller_rss_peak_mb=40.5,
            controller_cpu_pct=None,
            decisions=40,
            samples=200,
            set_points_written=10,
            set_points_failed=0,
            poi_excursion_s=1.2,
            poi_excursion_wh=0.4,
            asked_wh=22.2,
            delivered_wh=17.5,
        ),
        report="report.html",
        journal="journal",
        picture=a_frame(),
    )
    return msgspec.structs.replace(summary, **changes)


def points(why: str = "poi_limit", fault: str = "battery_stale battery") -> list[Point]:
    return [
        Point(
            t_s=place / 10,
            asked_w=None if place < 10 else 8000,
            delivered_w=6000.0 + place,
            poi_w=5000.0 + place,
            soc_pct=50.0,
            why=why if place > 50 else "wish",
            faults=(fault,) if 30 <= place < 40 else (),
        )
        for place in range(100)
    ]


class _Tags(HTMLParser):
    """Checks that tags are closed in order and remembers names, addresses and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.addresses: list[str | None] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> _Tags:
    tags = _Tags()
    tags.feed(html)
    assert tags.open == []
    return tags


def test_page_is_whole_and_loads_nothing() -> None:
    html = page(a_summary(), a_site(), points())
    tags = read(html)
    assert tags.addresses == []
    assert "script" not in tags.names
    assert not re.search(r"https?://|url\(|@import", html)
    for part in (
        "poi_limit",
        "battery_stale battery",
        "The load drops",
        "1.2 s from 4.0 s on",
        "40.5",
        "not readable here",
    ):
        assert part in tags.text


def test_every_text_is_escaped() -> None:
    summary = a_summary(
        site=NASTY,
        outcomes=(an_outcome(title=NASTY, seen=NASTY, why_not=((NASTY, 1.0),)),),
        verdicts=(a_verdict(says=NASTY, where=NASTY),),
        journal=NASTY,
    )
    tags = read(page(summary, a_site(), points(why=NASTY, fault=NASTY)))
    assert "script" not in tags.names
    assert tags.text.count(NASTY) >= 7


def test_page_of_a_run_that_ended_at_once_still_opens() -> None:
    for few in ([], points()[:1], points()[:2]):
        assert "Nothing was sampled" in page(a_summary(), a_site(), few) or len(few) == 2


def test_failed_run_says_so_and_names_what_failed() -> None:
    summary = a_summary(
        exit_code=1,
        outcomes=(
            an_outcome(bit=False, seen="poi_limit never bound"),
            an_outcome(bit=None, seen="not played to its end"),
        ),
        verdicts=(a_verdict(held=False, tested=False),),
    )
    text = read(page(summary, a_site(), points())).text
    assert "The run failed." in text
    assert "1.2 s from 4.0 s on" in text, "what does not hold is shown even where its case never came up"
    assert "NO: poi_limit binds; seen: poi_limit never bound" in text
    assert "not played" in text


def test_plots_are_well_formed_and_keep_long_runs_small() -> None:
    many = [Point(place / 20, 100, 50.0, 10.0, 60.0, "wish", ()) for place in range(72_000)]
    html = page(a_summary(), a_site(), many)
    assert len(html) < 400_000
    for svg in re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL):
        ElementTree.fromstring(svg)


def test_line_stays_inside_the_plot_whatever_the_values_are() -> None:
    line = Line(
        label="a", colour="red", points=((0.0, None), (1.0, -5.0), (2.0, 1e7), (3.0, None), (4.0, 0.0)), step=True
    )
    svg = plot("W", (0.0, 4.0), (line,), (Band(label="far", colour="pink", low=1e9, high=2e9),))
    numbers = [float(value) for value in re.findall(r"[MLHV ]\s?(\d+\.?\d*)", re.search(r' d="([^"]*)"', svg)[1])]  # type: ignore[index]
    assert all(0 <= number <= 720 for number in numbers)
    assert svg.count("M") == 2  # a gap lifts the pen


@pytest.mark.parametrize("across", [(0.0, 0.0), (0.0, 1e-6), (0.0, 86_400.0)])
def test_plot_and_ribbon_live_with_any_length_of_time(across: tuple[float, float]) -> None:
    assert "NaN" not in plot("W", across, ()) + ribbon(
        across, (Stretch(label="a", colour="b", start=0.0, end=across[1]),)
    )


def test_legend_names_each_curve() -> None:
    assert legend([("asked", "#123")]).count("asked") == 1


def test_summary_survives_json_with_every_field_filled() -> None:
    summary = a_summary(figures=msgspec.structs.replace(a_summary().figures, controller_cpu_pct=1.5))
    assert decode(encode(summary)) == summary
    assert decode(encode(a_summary(picture=None))) == a_summary(picture=None)


@pytest.mark.parametrize("width", [80, 130])
def test_closing_tables_tell_the_same_on_a_terminal(width: int) -> None:
    console = Console(width=width, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        verdicts = (a_verdict(), a_verdict(invariant="ramp", tested=False), a_verdict(invariant="i3", held=False))
        console.print(closing(a_summary(verdicts=verdicts)))
    text = captured.get()
    assert max(len(row) for row in text.splitlines()) <= width
    for part in (
        "poi_limit",
        "export",
        "every invariant held and every phase happened",
        "report.html",
        "not put to the test by this story: ramp",
        "NO",
    ):
        assert part in text
    assert not re.search(r"│ ramp\b", text), "what was not tested has no line in the table"


def test_invariants_that_were_not_put_to_the_test_are_named_below_the_table() -> None:
    says = "no unit charges another"
    summary = a_summary(verdicts=(a_verdict(), a_verdict(invariant="units_opposed", says=says, tested=False)))
    text = read(page(summary, a_site(), points())).text
    assert says not in text
    assert "Not put to the test by this story: units_opposed" in text
    assert "Not put to the test" not in read(page(a_summary(), a_site(), points())).text


def test_a_run_that_was_stopped_says_so_unless_something_failed_before() -> None:
    stopped = a_summary(exit_code=1, interrupted=True, outcomes=(an_outcome(), an_outcome(bit=None)))
    assert told(stopped) == "the run was stopped before its end"
    assert told(msgspec.structs.replace(stopped, outcomes=(an_outcome(bit=False),))) == "the run failed"
    assert told(msgspec.structs.replace(stopped, verdicts=(a_verdict(held=False),))) == "the run failed"
    assert told(msgspec.structs.replace(stopped, interrupted=False)) == "the run failed"
    assert told(a_summary(interrupted=True)) == "every invariant held and every phase happened"
