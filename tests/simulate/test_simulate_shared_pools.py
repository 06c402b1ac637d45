"""A plan with shared pools in the simulator: the driver agrees, workers are the placement's, the rest is refused."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_runs import as_arrivals, same

from penstock.errors import BadInputError
from penstock.plan.dispatch import dispatch_table
from penstock.plan.shared_pools import with_shared_pools
from penstock.schedule.journal import JournalingPolicy, replay
from penstock.schedule.reservation import ReservationPolicy
from penstock.schedule.rules import RULES
from penstock.simulate.driver import drive
from penstock.simulate.published.load_factors import Experiment, load_factors
from penstock.simulate.published.simulator import simulate_published
from penstock.simulate.simulator import simulate
from penstock.simulate.stagewise import simulate_stagewise
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.renewal import poisson
from shared_plans import two_models

NAMES = {"model_names": ["m", "n"], "seed": 0}


@pytest.fixture(scope="module")
def shared():
    plan, profiles = two_models()
    return with_shared_pools(plan, profiles), profiles


@pytest.mark.parametrize("rule", RULES)
def test_the_compiled_loop_the_driver_and_a_journal_agree(shared, rule):
    plan, profiles = shared
    table = dispatch_table(plan, profiles)
    arrivals = draw_arrivals(poisson, [350.0, 60.0], 2.0, np.random.default_rng(4))
    journal = JournalingPolicy(ReservationPolicy(table, rule=rule))
    driven = drive(journal, table, arrivals, **NAMES)
    assert same(simulate(table, arrivals, policy=rule, **NAMES), driven)
    decisions = replay(ReservationPolicy(table, rule=rule), journal.events)
    workers = [worker for d in decisions for dispatch in d.dispatches for worker in dispatch.workers]
    assert workers == driven.batches.worker.tolist()


def test_a_model_takes_the_other_models_workers_and_they_are_numbered_as_placed(shared):
    """Four requests of "m" at once: two workers on "a" are planned for it, and with "n" idle it has all four."""
    plan, profiles = shared
    arrivals = as_arrivals([(0, 0, 30_000)] * 4)
    own = simulate(dispatch_table(two_models()[0], profiles), arrivals, **NAMES)
    record = simulate(dispatch_table(plan, profiles), arrivals, **NAMES)
    assert (own.requests.finish_us >= 0).sum() == 2
    assert (record.requests.finish_us < 25_000).all()
    first = record.batches.worker[record.batches.stage == 0]
    assert {plan.placement[worker].model for worker in first} == {"m", "n"}
    classes = [plan.placement[worker].device_class for worker in record.batches.worker]
    assert classes == ["ab"[stage] for stage in record.batches.stage]


def test_simulators_that_know_no_shared_pools_refuse_them(shared):
    plan, profiles = shared
    table = dispatch_table(plan, profiles)
    arrivals = Arrivals(np.zeros(1, np.int64), np.zeros(1, np.int64))
    with pytest.raises(BadInputError, match="reactive policy has a queue for each stage"):
        simulate_stagewise(table, arrivals, **NAMES)
    with pytest.raises(BadInputError, match="published mode serves each model alone"):
        simulate_published(plan, table, arrivals)
    with pytest.raises(BadInputError, match="published mode serves each model alone"):
        load_factors(plan, table, [1.0, 1.0], Experiment())
