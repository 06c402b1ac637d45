"""A solver's claim that demands cannot be met: checked by the program with elastic demands."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import InfeasibleError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.exact.infeasibility import solve_demands
from penstock.plan.exact.latency_budget import budgets
from penstock.plan.highs import Effort, Rows
from penstock.plan.interfaces import SearchLimits
from penstock.plan.large import column_generation
from penstock.plan.large.column_generation import relax_spaces
from penstock.plan.planners.pool_planner import plan_templates, template_spaces
from penstock.plan.planning_question import PlanningQuestion
from penstock.solver import SLACK, Solver

EXACT = Effort(gap=0.0, time_limit_s=10.0)
PROFILES = {"m": toy_profile("m", {("dear", 1): [[5_000]], ("cheap", 1): [[20_000]]})}


def one_demand(most: float, *, integer: bool) -> tuple[Rows, list[int]]:
    """The least x >= 100 that is at most ``most``."""
    rows = Rows()
    x = rows.column(cost=-1.0, upper=most, integer=integer)
    rows.row([(x, 1.0)], lower=100.0)
    return rows, [0]


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver that calls every program infeasible."""
    monkeypatch.setattr(Solver, "claims_infeasible_or_unbounded", property(lambda _: True))


@pytest.mark.parametrize("integer", [False, True])
def test_a_true_claim_is_proven(integer: bool) -> None:
    # At most 50 of 100: half of the demand.
    solved = solve_demands(*one_demand(50.0, integer=integer), EXACT)
    assert solved.bound == -math.inf
    assert solved.values.tolist() == [0.0]


@pytest.mark.parametrize("integer", [False, True])
def test_without_a_claim_the_answer_is_the_solvers(integer: bool) -> None:
    solved = solve_demands(*one_demand(150.0, integer=integer), EXACT)
    assert solved.values.tolist() == pytest.approx([100.0])
    assert solved.bound == pytest.approx(-100.0 * (1 - SLACK), abs=1e-9)


@pytest.mark.usefixtures("lying")
@pytest.mark.parametrize("integer", [False, True])
def test_a_false_claim_proves_nothing_and_gives_a_solution(integer: bool) -> None:
    solved = solve_demands(*one_demand(150.0, integer=integer), EXACT)
    assert solved.bound == math.inf
    assert solved.values[0] >= 100.0 * (1 - SLACK)


def test_a_demand_missed_by_less_than_the_slack_is_not_proven_impossible() -> None:
    # 1 - 5e-7 of the demand can be served. HiGHS, which works to 1e-7 of the row, says "infeasible".
    solved = solve_demands(*one_demand(100.0 * (1 - SLACK / 2), integer=False), EXACT)
    assert solved.solver.claims_infeasible
    assert solved.bound == math.inf


def asked(rate_rps: float) -> Scenario:
    """A dear device serves 200/s at 3 an hour, a cheap one 50/s at 1."""
    classes = {
        "dear": DeviceClass(count=3, hourly_cost=3.0),
        "cheap": DeviceClass(count=9, hourly_cost=1.0),
    }
    return toy_scenario(classes, [toy_model("m", 20_000, rate_rps=rate_rps)], objective="cost")


@pytest.mark.usefixtures("lying")
def test_a_planner_whose_solver_lies_still_plans_and_its_bound_holds() -> None:
    # The cheapest for 250/s is one of each: 4. Its claims are all false, so only the bound at the devices' own
    # costs is left: a request per second costs 3/200 on a dear device, 1/50 on a cheap one. So 250 cost 3.75 or more.
    limits = SearchLimits(gap=1e-9, time_limit_s=30)
    plan = plan_templates(PlanningQuestion(asked(250.0), PROFILES, limits), "penstock").solution
    check_plan(plan, PROFILES)
    assert plan.objective >= 4.0
    assert plan.bound == pytest.approx(3.75)


@pytest.mark.usefixtures("lying")
def test_a_planner_whose_solver_lies_refuses_what_is_proven_only() -> None:
    # All devices serve 1,050/s.
    limits = SearchLimits(gap=1e-9, time_limit_s=30)
    with pytest.raises(InfeasibleError, match="cannot meet the demand"):
        plan_templates(PlanningQuestion(asked(1400.0), PROFILES, limits), "penstock")


def test_priced_templates_prove_it_by_their_bound_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def relaxed(rate_rps: float) -> float:
        question = PlanningQuestion(asked(rate_rps), PROFILES, SearchLimits())
        spaces = template_spaces(question, budgets(question))
        return relax_spaces(spaces, question.fleet).prices.bound

    assert relaxed(1400.0) == -math.inf
    # The loop ends before it has found how to serve 1,000/s, though its bound, 1.05, does not rule it out.
    whole = column_generation._generate
    monkeypatch.setattr(
        column_generation, "_generate", lambda *arguments: replace(whole(*arguments), value=0.9)
    )
    # 1,000 requests at 3/200 each.
    assert relaxed(1000.0) == pytest.approx(-15.0)
