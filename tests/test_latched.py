"""A fault that latches holds over restarts until a person has looked."""

from pathlib import Path

import pytest

from controller.app.main import _last_state, main
from controller.app.sitefile import load
from controller.engine import step
from controller.journal import Entry, JournalWriter
from controller.model import Notice, Site, State
from tests.words import all_fresh

SITE = (Path(__file__).parent / "golden" / "site.toml").read_text()


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    """Return a site file beside a journal in which the inverter was found to be another device."""
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    site = load(path)
    snapshot = all_fresh(notices=(Notice(fault="wrong_device", device="inverter", detail="serial 2, not 1"),))
    state, decision = step(site, State(), snapshot)
    assert any(fault.fault == "wrong_device" for fault in state.standing)
    writer = JournalWriter(tmp_path / "journal", site, 1_000_000)
    writer.append(Entry(seq=0, state=State(), snapshot=snapshot, decision=decision))
    writer.close()
    return path


def latched(path: Path) -> set[str]:
    site: Site = load(path)
    state = _last_state(site, path.parent)
    return set() if state is None else {fault.fault for fault in state.standing}


def test_a_latched_fault_is_taken_over_by_every_restart(site_file: Path) -> None:
    assert latched(site_file) == {"wrong_device"}
    assert latched(site_file) == {"wrong_device"}


def test_a_person_lets_go_of_it_once(site_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clear", str(site_file)]) == 0
    assert "restart" in capsys.readouterr().out
    assert latched(site_file) == set()
    assert latched(site_file) == {"wrong_device"}, "the next restart asks the journal again"


def test_clear_of_a_bad_site_file_or_an_unwritable_place_lets_go_of_nothing(
    site_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.toml").write_text("name = 5")
    assert main(["clear", str(tmp_path / "bad.toml")]) == 1
    site_file.write_text(SITE + '\n[journal]\ndirectory = "site.toml"\n')
    assert main(["clear", str(site_file)]) == 1
    assert "nothing was let go of" in capsys.readouterr().err
    site_file.write_text(SITE + '\n[journal]\ndirectory = "elsewhere"\n')
    assert main(["clear", str(site_file)]) == 1
    assert "no journal yet" in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists(), "made by root, the service could not write there"
