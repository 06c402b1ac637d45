"""Corrections against the same rule in plain Python: any order of completions, failures and workers going down."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_tables import tables
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.rule_numbers import RULES
from plain_policy import PlainPolicy

KINDS = (
    ("arrive",) * 5 + ("complete",) * 6 + ("wake",) * 2 + ("abandon", "worker_down", "worker_up", "cancel")
)

EVENTS = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(KINDS), st.integers(0, 10**6), st.integers(0, 10**6)),
    min_size=20,
    max_size=60,
)


def arguments_of(oracle: PlainPolicy, now_us: int, kind: str, one: int, two: int, serial: int) -> tuple:
    """What the event says, made from two free numbers: mostly of batches in flight, at times of others."""
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
    most = max(len(f.legs) for f in oracle.flights.values()) if oracle.flights else 1
    return now_us, batch, flight.over if flight and two % 4 else two % most


def next_moment(oracle: PlainPolicy, now_us: int, gap_us: int, kind: str, one: int) -> int:
    """A wake-up comes when it was asked for, and every third completion when it was predicted."""
    if kind == "wake" and now_us < min(oracle.wake) < now_us + 1000:
        return min(oracle.wake)
    if kind == "complete" and one % 3 == 0 and oracle.flights:
        batch = list(oracle.flights)[one % len(oracle.flights)]
        flight = oracle.flights[batch]
        return max(now_us, oracle.ends(flight.legs[flight.over].worker)[batch, flight.over])
    return now_us + gap_us


def busy_from(spans: list[tuple[int, int]], now_us: int) -> list[tuple[int, int]]:
    """The union of the spans from ``now_us`` on, as few as possible."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted((max(start, now_us), end) for start, end in spans if end > now_us):
        if joined and joined[-1][1] >= start:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def assert_same_state(policy: ReservationPolicy, oracle: PlainPolicy, now_us: int) -> None:
    held = policy.state.reservations
    assert held.worker_free_us.tolist() == [oracle.free_us(worker) for worker in range(len(oracle.done))]
    for links, spans in ((held.uplinks, oracle.uplink), (held.downlinks, oracle.downlink)):
        for host, expected in enumerate(spans):
            count = int(links.length[host])
            ours = zip(
                links.start_us[host, :count].tolist(), links.end_us[host, :count].tolist(), strict=True
            )
            assert busy_from(list(ours), now_us) == busy_from(list(expected), now_us)
    assert held.pace.tolist() == oracle.pace
    assert policy.in_flight == oracle.in_flight


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_corrected_policy_equals_its_description(rule, data):
    table = data.draw(tables(noisy=True, shared=data.draw(st.booleans())))
    costs = {"dispatch_us": data.draw(st.integers(0, 5)), "overhead_us": data.draw(st.integers(0, 5))}
    policy, oracle = ReservationPolicy(table, rule=rule, **costs), PlainPolicy(table, rule=rule, **costs)
    now_us = 0
    for serial, (gap_us, kind, one, two) in enumerate(data.draw(EVENTS)):
        now_us = next_moment(oracle, now_us, gap_us, kind, one)
        if kind != "wake":
            arguments = arguments_of(oracle, now_us, kind, one, two, serial)
            assert getattr(policy, kind)(*arguments) == getattr(oracle, kind)(*arguments)
        assert policy.decide(now_us) == oracle.decide(now_us)
        assert_same_state(policy, oracle, now_us)
