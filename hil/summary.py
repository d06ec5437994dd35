"""What a demo has to say at its end: the same values for the terminal, the JSON file and the report."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from hil.judge import Verdict
from hil.ledger import Outcome

STORED_FRAME = Path(__file__).parent / "picture.json"
HISTORY_MAX = 240  # points of the strip chart


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """All that one picture of the terminal view shows. The plant's values are the true ones."""

    t_s: float
    site: str
    phase_no: int
    phase_count: int
    phase_title: str
    phase_left_s: float
    inverter_w: float
    load_w: float
    pv_w: float
    poi_w: float
    soc_pct: float
    bms_plugged: bool
    floor_pct: int
    reserve_pct: int
    ceiling_pct: int
    export_max_w: int
    import_max_w: int
    nameplate_w: int
    asked_w: int | None  # None: the utility says nothing
    # what the controller says of itself
    target_w: int | None = None  # None: no decision has been read yet
    mode: str = ""
    why: str = ""  # "wish", "ramp" or the rule that binds
    because: str = ""
    faults: tuple[str, ...] = ()
    history: tuple[tuple[int | None, int], ...] = ()  # (asked, delivered) in W, the newest last
    history_s: float = 0.0  # how much time the history covers


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of the controller's process and of the run. None = could not be read on this machine."""

    start_to_first_control_s: float | None
    controller_rss_peak_mb: float | None
    controller_cpu_pct: float | None
    decisions: int
    samples: int
    set_points_written: int
    set_points_failed: int
    poi_excursion_s: float
    poi_excursion_wh: float
    asked_wh: float
    delivered_wh: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The run."""

    site: str
    asked_duration_s: float
    played_s: float
    interrupted: bool
    exit_code: int  # 0 passed, 1 failed
    outcomes: tuple[Outcome, ...]
    verdicts: tuple[Verdict, ...]
    figures: Figures
    report: str
    journal: str
    picture: Frame | None = None


def passed(outcomes: Iterable[Outcome], verdicts: Iterable[Verdict], *, endless: bool) -> bool:
    """Return whether every invariant held and every phase bit.

    A run without end is stopped somewhere in its story: phases not played to their end count only in a run with one.
    A phase that somebody who joined in kept from being played does not count either.
    """
    bits = [outcome.bit for outcome in outcomes if outcome.bit is not None or not (endless or outcome.joined)]
    return bool(bits) and all(bit is True for bit in bits) and all(verdict.held for verdict in verdicts)


def shows(verdict: Verdict) -> bool:
    """Return whether a verdict has something to show: its case came up, or it does not hold."""
    return verdict.tested or not verdict.held


def told(summary: Summary) -> str:
    """Return in a few words how the run went."""
    if summary.exit_code == 0:
        return "every invariant held and every phase happened"
    failed = any(row.bit is False for row in summary.outcomes) or any(not row.held for row in summary.verdicts)
    return "the run failed" if failed or not summary.interrupted else "the run was stopped before its end"


def encode(summary: Summary) -> bytes:
    """Return the summary as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"


def stored_frame() -> Frame:
    """Return the moment that the README's picture shows, taken from a demo."""
    return msgspec.json.decode(STORED_FRAME.read_bytes(), type=Frame)


def decode(text: bytes) -> Summary:
    """Return a summary from its JSON. Raises msgspec.ValidationError or msgspec.DecodeError with what is wrong."""
    return msgspec.json.decode(text, type=Summary)
