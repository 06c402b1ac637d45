"""The planner with split stages: the best plan, a bound that covers all, and plans that pass the checker."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import InfeasibleError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.plan import has_split_stages
from penstock.plan.exact.worker_program import solve
from penstock.plan.highs import Effort
from penstock.plan.hold.candidates import Candidates
from penstock.plan.hold.capacity_need import CapacityNeed
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners import pool_planner
from penstock.plan.planners.by_name import PLANNERS
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.questions.explain import explain
from penstock.plan.templates.table import LatencyBudget

EXACT = SearchLimits(gap=0.0)

# On "a" a batch of 4 takes four times as long as 1; on "b" a batch of 4 takes hardly longer.
SPREAD = {
    ("a", 1): [[10_000, 20_000, 30_000, 40_000], [90_000] * 4],
    ("b", 1): [[90_000] * 4, [9_000, 9_000, 9_000, 10_000]],
}


def toy(tables, count, *, slo_us, pieces, boundary=0, models=1):
    classes = {name: DeviceClass(count=number) for name, number in count.items()}
    names = [f"m{k}" for k in range(models)]
    profiles = {name: toy_profile(name, tables, boundary_bytes=[0, boundary, 0]) for name in names}
    scenario = toy_scenario(classes, [toy_model(name, slo_us) for name in names])
    return scenario.with_planner(split_stages=pieces), profiles


def test_a_slow_class_runs_pieces():
    # 20 ms within 20 ms: a batch of 4 must be divided into 4 on "a". One "b" then serves 400/s, and four "a" too.
    scenario, profiles = toy(SPREAD, {"a": 4, "b": 1}, slo_us=20_001, pieces=4)
    found = PoolPlanner(EXACT).plan(scenario, profiles)
    check_plan(found.solution, profiles)
    first, last = found.solution.models[0].pipelines[0].stages
    assert (first.batch, first.pieces, first.inference_us, last.pieces) == (4, 4, 10_000, 1)
    assert found.objective == pytest.approx(400.0)
    whole, profiles = toy(SPREAD, {"a": 4, "b": 1}, slo_us=20_001, pieces=1)
    assert PoolPlanner(EXACT).plan(whole, profiles).objective == pytest.approx(1e6 / 9_000)


def test_too_few_workers_for_the_pieces():
    # Three "a" cannot run 4 pieces, but 3 pieces of a batch of 3; 300/s.
    scenario, profiles = toy(SPREAD, {"a": 3, "b": 1}, slo_us=20_001, pieces=4)
    found = PoolPlanner(EXACT).plan(scenario, profiles)
    check_plan(found.solution, profiles)
    assert found.solution.models[0].pipelines[0].stages[0].pieces == 3
    assert found.objective == pytest.approx(300.0)


def best_by_hand(tables, count, slo_us, pieces, sample_us):
    """The best rate of one model on whole devices, over every set of pipelines: dynamic programming over devices."""
    names = list(count)
    options = []
    for batch in range(1, 5):
        chains = [((0, 2),), ((0, 1), (1, 2))]
        for chain in chains:
            for classes in itertools.product(range(len(names)), repeat=len(chain)):
                for split in itertools.product(range(1, min(pieces, batch) + 1), repeat=len(chain)):
                    latency, workers_rps = 0.0, []
                    for (start, stop), c, k in zip(chain, classes, split, strict=True):
                        row = np.array(tables[names[c], 1])[start:stop].sum(axis=0)
                        sizes = [batch // k + (piece < batch % k) for piece in range(k)]
                        latency += row[sizes[0] - 1]
                        rate = batch * 1e6 / sum(row[size - 1] for size in sizes)
                        if len(chain) > 1 and sample_us:
                            rate = min(rate, 1e6 / sample_us)
                        workers_rps.append(rate)
                    latency += batch * sample_us if len(chain) > 1 else 0.0
                    if latency <= slo_us:
                        options.append((classes, split, workers_rps))

    @cache
    def best(*left):
        found = 0.0
        for classes, split, rates in options:
            for number in itertools.product(
                *(range(k, left[c] + 1) for c, k in zip(classes, split, strict=True))
            ):
                rest = list(left)
                for c, workers in zip(classes, number, strict=True):
                    rest[c] -= workers
                if min(rest) >= 0:
                    rate = min(workers * rps for workers, rps in zip(number, rates, strict=True))
                    found = max(found, rate + best(*rest))
        return found

    return best(*count.values())


@st.composite
def instances(draw: st.DrawFn):
    rows = st.lists(st.integers(500, 12_000), min_size=4, max_size=4)
    tables = {(name, 1): [sorted(draw(rows)), sorted(draw(rows))] for name in ("a", "b")}
    count = {"a": draw(st.integers(1, 4)), "b": draw(st.integers(0, 3))}
    return (
        tables,
        count,
        draw(st.integers(3_000, 60_000)),
        draw(st.integers(2, 4)),
        draw(st.sampled_from([0, 1_250_000])),
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(instances(), st.booleans())
def test_the_best_of_all_plans_and_a_bound_on_them(monkeypatch, instance, priced: bool):
    tables, count, slo_us, pieces, boundary = instance
    scenario, profiles = toy(tables, count, slo_us=slo_us, pieces=pieces, boundary=boundary)
    true = best_by_hand(tables, count, slo_us, pieces, boundary / 1_250_000 * 1000)
    with monkeypatch.context() as patched:
        if priced:
            patched.setattr(pool_planner, "MOST_LISTED", 0)
        try:
            found = PoolPlanner(EXACT).plan(scenario, profiles)
        except InfeasibleError:
            assert true == 0.0
            return
    check_plan(found.solution, profiles)
    assert found.bound >= true * (1 - 1e-6)
    assert found.objective <= true * (1 + 1e-6)
    if not priced:
        assert found.objective == pytest.approx(true, rel=1e-5)


@settings(max_examples=15, deadline=None)
@given(instances(), st.integers(1, 2))
def test_every_planner_and_draft_makes_plans_that_pass(instance, models: int):
    tables, count, slo_us, pieces, boundary = instance
    scenario, profiles = toy(tables, count, slo_us=slo_us, pieces=pieces, boundary=boundary, models=models)
    for planner in PLANNERS.values():
        try:
            check_plan(planner(SearchLimits()).plan(scenario, profiles).solution, profiles)
        except InfeasibleError:
            continue
    try:
        candidates = Candidates(scenario, profiles, 3)
    except InfeasibleError:
        return
    needs = [CapacityNeed(np.array([1.2, 1.0]), np.array([0.02, 0.0]))] * models
    drafted = candidates.program(0.8).draft(
        np.full(models, candidates.bound), lambda rates: needs, np.ones(models), Effort(1e-3, 5.0)
    )
    if drafted is None:
        return
    plan = candidates.plan(drafted)
    check_plan(plan, profiles)
    assert plan.objective <= candidates.bound * (1 + 1e-6)


@pytest.mark.parametrize("devices", [3, 4, 9])
def test_the_program_gives_each_piece_a_worker(devices: int):
    scenario, profiles = toy(SPREAD, {"a": devices, "b": 1}, slo_us=20_001, pieces=4)
    question = PlanningQuestion(scenario, profiles)
    templates = question.templates(0, LatencyBudget(20_001.0, 0.0))
    only = templates.take((templates.pieces == [4, 1]).all(axis=1))
    answer = solve(only, question.fleet, Effort(0.0, 10.0))
    if devices < 4:
        assert not answer.workers.any()
        assert answer.bound == pytest.approx(0.0, abs=1e-3)
    else:
        assert answer.workers.tolist() == [[4, 1]]


def test_explain_reads_plans_with_split_stages():
    scenario, profiles = toy(SPREAD, {"a": 4, "b": 1}, slo_us=20_001, pieces=4)
    plan = PoolPlanner(EXACT).plan(scenario, profiles).solution
    assert has_split_stages(plan)
    found = explain(plan, profiles)
    assert found.relaxation == pytest.approx(400.0)
    assert [limit.limited_by for limit in found.pools] == ["inference", "inference"]
    assert found.slack[0].slack_us == pytest.approx(1.0, abs=0.1)


def test_templates_of_three_stages_are_not_split():
    profile = toy_profile("m0", {("a", 1): [[10, 20]] * 3}, boundary_bytes=[0] * 4)
    scenario = toy_scenario({"a": DeviceClass(count=9)}, [toy_model("m0", 10**6)], max_stages=3)
    question = PlanningQuestion(scenario.with_planner(split_stages=2), {"m0": profile})
    # A batch of 2 takes as long as two of 1, one after the other, so two pieces are faster everywhere.
    templates = question.templates(0, LatencyBudget(1e6, 0.0))
    assert templates.stages[templates.is_split].max() == 2
    assert (templates.stages == 3).any()
