"""The closed loop with judges whose verdict is known by hand."""

from __future__ import annotations

import math

import pytest
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.plan import Verification
from penstock.plan.hold.choice_search import ChoiceSearch
from penstock.plan.hold.choices import Candidates, ModelChoice
from penstock.plan.hold.closed_loop import plan_to_hold, verified
from penstock.plan.interfaces import ModelScore, Score, SearchLimits

LIMITS = SearchLimits(gap=1e-4, time_limit_s=5.0)
HOW = Verification(target=0.99, policy="reservation", arrivals="poisson", seconds=1.0, seeds=[7])

# A batch of 1 takes 10 ms, of 4 takes 20 ms: 100 or 200 requests a second and device; the SLO is 40 ms.
PROFILES = {name: toy_profile(name, {("fast", 1): [[10_000, 13_000, 16_500, 20_000]]}) for name in ("a", "b")}


def scenario(*names, devices=8):
    return toy_scenario({"fast": DeviceClass(count=devices)}, [toy_model(name, 40_000) for name in names])


def margin_of(model):
    """The share of the SLO that the model's tightest pipeline leaves."""
    return 1 - max(p.stages[0].inference_us for p in model.pipelines) / model.slo_us


def judge(held_share):
    """Holds ``held_share(model)`` of each planned rate."""

    def evaluate(plan):
        held = [held_share(model) * model.rate_rps for model in plan.models]
        return Score(
            tuple(ModelScore(m.name, rps, 0.99, rps, rps) for m, rps in zip(plan.models, held, strict=True))
        )

    return evaluate


def test_margins_bar_what_they_should_and_tastes_prefer_slack():
    candidates = Candidates(scenario("a"), PROFILES, 1)
    batches = {
        choice: candidates.plan((choice,), [1.0], LIMITS).plan.models[0].pipelines[0].stages[0].batch
        for choice in (ModelChoice(0.0, 0.0, 1), ModelChoice(0.6, 0.0, 1), ModelChoice(0.0, 100.0, 1))
    }
    # Rates 100, 154, 182, 200 and slacks 0.75, 0.67, 0.59, 0.5: batch 2 has the largest product.
    assert list(batches.values()) == [4, 2, 2]
    with pytest.raises(InfeasibleError, match="meets its SLO"):
        candidates.plan((ModelChoice(0.9, 0.0, 1),), [1.0], LIMITS)


def test_the_fluid_bound_is_that_of_the_best_template():
    assert Candidates(scenario("a"), PROFILES, 1).prices.bound == pytest.approx(8 * 200)


def test_the_search_finds_the_margin_that_the_judge_asks_for():
    """Only plans with at least 60% slack hold their rate (batch 2, 2 / 13 ms); the others hold a tenth."""
    search = ChoiceSearch(
        Candidates(scenario("a"), PROFILES, 1), [1.0], judge(lambda m: 1.0 if margin_of(m) >= 0.6 else 0.1)
    )
    best = search.run((ModelChoice(0.0, 0.0, 1), ModelChoice(0.6, 0.0, 1)), rounds=3)
    assert best.goodput_rps == pytest.approx(8 * 2 / 0.013)


def test_judges_with_more_runs_overrule_the_search():
    """The search believes that plans without slack hold all of their rate; more runs show that they hold half.

    The last judge sees no plan that the one before put behind its best three.
    """
    seen = []

    def certain(plan, score):
        seen.append(plan)
        return judge(lambda m: 1.0 if margin_of(m) >= 0.6 else 0.5)(plan)

    candidates = Candidates(scenario("a"), PROFILES, 1)
    grid = (ModelChoice(0.0, 0.0, 1), ModelChoice(0.55, 0.0, 1), ModelChoice(0.6, 0.0, 1))
    believed = ChoiceSearch(candidates, [1.0], judge(lambda m: 1.0)).run(grid, rounds=1)
    assert believed.goodput_rps == pytest.approx(8 * 200)
    search = ChoiceSearch(candidates, [1.0], judge(lambda m: 1.0), judges=(certain, certain))
    best = search.run(grid, rounds=1)
    # Batch 2 leaves 67%: 8 x 154 requests/s, all held. Batch 4: 8 x 200, half held.
    assert best.goodput_rps == pytest.approx(8 * 2 / 0.013)
    assert len(seen) <= 6 + 3


def test_a_round_without_a_plan_ends_no_search(monkeypatch):
    """The solver's time may end before it has a plan, though the same choices had one alone."""
    candidates = Candidates(scenario("a", "b"), PROFILES, 1)
    search = ChoiceSearch(candidates, [1.0, 1.0], judge(lambda m: 1.0 if m.name == "a" else 0.5))
    whole = candidates.plan
    mixed = []

    def plan(choice, weights, limits):
        if weights != (1.0, 1.0):
            mixed.append(weights)
            raise InfeasibleError("out of time")
        return whole(choice, weights, limits)

    monkeypatch.setattr(type(candidates), "plan", lambda self, *arguments: plan(*arguments))
    best = search.run((ModelChoice(0.0, 0.0, 1),), rounds=4)
    assert mixed
    assert best.goodput_rps == pytest.approx(400)


def test_a_model_that_holds_less_of_its_rate_gets_more_devices():
    """a holds all, b half: with 9 devices of 200/s, 3 for a and 6 for b give 600 each."""
    evaluate = judge(lambda m: 1.0 if m.name == "a" else 0.5)
    search = ChoiceSearch(Candidates(scenario("a", "b", devices=9), PROFILES, 1), [1.0, 1.0], evaluate)
    best = search.run((ModelChoice(0.0, 0.0, 1),), rounds=6)
    assert [m.pipelines[0].stages[0].workers for m in best.planned.plan.models] == [3, 6]
    assert best.goodput_rps == pytest.approx(600)


def test_looser_margins_are_tried_where_the_widest_holds_most():
    seen = []

    def evaluate(plan):
        seen.append(margin_of(plan.models[0]))
        return judge(lambda m: margin_of(m) ** 6)(plan)

    search = ChoiceSearch(Candidates(scenario("a"), PROFILES, 1), [1.0], evaluate)
    best = search.run((ModelChoice(0.0, 0.0, 1),), rounds=2)
    assert best.planned.choice[0].margin == 0.7
    assert max(seen) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("gain", "memory_gb", "shares"), [(1.1, None, True), (0.9, None, False), (1.1, 3.0, False)]
)
def test_pools_are_shared_where_the_judge_finds_that_to_hold_more(gain, memory_gb, shares):
    """Pieces of 2 GB each: 3 GB hold one model, not both."""
    profiles = {
        name: toy_profile(name, {("fast", 1): [[10_000, 13_000]]}, parameter_bytes=2 * 10**9) for name in "ab"
    }
    fleet = {"fast": DeviceClass(count=8, memory_gb=memory_gb)}
    asked = toy_scenario(fleet, [toy_model(name, 40_000) for name in "ab"])
    seen = []

    def evaluate(plan):
        seen.append(plan.shared_pools)
        return judge(lambda m: gain if plan.shared_pools else 1.0)(plan)

    best = ChoiceSearch(Candidates(asked, profiles, 1), [1.0, 1.0], evaluate).run(
        (ModelChoice(0.0, 0.0, 1),), rounds=1
    )
    assert best.planned.plan.shared_pools == shares
    assert any(seen) == (memory_gb is None)
    check_plan(best.planned.plan, profiles)


def test_pools_are_lent_if_that_holds_more_than_sharing():
    profiles = {name: toy_profile(name, {("fast", 1): [[10_000, 13_000]]}) for name in "ab"}
    asked = toy_scenario({"fast": DeviceClass(count=8)}, [toy_model(name, 40_000) for name in "ab"])

    def evaluate(plan):
        return judge(lambda m: 1.2 if plan.lent_pools else 1.1 if plan.shared_pools else 1.0)(plan)

    best = ChoiceSearch(Candidates(asked, profiles, 1), [1.0, 1.0], evaluate).run(
        (ModelChoice(0.0, 0.0, 1),), rounds=1
    )
    assert best.planned.plan.lent_pools
    check_plan(best.planned.plan, profiles)


def test_a_model_alone_has_nothing_to_share():
    seen = []

    def evaluate(plan):
        seen.append(plan.shared_pools)
        return judge(lambda m: 1.0)(plan)

    ChoiceSearch(Candidates(scenario("a"), PROFILES, 1), [1.0], evaluate).run(
        (ModelChoice(0.0, 0.0, 1),), rounds=0
    )
    assert not any(seen)


def test_a_judge_that_holds_nothing_is_no_answer():
    search = ChoiceSearch(Candidates(scenario("a"), PROFILES, 1), [1.0], judge(lambda m: 0.0))
    with pytest.raises(InfeasibleError, match="no plan holds"):
        search.run((ModelChoice(0.0, 0.0, 1),), rounds=1)


def test_stated_rates_are_those_that_fresh_seeds_confirm():
    """The search believes in the whole rate, fresh seeds in 0.97 of it: the plan states that."""

    def confirm(plan, rates):
        return [0.995 if r <= 0.97 * m.rate_rps else 0.98 for r, m in zip(rates, plan.models, strict=True)]

    plan = plan_to_hold(
        scenario("a", "b"),
        PROFILES,
        evaluate=judge(lambda m: 1.0),
        confirm=confirm,
        verification=HOW,
        rounds=1,
    )
    for model in plan.models:
        assert 0.96 <= model.offered_rps / model.rate_rps <= 0.97
        assert model.verified.attainment == 0.995
    check_plan(plan, PROFILES)
    without = [m.model_copy(update={"verified": None}) for m in plan.models[:1]] + plan.models[1:]
    with pytest.raises(BadInputError, match="state no verified rate"):
        check_plan(plan.model_copy(update={"models": without}), PROFILES)
    with pytest.raises(BadInputError, match="verification: missing"):
        check_plan(plan.model_copy(update={"verification": None}), PROFILES)
    strict = HOW.model_copy(update={"target": 0.999})
    with pytest.raises(BadInputError, match=r"the target is 0\.999"):
        check_plan(plan.model_copy(update={"verification": strict}), PROFILES)


def test_rates_that_no_seed_confirms_are_not_stated():
    plan = Candidates(scenario("a"), PROFILES, 1).plan((ModelChoice(0.0, 0.0, 1),), [1.0], LIMITS).plan
    with pytest.raises(InfeasibleError, match="fresh seeds do not confirm"):
        verified(plan, [100.0], lambda plan, rates: [0.5], HOW)
    assert math.isclose(plan.models[0].offered_rps, plan.models[0].rate_rps)


def test_demands_are_held_at_the_least_cost():
    """Half of each rate is held: 400/s and 200/s take 800 and 400, so 4 and 2 devices of 200/s at 3.00 an hour."""
    fleet = {"fast": DeviceClass(count=20, hourly_cost=3.0)}
    asked = toy_scenario(
        fleet, [toy_model(name, 40_000).demanding(rate) for name, rate in (("a", 399.0), ("b", 199.0))]
    )
    asked = asked.model_copy(update={"planner": asked.planner.model_copy(update={"objective": "cost"})})
    judged = judge(lambda m: 0.5)

    def confirm(plan, rates):
        held = [model.held_rps for model in judged(plan).models]
        return [0.995 if rate <= most else 0.5 for rate, most in zip(rates, held, strict=True)]

    plan = plan_to_hold(asked, PROFILES, evaluate=judged, confirm=confirm, verification=HOW)
    assert [sum(p.stages[0].workers for p in m.pipelines) for m in plan.models] == [4, 2]
    assert plan.objective == pytest.approx(18.0)
    assert [m.offered_rps for m in plan.models] == [399.0, 199.0]
    check_plan(plan, PROFILES)
    few = asked.model_copy(
        update={
            "cluster": asked.cluster.model_copy(
                update={"device_classes": {"fast": DeviceClass(count=5, hourly_cost=3.0)}}
            )
        }
    )
    with pytest.raises(InfeasibleError, match="cannot meet the demand"):
        plan_to_hold(few, PROFILES, evaluate=judged, confirm=confirm, verification=HOW)
