"""``penstock profile``: measure a model block by block, or predict for devices not at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from penstock.cli.numbers import FiniteRange
from penstock.cli.output import force_option, json_option, note, print_json, print_table
from penstock.errors import BadInputError, InfeasibleError
from penstock.files import refuse_overwrite
from penstock.graph.cuts import boundary_bytes
from penstock.graph.model_graph import ModelGraph
from penstock.graph.onnx_reader import read_onnx
from penstock.partition.prepartition import prepartition
from penstock.profile.build import boundaries_of, build_profile, merge_classes
from penstock.profile.catalogue import CATALOGUE, CPU_CORE, DeviceSpec, device_spec
from penstock.profile.measure import Measurement, measure
from penstock.profile.predict import predict, predict_operators
from penstock.profile.store import PROFILE_FILES, load_profile, save_profile
from penstock.profile.table import Profile
from penstock.profile.timing import Effort, Progress

DEFAULT_BLOCKS = 10


def _shares(ctx: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) >= 1 for part in parts):
        raise click.BadParameter(f"{text!r} must be whole numbers >= 1 with commas between, such as 1,2.")
    return tuple(sorted({int(part) for part in parts}))


def _boundaries(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise click.BadParameter(f"{text!r} must be whole numbers with commas between, such as 0,12,40.")
    return tuple(int(part) for part in parts)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--device-class", help="Measure on this machine, and name the class so.")
@click.option(
    "--predict",
    "predicted",
    multiple=True,
    metavar="CLASS",
    help=f"Estimate for this class by a roofline (repeatable): {', '.join(CATALOGUE)}.",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The profile folder.")
@click.option(
    "--blocks", type=click.IntRange(min=1), help=f"Number of blocks [default: up to {DEFAULT_BLOCKS}]."
)
@click.option(
    "--boundaries",
    callback=_boundaries,
    help="Blocks by hand or from 'penstock partition': 0,...,number of operators.",
)
@click.option("--max-batch", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--shares", callback=_shares, default="1", show_default=True, help="Share n: n copies at once.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads a worker.")
@click.option(
    "--seconds",
    type=FiniteRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Goal for the time to measure; slow models take longer.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random inputs."
)
@click.option("--merge", is_flag=True, help="Keep the blocks and the other classes of the profile in -o.")
@force_option
@json_option
def command(
    model: Path,
    device_class: str | None,
    predicted: tuple[str, ...],
    output: Path,
    blocks: int | None,
    boundaries: tuple[int, ...] | None,
    max_batch: int,
    shares: tuple[int, ...],
    threads: int,
    seconds: float,
    seed: int,
    merge: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Measure how long each block of the ONNX file MODEL takes, on one device class or more.

    Blocks are chosen so that few bytes cross between them and each takes a like share of the time. Every
    block is timed at every batch, on every share, beside the whole model.

    \b
    Example:
      penstock profile resnet18.onnx --device-class cpu --shares 1,2 -o profiles/resnet18
      penstock profile resnet18.onnx --predict L4 --predict T4 -o profiles/resnet18-estimate
    """
    _check_classes(device_class, predicted)
    if merge and (blocks is not None or boundaries is not None):
        raise BadInputError(
            "--merge keeps the blocks of the profile: leave out --blocks and --boundaries, or leave out --merge."
        )
    if blocks is not None and boundaries is not None:
        raise BadInputError("--boundaries gives the blocks already: leave out --blocks.")
    if not merge:
        refuse_overwrite(output, force, PROFILE_FILES)
    kept = load_profile(output) if merge else None
    specs = [device_spec(name) for name in dict.fromkeys(predicted)]
    onnx_model = read_onnx(model)
    if boundaries is not None:
        _check_boundaries(boundaries, len(onnx_model.graph.operators))
    elif kept is None:
        boundaries = _choose_boundaries(onnx_model.graph, specs, device_class is not None, blocks)
    else:
        boundaries = boundaries_of(kept, len(onnx_model.graph.operators))
    measured: dict[str, Measurement] = {}
    if device_class is not None:
        with _progress_bar() as progress:
            measured[device_class] = measure(
                onnx_model,
                boundaries,
                max_batch=max_batch,
                shares=shares,
                threads=threads,
                effort=Effort(seconds=seconds),
                seed=seed,
                progress=progress,
            )
    tables = predict(onnx_model.graph, boundaries, specs, max_batch, shares)
    profile = build_profile(onnx_model, boundaries, measured=measured, predicted=tables)
    if kept is not None:
        profile = merge_classes(kept, profile)
    save_profile(profile, output, force=force or merge)
    _print(profile, output, as_json)


def _check_classes(device_class: str | None, predicted: tuple[str, ...]) -> None:
    if device_class is None and not predicted:
        raise BadInputError(
            "nothing to do: give --device-class NAME to measure, or --predict CLASS to estimate."
        )
    if device_class in predicted:
        raise BadInputError(
            f"device class {device_class!r} is both measured and predicted. Name the measured one otherwise, "
            f"or leave out --predict {device_class}."
        )


def _check_boundaries(boundaries: tuple[int, ...], n_operators: int) -> None:
    ascends = all(start < stop for start, stop in pairwise(boundaries))
    if len(boundaries) < 2 or boundaries[0] != 0 or boundaries[-1] != n_operators or not ascends:
        raise BadInputError(
            f"boundaries (={list(boundaries)}) must ascend from 0 to {n_operators}, the number of operators. "
            f"Correct --boundaries."
        )


def _choose_boundaries(
    graph: ModelGraph, specs: list[DeviceSpec], on_this_machine: bool, blocks: int | None
) -> tuple[int, ...]:
    """Boundaries of ``blocks`` blocks, balanced on all classes; by default as many as go, up to ten."""
    balanced_on = [*specs, CPU_CORE] if on_this_machine else specs
    latency_us = {spec.name: predict_operators(graph, spec) for spec in balanced_on}
    reason: InfeasibleError | None = None
    for count in [blocks] if blocks is not None else range(DEFAULT_BLOCKS, 1, -1):
        try:
            found = prepartition(latency_us, boundary_bytes(graph), count).solution
        except InfeasibleError as error:
            if blocks is not None:
                raise
            reason = error
        else:
            if blocks is None and count < DEFAULT_BLOCKS:
                note(f"{count} blocks, not {DEFAULT_BLOCKS}: {reason}")
            return found
    note(f"one block: {reason}")
    return (0, len(graph.operators))


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """A progress bar on standard error where that is a terminal; else nothing."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("measuring", total=None)

        def show(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield show


def _print(profile: Profile, output: Path, as_json: bool) -> None:
    if as_json:
        print_json(_document(profile, output))
        return
    classes = [(name, share) for name, share in sorted(profile.tables) if share == profile.shares_of(name)[0]]
    print_table(
        f"{profile.model}: latency at batch 1, in us (* not measured)",
        [
            "block",
            "operators",
            "param MB",
            "output KB",
            *(_heading(profile, name) for name, _ in classes),
        ],
        [
            [
                block.name,
                len(block.operators),
                f"{block.parameter_bytes / 1e6:.2f}",
                f"{profile.boundary_bytes[index + 1] / 1e3:.1f}",
                *(int(profile.table(*key).latency_us[index, 0]) for key in classes),
            ]
            for index, block in enumerate(profile.blocks)
        ],
    )
    note(f"Profile written to {output}. {profile.provenance.note}")


def _kind(profile: Profile, device_class: str) -> str:
    return profile.provenance_of(device_class).kind


def _heading(profile: Profile, device_class: str) -> str:
    return device_class if _kind(profile, device_class) == "measured" else f"{device_class}*"


def _document(profile: Profile, output: Path) -> dict[str, Any]:
    return {
        "model": profile.model,
        "output": str(output),
        "boundary_bytes": list(profile.boundary_bytes),
        "blocks": [
            {"name": b.name, "operators": len(b.operators), "parameter_bytes": b.parameter_bytes}
            for b in profile.blocks
        ],
        "whole_us": dict(profile.whole_us),
        "tables": [
            {
                "device_class": name,
                "share": share,
                "kind": _kind(profile, name),
                "latency_us": table.latency_us.tolist(),
                "p99_us": None if table.p99_us is None else table.p99_us.tolist(),
                "runs": table.runs,
            }
            for (name, share), table in sorted(profile.tables.items())
        ],
    }
