"""A plan with a split stage, made by hand, for the tests of several stations."""

from __future__ import annotations

from collections.abc import Sequence

from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.plan.documents.plan import ModelPlan, PipelinePlan, Plan, StagePlan
from penstock.plan.placement.assemble import plan_with_proof
from penstock.profile.table import Profile

SAMPLE_BYTES = 1_250_000
"""1 ms on a link of 10 Gbit/s."""


def split_plan(
    batch: int,
    pieces: Sequence[int],
    workers: Sequence[int],
    rows: Sequence[Sequence[int]],
    *,
    slo_us: int = 10**9,
) -> tuple[Plan, dict[str, Profile]]:
    """One pipeline, each block a stage on a class of its own: into ``pieces`` on so many ``workers``.

    ``rows``: the latency of each block by batch size.
    """
    names = [f"c{s}" for s in range(len(rows))]
    profile = toy_profile(
        "m",
        {(name, 1): [list(row)] * len(rows) for name, row in zip(names, rows, strict=True)},
        boundary_bytes=[0, *[SAMPLE_BYTES] * (len(rows) - 1), 0],
    )
    classes = {name: DeviceClass(count=count, per_host=1) for name, count in zip(names, workers, strict=True)}
    scenario = toy_scenario(classes, [toy_model("m", slo_us)], max_stages=len(rows)).with_planner(
        split_stages=max(pieces)
    )
    stages = []
    for s, row in enumerate(rows):
        sizes = [batch // pieces[s] + (k < batch % pieces[s]) for k in range(pieces[s])]
        rate = workers[s] * batch * 1e6 / sum(row[size - 1] for size in sizes)
        if len(rows) > 1:
            rate = min(rate, workers[s] * 1000.0)
        stages.append(
            StagePlan(
                blocks=(s, s + 1),
                device_class=names[s],
                share=1,
                batch=batch,
                pieces=pieces[s],
                workers=workers[s],
                inference_us=row[sizes[0] - 1],
                transfer_us=batch * 1000 if s + 1 < len(rows) else 0,
                rate_rps=rate,
            )
        )
    rate = min(stage.rate_rps for stage in stages)
    model = ModelPlan(
        name="m",
        rate_rps=rate,
        slo_us=slo_us,
        margin_us=0,
        estimated_rps=1e9,
        pipelines=[PipelinePlan(rate_rps=rate, stages=stages)],
    )
    plan = plan_with_proof(
        [model], scenario, planner="hand", bound=rate, gap=0.0, stats={"solve_seconds": 0.0}
    )
    return plan.solution, {"m": profile}
