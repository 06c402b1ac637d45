"""Rules of a pipeline: its stages cover the model, take as long as they say, and keep the SLO."""

from __future__ import annotations

import math
from collections.abc import Iterator

from penstock.plan.documents.plan import PipelinePlan, StagePlan
from penstock.plan.documents.rules.interface_rules import equal_part_rps, sample_us
from penstock.plan.documents.rules.tolerance import RELATIVE_TOLERANCE, differs
from penstock.plan.documents.scenario import Scenario
from penstock.profile.table import Profile

LATENCY_TOLERANCE_US = 1.0
"""Times are whole microseconds. So an SLO or a margin may be one too small by rounding."""


def check_pipeline(
    where: str,
    pipeline: PipelinePlan,
    scenario: Scenario,
    profile: Profile,
    limit_us: int,
    estimate: float | None,
) -> Iterator[str]:
    """Its stages exist, and its times and rate follow from the profile. ``estimate``: what arrives, for gathering."""
    faults = list(_check_shape(where, pipeline, scenario, profile))
    yield from faults
    if faults:  # nothing below can be computed for a pipeline that does not exist
        return
    batch = pipeline.stages[0].batch
    samples = [sample_us(pipeline.stages, s, scenario, profile) for s in range(len(pipeline.stages))]
    gather_us = 0.0
    if batch > 1 and estimate is None:
        yield f"{where}: batch {batch} without an estimated_rps, so its gathering time is unknown"
    elif batch > 1 and estimate is not None:
        gather_us = scenario.planner.batch_build_factor * 1e6 * (batch - 1) / estimate
    latency_us = gather_us
    for s, stage in enumerate(pipeline.stages):
        inference_us = _inference_us(stage, stage.piece, profile)
        latency_us += inference_us + batch * samples[s]
        work_us = _work_us(stage, profile)
        equal_rps = equal_part_rps(pipeline.stages, s, scenario, profile)
        yield from _check_stage(f"{where}, stage {s}", stage, inference_us, work_us, samples[s], equal_rps)
    if latency_us > limit_us + LATENCY_TOLERANCE_US:
        yield (
            f"{where}: takes {latency_us:.1f} us (inference, transfer, gathering), the SLO less its margin "
            f"is {limit_us} us"
        )
    if pipeline.rate_rps > pipeline.pools_rps * (1 + RELATIVE_TOLERANCE):
        yield f"{where}: rate_rps {pipeline.rate_rps}, its slowest stage has {pipeline.pools_rps}"


def _check_shape(where: str, pipeline: PipelinePlan, scenario: Scenario, profile: Profile) -> Iterator[str]:
    """The stages exist: they cover all blocks in order, on known classes, shares and batches."""
    end = 0
    if len(pipeline.stages) > scenario.planner.max_stages:
        yield (
            f"{where}: {len(pipeline.stages)} stages, the scenario allows {scenario.planner.max_stages} "
            f"(planner.max_stages)"
        )
    for s, stage in enumerate(pipeline.stages):
        start, stop = stage.blocks
        if start != end or stop <= start:
            yield (
                f"{where}, stage {s}: blocks [{start}, {stop}), but the stage must start at {end} and "
                f"not be empty"
            )
        end = stop
        spec = scenario.cluster.device_classes.get(stage.device_class)
        table = profile.tables.get((stage.device_class, stage.share))
        if spec is None:
            yield f"{where}, stage {s}: device class {stage.device_class!r} is not in the cluster"
        elif stage.share > spec.max_share:
            yield f"{where}, stage {s}: share {stage.share}, {stage.device_class} allows {spec.max_share}"
        elif table is None:
            yield f"{where}, stage {s}: the profile has no {stage.device_class} at share {stage.share}"
        elif stage.piece > table.max_batch:
            what = "batch" if stage.pieces == 1 else f"pieces of {stage.batch} requests, the largest of"
            yield f"{where}, stage {s}: {what} {stage.piece}, the profile ends at {table.max_batch}"
        if stage.batch != pipeline.stages[0].batch:
            yield f"{where}, stage {s}: batch {stage.batch}, the first stage has {pipeline.stages[0].batch}"
        yield from _check_pieces(f"{where}, stage {s}", stage, scenario)
    if end != len(profile.blocks):
        yield f"{where}: ends at block {end}, the model has {len(profile.blocks)} blocks"


def _check_pieces(where: str, stage: StagePlan, scenario: Scenario) -> Iterator[str]:
    """Every piece has a request and a worker, and there are no more pieces than its largest one makes necessary."""
    most = scenario.planner.split_stages
    needed = -(-stage.batch // stage.piece)
    if stage.pieces > most:
        yield f"{where}: {stage.pieces} pieces, the scenario allows {most} (planner.split_stages)"
    if stage.pieces != needed:
        yield (
            f"{where}: {stage.pieces} pieces of a batch of {stage.batch}, but {needed} of at most {stage.piece} hold it"
        )
    if stage.workers < stage.pieces:
        yield f"{where}: {stage.workers} workers for {stage.pieces} pieces, each piece needs a worker of its own"


def _check_stage(
    where: str, stage: StagePlan, inference_us: int, work_us: int, sample_us: float, equal_rps: float
) -> Iterator[str]:
    """``equal_rps``: what a worker moves over an equal part of its host's interface."""
    if stage.inference_us != inference_us:
        yield f"{where}: inference_us {stage.inference_us}, the profile says {inference_us}"
    moving_us = math.ceil(stage.batch * sample_us - 1e-6)
    if stage.transfer_us != moving_us:
        yield f"{where}: transfer_us {stage.transfer_us}, the profile and bandwidth say {moving_us}"
    compute_rps = stage.workers * stage.batch * 1e6 / work_us
    own_rps = min(compute_rps, stage.workers * equal_rps)
    if differs(stage.rate_rps, compute_rps) and differs(stage.rate_rps, own_rps):
        sustained = (
            f"{own_rps}" if own_rps == compute_rps else f"{own_rps} on equal parts of their hosts' interfaces"
        )
        beyond = "" if own_rps == compute_rps else f", and compute {compute_rps}"
        yield f"{where}: rate_rps {stage.rate_rps}, {stage.workers} workers sustain {sustained}{beyond}"


def _inference_us(stage: StagePlan, size: int, profile: Profile) -> int:
    """Time of ``size`` requests that run together."""
    table = profile.tables[stage.device_class, stage.share]
    total = sum(int(table.latency_us[block, size - 1]) for block in range(*stage.blocks))
    return max(total, 1)


def _work_us(stage: StagePlan, profile: Profile) -> int:
    """Time of all pieces of a batch together, which differ by at most one request."""
    smaller, larger = divmod(stage.batch, stage.pieces)
    sizes = [smaller + 1] * larger + [smaller] * (stage.pieces - larger)
    return sum(_inference_us(stage, size, profile) for size in sizes)
