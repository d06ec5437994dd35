"""The terminal view: it fits, says what it must, and needs no more than the terminal can show."""

from io import StringIO

import msgspec
import pytest
from rich.console import Console

from hil.summary import Frame
from hil.view import line, picture, render

SIZES = [(100, 30), (80, 24), (60, 20), (200, 60)]


def a_frame(**changes: object) -> Frame:
    """Return the moment at which the export limit binds."""
    waves = tuple((8000 if place % 40 < 20 else -8000, 7900 if place % 40 < 20 else -7900) for place in range(200))
    frame = Frame(
        t_s=31.3,
        site="demo",
        phase_no=3,
        phase_count=5,
        phase_title="The load drops: the export limit binds",
        phase_left_s=6.2,
        inverter_w=6210,
        load_w=300,
        pv_w=600,
        poi_w=5890,
        soc_pct=67.9,
        bms_plugged=True,
        floor_pct=10,
        reserve_pct=30,
        ceiling_pct=95,
        export_max_w=6000,
        import_max_w=12_000,
        nameplate_w=10_000,
        asked_w=8000,
        target_w=6200,
        mode="follow",
        why="poi_limit",
        because="load less generation is -300 W; export at most 6000 W, import at most 12000 W",
        history=waves,
        history_s=40.0,
    )
    return msgspec.structs.replace(frame, **changes)


def drawn(frame: Frame, width: int = 100, height: int = 30, encoding: str = "utf-8") -> str:
    """Return the picture as the letters a terminal of that size and encoding gets."""
    console = Console(file=StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    options = console.options.update(width=width, height=height)
    options.encoding = encoding
    lines = console.render_lines(render(frame), options, pad=False)
    return "\n".join("".join(segment.text for segment in row) for row in lines)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_picture_fits_the_terminal(width: int, height: int, encoding: str) -> None:
    frames = (
        a_frame(),
        a_frame(asked_w=None, history=(), faults=("battery_stale battery",) * 9, because="word " * 90, site="x" * 64),
        a_frame(target_w=None, why="", because="", soc_pct=0.0, history=((None, 0),) * 240),
        a_frame(soc_pct=100.0, inverter_w=-99_999_999, poi_w=-99_999_999, load_w=99_999_999.0, bms_plugged=False),
    )
    for frame in frames:
        lines = drawn(frame, width, height, encoding).splitlines()
        assert len(lines) <= height
        assert max(len(text) for text in lines) <= width


def test_picture_says_what_is_asked_what_is_delivered_and_which_rule_binds() -> None:
    text = drawn(a_frame())
    assert "asked     +8.00 kW" in text
    assert "delivered +6.21 kW" in text
    assert "poi_limit binds" in text
    assert "export at most 6000 W" in text
    assert "3/5 The load drops: the export limit binds" in text
    assert "31 s · 6 s left" in text
    assert "load 0.30 kW" in text
    assert "PV 0.60 kW" in text


@pytest.mark.parametrize(
    ("poi_w", "inverter_w", "out", "into"),
    [(5890, 6210, True, False), (-3000, -2000, False, True), (0, 0, False, False)],
)
def test_arrows_show_which_way_the_power_goes(poi_w: int, inverter_w: int, out: bool, into: bool) -> None:
    wire = drawn(a_frame(poi_w=poi_w, inverter_w=inverter_w)).splitlines()[3]
    assert "grid" in wire
    assert ("◀" in wire) is out
    assert ("▶" in wire) is into


def test_arrows_move_with_time() -> None:
    pictures = {drawn(a_frame(t_s=30 + step * 0.25)).splitlines()[3] for step in range(4)}
    assert len(pictures) == 4


def test_same_frame_gives_the_same_picture() -> None:
    assert drawn(a_frame()) == drawn(a_frame())


def test_terminal_without_utf8_gets_plain_letters_in_the_same_places() -> None:
    fine, plain = drawn(a_frame()).splitlines(), drawn(a_frame(), encoding="ascii").splitlines()
    assert "\n".join(plain).isascii()
    assert [text.rstrip() == "" for text in plain[:16]] == [text.rstrip() == "" for text in fine[:16]]
    assert plain[3].index("inverter") == fine[3].index("inverter")
    assert "<" in plain[3]


def test_a_site_name_in_another_script_does_not_break_a_plain_terminal() -> None:
    assert drawn(a_frame(site="Überlandwerk 東"), encoding="ascii").isascii()


def test_energy_bar_ends_at_the_state_of_charge() -> None:
    def full(soc_pct: float) -> int:
        return drawn(a_frame(soc_pct=soc_pct)).count("█")

    cells = full(100.0)
    assert full(0.0) == 0
    assert full(50.0) == pytest.approx(cells / 2, abs=1)


def test_pulled_bms_cable_and_faults_are_shown() -> None:
    text = drawn(a_frame(bms_plugged=False, faults=("battery_stale battery",)), 80, 24)
    assert "BMS cable pulled" in text
    assert "battery_stale battery" in text
    assert "faults    none" in drawn(a_frame())


def test_chart_shows_both_curves_apart() -> None:
    apart = a_frame(history=((8000, -8000),) * 200)
    text = drawn(apart, encoding="ascii").splitlines()
    chart = text[-12:]
    assert any("....." in row for row in chart)
    assert any("*****" in row for row in chart)


def test_plain_line_holds_the_whole_moment() -> None:
    text = line(a_frame(faults=("battery_stale battery",)))
    for part in ("31.3 s", "3/5", "asked +8.00 kW", "delivered +6.21 kW", "POI +5.89 kW", "67.9 %", "poi_limit binds"):
        assert part in text
    assert "[battery_stale battery]" in text
    assert "asked nothing" in line(a_frame(asked_w=None))
    assert "as wished by follow" in line(a_frame(why="wish"))
    assert "no decision yet" in line(a_frame(target_w=None))


def test_picture_for_the_readme_loads_nothing_from_anywhere() -> None:
    svg = picture(a_frame())
    assert svg.startswith("<svg")
    assert "@font-face" not in svg
    assert "url(http" not in svg
    assert "poi_limit" in svg
    assert picture(a_frame()) == svg
