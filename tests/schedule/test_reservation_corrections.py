"""Real completions correct the reservation table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_tables import Pipeline, Stage, make_table
from penstock.record import Outcome
from penstock.schedule.routed_policy import ReservationPolicy


def two_stages():
    """10 us, a transfer of 5, 10 us; two workers first (hosts 0, 1), one second (host 2)."""
    stages = [Stage([10], [0, 1]), Stage([10], [2], [5])]
    return ReservationPolicy(make_table([(1000, [Pipeline(1, stages)])]))


def send(policy, now_us, request):
    policy.arrive(now_us, 0, request, now_us + 1000)
    (dispatch,) = policy.decide(now_us).dispatches
    return dispatch


def free_us(policy, worker):
    return int(policy.state.reservations.worker_free_us[worker])


def spans(links, host):
    count = int(links.length[host])
    return list(zip(links.start_us[host, :count].tolist(), links.end_us[host, :count].tolist(), strict=True))


def test_exact_completion_changes_nothing():
    policy = two_stages()
    send(policy, 0, 0)
    policy.complete(10, 0, 0)
    assert (free_us(policy, 0), free_us(policy, 2)) == (10, 25)
    policy.complete(25, 0, 1)
    assert free_us(policy, 2) == 25


def test_early_completion_frees_the_worker_and_brings_the_next_stage_forward():
    policy = two_stages()
    send(policy, 0, 0)
    policy.complete(6, 0, 0)
    assert (free_us(policy, 0), free_us(policy, 2)) == (6, 21)


def test_late_completion_pushes_the_next_stage_and_the_links():
    policy = two_stages()
    send(policy, 0, 0)
    policy.complete(17, 0, 0)
    assert (free_us(policy, 0), free_us(policy, 2)) == (17, 32)
    assert spans(policy.state.reservations.uplinks, 0) == [(17, 22)]
    assert spans(policy.state.reservations.downlinks, 2) == [(17, 22)]


def test_late_completion_pushes_what_is_promised_behind_it():
    policy = two_stages()
    for request in range(3):
        send(policy, 0, request)
    # Worker 0 holds batches 0 and 2 until 20; the last stage holds all three: 15-25, 25-35, 35-45.
    assert (free_us(policy, 0), free_us(policy, 2)) == (20, 45)
    policy.complete(18, 0, 0)
    # The links are promised until 25 (15-20 and 20-25): batch 0 arrives at 30 and ends at 40, the others behind it.
    assert (free_us(policy, 0), free_us(policy, 2)) == (28, 60)


def test_early_completion_cannot_start_work_that_has_not_arrived():
    policy = two_stages()
    for request in range(2):
        send(policy, 0, request)
    policy.complete(10, 0, 0)
    policy.complete(10, 1, 0)
    policy.complete(15, 0, 1)  # ten early
    # Batch 1's input arrives at 20, not at 15: the downlink carried the other first.
    assert free_us(policy, 2) == 30


def test_late_completion_wakes_the_queue_that_counted_on_it():
    policy = ReservationPolicy(make_table([(100, [Pipeline(2, [Stage([10, 20], [0])])])]))
    for request in (0, 1):
        policy.arrive(0, 0, request, 100)
    policy.decide(0)
    policy.arrive(0, 0, 2, 45)
    assert policy.decide(0).wake_us == 5  # two would end at 40
    policy.complete(40, 0, 0)
    decision = policy.decide(40)
    assert decision.drops == ((2, Outcome.DROPPED_DEADLINE),)


def test_abandoned_batch_gives_back_what_it_holds():
    policy = two_stages()
    send(policy, 0, 0)
    send(policy, 0, 1)
    policy.abandon(4, 0)
    # Batch 1's input still arrives at 20, after the transfer that never was.
    assert (free_us(policy, 0), free_us(policy, 2)) == (4, 30)
    policy.complete(9, 0, 0)
    assert free_us(policy, 0) == 4


def test_abandoned_batch_frees_its_links():
    policy = two_stages()
    for request in (0, 1):
        send(policy, 0, request)
    held = policy.state.reservations
    # Batch 0 is to send from 10 to 15, and batch 1 after it to the same host.
    assert (spans(held.uplinks, 0), spans(held.downlinks, 2)) == ([(10, 15)], [(10, 20)])
    policy.abandon(4, 0)
    assert (spans(held.uplinks, 0), spans(held.downlinks, 2)) == ([], [(15, 20)])


def test_abandoned_batch_frees_a_transfer_that_waits_and_keeps_one_that_has_begun():
    policy = two_stages()
    for request in (0, 1):
        send(policy, 0, request)
        policy.complete(10, request, 0)
    held = policy.state.reservations
    policy.abandon(12, 1)
    assert (spans(held.uplinks, 1), spans(held.downlinks, 2)) == ([], [(10, 15)])
    policy.abandon(12, 0)
    assert (spans(held.uplinks, 0), spans(held.downlinks, 2)) == ([(10, 15)], [(10, 15)])


@pytest.mark.parametrize(
    ("worker", "stages_done", "lost"),
    [(0, 0, (0,)), (0, 1, (0,)), (2, 0, (0,)), (2, 1, (0,)), (1, 1, ()), (0, 2, ()), (2, 2, ())],
)
def test_a_worker_that_goes_down_names_what_is_lost_with_it(worker, stages_done, lost):
    """The output of stage 0 may still be on its worker until stage 1 is done."""
    policy = two_stages()
    send(policy, 0, 0)
    for stage in range(stages_done):
        policy.complete(10 + 15 * stage, 0, stage)
    assert policy.in_flight == (stages_done < 2)
    assert policy.worker_down(30, worker) == lost
    assert policy.in_flight == (stages_done < 2 and not lost)
    assert policy.abandon(30, 0) == (() if lost or stages_done == 2 else (0,))


def test_a_worker_that_is_up_already_keeps_what_it_was_promised():
    policy = two_stages()
    send(policy, 0, 0)
    policy.worker_up(3, 0)
    assert free_us(policy, 0) == 10


def test_worker_that_is_down_gets_nothing_until_it_is_up():
    policy = two_stages()
    send(policy, 0, 0)
    policy.worker_down(3, 0)
    assert free_us(policy, 2) <= 3  # its batch will not come
    assert {send(policy, now_us, now_us).workers[0] for now_us in (4, 5, 6)} == {1}
    policy.worker_up(7, 0)
    assert send(policy, 7, 7).workers[0] == 0


def test_all_workers_down_sheds_every_request():
    policy = two_stages()
    policy.worker_down(0, 2)
    policy.arrive(1, 0, 0, 1001)
    assert policy.decide(1).drops == ((0, Outcome.DROPPED_EARLY),)


def test_completion_of_an_unknown_batch_is_ignored():
    policy = two_stages()
    policy.complete(5, 3, 0)
    assert free_us(policy, 0) == 0


def test_completions_that_overtake_each_other():
    """The last stage's message comes before the first's: both are over, and the slot can be used again."""
    policy = two_stages()
    send(policy, 0, 0)
    send(policy, 0, 1)
    send(policy, 0, 2)  # second on worker 0
    policy.complete(25, 0, 1)
    assert free_us(policy, 0) == 35
    policy.complete(25, 0, 0)
    policy.complete(20, 2, 0)
    assert free_us(policy, 0) == 20
    for batch in (1, 2):
        policy.complete(60, batch, 1)
    assert np.all(policy.state.flights.head == -1)
    assert np.all(policy.state.flights.batch == -1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 1)), max_size=60))
def test_any_order_of_events_leaves_chains_whole(events):
    """Completions, abandoned batches and workers going down and up in any order, then everything is let go."""
    policy = two_stages()
    for now_us, (kind, batch, stage) in enumerate(events):
        if kind <= 1:
            policy.arrive(now_us, 0, now_us, now_us + 1000)
            policy.decide(now_us)
        elif kind == 2:
            policy.complete(now_us, batch, stage)
        elif kind == 3:
            policy.abandon(now_us, batch)
        elif kind == 4:
            policy.worker_down(now_us, batch % 3)
        else:
            policy.worker_up(now_us, batch % 3)
    for batch in range(len(events)):
        policy.abandon(1000, batch)
    flights = policy.state.flights
    assert np.all(flights.head == -1)
    assert np.all(flights.tail == -1)
    assert np.all(flights.batch == -1)
