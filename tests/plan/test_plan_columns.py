"""Templates priced but not listed, against the same templates listed: answers by hand, oracles, theorems."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import Cluster, DeviceClass
from penstock.plan.documents.checker import check_plan
from penstock.plan.exact.latency_budget import budgets
from penstock.plan.exact.worker_program import relax
from penstock.plan.interfaces import SearchLimits
from penstock.plan.large.column_generation import relax_spaces
from penstock.plan.large.knapsack_covers import Configurations, cover, promising
from penstock.plan.large.priced_search import search_spaces
from penstock.plan.large.rounding import round_up
from penstock.plan.planners.pool_planner import PoolPlanner, template_spaces
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.templates.fleet import Fleet
from penstock.plan.templates.pricing import cost_of, fastest, near_best, price
from penstock.plan.templates.space import TemplateSpace
from penstock.plan.templates.table import Templates, join, list_templates
from penstock.profile.table import Profile
from penstock.units import US_PER_S

NONE = 1 << 62


def space_of(profile: Profile, classes: dict[str, DeviceClass], limit_us: float, **settings) -> TemplateSpace:
    cluster = Cluster(bandwidth_gbps=10.0, device_classes=classes)
    chosen = {"build_us": 0.0, "max_stages": 3, **settings}
    return TemplateSpace.of(profile, cluster, limit_us=limit_us, **chosen)


@st.composite
def spaces(draw: st.DrawFn, models: int = 1) -> list[TemplateSpace]:
    """Small spaces on one random cluster: unlike bandwidths, shares, memory and batches, SLOs that bite."""
    blocks = draw(st.integers(1, 5))
    classes = {
        name: DeviceClass(
            count=draw(st.integers(1, 4)),
            per_host=draw(st.integers(1, 3)),
            max_share=draw(st.sampled_from([1, 2])),
            memory_gb=draw(st.sampled_from([None, 4])),
            bandwidth_gbps=draw(st.sampled_from([None, 0.1, 1.0])),
        )
        for name in "abc"[: draw(st.integers(1, 3))]
    }
    latency = st.integers(1, 3000)

    def profile(m: int) -> Profile:
        tables = {
            (name, share): [
                list(itertools.accumulate(draw(st.lists(latency, min_size=batches, max_size=batches))))
                for _ in range(blocks)
            ]
            for name in classes
            for share, batches in ((1, 3), (2, 2))
        }
        boundary = draw(st.lists(st.integers(0, 200_000), min_size=blocks + 1, max_size=blocks + 1))
        return toy_profile(f"m{m}", tables, boundary_bytes=boundary, parameter_bytes=10**9)

    return [
        space_of(
            profile(m),
            classes,
            limit_us=draw(st.integers(2000, 20_000)),
            build_us=draw(st.sampled_from([0.0, 100.0])),
            max_stages=draw(st.integers(1, 4)),
            model=m,
        )
        for m in range(models)
    ]


def listed_plainly(space: TemplateSpace) -> set[tuple]:
    """Every feasible template by plain loops: (batch, cuts, units)."""
    found = set()
    for stages in range(1, space.max_stages + 1):
        for inner in itertools.combinations(range(1, space.n_blocks), stages - 1):
            cuts = (0, *inner, space.n_blocks)
            for units in itertools.product(range(len(space.share)), repeat=stages):
                classes = [int(space.device_class[unit]) for unit in units]
                for batch in space.batches.tolist():
                    spans = [
                        space.span_us[unit, start, stop, batch - 1]
                        for unit, (start, stop) in zip(units, itertools.pairwise(cuts), strict=True)
                    ]
                    links = [
                        space.sample_us[cut, before, behind]
                        for cut, (before, behind) in zip(inner, itertools.pairwise(classes), strict=True)
                    ]
                    if sum(spans) + batch * sum(links) + space.build_us * (batch - 1) <= space.limit_us:
                        found.add((batch, cuts, units))
    return found


def keys(templates: Templates, space: TemplateSpace) -> list[tuple]:
    unit = {(int(c), int(s)): u for u, (c, s) in enumerate(zip(space.device_class, space.share, strict=True))}
    return [
        (
            int(templates.batch[t]),
            tuple(templates.cuts[t, : depth + 1].tolist()),
            tuple(unit[int(templates.device_class[t, s]), int(templates.share[t, s])] for s in range(depth)),
        )
        for t, depth in enumerate(templates.stages.tolist())
    ]


def total(space: TemplateSpace) -> Fleet:
    classes = space.sample_us.shape[1]
    return Fleet(np.arange(2, 2 + classes), np.ones(1))


class TestListing:
    @given(spaces())
    @settings(deadline=None, max_examples=60)
    def test_walking_the_graph_finds_what_plain_loops_find(self, made):
        [space] = made
        templates = list_templates(space)
        found = keys(templates, space)
        assert len(found) == len(set(found))
        assert set(found) == listed_plainly(space)
        assert templates.seen == space.size

    def test_the_size_counts_cuts_units_and_batches(self):
        # Two blocks, one class with shares 1 and 2, batches to 3: 2 units x 3 in one stage, 2^2 x 3 in two.
        tables = {("a", 1): [[1, 2, 3]] * 2, ("a", 2): [[1, 2, 3]] * 2}
        classes = {"a": DeviceClass(count=1, max_share=2)}
        assert space_of(toy_profile("m", tables), classes, 100.0).size == 6 + 12


class TestPricing:
    def test_a_dear_fast_class_is_bought_only_where_the_limit_asks_for_it(self):
        # Blocks of 10 ms on fast, 30 ms on slow; a fast device costs 10, a slow one 1. Whole on slow: 60 ms,
        # costs 0.06. One block each: 40 ms, 0.1 + 0.03. Whole on fast: 20 ms, 0.2.
        profile = toy_profile("m", {("fast", 1): [[10_000]] * 2, ("slow", 1): [[30_000]] * 2})
        classes = {"fast": DeviceClass(count=1), "slow": DeviceClass(count=1)}
        device_price = np.array([10.0, 1.0])
        cost = {ms: price(space_of(profile, classes, ms * 1e3), device_price).cost for ms in (60, 59, 39, 19)}
        assert cost == pytest.approx({60: 0.06, 59: 0.13, 39: 0.2, 19: np.inf})

    def test_what_a_link_holds_back_is_paid_for(self):
        # One sample of 1.25 MB takes 1 ms at 10 Gbit/s; two devices share an interface, so a device sends
        # 500/s though it could serve 10,000/s: a request takes 2 ms of it, and 1 ms of the receiver.
        profile = toy_profile(
            "m", {("a", 1): [[100], [90_000]], ("b", 1): [[90_000], [100]]}, boundary_bytes=[0, 1_250_000, 0]
        )
        classes = {"a": DeviceClass(count=2, per_host=2), "b": DeviceClass(count=1)}
        priced = price(space_of(profile, classes, 1200.0), np.array([1.0, 10.0]))
        assert priced.cost == pytest.approx(1.0 * 0.002 + 10.0 * 0.001)

    @given(spaces(), st.lists(st.integers(0, 5), min_size=3, max_size=3))
    @settings(deadline=None, max_examples=60)
    def test_it_is_the_least_cost_of_all_listed(self, made, weights):
        [space] = made
        device_price = np.array(weights[: space.sample_us.shape[1]], dtype=float)
        listed, priced = list_templates(space), price(space, device_price)
        if not len(listed):
            assert priced.cost == np.inf
            return
        costs = cost_of(listed, device_price)
        assert priced.cost == pytest.approx(costs.min(), rel=1e-9)
        best = {int(b): costs[listed.batch == b].min() for b in listed.batch}
        mine = cost_of(priced.columns, device_price)
        assert dict(zip(priced.columns.batch.tolist(), mine.tolist(), strict=True)) == pytest.approx(best)

    @given(spaces(), st.floats(0.5, 2.0))
    @settings(deadline=None, max_examples=40)
    def test_a_limit_on_the_cost_hides_nothing_below_it(self, made, factor):
        [space] = made
        device_price = np.ones(space.sample_us.shape[1])
        free = price(space, device_price)
        limit = free.cost * factor if np.isfinite(free.cost) else 1.0
        assert price(space, device_price, limit).cost == pytest.approx(min(free.cost, limit), rel=1e-9)

    @given(spaces())
    @settings(deadline=None, max_examples=40)
    def test_the_fastest_is_the_least_latency_without_a_limit(self, made):
        [space] = made
        listed = list_templates(TemplateSpace(**{**vars(space), "limit_us": 1e12}))
        assert fastest(space).latency_us.tolist() == pytest.approx(np.sort(listed.latency_us)[:1].tolist())


class TestRelaxation:
    @given(spaces(models=2), st.lists(st.integers(0, 30), min_size=3, max_size=3), st.floats(0.2, 5.0))
    @settings(deadline=None, max_examples=100)
    def test_its_bound_is_that_of_all_templates_listed(self, made, counts, weight):
        listed = [list_templates(space) for space in made]
        if not all(len(part) for part in listed):
            return
        classes = made[0].sample_us.shape[1]
        count = np.array(counts[:classes])
        if not count.all():
            count += 1
        fleet = Fleet(count, np.array([1.0, weight]))
        found, every = relax_spaces(made, fleet, gap=1e-9), relax(join(listed), fleet)
        assert found.prices.bound == pytest.approx(every.bound, rel=1e-6)
        assert found.value == pytest.approx(every.bound, rel=1e-6)
        # The prices are feasible duals that prove the bound: no template is cheaper than a request's price.
        assert found.prices.device @ count == pytest.approx(found.prices.bound, rel=1e-6)
        assert found.prices.rate @ fleet.weight == pytest.approx(1.0, rel=1e-6)
        for m, part in enumerate(listed):
            assert cost_of(part, found.prices.device).min() >= found.prices.rate[m] * (1 - 1e-9)

    @given(spaces(models=2), st.lists(st.floats(0.1, 5.0), min_size=3, max_size=3), st.floats(1.0, 3000.0))
    @settings(deadline=None, max_examples=60)
    def test_so_is_the_bound_on_the_cost_of_a_demand(self, made, costs, demand):
        listed = [list_templates(space) for space in made]
        if not all(len(part) for part in listed):
            return
        classes = made[0].sample_us.shape[1]
        fleet = Fleet(
            np.arange(2, 2 + classes), np.array([1.0, 0.5]) * demand, hourly_cost=np.array(costs[:classes])
        )
        found, every = relax_spaces(made, fleet, gap=1e-9), relax(join(listed), fleet)
        assert found.prices.bound == pytest.approx(every.bound, rel=1e-6)
        if np.isfinite(every.bound):
            for m, part in enumerate(listed):
                assert cost_of(part, found.prices.device).min() >= found.prices.rate[m] * (1 - 1e-9)

    @given(spaces(models=2))
    @settings(deadline=None, max_examples=40)
    def test_stopped_early_it_is_still_a_bound(self, made):
        listed = [list_templates(space) for space in made]
        if not all(len(part) for part in listed):
            return
        fleet = Fleet(np.arange(2, 2 + made[0].sample_us.shape[1]), np.ones(2))
        early = relax_spaces(made, fleet, time_limit_s=0.0)
        assert early.rounds == 1
        assert early.prices.bound >= relax(join(listed), fleet).bound * (1 - 1e-9)


class TestNearBest:
    @given(spaces(), st.sampled_from([0.0, 0.01, 0.3, 2.0]))
    @settings(deadline=None, max_examples=60)
    def test_it_holds_exactly_the_templates_within_the_loss(self, made, loss):
        [space] = made
        listed = list_templates(space)
        if not len(listed):
            return
        prices = relax_spaces(made, total(space), gap=1e-9).prices
        templates, complete = near_best(space, prices, loss + 1e-6, NONE)
        assert complete == loss + 1e-6
        cost, limit = cost_of(listed, prices.device), prices.rate[0] * (1 + loss + 1e-6)
        assert set(keys(listed.take(cost <= limit * (1 - 1e-9)), space)) <= set(keys(templates, space))
        assert set(keys(templates, space)) <= set(keys(listed.take(cost <= limit * (1 + 1e-9)), space))

    def test_the_loss_shrinks_until_the_set_fits(self):
        profile = toy_profile(
            "m", {("a", 1): [[100 + k] for k in range(6)], ("b", 1): [[101 + k] for k in range(6)]}
        )
        classes = {"a": DeviceClass(count=3), "b": DeviceClass(count=3)}
        space = space_of(profile, classes, 1e6)
        prices = relax_spaces([space], Fleet(np.array([3, 3]), np.ones(1)), gap=1e-9).prices
        every, at_most = near_best(space, prices, 1.0, NONE)
        few, complete = near_best(space, prices, 1.0, len(every) // 4)
        assert at_most == 1.0
        assert 0 < len(few) <= len(every) // 4
        assert complete < 1.0
        assert (cost_of(few, prices.device) <= prices.rate[0] * (1 + complete) * (1 + 1e-9)).all()


class TestRounding:
    def templates(self) -> Templates:
        profile = toy_profile("m", {("a", 1): [[10_000], [10_000]], ("a", 2): [[15_000], [15_000]]})
        classes = {"a": DeviceClass(count=9, max_share=2)}
        return list_templates(space_of(profile, classes, 1e6, max_stages=2))

    @given(st.lists(st.floats(0, 500), min_size=6, max_size=6), st.integers(1, 40))
    @settings(deadline=None, max_examples=60)
    def test_it_serves_one_part_of_every_rate_within_the_devices(self, rates, count):
        templates = self.templates()
        rate = np.array(rates)
        workers = round_up(templates, rate, Fleet(np.array([count]), np.ones(1)))
        used = templates.share > 0
        devices = np.where(used, workers / np.maximum(templates.share, 1), 0.0).sum()
        assert devices <= count
        served = np.where(used, workers * np.where(used, templates.worker_rps, 0.0), np.inf).min(axis=1)
        asked = rate > 1e-9 * rate.max()
        if asked.any() and workers.any():
            part = min(1.0, float((served[asked] / rate[asked]).min()))
            assert (served[asked] >= part * rate[asked] * (1 - 1e-9)).all()

    def test_whole_numbers_are_kept_whole(self):
        # Whole device, one stage: 50/s a worker. 150/s is three workers exactly, though 150 / 50 may round.
        templates = self.templates()
        [row] = np.flatnonzero((templates.stages == 1) & (templates.share[:, 0] == 1))
        rate = np.zeros(len(templates))
        rate[row] = 3 * US_PER_S / 20_000
        workers = round_up(templates, rate, Fleet(np.array([3]), np.ones(1)))
        assert workers.sum() == 3
        assert round_up(templates, rate, Fleet(np.array([2]), np.ones(1))).sum() == 2


class TestCovers:
    def two_sizes(self) -> Configurations:
        # 60/s for 1 device, 100/s for 1.5: one class.
        return Configurations(
            template=np.array([0, 1]),
            workers=np.array([[1], [3]]),
            rate_rps=np.array([60.0, 100.0]),
            devices=np.array([[1.0], [1.5]]),
        )

    @pytest.mark.parametrize(
        ("demand", "counts"),
        [(60, [1, 0]), (61, [0, 1]), (101, [2, 0]), (121, [1, 1]), (161, [0, 2]), (201, [2, 1])],
    )
    def test_the_cheapest_choice_that_covers_the_demand(self, demand, counts):
        # By hand: 201 is served by 60 + 60 + 100 for 3.5; 100 + 100 falls short, 60 * 4 costs 4.
        assert cover(self.two_sizes(), demand, np.ones(1)).tolist() == counts

    def test_none_where_nothing_counts(self):
        assert cover(self.two_sizes(), 1e9, np.ones(1)) is None

    @given(spaces(), st.integers(1, 30))
    @settings(deadline=None, max_examples=30)
    def test_promising_configurations_serve_what_they_say(self, made, most):
        [space] = made
        templates = list_templates(space)
        if not len(templates):
            return
        fleet = total(space)
        prices = relax_spaces(made, fleet).prices
        found = promising(templates, 0, most * 50.0, prices, fleet)
        used = templates.share[found.template] > 0
        pool = found.workers * np.where(used, templates.worker_rps[found.template], 0.0)
        assert (np.where(used, pool, np.inf).min(axis=1) >= found.rate_rps * (1 - 1e-8)).all()
        assert (found.rate_rps <= most * 50.0 * (1 + 1e-9)).all()
        assert (found.devices <= fleet.count).all()


class TestPlanner:
    """The planner with a limit of no listed templates, against itself with all listed."""

    def scenario(self, **settings):
        rng = np.random.default_rng(5)
        classes = {
            name: DeviceClass(count=6, max_share=2, hourly_cost=1.0 + c) for c, name in enumerate("abc")
        }
        profiles = {
            f"m{m}": toy_profile(
                f"m{m}",
                {
                    (name, share): (
                        rng.integers(500, 3000, (5, 1)) * np.array([1.0, 1.6]) * (1 + 0.9 * (share - 1))
                    )
                    .astype(int)
                    .tolist()
                    for name in classes
                    for share in (1, 2)
                },
                boundary_bytes=[50_000] * 6,
            )
            for m in range(2)
        }
        models = [toy_model(name, 12_000, weight=1.0 + m) for m, name in enumerate(profiles)]
        made = toy_scenario(classes, models, max_stages=3)
        return made.model_copy(update={"planner": made.planner.model_copy(update=settings)}), profiles

    @pytest.mark.compiled  # what is found within a time limit
    @pytest.mark.parametrize("share_devices", [True, False])
    def test_throughput(self, monkeypatch, share_devices):
        scenario, profiles = self.scenario(share_devices=share_devices)
        limits = SearchLimits(gap=0.04, time_limit_s=5.0)
        listed = PoolPlanner(limits).plan(scenario, profiles)
        monkeypatch.setattr("penstock.plan.planners.pool_planner.MOST_LISTED", 0)
        priced = PoolPlanner(limits).plan(scenario, profiles)
        check_plan(priced.solution, profiles)
        assert priced.stats["templates_seen"] == listed.stats["templates_seen"]
        assert priced.stats["relaxation"] == pytest.approx(listed.stats["relaxation"], rel=1e-3)
        assert priced.bound >= listed.objective
        assert listed.bound >= priced.objective >= 0.93 * listed.objective

    def test_cost(self, monkeypatch):
        scenario, profiles = self.scenario(objective="cost")
        models = [model.demanding(900.0) for model in scenario.models]
        scenario = scenario.model_copy(update={"models": models})
        limits = SearchLimits(gap=0.1, time_limit_s=5.0)
        listed = PoolPlanner(limits).plan(scenario, profiles)
        monkeypatch.setattr("penstock.plan.planners.pool_planner.MOST_LISTED", 0)
        priced = PoolPlanner(limits).plan(scenario, profiles)
        check_plan(priced.solution, profiles)
        assert priced.bound <= listed.objective
        assert listed.bound <= priced.objective <= 1.1 * listed.objective

    def test_a_demand_past_all_devices_is_proven_to_be(self):
        scenario, profiles = self.scenario(objective="cost")
        models = [model.demanding(1e6) for model in scenario.models]
        scenario = scenario.model_copy(update={"models": models})
        question = PlanningQuestion(scenario, profiles, SearchLimits(gap=0.1, time_limit_s=5.0))
        spaces = template_spaces(question, budgets(question))
        outcome = search_spaces(spaces, question.fleet, question.limits)
        assert not outcome.found
        assert outcome.excludes_all
