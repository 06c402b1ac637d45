"""Plans whose stages state what their inference sustains, built by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.plan.documents.plan import ModelPlan, PipelinePlan, Plan, StagePlan, WorkerPlacement
from penstock.plan.documents.scenario import Scenario, ServedModel
from penstock.plan.placement.assemble import plan_with_proof
from penstock.profile.table import Profile
from penstock.units import transfer_us, whole_us

Stage = tuple[int, str, int, int]
"""The block after its last one, its class, its share, its workers."""


def computing(
    served: ServedModel,
    profile: Profile,
    scenario: Scenario,
    pipelines: Sequence[Sequence[Stage]],
    batch: int = 1,
) -> ModelPlan:
    """A model on ``pipelines``, at the rates of inference alone."""
    made = []
    for stages in pipelines:
        start, pools = 0, []
        for s, (stop, device_class, share, workers) in enumerate(stages):
            inference_us = int(profile.table(device_class, share).span_us(start, stop)[batch - 1])
            sample_us = 0.0
            if s + 1 < len(stages):
                link = scenario.cluster.link_gbps(device_class, stages[s + 1][1])
                sample_us = transfer_us(profile.boundary_bytes[stop], link)
            pools.append(
                StagePlan(
                    blocks=(start, stop),
                    device_class=device_class,
                    share=share,
                    batch=batch,
                    workers=workers,
                    inference_us=inference_us,
                    transfer_us=whole_us(batch * sample_us),
                    rate_rps=workers * batch * 1e6 / inference_us,
                )
            )
            start = stop
        made.append(PipelinePlan(rate_rps=min(pool.rate_rps for pool in pools), stages=pools))
    return ModelPlan(
        name=served.name,
        rate_rps=sum(pipeline.rate_rps for pipeline in made),
        slo_us=served.latency_slo_us,
        margin_us=0,
        estimated_rps=served.estimated_rps,
        pipelines=made,
    )


def planned(models: Sequence[ModelPlan], placement: Sequence[WorkerPlacement], scenario: Scenario) -> Plan:
    """A plan that claims nothing about other plans but that none serves ten times as much."""
    bound = 10 * min(
        model.rate_rps / asked.weight for model, asked in zip(models, scenario.models, strict=True)
    )
    return plan_with_proof(
        list(models),
        scenario,
        planner="toy",
        bound=bound,
        gap=1.0,
        stats={"solve_seconds": 0.0},
        placement=list(placement),
    ).solution


def moved_by_host(plan: Plan, profiles: Mapping[str, Profile]) -> dict[tuple[str, int], list[float]]:
    """Seconds of transfers each second that each host receives and sends, from the definition."""
    loads: dict[tuple[str, int], list[float]] = {}
    for worker in plan.placement:
        [model] = [model for model in plan.models if model.name == worker.model]
        pipeline = model.pipelines[worker.pipeline]
        each_rps = pipeline.rate_rps / pipeline.stages[worker.stage].workers
        found = loads.setdefault((worker.device_class, worker.host), [0.0, 0.0])
        for direction, sender in enumerate((worker.stage - 1, worker.stage)):
            if 0 <= sender < len(pipeline.stages) - 1:
                ends = [pipeline.stages[sender], pipeline.stages[sender + 1]]
                gbps = plan.scenario.cluster.link_gbps(*(end.device_class for end in ends))
                found[direction] += (
                    each_rps * profiles[model.name].boundary_bytes[ends[0].blocks[1]] * 8 / (gbps * 1e9)
                )
    return loads
