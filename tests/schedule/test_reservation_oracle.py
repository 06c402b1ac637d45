"""The policy against the same rule in plain Python, on random fleets and traffic."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_tables import tables, traffic
from penstock.schedule.reservation import ReservationPolicy
from penstock.schedule.rules import RULES
from plain_policy import PlainPolicy


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_policy_equals_its_description(rule, data):
    table = data.draw(tables(noisy=True, shared=data.draw(st.booleans())))
    costs = {
        "rule": rule,
        "dispatch_us": data.draw(st.integers(0, 5)),
        "overhead_us": data.draw(st.integers(0, 5)),
    }
    policy, oracle = ReservationPolicy(table, **costs), PlainPolicy(table, **costs)
    for request, (arrival_us, model, slo_us) in enumerate(data.draw(traffic(table.n_models))):
        while (wake_us := oracle.decide(-1).wake_us) < arrival_us:
            assert policy.decide(wake_us) == oracle.decide(wake_us)
        for each in (policy, oracle):
            each.arrive(arrival_us, model, request, arrival_us + slo_us)
        assert policy.decide(arrival_us) == oracle.decide(arrival_us)
    while (wake_us := oracle.decide(-1).wake_us) < 10**9:
        assert policy.decide(wake_us) == oracle.decide(wake_us)
