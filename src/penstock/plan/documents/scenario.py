"""A scenario: which models to serve, and on which cluster. A user writes the file (YAML); all of it is validated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from penstock.cluster import Cluster, DeviceClass
from penstock.errors import BadInputError
from penstock.files import Name, StrictModel, read_yaml, validate, within
from penstock.profile.store import load_profile
from penstock.profile.table import Profile

LEAST_RATE, MOST_RATE = 1e-6, 1e9
Rate = Annotated[float, within(LEAST_RATE, MOST_RATE)]
"""Requests per second, or a part of the load in any unit."""
MOST_WEIGHT_RATIO = 1e9
Microseconds = Annotated[int, within(1, 10**10)]
"""A time of up to about three hours."""


class ServedModel(StrictModel):
    """One model of a scenario. ``profile`` is a folder, relative to the file that names it.

    The objective ``throughput`` maximises the least rate / ``weight``. ``cost`` and ``energy`` meet every
    ``rate_rps``. A demand is a weight too: if ``rate_rps`` is given, ``weight`` equals it. ``slo_margin`` is a
    part of the SLO, kept free for queueing. ``slo_margin_us`` says the same in time. ``estimated_rps`` is used in the
    batch-building term. Clients ask for version ``version`` of the model ``serve_as``, which is ``name`` unless it is
    given: two versions of a model are two models with names of their own.
    """

    name: Name
    profile: str
    serve_as: Name | None = None
    version: Annotated[int, within(1, 2**31 - 1)] = 1
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
        # A demand out of range must not be reported as a weight, because the user wrote no weight.
        if isinstance(rate_rps, int | float) and LEAST_RATE <= rate_rps <= MOST_RATE:
            return {"weight": rate_rps, **given}
        return given

    @model_serializer(mode="wrap")
    def _as_a_user_writes_it(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the weight that a demand implies. Then a demand can be changed by hand in one place.

        A first version under its own name needs no saying.
        """
        document: dict[str, Any] = write(self)
        if self.serve_as is None:
            document.pop("serve_as", None)
        if self.version == 1:
            document.pop("version", None)
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
        """The same model with a demand of ``rate_rps``. It is the weight too."""
        return self.edited(rate_rps=rate_rps, weight=rate_rps)

    def with_slo_us(self, slo_us: int) -> ServedModel:
        """The same model with another SLO. A margin given as a share grows with it."""
        return self.edited(slo_us=slo_us, slo_ms=None)

    def with_margin(self, share: float) -> ServedModel:
        """The same model with a margin of ``share`` of its SLO."""
        return self.edited(slo_margin=share, slo_margin_us=None)

    def with_estimate(self, margin_us: int, estimated_rps: float | None) -> ServedModel:
        """The same model with a margin in microseconds, and the rate at which its batches gather."""
        return self.edited(slo_margin=None, slo_margin_us=margin_us, estimated_rps=estimated_rps)

    @property
    def public_name(self) -> str:
        """The name that clients use."""
        return self.serve_as or self.name

    @property
    def latency_slo_us(self) -> int:
        """The SLO in microseconds, for either unit in which it was written."""
        return self.slo_us if self.slo_us is not None else round((self.slo_ms or 0.0) * 1e3)

    @property
    def margin_us(self) -> int | None:
        """The SLO margin in microseconds. None lets the planner choose."""
        if self.slo_margin_us is not None:
            return self.slo_margin_us
        return None if self.slo_margin is None else round(self.slo_margin * self.latency_slo_us)


class PlannerSettings(StrictModel):
    """The space to search, and the objective. ``batch_build_factor`` multiplies the time a batch takes to gather.

    ``objective``: ``throughput`` maximises the least rate / weight. ``cost`` meets every model's ``rate_rps``
    at the least hourly cost. ``energy`` meets it at the least power: the watts (watt-hours per hour) that the devices
    in use draw when they are busy. With ``share_devices``, the shares of one device may belong to different models
    and stages. Without it, each (model, stage position, device class) has its own devices, which is the published
    rule. With ``fill``, devices that the worst model cannot use raise the other models. With ``scheduled``, the
    closed loop may let models take turns by segments on each device, if that holds more. ``split_stages``: a stage may
    split a batch into up to so many pieces, each for a worker of its own; 1 splits nothing.
    """

    max_stages: Annotated[int, within(1, 1_000)] = 2
    batch_build_factor: Annotated[float, within(0, 1e3)] = 1.3
    objective: Literal["throughput", "cost", "energy"] = "throughput"
    share_devices: bool = True
    fill: bool = True
    scheduled: bool = False
    split_stages: Annotated[int, within(1, 64)] = 1

    @model_serializer(mode="wrap")
    def _nothing_is_split_needs_no_saying(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = write(self)
        if self.split_stages == 1:
            document.pop("split_stages", None)
        return document

    @property
    def pays_for_devices(self) -> bool:
        """Whether demands are met with the cheapest devices, in money or in power. If not, all devices are used."""
        return self.objective != "throughput"


class Scenario(StrictModel):
    """A cluster, the models that share it, and the planner's settings."""

    version: Literal[1]
    cluster: Cluster
    models: list[ServedModel] = Field(min_length=1)
    planner: PlannerSettings = PlannerSettings()

    def with_models(self, edit: Callable[[ServedModel], ServedModel]) -> Scenario:
        """The same scenario, with every model replaced by what ``edit`` returns for it."""
        return self.edited(models=[edit(model) for model in self.models])

    def with_planner(self, **settings: Any) -> Scenario:
        """The same scenario with some of the planner's settings changed."""
        return self.edited(planner=self.planner.edited(**settings))

    def with_device_classes(self, device_classes: Mapping[str, DeviceClass]) -> Scenario:
        """The same scenario on other device classes, in their order."""
        return self.edited(cluster=self.cluster.edited(device_classes=dict(device_classes)))

    def with_device_counts(self, count: Mapping[str, int]) -> Scenario:
        """The same scenario with ``count`` devices of the classes that it names."""
        known = self.cluster.device_classes
        return self.with_device_classes(
            known | {name: known[name].edited(count=number) for name, number in count.items()}
        )

    @property
    def has_demands(self) -> bool:
        """Whether weights are demands (``rate_rps``): all of them are, or none."""
        return self.models[0].rate_rps is not None

    def with_demand(self, factor: float) -> Scenario:
        """The same scenario with ``factor`` times every model's weight or demand as its demand."""
        return self.with_models(lambda model: model.demanding(factor * model.weight))

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [m.name for m in self.models]
        if len(set(names)) != len(names):
            raise ValueError(f"model names must differ, got {names}")
        return self

    @model_validator(mode="after")
    def _versions_differ(self) -> Self:
        known: dict[tuple[str, int], str] = {}
        for model in self.models:
            key = (model.public_name, model.version)
            if key in known:
                raise ValueError(
                    f"models {known[key]} and {model.name} are both version {model.version} of {model.public_name} to "
                    "clients: give one of them another version"
                )
            known[key] = model.name
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
        objective = self.planner.objective
        if self.planner.pays_for_devices:
            if silent:
                raise ValueError(
                    f"objective {objective} needs a demand: give rate_rps to {', '.join(silent)}"
                )
            classes = self.cluster.device_classes.items()
            unpriced = [name for name, spec in classes if spec.count and self.device_price(name) is None]
            if unpriced:
                what, field = ("prices", "hourly_cost") if objective == "cost" else ("powers", "power_w")
                raise ValueError(f"objective {objective} needs {what}: give {field} to {', '.join(unpriced)}")
        return self

    def device_price(self, device_class: str) -> float | None:
        """What a device in use adds to the objective: its hourly cost, or its watts when busy (``energy``).

        None if the scenario does not say.
        """
        spec = self.cluster.device_classes[device_class]
        if self.planner.objective == "energy":
            return None if spec.power_w is None else spec.power_w.busy
        return spec.hourly_cost


def load_scenario(path: Path) -> Scenario:
    """The scenario in ``path``. :class:`BadInputError` names the file, field, value, rule and fix."""
    return validate(Scenario, read_yaml(path), path)


def load_profiles(scenario: Scenario, folder: Path) -> dict[str, Profile]:
    """The profile of every model, by name. Paths are relative to ``folder``.

    Every profile must have latencies for every device class of the cluster that has devices.
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
