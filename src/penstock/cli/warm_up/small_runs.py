"""Small runs that call every kernel with arguments of the types that real runs have."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from penstock.cluster import Cluster, DeviceClass
from penstock.partition.bounds.levels.ancestry import ancestry
from penstock.partition.bounds.levels.level import LevelMaker
from penstock.partition.bounds.levels.level_bound import Stages, level_bound
from penstock.partition.budget import Deadline
from penstock.partition.heterogeneous import partition_unlike, prove_unlike
from penstock.partition.partition import partition
from penstock.partition.prepartition import prepartition
from penstock.partition.problem import PartitionProblem, TensorUse, make_problem
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.plan import Plan, has_split_stages
from penstock.plan.documents.scenario import PlannerSettings, Scenario, ServedModel
from penstock.plan.exact.latency_budget import budgets
from penstock.plan.interfaces import SearchLimits
from penstock.plan.large.column_generation import relax_spaces
from penstock.plan.large.knapsack_covers import Configurations, cover
from penstock.plan.large.whole_covers import whole_covers
from penstock.plan.large.whole_worker_bound import whole_worker_bound
from penstock.plan.large.whole_worker_kernels import exchange_pairs
from penstock.plan.planners.pool_planner import PoolPlanner, template_spaces
from penstock.plan.planning_question import PlanningQuestion
from penstock.ppipe.simulator.published import POLICIES as PUBLISHED
from penstock.ppipe.simulator.published import simulate_published
from penstock.profile.table import Block, LatencyTable, Profile, Provenance
from penstock.schedule.device.orders.moore_hodgson import MooreHodgsonOrder
from penstock.schedule.device.orders.order import Copies
from penstock.schedule.mechanism.in_flight_kernels import has_room
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.table import DispatchTable
from penstock.simulate.every_policy import POLICIES, simulate_policy
from penstock.simulate.judge.goodput_bound import bounds_of_pools, goodput_bounds
from penstock.simulate.judge.trial import Trial
from penstock.simulate.routed import routed_simulator
from penstock.traffic.arrivals import Arrivals
from penstock.traffic.processes.renewal import poisson

REQUESTS = 200


def run_every_kernel() -> None:
    """Run each step once. Then every kernel of the package is compiled, or read from its cache."""
    _partition()
    _whole_batches()
    _split_stages()
    MooreHodgsonOrder(Copies([1]), width=1)


def _partition() -> None:
    """Two branches that join, so that there are several orders to cut."""
    work = [3.0, 1.0, 4.0, 1.0, 5.0, 2.0]
    uses = [(0, (1, 2)), (1, (3,)), (2, (4,)), (3, (5,)), (4, (5,))]
    tensors = [TensorUse(maker, users, 1.0) for maker, users in uses]
    problem = make_problem("warm-up", [f"op{i}" for i in range(len(work))], work, tensors)
    partition(problem, 3, time_limit_s=5.0)
    _unlike(problem)
    _levels(problem)
    prepartition({"a": problem.work}, np.arange(len(work) + 1, dtype=np.int64), 2)


def _unlike(problem: PartitionProblem) -> None:
    works, stages = {"a": problem.work, "b": 2.0 * problem.work}, {"a": 1, "b": 1}
    found = partition_unlike(problem, works, stages, random_tries=2)
    prove_unlike(problem, works, stages, found, time_limit_s=5.0)


def _levels(problem: PartitionProblem) -> None:
    """What only hard graphs come to."""
    maker = LevelMaker(ancestry(problem, problem.work), problem.work)
    level = maker.level(0.0, maker.total)
    assert level is not None, "some boundary has some work before it"
    maker.sides_of(level, 2)
    level_bound(problem, Stages.alike(problem, 3), cutoff=8.0, goal=8.0, deadline=Deadline(5.0))


def _whole_batches() -> None:
    scenario, profiles = _question()
    _choose_covers(scenario, profiles)
    plan = PoolPlanner().plan(scenario, profiles).solution
    table = dispatch_table(plan, profiles)
    _simulate(table, POLICIES)
    for policy in PUBLISHED:
        simulate_published(plan, table, _arrivals(), policy=policy)
    _every_call(table)
    _bounds_of_goodput(plan, profiles)


def _question(
    slo_us: int = 30_000, in_batch_of_two_us: int = 1_500, split_stages: int = 1
) -> tuple[Scenario, dict[str, Profile]]:
    """One model of two blocks, each best on another class, so that the plan is a pipeline of two stages."""
    slow, fast = [9_000, 17_000], [1_000, 1_500]
    rows = {"a": [[1_000, in_batch_of_two_us], slow], "b": [slow, fast]}
    profile = Profile(
        model="m",
        blocks=(Block("b0", (), 0, 0), Block("b1", (), 0, 0)),
        boundary_bytes=(0, 1_000, 0),
        tables={(name, 1): LatencyTable(np.array(table, np.int64)) for name, table in rows.items()},
        provenance=Provenance("measured", "none", "none", "2026-01-01"),
    )
    scenario = Scenario(
        version=1,
        cluster=Cluster(
            bandwidth_gbps=10.0,
            device_classes={"a": DeviceClass(count=2, per_host=1), "b": DeviceClass(count=1, per_host=1)},
        ),
        models=[ServedModel(name="m", profile="m", slo_us=slo_us, slo_margin=0.2)],
        planner=PlannerSettings(max_stages=2, split_stages=split_stages),
    )
    return scenario, {"m": profile}


def _choose_covers(scenario: Scenario, profiles: dict[str, Profile]) -> None:
    """As the planner does only if templates are too many to list, and the fleet is small."""
    one = Configurations(np.zeros(1, np.int64), np.ones((1, 1), np.int64), np.ones(1), np.ones((1, 1)))
    cover(one, 1.0, np.ones(1))
    question = PlanningQuestion(scenario, profiles)
    spaces = template_spaces(question, budgets(question))
    prices = relax_spaces(spaces, question.fleet).prices
    whole = whole_worker_bound(spaces, question.fleet, prices, 0.0, math.inf)
    whole_covers(whole.finders, question.fleet, whole.device_price, 0.0, SearchLimits(), whole.bound)
    exchange_pairs(np.ones((2, 1)), np.arange(3), np.ones(1), np.ones(1), np.arange(2), 1, 0)


def _bounds_of_goodput(plan: Plan, profiles: dict[str, Profile]) -> None:
    trial = Trial(poisson, seconds=1.0, seeds=(0,))
    goodput_bounds(plan.scenario, profiles, trial, 0.99)
    bounds_of_pools(plan, profiles, trial, 0.99)


def _split_stages() -> None:
    """A plan whose first stage takes a batch of two in two pieces, as both together would take too long there.

    Kernels that see the state of a policy are compiled anew for it (:mod:`penstock.schedule.state.split_choice`).
    """
    scenario, profiles = _question(slo_us=8_000, in_batch_of_two_us=8_000, split_stages=2)
    plan = PoolPlanner().plan(scenario, profiles).solution
    assert has_split_stages(plan), "its kernels would not be compiled"
    table = dispatch_table(plan, profiles)
    _simulate(table, routed_simulator.POLICIES)
    _every_call(table)


def _arrivals() -> Arrivals:
    arrival_us = np.arange(REQUESTS, dtype=np.int64) * 500
    return Arrivals(arrival_us, np.zeros(REQUESTS, np.int64), None)


def _simulate(table: DispatchTable, policies: Iterable[str]) -> None:
    for policy in policies:
        for noise in (False, True):
            simulate_policy(
                table,
                _arrivals(),
                model_names=["m"],
                seed=0,
                noise=noise,
                dispatch_us=1,
                overhead_us=1,
                policy=policy,
            )


def _every_call(table: DispatchTable) -> None:
    """What the server's dispatcher calls."""
    policy = ReservationPolicy(table)
    for request in range(20):
        policy.arrive(request, 0, request, request + 30_000)
    policy.cancel(19)
    decision = policy.decide(20)
    dispatched = decision.dispatches or policy.decide(decision.wake_us).dispatches
    now_us = 30_000
    for dispatch in dispatched:
        policy.complete(now_us, dispatch.batch, 0)
        policy.abandon(now_us, dispatch.batch)
    policy.worker_down(now_us, 0)
    policy.worker_up(now_us, 0)
    has_room(policy.state.flights, 0)  # when its tables grow
