"""A scenario: what to serve, on what. The file a user writes (YAML), validated whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from penstock.cluster import Cluster
from penstock.errors import BadInputError
from penstock.files import Name, StrictModel, read_yaml, validate, within
from penstock.profile.store import load_profile
from penstock.profile.table import Profile

LEAST_RATE, MOST_RATE = 1e-6, 1e9
Rate = Annotated[float, within(LEAST_RATE, MOST_RATE)]
"""Requests per second, or a share of the load in any unit."""
MOST_WEIGHT_RATIO = 1e9
Microseconds = Annotated[int, within(1, 10**10)]
"""A time up to some three hours."""


class ServedModel(StrictModel):
    """One model of a scenario. ``profile`` is a folder, relative to the file that names it.

    The objective ``throughput`` maximises the least rate / ``weight``; ``cost`` meets every ``rate_rps``. A
    demand is a weight too: where ``rate_rps`` is given, ``weight`` equals it. ``slo_margin`` is a share of the
    SLO, kept free for queueing; ``slo_margin_us`` says the same in time. ``estimated_rps`` enters the
    batch-building term.
    """

    name: Name
    profile: str
    slo_us: Microseconds | None = None
    slo_ms: Annotated[float, within(1e-3, 1e7)] | None = None
    weight: Rate = 1.0
    rate_rps: Rate | None = None
    slo_margin: float | None = Field(default=None, ge=0, lt=1)
    slo_margin_us: int | None = Field(default=None, ge=0)
    estimated_rps: Rate | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_demand_is_a_weight(cls, given: Any) -> Any:
        rate_rps = given.get("rate_rps") if isinstance(given, dict) else None
        # A demand out of range must not be reported as a weight that nobody wrote.
        if isinstance(rate_rps, int | float) and LEAST_RATE <= rate_rps <= MOST_RATE:
            return {"weight": rate_rps, **given}
        return given

    @model_serializer(mode="wrap")
    def _as_a_user_writes_it(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the weight that a demand implies: a demand can then be changed by hand in one place."""
        document: dict[str, Any] = write(self)
        if self.rate_rps is not None:
            document.pop("weight", None)
        return document

    @model_validator(mode="after")
    def _one_unit_each(self) -> Self:
        if self.rate_rps is not None and self.weight != self.rate_rps:
            raise ValueError("give weight (a share of the load) or rate_rps (a demand to meet), not both")
        if (self.slo_us is None) == (self.slo_ms is None):
            raise ValueError("give the SLO once: slo_us (whole microseconds) or slo_ms")
        if self.slo_margin is not None and self.slo_margin_us is not None:
            raise ValueError("give the margin once: slo_margin (share of the SLO) or slo_margin_us")
        if self.slo_margin_us is not None and self.slo_margin_us >= self.latency_slo_us:
            raise ValueError(f"slo_margin_us must be below the SLO ({self.latency_slo_us} us)")
        return self

    def demanding(self, rate_rps: float) -> ServedModel:
        """The same model with a demand of ``rate_rps``, which is its weight too."""
        return self.model_copy(update={"rate_rps": rate_rps, "weight": rate_rps})

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
    """The space to search, and for what. ``batch_build_factor`` scales the time a batch takes to gather.

    ``objective``: ``throughput`` maximises the least rate / weight, ``cost`` meets every model's ``rate_rps``
    at the least hourly cost. With ``share_devices`` the shares of one device may belong to different models
    and stages; without, each (model, stage position, device class) has devices of its own, the published
    rule. With ``fill`` devices that the worst model cannot use raise the others.
    """

    max_stages: Annotated[int, within(1, 1_000)] = 2
    batch_build_factor: Annotated[float, within(0, 1e3)] = 1.3
    objective: Literal["throughput", "cost"] = "throughput"
    share_devices: bool = True
    fill: bool = True


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

    @model_validator(mode="after")
    def _weights_compare(self) -> Self:
        least, most = (choose(self.models, key=lambda model: model.weight) for choose in (min, max))
        if most.weight > MOST_WEIGHT_RATIO * least.weight:
            field = "weight" if least.rate_rps is None else "rate_rps"
            raise ValueError(
                f"{field} of {most.name} (={most.weight:g}) must be at most {MOST_WEIGHT_RATIO:g} times that of "
                f"{least.name} (={least.weight:g}), or no tolerance tells the smaller from 0: check their units"
            )
        return self

    @model_validator(mode="after")
    def _demands_are_whole(self) -> Self:
        asked = [m.name for m in self.models if m.rate_rps is not None]
        silent = [m.name for m in self.models if m.rate_rps is None]
        if asked and silent:
            raise ValueError(
                f"{', '.join(asked)} give rate_rps, {', '.join(silent)} do not: give every model rate_rps "
                f"(demands), or none (weights)"
            )
        if self.planner.objective == "cost":
            if silent:
                raise ValueError(f"objective cost needs a demand: give rate_rps to {', '.join(silent)}")
            classes = self.cluster.device_classes.items()
            unpriced = [name for name, spec in classes if spec.count and spec.hourly_cost is None]
            if unpriced:
                raise ValueError(f"objective cost needs prices: give hourly_cost to {', '.join(unpriced)}")
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
            if spec.available and not profile.shares_of(device_class):
                raise BadInputError(
                    f"{folder / profile_of[name]}: the profile of model {name!r} has no latencies for device class "
                    f"{device_class!r} (it has {', '.join(profile.device_classes) or 'none'}). "
                    f"Profile that class, or take it out of the cluster."
                )
    return profiles
