"""The files of ``penstock partition``: the picture, and the model sorted by stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from penstock.api.results.partition_result import PartitionResult, UnlikePartitionResult
from penstock.api.splitting import partition_graph, partition_over
from penstock.arrays import I64
from penstock.cli.common.output import note, print_result
from penstock.errors import BadInputError
from penstock.files import refuse_overwrite, write_text, write_whole
from penstock.graph.reading.onnx_reader import read_onnx
from penstock.graph.reading.options import AS_IT_IS, ReadOptions
from penstock.graph.reorder import reordered
from penstock.partition.formats.graph_file import GraphFile
from penstock.partition.partition import Partition
from penstock.progress import told
from penstock.report.partition_picture import partition_picture


def split_graph(
    graph: Path,
    *,
    k: int | None,
    until_gap: float,
    time_limit: float,
    bandwidth_gbps: float,
    device_class: str | None,
    class_costs: dict[str, int],
    memory_gb: float | None,
    svg: Path | None,
    write_onnx: Path | None,
    seed: int,
    force: bool,
    as_json: bool,
    reading: ReadOptions = AS_IT_IS,
) -> None:
    """Split as :func:`penstock.cli.model.partition.command` says, write the requested files and show the split."""
    if svg is not None:
        refuse_overwrite(svg, force)
    if write_onnx is not None:
        refuse_overwrite(write_onnx, force)
        if graph.suffix != ".onnx" or class_costs:
            raise BadInputError("--write-onnx needs an ONNX GRAPH and stages alike. Leave it out.")
    if class_costs:
        if k is not None and k != sum(class_costs.values()):
            raise BadInputError(
                f"-k {k}, but --class-costs asks for {sum(class_costs.values())} stages. Leave out -k."
            )
        unlike = partition_over(
            graph,
            class_costs,
            until_gap=until_gap,
            time_limit_s=time_limit,
            bandwidth_gbps=bandwidth_gbps,
            seed=seed,
            reading=reading,
        )
        if svg is not None:
            _draw_unlike(svg, unlike, bandwidth_gbps, force)
        print_result(unlike, as_json)
        return
    with told(note):
        found = partition_graph(
            graph,
            k,
            device_class=device_class,
            until_gap=until_gap,
            time_limit_s=time_limit,
            bandwidth_gbps=bandwidth_gbps,
            memory_gb=memory_gb,
            seed=seed,
            reading=reading,
        )
    if svg is not None:
        _draw(svg, found.source, found.result.solution.block, found.result.bound, bandwidth_gbps, force)
    if write_onnx is not None:
        _write_stage_by_stage(graph, write_onnx, found, force, reading)
    print_result(found, as_json)


def _draw(
    path: Path, source: GraphFile, block: I64, bound: float, bandwidth_gbps: float, force: bool
) -> None:
    # The public placement graphs state times without a unit, and so no bytes.
    bytes_per_us = bandwidth_gbps * 1e3 / 8 if source.unit == "us" else None
    picture = partition_picture(
        source.problem, block, unit=source.unit, bound=bound, bytes_per_unit=bytes_per_us
    )
    write_text(path, picture, force=force)
    note(f"Picture written to {path}.")


def _draw_unlike(path: Path, unlike: UnlikePartitionResult, bandwidth_gbps: float, force: bool) -> None:
    """Each operator is drawn with its time on the device that it was given to."""
    source, found = unlike.source, unlike.found
    work = np.array([unlike.class_us[found.classes[b]][i] for i, b in enumerate(found.block)])
    shown = replace(source, problem=replace(source.problem, work=work))
    _draw(path, shown, found.block, unlike.result.bound, bandwidth_gbps, force)


def _write_stage_by_stage(
    graph: Path, path: Path, split: PartitionResult, force: bool, reading: ReadOptions
) -> None:
    """The same model, with its operators sorted by stage. Every stage is then contiguous, as profiles need it."""
    import onnx

    found: Partition = split.result.solution
    model = read_onnx(graph, reading)
    place = {operator.name: index for index, operator in enumerate(model.graph.operators)}
    order = [place[name] for members in found.members() for name in members]
    sorted_model = reordered(model, order)
    write_whole(path, lambda made: onnx.save(sorted_model.proto, made), force=force)
    boundaries = ",".join(str(boundary) for boundary in found.boundaries())
    note(f"Model written to {path}; profile its stages with --boundaries {boundaries}.")
