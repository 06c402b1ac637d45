"""``penstock zoo``: a real architecture with seeded random weights, as an ONNX file."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.common.numbers import seed_option
from penstock.cli.common.output import force_option, json_option, note, print_json, print_table


@click.command("zoo")
@click.argument("name", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The ONNX file to write.")
@seed_option("the random weights")
@click.option("--image-size", type=int, help="Side of the input image in pixels; default: the usual one.")
@click.option("--classes", type=int, help="Number of classes; default: the usual one.")
@click.option("--list", "only_list", is_flag=True, help="List the architectures and stop.")
@force_option
@json_option
def command(
    name: str | None,
    output: Path | None,
    seed: int,
    image_size: int | None,
    classes: int | None,
    only_list: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write the architecture NAME with seeded random weights as ONNX.

    Latency depends on a network's shape, not on what it learned. So these files can be profiled, planned and served
    like trained models. Equal options give equal files.

    \b
    Example:
      penstock zoo --list
      penstock zoo resnet18 -o resnet18.onnx
      penstock zoo inception_v3 -o small.onnx --image-size 128 --seed 7
    """
    from penstock.errors import BadInputError

    if only_list:
        _print_list(as_json)
        return
    if name is not None:
        from penstock.zoo import find

        find(name)
    if name is None or output is None:
        raise BadInputError(
            "zoo needs a NAME and -o FILE, as in 'penstock zoo resnet18 -o resnet18.onnx'; "
            "'penstock zoo --list' shows the names."
        )
    _write(name, output, seed, image_size, classes, force, as_json)


def _write(
    name: str,
    output: Path,
    seed: int,
    image_size: int | None,
    classes: int | None,
    force: bool,
    as_json: bool,
) -> None:
    from penstock.files import refuse_overwrite, write_whole
    from penstock.zoo import build
    from penstock.zoo.parameters import parameter_count

    refuse_overwrite(output, force)
    model = build(name, seed=seed, image_size=image_size, classes=classes)
    content = model.SerializeToString()
    write_whole(output, lambda made: made.write_bytes(content), force=force)
    parameters = parameter_count(model)
    if as_json:
        print_json(
            {
                "written": str(output),
                "name": name,
                "seed": seed,
                "image_size": model.graph.input[0].type.tensor_type.shape.dim[2].dim_value,
                "parameters": parameters,
                "operators": len(model.graph.node),
                "size_bytes": len(content),
            }
        )
    else:
        note(f"{output}: {name}, {parameters:,} parameters, {len(content) / 1e6:.1f} MB")


def _print_list(as_json: bool) -> None:
    from penstock.zoo import CATALOGUE

    if as_json:
        print_json(
            [
                {"name": each.name, "parameters": each.parameters, "image_size": each.image_size}
                for each in CATALOGUE.values()
            ]
        )
        return
    rows = [(each.name, f"{each.parameters:,}", each.image_size) for each in CATALOGUE.values()]
    print_table("Architectures", ("name", "parameters", "image size"), rows)
