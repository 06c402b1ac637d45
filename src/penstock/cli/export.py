"""``penstock export``: a plan of ours in another project's format."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.output import force_option, json_option, note, print_json


@click.group(name="export")
def command() -> None:
    """Write a plan in another project's format.

    \b
    Example:
      penstock export ppipe plan.json -o plans/mine/NAME_v4.json
    """


@command.command(name="ppipe")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="JSON file to write.",
)
@force_option
@json_option
def ppipe(plan_path: Path, output: Path, force: bool, as_json: bool) -> None:
    """Write PLAN in the JSON of the PPipe paper's artifact (USENIX ATC 2025), the inverse of the import.

    That format keeps device counts and weights in the file's name: a file of another name is written too, and
    the name to give it is printed. It has no memory limits, costs or placement, so these are left out.

    \b
    Example:
      penstock export ppipe plan.json -o plans/mine/NAME_v4.json
    """
    from penstock.files import refuse_overwrite, write_json
    from penstock.plan.ppipe_export import artifact_name, plan_document
    from penstock.plan.store import load_plan

    refuse_overwrite(output, force)
    loaded = load_plan(plan_path)
    name = artifact_name(loaded.plan)
    write_json(output, plan_document(loaded.plan, loaded.profiles), force=force)
    note(f"wrote {output}")
    if output.name != name:
        note(f"To be read by that artifact, or imported again, it must be called {name}.")
    if as_json:
        print_json({"out": str(output), "name": name, "models": len(loaded.plan.models)})
