"""The plan: pipelines of pools for every model, the proof, and the place of each worker.

It is only data. :mod:`penstock.plan.documents.checker` states what makes a plan valid.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from penstock.files import StrictModel
from penstock.plan.documents.scenario import Scenario

NEARLY = 1e-6
"""Relative. Rates may have been rounded in text, and a solver fills an interface within a tolerance."""


class StagePlan(StrictModel):
    """Blocks ``[start, stop)`` on ``workers`` workers, each on 1/``share`` of a ``device_class`` device.

    ``batch`` is that of the pipeline. A stage with several ``pieces`` is *split*: it divides every batch into pieces of
    nearly equal size, which run on as many workers at the same time. ``inference_us``: time of one batch, or of its
    largest piece. ``transfer_us``: time of one batch to the next stage (0 for the last), rounded up. ``rate_rps``: the
    rate that the whole pool sustains. It is that of its inference, or, where that is less, what its workers move over
    equal parts of their hosts' interfaces.
    """

    blocks: tuple[int, int]
    device_class: str
    share: int = Field(ge=1)
    batch: int = Field(ge=1)
    pieces: int = Field(default=1, ge=1)
    workers: int = Field(ge=1)
    inference_us: int = Field(ge=1)
    transfer_us: int = Field(ge=0)
    rate_rps: float = Field(gt=0)

    @property
    def piece(self) -> int:
        """The most requests that one worker runs at once: those of a batch, or of its largest piece."""
        return -(-self.batch // self.pieces)

    @model_serializer(mode="wrap")
    def _one_piece_needs_no_saying(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = write(self)
        if self.pieces == 1:
            document.pop("pieces", None)
        return document


class PipelinePlan(StrictModel):
    """A chain of stages that covers the model. Its rate is that of its slowest stage, or less.

    It is less if its workers' hosts cannot move as much. If some stage of the plan states more than the equal part of
    its devices, the rates of all pipelines together must keep within every host's interface
    (:mod:`penstock.plan.documents.rules.interface_rules`).
    """

    rate_rps: float = Field(gt=0)
    stages: list[StagePlan] = Field(min_length=1)

    @property
    def pools_rps(self) -> float:
        """The rate of the slowest stage."""
        return min(stage.rate_rps for stage in self.stages)

    @property
    def is_held_down(self) -> bool:
        """Whether it serves less than its slowest stage sustains."""
        return self.rate_rps < self.pools_rps * (1 - NEARLY)


class Verified(StrictModel):
    """The measured result of one model: it reached ``attainment`` of its SLO at ``rate_rps``.

    ``low_rps`` and ``high_rps``: the 95% confidence interval of the rate that just meets the target, over seeds.
    """

    rate_rps: float = Field(gt=0)
    attainment: float = Field(ge=0, le=1)
    low_rps: float | None = Field(default=None, ge=0)
    high_rps: float | None = Field(default=None, ge=0)


class Verification(StrictModel):
    """How the rates were verified: the ``target`` attainment, and the simulator's settings.

    ``arrivals`` has the form that ``penstock simulate`` takes. ``seeds`` were not used in the search for the plan.
    """

    target: float = Field(gt=0, lt=1)
    policy: str
    arrivals: str
    seconds: float = Field(gt=0)
    seeds: list[int] = Field(min_length=1)


class ModelPlan(StrictModel):
    """What serves one model. ``estimated_rps`` is the rate from which the gathering time of a batch is computed.

    ``rate_rps`` is the rate that its devices sustain if they are never idle. ``verified`` is the rate that it holds.
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
        """The rate at a load factor of 1: the verified rate if there is one."""
        return self.rate_rps if self.verified is None else self.verified.rate_rps


class WorkerPlacement(StrictModel):
    """One worker's place. Host and device count from 0 within the device class, ``slot`` counts within the stage.

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


class ScheduledShare(StrictModel):
    """How devices run if their models take turns by segments. The names are those of :mod:`penstock.schedule.device`.

    ``segments``: by device class and model, the points at which a model may stop, in blocks, from 0 to all of them.
    In such a plan ``share`` is the number of models on each device. A job has the whole device while it runs.
    """

    order: str
    late: str
    miss_budget: float | None = Field(default=None, ge=0, lt=1)
    segments: dict[str, dict[str, list[int]]]


def devices_in_use(placement: Iterable[WorkerPlacement]) -> set[tuple[str, int]]:
    """The devices that hold a worker, as (device class, number)."""
    return {(worker.device_class, worker.device) for worker in placement}


class Plan(StrictModel):
    """Pipelines of every model on a cluster, with the proof of how good they are.

    ``objective`` and ``bound``: least rate / weight over models, in requests per second. ``gap`` is relative.
    Profile paths in ``scenario`` are relative to the plan's own file. With ``shared_pools``, stages that have the
    same device class, share and place in their pipelines share their workers. Each of these workers holds everything
    that the pool serves (:mod:`penstock.plan.documents.shared_pools`). With ``lent_pools`` too, a worker serves its own
    stage, and the others of its pool only while it is idle and its model can spare it. With ``scheduled``, every device
    runs every model, and the models take turns (:mod:`penstock.plan.scheduled`).
    """

    version: Literal[1]
    planner: str
    objective: float
    bound: float
    gap: float
    status: str
    stats: dict[str, float | int | str]
    scenario: Scenario
    shared_pools: bool = False
    lent_pools: bool = False
    scheduled: ScheduledShare | None = None
    models: list[ModelPlan]
    placement: list[WorkerPlacement]
    verification: Verification | None = None

    @property
    def devices(self) -> tuple[tuple[str, int], ...]:
        """The devices that hold a worker: class, and number in the class.

        Class by class in the order of the placement, then by number. If the models take turns, these are the workers
        of a record.
        """
        order = list(dict.fromkeys(worker.device_class for worker in self.placement))
        held = devices_in_use(self.placement)
        return tuple(sorted(held, key=lambda device: (order.index(device[0]), device[1])))


def has_split_stages(plan: Plan) -> bool:
    """Whether some stage divides its batches among several workers."""
    return any(s.pieces > 1 for model in plan.models for pipeline in model.pipelines for s in pipeline.stages)


def devices_of(plan: Plan) -> dict[str, int]:
    """How many devices of each class of the cluster hold a worker."""
    used = devices_in_use(plan.placement)
    return {
        name: sum(device_class == name for device_class, _ in used)
        for name in plan.scenario.cluster.device_classes
    }
