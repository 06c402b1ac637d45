"""Make the spec of a server from a plan: which executor runs which stage, on which tensors, from which file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from penstock.errors import BadInputError
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.plan import ModelPlan, Plan, StagePlan
from penstock.plan.documents.scenario import ServedModel
from penstock.plan.questions.tail_latency import client_doubts
from penstock.profile.table import Profile
from penstock.runtime.settings import RuntimeSettings
from penstock.schedule.rule_numbers import DEFAULT_POLICY
from penstock.schedule.table import DispatchTable
from penstock.serve.boundaries import Boundaries, boundaries_of
from penstock.serve.devices import chosen_devices, device_needs
from penstock.serve.listen.options import ListenOptions
from penstock.serve.observe.traces import TraceOptions
from penstock.serve.spec import (
    DISPATCH_US,
    OVERHEAD_US,
    ExecutorKind,
    Limits,
    ModelSpec,
    ServerSpec,
    StageSpec,
    TransportName,
    default_transport,
    plain_table,
)

KINDS: tuple[ExecutorKind, ...] = get_args(ExecutorKind)


NO_LIMITS_GIVEN = Limits()
LISTEN_DEFAULTS = ListenOptions()


@dataclass(frozen=True)
class ServeOptions:
    """What the command line chooses. ``executors`` and ``runtimes`` by device class; ``""`` is for all others.

    ``window``: segments at once on a device of a scheduled plan. ``hosts_choose_devices``: the hosts of the plan are
    other machines, so real devices are chosen there.
    """

    executors: Mapping[str, ExecutorKind]
    limits: Limits = NO_LIMITS_GIVEN
    dispatch_us: int = DISPATCH_US
    overhead_us: int = OVERHEAD_US
    journal: Path | None = None
    rows: Path | None = None
    policy: str = DEFAULT_POLICY
    max_queue_delay_us: int | None = None
    plan: Path | None = None
    listen: ListenOptions = LISTEN_DEFAULTS
    traces: TraceOptions | None = None
    transport: TransportName = field(default_factory=default_transport)
    runtimes: Mapping[str, RuntimeSettings] = field(default_factory=dict)
    window: int = 1
    hosts_choose_devices: bool = False

    def executor_of(self, device_class: str) -> ExecutorKind:
        """The executor of ``device_class``."""
        return self.executors.get(device_class, self.executors.get("", "onnxruntime"))

    def runtime_of(self, device_class: str) -> RuntimeSettings:
        """The settings of the runtime that computes for ``device_class``."""
        return self.runtimes.get(device_class, self.runtimes.get("", RuntimeSettings()))


def parse_executors(texts: tuple[str, ...], known_classes: frozenset[str]) -> dict[str, ExecutorKind]:
    """``CLASS=KIND`` or ``KIND`` (all other classes), each once; :class:`BadInputError` for unknown ones."""
    executors: dict[str, ExecutorKind] = {}
    for text in texts:
        name, _, kind = text.rpartition("=")
        if kind not in KINDS:
            raise BadInputError(f"--executor {text!r}: {kind!r} is not one of {', '.join(KINDS)}.")
        if name and name not in known_classes:
            known = ", ".join(sorted(known_classes))
            raise BadInputError(
                f"--executor {text!r}: the plan has no device class {name!r} (it has {known})."
            )
        if name in executors:
            raise BadInputError(
                f"--executor {text!r}: given twice for {name or 'all classes'}; give it once."
            )
        executors[name] = kind
    return executors


def prepare(plan: Plan, profiles: Mapping[str, Profile], options: ServeOptions, folder: Path) -> ServerSpec:
    """The spec of a server for ``plan``; sub-models that will run are written into ``folder``.

    Raises :class:`BadInputError` if a stage is to run but its model has no ONNX file, or not the one that was profiled;
    :class:`DeviceMismatchError` if this machine lacks a device that a class requires.
    """
    if plan.scheduled is not None:
        from penstock.serve.scheduled.scheduled_prepare import prepare_scheduled

        return prepare_scheduled(plan, plan.scheduled, profiles, options, folder)
    kinds = {name: options.executor_of(name) for name in plan.scenario.cluster.device_classes}
    needs = device_needs(plan, kinds, on_hosts=options.hosts_choose_devices)
    devices = () if options.hosts_choose_devices else chosen_devices(needs)
    table = dispatch_table(plan, profiles)
    stages: list[StageSpec] = []
    models: list[ModelSpec] = []
    for index, model in enumerate(plan.models):
        cuts = boundaries_of(profiles[model.name])
        writer = StageWriter(cuts, folder, index)
        for position, pipeline in enumerate(model.pipelines):
            for stage in pipeline.stages:
                latency_us = table.latency_us[len(stages), : stage.batch + 1].tolist()
                stages.append(_stage(writer, options, stage, (index, position), tuple(latency_us)))
        models.append(model_spec(model, cuts, stages, index, plan.scenario.models[index]))
    return ServerSpec(
        models=tuple(models),
        stages=tuple(stages),
        worker_stages=_worker_stages(table),
        table=plain_table(table),
        limits=options.limits,
        dispatch_us=options.dispatch_us,
        overhead_us=options.overhead_us,
        transport=options.transport,
        journal=None if options.journal is None else str(options.journal.absolute()),
        policy=options.policy,
        max_queue_delay_us=options.max_queue_delay_us,
        doubts=client_doubts(plan, profiles, options.overhead_us),
        rows=None if options.rows is None else str(options.rows.absolute()),
        worker_devices=devices,
        device_needs=needs if options.hosts_choose_devices else (),
        plan=None if options.plan is None else str(options.plan),
        listen=options.listen,
        traces=options.traces,
        worker_hosts=tuple(f"{worker.device_class}:{worker.host}" for worker in plan.placement),
    )


def _worker_stages(table: DispatchTable) -> tuple[tuple[int, ...], ...]:
    """The stages that every worker serves: those that share its pool."""
    served: dict[int, tuple[int, ...]] = {}
    for stage, pool in enumerate(table.pool_of_stage.tolist()):
        served[pool] = (*served.get(pool, ()), stage)
    return tuple(served[pool] for pool in table.pool_of_worker.tolist())


class StageWriter:
    """Writes each sub-model of one model once, however many pipelines use it."""

    def __init__(self, cuts: Boundaries, folder: Path, model: int) -> None:
        self.cuts = cuts
        self._folder = folder
        self._model = model

    def file_of(self, start: int, stop: int) -> str:
        """The file of blocks ``[start, stop)``, written on first use."""
        path = self._folder / f"model-{self._model}-{start}-{stop}.onnx"
        if not path.exists():
            self.cuts.write_stage(start, stop, path)
        return str(path)


def _stage(
    writer: StageWriter,
    options: ServeOptions,
    stage: StagePlan,
    place: tuple[int, int],
    latency_us: tuple[int, ...],
) -> StageSpec:
    start, stop = stage.blocks
    kind = options.executor_of(stage.device_class)
    passing = writer.cuts.forwarded(start, stop)
    inputs = writer.cuts.crossing(start)
    return StageSpec(
        model=place[0],
        pipeline=place[1],
        blocks=stage.blocks,
        executor=kind,
        inputs=inputs,
        computed=tuple(spec for spec in writer.cuts.crossing(stop) if spec.name not in passing),
        forwarded=tuple(spec for spec in inputs if spec.name in passing),
        latency_us=latency_us,
        model_file=None if kind == "emulated" else writer.file_of(start, stop),
        runtime=options.runtime_of(stage.device_class),
        device_class=stage.device_class,
        share=stage.share,
    )


def model_spec(
    model: ModelPlan, cuts: Boundaries, stages: list[StageSpec], index: int, asked: ServedModel
) -> ModelSpec:
    """What the gateway is told of the model, which the scenario has as ``asked``; ``stages`` may be of other models
    too."""
    pipelines: dict[int, int] = {}
    for stage in stages:
        if stage.model == index:
            pipelines[stage.pipeline] = pipelines.get(stage.pipeline, 0) + stage.latency_us[1]
    return ModelSpec(
        name=model.name,
        slo_us=model.slo_us,
        rate_rps=model.rate_rps,
        max_batch=max(stage.batch for pipeline in model.pipelines for stage in pipeline.stages),
        inputs=cuts.inputs,
        outputs=cuts.outputs,
        executors=tuple(sorted({stage.executor for stage in stages if stage.model == index})),
        least_us=min(pipelines.values()),
        serve_as=asked.serve_as or "",
        version=asked.version,
    )
