"""``penstock serve``: a plan behind the Open Inference Protocol."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from penstock.cli.numbers import FiniteRange
from penstock.cli.output import force_option, note
from penstock.cli.policies import ROUTED


@click.command()
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--http", default="127.0.0.1:8000", show_default=True, help="Address; port 0 takes a free one.")
@click.option(
    "--executor",
    "executors",
    multiple=True,
    metavar="[CLASS=]KIND",
    help="onnxruntime (default), padded or emulated; for one device class, or for all others.",
)
@click.option("--record", type=click.Path(path_type=Path), help="Write the record (a folder) at the end.")
@click.option("--journal", type=click.Path(path_type=Path), help="Write every decision, for a replay.")
@click.option("--seconds", type=FiniteRange(min=0, min_open=True), help="Stop by itself after this time.")
@click.option(
    "--dispatch-us", type=click.IntRange(min=0), help="What the policy takes a batch's start to cost here."
)
@click.option(
    "--overhead-us", type=click.IntRange(min=0), help="What the policy takes this server to add to a request."
)
@click.option(
    "--policy",
    type=click.Choice(ROUTED),
    default="reservation",
    show_default=True,
    help="Who is served when: see docs/policies.md.",
)
@click.option("--max-body-mb", type=click.IntRange(min=1), default=64, show_default=True)
@force_option
def command(
    plan_path: Path,
    http: str,
    executors: tuple[str, ...],
    record: Path | None,
    journal: Path | None,
    seconds: float | None,
    dispatch_us: int | None,
    overhead_us: int | None,
    policy: str,
    max_body_mb: int,
    force: bool,
) -> None:
    """Serve the models of PLAN over HTTP until SIGINT or SIGTERM.

    One process a worker, on this machine. KIND onnxruntime runs the model on one core; padded does, and is
    never faster than the profile says; emulated computes nothing, holds each batch for the profile's time
    and answers zeros, so a whole fleet fits a laptop. A request that can no longer meet its SLO gets 504 as
    soon as that is known; a result that comes late all the same is returned, and counted late. 503 with
    Retry-After means that no worker of the model is up, or that far too much is waiting.

    The record has a row for each sample, as a request of several is several to the policy.

    Where a plan's batch is above 1, a request on an idle server waits for others to join it, until the last
    moment at which it still meets its SLO. Where an early answer is worth more than throughput, plan with
    profiles of --max-batch 1, or send a shorter timeout with the request.

    \b
    Example:
      penstock serve plan.json --executor L4=padded --executor emulated --record run
      penstock serve plan.json --executor emulated --http 127.0.0.1:0 --seconds 30
    """
    from penstock.files import refuse_overwrite
    from penstock.plan.store import load_plan
    from penstock.record import RECORD_FILES, save_record
    from penstock.serve import require_extra

    require_extra("penstock serve")
    from penstock.serve.prepare import ServeOptions, parse_executors, prepare
    from penstock.serve.server import Address, listening_socket, run_folder, serve
    from penstock.serve.spec import DISPATCH_US, OVERHEAD_US, Limits

    if record is not None:
        refuse_overwrite(record, force, RECORD_FILES)
    if journal is not None:
        refuse_overwrite(journal, force)
    loaded = load_plan(plan_path)
    classes = frozenset(loaded.plan.scenario.cluster.device_classes)
    options = ServeOptions(
        executors=parse_executors(executors, classes),
        limits=Limits(body_bytes=max_body_mb * 2**20),
        dispatch_us=DISPATCH_US if dispatch_us is None else dispatch_us,
        overhead_us=OVERHEAD_US if overhead_us is None else overhead_us,
        journal=journal,
        keep_record=record is not None,
        policy=policy,
    )
    listener = listening_socket(Address.parse(http))
    folder = run_folder()
    try:
        spec = prepare(loaded.plan, loaded.profiles, options, folder)
        if journal is not None:
            journal.unlink(missing_ok=True)
        made = serve(
            spec, folder, listener, on_ready=lambda url: note(f"ready: {url}"), note=note, seconds=seconds
        )
    finally:
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)
    if record is not None and made is not None:
        save_record(made, record, force=force)
        note(f"Wrote the record to {record}.")
