"""Plans on disk: checked whenever they are written or loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import BadInputError
from penstock.files import read_json, validate, write_json
from penstock.plan.checker import check_plan
from penstock.plan.plan import Plan
from penstock.plan.scenario import Scenario, load_profiles
from penstock.profile.table import Profile

PRINTED_BESIDE = ("solve_seconds", "difference")
"""What ``plan --json`` and ``replan --json`` say of a plan besides: no part of it, and passed over on load."""


@dataclass(frozen=True)
class LoadedPlan:
    """A plan that passed the checker, with the profiles it was checked against, by model name."""

    plan: Plan
    profiles: Mapping[str, Profile]


def load_plan(path: Path) -> LoadedPlan:
    """The plan in ``path``; :class:`BadInputError` where the file, its profiles or the plan is unsound."""
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


def save_plan(
    plan: Plan, path: Path, profiles: Mapping[str, Profile] | None = None, *, force: bool = False
) -> None:
    """Check ``plan``, then write it whole. Its profile paths must be relative to ``path``'s folder.

    :func:`relocated` makes them so. ``profiles`` by model name are read from those paths where not given.
    """
    check_plan(plan, load_profiles(plan.scenario, path.parent) if profiles is None else profiles)
    write_json(path, plan.model_dump(mode="json"), force=force)


def relocated(plan: Plan, from_folder: Path, to_folder: Path) -> Plan:
    """``plan`` with profile paths that were relative to ``from_folder`` made relative to ``to_folder``.

    Absolute paths stay as they are.
    """
    models = [
        model.model_copy(update={"profile": _rebased(model.profile, from_folder, to_folder)})
        for model in plan.scenario.models
    ]
    scenario: Scenario = plan.scenario.model_copy(update={"models": models})
    return plan.model_copy(update={"scenario": scenario})


def _rebased(profile: str, from_folder: Path, to_folder: Path) -> str:
    if Path(profile).is_absolute():
        return profile
    return Path(os.path.relpath(from_folder / profile, to_folder)).as_posix()
