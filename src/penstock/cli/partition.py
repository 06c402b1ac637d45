"""``penstock partition``: split a graph into stages, with a proof of how near the optimum the split is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from penstock.cli.numbers import FiniteRange
from penstock.cli.output import force_option, json_option, note, print_json, print_table
from penstock.errors import BadInputError
from penstock.files import refuse_overwrite, write_text, write_whole
from penstock.graph.onnx_reader import read_onnx
from penstock.graph.reorder import reordered
from penstock.partition.formats.graph_file import GraphFile
from penstock.partition.formats.read import read_class_times, read_graph
from penstock.partition.heterogeneous import HeterogeneousPartition, partition_unlike
from penstock.partition.partition import Partition, partition
from penstock.partition.problem import I64, PartitionProblem
from penstock.report.graph_picture import graph_picture
from penstock.result import Result

_SHOWN_OPERATORS = 3


def _share(ctx: click.Context, parameter: click.Parameter, text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise click.BadParameter(f"{text!r} must be a share of at least 0 and below 1, such as 2% or 0.02.")
    return share


def _class_counts(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for text in texts:
        name, _, count = text.rpartition("=")
        if not name or not count.isdecimal() or int(count) < 1:
            raise click.BadParameter(f"{text!r} must be a device class and its stages, such as L4=2.")
        counts[name] = counts.get(name, 0) + int(count)
    return counts


@click.command()
@click.argument("graph", type=click.Path(path_type=Path))
@click.option("-k", type=int, help="At most so many stages [default: what the graph's file asks for].")
@click.option(
    "--until-gap",
    callback=_share,
    default="0%",
    show_default=True,
    help="Stop when proven so near the optimum.",
)
@click.option("--time-limit", type=FiniteRange(min=0), default=60.0, show_default=True, help="In seconds.")
@click.option(
    "--bandwidth-gbps",
    type=FiniteRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Of the link between stages; placement graphs bring their own transfer times.",
)
@click.option("--device-class", help="Whose times to take: predicted for ONNX, or a class of the profile.")
@click.option(
    "--class-costs",
    callback=_class_counts,
    multiple=True,
    metavar="CLASS=STAGES",
    help="Unlike devices: so many stages on that class (repeatable); their order is chosen. Without a bound.",
)
@click.option("--memory-gb", type=FiniteRange(min=0), help="Of a device (ONNX): what exceeds it is streamed.")
@click.option("--svg", type=click.Path(path_type=Path), help="Draw the graph, coloured by stage.")
@click.option(
    "--write-onnx",
    type=click.Path(path_type=Path),
    help="Write the ONNX model with its operators stage by stage, for 'penstock profile --boundaries'.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@force_option
@json_option
def command(
    graph: Path,
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
) -> None:
    """Split GRAPH into at most K stages so that the slowest is as fast as can be.

    GRAPH is an ONNX file, a profile folder, a placement graph (.json) or a pipedream graph (text). A stage costs
    its work and the transfer of every tensor that enters or leaves it. The bound is proven: no split is faster.

    \b
    Example:
      penstock partition resnet18.onnx --device-class T4 -k 4 --until-gap 2%
      penstock partition profiles/resnet18 --device-class cpu -k 3
      penstock partition model.onnx --class-costs L4=1 --class-costs T4=3
    """
    if svg is not None:
        refuse_overwrite(svg, force)
    if write_onnx is not None:
        refuse_overwrite(write_onnx, force)
        if graph.suffix != ".onnx" or class_costs:
            raise BadInputError("--write-onnx needs an ONNX GRAPH and stages alike. Leave it out.")
    if class_costs:
        _partition_unlike(graph, class_costs, bandwidth_gbps, k, seed, svg, force, as_json)
        return
    source = read_graph(graph, bandwidth_gbps=bandwidth_gbps, device_class=device_class, memory_gb=memory_gb)
    wanted = k if k is not None else source.shipped_k
    if wanted is None:
        raise BadInputError(f"{graph}: does not say into how many stages. Give -k.")
    result = partition(
        source.problem, wanted, time_limit_s=time_limit, until_gap=until_gap, seed=seed, progress=note
    )
    if svg is not None:
        _draw(svg, source.problem, result.solution.block, force)
    if write_onnx is not None:
        _write_stage_by_stage(graph, write_onnx, result.solution, force)
    if as_json:
        print_json(_document(source, wanted, result))
    else:
        _print(source, result)


def _draw(path: Path, problem: PartitionProblem, block: I64, force: bool) -> None:
    edges = [(int(maker), int(user)) for maker, user in np.unique(problem.edges(), axis=0)]
    title = f"{problem.name}: {int(block.max()) + 1} stages"
    write_text(path, graph_picture(problem.operators, edges, block.tolist(), title), force=force)
    note(f"Picture written to {path}.")


def _write_stage_by_stage(graph: Path, path: Path, found: Partition, force: bool) -> None:
    """The same model, its operators sorted by stage: every stage is then contiguous, as profiles need it."""
    import onnx

    model = read_onnx(graph)
    place = {operator.name: index for index, operator in enumerate(model.graph.operators)}
    order = [place[name] for members in found.members() for name in members]
    sorted_model = reordered(model, order)
    write_whole(path, lambda made: onnx.save(sorted_model.proto, made), force=force)
    boundaries = ",".join(str(boundary) for boundary in found.boundaries())
    note(f"Model written to {path}; profile its stages with --boundaries {boundaries}.")


def _document(source: GraphFile, k: int, result: Result[Partition]) -> dict[str, Any]:
    return {
        "graph": source.problem.name,
        "k": k,
        "unit": source.unit,
        "bottleneck": result.objective,
        "bound": result.bound,
        "gap": result.gap,
        "status": result.status.name.lower(),
        "seconds": result.stats["seconds"],
        "stages": _stages(result.solution),
        "boundaries": result.solution.boundaries(),
        "stats": dict(result.stats),
    }


def _stages(found: Partition) -> list[dict[str, Any]]:
    costs = found.costs
    return [
        {
            "operators": operators,
            "work": float(costs.work[index]),
            "in": float(costs.in_[index]),
            "out": float(costs.out[index]),
            "streamed": float(costs.streamed[index]),
            "cost": float(costs.total[index]),
        }
        for index, operators in enumerate(found.members())
    ]


def _print(source: GraphFile, result: Result[Partition]) -> None:
    stages = _stages(result.solution)
    print_table(
        f"{source.problem.name}: times in {source.unit}",
        ["stage", "operators", "work", "in", "out", "cost", "which"],
        [
            [
                index,
                len(s["operators"]),
                *(f"{s[key]:.4f}" for key in ("work", "in", "out", "cost")),
                _which(s),
            ]
            for index, s in enumerate(stages)
        ],
    )
    worst = max(range(len(stages)), key=lambda index: stages[index]["cost"])
    slowest = stages[worst]
    click.echo(
        f"Bottleneck {result.objective:.6g} {source.unit}: stage {worst}, of it work {slowest['work']:.6g}, in "
        f"{slowest['in']:.6g}, out {slowest['out']:.6g}, streamed {slowest['streamed']:.6g}."
    )
    click.echo(
        f"Bound {result.bound:.6g} {source.unit} (by {result.stats['bound_by']}), gap {100 * result.gap:.2f}%; "
        f"{result.status.value}; {result.stats['seconds']:.1f} s."
    )


def _which(stage: dict[str, Any]) -> str:
    names = stage["operators"]
    return ", ".join(names) if len(names) <= _SHOWN_OPERATORS else f"{names[0]} ... {names[-1]}"


def _partition_unlike(
    graph: Path,
    stages: dict[str, int],
    bandwidth_gbps: float,
    k: int | None,
    seed: int,
    svg: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    if k is not None and k != sum(stages.values()):
        raise BadInputError(
            f"-k {k}, but --class-costs asks for {sum(stages.values())} stages. Leave out -k."
        )
    source, class_us = read_class_times(graph, bandwidth_gbps=bandwidth_gbps, classes=list(stages))
    found = partition_unlike(source.problem, class_us, stages, seed=seed)
    if svg is not None:
        _draw(svg, source.problem, found.block, force)
    rows = _unlike_stages(source.problem, found)
    if as_json:
        print_json(
            {"graph": source.problem.name, "unit": "us", "bottleneck": found.bottleneck, "stages": rows}
        )
        return
    print_table(
        f"{source.problem.name}: unlike devices, bottleneck {found.bottleneck:.6g} us",
        ["stage", "class", "operators", "which"],
        [[i, s["device_class"], len(s["operators"]), _which(s)] for i, s in enumerate(rows)],
    )


def _unlike_stages(problem: PartitionProblem, found: HeterogeneousPartition) -> list[dict[str, Any]]:
    return [
        {
            "device_class": device_class,
            "operators": [problem.operators[i] for i in np.flatnonzero(found.block == stage)],
        }
        for stage, device_class in enumerate(found.classes)
    ]
