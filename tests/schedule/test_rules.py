"""How the rules differ, by hand, and what each of them learns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_tables import Pipeline, Stage, make_table
from penstock.errors import BadInputError
from penstock.record import Outcome
from penstock.schedule.mechanism.pool_tournament import set_free
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.state.arrays import PACE_OF_PROFILE
from penstock.units import NEVER_US


def arrive_all(policy, now_us, deadlines, first=0):
    for request, deadline_us in enumerate(deadlines, first):
        policy.arrive(now_us, 0, request, deadline_us)


def test_whole_batch_keeps_a_head_that_only_a_smaller_batch_saves():
    table = make_table([(40, [Pipeline(2, [Stage([10, 30], [0])])])])
    for rule, drops in (("reservation", ((0, Outcome.DROPPED_EARLY),)), ("whole-batch", ())):
        policy = ReservationPolicy(table, rule=rule)
        arrive_all(policy, 0, [29])
        decision = policy.decide(0)
        assert decision.drops == drops
        # Two would end at 30, past 29: it goes alone at once.
        assert len(decision.dispatches) == (not drops)


def test_penstock_takes_the_pipeline_that_makes_it_over_the_one_that_frees_sooner():
    slow = Pipeline(2, [Stage([50, 60], [0])])
    fast = Pipeline(2, [Stage([10, 20], [1])])
    table = make_table([(100, [slow, fast])])
    for rule in ("reservation", "penstock"):
        policy = ReservationPolicy(table, rule=rule)
        # Both are idle: the first two go to the slow pipeline, the next two to the fast one, until 20.
        arrive_all(policy, 0, [100] * 4)
        assert [d.pipeline for d in policy.decide(0).dispatches] == [0, 1]
        policy.worker_down(1, 0)
        policy.worker_up(1, 0)
        # Slow waits 0 and ends at 61; fast waits 19 and ends at 40.
        arrive_all(policy, 1, [45, 45], first=4)
        decision = policy.decide(1)
        if rule == "reservation":
            assert decision.drops == ((4, Outcome.DROPPED_EARLY), (5, Outcome.DROPPED_EARLY))
        else:
            assert [(d.pipeline, d.end_us) for d in decision.dispatches] == [(1, (40,))]


def test_edf_gives_a_free_worker_what_waits_and_looks_at_no_later_stage():
    table = make_table([(100, [Pipeline(2, [Stage([10, 12], [0]), Stage([40, 40], [1])])])])
    policy = ReservationPolicy(table, rule="edf")
    arrive_all(policy, 0, [100])
    assert policy.decide(0).dispatches[0].requests == (0,)
    arrive_all(policy, 1, [61, 62], first=1)
    assert policy.decide(1).wake_us == 10
    decision = policy.decide(10)
    # The second stage is taken until 50, so both come at 90, too late; that is not its concern.
    assert decision.dispatches[0].requests == (1, 2)
    assert decision.dispatches[0].end_us == (22, 90)


def test_edf_drops_only_what_an_idle_fleet_could_not_save():
    table = make_table([(100, [Pipeline(1, [Stage([10], [0])])])])
    policy = ReservationPolicy(table, rule="edf")
    arrive_all(policy, 0, [10, 14])
    assert policy.decide(0).wake_us == 5
    assert policy.decide(5).drops == ((1, Outcome.DROPPED_DEADLINE),)


def test_unknown_rule():
    with pytest.raises(BadInputError, match="fifo"):
        ReservationPolicy(make_table([(9, [Pipeline(1, [Stage([1], [0])])])]), rule="fifo")


def test_models_share_a_pool():
    # The one stage of either model has a worker of its own, and takes the other's too.
    table = make_table([(50, [Pipeline(1, [Stage([time], [0])])]) for time in (10, 20)])
    policy = ReservationPolicy(table._replace(stage_pool=np.array([0, 0])))
    for model in (0, 1, 1):
        policy.arrive(0, model, model, 50)
    assert [(d.workers, d.end_us) for d in policy.decide(0).dispatches] == [
        ((0,), (10,)),
        ((1,), (20,)),
        ((0,), (30,)),
    ]


def serve_slower(rule, factor):
    """The share of requests met on workers that take ``factor`` times the profile, one batch after the other."""
    policy = ReservationPolicy(make_table([(45, [Pipeline(1, [Stage([10], [0])])])]), rule=rule)
    met, running, free_us = 0, [], 0
    arrivals = [11 * index for index in range(3000)]
    for request, now_us in enumerate(arrivals):
        while running and running[0][0] <= now_us:
            policy.complete(*running.pop(0), 0)
        policy.arrive(now_us, 0, request, now_us + 45)
        for dispatch in policy.decide(now_us).dispatches:
            free_us = max(free_us, now_us) + int(10 * factor)
            running.append((free_us, dispatch.batch))
            met += free_us <= arrivals[dispatch.requests[0]] + 45
    return met / len(arrivals)


def test_penstock_keeps_what_slower_workers_can_keep():
    # 15 us of work every 11 us: 73% could be met.
    assert serve_slower("penstock", 1.0) == 1.0
    assert serve_slower("penstock", 1.5) > 0.65
    assert serve_slower("reservation", 1.5) < 0.5


@pytest.mark.parametrize(("took_us", "seen"), [(100, 1.0), (200, 2.0), (10, 0.25), (900, 4.0)])
def test_one_service_moves_the_pace_by_a_64th(took_us, seen):
    """A service counts as a quarter to four times the profile's 100 us."""
    policy = ReservationPolicy(make_table([(9000, [Pipeline(1, [Stage([100], [0])])])]), rule="penstock")
    policy.arrive(0, 0, 0, 9000)
    policy.decide(0)
    policy.complete(took_us, 0, 0)
    assert policy.state.reservations.pace[0] == PACE_OF_PROFILE + (seen - 1.0) * PACE_OF_PROFILE / 64


def test_edf_gives_nothing_to_a_pipeline_that_has_a_stage_without_a_worker():
    stages = [Stage([10], [0]), Stage([10], [1])]
    policy = ReservationPolicy(make_table([(100, [Pipeline(1, stages)])]), rule="edf")
    policy.worker_down(0, 1)
    policy.arrive(0, 0, 0, 100)
    # The last moment for it is 80; one later it is dropped.
    assert policy.decide(0) == ((), (), 81)
    policy.worker_up(5, 1)
    policy.arrive(5, 0, 1, 200)
    assert policy.decide(5).dispatches[0].workers == (0, 1)


def test_pace_settles_at_what_is_seen_and_only_for_penstock():
    table = make_table([(1000, [Pipeline(1, [Stage([100], [0])])])])
    for rule, expected in (("penstock", 1.5), ("reservation", 1.0)):
        policy = ReservationPolicy(table, rule=rule)
        for batch in range(1000):
            policy.arrive(200 * batch, 0, batch, 200 * batch + 1000)
            policy.decide(200 * batch)
            policy.complete(200 * batch + 150, batch, 0)
        assert policy.state.reservations.pace[0] / PACE_OF_PROFILE == pytest.approx(expected, rel=0.07)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=3),
    st.lists(st.integers(0, 2), min_size=3, max_size=3),
    st.lists(st.tuples(st.integers(0, 26), st.one_of(st.integers(0, 5), st.just(NEVER_US))), max_size=60),
)
def test_index_names_the_worker_that_is_free_first(stages, pools, changes):
    table = make_table([(9, [Pipeline(1, [Stage([1], hosts) for hosts in stages])])])
    table = table._replace(stage_pool=np.array(pools[: len(stages)]))
    policy = ReservationPolicy(table)
    facts, held = policy.state.facts, policy.state.reservations
    for worker, free_us in changes:
        set_free(facts, held, worker % len(facts.worker_pool), free_us)
    for pool in set(pools[: len(stages)]):
        own = np.flatnonzero(table.pool_of_worker == pool).tolist()
        expected = min(own, key=lambda w: (held.worker_free_us[w], facts.worker_rank[w]))
        assert held.soonest[2 * facts.pool_offsets[pool] + 1] == expected
