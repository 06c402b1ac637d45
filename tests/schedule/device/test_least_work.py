"""Which device gets a request: by hand, and that nothing is left or lost in any order of events."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BadInputError
from penstock.record import Outcome
from penstock.schedule.device.least_work import LeastWorkPolicy
from penstock.schedule.table import DispatchTable
from penstock.units import NEVER_US


def ints(*values):
    return np.array(values, np.int64)


def two_classes(stage_offsets=(0, 1, 2, 3, 4)):
    """Models A (10 us on the fast class, 20 on the slow) and B (40, 80); workers 0 and 1 fast, 2 slow.

    Stages: A fast, A slow, B fast, B slow. The workers of a class are owned by A's stage, and its pool has both.
    """
    times = np.array([[0, 10], [0, 20], [0, 40], [0, 80]], np.int64)
    return DispatchTable(
        slo_us=ints(100, 400),
        pipeline_offsets=ints(0, 2, 4),
        stage_offsets=ints(*stage_offsets),
        worker_offsets=ints(0, 2, 3, 3, 3),
        pipeline_batch=ints(*[1] * (len(stage_offsets) - 1)),
        latency_us=times,
        p99_us=times,
        transfer_us=np.zeros_like(times),
        worker_host=ints(0, 0, 0),
        worker_device=ints(0, 1, 2),
        stage_pool=ints(0, 1, 0, 1),
    )


A, B = 0, 1


def sent(decision):
    return [(one.requests[0], one.workers[0], one.end_us[0]) for one in decision.dispatches]


def test_each_goes_where_it_would_end_first():
    policy = LeastWorkPolicy(two_classes())
    for request, model in enumerate([B, A, A, A, A]):
        policy.arrive(0, model, request, 1000)
    # B: 40 on worker 0. A: 10 on 1, then 20 on 1 (the slow one would take 20 too; lower number first),
    # then 20 on the slow 2 beats 30 on 1; then 30 on 1.
    assert sent(policy.decide(0)) == [(0, 0, 40), (1, 1, 10), (2, 1, 20), (3, 2, 20), (4, 1, 30)]


def test_done_and_abandoned_work_counts_no_more():
    policy = LeastWorkPolicy(two_classes())
    policy.arrive(0, B, 0, 1000)
    policy.arrive(0, B, 1, 1000)
    assert sent(policy.decide(0)) == [(0, 0, 40), (1, 1, 40)]
    policy.complete(50, 0, 0)
    policy.arrive(50, A, 2, 1000)
    assert sent(policy.decide(50)) == [(2, 0, 60)]
    policy.abandon(51, 1)
    policy.arrive(51, A, 3, 1000)
    assert sent(policy.decide(51)) == [(3, 1, 61)]


def test_without_a_worker_a_request_waits_until_its_deadline():
    policy = LeastWorkPolicy(two_classes())
    for worker in range(3):
        policy.worker_down(0, worker)
    policy.arrive(0, A, 0, 100)
    policy.arrive(0, A, 1, 200)
    policy.arrive(0, A, 2, 300)
    assert policy.decide(0) == ((), (), 101)
    assert policy.cancel(2)
    assert not policy.cancel(2)
    assert policy.decide(101) == ((), ((0, int(Outcome.DROPPED_DEADLINE)),), 201)
    policy.worker_up(150, 2)
    decision = policy.decide(150)
    assert sent(decision) == [(1, 2, 170)]
    assert decision.wake_us == NEVER_US


def test_a_worker_that_went_down_is_empty_when_it_is_back():
    policy = LeastWorkPolicy(two_classes())
    policy.arrive(0, B, 0, 1000)
    policy.decide(0)
    policy.worker_down(5, 0)
    policy.worker_up(6, 0)
    policy.complete(7, 0, 0)  # a report that was on its way
    policy.arrive(7, A, 1, 1000)
    assert sent(policy.decide(7)) == [(1, 0, 17)]


def test_refused():
    with pytest.raises(BadInputError, match="every pipeline"):
        LeastWorkPolicy(two_classes((0, 2, 4)))
    policy = LeastWorkPolicy(two_classes())
    for call in (
        lambda: policy.arrive(0, 2, 0, 1),
        lambda: policy.arrive(0, -1, 0, 1),
        lambda: policy.worker_down(0, 3),
        lambda: policy.worker_up(0, -1),
    ):
        with pytest.raises(BadInputError, match="must be one of"):
            call()
    policy.arrive(0, A, 0, 1)
    with pytest.raises(BadInputError, match="waits already"):
        policy.arrive(0, A, 0, 1)


EVENTS = st.one_of(
    st.tuples(st.just("arrive"), st.integers(0, 1)),
    st.tuples(st.sampled_from(["complete", "abandon"]), st.integers(0, 20)),
    st.tuples(st.sampled_from(["worker_down", "worker_up"]), st.integers(0, 2)),
)


@given(st.lists(EVENTS, max_size=60))
def test_every_request_is_sent_or_dropped_once_and_no_work_is_left_over(events):
    policy = LeastWorkPolicy(two_classes())
    answered, batches, now_us, arrived = [], set(), 0, 0
    for kind, number in events:
        now_us += 7
        if kind == "arrive":
            policy.arrive(now_us, number, arrived, now_us + 30)
            arrived += 1
        elif kind in ("complete", "abandon"):
            getattr(policy, kind)(now_us, number, *([0] if kind == "complete" else []))
        else:
            getattr(policy, kind)(now_us, number)
        decision = policy.decide(now_us)
        answered += [one.requests[0] for one in decision.dispatches] + [drop[0] for drop in decision.drops]
        batches |= {one.batch for one in decision.dispatches}
    answered += [drop[0] for drop in policy.decide(now_us + 1000).drops]
    assert sorted(answered) == list(range(arrived))
    for batch in batches:
        policy.complete(now_us, batch, 0)
    for worker in range(3):
        policy.worker_up(now_us, worker)
    policy.arrive(now_us, A, arrived, now_us + 30)
    assert sent(policy.decide(now_us)) == [(arrived, 0, now_us + 10)]
