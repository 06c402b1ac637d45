"""From a plan whose devices take turns to a server's spec: a worker is a device, and has every model of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from penstock.plan.documents.plan import Plan, ScheduledShare, StagePlan
from penstock.profile.table import Profile
from penstock.schedule.table import DispatchTable
from penstock.serve.boundaries import Boundaries, boundaries_of
from penstock.serve.devices import WorkerDevice, worker_devices
from penstock.serve.prepare import ServeOptions, StageWriter, model_spec
from penstock.serve.scheduled.device_spec import check_shared_runtime
from penstock.serve.spec import DeviceSharing, SegmentSpec, ServerSpec, StageSpec, plain_table


def prepare_scheduled(
    plan: Plan, share: ScheduledShare, profiles: Mapping[str, Profile], options: ServeOptions, folder: Path
) -> ServerSpec:
    """The spec of a server for ``plan``, whose ``scheduled`` is ``share``; segments that will run go into ``folder``.

    Workers are the plan's devices, class by class in the order of the plan's first model, then by number. Batches are
    of one sample: a device's policy gains nothing from waiting for more.
    """
    classes = list(dict.fromkeys(worker.device_class for worker in plan.placement))
    devices = {
        name: sorted({worker.device for worker in plan.placement if worker.device_class == name})
        for name in classes
    }
    for name in classes:
        check_shared_runtime(options.executor_of(name), options.runtime_of(name), options.window, f"{name}=")
    stages, models = [], []
    for index, model in enumerate(plan.models):
        profile = profiles[model.name]
        cuts = boundaries_of(profile)
        writer = StageWriter(cuts, folder, index)
        for position, pipeline in enumerate(model.pipelines):
            (stage,) = pipeline.stages
            boundaries = share.segments[stage.device_class][model.name]
            stages.append(_stage(writer, options, stage, (index, position), boundaries, profile))
        models.append(model_spec(model, cuts, stages, index, plan.scenario.models[index]))
    served = [
        tuple(number for number, one in enumerate(_plan_stages(plan)) if one.device_class == name)
        for name in classes
        for _ in devices[name]
    ]
    return ServerSpec(
        models=tuple(models),
        stages=tuple(stages),
        worker_stages=tuple(served),
        table=plain_table(_table(plan, profiles, classes, devices)),
        limits=options.limits,
        dispatch_us=options.dispatch_us,
        overhead_us=options.overhead_us,
        transport=options.transport,
        journal=None if options.journal is None else str(options.journal.absolute()),
        policy="least-work",
        rows=None if options.rows is None else str(options.rows.absolute()),
        device=DeviceSharing(share.order, share.late, share.miss_budget, options.window),
        listen=options.listen,
        worker_devices=_devices(plan, options, classes, devices),
    )


def _devices(
    plan: Plan, options: ServeOptions, classes: list[str], devices: Mapping[str, list[int]]
) -> tuple[WorkerDevice | None, ...]:
    """The real device of each worker: that of any of the plan's workers on the same device."""
    kinds = {name: options.executor_of(name) for name in plan.scenario.cluster.device_classes}
    places = [(worker.device_class, worker.device) for worker in plan.placement]
    found = dict(zip(places, worker_devices(plan, kinds), strict=True))
    return tuple(found[name, device] for name in classes for device in devices[name])


def _plan_stages(plan: Plan) -> list[StagePlan]:
    return [stage for model in plan.models for pipeline in model.pipelines for stage in pipeline.stages]


def _stage(
    writer: StageWriter,
    options: ServeOptions,
    stage: StagePlan,
    place: tuple[int, int],
    boundaries: list[int],
    profile: Profile,
) -> StageSpec:
    start, stop = stage.blocks
    kind = options.executor_of(stage.device_class)
    cuts = writer.cuts
    passing = cuts.forwarded(start, stop)
    inputs = cuts.crossing(start)
    table = profile.table(stage.device_class, 1)
    return StageSpec(
        model=place[0],
        pipeline=place[1],
        blocks=stage.blocks,
        executor=kind,
        inputs=inputs,
        computed=tuple(spec for spec in cuts.crossing(stop) if spec.name not in passing),
        forwarded=tuple(spec for spec in inputs if spec.name in passing),
        latency_us=(0, stage.inference_us),
        device_class=stage.device_class,
        share=stage.share,
        runtime=options.runtime_of(stage.device_class),
        segments=tuple(
            SegmentSpec(
                computed=_computed(cuts, *span),
                forwarded=tuple(sorted(cuts.forwarded(*span))),
                latency_us=int(table.span_us(*span)[0]),
                model_file=None if kind == "emulated" else writer.file_of(*span),
            )
            for span in pairwise(boundaries)
        ),
    )


def _computed(cuts: Boundaries, start: int, stop: int) -> tuple[str, ...]:
    passing = cuts.forwarded(start, stop)
    return tuple(spec.name for spec in cuts.crossing(stop) if spec.name not in passing)


def _table(
    plan: Plan, profiles: Mapping[str, Profile], classes: list[str], devices: Mapping[str, list[int]]
) -> DispatchTable:
    """A pipeline of one stage for each (model, class); the stages of a class share the pool of its devices."""
    stages = _plan_stages(plan)
    # A pool's workers belong to the first of its stages: which one does not matter to the policy.
    owners = {name: next(n for n, one in enumerate(stages) if one.device_class == name) for name in classes}
    owned = [
        len(devices[stage.device_class]) if owners[stage.device_class] == number else 0
        for number, stage in enumerate(stages)
    ]
    order = sorted(classes, key=owners.__getitem__)
    latency = np.array([[0, stage.inference_us] for stage in stages], np.int64)
    hosts = {(worker.device_class, worker.device): worker.host for worker in plan.placement}
    every = [(name, device) for name in order for device in devices[name]]
    dense = {host: number for number, host in enumerate(dict.fromkeys((n, hosts[n, d]) for n, d in every))}
    return DispatchTable(
        slo_us=np.array([model.slo_us for model in plan.models], np.int64),
        pipeline_offsets=_first([len(model.pipelines) for model in plan.models]),
        stage_offsets=np.arange(len(stages) + 1, dtype=np.int64),
        worker_offsets=_first(owned),
        pipeline_batch=np.ones(len(stages), np.int64),
        latency_us=latency,
        p99_us=latency,
        transfer_us=np.zeros_like(latency),
        worker_host=np.array([dense[name, hosts[name, device]] for name, device in every], np.int64),
        worker_device=np.arange(len(every), dtype=np.int64),
        stage_pool=np.array([order.index(stage.device_class) for stage in stages], np.int64),
    )


def _first(lengths: list[int]) -> np.ndarray:
    return np.cumsum([0, *lengths], dtype=np.int64)
