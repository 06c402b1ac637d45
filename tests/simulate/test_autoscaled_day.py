"""A day with a fleet that follows the load: what is asked for, paid and served when, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_runs import as_arrivals, busy_table, names

from fleet_tables import Pipeline, Stage, make_table
from penstock.errors import BadInputError
from penstock.plan.autoscale.rungs import Rung
from penstock.plan.autoscale.scaler import ScalingRules
from penstock.record import Outcome
from penstock.simulate.autoscaled.day import HowServed, ServedRung, serve_day
from penstock.simulate.autoscaled.timeline import (
    Change,
    Fleet,
    Spell,
    static_timeline,
    timeline,
    window_loads,
)
from penstock.simulate.routed.routed_simulator import simulate
from penstock.traffic.arrivals import Arrivals

RUNGS = [Rung(1.0, {"T4": 1}, 3.6), Rung(2.0, {"T4": 2}, 7.2)]
RULES = ScalingRules(node_s=120, load_s=30, every_s=60, calm_s=120, safety=1.0)
HOW = HowServed("reservation", noise=False)


class LastWindow:
    """Expects what was measured last."""

    def observe(self, now_s, factor):
        self.factor = factor

    def peak(self, now_s, ahead_s):
        return self.factor


def test_a_rise_is_served_after_the_node_has_come_and_loaded_and_paid_from_the_asking():
    """The load of minute 2 is known at 180 s: asked then, there at 300 s, loaded at 330 s. The last load above 1 is
    known at 300 s, so the calm ends at 480 s; the plan before serves at 510 s, and the device goes at 540 s."""
    loads = np.array([1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    found = timeline(RUNGS, {"T4": 3.6}, RULES, LastWindow(), loads)
    assert found.spells == (Spell(0, 0.0, 330.0), Spell(1, 330.0, 510.0), Spell(0, 510.0, 600.0))
    assert found.changes == (Change(180.0, "T4", 1), Change(540.0, "T4", -1))
    device_minutes = 3 * 1 + 6 * 2 + 1 * 1
    assert found.cost == pytest.approx(device_minutes * 60 * 3.6 / 3600)


def test_a_static_plan_is_paid_all_day():
    assert static_timeline(RUNGS, 1, 7_200.0).cost == pytest.approx(2 * 7.2)


def test_what_has_not_come_yet_is_given_back_first():
    fleet = Fleet({"T4": 2}, [(50.0, "T4", 1), (60.0, "T4", 2)])
    assert fleet.change_to({"T4": 3}, 10.0, 100.0) == [Change(10.0, "T4", -2)]
    assert fleet.coming == [(50.0, "T4", 1)]
    fleet.arrive(50.0)
    assert (fleet.there, fleet.coming) == ({"T4": 3}, [])
    assert fleet.change_to({}, 60.0, 100.0) == [Change(60.0, "T4", -3)]
    assert fleet.paid("T4") == 0


def test_the_load_of_a_window_is_that_of_the_model_that_has_most():
    arrivals = as_arrivals([(0, 0, 1), (1, 1, 1), (500_000, 1, 1), (1_000_000, 0, 1), (9_000_000, 0, 1)])
    assert window_loads(arrivals, [1.0, 4.0], 1.0, 2.0).tolist() == [1.0, 2.0]


def test_one_spell_serves_as_the_simulator_does():
    table = busy_table()
    rng = np.random.default_rng(3)
    at_us = np.sort(rng.integers(0, 2_000_000, 4_000))
    arrivals = Arrivals(at_us, rng.integers(0, 2, 4_000))
    whole = simulate(table, arrivals, model_names=names(table), seed=0, policy="reservation")
    devices = tuple(f"T4:{worker}" for worker in range(table.n_workers))
    found = serve_day([ServedRung(table, devices)], [Spell(0, 0.0, 2.0)], arrivals, names(table), HOW)
    assert int(found.came.sum()) == 4_000
    assert int(found.met.sum()) == int((whole.requests.outcome == Outcome.MET).sum()) < 4_000


@pytest.mark.parametrize(("device", "met"), [("T4:0", 1), ("T4:1", 2)])
def test_a_device_of_the_plan_before_serves_once_that_has_drained(device, met):
    """A batch of 100 ms begins 10 ms before the switch. A request that comes 10 ms after it has 150 ms: that is
    enough on another device, and too little on this one."""
    table = make_table([(150_000, [Pipeline(1, [Stage([100_000], [0])])])])
    rungs = [ServedRung(table, ("T4:0",)), ServedRung(table, (device,))]
    arrivals = Arrivals(np.array([990_000, 1_010_000]), np.zeros(2, np.int64))
    found = serve_day(rungs, [Spell(0, 0.0, 1.0), Spell(1, 1.0, 2.0)], arrivals, ["m0"], HOW)
    assert (int(found.came.sum()), int(found.met.sum())) == (2, met)


def test_attainment_is_counted_by_hour():
    table = make_table([(150_000, [Pipeline(1, [Stage([100_000], [0])])])])
    # In the second hour three come at once, and one of them can be met.
    at_us = np.array([1_000_000, 3_700_000_000, 3_700_000_000, 3_700_000_000])
    spells = [Spell(0, 0.0, 7_200.0)]
    found = serve_day(
        [ServedRung(table, ("T4:0",))], spells, Arrivals(at_us, np.zeros(4, np.int64)), ["m0"], HOW
    )
    assert (found.came[:, 0].tolist(), found.met[:, 0].tolist()) == ([1, 3], [1, 1])
    assert (found.attainment, found.worst_hour) == (0.5, pytest.approx(1 / 3))


def test_a_worker_begins_when_it_is_free():
    table = make_table([(150_000, [Pipeline(1, [Stage([100_000], [0])])])])
    arrivals = Arrivals(np.zeros(1, np.int64), np.zeros(1, np.int64))
    run = {"model_names": ["m0"], "seed": 0, "policy": "reservation"}
    record = simulate(table, arrivals, free_us=np.array([40_000]), **run)
    assert record.batches.start_us.tolist() == [40_000]
    late = simulate(table, arrivals, free_us=np.array([60_000]), **run)
    assert late.requests.outcome.tolist() == [Outcome.DROPPED_EARLY]
    with pytest.raises(BadInputError, match="give one for each of 1 workers"):
        simulate(table, arrivals, free_us=np.zeros(2, np.int64), **run)
    with pytest.raises(BadInputError, match="free_us"):
        simulate(table, arrivals, free_us=np.array([-1]), **run)
