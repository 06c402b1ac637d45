"""Split a graph into stages: of like devices with a proven bound, or over different devices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from penstock.api.results.partition_result import PartitionResult, UnlikePartitionResult
from penstock.errors import BadInputError
from penstock.graph.reading.options import AS_IT_IS, ReadOptions
from penstock.partition.formats.read import read_class_times, read_graph
from penstock.partition.heterogeneous import partition_unlike, prove_unlike
from penstock.partition.partition import partition
from penstock.progress import CancelToken, Watcher, collected, task, tell, watched


def partition_graph(
    graph: str | Path,
    k: int | None = None,
    *,
    device_class: str | None = None,
    until_gap: float = 0.0,
    time_limit_s: float = 60.0,
    bandwidth_gbps: float = 10.0,
    memory_gb: float | None = None,
    seed: int = 0,
    reading: ReadOptions = AS_IT_IS,
    progress: Watcher | None = None,
    cancel: CancelToken | None = None,
) -> PartitionResult:
    """Split ``graph`` into at most ``k`` stages so that the slowest is as fast as possible, with a proven bound.

    ``graph``: an ONNX file (then ``device_class`` is one whose times can be predicted), a profile folder, or a
    placement graph. ``k`` may be left out if the file says it. The search stops when the split is proven to be within
    the relative ``until_gap`` of the optimum, or after ``time_limit_s`` seconds. ``bandwidth_gbps``: the link between
    stages. ``memory_gb``: of a device; what exceeds it is streamed. ``reading``: what an ONNX file leaves open.

    Raises :class:`penstock.errors.BadInputError` for a graph that cannot be read and a value out of range.
    """
    path = Path(graph)
    with watched(progress, cancel), collected():
        source = read_graph(
            path,
            bandwidth_gbps=bandwidth_gbps,
            device_class=device_class,
            memory_gb=memory_gb,
            reading=reading,
        )
        wanted = k if k is not None else source.shipped_k
        if wanted is None:
            raise BadInputError(f"{path}: does not say into how many stages. Give -k.")
        with task("splitting the graph") as step:
            steps = 0

            def say(text: str) -> None:
                nonlocal steps
                steps += 1
                tell(text)
                step(steps, text)

            result = partition(
                source.problem,
                wanted,
                time_limit_s=time_limit_s,
                until_gap=until_gap,
                seed=seed,
                progress=say,
            )
    return PartitionResult(source, wanted, result)


def partition_over(
    graph: str | Path,
    stages: Mapping[str, int],
    *,
    until_gap: float = 0.0,
    time_limit_s: float = 60.0,
    bandwidth_gbps: float = 10.0,
    seed: int = 0,
    reading: ReadOptions = AS_IT_IS,
) -> UnlikePartitionResult:
    """Split ``graph`` over different devices: ``stages`` says how many stages run on each device class.

    The order of the classes is chosen. The bound is proven: over these stages no split is faster. It is worked on until
    it is within the relative ``until_gap`` of the split, or for ``time_limit_s`` seconds. Raises
    :class:`penstock.errors.BadInputError` for a graph that has times of one device only, and for an unknown class.
    """
    source, class_us = read_class_times(
        Path(graph), bandwidth_gbps=bandwidth_gbps, classes=list(stages), reading=reading
    )
    found = partition_unlike(source.problem, class_us, dict(stages), seed=seed)
    result = prove_unlike(
        source.problem, class_us, dict(stages), found, time_limit_s=time_limit_s, until_gap=until_gap
    )
    return UnlikePartitionResult(source, class_us, result)
