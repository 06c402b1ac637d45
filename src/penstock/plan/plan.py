"""The plan: pipelines of pools for every model, the proof, and where each worker sits.

Pure data. What makes a plan valid is stated once, in :mod:`penstock.plan.checker`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penstock.files import StrictModel
from penstock.plan.scenario import Scenario


class StagePlan(StrictModel):
    """Blocks ``[start, stop)`` on ``workers`` workers, each on 1/``share`` of a ``device_class`` device.

    ``inference_us``: one batch; ``transfer_us``: one batch to the next stage (0 for the last), rounded up.
    ``rate_rps``: what the whole pool sustains.
    """

    blocks: tuple[int, int]
    device_class: str
    share: int = Field(ge=1)
    batch: int = Field(ge=1)
    workers: int = Field(ge=1)
    inference_us: int = Field(ge=1)
    transfer_us: int = Field(ge=0)
    rate_rps: float = Field(gt=0)


class PipelinePlan(StrictModel):
    """A chain of stages that covers the model; its rate is its slowest stage's."""

    rate_rps: float = Field(gt=0)
    stages: list[StagePlan] = Field(min_length=1)


class Verified(StrictModel):
    """What one model was seen to hold: ``attainment`` of its SLO at ``rate_rps``."""

    rate_rps: float = Field(gt=0)
    attainment: float = Field(ge=0, le=1)


class Verification(StrictModel):
    """How the rates were verified: the ``target`` attainment, and the simulator's settings.

    ``arrivals`` as ``penstock simulate`` takes them; ``seeds`` were not used in the search for the plan.
    """

    target: float = Field(gt=0, lt=1)
    policy: str
    arrivals: str
    seconds: float = Field(gt=0)
    seeds: list[int] = Field(min_length=1)


class ModelPlan(StrictModel):
    """What serves one model. ``estimated_rps`` is the rate that gathering a batch was reckoned with.

    ``rate_rps`` is what its devices sustain, were they never idle; ``verified`` what it holds.
    """

    name: str
    rate_rps: float = Field(gt=0)
    slo_us: int = Field(gt=0)
    margin_us: int = Field(ge=0)
    estimated_rps: float | None = Field(default=None, gt=0)
    pipelines: list[PipelinePlan] = Field(min_length=1)
    verified: Verified | None = None

    @property
    def offered_rps(self) -> float:
        """The rate that a load factor of 1 stands for: the verified one where there is one."""
        return self.rate_rps if self.verified is None else self.verified.rate_rps


class WorkerPlacement(StrictModel):
    """One worker's place: host and device count from 0 within the device class, ``slot`` within the stage.

    Devices of host ``h`` are ``h * per_host`` up to ``(h + 1) * per_host``. ``worker`` counts from 0 over
    the plan in the order models, pipelines, stages, slots.
    """

    worker: int = Field(ge=0)
    model: str
    pipeline: int = Field(ge=0)
    stage: int = Field(ge=0)
    slot: int = Field(ge=0)
    device_class: str
    host: int = Field(ge=0)
    device: int = Field(ge=0)
    share: int = Field(ge=1)


class Plan(StrictModel):
    """Pipelines of every model on a cluster, with the proof of how good they are.

    ``objective`` and ``bound``: least rate / weight over models, in requests per second; ``gap`` relative.
    Profile paths in ``scenario`` are relative to the plan's own file. ``shared_pools``: stages of one device class,
    share and place in their pipelines share their workers, each of which holds all that the pool serves
    (:mod:`penstock.plan.shared_pools`).
    """

    version: Literal[1] = 1
    planner: str
    objective: float
    bound: float
    gap: float
    status: str
    stats: dict[str, float | int | str]
    scenario: Scenario
    shared_pools: bool = False
    models: list[ModelPlan]
    placement: list[WorkerPlacement]
    verification: Verification | None = None
