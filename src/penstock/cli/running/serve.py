"""``penstock serve``: serve a plan with the Open Inference Protocol."""

from __future__ import annotations

import logging
import shlex
import shutil
from collections import Counter
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
from penstock.errors import BadInputError

if TYPE_CHECKING:
    from penstock.plan.documents.plan import Plan
    from penstock.serve.engine.live_scaling import LadderToFollow
    from penstock.serve.hosts.gateways.at_head import GatewaysOn
    from penstock.serve.hosts.many_hosts import HostsChoice, MakeLauncher
    from penstock.serve.spec import TransportName


@click.command()
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@listening_options
@click.option(
    "--executor",
    "executors",
    multiple=True,
    metavar="[CLASS=]KIND",
    help="onnxruntime (default), torch, padded or emulated, for one device class or for all others. A class that "
    "requires a GPU takes onnxruntime if that can use it, otherwise torch.",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="[CLASS=]DEVICE",
    help="cpu (default), or cuda:N for a GPU. A class that requires a GPU computes on it.",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    metavar="[CLASS=]PRECISION",
    help="fp32 (default), tf32 or fp16, on a GPU: as in the profile.",
)
@click.option(
    "--mode",
    "modes",
    multiple=True,
    metavar="[CLASS=]MODE",
    help="How torch runs: graph (CUDA graphs, default on a GPU), eager (default on the CPU) or compiled.",
)
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="[CLASS=]NAME",
    help="onnxruntime's execution provider [default: on a GPU the first that starts of tensorrt, cuda, migraphx, "
    "openvino].",
)
@click.option(
    "--engine-cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for engines and optimised graphs, kept for the next start [default: on a GPU one that ends with the "
    "server].",
)
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
    executors: tuple[str, ...],
    devices: tuple[str, ...],
    precisions: tuple[str, ...],
    modes: tuple[str, ...],
    providers: tuple[str, ...],
    engine_cache: Path | None,
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
    from penstock.device.facts import VENDORS
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
    from penstock.serve.executor.runtime_options import parse_runtimes, with_gpu_defaults, with_run_cache
    from penstock.serve.live_record import rows_beside
    from penstock.serve.observe.log_lines import log_to_standard_error
    from penstock.serve.observe.traces import parse_traces
    from penstock.serve.prepare import ServeOptions, parse_executors, prepare
    from penstock.serve.server import serve
    from penstock.serve.spec import DISPATCH_US, OVERHEAD_US, Limits, default_transport
    from penstock.serve.switching import write_options

    if rehearse_delay_us and not rehearse_hosts:
        raise BadInputError("--rehearse-delay-us says something about --rehearse-hosts only: give both.")
    follow = _followed(plan_path, ladder_folder, autoscale_hook, autoscale_hook_seconds)
    if record is not None:
        refuse_overwrite(record, force, RECORD_FILES)
    if journal is not None:
        refuse_overwrite(journal, force)
    trace_options = None if traces is None else parse_traces(traces, trace_share)
    loaded = load_plan(plan_path)
    classes = frozenset(loaded.plan.scenario.cluster.device_classes)
    makes = _launcher(loaded.plan, engine, address, rehearse_delay_us if rehearse_hosts else None)
    by_turns = loaded.plan.scheduled is not None
    if window > 1 and not by_turns:
        raise BadInputError(
            f"--window {window} is for plans whose models take turns on a device, and this plan's do not. Leave it out."
        )
    kinds = parse_executors(executors, classes)
    texts = {"device": devices, "precision": precisions, "mode": modes, "provider": providers}
    specs = loaded.plan.scenario.cluster.device_classes.items()
    on_gpu = {name: tuple(spec.requires or VENDORS) for name, spec in specs if spec.needs_device}
    kinds = with_gpu_defaults(kinds, devices, on_gpu, by_turns=by_turns)
    cache = None if engine_cache is None else str(engine_cache.absolute())
    options = ServeOptions(
        executors=kinds,
        runtimes=parse_runtimes(texts, kinds, classes, cache, frozenset(on_gpu)),
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
    )
    log_to_standard_error(listening.log_format)
    log = logging.getLogger("penstock.serve")
    hosts = _hosts(loaded.plan, makes, gateways_on, listening)
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
        here = machines_here(spec) if makes is None else {}  # else the workers are on other machines
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


def _followed(plan: Path, folder: Path | None, hook: str | None, hook_s: float) -> LadderToFollow | None:
    """The ladder to follow; ``hook``: a command line, of which nothing is run by a shell."""
    from penstock.plan.autoscale.ladder_file import load_ladder
    from penstock.serve.engine.live_scaling import LadderToFollow
    from penstock.units import us_from_seconds

    if folder is None:
        if hook is not None:
            raise BadInputError(
                f"--autoscale-hook {hook!r} needs a ladder to follow: give --autoscale FOLDER."
            )
        return None
    try:
        words = tuple(shlex.split(hook or ""))
    except ValueError as error:
        raise BadInputError(f"--autoscale-hook {hook!r}: {error}. Quote it as for a shell.") from None
    if words and shutil.which(words[0]) is None:
        raise BadInputError(f"--autoscale-hook {hook!r}: there is no program {words[0]!r}. Give its path.")
    follow = LadderToFollow(folder, load_ladder(folder), words, us_from_seconds(hook_s))
    follow.rung_of(plan)
    return follow


def _hosts(
    plan: Plan, makes: MakeLauncher | None, gateways_on: str | None, listening: Listening
) -> HostsChoice | None:
    """Where the hosts of ``plan`` come from, and which have gateways; None if all is served on this one."""
    from penstock.serve.hosts.many_hosts import HostsChoice

    if makes is not None:
        elsewhere = None if gateways_on is None else _gateways_on(gateways_on, plan, listening)
        return HostsChoice(makes, plan.scenario.cluster, elsewhere)
    if gateways_on is not None:
        raise BadInputError(
            f"--gateways-on {gateways_on} names hosts of the plan, and all is served on this one. "
            "Give --engine ray or --rehearse-hosts too, or leave it out."
        )
    return None


def _gateways_on(text: str, plan: Plan, listening: Listening) -> GatewaysOn:
    """The hosts of ``--gateways-on``, and their ports. The log warns if whoever reaches them may ask."""
    from penstock.serve.hosts.gateways.at_head import GatewaysOn
    from penstock.serve.listeners import Address

    known = list(dict.fromkeys(f"{one.device_class}:{one.host}" for one in plan.placement))
    names = known if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise BadInputError(
                f"--gateways-on {name!r} must be a host of the plan: {', '.join(known)}; or all."
            )
    if listening.token_file is None:
        logging.getLogger("penstock.serve").warning(
            "whoever reaches the hosts %s may use this server. --token-file asks for a token.",
            ", ".join(names),
        )
    grpc = None if listening.grpc is None else Address.parse(listening.grpc).port
    return GatewaysOn(tuple(dict.fromkeys(names)), Address.parse(listening.http).port, grpc)


def _launcher(plan: Plan, engine: str, address: str | None, delay_us: int | None) -> MakeLauncher | None:
    """What starts agents on the hosts of ``plan``; None if it is served on one. ``delay_us``: of a rehearsal."""
    from penstock.serve.hosts.many_hosts import on_ray, rehearsed

    if engine != "ray" and address is not None:
        raise BadInputError(
            f"--address {address} is that of a Ray cluster: give --engine ray too, or leave it out."
        )
    if engine == "local" and delay_us is None:
        return None
    if plan.scheduled is not None:
        raise BadInputError(
            "the plan is scheduled (models take turns on a device), and such plans are served on one host only. "
            "Leave out --rehearse-hosts and --engine ray."
        )
    if engine == "local":
        return rehearsed(plan.scenario.cluster, delay_us=delay_us or 0)
    if delay_us is not None:
        raise BadInputError(
            "--rehearse-hosts makes hosts of this machine, and Ray has its own: give one of them."
        )
    used = {(worker.device_class, worker.host) for worker in plan.placement}
    return on_ray(address or "auto", Counter(name for name, _ in used))
