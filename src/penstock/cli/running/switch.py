"""``penstock switch``: another plan for a running server."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.common.output import note
from penstock.errors import BadInputError


@click.command(name="switch")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--url", help="The server's URL, on this machine.")
@click.option("--run", "folder", type=click.Path(path_type=Path), help="The server's run folder instead.")
def command(plan_path: Path, url: str | None, folder: Path | None) -> None:
    """Let a running server on this machine serve PLAN instead of its own, without a restart.

    New workers load beside the old ones; when all are up, routes change at once; the old workers end when their
    requests are answered. No request is lost. The options are those with which `penstock serve` was started. Requests
    that wait for a model which both plans have, with the same inputs and outputs, are served by the new one.

    If a worker of PLAN cannot start, the server goes on with its own plan.

    \b
    Example:
      penstock replan plan.json --lost L4:0 -o new.json
      penstock switch new.json --url http://127.0.0.1:8000
    """
    from penstock.plan.documents.store import load_plan
    from penstock.plan.load_time import start_time
    from penstock.serve import require_extra

    require_extra("penstock switch")
    from penstock.serve.switching import run_at, switch

    if (url is None) == (folder is None):
        raise BadInputError("name the server by --url or by --run, one of them.")
    loaded = load_plan(plan_path)
    loads = start_time(loaded.plan, loaded.profiles)
    if loads.in_words:
        note(f"all workers of the plan load beside those that run: {loads.in_words}")
    run = run_at(url) if url is not None else folder
    assert run is not None
    switch(loaded.plan, loaded.profiles, plan_path, run, note)
    note("switched: the plan before is drained.")
