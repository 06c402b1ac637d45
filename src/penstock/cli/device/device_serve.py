"""``penstock device serve``: several models on one device behind the Open Inference Protocol."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from penstock.cli.common.listening import Listening, listening_options
from penstock.cli.common.numbers import FiniteRange, Share
from penstock.cli.common.output import force_option
from penstock.cli.model.runtime_choice import settings_of
from penstock.errors import BadInputError

# As in penstock.schedule.device, but that takes a second to import. A test checks that they are equal.
ORDERS = (
    "fifo", "sjf", "srpt", "srpt-deficit", "edf", "moore-hodgson", "round-robin", "priority",
)  # fmt: skip
LATE = ("keep", "demote", "drop")
THETA = 50.0


@click.command()
@click.argument(
    "profile_paths", metavar="PROFILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--device-class", help="The class of this machine in the profiles [default: the one that they measured]."
)
@click.option(
    "--order",
    type=click.Choice(ORDERS),
    default="moore-hodgson",
    show_default=True,
    help="The rule that chooses the next job.",
)
@click.option(
    "--late",
    type=click.Choice(LATE),
    help="What to do with a job that will miss its deadline [default: demote; keep for orders without deadlines].",
)
@click.option("--theta", type=FiniteRange(min=0), default=THETA, show_default=True, help="For srpt-deficit.")
@click.option(
    "--miss-budget",
    type=Share(max_open=True),
    help="For moore-hodgson: the share of its requests that each model may miss, e.g. 0.01.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Segments that run at once."
)
@click.option(
    "--most-queued", type=click.IntRange(min=1), default=4096, show_default=True, help="Above it: 503."
)
@click.option(
    "--slo-ms",
    "slos",
    multiple=True,
    metavar="MODEL=MS",
    help="A model's deadline after arrival [default: 5 times its own time].",
)
@click.option("--journal", type=click.Path(path_type=Path), help="Write every decision, for a replay.")
@click.option("--seconds", type=FiniteRange(min=0, min_open=True), help="Stop after this time.")
@click.option(
    "--executor",
    type=click.Choice(("onnxruntime", "torch")),
    help="What runs the segments [default: onnxruntime]. On a GPU: torch.",
)
@click.option("--device", help="cpu (default), or cuda:N for a GPU.")
@click.option(
    "--precision", type=click.Choice(("fp32", "tf32", "fp16")), help="On a GPU, as in the profiles."
)
@click.option(
    "--mode",
    type=click.Choice(("eager", "compiled", "graph")),
    help="How torch runs [default: graph (CUDA graphs) on a GPU, eager on the CPU].",
)
@listening_options
@force_option
def command(
    profile_paths: tuple[Path, ...],
    device_class: str | None,
    order: str,
    late: str | None,
    theta: float,
    miss_budget: float | None,
    threads: int,
    most_queued: int,
    slos: tuple[str, ...],
    journal: Path | None,
    seconds: float | None,
    listening: Listening,
    force: bool,
    **runtime: str | None,
) -> None:
    """Serve the models of several PROFILEs on this machine's CPU or a GPU as one device, until SIGINT or SIGTERM.

    It is one process. A model runs in the segments of its profile (penstock profile --beside). Between two segments
    the order decides again whose turn it is. A request is one job. If its client disconnects, it is cancelled.
    If a request has its own timeout, that replaces the SLO. 503 with Retry-After: the queue is full, or
    the model is unloaded (POST /v2/repository/models/MODEL/unload, and load). 504: the request was dropped as late.

    \b
    Example:
      penstock device serve profiles/resnet18 profiles/inception_v3
      penstock device serve profiles/* --order srpt-deficit --theta 20 --http 127.0.0.1:0 --journal run.jsonl
      penstock device serve profiles/* --device-class H100 --executor torch --device cuda:0 --threads 16
    """
    from penstock.files import refuse_overwrite
    from penstock.profile.store import load_profile
    from penstock.serve import require_extra

    require_extra("penstock device serve")
    from penstock.serve.engine.run_folder import run_folder
    from penstock.serve.observe.log_lines import log_to_standard_error
    from penstock.serve.scheduled.device_models import device_class_of, load_device_model
    from penstock.serve.scheduled.device_server import serve_device
    from penstock.serve.scheduled.device_spec import DeviceSpec, check_shared_runtime
    from penstock.serve.server import listening_socket
    from penstock.serve.spec import Limits

    if journal is not None:
        refuse_overwrite(journal, force)
    profiles = [load_profile(path) for path in profile_paths]
    named = {profile.model: profile for profile in profiles}
    if len(named) < len(profiles):
        raise BadInputError(
            f"two of the profiles are of models with the same name (of {', '.join(p.model for p in profiles)}): "
            f"clients could not tell them apart. Give each model once."
        )
    slo_us = _slos_us(slos, frozenset(named))
    chosen = device_class_of(named, device_class)
    if late is None:
        late = "demote" if order in ("moore-hodgson", "edf") else "keep"
    settings = settings_of(runtime)
    check_shared_runtime(settings.kind, settings, threads, "")
    options = listening.options()
    log_to_standard_error(options.log_format)
    http, grpc = listening.addresses()
    listener = listening_socket(http)
    folder = run_folder()
    try:
        models = [
            load_device_model(
                one, chosen, folder, slo_us=slo_us.get(one.model), settings=settings, window=threads
            )
            for one in profiles
        ]
        device = DeviceSpec(
            tuple(model.kind for model in models), order, late, threads, theta, miss_budget, most_queued
        )
        if journal is not None:
            journal.unlink(missing_ok=True)
        serve_device(
            models,
            device,
            listener,
            limits=Limits(body_bytes=listening.body_bytes, samples=listening.max_samples),
            options=options,
            grpc=None if grpc is None else grpc.text,
            journal=journal,
            seconds=seconds,
        )
    finally:
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)


def _slos_us(texts: tuple[str, ...], known: frozenset[str]) -> dict[str, int]:
    """``MODEL=MS`` each. :class:`BadInputError` for a model that is not served, or if MS is not a number > 0."""
    slos: dict[str, int] = {}
    for text in texts:
        name, _, figure = text.rpartition("=")
        if name not in known:
            raise BadInputError(
                f"--slo-ms {text!r}: no model {name!r} is served (there is {', '.join(sorted(known))})."
            )
        try:
            slos[name] = round(float(figure) * 1000)
        except (ValueError, OverflowError):
            slos[name] = 0
        if slos[name] <= 0:
            raise BadInputError(f"--slo-ms {text!r}: {figure!r} must be a number of milliseconds > 0.")
    return slos
