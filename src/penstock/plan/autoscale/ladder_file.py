"""A ladder in files: a folder with a plan for each rung, and ``ladder.json``, which a server follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from penstock.errors import BadInputError
from penstock.files import Name, StrictModel, read_json, validate, within, write_json
from penstock.plan.autoscale.rungs import Rung
from penstock.plan.autoscale.scaler import ScalingRules
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.store import relocated, save_plan
from penstock.profile.table import Profile

LADDER = "ladder.json"
Positive = Annotated[float, within(1e-9, 1e12)]
Seconds = Annotated[float, within(1e-9, 1e7, or_zero=True)]


class RungEntry(StrictModel):
    """A rung: its plan's file in the folder, and what :class:`penstock.plan.autoscale.rungs.Rung` says."""

    plan: str
    factor: Positive
    devices: dict[Name, Annotated[int, within(0, 100_000)]]
    hourly_cost: Annotated[float, within(1e-9, 1e12, or_zero=True)]


class Rules(StrictModel):
    """See :class:`penstock.plan.autoscale.scaler.ScalingRules`."""

    node_s: Seconds
    load_s: Seconds
    every_s: Annotated[float, within(1, 1e7)]
    calm_s: Seconds
    safety: Annotated[float, within(1, 1e3)]


class Ladder(StrictModel):
    """``base_rps``: by model, the rates that a factor of 1 means. The rungs rise in factor.

    ``forecast``: of the load; ``yesterday`` also by the load that the server itself had a day ago.
    """

    version: Literal[1]
    base_rps: dict[Name, Positive]
    rules: Rules
    forecast: Literal["live", "yesterday"] = "live"
    rungs: list[RungEntry] = Field(min_length=1)

    @model_validator(mode="after")
    def _rungs_rise(self) -> Ladder:
        factors = [rung.factor for rung in self.rungs]
        if factors != sorted(set(factors)):
            raise ValueError(f"rungs must rise in factor, got {factors}")
        return self

    @property
    def scaling_rules(self) -> ScalingRules:
        """The rules as the scaler takes them."""
        return ScalingRules(**self.rules.model_dump())

    @property
    def steps(self) -> list[Rung]:
        """The rungs as the scaler takes them."""
        return [Rung(one.factor, one.devices, one.hourly_cost) for one in self.rungs]


def save_ladder(
    folder: Path,
    plans: Sequence[Plan],
    rungs: Sequence[Rung],
    rules: ScalingRules,
    base_rps: Mapping[str, float],
    profiles: Mapping[str, Profile],
    *,
    read_from: Path,
    forecast: Literal["live", "yesterday"] = "live",
    force: bool = False,
) -> None:
    """Write ``plans`` and the ladder of them to ``folder``. ``read_from``: the folder that profile paths start from."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, (plan, rung) in enumerate(zip(plans, rungs, strict=True), 1):
        name = f"rung-{number}.json"
        save_plan(relocated(plan, read_from, folder), folder / name, profiles, force=force)
        entries.append({"plan": name, **asdict(rung)})
    document = {
        "version": 1,
        "base_rps": dict(base_rps),
        "rules": asdict(rules),
        "forecast": forecast,
        "rungs": entries,
    }
    write_json(folder / LADDER, document, force=force)


def load_ladder(folder: Path) -> Ladder:
    """The ladder of ``folder``; :class:`BadInputError` if it is none, or lacks a plan."""
    if not (folder / LADDER).exists():
        raise BadInputError(
            f"{folder}: has no {LADDER}. Make a ladder with 'penstock autoscale SCENARIO -o FOLDER'."
        )
    ladder = validate(Ladder, read_json(folder / LADDER), folder / LADDER)
    missing = [one.plan for one in ladder.rungs if not (folder / one.plan).is_file()]
    if missing:
        raise BadInputError(
            f"{folder}: lacks {', '.join(missing)}, which {LADDER} names. Make the ladder again."
        )
    return ladder
