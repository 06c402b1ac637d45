"""Corrections of split stages against the same rules in plain Python: any order of completions and failures."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_corrections_oracle import EVENTS, assert_same_state
from test_split_decisions import dispatched, two_stages

from fleet_tables import tables
from penstock.schedule.journal import JournalingPolicy, replay
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.rule_numbers import RULES
from plain_split_policy import PlainSplitPolicy


def arguments_of(oracle: PlainSplitPolicy, now_us: int, kind: str, one: int, two: int, serial: int) -> tuple:
    """What the event says, made from two free numbers: mostly of pieces in flight."""
    if kind == "arrive":
        return now_us, one % len(oracle.queues), serial, now_us + 20 + two % 600
    if kind == "cancel":
        return (one % (serial + 1),)
    if kind.startswith("worker"):
        return now_us, one % len(oracle.done)
    flying = list(oracle.flights) or [0]
    batch = flying[one % len(flying)] if one % 7 else one % 50
    if kind == "abandon":
        return now_us, batch
    flight = oracle.flights.get(batch)
    open_legs = [n for n, leg in enumerate(flight.legs) if not leg.is_over] if flight else []
    if not open_legs:
        return now_us, batch, 0
    leg = flight.legs[open_legs[0] if two % 3 else two % len(flight.legs)]
    alike = [other for other in flight.legs if other.stage == leg.stage]
    return now_us, batch, leg.stage - flight.first_stage, alike.index(leg)


def next_moment(oracle: PlainSplitPolicy, now_us: int, gap_us: int, kind: str, one: int) -> int:
    """A wake-up comes when it was asked for, and every third completion when it was predicted."""
    if kind == "wake" and now_us < min(oracle.wake) < now_us + 1000:
        return min(oracle.wake)
    if kind == "complete" and one % 3 == 0 and oracle.flights:
        batch = list(oracle.flights)[one % len(oracle.flights)]
        legs = oracle.flights[batch].legs
        number = next(n for n, leg in enumerate(legs) if not leg.is_over)
        return max(now_us, oracle.predicted_us(batch, number))
    return now_us + gap_us


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_corrected_policy_equals_its_description(rule, data):
    table = data.draw(tables(noisy=True, shared=data.draw(st.booleans()), split=True))
    costs = {"dispatch_us": data.draw(st.integers(0, 5)), "overhead_us": data.draw(st.integers(0, 5))}
    noting = JournalingPolicy(policy := ReservationPolicy(table, rule=rule, **costs))
    oracle = PlainSplitPolicy(table, rule=rule, **costs)
    decisions, now_us = [], 0
    for serial, (gap_us, kind, one, two) in enumerate(data.draw(EVENTS)):
        now_us = next_moment(oracle, now_us, gap_us, kind, one)
        if kind != "wake":
            arguments = arguments_of(oracle, now_us, kind, one, two, serial)
            assert getattr(noting, kind)(*arguments) == getattr(oracle, kind)(*arguments)
        decisions.append(noting.decide(now_us))
        assert decisions[-1] == oracle.decide(now_us)
        assert_same_state(policy, oracle, now_us)
    assert replay(ReservationPolicy(table, rule=rule, **costs), noting.events) == decisions


def test_a_batch_is_in_flight_until_its_last_piece():
    policy, dispatch = dispatched(two_stages([1, 2]))
    policy.complete(50, 0, 0)
    policy.complete(60, 0, 1, 1)
    assert policy.in_flight == 1
    policy.complete(60, 0, 1, 1)  # a report that comes twice
    assert policy.in_flight == 1
    policy.complete(60, 0, 1, 0)
    assert policy.in_flight == 0
    assert dispatch.pieces == (1, 2)


def test_the_worker_of_a_finished_piece_is_needed_until_its_rows_have_left():
    policy, _ = dispatched(two_stages([2, 1]))
    policy.complete(30, 0, 0, 0)
    policy.complete(30, 0, 0, 1)
    policy.complete(42, 0, 1)
    assert policy.worker_down(43, 1) == ()
    policy, _ = dispatched(two_stages([2, 1]))
    policy.complete(30, 0, 0, 1)
    assert policy.worker_down(31, 1) == (0,)


def test_a_late_piece_moves_what_waits_for_it():
    policy, _ = dispatched(two_stages([2, 1]))
    policy.complete(30, 0, 0, 0)
    policy.complete(38, 0, 0, 1)
    # 4 us over the link, then 8 of work.
    assert policy.state.reservations.worker_free_us.tolist() == [30, 38, 0, 50, 0]


def test_pieces_that_are_not_there_are_passed_over():
    policy, _ = dispatched(two_stages([2, 1]))
    policy.complete(30, 0, 0, 2)
    policy.complete(30, 0, 1, 1)
    policy.complete(30, 7, 0, 1)
    assert policy.in_flight == 1
    whole, _ = dispatched(two_stages([2, 1])._replace(stage_pieces=two_stages([2, 1]).stage_pool))
    whole.complete(30, 0, 0, 1)
    assert whole.in_flight == 1
