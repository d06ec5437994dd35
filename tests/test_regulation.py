"""Three recorded evenings of a 100 MW battery's dispatch, scaled to the site, through real frames on virtual time."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hil.regulation import Followed

DATA = Path(os.environ.get("LINEPACK_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
RECORDING = DATA / "caiso_agc_4s_2016_04_05.csv.gz"
# By their energy swing: deep discharge, charge to the ceiling and then far down, discharge and back.
DAYS = ("2016-04-29", "2016-05-24", "2016-05-28")


@pytest.fixture(scope="module")
def followed() -> dict[str, Followed]:
    """Run the days side by side, each in a process of its own."""
    if not RECORDING.exists():
        pytest.skip(f"the recording is not here: {RECORDING.name} (set LINEPACK_DATA to its folder)")
    runs = [
        subprocess.Popen([sys.executable, "-m", "hil.regulation", str(RECORDING), day], stdout=subprocess.PIPE)
        for day in DAYS
    ]
    results = {}
    for run in runs:
        out, _ = run.communicate()
        assert run.returncode == 0
        result = msgspec.json.decode(out, type=Followed)
        results[result.day] = result
        print(out.decode())
    return results


@pytest.mark.timeout(900)
@pytest.mark.parametrize("day", DAYS)
def test_the_signal_is_followed_wherever_the_energy_allowed_it(followed: dict[str, Followed], day: str) -> None:
    result = followed[day]
    assert result.score >= 0.95
    assert result.score >= result.reference - 0.02
    assert result.counted > 0.3, "a day in which hardly anything was allowed proves nothing"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("day", DAYS)
def test_the_true_energy_never_leaves_its_bounds_and_the_reserve_is_reached(
    followed: dict[str, Followed], day: str
) -> None:
    result = followed[day]
    assert result.floor_wh <= result.reserve_wh <= result.energy_low_wh
    assert result.energy_high_wh <= result.ceiling_wh
    assert any(rule.startswith("customer_reserve") for rule in result.refused_s), "the reserve was never reached"
