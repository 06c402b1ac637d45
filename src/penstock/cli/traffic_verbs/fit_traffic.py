"""``penstock traffic fit``: learn a generator from streams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common.numbers import FiniteRange, seed_option
from penstock.cli.common.output import force_option, json_option, note, print_json
from penstock.cli.traffic_verbs.spans import span_us

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.traffic.generator.protocol import Generator
    from penstock.traffic.streams import Streams

METHODS = ("gru", "transformer", "published", "gan", "smm", "replay", "plain")
MINUTES = 5.0


@click.command(name="fit")
@click.argument("trace", metavar="TRACE", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The bundle, a folder.")
@click.option("--method", type=click.Choice(METHODS), default="gru", show_default=True)
@click.option(
    "--machine",
    "machine_name",
    help="lte, 5g, ngap, serving, or a FILE. Event types then follow it, not what was learned.",
)
@click.option(
    "--minutes",
    type=FiniteRange(min=0, min_open=True),
    help=f"Of training: CPU minutes of the process; of the clock on a GPU [default: {MINUTES:g}].",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Steps of training, instead of --minutes. Equal seeds then give equal weights.",
)
@click.option(
    "--from", "start", type=click.Path(path_type=Path), help="A BUNDLE to fine-tune. Its hours are kept."
)
@click.option("--hour", type=click.IntRange(0, 23), help="Hour of the day of TRACE.")
@click.option(
    "--window",
    "window_us",
    metavar="SPAN",
    callback=span_us,
    help="Cut TRACE into windows of this length, such as 1h.",
)
@click.option("--per-class", is_flag=True, help="A model for each class, instead of one for all.")
@click.option("--hidden", type=click.IntRange(8, 1024), help="Units of gru, a multiple of 8 [default: 96].")
@click.option("--bins", type=click.IntRange(2, 4096), help="Of the gap, by type [default: 256].")
@click.option("--groups", type=click.IntRange(min=1), help="Of smm, by class.")
@click.option("--device", type=click.Choice(("cpu", "cuda")), default="cpu", show_default=True)
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of training on CPUs."
)
@seed_option("the training")
@force_option
@json_option
def fit(
    trace: Path,
    output: Path,
    method: str,
    machine_name: str | None,
    minutes: float | None,
    steps: int | None,
    start: Path | None,
    hour: int | None,
    window_us: int | None,
    per_class: bool,
    hidden: int | None,
    bins: int | None,
    groups: int | None,
    device: str,
    threads: int,
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Learn a generator from the streams in TRACE, and write it as a bundle that can be shared.

    A bundle holds weights and its scores on held-out streams, but no rows of TRACE (except with replay, which says
    so). Every method except smm, replay and plain needs the extra torch to fit. Generating with gru, smm, replay and
    plain does not need it.

    \b
    Example:
      penstock traffic fit streams.parquet --minutes 5 -o bundle
      penstock traffic fit streams.parquet --method smm --machine lte -o smm-bundle
      penstock traffic fit hour11.parquet --from bundle --hour 11 --minutes 1 -o bundle-11
    """
    from penstock.errors import BadInputError
    from penstock.files import refuse_overwrite, write_whole
    from penstock.traffic.generator.protocol import FitOptions, fit_generator, load_generator
    from penstock.traffic.machine import machine_of

    if minutes is not None and steps is not None:
        raise BadInputError("--minutes and --steps both say how long to train. Give one.")
    refuse_overwrite(output, force, folder_of=BUNDLE_FILES)
    machine = machine_of(machine_name) if machine_name else None
    before = load_generator(start) if start is not None else None
    streams = _streams(trace, window_us)
    chosen = {"steps": steps, "hidden": hidden, "bins": bins, "groups": groups}
    extra: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    extra |= {"device": device, "per_class": per_class}
    note(f"{trace}: {len(streams):,} streams, {streams.n_events:,} events, {len(streams.classes)} classes.")
    with _torch_threads(method, threads), _progress(method) as tell:
        options = FitOptions(
            cpu_seconds=60.0 * (minutes or MINUTES),
            machine=machine,
            start_from=before,
            hour=hour,
            progress=tell,
            with_scores=True,
            extra=extra,
        )
        generator = fit_generator(method, streams, seed=seed, options=options)
    write_whole(output, lambda made: _save(generator, made), force=force, folder_of=BUNDLE_FILES)
    note(f"Wrote {output}.")
    if as_json:
        print_json(_document(output, method, generator))


BUNDLE_FILES = ("bundle.json", "*.safetensors", "machine-*.json", "*.npz", "*.parquet")
"""The contents of a bundle, for any method."""


def _save(generator: Generator, folder: Path) -> None:
    folder.mkdir()
    generator.save(folder)


def _streams(trace: Path, window_us: int | None) -> Streams:
    from penstock.traffic.streams import join_streams, windows_of
    from penstock.traffic.streams.load_streams import load_streams

    streams = load_streams(trace)
    if window_us is None or window_us == streams.window_us:
        return streams
    return join_streams([part for _, part in windows_of(streams, window_us)])


@contextmanager
def _torch_threads(method: str, threads: int) -> Iterator[None]:
    """Small networks lose time on several threads, so the default is one."""
    if method in ("smm", "replay", "plain"):
        yield
        return
    from penstock.traffic.generator.torch_extra import need_torch

    need_torch(f"traffic fit --method {method}")
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _progress(method: str) -> Iterator[Callable[[float, str], None]]:
    """A bar on a terminal. Otherwise a line from time to time."""
    import sys

    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    if not sys.stderr.isatty():
        yield lambda done, text: note(f"{method}: {done:4.0%} {text}")
        return
    columns = (TextColumn(method), BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda done, text: bar.update(task, completed=done, description=text)


def _document(output: Path, method: str, generator: Generator) -> dict[str, Any]:
    document: dict[str, Any] = {
        "output": str(output),
        "method": method,
        "classes": list(generator.classes),
        "hours": list(generator.hours),
        "window_us": generator.window_us,
    }
    parts = getattr(generator, "parts", None)
    if parts is not None:
        document["training"] = [part.facts.training.model_dump(mode="json") for part in parts]
    scores = getattr(generator, "scores", None)
    if scores:
        document["scores"] = dict(scores)
    return document
