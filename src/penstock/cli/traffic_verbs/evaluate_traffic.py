"""``penstock traffic evaluate``: how similar generated streams are to real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common.numbers import seed_option
from penstock.cli.common.output import json_option, note, print_json, print_table

if TYPE_CHECKING:
    from penstock.traffic.fidelity import Measure, Scores
    from penstock.traffic.machine import Machine
    from penstock.traffic.streams import Streams


@click.command(name="evaluate")
@click.argument("subjects", metavar="[NAME=]BUNDLE|FILE...", nargs=-1, required=True)
@click.option(
    "--truth",
    required=True,
    type=click.Path(path_type=Path),
    help="Real streams that no model has seen (held out).",
)
@click.option(
    "--training", type=click.Path(path_type=Path), help="The real streams that the generators were fitted on."
)
@click.option("--machine", "machine_name", help="lte, 5g, ngap, serving, or a FILE [default: none].")
@click.option(
    "--streams",
    "count",
    type=click.IntRange(min=2),
    help="Streams to draw from a BUNDLE [default: as many as --truth has].",
)
@click.option("--hour", type=click.IntRange(0, 23), help="Hour of a BUNDLE with several [default: its last].")
@seed_option("everything that is drawn")
@click.option(
    "--figures", type=click.Path(path_type=Path), help="Draw distributions for comparison into this folder."
)
@json_option
def evaluate(
    subjects: Sequence[str],
    truth: Path,
    training: Path | None,
    machine_name: str | None,
    count: int | None,
    hour: int | None,
    seed: int,
    figures: Path | None,
    as_json: bool,
) -> None:
    """Score generators, or files of generated streams, against real streams, and compare them.

    Each measure is shown with the distance of two real samples: --truth and --training, or two halves of --truth. A
    smaller distance is chance. Memorisation is measured only with --training.

    \b
    Example:
      penstock traffic evaluate bundle --truth held-out.parquet --training train.parquet --machine lte
      penstock traffic evaluate gru=a smm=b --truth held-out.parquet --training train.parquet --figures out
    """
    from penstock.files import refuse_overwrite
    from penstock.traffic.fidelity import score_streams
    from penstock.traffic.machine import machine_of
    from penstock.traffic.streams.load_streams import load_streams
    from penstock.traffic.streams.vocabulary import same_vocabulary

    if figures is not None:
        refuse_overwrite(figures, force=False)
    machine = machine_of(machine_name) if machine_name else None
    drawn = {}
    held_out = load_streams(truth)
    for name, path in _named(subjects).items():
        note(f"{name}: drawing" if path.is_dir() else f"{name}: reading")
        drawn[name] = _sample(path, count or len(held_out), seed, hour)
    real = [held_out, load_streams(training)] if training else [held_out]
    held_out, *others = same_vocabulary([*real, *drawn.values()])
    fitted_on = others.pop(0) if training else None
    samples = dict(zip(drawn, others, strict=True))
    scores = {}
    for name, sample in samples.items():
        note(f"{name}: scoring {len(sample):,} streams")
        scores[name] = score_streams(sample, held_out, training=fitted_on, machine=machine, seed=seed)
    if as_json:
        print_json(_document(scores))
    else:
        _print(scores)
    if figures is not None:
        _draw(figures, samples, held_out, machine)


def _named(subjects: Sequence[str]) -> dict[str, Path]:
    from penstock.errors import BadInputError

    found: dict[str, Path] = {}
    for subject in subjects:
        name, equals, rest = subject.partition("=")
        path = Path(rest) if equals and not Path(subject).exists() else Path(subject)
        key = name if path == Path(rest) else path.name
        if key in found:
            raise BadInputError(f"{subject}: two subjects are called {key!r}. Name them: NAME=PATH.")
        found[key] = path
    return found


def _sample(path: Path, count: int, seed: int, hour: int | None) -> Streams:
    from penstock.traffic.generator.protocol import load_generator
    from penstock.traffic.streams.load_streams import load_streams

    if path.is_dir():
        return load_generator(path).sample(count, seed, hour=hour)
    return load_streams(path)


def _print(scores: Mapping[str, Scores]) -> None:
    first = next(iter(scores.values()))
    rows = []
    for name in first.names():
        measures = {subject: one[name] for subject, one in scores.items()}
        best = best_subjects(measures)
        rows.append(
            [
                name,
                _cell(first[name].truth),
                *(_cell(m.value) + (" *" if subject in best else "") for subject, m in measures.items()),
            ]
        )
    print_table("Measures", ["measure", "real against real", *scores], rows)
    if len(scores) > 1:
        won = wins(scores)
        table = sorted(won.items(), key=lambda item: -item[1])
        note("* nearest to real. " + ", ".join(f"{name} on {count} measures" for name, count in table) + ".")
    note("Distances and shares: 0 is best. Other values: the real one is best. An AUC of 0.5 is chance.")


def best_subjects(measures: Mapping[str, Measure]) -> set[str]:
    """Those that miss least on one measure. None if only one was scored or nothing can be said."""
    misses = {name: measure.miss for name, measure in measures.items() if measure.miss is not None}
    if len(measures) < 2 or not misses:
        return set()
    least = min(misses.values())
    return {name for name, miss in misses.items() if miss == least}


def wins(scores: Mapping[str, Scores]) -> dict[str, int]:
    """For each subject, on how many measures it is nearest to real, alone or with others."""
    names = next(iter(scores.values())).names()
    best = [best_subjects({subject: one[name] for subject, one in scores.items()}) for name in names]
    return {subject: sum(subject in one for one in best) for subject in scores}


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _document(scores: Mapping[str, Scores]) -> dict[str, Any]:
    return {
        "subjects": [
            {
                "name": subject,
                "measures": [
                    {"name": m.name, "kind": m.kind, "value": m.value, "real": m.truth} for m in one.measures
                ],
            }
            for subject, one in scores.items()
        ],
        "wins": wins(scores) if len(scores) > 1 else None,
    }


def _draw(folder: Path, samples: Mapping[str, Streams], held_out: Streams, machine: Machine | None) -> None:
    from penstock.files import write_whole
    from penstock.report.stream_figures import save_stream_figures

    shown = {"real": held_out, **samples}
    write_whole(folder, lambda made: save_stream_figures(made, shown, machine), folder_of=("*.svg",))
    note(f"Wrote figures to {folder}.")
