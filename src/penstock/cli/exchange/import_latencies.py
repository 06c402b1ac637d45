"""``penstock import latencies``: what another tool measured, as a profile of one block."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.common.output import force_option, json_option, note, print_json, print_table


def _files(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> list[tuple[int | None, Path]]:
    found: list[tuple[int | None, Path]] = []
    for text in texts:
        batch, equals, path = text.partition("=")
        is_given = bool(equals) and batch.isascii() and batch.isdecimal() and int(batch) > 0
        found.append((int(batch), Path(path)) if is_given else (None, Path(text)))
    return found


@click.command(name="latencies")
@click.argument("files", metavar="[BATCH=]FILE...", nargs=-1, required=True, callback=_files)
@click.option("--device-class", required=True, help="The class that was measured, such as T4.")
@click.option("--name", "model", required=True, help="The model's name in the profile.")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The profile folder to write."
)
@click.option("--merge", is_flag=True, help="Add the class to the profile of one block in -o.")
@force_option
@json_option
def latencies(
    files: list[tuple[int | None, Path]],
    device_class: str,
    model: str,
    output: Path,
    merge: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Make a profile of what trtexec, perf_analyzer or Triton Model Analyzer measured.

    FILE is a log or the --exportTimes file of trtexec, the output or the CSV (-f) of perf_analyzer, or
    metrics-model-inference.csv of Model Analyzer. If a file does not say which batch was run, write it before the name.
    Batches in between are interpolated and marked. The model is one block, so plans use it whole.

    \b
    Example:
      penstock import latencies 1=b1.log 8=b8.log 32=b32.log --device-class T4 --name resnet50 -o profiles/resnet50
      penstock import latencies metrics-model-inference.csv --device-class L4 --name bert -o profiles/bert
    """
    from penstock.files import refuse_overwrite
    from penstock.profile.build import merge_classes
    from penstock.profile.foreign.batch_times import one_block_profile
    from penstock.profile.foreign.read import read_times
    from penstock.profile.store import PROFILE_FILES, load_profile, save_profile

    kept = load_profile(output) if merge else None
    if not merge:
        refuse_overwrite(output, force, PROFILE_FILES)
    tool, times = read_times(files)
    made = one_block_profile(
        model, device_class, times, tool=tool, note=f"of {', '.join(str(p) for _, p in files)}"
    )
    profile = made if kept is None else merge_classes(kept, made)
    save_profile(profile, output, force=force or merge)
    document = {
        "output": str(output),
        "tool": tool,
        "batches": [{"batch": one.batch, "median_us": one.median_us, "p99_us": one.p99_us} for one in times],
    }
    if as_json:
        print_json(document)
        return
    rows = [
        [one.batch, f"{one.median_us / 1e3:.3f}", "-" if one.p99_us is None else f"{one.p99_us / 1e3:.3f}"]
        for one in times
    ]
    print_table(f"{model} on {device_class}, by {tool}", ["batch", "median ms", "p99 ms"], rows)
    note(f"Wrote {output}. Batches in between are interpolated.")
