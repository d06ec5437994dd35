"""The judge of what is charged without anybody's order, and of what a contact keeps the batteries from helping with."""

import pytest

from controller.model import Input
from hil.plant.truth import Asked, Contacts
from tests.truths import Stretch, judged, stretch
from tests.words import a_site

OUT = {"ac_w": 6000.0}
STOP = Input(name="stop", device="inputs", channel=0, means="emergency_stop")
RELAY = Input(name="relay", device="inputs", channel=1, means="import_limit", limit_w=2000)


def charged(power_w: float, **unit: object) -> Stretch:
    """Return a minute in which the second of two units is charged and the first one is discharged by an order."""
    return stretch(60, OUT, {"ac_w": -power_w, **unit}, order_w=6000.0)


@pytest.mark.parametrize(
    ("story", "held"),
    [
        (charged(600, force_charge=True), True),  # 5 % of 10 kW, and 100 W that an inverter at rest may measure
        (charged(601, force_charge=True), False),
        (charged(101), False),
        (charged(1100, soc=0.12), True),  # 12 % less an error of 2 %: a tenth of the nameplate brings it back
        (charged(1101, soc=0.12), False),
        (charged(1100, soc=0.13), False),
    ],
)
def test_a_unit_may_be_charged_beside_others_as_far_as_it_has_to_be(story: Stretch, held: bool) -> None:
    assert judged(story)["units_opposed"].held is held


@pytest.mark.parametrize(
    ("unit", "asked", "held"),
    [
        ({"ac_w": -9000.0}, Asked(reserve_pct=60.0), True),  # 60 % told less the error of 2 % are below it
        ({"ac_w": -9000.0}, Asked(reserve_pct=58.0), False),
        ({"ac_w": -9000.0}, Asked(), False),
        ({"ac_w": -1500.0, "soc": 0.12}, Asked(), True),
        ({"ac_w": -1501.0, "soc": 0.12}, Asked(), False),
        ({"ac_w": -1000.0, "force_charge": True}, Asked(), True),
        ({"ac_w": -1001.0, "force_charge": True}, Asked(), False),
    ],
)
def test_without_an_order_is_charged_what_a_reserve_the_floor_or_the_battery_demand(
    unit: dict[str, object], asked: Asked, held: bool
) -> None:
    assert judged(stretch(60, unit, asked=asked))["order_expired"].held is held


@pytest.mark.parametrize(("stop_closed", "held"), [(True, False), (False, True)])
def test_who_is_stopped_by_a_contact_cannot_help_an_import_limit(stop_closed: bool, held: bool) -> None:
    contacts = (Contacts(device="inputs", closed=(stop_closed, False)),)
    story = stretch(60, {"ac_w": 0.0}, load_w=5000.0, contacts=contacts)
    assert judged(story, site=a_site(input=(STOP, RELAY)))["envelope_import"].held is held


@pytest.mark.parametrize(("means", "held"), [("no_charge", False), ("no_discharge", True)])
def test_a_contact_closes_its_own_direction_only(means: str, held: bool) -> None:
    blocked = Input(name="blocked", device="inputs", channel=0, means=means)  # type: ignore[arg-type]
    contacts = (Contacts(device="inputs", closed=(False, False)),)
    story = stretch(60, {"ac_w": 0.0}, load_w=5000.0, contacts=contacts)
    assert judged(story, site=a_site(input=(blocked, RELAY)))["envelope_import"].held is held
