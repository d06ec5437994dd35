"""What the utility asks by protocols that are not there yet: orders on the controller's board, with a lease."""

from pathlib import Path

import pytest

from controller.app.board import Board
from controller.app.problems import SiteError
from controller.model import Order, Snapshot
from hil.plant.site import Plant
from hil.plant.truth import Asked
from hil.run.extras import FREE_W, Extras
from hil.run.fit import plant_spec
from hil.run.model import Model, ModelClock
from hil.run.play import play
from hil.run.utility import STATEMENTS, VALUES, Wish
from hil.scenario.draft import INPUTS, SILENT, inputs_of
from hil.scenario.expression import ExpressionError, compiled
from hil.scenario.known import known
from hil.scenario.load import load
from hil.scenario.names import View, names
from hil.scenario.places import ScenarioError
from hil.scenario.site import site as site_of
from hil.scenario.toml import plain, toml
from tests.rich import rich_site

BEGUN_S = 1000.0
LEASE_S = 5.0


class Rig:
    """Extras with a board in the test's hands."""

    def __init__(self) -> None:
        self.clock = ModelClock(BEGUN_S)
        self.wish, self.board = Wish(), Board(rich_site(), self.clock)
        self.extras = Extras(rich_site(), self.wish)

    def tick(self, at_s: float, *, silent: bool = False, down: bool = False) -> Asked:
        self.clock.now_s = BEGUN_S + at_s
        self.extras.tick(None if down else self.board, self.clock.now_s, self.clock.now_ms(), silent=silent)
        return self.extras.asked(self.clock.now_s)

    @property
    def snapshot(self) -> Snapshot:
        return self.board.freeze("")

    def order(self, kind: str) -> Order | None:
        return next((order for order in self.snapshot.orders if order.kind == kind), None)


def test_envelope_is_an_order_at_the_poi() -> None:
    rig = Rig()
    rig.wish.put("envelope_export_w", 3000.0)
    assert rig.tick(0) == Asked(envelope_export_w=3000)
    assert rig.order("envelope") == Order(
        name="bench envelope",
        source="bench",
        kind="envelope",
        domain="poi",
        low_w=-FREE_W,
        high_w=3000,
        starts_ms=1_000_000,
        expires_ms=1_005_000,
    )
    rig.wish.put("envelope_import_w", 7000.0)
    rig.tick(0.1)
    order = rig.order("envelope")
    assert order is not None
    assert (order.low_w, order.high_w) == (-7000, 3000)


def test_order_that_is_kept_alive_began_once() -> None:
    rig = Rig()
    rig.wish.put("reserve_pct", 80.0)
    rig.wish.put("reserve_within_s", 600.0)
    for at_s in (0.0, 1.0, 2.0, 30.0):
        rig.tick(at_s)
    order = rig.order("reserve")
    assert order is not None
    # the last tick came long after the lease of the one before: it is a new order
    assert (order.soc_bp, order.starts_ms, order.by_ms) == (8000, 1_030_000, 1_600_000)
    rig.tick(31)
    order = rig.order("reserve")
    assert order is not None
    assert (order.starts_ms, order.expires_ms) == (1_030_000, 1_036_000)


def test_what_is_no_longer_wanted_is_withdrawn_and_what_is_not_said_lapses() -> None:
    rig = Rig()
    rig.wish.put("consumption_w", 4000.0)
    rig.tick(0)
    assert rig.order("consumption") is not None
    rig.wish.put("consumption_w", None)
    assert rig.tick(0.1) == Asked()
    assert rig.order("consumption") is None
    rig.wish.put("consumption_w", 4000.0)
    rig.tick(1)
    assert rig.tick(5.9, silent=True).consumption_w == 4000
    assert rig.order("consumption") is not None
    assert rig.tick(6, silent=True).consumption_w is None
    assert rig.order("consumption") is None


def test_heartbeat_of_a_limit_on_consumption_comes_every_second() -> None:
    rig = Rig()
    assert rig.tick(0).consumption_age_s is None
    rig.wish.put("consumption_beats", 1.0)
    assert rig.tick(1).consumption_age_s == 0
    assert rig.snapshot.consumption_heard_ms == 1_001_000
    assert rig.tick(1.9).consumption_age_s == pytest.approx(0.9)
    assert rig.snapshot.consumption_heard_ms == 1_001_000
    rig.tick(2)
    assert rig.snapshot.consumption_heard_ms == 1_002_000
    rig.wish.put("consumption_beats", 0.0)
    assert rig.tick(4).consumption_age_s == 2


def test_controller_that_is_down_hears_it_when_it_is_back() -> None:
    rig = Rig()
    rig.wish.put("reserve_pct", 50.0)
    rig.tick(0, down=True)
    assert rig.order("reserve") is None
    rig.tick(1)
    assert rig.order("reserve") is not None


def test_every_signal_of_the_utility_is_a_wish() -> None:
    assert {f"utility.{name}" for name in (*VALUES, *STATEMENTS)} == {n for n in INPUTS if n.startswith("utility.")}
    assert {f"utility.{name}" for name in VALUES} == SILENT
    wish = Wish()
    for name in VALUES:
        wish.put(name, 3.0)
        assert getattr(wish, name) == 3.0
    for name, field in STATEMENTS.items():
        wish.put(name, 1.0)
        assert getattr(wish, field) is True
    with pytest.raises(KeyError):
        wish.put("power", 1.0)


def test_reactive_set_point_goes_through_the_sites_own_door() -> None:
    site = rich_site()
    bench = Model(site, Plant(plant_spec(site), start_s=BEGUN_S))
    bench.utility.wish.put("reactive_var", -1500.0)
    bench.run(BEGUN_S + 3)
    order = next(order for order in bench.board.freeze("").orders if order.kind == "reactive")
    assert (order.reactive_var, bench.utility.reactive_var) == (-1500, -1500)
    bench.utility.wish.put("reactive_var", None)
    bench.run(BEGUN_S + 6)
    assert not [order for order in bench.board.freeze("").orders if order.kind == "reactive"]
    assert bench.utility.reactive_var is None


# In a scenario


def written(folder: Path, body: str) -> Path:
    """Write a scenario on the rich site beside the site's own file."""
    (folder / "rich.toml").write_text(toml(plain(rich_site())))
    path = folder / "story.toml"
    path.write_text(f'id = "story"\ntitle = "a story"\nsite = "rich.toml"\n{body}')
    return path


STORY = """length_s = 60
[plant.pack1]
soc = 0.62
[plant.pack2]
soc = 0.58
[[stimulus]]
set = "load_w"
points = [[0, 3000]]
[[stimulus]]
set = "load_a_w"
points = [[20, 4000]]
[[stimulus]]
set = "utility.set_w"
points = [[0, 6000]]
[[stimulus]]
set = "utility.reactive_var"
points = [[0, 2000]]
[[stimulus]]
set = "utility.envelope_export_w"
points = [[0, 8000], [12, 1000], [20, 8000]]
[[stimulus]]
set = "inputs.0"
points = [[45, 0]]
[[step]]
at_s = 8
always = "abs(inverter1.ac_w + inverter2.ac_w - 6000) < 150"
for_s = 3
[[step]]
always = "abs(inverter1.reactive_var + inverter2.reactive_var - 2000) < 100 and pack1.pack_a > pack2.pack_a"
for_s = 1
[[step]]
at_s = 15
always = "poi_w <= 1000 and decided.high_rule == 'envelope'"
for_s = 4
[[step]]
at_s = 25
always = "phase_a_w < phase_b_w - 3500 and decided.phase_one == 'run' and inputs.closed_0"
for_s = 3
[[step]]
at_s = 48
always = "abs(inverter1.ac_w) < 100 and abs(inverter2.ac_w) < 100 and not inputs.closed_0"
for_s = 5
[judge]
tested = ["emergency_stop", "envelope_export"]
"""


@pytest.mark.parametrize("mode", ["model", "lockstep"])
def test_rich_site_does_in_a_story_what_is_asked_of_it(tmp_path: Path, mode: str) -> None:
    scenario = load(written(tmp_path, STORY), known())
    outcome = play(scenario, site_of(scenario, tmp_path), tmp_path / mode, mode=mode)  # type: ignore[arg-type]
    assert outcome.wrong == ()
    assert outcome.held


def test_contact_that_opens_unseen_is_no_stop(tmp_path: Path) -> None:
    """The judge sees the contact itself: a module that tells it closed leaves the stop undone, and that is told."""
    fault = '[[fault]]\ndo = "wrong"\non = "inputs"\nat_s = 40\nwith = {value = 1.0}\n'
    text = STORY.replace(
        '[[step]]\nat_s = 48\nalways = "abs(inverter1.ac_w) < 100', '[[step]]\nat_s = 48\nnever = "t_s < 0'
    )
    scenario = load(written(tmp_path, text.replace("[judge]", f"{fault}[judge]")), known())
    outcome = play(scenario, site_of(scenario, tmp_path), tmp_path / "model", mode="model")
    assert not outcome.held
    assert any(text.startswith("emergency_stop:") for text in outcome.wrong)


@pytest.mark.parametrize(
    ("line", "path", "allowed"),
    [
        ('modes = ["real"]\n', "stimulus[0].set", "in lockstep and model mode"),
        ("", "", ""),
    ],
)
def test_board_is_out_of_reach_in_real_time(tmp_path: Path, line: str, path: str, allowed: str) -> None:
    body = f'length_s = 9\n{line}[[stimulus]]\nset = "utility.consumption_w"\npoints = [[0, 1]]\n'
    if not path:
        assert load(written(tmp_path, body), known()).stimulus
        return
    with pytest.raises(ScenarioError) as error:
        load(written(tmp_path, body), known())
    (problem,) = error.value.problems
    assert (problem.path, problem.allowed) == (path, allowed)


@pytest.mark.parametrize(
    "name", ["inputs.0", "inputs.7", "pack2.force_charge", "pack1.full_charge_wanted", "inverter2.isolation_kohm"]
)
def test_what_a_device_is_set_to_may_begin_late(tmp_path: Path, name: str) -> None:
    site = rich_site()
    assert name in inputs_of(site)
    plant = Plant(plant_spec(site), start_s=BEGUN_S)
    plant.set(name, inputs_of(site)[name][0])
    body = f'length_s = 9\n[[stimulus]]\nset = "{name}"\npoints = [[5, 1]]\n'
    assert load(written(tmp_path, body), known()).stimulus[0].set == name


@pytest.mark.parametrize("name", ["inputs.8", "pack1.0", "pack3.soc", "inverter1.soc"])
def test_what_no_device_has_cannot_be_set(tmp_path: Path, name: str) -> None:
    body = f'length_s = 9\n[[stimulus]]\nset = "{name}"\npoints = [[0, 1]]\n'
    with pytest.raises(ScenarioError):
        load(written(tmp_path, body), known())


def test_each_part_has_its_own_name_in_expressions() -> None:
    site = rich_site()
    plant = Plant(plant_spec(site, {"pack1": {"soc": 0.7}, "pack2": {"soc": 0.3}}), start_s=BEGUN_S)
    plant.set("inputs.3", 0)
    plant.asked = Asked(reserve_pct=60.0)
    plant.advance(BEGUN_S + 1)
    view, known_names = View(plant.truth()), names(site)
    for text in (
        "pack1.soc > 0.6 and pack2.soc < 0.4",
        "inputs.closed_0 and not inputs.closed_3",
        "asked.reserve_pct == 60 and not (asked.consumption_w > 0)",
        "abs(phase_a_w + phase_b_w + phase_c_w - poi_w) < 1 and phase_a_a < 1",
        "inverter1.connected and inverter1.isolation_kohm == 2000 and inverter2.command_var == 0",
    ):
        assert compiled(text, known_names).holds(view) is ("not (asked" not in text), text
    with pytest.raises(ExpressionError):
        compiled("inputs.closed_8", known_names)
    with pytest.raises((ExpressionError, SiteError)):
        compiled("pack3.soc > 0", known_names)
