"""A scenario: what to serve, on what. The file a user writes (YAML), validated whole."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from penstock.cluster import Cluster
from penstock.errors import BadInputError
from penstock.files import Name, StrictModel, read_yaml, validate
from penstock.profile.store import load_profile
from penstock.profile.table import Profile


class ServedModel(StrictModel):
    """One model of a scenario. ``profile`` is a folder, relative to the file that names it.

    The objective maximises the least rate / ``weight``. ``slo_margin`` is a share of the SLO, kept free for
    queueing; ``slo_margin_us`` says the same in time. ``estimated_rps`` enters the batch-building term.
    """

    name: Name
    profile: str
    slo_us: int | None = Field(default=None, gt=0)
    slo_ms: float | None = Field(default=None, gt=0)
    weight: float = Field(default=1.0, gt=0)
    slo_margin: float | None = Field(default=None, ge=0, lt=1)
    slo_margin_us: int | None = Field(default=None, ge=0)
    estimated_rps: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_unit_each(self) -> Self:
        if (self.slo_us is None) == (self.slo_ms is None):
            raise ValueError("give the SLO once: slo_us (whole microseconds) or slo_ms")
        if self.slo_margin is not None and self.slo_margin_us is not None:
            raise ValueError("give the margin once: slo_margin (share of the SLO) or slo_margin_us")
        if self.slo_margin_us is not None and self.slo_margin_us >= self.latency_slo_us:
            raise ValueError(f"slo_margin_us must be below the SLO ({self.latency_slo_us} us)")
        return self

    @property
    def latency_slo_us(self) -> int:
        """The SLO in microseconds, whichever unit it was written in."""
        return self.slo_us if self.slo_us is not None else round((self.slo_ms or 0.0) * 1e3)

    @property
    def margin_us(self) -> int | None:
        """The SLO margin in microseconds; None leaves the choice to the planner."""
        if self.slo_margin_us is not None:
            return self.slo_margin_us
        return None if self.slo_margin is None else round(self.slo_margin * self.latency_slo_us)


class PlannerSettings(StrictModel):
    """The space to search. ``batch_build_factor`` scales the time a batch takes to gather."""

    max_stages: int = Field(default=2, ge=1)
    batch_build_factor: float = Field(default=1.3, ge=0)
    objective: Literal["throughput"] = "throughput"


class Scenario(StrictModel):
    """A cluster, the models that share it, and the planner's settings."""

    version: Literal[1]
    cluster: Cluster
    models: list[ServedModel] = Field(min_length=1)
    planner: PlannerSettings = PlannerSettings()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [m.name for m in self.models]
        if len(set(names)) != len(names):
            raise ValueError(f"model names must differ, got {names}")
        return self


def load_scenario(path: Path) -> Scenario:
    """The scenario in ``path``; :class:`BadInputError` names the file, field, value, rule and fix."""
    return validate(Scenario, read_yaml(path), path)


def load_profiles(scenario: Scenario, folder: Path) -> dict[str, Profile]:
    """The profile of every model by name, paths taken relative to ``folder``.

    Every device class of the cluster with devices must have latencies in every profile.
    """
    profile_of = {m.name: m.profile for m in scenario.models}
    profiles = {name: load_profile(folder / profile) for name, profile in profile_of.items()}
    for name, profile in profiles.items():
        for device_class, spec in scenario.cluster.device_classes.items():
            if spec.count and not profile.shares_of(device_class):
                raise BadInputError(
                    f"{folder / profile_of[name]}: the profile of model {name!r} has no latencies for device class "
                    f"{device_class!r} (it has {', '.join(profile.device_classes) or 'none'}). "
                    f"Profile that class, or take it out of the cluster."
                )
    return profiles
