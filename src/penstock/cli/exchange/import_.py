"""``penstock import``: another project's profiles, scenarios and plans, as files in our format."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.common.output import force_option, json_option, note, print_json, print_table
from penstock.cli.exchange.import_latencies import latencies
from penstock.cli.import_profiles import profiles as measured_profiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.ppipe.plans import Imported
    from penstock.profile.table import Profile


@click.group(name="import")
def command() -> None:
    """Import another project's profiles, scenarios and plans, or profiles measured on real devices.

    \b
    Example:
      penstock import ppipe PPipe/ -o ppipe
      penstock import profiles h200 -o profiles
      penstock import latencies 1=b1.log 8=b8.log --device-class T4 --name resnet50 -o profiles/resnet50
    """


command.add_command(measured_profiles)
command.add_command(latencies)


@command.command(name="ppipe")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "out",
    required=True,
    metavar="OUT",
    type=click.Path(path_type=Path),
    help="Folder to write to.",
)
@force_option
@json_option
def ppipe(folder: Path, out: Path, force: bool, as_json: bool) -> None:
    """Import the artifact folder DIR of the PPipe paper (USENIX ATC 2025).

    It writes OUT/profiles/MODEL, OUT/scenarios/SET-NAME.yaml and OUT/plans/SET-NAME-PLANNER.json. PLANNER is
    ppipe, np or dart-r. Other files in OUT stay as they are. If anything in the artifact is missing or wrong, it is
    refused, and nothing is written.

    \b
    Example:
      penstock import ppipe PPipe/ -o ppipe
      penstock plan ppipe/scenarios/NAME.yaml -o plan.json
    """
    from penstock.files import refuse_overwrite
    from penstock.ppipe.plans import read_plans
    from penstock.ppipe.profiles import read_profiles

    start = time.perf_counter()
    if not out.is_dir():
        refuse_overwrite(out, force, folder_of=())
    profiles = read_profiles(folder)
    imported = read_plans(folder, profiles)
    written = {
        "profiles": [f"profiles/{name}" for name in profiles],
        "scenarios": [f"scenarios/{name}.yaml" for name in imported.scenarios],
        "plans": [f"plans/{name}.json" for name in imported.plans],
    }
    names = [name for group in written.values() for name in group]
    _refuse_overwrite(out, names, force)
    _write(out, names, profiles, imported)
    note(f"{out}: written in {time.perf_counter() - start:.1f} s.")
    if as_json:
        print_json({"out": str(out), **written})
    else:
        print_table("Imported", ("what", "count"), [(what, len(group)) for what, group in written.items()])


def _refuse_overwrite(out: Path, names: Sequence[str], force: bool) -> None:
    from penstock.files import refuse_overwrite
    from penstock.profile.store import PROFILE_FILES

    for name in names:
        refuse_overwrite(out / name, force, PROFILE_FILES if name.startswith("profiles/") else None)


def _write(out: Path, names: Sequence[str], profiles: Mapping[str, Profile], imported: Imported) -> None:
    """Write everything into a folder beside OUT, then move it there. After an error, OUT is unchanged."""
    from penstock.errors import BadInputError

    fresh = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".import.", dir=out))
    except OSError as error:
        raise BadInputError(
            f"{out}: cannot be written ({error.strerror}). Choose a writable place."
        ) from None
    try:
        _write_all(scratch, profiles, imported)
        for name in names:
            _move(scratch / name, out / name, scratch / "replaced")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if fresh:
            with suppress(OSError):  # not empty: all went well
                out.rmdir()


def _write_all(scratch: Path, profiles: Mapping[str, Profile], imported: Imported) -> None:
    from penstock.files import write_text
    from penstock.plan.documents.store import save_plan
    from penstock.ppipe.plans import scenario_yaml
    from penstock.profile.store import save_profile

    for name, profile in profiles.items():
        save_profile(profile, scratch / "profiles" / name)
    for name, scenario in imported.scenarios.items():
        write_text(scratch / "scenarios" / f"{name}.yaml", scenario_yaml(scenario))
    for name, plan in imported.plans.items():
        save_plan(plan, scratch / "plans" / f"{name}.json", profiles)


def _move(made: Path, target: Path, replaced: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    if target.is_dir():
        # A folder cannot be replaced in a single step.
        target.replace(replaced)
        shutil.rmtree(replaced)
    made.replace(target)
