"""Decision sequences derived by hand."""

from __future__ import annotations

import pytest

from fleet_tables import Pipeline, Stage, make_table
from penstock.errors import BadInputError
from penstock.record import Outcome
from penstock.schedule.policy import Decision, Dispatch
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.units import NEVER_US


def one_pool(batch=2, latency=(10, 12), hosts=(0,), slo=40):
    return make_table([(slo, [Pipeline(batch, [Stage(latency, hosts)])])])


def test_full_batch_goes_at_once():
    policy = ReservationPolicy(one_pool())
    policy.arrive(5, 0, 70, 45)
    # A batch of two takes 12: it may start as late as 33.
    assert policy.decide(5) == Decision((), (), 33)
    policy.arrive(6, 0, 71, 46)
    assert policy.decide(6) == Decision((Dispatch(0, 0, 0, (70, 71), (0,), (6,), (18,)),), (), NEVER_US)


def test_waits_until_the_last_moment_at_which_one_more_would_make_it():
    policy = ReservationPolicy(one_pool())
    policy.arrive(0, 0, 0, 40)
    assert policy.decide(0).wake_us == 28
    assert policy.decide(27) == Decision((), (), 28)
    # At 28 a batch of two would end at 40: go, alone, and end at 38.
    assert policy.decide(28) == Decision((Dispatch(0, 0, 0, (0,), (0,), (28,), (38,)),), (), NEVER_US)


def test_waiting_behind_a_reservation_wakes_more_than_once():
    policy = ReservationPolicy(one_pool(latency=(20, 30), slo=100))
    for request in (0, 1):
        policy.arrive(0, 0, request, 100)
    assert policy.decide(0).dispatches[0].end_us == (30,)
    policy.arrive(0, 0, 2, 100)
    # Two would end at 30 + 30 = 60, so 40 is safe; from 40 on an idle worker, 40 + 30 = 70, so 70.
    assert policy.decide(0).wake_us == 40
    assert policy.decide(40).wake_us == 70
    assert policy.decide(70).dispatches[0].start_us == (70,)


def test_early_drop_when_the_planned_batch_does_not_fit_at_first_sight():
    policy = ReservationPolicy(one_pool(batch=2, latency=(10, 30)))
    policy.arrive(0, 0, 0, 29)  # alone it would make it; the planned batch of two would not
    assert policy.decide(0) == Decision((), ((0, Outcome.DROPPED_EARLY),), NEVER_US)


def test_ninety_five_per_cent_of_the_planned_batch_is_enough():
    # round(0.95 * 20) = 19: of 20 us a batch and 1 us a request, 19 end at 39, 20 at 40.
    table = one_pool(batch=20, latency=[20 + size for size in range(1, 21)])
    for deadline_us, dropped in ((39, False), (38, True)):
        policy = ReservationPolicy(table)
        policy.arrive(0, 0, 0, deadline_us)
        assert bool(policy.decide(0).drops) is dropped


def test_a_judged_head_may_go_in_any_batch():
    policy = ReservationPolicy(one_pool(batch=2, latency=(10, 30), slo=40))
    policy.arrive(0, 0, 0, 40)  # the planned batch fits: 30 <= 40
    assert policy.decide(0).wake_us == 10
    policy.worker_down(5, 0)
    policy.worker_up(20, 0)
    policy.arrive(20, 0, 1, 100)
    # At 20 two would end at 50, one at 30: the head goes alone, and the next waits for company until 70.
    decision = policy.decide(20)
    assert [d.requests for d in decision.dispatches] == [(0,)]
    # ... but its worker is busy until 30: two would end at 60, 40 before its deadline.
    assert decision.wake_us == 60


def test_a_judged_head_that_no_batch_saves_is_dropped_for_its_deadline():
    policy = ReservationPolicy(one_pool())
    policy.arrive(0, 0, 0, 40)
    policy.decide(0)
    assert policy.decide(35) == Decision((), ((0, Outcome.DROPPED_DEADLINE),), NEVER_US)


def test_pipeline_with_the_least_waiting_is_chosen():
    slow = Pipeline(1, [Stage([30], [0])])
    fast = Pipeline(1, [Stage([10], [1])])
    policy = ReservationPolicy(make_table([(100, [slow, fast])]))
    taken = []
    for request in range(3):
        policy.arrive(0, 0, request, 100)
        taken.append(policy.decide(0).dispatches[0].pipeline)
    # Waiting 0 and 0: the first. Then 30 and 0: the second. Then 30 and 10: the second again.
    assert taken == [0, 1, 1]


def test_pipeline_of_batch_one_that_would_miss_comes_last():
    slow = Pipeline(1, [Stage([30], [0])])
    fast = Pipeline(1, [Stage([10], [1])])
    policy = ReservationPolicy(make_table([(100, [slow, fast])]))
    policy.arrive(0, 0, 0, 20)
    assert policy.decide(0).dispatches[0].pipeline == 1


def test_queue_is_by_deadline_then_arrival():
    policy = ReservationPolicy(one_pool(batch=4, latency=(10, 10, 10, 10), slo=100))
    for request, deadline_us in ((0, 90), (1, 80), (2, 90), (3, 85)):
        policy.arrive(0, 0, request, deadline_us)
    assert policy.decide(0).dispatches[0].requests == (1, 3, 0, 2)


def test_transfer_needs_both_links():
    # Two senders on host 0, two receivers on hosts 1 and 2; transfers take 5.
    stages = [Stage([10], [0, 0]), Stage([10], [1, 2], [5])]
    policy = ReservationPolicy(make_table([(100, [Pipeline(1, stages)])]))
    for request in (0, 1):
        policy.arrive(0, 0, request, 100)
    first, second = policy.decide(0).dispatches
    assert (first.workers, first.start_us, first.end_us) == ((0, 2), (0, 15), (10, 25))
    # The second waits for the uplink of host 0 until 15.
    assert (second.workers, second.start_us, second.end_us) == ((1, 3), (0, 20), (10, 30))


def test_downlink_of_the_receiver_is_shared_too():
    stages = [Stage([10], [0, 1]), Stage([10], [2, 2], [5])]
    policy = ReservationPolicy(make_table([(100, [Pipeline(1, stages)])]))
    for request in (0, 1):
        policy.arrive(0, 0, request, 100)
    assert [d.start_us for d in policy.decide(0).dispatches] == [(0, 15), (0, 20)]


def test_transfer_within_a_host_takes_time_but_no_link():
    stages = [Stage([10], [0, 0]), Stage([10], [0, 0], [5])]
    policy = ReservationPolicy(make_table([(100, [Pipeline(1, stages)])]))
    for request in (0, 1):
        policy.arrive(0, 0, request, 100)
    assert [d.start_us for d in policy.decide(0).dispatches] == [(0, 15), (0, 15)]


def test_equally_idle_workers_are_taken_from_host_to_host():
    stages = [Stage([10], [0, 0, 1]), Stage([10], [2, 3, 4], [5])]
    policy = ReservationPolicy(make_table([(100, [Pipeline(1, stages)])]))
    for request in (0, 1):
        policy.arrive(0, 0, request, 100)
    assert [d.workers[0] for d in policy.decide(0).dispatches] == [0, 2]


def test_equal_finishes_go_to_the_worker_that_is_idle_for_the_longest():
    policy = ReservationPolicy(make_table([(100, [Pipeline(1, [Stage([10], [0, 0, 1])])])]))
    taken = []
    for request, now_us in enumerate((0, 0, 0, 20, 40)):
        policy.arrive(now_us, 0, request, now_us + 100)
        taken.append(policy.decide(now_us).dispatches[0].workers[0])
    # From host to host while all are equally idle: 0, 2, 1, all until 10. At 20 the same, and then 2 is idle since 10.
    assert taken == [0, 2, 1, 0, 2]


def test_guard_keeps_clear_of_the_deadline_by_the_spread_of_the_stages():
    # Spreads 3 and 4 make a guard of 5: ends by 30 only if started by 30 - 5 - 20 = 5.
    stages = [Stage([10], [0], [0], [13]), Stage([10], [1], [0], [14])]
    table = make_table([(30, [Pipeline(1, stages)])])
    for now_us, dropped in ((5, False), (6, True)):
        policy = ReservationPolicy(table)
        policy.arrive(now_us, 0, 0, 30)
        assert bool(policy.decide(now_us).drops) is dropped


def test_costs_of_the_driver_count():
    policy = ReservationPolicy(one_pool(batch=1, latency=(10,)), dispatch_us=3, overhead_us=4)
    policy.arrive(0, 0, 0, 17)
    policy.arrive(0, 0, 1, 26)
    decision = policy.decide(0)
    assert decision.dispatches[0].start_us == (3,)
    assert decision.drops == ((1, Outcome.DROPPED_EARLY),)  # 13 + 10 + 4 = 27


def test_models_do_not_mix():
    pool = [Pipeline(2, [Stage((10, 10), (0,))])]
    other = [Pipeline(2, [Stage((10, 10), (1,))])]
    policy = ReservationPolicy(make_table([(50, pool), (50, other)]))
    policy.arrive(0, 0, 0, 50)
    policy.arrive(0, 1, 1, 60)
    assert policy.decide(0) == Decision((), (), 40)
    policy.arrive(1, 1, 2, 61)
    assert [d.requests for d in policy.decide(1).dispatches] == [(1, 2)]


def test_cancel_takes_out_only_what_is_queued():
    policy = ReservationPolicy(one_pool(batch=4, latency=(10, 10, 10, 10)))
    for request in range(3):
        policy.arrive(0, 0, request, 40)
    assert policy.cancel(1)
    assert not policy.cancel(1)
    policy.arrive(1, 0, 3, 41)
    policy.arrive(1, 0, 4, 41)
    assert policy.decide(1).dispatches[0].requests == (0, 2, 3, 4)
    assert not policy.cancel(0)


def test_cancel_of_the_last_request_leaves_nothing_to_wake_for():
    policy = ReservationPolicy(one_pool())
    policy.arrive(0, 0, 0, 40)
    policy.decide(0)
    assert policy.cancel(0)
    assert policy.decide(30) == Decision((), (), NEVER_US)


def test_queue_and_batches_outgrow_their_first_arrays():
    policy = ReservationPolicy(one_pool(batch=1, latency=(1,), slo=10**6))
    for request in range(1000):
        policy.arrive(0, 0, request, 10**6)
    dispatches = policy.decide(0).dispatches
    assert [d.requests for d in dispatches] == [(request,) for request in range(1000)]
    assert dispatches[-1].end_us == (1000,)
    for batch in range(1000):
        policy.complete(batch + 1, batch, 0)
    policy.arrive(2000, 0, 1000, 10**6)
    assert policy.decide(2000).dispatches[0].batch == 1000


def test_bad_arguments():
    with pytest.raises(BadInputError, match="model"):
        ReservationPolicy(one_pool()).arrive(0, 1, 0, 10)
    with pytest.raises(BadInputError, match="overhead_us"):
        ReservationPolicy(one_pool(), overhead_us=-1)
