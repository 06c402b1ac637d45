"""``penstock profile``: measure a model block by block, or predict for devices that are not here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common.numbers import FiniteRange, seed_option
from penstock.cli.common.output import force_option, json_option, note, print_result
from penstock.cli.model.reading import reading_options
from penstock.cli.model.runtime_choice import runtime_options
from penstock.errors import BadInputError
from penstock.profile import DEFAULT_BLOCKS
from penstock.profile.prediction.device_catalogue import CATALOGUE
from penstock.progress import told

if TYPE_CHECKING:
    from penstock.graph.reading.options import ReadOptions

MOST_BATCH = 1024
"""A profile has a row for each block and batch: more would be a mistake, and megabytes of it."""


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
@click.option("--device-class", help="Measure on this machine, and use this name for its class.")
@click.option(
    "--predict",
    multiple=True,
    metavar="CLASS",
    help=f"Estimate for this class by a roofline (repeatable): {', '.join(CATALOGUE)}.",
)
@click.option(
    "--compare",
    "compared",
    metavar="MEASURED",
    type=click.Path(path_type=Path),
    help="Compare predicted with measured times for this profile folder of MODEL. Writes nothing.",
)
@click.option(
    "--calibrate-from",
    "calibrate_from",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Fit the roofline to this measured profile before predicting or comparing (repeatable).",
)
@click.option(
    "--as-emulated",
    is_flag=True,
    help="Allow the name of a GPU in --device-class although that GPU is not what measures.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The profile folder to write.")
@click.option(
    "--blocks", type=click.IntRange(min=1), help=f"Number of blocks [default: up to {DEFAULT_BLOCKS}]."
)
@click.option(
    "--boundaries",
    callback=_boundaries,
    help="Blocks chosen by hand or by 'penstock partition': 0,...,number of operators.",
)
@click.option(
    "--max-batch",
    type=click.IntRange(min=1, max=MOST_BATCH),
    help="The largest batch [default: 4; on a GPU 64, as far as larger ones help].",
)
@click.option("--shares", callback=_shares, default="1", show_default=True, help="Share n: n copies at once.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads per worker."
)
@click.option(
    "--seconds",
    type=FiniteRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Planned time of measuring. Slow models take longer.",
)
@seed_option("the random inputs")
@click.option(
    "--beside",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Profile of a model that will share the device: cut this one so that the shortest can run in between.",
)
@reading_options
@click.option(
    "--sample",
    type=click.Path(path_type=Path),
    help="Real inputs to measure with (.npz, an array for each input), in place of random ones.",
)
@runtime_options
@click.option("--merge", is_flag=True, help="Keep the blocks and the other classes of the profile in -o.")
@force_option
@json_option
def command(model: Path, output: Path | None, compared: Path | None, as_json: bool, **asked: Any) -> None:
    """Measure how long each block of the ONNX file MODEL takes, on one or more device classes.

    Blocks are chosen so that few bytes cross between them and all take about the same share of the time. Every
    block is timed at every batch and on every share, and so is the whole model. On a GPU, batches grow to 64 as long as
    larger ones help, in few sizes. A size in between runs as the next larger one, and the profile says so.

    Measured times are kept beside the profile (DIR.partial) until everything is measured. If a run is interrupted or
    its budget ends, the same command continues it.

    A free axis other than the batch needs a length (--dim), and an input that never changes may get a value (--input).
    The profile keeps both. Samples that influence each other in a batch are found and refused
    (see docs/onnx-models.md).

    With --beside, the model is also run in segments that are about as long as the shortest of those models, at most
    8. The finest cut that costs at most 3% of its time is kept in the profile, for a scheduled device (see
    docs/device-serving.md). The shortest model is never cut. The time is that of the CPU; on a GPU (torch) it is the
    whole time of a run.

    \b
    Example:
      penstock profile resnet18.onnx --device-class cpu --shares 1,2 -o profiles/resnet18
      penstock profile inception_v3.onnx --device-class cpu --beside profiles/resnet18 -o profiles/inception_v3
      penstock profile resnet18.onnx --predict L4 --predict T4 -o profiles/resnet18-estimate
      penstock profile resnet18.onnx --device-class H100 --executor torch --device cuda:0 -o h100
      penstock profile resnet18.onnx --compare profiles/resnet18
      penstock profile bert.onnx --device-class cpu --dim sequence=128 -o profiles/bert
      penstock profile resnet18.onnx --predict H100 --calibrate-from profiles/resnet18 -o profiles/resnet18-h100
    """
    if compared is not None:
        would_write = asked["device_class"] or asked["predict"] or output
        _compare(model, compared, asked["calibrate_from"], as_json, asked["reading"], would_write)
        return
    if output is None:
        raise BadInputError("no folder to write to: give -o DIR, or --compare MEASURED to write nothing.")
    from penstock.api.profiling import profile_model

    with told(note):
        made = profile_model(model, output, **asked)
    print_result(made, as_json)
    if not as_json:
        note(f"Profile written to {output}. {made.profile.provenance.note}")


def _compare(
    model: Path,
    compared: Path,
    calibrate_from: tuple[Path, ...],
    as_json: bool,
    reading: ReadOptions,
    would_write: object,
) -> None:
    if would_write:
        raise BadInputError(
            "--compare measures and writes nothing: leave out --device-class, --predict and -o, or --compare."
        )
    from penstock.api.efficiencies import efficiency_table
    from penstock.cli.common.predicted import show_comparison
    from penstock.graph.reading.onnx_reader import read_onnx

    with told(note):
        show_comparison(read_onnx(model, reading), compared, efficiency_table(calibrate_from), as_json)
