"""Plans on disk. They are checked whenever they are written or loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import BadInputError
from penstock.files import read_json, read_yaml, validate, write_json
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario, load_profiles
from penstock.profile.table import Profile

PRINTED_BESIDE = ("solve_seconds", "difference")
"""What ``plan --json`` and ``replan --json`` add to a plan. It is not part of the plan and is ignored on load."""


@dataclass(frozen=True)
class LoadedPlan:
    """A plan that passed the checker, with the profiles it was checked against, by model name."""

    plan: Plan
    profiles: Mapping[str, Profile]


def load_plan(path: Path) -> LoadedPlan:
    """The plan in ``path``. Raises :class:`BadInputError` if the file, its profiles or the plan is not valid."""
    _refuse_scenario(path)
    document = read_json(path)
    if isinstance(document, dict):
        document = {field: value for field, value in document.items() if field not in PRINTED_BESIDE}
    plan = validate(Plan, document, path)
    profiles = load_profiles(plan.scenario, path.parent)
    try:
        check_plan(plan, profiles)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None
    return LoadedPlan(plan, profiles)


def _refuse_scenario(path: Path) -> None:
    """Say what to do if a scenario is named where a plan is needed. A scenario is YAML, and a plan is JSON."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        return
    document = read_yaml(path)
    if isinstance(document, dict) and "cluster" in document and "placement" not in document:
        raise BadInputError(
            f"{path}: is a scenario, and a plan is needed. Make one with 'penstock plan {path} -o plan.json'."
        )


def save_plan(
    plan: Plan, path: Path, profiles: Mapping[str, Profile] | None = None, *, force: bool = False
) -> None:
    """Check ``plan``, then write all of it. Its profile paths must be relative to ``path``'s folder.

    :func:`relocated` makes them so. ``profiles`` by model name are read from those paths if they are not given.
    """
    check_plan(plan, load_profiles(plan.scenario, path.parent) if profiles is None else profiles)
    write_json(path, plan.model_dump(mode="json"), force=force)


def relocated(plan: Plan, from_folder: Path, to_folder: Path) -> Plan:
    """``plan`` with profile paths that were relative to ``from_folder`` made relative to ``to_folder``.

    Absolute paths stay as they are.
    """
    models = [
        model.edited(profile=_rebased(model.profile, from_folder, to_folder))
        for model in plan.scenario.models
    ]
    scenario: Scenario = plan.scenario.edited(models=models)
    return plan.edited(scenario=scenario)


def _rebased(profile: str, from_folder: Path, to_folder: Path) -> str:
    if Path(profile).is_absolute():
        return profile
    return Path(os.path.relpath(from_folder / profile, to_folder)).as_posix()
