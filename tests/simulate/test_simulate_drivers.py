"""The compiled loop equals the plain driver, with the policy object and with the plain policy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_driver import drive
from simulated_runs import as_arrivals, busy_table, names, same

from fleet_tables import tables, traffic
from penstock.schedule.journal import JournalingPolicy, replay
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.rule_numbers import RULES
from penstock.simulate.every_policy import simulate_policy
from penstock.simulate.routed import event_loop
from penstock.simulate.routed.routed_simulator import simulate
from penstock.simulate.stagewise import pool_loop
from penstock.traffic.arrivals import draw_arrivals
from penstock.traffic.processes.renewal import poisson
from plain_policy import PlainPolicy

RULES_GIVEN = pytest.mark.parametrize("rule", RULES)


@RULES_GIVEN
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_compiled_loop_equals_plain_driver(rule, data):
    """With noise too, so that corrections by completions are compared."""
    table = data.draw(tables(noisy=True, shared=data.draw(st.booleans())))
    arrivals = as_arrivals(data.draw(traffic(table.n_models)))
    costs = {"dispatch_us": data.draw(st.integers(0, 5)), "overhead_us": data.draw(st.integers(0, 5))}
    options = {"model_names": names(table), "seed": 7, "noise": data.draw(st.booleans()), **costs}
    driven = drive(ReservationPolicy(table, rule=rule, **costs), table, arrivals, **options)
    assert same(simulate(table, arrivals, policy=rule, **options), driven)
    check_record(table, driven)


def check_record(table, record):
    """Every request is answered once, and no worker serves two batches at a time."""
    assert (record.requests.outcome >= 0).all()
    batches = record.batches
    sizes = dict(zip(batches.batch.tolist(), batches.size.tolist(), strict=True))
    assert sum(sizes.values()) == int((record.requests.batch >= 0).sum())
    for worker in range(table.n_workers):
        own = batches.worker == worker
        order = np.argsort(batches.start_us[own], kind="stable")
        starts, ends = batches.start_us[own][order], batches.end_us[own][order]
        assert (ends[:-1] <= starts[1:]).all()


@RULES_GIVEN
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_compiled_loop_equals_the_description(rule, data):
    """Neither the driver nor the policy of the other side is ours; without noise there is nothing to correct."""
    table = data.draw(tables(noisy=True, shared=data.draw(st.booleans())))
    arrivals = as_arrivals(data.draw(traffic(table.n_models)))
    options = {"model_names": names(table), "seed": 7}
    driven = drive(PlainPolicy(table, rule=rule), table, arrivals, **options)
    assert same(simulate(table, arrivals, policy=rule, **options), driven)


def test_long_noisy_run_outgrows_every_array_and_still_agrees():
    table = busy_table()
    arrivals = draw_arrivals(poisson, [4_000.0, 2_500.0], 1.0, np.random.default_rng(11))
    slow = table._replace(slo_us=np.array([900_000, 900_000]))
    options = {"model_names": ["a", "b"], "seed": 3, "noise": True}
    driven = drive(ReservationPolicy(slow), slow, arrivals, **options)
    assert same(simulate(slow, arrivals, policy="reservation", **options), driven)
    assert len(driven.batches.batch) > 2048


@pytest.mark.parametrize("policy", [*RULES, "reactive"])
def test_a_table_whose_arrays_lie_otherwise_in_memory_gives_the_same_record(policy):
    """Kernels take contiguous arrays; without a copy they would be compiled anew for this table."""
    table = busy_table()._replace(slo_us=np.array([90_000, 90_000]))
    turned = table._replace(
        **{name: np.asfortranarray(getattr(table, name)) for name in ("latency_us", "p99_us", "transfer_us")},
        worker_host=table.worker_host[::-1].copy()[::-1],
    )
    arrivals = draw_arrivals(poisson, [2_000.0, 1_200.0], 0.2, np.random.default_rng(5))
    costs = {"dispatch_us": 5, "overhead_us": 7}
    options = {"model_names": ["a", "b"], "seed": 3, "noise": True, "policy": policy, **costs}
    expected = simulate_policy(table, arrivals, **options)
    compiled = signatures()
    assert same(simulate_policy(turned, arrivals, **options), expected)
    assert signatures() == compiled


def signatures():
    """For how many types of arguments each loop is compiled."""
    return [len(getattr(loop.run, "signatures", ())) for loop in (event_loop, pool_loop)]


@RULES_GIVEN
def test_journal_of_a_noisy_run_replays_into_the_same_decisions(rule):
    table = busy_table()
    arrivals = draw_arrivals(poisson, [3_000.0, 1_500.0], 0.3, np.random.default_rng(2))
    journal = JournalingPolicy(ReservationPolicy(table, rule=rule))
    record = drive(journal, table, arrivals, model_names=["a", "b"], seed=3, noise=True)
    decisions = replay(ReservationPolicy(table, rule=rule), journal.events)
    workers = [worker for d in decisions for dispatch in d.dispatches for worker in dispatch.workers]
    assert workers == record.batches.worker.tolist()
