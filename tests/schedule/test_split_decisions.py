"""Split stages: routes by hand, and the policies against the same rules in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_tables import Pipeline, Stage, make_table, tables, traffic
from penstock.errors import BadInputError
from penstock.schedule.pieces import steps
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.rule_numbers import RULES
from penstock.schedule.rules.reactive import make_reactive_facts
from plain_policy import PlainPolicy
from plain_split_policy import PlainSplitPolicy


def two_stages(pieces):
    """Three workers on hosts 0 to 2, then two on hosts 0 and 3. A batch of 4; 2 us for each request that is sent."""
    first, last = Stage([20, 30, 40, 50], [0, 1, 2]), Stage([5, 6, 7, 8], [0, 3], [2, 4, 6, 8])
    table = make_table([(200, [Pipeline(4, [first, last])])])
    return table._replace(stage_pieces=np.array(pieces))


def dispatched(table, requests=4, **settings):
    policy = ReservationPolicy(table, **settings)
    for request in range(requests):
        policy.arrive(0, 0, request, 200)
    decision = policy.decide(0)
    return policy, decision.dispatches[0]


def test_two_pieces_are_gathered():
    _, dispatch = dispatched(two_stages([2, 1]))
    # Both halves take 30. On host 0 one half is there already, and the other comes over the link, 4 us.
    assert dispatch.pieces == (2, 1)
    assert [(s.stage, s.piece, s.worker, s.begin, s.end, s.start_us, s.end_us) for s in steps(dispatch)] == [
        (0, 0, 0, 0, 2, 0, 30),
        (0, 1, 1, 2, 4, 0, 30),
        (1, 0, 3, 0, 4, 34, 42),
    ]


def test_one_batch_is_divided():
    policy, dispatch = dispatched(two_stages([1, 2]))
    # Worker 0 needs 50. A half stays on its host, 4 us all the same; the other goes to host 3, 4 us too.
    assert dispatch.workers == (0, 3, 4)
    assert dispatch.start_us == (0, 54, 54)
    assert dispatch.end_us == (50, 60, 60)
    assert policy.state.reservations.worker_free_us.tolist() == [50, 0, 0, 60, 60]


def test_a_small_batch_has_fewer_pieces():
    _, dispatch = dispatched(two_stages([2, 1]), requests=2, rule="penstock")
    assert dispatch.pieces == (1, 1)
    assert len(dispatch.workers) == 2


def test_three_requests_in_two_pieces():
    _, dispatch = dispatched(two_stages([2, 1]), requests=3, rule="penstock")
    assert [(s.begin, s.end) for s in steps(dispatch)] == [(0, 2), (2, 3), (0, 3)]
    # Halves of 2 and 1: 30 and 20; the second's request is there at 22, so the first decides: its two stay on host 0.
    assert dispatch.start_us == (0, 0, 34)


def assert_same_decisions(policy, oracle, rows):
    for request, (arrival_us, model, slo_us) in enumerate(rows):
        while (wake_us := oracle.decide(-1).wake_us) < arrival_us:
            assert policy.decide(wake_us) == oracle.decide(wake_us)
        for each in (policy, oracle):
            each.arrive(arrival_us, model, request, arrival_us + slo_us)
        assert policy.decide(arrival_us) == oracle.decide(arrival_us)
    while (wake_us := oracle.decide(-1).wake_us) < 10**9:
        assert policy.decide(wake_us) == oracle.decide(wake_us)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_policy_equals_its_description(rule, data):
    table = data.draw(tables(noisy=True, shared=data.draw(st.booleans()), split=True))
    rows = data.draw(traffic(table.n_models))
    costs = {"dispatch_us": data.draw(st.integers(0, 5)), "overhead_us": data.draw(st.integers(0, 5))}
    costs["max_queue_delay_us"] = data.draw(st.none() | st.integers(0, 40))
    assert_same_decisions(
        ReservationPolicy(table, rule=rule, **costs), PlainSplitPolicy(table, rule=rule, **costs), rows
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_where_nothing_is_split_the_policy_is_that_of_whole_batches(data):
    """The code for split stages, with one piece everywhere, against the description of whole batches."""
    table = data.draw(tables(noisy=True))
    ones = np.ones(len(table.latency_us), np.int64)
    oracle = PlainPolicy(table, rule="penstock")
    policy = ReservationPolicy(table._replace(stage_pieces=ones), rule="penstock")
    for request, (arrival_us, model, slo_us) in enumerate(data.draw(traffic(table.n_models))):
        for each in (policy, oracle):
            each.arrive(arrival_us, model, request, arrival_us + slo_us)
        ours, theirs = policy.decide(arrival_us), oracle.decide(arrival_us)
        assert tuple(d._replace(pieces=()) for d in ours.dispatches) == theirs.dispatches
        assert (ours.drops, ours.wake_us) == (theirs.drops, theirs.wake_us)


def test_who_gives_whole_batches_refuses():
    with pytest.raises(BadInputError, match="the plan has split stages"):
        make_reactive_facts(two_stages([2, 1]))


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([0, 1], "must be from 1 to 4"),
        ([5, 1], "must be from 1 to 4"),
        ([3, 1], "fewer pieces of the same largest size"),
        ([2], "the other arrays need"),
    ],
)
def test_tables_that_cannot_be(pieces, message):
    with pytest.raises(BadInputError, match=message):
        ReservationPolicy(two_stages(pieces))
