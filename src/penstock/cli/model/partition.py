"""``penstock partition``: split a graph into stages, with a proof of how near the optimum the split is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from penstock.cli.common.numbers import FiniteRange, Share, seed_option
from penstock.cli.common.output import force_option, json_option
from penstock.cli.model.reading import reading_options


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
@click.option("-k", type=int, help="The most stages [default: as the graph's file says].")
@click.option(
    "--until-gap",
    type=Share(max_open=True),
    default="0%",
    show_default=True,
    help="Stop when the split is proven to be so near the optimum.",
)
@click.option("--time-limit", type=FiniteRange(min=0), default=60.0, show_default=True, help="In seconds.")
@click.option(
    "--bandwidth-gbps",
    type=FiniteRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Rate of the link between stages. Placement graphs have their own transfer times.",
)
@click.option("--device-class", help="Whose times to use: predicted for ONNX, or a class of the profile.")
@click.option(
    "--class-costs",
    callback=_class_counts,
    multiple=True,
    metavar="CLASS=STAGES",
    help="Different devices: so many stages on that class (repeatable). Their order is chosen.",
)
@click.option(
    "--memory-gb", type=FiniteRange(min=0), help="Memory of a device (ONNX). The excess is streamed."
)
@click.option("--svg", type=click.Path(path_type=Path), help="Draw the graph, coloured by stage.")
@click.option(
    "--write-onnx",
    type=click.Path(path_type=Path),
    help="Write the ONNX model with its operators sorted by stage, for 'penstock profile --boundaries'.",
)
@seed_option("the search")
@reading_options
@force_option
@json_option
def command(graph: Path, **asked: Any) -> None:
    """Split GRAPH into at most K stages so that the slowest stage is as fast as possible.

    GRAPH is an ONNX file, a profile folder, a placement graph (.json) or a pipedream graph (text). A stage costs
    its work and the transfer of every tensor that enters or leaves it. The bound is proven: no split is faster.

    \b
    Example:
      penstock partition resnet18.onnx --device-class T4 -k 4 --until-gap 2%
      penstock partition profiles/resnet18 --device-class cpu -k 3
      penstock partition model.onnx --class-costs L4=1 --class-costs T4=3
    """
    from penstock.cli.model.splitting import split_graph

    split_graph(graph, **asked)
