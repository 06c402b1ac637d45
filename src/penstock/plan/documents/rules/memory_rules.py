"""Rules of memory: what the workers of a device hold fits into it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from penstock.plan.documents.plan import Plan, StagePlan, WorkerPlacement
from penstock.profile.table import Profile


def check_memory(
    where: str, workers: Sequence[WorkerPlacement], plan: Plan, profiles: Mapping[str, Profile]
) -> Iterator[str]:
    """Parameters and the largest activation of every worker fit. Unknown sizes count 0."""
    memory_gb = plan.scenario.cluster.device_classes[workers[0].device_class].memory_gb
    if memory_gb is None:
        return
    models = {model.name: model for model in plan.models}
    total = 0
    for w in workers:
        if w.model not in models or w.model not in profiles:
            return  # reported with the models
        pipelines = models[w.model].pipelines
        if w.pipeline >= len(pipelines) or w.stage >= len(pipelines[w.pipeline].stages):
            return  # reported with the placement
        stage = pipelines[w.pipeline].stages[w.stage]
        blocks = profiles[w.model].blocks[stage.blocks[0] : stage.blocks[1]]
        total += weight_bytes(profiles[w.model], *stage.blocks)
        total += stage.piece * max((block.peak_activation_bytes for block in blocks), default=0)
        total += _workspace_bytes(profiles[w.model], stage)
    if total > memory_gb * 1e9:
        names = ", ".join(str(w.worker) for w in workers)
        yield f"{where} is out of memory: workers {names} need {total / 1e9:.3f} GB, it has {memory_gb} GB"


def check_pools(plan: Plan, profiles: Mapping[str, Profile]) -> Iterator[str]:
    """The share of every worker has memory for all pieces of its pool, each once, and the largest activation."""
    pools: dict[tuple[str, int, int], list[tuple[str, StagePlan]]] = defaultdict(list)
    for model in plan.models:
        for pipeline in model.pipelines:
            for place, stage in enumerate(pipeline.stages):
                pools[stage.device_class, stage.share, place].append((model.name, stage))
    for (device_class, share, place), held in pools.items():
        spec = plan.scenario.cluster.device_classes.get(device_class)
        if spec is None or spec.memory_gb is None or any(name not in profiles for name, _ in held):
            continue  # unlimited, or reported with the models
        pieces = {(name, *stage.blocks) for name, stage in held}
        total = sum(weight_bytes(profiles[name], i, j) for name, i, j in pieces)
        total += max(
            (
                stage.piece * block.peak_activation_bytes
                for name, stage in held
                for block in profiles[name].blocks[slice(*stage.blocks)]
            ),
            default=0,
        )
        # One process: its context counts once, and so does the largest workspace of any piece.
        total += max(_workspace_bytes(profiles[name], stage) for name, stage in held)
        if total * share > spec.memory_gb * 1e9:
            names = ", ".join(f"{name} [{i}, {j})" for name, i, j in sorted(pieces))
            yield (
                f"the shared pool on 1/{share} of {device_class}, stage {place}, is out of memory: each worker holds "
                f"{names}, {total / 1e9:.3f} GB, it has {spec.memory_gb / share:.3f} GB"
            )


def weight_bytes(profile: Profile, start: int, stop: int) -> int:
    """Weights of a worker of these blocks. A weight that k of them count is loaded once: k - 1 counts too many."""
    counted = sum(block.parameter_bytes for block in profile.blocks[start:stop])
    held = range(start, stop)
    repeated = (
        shared.size_bytes * (len(set(shared.blocks) & set(held)) - 1)
        for shared in profile.shared_weights
        if not set(shared.blocks).isdisjoint(held)
    )
    return counted - sum(repeated)


def _workspace_bytes(profile: Profile, stage: StagePlan) -> int:
    """What a worker needs besides weights and activations: its context, and the largest workspace of its blocks."""
    context = profile.worker_costs_of(stage.device_class).workspace_bytes
    measured = profile.block_memory.get(stage.device_class, ())[slice(*stage.blocks)]
    return context + max((block.workspace_bytes for block in measured), default=0)
