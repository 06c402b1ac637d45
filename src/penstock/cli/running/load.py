"""``penstock load``: load on any server of the Open Inference Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common.access_options import access_options
from penstock.cli.common.numbers import FiniteRange, Share, seed_option
from penstock.cli.common.output import force_option, json_option, note, print_json, print_parts
from penstock.cli.common.traffic_options import arrivals_option, as_recorded_option, rates_of
from penstock.cli.running.load_asked import Asked, check_load_options, load_of, named, samples_of, shares_of

if TYPE_CHECKING:
    from penstock.report.summary import ModelSummary
    from penstock.serve.load.sent import LoadResult

POSITIVE = FiniteRange(min=0, min_open=True)


@click.command()
@click.argument("url")
@click.option("--model", "models", multiple=True, required=True, help="Repeat it for several.")
@click.option(
    "--rate",
    "rates",
    multiple=True,
    metavar="[MODEL=]RPS",
    help="Requests per second: MODEL=RPS or a number for each --model, or one number for all, divided by --mix.",
)
@click.option("--mix", help="Shares of the models, as 3/1. Default: equal.")
@arrivals_option
@as_recorded_option
@click.option("--seconds", type=POSITIVE, help="[default: 10, or the recording with --as-recorded]")
@seed_option("arrivals and inputs")
@click.option("--slo-ms", type=POSITIVE, help="Default: the value that the server states.")
@click.option(
    "--closed/--open",
    default=False,
    show_default=True,
    help="closed: a stream sends its next request a think time after the answer to its last one. Needs streams.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1, max=1_000),
    help="A closed loop without think times: so many requests at all times, as fast as the server answers.",
)
@click.option(
    "--deadlines/--no-deadlines",
    default=None,
    help="Send each request's remaining time as its 'timeout'. Default: with --video.",
)
@click.option(
    "--video", type=click.Path(path_type=Path), help="Send frames of this file, in place of random numbers."
)
@click.option(
    "--cameras", type=click.IntRange(min=1, max=100_000), help="With --fps: the arrivals of cameras."
)
@click.option(
    "--fps", type=FiniteRange(min=0, min_open=True, max=1_000), help="Frames per second of each camera."
)
@click.option(
    "--normalise",
    type=click.Choice(["imagenet", "unit", "none"]),
    default="imagenet",
    show_default=True,
    help="With --video: values of the pixels. imagenet: less mean, by deviation; unit: 0 to 1; none: 0 to 255.",
)
@click.option(
    "--fresh",
    is_flag=True,
    help="A camera has one frame on its way; of those that wait, only the newest is sent. The rest is skipped.",
)
@click.option(
    "--require",
    type=Share(min_open=True),
    help="Exit with status 4 if a model's attainment is lower, such as 99%.",
)
@click.option(
    "--wait",
    "wait_s",
    type=FiniteRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds to wait until the server says that it is ready.",
)
@access_options
@click.option(
    "-o",
    "--record",
    "--output",
    "output",
    type=click.Path(path_type=Path),
    help="Write the client's record (a folder).",
)
@force_option
@json_option
def command(
    url: str,
    models: tuple[str, ...],
    rates: tuple[str, ...],
    mix: str | None,
    specs: tuple[str, ...],
    as_recorded: bool,
    seconds: float | None,
    seed: int,
    slo_ms: float | None,
    closed: bool,
    concurrency: int | None,
    deadlines: bool | None,
    video: Path | None,
    cameras: int | None,
    fps: float | None,
    normalise: str,
    fresh: bool,
    require: float | None,
    wait_s: float,
    token_file: Path | None,
    certificate: Path | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Send requests of one sample to the server at URL, and time the answers.

    URL is http://HOST:PORT or grpc://HOST:PORT, or https and grpcs for TLS. The load is open: requests
    are sent at times drawn before the run, even if earlier ones have no answer yet. Latency counts from the intended
    send time. The client's own lag is also reported. Inputs are random and binary, or frames of a video. With
    --closed, the load is that of users that wait: a think time is the gap of the stream, and the intended send time is
    the answer plus that time.

    \b
    Example:
      penstock load http://127.0.0.1:8000 --model resnet18 --rate 200 --seconds 30 --record run
      penstock load http://127.0.0.1:8000 --model a --model b --rate 70 --mix 5/2 --arrivals gamma:cv=4
      penstock load http://127.0.0.1:8000 --model a --model b --rate a=50 --rate b=20 --arrivals b=gamma:cv=4
      penstock load http://127.0.0.1:8000 --model a --model b --arrivals trace:requests.csv --as-recorded
      penstock load http://127.0.0.1:8000 --model a --rate 50 --arrivals generator:BUNDLE --closed
      penstock load grpc://127.0.0.1:8001 --model a --concurrency 8
      penstock load grpcs://host:8444 --model a --rate 50 --token-file token --certificate chain.pem
      penstock load http://127.0.0.1:8000 --model a --video street.mp4 --cameras 12 --fps 15 --fresh
    """
    import asyncio
    from dataclasses import replace

    import numpy as np

    from penstock.files import refuse_overwrite
    from penstock.record import RECORD_FILES, WINDOW, save_record
    from penstock.report.summary import summarise
    from penstock.serve import require_extra

    require_extra("penstock load")
    from penstock.serve.load.access import Access
    from penstock.serve.load.openloop import LoadSettings, check_streams, run_load
    from penstock.serve.load.precise_loop import precise_loop
    from penstock.serve.load.verdict import check_load, until_ready, with_scheme
    from penstock.units import us_from_ms, us_from_seconds

    url = with_scheme(url)
    access = Access.read(token_file, certificate)
    asked = Asked(
        models,
        rates_of(rates, models),
        shares_of(mix, models),
        specs,
        as_recorded,
        seconds,
        concurrency,
        video,
        cameras,
        fps,
    )
    check_load_options(asked, closed, fresh)
    if output is not None:
        refuse_overwrite(output, force, RECORD_FILES)
    rng = np.random.default_rng(seed)
    load, seconds = load_of(asked, rng)
    settings = LoadSettings(
        closed=closed,
        fresh=fresh,
        deadlines=video is not None if deadlines is None else deadlines,
        samples=samples_of(asked, normalise),
    )
    check_streams(load, settings)
    slo_us = None if slo_ms is None else us_from_ms(slo_ms)
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        runner.run(until_ready(url, wait_s, access))
        loading = run_load(url, models, load, slo_us=slo_us, rng=rng, settings=settings, access=access)
        result = runner.run(loading)
    if output is not None:
        about: dict[str, str | int | float] = {
            "command": "load", "arrivals": named(asked), "seconds": seconds, "seed": seed,
            **dict(zip(WINDOW, (0, us_from_seconds(seconds)), strict=True)),
        }  # fmt: skip
        save_record(replace(result.record, about=about), output, force=force)
        note(f"Wrote the record to {output}.")
    summaries = summarise(result.record, start_us=0, stop_us=us_from_seconds(seconds))
    document = _document(result, summaries, seconds)
    if as_json:
        print_json(document)
    else:
        _print(document, summaries)
    check_load({one.name: one.attainment for one in summaries}, result.statuses, require)


def _document(result: LoadResult, summaries: list[ModelSummary], seconds: float) -> dict[str, Any]:
    import numpy as np

    from penstock.api.showing.summaries import summary_document
    from penstock.serve.load.sent import SKIPPED

    lag_us = result.lag_us if result.lag_us.size else np.zeros(1)
    statuses = dict(result.statuses)
    skipped = statuses.pop(SKIPPED, 0)
    return {
        "models": [summary_document(summary) for summary in summaries],
        "requests": len(result.record.requests.request),
        "skipped": skipped,
        "seconds": seconds,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "client_lag_us": {
            "p50": float(np.quantile(lag_us, 0.5)),
            "p99": float(np.quantile(lag_us, 0.99)),
            "max": float(lag_us.max()),
        },
        "emulated_models": result.server.get("emulated_models", []),
    }


def _print(document: dict[str, Any], summaries: list[ModelSummary]) -> None:
    from penstock.api.showing.summaries import summary_table

    print_parts([summary_table("Load", summaries)])
    lag = document["client_lag_us"]
    note(f"Client lag (actual less intended send time): p50 {lag['p50']:.0f} us, p99 {lag['p99']:.0f} us.")
    if document["skipped"]:
        note(
            f"{document['skipped']} frames were not sent, because a newer one was there; they count as dropped."
        )
    if set(document["statuses"]) - {"200"}:
        from penstock.serve.load.verdict import causes

        note(f"Answers: {'; '.join(causes(document['statuses']))}.")
    if document["emulated_models"]:
        note(f"The server answers zeros (emulated): {', '.join(document['emulated_models'])}.")
