"""The closed loop with judges whose verdict is known by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.plan import Verification
from penstock.plan.exact.objective import rates_of
from penstock.plan.highs import Effort
from penstock.plan.hold.candidates import Candidates
from penstock.plan.hold.capacity_need import CapacityNeed, own_needs
from penstock.plan.hold.closed_loop import plan_to_hold, verified
from penstock.plan.hold.depth_search import DepthSearch
from penstock.plan.interfaces import ModelScore, Score, SearchLimits
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.templates.table import LatencyBudget

HOW = Verification(target=0.99, policy="reservation", arrivals="poisson", seconds=1.0, seeds=[7])
EFFORT = Effort(gap=1e-4, time_limit_s=5.0)

# A batch of 1 takes 10 ms, of 4 takes 20 ms: 100 or 200 requests a second and device; the SLO is 40 ms.
PROFILES = {name: toy_profile(name, {("fast", 1): [[10_000, 13_000, 16_500, 20_000]]}) for name in ("a", "b")}


def scenario(*names, devices=8):
    return toy_scenario({"fast": DeviceClass(count=devices)}, [toy_model(name, 40_000) for name in names])


def even(rates_rps):
    """One run of two seconds for each of two seeds: every request comes when its turn is, so nothing has to wait."""
    return [[np.arange(0.0, 2.0, 1.0 / rate) for rate in rates_rps] for _ in range(2)]


def poisson(rates_rps):
    rng = np.random.default_rng(5)
    return [[np.sort(rng.uniform(0.0, 20.0, rng.poisson(20.0 * rate))) for rate in rates_rps]]


def judge(held_share):
    """Holds ``held_share(model)`` of each planned rate."""

    def evaluate(plan):
        held = [held_share(model) * model.rate_rps for model in plan.models]
        return Score(
            tuple(ModelScore(m.name, rps, 0.99, rps, rps) for m, rps in zip(plan.models, held, strict=True))
        )

    return evaluate


def plan_held(asked, evaluate, *, profiles=PROFILES, paths=even, confirm=None, **more):
    """Fresh seeds confirm every rate, unless ``confirm`` says otherwise."""
    return plan_to_hold(
        asked,
        profiles,
        evaluate=evaluate,
        paths=paths,
        confirm=confirm or (lambda plan, rates: [0.995 for _ in rates]),
        verification=HOW,
        **more,
    )


def search_of(asked, profiles, evaluate, *, paths=even, judges=(), stages=1):
    weights = [model.weight for model in asked.models]
    candidates = Candidates(asked, profiles, stages)
    return DepthSearch(candidates, weights, evaluate, paths, 0.99, judges=judges)


def test_the_fluid_bound_is_that_of_the_best_template():
    assert Candidates(scenario("a"), PROFILES, 1).bound == pytest.approx(8 * 200)


def test_even_traffic_is_planned_for_capacity_alone():
    best = search_of(scenario("a"), PROFILES, judge(lambda m: 1.0)).run()
    assert best.goodput_rps == pytest.approx(8 * 200)


def test_a_margin_that_the_scenario_states_bars_nothing():
    """The fastest batch takes 10 ms. The error of a shorter SLO speaks of no margin either."""
    wide = scenario("a").with_models(lambda model: model.with_margin(0.9))
    assert Candidates(wide, PROFILES, 1).bound == pytest.approx(8 * 200)
    short = wide.with_models(lambda model: model.with_slo_us(9_000))
    with pytest.raises(InfeasibleError, match=r"nearest feasible SLO is 10000 us") as refused:
        Candidates(short, PROFILES, 1)
    assert "less a margin of 0.000 ms" in str(refused.value) or "margin" not in str(refused.value)


def needs_of(level, slope):
    """The same need for every model, whatever the rates are."""
    return lambda rates: [CapacityNeed(np.array(level), np.array(slope)) for _ in rates]


def test_the_program_trades_capacity_for_backlog():
    """Whoever may let little wait needs more: batches of 4 serve 200/s with 20 ms to spare, of 1 100/s with 30 ms.

    Capacity alone: 8 x 200 of batch 4. If what may wait counts most, rate * slack decides: 100 x 30 ms, 154 x 27,
    182 x 23.5 and 200 x 20.
    """
    candidates = Candidates(scenario("a"), PROFILES, 1)
    first = np.array([1000.0])
    lavish = candidates.program(1.0).draft(first, needs_of([1.0], [0.0]), np.ones(1), EFFORT)
    assert lavish.templates.batch[lavish.workers.any(axis=1)].tolist() == [4]
    careful = candidates.program(1.0).draft(first, needs_of([100.0, 0.5], [2.5, 0.0]), np.ones(1), EFFORT)
    assert careful.templates.batch[careful.workers.any(axis=1)].tolist() == [3]


@st.composite
def tiny_fleets(draw: st.DrawFn):
    """Up to five devices of two classes, one model, whole models or two stages, and up to three lines of need."""
    row = st.lists(st.integers(1_000, 15_000), min_size=1, max_size=1)
    tables = {(name, 1): [draw(row), draw(row)] for name in ("x", "y")}
    count = {"x": draw(st.integers(1, 3)), "y": draw(st.integers(1, 2))}
    lines = draw(st.lists(st.tuples(st.floats(0.8, 4.0), st.floats(0.0, 0.5)), min_size=1, max_size=3))
    return tables, count, draw(st.integers(15_000, 80_000)), lines


@settings(max_examples=40, deadline=None)
@given(tiny_fleets())
def test_no_workers_serve_more_than_those_that_the_program_finds(fleet):
    """Against every choice of workers for every template."""
    tables, count, slo_us, lines = fleet
    profiles = {"a": toy_profile("a", tables)}
    asked = toy_scenario({name: DeviceClass(count=n) for name, n in count.items()}, [toy_model("a", slo_us)])
    try:
        candidates = Candidates(asked, profiles, 2)
    except InfeasibleError:
        return
    needs = needs_of([1.0, *(level for level, _ in lines)], [0.0, *(slope for _, slope in lines)])
    program = candidates.program(1.0)
    drafted = program.draft(np.array([100.0]), needs, np.ones(1), EFFORT)
    if drafted is None:
        return
    estimate = float(drafted.estimate_rps[0])

    def served(templates, slack_s, workers):
        rates = rates_of(templates, workers)
        return drafted.needs[0].served_rps(estimate, float(rates.sum()), float(rates @ slack_s))

    own_slack = slo_us / 1e6 - drafted.templates.latency_us / 1e6
    found = served(drafted.templates, own_slack, drafted.workers)
    # Every template, also those that the rule of costs drops. Batches of one do not gather, and nothing is moved.
    every = PlanningQuestion(asked, profiles, stages=2).templates(0, LatencyBudget(slo_us, 0.0))
    every = every.take(every.latency_us <= 0.98 * slo_us)
    best = max(
        served(every, (slo_us - every.latency_us) / 1e6, workers)
        for workers in every_choice(every, program.fleet.count)
    )
    assert found >= best * (1 - 2e-3)


def every_choice(templates, count):
    """All worker counts of at most two templates that fit: more than two hardly fit on five devices."""
    used = templates.device_class >= 0
    for chosen in itertools.combinations(range(len(templates)), min(2, len(templates))):
        places = [(t, s) for t in chosen for s in np.flatnonzero(used[t])]
        most = [int(count[templates.device_class[t, s]]) for t, s in places]
        for numbers in itertools.product(*(range(n + 1) for n in most)):
            workers = np.zeros(templates.share.shape, np.int64)
            for (t, s), number in zip(places, numbers, strict=True):
                workers[t, s] = number
            taken = np.bincount(templates.device_class[used], weights=workers[used], minlength=len(count))
            if (taken <= count).all():
                yield workers


def test_judges_with_more_runs_overrule_the_search():
    """The search believes that lent pools hold least; more runs show that they hold most.

    The last judge sees no plan that the one before put behind its best three.
    """
    seen = []

    def certain(plan, score):
        seen.append(plan)
        return judge(lambda m: 1.2 if plan.lent_pools else 1.0)(plan)

    def hasty(plan):
        return judge(lambda m: 0.9 if plan.shared_pools else 1.0)(plan)

    asked = scenario("a", "b")
    assert not search_of(asked, PROFILES, hasty).run().plan.shared_pools
    best = search_of(asked, PROFILES, hasty, judges=(certain, certain)).run()
    assert best.plan.lent_pools
    assert len(seen) <= 6 + 3


def test_a_model_that_holds_less_of_its_rate_gets_more_devices():
    """a holds all, b half: with 9 devices of 200/s, 3 for a and 6 for b give 600 each."""
    evaluate = judge(lambda m: 1.0 if m.name == "a" else 0.5)
    best = search_of(scenario("a", "b", devices=9), PROFILES, evaluate).run(6)
    assert [sum(p.stages[0].workers for p in m.pipelines) for m in best.plan.models] == [3, 6]
    assert best.goodput_rps == pytest.approx(600)


def test_a_round_without_workers_ends_no_search(monkeypatch):
    """The solver's time may end before it has workers, though it had some in the round before."""
    search = search_of(scenario("a", "b"), PROFILES, judge(lambda m: 1.0))
    program = type(search.candidates.program(1.0))
    whole, drafts = program.draft, []

    def draft(self, *arguments):
        drafts.append(arguments)
        return whole(self, *arguments) if len(drafts) == 1 else None

    monkeypatch.setattr(program, "draft", draft)
    assert search.run().goodput_rps == pytest.approx(800)
    assert len(drafts) > 2


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

    best = search_of(asked, profiles, evaluate).run()
    assert best.plan.shared_pools == shares
    assert any(seen) == (memory_gb is None)
    check_plan(best.plan, profiles)


def test_pools_are_lent_if_that_holds_more_than_sharing():
    profiles = {name: toy_profile(name, {("fast", 1): [[10_000, 13_000]]}) for name in "ab"}
    asked = toy_scenario({"fast": DeviceClass(count=8)}, [toy_model(name, 40_000) for name in "ab"])

    def evaluate(plan):
        return judge(lambda m: 1.2 if plan.lent_pools else 1.1 if plan.shared_pools else 1.0)(plan)

    best = search_of(asked, profiles, evaluate).run()
    assert best.plan.lent_pools
    check_plan(best.plan, profiles)


def test_a_model_alone_has_nothing_to_share():
    seen = []

    def evaluate(plan):
        seen.append(plan.shared_pools)
        return judge(lambda m: 1.0)(plan)

    search_of(scenario("a"), PROFILES, evaluate).run()
    assert seen
    assert not any(seen)


def test_a_judge_that_holds_nothing_is_no_answer():
    with pytest.raises(InfeasibleError, match="no plan holds"):
        search_of(scenario("a"), PROFILES, judge(lambda m: 0.0)).run()


def test_a_device_may_move_more_than_its_equal_part():
    """One host of two slow devices, of which one serves the other model and moves nothing."""
    # A transfer keeps an interface busy for 8 ms: 62/s on an equal part of it. Alone a fast device serves 83/s.
    profiles = {
        "a": toy_profile(
            "a",
            {("slow", 1): [[10_000], [500_000]], ("fast", 1): [[6_000], [6_000]]},
            boundary_bytes=[0, 10_000_000, 0],
        ),
        "b": toy_profile("b", {("slow", 1): [[5_000], [5_000]], ("fast", 1): [[500_000], [500_000]]}),
    }
    fleet = {"slow": DeviceClass(count=2, per_host=2), "fast": DeviceClass(count=1)}
    asked = toy_scenario(fleet, [toy_model(name, 200_000) for name in "ab"])
    search = search_of(asked, profiles, judge(lambda m: 1.0), stages=2)
    best = search.run(1)
    check_plan(best.plan, profiles)
    equal = PoolPlanner(SearchLimits()).plan(asked, profiles).solution
    assert equal.objective == pytest.approx(1e6 / 12_000)
    # 0.8 of the interface moves 100/s.
    assert best.plan.objective == pytest.approx(100.0)
    assert best.plan.objective <= search.candidates.bound * (1 + 1e-6)


def test_stated_rates_are_those_that_fresh_seeds_confirm():
    """The search believes in the whole rate, fresh seeds in 0.97 of it: the plan states that."""

    def confirm(plan, rates):
        return [0.995 if r <= 0.97 * m.rate_rps else 0.98 for r, m in zip(rates, plan.models, strict=True)]

    plan = plan_held(scenario("a", "b"), judge(lambda m: 1.0), confirm=confirm, rounds=1)
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
    candidates = Candidates(scenario("a"), PROFILES, 1)
    needs = own_needs(even, candidates.slo_s, 0.99)
    plan = candidates.plan(candidates.program(1.0).draft(np.array([100.0]), needs, np.ones(1), EFFORT))
    with pytest.raises(InfeasibleError, match="fresh seeds do not confirm"):
        verified(plan, [100.0], lambda plan, rates: [0.5], HOW)
    assert math.isclose(plan.models[0].offered_rps, plan.models[0].rate_rps)


def demanding(rates, devices=20):
    fleet = {"fast": DeviceClass(count=devices, hourly_cost=3.0)}
    asked = toy_scenario(
        fleet, [toy_model(name, 40_000).demanding(rate) for name, rate in zip("ab", rates, strict=False)]
    )
    return asked.with_planner(objective="cost")


def test_demands_are_held_at_the_least_cost():
    """Half of each rate is held: 400/s and 200/s take 800 and 400, so 4 and 2 devices of 200/s at 3.00 an hour."""
    asked = demanding((399.0, 199.0))
    judged = judge(lambda m: 0.5)

    def confirm(plan, rates):
        held = [model.held_rps for model in judged(plan).models]
        return [0.995 if rate <= most else 0.5 for rate, most in zip(rates, held, strict=True)]

    plan = plan_held(asked, judged, confirm=confirm)
    assert [sum(p.stages[0].workers for p in m.pipelines) for m in plan.models] == [4, 2]
    assert plan.objective == pytest.approx(18.0)
    assert [m.offered_rps for m in plan.models] == [399.0, 199.0]
    check_plan(plan, PROFILES)
    with pytest.raises(InfeasibleError, match="cannot meet the demand"):
        plan_held(demanding((1399.0, 199.0), devices=5), judged, confirm=confirm)
    with pytest.raises(InfeasibleError, match="no plan holds the demands"):
        plan_held(demanding((399.0, 199.0), devices=5), judged, confirm=confirm)


def test_a_demand_that_fresh_seeds_do_not_confirm_gets_more():
    """The search finds that 2 devices hold 399/s; fresh seeds confirm a demand only on 3."""
    asked = demanding((399.0,))

    def confirm(plan, rates):
        return [0.995 if plan.objective >= 9.0 else 0.985 for _ in rates]

    plan = plan_held(asked, judge(lambda m: 1.0), confirm=confirm)
    assert plan.objective == pytest.approx(9.0)


def test_a_demand_above_what_the_needs_say_is_tried_too():
    """By their need, Poisson arrivals of 760/s take more than the 800/s there are, which hold them all the same."""
    asked = demanding((760.0,), devices=4)
    plan = plan_held(asked, judge(lambda m: 1.0), paths=poisson)
    assert plan.objective == pytest.approx(12.0)
    with pytest.raises(InfeasibleError, match="no plan holds the demands"):
        plan_held(asked, judge(lambda m: 0.9), paths=poisson)


def test_a_demand_that_no_fleet_of_this_size_meets_names_the_part_that_would_be_served():
    with pytest.raises(InfeasibleError, match=r"at most 0\.5 of every rate_rps"):
        plan_held(demanding((1600.0,), devices=4), judge(lambda m: 1.0))


@pytest.mark.parametrize(("most", "stages"), [(1, 1), (2, 2), (3, 2)])
def test_whole_models_stay_whole_if_the_scenario_asks_for_that(most, stages):
    """Block 0 is quick on x, and block 1 on y; both together hold 1,000/s, whole models 91 and 91."""
    profile = toy_profile("a", {("x", 1): [[1_000], [10_000]], ("y", 1): [[10_000], [1_000]]})
    fleet = {"x": DeviceClass(count=1), "y": DeviceClass(count=1)}
    asked = toy_scenario(fleet, [toy_model("a", 100_000)]).with_planner(max_stages=most)
    plan = plan_held(asked, judge(lambda m: 1.0), profiles={"a": profile})
    assert max(len(p.stages) for p in plan.models[0].pipelines) == stages
    assert plan.scenario.planner.max_stages == (1 if most == 1 else 3)


@pytest.mark.parametrize("shares", [True, False])
def test_devices_are_shared_by_models_only_if_the_scenario_allows_it(shares):
    """Halves of one device: with two models of equal weight, it has one half of each, or nothing at all."""
    profiles = {name: toy_profile(name, {("fast", 1): [[10_000]], ("fast", 2): [[12_000]]}) for name in "ab"}
    fleet = {"fast": DeviceClass(count=1, max_share=2)}
    asked = toy_scenario(fleet, [toy_model(name, 100_000) for name in "ab"]).with_planner(
        share_devices=shares
    )
    if not shares:
        with pytest.raises(InfeasibleError, match="cluster"):
            plan_held(asked, judge(lambda m: 1.0), profiles=profiles)
        return
    plan = plan_held(asked, judge(lambda m: 1.0), profiles=profiles)
    assert [m.pipelines[0].stages[0].share for m in plan.models] == [2, 2]
    check_plan(plan, profiles)
