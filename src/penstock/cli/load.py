"""``penstock load``: open-loop load on any server of the Open Inference Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.numbers import FiniteRange
from penstock.cli.output import force_option, json_option, note, print_json
from penstock.cli.summaries import print_summaries, summary_document
from penstock.traffic.known import ARRIVALS_HELP

if TYPE_CHECKING:
    from penstock.report.summary import ModelSummary
    from penstock.serve.load.openloop import LoadResult


@click.command()
@click.argument("url")
@click.option("--model", "models", multiple=True, required=True, help="Repeat with --rate for several.")
@click.option(
    "--rate",
    "rates",
    multiple=True,
    required=True,
    type=FiniteRange(min=0, min_open=True),
    help="Requests per second, one for each --model.",
)
@click.option("--arrivals", "spec", default="poisson", show_default=True, help=ARRIVALS_HELP)
@click.option("--seconds", type=FiniteRange(min=0, min_open=True), default=10.0, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--slo-ms", type=FiniteRange(min=0, min_open=True), help="Default: what the server states.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the record (a folder).")
@force_option
@json_option
def command(
    url: str,
    models: tuple[str, ...],
    rates: tuple[float, ...],
    spec: str,
    seconds: float,
    seed: int,
    slo_ms: float | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Send requests of one sample to the server at URL, at times drawn beforehand, and time the answers.

    The load is open: requests leave on time whatever became of those before, and latency counts from the
    intended send time. The client's own lag is reported beside it. Inputs are random, binary.

    \b
    Example:
      penstock load http://127.0.0.1:8000 --model resnet18 --rate 200 --seconds 30 -o run
      penstock load http://127.0.0.1:8000 --model a --rate 50 --model b --rate 20 --arrivals gamma:cv=4
    """
    import asyncio

    import numpy as np

    from penstock.errors import BadInputError
    from penstock.files import refuse_overwrite
    from penstock.record import RECORD_FILES, save_record
    from penstock.report.summary import summarise
    from penstock.serve import require_extra

    require_extra("penstock load")
    from penstock.serve.load.openloop import run_load
    from penstock.traffic.arrivals import draw_arrivals
    from penstock.traffic.spec import parse_arrivals
    from penstock.units import us_from_ms, us_from_seconds

    if len(models) != len(rates) or len(set(models)) != len(models):
        raise BadInputError(
            f"models {', '.join(models)} with {len(rates)} rates: give each model once, and one --rate for each."
        )
    if output is not None:
        refuse_overwrite(output, force, RECORD_FILES)
    rng = np.random.default_rng(seed)
    arrivals = draw_arrivals(parse_arrivals(spec), rates, seconds, rng)
    slo_us = None if slo_ms is None else us_from_ms(slo_ms)
    result = asyncio.run(run_load(url, models, arrivals, slo_us=slo_us, rng=rng))
    if output is not None:
        save_record(result.record, output, force=force)
        note(f"Wrote the record to {output}.")
    summaries = summarise(result.record, start_us=0, stop_us=us_from_seconds(seconds))
    document = _document(result, summaries, seconds)
    if as_json:
        print_json(document)
        return
    _print(document, summaries)


def _document(result: LoadResult, summaries: list[ModelSummary], seconds: float) -> dict[str, Any]:
    import numpy as np

    lag_us = result.lag_us if result.lag_us.size else np.zeros(1)
    return {
        "models": [summary_document(summary) for summary in summaries],
        "requests": len(result.lag_us),
        "seconds": seconds,
        "statuses": {str(status): count for status, count in sorted(result.statuses.items())},
        "client_lag_us": {
            "p50": float(np.quantile(lag_us, 0.5)),
            "p99": float(np.quantile(lag_us, 0.99)),
            "max": float(lag_us.max()),
        },
        "emulated_models": result.server.get("emulated_models", []),
    }


def _print(document: dict[str, Any], summaries: list[ModelSummary]) -> None:
    print_summaries("Load", summaries)
    lag = document["client_lag_us"]
    note(f"Client lag (actual less intended send time): p50 {lag['p50']:.0f} us, p99 {lag['p99']:.0f} us.")
    if set(document["statuses"]) - {"200"}:
        note(f"Answers by HTTP status (0: none came): {document['statuses']}")
    if document["emulated_models"]:
        note(f"The server answers zeros (emulated): {', '.join(document['emulated_models'])}.")
