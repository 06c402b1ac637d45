"""Tails that miss the SLO, and tails known from a handful of runs, are said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.plan import WorkerPlacement
from penstock.plan.exact.latency_budget import ModelBudget
from penstock.plan.interfaces import SearchLimits
from penstock.plan.no_pipeline import described
from penstock.plan.placement.assemble import model_plans, plan_with_proof
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.questions.tail_latency import client_doubts, profile_doubts, slow_tails, wide_spreads
from penstock.plan.templates.pricing import cost_of, price
from penstock.profile.table import LatencyTable
from penstock.schedule.facts import make_facts


def case(p99_us, *, runs=500, slo_us=20_000):
    """Two blocks of 6 and 4 ms on one class."""
    profile = toy_profile("a", {("X", 1): [[6_000], [4_000]]})
    table = LatencyTable(np.array([[6_000], [4_000]]), np.array([[each] for each in p99_us]), runs)
    profile = replace(profile, tables={("X", 1): table})
    scenario = toy_scenario({"X": DeviceClass(count=2)}, [toy_model("a", slo_us)], max_stages=1)
    plan = PoolPlanner(SearchLimits()).plan(scenario, {"a": profile}).solution
    return plan, {"a": profile}


def test_the_guard_is_that_of_the_policy():
    """3 and 4 ms above the medians of two blocks: the root of the sum of squares is 5 ms."""
    plan, profiles = case((9_000, 8_000), slo_us=12_000)
    (tail,) = slow_tails(plan, profiles)
    assert (tail.alone_work_us, tail.alone_tail_us) == (10_000, 15_000)
    assert make_facts(dispatch_table(plan, profiles)).guard_us[0, 1] == 5_000


@pytest.mark.parametrize(("slo_us", "said"), [(15_000, False), (14_999, True)])
def test_a_tail_above_the_slo_is_said_to_planner_and_client_alike(slo_us, said):
    plan, profiles = case((9_000, 8_000), slo_us=slo_us)
    (note,) = client_doubts(plan, profiles)
    warnings = profile_doubts(plan, profiles)
    assert (bool(note), len(warnings)) == (said, int(said))
    if said:
        claim = "a batch of 1 takes 10.000 ms at the median but 15.000 ms at the 99th percentile"
        assert note.startswith(claim)
        assert claim in warnings[0]
    # The overhead of a request counts for the client.
    (with_overhead,) = client_doubts(plan, profiles, overhead_us=slo_us - 14_999)
    assert with_overhead
    # Without percentiles there is no tail, however long the overhead is.
    assert client_doubts(*case((6_000, 4_000), slo_us=slo_us), overhead_us=slo_us) == ("",)


def test_percentiles_from_a_handful_of_runs_are_said_once():
    (doubt,) = profile_doubts(*case((6_100, 4_100), runs=12))
    assert "come from 12 runs" in doubt
    assert profile_doubts(*case((6_100, 4_100), runs=100)) == []
    (doubt,) = profile_doubts(*case((9_000, 8_000), runs=12, slo_us=14_999))
    assert "from 12 runs only" in doubt


def spread_profile(rows, excess):
    """Class X and class Y, one share each: by class, medians (blocks, batches), and what each 99th percentile adds."""
    profile = toy_profile("a", {(name, 1): rows[name] for name in rows})
    tables = {
        (name, 1): LatencyTable(np.array(rows[name]), np.array(rows[name]) + np.array(excess[name]), 500)
        for name in rows
    }
    return replace(profile, tables=tables)


def test_the_planner_takes_what_a_policy_can_promise():
    """Batch 2 serves more by the medians, but no policy promises it: the planner takes batch 1, and nothing is said."""
    profile = spread_profile({"X": [[6_000, 8_000]]}, {"X": [[1_000, 7_000]]})
    scenario = toy_scenario({"X": DeviceClass(count=1)}, [toy_model("a", 10_000)], max_stages=1)
    plan = PoolPlanner(SearchLimits()).plan(scenario, {"a": profile}).solution
    assert [pipeline.stages[0].batch for pipeline in plan.models[0].pipelines] == [1]
    assert profile_doubts(plan, {"a": profile}) == []


def test_if_nothing_can_be_promised_medians_decide_and_it_is_said():
    profile = spread_profile({"X": [[6_000, 8_000]]}, {"X": [[5_000, 7_000]]})
    scenario = toy_scenario({"X": DeviceClass(count=1)}, [toy_model("a", 10_000)], max_stages=1)
    plan = PoolPlanner(SearchLimits()).plan(scenario, {"a": profile}).solution
    (doubt,) = profile_doubts(plan, {"a": profile})
    assert "no policy can promise an answer in time" in doubt


def test_a_wide_spread_is_said_if_its_pipeline_is_not_served():
    """A stage of 1000/s by its median, and a 99th percentile of 100 times that: some 140/s on average."""
    profile = spread_profile({"X": [[1_000]]}, {"X": [[99_000]]})
    scenario = toy_scenario({"X": DeviceClass(count=1)}, [toy_model("a", 10**7)], max_stages=1)
    plan = PoolPlanner(SearchLimits()).plan(scenario, {"a": profile}).solution
    [wide] = wide_spreads(plan, {"a": profile})
    assert (wide.rate_rps, round(wide.possible_rps)) == (1000.0, 141)
    assert "Of the planned 1000.0 requests/s, about 140.9 are possible" in wide.sentence
    # At 140/s the stage keeps up.
    [model] = plan.models
    slower = model.edited(rate_rps=140.0, pipelines=[model.pipelines[0].edited(rate_rps=140.0)])
    assert wide_spreads(plan.edited(models=[slower]), {"a": profile}) == []


@st.composite
def spreads(draw):
    """A question about one model of two classes with percentiles, whose SLO is near them."""
    blocks, batches = draw(st.integers(1, 4)), draw(st.integers(1, 2))
    grid = st.lists(
        st.lists(st.integers(1, 3_000), min_size=batches, max_size=batches), min_size=blocks, max_size=blocks
    )
    rows = {name: [sorted(row) for row in draw(grid)] for name in "XY"}
    profile = spread_profile(rows, {name: draw(grid) for name in "XY"})
    slo_us = draw(st.integers(500, 12_000))
    margin = draw(st.sampled_from([0.0, 0.1, 0.4]))
    scenario = toy_scenario(
        {"X": DeviceClass(count=2), "Y": DeviceClass(count=2)},
        [toy_model("a", slo_us).model_copy(update={"slo_margin": margin, "slo_margin_us": None})],
        max_stages=3,
    )
    return PlanningQuestion(scenario, {"a": profile})


@given(spreads())
@settings(deadline=None, max_examples=60)
def test_templates_that_can_be_promised_are_those_that_the_policy_promises(question):
    """The policy's own table judges each template. A few microseconds of rounding may hide the last one."""
    budget = question.budget(0, 100.0)
    every = question.templates(0, budget, promised=False)
    slo_us = question.scenario.models[0].latency_slo_us
    tails = np.array([policy_tail_us(question, every, row) for row in range(len(every))])
    space = question.space(0, budget)
    found = {described(every, row, question.scenario) for row in np.flatnonzero(tails <= slo_us)}
    listed = question.templates(0, budget)
    names = {described(listed, row, question.scenario) for row in range(len(listed))}
    if not len(every) or tails.min() > slo_us:
        assert space.excess_us is None
    if space.excess_us is not None:
        assert names == found
        # Priced, they are bounded by the cheapest of all, and every column can be promised.
        priced = price(space, np.array([1.0, 0.5]))
        assert priced.cost <= cost_of(listed, np.array([1.0, 0.5])).min() * (1 + 1e-9)
        assert len(priced.columns)
        assert {described(priced.columns, r, question.scenario) for r in range(len(priced.columns))} <= found
    else:
        every_names = {described(every, row, question.scenario) for row in range(len(every))}
        assert names == every_names
        assert not len(every) or tails.min() > slo_us - 2 * 3 or found == every_names


def policy_tail_us(question, templates, row):
    """Work and guard of a template by the table that its plan would have, one worker at each stage."""
    budget = [ModelBudget(question.scenario.models[0].latency_slo_us, 0, 100.0, 100.0)]
    workers = np.zeros_like(templates.share)
    workers[row] = (templates.share[row] > 0).astype(np.int64)
    models = model_plans(templates, workers, question.scenario, question.profiles, budget)
    stages = models[0].pipelines[0].stages
    placement = [
        WorkerPlacement(
            worker=k,
            model="a",
            pipeline=0,
            stage=k,
            slot=0,
            device_class=s.device_class,
            host=k,
            device=k,
            share=1,
        )
        for k, s in enumerate(stages)
    ]
    plan = plan_with_proof(
        models, question.scenario, planner="x", bound=1e9, gap=1.0, stats={}, placement=placement
    )
    facts = make_facts(dispatch_table(plan.solution, question.profiles))
    batch = stages[0].batch
    return int(facts.work_us[0, batch] + facts.guard_us[0, batch])
