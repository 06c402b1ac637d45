"""What transfers between hosts take is learnt as what stages take is: by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fleet_tables import Pipeline, Stage, make_table
from penstock.errors import BadInputError
from penstock.schedule.journal import JournalingPolicy, replay
from penstock.schedule.routed_policy import ReservationPolicy

PLANNED_US = 6_400
SLO_US = 1_000_000


def table_of(hosts=(0, 1)):
    """Two stages of one worker each, 1 ms; the transfer takes :data:`PLANNED_US`."""
    first, second = hosts
    stages = [Stage([1_000], [first]), Stage([1_000], [second], [PLANNED_US])]
    return make_table([(SLO_US, [Pipeline(1, stages)])])


def policy_of(table=None, rule="penstock"):
    return ReservationPolicy(table_of() if table is None else table, rule=rule)


def sent(policy, number, now_us):
    """A batch of one request; its dispatch."""
    policy.arrive(now_us, 0, number, now_us + SLO_US)
    (dispatch,) = policy.decide(now_us).dispatches
    return dispatch


def run(policy, transfers_us, gap_us=100_000):
    """One batch after the other; the predicted starts of the second stage after that of the first ended."""
    waits = []
    for number, transfer_us in enumerate(transfers_us):
        now_us = number * gap_us
        dispatch = sent(policy, number, now_us)
        waits.append(dispatch.start_us[1] - dispatch.end_us[0])
        policy.complete(dispatch.end_us[0], dispatch.batch, 0)
        policy.transferred(now_us + 50_000, dispatch.batch, 1, transfer_us)
        policy.complete(now_us + 50_000, dispatch.batch, 1)
    return waits


def test_a_slow_link_moves_the_prediction_by_a_64th_of_the_difference():
    waits = run(policy_of(), [3 * PLANNED_US] * 3)
    # 6400; then 2/64 of the plan more; then 1/64 of what is left of the difference of two plans.
    assert waits == [PLANNED_US, PLANNED_US + 200, PLANNED_US + 200 + 196]


def test_a_link_that_stays_slow_is_predicted_as_it_is():
    waits = run(policy_of(), [3 * PLANNED_US] * 600)
    assert waits[-1] == pytest.approx(3 * PLANNED_US, rel=1e-3)


def test_a_link_that_recovers_is_predicted_as_planned_again():
    waits = run(policy_of(), [3 * PLANNED_US] * 300 + [PLANNED_US] * 1_000)
    assert waits[-1] == pytest.approx(PLANNED_US, rel=1e-3)


@pytest.mark.parametrize(("took_us", "counted"), [(0, 1), (PLANNED_US // 2, 1), (100 * PLANNED_US, 4)])
def test_a_transfer_counts_within_bounds(took_us, counted):
    waits = run(policy_of(), [took_us] * 900)
    assert waits[-1] == pytest.approx(counted * PLANNED_US, rel=1e-3)


def test_the_table_of_the_plan_stays_as_it_is():
    table = table_of()
    run(policy_of(table), [3 * PLANNED_US] * 10)
    assert table.transfer_us[1, 1] == PLANNED_US


def test_what_is_no_transfer_between_hosts_teaches_nothing():
    assert set(run(policy_of(table_of((0, 0))), [3 * PLANNED_US] * 5)) == {PLANNED_US}
    assert set(run(policy_of(rule="reservation"), [3 * PLANNED_US] * 5)) == {PLANNED_US}
    policy = policy_of()
    dispatch = sent(policy, 0, 0)
    policy.transferred(1, dispatch.batch, 0, 3 * PLANNED_US)  # the first stage
    policy.transferred(1, dispatch.batch + 1, 1, 3 * PLANNED_US)  # not in flight
    policy.complete(60_000, dispatch.batch, 1)
    policy.transferred(60_001, dispatch.batch, 1, 3 * PLANNED_US)  # over
    dispatch = sent(policy, 1, 100_000)
    assert dispatch.start_us[1] - dispatch.end_us[0] == PLANNED_US


def test_a_completion_that_overtakes_that_of_the_stage_before_teaches_too():
    policy = policy_of()
    dispatch = sent(policy, 0, 0)
    policy.transferred(50_000, dispatch.batch, 1, 3 * PLANNED_US)
    policy.complete(50_000, dispatch.batch, 1)
    dispatch = sent(policy, 1, 100_000)
    assert dispatch.start_us[1] - dispatch.end_us[0] == PLANNED_US + 200


def test_a_journal_with_transfers_gives_the_same_decisions():
    rng = np.random.default_rng(5)
    noting = JournalingPolicy(policy_of())
    waits = run(noting, rng.integers(0, 5 * PLANNED_US, 200).tolist())
    replayed = replay(policy_of(), noting.events)
    found = [one.dispatches[0] for one in replayed if one.dispatches]
    assert [one.start_us[1] - one.end_us[0] for one in found] == waits
    assert len(set(waits)) > 100


@pytest.mark.parametrize(
    "arguments", [(-1, 0, 1, 5), (0, -1, 1, 5), (0, 0, 2, 5), (0, 0, 1, -5), (0, 0, 1, 2**60)]
)
def test_what_cannot_be_is_refused(arguments):
    with pytest.raises(BadInputError):
        policy_of().transferred(*arguments)
