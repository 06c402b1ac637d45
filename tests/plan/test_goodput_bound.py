"""The bounds on goodput: by hand, against linear programs, against queueing theory, and against every policy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import InfeasibleError
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.plan import has_split_stages
from penstock.plan.goodput_bound import static_mix
from penstock.plan.goodput_bound.any_policy import most_served
from penstock.plan.goodput_bound.chain_uses import ChainUses, chain_uses
from penstock.plan.goodput_bound.given_pools import pipeline_windows, pools_bound
from penstock.plan.goodput_bound.static_mix import PRECISION, fluid, least_fleet, static_bound
from penstock.plan.goodput_bound.token_bucket_kernels import (
    EPISODES,
    LENGTH_S,
    OUTSIDE,
    SERVED,
    serve_from_bucket,
    serve_from_pipelines,
)
from penstock.plan.highs import Rows, run
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.plan.planning_question import PlanningQuestion
from penstock.schedule.rule_numbers import RULES
from penstock.simulate.every_policy import POLICIES
from penstock.simulate.judge.goodput_bound import bounds_of_pools, goodput_bounds
from penstock.simulate.judge.trial import Trial
from penstock.traffic.processes.renewal import gamma, poisson
from penstock.traffic.processes.replay import TraceReplay
from penstock.traffic.trace import Trace

times = st.lists(st.integers(0, 12), min_size=1, max_size=9).map(
    lambda ticks: np.array(sorted(ticks), np.float64)
)


def bucket(time_s, rate_rps, depth):
    found = np.zeros(4)
    serve_from_bucket(time_s, rate_rps, depth, found)
    return found


def test_a_bucket_by_hand():
    """Rate 1, depth 2. At 0 three arrive and two are served; at 1 there is one token, for the fourth. At 9 it is full
    again. The only episode is [0, 0]: 2 are served in it, and the last two are outside."""
    found = bucket(np.array([0.0, 0.0, 0.0, 1.0, 9.0]), 1.0, 2.0)
    assert found.tolist() == [4.0, 1.0, 0.0, 2.0]


@given(times, st.floats(0.05, 3), st.floats(0.1, 5), st.floats(0.05, 3), st.floats(0.1, 5))
def test_the_episodes_of_one_bucket_bound_every_other(time_s, rate, depth, other_rate, other_depth):
    found = bucket(time_s, rate, depth)
    assert found[LENGTH_S] * rate + found[EPISODES] * depth + found[OUTSIDE] == pytest.approx(found[SERVED])
    most = found[LENGTH_S] * other_rate + found[EPISODES] * other_depth + found[OUTSIDE]
    assert bucket(time_s, other_rate, other_depth)[SERVED] <= most + 1e-9


@settings(max_examples=30, deadline=None)
@given(times, st.floats(0.05, 3), st.floats(0.1, 5))
def test_a_bucket_serves_what_the_linear_program_serves(time_s, rate, depth):
    """Maximise what is served, with at most rate * T + depth of the arrivals between any two of them."""
    rows = Rows()
    served = [rows.column(cost=1.0, upper=1.0) for _ in time_s]
    for i in range(len(time_s)):
        for j in range(i, len(time_s)):
            span_s = time_s[j] - time_s[i]
            rows.row([(served[k], 1.0) for k in range(i, j + 1)], upper=rate * span_s + depth)
    assert bucket(time_s, rate, depth)[SERVED] == pytest.approx(run(rows).objective, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(times, st.lists(st.tuples(st.floats(0.1, 2), st.integers(0, 4)), min_size=1, max_size=3))
@example(np.array([0.0, 0.0]), [(1.0, 1), (1.0, 1)])
def test_pipelines_serve_what_a_flow_serves(time_s, pipelines):
    """With whole seconds, capacity in [t, t + 1) serves what arrived from t + 1 - window to t."""
    rate, window = (np.array(column, np.float64) for column in zip(*pipelines, strict=True))
    rows = Rows()
    of_arrival: list[list[tuple[int, float]]] = [[] for _ in time_s]
    for p in range(len(rate)):
        for second in range(int(time_s[-1]) + 5):
            own = []
            for index, arrival_s in enumerate(time_s):
                if arrival_s <= second and second + 1 <= arrival_s + window[p]:
                    own.append((rows.column(cost=1.0), 1.0))
                    of_arrival[index].append(own[-1])
            rows.row(own, upper=rate[p])
    for entries in of_arrival:
        rows.row(entries, upper=1.0)
    served = serve_from_pipelines(time_s, rate, window, np.zeros(len(rate)))
    assert served == pytest.approx(max(run(rows).objective, 0.0), abs=1e-5)


@pytest.mark.parametrize("depth", [8, 15, 26])
def test_a_bucket_loses_what_the_diffusion_says(depth):
    """A queue that holds work of K requests loses theta / (exp(2 theta K) - 1) at load 1 - theta, in heavy traffic
    (Ward and Glynn, Queueing Systems 2003). Where that is 1%, the bucket of depth K loses about 1%."""
    low, high = 1e-3, 0.9
    for _ in range(60):
        theta = 0.5 * (low + high)
        low, high = (theta, high) if theta / math.expm1(2 * theta * depth) > 0.01 else (low, theta)
    rng = np.random.default_rng(5)
    time_s = np.cumsum(rng.exponential(1 / (1 - low), 400_000))
    lost = 1 - bucket(time_s, 1.0, float(depth))[SERVED] / len(time_s)
    assert lost == pytest.approx(0.01, rel=0.25)


@st.composite
def fleets(draw):
    """One or two models of two blocks on up to two classes, with a load near what the fleet sustains, and a policy."""
    classes = ["X", "Y"][: draw(st.integers(1, 2))]
    cluster = {
        name: DeviceClass(count=draw(st.integers(1, 4)), per_host=draw(st.integers(1, 2))) for name in classes
    }
    profiles, models = {}, []
    for name in ["a", "b"][: draw(st.integers(1, 2))]:
        rows = {}
        for device_class in classes:
            single = [draw(st.integers(500, 4_000)) for _ in range(2)]
            more = [draw(st.integers(0, 3_000)) for _ in range(2)]
            rows[device_class, 1] = [[a, a + b, a + 2 * b] for a, b in zip(single, more, strict=True)]
        profiles[name] = toy_profile(
            name, rows, boundary_bytes=[0, draw(st.sampled_from([0, 50_000, 500_000])), 0]
        )
        models.append(
            toy_model(name, draw(st.integers(6_000, 40_000)), weight=draw(st.sampled_from([1.0, 2.0])))
        )
    load = draw(st.sampled_from(["poisson", "gamma", "trace"]))
    policy = draw(st.sampled_from(POLICIES))
    # A policy that decides stage by stage gives whole batches to workers.
    pieces = draw(st.integers(1, 3)) if policy in RULES else 1
    scenario = toy_scenario(cluster, models).with_planner(split_stages=pieces)
    return scenario, profiles, load, policy, draw(st.floats(0.7, 2.0))


def process_of(load):
    if load == "poisson":
        return poisson
    if load == "gamma":
        return lambda rate, seconds, rng: gamma(rate, seconds, rng, cv=3.0)
    gaps = np.random.default_rng(3).lognormal(8.0, 2.0, 400).astype(np.int64)
    time_us = np.cumsum(gaps)
    return TraceReplay(Trace(time_us, int(time_us[-1]) + 1), "superpose")


@settings(max_examples=60, deadline=None)
@given(fleets())
def test_no_simulated_run_passes_a_bound(case):
    """What a policy really meets on a path can be served by the pools, by a division of the fleet, and by the fleet."""
    scenario, profiles, load, policy, factor = case
    try:
        plan = PoolPlanner(SearchLimits(gap=0.01, time_limit_s=2.0)).plan(scenario, profiles).solution
    except InfeasibleError:
        assume(False)
    table = dispatch_table(plan, profiles)
    trial = Trial(process_of(load), policy, 1.5, (1, 2))
    rates = [factor * model.rate_rps for model in plan.models]
    paths = trial.paths(rates)
    missed, arrived = trial.counts(table, rates)
    met = (arrived - missed).sum(axis=0)
    assert [sum(len(path[m]) for path in paths) for m in range(len(rates))] == arrived.sum(axis=0).tolist()
    for m in range(len(rates)):
        rate, window = pipeline_windows(table, m)
        served = sum(serve_from_pipelines(path[m], rate, window, np.zeros(len(rate))) for path in paths)
        assert met[m] <= served + 1e-6
    uses = chain_uses(PlanningQuestion(scenario, profiles))
    slo_s = max(model.latency_slo_us for model in scenario.models) / 1e6
    assert least_fleet(uses, paths, met.tolist(), slo_s).fleet_part <= 1 + PRECISION
    price = fluid(uses, [model.weight for model in scenario.models])
    cost = uses.device_s @ price.device_price + uses.link_s @ price.link_price
    request = [cost[uses.model == m].min() for m in range(len(rates))]
    assert float(met @ request) <= most_served(uses, paths, price, slo_s)[0] * (1 + 1e-9)


def test_no_simulated_run_of_split_stages_passes_a_bound():
    """The class "X" gains nothing from batches and "Y" does, so a batch of three is divided on three "X"."""
    rows = {("X", 1): [[4_000, 8_000, 12_000], [90_000] * 3], ("Y", 1): [[90_000] * 3, [3_000, 3_100, 3_200]]}
    scenario = toy_scenario({"X": DeviceClass(count=4), "Y": DeviceClass(count=1)}, [toy_model("a", 12_000)])
    profiles = {"a": toy_profile("a", rows, boundary_bytes=[0, 500_000, 0])}
    scenario = scenario.with_planner(split_stages=3)
    plan = PoolPlanner(SearchLimits()).plan(scenario, profiles).solution
    assert has_split_stages(plan)
    table = dispatch_table(plan, profiles)
    uses = chain_uses(PlanningQuestion(scenario, profiles))
    for factor in (0.8, 1.0, 1.5):
        trial = Trial(poisson, "penstock", 1.5, (1, 2))
        paths = trial.paths([factor * plan.objective])
        missed, arrived = trial.counts(table, [factor * plan.objective])
        met = (arrived - missed).sum(axis=0)
        rate, window = pipeline_windows(table, 0)
        assert met[0] <= sum(
            serve_from_pipelines(path[0], rate, window, np.zeros(len(rate))) for path in paths
        )
        assert least_fleet(uses, paths, met.tolist(), 0.012).fleet_part <= 1 + PRECISION


def one_pool(workers=20, service_us=10_000, slo_us=30_000):
    scenario = toy_scenario({"X": DeviceClass(count=workers)}, [toy_model("a", slo_us)], max_stages=1)
    return scenario, {"a": toy_profile("a", {("X", 1): [[service_us]]})}


def test_one_pool_has_one_bound():
    """One model, one chain: no policy and no division can do other than the pool, so all three bounds are the same.

    The bucket has rate 2,000 and depth 2,000 * 30 ms = 60, which Poisson arrivals fill to just above 1.
    """
    scenario, profiles = one_pool()
    plan = PoolPlanner(SearchLimits()).plan(scenario, profiles).solution
    trial = Trial(poisson, "penstock", 20.0, tuple(range(4)))
    found = goodput_bounds(scenario, profiles, trial, 0.99)
    pools = bounds_of_pools(plan, profiles, trial, 0.99)
    assert pools is not None
    assert found.static_rps == pytest.approx(pools[0], rel=3 * PRECISION)
    assert found.any_policy_rps == pytest.approx(pools[0], rel=3 * PRECISION)
    assert 1_990 < pools[0] < 2_030
    table = dispatch_table(plan, profiles)
    assert pools_bound(table, [500.0], trial.paths, 0.99)[0] == pytest.approx(pools[0], rel=3 * PRECISION)


def test_the_unit_of_the_weights_does_not_matter():
    """A fleet whose cheapest chains need links. Demands were weights of thousands of requests a second, far above what
    the links carry, so the prices of any policy were those of a fleet whose links are all that counts."""
    rows = {("X", 1): [[4_000], [90_000]], ("Y", 1): [[9_000], [3_000]]}
    profiles = {"a": toy_profile("a", rows, boundary_bytes=[0, 500_000, 0])}
    classes = {"X": DeviceClass(count=4), "Y": DeviceClass(count=3)}
    trial = Trial(poisson, "penstock", 5.0, (1, 2))
    found = [
        goodput_bounds(toy_scenario(classes, [toy_model("a", 20_000, weight=weight)]), profiles, trial, 0.99)
        for weight in (1.0, 1e6, 1e-3)
    ]
    for weight, bounds in zip((1e6, 1e-3), found[1:], strict=True):
        assert bounds.static_rps * weight == pytest.approx(found[0].static_rps, rel=2 * PRECISION)
        assert bounds.any_policy_rps * weight == pytest.approx(found[0].any_policy_rps, rel=2 * PRECISION)


def test_where_links_are_all_that_binds_any_policy_has_a_bound_too():
    """Each request crosses a link that carries 100 a second, and devices are plenty."""
    rows = {("X", 1): [[1_000], [90_000]], ("Y", 1): [[90_000], [1_000]]}
    profiles = {"a": toy_profile("a", rows, boundary_bytes=[0, 125_000, 0])}
    classes = {"X": DeviceClass(count=9, per_host=9), "Y": DeviceClass(count=9, per_host=9)}
    scenario = toy_scenario(classes, [toy_model("a", 40_000)], bandwidth_gbps=0.1)
    found = goodput_bounds(scenario, profiles, Trial(poisson, "penstock", 5.0, (1, 2)), 0.99)
    assert 95 < found.static_rps < 110
    assert found.static_rps * 0.99 < found.any_policy_rps < math.inf


def two_chains(link_s):
    """One model, one class of one device; the second chain takes twice the device, and no link."""
    return ChainUses(
        model=np.zeros(2, np.int64),
        window_s=np.full(2, 0.01),
        device_s=np.array([[0.001], [0.002]]),
        link_s=np.array([[link_s], [0.0]]),
        devices=np.ones(1),
        links=np.ones(1),
    )


def test_links_that_the_cheapest_chain_overloads_send_the_load_another_way():
    path = [np.linspace(0.0, 1.0, 101)]
    free = least_fleet(two_chains(0.0), [path], [100.0], 0.01).fleet_part
    bound = least_fleet(two_chains(100.0), [path], [100.0], 0.01).fleet_part
    assert bound == pytest.approx(2 * free, rel=0.01)
    assert bound == pytest.approx(100 * 0.002, rel=0.02)


def test_where_the_cheapest_chains_overload_the_links_the_program_stays_small(monkeypatch):
    """The less a chain takes of the devices, the more it takes of the links. The cheapest alone cannot carry it, and
    a program over all chains at once would take minutes on published scenarios."""
    chains = 300
    uses = ChainUses(
        model=np.zeros(chains, np.int64),
        window_s=np.full(chains, 0.01),
        device_s=np.linspace(0.001, 0.002, chains)[:, None],
        link_s=np.linspace(0.1, 0.0, chains)[:, None],
        devices=np.ones(1),
        links=np.ones(1),
    )
    solve, sizes = static_mix._solve, []

    def counted(uses, columns, whole, cuts):
        sizes.append(len(columns))
        return solve(uses, columns, whole, cuts)

    monkeypatch.setattr(static_mix, "_solve", counted)
    part = least_fleet(uses, [[np.linspace(0.0, 1.0, 101)]], [100.0], 0.01).fleet_part
    # 100 requests a second: of the mixes with 0.01 s of link for each, all take 0.0019 s of device.
    assert part == pytest.approx(0.19, rel=0.02)
    assert max(sizes) < 10


def test_nothing_to_serve_takes_no_part_of_the_fleet():
    path = [np.linspace(0.0, 1.0, 101)]
    assert least_fleet(two_chains(1.0), [path], [0.0], 0.01).fleet_part == 0.0


def test_bursts_lower_the_bound():
    """The same fleet, and arrivals of CV 4: less can be held, as the design's diffusion says for a large variance."""
    scenario, profiles = one_pool()
    uses = chain_uses(PlanningQuestion(scenario, profiles))
    bursts = Trial(process_of("gamma"), "penstock", 20.0, tuple(range(4)))
    held = static_bound(uses, [1.0], bursts.paths, 0.99, 0.03, 2_000.0)
    assert held < 1_900
    longer, _ = one_pool(slo_us=60_000)
    uses = chain_uses(PlanningQuestion(longer, profiles))
    assert static_bound(uses, [1.0], bursts.paths, 0.99, 0.06, 2_000.0) > held
