"""Commissioning: a person says that the site's devices obey, and only then anything is written to them."""

import asyncio
import tomllib
from pathlib import Path
from typing import IO

import msgspec
import pytest

from controller.app import commissioning
from controller.app.board import Board
from controller.app.commissioning import commissioned, permits, read, record, record_file, why_silent
from controller.app.decider import Decider
from controller.app.main import _record, main
from controller.app.problems import SiteError
from controller.app.sitefile import load
from controller.gate import fingerprint
from controller.link.clock import Clock
from controller.model import Commission
from hil.clock import run_virtual
from hil.run.lockstep import lockstep
from tests.words import a_battery, a_meter, a_site, a_target, an_inverter

DEMO = (Path(__file__).parent / "golden" / "site.toml").read_text()


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(DEMO)
    return path


# -- the record --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("site_name", "record_name"),
    [
        ("site.toml", "site.commissioned.toml"),
        ("a.b.toml", "a.b.commissioned.toml"),
        ("site", "site.commissioned.toml"),
    ],
)
def test_the_record_lies_beside_its_site_file(site_name: str, record_name: str) -> None:
    assert record_file(Path("/etc/linepack") / site_name) == Path("/etc/linepack") / record_name


def test_a_record_says_who_commissioned_what_and_when_in_the_sites_own_time() -> None:
    site = a_site(timezone="Europe/Berlin")
    assert commissioned(site, by="Ada", utc_ms=1_780_000_000_999) == Commission(
        site="test", fingerprint=fingerprint(site), by="Ada", at="2026-05-28T22:26:40+02:00"
    )


def test_what_was_written_is_read_back_whatever_the_name(site_file: Path) -> None:
    for by in ("Ada Lovelace", 'O"Neil \\ Sons', "Ærøskøbing 電", "=[]#'"):
        place = record(site_file, by=by, utc_ms=1_780_000_000_000)
        assert place == site_file.with_name("site.commissioned.toml")
        assert read(site_file) == commissioned(load(site_file), by=by, utc_ms=1_780_000_000_000)
        assert sorted(path.name for path in site_file.parent.iterdir()) == ["site.commissioned.toml", "site.toml"]
    assert place.read_text("utf-8").startswith("# Written by `linepack commission`.")


def test_without_a_record_there_is_none(site_file: Path) -> None:
    assert read(site_file) is None


def test_a_record_that_cannot_be_written_leaves_the_old_one_and_no_draft(
    site_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(site_file, by="Ada")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("controller.app.commissioning.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        record(site_file, by="Bob")
    known = read(site_file)
    assert known is not None
    assert known.by == "Ada"
    assert sorted(path.name for path in site_file.parent.iterdir()) == ["site.commissioned.toml", "site.toml"]


def test_a_loss_of_power_leaves_the_old_record_or_the_new_one(site_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is on the disk before the name is, and the name before anybody is told."""
    done: list[str] = []
    replace, fsync = Path.replace, commissioning.os.fsync

    def replaced(path: Path, target: Path) -> Path:
        done.append("named")
        return replace(path, target)

    def synced(fd: int) -> None:
        done.append("synced")
        fsync(fd)

    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr("controller.app.commissioning.os.fsync", synced)
    record(site_file, by="Ada")
    assert done == ["synced", "named", "synced"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nonsense", "read Expected"),
        ("by = 3", "fingerprint: read nothing, allowed: text"),
        ("by = 3", "by: read 3 (integer), allowed: text"),
        ("bi = 'Ada'", "bi: read 'Ada' (text), an unknown key, allowed: the keys of the file; did you mean 'by'?"),
        ("", "site: read nothing, allowed: text"),
        ("\0", "TOML as `linepack commission` writes it; delete it and commission the site anew"),
    ],
)
def test_a_broken_record_is_told_with_key_and_range(site_file: Path, text: str, told: str) -> None:
    record_file(site_file).write_text(text)
    with pytest.raises(SiteError) as wrong:
        read(site_file)
    assert told in str(wrong.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"by = '\xff'", b"a = " + b"[" * 100_000])
def test_a_record_that_is_no_text_is_told(site_file: Path, content: bytes) -> None:
    record_file(site_file).write_bytes(content)
    with pytest.raises(SiteError, match="delete it and commission"):
        read(site_file)


def test_a_record_that_cannot_be_opened_is_told(site_file: Path) -> None:
    record_file(site_file).mkdir()
    with pytest.raises(SiteError, match="nothing: Is a directory, allowed: a file that can be read"):
        read(site_file)


def test_a_broken_record_counts_as_none_and_the_log_says_where(
    site_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = record_file(site_file)
    place.write_text("by = 3")
    assert _record(site_file) is None
    told = [one.getMessage() for one in caplog.records]
    assert len(told) == 4
    assert f"{place}: by: read 3 (integer), allowed: text" in told[2]
    place.unlink()
    caplog.clear()
    assert _record(site_file) is None
    assert not caplog.records
    record(site_file, by="Ada")
    assert _record(site_file) == read(site_file)


def test_a_record_that_does_not_fit_says_what_to_do() -> None:
    site = a_site()
    fits = commissioned(site, by="Ada")
    assert why_silent(site, fits) == ""
    assert why_silent(site, None) == "no record that can be used is beside the site file"
    other = msgspec.structs.replace(site, unit=(msgspec.structs.replace(site.unit[0], charge_max_w=1),))
    assert why_silent(other, fits) == (
        "devices, units or ratings were changed since Ada commissioned it at 1970-01-01T00:00:00+00:00: "
        "commission it anew, or put back what was changed"
    )


# -- the command -------------------------------------------------------------------------------------------------------


def test_commission_tells_what_it_permits_and_writes_the_record(
    site_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["commission", str(site_file), "--by", " Ada "]) == 0
    out, err = capsys.readouterr()
    for told in (
        f"{site_file}: the controller may write to these devices, within these ratings and limits:",
        "unit     house: inverter with battery, -10000 .. +10000 W, 25000 Wh, falls back by itself after 10 s",
        "device   inverter: inverters/sunspec_der at tcp://127.0.0.1:8503?unit=1",
        "device   battery: batteries/pylontech_lv at slcan://127.0.0.1:8505",
        "grid     at most 12000 W in and 6000 W out, measured by meter",
        "energy   floor 10 %, ceiling 95 %",
        f"{record_file(site_file)}: written for Ada.",
    ):
        assert told in out
    assert err == ""
    words = tomllib.loads(record_file(site_file).read_text("utf-8"))
    assert words["by"] == "Ada"
    assert words["fingerprint"] == fingerprint(load(site_file))
    assert words["at"] > "2026-01-01"
    assert words["at"].endswith("+00:00")


def test_several_batteries_and_units_are_all_told() -> None:
    site = a_site(2)
    site = msgspec.structs.replace(
        site, unit=(msgspec.structs.replace(site.unit[0], battery=("battery1", "battery2")), site.unit[1])
    )
    told = permits(site)
    assert "unit1: inverter1 with battery1, battery2, -10000 .. +10000 W" in told
    assert "unit2: inverter2 with battery2" in told
    assert told.count("\n  device") == 5


@pytest.mark.parametrize("by", ["", "  ", "\n", "a\x7fb", "\udcff"])
def test_commission_refuses_to_write_without_a_name(
    site_file: Path, by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["commission", str(site_file), "--by", by]) == 1
    assert "--by: read nothing" in capsys.readouterr().err
    assert not record_file(site_file).exists()


def test_commission_asks_who(site_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ends:
        main(["commission", str(site_file)])
    assert ends.value.code == 2
    assert "--by" in capsys.readouterr().err


def test_commission_tells_every_problem_of_a_bad_site_file(site_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site_file.write_text(DEMO.replace("25000", "50").replace("lease_s", "leese_s"))
    assert main(["commission", str(site_file), "--by", "Ada"]) == 1
    assert f"{site_file}: 2 problems" in capsys.readouterr().err
    assert not record_file(site_file).exists()


def test_commission_in_a_place_that_cannot_be_written_says_so(
    site_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, place = Path.open, site_file.with_name(".site.commissioned.toml.new")

    def denied(path: Path, *args: str, **kinds: str) -> IO[str]:
        if path == place:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kinds)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(Path, "open", denied)
    assert main(["commission", str(site_file), "--by", "Ada"]) == 1
    assert f"{place}: could not be written: Permission denied; nothing was recorded" in capsys.readouterr().err
    assert not record_file(site_file).exists()


# -- the controller ----------------------------------------------------------------------------------------------------


class Still(Clock):
    """A clock that stands."""

    def now_ms(self) -> int:
        return 100_000

    def utc_ms(self) -> int:
        return 1_780_000_100_000


def a_decider(commission: Commission | None) -> tuple[Decider, Board]:
    site = a_site()
    board = Board(site, Still())
    decider = Decider(site, board, Still(), commission=commission)
    for reading in (a_meter(), an_inverter(), a_battery()):
        board.heard(reading)
    board.order(a_target(1000))
    return decider, board


@pytest.mark.parametrize("changes", [None, {"fingerprint": "0" * 16}])
def test_a_site_without_a_record_that_fits_decides_and_records_but_writes_nothing(
    changes: dict[str, str] | None,
) -> None:
    fits = commissioned(a_site(), by="Ada")
    decider, board = a_decider(None if changes is None else msgspec.structs.replace(fits, **changes))
    for _ in range(2):
        entry, verdicts = decider.decide()
        assert entry.decision.commands
        assert all(verdict.refused.startswith("not commissioned") for verdict in verdicts)
        assert {notice.fault for notice in board.freeze("").notices} == {"not_commissioned"}, (
            "told once, not by command"
        )
        standing = {fault.fault: fault for fault in entry.decision.faults}
        assert standing["not_commissioned"].detail == why_silent(
            a_site(), None if changes is None else msgspec.structs.replace(fits, **changes)
        )
    assert all(verdict.refused for verdict in decider.judged(entry.snapshot, entry.decision.commands))


def test_a_commissioned_site_writes_and_the_gate_remembers_it() -> None:
    decider, board = a_decider(commissioned(a_site(), by="Ada"))
    entry, verdicts = decider.decide()
    assert [verdict.refused for verdict in verdicts] == [""]
    assert board.freeze("").notices == ()
    raised = 0
    for number in range(30):
        more = (msgspec.structs.replace(entry.decision.commands[0], power_w=2000 + number),)
        raised += decider.judged(entry.snapshot, more)[0].refused == ""
    assert raised in (19, 20), "of twenty raises in a second the first decision may have been one"


@pytest.mark.parametrize("written", [True, False])
def test_the_service_runs_without_a_record_and_leaves_the_inverter_alone(
    written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = load(Path(__file__).parent / "golden" / "site.toml")
    if not written:
        monkeypatch.setattr("hil.run.supervisor.commissioned", lambda site, by: None)

    async def story() -> None:
        async with lockstep(site, tmp_path) as bench:
            assert await bench.utility.ask(3000)
            await bench.wait(5)
            decision = bench.decision
            assert decision is not None
            assert decision.target_w == 3000
            assert ("not_commissioned" in {fault.fault for fault in decision.faults}) is not written
            assert (abs(bench.plant.value("inverter.ac_w") - 3000) < 100) is written
            await bench.service.rest()
            await asyncio.sleep(2)
            assert abs(bench.plant.value("inverter.ac_w")) < 100

    run_virtual(story())
