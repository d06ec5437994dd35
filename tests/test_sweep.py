"""The crash sweeps, thinned out: every so many-th case of what `python -m hil.run.sweep` tries whole."""

import os
import signal
from pathlib import Path

import msgspec
import pytest

from controller.model import Site, State
from hil.devices.inverter import InverterDevice
from hil.plant.inverter import SetPoint
from hil.run import crashes, damage, supervisor, sweep
from hil.run.sweep import side_by_side

JOBS = os.cpu_count() or 1


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("name", "step_count"), [("order", 7), ("start", 7), ("stop", 7), ("bytes", 97)])
def test_the_controller_may_die_at_any_of_its_steps_and_its_journal_be_hurt_at_any_byte(
    name: str, step_count: int
) -> None:
    swept = sweep.sweep(name, step_count=step_count, first=2, job_count=JOBS)
    assert not swept.failed, str(swept)
    assert swept.case_count >= 5 and swept.most / swept.case_count < 1.3 * step_count


def test_an_inverter_whose_own_timer_does_not_run_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_timer(device: InverterDevice) -> SetPoint:
        return msgspec.structs.replace(meant(device), timer_s=0.0)

    meant = InverterDevice._set_point
    monkeypatch.setattr(InverterDevice, "_set_point", without_timer)
    wrong = crashes.crash(crashes.MOMENTS["order"], 5, tmp_path)
    assert any("after its own timer has run out" in one for one in wrong), wrong


def test_a_start_that_takes_over_only_a_part_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_the_cease(site: Site, base: Path) -> State | None:
        state = whole(site, base)
        return None if state is None else msgspec.structs.replace(state, ceased="")

    whole = supervisor._last_state
    content = damage.a_journal(tmp_path)
    in_the_header = 100
    assert damage.hurt(content, [in_the_header]) == []
    monkeypatch.setattr(supervisor, "_last_state", without_the_cease)
    (only,) = damage.hurt(content, [in_the_header])
    assert only.startswith("flipped at byte 100: Taken(latched='second', ceased='') was taken over"), only


def test_each_case_has_a_process_of_its_own_and_how_it_ended_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep, "HANGS_S", 2.0)

    def work(case: str) -> list[object]:
        if case == "dies":
            os._exit(3)
        if case == "raises":
            raise ValueError("a bug of the bench")
        if case == "hangs":
            signal.pause()
        return [case, os.getpid()]

    found = dict(side_by_side(["well", "dies", "raises", "hangs", "well too"], work, 2))
    assert found["well"][0] == "well" and found["well too"][0] == "well too"
    assert len({found["well"][1], found["well too"][1], os.getpid()}) == 3
    assert found["dies"] == "it died"
    assert "a bug of the bench" in found["raises"]
    assert "it hangs" in found["hangs"]


def test_the_command_tells_what_it_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["bytes", "--every", "1500", "--jobs", "1"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("bytes: 6 of ") and told.out.endswith(" 0 failed\n")
    assert "1 of 1" in told.err
    with pytest.raises(SystemExit):
        sweep.main(["everything"])
    assert "everything: not among order, start, stop, bytes" in capsys.readouterr().err
