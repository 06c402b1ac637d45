"""``penstock traffic``: convert traces into one format, and show numbers of a load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common.numbers import FiniteRange, seed_option
from penstock.cli.common.output import force_option, json_option, note, note_streams, print_json, print_table
from penstock.cli.traffic_verbs.check_traffic import check
from penstock.cli.traffic_verbs.evaluate_traffic import evaluate
from penstock.cli.traffic_verbs.fit_traffic import fit
from penstock.cli.traffic_verbs.generate_traffic import generate
from penstock.cli.traffic_verbs.trial_traffic import trial
from penstock.traffic.known import ARRIVALS_HELP, KNOWN

if TYPE_CHECKING:
    from penstock.traffic.load_figures import LoadFigures

RATE_RPS = 100.0
SECONDS = 300.0

format_option = click.option("--format", "format_name", help="Of FILE [default: known by its header].")


@click.group(name="traffic")
def command() -> None:
    """Convert traces into one format, and show what a load is like.

    \b
    Example:
      penstock traffic describe AzureLLMInferenceTrace_code.csv
      penstock traffic convert invocations_per_function_md.anon.d01.csv -o day1.csv
    """


@command.command(name="convert")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The CSV file to write.")
@format_option
@seed_option("the times within an interval, if FILE only has counts")
@force_option
@json_option
def convert(file: Path, output: Path, format_name: str | None, seed: int, force: bool, as_json: bool) -> None:
    """Write the trace in FILE, of any supported format, as plain CSV: time_us[,stream][,class][,type].

    Formats: csv, counts, azure-llm, azure-functions-2021, azure-functions-2019, mooncake. Times begin at 0 with the
    first arrival.

    \b
    Example:
      penstock traffic convert conversation_trace.jsonl -o conversations.csv
    """
    from penstock.files import refuse_overwrite
    from penstock.traffic.formats.plain import save
    from penstock.traffic.load import load_trace
    from penstock.traffic.load_figures import describe_trace

    refuse_overwrite(output, force)
    trace = load_trace(file, format_name=format_name, seed=seed)
    save(trace, output, force=force)
    figures = describe_trace(trace)
    note(f"Wrote {figures.arrivals:,} arrivals over {figures.seconds:,.1f} s to {output}.")
    if as_json:
        print_json({"output": str(output), **_document(figures)})


@command.command(name="describe")
@click.argument("subject", metavar="FILE|SPEC")
@format_option
@click.option(
    "--rate",
    "rate_rps",
    type=FiniteRange(min=0, min_open=True),
    help=f"Requests per second of a SPEC [default: {RATE_RPS:g}].",
)
@click.option(
    "--seconds",
    type=FiniteRange(min=0, min_open=True),
    help=f"How much of a SPEC is drawn [default: {SECONDS:g}].",
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed of a SPEC's arrivals [default: 0].")
@json_option
def describe(
    subject: str,
    format_name: str | None,
    rate_rps: float | None,
    seconds: float | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Rate, burstiness, peaks and streams of a trace FILE, or of arrivals drawn from a SPEC.

    A name that begins with the name of a process is a SPEC: poisson, gamma:cv=4, trace:FILE and so on. For a file
    with such a name, write ./NAME. The index of dispersion is the variance divided by the mean of the arrivals in
    windows of that length. It is 1 for Poisson.

    \b
    Example:
      penstock traffic describe AzureLLMInferenceTrace_code.csv
      penstock traffic describe 'trace:AzureLLMInferenceTrace_code.csv,scale=fold' --rate 200 --seconds 60
      penstock traffic describe onoff:on=1,off=4,ratio=10
    """
    from penstock.errors import BadInputError

    if subject.partition(":")[0].strip() in KNOWN:
        if format_name is not None:
            raise BadInputError(f"--format is for a FILE; write {subject},format={format_name} in the SPEC.")
        figures = _drawn(subject, rate_rps or RATE_RPS, seconds or SECONDS, seed or 0)
    else:
        if (rate_rps, seconds, seed) != (None, None, None):
            raise BadInputError(
                f"--rate, --seconds and --seed are for a SPEC, and {subject} is taken as a FILE. Leave them out, or "
                f"write trace:{subject} to scale it. A SPEC is one of: {ARRIVALS_HELP}."
            )
        figures = _recorded(Path(subject), format_name)
    if as_json:
        print_json(_document(figures))
    else:
        _print(subject, figures)


def _recorded(path: Path, format_name: str | None) -> LoadFigures:
    from penstock.errors import BadInputError
    from penstock.traffic.load import load_trace
    from penstock.traffic.load_figures import describe_trace
    from penstock.traffic.suggest import suggest

    if not path.exists():
        process = suggest(str(path).partition(":")[0], KNOWN)
        raise BadInputError(f"{path}: no such file, and not the name of an arrival process. {process}")
    return describe_trace(load_trace(path, format_name=format_name))


def _drawn(spec: str, rate_rps: float, seconds: float, seed: int) -> LoadFigures:
    import numpy as np

    from penstock.traffic.arrivals import ArrivalSource
    from penstock.traffic.load_figures import describe
    from penstock.traffic.spec import parse_arrivals
    from penstock.units import us_from_seconds

    process, rng = parse_arrivals(spec), np.random.default_rng(seed)
    if isinstance(process, ArrivalSource):
        note_streams(process, [rate_rps])
        drawn_us = process.draw([rate_rps], seconds, rng).arrival_us
    else:
        drawn_us = process(rate_rps, seconds, rng)
    return describe(drawn_us, max(1, us_from_seconds(seconds)))


def _document(figures: LoadFigures) -> dict[str, Any]:
    return {
        "arrivals": figures.arrivals,
        "seconds": figures.seconds,
        "rate_rps": figures.rate_rps,
        "gap_cv": figures.gap_cv,
        "dispersion": [{"window_s": window, "index": index} for window, index in figures.dispersion.items()],
        "peak_rps": figures.peak_rps,
        "peak_over_mean": figures.peak_over_mean,
        "tied_share": figures.tied_share,
        "names": dict(figures.names),
    }


def _print(subject: str, figures: LoadFigures) -> None:
    rows = [
        ["arrivals", f"{figures.arrivals:,}"],
        ["seconds", f"{figures.seconds:,.1f}"],
        ["rate (a second)", f"{figures.rate_rps:.4g}"],
        ["CV of gaps", _cell(figures.gap_cv)],
        *([f"dispersion, {window:g} s", _cell(index)] for window, index in figures.dispersion.items()),
        ["peak (a second)", _cell(figures.peak_rps)],
        ["peak over mean", _cell(figures.peak_over_mean)],
        ["at the time of the one before", "-" if figures.tied_share is None else f"{figures.tied_share:.1%}"],
        *([f"different names: {name}", f"{count:,}"] for name, count in figures.names.items()),
    ]
    print_table(subject, ["what", "value"], rows)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


command.add_command(fit)
command.add_command(generate)
command.add_command(check)
command.add_command(evaluate)
command.add_command(trial)
