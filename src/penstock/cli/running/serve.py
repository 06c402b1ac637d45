"""``penstock serve``: serve a plan with the Open Inference Protocol."""

from __future__ import annotations

import logging
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.common.ending import signals_end
from penstock.cli.common.listening import Listening, listening_options
from penstock.cli.common.numbers import FiniteRange, Share
from penstock.cli.common.output import force_option
from penstock.cli.common.policies import queue_delay_option, queue_delay_us, routed_policy_option
from penstock.cli.running.serve_hosts import followed_ladder, hosts_choice, launcher_of
from penstock.cli.running.serve_runtimes import ServingRuntimes, serving_runtime_options
from penstock.errors import BadInputError

if TYPE_CHECKING:
    from penstock.serve.spec import TransportName


@click.command()
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@listening_options
@serving_runtime_options
@click.option(
    "--gateways",
    type=click.IntRange(min=1, max=64),
    default=1,
    show_default=True,
    help="Processes that speak to clients; they share the address.",
)
@click.option(
    "--gateways-on",
    metavar="HOST[,HOST]",
    help="Hosts of the plan (CLASS:NUMBER, or all) that have as many gateways too, at their own address and the ports "
    "of --http and --grpc.",
)
@click.option(
    "--system-shared-memory",
    is_flag=True,
    help="Let clients of this host keep tensors in files of /dev/shm (docs/protocol.md). A client can then read and "
    "change what this user may of /dev/shm.",
)
@click.option(
    "--standby",
    is_flag=True,
    help="Keep a second dispatcher ready: it takes over at once if the first dies. A new one takes a second to start.",
)
@click.option(
    "--replan-after",
    "replan_after_s",
    type=FiniteRange(min=0),
    metavar="S",
    help="If a device or a host is lost for this time, replan without it and switch to that plan; and back when it is "
    "there again. Without it, the command is only named.",
)
@click.option(
    "--autoscale",
    "ladder_folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Follow the load with the plans of this ladder ('penstock autoscale -o'), of which PLAN is one.",
)
@click.option(
    "--autoscale-hook",
    metavar="COMMAND",
    help="With --autoscale: the command that gets and gives back devices. Without it, they are only noted.",
)
@click.option(
    "--autoscale-hook-seconds",
    type=FiniteRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="With --autoscale-hook: the longest that it may take.",
)
@click.option(
    "--drain-seconds",
    type=FiniteRange(min=0),
    default=5.0,
    show_default=True,
    help="At the end, the longest wait for requests that were admitted.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    help="Write the record (a folder) at the end; until then its rows are in RECORD.live.",
)
@click.option("--journal", type=click.Path(path_type=Path), help="Write every decision, for a replay.")
@click.option("--seconds", type=FiniteRange(min=0, min_open=True), help="Stop after this time.")
@click.option(
    "--dispatch-us", type=click.IntRange(min=0), help="Time that the policy assumes for the start of a batch."
)
@click.option(
    "--overhead-us",
    type=click.IntRange(min=0),
    help="Time that the policy assumes this server adds to a request.",
)
@click.option(
    "--traces",
    metavar="TARGET",
    help="Make OpenTelemetry spans of requests and their stages: otlp, otlp:URL of a collector, or file:PATH.",
)
@click.option(
    "--trace-share",
    type=Share(),
    default="100%",
    show_default=True,
    help="With --traces: of the requests whose client has not decided, the share that is traced.",
)
@routed_policy_option("Who is served when: see docs/policies.md.")
@queue_delay_option
@click.option(
    "--transport",
    type=click.Choice(["shared-memory", "zeromq"]),
    help="How messages and tensors go between processes [default: shared-memory on Linux, zeromq elsewhere].",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="local: all workers on this machine. ray: an agent for each host of the plan, on the nodes of a Ray cluster.",
)
@click.option(
    "--address",
    metavar="ADDRESS",
    help="With --engine ray: the cluster's HOST:PORT; auto for the one that this machine is in (default); local to "
    "start one here.",
)
@click.option(
    "--rehearse-hosts",
    is_flag=True,
    help="Run each host of the plan in a network namespace of its own on this machine, with the scenario's bandwidth. "
    "Needs root.",
)
@click.option(
    "--rehearse-delay-us",
    type=click.IntRange(min=0, max=10_000_000),
    default=0,
    help="With --rehearse-hosts: what each interface adds to the time of a packet.",
)
@click.option(
    "--window",
    type=click.IntRange(min=1, max=1024),
    default=1,
    show_default=True,
    help="For a plan whose models take turns: segments at once on a device, in threads of one process.",
)
@force_option
def command(
    plan_path: Path,
    runtimes: ServingRuntimes,
    gateways: int,
    gateways_on: str | None,
    system_shared_memory: bool,
    standby: bool,
    replan_after_s: float | None,
    ladder_folder: Path | None,
    autoscale_hook: str | None,
    autoscale_hook_seconds: float,
    drain_seconds: float,
    record: Path | None,
    journal: Path | None,
    seconds: float | None,
    dispatch_us: int | None,
    overhead_us: int | None,
    traces: str | None,
    trace_share: float,
    policy: str,
    max_queue_delay_ms: float | None,
    listening: Listening,
    transport: TransportName | None,
    engine: str,
    address: str | None,
    rehearse_hosts: bool,
    rehearse_delay_us: int,
    window: int,
    force: bool,
) -> None:
    """Serve the models of PLAN over HTTP and gRPC until SIGINT, SIGTERM or SIGHUP.

    There is one process per worker, on this machine. KIND onnxruntime and torch run the model, on one core or on the
    GPU that --device names. padded runs it on one core, but never faster than the profile says. emulated
    computes nothing: it holds each batch for the profile's time and answers zeros, so a laptop can run a whole fleet.

    A request that can no longer meet its SLO gets 504 as soon as that is known. If a result comes late in spite of
    that, it is returned and counted as late. 503 with Retry-After means that no worker of the model runs, or
    that far too many requests wait.

    A process that dies is started again. Requests of a batch that is lost with its worker run again if their
    deadlines allow, and are answered with an error otherwise.

    The record has a row for each sample, because the policy treats a request of several samples as several.

    If a plan's batch is above 1, a request waits for others to join it only while more than half of the workers are
    busy. --max-queue-delay-ms limits this wait; without it, it ends at the last moment at which the request still meets
    its SLO.

    \b
    Example:
      penstock serve plan.json --executor L4=padded --executor emulated --record run
      penstock serve plan.json --executor H100=torch --device H100=cuda:0 --precision H100=tf32
      penstock serve plan.json --executor emulated --http 127.0.0.1:0 --seconds 30
      penstock serve turns.json --executor torch --device cuda:0 --window 16
    """
    from penstock.api.results.plan_result import PlanResult
    from penstock.files import refuse_overwrite
    from penstock.plan.documents.store import load_plan
    from penstock.plan.measured_where import machine_warnings
    from penstock.record import RECORD_FILES
    from penstock.serve import require_extra
    from penstock.units import us_from_seconds

    require_extra("penstock serve")
    from msgspec import structs

    from penstock.serve.devices import machines_here
    from penstock.serve.engine.run_folder import run_folder
    from penstock.serve.executor.runtime_options import with_run_cache
    from penstock.serve.live_record import rows_beside
    from penstock.serve.observe.log_lines import log_to_standard_error
    from penstock.serve.observe.traces import parse_traces
    from penstock.serve.prepare import ServeOptions, prepare
    from penstock.serve.server import serve
    from penstock.serve.spec import DISPATCH_US, OVERHEAD_US, Limits, default_transport
    from penstock.serve.switching import write_options

    if rehearse_delay_us and not rehearse_hosts:
        raise BadInputError("--rehearse-delay-us says something about --rehearse-hosts only: give both.")
    follow = followed_ladder(plan_path, ladder_folder, autoscale_hook, autoscale_hook_seconds)
    if record is not None:
        refuse_overwrite(record, force, RECORD_FILES)
    if journal is not None:
        refuse_overwrite(journal, force)
    trace_options = None if traces is None else parse_traces(traces, trace_share)
    loaded = load_plan(plan_path)
    makes = launcher_of(loaded.plan, engine, address, rehearse_delay_us if rehearse_hosts else None)
    if window > 1 and loaded.plan.scheduled is None:
        raise BadInputError(
            f"--window {window} is for plans whose models take turns on a device, and this plan's do not. Leave it out."
        )
    kinds, settings = runtimes.chosen(loaded.plan)
    options = ServeOptions(
        executors=kinds,
        runtimes=settings,
        limits=Limits(
            body_bytes=listening.body_bytes,
            drain_us=us_from_seconds(drain_seconds),
            samples=listening.max_samples,
        ),
        listen=structs.replace(listening.options(), system_shared_memory=system_shared_memory),
        dispatch_us=DISPATCH_US if dispatch_us is None else dispatch_us,
        overhead_us=OVERHEAD_US if overhead_us is None else overhead_us,
        journal=journal,
        rows=None if record is None else rows_beside(record, force=force),
        policy=policy,
        max_queue_delay_us=queue_delay_us(max_queue_delay_ms),
        plan=plan_path,
        traces=trace_options,
        transport=transport or default_transport(),
        window=window,
        hosts_choose_devices=engine == "ray" and address != "local",
    )
    log_to_standard_error(listening.log_format)
    log = logging.getLogger("penstock.serve")
    hosts = hosts_choice(loaded.plan, makes, gateways_on, listening)
    for warning in PlanResult.of(loaded.plan, loaded.profiles, plan_path.parent).warnings:
        log.warning(warning)
    with signals_end(), ExitStack() as at_end:
        if record is not None and options.rows is not None:
            at_end.callback(_keep_record, options.rows, record, force)
        http, grpc = at_end.enter_context(listening.reserved())
        folder = run_folder()
        at_end.callback(shutil.rmtree, folder, ignore_errors=True)
        options = replace(options, runtimes=with_run_cache(options.runtimes, folder / "engines"))
        spec = prepare(loaded.plan, loaded.profiles, options, folder)
        write_options(options, folder)
        # Else the workers are on other machines.
        here = machines_here(spec.stages, spec.worker_devices) if makes is None else {}
        for warning in machine_warnings(loaded.plan.scenario, loaded.profiles, here):
            log.warning(warning)
        if journal is not None:
            journal.unlink(missing_ok=True)
        serve(
            spec,
            folder,
            http,
            grpc=grpc,
            seconds=seconds,
            gateways=gateways,
            hosts=hosts,
            standby=standby,
            follow=follow,
            replan_after_us=None if replan_after_s is None else us_from_seconds(replan_after_s),
        )


def _keep_record(rows: Path, record: Path, force: bool) -> None:
    """Make the record of ``rows``, whatever ended the server; nothing if it did not begin to serve."""
    from penstock.record import save_record
    from penstock.serve.live_record import joined_record

    if any(rows.glob("*.rows")):
        save_record(joined_record(rows), record, force=force)
        logging.getLogger("penstock.serve").info("wrote the record to %s", record)
    shutil.rmtree(rows)
