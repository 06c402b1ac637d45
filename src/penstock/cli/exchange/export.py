"""``penstock export``: one of our plans in another project's format."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.common.output import force_option, json_option, note, print_json


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

    That format has device counts and weights only in the file's name. A file with another name is also written, and
    the required name is printed. The format has no memory limits, costs or placement, so these are left out.

    \b
    Example:
      penstock export ppipe plan.json -o plans/mine/NAME_v4.json
    """
    from penstock.files import refuse_overwrite, write_json
    from penstock.plan.documents.store import load_plan
    from penstock.ppipe.export import artifact_name, plan_document

    refuse_overwrite(output, force)
    loaded = load_plan(plan_path)
    name = artifact_name(loaded.plan)
    write_json(output, plan_document(loaded.plan, loaded.profiles), force=force)
    note(f"wrote {output}")
    if output.name != name:
        note(f"To be read by that artifact, or imported again, it must be called {name}.")
    if as_json:
        print_json({"out": str(output), "name": name, "models": len(loaded.plan.models)})
