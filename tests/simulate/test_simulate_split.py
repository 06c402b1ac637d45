"""Split stages in the simulator: against the plain driver, and what holds in every record."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_checks import check_conservation, check_workers
from simulated_runs import as_arrivals, names, same
from split_driver import drive_split

from fleet_tables import Pipeline, Stage, make_table, tables, traffic
from penstock.errors import BadInputError
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.rule_numbers import RULES
from penstock.simulate.every_policy import simulate_policy
from penstock.simulate.routed.routed_simulator import simulate
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.processes.renewal import poisson


def busy_split_table():
    """Twelve workers in two stages over four hosts: a batch of 6 in 3 pieces, then in 2."""
    first = Stage([100, 180, 260, 340, 420, 500], [0, 0, 1, 1, 2, 2], (), [150, 260, 380, 480, 600, 700])
    last = Stage(
        [50, 60, 70, 80, 90, 100], [0, 1, 2, 3, 3, 3], [5, 10, 15, 20, 25, 30], [70, 80, 90, 110, 130, 140]
    )
    return make_table([(2_000, [Pipeline(6, [first, last])])])._replace(stage_pieces=np.array([3, 2]))


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_compiled_loop_equals_plain_driver(rule, data):
    """With noise too, so that corrections by completions are compared."""
    table = data.draw(tables(noisy=True, shared=data.draw(st.booleans()), split=True))
    arrivals = as_arrivals(data.draw(traffic(table.n_models)))
    costs = {"dispatch_us": data.draw(st.integers(0, 5)), "overhead_us": data.draw(st.integers(0, 5))}
    options = {"model_names": names(table), "seed": 7, "noise": data.draw(st.booleans()), **costs}
    if not table.splits:
        return
    driven = drive_split(ReservationPolicy(table, rule=rule, **costs), table, arrivals, **options)
    assert same(simulate(table, arrivals, policy=rule, **options), driven)
    check_conservation(driven, len(arrivals))
    check_workers(driven)


@pytest.mark.parametrize("noise", [False, True])
def test_a_long_run(noise: bool):
    table = busy_split_table()
    arrivals = draw_arrivals(poisson, [15_000.0], 1.0, np.random.default_rng(5))
    record = simulate(table, arrivals, model_names=["m"], seed=3, noise=noise)
    check_conservation(record, len(arrivals))
    check_workers(record)
    batches = record.batches
    asked = np.bincount(record.requests.batch[record.requests.batch >= 0])
    for stage, most in ((0, 2), (1, 3)):
        own = batches.stage == stage
        assert batches.size[own].max() == most
        assert np.bincount(batches.batch[own], weights=batches.size[own]).tolist() == asked.tolist()
    driven = drive_split(
        ReservationPolicy(table, rule="penstock"), table, arrivals, model_names=["m"], seed=3, noise=noise
    )
    assert same(record, driven)


def test_without_noise_nothing_that_is_dispatched_is_late():
    table = busy_split_table()
    arrivals = draw_arrivals(poisson, [90_000.0], 0.1, np.random.default_rng(6))
    record = simulate(table._replace(p99_us=table.latency_us), arrivals, model_names=["m"], seed=0)
    late = (record.requests.finish_us > record.requests.deadline_us).sum()
    assert late == 0
    assert (record.requests.finish_us >= 0).any()
    assert (record.requests.finish_us < 0).any()


def test_reactive_refuses():
    with pytest.raises(BadInputError, match="the reactive policy gives each batch to one worker of a stage"):
        simulate_policy(
            busy_split_table(),
            Arrivals(np.zeros(1, np.int64), np.zeros(1, np.int64), None),
            model_names=["m"],
            seed=0,
            noise=False,
            dispatch_us=0,
            overhead_us=0,
            policy="reactive",
        )
