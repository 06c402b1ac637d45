"""From a plan to a server's spec: which executor runs which stage, on which tensors, from which file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from penstock.errors import BadInputError
from penstock.plan.dispatch import dispatch_table
from penstock.plan.plan import ModelPlan, Plan, StagePlan
from penstock.profile.table import Profile
from penstock.schedule.table import DispatchTable
from penstock.serve.boundaries import Boundaries, boundaries_of
from penstock.serve.spec import (
    DISPATCH_US,
    OVERHEAD_US,
    ExecutorKind,
    Limits,
    ModelSpec,
    ServerSpec,
    StageSpec,
    plain_table,
)

KINDS: tuple[ExecutorKind, ...] = get_args(ExecutorKind)


NO_LIMITS_GIVEN = Limits()


@dataclass(frozen=True)
class ServeOptions:
    """What the command line chooses. ``executors`` by device class; the key ``""`` is for all others."""

    executors: Mapping[str, ExecutorKind]
    limits: Limits = NO_LIMITS_GIVEN
    dispatch_us: int = DISPATCH_US
    overhead_us: int = OVERHEAD_US
    journal: Path | None = None
    keep_record: bool = False
    policy: str = "reservation"


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

    Raises :class:`BadInputError` where a stage is to run but its model has no ONNX file, or another one than
    was profiled.
    """
    table = dispatch_table(plan, profiles)
    stages: list[StageSpec] = []
    models: list[ModelSpec] = []
    for index, model in enumerate(plan.models):
        cuts = boundaries_of(profiles[model.name])
        writer = _StageWriter(cuts, folder, index)
        for position, pipeline in enumerate(model.pipelines):
            for stage in pipeline.stages:
                latency_us = table.latency_us[len(stages), : stage.batch + 1].tolist()
                stages.append(_stage(writer, options, stage, (index, position), tuple(latency_us)))
        models.append(_model(model, cuts, stages, index))
    return ServerSpec(
        models=tuple(models),
        stages=tuple(stages),
        worker_stages=_worker_stages(table),
        table=plain_table(table),
        limits=options.limits,
        dispatch_us=options.dispatch_us,
        overhead_us=options.overhead_us,
        journal=None if options.journal is None else str(options.journal.absolute()),
        policy=options.policy,
        keep_record=options.keep_record,
    )


def _worker_stages(table: DispatchTable) -> tuple[tuple[int, ...], ...]:
    """The stages that every worker serves: those that share its pool."""
    served: dict[int, tuple[int, ...]] = {}
    for stage, pool in enumerate(table.pool_of_stage.tolist()):
        served[pool] = (*served.get(pool, ()), stage)
    return tuple(served[pool] for pool in table.pool_of_worker.tolist())


class _StageWriter:
    """Writes each sub-model of one model once, however many pipelines use it."""

    def __init__(self, cuts: Boundaries, folder: Path, model: int) -> None:
        self.cuts = cuts
        self._folder = folder
        self._model = model

    def file_of(self, start: int, stop: int) -> str:
        path = self._folder / f"model-{self._model}-{start}-{stop}.onnx"
        if not path.exists():
            self.cuts.write_stage(start, stop, path)
        return str(path)


def _stage(
    writer: _StageWriter,
    options: ServeOptions,
    stage: StagePlan,
    place: tuple[int, int],
    latency_us: tuple[int, ...],
) -> StageSpec:
    start, stop = stage.blocks
    kind = options.executors.get(stage.device_class, options.executors.get("", "onnxruntime"))
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
    )


def _model(model: ModelPlan, cuts: Boundaries, stages: list[StageSpec], index: int) -> ModelSpec:
    last_block = max(stage.blocks[1] for pipeline in model.pipelines for stage in pipeline.stages)
    return ModelSpec(
        name=model.name,
        slo_us=model.slo_us,
        rate_rps=model.rate_rps,
        max_batch=max(stage.batch for pipeline in model.pipelines for stage in pipeline.stages),
        inputs=cuts.crossing(0),
        outputs=cuts.crossing(last_block),
        executors=tuple(sorted({stage.executor for stage in stages if stage.model == index})),
    )
