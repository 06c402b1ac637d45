"""``penstock import profiles``: measured profiles that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.common.output import force_option, json_option, note, print_json, print_table

if TYPE_CHECKING:
    from penstock.profile.table import Profile


@click.command(name="profiles")
@click.argument("name", required=False)
@click.option("-o", "--output", metavar="DIR", type=click.Path(path_type=Path), help="Folder to write to.")
@click.option(
    "--model",
    "model_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The ONNX file that was measured, to serve it with the profile. Its SHA-256 must be the profile's.",
)
@force_option
@json_option
def profiles(
    name: str | None, output: Path | None, model_file: Path | None, force: bool, as_json: bool
) -> None:
    """List the profiles that were measured on real devices, or write those of NAME to DIR.

    NAME is a device, for all of its profiles (each is a folder in DIR), or DEVICE/PROFILE for one (it is DIR itself).

    \b
    Example:
      penstock import profiles
      penstock import profiles h200 -o profiles
      penstock zoo resnet50 -o resnet50.onnx
      penstock import profiles h200/resnet50-fp32 --model resnet50.onnx -o profiles/resnet50
    """
    from penstock.errors import BadInputError
    from penstock.files import refuse_overwrite
    from penstock.graph.reading.onnx_reader import read_onnx
    from penstock.profile.measured_catalogue import measured_profile, measured_under, with_model
    from penstock.profile.store import PROFILE_FILES, save_profile

    if name is None:
        if output is not None or model_file is not None:
            raise BadInputError(
                "which profiles? Give a NAME before -o and --model. Without options, the names are listed."
            )
        _list(as_json)
        return
    names = measured_under(name)
    if output is None:
        raise BadInputError(f"no folder to write {name} to: give -o DIR.")
    if model_file is not None and "/" not in name:
        raise BadInputError(f"--model is for one profile: give one of {', '.join(names)}.")
    folders = {one: output if "/" in name else output / one.partition("/")[2] for one in names}
    for folder in folders.values():
        refuse_overwrite(folder, force, PROFILE_FILES)
    for one, folder in folders.items():
        profile = measured_profile(one)
        if model_file is not None:
            profile = with_model(profile, model_file, read_onnx(model_file).sha256)
        save_profile(profile, folder, force=force)
    if as_json:
        print_json({"written": {one: str(folder) for one, folder in folders.items()}})
    else:
        note(f"Wrote {', '.join(str(folder) for folder in folders.values())}.")


def _list(as_json: bool) -> None:
    from penstock.profile.measured_catalogue import measured_names, measured_profile

    found = {name: measured_profile(name) for name in measured_names()}
    if as_json:
        print_json({"profiles": [_row(name, profile) for name, profile in found.items()]})
        return
    heads = ("name", "device", "executor", "precision", "largest batch", "shares", "date")
    cells = []
    for name, profile in found.items():
        row = _row(name, profile) | {"shares": ", ".join(map(str, _shares(profile)))}
        cells.append([str(row[head.replace(" ", "_")]) for head in heads])
    print_table("Measured profiles", heads, cells)


def _shares(profile: Profile) -> tuple[int, ...]:
    (device_class,) = profile.device_classes
    return profile.shares_of(device_class)


def _row(name: str, profile: Profile) -> dict[str, object]:
    (device_class,) = profile.device_classes
    origin, shares = profile.provenance, _shares(profile)
    return {
        "name": name,
        "model": profile.model,
        "device": origin.device,
        "executor": origin.machine and origin.machine.executor,
        "precision": origin.machine and origin.machine.precision,
        "largest_batch": profile.table(device_class, shares[0]).max_batch,
        "shares": list(shares),
        "date": origin.date[:10],
        "software": origin.software,
    }
