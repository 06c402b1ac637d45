"""An oracle that shares nothing with the planner: it tries every plan, from the definitions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from fractions import Fraction

from hypothesis import strategies as st
from toy_plans import toy_profile

from penstock.cluster import DeviceClass
from penstock.plan.documents.scenario import Scenario, ServedModel
from penstock.profile.table import Profile

Parts = tuple[tuple[tuple[str, int], Fraction], ...]
"""The devices that one model's workers take, by (device class, stage position), sorted."""


def best_throughput(scenario: Scenario, profiles: Mapping[str, Profile]) -> float:
    """The largest value that the least rate / weight has in any plan; 0 if there is no plan."""
    plans = _joint_plans(scenario, profiles)
    weights = [model.weight for model in scenario.models]
    return max(min(rate / weight for rate, weight in zip(rates, weights, strict=True)) for rates, _ in plans)


def least_cost(scenario: Scenario, profiles: Mapping[str, Profile]) -> float:
    """The least hourly cost of all plans that meet every demand; infinity if there is none."""
    prices = {name: spec.hourly_cost or 0.0 for name, spec in scenario.cluster.device_classes.items()}
    demands = [model.rate_rps or 0.0 for model in scenario.models]
    costs = [
        sum(prices[name] * number for name, number in used.items())
        for rates, used in _joint_plans(scenario, profiles)
        if all(rate >= demand * (1 - 1e-9) for rate, demand in zip(rates, demands, strict=True))
    ]
    return min(costs, default=math.inf)


def _joint_plans(
    scenario: Scenario, profiles: Mapping[str, Profile]
) -> Iterator[tuple[list[float], dict[str, int]]]:
    """Rates of all models and devices of each class, of every plan that the cluster holds."""
    counts = {name: spec.count for name, spec in scenario.cluster.device_classes.items()}
    own = [_plans_of(profiles[model.name], scenario, model) for model in scenario.models]
    for chosen in itertools.product(*(plans.items() for plans in own)):
        groups: dict[tuple[str, int, int], Fraction] = {}
        for m, (parts, _) in enumerate(chosen):
            for (name, s), part in parts:
                group = (name, -1, -1) if scenario.planner.share_devices else (name, m, s)
                groups[group] = groups.get(group, Fraction(0)) + part
        used = dict.fromkeys(counts, 0)
        for (name, _, _), part in groups.items():
            used[name] += math.ceil(part)  # exact for shares up to 4
        if all(used[name] <= counts[name] for name in counts):
            yield [rate for _, rate in chosen], used


def _plans_of(profile: Profile, scenario: Scenario, model: ServedModel) -> dict[Parts, float]:
    """The greatest rate of one model for the devices it takes: every multiset of workers of every template."""
    templates = list(_templates(profile, scenario, model))
    counts = {name: spec.count for name, spec in scenario.cluster.device_classes.items()}
    best: dict[Parts, float] = {}

    def extend(k: int, parts: dict[tuple[str, int], Fraction], rate: float) -> None:
        total = dict.fromkeys(counts, Fraction(0))
        for (name, _), part in parts.items():
            total[name] += part
        if any(total[name] > counts[name] for name in counts):
            return
        key = tuple(sorted(parts.items()))
        best[key] = max(best.get(key, 0.0), rate)
        for t in range(k, len(templates)):
            limits = [range(1, counts[name] * share + 1) for name, share, _ in templates[t]]
            for workers in itertools.product(*limits):
                more = dict(parts)
                for s, (n, (name, share, _)) in enumerate(zip(workers, templates[t], strict=True)):
                    more[name, s] = more.get((name, s), Fraction(0)) + Fraction(n, share)
                gain = min(n * r for n, (_, _, r) in zip(workers, templates[t], strict=True))
                extend(t + 1, more, rate + gain)

    extend(0, {}, 0.0)
    return best


def _templates(
    profile: Profile, scenario: Scenario, model: ServedModel
) -> Iterator[tuple[tuple[str, int, float], ...]]:
    """(class, share, worker rate) of each stage, for every feasible template."""
    cluster = scenario.cluster
    units = [u for u in profile.tables if u[1] <= cluster.device_classes[u[0]].max_share]
    counts = {name: spec.count for name, spec in cluster.device_classes.items()}
    blocks = len(profile.blocks)
    # Short, but not nothing: a batch of 2 whose work takes all of the SLO is too late.
    gather_us = scenario.planner.batch_build_factor * 1e6 / (model.estimated_rps or math.inf)
    for depth in range(1, scenario.planner.max_stages + 1):
        for inner in itertools.combinations(range(1, blocks), depth - 1):
            cuts = (0, *inner, blocks)
            for chain in itertools.product(units, repeat=depth):
                for batch in range(1, min(profile.tables[u].max_batch for u in chain) + 1):
                    work = [
                        sum(
                            int(profile.tables[u].latency_us[b, batch - 1])
                            for b in range(cuts[s], cuts[s + 1])
                        )
                        for s, u in enumerate(chain)
                    ]
                    move = [profile.boundary_bytes[c] * 8e-3 / cluster.bandwidth_gbps for c in inner]
                    if sum(work) + batch * sum(move) + (batch - 1) * gather_us > model.latency_slo_us:
                        continue
                    rates = []
                    for s, (name, share) in enumerate(chain):
                        ends = [m for k, m in enumerate(move) if k in (s - 1, s) and m > 0]
                        crowd = share * min(cluster.device_classes[name].per_host, max(counts[name], 1))
                        rates.append(min([batch * 1e6 / work[s], *(1e6 / m / crowd for m in ends)]))
                    yield tuple((*u, rate) for u, rate in zip(chain, rates, strict=True))


@st.composite
def small_instances(draw):
    """A profile of two blocks, two classes of at most two devices, and an SLO."""
    times = st.integers(1, 30).map(lambda k: 100 * k)
    tables = {}
    for name, share in (("a", 1), ("b", 1), ("b", 2)):
        batches = draw(st.integers(1, 2)) if share == 1 else 1
        tables[name, share] = [[draw(times) * (1 + b) for b in range(batches)] for _ in range(2)]
    profile = toy_profile("m", tables, boundary_bytes=[0, draw(st.sampled_from([0, 200_000, 900_000])), 0])
    prices = st.sampled_from([0.5, 1.0, 1.5, 3.0])
    classes = {
        "a": DeviceClass(
            count=draw(st.integers(0, 2)), per_host=draw(st.integers(1, 2)), hourly_cost=draw(prices)
        ),
        "b": DeviceClass(count=draw(st.integers(1, 2)), max_share=2, hourly_cost=draw(prices)),
    }
    return profile, classes, draw(st.integers(500, 8_000))
