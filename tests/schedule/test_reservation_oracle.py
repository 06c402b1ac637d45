"""The policy against the same rule in plain Python, on random fleets and traffic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_tables import Pipeline, Stage, make_table, tables, traffic
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.rule_numbers import RULES
from plain_policy import PlainPolicy


def assert_same_decisions(table, rows, credit=None, **costs):
    policy, oracle = ReservationPolicy(table, **costs), PlainPolicy(table, **costs)
    if credit is not None:
        policy.state.reservations.credit[:] = oracle.credit = credit
    for request, (arrival_us, model, slo_us) in enumerate(rows):
        while (wake_us := oracle.decide(-1).wake_us) < arrival_us:
            assert policy.decide(wake_us) == oracle.decide(wake_us)
        for each in (policy, oracle):
            each.arrive(arrival_us, model, request, arrival_us + slo_us)
        assert policy.decide(arrival_us) == oracle.decide(arrival_us)
    while (wake_us := oracle.decide(-1).wake_us) < 10**9:
        assert policy.decide(wake_us) == oracle.decide(wake_us)
    if (
        len(policy.state.facts.lender_pool) and costs["rule"] == "penstock"
    ):  # a fleet without lenders keeps no credit
        assert policy.state.reservations.credit.tolist() == oracle.credit


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_policy_equals_its_description(rule, data):
    table = data.draw(tables(noisy=True, shared=data.draw(st.booleans())))
    rows = data.draw(traffic(table.n_models))
    costs = {"dispatch_us": data.draw(st.integers(0, 5)), "overhead_us": data.draw(st.integers(0, 5))}
    delay_us = data.draw(st.none() | st.integers(0, 40))
    assert_same_decisions(table, rows, rule=rule, max_queue_delay_us=delay_us, **costs)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_lent_workers_equal_their_description(data):
    table = data.draw(tables(noisy=True, lent=True))
    rows = data.draw(traffic(table.n_models))
    credit = [data.draw(st.integers(-150, 400)) for _ in range(table.n_models)]
    assert_same_decisions(
        table, rows, credit=credit, rule="penstock", dispatch_us=data.draw(st.integers(0, 5))
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_bursts_borrow_as_described(seed):
    """Three models, whose bursts and pauses move their credit up and down; pools of one worker lend too."""
    rng = np.random.default_rng(seed)
    slo_us = rng.integers(60, 301, 3).tolist()
    hosts = [list(range(workers)) for workers in rng.integers(1, 4, 3)]
    two = [Stage([20, 24], hosts[0]), Stage([15, 20], hosts[0], [2, 3])]
    last = [Pipeline(2, [Stage([20, 24], hosts[1])]), Pipeline(4, [Stage([20, 24, 28, 32], hosts[2])])]
    pipelines = [Pipeline(1, two), *last]
    table = make_table([(slo, [one]) for slo, one in zip(slo_us, pipelines, strict=True)])
    table = table._replace(lend_group=np.array([0, 1, 0, 0]))
    rows, now_us = [], 0
    for _ in range(14):
        model = int(rng.integers(3))
        for gap_us in rng.integers(0, 14, int(rng.integers(2, 16))):
            now_us += int(gap_us)
            rows.append((now_us, model, slo_us[model]))
        now_us += int(rng.integers(0, 250))
    credit = rng.integers(-120, 401, 3).tolist()
    assert_same_decisions(table, rows, credit=credit, rule="penstock")


@settings(max_examples=15, deadline=None)
@given(st.integers(15, 40), st.integers(0, 2**32 - 1))
def test_large_pools_are_looked_at_in_places(workers, seed):
    table = make_table([(900, [Pipeline(4, [Stage([30, 50, 60, 80], list(range(workers)))])])])
    rng = np.random.default_rng(seed)
    arrival_us = np.cumsum(rng.integers(0, 6, 120))
    rows = [(int(time_us), 0, int(rng.integers(60, 300))) for time_us in arrival_us]
    assert_same_decisions(table, rows, rule="penstock")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(2, 6), min_size=4, max_size=12), st.integers(5, 60), st.integers(0, 2**32 - 1))
def test_pools_whose_downlinks_are_promised(hosts, transfer_us, seed):
    # Two models send to pools on the same hosts: the worker that is free first is often hard to reach.
    first = Stage([3], [0, 1])
    pools = [Stage([40], hosts, [transfer_us]), Stage([30], hosts[::-1], [transfer_us + 3])]
    table = make_table([(400, [Pipeline(1, [first, pool])]) for pool in pools])
    _, dense = np.unique(table.worker_host, return_inverse=True)
    rng = np.random.default_rng(seed)
    arrival_us = np.cumsum(rng.integers(0, 8, 40))
    rows = [(int(time_us), int(rng.integers(2)), int(rng.integers(50, 400))) for time_us in arrival_us]
    assert_same_decisions(table._replace(worker_host=dense.astype(np.int64)), rows)


def test_a_worker_behind_a_promised_downlink_yields_to_the_next():
    other = Pipeline(1, [Stage([10], [0]), Stage([50], [2], [20])])
    asked = Pipeline(1, [Stage([10], [1]), Stage([50], [2, 3], [5])])
    policy = ReservationPolicy(make_table([(100, [other]), (100, [asked])]))
    for model in (0, 1):
        policy.arrive(0, model, model, 100)
    # Both second workers are idle, that on host 2 first by rank, but its downlink is promised from 10 to 30.
    assert [d.end_us for d in policy.decide(0).dispatches] == [(10, 80), (10, 65)]
