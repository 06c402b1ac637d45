"""What the tables of a verified plan say: its rates, and the limits beside them."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from placed_plans import computing, planned
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.api.results.plan_result import PlanResult
from penstock.api.showing.objective import held_unit, objective_text
from penstock.api.showing.plan_tables import held_shares, plan_parts, rate_text
from penstock.api.showing.tables import as_text
from penstock.cluster import DeviceClass, DevicePower
from penstock.plan.documents.plan import Plan, Verification, Verified
from penstock.plan.placement.within_interfaces import placed_within_interfaces

PROFILES = {"m": toy_profile("m", {("a", 1): [[4_000], [4_000]]})}
LIMITS = {"pools_bound_rps": 181.9, "static_bound_rps": 182.6, "any_policy_bound_rps": 181.8}


def verified(rate_rps: float = 100.0, **limits: float) -> Plan:
    scenario = toy_scenario({"a": DeviceClass(count=2)}, [toy_model("m", 40_000)])
    models = [computing(scenario.models[0], PROFILES["m"], scenario, [[(2, "a", 1, 2)]])]
    plan = planned(*placed_within_interfaces(models, scenario, PROFILES), scenario)
    how = Verification(target=0.99, policy="penstock", arrivals="poisson", seconds=10.0, seeds=[100, 101])
    own = Verified(rate_rps=rate_rps, attainment=0.991, low_rps=rate_rps * 0.9, high_rps=rate_rps * 1.1)
    return plan.edited(
        verification=how,
        models=[plan.models[0].edited(verified=own)],
        stats={"solve_seconds": 0.0, **(limits or LIMITS)},
    )


def test_no_limit_is_above_that_of_a_row_that_allows_more():
    assert held_unit(verified().scenario) == "requests/s"
    rows = held_shares(verified())
    assert [row[1:] for row in rows] == [["181.8", "55.0%"]] * 3
    assert rows[0][0].startswith("these pools")
    rows = held_shares(verified(static_bound_rps=110.0, any_policy_bound_rps=120.0))
    assert [row[1:] for row in rows] == [["110.0", "90.9%"], ["120.0", "83.3%"]]


def test_small_rates_are_not_shown_as_zero():
    assert [rate_text(rate) for rate in (1234.56, 1.0, 0.01234, 5e-9, 0.0)] == [
        "1234.6",
        "1.0",
        "0.0123",
        "5e-09",
        "0.0",
    ]
    assert [objective_text(value) for value in (12.5, 0.25, 1.15e-6)] == ["12.5000", "0.2500", "1.15e-06"]
    text = as_text(plan_parts(verified(2e-4, static_bound_rps=4e-4)))
    assert re.search(r"any fixed division of the fleet +0.0004 +50.0%", text)
    assert "0.00018-0.00022" in text


@pytest.mark.parametrize(
    ("objective", "words"), [("throughput", "exceeds it"), ("cost", "needs less"), ("energy", "needs less")]
)
def test_a_bound_on_what_is_paid_is_one_from_below(
    objective: Literal["throughput", "cost", "energy"], words: str
):
    plan = verified()
    paid = toy_scenario(
        {"a": DeviceClass(count=2, hourly_cost=1.0, power_w=DevicePower(idle=10, busy=70))},
        [toy_model("m", 40_000, rate_rps=50.0)],
        objective=objective,
    )
    assert held_unit(paid) == "of every demand"
    text = as_text(plan_parts(plan.edited(scenario=paid)))
    assert f"(no plan of this space {words})" in text
    assert "(docs/goodput-bound.md), parts of every demand" in text


def test_explain_states_what_was_verified():
    text = str(PlanResult.of(verified(), PROFILES).explain())
    assert "Verified: poisson arrivals, policy penstock, 2 runs of 10 s" in text
    assert "90.0-110.0" in text
    assert "any policy, even one that moves devices" in text
