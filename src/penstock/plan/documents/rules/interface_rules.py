"""Rules of interfaces: what a device may send and receive, and what passes the interface of each host.

The devices of a host share its interface. As published (Kong et al., "PPipe", USENIX ATC 2025, planning), each worker
has an equal part of it. Stages that keep to their equal parts hold their rates at any place, so nothing else counts.
A stage may state more: then the places of all workers count, and no host may move more than its interface carries.
The work of a stage is spread evenly over its own workers, also if they share their pool. A transfer counts at both of
its ends, also if both are on one host, as in the published rule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from penstock.plan.documents.plan import Plan, StagePlan
from penstock.plan.documents.rules.tolerance import RELATIVE_TOLERANCE
from penstock.plan.documents.scenario import Scenario
from penstock.profile.table import Profile


class Interface(NamedTuple):
    """One direction of a host's interface: the uplink sends, the downlink receives."""

    device_class: str
    host: int
    direction: Literal["uplink", "downlink"]

    def __str__(self) -> str:
        return f"the {self.direction} of host {self.host} of {self.device_class}"


InterfaceLoads = Mapping[Interface, Mapping[tuple[str, int], float]]
"""Seconds of transfers each second, by interface and by pipeline (model, number in the model)."""


def check_interfaces(plan: Plan, profiles: Mapping[str, Profile]) -> Iterator[str]:
    """No interface carries more than it can, if some stage states more than its equal part.

    Every stage and every worker's place must exist.
    """
    beyond = beyond_equal_parts(plan, profiles)
    if not beyond:
        return
    for interface, parts in interface_loads(plan, profiles).items():
        load = sum(parts.values())
        if load > 1 + RELATIVE_TOLERANCE:
            yield (
                f"{interface} must carry {load:.6g} times what it can, because {beyond[0]} "
                f"{f'and {len(beyond) - 1} more state' if len(beyond) > 1 else 'states'} a rate above the equal part "
                f"of each device. Lower the pipelines' rates, or spread the workers over other hosts"
            )


def beyond_equal_parts(plan: Plan, profiles: Mapping[str, Profile]) -> list[str]:
    """The stages of ``plan`` that state more than their workers move over equal parts of their hosts' interfaces."""
    return [
        f"model {model.name!r}, pipeline {p}, stage {s}"
        for model in plan.models
        if model.name in profiles
        for p, pipeline in enumerate(model.pipelines)
        for s, stage in enumerate(pipeline.stages)
        for part_rps in [equal_part_rps(pipeline.stages, s, plan.scenario, profiles[model.name])]
        if stage.rate_rps > stage.workers * part_rps * (1 + RELATIVE_TOLERANCE)
    ]


def interface_loads(plan: Plan, profiles: Mapping[str, Profile]) -> InterfaceLoads:
    """What each pipeline of ``plan`` moves at its rate over every interface that it passes."""
    loads: dict[Interface, dict[tuple[str, int], float]] = defaultdict(lambda: defaultdict(float))
    models = {model.name: model for model in plan.models if model.name in profiles}
    samples = {
        (model.name, p): [
            sample_us(pipeline.stages, s, plan.scenario, profiles[model.name])
            for s in range(-1, len(pipeline.stages))
        ]
        for model in models.values()
        for p, pipeline in enumerate(model.pipelines)
    }
    for worker in plan.placement:
        if worker.model not in models:
            continue
        key = worker.model, worker.pipeline
        pipeline = models[worker.model].pipelines[worker.pipeline]
        each_rps = pipeline.rate_rps / pipeline.stages[worker.stage].workers
        received_us, sent_us = samples[key][worker.stage : worker.stage + 2]
        if received_us:
            loads[Interface(worker.device_class, worker.host, "downlink")][key] += (
                each_rps * received_us / 1e6
            )
        if sent_us:
            loads[Interface(worker.device_class, worker.host, "uplink")][key] += each_rps * sent_us / 1e6
    return loads


def equal_part_rps(stages: Sequence[StagePlan], s: int, scenario: Scenario, profile: Profile) -> float:
    """The most that a worker of stage ``s`` sends and receives over an equal part of its host's interface."""
    spec = scenario.cluster.device_classes[stages[s].device_class]
    neighbours = max(min(spec.per_host, spec.count), 1) * stages[s].share
    slowest_us = max(sample_us(stages, end, scenario, profile) for end in (s - 1, s))
    return 1e6 / slowest_us / neighbours if slowest_us else float("inf")


def sample_us(stages: Sequence[StagePlan], s: int, scenario: Scenario, profile: Profile) -> float:
    """Time to move one sample from stage ``s`` to the next stage. 0 after the last, and before the first (-1)."""
    if s < 0 or s + 1 == len(stages):
        return 0.0
    ends = [scenario.cluster.device_classes[stages[k].device_class] for k in (s, s + 1)]
    gbps = min(end.bandwidth_gbps or scenario.cluster.bandwidth_gbps for end in ends)
    return profile.boundary_bytes[stages[s].blocks[1]] * 8 / (gbps * 1e9) * 1e6
