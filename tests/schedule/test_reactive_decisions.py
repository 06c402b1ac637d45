"""The reactive policy's kernels, decision by decision; every number is worked out in the test."""

from __future__ import annotations

import numpy as np
import pytest

from fleet_tables import Pipeline, Stage, make_table
from penstock.errors import BadInputError
from penstock.schedule.mechanism.queue_kernels import push
from penstock.schedule.rules.reactive import make_reactive_facts
from penstock.schedule.rules.reactive_kernels import (
    DROP_DEADLINE,
    DROP_EARLY,
    WAIT,
    choose_pipeline,
    choose_site,
    step,
)
from penstock.schedule.state.arrays import make_queues
from penstock.units import NEVER_US

TABLE = make_table([(100, [Pipeline(2, [Stage([10, 12], [0]), Stage([5, 6], [1], [3, 4])])])])


def decide(deadlines_us, *, now_us=0, stage=0, idle=1):
    queues = make_queues(2, 8)
    for request, deadline_us in enumerate(deadlines_us):
        push(queues, now_us, stage, request, deadline_us)
    size = step(make_reactive_facts(TABLE), queues, stage, stage, idle, now_us)
    return size, int(queues.wake_us[stage])


def test_what_must_remain_is_the_later_stages_at_their_planned_batches():
    """After stage 0: transfer 4 and 6 of a batch of 2. After stage 1: nothing."""
    assert make_reactive_facts(TABLE).later_us.tolist() == [10, 0]


def test_costs_and_spread_are_kept_free():
    """p99 exceeds the median by 3 and 4: 5 in quadrature over both stages, 4 over the last; dispatch 2, overhead 1."""
    spread = TABLE._replace(p99_us=TABLE.latency_us + np.array([[3], [4]]))
    facts = make_reactive_facts(spread, dispatch_us=2, overhead_us=1)
    assert facts.later_us.tolist() == [4 + 6 + 2 + 5 + 2 + 1, 4 + 2 + 1]


@pytest.mark.parametrize(
    ("deadlines_us", "size"),
    [
        ([22, 22], 2),  # 12 + 10 just fits
        ([21, 50], DROP_EARLY),  # alone it would make it, but the pool would lose its rate
        ([19, 50], DROP_DEADLINE),
        ([20], 1),  # one more would be late, so it goes alone: 10 + 10
        ([19], DROP_DEADLINE),
    ],
)
def test_batch_by_the_slack_of_the_head(deadlines_us, size):
    assert decide(deadlines_us)[0] == size


def test_a_short_queue_waits_until_one_more_would_be_late():
    assert decide([50], now_us=5) == (WAIT, 50 - 10 - 12)


def test_without_an_idle_worker_or_a_request_only_an_event_helps():
    assert decide([50], idle=0) == (WAIT, NEVER_US)
    assert decide([]) == (WAIT, NEVER_US)


def test_requests_are_split_by_the_pipelines_rates():
    """Rates 2 and 1 (twice the workers): of six requests four go to the first."""
    pools = [Pipeline(1, [Stage([10], [0, 1])]), Pipeline(1, [Stage([10], [2])])]
    facts = make_reactive_facts(make_table([(100, pools)]))
    sent = np.zeros(2, np.int64)
    for _ in range(6):
        sent[choose_pipeline(facts, sent, 0)] += 1
    assert sent.tolist() == [4, 2]


def test_the_site_with_the_least_load_a_worker_receives():
    load, workers = np.array([9, 3, 1, 2]), np.array([9, 2, 1, 2])
    assert choose_site(load, workers, 1, 4) == 2  # 3/2, 1/1, 2/2: the first of equals
    assert choose_site(load, workers, 3, 4) == 3


def test_a_negative_cost_is_refused():
    with pytest.raises(BadInputError, match="dispatch_us"):
        make_reactive_facts(TABLE, dispatch_us=-1)
