"""A plan with shared pools in the simulator: the driver agrees, workers are the placement's, the rest is refused."""

from __future__ import annotations

import numpy as np
import pytest
from plain_driver import drive
from simulated_runs import as_arrivals, same

from penstock.errors import BadInputError
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.shared_pools import with_shared_pools
from penstock.ppipe.simulator.load_factors import Experiment, load_factors
from penstock.ppipe.simulator.published import simulate_published
from penstock.record import Outcome
from penstock.schedule.journal import JournalingPolicy, replay
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.rule_numbers import RULES
from penstock.simulate.routed.routed_simulator import simulate
from penstock.simulate.stagewise.stagewise_simulator import simulate_stagewise
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.processes.renewal import poisson
from shared_plans import two_models

NAMES = {"model_names": ["m", "n"], "seed": 0}


@pytest.fixture(scope="module")
def shared():
    plan, profiles = two_models()
    return with_shared_pools(plan, profiles), profiles


@pytest.fixture(scope="module")
def lent():
    plan, profiles = two_models()
    return with_shared_pools(plan, profiles, lent=True), profiles


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("pools", ["shared", "lent"])
def test_the_compiled_loop_the_driver_and_a_journal_agree(pools, rule, request):
    plan, profiles = request.getfixturevalue(pools)
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


def met_of(table, arrivals, model):
    requests = simulate(table, arrivals, **NAMES).requests
    return int(((requests.model == model) & (requests.outcome == Outcome.MET)).sum())


def test_a_model_borrows_what_the_other_can_spare(lent):
    """Four requests of "m" at once: its two workers take two, and "n" lends one of two, since it has no credit yet."""
    plan, profiles = lent
    table = dispatch_table(plan, profiles)
    assert met_of(table, as_arrivals([(0, 0, 30_000)] * 4), 0) == 3
    # Other rules lend nothing.
    record = simulate(table, as_arrivals([(0, 0, 30_000)] * 4), policy="reservation", **NAMES)
    assert (record.requests.outcome == Outcome.MET).sum() == 2


def test_a_model_in_debt_lends_nothing_and_one_with_credit_lends_more(lent):
    plan, profiles = lent
    table = dispatch_table(plan, profiles)
    four = [(2_000_000, 0, 30_000)] * 4
    # "n" dispatches three of four, and drops one: that is more than its 1%.
    assert met_of(table, as_arrivals([(0, 1, 25_000)] * 4 + four), 0) == 2
    # 300 requests of "n", one at a time: with that credit it spares 3 / 8 of the 5 ms that its SLO leaves, but a
    # worker of "m" would be missed for 10 ms. Credit of a longer SLO lends both.
    alone = [(6_000 * k, 1, 25_000) for k in range(300)]
    assert met_of(table, as_arrivals(alone + four), 0) == 3
    patient = table._replace(slo_us=np.array([30_000, 80_000]))
    assert met_of(patient, as_arrivals([(when, 1, 80_000) for when, _, _ in alone] + four), 0) == 4


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
